// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_task.c: the table at the top of task.c, row by row; what asyncio's own
 * tests demand of cancelling; and that nothing outlives what it borrows.
 */
#include "stage.h"

#include <stdlib.h>

/* Hand over what a field holds: an await takes it, FINALLY must not see it. */
static struct coil_future *take(struct coil_future **field)
{
    struct coil_future *f = *field;
    *field = NULL;
    return f;
}

/* Await one thing, then another; say how far it came. */
struct waits {
    struct coil_coro coro;
    struct coil_future *on, *then;
    int64_t value;
};

static void waits(struct coil_coro *co)
{
    ASYNC(waits, my) {
        trace("begun");
        AWAIT_TO(my->value, take(&my->on));
        trace("value %d", (int)my->value);
        if (my->then)
            AWAIT(take(&my->then));
        trace("over");
        RETURN(my->value);

    FINALLY;
        trace("finally");
        if (my->on)
            coil_discard(my->on);
        if (my->then)
            coil_discard(my->then);
    }
}

/* ---- The table: queued ------------------------------------------------ */

// What the body would have acquired does not exist; its arguments do.
TEST(task_cancelled_before_its_first_step_runs_finally_only)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(waits, .on = hand_op(&op)));
    CHECK(coil_task_cancel(t));
    stage_passes(1);
    CHECK_TRACE("finally");
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(op.started, 0);
    CHECK_INT(op.freed, 1);
    stage_close();
}

struct cleans {
    struct coil_coro coro;
    struct coil_future *with;
};

static void cleans(struct coil_coro *co)
{
    ASYNC(cleans, my) {
        trace("begun");
    FINALLY;
        trace("cleaning");
        AWAIT(take(&my->with));
        trace("clean");
    }
}

// Two requests, one delivery: the cleanup is not what the second one hits.
TEST(task_cancelled_twice_before_its_first_step_cleans_up_undisturbed)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(cleans, .with = hand_op(&op)));
    CHECK(coil_task_cancel(t));
    CHECK(coil_task_cancel(t));
    CHECK_INT(coil_task_cancelling(t), 2);
    stage_passes(2);
    CHECK_TRACE("cleaning");
    CHECK_INT(op.cancels, 0);
    hand_set(&op, 0, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("clean");
    stage_close();
}

/* ---- The table: running ----------------------------------------------- */

struct cancels_itself {
    struct coil_coro coro;
    struct coil_future *then;
    bool gives_none;
};

static void cancels_itself(struct coil_coro *co)
{
    ASYNC(cancels_itself, my) {
        coil_task_cancel_with(coil_task_current(), COIL_CANCEL_INTERRUPT);
        trace("goes on");
        if (my->then)
            AWAIT(take(&my->then));
        trace("over");
        if (!my->gives_none)
            RETURN(1);

    FINALLY;
        trace("finally");
    }
}

// asyncio test_cancel_current_task: nothing begins after the request.
TEST(task_that_cancels_itself_is_struck_at_its_next_await)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(cancels_itself, .then = hand_op(&op)));
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(stage_reason(t), COIL_CANCEL_INTERRUPT);
    CHECK_TRACE("goes on finally");
    CHECK_INT(op.started, 0);
    CHECK_INT(op.freed, 1);
    stage_close();
}

// A call that is struck has not begun; but its arguments may need a FINALLY.
TEST(task_that_cancels_itself_then_calls_runs_only_the_callees_finally)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_future *callee = CALL(waits, .on = hand_op(&op));
    struct coil_task *t = coil_spawn(CALL(cancels_itself, .then = callee));
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(stage_reason(t), COIL_CANCEL_INTERRUPT);
    CHECK_TRACE("goes on finally finally");
    CHECK_INT(op.started, 0);
    stage_close();
}

// asyncio cancels the future that such a task begins to wait for.
TEST(task_that_cancels_itself_cancels_the_plain_future_it_awaits)
{
    stage_open();
    struct coil_future *f = coil_future_new();
    struct coil_task *t = coil_spawn(
        CALL(cancels_itself, .then = coil_future_ref(f)));
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK(coil_future_cancelled(f));
    CHECK(!coil_future_set_int(f, 1));
    coil_future_unref(f);
    CHECK_TRACE("goes on finally");
    stage_close();
}

// Not to suspend is not to be struck: a value that is there is not dropped.
TEST(task_that_cancels_itself_still_gets_what_is_done_already)
{
    stage_open();
    struct coil_task *t = coil_spawn(
        CALL(cancels_itself, .then = coil_future_from_int(1)));
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 1);
    CHECK_TRACE("goes on over finally");
    stage_close();
}

// trio: no await has met the request, so the value of RETURN stands. (In
// asyncio, test_cancel_at_end, it is lost.)
TEST(task_that_cancels_itself_and_returns_keeps_its_value)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(cancels_itself));
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 1);
    CHECK_INT(coil_task_cancelling(t), 1);
    CHECK_TRACE("goes on over finally");
    stage_close();
}

// asyncio test_cancel_at_end: a body that gives no value loses none, and the
// task says that it was cancelled.
TEST(task_that_cancels_itself_and_runs_off_its_end_ends_cancelled)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(cancels_itself, .gives_none = true));
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(stage_reason(t), COIL_CANCEL_INTERRUPT);
    CHECK_TRACE("goes on over finally");
    stage_close();
}

struct cancels_itself_then_awaits_task {
    struct coil_coro coro;
    struct coil_task *child;
    struct hand *op;
};

static void cancels_itself_then_awaits_task(struct coil_coro *co)
{
    ASYNC(cancels_itself_then_awaits_task, my) {
        my->child = SPAWN(waits, .on = hand_op(my->op));
        AWAIT(coil_sleep(0));
        coil_task_cancel_with(coil_task_current(), COIL_CANCEL_INTERRUPT);
        AWAIT(my->child);
        trace("not here");

    FINALLY;
        trace("%d", stage_reason(my->child));
    }
}

// asyncio test_cancel_awaited_task: the request goes through to the inner one.
TEST(task_that_cancels_itself_then_awaits_a_task_cancels_that)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(cancels_itself_then_awaits_task, .op = &op));
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(stage_reason(t), COIL_CANCEL_INTERRUPT);
    CHECK_INT(op.cancels, 1);
    CHECK_TRACE("begun finally 3");
    stage_close();
}

/* ---- The table: waiting ----------------------------------------------- */

// asyncio: cancelling the task cancels the future, for its other waiters too.
TEST(task_cancelled_at_a_plain_future_cancels_it)
{
    stage_open();
    struct coil_future *f = coil_future_new();
    struct coil_task *t = coil_spawn(CALL(waits, .on = coil_future_ref(f)));
    stage_passes(1);
    CHECK(coil_task_cancel(t));
    CHECK(coil_future_cancelled(f));
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("begun finally");
    coil_future_unref(f);
    stage_close();
}

// A timer of a cancelled sleep that stayed would be a leak of an hour.
TEST(task_cancelled_in_a_sleep_disarms_the_timer_at_once)
{
    stage_open();
    struct coil_task *t = coil_spawn(
        CALL(waits, .on = coil_sleep(COIL_SECONDS(3600))));
    stage_passes(1);
    CHECK_INT(stage_timers(), 1);
    CHECK(coil_task_cancel(t));
    CHECK_INT(stage_timers(), 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("begun finally");
    stage_close();
}

// A pass brings nothing that could be lost: asyncio raises at a bare yield.
TEST(task_cancelled_while_it_lets_others_go_first_is_struck_there)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(waits, .on = coil_sleep(0)));
    stage_passes(1);
    CHECK(coil_task_cancel(t));
    stage_passes(1);
    CHECK_TRACE("begun finally");
    CHECK_INT(stage_run(t), -ECANCELED);
    stage_close();
}

// The kernel may still write into the buffer: the await ends when it says so.
TEST(task_cancelled_at_an_operation_ends_when_the_operation_has)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *t = coil_spawn(CALL(waits, .on = hand_op(&op)));
    stage_passes(1);
    CHECK(coil_task_cancel(t));
    stage_passes(5);
    CHECK_INT(op.cancels, 1);
    CHECK(!coil_task_done(t));
    CHECK_TRACE("begun");
    hand_set(&op, -ECANCELED, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("finally");
    stage_close();
}

// The rule that asyncio lacks: bytes, a permit or a descriptor must not vanish.
TEST(task_gets_the_late_success_and_is_struck_at_the_next_await)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_SUCCEEDS, .value = 7 }, next = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(waits, .on = hand_op(&op), .then = hand_op(&next)));
    stage_passes(1);
    CHECK(coil_task_cancel(t));
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("begun value 7 finally");
    CHECK_INT(next.started, 0);
    stage_close();
}

// The same, much later: the operation has taken its time to succeed.
TEST(task_keeps_the_request_until_a_lingering_operation_has_succeeded)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS }, next = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(waits, .on = hand_op(&op), .then = hand_op(&next)));
    stage_passes(1);
    CHECK(coil_task_cancel(t));
    stage_passes(3);
    hand_set(&op, 0, 8);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("begun value 8 finally");
    CHECK_INT(next.started, 0);
    stage_close();
}

struct tries {
    struct coil_coro coro;
    struct coil_future *on, *then;
    int err;
};

static void tries(struct coil_coro *co)
{
    ASYNC(tries, my) {
        TRY_AWAIT(my->err, take(&my->on));
        trace("err %d", my->err);
        if (my->then)
            AWAIT(take(&my->then));
        trace("over");

    FINALLY;
        trace("finally");
        if (my->on)
            coil_discard(my->on);
        if (my->then)
            coil_discard(my->then);
    }
}

// With no await left to strike, what it returns stands; without RETURN the task
// says itself that it was cancelled.
TEST(task_whose_body_ends_with_an_undelivered_request_keeps_its_value)
{
    for (int value = 0; value < 2; value++) {
        stage_open();
        struct hand op = { .on_cancel = HAND_SUCCEEDS, .value = 7 };
        struct coil_future *f = hand_op(&op);
        struct coil_task *t = coil_spawn(value ? CALL(waits, .on = f)
                                               : CALL(tries, .on = f));
        stage_passes(1);
        CHECK(coil_task_cancel_with(t, COIL_CANCEL_GROUP));
        CHECK_INT(stage_run(t), value ? 0 : -ECANCELED);
        if (value)
            CHECK_INT(coil_future_int(coil_task_future(t)), 7);
        else
            CHECK_INT(stage_reason(t), COIL_CANCEL_GROUP);
        CHECK_TRACE(value ? "begun value 7 over finally"
                          : "err 0 over finally");
        stage_close();
    }
}

