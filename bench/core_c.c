// SPDX-License-Identifier: MIT
/*
 * core_c.c: the limit for coroutines, state machines written by hand in C.
 *
 *     core_c [--quick]
 *
 * Each row is what somebody would write who has no library and all the time in
 * the world: a struct as frame, a step function with a switch, a ready queue
 * that is a linked list. No errors, no cancel, no reference counts, no checks:
 * the distance from here to coil is the price of having those.
 *
 * What keeps it honest: the compiler could fold most of these loops away,
 * because here it sees both sides of every call. In a program it would not:
 * the runtime is a library, without link-time optimisation, and a coroutine
 * is in somebody else's file. So the functions that a library would hold (get
 * and free a frame, start, yield, ask whether to wait, finish) and every
 * coroutine that another one calls are OPAQUE, and a frame is resumed through
 * the pointer in it.
 *
 * Two peers: c_pool takes frames from a free list (the limit), c_malloc from
 * malloc. Rows, in ns per operation:
 *
 *   resume        step a suspended coroutine, no loop between
 *   yield         go to the end of the ready queue and come back; 100 tasks
 *   await_done    await what is already done
 *   call_inplace  await a child whose frame is a field of the parent's
 *   call_heap     await a child whose frame is allocated
 *   spawn_1       spawn a task, await its end, free it; one at a time
 *   spawn_1000    the same, 1000 spawned before the first is awaited
 */
#include "bench.h"

#include <stdbool.h>

struct frame {
    void (*step)(struct frame *);
    struct frame *waiter; /* resumed when this one is done */
    struct frame *next;   /* in the ready queue */
    long result;
    int state;
    bool done;
};

// --- What a library would hold ----------------------------------------------

static struct frame *ready_head, **ready_tail = &ready_head;

static void ready_push(struct frame *f)
{
    f->next = NULL;
    *ready_tail = f;
    ready_tail = &f->next;
}

static void run(void)
{
    while (ready_head) {
        struct frame *f = ready_head;
        ready_head = f->next;
        if (!ready_head)
            ready_tail = &ready_head;
        f->step(f);
    }
}

OPAQUE static void yield_later(struct frame *f)
{
    ready_push(f);
}

OPAQUE static void start(struct frame *task)
{
    ready_push(task);
}

OPAQUE static bool must_wait(struct frame *me, struct frame *other)
{
    if (other->done)
        return false;
    other->waiter = me;
    return true;
}

OPAQUE static void finish(struct frame *f, long result)
{
    f->result = result;
    f->done = true;
    if (f->waiter)
        ready_push(f->waiter);
}

// One size of frame is enough here; a library has a list per size class.
enum { FRAME_SIZE = 64 };

static bool pooled;
static void *free_list;

OPAQUE static void *frame_new(void)
{
    if (!pooled)
        return malloc(FRAME_SIZE);
    void *f = free_list;
    if (!f)
        return malloc(FRAME_SIZE);
    memcpy(&free_list, f, sizeof free_list);
    return f;
}

OPAQUE static void frame_free(void *f)
{
    if (!pooled) {
        free(f);
        return;
    }
    memcpy(f, &free_list, sizeof free_list);
    free_list = f;
}

// --- The coroutines ---------------------------------------------------------

struct child {
    struct frame frame;
    long argument;
};
_Static_assert(sizeof(struct child) <= FRAME_SIZE, "a child fits its frame");

OPAQUE static void child_step(struct frame *f)
{
    struct child *my = (struct child *)f;
    finish(f, my->argument + 1);
}

// Written where it is used, as a macro or an inline function would.
static inline void child_init(struct child *c, long argument)
{
    *c = (struct child){ .frame.step = child_step, .argument = argument };
}

static struct child *child_new(long argument)
{
    struct child *c = frame_new();
    if (!c)
        die("out of memory");
    child_init(c, argument);
    return c;
}

struct counter {
    struct frame frame;
    long n, i, sum;
    struct frame *other;
    struct child *spawned[1000];
    struct child inside;
};

static struct counter counter;

static struct frame *counter_frame(void (*step)(struct frame *), long n)
{
    memset(&counter.frame, 0, sizeof counter.frame);
    counter.frame.step = step;
    counter.n = n;
    counter.sum = 0;
    struct frame *f = &counter.frame;
    LAUNDER(f);
    return f;
}

static void run_counter(void (*step)(struct frame *), long n)
{
    struct frame *f = counter_frame(step, n);
    start(f);
    run();
    if (!f->done)
        die("a coroutine did not end");
}

static void resume_step(struct frame *f)
{
    struct counter *my = (struct counter *)f;
    switch (f->state) {
    case 0:
        for (;;) {
            my->sum++;
            f->state = 1;
            return;
        case 1:;
        }
    }
}

