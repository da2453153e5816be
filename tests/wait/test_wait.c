// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_wait.c: waiting for several tasks or futures, by asyncio's rules, with
 * children that are done at creation and with a cancellation at every pass.
 */
#include "work.h"

#include <stdlib.h>

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

// A child that other code cancelled is an error; the gather was not cancelled.
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

// An array of futures: each becomes a task, a child of the caller of gather.
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
    struct coil_loop_stats stats;
    coil_loop_get_stats(coil_loop_current(), &stats);
    return stats.memory_bytes;
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

// The spawner ends, and its tasks with it, in the pass before the wait runs.
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

// It shares the tasks: discarding a gather that was not awaited touches none.
TEST(gather_that_is_dropped_leaves_the_tasks_alone)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *a = stay("a", &op);
    coil_discard(coil_gather(&a, 1));
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
                              coil_spawn(coil_future_from_nomem()) };
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
        coil_spawn(coil_future_from_nomem()),
    };
    CHECK_INT(stage_run(await(coil_gather_settled(t, 4))), 0);
    CHECK_TRACE("=3");
    for (int i = 0; i < 4; i++)
        CHECK(coil_task_done(t[i]));
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

struct pairs {
    struct coil_coro coro;
    struct coil_task *t[4];
    int i, err, value, failed;
};

static void pairs(struct coil_coro *co)
{
    ASYNC(pairs, my) {
        for (my->i = 0; my->i < 4; my->i++)
            my->t[my->i] = SPAWN(work, .id = my->i, .passes = 4 - my->i,
                                 .err = my->i % 2 ? -my->i : 0);
        AWAIT_TO(my->failed, coil_gather_settled(my->t, 4));
        for (my->i = 0; my->i < 4; my->i++) {
            TRY_AWAIT_TO(my->err, my->value, my->t[my->i]);
            trace("(%d %d)", my->err, my->err ? 0 : my->value);
        }
        /* And then as Tornado does: the first error of the list. */
        TRY_AWAIT(my->err, coil_gather(my->t, 4));
        trace("%d of %d", my->err, my->failed);
    }
}

// Twisted's DeferredList: a pair for each. Tornado's gen.multi: wait for all,
// then fail with the first of the list; gather after gather_settled is that.
TEST(gather_settled_gives_pairs_and_then_the_first_error)
{
    stage_open();
    CHECK_INT(stage_run(SPAWN(pairs)), 0);
    CHECK_TRACE("(0 0) (-1 0) (0 2) (-3 0) -1 of 2");
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

// Cancelled, it still waits: what was lent to the tasks is free afterwards.
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

// How they end after that is not reported, as in asyncio.
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
    CHECK_INT(stage_reported.n, 1); /* no await fetched it */
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

/*
 * The second one ends in the pass in which the wait has ended, and before its
 * await returns: the count was one pass old.
 */
TEST(wait_counts_all_that_are_done_when_it_returns)
{
    for (int mode = COIL_FIRST_COMPLETED; mode <= COIL_FIRST_SUCCESS; mode++) {
        stage_open();
        struct hand op[3] = { { 0 }, { 0 }, { 0 } };
        struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]),
                                  stay("c", &op[2]) };
        int err = mode == COIL_FIRST_EXCEPTION ? -EIO : 0;
        struct coil_task *w = await(
            coil_wait(t, 3, (enum coil_wait_mode)mode, COIL_NEVER));
        stage_passes(2);
        hand_set(&op[0], err, 0);
        stage_passes(1);
        hand_set(&op[1], err, 0);
        CHECK_INT(stage_run(w), 0);
        CHECK_TRACE("a b =2");
        CHECK(coil_task_done(t[1]));
        stage_close();
        CHECK_TRACE("c");
    }
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

// Twisted: DeferredList(fireOnOneCallback=True). The others go on.
TEST(wait_for_the_first_success_ignores_those_that_fail)
{
    stage_open();
    struct hand op[3] = { { 0 }, { 0 }, { 0 } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]),
                              stay("c", &op[2]) };
    struct coil_task *w = await(
        coil_wait(t, 3, COIL_FIRST_SUCCESS, COIL_NEVER));
    stage_passes(1);
    hand_set(&op[0], -EIO, 0);
    coil_task_cancel(t[1]);
    stage_passes(3);
    CHECK(!coil_task_done(w));
    hand_set(&op[2], 0, 3);
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("a b c =3");
    CHECK_INT(coil_future_error(coil_task_future(t[0])), -EIO);
    CHECK_INT(stage_run(await(coil_wait(t, 2, COIL_FIRST_SUCCESS,
                                        COIL_NEVER))), 0);
    CHECK_TRACE("=2"); /* all are done, though none well */
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