// It failed of itself: that is told, and the request is not forgotten for it.
TEST(task_gets_another_error_and_is_struck_at_the_next_await)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS }, next = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(tries, .on = hand_op(&op), .then = hand_op(&next)));
    stage_passes(1);
    CHECK(coil_task_cancel(t));
    hand_set(&op, -EIO, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("err -5 finally");
    CHECK_INT(next.started, 0);
    stage_close();
}

// Asking again reaches the operation again; it is still one cancellation.
TEST(task_cancelled_twice_at_an_operation_is_struck_once)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *t = coil_spawn(CALL(cleans, .with = hand_op(&op)));
    stage_passes(1);
    CHECK_TRACE("begun cleaning");
    CHECK(coil_task_cancel(t));
    CHECK(coil_task_cancel(t));
    CHECK_INT(op.cancels, 2);
    CHECK_INT(coil_task_cancelling(t), 2);
    hand_set(&op, -ECANCELED, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("clean");
    stage_close();
}

/* ---- The table: woken ------------------------------------------------- */

// "Granted, then cancelled before it ran": the bug everybody shipped.
TEST(task_cancelled_after_its_future_was_set_gets_the_value)
{
    stage_open();
    struct coil_future *f = coil_future_new();
    struct hand next = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(waits, .on = coil_future_ref(f), .then = hand_op(&next)));
    stage_passes(1);
    CHECK(coil_future_set_int(f, 5));
    CHECK(coil_task_cancel(t));
    coil_future_unref(f);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("begun value 5 finally");
    CHECK_INT(next.started, 0);
    stage_close();
}

// The other order: the producer is told that nobody wants it any more.
TEST(task_cancelled_before_its_future_was_set_gets_no_value)
{
    stage_open();
    struct coil_future *f = coil_future_new();
    struct coil_task *t = coil_spawn(CALL(waits, .on = coil_future_ref(f)));
    stage_passes(1);
    CHECK(coil_task_cancel(t));
    CHECK(!coil_future_set_int(f, 5));
    coil_future_unref(f);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("begun finally");
    stage_close();
}

static void cancel_it(void *task)
{
    CHECK(coil_task_cancel(task));
    trace("cancelled");
}

// A sleep whose time has come is over, whoever cancels now.
TEST(task_cancelled_after_its_sleep_is_over_is_struck_at_the_next_await)
{
    stage_open();
    struct hand next = { 0 };
    struct coil_handle first = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(waits, .on = coil_sleep(1), .then = hand_op(&next)));
    stage_passes(1);
    /* Due before the sleep: called in the pass in which both are. */
    CHECK_INT(coil_call_at(&first, 1, cancel_it, t), 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("begun cancelled value 0 finally");
    CHECK_INT(next.started, 0);
    stage_close();
}

/* ---- The table: draining ---------------------------------------------- */

/* Takes no notice of the first `refusals` requests. */
struct refuses {
    struct coil_coro coro;
    struct hand *op;
    int refusals, err;
};

static void refuses(struct coil_coro *co)
{
    ASYNC(refuses, my) {
        for (;;) {
            TRY_ALL(my->err) AWAIT(hand_op(my->op));
            if (!my->err)
                RETURN(0);
            trace("asked");
            if (my->refusals-- == 0)
                FAIL(my->err);
        }
    FINALLY;
        trace("child");
    }
}

struct spawns {
    struct coil_coro coro;
    struct hand *op;
    int refusals;
};

static void spawns(struct coil_coro *co)
{
    ASYNC(spawns, my) {
        SPAWN(refuses, .op = my->op, .refusals = my->refusals);
        AWAIT(coil_sleep(0));
        trace("body over");
        RETURN(5);

    FINALLY;
        trace("parent");
    }
}

// Its fields are lent to the child: it cannot leave before.
TEST(task_waits_for_a_child_that_refuses_the_first_cancel)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(spawns, .op = &op, .refusals = 1));
    stage_passes(10);
    CHECK(!coil_task_done(t));
    CHECK_TRACE("body over asked");
    hand_set(&op, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 5);
    CHECK_TRACE("child parent");
    stage_close();
}

// The row "draining" of the table; else a stuck child could not be got at.
TEST(task_cancelled_while_it_drains_asks_its_children_again)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(spawns, .op = &op, .refusals = 1));
    stage_passes(10);
    CHECK_TRACE("body over asked");
    CHECK(coil_task_cancel(t));
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("asked child parent");
    stage_close();
}

// Each request goes all the way down, as often as it is made.
TEST(task_that_drains_passes_every_request_on)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(spawns, .op = &op, .refusals = 3));
    for (int i = 0; i < 3; i++) {
        stage_passes(10);
        CHECK(!coil_task_done(t));
        CHECK(coil_task_cancel(t));
    }
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("body over asked asked asked asked child parent");
    stage_close();
}

/* ---- The table: done -------------------------------------------------- */

TEST(task_that_is_done_cannot_be_cancelled)
{
    stage_open();
    struct coil_task *t = coil_spawn(
        CALL(waits, .on = coil_future_from_int(3)));
    CHECK_INT(stage_run(t), 0);
    CHECK(!coil_task_cancel(t));
    CHECK_INT(coil_task_cancelling(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 3);
    CHECK_TRACE("begun value 3 over finally");
    stage_close();
}

/* ---- The counter ------------------------------------------------------ */

TEST(task_counts_its_requests)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *t = coil_spawn(CALL(waits, .on = hand_op(&op)));
    stage_passes(1);
    CHECK_INT(coil_task_cancelling(t), 0);
    CHECK_INT(coil_task_uncancel(t), 0);
    coil_task_cancel(t);
    coil_task_cancel(t);
    CHECK_INT(coil_task_cancelling(t), 2);
    CHECK_INT(coil_task_uncancel(t), 1);
    CHECK_INT(coil_task_uncancel(t), 0);
    CHECK_INT(coil_task_uncancel(t), 0);
    hand_set(&op, -ECANCELED, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(coil_task_cancelling(t), 0);
    CHECK_TRACE("begun finally");
    stage_close();
}

/* A task that waits and has been asked to end `n` times. */
static struct coil_task *asked(struct hand *op, int n)
{
    struct coil_task *t = coil_spawn(CALL(waits, .on = hand_op(op)));
    stage_passes(1);
    for (int i = 0; i < n; i++)
        coil_task_cancel(t);
    return t;
}

// So many are counted; the last one that is not taken back strikes.
TEST(task_counts_254_requests)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *t = asked(&op, 254);
    for (unsigned left = 254; left-- > 1;)
        CHECK_INT(coil_task_uncancel(t), left);
    hand_set(&op, -ECANCELED, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(coil_task_cancelling(t), 1);
    CHECK_TRACE("begun finally");
    stage_close();
}

// 300 of which 299 were taken back left none: the request was lost.
DEATH_TEST(task_with_more_requests_than_are_counted_takes_none_back,
           "coil_task_uncancel: 255 requests or more are pending")
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *t = asked(&op, 300);
    for (int i = 0; i < 299; i++)
        coil_task_uncancel(t);
    CHECK(coil_task_cancelling(t) > 0);
}

struct late_and_asked {
    struct coil_coro coro;
    struct hand *op;
};

static void late_and_asked(struct coil_coro *co)
{
    ASYNC(late_and_asked, my) {
        WITHIN(COIL_MS(1)) {
            AWAIT(hand_op(my->op));
        }
    }
}

// The block takes its own request back, and none of the others.
TEST(task_with_more_requests_than_are_counted_is_not_late)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *t = coil_spawn(CALL(late_and_asked, .op = &op));
    stage_passes(1);
    for (int i = 0; i < 300; i++)
        coil_task_cancel(t);
    coil_loop_pass(stage_loop, COIL_MS(20));
    hand_set(&op, -ECANCELED, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(coil_task_cancelling(t), 255);
    stage_close();
}

// What saturates must not wrap to "nobody asked".
TEST(task_counts_at_least_255_requests)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *t = coil_spawn(CALL(waits, .on = hand_op(&op)));
    stage_passes(1);
    for (int i = 0; i < 1000; i++)
        coil_task_cancel(t);
    CHECK(coil_task_cancelling(t) >= 255);
    hand_set(&op, -ECANCELED, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("begun finally");
    stage_close();
}

struct changes_its_mind {
    struct coil_coro coro;
    struct coil_future *on;
    int64_t value;
};

static void changes_its_mind(struct coil_coro *co)
{
    ASYNC(changes_its_mind, my) {
        struct coil_task *me = coil_task_current();
        coil_task_cancel(me);
        CHECK_INT(coil_task_uncancel(me), 0);
        AWAIT_TO(my->value, take(&my->on));
        RETURN(my->value);
    }
}

struct cleans_slowly {
    struct coil_coro coro;
    struct hand *op;
};

static void cleans_slowly(struct coil_coro *co)
{
    ASYNC(cleans_slowly, my) {
        trace("not here");
    FINALLY;
        AWAIT(hand_op(my->op));
        trace("cleaned");
    }
}

// asyncio test_uncancel_resets_must_cancel.
TEST(task_uncancelled_before_the_request_struck_goes_on)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(changes_its_mind, .on = hand_op(&op)));
    stage_passes(1);
    CHECK_INT(op.started, 1);
    CHECK_INT(op.cancels, 0);
    hand_set(&op, 0, 9);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 9);
    stage_close();
}

// The same before the first step: it has not struck there either.
TEST(task_uncancelled_before_its_first_step_begins)
{
    stage_open();
    for (int requests = 1; requests < 4; requests++) {
        struct hand op = { 0 };
        struct coil_task *t = coil_spawn(hand_op(&op));
        for (int i = 0; i < requests; i++)
            coil_task_cancel(t);
        for (int i = requests; i-- > 0;)
            CHECK_INT(coil_task_uncancel(t), i);
        CHECK_INT(coil_task_uncancel(t), 0);
        stage_passes(1);
        CHECK_INT(op.started, 1);
        hand_set(&op, 0, 4);
        CHECK_INT(stage_run(t), 0);
        CHECK_INT(coil_future_int(coil_task_future(t)), 4);
        coil_task_drop(&t);
    }
    stage_close();
}

// In its FINALLY it has struck: what is past cannot be taken back.
TEST(task_uncancelled_in_the_finally_of_its_first_step_stays_cancelled)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(cleans_slowly, .op = &op));
    coil_task_cancel(t);
    stage_passes(1);
    CHECK_INT(coil_task_uncancel(t), 0);
    stage_passes(1);
    hand_set(&op, 0, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("cleaned");
    stage_close();
}

// One of two requests is taken back: the other one stands.
TEST(task_uncancelled_once_of_twice_is_still_struck)
{
    stage_open();
    struct coil_future *f = coil_future_new();
    struct hand next = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(waits, .on = coil_future_ref(f), .then = hand_op(&next)));
    stage_passes(1);
    coil_future_set_int(f, 1);
    coil_future_unref(f);
    coil_task_cancel(t);
    coil_task_cancel(t);
    CHECK_INT(coil_task_uncancel(t), 1);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("begun value 1 finally");
    stage_close();
}

