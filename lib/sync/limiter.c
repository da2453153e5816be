// SPDX-License-Identifier: MIT
/*
 * limiter.c: tokens, and a table of the borrowers that have one or wait.
 *
 * A borrower is added to the table when it begins to wait, so granting a token
 * needs no memory. The table is freed when it is empty, so a limiter needs no
 * _fini. trio adds a borrower only when it gets its token, and so does not
 * detect a borrower that waits twice.
 *
 * Invariant: tokens are available only if no borrower waits.
 */
#include <coil/limiter.h>

#include <errno.h>
#include <string.h>

#include <coil/coroutine.h>
#include <coil/loop.h>
#include <coil/task.h>

#include "base/check.h"
#include "base/list.h"

struct coili_borrower {
    const void *borrower; /* NULL: the slot is free */
    bool has_token;
};

void coil_limiter_init(struct coil_limiter *l, size_t limit)
{
    coili_check(l, "coil_limiter_init: limiter is NULL");
    *l = (struct coil_limiter){ .limit = limit };
    coil_waiters_init(&l->waiters);
}

/* ---- The table: open addressing, at most half full ---------------------- */

/* The first slot in which find() looks for `borrower`. */
static size_t home_slot(const struct coil_limiter *l, const void *borrower)
{
    uint64_t hash = (uintptr_t)borrower * 0x9e3779b97f4a7c15u;
    return (size_t)(hash >> 32) & (l->capacity - 1);
}

/* The slot of `borrower`, or the free slot where it would be added. */
static struct coili_borrower *find(const struct coil_limiter *l,
                                   const void *borrower)
{
    size_t i = home_slot(l, borrower);
    while (l->table[i].borrower && l->table[i].borrower != borrower)
        i = (i + 1) & (l->capacity - 1);
    return &l->table[i];
}

/* Move all borrowers to a table of twice the capacity. */
static int grow(struct coil_limiter *l)
{
    struct coil_limiter to = { .capacity = l->capacity ? l->capacity * 2 : 8 };
    if (to.capacity > SIZE_MAX / sizeof *to.table)
        return -ENOMEM;
    to.table = coil_alloc(to.capacity * sizeof *to.table);
    if (!to.table)
        return -ENOMEM;
    memset(to.table, 0, to.capacity * sizeof *to.table);
    for (size_t i = 0; i < l->capacity; i++)
        if (l->table[i].borrower)
            *find(&to, l->table[i].borrower) = l->table[i];
    if (l->table)
        coil_free(l->table, l->capacity * sizeof *l->table);
    l->table = to.table;
    l->capacity = to.capacity;
    return 0;
}

/* Add a borrower, which has a token or waits for one. */
static int table_add(struct coil_limiter *l, const void *borrower,
                     bool has_token)
{
    if (l->n * 2 >= l->capacity && grow(l) < 0)
        return -ENOMEM;
    struct coili_borrower *b = find(l, borrower);
    coili_check(!b->borrower, "coil_limiter_acquire: this borrower has a token "
                              "or waits");
    *b = (struct coili_borrower){ borrower, has_token };
    l->n++;
    return 0;
}

/*
 * Remove a borrower, which leaves a hole in the table. find() would stop at the
 * hole: so a later borrower moves into it, unless the home slot of that
 * borrower is after the hole. The slot that becomes free is the next hole.
 */
static void table_remove(struct coil_limiter *l, struct coili_borrower *b)
{
    size_t mask = l->capacity - 1, hole = (size_t)(b - l->table);
    for (size_t i = (hole + 1) & mask; l->table[i].borrower;
         i = (i + 1) & mask) {
        size_t distance = (i - home_slot(l, l->table[i].borrower)) & mask;
        if (distance >= ((i - hole) & mask)) {
            l->table[hole] = l->table[i];
            hole = i;
        }
    }
    l->table[hole].borrower = NULL;
    if (--l->n == 0) {
        coil_free(l->table, l->capacity * sizeof *l->table);
        l->table = NULL;
        l->capacity = 0;
    }
}

/* ---- Tokens -------------------------------------------------------------- */

struct borrow {
    struct coil_custom custom;
    struct coil_waiter waiter;
    struct coil_limiter *limiter;
    const void *borrower;
};

static struct borrow *borrow_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct borrow, custom.future);
}

