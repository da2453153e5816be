// SPDX-License-Identifier: MIT
#ifndef COIL_RACE_H
#define COIL_RACE_H

/*
 * race.h: the first task or call that succeeds wins; the others are cancelled.
 *
 *     AWAIT_TO(my->which, coil_race(my->tasks, 3));
 *     AWAIT_TO(my->fd, coil_staggered_race(COIL_MS(250), NULL, next_addr, my));
 *
 * To learn which one is first without cancelling the others, use coil_wait()
 * with COIL_FIRST_SUCCESS or COIL_FIRST_COMPLETED.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/map.h>
#include <coil/task.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

/*
 * Wait until one of the tasks has succeeded, cancel the others, and wait until
 * they have ended. Cancelling the race cancels all tasks and goes on to wait
 * until they have ended; cancelling it a second time ends it at once. A task
 * that succeeds although the race was cancelled wins. For calls in place of
 * tasks use coil_staggered_race().
 *
 * Result    the index of the winner; the value stays in its task. Of several
 *           tasks that are done when the race begins, the first in the array
 *           that has succeeded
 * Errors    if all have failed: the error of the first task in the array that
 *           was not cancelled, or -ECANCELED if all were; each task keeps its
 *           own. -EINVAL: `n` is 0; -ECANCELED: the race was cancelled; -ENOMEM
 * Lifetime  copies the array; shares the tasks until the race is over. A race
 *           that succeeds takes the permit that its winner returned, as of a
 *           lock: if the race is discarded afterwards, coil does not release it
 * Source    Twisted race(); Promise.any()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_race(struct coil_task *const *tasks, size_t n);

/* The outcome of each call of a staggered race. Zero it before the race. */
struct coil_race_log {
    int *errors;     /* NULL, or an array that you lend: the error of each call,
                        in the order in which they began; 0 for the winner
                        alone; -ECANCELED for a call that was cancelled, or
                        succeeded too late */
    size_t errors_n; /* elements of `errors`; further calls are not recorded */
    size_t begun;    /* calls that began */
    size_t winner;   /* number of the winner, from 0; SIZE_MAX: none */
};

/*
 * Begin the calls that `source` makes, one after the other: the next call when
 * the one before has failed, or when `delay_ns` has passed since it began. The
 * first call that succeeds wins. The others are cancelled, and have ended when
 * the race ends.
 *
 * Units     nanoseconds; 0 or less: all calls begin at once; COIL_NEVER: the
 *           next call begins only when the one before has failed
 * Result    the result of the winner; what the winner's future would free is
 *           handed on with it
 * Errors    if all have failed: the error of the first call that was not
 *           cancelled. -EINVAL: `source` made no call; -ENOMEM; -ECANCELED: the
 *           race was cancelled; all calls have ended, and the value of one that
 *           succeeded meanwhile is disposed of
 * Lifetime  the caller lends `arg` and `log` (which may be NULL) until the
 *           future is done
 * Source    asyncio.staggered.staggered_race(); RFC 8305, happy eyeballs
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_staggered_race(int64_t delay_ns, struct coil_race_log *log,
                    coil_source_fn *source, void *arg);

COIL_END_DECLS

#endif
