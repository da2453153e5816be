// SPDX-License-Identifier: MIT
/*
 * remote_task.c: a task in a loop, started and awaited by another thread.
 *
 *     any thread                         the loop's thread
 *     coil_remote_spawn() ------ call -> begin_task(): spawns make(arg)
 *                                                |
 *     coil_remote_task_cancel() - call -> cancel_task()
 *                                                |
 *     coil_remote_task_join() <--------- finish(): stores the result, wakes
 *                                        joining threads, calls the callback
 *
 * The calls of a remote arrive in order. So when cancel_task() runs, either the
 * task has been spawned, or begin_task() saw `cancelled` and did not spawn it.
 *
 * finish() is called exactly once: by task_ended(), by begin_task() if it does
 * not spawn the task, or by coil_remote_spawn() if the loop has closed.
 *
 * Lock order: this lock, then none. finish() calls the user's callback, and
 * coil_remote_task_cancel() the remote, after they have released it.
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
    atomic_size_t refs;   /* of the users; of finish(); of a cancel_call */
    pthread_mutex_t lock; /* guards the fields up to `on_done_arg` */
    pthread_cond_t finished;
    bool done;      /* `result` is set */
    bool taken;     /* a thread has got `result` */
    bool cancelled; /* coil_remote_task_cancel() was called */
    struct coil_result result;
    coil_call_fn *on_done;
    void *on_done_arg;
    struct coil_remote *remote;
    struct coil_remote_job job;
    struct coil_remote_call call, cancel_call;
    struct coil_task *task;    /* of the loop's thread, as the next */
    struct coil_handle handle; /* for task_ended() */
};

struct coil_remote_task *coil_remote_task_ref(struct coil_remote_task *t)
{
    coili_check(t, "coil_remote_task_ref: task is NULL");
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void coil_remote_task_unref(struct coil_remote_task *t)
{
    if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (t->result.kind == COIL_RESULT_POINTER && !t->taken &&
        t->job.free_result)
        t->job.free_result(t->result.value.p);
    coil_remote_unref(t->remote);
    pthread_cond_destroy(&t->finished);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ---- The loop --------------------------------------------------------- */

static void free_arg(const struct coil_remote_job *job)
{
    if (job->free_arg)
        job->free_arg(job->arg);
}

/*
 * Called once. The callback is called without the lock: it may use the remote
 * task, and drop the last reference but one, which is dropped here.
 */
static void finish(struct coil_remote_task *t, struct coil_result result)
{
    free_arg(&t->job);
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

static void task_ended(void *arg)
{
    struct coil_remote_task *t = arg;
    struct coil_result r = coil_future_result(coil_task_future(t->task));
    coil_task_drop(&t->task);
    finish(t, r);
}

/* 0, or the error for which the task is not spawned. */
static int refusal(struct coil_remote_task *t)
{
    pthread_mutex_lock(&t->lock);
    bool cancelled = t->cancelled;
    pthread_mutex_unlock(&t->lock);
    if (cancelled)
        return -ECANCELED;
    return coil_loop_closing(coil_loop_current()) ? COIL_ECLOSED : 0;
}

/* In the loop's thread: `call` of coil_remote_spawn() has arrived. */
static void begin_task(struct coil_remote_call *call)
{
    struct coil_remote_task *t = COILI_CONTAINER(call, struct coil_remote_task,
                                                 call);
    int err = refusal(t);
    struct coil_future *f = err ? NULL : t->job.make(t->job.arg);
    if (!f) {
        finish(t, coil_result_error(err ? err : -ENOMEM));
        return;
    }
    t->task = coil_spawn(f);
    coil_future_add_done_callback(coil_task_future(t->task), &t->handle,
                                  task_ended, t);
}

/* In the loop's thread: `cancel_call` has arrived. Drops its reference. */
static void cancel_task(struct coil_remote_call *call)
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

/* If the loop has closed, the remote task is finished here, in this thread. */
struct coil_remote_task *coil_remote_spawn(struct coil_remote *remote,
                                           const struct coil_remote_job *job)
{
    coili_check(remote, "coil_remote_spawn: remote is NULL");
    coili_check(job, "coil_remote_spawn: job is NULL");
    coili_check(job->make, "coil_remote_spawn: job->make is NULL");
    struct coil_remote_task *t = calloc(1, sizeof *t);
    if (!t) {
        free_arg(job);
        return NULL;
    }
    atomic_init(&t->refs, 2); /* the caller's, and that of finish() */
    pthread_mutex_init(&t->lock, NULL);
    cond_init(&t->finished);
    t->remote = coil_remote_ref(remote);
    t->job = *job;
    if (!coil_remote_call_soon(remote, &t->call, begin_task))
        finish(t, coil_result_error(COIL_ECLOSED));
    return t;
}

/* Locked. Wait until the task is done; at most `timeout`, a positive time. */
static int wait_done(struct coil_remote_task *t, int64_t timeout)
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

/* The cleanup of a thread that is cancelled while it waits. */
static void unlock(void *lock)
{
    pthread_mutex_unlock(lock);
}

/*
 * The loop's own thread would wait for itself if the task is not done: it
 * aborts, unless it only asks. pthread_cond_wait() is a cancellation point, so
 * the lock has a cleanup; finish() would wait for the lock for ever otherwise.
 */
int coil_remote_task_join(struct coil_remote_task *t, int64_t timeout,
                          struct coil_result *out)
{
    coili_check(t, "coil_remote_task_join: task is NULL");
    pthread_mutex_lock(&t->lock);
    coili_check(t->done || timeout <= 0 || !coil_remote_is_current(t->remote),
                "coil_remote_task_join: in the task's own loop");
    int err = t->done ? 0 : -ETIMEDOUT;
    pthread_cleanup_push(unlock, &t->lock);
    if (!t->done && timeout > 0)
        err = wait_done(t, timeout);
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

/*
 * Only the first request makes the call, since there is one `cancel_call`. It
 * holds a reference until it has arrived.
 */
bool coil_remote_task_cancel(struct coil_remote_task *t)
{
    coili_check(t, "coil_remote_task_cancel: task is NULL");
    pthread_mutex_lock(&t->lock);
    bool done = t->done;
    bool first = !done && !t->cancelled;
    t->cancelled = t->cancelled || first;
    pthread_mutex_unlock(&t->lock);
    if (first) {
        coil_remote_task_ref(t);
        /* Refused: the loop has closed, and so the task has ended. */
        if (!coil_remote_call_soon(t->remote, &t->cancel_call, cancel_task))
            coil_remote_task_unref(t);
    }
    return !done;
}

void coil_remote_task_on_done(struct coil_remote_task *t, coil_call_fn *fn,
                              void *arg)
{
    coili_check(t, "coil_remote_task_on_done: task is NULL");
    pthread_mutex_lock(&t->lock);
    coili_check(!t->on_done,
                "coil_remote_task_on_done: a task has one callback");
    t->on_done = fn;
    t->on_done_arg = arg;
    bool done = t->done;
    pthread_mutex_unlock(&t->lock);
    if (done)
        fn(arg);
}
