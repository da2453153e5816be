// SPDX-License-Identifier: MIT
/*
 * cancel_scope.c: deadlines, and blocks that can be cancelled from outside.
 *
 * When a deadline passes or a scope is cancelled, the block requests a
 * cancellation of its coroutine; when the block is over, it takes that request
 * back. Requests are counted, and each block stores their number at its entry:
 * the cancellation becomes the block's own error only if there is no other
 * request. A request is counted in each frame, from the one that was asked down
 * to the innermost. A frame that is entered later starts at 0, so a deadline in
 * it counts only requests made since then.
 *
 *     two deadlines in one pass    the inner block takes its request back; the
 *                                  other request is left, so the inner block
 *                                  ends cancelled. In the outer block no other
 *                                  is left: its error is -ETIMEDOUT
 *     a deadline, and a cancel     the other request is left in each block: the
 *     from outside                 task is cancelled
 *
 * WITHIN strikes once, as asyncio's timeout(). A scope strikes at every await.
 * For that it is enough to strike again when the cancellation is caught, since
 * a body that does not catch the cancellation awaits nothing more. So only
 * TRY_ALL has to check whether it is in a cancelled scope; other code has no
 * cost. A FINALLY between the TRY_ALL and the scope shields.
 */
#include <coil/cancel_scope.h>

#include "cancel_scope.h"

#include <errno.h>

#include "base/check.h"
#include "base/list.h"
#include "base/time.h"
#include "coroutine.h"
#include "future.h"
#include "group.h"
#include "loop.h"
#include "task.h"

/* ---- Striking --------------------------------------------------------- */

/* True for CANCEL_SCOPE, which strikes at every await; WITHIN has no object. */
static bool is_level(const struct coili_scope *s)
{
    return s->kind == SCOPE_CANCEL &&
           ((const struct coili_cancel_scope *)s)->object;
}

/*
 * The number of requests that have struck. A pending request is not counted: it
 * will strike inside the block that is being entered.
 */
uint16_t coili_cancels_met(const struct coil_coro *co)
{
    const struct coil_future *f = &co->future;
    bool unmet = f->flags & F_MUST_CANCEL && f->cancels;
    return (uint16_t)(f->cancels - unmet);
}

void coili_strike(struct coil_coro *co, struct coili_scope *scope,
                  enum coil_cancel_reason reason)
{
    scope->on = STRUCK;
    if (is_level(scope))
        coili_loop->cancelled_scopes++;
    coili_cancel(co, reason);
}

/* The deadline has passed. */
static void late(void *arg)
{
    struct coili_cancel_scope *s = arg;
    if (s->object)
        s->object->expired = true;
    coili_strike(s->co, &s->scope, COIL_CANCEL_TIMEOUT);
}

/*
 * Arm the deadline. A deadline that has passed becomes a call of the next pass,
 * before all tasks that this step makes ready: a timer would be later than
 * those.
 */
static int arm(struct coili_cancel_scope *s, int64_t deadline)
{
    if (deadline > coil_now())
        return coil_call_at(&s->handle, deadline, late, s);
    coil_call_soon(&s->handle, late, s);
    return 0;
}

/* ---- Striking again ---------------------------------------------------- */

/* The frame that waits for `co`; NULL: `co` is the root of a task. */
static struct coil_coro *above(const struct coil_coro *co)
{
    return co->future.flags & F_TASK ? NULL
                                     : (struct coil_coro *)co->future.waiters;
}

/*
 * True if a cancelled scope is open around the coroutine. The search goes up
 * through the callers and ends at a FINALLY, which shields. From a task it
 * continues with the blocks around the GROUP in which the task was spawned. A
 * task that was spawned outside of a GROUP is in no block of its spawner: the
 * search continues with the blocks around the call of the spawner.
 */
static bool in_cancelled_scope(const struct coil_coro *co)
{
    struct coili_scope *from = co->scopes;
    while (!(co->future.flags & F_FINALLY)) {
        FOR_SCOPES(s, from)
            if (is_level(s) && s->on)
                return true;
        if (!(co->future.flags & F_TASK)) {
            co = (struct coil_coro *)co->future.waiters;
            if (!co)
                return false;
            from = co->scopes;
            continue;
        }
        const struct coili_nursery *n =
            task_of((struct coil_coro *)(uintptr_t)co)->owner;
        co = n->owner;
        if (!co)
            return false;
        from = n->group
                   ? COILI_CONTAINER(n, struct group_scope, nursery)->scope.next
                   : NULL;
    }
    return false;
}

