// SPDX-License-Identifier: MIT
#ifndef COIL_QUEUE_H
#define COIL_QUEUE_H

/*
 * queue.h: bounded FIFO, LIFO and priority queues.
 *
 *     coil_queue_init(&my->jobs, 100);                    // the owner
 *     AWAIT(coil_queue_put(&my->jobs, job));              // waits while full
 *     coil_queue_shutdown(&my->jobs);
 *
 *     // a task to which the queue was lent
 *     FOR_AWAIT(my->job, coil_queue_items(my->jobs)) {
 *         ...
 *         coil_queue_task_done(my->jobs);
 *     }
 *
 * An item is a pointer, also NULL. An integer needs two casts:
 * (void *)(intptr_t)n to put it, and (intptr_t)item when it was got.
 *
 * No item is lost or delivered twice:
 *   - a put that fails or is cancelled has not put its item;
 *   - a get that is cancelled has taken no item; or its await returns the item,
 *     and the next await is cancelled;
 *   - if a future or task has got an item and no await takes the item, the item
 *     returns to its old position in the queue. AWAIT_TO takes the item; AWAIT,
 *     which ignores the value, does not.
 */

#include <coil/api.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

/* Returns less than 0 if `a` has to be got before `b`, as for qsort(3). */
typedef int coil_compare_fn(const void *a, const void *b);

struct coili_queued;

/* In your memory; coil_queue_init() prepares it. The fields are private. */
struct coil_queue {
    struct coil_waiters getters, putters, joiners;
    struct coili_queued *ring;
    size_t capacity, head, n; /* of the ring */
    size_t reserved;          /* slots of the ring for items in transit */
    size_t limit;
    size_t unfinished;
    uint64_t sequence;
    coil_compare_fn *compare;
    coil_call_fn *free_item; /* of coil_queue_shutdown_now() */
    uint8_t order;
    bool is_shutdown, is_emptied;
};

/* A `limit` that means: no limit other than memory. */
#define COIL_UNBOUNDED SIZE_MAX

/*
 * Make an empty queue of at most `limit` items. With limit 0 the queue is a
 * rendezvous: a put waits until a get takes its item.
 *
 * In a queue of coil_queue_init() a get returns the oldest item, of
 * coil_queue_init_lifo() the newest, of coil_queue_init_priority() the least
 * item by `compare`, and of equal items the oldest.
 *
 * Source    asyncio.Queue, LifoQueue, PriorityQueue, where a limit of 0 means
 *           no limit; Go's make(chan, limit)
 */
COIL_API void coil_queue_init(struct coil_queue *queue, size_t limit);
COIL_API void coil_queue_init_lifo(struct coil_queue *queue, size_t limit);
COIL_API void coil_queue_init_priority(struct coil_queue *queue, size_t limit,
                                       coil_compare_fn *compare);

/*
 * Free the storage of the queue, but not its items: get the items first, or
 * call coil_queue_shutdown_now(). Aborts if a task waits for the queue.
 */
COIL_API void coil_queue_fini(struct coil_queue *queue);

/*
 * Put an item into the queue. While the queue is full, puts wait in the order
 * of arrival.
 *
 * Result    0: the item was put, even if the task was cancelled afterwards
 * Errors    COIL_ECLOSED: the queue is shut down; -ECANCELED; -ENOMEM. After an
 *           error the item was not put and is still the caller's
 * Lifetime  the caller lends `queue` until the future is freed
 * Source    asyncio Queue.put()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_queue_put(struct coil_queue *queue, void *item);

/*
 * Get an item from the queue. While the queue is empty, gets wait in the order
 * of arrival.
 *
 * Result    the item, a pointer
 * Errors    COIL_EEND: the queue is shut down and empty; -ECANCELED; -ENOMEM
 * Lifetime  the caller lends `queue` until the future is freed
 * Source    asyncio Queue.get()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_queue_get(struct coil_queue *queue);

/*
 * Put an item, if that is possible without waiting.
 *
 * Result    0: the item was put
 * Errors    -EAGAIN: the queue is full; COIL_ECLOSED: shut down; -ENOMEM
 * Source    asyncio Queue.put_nowait()
 */
COIL_API COIL_NODISCARD int coil_queue_put_nowait(struct coil_queue *queue,
                                                  void *item);

/*
 * Get an item, if that is possible without waiting.
 *
 * Result    0: *item is the item
 * Errors    -EAGAIN: the queue is empty; COIL_EEND: empty and shut down
 * Source    asyncio Queue.get_nowait()
 */
COIL_API int coil_queue_get_nowait(struct coil_queue *queue, void **item);

