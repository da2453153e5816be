// SPDX-License-Identifier: MIT
#ifndef COIL_CONTEXT_H
#define COIL_CONTEXT_H

/*
 * context.h: what a task knows without being told: a request's number for the
 * log, a deadline, a user.
 *
 *     static const struct coil_context_var request = { "request", NULL };
 *
 *     err = coil_context_set(&request, my->id);      // in the server
 *     log("%s", (char *)coil_context_get(&request)); // anywhere below it
 *
 * A binding belongs to a task: the coroutines that it calls and the generators
 * that it runs share it. A task that it spawns begins with what was bound at
 * that moment; what either binds later is not seen by the other. One that was
 * detached keeps its own.
 *
 * Plain calls of the loop (coil_call_soon, callbacks, releases) belong to no
 * task: they find the fallback. Nor do threads inherit any of it: hand over
 * what they need.
 *
 * Who uses none of this pays nothing for it. While a task has bindings, a spawn
 * from it takes 32 bytes more, and is -ENOMEM if they are not there.
 */

#include <coil/api.h>

COIL_BEGIN_DECLS

/*
 * A variable is its address: a static object.
 *
 * Source    contextvars.ContextVar
 */
struct coil_context_var {
    const char *name; /* for whoever reads a core */
    void *fallback;   /* where nothing is bound */
};

/*
 * Bind a value in the running task. To undo it later bind the value that
 * coil_context_get() gave before. Outside a task it aborts.
 *
 * Result    0
 * Errors    -ENOMEM; then nothing has changed
 * Lifetime  lends `var` and what `value` points to, until the task and all that
 *           it has spawned meanwhile are over
 * Source    ContextVar.set(), ContextVar.reset()
 */
COIL_API COIL_NODISCARD int
coil_context_set(const struct coil_context_var *var, void *value);

/*
 * The value bound in the running task; the fallback where there is none.
 *
 * Source    ContextVar.get()
 */
COIL_API void *coil_context_get(const struct coil_context_var *var);

COIL_END_DECLS

#endif
