// SPDX-License-Identifier: MIT
/*
 * exception.c: where unhandled errors are reported.
 *
 * A handler is the user's code, which may fail a task itself. An error that is
 * reported while the handler runs goes to stderr: the handler is not called
 * again from within.
 */
#include <coil/exception.h>

#include "exception.h"

#include <stdio.h>

#include <coil/error.h>

#include "base/check.h"
#include "coroutine.h"
#include "loop.h"
#include "task.h"

void coil_loop_set_exception_handler(struct coil_loop *loop,
                                     coil_exception_fn *fn, void *arg)
{
    coili_check(loop, "coil_loop_set_exception_handler: loop is NULL");
    loop->options.on_exception = fn;
    loop->options.on_exception_arg = arg;
}

coil_exception_fn *coil_loop_get_exception_handler(const struct coil_loop *loop,
                                                   void **arg)
{
    coili_check(loop, "coil_loop_get_exception_handler: loop is NULL");
    if (arg)
        *arg = loop->options.on_exception_arg;
    return loop->options.on_exception;
}

void coil_default_exception_handler(const struct coil_exception *what)
{
    coili_check(what, "coil_default_exception_handler: exception is NULL");
    char words[128] = "", where[256] = "";
    if (what->err < 0)
        coil_explain(what->err, what->detail, words, sizeof words);
    if (what->file)
        snprintf(where, sizeof where, " at %s:%d", what->file, what->line);
    fprintf(stderr, "coil: %s%s%s\n", what->message, *words ? ": " : "", words);
    if (what->name || what->file)
        fprintf(stderr, "    in %s%s\n", what->name ? what->name : "?", where);
}

void coil_call_exception_handler(const struct coil_exception *what)
{
    coili_check(what, "coil_call_exception_handler: exception is NULL");
    struct coil_loop *loop = coili_loop;
    if (!loop || !loop->options.on_exception || loop->reporting) {
        coil_default_exception_handler(what);
        return;
    }
    loop->reporting = true;
    loop->options.on_exception(what, loop->options.on_exception_arg);
    loop->reporting = false;
}

void coili_report(const char *message, struct coil_coro *co, int err,
                  uint32_t detail)
{
    const struct coil_site *site = co ? coili_site(co) : NULL;
    struct coil_exception what = {
        .message = message,
        .name = co ? coili_name(co) : NULL,
        .file = site ? site->file : NULL,
        .line = site ? site->line : 0,
        .err = err,
        .detail = detail,
    };
    coil_call_exception_handler(&what);
}
