// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_shield.c: asyncio's rules for shield(), and whose child the inner is.
 */
#include "work.h"

#include <coil/shield.h>

#include <stdlib.h>

static struct coil_future *stays_call(const char *name, struct hand *op)
{
    return CALL(stays, .name = name, .op = op);
}

TEST(shield_gives_what_the_inner_ends_with)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(work, .id = 3, .passes = 2));
    CHECK_INT(stage_run(await(coil_shield(t))), 0);
    struct coil_future *f = CALL(work, .id = 4, .passes = 2);
    CHECK_INT(stage_run(await(coil_shield(f))), 0);
    f = CALL(work, .err = -EIO, .passes = 2);
    CHECK_INT(stage_run(await(coil_shield(f))), 0);
    f = coil_future_from_nomem();
    CHECK_INT(stage_run(await(coil_shield(f))), 0);
    CHECK_TRACE("=3 =4 =-5 =-12");
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

// asyncio: a future that is done is returned as it is.
TEST(shield_of_what_is_done_takes_no_pass)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(work, .id = 5));
    CHECK_INT(stage_run(t), 0);
    struct coil_task *a = await(coil_shield(t));
    stage_passes(1);
    CHECK(coil_task_done(a));
    CHECK_TRACE("=5");
    stage_close();
}

// The whole point: the request stops at the shield.
TEST(shield_cancelled_leaves_the_inner_running)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *a = stay("a", &op);
    struct coil_task *w = await(coil_shield(a));
    stage_passes(1);
    coil_task_cancel(w);
    CHECK_INT(stage_run(w), -ECANCELED);
    CHECK_INT(op.cancels, 0);
    hand_set(&op, 0, 6);
    CHECK_INT(stage_run(a), 0);
    CHECK_INT(coil_future_int(coil_task_future(a)), 6);
    CHECK_TRACE("a");
    stage_close();
}

// asyncio: "inner cancelled -> outer cancelled"; for the awaiter an error like
// any other, since the awaiter was not cancelled.
TEST(shield_whose_inner_is_cancelled_fails_but_is_not_cancelled)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *a = stay("a", &op);
    struct coil_task *w = await(coil_shield(a));
    stage_passes(1);
    coil_task_cancel(a);
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("a =-125");
    stage_close();
}

// asyncio would drop the value; see task.h.
TEST(shield_cancelled_in_the_pass_in_which_the_inner_ended_gives_its_value)
{
    stage_open();
    struct hand op = { 0 }, then = { 0 };
    struct coil_task *a = stay("a", &op);
    struct coil_task *w = coil_spawn(
        CALL(awaits, .what = coil_shield(a), .then = &then));
    stage_passes(1);
    hand_set(&op, 0, 6);
    stage_passes(1);
    CHECK(coil_task_done(a) && !coil_task_done(w));
    coil_task_cancel(w);
    CHECK_INT(stage_run(w), -ECANCELED);
    CHECK_TRACE("a =6");
    CHECK_INT(then.started, 0);
    stage_close();
}

// After the cancellation no await fetches the error: it is reported once,
// however many shields there are.
TEST(shield_reports_the_inners_error_once_even_if_shielded_twice)
{
    for (int nested = 0; nested < 2; nested++) {
        stage_open();
        stage_reported.n = 0;
        struct hand op = { 0 };
        struct coil_task *a = stay("a", &op);
        struct coil_future *f = nested ? coil_shield(coil_shield(a))
                                       : coil_shield(a);
        struct coil_task *w = await(f), *v = await(coil_shield(a));
        stage_passes(2);
        coil_task_cancel(w);
        coil_task_cancel(v);
        CHECK_INT(stage_run(w), -ECANCELED);
        CHECK_INT(stage_run(v), -ECANCELED);
        hand_set(&op, -EIO, 0);
        stage_passes(4);
        stage_close();
        CHECK_INT(stage_reported.n, 1);
        CHECK_INT(stage_reported.err, -EIO);
        CHECK_TRACE("a");
    }
}

TEST(shield_of_a_future_reports_its_error_when_nobody_waits)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *w = await(coil_shield(stays_call("a", &op)));
    stage_passes(2);
    coil_task_cancel(w);
    CHECK_INT(stage_run(w), -ECANCELED);
    hand_set(&op, -EIO, 0);
    stage_passes(3);
    CHECK_INT(stage_reported.n, 1);
    CHECK_INT(stage_reported.err, -EIO);
    CHECK_TRACE("a");
    stage_close();
}

static struct coil_task *gather_shields(struct coil_task *a,
                                        struct coil_task *b)
{
    struct coil_future *both[] = { coil_shield(a), coil_shield(b) };
    return await(coil_gather(both, 2));
}

