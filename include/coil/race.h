// SPDX-License-Identifier: MIT
#ifndef COIL_RACE_H
#define COIL_RACE_H

/*
 * race.h: several ways to one end; the first that succeeds is taken.
 *
 * Who only wants to know which one was first, and leaves the others running,
 * has coil_wait(..., COIL_FIRST_SUCCESS or COIL_FIRST_COMPLETED, ...).
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/map.h>
#include <coil/task.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

/*
 * Wait until one of the tasks has ended well; then cancel the others, and wait
 * until they have ended. For calls there is coil_staggered_race().
 *
 * Result    the index of the winner, which has the value; of those done
 *           already the first in the array. One that succeeds although the
 *           race was cancelled has won
 * Errors    all have failed: that of the first in the array that was not
 *           cancelled; each task has its own. -EINVAL for n == 0; -ECANCELED
 *           after all have ended, at once if it is cancelled a second time
 * Lifetime  lends the array until it is done
 * Source    Twisted race(); Promise.any()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_race(struct coil_task *const *tasks, size_t n);

/* What became of a staggered race; zero it, and lend it an array. */
struct coil_race_log {
    int *errors;   /* of each call in the order in which they began; 0 for the
                      winner, -ECANCELED for who lost; may be NULL */
    size_t errors_n; /* elements of `errors`; calls beyond are not noted */
    size_t begun;  /* calls that began */
    size_t winner; /* its number; SIZE_MAX: none */
};

/*
 * Begin the calls that `source` makes one after the other: the next one when
 * the one before has failed, or was not done within `delay_ns`. The first that
 * ends well wins: the others are cancelled, and have ended when this ends.
 *
 * Units     nanoseconds; 0 or less: all at once; COIL_NEVER: the next one only
 *           when the one before has failed
 * Result    the winner's, and what it owns goes along
 * Errors    all have failed: that of the first one that was not cancelled.
 *           -EINVAL if the source had none; -ECANCELED once all have ended,
 *           where one that succeeds on the way is disposed of
 * Lifetime  lends `arg` and `log` (which may be NULL) until it is done
 * Source    asyncio.staggered.staggered_race(); RFC 8305, happy eyeballs
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_staggered_race(int64_t delay_ns, struct coil_race_log *log,
                    coil_source_fn *source, void *arg);

COIL_END_DECLS

#endif
