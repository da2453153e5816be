// SPDX-License-Identifier: MIT
// expect: is one integer, double or pointer.*CALL_IN
/*
 * As for YIELD: what is sent is one word.
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
        SEND(my->future, my->pair);
#else
        SEND(my->future, &my->pair);
#endif
    }
}
