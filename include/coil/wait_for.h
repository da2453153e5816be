// SPDX-License-Identifier: MIT
#ifndef COIL_WAIT_FOR_H
#define COIL_WAIT_FOR_H

/*
 * wait_for.h: one thing, for so long at the most.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/task.h>

COIL_BEGIN_DECLS

/*
 * Wait for a future (taken) or a task (borrowed) for so long at the most. Then
 * it is cancelled, and has ended when the wait ends: a value that it returns
 * all the same is returned.
 *
 * Units     nanoseconds; 0 or less: a future that is not done is never begun,
 *           a task is cancelled at once
 * Result    that of `x`; a task's value that is not taken here stays with it
 * Errors    -ETIMEDOUT; those of `x`; -ENOMEM
 * Lifetime  takes a future; keeps a task, which may outlive its spawner here
 * Source    asyncio.wait_for()
 */
#ifndef __cplusplus
#define coil_wait_for(x, timeout_ns) \
    _Generic((x), struct coil_task * \
             : coil_wait_for_task, struct coil_future * \
             : coil_wait_for_future)((x), (timeout_ns))
#endif
COIL_API COIL_NODISCARD struct coil_future *
coil_wait_for_task(struct coil_task *task, int64_t timeout_ns);
COIL_API COIL_NODISCARD struct coil_future *
coil_wait_for_future(struct coil_future *future, int64_t timeout_ns);

COIL_END_DECLS

#endif
