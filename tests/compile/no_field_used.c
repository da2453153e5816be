// SPDX-License-Identifier: MIT
// expect: 'my' undeclared|.my. undeclared|undeclared identifier 'my'
/*
 * A coroutine that uses no field names none, and a `my` that is not used is not
 * warned of; ASYNC(T) has no `my`.
 */
#include <coil/coroutine.h>
#include <coil/wait.h>

COROUTINE(tick)
{
    ASYNC(tick) {
        AWAIT(coil_sleep(1));
    }
}

COROUTINE(tock)
{
    ASYNC(tock, my) {
        AWAIT(CALL(tick));
    }
}

COROUTINE(count, int n;)
{
#ifdef TRAP
    ASYNC(count) {
#else
    ASYNC(count, my) {
#endif
        AWAIT(CALL(tock));
        RETURN(my->n);
    }
}

int main(void)
{
    return RUN(count, .n = 1) < 0;
}