/*
 * TRY_ALL has caught a cancellation in `co`. If `co` is in a cancelled scope,
 * its next await is struck. A FINALLY shields itself and its callees, but not
 * the frames above it: so the search is repeated from the caller of each
 * FINALLY.
 */
static void strike_again(struct coil_coro *co, unsigned reason)
{
    if (!coili_loop->cancelled_scopes)
        return;
    while (co) {
        if (in_cancelled_scope(co))
            request(co, reason);
        while (co && !(co->future.flags & F_FINALLY))
            co = above(co);
        if (co)
            co = above(co);
    }
}

/* ---- In --------------------------------------------------------------- */

/* Open a block and arm its deadline. Returns NULL if out of memory. */
static struct coili_cancel_scope *enter(struct coil_coro *co, int32_t id,
                                        int64_t deadline)
{
    struct coili_cancel_scope *s = coili_scope_push(co, SCOPE_CANCEL,
                                                    sizeof *s);
    if (!s)
        return NULL;
    s->co = co;
    s->scope.entry = coili_cancels_met(co);
    s->scope.id = id;
    if (deadline == COIL_NEVER || arm(s, deadline) == 0)
        return s;
    coili_scope_pop(co, &s->scope);
    return NULL;
}

/* Fail with -ENOMEM. Result: false in FINALLY: the next statement runs. */
static bool fails_for_memory(struct coil_coro *co)
{
    co->awaiting = (uintptr_t)coil_future_from_nomem();
    return coili_failed(co);
}

void coili_within(struct coil_coro *co, int32_t id, int64_t duration)
{
    int64_t deadline = coili_deadline(coil_now(), duration);
    if (!enter(co, id, deadline) && !fails_for_memory(co))
        co->line = LINE_BARE;
}

/*
 * Open the block of a scope. A scope that was cancelled before strikes at once,
 * and needs no deadline.
 */
void coili_cancel_scope_enter(struct coil_coro *co, int32_t id,
                              struct coil_cancel_scope *scope)
{
    if (co->future.flags & F_FINALLY)
        coili_misuse(co, NULL, 0, "CANCEL_SCOPE in FINALLY: WITHIN may stand "
                                  "there");
    coili_check_lent(scope, "a cancel scope on the stack: make it a field of "
                            "the frame");
    if (scope->inside || scope->over)
        coili_misuse(co, NULL, 0, "a cancel scope is entered twice: zero it "
                                  "when its block is over");
    struct coili_cancel_scope *s = enter(
        co, id,
        scope->cancelled ? COIL_NEVER : coil_cancel_scope_deadline(scope));
    if (!s) {
        fails_for_memory(co);
        return;
    }
    s->object = scope;
    scope->inside = s;
    coili_loop->strike_again = strike_again;
    if (scope->cancelled)
        coili_strike(co, &s->scope, COIL_CANCEL_USER);
}

/* ---- Out -------------------------------------------------------------- */

/* Mark the user's object: its block is over. */
void coili_cancel_scope_gone(struct coili_cancel_scope *s)
{
    coil_handle_cancel(&s->handle);
    if (!s->object)
        return;
    if (s->scope.on)
        coili_loop->cancelled_scopes--;
    s->object->inside = NULL;
    s->object->over = true;
}

/*
 * The block is over. If the block has failed only because of its own request,
 * its error is that of the scope: -ECANCELED if the scope was cancelled, else
 * -ETIMEDOUT.
 */
void coili_cancel_scope_over(struct coil_coro *co, struct coili_cancel_scope *s)
{
    bool failed_by_it = coili_take_back(co, &s->scope);
    bool cancelled = s->object && s->object->cancelled;
    coili_scope_pop(co, &s->scope);
    if (!failed_by_it)
        return;
    flag_clear(&co->future, F_OWN_CANCEL);
    if (!cancelled)
        co->future.result.e.error = -ETIMEDOUT;
}

/* ---- Requests of blocks, and others ----------------------------------- */

bool coili_struck_alone(const struct coil_coro *co,
                        const struct coili_scope *scope)
{
    return scope->on == STRUCK && co->future.cancels <= scope->entry + 1u &&
           co->future.cancels < REQUESTS_MOST;
}

/*
 * A block takes back one request, its own. If requests are left that were made
 * after the block was entered, the block stays cancelled by them. If not, no
 * await after the block must be struck. The block has failed by its own request
 * if the outcome is this task's own cancellation; in FINALLY the outcome is
 * that of the body.
 */
