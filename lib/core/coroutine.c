// SPDX-License-Identifier: MIT
/*
 * coroutine.c: the steps of a frame, and the functions behind the macros.
 *
 * One step of a coroutine is one call of its function. A step ends in one of
 * three ways, and sets these fields before it returns:
 *
 *     the coroutine has suspended   co->awaiting is what it waits for;
 *                                   loop->current is NULL
 *     it awaits a call              loop->resume is the callee, which runs next
 *     it is over                    loop->resume is its caller; or, of a task,
 *                                   loop->ended is the coroutine
 *
 * run_steps() in loop.c is the trampoline that runs loop->resume: the C stack
 * holds one step at a time, however deep the calls are.
 *
 * An await that need not wait leaves its future in co->awaiting and the body
 * goes on. When the loop wakes a coroutine, co->awaiting is the future that is
 * done. In both cases coili_failed() and its sisters take the result from there
 * and let go of the future. So if a coroutine is resumed and its function falls
 * to coili_leave() with co->awaiting still set, it was resumed at a line that
 * its switch does not know: there is a `switch` of the user's in between.
 *
 * How a coroutine ends; co->line is the next thing to do:
 *
 *     the body ends         the line is the closing brace of each open block in
 *                           turn (block.c); then the children are cancelled
 *     LINE_DRAIN            children still run: wait for them
 *     LINE_FINALLY          run FINALLY, if there is one
 *     LINE_OVER             the children that FINALLY started have ended:
 *                           release what the coroutine holds, newest first,
 *                           and publish the result
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
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* ---- Frames ----------------------------------------------------------- */

_Thread_local int coili_run_error;

NOINLINE struct coil_coro *coili_no_loop(void)
{
    coili_check(coili_run_error, "this thread has no loop: RUN() makes one");
    return NULL;
}

/*
 * CALL: make a frame. The frame stands in loop->unstarted until it is awaited,
 * so that a coroutine that is never awaited can be reported.
 */
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

/*
 * The block of memory in which a task stands. Blocks are aligned to 16; the
 * task of a wide frame begins 8 bytes behind the start of its block.
 */
static void *block_of(struct coil_task *t)
{
    return (char *)t - ((uintptr_t)t & 8);
}

/*
 * Dispose of a result that was not taken. A giver that is a future disposes of
 * it itself, when that future is freed.
 */
static void give_back(uintptr_t giver, struct coil_future *f)
{
    if (!giving_future(giver) && f->result.p) /* NULL was not allocated */
        ((coil_call_fn *)((const struct coil_site *)giver)->give)(f->result.p);
}

/* Free the memory of a frame. A frame in place is the user's. */
static inline void put_back(struct coil_coro *co)
{
    if (is_in_place(&co->future))
        return;
    struct coil_task *t = task_of(co);
    flag_clear(&co->future, F_TASK); /* a later use of the handle aborts */
    coili_list_remove(&t->siblings);
    coili_class_put(&coili_loop->alloc, block_of(t), co->future.size_class);
}

void coili_frame_unmake(struct coil_loop *loop, struct coil_coro *co)
{
    coili_class_put(&loop->alloc, block_of(task_of(co)),
                    co->future.size_class);
}

/* The record of an outcome that came from another future; or NULL. */
static struct give_scope *find_give(const struct coil_coro *co)
{
    return (struct give_scope *)coili_scope_find(co, SCOPE_GIVE);
}

/* Take over the reference to the future that brought the result; or NULL. */
static struct coil_future *take_giver(const struct coil_coro *co)
{
    struct give_scope *give = find_give(co);
    uintptr_t giver = give ? give->giver : 0;
    if (give)
        give->giver = 0;
    return giving_future(giver);
}

/* No code has got the error with which this task failed. */
static inline bool error_is_lost(const struct coil_future *f)
{
    return f->flags & F_TASK && !(f->flags & F_FETCHED) &&
           !(f->state & QUIET) && f->result.e.error != -ECANCELED;
}

