// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_scope.c: what belongs to a coroutine until it is over: deadlines, by the
 * rules of asyncio.timeout; holds, cancelled at every moment; generators that
 * were left early.
 */
#include "stage.h"

#include <coil/lock.h>
#include <coil/semaphore.h>

/* ---- WITHIN ----------------------------------------------------------- */

struct within {
    struct coil_coro coro;
    int64_t duration;
    struct coil_future *on; /* awaited under the deadline */
    struct hand *cleanup;   /* awaited in FINALLY */
    int64_t value;
};

static struct coil_future *take(struct coil_future **field)
{
    struct coil_future *f = *field;
    *field = NULL;
    return f;
}

static void within(struct coil_coro *co)
{
    ASYNC(within, my) {
        WITHIN(my->duration);
        AWAIT_TO(my->value, take(&my->on));
        RETURN(my->value);

    FINALLY;
        if (my->on)
            coil_drop(my->on);
        if (my->cleanup)
            AWAIT(hand_op(my->cleanup));
        trace("finally");
    }
}

TEST(within_ends_the_coroutine_with_etimedout)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(within, .duration = COIL_MS(1), .on = hand_op(&op)));
    CHECK_INT(stage_run(t), -ETIMEDOUT);
    CHECK_INT(op.cancels, 1);
    CHECK_TRACE("finally");
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
}

// A deadline that nobody reached must not stay behind as a timer.
TEST(within_is_disarmed_when_the_coroutine_ends)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(within,
                                          .duration = COIL_SECONDS(3600),
                                          .on = coil_future_done_with(0, 5)));
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 5);
    CHECK_INT(stage_timers(), 0);
    stage_close();
}

// A3: "even a body with a single yield times out".
TEST(within_zero_or_less_strikes_in_the_next_pass)
{
    static const int64_t durations[] = { 0, -1, -COIL_SECONDS(5), INT64_MIN };
    for (size_t i = 0; i < 4; i++) {
        stage_open();
        struct coil_task *t = coil_spawn(
            CALL(within, .duration = durations[i], .on = coil_sleep(0)));
        stage_passes(2);
        CHECK(coil_task_done(t));
        CHECK_INT(stage_run(t), -ETIMEDOUT);
        stage_close();
    }
}

struct spins {
    struct coil_coro coro;
};

static void spins(struct coil_coro *co)
{
    ASYNC(spins, my) {
        (void)my;
        for (;;)
            AWAIT(coil_sleep(0));
    }
}

// A loop that is busy looks at its clock only now and then.
TEST(within_zero_strikes_in_the_next_pass_of_a_busy_loop)
{
    stage_open();
    coil_spawn(CALL(spins));
    stage_passes(10);
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(within, .on = hand_op(&op)));
    stage_passes(3);
    CHECK_INT(stage_run(t), -ETIMEDOUT);
    CHECK_INT(op.cancels, 1);
    stage_close();
}

// What need not suspend is not struck: asyncio's order.
TEST(within_zero_lets_pass_what_is_done_already)
{
    stage_open();
    struct coil_task *t = coil_spawn(
        CALL(within, .on = coil_future_done_with(0, 7)));
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 7);
    stage_passes(3);
    stage_close();
}

TEST(within_for_ever_does_not_overflow)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(within, .duration = COIL_NEVER, .on = hand_op(&op)));
    stage_passes(70);
    CHECK_INT(op.cancels, 0);
    hand_set(&op, 0, 1);
    CHECK_INT(stage_run(t), 0);
    stage_close();
}

// Only its own request is a time-out.
TEST(within_leaves_the_cancellation_of_somebody_else_alone)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(within, .duration = COIL_SECONDS(3600), .on = hand_op(&op)));
    stage_passes(1);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(stage_timers(), 0);
    CHECK_INT(coil_task_cancelling(t), 1);
    stage_close();
}

