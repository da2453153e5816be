// SPDX-License-Identifier: MIT
// expect: ASYNC must name the function that it stands in
/*
 * A coroutine that was copied and renamed, but not in ASYNC: the frame of the
 * one would be used as that of the other.
 */
#include <coil/coroutine.h>

struct big {
    struct coil_coro coro;
    char text[4000];
};

struct small {
    struct coil_coro coro;
    int n;
};

void small(struct coil_coro *co);
void big(struct coil_coro *co);

void big(struct coil_coro *co)
{
    ASYNC(big, my) {
        my->text[3999] = 'x';
    }
}

void small(struct coil_coro *co)
{
#ifdef TRAP
    ASYNC(big, my) {
        my->text[3999] = 'x';
#else
    ASYNC(small, my) {
        my->n = 1;
#endif
    }
}
