// SPDX-License-Identifier: MIT
/*
 * channel.c: a bounded queue of items between threads.
 *
 *     waiting putters --> [ ring of items ] --> waiting getters
 *
 * Invariants, under the lock:
 *   putters wait    only if the ring is full
 *   getters wait    only if it is empty
 * So a newcomer never overtakes a waiter, and each change of the ring grants at
 * most one wait: a new item goes to the first getter; the room that a taken
 * item leaves goes to the first putter, whose item moves into the ring then.
 *
 * A waiter is a field of a future, or is on the stack of a thread that blocks.
 * Once granted it is in no list: a time-out or a cancellation that comes later
 * finds it granted, and the result stands. (Python's Queue wakes a getter that
 * then looks for an item: another getter may have been quicker, and one that is
 * woken and cancelled must wake the next.)
 *
 * How a waiter is told that it was granted: a thread by its condition variable;
 * a future of another thread's loop by a call of the loop's remote; a future of
 * this thread's loop is completed by unlock().
 *
 * Lock order: this lock, then the remote's.
 */
#include <coil/channel.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <coil/coroutine.h>
#include <coil/remote.h>
#include <coil/task.h>

#include "base/check.h"
#include "base/list.h"
#include "base/time.h"

struct coil_channel {
    atomic_size_t refs;
    pthread_mutex_t lock; /* guards what follows */
    struct coili_list putters, getters;
    bool closed;            /* shut down */
    size_t first, n, limit; /* of the ring `items` */
    coil_call_fn *free_item;
    void *items[];
};

struct waiter {
    struct coili_list link; /* in putters or getters, while it waits */
    void *item;             /* to be put; or that it got */
    int err;                /* valid if granted: 0, COIL_ECLOSED, COIL_EEND */
    bool granted;
    struct coil_remote *remote; /* of the loop of a future; or NULL */
    union {
        struct coil_remote_call call; /* a future */
        pthread_cond_t cond;          /* a thread that blocks */
    };
};

/* ---- Life ------------------------------------------------------------- */

/* NULL without memory, also if the size in bytes would overflow. */
struct coil_channel *coil_channel_new(size_t limit, coil_call_fn *free_item)
{
    coili_check(limit > 0, "coil_channel_new: limit is 0: must be at least 1");
    struct coil_channel *ch = NULL;
    if (limit <= (SIZE_MAX - sizeof *ch) / sizeof *ch->items)
        ch = malloc(sizeof *ch + limit * sizeof *ch->items);
    if (!ch)
        return NULL;
    atomic_init(&ch->refs, 1);
    pthread_mutex_init(&ch->lock, NULL);
    coili_list_init(&ch->putters);
    coili_list_init(&ch->getters);
    ch->closed = false;
    ch->first = ch->n = 0;
    ch->limit = limit;
    ch->free_item = free_item;
    return ch;
}

struct coil_channel *coil_channel_ref(struct coil_channel *ch)
{
    atomic_fetch_add_explicit(&ch->refs, 1, memory_order_relaxed);
    return ch;
}

static void push(struct coil_channel *ch, void *item)
{
    size_t at = ch->first + ch->n++;
    ch->items[at < ch->limit ? at : at - ch->limit] = item;
}

static void push_front(struct coil_channel *ch, void *item)
{
    ch->first = ch->first > 0 ? ch->first - 1 : ch->limit - 1;
    ch->items[ch->first] = item;
    ch->n++;
}

static void *pop(struct coil_channel *ch)
{
    void *item = ch->items[ch->first];
    ch->first = ch->first + 1 < ch->limit ? ch->first + 1 : 0;
    ch->n--;
    return item;
}

void coil_channel_unref(struct coil_channel *ch)
{
    if (!ch ||
        atomic_fetch_sub_explicit(&ch->refs, 1, memory_order_acq_rel) > 1)
        return;
    while (ch->n > 0) {
        void *item = pop(ch);
        if (ch->free_item)
            ch->free_item(item);
    }
    pthread_mutex_destroy(&ch->lock);
    free(ch);
}

/* ---- Granting --------------------------------------------------------- */

static void grant_arrived(struct coil_remote_call *call);

/*
 * Locked. Grant a waiter. A future of this thread's loop is added to `to_end`,
 * for unlock().
 *
 * The remote cannot refuse the call: before a loop closes its remote, its tasks
 * have ended, and end_detached() has ended the futures that nothing awaits.
 */
