// SPDX-License-Identifier: MIT
#ifndef COIL_SHIELD_H
#define COIL_SHIELD_H

/*
 * shield.h: protects an operation from its awaiter's cancellation.
 *
 *     AWAIT(coil_shield(CALL(commit, .db = my->db)));     // runs to its end
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/task.h>

COIL_BEGIN_DECLS

/*
 * Await `x`, a task or a future. If the await is cancelled, the await ends at
 * once, and `x` goes on.
 *
 *     coil_shield(task)      The task keeps its parent, and ends with its
 *                            spawner, shielded or not. Spawn it where it is to
 *                            live, and shield the await.
 *     coil_shield(CALL(f))   The future becomes a task of the loop, which runs
 *                            until it has ended, or the loop is closed.
 *
 * A future begins when the shield is awaited. If the awaiting task was
 * cancelled before, that await fails and the future does not begin.
 *
 * Result    the result of `x`. If no await takes it, the value of a task stays
 *           in the task
 * Errors    those of `x`, also -ECANCELED if other code has cancelled `x`;
 *           -ECANCELED: the await was cancelled; -ENOMEM. An error of `x` that
 *           comes after the await was cancelled is reported, once
 * Lifetime  takes a future; shares a task until the await is over. A future may
 *           outlive the coroutine that made it: what its arguments point to
 *           must live until the future has ended
 * Source    asyncio.shield()
 */
#ifndef __cplusplus
#define coil_shield(x) \
    _Generic((x), \
             struct coil_task *: coil_shield_task, \
             struct coil_future *: coil_shield_future)(x)
#endif
COIL_API COIL_NODISCARD struct coil_future *
coil_shield_task(struct coil_task *task);
COIL_API COIL_NODISCARD struct coil_future *
coil_shield_future(struct coil_future *future);

COIL_END_DECLS

#endif
