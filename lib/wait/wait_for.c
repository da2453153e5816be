// SPDX-License-Identifier: MIT
/*
 * wait_for.c: wait for one future or task, with a time-out.
 *
 * A deadline (WITHIN) around an await. The await ends when the future or task
 * has ended, not when the time is up. CPython's wait_for() lost a value or a
 * cancellation for years (issues 86296, 28149), until it was built this way.
 */
#include <coil/wait_for.h>

#include <errno.h>

#include <coil/block.h>

#include "base/check.h"

struct wait_for {
    struct coil_coro coro;
    struct coil_task *task;
    struct coil_future *future;
    int64_t timeout_ns;
    int err;
};

/*
 * A time-out of 0 or less cancels a task at once and never begins a future.
 * WITHIN would begin the await and strike in the next pass, so these cases come
 * before it.
 */
static void wait_for(struct coil_coro *co)
{
    COIL_ASYNC(wait_for, my) {
        if (my->task && coil_task_done(my->task))
            COIL_RETURN_AWAIT(my->task);
        if (my->task && my->timeout_ns <= 0) {
            coil_task_cancel_with(my->task, COIL_CANCEL_TIMEOUT);
            COIL_TRY_AWAIT(my->err, my->task);
            if (my->err == -ECANCELED)
                COIL_FAIL(-ETIMEDOUT);
            COIL_RETURN_AWAIT(my->task);
        }
        if (my->timeout_ns <= 0 && !coil_future_done(my->future))
            COIL_FAIL(-ETIMEDOUT);
        COIL_WITHIN(my->timeout_ns) {
            if (my->task)
                COIL_RETURN_AWAIT(my->task);
            struct coil_future *future = my->future;
            my->future = NULL;
            COIL_RETURN_AWAIT(future);
        }

    COIL_FINALLY;
        if (my->task)
            coil_future_unref(coil_task_future(my->task));
        if (my->future)
            coil_discard(my->future);
    }
}

struct coil_future *coil_wait_for_task(struct coil_task *task,
                                       int64_t timeout_ns)
{
    coili_check(task, "coil_wait_for: x is NULL");
    struct coil_future *f = COIL_CALL(wait_for, .task = task,
                                      .timeout_ns = timeout_ns);
    if (!coil_future_done(f)) /* the task may outlive its spawner */
        coil_future_ref(coil_task_future(task));
    return f;
}

struct coil_future *coil_wait_for_future(struct coil_future *future,
                                         int64_t timeout_ns)
{
    coili_check(future, "coil_wait_for: x is NULL");
    struct coil_future *f = COIL_CALL(wait_for, .future = future,
                                      .timeout_ns = timeout_ns);
    if (coil_future_done(f)) /* no memory */
        coil_discard(future);
    return f;
}
