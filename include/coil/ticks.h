// SPDX-License-Identifier: MIT
#ifndef COIL_TICKS_H
#define COIL_TICKS_H

/*
 * ticks.h: every so often.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

/*
 * A beat every `period_ns`, without end: a source for FOR_AWAIT. Beat k is due
 * at k periods after the loop over them began, however long the turns before
 * have taken: nothing drifts. Turns never overlap; a beat that comes while one
 * lasts is missed, and is not caught up with: the next one is that which is due
 * next. So a gap in the numbers says how many were missed.
 *
 *     FOR_AWAIT(my->beat, coil_ticks(COIL_SECONDS(10))) { ... }
 *
 * Result    yields an integer: the number of the beat, 1 at first
 * Errors    -EINVAL if the period is 0 or less
 * Source    Tornado PeriodicCallback; Twisted LoopingCall
 */
COIL_API COIL_NODISCARD struct coil_future *coil_ticks(int64_t period_ns);

COIL_END_DECLS

#endif
