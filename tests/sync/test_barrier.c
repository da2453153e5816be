// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_barrier.c: a round wakes all of its tasks or none, each with an index
 * of its own.
 */
#include "interleave.h"

#include <coil/barrier.h>

struct meets {
    struct coil_coro coro;
    struct coil_barrier *barrier;
    int id, times, index, err;
    struct hand *then;
};

static void meets(struct coil_coro *co)
{
    ASYNC(meets, my) {
        for (; my->times > 0; my->times--) {
            TRY_AWAIT_TO(my->err, my->index, coil_barrier_wait(my->barrier));
            if (my->err < 0) {
                trace("%d!", my->id);
                FAIL(my->err);
            }
            trace("%d=%d", my->id, my->index);
        }
        if (my->then)
            AWAIT(hand_op(my->then));
    }
}

static struct coil_task *meet(struct coil_barrier *b, int id, int times)
{
    struct coil_task *t = coil_spawn(
        CALL(meets, .barrier = b, .id = id, .times = times));
    coil_task_quiet(t);
    return t;
}

TEST(barrier_lets_all_go_when_the_last_has_come)
{
    stage_open();
    struct coil_barrier b;
    coil_barrier_init(&b, 3);
    meet(&b, 1, 1);
    meet(&b, 2, 1);
    stage_passes(3);
    CHECK_TRACE("");
    CHECK_INT(coil_barrier_waiting(&b), 2);
    meet(&b, 3, 1);
    stage_passes(2);
    CHECK_TRACE("3=2 1=0 2=1"); /* the last does not wait */
    CHECK_INT(coil_barrier_waiting(&b), 0);
    stage_close();
}

// With one party no task waits; with none the barrier makes no sense.
TEST(barrier_of_one_makes_nobody_wait)
{
    stage_open();
    struct coil_barrier b;
    coil_barrier_init(&b, 1);
    meet(&b, 7, 3);
    stage_passes(1);
    CHECK_TRACE("7=0 7=0 7=0");
    stage_close();
}

DEATH_TEST(barrier_of_no_parties_aborts,
           "coil_barrier_init: parties is 0: must be at least 1")
{
    struct coil_barrier b;
    coil_barrier_init(&b, 0);
}

// Round after round: no task is more than one round ahead of another.
TEST(barrier_keeps_its_parties_in_step)
{
    stage_open();
    struct coil_barrier b;
    coil_barrier_init(&b, 3);
    struct coil_task *t[3];
    for (int i = 0; i < 3; i++)
        t[i] = meet(&b, i, 3);
    for (int i = 0; i < 3; i++)
        CHECK_INT(stage_run(t[i]), 0);
    CHECK_TRACE("2=2 0=0 1=1 1=2 2=0 0=1 0=2 1=0 2=1");
    stage_close();
}

// Woken but not run yet: a task that arrives now waits in the next round.
TEST(barrier_newcomer_is_in_the_next_round)
{
    stage_open();
    struct coil_barrier b;
    coil_barrier_init(&b, 2);
    meet(&b, 1, 1);
    stage_passes(1);
    meet(&b, 2, 1);
    meet(&b, 3, 1);
    stage_passes(3);
    CHECK_TRACE("2=1 1=0");
    CHECK_INT(coil_barrier_waiting(&b), 1);
    meet(&b, 4, 1);
    stage_passes(2);
    CHECK_TRACE("4=1 3=0");
    stage_close();
}

TEST(barrier_cancelled_waiter_counts_as_never_come)
{
    stage_open();
    struct coil_barrier b;
    coil_barrier_init(&b, 3);
    struct coil_task *t = meet(&b, 1, 1);
    meet(&b, 2, 1);
    stage_passes(1);
    coil_task_cancel(t);
    CHECK_INT(coil_barrier_waiting(&b), 1);
    CHECK_INT(stage_run(t), -ECANCELED);
    meet(&b, 3, 1);
    stage_passes(2);
    CHECK_TRACE("");
    meet(&b, 4, 1);
    stage_passes(2);
    CHECK_TRACE("4=2 2=0 3=1");
    stage_close();
}

// Let go, then cancelled before it ran: it has its index, the next is struck.
TEST(barrier_let_go_then_cancelled_has_its_index)
{
    stage_open();
    struct coil_barrier b;
    struct hand then = { 0 };
    coil_barrier_init(&b, 2);
    struct coil_task *t = coil_spawn(CALL(meets, .barrier = &b, .id = 1,
                                          .times = 1, .then = &then));
    stage_passes(1);
    struct coil_task *last = meet(&b, 2, 1);
    stage_passes(1);
    CHECK(coil_task_done(last));
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("2=1 1=0");
    CHECK_INT(then.started, 0);
    stage_close();
}

TEST(barrier_reset_sends_home_who_waits_and_is_as_new)
{
    stage_open();
    struct coil_barrier b;
    coil_barrier_init(&b, 2);
    struct coil_task *t = meet(&b, 1, 1);
    stage_passes(1);
    coil_barrier_reset(&b);
    CHECK(!coil_barrier_broken(&b));
    CHECK_INT(coil_barrier_waiting(&b), 0);
    CHECK_INT(stage_run(t), COIL_EBROKEN);
    CHECK_TRACE("1!");
    meet(&b, 2, 1);
    meet(&b, 3, 1);
    stage_passes(2);
    CHECK_TRACE("3=1 2=0");
    stage_close();
}

