// SPDX-License-Identifier: MIT
#ifndef COIL_TASK_POOL_H
#define COIL_TASK_POOL_H

/*
 * task_pool.h: tasks, at most so many at once.
 *
 *     coil_task_pool_init(&my->pool, 100);
 *     FOR_AWAIT(my->url, urls(my))
 *         AWAIT(coil_task_pool_spawn(&my->pool, CALL(fetch, .url = my->url)));
 *     AWAIT(coil_task_pool_join(&my->pool));
 *
 * A semaphore bounds how many tasks are inside; a pool bounds how many there
 * are: who spawns waits while it is full. For results see coil_map().
 */

#include <coil/api.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

struct coili_pooled;

/*
 * In your memory; begun by its _init, and there is nothing to free. The fields
 * are private.
 */
struct coil_task_pool {
    struct coil_waiters waiters, joiners;
    struct coili_pooled *members;
    size_t limit, running, waiting, failed;
};

/* Source: gevent Pool(limit), eventlet GreenPool(limit) */
COIL_API void coil_task_pool_init(struct coil_task_pool *pool, size_t limit);

/*
 * Run `call` as a task when there is a place for it. It stands in line at once,
 * and is a child of the coroutine that makes this call; the future tells that
 * it has begun. Cancel the future, or drop it, before that, and the call is
 * dropped too. Not in line and not waiting: what is free is taken now.
 *
 * An error of the task is reported by the loop, as that of START, and counted.
 *
 * Result    0: it has its place
 * Errors    -ECANCELED, -ENOMEM: it does not begin any more
 * Lifetime  takes `call`; lends `pool` until the task has ended
 * Source    gevent Pool.spawn(), eventlet GreenPool.spawn_n()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_task_pool_spawn(struct coil_task_pool *pool, struct coil_future *call);

/*
 * From now on `limit` tasks at once: of those that wait as many begin as there
 * is room for; what runs goes on.
 *
 * Source    eventlet GreenPool.resize()
 */
COIL_API void coil_task_pool_resize(struct coil_task_pool *pool, size_t limit);

/*
 * Wait until none runs and none waits.
 *
 * Result    0
 * Errors    -ECANCELED, -ENOMEM
 * Lifetime  lends `pool` until it is done
 * Source    gevent Pool.join(), eventlet GreenPool.waitall()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_task_pool_join(struct coil_task_pool *pool);

/*
 * Ask all to end, and those that wait not to begin. Join to see them gone.
 *
 * Source    gevent Pool.kill(block=False)
 */
COIL_API void coil_task_pool_cancel_all(struct coil_task_pool *pool);

/*
 * How many run; could begin at once; wait; have failed, cancelled ones not
 * counted.
 *
 * Source    eventlet GreenPool.running(), free(), waiting()
 */
COIL_API size_t coil_task_pool_running(const struct coil_task_pool *pool);
COIL_API size_t coil_task_pool_available(const struct coil_task_pool *pool);
COIL_API size_t coil_task_pool_waiting(const struct coil_task_pool *pool);
COIL_API size_t coil_task_pool_failed(const struct coil_task_pool *pool);

COIL_END_DECLS

#endif
