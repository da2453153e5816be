// SPDX-License-Identifier: MIT
#ifndef COILI_WAKEUP_H
#define COILI_WAKEUP_H

/*
 * wakeup.h: the loop's side of a wakeup.
 *
 * loop->wakeups is written by wakeup.c alone, in any thread and in signal
 * handlers; loop.c looks whether there is one.
 */

#include <coil/loop.h>

/* Queue the calls of the wakeups that were sent. */
void coili_take_wakeups(struct coil_loop *loop);

#endif
