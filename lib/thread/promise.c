// SPDX-License-Identifier: MIT
/*
 * promise.c: set in one thread, awaited in another.
 *
 *     state       coil_promise_set()          the future is cancelled
 *     PENDING     -> SET, called              -> ABANDONED, ends at once
 *     SET         aborts                      no: its value is on the way
 *     ABANDONED   frees the value, false      (it has ended)
 *
 * The state changes under the lock; the future is touched by its loop only, so
 * a loop that has closed is no case of its own: the remote refuses the call.
 * Those who set it are counted together, as one of those that keep the memory:
 * the promise, its future, and a call on its way.
 */
#include <coil/promise.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <coil/remote.h>

#include "base/check.h"
#include "base/list.h"

struct coil_promise {
    atomic_size_t refs, setters;
    pthread_mutex_t lock;
    enum { PENDING, SET, ABANDONED } state; /* guarded by it, as the next */
    bool was_set;
    struct coil_result result;
    struct coil_remote *remote;
    struct coil_remote_call call;
    coil_call_fn *free_value;
    struct coil_future *waiting; /* the loop's, as the rest */
    struct coili_list sibling;   /* of those that wait in this loop */
    bool has_future, delivered;
};

/* Of this thread's loop. A remote is that of one loop, in one process. */
static _Thread_local struct {
    struct coil_remote *remote;
    struct coili_list waiting;
    struct coil_handle at_close;
} ours;

struct awaited {
    struct coil_custom custom;
    struct coil_promise *promise;
};

static struct coil_promise *promise_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct awaited, custom.future)->promise;
}

static void free_value(struct coil_promise *p)
{
    if (p->result.kind == COIL_RESULT_POINTER && p->free_value)
        p->free_value(p->result.value.p);
}

static void unref(struct coil_promise *p)
{
    if (atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (p->state == SET && !p->delivered)
        free_value(p);
    coil_remote_unref(p->remote);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

struct coil_promise *coil_promise_new(coil_call_fn *free_fn)
{
    struct coil_remote *remote = coil_remote_current();
    struct coil_promise *p = remote ? calloc(1, sizeof *p) : NULL;
    if (!p)
        return NULL;
    atomic_init(&p->refs, 1);
    atomic_init(&p->setters, 1);
    pthread_mutex_init(&p->lock, NULL);
    p->remote = coil_remote_ref(remote);
    p->free_value = free_fn;
    return p;
}

/* ---- Setting ---------------------------------------------------------- */

static void deliver(struct coil_promise *p, struct coil_future *f)
{
    p->delivered = true;
    coil_future_set_result(f, p->result);
}

static struct coil_future *stop_waiting(struct coil_promise *p)
{
    struct coil_future *f = p->waiting;
    p->waiting = NULL;
    coili_list_remove(&p->sibling);
    return f;
}

static void arrived(struct coil_remote_call *call)
{
    struct coil_promise *p = COILI_CONTAINER(call, struct coil_promise, call);
    struct coil_future *f = stop_waiting(p);
    if (f)
        deliver(p, f);
    unref(p);
}

bool coil_promise_set(struct coil_promise *p, struct coil_result result)
{
    pthread_mutex_lock(&p->lock);
    coili_check(!p->was_set, "a promise is set twice");
    p->was_set = true;
    p->result = result;
    bool wanted = p->state == PENDING;
    if (wanted) {
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
        p->state = SET;
        if (!coil_remote_call_soon(p->remote, &p->call, arrived)) {
            atomic_fetch_sub_explicit(&p->refs, 1, memory_order_relaxed);
            p->state = ABANDONED;
            wanted = false;
        }
    }
    pthread_mutex_unlock(&p->lock);
    if (!wanted)
        free_value(p);
    return wanted;
}

bool coil_promise_abandoned(struct coil_promise *p)
{
    pthread_mutex_lock(&p->lock);
    bool abandoned = p->state == ABANDONED;
    pthread_mutex_unlock(&p->lock);
    return abandoned;
}

struct coil_promise *coil_promise_ref(struct coil_promise *p)
{
    atomic_fetch_add_explicit(&p->setters, 1, memory_order_relaxed);
    return p;
}

void coil_promise_unref(struct coil_promise *p)
{
    if (atomic_fetch_sub_explicit(&p->setters, 1, memory_order_acq_rel) > 1)
        return;
    if (!p->was_set)
        coil_promise_set(p, coil_result_error(COIL_EBROKEN));
    unref(p);
}

/* ---- Waiting ---------------------------------------------------------- */

/* True if it is certain now that nobody waits. */
static bool abandon(struct coil_promise *p)
{
    pthread_mutex_lock(&p->lock);
    bool pending = p->state == PENDING;
    if (pending)
        p->state = ABANDONED;
    pthread_mutex_unlock(&p->lock);
    return pending;
}

static void cancel(struct coil_future *f)
{
    struct coil_promise *p = promise_of(f);
    if (!abandon(p))
        return; /* it arrives soon */
    stop_waiting(p);
    coil_future_set_error(f, -ECANCELED);
}

/* The loop closes: what still waits was detached. It has no memory any more. */
static void end_all(void *arg)
{
    struct coili_list *link;
    (void)arg;
    ours.remote = NULL;
    while ((link = coili_list_first(&ours.waiting))) {
        coili_list_remove(link);
        cancel(COILI_CONTAINER(link, struct coil_promise, sibling)->waiting);
    }
}

static void wait_for(struct coil_promise *p, struct coil_future *f)
{
    if (ours.remote != p->remote) {
        ours.remote = p->remote;
        coili_list_init(&ours.waiting);
        ours.at_close = (struct coil_handle){ 0 };
        coil_call_at_close(&ours.at_close, end_all, NULL);
    }
    p->waiting = f;
    coili_list_append(&ours.waiting, &p->sibling);
}

static void start(struct coil_future *f)
{
    struct coil_promise *p = promise_of(f);
    pthread_mutex_lock(&p->lock);
    bool set = p->state == SET;
    pthread_mutex_unlock(&p->lock);
    if (set)
        deliver(p, f); /* the call finds nobody waiting */
    else
        wait_for(p, f);
}

static void gone(struct coil_future *f)
{
    struct coil_promise *p = promise_of(f);
    abandon(p);
    coil_custom_free(f);
    unref(p);
}

/* It was delivered, but nobody took it. */
static void dispose(struct coil_future *f)
{
    free_value(promise_of(f));
}

static const struct coil_future_class promise_class = {
    .name = "promise",
    .start = start,
    .cancel = cancel,
    .free = gone,
    .dispose = dispose,
};

struct coil_future *coil_promise_future(struct coil_promise *p)
{
    if (!p)
        return coil_future_from_nomem();
    coili_check(coil_remote_is_current(p->remote),
                "a promise is awaited in the loop that made it");
    coili_check(!p->has_future, "a promise has one future");
    struct awaited *a = coil_custom_new(&promise_class, sizeof *a);
    if (!a)
        return coil_future_from_nomem();
    p->has_future = true;
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    a->promise = p;
    return &a->custom.future;
}
