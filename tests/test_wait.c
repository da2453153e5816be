// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_wait.c: waiting for several tasks, by asyncio's rules, with children
 * that are done at creation and with a cancellation at every pass.
 */
#include "stage.h"

#include <stdlib.h>

/* Takes so many passes, then ends as it is told. */
struct work {
    struct coil_coro coro;
    int id, passes, err;
    int cleanup; /* passes in FINALLY */
    int *begun, *over, *running, *most;
};

static void work(struct coil_coro *co)
{
    ASYNC(work, my) {
        if (my->begun)
            ++*my->begun;
        if (my->running && ++*my->running > *my->most)
            *my->most = *my->running;
        for (; my->passes > 0; my->passes--)
            AWAIT(coil_sleep(0));
        if (my->err)
            FAIL(my->err);
        RETURN(my->id);

    FINALLY;
        for (; my->cleanup > 0; my->cleanup--)
            AWAIT(coil_sleep(0));
        if (my->running)
            --*my->running;
        if (my->over)
            ++*my->over;
    }
}

/* Waits for ever; says when it is told to end. */
struct stays {
    struct coil_coro coro;
    const char *name;
    struct hand *op;
    int64_t value;
};

static void stays(struct coil_coro *co)
{
    ASYNC(stays, my) {
        AWAIT_TO(my->value, hand_op(my->op));
        RETURN(my->value);
    FINALLY;
        trace("%s", my->name);
    }
}

static struct coil_task *stay(const char *name, struct hand *op)
{
    return coil_spawn(CALL(stays, .name = name, .op = op));
}

/* Awaits a combinator that the test has made; then something else. */
struct awaits {
    struct coil_coro coro;
    struct coil_future *what;
    struct hand *then;
    int err;
    int64_t value;
};

static void awaits(struct coil_coro *co)
{
    ASYNC(awaits, my) {
        struct coil_future *what = my->what;
        my->what = NULL;
        TRY_AWAIT_TO(my->err, my->value, what);
        trace("=%d", my->err ? my->err : (int)my->value);
        if (my->then)
            AWAIT(hand_op(my->then));
        RETURN(my->err ? my->err : my->value);
    FINALLY;
        if (my->what)
            coil_drop(my->what);
    }
}

static struct coil_task *await(struct coil_future *what)
{
    return coil_spawn(CALL(awaits, .what = what));
}

/* ---- gather ----------------------------------------------------------- */

TEST(gather_ends_when_all_have_ended_well)
{
    stage_open();
    struct hand op[3] = { { 0 }, { 0 }, { 0 } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]),
                              stay("c", &op[2]) };
    struct coil_task *g = await(coil_gather(t, 3));
    stage_passes(1);
    hand_set(&op[2], 0, 30);
    stage_passes(3);
    hand_set(&op[0], 0, 10);
    stage_passes(3);
    CHECK(!coil_task_done(g));
    hand_set(&op[1], 0, 20);
    CHECK_INT(stage_run(g), 0);
    CHECK_TRACE("c a b =3");
    for (int i = 0; i < 3; i++)
        CHECK_INT(coil_future_int(coil_task_future(t[i])), 10 * (i + 1));
    stage_close();
}

// asyncio: gather() of nothing is done already.
TEST(gather_of_nothing_is_done)
{
    stage_open();
    struct coil_task *none = NULL;
    struct coil_task *g = await(coil_gather(&none, 0));
    stage_passes(1);
    CHECK(coil_task_done(g));
    g = await(coil_gather_settled(&none, 0));
    stage_passes(1);
    CHECK(coil_task_done(g));
    CHECK_TRACE("=0 =0");
    stage_close();
}

TEST(gather_of_what_is_done_takes_no_pass)
{
    stage_open();
    struct coil_task *t[2];
    for (int i = 0; i < 2; i++)
        CHECK_INT(stage_run(t[i] = coil_spawn(CALL(work, .id = i))), 0);
    struct coil_task *g = await(coil_gather(t, 2));
    stage_passes(1);
    CHECK(coil_task_done(g));
    CHECK_TRACE("=2");
    stage_close();
}

TEST(gather_of_what_has_failed_fails_at_once)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t[3] = { stay("a", &op),
                               coil_spawn(CALL(work, .err = -EIO)),
                               coil_spawn(CALL(work, .err = -EPIPE)) };
    stage_passes(2);
    struct coil_task *g = await(coil_gather(t, 3));
    stage_passes(1);
    CHECK(coil_task_done(g));
    CHECK_TRACE("=-5");
    stage_close();
    CHECK_TRACE("a");
    CHECK_INT(stage_reported.n, 0);
}

// The first error at once; the others go on, and what they end with is theirs.
TEST(gather_fails_with_the_first_error_and_lets_the_others_go_on)
{
    stage_open();
    struct hand op[3] = { { 0 }, { 0 }, { 0 } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]),
                              stay("c", &op[2]) };
    struct coil_task *g = await(coil_gather(t, 3));
    stage_passes(1);
    hand_set(&op[1], -EIO, 0);
    CHECK_INT(stage_run(g), 0);
    CHECK_TRACE("b =-5");
    CHECK_INT(op[0].cancels + op[2].cancels, 0);
    hand_set(&op[0], -EPIPE, 0);
    hand_set(&op[2], 0, 7);
    stage_passes(1);
    CHECK_TRACE("a c");
    CHECK_INT(coil_future_int(coil_task_future(t[2])), 7);
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

