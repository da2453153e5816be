// SPDX-License-Identifier: MIT
/*
 * TRY and WITHIN: an error, or a time-out, in a block lands in a variable, and
 * the coroutine goes on behind the block.
 *
 *     ./build/samples/03_try
 *
 * Prints "60 / 4 = 15", "60 / 0: Numerical argument out of domain",
 * "60 / 3: Timed out" and "60 / 5 = 12".
 */
#include <coil.h>
#include <errno.h>
#include <stdio.h>

struct divide {
    struct coil_coro coro;
    int by, ms;
};

static void divide(struct coil_coro *co)
{
    ASYNC(divide, my) {
        AWAIT(coil_sleep(COIL_MS(my->ms)));
        if (my->by == 0)
            FAIL(-EDOM);
        RETURN(60 / my->by);
    }
}

struct story {
    struct coil_coro coro;
    int n, err;
};

static void story(struct coil_coro *co)
{
    ASYNC(story, my) {
        TRY(my->err) {
            AWAIT_TO(my->n, CALL(divide, .by = 4));
            printf("60 / 4 = %d\n", my->n);
            AWAIT_TO(my->n, CALL(divide, .by = 0)); /* leaves the block */
            printf("60 / 0 = %d\n", my->n);
        }
        if (my->err)
            printf("60 / 0: %s\n", coil_strerror(my->err));

        /* Blocks may share a line: this deadline is inside the TRY. */
        TRY(my->err) WITHIN(COIL_MS(100)) {
            AWAIT_TO(my->n, CALL(divide, .by = 3, .ms = 3600000));
            printf("60 / 3 = %d\n", my->n);
        }
        if (my->err)
            printf("60 / 3: %s\n", coil_strerror(my->err));

        /* Without a TRY an error ends the coroutine: RUN returns it. */
        WITHIN(COIL_SECONDS(10)) AWAIT_TO(my->n, CALL(divide, .by = 5));
        printf("60 / 5 = %d\n", my->n);
    }
}

int main(void)
{
    int err = RUN(story);
    if (err < 0)
        fprintf(stderr, "03_try: %s\n", coil_strerror(err));
    return err < 0;
}
