// SPDX-License-Identifier: MIT
#ifndef COIL_LIMITER_H
#define COIL_LIMITER_H

/*
 * limiter.h: a semaphore that knows its borrowers, and whose limit can change.
 *
 *     coil_limiter_init(&my->limit, 40);      // the owner
 *
 *     WITH(my->limit) {       // in each task to which the limiter was lent:
 *                             // one token until the brace
 *         ...
 *     }
 *
 * A semaphore only counts permits. A limiter knows the borrower of each token,
 * so it detects a task that acquires a second token, which could wait for
 * itself, and a task that releases a token which it does not have.
 */

#include <coil/api.h>
#include <coil/waiters.h>

COIL_BEGIN_DECLS

struct coili_borrower;

/*
 * In your memory; coil_limiter_init() prepares it, and there is nothing to free
 * once no borrower has a token or waits for one. The fields are private.
 */
struct coil_limiter {
    struct coil_waiters waiters;
    struct coili_borrower *table; /* which have a token or wait for one */
    size_t capacity, n;           /* of the table */
    size_t limit, borrowed;
};

/* Make a limiter with `limit` tokens. Source: trio.CapacityLimiter */
COIL_API void coil_limiter_init(struct coil_limiter *limiter, size_t limit);

/*
 * Acquire a token, for the running task or for the borrower that the pointer
 * `borrower` stands for; borrowers wait in the order of arrival. Aborts if this
 * borrower has a token already or waits for one; coil_limiter_acquire() also
 * aborts if no task runs.
 *
 * Result    0: the borrower has a token, even if the task was cancelled after
 *           the token was handed to it
 * Errors    -ECANCELED, -ENOMEM: the borrower has no token
 * Lifetime  a granted token stays with its borrower until it is released, also
 *           if the future is discarded (the permit of a semaphore is released
 *           then). The caller lends `limiter` until the future is done; coil
 *           compares `borrower`, but never reads what the pointer points to
 * Source    trio CapacityLimiter.acquire(), acquire_on_behalf_of()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_limiter_acquire(struct coil_limiter *limiter);
COIL_API COIL_NODISCARD struct coil_future *
coil_limiter_acquire_for(struct coil_limiter *limiter, const void *borrower);

/*
 * Acquire a token if one is free. While borrowers wait none is free, so this
 * never overtakes them. Aborts as coil_limiter_acquire() does.
 *
 * Result    0: the borrower has a token
 * Errors    -EAGAIN: none is free; -ENOMEM
 */
COIL_API int coil_limiter_acquire_nowait(struct coil_limiter *limiter);
COIL_API int coil_limiter_acquire_for_nowait(struct coil_limiter *limiter,
                                             const void *borrower);

/*
 * Release the token of the running task or of `borrower`. Aborts if it has
 * none. Allocates nothing.
 *
 * Source    trio CapacityLimiter.release(), release_on_behalf_of()
 */
COIL_API void coil_limiter_release(struct coil_limiter *limiter);
COIL_API void coil_limiter_release_for(struct coil_limiter *limiter,
                                       const void *borrower);

/*
 * Change the number of tokens to `limit`. Additional tokens go to waiters at
 * once. If more than `limit` tokens are borrowed, the limiter lends none until
 * enough are released.
 *
 * Source    trio CapacityLimiter.total_tokens
 */
COIL_API void coil_limiter_resize(struct coil_limiter *limiter, size_t limit);

struct coil_limiter_stats {
    size_t limit, borrowed; /* tokens in all, and those that are borrowed */
    size_t available;       /* tokens that can be acquired without waiting */
    size_t waiting;         /* borrowers that wait */
};

/* Get the numbers of a limiter. Source: trio CapacityLimiter.statistics() */
COIL_API void coil_limiter_get_stats(const struct coil_limiter *limiter,
                                     struct coil_limiter_stats *out);

COIL_END_DECLS

#endif
