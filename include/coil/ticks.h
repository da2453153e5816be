// SPDX-License-Identifier: MIT
#ifndef COIL_TICKS_H
#define COIL_TICKS_H

/*
 * ticks.h: a periodic timer: do something at regular intervals.
 *
 *     FOR_AWAIT(my->tick, coil_ticks(COIL_SECONDS(10)))
 *         AWAIT(check_health(my));            // at 10 s, 20 s, 30 s...
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

/*
 * A tick every `period_ns`, without end: a source for FOR_AWAIT. Tick k is due
 * k periods after the loop began, however long earlier iterations took: the
 * ticks do not drift. Iterations do not overlap: a tick that comes due during
 * an iteration is missed and not made up for, and the loop waits for the next
 * tick that is due. So a gap in the numbers of the ticks tells how many were
 * missed.
 *
 * Units     nanoseconds
 * Result    yields an integer: the number of the tick, 1 for the first
 * Errors    -EINVAL: `period_ns` is 0 or less; -ECANCELED; -ENOMEM
 * Source    Tornado PeriodicCallback; Twisted LoopingCall
 */
COIL_API COIL_NODISCARD struct coil_future *coil_ticks(int64_t period_ns);

COIL_END_DECLS

#endif