static bool available(const struct coil_limiter *l)
{
    return l->borrowed < l->limit;
}

static void granted(struct coil_waiter *waiter, void *value)
{
    struct borrow *w = COILI_CONTAINER(waiter, struct borrow, waiter);
    (void)value;
    find(w->limiter, w->borrower)->has_token = true;
    w->limiter->borrowed++;
    coil_future_set_int(&w->custom.future, 0);
}

/* Give the available tokens to the first waiters. */
static void grant_tokens(struct coil_limiter *l)
{
    while (available(l) && coil_waiters_wake(&l->waiters))
        ;
}

static void start(struct coil_future *f)
{
    struct borrow *w = borrow_of(f);
    struct coil_limiter *l = w->limiter;
    bool now = available(l);
    if (table_add(l, w->borrower, now) < 0) {
        coil_future_set_error(f, -ENOMEM);
    } else if (now) {
        l->borrowed++;
        coil_future_set_int(f, 0);
    } else {
        coil_waiters_enter(&l->waiters, &w->waiter, granted);
    }
}

static void cancel(struct coil_future *f)
{
    struct borrow *w = borrow_of(f);
    coil_waiters_leave(&w->waiter);
    table_remove(w->limiter, find(w->limiter, w->borrower));
    coil_future_set_error(f, -ECANCELED);
}

static const struct coil_future_class borrow_class = {
    .name = "limiter",
    .start = start,
    .cancel = cancel,
};

static const void *running_task(void)
{
    struct coil_task *task = coil_task_current();
    coili_check(task, "coil_limiter: no task runs: call the _for functions");
    return task;
}

struct coil_future *coil_limiter_acquire_for(struct coil_limiter *l,
                                             const void *borrower)
{
    coili_check(l, "coil_limiter_acquire_for: limiter is NULL");
    coili_check(borrower, "coil_limiter_acquire_for: borrower is NULL");
    struct borrow *w = coil_custom_new(&borrow_class, sizeof *w);
    if (!w)
        return coil_future_from_nomem();
    w->limiter = l;
    w->borrower = borrower;
    return &w->custom.future;
}

struct coil_future *coil_limiter_acquire(struct coil_limiter *l)
{
    coili_check(l, "coil_limiter_acquire: limiter is NULL");
    return coil_limiter_acquire_for(l, running_task());
}

int coil_limiter_acquire_for_nowait(struct coil_limiter *l,
                                    const void *borrower)
{
    coili_check(borrower, "coil_limiter_acquire_for: borrower is NULL");
    if (!available(l))
        return -EAGAIN;
    int err = table_add(l, borrower, true);
    if (err == 0)
        l->borrowed++;
    return err;
}

int coil_limiter_acquire_nowait(struct coil_limiter *l)
{
    return coil_limiter_acquire_for_nowait(l, running_task());
}

void coil_limiter_release_for(struct coil_limiter *l, const void *borrower)
{
    struct coili_borrower *b = l->table ? find(l, borrower) : NULL;
    coili_check(b && b->borrower && b->has_token,
                "coil_limiter_release: this borrower has no token");
    table_remove(l, b);
    l->borrowed--;
    grant_tokens(l);
}

void coil_limiter_release(struct coil_limiter *l)
{
    coil_limiter_release_for(l, running_task());
}

void coil_limiter_resize(struct coil_limiter *l, size_t limit)
{
    coili_check(l, "coil_limiter_resize: limiter is NULL");
    l->limit = limit;
    grant_tokens(l);
}

void coil_limiter_get_stats(const struct coil_limiter *l,
                            struct coil_limiter_stats *out)
{
    coili_check(l, "coil_limiter_get_stats: limiter is NULL");
    coili_check(out, "coil_limiter_get_stats: out is NULL");
    *out = (struct coil_limiter_stats){
        .limit = l->limit,
        .borrowed = l->borrowed,
        .available = available(l) ? l->limit - l->borrowed : 0,
        .waiting = l->n - l->borrowed,
    };
}

static void release(void *limiter)
{
    coil_limiter_release(limiter);
}

struct coil_future *coili_hold_limiter(struct coil_coro *co,
                                       struct coil_limiter *l)
{
    return coil_hold(co, l, release, coil_limiter_acquire(l));
}
