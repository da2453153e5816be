// SPDX-License-Identifier: MIT
/*
 * late_coil.c: the timer of late.h on coil.
 *
 *     late_coil [--step US] [--seconds S]
 */
#include <coil/coroutine.h>
#include <coil/loop.h>
#include <coil/wait.h>

#include "late.h"

COROUTINE(busy, struct late *late;)
{
    ASYNC(busy, my) {
        while (!late_is_over(my->late)) {
            late_step(my->late);
            AWAIT(coil_sleep(0));
        }
    }
}

COROUTINE(beside, struct late *late; int64_t deadline; int i;)
{
    ASYNC(beside, my) {
        for (my->i = 0; my->i < LATE_TASKS; my->i++)
            SPAWN(busy, .late = my->late);
        while (!late_is_over(my->late)) {
            my->deadline = now_ns() + LATE_PERIOD_NS;
            AWAIT(coil_sleep(LATE_PERIOD_NS));
            late_came(my->late, my->deadline);
        }
        JOIN();
    }
}

int main(int argc, char **argv)
{
    static struct late late;
    late = late_begin(argc, argv);
    if (RUN(beside, .late = &late) < 0)
        die("failed");
    late_end(&late, "coil");
    return 0;
}
