// SPDX-License-Identifier: MIT
/*
 * group.c: tasks that succeed together or end together.
 *
 * A group is a nursery in the user's memory, and an open block: tasks spawned
 * while the block is open go into the group, and its closing brace waits until
 * none of them runs. The group's request to end its block early is counted and
 * taken back like that of a deadline (cancel_scope.c), so the group's request
 * and a cancellation from outside can be told apart.
 *
 *     the first child fails    its error is kept; the other tasks and the block
 *                              are cancelled (reason: group)
 *     the block fails first    its error is kept; the tasks are cancelled
 *     coil_group_cancel()      the tasks and the block are cancelled, and the
 *                              coroutine goes on behind the brace
 *     a request while the      takes the place of a value, and asks the tasks
 *     brace waits              again; beside an error it strikes the next await
 *
 * As in asyncio the error of a child beats a cancellation from outside, which
 * then strikes the next await behind the group. -ECANCELED, of the block or of
 * a child, is no failure: the first other error is the group's.
 *
 * Tasks are asked to end once: a second request would cut the FINALLY short
 * that runs because of the first. Only a request from outside asks them again.
 */
#include <coil/group.h>

#include "group.h"

#include <errno.h>

#include "base/check.h"
#include "base/list.h"
#include "block.h"
#include "cancel_scope.h"
#include "coroutine.h"
#include "exception.h"
#include "future.h"
#include "generator.h"
#include "loop.h"
#include "scope.h"
#include "task.h"

static struct coil_task closed_task = {
    .coro.future = { .refs = REFS_MOST,
                     .flags = F_TASK | F_STARTED,
                     .state = S_FAILED,
                     .result.e = { COIL_ECLOSED, 0 } },
};

static struct group_scope *scope_of(const struct coil_group *group)
{
    return (struct group_scope *)(uintptr_t)group;
}

/* ---- In --------------------------------------------------------------- */

/*
 * Ask all tasks of the group to end, and the rest of its block. At the closing
 * brace no code of the block is left: only the tasks are asked.
 */
static void end_early(struct group_scope *g)
{
    if (g->asked)
        return;
    g->asked = true;
    coili_nursery_ask(&g->nursery, COIL_CANCEL_GROUP);
    if (g->scope.stage != BLOCK_DRAINS)
        coili_strike(g->nursery.owner, &g->scope, COIL_CANCEL_GROUP);
}

/* True if the record of the group is in the list of the coroutine. */
static bool is_linked(const struct coil_coro *co, const struct group_scope *g)
{
    FOR_SCOPES(s, co->scopes)
        if (s == &g->scope)
            return true;
    return false;
}

/*
 * Open the block of a group. The record of its last round keeps the handles of
 * the tasks of that round: they are released now. A group that was cancelled
 * before its first round ends early; the cancellation of an earlier round does
 * not count.
 */
void coili_group_enter(struct coil_coro *co, int32_t id,
                       struct coil_group *group)
{
    struct group_scope *g = scope_of(group);
    if (co->future.flags & F_FINALLY)
        coili_misuse(co, NULL, 0, "GROUP in FINALLY: SPAWN and JOIN() may "
                                  "stand there");
    coili_check_lent(g, "a group on the stack: make it a field of the frame");
    if (g->scope.id)
        coili_misuse(co, NULL, 0, "a group is entered twice: its block is "
                                  "still open");
    /*
     * `owner` is set while the record is in a list. A group that is in the list
     * without an owner was zeroed, and has lost the handles of its tasks.
     */
    if (g->nursery.owner)
        coili_scope_pop(g->nursery.owner, &g->scope);
    else if (is_linked(co, g))
        coili_misuse(co, NULL, 0, "a group was zeroed that keeps the handles "
                                  "of its last block: enter it as it is");
    *g = (struct group_scope){
        .scope = { .kind = SCOPE_GROUP,
                   .entry = coili_cancels_met(co),
                   .id = id },
        .nursery = { .owner = co, .group = 1 },
        .cancelled = g->cancelled && !g->over,
    };
    coili_list_init(&g->nursery.tasks);
    coili_scope_link(co, &g->scope);
    if (g->cancelled)
        end_early(g);
}

void coil_group_cancel(struct coil_group *group)
{
    coili_check(group, "coil_group_cancel: group is NULL");
    struct group_scope *g = scope_of(group);
    if (g->over)
        return;
    g->cancelled = true;
    if (g->scope.id)
        end_early(g);
}

/* ---- A child has failed ----------------------------------------------- */

static bool has_failed(const struct coil_coro *co)
{
    return outcome_of(&co->future) == S_FAILED &&
           co->future.result.e.error != -ECANCELED;
}

/*
 * The first error of a child becomes the group's, and is fetched. A child that
 * was cancelled has not failed. An error of the block counts as the earlier one
 * if it has reached the brace (DRAINS) before the child failed.
 */
void coili_group_child_failed(struct coili_nursery *n, struct coil_coro *child)
{
    struct group_scope *g = COILI_CONTAINER(n, struct group_scope, nursery);
    struct coil_future *f = &child->future;
    if (f->result.e.error == -ECANCELED || g->error ||
        (g->scope.stage == BLOCK_DRAINS && has_failed(n->owner)))
        return;
    g->error = f->result.e.error;
    g->detail = f->result.e.detail;
    mark_fetched(f);
    end_early(g);
}

/* A task that could not be made counts as a task that failed at once. */
void coili_group_spawn_failed(const struct coil_coro *co)
{
    struct coili_nursery *n = coili_nursery_find(co);
    if (!n || !n->group)
        return;
    struct group_scope *g = COILI_CONTAINER(n, struct group_scope, nursery);
    if (!g->error)
        g->error = -ENOMEM;
    end_early(g);
}