// What has made an operation fail cannot be taken back, as in asyncio.
TEST(task_uncancelled_after_its_await_has_failed_fails_as_its_own)
{
    stage_open();
    struct hand op = { 0 }, next = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(tries, .on = hand_op(&op), .then = hand_op(&next)));
    stage_passes(1);
    coil_task_cancel(t);
    CHECK_INT(op.cancels, 1);
    CHECK_INT(coil_task_uncancel(t), 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("finally");
    stage_close();
}

// It was asked to end and succeeded; the one who asked has taken it back.
TEST(task_uncancelled_before_the_late_success_goes_on)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS }, next = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(waits, .on = hand_op(&op), .then = hand_op(&next)));
    stage_passes(1);
    coil_task_cancel(t);
    CHECK_INT(coil_task_uncancel(t), 0);
    hand_set(&op, 0, 4);
    stage_passes(2);
    CHECK_INT(next.started, 1);
    CHECK_INT(next.cancels, 0);
    hand_set(&next, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("begun value 4 over finally");
    stage_close();
}

/* ---- Catching --------------------------------------------------------- */

struct catches {
    struct coil_coro coro;
    struct coil_future *on;
    struct coil_task *task;
    int err;
};

static void catches(struct coil_coro *co)
{
    ASYNC(catches, my) {
        TRY_ALL(my->err) {
            if (my->task)
                AWAIT(my->task);
            else
                AWAIT(take(&my->on));
        }
        trace("caught %d %d", my->err, COIL_DETAIL_CODE(coil_last_detail()));
        AWAIT(coil_sleep(0));
        RETURN(11);

    FINALLY;
        if (my->on)
            coil_discard(my->on);
    }
}

// One delivery for a request: caught, the task goes on, and is not cancelled.
TEST(task_may_catch_its_cancellation_and_return_a_value)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(catches, .on = hand_op(&op)));
    stage_passes(1);
    coil_task_cancel_with(t, COIL_CANCEL_INTERRUPT);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 11);
    CHECK_INT(coil_task_cancelling(t), 1);
    CHECK_TRACE("caught -125 3");
    stage_close();
}

// asyncio cancel(msg): the reason reaches the catcher through nested calls...
TEST(task_cancel_reason_reaches_the_catcher_through_calls)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_future *inner = CALL(waits, .on = hand_op(&op));
    struct coil_future *middle = CALL(waits, .on = inner);
    struct coil_task *t = coil_spawn(CALL(catches, .on = middle));
    stage_passes(1);
    coil_task_cancel_with(t, COIL_CANCEL_TIMEOUT);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("begun begun finally finally caught -125 1");
    stage_close();
}

// ...and through nested tasks.
TEST(task_cancel_reason_reaches_the_catcher_through_tasks)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *inner = coil_spawn(CALL(waits, .on = hand_op(&op)));
    struct coil_task *t = coil_spawn(CALL(catches, .task = inner));
    stage_passes(1);
    coil_task_cancel_with(t, COIL_CANCEL_GROUP);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(stage_reason(inner), COIL_CANCEL_GROUP);
    CHECK_TRACE("begun finally caught -125 2");
    stage_close();
}

// Two requests, one delivery: the one that came first says why.
TEST(task_cancel_reason_is_that_of_the_first_request_to_be_delivered)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *t = coil_spawn(CALL(catches, .on = hand_op(&op)));
    stage_passes(1);
    coil_task_cancel_with(t, COIL_CANCEL_TIMEOUT);
    coil_task_cancel_with(t, COIL_CANCEL_INTERRUPT);
    hand_set(&op, -ECANCELED, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("caught -125 1");
    stage_close();
}

// ...and when the value was handed on first: the request goes up with it.
TEST(task_cancel_reason_survives_a_late_success_in_a_call)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_SUCCEEDS, .value = 2 }, next = { 0 };
    struct coil_future *inner = CALL(waits, .on = hand_op(&op));
    struct coil_task *t = coil_spawn(
        CALL(waits, .on = inner, .then = hand_op(&next)));
    stage_passes(1);
    coil_task_cancel_with(t, COIL_CANCEL_INTERRUPT);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(stage_reason(t), COIL_CANCEL_INTERRUPT);
    CHECK_INT(next.started, 0);
    CHECK_TRACE("begun begun value 2 over finally value 2 finally");
    stage_close();
}

struct catches_and_fails {
    struct coil_coro coro;
    struct coil_future *on;
    int err;
};

static void catches_and_fails(struct coil_coro *co)
{
    ASYNC(catches_and_fails, my) {
        TRY_ALL(my->err) AWAIT(take(&my->on));
        trace("caught %d", my->err);
        FAIL(my->err);
    }
}

// "except CancelledError: tidy up; raise": it is still this task's own.
TEST(task_cancellation_that_was_caught_and_sent_on_is_its_own)
{
    stage_open();
    struct hand op = { 0 }, next = { 0 };
    struct coil_future *inner = CALL(catches_and_fails, .on = hand_op(&op));
    struct coil_task *t = coil_spawn(
        CALL(tries, .on = inner, .then = hand_op(&next)));
    stage_passes(1);
    coil_task_cancel_with(t, COIL_CANCEL_GROUP);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(stage_reason(t), COIL_CANCEL_GROUP);
    CHECK_INT(next.started, 0);
    CHECK_TRACE("caught -125 finally");
    stage_close();
}

// TRY_AWAIT is for errors. To catch one's own cancellation has its own word.
TEST(task_try_await_never_catches_its_own_cancellation)
{
    stage_open();
    struct hand op = { 0 }, next = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(tries, .on = hand_op(&op), .then = hand_op(&next)));
    stage_passes(1);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("finally");
    CHECK_INT(next.started, 0);
    stage_close();
}

// Nor does it when the cancellation comes up from a nested call.
TEST(task_try_await_never_catches_its_own_cancellation_from_a_call)
{
    stage_open();
    struct hand op = { 0 }, next = { 0 };
    struct coil_future *inner = CALL(waits, .on = hand_op(&op));
    struct coil_task *t = coil_spawn(
        CALL(tries, .on = inner, .then = hand_op(&next)));
    stage_passes(1);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("begun finally finally");
    stage_close();
}

struct tries_task {
    struct coil_coro coro;
    struct coil_task *task;
    int err;
};

static void tries_task(struct coil_coro *co)
{
    ASYNC(tries_task, my) {
        TRY_AWAIT(my->err, my->task);
        trace("err %d", my->err);
        AWAIT(coil_sleep(0));
        RETURN(my->err);
    }
}

// Somebody else was cancelled; this task only hears of it.
TEST(task_try_await_catches_the_cancellation_of_another_task)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *child = coil_spawn(CALL(waits, .on = hand_op(&op)));
    struct coil_task *t = coil_spawn(CALL(tries_task, .task = child));
    stage_passes(1);
    coil_task_cancel(child);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), -ECANCELED);
    CHECK_TRACE("begun finally err -125");
    stage_close();
}

// A future that somebody else cancelled is an error like any other.
TEST(task_try_await_catches_the_cancellation_of_a_future)
{
    stage_open();
    struct coil_future *f = coil_future_new();
    struct hand next = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(tries, .on = coil_future_ref(f), .then = hand_op(&next)));
    stage_passes(1);
    coil_future_cancel(f);
    coil_future_unref(f);
    stage_passes(1);
    CHECK_TRACE("err -125");
    hand_set(&next, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("over finally");
    stage_close();
}

/* ---- Requests and FINALLY --------------------------------------------- */

struct cleans_twice {
    struct coil_coro coro;
    struct hand *first, *second;
    int fails;
};

static void cleans_twice(struct coil_coro *co)
{
    ASYNC(cleans_twice, my) {
        if (my->fails)
            FAIL(my->fails);
        RETURN(6);
    FINALLY;
        AWAIT(hand_op(my->first));
        trace("one");
        AWAIT(hand_op(my->second));
        trace("two");
    }
}

// Each statement of FINALLY runs; only the await that waits is cut short.
TEST(task_cancelled_in_finally_loses_only_the_current_await)
{
    stage_open();
    struct hand first = { 0 }, second = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(cleans_twice, .first = &first, .second = &second));
    stage_passes(1);
    coil_task_cancel(t);
    stage_passes(1);
    CHECK_TRACE("one");
    CHECK_INT(second.started, 1);
    CHECK_INT(second.cancels, 0);
    hand_set(&second, 0, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("two");
    stage_close();
}

// The first error stays, as with any error in FINALLY.
TEST(task_cancelled_in_finally_keeps_the_error_of_the_body)
{
    stage_open();
    struct hand first = { 0 }, second = { 0 };
    struct coil_task *t = coil_spawn(CALL(
        cleans_twice, .first = &first, .second = &second, .fails = -EIO));
    stage_passes(1);
    coil_task_cancel(t);
    stage_passes(1);
    hand_set(&second, 0, 0);
    CHECK_INT(stage_run(t), -EIO);
    CHECK_TRACE("one two");
    stage_close();
}