// A child that somebody cancelled is an error; the gather was not cancelled.
TEST(gather_with_a_cancelled_child_fails_but_is_not_cancelled)
{
    stage_open();
    struct hand op[2] = { { 0 }, { 0 } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]) };
    struct coil_task *g = await(coil_gather(t, 2));
    stage_passes(1);
    coil_task_cancel(t[0]);
    CHECK_INT(stage_run(g), 0);
    CHECK_INT(coil_future_int(coil_task_future(g)), -ECANCELED);
    CHECK_TRACE("a =-125");
    CHECK_INT(op[1].cancels, 0);
    stage_close();
}

TEST(gather_cancelled_cancels_all)
{
    stage_open();
    struct hand op[3] = { { 0 }, { 0 }, { 0 } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]),
                              stay("c", &op[2]) };
    struct coil_task *g = await(coil_gather(t, 3));
    stage_passes(1);
    hand_set(&op[0], 0, 1);
    stage_passes(2);
    coil_task_cancel(g);
    CHECK_INT(stage_run(g), -ECANCELED);
    for (int i = 1; i < 3; i++)
        CHECK_INT(stage_run(t[i]), -ECANCELED);
    CHECK_TRACE("a b c");
    stage_close();
}

// asyncio test_cancel_gather_1: with nothing left to cancel, it has succeeded.
TEST(gather_cancelled_after_all_have_ended_returns_and_the_next_await_is_struck)
{
    stage_open();
    struct hand op[2] = { { 0 }, { 0 } }, then = { 0 };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]) };
    struct coil_task *g = coil_spawn(
        CALL(awaits, .what = coil_gather(t, 2), .then = &then));
    stage_passes(1);
    hand_set(&op[0], 0, 1);
    hand_set(&op[1], 0, 2);
    stage_passes(1);
    CHECK_TRACE("a b");
    CHECK(!coil_task_done(g));
    coil_task_cancel(g);
    CHECK_INT(stage_run(g), -ECANCELED);
    CHECK_TRACE("=2");
    CHECK_INT(then.started, 0);
    stage_close();
}

// One task twice is one task; asyncio repeats its value.
TEST(gather_takes_the_same_task_twice)
{
    for (int way = 0; way < 3; way++) {
        stage_open();
        struct hand op = { 0 };
        struct coil_task *a = stay("a", &op);
        struct coil_task *t[] = { a, a, a };
        struct coil_task *g = await(coil_gather(t, 3));
        stage_passes(1);
        if (way == 0)
            hand_set(&op, 0, 1);
        else if (way == 1)
            hand_set(&op, -EIO, 0);
        else
            coil_task_cancel(g);
        CHECK_INT(stage_run(g), way == 2 ? -ECANCELED : 0);
        CHECK_TRACE(way == 0 ? "a =3" : way == 1 ? "a =-5" : "a");
        stage_close();
    }
}

struct gathers_calls {
    struct coil_coro coro;
    struct hand *op;
    int n, err;
};

static void gathers_calls(struct coil_coro *co)
{
    ASYNC(gathers_calls, my) {
        struct coil_future *calls[] = {
            CALL(stays, .name = "a", .op = &my->op[0]),
            hand_op(&my->op[1]),
            CALL(work, .passes = 2, .err = my->err),
        };
        TRY_AWAIT_TO(my->err, my->n, coil_gather(calls, 3));
        trace("=%d", my->err ? my->err : my->n);
    FINALLY;
        trace("finally");
    }
}

// An array of futures: each becomes a task, a child of whoever calls gather.
TEST(gather_makes_tasks_of_futures)
{
    stage_open();
    struct hand op[2] = { { 0 }, { 0 } };
    struct coil_task *t = coil_spawn(CALL(gathers_calls, .op = op));
    stage_passes(5);
    hand_set(&op[0], 0, 1);
    hand_set(&op[1], 0, 1);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("a =3 finally");
    stage_close();
}

// They are children: what a failed gather leaves running ends with the caller.
TEST(gather_of_futures_leaves_none_behind_when_it_fails)
{
    stage_open();
    struct hand op[2] = { { 0 }, { 0 } };
    struct coil_task *t = coil_spawn(
        CALL(gathers_calls, .op = op, .err = -EIO));
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("=-5 a finally");
    CHECK_INT(op[0].cancels + op[1].cancels, 2);
    CHECK_INT(stage_tasks(), 0);
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

struct gathers_again {
    struct coil_coro coro;
    int i, rounds;
    size_t memory, at_most;
};

static size_t memory_taken(void)
{
    struct coil_stats stats;
    coil_loop_stats(coil_loop_current(), &stats);
    return stats.memory;
}

static void gathers_again(struct coil_coro *co)
{
    ASYNC(gathers_again, my) {
        for (my->i = 0; my->i < my->rounds; my->i++) {
            struct coil_future *calls[] = {
                CALL(work, .passes = 1),
                CALL(work, .passes = my->i % 3),
            };
            AWAIT(coil_gather(calls, 2));
            if (my->i == 10)
                my->memory = memory_taken();
        }
        CHECK_INT(memory_taken(), my->memory);
    }
}

// Nobody can ask those tasks for anything: a server's loop must not grow.
TEST(gather_of_futures_keeps_no_memory)
{
    stage_open();
    CHECK_INT(stage_run(coil_spawn(CALL(gathers_again, .rounds = 2000))), 0);
    stage_close();
}

struct spawns_two {
    struct coil_coro coro;
    struct coil_task **tasks;
    struct hand *op, *until;
};

static void spawns_two(struct coil_coro *co)
{
    ASYNC(spawns_two, my) {
        my->tasks[0] = SPAWN(stays, .name = "a", .op = &my->op[0]);
        my->tasks[1] = SPAWN(stays, .name = "b", .op = &my->op[1]);
        AWAIT(hand_op(my->until));
    }
}

struct listens {
    struct coil_coro coro;
    struct coil_task **tasks, *done;
    int n;
};

static void listens(struct coil_coro *co)
{
    ASYNC(listens, my) {
        FOR_AWAIT(my->done, coil_as_completed(my->tasks, 2))
            my->n += coil_future_error(coil_task_future(my->done));
        trace("=%d", my->n);
    }
}

// The spawner ends, and its tasks with it, in the pass before the wait's turn.
TEST(wait_for_tasks_may_outlive_their_spawner)
{
    for (int way = 0; way < 4; way++) {
        stage_open();
        struct hand op[2] = { { 0 }, { 0 } }, until = { 0 };
        struct coil_task *t[2];
        struct coil_task *spawner = coil_spawn(
            CALL(spawns_two, .tasks = t, .op = op, .until = &until));
        stage_passes(2);
        struct coil_task *w =
            way == 0   ? await(coil_gather(t, 2))
            : way == 1 ? await(coil_gather_settled(t, 2))
            : way == 2 ? await(coil_wait(t, 2, COIL_ALL_COMPLETED, COIL_NEVER))
                       : coil_spawn(CALL(listens, .tasks = t));
        stage_passes(1);
        hand_set(&until, 0, 0);
        CHECK_INT(stage_run(spawner), 0);
        coil_task_drop(&spawner);
        CHECK_INT(stage_run(w), 0);
        CHECK_TRACE(way == 0   ? "a b =-125"
                    : way == 3 ? "a b =-250"
                               : "a b =2");
        stage_close();
    }
}

// It borrows the tasks: dropping a gather that was not awaited touches none.
TEST(gather_that_is_dropped_leaves_the_tasks_alone)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *a = stay("a", &op);
    coil_drop(coil_gather(&a, 1));
    stage_passes(2);
    CHECK_INT(op.cancels, 0);
    hand_set(&op, 0, 1);
    CHECK_INT(stage_run(a), 0);
    stage_trace[0] = '\0';
    stage_close();
}

