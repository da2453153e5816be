// SPDX-License-Identifier: MIT
/*
 * coroutine.c: stepping a frame; the functions behind the macros.
 *
 * One step of a coroutine is one call of its function, which ends in one of
 * three ways, and says so before it returns:
 *
 *     it suspended      co->awaiting tells on what; the loop forgets it
 *     it awaits a call  loop->resume is the child; the trampoline runs it next
 *     it is over        loop->resume is its caller, resumed in the same step
 *
 * run_steps() in loop.c is the trampoline: however deep the calls, the C stack
 * holds one step at a time.
 *
 * An await that need not wait leaves the result in co->awaiting and goes on.
 * So does the loop when it wakes a coroutine; coili_failed() and its sisters
 * read it from there and let go of the future. A resumed coroutine whose
 * `awaiting` is still set when its function falls to coili_leave() was resumed
 * at a line its switch does not know: a `switch` of the user's is in between.
 *
 * How a coroutine ends, step by step (its `line` tells how far it is):
 *
 *     the body ends -----> at the brace of each block that is open (block.c);
 *                          then children are cancelled
 *     LINE_DRAIN           children still run: wait for them
 *     LINE_FINALLY         FINALLY, if it has one
 *     LINE_OVER            children that FINALLY started have ended; holds
 *                          released, newest first; result published
 */
#include <coil/coroutine.h>

#include "coroutine.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/time.h"
#include "block.h"
#include "cancel_scope.h"
#include "debug.h"
#include "dump.h"
#include "exception.h"
#include "future.h"
#include "generator.h"
#include "loop.h"
#include "scope.h"
#include "task.h"

#define NOINLINE __attribute__((noinline))

/* ---- Frames ----------------------------------------------------------- */

_Thread_local int coili_run_error;

NOINLINE struct coil_coro *coili_no_loop(void)
{
    coili_check(coili_run_error, "this thread has no loop: RUN() makes one");
    return NULL;
}

/* Listed until it is awaited, so that one that never is can be named. */
struct coil_coro *coili_frame_new(coil_step_fn *step, uint32_t size)
{
    struct coil_loop *loop = coili_loop;
    if (COILI_UNLIKELY(!loop))
        return coili_no_loop();
    struct coil_task *t = coili_frame_make(loop, step, size, 1, KIND_CORO);
    if (COILI_UNLIKELY(!t))
        return NULL;
    t->owner = NULL;
    coili_list_append(&loop->unstarted, &t->siblings);
    if (COILI_UNLIKELY(loop->debug))
        coili_debug_made(loop, &t->coro);
    return &t->coro;
}

/* Blocks are aligned to 16; a wide task stands 8 bytes into its own. */
static void *block_of(struct coil_task *t)
{
    return (char *)t - ((uintptr_t)t & 8);
}

/* A result that nobody is going to take. A future does it when it is gone. */
static void give_back(uintptr_t giver, struct coil_future *f)
{
    if (!giving_future(giver) && f->result.p) /* NULL was not allocated */
        ((coil_call_fn *)((const struct coil_site *)giver)->give)(f->result.p);
}

static inline void put_back(struct coil_coro *co)
{
    if (is_in_place(&co->future))
        return;
    struct coil_task *t = task_of(co);
    flag_clear(&co->future, F_TASK); /* who uses the handle now is told */
    coili_list_remove(&t->siblings);
    coili_class_put(&coili_loop->alloc, block_of(t), co->future.size_class);
}

void coili_frame_unmake(struct coil_loop *loop, struct coil_coro *co)
{
    coili_class_put(&loop->alloc, block_of(task_of(co)),
                    co->future.size_class);
}

static NOINLINE void report_and_free(struct coil_coro *co)
{
    struct coil_future *f = &co->future;
    coili_check(state_of(f), "a coroutine is freed before its end");
    if (f->flags & F_GIVES && !(f->flags & F_FETCHED))
        give_back(co->next, f);
    else if (f->flags & F_GIVES && giving_future(co->next))
        mark_fetched(giving_future(co->next));
    if (f->flags & F_TASK && state_of(f) == S_FAILED &&
        !(f->flags & F_FETCHED) && !(f->state & QUIET) &&
        f->result.e.error != -ECANCELED)
        coili_report("a task failed and nobody fetched its error", co,
                     f->result.e.error, f->result.e.detail);
    while (co->scopes)
        coili_scope_pop(co, co->scopes);
    put_back(co);
}

