// SPDX-License-Identifier: MIT
// expect: TRY wants an int for the error
/*
 * An error is an int. In a double, or in a char, it would be another number.
 */
#include <coil/block.h>
#include <coil/wait.h>

struct careless {
    struct coil_coro coro;
    int err;
    double number;
};

void careless(struct coil_coro *co);
void careless(struct coil_coro *co)
{
    ASYNC(careless, my) {
#ifdef TRAP
        TRY(my->number)
            AWAIT(coil_sleep(1));
#else
        TRY(my->err)
            AWAIT(coil_sleep(1));
#endif
    }
}
