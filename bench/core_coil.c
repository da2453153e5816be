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

struct counter {
    struct coil_coro coro;
    long n, i, result, sum;
    struct coil_task *spawned[1000];
    struct child inside;
};

static void await_done(struct coil_coro *co)
{
    ASYNC(counter, my) {
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
    ASYNC(counter, my) {
        for (my->i = 0; my->i < my->n; my->i++) {
            AWAIT_TO(my->result,
                     CALL_IN(&my->inside, child, .argument = my->i));
            my->sum += my->result;
        }
    }
}

static void call_heap(struct coil_coro *co)
{
    ASYNC(counter, my) {
        for (my->i = 0; my->i < my->n; my->i++) {
            AWAIT_TO(my->result, CALL(child, .argument = my->i));
            my->sum += my->result;
        }
    }
}

static void spawn_1(struct coil_coro *co)
{
    ASYNC(counter, my) {
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
    ASYNC(counter, my) {
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

/* The five share a frame, so they are called by hand. */
static void run_counter(coil_step_fn *step, long n)
{
    struct counter frame = { .n = n };
    struct coil_loop *loop;
    if (coil_loop_new(&loop, NULL) < 0)
        die("no loop");
    struct coil_future *f = coili_call(
        coili_frame_new(step, COILI_BLOCK(counter)), sizeof frame, &frame);
    struct coil_task *t = coil_spawn(f);
    if (coil_run_until(loop, t) < 0 || coil_future_error(f) < 0)
        die("a coroutine failed");
    coil_loop_close(loop);
}

static void await_done_loop(long n)
{
    run_counter(await_done, n);
}

static void call_inplace_loop(long n)
{
    run_counter(call_inplace, n);
}

static void call_heap_loop(long n)
{
    run_counter(call_heap, n);
}

static void spawn_1_loop(long n)
{
    run_counter(spawn_1, n);
}

static void spawn_1000_loop(long n)
{
    run_counter(spawn_1000, n);
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
