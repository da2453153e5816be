// SPDX-License-Identifier: MIT
/*
 * scope.c: the records of the objects that belong to a coroutine.
 *
 * Children, open blocks, holds, iterations and a name are in one list of the
 * frame, newest first. Most coroutines have none, and need only 8 bytes for the
 * list.
 *
 * Records are memory of the loop. Only the record of a GROUP is memory of the
 * user. It keeps the handles of the group's tasks when the block is over: so
 * the record stays in the list, with id 0, until the group is entered again or
 * the coroutine is over.
 */
#include "scope.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/list.h"
#include "block.h"
#include "cancel_scope.h"
#include "context.h"
#include "coroutine.h"
#include "dump.h"
#include "future.h"
#include "generator.h"
#include "group.h"
#include "loop.h"
#include "task.h"

static const size_t scope_size[] = {
    [SCOPE_CHILDREN] = sizeof(struct children_scope),
    [SCOPE_CANCEL] = sizeof(struct coili_cancel_scope),
    [SCOPE_HOLD] = sizeof(struct hold_scope),
    [SCOPE_ITER] = sizeof(struct iter_scope),
    [SCOPE_FROM] = sizeof(struct from_scope),
    [SCOPE_GIVE] = sizeof(struct give_scope),
    [SCOPE_NAME] = sizeof(struct name_scope),
    [SCOPE_CONTEXT] = sizeof(struct context_scope),
    [SCOPE_TRY] = sizeof(struct try_scope),
};

void *coili_scope_push(struct coil_coro *co, enum scope_kind kind, size_t size)
{
    coili_check(size == scope_size[kind], "a scope of another size");
    struct coili_scope *scope = coili_get(&coili_loop->alloc, size);
    if (!scope)
        return NULL;
    memset(scope, 0, size);
    scope->kind = kind & 0xff;
    coili_scope_link(co, scope);
    return scope;
}

void coili_scope_unlink(struct coil_coro *co, struct coili_scope *scope)
{
    struct coili_scope **p = &co->scopes;
    while (*p != scope)
        p = &(*p)->next;
    *p = scope->next;
}

/* Release the giver of a value that was passed on: a future has a reference. */
static void let_go_of_giver(uintptr_t giver)
{
    if (giving_future(giver))
        future_unref(giving_future(giver));
}

/*
 * Remove a record from the list, release the contents of the record, and free
 * it. The caller releases the object of a HOLD or WITH, before or afterwards.
 */
void coili_scope_pop(struct coil_coro *co, struct coili_scope *scope)
{
    coili_scope_unlink(co, scope);
    switch (scope->kind) {
    case SCOPE_CANCEL:
        coili_cancel_scope_gone((struct coili_cancel_scope *)scope);
        break;
    case SCOPE_CHILDREN:
        coili_nursery_release(&((struct children_scope *)scope)->nursery);
        break;
    case SCOPE_GIVE:
        let_go_of_giver(((struct give_scope *)scope)->giver);
        break;
    case SCOPE_CONTEXT:
        coili_context_over(coili_loop, (struct context_scope *)scope);
        break;
    case SCOPE_GROUP: {
        struct coili_nursery *n = &((struct group_scope *)scope)->nursery;
        coili_nursery_release(n);
        n->owner = NULL;
        return; /* the record is memory of the user */
    }
    }
    coili_put(&coili_loop->alloc, scope, scope_size[scope->kind]);
}

/* ---- Children --------------------------------------------------------- */

/* The nursery of a record; NULL if the record has none. */
static struct coili_nursery *nursery_of(struct coili_scope *s)
{
    if (s->kind == SCOPE_CHILDREN)
        return &((struct children_scope *)s)->nursery;
    if (s->kind == SCOPE_GROUP)
        return &((struct group_scope *)s)->nursery;
    return NULL;
}

struct coili_nursery *coili_nursery_find(const struct coil_coro *co)
{
    FOR_SCOPES(s, co->scopes)
        if (coili_has_nursery(s))
            return nursery_of(s);
    return NULL;
}

struct coili_nursery *coili_nursery_next(const struct coil_coro *co,
                                         const struct coili_nursery *n)
{
    bool found = !n;
    FOR_SCOPES(s, co->scopes) {
        if (found && nursery_of(s))
            return nursery_of(s);
        found = found || nursery_of(s) == n;
    }
    return NULL;
}

