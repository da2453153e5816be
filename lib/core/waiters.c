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

void coil_waiters_init(struct coil_waiters *line)
{
    line->next = line->prev = line;
}

bool coil_waiters_empty(const struct coil_waiters *line)
{
    return line->next == line;
}

size_t coil_waiters_count(const struct coil_waiters *line)
{
    size_t n = 0;
    for (const struct coil_waiters *l = line->next; l != line; l = l->next)
        n++;
    return n;
}

void coil_waiters_enter(struct coil_waiters *line, struct coil_waiter *place,
                        coil_granted_fn *granted)
{
    coili_check(line->prev, NOT_INIT);
    place->granted = granted;
    place->link.next = line;
    place->link.prev = line->prev;
    line->prev->next = &place->link;
    line->prev = &place->link;
}

static void unlink_place(struct coil_waiter *place)
{
    place->link.next->prev = place->link.prev;
    place->link.prev->next = place->link.next;
    place->link.next = place->link.prev = NULL;
}

bool coil_waiters_leave(struct coil_waiter *place)
{
    if (!place->link.prev)
        return false;
    unlink_place(place);
    return true;
}

static struct coil_waiter *place_of(struct coil_waiters *link)
{
    return COILI_CONTAINER(link, struct coil_waiter, link);
}

struct coil_waiter *coil_waiters_first(const struct coil_waiters *line)
{
    if (coil_waiters_empty(line))
        return NULL;
    coili_check(line->next, NOT_INIT);
    return place_of(line->next);
}

bool coil_waiters_wake_with(struct coil_waiters *line, void *value)
{
    if (coil_waiters_empty(line))
        return false;
    coili_check(line->next, NOT_INIT);
    struct coil_waiter *place = place_of(line->next);
    unlink_place(place);
    place->granted(place, value);
    return true;
}

bool coil_waiters_wake(struct coil_waiters *line)
{
    return coil_waiters_wake_with(line, NULL);
}

/* ---- A future in one line ----------------------------------------------- */

struct waiter {
    struct coil_custom custom;
    struct coil_waiter place; /* before start() its link names the line */
    const char *name;
    coil_try_fn *try_now;
    void *object;
};

static struct waiter *waiter_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct waiter, custom.future);
}

static void granted(struct coil_waiter *place, void *value)
{
    struct waiter *w = COILI_CONTAINER(place, struct waiter, place);
    if (value)
        coil_future_set_pointer(&w->custom.future, value);
    else
        coil_future_set_int(&w->custom.future, 0);
}

static void start(struct coil_future *f)
{
    struct waiter *w = waiter_of(f);
    struct coil_waiters *line = w->place.link.next;
    if (coil_waiters_empty(line) && w->try_now(w->object))
        coil_future_set_int(f, 0);
    else
        coil_waiters_enter(line, &w->place, granted);
}

static void cancel(struct coil_future *f)
{
    unlink_place(&waiter_of(f)->place);
    coil_future_set_error(f, -ECANCELED);
}

static void describe(const struct coil_future *f, char *buf, size_t size)
{
    const struct waiter *w = COILI_CONTAINER(f, const struct waiter,
                                             custom.future);
    snprintf(buf, size, "%s", w->name);
}

static const struct coil_future_class waiter_class = {
    .name = "waiters",
    .start = start,
    .cancel = cancel,
    .describe = describe,
};

struct coil_future *coil_waiters_wait(struct coil_waiters *line,
                                      const char *name, coil_try_fn *try_now,
                                      void *object)
{
    struct waiter *w = coil_custom_new(&waiter_class, sizeof *w);
    if (!w)
        return coil_future_from_nomem();
    w->place.link.next = line;
    w->name = name;
    w->try_now = try_now;
    w->object = object;
    return &w->custom.future;
}
