// SPDX-License-Identifier: MIT
// expect: unused-result|unused-value
// by: -I
/*
 * CALL without AWAIT runs nothing.
 */
#include <coil/coroutine.h>

struct hello {
    struct coil_coro coro;
    int n;
};

void hello(struct coil_coro *co);
void hello(struct coil_coro *co)
{
    ASYNC(hello, my) {
#ifdef TRAP
        CALL(hello, .n = my->n);
#else
        AWAIT(CALL(hello, .n = my->n));
#endif
    }
}
