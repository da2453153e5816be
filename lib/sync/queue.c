// SPDX-License-Identifier: MIT
/*
 * queue.c: items that are handed over, not waited for.
 *
 * asyncio wakes a getter, which then takes what it finds, and may find nothing;
 * it took that queue years to lose no wake-up. Here an item goes from hand to
 * hand: a put gives it to the first getter, a get takes it from the ring and
 * lets the first putter fill the place. A waiter is woken with the item, or
 * with the knowledge that the queue is closed, so nobody looks twice.
 *
 *     getters wait     only if the ring is empty and nobody waits to put
 *     putters wait     only if the ring is full and nobody waits to get
 *
 * (but for one select, which may wait for both: it is not served by itself.)
 *
 * What was handed over may come back: its future is gone, and nobody took the
 * item. It returns to its old place, even above the limit; a ticket says where.
 * So that this, and all but a put, needs no memory, every put makes room
 * for its item, which goes with it until somebody has taken the item:
 *
 *     room >= n + reserved, where reserved counts putters in line and items
 *     that are granted but not yet taken
 */
#include <coil/queue.h>

#include <errno.h>
#include <stdint.h>

#include <coil/coroutine.h>
#include <coil/loop.h>

#include "base/check.h"
#include "base/list.h"

struct coili_queued {
    void *item;
    uint64_t sequence;
};

enum order { FIFO, LIFO, PRIORITY };

static void init(struct coil_queue *q, size_t limit, enum order order)
{
    *q = (struct coil_queue){ .limit = limit, .order = (uint8_t)order };
    coil_waiters_init(&q->getters);
    coil_waiters_init(&q->putters);
    coil_waiters_init(&q->joiners);
}

void coil_queue_init(struct coil_queue *q, size_t limit)
{
    init(q, limit, FIFO);
}

void coil_queue_init_lifo(struct coil_queue *q, size_t limit)
{
    init(q, limit, LIFO);
}

void coil_queue_init_priority(struct coil_queue *q, size_t limit,
                              coil_compare_fn *compare)
{
    init(q, limit, PRIORITY);
    q->compare = compare;
}

void coil_queue_fini(struct coil_queue *q)
{
    coili_check(coil_waiters_empty(&q->getters) &&
                    coil_waiters_empty(&q->putters) &&
                    coil_waiters_empty(&q->joiners),
                "a queue is freed while somebody waits at it");
    if (q->ring)
        coil_free(q->ring, q->capacity * sizeof *q->ring);
    q->ring = NULL;
    q->capacity = q->head = q->n = 0;
    q->is_shutdown = true;
}

/* ---- The ring ----------------------------------------------------------- */

/* The i-th from the head. The room is a power of two. */
static struct coili_queued *at(const struct coil_queue *q, size_t i)
{
    return &q->ring[(q->head + i) & (q->capacity - 1)];
}

static int grow(struct coil_queue *q)
{
    size_t capacity = q->capacity ? q->capacity * 2 : 8;
    if (capacity > SIZE_MAX / sizeof *q->ring)
        return -ENOMEM;
    struct coili_queued *ring = coil_alloc(capacity * sizeof *ring);
    if (!ring)
        return -ENOMEM;
    for (size_t i = 0; i < q->n; i++)
        ring[i] = *at(q, i);
    if (q->ring)
        coil_free(q->ring, q->capacity * sizeof *ring);
    q->ring = ring;
    q->capacity = capacity;
    q->head = 0;
    return 0;
}

static bool before(const struct coil_queue *q, const struct coili_queued *a,
                   const struct coili_queued *b)
{
    int order = q->compare(a->item, b->item);
    return order ? order < 0 : a->sequence < b->sequence;
}

