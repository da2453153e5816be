// SPDX-License-Identifier: MIT
/*
 * ready.c: wait until a task reports that it is ready, or has ended.
 *
 * If the task fails, it never completes the `ready` future. So this waits for
 * both. If both are done in one pass, `ready` counts.
 */
#include <coil/ready.h>

#include <coil/coroutine.h>

#include "base/check.h"

struct wait_ready {
    struct coil_coro coro;
    struct coil_task *task;
    struct coil_future *ready;
    struct coil_future *changed; /* done when one of the two is done */
    struct coil_handle on_ready, on_end;
};

static void changed(void *arg)
{
    struct wait_ready *my = arg;
    if (!coil_future_done(my->changed))
        coil_future_set_int(my->changed, 0);
}

/* Wait for `changed`; then look at `ready` first, and at the task second. */
static void wait_ready(struct coil_coro *co)
{
    COIL_ASYNC(wait_ready, my) {
        struct coil_future *task = coil_task_future(my->task);
        struct coil_future *ready = my->ready;
        if (!coil_future_done(ready) && !coil_future_done(task)) {
            my->changed = coil_future_new();
            if (coil_future_done(my->changed))
                COIL_FAIL(-ENOMEM);
            coil_future_add_done_callback(ready, &my->on_ready, changed, my);
            coil_future_add_done_callback(task, &my->on_end, changed, my);
            COIL_AWAIT(coil_future_ref(my->changed));
        }
        ready = my->ready;
        task = coil_task_future(my->task);
        if (!coil_future_done(ready) && coil_future_error(task) < 0)
            COIL_FAIL_WITH(coil_future_error(task), coil_future_detail(task));
        if (!coil_future_done(ready))
            COIL_FAIL(COIL_ENOTREADY);
        my->ready = NULL;
        COIL_RETURN_AWAIT(ready);

    COIL_FINALLY;
        coil_handle_cancel(&my->on_ready);
        coil_handle_cancel(&my->on_end);
        if (my->changed)
            coil_future_unref(my->changed);
        if (my->ready)
            coil_future_unref(my->ready);
        coil_future_unref(coil_task_future(my->task));
    }
}

struct coil_future *coil_wait_ready(struct coil_task *task,
                                    struct coil_future *ready)
{
    coili_check(task, "coil_wait_ready: task is NULL");
    coili_check(ready, "coil_wait_ready: ready is NULL");
    struct coil_future *f = COIL_CALL(wait_ready, .task = task, .ready = ready);
    if (coil_future_done(f)) /* no memory */
        coil_future_unref(ready);
    else
        coil_future_ref(coil_task_future(task));
    return f;
}
