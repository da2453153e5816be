// SPDX-License-Identifier: MIT
#ifndef COILI_TIME_H
#define COILI_TIME_H

/*
 * time.h: the one addition of a time and a duration.
 *
 * A user may give any int64_t as a duration, COIL_NEVER above all. Added to the
 * time now it would overflow, which is undefined behaviour and in practice a
 * deadline that has passed.
 */

#include <stdint.h>

#include <coil/time.h>

/*
 * The deadline `duration` after `now`, a time from coil_now(): never negative.
 * COIL_NEVER where the sum does not fit; so COIL_NEVER after any time is
 * COIL_NEVER. A negative duration gives a deadline that has passed.
 */
static inline int64_t coili_deadline(int64_t now, int64_t duration)
{
    return duration > INT64_MAX - now ? COIL_NEVER : now + duration;
}

#endif
