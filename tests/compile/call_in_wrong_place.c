// SPDX-License-Identifier: MIT
// expect: incompatible|not compatible with any association
/*
 * The place has the type of the coroutine that is built there; a smaller one
 * would be overrun.
 */
#include <coil/coroutine.h>

struct small {
    struct coil_coro coro;
};

struct child {
    struct coil_coro coro;
    int n[100];
};

struct parent {
    struct coil_coro coro;
    struct small small;
    struct child child;
};

void child(struct coil_coro *co);
void child(struct coil_coro *co)
{
    ASYNC(child, my) {
        my->n[0] = 1;
    }
}

void parent(struct coil_coro *co);
void parent(struct coil_coro *co)
{
    ASYNC(parent, my) {
#ifdef TRAP
        AWAIT(CALL_IN(&my->small, child));
#else
        AWAIT(CALL_IN(&my->child, child));
#endif
    }
}
