// SPDX-License-Identifier: MIT
#ifndef COILI_CHECK_H
#define COILI_CHECK_H

/*
 * check.h: the checks that stay on in release builds.
 *
 * A broken invariant or a caller's bug ends the program with one line that
 * names the rule. Bad input never does: it is an error number.
 */

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
 * Abort unless the future has begun: "coil_wait: element 2 is a coroutine ...",
 * of a function, what it calls its elements, and the index of this one.
 */
void coili_check_started(const struct coil_future *future,
                         const char *function, const char *noun, size_t i);

/* Says what, and which coroutine runs, after which line; and aborts. */
COIL_API _Noreturn __attribute__((cold)) void coili_fatal(const char *what);

#endif
