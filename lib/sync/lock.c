// SPDX-License-Identifier: MIT
/*
 * lock.c: a lock that a release passes to the first waiter.
 *
 * coil_lock_release() leaves `locked` true when it wakes a waiter. So the lock
 * is never free while a task waits for it, and a later task cannot acquire it
 * first.
 */
#include <coil/lock.h>

#include <errno.h>

#include <coil/coroutine.h>

#include "base/check.h"

void coil_lock_init(struct coil_lock *lock)
{
    coili_check(lock, "coil_lock_init: lock is NULL");
    coil_waiters_init(&lock->waiters);
    lock->locked = false;
}

static bool try_acquire(void *arg)
{
    struct coil_lock *lock = arg;
    if (lock->locked)
        return false;
    lock->locked = true;
    return true;
}

static void release(void *arg)
{
    coil_lock_release(arg);
}

struct coil_future *coil_lock_acquire(struct coil_lock *lock)
{
    return coil_waiters_acquire(&lock->waiters, "lock", try_acquire, release,
                                lock);
}

int coil_lock_acquire_nowait(struct coil_lock *lock)
{
    return try_acquire(lock) ? 0 : -EAGAIN;
}

void coil_lock_release(struct coil_lock *lock)
{
    coili_check(lock->locked, "coil_lock_release: the lock is not held");
    if (!coil_waiters_wake(&lock->waiters))
        lock->locked = false;
}

bool coil_lock_locked(const struct coil_lock *lock)
{
    return lock->locked;
}

struct coil_future *coili_hold_lock(struct coil_coro *co,
                                    struct coil_lock *lock)
{
    return coil_hold(co, lock, release, coil_lock_acquire(lock));
}
