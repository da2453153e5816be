// SPDX-License-Identifier: MIT
/*
 * channel.c: items that change hands between threads.
 *
 *     senders in line --> [ ring of items ] --> receivers in line
 *
 * Invariants, under the lock:
 *   senders stand in line     only if the ring is full
 *   receivers stand in line   only if it is empty
 * So a newcomer never overtakes the line, and granting is all there is to do:
 * an item that comes goes to the first receiver, room that comes to the first
 * sender, whose item moves into the ring in the same moment.
 *
 * Who stands in line is a place. It is a field of a future, or stands on the
 * stack of a thread that blocks. What is granted is out of the line for good: a
 * time-out or a cancellation that comes later finds it done. (Python's Queue
 * wakes a getter and lets it look again: another may be quicker, and a waiter
 * that was woken and cancelled must remember to wake the next.)
 *
 * A place of another thread's loop is told by a call; of this one's, by
 * completing its future when the lock is let go.
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
    pthread_mutex_t lock;
    struct coili_list senders, receivers; /* guarded by it, as what follows */
    bool closed;
    size_t first, n, limit;
    coil_call_fn *free_item;
    void *items[];
};

struct place {
    struct coili_list link; /* in line */
    void *item;             /* to be sent; or that was received */
    int err;                /* valid if granted: 0, COIL_ECLOSED, COIL_EEND */
    bool granted;
    struct coil_remote *remote; /* NULL: a thread that waits for `told` */
    union {
        struct coil_remote_call call;
        pthread_cond_t told;
    };
};

/* ---- Life ------------------------------------------------------------- */

struct coil_channel *coil_channel_new(size_t limit, coil_call_fn *free_item)
{
    coili_check(limit > 0, "a channel has room for one item at least");
    struct coil_channel *ch = NULL;
    if (limit <= (SIZE_MAX - sizeof *ch) / sizeof *ch->items)
        ch = malloc(sizeof *ch + limit * sizeof *ch->items);
    if (!ch)
        return NULL;
    atomic_init(&ch->refs, 1);
    pthread_mutex_init(&ch->lock, NULL);
    coili_list_init(&ch->senders);
    coili_list_init(&ch->receivers);
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

static void arrived(struct coil_remote_call *call);

/* Locked. Those of this thread's loop are left in `here`. */
static void grant(struct coili_list *here, struct coili_list *link, int err)
{
    struct place *place = COILI_CONTAINER(link, struct place, link);
    coili_list_remove(link);
    place->err = err;
    place->granted = true;
    if (!place->remote)
        pthread_cond_signal(&place->told);
    else if (coil_remote_is_current(place->remote))
        coili_list_append(here, link);
    else if (!coil_remote_call_soon(place->remote, &place->call, arrived))
        coili_fatal("a loop has closed, and left its place in a channel");
}

/* Locked. False: it is full. */
static bool put(struct coil_channel *ch, struct coili_list *here, void *item)
{
    struct coili_list *link = coili_list_first(&ch->receivers);
    if (link) {
        COILI_CONTAINER(link, struct place, link)->item = item;
        grant(here, link, 0);
        return true;
    }
    if (ch->n == ch->limit)
        return false;
    push(ch, item);
    return true;
}

/* Locked. False: it is empty. */
static bool take(struct coil_channel *ch, struct coili_list *here, void **item)
{
    if (ch->n == 0)
        return false;
    *item = pop(ch);
    struct coili_list *link = coili_list_first(&ch->senders);
    if (link) {
        push(ch, COILI_CONTAINER(link, struct place, link)->item);
        grant(here, link, 0);
    }
    return true;
}

/* Locked. -EAGAIN: it has to wait. */
static int send_now(struct coil_channel *ch, struct coili_list *here,
                    void *item)
{
    if (ch->closed)
        return COIL_ECLOSED;
    return put(ch, here, item) ? 0 : -EAGAIN;
}

static int receive_now(struct coil_channel *ch, struct coili_list *here,
                       void **item)
{
    if (take(ch, here, item))
        return 0;
    return ch->closed ? COIL_EEND : -EAGAIN;
}

/* ---- In a loop -------------------------------------------------------- */

struct op {
    struct coil_custom custom;
    struct coili_list sibling; /* of those that wait in this loop; else zero */
    struct coil_channel *channel;
    bool sends;
    struct place place;
};

/* Of this thread's loop. A remote is that of one loop, in one process. */
static _Thread_local struct {
    struct coil_remote *remote;
    struct coili_list waiting;
    struct coil_handle at_close;
} ours;

static struct op *op_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct op, custom.future);
}