void coili_frame_free(struct coil_coro *co)
{
    struct coil_future *f = &co->future;
    unsigned state = state_of(f);
    if (COILI_UNLIKELY(f->flags & F_GIVES || co->scopes ||
                       state == S_PENDING || state == S_FAILED)) {
        report_and_free(co);
        return;
    }
    put_back(co);
}

/* ---- Awaiting --------------------------------------------------------- */

/*
 * The rare parts of an await are functions of their own, called last: so
 * coili_await() and coili_await_task() save no registers, which pays for their
 * check for NULL.
 */
static NOINLINE bool let_others_run(struct coil_loop *loop,
                                    struct coil_coro *co, int line)
{
    wake(loop, co);
    suspend(loop, co, line);
    return true;
}

/* What is done already does not suspend, but for once in a while. */
static inline bool go_on(struct coil_loop *loop, struct coil_coro *co,
                         struct coil_future *f, int line)
{
    co->awaiting = (uintptr_t)f;
    if (COILI_LIKELY(--loop->budget > 0))
        return false;
    return let_others_run(loop, co, line);
}

static NOINLINE bool await_started(struct coil_coro *co, int line)
{
    coili_misuse(co, NULL, line,
                 "a coroutine is awaited twice: CALL it anew");
}

/* The request goes on to the child, which skips its body. */
static NOINLINE bool await_cancelled(struct coil_loop *loop,
                                     struct coil_coro *co,
                                     struct coil_coro *child, int line)
{
    flag_clear(&co->future, F_MUST_CANCEL);
    coili_begin_cancelled(child, (enum coil_cancel_reason)(co->future.flags >>
                                                           REASON_SHIFT));
    loop->resume = child;
    suspend(loop, co, line);
    return true;
}

static inline bool await_coroutine(struct coil_loop *loop, struct coil_coro *co,
                                   struct coil_coro *child, int line)
{
    if (COILI_UNLIKELY(child->future.flags & F_STARTED))
        return await_started(co, line);
    if (!(child->future.flags & F_IN_PLACE))
        coili_list_remove(&task_of(child)->siblings);
    flag_set(&child->future, F_STARTED | F_CALLED);
    child->future.waiters = (uintptr_t)co;
    co->awaiting = (uintptr_t)child;
    if (COILI_UNLIKELY(must_cancel(co)))
        return await_cancelled(loop, co, child, line);
    loop->resume = child;
    suspend(loop, co, line);
    return true;
}

static bool await_sleep(struct coil_loop *loop, struct coil_coro *co,
                        struct coil_future *f, int line)
{
    int64_t delay = f->result.i;
    f->state = S_INT; /* it has served */
    future_unref(f);
    if (struck(co))
        return false;
    int64_t deadline = coili_deadline(coil_now(), delay);
    if (coili_heap_push(&loop->timers, deadline, (uintptr_t)&co->awaiting)) {
        co->awaiting = (uintptr_t)coil_future_from_nomem();
        return false;
    }
    suspend(loop, co, line);
    return true;
}

static bool await_custom(struct coil_loop *loop, struct coil_coro *co,
                         struct coil_future *f, int line)
{
    bool begins = !(f->flags & F_STARTED);
    if (begins && custom_of(f)->cls->cancel && struck(co)) {
        future_unref(f);
        return false;
    }
    if (begins) {
        flag_set(f, F_STARTED);
        custom_of(f)->cls->start(f);
        if (f->state)
            return go_on(loop, co, f, line);
    }
    co->awaiting = (uintptr_t)f;
    coili_add_waiter(f, (uintptr_t)co);
    suspend(loop, co, line);
    if (must_cancel(co))
        coil_future_cancel(f);
    return true;
}

static bool await_plain(struct coil_loop *loop, struct coil_coro *co,
                        struct coil_future *f, int line)
{
    co->awaiting = (uintptr_t)f;
    coili_add_waiter(f, (uintptr_t)co);
    suspend(loop, co, line);
    if (must_cancel(co))
        coil_future_cancel(f);
    return true;
}

