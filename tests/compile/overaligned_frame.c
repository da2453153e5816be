// SPDX-License-Identifier: MIT
// expect: struct vector: a frame is aligned to at most 16 bytes: keep
/*
 * The allocator aligns to 16 bytes, and no further.
 */
#include <coil/coroutine.h>

#ifdef TRAP
enum { ALIGNMENT = 32 };
#else
enum { ALIGNMENT = 16 };
#endif

struct vector {
    struct coil_coro coro;
    _Alignas(ALIGNMENT) float numbers[8];
};

void vector(struct coil_coro *co);
void vector(struct coil_coro *co)
{
    ASYNC(vector, my) {
        my->numbers[0] = 1;
    }
}

int main(void)
{
    return RUN(vector) < 0;
}