// asyncio merges duplicates into a set; here there is an array, and its length.
TEST(wait_counts_a_task_as_often_as_it_is_given)
{
    stage_open();
    struct coil_task *a = coil_spawn(CALL(work, .passes = 2));
    struct coil_task *t[] = { a, a, a };
    CHECK_INT(stage_run(await(coil_wait(t, 3, COIL_ALL_COMPLETED,
                                        COIL_NEVER))), 0);
    CHECK_TRACE("=3");
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

// What it has waited for is there: told, and the next await is struck.
TEST(wait_cancelled_in_the_pass_in_which_its_task_ended_returns)
{
    stage_open();
    struct hand op[2] = { { 0 }, { 0 } }, then = { 0 };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]) };
    struct coil_task *w[3];
    for (int mode = 0; mode < 3; mode++)
        w[mode] = coil_spawn(CALL(
            awaits, .then = &then,
            .what = coil_wait(t, 2, (enum coil_wait_mode)mode, COIL_NEVER)));
    stage_passes(1);
    hand_set(&op[0], -EIO, 0);
    stage_passes(1);
    for (int mode = 0; mode < 3; mode++) {
        CHECK(!coil_task_done(w[mode]));
        coil_task_cancel(w[mode]);
    }
    for (int mode = 0; mode < 3; mode++)
        CHECK_INT(stage_run(w[mode]), -ECANCELED);
    CHECK_TRACE("a =1 =1");
    CHECK_INT(then.started, 0);
    coil_task_quiet(t[0]);
    stage_close();
    CHECK_TRACE("b");
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

/* ---- cancel_and_wait -------------------------------------------------- */

// gevent.killall(block=True): they are dead when it returns.
TEST(cancel_and_wait_ends_when_all_have_ended)
{
    stage_open();
    struct hand op[3] = { { 0 }, { .on_cancel = HAND_LINGERS }, { 0 } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]),
                              stay("c", &op[2]) };
    stage_passes(1);
    struct coil_task *w = await(coil_cancel_and_wait(t, 3));
    stage_passes(4);
    CHECK_TRACE("a c");
    CHECK(!coil_task_done(w));
    hand_set(&op[1], -EIO, 0);
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("b =3");
    CHECK_INT(coil_future_error(coil_task_future(t[1])), -EIO);
    CHECK_INT(stage_run(await(coil_cancel_and_wait(t, 3))), 0);
    CHECK_INT(stage_run(await(coil_cancel_and_wait(t, 0))), 0);
    CHECK_TRACE("=3 =0");
    stage_close();
}

// To ask needs no memory: else a cleanup could not be relied on.
TEST(cancel_and_wait_cancels_also_without_memory)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *a = stay("a", &op);
    stage_passes(1);
    test_fail_allocations_from(1);
    struct coil_future *f = NULL;
    while (!f || !coil_future_done(f)) /* until a block must be fetched */
        f = coil_cancel_and_wait(&a, 1);
    test_fail_allocations_from(0);
    CHECK_INT(coil_future_error(f), -ENOMEM);
    CHECK(op.cancels >= 1);
    stage_close();
    CHECK_TRACE("a");
}

TEST(cancel_and_wait_cancelled_just_ends)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *a = stay("a", &op);
    stage_passes(1);
    struct coil_task *w = await(coil_cancel_and_wait(&a, 1));
    stage_passes(1);
    coil_task_cancel(w);
    CHECK_INT(stage_run(w), -ECANCELED);
    CHECK_INT(op.cancels, 1);
    hand_set(&op, -ECANCELED, 0);
    stage_close();
    CHECK_TRACE("a");
}

/* ---- Futures ---------------------------------------------------------- */

static void make_plain(struct coil_future **f, int n)
{
    for (int i = 0; i < n; i++)
        f[i] = coil_future_new();
}

/* Each has the one reference of the test, and gives that back. */
static void end_plain(struct coil_future **f, int n)
{
    for (int i = 0; i < n; i++) {
        CHECK_INT(f[i]->refs, 1);
        coil_future_unref(f[i]);
    }
}

TEST(gather_borrows_plain_futures)
{
    stage_open();
    struct coil_future *f[3];
    make_plain(f, 3);
    struct coil_future *const *const_array = f;
    struct coil_task *g = await(coil_gather(const_array, 3));
    stage_passes(1);
    CHECK_INT(stage_tasks(), 1); /* none was made for a future */
    for (int i = 2; i >= 0; i--) {
        CHECK(!coil_task_done(g));
        coil_future_set_int(f[i], 10 * i);
        stage_passes(1);
    }
    CHECK_INT(stage_run(g), 0);
    CHECK_TRACE("=3");
    for (int i = 0; i < 3; i++)
        CHECK_INT(coil_future_int(f[i]), 10 * i);
    end_plain(f, 3);
    stage_close();
}