// It interrupted a callee's cleanup. Whoever asked for the task's end must get
// it, though the callee reports another error: else the request is lost.
TEST(task_cancelled_in_a_callees_finally_is_struck_in_the_caller)
{
    stage_open();
    struct hand first = { 0 }, second = { 0 }, next = { 0 };
    struct coil_future *callee = CALL(cleans_twice, .first = &first,
                                      .second = &second, .fails = -EIO);
    struct coil_task *t = coil_spawn(
        CALL(tries, .on = callee, .then = hand_op(&next)));
    stage_passes(1);
    coil_task_cancel_with(t, COIL_CANCEL_INTERRUPT);
    stage_passes(1);
    CHECK_TRACE("one");
    hand_set(&second, 0, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(stage_reason(t), COIL_CANCEL_INTERRUPT);
    CHECK_INT(next.started, 0);
    CHECK_TRACE("two err -5 finally");
    stage_close();
}

// The callee had a value, the cleanup was cut short: TRY_AWAIT is no catcher.
TEST(task_cancelled_in_a_callees_finally_is_not_caught_by_try_await)
{
    stage_open();
    struct hand first = { 0 }, second = { 0 }, next = { 0 };
    struct coil_future *callee = CALL(cleans_twice, .first = &first,
                                      .second = &second);
    struct coil_task *t = coil_spawn(
        CALL(tries, .on = callee, .then = hand_op(&next)));
    stage_passes(1);
    coil_task_cancel(t);
    stage_passes(1);
    hand_set(&second, 0, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(next.started, 0);
    CHECK_TRACE("one two finally");
    stage_close();
}

/* ---- Circles ---------------------------------------------------------- */

struct circle {
    struct coil_coro coro;
    struct coil_task **next;
    bool by_call;
};

struct awaits_task {
    struct coil_coro coro;
    struct coil_task *task;
};

static void awaits_task(struct coil_coro *co)
{
    ASYNC(awaits_task, my) {
        AWAIT(my->task);
    FINALLY;
        trace("callee");
    }
}

static void circle(struct coil_coro *co)
{
    ASYNC(circle, my) {
        if (my->by_call)
            AWAIT(CALL(awaits_task, .task = *my->next));
        else
            AWAIT(*my->next);
        trace("not here");
    FINALLY;
        trace("out");
    }
}

// Nobody would ever wake: a request must break the circle, not run round it.
TEST(task_circle_of_two_can_be_cancelled)
{
    stage_open();
    struct coil_task *t[2];
    t[0] = coil_spawn(CALL(circle, .next = &t[1]));
    t[1] = coil_spawn(CALL(circle, .next = &t[0]));
    stage_passes(2);
    CHECK(coil_task_cancel(t[0]));
    CHECK_INT(stage_run(t[0]), -ECANCELED);
    CHECK_INT(stage_run(t[1]), -ECANCELED);
    CHECK_TRACE("out out");
    stage_close();
}

TEST(task_circle_of_many_with_calls_in_between_can_be_cancelled)
{
    enum { N = 100 };
    stage_open();
    struct coil_task *t[N];
    for (int i = 0; i < N; i++)
        t[i] = coil_spawn(
            CALL(circle, .next = &t[(i + 1) % N], .by_call = i % 3 == 0));
    stage_passes(2);
    CHECK(coil_task_cancel(t[17]));
    for (int i = 0; i < N; i++)
        CHECK_INT(stage_run(t[i]), -ECANCELED);
    stage_trace[0] = '\0';
    stage_close();
}

// A tail that leads into a circle: the mark is not on the circle at first.
TEST(task_that_awaits_a_circle_can_be_cancelled)
{
    enum { N = 20 };
    stage_open();
    struct coil_task *t[N];
    for (int i = 0; i < N; i++)
        t[i] = coil_spawn(CALL(circle, .next = &t[i == N - 1 ? 7 : i + 1]));
    stage_passes(2);
    CHECK(coil_task_cancel(t[0]));
    for (int i = 0; i < N; i++)
        CHECK_INT(stage_run(t[i]), -ECANCELED);
    stage_trace[0] = '\0';
    stage_close();
}

// Closing the loop is a cancel, too.
TEST(task_circle_ends_when_the_loop_is_closed)
{
    stage_open();
    struct coil_task *t[2];
    t[0] = coil_spawn(CALL(circle, .next = &t[1]));
    t[1] = coil_spawn(CALL(circle, .next = &t[0]));
    stage_passes(2);
    stage_close();
    CHECK_TRACE("out out");
}

struct gathers_one {
    struct coil_coro coro;
    struct coil_task **next;
};

static void gathers_one(struct coil_coro *co)
{
    ASYNC(gathers_one, my) {
        AWAIT(coil_gather(my->next, 1));
        trace("not here");
    FINALLY;
        trace("out");
    }
}

// The same by way of gather, where a request fans out.
TEST(task_circle_through_gather_can_be_cancelled)
{
    stage_open();
    struct coil_task *t[2];
    t[0] = coil_spawn(CALL(gathers_one, .next = &t[1]));
    t[1] = coil_spawn(CALL(circle, .next = &t[0]));
    stage_passes(2);
    CHECK(coil_task_cancel(t[1]));
    CHECK_INT(stage_run(t[0]), -ECANCELED);
    CHECK_INT(stage_run(t[1]), -ECANCELED);
    CHECK_TRACE("out out");
    stage_close();
}

struct awaits_parent {
    struct coil_coro coro;
    struct coil_task *parent;
};

static void awaits_parent(struct coil_coro *co)
{
    ASYNC(awaits_parent, my) {
        AWAIT(my->parent);
    FINALLY;
        trace("child");
    }
}

struct is_awaited_by_its_child {
    struct coil_coro coro;
    bool joins;
};

static void is_awaited_by_its_child(struct coil_coro *co)
{
    ASYNC(is_awaited_by_its_child, my) {
        SPAWN(awaits_parent, .parent = coil_task_current());
        AWAIT(coil_sleep(0));
        if (my->joins)
            JOIN();
        trace("body over");
    FINALLY;
        trace("parent");
    }
}

// It ends when its children have, they end when it has: the end must win.
TEST(task_awaited_by_its_own_child_ends)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(is_awaited_by_its_child));
    stage_passes(10);
    CHECK(coil_task_done(t));
    CHECK_TRACE("body over child parent");
    stage_close();
}

TEST(task_that_joins_a_child_that_awaits_it_can_be_cancelled)
{
    stage_open();
    struct coil_task *t = coil_spawn(
        CALL(is_awaited_by_its_child, .joins = true));
    stage_passes(10);
    CHECK(!coil_task_done(t));
    CHECK(coil_task_cancel(t));
    stage_passes(10);
    CHECK(coil_task_done(t));
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("child parent");
    stage_close();
}

struct lends_itself {
    struct coil_coro coro;
    struct coil_task **other;
    struct hand *hand;
};

static void lends_itself(struct coil_coro *co)
{
    ASYNC(lends_itself, my) {
        SPAWN(awaits_task, .task = *my->other);
        AWAIT(hand_op(my->hand));
        RETURN(7);
    }
}

// The child awaits a task that awaits the parent. The parent asks the child to
// end, and the request comes back to the parent, which only waits by then.
TEST(task_ends_whose_child_awaits_a_task_that_awaits_it)
{
    for (int cancelled = 0; cancelled < 2; cancelled++) {
        struct hand hand = { 0 };
        stage_open();
        struct coil_task *t[2];
        t[0] = coil_spawn(CALL(lends_itself, .other = &t[1], .hand = &hand));
        t[1] = coil_spawn(CALL(circle, .next = &t[0]));
        stage_passes(2);
        if (cancelled)
            coil_task_cancel(t[0]);
        else
            hand_set(&hand, 0, 0);
        stage_passes(6);
        CHECK(coil_task_done(t[0]) && coil_task_done(t[1]));
        CHECK_INT(coil_future_error(coil_task_future(t[0])),
                  cancelled ? -ECANCELED : 0);
        CHECK_INT(coil_future_error(coil_task_future(t[1])), -ECANCELED);
        CHECK_TRACE("out callee");
        stage_close();
    }
}

struct awaits_itself {
    struct coil_coro coro;
};

static void awaits_itself(struct coil_coro *co)
{
    ASYNC(awaits_itself, my) {
        (void)my;
        AWAIT(coil_task_current());
    }
}

// It could never end.
DEATH_TEST(task_that_awaits_itself_aborts,
           "a task awaits itself\n    in awaits_itself at .*test_task.c:")
{
    RUN(awaits_itself);
}

/* ---- Many borrowers --------------------------------------------------- */

struct borrows {
    struct coil_coro coro;
    struct coil_task *task;
    int id, err;
    int64_t value;
};

static void borrows(struct coil_coro *co)
{
    ASYNC(borrows, my) {
        TRY_AWAIT_TO(my->err, my->value, my->task);
        trace("%d:%d", my->id, my->err ? my->err : (int)my->value);
    }
}

// A handle is borrowed, not taken: by all, any number of times, in order.
TEST(task_result_goes_to_all_who_await_it)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(waits, .on = hand_op(&op)));
    for (int i = 1; i <= 4; i++)
        coil_spawn(CALL(borrows, .task = t, .id = i));
    stage_passes(1);
    hand_set(&op, 0, 42);
    stage_passes(2);
    CHECK_TRACE("begun value 42 over finally 1:42 2:42 3:42 4:42");
    for (int i = 5; i <= 6; i++)
        CHECK_INT(stage_run(coil_spawn(CALL(borrows, .task = t, .id = i))), 0);
    CHECK_TRACE("5:42 6:42");
    stage_close();
}

TEST(task_error_goes_to_all_who_await_it)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(waits, .on = hand_op(&op)));
    for (int i = 1; i <= 3; i++)
        coil_spawn(CALL(borrows, .task = t, .id = i));
    stage_passes(1);
    CHECK_TRACE("begun");
    hand_set(&op, -EIO, 0);
    stage_passes(2);
    CHECK_TRACE("finally 1:-5 2:-5 3:-5");
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

// asyncio's rule, and the reason why shields exist.
TEST(task_awaited_by_many_is_cancelled_by_any_of_them)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(waits, .on = hand_op(&op)));
    struct coil_task *b[3];
    for (int i = 0; i < 3; i++)
        b[i] = coil_spawn(CALL(borrows, .task = t, .id = i));
    stage_passes(1);
    coil_task_cancel(b[1]);
    CHECK_INT(stage_run(t), -ECANCELED);
    stage_passes(1);
    CHECK_INT(stage_run(b[0]), 0);
    CHECK_INT(stage_run(b[1]), -ECANCELED);
    CHECK_INT(stage_run(b[2]), 0);
    CHECK_TRACE("begun finally 0:-125 2:-125");
    stage_close();
}

struct awaits_a_done_task {
    struct coil_coro coro;
    struct coil_task *task;
    int i;
};

static void awaits_a_done_task(struct coil_coro *co)
{
    ASYNC(awaits_a_done_task, my) {
        for (my->i = 0; my->i < 1000; my->i++)
            AWAIT(my->task);
    }
}

// What is done does not suspend: a thousand awaits within one pass.
TEST(task_that_is_done_is_awaited_without_a_pass)
{
    stage_open();
    struct coil_task *t = coil_spawn(
        CALL(waits, .on = coil_future_from_int(3)));
    CHECK_INT(stage_run(t), 0);
    stage_trace[0] = '\0';
    struct coil_task *u = coil_spawn(CALL(awaits_a_done_task, .task = t));
    stage_passes(1);
    CHECK(coil_task_done(u));
    stage_close();
}

struct lends_its_child {
    struct coil_coro coro;
    struct coil_task **child;
    struct hand *op, *until;
};

static void lends_its_child(struct coil_coro *co)
{
    ASYNC(lends_its_child, my) {
        *my->child = SPAWN(waits, .on = hand_op(my->op));
        AWAIT(hand_op(my->until));
    }
}

// Who waits for a task keeps its result, also when the spawner has gone.
TEST(task_borrower_may_outlive_the_spawner)
{
    stage_open();
    struct hand op = { 0 }, until = { 0 };
    struct coil_task *child;
    struct coil_task *t = coil_spawn(
        CALL(lends_its_child, .child = &child, .op = &op, .until = &until));
    stage_passes(2);
    struct coil_task *b = coil_spawn(CALL(borrows, .task = child, .id = 1));
    stage_passes(1);
    hand_set(&until, 0, 0);
    CHECK_INT(stage_run(t), 0);
    coil_task_drop(&t);
    CHECK_INT(stage_run(b), 0);
    CHECK_TRACE("begun finally 1:-125");
    stage_close();
}

