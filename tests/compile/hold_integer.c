// SPDX-License-Identifier: MIT
// expect: WITH and HOLD want the address of a lock.*USING
/*
 * HOLD takes what can be released: a lock or a semaphore, by its address.
 */
#include <coil/coroutine.h>
#include <coil/semaphore.h>

struct careful {
    struct coil_coro coro;
    struct coil_semaphore sem;
};

void careful(struct coil_coro *co);
void careful(struct coil_coro *co)
{
    ASYNC(careful, my) {
        coil_semaphore_init(&my->sem, 1);
#ifdef TRAP
        HOLD(my->sem);
#else
        HOLD(&my->sem);
#endif
    }
}