/*
 * Free a frame that has more than a plain value: dispose of a result that was
 * not taken, or tell the future that owns it that it was; report an error that
 * was not fetched, but not that of a cancellation; give back the records.
 *
 * Result    the giver, with this frame's reference to it; or NULL
 */
static struct coil_future *report_and_free(struct coil_coro *co)
{
    struct coil_future *f = &co->future;
    coili_check(state_of(f), "a coroutine is freed before its end");
    if (f->flags & F_GIVES && !(f->flags & F_FETCHED))
        give_back(co->next, f);
    else if (f->flags & F_GIVES && giving_future(co->next))
        mark_fetched(giving_future(co->next));
    if (state_of(f) == S_FAILED && error_is_lost(f))
        coili_report("a task failed and its error was not fetched", co,
                     f->result.e.error, f->result.e.detail);
    struct coil_future *giver = take_giver(co);
    while (co->scopes)
        coili_scope_pop(co, co->scopes);
    put_back(co);
    return giver;
}

/*
 * Free such a frame, then its giver, and so on: in a loop, since tasks that
 * return each other's result form a chain of any length.
 */
static NOINLINE void report_and_free_all(struct coil_coro *co)
{
    for (;;) {
        struct coil_future *giver = report_and_free(co);
        if (!giver || giver->refs == REFS_MOST || --giver->refs > 0)
            return;
        if (kind_of(giver) != KIND_CORO) {
            coili_gone(giver);
            return;
        }
        co = coro_of(giver);
    }
}

/* The last reference is gone. In most cases only the memory is left. */
void coili_frame_free(struct coil_coro *co)
{
    struct coil_future *f = &co->future;
    unsigned state = state_of(f);
    if (COILI_UNLIKELY(f->flags & F_GIVES || co->scopes || state == S_PENDING ||
                       (state == S_FAILED && error_is_lost(f)))) {
        report_and_free_all(co);
        return;
    }
    put_back(co);
}

/* ---- Awaiting --------------------------------------------------------- */

/*
 * The rare parts of an await are functions of their own, called last. So
 * coili_await() and coili_await_task() save no registers, and their check for
 * NULL costs nothing.
 *
 * This one lets the other ready tasks run first, though there is no need to
 * wait.
 */
static NOINLINE bool let_others_run(struct coil_loop *loop,
                                    struct coil_coro *co, int line)
{
    wake(loop, co);
    suspend(loop, co, line);
    return true;
}

/*
 * The future is done: do not suspend, until the budget of awaits that go on at
 * once is used up.
 */
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

/*
 * A pending request to cancel goes to the child, which has not begun: it skips
 * its body, and its FINALLY runs.
 */
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

/*
 * Begin a call. F_STARTED is checked first, since only a fresh frame stands in
 * loop->unstarted. The caller takes the place of the list of waiters. The
 * request is looked at last: then the child is a called one already, and the
 * request can go to it.
 */
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

/*
 * Begin a sleep. Its future has only told the duration and is freed; the
 * coroutine itself stands in the heap of timers, by its field `awaiting`. A
 * pending request strikes before the timer is made.
 */
