// SPDX-License-Identifier: MIT
/*
 * remote.c: calls into a loop from other threads, also when it has closed.
 *
 *     any thread                             the loop's thread
 *     coil_remote_call_soon(a): queue a    --- wakes ---.
 *     coil_remote_call_soon(b): queue a b               '--> make calls: a, b
 *
 * Only the call that finds the queue empty wakes the loop. Waking is a system
 * call, and the loop's thread wants the remote's lock as soon as it is awake.
 * So the calling thread wakes the loop after it has released the lock; with the
 * lock held, a round trip through a channel takes three times as long. The
 * thread is counted in `wakers` meanwhile, because it uses the loop: a loop
 * that closes waits until no thread is counted.
 *
 * The memory of a remote is counted, and it may outlive the loop. When the loop
 * has closed `loop` is NULL, and calls are refused: the calling thread then
 * frees what belongs to the call.
 *
 * Lock order: a channel's, promise's or executor's lock, this lock, the loop's.
 *
 * A child process of fork() has neither the loop nor its threads: its thread
 * has no remote until it makes a loop.
 */
#include <coil/remote.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <coil/io.h>

#include "base/check.h"

struct coil_remote {
    atomic_size_t refs;
    atomic_size_t wakers;   /* threads that are about to wake `loop` */
    pthread_mutex_t lock;   /* guards the fields from `loop` to `end` */
    pthread_cond_t queued;  /* for a loop that closes: a call was queued */
    struct coil_loop *loop; /* NULL: it has closed */
    struct coil_remote_call *first; /* the queue of calls, */
    struct coil_remote_call **end;  /* and where the next one is linked */
    size_t kept_open;               /* of the loop's thread, as the next two */
    struct coil_handle handle;      /* for run_queue() */
    struct coil_handle at_close;
};

static _Thread_local struct coil_remote *remote_current;

static void forget_remote(void)
{
    remote_current = NULL;
}

static void guard_forks(void)
{
    pthread_atfork(NULL, NULL, forget_remote);
}

struct coil_remote *coil_remote_ref(struct coil_remote *remote)
{
    coili_check(remote, "coil_remote_ref: remote is NULL");
    atomic_fetch_add_explicit(&remote->refs, 1, memory_order_relaxed);
    return remote;
}

