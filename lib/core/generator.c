// SPDX-License-Identifier: MIT
/*
 * generator.c: coroutines that yield one item at a time.
 *
 * A generator keeps its frame between two turns, where a turn is the run from
 * one YIELD to the next. The consumer has a record of the generator among its
 * scopes, and calls the generator for each item. So a generator is always in
 * one of these states:
 *
 *     state      condition                        left when
 *     fresh      not F_STARTED                    its first turn begins
 *     turn       F_CALLED: the consumer awaits    it yields or ends
 *                it; its `waiters` is the consumer
 *     at rest    no coroutine awaits it, and it   the next turn begins, or the
 *                is in no list; `result` is its   consumer leaves the loop
 *                item, then the value of SEND
 *     closing    the scope is `on`; a running     it is over
 *                child of the consumer, or, by
 *                CLOSE, called by the consumer
 *
 * A yield and a turn are one step each, through the trampoline: an item needs
 * no allocation, no pass, and no depth of the C stack.
 *
 * A generator that delegates (YIELD_FROM) awaits the inner one like any call,
 * the whole time, also while the inner one is at rest. Only the outermost frame
 * and the innermost, the leaf, take part in a turn: the item moves from the
 * leaf's `result` to that of the outermost frame, where the consumer reads it;
 * a value that is sent goes into the leaf's `result`, and the leaf is resumed.
 * So an item costs the same at any depth of delegation. Errors, RETURN and
 * cancellation go up from the inner generator as in any call, and need no code
 * here.
 *
 * A generator that is left early is cancelled where it yielded, so that its
 * FINALLY runs. Until it is over it counts as a running child of its consumer,
 * so that fields lent to the generator stay valid. The nursery for this is made
 * with the record: closing allocates nothing.
 */
#include <coil/generator.h>

#include "generator.h"

#include <errno.h>

#include "base/check.h"
#include "base/list.h"
#include "block.h"
#include "cancel_scope.h"
#include "coroutine.h"
#include "exception.h"
#include "future.h"
#include "loop.h"
#include "scope.h"
#include "task.h"

/* ---- Generator and consumer ------------------------------------------- */

#define BY_HAND 0 /* the id of an iteration by NEXT */
#define TWICE \
    "a generator is used twice, or after its end: CALL it anew"
#define NO_GENERATOR \
    "FOR_AWAIT wants a generator: AWAIT this one"
#define NOT_RUN "YIELD in a coroutine that no FOR_AWAIT runs"

/* The iteration of a FOR_AWAIT, by its id; NULL if it is over or closing. */
static struct iter_scope *find_iter(const struct coil_coro *co, int id)
{
    FOR_SCOPES(s, co->scopes)
        if (s->kind == SCOPE_ITER && s->id == id && !s->on)
            return (struct iter_scope *)s;
    return NULL;
}

/* The newest iteration of a generator, also of one that is closing. */
static struct iter_scope *iteration_of(const struct coil_coro *consumer,
                                       const void *generator)
{
    FOR_SCOPES(s, consumer->scopes)
        if (s->kind == SCOPE_ITER &&
            ((struct iter_scope *)s)->generator == generator)
            return (struct iter_scope *)s;
    return NULL;
}

/*
 * The iteration of a generator; NULL if it is closing. Uses only the address of
 * the generator, which may already be freed.
 */
static struct iter_scope *find_generator(const struct coil_coro *co,
                                         const struct coil_future *f)
{
    struct iter_scope *iter = iteration_of(co, f);
    return iter && !iter->scope.on ? iter : NULL;
}

/* The delegation (YIELD_FROM) that a generator waits in; or NULL. */
static struct from_scope *find_from(const struct coil_coro *co)
{
    return (struct from_scope *)coili_scope_find(co, SCOPE_FROM);
}

/*
 * The iteration for which `co` runs now, called by the consumer or by a
 * generator that delegates to `co`; or NULL.
 */
static struct iter_scope *run_for(const struct coil_coro *co)
{
    if (!(co->future.flags & F_CALLED))
        return NULL;
    const struct coil_coro *by = (struct coil_coro *)co->future.waiters;
    if (co->future.flags & F_GENERATOR)
        return find_generator(by, &co->future);
    struct from_scope *from = find_from(by);
    return from && from->inner == co && !from->root->scope.on ? from->root
                                                              : NULL;
}

bool coili_is_closed_by(const struct coil_coro *co,
                        const struct coil_coro *consumer)
{
    const struct iter_scope *iter = iteration_of(consumer, co);
    return iter && iter->scope.on;
}

