// SPDX-License-Identifier: MIT
// only: clang
// expect: no call expression
/*
 * What calls nothing cannot fail: nothing is to be tried. The warning is a
 * consequence of that of a stray semicolon.
 */
#include <coil/block.h>
#include <coil/wait.h>

struct idle {
    struct coil_coro coro;
    int n, err;
};

void idle(struct coil_coro *co);
void idle(struct coil_coro *co)
{
    ASYNC(idle, my) {
        TRY(my->err) {
            my->n = 1;
#ifndef TRAP
            AWAIT(coil_sleep(1));
#endif
        }
    }
}
