// SPDX-License-Identifier: MIT
#ifndef COIL_SHIELD_H
#define COIL_SHIELD_H

/*
 * shield.h: what goes on although nobody waits for it any more.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/task.h>

COIL_BEGIN_DECLS

/*
 * Await a task (borrowed) or a future (taken) in such a way that cancelling the
 * await does not cancel it.
 *
 *     coil_shield(task)      whose child it is stays as it is: a task ends with
 *                            its spawner, shielded or not. Spawn it where it is
 *                            to live, and shield the await.
 *     coil_shield(CALL(f))   becomes a task of the loop, which runs until it
 *                            has ended, or the loop is closed.
 *
 * A future is begun when the shield is awaited: a request that came before
 * strikes there, and then nothing has begun.
 *
 * Result    that of `x`; a task's value that is not taken here stays with it
 * Errors    those of `x`, -ECANCELED too if somebody else has cancelled it;
 *           -ECANCELED if it was cancelled itself. An error of `x` that comes
 *           after that is reported, once
 * Lifetime  lends nothing: a future outlives its maker, so that whatever its
 *           arguments point to must live as long as it does
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