TEST(barrier_aborted_is_broken_until_it_is_reset)
{
    stage_open();
    struct coil_barrier b;
    coil_barrier_init(&b, 2);
    struct coil_task *t = meet(&b, 1, 1);
    stage_passes(1);
    coil_barrier_abort(&b);
    CHECK(coil_barrier_broken(&b));
    CHECK_INT(stage_run(t), COIL_EBROKEN);
    CHECK_INT(stage_run(meet(&b, 2, 1)), COIL_EBROKEN);
    CHECK_TRACE("1! 2!");
    coil_barrier_reset(&b);
    CHECK(!coil_barrier_broken(&b));
    meet(&b, 3, 1);
    meet(&b, 4, 1);
    stage_passes(2);
    CHECK_TRACE("4=1 3=0");
    stage_close();
}

// Let go before it was broken: they had met.
TEST(barrier_broken_takes_nothing_from_who_was_let_go)
{
    stage_open();
    struct coil_barrier b;
    coil_barrier_init(&b, 2);
    struct coil_task *t = meet(&b, 1, 1);
    stage_passes(1);
    meet(&b, 2, 1);
    stage_passes(1);
    coil_barrier_abort(&b);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("2=1 1=0");
    stage_close();
}

/* ---- Without memory ------------------------------------------------------ */

struct three {
    struct coil_coro coro;
    struct coil_barrier barrier;
    struct coil_task *t[3];
};

static void abort_it(void *barrier)
{
    coil_barrier_abort(barrier);
}

struct party {
    struct coil_coro coro;
    struct coil_barrier *barrier;
    int index;
};

static void party(struct coil_coro *co)
{
    ASYNC(party, my) {
        my->index = -1;
        AWAIT_TO(my->index, coil_barrier_wait(my->barrier));

    FINALLY;
        if (my->index < 0)
            abort_it(my->barrier);
    }
}

static void three(struct coil_coro *co)
{
    ASYNC(three, my) {
        coil_barrier_init(&my->barrier, 3);
        for (int i = 0; i < 3; i++)
            my->t[i] = SPAWN(party, .barrier = &my->barrier);
        for (int i = 0; i < 3; i++)
            if (!coil_task_frame(my->t[i]))
                FAIL(-ENOMEM);
        AWAIT(coil_gather_settled(my->t, 3));
        for (int i = 0; i < 3; i++)
            if (coil_future_error(coil_task_future(my->t[i])) == -ENOMEM)
                FAIL(-ENOMEM);
    }
}

static int play(void)
{
    struct coil_loop *loop;
    int err = coil_loop_new(&loop, stage_options());
    if (err < 0)
        return err;
    struct coil_task *t = coil_spawn(CALL(three));
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    err = coil_future_error(coil_task_future(t));
    coil_loop_close(loop);
    return err;
}

TEST(barrier_without_memory_leaves_nobody_waiting)
{
    test_every_allocation(play);
}

/* ---- All interleavings --------------------------------------------------- */

enum { TASKS = 4, PARTIES = 2 };

static struct {
    struct coil_barrier barrier;
    struct coil_task *t[TASKS];
    int started, came, indexes[PARTIES], broken, cancelled;
} world;

struct comes {
    struct coil_coro coro;
    int index, err;
};

static void comes(struct coil_coro *co)
{
    ASYNC(comes, my) {
        TRY_ALL(my->err) AWAIT(coil_sleep(0));
        if (my->err < 0)
            FAIL(my->err);
        world.came++;
        TRY_AWAIT_TO(my->err, my->index, coil_barrier_wait(&world.barrier));
        if (my->err == COIL_EBROKEN)
            world.broken++;
        else if (my->err == 0)
            world.indexes[my->index]++;

    FINALLY;
    }
}

static void begin(void)
{
    memset(&world, 0, sizeof world);
    coil_barrier_init(&world.barrier, PARTIES);
}

enum { START = 1, RESET, ABORT, CANCEL };

static bool act(int action)
{
    switch (action) {
    case START:
        if (world.started == TASKS)
            return false;
        world.t[world.started++] = coil_spawn(CALL(comes));
        return true;
    case RESET:
        coil_barrier_reset(&world.barrier);
        return true;
    case ABORT:
        if (coil_barrier_broken(&world.barrier))
            return false;
        coil_barrier_abort(&world.barrier);
        return true;
    default:
        return action - CANCEL < world.started &&
               coil_task_cancel(world.t[action - CANCEL]);
    }
}

// All indices were given equally often; a task without a partner waits alone.
static void end(void)
{
    stage_passes(5);
    CHECK_INT(world.indexes[0], world.indexes[1]);
    CHECK(coil_barrier_waiting(&world.barrier) < PARTIES);
    CHECK_INT(coil_barrier_waiting(&world.barrier),
              coil_waiters_count(&world.barrier.waiters));
    int left = 0;
    for (int i = 0; i < world.started; i++)
        left += !coil_task_done(world.t[i]);
    CHECK_INT(left, coil_barrier_waiting(&world.barrier));
    coil_barrier_abort(&world.barrier);
    stage_passes(2);
    for (int i = 0; i < world.started; i++) {
        CHECK(coil_task_done(world.t[i]));
        coil_task_drop(&world.t[i]);
    }
}

TEST(barrier_lets_whole_rounds_go_in_any_interleaving)
{
    size_t n = interleave(&(struct interleave){
        .actions = CANCEL + TASKS - 1, .length = 6, .begin = begin,
        .act = act, .end = end });
    CHECK(n > 300);
}