static void grant(struct coili_list *to_end, struct coili_list *link, int err)
{
    struct waiter *waiter = COILI_CONTAINER(link, struct waiter, link);
    coili_list_remove(link);
    waiter->err = err;
    waiter->granted = true;
    if (!waiter->remote)
        pthread_cond_signal(&waiter->cond);
    else if (coil_remote_is_current(waiter->remote))
        coili_list_append(to_end, link);
    else if (!coil_remote_call_soon(waiter->remote, &waiter->call,
                                    grant_arrived))
        coili_fatal("a loop has closed, and still waits for a channel");
}

/* Locked. False: the channel is full. */
static bool put_item(struct coil_channel *ch, struct coili_list *to_end,
                     void *item)
{
    struct coili_list *link = coili_list_first(&ch->getters);
    if (link) {
        COILI_CONTAINER(link, struct waiter, link)->item = item;
        grant(to_end, link, 0);
        return true;
    }
    if (ch->n == ch->limit)
        return false;
    push(ch, item);
    return true;
}

/* Locked. False: the channel is empty. */
static bool get_item(struct coil_channel *ch, struct coili_list *to_end,
                     void **item)
{
    if (ch->n == 0)
        return false;
    *item = pop(ch);
    struct coili_list *link = coili_list_first(&ch->putters);
    if (link) {
        push(ch, COILI_CONTAINER(link, struct waiter, link)->item);
        grant(to_end, link, 0);
    }
    return true;
}

/* Locked. -EAGAIN: the caller has to wait; so in get_now(). */
static int put_now(struct coil_channel *ch, struct coili_list *to_end,
                   void *item)
{
    if (ch->closed)
        return COIL_ECLOSED;
    return put_item(ch, to_end, item) ? 0 : -EAGAIN;
}

static int get_now(struct coil_channel *ch, struct coili_list *to_end,
                   void **item)
{
    if (get_item(ch, to_end, item))
        return 0;
    return ch->closed ? COIL_EEND : -EAGAIN;
}

/* ---- In a loop -------------------------------------------------------- */

struct op {
    struct coil_custom custom;
    struct coili_list sibling; /* in this_loop.waiting; else zero */
    struct coil_channel *channel;
    bool is_put;
    struct waiter waiter;
};

/*
 * What belongs to the loop of this thread. It is valid if `remote` is that of
 * the current loop: no other loop, and no forked process, has the same remote.
 */
static _Thread_local struct {
    struct coil_remote *remote;
    struct coili_list waiting; /* futures that wait */
    struct coil_handle at_close;
} this_loop;

static struct op *op_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct op, custom.future);
}

/* In the loop's thread, not locked. */
static void op_end(struct op *op, int err)
{
    struct coil_future *f = &op->custom.future;
    coili_list_remove(&op->sibling);
    if (err < 0)
        coil_future_set_error(f, err);
    else if (op->is_put)
        coil_future_set_int(f, 0);
    else
        coil_future_set_pointer(f, op->waiter.item);
}

/* In the loop's thread: the call of grant() has arrived. */
static void grant_arrived(struct coil_remote_call *call)
{
    struct op *op = COILI_CONTAINER(call, struct op, waiter.call);
    op_end(op, op->waiter.err);
}

/*
 * Unlock, then complete the granted futures of this thread's loop. Not before:
 * a detached future is freed when it is completed, its item may be disposed of,
 * which locks the channel again, and its reference to the channel is dropped.
 */
static void unlock(struct coil_channel *ch, struct coili_list *to_end)
{
    pthread_mutex_unlock(&ch->lock);
    struct coili_list *link;
    while ((link = coili_list_first(to_end))) {
        struct op *op = COILI_CONTAINER(link, struct op, waiter.link);
        coili_list_remove(link);
        op_end(op, op->waiter.err);
    }
}

/*
 * The waiter is listed under the lock. Its future is listed in this_loop after
 * that: a grant in between arrives by a call, in this thread, and so later.
 */
static void start(struct coil_future *f)
{
    struct op *op = op_of(f);
    struct coil_channel *ch = op->channel;
    struct coili_list to_end;
    coili_list_init(&to_end);
    pthread_mutex_lock(&ch->lock);
    int err = op->is_put ? put_now(ch, &to_end, op->waiter.item)
                         : get_now(ch, &to_end, &op->waiter.item);
    if (err == -EAGAIN)
        coili_list_append(op->is_put ? &ch->putters : &ch->getters,
                          &op->waiter.link);
    unlock(ch, &to_end);
    if (err != -EAGAIN)
        op_end(op, err);
    else
        coili_list_append(&this_loop.waiting, &op->sibling);
}

/* False: the waiter was granted, and the call that says so is on its way. */
static bool leave_waiters(struct op *op)
{
    pthread_mutex_lock(&op->channel->lock);
    bool waits = !op->waiter.granted;
    if (waits)
        coili_list_remove(&op->waiter.link);
    pthread_mutex_unlock(&op->channel->lock);
    return waits;
}

