// SPDX-License-Identifier: MIT
// only: clang
// flags: -Wconditional-uninitialized
// expect: 'sum' may be uninitialized|'sum' is used uninitialized
/*
 * A local is lost at an await. clang sees it with a warning of its own.
 */
#include <coil/coroutine.h>
#include <coil/wait.h>

struct count {
    struct coil_coro coro;
    int n, sum;
};

void count(struct coil_coro *co);
void count(struct coil_coro *co)
{
    ASYNC(count, my) {
#ifdef TRAP
        int sum = my->n;
        AWAIT(coil_sleep(1));
        RETURN(sum + 1);
#else
        my->sum = my->n;
        AWAIT(coil_sleep(1));
        RETURN(my->sum + 1);
#endif
    }
}