struct awaits_and_drops {
    struct coil_coro coro;
    struct coil_task **child;
    struct hand *op;
};

static void awaits_and_drops(struct coil_coro *co)
{
    ASYNC(awaits_and_drops, my) {
        *my->child = SPAWN(waits, .on = hand_op(my->op));
        AWAIT(*my->child);
        trace("first");
        coil_task_drop(my->child);
    }
}

// Dropped and the spawner gone, all before the borrower has had its turn.
TEST(task_result_waits_for_its_borrower_when_the_handle_was_dropped)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *child;
    struct coil_task *t = coil_spawn(
        CALL(awaits_and_drops, .child = &child, .op = &op));
    stage_passes(2);
    struct coil_task *b = coil_spawn(CALL(borrows, .task = child, .id = 1));
    stage_passes(1);
    hand_set(&op, 0, 5);
    stage_passes(1);
    CHECK_TRACE("begun value 5 over finally");
    stage_passes(1);
    CHECK_TRACE("first 1:5");
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(stage_run(b), 0);
    stage_close();
}

struct drops_its_child {
    struct coil_coro coro;
    struct coil_task **child;
    struct hand *op, *until;
    bool detach;
};

static void drops_its_child(struct coil_coro *co)
{
    ASYNC(drops_its_child, my) {
        *my->child = SPAWN(waits, .on = hand_op(my->op));
        AWAIT(hand_op(my->until));
        struct coil_task *t = *my->child;
        if (my->detach)
            coil_detach(t);
        else
            coil_task_drop(&t);
        AWAIT(hand_op(my->until + 1));
    }
}

/* The awaiting task's reference is no handle: the nursery must not drop it. */
static void drop_while_awaited(bool detach, bool spawner_first)
{
    stage_open();
    struct hand op = { 0 }, until[2] = { { 0 }, { 0 } };
    struct coil_task *child;
    struct coil_task *t = coil_spawn(
        CALL(drops_its_child, .child = &child, .op = &op, .until = until,
             .detach = detach));
    stage_passes(2);
    struct coil_task *b = coil_spawn(CALL(borrows, .task = child, .id = 1));
    stage_passes(1);
    hand_set(&until[0], 0, 0);
    stage_passes(2);
    if (spawner_first) {
        hand_set(&until[1], 0, 0);
        stage_passes(2);
    }
    if (!coil_task_done(child))
        hand_set(&op, 0, 5);
    stage_passes(3);
    if (!spawner_first)
        hand_set(&until[1], 0, 0);
    CHECK_INT(stage_run(t), 0);
    coil_task_drop(&t);
    CHECK_INT(stage_run(b), 0);
    stage_close();
}

TEST(task_handle_may_be_dropped_while_somebody_awaits_the_task)
{
    drop_while_awaited(false, false);
    CHECK_TRACE("begun value 5 over finally 1:5");
    drop_while_awaited(false, true);
    CHECK_TRACE("begun finally 1:-125");
}

TEST(task_may_be_detached_while_somebody_awaits_it)
{
    drop_while_awaited(true, false);
    CHECK_TRACE("begun value 5 over finally 1:5");
    drop_while_awaited(true, true);
    CHECK_TRACE("begun value 5 over finally 1:5");
}

struct names_itself {
    struct coil_coro coro;
    struct coil_task **self;
    struct hand *op;
};

static void names_itself(struct coil_coro *co)
{
    ASYNC(names_itself, my) {
        *my->self = coil_task_current();
        AWAIT(hand_op(my->op));
        RETURN(7);
    }
}

struct starts_one {
    struct coil_coro coro;
    struct coil_task **child;
    struct hand *op, *until;
};

static void starts_one(struct coil_coro *co)
{
    ASYNC(starts_one, my) {
        CHECK_INT(START(names_itself, .self = my->child, .op = my->op), 0);
        AWAIT(hand_op(my->until));
    }
}

// One that was STARTed has no handle, and may be awaited while it runs.
TEST(task_without_a_handle_may_be_awaited)
{
    stage_open();
    struct hand op = { 0 }, until = { 0 };
    struct coil_task *child = NULL;
    struct coil_task *t = coil_spawn(
        CALL(starts_one, .child = &child, .op = &op, .until = &until));
    stage_passes(2);
    struct coil_task *b = coil_spawn(CALL(borrows, .task = child, .id = 1));
    stage_passes(1);
    hand_set(&op, 0, 0);
    stage_passes(1);
    CHECK_INT(stage_run(b), 0);
    CHECK_TRACE("1:7");
    hand_set(&until, 0, 0);
    CHECK_INT(stage_run(t), 0);
    stage_close();
}

DEATH_TEST(task_without_a_handle_has_none_to_drop, "a handle is dropped that")
{
    stage_open();
    struct hand op = { 0 }, until = { 0 };
    struct coil_task *child = NULL;
    coil_spawn(CALL(starts_one, .child = &child, .op = &op, .until = &until));
    stage_passes(2);
    coil_task_drop(&child);
}

DEATH_TEST(task_handle_cannot_be_dropped_twice, "a handle is dropped that")
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(waits, .on = hand_op(&op)));
    struct coil_task *copy = t;
    stage_passes(1);
    coil_task_drop(&t);
    coil_task_drop(&copy);
}

/* ---- Children end before their parent --------------------------------- */

struct child {
    struct coil_coro coro;
    const char *name;
    struct coil_future *on;
    bool spawns;
    int cleanup;
};

static void child(struct coil_coro *co)
{
    ASYNC(child, my) {
        if (my->spawns)
            SPAWN(child, .name = "grandchild");
        AWAIT(coil_sleep(COIL_SECONDS(3600)));
    FINALLY;
        for (; my->cleanup > 0; my->cleanup--)
            AWAIT(coil_sleep(0));
        trace("%s", my->name);
    }
}

enum way { FALLS, RETURNS, FAILS, AWAITS_AN_ERROR, BREAKS, IS_CANCELLED };

struct parent {
    struct coil_coro coro;
    enum way way;
    int i;
};

static void parent(struct coil_coro *co)
{
    ASYNC(parent, my) {
        SPAWN(child, .name = "one", .cleanup = 3);
        SPAWN(child, .name = "two", .spawns = true);
        START(child, .name = "three");
        AWAIT(coil_sleep(0));
        trace("body");
        if (my->way == BREAKS)
            break;
        if (my->way == RETURNS)
            RETURN(1);
        if (my->way == FAILS)
            FAIL(-EIO);
        if (my->way == AWAITS_AN_ERROR)
            AWAIT(coil_future_from_error(-EIO, 0));
        if (my->way == IS_CANCELLED)
            AWAIT(coil_sleep(COIL_SECONDS(3600)));

    FINALLY;
        trace("parent");
    }
}

// On every way out, the children have gone before FINALLY frees what they use.
TEST(task_children_have_ended_before_finally)
{
    static const int expected[] = { 0, 0, -EIO, -EIO, 0, -ECANCELED };
    for (enum way way = FALLS; way <= IS_CANCELLED; way++) {
        stage_open();
        struct coil_task *t = coil_spawn(CALL(parent, .way = way));
        stage_passes(2);
        if (way == IS_CANCELLED)
            CHECK(coil_task_cancel(t));
        CHECK_INT(stage_run(t), expected[way]);
        CHECK_TRACE("body three grandchild two one parent");
        stage_close();
    }
}

struct spawns_in_finally {
    struct coil_coro coro;
    struct hand *op;
};

static void spawns_in_finally(struct coil_coro *co)
{
    ASYNC(spawns_in_finally, my) {
        RETURN(3);
    FINALLY;
        SPAWN(child, .name = "one", .cleanup = 2);
        SPAWN(refuses, .op = my->op, .refusals = 0);
        AWAIT(coil_sleep(0));
        trace("finally over");
    }
}

struct calls {
    struct coil_coro coro;
    struct coil_future *callee;
    int64_t value;
};

static void calls(struct coil_coro *co)
{
    ASYNC(calls, my) {
        AWAIT_TO(my->value, take(&my->callee));
        trace("returned %d", (int)my->value);
    }
}

// Also what FINALLY starts does not outlive the frame.
TEST(task_children_of_finally_have_ended_before_the_result_is_published)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(calls, .callee = CALL(spawns_in_finally, .op = &op)));
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("finally over asked child one returned 3");
    stage_close();
}

struct joins {
    struct coil_coro coro;
    struct coil_future *first, *second;
};

static void joins(struct coil_coro *co)
{
    ASYNC(joins, my) {
        coil_spawn(CALL(waits, .on = my->first));
        coil_spawn(CALL(waits, .on = my->second));
        JOIN();
        trace("joined");
        JOIN();
        trace("again");
    FINALLY;
        trace("parent");
    }
}

// An error stays with the child that has it; who wants it asks there.
TEST(task_join_waits_for_every_child_and_fails_for_none)
{
    stage_open();
    struct hand one = { 0 }, two = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(joins, .first = hand_op(&one), .second = hand_op(&two)));
    stage_passes(3);
    hand_set(&two, -EIO, 0);
    stage_passes(3);
    CHECK_TRACE("begun begun finally");
    hand_set(&one, 0, 1);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("value 1 over finally joined again parent");
    stage_close();
    CHECK_INT(stage_reported.n, 1);
    CHECK_INT(stage_reported.err, -EIO);
    CHECK_STR(stage_reported.name, "waits");
}

TEST(task_cancelled_in_join_cancels_the_children)
{
    stage_open();
    struct hand one = { 0 }, two = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(joins, .first = hand_op(&one), .second = hand_op(&two)));
    stage_passes(3);
    CHECK(coil_task_cancel_with(t, COIL_CANCEL_INTERRUPT));
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(stage_reason(t), COIL_CANCEL_INTERRUPT);
    CHECK_TRACE("begun begun finally finally parent");
    stage_close();
}

// JOIN and the last child end in the same pass: it is joined, then struck.
TEST(task_cancelled_after_the_last_child_ended_has_joined)
{
    stage_open();
    struct hand one = { 0 }, two = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(joins, .first = hand_op(&one), .second = hand_op(&two)));
    stage_passes(2);
    hand_set(&one, 0, 1);
    hand_set(&two, 0, 2);
    stage_passes(1);
    CHECK(coil_task_cancel(t));
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("begun begun value 1 over finally value 2 over finally "
                "joined parent");
    stage_close();
}

struct drops_a_call {
    struct coil_coro coro;
    struct hand *op;
};