// Both: the cancellation wins, whichever came first.
TEST(within_that_struck_stays_cancelled_if_somebody_else_cancels_too)
{
    for (int cancelled_first = 0; cancelled_first < 2; cancelled_first++) {
        stage_open();
        struct hand op = { .on_cancel = HAND_LINGERS };
        struct coil_task *t = coil_spawn(CALL(within, .on = hand_op(&op)));
        stage_passes(1);
        if (cancelled_first)
            coil_task_cancel(t);
        stage_passes(1);
        if (!cancelled_first)
            coil_task_cancel(t);
        CHECK_INT(op.cancels, 2);
        CHECK_INT(coil_task_cancelling(t), 2);
        hand_set(&op, -ECANCELED, 0);
        CHECK_INT(stage_run(t), -ECANCELED);
        CHECK_INT(coil_task_cancelling(t), 1);
        stage_close();
    }
}

struct within_after_a_catch {
    struct coil_coro coro;
    struct hand *first, *second;
    int err;
};

static void within_after_a_catch(struct coil_coro *co)
{
    ASYNC(within_after_a_catch, my) {
        CATCH_AWAIT(my->err, hand_op(my->first));
        trace("%d", my->err);
        WITHIN(0);
        AWAIT(hand_op(my->second));
    }
}

// The counter is compared with its value at entry, not with 0.
TEST(within_converts_its_own_request_after_an_earlier_one_was_caught)
{
    stage_open();
    struct hand one = { 0 }, two = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(within_after_a_catch, .first = &one, .second = &two));
    stage_passes(1);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ETIMEDOUT);
    CHECK_INT(coil_task_cancelling(t), 1);
    CHECK_TRACE("-125");
    stage_close();
}

TEST(within_that_struck_passes_other_errors_on)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_LINGERS };
    struct coil_task *t = coil_spawn(CALL(within, .on = hand_op(&op)));
    stage_passes(2);
    CHECK_INT(op.cancels, 1);
    hand_set(&op, -EIO, 0);
    CHECK_INT(stage_run(t), -EIO);
    stage_close();
}

// It came late, but it came: a value is not dropped for a deadline.
TEST(within_that_struck_returns_the_late_success)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_SUCCEEDS, .value = 3 };
    struct coil_task *t = coil_spawn(CALL(within, .on = hand_op(&op)));
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(op.cancels, 1);
    CHECK_INT(coil_future_int(coil_task_future(t)), 3);
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
}

struct calls_within {
    struct coil_coro coro;
    struct coil_future *callee;
    struct hand *then;
    int err;
    int64_t value;
};

static void calls_within(struct coil_coro *co)
{
    ASYNC(calls_within, my) {
        TRY_AWAIT_TO(my->err, my->value, take(&my->callee));
        trace("callee %d", my->err ? my->err : (int)my->value);
        AWAIT(hand_op(my->then));
        trace("over");
    FINALLY;
        trace("caller");
        if (my->callee)
            coil_drop(my->callee);
    }
}

// The deadline ends with its coroutine; its request must not hit the caller.
TEST(within_that_struck_a_callee_is_no_concern_of_the_caller)
{
    static const enum hand_on_cancel ways[] = { HAND_ENDS, HAND_SUCCEEDS };
    for (int i = 0; i < 2; i++) {
        stage_open();
        struct hand op = { .on_cancel = ways[i], .value = 3 }, then = { 0 };
        struct coil_task *t = coil_spawn(
            CALL(calls_within, .callee = CALL(within, .on = hand_op(&op)),
                 .then = &then));
        stage_passes(4);
        CHECK_INT(then.started, 1);
        CHECK_INT(then.cancels, 0);
        CHECK_INT(coil_task_cancelling(t), 0);
        hand_set(&then, 0, 0);
        CHECK_INT(stage_run(t), 0);
        CHECK_TRACE(i == 0 ? "finally callee -110 over caller"
                           : "finally callee 3 over caller");
        stage_close();
    }
}

struct swallows {
    struct coil_coro coro;
    struct hand *op;
    int err;
};

static void swallows(struct coil_coro *co)
{
    ASYNC(swallows, my) {
        WITHIN(0);
        CATCH_AWAIT(my->err, hand_op(my->op));
        trace("caught %d %d", my->err, COIL_DETAIL_CODE(coil_last_detail()));
        AWAIT(coil_sleep(0));
        RETURN(9);
    }
}

// Who catches the cancellation has dealt with it: no time-out.
TEST(within_whose_cancellation_was_swallowed_gives_no_time_out)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(swallows, .op = &op));
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 9);
    CHECK_INT(coil_task_cancelling(t), 0);
    CHECK_TRACE("caught -125 1");
    stage_close();
}

