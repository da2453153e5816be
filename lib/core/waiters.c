// SPDX-License-Identifier: MIT
/*
 * waiters.c: the list of waiters of all primitives.
 *
 * A waiter that is granted something and cancelled before its task runs is the
 * bug that asyncio, gevent and anyio all shipped in their semaphores: the grant
 * was lost. It cannot be lost here. Granting completes the future, and a
 * completed await delivers its value even if the task was cancelled in between.
 * A waiter that is cancelled while it is in the list has been granted nothing:
 * it leaves the list.
 *
 * The list links struct coil_waiter, not futures. So one future can wait in
 * several lists, and only the waiter's own function knows what a grant means.
 *
 * Invariant: a waiter is in its list exactly as long as it can be granted. It
 * is unlinked before `granted` is called, or by coil_waiters_leave().
 */
#include <coil/waiters.h>

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "base/list.h"
#include "coroutine.h"

#define ON_STACK \
    "a task waits, and the lock, queue or waiter is on the stack: make it a " \
    "field of the frame"

/* The fields of a frame are zero at first, so a forgotten _init shows here. */
#define NOT_INIT "a lock, queue or coil_waiters is zero: call its _init"

/* ---- The list --------------------------------------------------------- */

void coil_waiters_init(struct coil_waiters *waiters)
{
    coili_check(waiters, "coil_waiters_init: waiters is NULL");
    waiters->next = waiters->prev = waiters;
}

bool coil_waiters_empty(const struct coil_waiters *waiters)
{
    return waiters->next == waiters;
}

size_t coil_waiters_count(const struct coil_waiters *waiters)
{
    size_t n = 0;
    for (const struct coil_waiters *l = waiters->next; l != waiters;
         l = l->next)
        n++;
    return n;
}

static void enter(struct coil_waiters *waiters, struct coil_waiter *waiter,
                  coil_granted_fn *granted)
{
    coili_check(waiters->prev, NOT_INIT);
    coili_check(!coili_is_on_stack(waiters), ON_STACK);
    waiter->granted = granted;
    waiter->link.next = waiters;
    waiter->link.prev = waiters->prev;
    waiters->prev->next = &waiter->link;
    waiters->prev = &waiter->link;
}

void coil_waiters_enter(struct coil_waiters *waiters,
                        struct coil_waiter *waiter, coil_granted_fn *granted)
{
    coili_check(!coili_is_on_stack(waiter), ON_STACK);
    enter(waiters, waiter, granted);
}

static void unlink_waiter(struct coil_waiter *waiter)
{
    waiter->link.next->prev = waiter->link.prev;
    waiter->link.prev->next = waiter->link.next;
    waiter->link.next = waiter->link.prev = NULL;
}

bool coil_waiters_leave(struct coil_waiter *waiter)
{
    if (!waiter->link.prev)
        return false;
    unlink_waiter(waiter);
    return true;
}

static struct coil_waiter *waiter_of(struct coil_waiters *link)
{
    return COILI_CONTAINER(link, struct coil_waiter, link);
}

struct coil_waiter *coil_waiters_first(const struct coil_waiters *waiters)
{
    if (coil_waiters_empty(waiters))
        return NULL;
    coili_check(waiters->next, NOT_INIT);
    return waiter_of(waiters->next);
}

bool coil_waiters_wake_with(struct coil_waiters *waiters, void *value)
{
    if (coil_waiters_empty(waiters))
        return false;
    coili_check(waiters->next, NOT_INIT);
    struct coil_waiter *waiter = waiter_of(waiters->next);
    unlink_waiter(waiter);
    waiter->granted(waiter, value);
    return true;
}

bool coil_waiters_wake(struct coil_waiters *waiters)
{
    return coil_waiters_wake_with(waiters, NULL);
}

/* ---- A future that waits in one list ------------------------------------ */

/*
 * 80 bytes: a size of its own. Were it that of the smallest tasks, waits and
 * tasks would take each other's freed memory, until both are scattered.
 */
struct wait {
    struct coil_custom custom;
    union {
        struct { /* before start() */
            struct coil_waiters *waiters;
            coil_try_fn *try_now;
        } to_start;
        struct coil_waiter waiter;
    } u;
    const char *name;
    coil_call_fn *give_back; /* of acquire_class; else NULL */
    void *arg;
};

static struct wait *wait_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct wait, custom.future);
}

/* A wait with a give_back() ends with a permit, the others with 0. */
static void succeed(struct wait *w)
{
    if (w->give_back)
        coil_future_set_permit(&w->custom.future);
    else
        coil_future_set_int(&w->custom.future, 0);
}

static void granted(struct coil_waiter *waiter, void *value)
{
    struct wait *w = COILI_CONTAINER(waiter, struct wait, u.waiter);
    if (value)
        coil_future_set_pointer(&w->custom.future, value);
    else
        succeed(w);
}

static void start(struct coil_future *f)
{
    struct wait *w = wait_of(f);
    struct coil_waiters *waiters = w->u.to_start.waiters;
    if (coil_waiters_empty(waiters) && w->u.to_start.try_now(w->arg))
        succeed(w);
    else
        enter(waiters, &w->u.waiter, granted);
}

static void cancel(struct coil_future *f)
{
    unlink_waiter(&wait_of(f)->u.waiter);
    coil_future_set_error(f, -ECANCELED);
}

static void describe(const struct coil_future *f, char *buf, size_t size)
{
    const struct wait *w = COILI_CONTAINER(f, const struct wait, custom.future);
    snprintf(buf, size, "%s", w->name);
}

static const struct coil_future_class wait_class = {
    .name = "waiters",
    .start = start,
    .cancel = cancel,
    .describe = describe,
};

static void dispose(struct coil_future *f)
{
    wait_of(f)->give_back(wait_of(f)->arg);
}

static const struct coil_future_class acquire_class = {
    .name = "waiters",
    .start = start,
    .cancel = cancel,
    .dispose = dispose,
    .describe = describe,
};

static struct coil_future *wait_new(const struct coil_future_class *cls,
                                    struct coil_waiters *waiters,
                                    const char *name, coil_try_fn *try_now,
                                    coil_call_fn *give_back, void *arg)
{
    struct wait *w = coil_custom_new(cls, sizeof *w);
    if (!w)
        return coil_future_from_nomem();
    w->u.to_start.waiters = waiters;
    w->u.to_start.try_now = try_now;
    w->name = name;
    w->give_back = give_back;
    w->arg = arg;
    return &w->custom.future;
}

struct coil_future *coil_waiters_wait(struct coil_waiters *waiters,
                                      const char *name, coil_try_fn *try_now,
                                      void *arg)
{
    return wait_new(&wait_class, waiters, name, try_now, NULL, arg);
}

struct coil_future *coil_waiters_acquire(struct coil_waiters *waiters,
                                         const char *name, coil_try_fn *try_now,
                                         coil_call_fn *give_back, void *arg)
{
    return wait_new(&acquire_class, waiters, name, try_now, give_back, arg);
}
