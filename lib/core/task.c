// SPDX-License-Identifier: MIT
/*
 * task.c: coroutines that the loop drives, and how they are cancelled.
 *
 * A task is always in one state of this table; `leaf` is the innermost frame of
 * its chain of calls, the frame that really waits.
 *
 *     state      condition                     left when
 *     queued     line is 0; in the ready       the loop runs its first step
 *                queue
 *     running    loop->current is the leaf     the step returns
 *     waiting    leaf->awaiting is pending;    leaf->awaiting is done
 *                leaf is among its waiters
 *     woken      leaf->awaiting is done; leaf  the loop runs the next step
 *                is in the ready queue
 *     draining   its body is over; awaiting    the last child has ended
 *                is AWAITS_CHILDREN
 *     done       future.state is set           the last reference is dropped
 *
 * What a request to cancel does in each state:
 *
 *     queued     the body is skipped: FINALLY runs, the task ends with
 *                -ECANCELED
 *     running    sets F_MUST_CANCEL in the leaf: its next await is struck
 *     waiting    the same, and leaf->awaiting is asked to end. If it ends with
 *                -ECANCELED, the request has struck. If it succeeds all the
 *                same, its value is delivered and the request stays pending
 *     woken      sets F_MUST_CANCEL: the value is delivered, and the next await
 *                is struck
 *     draining   the children are cancelled again, in the task's next step
 *     done       nothing; the result is false
 *
 * asyncio drops the value in the state "woken". In C the value can be bytes, a
 * permit or a descriptor. Only a sleep of 0 has no value: a request strikes the
 * await of that sleep even if the task is woken.
 *
 * A task that awaits another task passes the request on to that task. Four
 * kinds of such awaits are cut instead, since the request could not end them:
 *
 *     - tasks that await each other in a circle: one of the awaits is cut;
 *     - an await of an ancestor, a task that has spawned the waiter, directly
 *       or not: the ancestor cannot end before the waiter does;
 *     - an await of a task whose body is over: that task ends by itself, when
 *       its children have ended;
 *     - an await of a task that waits at the brace of a GROUP, where a request
 *       has struck it before, unless the waiter is its ancestor. Otherwise two
 *       groups whose tasks await each other's owners would ask each other to
 *       end in turn, for ever.
 *
 * When an owner asks all its tasks to end, each of them is asked once, though
 * some may await others (F_ASKED).
 *
 * Owner: a task belongs to the nursery of the coroutine that spawned it, or to
 * the nursery of the loop. The loop holds one reference until the task has
 * ended. The nursery holds another reference while the task has a handle
 * (F_HANDLE): until the handle is dropped, or the owner of the nursery is over.
 * Each await of the task holds one more. A task without a handle leaves its
 * nursery when it ends.
 */
#include <coil/task.h>

#include "task.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "base/heap.h"
#include "base/list.h"
#include "cancel_scope.h"
#include "context.h"
#include "coroutine.h"
#include "debug.h"
#include "future.h"
#include "generator.h"
#include "group.h"
#include "loop.h"
#include "scope.h"

#define NOINLINE __attribute__((noinline))

/* ---- Spawning --------------------------------------------------------- */

struct await_one {
    struct coil_coro coro;
    struct coil_future *future;
};

/*
 * The coroutine of a task that is made of an operation, or of a frame in place
 * (CALL_IN). If the task is cancelled before its first step, `future` is still
 * set in FINALLY: the future has not begun, and is discarded; the FINALLY of a
 * frame in place runs.
 */
static void await_one(struct coil_coro *co)
{
    COIL_ASYNC(await_one, my) {
        struct coil_future *future = my->future;
        my->future = NULL;
        COIL_RETURN_AWAIT(future);

    COIL_FINALLY;
        if (my->future && kind_of(my->future) == KIND_CORO) {
            coili_begin_cancelled(coro_of(my->future), COIL_CANCEL_USER);
            COIL_AWAIT(my->future);
        } else if (my->future) {
            coil_discard(my->future);
        }
    }
}

static struct coil_task *nomem(void)
{
    return task_of(coro_of(coil_future_from_nomem()));
}

static bool is_nomem(const struct coil_task *t)
{
    return t->coro.future.refs == REFS_MOST;
}

