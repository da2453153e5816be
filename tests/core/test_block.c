// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_block.c: words that cover a part of a coroutine's body. Each way to
 * leave each kind of block, with an error, a value or a cancellation, which the
 * block itself or other code has requested.
 */
#include "stage.h"

#include <coil/block.h>
#include <coil/cancel_scope.h>
#include <coil/condition.h>
#include <coil/event.h>
#include <coil/group.h>
#include <coil/limiter.h>
#include <coil/lock.h>
#include <coil/semaphore.h>

#include <stdlib.h>

/* ---- Actors ----------------------------------------------------------- */

/* Ends after `passes`, with a value or an error; traces an error. */
struct step {
    struct coil_coro coro;
    const char *name;
    int passes, err;
    long value;
};

static void step(struct coil_coro *co)
{
    ASYNC(step, my) {
        while (my->passes-- > 0)
            AWAIT(coil_sleep(0));
        if (my->err)
            FAIL(my->err);
        RETURN(my->value);

    FINALLY;
        if (my->name && coil_body_error(co))
            trace("%s:%d", my->name, coil_body_error(co));
    }
}

/* Waits for ever; its FINALLY takes `passes`. */
struct slow_end {
    struct coil_coro coro;
    const char *name;
    int passes;
};

static void slow_end(struct coil_coro *co)
{
    ASYNC(slow_end, my) {
        AWAIT(coil_sleep(COIL_SECONDS(1000)));

    FINALLY;
        while (my->passes-- > 0)
            AWAIT(coil_sleep(0));
        trace("%s:over", my->name);
    }
}

static struct coil_future *for_ever(void)
{
    return coil_sleep(COIL_SECONDS(1000));
}

/*
 * The task ends with `err` and a count of `requests`, and leaves no task and no
 * timer behind.
 */
static void check_end(struct coil_task *t, int err, unsigned requests)
{
    CHECK_INT(stage_run(t), err);
    CHECK_INT(coil_task_cancelling(t), requests);
    CHECK_INT(stage_tasks(), 0);
    CHECK_INT(stage_timers(), 0);
}

/* ---- TRY -------------------------------------------------------------- */

struct tries {
    struct coil_coro coro;
    int err, fail;
    long value;
    void *p;
};

static void tries(struct coil_coro *co)
{
    ASYNC(tries, my) {
        TRY(my->err) {
            AWAIT_TO(my->value, CALL(step, .passes = 2, .value = 7));
            trace("%ld", my->value);
            AWAIT(CALL(step, .passes = 1, .err = my->fail));
            trace("through");
        }
        trace("%d", my->err);
        TRY(my->err) {
            if (my->fail)
                FAIL_WITH(-EDOM, 42);
        }
        trace("%d/%u", my->err, my->err ? coil_last_detail() : 0);
        TRY(my->err) AWAIT_TO(my->value, CALL(step, .value = 8));
        int local;
        TRY(local)
            AWAIT(CALL(step, .err = -ERANGE));
        trace("%d", local);
        TRY(my->err) {
            TRY(local)
                AWAIT(CALL(step, .err = -EIO, .passes = 1));
            FAIL(local);
        }
        RETURN(my->err == -EIO ? my->value : 0);
    }
}

TEST(block_try_takes_errors)
{
    long value = 0;
    CHECK_INT(RUN_TO(value, tries, .fail = -EBUSY), 0);
    CHECK_INT(value, 8);
    CHECK_TRACE("7 -16 -33/42 -34");
    CHECK_INT(RUN_TO(value, tries), 0);
    CHECK_TRACE("7 through 0 0/0 -34");
}

/* ---- All ways out ----------------------------------------------------- */

enum way { THROUGH, LEAVES, CONTINUES, FAILS, AWAIT_FAILS, RETURNS,
           RETURNS_AWAITED, IS_CANCELLED, WAYS };

struct nest {
    struct coil_coro coro;
    enum way way;
    int err, i;
    struct coil_lock lock;
    struct coil_semaphore sem;
    struct coil_group group;
    struct coil_task *child;
};

static void nest(struct coil_coro *co)
{
    ASYNC(nest, my) {
        coil_lock_init(&my->lock);
        coil_semaphore_init(&my->sem, 1);
        for (my->i = 0; my->i < 2; my->i++) {
            my->err = 77;
            TRY(my->err) WITHIN(COIL_SECONDS(100)) GROUP(&my->group) {
                my->child = SPAWN(step, .passes = 3);
                WITH(&my->sem)
                    WITH(&my->lock) {
                        AWAIT(coil_sleep(0));
                        while (my->way == LEAVES)
                            LEAVE;
                        if (my->way == CONTINUES)
                            continue;
                        if (my->way == RETURNS)
                            RETURN(coil_lock_locked(&my->lock) ? 9 : 8);
                        if (my->way == RETURNS_AWAITED)
                            RETURN_AWAIT(CALL(step, .passes = 1, .value = 9));
                        if (my->way == FAILS)
                            FAIL(-EIO);
                        if (my->way == AWAIT_FAILS)
                            AWAIT(CALL(step, .err = -EIO));
                        if (my->way == IS_CANCELLED)
                            AWAIT(for_ever());
                        trace("body");
                    }
                trace(coil_lock_locked(&my->lock) ? "LOCKED" : "behind");
            }
            CHECK(coil_task_done(my->child));
            trace("%d", my->err);
        }
        trace("end");

    FINALLY;
        CHECK(coil_task_done(my->child));
        CHECK(!coil_lock_locked(&my->lock));
        CHECK(!coil_semaphore_locked(&my->sem));
        trace("%d/%d", coil_body_error(co), my->err);
    }
}

// Behind a block the lock is free, the child is over and the timer is gone,
// however the block was left.
TEST(block_is_left_in_every_way)
{
    static const char *const expected[WAYS] = {
        [THROUGH] = "body behind 0 body behind 0 end 0/0",
        [LEAVES] = "behind 0 behind 0 end 0/0",
        [CONTINUES] = "behind 0 behind 0 end 0/0",
        [FAILS] = "-5 -5 end 0/-5",
        [AWAIT_FAILS] = "-5 -5 end 0/-5",
        [RETURNS] = "0/77",
        [RETURNS_AWAITED] = "0/77",
        [IS_CANCELLED] = "-125/77",
    };
    for (enum way way = 0; way < WAYS; way++) {
        stage_open();
        struct coil_task *t = coil_spawn(CALL(nest, .way = way));
        stage_passes(2);
        if (way == IS_CANCELLED)
            coil_task_cancel(t);
        check_end(t, way == IS_CANCELLED ? -ECANCELED : 0,
                  way == IS_CANCELLED);
        if (way == RETURNS || way == RETURNS_AWAITED)
            CHECK_INT(coil_future_int(coil_task_future(t)), 9);
        CHECK_TRACE(expected[way]);
        stage_close();
    }
}

struct continues {
    struct coil_coro coro;
    struct coil_lock lock;
    int i, behind;
};

static void continues(struct coil_coro *co)
{
    ASYNC(continues, my) {
        coil_lock_init(&my->lock);
        for (; my->i < 3; my->i++) {
            WITH(&my->lock) {
                if (my->i == 1)
                    continue;
                AWAIT(coil_sleep(0));
                trace("%d", my->i);
            }
            my->behind++; /* in each round: `continue` left the block only */
        }
        RETURN(my->behind);
    }
}

// The one trap that cannot abort: a `continue` looks like the end of the block.
TEST(block_left_by_continue_goes_on_behind_its_brace)
{
    int behind = 0;
    CHECK_INT(RUN_TO(behind, continues), 0);
    CHECK_INT(behind, 3);
    CHECK_TRACE("0 2");
}

struct inner_loops {
    struct coil_coro coro;
    int i, j, err;
};

static void inner_loops(struct coil_coro *co)
{
    ASYNC(inner_loops, my) {
        TRY(my->err) {
            for (my->i = 0; my->i < 9; my->i++) {
                if (my->i == 1)
                    continue;
                if (my->i == 3)
                    break;
                AWAIT(coil_sleep(0));
                trace("%d", my->i);
            }
            switch (my->i) {
            case 3:
                trace("three");
                break;
            default:
                trace("NOT-THREE");
            }
            for (;;)
                for (;;)
                    LEAVE;
        }
        do
            WITHIN(COIL_SECONDS(9)) {
                AWAIT(coil_sleep(0));
            }
        while (++my->j < 2);
        RETURN(my->j);
    }
}