static inline bool await_pass(struct coil_loop *loop, struct coil_coro *co,
                              int line)
{
    co->awaiting = (uintptr_t)&coili_passed;
    wake(loop, co);
    suspend(loop, co, line);
    return true;
}

static NOINLINE bool await_pending(struct coil_coro *co, struct coil_future *f,
                                   int line)
{
    struct coil_loop *loop = coili_loop;
    if (COILI_UNLIKELY(loop->current != co))
        coili_misuse(co, NULL, 0, COILI_AWAIT_OUTSIDE);
    if (COILI_UNLIKELY(!f))
        coili_misuse(co, NULL, line, COILI_AWAIT_NULL);
    if (COILI_UNLIKELY(loop->debug))
        coili_debug_owner(loop, f);
    switch (kind_of(f)) {
    case KIND_PASS:
        return !struck(co) && await_pass(loop, co, line);
    case KIND_CUSTOM:
        return await_custom(loop, co, f, line);
    case KIND_SLEEP:
        return await_sleep(loop, co, f, line);
    case KIND_PLAIN:
        return await_plain(loop, co, f, line);
    default:
        coili_misuse(co, NULL, line,
                     "a future is awaited twice: coil_future_ref() it");
    }
}

/* Short, so that the common cases save no registers. */
bool coili_await(struct coil_coro *co, struct coil_future *f, int line)
{
    struct coil_loop *loop = coili_loop;
    if (COILI_LIKELY(f && loop->current == co)) {
        if (f == &coili_pass && !(co->future.flags & F_MUST_CANCEL))
            return await_pass(loop, co, line);
        if (kind_of(f) == KIND_CORO)
            return await_coroutine(loop, co, coro_of(f), line);
        if (f->state)
            return go_on(loop, co, f, line);
    }
    return await_pending(co, f, line);
}

static NOINLINE bool await_task_pending(struct coil_coro *co,
                                        struct coil_task *task, int line)
{
    struct coil_loop *loop = coili_loop;
    if (COILI_UNLIKELY(loop->current != co))
        coili_misuse(co, NULL, 0, COILI_AWAIT_OUTSIDE);
    if (COILI_UNLIKELY(!task))
        coili_misuse(co, NULL, line, COILI_AWAIT_NULL);
    struct coil_future *f = &task->coro.future;
    if (COILI_UNLIKELY(loop->debug))
        coili_debug_owner(loop, f);
    if (COILI_UNLIKELY(!(f->flags & F_TASK)))
        coili_misuse(co, NULL, line,
                     "a task handle is used after its end: it was dropped");
    struct coil_coro *at = co;
    while (at->future.flags & F_CALLED)
        at = (struct coil_coro *)at->future.waiters;
    if (at == &task->coro)
        coili_misuse(co, NULL, line,
                     "a task awaits itself");
    future_ref(f);
    co->awaiting = (uintptr_t)f;
    coili_add_waiter(f, (uintptr_t)co);
    suspend(loop, co, line);
    if (must_cancel(co))
        coili_cancel(&task->coro, (enum coil_cancel_reason)(
                                      co->future.flags >> REASON_SHIFT));
    return true;
}

bool coili_await_task(struct coil_coro *co, struct coil_task *task, int line)
{
    struct coil_loop *loop = coili_loop;
    if (COILI_LIKELY(task && loop->current == co)) {
        struct coil_future *f = &task->coro.future;
        if (COILI_LIKELY(state_of(f) && f->flags & F_TASK)) {
            future_ref(f);
            return go_on(loop, co, f, line);
        }
    }
    return await_task_pending(co, task, line);
}

/* ---- Outcomes --------------------------------------------------------- */

static void set_outcome(struct coil_coro *co, unsigned state)
{
    co->future.state = (uint8_t)(state << OUTCOME_SHIFT |
                                 (co->future.state & QUIET));
}

static void set_failure(struct coil_coro *co, int err, uint32_t detail)
{
    set_outcome(co, S_FAILED);
    co->future.result.e.error = err;
    co->future.result.e.detail = detail;
}