/*
 * The task that runs a future: the future itself if it is a coroutine that coil
 * has allocated, else a new await_one(). NULL if out of memory.
 */
static struct coil_task *as_task(struct coil_future *f)
{
    if (kind_of(f) == KIND_CORO && !is_in_place(f)) {
        if (f->flags & F_STARTED)
            coili_misuse(coro_of(f), NULL, 0,
                         "a coroutine is started twice: CALL it anew");
        return task_of(coro_of(f));
    }
    struct coil_future *one = COIL_CALL(await_one, .future = f);
    if (kind_of(one) != KIND_CORO) {
        coil_discard(f);
        return NULL;
    }
    return task_of(coro_of(one));
}

/*
 * A closing loop has cancelled the tasks in its own nursery. A task that is
 * added later is cancelled here.
 */
static void cancel_if_closing(struct coil_loop *loop, struct coil_task *t)
{
    if (COILI_UNLIKELY(loop->closing && t->owner == &loop->root))
        coili_cancel(&t->coro, COIL_CANCEL_USER);
}

/* Put a task into a nursery and queue its first step. */
static inline void enter_nursery(struct coil_loop *loop,
                                 struct coili_nursery *n, struct coil_task *t)
{
    coili_list_append(&n->tasks, &t->siblings);
    t->owner = n;
    n->running++;
    wake(loop, &t->coro);
    cancel_if_closing(loop, t);
}

/* The nursery for tasks of the running code; NULL if out of memory. */
static inline struct coili_nursery *nursery_now(struct coil_loop *loop)
{
    return loop->current ? coili_nursery_need(loop->current) : &loop->root;
}

/*
 * SPAWN and START: make a frame that is a task from the start. `handle` is
 * F_HANDLE or 0; a handle holds a second reference.
 */
struct coil_coro *coili_spawn_frame(coil_step_fn *step, uint32_t size,
                                    unsigned handle)
{
    struct coil_loop *loop = coili_loop;
    if (COILI_UNLIKELY(!loop))
        return coili_no_loop();
    struct coili_nursery *n = nursery_now(loop);
    if (COILI_UNLIKELY(!n))
        return NULL;
    struct coil_task *t = coili_frame_make(loop, step, size, handle ? 2 : 1,
                                           KIND_CORO | F_TASK | F_STARTED |
                                               handle);
    if (COILI_UNLIKELY(!t))
        return NULL;
    if (COILI_UNLIKELY(loop->contexts) &&
        !coili_context_inherit(loop, &t->coro)) {
        coili_frame_unmake(loop, &t->coro);
        return NULL;
    }
    enter_nursery(loop, n, t);
    return &t->coro;
}

struct coil_task *coili_nomem_task(void)
{
    const struct coil_coro *by = coili_loop ? coili_loop->current : NULL;
    if (by)
        coili_group_spawn_failed(by);
    return nomem();
}

/* A frame of loop->unstarted becomes a task. */
static void begin_task(struct coil_loop *loop, struct coili_nursery *n,
                       struct coil_task *t, unsigned handle)
{
    coili_list_remove(&t->siblings);
    if (handle)
        future_ref(&t->coro.future);
    flag_set(&t->coro.future, F_TASK | F_STARTED | handle);
    enter_nursery(loop, n, t);
}

/*
 * Make a task of a future, in nursery `n`, or if that is NULL in the nursery of
 * the running code. Returns NULL if out of memory; the future is then
 * discarded.
 */
static struct coil_task *spawn(struct coili_nursery *n, struct coil_future *f,
                               unsigned handle)
{
    struct coil_loop *loop = coili_need_loop();
    coili_check(f, "a task is made of NULL: CALL makes a future");
    if (f->refs == REFS_MOST && state_of(f) == S_FAILED)
        return NULL;
    struct coil_task *t = as_task(f);
    if (!t)
        return NULL;
    if (!n)
        n = nursery_now(loop);
    if (!n || (loop->contexts && !coili_context_inherit(loop, &t->coro))) {
        coil_discard(&t->coro.future);
        return NULL;
    }
    begin_task(loop, n, t, handle);
    return t;
}

struct coil_task *coili_spawn_into(struct coili_nursery *n,
                                   struct coil_future *future)
{
    struct coil_task *t = spawn(n, future, F_HANDLE);
    return t ? t : nomem();
}

