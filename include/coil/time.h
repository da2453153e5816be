// SPDX-License-Identifier: MIT
#ifndef COIL_TIME_H
#define COIL_TIME_H

/*
 * time.h: one time type.
 *
 * Every time and duration is an int64_t in nanoseconds on the monotonic clock.
 * Functions inside the loop take deadlines, functions for users durations.
 */

#include <coil/api.h>

COIL_BEGIN_DECLS

/*
 * Durations in nanoseconds; the argument may be a fraction: 1.5. What is longer
 * than an int64_t holds, 292 years, is COIL_NEVER; what is no number is 0. Of
 * constants they are constants.
 */
#define COIL_SECONDS(s) COILI_NS((double)(s) * 1e9)
#define COIL_MS(ms) COILI_NS((double)(ms) * 1e6)
#define COIL_US(us) COILI_NS((double)(us) * 1e3)

/* A deadline that never comes. */
#define COIL_NEVER INT64_MAX

/*
 * The time now, read from the clock.
 *
 * Units     nanoseconds since an arbitrary start, monotonic
 * Source    asyncio loop.time(); clock_gettime(2), CLOCK_MONOTONIC
 */
COIL_API int64_t coil_now(void);

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
