// SPDX-License-Identifier: MIT
#ifndef COIL_WAITERS_H
#define COIL_WAITERS_H

/*
 * waiters.h: a line in which tasks wait their turn.
 *
 * Semaphore, lock and event stand on it, and so can your own primitive. First
 * come, first served: a newcomer never overtakes the line, and what is handed
 * to a task that is cancelled before it ran is not lost: its await returns,
 * and the cancellation strikes its next one.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

/* The head of a line. The fields are private. */
struct coil_waiters {
    struct coil_waiters *next, *prev;
};

COIL_API void coil_waiters_init(struct coil_waiters *line);

/* True if nobody waits. */
COIL_API bool coil_waiters_empty(const struct coil_waiters *line);

/* How many wait. Counts them. */
COIL_API size_t coil_waiters_count(const struct coil_waiters *line);

/* Take what is free, if it is: true, and it is taken. */
typedef bool coil_try_fn(void *object);

/*
 * Wait in line. If nobody is before us and `try_now(object)` says true the
 * await does not suspend.
 *
 * Result    0
 * Errors    -ECANCELED, -ENOMEM
 * Lifetime  lends `line` and `object` until it is done; views `name`, which
 *           stands in await trees
 * Source    trio ParkingLot.park()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_park(struct coil_waiters *line, const char *name, coil_try_fn *try_now,
          void *object);

/*
 * Let the first in line go.
 *
 * Result    false if nobody waits
 * Source    trio ParkingLot.unpark()
 */
COIL_API bool coil_unpark(struct coil_waiters *line);

COIL_END_DECLS

#endif