struct sees {
    struct coil_coro coro;
    int64_t duration;
    struct hand *op;
    int err;
};

static void sees(struct coil_coro *co)
{
    ASYNC(sees, my) {
        if (my->duration != COIL_NEVER)
            WITHIN(my->duration);
        CATCH_AWAIT(my->err, hand_op(my->op));
        trace("sees %d", my->err);
        FAIL(my->err);
    }
}

struct within_calls {
    struct coil_coro coro;
    int64_t outer, inner;
    struct hand *op;
};

static void within_calls(struct coil_coro *co)
{
    ASYNC(within_calls, my) {
        WITHIN(my->outer);
        AWAIT(CALL(sees, .duration = my->inner, .op = my->op));
    }
}

// Same deadline, nested: the outer one timed out, the inner one was cancelled.
TEST(within_nested_with_one_deadline_times_out_outside)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(within_calls, .op = &op));
    CHECK_INT(stage_run(t), -ETIMEDOUT);
    CHECK_TRACE("sees -125");
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
}

TEST(within_outer_reaches_the_innermost_operation)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(within_calls, .inner = COIL_SECONDS(3600), .op = &op));
    CHECK_INT(stage_run(t), -ETIMEDOUT);
    CHECK_INT(op.cancels, 1);
    CHECK_TRACE("sees -125");
    stage_close();
}

struct within_twice {
    struct coil_coro coro;
    int64_t first, second;
    struct hand *op;
};

static void within_twice(struct coil_coro *co)
{
    ASYNC(within_twice, my) {
        WITHIN(my->first);
        WITHIN(my->second);
        AWAIT(hand_op(my->op));
    }
}

// Two of one coroutine: the earlier one counts, or both.
TEST(within_twice_means_the_earlier_deadline)
{
    static const int64_t durations[][2] = {
        { 0, COIL_SECONDS(3600) }, { COIL_SECONDS(3600), 0 }, { 0, 0 }
    };
    for (int i = 0; i < 3; i++) {
        stage_open();
        struct hand op = { 0 };
        struct coil_task *t = coil_spawn(
            CALL(within_twice, .first = durations[i][0],
                 .second = durations[i][1], .op = &op));
        CHECK_INT(stage_run(t), -ETIMEDOUT);
        CHECK_INT(stage_timers(), 0);
        CHECK_INT(coil_task_cancelling(t), 0);
        stage_close();
    }
}

// Cleanup is not what the caller wanted to have done in a second.
TEST(within_is_off_in_finally)
{
    stage_open();
    struct hand cleanup = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(within, .duration = COIL_SECONDS(3600),
             .on = coil_future_done_with(0, 2), .cleanup = &cleanup));
    stage_passes(1);
    CHECK_INT(cleanup.started, 1);
    CHECK_INT(stage_timers(), 0);
    hand_set(&cleanup, 0, 0);
    CHECK_INT(stage_run(t), 0);
    stage_close();
}

// The same with one that is on its way already.
TEST(within_that_is_due_is_off_in_finally)
{
    stage_open();
    struct hand cleanup = { 0 };
    struct coil_task *t = coil_spawn(CALL(within, .duration = 0,
                                          .on = coil_future_done_with(0, 2),
                                          .cleanup = &cleanup));
    stage_passes(5);
    CHECK_INT(cleanup.cancels, 0);
    hand_set(&cleanup, 0, 0);
    CHECK_INT(stage_run(t), 0);
    stage_close();
}

struct joins_within {
    struct coil_coro coro;
    struct hand *op;
};

static void joins_within(struct coil_coro *co)
{
    ASYNC(joins_within, my) {
        coil_spawn(hand_op(my->op));
        WITHIN(0);
        JOIN();
    FINALLY;
        trace("finally");
    }
}

TEST(within_ends_a_join_and_cancels_the_children)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(joins_within, .op = &op));
    CHECK_INT(stage_run(t), -ETIMEDOUT);
    CHECK_INT(op.freed, 1);
    CHECK_TRACE("finally");
    stage_close();
}

/* A callee whose cleanup takes time, with an error of its own. */
struct cleans {
    struct coil_coro coro;
    struct hand *first, *second;
    int err;
};

