// SPDX-License-Identifier: MIT
#ifndef COIL_BARRIER_H
#define COIL_BARRIER_H

/*
 * barrier.h: a fixed number of tasks wait for one another, round after round.
 *
 *     coil_barrier_init(&barrier, 3);
 *
 *     for (my->step = 0; my->step < 10; my->step++) {     // in 3 tasks
 *         compute(my);
 *         AWAIT(coil_barrier_wait(my->barrier));  // until all 3 are here
 *     }
 */

#include <coil/api.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

/*
 * In your memory; coil_barrier_init() prepares it, and there is nothing to
 * free. The fields are private.
 */
struct coil_barrier {
    struct coil_waiters waiters;
    size_t parties, waiting;
    bool broken;
};

/*
 * Make a barrier for rounds of `parties` tasks. Aborts if `parties` is 0.
 *
 * Source    asyncio.Barrier
 */
COIL_API void coil_barrier_init(struct coil_barrier *barrier, size_t parties);

/*
 * Wait until `parties` tasks wait. The last one wakes all of them; a task that
 * arrives later belongs to the next round. A task that is cancelled while it
 * waits does not count.
 *
 * Result    0 to parties - 1, a different number for each task of a round, in
 *           the order of arrival
 * Errors    COIL_EBROKEN: the barrier was reset while the task waited, or is
 *           aborted; -ECANCELED; -ENOMEM
 * Lifetime  the caller lends `barrier` until the future is done
 * Source    asyncio Barrier.wait(). There a late task waits until all tasks of
 *           the round before have left, and the number of a cancelled task may
 *           be given twice
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_barrier_wait(struct coil_barrier *barrier);

/*
 * All waits fail with COIL_EBROKEN. Then the barrier is as new, also if it was
 * aborted before.
 *
 * Source    asyncio Barrier.reset()
 */
COIL_API void coil_barrier_reset(struct coil_barrier *barrier);

/*
 * All waits fail with COIL_EBROKEN, also later ones until the barrier is reset.
 * Call this when one of the tasks will not arrive any more.
 *
 * Source    asyncio Barrier.abort()
 */
COIL_API void coil_barrier_abort(struct coil_barrier *barrier);

/* True if the barrier is aborted. Source: asyncio Barrier.broken */
COIL_API bool coil_barrier_broken(const struct coil_barrier *barrier);

/* Number of tasks that wait. Source: asyncio Barrier.n_waiting */
COIL_API size_t coil_barrier_waiting(const struct coil_barrier *barrier);

COIL_END_DECLS

#endif
