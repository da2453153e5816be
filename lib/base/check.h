// SPDX-License-Identifier: MIT
#ifndef COILI_CHECK_H
#define COILI_CHECK_H

/*
 * check.h: the checks that stay on in release builds.
 *
 * A broken invariant or a caller's bug aborts the program with one line that
 * names the rule. Bad input does not: it is an error number.
 */

#include <stddef.h>

#include <coil/api.h>

#define COILI_LIKELY(x) __builtin_expect(!!(x), 1)
#define COILI_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define coili_check(cond, what) \
    do { \
        if (COILI_UNLIKELY(!(cond))) \
            coili_fatal(what); \
    } while (0)

struct coil_future;

/*
 * Abort if an array of pointers is NULL and n is not 0, or if an element is
 * NULL: "coil_gather: element 1 is NULL", made of the call and the index.
 */
void coili_check_array(const void *array, size_t n, const char *call,
                       const char *name);

/*
 * Abort unless the future has begun: "coil_wait: element 2 is a coroutine ...",
 * made of the function's name, its word for an element, and the index.
 */
void coili_check_started(const struct coil_future *future,
                         const char *function, const char *noun, size_t i);

/* Abort, and say why, which coroutine runs, and the line it is at. */
COIL_API _Noreturn __attribute__((cold)) void coili_fatal(const char *what);

#endif