static void cleans(struct coil_coro *co)
{
    ASYNC(cleans, my) {
        if (my->err)
            FAIL(my->err);
        RETURN(4);
    FINALLY;
        AWAIT(hand_op(my->first));
        AWAIT(hand_op(my->second));
    }
}

struct within_tries {
    struct coil_coro coro;
    struct hand *first, *second, *then;
    int callee_err, err;
};

static void within_tries(struct coil_coro *co)
{
    ASYNC(within_tries, my) {
        WITHIN(0);
        TRY_AWAIT(my->err, CALL(cleans, .first = my->first,
                                .second = my->second, .err = my->callee_err));
        trace("callee %d", my->err);
        AWAIT(hand_op(my->then));
    FINALLY;
        trace("finally");
    }
}

// It cut short a callee's cleanup; the callee has an error of its own. The time
// is up all the same: or a second's deadline would allow hours.
TEST(within_that_struck_in_a_callees_finally_is_not_forgotten)
{
    stage_open();
    struct hand one = { 0 }, two = { 0 }, then = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(within_tries, .first = &one, .second = &two, .then = &then,
             .callee_err = -EIO));
    stage_passes(3);
    CHECK_INT(one.cancels, 1);
    CHECK_INT(two.started, 1);
    CHECK_INT(two.cancels, 0);
    hand_set(&two, 0, 0);
    CHECK_INT(stage_run(t), -ETIMEDOUT);
    CHECK_INT(then.started, 0);
    CHECK_TRACE("callee -5 finally");
    stage_close();
}

TEST(within_that_struck_in_a_callees_finally_is_not_caught_by_try_await)
{
    stage_open();
    struct hand one = { 0 }, two = { 0 }, then = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(within_tries, .first = &one, .second = &two, .then = &then));
    stage_passes(3);
    hand_set(&two, 0, 0);
    CHECK_INT(stage_run(t), -ETIMEDOUT);
    CHECK_INT(then.started, 0);
    CHECK_TRACE("finally");
    stage_close();
}

/* ---- WITHIN in FINALLY ------------------------------------------------ */

enum budget_way { ENDS_WELL, FAILS, IS_CANCELLED };

struct budget {
    struct coil_coro coro;
    enum budget_way way;
    bool tries;
    struct hand *body, *first, *second;
    int err;
};

static void budget(struct coil_coro *co)
{
    ASYNC(budget, my) {
        if (my->way == FAILS)
            FAIL(-EIO);
        if (my->way == IS_CANCELLED)
            AWAIT(hand_op(my->body));
        RETURN(1);

    FINALLY;
        WITHIN(0);
        if (my->tries) {
            TRY_AWAIT(my->err, hand_op(my->first));
            trace("tried %d", my->err);
        } else {
            AWAIT(hand_op(my->first));
        }
        trace("one");
        AWAIT(hand_op(my->second));
        trace("two");
    }
}

// A budget for cleaning up: the await it meets fails, the rest still runs, and
// the first error stays. After a cancel it works as well.
TEST(within_in_finally_is_a_budget_for_one_await)
{
    static const int expected[] = { -ETIMEDOUT, -EIO, -ECANCELED };
    for (enum budget_way way = ENDS_WELL; way <= IS_CANCELLED; way++) {
        stage_open();
        struct hand body = { 0 }, one = { 0 }, two = { 0 }, then = { 0 };
        struct coil_future *callee = CALL(budget, .way = way, .body = &body,
                                          .first = &one, .second = &two);
        struct coil_task *t = coil_spawn(
            CALL(calls_within, .callee = callee, .then = &then));
        stage_passes(1);
        if (way == IS_CANCELLED)
            coil_task_cancel(t);
        stage_passes(3);
        CHECK_INT(one.cancels, 1);
        CHECK_INT(two.started, 1);
        CHECK_INT(two.cancels, 0);
        CHECK_TRACE("one");
        hand_set(&two, 0, 0);
        stage_passes(2);
        if (way == IS_CANCELLED) {
            CHECK_INT(then.started, 0);
            CHECK_TRACE("two caller");
        } else {
            char said[64];
            snprintf(said, sizeof said, "two callee %d", expected[way]);
            CHECK_TRACE(said);
            CHECK_INT(then.started, 1);
            hand_set(&then, 0, 0);
        }
        CHECK_INT(stage_run(t), way == IS_CANCELLED ? -ECANCELED : 0);
        stage_trace[0] = '\0';
        stage_close();
    }
}

