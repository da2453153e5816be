// SPDX-License-Identifier: MIT
// expect: coil_one_await_per_line_
/*
 * The line is the resume point: two on one would be one.
 */
#include <coil/coroutine.h>
#include <coil/wait.h>

struct nap {
    struct coil_coro coro;
};

void nap(struct coil_coro *co);
void nap(struct coil_coro *co)
{
    ASYNC(nap, my) {
#ifdef TRAP
        AWAIT(coil_sleep(1)); AWAIT(coil_sleep(2));
#else
        AWAIT(coil_sleep(1));
        AWAIT(coil_sleep(2));
#endif
    }
}
