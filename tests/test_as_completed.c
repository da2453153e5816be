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
