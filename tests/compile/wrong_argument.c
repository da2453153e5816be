// SPDX-License-Identifier: MIT
// expect: no member named 'lentgh'|has no member named .lentgh.|does not refer to any field
/*
 * Arguments go by name, so a wrong name is an error and not another argument.
 */
#include <coil/coroutine.h>

struct measure {
    struct coil_coro coro;
    int length;
};

void measure(struct coil_coro *co);
void measure(struct coil_coro *co)
{
    ASYNC(measure, my) {
        RETURN(my->length);
    }
}

int main(void)
{
#ifdef TRAP
    return RUN(measure, .lentgh = 5) < 0;
#else
    return RUN(measure, .length = 5) < 0;
#endif
}