// In a loop inside a block `break` and `continue` belong to that loop.
TEST(block_leaves_loops_inside_of_it_alone)
{
    int rounds = 0;
    CHECK_INT(RUN_TO(rounds, inner_loops), 0);
    CHECK_INT(rounds, 2);
    CHECK_TRACE("0 2 three");
}

struct unbraced {
    struct coil_coro coro;
    struct coil_lock lock;
    struct coil_group group;
    int err, n, evaluated;
};

static int64_t evaluate(int *n)
{
    ++*n;
    return COIL_SECONDS(100);
}

static void unbraced(struct coil_coro *co)
{
    ASYNC(unbraced, my) {
        coil_lock_init(&my->lock);
        TRY(my->err) AWAIT(CALL(step, .err = -EDOM));
        trace("%d", my->err);
        TRY(my->err) WITHIN(COIL_MS(99)) WITH(&my->lock) AWAIT(coil_sleep(0));
        trace("%d", my->err);
        if (my->err) {
            TRY(my->err) AWAIT(coil_sleep(0));
        } else {
            WITH(&my->lock) my->n++;
        }
        for (; my->n < 5; my->n++)
            WITHIN(evaluate(&my->evaluated)) WITH(&my->lock)
                AWAIT(CALL(step, .passes = 2));
        trace("%d %d", my->n, my->evaluated); /* evaluated once a round */
        TRY_ALL(my->err) TRY(my->n) GROUP(&my->group) WITH(&my->lock) {
            START(step, .passes = 1, .err = -EIO);
            AWAIT(for_ever());
        }
        trace("%d %d", my->err, my->n);
    }
}

// Words of different names share a line, and a statement needs no braces.
TEST(block_words_share_a_line_and_need_no_braces)
{
    CHECK_INT(RUN(unbraced), 0);
    CHECK_TRACE("-33 0 5 4 0 -5");
}

struct finally_inside {
    struct coil_coro coro;
    struct coil_lock lock;
    int err, how;
};

static void finally_inside(struct coil_coro *co)
{
    ASYNC(finally_inside, my) {
        coil_lock_init(&my->lock);
        my->err = 77;
        TRY(my->err) WITH(&my->lock) {
            AWAIT(coil_sleep(0));
            if (my->how == 1)
                FAIL(-EIO);
            if (my->how == 2)
                RETURN(2);

        FINALLY;
            AWAIT(coil_sleep(0));
            trace("finally:%d", coil_lock_locked(&my->lock));
        }
        trace("behind:%d", my->err);
    }
}

// It runs once, when the body is over; what stands behind the brace is body.
TEST(block_with_a_finally_inside_runs_it_when_the_body_is_over)
{
    static const char *const expected[] = {
        "behind:0 finally:0", "behind:-5 finally:0", "finally:0"
    };
    for (int how = 0; how < 3; how++) {
        CHECK_INT(RUN(finally_inside, .how = how), 0);
        CHECK_TRACE(expected[how]);
    }
}

/* ---- Deadlines -------------------------------------------------------- */

struct late {
    struct coil_coro coro;
    int64_t inner, outer;
    struct hand *op;
    int err, err2;
};

static void late(struct coil_coro *co)
{
    ASYNC(late, my) {
        TRY(my->err2) {
            WITHIN(my->outer) {
                my->err = 1;
                TRY(my->err) {
                    WITHIN(my->inner) {
                        AWAIT(hand_op(my->op));
                    }
                    trace("in-time");
                }
                trace("%d", my->err);
                AWAIT(coil_sleep(0));
            }
        }
        trace("%d", my->err2);
        AWAIT(coil_sleep(COIL_MS(5)));
    }
}

static int run_late(int64_t inner, int64_t outer, struct hand *op)
{
    return stage_run(coil_spawn(
        CALL(late, .inner = inner, .outer = outer, .op = op)));
}

TEST(block_within_covers_its_block_only)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_ENDS };
    CHECK_INT(run_late(COIL_MS(1), COIL_MS(1000), &op), 0);
    CHECK_TRACE("-110 0");
    op = (struct hand){ .on_cancel = HAND_ENDS };
    CHECK_INT(run_late(COIL_MS(1000), COIL_MS(1), &op), 0);
    CHECK_TRACE("-110");
    op = (struct hand){ .on_cancel = HAND_ENDS };
    CHECK_INT(run_late(0, 0, &op), 0);
    CHECK_TRACE("-110"); /* both are late: the outer block ends */
    op = (struct hand){ .on_cancel = HAND_SUCCEEDS, .value = 8 };
    CHECK_INT(run_late(COIL_MS(1), COIL_MS(1000), &op), 0);
    CHECK_TRACE("in-time 0 0"); /* success beats the deadline */
    CHECK_INT(stage_timers(), 0);
    stage_close();
}

/* ---- Cancelled from outside ------------------------------------------- */

struct victim {
    struct coil_coro coro;
    int how, err;
    struct coil_lock *lock;
};

static void victim(struct coil_coro *co)
{
    ASYNC(victim, my) {
        my->err = 77;
        if (my->how == 0) {
            TRY(my->err)
                AWAIT(coil_sleep(COIL_SECONDS(1000)));
            trace("CAUGHT");
        } else if (my->how == 1) {
            TRY_ALL(my->err) {
                WITHIN(COIL_SECONDS(10)) {
                    AWAIT(coil_sleep(COIL_SECONDS(1000)));
                }
            }
            trace("%d", my->err);
            AWAIT(coil_sleep(0));
            RETURN(5);
        } else if (my->how == 2) {
            TRY(my->err) WITH(my->lock)
                trace("ENTERED");
            trace("CAUGHT");
        } else if (my->how == 3) {
            TRY(my->err) WITHIN(0)
                AWAIT(coil_sleep(COIL_SECONDS(1000)));
            trace("CAUGHT");
        }

    FINALLY;
        trace("finally:%d", my->err);
    }
}

TEST(block_try_does_not_take_the_tasks_own_cancellation)
{
    stage_open();
    struct coil_lock lock;
    coil_lock_init(&lock);
    CHECK_INT(coil_lock_acquire_nowait(&lock), 0);
    for (int how = 0; how < 4; how++) {
        struct coil_task *t = coil_spawn(CALL(victim, .how = how,
                                              .lock = &lock));
        stage_passes(how == 3 ? 1 : 3);
        CHECK(coil_task_cancel(t));
        CHECK_INT(stage_run(t), how == 1 ? 0 : -ECANCELED);
    }
    CHECK_TRACE("finally:77 -125 finally:-125 finally:77 finally:77");
    coil_lock_release(&lock);
    CHECK(!coil_lock_locked(&lock));
    CHECK_INT(stage_timers(), 0);
    stage_close();
}

/* ---- Deadlines and cancellations -------------------------------------- */

struct on_time {
    struct coil_coro coro;
    struct coil_task *other;
    struct hand *then;
    int err;
    long value;
};

static void on_time(struct coil_coro *co)
{
    ASYNC(on_time, my) {
        my->value = -1;
        TRY(my->err) WITHIN(0) {
            AWAIT_TO(my->value, my->other);
        }
        trace("%d %ld", my->err, my->value);
        AWAIT(hand_op(my->then));
        trace("waited");
    }
}

// Success beats the deadline, whose request is taken back with the block.
TEST(block_within_that_struck_in_vain_strikes_nothing_behind_it)
{
    stage_open();
    struct hand then = { 0 };
    struct coil_task *other = coil_spawn(CALL(step, .passes = 1, .value = 4));
    struct coil_task *t = coil_spawn(CALL(on_time, .other = other,
                                          .then = &then));
    stage_passes(4);
    CHECK_TRACE("0 4");
    CHECK_INT(then.started, 1);
    CHECK_INT(then.cancels, 0);
    hand_set(&then, 0, 0);
    check_end(t, 0, 0);
    CHECK_TRACE("waited");
    stage_close();
}

struct guarded {
    struct coil_coro coro;
    struct coil_lock *lock;
    struct hand *op;
    int err;
};

