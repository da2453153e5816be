// SPDX-License-Identifier: MIT
/*
 * A coroutine that sleeps: the function, its frame, and the loop around them.
 *
 *     ./build/samples/01_sleep
 *
 * Prints "hello", and half a second later "world".
 */
#include <coil.h>
#include <stdio.h>

struct hello {
    struct coil_coro coro; /* first: where to resume */
    const char *name;      /* an argument: it must outlive the await */
};

static void hello(struct coil_coro *co)
{
    ASYNC(hello, my) {
        printf("hello\n");
        AWAIT(coil_sleep(COIL_SECONDS(0.5)));
        printf("%s\n", my->name);
    }
}

int main(void)
{
    int err = RUN(hello, .name = "world");
    if (err < 0)
        fprintf(stderr, "01_sleep: %s\n", coil_strerror(err));
    return err < 0;
}
