// SPDX-License-Identifier: MIT
// expect: empty body|no call expression
/*
 * A semicolon behind the word: no task would be in the group.
 */
#include <coil/group.h>
#include <coil/wait.h>

struct hasty {
    struct coil_coro coro;
    struct coil_group group;
    int err;
};

void hasty(struct coil_coro *co);
void hasty(struct coil_coro *co)
{
    ASYNC(hasty, my) {
#ifdef TRAP
        GROUP(&my->group); {
#else
        GROUP(&my->group) {
#endif
            AWAIT(coil_sleep(1));
        }
    }
}
