// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_as_completed.c: tasks in the order in which they end.
 */
#include "work.h"

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
    t[4] = coil_spawn(coil_future_from_nomem());
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

// As many iterations as there are elements in the array.
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

// Each loop has its own entry in the tasks' lists of callbacks.
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

/* ---- In time ---------------------------------------------------------- */

struct hurries {
    struct coil_coro coro;
    struct coil_task **tasks, *task;
    size_t n;
    int64_t timeout;
};

static void hurries(struct coil_coro *co)
{
    ASYNC(hurries, my) {
        FOR_AWAIT(my->task, coil_as_completed_within(my->tasks, my->n,
                                                     my->timeout))
            trace("%s", coil_task_name(my->task));
        trace(".");
    }
}

// asyncio: TimeoutError out of the loop; the tasks are left alone.
TEST(as_completed_within_fails_when_the_time_is_up)
{
    static const int64_t timeouts[] = { COIL_MS(1), 0, -1 };
    for (int i = 0; i < 3; i++) {
        stage_open();
        struct hand op = { 0 };
        struct coil_task *t[] = { stay("a", &op),
                                  coil_spawn(CALL(work)) };
        stage_passes(2);
        struct coil_task *h = SPAWN(hurries, .tasks = t, .n = 2,
                                    .timeout = timeouts[i]);
        CHECK_INT(stage_run(h), -ETIMEDOUT);
        CHECK_TRACE("work");
        CHECK_INT(op.cancels, 0);
        hand_set(&op, 0, 1);
        CHECK_INT(stage_run(t[0]), 0);
        CHECK_TRACE("a");
        stage_close();
    }
}

TEST(as_completed_within_the_time_disarms_its_timer)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(work, .passes = 2));
    CHECK_INT(stage_run(SPAWN(hurries, .tasks = &t, .n = 1,
                              .timeout = COIL_SECONDS(3600))), 0);
    CHECK_TRACE("work .");
    CHECK_INT(stage_timers(), 0);
    stage_close();
}

/* ---- The next one ----------------------------------------------------- */

struct awaits_next {
    struct coil_coro coro;
    struct coil_completions *c;
    const char *name;
    struct coil_task *task;
    int err;
};

static void awaits_next(struct coil_coro *co)
{
    ASYNC(awaits_next, my) {
        TRY_AWAIT_TO(my->err, my->task, coil_completions_next(my->c));
        trace("%s:%s", my->name,
              my->err ? (my->err == -ETIMEDOUT ? "late" : "error")
              : my->task ? coil_task_name(my->task)
                         : "none");
    }
}

static struct coil_task *await_next(struct coil_completions *c,
                                    const char *name)
{
    return SPAWN(awaits_next, .c = c, .name = name);
}

static struct coil_task *stay_named(const char *name, struct hand *op)
{
    struct coil_task *t = stay(name, op);
    coil_task_set_name(t, name);
    return t;
}

// The plain form of asyncio: several at once, served in the order of asking,
// with the ends in their order.
TEST(completions_are_given_to_those_who_wait_in_turn)
{
    stage_open();
    struct hand op[3] = { { 0 }, { 0 }, { 0 } };
    struct coil_task *t[] = { stay_named("a", &op[0]), stay_named("b", &op[1]),
                              stay_named("c", &op[2]) };
    struct coil_completions c;
    CHECK_INT(coil_completions_init(&c, t, 3, COIL_NEVER), 0);
    stage_passes(1);
    for (int i = 0; i < 4; i++)
        await_next(&c, (const char *[]){ "0", "1", "2", "3" }[i]);
    stage_passes(1);
    CHECK_INT(coil_completions_count(&c), 3);
    hand_set(&op[2], 0, 0);
    hand_set(&op[0], -EIO, 0);
    stage_passes(4);
    CHECK_TRACE("c a 0:c 1:a");
    CHECK_INT(coil_completions_count(&c), 1);
    hand_set(&op[1], 0, 0);
    stage_passes(4);
    CHECK_TRACE("b 2:b 3:none"); /* n are given, and no more */
    await_next(&c, "4");
    stage_passes(2);
    CHECK_TRACE("4:none");
    coil_completions_fini(&c);
    coil_task_quiet(t[0]);
    stage_close();
}

// Asked for later: what has ended meanwhile is kept.
TEST(completions_are_kept_until_somebody_asks)
{
    stage_open();
    struct coil_task *t[] = { coil_spawn(CALL(work, .passes = 2)),
                              coil_spawn(CALL(work, .passes = 1)) };
    coil_task_set_name(t[0], "slow");
    coil_task_set_name(t[1], "fast");
    struct coil_completions c;
    CHECK_INT(coil_completions_init(&c, t, 2, COIL_NEVER), 0);
    stage_passes(6);
    coil_task_drop(&t[0]);
    coil_task_drop(&t[1]); /* it keeps them */
    struct coil_task *first = await_next(&c, "1");
    struct coil_task *second = await_next(&c, "2");
    stage_passes(1);
    CHECK(coil_task_done(first) && coil_task_done(second)); /* no pass */
    CHECK_TRACE("1:fast 2:slow");
    coil_completions_fini(&c);
    stage_close();
}