/* The duty to dispose of an outcome, if it came from elsewhere; or NULL. */
static struct give_scope *find_give(const struct coil_coro *co)
{
    return (struct give_scope *)coili_scope_find(co, SCOPE_GIVE);
}

/* Who is to dispose of this outcome, if anybody. */
static uintptr_t giver(struct coil_coro *co, unsigned outcome,
                       const struct coil_site *site)
{
    struct give_scope *give = find_give(co);
    if (give)
        return give->giver;
    return outcome == S_POINTER && site->give ? (uintptr_t)site : 0;
}

/* What it was going to return, if anything, is disposed of. */
void coili_replace_by_failure(struct coil_coro *co, int err, uint32_t detail)
{
    unsigned outcome = outcome_of(&co->future);
    if (outcome && outcome != S_FAILED) {
        uintptr_t by = giver(co, outcome, coili_site(co));
        if (by)
            give_back(by, &co->future);
        struct give_scope *give = find_give(co);
        if (give)
            coili_scope_pop(co, &give->scope);
    }
    set_failure(co, err, detail);
}

void coili_cut(struct coil_coro *co, uint32_t detail)
{
    flag_set(&co->future, F_OWN_CANCEL);
    coili_replace_by_failure(co, -ECANCELED, detail);
}

struct coili_end coili_take_failure(struct coil_coro *co, struct coil_future *f)
{
    struct coili_end end = { f->result.e.error, f->result.e.detail, false };
    if (end.err == -ECANCELED) {
        if (co->future.flags & F_MUST_CANCEL) {
            flag_clear(&co->future, F_MUST_CANCEL);
            end.own = true;
            end.detail = co->future.flags >> REASON_SHIFT;
        } else if (f->flags & F_CALLED && f->flags & F_OWN_CANCEL) {
            end.own = true;
        }
        if (end.own && co->future.flags & F_FINALLY &&
            coili_cancel_scopes_struck(co)) {
            end.err = -ETIMEDOUT; /* a deadline that FINALLY has set */
            end.own = false;
        }
    }
    mark_fetched(f);
    future_unref(f);
    coili_loop->last_detail = end.detail;
    return end;
}

int coil_body_error(const struct coil_coro *co)
{
    const struct coil_future *f = &co->future;
    bool failed = f->flags & F_FINALLY && outcome_of(f) == S_FAILED;
    return failed ? f->result.e.error : 0;
}

_Thread_local uint32_t coili_run_detail;

uint32_t coil_last_detail(void)
{
    return coili_loop ? coili_loop->last_detail : coili_run_detail;
}

/*
 * Nothing jumps, and the first error stays. A request that has cut short an
 * await here is not lost for that: it goes on to the caller.
 */
static void failed_in_finally(struct coil_coro *co, struct coili_end end)
{
    struct coil_future *f = &co->future;
    if (co->scopes && coili_try_notes(co, end))
        return;
    if (outcome_of(f) != S_FAILED) {
        coili_replace_by_failure(co, end.err, end.detail);
        if (end.own)
            flag_set(f, F_OWN_CANCEL);
    } else if (end.own && f->flags & F_CALLED && !(f->flags & F_OWN_CANCEL)) {
        request((struct coil_coro *)f->waiters, end.detail);
    }
}

NOINLINE bool coili_failed_with(struct coil_coro *co, struct coili_end end)
{
    if (co->future.flags & F_FINALLY) {
        failed_in_finally(co, end);
        return false;
    }
    if (end.own)
        flag_set(&co->future, F_OWN_CANCEL);
    set_failure(co, end.err, end.detail);
    coili_body_over(co);
    return true;
}

/* A generator that yields is not awaited by a plain AWAIT. */
static struct coil_future *awaited_done(struct coil_coro *co)
{
    struct coil_future *f = awaited_future(co);
    if (COILI_UNLIKELY(!state_of(f)))
        coili_misuse(co, NULL, 0,
                     "a generator is run by FOR_AWAIT or NEXT, not AWAIT");
    return f;
}

bool coili_failed_slow(struct coil_coro *co)
{
    struct coil_future *f = awaited_done(co);
    co->awaiting = 0;
    return coili_failed_with(co, coili_take_failure(co, f));
}

