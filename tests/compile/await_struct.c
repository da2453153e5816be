// SPDX-License-Identifier: MIT
// expect: AWAIT wants a struct coil_future .*CALL\(f, ...\)
/*
 * The frame of a coroutine is no future: CALL_IN makes it one.
 */
#include <coil/coroutine.h>

struct child {
    struct coil_coro coro;
};

void child(struct coil_coro *co);

struct parent {
    struct coil_coro coro;
    struct child child;
    int err;
};

void parent(struct coil_coro *co);
void parent(struct coil_coro *co)
{
    ASYNC(parent, my) {
#ifdef TRAP
        TRY_AWAIT(my->err, my->child);
#else
        TRY_AWAIT(my->err, CALL_IN(&my->child, child));
#endif
    }
}