static void guarded(struct coil_coro *co)
{
    ASYNC(guarded, my) {
        my->err = 77;
        TRY(my->err) WITHIN(0) {
            AWAIT(hand_op(my->op));
        }
        trace("CAUGHT");

    FINALLY;
        trace("finally:%d", my->err);
    }
}

// A deadline and a cancellation in one pass, in either order: the task is
// cancelled.
TEST(block_within_and_a_cancel_in_one_pass_is_a_cancel)
{
    for (int order = 0; order < 2; order++) {
        stage_open();
        struct hand op = { .on_cancel = HAND_LINGERS };
        struct coil_task *t = coil_spawn(CALL(guarded, .op = &op));
        stage_passes(1);
        if (order)
            coil_task_cancel(t);
        stage_passes(1);
        if (!order)
            coil_task_cancel(t);
        CHECK_INT(op.cancels, 2);
        hand_set(&op, -ECANCELED, 0);
        check_end(t, -ECANCELED, 1);
        CHECK_TRACE("finally:77");
        stage_close();
    }
}

struct waits_for_lock {
    struct coil_coro coro;
    struct coil_lock *lock;
    int err;
};

static void waits_for_lock(struct coil_coro *co)
{
    ASYNC(waits_for_lock, my) {
        TRY(my->err) WITH(my->lock)
            trace("ENTERED");
        trace("CAUGHT");
    }
}

struct next_holder {
    struct coil_coro coro;
    struct coil_lock *lock;
};

static void next_holder(struct coil_coro *co)
{
    ASYNC(next_holder, my) {
        WITH(my->lock)
            trace("handed on");
    }
}

// The task is cancelled while it waits for the lock, or when the lock was
// granted and the task has not run yet.
TEST(block_with_that_is_cancelled_in_the_line_runs_no_body)
{
    for (int granted = 0; granted < 2; granted++) {
        stage_open();
        struct coil_lock lock;
        coil_lock_init(&lock);
        CHECK_INT(coil_lock_acquire_nowait(&lock), 0);
        struct coil_task *t = coil_spawn(CALL(waits_for_lock, .lock = &lock));
        struct coil_task *next = coil_spawn(CALL(next_holder, .lock = &lock));
        stage_passes(2);
        if (granted)
            coil_lock_release(&lock);
        coil_task_cancel(t);
        CHECK_INT(stage_run(t), -ECANCELED);
        if (!granted) {
            CHECK(coil_lock_locked(&lock));
            coil_lock_release(&lock);
        }
        check_end(next, 0, 0);
        /* The grant beats the request, which meets no await after that. */
        CHECK_TRACE(granted ? "ENTERED CAUGHT handed on" : "handed on");
        CHECK(!coil_lock_locked(&lock));
        stage_close();
    }
}

struct foreign {
    struct coil_coro coro;
    struct coil_task *other;
    struct hand *op;
    int err;
};

static void foreign(struct coil_coro *co)
{
    ASYNC(foreign, my) {
        TRY(my->err)
            AWAIT(my->other);
        trace("%d", my->err);
        AWAIT(coil_sleep(0));
        trace("went on");
    }
}

// -ECANCELED of another task is an error like any other. If this task was
// requested to end as well, the error is its own cancellation.
TEST(block_try_takes_the_cancellation_of_another_task)
{
    for (int requested = 0; requested < 2; requested++) {
        stage_open();
        struct hand op = { .on_cancel = HAND_LINGERS };
        struct coil_task *other = coil_spawn(hand_op(&op));
        struct coil_task *t = coil_spawn(CALL(foreign, .other = other));
        stage_passes(2);
        if (requested)
            coil_task_cancel(t); /* cancels the awaited task, too */
        else
            coil_task_cancel(other);
        hand_set(&op, -ECANCELED, 0);
        check_end(t, requested ? -ECANCELED : 0, (unsigned)requested);
        CHECK_TRACE(requested ? "" : "-125 went on");
        stage_close();
    }
}

struct self_cancel {
    struct coil_coro coro;
    int how, err;
    struct hand *op;
    long value;
};

static void self_cancel(struct coil_coro *co)
{
    ASYNC(self_cancel, my) {
        if (my->how == 0) { /* RETURN's value stands */
            TRY(my->err) {
                coil_task_cancel(coil_task_current());
                RETURN(7);
            }
        } else if (my->how == 1) { /* a body without a value is cancelled */
            TRY(my->err)
                coil_task_cancel(coil_task_current());
            trace("%d", my->err);
        } else if (my->how == 2) { /* the brace awaits nothing */
            WITHIN(COIL_SECONDS(9)) {
                coil_task_cancel(coil_task_current());
                RETURN(7);
            }
        } else if (my->how == 3) { /* a value that came with the request */
            TRY(my->err) WITHIN(COIL_SECONDS(9)) {
                AWAIT_TO(my->value, hand_op(my->op));
                RETURN(my->value);
            }
        }
    }
}

TEST(block_does_not_take_the_value_of_return_back)
{
    for (int how = 0; how < 4; how++) {
        stage_open();
        struct hand op = { .on_cancel = HAND_SUCCEEDS, .value = 7 };
        struct coil_task *t = coil_spawn(CALL(self_cancel, .how = how,
                                              .op = &op));
        stage_passes(2);
        if (how == 3)
            coil_task_cancel(t);
        check_end(t, how == 1 ? -ECANCELED : 0, 1);
        if (how != 1)
            CHECK_INT(coil_future_int(coil_task_future(t)), 7);
        CHECK_TRACE(how == 1 ? "0" : "");
        stage_close();
    }
}

/* ---- A request that meets the FINALLY of a callee ---------------------- */

struct fails_slowly {
    struct coil_coro coro;
    struct hand *first, *second;
    int err;
};

static void fails_slowly(struct coil_coro *co)
{
    ASYNC(fails_slowly, my) {
        FAIL(-EIO);

    FINALLY;
        AWAIT(hand_op(my->first));
        TRY_ALL(my->err)
            AWAIT(hand_op(my->second));
        trace("caught:%d", my->err);
    }
}

struct calls_it {
    struct coil_coro coro;
    struct hand *first, *second;
    int err, err2;
};

static void calls_it(struct coil_coro *co)
{
    ASYNC(calls_it, my) {
        TRY(my->err)
            AWAIT(CALL(fails_slowly, .first = my->first,
                       .second = my->second));
        trace("%d", my->err);
        TRY_ALL(my->err2)
            AWAIT(for_ever());
        trace("%d", my->err2);
    }
}

// Each request counts: the callee's FINALLY catches the second, and the first
// one strikes the caller's next await.
TEST(block_request_that_was_handed_back_outlives_a_second_one)
{
    stage_open();
    struct hand one = { 0 }, two = { 0 };
    struct coil_task *t = coil_spawn(CALL(calls_it, .first = &one,
                                          .second = &two));
    stage_passes(2);
    CHECK_INT(one.started, 1);
    coil_task_cancel(t);
    stage_passes(2);
    CHECK_INT(two.started, 1);
    coil_task_cancel(t);
    check_end(t, 0, 2);
    CHECK_TRACE("caught:-125 -5 -125");
    stage_close();
}

/* ---- Groups that end early --------------------------------------------- */

struct ended {
    struct coil_coro coro;
    struct coil_group group, inner;
    struct hand *op;
    int how, err, err2;
};

