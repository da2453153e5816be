// SPDX-License-Identifier: MIT
/*
 * promise.c: a future that is set in one thread and awaited in another.
 *
 *     state       coil_promise_set()            the future is cancelled
 *     ----------  ----------------------------  ----------------------------
 *     PENDING     -> SET, calls the loop        -> ABANDONED, ends at once
 *     SET         aborts                        nothing: the value is coming
 *     ABANDONED   frees the value, false        (it has ended)
 *
 * If a future that has not begun is cancelled when the promise is SET, no call
 * is on its way: the future ends with the value at once.
 *
 * The state changes under the lock. Only the loop's thread uses the future: a
 * value comes to it by a call of the loop's remote. If the loop has closed, the
 * remote refuses the call, and the promise is ABANDONED.
 *
 * The memory has three kinds of references: one of all setters together, which
 * are counted in `setters`; one of the future; one of a call on its way.
 *
 * Lock order: this lock, then the remote's.
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
    pthread_mutex_t lock; /* guards the fields up to `result` */
    enum { PENDING, SET, ABANDONED } state;
    bool was_set; /* coil_promise_set() was called */
    struct coil_result result;
    struct coil_remote *remote;
    struct coil_remote_call call;
    coil_call_fn *free_value;
    struct coil_future *waiting; /* of the loop's thread, as the rest */
    struct coili_list sibling;   /* in this_loop.waiting */
    bool has_future, delivered;
};

/*
 * What belongs to the loop of this thread. It is valid if `remote` is that of
 * the current loop: no other loop, and no forked process, has the same remote.
 */
static _Thread_local struct {
    struct coil_remote *remote;
    struct coili_list waiting; /* promises whose futures wait */
    struct coil_handle at_close;
} this_loop;

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

/* A value that was set, and that no future took over, is freed here. */
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

/* The future that waited, or NULL. */
static struct coil_future *stop_waiting(struct coil_promise *p)
{
    struct coil_future *f = p->waiting;
    p->waiting = NULL;
    coili_list_remove(&p->sibling);
    return f;
}

/* In the loop's thread: the call of coil_promise_set() has arrived. */
static void value_arrived(struct coil_remote_call *call)
{
    struct coil_promise *p = COILI_CONTAINER(call, struct coil_promise, call);
    struct coil_future *f = stop_waiting(p);
    if (f)
        deliver(p, f);
    unref(p);
}

/*
 * The call is queued under the lock, so that SET means for cancel() that the
 * value is going to arrive. The value is freed without the lock, since
 * `free_value` is the user's code.
 */
bool coil_promise_set(struct coil_promise *p, struct coil_result result)
{
    coili_check(p, "coil_promise_set: promise is NULL");
    pthread_mutex_lock(&p->lock);
    coili_check(!p->was_set, "coil_promise_set: the promise is set already");
    p->was_set = true;
    p->result = result;
    bool wanted = p->state == PENDING;
    if (wanted) {
        atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
        p->state = SET;
        if (!coil_remote_call_soon(p->remote, &p->call, value_arrived)) {
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
    coili_check(p, "coil_promise_abandoned: promise is NULL");
    pthread_mutex_lock(&p->lock);
    bool abandoned = p->state == ABANDONED;
    pthread_mutex_unlock(&p->lock);
    return abandoned;
}

struct coil_promise *coil_promise_ref(struct coil_promise *p)
{
    coili_check(p, "coil_promise_ref: promise is NULL");
    atomic_fetch_add_explicit(&p->setters, 1, memory_order_relaxed);
    return p;
}

void coil_promise_unref(struct coil_promise *p)
{
    if (!p ||
        atomic_fetch_sub_explicit(&p->setters, 1, memory_order_acq_rel) > 1)
        return;
    if (!p->was_set)
        coil_promise_set(p, coil_result_error(COIL_EBROKEN));
    unref(p);
}

/* ---- Waiting ---------------------------------------------------------- */

/* True if the promise was PENDING: then no value is going to arrive. */
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
    if (abandon(p)) {
        stop_waiting(p);
        coil_future_set_error(f, -ECANCELED);
    } else if (!coil_future_started(f)) {
        deliver(p, f);
    } /* else the value arrives soon, and ends the future */
}

/*
 * The loop closes: the futures that still wait were detached, and no coroutine
 * is left that awaits them. They end now, since their memory is the loop's.
 */
static void end_detached(void *arg)
{
    struct coili_list *link;
    (void)arg;
    this_loop.remote = NULL;
    while ((link = coili_list_first(&this_loop.waiting))) {
        coili_list_remove(link);
        cancel(COILI_CONTAINER(link, struct coil_promise, sibling)->waiting);
    }
}

static void wait_for(struct coil_promise *p, struct coil_future *f)
{
    if (this_loop.remote != p->remote) {
        this_loop.remote = p->remote;
        coili_list_init(&this_loop.waiting);
        this_loop.at_close = (struct coil_handle){ 0 };
        coil_call_at_close(&this_loop.at_close, end_detached, NULL);
    }
    p->waiting = f;
    coili_list_append(&this_loop.waiting, &p->sibling);
}

static void start(struct coil_future *f)
{
    struct coil_promise *p = promise_of(f);
    pthread_mutex_lock(&p->lock);
    bool set = p->state == SET;
    pthread_mutex_unlock(&p->lock);
    if (set)
        deliver(p, f); /* the call on its way will find no waiting future */
    else
        wait_for(p, f);
}

/* A future that is dropped before it was awaited has not ended: abandon(). */
static void future_free(struct coil_future *f)
{
    struct coil_promise *p = promise_of(f);
    abandon(p);
    coil_custom_free(f);
    unref(p);
}

/* The value was delivered to the future, and was never taken from it. */
static void dispose(struct coil_future *f)
{
    free_value(promise_of(f));
}

static const struct coil_future_class promise_class = {
    .name = "promise",
    .start = start,
    .cancel = cancel,
    .free = future_free,
    .dispose = dispose,
    .cancels_unstarted = true,
};

struct coil_future *coil_promise_future(struct coil_promise *p)
{
    if (!p)
        return coil_future_from_nomem();
    coili_check(coil_remote_is_current(p->remote),
                "coil_promise_future: not in the loop that made it");
    coili_check(!p->has_future,
                "coil_promise_future: a promise has one future");
    struct awaited *a = coil_custom_new(&promise_class, sizeof *a);
    if (!a)
        return coil_future_from_nomem();
    p->has_future = true;
    atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
    a->promise = p;
    return &a->custom.future;
}