/* Of a heap the head is always 0. */
static void sift_up(struct coil_queue *q, struct coili_queued it)
{
    size_t i = q->n++;
    while (i > 0 && before(q, &it, &q->ring[(i - 1) / 2])) {
        q->ring[i] = q->ring[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    q->ring[i] = it;
}

static void sift_down(struct coil_queue *q, struct coili_queued it)
{
    size_t i = 0, child;
    while ((child = 2 * i + 1) < q->n) {
        if (child + 1 < q->n && before(q, &q->ring[child + 1], &q->ring[child]))
            child++;
        if (!before(q, &q->ring[child], &it))
            break;
        q->ring[i] = q->ring[child];
        i = child;
    }
    q->ring[i] = it;
}

/* A new item. */
static void push(struct coil_queue *q, struct coili_queued it)
{
    if (q->order == PRIORITY)
        sift_up(q, it);
    else
        *at(q, q->n++) = it;
}

static struct coili_queued pop(struct coil_queue *q)
{
    struct coili_queued it;
    switch (q->order) {
    case LIFO:
        return *at(q, --q->n);
    case PRIORITY:
        it = q->ring[0];
        if (--q->n > 0)
            sift_down(q, q->ring[q->n]);
        return it;
    default:
        it = *at(q, 0);
        q->head = (q->head + 1) & (q->capacity - 1);
        q->n--;
        return it;
    }
}

/* One that was in the ring before: by its ticket. */
static void reinsert(struct coil_queue *q, struct coili_queued it)
{
    size_t i = 0;
    switch (q->order) {
    case LIFO:
        for (i = q->n++; i > 0 && at(q, i - 1)->sequence > it.sequence; i--)
            *at(q, i) = *at(q, i - 1);
        *at(q, i) = it;
        break;
    case PRIORITY:
        sift_up(q, it);
        break;
    default:
        q->head = (q->head - 1) & (q->capacity - 1);
        q->n++;
        for (; i + 1 < q->n && at(q, i + 1)->sequence < it.sequence; i++)
            *at(q, i) = *at(q, i + 1);
        *at(q, i) = it;
    }
}

/* ---- From hand to hand -------------------------------------------------- */

static struct coil_queue_waiter *queue_waiter_of(struct coil_waiter *waiter)
{
    return COILI_CONTAINER(waiter, struct coil_queue_waiter, base);
}

/* The item is under way to who got it. */
static void deliver(struct coil_queue_waiter *waiter, struct coili_queued it)
{
    waiter->item = it.item;
    waiter->sequence = it.sequence;
    waiter->holds = true;
    waiter->queue->reserved++;
}

/* To the first who waits for it; false: nobody does. */
static bool give_to_getter(struct coil_queue *q, struct coili_queued it)
{
    struct coil_waiter *getter = coil_waiters_first(&q->getters);
    if (!getter)
        return false;
    deliver(queue_waiter_of(getter), it);
    return coil_waiters_wake_with(&q->getters, q);
}

/* The item is in; it was new. */
static struct coili_queued new_entry(struct coil_queue *q, void *item)
{
    q->unfinished++;
    return (struct coili_queued){ item, ++q->sequence };
}

/* The first putter's item; he goes. */
static struct coili_queued take_from_putter(struct coil_queue *q)
{
    struct coil_queue_waiter *putter = queue_waiter_of(
        coil_waiters_first(&q->putters));
    struct coili_queued it = new_entry(q, putter->item);
    q->reserved--;
    coil_waiters_wake_with(&q->putters, q);
    return it;
}

static void admit_putters(struct coil_queue *q)
{
    while (q->n < q->limit && !coil_waiters_empty(&q->putters))
        push(q, take_from_putter(q));
}

/* The next item, if there is one. */
static int take_item(struct coil_queue *q, struct coili_queued *it)
{
    if (q->n > 0) {
        *it = pop(q);
        admit_putters(q);
        return 0;
    }
    if (!coil_waiters_empty(&q->putters)) { /* a queue with no room at all */
        *it = take_from_putter(q);
        return 0;
    }
    return q->is_shutdown ? COIL_EEND : -EAGAIN;
}

/* Give `item` to a getter or the ring, if that can be now. */
static int give_item(struct coil_queue *q, void *item)
{
    if (q->is_shutdown)
        return COIL_ECLOSED;
    bool wanted = !coil_waiters_empty(&q->getters);
    if (!wanted && q->n >= q->limit)
        return -EAGAIN;
    if (q->n + q->reserved >= q->capacity && grow(q) < 0)
        return -ENOMEM;
    if (wanted)
        give_to_getter(q, new_entry(q, item));
    else
        push(q, new_entry(q, item));
    return 0;
}

int coil_queue_waiter_get(struct coil_queue_waiter *waiter,
                          struct coil_queue *q)
{
    struct coili_queued it;
    waiter->queue = q;
    waiter->puts = waiter->holds = false;
    int err = take_item(q, &it);
    if (err == 0)
        deliver(waiter, it);
    return err;
}

int coil_queue_waiter_put(struct coil_queue_waiter *waiter,
                          struct coil_queue *q)
{
    waiter->queue = q;
    waiter->puts = true;
    waiter->holds = false;
    return give_item(q, waiter->item);
}

int coil_queue_waiter_enter(struct coil_queue_waiter *waiter,
                            coil_granted_fn *granted)
{
    struct coil_queue *q = waiter->queue;
    if (waiter->puts) {
        if (q->n + q->reserved >= q->capacity && grow(q) < 0)
            return -ENOMEM;
        q->reserved++;
    }
    coil_waiters_enter(waiter->puts ? &q->putters : &q->getters, &waiter->base,
                       granted);
    return 0;
}

void coil_queue_waiter_leave(struct coil_queue_waiter *waiter)
{
    if (coil_waiters_leave(&waiter->base) && waiter->puts)
        waiter->queue->reserved--;
}

void coil_queue_waiter_taken(struct coil_queue_waiter *waiter)
{
    if (!waiter->holds)
        return;
    waiter->holds = false;
    waiter->queue->reserved--;
}

void coil_queue_waiter_put_back(struct coil_queue_waiter *waiter)
{
    struct coil_queue *q = waiter->queue;
    if (!waiter->holds)
        return;
    coil_queue_waiter_taken(waiter);
    if (!q->ring) /* freed meanwhile */
        return;
    struct coili_queued it = { waiter->item, waiter->sequence };
    if (!give_to_getter(q, it))
        reinsert(q, it);
}

/* ---- Futures ------------------------------------------------------------ */

struct op {
    struct coil_custom custom;
    struct coil_queue_waiter waiter;
};

static struct op *op_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct op, custom.future);
}

