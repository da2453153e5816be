// SPDX-License-Identifier: MIT
/*
 * select.c: one future that waits in several queues and for several futures.
 *
 * First each case is tried, beginning with a random one. If no case is possible
 * now, a waiter enters each queue, and a callback is added to each future. The
 * first grant or callback removes all other waiters and callbacks in the same
 * call, before other code can run. So exactly one case is performed, and a
 * select that is done has no waiter in any queue.
 *
 * All cases are tried before any waiter enters a queue. So in a select with a
 * get and a put for the same queue, the put does not serve the get.
 */
#include <coil/select.h>

#include <errno.h>
#include <limits.h>
#include <string.h>

#include <coil/io.h>
#include <coil/loop.h>

#include "base/check.h"
#include "base/list.h"

struct selection;

/* The waiter or the callback of one case. */
struct slot {
    struct selection *selection;
    struct coil_future *future; /* a reference */
    struct coil_queue_waiter waiter;
    struct coil_handle handle;
};

struct selection {
    struct coil_custom custom;
    struct coil_case *cases;
    size_t n;
    struct slot *slots;
};

static struct selection *selection_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct selection, custom.future);
}

/* xorshift32: the same numbers in every run, unrelated to the program. */
static size_t random_below(size_t n)
{
    static _Thread_local uint32_t x = 2463534242u;
    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return x % n;
}

/* Remove all waiters and callbacks. */
static void leave_all(struct selection *s)
{
    for (size_t i = 0; i < s->n; i++) {
        coil_queue_waiter_leave(&s->slots[i].waiter);
        if (s->slots[i].future)
            coil_future_remove_done_callback(s->slots[i].future,
                                             &s->slots[i].handle);
    }
}

/* The case of `slot` was performed. */
static void finish(struct slot *slot, int err)
{
    struct selection *s = slot->selection;
    size_t i = (size_t)(slot - s->slots);
    leave_all(s);
    s->cases[i].err = err;
    if (slot->waiter.holds)
        s->cases[i].item = slot->waiter.item;
    coil_future_set_int(&s->custom.future, (int64_t)i);
}

static void granted(struct coil_waiter *waiter, void *queue)
{
    struct slot *slot = COILI_CONTAINER(waiter, struct slot, waiter.base);
    if (queue)
        finish(slot, 0);
    else
        finish(slot, slot->waiter.is_put ? COIL_ECLOSED : COIL_EEND);
}

static void future_done(void *arg)
{
    finish(arg, 0);
}

/*
 * Perform a case if that is possible now. Returns the `err` of the case: 0 or
 * an error of the queue. -EAGAIN or -ENOMEM: the case was not performed.
 */
static int try_case(struct slot *slot, const struct coil_case *it)
{
    if (it->future)
        return coil_future_done(it->future) ? 0 : -EAGAIN;
    if (!it->queue)
        return -EAGAIN;
    slot->waiter.item = it->item;
    return it->is_put ? coil_queue_waiter_put(&slot->waiter, it->queue)
                      : coil_queue_waiter_get(&slot->waiter, it->queue);
}

/* Enter the queue, or add a callback to the future. */
static int enter_case(struct slot *slot, const struct coil_case *it)
{
    if (it->future)
        coil_future_add_done_callback(it->future, &slot->handle, future_done,
                                      slot);
    return it->queue ? coil_queue_waiter_enter(&slot->waiter, granted) : 0;
}

/* Try all cases, beginning with a random one; if none is possible, wait. */
static void start(struct coil_future *f)
{
    struct selection *s = selection_of(f);
    size_t first = random_below(s->n);
    for (size_t k = 0; k < s->n; k++) {
        size_t i = (first + k) % s->n;
        int err = try_case(&s->slots[i], &s->cases[i]);
        if (err == -EAGAIN)
            continue;
        if (err == -ENOMEM)
            coil_future_set_error(f, err);
        else
            finish(&s->slots[i], err);
        return;
    }
    for (size_t i = 0; i < s->n; i++) {
        int err = enter_case(&s->slots[i], &s->cases[i]);
        if (err < 0) {
            leave_all(s);
            coil_future_set_error(f, err);
            return;
        }
    }
}

static void cancel(struct coil_future *f)
{
    leave_all(selection_of(f));
    coil_future_set_error(f, -ECANCELED);
}

/* No await took the result: put the item back. At most one slot holds one. */
static void dispose(struct coil_future *f)
{
    struct selection *s = selection_of(f);
    for (size_t i = 0; i < s->n; i++)
        coil_queue_waiter_put_back(&s->slots[i].waiter);
}

static void free_selection(struct coil_future *f)
{
    struct selection *s = selection_of(f);
    for (size_t i = 0; i < s->n; i++) {
        coil_queue_waiter_taken(&s->slots[i].waiter);
        if (s->slots[i].future)
            coil_future_unref(s->slots[i].future);
    }
    coil_free(s->slots, s->n * sizeof *s->slots);
    coil_custom_free(f);
}

static const struct coil_future_class select_class = {
    .name = "select",
    .start = start,
    .cancel = cancel,
    .free = free_selection,
    .dispose = dispose,
};

/* A future that has not begun would never be done: abort. */
static void check_cases(const char *function, const struct coil_case *cases,
                        size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (cases[i].future)
            coili_check_started(cases[i].future, function, "case", i);
}

/* Allocates all memory of the wait, so that only a put may fail later. */
struct coil_future *coil_select(struct coil_case *cases, size_t n)
{
    coili_check(cases || !n, "coil_select: cases is NULL");
    if (n == 0 || n > INT_MAX)
        return coil_future_from_error(-EINVAL, 0);
    coil_check_lent(cases);
    check_cases("coil_select", cases, n);
    struct selection *s = coil_custom_new(&select_class, sizeof *s);
    if (!s)
        return coil_future_from_nomem();
    struct slot *slots = n > SIZE_MAX / sizeof *slots
                             ? NULL
                             : coil_alloc(n * sizeof *slots);
    if (!slots) {
        coil_custom_free(s);
        return coil_future_from_nomem();
    }
    memset(slots, 0, n * sizeof *slots);
    s->cases = cases;
    s->n = n;
    s->slots = slots;
    for (size_t i = 0; i < n; i++) {
        slots[i].selection = s;
        if (cases[i].future)
            slots[i].future = coil_future_ref(cases[i].future);
    }
    return &s->custom.future;
}

/* As start(), without a wait: one slot on the stack serves all cases. */
int coil_select_nowait(struct coil_case *cases, size_t n)
{
    coili_check(cases || !n, "coil_select_nowait: cases is NULL");
    check_cases("coil_select_nowait", cases, n);
    size_t first = n ? random_below(n) : 0;
    for (size_t k = 0; k < n; k++) {
        size_t i = (first + k) % n;
        struct slot slot = { .selection = NULL };
        int err = try_case(&slot, &cases[i]);
        if (err == -EAGAIN)
            continue;
        if (err == -ENOMEM)
            return err;
        cases[i].err = err;
        if (slot.waiter.holds)
            cases[i].item = slot.waiter.item;
        coil_queue_waiter_taken(&slot.waiter);
        return (int)i;
    }
    return -EAGAIN;
}
