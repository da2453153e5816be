// SPDX-License-Identifier: MIT
#ifndef COILI_CONTEXT_H
#define COILI_CONTEXT_H

/*
 * context.h: the bindings of a task, for the files that spawn and free it.
 *
 * A struct context_scope is written by context.c alone. task.c has a new task
 * inherit the bindings; scope.c gives them back when the record goes.
 */

#include "scope.h"

struct context_scope {
    struct coili_scope scope;
    struct binding *bindings; /* of context.c; one reference */
};

/* A new task sees what the running one does. False without memory. */
bool coili_context_inherit(struct coil_loop *loop, struct coil_coro *to);

/* A scope goes, and the bindings that only this scope sees. */
void coili_context_over(struct coil_loop *loop, struct context_scope *scope);

#endif
