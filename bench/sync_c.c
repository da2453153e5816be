// SPDX-License-Identifier: MIT
/*
 * sync_c.c: the limit for what tasks of one thread share, by hand in C.
 *
 *     sync_c [--quick]
 *
 * As in core_c.c: frames with a switch, a ready queue that is a linked list,
 * frames from a free list, and OPAQUE around whatever would stand in a library
 * or in somebody else's file. Who waits stands in a list; who gives hands over
 * to the first. No errors, no cancel, nobody who gives up waiting.
 *
 * Rows, in ns per operation:
 *
 *   lock_2, lock_100      acquire, yield, release: so many tasks, one lock
 *   semaphore             the same: 100 tasks, 10 permits
 *   queue_0               an item from one task to another, from hand to hand
 *   queue_1, queue_100    the same through a queue with so many places
 *   event                 wake one of 1000 that wait for one event
 *   condition             the same, and each wants the lock
 *   group                 spawn, run and join a task: 1000, as one group
 *   gather                the same, and read its result
 *   generator             one item of a generator
 */
#include "bench.h"

#include <stdbool.h>

struct frame {
    void (*step)(struct frame *);
    struct frame *next; /* among the ready, or in a line */
    long value;         /* what a queue handed over */
    int state;
};

// --- What a library would hold ----------------------------------------------

struct line {
    struct frame *first, **end;
};

static void line_init(struct line *l)
{
    l->first = NULL;
    l->end = &l->first;
}

static void line_push(struct line *l, struct frame *f)
{
    f->next = NULL;
    *l->end = f;
    l->end = &f->next;
}

static struct frame *line_pop(struct line *l)
{
    struct frame *f = l->first;
    if (f) {
        l->first = f->next;
        if (!l->first)
            l->end = &l->first;
    }
    return f;
}

static struct line ready = { NULL, &ready.first };

static void run(void)
{
    for (struct frame *f; (f = line_pop(&ready));)
        f->step(f);
}

OPAQUE static void later(struct frame *f)
{
    line_push(&ready, f);
}

struct permits {
    struct line line;
    long free;
};

/* True if `me` stands in line: step it when the permit is its own. */
OPAQUE static bool acquire(struct frame *me, struct permits *p)
{
    if (p->free > 0) {
        p->free--;
        return false;
    }
    line_push(&p->line, me);
    return true;
}

OPAQUE static void release(struct permits *p)
{
    struct frame *f = line_pop(&p->line);
    if (f)
        line_push(&ready, f);
    else
        p->free++;
}

enum { ROOM = 128 };

struct queue {
    struct line getters, putters;
    long items[ROOM];
    unsigned head, n, limit;
};

/* True if `me` stands in line: step it when its value is in. */
OPAQUE static bool put(struct frame *me, struct queue *q, long value)
{
    struct frame *getter = line_pop(&q->getters);
    if (getter) {
        getter->value = value;
        line_push(&ready, getter);
        return false;
    }
    if (q->n < q->limit) {
        q->items[(q->head + q->n++) % ROOM] = value;
        return false;
    }
    me->value = value;
    line_push(&q->putters, me);
    return true;
}

/* True if `me` stands in line: step it when it has its value. */
OPAQUE static bool get(struct frame *me, struct queue *q)
{
    struct frame *putter = line_pop(&q->putters);
    if (q->n > 0) {
        me->value = q->items[q->head++ % ROOM];
        q->n--;
        if (putter)
            q->items[(q->head + q->n++) % ROOM] = putter->value;
    } else if (putter) {
        me->value = putter->value;
    } else {
        line_push(&q->getters, me);
        return true;
    }
    if (putter)
        line_push(&ready, putter);
    return false;
}

OPAQUE static void wait_for(struct frame *me, struct line *event)
{
    line_push(event, me);
}

OPAQUE static void set(struct line *event)
{
    for (struct frame *f; (f = line_pop(event));)
        line_push(&ready, f);
}

/* The lock of a condition, given by notify_all to each of the line in turn. */
OPAQUE static void notify_all(struct line *condition, struct permits *lock)
{
    for (struct frame *f; (f = line_pop(condition));)
        if (!acquire(f, lock))
            line_push(&ready, f);
}

