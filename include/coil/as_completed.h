// SPDX-License-Identifier: MIT
#ifndef COIL_AS_COMPLETED_H
#define COIL_AS_COMPLETED_H

/*
 * as_completed.h: tasks in the order in which they end.
 *
 *     FOR_AWAIT(my->done, coil_as_completed(my->tasks, my->n)) { ... }
 *
 * A struct coil_completions does the same without FOR_AWAIT. Use it to stop
 * and continue later, or to have several readers:
 *
 *     AWAIT_TO(my->done, coil_completions_next(&my->completions));
 *
 * Both return the tasks themselves, so that you know which task has ended. The
 * error of a task stays in the task. A time-out or a reader that stops does not
 * cancel any task. A task that is in the array twice is returned twice.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/task.h>
#include <coil/time.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

/*
 * The tasks in the order in which they end: a source for FOR_AWAIT. The tasks
 * continue if the loop is left early.
 *
 * Units     timeout_ns is in nanoseconds, from the first iteration on;
 *           COIL_NEVER: no time-out
 * Result    yields struct coil_task *, n times
 * Errors    -ETIMEDOUT, after all tasks that have ended in time; -ENOMEM
 * Lifetime  the caller lends the array until the FOR_AWAIT is over
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
 * Begin to record the order in which the tasks end.
 *
 * Units     timeout_ns is in nanoseconds, from this call on; COIL_NEVER: no
 *           time-out
 * Result    0
 * Errors    -ENOMEM: the recording has not begun
 * Lifetime  copies the array. The caller lends `c`, and coil shares the tasks,
 *           until coil_completions_fini()
 */
COIL_API COIL_NODISCARD int
coil_completions_init(struct coil_completions *c,
                      struct coil_task *const *tasks, size_t n,
                      int64_t timeout_ns);

/*
 * Stop recording and release the tasks. A coil_completions_next() that still
 * waits returns NULL.
 */
COIL_API void coil_completions_fini(struct coil_completions *c);

/*
 * The next task that ends. Any number of tasks may await this at the same time;
 * they are served in the order of arrival.
 *
 * Result    struct coil_task *; NULL after all n were returned
 * Errors    -ETIMEDOUT, once for each task that has not ended in time;
 *           -ECANCELED; -ENOMEM
 * Lifetime  the caller lends `c` until the future is done
 * Source    asyncio.as_completed(), the plain iterator
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_completions_next(struct coil_completions *c);

/* Number of results that coil_completions_next() will return before NULL. */
COIL_API size_t coil_completions_count(const struct coil_completions *c);

/*
 * The tasks that were not returned yet: a source for FOR_AWAIT. If the loop is
 * left early, another loop may continue.
 *
 * Result    yields struct coil_task *
 * Errors    -ETIMEDOUT, -ENOMEM
 * Lifetime  the caller lends `c` until the FOR_AWAIT is over
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_completions_items(struct coil_completions *c);

COIL_END_DECLS

#endif
