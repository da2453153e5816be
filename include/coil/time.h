// SPDX-License-Identifier: MIT
#ifndef COIL_TIME_H
#define COIL_TIME_H

/*
 * time.h: times and durations.
 *
 * Both are int64_t in nanoseconds; a time is one of the monotonic clock. A
 * function takes a duration unless its block says that it takes a time, which
 * is called a deadline. The time of day, coil_wall_now(), is for dates only.
 */

#include <coil/api.h>

COIL_BEGIN_DECLS

/*
 * Durations in nanoseconds; the argument may be a fraction, such as 1.5. A
 * duration that does not fit into an int64_t (292 years) becomes COIL_NEVER,
 * and NaN becomes 0. With a constant argument the result is a constant.
 */
#define COIL_SECONDS(s) COILI_NS((double)(s) * 1e9)
#define COIL_MS(ms) COILI_NS((double)(ms) * 1e6)
#define COIL_US(us) COILI_NS((double)(us) * 1e3)

/* A deadline that never comes; as a duration: without end. */
#define COIL_NEVER INT64_MAX

/*
 * The time now, read from the clock.
 *
 * Units     nanoseconds since an arbitrary start, monotonic
 * Source    asyncio loop.time(); clock_gettime(2), CLOCK_MONOTONIC
 */
COIL_API int64_t coil_now(void);

/*
 * The time of day, as the loop of this thread has it; a thread without a loop
 * aborts. For dates, such as those of certificates. It jumps when the clock of
 * the machine is set: for durations and deadlines there is coil_now().
 *
 * Units     nanoseconds since 1970-01-01 00:00 UTC
 * Source    time.time_ns(); clock_gettime(2), CLOCK_REALTIME
 */
COIL_API int64_t coil_wall_now(void);

/* Private. */
#define COILI_IN_RANGE(ns, otherwise) \
    ((ns) >= 9223372036854775807.0 ? INT64_MAX \
     : (ns) <= -9223372036854775807.0 ? -INT64_MAX \
     : (ns) == (ns) ? (otherwise) : 0)
#define COILI_NS(ns) \
    (__builtin_constant_p(ns) ? COILI_IN_RANGE(ns, (int64_t)(ns)) \
                              : coili_ns(ns))

static inline int64_t coili_ns(double ns)
{
    return COILI_IN_RANGE(ns, (int64_t)ns);
}

COIL_END_DECLS

#endif
