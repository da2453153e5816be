// SPDX-License-Identifier: MIT
/*
 * as_completed.c: tasks in the order in which they end.
 *
 * A callback of each task appends it to a list, from which the waiters are
 * served. The tasks are not owned: when a reader stops, times out or is
 * cancelled, only the callbacks are removed.
 *
 * Invariant: no waiter waits while there is something to give: a task, a
 * time-out in place of a task, or NULL, which says that there are no more. Of
 * tasks and time-outs n are given in all, so a loop of n iterations ends.
 */
#include <coil/as_completed.h>

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <coil/coroutine.h>
#include <coil/loop.h>

#include "base/check.h"
#include "base/list.h"

struct coili_completion {
    struct coil_handle handle;
    struct coil_completions *c;
    struct coili_completion *next;
    struct coil_task *task;
    bool pending;
};

/* ---- The next one ----------------------------------------------------- */

struct next {
    struct coil_custom custom;
    struct coil_completions *c;
    struct coil_waiter waiter;
};

static struct next *next_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct next, custom.future);
}

/* True if a reader need not wait. */
static bool can_serve(const struct coil_completions *c)
{
    return c->first || c->late || c->given == c->n;
}

/* Give a task, a time-out or NULL, in this order. */
static void serve(struct next *next)
{
    struct coil_completions *c = next->c;
    struct coil_future *f = &next->custom.future;
    struct coili_completion *it = c->first;
    if (it) {
        c->first = it->next;
        c->given++;
        coil_future_set_pointer(f, it->task);
    } else if (c->given < c->n) {
        c->given++;
        coil_future_set_error(f, -ETIMEDOUT);
    } else {
        coil_future_set_pointer(f, NULL);
    }
}

static void granted(struct coil_waiter *waiter, void *value)
{
    (void)value;
    serve(COILI_CONTAINER(waiter, struct next, waiter));
}

static void serve_waiters(struct coil_completions *c)
{
    while (can_serve(c) && coil_waiters_wake(&c->waiters))
        continue;
}

static void next_start(struct coil_future *f)
{
    struct next *next = next_of(f);
    if (can_serve(next->c))
        serve(next);
    else
        coil_waiters_enter(&next->c->waiters, &next->waiter, granted);
}

static void next_cancel(struct coil_future *f)
{
    coil_waiters_leave(&next_of(f)->waiter);
    coil_future_set_error(f, -ECANCELED);
}

struct coil_future *coil_completions_next(struct coil_completions *c)
{
    coili_check(c, "coil_completions_next: c is NULL");
    static const struct coil_future_class cls = {
        .name = "as_completed",
        .start = next_start,
        .cancel = next_cancel,
    };
    struct next *next = coil_custom_new(&cls, sizeof *next);
    if (!next)
        return coil_future_from_nomem();
    next->c = c;
    return &next->custom.future;
}

size_t coil_completions_count(const struct coil_completions *c)
{
    return c->n - c->given;
}

/* ---- Recording the order ---------------------------------------------- */

static void append(struct coili_completion *it)
{
    struct coil_completions *c = it->c;
    if (c->first)
        c->last->next = it;
    else
        c->first = it;
    c->last = it;
}

static void task_done(void *arg)
{
    struct coili_completion *it = arg;
    it->pending = false;
    append(it);
    serve_waiters(it->c);
}

static void unwatch(struct coil_completions *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct coili_completion *it = &c->all[i];
        if (it->pending)
            coil_future_remove_done_callback(coil_task_future(it->task),
                                             &it->handle);
        it->pending = false;
    }
}

static void timed_out(void *arg)
{
    struct coil_completions *c = arg;
    unwatch(c);
    c->late = true;
    serve_waiters(c);
}

/* Append the task to the list, or add a callback that does it later. */
static void watch(struct coili_completion *it, struct coil_task *task)
{
    it->task = task;
    coil_future_ref(coil_task_future(task)); /* may outlive its spawner */
    if (coil_task_done(task)) {
        append(it);
        return;
    }
    it->pending = true;
    coil_future_add_done_callback(coil_task_future(task), &it->handle,
                                  task_done, it);
}

/* Allocate first: after the first watch() nothing may fail. */
int coil_completions_init(struct coil_completions *c,
                          struct coil_task *const *tasks, size_t n,
                          int64_t timeout_ns)
{
    coili_check(c, "coil_completions_init: c is NULL");
    coili_check_array(tasks, n, "coil_completions_init", "tasks");
    *c = (struct coil_completions){ .n = n };
    coil_waiters_init(&c->waiters);
    if (n < SIZE_MAX / sizeof *c->all)
        c->all = coil_alloc((n + 1) * sizeof *c->all);
    if (!c->all)
        return -ENOMEM;
    if (timeout_ns != COIL_NEVER &&
        coil_call_later(&c->timer, timeout_ns, timed_out, c) < 0) {
        coil_free(c->all, (n + 1) * sizeof *c->all);
        c->all = NULL;
        return -ENOMEM;
    }
    memset(c->all, 0, n * sizeof *c->all);
    for (size_t i = 0; i < n; i++) {
        c->all[i].c = c;
        watch(&c->all[i], tasks[i]);
    }
    return 0;
}

void coil_completions_fini(struct coil_completions *c)
{
    if (!c->all)
        return;
    coil_handle_cancel(&c->timer);
    unwatch(c);
    for (size_t i = 0; i < c->n; i++)
        coil_future_unref(coil_task_future(c->all[i].task));
    coil_free(c->all, (c->n + 1) * sizeof *c->all);
    c->all = c->first = NULL;
    c->given = c->n;
    serve_waiters(c);
}

/* ---- Sources of FOR_AWAIT --------------------------------------------- */

struct completions_items {
    struct coil_coro coro;
    struct coil_completions *c;
    struct coil_task *task;
};

static void completions_items(struct coil_coro *co)
{
    COIL_ASYNC(completions_items, my) {
        for (;;) {
            COIL_AWAIT_TO(my->task, coil_completions_next(my->c));
            if (!my->task)
                break;
            COIL_YIELD(my->task);
        }
    }
}

struct coil_future *coil_completions_items(struct coil_completions *c)
{
    coili_check(c, "coil_completions_items: c is NULL");
    return COIL_CALL(completions_items, .c = c);
}

struct as_completed {
    struct coil_coro coro;
    struct coil_task *const *tasks;
    size_t n;
    int64_t timeout_ns;
    struct coil_completions completions;
    struct coil_task *task;
    int err;
};

/* As completions_items(), with completions of its own. */
static void as_completed(struct coil_coro *co)
{
    COIL_ASYNC(as_completed, my) {
        my->err = coil_completions_init(&my->completions, my->tasks, my->n,
                                        my->timeout_ns);
        if (my->err)
            COIL_FAIL(my->err);
        for (;;) {
            COIL_AWAIT_TO(my->task, coil_completions_next(&my->completions));
            if (!my->task)
                break;
            COIL_YIELD(my->task);
        }

    COIL_FINALLY;
        coil_completions_fini(&my->completions);
    }
}

struct coil_future *coil_as_completed_within(struct coil_task *const *tasks,
                                             size_t n, int64_t timeout_ns)
{
    coili_check(tasks || !n, "coil_as_completed: tasks is NULL");
    return COIL_CALL(as_completed, .tasks = tasks, .n = n,
                     .timeout_ns = timeout_ns);
}

struct coil_future *coil_as_completed(struct coil_task *const *tasks, size_t n)
{
    return coil_as_completed_within(tasks, n, COIL_NEVER);
}
