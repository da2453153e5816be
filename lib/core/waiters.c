// SPDX-License-Identifier: MIT
/*
 * waiters.c: the one waiter list.
 *
 * "Granted, then cancelled before it ran" is the bug that asyncio, gevent and
 * anyio all shipped in their semaphores. It cannot happen here: to be granted
 * is to be completed, and a completed await delivers its value even if the
 * task was cancelled in between. A waiter cancelled while it is in line leaves
 * the line; it had nothing yet.
 *
 * What stands in a line is a place, not a future: so that one future can stand
 * in several lines, and nobody but its owner knows what a grant means to it.
 *
 * Invariant: a place is in its line exactly as long as it can be granted. It is
 * unlinked before its owner is told, and its owner unlinks it to give up.
 */
#include <coil/waiters.h>

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "base/list.h"

/* A frame begins with zero bytes, so this is the mistake to make. */
#define NOT_INIT "a lock, a queue or the like is used before its _init"

/* ---- The line --------------------------------------------------------- */

void coil_waiters_init(struct coil_waiters *waiters)
{
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

void coil_waiters_enter(struct coil_waiters *waiters,
                        struct coil_waiter *waiter, coil_granted_fn *granted)
{
    coili_check(waiters->prev, NOT_INIT);
    waiter->granted = granted;
    waiter->link.next = waiters;
    waiter->link.prev = waiters->prev;
    waiters->prev->next = &waiter->link;
    waiters->prev = &waiter->link;
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

/* ---- A future in one line ----------------------------------------------- */

struct wait {
    struct coil_custom custom;
    struct coil_waiter waiter; /* before start() its link names the line */
    const char *name;
    coil_try_fn *try_now;
    void *arg;
};

static struct wait *wait_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct wait, custom.future);
}

static void granted(struct coil_waiter *waiter, void *value)
{
    struct wait *w = COILI_CONTAINER(waiter, struct wait, waiter);
    if (value)
        coil_future_set_pointer(&w->custom.future, value);
    else
        coil_future_set_int(&w->custom.future, 0);
}

static void start(struct coil_future *f)
{
    struct wait *w = wait_of(f);
    struct coil_waiters *waiters = w->waiter.link.next;
    if (coil_waiters_empty(waiters) && w->try_now(w->arg))
        coil_future_set_int(f, 0);
    else
        coil_waiters_enter(waiters, &w->waiter, granted);
}

static void cancel(struct coil_future *f)
{
    unlink_waiter(&wait_of(f)->waiter);
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

struct coil_future *coil_waiters_wait(struct coil_waiters *waiters,
                                      const char *name, coil_try_fn *try_now,
                                      void *arg)
{
    struct wait *w = coil_custom_new(&wait_class, sizeof *w);
    if (!w)
        return coil_future_from_nomem();
    w->waiter.link.next = waiters;
    w->name = name;
    w->try_now = try_now;
    w->arg = arg;
    return &w->custom.future;
}
