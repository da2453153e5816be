// SPDX-License-Identifier: MIT
// expect: empty body|no call expression
/*
 * A semicolon behind the word: the deadline would be over at once.
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
        WITHIN(COIL_SECONDS(2)); {
#else
        WITHIN(COIL_SECONDS(2)) {
#endif
            AWAIT(coil_sleep(1));
        }
    }
}
