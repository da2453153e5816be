// SPDX-License-Identifier: MIT
#ifndef COIL_TASK_POOL_H
#define COIL_TASK_POOL_H

/*
 * task_pool.h: runs many tasks, at most `limit` at the same time.
 *
 *     coil_task_pool_init(&my->pool, 100);
 *     FOR_AWAIT(my->url, urls(my))
 *         AWAIT(coil_task_pool_spawn(&my->pool, CALL(fetch, .url = my->url)));
 *     AWAIT(coil_task_pool_join(&my->pool));
 *
 * With a semaphore all tasks exist, and most of them wait. A pool makes the
 * spawner wait while the pool is full, so it also bounds how many tasks exist.
 * To get the results of the calls use coil_map().
 */

#include <coil/api.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

struct coili_pooled;

/*
 * In your memory; coil_task_pool_init() prepares it, and there is nothing to
 * free. The fields are private.
 */
struct coil_task_pool {
    struct coil_waiters waiters, joiners;
    struct coili_pooled *members;
    size_t limit, running, waiting, failed;
};

/*
 * Make a pool that runs at most `limit` tasks at the same time.
 *
 * Source    gevent Pool(limit), eventlet GreenPool(limit)
 */
COIL_API void coil_task_pool_init(struct coil_task_pool *pool, size_t limit);

/*
 * Run `call` as a task in one of the `limit` slots of the pool. While all slots
 * are busy `call` is queued; calls get slots in the order of the spawns. Await
 * the future to wait until `call` has its slot; it is queued even before that
 * await. If the future is cancelled or discarded before `call` has its slot,
 * `call` is discarded.
 *
 * The task is a child of the coroutine that calls this function. An error of
 * the task is reported by the loop, as that of START, and counted.
 *
 * Result    0: `call` has a slot and runs
 * Errors    -ECANCELED, -ENOMEM: `call` is discarded
 * Lifetime  takes `call`, also on error. The caller lends `pool` until the task
 *           has ended
 * Source    gevent Pool.spawn(), eventlet GreenPool.spawn_n()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_task_pool_spawn(struct coil_task_pool *pool, struct coil_future *call);

/*
 * Change the limit. Waiting calls begin as far as the new limit allows; running
 * tasks go on.
 *
 * Source    eventlet GreenPool.resize()
 */
COIL_API void coil_task_pool_resize(struct coil_task_pool *pool, size_t limit);

/*
 * Wait until no task runs and no call waits.
 *
 * Result    0
 * Errors    -ECANCELED, -ENOMEM
 * Lifetime  the caller lends `pool` until the future is done
 * Source    gevent Pool.join(), eventlet GreenPool.waitall()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_task_pool_join(struct coil_task_pool *pool);

/*
 * Cancel all running tasks and discard all waiting calls. Does not wait:
 * coil_task_pool_join() waits until the tasks have ended.
 *
 * Source    gevent Pool.kill(block=False)
 */
COIL_API void coil_task_pool_cancel_all(struct coil_task_pool *pool);

/* Number of running tasks. Source: eventlet GreenPool.running() */
COIL_API size_t coil_task_pool_running(const struct coil_task_pool *pool);

/* Number of calls that could begin at once. Source: GreenPool.free() */
COIL_API size_t coil_task_pool_available(const struct coil_task_pool *pool);

/* Number of calls that wait. Source: eventlet GreenPool.waiting() */
COIL_API size_t coil_task_pool_waiting(const struct coil_task_pool *pool);

/* Number of tasks that have failed; cancelled tasks do not count. */
COIL_API size_t coil_task_pool_failed(const struct coil_task_pool *pool);

COIL_END_DECLS

#endif
