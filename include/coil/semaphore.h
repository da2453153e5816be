// SPDX-License-Identifier: MIT
#ifndef COIL_SEMAPHORE_H
#define COIL_SEMAPHORE_H

/*
 * semaphore.h: at most so many at once.
 *
 *     struct coil_semaphore limit;
 *     coil_semaphore_init(&limit, 100);
 *
 *     WITH(my->limit) {       // in each task: one permit until the brace
 *         ...
 *     }
 */

#include <coil/api.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

/*
 * In your memory; begun by its _init, and there is nothing to free. The fields
 * are private.
 */
struct coil_semaphore {
    struct coil_waiters waiters;
    size_t value;
    size_t limit;
};

/*
 * Begin with `value` permits. A bounded one never has more than that: to
 * release one too many aborts.
 *
 * Source    asyncio.Semaphore, BoundedSemaphore
 */
COIL_API void coil_semaphore_init(struct coil_semaphore *sem, size_t value);
COIL_API void coil_semaphore_init_bounded(struct coil_semaphore *sem,
                                          size_t value);

/*
 * Wait for a permit, in the order of arrival. Mostly written WITH(sem) or
 * HOLD(sem), which also give it back.
 *
 * Result    0: a permit is yours, also if a cancellation came with it
 * Errors    -ECANCELED, -ENOMEM: you have none
 * Lifetime  lends `sem` until it is done
 * Source    asyncio Semaphore.acquire()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_semaphore_acquire(struct coil_semaphore *sem);

/*
 * Take a permit without waiting, and without overtaking those who wait.
 *
 * Errors    -EAGAIN
 */
COIL_API int coil_semaphore_acquire_nowait(struct coil_semaphore *sem);

/* Give a permit back: to the first who waits, if anybody does. */
COIL_API void coil_semaphore_release(struct coil_semaphore *sem);

/*
 * True if acquire would wait now.
 *
 * Source    asyncio Semaphore.locked()
 */
COIL_API bool coil_semaphore_locked(const struct coil_semaphore *sem);

/* Free permits. */
COIL_API size_t coil_semaphore_value(const struct coil_semaphore *sem);

COIL_END_DECLS

#endif