static bool await_sleep(struct coil_loop *loop, struct coil_coro *co,
                        struct coil_future *f, int line)
{
    int64_t delay = f->result.i;
    f->state = S_INT; /* done, for a holder of another reference */
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

/*
 * Await a future with a class. A pending request strikes before an operation is
 * begun. An operation that cannot be cancelled, such as a close, begins all the
 * same; one that has begun is asked to end once the coroutine is among its
 * waiters, since its cancel() may complete it at once.
 */
static NOINLINE bool await_custom(struct coil_loop *loop, struct coil_coro *co,
                                  struct coil_future *f, int line)
{
    if (COILI_LIKELY(!(f->flags & F_STARTED))) {
        if (COILI_UNLIKELY(must_cancel(co)) && custom_of(f)->cls->cancel) {
            co->awaiting = (uintptr_t)&coili_cancelled;
            future_unref(f);
            return false;
        }
        flag_set(f, F_STARTED);
        custom_of(f)->cls->start(f);
        if (f->state)
            return go_on(loop, co, f, line);
    }
    co->awaiting = (uintptr_t)f;
    coili_add_waiter(f, co);
    suspend(loop, co, line);
    if (must_cancel(co))
        coil_future_cancel(f);
    return true;
}

/* Await a plain future: there is nothing to begin. */
static bool await_plain(struct coil_loop *loop, struct coil_coro *co,
                        struct coil_future *f, int line)
{
    co->awaiting = (uintptr_t)f;
    coili_add_waiter(f, co);
    suspend(loop, co, line);
    if (must_cancel(co))
        coil_future_cancel(f);
    return true;
}

/* A sleep of 0: the coroutine goes to the end of the ready queue. */
static inline bool await_pass(struct coil_loop *loop, struct coil_coro *co,
                              int line)
{
    co->awaiting = (uintptr_t)&coili_passed;
    wake(loop, co);
    suspend(loop, co, line);
    return true;
}

/* The rest of coili_await(): misuse, and futures that are pending, by kind. */
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

/*
 * Begin to await a future. Result: true if the coroutine is suspended. False:
 * co->awaiting is a future that is done.
 */
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
        if (kind_of(f) == KIND_CUSTOM && COILI_LIKELY(!loop->debug))
            return await_custom(loop, co, f, line);
    }
    return await_pending(co, f, line);
}

/*
 * The rest of coili_await_task(): misuse, and tasks that are not done. A task
 * cannot await itself, directly or from a coroutine that it has called: the
 * chain of callers is searched for it. A pending request is handed on to the
 * task.
 */
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
    coili_add_waiter(f, co);
    suspend(loop, co, line);
    if (must_cancel(co))
        coili_cancel(&task->coro, (enum coil_cancel_reason)(
                                      co->future.flags >> REASON_SHIFT));
    return true;
}

/* coili_await() for a task, which the coroutine borrows. */
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

/* The outcome: what the coroutine is going to end with. */
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

/* The giver of this outcome; 0: there is nothing to dispose of. */
static uintptr_t giver(struct coil_coro *co, unsigned outcome,
                       const struct coil_site *site)
{
    struct give_scope *give = find_give(co);
    if (give)
        return give->giver;
    return outcome == S_POINTER && site->give ? (uintptr_t)site : 0;
}

/* The value that the coroutine was going to return is disposed of. */
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

/*
 * The await of `f` has failed: take its error, and let go of `f`.
 *
 * -ECANCELED is this task's own cancellation if a request was pending, which
 * has struck now, or if `f` is a callee that the same request has cut short. In
 * FINALLY that request may come from a WITHIN of this FINALLY alone: then the
 * error is a time-out, and not the task's cancellation.
 */
static ALWAYS_INLINE struct coili_end take_failure(struct coil_coro *co,
                                                   struct coil_future *f)
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
            end.err = -ETIMEDOUT;
            end.own = false;
        }
    }
    mark_fetched(f);
    future_unref(f);
    coili_loop->last_detail = end.detail;
    return end;
}