TEST(gather_with_a_failed_spawn_fails_for_want_of_memory)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t[] = { stay("a", &op),
                              coil_spawn(coil_future_nomem()) };
    CHECK_INT(stage_run(await(coil_gather(t, 2))), 0);
    CHECK_TRACE("=-12");
    stage_close();
    CHECK_TRACE("a");
}

/* ---- gather_settled --------------------------------------------------- */

TEST(gather_settled_waits_for_all_and_counts_failures)
{
    stage_open();
    struct coil_task *t[] = {
        coil_spawn(CALL(work, .passes = 3, .err = -EIO)),
        coil_spawn(CALL(work, .passes = 1)),
        coil_spawn(CALL(work, .passes = 2, .err = -ECANCELED)),
        coil_spawn(coil_future_nomem()),
    };
    CHECK_INT(stage_run(await(coil_gather_settled(t, 4))), 0);
    CHECK_TRACE("=3");
    for (int i = 0; i < 4; i++)
        CHECK(coil_task_done(t[i]));
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

// Cancelled it still waits: whoever lent something to the tasks has it back.
TEST(gather_settled_cancelled_waits_for_all)
{
    stage_open();
    struct hand op[2] = { { 0 }, { .on_cancel = HAND_LINGERS } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]) };
    struct coil_task *g = await(coil_gather_settled(t, 2));
    stage_passes(1);
    coil_task_cancel(g);
    stage_passes(5);
    CHECK(!coil_task_done(g));
    CHECK_TRACE("a");
    hand_set(&op[1], -ECANCELED, 0);
    CHECK_INT(stage_run(g), -ECANCELED);
    CHECK_TRACE("b");
    stage_close();
}

// Who asks a second time does not want to wait. The tasks are not ours to own.
TEST(gather_settled_cancelled_twice_ends_at_once)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *a = stay("a", &op);
    struct coil_task *g = await(coil_gather_settled(&a, 1));
    stage_passes(1);
    coil_task_cancel(g);
    stage_passes(3);
    CHECK(!coil_task_done(g));
    coil_task_cancel(g);
    CHECK_INT(stage_run(g), -ECANCELED);
    CHECK_INT(op.cancels, 2);
    hand_set(&op, -ECANCELED, 0);
    CHECK_INT(stage_run(a), -ECANCELED);
    CHECK_TRACE("a");
    stage_close();
}

// What they end with after that concerns nobody, as in asyncio.
TEST(gather_cancelled_leaves_no_errors_to_report)
{
    stage_open();
    struct hand op[2] = { { .on_cancel = HAND_LINGERS },
                          { .on_cancel = HAND_LINGERS } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]) };
    struct coil_task *g = await(coil_gather(t, 2));
    stage_passes(1);
    coil_task_cancel(g);
    CHECK_INT(stage_run(g), -ECANCELED);
    CHECK_TRACE("");
    hand_set(&op[0], -EIO, 0);
    hand_set(&op[1], 0, 1);
    stage_close();
    CHECK_TRACE("a b");
    CHECK_INT(stage_reported.n, 0);
}

/* ---- wait ------------------------------------------------------------- */

TEST(wait_for_all_never_fails_with_their_errors)
{
    stage_open();
    struct coil_task *t[] = { coil_spawn(CALL(work, .passes = 3, .err = -EIO)),
                              coil_spawn(CALL(work, .passes = 1)) };
    struct coil_task *w = await(
        coil_wait(t, 2, COIL_ALL_COMPLETED, COIL_NEVER));
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("=2");
    stage_close();
    CHECK_INT(stage_reported.n, 1); /* nobody fetched it */
}

