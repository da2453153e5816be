// SPDX-License-Identifier: MIT
// expect: AWAIT wants a struct coil_future .*CALL\(f, ...\)
/*
 * A coroutine's name is a function: CALL makes a future of it.
 */
#include <coil/coroutine.h>

struct child {
    struct coil_coro coro;
};

void child(struct coil_coro *co);

struct parent {
    struct coil_coro coro;
};

void parent(struct coil_coro *co);
void parent(struct coil_coro *co)
{
    ASYNC(parent, my) {
#ifdef TRAP
        RETURN_AWAIT(child);
#else
        RETURN_AWAIT(CALL(child));
#endif
    }
}
