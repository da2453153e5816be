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
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

/*
 * Abort: "coil_loop_new: recv_buffers is 100: must be a power of two", made of
 * the call, the option, its value, and what is right.
 */
static inline _Noreturn void coili_bad_option(const char *call,
                                              const char *option, int64_t value,
                                              const char *rule)
{
    char message[192];
    snprintf(message, sizeof message, "%s: %s is %lld: %s", call, option,
             (long long)value, rule);
    coili_fatal(message);
}

/*
 * Copy `given`, or zeroes if it is NULL, to `options` of `size` bytes. Aborts
 * if given->size is less than `least`, the size of the first version of the
 * struct, or more than `size`; the message names the call, and `init`, which
 * sets the field.
 */
static inline void coili_options_read(void *options, size_t size, size_t least,
                                      const void *given, const char *call,
                                      const char *init)
{
    memset(options, 0, size);
    if (!given)
        return;
    size_t has;
    memcpy(&has, given, sizeof has);
    if (COILI_UNLIKELY(has < least || has > size)) {
        char rule[96];
        snprintf(rule, sizeof rule, "must be %zu: use %s", size, init);
        coili_bad_option(call, "options.size", (int64_t)has, rule);
    }
    memcpy(options, given, has);
}

#endif
