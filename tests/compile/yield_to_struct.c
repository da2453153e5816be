// SPDX-License-Identifier: MIT
// expect: a variable that is an integer, a double or a pointer
/*
 * What is sent is one word.
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
        YIELD_TO(my->pair, 1);
#else
        YIELD_TO(my->where, 1);
#endif
    }
}