static void cancel(struct coil_future *f)
{
    if (leave_waiters(op_of(f)))
        op_end(op_of(f), -ECANCELED);
}

/*
 * The loop closes: the futures that still wait were detached, and no coroutine
 * is left that awaits them. They end now, since their memory is the loop's. A
 * future that was granted is ended by its call, which close_remote() delivers.
 */
static void end_detached(void *arg)
{
    struct coili_list *link;
    (void)arg;
    this_loop.remote = NULL;
    while ((link = coili_list_first(&this_loop.waiting))) {
        struct op *op = COILI_CONTAINER(link, struct op, sibling);
        coili_list_remove(link);
        if (!leave_waiters(op))
            continue;
        if (op->is_put && op->channel->free_item)
            op->channel->free_item(op->waiter.item);
        op_end(op, -ECANCELED);
    }
}

static void op_free(struct coil_future *f)
{
    struct coil_channel *ch = op_of(f)->channel;
    coil_custom_free(f);
    coil_channel_unref(ch);
}

/*
 * Locked; unlocks. An item was granted, but never taken: it becomes the first
 * again. If the ring has filled up meanwhile it has no place, and is freed.
 */
static void return_item(struct coil_channel *ch, struct coili_list *to_end,
                        void *item)
{
    bool kept = ch->n < ch->limit;
    if (kept && !coili_list_empty(&ch->getters))
        put_item(ch, to_end, item);
    else if (kept)
        push_front(ch, item);
    unlock(ch, to_end);
    if (!kept && ch->free_item)
        ch->free_item(item);
}

static void dispose(struct coil_future *f)
{
    struct coil_channel *ch = op_of(f)->channel;
    struct coili_list to_end;
    coili_list_init(&to_end);
    pthread_mutex_lock(&ch->lock);
    return_item(ch, &to_end, coil_future_pointer(f));
}

static const struct coil_future_class put_class = {
    .name = "channel put",
    .start = start,
    .cancel = cancel,
    .free = op_free,
};
static const struct coil_future_class get_class = {
    .name = "channel get",
    .start = start,
    .cancel = cancel,
    .free = op_free,
    .dispose = dispose,
};

/* NULL without memory. */
static struct op *op_new(struct coil_channel *ch,
                         const struct coil_future_class *cls)
{
    struct coil_remote *remote = coil_remote_current();
    struct op *op = remote ? coil_custom_new(cls, sizeof *op) : NULL;
    if (!op)
        return NULL;
    if (this_loop.remote != remote) {
        this_loop.remote = remote;
        coili_list_init(&this_loop.waiting);
        this_loop.at_close = (struct coil_handle){ 0 };
        coil_call_at_close(&this_loop.at_close, end_detached, NULL);
    }
    op->channel = coil_channel_ref(ch);
    op->waiter.remote = remote;
    return op;
}

struct coil_future *coil_channel_put(struct coil_channel *ch, void *item)
{
    struct op *op = op_new(ch, &put_class);
    if (!op)
        return coil_future_from_nomem();
    op->is_put = true;
    op->waiter.item = item;
    return &op->custom.future;
}

struct coil_future *coil_channel_get(struct coil_channel *ch)
{
    struct op *op = op_new(ch, &get_class);
    return op ? &op->custom.future : coil_future_from_nomem();
}

struct items {
    struct coil_coro coro;
    struct coil_channel *channel;
    void *item;
    int err;
};

/* TRY_AWAIT_TO: an item that was got is yielded, cancelled or not. */
static void items(struct coil_coro *co)
{
    COIL_ASYNC(items, my) {
        for (;;) {
            COIL_TRY_AWAIT_TO(my->err, my->item, coil_channel_get(my->channel));
            if (my->err == COIL_EEND)
                COIL_RETURN(0);
            if (my->err < 0)
                COIL_FAIL(my->err);
            COIL_YIELD(my->item);
        }

    COIL_FINALLY;
        coil_channel_unref(my->channel);
    }
}

struct coil_future *coil_channel_items(struct coil_channel *ch)
{
    struct coil_future *f = COIL_CALL(items, .channel = ch);
    if (!coil_future_done(f))
        coil_channel_ref(ch);
    return f;
}

/* ---- In a plain thread ------------------------------------------------ */

struct blocked {
    struct coil_channel *channel;
    bool is_put;
    struct waiter waiter;
};

/*
 * The cleanup of a thread that is cancelled while it waits: locked; unlocks. An
 * item that it was granted goes back. An item that it wanted to put is still
 * the caller's, unless the put was granted.
 */
