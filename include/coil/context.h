// SPDX-License-Identifier: MIT
#ifndef COIL_CONTEXT_H
#define COIL_CONTEXT_H

/*
 * context.h: context variables: values that belong to a task and that the tasks
 * it spawns inherit, such as the number of a request for the log, or a user.
 *
 *     static const struct coil_context_var request = { "request", NULL };
 *
 *     my->err = coil_context_set(&request, my->id);   // in a server's task
 *     log("%s", (char *)coil_context_get(&request));  // in tasks it spawns
 *
 * To set a variable binds a value to it in the running task. The coroutines
 * that the task calls and the generators that it runs share its bindings. A
 * task that it spawns begins with the bindings of that moment; what either of
 * the two binds later the other does not see. A task that was detached keeps
 * its bindings.
 *
 * Callbacks of the loop (coil_call_soon(), done callbacks, release functions)
 * belong to no task: they get the default value. Threads inherit no bindings:
 * hand over what they need.
 *
 * A program that uses no context variables pays nothing for them. While a task
 * has bindings, spawning from it takes 32 bytes more, and fails with -ENOMEM
 * without them.
 */

#include <coil/api.h>

COIL_BEGIN_DECLS

/*
 * A variable is identified by its address: define it as a static object.
 *
 * Source    contextvars.ContextVar
 */
struct coil_context_var {
    const char *name;    /* for debuggers; coil does not use it */
    void *default_value; /* the value in a task that has bound none */
};

/*
 * Bind a value in the running task. To undo it later, bind the value that
 * coil_context_get() returned before. Outside of a task it aborts.
 *
 * Result    0
 * Errors    -ENOMEM: the old binding holds
 * Lifetime  the caller lends `var` and what `value` points to until the task,
 *           and all tasks that it has spawned meanwhile, have ended
 * Source    ContextVar.set(), ContextVar.reset()
 */
COIL_API COIL_NODISCARD int
coil_context_set(const struct coil_context_var *var, void *value);

/*
 * The value that is bound in the running task; var->default_value if none is
 * bound, and outside of a task.
 *
 * Source    ContextVar.get()
 */
COIL_API void *coil_context_get(const struct coil_context_var *var);

COIL_END_DECLS

#endif