static void drops_a_call(struct coil_coro *co)
{
    ASYNC(drops_a_call, my) {
        coil_discard(CALL(cleans, .with = hand_op(my->op)));
        trace("dropped");
    FINALLY;
        trace("parent");
    }
}

// Its FINALLY runs, and what it was lent is still there: it is a child.
TEST(task_adopts_what_it_drops_unstarted)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(drops_a_call, .op = &op));
    stage_passes(2);
    CHECK(!coil_task_done(t));
    hand_set(&op, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("dropped cleaning clean parent");
    CHECK_INT(op.freed, 1);
    stage_close();
}

struct lends_and_drops {
    struct coil_coro coro;
    struct coil_future *unused[3];
    struct hand op[3]; /* lent to those */
};

static void lends_and_drops(struct coil_coro *co)
{
    ASYNC(lends_and_drops, my) {
        for (int i = 0; i < 3; i++)
            my->unused[i] = CALL(cleans, .with = hand_op(&my->op[i]));
        AWAIT(coil_sleep(0));
    FINALLY;
        for (int i = 0; i < 3; i++)
            coil_discard(my->unused[i]);
        trace("dropped");
    }
}

// The usual place to drop: nothing may be asked for there, no memory neither,
// and the frame that lends must stay until they have ended.
TEST(task_that_drops_in_finally_ends_after_what_it_dropped)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(lends_and_drops));
    struct lends_and_drops *frame = coil_task_frame(t);
    stage_passes(1);
    test_forbid_allocations(true);
    for (int i = 0; i < 3; i++) {
        stage_passes(3);
        test_forbid_allocations(false);
        CHECK(!coil_task_done(t));
        CHECK_TRACE(i ? "clean cleaning" : "dropped cleaning");
        test_forbid_allocations(true);
        for (int k = 0; k < 3; k++)
            if (frame->op[k].flying)
                hand_set(&frame->op[k], 0, 0);
    }
    stage_passes(1);
    test_forbid_allocations(false);
    CHECK_INT(test_forbidden_allocations(), 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("clean");
    stage_close();
}

TEST(task_that_drops_in_finally_can_be_cancelled_in_there)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(lends_and_drops));
    stage_passes(4);
    CHECK_TRACE("dropped cleaning");
    for (int i = 0; i < 3; i++) {
        CHECK(!coil_task_done(t));
        CHECK(coil_task_cancel(t));
        stage_passes(1);
    }
    CHECK_TRACE("clean cleaning clean cleaning clean");
    CHECK_INT(stage_run(t), -ECANCELED);
    stage_close();
}

// Where no coroutine runs there is nobody but the loop to adopt it.
TEST(task_of_the_loop_runs_the_finally_of_what_was_dropped_outside)
{
    stage_open();
    struct hand op = { 0 };
    coil_discard(CALL(cleans, .with = hand_op(&op)));
    CHECK_TRACE("");
    stage_passes(1);
    CHECK_TRACE("cleaning");
    hand_set(&op, 0, 0);
    stage_close();
    CHECK_TRACE("clean");
}

struct holds_an_unused_call {
    struct coil_coro coro;
    struct coil_future *unused;
};

static void holds_an_unused_call(struct coil_coro *co)
{
    ASYNC(holds_an_unused_call, my) {
        my->unused = CALL(cleans, .with = coil_sleep(0));
        AWAIT(coil_sleep(COIL_SECONDS(3600)));
    FINALLY;
        AWAIT(coil_sleep(0));
        coil_discard(my->unused);
    }
}

// Whoever made it is still there to drop it: the loop must not do it before.
TEST(task_that_drops_what_it_has_while_the_loop_closes_is_the_only_one)
{
    stage_open();
    coil_spawn(CALL(holds_an_unused_call));
    stage_passes(1);
    stage_close();
    CHECK_TRACE("cleaning clean");
    CHECK_INT(stage_reported.n, 0);
}

/* ---- START, detach, drop ---------------------------------------------- */

struct fails {
    struct coil_coro coro;
    int passes, err;
};

static void fails(struct coil_coro *co)
{
    ASYNC(fails, my) {
        for (; my->passes > 0; my->passes--)
            AWAIT(coil_sleep(0));
        if (my->err)
            FAIL(my->err);
    }
}

struct starts {
    struct coil_coro coro;
    int n;
};

static void starts(struct coil_coro *co)
{
    ASYNC(starts, my) {
        for (my->n = 0; my->n < 100; my->n++)
            CHECK_INT(START(fails, .passes = 1), 0);
        CHECK_INT(START(fails, .err = -EIO), 0);
        JOIN();
        trace("joined");
        AWAIT(coil_sleep(COIL_SECONDS(3600)));
    }
}

// Accept loops start tasks for ever: one that has ended leaves nothing behind.
TEST(task_started_without_a_handle_is_freed_when_it_ends)
{
    stage_open();
    size_t before = test_heap_blocks();
    struct coil_task *t = coil_spawn(CALL(starts));
    stage_passes(5);
    CHECK_TRACE("joined");
    CHECK_INT(stage_reported.n, 1);
    CHECK_INT(stage_reported.err, -EIO);
    if (test_is_slow()) /* one malloc per block: the frame, its children */
        CHECK(test_heap_blocks() <= before + 4);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    stage_close();
    CHECK_INT(stage_reported.n, 1);
}

struct detaches {
    struct coil_coro coro;
    struct hand *op;
    struct coil_task *done;
};

static void detaches(struct coil_coro *co)
{
    ASYNC(detaches, my) {
        coil_detach(SPAWN(waits, .on = hand_op(my->op)));
        my->done = SPAWN(fails, .err = -EIO);
        AWAIT(coil_sleep(0));
        coil_detach(my->done);
        JOIN();
        trace("parent over");
    }
}

// The one way to outlive the spawner. JOIN does not wait for it any more.
TEST(task_detached_outlives_its_spawner)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(detaches, .op = &op));
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(stage_reported.n, 1);
    CHECK_TRACE("begun parent over");
    CHECK_INT(stage_tasks(), 1);
    hand_set(&op, 0, 1);
    stage_passes(1);
    CHECK_TRACE("value 1 over finally");
    CHECK_INT(stage_tasks(), 0);
    stage_close();
}

TEST(task_detached_is_cancelled_when_the_loop_closes)
{
    stage_open();
    struct hand op = { 0 };
    CHECK_INT(stage_run(coil_spawn(CALL(detaches, .op = &op))), 0);
    stage_close();
    CHECK_TRACE("begun parent over finally");
    CHECK_INT(op.cancels, 1);
}

struct drops {
    struct coil_coro coro;
    struct hand *op, *until;
    struct coil_task *running, *done, *failed;
};

static void drops(struct coil_coro *co)
{
    ASYNC(drops, my) {
        my->running = SPAWN(waits, .on = hand_op(my->op));
        my->done = SPAWN(fails);
        my->failed = SPAWN(fails, .err = -EIO);
        AWAIT(coil_sleep(0));
        CHECK_INT(stage_reported.n, 0);
        coil_task_drop(&my->running);
        coil_task_drop(&my->done);
        coil_task_drop(&my->failed);
        CHECK(!my->running && !my->done && !my->failed);
        CHECK_INT(stage_reported.n, 1);
        coil_task_drop(&my->running); /* nothing */
        AWAIT(hand_op(my->until));
    FINALLY;
        trace("parent");
    }
}

// Giving the handle back changes nothing for the task: it is still a child.
TEST(task_dropped_goes_on_as_a_child)
{
    stage_open();
    struct hand op = { 0 }, until = { 0 };
    struct coil_task *t = coil_spawn(CALL(drops, .op = &op, .until = &until));
    stage_passes(3);
    CHECK_TRACE("begun");
    hand_set(&op, 0, 1);
    stage_passes(1);
    CHECK_TRACE("value 1 over finally");
    hand_set(&until, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("parent");
    stage_close();
}

TEST(task_dropped_is_cancelled_with_its_spawner)
{
    stage_open();
    struct hand op = { 0 }, until = { 0 };
    struct coil_task *t = coil_spawn(CALL(drops, .op = &op, .until = &until));
    stage_passes(3);
    CHECK(coil_task_cancel(t));
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("begun finally parent");
    stage_close();
}

/* ---- Errors that were not fetched -------------------------------------- */

enum fetch { NOT, AWAITED, TRIED, ASKED, ASKED_WHETHER, QUIET, GATHERED };

struct fetches {
    struct coil_coro coro;
    enum fetch how;
    struct coil_task *child;
    int err;
};

static void fetches(struct coil_coro *co)
{
    ASYNC(fetches, my) {
        my->child = SPAWN(fails, .err = -EIO);
        if (my->how == QUIET)
            coil_task_quiet(my->child);
        AWAIT(coil_sleep(0));
        if (my->how == AWAITED) {
            TRY_ALL(my->err) AWAIT(my->child);
        }
        if (my->how == TRIED)
            TRY_AWAIT(my->err, my->child);
        if (my->how == ASKED)
            coil_future_error(coil_task_future(my->child));
        if (my->how == ASKED_WHETHER)
            CHECK(coil_future_failed(coil_task_future(my->child)));
        if (my->how == GATHERED)
            TRY_AWAIT(my->err, coil_gather(&my->child, 1));
        CHECK_INT(stage_reported.n, 0);
    }
}

// Once, when the last chance to fetch it has gone; never if somebody did.
TEST(task_error_that_nobody_fetched_is_reported_once)
{
    for (enum fetch how = NOT; how <= GATHERED; how++) {
        stage_reported.n = 0;
        stage_open();
        CHECK_INT(stage_run(coil_spawn(CALL(fetches, .how = how))), 0);
        int expected = how == NOT || how == ASKED_WHETHER;
        test_note("fetched in way %d", (int)how);
        CHECK_INT(stage_reported.n, expected);
        stage_close();
        CHECK_INT(stage_reported.n, expected);
    }
    CHECK_STR(stage_reported.name, "fails");
    CHECK(strstr(stage_reported.message, "was not fetched") != NULL);
}

struct peeks {
    struct coil_coro coro;
    struct hand *op;
    struct coil_task *t[4];
    int err;
};

static const int peeked[4] = { 0, -EIO, -ECANCELED, -ENOMEM };

static void peeks(struct coil_coro *co)
{
    ASYNC(peeks, my) {
        my->t[0] = coil_spawn(hand_op(&my->op[0]));
        my->t[1] = coil_spawn(hand_op(&my->op[1]));
        my->t[2] = coil_spawn(hand_op(&my->op[2]));
        my->t[3] = coil_spawn(coil_future_from_nomem());
        for (int i = 0; i < 3; i++) {
            my->err = 99;
            CHECK(!coil_task_peek(my->t[i], &my->err));
            CHECK(!coil_future_peek(coil_task_future(my->t[i]), &my->err));
            CHECK_INT(my->err, 99);
        }
        AWAIT(coil_sleep(0));
        hand_set(&my->op[0], 0, 5);
        hand_set(&my->op[1], -EIO, 0);
        coil_task_cancel(my->t[2]);
        AWAIT(coil_sleep(0));
        AWAIT(coil_sleep(0));
        for (int i = 0; i < 4; i++) {
            my->err = 99;
            CHECK(coil_task_peek(my->t[i], &my->err));
            CHECK_INT(my->err, peeked[i]);
            my->err = 99;
            CHECK(coil_future_peek(coil_task_future(my->t[i]), &my->err));
            CHECK_INT(my->err, peeked[i]);
        }
        CHECK_INT(coil_future_int(coil_task_future(my->t[0])), 5);
    }
}

// The error that a peek has told is fetched, and is not reported.
TEST(task_peek_tells_what_became_of_a_task_without_waiting)
{
    stage_open();
    struct hand op[3] = { { 0 }, { 0 }, { 0 } };
    CHECK_INT(stage_run(coil_spawn(CALL(peeks, .op = op))), 0);
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

// A peek at a task that still runs fetches nothing of what it ends with.
TEST(task_error_after_a_peek_is_reported)
{
    stage_open();
    struct coil_task *t = SPAWN(fails, .err = -EIO);
    int err = 99;
    CHECK(!coil_task_peek(t, &err));
    stage_passes(2);
    CHECK(coil_task_done(t));
    CHECK_INT(err, 99);
    coil_task_drop(&t);
    CHECK_INT(stage_reported.n, 1);
    stage_close();
}

// To be cancelled is no error: nobody needs to hear of it.
TEST(task_that_was_cancelled_is_not_reported)
{
    stage_open();
    struct hand op = { 0 };
    coil_spawn(CALL(waits, .on = hand_op(&op)));
    coil_start(CALL(waits, .on = coil_sleep(COIL_SECONDS(1))));
    stage_passes(1);
    stage_close();
    CHECK_INT(stage_reported.n, 0);
    CHECK_TRACE("begun begun finally finally");
}

/* ---- What is given is not lost ---------------------------------------- */

static int given_back;

static void give_back(void *memory)
{
    given_back++;
    free(memory);
}

struct makes {
    struct coil_coro coro;
    struct coil_future *on;
    struct hand *finally;
};

static void makes(struct coil_coro *co)
{
    ASYNC_GIVES(makes, my, give_back) {
        AWAIT(take(&my->on));
        RETURN(malloc(10));
    FINALLY;
        if (my->on)
            coil_discard(my->on);
        if (my->finally)
            AWAIT(hand_op(my->finally));
    }
}

// A peek does not take the pointer: the task still frees it.
TEST(task_that_was_peeked_at_still_frees_the_pointer_it_gives)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(makes, .on = hand_op(&op)));
    stage_passes(1);
    hand_set(&op, 0, 1);
    stage_passes(2);
    int err = 99;
    CHECK(coil_task_peek(t, &err));
    CHECK_INT(err, 0);
    CHECK_INT(given_back, 0);
    coil_task_drop(&t);
    CHECK_INT(given_back, 1);
    stage_close();
}