static void ended(struct coil_coro *co)
{
    ASYNC(ended, my) {
        my->err = my->err2 = 77;
        if (my->how == 0) { /* cancelled from outside while the group drains */
            TRY_ALL(my->err) GROUP(&my->group) {
                SPAWN(slow_end, .name = "a", .passes = 3);
                AWAIT(coil_sleep(0));
                coil_group_cancel(&my->group);
                AWAIT(for_ever());
            }
            TRY_ALL(my->err2)
                AWAIT(hand_op(my->op));
        } else if (my->how == 1) { /* the value of RETURN stands */
            GROUP(&my->group) {
                SPAWN(slow_end, .name = "a");
                coil_group_cancel(&my->group);
                RETURN(7);
            }
            trace("WENT ON");
        } else if (my->how == 2) { /* spawned after the group was cancelled */
            GROUP(&my->group) {
                coil_group_cancel(&my->group);
                SPAWN(slow_end, .name = "a");
                START(slow_end, .name = "b");
            }
            trace("behind");
        } else if (my->how == 3) { /* the group's cancellation was caught */
            GROUP(&my->group) {
                coil_group_cancel(&my->group);
                TRY_ALL(my->err)
                    AWAIT(for_ever());
                START(slow_end, .name = "a");
                AWAIT(coil_sleep(0));
            }
        } else if (my->how == 4) { /* a request is pending at the FAIL */
            TRY(my->err) GROUP(&my->group) {
                START(slow_end, .name = "a", .passes = 2);
                AWAIT(coil_sleep(0));
                coil_task_cancel(coil_task_current());
                FAIL(-EDOM);
            }
            trace("%d", my->err);
            TRY_ALL(my->err2)
                AWAIT(hand_op(my->op));
        } else if (my->how == 5) { /* the block's -ECANCELED is no failure */
            TRY(my->err) GROUP(&my->group) {
                START(slow_end, .name = "a", .passes = 2);
                AWAIT(coil_sleep(0));
                FAIL(-ECANCELED);
            }
        } else if (my->how == 6) { /* the outer fails while the inner drains */
            TRY(my->err) GROUP(&my->group) {
                START(step, .passes = 3, .err = -EIO);
                TRY(my->err2) GROUP(&my->inner) {
                    SPAWN(slow_end, .name = "a", .passes = 4);
                    AWAIT(coil_sleep(0));
                    FAIL(-EDOM); /* pending while the outer group fails */
                }
                trace("inner");
                AWAIT(for_ever());
            }
        }
        trace("%d %d", my->err, my->err2);
    }
}

// One request, one -ECANCELED: the request does not strike again behind the
// brace.
TEST(block_group_that_drains_meets_a_request_once)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(ended, .op = &op));
    stage_passes(4);
    coil_task_cancel(t);
    stage_passes(4);
    CHECK_INT(op.started, 1);
    CHECK_INT(op.cancels, 0);
    hand_set(&op, 0, 0);
    check_end(t, 0, 1);
    CHECK_TRACE("a:over -125 0");
    stage_close();
}

TEST(block_group_that_its_body_cancels_does_not_take_return_back)
{
    int value = 0;
    CHECK_INT(RUN_TO(value, ended, .how = 1), 0);
    CHECK_INT(value, 7);
    CHECK_TRACE("a:over");
}

// A task spawned after that is cancelled at the brace, which would wait for
// 1000 seconds otherwise.
TEST(block_group_that_was_asked_to_end_cancels_what_is_spawned_then)
{
    CHECK_INT(RUN(ended, .how = 2), 0);
    CHECK_TRACE("a:over b:over behind 77 77");
    CHECK_INT(RUN(ended, .how = 3), 0);
    CHECK_TRACE("a:over -125 77");
}

// The request strikes nothing at the brace, and strikes the next await of the
// code that catches the error.
TEST(block_group_whose_body_fails_leaves_a_pending_request_alone)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t = coil_spawn(CALL(ended, .how = 4, .op = &op));
    check_end(t, 0, 1);
    CHECK_INT(op.started, 0);
    CHECK_TRACE("a:over -33 -33 -125");
    stage_close();
}

TEST(block_group_whose_body_is_cancelled_by_another_ends_so)
{
    CHECK_INT(RUN(ended, .how = 5), 0);
    CHECK_TRACE("a:over -125 77");
}

TEST(block_group_in_another_that_fails_keeps_its_own_error)
{
    CHECK_INT(RUN(ended, .how = 6), 0);
    CHECK_TRACE("a:over inner -5 -33");
}

/* ---- USING, HOLD ------------------------------------------------------ */

struct door {
    int opened, closed;
    int fails;
};

static void close_door(void *door)
{
    ((struct door *)door)->closed++;
}

struct opens {
    struct coil_coro coro;
    struct door *door;
};

static void opens(struct coil_coro *co)
{
    ASYNC(opens, my) {
        AWAIT(coil_sleep(0));
        if (my->door->fails)
            FAIL(my->door->fails);
        my->door->opened++;
        RETURN(5);
    }
}

struct uses {
    struct coil_coro coro;
    struct door *door, *other;
    struct coil_lock lock;
    int err;
};

static void uses(struct coil_coro *co)
{
    ASYNC(uses, my) {
        coil_lock_init(&my->lock);
        TRY(my->err)
        USING(my->door, close_door, CALL(opens, .door = my->door)) {
            WITHIN(COIL_SECONDS(9))
                USING(my->other, close_door, CALL(opens, .door = my->other)) {
                    WITH(&my->lock) {
                        trace("%d%d", my->door->closed, my->other->closed);
                        AWAIT(coil_sleep(0));
                    }
                }
            trace("%d%d", my->door->closed, my->other->closed);
            FAIL(-EDOM);
        }
        trace("%d", my->err);

    FINALLY;
        USING(my->door, close_door, CALL(opens, .door = my->door))
            trace("in-finally:%d", my->door->opened - my->door->closed);
        trace("%d", coil_body_error(co));
    }
}

// WITH for any object: if acquiring fails, the block is not run and the object
// is not released.
TEST(block_using_releases_what_it_has_acquired)
{
    struct door door = { 0 }, other = { 0 };
    CHECK_INT(RUN(uses, .door = &door, .other = &other), 0);
    CHECK_TRACE("00 01 -33 in-finally:1 0");
    CHECK_INT(door.closed, 2);

    door = other = (struct door){ .fails = -EIO };
    CHECK_INT(RUN(uses, .door = &door, .other = &other), -EIO);
    CHECK_TRACE("-5 -5"); /* the USING in FINALLY skips its block, too */
    CHECK_INT(door.closed, 0);

    door = (struct door){ 0 };
    CHECK_INT(RUN(uses, .door = &door, .other = &other), 0);
    CHECK_TRACE("-5 in-finally:1 0");
    CHECK_INT(door.opened, door.closed);
    CHECK_INT(other.closed, 0);
}

struct holds {
    struct coil_coro coro;
    struct coil_lock *lock;
    struct coil_semaphore sem;
    struct coil_limiter limiter;
    struct coil_condition cond;
    int err;
};

static void holds(struct coil_coro *co)
{
    ASYNC(holds, my) {
        coil_semaphore_init(&my->sem, 1);
        coil_limiter_init(&my->limiter, 1);
        coil_condition_init(&my->cond, NULL);
        TRY(my->err) {
            HOLD(my->lock);
            FAIL(-EIO);
        }
        trace("held:%d", coil_lock_locked(my->lock));
        WITH(&my->sem) {
            RELEASE(my->lock);
            WITHIN(COIL_SECONDS(9))
                WITH(&my->limiter)
                    TRY(my->err)
                        WITH(&my->cond)
                            AWAIT(coil_sleep(0));
        }
        trace("held:%d", coil_lock_locked(my->lock));
        HOLD(my->lock);

    FINALLY;
        trace("held:%d", coil_lock_locked(my->lock));
    }
}

// A HOLD in a block belongs to the coroutine, not to the block.
TEST(block_leaves_what_is_held_to_the_coroutine)
{
    struct coil_lock lock;
    coil_lock_init(&lock);
    CHECK_INT(RUN(holds, .lock = &lock), 0);
    CHECK_TRACE("held:1 held:0 held:1");
    CHECK(!coil_lock_locked(&lock));
}

struct consumer {
    struct coil_coro coro;
    struct coil_condition *cond;
};

static void consumer(struct coil_coro *co)
{
    ASYNC(consumer, my) {
        WITH(my->cond) {
            AWAIT(coil_condition_wait(my->cond));
            trace("notified");
        }

    FINALLY;
        trace("consumer:%d", coil_body_error(co));
    }
}

struct producer {
    struct coil_coro coro;
    struct coil_condition cond;
    bool notifies;
};

static void producer(struct coil_coro *co)
{
    ASYNC(producer, my) {
        coil_condition_init(&my->cond, NULL);
        START(consumer, .cond = &my->cond);
        AWAIT(coil_sleep(0));
        WITH(&my->cond) {
            AWAIT(coil_sleep(0));
            if (my->notifies)
                coil_condition_notify(&my->cond, 1);
            RETURN(1);
        }
    }
}

