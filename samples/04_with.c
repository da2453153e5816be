// SPDX-License-Identifier: MIT
/*
 * WITH: ten jobs, at most three at once. Each takes a permit of a semaphore, in
 * the order of arrival; the closing brace gives it back, however the block is
 * left. HOLD(x) is for a permit that is kept until the coroutine is over.
 *
 *     ./build/samples/04_with
 *
 * Prints a line per job, and "10 jobs, at most 3 at once, written one by one".
 */
#include <coil.h>
#include <errno.h>
#include <stdio.h>

/* Between two awaits nothing else runs: plain numbers need no lock. */
static int running, most, finished, writing;

struct job {
    struct coil_coro coro;
    struct coil_semaphore *limit; /* lent by jobs(), which ends later */
    struct coil_lock *log;
    int number;
};

static void job(struct coil_coro *co)
{
    ASYNC(job, my) {
        WITH(my->limit) {
            if (++running > most)
                most = running;
            printf("job %d begins, %d running\n", my->number, running);
            AWAIT(coil_sleep(COIL_MS(20)));
            running--;
        }
        /* There is an await in this critical section: it needs a lock. */
        WITH(my->log) {
            if (++writing > 1)
                FAIL(-EBUSY);
            AWAIT(coil_sleep(COIL_MS(1)));
            writing--;
            finished++;
        }
    }
}

struct jobs {
    struct coil_coro coro;
    struct coil_semaphore limit;
    struct coil_lock log;
    int i;
};

static void jobs(struct coil_coro *co)
{
    ASYNC(jobs, my) {
        coil_semaphore_init(&my->limit, 3);
        coil_lock_init(&my->log);
        for (my->i = 1; my->i <= 10; my->i++)
            if (START(job, .limit = &my->limit, .log = &my->log,
                      .number = my->i) < 0)
                FAIL(-ENOMEM);
        JOIN(); /* wait for all tasks that this coroutine has started */
        printf("%d jobs, at most %d at once, written one by one\n", finished,
               most);
    }
}

int main(void)
{
    int err = RUN(jobs);
    if (err < 0)
        fprintf(stderr, "04_with: %s\n", coil_strerror(err));
    return err < 0;
}