int coili_start_into(struct coili_nursery *n, struct coil_future *future)
{
    return spawn(n, future, 0) ? 0 : -ENOMEM;
}

struct coil_task *coil_spawn(struct coil_future *future)
{
    struct coil_task *t = spawn(NULL, future, F_HANDLE);
    return t ? t : coili_nomem_task();
}

int coil_start(struct coil_future *future)
{
    return coili_start_into(NULL, future);
}

/* A task of the loop: the running coroutine may end before it does. */
struct coil_future *coil_future_begin(struct coil_future *f)
{
    coili_check(f, "coil_future_begin: future is NULL");
    if (state_of(f) || f->flags & F_STARTED || kind_of(f) == KIND_PLAIN)
        return f;
    if (kind_of(f) == KIND_CUSTOM) {
        flag_set(f, F_STARTED);
        ((struct coil_custom *)(void *)f)->cls->start(f);
        return f;
    }
    struct coil_task *t = coili_spawn_into(&coili_need_loop()->root, f);
    struct coil_future *of_task = coil_future_ref(coil_task_future(t));
    coil_detach_task(t);
    return of_task;
}

/*
 * A coroutine `co` that is discarded before it began runs its FINALLY, as a
 * child of the coroutine `by` that discards it, because `by` may have lent it
 * arguments. A child needs a nursery. If there is no memory for a nursery, or
 * if `by` runs FINALLY, which must not need memory, `by` calls `co` when it
 * ends.
 */
void coili_adopt(struct coil_loop *loop, struct coil_coro *co)
{
    struct coil_coro *by = loop->current;
    struct coili_nursery *n = &loop->root;
    if (by)
        n = by->future.flags & F_FINALLY ? coili_nursery_find(by)
                                         : coili_nursery_need(by);
    if (!n) {
        coili_call_at_end(by, co);
        return;
    }
    coili_begin_cancelled(co, COIL_CANCEL_USER);
    begin_task(loop, n, task_of(co), 0);
}

/* ---- The end ---------------------------------------------------------- */

/* future_unref() for a task: it is never a static future. */
static inline void task_unref(struct coil_coro *task)
{
    if (task->future.refs == 1)
        coili_frame_free(task);
    else
        task->future.refs--;
}

/*
 * The last step of a task has returned. Report an error to its group before
 * dropping the reference, which may free the frame. Wake the owner of the
 * nursery if it waits for this task.
 */
void coili_task_ended(struct coil_loop *loop, struct coil_coro *co)
{
    struct coil_future *f = &co->future;
    if (!(f->flags & F_TASK)) {
        coili_generator_ended(loop, co);
        return;
    }
    struct coili_nursery *owner = task_of(co)->owner;
    if (!(f->flags & F_HANDLE))
        coili_list_remove(&task_of(co)->siblings);
    coili_wake_waiters(loop, f);
    if (COILI_UNLIKELY(owner->group) && state_of(f) == S_FAILED)
        coili_group_child_failed(owner, co);
    task_unref(co);
    coili_child_ended(loop, owner);
}

/* The nursery drops its reference. A task that has ended leaves the list. */
static inline void drop_handle(struct coil_task *t)
{
    struct coil_future *f = &t->coro.future;
    flag_clear(f, F_HANDLE);
    if (state_of(f))
        coili_list_remove(&t->siblings);
    task_unref(&t->coro);
}

void coil_task_drop(struct coil_task **task)
{
    struct coil_task *t = *task;
    *task = NULL;
    if (!t || is_nomem(t))
        return;
    if (!(t->coro.future.flags & F_HANDLE))
        coili_misuse(coili_need_loop()->current, NULL, 0,
                     "a handle is dropped that was given back, or never given");
    drop_handle(t);
}

/*
 * The old owner may be waiting for this task: coili_child_ended() counts one
 * running child less, and may wake the owner.
 */
void coil_detach_task(struct coil_task *t)
{
    struct coil_loop *loop = coili_need_loop();
    if (is_nomem(t))
        return;
    if (!coil_task_done(t)) {
        struct coili_nursery *owner = t->owner;
        flag_clear(&t->coro.future, F_ASKED);
        coili_list_remove(&t->siblings);
        coili_list_append(&loop->root.tasks, &t->siblings);
        t->owner = &loop->root;
        loop->root.running++;
        coili_child_ended(loop, owner);
        cancel_if_closing(loop, t);
    }
    if (t->coro.future.flags & F_HANDLE)
        drop_handle(t);
}

