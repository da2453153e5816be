// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_task_pool.c: at most `limit` tasks run; each call begins in order or is
 * discarded, and is counted until it has ended.
 */
#include "interleave.h"

#include <coil/task_pool.h>

struct job {
    struct coil_coro coro;
    int id, passes, err;
    struct hand *hand;
    int *inside, *most, *finals;
    bool in;
};

static void job(struct coil_coro *co)
{
    ASYNC(job, my) {
        my->in = true;
        if (my->inside && ++*my->inside > *my->most)
            *my->most = *my->inside;
        trace("%d", my->id);
        for (; my->passes > 0; my->passes--)
            AWAIT(coil_sleep(0));
        if (my->hand)
            AWAIT(hand_op(my->hand));
        if (my->err)
            FAIL(my->err);

    FINALLY;
        if (my->finals)
            ++*my->finals;
        if (my->in && my->inside)
            --*my->inside;
    }
}

struct spawns {
    struct coil_coro coro;
    struct coil_task_pool *pool;
    struct hand *hands;
    int i, n, err;
};

static void spawns(struct coil_coro *co)
{
    ASYNC(spawns, my) {
        for (; my->i < my->n; my->i++) {
            AWAIT(coil_task_pool_spawn(my->pool,
                                       CALL(job, .id = my->i,
                                            .hand = &my->hands[my->i],
                                            .err = my->err)));
            trace("s%d", my->i);
        }
        AWAIT(coil_task_pool_join(my->pool));
        trace("joined");
    }
}

/* "running free waiting" */
static void check(const struct coil_task_pool *pool, const char *expected)
{
    char text[64];
    snprintf(text, sizeof text, "%zu %zu %zu", coil_task_pool_running(pool),
             coil_task_pool_available(pool), coil_task_pool_waiting(pool));
    CHECK_STR(text, expected);
}

TEST(task_pool_spawn_waits_while_it_is_full)
{
    stage_open();
    struct coil_task_pool pool;
    struct hand hands[4] = { { 0 } };
    coil_task_pool_init(&pool, 2);
    check(&pool, "0 2 0");
    struct coil_task *t = coil_spawn(
        CALL(spawns, .pool = &pool, .hands = hands, .n = 4));
    stage_passes(3);
    CHECK_TRACE("s0 s1 0 1");
    check(&pool, "2 0 1");
    CHECK(!hands[2].started);
    hand_set(&hands[1], 0, 0);
    stage_passes(5);
    CHECK_TRACE("2 s2");
    check(&pool, "2 0 1");
    hand_set(&hands[0], 0, 0);
    hand_set(&hands[2], 0, 0);
    stage_passes(6);
    CHECK_TRACE("3 s3");
    check(&pool, "1 1 0");
    hand_set(&hands[3], 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("joined");
    check(&pool, "0 2 0");
    stage_close();
}

TEST(task_pool_begins_in_the_order_of_the_spawns)
{
    stage_open();
    struct coil_task_pool pool;
    int inside = 0, most = 0, finals = 0;
    coil_task_pool_init(&pool, 2);
    struct coil_future *f[6];
    for (int i = 0; i < 6; i++)
        f[i] = coil_task_pool_spawn(
            &pool, CALL(job, .id = i, .passes = 1 + i % 2, .inside = &inside,
                        .most = &most, .finals = &finals));
    CHECK_INT(stage_run(coil_spawn(coil_task_pool_join(&pool))), 0);
    CHECK_TRACE("0 1 2 3 4 5");
    CHECK_INT(most, 2);
    CHECK_INT(finals, 6);
    for (int i = 0; i < 6; i++) {
        CHECK_INT(coil_future_error(f[i]), 0);
        coil_future_unref(f[i]);
    }
    stage_close();
}

// A task that has not made its first step, and is no waiter yet, is before us.
TEST(task_pool_newcomer_overtakes_nobody)
{
    stage_open();
    struct coil_task_pool pool;
    struct coil_future *f[2];
    coil_task_pool_init(&pool, 0);
    f[0] = coil_task_pool_spawn(&pool, CALL(job, .id = 1));
    coil_task_pool_resize(&pool, 1);
    f[1] = coil_task_pool_spawn(&pool, CALL(job, .id = 2));
    CHECK(!coil_future_done(f[1]));
    stage_passes(9);
    CHECK_TRACE("1 2");
    for (int i = 0; i < 2; i++)
        coil_future_unref(f[i]);
    stage_close();
}

TEST(task_pool_resized_begins_as_many_as_there_is_room_for)
{
    stage_open();
    struct coil_task_pool pool;
    struct hand hands[5] = { { 0 } };
    struct coil_future *f[5];
    coil_task_pool_init(&pool, 0);
    for (int i = 0; i < 5; i++)
        f[i] = coil_task_pool_spawn(&pool,
                                    CALL(job, .id = i, .hand = &hands[i]));
    stage_passes(2);
    check(&pool, "0 0 5");
    coil_task_pool_resize(&pool, 3);
    stage_passes(3);
    CHECK_TRACE("0 1 2");
    check(&pool, "3 0 2");
    coil_task_pool_resize(&pool, 1); /* what runs goes on */
    for (int i = 0; i < 2; i++)
        hand_set(&hands[i], 0, 0);
    stage_passes(4);
    check(&pool, "1 0 2");
    CHECK_TRACE("");
    coil_task_pool_resize(&pool, 10);
    stage_passes(3);
    CHECK_TRACE("3 4");
    check(&pool, "3 7 0");
    for (int i = 0; i < 5; i++)
        coil_future_unref(f[i]);
    stage_close();
}

// As that of START: reported once, under the name of the task itself.
TEST(task_pool_reports_and_counts_what_fails)
{
    stage_open();
    struct coil_task_pool pool;
    struct hand hands[2] = { { 0 } };
    coil_task_pool_init(&pool, 5);
    struct coil_task *t = coil_spawn(CALL(spawns, .pool = &pool,
                                          .hands = hands, .n = 2,
                                          .err = -EIO));
    stage_passes(3);
    hand_set(&hands[0], 0, 0);
    stage_passes(4);
    CHECK_INT(coil_task_pool_failed(&pool), 1);
    CHECK_INT(stage_reported.n, 1);
    CHECK_INT(stage_reported.err, -EIO);
    CHECK_STR(stage_reported.name, "job");
    coil_task_pool_cancel_all(&pool);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_task_pool_failed(&pool), 1); /* cancelled is not failed */
    CHECK_INT(stage_reported.n, 1);
    stage_close();
}

