// SPDX-License-Identifier: MIT
#ifndef COIL_QUEUE_H
#define COIL_QUEUE_H

/*
 * queue.h: items from those who have them to those who want them.
 *
 *     struct coil_queue jobs;
 *     coil_queue_init(&jobs, 100);
 *
 *     AWAIT(coil_queue_put(&my->jobs, job));              // waits while full
 *
 *     FOR_AWAIT(my->job, coil_queue_items(my->jobs)) {    // until it is closed
 *         ...
 *         coil_queue_task_done(my->jobs);
 *     }
 *
 * An item is a pointer. An integer travels as one: (void *)(intptr_t)n there,
 * (intptr_t)item back.
 *
 * No item is lost or doubled: a put that failed, or was cancelled, has put
 * nothing; a get that is cancelled has got nothing, or its await returns the
 * item and the cancellation strikes the next one; and an item that was got by a
 * future or a task which nobody asked for it goes back to its old place, also
 * with AWAIT in place of AWAIT_TO.
 */

#include <coil/api.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

/* Less than 0 if `a` is to be got before `b`, as for qsort(3). */
typedef int coil_compare_fn(const void *a, const void *b);

struct coili_queued;

/* In your memory, until nobody uses it any more. The fields are private. */
struct coil_queue {
    struct coil_waiters getters, putters, joiners;
    struct coili_queued *ring;
    size_t capacity, head, n; /* of the ring */
    size_t reserved;      /* places in it for what is under way */
    size_t limit;
    size_t unfinished;
    uint64_t sequence;
    coil_compare_fn *compare;
    uint8_t order;
    bool is_shutdown;
};

/* As a limit: as many as there is memory for. */
#define COIL_UNBOUNDED SIZE_MAX

/*
 * An empty queue of at most `limit` items. With limit 0 items go from hand to
 * hand: a put ends when a get has it.
 *
 * coil_queue_init gives the oldest first, _lifo the newest; _priority the least
 * by `compare`, and of equal ones the oldest.
 *
 * Source    asyncio.Queue, LifoQueue, PriorityQueue, where a limit of 0 means
 *           none; Go's make(chan, limit)
 */
COIL_API void coil_queue_init(struct coil_queue *queue, size_t limit);
COIL_API void coil_queue_init_lifo(struct coil_queue *queue, size_t limit);
COIL_API void coil_queue_init_priority(struct coil_queue *queue, size_t limit,
                                       coil_compare_fn *compare);

/*
 * Free its storage. Items in it are forgotten: get them first, or see
 * coil_queue_shutdown_now(). Somebody waits: aborts.
 */
COIL_API void coil_queue_fini(struct coil_queue *queue);

/*
 * Put an item, waiting while the queue is full, in the order of arrival.
 *
 * Result    0: it is in, also if a cancellation came with it
 * Errors    COIL_ECLOSED, -ECANCELED, -ENOMEM: the item is still yours
 * Lifetime  lends `queue` until the future is gone
 * Source    asyncio Queue.put()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_queue_put(struct coil_queue *queue, void *item);

/*
 * Get an item, waiting until there is one, in the order of arrival.
 *
 * Result    the item, a pointer
 * Errors    COIL_EEND closed and empty; -ECANCELED, -ENOMEM
 * Lifetime  lends `queue` until the future is gone
 * Source    asyncio Queue.get()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_queue_get(struct coil_queue *queue);

/*
 * The same without waiting.
 *
 * Errors    -EAGAIN full, empty; COIL_ECLOSED or -ENOMEM, COIL_EEND
 * Source    asyncio Queue.put_nowait(), get_nowait()
 */
COIL_API int coil_queue_put_nowait(struct coil_queue *queue, void *item);
COIL_API int coil_queue_get_nowait(struct coil_queue *queue, void **item);

/*
 * The items until the queue is closed and empty: a source for FOR_AWAIT. Many
 * may draw from one queue. Cancelled while it waits it loses no item.
 *
 * Result    yields pointers
 * Errors    -ECANCELED, -ENOMEM
 * Lifetime  lends `queue` while the loop runs
 * Source    gevent's iteration over a Queue; Go's for range
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_queue_items(struct coil_queue *queue);

/* Items in it; none there; no room for one without waiting. */
COIL_API size_t coil_queue_count(const struct coil_queue *queue);
COIL_API bool coil_queue_empty(const struct coil_queue *queue);
COIL_API bool coil_queue_full(const struct coil_queue *queue);

/*
 * An item that was got has been dealt with. More often than items were put:
 * aborts.
 *
 * Source    asyncio Queue.task_done()
 */
COIL_API void coil_queue_task_done(struct coil_queue *queue);

/*
 * Wait until all that was put has been dealt with.
 *
 * Result    0
 * Errors    -ECANCELED, -ENOMEM
 * Lifetime  lends `queue` until it is done
 * Source    asyncio Queue.join()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_queue_join(struct coil_queue *queue);

/*
 * No more items: a put fails from now on, one that waits too. What is in the
 * queue can still be got; then a get fails with COIL_EEND. Closing twice is
 * closing once. Allocates nothing.
 *
 * Source    asyncio Queue.shutdown(); close() of a Go channel
 */
COIL_API void coil_queue_shutdown(struct coil_queue *queue);

/*
 * The same, and nobody gets what is in it: each item counts as dealt with and
 * goes to `free_item` (NULL: nowhere).
 *
 * Source    asyncio Queue.shutdown(immediate=True)
 */
COIL_API void coil_queue_shutdown_now(struct coil_queue *queue,
                                      coil_call_fn *free_item);
COIL_API bool coil_queue_is_shutdown(const struct coil_queue *queue);

/* ---- For your own primitives -------------------------------------------- */

/*
 * A get or a put inside a future of yours, which may have many of them (select
 * has). Zero it, and set `item` to what is to be put.
 *
 * A `granted` function is called with NULL if the queue was closed, with
 * something else if the item is got, or put.
 */
struct coil_queue_waiter {
    struct coil_waiter base;
    struct coil_queue *queue;
    void *item;
    uint64_t sequence; /* this and the rest are private */
    bool puts, holds;
};

/*
 * Get or put now.
 *
 * Result    0: done, `item` is got or put
 * Errors    -EAGAIN: not now; else as the _nowait functions
 * Lifetime  lends `queue` and, of a get, `turn` until the item was taken or put
 *           back
 */
COIL_API int coil_queue_waiter_get(struct coil_queue_waiter *waiter,
                                   struct coil_queue *queue);
COIL_API int coil_queue_waiter_put(struct coil_queue_waiter *waiter,
                                   struct coil_queue *queue);

/*
 * Stand in line, after -EAGAIN and before anything else is done to the queue.
 *
 * Errors    -ENOMEM, of a put
 * Lifetime  lends `turn` until it was granted or given up
 */
COIL_API int coil_queue_waiter_enter(struct coil_queue_waiter *waiter,
                                     coil_granted_fn *granted);

/* Leave the line, if it stands in one. */
COIL_API void coil_queue_waiter_leave(struct coil_queue_waiter *waiter);

/*
 * The end of a get that was granted: the item is somebody's, or nobody took it
 * and it goes back to its old place. Only the first call counts, and none if
 * there is no item.
 */
COIL_API void coil_queue_waiter_taken(struct coil_queue_waiter *waiter);
COIL_API void coil_queue_waiter_put_back(struct coil_queue_waiter *waiter);

COIL_END_DECLS

#endif
