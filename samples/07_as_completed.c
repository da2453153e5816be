// SPDX-License-Identifier: MIT
/*
 * As completed: handle each result when it is there. Numbers that sleep for
 * their own length come back sorted. One of them fails; the others go on.
 *
 *     ./build/samples/07_as_completed 30 10 ten 20
 *
 * Prints "ten: Invalid argument", then 10, 20, 30.
 */
#include <coil.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { NUMBERS_MAX = 64 };

struct snore {
    struct coil_coro coro;
    const char *word;
    long number;
};

static void snore(struct coil_coro *co)
{
    ASYNC(snore, my) {
        char *end;
        long number = strtol(my->word, &end, 10);
        if (*end || number < 0)
            FAIL(-EINVAL);
        my->number = number;
        AWAIT(coil_sleep(COIL_MS(10) * my->number));
        RETURN(my->number);
    }
}

struct sort {
    struct coil_coro coro;
    char **words;
    struct coil_task *tasks[NUMBERS_MAX], *done;
    size_t n;
    long number;
    int err;
};

static void sort(struct coil_coro *co)
{
    ASYNC(sort, my) {
        for (; my->n < NUMBERS_MAX && my->words[my->n]; my->n++)
            my->tasks[my->n] = SPAWN(snore, .word = my->words[my->n]);

        FOR_AWAIT(my->done, coil_as_completed(my->tasks, my->n)) {
            TRY_AWAIT_TO(my->err, my->number, my->done);
            if (my->err < 0) {
                struct snore *failed = coil_task_frame(my->done);
                printf("%s: %s\n", failed->word, coil_strerror(my->err));
            } else {
                printf("%ld\n", my->number);
            }
        }
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: 07_as_completed NUMBER...\n");
        return 2;
    }
    int err = RUN(sort, .words = argv + 1);
    if (err < 0)
        fprintf(stderr, "07_as_completed: %s\n", coil_strerror(err));
    return err < 0;
}