TEST(within_in_finally_is_etimedout_for_try_await)
{
    stage_open();
    struct hand body = { 0 }, one = { 0 }, two = { 0 };
    struct coil_task *t = coil_spawn(CALL(budget, .tries = true, .body = &body,
                                          .first = &one, .second = &two));
    stage_passes(3);
    CHECK_TRACE("tried -110 one");
    hand_set(&two, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 1);
    CHECK_TRACE("two");
    stage_close();
}

struct budget_undelivered {
    struct coil_coro coro;
    struct hand *op;
};

static void budget_undelivered(struct coil_coro *co)
{
    ASYNC(budget_undelivered, my) {
        RETURN(8);
    FINALLY;
        WITHIN(0);
        AWAIT(hand_op(my->op));
    }
}

// Its request must not leak to the caller when nothing was left to cut short.
TEST(within_in_finally_that_met_no_await_is_forgotten)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_SUCCEEDS }, then = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(calls_within, .callee = CALL(budget_undelivered, .op = &op),
             .then = &then));
    stage_passes(4);
    CHECK_INT(op.cancels, 1);
    CHECK_TRACE("callee 8");
    CHECK_INT(then.started, 1);
    hand_set(&then, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("over caller");
    /* Nor end a task that has no caller. */
    t = coil_spawn(CALL(budget_undelivered, .op = &op));
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 8);
    stage_close();
}

/* ---- HOLD ------------------------------------------------------------- */

static void released(void *object)
{
    trace("-%s", (const char *)object);
}

static struct coil_future *granted(void)
{
    return coil_future_done_with(0, 0);
}

enum hold_way { RETURNS, HOLD_FAILS, FALLS, BREAKS, CANCELLED };

struct holds {
    struct coil_coro coro;
    enum hold_way way;
    struct hand *op;
};

static void holds_child(struct coil_coro *co);

struct holds_child {
    struct coil_coro coro;
};

static void holds_child(struct coil_coro *co)
{
    ASYNC(holds_child, my) {
        (void)my;
        HOLD_WITH("child", released, granted());
        AWAIT(coil_sleep(COIL_SECONDS(3600)));
    }
}

static char a[] = "a", b[] = "b", c[] = "c";

static void holds(struct coil_coro *co)
{
    ASYNC(holds, my) {
        HOLD_WITH(a, released, granted());
        HOLD_WITH(b, released, granted());
        SPAWN(holds_child);
        HOLD_WITH(c, released, granted());
        AWAIT(coil_sleep(0));
        RELEASE(b);
        if (my->way == BREAKS)
            break;
        if (my->way == RETURNS)
            RETURN(1);
        if (my->way == HOLD_FAILS)
            FAIL(-EIO);
        if (my->way == CANCELLED)
            AWAIT(hand_op(my->op));

    FINALLY;
        HOLD_WITH(b, released, granted());
        AWAIT(coil_sleep(0));
        trace("finally");
    }
}

// However it ends: children first, then FINALLY, then what it holds, newest
// first; what was released is not released again.
TEST(hold_is_released_last_and_newest_first_on_every_way_out)
{
    for (enum hold_way way = RETURNS; way <= CANCELLED; way++) {
        stage_open();
        struct hand op = { 0 };
        struct coil_task *t = coil_spawn(CALL(holds, .way = way, .op = &op));
        stage_passes(2);
        coil_task_cancel(way == CANCELLED ? t : coil_spawn(granted()));
        stage_run(t);
        CHECK_TRACE("-b -child finally -b -c -a");
        stage_close();
    }
}

enum acquire_way { ENDS_ZERO, ENDS_BADLY, ENDS_CANCELLED, ENDS_LATE };

struct holds_with {
    struct coil_coro coro;
    struct hand *acquire, *then;
    int err;
};

static void holds_with(struct coil_coro *co)
{
    ASYNC(holds_with, my) {
        HOLD_WITH(a, released, hand_op(my->acquire));
        trace("held");
        AWAIT(hand_op(my->then));
    FINALLY;
        trace("finally");
    }
}