static struct coil_future *future_of(struct coil_waiter *waiter)
{
    return &COILI_CONTAINER(waiter, struct op, waiter.base)->custom.future;
}

static void get_granted(struct coil_waiter *waiter, void *queue)
{
    if (queue)
        coil_future_set_pointer(future_of(waiter),
                                queue_waiter_of(waiter)->item);
    else
        coil_future_set_error(future_of(waiter), COIL_EEND);
}

static void put_granted(struct coil_waiter *waiter, void *queue)
{
    if (queue)
        coil_future_set_int(future_of(waiter), 0);
    else
        coil_future_set_error(future_of(waiter), COIL_ECLOSED);
}

static void get_start(struct coil_future *f)
{
    struct op *op = op_of(f);
    int err = coil_queue_waiter_get(&op->waiter, op->waiter.queue);
    if (err == 0)
        coil_future_set_pointer(f, op->waiter.item);
    else if (err == -EAGAIN)
        coil_queue_waiter_enter(&op->waiter,
                                get_granted); /* of a get: cannot fail */
    else
        coil_future_set_error(f, err);
}

static void put_start(struct coil_future *f)
{
    struct op *op = op_of(f);
    int err = coil_queue_waiter_put(&op->waiter, op->waiter.queue);
    if (err == 0) {
        coil_future_set_int(f, 0);
        return;
    }
    if (err == -EAGAIN)
        err = coil_queue_waiter_enter(&op->waiter, put_granted);
    if (err < 0)
        coil_future_set_error(f, err);
}