TEST(gather_of_futures_that_are_done_takes_no_pass)
{
    stage_open();
    struct coil_future *f[] = { coil_future_new(), coil_future_new() };
    coil_future_set_int(f[0], 5);
    coil_future_set_pointer(f[1], &stage_loop);
    struct coil_task *g = await(coil_gather(f, 2));
    stage_passes(1);
    CHECK(coil_task_done(g));
    CHECK_TRACE("=2");
    CHECK_INT(coil_future_int(f[0]), 5);
    CHECK(coil_future_pointer(f[1]) == &stage_loop);
    coil_task_drop(&g);
    end_plain(f, 2);
    g = await(coil_gather(f, 0));
    stage_passes(1);
    CHECK_TRACE("=0");
    stage_close();
}

// A call that has its result at once gives a future as any call: there is no
// other reference to it, so the gather takes it.
TEST(gather_takes_the_results_that_calls_gave_at_once)
{
    stage_open();
    size_t before = test_heap_blocks();
    struct coil_future *f[] = { coil_future_from_int(5),
                                coil_future_from_error(-EIO, 17),
                                coil_future_from_pointer(&stage_loop),
                                CALL(work, .id = 1) };
    struct coil_task *g = await(coil_gather(f, 4));
    CHECK_INT(stage_run(g), 0);
    CHECK_TRACE("=-5");
    CHECK_INT(stage_reported.n, 0);
    coil_task_drop(&g);
    stage_passes(2);
    CHECK_INT(stage_tasks(), 0);
    CHECK(test_heap_blocks() <= before + 1); /* a slab, no futures */
    stage_close();
}

