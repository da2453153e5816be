// SPDX-License-Identifier: MIT
/*
 * ticks.c: a periodic timer.
 *
 * Each sleep lasts until the end of the current period, counted from the start.
 * So ticks do not drift, and none is made up for after a slow iteration or a
 * suspend: a burst of missed ticks would overload a system that has just
 * resumed.
 */
#include <coil/ticks.h>

#include <errno.h>

#include <coil/coroutine.h>
#include <coil/wait.h>

struct ticks {
    struct coil_coro coro;
    int64_t period_ns, start;
};

static void ticks(struct coil_coro *co)
{
    COIL_ASYNC(ticks, my) {
        if (my->period_ns <= 0)
            COIL_FAIL(-EINVAL);
        my->start = coil_now();
        for (;;) {
            int64_t past = coil_now() - my->start;
            COIL_AWAIT(coil_sleep(my->period_ns - past % my->period_ns));
            COIL_YIELD((coil_now() - my->start) / my->period_ns);
        }
    }
}

struct coil_future *coil_ticks(int64_t period_ns)
{
    return COIL_CALL(ticks, .period_ns = period_ns);
}