// asyncio: gather(shield(a), shield(b)).cancel() cancels the shields only.
TEST(shield_gathered_and_cancelled_cancels_the_shields_only)
{
    stage_open();
    struct hand op[2] = { { 0 }, { 0 } };
    struct coil_task *a = stay("a", &op[0]), *b = stay("b", &op[1]);
    struct coil_task *g = gather_shields(a, b);
    stage_passes(2);
    coil_task_cancel(g);
    CHECK_INT(stage_run(g), -ECANCELED);
    stage_passes(3);
    CHECK_INT(op[0].cancels + op[1].cancels, 0);
    CHECK_INT(stage_tasks(), 2);
    hand_set(&op[0], 0, 1);
    hand_set(&op[1], 0, 2);
    CHECK_INT(stage_run(a) + stage_run(b), 0);
    CHECK_TRACE("a b");
    stage_close();
}

struct owns {
    struct coil_coro coro;
    struct hand *op;
    bool call;
    struct coil_task *task;
};

static void owns(struct coil_coro *co)
{
    ASYNC(owns, my) {
        if (my->call)
            AWAIT(coil_shield(stays_call("inner", my->op)));
        my->task = SPAWN(stays, .name = "inner", .op = my->op);
        AWAIT(coil_shield(my->task));
    FINALLY;
        trace("outer");
    }
}

// A shield changes no owner: a child ends before its spawner does.
TEST(shield_of_a_child_does_not_outlive_its_spawner)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(owns, .op = &op));
    stage_passes(2);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("inner outer");
    CHECK_INT(op.cancels, 1);
    stage_close();
}

// A call is the loop's: it goes on when its maker is over.
TEST(shield_of_a_call_outlives_its_maker)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(owns, .op = &op, .call = true));
    stage_passes(2);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("outer");
    coil_task_drop(&t);
    CHECK_INT(op.cancels, 0);
    CHECK_INT(stage_tasks(), 1);
    hand_set(&op, 0, 1);
    stage_passes(2);
    CHECK_TRACE("inner");
    CHECK_INT(stage_tasks(), 0);
    stage_close();
}

// Closing waits for it, having asked it to end: nothing is lost track of.
TEST(shield_of_a_call_is_cancelled_when_the_loop_closes)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(owns, .op = &op, .call = true));
    stage_passes(2);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("outer");
    stage_close();
    CHECK_TRACE("inner");
    CHECK_INT(op.cancels, 1);
}

struct cancels_itself {
    struct coil_coro coro;
    struct hand *op;
};

static void cancels_itself(struct coil_coro *co)
{
    ASYNC(cancels_itself, my) {
        coil_task_cancel(coil_task_current());
        AWAIT(coil_shield(stays_call("inner", my->op)));
    }
}

// All or nothing: a request that came before strikes before it begins.
TEST(shield_awaited_after_a_request_begins_nothing)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(cancels_itself, .op = &op));
    CHECK_INT(stage_run(t), -ECANCELED);
    stage_passes(2);
    CHECK_INT(op.started, 0);
    CHECK_TRACE("inner"); /* its FINALLY */
    stage_close();
}

TEST(shield_that_is_dropped_leaves_a_task_alone_and_drops_a_future)
{
    stage_open();
    struct hand op = { 0 };
    int begun = 0, over = 0;
    struct coil_task *a = stay("a", &op);
    coil_discard(coil_shield(a));
    struct coil_future *f = CALL(work, .begun = &begun, .over = &over);
    coil_discard(coil_shield(f));
    stage_passes(3);
    CHECK_INT(op.cancels, 0);
    CHECK_INT(begun, 0);
    CHECK_INT(over, 1);
    hand_set(&op, 0, 1);
    CHECK_INT(stage_run(a), 0);
    stage_trace[0] = '\0';
    stage_close();
}

// The handle may be given back meanwhile: the shield keeps the task.
TEST(shield_keeps_a_task_from_when_it_is_made)
{
    stage_open();
    struct coil_task *a = coil_spawn(CALL(work, .id = 5));
    struct coil_future *f = coil_shield(a);
    stage_passes(2);
    coil_task_drop(&a);
    CHECK_INT(stage_run(await(f)), 0);
    CHECK_TRACE("=5");
    stage_close();
}

// Tornado's with_timeout: the time is up, the future goes on.
TEST(shield_in_a_wait_for_times_out_and_lets_the_inner_go_on)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *a = stay("a", &op);
    struct coil_task *w = await(coil_wait_for(coil_shield(a), COIL_MS(1)));
    CHECK_INT(stage_run(w), 0);
    CHECK_TRACE("=-110");
    CHECK_INT(op.cancels, 0);
    hand_set(&op, 0, 1);
    CHECK_INT(stage_run(a), 0);
    CHECK_TRACE("a");
    stage_close();
}

