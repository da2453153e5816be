// SPDX-License-Identifier: MIT
// only: gcc
// expect: .last. may be used uninitialized
/*
 * Every word that can wait loses the locals, not only AWAIT: here a loop over
 * a generator.
 */
#include <coil/coroutine.h>

struct numbers {
    struct coil_coro coro;
};

void numbers(struct coil_coro *co);

struct largest {
    struct coil_coro coro;
    int n, last;
};

void largest(struct coil_coro *co);
void largest(struct coil_coro *co)
{
    ASYNC(largest, my) {
#ifdef TRAP
        int last = 0;
        FOR_AWAIT(my->n, CALL(numbers))
            last = last > my->n ? last : my->n;
        RETURN(last);
#else
        FOR_AWAIT(my->n, CALL(numbers))
            my->last = my->last > my->n ? my->last : my->n;
        RETURN(my->last);
#endif
    }
}
