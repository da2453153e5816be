// SPDX-License-Identifier: MIT
/*
 * queue.c: queues that give items directly to waiting getters.
 *
 * asyncio wakes a getter, which then looks for an item and may find none; lost
 * wakeups were found in that queue for years. Here a put gives its item to the
 * first getter, and a get takes an item from the ring and moves the item of the
 * first putter into the free slot. A waiter is woken with its item, or because
 * the queue is shut down, so a waiter never waits a second time.
 *
 *     getters wait     only if the ring is empty and no putter waits
 *     putters wait     only if the ring is full and no getter waits
 *
 * (Exception: one coil_select() may wait as a getter and a putter of the same
 * queue. Its put does not serve its get.)
 *
 * An item that a getter was given may come back, if its future is freed and no
 * await took the item. The item returns to its old position, which its sequence
 * number tells, even above the limit; or, after coil_queue_shutdown_now(), to
 * the function that frees the items. Only a put may grow the ring: it reserves
 * a slot, which stays reserved until the item is taken. So get, put back and
 * shut down never need memory:
 *
 *     capacity >= n + reserved, where `reserved` counts the putters that wait
 *     and the items that are granted but not yet taken
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
    coili_check(q, "coil_queue_init: queue is NULL");
    init(q, limit, FIFO);
}

void coil_queue_init_lifo(struct coil_queue *q, size_t limit)
{
    coili_check(q, "coil_queue_init_lifo: queue is NULL");
    init(q, limit, LIFO);
}

void coil_queue_init_priority(struct coil_queue *q, size_t limit,
                              coil_compare_fn *compare)
{
    coili_check(q, "coil_queue_init_priority: queue is NULL");
    coili_check(compare, "coil_queue_init_priority: compare is NULL");
    init(q, limit, PRIORITY);
    q->compare = compare;
}

void coil_queue_fini(struct coil_queue *q)
{
    if (!q->getters.next)
        return; /* zero: FINALLY runs also if the body has not begun */
    coili_check(coil_waiters_empty(&q->getters) &&
                    coil_waiters_empty(&q->putters) &&
                    coil_waiters_empty(&q->joiners),
                "coil_queue_fini: a task waits for the queue");
    if (q->ring)
        coil_free(q->ring, q->capacity * sizeof *q->ring);
    q->ring = NULL;
    q->capacity = q->head = q->n = 0;
    q->is_shutdown = true;
}

/* ---- The ring ----------------------------------------------------------- */

/* The i-th item from the head. The capacity is a power of two. */
static struct coili_queued *at(const struct coil_queue *q, size_t i)
{
    return &q->ring[(q->head + i) & (q->capacity - 1)];
}

/* Double the capacity; the items move to the start of the new ring. */
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

/* A priority queue is a binary heap in the ring; its head is always 0. */
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

/* Add a new item. */
static void push(struct coil_queue *q, struct coili_queued it)
{
    if (q->order == PRIORITY)
        sift_up(q, it);
    else
        *at(q, q->n++) = it;
}

/* Remove the item that is next in order; the ring must not be empty. */
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

