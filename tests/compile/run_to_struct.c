// SPDX-License-Identifier: MIT
// expect: a variable that is an integer, a double or a pointer
/*
 * What a run gives is one integer, double or pointer, and nothing is written
 * over a struct.
 */
#include <coil/coroutine.h>

struct pair {
    int a, b;
};

struct give_pair {
    struct coil_coro coro;
};

void give_pair(struct coil_coro *co);

int main(void)
{
    struct pair pair = { 0, 0 }, *where = &pair;
#ifdef TRAP
    return RUN_TO(pair, give_pair) < 0 || where->a;
#else
    return RUN_TO(where, give_pair) < 0 || where->a;
#endif
}