// Of those that fail in the same pass, and of those that fail later.
TEST(gather_of_futures_fails_with_the_first_error_and_reports_no_other)
{
    stage_open();
    struct coil_future *f[4];
    make_plain(f, 4);
    struct coil_task *g = await(coil_gather(f, 4));
    stage_passes(1);
    coil_future_set_error(f[1], -EIO);
    coil_future_set_error(f[0], -EPIPE);
    CHECK_INT(stage_run(g), 0);
    CHECK_TRACE("=-5");
    coil_task_drop(&g);
    CHECK(!coil_future_done(f[2]) && !coil_future_done(f[3]));
    coil_future_set_error(f[2], -ENOENT);
    coil_future_set_int(f[3], 8);
    CHECK_INT(coil_future_int(f[3]), 8);
    end_plain(f, 4);
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

// A future that other code cancelled is an error; the gather was not
// cancelled.
TEST(gather_with_a_cancelled_future_fails_but_is_not_cancelled)
{
    stage_open();
    struct coil_future *f[2];
    make_plain(f, 2);
    struct coil_task *g = await(coil_gather(f, 2));
    stage_passes(1);
    coil_future_cancel(f[0]);
    CHECK_INT(stage_run(g), 0);
    CHECK_INT(coil_future_int(coil_task_future(g)), -ECANCELED);
    CHECK_TRACE("=-125");
    CHECK(!coil_future_done(f[1]));
    coil_task_drop(&g);
    end_plain(f, 2);
    stage_close();
}

TEST(gather_cancelled_cancels_futures_of_every_kind)
{
    stage_open();
    struct hand op[2] = { { .on_cancel = HAND_LINGERS }, { 0 } };
    struct coil_future *begun = hand_op(&op[0]);
    struct coil_task *its_owner = coil_spawn(coil_future_ref(begun));
    struct coil_task *a = stay("a", &op[1]);
    stage_passes(1);
    struct coil_future *f[] = { coil_future_new(), begun, coil_task_future(a) };
    struct coil_task *g = await(coil_gather(f, 3));
    stage_passes(1);
    coil_task_cancel(g);
    CHECK(coil_future_cancelled(f[0])); /* at once */
    CHECK_INT(stage_run(g), -ECANCELED);
    CHECK_INT(op[0].cancels, 1);
    CHECK(!coil_future_done(begun));
    hand_set(&op[0], -EIO, 0);
    CHECK_INT(stage_run(its_owner), -EIO);
    CHECK_INT(stage_run(a), -ECANCELED);
    CHECK_TRACE("a");
    coil_task_drop(&g);
    coil_task_drop(&its_owner);
    end_plain(f, 2);
    CHECK_INT(op[0].freed, 1);
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

TEST(gather_of_futures_takes_the_same_one_twice)
{
    for (int way = 0; way < 3; way++) {
        stage_open();
        struct coil_future *one = coil_future_new(), *f[] = { one, one, one };
        struct coil_task *g = await(coil_gather(f, 3));
        stage_passes(1);
        if (way == 0)
            coil_future_set_int(one, 1);
        else if (way == 1)
            coil_future_set_error(one, -EIO);
        else
            coil_task_cancel(g);
        CHECK_INT(stage_run(g), way == 2 ? -ECANCELED : 0);
        CHECK_TRACE(way == 0 ? "=3" : way == 1 ? "=-5" : "");
        coil_task_drop(&g);
        end_plain(f, 1);
        stage_close();
        CHECK_INT(stage_reported.n, 0);
    }
}

struct mixes {
    struct coil_coro coro;
    struct coil_future *plain;
    struct coil_task *task;
    struct hand *op;
    int n, err;
};

static void mixes(struct coil_coro *co)
{
    ASYNC(mixes, my) {
        struct coil_future *all[] = {
            my->plain,
            CALL(stays, .name = "call", .op = &my->op[0]),
            coil_task_future(my->task),
            hand_op(&my->op[1]),
            coil_sleep(0),
        };
        TRY_AWAIT_TO(my->err, my->n, coil_gather(all, 5));
        trace("=%d", my->err ? my->err : my->n);
    FINALLY;
        trace("finally");
    }
}

// Each element by its kind: what has not begun becomes a child of the caller.
TEST(gather_takes_what_has_not_begun_and_borrows_the_rest)
{
    for (int fails = 0; fails < 2; fails++) {
        stage_open();
        struct hand op[3] = { { 0 }, { 0 }, { 0 } };
        struct coil_future *plain = coil_future_new();
        struct coil_task *task = stay("task", &op[2]);
        struct coil_task *t = coil_spawn(
            CALL(mixes, .plain = plain, .task = task, .op = op));
        stage_passes(4);
        if (fails)
            coil_future_set_error(plain, -EIO);
        else
            coil_future_set_int(plain, 1);
        for (int i = 0; i < 2 && !fails; i++)
            hand_set(&op[i], 0, i);
        if (!fails)
            hand_set(&op[2], 0, 9);
        CHECK_INT(stage_run(t), 0);
        CHECK_TRACE(fails ? "=-5 call finally" : "call task =5 finally");
        CHECK_INT(op[0].cancels + op[1].cancels, fails ? 2 : 0);
        CHECK_INT(op[2].cancels, 0); /* borrowed: it goes on */
        CHECK_INT(op[1].freed, 1);
        if (fails)
            hand_set(&op[2], 0, 9);
        CHECK_INT(stage_run(task), 0);
        CHECK_INT(coil_future_int(coil_task_future(task)), 9);
        coil_task_drop(&t);
        end_plain(&plain, 1);
        stage_close();
        CHECK_TRACE(fails ? "task" : "");
        CHECK_INT(stage_reported.n, 0);
    }
}

TEST(gather_of_futures_with_one_without_memory_fails)
{
    stage_open();
    struct coil_future *f[] = { coil_future_new(), coil_future_from_nomem() };
    struct coil_task *g = await(coil_gather(f, 2));
    CHECK_INT(stage_run(g), 0);
    CHECK_TRACE("=-12");
    CHECK(!coil_future_done(f[0]));
    coil_task_drop(&g);
    end_plain(f, 1);
    stage_close();
}

TEST(gather_settled_of_futures_waits_for_all_and_counts_failures)
{
    stage_open();
    struct coil_future *f[4];
    make_plain(f, 3);
    f[3] = coil_future_from_nomem();
    struct coil_task *g = await(coil_gather_settled(f, 4));
    stage_passes(1);
    coil_future_set_error(f[1], -EIO);
    coil_future_cancel(f[2]);
    stage_passes(3);
    CHECK(!coil_task_done(g));
    coil_future_set_int(f[0], 4);
    CHECK_INT(stage_run(g), 0);
    CHECK_TRACE("=3");
    CHECK_INT(coil_future_int(f[0]), 4);
    coil_task_drop(&g);
    end_plain(f, 3);
    stage_close();
    CHECK_INT(stage_reported.n, 0); /* counted is fetched */
}

// A plain future ends at once, an operation when the kernel has let go of it.
TEST(gather_settled_of_futures_cancelled_waits_for_all)
{
    for (int twice = 0; twice < 2; twice++) {
        stage_open();
        struct hand op = { .on_cancel = HAND_LINGERS };
        struct coil_future *f[] = { coil_future_new(), hand_op(&op) };
        struct coil_task *owner = coil_spawn(coil_future_ref(f[1]));
        stage_passes(1);
        struct coil_task *g = await(coil_gather_settled(f, 2));
        stage_passes(1);
        coil_task_cancel(g);
        stage_passes(5);
        CHECK(coil_future_cancelled(f[0]));
        CHECK(!coil_task_done(g));
        if (twice)
            coil_task_cancel(g);
        else
            hand_set(&op, 0, 1);
        CHECK_INT(stage_run(g), -ECANCELED);
        CHECK_INT(op.cancels, 1 + twice);
        if (twice)
            hand_set(&op, 0, 1);
        CHECK_INT(stage_run(owner), 0);
        coil_task_drop(&g);
        coil_task_drop(&owner);
        end_plain(f, 2);
        CHECK_INT(op.freed, 1);
        stage_close();
    }
}

// The third ends after the other two, and ends well.
TEST(wait_for_futures_ends_as_its_mode_says)
{
    static const struct {
        enum coil_wait_mode mode;
        int first, second; /* what the first two to end end with */
        int done;          /* how many had to be done */
    } rows[] = {
        { COIL_ALL_COMPLETED, 0, -EIO, 3 },
        { COIL_FIRST_COMPLETED, 0, 0, 1 },
        { COIL_FIRST_COMPLETED, -EIO, 0, 1 },
        { COIL_FIRST_COMPLETED, -ECANCELED, 0, 1 },
        { COIL_FIRST_EXCEPTION, -EIO, 0, 1 },
        { COIL_FIRST_EXCEPTION, -ECANCELED, -EIO, 2 },
        { COIL_FIRST_EXCEPTION, 0, -ECANCELED, 3 },
        { COIL_FIRST_SUCCESS, 0, 0, 1 },
        { COIL_FIRST_SUCCESS, -EIO, 0, 2 },
        { COIL_FIRST_SUCCESS, -EIO, -ECANCELED, 3 },
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        test_note("row %zu", row);
        stage_open();
        struct coil_future *f[3];
        make_plain(f, 3);
        struct coil_task *w = await(
            coil_wait(f, 3, rows[row].mode, COIL_SECONDS(3600)));
        stage_passes(1);
        int ends[3] = { rows[row].first, rows[row].second, 0 }, err;
        for (int i = 0; i < 3 && !coil_task_done(w); i++) {
            if (ends[i] == -ECANCELED)
                coil_future_cancel(f[i]);
            else if (ends[i])
                coil_future_set_error(f[i], ends[i]);
            else
                coil_future_set_int(f[i], i);
            stage_passes(3);
        }
        CHECK_INT(stage_run(w), 0);
        CHECK_INT(coil_future_int(coil_task_future(w)), rows[row].done);
        CHECK_INT(stage_timers(), 0);
        for (int i = 0; i < 3; i++) {
            CHECK_INT(coil_future_peek(f[i], &err), i < rows[row].done);
            CHECK(i >= rows[row].done || err == ends[i]);
        }
        coil_task_drop(&w);
        end_plain(f, 3);
        stage_close();
        CHECK_INT(stage_reported.n, 0);
        stage_trace[0] = '\0';
    }
}

// The error stays with the future: a wait does not fetch it.
TEST(wait_for_futures_fetches_no_error)
{
    stage_open();
    struct coil_future *f = coil_future_new();
    struct coil_task *w = await(
        coil_wait(&f, 1, COIL_ALL_COMPLETED, COIL_NEVER));
    stage_passes(1);
    coil_future_set_error(f, -EIO);
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("=1");
    coil_task_drop(&w);
    CHECK_INT(stage_reported.n, 0);
    end_plain(&f, 1);
    CHECK_INT(stage_reported.n, 1);
    CHECK_INT(stage_reported.err, -EIO);
    w = await(coil_wait(&f, 0, COIL_ALL_COMPLETED, COIL_NEVER));
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("=-22");
    stage_close();
}

TEST(wait_for_futures_times_out_and_cancels_none)
{
    static const int64_t timeouts[] = { COIL_MS(1), 0, -COIL_SECONDS(1) };
    for (int i = 0; i < 3; i++) {
        stage_open();
        struct coil_future *f[2];
        make_plain(f, 2);
        struct coil_task *w = await(
            coil_wait(f, 2, COIL_ALL_COMPLETED, timeouts[i]));
        stage_passes(1);
        coil_future_set_int(f[0], 0);
        CHECK_INT(stage_run(w), 0);
        CHECK_TRACE("=1");
        CHECK(!coil_future_done(f[1]));
        CHECK_INT(stage_timers(), 0);
        coil_task_drop(&w);
        end_plain(f, 2);
        stage_close();
    }
}

TEST(wait_for_futures_cancelled_cancels_none)
{
    stage_open();
    struct coil_future *f[2];
    make_plain(f, 2);
    struct coil_task *w = await(
        coil_wait(f, 2, COIL_ALL_COMPLETED, COIL_SECONDS(3600)));
    stage_passes(1);
    coil_task_cancel(w);
    CHECK_INT(stage_run(w), -ECANCELED);
    CHECK(!coil_future_done(f[0]) && !coil_future_done(f[1]));
    CHECK_INT(stage_timers(), 0);
    coil_task_drop(&w);
    for (int i = 0; i < 2; i++)
        CHECK(coil_future_set_int(f[i], i)); /* nothing calls back */
    stage_passes(2);
    end_plain(f, 2);
    stage_close();
}

// The wait's own references keep them alive; discarded unawaited it gives them
// back.
TEST(wait_for_futures_holds_references_of_its_own)
{
    for (int way = 0; way < 4; way++) {
        stage_open();
        struct coil_future *f = coil_future_new();
        struct coil_future *w =
            way == 0   ? coil_gather(&f, 1)
            : way == 1 ? coil_gather_settled(&f, 1)
            : way == 2 ? coil_wait(&f, 1, COIL_ALL_COMPLETED, COIL_NEVER)
                       : coil_wait(&f, 1, COIL_FIRST_SUCCESS, 0);
        CHECK_INT(f->refs, 2);
        coil_discard(w);
        stage_passes(1);
        CHECK_INT(f->refs, 1);
        struct coil_task *t = await(
            way == 0   ? coil_gather(&f, 1)
            : way == 1 ? coil_gather_settled(&f, 1)
                       : coil_wait(&f, 1, COIL_ALL_COMPLETED, COIL_NEVER));
        stage_passes(1);
        coil_future_unref(f);
        CHECK(!coil_future_done(f));
        coil_future_set_int(f, 1);
        CHECK_INT(stage_run(t), 0);
        CHECK_TRACE(way == 1 ? "=0" : "=1");
        stage_close();
    }
}

// Its awaiter gets the value; the wait only learns that it is there.
TEST(wait_for_an_operation_that_a_task_awaits)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_future *f = hand_op(&op);
    struct coil_task *owner = await(coil_future_ref(f));
    stage_passes(1);
    struct coil_task *w = await(
        coil_wait(&f, 1, COIL_ALL_COMPLETED, COIL_NEVER));
    stage_passes(1);
    CHECK_INT(op.started, 1);
    hand_set(&op, 0, 77);
    CHECK_INT(stage_run(w), 0);
    CHECK_INT(stage_run(owner), 0);
    CHECK_TRACE("=77 =1");
    CHECK_INT(coil_future_int(f), 77);
    coil_task_drop(&w);
    coil_task_drop(&owner);
    end_plain(&f, 1);
    CHECK_INT(op.freed, 1);
    stage_close();
}

TEST(cancel_and_wait_for_futures_ends_when_all_have_ended)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_future *f[] = { coil_future_new(), hand_op(&op),
                                coil_future_from_int(6),
                                coil_future_from_nomem() };
    struct coil_task *owner = coil_spawn(coil_future_ref(f[1]));
    stage_passes(1);
    struct coil_task *w = await(coil_cancel_and_wait(f, 4));
    CHECK(coil_future_cancelled(f[0])); /* asked already */
    CHECK_INT(op.cancels, 1);
    stage_passes(4);
    CHECK(!coil_task_done(w));
    hand_set(&op, 0, 5);
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("=4");
    CHECK_INT(coil_future_int(f[1]), 5);
    CHECK_INT(coil_future_int(f[2]), 6);
    CHECK_INT(stage_run(owner), 0);
    coil_task_drop(&w);
    coil_task_drop(&owner);
    end_plain(f, 3);
    CHECK_INT(stage_run(await(coil_cancel_and_wait(f, 0))), 0);
    CHECK_TRACE("=0");
    stage_close();
}