// The brace gives the lock back before the children are asked to end. A
// coroutine that HOLDs the lock would wait for a child that waits for the lock.
TEST(block_with_gives_its_lock_back_before_children_end)
{
    for (int notifies = 0; notifies < 2; notifies++) {
        CHECK_INT(RUN(producer, .notifies = notifies), 0);
        CHECK_TRACE(notifies ? "notified consumer:-125" : "consumer:-125");
    }
}

struct outlives {
    struct coil_coro coro;
    struct coil_lock lock;
    struct coil_task *child;
    int err;
    long value;
};

static void outlives(struct coil_coro *co)
{
    ASYNC(outlives, my) {
        coil_lock_init(&my->lock);
        TRY(my->err) WITHIN(0) WITH(&my->lock) {
            my->child = SPAWN(step, .passes = 9, .value = 3);
            AWAIT(for_ever());
        }
        trace("%d %d", my->err, coil_task_done(my->child));
        AWAIT_TO(my->value, my->child);
        trace("%ld", my->value);
    }
}

// A task belongs to the coroutine; of the blocks only a GROUP owns tasks.
TEST(block_does_not_own_what_is_spawned_in_it)
{
    CHECK_INT(RUN(outlives), 0);
    CHECK_TRACE("-110 0 3");
}

/* ---- Level-triggered -------------------------------------------------- */

struct level {
    struct coil_coro coro;
    struct coil_cancel_scope scope;
    int err, i;
};

static void level(struct coil_coro *co)
{
    ASYNC(level, my) {
        CANCEL_SCOPE(&my->scope) {
            coil_cancel_scope_cancel(&my->scope);
            for (; my->i < 3; my->i++) {
                TRY_ALL(my->err)
                    AWAIT(coil_sleep(COIL_SECONDS(1000)));
                trace("%d", my->err);
            }
        }
    }
}

TEST(block_try_all_meets_a_scopes_cancellation_again)
{
    CHECK_INT(RUN(level), 0);
    CHECK_TRACE("-125 -125 -125");
}

/* ---- Loops and generators --------------------------------------------- */

struct numbers {
    struct coil_coro coro;
    struct coil_lock *lock;
    int n, i, fail_at;
};

static void numbers(struct coil_coro *co)
{
    ASYNC(numbers, my) {
        WITH(my->lock) WITHIN(COIL_SECONDS(1000)) {
            for (; my->i < my->n; my->i++) {
                if (my->fail_at && my->i == my->fail_at)
                    FAIL(-EIO);
                YIELD(my->i);
                AWAIT(coil_sleep(0));
            }
        }
    FINALLY;
        trace(coil_lock_locked(my->lock) ? "LOCKED" : "closed");
    }
}

struct loops {
    struct coil_coro coro;
    struct coil_lock lock, mine;
    int err, i, way, fail_at, item;
};

static void loops(struct coil_coro *co)
{
    ASYNC(loops, my) {
        coil_lock_init(&my->lock);
        coil_lock_init(&my->mine);
        TRY(my->err) {
            FOR_AWAIT(my->item, CALL(numbers, .lock = &my->lock, .n = 4,
                                     .fail_at = my->fail_at)) {
                WITH(&my->mine) {
                    if (my->item == 1 && my->way == 1)
                        FAIL(-ERANGE);
                    if (my->item == 1 && my->way == 2)
                        RETURN(3);
                    if (my->item == 1)
                        continue;
                    AWAIT(coil_sleep(0));
                    trace("i%d", my->item);
                }
                if (my->item == 2 && my->way == 3)
                    break;
                trace("next");
            }
            trace("over");
        }
        trace("%d", my->err);
        AWAIT(coil_sleep(0)); /* the generator that was left closes meanwhile */
        WITH(&my->lock)
            trace("got-it");
        TRY(my->err)
            FOR_AWAIT(my->item, CALL(numbers, .lock = &my->lock, .n = 2))
                WITH(&my->mine) AWAIT(coil_sleep(0));
        RETURN(my->item);
    }
}

TEST(block_and_generators)
{
    CHECK_INT(RUN(loops), 0);
    CHECK_TRACE("i0 next next i2 next i3 next closed over 0 got-it closed");
    CHECK_INT(RUN(loops, .way = 1), 0);
    CHECK_TRACE("i0 next -34 closed got-it closed");
    CHECK_INT(RUN(loops, .way = 2), 0);
    CHECK_TRACE("i0 next closed");
    CHECK_INT(RUN(loops, .way = 3), 0);
    CHECK_TRACE("i0 next next i2 over 0 closed got-it closed");
    CHECK_INT(RUN(loops, .fail_at = 2), 0);
    CHECK_TRACE("i0 next next closed -5 got-it closed");
}

struct by_hand {
    struct coil_coro coro;
    struct coil_lock lock;
    struct coil_group group;
    struct coil_future *gen;
    int item, err;
    bool more;
};

static void by_hand(struct coil_coro *co)
{
    ASYNC(by_hand, my) {
        coil_lock_init(&my->lock);
        TRY(my->err) {
            my->gen = CALL(numbers, .lock = &my->lock, .n = 4);
            NEXT(my->more, my->item, my->gen);
            FAIL(-EIO);
        }
        NEXT(my->more, my->item, my->gen); /* the TRY has not closed it */
        trace("%d", my->item);
        CLOSE(my->gen);
        GROUP(&my->group) {
            my->gen = CALL(numbers, .lock = &my->lock, .n = 4);
            NEXT(my->more, my->item, my->gen);
            trace("brace");
        }
        trace("behind");
    }
}

TEST(block_and_generators_by_hand)
{
    CHECK_INT(RUN(by_hand), 0);
    CHECK_TRACE("1 closed brace closed behind");
}

/* ---- Generators that are closed ---------------------------------------- */

/* Yields in blocks that may strike while the generator is at rest. */
struct restless {
    struct coil_coro coro;
    struct coil_lock *lock;
    struct coil_group *group;
    struct hand *op;
    int how, err, n;
};

static void restless(struct coil_coro *co)
{
    ASYNC(restless, my) {
        if (my->how == 0) {
            TRY(my->err) WITHIN(0) WITH(my->lock) {
                YIELD(1);
                YIELD(2);
                AWAIT(for_ever());
            }
            trace("late:%d", my->err);
            YIELD(3);
        } else if (my->how == 1) {
            for (;;) {
                TRY_ALL(my->err)
                    YIELD(my->n++);
                trace("TOOK-IT");
            }
        } else if (my->how == 2) {
            GROUP(my->group) {
                START(slow_end, .name = "child");
                YIELD(1);
                AWAIT(for_ever());
            }
            trace("BEHIND");
            YIELD(2);
        } else if (my->how == 3) {
            TRY(my->err) GROUP(my->group) {
                START(step, .passes = 1, .err = -EIO);
                YIELD(1);
                AWAIT(for_ever());
            }
            trace("%d", my->err);
            for (;;)
                TRY(my->err) YIELD(2);
        }

    FINALLY;
        AWAIT(coil_sleep(0));
        trace("closed:%d", coil_body_error(co));
    }
}

struct delegates {
    struct coil_coro coro;
    struct coil_lock *lock;
    struct coil_group *group;
    int how, err;
};

static void delegates(struct coil_coro *co)
{
    ASYNC(delegates, my) {
        TRY_ALL(my->err) WITHIN(0) {
            YIELD_FROM(CALL(restless, .lock = my->lock, .group = my->group,
                            .how = my->how));
        }
        trace("CAUGHT:%d", my->err);
        YIELD(9);
    }
}

enum closing { BY_BREAK, BY_CLOSE, BY_BRACE, CLOSINGS };

struct closes {
    struct coil_coro coro;
    struct coil_lock lock;
    struct coil_group group, outer;
    struct coil_future *gen;
    enum closing closing;
    int how, item, err;
    bool delegated, cancels, more;
};

static struct coil_future *a_restless(struct closes *my)
{
    return my->delegated
               ? CALL(delegates, .lock = &my->lock, .group = &my->group,
                      .how = my->how)
               : CALL(restless, .lock = &my->lock, .group = &my->group,
                      .how = my->how);
}