void coil_remote_unref(struct coil_remote *remote)
{
    if (!remote ||
        atomic_fetch_sub_explicit(&remote->refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_cond_destroy(&remote->queued);
    pthread_mutex_destroy(&remote->lock);
    free(remote);
}

bool coil_remote_is_current(const struct coil_remote *remote)
{
    return remote == remote_current;
}

/* ---- Calling ---------------------------------------------------------- */

/* Locked. Empty the queue. */
static struct coil_remote_call *take_queue(struct coil_remote *remote)
{
    struct coil_remote_call *first = remote->first;
    remote->first = NULL;
    remote->end = &remote->first;
    return first;
}

/* Not locked: a call may queue the next one. */
static void make_calls(struct coil_remote_call *call)
{
    while (call) {
        struct coil_remote_call *next = call->next;
        call->fn(call); /* may free `call` */
        call = next;
    }
}

/* The loop was woken: `handle` has been called. */
static void run_queue(void *arg)
{
    struct coil_remote *remote = arg;
    pthread_mutex_lock(&remote->lock);
    struct coil_remote_call *first = take_queue(remote);
    pthread_mutex_unlock(&remote->lock);
    make_calls(first);
}

/*
 * The thread that finds the queue empty hands `handle` to the loop. The handle
 * is not in use then: run_queue() empties the queue when the loop has called
 * the handle, and close_remote() withdraws it under the lock.
 */
bool coil_remote_call_soon(struct coil_remote *remote,
                           struct coil_remote_call *call,
                           coil_remote_call_fn *fn)
{
    coili_check(remote, "coil_remote_call_soon: remote is NULL");
    coili_check(call, "coil_remote_call_soon: call is NULL");
    coili_check(fn, "coil_remote_call_soon: fn is NULL");
    if (coil_remote_is_current(remote)) /* this step returns before the call */
        coil_check_lent(call);
    call->next = NULL;
    call->fn = fn;
    pthread_mutex_lock(&remote->lock);
    struct coil_loop *loop = remote->loop;
    bool first = loop && !remote->first;
    if (loop) {
        *remote->end = call;
        remote->end = &call->next;
    }
    if (first) {
        atomic_fetch_add_explicit(&remote->wakers, 1, memory_order_relaxed);
        pthread_cond_signal(&remote->queued);
    }
    pthread_mutex_unlock(&remote->lock);
    if (first) {
        coil_call_soon_threadsafe(loop, &remote->handle, run_queue, remote);
        atomic_fetch_sub_explicit(&remote->wakers, 1, memory_order_release);
    }
    return loop != NULL;
}

void coil_remote_keep_open(struct coil_remote *remote)
{
    coili_check(remote, "coil_remote_keep_open: remote is NULL");
    remote->kept_open++;
}

void coil_remote_allow_close(struct coil_remote *remote)
{
    coili_check(remote, "coil_remote_allow_close: remote is NULL");
    coili_check(remote->kept_open > 0,
                "coil_remote_allow_close: the loop is not kept open");
    remote->kept_open--;
}

/* ---- Opening and closing ---------------------------------------------- */

/*
 * Locked, before and after. Wait until no thread is about to wake the loop: it
 * would use the loop, or its handle, after the caller has done with them.
 */
static void wait_for_wakers(struct coil_remote *remote)
{
    while (atomic_load_explicit(&remote->wakers, memory_order_acquire) > 0) {
        pthread_mutex_unlock(&remote->lock);
        sched_yield();
        pthread_mutex_lock(&remote->lock);
    }
}

/*
 * Locked. Empty the queue. The next call finds the queue empty and uses the
 * handle: so the handle is withdrawn while the lock is held.
 */
static struct coil_remote_call *take_last(struct coil_remote *remote)
{
    wait_for_wakers(remote);
    coil_handle_cancel(&remote->handle);
    return take_queue(remote);
}

/*
 * The loop closes: all tasks have ended. Wait for the calls for which the loop
 * is kept open, and make all that come meanwhile. Then the remote refuses
 * calls, and makes those that are queued: a thread that never stops calling
 * cannot keep the loop from closing.
 */
static void close_remote(void *arg)
{
    struct coil_remote *remote = arg;
    pthread_mutex_lock(&remote->lock);
    while (remote->kept_open > 0) {
        while (!remote->first)
            pthread_cond_wait(&remote->queued, &remote->lock);
        struct coil_remote_call *first = take_last(remote);
        pthread_mutex_unlock(&remote->lock);
        make_calls(first);
        pthread_mutex_lock(&remote->lock);
    }
    remote->loop = NULL;
    struct coil_remote_call *first = take_last(remote);
    pthread_mutex_unlock(&remote->lock);
    make_calls(first);
    remote_current = NULL;
    coil_remote_unref(remote);
}

/* The remote of this thread's loop; NULL without memory. */
static struct coil_remote *remote_new(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, guard_forks);
    struct coil_remote *remote = calloc(1, sizeof *remote);
    if (!remote)
        return NULL;
    atomic_init(&remote->refs, 1);
    atomic_init(&remote->wakers, 0);
    pthread_mutex_init(&remote->lock, NULL);
    pthread_cond_init(&remote->queued, NULL);
    remote->loop = coil_loop_current();
    remote->end = &remote->first;
    coil_call_at_close(&remote->at_close, close_remote, remote);
    return remote;
}

struct coil_remote *coil_remote_current(void)
{
    if (!remote_current) {
        coili_check(coil_loop_current(),
                    "this thread has no loop: RUN() makes one");
        remote_current = remote_new();
    }
    return remote_current;
}