/*
 * True if this generator, or one that delegates to it, is being closed. False
 * for a task, and for a generator during its turn.
 */
static bool is_closing(const struct coil_coro *co)
{
    const struct coil_coro *above = (struct coil_coro *)co->future.waiters;
    if (co->future.flags & (F_TASK | F_GENERATOR) || !above)
        return false;
    const struct from_scope *from = find_from(above);
    return from && from->inner == co ? from->root->scope.on
                                     : coili_is_closed_by(co, above);
}

/* ---- YIELD ------------------------------------------------------------ */

/*
 * A closed generator cannot continue after its YIELD: the YIELD fails as if the
 * task were cancelled, and no open TRY_ALL catches that error.
 */
static void fail_at_yield(struct coil_coro *co)
{
    co->awaiting = (uintptr_t)&coili_cancelled;
    request(co, COIL_CANCEL_USER);
    coili_try_none(co);
}

/* True if a frame, from the leaf up to the outermost, is past its deadline. */
static bool any_late(const struct coil_coro *leaf, const struct coil_coro *root)
{
    while (!coili_is_late(leaf)) {
        if (leaf == root)
            return false;
        leaf = (struct coil_coro *)leaf->future.waiters;
    }
    return true;
}

/*
 * The YIELD of a generator that is delegated to, is closing, or is asked to
 * end. The item moves to the outermost frame. A pending request moves to the
 * consumer and strikes the consumer's next await, unless a deadline in the
 * generator itself made the request.
 */
static __attribute__((noinline)) bool
yield_slow(struct coil_loop *loop, struct coil_coro *co, int line)
{
    if (loop->current != co)
        coili_misuse(co, NULL, 0, COILI_AWAIT_OUTSIDE);
    struct iter_scope *iter = run_for(co);
    if (!iter && is_closing(co)) {
        fail_at_yield(co);
        return false;
    }
    if (!iter)
        coili_misuse(co, NULL, line, NOT_RUN);
    struct coil_coro *root = iter->generator;
    struct coil_coro *consumer = (struct coil_coro *)root->future.waiters;
    iter->leaf = co;
    if (root != co) {
        root->future.state = co->future.state;
        root->future.result = co->future.result;
        co->future.state = S_PENDING;
    }
    flag_clear(&root->future, F_CALLED);
    co->awaiting = (uintptr_t)&coili_zero;
    suspend(loop, co, line);
    if (must_cancel(co) && !any_late(co, root)) {
        flag_clear(&co->future, F_MUST_CANCEL);
        request(consumer, co->future.flags >> REASON_SHIFT);
    }
    switch_to(loop, consumer);
    return true;
}

/* The plain case: this generator is both the outermost frame and the leaf. */
bool coili_yield(struct coil_coro *co, int line)
{
    struct coil_loop *loop = coili_loop;
    if (COILI_UNLIKELY(loop->current != co ||
                       (co->future.flags & (F_GENERATOR | F_MUST_CANCEL)) !=
                           F_GENERATOR))
        return yield_slow(loop, co, line);
    struct coil_coro *consumer = (struct coil_coro *)co->future.waiters;
    flag_clear(&co->future, F_CALLED);
    co->awaiting = (uintptr_t)&coili_zero;
    suspend(loop, co, line);
    switch_to(loop, consumer);
    return true;
}

/*
 * The future that YIELD_TO awaits. A plain YIELD awaits coili_zero; SEND
 * compares the address to know which one the generator waits in.
 */
static struct coil_future answer = { .refs = REFS_MOST, .state = S_INT };

bool coili_yield_to(struct coil_coro *co, int line)
{
    coili_yield(co, line);
    co->awaiting = (uintptr_t)&answer;
    return true;
}

/*
 * YIELD_TO resumes. If the generator is being closed, the await has failed.
 * Otherwise the value that was sent is the outcome of this frame. A value that
 * fits stays in the frame's own result, where coili_take_*() reads it, as if
 * the coroutine had awaited itself. If no value was sent, the value is 0, which
 * fits every kind.
 */