TEST(wait_for_the_first_ends_with_it)
{
    stage_open();
    struct hand op[3] = { { 0 }, { 0 }, { 0 } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]),
                              stay("c", &op[2]) };
    struct coil_task *w = await(
        coil_wait(t, 3, COIL_FIRST_COMPLETED, COIL_NEVER));
    stage_passes(1);
    hand_set(&op[1], -EIO, 0);
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("b =1");
    CHECK(coil_task_done(t[1]) && !coil_task_done(t[0]));
    CHECK_INT(coil_future_error(coil_task_future(t[1])), -EIO);
    stage_close();
    CHECK_TRACE("a c");
}

// asyncio test_wait_really_done: what has ended by then is counted, too.
TEST(wait_counts_all_that_are_done_when_it_ends)
{
    stage_open();
    struct hand op[3] = { { 0 }, { 0 }, { 0 } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]),
                              stay("c", &op[2]) };
    struct coil_task *w = await(
        coil_wait(t, 3, COIL_FIRST_COMPLETED, COIL_NEVER));
    stage_passes(1);
    hand_set(&op[2], 0, 1);
    hand_set(&op[0], 0, 1);
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("c a =2");
    stage_close();
    CHECK_TRACE("b");
}

// asyncio: FIRST_EXCEPTION ignores those that were cancelled.
TEST(wait_for_the_first_exception_ignores_the_cancelled)
{
    stage_open();
    struct hand op[3] = { { 0 }, { 0 }, { 0 } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]),
                              stay("c", &op[2]) };
    struct coil_task *w = await(
        coil_wait(t, 3, COIL_FIRST_EXCEPTION, COIL_NEVER));
    stage_passes(1);
    coil_task_cancel(t[0]);
    stage_passes(3);
    CHECK(!coil_task_done(w));
    hand_set(&op[1], -EIO, 0);
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("a b =2");
    CHECK(coil_future_error(coil_task_future(t[1])) == -EIO);
    stage_close();
    CHECK_TRACE("c");
}

TEST(wait_for_the_first_exception_ends_when_all_have_ended_without)
{
    stage_open();
    struct coil_task *t[] = { coil_spawn(CALL(work, .passes = 3)),
                              coil_spawn(CALL(work, .passes = 1)) };
    struct coil_task *w = await(
        coil_wait(t, 2, COIL_FIRST_EXCEPTION, COIL_NEVER));
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("=2");
    stage_close();
}

// Each mode, with what it waits for there already.
TEST(wait_for_what_is_there_already_takes_no_pass)
{
    static const enum coil_wait_mode modes[] = {
        COIL_FIRST_COMPLETED, COIL_FIRST_COMPLETED, COIL_FIRST_EXCEPTION
    };
    for (int i = 0; i < 3; i++) {
        stage_open();
        struct hand op = { 0 };
        struct coil_task *t[] = {
            stay("a", &op), coil_spawn(CALL(work, .err = i ? -EIO : 0))
        };
        stage_passes(2);
        struct coil_task *w = await(coil_wait(t, 2, modes[i], COIL_NEVER));
        stage_passes(1);
        CHECK(coil_task_done(w));
        CHECK_TRACE("=1");
        coil_task_quiet(t[1]);
        stage_close();
        stage_trace[0] = '\0';
    }
}

TEST(wait_for_the_first_exception_is_not_done_by_one_cancelled_already)
{
    stage_open();
    struct hand op[2] = { { 0 }, { 0 } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]) };
    stage_passes(1);
    coil_task_cancel(t[0]);
    stage_passes(2);
    struct coil_task *w = await(
        coil_wait(t, 2, COIL_FIRST_EXCEPTION, COIL_NEVER));
    stage_passes(3);
    CHECK(!coil_task_done(w));
    hand_set(&op[1], 0, 0);
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("a b =2");
    stage_close();
}

TEST(wait_returns_after_its_time_out_and_cancels_nobody)
{
    static const int64_t timeouts[] = { COIL_MS(1), 0, -COIL_SECONDS(1) };
    for (int i = 0; i < 3; i++) {
        stage_open();
        struct hand op[2] = { { 0 }, { 0 } };
        struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]) };
        struct coil_task *w = await(
            coil_wait(t, 2, COIL_ALL_COMPLETED, timeouts[i]));
        stage_passes(1);
        hand_set(&op[0], 0, 0);
        CHECK_INT(stage_run(w), 0);
        CHECK_TRACE("a =1");
        CHECK_INT(op[1].cancels, 0);
        CHECK_INT(stage_timers(), 0);
        stage_close();
        CHECK_TRACE("b");
    }
}

TEST(wait_that_ends_in_time_disarms_its_time_out)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(work, .passes = 2));
    struct coil_task *w = await(
        coil_wait(&t, 1, COIL_ALL_COMPLETED, COIL_SECONDS(3600)));
    CHECK_INT(stage_run(w), 0);
    CHECK_INT(stage_timers(), 0);
    CHECK_TRACE("=1");
    stage_close();
}

TEST(wait_for_nothing_is_an_error)
{
    stage_open();
    struct coil_task *none = NULL;
    struct coil_task *w = await(
        coil_wait(&none, 0, COIL_ALL_COMPLETED, COIL_NEVER));
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("=-22");
    stage_close();
}

TEST(wait_cancelled_cancels_nobody)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *a = stay("a", &op);
    struct coil_task *w = await(
        coil_wait(&a, 1, COIL_ALL_COMPLETED, COIL_SECONDS(3600)));
    stage_passes(1);
    coil_task_cancel(w);
    CHECK_INT(stage_run(w), -ECANCELED);
    CHECK_INT(op.cancels, 0);
    CHECK_INT(stage_timers(), 0);
    hand_set(&op, 0, 4);
    CHECK_INT(stage_run(a), 0);
    CHECK_TRACE("a");
    stage_close();
}

/* ---- as_completed ----------------------------------------------------- */

