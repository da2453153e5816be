// SPDX-License-Identifier: MIT
/*
 * remote.c: a loop's door, which stands when the house is gone.
 *
 *     any thread                    the loop's thread
 *     call(a) --> [a] -- wakes --.
 *     call(b) --> [a b]          '--> deliver(): a, b
 *
 * Only the first call of a batch wakes the loop. That is a system call, and who
 * is woken wants the lock first of all: so it is made outside of the lock and
 * counted, and who closes waits for those that make it (a channel there and
 * back takes a third of the time). Then the door is shut: a call is refused,
 * and its owner, who may be the last that knows of it, clears up.
 *
 * A child process of fork() has neither the loop nor its threads: it forgets
 * the remote of its parent.
 */
#include <coil/remote.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"

struct coil_remote {
    atomic_size_t refs;
    atomic_size_t callers; /* who have called, and are to wake the loop */
    pthread_mutex_t lock;
    pthread_cond_t called;  /* for a loop that closes */
    struct coil_loop *loop; /* guarded by it, as all up to `expected`; */
    struct coil_remote_call *first; /* NULL: it has closed */
    struct coil_remote_call **end;
    size_t expected; /* the loop's own */
    struct coil_handle handle, at_close;
};

static _Thread_local struct coil_remote *remote_current;

static void forget(void)
{
    remote_current = NULL;
}

static void guard_forks(void)
{
    pthread_atfork(NULL, NULL, forget);
}

struct coil_remote *coil_remote_ref(struct coil_remote *remote)
{
    atomic_fetch_add_explicit(&remote->refs, 1, memory_order_relaxed);
    return remote;
}

void coil_remote_unref(struct coil_remote *remote)
{
    if (atomic_fetch_sub_explicit(&remote->refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_cond_destroy(&remote->called);
    pthread_mutex_destroy(&remote->lock);
    free(remote);
}

bool coil_remote_is_current(const struct coil_remote *remote)
{
    return remote == remote_current;
}

/* ---- Calling ---------------------------------------------------------- */

static struct coil_remote_call *take(struct coil_remote *remote)
{
    struct coil_remote_call *first = remote->first;
    remote->first = NULL;
    remote->end = &remote->first;
    return first;
}

static void deliver(struct coil_remote_call *call)
{
    while (call) {
        struct coil_remote_call *next = call->next;
        call->fn(call); /* may free it */
        call = next;
    }
}

static void arrived(void *arg)
{
    struct coil_remote *remote = arg;
    pthread_mutex_lock(&remote->lock);
    struct coil_remote_call *first = take(remote);
    pthread_mutex_unlock(&remote->lock);
    deliver(first);
}

bool coil_remote_call_soon(struct coil_remote *remote,
                           struct coil_remote_call *call,
                           coil_remote_call_fn *fn)
{
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
        atomic_fetch_add_explicit(&remote->callers, 1, memory_order_relaxed);
        pthread_cond_signal(&remote->called);
    }
    pthread_mutex_unlock(&remote->lock);
    if (first) {
        coil_call_soon_threadsafe(loop, &remote->handle, arrived, remote);
        atomic_fetch_sub_explicit(&remote->callers, 1, memory_order_release);
    }
    return loop != NULL;
}

void coil_remote_keep_open(struct coil_remote *remote)
{
    remote->expected++;
}

void coil_remote_allow_close(struct coil_remote *remote)
{
    coili_check(remote->expected > 0, "a remote got more than was expected");
    remote->expected--;
}

/* ---- Opening and closing ---------------------------------------------- */

/* Locked, and so that nobody is about to call the loop. */
static void wait_for_callers(struct coil_remote *remote)
{
    while (atomic_load_explicit(&remote->callers, memory_order_acquire) > 0) {
        pthread_mutex_unlock(&remote->lock);
        sched_yield();
        pthread_mutex_lock(&remote->lock);
    }
}

/* What is delivered here may lead to more. */
static void close_remote(void *arg)
{
    struct coil_remote *remote = arg;
    pthread_mutex_lock(&remote->lock);
    wait_for_callers(remote);
    while (remote->first || remote->expected > 0) {
        while (!remote->first)
            pthread_cond_wait(&remote->called, &remote->lock);
        wait_for_callers(remote);
        struct coil_remote_call *first = take(remote);
        /* Inside the lock: whoever calls next wants the handle. */
        coil_handle_cancel(&remote->handle);
        pthread_mutex_unlock(&remote->lock);
        deliver(first);
        pthread_mutex_lock(&remote->lock);
        wait_for_callers(remote);
    }
    remote->loop = NULL;
    pthread_mutex_unlock(&remote->lock);
    remote_current = NULL;
    coil_remote_unref(remote);
}

static struct coil_remote *remote_new(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, guard_forks);
    struct coil_remote *remote = calloc(1, sizeof *remote);
    if (!remote)
        return NULL;
    atomic_init(&remote->refs, 1);
    atomic_init(&remote->callers, 0);
    pthread_mutex_init(&remote->lock, NULL);
    pthread_cond_init(&remote->called, NULL);
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
