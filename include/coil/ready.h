// SPDX-License-Identifier: MIT
#ifndef COIL_READY_H
#define COIL_READY_H

/*
 * ready.h: to start a task and wait until it is of use.
 *
 *     my->ready = coil_future_new();
 *     my->server = SPAWN(serve, .ready = coil_future_ref(my->ready));
 *     AWAIT_TO(my->port, coil_wait_ready(my->server, my->ready));
 *
 * The task completes the future when it can be used, with what its users need,
 * and goes on; coil_future_unref(my->ready) stands in its FINALLY.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/task.h>

COIL_BEGIN_DECLS

/*
 * Wait until `ready` is done, or the task has ended without that.
 *
 * Result    that of `ready`
 * Errors    that of `ready`; that of the task if it failed before;
 *           COIL_ENOTREADY if it just ended. Cancelled: the task goes on
 * Lifetime  takes `ready`; views the task: it may outlive its spawner here
 * Source    trio nursery.start(), anyio TaskGroup.start()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_wait_ready(struct coil_task *task, struct coil_future *ready);

COIL_END_DECLS

#endif
