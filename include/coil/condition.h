// SPDX-License-Identifier: MIT
#ifndef COIL_CONDITION_H
#define COIL_CONDITION_H

/*
 * condition.h: wait, under a lock, until something is so.
 *
 *     WITH(my->cond) {
 *         AWAIT(coil_condition_wait_for(my->cond, has_room, my->buffer));
 *         ...
 *         coil_condition_notify(my->cond, 1);
 *     }
 *
 * A coroutine must not HOLD a condition until its end while a child of it waits
 * there: children end before holds are released, and the wait of a child that
 * is cancelled needs the lock. WITH releases it at the closing brace, before
 * that.
 *
 * For what must stay whole across awaits and is waited for: without an await
 * between test and use an event, or a queue, is simpler.
 */

#include <coil/api.h>
#include <coil/lock.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

/*
 * In your memory; begun by its _init, and there is nothing to free. The fields
 * but `lock` are private.
 */
struct coil_condition {
    struct coil_lock *lock;
    struct coil_waiters waiters;
    struct coil_lock own;
};

/*
 * A condition over `lock`, which several may share; NULL: over one of its own.
 * WITH(cond) and HOLD(cond) hold its lock.
 *
 * Lifetime  lends `lock` as long as it is used
 * Source    asyncio.Condition
 */
COIL_API void coil_condition_init(struct coil_condition *cond,
                                  struct coil_lock *lock);

/*
 * Let go of the lock, wait to be notified, have the lock again. Whatever the
 * result, you hold the lock: if you are cancelled you wait for it all the same,
 * and nothing cuts that short. A notification that came to one who was
 * cancelled before it had the lock goes to the next. Without the lock: aborts.
 *
 * Result    0: notified, also if a cancellation came when the lock was there
 * Errors    -ECANCELED; -ENOMEM: it was not let go of
 * Lifetime  lends `cond` until it is done
 * Source    asyncio Condition.wait()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_condition_wait(struct coil_condition *cond);

typedef bool coil_predicate_fn(void *arg);

/*
 * Wait until `predicate(arg)` is true. It is asked first, without waiting, and
 * always under the lock.
 *
 * Result    0
 * Errors    as coil_condition_wait(), the lock held with each
 * Lifetime  lends `cond` and `arg` until it is done
 * Source    asyncio Condition.wait_for()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_condition_wait_for(struct coil_condition *cond,
                        coil_predicate_fn *predicate, void *arg);

/*
 * Let the first `n` go, or all: each as soon as it has the lock. Without the
 * lock: aborts.
 *
 * Source    asyncio Condition.notify(n), notify_all()
 */
COIL_API void coil_condition_notify(struct coil_condition *cond, size_t n);
COIL_API void coil_condition_notify_all(struct coil_condition *cond);

COIL_END_DECLS

#endif