struct coil_task *coili_nursery_alive(const struct coili_nursery *n,
                                      const struct coili_list *link)
{
    for (; link != &n->tasks; link = link->next) {
        struct coil_task *t = COILI_CONTAINER(link, struct coil_task,
                                              siblings);
        if (!coil_task_done(t))
            return t;
    }
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

/*
 * coili_cancel() sets F_ASKED, also of the tasks of this nursery that it meets
 * on its way. So tasks that await each other in a row are asked one time each,
 * and not once for each task in front of them.
 */
void coili_nursery_ask(struct coili_nursery *n, enum coil_cancel_reason reason)
{
    struct coil_loop *loop = coili_loop;
    struct coili_nursery *outer = loop->asking;
    loop->asking = n;
    n->asked = 1;
    for (struct coili_list *l = n->tasks.next; l != &n->tasks; l = l->next) {
        struct coil_coro *co = &COILI_CONTAINER(l, struct coil_task, siblings)
                                    ->coro;
        if (!(co->future.flags & F_ASKED))
            coili_cancel(co, reason);
    }
    loop->asking = outer;
}

/* Mostly it is the first request: then no task has F_ASKED. */
void coili_nursery_cancel(struct coili_nursery *n,
                          enum coil_cancel_reason reason)
{
    if (n->asked)
        for (struct coili_list *l = n->tasks.next; l != &n->tasks; l = l->next)
            flag_clear(
                &COILI_CONTAINER(l, struct coil_task, siblings)->coro.future,
                F_ASKED);
    coili_nursery_ask(n, reason);
}

/*
 * Releasing a handle may report an error, and so run code of the user: read the
 * list again each time.
 */
void coili_nursery_release(struct coili_nursery *n)
{
    struct coili_list *link;
    while ((link = coili_list_first(&n->tasks))) {
        struct coil_task *t = COILI_CONTAINER(link, struct coil_task,
                                              siblings);
        if (!coil_task_done(t))
            break; /* an exception handler has just spawned it */
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

/*
 * JOIN(): wait until no child of the coroutine runs.
 *
 * Result    true: suspended. False: `awaiting` holds the outcome
 */
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
    FOR_SCOPES(s, co->scopes)
        if (s->kind == SCOPE_HOLD && ((struct hold_scope *)s)->object == object)
            return (struct hold_scope *)s;
    return NULL;
}

/*
 * The record is made before `acquire` is awaited, so that nothing can fail once
 * `acquire` has succeeded.
 */
struct coil_future *coil_hold(struct coil_coro *co, void *object,
                              coil_call_fn *release,
                              struct coil_future *acquire)
{
    if (find_hold(co, object))
        coili_misuse(co, NULL, 0,
                     "HOLD or WITH of what this coroutine holds already");
    struct hold_scope *hold = coili_scope_push(co, SCOPE_HOLD, sizeof *hold);
    if (!hold) {
        coil_discard(acquire);
        return coil_future_from_nomem();
    }
    hold->object = object;
    hold->release = release;
    return acquire;
}

/*
 * The await of a HOLD has ended. The newest hold that is not `on` is the record
 * of this HOLD: set `on`, or remove the record if acquiring has failed.
 */
bool coili_hold_failed(struct coil_coro *co)
{
    bool acquired = awaited_future(co)->state != S_FAILED;
    FOR_SCOPES(s, co->scopes) {
        if (s->kind != SCOPE_HOLD || s->on)
            continue;
        if (acquired)
            s->on = 1;
        else
            coili_scope_pop(co, s);
        break;
    }
    return coili_failed(co);
}

void coil_release(struct coil_coro *co, void *object)
{
    struct hold_scope *hold = find_hold(co, object);
    if (!hold || !hold->scope.on)
        coili_misuse(co, NULL, 0,
                     "RELEASE of what this coroutine does not hold: HOLD it");
    if (hold->scope.id)
        coili_misuse(co, NULL, 0,
                     "RELEASE of what a WITH holds: its brace does");
    coil_call_fn *release = hold->release;
    coili_scope_pop(co, &hold->scope);
    release(object);
}

/* True if the owner of the nursery goes on when its children have ended. */
static bool owner_waits(const struct coili_nursery *n)
{
    if (!n->owner || !n->awaited || n->owner->awaiting != AWAITS_CHILDREN)
        return false;
    if (n->group) /* at the brace; not in a JOIN, which a request ends */
        return COILI_CONTAINER(n, struct group_scope, nursery)->scope.stage ==
               BLOCK_DRAINS;
    return n->owner->line >= LINE_OVER;
}

static _Noreturn void wait_for_each_other(struct coil_coro *holder,
                                          struct coil_coro *child)
{
    const struct coil_site *site = coili_site(holder);
    char text[400];
    snprintf(text, sizeof text,
             "deadlock: %s at %s:%d waits for its children to end, and holds "
             "what %s needs to end: use WITH, or RELEASE it before",
             site->name, site->file, coili_source_line(holder->line, site),
             coili_site(child)->name);
    coili_misuse(child, NULL, 0, text);
}

/* From the task of `co` upwards, while the owner waits for its children. */
static void check_ancestors(struct coil_coro *co, const void *object)
{
    struct coil_coro *child = root_of(co), *root = child;
    while (root->future.flags & F_TASK && owner_waits(task_of(root)->owner)) {
        struct coil_coro *above = task_of(root)->owner->owner;
        struct hold_scope *hold = find_hold(above, object);
        if (hold && hold->scope.on)
            wait_for_each_other(above, child);
        root = root_of(above);
    }
}

void coil_check_holder(const struct coil_future *wait, const void *object)
{
    uintptr_t last = coili_last_waiter(wait), waiter = last;
    while (waiter) {
        if (!(waiter & 1)) /* a coroutine, and not a callback */
            check_ancestors((struct coil_coro *)waiter, object);
        waiter = *next_of(waiter);
        if (waiter == last)
            break;
    }
}