TEST(cancel_and_wait_for_futures_cancels_also_without_memory)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_future *f = hand_op(&op), *w = NULL;
    struct coil_task *owner = coil_spawn(coil_future_ref(f));
    stage_passes(1);
    test_fail_allocations_from(1);
    while (!w || !coil_future_done(w)) /* until a block must be fetched */
        w = coil_cancel_and_wait(&f, 1);
    test_fail_allocations_from(0);
    CHECK_INT(coil_future_error(w), -ENOMEM);
    CHECK(op.cancels >= 1);
    hand_set(&op, -ECANCELED, 0);
    CHECK_INT(stage_run(owner), -ECANCELED);
    coil_future_unref(f);
    stage_close();
}

/* ---- What has not begun ------------------------------------------------ */

#define NOT_BEGUN(function, i) \
    function ": element " #i " has not begun: make it a task with SPAWN or " \
             "coil_spawn"

/* Three futures, of which the last has not begun. */
static struct coil_future **last_not_begun(struct coil_future *last)
{
    static struct coil_future *f[3];
    make_plain(f, 2);
    f[2] = last;
    return f;
}

DEATH_TEST(wait_for_a_call_that_has_not_begun_aborts, NOT_BEGUN("coil_wait", 2))
{
    stage_open();
    coil_discard(coil_wait(last_not_begun(CALL(work)), 3, COIL_ALL_COMPLETED,
                           COIL_NEVER));
}

