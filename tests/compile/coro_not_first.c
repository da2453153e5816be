// SPDX-License-Identifier: MIT
// expect: struct mixed: coro must come first: make
/*
 * The frame is found by the address of its head.
 */
#include <coil/coroutine.h>

struct mixed {
#ifdef TRAP
    int n;
    struct coil_coro coro;
#else
    struct coil_coro coro;
    int n;
#endif
};

void mixed(struct coil_coro *co);
void mixed(struct coil_coro *co)
{
    ASYNC(mixed, my) {
        my->n++;
    }
}
