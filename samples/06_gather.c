// SPDX-License-Identifier: MIT
/*
 * Gather: run several at once and have their results in the order of the
 * arguments, in whatever order they end.
 *
 *     ./build/samples/06_gather
 *
 * Prints each factorial as it is done, the last of them first, and then
 * "2! = 2, 3! = 6, 4! = 24".
 */
#include <coil.h>
#include <stdio.h>

struct factorial {
    struct coil_coro coro;
    int n;
    int i;
    long product;
};

static void factorial(struct coil_coro *co)
{
    ASYNC(factorial, my) {
        my->product = 1;
        for (my->i = 2; my->i <= my->n; my->i++)
            my->product *= my->i;
        AWAIT(coil_sleep(COIL_MS(500 - 100 * my->n))); /* the smallest last */
        printf("%d! is done\n", my->n);
        RETURN(my->product);
    }
}

struct three {
    struct coil_coro coro;
    struct coil_task *tasks[3];
    long results[3];
    int i;
};

static void three(struct coil_coro *co)
{
    ASYNC(three, my) {
        for (my->i = 0; my->i < 3; my->i++)
            my->tasks[my->i] = SPAWN(factorial, .n = my->i + 2);
        AWAIT(coil_gather(my->tasks, 3)); /* fails with the first that does */

        /* They have ended: these awaits do not suspend. */
        for (my->i = 0; my->i < 3; my->i++)
            AWAIT_TO(my->results[my->i], my->tasks[my->i]);
        printf("2! = %ld, 3! = %ld, 4! = %ld\n", my->results[0], my->results[1],
               my->results[2]);
    }
}

int main(void)
{
    int err = RUN(three);
    if (err < 0)
        fprintf(stderr, "06_gather: %s\n", coil_strerror(err));
    return err < 0;
}
