// SPDX-License-Identifier: MIT
/*
 * wait.c: to wait for several tasks. From here on coil is made of its own
 * public calls.
 *
 * gather and wait are one thing: a watch over n tasks with a callback in each,
 * which ends when enough have ended. What is enough, and what a cancellation
 * does, is all that differs:
 *
 *     watch              ends at                   cancelled
 *     gather             the first error, or all   cancels the tasks, just ends
 *     gather_settled     all                       cancels, waits for all;
 *                                                  the second time as gather
 *     wait               as its mode says          just ends
 */
#include <coil/wait.h>

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <coil/coroutine.h>

#include "check.h"
#include "list.h"

enum watch_kind {
    GATHER,
    GATHER_SETTLED,
    WAIT_ALL,
    WAIT_FIRST,
    WAIT_EXCEPTION,
    WAIT_SUCCESS
};

struct watch;

struct watched {
    struct coil_handle handle;
    struct watch *watch;
    struct coil_task *task;
};

struct watch {
    struct coil_custom custom;
    enum watch_kind kind;
    bool cancelled;
    bool cancelling, again; /* while it cancels its tasks */
    bool deferred;
    size_t n, left;
    int64_t timeout_ns;
    struct coil_handle timer; /* or, deferred, cancels its tasks */
    struct watched *watched; /* n of them */
};

static struct watch *watch_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct watch, custom.future);
}

/* A task that is awaited through here may outlive its spawner. */
static void keep(struct coil_task *task)
{
    coil_future_ref(coil_task_future(task));
}

static void let_go(struct coil_task *task)
{
    coil_future_unref(coil_task_future(task));
}

static void unwatch(struct watch *w)
{
    coil_handle_cancel(&w->timer);
    for (size_t i = 0; i < w->n; i++)
        if (w->watched[i].watch)
            coil_future_remove_done_callback(
                coil_task_future(w->watched[i].task), &w->watched[i].handle);
    w->left = 0;
}

static int64_t count_failed(struct watch *w)
{
    int64_t failed = 0;
    for (size_t i = 0; i < w->n; i++)
        failed += coil_future_error(coil_task_future(w->watched[i].task)) < 0;
    return failed;
}

static int64_t count_done(struct watch *w)
{
    int64_t done = 0;
    for (size_t i = 0; i < w->n; i++)
        done += coil_task_done(w->watched[i].task);
    return done;
}

/* The last act: the future may be gone when it returns. */
static void finish(struct watch *w)
{
    struct coil_future *f = &w->custom.future;
    unwatch(w);
    if (w->cancelled)
        coil_future_set_error(f, -ECANCELED);
    else if (w->kind == GATHER)
        coil_future_set_int(f, (int64_t)w->n);
    else if (w->kind == GATHER_SETTLED)
        coil_future_set_int(f, count_failed(w));
    else
        coil_future_set_int(f, count_done(w));
}

static void fail(struct watch *w, struct coil_future *task)
{
    struct coil_future *f = &w->custom.future;
    int err = coil_future_error(task);
    uint32_t detail = coil_future_detail(task);
    unwatch(w);
    for (size_t i = 0; i < w->n; i++)
        coil_task_quiet(w->watched[i].task);
    coil_future_set_error_detail(f, err, detail);
}

/* Whether this one, which is done, ends the watch before the others do. */
static bool decides(const struct watch *w, const struct coil_future *task)
{
    switch (w->kind) {
    case WAIT_FIRST:
        return true;
    case WAIT_EXCEPTION:
        return coil_future_failed(task) && !coil_future_cancelled(task);
    case WAIT_SUCCESS:
        return !coil_future_failed(task);
    default:
        return false;
    }
}

static void task_done(void *arg)
{
    struct watched *it = arg;
    struct watch *w = it->watch;
    struct coil_future *task = coil_task_future(it->task);
    it->watch = NULL;
    w->left--;
    if (w->kind == GATHER && coil_future_failed(task))
        fail(w, task);
    else if (w->left == 0 || decides(w, task))
        finish(w);
}

static void timed_out(void *arg)
{
    finish(arg);
}

static bool enough(const struct watch *w)
{
    size_t done = 0;
    for (size_t i = 0; i < w->n; i++) {
        struct coil_future *task = coil_task_future(w->watched[i].task);
        if (!coil_future_done(task))
            continue;
        if (decides(w, task))
            return true;
        done++;
    }
    return done == w->n;
}

static void watch_start(struct coil_future *f)
{
    struct watch *w = watch_of(f);
    for (size_t i = 0; i < w->n; i++)
        if (coil_task_done(w->watched[i].task))
            w->left--;
    /* What is done already does not suspend. */
    for (size_t i = 0; w->kind == GATHER && i < w->n; i++) {
        struct coil_future *task = coil_task_future(w->watched[i].task);
        if (coil_future_failed(task)) {
            fail(w, task);
            return;
        }
    }
    if (enough(w)) {
        finish(w);
        return;
    }
    if (w->timeout_ns != COIL_NEVER) {
        int err = coil_call_later(&w->timer, w->timeout_ns, timed_out, w);
        if (err < 0) {
            coil_future_set_error(f, err);
            return;
        }
    }
    for (size_t i = 0; i < w->n; i++) {
        struct watched *it = &w->watched[i];
        if (coil_task_done(it->task))
            continue;
        it->watch = w;
        coil_future_add_done_callback(coil_task_future(it->task), &it->handle,
                                      task_done, it);
    }
}