// No task outlives its spawner.
TEST(task_pool_tasks_are_children_of_who_spawned_them)
{
    stage_open();
    struct coil_task_pool pool;
    struct hand hands[3] = { { 0 } };
    coil_task_pool_init(&pool, 1);
    struct coil_task *t = coil_spawn(
        CALL(spawns, .pool = &pool, .hands = hands, .n = 3));
    stage_passes(4);
    check(&pool, "1 0 1");
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(hands[0].cancels, 1);
    CHECK_INT(hands[1].started, 0);
    check(&pool, "0 1 0");
    stage_close();
}

struct tries {
    struct coil_coro coro;
    struct coil_task_pool *pool;
    int *finals, err;
};

static void tries(struct coil_coro *co)
{
    ASYNC(tries, my) {
        TRY_AWAIT(my->err, coil_wait_for(
            coil_task_pool_spawn(my->pool, CALL(job, .finals = my->finals)),
            COIL_MS(1)));
        trace("%s", my->err == -ETIMEDOUT ? "late" : "begun");
        AWAIT(coil_task_pool_join(my->pool));
    }
}

// The call gets a slot in time, or does not begin, but its FINALLY runs. It is
// the child of its spawner, not of wait_for, which has ended.
TEST(task_pool_spawn_with_a_deadline)
{
    for (int full = 0; full < 2; full++) {
        stage_open();
        struct coil_task_pool pool;
        int finals = 0;
        coil_task_pool_init(&pool, full ? 0 : 1);
        CHECK_INT(stage_run(coil_spawn(
            CALL(tries, .pool = &pool, .finals = &finals))), 0);
        CHECK_TRACE(full ? "late" : "begun 0");
        CHECK_INT(finals, 1);
        CHECK_INT(pool.waiting + pool.running, 0);
        stage_close();
    }
}

// Discarded before it was awaited: the call has not begun, and does not begin.
TEST(task_pool_spawn_that_is_dropped_is_taken_back)
{
    stage_open();
    struct coil_task_pool pool;
    int finals = 0;
    coil_task_pool_init(&pool, 0);
    coil_discard(coil_task_pool_spawn(&pool, CALL(job, .finals = &finals)));
    check(&pool, "0 0 1");
    stage_passes(3);
    coil_task_pool_resize(&pool, 1);
    stage_passes(3);
    CHECK_TRACE("");
    CHECK_INT(finals, 1);
    check(&pool, "0 1 0");
    stage_close();
}

/* ---- Without memory ------------------------------------------------------ */

struct crowd {
    struct coil_coro coro;
    struct coil_task_pool pool;
    int i, inside, most, finals;
};

