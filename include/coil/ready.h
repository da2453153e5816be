// SPDX-License-Identifier: MIT
#ifndef COIL_READY_H
#define COIL_READY_H

/*
 * ready.h: start a task and wait until it reports that it is ready.
 *
 *     my->ready = coil_future_new();
 *     my->server = SPAWN(serve, .ready = coil_future_ref(my->ready));
 *     AWAIT_TO(my->port, coil_wait_ready(my->server, my->ready));
 *
 * The task completes the future when it is ready, with a value for those who
 * use it, and goes on. Its FINALLY calls coil_future_unref(my->ready).
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/task.h>

COIL_BEGIN_DECLS

/*
 * Wait until `ready` is done, or `task` has ended without completing it. If
 * both happen in one pass of the loop, `ready` counts. Cancelling the wait does
 * not cancel the task.
 *
 * Result    the value of `ready`
 * Errors    the error of `ready`. If the task ended first: the error of the
 *           task, or COIL_ENOTREADY if it has none. -ECANCELED, -ENOMEM
 * Lifetime  takes `ready`; shares the task until the wait is over, so the task
 *           may outlive its spawner
 * Source    trio nursery.start(), anyio TaskGroup.start()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_wait_ready(struct coil_task *task, struct coil_future *ready);

COIL_END_DECLS

#endif
