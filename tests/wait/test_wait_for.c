// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_wait_for.c: a time-out around an await, and the races at its end.
 */
#include "work.h"

#include <stdlib.h>

TEST(wait_for_returns_the_result_in_time)
{
    stage_open();
    struct coil_future *f = CALL(work, .id = 5, .passes = 3);
    CHECK_INT(stage_run(await(coil_wait_for(f, COIL_SECONDS(3600)))), 0);
    struct coil_task *t = coil_spawn(CALL(work, .id = 6, .passes = 3));
    CHECK_INT(stage_run(await(coil_wait_for(t, COIL_SECONDS(3600)))), 0);
    f = CALL(work, .err = -EIO, .passes = 3);
    CHECK_INT(stage_run(await(coil_wait_for(f, COIL_SECONDS(3600)))), 0);
    CHECK_TRACE("=5 =6 =-5");
    CHECK_INT(stage_timers(), 0);
    stage_close();
}

// After the deadline it waits for the cleanup, however long that takes.
TEST(wait_for_cancels_and_waits_for_the_end)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *a = stay("a", &op);
    struct coil_task *w = await(coil_wait_for(a, COIL_MS(1)));
    while (!op.cancels)
        coil_loop_pass(stage_loop, COIL_MS(1));
    stage_passes(5);
    CHECK(!coil_task_done(w));
    CHECK_TRACE("");
    hand_set(&op, -ECANCELED, 0);
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("a =-110");
    CHECK_INT(stage_run(a), -ECANCELED);
    CHECK_INT(stage_reason(a), COIL_CANCEL_TIMEOUT);
    stage_close();
}

TEST(wait_for_an_operation_waits_until_it_has_ended)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *w = await(coil_wait_for(hand_op(&op), COIL_MS(1)));
    while (!op.cancels)
        coil_loop_pass(stage_loop, COIL_MS(1));
    stage_passes(3);
    CHECK(!coil_task_done(w));
    hand_set(&op, -ECANCELED, 0);
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("=-110");
    stage_close();
}

// It came too late, but it came: a descriptor may be in it.
TEST(wait_for_returns_the_value_that_comes_with_the_time_out)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_SUCCEEDS, .value = 8 }, then = { 0 };
    struct coil_future *w = coil_wait_for(hand_op(&op), COIL_MS(1));
    struct coil_task *t = coil_spawn(CALL(awaits, .what = w, .then = &then));
    while (!then.started)
        coil_loop_pass(stage_loop, COIL_MS(1));
    CHECK_TRACE("=8");
    CHECK_INT(op.cancels, 1);
    CHECK_INT(then.cancels, 0);
    hand_set(&then, 0, 0);
    CHECK_INT(stage_run(t), 0);
    stage_close();
}

struct will_not_end {
    struct coil_coro coro;
    struct hand *op;
    int err;
};

static void will_not_end(struct coil_coro *co)
{
    ASYNC(will_not_end, my) {
        TRY_ALL(my->err) AWAIT(hand_op(my->op));
        trace("caught%d", my->err);
        AWAIT(coil_sleep(0));
        RETURN(7);
    }
}

// asyncio: what a task returns that caught the cancellation is returned.
TEST(wait_for_returns_what_a_task_returns_that_caught_its_cancellation)
{
    static const int64_t durations[] = { COIL_MS(1), 0 };
    for (int i = 0; i < 2; i++) {
        stage_open();
        struct hand op = { 0 };
        struct coil_task *t = SPAWN(will_not_end, .op = &op);
        stage_passes(1);
        CHECK_INT(stage_run(await(coil_wait_for(t, durations[i]))), 0);
        CHECK_TRACE("caught-125 =7");
        CHECK_INT(stage_timers(), 0);
        stage_close();
    }
}

// Each further request reaches the inner one; the first one says why it ends.
TEST(wait_for_cancelled_twice_asks_the_inner_twice)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *a = stay("a", &op);
    struct coil_task *w = await(coil_wait_for(a, COIL_SECONDS(3600)));
    stage_passes(1);
    coil_task_cancel(w);
    coil_task_cancel(w);
    CHECK_INT(op.cancels, 2);
    stage_passes(2);
    CHECK(!coil_task_done(w));
    hand_set(&op, -ECANCELED, 0);
    CHECK_INT(stage_run(w), -ECANCELED);
    CHECK_TRACE("a");
    CHECK_INT(stage_timers(), 0);
    stage_close();
}

TEST(wait_for_returns_the_error_that_comes_with_the_time_out)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *w = await(coil_wait_for(hand_op(&op), COIL_MS(1)));
    while (!op.cancels)
        coil_loop_pass(stage_loop, COIL_MS(1));
    hand_set(&op, -EIO, 0);
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("=-5");
    stage_close();
}

