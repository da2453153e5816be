// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_remote_task.c: tasks in a loop that other threads start, join, cancel or
 * forget; and the loop may close at any moment.
 */
#include "gate.h"
#include "stage.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <coil/remote_task.h>
#include <coil/wait_for.h>

static atomic_int args_freed, results_freed;

static void free_arg(void *arg)
{
    atomic_fetch_add(&args_freed, 1);
    free(arg);
}

static void free_result(void *result)
{
    atomic_fetch_add(&results_freed, 1);
    free(result);
}

/* ---- What the loop does ----------------------------------------------- */

struct doubles {
    struct coil_coro coro;
    int passes;
    int *n;
};

static void doubles(struct coil_coro *co)
{
    ASYNC(doubles, my) {
        for (; my->passes > 0; my->passes--)
            AWAIT(coil_sleep(0));
        int *made = malloc(sizeof *made);
        CHECK(made);
        *made = *my->n * 2;
        RETURN(made);
    }
}

static struct coil_future *doubled(void *arg)
{
    return CALL(doubles, .n = arg, .passes = 3);
}

static struct coil_future *sleeps(void *arg)
{
    (void)arg;
    return coil_sleep(COIL_NEVER);
}

static struct coil_future *fails(void *arg)
{
    (void)arg;
    return coil_future_from_error(-EIO, 0);
}

static struct coil_future *nothing(void *arg)
{
    (void)arg;
    return NULL;
}

static struct coil_remote_task *spawn_remote(struct coil_remote *remote,
                                             coil_remote_make_fn *make)
{
    int *n = malloc(sizeof *n);
    CHECK(n);
    *n = 21;
    return coil_remote_spawn(
        remote, &(struct coil_remote_job){ .make = make,
                                           .arg = n,
                                           .free_arg = free_arg,
                                           .free_result = free_result });
}

/* ---- A loop in another thread ----------------------------------------- */

static struct {
    struct gate gate;
    struct coil_remote *remote;
    pthread_t thread;
} other = { .gate = GATE_INIT };

struct serve {
    struct coil_coro coro;
};

static void serve(struct coil_coro *co)
{
    ASYNC(serve, my) {
        other.remote = coil_remote_ref(coil_remote_current());
        gate_pass(&other.gate);
        AWAIT(coil_sleep(COIL_NEVER));
    }
}

static void *run_other(void *arg)
{
    (void)arg;
    CHECK_INT(RUN(serve), -ECANCELED);
    return NULL;
}

static void other_begin(void)
{
    gate_open(&other.gate, -1);
    CHECK_INT(pthread_create(&other.thread, NULL, run_other, NULL), 0);
    gate_await(&other.gate, 1);
}

static struct coil_future *end_main(void *arg)
{
    (void)arg;
    struct coil_task *t = NULL;
    while ((t = coil_task_next(t)))
        if (strcmp(coil_task_name(t), "serve") == 0)
            coil_task_cancel(t);
    return coil_future_from_int(0);
}

static void other_end(void)
{
    struct coil_remote_task *t = spawn_remote(other.remote, end_main);
    coil_remote_task_unref(t);
    pthread_join(other.thread, NULL);
    coil_remote_unref(other.remote);
    other.gate.there = 0;
}

static struct coil_result result_of(struct coil_remote_task *t)
{
    struct coil_result r;
    CHECK_INT(coil_remote_task_join(t, COIL_NEVER, &r), 0);
    return r;
}

/* ---- Waiting ---------------------------------------------------------- */

TEST(remote_task_brings_the_result_to_another_thread)
{
    other_begin();
    struct coil_remote_task *t = spawn_remote(other.remote, doubled);
    struct coil_result r = result_of(t);
    CHECK_INT(r.kind, COIL_RESULT_POINTER);
    CHECK_INT(*(int *)r.value.p, 42);
    CHECK(coil_remote_task_done(t));
    CHECK(!coil_remote_task_cancel(t));
    free(r.value.p);
    coil_remote_task_unref(t);
    CHECK_INT(args_freed, 1);
    CHECK_INT(results_freed, 0);
    t = spawn_remote(other.remote, fails);
    CHECK_INT(result_of(t).err, -EIO);
    coil_remote_task_unref(t);
    t = spawn_remote(other.remote, nothing);
    CHECK_INT(result_of(t).err, -ENOMEM);
    coil_remote_task_unref(t);
    coil_remote_task_unref(NULL);
    other_end();
    CHECK_INT(args_freed, 4);
}

TEST(remote_task_result_that_nobody_takes_is_freed)
{
    other_begin();
    struct coil_remote_task *t = spawn_remote(other.remote, doubled);
    CHECK_INT(coil_remote_task_join(t, COIL_NEVER, NULL), 0);
    coil_remote_task_unref(t);
    coil_remote_task_unref(spawn_remote(other.remote, doubled));
    other_end();
    /* The second task had a result, or the end of the loop cancelled it. */
    CHECK(results_freed == 1 || results_freed == 2);
    CHECK_INT(args_freed, 3);
}