static void closes(struct coil_coro *co)
{
    ASYNC(closes, my) {
        coil_lock_init(&my->lock);
        if (my->closing == BY_BREAK) {
            FOR_AWAIT(my->item, a_restless(my)) {
                AWAIT(CALL(step, .passes = 3));
                if (my->cancels)
                    coil_group_cancel(&my->group);
                break;
            }
        } else if (my->closing == BY_CLOSE) {
            my->gen = a_restless(my);
            NEXT(my->more, my->item, my->gen);
            AWAIT(CALL(step, .passes = 3));
            if (my->cancels)
                coil_group_cancel(&my->group);
            CLOSE(my->gen);
        } else {
            GROUP(&my->outer) {
                my->gen = a_restless(my);
                NEXT(my->more, my->item, my->gen);
                AWAIT(CALL(step, .passes = 3));
                if (my->cancels)
                    coil_group_cancel(&my->group);
            }
        }
        AWAIT(CALL(step, .passes = 5)); /* the generator's requests are gone */
        CHECK(!coil_lock_locked(&my->lock));
        trace("on");
    }
}

// A deadline or group of the generator has struck meanwhile: the generator is
// closed all the same, and its TRY_ALL does not take that. Its consumer is not
// cancelled.
TEST(block_in_a_generator_that_is_closed_does_not_keep_it_going)
{
    static const char *const expected[] = {
        "closed:-125 on", "closed:-125 on", "child:over closed:-125 on",
        "-5 closed:-125 on"
    };
    for (enum closing closing = 0; closing < CLOSINGS; closing++)
        for (int how = 0; how < 4; how++)
            for (int more = 0; more < 4; more++) {
                test_note("closing %d, how %d, more %d", closing, how, more);
                stage_open();
                struct coil_task *t = coil_spawn(
                    CALL(closes, .closing = closing, .how = how,
                         .delegated = more & 1, .cancels = more & 2));
                check_end(t, 0, 0);
                CHECK_TRACE(expected[how]);
                stage_close();
            }
}

struct reader {
    struct coil_coro coro;
    struct coil_lock lock;
    struct coil_group group;
    int how, item, err;
};

static void reader(struct coil_coro *co)
{
    ASYNC(reader, my) {
        coil_lock_init(&my->lock);
        TRY(my->err)
            FOR_AWAIT(my->item, CALL(restless, .lock = &my->lock,
                                     .how = my->how, .group = &my->group)) {
                trace("%d", my->item);
                AWAIT(CALL(step, .passes = 3));
            }
        trace("err:%d", my->err);
    }
}

// The time at rest counts; the deadline strikes the generator's next await.
TEST(block_within_in_a_generator_counts_the_time_at_rest)
{
    CHECK_INT(RUN(reader, .how = 0), 0);
    CHECK_TRACE("1 2 late:-110 3 closed:0 err:0");
    CHECK_INT(stage_reported.n, 0);
}

/* ---- FINALLY ---------------------------------------------------------- */

struct last {
    struct coil_coro coro;
    struct coil_lock lock;
    int err, err2;
};

static void last(struct coil_coro *co)
{
    ASYNC(last, my) {
        coil_lock_init(&my->lock);
        FAIL(-EIO);

    FINALLY;
        TRY(my->err) {
            AWAIT(CALL(step, .err = -EDOM));
            trace("still");
            AWAIT(CALL(step, .err = -ERANGE));
            WITHIN(COIL_MS(1)) {
                AWAIT(coil_sleep(COIL_SECONDS(1000)));
                trace("and-still");
                AWAIT(coil_sleep(0));
            }
            TRY(my->err2)
                AWAIT(CALL(step, .err = -EBUSY));
        }
        trace("%d %d", my->err, my->err2);
        WITH(&my->lock) {
            AWAIT(coil_sleep(0));
            AWAIT(CALL(step, .err = -ENOTTY));
        }
        trace(coil_lock_locked(&my->lock) ? "LOCKED" : "unlocked");
        TRY(my->err) WITHIN(COIL_MS(1))
            AWAIT(coil_sleep(COIL_SECONDS(1000)));
        trace("%d", my->err);
    }
}

TEST(block_in_finally_never_jumps)
{
    CHECK_INT(RUN(last), -EIO);
    CHECK_TRACE("still and-still -33 -16 unlocked -110");
}

/* ---- Without memory --------------------------------------------------- */

struct poor {
    struct coil_coro coro;
    struct coil_lock lock;
    int err, i;
};

static void add_one(int *i)
{
    ++*i;
}

static void poor(struct coil_coro *co)
{
    ASYNC(poor, my) {
        coil_lock_init(&my->lock);
        TRY(my->err) {
            WITHIN(COIL_SECONDS(100)) WITH(&my->lock) {
                AWAIT(coil_sleep(0));
                AWAIT(CALL(step, .passes = 1));
            }
        }
        CHECK(my->err == 0 || my->err == -ENOMEM);
        if (my->err)
            FAIL(my->err);

    FINALLY;
        CHECK(!coil_lock_locked(&my->lock));
        TRY(my->err)
            add_one(&my->i);
        WITHIN(COIL_SECONDS(5))
            add_one(&my->i);
        CHECK_INT(my->i, 2);
        WITH(&my->lock)
            CHECK(coil_lock_locked(&my->lock));
        CHECK(!coil_lock_locked(&my->lock));
    }
}

static int poor_scenario(void)
{
    return RUN(poor);
}

TEST(block_without_memory)
{
    test_every_allocation(poor_scenario);
}

/* ---- Groups ----------------------------------------------------------- */

struct groups {
    struct coil_coro coro;
    struct coil_group group, inner;
    struct coil_task *a, *b;
    int err, i;
    long sum, one;
};

static void groups(struct coil_coro *co)
{
    ASYNC(groups, my) {
        GROUP(&my->group) {
            my->a = SPAWN(step, .passes = 2, .value = 40);
            my->b = SPAWN(step, .passes = 1, .value = 2);
        }
        CHECK(coil_task_done(my->a) && coil_task_done(my->b));
        AWAIT_TO(my->sum, my->a);
        AWAIT_TO(my->one, my->b);
        trace("%ld", my->sum + my->one);

        TRY(my->err) GROUP(&my->group) { /* the same group again */
            my->a = SPAWN(step, .passes = 20, .name = "a");
            SPAWN(step, .passes = 1, .err = -EIO);
            AWAIT(coil_sleep(COIL_SECONDS(1000)));
            trace("NOT-REACHED");
        }
        trace("%d", my->err);

        TRY(my->err) GROUP(&my->group) {
            SPAWN(step, .passes = 9);
            TRY(my->i) GROUP(&my->inner) {
                START(step, .passes = 3, .err = -ERANGE);
                SPAWN(step, .passes = 90, .name = "b");
            }
            trace("inner:%d", my->i);
        }
        trace("%d", my->err);

        GROUP(&my->group) { /* a cancelled group has not failed */
            SPAWN(step, .passes = 90, .name = "c");
            coil_group_cancel(&my->group);
            AWAIT(coil_sleep(COIL_SECONDS(1000)));
            trace("NOT-REACHED");
        }
        trace("on");

        TRY(my->err) WITHIN(COIL_MS(1)) GROUP(&my->group) {
            /* The deadline strikes while the brace of the group waits. */
            SPAWN(slow_end, .name = "d", .passes = 2);
        }
        trace("%d", my->err);

        TRY(my->err) GROUP(&my->group) {
            START(step, .passes = 3, .err = -EIO);
            TRY(my->i) GROUP(&my->inner) {
                SPAWN(slow_end, .name = "e", .passes = 2);
                AWAIT(coil_sleep(0));
                FAIL(-EDOM); /* pending while the outer group fails */
            }
            trace("inner:%d", my->i);
            AWAIT(coil_sleep(COIL_SECONDS(1000)));
            trace("NOT-REACHED");
        }
        trace("%d", my->err);

        for (my->i = 0; my->i < 1000; my->i++) {
            GROUP(&my->group) {
                SPAWN(step, .passes = 1);
            }
        }
        GROUP(&my->group) {
            SPAWN(step, .passes = 2, .name = "f");
            RETURN(6);
        }
    }
}

TEST(block_group_ends_with_its_children)
{
    int value = 0;
    CHECK_INT(RUN_TO(value, groups), 0);
    CHECK_INT(value, 6);
    CHECK_TRACE("42 a:-125 -5 b:-125 inner:-34 0 c:-125 on d:over -110 "
                "e:over inner:-33 -5");
}