// No time at all: what is done is taken, what is not never begins.
TEST(wait_for_no_time_takes_what_is_done_and_begins_nothing)
{
    static const int64_t durations[] = { 0, -1, INT64_MIN };
    for (int i = 0; i < 3; i++) {
        int64_t d = durations[i];
        stage_open();
        struct hand op = { 0 };
        int begun = 0, over = 0;
        stage_run(await(coil_wait_for(coil_future_from_int(3), d)));
        CHECK_TRACE("=3");
        stage_run(await(coil_wait_for(hand_op(&op), d)));
        CHECK_TRACE("=-110");
        CHECK_INT(op.started, 0);
        CHECK_INT(op.freed, 1);
        struct coil_future *f = CALL(work, .begun = &begun, .over = &over);
        stage_run(await(coil_wait_for(f, d)));
        CHECK_TRACE("=-110");
        CHECK_INT(begun, 0);
        CHECK_INT(over, 1); /* its FINALLY */
        stage_close();
    }
}

TEST(wait_for_a_task_and_no_time)
{
    stage_open();
    int begun = 0, over = 0;
    struct coil_task *done = coil_spawn(CALL(work, .id = 4));
    stage_passes(2);
    stage_run(await(coil_wait_for(done, 0)));
    CHECK_TRACE("=4");

    /* Spawned, but its first step has not come: it never does. */
    struct coil_task *queued = coil_spawn(
        CALL(awaits, .what = coil_wait_for(done, -1)));
    struct coil_task *w = await(coil_wait_for(queued, 0));
    (void)w;
    stage_passes(5);
    stage_trace[0] = '\0';

    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *a = stay("a", &op);
    stage_passes(1);
    struct coil_task *t = await(coil_wait_for(a, 0));
    stage_passes(3);
    CHECK_INT(op.cancels, 1);
    CHECK(!coil_task_done(t));
    hand_set(&op, -ECANCELED, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("a =-110");

    struct hand late = { .on_cancel = HAND_SUCCEEDS, .value = 9 };
    struct coil_task *b = stay("b", &late);
    stage_passes(1);
    stage_run(await(coil_wait_for(b, 0)));
    CHECK_TRACE("b =9"); /* b returned it, with the request undelivered */

    struct coil_task *c = coil_spawn(
        CALL(work, .passes = 100, .begun = &begun, .over = &over));
    stage_passes(1);
    CHECK_INT(begun, 1);
    stage_run(await(coil_wait_for(c, 0)));
    CHECK_TRACE("=-110");
    CHECK_INT(over, 1);
    stage_close();
}

// The spawner gives its handle back meanwhile: the wait has the result.
TEST(wait_for_a_task_and_no_time_whose_handle_is_dropped)
{
    for (int value = 0; value < 2; value++) {
        stage_open();
        struct hand op = { .on_cancel = HAND_LINGERS };
        struct coil_task *a = coil_spawn(hand_op(&op));
        stage_passes(1);
        struct coil_task *t = await(coil_wait_for(a, 0));
        stage_passes(2);
        CHECK_INT(op.cancels, 1);
        coil_task_drop(&a);
        hand_set(&op, value ? 0 : -ECANCELED, 9);
        CHECK_INT(stage_run(t), 0);
        CHECK_TRACE(value ? "=9" : "=-110");
        stage_close();
    }
}

// From when it is made, as gather() does: the task may be over when it begins.
TEST(wait_for_keeps_a_task_from_when_it_is_made)
{
    for (int64_t duration = 0; duration < 2; duration++) {
        stage_open();
        struct coil_task *a = coil_spawn(CALL(work, .id = 5));
        struct coil_future *f = coil_wait_for(a, duration);
        stage_passes(2);
        coil_task_drop(&a);
        CHECK_INT(stage_run(await(f)), 0);
        CHECK_TRACE("=5");
        a = coil_spawn(CALL(work, .id = 5));
        f = coil_wait_for(a, duration);
        stage_passes(2);
        coil_task_drop(&a);
        coil_discard(f);
        stage_passes(2);
        stage_close();
    }
}

struct waits_for_a_new_task {
    struct coil_coro coro;
    struct coil_task *task;
    int *begun, *over;
    int err;
};

static void waits_for_a_new_task(struct coil_coro *co)
{
    ASYNC(waits_for_a_new_task, my) {
        my->task = SPAWN(work, .begun = my->begun, .over = my->over);
        TRY_AWAIT(my->err, coil_wait_for(my->task, 0));
        trace("%d", my->err);
    }
}

// asyncio: "a coroutine that has not started never starts".
TEST(wait_for_no_time_keeps_a_spawned_task_from_its_first_step)
{
    stage_open();
    int begun = 0, over = 0;
    struct coil_task *t = coil_spawn(
        CALL(waits_for_a_new_task, .begun = &begun, .over = &over));
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("-110");
    CHECK_INT(begun, 0);
    CHECK_INT(over, 1);
    stage_close();
}

TEST(wait_for_cancelled_cancels_the_inner)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *a = stay("a", &op);
    struct coil_task *w = await(coil_wait_for(a, COIL_SECONDS(3600)));
    stage_passes(1);
    coil_task_cancel(w);
    CHECK_INT(stage_run(w), -ECANCELED);
    CHECK_INT(stage_run(a), -ECANCELED);
    CHECK_TRACE("a");
    CHECK_INT(stage_timers(), 0);
    stage_close();
}