/* ---- Taking values ---------------------------------------------------- */

static bool is_integer(enum coili_kind kind)
{
    return kind >= COILI_KIND_BOOL && kind <= COILI_KIND_ULLONG;
}

enum fit { FITS, TOO_LARGE, OTHER_KIND };

/*
 * A 0 is NULL and 0.0 as well, whose bits are the same: it is what a coroutine
 * gives that ends without a RETURN.
 */
static enum fit fit(const struct coil_future *f, unsigned state,
                    enum coili_kind kind)
{
    switch (state) {
    case S_INT:
        if (!is_integer(kind))
            return f->result.i == 0 ? FITS : OTHER_KIND;
        return coili_fits_int(kind, f->result.i) ? FITS : TOO_LARGE;
    case S_UINT: /* above INT64_MAX */
        if (!is_integer(kind))
            return OTHER_KIND;
        return kind == COILI_KIND_ULLONG ||
                       (kind == COILI_KIND_ULONG && sizeof(long) == 8)
                   ? FITS
                   : TOO_LARGE;
    case S_DOUBLE:
        if (kind == COILI_KIND_FLOAT)
            return isfinite(f->result.d) && fabs(f->result.d) > (double)FLT_MAX
                       ? TOO_LARGE
                       : FITS;
        return kind == COILI_KIND_DOUBLE ? FITS : OTHER_KIND;
    default:
        return kind == COILI_KIND_POINTER ? FITS : OTHER_KIND;
    }
}

/* A value of another kind is the programmer's error. */
void coili_misuse_kind(struct coil_coro *co, unsigned state,
                       enum coili_kind kind, const char *file, int line)
{
    static const char names[][11] = { "an integer", "a double", "a pointer" };
    const char *is = names[state == S_POINTER ? 2 : state == S_DOUBLE];
    const char *to = names[kind == COILI_KIND_POINTER ? 2 : !is_integer(kind)];
    char text[100];
    snprintf(text, sizeof text,
             "the value is %s%s, the variable holds %s: make it %s", is,
             state == S_UINT ? " above INT64_MAX" : "", to, is);
    coili_misuse(co, file, line, text);
}

int coili_fits(const struct coil_future *f, enum coili_kind kind)
{
    enum fit how = fit(f, state_of(f), kind);
    if (how == OTHER_KIND)
        coili_misuse_kind(NULL, state_of(f), kind, NULL, 0);
    return how == FITS ? 0 : -EOVERFLOW;
}

bool coili_fits_into(struct coil_coro *co, const struct coil_future *f,
                     unsigned state, enum coili_kind kind, const char *file,
                     int line)
{
    enum fit how = fit(f, state, kind);
    if (how == OTHER_KIND)
        coili_misuse_kind(co, state, kind, file, line);
    return how == FITS;
}

/* Leaves a value that fits in `awaiting`, for coili_take_*(). */
static bool settle_keep(struct coil_coro *co, enum coili_kind kind,
                        const char *file, int line, struct coili_end *end)
{
    struct coil_future *f = awaited_done(co);
    if (state_of(f) == S_FAILED) {
        co->awaiting = 0;
        *end = coili_take_failure(co, f);
        return false;
    }
    if (coili_fits_into(co, f, state_of(f), kind, file, line))
        return true;
    co->awaiting = 0;
    future_unref(f);
    *end = (struct coili_end){ .err = -EOVERFLOW };
    return false;
}

bool coili_failed_keep_slow(struct coil_coro *co, enum coili_kind kind,
                            const char *file, int line)
{
    struct coili_end end;
    if (settle_keep(co, kind, file, line, &end))
        return false;
    return coili_failed_with(co, end);
}

/* ---- Catching --------------------------------------------------------- */

bool coili_catch_unless_own(struct coil_coro *co, struct coili_end end,
                            int *err)
{
    if (end.own && coili_failed_with(co, end))
        return true;
    *err = end.err;
    return false;
}

bool coili_caught(struct coil_coro *co, int *err)
{
    struct coil_future *f = awaited_done(co);
    co->awaiting = 0;
    if (state_of(f) == S_FAILED)
        return coili_catch_unless_own(co, coili_take_failure(co, f), err);
    future_unref(f);
    *err = 0;
    return false;
}

