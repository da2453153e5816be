// SPDX-License-Identifier: MIT
// expect: a variable that is an integer, a double or a pointer
/*
 * What an await gives is one word.
 */
#include <coil/coroutine.h>

struct pair {
    int a, b;
};

struct take_pair {
    struct coil_coro coro;
    struct coil_future *future;
    struct pair pair, *where;
};

void take_pair(struct coil_coro *co);
void take_pair(struct coil_coro *co)
{
    ASYNC(take_pair, my) {
#ifdef TRAP
        AWAIT_TO(my->pair, my->future);
#else
        AWAIT_TO(my->where, my->future);
#endif
    }
}