struct completes {
    struct coil_coro coro;
    struct coil_task **tasks, *task;
    size_t n, leave_after;
    int seen, id, err;
};

static void completes(struct coil_coro *co)
{
    ASYNC(completes, my) {
        FOR_AWAIT(my->task, coil_as_completed(my->tasks, my->n)) {
            CHECK(coil_task_done(my->task));
            TRY_AWAIT_TO(my->err, my->id, my->task);
            trace("%d", my->err ? my->err : my->id);
            my->seen++;
            if (my->leave_after && --my->leave_after == 0)
                break;
        }
        trace(".");
        AWAIT(coil_sleep(0));
    FINALLY;
        trace("finally");
    }
}

// The order is that of their ends; an error stays with its task.
TEST(as_completed_yields_tasks_as_they_end)
{
    stage_open();
    struct coil_task *t[] = {
        coil_spawn(CALL(work, .id = 1, .passes = 6)),
        coil_spawn(CALL(work, .id = 2, .passes = 2)),
        coil_spawn(CALL(work, .id = 3, .passes = 4, .err = -EIO)),
        coil_spawn(CALL(work, .id = 4, .passes = 4)),
    };
    struct coil_task *c = coil_spawn(CALL(completes, .tasks = t, .n = 4));
    CHECK_INT(stage_run(c), 0);
    CHECK_TRACE("2 -5 4 1 . finally");
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

TEST(as_completed_yields_what_is_done_already_in_the_order_given)
{
    stage_open();
    struct coil_task *t[5];
    for (int i = 0; i < 4; i++)
        t[i] = coil_spawn(CALL(work, .id = i, .passes = 4 - i));
    t[4] = coil_spawn(coil_future_nomem());
    stage_passes(10);
    struct coil_task *c = coil_spawn(CALL(completes, .tasks = t, .n = 5));
    stage_passes(2);
    CHECK_INT(stage_run(c), 0);
    CHECK_TRACE("0 1 2 3 -12 . finally");
    stage_close();
}

TEST(as_completed_of_nothing_yields_nothing)
{
    stage_open();
    struct coil_task *none = NULL;
    CHECK_INT(stage_run(coil_spawn(CALL(completes, .tasks = &none))), 0);
    CHECK_TRACE(". finally");
    stage_close();
}

// As many turns as there are places in the array.
TEST(as_completed_yields_a_task_as_often_as_it_is_given)
{
    stage_open();
    struct coil_task *a = coil_spawn(CALL(work, .id = 1, .passes = 2));
    struct coil_task *b = coil_spawn(CALL(work, .id = 2, .passes = 1));
    struct coil_task *t[] = { a, b, a };
    CHECK_INT(stage_run(coil_spawn(CALL(completes, .tasks = t, .n = 3))), 0);
    CHECK_TRACE("2 1 1 . finally");
    stage_close();
}

// Left early, the others go on; a second loop finds all, as they are by then.
TEST(as_completed_can_be_left_and_begun_again)
{
    stage_open();
    struct coil_task *t[] = {
        coil_spawn(CALL(work, .id = 1, .passes = 9)),
        coil_spawn(CALL(work, .id = 2, .passes = 1)),
        coil_spawn(CALL(work, .id = 3, .passes = 7)),
    };
    struct coil_task *c = coil_spawn(
        CALL(completes, .tasks = t, .n = 3, .leave_after = 1));
    CHECK_INT(stage_run(c), 0);
    CHECK_TRACE("2 . finally");
    CHECK(!coil_task_done(t[0]));
    c = coil_spawn(CALL(completes, .tasks = t, .n = 3));
    CHECK_INT(stage_run(c), 0);
    CHECK_TRACE("2 3 1 . finally");
    stage_close();
}

TEST(as_completed_cancelled_cancels_nobody)
{
    stage_open();
    struct coil_task *t[] = {
        coil_spawn(CALL(work, .id = 1, .passes = 1)),
        coil_spawn(CALL(work, .id = 2, .passes = 9)),
    };
    struct coil_task *c = coil_spawn(CALL(completes, .tasks = t, .n = 2));
    stage_passes(6);
    coil_task_cancel(c);
    CHECK_INT(stage_run(c), -ECANCELED);
    CHECK_TRACE("1 finally");
    CHECK_INT(stage_run(t[1]), 0);
    stage_close();
}

struct two_loops {
    struct coil_coro coro;
    struct coil_task **tasks, *outer, *inner;
    size_t n;
};

static void two_loops(struct coil_coro *co)
{
    ASYNC(two_loops, my) {
        FOR_AWAIT(my->outer, coil_as_completed(my->tasks, my->n)) {
            FOR_AWAIT(my->inner, coil_as_completed(my->tasks, my->n))
                trace("%s", coil_task_name(my->inner));
            trace("|");
        }
    }
}

// Each loop has its own place in the tasks' lists of callbacks.
TEST(as_completed_may_run_twice_over_the_same_tasks)
{
    stage_open();
    struct coil_task *t[2];
    for (int i = 0; i < 2; i++) {
        t[i] = coil_spawn(CALL(work, .id = i, .passes = 9 - 6 * i));
        coil_task_set_name(t[i], i ? "b" : "a");
    }
    CHECK_INT(stage_run(coil_spawn(CALL(two_loops, .tasks = t, .n = 2))), 0);
    CHECK_TRACE("b a | a b |");
    stage_close();
}

/* ---- wait_for --------------------------------------------------------- */

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
        stage_run(await(coil_wait_for(coil_future_done_with(0, 3), d)));
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
    CHECK_TRACE("b =-110"); /* b ended with the request undelivered */

    struct coil_task *c = coil_spawn(
        CALL(work, .passes = 100, .begun = &begun, .over = &over));
    stage_passes(1);
    CHECK_INT(begun, 1);
    stage_run(await(coil_wait_for(c, 0)));
    CHECK_TRACE("=-110");
    CHECK_INT(over, 1);
    stage_close();
}

