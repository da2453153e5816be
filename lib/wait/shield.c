// SPDX-License-Identifier: MIT
/*
 * shield.c: what goes on although nobody waits for it any more.
 *
 * To await a task hands a cancellation on to it; coil_wait() does not, so a
 * shield is that, and the task's result afterwards. What has come in the same
 * pass as the request is delivered, as everywhere.
 *
 * asyncio leaves it open who owns what is shielded: it is a task that nobody
 * refers to, and programs have lost a transaction to the garbage collector, or
 * have put a connection back in the middle of a reply. Here everything has an
 * owner that it does not outlive. So a call that is shielded is the loop's,
 * which closes only when it has ended; a task stays its spawner's.
 */
#include <coil/shield.h>

#include <coil/coroutine.h>
#include <coil/wait.h>

struct shield {
    struct coil_coro coro;
    struct coil_task *task;
    struct coil_future *future; /* until it is begun */
};

/* The loop's; ours is one reference. */
static struct coil_task *spawn_detached(struct coil_future *future)
{
    struct coil_task *task = coil_spawn(future);
    coil_future_ref(coil_task_future(task));
    coil_detach(task);
    return task;
}

static void shield(struct coil_coro *co)
{
    COIL_ASYNC(shield, my) {
        if (my->future) {
            my->task = spawn_detached(my->future);
            my->future = NULL;
        }
        COIL_AWAIT(coil_wait(&my->task, 1, COIL_ALL_COMPLETED, COIL_NEVER));
        COIL_RETURN_AWAIT(my->task);

    COIL_FINALLY;
        if (my->task)
            coil_future_unref(coil_task_future(my->task));
        if (my->future)
            coil_discard(my->future);
    }
}

struct coil_future *coil_shield_task(struct coil_task *task)
{
    struct coil_future *f = COIL_CALL(shield, .task = task);
    if (!coil_future_done(f)) /* it may outlive its spawner */
        coil_future_ref(coil_task_future(task));
    return f;
}

struct coil_future *coil_shield_future(struct coil_future *future)
{
    struct coil_future *f = COIL_CALL(shield, .future = future);
    if (coil_future_done(f)) /* no memory */
        coil_discard(future);
    return f;
}