bool coili_take_back(struct coil_coro *co, struct coili_scope *scope)
{
    struct coil_future *f = &co->future;
    if (scope->on != STRUCK)
        return false;
    coili_uncount_request(f);
    if (f->cancels > scope->entry || f->cancels == REQUESTS_MOST)
        return false;
    flag_clear(f, F_MUST_CANCEL);
    return outcome_of(f) == S_FAILED && f->flags & F_OWN_CANCEL &&
           !(f->flags & F_FINALLY);
}

/* The requests of blocks that have struck and were not taken back yet. */
struct strikes {
    unsigned n, entry; /* their number; requests at entry of the oldest block */
};

/* The list is newest first: the last record found is the oldest one. */
static struct strikes strikes(const struct coil_coro *co)
{
    struct strikes s = { 0, 0 };
    FOR_SCOPES(scope, co->scopes)
        if (scope->on == STRUCK &&
            (scope->kind == SCOPE_CANCEL || scope->kind == SCOPE_GROUP)) {
            s.n++;
            s.entry = scope->entry;
        }
    return s;
}

/* The number of requests that the coroutine's own blocks did not make. */
static unsigned others(const struct coil_coro *co, struct strikes s)
{
    if (co->future.cancels == REQUESTS_MOST)
        return REQUESTS_MOST;
    return co->future.cancels > s.n ? co->future.cancels - s.n : 0;
}

unsigned coili_cancels_of_others(const struct coil_coro *co)
{
    return others(co, strikes(co));
}

bool coili_is_late(const struct coil_coro *co)
{
    struct strikes s = strikes(co);
    return s.n && others(co, s) <= s.entry && others(co, s) < REQUESTS_MOST;
}

/*
 * An await in FINALLY was struck. Take back the requests of all open blocks
 * that have struck; the blocks stay open until their braces.
 *
 * Result    true if there was no other request
 */
bool coili_cancel_scopes_struck(struct coil_coro *co)
{
    struct strikes s = strikes(co);
    if (!s.n)
        return false;
    FOR_SCOPES(scope, co->scopes)
        if (scope->kind == SCOPE_CANCEL && scope->on == STRUCK)
            scope->on = STRUCK_AND_OVER;
    co->future.cancels = (uint8_t)others(co, s);
    if (co->future.cancels > s.entry || co->future.cancels == REQUESTS_MOST)
        return false;
    flag_clear(&co->future, F_MUST_CANCEL);
    return true;
}

/* ---- Scopes ----------------------------------------------------------- */

bool coil_cancel_scope_cancel(struct coil_cancel_scope *scope)
{
    coili_check(scope, "coil_cancel_scope_cancel: scope is NULL");
    if (scope->over || scope->cancelled || scope->expired)
        return false;
    scope->cancelled = true;
    if (scope->inside) {
        coil_handle_cancel(&scope->inside->handle);
        coili_strike(scope->inside->co, &scope->inside->scope,
                     COIL_CANCEL_USER);
    }
    return true;
}

/*
 * Arm the timer of an open scope again. If there is no memory for the timer,
 * the old deadline stays: either it had no timer, or its call was already
 * queued (due) and is queued again.
 */
int coil_cancel_scope_set_deadline(struct coil_cancel_scope *scope,
                                   int64_t deadline)
{
    coili_check(scope, "coil_cancel_scope_set_deadline: scope is NULL");
    if (scope->over || scope->cancelled || scope->expired)
        return -EALREADY;
    struct coili_cancel_scope *s = scope->inside;
    if (s) {
        bool due = is_place(s->handle.where);
        bool armed = coil_handle_cancel(&s->handle);
        /* The heap has room for a timer where one was removed just now. */
        if (deadline != COIL_NEVER && arm(s, deadline) < 0) {
            coili_check(!armed || due, "a timer has no room where one was");
            if (due)
                coil_call_soon(&s->handle, late, s);
            return -ENOMEM;
        }
    }
    scope->deadline = deadline ? deadline : -1; /* 0: there is none */
    return 0;
}

int64_t coil_cancel_scope_deadline(const struct coil_cancel_scope *scope)
{
    return scope->deadline ? scope->deadline : COIL_NEVER;
}

bool coil_cancel_scope_cancelled(const struct coil_cancel_scope *scope)
{
    return scope->cancelled;
}

bool coil_cancel_scope_expired(const struct coil_cancel_scope *scope)
{
    return scope->expired;
}