// The spawner gives its handle back meanwhile: who waits has the result.
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
        coil_drop(f);
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

// Dropped unstarted, it drops what it was given.
TEST(wait_for_that_is_dropped_disposes_of_the_inner)
{
    stage_open();
    struct hand op = { 0 };
    int begun = 0, over = 0;
    coil_drop(coil_wait_for(hand_op(&op), 1));
    struct coil_future *f = CALL(work, .begun = &begun, .over = &over);
    coil_drop(coil_wait_for(f, 1));
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

// The duty to free goes through wait_for to whoever takes the pointer.
TEST(wait_for_passes_a_pointer_on_with_its_owner)
{
    stage_open();
    CHECK_INT(stage_run(coil_spawn(CALL(takes, .duration = COIL_NEVER))), 0);
    CHECK_INT(freed, 0);
    struct coil_task *t = coil_spawn(
        coil_wait_for(CALL(gives), COIL_NEVER)); /* nobody takes it */
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

/* ---- map -------------------------------------------------------------- */

struct source {
    int n, asked, limit;
    int begun, over, running, most;
    int (*passes)(int i);
    int (*err)(int i);
    struct coil_future *(*call)(struct source *s, int i);
};

static struct coil_future *next(void *arg)
{
    struct source *s = arg;
    if (s->asked == s->n)
        return NULL;
    int i = s->asked++;
    if (s->call)
        return s->call(s, i);
    return CALL(work, .id = i, .passes = s->passes ? s->passes(i) : 0,
                .err = s->err ? s->err(i) : 0, .begun = &s->begun,
                .over = &s->over, .running = &s->running, .most = &s->most);
}

struct maps {
    struct coil_coro coro;
    struct source *source;
    size_t limit;
    bool ordered, quiet;
    int leave_after, pause, p;
    struct coil_task *task;
    int seen, err, id;
    long sum;
};

static void maps(struct coil_coro *co)
{
    ASYNC(maps, my) {
        FOR_AWAIT(my->task, my->ordered
                                ? coil_map(next, my->source, my->limit)
                                : coil_map_unordered(next, my->source,
                                                     my->limit)) {
            CHECK(coil_task_done(my->task));
            TRY_AWAIT_TO(my->err, my->id, my->task);
            if (!my->quiet)
                trace("%d", my->err ? my->err : my->id);
            my->seen++;
            my->sum += my->err ? 0 : my->id;
            for (my->p = my->pause; my->p > 0; my->p--)
                AWAIT(coil_sleep(0));
            if (my->seen == my->leave_after)
                break;
        }
        if (!my->quiet)
            trace(".");
        AWAIT(coil_sleep(0));
        RETURN(my->seen);
    }
}

static int backwards(int i)
{
    return 3 * (4 - i % 4);
}

TEST(map_yields_in_the_order_of_the_source)
{
    stage_open();
    struct source s = { .n = 8, .passes = backwards };
    struct coil_task *t = coil_spawn(
        CALL(maps, .source = &s, .limit = 4, .ordered = true));
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("0 1 2 3 4 5 6 7 .");
    CHECK_INT(s.most, 4);
    CHECK_INT(s.over, 8);
    stage_close();
}

TEST(map_unordered_yields_as_they_end)
{
    stage_open();
    struct source s = { .n = 4, .passes = backwards };
    struct coil_task *t = coil_spawn(CALL(maps, .source = &s, .limit = 4));
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("3 2 1 0 .");
    stage_close();
}

// Never more than `limit`, whatever the limit and the number of calls.
TEST(map_keeps_its_bound)
{
    for (int ordered = 0; ordered < 2; ordered++)
        for (size_t limit = 1; limit <= 7; limit++)
            for (int n = 0; n <= 10; n++) {
                stage_open();
                struct source s = { .n = n, .passes = backwards };
                struct coil_task *t = coil_spawn(
                    CALL(maps, .source = &s, .limit = limit,
                         .ordered = ordered, .quiet = true));
                CHECK_INT(stage_run(t), 0);
                CHECK_INT(coil_future_int(coil_task_future(t)), n);
                CHECK_INT(s.most, (size_t)n < limit ? n : (int)limit);
                CHECK_INT(s.over, n);
                stage_close();
            }
}

struct checks_lazy {
    struct coil_coro coro;
    struct source *source;
    bool ordered;
    struct coil_task *task;
    int read, i;
};

static void checks_lazy(struct coil_coro *co)
{
    ASYNC(checks_lazy, my) {
        FOR_AWAIT(my->task, my->ordered
                                ? coil_map(next, my->source, 3)
                                : coil_map_unordered(next, my->source, 3)) {
            my->read++;
            for (my->i = 0; my->i < 10; my->i++)
                AWAIT(coil_sleep(0));
            /* What is being read keeps its place, what has ended too. */
            CHECK_INT(my->source->asked,
                      my->read + 2 < 9 ? my->read + 2 : 9);
            CHECK_INT(my->source->running, 0);
        }
    }
}

// Back-pressure: results that are not read hold up the source.
TEST(map_asks_its_source_only_when_there_is_room)
{
    for (int ordered = 0; ordered < 2; ordered++) {
        stage_open();
        struct source s = { .n = 9, .passes = NULL };
        struct coil_task *t = coil_spawn(
            CALL(checks_lazy, .source = &s, .ordered = ordered));
        CHECK_INT(s.asked, 0);
        CHECK_INT(stage_run(t), 0);
        stage_close();
    }
}

// Not awaited, the source is not asked at all.
TEST(map_that_is_dropped_never_asks_its_source)
{
    stage_open();
    struct source s = { .n = 9 };
    coil_drop(coil_map(next, &s, 3));
    stage_passes(3);
    CHECK_INT(s.asked, 0);
    stage_close();
}

static int for_ever(int i)
{
    return i == 0 ? 0 : 1000000;
}

// Leaving cancels what runs and waits for it: `arg` is lent until then.
TEST(map_left_early_cancels_and_awaits_what_runs)
{
    for (int ordered = 0; ordered < 2; ordered++) {
        stage_open();
        struct source s = { .n = 9, .passes = for_ever };
        struct coil_task *t = coil_spawn(
            CALL(maps, .source = &s, .limit = 3, .ordered = ordered,
                 .leave_after = 1));
        CHECK_INT(stage_run(t), 0);
        CHECK_TRACE("0 .");
        CHECK_INT(s.begun, s.over);
        CHECK_INT(s.over, s.asked);
        CHECK_INT(s.running, 0);
        stage_close();
    }
}

static int odd_fails(int i)
{
    return i % 2 ? -EIO : 0;
}

TEST(map_yields_calls_that_fail)
{
    stage_open();
    struct source s = { .n = 5, .err = odd_fails };
    struct coil_task *t = coil_spawn(
        CALL(maps, .source = &s, .limit = 2, .ordered = true));
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("0 -5 2 -5 4 .");
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

struct skims {
    struct coil_coro coro;
    struct source *source;
    struct coil_task *task;
};

static void skims(struct coil_coro *co)
{
    ASYNC(skims, my) {
        FOR_AWAIT(my->task, coil_map_unordered(next, my->source, 2)) {
        }
    }
}

// Unread errors are reported, each once; no call is forgotten for it.
TEST(map_reports_the_errors_that_nobody_fetched)
{
    stage_open();
    struct source s = { .n = 7, .err = odd_fails };
    CHECK_INT(stage_run(coil_spawn(CALL(skims, .source = &s))), 0);
    CHECK_INT(stage_reported.n, 3);
    stage_close();
    CHECK_INT(stage_reported.n, 3);
}

static struct coil_future *any_future(struct source *s, int i)
{
    (void)s;
    switch (i % 4) {
    case 0:
        return coil_future_done_with(0, i);
    case 1:
        return coil_future_nomem();
    case 2:
        return coil_future_done_with(-EIO, 0);
    default:
        return CALL(work, .id = i);
    }
}

// Also a CALL that found no memory, and what is done when it is made.
TEST(map_takes_any_future_from_its_source)
{
    for (int ordered = 0; ordered < 2; ordered++)
        for (size_t limit = 1; limit < 5; limit++) {
            stage_open();
            struct source s = { .n = 8, .call = any_future };
            struct coil_task *t = coil_spawn(
                CALL(maps, .source = &s, .limit = limit, .ordered = true));
            CHECK_INT(stage_run(t), 0);
            CHECK_TRACE("0 -12 -5 3 4 -12 -5 7 .");
            stage_close();
        }
    CHECK_INT(stage_reported.n, 0);
}

struct fails_to_map {
    struct coil_coro coro;
    size_t limit;
    struct coil_task *task;
    struct source *source;
};

static void fails_to_map(struct coil_coro *co)
{
    ASYNC(fails_to_map, my) {
        FOR_AWAIT(my->task, coil_map_unordered(next, my->source, my->limit))
            trace("not here");
        trace("nor here");
    }
}

TEST(map_with_limit_0_is_an_error)
{
    stage_open();
    struct source s = { .n = 3 };
    CHECK_INT(stage_run(coil_spawn(CALL(fails_to_map, .source = &s))),
              -EINVAL);
    CHECK_TRACE("");
    CHECK_INT(s.asked, 0);
    stage_close();
}

// "No limit" is not to be a multiplication that overflows.
TEST(map_with_a_limit_beyond_memory_is_an_error)
{
    stage_open();
    struct source s = { .n = 3 };
    size_t limits[] = { SIZE_MAX, (SIZE_MAX >> 6) + 2, (SIZE_MAX >> 5) + 2,
                        (SIZE_MAX >> 4) + 2, (SIZE_MAX >> 3) + 2 };
    for (int i = 0; i < 5; i++)
        CHECK_INT(stage_run(coil_spawn(
                      CALL(fails_to_map, .source = &s, .limit = limits[i]))),
                  -ENOMEM);
    CHECK_INT(s.asked, 0);
    stage_close();
}

// The source says "no more" once, and is not asked again.
TEST(map_does_not_ask_a_source_that_has_ended)
{
    stage_open();
    struct source s = { .n = 1 };
    struct coil_task *t = coil_spawn(CALL(maps, .source = &s, .limit = 3));
    stage_passes(1);
    s.n = 5;
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(s.asked, 1);
    CHECK_TRACE("0 .");
    stage_close();
}

static int some(int i)
{
    return i * 7 % 5;
}

// 100,000 calls with 100 at once: memory is that of 100.
TEST(map_of_many_takes_the_memory_of_few)
{
    int n = test_is_slow() ? 10000 : 100000;
    for (int ordered = 0; ordered < 2; ordered++) {
        stage_open();
        struct source s = { .n = n, .passes = some };
        struct coil_task *t = coil_spawn(
            CALL(maps, .source = &s, .limit = 100, .ordered = ordered,
                 .quiet = true));
        struct coil_stats stats;
        size_t most = 0;
        while (!coil_task_done(t)) {
            coil_loop_pass(stage_loop, COIL_NEVER);
            coil_loop_stats(stage_loop, &stats);
            most = stats.memory > most ? stats.memory : most;
        }
        CHECK_INT(coil_future_int(coil_task_future(t)), n);
        struct maps *frame = coil_task_frame(t);
        CHECK_INT(frame->sum, (long)n * (n - 1) / 2);
        CHECK(s.most <= 100);
        CHECK_INT(s.over, n);
        CHECK(most < 256 * 1024);
        stage_close();
    }
}

/* ---- A cancellation at every pass ------------------------------------- */

enum combinator {
    GATHER,
    GATHER_CALLS,
    SETTLED,
    WAIT_ALL,
    WAIT_FIRST,
    AS_COMPLETED,
    WAIT_FOR,
    MAP,
    MAP_UNORDERED,
    COMBINATORS
};

struct combines {
    struct coil_coro coro;
    enum combinator what;
    int first, err, i, n;
    int *begun, *over;
    struct coil_task *tasks[4], *task;
    struct source source;
};

/* Some done at creation, some that fail, some that take their time. */
static struct coil_future *a_call(int *begun, int *over, int i, int err)
{
    return CALL(work, .id = i, .passes = 2 * i,
                .err = i == err ? -EIO : 0, .cleanup = i, .begun = begun,
                .over = over);
}

static struct coil_future *combined_call(struct source *s, int i)
{
    return a_call(&s->begun, &s->over, i, s->limit);
}

static void combines(struct coil_coro *co)
{
    ASYNC(combines, my) {
        for (my->i = 0; my->i < 4 && my->what != GATHER_CALLS; my->i++)
            my->tasks[my->i] = coil_spawn(
                a_call(my->begun, my->over, my->i, my->err));
        for (my->i = 0; my->i < my->first; my->i++)
            AWAIT(coil_sleep(0));
        if (my->what == GATHER_CALLS) {
            struct coil_future *calls[4];
            for (int i = 0; i < 4; i++)
                calls[i] = a_call(my->begun, my->over, i, my->err);
            AWAIT(coil_gather(calls, 4));
        }
        if (my->what == GATHER)
            AWAIT(coil_gather(my->tasks, 4));
        if (my->what == SETTLED)
            AWAIT(coil_gather_settled(my->tasks, 4));
        if (my->what == WAIT_ALL)
            AWAIT(coil_wait(my->tasks, 4, COIL_ALL_COMPLETED, COIL_NEVER));
        if (my->what == WAIT_FIRST)
            AWAIT(coil_wait(my->tasks, 4, COIL_FIRST_COMPLETED,
                            COIL_SECONDS(3600)));
        if (my->what == AS_COMPLETED) {
            FOR_AWAIT(my->task, coil_as_completed(my->tasks, 4)) {
                AWAIT(coil_sleep(0));
                my->n++;
            }
        }
        if (my->what == WAIT_FOR)
            AWAIT(coil_wait_for(my->tasks[3], COIL_SECONDS(3600)));
        my->source = (struct source){ .n = 4, .call = combined_call,
                                      .limit = my->err };
        if (my->what == MAP) {
            FOR_AWAIT(my->task, coil_map(next, &my->source, 2))
                AWAIT(coil_sleep(0));
        }
        if (my->what == MAP_UNORDERED) {
            FOR_AWAIT(my->task, coil_map_unordered(next, &my->source, 2))
                AWAIT(coil_sleep(0));
        }

    FINALLY;
        CHECK_INT(my->source.begun, my->source.over);
        trace("finally");
    }
}

// Whenever the request comes: it ends, every child has ended before it, each
// FINALLY ran once, no timer and no task stays.
TEST(wait_combinators_survive_a_cancel_at_every_pass)
{
    stage_open();
    for (enum combinator what = GATHER; what < COMBINATORS; what++)
        for (int first = 0; first < 8; first++)
            for (int err = -1; err < 4; err++)
                for (int when = 0; when < 20; when++) {
                    int begun = 0, over = 0;
                    test_note("combinator %d after %d, %d fails, cancel at %d",
                              (int)what, first, err, when);
                    struct coil_task *t = coil_spawn(
                        CALL(combines, .what = what, .first = first,
                             .err = err, .begun = &begun, .over = &over));
                    stage_passes(when);
                    coil_task_cancel(t);
                    CHECK_INT(coil_run_until(stage_loop, t), 0);
                    coil_future_error(coil_task_future(t));
                    CHECK_TRACE("finally");
                    CHECK(begun <= over); /* unstarted: FINALLY only */
                    CHECK(over == 0 || over == 4);
                    CHECK_INT(stage_tasks(), 0);
                    CHECK_INT(stage_timers(), 0);
                    coil_task_drop(&t);
                }
    stage_close();
}

// The same with a second request at every later pass: cleanup is cut short,
// but never forgotten.
TEST(wait_combinators_survive_two_cancels)
{
    stage_open();
    for (enum combinator what = GATHER; what < COMBINATORS; what++)
        for (int first = 0; first < 6; first += 2)
            for (int when = 0; when < 14; when++)
                for (int again = when; again < 18; again++) {
                    int begun = 0, over = 0;
                    test_note("combinator %d after %d, cancel at %d and %d",
                              (int)what, first, when, again);
                    struct coil_task *t = coil_spawn(
                        CALL(combines, .what = what, .first = first,
                             .err = -1, .begun = &begun, .over = &over));
                    stage_passes(when);
                    coil_task_cancel(t);
                    stage_passes(again - when);
                    coil_task_cancel(t);
                    CHECK_INT(coil_run_until(stage_loop, t), 0);
                    CHECK_TRACE("finally");
                    CHECK(over == 0 || over == 4);
                    CHECK_INT(stage_tasks(), 0);
                    CHECK_INT(stage_timers(), 0);
                    coil_task_drop(&t);
                }
    stage_close();
}
