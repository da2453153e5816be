// SPDX-License-Identifier: MIT
// expect: is one integer, double or pointer.*CALL_IN
/*
 * As for RETURN: an item is one word.
 */
#include <coil/coroutine.h>

struct pair {
    int a, b;
};

struct pairs {
    struct coil_coro coro;
    struct pair pair;
};

void pairs(struct coil_coro *co);
void pairs(struct coil_coro *co)
{
    ASYNC(pairs, my) {
#ifdef TRAP
        YIELD(my->pair);
#else
        YIELD(&my->pair);
#endif
    }
}
