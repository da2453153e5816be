// SPDX-License-Identifier: MIT
#ifndef COIL_EXCEPTION_H
#define COIL_EXCEPTION_H

/*
 * exception.h: the exception handler: where unhandled errors are reported.
 *
 *     static void log_it(const struct coil_exception *exception, void *log)
 *     {
 *         log_line(log, exception->message, exception->err);
 *     }
 *
 *     coil_loop_set_exception_handler(loop, log_it, log);
 *
 * An error that no code can receive is reported to the handler of the loop: a
 * task that failed and whose error was never fetched, an error in FINALLY after
 * another error, a coroutine that was never awaited, a stream that was left
 * open when the loop closed. The handler is options.on_exception (loop.h), or
 * the one that was set later. Without a handler the report is printed to
 * stderr.
 */

#include <coil/api.h>

COIL_BEGIN_DECLS

struct coil_loop;

/* What a handler is given. */
struct coil_exception {
    const char *message; /* "a task failed and its error was not fetched" */
    const char *name;    /* of the task or coroutine; may be NULL */
    const char *file;    /* where it last was; may be NULL */
    int line;            /* in `file` */
    int err;             /* 0 if there is none */
    uint32_t detail;     /* of `err`; see error.h */
};

/*
 * A handler. The exception and its strings are lent to it until it returns.
 */
typedef void coil_exception_fn(const struct coil_exception *exception,
                               void *arg);

/*
 * Have `fn(exception, arg)` called for each report; NULL: print reports to
 * stderr. What is reported while `fn` runs is printed to stderr, so that a
 * handler never calls itself.
 *
 * Lifetime  the caller lends `arg` until another handler is set or the loop is
 *           closed
 * Source    asyncio loop.set_exception_handler()
 */
COIL_API void coil_loop_set_exception_handler(struct coil_loop *loop,
                                              coil_exception_fn *fn, void *arg);

/*
 * The handler that is set: to be called by the next one, or set again.
 *
 * Result    the handler, or NULL; *arg, unless `arg` is NULL, is its argument
 * Source    asyncio loop.get_exception_handler()
 */
COIL_API coil_exception_fn *
coil_loop_get_exception_handler(const struct coil_loop *loop, void **arg);

/*
 * Report an exception to the handler of this thread's loop: for libraries, of
 * an error that they can return to no caller. In a thread without a loop it is
 * printed to stderr.
 *
 * Lifetime  the caller lends `exception` until the function returns
 * Source    asyncio loop.call_exception_handler()
 */
COIL_API void
coil_call_exception_handler(const struct coil_exception *exception);

/*
 * What is done without a handler: print a line to stderr, and a second one with
 * the name, the file and the line if they are known.
 *
 * Source    asyncio loop.default_exception_handler()
 */
COIL_API void
coil_default_exception_handler(const struct coil_exception *exception);

COIL_END_DECLS

#endif