static void crowd(struct coil_coro *co)
{
    ASYNC(crowd, my) {
        coil_task_pool_init(&my->pool, 3);
        for (; my->i < 12; my->i++)
            AWAIT(coil_task_pool_spawn(
                &my->pool, CALL(job, .passes = 1, .inside = &my->inside,
                                .most = &my->most, .finals = &my->finals)));
        AWAIT(coil_task_pool_join(&my->pool));
        CHECK_INT(my->finals, 12);
        CHECK(my->most <= 3);

    FINALLY;
        CHECK_INT(my->inside, 0);
        CHECK(my->pool.members == NULL);
        CHECK_INT(my->pool.running + my->pool.waiting, 0);
    }
}

static int play(void)
{
    struct coil_loop *loop;
    stage_trace[0] = '\0';
    int err = coil_loop_new(&loop, stage_options());
    if (err < 0)
        return err;
    struct coil_task *t = coil_spawn(CALL(crowd));
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    err = coil_future_error(coil_task_future(t));
    bool job_failed = stage_reported.n > 0;
    stage_reported.n = 0;
    coil_loop_close(loop);
    return err == 0 && job_failed ? -ENOMEM : err;
}

TEST(task_pool_without_memory_has_all_places_back)
{
    test_every_allocation(play);
}

// The future was never awaited, and so had not begun: the call went on.
TEST(task_pool_entry_cancelled_before_its_await_begins_no_call)
{
    stage_open();
    struct coil_task_pool pool;
    struct hand hands[2] = { { 0 }, { 0 } };
    coil_task_pool_init(&pool, 1);
    struct coil_future *first = coil_task_pool_spawn(
        &pool, CALL(job, .id = 1, .hand = &hands[0]));
    struct coil_future *f = coil_task_pool_spawn(
        &pool, CALL(job, .id = 2, .hand = &hands[1]));
    stage_passes(2);
    CHECK(coil_future_cancel(f));
    CHECK_INT(coil_future_error(f), -ECANCELED);
    hand_set(&hands[0], 0, 0);
    stage_passes(5);
    CHECK_TRACE("1");
    CHECK_INT(coil_task_pool_running(&pool), 0);
    coil_future_unref(f);
    coil_future_unref(first);
    stage_close();
}

/* ---- All interleavings --------------------------------------------------- */

enum { TASKS = 3 };

static struct {
    struct coil_task_pool pool;
    struct coil_task *t[TASKS];
    int started, inside, most, finals, begun;
} world;

struct asks {
    struct coil_coro coro;
    int err;
    bool asked;
};

static void asks(struct coil_coro *co)
{
    ASYNC(asks, my) {
        AWAIT(coil_task_pool_spawn(
            &world.pool, CALL(job, .passes = 1, .inside = &world.inside,
                              .most = &world.most, .finals = &world.finals)));
        world.begun++;
        JOIN();
    }
}

static void begin(void)
{
    memset(&world, 0, sizeof world);
    stage_trace[0] = '\0';
    coil_task_pool_init(&world.pool, 1);
}

enum { START = 1, GROW, SHRINK, CANCEL_ALL, CANCEL };

static bool act(int action)
{
    switch (action) {
    case START:
        if (world.started == TASKS)
            return false;
        world.t[world.started++] = coil_spawn(CALL(asks));
        return true;
    case GROW:
        if (world.pool.limit == 2)
            return false;
        coil_task_pool_resize(&world.pool, world.pool.limit + 1);
        return true;
    case SHRINK:
        if (world.pool.limit == 0)
            return false;
        coil_task_pool_resize(&world.pool, world.pool.limit - 1);
        return true;
    case CANCEL_ALL:
        if (!world.pool.members)
            return false;
        coil_task_pool_cancel_all(&world.pool);
        return true;
    default:
        return action - CANCEL < world.started &&
               coil_task_cancel(world.t[action - CANCEL]);
    }
}

// Never more tasks than slots; every FINALLY of a call that was made has run;
// all slots are free and no call waits.
static void end(void)
{
    if (world.pool.limit == 0)
        coil_task_pool_resize(&world.pool, 1);
    stage_passes(20);
    for (int i = 0; i < world.started; i++) {
        CHECK(coil_task_done(world.t[i]));
        coil_task_drop(&world.t[i]);
    }
    CHECK(world.most <= 2);
    CHECK_INT(world.inside, 0);
    CHECK(world.finals >= world.begun && world.finals <= world.started);
    CHECK(world.pool.members == NULL);
    CHECK_INT(world.pool.running, 0);
    CHECK_INT(world.pool.waiting, 0);
    CHECK(coil_waiters_empty(&world.pool.waiters));
    stage_trace[0] = '\0';
}

TEST(task_pool_loses_no_place_in_any_interleaving)
{
    size_t n = interleave(&(struct interleave){
        .actions = CANCEL + TASKS - 1, .length = 6, .begin = begin,
        .act = act, .end = end });
    CHECK(n > 300);
}