bool coili_sent_failed(struct coil_coro *co, enum coili_kind kind,
                       const char *file, int line)
{
    struct coil_future *f = &co->future;
    unsigned sent = outcome_of(f);
    if (state_of(awaited_future(co)) == S_FAILED) {
        f->state = S_PENDING;
        return coili_failed(co);
    }
    co->awaiting = (uintptr_t)co;
    if (!sent) {
        f->result.u = 0;
        return false;
    }
    if (coili_fits_into(co, f, sent, kind, file, line))
        return false;
    co->awaiting = 0;
    f->state = S_PENDING;
    return coili_failed_with(co, (struct coili_end){ .err = -EOVERFLOW });
}

/* ---- SEND ------------------------------------------------------------- */

/*
 * The frame in whose result SEND stores the value: the leaf, if it waits in a
 * YIELD_TO, else a dummy frame.
 */
struct coil_coro *coili_send(struct coil_coro *co, struct coil_future *source,
                             const char *file, int line)
{
    static _Thread_local struct coil_coro nowhere;
    struct iter_scope *iter = find_generator(co, source);
    if (!source)
        coili_misuse(co, NULL, line, COILI_AWAIT_NULL);
    if (!iter || !(source->flags & F_STARTED))
        coili_misuse(co, file, line,
                     "SEND to a generator not begun, or over: NEXT first");
    return iter->leaf->awaiting == (uintptr_t)&answer ? iter->leaf : &nowhere;
}

/* ---- Closing ---------------------------------------------------------- */

/*
 * Cancel a generator where it yielded, or before its first turn. All frames of
 * the delegation count this as a request: otherwise a deadline or group in them
 * would take the cancellation for its own.
 *
 * Result    the frame to be resumed: the innermost
 */
static struct coil_coro *strike(struct iter_scope *iter)
{
    struct coil_coro *generator = iter->generator, *leaf = iter->leaf;
    struct coil_future *f = &generator->future;
    iter->scope.on = 1;
    flag_clear(f, F_GENERATOR);
    if (!(f->flags & F_STARTED)) {
        flag_set(f, F_STARTED);
        coili_begin_cancelled(generator, COIL_CANCEL_USER);
        return generator;
    }
    f->state = leaf->future.state = S_PENDING; /* drops item, sent value */
    fail_at_yield(leaf);
    for (struct coil_coro *co = leaf;;
         co = (struct coil_coro *)co->future.waiters) {
        coili_count_request(&co->future);
        coili_try_none(co);
        if (co == generator)
            return leaf;
    }
}

/*
 * A loop was left early: the generator is cancelled where it yielded. It counts
 * as a running child of its consumer, in the nursery of its record, so that it
 * ends before its consumer does.
 */
static void close_generator(struct coil_coro *co, struct iter_scope *iter)
{
    iter->nursery->running++;
    iter->generator->future.waiters = (uintptr_t)co;
    wake(coili_loop, strike(iter));
}

/*
 * True if leaving the block (NULL: the body) ends an iteration. This is so for
 * a FOR_AWAIT. A generator that NEXT runs stays open, unless the block is a
 * GROUP.
 */
static bool is_left(const struct iter_scope *iter,
                    const struct coili_scope *block)
{
    return !iter->scope.on && (!block || iter->scope.id != BY_HAND ||
                               block->kind == SCOPE_GROUP);
}

/* Records before `block` in the list are newer: they were made in the block. */
void coili_close_iterations(struct coil_coro *co,
                            const struct coili_scope *block)
{
    FOR_SCOPES_REMOVABLE(s, co->scopes) {
        if (s == block)
            break;
        if (s->kind == SCOPE_ITER && is_left((struct iter_scope *)s, block))
            close_generator(co, (struct iter_scope *)s);
    }
}

void coili_cancel_closing(struct coil_coro *co, const struct coili_nursery *n,
                          enum coil_cancel_reason reason)
{
    FOR_SCOPES(s, co->scopes) {
        struct iter_scope *iter = (struct iter_scope *)s;
        if (s->kind == SCOPE_ITER && s->on && iter->nursery == n)
            coili_cancel(iter->generator, reason);
    }
}

/*
 * A generator that was left early has run its FINALLY. No await gets an error
 * of the generator, so the error is reported.
 */
void coili_generator_ended(struct coil_loop *loop, struct coil_coro *co)
{
    struct coil_future *f = &co->future;
    struct coil_coro *consumer = (struct coil_coro *)f->waiters;
    f->waiters = 0;
    if (state_of(f) == S_FAILED && f->result.e.error != -ECANCELED)
        coili_report("a generator that was left early failed", co,
                     f->result.e.error, f->result.e.detail);
    if (consumer) {
        struct iter_scope *iter = iteration_of(consumer, co);
        struct coili_nursery *n = iter->nursery;
        coili_scope_pop(consumer, &iter->scope);
        coili_child_ended(loop, n);
    }
    future_unref(f);
}

