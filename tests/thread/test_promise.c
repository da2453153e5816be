// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_promise.c: promises that a thread sets and a loop awaits, and either of
 * the two may give up.
 */
#include "stage.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <coil/promise.h>

static atomic_int freed;

static void free_value(void *value)
{
    atomic_fetch_add(&freed, 1);
    free(value);
}

static char *text(const char *s)
{
    char *copy = strdup(s);
    CHECK(copy);
    return copy;
}

static void drive(struct coil_task *task)
{
    while (!coil_task_done(task))
        coil_loop_pass(stage_loop, COIL_NEVER);
}

struct waits {
    struct coil_coro coro;
    struct coil_promise *promise;
    char *text;
};

static void waits(struct coil_coro *co)
{
    ASYNC(waits, my) {
        AWAIT_TO(my->text, coil_promise_future(my->promise));
        trace("%s", my->text);

    FINALLY;
        free(my->text);
    }
}

static void *set_it(void *arg)
{
    struct coil_promise *promise = arg;
    CHECK(coil_promise_set(promise, coil_result_pointer(text("hello"))));
    coil_promise_unref(promise);
    return NULL;
}

TEST(promise_set_by_a_thread_wakes_the_loop)
{
    pthread_t thread;
    stage_open();
    struct coil_promise *promise = coil_promise_new(free_value);
    struct coil_task *task = SPAWN(waits, .promise = promise);
    stage_passes(1);
    CHECK_INT(pthread_create(&thread, NULL, set_it, promise), 0);
    drive(task);
    pthread_join(thread, NULL);
    CHECK_TRACE("hello");
    CHECK_INT(freed, 0);
    stage_close();
}

// Before its future is made, before that is awaited, before the call arrives.
TEST(promise_set_before_it_is_awaited)
{
    stage_open();
    for (int passes = 0; passes < 3; passes++) {
        struct coil_promise *promise = coil_promise_new(free_value);
        set_it(coil_promise_ref(promise));
        stage_passes(passes);
        struct coil_task *task = SPAWN(waits, .promise = promise);
        drive(task);
        coil_promise_unref(promise);
        CHECK_TRACE("hello");
    }
    CHECK_INT(freed, 0);
    stage_close();
}

TEST(promise_brings_errors_and_details)
{
    stage_open();
    struct coil_promise *promise = coil_promise_new(NULL);
    coil_promise_set(promise, coil_result_error_detail(-EIO, 12));
    struct coil_task *task = coil_spawn(coil_promise_future(promise));
    coil_promise_unref(promise);
    CHECK_INT(stage_run(task), -EIO);
    CHECK_INT(coil_future_detail(coil_task_future(task)), 12);
    stage_close();
}

// The last setter drops its reference: the await fails and does not hang.
TEST(promise_that_nobody_can_set_is_broken)
{
    stage_open();
    struct coil_promise *promise = coil_promise_new(free_value);
    struct coil_task *task = SPAWN(waits, .promise = promise);
    coil_promise_ref(promise);
    coil_promise_unref(promise);
    stage_passes(3);
    CHECK(!coil_task_done(task));
    coil_promise_unref(promise);
    CHECK_INT(stage_run(task), COIL_EBROKEN);
    stage_close();
}

TEST(promise_cancelled_tells_who_sets_it)
{
    stage_open();
    struct coil_promise *promise = coil_promise_new(free_value);
    struct coil_task *task = SPAWN(waits, .promise = promise);
    stage_passes(1);
    CHECK(!coil_promise_abandoned(promise));
    coil_task_cancel(task);
    CHECK_INT(stage_run(task), -ECANCELED);
    CHECK(coil_promise_abandoned(promise));
    CHECK(!coil_promise_set(promise, coil_result_pointer(text("late"))));
    CHECK_INT(freed, 1);
    coil_promise_unref(promise);
    CHECK_TRACE("");
    stage_close();
}