static void end(struct op *op, int err)
{
    struct coil_future *f = &op->custom.future;
    coili_list_remove(&op->sibling);
    if (err < 0)
        coil_future_set_error(f, err);
    else if (op->sends)
        coil_future_set_int(f, 0);
    else
        coil_future_set_pointer(f, op->place.item);
}

static void arrived(struct coil_remote_call *call)
{
    struct op *op = COILI_CONTAINER(call, struct op, place.call);
    end(op, op->place.err);
}

static void unlock(struct coil_channel *ch, struct coili_list *here)
{
    pthread_mutex_unlock(&ch->lock);
    struct coili_list *link;
    while ((link = coili_list_first(here))) {
        struct op *op = COILI_CONTAINER(link, struct op, place.link);
        coili_list_remove(link);
        end(op, op->place.err);
    }
}

static void start(struct coil_future *f)
{
    struct op *op = op_of(f);
    struct coil_channel *ch = op->channel;
    struct coili_list here;
    coili_list_init(&here);
    pthread_mutex_lock(&ch->lock);
    int err = op->sends ? send_now(ch, &here, op->place.item)
                        : receive_now(ch, &here, &op->place.item);
    if (err == -EAGAIN)
        coili_list_append(op->sends ? &ch->senders : &ch->receivers,
                          &op->place.link);
    unlock(ch, &here);
    if (err != -EAGAIN)
        end(op, err);
    else
        coili_list_append(&ours.waiting, &op->sibling);
}

/* False: it was granted, and its call is on the way. */
static bool leave_line(struct op *op)
{
    pthread_mutex_lock(&op->channel->lock);
    bool waits = !op->place.granted;
    if (waits)
        coili_list_remove(&op->place.link);
    pthread_mutex_unlock(&op->channel->lock);
    return waits;
}

static void cancel(struct coil_future *f)
{
    if (leave_line(op_of(f)))
        end(op_of(f), -ECANCELED);
}

/* The loop closes: what still waits was detached. It has no memory any more. */
static void end_all(void *arg)
{
    struct coili_list *link;
    (void)arg;
    ours.remote = NULL;
    while ((link = coili_list_first(&ours.waiting))) {
        struct op *op = COILI_CONTAINER(link, struct op, sibling);
        coili_list_remove(link);
        if (!leave_line(op))
            continue;
        if (op->sends && op->channel->free_item)
            op->channel->free_item(op->place.item);
        end(op, -ECANCELED);
    }
}

static void gone(struct coil_future *f)
{
    struct coil_channel *ch = op_of(f)->channel;
    coil_custom_free(f);
    coil_channel_unref(ch);
}

/*
 * It was received, and nobody took it: it is the first again. If meanwhile
 * another item has its place there is nowhere to go for it.
 */
static void unlock_with(struct coil_channel *ch, struct coili_list *here,
                        void *item)
{
    bool kept = ch->n < ch->limit;
    if (kept && !coili_list_empty(&ch->receivers))
        put(ch, here, item);
    else if (kept)
        push_front(ch, item);
    unlock(ch, here);
    if (!kept && ch->free_item)
        ch->free_item(item);
}

static void put_back(struct coil_future *f)
{
    struct coil_channel *ch = op_of(f)->channel;
    struct coili_list here;
    coili_list_init(&here);
    pthread_mutex_lock(&ch->lock);
    unlock_with(ch, &here, coil_future_pointer(f));
}

static const struct coil_future_class send_class = {
    .name = "channel send",
    .start = start,
    .cancel = cancel,
    .free = gone,
};
static const struct coil_future_class receive_class = {
    .name = "channel receive",
    .start = start,
    .cancel = cancel,
    .free = gone,
    .dispose = put_back,
};

static struct op *op_new(struct coil_channel *ch,
                         const struct coil_future_class *cls)
{
    struct coil_remote *remote = coil_remote_current();
    struct op *op = remote ? coil_custom_new(cls, sizeof *op) : NULL;
    if (!op)
        return NULL;
    if (ours.remote != remote) {
        ours.remote = remote;
        coili_list_init(&ours.waiting);
        ours.at_close = (struct coil_handle){ 0 };
        coil_call_at_close(&ours.at_close, end_all, NULL);
    }
    op->channel = coil_channel_ref(ch);
    op->place.remote = remote;
    return op;
}

struct coil_future *coil_channel_put(struct coil_channel *ch, void *item)
{
    struct op *op = op_new(ch, &send_class);
    if (!op)
        return coil_future_from_nomem();
    op->sends = true;
    op->place.item = item;
    return &op->custom.future;
}

struct coil_future *coil_channel_get(struct coil_channel *ch)
{
    struct op *op = op_new(ch, &receive_class);
    return op ? &op->custom.future : coil_future_from_nomem();
}