static void op_cancel(struct coil_future *f)
{
    coil_queue_waiter_leave(&op_of(f)->waiter);
    coil_future_set_error(f, -ECANCELED);
}

static void get_dispose(struct coil_future *f)
{
    coil_queue_waiter_put_back(&op_of(f)->waiter);
}

static void get_free(struct coil_future *f)
{
    coil_queue_waiter_taken(&op_of(f)->waiter);
    coil_custom_free(f);
}

static const struct coil_future_class get_class = {
    .name = "queue get",
    .start = get_start,
    .cancel = op_cancel,
    .free = get_free,
    .dispose = get_dispose,
};

static const struct coil_future_class put_class = {
    .name = "queue put",
    .start = put_start,
    .cancel = op_cancel,
};

static struct coil_future *op_new(const struct coil_future_class *cls,
                                  struct coil_queue *q, void *item)
{
    struct op *op = coil_custom_new(cls, sizeof *op);
    if (!op)
        return coil_future_from_nomem();
    op->waiter.queue = q;
    op->waiter.item = item;
    return &op->custom.future;
}

struct coil_future *coil_queue_put(struct coil_queue *q, void *item)
{
    return op_new(&put_class, q, item);
}

struct coil_future *coil_queue_get(struct coil_queue *q)
{
    return op_new(&get_class, q, NULL);
}

int coil_queue_put_nowait(struct coil_queue *q, void *item)
{
    return give_item(q, item);
}

int coil_queue_get_nowait(struct coil_queue *q, void **item)
{
    struct coili_queued it;
    int err = take_item(q, &it);
    if (err == 0)
        *item = it.item;
    return err;
}

struct queue_items {
    struct coil_coro coro;
    struct coil_queue *queue;
    void *item;
    int err;
};

/* Granted, then cancelled: YIELD delivers, and sends the request on. */
static void queue_items(struct coil_coro *co)
{
    COIL_ASYNC(queue_items, my) {
        for (;;) {
            COIL_TRY_AWAIT_TO(my->err, my->item, coil_queue_get(my->queue));
            if (my->err == COIL_EEND)
                break;
            if (my->err < 0)
                COIL_FAIL(my->err);
            COIL_YIELD(my->item);
        }
    }
}

struct coil_future *coil_queue_items(struct coil_queue *q)
{
    return COIL_CALL(queue_items, .queue = q);
}

/* ---- Asking ------------------------------------------------------------- */

size_t coil_queue_count(const struct coil_queue *q)
{
    return q->n;
}

bool coil_queue_empty(const struct coil_queue *q)
{
    return q->n == 0;
}

bool coil_queue_full(const struct coil_queue *q)
{
    return q->n >= q->limit;
}

bool coil_queue_is_shutdown(const struct coil_queue *q)
{
    return q->is_shutdown;
}

/* ---- join, close -------------------------------------------------------- */

static void finish_item(struct coil_queue *q)
{
    if (--q->unfinished == 0)
        while (coil_waiters_wake(&q->joiners))
            ;
}

void coil_queue_task_done(struct coil_queue *q)
{
    coili_check(q->unfinished > 0,
                "task_done of a queue is called more often than items were "
                "put");
    finish_item(q);
}

static bool all_finished(void *queue)
{
    return ((struct coil_queue *)queue)->unfinished == 0;
}

struct coil_future *coil_queue_join(struct coil_queue *q)
{
    return coil_waiters_wait(&q->joiners, "queue join", all_finished, q);
}

void coil_queue_shutdown(struct coil_queue *q)
{
    q->is_shutdown = true;
    while (!coil_waiters_empty(&q->putters)) {
        q->reserved--;
        coil_waiters_wake(&q->putters);
    }
    while (coil_waiters_wake(&q->getters))
        ;
}

void coil_queue_shutdown_now(struct coil_queue *q, coil_call_fn *free_item)
{
    coil_queue_shutdown(q);
    while (q->n > 0) {
        void *item = pop(q).item;
        finish_item(q);
        if (free_item)
            free_item(item);
    }
}