/* ---- Cancelling ------------------------------------------------------- */

/* Make the coroutine fail with -ECANCELED and continue at its FINALLY. */
void coili_begin_cancelled(struct coil_coro *co, enum coil_cancel_reason reason)
{
    co->future.state = (uint8_t)(S_FAILED << OUTCOME_SHIFT |
                                 (co->future.state & QUIET));
    co->future.result.e.error = -ECANCELED;
    co->future.result.e.detail = reason;
    flag_set(&co->future, F_OWN_CANCEL);
    co->line = LINE_FINALLY;
}

/* Set the request. The first of several pending requests gives the reason. */
static void note_request(struct coil_coro *co, enum coil_cancel_reason reason)
{
    struct coil_future *f = &co->future;
    if (!(f->flags & F_MUST_CANCEL)) {
        flag_clear(f, 3u << REASON_SHIFT);
        flag_set(f, F_MUST_CANCEL | (unsigned)reason << REASON_SHIFT);
    }
}

void coili_count_request(struct coil_future *f)
{
    if (f->cancels < REQUESTS_MOST)
        f->cancels++;
}

void coili_uncount_request(struct coil_future *f)
{
    if (f->cancels && f->cancels < REQUESTS_MOST)
        f->cancels--;
}

/*
 * The coroutine waits for its children, in JOIN or because its body is over.
 * The coroutine cancels its children in its next step, and not here: in a deep
 * tree of tasks that would be a deep recursion.
 */
static void cancel_among_children(struct coil_coro *co)
{
    coili_nursery_find(co)->awaited = 0;
    if (co->line == LINE_FINALLY)
        co->line = LINE_DRAIN;
    co->awaiting = (uintptr_t)(co->line >= LINE_OVER ? &coili_zero
                                                     : &coili_cancelled);
    wake(coili_loop, co);
}

/*
 * Ask the awaited future of a frame to end. The request moves from a caller to
 * the callee. If the caller's body is over, the request stays in the caller,
 * which passes it up at its end. `pending`: the frame had a request before,
 * which the FINALLY of its callee has handed back; that request stays, too.
 *
 * Result    the next frame to ask: a callee, or the frame of another task; NULL
 *           if there is none
 */
static struct coil_coro *cancel_awaited(struct coil_coro *co, bool pending)
{
    struct coil_loop *loop = coili_loop;
    if (co->awaiting == 0) /* running, or not begun */
        return NULL;
    if (co->awaiting == (uintptr_t)&coili_passed) {
        co->awaiting = (uintptr_t)&coili_cancelled;
        return NULL;
    }
    if ((co->awaiting & AWAITS_TAG) == AWAITS_TIMER) {
        coili_heap_remove(&loop->timers, COILI_TIMER_INDEX(co->awaiting));
        co->awaiting = (uintptr_t)&coili_cancelled;
        wake(loop, co);
        return NULL;
    }
    if (co->awaiting == AWAITS_CHILDREN) {
        cancel_among_children(co);
        return NULL;
    }
    struct coil_future *f = awaited_future(co);
    if (f->state & STATE_MASK || f->refs == REFS_MOST)
        return NULL; /* woken: the future is done */
    if (kind_of(f) == KIND_CORO) {
        if (f->flags & F_CALLED && co->line < LINE_OVER && !pending)
            flag_clear(&co->future, F_MUST_CANCEL); /* moves to the callee */
        else if ((f->flags & (F_GENERATOR | F_CALLED)) == F_GENERATOR)
            return NULL; /* woken: the generator has yielded */
        return coro_of(f);
    }
    coil_future_cancel(f);
    return NULL;
}

/* The coroutine that `co` waits for; or NULL. */
static struct coil_coro *awaited_coroutine(const struct coil_coro *co)
{
    if (!co->awaiting || co->awaiting & AWAITS_TAG)
        return NULL;
    struct coil_future *f = awaited_future(co);
    return kind_of(f) == KIND_CORO && !state_of(f) ? coro_of(f) : NULL;
}

