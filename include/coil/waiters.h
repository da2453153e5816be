// SPDX-License-Identifier: MIT
#ifndef COIL_WAITERS_H
#define COIL_WAITERS_H

/*
 * waiters.h: a line in which tasks wait their turn.
 *
 * Every primitive of coil stands on it, and so can your own. First come, first
 * served: a newcomer never overtakes the line, and what is handed to a task
 * that is cancelled before it ran is not lost: its await returns, and the
 * cancellation strikes its next one.
 *
 * coil_waiters_wait() is a future that waits in one line. What waits for more
 * than a turn (for an item, in several lines at once) is a future of your own
 * class with a struct coil_waiter in it for each line; queue.c and select.c are
 * made so.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

/* The head of a line. The fields are private. */
struct coil_waiters {
    struct coil_waiters *next, *prev;
};

/* Nobody waits. */
COIL_API void coil_waiters_init(struct coil_waiters *waiters);

/* True if nobody waits. */
COIL_API bool coil_waiters_empty(const struct coil_waiters *waiters);

/* How many wait. Counts them. */
COIL_API size_t coil_waiters_count(const struct coil_waiters *waiters);

/* Take what is free, if it is: true, and it is taken. */
typedef bool coil_try_fn(void *arg);

/*
 * Wait in line. If nobody is before us and `try_now(object)` says true the
 * await does not suspend.
 *
 * Result    0, or the pointer that coil_waiters_wake_with() gives
 * Errors    -ECANCELED, -ENOMEM
 * Lifetime  lends `line` and `object` until it is done; views `name`, which
 *           stands in await trees
 * Source    trio ParkingLot.park()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_waiters_wait(struct coil_waiters *waiters, const char *name,
                  coil_try_fn *try_now, void *arg);

/*
 * Let the first in line go; coil_waiters_wake_with() hands `value` to it.
 *
 * Result    false if nobody waits: then nobody has `value`
 * Source    trio ParkingLot.unpark()
 */
COIL_API bool coil_waiters_wake(struct coil_waiters *waiters);
COIL_API bool coil_waiters_wake_with(struct coil_waiters *waiters, void *value);

/* ---- Places ------------------------------------------------------------- */

struct coil_waiter;

/*
 * It is your turn: called by who lets you go, with the value that is handed
 * over or NULL. The place has left its line. Complete your future, leave the
 * other lines; what it calls must not wait and cannot fail.
 */
typedef void coil_granted_fn(struct coil_waiter *waiter, void *value);

/* A waiter, a field of yours; zero: in no line. The fields are private. */
struct coil_waiter {
    struct coil_waiters link;
    coil_granted_fn *granted;
};

/*
 * Stand at the end of the line. Nothing is allocated.
 *
 * Lifetime  lends both until it was granted or has left
 */
COIL_API void coil_waiters_enter(struct coil_waiters *waiters,
                                 struct coil_waiter *waiter,
                                 coil_granted_fn *granted);

/* Leave the line. False if it is in none. */
COIL_API bool coil_waiters_leave(struct coil_waiter *waiter);

/* The first in line, who stays there; or NULL. */
COIL_API struct coil_waiter *
coil_waiters_first(const struct coil_waiters *waiters);

COIL_END_DECLS

#endif