struct coili_end coili_take_failure(struct coil_coro *co, struct coil_future *f)
{
    return take_failure(co, f);
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
 * An error in FINALLY after the error with which the coroutine or the block of
 * a TRY fails: no code gets the second error, so it is reported. The error of a
 * generator that its consumer has left is not reported.
 */
void coili_report_second(struct coil_coro *co, struct coili_end end)
{
    struct coil_future *f = &co->future;
    struct coil_coro *above = f->flags & F_TASK
                                  ? NULL
                                  : (struct coil_coro *)f->waiters;
    bool left = above && coili_is_closed_by(co, above);
    if (end.err != -ECANCELED && !(f->state & QUIET) && !left)
        coili_report("FINALLY failed after an earlier error", co, end.err,
                     end.detail);
}

/*
 * An await in FINALLY has failed. No error jumps there. A TRY around the await
 * takes the error; else the coroutine fails with it, unless it has an error
 * already: the first one stays. A request that has struck this await is not
 * lost with the second error: it goes to the caller, whose next await it
 * strikes.
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
    } else {
        coili_report_second(co, end);
    }
}

static ALWAYS_INLINE bool failed_with(struct coil_coro *co,
                                      struct coili_end end)
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

NOINLINE bool coili_failed_with(struct coil_coro *co, struct coili_end end)
{
    return failed_with(co, end);
}

/*
 * The await of `f` has failed. The two parts are one function: compilers return
 * and pass a struct coili_end by storing its fields and loading them together,
 * for which the processor waits.
 */
static NOINLINE bool failed_by(struct coil_coro *co, struct coil_future *f)
{
    return failed_with(co, take_failure(co, f));
}

/*
 * The future whose await has ended. If it is not done, it is a generator that
 * has yielded.
 */
static struct coil_future *awaited_done(struct coil_coro *co)
{
    struct coil_future *f = awaited_future(co);
    if (COILI_UNLIKELY(!state_of(f)))
        coili_misuse(co, NULL, 0,
                     "a generator is run by FOR_AWAIT or NEXT, not AWAIT");
    return f;
}

/* The await takes a permit: its coroutine has to release the object. */
static void let_go_of_value(struct coil_future *f)
{
    if (state_of(f) == S_PERMIT)
        coili_take_permit(f);
    future_unref(f);
}

static NOINLINE bool failed(struct coil_coro *co)
{
    struct coil_future *f = awaited_done(co);
    co->awaiting = 0;
    return failed_by(co, f);
}

/* Permits first: every await of a lock or a semaphore comes here. */
bool coili_failed_slow(struct coil_coro *co)
{
    struct coil_future *f = awaited_future(co);
    if (COILI_UNLIKELY(state_of(f) != S_PERMIT))
        return failed(co);
    co->awaiting = 0;
    let_go_of_value(f);
    return false;
}

/* ---- Taking values ---------------------------------------------------- */

static bool is_integer(enum coili_kind kind)
{
    return kind >= COILI_KIND_BOOL && kind <= COILI_KIND_ULLONG;
}

enum fit { FITS, TOO_LARGE, OTHER_KIND };

/*
 * Whether a value of `state` goes into an lvalue of `kind`. The integer 0 fits
 * a pointer and a double as well, as NULL and 0.0, whose bits are 0: a
 * coroutine that ends without RETURN gives it.
 */
static enum fit fit(const struct coil_future *f, unsigned state,
                    enum coili_kind kind)
{
    switch (state) {
    case S_INT:
    case S_PERMIT:
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

/* The message names both kinds: "the value is an integer, ...". */
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

/*
 * The await of AWAIT_TO has ended. Result: true: the value fits, and is left in
 * `awaiting` for coili_take_*(). False: `*end` is the error.
 */
static bool settle_keep(struct coil_coro *co, enum coili_kind kind,
                        const char *file, int line, struct coili_end *end)
{
    struct coil_future *f = awaited_done(co);
    if (state_of(f) == S_FAILED) {
        co->awaiting = 0;
        *end = coili_take_failure(co, f);
        return false;
    }
    if (state_of(f) == S_PERMIT)
        coili_tell_taken(f);
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
    let_go_of_value(f);
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

/*
 * FAIL. -ECANCELED while a request is counted passes on a cancellation that
 * TRY_ALL has caught: it is this task's own cancellation again, for the reason
 * of that request.
 */
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
        flag_set(&co->future, F_OWN_CANCEL);
        detail = detail ? detail : co->future.flags >> REASON_SHIFT;
    }
    set_failure(co, err, detail);
    coili_body_over(co);
}

/* What disposes of the value of `f` if it is not taken: see giver. */
static uintptr_t giver_of(struct coil_future *f)
{
    if (kind_of(f) == KIND_CUSTOM || f->flags & F_TASK)
        return (uintptr_t)f | GIVER_FUTURE;
    return coro_of(f)->next;
}

/*
 * RETURN_AWAIT: the outcome becomes that of the future that was awaited.
 *
 * If this future would dispose of its value, this coroutine has to do so from
 * now on, and needs a record of it (SCOPE_GIVE). A giver that is a future is
 * kept, and told at the end whether the value was taken. Another future counts
 * as taken from, since the duty has left it. Without memory for the record the
 * value stays with the future that was awaited, which disposes of it.
 */
void coili_return_awaited(struct coil_coro *co)
{
    if (co->future.flags & F_FINALLY)
        coili_misuse(co, NULL, 0, "RETURN_AWAIT in FINALLY" COILI_TOO_LATE);
    struct coil_future *f = awaited_done(co);
    co->awaiting = 0;
    if (state_of(f) == S_FAILED) {
        failed_by(co, f);
        return;
    }
    if (state_of(f) == S_PERMIT)
        coili_tell_taken(f);
    if (f->flags & F_GIVES && !(f->flags & F_FETCHED)) {
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

/*
 * The caller, to which a request is passed on. NULL for a task, and for a
 * generator that its consumer closes: there the request is the consumer's own.
 */
static struct coil_coro *caller(const struct coil_coro *co)
{
    struct coil_coro *above = (struct coil_coro *)co->future.waiters;
    return co->future.flags & F_CALLED && !coili_is_closed_by(co, above)
               ? above
               : NULL;
}

/*
 * Pass on a request that has struck no await of this coroutine: it strikes the
 * next await of the caller. A task has no caller, and ends cancelled, unless it
 * fails anyway.
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

/*
 * RETURN has given a value, which a request does not replace. A task drops the
 * request; a called coroutine keeps it for its caller.
 */
static void value_stands(struct coil_coro *co)
{
    if (!(co->future.flags & F_CALLED))
        flag_clear(&co->future, F_MUST_CANCEL);
}

/*
 * The record of a coroutine that is dropped in FINALLY. It has not begun, so it
 * does not use `awaiting` and `next`: the record stands there, and to drop a
 * coroutine needs no memory.
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

/*
 * Call one of the coroutines that were dropped, which begins at its FINALLY.
 * False: there is none. Its record is memory of its own head: `awaiting` and
 * `next` are cleared before it runs.
 */
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

/* The await of a dropped coroutine, or of the children, has ended. */
static void let_go_of_awaited(struct coil_coro *co)
{
    struct coil_future *f = awaited_future(co);
    co->awaiting = 0;
    if (f)
        future_unref(f);
}

/*
 * True if something may have to end before the holds are released: a generator,
 * a child, a coroutine that was dropped. Most coroutines with records have
 * holds alone.
 */
static inline bool has_dependents(const struct coil_coro *co)
{
    const unsigned kinds = 1u << SCOPE_ITER | 1u << SCOPE_CHILDREN |
                           1u << SCOPE_GROUP | 1u << SCOPE_DROPPED;
    FOR_SCOPES(s, co->scopes)
        if (kinds >> s->kind & 1)
            return true;
    return false;
}

/*
 * Decide where the coroutine goes on when there is an outcome (an error or a
 * value), or the body has come to its closing brace. While a block is open that
 * is the landing of the innermost one, and coili_block_more() decides again at
 * its brace. Behind the last block the body is over: a missing value becomes
 * the integer 0, a request that has struck nothing is passed on, generators are
 * closed, and FINALLY comes next, or first the wait for children that run.
 *
 * A FINALLY that stands inside of a block (a mistake that compiles) comes here
 * without an outcome: its block ends.
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
    if (!has_dependents(co))
        return;
    coili_close_iterations(co, NULL);
    const struct coili_nursery *n = coili_nursery_find(co);
    if ((n && n->running) || coili_scope_find(co, SCOPE_DROPPED))
        co->line = LINE_DRAIN;
}

/*
 * FINALLY begins. A request that came while the children ended is passed on, so
 * that it does not strike an await of FINALLY.
 */
void coili_in_finally(struct coil_coro *co)
{
    co->awaiting = 0;
    pass_request_on(co);
    flag_set(&co->future, F_FINALLY);
}

/*
 * Cancel the children and wait for them, and go on at `line` afterwards. False:
 * none runs. A request that comes meanwhile wakes the coroutine, which gets
 * here again: then the children are cancelled for the reason of that request,
 * and so are the generators that are closing.
 *
 * The coroutine waits before it asks the children. A child may await a task
 * that awaits this one: then the request comes back, and coili_cancel() must
 * see that this body is over, in order to cut the await of that task.
 */
static bool drain(struct coil_coro *co, int line)
{
    struct coili_nursery *n = coili_nursery_find(co);
    if (!n || !n->running)
        return false;
    n->awaited = 1;
    co->awaiting = AWAITS_CHILDREN;
    suspend(coili_loop, co, line);
    enum coil_cancel_reason reason = COIL_CANCEL_GROUP;
    if (must_cancel(co)) {
        reason = (enum coil_cancel_reason)(co->future.flags >> REASON_SHIFT);
        coili_cancel_closing(co, n, reason);
    }
    coili_nursery_cancel(n, reason);
    return true;
}

/*
 * The coroutine is over: release what it holds, newest first, and pop its
 * records. The name and the giver are needed until the frame is freed.
 * loop->releasing names the coroutine for code that release() runs.
 */
static void end_scopes(struct coil_coro *co)
{
    struct coil_loop *loop = coili_loop;
    FOR_SCOPES_REMOVABLE(scope, co->scopes) {
        if (scope->kind == SCOPE_NAME || scope->kind == SCOPE_GIVE)
            continue;
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

/*
 * The outcome becomes the state of the future. If the value has a giver, it is
 * kept in `next`, which no list uses any more. The caller of the coroutine goes
 * on next. A task, or a generator that was left, goes to loop->ended instead of
 * being ended here: that may free the frame, and its step has not returned yet.
 */
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

/* The body has ended while a block of it is open: say why. */
static _Noreturn void left_block(struct coil_coro *co,
                                 const struct coil_site *site)
{
    coili_misuse(co, site->file, 0,
                 co->line == coili_block_of(co)->id
                     ? "a block inside a `switch` of your own: use `if`"
                     : "a block was left by a `goto`: LEAVE leaves it");
}

/*
 * The function has come to the end of its body, or to a line that its switch
 * does not know. co->line says which: see the table at the top. The first case
 * is the usual one: no record and no request is left.
 *
 * Result    NULL: the function returns. `co`: its switch is tried once more
 */
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
        co->line = LINE_FINALLY; /* the last child has ended meanwhile */
        return co;
    case LINE_FINALLY: /* there is no FINALLY, or it has awaited nothing */
        co->awaiting = 0;
        break;
    case LINE_OVER:
        let_go_of_awaited(co);
        break;
    default:
        /* A line of the source that the switch does not know. */
        if (co->awaiting)
            coili_misuse(co, site->file, co->line,
                         "an await inside a `switch` of your own: use `if`");
        if (coili_block_of(co))
            left_block(co, site);
        if (co->future.flags & F_FINALLY)
            break;
        coili_body_over(co);
        return co; /* to FINALLY, which a `break` may have passed by */
    }

    /* FINALLY is over. At LINE_OVER this was done before the wait. */
    if (co->line != LINE_OVER)
        pass_request_on(co);
    if (has_dependents(co)) {
        coili_close_iterations(co, NULL);
        if (call_dropped(co, LINE_OVER) || drain(co, LINE_OVER))
            return NULL;
    }
    if (co->scopes) {
        loop->current = NULL; /* a task that release() starts is the loop's */
        end_scopes(co);
    }
    pass_request_on(co); /* one that came while the children ended */
    publish(loop, co, site);
    return NULL;
}

/* ---- What can go wrong ------------------------------------------------ */

/*
 * The site is a static variable of the coroutine's function, and the frame has
 * no room for its address. So the function is called with LINE_ASK, which its
 * switch does not know: it falls to coili_leave(), which has the site.
 */
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
    if (coili_is_on_stack(p))
        coili_fatal(what);
}

void coili_fatal(const char *what)
{
    coili_misuse(coili_loop ? coili_loop->current : NULL, NULL, 0, what);
}

void coili_misuse(struct coil_coro *co, const char *file, int line,
                  const char *what)
{
    if (!co) { /* no coroutine runs: in a callback of the loop */
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