// A thread that gives up waiting may cancel the task; then the task ends.
TEST(remote_task_wait_has_a_time_out_and_cancel_ends_the_task)
{
    other_begin();
    struct coil_remote_task *t = spawn_remote(other.remote, sleeps);
    struct coil_result r = coil_result_int(5);
    CHECK_INT(coil_remote_task_join(t, COIL_MS(2), &r), -ETIMEDOUT);
    CHECK_INT(coil_remote_task_join(t, 0, &r), -ETIMEDOUT);
    CHECK_INT(r.value.i, 5);
    CHECK(!coil_remote_task_done(t));
    CHECK(coil_remote_task_cancel(t));
    CHECK(coil_remote_task_cancel(t) || coil_remote_task_done(t));
    CHECK_INT(result_of(t).err, -ECANCELED);
    coil_remote_task_unref(t);
    other_end();
}

static void called(void *arg)
{
    gate_pass(arg);
}

TEST(remote_task_callback_is_called_once_it_is_done)
{
    struct gate gate = GATE_INIT;
    gate_open(&gate, -1);
    other_begin();
    struct coil_remote_task *t = spawn_remote(other.remote, fails);
    coil_remote_task_on_done(t, called, &gate);
    gate_await(&gate, 1);
    coil_remote_task_unref(t);
    t = spawn_remote(other.remote, fails);
    result_of(t);
    coil_remote_task_on_done(t, called, &gate);
    CHECK_INT(gate_there(&gate), 2);
    coil_remote_task_unref(t);
    other_end();
}

/* ---- By hand ---------------------------------------------------------- */

// If the task has not begun, `make` is not called at all.
TEST(remote_task_cancelled_before_it_arrives_never_begins)
{
    stage_open();
    struct coil_remote_task *t = spawn_remote(coil_remote_current(), doubled);
    CHECK(coil_remote_task_cancel(t));
    stage_passes(2);
    CHECK_INT(result_of(t).err, -ECANCELED);
    CHECK_INT(stage_tasks(), 0);
    CHECK_INT(args_freed, 1);
    coil_remote_task_unref(t);
    stage_close();
}

TEST(remote_task_of_a_loop_that_closes_is_refused)
{
    stage_open();
    struct coil_remote *remote = coil_remote_ref(coil_remote_current());
    struct coil_remote_task *runs = spawn_remote(remote, sleeps);
    stage_passes(2);
    struct coil_remote_task *late = spawn_remote(remote, sleeps);
    stage_close();
    CHECK_INT(result_of(runs).err, -ECANCELED);
    CHECK_INT(result_of(late).err, COIL_ECLOSED);
    struct coil_remote_task *never = spawn_remote(remote, sleeps);
    CHECK_INT(result_of(never).err, COIL_ECLOSED);
    CHECK(!coil_remote_task_cancel(never));
    CHECK_INT(args_freed, 3);
    coil_remote_task_unref(runs);
    coil_remote_task_unref(late);
    coil_remote_task_unref(never);
    coil_remote_unref(remote);
}

DEATH_TEST(remote_task_waited_for_by_its_own_loop_aborts,
           "in the task's own loop")
{
    stage_open();
    result_of(spawn_remote(coil_remote_current(), sleeps));
}

DEATH_TEST(remote_task_with_two_callbacks_aborts, "one callback")
{
    stage_open();
    struct coil_remote_task *t = spawn_remote(coil_remote_current(), sleeps);
    coil_remote_task_on_done(t, called, NULL);
    coil_remote_task_on_done(t, called, NULL);
}

TEST(remote_task_without_memory_frees_its_argument)
{
    stage_open();
    struct coil_remote *remote = coil_remote_current();
    int *n = malloc(sizeof *n);
    test_fail_allocation(1);
    struct coil_remote_task *t = coil_remote_spawn(
        remote, &(struct coil_remote_job){
                    .make = doubled, .arg = n, .free_arg = free_arg });
    test_fail_allocation(0);
    CHECK(!t);
    CHECK_INT(args_freed, 1);
    stage_close();
}

/* ---- Storm ------------------------------------------------------------ */

#define CLIENTS 4

static atomic_long values, errors;

