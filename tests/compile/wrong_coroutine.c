// SPDX-License-Identifier: MIT
// expect: undeclared
/*
 * A struct without its function.
 */
#include <coil/coroutine.h>

struct known {
    struct coil_coro coro;
};

struct unknown {
    struct coil_coro coro;
};

void known(struct coil_coro *co);
void known(struct coil_coro *co)
{
    ASYNC(known, my) {
    }
}

int main(void)
{
#ifdef TRAP
    return RUN(unknown) < 0;
#else
    return RUN(known) < 0;
#endif
}
