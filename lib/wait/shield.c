// SPDX-License-Identifier: MIT
/*
 * shield.c: protects an operation from its awaiter's cancellation.
 *
 * An await of a task cancels the task when the await is cancelled; coil_wait()
 * does not. So a shield is a coil_wait(), and then an await that takes the
 * result. A result that comes in the same pass as the cancellation is
 * delivered, as everywhere.
 *
 * coil_wait() can share a future that has begun, such as any plain future, so
 * the shield makes no task of it. The future reports its error once; if each
 * shield made a task of it, each of these tasks would report the error.
 *
 * In asyncio a shielded task has no owner, and often no reference: programs
 * have lost a transaction to the garbage collector, or have returned a
 * connection to a pool in the middle of a reply. Here each task has an owner
 * that it does not outlive. A shielded call belongs to the loop, which closes
 * only when the call has ended; a shielded task still belongs to its spawner.
 */
#include <coil/shield.h>

#include <coil/coroutine.h>
#include <coil/wait.h>

#include "base/check.h"

struct shield {
    struct coil_coro coro;
    struct coil_task *task;
    struct coil_future *future; /* counted */
};

/* Make the future a task of the loop; keep a reference. */
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
        if (my->future && coil_future_started(my->future)) {
            COIL_AWAIT(
                coil_wait(&my->future, 1, COIL_ALL_COMPLETED, COIL_NEVER));
            COIL_RETURN_AWAIT(coil_future_ref(my->future));
        }
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
    coili_check(task, "coil_shield: x is NULL");
    struct coil_future *f = COIL_CALL(shield, .task = task);
    if (!coil_future_done(f)) /* the task may outlive its spawner */
        coil_future_ref(coil_task_future(task));
    return f;
}

struct coil_future *coil_shield_future(struct coil_future *future)
{
    coili_check(future, "coil_shield: x is NULL");
    struct coil_future *f = COIL_CALL(shield, .future = future);
    if (coil_future_done(f)) /* no memory */
        coil_discard(future);
    return f;
}