static void *ask_many(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < (test_is_slow() ? 100 : 500); i++) {
        seed = seed * 1103515245 + 12345;
        struct coil_remote_task *t = spawn_remote(
            other.remote, seed >> 16 & 1 ? doubled : sleeps);
        if (!(seed >> 16 & 1) || seed >> 17 & 1)
            coil_remote_task_cancel(t);
        struct coil_result r;
        if (seed >> 18 & 3) {
            CHECK_INT(coil_remote_task_join(t, COIL_NEVER, &r), 0);
            if (r.err) {
                CHECK(r.err == -ECANCELED || r.err == COIL_ECLOSED);
                atomic_fetch_add(&errors, 1);
            } else {
                CHECK_INT(*(int *)r.value.p, 42);
                free(r.value.p);
                atomic_fetch_add(&values, 1);
            }
        }
        coil_remote_task_unref(t);
    }
    return NULL;
}

// The loop closes in the middle: no thread hangs and no argument is lost.
TEST(remote_task_storm_while_the_loop_closes)
{
    pthread_t threads[CLIENTS];
    other_begin();
    struct coil_remote *remote = coil_remote_ref(other.remote);
    for (uintptr_t i = 0; i < CLIENTS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, ask_many, (void *)i), 0);
    usleep(5000);
    struct coil_remote_task *t = spawn_remote(other.remote, end_main);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(threads[i], NULL);
    pthread_join(other.thread, NULL);
    coil_remote_task_unref(t);
    coil_remote_unref(other.remote);
    coil_remote_unref(remote);
    CHECK_INT(args_freed, CLIENTS * (test_is_slow() ? 100 : 500) + 1);
}

/* ---- Memory ----------------------------------------------------------- */

struct asks_itself {
    struct coil_coro coro;
    struct coil_remote_task *task;
    struct coil_result result;
};

static struct coil_future *naps(void *arg)
{
    (void)arg;
    return coil_wait_for(coil_sleep(0), COIL_SECONDS(60));
}

static void asks_itself(struct coil_coro *co)
{
    ASYNC(asks_itself, my) {
        struct coil_remote *remote = coil_remote_current();
        if (remote)
            my->task = coil_remote_spawn(
                remote, &(struct coil_remote_job){ .make = naps });
        if (!my->task)
            FAIL(-ENOMEM);
        while (!coil_remote_task_done(my->task))
            AWAIT(coil_sleep(0));
        coil_remote_task_join(my->task, 0, &my->result);
        if (my->result.err)
            FAIL(my->result.err);

    FINALLY;
        coil_remote_task_unref(my->task);
    }
}

static int ask_itself(void)
{
    return RUN(asks_itself);
}

TEST(remote_task_survives_every_failed_allocation)
{
    test_every_allocation(ask_itself);
}

/* The pointer is freed with the coroutine's future, unless it was taken. */
struct gives {
    struct coil_coro coro;
};

static int given_freed;

static void free_given(void *p)
{
    free(p);
    given_freed++;
}

static void gives(struct coil_coro *co)
{
    ASYNC_GIVES(gives, my, free_given) {
        RETURN(malloc(8));
    }
}

static struct coil_future *give(void *arg)
{
    (void)arg;
    return CALL(gives);
}

// The result belongs to the remote task, and no longer to the loop's task.
TEST(remote_task_result_of_a_coroutine_that_gives)
{
    stage_open();
    for (int taken = 0; taken < 2; taken++) {
        struct coil_remote_task *t = coil_remote_spawn(
            coil_remote_current(),
            &(struct coil_remote_job){ .make = give,
                                       .free_result = free_given });
        while (!coil_remote_task_done(t))
            coil_loop_pass(stage_loop, COIL_NEVER);
        CHECK_INT(given_freed, 0);
        struct coil_result r;
        if (taken) {
            CHECK_INT(coil_remote_task_join(t, 0, &r), 0);
            memset(r.value.p, 1, 8);
            free_given(r.value.p);
        }
        coil_remote_task_unref(t);
        CHECK_INT(given_freed, 1);
        given_freed = 0;
    }
    stage_close();
}

static void *waits_for_it(void *arg)
{
    coil_remote_task_join(arg, COIL_NEVER, NULL);
    return NULL;
}

// Otherwise the loop, which finishes the task, would wait for its lock.
TEST(remote_task_waited_for_by_a_thread_that_is_cancelled)
{
    pthread_t thread;
    void *end;
    test_timeout(5);
    stage_open();
    struct coil_remote_task *t = coil_remote_spawn(
        coil_remote_current(), &(struct coil_remote_job){ .make = give });
    CHECK_INT(pthread_create(&thread, NULL, waits_for_it, t), 0);
    usleep(1000);
    pthread_cancel(thread);
    pthread_join(thread, &end);
    CHECK(end == PTHREAD_CANCELED);
    while (!coil_remote_task_done(t))
        coil_loop_pass(stage_loop, COIL_NEVER);
    struct coil_result r;
    CHECK_INT(coil_remote_task_join(t, 0, &r), 0);
    free_given(r.value.p);
    coil_remote_task_unref(t);
    stage_close();
}