// A future that was not awaited has not begun: its class was not told.
TEST(promise_cancelled_before_it_is_awaited_is_abandoned)
{
    stage_open();
    struct coil_promise *promise = coil_promise_new(free_value);
    struct coil_future *f = coil_promise_future(promise);
    CHECK(coil_future_cancel(f));
    CHECK_INT(coil_future_error(f), -ECANCELED);
    CHECK(coil_promise_abandoned(promise));
    CHECK(!coil_promise_set(promise, coil_result_pointer(text("late"))));
    CHECK_INT(freed, 1);
    coil_future_unref(f);
    coil_promise_unref(promise);

    /* It was set before: the value has arrived. */
    promise = coil_promise_new(free_value);
    f = coil_promise_future(promise);
    CHECK(coil_promise_set(promise, coil_result_pointer(text("in time"))));
    CHECK(coil_future_cancel(f));
    CHECK_STR(coil_future_pointer(f), "in time");
    free_value(coil_future_pointer(f));
    CHECK_INT(freed, 2);
    stage_passes(1);
    coil_future_unref(f);
    coil_promise_unref(promise);
    CHECK_INT(freed, 2);
    stage_close();
}

// A value that is on its way is delivered, also if the await is cancelled.
TEST(promise_set_then_cancelled_delivers)
{
    stage_open();
    struct coil_promise *promise = coil_promise_new(free_value);
    struct coil_task *task = SPAWN(waits, .promise = promise);
    stage_passes(1);
    set_it(promise);
    coil_task_cancel(task);
    drive(task);
    CHECK_TRACE("hello");
    CHECK_INT(freed, 0);
    stage_close();
}

TEST(promise_whose_future_is_dropped_is_abandoned)
{
    stage_open();
    struct coil_promise *promise = coil_promise_new(free_value);
    coil_future_unref(coil_promise_future(promise));
    CHECK(!coil_promise_set(promise, coil_result_pointer(text("late"))));
    CHECK_INT(freed, 1);
    coil_promise_unref(promise);

    /* It is set, and its future is never made. */
    promise = coil_promise_new(free_value);
    CHECK(coil_promise_set(promise, coil_result_pointer(text("unread"))));
    coil_promise_unref(promise);
    stage_passes(1);
    CHECK_INT(freed, 2);
    stage_close();
}

// The value is delivered to a task, and is never taken from it.
TEST(promise_value_that_nobody_takes_is_freed)
{
    stage_open();
    struct coil_promise *promise = coil_promise_new(free_value);
    struct coil_task *task = coil_spawn(coil_promise_future(promise));
    set_it(promise);
    drive(task);
    CHECK_INT(freed, 0);
    coil_task_drop(&task);
    CHECK_INT(freed, 1);
    stage_close();
}

TEST(promise_outlives_its_loop)
{
    stage_open();
    struct coil_promise *promise = coil_promise_new(free_value);
    struct coil_promise *unread = coil_promise_new(free_value);
    struct coil_promise *broken = coil_promise_new(free_value);
    SPAWN(waits, .promise = broken);
    CHECK(coil_promise_set(unread, coil_result_pointer(text("unread"))));
    stage_passes(1);
    stage_close();
    CHECK(!coil_promise_set(promise, coil_result_pointer(text("late"))));
    CHECK_INT(freed, 1);
    coil_promise_unref(promise);
    coil_promise_unref(unread);
    CHECK_INT(freed, 2);
    coil_promise_unref(broken);
}

DEATH_TEST(promise_set_twice_aborts, "the promise is set already")
{
    stage_open();
    struct coil_promise *promise = coil_promise_new(NULL);
    coil_promise_set(promise, coil_result_int(1));
    coil_promise_set(promise, coil_result_int(1));
}

DEATH_TEST(promise_awaited_twice_aborts, "one future")
{
    stage_open();
    struct coil_promise *promise = coil_promise_new(NULL);
    coil_future_unref(coil_promise_future(promise));
    coil_future_unref(coil_promise_future(promise));
}

/* ---- Storm ------------------------------------------------------------ */

#define SETTERS 3

