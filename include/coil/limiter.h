// SPDX-License-Identifier: MIT
#ifndef COIL_LIMITER_H
#define COIL_LIMITER_H

/*
 * limiter.h: at most so many at once, each known by name, and the number may
 * change.
 *
 *     coil_limiter_init(&limit, 40);
 *
 *     WITH(my->limit) {           // in each task: one token until the brace
 *         ...
 *     }
 *
 * A semaphore counts; a limiter knows who has what. So it notices a task that
 * borrows a second time, and would wait for itself, and one that returns what
 * it has not borrowed.
 */

#include <coil/api.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

struct coili_borrower;

/*
 * In your memory; begun by its _init; nothing to free once all tokens are back.
 * The fields are private.
 */
struct coil_limiter {
    struct coil_waiters waiters;
    struct coili_borrower *table; /* who has a token or waits for one */
    size_t capacity, n;
    size_t limit, borrowed;
};

/* Source: trio.CapacityLimiter */
COIL_API void coil_limiter_init(struct coil_limiter *limiter, size_t limit);

/*
 * Borrow a token, waiting for it in the order of arrival: for the task that
 * runs now, or for whatever `borrower` points to. It has one already, or waits
 * for one: aborts.
 *
 * Result    0: it is yours, also if a cancellation came with it
 * Errors    -ECANCELED, -ENOMEM: it is not
 * Lifetime  lends `limiter` until it is done
 * Source    trio CapacityLimiter.acquire(), acquire_on_behalf_of()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_limiter_acquire(struct coil_limiter *limiter);
COIL_API COIL_NODISCARD struct coil_future *
coil_limiter_acquire_for(struct coil_limiter *limiter, const void *borrower);

/*
 * The same without waiting, and without overtaking those who wait.
 *
 * Errors    -EAGAIN, -ENOMEM
 */
COIL_API int coil_limiter_acquire_nowait(struct coil_limiter *limiter);
COIL_API int coil_limiter_acquire_for_nowait(struct coil_limiter *limiter,
                                             const void *borrower);

/* Give the token back. One who has none: aborts. Allocates nothing. */
COIL_API void coil_limiter_release(struct coil_limiter *limiter);
COIL_API void coil_limiter_release_for(struct coil_limiter *limiter,
                                       const void *borrower);

/*
 * From now on there are `limit` tokens. More: those who wait get them at once.
 * Fewer than are borrowed: nobody gets one until enough are back.
 *
 * Source    trio CapacityLimiter.total_tokens
 */
COIL_API void coil_limiter_resize(struct coil_limiter *limiter, size_t limit);

struct coil_limiter_stats {
    size_t limit, borrowed;
    size_t available; /* to be had without waiting */
    size_t waiting;
};
COIL_API void coil_limiter_get_stats(const struct coil_limiter *limiter,
                                     struct coil_limiter_stats *out);

COIL_END_DECLS

#endif