struct items {
    struct coil_coro coro;
    struct coil_channel *channel;
    void *item;
    int err;
};

/* An item that was received is yielded, even if a cancellation came with it. */
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

struct wait {
    struct coil_channel *channel;
    bool sends;
    struct place place;
};

/* Locked. The thread was cancelled: as if it had never stood in line. */
static void wait_ended(void *arg)
{
    struct wait *w = arg;
    struct coili_list here;
    coili_list_init(&here);
    coili_list_remove(&w->place.link);
    pthread_cond_destroy(&w->place.told);
    if (w->place.granted && !w->sends && w->place.err == 0)
        unlock_with(w->channel, &here, w->place.item);
    else
        unlock(w->channel, &here);
}

/* In line until it is granted, or so late that it leaves. */
static int wait_granted(struct wait *w, int64_t timeout)
{
    struct place *place = &w->place;
    struct coil_channel *ch = w->channel;
    int64_t at = coili_deadline(coil_now(), timeout);
    struct timespec deadline = { .tv_sec = at / 1000000000,
                                 .tv_nsec = at % 1000000000 };
    while (!place->granted) {
        int late = timeout == COIL_NEVER
                       ? pthread_cond_wait(&place->told, &ch->lock)
                       : pthread_cond_timedwait(&place->told, &ch->lock,
                                                &deadline);
        if (late && !place->granted) {
            coili_list_remove(&place->link);
            return -ETIMEDOUT;
        }
    }
    return place->err;
}

/* Locked, before and after. */
static int wait_in_line(struct coil_channel *ch, bool sends, void **item,
                        int64_t timeout)
{
    struct wait w = { .channel = ch, .sends = sends };
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w.place.told, &attr);
    pthread_condattr_destroy(&attr);
    if (sends)
        w.place.item = *item;
    coili_list_append(sends ? &ch->senders : &ch->receivers, &w.place.link);
    int err;
    pthread_cleanup_push(wait_ended, &w);
    err = wait_granted(&w, timeout);
    pthread_cleanup_pop(0);
    pthread_cond_destroy(&w.place.told);
    if (!sends && err == 0)
        *item = w.place.item;
    return err;
}

static void check_plain(void)
{
    coili_check(!coil_task_current(),
                "a call that blocks in a coroutine: await the future instead");
}

int coil_channel_put_blocking(struct coil_channel *ch, void *item,
                              int64_t timeout)
{
    check_plain();
    struct coili_list here;
    coili_list_init(&here);
    pthread_mutex_lock(&ch->lock);
    int err = send_now(ch, &here, item);
    if (err == -EAGAIN && timeout <= 0)
        err = -ETIMEDOUT;
    if (err == -EAGAIN)
        err = wait_in_line(ch, true, &item, timeout);
    unlock(ch, &here);
    return err;
}

int coil_channel_get_blocking(struct coil_channel *ch, int64_t timeout,
                              void **item)
{
    check_plain();
    struct coili_list here;
    coili_list_init(&here);
    pthread_mutex_lock(&ch->lock);
    int err = receive_now(ch, &here, item);
    if (err == -EAGAIN && timeout <= 0)
        err = -ETIMEDOUT;
    if (err == -EAGAIN)
        err = wait_in_line(ch, false, item, timeout);
    unlock(ch, &here);
    return err;
}

/* ---- Anywhere --------------------------------------------------------- */

int coil_channel_put_nowait(struct coil_channel *ch, void *item)
{
    struct coili_list here;
    coili_list_init(&here);
    pthread_mutex_lock(&ch->lock);
    int err = send_now(ch, &here, item);
    unlock(ch, &here);
    return err;
}

int coil_channel_get_nowait(struct coil_channel *ch, void **item)
{
    struct coili_list here;
    coili_list_init(&here);
    pthread_mutex_lock(&ch->lock);
    int err = receive_now(ch, &here, item);
    unlock(ch, &here);
    return err;
}

void coil_channel_shutdown(struct coil_channel *ch)
{
    struct coili_list here, *link;
    coili_list_init(&here);
    pthread_mutex_lock(&ch->lock);
    ch->closed = true;
    while ((link = coili_list_first(&ch->senders)))
        grant(&here, link, COIL_ECLOSED);
    while ((link = coili_list_first(&ch->receivers)))
        grant(&here, link, COIL_EEND);
    unlock(ch, &here);
}

size_t coil_channel_count(struct coil_channel *ch)
{
    pthread_mutex_lock(&ch->lock);
    size_t n = ch->n;
    pthread_mutex_unlock(&ch->lock);
    return n;
}
