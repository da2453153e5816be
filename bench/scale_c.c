// SPDX-License-Identifier: MIT
/*
 * scale_c.c: lists that are left, written by hand.
 *
 *     scale_c [--quick] [--row ROW] [--elements N]
 *
 * Each waiter is an allocated struct of the size of a small task and its wait.
 * It leaves its list, is told so from a ready queue, and is freed.
 */
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "scale.h"

struct waiter {
    struct waiter *next, *prev;
    struct waiter *ready;
    struct waiter *holds; /* in a row: the waiter in front */
    void (*woken)(struct waiter *w, int err);
    char frame[112];
};

static struct waiter *waiters[MOST];
static struct waiter head, *ready, **ready_end = &ready;

OPAQUE static void woken(struct waiter *w, int err)
{
    w->frame[0] = (char)err;
    free(w);
}

static struct waiter *waiter_new(struct waiter *holds)
{
    struct waiter *w = calloc(1, sizeof *w);
    if (!w)
        die("out of memory");
    w->woken = woken;
    w->holds = holds;
    return w;
}

static void make_ready(struct waiter *w)
{
    *ready_end = w;
    ready_end = &w->ready;
}

OPAQUE static void leave(struct waiter *w)
{
    w->next->prev = w->prev;
    w->prev->next = w->next;
    make_ready(w);
}

OPAQUE static void run_ready(void)
{
    struct waiter *w = ready;
    ready = NULL;
    ready_end = &ready;
    while (w) {
        struct waiter *next = w->ready;
        w->woken(w, -1);
        w = next;
    }
}

/* Waiters in a doubly linked list leave. */
static void list(size_t n)
{
    head.next = head.prev = &head;
    for (size_t i = 0; i < n; i++) {
        struct waiter *w = waiters[i] = waiter_new(NULL);
        w->next = &head;
        w->prev = head.prev;
        w->prev->next = w->next->prev = w;
    }
    measured_on();
    for (size_t i = 0; i < n; i++)
        leave(waiters[from_middle(i, n)]);
    run_ready();
    measured_off();
}

/* Each holds the one in front; the last one is dropped. */
static void row(size_t n)
{
    struct waiter *last = NULL;
    for (size_t i = 0; i < n; i++)
        last = waiter_new(last);
    measured_on();
    while (last) {
        struct waiter *w = last;
        last = w->holds;
        make_ready(w);
    }
    run_ready();
    measured_off();
}

/* A binary heap of deadlines, whose entries know their places. */
struct timer {
    int64_t deadline;
    size_t place;
    struct waiter *waiter;
};

static struct timer timers[MOST], *heap[MOST];
static size_t heap_n;

static void put(size_t i, struct timer *t)
{
    heap[i] = t;
    t->place = i;
}

static void sift(size_t i, struct timer *t)
{
    while (i > 0 && t->deadline < heap[(i - 1) / 2]->deadline) {
        put(i, heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    for (size_t child; (child = 2 * i + 1) < heap_n; i = child) {
        if (child + 1 < heap_n &&
            heap[child + 1]->deadline < heap[child]->deadline)
            child++;
        if (heap[child]->deadline >= t->deadline)
            break;
        put(i, heap[child]);
    }
    put(i, t);
}

OPAQUE static void remove_timer(struct timer *t)
{
    struct timer *last = heap[--heap_n];
    if (last != t)
        sift(t->place, last);
    make_ready(t->waiter);
}

static void timer(size_t n)
{
    for (size_t i = 0; i < n; i++) {
        timers[i].deadline = (int64_t)(i * 7919 % MOST);
        timers[i].waiter = waiter_new(NULL);
        sift(heap_n++, &timers[i]);
    }
    measured_on();
    for (size_t i = 0; i < n; i++)
        remove_timer(&timers[from_middle(i, n)]);
    run_ready();
    measured_off();
}

/* Descriptors are closed by close(2): no operation is in flight on them. */
static void descriptor(size_t n)
{
    static int fds[19000];
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        die("getrlimit: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    for (size_t i = 0; i < n; i++) {
        fds[i] = eventfd(0, EFD_CLOEXEC);
        if (fds[i] < 0)
            die("eventfd: %s", strerror(errno));
    }
    measured_on();
    for (size_t i = 0; i < n; i++)
        close(fds[from_middle(i, n)]);
    measured_off();
}

int main(int argc, char **argv)
{
    static const struct scale_row rows[] = {
        { "list", list, 0 },
        { "row", row, 0 },
        { "timer", timer, 0 },
        { "descriptor", descriptor, 19000 },
        { NULL, NULL, 0 },
    };
    return scale_main("c", rows, argc, argv);
}
