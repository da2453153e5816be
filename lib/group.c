// SPDX-License-Identifier: MIT
/*
 * group.c: tasks that succeed together or end together.
 *
 * A coroutine owns its children anyway, and does not end before them. As a
 * group it waits for them instead of cancelling them, and listens to those that
 * fail. That is all there is: the group's request to end the block is counted
 * and taken back as a deadline's is, so an outer cancellation is told from it.
 *
 *     the first child fails --> its error is kept; the others and the block are
 *                               cancelled (reason: group)
 *     the block ends ---------> LINE_JOIN: children are waited for; what it has
 *                               returned stays, if the group is cancelled now
 *     the block fails --------> its error is the first, children are cancelled
 *     all have ended ---------> the kept error is what the coroutine ends with;
 *                               an outer cancellation then strikes its caller's
 *                               next await
 *
 * As in asyncio the error of a child beats a cancellation from outside, which
 * is not forgotten for that.
 *
 * Children are asked to end once, be it here or by drain(): a second request
 * would cut the FINALLY short that the first one has led to.
 */
#include <coil/group.h>

#include <errno.h>

#include "runtime.h"

static struct coil_task closed_task = {
    .coro.future = { .refs = REFS_MOST,
                     .flags = F_TASK | F_STARTED,
                     .state = S_FAILED,
                     .result.e = { COIL_ECLOSED, 0 } },
};

static struct group_scope *find_group(const struct coil_coro *co)
{
    for (struct coili_scope *s = co->scopes; s; s = s->next)
        if (s->kind == SCOPE_GROUP)
            return (struct group_scope *)s;
    return NULL;
}

static bool ends_early(const struct coil_group *group)
{
    return group->error || group->cancelled;
}

/* The block has not come to its end, or waits there; then drain() does. */
static bool in_block(const struct coil_coro *co)
{
    return co->line < LINE_OVER;
}

/* All that is in it is asked to end, and what is left of the block. */
static void end_early(struct coil_coro *co)
{
    struct group_scope *scope = find_group(co);
    struct coili_nursery *n = coili_nursery_find(co);
    if (!in_block(co) || scope->group->asked)
        return;
    scope->group->asked = true;
    coili_nursery_cancel(n, COIL_CANCEL_GROUP);
    if (co->line != LINE_JOIN)
        coili_strike(co, &scope->scope, COIL_CANCEL_GROUP);
    else if (n->awaited)
        coili_last_child_ended(coili_loop, n); /* go on, to drain() */
}

bool coili_group_enter(struct coil_coro *co, struct coil_group *group)
{
    if (co->future.flags & F_FINALLY)
        coili_misuse(co, NULL, 0, "GROUP in FINALLY");
    if (group->inside || group->over)
        coili_misuse(co, NULL, 0, "a group is entered twice");
    if (find_group(co))
        coili_misuse(co, NULL, 0, "two groups in one coroutine");
    struct coili_nursery *n = coili_nursery_need(co);
    struct group_scope *scope = NULL;
    if (n)
        scope = coili_scope_push(co, SCOPE_GROUP, sizeof *scope);
    if (!scope) {
        co->awaiting = (uintptr_t)coil_future_nomem();
        return coili_failed(co);
    }
    scope->scope.entry = coili_cancels_met(co);
    scope->group = group;
    group->inside = co;
    n->group = 1;
    if (group->cancelled)
        end_early(co);
    return false;
}

/* ---- Ending early ----------------------------------------------------- */

/* The block itself has failed: that came first. */
static bool block_failed(const struct coil_coro *co)
{
    const struct coil_future *f = &co->future;
    return outcome_of(f) == S_FAILED && f->result.e.error != -ECANCELED;
}

void coili_group_child_failed(struct coili_nursery *n, struct coil_coro *child)
{
    struct coil_group *group = find_group(n->owner)->group;
    struct coil_future *f = &child->future;
    if (f->result.e.error == -ECANCELED || group->error ||
        block_failed(n->owner))
        return;
    group->error = f->result.e.error;
    group->detail = f->result.e.detail;
    mark_fetched(f);
    end_early(n->owner);
}

void coil_group_cancel(struct coil_group *group)
{
    group->cancelled = true;
    if (group->inside)
        end_early(group->inside);
}

bool coili_group_has_asked(const struct coil_coro *co)
{
    const struct group_scope *scope = find_group(co);
    return scope && scope->group->asked;
}

/* ---- The end ---------------------------------------------------------- */

bool coili_group_joins(const struct coil_coro *co)
{
    const struct coili_nursery *n = coili_nursery_find(co);
    return n && n->group && n->running && !ends_early(find_group(co)->group) &&
           outcome_of(&co->future) != S_FAILED;
}

void coili_group_ended_block(struct coil_coro *co)
{
    find_group(co)->scope.id = 1;
}

void coili_group_over(struct coil_coro *co)
{
    struct group_scope *scope = find_group(co);
    if (!scope)
        return;
    struct coil_group *group = scope->group;
    bool alone = scope->scope.id;
    group->inside = NULL;
    group->over = true;
    coili_nursery_find(co)->group = 0;
    coili_scope_pop(co, &scope->scope);
    if (group->error) {
        struct coil_future *f = &co->future;
        if (block_failed(co))
            coili_report("a block failed, but a child of its group did before",
                         co, f->result.e.error, f->result.e.detail);
        /* Who is closed as a generator was not asked by anybody. */
        if (f->flags & F_OWN_CANCEL && f->flags & F_CALLED && f->cancels)
            request((struct coil_coro *)f->waiters, f->flags >> REASON_SHIFT);
        flag_clear(f, F_OWN_CANCEL);
        coili_replace_by_failure(co, group->error, group->detail);
    } else if (alone) {
        coili_replace_by_zero(co);
    }
}

/* ---- Spawning --------------------------------------------------------- */

static bool is_open(const struct coil_group *group)
{
    return group->inside && !ends_early(group) && in_block(group->inside);
}

struct coil_task *coil_group_spawn(struct coil_group *group,
                                   struct coil_future *future)
{
    if (!is_open(group)) {
        coil_drop(future);
        return &closed_task;
    }
    return coili_spawn_into(coili_nursery_find(group->inside), future);
}

int coil_group_start(struct coil_group *group, struct coil_future *future)
{
    if (!is_open(group)) {
        coil_drop(future);
        return COIL_ECLOSED;
    }
    return coili_start_into(coili_nursery_find(group->inside), future);
}