DEATH_TEST(wait_for_an_operation_that_has_not_begun_aborts,
           NOT_BEGUN("coil_wait", 2))
{
    stage_open();
    struct hand op = { 0 };
    coil_discard(coil_wait(last_not_begun(hand_op(&op)), 3, COIL_ALL_COMPLETED,
                           COIL_NEVER));
}

DEATH_TEST(wait_for_a_sleep_that_has_not_begun_aborts,
           NOT_BEGUN("coil_wait", 0))
{
    stage_open();
    struct coil_future *f = coil_sleep(0);
    coil_discard(coil_wait(&f, 1, COIL_ALL_COMPLETED, COIL_NEVER));
}

DEATH_TEST(gather_settled_of_a_call_that_has_not_begun_aborts,
           NOT_BEGUN("coil_gather_settled", 2))
{
    stage_open();
    coil_discard(coil_gather_settled(last_not_begun(CALL(work)), 3));
}

DEATH_TEST(cancel_and_wait_for_a_call_that_has_not_begun_aborts,
           NOT_BEGUN("coil_cancel_and_wait", 2))
{
    stage_open();
    coil_discard(coil_cancel_and_wait(last_not_begun(CALL(work)), 3));
}

/* ---- Futures without memory -------------------------------------------- */

struct borrows {
    struct coil_coro coro;
    struct coil_future *f[3];
    struct coil_handle set[3];
    int i, n;
    bool made;
};

