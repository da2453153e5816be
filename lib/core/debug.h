// SPDX-License-Identifier: MIT
#ifndef COILI_DEBUG_H
#define COILI_DEBUG_H

/*
 * debug.h: the checks of debug mode, which other files of the core call.
 *
 * All but coili_debug_wanted() are called only if loop->debug is set. debug.c
 * writes `next` and `since` of a frame that has not begun; nothing else.
 */

#include <coil/coroutine.h>

/* True if the environment asks for debug mode. */
bool coili_debug_wanted(void);

/* Report a step, resumed at `line`, and a call that took too long. */
void coili_debug_step(struct coil_loop *loop, struct coil_coro *co,
                      int32_t line, int64_t began);
void coili_debug_call(struct coil_loop *loop, coil_call_fn *fn, int64_t began);

/* Abort if the future is that of another loop. */
void coili_debug_owner(struct coil_loop *loop, const struct coil_future *f);

/* Note which coroutine has made a frame; report one that was never awaited. */
void coili_debug_made(struct coil_loop *loop, struct coil_coro *co);
void coili_debug_never_awaited(struct coil_coro *co);

/* Report that a pending future was dropped. */
void coili_debug_dropped(void);

#endif