// Held exactly if the acquire ended well: also if a cancellation came with it.
TEST(hold_with_is_released_if_and_only_if_it_was_acquired)
{
    static const char *const expected[] = { "held finally -a", "finally",
                                            "finally", "held finally -a" };
    for (enum acquire_way way = ENDS_ZERO; way <= ENDS_LATE; way++) {
        stage_open();
        struct hand acquire = { .on_cancel = way == ENDS_LATE ? HAND_SUCCEEDS
                                                              : HAND_ENDS };
        struct hand then = { 0 };
        struct coil_task *t = coil_spawn(
            CALL(holds_with, .acquire = &acquire, .then = &then));
        stage_passes(1);
        if (way == ENDS_ZERO || way == ENDS_BADLY)
            hand_set(&acquire, way == ENDS_BADLY ? -EIO : 0, 0);
        else
            coil_task_cancel(t);
        stage_passes(1);
        if (way == ENDS_ZERO)
            hand_set(&then, 0, 0);
        CHECK_INT(stage_run(t), way == ENDS_ZERO    ? 0
                                : way == ENDS_BADLY ? -EIO
                                                    : -ECANCELED);
        test_note("acquire ended in way %d", (int)way);
        CHECK_TRACE(expected[way]);
        stage_close();
    }
}

struct is_named {
    struct coil_coro coro;
    struct hand *acquire, *then;
};

static void is_named(struct coil_coro *co)
{
    ASYNC(is_named, my) {
        WITHIN(COIL_SECONDS(3600));
        HOLD_WITH(a, released, hand_op(my->acquire));
        RELEASE(a);
        HOLD_WITH(b, released, hand_op(my->acquire));
        AWAIT(hand_op(my->then));
    }
}

// A name that others give it while it waits comes between the record and the
// grant.
TEST(hold_is_noted_though_the_task_was_named_meanwhile)
{
    stage_open();
    struct hand acquire = { 0 }, then = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(is_named, .acquire = &acquire, .then = &then));
    stage_passes(1);
    CHECK_INT(coil_task_set_name(t, "a name"), 0);
    hand_set(&acquire, 0, 0);
    stage_passes(1);
    CHECK_TRACE("-a");
    hand_set(&acquire, 0, 0);
    stage_passes(1);
    hand_set(&then, -EIO, 0);
    CHECK_INT(stage_run(t), -EIO);
    CHECK_TRACE("-b");
    stage_close();
}

/* The whole life of a lock in one coroutine, with an await at every turn. */
struct locks {
    struct coil_coro coro;
    struct coil_lock *lock;
    struct coil_semaphore *sem;
    int *inside, *most, *finals;
};

static void locks(struct coil_coro *co)
{
    ASYNC(locks, my) {
        AWAIT(coil_sleep(0));
        HOLD(my->sem);
        HOLD(my->lock);
        if (++*my->inside > *my->most)
            *my->most = *my->inside;
        AWAIT(coil_sleep(0));
        --*my->inside;
        RELEASE(my->lock);
        AWAIT(coil_sleep(0));
        HOLD(my->lock);
        ++*my->inside;
        AWAIT(coil_sleep(0));
        --*my->inside;

    FINALLY;
        AWAIT(coil_sleep(0));
        ++*my->finals;
    }
}

// Three tasks, two permits, one lock; each task cancelled at each pass, alone
// and with a second one cancelled at each later pass. Every permit comes back.
TEST(hold_survives_a_cancel_at_every_moment)
{
    enum { TASKS = 3, PASSES = 24 };
    stage_open();
    for (int who = 0; who < TASKS * TASKS; who++)
        for (int when = 0; when < PASSES; when++)
            for (int again = when; again < PASSES; again += 1 + when % 3) {
                struct coil_lock lock;
                struct coil_semaphore sem;
                int inside = 0, most = 0, finals = 0;
                coil_lock_init(&lock);
                coil_semaphore_init_bounded(&sem, 2);
                struct coil_task *t[TASKS];
                for (int i = 0; i < TASKS; i++)
                    t[i] = coil_spawn(
                        CALL(locks, .lock = &lock, .sem = &sem,
                             .inside = &inside, .most = &most,
                             .finals = &finals));
                for (int pass = 0; pass < PASSES; pass++) {
                    if (pass == when)
                        coil_task_cancel(t[who % TASKS]);
                    if (pass == again)
                        coil_task_cancel(t[who / TASKS]);
                    stage_passes(1);
                }
                test_note("cancel %d at %d, %d at %d", who % TASKS, when,
                          who / TASKS, again);
                for (int i = 0; i < TASKS; i++) {
                    stage_run(t[i]);
                    coil_task_drop(&t[i]);
                }
                CHECK_INT(finals, TASKS);
                CHECK(!coil_lock_locked(&lock));
                CHECK_INT(coil_semaphore_value(&sem), 2);
                CHECK(coil_waiters_empty(&sem.line));
                CHECK(coil_waiters_empty(&lock.line));
            }
    stage_close();
}

