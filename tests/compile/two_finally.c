// SPDX-License-Identifier: MIT
// expect: coil_one_finally_per_coroutine
/*
 * A coroutine has one FINALLY.
 */
#include <coil/coroutine.h>

struct tidy {
    struct coil_coro coro;
    int n;
};

void tidy(struct coil_coro *co);
void tidy(struct coil_coro *co)
{
    ASYNC(tidy, my) {
        my->n++;

    FINALLY;
        my->n--;
#ifdef TRAP
    FINALLY;
        my->n--;
#endif
    }
}