struct cut {
    struct coil_coro coro;
    struct coil_group group;
    int how, err;
};

static void cut(struct coil_coro *co)
{
    ASYNC(cut, my) {
        if (my->how == 0) {
            TRY(my->err) GROUP(&my->group)
                SPAWN(step, .passes = 1000, .name = "child");
            trace("CAUGHT");
        } else if (my->how == 1) {
            TRY(my->err) GROUP(&my->group) {
                SPAWN(step, .passes = 3, .err = -EIO);
                AWAIT(coil_sleep(COIL_SECONDS(1000)));
            }
            trace("%d", my->err);
            TRY_ALL(my->err)
                AWAIT(coil_sleep(COIL_SECONDS(1000)));
            trace("%d", my->err);
        } else {
            GROUP(&my->group) {
                SPAWN(step, .passes = 1000, .name = "child");
                RETURN(7);
            }
        }
    }
}

TEST(block_group_and_cancellation)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(cut));
    stage_passes(3);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    t = coil_spawn(CALL(cut, .how = 1));
    stage_passes(5); /* the child has failed in this pass */
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), 0);
    t = coil_spawn(CALL(cut, .how = 2));
    stage_passes(3);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("child:-125 -5 -125 child:-125");
    stage_close();
}

static int group_scenario(void)
{
    int err = RUN(cut, .how = 2);
    return err == -ENOMEM ? err : err;
}

TEST(block_group_without_memory)
{
    test_every_allocation(group_scenario);
}

/* ---- Scopes ----------------------------------------------------------- */

static struct coil_event scope_left;

struct stubborn {
    struct coil_coro coro;
    int err, i;
};

static void stubborn(struct coil_coro *co)
{
    ASYNC(stubborn, my) {
        for (; my->i < 3; my->i++) {
            TRY_ALL(my->err)
                AWAIT(coil_event_wait(&scope_left));
            trace("%d", my->err);
        }
    }
}

struct canceller {
    struct coil_coro coro;
    struct coil_cancel_scope *scope;
};

static void canceller(struct coil_coro *co)
{
    ASYNC(canceller, my) {
        AWAIT(coil_sleep(0));
        coil_cancel_scope_cancel(my->scope);
    }
}

struct scoped {
    struct coil_coro coro;
    struct coil_group group, inner;
    struct coil_cancel_scope scope;
    int err;
};

static void scoped(struct coil_coro *co)
{
    ASYNC(scoped, my) {
        GROUP(&my->group) {
            SPAWN(stubborn); /* not in the scope: its awaits wait */
            TRY(my->err) CANCEL_SCOPE(&my->scope) {
                SPAWN(stubborn); /* in the group, so not in the scope */
                START(canceller, .scope = &my->scope);
                AWAIT(CALL(stubborn)); /* each of its awaits fails */
                trace("through");
                GROUP(&my->inner) {
                    SPAWN(stubborn);
                    trace("in");
                }
                trace("NOT-REACHED");
            }
            trace("err:%d", my->err);
            AWAIT(coil_sleep(0)); /* behind the scope awaits wait again */
            coil_event_set(&scope_left);
        }
        my->scope = (struct coil_cancel_scope){ 0 };
        coil_cancel_scope_set_deadline(&my->scope, coil_now() + COIL_MS(1));
        TRY(my->err) CANCEL_SCOPE(&my->scope)
            AWAIT(coil_sleep(COIL_SECONDS(1000)));
        trace("err:%d", my->err);
    }
}

TEST(block_cancel_scope_is_level_triggered_in_its_block)
{
    coil_event_init(&scope_left);
    CHECK_INT(RUN(scoped), 0);
    CHECK_TRACE("-125 -125 -125 through in err:-125 0 0 0 0 0 0 err:-110");
}

/* ---- Cancelled at every point ----------------------------------------- */

struct all {
    struct coil_coro coro;
    struct coil_lock *lock;
    struct coil_group group, inner;
    int err, i, item, fail;
};

static void takes(struct coil_coro *co);
struct takes {
    struct coil_coro coro;
    struct coil_lock *lock;
    int passes;
};

static void takes(struct coil_coro *co)
{
    ASYNC(takes, my) {
        WITH(my->lock) WITHIN(COIL_SECONDS(100)) {
            while (my->passes-- > 0)
                AWAIT(coil_sleep(0));
        }

    FINALLY;
        AWAIT(coil_sleep(0));
    }
}

static void all(struct coil_coro *co)
{
    ASYNC(all, my) {
        for (my->i = 0; my->i < 2; my->i++) {
            TRY(my->err) WITHIN(COIL_SECONDS(1000)) GROUP(&my->group) {
                SPAWN(takes, .lock = my->lock, .passes = 2);
                START(takes, .lock = my->lock, .passes = 1);
                FOR_AWAIT(my->item, CALL(numbers, .lock = my->lock, .n = 2)) {
                    TRY(my->err) GROUP(&my->inner) {
                        SPAWN(step, .passes = 2, .err = my->fail);
                        AWAIT(CALL(step, .passes = 3));
                    }
                    AWAIT(coil_sleep(0));
                }
                WITH(my->lock)
                    AWAIT(coil_sleep(0));
            }
        }
        RETURN(5);

    FINALLY;
        WITHIN(COIL_SECONDS(1000)) WITH(my->lock)
            AWAIT(coil_sleep(0));
    }
}

TEST(block_is_cancelled_at_every_point)
{
    for (int kind = 0; kind < 6; kind++) {
        bool over = false;
        int point = 0;
        for (; !over; point++) {
            stage_open();
            struct coil_lock lock;
            coil_lock_init(&lock);
            struct coil_task *t = coil_spawn(
                CALL(all, .lock = &lock, .fail = kind & 1 ? -EIO : 0));
            stage_passes(point);
            over = !coil_task_cancel(t);
            if (kind >= 2 && !over) { /* a second request, a little later */
                stage_passes(kind / 2);
                coil_task_cancel(t);
            }
            int err = stage_run(t);
            CHECK(over ? err == 0 : err == -ECANCELED || err == 0);
            CHECK(!coil_lock_locked(&lock));
            CHECK_INT(stage_timers(), 0);
            CHECK_INT(stage_tasks(), 0);
            stage_trace[0] = '\0';
            stage_close();
        }
        CHECK(point > 20);
        trace("%d", point);
    }
    CHECK(stage_trace[0]);
}

struct all_poor {
    struct coil_coro coro;
    struct coil_lock *lock;
    struct coil_group group, inner;
    struct coil_cancel_scope scope;
    struct coil_task *t;
    int err, err2, item;
};

static void all_poor(struct coil_coro *co)
{
    ASYNC(all_poor, my) {
        coil_cancel_scope_set_deadline(&my->scope,
                                       coil_now() + COIL_SECONDS(1000));
        TRY(my->err) WITHIN(COIL_SECONDS(1000)) CANCEL_SCOPE(&my->scope) {
            GROUP(&my->group) {
                my->t = SPAWN(takes, .lock = my->lock, .passes = 2);
                FOR_AWAIT(my->item, CALL(numbers, .lock = my->lock, .n = 2)) {
                    TRY_ALL(my->err2) GROUP(&my->inner) {
                        if (START(step, .passes = 2) < 0)
                            FAIL(-ENOMEM);
                        AWAIT(CALL(step, .passes = 3));
                    }
                    if (my->err2)
                        FAIL(my->err2);
                }
                WITH(my->lock)
                    AWAIT(coil_sleep(0));
            }
            AWAIT(my->t);
        }
        if (my->err)
            FAIL(my->err);
        RETURN(5);

    FINALLY;
        WITHIN(COIL_SECONDS(1000)) WITH(my->lock)
            AWAIT(coil_sleep(0));
    }
}

static int all_scenario(void)
{
    static struct coil_lock lock;
    coil_lock_init(&lock);
    int err = RUN(all_poor, .lock = &lock);
    CHECK(!coil_lock_locked(&lock));
    stage_trace[0] = '\0';
    return err;
}

TEST(block_all_without_memory)
{
    test_every_allocation(all_scenario);
}

