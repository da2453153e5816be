// SPDX-License-Identifier: MIT
/*
 * cancel_scope.c: deadlines, and what can be cancelled from outside.
 *
 * Each is a request that a coroutine makes of itself, and takes back when its
 * block is over. It counts that against the requests there were when it began:
 * the cancellation becomes -ETIMEDOUT only if nobody else asked for one. The
 * counter stands in every frame, from the one that was asked down to the
 * innermost: a frame that is entered later starts at 0, so a deadline deep down
 * sees just what concerns it.
 *
 * WITHIN strikes once, as asyncio's timeout(). A scope strikes at every await:
 * that is to say, once more whenever somebody catches it, for who does not
 * catch it awaits nothing more. So only CATCH_AWAIT has to ask whether it
 * stands in such a scope, and nobody else pays. A FINALLY on the way up is a
 * shield.
 */
#include <coil/cancel_scope.h>

#include <errno.h>

#include "runtime.h"

/* scope.id of those that strike at every await. */
#define LEVEL 1

/* ---- Striking --------------------------------------------------------- */

/* Who asked before, and has not struck yet, is not to be forgotten. */
uint16_t coili_cancels_met(struct coil_coro *co)
{
    return (uint16_t)(co->future.cancels - must_cancel(co));
}

void coili_strike(struct coil_coro *co, struct coili_scope *scope,
                  enum coil_cancel_reason reason)
{
    scope->on = STRUCK;
    if (scope->kind == SCOPE_CANCEL && scope->id == LEVEL)
        coili_loop->cancelled_scopes++;
    coili_cancel(co, reason);
}

static void late(void *arg)
{
    struct cancel_scope *s = arg;
    if (s->object)
        s->object->expired = true;
    coili_strike(s->co, &s->scope, COIL_CANCEL_TIMEOUT);
}

/* Before whatever this step makes ready, if it is due: no timer is so exact. */
static int arm(struct cancel_scope *s, int64_t deadline)
{
    if (deadline > coil_now())
        return coil_call_at(&s->handle, deadline, late, s);
    coil_call_soon(&s->handle, late, s);
    return 0;
}

static struct cancel_scope *push(struct coil_coro *co)
{
    struct cancel_scope *s = coili_scope_push(co, SCOPE_CANCEL, sizeof *s);
    if (s) {
        s->co = co;
        s->scope.entry = coili_cancels_met(co);
    }
    return s;
}

static bool no_memory(struct coil_coro *co)
{
    co->awaiting = (uintptr_t)coil_future_nomem();
    return coili_failed(co);
}

void coili_cancel_scope_gone(struct cancel_scope *s)
{
    coil_handle_cancel(&s->handle);
    if (s->object) {
        s->object->inside = NULL;
        s->object->over = true;
    }
    if (s->scope.id == LEVEL && s->scope.on)
        coili_loop->cancelled_scopes--;
}

bool coili_in_cancelled_scope(const struct coil_coro *co)
{
    if (!coili_loop->cancelled_scopes)
        return false;
    while (co && !(co->future.flags & F_FINALLY)) {
        for (struct coili_scope *s = co->scopes; s; s = s->next)
            if (s->kind == SCOPE_CANCEL && s->id == LEVEL && s->on)
                return true;
        if (!(co->future.flags & F_TASK))
            co = (struct coil_coro *)co->future.waiters;
        else
            co = task_of((struct coil_coro *)(uintptr_t)co)->owner->owner;
    }
    return false;
}

/* ---- WITHIN ----------------------------------------------------------- */

bool coili_within(struct coil_coro *co, int64_t duration)
{
    struct cancel_scope *s = push(co);
    if (!s)
        return no_memory(co);
    int64_t now = coil_now();
    int64_t deadline = duration > INT64_MAX - now ? INT64_MAX : now + duration;
    return arm(s, deadline) < 0 && no_memory(co);
}

/* ---- Scopes ----------------------------------------------------------- */

