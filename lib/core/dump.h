// SPDX-License-Identifier: MIT
#ifndef COILI_DUMP_H
#define COILI_DUMP_H

/*
 * dump.h: from coro.line to a line of the source.
 *
 * dump.c writes no field of a coroutine; it reads those of all others.
 */

#include <coil/coroutine.h>

/* The line of a frame that is to go on at `line`. */
int coili_source_line(int32_t line, const struct coil_site *site);

#endif
