// SPDX-License-Identifier: MIT
// expect: AWAIT wants a struct coil_future .* or a struct coil_task
/*
 * Only futures and tasks can be awaited; not the result of some call.
 */
#include <coil/coroutine.h>
#include <coil/wait.h>

struct confused {
    struct coil_coro coro;
};

void confused(struct coil_coro *co);
void confused(struct coil_coro *co)
{
    ASYNC(confused, my) {
#ifdef TRAP
        AWAIT(coil_now());
#else
        AWAIT(coil_sleep(coil_now()));
#endif
    }
}
