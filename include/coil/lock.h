// SPDX-License-Identifier: MIT
#ifndef COIL_LOCK_H
#define COIL_LOCK_H

/*
 * lock.h: mutual exclusion across awaits.
 *
 *     WITH(&my->lock) {
 *         AWAIT(...);             // no other task is in such a block meanwhile
 *     }
 *
 * Between two awaits of a task no other task runs. So a lock is needed only for
 * data that must stay consistent while its owner awaits. WITH holds the lock
 * until the closing brace, HOLD(&my->lock) until the coroutine ends.
 */

#include <coil/api.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

/*
 * In your memory; coil_lock_init() prepares it, and there is nothing to free.
 * The fields are private, but a waiter of yours (waiters.h) may enter `waiters`
 * while the lock is held: when it is granted, it holds the lock.
 */
struct coil_lock {
    struct coil_waiters waiters;
    bool locked;
};

/* Make a lock that is free. Source: asyncio.Lock */
COIL_API void coil_lock_init(struct coil_lock *lock);

/*
 * Acquire the lock; tasks wait for it in the order of arrival.
 *
 * Result    0: the caller holds the lock, even if its task was cancelled
 *           after the lock was handed to it
 * Errors    -ECANCELED, -ENOMEM: the caller does not hold the lock
 * Lifetime  the caller lends `lock` until the future is freed. If no await has
 *           taken the lock by then, because its task was dropped, coil releases
 *           the lock
 * Source    asyncio Lock.acquire(); here a release hands the lock to the first
 *           waiter, so no other task can take it in between
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_lock_acquire(struct coil_lock *lock);

/*
 * Acquire the lock if it is free.
 *
 * Result    0: the caller holds the lock
 * Errors    -EAGAIN: it is held
 */
COIL_API int coil_lock_acquire_nowait(struct coil_lock *lock);

/*
 * Hand the lock to the first waiter; without one the lock is free. Aborts if
 * the lock is not held.
 *
 * Source    asyncio Lock.release()
 */
COIL_API void coil_lock_release(struct coil_lock *lock);

/* True while the lock is held. Source: asyncio Lock.locked() */
COIL_API bool coil_lock_locked(const struct coil_lock *lock);

COIL_END_DECLS

#endif