static int borrow_over, borrow_called;

static void set_one(void *future)
{
    coil_future_set_int(future, 1);
}

/* Pending futures, which the loop completes in its next pass. */
static void renew(struct borrows *my)
{
    for (int i = 0; i < 3; i++) {
        if (my->f[i])
            coil_future_unref(my->f[i]);
        my->f[i] = coil_future_new();
        coil_call_soon(&my->set[i], set_one, my->f[i]);
    }
}

static struct coil_future *borrow_call(void)
{
    struct coil_future *f = CALL(work, .passes = 2, .over = &borrow_over);
    borrow_called += !coil_future_done(f);
    return f;
}

static void borrows(struct coil_coro *co)
{
    ASYNC(borrows, my) {
        renew(my);
        struct coil_future *mixed[] = { my->f[0], borrow_call(), my->f[1],
                                        borrow_call(), coil_sleep(1) };
        AWAIT_TO(my->n, coil_gather(mixed, 5));
        CHECK_INT(my->n, 5);
        CHECK_INT(coil_future_int(my->f[0]) + coil_future_int(my->f[1]), 2);
        AWAIT(coil_sleep(0)); /* the handles have served */
        renew(my);
        AWAIT(coil_gather_settled(my->f, 3));
        renew(my);
        AWAIT(coil_wait(my->f, 3, COIL_FIRST_COMPLETED, COIL_SECONDS(3600)));
        AWAIT(coil_wait(my->f, 3, COIL_ALL_COMPLETED, COIL_SECONDS(3600)));
        AWAIT_TO(my->n, coil_cancel_and_wait(my->f, 3));
        CHECK_INT(my->n, 3);
    FINALLY;
        for (my->i = 0; my->i < 3; my->i++) {
            coil_handle_cancel(&my->set[my->i]);
            if (my->f[my->i] && my->f[my->i] != coil_future_from_nomem()) {
                CHECK_INT(my->f[my->i]->refs, 1);
                coil_future_unref(my->f[my->i]);
            }
        }
    }
}

static struct coil_future *make_borrows(void)
{
    return CALL(borrows);
}

// No reference of the caller's is lost or kept, each call that was taken has
// run its FINALLY.
static int borrowing(void)
{
    borrow_over = borrow_called = 0;
    int err = run_alone(make_borrows);
    CHECK_INT(borrow_over, borrow_called);
    CHECK_INT(stage_reported.n, 0);
    return err;
}

TEST(wait_for_futures_survives_every_failed_allocation)
{
    test_every_allocation(borrowing);
}