struct misuses {
    struct coil_coro coro;
    struct coil_semaphore sem;
    bool twice;
};

static void misuses(struct coil_coro *co)
{
    ASYNC(misuses, my) {
        coil_semaphore_init(&my->sem, 5);
        if (my->twice)
            HOLD(&my->sem);
        if (my->twice)
            HOLD(&my->sem);
        RELEASE(&my->sem);
    }
}

// A second permit of the same semaphore deadlocks sooner or later.
DEATH_TEST(hold_twice_aborts, "HOLD of what this coroutine holds already\n"
                              "    in misuses at .*test_scope.c:")
{
    RUN(misuses, .twice = true);
}

DEATH_TEST(hold_released_without_holding_aborts,
           "RELEASE of what this coroutine does not hold\n    in misuses at ")
{
    RUN(misuses);
}

/* ---- Generators left early -------------------------------------------- */

struct counts {
    struct coil_coro coro;
    int i;
    struct hand *cleanup;
    bool late; /* has a deadline of its own, which strikes while it yields */
    int pause_at;
};

static void counts(struct coil_coro *co)
{
    ASYNC(counts, my) {
        if (my->late)
            WITHIN(0);
        for (;; my->i++) {
            if (my->pause_at && my->i == my->pause_at)
                AWAIT(coil_sleep(COIL_SECONDS(3600)));
            YIELD(my->i);
        }

    FINALLY;
        if (my->cleanup)
            AWAIT(hand_op(my->cleanup));
        trace("generator");
    }
}

struct leaves {
    struct coil_coro coro;
    struct hand *cleanup, *then;
    int item;
};

static void leaves(struct coil_coro *co)
{
    ASYNC(leaves, my) {
        FOR_AWAIT(my->item, CALL(counts, .cleanup = my->cleanup))
            if (my->item == 2)
                break;
        trace("left");
        if (my->then)
            AWAIT(hand_op(my->then));

    FINALLY;
        trace("consumer");
    }
}

// The generator's cleanup is over when the consumer's begins.
TEST(generator_left_early_has_ended_before_its_consumers_finally)
{
    stage_open();
    struct hand cleanup = { 0 };
    struct coil_task *t = coil_spawn(CALL(leaves, .cleanup = &cleanup));
    stage_passes(5);
    CHECK(!coil_task_done(t));
    CHECK_TRACE("left");
    CHECK_INT(cleanup.cancels, 0);
    hand_set(&cleanup, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("generator consumer");
    stage_close();
}

// The consumer is cancelled, not the cleanup that runs beside it.
TEST(generator_that_is_closing_is_not_hurt_by_the_end_of_its_consumer)
{
    stage_open();
    struct hand cleanup = { 0 }, then = { 0 };
    struct coil_task *t = coil_spawn(
        CALL(leaves, .cleanup = &cleanup, .then = &then));
    stage_passes(5);
    coil_task_cancel(t);
    stage_passes(5);
    CHECK_INT(then.cancels, 1);
    CHECK_INT(cleanup.cancels, 0);
    hand_set(&cleanup, 0, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("left generator consumer");
    stage_close();
}

// Who asks a second time means it: else a stuck cleanup could not be got at.
TEST(generator_that_is_closing_is_cut_short_by_another_request)
{
    stage_open();
    struct hand cleanup = { 0 };
    struct coil_task *t = coil_spawn(CALL(leaves, .cleanup = &cleanup));
    stage_passes(5);
    CHECK_TRACE("left");
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(cleanup.cancels, 1);
    CHECK_TRACE("generator consumer");
    stage_close();
}

TEST(generator_that_is_closing_does_not_keep_the_loop_from_closing)
{
    stage_open();
    struct hand cleanup = { 0 };
    coil_spawn(CALL(leaves, .cleanup = &cleanup));
    stage_passes(5);
    stage_close();
    CHECK_INT(cleanup.cancels, 1);
    CHECK_TRACE("left generator consumer");
}

struct consumes {
    struct coil_coro coro;
    struct hand *op;
    int item, n, pause_at;
};

static void consumes(struct coil_coro *co)
{
    ASYNC(consumes, my) {
        FOR_AWAIT(my->item, CALL(counts, .late = true,
                                 .pause_at = my->pause_at)) {
            AWAIT(coil_sleep(0));
            if (++my->n == 5)
                break;
        }
        AWAIT(hand_op(my->op));
        trace("over %d", my->item);
    }
}

// A generator's deadline is its own: it is no cancellation of the consumer.
TEST(generator_whose_deadline_strikes_does_not_cancel_its_consumer)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(consumes, .op = &op));
    stage_passes(20);
    CHECK_INT(op.started, 1);
    CHECK_INT(op.cancels, 0);
    hand_set(&op, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("generator over 4");
    stage_close();
}

// And it is not used up by yielding: it strikes at the generator's next await.
TEST(generator_whose_deadline_strikes_while_it_yields_times_out_later)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(consumes, .op = &op, .pause_at = 3));
    CHECK_INT(stage_run(t), -ETIMEDOUT);
    CHECK_INT(op.started, 0);
    CHECK_TRACE("generator");
    stage_close();
}

