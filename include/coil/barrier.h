// SPDX-License-Identifier: MIT
#ifndef COIL_BARRIER_H
#define COIL_BARRIER_H

/*
 * barrier.h: so many wait for one another, again and again.
 */

#include <coil/api.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

/*
 * In your memory; begun by its _init, and there is nothing to free. The fields
 * are private.
 */
struct coil_barrier {
    struct coil_waiters waiters;
    size_t parties, waiting;
    bool broken;
};

/* For rounds of `parties` tasks, at least one. */
COIL_API void coil_barrier_init(struct coil_barrier *barrier, size_t parties);

/*
 * Wait until as many have come as there are parties; then all go at once, and
 * who comes later is in the next round. Cancelled while it waits one counts as
 * never come.
 *
 * Result    0 to parties - 1, another one for each of a round, in the order in
 *           which they came
 * Errors    COIL_EBROKEN it was reset or aborted; -ECANCELED, -ENOMEM
 * Lifetime  lends `barrier` until it is done
 * Source    asyncio Barrier.wait(); there who is late waits until all of the
 *           round before have left, and of a cancelled one the index may be
 *           given twice
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_barrier_wait(struct coil_barrier *barrier);

/*
 * Those who wait fail with COIL_EBROKEN; then the barrier is as new.
 *
 * Source    asyncio Barrier.reset()
 */
COIL_API void coil_barrier_reset(struct coil_barrier *barrier);

/*
 * The same, and whoever comes fails too, until it is reset: for when one who is
 * needed will not come any more.
 *
 * Source    asyncio Barrier.abort()
 */
COIL_API void coil_barrier_abort(struct coil_barrier *barrier);
COIL_API bool coil_barrier_broken(const struct coil_barrier *barrier);

/* How many wait. Source: asyncio Barrier.n_waiting */
COIL_API size_t coil_barrier_waiting(const struct coil_barrier *barrier);

COIL_END_DECLS

#endif
