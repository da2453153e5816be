// SPDX-License-Identifier: MIT
#ifndef COILI_OPTIONS_H
#define COILI_OPTIONS_H

/*
 * options.h: reading an options struct that a program has filled in.
 *
 * The first field of such a struct is its own size. A program that was compiled
 * with an older header gives a shorter struct: the fields that it does not have
 * are 0, which means their default.
 */

#include <stddef.h>
#include <string.h>

#include "check.h"

/*
 * Copy `given`, or zeroes if it is NULL, to `options` of `size` bytes. Aborts
 * with `message` if the struct says that it has fewer bytes than `least`, those
 * of its first version, or more than `size`.
 */
static inline void coili_options_read(void *options, size_t size, size_t least,
                                      const void *given, const char *message)
{
    memset(options, 0, size);
    if (!given)
        return;
    size_t has;
    memcpy(&has, given, sizeof has);
    coili_check(has >= least && has <= size, message);
    memcpy(options, given, has);
}

#endif
