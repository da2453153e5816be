// SPDX-License-Identifier: MIT
#ifndef COIL_LOCK_H
#define COIL_LOCK_H

/*
 * lock.h: one at a time, across awaits.
 *
 *     WITH(&my->lock) {
 *         AWAIT(...);             // no other task is in such a block meanwhile
 *     }
 *
 * Between two awaits no other task runs; a lock is for what must stay whole
 * while its owner waits. HOLD(&lock) takes it until the coroutine ends.
 */

#include <coil/api.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

/*
 * In your memory; begun by its _init, and there is nothing to free. The fields
 * are private, but a place of yours (waiters.h) may stand in `line` while it is
 * locked: to be granted is to have the lock.
 */
struct coil_lock {
    struct coil_waiters waiters;
    bool locked;
};

/* Free. Source: asyncio.Lock */
COIL_API void coil_lock_init(struct coil_lock *lock);

/*
 * Wait until it is ours, in the order of arrival.
 *
 * Result    0: it is yours, also if a cancellation came with it
 * Errors    -ECANCELED, -ENOMEM: it is not
 * Lifetime  lends `lock` until it is done
 * Source    asyncio Lock.acquire(); here release() hands it over, so nobody
 *           gets in between
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_lock_acquire(struct coil_lock *lock);

/*
 * Take it if it is free.
 *
 * Errors    -EAGAIN
 */
COIL_API int coil_lock_acquire_nowait(struct coil_lock *lock);

/* Give it to the first who waits, or free it. One that is free aborts. */
COIL_API void coil_lock_release(struct coil_lock *lock);

/* True while somebody has it. Source: asyncio Lock.locked() */
COIL_API bool coil_lock_locked(const struct coil_lock *lock);

COIL_END_DECLS

#endif