/* The innermost frame of a chain of calls. */
static struct coil_coro *leaf_of(struct coil_coro *co)
{
    struct coil_coro *next;
    while ((next = awaited_coroutine(co)) && next->future.flags & F_CALLED)
        co = next;
    return co;
}

/*
 * True if `task` is an ancestor of `co`: it has spawned `co`, directly or by
 * tasks in between, and cannot end before `co` has ended.
 */
static bool outlives(struct coil_coro *task, struct coil_coro *co)
{
    if (task_of(task)->owner->owner == co)
        return false; /* the usual case: a parent awaits its child */
    while (co) {
        co = root_of(co);
        if (co == task)
            return true;
        co = co->future.flags & F_TASK ? task_of(co)->owner->owner : NULL;
    }
    return false;
}

/* The body is over: the task waits for its children only, then ends. */
static bool only_drains(const struct coil_coro *leaf)
{
    return leaf->line >= LINE_OVER && leaf != coili_loop->current;
}

/*
 * True if the await of `task` by `co` is to be cut, since a request that goes
 * on to `task` cannot end that await: see the top of this file.
 */
static bool is_cut(struct coil_coro *task, struct coil_coro *co)
{
    const struct coil_coro *leaf = leaf_of(task);
    return only_drains(leaf) || outlives(task, co) ||
           (coili_group_was_struck(leaf) && !outlives(root_of(co), task));
}

/* End the await in which `co` waits for a task, with -ECANCELED. */
static void cut(struct coil_coro *co)
{
    struct coil_future *f = awaited_future(co);
    coili_remove_waiter(f, co);
    future_unref(f);
    co->awaiting = (uintptr_t)&coili_cancelled;
    wake(coili_loop, co);
}

/*
 * The way of a request: it began at `first` and has come to `last`. `mark` is
 * the frame at hop 0, 1, 3, 7 and so on. `outer` is the way of the request that
 * made this one, because its last frame awaits a combinator, which asks its
 * tasks.
 */
struct coili_way {
    struct coil_coro *first, *last, *mark;
    unsigned hops;
    const struct coili_way *outer;
};

/*
 * True if the request has passed `co` before: tasks await each other in a
 * circle.
 */
static bool is_on_the_way(const struct coili_way *way,
                          const struct coil_coro *co)
{
    for (; way; way = way->outer) {
        const struct coil_coro *it = way->first;
        while (it && it != co && it != way->last)
            it = awaited_coroutine(it);
        if (it == co)
            return true;
    }
    return false;
}

/*
 * A nursery asks its tasks to end, and `co` is one of them: mark `co`, so that
 * it is asked only once.
 *
 * Result    true if `co` was asked before
 */
static bool mark_asked(struct coil_coro *co)
{
    const struct coili_nursery *asking = coili_loop->asking;
    if (!asking || !(co->future.flags & F_TASK) || task_of(co)->owner != asking)
        return false;
    bool before = co->future.flags & F_ASKED;
    flag_set(&co->future, F_ASKED);
    return before;
}

/*
 * Ask one frame. The request is counted. A frame that has not begun will skip
 * its body. In any other frame the request is noted, and the awaited future is
 * asked to end.
 *
 * Result    the next frame to ask; or NULL
 */
static inline struct coil_coro *ask_frame(struct coil_coro *co,
                                          enum coil_cancel_reason reason)
{
    coili_count_request(&co->future);
    if (!co->line && !co->awaiting && co != coili_loop->current &&
        !outcome_of(&co->future)) {
        coili_begin_cancelled(co, reason);
        return NULL;
    }
    bool pending = co->future.flags & F_MUST_CANCEL;
    note_request(co, reason);
    return cancel_awaited(co, pending);
}

/*
 * Whether the request goes on to `co`, which way->last awaits: the next frame
 * of its chain, or a task.
 *
 * The guards, in this order. First, tasks that await each other in a circle: in
 * a circle `co` meets way->mark again. Second, an await that the request could
 * not end (is_cut()). Both guards cut the await. Third, a task that its nursery
 * has asked just now: that request has reached the leaf already, or is on its
 * way there in a circle.
 */
