// SPDX-License-Identifier: MIT
/*
 * threads_coil.c: the rows of threads_c.c, written as a user of coil does.
 *
 *     threads_coil [--quick]
 *
 * ping and submit differ in who waits: in ping two loops call each other, in
 * submit a plain thread blocks until a coroutine has run in the loop.
 */
#include <coil/channel.h>
#include <coil/coroutine.h>
#include <coil/event.h>
#include <coil/executor.h>
#include <coil/loop.h>
#include <coil/remote.h>
#include <coil/remote_task.h>
#include <coil/task.h>
#include <coil/wait.h>

#include <pthread.h>
#include <semaphore.h>

#include "bench.h"

static long total;

static void check(int err)
{
    if (err < 0)
        die("failed: %s", coil_strerror(err));
}

/* ---- executor_1, executor_1000 ------------------------------------------ */

static struct coil_executor *executor;

static struct coil_result increment(void *argument)
{
    return coil_result_int((intptr_t)argument + 1);
}

struct one {
    struct coil_coro coro;
    long n, i, result;
};

static void one(struct coil_coro *co)
{
    ASYNC(one, my) {
        for (my->i = 0; my->i < my->n; my->i++) {
            AWAIT_TO(my->result,
                     coil_run_in_executor(executor, increment,
                                          (void *)(intptr_t)my->i));
            total += my->result;
        }
    }
}

static void executor_1(long n)
{
    check(RUN(one, .n = n));
}

struct thousand {
    struct coil_coro coro;
    struct coil_task *jobs[1000];
    long n, i, result;
};

static void thousand(struct coil_coro *co)
{
    ASYNC(thousand, my) {
        for (; my->n > 0; my->n -= 1000) {
            for (my->i = 0; my->i < 1000; my->i++)
                my->jobs[my->i] = coil_spawn(coil_run_in_executor(
                    executor, increment, (void *)(intptr_t)my->i));
            AWAIT(coil_gather(my->jobs, 1000));
            for (my->i = 0; my->i < 1000; my->i++) {
                AWAIT_TO(my->result, my->jobs[my->i]);
                total += my->result;
                coil_task_drop(&my->jobs[my->i]);
            }
        }
    }
}

static void executor_1000(long n)
{
    check(RUN(thousand, .n = n));
}

/* ---- A loop in another thread ------------------------------------------- */

static struct other {
    pthread_t thread;
    sem_t ready;
    struct coil_loop *loop;
    struct coil_remote *port;
    struct coil_event leave;
    struct coil_handle handle;
} other;

struct resident {
    struct coil_coro coro;
};

static void resident(struct coil_coro *co)
{
    ASYNC(resident, my) {
        coil_event_init(&other.leave);
        other.loop = coil_loop_current();
        other.port = coil_remote_ref(coil_remote_current());
        sem_post(&other.ready);
        AWAIT(coil_event_wait(&other.leave));
    }
}

static void *live(void *arg)
{
    (void)arg;
    check(RUN(resident));
    return NULL;
}

static void other_begin(void)
{
    sem_init(&other.ready, 0, 0);
    if (pthread_create(&other.thread, NULL, live, NULL))
        die("no thread");
    while (sem_wait(&other.ready) < 0)
        continue;
}

static void leave(void *arg)
{
    coil_event_set(arg);
}

static void other_end(void)
{
    coil_call_soon_threadsafe(other.loop, &other.handle, leave, &other.leave);
    pthread_join(other.thread, NULL);
    coil_remote_unref(other.port);
    sem_destroy(&other.ready);
}

/* ---- ping --------------------------------------------------------------- */

struct pinger {
    struct coil_coro coro;
    struct coil_loop *loop;
    struct coil_handle there, back;
    struct coil_event done;
    long left;
};

static void came_back(void *arg);

static void came_there(void *arg)
{
    struct pinger *my = arg;
    coil_call_soon_threadsafe(my->loop, &my->back, came_back, my);
}

static void came_back(void *arg)
{
    struct pinger *my = arg;
    if (--my->left)
        coil_call_soon_threadsafe(other.loop, &my->there, came_there, my);
    else
        coil_event_set(&my->done);
}

static void pinger(struct coil_coro *co)
{
    ASYNC(pinger, my) {
        my->loop = coil_loop_current();
        coil_event_init(&my->done);
        coil_call_soon_threadsafe(other.loop, &my->there, came_there, my);
        AWAIT(coil_event_wait(&my->done));
    }
}

static void ping(long n)
{
    other_begin();
    check(RUN(pinger, .left = n));
    other_end();
}

/* ---- submit ------------------------------------------------------------- */

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

static struct coil_future *ask(void *argument)
{
    return CALL(child, .argument = (intptr_t)argument);
}

static void submit(long n)
{
    other_begin();
    for (long i = 0; i < n; i++) {
        struct coil_result result;
        struct coil_remote_task *ticket = coil_remote_spawn(
            other.port, &(struct coil_remote_job){
                            .make = ask, .arg = (void *)(intptr_t)i });
        check(coil_remote_task_join(ticket, COIL_NEVER, &result));
        check(result.err);
        total += result.value.i;
        coil_remote_task_unref(ticket);
    }
    other_end();
}

/* ---- channel ------------------------------------------------------------ */

struct producer {
    struct coil_coro coro;
    struct coil_channel *channel;
    long n, i;
};

static void producer(struct coil_coro *co)
{
    ASYNC(producer, my) {
        for (my->i = 0; my->i < my->n; my->i++)
            AWAIT(coil_channel_put(my->channel, (void *)(intptr_t)my->i));
        coil_channel_shutdown(my->channel);
    }
}

struct consumer {
    struct coil_coro coro;
    struct coil_channel *channel;
    void *item;
    long received;
};

static void consumer(struct coil_coro *co)
{
    ASYNC(consumer, my) {
        FOR_AWAIT(my->item, coil_channel_items(my->channel)) {
            total += (intptr_t)my->item;
            my->received++;
        }
        RETURN(my->received);
    }
}

struct sending {
    struct coil_channel *channel;
    long n;
};

static void *send_all(void *arg)
{
    struct sending *all = arg;
    check(RUN(producer, .channel = all->channel, .n = all->n));
    return NULL;
}

static void channel(long n)
{
    struct sending all = { coil_channel_new(100, NULL), n };
    pthread_t thread;
    long received = 0;
    if (!all.channel || pthread_create(&thread, NULL, send_all, &all))
        die("no channel or no thread");
    check(RUN_TO(received, consumer, .channel = all.channel));
    pthread_join(thread, NULL);
    coil_channel_unref(all.channel);
    if (received != n)
        die("%ld of %ld items", received, n);
}

int main(int argc, char **argv)
{
    struct bench b = bench_options(argc, argv);
    struct coil_executor_options four = COIL_EXECUTOR_OPTIONS_INIT;
    four.threads_limit = 4;
    executor = coil_executor_new(&four);
    if (!executor)
        die("out of memory");
    b.peer = "coil";
    measure(&b, "executor_1", executor_1);
    measure(&b, "executor_1000", executor_1000);
    measure(&b, "ping", ping);
    measure(&b, "submit", submit);
    measure(&b, "channel", channel);
    coil_executor_free(executor);
    return 0;
}
