// SPDX-License-Identifier: MIT
#ifndef COIL_CONDITION_H
#define COIL_CONDITION_H

/*
 * condition.h: a condition variable: wait, under a lock, until a predicate is
 * true.
 *
 *     WITH(my->cond) {
 *         AWAIT(coil_condition_wait_for(my->cond, has_room, my->buffer));
 *         ...
 *         coil_condition_notify(my->cond, 1);
 *     }
 *
 * A condition is for data that must stay consistent across awaits. If there is
 * no await between the test and the use, an event or a queue is simpler.
 *
 * A coroutine must not end while it HOLDs the lock of a condition for which a
 * child of the coroutine waits, and a WITH of that lock must not contain the
 * GROUP of that child. In both cases the lock is released after the children
 * have ended, but the wait of a cancelled child needs the lock to end: the
 * program aborts and names both coroutines. A WITH without such a GROUP is
 * right: it releases the lock at its closing brace, before the children end.
 */

#include <coil/api.h>
#include <coil/lock.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

/*
 * In your memory; coil_condition_init() prepares it, and there is nothing to
 * free. The fields other than `lock` are private.
 */
struct coil_condition {
    struct coil_lock *lock;
    struct coil_waiters waiters;
    struct coil_lock own;
};

/*
 * Make a condition with `lock`, which several conditions may share, or, if
 * `lock` is NULL, with a lock of its own. WITH(cond) and HOLD(cond) hold the
 * lock of the condition.
 *
 * Lifetime  the caller lends `lock` as long as the condition is used
 * Source    asyncio.Condition
 */
COIL_API void coil_condition_init(struct coil_condition *cond,
                                  struct coil_lock *lock);

/*
 * Release the lock, wait for a notification, and acquire the lock again.
 * Afterwards the caller holds the lock, whatever the result: a wait that is
 * cancelled waits for the lock all the same, and no further cancellation cuts
 * that short. If a waiter is notified, and cancelled before it has the lock,
 * its notification goes to the next waiter. Aborts if the lock is not held.
 *
 * Result    0: notified, even if the task was cancelled after the wait had the
 *           lock again
 * Errors    -ECANCELED; -ENOMEM: the lock was not released meanwhile
 * Lifetime  the caller lends `cond` until the future is done
 * Source    asyncio Condition.wait()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_condition_wait(struct coil_condition *cond);

/* True if what `arg` points to is in the state that the caller waits for. */
typedef bool coil_predicate_fn(void *arg);

/*
 * Wait until `predicate(arg)` is true. It is called first without waiting, then
 * after each notification, and always while the lock is held. Aborts if the
 * lock is not held.
 *
 * Result    0
 * Errors    -ECANCELED, -ENOMEM; the caller holds the lock with each
 * Lifetime  the caller lends `cond` and `arg` until the future is done
 * Source    asyncio Condition.wait_for()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_condition_wait_for(struct coil_condition *cond,
                        coil_predicate_fn *predicate, void *arg);

/*
 * Wake the first `n` waiters, or all. Each goes on as soon as it has the lock.
 * Aborts if the lock is not held.
 *
 * Source    asyncio Condition.notify(n), notify_all()
 */
COIL_API void coil_condition_notify(struct coil_condition *cond, size_t n);
COIL_API void coil_condition_notify_all(struct coil_condition *cond);

COIL_END_DECLS

#endif