// What is borrowed is left alone, what is taken is disposed of.
TEST(gather_without_memory_borrows_nothing_and_drops_what_it_takes)
{
    stage_open();
    enum { N = 60000 }; /* more than fits into memory that the loop has */
    struct coil_future **f = malloc(N * sizeof *f);
    struct coil_future *plain = coil_future_new();
    for (int i = 0; i < N; i++)
        f[i] = plain;
    int over = 0;
    f[N / 2] = CALL(work, .over = &over);
    f[N - 1] = coil_sleep(1);
    test_fail_allocations_from(1);
    struct coil_future *g = coil_gather(f, N);
    test_fail_allocations_from(0);
    CHECK(coil_future_done(g));
    CHECK_INT(coil_future_error(g), -ENOMEM);
    stage_passes(2);
    CHECK_INT(over, 1);
    end_plain(&plain, 1);
    CHECK_INT(stage_tasks(), 0);
    free(f);
    stage_close();
}

/* ---- Many --------------------------------------------------------------- */

// If adding, withdrawing or calling were quadratic, it would take minutes.
TEST(wait_for_many_futures_takes_time_in_proportion)
{
    size_t n = test_is_slow() ? 20000 : 200000;
    struct coil_future **f = malloc(n * sizeof *f);
    for (int same = 0; same < 2; same++) {
        stage_open();
        for (size_t i = 0; i < n; i++)
            f[i] = same && i ? f[0] : coil_future_new();
        struct coil_task *t[] = {
            await(coil_wait(f, n, COIL_ALL_COMPLETED, 0)),
            await(coil_wait(f, n, COIL_ALL_COMPLETED, COIL_NEVER)),
            await(coil_gather(f, n)),
            await(coil_gather_settled(f, n)),
        };
        CHECK_INT(stage_run(t[0]), 0);
        coil_task_cancel(t[1]);
        CHECK_INT(stage_run(t[1]), -ECANCELED);
        for (size_t i = 0; i < (same ? 1 : n); i++)
            coil_future_set_int(f[i], 1);
        CHECK_INT(stage_run(t[2]), 0);
        CHECK_INT(stage_run(t[3]), 0);
        CHECK_INT(coil_future_int(coil_task_future(t[2])), n);
        for (int i = 0; i < 4; i++)
            coil_task_drop(&t[i]);
        end_plain(f, same ? 1 : (int)n);
        stage_close();
        stage_trace[0] = '\0';
    }
    free(f);
}

/* ---- A cancellation at every pass ------------------------------------- */

enum combinator {
    GATHER,
    GATHER_CALLS,
    SETTLED,
    WAIT_ALL,
    WAIT_FIRST,
    GATHER_FUTURES,
    SETTLED_FUTURES,
    WAIT_FUTURES,
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
    struct coil_future *futures[4]; /* of the tasks */
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
        for (my->i = 0; my->i < 4 && my->what != GATHER_CALLS; my->i++)
            my->futures[my->i] = coil_task_future(my->tasks[my->i]);
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
        if (my->what == GATHER_FUTURES)
            AWAIT(coil_gather(my->futures, 4));
        if (my->what == SETTLED_FUTURES)
            AWAIT(coil_gather_settled(my->futures, 4));
        if (my->what == WAIT_FUTURES)
            AWAIT(coil_wait(my->futures, 4, COIL_FIRST_SUCCESS,
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
            FOR_AWAIT(my->task, coil_map(2, next, &my->source))
                AWAIT(coil_sleep(0));
        }
        if (my->what == MAP_UNORDERED) {
            FOR_AWAIT(my->task, coil_map_unordered(2, next, &my->source))
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
                    CHECK_INT(coil_loop_run_until_complete(stage_loop, t), 0);
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
                    CHECK_INT(coil_loop_run_until_complete(stage_loop, t), 0);
                    CHECK_TRACE("finally");
                    CHECK(over == 0 || over == 4);
                    CHECK_INT(stage_tasks(), 0);
                    CHECK_INT(stage_timers(), 0);
                    coil_task_drop(&t);
                }
    stage_close();
}

/* ---- Depth -------------------------------------------------------------- */

struct nested {
    struct coil_coro coro;
    struct coil_future *future;
    int depth, err;
};

static void nested(struct coil_coro *co)
{
    ASYNC(nested, my) {
        my->future = coil_sleep(COIL_SECONDS(3600));
        for (; my->depth > 0; my->depth--)
            my->future = coil_gather(&my->future, 1);
        TRY_AWAIT(my->err, coil_wait_for(my->future, COIL_MS(1)));
        CHECK_INT(my->err, -ETIMEDOUT);
    }
}

static void *run_nested(void *arg)
{
    CHECK_INT(RUN(nested, .depth = 20000), 0);
    return arg;
}

// Each gather cancels what is in it, which may be another one: a recursion that
// must not be as deep as the gathers are.
TEST(gather_nested_deeply_is_cancelled_on_a_small_stack)
{
    work_on_small_stack(run_nested);
}