/*
 * CLOSE: the generator is cancelled and awaited like a call; it is resumed in
 * the same step. A generator that has not begun is begun as cancelled, so that
 * its FINALLY runs.
 *
 * `iter` is the iteration of this coroutine, if there is one. Without it,
 * `source` must be a CALL that had no memory, or a generator that has not
 * begun. Any other generator is over, or belongs to another coroutine.
 */
bool coili_close(struct coil_coro *co, struct coil_future *source, int line)
{
    struct coil_loop *loop = coili_loop;
    if (COILI_UNLIKELY(loop->current != co))
        coili_misuse(co, NULL, 0, COILI_AWAIT_OUTSIDE);
    struct iter_scope *iter = find_generator(co, source);
    if (!source)
        coili_misuse(co, NULL, line, COILI_AWAIT_NULL);
    if (!iter && kind_of(source) != KIND_CORO && state_of(source)) {
        co->awaiting = (uintptr_t)&coili_zero; /* a CALL without memory */
        future_unref(source);
        return false;
    }
    if (!iter && (kind_of(source) != KIND_CORO || source->flags & F_STARTED))
        coili_misuse(co, NULL, line, "CLOSE of a generator that this coroutine "
                                     "does not run, or that is over");
    struct coil_coro *next = coro_of(source);
    if (iter) {
        /*
         * The number of requests so far, including that of CLOSE, for
         * coili_close_failed() to compare. Requests of the generator's own
         * blocks are not counted: they are taken back by then.
         */
        struct coil_coro *leaf = strike(iter);
        iter->scope.entry = coili_cancels_of_others(next) & UINT16_MAX;
        next = leaf;
    } else {
        if (!(source->flags & F_IN_PLACE))
            coili_list_remove(&task_of(next)->siblings);
        coili_begin_cancelled(next, COIL_CANCEL_USER);
    }
    flag_set(source, F_STARTED | F_CALLED);
    source->waiters = (uintptr_t)co;
    co->awaiting = (uintptr_t)source;
    loop->resume = next;
    suspend(loop, co, line);
    return true;
}

/*
 * The await of CLOSE has ended. The generator's -ECANCELED is no error here.
 * But a request that arrived since CLOSE began was made for this coroutine. It
 * must not be lost in the generator's FINALLY, so it is requested again here.
 */
bool coili_close_failed(struct coil_coro *co)
{
    struct coil_future *f = awaited_future(co);
    if (f == &coili_zero)
        return coili_failed(co);
    unsigned entry = 0;
    struct iter_scope *iter = iteration_of(co, coro_of(f));
    if (iter) {
        entry = iter->scope.entry;
        coili_scope_pop(co, &iter->scope);
    }
    if (f->cancels > entry && !(co->future.flags & F_FINALLY))
        request(co, f->flags >> REASON_SHIFT);
    if (state_of(f) != S_FAILED || f->result.e.error != -ECANCELED)
        return coili_failed(co);
    co->awaiting = 0;
    mark_fetched(f);
    future_unref(f);
    return false;
}

/* ---- FOR_AWAIT, NEXT -------------------------------------------------- */

/*
 * Assign a generator that has not begun to this consumer: take the generator
 * out of loop->unstarted and push its record. A future that is no coroutine
 * must be a CALL that had no memory. The nursery is made first, so that closing
 * the generator later needs no memory.
 *
 * Result    its iteration; NULL: failed, and `awaiting` holds the error
 */
static struct iter_scope *claim(struct coil_coro *co,
                                struct coil_future *source, int id, int line)
{
    if (!source)
        coili_misuse(co, NULL, line, COILI_AWAIT_NULL);
    if (kind_of(source) != KIND_CORO) {
        if (state_of(source) != S_FAILED)
            coili_misuse(co, NULL, line, NO_GENERATOR);
        co->awaiting = (uintptr_t)source;
        return NULL;
    }
    if (source->flags & F_STARTED)
        coili_misuse(co, NULL, line, TWICE);
    struct coili_nursery *nursery = coili_nursery_need(co);
    struct iter_scope *iter = NULL;
    if (nursery)
        iter = coili_scope_push(co, SCOPE_ITER, sizeof *iter);
    if (!iter) {
        coil_discard(source);
        co->awaiting = (uintptr_t)coil_future_from_nomem();
        return NULL;
    }
    iter->scope.id = id;
    iter->nursery = nursery;
    iter->generator = iter->leaf = coro_of(source);
    if (!(source->flags & F_IN_PLACE))
        coili_list_remove(&task_of(coro_of(source))->siblings);
    flag_set(source, F_GENERATOR);
    return iter;
}

