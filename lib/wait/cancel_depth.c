// SPDX-License-Identifier: MIT
/*
 * cancel_depth.c: a limit on how deep cancelling goes on the C stack.
 *
 * coili_cancel() follows a chain of calls and tasks in a loop. But a gather or
 * a race has several futures, and its cancel() calls the cancel() of each of
 * them, which may be a gather again. So what is nested deeply would need a deep
 * stack. All such calls of a thread are counted together, whatever combinators
 * they come from; beyond the limit a call is made by the loop.
 */
#include "cancel_depth.h"

#define DEPTH_MOST 64

/* The number of calls of coili_cancel_nested() on the C stack. */
static _Thread_local unsigned depth;

void coili_cancel_nested(struct coil_handle *handle, coil_call_fn *fn,
                         void *arg)
{
    if (depth == DEPTH_MOST) {
        coil_call_soon(handle, fn, arg);
        return;
    }
    depth++;
    fn(arg);
    depth--;
}