bool coili_caught_keep(struct coil_coro *co, int *err, enum coili_kind kind,
                       const char *file, int line)
{
    struct coili_end end;
    if (!settle_keep(co, kind, file, line, &end))
        return coili_catch_unless_own(co, end, err);
    *err = 0;
    return false;
}

/* ---- RETURN, FAIL, YIELD ---------------------------------------------- */

void coili_put_misuse(struct coil_coro *co)
{
    coili_misuse(co, NULL, 0, "RETURN or YIELD in FINALLY" COILI_TOO_LATE);
}

void coili_fail(struct coil_coro *co, int err, uint32_t detail,
                const char *file, int line)
{
    if (co->future.flags & F_FINALLY)
        coili_misuse(co, file, line, "FAIL in FINALLY" COILI_TOO_LATE);
    if (err >= 0) {
        char text[80];
        snprintf(text, sizeof text,
                 "FAIL wants a negative number, not %d", err);
        coili_misuse(co, file, line, text);
    }
    if (err == -ECANCELED && co->future.cancels) {
        /* Caught, and sent on its way again. */
        flag_set(&co->future, F_OWN_CANCEL);
        detail = detail ? detail : co->future.flags >> REASON_SHIFT;
    }
    set_failure(co, err, detail);
    coili_body_over(co);
}

/* Whose duty it is to dispose of what `f` has brought, if nobody takes it. */
static uintptr_t giver_of(struct coil_future *f)
{
    if (kind_of(f) == KIND_CUSTOM || f->flags & F_TASK)
        return (uintptr_t)f | GIVER_FUTURE;
    return coro_of(f)->next;
}

void coili_return_awaited(struct coil_coro *co)
{
    if (co->future.flags & F_FINALLY)
        coili_misuse(co, NULL, 0, "RETURN_AWAIT in FINALLY" COILI_TOO_LATE);
    struct coil_future *f = awaited_done(co);
    co->awaiting = 0;
    if (state_of(f) == S_FAILED) {
        coili_failed_with(co, coili_take_failure(co, f));
        return;
    }
    if (f->flags & F_GIVES && !(f->flags & F_FETCHED)) {
        /* The duty to dispose of it goes along. */
        struct give_scope *give = coili_scope_push(co, SCOPE_GIVE,
                                                   sizeof *give);
        if (!give) {
            future_unref(f);
            coili_failed_with(co, (struct coili_end){ .err = -ENOMEM });
            return;
        }
        give->giver = giver_of(f);
        if (giving_future(give->giver))
            future_ref(giving_future(give->giver));
        else
            mark_fetched(f);
    }
    set_outcome(co, state_of(f));
    co->future.result = f->result;
    future_unref(f);
    coili_body_over(co);
}

/* ---- The end of the body ---------------------------------------------- */

/* The caller; but not the consumer that closes a generator, and has asked. */
static struct coil_coro *caller(const struct coil_coro *co)
{
    struct coil_coro *above = (struct coil_coro *)co->future.waiters;
    return co->future.flags & F_CALLED && !coili_is_closed_by(co, above)
               ? above
               : NULL;
}

/*
 * A request that the body never met: it strikes the caller's next await; a
 * task has no caller, and ends cancelled.
 */
static void pass_request_on(struct coil_coro *co)
{
    if (!must_cancel(co))
        return;
    unsigned reason = co->future.flags >> REASON_SHIFT;
    struct coil_coro *above = caller(co);
    flag_clear(&co->future, F_MUST_CANCEL);
    if (above)
        request(above, reason);
    else if (outcome_of(&co->future) != S_FAILED)
        coili_replace_by_failure(co, -ECANCELED, reason);
}

/* What was returned stands: a task has no use for the request any more. */
static void value_stands(struct coil_coro *co)
{
    if (!(co->future.flags & F_CALLED))
        flag_clear(&co->future, F_MUST_CANCEL);
}

/*
 * A frame that has not begun does not wait: a scope fits into two words of it.
 * So to drop one in FINALLY needs no memory.
 */
