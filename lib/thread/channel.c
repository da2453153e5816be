// SPDX-License-Identifier: MIT
/*
 * channel.c: a bounded queue of items between threads.
 *
 *     waiting putters --> [ ring of items ] --> waiting getters
 *
 * A waiter is a field of a future, or is on the stack of a thread that blocks.
 * The first putter is served when the ring has room, the first getter when it
 * has an item:
 *
 *   - A future is granted by the thread that changed the ring: the item moves
 *     between the future and the ring, and the future leaves its list. A
 *     cancellation that comes later finds the future granted, and the result
 *     stands.
 *   - A thread is only woken. It stays the first of its list, and moves its
 *     item itself when it runs, with the lock held.
 *
 * A thread must not be granted by another thread, because pthread_cancel(3) may
 * end it before it knows of the grant: its clean-up would free an item that is
 * in the ring. So the item of a blocked put stays the caller's until that
 * thread moves it, and no cancellation point follows before its return.
 *
 * Invariants, under the lock:
 *   putters wait    only if the ring is full, or the first is a woken thread
 *   getters wait    only if it is empty, or the first is a woken thread
 * So a newcomer never overtakes a waiter. A thread that has moved its item, or
 * leaves because of a time-out or a cancellation, serves the waiters behind it.
 *
 * How a waiter is told: a thread by its condition variable; a future of another
 * thread's loop by a call of the loop's remote; a future of this thread's loop
 * is completed by unlock().
 *
 * An item that a future has got may come back, if no await took the item. Its
 * sequence number tells its old position.
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

struct entry {
    void *item;
    uint64_t sequence;
};

struct coil_channel {
    atomic_size_t refs;
    pthread_mutex_t lock; /* guards what follows */
    struct coili_list putters, getters;
    bool closed;            /* shut down */
    size_t first, n, limit; /* of the ring */
    uint64_t sequence;      /* of the newest item */
    coil_call_fn *free_item;
    struct entry ring[];
};

struct waiter {
    struct coili_list link;     /* in putters or getters, while it waits */
    struct coil_remote *remote; /* of the loop of a future; NULL: a thread */
    union {
        struct coil_remote_call call; /* a future */
        pthread_cond_t cond;          /* a thread that blocks */
    };
    /* Of a future: */
    struct entry entry; /* the item to be put; or that it got */
    int err;            /* valid if granted: 0, COIL_ECLOSED, COIL_EEND */
    bool granted;
};

/* ---- Life ------------------------------------------------------------- */

/* NULL without memory, also if the size in bytes would overflow. */
struct coil_channel *coil_channel_new(size_t limit, coil_call_fn *free_item)
{
    coili_check(limit > 0, "coil_channel_new: limit is 0: must be at least 1");
    struct coil_channel *ch = NULL;
    if (limit <= (SIZE_MAX - sizeof *ch) / sizeof *ch->ring)
        ch = malloc(sizeof *ch + limit * sizeof *ch->ring);
    if (!ch)
        return NULL;
    atomic_init(&ch->refs, 1);
    pthread_mutex_init(&ch->lock, NULL);
    coili_list_init(&ch->putters);
    coili_list_init(&ch->getters);
    ch->closed = false;
    ch->first = ch->n = 0;
    ch->limit = limit;
    ch->sequence = 0;
    ch->free_item = free_item;
    return ch;
}

struct coil_channel *coil_channel_ref(struct coil_channel *ch)
{
    coili_check(ch, "coil_channel_ref: channel is NULL");
    atomic_fetch_add_explicit(&ch->refs, 1, memory_order_relaxed);
    return ch;
}

/* The entry at position i of the ring, from 0 to limit. */
static struct entry *at(struct coil_channel *ch, size_t i)
{
    size_t place = ch->first + i;
    return &ch->ring[place < ch->limit ? place : place - ch->limit];
}

static void push(struct coil_channel *ch, void *item)
{
    *at(ch, ch->n++) = (struct entry){ item, ++ch->sequence };
}

