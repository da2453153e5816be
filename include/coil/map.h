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
 *     FOR_AWAIT(my->task, coil_map_unordered(next_url, my, 100)) { ... }
 *
 * Result    yields struct coil_task *, valid until the next turn of the loop
 * Errors    -EINVAL for limit 0
 * Lifetime  lends `arg` while the loop runs; leaving it cancels what runs
 * Source    gevent Pool.imap, imap_unordered; eventlet GreenPile
 */
COIL_API COIL_NODISCARD struct coil_future *coil_map(coil_source_fn *source,
                                                     void *arg, size_t limit);
COIL_API COIL_NODISCARD struct coil_future *
coil_map_unordered(coil_source_fn *source, void *arg, size_t limit);

COIL_END_DECLS

#endif
