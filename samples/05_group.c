// SPDX-License-Identifier: MIT
/*
 * A group: tasks that succeed together or end together. Its closing brace waits
 * for all of them; the first that fails cancels the others.
 *
 *     ./build/samples/05_group 6 3 2
 *     ./build/samples/05_group 6 0 3
 *
 * Prints "60 / 6 = 10" and so on; with a 0 among the numbers "6 is cancelled"
 * for each other one, and "no results: Numerical argument out of domain".
 */
#include <coil.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { NUMBERS_MAX = 16 };

struct divide {
    struct coil_coro coro;
    int by;
};

static void divide(struct coil_coro *co)
{
    ASYNC(divide, my) {
        AWAIT(coil_sleep(COIL_MS(10) * my->by));
        if (my->by == 0)
            FAIL(-EDOM);
        RETURN(60 / my->by);

    FINALLY;
        if (coil_body_error(co) == -ECANCELED)
            printf("%d is cancelled\n", my->by);
    }
}

struct all {
    struct coil_coro coro;
    char **numbers;
    struct coil_group group;
    struct coil_task *tasks[NUMBERS_MAX];
    int n, i, result, err;
};

static void all(struct coil_coro *co)
{
    ASYNC(all, my) {
        TRY(my->err) GROUP(&my->group) {
            for (; my->n < NUMBERS_MAX && my->numbers[my->n]; my->n++)
                my->tasks[my->n] = SPAWN(divide,
                                         .by = atoi(my->numbers[my->n]));
        }
        if (my->err) {
            printf("no results: %s\n", coil_strerror(my->err));
            RETURN(0);
        }
        /* All tasks have succeeded: these awaits do not suspend. */
        for (; my->i < my->n; my->i++) {
            AWAIT_TO(my->result, my->tasks[my->i]);
            printf("60 / %s = %d\n", my->numbers[my->i], my->result);
        }
    }
}

int main(int argc, char **argv)
{
    (void)argc;
    int err = RUN(all, .numbers = argv + 1);
    if (err < 0)
        fprintf(stderr, "05_group: %s\n", coil_strerror(err));
    return err < 0;
}
