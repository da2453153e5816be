// SPDX-License-Identifier: MIT
#ifndef COIL_SELECT_H
#define COIL_SELECT_H

/*
 * select.h: wait for several queue operations and futures; perform the first
 * that is possible, and only that one.
 *
 *     my->cases[0] = coil_case_get(my->jobs);
 *     my->cases[1] = coil_case_put(my->log, line);
 *     my->cases[2] = coil_case_task(my->stop);
 *     AWAIT_TO(my->which, coil_select(my->cases, 3));
 *     if (my->which == 0 && !my->cases[0].err)
 *         work(my->cases[0].item);
 *
 * Exactly one case is performed. If several are possible, one of them is chosen
 * at random, so that no case starves. A task that feeds one queue and drains
 * another one does both by one select: if it only fed, both queues could fill
 * up and all tasks would wait for ever. To switch a case off, zero it. For a
 * time-out pass the coil_select() to coil_wait_for(); for a default case call
 * coil_select_nowait().
 */

#include <coil/api.h>
#include <coil/queue.h>
#include <coil/task.h>

COIL_BEGIN_DECLS

/* One case. A case of zero bytes is never possible. */
struct coil_case {
    struct coil_queue *queue;
    struct coil_future *future;
    void *item; /* what to put; what was got, if this get was performed */
    int err;    /* if this case was performed: 0; COIL_EEND, COIL_ECLOSED */
    bool is_put;
};

/*
 * Get an item from `queue`, or put `item` into it. The case is also possible if
 * the queue is shut down (and, for a get, empty): no item moves then, and `err`
 * is COIL_EEND for a get, COIL_ECLOSED for a put. Zero such a case before the
 * next select, or it will be chosen again.
 */
static inline struct coil_case coil_case_get(struct coil_queue *queue)
{
    struct coil_case it = { queue, NULL, NULL, 0, false };
    return it;
}

static inline struct coil_case coil_case_put(struct coil_queue *queue,
                                             void *item)
{
    struct coil_case it = { queue, NULL, item, 0, true };
    return it;
}

/*
 * Wait until `future` or `task` is done, with a value or an error. Both stay in
 * it: `err` of the case is 0. The select does not take the future, so it must
 * have begun (coil_future_started() tells), as a plain future and a task have.
 * For a call or an operation that has not begun coil_select() aborts, since
 * nothing would begin it: make it a task first, with SPAWN or coil_spawn().
 */
static inline struct coil_case coil_case_future(struct coil_future *future)
{
    struct coil_case it = { NULL, future, NULL, 0, false };
    return it;
}

static inline struct coil_case coil_case_task(struct coil_task *task)
{
    return coil_case_future(coil_task_future(task));
}

/*
 * Wait until one of the cases is possible, and perform it. If the select is
 * cancelled, no case was performed; or the await returns the index of the one
 * that was, and the cancellation strikes the next await. If no await takes the
 * index, an item that was got goes back to its queue; an item that was put
 * stays there.
 *
 * Result    the index of the case
 * Errors    -EINVAL: `n` is 0; -ECANCELED; -ENOMEM
 * Lifetime  the caller lends `cases` and the queues in it until the future is
 *           freed. coil shares the futures until then
 * Source    Go's select statement
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_select(struct coil_case *cases, size_t n);

/*
 * Perform one of the cases that are possible without waiting. Aborts for a
 * future that has not begun.
 *
 * Result    the index of the case
 * Errors    -EAGAIN: no case is possible; -ENOMEM
 * Source    Go's select with a default case
 */
COIL_API int coil_select_nowait(struct coil_case *cases, size_t n);

COIL_END_DECLS

#endif
