// SPDX-License-Identifier: MIT
#ifndef COILI_FUTURE_H
#define COILI_FUTURE_H

/*
 * future.h: the parts of a future, for the library.
 *
 * This header names the flags and states of a struct coil_future, counts its
 * references and keeps the list of its waiters. A waiter is a coroutine, or a
 * handle whose address bears a tag in its lowest bit; both are linked through a
 * field `next`. `waiters` is a circle of which the future knows the last
 * waiter, so that a whole circle moves to the end of the ready queue in one
 * step:
 *
 *     future.waiters --> last --> first --> second --> last
 *
 * If the last waiter is a handle, `waiters` is tagged and contains the place of
 * that handle: see the top of future.c.
 *
 * The core is one room: its files know each other, and many pairs of them call
 * each other in both directions. Its headers say which file writes a field; all
 * files of the core may read. Which file writes the fields of a future:
 *
 *     refs     future_ref(), future_unref() and coili_let_go(); at the start
 *              and at the end of a future's life future.c and task.c
 *     cancels  the number of requests that were not taken back: task.c,
 *              cancel_scope.c
 *     flags    all files of the core, each flag by flag_set() and flag_clear()
 *     state,   of a plain future and of a future with a class: future.c. Of a
 *     result   coroutine: coroutine.c; and while the coroutine is not over
 *              task.c (a start that is cancelled), cancel_scope.c (a time-out)
 *              and generator.c (items)
 *     waiters  future.c. In a coroutine that was called it is no list but the
 *              caller, written by coroutine.c, or the consumer of a generator,
 *              written by generator.c
 *
 * Other rooms write none of them: they complete futures by public calls.
 */

#include <coil/coroutine.h>
#include <coil/future.h>

#include "base/check.h"
#include "base/heap.h"

/* ---- Flags and states ------------------------------------------------- */

/* Kinds, in the lowest bits of `flags`. A freed block has kind 7: alloc.h. */
#define KIND_MASK 7u
#define KIND_PLAIN 0u
#define KIND_CORO COILI_KIND_CORO
#define KIND_CUSTOM 2u /* it has a class */
#define KIND_SLEEP 3u  /* a duration, until it is awaited */
#define KIND_PASS 4u   /* coili_pass alone */

#define F_STARTED 0x0008u         /* its first step or start() has been made */
#define F_CALLED 0x0010u          /* a coroutine awaited by its caller */
#define F_TASK 0x0020u            /* a coroutine driven by the loop */
#define F_IN_PLACE COILI_IN_PLACE /* its memory is the user's */
#define F_ASKED F_IN_PLACE    /* of a task: its nursery has asked it to end */
#define F_HANDLE COILI_HANDLE /* its nursery holds a reference: the handle */
#define F_MUST_CANCEL COILI_MUST_CANCEL /* a request that has not struck yet */
#define F_OWN_CANCEL 0x0200u       /* it fails because its task was cancelled */
#define F_FINALLY COILI_IN_FINALLY /* in its FINALLY */
#define F_FETCHED COILI_FETCHED    /* its error or pointer was taken */
#define F_GIVES COILI_GIVES        /* disposes of a value that is not taken */
#define F_GENERATOR 0x2000u        /* run by a FOR_AWAIT */
#define REASON_SHIFT 14            /* enum coil_cancel_reason, two bits */

/*
 * States, in the lowest bits of `state`. Above them stands the outcome of a
 * coroutine: the state that it is going to have.
 */
#define STATE_MASK ((unsigned)COILI_STATE)
#define QUIET COILI_QUIET
#define S_PENDING 0u
#define S_INT ((unsigned)COILI_INT)
#define S_UINT ((unsigned)COILI_UINT)
#define S_DOUBLE ((unsigned)COILI_DOUBLE)
#define S_POINTER ((unsigned)COILI_POINTER)
#define S_FAILED ((unsigned)COILI_FAILED)
#define S_PERMIT ((unsigned)COILI_PERMIT)
#define OUTCOME_SHIFT COILI_OUTCOME_SHIFT

#define REFS_MOST COILI_REFS_MOST

static inline unsigned kind_of(const struct coil_future *f)
{
    return f->flags & KIND_MASK;
}

static inline unsigned state_of(const struct coil_future *f)
{
    return f->state & STATE_MASK;
}

