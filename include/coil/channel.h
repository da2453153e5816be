// SPDX-License-Identifier: MIT
#ifndef COIL_CHANNEL_H
#define COIL_CHANNEL_H

/*
 * channel.h: a bounded FIFO queue between threads: between loops, and between a
 * loop and plain threads.
 *
 *     struct coil_channel *pages = coil_channel_new(16, free);
 *
 *     coil_channel_put_blocking(pages, page, COIL_NEVER);    // a thread
 *     AWAIT(coil_channel_put(my->pages, page));              // a coroutine
 *     FOR_AWAIT(my->page, coil_channel_items(my->pages)) {   // another one
 *         ...
 *     }
 *     coil_channel_shutdown(pages);                          // no more items
 *
 * An item is a pointer. The item belongs to the producer until it was put, then
 * to the channel, and to the consumer once it was got.
 *
 * Producers wait while the channel is full, consumers while it is empty:
 * threads and coroutines in one FIFO list of waiters. An await that was granted
 * and is then cancelled succeeds all the same, so no item is lost: a put
 * returns 0, a get returns its item. A thread that waits is only woken: the
 * thread puts or gets its item when it runs, and the waiters behind it wait
 * until then.
 *
 * A channel is reference-counted: each side has a reference of its own, and
 * either side may drop its reference last.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

struct coil_channel;

/*
 * Make a channel for at most `limit` items; 0 aborts. All memory of the channel
 * is allocated now, by malloc(). In any thread.
 *
 * Result    the channel; NULL if out of memory
 * Lifetime  gives one reference: coil_channel_unref() drops it. `free_item`,
 *           which may be NULL, is called with each item that is left when the
 *           channel is freed
 * Source    queue.Queue(maxsize); trio.open_memory_channel()
 */
COIL_API COIL_NODISCARD struct coil_channel *
coil_channel_new(size_t limit, coil_call_fn *free_item);

/*
 * Add a reference. In any thread.
 *
 * Result    `channel`
 * Lifetime  shares: coil_channel_unref() drops the reference
 */
COIL_API struct coil_channel *coil_channel_ref(struct coil_channel *channel);

/*
 * Drop a reference. In any thread. Dropping the last one frees the channel.
 * NULL is ignored.
 */
COIL_API void coil_channel_unref(struct coil_channel *channel);

/*
 * Put an item in a coroutine: waits while the channel is full.
 *
 * Result    0
 * Errors    COIL_ECLOSED  the channel was shut down
 *           -ECANCELED, -ENOMEM
 * Lifetime  takes `item` on success; after an error `item` is still the
 *           caller's. If the put was detached and its loop closes first,
 *           `free_item` is called with the item. The future shares the channel
 * Source    asyncio Queue.put()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_channel_put(struct coil_channel *channel, void *item);

/*
 * Get an item in a coroutine: waits while the channel is empty.
 *
 * Result    the item
 * Errors    COIL_EEND  the channel was shut down, and no item is left
 *           -ECANCELED, -ENOMEM
 * Lifetime  gives the item. If no await takes the item from the future, it
 *           returns to its old position in the channel; if the channel is
 *           full, `free_item` is called with it. The future shares the channel
 * Source    asyncio Queue.get()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_channel_get(struct coil_channel *channel);

/*
 * All items until the channel is shut down and empty: a source for FOR_AWAIT.
 * Several iterations, also in several loops, may run at once: each item goes to
 * one of them.
 *
 * Result    yields items
 * Errors    -ECANCELED: no item is lost; -ENOMEM
 * Lifetime  gives the items; shares the channel until the iteration ends
 * Source    trio: async for item in receive_channel
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_channel_items(struct coil_channel *channel);

/*
 * Put or get an item in a plain thread, which blocks while the channel is full
 * or empty. Both abort in a coroutine, because they would block its loop.
 *
 * The wait is a cancellation point (pthread_cancel(3)). A thread that is
 * cancelled there has put or got nothing: the item of its put is still the
 * caller's, and the item of its get stays in the channel. A thread that has put
 * or got its item returns 0, and the cancellation strikes at the next
 * cancellation point. So a clean-up handler may free the item of a put, if the
 * handler is popped right after the call:
 *
 *     pthread_cleanup_push(free, page);
 *     err = coil_channel_put_blocking(pages, page, COIL_NEVER);
 *     pthread_cleanup_pop(err < 0);
 *
 * Units     nanoseconds; 0 or less: do not wait; COIL_NEVER: no time-out
 * Result    0; get: *item is set
 * Errors    COIL_ECLOSED  put: the channel was shut down
 *           COIL_EEND     get: the channel was shut down, and no item is left
 *           -ETIMEDOUT
 * Lifetime  put takes `item` on success; get gives the item
 * Source    queue.Queue put(timeout), get(timeout)
 */
COIL_API COIL_NODISCARD int
coil_channel_put_blocking(struct coil_channel *channel, void *item,
                          int64_t timeout_ns);
COIL_API int coil_channel_get_blocking(struct coil_channel *channel,
                                       int64_t timeout_ns, void **item);

/*
 * Put or get an item without waiting, in any thread or coroutine.
 *
 * Result    0; get: *item is set
 * Errors    -EAGAIN       put: the channel is full; get: the channel is empty;
 *                         both: a thread was woken, and has not run yet
 *           COIL_ECLOSED  put: the channel was shut down
 *           COIL_EEND     get: the channel was shut down, and no item is left
 * Lifetime  put takes `item` on success; get gives the item
 * Source    asyncio Queue.put_nowait(), get_nowait()
 */
COIL_API COIL_NODISCARD int
coil_channel_put_nowait(struct coil_channel *channel, void *item);
COIL_API int coil_channel_get_nowait(struct coil_channel *channel, void **item);

/*
 * Refuse further items: a put fails with COIL_ECLOSED, and so do puts that
 * wait. Consumers get the items that are left, then COIL_EEND. In any thread or
 * coroutine, any number of times.
 *
 * Source    asyncio Queue.shutdown()
 */
COIL_API void coil_channel_shutdown(struct coil_channel *channel);

/*
 * The number of items in the channel now. Other threads may change it at any
 * time.
 */
COIL_API size_t coil_channel_count(struct coil_channel *channel);

COIL_END_DECLS

#endif
