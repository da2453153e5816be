// SPDX-License-Identifier: MIT
/*
 * Together or not at all: workers draw numbers from a queue, and the first that
 * meets a 0 ends them all.
 *
 *     ./build/samples/05_group 6 0 3 2
 *
 * Prints "60 / N = RESULT" for each, and what the group has ended with.
 */
#include <coil.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct worker {
    struct coil_coro coro;
    struct coil_queue *numbers; /* lent by the team */
    char *number;
};

static void worker(struct coil_coro *co)
{
    ASYNC(worker, my) {
        FOR_AWAIT(my->number, coil_queue_items(my->numbers)) {
            AWAIT(coil_sleep(0)); /* as if it took its time */
            if (atoi(my->number) == 0)
                FAIL(-EDOM);
            printf("60 / %s = %d\n", my->number, 60 / atoi(my->number));
        }

    FINALLY;
        printf("a worker goes home\n");
    }
}

struct team {
    struct coil_coro coro;
    char **numbers;
    struct coil_queue queue;
    struct coil_group group;
    int i;
};

static void team(struct coil_coro *co)
{
    ASYNC(team, my) {
        coil_queue_init(&my->queue, 1); /* who puts waits for who gets */
        GROUP(&my->group);
        for (; my->i < 2; my->i++)
            START(worker, .numbers = &my->queue);
        for (; *my->numbers; my->numbers++)
            AWAIT(coil_queue_put(&my->queue, *my->numbers));
        coil_queue_close(&my->queue);

    FINALLY; /* all workers have ended */
        coil_queue_fini(&my->queue);
    }
}

int main(int argc, char **argv)
{
    (void)argc;
    int err = RUN(team, .numbers = argv + 1);
    printf("%s\n", coil_strerror(err));
    return err < 0;
}
