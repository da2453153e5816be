// SPDX-License-Identifier: MIT
#ifndef COIL_MAP_H
#define COIL_MAP_H

/*
 * map.h: many calls, at most so many at once.
 *
 * Their results come in the order of the calls, or in that of their ends.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/task.h>

COIL_BEGIN_DECLS

/*
 * The next call of a bounded map, or NULL when there are no more.
 */
typedef struct coil_future *coil_source_fn(void *arg);

/*
 * Run the calls that `source` makes, at most `limit` at once: a source for
 * FOR_AWAIT. coil_map yields the tasks in the order in which they began,
 * coil_map_unordered as they end. `source` is asked for the next call only
 * when there is room: a task that has ended, but was not read yet, counts.
 *
 *     FOR_AWAIT(my->task, coil_map_unordered(100, next_url, my)) { ... }
 *
 * Result    yields struct coil_task *, valid until the next turn of the loop
 * Errors    -EINVAL for limit 0
 * Lifetime  lends `arg` while the loop runs; leaving it cancels what runs
 * Source    gevent Pool.imap, imap_unordered; eventlet GreenPile
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_map(size_t limit, coil_source_fn *source, void *arg);
COIL_API COIL_NODISCARD struct coil_future *
coil_map_unordered(size_t limit, coil_source_fn *source, void *arg);

/*
 * The same for calls that a generator yields: a source that may await, a queue
 * or the lines of a file, say. It is asked for the next call while there is
 * room, and beside the tasks that run.
 *
 *     FOR_AWAIT(my->call, ...)                // in urls()
 *         YIELD(CALL(fetch, .url = ...));
 *
 *     FOR_AWAIT(my->task, coil_map_over_unordered(CALL(urls), 100)) { ... }
 *
 * Result    yields struct coil_task *, valid until the next turn of the loop
 * Errors    -EINVAL for limit 0; that of the generator, when all the calls that
 *           it gave before were run and yielded
 * Lifetime  takes the generator and each struct coil_future * that it yields;
 *           leaving the loop closes the one and cancels the others
 * Source    gevent Pool.imap over a generator
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_map_over(struct coil_future *generator, size_t limit);
COIL_API COIL_NODISCARD struct coil_future *
coil_map_over_unordered(struct coil_future *generator, size_t limit);

COIL_END_DECLS

#endif