static NOINLINE bool goes_on(struct coili_way *way, struct coil_coro *co)
{
    if (co == way->mark) {
        cut(leaf_of(co));
        return false;
    }
    if (co->future.flags & F_TASK && is_cut(co, way->last)) {
        cut(way->last);
        return false;
    }
    if (mark_asked(co)) {
        if (is_on_the_way(way, co))
            cut(way->last);
        return false;
    }
    way->hops++;
    if ((way->hops & (way->hops + 1)) == 0)
        way->mark = co;
    way->last = co;
    return true;
}

/*
 * The request goes along the chain from `co` to the leaf, frame by frame, and
 * then to a task that the leaf awaits.
 */
bool coili_cancel(struct coil_coro *co, enum coil_cancel_reason reason)
{
    if (state_of(&co->future))
        return false;
    struct coil_loop *loop = coili_loop;
    struct coili_way way = {
        .first = co, .last = co, .mark = co, .outer = loop->way
    };
    loop->way = &way;
    mark_asked(co);
    while ((co = ask_frame(co, reason)) && goes_on(&way, co))
        continue;
    loop->way = way.outer;
    return true;
}

bool coil_task_cancel_with(struct coil_task *task,
                           enum coil_cancel_reason reason)
{
    if (coil_task_done(task))
        return false;
    struct coil_loop *loop = coili_need_loop();
    if (COILI_UNLIKELY(loop->debug))
        coili_debug_owner(loop, &task->coro.future);
    return coili_cancel(&task->coro, reason);
}

bool coil_task_cancel(struct coil_task *task)
{
    return coil_task_cancel_with(task, COIL_CANCEL_USER);
}

/* The frame that `co` has called and waits for; or NULL. */
static struct coil_coro *called(const struct coil_coro *co)
{
    if (!co->awaiting || co->awaiting & AWAITS_TAG)
        return NULL;
    struct coil_future *f = awaited_future(co);
    return kind_of(f) == KIND_CORO && f->flags & F_CALLED ? coro_of(f) : NULL;
}

/* True if the task was cancelled, and its first step has not run yet. */
static bool is_skipping_its_body(const struct coil_coro *co)
{
    return co->line == LINE_FINALLY && !co->awaiting &&
           co != coili_loop->current &&
           (co->future.flags & (F_HANDLE | F_OWN_CANCEL | F_FINALLY)) ==
               (F_HANDLE | F_OWN_CANCEL);
}

/*
 * F_MUST_CANCEL stays set: an await that is failing because of the request is
 * still this task's own cancellation; and must_cancel() checks the count before
 * a request strikes. A task that has not begun, and was going to skip its body,
 * will run its body.
 */
unsigned coil_task_uncancel(struct coil_task *task)
{
    struct coil_coro *co = &task->coro;
    if (co->future.cancels == REQUESTS_MOST)
        coili_misuse(co, NULL, 0,
                     "coil_task_uncancel: 255 requests or more are pending, "
                     "and coil counts no further: take them back sooner");
    coili_uncount_request(&co->future);
    /*
     * The request was counted in each frame of the chain, but not in frames
     * that were called later; their requests may be those of their own blocks.
     */
    while ((co = called(co)) && coili_cancels_of_others(co))
        coili_uncount_request(&co->future);
    if (!task->coro.future.cancels && is_skipping_its_body(&task->coro)) {
        coili_outcome_clear(&task->coro);
        task->coro.line = 0;
    }
    return task->coro.future.cancels;
}

unsigned coil_task_cancelling(const struct coil_task *task)
{
    return task->coro.future.cancels;
}

/* ---- State ------------------------------------------------------------ */

struct coil_future *coil_task_future(struct coil_task *task)
{
    return &task->coro.future;
}

void *coil_task_frame(struct coil_task *task)
{
    return is_nomem(task) ? NULL : &task->coro;
}

void coil_task_quiet(struct coil_task *task)
{
    coil_future_quiet(&task->coro.future);
}

bool coil_task_done(const struct coil_task *task)
{
    return coil_future_done(&task->coro.future);
}

bool coil_task_peek(struct coil_task *task, int *err)
{
    return coil_future_peek(&task->coro.future, err);
}

static struct name_scope *find_name(const struct coil_coro *co)
{
    return (struct name_scope *)coili_scope_find(co, SCOPE_NAME);
}

