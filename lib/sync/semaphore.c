// SPDX-License-Identifier: MIT
/*
 * semaphore.c: a counter of permits that tasks wait for.
 *
 * Waiters are served in the order of arrival. coil_semaphore_release() gives
 * the permit to the first waiter and does not raise the counter, so a later
 * task cannot take the permit of a waiter.
 *
 * A waiter that was woken runs one pass later. If a further permit becomes free
 * in between, a task that runs now would acquire it at once, and its code would
 * run before that of the waiter. asyncio lets such a task wait, and so does
 * this file: `woken` counts the waiters that were woken and have not run. When
 * one of them runs, permits that are free go to the waiters behind it.
 *
 * Invariant: value > 0 implies that no task waits, or that woken > 0.
 */
#include <coil/semaphore.h>

#include <errno.h>

#include <coil/coroutine.h>

#include "base/check.h"
#include "base/list.h"

void coil_semaphore_init(struct coil_semaphore *sem, size_t value)
{
    coili_check(sem, "coil_semaphore_init: sem is NULL");
    coil_waiters_init(&sem->waiters);
    sem->value = value;
    sem->limit = SIZE_MAX;
    sem->woken = 0;
}

void coil_semaphore_init_bounded(struct coil_semaphore *sem, size_t value)
{
    coili_check(sem, "coil_semaphore_init_bounded: sem is NULL");
    coil_semaphore_init(sem, value);
    sem->limit = value;
}

struct permit {
    struct coil_custom custom;
    struct coil_waiter waiter;
    struct coil_semaphore *sem;
    bool woken; /* counted in sem->woken */
};

static struct permit *permit_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct permit, custom.future);
}

bool coil_semaphore_locked(const struct coil_semaphore *sem)
{
    return sem->value == 0 || sem->woken > 0 ||
           !coil_waiters_empty(&sem->waiters);
}

int coil_semaphore_acquire_nowait(struct coil_semaphore *sem)
{
    if (coil_semaphore_locked(sem))
        return -EAGAIN;
    sem->value--;
    return 0;
}

static void granted(struct coil_waiter *waiter, void *value)
{
    struct permit *p = COILI_CONTAINER(waiter, struct permit, waiter);
    (void)value;
    p->woken = true;
    p->sem->woken++;
    coil_future_set_permit(&p->custom.future);
}

static void start(struct coil_future *f)
{
    struct permit *p = permit_of(f);
    if (coil_semaphore_acquire_nowait(p->sem) == 0)
        coil_future_set_permit(f);
    else
        coil_waiters_enter(&p->sem->waiters, &p->waiter, granted);
}

static void cancel(struct coil_future *f)
{
    coil_waiters_leave(&permit_of(f)->waiter);
    coil_future_set_error(f, -ECANCELED);
}

/* The waiter runs: permits that became free meanwhile go to later waiters. */
static void taken(struct coil_future *f)
{
    struct permit *p = permit_of(f);
    struct coil_semaphore *sem = p->sem;
    if (!p->woken)
        return;
    p->woken = false;
    sem->woken--;
    while (sem->value > 0 && coil_waiters_wake(&sem->waiters))
        sem->value--;
}

/* No await has taken the permit: the waiter will not run. Release it. */
static void dispose(struct coil_future *f)
{
    taken(f);
    coil_semaphore_release(permit_of(f)->sem);
}

static const struct coil_future_class permit_class = {
    .name = "semaphore",
    .start = start,
    .cancel = cancel,
    .dispose = dispose,
    .taken = taken,
};

struct coil_future *coil_semaphore_acquire(struct coil_semaphore *sem)
{
    struct permit *p = coil_custom_new(&permit_class, sizeof *p);
    if (!p)
        return coil_future_from_nomem();
    p->sem = sem;
    return &p->custom.future;
}

void coil_semaphore_release(struct coil_semaphore *sem)
{
    if (coil_waiters_wake(&sem->waiters))
        return;
    coili_check(sem->value < sem->limit,
                "coil_semaphore_release: above the value of _init_bounded");
    sem->value++;
}

size_t coil_semaphore_value(const struct coil_semaphore *sem)
{
    return sem->value;
}

static void release(void *arg)
{
    coil_semaphore_release(arg);
}

struct coil_future *coili_hold_semaphore(struct coil_coro *co,
                                         struct coil_semaphore *sem)
{
    return coil_hold(co, sem, release, coil_semaphore_acquire(sem));
}
