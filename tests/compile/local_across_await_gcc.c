// SPDX-License-Identifier: MIT
// only: gcc
// expect: 'sum' may be used uninitialized|.sum. may be used uninitialized
/*
 * A local is lost at an await. gcc sees it from -O1 on, with -Wall.
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
