// SPDX-License-Identifier: MIT
// expect: takes no third word.*ASYNC_GIVES
/*
 * What frees a result that is not taken is for ASYNC_GIVES; ASYNC must not
 * swallow it.
 */
#include <coil/coroutine.h>
#include <stdlib.h>

struct make {
    struct coil_coro coro;
};

void make(struct coil_coro *co);
void make(struct coil_coro *co)
{
#ifdef TRAP
    ASYNC(make, my, free) {
#else
    ASYNC_GIVES(make, my, free) {
#endif
        RETURN(malloc(1));
    }
}
