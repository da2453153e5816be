// SPDX-License-Identifier: MIT
#ifndef COIL_EXCEPTION_H
#define COIL_EXCEPTION_H

/*
 * exception.h: what went wrong where nobody was listening.
 *
 * A task that failed and nobody asked; a coroutine that was never awaited; a
 * stream that was left open. Such things go to the loop's exception handler:
 * options.on_exception, or the one set later. Without one they are a line on
 * stderr.
 */

#include <coil/api.h>

COIL_BEGIN_DECLS

struct coil_loop;

struct coil_exception {
    const char *message; /* "task failed and nobody fetched its error" */
    const char *name;    /* of the task or coroutine; may be NULL */
    const char *file;    /* where it stood; may be NULL */
    int line;
    int err;
    uint32_t detail;
};

typedef void coil_exception_fn(const struct coil_exception *what, void *arg);

/*
 * Have `fn(what, arg)` called for each; NULL: a line on stderr. What is
 * reported while it runs goes to stderr, so that it cannot call itself for
 * ever.
 *
 * Lifetime  lends `arg` until another one is set or the loop is closed; what
 *           the handler is given is good until it returns
 * Source    asyncio loop.set_exception_handler()
 */
COIL_API void coil_loop_set_exception_handler(struct coil_loop *loop,
                                              coil_exception_fn *fn, void *arg);

/*
 * The handler that is set, to be called by the next one, or set again.
 *
 * Result    NULL: none. *arg, unless `arg` is NULL, is what it is called with
 * Source    asyncio loop.get_exception_handler()
 */
COIL_API coil_exception_fn *
coil_loop_get_exception_handler(const struct coil_loop *loop, void **arg);

/*
 * Report something to the handler of this thread's loop: for libraries, where
 * there is nobody to return an error to. In a thread without a loop: a line on
 * stderr.
 *
 * Lifetime  copies nothing: `what` is the caller's
 * Source    asyncio loop.call_exception_handler()
 */
COIL_API void coil_call_exception_handler(const struct coil_exception *what);

/*
 * What happens without a handler: a line on stderr, and one that says where.
 *
 * Source    asyncio loop.default_exception_handler()
 */
COIL_API void coil_default_exception_handler(const struct coil_exception *what);

COIL_END_DECLS

#endif
