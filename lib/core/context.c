// SPDX-License-Identifier: MIT
/*
 * context.c: bindings of variables, inherited by what is spawned.
 *
 * The bindings of a task are a list, which is shared with the tasks that
 * inherit it: a part of the list to which others refer is not changed but
 * copied. So to inherit all bindings is to count one reference:
 *
 *     parent's scope ---> [user = u] ---> [request = 7] ---> NULL
 *                          ^
 *     child's scope -------+
 *     child's after set(): [request = 8] ---> [user = u] ---> NULL   copied
 *
 * The scope is a record of the frame at the root of the task; only tasks that
 * have bindings have one. `loop->contexts` counts these records: a spawn looks
 * for bindings to inherit only if there are any.
 */
#include <coil/context.h>

#include "context.h"

#include <errno.h>

#include "base/check.h"
#include "loop.h"
#include "task.h"

struct binding {
    struct binding *next; /* one reference */
    const struct coil_context_var *var;
    void *value;
    size_t refs; /* of scopes and of bindings in front of it */
};

static struct context_scope *find_scope(const struct coil_coro *root)
{
    return (struct context_scope *)coili_scope_find(root, SCOPE_CONTEXT);
}

static struct context_scope *scope_new(struct coil_loop *loop,
                                       struct coil_coro *root)
{
    struct context_scope *scope = coili_scope_push(root, SCOPE_CONTEXT,
                                                   sizeof *scope);
    if (scope)
        loop->contexts++;
    return scope;
}

/* Drop a reference; free the bindings that had no other one. */
static void let_go(struct binding *b)
{
    while (b && --b->refs == 0) {
        struct binding *next = b->next;
        coil_free(b, sizeof *b);
        b = next;
    }
}

void coili_context_over(struct coil_loop *loop, struct context_scope *scope)
{
    loop->contexts--;
    let_go(scope->bindings);
}

bool coili_context_inherit(struct coil_loop *loop, struct coil_coro *to)
{
    if (!loop->current)
        return true;
    struct context_scope *from = find_scope(root_of(loop->current));
    if (!from || !from->bindings)
        return true;
    struct context_scope *scope = scope_new(loop, to);
    if (!scope)
        return false;
    scope->bindings = from->bindings;
    scope->bindings->refs++;
    return true;
}

static struct binding *find(struct binding *b,
                            const struct coil_context_var *var)
{
    while (b && b->var != var)
        b = b->next;
    return b;
}

/* True if no other scope sees `b`: all references up to it are single. */
static bool is_own(const struct binding *list, const struct binding *b)
{
    while (list != b && list->refs == 1)
        list = list->next;
    return list == b && b->refs == 1;
}

static struct binding *binding_new(const struct coil_context_var *var,
                                   void *value, struct binding *next)
{
    struct binding *b = coil_alloc(sizeof *b);
    if (b)
        *b = (struct binding){ next, var, value, 1 };
    return b;
}

/* The bindings in front of `without`, then those behind it; counted. */
static int copy(struct binding **out, const struct binding *list,
                const struct binding *without)
{
    struct binding *first = NULL, **end = &first;
    for (; list != without; list = list->next) {
        *end = binding_new(list->var, list->value, NULL);
        if (!*end) {
            let_go(first);
            return -ENOMEM;
        }
        end = &(*end)->next;
    }
    *end = without->next;
    if (without->next)
        without->next->refs++;
    *out = first;
    return 0;
}

/*
 * A binding that only this task sees is changed in place. Otherwise a new one
 * is put in front of the list; an old one of the same variable must not stay
 * behind it, so the part of the list in front of the old one is copied.
 */
int coil_context_set(const struct coil_context_var *var, void *value)
{
    coili_check(var, "coil_context_set: var is NULL");
    struct coil_loop *loop = coili_need_loop();
    coili_check(loop->current, "a context variable is set outside a task");
    struct coil_coro *root = root_of(loop->current);
    struct context_scope *scope = find_scope(root);
    if (!scope && !(scope = scope_new(loop, root)))
        return -ENOMEM;

    struct binding *list = scope->bindings, *old = find(list, var);
    if (old && is_own(list, old)) {
        old->value = value;
        return 0;
    }
    struct binding *b = binding_new(var, value, list);
    if (!b)
        return -ENOMEM;
    if (old) {
        if (copy(&b->next, list, old) < 0) {
            coil_free(b, sizeof *b);
            return -ENOMEM;
        }
        let_go(list);
    }
    scope->bindings = b;
    return 0;
}

void *coil_context_get(const struct coil_context_var *var)
{
    struct coil_loop *loop = coili_loop;
    if (!loop || !loop->current)
        return var->default_value;
    const struct context_scope *scope = find_scope(root_of(loop->current));
    const struct binding *b = scope ? find(scope->bindings, var) : NULL;
    return b ? b->value : var->default_value;
}