static inline unsigned outcome_of(const struct coil_future *f)
{
    return f->state >> OUTCOME_SHIFT;
}

static inline void flag_set(struct coil_future *f, unsigned flag)
{
    f->flags = (uint16_t)(f->flags | flag);
}

static inline void flag_clear(struct coil_future *f, unsigned flag)
{
    f->flags = (uint16_t)(f->flags & ~flag);
}

/* A task is never in place: there the same flag is F_ASKED. */
static inline bool is_in_place(const struct coil_future *f)
{
    return (f->flags & (F_IN_PLACE | F_TASK)) == F_IN_PLACE;
}

static inline struct coil_coro *coro_of(struct coil_future *f)
{
    return (struct coil_coro *)(void *)f;
}

static inline struct coil_custom *custom_of(struct coil_future *f)
{
    return (struct coil_custom *)(void *)f;
}

/*
 * Static futures: completed with 0; cancelled; the next pass, which a sleep of
 * 0 awaits; that pass when it has come.
 */
extern struct coil_future coili_zero, coili_cancelled, coili_pass, coili_passed;

/* ---- References ------------------------------------------------------- */

static inline void future_ref(struct coil_future *f)
{
    if (f->refs != REFS_MOST)
        f->refs++;
}

/* The last reference is not counted down: in most cases the memory is freed. */
static inline void future_unref(struct coil_future *f)
{
    if (f->refs == REFS_MOST)
        return;
    if (f->refs == 1)
        coili_gone(f);
    else
        f->refs--;
}

static inline void mark_fetched(struct coil_future *f)
{
    if (f->refs != REFS_MOST)
        flag_set(f, F_FETCHED);
}

/* An await or a call reads this permit: call taken() of its class. */
static inline void coili_tell_taken(struct coil_future *permit)
{
    if (kind_of(permit) == KIND_CUSTOM && custom_of(permit)->cls->taken)
        custom_of(permit)->cls->taken(permit);
}

/* The same; from now on the caller has to release the acquired object. */
static inline void coili_take_permit(struct coil_future *permit)
{
    flag_set(permit, F_FETCHED); /* no static future has a permit */
    coili_tell_taken(permit);
}

/* ---- Waiters ---------------------------------------------------------- */

/* The handle that this waiter is. */
static inline struct coil_handle *handle_of(uintptr_t waiter)
{
    return (struct coil_handle *)(waiter - 1);
}

static inline uintptr_t *next_of(uintptr_t waiter)
{
    return waiter & 1 ? &((struct coil_handle *)(waiter & ~(uintptr_t)1))->next
                      : &((struct coil_coro *)waiter)->next;
}

/*
 * The field `where` of a handle that is ready or waits for a future: its place,
 * which is the address of the word that points at the handle. While it waits
 * the place has the tag PLACE_IN_CORO if that word is the `next` of a
 * coroutine. The last handle of a circle has the address of its future instead,
 * and WHERE_FUTURE_TAG (loop.h).
 */
#define PLACE_IN_CORO ((uintptr_t)4)

static inline bool is_place(uintptr_t where)
{
    return where && !(where & COILI_TAG_MASK);
}

/* The waiter has this place now. Only handles store their places. */
static inline void set_place(uintptr_t waiter, uintptr_t place)
{
    if (waiter & 1)
        handle_of(waiter)->where = place;
}

/* The last waiter of a future that is no coroutine, or of a task; 0: none. */
uintptr_t coili_last_waiter(const struct coil_future *f);

/* Append a coroutine to waiters that are there. */
void coili_append_waiter(struct coil_future *f, struct coil_coro *co);

/* A coroutine begins to wait. */
static inline void coili_add_waiter(struct coil_future *f, struct coil_coro *co)
{
    if (COILI_UNLIKELY(f->waiters)) {
        coili_append_waiter(f, co);
        return;
    }
    co->next = (uintptr_t)co;
    f->waiters = (uintptr_t)co;
}

/* A coroutine that waits for this future stops waiting. */
void coili_remove_waiter(struct coil_future *f, struct coil_coro *co);

/*
 * Withdraw a handle that is ready, or waits for a future. The future of a ready
 * one may have been freed.
 */
void coili_withdraw(struct coil_loop *loop, struct coil_handle *handle);

/* coili_wake_waiters() of loop.h, if the first or the last is a handle. */
void coili_wake_handles(struct coil_loop *loop, struct coil_future *f);

#endif
