// SPDX-License-Identifier: MIT
// expect: coil_one_for_await_per_line_
/*
 * A loop over a generator may have an await in its body on the same line, but
 * no second loop.
 */
#include <coil/coroutine.h>
#include <coil/wait.h>

struct grid {
    struct coil_coro coro;
    struct coil_future *rows, *columns;
    int x, y;
};

void grid(struct coil_coro *co);
void grid(struct coil_coro *co)
{
    ASYNC(grid, my) {
#ifdef TRAP
        FOR_AWAIT(my->y, my->rows) FOR_AWAIT(my->x, my->columns) continue;
#else
        FOR_AWAIT(my->y, my->rows) AWAIT(coil_sleep(1));
        FOR_AWAIT(my->x, my->columns) continue;
#endif
    }
}