static struct {
    pthread_mutex_t lock;
    struct coil_promise *line[64];
    size_t n;
    bool over;
    atomic_long set, refused, got;
} storm = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void *set_many(void *arg)
{
    (void)arg;
    for (;;) {
        pthread_mutex_lock(&storm.lock);
        struct coil_promise *p = storm.n ? storm.line[--storm.n] : NULL;
        bool over = storm.over;
        pthread_mutex_unlock(&storm.lock);
        if (p) {
            bool ok = coil_promise_set(p, coil_result_pointer(malloc(8)));
            atomic_fetch_add(ok ? &storm.set : &storm.refused, 1);
            coil_promise_unref(p);
        } else if (over) {
            return NULL;
        }
    }
}

struct many {
    struct coil_coro coro;
    struct coil_promise *promise;
    struct coil_task *tasks[64];
    void *value;
    int round, rounds, i, err;
    long got, cancelled;
};

static void many(struct coil_coro *co)
{
    ASYNC(many, my) {
        for (; my->round < my->rounds; my->round++) {
            for (my->i = 0; my->i < 64; my->i++) {
                struct coil_promise *p = coil_promise_new(free_value);
                my->tasks[my->i] = coil_spawn(coil_promise_future(p));
                pthread_mutex_lock(&storm.lock);
                storm.line[storm.n++] = p;
                pthread_mutex_unlock(&storm.lock);
            }
            AWAIT(coil_sleep(0));
            for (my->i = 0; my->i < 64; my->i += 3)
                coil_task_cancel(my->tasks[my->i]);
            for (my->i = 0; my->i < 64; my->i++) {
                TRY_ALL(my->err) AWAIT(my->tasks[my->i]);
                if (my->err == 0) {
                    my->got++;
                    free(coil_future_pointer(
                        coil_task_future(my->tasks[my->i])));
                } else {
                    my->cancelled++;
                }
                coil_task_drop(&my->tasks[my->i]);
            }
            /* `line` is short: wait until the cancelled ones were set, too. */
            for (;;) {
                pthread_mutex_lock(&storm.lock);
                size_t n = storm.n;
                pthread_mutex_unlock(&storm.lock);
                if (n == 0)
                    break;
                AWAIT(coil_sleep(0));
            }
        }
        atomic_fetch_add(&storm.got, my->got);
    }
}

// Each value is delivered or refused, as coil_promise_set() has told.
TEST(promise_is_delivered_or_refused)
{
    pthread_t threads[SETTERS];
    for (int i = 0; i < SETTERS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, set_many, NULL), 0);
    CHECK_INT(RUN(many, .rounds = test_is_slow() ? 10 : 100), 0);
    pthread_mutex_lock(&storm.lock);
    storm.over = true;
    pthread_mutex_unlock(&storm.lock);
    for (int i = 0; i < SETTERS; i++)
        pthread_join(threads[i], NULL);
    CHECK_INT(freed, storm.refused);
    CHECK_INT(storm.got, storm.set);
}

/* ---- Memory ----------------------------------------------------------- */

struct one {
    struct coil_coro coro;
    struct coil_promise *promise;
    int n;
};

static void one(struct coil_coro *co)
{
    ASYNC(one, my) {
        my->promise = coil_promise_new(NULL);
        if (my->promise)
            coil_promise_set(my->promise, coil_result_int(4));
        AWAIT_TO(my->n, coil_promise_future(my->promise));

    FINALLY;
        if (my->promise)
            coil_promise_unref(my->promise);
    }
}

static int run_one(void)
{
    return RUN(one);
}

TEST(promise_survives_every_failed_allocation)
{
    test_every_allocation(run_one);
}

// A future that was detached ends when its loop closes.
TEST(promise_detached_ends_with_its_loop)
{
    for (int i = 0; i < 2; i++) {
        stage_open();
        struct coil_promise *p = coil_promise_new(free);
        coil_detach_future(coil_promise_future(p));
        stage_close();
        CHECK(!coil_promise_set(p, coil_result_pointer(malloc(1))));
        CHECK(coil_promise_abandoned(p));
        coil_promise_unref(p);
    }
}