enum { FRAME_SIZE = 64 };
static void *free_list;

OPAQUE static void *frame_new(void)
{
    void *f = free_list;
    if (!f) {
        if (!(f = malloc(FRAME_SIZE)))
            die("out of memory");
        return f;
    }
    memcpy(&free_list, f, sizeof free_list);
    return f;
}

OPAQUE static void frame_free(void *f)
{
    memcpy(f, &free_list, sizeof free_list);
    free_list = f;
}

static long total;

// --- Turns ------------------------------------------------------------------

struct user {
    struct frame frame;
    struct permits *permits;
    long left;
};

OPAQUE static void user_step(struct frame *f)
{
    struct user *my = (struct user *)f;
    switch (f->state) {
    case 0:
        for (; my->left > 0; my->left--) {
            if (acquire(f, my->permits)) {
                f->state = 1;
                return;
            case 1:;
            }
            f->state = 2;
            later(f);
            return;
        case 2:
            release(my->permits);
        }
    }
}

static void contend(long n, int tasks, long free)
{
    static struct user users[100];
    struct permits permits = { .free = free };
    line_init(&permits.line);
    for (int i = 0; i < tasks; i++) {
        users[i] = (struct user){ .frame.step = user_step,
                                  .permits = &permits,
                                  .left = n / tasks };
        later(&users[i].frame);
    }
    run();
}

static void lock_2(long n)
{
    contend(n, 2, 1);
}

static void lock_100(long n)
{
    contend(n, 100, 1);
}

static void semaphore(long n)
{
    contend(n, 100, 10);
}

// --- From hand to hand ------------------------------------------------------

struct partner {
    struct frame frame;
    struct queue *queue;
    long n, i;
};

OPAQUE static void producer_step(struct frame *f)
{
    struct partner *my = (struct partner *)f;
    switch (f->state) {
    case 0:
        for (; my->i < my->n; my->i++) {
            if (put(f, my->queue, my->i)) {
                f->state = 1;
                return;
            case 1:;
            }
        }
    }
}

OPAQUE static void consumer_step(struct frame *f)
{
    struct partner *my = (struct partner *)f;
    switch (f->state) {
    case 0:
        for (; my->i < my->n; my->i++) {
            if (get(f, my->queue)) {
                f->state = 1;
                return;
            case 1:;
            }
            total += f->value;
        }
    }
}

static void hand_over(long n, unsigned limit)
{
    struct queue queue = { .limit = limit };
    struct partner producer = { { .step = producer_step }, &queue, n, 0 };
    struct partner consumer = { { .step = consumer_step }, &queue, n, 0 };
    line_init(&queue.getters);
    line_init(&queue.putters);
    later(&producer.frame);
    later(&consumer.frame);
    run();
}

static void queue_0(long n)
{
    hand_over(n, 0);
}

static void queue_1(long n)
{
    hand_over(n, 1);
}

static void queue_100(long n)
{
    hand_over(n, 100);
}

// --- 1000 waiters, woken at once --------------------------------------------

struct crowd {
    struct line line;
    struct permits lock;
    long waiting;
};

struct waiter {
    struct frame frame;
    struct crowd *crowd;
    long left;
};

OPAQUE static void event_step(struct frame *f)
{
    struct waiter *my = (struct waiter *)f;
    switch (f->state) {
    case 0:
        for (; my->left > 0; my->left--) {
            my->crowd->waiting++;
            wait_for(f, &my->crowd->line);
            f->state = 1;
            return;
        case 1:;
        }
    }
}

OPAQUE static void condition_step(struct frame *f)
{
    struct waiter *my = (struct waiter *)f;
    switch (f->state) {
    case 0:
        for (; my->left > 0; my->left--) {
            if (acquire(f, &my->crowd->lock)) {
                f->state = 1;
                return;
            case 1:;
            }
            my->crowd->waiting++;
            wait_for(f, &my->crowd->line);
            release(&my->crowd->lock);
            f->state = 2;
            return;
        case 2: // with the lock
            release(&my->crowd->lock);
        }
    }
}

static struct waiter waiters[1000];

