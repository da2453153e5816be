// SPDX-License-Identifier: MIT
/*
 * core_coil.c: the rows of core_c.c, written as a user of coil writes them.
 *
 *     core_coil [--quick]
 *
 * resume is one item of a generator, there and back: coil has no resume
 * without somebody who waits. Each loop makes and closes a loop of its own,
 * which is a fraction of a thousandth of it.
 */
#include <coil/coroutine.h>
#include <coil/task.h>
#include <coil/wait.h>

#include "bench.h"

struct child {
    struct coil_coro coro;
    long argument;
};

static void child(struct coil_coro *co)
{
    ASYNC(child, my) {
        RETURN(my->argument + 1);
    }
}

/* ---- resume ----------------------------------------------------------- */

struct count {
    struct coil_coro coro;
    long n, i;
};

static void count(struct coil_coro *co)
{
    ASYNC(count, my) {
        for (my->i = 0; my->i < my->n; my->i++)
            YIELD(my->i);
    }
}

struct resume {
    struct coil_coro coro;
    long n, item, sum;
};

static void resume(struct coil_coro *co)
{
    ASYNC(resume, my) {
        FOR_AWAIT(my->item, CALL(count, .n = my->n))
            my->sum += my->item;
    }
}

static void resume_loop(long n)
{
    RUN(resume, .n = n);
}

/* ---- yield ------------------------------------------------------------ */

struct yielder {
    struct coil_coro coro;
    long left;
};

static void yielder(struct coil_coro *co)
{
    ASYNC(yielder, my) {
        for (; my->left > 0; my->left--)
            AWAIT(coil_sleep(0));
    }
}

struct yielders {
    struct coil_coro coro;
    long n, i;
};

static void yielders(struct coil_coro *co)
{
    ASYNC(yielders, my) {
        for (my->i = 0; my->i < 100; my->i++)
            SPAWN(yielder, .left = my->n / 100);
        JOIN();
    }
}

static void yield_loop(long n)
{
    RUN(yielders, .n = n);
}

/* ---- the rest --------------------------------------------------------- */

/* All have a frame of one layout, so that they differ in what they do only. */
#define COUNTER(name) \
    struct name { \
        struct coil_coro coro; \
        long n, i, result, sum; \
        struct coil_task *spawned[1000]; \
        struct child inside; \
    }

COUNTER(await_done);
COUNTER(call_inplace);
COUNTER(call_heap);
COUNTER(spawn_1);
COUNTER(spawn_1000);

static void await_done(struct coil_coro *co)
{
    ASYNC(await_done, my) {
        my->spawned[0] = SPAWN(child, .argument = 1);
        AWAIT(my->spawned[0]);
        for (my->i = 0; my->i < my->n; my->i++) {
            AWAIT_TO(my->result, my->spawned[0]);
            my->sum += my->result;
        }
    }
}

static void call_inplace(struct coil_coro *co)
{
    ASYNC(call_inplace, my) {
        for (my->i = 0; my->i < my->n; my->i++) {
            AWAIT_TO(my->result,
                     CALL_IN(&my->inside, child, .argument = my->i));
            my->sum += my->result;
        }
    }
}

static void call_heap(struct coil_coro *co)
{
    ASYNC(call_heap, my) {
        for (my->i = 0; my->i < my->n; my->i++) {
            AWAIT_TO(my->result, CALL(child, .argument = my->i));
            my->sum += my->result;
        }
    }
}

static void spawn_1(struct coil_coro *co)
{
    ASYNC(spawn_1, my) {
        for (my->i = 0; my->i < my->n; my->i++) {
            my->spawned[0] = SPAWN(child, .argument = my->i);
            AWAIT_TO(my->result, my->spawned[0]);
            coil_task_drop(&my->spawned[0]);
            my->sum += my->result;
        }
    }
}

static void spawn_1000(struct coil_coro *co)
{
    ASYNC(spawn_1000, my) {
        for (; my->n > 0; my->n -= 1000) {
            for (my->i = 0; my->i < 1000; my->i++)
                my->spawned[my->i] = SPAWN(child, .argument = my->i);
            for (my->i = 0; my->i < 1000; my->i++) {
                AWAIT_TO(my->result, my->spawned[my->i]);
                coil_task_drop(&my->spawned[my->i]);
                my->sum += my->result;
            }
        }
    }
}

static void await_done_loop(long n)
{
    if (RUN(await_done, .n = n) < 0)
        die("await_done failed");
}

static void call_inplace_loop(long n)
{
    if (RUN(call_inplace, .n = n) < 0)
        die("call_inplace failed");
}

static void call_heap_loop(long n)
{
    if (RUN(call_heap, .n = n) < 0)
        die("call_heap failed");
}

static void spawn_1_loop(long n)
{
    if (RUN(spawn_1, .n = n) < 0)
        die("spawn_1 failed");
}

static void spawn_1000_loop(long n)
{
    if (RUN(spawn_1000, .n = n) < 0)
        die("spawn_1000 failed");
}

int main(int argc, char **argv)
{
    struct bench b = bench_options(argc, argv);
    b.peer = "coil";
    measure(&b, "resume", resume_loop);
    measure(&b, "yield", yield_loop);
    measure(&b, "await_done", await_done_loop);
    measure(&b, "call_inplace", call_inplace_loop);
    measure(&b, "call_heap", call_heap_loop);
    measure(&b, "spawn_1", spawn_1_loop);
    measure(&b, "spawn_1000", spawn_1000_loop);
    return 0;
}
