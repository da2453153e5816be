// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_cancel_scope.c: deadlines, by the rules of asyncio.timeout; scopes that
 * are cancelled from outside, by those of trio's.
 */
#include "stage.h"

#include <coil/cancel_scope.h>
#include <coil/group.h>
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
        WITHIN(my->duration) {
            AWAIT_TO(my->value, take(&my->on));
            RETURN(my->value);
        }

    FINALLY;
        if (my->on)
            coil_discard(my->on);
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
    struct coil_task *t = coil_spawn(CALL(
        within, .duration = COIL_SECONDS(3600), .on = coil_future_from_int(5)));
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 5);
    CHECK_INT(stage_timers(), 0);
    stage_close();
}

// One coil_sleep(0) in the body is enough for the time-out to strike.
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
        CALL(within, .on = coil_future_from_int(7)));
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
        TRY_ALL(my->err)
            AWAIT(hand_op(my->first));
        trace("%d", my->err);
        WITHIN(0)
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
            coil_discard(my->callee);
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
        WITHIN(0) {
            TRY_ALL(my->err)
                AWAIT(hand_op(my->op));
            trace("caught %d %d", my->err,
                  COIL_DETAIL_CODE(coil_last_detail()));
            AWAIT(coil_sleep(0));
            RETURN(9);
        }
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
        WITHIN(my->duration) {
            TRY_ALL(my->err)
                AWAIT(hand_op(my->op));
            trace("sees %d", my->err);
            FAIL(my->err);
        }
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
        WITHIN(my->outer)
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
        WITHIN(my->first) {
            WITHIN(my->second)
                AWAIT(hand_op(my->op));
        }
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
             .on = coil_future_from_int(2), .cleanup = &cleanup));
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
                                          .on = coil_future_from_int(2),
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
        WITHIN(0)
            JOIN();
        trace("not reached");

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
        WITHIN(0) {
            TRY_AWAIT(my->err,
                      CALL(cleans, .first = my->first, .second = my->second,
                           .err = my->callee_err));
            trace("callee %d", my->err);
            AWAIT(hand_op(my->then));
        }

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
        WITHIN(0) {
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
        WITHIN(0)
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

/* ---- Scopes ----------------------------------------------------------- */

// What a test does inside of a scope, step by step; one character each:
//     a   AWAIT(hand)              c   TRY_ALL AWAIT(hand), notes the error
//     t   TRY_AWAIT(hand)          C   TRY_AWAIT of a callee that does `inner`
//     s   START a child that does `inner`          j   JOIN
//     g   the same in a GROUP, which waits for it
//     r   RETURN(7)                .   c, s, j in FINALLY from here on
struct script {
    struct coil_coro coro;
    const char *name;
    const char *steps, *inner;
    struct coil_cancel_scope *scope, own; /* `own`: if none is given */
    struct coil_group group;
    struct hand *hand;
    int err;
    int64_t value;
};

static void script(struct coil_coro *co)
{
    ASYNC(script, my) {
        CANCEL_SCOPE(my->scope ? my->scope : &my->own) {
            for (; *my->steps && *my->steps != '.'; my->steps++) {
                if (*my->steps == 'a') {
                    AWAIT_TO(my->value, hand_op(my->hand));
                    trace("%s:a%d", my->name, (int)my->value);
                } else if (*my->steps == 'c') {
                    TRY_ALL(my->err)
                        AWAIT(hand_op(my->hand));
                    trace("%s:c%d", my->name, my->err);
                } else if (*my->steps == 't') {
                    TRY_AWAIT(my->err, hand_op(my->hand));
                    trace("%s:t%d", my->name, my->err);
                } else if (*my->steps == 'C') {
                    TRY_AWAIT(my->err,
                              CALL(script, .name = "callee",
                                   .steps = my->inner, .hand = my->hand));
                    trace("%s:C%d", my->name, my->err);
                } else if (*my->steps == 's') {
                    START(script, .name = "child", .steps = my->inner,
                          .hand = my->hand);
                } else if (*my->steps == 'g') {
                    GROUP(&my->group)
                        START(script, .name = "child", .steps = my->inner,
                              .hand = my->hand);
                    trace("%s:g", my->name);
                } else if (*my->steps == 'j') {
                    JOIN();
                } else if (*my->steps == 'r') {
                    RETURN(7);
                }
            }
        }

    FINALLY;
        while (*my->steps && *my->steps != '.')
            my->steps++;
        for (; *my->steps; my->steps++) {
            if (*my->steps == 'c') {
                TRY_ALL(my->err)
                    AWAIT(hand_op(my->hand));
                trace("%s:fc%d", my->name, my->err);
            } else if (*my->steps == 's') {
                START(script, .name = "child", .steps = my->inner,
                      .hand = my->hand);
            } else if (*my->steps == 'j') {
                JOIN();
            }
        }
        trace("%s:over", my->name);
    }
}

// Calls one in a scope, says what it ended with, and awaits once more.
struct around {
    struct coil_coro coro;
    struct coil_cancel_scope *scope;
    const char *steps, *inner;
    struct hand *hand, *then;
    int err, value;
};

static void around(struct coil_coro *co)
{
    ASYNC(around, my) {
        my->value = -1;
        TRY_AWAIT_TO(my->err, my->value,
                     CALL(script, .name = "block", .steps = my->steps,
                          .inner = my->inner, .scope = my->scope,
                          .hand = my->hand));
        trace("ended %d %d", my->err, my->value);
        AWAIT(hand_op(my->then));
        trace("went on");
    }
}

static struct coil_cancel_scope scope;
static struct hand hand, then;

static struct coil_task *begin_around(const char *steps, const char *inner)
{
    scope = (struct coil_cancel_scope){ 0 };
    hand = then = (struct hand){ 0 };
    stage_open();
    return coil_spawn(CALL(around, .scope = &scope, .steps = steps,
                           .inner = inner, .hand = &hand, .then = &then));
}

static void end_around(struct coil_task *task, int err)
{
    if (then.flying)
        hand_set(&then, 0, 0);
    CHECK_INT(stage_run(task), err);
    stage_close();
}

// The caller was not cancelled: it gets an error, and its next await waits.
TEST(cancel_scope_ends_its_block_with_an_ordinary_error)
{
    struct coil_task *t = begin_around("a", "");
    stage_passes(3);
    CHECK(coil_cancel_scope_cancel(&scope));
    CHECK(coil_cancel_scope_cancelled(&scope));
    stage_passes(3);
    CHECK_TRACE("block:over ended -125 -1");
    CHECK_INT(then.started, 1);
    CHECK_INT(coil_task_cancelling(t), 0);
    end_around(t, 0);
    CHECK_TRACE("went on");
}

// Edge-triggered cancellation is lost if a library swallows it; a scope's not.
TEST(cancel_scope_strikes_every_await_of_its_block)
{
    struct coil_task *t = begin_around("cctca", "");
    stage_passes(3);
    CHECK_INT(hand.started, 1);
    coil_cancel_scope_cancel(&scope);
    stage_passes(4);
    /* TRY_AWAIT lets no cancellation in: the block is over there. */
    CHECK_TRACE("block:c-125 block:c-125 block:over ended -125 -1");
    CHECK_INT(hand.started, 1); /* nothing has begun once it was cancelled */
    end_around(t, 0);
    CHECK_TRACE("went on");
}

TEST(cancel_scope_strikes_what_its_block_has_called)
{
    struct coil_task *t = begin_around("Ca", "ccr");
    stage_passes(3);
    coil_cancel_scope_cancel(&scope);
    stage_passes(4);
    /* The callee swallows both and ends well; its caller is struck. */
    CHECK_TRACE("callee:c-125 callee:c-125 callee:over block:C0 block:over "
                "ended -125 -1");
    end_around(t, 0);
    CHECK_TRACE("went on");
}

TEST(cancel_scope_strikes_the_tasks_of_its_groups)
{
    struct coil_task *t = begin_around("g", "cccr");
    stage_passes(4);
    CHECK_INT(hand.started, 1);
    coil_cancel_scope_cancel(&scope);
    stage_passes(8);
    CHECK_TRACE("child:c-125 child:c-125 child:c-125 child:over block:over "
                "ended -125 -1");
    end_around(t, 0);
    stage_trace[0] = '\0';
}

// It belongs to the coroutine, which asks it to end when its body is over:
// once, as any other child, although it was started in the block.
TEST(cancel_scope_does_not_strike_a_child_of_the_coroutine)
{
    struct coil_task *t = begin_around("sj", "ccr");
    stage_passes(4);
    CHECK_INT(hand.started, 1);
    coil_cancel_scope_cancel(&scope);
    CHECK_INT(hand.cancels, 0);
    stage_passes(4);
    CHECK_INT(hand.cancels, 1);
    CHECK_INT(hand.started, 2); /* the second await waits */
    CHECK_TRACE("child:c-125");
    hand_set(&hand, 0, 0);
    stage_passes(4);
    CHECK_TRACE("child:c0 child:over block:over ended -125 -1");
    end_around(t, 0);
    stage_trace[0] = '\0';
}

// Cleaning up may wait: FINALLY of the block, of what it called, of children.
TEST(cancel_scope_does_not_reach_into_finally)
{
    struct coil_task *t = begin_around("C.c", "a.cc");
    stage_passes(3);
    coil_cancel_scope_cancel(&scope);
    stage_passes(3);
    CHECK_INT(hand.started, 2); /* the callee's FINALLY waits */
    hand_set(&hand, 0, 1);
    stage_passes(2);
    CHECK_INT(hand.started, 3);
    hand_set(&hand, 0, 1);
    stage_passes(2);
    CHECK_TRACE("callee:fc0 callee:fc0 callee:over");
    CHECK_INT(hand.started, 4); /* and the block's own */
    hand_set(&hand, 0, 1);
    stage_passes(3);
    CHECK_TRACE("block:fc0 block:over ended -125 -1");
    end_around(t, 0);
    stage_trace[0] = '\0';
}

TEST(cancel_scope_does_not_reach_what_finally_has_started)
{
    struct coil_task *t = begin_around("a.sj", "ccr");
    stage_passes(3);
    coil_cancel_scope_cancel(&scope);
    stage_passes(4);
    CHECK_INT(hand.started, 2);
    hand_set(&hand, 0, 1);
    stage_passes(2);
    hand_set(&hand, 0, 1);
    stage_passes(4);
    CHECK_TRACE("child:c0 child:c0 child:over block:over ended -125 -1");
    end_around(t, 0);
    stage_trace[0] = '\0';
}

TEST(cancel_scope_cancelled_before_it_is_entered_strikes_the_first_await)
{
    struct coil_task *t = begin_around("a", "");
    CHECK(coil_cancel_scope_cancel(&scope));
    stage_passes(4);
    CHECK_INT(hand.started, 0);
    CHECK_TRACE("block:over ended -125 -1");
    end_around(t, 0);
    stage_trace[0] = '\0';
}

// What was granted is not lost: its value first, then the request.
TEST(cancel_scope_delivers_the_late_success_first)
{
    struct coil_task *t = begin_around("aa", "");
    hand.on_cancel = HAND_SUCCEEDS;
    hand.value = 5;
    stage_passes(3);
    coil_cancel_scope_cancel(&scope);
    stage_passes(4);
    CHECK_TRACE("block:a5 block:over ended -125 -1");
    end_around(t, 0);
    stage_trace[0] = '\0';
}

TEST(cancel_scope_whose_block_swallows_it_returns_its_value)
{
    struct coil_task *t = begin_around("ccr", "");
    stage_passes(3);
    coil_cancel_scope_cancel(&scope);
    stage_passes(4);
    CHECK_TRACE("block:c-125 block:c-125 block:over ended 0 7");
    end_around(t, 0);
    CHECK_TRACE("went on");
}

// The task is cancelled from outside as well: the scope does not take that
// request, and the task ends cancelled.
TEST(cancel_scope_leaves_the_cancellation_of_somebody_else_alone)
{
    for (int order = 0; order < 2; order++) {
        struct coil_task *t = begin_around("a", "");
        hand.on_cancel = HAND_LINGERS;
        stage_passes(3);
        if (order == 0)
            coil_cancel_scope_cancel(&scope);
        coil_task_cancel(t);
        if (order == 1)
            coil_cancel_scope_cancel(&scope);
        hand_set(&hand, -ECANCELED, 0);
        CHECK_INT(stage_run(t), -ECANCELED);
        CHECK_TRACE("block:over");
        stage_close();
    }
}

TEST(cancel_scope_is_cancelled_once_and_not_when_it_is_over)
{
    struct coil_task *t = begin_around("a", "");
    stage_passes(3);
    CHECK(coil_cancel_scope_cancel(&scope));
    CHECK(!coil_cancel_scope_cancel(&scope));
    CHECK_INT(hand.cancels, 1);
    stage_passes(3);
    CHECK(!coil_cancel_scope_cancel(&scope));
    CHECK_INT(coil_cancel_scope_set_deadline(&scope, 1), -EALREADY);
    CHECK(!coil_cancel_scope_expired(&scope));
    end_around(t, 0);
    t = begin_around("r", "");
    stage_passes(3);
    CHECK(!coil_cancel_scope_cancel(&scope)); /* it is over */
    CHECK(!coil_cancel_scope_cancelled(&scope));
    end_around(t, 0);
    stage_trace[0] = '\0';
}

/* ---- Deadlines that move ---------------------------------------------- */

TEST(cancel_scope_that_is_late_ends_its_block_with_etimedout)
{
    struct coil_task *t = begin_around("cca", "");
    CHECK_INT(coil_cancel_scope_deadline(&scope), COIL_NEVER);
    stage_passes(3);
    int64_t deadline = coil_now() + COIL_MS(1);
    CHECK_INT(coil_cancel_scope_set_deadline(&scope, deadline), 0);
    CHECK_INT(coil_cancel_scope_deadline(&scope), deadline);
    while (!then.started)
        coil_loop_pass(stage_loop, COIL_NEVER);
    CHECK(coil_now() >= deadline);
    CHECK_TRACE("block:c-125 block:c-125 block:over ended -110 -1");
    CHECK(coil_cancel_scope_expired(&scope));
    CHECK(!coil_cancel_scope_cancelled(&scope));
    CHECK_INT(coil_cancel_scope_set_deadline(&scope, COIL_NEVER), -EALREADY);
    end_around(t, 0);
    stage_trace[0] = '\0';
}

TEST(cancel_scope_has_a_deadline_before_it_is_entered)
{
    struct coil_task *t = begin_around("a", "");
    CHECK_INT(coil_cancel_scope_set_deadline(&scope, coil_now() - 5), 0);
    stage_passes(4);
    CHECK_TRACE("block:over ended -110 -1");
    end_around(t, 0);
    stage_trace[0] = '\0';
}

// A deadline in the past strikes in the next pass, unless it is moved before.
TEST(cancel_scope_deadline_moves_both_ways_and_away)
{
    struct coil_task *t = begin_around("a", "");
    stage_passes(3);
    CHECK_INT(coil_cancel_scope_set_deadline(&scope, coil_now() - 1), 0);
    CHECK_INT(coil_cancel_scope_set_deadline(&scope,
                                             coil_now() + COIL_SECONDS(60)),
              0);
    stage_passes(3);
    CHECK_INT(hand.cancels, 0);
    CHECK_INT(stage_timers(), 1);
    CHECK_INT(coil_cancel_scope_set_deadline(&scope, COIL_NEVER), 0);
    CHECK_INT(coil_cancel_scope_deadline(&scope), COIL_NEVER);
    CHECK_INT(stage_timers(), 0);
    CHECK_INT(coil_cancel_scope_set_deadline(&scope, 1), 0);
    stage_passes(3);
    CHECK_TRACE("block:over ended -110 -1");
    end_around(t, 0);
    stage_trace[0] = '\0';
}

TEST(cancel_scope_disarms_its_deadline_with_its_block)
{
    struct coil_task *t = begin_around("r", "");
    coil_cancel_scope_set_deadline(&scope, coil_now() + COIL_SECONDS(60));
    stage_passes(4);
    CHECK_INT(stage_timers(), 0);
    CHECK_TRACE("block:over ended 0 7");
    end_around(t, 0);
    stage_trace[0] = '\0';
}

// Cancelled while its deadline is about to strike: it is the first that counts.
TEST(cancel_scope_that_is_cancelled_is_not_late_as_well)
{
    struct coil_task *t = begin_around("a", "");
    stage_passes(3);
    coil_cancel_scope_set_deadline(&scope, 1);
    coil_cancel_scope_cancel(&scope);
    stage_passes(4);
    CHECK_TRACE("block:over ended -125 -1");
    CHECK(!coil_cancel_scope_expired(&scope));
    end_around(t, 0);
    stage_trace[0] = '\0';
}

// No memory for the timer: the deadline that is due already stays.
TEST(cancel_scope_deadline_stays_if_it_cannot_be_moved)
{
    for (int due = 0; due < 2; due++) {
        struct coil_task *t = begin_around("a", "");
        stage_passes(3);
        if (due)
            CHECK_INT(coil_cancel_scope_set_deadline(&scope, 1), 0);
        int64_t before = coil_cancel_scope_deadline(&scope);
        test_fail_allocations_from(1);
        while (coil_alloc(64)) /* what the loop has in store */
            continue;
        CHECK_INT(coil_cancel_scope_set_deadline(&scope,
                                                 coil_now() + COIL_SECONDS(60)),
                  -ENOMEM);
        test_fail_allocations_from(0);
        CHECK_INT(coil_cancel_scope_deadline(&scope), before);
        stage_passes(4);
        CHECK_TRACE(due ? "block:over ended -110 -1" : "");
        if (!due)
            hand_set(&hand, 0, 0);
        stage_passes(3);
        end_around(t, 0);
        stage_trace[0] = '\0';
    }
}

// 0 is a time as any other; not that there is none.
TEST(cancel_scope_deadline_of_0_has_passed)
{
    for (int inside = 0; inside < 2; inside++) {
        struct coil_task *t = begin_around("a", "");
        if (inside)
            stage_passes(3);
        CHECK_INT(coil_cancel_scope_set_deadline(&scope, 0), 0);
        CHECK(coil_cancel_scope_deadline(&scope) < coil_now());
        stage_passes(5);
        CHECK(coil_cancel_scope_expired(&scope));
        CHECK_TRACE("block:over ended -110 -1");
        end_around(t, 0);
        stage_trace[0] = '\0';
    }
}

// In FINALLY a request strikes one await, whatever the block was in.
TEST(cancel_scope_that_is_over_strikes_no_second_await_in_finally)
{
    struct coil_task *t = begin_around("a.cc", "");
    stage_passes(3);
    coil_cancel_scope_cancel(&scope);
    stage_passes(3);
    CHECK_INT(hand.started, 2);
    coil_task_cancel(t);
    stage_passes(3);
    CHECK_INT(hand.started, 3);
    CHECK_INT(hand.cancels, 2);
    hand_set(&hand, 0, 0);
    stage_passes(3);
    CHECK_TRACE("block:fc-125 block:fc0 block:over ended -125 -1");
    end_around(t, 0);
    stage_trace[0] = '\0';
}

TEST(cancel_scope_that_is_late_or_over_has_no_deadline_to_move)
{
    struct coil_task *t = begin_around("ca", "");
    stage_passes(3);
    hand.on_cancel = HAND_LINGERS;
    coil_cancel_scope_set_deadline(&scope, 1);
    stage_passes(2);
    CHECK(coil_cancel_scope_expired(&scope));
    CHECK_INT(coil_cancel_scope_set_deadline(&scope, COIL_NEVER), -EALREADY);
    CHECK(!coil_cancel_scope_cancel(&scope));
    hand_set(&hand, 0, 0);
    stage_passes(4);
    end_around(t, 0);
    stage_trace[0] = '\0';

    t = begin_around("r", "");
    stage_passes(4);
    CHECK_INT(coil_cancel_scope_set_deadline(&scope, COIL_NEVER), -EALREADY);
    end_around(t, 0);
    stage_trace[0] = '\0';
}

// Catches a request, and awaits once more.
struct catches {
    struct coil_coro coro;
    struct hand *hand;
    struct coil_cancel_scope *scope, own; /* `own`: if none is given */
    int64_t within;
    int err;
};

static void catches(struct coil_coro *co)
{
    ASYNC(catches, my) {
        CANCEL_SCOPE(my->scope ? my->scope : &my->own)
            WITHIN(my->within ? my->within : COIL_NEVER) {
            TRY_ALL(my->err)
                AWAIT(hand_op(my->hand));
            CHECK_INT(my->err, -ECANCELED);
            AWAIT(hand_op(my->hand));
        }
    }
}

struct has_catching_child {
    struct coil_coro coro;
    struct coil_group *group;
    struct hand *hand;
};

static void has_catching_child(struct coil_coro *co)
{
    ASYNC(has_catching_child, my) {
        GROUP(my->group) {
            START(catches, .hand = my->hand);
            AWAIT(coil_sleep(COIL_SECONDS(60)));
        }
    }
}

// A scope somewhere else that was cancelled: no concern of who is in another
// one, of a deadline, or of a group.
TEST(cancel_scope_strikes_again_only_in_its_own_block)
{
    for (int what = 0; what < 3; what++) {
        struct coil_cancel_scope other = { 0 };
        struct coil_group group = { 0 };
        struct hand op = { 0 };
        struct coil_task *t = begin_around("a", "");
        hand.on_cancel = HAND_LINGERS;
        stage_passes(3);
        coil_cancel_scope_cancel(&scope);
        struct coil_task *second =
            what == 2 ? coil_spawn(CALL(has_catching_child, .hand = &op,
                                        .group = &group))
                      : coil_spawn(CALL(catches, .hand = &op,
                                        .scope = what == 0 ? &other : NULL,
                                        .within = what == 1 ? -1 : 0));
        stage_passes(4);
        if (what == 0)
            coil_task_cancel(second);
        if (what == 2) { /* the block is over when the child catches it */
            op.on_cancel = HAND_LINGERS;
            coil_group_cancel(&group);
            stage_passes(3);
            hand_set(&op, -ECANCELED, 0);
        }
        stage_passes(4);
        CHECK_INT(op.started, 2);
        CHECK_INT(op.cancels, 1);
        hand_set(&op, 0, 0);
        CHECK_INT(stage_run(second), 0);
        hand_set(&hand, -ECANCELED, 0);
        stage_passes(4);
        end_around(t, 0);
        stage_trace[0] = '\0';
    }
}

struct group_then_scope {
    struct coil_coro coro;
    struct coil_group *group;
    struct hand *hand;
    int err;
};

static void group_then_scope(struct coil_coro *co)
{
    ASYNC(group_then_scope, my) {
        GROUP(my->group) {
            TRY_ALL(my->err)
                AWAIT(hand_op(my->hand));
            CANCEL_SCOPE(&scope)
                AWAIT(hand_op(my->hand));
        }
    }
}

struct calls_group_then_scope {
    struct coil_coro coro;
    struct coil_group group;
    struct hand *hand;
    int err;
};

static void calls_group_then_scope(struct coil_coro *co)
{
    ASYNC(calls_group_then_scope, my) {
        TRY_AWAIT(my->err, CALL(group_then_scope, .group = &my->group,
                                .hand = my->hand));
        trace("not reached");
    }
}

struct both {
    struct coil_coro coro;
    struct coil_group *group;
    bool scope_first;
};

static void both(struct coil_coro *co)
{
    ASYNC(both, my) {
        if (my->scope_first) {
            CANCEL_SCOPE(&scope) GROUP(my->group)
                AWAIT(hand_op(&hand));
        } else {
            GROUP(my->group) CANCEL_SCOPE(&scope)
                AWAIT(hand_op(&hand));
        }
    }
}

// Both are cancelled at once: the outer one decides what it ends with.
TEST(cancel_scope_and_a_group_end_as_the_outer_one_of_them)
{
    for (int scope_first = 0; scope_first < 2; scope_first++) {
        struct coil_group group = { 0 };
        hand = (struct hand){ 0 };
        scope = (struct coil_cancel_scope){ 0 };
        stage_open();
        struct coil_task *t = coil_spawn(CALL(both, .group = &group,
                                              .scope_first = scope_first));
        stage_passes(2);
        coil_group_cancel(&group);
        coil_cancel_scope_cancel(&scope);
        CHECK_INT(stage_run(t), scope_first ? -ECANCELED : 0);
        CHECK_INT(coil_task_cancelling(t), 0);
        stage_close();
    }
}

// A request came between the two: the outer one has not met it when it began,
// so it leaves the cancellation alone, as one block in another would.
TEST(cancel_scope_in_a_group_leaves_to_it_a_request_that_came_between)
{
    hand = (struct hand){ 0 };
    scope = (struct coil_cancel_scope){ 0 };
    stage_open();
    struct coil_task *t = coil_spawn(CALL(calls_group_then_scope,
                                          .hand = &hand));
    stage_passes(3);
    coil_task_cancel(t);
    stage_passes(2);
    struct calls_group_then_scope *frame = coil_task_frame(t);
    coil_group_cancel(&frame->group);
    coil_cancel_scope_cancel(&scope);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("");
    CHECK_INT(coil_task_cancelling(t), 1);
    stage_close();
}

struct two_scopes {
    struct coil_coro coro;
    struct coil_cancel_scope *outer, *inner;
    struct hand *hand;
    bool calls;
    int err;
};

struct inner_scope {
    struct coil_coro coro;
    struct coil_cancel_scope *scope;
    struct hand *hand;
};

static void inner_scope(struct coil_coro *co)
{
    ASYNC(inner_scope, my) {
        CANCEL_SCOPE(my->scope)
            AWAIT(hand_op(my->hand));
    }
}

static void two_scopes(struct coil_coro *co)
{
    ASYNC(two_scopes, my) {
        CANCEL_SCOPE(my->outer) {
            TRY(my->err) {
                if (my->calls)
                    AWAIT(CALL(inner_scope, .scope = my->inner,
                               .hand = my->hand));
                else
                    CANCEL_SCOPE(my->inner)
                        AWAIT(hand_op(my->hand));
            }
            trace("inner %d", my->err);
            TRY_AWAIT(my->err, hand_op(my->hand));
            trace("again %d", my->err);
        }
    }
}

// The inner one ends its own block only; the outer one goes through it. The
// inner one may be in a callee, or in the same coroutine.
TEST(cancel_scope_in_another_one)
{
    for (int i = 0; i < 6; i++) {
        int which = i % 3;
        struct coil_cancel_scope outer = { 0 }, inner = { 0 };
        struct hand op = { 0 };
        stage_open();
        struct coil_task *t = coil_spawn(CALL(two_scopes, .outer = &outer,
                                              .inner = &inner, .hand = &op,
                                              .calls = i < 3));
        stage_passes(3);
        if (which != 1)
            coil_cancel_scope_cancel(&inner);
        if (which != 0)
            coil_cancel_scope_cancel(&outer);
        stage_passes(3);
        if (which == 0) {
            CHECK_TRACE("inner -125");
            hand_set(&op, 0, 0);
            CHECK_INT(stage_run(t), 0);
            CHECK_TRACE("again 0");
        } else {
            CHECK_INT(stage_run(t), -ECANCELED);
            CHECK_TRACE("");
            CHECK_INT(op.started, 1);
        }
        stage_close();
    }
}

// Of a task: its error is that of anybody who asks.
TEST(cancel_scope_of_a_whole_task)
{
    stage_open();
    scope = (struct coil_cancel_scope){ 0 };
    hand = (struct hand){ 0 };
    struct coil_task *t = coil_spawn(CALL(script, .name = "task", .steps = "c",
                                          .scope = &scope, .hand = &hand));
    stage_passes(2);
    coil_cancel_scope_cancel(&scope);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("task:c-125 task:over");
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
}

static void cancels_scope(void *arg)
{
    coil_cancel_scope_cancel(arg);
}

// In the step in which it was granted something: the value, then the request.
TEST(cancel_scope_cancelled_at_every_moment_of_a_grant)
{
    for (int order = 0; order < 2; order++) {
        struct coil_handle call = { 0 };
        struct coil_task *t = begin_around("aa", "");
        stage_passes(3);
        if (order == 0)
            hand_set(&hand, 0, 4);
        coil_call_soon(&call, cancels_scope, &scope);
        if (order == 1)
            hand_set(&hand, 0, 4);
        stage_passes(4);
        CHECK_TRACE("block:a4 block:over ended -125 -1");
        CHECK_INT(hand.started, 1 + (order == 0 && hand.cancels));
        end_around(t, 0);
        stage_trace[0] = '\0';
    }
}

// Is late, gets its value all the same, and takes back a request of before.
struct takes_back {
    struct coil_coro coro;
    struct hand *hand;
    int64_t value;
};

static void takes_back(struct coil_coro *co)
{
    ASYNC(takes_back, my) {
        CANCEL_SCOPE(&scope) {
            AWAIT_TO(my->value, hand_op(my->hand));
            CHECK_INT(coil_task_uncancel(coil_task_current()), 1);
            trace("value %d", (int)my->value);
            AWAIT(hand_op(my->hand));
            trace("not reached");
        }
    }
}

struct was_cancelled {
    struct coil_coro coro;
    struct hand *hand;
    int err;
};

static void was_cancelled(struct coil_coro *co)
{
    ASYNC(was_cancelled, my) {
        TRY_ALL(my->err)
            AWAIT(hand_op(my->hand));
        trace("caught %d", my->err);
        TRY_AWAIT(my->err, CALL(takes_back, .hand = my->hand));
        trace("ended %d", my->err);
    }
}

// What is taken back was asked of the task, not of a scope further down.
TEST(cancel_scope_below_is_not_taken_back_with_an_older_request)
{
    scope = (struct coil_cancel_scope){ 0 };
    hand = (struct hand){ 0 };
    stage_open();
    struct coil_task *t = coil_spawn(CALL(was_cancelled, .hand = &hand));
    stage_passes(2);
    coil_task_cancel(t);
    coil_task_cancel(t);
    stage_passes(2);
    CHECK_TRACE("caught -125");
    hand.on_cancel = HAND_SUCCEEDS;
    hand.value = 3;
    coil_cancel_scope_cancel(&scope);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("value 3 ended -125");
    CHECK_INT(coil_task_cancelling(t), 1);
    stage_close();
}

struct enters_late {
    struct coil_coro coro;
    struct hand *hand;
    struct coil_group group;
    bool in_group;
};

static void enters_late(struct coil_coro *co)
{
    ASYNC(enters_late, my) {
        AWAIT(hand_op(my->hand));
        trace("value");
        if (my->in_group) {
            coil_group_cancel(&my->group);
            GROUP(&my->group)
                AWAIT(coil_sleep(0));
        } else {
            coil_cancel_scope_cancel(&scope);
            CANCEL_SCOPE(&scope)
                AWAIT(coil_sleep(0));
        }
        trace("not reached");
    }
}

struct calls_enters_late {
    struct coil_coro coro;
    struct hand *hand;
    bool in_group;
    int err;
};

static void calls_enters_late(struct coil_coro *co)
{
    ASYNC(calls_enters_late, my) {
        TRY_AWAIT(my->err, CALL(enters_late, .hand = my->hand,
                                .in_group = my->in_group));
        trace("not reached");
    }
}

// A request that is still to strike is no old one: both strike at once, and
// the scope takes back only its own. asyncio's timeout() swallows both.
TEST(cancel_scope_entered_before_a_request_strikes_leaves_that_alone)
{
    for (int in_group = 0; in_group < 2; in_group++) {
        hand = (struct hand){ .on_cancel = HAND_SUCCEEDS };
        scope = (struct coil_cancel_scope){ 0 };
        stage_open();
        struct coil_task *t = coil_spawn(CALL(calls_enters_late, .hand = &hand,
                                              .in_group = in_group));
        stage_passes(2);
        coil_task_cancel(t);
        CHECK_INT(stage_run(t), -ECANCELED);
        CHECK_TRACE("value");
        CHECK_INT(coil_task_cancelling(t), 1);
        stage_close();
    }
}

/* ---- With groups in it ------------------------------------------------ */

// It strikes the wait at the brace; the task is asked once, and its FINALLY is
// not cut short.
TEST(cancel_scope_cancelled_while_a_group_of_it_ends)
{
    for (int late = 0; late < 2; late++) {
        struct coil_task *t = begin_around("gr", "a.c");
        stage_passes(4);
        CHECK_INT(hand.started, 1);
        if (late)
            coil_cancel_scope_set_deadline(&scope, 0);
        else
            coil_cancel_scope_cancel(&scope);
        stage_passes(4);
        CHECK_INT(hand.started, 2); /* the FINALLY of the task waits */
        CHECK_INT(hand.cancels, 1);
        CHECK_TRACE("");
        hand_set(&hand, 0, 0);
        stage_passes(4);
        CHECK_TRACE(late ? "child:fc0 child:over block:over ended -110 -1"
                         : "child:fc0 child:over block:over ended -125 -1");
        end_around(t, 0);
        CHECK_TRACE("went on");
    }
}

// Gives a value in a group, which then waits for a task that cleans up.
struct gives_value {
    struct coil_coro coro;
    struct coil_group group;
    int err;
};

static void gives_value(struct coil_coro *co)
{
    ASYNC(gives_value, my) {
        TRY(my->err) CANCEL_SCOPE(&scope) GROUP(&my->group) {
            START(script, .name = "child", .steps = "a.c", .hand = &hand);
            RETURN(7);
        }
        trace("%d", my->err);
        AWAIT(coil_sleep(0));
        RETURN(8);
    }
}

// A request while the brace waits takes the place of the value: the scope makes
// an error of it, and a TRY takes that. The group was cancelled before, so the
// task is asked again.
TEST(cancel_scope_cancelled_while_a_cancelled_group_of_it_ends)
{
    for (int twice = 0; twice < 2; twice++) {
        scope = (struct coil_cancel_scope){ 0 };
        hand = (struct hand){ 0 };
        stage_open();
        struct coil_task *t = coil_spawn(CALL(gives_value));
        stage_passes(3);
        struct gives_value *frame = coil_task_frame(t);
        coil_group_cancel(&frame->group);
        stage_passes(2);
        CHECK_INT(hand.started, 2);
        if (twice)
            coil_cancel_scope_cancel(&scope);
        stage_passes(3);
        CHECK_INT(hand.cancels, 1 + twice);
        if (!twice)
            hand_set(&hand, 0, 0);
        CHECK_INT(stage_run(t), 0);
        CHECK_INT(coil_future_int(coil_task_future(t)), twice ? 8 : 7);
        CHECK_TRACE(twice ? "child:fc-125 child:over -125"
                          : "child:fc0 child:over");
        CHECK_INT(coil_task_cancelling(t), 0);
        stage_close();
    }
}

struct levels {
    struct coil_coro coro;
    struct coil_group around, in;
    struct hand *outside, *inside;
    int err;
};

static void levels(struct coil_coro *co)
{
    ASYNC(levels, my) {
        GROUP(&my->around) {
            TRY(my->err) CANCEL_SCOPE(&scope) {
                START(script, .name = "outside", .steps = "c",
                      .hand = my->outside);
                GROUP(&my->in)
                    START(script, .name = "inside", .steps = "cc",
                          .hand = my->inside);
                trace("not reached");
            }
            trace("%d", my->err);
            TRY_ALL(my->err)
                AWAIT(hand_op(&hand));
            trace("%d", my->err);
        }
    }
}

// A task is in the scopes that stand around its GROUP, however it got there:
// one of a group that stands around the scope is not in it, although it was
// started in the block. And the scope ends with its block.
TEST(cancel_scope_holds_the_groups_that_stand_in_it)
{
    struct hand outside = { 0 }, inside = { 0 }, guest = { 0 };
    scope = (struct coil_cancel_scope){ 0 };
    hand = (struct hand){ 0 };
    stage_open();
    struct coil_task *t = coil_spawn(CALL(levels, .outside = &outside,
                                          .inside = &inside));
    stage_passes(3);
    struct levels *frame = coil_task_frame(t);
    CHECK_INT(coil_group_start(&frame->in, CALL(script, .name = "guest",
                                                .steps = "cc",
                                                .hand = &guest)),
              0);
    stage_passes(2);
    CHECK_INT(outside.started + inside.started + guest.started, 3);
    coil_cancel_scope_cancel(&scope);
    stage_passes(4);
    CHECK_TRACE("inside:c-125 inside:c-125 inside:over guest:c-125 "
                "guest:c-125 guest:over -125");
    CHECK_INT(hand.started, 1); /* behind the scope awaits wait again */
    CHECK_INT(hand.cancels + outside.cancels, 0);
    hand_set(&hand, 0, 0);
    stage_passes(2);
    hand_set(&outside, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("0 outside:c0 outside:over");
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
}

enum place { OWN, AROUND, IN };

struct beside {
    struct coil_coro coro;
    enum place place;
    struct coil_group group;
    struct coil_task *child;
    struct hand *op;
};

static void beside(struct coil_coro *co)
{
    ASYNC(beside, my) {
        if (my->place == OWN) {
            CANCEL_SCOPE(&scope) {
                my->child = SPAWN(script, .name = "child", .steps = "cc",
                                  .hand = my->op);
                AWAIT(hand_op(&hand));
            }
        } else if (my->place == AROUND) {
            GROUP(&my->group) CANCEL_SCOPE(&scope) {
                my->child = SPAWN(script, .name = "child", .steps = "cc",
                                  .hand = my->op);
                AWAIT(hand_op(&hand));
            }
        } else {
            CANCEL_SCOPE(&scope) GROUP(&my->group) {
                my->child = SPAWN(script, .name = "child", .steps = "cc",
                                  .hand = my->op);
                AWAIT(hand_op(&hand));
            }
        }
    }
}

// A task that catches a request of somebody else, while the block of a scope
// that was cancelled still ends: only one of a GROUP in it meets the scope's.
TEST(cancel_scope_strikes_again_only_the_tasks_of_its_groups)
{
    for (enum place place = OWN; place <= IN; place++) {
        struct hand op = { 0 };
        scope = (struct coil_cancel_scope){ 0 };
        hand = (struct hand){ .on_cancel = HAND_LINGERS };
        stage_open();
        struct coil_task *t = coil_spawn(CALL(beside, .place = place,
                                              .op = &op));
        stage_passes(3);
        struct beside *frame = coil_task_frame(t);
        coil_cancel_scope_cancel(&scope);
        coil_task_cancel(frame->child);
        stage_passes(2);
        CHECK_INT(op.started, place == IN ? 1 : 2);
        if (place != IN)
            hand_set(&op, 0, 0);
        stage_passes(2);
        CHECK_TRACE(place == IN ? "child:c-125 child:c-125 child:over"
                                : "child:c-125 child:c0 child:over");
        hand_set(&hand, -ECANCELED, 0);
        CHECK_INT(stage_run(t), -ECANCELED);
        CHECK_INT(coil_task_cancelling(t), 0);
        stage_close();
    }
}

struct takes_all {
    struct coil_coro coro;
    struct coil_group group;
    int err;
};

static void takes_all(struct coil_coro *co)
{
    ASYNC(takes_all, my) {
        CANCEL_SCOPE(&scope) {
            TRY_ALL(my->err) GROUP(&my->group)
                START(script, .name = "child", .steps = "cc", .hand = &hand);
            trace("%d", my->err);
            TRY_ALL(my->err) GROUP(&my->group)
                START(script, .name = "late", .steps = "cc", .hand = &hand);
            trace("%d", my->err);
            TRY_ALL(my->err)
                AWAIT(coil_sleep(COIL_SECONDS(1000)));
            trace("%d", my->err);
        }
        trace("through");
        AWAIT(coil_sleep(0));
    }
}

// The brace of a group is an await as any other: TRY_ALL meets it there, at the
// next group, whose task never begins, and at the next await.
TEST(cancel_scope_meets_try_all_at_the_brace_of_each_group)
{
    scope = (struct coil_cancel_scope){ 0 };
    hand = (struct hand){ 0 };
    stage_open();
    struct coil_task *t = coil_spawn(CALL(takes_all));
    stage_passes(3);
    coil_cancel_scope_cancel(&scope);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("child:c-125 child:c-125 child:over -125 late:over -125 -125 "
                "through");
    CHECK_INT(hand.started, 1);
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
}

struct rescoped {
    struct coil_coro coro;
    struct coil_cancel_scope scope;
    struct coil_group group;
    int err, i;
};

static void rescoped(struct coil_coro *co)
{
    ASYNC(rescoped, my) {
        for (; my->i < 3; my->i++) {
            my->scope = (struct coil_cancel_scope){ 0 };
            TRY(my->err) CANCEL_SCOPE(&my->scope) GROUP(&my->group) {
                START(script, .name = "t", .steps = "c", .hand = &hand);
                AWAIT(coil_sleep(0));
                if (my->i == 0)
                    coil_cancel_scope_cancel(&my->scope);
                if (my->i == 1)
                    coil_cancel_scope_set_deadline(&my->scope, 1);
                if (my->i == 2)
                    coil_group_cancel(&my->group);
            }
            trace("%d", my->err);
        }
    }
}

// In a loop: zeroed it is as new. A group that is cancelled is no error.
TEST(cancel_scope_is_entered_again_when_it_was_zeroed)
{
    hand = (struct hand){ 0 };
    stage_open();
    struct coil_task *t = coil_spawn(CALL(rescoped));
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("t:c-125 t:over -125 t:c-125 t:over -110 t:c-125 t:over 0");
    CHECK_INT(coil_task_cancelling(t), 0);
    CHECK_INT(stage_timers(), 0);
    stage_close();
}

struct nested_scopes {
    struct coil_coro coro;
    struct coil_cancel_scope inner;
    int err, err2;
};

static void nested_scopes(struct coil_coro *co)
{
    ASYNC(nested_scopes, my) {
        TRY(my->err2) CANCEL_SCOPE(&scope) {
            TRY(my->err) {
                CANCEL_SCOPE(&my->inner) {
                    TRY_ALL(my->err)
                        AWAIT(hand_op(&hand));
                    trace("%d", my->err);
                    AWAIT(hand_op(&hand));
                }
            }
            trace("inner %d", my->err);
            AWAIT(hand_op(&hand));
            trace("went on");
        }
        trace("outer %d", my->err2);
    }
}

// Late or cancelled, one or both: if both strike before the coroutine goes on,
// the outer one wins. Each tells by its own error what it was.
TEST(cancel_scope_in_another_one_of_the_same_coroutine)
{
    static const struct {
        int inner, outer; /* -125: cancelled, -110: late */
        const char *ends;
    } cases[] = {
        { -125, 0, "-125 inner -125 went on outer 0" },
        { -110, 0, "-125 inner -110 went on outer 0" },
        { 0, -125, "-125 outer -125" },
        { 0, -110, "-125 outer -110" },
        { -125, -125, "-125 outer -125" },
        { -125, -110, "-125 inner -125 outer -110" }, /* a step later */
        { -110, -125, "-125 outer -125" },
        { -110, -110, "-125 outer -110" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scope = (struct coil_cancel_scope){ 0 };
        hand = (struct hand){ 0 };
        stage_open();
        struct coil_task *t = coil_spawn(CALL(nested_scopes));
        stage_passes(2);
        struct nested_scopes *frame = coil_task_frame(t);
        if (cases[i].inner == -110)
            coil_cancel_scope_set_deadline(&frame->inner, 1);
        else if (cases[i].inner)
            coil_cancel_scope_cancel(&frame->inner);
        if (cases[i].outer == -110)
            coil_cancel_scope_set_deadline(&scope, 1);
        else if (cases[i].outer)
            coil_cancel_scope_cancel(&scope);
        stage_passes(3);
        if (hand.flying)
            hand_set(&hand, 0, 0);
        CHECK_INT(stage_run(t), 0);
        CHECK_TRACE(cases[i].ends);
        CHECK_INT(coil_task_cancelling(t), 0);
        stage_close();
    }
}

/* ---- Misuse, memory --------------------------------------------------- */

struct in_finally {
    struct coil_coro coro;
    struct coil_cancel_scope scope;
    bool twice;
};

static void in_finally(struct coil_coro *co)
{
    ASYNC(in_finally, my) {
        if (my->twice) {
            CANCEL_SCOPE(&my->scope) {
                CANCEL_SCOPE(&my->scope)
                    trace("not reached");
            }
        }

    FINALLY;
        CANCEL_SCOPE(&my->scope)
            trace("not reached");
    }
}

DEATH_TEST(cancel_scope_in_finally_aborts, "CANCEL_SCOPE in FINALLY")
{
    RUN(in_finally);
}

DEATH_TEST(cancel_scope_entered_twice_aborts,
           "a cancel scope is entered twice")
{
    RUN(in_finally, .twice = true);
}

DEATH_TEST(cancel_scope_entered_after_its_end_aborts,
           "a cancel scope is entered twice")
{
    stage_open();
    for (int i = 0; i < 2; i++)
        stage_run(coil_spawn(CALL(script, .name = "t", .steps = "r",
                                  .scope = &scope)));
}

static int scope_allocations(void)
{
    struct coil_loop *loop;
    int err = coil_loop_new(&loop, stage_options());
    if (err < 0)
        return err;
    struct coil_cancel_scope late = { 0 };
    struct hand op = { 0 };
    coil_cancel_scope_set_deadline(&late, coil_now() + COIL_SECONDS(9));
    struct coil_task *t = coil_spawn(CALL(script, .name = "t", .steps = "c",
                                          .scope = &late, .hand = &op));
    for (int i = 0; i < 3; i++)
        coil_loop_pass(loop, 0);
    coil_cancel_scope_cancel(&late);
    err = coil_loop_run_until_complete(loop, t);
    if (err == 0)
        err = coil_future_error(coil_task_future(t));
    coil_loop_close(loop);
    stage_trace[0] = '\0';
    return err;
}

TEST(cancel_scope_every_allocation)
{
    test_every_allocation(scope_allocations);
}