// The request came too late: the pointer is the result, taken or freed.
TEST(task_keeps_the_pointer_it_gives_though_a_request_is_pending)
{
    for (int taken = 0; taken < 2; taken++) {
        stage_open();
        struct hand op = { .on_cancel = HAND_SUCCEEDS };
        struct coil_task *t = coil_spawn(CALL(makes, .on = hand_op(&op)));
        stage_passes(1);
        coil_task_cancel(t);
        given_back = 0;
        CHECK_INT(stage_run(t), 0);
        if (taken)
            give_back(coil_future_pointer(coil_task_future(t)));
        coil_task_drop(&t);
        CHECK_INT(given_back, 1);
        stage_close();
    }
}

// The result is replaced by -ECANCELED: the pointer has no owner but us.
TEST(task_frees_the_pointer_it_gives_when_finally_is_cancelled)
{
    stage_open();
    struct hand op = { 0 }, cleanup = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(makes, .on = hand_op(&op), .finally = &cleanup));
    stage_passes(1);
    hand_set(&op, 0, 0);
    stage_passes(1);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(given_back, 1);
    stage_close();
}

// Nobody asked for the result: freed with the task.
TEST(task_frees_the_pointer_that_nobody_took)
{
    stage_open();
    CHECK_INT(coil_start(CALL(makes, .on = coil_sleep(0))), 0);
    coil_spawn(CALL(makes, .on = coil_sleep(0)));
    stage_passes(3);
    CHECK_INT(given_back, 1);
    stage_close();
    CHECK_INT(given_back, 2);
}

TEST(task_does_not_free_the_pointer_that_somebody_took)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(makes, .on = coil_sleep(0)));
    CHECK_INT(stage_run(t), 0);
    free(coil_future_pointer(coil_task_future(t)));
    stage_close();
    CHECK_INT(given_back, 0);
}

struct takes {
    struct coil_coro coro;
    struct coil_task *from;
    struct hand *op;
    void *taken;
};

static void takes(struct coil_coro *co)
{
    ASYNC(takes, my) {
        AWAIT_TO(my->taken, my->from);
        AWAIT(hand_op(my->op));
    FINALLY;
        trace(my->taken ? "taken" : "nothing");
        free(my->taken);
    }
}

// The pointer was on its way when the request came: it arrives.
TEST(task_cancelled_while_a_pointer_was_on_its_way_receives_it)
{
    stage_open();
    struct hand op = { 0 }, next = { 0 };
    struct coil_task *maker = coil_spawn(CALL(makes, .on = hand_op(&op)));
    struct coil_task *t = coil_spawn(CALL(takes, .from = maker, .op = &next));
    stage_passes(1);
    hand_set(&op, 0, 0);
    stage_passes(1);
    CHECK(coil_task_done(maker));
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("taken");
    CHECK_INT(next.started, 0);
    stage_close();
    CHECK_INT(given_back, 0);
}

/* ---- Who runs --------------------------------------------------------- */

struct knows_itself {
    struct coil_coro coro;
    struct coil_task **self;
    int depth, i;
};

static void knows_itself(struct coil_coro *co)
{
    ASYNC(knows_itself, my) {
        for (my->i = 0; my->i < 3; my->i++) {
            CHECK(coil_task_current() == *my->self);
            if (my->depth > 0)
                AWAIT(CALL(knows_itself, .self = my->self,
                           .depth = my->depth - 1));
            CHECK(coil_task_current() == *my->self);
            AWAIT(coil_sleep(0));
        }
    FINALLY;
        AWAIT(coil_sleep(0));
        CHECK(coil_task_current() == *my->self);
    }
}

static struct coil_handle call;

static void callback(void *arg)
{
    CHECK(coil_task_current() == NULL);
    trace("called");
    if (arg)
        *(struct coil_task **)arg = coil_spawn(CALL(fails));
}

TEST(task_current_is_right_across_interleaving_and_nested_calls)
{
    stage_open();
    CHECK(coil_task_current() == NULL);
    struct coil_task *t[3];
    for (int i = 0; i < 3; i++)
        t[i] = coil_spawn(CALL(knows_itself, .self = &t[i], .depth = i));
    coil_call_soon(&call, callback, NULL);
    for (int i = 0; i < 3; i++)
        CHECK_INT(stage_run(t[i]), 0);
    CHECK_TRACE("called");
    CHECK(coil_task_current() == NULL);
    stage_close();
    CHECK(coil_task_current() == NULL);
}

// A callback has no coroutine to own the task: the loop does.
TEST(task_spawned_from_a_callback_belongs_to_the_loop)
{
    stage_open();
    struct coil_task *t = NULL;
    coil_call_soon(&call, callback, &t);
    stage_passes(3);
    CHECK_TRACE("called");
    CHECK(t && coil_task_done(t));
    stage_close();
}

static void spawn_on_release(void *object)
{
    coil_spawn(CALL(waits, .on = hand_op(object)));
}

struct spawns_at_its_end {
    struct coil_coro coro;
    struct hand *op;
};

static void spawns_at_its_end(struct coil_coro *co)
{
    ASYNC(spawns_at_its_end, my) {
        SPAWN(fails);
        HOLD_WITH(my->op, spawn_on_release, coil_future_from_int(0));
        JOIN();
    }
}

// The coroutine is over, its nursery closed: the loop must own such a task.
TEST(task_spawned_while_a_hold_is_released_belongs_to_the_loop)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(spawns_at_its_end, .op = &op));
    CHECK_INT(stage_run(t), 0);
    coil_task_drop(&t);
    stage_passes(1);
    CHECK_TRACE("begun");
    hand_set(&op, 0, 1);
    stage_passes(1);
    CHECK_TRACE("value 1 over finally");
    stage_close();
}

static struct coil_handle later;

static void spawn_when_closing(void *arg)
{
    coil_spawn(CALL(waits, .on = hand_op(arg)));
}

struct calls_back_in_finally {
    struct coil_coro coro;
    struct hand *op;
};

static void calls_back_in_finally(struct coil_coro *co)
{
    ASYNC(calls_back_in_finally, my) {
        AWAIT(coil_sleep(COIL_SECONDS(3600)));
    FINALLY;
        coil_call_soon(&later, spawn_when_closing, my->op);
        AWAIT(coil_sleep(0));
    }
}

// A loop that is closing cancels what is there; so what comes later, too.
TEST(task_spawned_while_the_loop_closes_is_cancelled)
{
    stage_open();
    struct hand op = { 0 };
    coil_spawn(CALL(calls_back_in_finally, .op = &op));
    stage_passes(1);
    stage_close();
    CHECK_TRACE("finally");
    CHECK_INT(op.started, 0);
    CHECK_INT(op.freed, 1);
}

struct detaches_in_finally {
    struct coil_coro coro;
    struct hand *op;
};

static void detaches_in_finally(struct coil_coro *co)
{
    ASYNC(detaches_in_finally, my) {
        AWAIT(coil_sleep(COIL_SECONDS(3600)));
    FINALLY;
        coil_detach(SPAWN(waits, .on = hand_op(my->op)));
    }
}

TEST(task_detached_while_the_loop_closes_is_cancelled)
{
    stage_open();
    struct hand op = { 0 };
    coil_spawn(CALL(detaches_in_finally, .op = &op));
    stage_passes(1);
    stage_close();
    CHECK_TRACE("finally");
    CHECK_INT(op.freed, 1);
}

/* ---- Names, frames, all tasks ----------------------------------------- */

