// SPDX-License-Identifier: MIT
/*
 * barrier.c: the last task that arrives in a round wakes the others.
 *
 * asyncio's Barrier has four states (filling, draining, resetting, broken),
 * since its woken tasks leave one by one, and each lowers the counter that
 * later arrivals raise. Here the last arrival completes all waits of the round
 * at once, each with its index as the value. So a round is over as soon as it
 * is full, and a draining state is not needed.
 *
 * Invariant: `waiting` is the number of waiters, and less than `parties`.
 */
#include <coil/barrier.h>

#include <errno.h>

#include <coil/error.h>

#include "base/check.h"
#include "base/list.h"

struct wait {
    struct coil_custom custom;
    struct coil_waiter waiter;
    struct coil_barrier *barrier;
};

void coil_barrier_init(struct coil_barrier *b, size_t parties)
{
    coili_check(b, "coil_barrier_init: barrier is NULL");
    coili_check(parties > 0,
                "coil_barrier_init: parties is 0: must be at least 1");
    *b = (struct coil_barrier){ .parties = parties };
    coil_waiters_init(&b->waiters);
}

static struct wait *wait_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct wait, custom.future);
}

/* `index` points to the next index of the round; NULL: the barrier broke. */
static void granted(struct coil_waiter *waiter, void *index)
{
    struct wait *w = COILI_CONTAINER(waiter, struct wait, waiter);
    if (index)
        coil_future_set_int(&w->custom.future, (*(int64_t *)index)++);
    else
        coil_future_set_error(&w->custom.future, COIL_EBROKEN);
}

/* Wait; or complete the round if this is its last arrival. */
static void start(struct coil_future *f)
{
    struct wait *w = wait_of(f);
    struct coil_barrier *b = w->barrier;
    if (b->broken) {
        coil_future_set_error(f, COIL_EBROKEN);
        return;
    }
    if (b->waiting + 1 < b->parties) {
        b->waiting++;
        coil_waiters_enter(&b->waiters, &w->waiter, granted);
        return;
    }
    int64_t index = 0;
    b->waiting = 0;
    while (coil_waiters_wake_with(&b->waiters, &index))
        ;
    coil_future_set_int(f, index);
}

static void cancel(struct coil_future *f)
{
    struct wait *w = wait_of(f);
    coil_waiters_leave(&w->waiter);
    w->barrier->waiting--;
    coil_future_set_error(f, -ECANCELED);
}

static const struct coil_future_class wait_class = {
    .name = "barrier",
    .start = start,
    .cancel = cancel,
};

struct coil_future *coil_barrier_wait(struct coil_barrier *b)
{
    coili_check(b, "coil_barrier_wait: barrier is NULL");
    struct wait *w = coil_custom_new(&wait_class, sizeof *w);
    if (!w)
        return coil_future_from_nomem();
    w->barrier = b;
    return &w->custom.future;
}

static void fail_waiters(struct coil_barrier *b)
{
    b->waiting = 0;
    while (coil_waiters_wake(&b->waiters))
        ;
}

void coil_barrier_reset(struct coil_barrier *b)
{
    coili_check(b, "coil_barrier_reset: barrier is NULL");
    b->broken = false;
    fail_waiters(b);
}

void coil_barrier_abort(struct coil_barrier *b)
{
    coili_check(b, "coil_barrier_abort: barrier is NULL");
    b->broken = true;
    fail_waiters(b);
}

bool coil_barrier_broken(const struct coil_barrier *b)
{
    return b->broken;
}

size_t coil_barrier_waiting(const struct coil_barrier *b)
{
    return b->waiting;
}
