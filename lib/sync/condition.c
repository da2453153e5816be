// SPDX-License-Identifier: MIT
/*
 * condition.c: one future waits for the notification, then for the lock.
 *
 *     holds the lock --start--> waits for a notification
 *                                  | notified          | cancelled
 *                                  v                   v
 *                         waits for the lock    waits for the lock
 *                                  |                   |
 *                                  v                   v
 *                          has the lock: 0      has the lock: -ECANCELED
 *
 * The same future waits for both. So acquiring the lock again needs no memory
 * and no second await, which a second cancellation could end. In Python a loop
 * around acquire() does this; under anyio the loop once used 100 % of a CPU.
 *
 * A wait that is cancelled after it was notified, while it waits for the lock,
 * moves to the right column and notifies the next waiter instead. If all
 * waiters were notified, this may wake a waiter that arrived after the
 * notification. Such a spurious wakeup is allowed: waiters test their
 * predicate.
 */
#include <coil/condition.h>

#include <errno.h>

#include <coil/coroutine.h>

#include "base/check.h"
#include "base/list.h"

struct wait {
    struct coil_custom custom;
    struct coil_waiter waiter;
    struct coil_condition *cond;
    bool notified, cancelled;
};

void coil_condition_init(struct coil_condition *cond, struct coil_lock *lock)
{
    coili_check(cond, "coil_condition_init: cond is NULL");
    coil_lock_init(&cond->own);
    coil_waiters_init(&cond->waiters);
    cond->lock = lock ? lock : &cond->own;
}

static struct wait *wait_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct wait, custom.future);
}

/* The fields of a frame are zero at first, so a forgotten _init shows here. */
static struct coil_lock *lock_of(const struct coil_condition *cond)
{
    coili_check(cond->lock, "a coil_condition is zero: call its _init");
    return cond->lock;
}

/* The wait has the lock again. */
static void finish(struct wait *w)
{
    if (w->cancelled)
        coil_future_set_error(&w->custom.future, -ECANCELED);
    else
        coil_future_set_int(&w->custom.future, 0);
}

static void lock_granted(struct coil_waiter *waiter, void *value)
{
    (void)value;
    finish(COILI_CONTAINER(waiter, struct wait, waiter));
}

static void reacquire_lock(struct wait *w)
{
    struct coil_lock *lock = w->cond->lock;
    if (coil_lock_acquire_nowait(lock) == 0)
        finish(w);
    else
        coil_waiters_enter(&lock->waiters, &w->waiter, lock_granted);
}

static void notified(struct coil_waiter *waiter, void *value)
{
    struct wait *w = COILI_CONTAINER(waiter, struct wait, waiter);
    (void)value;
    w->notified = true;
    reacquire_lock(w);
}

static void start(struct coil_future *f)
{
    struct wait *w = wait_of(f);
    coili_check(coil_lock_locked(lock_of(w->cond)),
                "coil_condition_wait: its lock is not held");
    coil_waiters_enter(&w->cond->waiters, &w->waiter, notified);
    coil_lock_release(w->cond->lock);
}

/*
 * A notified wait waits for the lock: when it is cancelled, it notifies the
 * next waiter instead. A further request changes nothing. But each request
 * checks whether the lock is held by an ancestor that waits for this task.
 */
static void cancel(struct coil_future *f)
{
    struct wait *w = wait_of(f);
    bool first = !w->cancelled;
    w->cancelled = true;
    if (first && w->notified) {
        coil_waiters_wake(&w->cond->waiters);
    } else if (first) {
        coil_waiters_leave(&w->waiter);
        reacquire_lock(w);
    }
    if (!coil_future_done(f))
        coil_check_holder(f, w->cond->lock);
}

static const struct coil_future_class wait_class = {
    .name = "condition",
    .start = start,
    .cancel = cancel,
};

struct coil_future *coil_condition_wait(struct coil_condition *cond)
{
    coili_check(cond, "coil_condition_wait: cond is NULL");
    struct wait *w = coil_custom_new(&wait_class, sizeof *w);
    if (!w)
        return coil_future_from_nomem();
    w->cond = cond;
    return &w->custom.future;
}

struct wait_until {
    struct coil_coro coro;
    struct coil_condition *cond;
    coil_predicate_fn *predicate;
    void *arg;
};

static void wait_until(struct coil_coro *co)
{
    COIL_ASYNC(wait_until, my) {
        coili_check(coil_lock_locked(lock_of(my->cond)),
                    "coil_condition_wait_for: its lock is not held");
        while (!my->predicate(my->arg))
            COIL_AWAIT(coil_condition_wait(my->cond));
    }
}

struct coil_future *coil_condition_wait_for(struct coil_condition *cond,
                                            coil_predicate_fn *predicate,
                                            void *arg)
{
    coili_check(cond, "coil_condition_wait_for: cond is NULL");
    coili_check(predicate, "coil_condition_wait_for: predicate is NULL");
    return COIL_CALL(wait_until, .cond = cond, .predicate = predicate,
                     .arg = arg);
}

static void check_locked(const struct coil_condition *cond)
{
    coili_check(coil_lock_locked(lock_of(cond)),
                "coil_condition_notify: its lock is not held");
}

void coil_condition_notify(struct coil_condition *cond, size_t n)
{
    check_locked(cond);
    while (n-- > 0 && coil_waiters_wake(&cond->waiters))
        ;
}

void coil_condition_notify_all(struct coil_condition *cond)
{
    coil_condition_notify(cond, SIZE_MAX);
}

void *coili_lock_of_condition(struct coil_condition *cond)
{
    return lock_of(cond);
}

struct coil_future *coili_hold_condition(struct coil_coro *co,
                                         struct coil_condition *cond)
{
    return coili_hold_lock(co, lock_of(cond));
}
