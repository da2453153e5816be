// SPDX-License-Identifier: MIT
/*
 * sleepers_coil.c: a million sleeping tasks on coil.
 *
 *     sleepers_coil [--tasks N] [--seconds S]
 *
 * The bytes of one: 24 for owner and siblings, 64 for the head of the frame, 8
 * for its argument, 16 for its place among the timers: 112.
 */
#include <coil/coroutine.h>
#include <coil/task.h>
#include <coil/wait.h>

#include "sleepers.h"

static long ended;

struct sleeper {
    struct coil_coro coro;
    int64_t due;
};

static void sleeper(struct coil_coro *co)
{
    ASYNC(sleeper, my) {
        AWAIT(coil_sleep(my->due - coil_now()));
        ended++;
    }
}

struct all {
    struct coil_coro coro;
    struct sleepers *run;
    long i;
};

static void all(struct coil_coro *co)
{
    ASYNC(all, my) {
        for (my->i = 0; my->i < my->run->tasks; my->i++)
            if (START(sleeper, .due = sleepers_due(my->run, my->i)) < 0)
                die("out of memory");
        AWAIT(coil_sleep(0)); /* their first step */
        sleepers_all_asleep(my->run);
        JOIN();
    }
}

int main(int argc, char **argv)
{
    struct sleepers run = sleepers_begin(argc, argv);
    if (RUN(all, .run = &run) < 0)
        die("failed");
    sleepers_end(&run, "coil", ended);
    return 0;
}
