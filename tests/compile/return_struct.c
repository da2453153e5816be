// SPDX-License-Identifier: MIT
// expect: is one integer, double or pointer.*CALL_IN
/*
 * A result is one word. What is larger stays in the frame: CALL_IN.
 */
#include <coil/coroutine.h>

struct pair {
    int a, b;
};

struct give_pair {
    struct coil_coro coro;
    struct pair pair;
};

void give_pair(struct coil_coro *co);
void give_pair(struct coil_coro *co)
{
    ASYNC(give_pair, my) {
#ifdef TRAP
        RETURN(my->pair);
#else
        RETURN(&my->pair);
#endif
    }
}
