// SPDX-License-Identifier: MIT
#ifndef COILI_INTERRUPT_H
#define COILI_INTERRUPT_H

/*
 * interrupt.h: what run.c asks of signal.c.
 */

#include <coil/wakeup.h>

/*
 * In the main thread, if SIGINT has its default disposition: the next SIGINT
 * that nobody listens to raises the wakeup, the one after it ends the process.
 * False if it is not so; then there is nothing to end.
 */
bool coili_interrupt_begin(struct coil_wakeup *wakeup);

/* Nobody raises the wakeup after this. */
void coili_interrupt_end(void);

#endif