// The race that CPython got wrong for years: nothing is swallowed, neither the
// value nor the cancellation.
TEST(wait_for_cancelled_in_the_pass_in_which_the_inner_ended)
{
    stage_open();
    struct hand op = { 0 }, then = { 0 };
    struct coil_task *a = stay("a", &op);
    struct coil_future *f = coil_wait_for(a, COIL_SECONDS(3600));
    struct coil_task *w = coil_spawn(CALL(awaits, .what = f, .then = &then));
    stage_passes(1);
    hand_set(&op, 0, 6);
    stage_passes(1);
    CHECK(coil_task_done(a) && !coil_task_done(w));
    coil_task_cancel(w);
    CHECK_INT(stage_run(w), -ECANCELED);
    CHECK_TRACE("a =6");
    CHECK_INT(then.started, 0);
    CHECK_INT(coil_future_int(coil_task_future(a)), 6);
    stage_close();
}

TEST(wait_for_whose_inner_was_cancelled_by_another_did_not_time_out)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *a = stay("a", &op);
    struct coil_task *w = await(coil_wait_for(a, COIL_SECONDS(3600)));
    stage_passes(1);
    coil_task_cancel(a);
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("a =-125");
    stage_close();
}

TEST(wait_for_timed_out_and_cancelled_is_cancelled)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *w = await(coil_wait_for(hand_op(&op), COIL_MS(1)));
    while (!op.cancels)
        coil_loop_pass(stage_loop, COIL_MS(1));
    coil_task_cancel(w);
    hand_set(&op, -ECANCELED, 0);
    CHECK_INT(stage_run(w), -ECANCELED);
    CHECK_TRACE("");
    stage_close();
}

// Discarded before it began, it discards what it was given.
TEST(wait_for_that_is_dropped_disposes_of_the_inner)
{
    stage_open();
    struct hand op = { 0 };
    int begun = 0, over = 0;
    coil_discard(coil_wait_for(hand_op(&op), 1));
    struct coil_future *f = CALL(work, .begun = &begun, .over = &over);
    coil_discard(coil_wait_for(f, 1));
    stage_passes(3);
    CHECK_INT(op.freed, 1);
    CHECK_INT(begun, 0);
    CHECK_INT(over, 1);
    stage_close();
}

static int freed;

static void count_and_free(void *memory)
{
    freed++;
    free(memory);
}

struct gives {
    struct coil_coro coro;
    int passes;
};

static void gives(struct coil_coro *co)
{
    ASYNC_GIVES(gives, my, count_and_free) {
        for (; my->passes > 0; my->passes--)
            AWAIT(coil_sleep(0));
        RETURN(malloc(1));
    }
}

struct takes {
    struct coil_coro coro;
    int64_t duration;
    void *memory;
    int passes;
};

static void takes(struct coil_coro *co)
{
    ASYNC(takes, my) {
        AWAIT_TO(my->memory, coil_wait_for(CALL(gives, .passes = my->passes),
                                           my->duration));
    FINALLY;
        free(my->memory);
    }
}

// The duty to free goes through wait_for to the await that takes the pointer.
TEST(wait_for_passes_a_pointer_on_with_its_owner)
{
    stage_open();
    CHECK_INT(stage_run(coil_spawn(CALL(takes, .duration = COIL_NEVER))), 0);
    CHECK_INT(freed, 0);
    struct coil_task *t = coil_spawn(
        coil_wait_for(CALL(gives), COIL_NEVER)); /* not taken */
    CHECK_INT(stage_run(t), 0);
    coil_task_drop(&t);
    CHECK_INT(freed, 1);
    stage_close();
}

struct waits_then_asks {
    struct coil_coro coro;
    struct coil_task *task;
    void *memory;
    int through; /* so many wait_fors */
    bool takes, asks;
};

static struct coil_future *through(struct coil_task *task, int n)
{
    struct coil_future *f = coil_wait_for(task, COIL_SECONDS(3600));
    while (--n > 0)
        f = coil_wait_for(f, COIL_SECONDS(3600));
    return f;
}

static void waits_then_asks(struct coil_coro *co)
{
    ASYNC(waits_then_asks, my) {
        my->task = SPAWN(gives, .passes = 2);
        if (my->takes)
            AWAIT_TO(my->memory, through(my->task, my->through));
        else
            AWAIT(through(my->task, my->through));
        CHECK_INT(freed, 0);
        if (my->asks)
            my->memory = coil_future_pointer(coil_task_future(my->task));
        coil_task_drop(&my->task);
        CHECK_INT(freed, !my->asks && !my->takes);
    FINALLY;
        free(my->memory);
    }
}

// Only waiting leaves the value with the task, as `AWAIT(task)` does.
TEST(wait_for_takes_the_value_of_a_task_only_for_who_takes_it)
{
    for (int how = 0; how < 4; how++)
        for (int n = 1; n < 4; n++) {
            stage_open();
            freed = 0;
            struct coil_task *t = SPAWN(waits_then_asks, .through = n,
                                        .takes = how & 1, .asks = how & 2);
            CHECK_INT(stage_run(t), 0);
            stage_close();
            CHECK_INT(freed, how == 0);
        }
}
