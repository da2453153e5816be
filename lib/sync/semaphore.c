// SPDX-License-Identifier: MIT
/*
 * semaphore.c: a counter of permits that tasks wait for.
 *
 * Waiters are served in the order of arrival. coil_semaphore_release() gives
 * the permit to the first waiter and does not raise the counter, so a later
 * task cannot take the permit of a waiter.
 *
 * Invariant: value > 0 implies that no task waits.
 */
#include <coil/semaphore.h>

#include <errno.h>

#include <coil/coroutine.h>

#include "base/check.h"

void coil_semaphore_init(struct coil_semaphore *sem, size_t value)
{
    coil_waiters_init(&sem->waiters);
    sem->value = value;
    sem->limit = SIZE_MAX;
}

void coil_semaphore_init_bounded(struct coil_semaphore *sem, size_t value)
{
    coil_semaphore_init(sem, value);
    sem->limit = value;
}

static bool try_acquire(void *arg)
{
    struct coil_semaphore *sem = arg;
    if (sem->value == 0)
        return false;
    sem->value--;
    return true;
}

static void release(void *arg)
{
    coil_semaphore_release(arg);
}

struct coil_future *coil_semaphore_acquire(struct coil_semaphore *sem)
{
    return coil_waiters_acquire(&sem->waiters, "semaphore", try_acquire,
                                release, sem);
}

int coil_semaphore_acquire_nowait(struct coil_semaphore *sem)
{
    return try_acquire(sem) ? 0 : -EAGAIN;
}

void coil_semaphore_release(struct coil_semaphore *sem)
{
    if (coil_waiters_wake(&sem->waiters))
        return;
    coili_check(sem->value < sem->limit,
                "coil_semaphore_release: above the value of _init_bounded");
    sem->value++;
}

bool coil_semaphore_locked(const struct coil_semaphore *sem)
{
    return sem->value == 0;
}

size_t coil_semaphore_value(const struct coil_semaphore *sem)
{
    return sem->value;
}

struct coil_future *coili_hold_semaphore(struct coil_coro *co,
                                         struct coil_semaphore *sem)
{
    return coil_hold(co, sem, release, coil_semaphore_acquire(sem));
}
