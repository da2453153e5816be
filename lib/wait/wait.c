// SPDX-License-Identifier: MIT
/*
 * wait.c: wait for several tasks or futures. This file and those behind it use
 * public functions of coil only.
 *
 * gather and wait share one type, a watch over n futures, which adds a callback
 * to each and ends when enough of them have ended. A task is watched through
 * its future. The kinds differ only in when they end, and in what a
 * cancellation does:
 *
 *     watch              ends at                   cancelled
 *     gather             the first error, or all   cancels all, ends at once
 *     gather_settled     all                       cancels all, waits for all;
 *                                                  the second time as gather
 *     wait               as its mode says          ends at once
 *
 * A watch holds a reference to each future until the watch is freed. It begins
 * none of them: a callback does not begin a future, only an await does. So
 * gather makes a task of a future that has not begun; for the others it aborts.
 */
#include <coil/wait.h>

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <coil/coroutine.h>

#include "base/check.h"
#include "base/list.h"
#include "cancel_depth.h"

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
    struct watch *watch;        /* NULL: the future has no callback of ours */
    struct coil_future *future; /* counted */
};

struct watch {
    struct coil_custom custom;
    enum watch_kind kind;
    bool cancelled;
    bool cancelling; /* cancel_all() runs now */
    bool again;      /* cancelled a second time */
    bool deferred;   /* `timer` calls cancel_all() in the next pass */
    size_t n, left;
    int64_t timeout_ns;
    struct coil_handle timer; /* the time-out; or calls cancel_all() */
    struct watched *watched; /* n of them */
};

static struct watch *watch_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct watch, custom.future);
}

/* Remove the time-out, and the callbacks that have not been called. */
static void unwatch(struct watch *w)
{
    coil_handle_cancel(&w->timer);
    for (size_t i = 0; w->left > 0 && i < w->n; i++)
        if (w->watched[i].watch)
            coil_future_remove_done_callback(w->watched[i].future,
                                             &w->watched[i].handle);
    w->left = 0;
}

static int64_t count_failed(struct watch *w)
{
    int64_t failed = 0;
    for (size_t i = 0; i < w->n; i++)
        failed += coil_future_error(w->watched[i].future) < 0;
    return failed;
}

static int64_t count_done(struct watch *w)
{
    int64_t done = 0;
    for (size_t i = 0; i < w->n; i++)
        done += coil_future_done(w->watched[i].future);
    return done;
}

/* A gather takes the permits of its futures for the code that awaits it. */
static void take_permits(struct watch *w)
{
    for (size_t i = 0; i < w->n; i++)
        coil_future_error(w->watched[i].future);
}

/* Complete the watch. It may be freed when this returns. */
static void finish(struct watch *w)
{
    struct coil_future *f = &w->custom.future;
    unwatch(w);
    if (w->kind == GATHER && !w->cancelled)
        take_permits(w);
    if (w->cancelled)
        coil_future_set_error(f, -ECANCELED);
    else if (w->kind == GATHER_SETTLED)
        coil_future_set_int(f, count_failed(w));
    else /* coil_wait(): counted() counts again later */
        coil_future_set_int(f, (int64_t)w->n);
}

/* A gather fails with the error of `failed`; the other errors are quiet. */
static void fail(struct watch *w, struct coil_future *failed)
{
    struct coil_future *f = &w->custom.future;
    int err = coil_future_error(failed);
    uint32_t detail = coil_future_detail(failed);
    unwatch(w);
    for (size_t i = 0; i < w->n; i++)
        coil_future_quiet(w->watched[i].future);
    coil_future_set_error_detail(f, err, detail);
}

/* True if `done`, which is done, ends the watch before the others are done. */
static bool decides(const struct watch *w, const struct coil_future *done)
{
    switch (w->kind) {
    case WAIT_FIRST:
        return true;
    case WAIT_EXCEPTION:
        return coil_future_failed(done) && !coil_future_cancelled(done);
    case WAIT_SUCCESS:
        return !coil_future_failed(done);
    default:
        return false;
    }
}

static void future_done(void *arg)
{
    struct watched *it = arg;
    struct watch *w = it->watch;
    it->watch = NULL;
    w->left--;
    if (w->kind == GATHER && coil_future_failed(it->future))
        fail(w, it->future);
    else if (w->left == 0 || decides(w, it->future))
        finish(w);
}

static void timed_out(void *arg)
{
    finish(arg);
}

