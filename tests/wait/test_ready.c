// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_ready.c: start a task and wait until it reports that it is ready, by the
 * rules of trio's nursery.start().
 */
#include "stage.h"

#include <coil/ready.h>

// Becomes ready with 80, or fails before, or just ends; then serves.
struct serve {
    struct coil_coro coro;
    struct coil_future *ready;
    struct hand *listens, *serves;
    int fails;
    bool silent;
};

static void serve(struct coil_coro *co)
{
    ASYNC(serve, my) {
        AWAIT(hand_op(my->listens));
        if (my->fails)
            FAIL_WITH(my->fails, 9);
        if (my->silent)
            RETURN(0);
        coil_future_set_int(my->ready, 80);
        AWAIT(hand_op(my->serves));
        trace("served");

    FINALLY;
        coil_future_unref(my->ready);
    }
}

struct starts {
    struct coil_coro coro;
    struct hand *listens, *serves;
    int fails;
    bool silent;
    struct coil_future *ready;
    struct coil_task *server;
    int err, port;
};

static void starts(struct coil_coro *co)
{
    ASYNC(starts, my) {
        my->ready = coil_future_new();
        my->server = SPAWN(serve, .ready = coil_future_ref(my->ready),
                           .listens = my->listens, .serves = my->serves,
                           .fails = my->fails, .silent = my->silent);
        TRY_AWAIT_TO(my->err, my->port, coil_wait_ready(my->server, my->ready));
        trace("%d %d %u", my->err, my->port, (unsigned)coil_last_detail());
        if (my->err)
            FAIL(my->err);
        AWAIT(my->server);
    }
}

static struct hand listens, serves;

static struct coil_task *begin(int fails, bool silent)
{
    listens = serves = (struct hand){ 0 };
    stage_open();
    struct coil_task *t = coil_spawn(CALL(starts, .listens = &listens,
                                          .serves = &serves, .fails = fails,
                                          .silent = silent));
    stage_passes(3);
    CHECK_TRACE("");
    return t;
}

TEST(ready_gives_what_the_task_says_and_lets_it_go_on)
{
    struct coil_task *t = begin(0, false);
    hand_set(&listens, 0, 0);
    stage_passes(4);
    CHECK_TRACE("0 80 0");
    hand_set(&serves, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("served");
    stage_close();
}

TEST(ready_fails_with_the_task_that_failed_before)
{
    struct coil_task *t = begin(-EADDRINUSE, false);
    hand_set(&listens, 0, 0);
    CHECK_INT(stage_run(t), -EADDRINUSE);
    CHECK_TRACE("-98 0 9");
    stage_close();
}

TEST(ready_fails_with_the_task_that_was_cancelled_before)
{
    struct coil_task *t = begin(0, false);
    coil_task_cancel(coil_task_next(t)); /* the server */
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("-125 0 0");
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
}

// trio: "child exited without calling task_status.started()".
TEST(ready_never_said_is_an_error)
{
    struct coil_task *t = begin(0, true);
    hand_set(&listens, 0, 0);
    CHECK_INT(stage_run(t), COIL_ENOTREADY);
    CHECK_TRACE("-4106 0 0");
    stage_close();
}

TEST(ready_cancelled_leaves_the_task_to_its_owner)
{
    struct coil_task *t = begin(0, false);
    struct coil_task *server = coil_task_next(t);
    coil_detach(server);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    hand_set(&listens, 0, 0);
    stage_passes(2);
    CHECK_INT(serves.started, 1);
    hand_set(&serves, 0, 0);
    stage_passes(2);
    CHECK_TRACE("served");
    stage_close();
}

struct at_once {
    struct coil_coro coro;
    struct coil_future *ready;
};

static void at_once(struct coil_coro *co)
{
    ASYNC(at_once, my) {
        coil_future_set_int(my->ready, 1);
        coil_future_unref(my->ready);
        FAIL(-EIO);
    }
}

// It was ready, and failed in the same pass: both are true; ready counts.
TEST(ready_counts_though_the_task_has_failed_meanwhile)
{
    stage_open();
    struct coil_future *ready = coil_future_new();
    struct coil_task *t = coil_spawn(CALL(at_once,
                                          .ready = coil_future_ref(ready)));
    struct coil_task *w = coil_spawn(coil_wait_ready(t, ready));
    CHECK_INT(stage_run(w), 0);
    CHECK_INT(coil_future_int(coil_task_future(w)), 1);
    CHECK_INT(coil_future_error(coil_task_future(t)), -EIO);
    stage_close();
}

TEST(ready_never_awaited_gives_all_back)
{
    stage_open();
    struct coil_future *ready = coil_future_new();
    struct coil_task *t = coil_spawn(CALL(at_once,
                                          .ready = coil_future_ref(ready)));
    coil_discard(coil_wait_ready(t, ready));
    CHECK_INT(stage_run(t), -EIO);
    stage_close();
}

static int ready_allocations(void)
{
    listens = serves = (struct hand){ .on_cancel = HAND_ENDS };
    struct coil_loop *loop;
    int err = coil_loop_new(&loop, stage_options());
    if (err < 0)
        return err;
    struct coil_task *t = coil_spawn(CALL(starts, .listens = &listens,
                                          .serves = &serves));
    for (int i = 0; i < 8; i++) {
        coil_loop_pass(loop, 0);
        if (listens.flying)
            hand_set(&listens, 0, 0);
        if (serves.flying)
            hand_set(&serves, 0, 0);
    }
    err = coil_loop_run_until_complete(loop, t);
    if (err == 0)
        err = coil_future_error(coil_task_future(t));
    coil_loop_close(loop);
    stage_trace[0] = '\0';
    return err;
}

TEST(ready_every_allocation)
{
    test_every_allocation(ready_allocations);
}