/* Run the generator until it yields or ends; the consumer is suspended. */
static inline bool turn(struct coil_coro *co, struct iter_scope *iter, int line)
{
    struct coil_loop *loop = coili_loop;
    struct coil_coro *generator = iter->generator;
    flag_set(&generator->future, F_STARTED | F_CALLED);
    generator->future.waiters = (uintptr_t)co;
    co->awaiting = (uintptr_t)generator;
    loop->resume = iter->leaf;
    suspend(loop, co, line);
    return true;
}

/*
 * A FOR_AWAIT takes over a generator that NEXT has begun. The record moves to
 * the front of the list, so that it belongs to the block around the loop.
 */
static void go_on_by_loop(struct coil_coro *co, struct iter_scope *own, int id)
{
    coili_scope_unlink(co, &own->scope);
    coili_scope_link(co, &own->scope);
    own->scope.id = id;
}

/*
 * FOR_AWAIT begins. If a `goto` has left this loop before, an iteration with
 * the same id exists, whose generator is closed now. A generator that NEXT has
 * begun is taken over; any other one must be fresh.
 */
void coili_iter_begin(struct coil_coro *co, struct coil_future *source, int id)
{
    struct iter_scope *stale = find_iter(co, id);
    if (stale)
        close_generator(co, stale);
    struct iter_scope *own = find_generator(co, source);
    if (own && own->scope.id == BY_HAND)
        go_on_by_loop(co, own, id);
    else
        claim(co, source, id, -1 - id);
}

/* False when the loop is over: no error is left, and no generator runs. */
bool coili_iter_live(const struct coil_coro *co, int id)
{
    return co->awaiting || find_iter(co, id);
}

/*
 * The next turn of a FOR_AWAIT. If the loop could not begin, or if a request
 * strikes first, `awaiting` holds the error and no turn begins.
 *
 * Result    true: suspended
 */
bool coili_iter_wait(struct coil_coro *co, int id)
{
    if (co->awaiting || struck(co))
        return false;
    struct iter_scope *iter = find_iter(co, id);
    if (COILI_LIKELY(iter))
        return turn(co, iter, id);
    co->awaiting = (uintptr_t)&coili_zero; /* NEXT in the loop was the last */
    return false;
}

/* NEXT. The first NEXT of a generator assigns it to this consumer. */
bool coili_next(struct coil_coro *co, struct coil_future *source, int line)
{
    if (COILI_UNLIKELY(coili_loop->current != co))
        coili_misuse(co, NULL, 0, COILI_AWAIT_OUTSIDE);
    struct iter_scope *iter = find_generator(co, source);
    if (!iter)
        iter = claim(co, source, BY_HAND, line);
    return iter && !struck(co) && turn(co, iter, line);
}

/*
 * A turn has ended. The record of a failed generator is removed. If an item
 * does not fit, it is lost, and the generator can continue.
 *
 * Result    true: an item that fits, or the end of the generator. False: *end
 *           is the error, and `awaiting` is cleared
 */
static bool settle_item(struct coil_coro *co, enum coili_kind kind,
                        const char *file, int line, struct coili_end *end)
{
    struct coil_future *f = awaited_future(co);
    if (state_of(f) == S_FAILED) {
        struct iter_scope *iter = find_generator(co, f);
        if (iter)
            coili_scope_pop(co, &iter->scope);
        co->awaiting = 0;
        *end = coili_take_failure(co, f);
        return false;
    }
    if (state_of(f) ||
        coili_fits_into(co, f, outcome_of(f), kind, file, line))
        return true;
    co->awaiting = 0;
    f->state = S_PENDING;
    *end = (struct coili_end){ .err = -EOVERFLOW };
    return false;
}

bool coili_iter_failed_slow(struct coil_coro *co, enum coili_kind kind,
                            const char *file, int line)
{
    struct coili_end end;
    return !settle_item(co, kind, file, line, &end) &&
           coili_failed_with(co, end);
}

bool coili_iter_caught(struct coil_coro *co, int *err, enum coili_kind kind,
                       const char *file, int line)
{
    struct coili_end end;
    if (!settle_item(co, kind, file, line, &end))
        return coili_catch_unless_own(co, end, err);
    *err = 0;
    return false;
}

