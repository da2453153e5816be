// SPDX-License-Identifier: MIT
// expect: WITH and HOLD want the address of a lock.*USING
/*
 * WITH takes what can be released, as HOLD does.
 */
#include <coil/block.h>
#include <coil/semaphore.h>
#include <coil/wait.h>

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
        WITH(1)
#else
        WITH(&my->sem)
#endif
            AWAIT(coil_sleep(1));
    }
}
