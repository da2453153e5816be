// SPDX-License-Identifier: MIT
/*
 * remote_task.c: what a loop does for another thread.
 *
 *     any thread                 the loop
 *     coil_remote_spawn() -- call ---> arrived(): make(arg), a task
 *                                   |
 *     coil_remote_task_cancel() ----> cancel_arrived(): the task is cancelled
 *                                   |
 *     coil_remote_task_join() <------ finish(): result, callback
 *
 * Posts arrive in order, so a cancellation finds the task, or that its request
 * was seen before there was one. Exactly one of three finishes the task: its
 * task's end, arrived() if there is to be no task, coil_remote_spawn() if the
 * loop has closed.
 */
#include <coil/remote_task.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include <coil/error.h>
#include <coil/future.h>
#include <coil/task.h>

#include "base/check.h"
#include "base/list.h"
#include "base/time.h"

struct coil_remote_task {
    atomic_size_t refs;
    pthread_mutex_t lock;
    pthread_cond_t finished;
    bool done, taken, cancelled; /* guarded by it, as the next three */
    struct coil_result result;
    coil_call_fn *on_done;
    void *on_done_arg;
    struct coil_remote *remote;
    struct coil_remote_job what;
    struct coil_remote_call call, cancel_call;
    struct coil_task *task; /* the loop's, as the next */
    struct coil_handle handle;
};

struct coil_remote_task *coil_remote_task_ref(struct coil_remote_task *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void coil_remote_task_unref(struct coil_remote_task *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (t->result.kind == COIL_RESULT_POINTER && !t->taken &&
        t->what.free_result)
        t->what.free_result(t->result.value.p);
    coil_remote_unref(t->remote);
    pthread_cond_destroy(&t->finished);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- The loop --------------------------------------------------------- */

static void free_arg(const struct coil_remote_job *what)
{
    if (what->free_arg)
        what->free_arg(what->arg);
}

static void finish(struct coil_remote_task *t, struct coil_result result)
{
    free_arg(&t->what);
    pthread_mutex_lock(&t->lock);
    t->result = result;
    t->done = true;
    coil_call_fn *fn = t->on_done;
    void *arg = t->on_done_arg;
    pthread_cond_broadcast(&t->finished);
    pthread_mutex_unlock(&t->lock);
    if (fn)
        fn(arg);
    coil_remote_task_unref(t);
}

static void ended(void *arg)
{
    struct coil_remote_task *t = arg;
    struct coil_result r = coil_future_result(coil_task_future(t->task));
    coil_task_drop(&t->task);
    finish(t, r);
}

/* 0, or why there is to be no task. */
static int refusal(struct coil_remote_task *t)
{
    pthread_mutex_lock(&t->lock);
    bool cancelled = t->cancelled;
    pthread_mutex_unlock(&t->lock);
    if (cancelled)
        return -ECANCELED;
    return coil_loop_closing(coil_loop_current()) ? COIL_ECLOSED : 0;
}

static void arrived(struct coil_remote_call *call)
{
    struct coil_remote_task *t = COILI_CONTAINER(call, struct coil_remote_task,
                                                 call);
    int err = refusal(t);
    struct coil_future *f = err ? NULL : t->what.make(t->what.arg);
    if (!f) {
        finish(t, coil_result_error(err ? err : -ENOMEM));
        return;
    }
    t->task = coil_spawn(f);
    coil_future_add_done_callback(coil_task_future(t->task), &t->handle, ended,
                                  t);
}

static void cancel_arrived(struct coil_remote_call *call)
{
    struct coil_remote_task *t = COILI_CONTAINER(call, struct coil_remote_task,
                                                 cancel_call);
    if (t->task)
        coil_task_cancel(t->task);
    coil_remote_task_unref(t);
}

/* ---- Other threads ---------------------------------------------------- */

static void cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attr);
    pthread_condattr_destroy(&attr);
}

struct coil_remote_task *coil_remote_spawn(struct coil_remote *remote,
                                           const struct coil_remote_job *what)
{
    struct coil_remote_task *t = calloc(1, sizeof *t);
    if (!t) {
        free_arg(what);
        return NULL;
    }
    atomic_init(&t->refs, 2); /* the caller's, and that of finish() */
    pthread_mutex_init(&t->lock, NULL);
    cond_init(&t->finished);
    t->remote = coil_remote_ref(remote);
    t->what = *what;
    if (!coil_remote_call_soon(remote, &t->call, arrived))
        finish(t, coil_result_error(COIL_ECLOSED));
    return t;
}

/* Locked. */
static int wait_until(struct coil_remote_task *t, int64_t timeout)
{
    if (timeout == COIL_NEVER) {
        while (!t->done)
            pthread_cond_wait(&t->finished, &t->lock);
        return 0;
    }
    int64_t at = coili_deadline(coil_now(), timeout);
    struct timespec deadline = { .tv_sec = at / 1000000000,
                                 .tv_nsec = at % 1000000000 };
    while (!t->done)
        if (pthread_cond_timedwait(&t->finished, &t->lock, &deadline))
            return t->done ? 0 : -ETIMEDOUT;
    return 0;
}

/* A thread that is cancelled meanwhile leaves no lock behind. */
static void unlock(void *lock)
{
    pthread_mutex_unlock(lock);
}

int coil_remote_task_join(struct coil_remote_task *t, int64_t timeout,
                          struct coil_result *out)
{
    pthread_mutex_lock(&t->lock);
    coili_check(t->done || timeout <= 0 || !coil_remote_is_current(t->remote),
                "a loop's thread waits for its own loop");
    int err = t->done ? 0 : -ETIMEDOUT;
    pthread_cleanup_push(unlock, &t->lock);
    if (!t->done && timeout > 0)
        err = wait_until(t, timeout);
    pthread_cleanup_pop(0);
    if (err == 0 && out) {
        *out = t->result;
        t->taken = true;
    }
    pthread_mutex_unlock(&t->lock);
    return err;
}

bool coil_remote_task_done(struct coil_remote_task *t)
{
    pthread_mutex_lock(&t->lock);
    bool done = t->done;
    pthread_mutex_unlock(&t->lock);
    return done;
}

bool coil_remote_task_cancel(struct coil_remote_task *t)
{
    pthread_mutex_lock(&t->lock);
    bool done = t->done;
    bool first = !done && !t->cancelled;
    t->cancelled = t->cancelled || first;
    pthread_mutex_unlock(&t->lock);
    if (first) {
        coil_remote_task_ref(t);
        /* Refused: the loop has closed, and its task has ended. */
        if (!coil_remote_call_soon(t->remote, &t->cancel_call, cancel_arrived))
            coil_remote_task_unref(t);
    }
    return !done;
}

void coil_remote_task_on_done(struct coil_remote_task *t, coil_call_fn *fn,
                              void *arg)
{
    pthread_mutex_lock(&t->lock);
    coili_check(!t->on_done, "a task has one callback");
    t->on_done = fn;
    t->on_done_arg = arg;
    bool done = t->done;
    pthread_mutex_unlock(&t->lock);
    if (done)
        fn(arg);
}