static struct coili_scope *scope_in(struct coil_coro *dropped)
{
    _Static_assert(offsetof(struct coil_coro, scopes) -
                           offsetof(struct coil_coro, awaiting) >=
                       sizeof(struct coili_scope),
                   "a scope is larger than awaiting and next");
    return (struct coili_scope *)(void *)&dropped->awaiting;
}

void coili_call_at_end(struct coil_coro *co, struct coil_coro *dropped)
{
    coili_list_remove(&task_of(dropped)->siblings);
    flag_set(&dropped->future, F_STARTED);
    struct coili_scope *scope = scope_in(dropped);
    *scope = (struct coili_scope){ .kind = SCOPE_DROPPED };
    coili_scope_link(co, scope);
}

/* Call one that was dropped, straight to its FINALLY; false: there is none. */
static NOINLINE bool call_dropped(struct coil_coro *co, int line)
{
    struct coil_loop *loop = coili_loop;
    struct coili_scope *scope = coili_scope_find(co, SCOPE_DROPPED);
    if (!scope)
        return false;
    coili_scope_unlink(co, scope);
    struct coil_coro *dropped = COILI_CONTAINER(scope, struct coil_coro,
                                                awaiting);
    dropped->awaiting = dropped->next = 0;
    dropped->future.waiters = (uintptr_t)co;
    flag_set(&dropped->future, F_CALLED);
    coili_begin_cancelled(dropped, COIL_CANCEL_USER);
    co->awaiting = (uintptr_t)dropped;
    loop->resume = dropped;
    suspend(loop, co, line);
    return true;
}

/* It has been called, or the children have ended. */
static void let_go_of_awaited(struct coil_coro *co)
{
    struct coil_future *f = awaited_future(co);
    co->awaiting = 0;
    if (f)
        future_unref(f);
}

/*
 * An error or a value is on its way out, or the body has run off its end. It
 * goes to the closing brace of the innermost block that is open, and from the
 * last one to FINALLY. A FINALLY that stands inside a block comes here with a
 * block open and without an outcome: there the block ends.
 */
void coili_body_over_slow(struct coil_coro *co)
{
    bool gives_value = outcome_of(&co->future);
    const struct coili_scope *block = coili_block_of(co);
    if (block) {
        co->line = block->id;
        return;
    }
    if (!gives_value) {
        set_outcome(co, S_INT);
        co->future.result.i = 0;
    }
    co->line = LINE_FINALLY;
    if (gives_value)
        value_stands(co);
    pass_request_on(co);
    coili_close_iterations(co, NULL);
    const struct coili_nursery *n = coili_nursery_find(co);
    if ((n && n->running) || coili_scope_find(co, SCOPE_DROPPED))
        co->line = LINE_DRAIN;
}

void coili_in_finally(struct coil_coro *co)
{
    co->awaiting = 0;
    pass_request_on(co);
    flag_set(&co->future, F_FINALLY);
}

/*
 * Ask the children to end and wait for them; false if none runs. A request
 * that comes meanwhile wakes the coroutine, which then asks them again.
 */
static bool drain(struct coil_coro *co, int line)
{
    struct coili_nursery *n = coili_nursery_find(co);
    if (!n || !n->running)
        return false;
    enum coil_cancel_reason reason = COIL_CANCEL_GROUP;
    if (must_cancel(co)) {
        reason = (enum coil_cancel_reason)(co->future.flags >> REASON_SHIFT);
        coili_cancel_closing(co, n, reason);
    }
    coili_nursery_cancel(n, reason);
    n->awaited = 1;
    co->awaiting = AWAITS_CHILDREN;
    suspend(coili_loop, co, line);
    return true;
}

/* Holds are released and all else that belongs to the coroutine ends. */
static void end_scopes(struct coil_coro *co)
{
    struct coil_loop *loop = coili_loop;
    FOR_SCOPES_REMOVABLE(scope, co->scopes) {
        if (scope->kind == SCOPE_NAME || scope->kind == SCOPE_GIVE)
            continue; /* of use until the frame is freed */
        if (scope->kind == SCOPE_HOLD && scope->on) {
            struct hold_scope *hold = (struct hold_scope *)scope;
            scope->on = 0;
            loop->releasing = co;
            hold->release(hold->object);
            loop->releasing = NULL;
        }
        coili_scope_pop(co, scope);
    }
}

