// SPDX-License-Identifier: MIT
/*
 * The first program of the README: two words, half a second apart.
 *
 *     ./build/samples/hello
 *
 * Prints "hello", and half a second later "world".
 */
#include <coil.h>
#include <stdio.h>

COROUTINE(hello, const char *name;)
{
    ASYNC(hello, my) {
        printf("hello\n");
        AWAIT(coil_sleep(COIL_SECONDS(0.5)));
        printf("%s\n", my->name);
    }
}

int main(void)
{
    return RUN(hello, .name = "world") < 0;
}