/* True if enough futures are done, also if their callbacks are still queued. */
static bool enough(const struct watch *w)
{
    size_t done = 0;
    for (size_t i = 0; i < w->n; i++) {
        struct coil_future *future = w->watched[i].future;
        if (!coil_future_done(future))
            continue;
        if (decides(w, future))
            return true;
        done++;
    }
    return done == w->n;
}

/* End at once if enough futures are done; else add callbacks to the others. */
static void watch_start(struct coil_future *f)
{
    struct watch *w = watch_of(f);
    for (size_t i = 0; i < w->n; i++)
        if (coil_future_done(w->watched[i].future))
            w->left--;
    /* A gather fails with the first error in the array. */
    for (size_t i = 0; w->kind == GATHER && i < w->n; i++) {
        struct coil_future *future = w->watched[i].future;
        if (coil_future_failed(future)) {
            fail(w, future);
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
        if (coil_future_done(it->future))
            continue;
        it->watch = w;
        coil_future_add_done_callback(it->future, &it->handle, future_done, it);
    }
}

/* Cancel all futures, and end the watch unless it has to wait for them. */
static void cancel_all(void *arg)
{
    struct watch *w = arg;
    w->deferred = false;
    w->again |= w->cancelled;
    w->cancelling = true;
    for (size_t i = 0; i < w->n; i++) {
        coil_future_quiet(w->watched[i].future);
        w->cancelled |= coil_future_cancel(w->watched[i].future);
    }
    w->cancelling = false;
    /* If all were done already, the watch ends as if it was not cancelled. */
    if (w->cancelled && (w->kind == GATHER || w->again))
        finish(w);
}

/*
 * A wait just ends. A gather cancels its futures; in the next pass if too many
 * gathers are on the C stack.
 */
static void watch_cancel(struct coil_future *f)
{
    struct watch *w = watch_of(f);
    if (w->kind != GATHER && w->kind != GATHER_SETTLED) {
        /* Not cancelled if enough are done, and only callbacks are pending. */
        w->cancelled = !enough(w);
        finish(w);
        return;
    }
    if (w->cancelling || w->deferred) {
        /*
         * One of the futures awaits the task that awaits this gather, so the
         * request came back. The gather must not wait for that future.
         */
        w->again = true;
    } else {
        w->deferred = true; /* until cancel_all() runs */
        coili_cancel_nested(&w->timer, cancel_all, w);
    }
}

static void watch_free(struct coil_future *f)
{
    struct watch *w = watch_of(f);
    for (size_t i = 0; i < w->n; i++)
        coil_future_unref(w->watched[i].future);
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

/* ---- Making a watch --------------------------------------------------- */

/* A watch over n futures, which the caller fills in; NULL: no memory. */
static struct watch *watch_new(enum watch_kind kind, size_t n)
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
    return w;
}

static struct watch *watch_tasks(enum watch_kind kind,
                                 struct coil_task *const *tasks, size_t n)
{
    struct watch *w = watch_new(kind, n);
    for (size_t i = 0; w && i < n; i++)
        w->watched[i].future = coil_future_ref(coil_task_future(tasks[i]));
    return w;
}

static struct watch *watch_futures(enum watch_kind kind,
                                   struct coil_future *const *futures, size_t n)
{
    struct watch *w = watch_new(kind, n);
    for (size_t i = 0; w && i < n; i++)
        w->watched[i].future = coil_future_ref(futures[i]);
    return w;
}

/*
 * Abort if a future is NULL or has not begun: nothing would begin it, and the
 * watch would wait for ever.
 */
static void check_all_started(const char *function,
                              struct coil_future *const *futures, size_t n)
{
    coili_check_array(futures, n, function, "array");
    for (size_t i = 0; i < n; i++)
        coili_check_started(futures[i], function, "element", i);
}

static struct coil_future *future_or_nomem(struct watch *w)
{
    return w ? &w->custom.future : coil_future_from_nomem();
}

/* ---- gather ----------------------------------------------------------- */

struct coil_future *coil_gather_tasks(struct coil_task *const *tasks, size_t n)
{
    coili_check_array(tasks, n, "coil_gather", "array");
    return future_or_nomem(watch_tasks(GATHER, tasks, n));
}

/* Make the future a task, a child of the caller; keep only a reference. */
static struct coil_future *spawn_and_ref(struct coil_future *future)
{
    struct coil_task *task = coil_spawn(future);
    struct coil_future *f = coil_future_ref(coil_task_future(task));
    coil_task_drop(&task);
    return f;
}

/*
 * Share the futures that have begun, and take the others: each of them becomes
 * a task, or stays as it is if it is done, or is discarded without memory.
 */
struct coil_future *coil_gather_futures(struct coil_future *const *futures,
                                        size_t n)
{
    coili_check_array(futures, n, "coil_gather", "array");
    struct watch *w = watch_new(GATHER, n);
    for (size_t i = 0; i < n; i++) {
        struct coil_future *f = futures[i];
        if (coil_future_started(f))
            f = w ? coil_future_ref(f) : NULL;
        else if (!w)
            coil_discard(f);
        else if (!coil_future_done(f))
            f = spawn_and_ref(f);
        if (w)
            w->watched[i].future = f;
    }
    return future_or_nomem(w);
}

struct coil_future *coil_gather_settled_tasks(struct coil_task *const *tasks,
                                              size_t n)
{
    coili_check_array(tasks, n, "coil_gather_settled", "array");
    return future_or_nomem(watch_tasks(GATHER_SETTLED, tasks, n));
}

struct coil_future *
coil_gather_settled_futures(struct coil_future *const *futures, size_t n)
{
    check_all_started("coil_gather_settled", futures, n);
    return future_or_nomem(watch_futures(GATHER_SETTLED, futures, n));
}

/* ---- wait ------------------------------------------------------------- */

static enum watch_kind kind_of_mode(enum coil_wait_mode mode)
{
    static const enum watch_kind kinds[] = {
        [COIL_ALL_COMPLETED] = WAIT_ALL,
        [COIL_FIRST_COMPLETED] = WAIT_FIRST,
        [COIL_FIRST_EXCEPTION] = WAIT_EXCEPTION,
        [COIL_FIRST_SUCCESS] = WAIT_SUCCESS,
    };
    return kinds[mode];
}

struct counted {
    struct coil_coro coro;
    struct coil_future *watch; /* counted */
};

/*
 * A watch ends one pass before the await of it returns, and further futures may
 * end in that pass. So the result is counted when the await has returned.
 */
static void counted(struct coil_coro *co)
{
    COIL_ASYNC(counted, my) {
        COIL_AWAIT(coil_future_ref(my->watch));
        COIL_RETURN(count_done(watch_of(my->watch)));

    COIL_FINALLY;
        coil_future_unref(my->watch);
    }
}

static struct coil_future *count(struct watch *w, int64_t timeout_ns)
{
    if (!w)
        return coil_future_from_nomem();
    w->timeout_ns = timeout_ns;
    struct coil_future *f = COIL_CALL(counted, .watch = &w->custom.future);
    if (coil_future_done(f)) /* no memory */
        coil_future_unref(&w->custom.future);
    return f;
}

struct coil_future *coil_wait_tasks(struct coil_task *const *tasks, size_t n,
                                    enum coil_wait_mode mode,
                                    int64_t timeout_ns)
{
    if (n == 0)
        return coil_future_from_error(-EINVAL, 0);
    coili_check_array(tasks, n, "coil_wait", "array");
    return count(watch_tasks(kind_of_mode(mode), tasks, n), timeout_ns);
}

struct coil_future *coil_wait_futures(struct coil_future *const *futures,
                                      size_t n, enum coil_wait_mode mode,
                                      int64_t timeout_ns)
{
    if (n == 0)
        return coil_future_from_error(-EINVAL, 0);
    check_all_started("coil_wait", futures, n);
    return count(watch_futures(kind_of_mode(mode), futures, n), timeout_ns);
}

/* ---- cancel_and_wait -------------------------------------------------- */

/* Both cancel before they allocate: cancelling must not fail for memory. */
struct coil_future *coil_cancel_and_wait_tasks(struct coil_task *const *tasks,
                                               size_t n)
{
    coili_check_array(tasks, n, "coil_cancel_and_wait", "array");
    for (size_t i = 0; i < n; i++)
        coil_task_cancel(tasks[i]);
    return future_or_nomem(watch_tasks(WAIT_ALL, tasks, n));
}

struct coil_future *
coil_cancel_and_wait_futures(struct coil_future *const *futures, size_t n)
{
    check_all_started("coil_cancel_and_wait", futures, n);
    for (size_t i = 0; i < n; i++)
        coil_future_cancel(futures[i]);
    return future_or_nomem(watch_futures(WAIT_ALL, futures, n));
}
