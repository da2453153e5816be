// SPDX-License-Identifier: MIT
#ifndef COIL_AS_COMPLETED_H
#define COIL_AS_COMPLETED_H

/*
 * as_completed.h: tasks as they end.
 *
 * Mostly as a loop:
 *
 *     FOR_AWAIT(my->done, coil_as_completed(my->tasks, my->n)) { ... }
 *
 * To leave such a loop and come back, to have several readers, or to await the
 * next one by other means, there is an object:
 *
 *     AWAIT_TO(my->done, coil_completions_next(&my->completions));
 *
 * Either gives the tasks themselves, so that one knows whose end it is. Their
 * errors stay with them, and nobody is cancelled: neither by a time-out nor by
 * whoever stops to read. A task that stands in the array twice comes twice.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/task.h>
#include <coil/time.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

/*
 * The tasks in the order in which they end: a source for FOR_AWAIT. Leaving the
 * loop early leaves the tasks running.
 *
 * Units     the time-out in nanoseconds, from the first turn on; COIL_NEVER
 * Result    yields struct coil_task *, n times
 * Errors    -ETIMEDOUT, after those that have ended by then; -ENOMEM
 * Lifetime  lends the array while the loop runs
 * Source    asyncio.as_completed()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_as_completed(struct coil_task *const *tasks, size_t n);
COIL_API COIL_NODISCARD struct coil_future *
coil_as_completed_within(struct coil_task *const *tasks, size_t n,
                         int64_t timeout_ns);

struct coili_completion;

/* In your memory. The fields are private. */
struct coil_completions {
    struct coil_waiters waiters;
    struct coil_handle timer;
    struct coili_completion *all, *first, *last;
    size_t n, given;
    bool late;
};

/*
 * Begin to note which of the tasks end.
 *
 * Units     the time-out in nanoseconds, from now on; COIL_NEVER
 * Errors    -ENOMEM: nothing was begun
 * Lifetime  lends `c` until coil_completions_fini(); copies the array
 */
COIL_API COIL_NODISCARD int
coil_completions_init(struct coil_completions *c,
                      struct coil_task *const *tasks, size_t n,
                      int64_t timeout_ns);

/* Let go of the tasks. Who still waits for the next one is given NULL. */
COIL_API void coil_completions_fini(struct coil_completions *c);

/*
 * The next task to end. Any number of these may be awaited at once, by anyone:
 * first come, first served.
 *
 * Result    struct coil_task *; NULL after all n have been given
 * Errors    -ETIMEDOUT, once for each that had not ended in time; -ECANCELED,
 *           -ENOMEM
 * Lifetime  lends `c` until it is done
 * Source    asyncio.as_completed(), the plain iterator
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_completions_next(struct coil_completions *c);

/* How many are still to be given. */
COIL_API size_t coil_completions_count(const struct coil_completions *c);

/*
 * Those that are still to be given, as a source for FOR_AWAIT. It may be left
 * and begun again.
 *
 * Result    yields struct coil_task *
 * Errors    -ETIMEDOUT, -ENOMEM
 * Lifetime  lends `c` while the loop runs
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_completions_items(struct coil_completions *c);

COIL_END_DECLS

#endif
