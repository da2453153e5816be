// SPDX-License-Identifier: MIT
/*
 * scope.c: what belongs to a coroutine until it is over.
 *
 * Children, deadlines, a group, holds, iterations and a name hang in one list
 * on the frame, newest first. Most coroutines have none, and pay 8 bytes for that.
 */
#include <errno.h>
#include <string.h>

#include "runtime.h"

static const size_t scope_size[] = {
    [SCOPE_CHILDREN] = sizeof(struct children_scope),
    [SCOPE_CANCEL] = sizeof(struct cancel_scope),
    [SCOPE_GROUP] = sizeof(struct group_scope),
    [SCOPE_HOLD] = sizeof(struct hold_scope),
    [SCOPE_ITER] = sizeof(struct iter_scope),
    [SCOPE_FROM] = sizeof(struct from_scope),
    [SCOPE_GIVE] = sizeof(struct give_scope),
    [SCOPE_NAME] = sizeof(struct name_scope),
    [SCOPE_CONTEXT] = sizeof(struct context_scope),
};

void *coili_scope_push(struct coil_coro *co, enum scope_kind kind, size_t size)
{
    coili_check(size == scope_size[kind], "a scope of another size");
    struct coili_scope *scope = coili_get(&coili_loop->alloc, size);
    if (!scope)
        return NULL;
    memset(scope, 0, size);
    scope->kind = (uint8_t)kind;
    scope->next = co->scopes;
    co->scopes = scope;
    return scope;
}

static void let_go_of_giver(uintptr_t giver)
{
    if (giving_future(giver))
        future_unref(giving_future(giver));
}

void coili_scope_pop(struct coil_coro *co, struct coili_scope *scope)
{
    struct coili_scope **p = &co->scopes;
    while (*p != scope)
        p = &(*p)->next;
    *p = scope->next;
    if (scope->kind == SCOPE_CANCEL)
        coili_cancel_scope_gone((struct cancel_scope *)scope);
    else if (scope->kind == SCOPE_CHILDREN)
        coili_nursery_release(&((struct children_scope *)scope)->nursery);
    else if (scope->kind == SCOPE_GIVE)
        let_go_of_giver(((struct give_scope *)scope)->giver);
    else if (scope->kind == SCOPE_CONTEXT)
        coili_context_over(coili_loop, (struct context_scope *)scope);
    coili_put(&coili_loop->alloc, scope, scope_size[scope->kind]);
}

/* ---- Children --------------------------------------------------------- */

struct coili_nursery *coili_nursery_find(const struct coil_coro *co)
{
    for (struct coili_scope *s = co->scopes; s; s = s->next)
        if (s->kind == SCOPE_CHILDREN)
            return &((struct children_scope *)s)->nursery;
    return NULL;
}

struct coili_nursery *coili_nursery_new(struct coil_coro *co)
{
    struct children_scope *scope = coili_scope_push(co, SCOPE_CHILDREN,
                                                    sizeof *scope);
    if (!scope)
        return NULL;
    coili_list_init(&scope->nursery.tasks);
    scope->nursery.owner = co;
    return &scope->nursery;
}

void coili_nursery_cancel(struct coili_nursery *n,
                          enum coil_cancel_reason reason)
{
    for (struct coili_list *l = n->tasks.next; l != &n->tasks; l = l->next)
        coili_cancel(&COILI_CONTAINER(l, struct coil_task, siblings)->coro,
                     reason);
}

void coili_nursery_cancel_rest(struct coili_nursery *n)
{
    for (struct coili_list *l = n->tasks.next; l != &n->tasks; l = l->next) {
        struct coil_task *t = COILI_CONTAINER(l, struct coil_task, siblings);
        if (!coil_task_cancelling(t))
            coili_cancel(&t->coro, COIL_CANCEL_GROUP);
    }
}

void coili_nursery_release(struct coili_nursery *n)
{
    struct coili_list *link;
    while ((link = coili_list_first(&n->tasks))) {
        struct coil_task *t = COILI_CONTAINER(link, struct coil_task,
                                              siblings);
        if (!coil_task_done(t))
            break; /* spawned in here: by who is told of an error, say */
        coili_list_remove(link);
        flag_clear(&t->coro.future, F_HANDLE);
        future_unref(&t->coro.future);
    }
}

void coili_last_child_ended(struct coil_loop *loop, struct coili_nursery *n)
{
    n->awaited = 0;
    n->owner->awaiting = (uintptr_t)&coili_zero;
    wake(loop, n->owner);
}

bool coili_join(struct coil_coro *co, int line)
{
    struct coili_nursery *n = coili_nursery_find(co);
    co->line = line;
    if (must_cancel(co)) {
        co->awaiting = (uintptr_t)&coili_cancelled;
        return false;
    }
    if (!n || !n->running) {
        co->awaiting = (uintptr_t)&coili_zero;
        return false;
    }
    n->awaited = 1;
    co->awaiting = AWAITS_CHILDREN;
    co->since = coili_loop->now_ms;
    coili_loop->current = NULL;
    return true;
}

/* ---- Holds ------------------------------------------------------------ */

static struct hold_scope *find_hold(const struct coil_coro *co,
                                    const void *object)
{
    for (struct coili_scope *s = co->scopes; s; s = s->next)
        if (s->kind == SCOPE_HOLD && ((struct hold_scope *)s)->object == object)
            return (struct hold_scope *)s;
    return NULL;
}

/* The record is made first: once acquired there is nothing left to fail. */
struct coil_future *coil_hold(struct coil_coro *co, void *object,
                              coil_call_fn *release,
                              struct coil_future *acquire)
{
    if (find_hold(co, object))
        coili_misuse(co, NULL, 0,
                     "HOLD of what this coroutine holds already: it could wait "
                     "for itself; RELEASE it first");
    struct hold_scope *hold = coili_scope_push(co, SCOPE_HOLD, sizeof *hold);
    if (!hold) {
        coil_drop(acquire);
        return coil_future_nomem();
    }
    hold->object = object;
    hold->release = release;
    return acquire;
}

bool coili_hold_failed(struct coil_coro *co)
{
    bool acquired = awaited_future(co)->state != S_FAILED;
    struct coili_scope *scope = co->scopes;
    while (scope && (scope->kind != SCOPE_HOLD || scope->on))
        scope = scope->next;
    if (scope && acquired)
        scope->on = 1;
    else if (scope)
        coili_scope_pop(co, scope);
    return coili_failed(co);
}

void coil_release(struct coil_coro *co, void *object)
{
    struct hold_scope *hold = find_hold(co, object);
    if (!hold || !hold->scope.on)
        coili_misuse(co, NULL, 0,
                     "RELEASE of what this coroutine does not hold: HOLD it "
                     "before, here, and RELEASE it once");
    coil_call_fn *release = hold->release;
    coili_scope_pop(co, &hold->scope);
    release(object);
}