int coil_task_set_name(struct coil_task *task, const char *name)
{
    if (is_nomem(task))
        return -ENOMEM;
    struct name_scope *scope = find_name(&task->coro);
    if (!scope)
        scope = coili_scope_push(&task->coro, SCOPE_NAME, sizeof *scope);
    if (!scope)
        return -ENOMEM;
    snprintf(scope->name, sizeof scope->name, "%s", name);
    return 0;
}

const char *coili_name(struct coil_coro *co)
{
    struct name_scope *scope = find_name(co);
    return scope ? scope->name : coili_site(co)->name;
}

const char *coil_task_name(const struct coil_task *task)
{
    if (is_nomem(task))
        return "no memory";
    return coili_name((struct coil_coro *)(uintptr_t)&task->coro);
}

struct coil_task *coil_task_current(void)
{
    struct coil_loop *loop = coili_loop;
    struct coil_coro *co = loop ? loop->current : NULL;
    if (loop && !co)
        co = loop->releasing;
    if (!co)
        return NULL;
    co = root_of(co);
    return co->future.flags & F_TASK ? task_of(co) : NULL;
}

/* ---- All tasks -------------------------------------------------------- */

/*
 * The frames below `co` are the generators that it runs, then its callee, which
 * may be one of these generators. Returns the first of them, or the one after
 * `frame`; NULL at the end.
 */
static struct coil_coro *frame_below(const struct coil_coro *co,
                                     const struct coil_coro *frame)
{
    struct coil_coro *last = called(co);
    if (frame && frame == last)
        return NULL;
    bool found = !frame;
    FOR_SCOPES(s, co->scopes) {
        if (s->kind != SCOPE_ITER)
            continue;
        struct coil_coro *generator = ((struct iter_scope *)s)->generator;
        if (found && generator != last && generator->future.waiters)
            return generator;
        found |= generator == frame;
    }
    return last;
}

/*
 * The next frame in pre-order: the first frame below, else the next frame on
 * the same level, else the next one on the level of the caller.
 */
struct coil_coro *coili_next_frame(struct coil_coro *co)
{
    struct coil_coro *next = frame_below(co, NULL);
    while (!next && !(co->future.flags & F_TASK) && co->future.waiters) {
        struct coil_coro *above = (struct coil_coro *)co->future.waiters;
        next = frame_below(above, co);
        co = above;
    }
    return next;
}

/* The first child in a frame's nurseries after `n`; NULL: in all of them. */
static struct coil_task *child_in_frame(const struct coil_coro *co,
                                        const struct coili_nursery *n)
{
    while ((n = coili_nursery_next(co, n))) {
        struct coil_task *t = coili_nursery_alive(n, n->tasks.next);
        if (t)
            return t;
    }
    return NULL;
}

/* The first child of any of a task's frames, from `co` on. */
static struct coil_task *first_child(struct coil_coro *co)
{
    for (; co; co = coili_next_frame(co)) {
        struct coil_task *t = child_in_frame(co, NULL);
        if (t)
            return t;
    }
    return NULL;
}

/*
 * The next task in pre-order: first the children of a task, then its siblings
 * in the same nursery, then the other children of its parent, then the sibling
 * of the parent, and so on upwards. The root of a chain of calls is looked for
 * once per task that has no more children: the chain may be long.
 */
struct coil_task *coili_task_next(struct coil_task *task, int *depth)
{
    const struct coili_nursery *root = &coili_need_loop()->root;
    if (!task)
        return coili_nursery_alive(root, root->tasks.next);
    struct coil_task *next = first_child(&task->coro);
    if (next)
        ++*depth;
    while (!next && task) {
        const struct coili_nursery *n = task->owner;
        next = coili_nursery_alive(n, task->siblings.next);
        if (next || !n->owner)
            break;
        /* Other nurseries of the same frame, then those of later frames. */
        next = child_in_frame(n->owner, n);
        if (!next)
            next = first_child(coili_next_frame(n->owner));
        if (next)
            break;
        struct coil_coro *co = root_of(n->owner);
        task = co->future.flags & F_TASK ? task_of(co) : NULL;
        --*depth;
    }
    return next;
}

struct coil_task *coil_task_next(struct coil_task *task)
{
    return coili_task_next(task, &(int){ 0 });
}