/* The generator is over: remove its record and drop the reference to it. */
bool coili_iter_done_slow(struct coil_coro *co)
{
    struct coil_future *f = awaited_future(co);
    if (!f)
        return true; /* a failed turn: TRY_NEXT has the error, or FINALLY */
    co->awaiting = 0;
    struct iter_scope *iter = find_generator(co, f);
    if (iter)
        coili_scope_pop(co, &iter->scope);
    future_unref(f);
    return true;
}

/* A FOR_AWAIT is left: by `break`, or because the generator is over. */
void coili_iter_end(struct coil_coro *co, int id)
{
    struct iter_scope *iter = find_iter(co, id);
    if (iter)
        close_generator(co, iter);
}

/* ---- YIELD_FROM ------------------------------------------------------- */

/*
 * YIELD_FROM takes over a generator that NEXT has begun. From now on `root` is
 * the root of the delegations below that generator.
 *
 * Result    the leaf, which runs next
 */
static struct coil_coro *take_over(struct coil_coro *co, struct iter_scope *own,
                                   struct iter_scope *root)
{
    struct coil_coro *generator = own->generator, *leaf = own->leaf;
    flag_clear(&generator->future, F_GENERATOR);
    coili_scope_pop(co, &own->scope);
    for (struct from_scope *below = find_from(generator); below;
         below = find_from(below->inner))
        below->root = root;
    return leaf;
}

/*
 * YIELD_FROM: await the inner generator like a call, as the new leaf of this
 * delegation.
 *
 * The checks come first, so misuse aborts before a record is made. `own` is the
 * iteration of a generator that NEXT of this coroutine has begun; without `own`
 * the inner generator must be fresh, or a CALL that had no memory. If the inner
 * generator has begun, a pending request strikes at once, and the generator
 * keeps its iteration. A fresh one is begun as cancelled, so that its FINALLY
 * runs.
 */
bool coili_yield_from(struct coil_coro *co, struct coil_future *source,
                      int line)
{
    struct coil_loop *loop = coili_loop;
    if (COILI_UNLIKELY(loop->current != co))
        coili_misuse(co, NULL, 0, COILI_AWAIT_OUTSIDE);
    if (!source)
        coili_misuse(co, NULL, line, COILI_AWAIT_NULL);
    if (co->future.flags & F_FINALLY)
        coili_misuse(co, NULL, line, "YIELD_FROM in FINALLY" COILI_TOO_LATE);
    struct iter_scope *root = run_for(co);
    if (!root)
        coili_misuse(co, NULL, line, NOT_RUN);
    struct iter_scope *own = find_generator(co, source);
    if (!own && kind_of(source) != KIND_CORO) {
        if (state_of(source) != S_FAILED)
            coili_misuse(co, NULL, line, NO_GENERATOR);
        co->awaiting = (uintptr_t)source;
        return false;
    }
    if (own ? own->scope.id != BY_HAND : source->flags & F_STARTED)
        coili_misuse(co, NULL, line, TWICE);
    if (own && struck(co))
        return false;

    struct from_scope *from = coili_scope_push(co, SCOPE_FROM, sizeof *from);
    if (!from) {
        if (!own)
            coil_discard(source);
        co->awaiting = (uintptr_t)coil_future_from_nomem();
        return false;
    }
    struct coil_coro *next = coro_of(source);
    from->inner = next;
    from->root = root;
    if (own)
        next = take_over(co, own, root);
    else if (!(source->flags & F_IN_PLACE))
        coili_list_remove(&task_of(next)->siblings);
    flag_set(source, F_STARTED | F_CALLED);
    source->waiters = (uintptr_t)co;
    co->awaiting = (uintptr_t)source;
    if (must_cancel(co)) {
        flag_clear(&co->future, F_MUST_CANCEL);
        coili_begin_cancelled(next, (enum coil_cancel_reason)(
                                        co->future.flags >> REASON_SHIFT));
    }
    loop->resume = next;
    suspend(loop, co, line);
    return true;
}

/*
 * The inner generator is over, and `co` is the leaf again. If the inner
 * generator has not begun, there is no record.
 */
void coili_from_over(struct coil_coro *co)
{
    struct from_scope *from = find_from(co);
    if (!from)
        return;
    from->root->leaf = co;
    coili_scope_pop(co, &from->scope);
}
