// SPDX-License-Identifier: MIT
/*
 * A semaphore: ten jobs, at most three at once. HOLD takes a permit, in the
 * order of arrival, and the end of the coroutine, of any kind, gives it back.
 *
 *     ./build/samples/04_with
 *
 * Prints a line per job, and "10 jobs, at most 3 at once".
 */
#include <coil.h>
#include <errno.h>
#include <stdio.h>

/* Between two awaits nobody else runs: plain numbers need no lock. */
static int running, most, finished;

struct job {
    struct coil_coro coro;
    struct coil_semaphore *limit; /* lent by jobs(), which outlives us */
    int number;
};

static void job(struct coil_coro *co)
{
    ASYNC(job, my) {
        HOLD(my->limit);
        if (++running > most)
            most = running;
        printf("job %d begins, %d running\n", my->number, running);
        AWAIT(coil_sleep(COIL_MS(20)));
        running--;
        finished++;
    }
}

struct jobs {
    struct coil_coro coro;
    struct coil_semaphore limit;
    int i;
};

static void jobs(struct coil_coro *co)
{
    ASYNC(jobs, my) {
        coil_semaphore_init(&my->limit, 3);
        for (my->i = 1; my->i <= 10; my->i++)
            if (START(job, .limit = &my->limit, .number = my->i) < 0)
                FAIL(-ENOMEM);
        JOIN(); /* wait for all we have started */
        printf("%d jobs, at most %d at once\n", finished, most);
    }
}

int main(void)
{
    int err = RUN(jobs);
    if (err < 0)
        fprintf(stderr, "04_with: %s\n", coil_strerror(err));
    return err < 0;
}