static inline void publish(struct coil_loop *loop, struct coil_coro *co,
                           const struct coil_site *site)
{
    struct coil_future *f = &co->future;
    unsigned state = outcome_of(f);
    f->state = (uint8_t)(state | (f->state & QUIET));
    co->line = LINE_OVER;
    if (state == S_POINTER || (co->scopes && state != S_FAILED)) {
        uintptr_t by = giver(co, state, site);
        if (by) {
            flag_set(f, F_GIVES);
            co->next = by;
        }
    }
    loop->current = NULL;
    if (f->flags & F_CALLED) {
        struct coil_coro *caller = (struct coil_coro *)f->waiters;
        f->waiters = 0;
        switch_to(loop, caller);
    } else {
        loop->ended = co;
    }
}

/* The body has ended, and a block of it has not. */
static _Noreturn void left_block(struct coil_coro *co,
                                 const struct coil_site *site)
{
    coili_misuse(co, site->file, 0,
                 co->line == coili_block_of(co)->id
                     ? "a block inside a `switch` of your own: use `if`"
                     : "a block was left by a `goto`: LEAVE leaves it");
}

/* The function has come to its end, or to a line that it does not know. */
void *coili_leave(struct coil_coro *co, const struct coil_site *site)
{
    struct coil_loop *loop = coili_loop;
    if (COILI_LIKELY(co->line == LINE_FINALLY && !co->scopes &&
                     !(co->future.flags & F_MUST_CANCEL))) {
        publish(loop, co, site);
        return NULL;
    }
    switch (co->line) {
    case LINE_ASK:
        loop->asked = site;
        return NULL;
    case LINE_DRAIN:
        let_go_of_awaited(co);
        if (call_dropped(co, LINE_DRAIN) || drain(co, LINE_FINALLY))
            return NULL;
        co->line = LINE_FINALLY; /* the last one has ended meanwhile */
        return co;
    case LINE_FINALLY: /* it has none, or one that awaits nothing */
        co->awaiting = 0;
        break;
    case LINE_OVER:
        let_go_of_awaited(co);
        break;
    default:
        if (co->awaiting)
            coili_misuse(co, site->file, co->line,
                         "an await inside a `switch` of your own: use `if`");
        if (coili_block_of(co))
            left_block(co, site);
        if (co->future.flags & F_FINALLY)
            break;
        coili_body_over(co);
        return co; /* look for a FINALLY that a `break` has jumped over */
    }

    if (co->line != LINE_OVER)
        pass_request_on(co);
    if (co->scopes) {
        coili_close_iterations(co, NULL);
        if (call_dropped(co, LINE_OVER) || drain(co, LINE_OVER))
            return NULL;
        loop->current = NULL; /* what a release starts is not its child */
        end_scopes(co);
    }
    pass_request_on(co);
    publish(loop, co, site);
    return NULL;
}

/* ---- What can go wrong ------------------------------------------------ */

const struct coil_site *coili_site(struct coil_coro *co)
{
    struct coil_loop *loop = coili_loop;
    static const struct coil_site unknown = { "?", "?", 0, NULL };
    int32_t line = co->line;
    loop->asked = &unknown;
    co->line = LINE_ASK;
    co->step(co);
    co->line = line;
    return loop->asked;
}

void coili_check_lent(const void *p, const char *what)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    uintptr_t base = coili_loop ? coili_loop->stack_base : 0;
    if (base && (uintptr_t)p - here < base - here)
        coili_misuse(coili_loop->current, NULL, 0, what);
}

void coili_fatal(const char *what)
{
    coili_misuse(coili_loop ? coili_loop->current : NULL, NULL, 0, what);
}

void coili_misuse(struct coil_coro *co, const char *file, int line,
                  const char *what)
{
    if (!co) { /* in a call that the loop makes */
        fprintf(stderr, "coil: %s\n", what);
        abort();
    }
    int32_t at = co->line;
    const struct coil_site *site = coili_site(co);
    line = coili_source_line(line ? line : at, site);
    fprintf(stderr, "coil: %s\n    in %s at %s:%d\n", what, site->name,
            file ? file : site->file, line);
    abort();
}