/* ---- Whose request it is ---------------------------------------------- */

struct tells_parent {
    struct coil_coro coro;
    struct coil_task *parent;
    int err;
};

static void tells_parent(struct coil_coro *co)
{
    ASYNC(tells_parent, my) {
        AWAIT(coil_sleep(0));

    FINALLY;
        coil_task_cancel(my->parent);
        TRY_ALL(my->err)
            AWAIT(coil_sleep(COIL_SECONDS(1000)));
        trace("child:%d", my->err);
    }
}

struct awaits_child {
    struct coil_coro coro;
    int err;
};

static void awaits_child(struct coil_coro *co)
{
    ASYNC(awaits_child, my) {
        TRY_ALL(my->err)
            AWAIT(SPAWN(tells_parent, .parent = coil_task_current()));
        trace("parent:%d", my->err);
    }
}

// Its frame has just come from waiting for nothing: that does not mean that it
// only waits for children, which no request could hurry.
TEST(block_finally_that_runs_gets_the_request_of_who_awaits_it)
{
    CHECK_INT(RUN(awaits_child), -ECANCELED); /* by a request not met yet */
    CHECK_TRACE("child:-125 parent:0");
}

/* ---- Misuse ----------------------------------------------------------- */

enum mistake {
    BREAKS,
    GOES_IN,
    SWITCHES,
    SWITCHES_AND_ENDS_WELL,
    RETURNS_PLAINLY,
    LEAVES_NOTHING,
    LEAVES_IN_FINALLY,
    GROUPS_TWICE,
    GROUPS_IN_FINALLY,
    SCOPES_IN_FINALLY,
    RELEASES,
    ACQUIRES_TWICE,
    USES_TWICE,
    GROUPS_ON_STACK,
    SCOPES_ON_STACK
};

struct wrong {
    struct coil_coro coro;
    enum mistake mistake;
    int err;
    struct coil_lock lock;
    struct coil_group group;
    struct coil_cancel_scope scope;
    struct step step;
};

static void wrong_place(struct wrong *my)
{
    coil_lock_init(&my->lock);
}

static void wrong(struct coil_coro *co)
{
    ASYNC(wrong, my) {
        wrong_place(my);
        if (my->mistake == GOES_IN) {
            goto in;
            TRY(my->err) {
            in:
                AWAIT(coil_sleep(0));
            }
        } else if (my->mistake == SWITCHES) {
            switch (my->err) {
            default:
                TRY(my->err)
                    FAIL(-EIO);
            }
        } else if (my->mistake == SWITCHES_AND_ENDS_WELL) {
            switch (my->err) {
            default:
                TRY(my->err)
                    wrong_place(my);
            }
        } else if (my->mistake == RETURNS_PLAINLY) {
            TRY(my->err) {
                AWAIT(coil_sleep(0));
                return;
            }
        } else if (my->mistake == LEAVES_NOTHING) {
            TRY(my->err)
                AWAIT(coil_sleep(0));
            LEAVE;
        } else if (my->mistake == GROUPS_TWICE) {
            GROUP(&my->group) {
                AWAIT(coil_sleep(0));
                GROUP(&my->group)
                    AWAIT(coil_sleep(0));
            }
        } else if (my->mistake == RELEASES) {
            WITH(&my->lock)
                RELEASE(&my->lock);
        } else if (my->mistake == ACQUIRES_TWICE) {
            WITH(&my->lock) {
                AWAIT(coil_sleep(0));
                WITH(&my->lock)
                    AWAIT(coil_sleep(0));
            }
        }
        if (my->mistake == GROUPS_ON_STACK) {
            struct coil_group group = { 0 };
            GROUP(&group)
                AWAIT(coil_sleep(0));
        } else if (my->mistake == SCOPES_ON_STACK) {
            struct coil_cancel_scope scope = { 0 };
            CANCEL_SCOPE(&scope)
                AWAIT(coil_sleep(0));
        }
        if (my->mistake == USES_TWICE) {
            AWAIT(CALL_IN(&my->step, step));
            USING(my, close_door, &my->step.coro.future)
                AWAIT(coil_sleep(0));
        }
        for (; my->mistake == BREAKS;)
            WITHIN(COIL_SECONDS(10)) {
                AWAIT(coil_sleep(0));
                if (my->err == 0)
                    break;
            }

    FINALLY;
        if (my->mistake == LEAVES_IN_FINALLY) {
            TRY(my->err) {
                LEAVE;
            }
        } else if (my->mistake == GROUPS_IN_FINALLY) {
            GROUP(&my->group)
                AWAIT(coil_sleep(0));
        } else if (my->mistake == SCOPES_IN_FINALLY) {
            CANCEL_SCOPE(&my->scope)
                AWAIT(coil_sleep(0));
        }
    }
}

#define WHERE "^    in wrong at .*test_block.c:[1-9][0-9]{3}$"

DEATH_TEST(block_left_by_break_aborts, "a `break` in a block: LEAVE")
{
    RUN(wrong, .mistake = BREAKS);
}

struct goes_out {
    struct coil_coro coro;
};

static void goes_out(struct coil_coro *co)
{
    ASYNC(goes_out, my) {
        WITHIN(COIL_SECONDS(10)) {
            AWAIT(coil_sleep(0));
            goto out;
        }
    out:;
    }
}

DEATH_TEST(block_left_by_goto_aborts, "a block was left by a `goto`: LEAVE")
{
    RUN(goes_out);
}

DEATH_TEST(block_entered_by_goto_aborts,
           "a `goto` into or out of a block: LEAVE")
{
    RUN(wrong, .mistake = GOES_IN);
}

DEATH_TEST(block_in_a_switch_aborts_when_it_is_left,
           "a block inside a `switch` of your own")
{
    RUN(wrong, .mistake = SWITCHES);
}

// Most blocks in a `switch` end without an error: without debug mode the
// mistake would not be seen for years.
DEATH_TEST(block_in_a_switch_aborts_in_debug_mode,
           "a block inside a `switch` of your own")
{
    struct coil_loop_options options = { .size = sizeof options,
                                         .debug = true };
    RUN_WITH(&options, wrong, .mistake = SWITCHES_AND_ENDS_WELL);
}

DEATH_TEST(block_left_by_return_aborts, "return")
{
    RUN(wrong, .mistake = RETURNS_PLAINLY);
}

DEATH_TEST(block_leave_in_no_block_aborts, "LEAVE stands in no block")
{
    RUN(wrong, .mistake = LEAVES_NOTHING);
}

DEATH_TEST(block_leave_in_finally_aborts, "LEAVE in FINALLY")
{
    RUN(wrong, .mistake = LEAVES_IN_FINALLY);
}

DEATH_TEST(block_group_in_itself_aborts, "a group is entered twice")
{
    RUN(wrong, .mistake = GROUPS_TWICE);
}

DEATH_TEST(block_group_in_finally_aborts, "GROUP in FINALLY")
{
    RUN(wrong, .mistake = GROUPS_IN_FINALLY);
}

DEATH_TEST(block_cancel_scope_in_finally_aborts, "CANCEL_SCOPE in FINALLY")
{
    RUN(wrong, .mistake = SCOPES_IN_FINALLY);
}

DEATH_TEST(block_release_of_what_with_holds_aborts, "RELEASE of what a WITH")
{
    RUN(wrong, .mistake = RELEASES);
}

DEATH_TEST(block_with_of_what_is_held_aborts, "holds already")
{
    RUN(wrong, .mistake = ACQUIRES_TWICE);
}

// It is lent across awaits, as a buffer is.
DEATH_TEST(block_group_on_the_stack_aborts, "a group on the stack: make it a")
{
    RUN(wrong, .mistake = GROUPS_ON_STACK);
}

DEATH_TEST(block_cancel_scope_on_the_stack_aborts,
           "a cancel scope on the stack: make it a field")
{
    RUN(wrong, .mistake = SCOPES_ON_STACK);
}

DEATH_TEST(block_misuse_names_coroutine_file_and_line, WHERE)
{
    RUN(wrong, .mistake = BREAKS);
}

// A landing is a number far above all lines: the message must not print it.
DEATH_TEST(block_misuse_at_its_await_names_a_line, WHERE)
{
    RUN(wrong, .mistake = USES_TWICE);
}
