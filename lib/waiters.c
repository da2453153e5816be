// SPDX-License-Identifier: MIT
/*
 * waiters.c: the one waiter list.
 *
 * "Granted, then cancelled before it ran" is the bug that asyncio, gevent and
 * anyio all shipped in their semaphores. It cannot happen here: to be granted
 * is to be completed, and a completed await delivers its value even if the
 * task was cancelled in between. A waiter cancelled while it is in line leaves
 * the line; it had nothing yet.
 */
#include <coil/waiters.h>

#include <errno.h>
#include <stdio.h>

#include "list.h"

struct waiter {
    struct coil_custom custom;
    struct coil_waiters link; /* zero: not in line */
    struct coil_waiters *line;
    const char *name;
    coil_try_fn *try_now;
    void *object;
};

static struct waiter *waiter_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct waiter, custom.future);
}

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

static void leave_line(struct waiter *w)
{
    w->link.next->prev = w->link.prev;
    w->link.prev->next = w->link.next;
    w->link.next = w->link.prev = NULL;
}

static void start(struct coil_future *f)
{
    struct waiter *w = waiter_of(f);
    struct coil_waiters *line = w->line;
    if (coil_waiters_empty(line) && w->try_now(w->object)) {
        coil_future_set_int(f, 0);
        return;
    }
    w->link.next = line;
    w->link.prev = line->prev;
    line->prev->next = &w->link;
    line->prev = &w->link;
}

static void cancel(struct coil_future *f)
{
    leave_line(waiter_of(f));
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

struct coil_future *coil_park(struct coil_waiters *line, const char *name,
                              coil_try_fn *try_now, void *object)
{
    struct waiter *w = coil_custom_new(&waiter_class, sizeof *w);
    if (!w)
        return coil_future_nomem();
    w->line = line;
    w->name = name;
    w->try_now = try_now;
    w->object = object;
    return &w->custom.future;
}

bool coil_unpark(struct coil_waiters *line)
{
    if (coil_waiters_empty(line))
        return false;
    struct waiter *w = COILI_CONTAINER(line->next, struct waiter, link);
    leave_line(w);
    coil_future_set_int(&w->custom.future, 0);
    return true;
}
