// SPDX-License-Identifier: MIT
// expect: duplicate case value
/*
 * The line of a word is where its block is left: two of one word on a line
 * would be one.
 */
#include <coil/block.h>
#include <coil/wait.h>

struct careful {
    struct coil_coro coro;
    int outer, inner;
};

void careful(struct coil_coro *co);
void careful(struct coil_coro *co)
{
    ASYNC(careful, my) {
#ifdef TRAP
        TRY(my->outer) TRY(my->inner)
            AWAIT(coil_sleep(1));
#else
        TRY(my->outer)
            TRY(my->inner)
                AWAIT(coil_sleep(1));
#endif
    }
}
