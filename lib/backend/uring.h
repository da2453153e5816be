// SPDX-License-Identifier: MIT
#ifndef COILI_URING_H
#define COILI_URING_H

/*
 * uring.h: the table of the io_uring backend; uring.c fills it in.
 */

#include "backend.h"

extern const struct coili_backend_table coili_uring;

#endif
