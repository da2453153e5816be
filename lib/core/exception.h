// SPDX-License-Identifier: MIT
#ifndef COILI_EXCEPTION_H
#define COILI_EXCEPTION_H

/*
 * exception.h: reporting an error that no await or call has fetched.
 *
 * exception.c alone reads and writes the loop's handler.
 */

#include <coil/coroutine.h>

/* To the loop's exception handler; `co` may be NULL, `err` 0. */
void coili_report(const char *message, struct coil_coro *co, int err,
                  uint32_t detail);

#endif
