// SPDX-License-Identifier: MIT
// expect: is one integer, double or pointer
/*
 * A long double is larger than a result: it is made a double by its owner, who
 * knows what that loses.
 */
#include <coil/coroutine.h>

struct measure {
    struct coil_coro coro;
    long double sum;
};

void measure(struct coil_coro *co);
void measure(struct coil_coro *co)
{
    ASYNC(measure, my) {
#ifdef TRAP
        RETURN(my->sum);
#else
        RETURN((double)my->sum);
#endif
    }
}
