// SPDX-License-Identifier: MIT
/*
 * late_c.c: the timer of late.h by hand: after the steps of all tasks the clock
 * is read, and compared with the deadline.
 *
 *     late_c [--step US] [--seconds S]
 */
#include "late.h"

static OPAQUE void step_of_each(const struct late *late)
{
    for (int i = 0; i < LATE_TASKS; i++)
        late_step(late);
}

int main(int argc, char **argv)
{
    static struct late late;
    late = late_begin(argc, argv);
    while (!late_is_over(&late)) {
        int64_t deadline = now_ns() + LATE_PERIOD_NS;
        do
            step_of_each(&late);
        while (now_ns() < deadline);
        late_came(&late, deadline);
    }
    late_end(&late, "c");
    return 0;
}