/* Gathers that cancel one another right now, each on the stack of the one above. */
static _Thread_local unsigned depth;

static void cancel_tasks(void *arg)
{
    struct watch *w = arg;
    w->deferred = false;
    w->again |= w->cancelled;
    w->cancelling = true;
    depth++;
    for (size_t i = 0; i < w->n; i++) {
        coil_task_quiet(w->watched[i].task);
        w->cancelled |= coil_task_cancel(w->watched[i].task);
    }
    depth--;
    w->cancelling = false;
    /* None was left to cancel: then it ends as if nothing had been asked. */
    if (w->cancelled && (w->kind == GATHER || w->again))
        finish(w);
}

static void watch_cancel(struct coil_future *f)
{
    struct watch *w = watch_of(f);
    if (w->kind != GATHER && w->kind != GATHER_SETTLED) {
        w->cancelled = !enough(w); /* some have ended, untold as yet */
        finish(w);
        return;
    }
    if (w->cancelling || w->deferred) {
        /* One of them awaits this gather's owner. */
        w->again = true;
    } else if (depth == COILI_DEPTH_MOST) {
        w->deferred = true;
        coil_call_soon(&w->timer, cancel_tasks, w);
    } else {
        cancel_tasks(w);
    }
}

static void watch_free(struct coil_future *f)
{
    struct watch *w = watch_of(f);
    for (size_t i = 0; i < w->n; i++)
        let_go(w->watched[i].task);
    coil_free(w->watched, w->n * sizeof *w->watched);
    coil_custom_free(f);
}

static const struct coil_future_class gather_class = {
    .name = "gather",
    .start = watch_start,
    .cancel = watch_cancel,
    .free = watch_free,
};

static const struct coil_future_class wait_class = {
    .name = "wait",
    .start = watch_start,
    .cancel = watch_cancel,
    .free = watch_free,
};

static struct watch *watch_new(enum watch_kind kind,
                               struct coil_task *const *tasks, size_t n)
{
    struct watch *w = coil_custom_new(
        kind <= GATHER_SETTLED ? &gather_class : &wait_class, sizeof *w);
    if (!w)
        return NULL;
    w->kind = kind;
    w->timeout_ns = COIL_NEVER;
    w->watched = n > SIZE_MAX / sizeof *w->watched
                     ? NULL
                     : coil_alloc(n * sizeof *w->watched);
    if (!w->watched) {
        coil_custom_free(w);
        return NULL;
    }
    memset(w->watched, 0, n * sizeof *w->watched);
    w->n = w->left = n;
    for (size_t i = 0; tasks && i < n; i++) {
        w->watched[i].task = tasks[i];
        keep(tasks[i]);
    }
    return w;
}

static struct coil_future *future_or_nomem(struct watch *w)
{
    return w ? &w->custom.future : coil_future_nomem();
}

struct coil_future *coil_gather_tasks(struct coil_task *const *tasks, size_t n)
{
    return future_or_nomem(watch_new(GATHER, tasks, n));
}

struct coil_future *coil_gather_settled(struct coil_task *const *tasks,
                                        size_t n)
{
    return future_or_nomem(watch_new(GATHER_SETTLED, tasks, n));
}

struct coil_future *coil_gather_futures(struct coil_future *const *futures,
                                        size_t n)
{
    struct watch *w = watch_new(GATHER, NULL, n);
    for (size_t i = 0; i < n; i++) {
        if (!w) {
            coil_drop(futures[i]);
            continue;
        }
        struct coil_task *task = coil_spawn(futures[i]);
        w->watched[i].task = task;
        keep(task);
        coil_task_drop(&task); /* nobody else knows it */
    }
    return future_or_nomem(w);
}

struct coil_future *coil_wait(struct coil_task *const *tasks, size_t n,
                              enum coil_wait_mode mode, int64_t timeout_ns)
{
    static const enum watch_kind kinds[] = {
        [COIL_ALL_COMPLETED] = WAIT_ALL,
        [COIL_FIRST_COMPLETED] = WAIT_FIRST,
        [COIL_FIRST_EXCEPTION] = WAIT_EXCEPTION,
        [COIL_FIRST_SUCCESS] = WAIT_SUCCESS,
    };
    if (n == 0)
        return coil_future_done_with(-EINVAL, 0);
    struct watch *w = watch_new(kinds[mode], tasks, n);
    if (w)
        w->timeout_ns = timeout_ns;
    return future_or_nomem(w);
}

/* Asked now: that must not fail for want of memory. */
struct coil_future *coil_cancel_and_wait(struct coil_task *const *tasks,
                                         size_t n)
{
    for (size_t i = 0; i < n; i++)
        coil_task_cancel(tasks[i]);
    return future_or_nomem(watch_new(WAIT_ALL, tasks, n));
}