struct yields_a_lot {
    struct coil_coro coro;
    int i;
    bool *pauses;
};

static void yields_a_lot(struct coil_coro *co)
{
    ASYNC(yields_a_lot, my) {
        for (;; my->i++) {
            if (*my->pauses)
                AWAIT(coil_sleep(0));
            YIELD(my->i);
        }
    FINALLY;
        trace("generator");
    }
}

struct reads_a_lot {
    struct coil_coro coro;
    bool asked;
    int item, err;
};

static void reads_a_lot(struct coil_coro *co)
{
    ASYNC(reads_a_lot, my) {
        FOR_AWAIT(my->item, CALL(yields_a_lot, .pauses = &my->asked)) {
            if (my->asked && !my->err) {
                CATCH_AWAIT(my->err, coil_sleep(0));
                trace("caught %d", my->err);
            } else if (my->asked && my->item > 10000) {
                break;
            } else if (my->asked) {
                my->item = 0;
                trace("goes on");
                break;
            }
        }
        trace("over");
    }
}

// Once in a thousand awaits that need not wait a pass is let in; the request
// that comes just then is one for the consumer, not one for each of the two.
TEST(generator_that_has_just_yielded_is_not_struck_as_well)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(reads_a_lot));
    struct reads_a_lot *frame = coil_task_frame(t);
    stage_passes(1);
    CHECK(frame->item > 100); /* all of them in one pass */
    frame->asked = true;
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("caught -125 goes on over generator");
    stage_close();
}

struct awaits_then_yields {
    struct coil_coro coro;
    struct hand *op;
    int64_t got;
};

static void awaits_then_yields(struct coil_coro *co)
{
    ASYNC(awaits_then_yields, my) {
        for (;;) {
            AWAIT_TO(my->got, hand_op(my->op));
            YIELD(my->got);
        }
    FINALLY;
        trace("generator");
    }
}

struct reads {
    struct coil_coro coro;
    struct hand *op;
    int64_t item;
    int err;
};

static void reads(struct coil_coro *co)
{
    ASYNC(reads, my) {
        FOR_AWAIT(my->item, CALL(awaits_then_yields, .op = my->op)) {
            trace("item %d", (int)my->item);
            CATCH_AWAIT(my->err, coil_sleep(0));
            trace("err %d reason %d", my->err,
                  COIL_DETAIL_CODE(coil_last_detail()));
            if (my->err)
                break;
        }
    }
}

// The item that came with the cancellation is read, and the reason goes along.
TEST(generator_yields_the_late_success_and_its_consumer_is_struck)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_SUCCEEDS, .value = 6 };
    struct coil_task *t = coil_spawn(CALL(reads, .op = &op));
    stage_passes(1);
    coil_task_cancel_reason(t, COIL_CANCEL_INTERRUPT);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("item 6 err -125 reason 3 generator");
    stage_close();
}
