// SPDX-License-Identifier: MIT
#ifndef COIL_SEMAPHORE_H
#define COIL_SEMAPHORE_H

/*
 * semaphore.h: a counting semaphore: a limit on how many tasks do something at
 * the same time.
 *
 *     coil_semaphore_init(&my->limit, 100);   // the owner
 *
 *     WITH(my->limit) {       // in each task to which the semaphore was lent:
 *                             // one permit until the brace
 *         ...
 *     }
 */

#include <coil/api.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

/*
 * In your memory; an _init function prepares it, and there is nothing to free.
 * The fields are private.
 */
struct coil_semaphore {
    struct coil_waiters waiters;
    size_t value;
    size_t limit;
    size_t woken;
};

/*
 * Make a semaphore with `value` free permits. A bounded semaphore never has
 * more: a release above `value` aborts.
 *
 * Source    asyncio.Semaphore, BoundedSemaphore
 */
COIL_API void coil_semaphore_init(struct coil_semaphore *sem, size_t value);
COIL_API void coil_semaphore_init_bounded(struct coil_semaphore *sem,
                                          size_t value);

/*
 * Acquire a permit; tasks wait in the order of arrival, and their code runs in
 * that order. So, as in asyncio, a new task waits even if a permit is free, as
 * long as a waiter that was woken has not run yet. WITH(sem) and HOLD(sem)
 * acquire a permit and release it, too.
 *
 * Result    0: the caller has a permit, even if its task was cancelled after
 *           the permit was granted
 * Errors    -ECANCELED, -ENOMEM: the caller has no permit
 * Lifetime  the caller lends `sem` until the future is freed. If no await has
 *           taken the permit by then, because its task was dropped, coil
 *           releases the permit
 * Source    asyncio Semaphore.acquire()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_semaphore_acquire(struct coil_semaphore *sem);

/*
 * Acquire a permit, unless coil_semaphore_locked() is true: so the call cannot
 * take a permit before a task that waits.
 *
 * Result    0: the caller has a permit
 * Errors    -EAGAIN: the semaphore is locked
 */
COIL_API int coil_semaphore_acquire_nowait(struct coil_semaphore *sem);

/*
 * Give a permit to the first waiter; without a waiter the permit becomes free.
 *
 * Source    asyncio Semaphore.release()
 */
COIL_API void coil_semaphore_release(struct coil_semaphore *sem);

/*
 * True if an acquire would wait: no permit is free, or a task waits, or a task
 * that waited was woken and has not run yet.
 *
 * Source    asyncio Semaphore.locked()
 */
COIL_API bool coil_semaphore_locked(const struct coil_semaphore *sem);

/* Number of free permits. */
COIL_API size_t coil_semaphore_value(const struct coil_semaphore *sem);

COIL_END_DECLS

#endif