static void resume_loop(long n)
{
    struct frame *f = counter_frame(resume_step, n);
    for (long i = 0; i < n; i++) {
        f->step(f);
        LAUNDER(f);
    }
    if (counter.sum != n)
        die("resume: %ld of %ld", counter.sum, n);
}

struct yielder {
    struct frame frame;
    long left;
};

static void yield_step(struct frame *f)
{
    struct yielder *my = (struct yielder *)f;
    switch (f->state) {
    case 0:
        for (; my->left > 0; my->left--) {
            f->state = 1;
            yield_later(f);
            return;
        case 1:;
        }
        finish(f, 0);
    }
}

static void yield_loop(long n)
{
    static struct yielder tasks[100];
    for (int i = 0; i < 100; i++) {
        tasks[i] = (struct yielder){ .frame.step = yield_step,
                                     .left = n / 100 };
        start(&tasks[i].frame);
    }
    run();
}

static void await_done_step(struct frame *f)
{
    struct counter *my = (struct counter *)f;
    switch (f->state) {
    case 0:
        for (my->i = 0; my->i < my->n; my->i++) {
            if (must_wait(f, my->other)) {
                f->state = 1;
                return;
            case 1:;
            }
            my->sum += my->other->result;
        }
        finish(f, my->sum);
    }
}

static void await_done_loop(long n)
{
    static struct frame done = { .done = true, .result = 1 };
    counter.other = &done;
    run_counter(await_done_step, n);
}

static void call_inplace_step(struct frame *f)
{
    struct counter *my = (struct counter *)f;
    switch (f->state) {
    case 0:
        for (my->i = 0; my->i < my->n; my->i++) {
            child_init(&my->inside, my->i);
            my->inside.frame.step(&my->inside.frame);
            if (must_wait(f, &my->inside.frame)) {
                f->state = 1;
                return;
            case 1:;
            }
            my->sum += my->inside.frame.result;
        }
        finish(f, my->sum);
    }
}

static void call_inplace_loop(long n)
{
    run_counter(call_inplace_step, n);
}

static void call_heap_step(struct frame *f)
{
    struct counter *my = (struct counter *)f;
    switch (f->state) {
    case 0:
        for (my->i = 0; my->i < my->n; my->i++) {
            my->spawned[0] = child_new(my->i);
            my->spawned[0]->frame.step(&my->spawned[0]->frame);
            if (must_wait(f, &my->spawned[0]->frame)) {
                f->state = 1;
                return;
            case 1:;
            }
            my->sum += my->spawned[0]->frame.result;
            frame_free(my->spawned[0]);
        }
        finish(f, my->sum);
    }
}

static void call_heap_loop(long n)
{
    run_counter(call_heap_step, n);
}

static void spawn_1_step(struct frame *f)
{
    struct counter *my = (struct counter *)f;
    switch (f->state) {
    case 0:
        for (my->i = 0; my->i < my->n; my->i++) {
            my->spawned[0] = child_new(my->i);
            start(&my->spawned[0]->frame);
            if (must_wait(f, &my->spawned[0]->frame)) {
                f->state = 1;
                return;
            case 1:;
            }
            my->sum += my->spawned[0]->frame.result;
            frame_free(my->spawned[0]);
        }
        finish(f, my->sum);
    }
}

static void spawn_1_loop(long n)
{
    run_counter(spawn_1_step, n);
}

static void spawn_1000_step(struct frame *f)
{
    struct counter *my = (struct counter *)f;
    switch (f->state) {
    case 0:
        for (; my->n > 0; my->n -= 1000) {
            for (my->i = 0; my->i < 1000; my->i++) {
                my->spawned[my->i] = child_new(my->i);
                start(&my->spawned[my->i]->frame);
            }
            for (my->i = 0; my->i < 1000; my->i++) {
                if (must_wait(f, &my->spawned[my->i]->frame)) {
                    f->state = 1;
                    return;
                case 1:;
                }
                my->sum += my->spawned[my->i]->frame.result;
                frame_free(my->spawned[my->i]);
            }
        }
        finish(f, my->sum);
    }
}

static void spawn_1000_loop(long n)
{
    run_counter(spawn_1000_step, n);
}

int main(int argc, char **argv)
{
    struct bench b = bench_options(argc, argv);

    b.peer = "c_pool";
    pooled = true;
    measure(&b, "resume", resume_loop);
    measure(&b, "yield", yield_loop);
    measure(&b, "await_done", await_done_loop);
    measure(&b, "call_inplace", call_inplace_loop);
    measure(&b, "call_heap", call_heap_loop);
    measure(&b, "spawn_1", spawn_1_loop);
    measure(&b, "spawn_1000", spawn_1000_loop);

    b.peer = "c_malloc";
    pooled = false;
    measure(&b, "call_heap", call_heap_loop);
    measure(&b, "spawn_1", spawn_1_loop);
    measure(&b, "spawn_1000", spawn_1000_loop);
    return 0;
}
