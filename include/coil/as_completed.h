// SPDX-License-Identifier: MIT
#ifndef COIL_AS_COMPLETED_H
#define COIL_AS_COMPLETED_H

/*
 * as_completed.h: tasks as they end.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/task.h>

COIL_BEGIN_DECLS

/*
 * The tasks in the order in which they end: a source for FOR_AWAIT. Its errors
 * stay in each task; leaving the loop early leaves the tasks running. There are
 * n turns: a task that stands in the array twice is yielded twice.
 *
 *     FOR_AWAIT(my->done, coil_as_completed(my->tasks, my->n)) { ... }
 *
 * Result    yields struct coil_task *
 * Lifetime  lends the array while the loop runs
 * Source    asyncio.as_completed()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_as_completed(struct coil_task *const *tasks, size_t n);

COIL_END_DECLS

#endif
