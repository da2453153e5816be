// SPDX-License-Identifier: MIT
// only: gcc
// expect: empty body
/*
 * A semicolon behind the word: the lock would be released at once. clang, which
 * warns of a block that calls nothing, is not asked to: to change a field with
 * the lock held is right.
 */
#include <coil/block.h>
#include <coil/lock.h>
#include <coil/wait.h>

struct hasty {
    struct coil_coro coro;
    struct coil_lock *lock;
    int err;
};

void hasty(struct coil_coro *co);
void hasty(struct coil_coro *co)
{
    ASYNC(hasty, my) {
#ifdef TRAP
        WITH(my->lock); {
#else
        WITH(my->lock) {
#endif
            AWAIT(coil_sleep(1));
        }
    }
}
