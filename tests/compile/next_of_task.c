// SPDX-License-Identifier: MIT
// expect: a generator is a struct coil_future
/*
 * A task is not run by hand: the loop runs it.
 */
#include <coil/coroutine.h>

struct pair {
    int a, b;
};

struct gen {
    struct coil_coro coro;
    struct coil_future *future;
    struct pair pair, *where;
    int n;
    _Bool more;
};

void gen(struct coil_coro *co);
void gen(struct coil_coro *co)
{
    ASYNC(gen, my) {
#ifdef TRAP
        NEXT(my->more, my->n, SPAWN(gen));
#else
        NEXT(my->more, my->n, CALL(gen));
#endif
    }
}
