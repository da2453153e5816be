// SPDX-License-Identifier: MIT
// expect: empty body|no call expression
/*
 * A semicolon behind the word: no error of what follows would be taken.
 */
#include <coil/block.h>
#include <coil/wait.h>

struct hasty {
    struct coil_coro coro;
    int err;
};

void hasty(struct coil_coro *co);
void hasty(struct coil_coro *co)
{
    ASYNC(hasty, my) {
#ifdef TRAP
        TRY(my->err); {
#else
        TRY(my->err) {
#endif
            AWAIT(coil_sleep(1));
        }
    }
}
