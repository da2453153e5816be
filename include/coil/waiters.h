// SPDX-License-Identifier: MIT
#ifndef COIL_WAITERS_H
#define COIL_WAITERS_H

/*
 * waiters.h: a list of waiters, first in, first out.
 *
 *     struct latch {                      // a primitive of your own
 *         struct coil_waiters waiters;
 *         bool open;
 *     };
 *
 *     static bool is_open(void *arg)
 *     {
 *         return ((struct latch *)arg)->open;
 *     }
 *
 *     AWAIT(coil_waiters_wait(&latch->waiters, "latch", is_open, latch));
 *
 *     latch->open = true;                 // in another task
 *     while (coil_waiters_wake(&latch->waiters))
 *         continue;
 *
 * Locks, semaphores, queues and all other primitives of coil are made of this
 * list. A new waiter never overtakes those that wait already. A value that is
 * handed to a waiter is never lost: if its task is cancelled after the waiter
 * was woken and before the task ran, the await still returns the value, and the
 * cancellation strikes the next await of the task.
 *
 * coil_waiters_wait() returns a future that waits in one list. To wait for an
 * item, or in several lists at once, write a class of futures (future.h) with
 * one struct coil_waiter for each list, as queue.c and select.c do.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

/* A list of waiters, in your memory. The fields are private. */
struct coil_waiters {
    struct coil_waiters *next, *prev;
};

/* Make an empty list. There is nothing to free. */
COIL_API void coil_waiters_init(struct coil_waiters *waiters);

/* True if the list is empty. */
COIL_API bool coil_waiters_empty(const struct coil_waiters *waiters);

/* Number of waiters. Takes time proportional to it. */
COIL_API size_t coil_waiters_count(const struct coil_waiters *waiters);

/*
 * Try to take what is waited for (a lock, a permit) without waiting.
 *
 * Result    true if it was taken
 */
typedef bool coil_try_fn(void *arg);

/*
 * Wait in the list until coil_waiters_wake() wakes this waiter. At the await,
 * if the list is empty, `try_now(arg)` is called first: if it returns true, the
 * await does not suspend.
 *
 * Result    0, or the pointer that was given to coil_waiters_wake_with()
 * Errors    -ECANCELED, -ENOMEM
 * Lifetime  the caller lends `waiters`, `arg` and `name` until the future is
 *           done; await trees show `name`
 * Source    trio ParkingLot.park()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_waiters_wait(struct coil_waiters *waiters, const char *name,
                  coil_try_fn *try_now, void *arg);

/*
 * As coil_waiters_wait(), for an object that the waiter acquires and has to
 * release, such as a lock. If no await takes the result, because the task that
 * waited was dropped, `give_back(arg)` is called when the future is freed.
 *
 * Result    0
 * Errors    -ECANCELED, -ENOMEM
 * Lifetime  the caller lends `waiters`, `arg` and `name` until the future is
 *           freed
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_waiters_acquire(struct coil_waiters *waiters, const char *name,
                     coil_try_fn *try_now, coil_call_fn *give_back, void *arg);

/*
 * Wake the first waiter and remove it from the list. coil_waiters_wake_with()
 * hands `value` to it.
 *
 * Result    false if the list is empty: the caller keeps `value`
 * Source    trio ParkingLot.unpark()
 */
COIL_API bool coil_waiters_wake(struct coil_waiters *waiters);
COIL_API bool coil_waiters_wake_with(struct coil_waiters *waiters, void *value);

/* ---- Waiters of your own futures --------------------------------------- */

struct coil_waiter;

/*
 * Called by coil_waiters_wake() or coil_waiters_wake_with() when `waiter` is
 * woken, with the value that is handed over or NULL. The waiter has left its
 * list already. Complete your future here, and leave the other lists in which
 * it waits. The function must not await, and cannot fail.
 */
typedef void coil_granted_fn(struct coil_waiter *waiter, void *value);

/*
 * A waiter, a field of a struct of yours. A waiter of zero bytes is in no list.
 * The fields are private.
 */
struct coil_waiter {
    struct coil_waiters link;
    coil_granted_fn *granted;
};

/*
 * Append a waiter to the list. Nothing is allocated.
 *
 * Lifetime  the caller lends `waiters` and `waiter` until `granted` was called
 *           or the waiter has left the list
 */
COIL_API void coil_waiters_enter(struct coil_waiters *waiters,
                                 struct coil_waiter *waiter,
                                 coil_granted_fn *granted);

/*
 * Remove a waiter from its list.
 *
 * Result    false if it is in no list
 */
COIL_API bool coil_waiters_leave(struct coil_waiter *waiter);

/* The first waiter, which stays in the list; NULL if the list is empty. */
COIL_API struct coil_waiter *
coil_waiters_first(const struct coil_waiters *waiters);

COIL_END_DECLS

#endif
