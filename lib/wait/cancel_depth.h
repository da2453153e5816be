// SPDX-License-Identifier: MIT
#ifndef COILI_CANCEL_DEPTH_H
#define COILI_CANCEL_DEPTH_H

/*
 * cancel_depth.h: a limit on how deep cancelling goes on the C stack.
 */

#include <coil/loop.h>

/*
 * Call `fn(arg)`, which cancels futures or tasks: at once, or from the loop in
 * the next pass if too many such calls are on the C stack already.
 *
 * Lifetime  lends `handle` until `fn` is called
 */
void coili_cancel_nested(struct coil_handle *handle, coil_call_fn *fn,
                         void *arg);

#endif
