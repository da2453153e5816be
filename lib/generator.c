// SPDX-License-Identifier: MIT
/*
 * generator.c: coroutines that give an item at a time.
 *
 * A generator is a coroutine between two turns. Its consumer holds it in a
 * scope and calls it for each item; so it is, at any moment, in one row:
 *
 *     state      what holds                       left when
 *     fresh      not F_STARTED                    its first turn comes
 *     turn       F_CALLED: the consumer awaits    it yields or ends
 *                it; its `waiters` is the consumer
 *     at rest    nobody awaits it, it is in no    the consumer comes back, or
 *                list; `result` holds its item,   leaves
 *                and then what SEND gave
 *     closing    the scope is `on`; a running     it is over
 *                child of the consumer, or, by
 *                CLOSE, called by it
 *
 * A yield and a turn are one step each, through the trampoline: an item costs
 * no allocation, no pass, and no depth of the C stack.
 *
 * A generator that delegates (YIELD_FROM) awaits the inner one as any call, the
 * whole time, also while that is at rest. Only the outermost frame and the
 * innermost, the leaf, take part in a turn: the item goes from the leaf's
 * `result` into that of the outermost, where the consumer finds it; what is
 * sent goes into the leaf's, and the leaf is resumed. So an item costs the same
 * however deep the delegation is; and what a call does, with errors, RETURN and
 * cancellation, needs nothing of its own here.
 *
 * Who is left early is cancelled where it yielded, so that its FINALLY runs,
 * and counts as a running child of its consumer: what was lent to it is alive
 * until it is over. The nursery for that is made with the scope: closing
 * allocates nothing.
 */
#include <coil/coroutine.h>

#include <errno.h>

#include "runtime.h"

/* ---- Who runs whom ---------------------------------------------------- */

#define BY_HAND 0 /* the id of an iteration by NEXT */
#define TWICE \
    "a generator is used twice, or after its end: CALL it anew; only what " \
    "NEXT has begun goes on in FOR_AWAIT or YIELD_FROM"
#define NO_GENERATOR \
    " wants a generator and got a future of one value: AWAIT it, or give a " \
    "CALL of a coroutine that YIELDs"

static struct iter_scope *find_iter(const struct coil_coro *co, int id)
{
    for (struct coili_scope *s = co->scopes; s; s = s->next)
        if (s->kind == SCOPE_ITER && s->id == id && !s->on)
            return (struct iter_scope *)s;
    return NULL;
}

/* The scope of a generator, which may be gone: it is not looked into. */
static struct iter_scope *find_generator(const struct coil_coro *co,
                                         const struct coil_future *f)
{
    for (struct coili_scope *s = co->scopes; s; s = s->next)
        if (s->kind == SCOPE_ITER && !s->on &&
            &((struct iter_scope *)s)->generator->future == f)
            return (struct iter_scope *)s;
    return NULL;
}

/* The delegation in which a generator stands; or NULL. */
static struct from_scope *find_from(const struct coil_coro *co)
{
    for (struct coili_scope *s = co->scopes; s; s = s->next)
        if (s->kind == SCOPE_FROM)
            return (struct from_scope *)s;
    return NULL;
}

/* The iteration for which this coroutine runs now, itself or delegated to. */
static struct iter_scope *run_for(const struct coil_coro *co)
{
    if (!(co->future.flags & F_CALLED))
        return NULL;
    const struct coil_coro *by = (struct coil_coro *)co->future.waiters;
    if (co->future.flags & F_GENERATOR)
        return find_generator(by, &co->future);
    struct from_scope *from = find_from(by);
    return from && from->inner == co ? from->root : NULL;
}

/* ---- YIELD ------------------------------------------------------------ */

/* One of the frames that delegate has run into its own deadline. */
static bool any_late(const struct coil_coro *leaf, const struct coil_coro *root)
{
    while (!coili_is_late(leaf)) {
        if (leaf == root)
            return false;
        leaf = (struct coil_coro *)leaf->future.waiters;
    }
    return true;
}