/*
 * The items, until the queue is shut down and empty: a source for FOR_AWAIT.
 * Any number of loops may read one queue. If a loop is cancelled while it
 * waits, no item is lost.
 *
 * Result    yields pointers
 * Errors    -ECANCELED, -ENOMEM
 * Lifetime  the caller lends `queue` until the FOR_AWAIT is over
 * Source    gevent's iteration over a Queue; Go's for range
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_queue_items(struct coil_queue *queue);

/* Number of items. */
COIL_API size_t coil_queue_count(const struct coil_queue *queue);

/* True if empty. */
COIL_API bool coil_queue_empty(const struct coil_queue *queue);

/* True if full: `limit` items or more. Always true if the limit is 0. */
COIL_API bool coil_queue_full(const struct coil_queue *queue);

/*
 * Report that an item that was got has been processed. Aborts if there are more
 * of these calls than items were put.
 *
 * Source    asyncio Queue.task_done()
 */
COIL_API void coil_queue_task_done(struct coil_queue *queue);

/*
 * Wait until all items that were put have been processed, that is, until
 * coil_queue_task_done() was called once for each.
 *
 * Result    0
 * Errors    -ECANCELED, -ENOMEM
 * Lifetime  the caller lends `queue` until the future is done
 * Source    asyncio Queue.join()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_queue_join(struct coil_queue *queue);

/*
 * Accept no more items. From now on a put fails with COIL_ECLOSED, and so do
 * puts that wait. The items in the queue can still be got; then a get fails
 * with COIL_EEND. A second call changes nothing. Allocates nothing.
 *
 * Source    asyncio Queue.shutdown(); close() of a Go channel
 */
COIL_API void coil_queue_shutdown(struct coil_queue *queue);

/*
 * Shut down the queue and empty it. Each item counts as processed and is given
 * to `free_item`, unless that is NULL. An item that was granted to a get before
 * stays the getter's, and the getter has to call coil_queue_task_done(). If no
 * await takes that item, it counts as processed and is given to `free_item`
 * when the future of the get is freed, also after coil_queue_fini(). Does
 * nothing to a queue of zero bytes, so that a FINALLY may call this function
 * before coil_queue_fini().
 *
 * Source    asyncio Queue.shutdown(immediate=True)
 */
COIL_API void coil_queue_shutdown_now(struct coil_queue *queue,
                                      coil_call_fn *free_item);

/* True if the queue is shut down. */
COIL_API bool coil_queue_is_shutdown(const struct coil_queue *queue);

/* ---- For your own primitives -------------------------------------------- */

/*
 * A get or a put as a part of a future with a class of your own. Such a future
 * may have many of them, as coil_select() has. Zero the struct; for a put set
 * `item` to the item.
 *
 * The `granted` function (waiters.h) is called with NULL if the queue was shut
 * down, and with another pointer if the item was got or put.
 */
struct coil_queue_waiter {
    struct coil_waiter base;
    struct coil_queue *queue;
    void *item;
    uint64_t sequence; /* this and the rest are private */
    bool is_put, holds;
};

/*
 * Get an item into waiter->item, or put waiter->item, without waiting.
 *
 * Result    0: the item was got or put
 * Errors    -EAGAIN: the queue is empty or full; else as
 *           coil_queue_get_nowait() and coil_queue_put_nowait()
 * Lifetime  the caller lends `queue` and, for a get, `waiter` until
 *           coil_queue_waiter_taken() or coil_queue_waiter_put_back()
 */
COIL_API int coil_queue_waiter_get(struct coil_queue_waiter *waiter,
                                   struct coil_queue *queue);
COIL_API int coil_queue_waiter_put(struct coil_queue_waiter *waiter,
                                   struct coil_queue *queue);

/*
 * Wait for the same get or put. Call this after -EAGAIN, before any other call
 * for the queue.
 *
 * Result    0: `granted` will be called
 * Errors    -ENOMEM, for a put only
 * Lifetime  the caller lends `waiter` until `granted` or
 *           coil_queue_waiter_leave() was called
 */
COIL_API int coil_queue_waiter_enter(struct coil_queue_waiter *waiter,
                                     coil_granted_fn *granted);

/* Stop waiting. Does nothing to a waiter that does not wait. */
COIL_API void coil_queue_waiter_leave(struct coil_queue_waiter *waiter);

/*
 * End a get that has got an item: the user took the item (_taken), or the item
 * returns to its old position in the queue (_put_back). Only the first call has
 * an effect, and only if there is an item.
 */
COIL_API void coil_queue_waiter_taken(struct coil_queue_waiter *waiter);
COIL_API void coil_queue_waiter_put_back(struct coil_queue_waiter *waiter);

COIL_END_DECLS

#endif
