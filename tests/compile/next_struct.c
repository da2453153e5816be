// SPDX-License-Identifier: MIT
// expect: a variable that is an integer, a double or a pointer
/*
 * As for AWAIT_TO: an item is one word.
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
        NEXT(my->more, my->pair, my->future);
#else
        NEXT(my->more, my->where, my->future);
#endif
    }
}