/* Delegated to, or with a request that it has met: for the consumer, mostly. */
static __attribute__((noinline)) bool
yield_slow(struct coil_loop *loop, struct coil_coro *co, int line)
{
    if (loop->current != co)
        coili_misuse(co, NULL, 0, COILI_AWAIT_OUTSIDE);
    struct iter_scope *iter = run_for(co);
    if (!iter)
        coili_misuse(co, NULL, line,
                     "YIELD in a coroutine that no FOR_AWAIT runs: it was "
                     "awaited or spawned; run it with FOR_AWAIT or NEXT");
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

/* One that asks for an answer: SEND knows it by what it awaits. */
static struct coil_future answer = { .refs = REFS_MOST, .state = S_INT };

bool coili_yield_to(struct coil_coro *co, int line)
{
    coili_yield(co, line);
    co->awaiting = (uintptr_t)&answer;
    return true;
}

/*
 * A word that fits is left where coili_take_*() finds it: in the frame's own
 * result, as if it had awaited itself. Nothing sent is 0 of any kind.
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
    if (coili_fits_into(co, f, sent, kind, TAKEN_SENT, file, line))
        return false;
    co->awaiting = 0;
    f->state = S_PENDING;
    return coili_failed_with(co, (struct coili_end){ .err = -EOVERFLOW });
}

/* ---- SEND ------------------------------------------------------------- */

/* Where the word goes: into the frame that asks for one, or nowhere. */
struct coil_coro *coili_send(struct coil_coro *co, struct coil_future *source,
                             const char *file, int line)
{
    static _Thread_local struct coil_coro nowhere;
    struct iter_scope *iter = find_generator(co, source);
    if (!source)
        coili_misuse_null(co, line, "SEND", "generator");
    if (!iter || !(source->flags & F_STARTED))
        coili_misuse(co, file, line,
                     "SEND to a generator that this coroutine has not begun, "
                     "or that is over: take an item first, with NEXT or "
                     "FOR_AWAIT");
    return iter->leaf->awaiting == (uintptr_t)&answer ? iter->leaf : &nowhere;
}

/* ---- Closing ---------------------------------------------------------- */

/* Cancel it where it stands. The frame that is to be resumed: the innermost. */
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
    f->state = leaf->future.state = S_PENDING; /* an item, or what was sent */
    leaf->awaiting = (uintptr_t)&coili_cancelled;
    flag_set(&leaf->future, F_MUST_CANCEL);
    return leaf;
}

/*
 * A loop was left early: the generator is cancelled where it yielded, runs its
 * FINALLY as a child and is gone before its consumer is.
 */
static void close_generator(struct coil_coro *co, struct iter_scope *iter)
{
    coili_nursery_find(co)->running++;
    iter->generator->future.waiters = (uintptr_t)co;
    wake(coili_loop, strike(iter));
}

void coili_close_iterations(struct coil_coro *co)
{
    struct coili_scope *scope = co->scopes;
    while (scope) {
        struct coili_scope *next = scope->next;
        if (scope->kind == SCOPE_ITER && !scope->on)
            close_generator(co, (struct iter_scope *)scope);
        scope = next;
    }
}

/* Generators that are closing run their FINALLY: cut short only on request. */
void coili_cancel_closing(struct coil_coro *co, enum coil_cancel_reason reason)
{
    for (struct coili_scope *s = co->scopes; s; s = s->next)
        if (s->kind == SCOPE_ITER && s->on)
            coili_cancel(((struct iter_scope *)s)->generator, reason);
}

/* One whose consumer left early has run its FINALLY. */
void coili_generator_ended(struct coil_loop *loop, struct coil_coro *co)
{
    struct coil_future *f = &co->future;
    struct coil_coro *consumer = (struct coil_coro *)f->waiters;
    f->waiters = 0;
    if (state_of(f) == S_FAILED && f->result.e.error != -ECANCELED)
        coili_report("a generator that was left early failed", co,
                     f->result.e.error, f->result.e.detail);
    if (consumer) {
        struct coili_scope *s = consumer->scopes;
        while (s->kind != SCOPE_ITER ||
               ((struct iter_scope *)s)->generator != co)
            s = s->next;
        coili_scope_pop(consumer, s);
        coili_child_ended(loop, coili_nursery_find(consumer));
    }
    future_unref(f);
}

