// SPDX-License-Identifier: MIT
// expect: coil_one_await_per_line_
/*
 * The line is the resume point, for NEXT, YIELD_FROM and CLOSE as well.
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
        NEXT(my->more, my->n, my->future); CLOSE(my->future);
#else
        NEXT(my->more, my->n, my->future);
        CLOSE(my->future);
        YIELD_FROM(my->future);
#endif
    }
}
