// SPDX-License-Identifier: MIT
#ifndef COIL_WAIT_FOR_H
#define COIL_WAIT_FOR_H

/*
 * wait_for.h: wait for one future or task, with a time-out.
 *
 *     TRY_AWAIT_TO(my->err, my->n, coil_wait_for(answer(my), COIL_SECONDS(2)));
 *     if (my->err == -ETIMEDOUT)
 *         ...
 *
 * To limit the time of several awaits write a block, WITHIN(COIL_SECONDS(2)).
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/task.h>

COIL_BEGIN_DECLS

/*
 * Wait until `x`, a future or a task, is done. After `timeout_ns`, or if the
 * wait is cancelled, `x` is cancelled; the wait goes on until `x` has ended. If
 * `x` returns a value all the same, that is the result.
 *
 *     coil_wait_for(future, timeout_ns)
 *     coil_wait_for(task, timeout_ns)
 *
 * Units     nanoseconds; COIL_NEVER: no time-out. 0 or less: a future that is
 *           not done is never begun, a task is cancelled at once
 * Result    that of `x`. If no await takes it, the value of a task stays in the
 *           task
 * Errors    -ETIMEDOUT; those of `x`; -ECANCELED: the wait was cancelled;
 *           -ENOMEM
 * Lifetime  takes a future; shares a task until the wait is over, so the task
 *           may outlive its spawner
 * Source    asyncio.wait_for()
 */
#ifndef __cplusplus
#define coil_wait_for(x, timeout_ns) \
    _Generic((x), \
             struct coil_task *: coil_wait_for_task, \
             struct coil_future *: coil_wait_for_future)((x), (timeout_ns))
#endif
COIL_API COIL_NODISCARD struct coil_future *
coil_wait_for_task(struct coil_task *task, int64_t timeout_ns);
COIL_API COIL_NODISCARD struct coil_future *
coil_wait_for_future(struct coil_future *future, int64_t timeout_ns);

COIL_END_DECLS

#endif
