// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_scope.c: what belongs to a coroutine until it is over: holds, cancelled
 * at every moment; generators that were left early.
 */
#include "stage.h"

#include <coil/lock.h>
#include <coil/semaphore.h>

/* ---- HOLD ------------------------------------------------------------- */

static void released(void *object)
{
    trace("-%s", (const char *)object);
}

static struct coil_future *granted(void)
{
    return coil_future_from_int(0);
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
        WITHIN(COIL_SECONDS(3600)) {
            HOLD_WITH(a, released, hand_op(my->acquire));
            RELEASE(a);
            HOLD_WITH(b, released, hand_op(my->acquire));
            AWAIT(hand_op(my->then));
        }
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
                CHECK(coil_waiters_empty(&sem.waiters));
                CHECK(coil_waiters_empty(&lock.waiters));
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
DEATH_TEST(hold_twice_aborts,
           "HOLD or WITH of what this coroutine holds already\n    "
           "in misuses at .*test_scope.c:")
{
    RUN(misuses, .twice = true);
}

DEATH_TEST(hold_released_without_holding_aborts,
           "RELEASE of what this coroutine does not hold: HOLD it\n    "
           "in misuses at ")
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
        WITHIN(my->late ? 0 : COIL_NEVER) {
            for (;; my->i++) {
                if (my->pause_at && my->i == my->pause_at)
                    AWAIT(coil_sleep(COIL_SECONDS(3600)));
                YIELD(my->i);
            }
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
                TRY_ALL(my->err) AWAIT(coil_sleep(0));
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
            TRY_ALL(my->err) AWAIT(coil_sleep(0));
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
    coil_task_cancel_with(t, COIL_CANCEL_INTERRUPT);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("item 6 err -125 reason 3 generator");
    stage_close();
}
