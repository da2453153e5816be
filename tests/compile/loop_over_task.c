// SPDX-License-Identifier: MIT
// expect: a generator is a struct coil_future
/*
 * A task runs by itself, and its items would be for no one.
 */
#include <coil/coroutine.h>

struct gen {
    struct coil_coro coro;
    int n;
};

void gen(struct coil_coro *co);
void gen(struct coil_coro *co)
{
    ASYNC(gen, my) {
#ifdef TRAP
        FOR_AWAIT(my->n, SPAWN(gen))
            continue;
#else
        FOR_AWAIT(my->n, CALL(gen))
            continue;
#endif
    }
}
