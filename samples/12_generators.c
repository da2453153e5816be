// SPDX-License-Identifier: MIT
/*
 * Generators: coroutines that give an item at a time. One is run by a loop, the
 * other by hand, and is sent a word for each item.
 *
 *     ./build/samples/12_generators
 *
 * Prints 5, 4, 3, 2, 1, then 7 times 2, 3 and 5.
 */
#include <coil.h>
#include <stdio.h>

struct countdown {
    struct coil_coro coro;
    int n;
};

static void countdown(struct coil_coro *co)
{
    ASYNC(countdown, my) {
        for (; my->n > 0; my->n--)
            YIELD(my->n);
    }
}

struct multiplier {
    struct coil_coro coro;
    int by, word;
};

static void multiplier(struct coil_coro *co)
{
    ASYNC(multiplier, my) {
        for (;;)
            YIELD_TO(my->word, my->word * my->by); /* the first is 0 */
    }
}

struct count {
    struct coil_coro coro;
    struct coil_future *times;
    int i, item;
    bool more;
};

static void count(struct coil_coro *co)
{
    ASYNC(count, my) {
        FOR_AWAIT(my->i, CALL(countdown, .n = 5))
            printf("%d\n", my->i);

        my->times = CALL(multiplier, .by = 7);
        NEXT(my->more, my->item, my->times); /* up to its first YIELD_TO */
        for (my->i = 2; my->i <= 5; my->i += my->i - 1) {
            SEND(my->times, my->i);
            NEXT(my->more, my->item, my->times);
            printf("%d\n", my->item);
        }
    } /* the multiplier has no end: it is closed here */
}

int main(void)
{
    int err = RUN(count);
    if (err < 0)
        fprintf(stderr, "12_generators: %s\n", coil_strerror(err));
    return err < 0;
}
