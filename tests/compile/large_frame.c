// SPDX-License-Identifier: MIT
// expect: a frame is at most 16384 bytes .COIL_FRAME_BYTES_MAX.: keep a
/*
 * A buffer in a frame is paid by every task. What is larger than 16 KiB is
 * allocated where it is needed.
 */
#include <coil/coroutine.h>

#ifdef TRAP
enum { ROOM = COIL_FRAME_BYTES_MAX };
#else
enum { ROOM = COIL_FRAME_BYTES_MAX - sizeof(struct coil_coro) };
#endif

struct large {
    struct coil_coro coro;
    char buffer[ROOM];
};

void large(struct coil_coro *co);
void large(struct coil_coro *co)
{
    ASYNC(large, my) {
        my->buffer[0] = 1;
    }
}

int main(void)
{
    return RUN(large) < 0;
}