bool coili_cancel_scope_enter(struct coil_coro *co,
                              struct coil_cancel_scope *scope)
{
    if (co->future.flags & F_FINALLY)
        coili_misuse(co, NULL, 0, "CANCEL_SCOPE in FINALLY");
    if (scope->inside || scope->over)
        coili_misuse(co, NULL, 0, "a cancel scope is entered twice");
    struct cancel_scope *s = push(co);
    if (!s)
        return no_memory(co);
    s->scope.id = LEVEL;
    if (scope->cancelled) {
        coili_strike(co, &s->scope, COIL_CANCEL_USER);
    } else if (coil_cancel_scope_deadline(scope) != COIL_NEVER &&
               arm(s, scope->deadline) < 0) {
        return no_memory(co); /* it goes with the block */
    }
    s->object = scope;
    scope->inside = s;
    return false;
}

bool coil_cancel_scope_cancel(struct coil_cancel_scope *scope)
{
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

int coil_cancel_scope_set_deadline(struct coil_cancel_scope *scope,
                                   int64_t deadline)
{
    if (scope->over || scope->cancelled || scope->expired)
        return -EALREADY;
    struct cancel_scope *s = scope->inside;
    if (s) {
        bool due = s->handle.where == WHERE_READY;
        bool armed = coil_handle_cancel(&s->handle);
        /* Where a timer was there is room for another one. */
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

/* ---- The end of a block ----------------------------------------------- */

/* What has struck and was not taken back yet. */
struct strikes {
    unsigned n, entry; /* requests there were before the oldest one */
    enum coili_verdict by;
};

static enum coili_verdict verdict(const struct coili_scope *scope)
{
    const struct cancel_scope *s = (const struct cancel_scope *)scope;
    if (scope->kind == SCOPE_GROUP)
        return BY_GROUP;
    return s->object && s->object->cancelled ? BY_SCOPE : BY_DEADLINE;
}

static bool may_strike(const struct coili_scope *scope)
{
    return scope->kind == SCOPE_CANCEL || scope->kind == SCOPE_GROUP;
}

static struct strikes strikes(const struct coil_coro *co)
{
    struct strikes s = { 0, 0, NOBODY };
    for (struct coili_scope *scope = co->scopes; scope; scope = scope->next)
        if (may_strike(scope) && scope->on == STRUCK) {
            s.n++;
            s.entry = scope->entry;
            s.by = verdict(scope);
        }
    return s;
}

static unsigned others(const struct coil_coro *co, struct strikes s)
{
    return co->future.cancels > s.n ? co->future.cancels - s.n : 0;
}

/* They are no more, and their requests go with them. */
static bool take_back(struct coil_coro *co, struct strikes s)
{
    if (!s.n)
        return false;
    co->future.cancels = (uint8_t)others(co, s);
    if (co->future.cancels > s.entry)
        return false; /* somebody else wants it to end, too */
    flag_clear(&co->future, F_MUST_CANCEL);
    return true;
}

/*
 * Children that have not ended yet are still in a scope that struck: there is
 * a mark left of it. A group is over when they are.
 */
static void end_scope(struct coil_coro *co, struct coili_scope *scope)
{
    bool level = scope->kind == SCOPE_CANCEL && scope->id == LEVEL;
    if (scope->kind == SCOPE_CANCEL && !(level && scope->on)) {
        coili_scope_pop(co, scope);
        return;
    }
    if (scope->on)
        scope->on = STRUCK_AND_OVER;
    if (level) {
        struct cancel_scope *s = (struct cancel_scope *)scope;
        s->object->inside = NULL;
        s->object->over = true;
        s->object = NULL;
    }
}

enum coili_verdict coili_cancel_scopes_over(struct coil_coro *co)
{
    struct strikes s = strikes(co);
    struct coili_scope *scope, *next;
    for (scope = co->scopes; scope; scope = next) {
        next = scope->next;
        if (may_strike(scope) && scope->on != STRUCK_AND_OVER)
            end_scope(co, scope);
    }
    return take_back(co, s) && co->future.flags & F_OWN_CANCEL ? s.by : NOBODY;
}

bool coili_cancel_scopes_struck(struct coil_coro *co)
{
    struct strikes s = strikes(co);
    struct coili_scope *scope, *next;
    for (scope = co->scopes; scope; scope = next) {
        next = scope->next;
        if (scope->kind == SCOPE_CANCEL && scope->on == STRUCK)
            coili_scope_pop(co, scope);
    }
    return take_back(co, s);
}

unsigned coili_cancels_of_others(const struct coil_coro *co)
{
    return others(co, strikes(co));
}

bool coili_is_late(const struct coil_coro *co)
{
    struct strikes s = strikes(co);
    return s.n && others(co, s) <= s.entry;
}
