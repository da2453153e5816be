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
 *     at rest    its word is `result`, or was     the consumer comes back, or
 *                taken; nobody awaits it, it is   leaves
 *                in no list
 *     closing    the scope is `on`; a running     it is over
 *                child of the consumer
 *
 * A yield and a turn are one step each, through the trampoline: an item costs
 * no allocation, no pass, and no depth of the C stack.
 *
 * Who is left early is cancelled where it yielded, so that its FINALLY runs,
 * and counts as a running child of its consumer: what was lent to it is alive
 * until it is over. The nursery for that is made with the scope: closing
 * allocates nothing.
 */
#include <coil/coroutine.h>

#include <errno.h>

#include "runtime.h"

/* ---- YIELD ------------------------------------------------------------ */

bool coili_yield(struct coil_coro *co, int line)
{
    struct coil_loop *loop = coili_loop;
    if (COILI_UNLIKELY(loop->current != co))
        coili_misuse(co, NULL, 0, "an await outside the running coroutine");
    if (!(co->future.flags & F_GENERATOR))
        coili_misuse(co, NULL, line, "YIELD in a coroutine that no FOR_AWAIT "
                                     "runs");
    struct coil_coro *consumer = (struct coil_coro *)co->future.waiters;
    flag_clear(&co->future, F_CALLED);
    co->awaiting = (uintptr_t)&coili_zero;
    suspend(loop, co, line);
    if (must_cancel(co) && !coili_is_late(co)) {
        flag_clear(&co->future, F_MUST_CANCEL);
        request(consumer, co->future.flags >> REASON_SHIFT);
    }
    switch_to(loop, consumer);
    return true;
}

/* ---- Closing ---------------------------------------------------------- */

/*
 * A loop was left early: the generator is cancelled where it yielded, runs its
 * FINALLY as a child and is gone before its consumer is.
 */
static void close_generator(struct coil_coro *co, struct iter_scope *iter)
{
    struct coil_loop *loop = coili_loop;
    struct coil_coro *generator = iter->generator;
    struct coil_future *f = &generator->future;
    iter->scope.on = 1;
    flag_clear(f, F_GENERATOR);
    coili_nursery_find(co)->running++;
    f->waiters = (uintptr_t)co;
    if (f->flags & F_STARTED) {
        f->state = S_PENDING;
        generator->awaiting = (uintptr_t)&coili_cancelled;
        flag_set(f, F_MUST_CANCEL);
    } else {
        flag_set(f, F_STARTED);
        coili_begin_cancelled(generator, COIL_CANCEL_USER);
    }
    wake(loop, generator);
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

/* ---- FOR_AWAIT -------------------------------------------------------- */

static struct iter_scope *find_iter(const struct coil_coro *co, int id)
{
    for (struct coili_scope *s = co->scopes; s; s = s->next)
        if (s->kind == SCOPE_ITER && s->id == id && !s->on)
            return (struct iter_scope *)s;
    return NULL;
}

void coili_iter_begin(struct coil_coro *co, struct coil_future *source, int id)
{
    struct iter_scope *stale = find_iter(co, id); /* left by a goto */
    if (stale)
        close_generator(co, stale);
    if (kind_of(source) != KIND_CORO) {
        if (state_of(source) != S_FAILED)
            coili_misuse(co, NULL, -1 - id, "FOR_AWAIT wants a generator");
        co->awaiting = (uintptr_t)source;
        return;
    }
    /* The nursery now, so that closing needs no memory. */
    struct iter_scope *iter = NULL;
    if (coili_nursery_need(co))
        iter = coili_scope_push(co, SCOPE_ITER, sizeof *iter);
    if (!iter) {
        coil_drop(source);
        co->awaiting = (uintptr_t)coil_future_nomem();
        return;
    }
    if (source->flags & F_STARTED)
        coili_misuse(co, NULL, -1 - id, "a generator is used twice");
    iter->scope.id = id;
    iter->generator = coro_of(source);
    if (!(source->flags & F_IN_PLACE))
        coili_list_remove(&task_of(coro_of(source))->siblings);
    flag_set(source, F_GENERATOR);
}

bool coili_iter_live(const struct coil_coro *co, int id)
{
    return co->awaiting || find_iter(co, id);
}

bool coili_iter_wait(struct coil_coro *co, int id)
{
    struct coil_loop *loop = coili_loop;
    if (co->awaiting || struck(co))
        return false;
    struct coil_coro *generator = find_iter(co, id)->generator;
    flag_set(&generator->future, F_STARTED | F_CALLED);
    generator->future.waiters = (uintptr_t)co;
    co->awaiting = (uintptr_t)generator;
    loop->resume = generator;
    suspend(loop, co, id);
    return true;
}

bool coili_iter_failed(struct coil_coro *co, enum coili_kind kind,
                       const char *file, int line)
{
    struct coil_future *f = awaited_future(co);
    if (state_of(f) == S_FAILED) {
        struct iter_scope *iter = find_iter(co, -1 - line);
        if (iter && &iter->generator->future == f)
            coili_scope_pop(co, &iter->scope);
        co->awaiting = 0;
        return coili_failed_with(co, coili_take_failure(co, f));
    }
    if (state_of(f) || coili_fits_into(co, f, outcome_of(f), kind, file, line))
        return false;
    co->awaiting = 0;
    f->state = S_PENDING;
    return coili_failed_with(co, (struct coili_end){ .err = -EOVERFLOW });
}

bool coili_iter_done(struct coil_coro *co, int id)
{
    struct coil_future *f = awaited_future(co);
    if (!f)
        return true; /* it failed, in FINALLY, where nothing jumps */
    if (!state_of(f))
        return false;
    co->awaiting = 0;
    coili_scope_pop(co, &find_iter(co, id)->scope);
    future_unref(f);
    return true;
}

void coili_iter_end(struct coil_coro *co, int id)
{
    struct iter_scope *iter = find_iter(co, id);
    if (iter)
        close_generator(co, iter);
}