// A reader cancelled while it waits takes nothing; one that was given a task
// has it.
TEST(completions_are_not_lost_to_who_is_cancelled)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *a = stay_named("a", &op);
    struct coil_completions c;
    CHECK_INT(coil_completions_init(&c, &a, 1, COIL_NEVER), 0);
    struct coil_task *first = await_next(&c, "1");
    struct coil_task *second = await_next(&c, "2");
    stage_passes(1);
    coil_task_cancel(first);
    CHECK_INT(stage_run(first), -ECANCELED);
    hand_set(&op, 0, 0);
    stage_passes(2);
    CHECK_INT(coil_completions_count(&c), 0);
    coil_task_cancel(second); /* too late: it has it, and says so */
    CHECK_INT(stage_run(second), -ECANCELED);
    CHECK_TRACE("a 2:a");
    coil_completions_fini(&c);
    stage_close();
}

// asyncio: each remaining slot yields a TimeoutError; what had ended does not.
TEST(completions_that_are_late_fail_once_each)
{
    stage_open();
    struct hand op[2] = { { 0 }, { 0 } };
    struct coil_task *t[] = { stay_named("a", &op[0]), stay_named("b", &op[1]),
                              coil_spawn(CALL(work)) };
    stage_passes(2);
    struct coil_completions c;
    CHECK_INT(coil_completions_init(&c, t, 3, COIL_MS(1)), 0);
    for (int i = 0; i < 4; i++)
        await_next(&c, (const char *[]){ "0", "1", "2", "3" }[i]);
    while (coil_completions_count(&c))
        coil_loop_pass(stage_loop, COIL_MS(5));
    stage_passes(2);
    CHECK_TRACE("0:work 1:late 2:late 3:none");
    CHECK_INT(op[0].cancels + op[1].cancels, 0);
    hand_set(&op[0], 0, 0); /* there is no reader any more */
    stage_passes(3);
    coil_completions_fini(&c);
    stage_close();
    CHECK_TRACE("a b");
}

TEST(completions_that_are_over_leave_nobody_waiting)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *a = stay("a", &op);
    struct coil_completions c;
    CHECK_INT(coil_completions_init(&c, &a, 1, COIL_SECONDS(3600)), 0);
    await_next(&c, "1");
    stage_passes(1);
    coil_completions_fini(&c);
    coil_completions_fini(&c); /* twice is harmless */
    stage_passes(1);
    CHECK_TRACE("1:none");
    CHECK_INT(stage_timers(), 0);
    CHECK_INT(op.cancels, 0);
    stage_close();
    CHECK_TRACE("a");
}

struct resumes {
    struct coil_coro coro;
    struct coil_task **tasks, *task;
    struct coil_completions c;
};

static void resumes(struct coil_coro *co)
{
    ASYNC(resumes, my) {
        if (coil_completions_init(&my->c, my->tasks, 3, COIL_NEVER) < 0)
            FAIL(-ENOMEM);
        FOR_AWAIT(my->task, coil_completions_items(&my->c)) {
            trace("%s", coil_task_name(my->task));
            break;
        }
        trace("|");
        AWAIT(coil_sleep(0));
        FOR_AWAIT(my->task, coil_completions_items(&my->c))
            trace("%s", coil_task_name(my->task));
        trace(".");
    FINALLY;
        coil_completions_fini(&my->c);
    }
}

// asyncio 3.13: resumable after break. Nothing is seen twice.
TEST(completions_can_be_left_and_gone_on_with)
{
    stage_open();
    struct coil_task *t[3];
    for (int i = 0; i < 3; i++) {
        t[i] = coil_spawn(CALL(work, .passes = 9 - 3 * i));
        coil_task_set_name(t[i], (const char *[]){ "a", "b", "c" }[i]);
    }
    CHECK_INT(stage_run(SPAWN(resumes, .tasks = t)), 0);
    CHECK_TRACE("c | b a .");
    stage_close();
}

/* ---- Whatever happens ------------------------------------------------- */

struct reads_all {
    struct coil_coro coro;
    struct coil_task *tasks[3], *task, *reader;
    struct coil_completions c;
    struct coil_future *next;
    int n;
};

static void reads_all(struct coil_coro *co)
{
    ASYNC(reads_all, my) {
        for (int i = 0; i < 3; i++)
            my->tasks[i] = coil_spawn(CALL(work, .passes = 2 * i));
        FOR_AWAIT(my->task, coil_as_completed_within(my->tasks, 3,
                                                     COIL_SECONDS(3600)))
            my->n++;
        for (int i = 0; i < 3; i++)
            my->tasks[i] = coil_spawn(CALL(work, .passes = 2 * i));
        if (coil_completions_init(&my->c, my->tasks, 3, COIL_SECONDS(1)) < 0)
            FAIL(-ENOMEM);
        my->reader = await_next(&my->c, "");
        FOR_AWAIT(my->task, coil_completions_items(&my->c))
            my->n++;
        AWAIT(my->reader);
    FINALLY;
        coil_completions_fini(&my->c);
    }
}

TEST(completions_survive_a_cancel_at_every_pass)
{
    for (int when = 0; when < 24; when++) {
        stage_open();
        struct coil_task *t = SPAWN(reads_all);
        stage_passes(when);
        coil_task_cancel(t);
        coil_loop_run_until_complete(stage_loop, t);
        CHECK_INT(stage_tasks(), 0);
        CHECK_INT(stage_timers(), 0);
        stage_trace[0] = '\0';
        stage_close();
    }
}

static struct coil_future *make_reads_all(void)
{
    return CALL(reads_all);
}

static int reading_all(void)
{
    int err = run_alone(make_reads_all);
    stage_trace[0] = '\0';
    return err;
}

TEST(completions_survive_every_failed_allocation)
{
    test_every_allocation(reading_all);
}