TEST(task_is_named_after_its_function_unless_it_is_named)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(fails, .passes = 3, .err = -EIO));
    CHECK_STR(coil_task_name(t), "fails");
    char name[100] = "a name that is longer than the 63 bytes for which there "
                     "is room, and cut";
    CHECK_INT(coil_task_set_name(t, "first"), 0);
    CHECK_STR(coil_task_name(t), "first");
    CHECK_INT(coil_task_set_name(t, name), 0);
    CHECK_INT(strlen(coil_task_name(t)), 63);
    CHECK(strncmp(coil_task_name(t), name, 63) == 0);
    stage_passes(5);
    CHECK(coil_task_done(t));
    CHECK(strncmp(coil_task_name(t), name, 63) == 0);
    stage_close();
    CHECK(strncmp(stage_reported.name, name, 63) == 0);
}

struct fills_its_frame {
    struct coil_coro coro;
    int in;
    int out[10];
};

static void fills_its_frame(struct coil_coro *co)
{
    ASYNC(fills_its_frame, my) {
        for (int i = 0; i < 10; i++)
            my->out[i] = my->in * i;
        AWAIT(coil_sleep(0));
    }
}

// Results larger than a word are read there, as long as the handle is valid.
TEST(task_frame_is_there_after_its_end)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(fills_its_frame, .in = 3));
    CHECK_INT(stage_run(t), 0);
    struct fills_its_frame *frame = coil_task_frame(t);
    CHECK_INT(frame->out[9], 27);
    stage_close();
}

struct tree {
    struct coil_coro coro;
    char name[8];
    int children;
    int depth;
    bool calls;
    int i;
};

static void tree(struct coil_coro *co)
{
    ASYNC(tree, my) {
        coil_task_set_name(coil_task_current(), my->name);
        if (my->calls)
            AWAIT(CALL(tree, .name = "n", .children = my->children,
                       .depth = my->depth));
        if (my->depth > 0)
            for (my->i = 0; my->i < my->children; my->i++)
                SPAWN(tree, .name = { my->name[0], (char)('1' + my->i) },
                      .children = my->children, .depth = my->depth - 1);
        AWAIT(coil_sleep(COIL_SECONDS(3600)));
    }
}

static void trace_all_tasks(void)
{
    for (struct coil_task *t = coil_task_next(NULL); t; t = coil_task_next(t))
        trace("%s", coil_task_name(t));
}

// asyncio.all_tasks(): also the children of a frame deep in a chain of calls.
TEST(task_next_lists_those_that_run_children_after_their_spawner)
{
    stage_open();
    trace_all_tasks();
    CHECK_TRACE("");
    struct coil_task *a = coil_spawn(
        CALL(tree, .name = "a", .children = 2, .depth = 1));
    coil_spawn(CALL(tree, .name = "b", .children = 3, .depth = 1,
                    .calls = true));
    struct coil_task *c = coil_spawn(CALL(tree, .name = "c"));
    coil_spawn(CALL(tree, .name = "d"));
    stage_passes(3);
    trace_all_tasks();
    CHECK_TRACE("a a1 a2 n n1 n2 n3 c d");
    coil_task_cancel(c);
    coil_task_cancel(a);
    stage_passes(5);
    trace_all_tasks();
    CHECK_TRACE("n n1 n2 n3 d");
    stage_close();
}

/* ---- No memory -------------------------------------------------------- */

// A failed SPAWN needs no `if`: its handle is good for everything.
TEST(task_handle_of_a_failed_spawn_can_be_used_like_any_other)
{
    stage_open();
    struct coil_task *t = coil_spawn(coil_future_from_nomem());
    CHECK(coil_task_done(t));
    CHECK_INT(coil_future_error(coil_task_future(t)), -ENOMEM);
    CHECK(!coil_task_cancel(t));
    CHECK_INT(coil_task_cancelling(t), 0);
    CHECK_INT(coil_task_uncancel(t), 0);
    CHECK(coil_task_frame(t) == NULL);
    CHECK_STR(coil_task_name(t), "no memory");
    CHECK_INT(coil_task_set_name(t, "x"), -ENOMEM);
    coil_task_quiet(t);
    coil_detach(t);
    CHECK_INT(stage_run(coil_spawn(CALL(borrows, .task = t, .id = 1))), 0);
    CHECK_TRACE("1:-12");
    coil_task_drop(&t);
    CHECK(t == NULL);
    CHECK_INT(coil_start(coil_future_from_nomem()), -ENOMEM);
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

/* ---- Any future as a task --------------------------------------------- */

// SPAWN takes an operation, a sleep, a frame in place: all that can be awaited.
TEST(task_is_made_of_any_future)
{
    stage_open();
    struct hand op = { 0 };
    static struct fills_its_frame place;
    struct coil_task *t[] = {
        coil_spawn(hand_op(&op)),
        coil_spawn(coil_sleep(1)),
        coil_spawn(coil_sleep(0)),
        coil_spawn(coil_future_from_int(4)),
        coil_spawn(CALL_IN(&place, fills_its_frame, .in = 2)),
    };
    stage_passes(1);
    hand_set(&op, 0, 8);
    for (int i = 0; i < 5; i++)
        CHECK_INT(stage_run(t[i]), 0);
    CHECK_INT(coil_future_int(coil_task_future(t[0])), 8);
    CHECK_INT(coil_future_int(coil_task_future(t[3])), 4);
    CHECK_INT(place.out[9], 18);
    stage_close();
}

TEST(task_made_of_any_future_can_be_cancelled)
{
    for (int passes = 0; passes < 2; passes++) {
        stage_open();
        struct hand op = { 0 };
        static struct cleans place;
        struct coil_task *t[] = {
            coil_spawn(hand_op(&op)),
            coil_spawn(coil_sleep(COIL_SECONDS(3600))),
            coil_spawn(coil_future_new()),
            coil_spawn(CALL_IN(&place, cleans, .with = coil_sleep(0))),
        };
        stage_passes(passes);
        for (int i = 0; i < 4; i++)
            CHECK(coil_task_cancel(t[i]));
        for (int i = 0; i < 4; i++)
            CHECK_INT(stage_run(t[i]), -ECANCELED);
        CHECK_INT(op.freed, 1);
        CHECK_INT(stage_timers(), 0);
        stage_trace[0] = '\0';
        stage_close();
    }
}

// The body is skipped, FINALLY is not: the frame may own something.
TEST(task_made_of_a_frame_in_place_runs_its_finally)
{
    stage_open();
    static struct cleans place;
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(
        CALL_IN(&place, cleans, .with = hand_op(&op)));
    CHECK(coil_task_cancel(t));
    stage_passes(2);
    CHECK_TRACE("cleaning");
    hand_set(&op, 0, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("clean");
    CHECK_INT(op.freed, 1);
    stage_close();
}

struct says {
    struct coil_coro coro;
    const char *word;
    struct coil_task *before;
    int started;
};

static void says(struct coil_coro *co)
{
    ASYNC(says, my) {
        trace("%s", my->word);
    }
}

struct spawns_in_arguments {
    struct coil_coro coro;
};

static void spawns_in_arguments(struct coil_coro *co)
{
    ASYNC(spawns_in_arguments, my) {
        SPAWN(says, .word = "b",
              .before = SPAWN(says, .word = "a"));
        START(says, .word = "d", .started = START(says, .word = "c"));
        JOIN();
    }
}

// The arguments first, as in Python, whichever order the compiler likes.
TEST(task_spawned_in_an_argument_runs_first)
{
    stage_open();
    CHECK_INT(stage_run(SPAWN(spawns_in_arguments)), 0);
    CHECK_TRACE("a b c d");
    stage_close();
}

struct outlives_its_spawner {
    struct coil_coro coro;
};

static void outlives_its_spawner(struct coil_coro *co)
{
    ASYNC(outlives_its_spawner, my) {
        coil_detach(coil_task_current());
        AWAIT(coil_sleep(0));
        FAIL(-EIO);
    }
}

// It does not know whether RUN or another coroutine has spawned it.
TEST(task_that_detaches_itself_may_be_the_one_that_is_run)
{
    CHECK_INT(RUN_WITH(stage_options(), outlives_its_spawner), -EIO);
    CHECK_INT(stage_reported.n, 0);
}

/* ---- Deep trees ------------------------------------------------------- */

enum deep_way { AWAITS_CHILD, JOINS_CHILD, DRAINS_CHILD };

struct deep {
    struct coil_coro coro;
    enum deep_way way;
    int levels;
    struct hand *leaf;
    struct coil_task *child;
};

static int deep_finals;

static void deep(struct coil_coro *co)
{
    ASYNC(deep, my) {
        if (my->levels == 0)
            AWAIT(CALL(refuses, .op = my->leaf,
                       .refusals = my->way == DRAINS_CHILD));
        my->child = SPAWN(deep, .way = my->way, .levels = my->levels - 1,
                          .leaf = my->leaf);
        AWAIT(coil_sleep(0));
        if (my->way == AWAITS_CHILD)
            AWAIT(my->child);
        if (my->way == JOINS_CHILD)
            JOIN();
    FINALLY;
        deep_finals++;
    }
}

// Depth must cost memory of the heap, never of the C stack.
TEST(task_tree_of_ten_thousand_levels_can_be_cancelled_at_its_root)
{
    enum { LEVELS = 10000 };
    for (enum deep_way way = AWAITS_CHILD; way <= DRAINS_CHILD; way++) {
        stage_open();
        struct hand leaf = { 0 };
        deep_finals = 0;
        struct coil_task *t = coil_spawn(
            CALL(deep, .way = way, .levels = LEVELS, .leaf = &leaf));
        while (!leaf.flying)
            stage_passes(1);
        if (way == DRAINS_CHILD) {
            stage_passes(3 * LEVELS); /* the bodies end, the leaf refuses */
            CHECK(!coil_task_done(t));
            CHECK_INT(deep_finals, 0);
        }
        CHECK(coil_task_cancel(t));
        CHECK_INT(stage_run(t), -ECANCELED);
        CHECK_INT(deep_finals, LEVELS + 1);
        stage_trace[0] = '\0';
        stage_close();
    }
}

struct nests {
    struct coil_coro coro;
    int levels;
    struct hand *leaf;
};

static void nests(struct coil_coro *co)
{
    ASYNC(nests, my) {
        if (my->levels > 0)
            AWAIT(CALL(nests, .levels = my->levels - 1, .leaf = my->leaf));
        else
            AWAIT(hand_op(my->leaf));
    FINALLY;
        deep_finals++;
    }
}

TEST(task_chain_of_ten_thousand_calls_can_be_cancelled_at_its_root)
{
    enum { LEVELS = 10000 };
    stage_open();
    struct hand leaf = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(nests, .levels = LEVELS, .leaf = &leaf));
    while (!leaf.flying)
        stage_passes(1);
    CHECK(coil_task_cancel(t));
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(deep_finals, LEVELS + 1);
    stage_close();
}
