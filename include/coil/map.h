// SPDX-License-Identifier: MIT
#ifndef COIL_MAP_H
#define COIL_MAP_H

/*
 * map.h: run many calls, at most `limit` at the same time, and read their
 * results in a loop.
 *
 *     FOR_AWAIT(my->task, coil_map_unordered(100, next_url, my)) {
 *         TRY_AWAIT_TO(my->err, my->size, my->task);
 *         ...
 *     }
 *
 * The loop gets the tasks in the order in which they began, or as they end.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/task.h>

COIL_BEGIN_DECLS

/* Make the next call. Result: the call, as CALL() gives it; NULL: no more. */
typedef struct coil_future *coil_source_fn(void *arg);

/*
 * Run the calls that `source` makes, at most `limit` at the same time, and loop
 * over their tasks with FOR_AWAIT: coil_map() yields them in the order in which
 * they began, coil_map_unordered() in the order in which they end. A task
 * occupies one of `limit` slots until the end of the iteration that gets it,
 * and `source` is called only when a slot is free. So a slow loop body slows
 * down the source.
 *
 * Result    yields struct coil_task *, valid until the next iteration
 * Errors    -EINVAL: `limit` is 0; -ENOMEM
 * Lifetime  the caller lends `arg` until the FOR_AWAIT is over. If the loop is
 *           left early, the tasks that still run are cancelled
 * Source    gevent Pool.imap, imap_unordered; eventlet GreenPile
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_map(size_t limit, coil_source_fn *source, void *arg);
COIL_API COIL_NODISCARD struct coil_future *
coil_map_unordered(size_t limit, coil_source_fn *source, void *arg);

/*
 * The same for calls that a generator yields. So the source may await: a queue,
 * say, or the lines of a file. The generator is asked for the next call when a
 * slot is free, and runs concurrently with the tasks.
 *
 *     FOR_AWAIT(my->call, ...)                // in urls()
 *         YIELD(CALL(fetch, .url = ...));
 *
 *     FOR_AWAIT(my->task, coil_map_over_unordered(100, CALL(urls))) { ... }
 *
 * Result    yields struct coil_task *, valid until the next iteration
 * Errors    -EINVAL: `limit` is 0; -ENOMEM; the error of the generator: the
 *           loop gets it after the tasks of all calls that were yielded before
 * Lifetime  takes the generator and each struct coil_future * that it yields.
 *           If the loop is left early, the generator is closed and the tasks
 *           that still run are cancelled
 * Source    gevent Pool.imap over a generator
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_map_over(size_t limit, struct coil_future *generator);
COIL_API COIL_NODISCARD struct coil_future *
coil_map_over_unordered(size_t limit, struct coil_future *generator);

COIL_END_DECLS

#endif