static struct crowd *crowd(long n, void (*step)(struct frame *))
{
    static struct crowd crowd;
    crowd = (struct crowd){ .lock.free = 1 };
    line_init(&crowd.line);
    line_init(&crowd.lock.line);
    for (int i = 0; i < 1000; i++) {
        waiters[i] = (struct waiter){ { .step = step }, &crowd, n / 1000 };
        later(&waiters[i].frame);
    }
    run();
    return &crowd;
}

static void event(long n)
{
    struct crowd *c = crowd(n, event_step);
    for (; n > 0; n -= 1000) {
        if (c->waiting != 1000)
            die("%ld wait", c->waiting);
        c->waiting = 0;
        set(&c->line);
        run();
    }
}

static void condition(long n)
{
    struct crowd *c = crowd(n, condition_step);
    for (; n > 0; n -= 1000) {
        if (c->waiting != 1000)
            die("%ld wait", c->waiting);
        c->waiting = 0;
        notify_all(&c->line, &c->lock);
        run();
    }
}

// --- 1000 children ----------------------------------------------------------

struct parent {
    struct frame frame;
    long children; // that run
};

struct child {
    struct frame frame;
    struct parent *parent;
    long argument;
};
_Static_assert(sizeof(struct child) <= FRAME_SIZE, "a child fits its frame");

OPAQUE static void finish(struct child *c, long result)
{
    c->frame.value = result;
    if (--c->parent->children == 0)
        line_push(&ready, &c->parent->frame);
}

/* The result of a child in a group is nobody's. */
OPAQUE static void finish_unseen(struct child *c)
{
    struct parent *parent = c->parent;
    frame_free(c);
    if (--parent->children == 0)
        line_push(&ready, &parent->frame);
}

OPAQUE static void grouped_step(struct frame *f)
{
    struct child *my = (struct child *)f;
    total += my->argument + 1;
    finish_unseen(my);
}

OPAQUE static void gathered_step(struct frame *f)
{
    struct child *my = (struct child *)f;
    finish(my, my->argument + 1);
}

static struct child *spawn(struct parent *parent, void (*step)(struct frame *),
                           long argument)
{
    struct child *c = frame_new();
    *c = (struct child){ .frame.step = step, .parent = parent,
                         .argument = argument };
    parent->children++;
    later(&c->frame);
    return c;
}

OPAQUE static void parent_step(struct frame *f)
{
    f->state = 1;
}

static void group(long n)
{
    for (; n > 0; n -= 1000) {
        struct parent parent = { .frame.step = parent_step };
        for (int i = 0; i < 1000; i++)
            spawn(&parent, grouped_step, i);
        run();
        if (parent.frame.state != 1)
            die("the group has not ended");
    }
}

static void gather(long n)
{
    static struct child *children[1000];
    for (; n > 0; n -= 1000) {
        struct parent parent = { .frame.step = parent_step };
        for (int i = 0; i < 1000; i++)
            children[i] = spawn(&parent, gathered_step, i);
        run();
        for (int i = 0; i < 1000; i++) {
            total += children[i]->frame.value;
            frame_free(children[i]);
        }
    }
}

// --- generator --------------------------------------------------------------

struct count {
    struct frame frame;
    long n, i;
};

/* State 2 is the end. */
OPAQUE static void count_step(struct frame *f)
{
    struct count *my = (struct count *)f;
    switch (f->state) {
    case 0:
        for (; my->i < my->n; my->i++) {
            f->value = my->i;
            f->state = 1;
            return;
        case 1:;
        }
        f->state = 2;
    }
}

static void generator(long n)
{
    struct count count = { { .step = count_step }, n, 0 };
    struct frame *f = &count.frame;
    LAUNDER(f);
    for (f->step(f); f->state != 2; f->step(f))
        total += f->value;
}

int main(int argc, char **argv)
{
    struct bench b = bench_options(argc, argv);
    b.peer = "c";
    measure(&b, "lock_2", lock_2);
    measure(&b, "lock_100", lock_100);
    measure(&b, "semaphore", semaphore);
    measure(&b, "queue_0", queue_0);
    measure(&b, "queue_1", queue_1);
    measure(&b, "queue_100", queue_100);
    measure(&b, "event", event);
    measure(&b, "condition", condition);
    measure(&b, "group", group);
    measure(&b, "gather", gather);
    measure(&b, "generator", generator);
    return 0;
}