/* Called and awaited: it is resumed in the same step. */
bool coili_close(struct coil_coro *co, struct coil_future *source, int line)
{
    struct coil_loop *loop = coili_loop;
    if (COILI_UNLIKELY(loop->current != co))
        coili_misuse(co, NULL, 0, "an await outside the running coroutine");
    struct iter_scope *iter = find_generator(co, source);
    if (!source)
        coili_misuse_null(co, line, "CLOSE", "generator");
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
        /* Those of its own scopes are taken back meanwhile. */
        iter->scope.entry = (uint16_t)coili_cancels_of_others(next);
        next = strike(iter);
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
 * That it was cancelled is no error here. But a request that came meanwhile was
 * one for this coroutine, and its cleanup must not swallow it.
 */
bool coili_close_failed(struct coil_coro *co)
{
    struct coil_future *f = awaited_future(co);
    if (f == &coili_zero)
        return coili_failed(co);
    unsigned entry = 0;
    struct coili_scope *s = co->scopes;
    while (s && (s->kind != SCOPE_ITER ||
                 &((struct iter_scope *)s)->generator->future != f))
        s = s->next;
    if (s) {
        entry = s->entry;
        coili_scope_pop(co, s);
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

/* The consumer's from now on. NULL: that failed, and `awaiting` tells how. */
static struct iter_scope *claim(struct coil_coro *co,
                                struct coil_future *source, int id, int line)
{
    if (!source)
        coili_misuse_null(co, line, id == BY_HAND ? "NEXT" : "FOR_AWAIT",
                          "generator");
    if (kind_of(source) != KIND_CORO) {
        if (state_of(source) != S_FAILED)
            coili_misuse(co, NULL, line,
                         id == BY_HAND ? "NEXT" NO_GENERATOR
                                       : "FOR_AWAIT" NO_GENERATOR);
        co->awaiting = (uintptr_t)source;
        return NULL;
    }
    if (source->flags & F_STARTED)
        coili_misuse(co, NULL, line, TWICE);
    /* The nursery now, so that closing needs no memory. */
    struct iter_scope *iter = NULL;
    if (coili_nursery_need(co))
        iter = coili_scope_push(co, SCOPE_ITER, sizeof *iter);
    if (!iter) {
        coil_drop(source);
        co->awaiting = (uintptr_t)coil_future_nomem();
        return NULL;
    }
    iter->scope.id = id;
    iter->generator = iter->leaf = coro_of(source);
    if (!(source->flags & F_IN_PLACE))
        coili_list_remove(&task_of(coro_of(source))->siblings);
    flag_set(source, F_GENERATOR);
    return iter;
}

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

void coili_iter_begin(struct coil_coro *co, struct coil_future *source, int id)
{
    struct iter_scope *stale = find_iter(co, id); /* left by a goto */
    if (stale)
        close_generator(co, stale);
    struct iter_scope *own = find_generator(co, source);
    if (own && own->scope.id == BY_HAND)
        own->scope.id = id;
    else
        claim(co, source, id, -1 - id);
}

bool coili_iter_live(const struct coil_coro *co, int id)
{
    return co->awaiting || find_iter(co, id);
}

bool coili_iter_wait(struct coil_coro *co, int id)
{
    if (co->awaiting || struck(co))
        return false;
    struct iter_scope *iter = find_iter(co, id);
    if (COILI_LIKELY(iter))
        return turn(co, iter, id);
    co->awaiting = (uintptr_t)&coili_zero; /* ended in the loop, by NEXT */
    return false;
}

bool coili_next(struct coil_coro *co, struct coil_future *source, int line)
{
    if (COILI_UNLIKELY(coili_loop->current != co))
        coili_misuse(co, NULL, 0, COILI_AWAIT_OUTSIDE);
    struct iter_scope *iter = find_generator(co, source);
    if (!iter)
        iter = claim(co, source, BY_HAND, line);
    return iter && !struck(co) && turn(co, iter, line);
}

/* True: an item that fits, or the end. Else `awaiting` is taken. */
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
        coili_fits_into(co, f, outcome_of(f), kind, TAKEN_ITEM, file, line))
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

bool coili_iter_done_slow(struct coil_coro *co)
{
    struct coil_future *f = awaited_future(co);
    if (!f)
        return true; /* it failed, and that was caught, or in FINALLY */
    co->awaiting = 0;
    struct iter_scope *iter = find_generator(co, f);
    if (iter)
        coili_scope_pop(co, &iter->scope);
    future_unref(f);
    return true;
}

void coili_iter_end(struct coil_coro *co, int id)
{
    struct iter_scope *iter = find_iter(co, id);
    if (iter)
        close_generator(co, iter);
}

/* ---- YIELD_FROM ------------------------------------------------------- */

/* A generator that was begun by NEXT goes on under another roof. */
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

bool coili_yield_from(struct coil_coro *co, struct coil_future *source,
                      int line)
{
    struct coil_loop *loop = coili_loop;
    if (COILI_UNLIKELY(loop->current != co))
        coili_misuse(co, NULL, 0, COILI_AWAIT_OUTSIDE);
    if (!source)
        coili_misuse_null(co, line, "YIELD_FROM", "generator");
    if (co->future.flags & F_FINALLY)
        coili_misuse(co, NULL, line,
                     "YIELD_FROM in FINALLY: the block is over and gives no "
                     "more items; YIELD_FROM before FINALLY");
    struct iter_scope *root = run_for(co);
    if (!root)
        coili_misuse(co, NULL, line,
                     "YIELD_FROM in a coroutine that no FOR_AWAIT runs: it was "
                     "awaited or spawned; run it with FOR_AWAIT or NEXT");
    struct iter_scope *own = find_generator(co, source);
    if (!own && kind_of(source) != KIND_CORO) {
        if (state_of(source) != S_FAILED)
            coili_misuse(co, NULL, line, "YIELD_FROM" NO_GENERATOR);
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
            coil_drop(source);
        co->awaiting = (uintptr_t)coil_future_nomem();
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

/* The inner one is over, if it ever began: this one yields itself again. */
void coili_from_over(struct coil_coro *co)
{
    struct from_scope *from = find_from(co);
    if (!from)
        return;
    from->root->leaf = co;
    if (from->root->scope.on && !coil_future_failed(awaited_future(co))) {
        /* Closed, and its group has taken that for its own request. */
        future_unref(awaited_future(co));
        co->awaiting = (uintptr_t)&coili_cancelled;
        flag_set(&co->future, F_MUST_CANCEL);
    }
    coili_scope_pop(co, &from->scope);
}
