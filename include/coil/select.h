// SPDX-License-Identifier: MIT
#ifndef COIL_SELECT_H
#define COIL_SELECT_H

/*
 * select.h: whichever can be done first, and only that.
 *
 *     my->cases[0] = coil_case_get(my->jobs);
 *     my->cases[1] = coil_case_put(my->log, line);
 *     my->cases[2] = coil_case_task(my->stop);
 *     AWAIT_TO(my->which, coil_select(my->cases, 3));
 *     if (my->which == 0 && !my->cases[0].err)
 *         work(my->cases[0].item);
 *
 * Exactly one case happens. If several can, chance decides, so that none is
 * starved by another. For a time-out put it into coil_wait_for(), for a default
 * case use coil_select_nowait().
 */

#include <coil/api.h>
#include <coil/queue.h>
#include <coil/task.h>

COIL_BEGIN_DECLS

/* One case. All zero it is one that never happens. */
struct coil_case {
    struct coil_queue *queue;
    struct coil_future *future;
    void *item; /* to be put; or, if this case has happened, what was got */
    int err;    /* if it has happened: 0; COIL_EEND, COIL_ECLOSED */
    bool puts;
};

/*
 * An item can be got from a queue, or put into it. That it is closed (and, to
 * get, empty) is a case that happens too, with COIL_EEND or COIL_ECLOSED as its
 * `err`: take it out then, by making it zero.
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
 * A future or a task is done, whatever it has ended with: its value and its
 * error stay in it. A plain future and a task are alike here. The future is
 * borrowed, so it must have begun (coil_future_started() tells): coil_select()
 * aborts for a call or an operation that has not, since nothing would begin it.
 * Make that a task first, with SPAWN or coil_spawn.
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
 * Wait until one of the cases happens. Cancelled, none has; or its index is
 * returned and the cancellation strikes the next await. If nobody takes the
 * index, an item that was got goes back to its queue; one that was put is put.
 *
 * Result    the index of the case
 * Errors    -EINVAL for n == 0, -ECANCELED, -ENOMEM
 * Lifetime  lends `cases`, and the queues in it, until the future is gone;
 *           borrows the futures: it holds references of its own until then
 * Source    Go's select statement
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_select(struct coil_case *cases, size_t n);

/*
 * One that can happen without waiting. A future that has not begun aborts.
 *
 * Result    its index
 * Errors    -EAGAIN, -ENOMEM
 * Source    Go's select with a default case
 */
COIL_API int coil_select_nowait(struct coil_case *cases, size_t n);

COIL_END_DECLS

#endif
