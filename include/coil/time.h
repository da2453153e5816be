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

/* Durations in nanoseconds; the argument may be a fraction: 1.5. */
#define COIL_SECONDS(s) ((int64_t)((double)(s) * 1e9))
#define COIL_MS(ms) ((int64_t)((double)(ms) * 1e6))
#define COIL_US(us) ((int64_t)((double)(us) * 1e3))

/* A deadline that never comes. */
#define COIL_NEVER INT64_MAX

/*
 * The time now, read from the clock.
 *
 * Units     nanoseconds since an arbitrary start, monotonic
 * Source    asyncio loop.time(); clock_gettime(2), CLOCK_MONOTONIC
 */
COIL_API int64_t coil_now(void);

COIL_END_DECLS

#endif
