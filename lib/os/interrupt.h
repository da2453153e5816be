// SPDX-License-Identifier: MIT
#ifndef COILI_INTERRUPT_H
#define COILI_INTERRUPT_H

/*
 * interrupt.h: SIGINT for RUN, between run.c and signal.c.
 */

#include <coil/wakeup.h>

/*
 * From now on the first SIGINT that no listener wants sends the wakeup, and the
 * second one ends the process.
 *
 * Result    false outside the main thread, or if SIGINT does not have the
 *           default disposition: then coili_interrupt_end() must not be called
 * Lifetime  lends `wakeup` until coili_interrupt_end()
 */
bool coili_interrupt_begin(struct coil_wakeup *wakeup);

/* No handler uses the wakeup after this. */
void coili_interrupt_end(void);

#endif
