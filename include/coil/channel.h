// SPDX-License-Identifier: MIT
#ifndef COIL_CHANNEL_H
#define COIL_CHANNEL_H

/*
 * channel.h: a bounded queue between loops, and between a loop and threads.
 *
 *     struct coil_channel *pages = coil_channel_new(16, free);
 *
 *     coil_channel_put_blocking(pages, page, COIL_NEVER);      // a thread
 *     AWAIT(coil_channel_put(my->pages, page));            // a coroutine
 *     FOR_AWAIT(my->page, coil_channel_items(my->pages)) {  // another one
 *         ...
 *     }
 *     coil_channel_shutdown(pages);                            // no more
 *
 * An item is a pointer, and belongs to one side at a time: to the sender until
 * it was sent, to the receiver once it was received, to the channel between.
 * Senders stand in line when it is full, receivers when it is empty; first
 * come, first served, whether thread or coroutine. What was granted to an await
 * that is cancelled in the same moment is not lost: the await returns it.
 *
 * A channel is counted: every side has a reference of its own and may be the
 * last to go.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

struct coil_channel;

/*
 * Make a channel for at most `limit` items, 1 or more; its memory is all
 * there from the beginning and comes from malloc(). In any thread.
 *
 * Result    NULL without memory
 * Lifetime  gives one reference. `free_item` is for items that are still in it
 *           when the last one goes; NULL: nothing is to be done
 * Source    queue.Queue(maxsize); trio.open_memory_channel()
 */
COIL_API COIL_NODISCARD struct coil_channel *
coil_channel_new(size_t limit, coil_call_fn *free_item);

/*
 * One more reference, one less. In any thread.
 *
 * Lifetime  shares; NULL is harmless for unref
 */
COIL_API struct coil_channel *coil_channel_ref(struct coil_channel *channel);
COIL_API void coil_channel_unref(struct coil_channel *channel);

/*
 * Send from a coroutine, waiting for room.
 *
 * Result    0
 * Errors    COIL_ECLOSED; -ECANCELED, -ENOMEM: the item is still yours
 * Lifetime  takes `item`, if it ends well; shares the channel until then. That
 *           of one that was detached goes to `free_item` if the loop closes
 * Source    asyncio Queue.put()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_channel_put(struct coil_channel *channel, void *item);

/*
 * Receive in a coroutine, waiting for an item.
 *
 * Result    the item
 * Errors    COIL_EEND closed, and nothing is in it any more; -ECANCELED,
 *           -ENOMEM
 * Lifetime  gives the item. One that nobody takes is the first in the channel
 *           again, and goes to `free_item` if that has filled up meanwhile
 * Source    asyncio Queue.get()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_channel_get(struct coil_channel *channel);

/*
 * All items until it is closed: a source for FOR_AWAIT. Several loops may take
 * turns; each item goes to one of them.
 *
 * Result    yields items
 * Errors    -ECANCELED: no item is lost; -ENOMEM
 * Lifetime  shares `channel` while the loop runs
 * Source    trio: async for item in receive_channel
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_channel_items(struct coil_channel *channel);

/*
 * The same in a plain thread, which blocks. In a coroutine, whose loop it would
 * stop, each of the two aborts. A thread that is cancelled meanwhile leaves the
 * line, and its item is still its own.
 *
 * Units     nanoseconds; 0 or less: not at all; COIL_NEVER
 * Result    0, and *item is set
 * Errors    COIL_ECLOSED, COIL_EEND as above; -ETIMEDOUT
 * Lifetime  as above
 * Source    queue.Queue put(timeout), get(timeout)
 */
COIL_API int coil_channel_put_blocking(struct coil_channel *channel, void *item,
                                       int64_t timeout_ns);
COIL_API int coil_channel_get_blocking(struct coil_channel *channel,
                                       int64_t timeout_ns, void **item);

/*
 * The same now or not at all, anywhere.
 *
 * Result    0
 * Errors    -EAGAIN full, or empty; COIL_ECLOSED, COIL_EEND
 * Source    asyncio Queue.put_nowait(), get_nowait()
 */
COIL_API int coil_channel_put_nowait(struct coil_channel *channel, void *item);
COIL_API int coil_channel_get_nowait(struct coil_channel *channel, void **item);

/*
 * No more is sent: who waits to send fails, who receives gets what is still in
 * it, then COIL_EEND. Anywhere, any number of times.
 *
 * Source    asyncio Queue.shutdown()
 */
COIL_API void coil_channel_shutdown(struct coil_channel *channel);

/* Items in it now; others may send and receive meanwhile. */
COIL_API size_t coil_channel_count(struct coil_channel *channel);

COIL_END_DECLS

#endif