/* The number of items in front of the position of `sequence`. Not PRIORITY. */
static size_t find_position(const struct coil_queue *q, uint64_t sequence)
{
    size_t low = 0, high = q->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (at(q, middle)->sequence < sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/*
 * Add an item that was in the queue before, at its old position. FIFO and LIFO
 * rings are ordered by sequence number. The items on the shorter side of the
 * position move: if many items are put back one after the other, the position
 * of each is near one end, and the whole takes linear time.
 */
static void reinsert(struct coil_queue *q, struct coili_queued it)
{
    if (q->order == PRIORITY) {
        sift_up(q, it);
        return;
    }
    size_t position = find_position(q, it.sequence), n = q->n++;
    if (position < n - position) {
        q->head = (q->head - 1) & (q->capacity - 1);
        for (size_t i = 0; i < position; i++)
            *at(q, i) = *at(q, i + 1);
    } else {
        for (size_t i = n; i > position; i--)
            *at(q, i) = *at(q, i - 1);
    }
    *at(q, position) = it;
}

/* ---- From putter to getter ---------------------------------------------- */

static struct coil_queue_waiter *queue_waiter_of(struct coil_waiter *waiter)
{
    return COILI_CONTAINER(waiter, struct coil_queue_waiter, base);
}

/* Store the item in its getter; reserve its slot until the item is taken. */
static void deliver(struct coil_queue_waiter *waiter, struct coili_queued it)
{
    waiter->item = it.item;
    waiter->sequence = it.sequence;
    waiter->holds = true;
    waiter->queue->reserved++;
}

/* Give the item to the first getter. False: no getter waits. */
static bool give_to_getter(struct coil_queue *q, struct coili_queued it)
{
    struct coil_waiter *getter = coil_waiters_first(&q->getters);
    if (!getter)
        return false;
    deliver(queue_waiter_of(getter), it);
    return coil_waiters_wake_with(&q->getters, q);
}

/* Count a new item and give it a sequence number. */
static struct coili_queued new_entry(struct coil_queue *q, void *item)
{
    q->unfinished++;
    return (struct coili_queued){ item, ++q->sequence };
}

/* Take the item of the first putter, and wake the putter. */
static struct coili_queued take_from_putter(struct coil_queue *q)
{
    struct coil_queue_waiter *putter = queue_waiter_of(
        coil_waiters_first(&q->putters));
    struct coili_queued it = new_entry(q, putter->item);
    q->reserved--;
    coil_waiters_wake_with(&q->putters, q);
    return it;
}

/* Move items of putters into the ring, up to the limit. */
static void admit_putters(struct coil_queue *q)
{
    while (q->n < q->limit && !coil_waiters_empty(&q->putters))
        push(q, take_from_putter(q));
}

/* Take the next item, if there is one. */
static int take_item(struct coil_queue *q, struct coili_queued *it)
{
    if (q->n > 0) {
        *it = pop(q);
        admit_putters(q);
        return 0;
    }
    if (!coil_waiters_empty(&q->putters)) { /* the limit is 0 */
        *it = take_from_putter(q);
        return 0;
    }
    return q->is_shutdown ? COIL_EEND : -EAGAIN;
}

/* Give `item` to a getter or add it to the ring, if that is possible now. */
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
    waiter->is_put = waiter->holds = false;
    int err = take_item(q, &it);
    if (err == 0)
        deliver(waiter, it);
    return err;
}

int coil_queue_waiter_put(struct coil_queue_waiter *waiter,
                          struct coil_queue *q)
{
    waiter->queue = q;
    waiter->is_put = true;
    waiter->holds = false;
    return give_item(q, waiter->item);
}

int coil_queue_waiter_enter(struct coil_queue_waiter *waiter,
                            coil_granted_fn *granted)
{
    struct coil_queue *q = waiter->queue;
    if (waiter->is_put) {
        if (q->n + q->reserved >= q->capacity && grow(q) < 0)
            return -ENOMEM;
        q->reserved++;
    }
    coil_waiters_enter(waiter->is_put ? &q->putters : &q->getters,
                       &waiter->base, granted);
    return 0;
}

void coil_queue_waiter_leave(struct coil_queue_waiter *waiter)
{
    if (coil_waiters_leave(&waiter->base) && waiter->is_put)
        waiter->queue->reserved--;
}

void coil_queue_waiter_taken(struct coil_queue_waiter *waiter)
{
    if (!waiter->holds)
        return;
    waiter->holds = false;
    waiter->queue->reserved--;
}

/* Count an item as processed; after the last one wake the joiners. */
static void finish_item(struct coil_queue *q)
{
    if (--q->unfinished == 0)
        while (coil_waiters_wake(&q->joiners))
            ;
}

/* After coil_queue_shutdown_now(): an item leaves the queue. */
static void free_item(struct coil_queue *q, void *item)
{
    finish_item(q);
    if (q->free_item)
        q->free_item(item);
}

void coil_queue_waiter_put_back(struct coil_queue_waiter *waiter)
{
    struct coil_queue *q = waiter->queue;
    if (!waiter->holds)
        return;
    coil_queue_waiter_taken(waiter);
    struct coili_queued it = { waiter->item, waiter->sequence };
    if (q->is_emptied)
        free_item(q, it.item);
    else if (q->ring && !give_to_getter(q, it)) /* no ring: after _fini() */
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
                                get_granted); /* cannot fail for a get */
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

/*
 * If the consumer is cancelled after an item was granted, TRY_AWAIT_TO still
 * stores the item, YIELD delivers it, and the cancellation strikes the next
 * await.
 */
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
    coili_check(q, "coil_queue_items: queue is NULL");
    return COIL_CALL(queue_items, .queue = q);
}

/* ---- State -------------------------------------------------------------- */

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

/* ---- join, shutdown ----------------------------------------------------- */

void coil_queue_task_done(struct coil_queue *q)
{
    coili_check(q->unfinished > 0,
                "coil_queue_task_done: more calls than items put");
    finish_item(q);
}

static bool all_finished(void *queue)
{
    return ((struct coil_queue *)queue)->unfinished == 0;
}

struct coil_future *coil_queue_join(struct coil_queue *q)
{
    coili_check(q, "coil_queue_join: queue is NULL");
    return coil_waiters_wait(&q->joiners, "queue join", all_finished, q);
}

void coil_queue_shutdown(struct coil_queue *q)
{
    coili_check(q, "coil_queue_shutdown: queue is NULL");
    q->is_shutdown = true;
    while (!coil_waiters_empty(&q->putters)) {
        q->reserved--;
        coil_waiters_wake(&q->putters);
    }
    while (coil_waiters_wake(&q->getters))
        ;
}

void coil_queue_shutdown_now(struct coil_queue *q, coil_call_fn *free_fn)
{
    if (!q->getters.next)
        return; /* zero: a FINALLY frees the items before coil_queue_fini() */
    coil_queue_shutdown(q);
    q->is_emptied = true;
    q->free_item = free_fn;
    while (q->n > 0)
        free_item(q, pop(q).item);
}