/* The number of entries that are older than `sequence`. */
static size_t find_position(struct coil_channel *ch, uint64_t sequence)
{
    size_t low = 0, high = ch->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (at(ch, middle)->sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Put back an entry at its old position: the shorter side of it moves. */
static void reinsert(struct coil_channel *ch, struct entry it)
{
    size_t position = find_position(ch, it.sequence), n = ch->n++;
    if (position < n - position) {
        ch->first = ch->first > 0 ? ch->first - 1 : ch->limit - 1;
        for (size_t i = 0; i < position; i++)
            *at(ch, i) = *at(ch, i + 1);
    } else {
        for (size_t i = n; i > position; i--)
            *at(ch, i) = *at(ch, i - 1);
    }
    *at(ch, position) = it;
}

static struct entry pop(struct coil_channel *ch)
{
    struct entry it = ch->ring[ch->first];
    ch->first = ch->first + 1 < ch->limit ? ch->first + 1 : 0;
    ch->n--;
    return it;
}

void coil_channel_unref(struct coil_channel *ch)
{
    if (!ch ||
        atomic_fetch_sub_explicit(&ch->refs, 1, memory_order_acq_rel) > 1)
        return;
    while (ch->n > 0) {
        void *item = pop(ch).item;
        if (ch->free_item)
            ch->free_item(item);
    }
    pthread_mutex_destroy(&ch->lock);
    free(ch);
}

/* ---- Serving the waiters ---------------------------------------------- */

static void grant_arrived(struct coil_remote_call *call);

/*
 * Locked. Grant a future. One of this thread's loop is added to `to_end`, for
 * unlock().
 *
 * The remote cannot refuse the call: before a loop closes its remote, its tasks
 * have ended, and end_detached() has ended the futures that nothing awaits.
 */
static void grant(struct coili_list *to_end, struct waiter *waiter, int err)
{
    coili_list_remove(&waiter->link);
    waiter->err = err;
    waiter->granted = true;
    if (coil_remote_is_current(waiter->remote))
        coili_list_append(to_end, &waiter->link);
    else if (!coil_remote_call_soon(waiter->remote, &waiter->call,
                                    grant_arrived))
        coili_fatal("a loop has closed, and still waits for a channel");
}

static struct waiter *first_of(const struct coili_list *list)
{
    struct coili_list *link = coili_list_first(list);
    return link ? COILI_CONTAINER(link, struct waiter, link) : NULL;
}

/* Locked. True if the first putter need not wait any more. */
static bool can_put(const struct coil_channel *ch)
{
    return ch->n < ch->limit || ch->closed;
}

static bool can_get(const struct coil_channel *ch)
{
    return ch->n > 0 || ch->closed;
}

/*
 * Locked. Grant putters that are futures, in order, while the ring has room. If
 * the first putter is a thread, wake it and stop. The same in serve_getters().
 */
static void serve_putters(struct coil_channel *ch, struct coili_list *to_end)
{
    struct waiter *putter;
    while (can_put(ch) && (putter = first_of(&ch->putters))) {
        if (!putter->remote) {
            pthread_cond_signal(&putter->cond);
            break;
        }
        if (!ch->closed)
            push(ch, putter->entry.item);
        grant(to_end, putter, ch->closed ? COIL_ECLOSED : 0);
    }
}

/* Result: true if an item was taken from the ring. */
static bool serve_getters(struct coil_channel *ch, struct coili_list *to_end)
{
    struct waiter *getter;
    bool got = false;
    while (can_get(ch) && (getter = first_of(&ch->getters))) {
        if (!getter->remote) {
            pthread_cond_signal(&getter->cond);
            break;
        }
        int err = ch->n > 0 ? 0 : COIL_EEND;
        if (err == 0) {
            getter->entry = pop(ch);
            got = true;
        }
        grant(to_end, getter, err);
    }
    return got;
}

/*
 * Locked. Serve all waiters that need not wait, after the ring or the first
 * waiter of a list has changed. A put may serve a getter, and a get a putter.
 */
static void serve(struct coil_channel *ch, struct coili_list *to_end)
{
    do
        serve_putters(ch, to_end);
    while (serve_getters(ch, to_end));
}

/* Locked. -EAGAIN: the caller has to wait; so in get_now(). */
static int put_now(struct coil_channel *ch, struct coili_list *to_end,
                   void *item)
{
    if (ch->closed)
        return COIL_ECLOSED;
    if (ch->n == ch->limit || !coili_list_empty(&ch->putters))
        return -EAGAIN;
    push(ch, item);
    serve(ch, to_end);
    return 0;
}

static int get_now(struct coil_channel *ch, struct coili_list *to_end,
                   struct entry *it)
{
    if (!coili_list_empty(&ch->getters))
        return -EAGAIN;
    if (ch->n == 0)
        return ch->closed ? COIL_EEND : -EAGAIN;
    *it = pop(ch);
    serve(ch, to_end);
    return 0;
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
        coil_future_set_pointer(f, op->waiter.entry.item);
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
    int err = op->is_put ? put_now(ch, &to_end, op->waiter.entry.item)
                         : get_now(ch, &to_end, &op->waiter.entry);
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
            op->channel->free_item(op->waiter.entry.item);
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
 * An item was granted, but never taken: it returns to its old position. If the
 * ring has filled up meanwhile, the item is freed.
 */
static void dispose(struct coil_future *f)
{
    struct coil_channel *ch = op_of(f)->channel;
    struct entry it = op_of(f)->waiter.entry;
    struct coili_list to_end;
    coili_list_init(&to_end);
    pthread_mutex_lock(&ch->lock);
    bool kept = ch->n < ch->limit;
    if (kept) {
        reinsert(ch, it);
        serve(ch, &to_end);
    }
    unlock(ch, &to_end);
    if (!kept && ch->free_item)
        ch->free_item(it.item);
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
    op->waiter.entry.item = item;
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
    coili_check(ch, "coil_channel_items: channel is NULL");
    struct coil_future *f = COIL_CALL(items, .channel = ch);
    if (!coil_future_done(f))
        coil_channel_ref(ch);
    return f;
}

/* ---- In a plain thread ------------------------------------------------ */

/* A thread that waits. Its waiter is the first of `list` when it is served. */
struct blocked {
    struct coil_channel *channel;
    bool is_put;
    struct waiter waiter;
};

/* Locked. True if this thread need not wait any more. */
static bool is_served(const struct blocked *b)
{
    struct coil_channel *ch = b->channel;
    if (b->is_put)
        return first_of(&ch->putters) == &b->waiter && can_put(ch);
    return first_of(&ch->getters) == &b->waiter && can_get(ch);
}

/* Locked. The waiter leaves its list: the next one may be served instead. */
static void leave(struct blocked *b, struct coili_list *to_end)
{
    coili_list_remove(&b->waiter.link);
    pthread_cond_destroy(&b->waiter.cond);
    serve(b->channel, to_end);
}

/*
 * Cleanup of a thread that is cancelled while it waits. Called with the lock,
 * and unlocks. The thread has moved no item, also if it was woken.
 */
static void thread_cancelled(void *arg)
{
    struct blocked *b = arg;
    struct coili_list to_end;
    coili_list_init(&to_end);
    leave(b, &to_end);
    unlock(b->channel, &to_end);
}

/* Locked, before and after. -ETIMEDOUT: the thread was not served in time. */
static int wait_served(struct blocked *b, int64_t timeout)
{
    int64_t when = coili_deadline(coil_now(), timeout);
    struct timespec deadline = { .tv_sec = when / 1000000000,
                                 .tv_nsec = when % 1000000000 };
    pthread_mutex_t *lock = &b->channel->lock;
    pthread_cond_t *cond = &b->waiter.cond;
    int late = 0;
    while (!is_served(b)) {
        if (late)
            return -ETIMEDOUT;
        late = timeout == COIL_NEVER
                   ? pthread_cond_wait(cond, lock)
                   : pthread_cond_timedwait(cond, lock, &deadline);
    }
    return 0;
}

/*
 * Locked, before and after. `item` points to what is put, or to what is got.
 * The waits of wait_served() are the only cancellation points: when the thread
 * has moved its item, it returns.
 */
static int wait_blocking(struct coil_channel *ch, bool is_put, void **item,
                         int64_t timeout, struct coili_list *to_end)
{
    struct blocked b = { .channel = ch, .is_put = is_put };
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b.waiter.cond, &attr);
    pthread_condattr_destroy(&attr);
    coili_list_append(is_put ? &ch->putters : &ch->getters, &b.waiter.link);
    int err;
    pthread_cleanup_push(thread_cancelled, &b);
    err = wait_served(&b, timeout);
    pthread_cleanup_pop(0);
    if (err == 0 && is_put && ch->closed)
        err = COIL_ECLOSED;
    else if (err == 0 && is_put)
        push(ch, *item);
    else if (err == 0 && ch->n == 0)
        err = COIL_EEND;
    else if (err == 0)
        *item = pop(ch).item;
    leave(&b, to_end);
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
    coili_check(ch, "coil_channel_put_blocking: channel is NULL");
    check_not_in_coroutine();
    struct coili_list to_end;
    coili_list_init(&to_end);
    pthread_mutex_lock(&ch->lock);
    int err = put_now(ch, &to_end, item);
    if (err == -EAGAIN && timeout <= 0)
        err = -ETIMEDOUT;
    if (err == -EAGAIN)
        err = wait_blocking(ch, true, &item, timeout, &to_end);
    unlock(ch, &to_end);
    return err;
}

int coil_channel_get_blocking(struct coil_channel *ch, int64_t timeout,
                              void **item)
{
    coili_check(ch, "coil_channel_get_blocking: channel is NULL");
    coili_check(item, "coil_channel_get_blocking: item is NULL");
    check_not_in_coroutine();
    struct coili_list to_end;
    coili_list_init(&to_end);
    pthread_mutex_lock(&ch->lock);
    struct entry it;
    int err = get_now(ch, &to_end, &it);
    if (err == 0)
        *item = it.item;
    else if (err == -EAGAIN && timeout <= 0)
        err = -ETIMEDOUT;
    else if (err == -EAGAIN)
        err = wait_blocking(ch, false, item, timeout, &to_end);
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
    struct entry it;
    int err = get_now(ch, &to_end, &it);
    unlock(ch, &to_end);
    if (err == 0)
        *item = it.item;
    return err;
}

void coil_channel_shutdown(struct coil_channel *ch)
{
    coili_check(ch, "coil_channel_shutdown: channel is NULL");
    struct coili_list to_end;
    coili_list_init(&to_end);
    pthread_mutex_lock(&ch->lock);
    ch->closed = true;
    serve(ch, &to_end);
    unlock(ch, &to_end);
}

size_t coil_channel_count(struct coil_channel *ch)
{
    pthread_mutex_lock(&ch->lock);
    size_t n = ch->n;
    pthread_mutex_unlock(&ch->lock);
    return n;
}