// Each shield made a task of the future, and each of these tasks reported.
TEST(shield_reports_the_error_of_a_plain_future_once)
{
    for (int n = 1; n <= 3; n++) {
        stage_open();
        stage_reported.n = 0;
        struct coil_future *f = coil_future_new();
        struct coil_task *w[3];
        for (int i = 0; i < n; i++)
            w[i] = await(coil_shield(coil_future_ref(f)));
        stage_passes(2);
        for (int i = 0; i < n; i++) {
            coil_task_cancel(w[i]);
            CHECK_INT(stage_run(w[i]), -ECANCELED);
        }
        CHECK(!coil_future_done(f));
        coil_future_set_error(f, -EIO);
        stage_passes(3);
        coil_future_unref(f);
        stage_passes(3);
        stage_close();
        CHECK_INT(stage_reported.n, 1);
        CHECK_INT(stage_reported.err, -EIO);
    }

    /* One shield goes on: it fetches the error, and there is no report. */
    stage_open();
    struct coil_future *f = coil_future_new();
    struct coil_task *a = await(coil_shield(coil_future_ref(f)));
    struct coil_task *b = await(coil_shield(coil_future_ref(f)));
    stage_passes(2);
    coil_task_cancel(a);
    stage_passes(2);
    coil_future_set_error(f, -EIO);
    coil_future_unref(f);
    stage_run(b);
    CHECK_TRACE("=-5");
    stage_close();
    CHECK_INT(stage_reported.n, 1);
}

// gevent's AsyncResult.get(timeout): a wait that gives up does not cancel the
// result, for which other tasks may wait.
TEST(shield_of_a_plain_future_leaves_it_pending)
{
    stage_open();
    struct coil_future *f = coil_future_new();
    struct coil_task *other = await(coil_future_ref(f));
    struct coil_future *mine = coil_shield(coil_future_ref(f));
    CHECK_INT(stage_run(await(coil_wait_for(mine, COIL_MS(1)))), 0);
    CHECK_TRACE("=-110");
    CHECK(!coil_future_done(f));
    coil_future_set_int(f, 3);
    CHECK_INT(stage_run(other), 0);
    CHECK_TRACE("=3");
    coil_future_unref(f);
    stage_passes(2);
    CHECK_INT(stage_tasks(), 0);
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
};

static void gives(struct coil_coro *co)
{
    ASYNC_GIVES(gives, my, count_and_free) {
        AWAIT(coil_sleep(0));
        RETURN(malloc(1));
    }
}

struct takes {
    struct coil_coro coro;
    bool takes;
    void *memory;
};

static void takes(struct coil_coro *co)
{
    ASYNC(takes, my) {
        if (my->takes)
            AWAIT_TO(my->memory, coil_shield(CALL(gives)));
        else
            AWAIT(coil_shield(CALL(gives)));
    FINALLY;
        free(my->memory);
    }
}

// A pointer goes through to the await that takes it; without one it is freed,
// also when the shield was cancelled before the pointer was there.
TEST(shield_passes_a_pointer_on_with_its_owner)
{
    for (int how = 0; how < 3; how++) {
        stage_open();
        freed = 0;
        struct coil_task *t = SPAWN(takes, .takes = how != 1);
        stage_passes(2);
        if (how == 2)
            coil_task_cancel(t);
        CHECK_INT(stage_run(t), how == 2 ? -ECANCELED : 0);
        stage_passes(4);
        stage_close();
        CHECK_INT(freed, how == 0 ? 0 : 1);
    }
}

struct shields {
    struct coil_coro coro;
    struct coil_task *task;
    int err;
};

static void shields(struct coil_coro *co)
{
    ASYNC(shields, my) {
        AWAIT(coil_shield(CALL(work, .passes = 1)));
        my->task = coil_spawn(CALL(work, .passes = 2));
        AWAIT(coil_shield(my->task));
        TRY_AWAIT(my->err, coil_wait_for(coil_shield(CALL(work, .passes = 3)),
                                         0));
        if (my->err != -ETIMEDOUT)
            FAIL(my->err ? my->err : -EBADMSG);
    FINALLY;
        trace("finally");
    }
}

// Whenever the request comes, each shielded call begun ends by itself.
TEST(shield_survives_a_cancel_at_every_pass)
{
    for (int when = 0; when < 14; when++) {
        stage_open();
        struct coil_task *t = SPAWN(shields);
        stage_passes(when);
        coil_task_cancel(t);
        CHECK_INT(coil_loop_run_until_complete(stage_loop, t), 0);
        CHECK_TRACE("finally");
        stage_passes(8);
        CHECK_INT(stage_tasks(), 0);
        CHECK_INT(stage_timers(), 0);
        stage_close();
    }
}

static struct coil_future *make_shields(void)
{
    return CALL(shields);
}

static int shielding(void)
{
    int err = run_alone(make_shields);
    stage_trace[0] = '\0';
    return err;
}

TEST(shield_survives_every_failed_allocation)
{
    test_every_allocation(shielding);
}