static void thread_cancelled(void *arg)
{
    struct blocked *w = arg;
    struct coili_list to_end;
    coili_list_init(&to_end);
    coili_list_remove(&w->waiter.link);
    pthread_cond_destroy(&w->waiter.cond);
    if (w->waiter.granted && !w->is_put && w->waiter.err == 0)
        return_item(w->channel, &to_end, w->waiter.item);
    else
        unlock(w->channel, &to_end);
}

/*
 * Locked, before and after. Wait until the waiter is granted, or leave the list
 * after the time-out. A wait that is granted at that moment is a success.
 */
static int wait_granted(struct blocked *w, int64_t timeout)
{
    struct waiter *waiter = &w->waiter;
    struct coil_channel *ch = w->channel;
    int64_t at = coili_deadline(coil_now(), timeout);
    struct timespec deadline = { .tv_sec = at / 1000000000,
                                 .tv_nsec = at % 1000000000 };
    while (!waiter->granted) {
        int late = timeout == COIL_NEVER
                       ? pthread_cond_wait(&waiter->cond, &ch->lock)
                       : pthread_cond_timedwait(&waiter->cond, &ch->lock,
                                                &deadline);
        if (late && !waiter->granted) {
            coili_list_remove(&waiter->link);
            return -ETIMEDOUT;
        }
    }
    return waiter->err;
}

/* Locked, before and after. `item` points to what is put, or to what is got. */
static int wait_blocking(struct coil_channel *ch, bool is_put, void **item,
                         int64_t timeout)
{
    struct blocked w = { .channel = ch, .is_put = is_put };
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w.waiter.cond, &attr);
    pthread_condattr_destroy(&attr);
    if (is_put)
        w.waiter.item = *item;
    coili_list_append(is_put ? &ch->putters : &ch->getters, &w.waiter.link);
    int err;
    pthread_cleanup_push(thread_cancelled, &w);
    err = wait_granted(&w, timeout);
    pthread_cleanup_pop(0);
    pthread_cond_destroy(&w.waiter.cond);
    if (!is_put && err == 0)
        *item = w.waiter.item;
    return err;
}

static void check_not_in_coroutine(void)
{
    coili_check(!coil_task_current(), "coil_channel_*_blocking in a coroutine: "
                                      "await the future instead");
}

int coil_channel_put_blocking(struct coil_channel *ch, void *item,
                              int64_t timeout)
{
    check_not_in_coroutine();
    struct coili_list to_end;
    coili_list_init(&to_end);
    pthread_mutex_lock(&ch->lock);
    int err = put_now(ch, &to_end, item);
    if (err == -EAGAIN && timeout <= 0)
        err = -ETIMEDOUT;
    if (err == -EAGAIN)
        err = wait_blocking(ch, true, &item, timeout);
    unlock(ch, &to_end);
    return err;
}

int coil_channel_get_blocking(struct coil_channel *ch, int64_t timeout,
                              void **item)
{
    check_not_in_coroutine();
    struct coili_list to_end;
    coili_list_init(&to_end);
    pthread_mutex_lock(&ch->lock);
    int err = get_now(ch, &to_end, item);
    if (err == -EAGAIN && timeout <= 0)
        err = -ETIMEDOUT;
    if (err == -EAGAIN)
        err = wait_blocking(ch, false, item, timeout);
    unlock(ch, &to_end);
    return err;
}

/* ---- Anywhere --------------------------------------------------------- */

int coil_channel_put_nowait(struct coil_channel *ch, void *item)
{
    struct coili_list to_end;
    coili_list_init(&to_end);
    pthread_mutex_lock(&ch->lock);
    int err = put_now(ch, &to_end, item);
    unlock(ch, &to_end);
    return err;
}

int coil_channel_get_nowait(struct coil_channel *ch, void **item)
{
    struct coili_list to_end;
    coili_list_init(&to_end);
    pthread_mutex_lock(&ch->lock);
    int err = get_now(ch, &to_end, item);
    unlock(ch, &to_end);
    return err;
}

/*
 * Getters wait only if the ring is empty, and no item is put any more: so they
 * have no item to wait for.
 */
void coil_channel_shutdown(struct coil_channel *ch)
{
    struct coili_list to_end, *link;
    coili_list_init(&to_end);
    pthread_mutex_lock(&ch->lock);
    ch->closed = true;
    while ((link = coili_list_first(&ch->putters)))
        grant(&to_end, link, COIL_ECLOSED);
    while ((link = coili_list_first(&ch->getters)))
        grant(&to_end, link, COIL_EEND);
    unlock(ch, &to_end);
}

size_t coil_channel_count(struct coil_channel *ch)
{
    pthread_mutex_lock(&ch->lock);
    size_t n = ch->n;
    pthread_mutex_unlock(&ch->lock);
    return n;
}