/* ---- At the brace ----------------------------------------------------- */

/*
 * The block has reached its brace. The wait there is an await, so a pending
 * request from outside strikes it; unless the block has failed: then the
 * request stays and strikes the next await. The group's own request has done
 * its work when it is the only one, and is cleared.
 */
static void arrive(struct coil_coro *co, struct group_scope *g)
{
    struct coil_future *f = &co->future;
    g->scope.stage = BLOCK_DRAINS;
    if (coili_struck_alone(co, &g->scope)) {
        flag_clear(f, F_MUST_CANCEL);
    } else if (g->nursery.running && must_cancel(co) &&
               outcome_of(f) != S_FAILED) {
        flag_clear(f, F_MUST_CANCEL);
        coili_cut(co, f->flags >> REASON_SHIFT);
    }
}

/*
 * The wait at the brace has ended.
 *
 * Result    true if a request from outside has ended it: the caller asks the
 *           tasks again. The request takes the place of a value, and beside an
 *           error it strikes the next await
 */
static bool meets_request(struct coil_coro *co)
{
    struct coil_future *f = &co->future, *by = awaited_future(co);
    co->awaiting = 0;
    if (!by || state_of(by) != S_FAILED)
        return false;
    struct coili_end end = coili_take_failure(co, by);
    if (outcome_of(f) != S_FAILED)
        coili_cut(co, end.detail);
    else if (!(f->flags & F_OWN_CANCEL))
        request(co, end.detail); /* the block has failed: for the next await */
    return true;
}

/*
 * The closing brace: wait until no task of the group runs. Called when the
 * block reaches the brace, and each time the wait has ended.
 *
 * Result    true: the coroutine is suspended. False: no task runs
 */
bool coili_group_waits(struct coil_coro *co, struct group_scope *g)
{
    struct coili_nursery *n = &g->nursery;
    bool again = false;
    if (g->scope.stage == BLOCK_DRAINS)
        again = meets_request(co);
    else
        arrive(co, g);
    if (!n->running)
        return false;

    /*
     * The coroutine waits before it asks: a task that awaits it, directly or
     * not, hands the request back, which must find it waiting.
     *
     * A request from outside asks all tasks, also those that were asked before.
     * Without one each task is asked once, if the block has failed, or if the
     * group was asked to end before the task was spawned.
     */
    n->awaited = 1;
    co->awaiting = AWAITS_CHILDREN;
    suspend(coili_loop, co, g->scope.id);
    if (again) {
        enum coil_cancel_reason reason =
            (enum coil_cancel_reason)(co->future.flags >> REASON_SHIFT);
        g->asked = g->struck = true;
        coili_cancel_closing(co, n, reason);
        coili_nursery_cancel(n, reason);
    } else if (g->asked || outcome_of(&co->future) == S_FAILED) {
        g->asked = true;
        coili_nursery_ask(n, COIL_CANCEL_GROUP);
    }
    return true;
}

bool coili_group_was_struck(const struct coil_coro *co)
{
    struct coili_scope *s = coili_block_of(co);
    return co->awaiting == AWAITS_CHILDREN && s && s->kind == SCOPE_GROUP &&
           s->stage == BLOCK_DRAINS && ((struct group_scope *)s)->struck;
}

/*
 * The group is over: no task of it runs. The error of a child, if there is one,
 * becomes the outcome of the block. Without one, a block that was cut short by
 * the group's own request was cut short by coil_group_cancel(): its outcome is
 * cleared, it has not failed. The record stays in the list while it keeps
 * handles.
 */
void coili_group_over(struct coil_coro *co, struct group_scope *g)
{
    struct coil_future *f = &co->future;
    bool failed_by_it = coili_take_back(co, &g->scope);
    if (g->error) {
        if (has_failed(co))
            coili_report("a body failed, but a child of its group did before",
                         co, f->result.e.error, f->result.e.detail);
        if (f->flags & F_OWN_CANCEL && f->cancels > g->scope.entry)
            request(co, f->flags >> REASON_SHIFT); /* the one from outside */
        flag_clear(f, F_OWN_CANCEL);
        coili_replace_by_failure(co, g->error, g->detail);
    } else if (failed_by_it) {
        coili_outcome_clear(co);
    }
    g->scope.id = 0;
    g->scope.on = 0;
    g->over = true;
    if (coili_list_empty(&g->nursery.tasks))
        coili_scope_pop(co, &g->scope);
}

/* ---- Spawning, asking ------------------------------------------------- */

static bool is_open(const struct coil_group *group)
{
    const struct group_scope *g = scope_of(group);
    return g->scope.id && !g->asked;
}

struct coil_task *coil_group_spawn(struct coil_group *group,
                                   struct coil_future *future)
{
    coili_check(group, "coil_group_spawn: group is NULL");
    if (!is_open(group)) {
        coil_discard(future);
        return &closed_task;
    }
    return coili_spawn_into(&scope_of(group)->nursery, future);
}

int coil_group_start(struct coil_group *group, struct coil_future *future)
{
    coili_check(group, "coil_group_start: group is NULL");
    if (!is_open(group)) {
        coil_discard(future);
        return COIL_ECLOSED;
    }
    return coili_start_into(&scope_of(group)->nursery, future);
}

size_t coil_group_count(const struct coil_group *group)
{
    return scope_of(group)->nursery.running;
}

struct coil_task *coil_group_next(const struct coil_group *group,
                                  const struct coil_task *task)
{
    const struct coili_nursery *n = &scope_of(group)->nursery;
    if (!n->running)
        return NULL;
    return coili_nursery_alive(n, task ? task->siblings.next : n->tasks.next);
}
