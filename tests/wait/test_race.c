// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_race.c: the first success wins; and no task runs when a race ends.
 */
#include "work.h"

#include <coil/race.h>
#include <coil/semaphore.h>

#include <stdint.h>
#include <stdlib.h>

/* ---- Tasks ------------------------------------------------------------ */

TEST(race_ends_with_the_first_success_when_the_others_have_ended)
{
    stage_open();
    struct hand op[3] = { { .on_cancel = HAND_LINGERS }, { 0 }, { 0 } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]),
                              stay("c", &op[2]) };
    struct coil_task *r = await(coil_race(t, 3));
    stage_passes(1);
    hand_set(&op[1], 0, 20);
    stage_passes(4);
    CHECK_TRACE("b c");
    CHECK(!coil_task_done(r)); /* a has not let go yet */
    hand_set(&op[0], -ECANCELED, 0);
    CHECK_INT(stage_run(r), 0);
    CHECK_TRACE("a =1");
    CHECK_INT(coil_future_int(coil_task_future(t[1])), 20);
    CHECK_INT(coil_future_error(coil_task_future(t[0])), -ECANCELED);
    stage_close();
}

TEST(race_goes_on_after_a_failure)
{
    stage_open();
    struct hand op[2] = { { 0 }, { 0 } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]) };
    struct coil_task *r = await(coil_race(t, 2));
    stage_passes(1);
    hand_set(&op[0], -EIO, 0);
    stage_passes(3);
    CHECK(!coil_task_done(r));
    CHECK_INT(op[1].cancels, 0);
    hand_set(&op[1], 0, 2);
    CHECK_INT(stage_run(r), 0);
    CHECK_TRACE("a b =1");
    stage_close();
    CHECK_INT(stage_reported.n, 0); /* a race is told of each failure */
}

// Each has its own error; the race has that of the one wanted most.
TEST(race_that_all_lose_fails_with_the_first_error_of_the_array)
{
    stage_open();
    struct coil_task *t[] = {
        coil_spawn(CALL(work, .passes = 1, .err = -ECANCELED)),
        coil_spawn(CALL(work, .passes = 3, .err = -EIO)),
        coil_spawn(CALL(work, .passes = 2, .err = -EPIPE)),
    };
    CHECK_INT(stage_run(await(coil_race(t, 3))), 0);
    CHECK_TRACE("=-5");
    CHECK_INT(coil_future_error(coil_task_future(t[2])), -EPIPE);
    CHECK_INT(stage_run(await(coil_race(t, 1))), 0);
    CHECK_TRACE("=-125");
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

TEST(race_of_nothing_is_an_error)
{
    stage_open();
    struct coil_task *none = NULL;
    stage_run(await(coil_race(&none, 0)));
    CHECK_TRACE("=-22");
    stage_close();
}

// asyncio's eager tasks: children may be done at creation.
TEST(race_of_what_is_done_takes_no_pass)
{
    stage_open();
    struct coil_task *t[] = { coil_spawn(CALL(work, .err = -EIO)),
                              coil_spawn(CALL(work, .id = 1)),
                              coil_spawn(CALL(work, .id = 2)) };
    stage_passes(2);
    struct coil_task *r = await(coil_race(t, 3));
    stage_passes(1);
    CHECK(coil_task_done(r));
    CHECK_TRACE("=1");
    r = await(coil_race(t, 1));
    stage_passes(1);
    CHECK(coil_task_done(r));
    CHECK_TRACE("=-5");
    stage_close();
}

TEST(race_won_already_cancels_and_awaits_the_rest)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *t[] = { stay("a", &op), coil_spawn(CALL(work)) };
    stage_passes(2);
    CHECK_INT(stage_run(await(coil_race(t, 2))), 0);
    CHECK_TRACE("a =1");
    stage_close();
}

TEST(race_takes_the_same_task_twice)
{
    for (int err = -EIO; err <= 0; err += EIO) {
        stage_open();
        struct coil_task *a = coil_spawn(CALL(work, .passes = 2, .err = err));
        struct coil_task *t[] = { a, a };
        CHECK_INT(stage_run(await(coil_race(t, 2))), 0);
        CHECK_TRACE(err ? "=-5" : "=0");
        stage_close();
    }
}

TEST(race_cancelled_cancels_and_awaits_all)
{
    stage_open();
    struct hand op[2] = { { .on_cancel = HAND_LINGERS }, { 0 } };
    struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]) };
    struct coil_task *r = await(coil_race(t, 2));
    stage_passes(1);
    coil_task_cancel(r);
    stage_passes(4);
    CHECK(!coil_task_done(r));
    hand_set(&op[0], -ECANCELED, 0);
    CHECK_INT(stage_run(r), -ECANCELED);
    CHECK_TRACE("b a");
    stage_close();
}

// The second request ends the wait for the losers. The winner that there is by
// then is the result.
TEST(race_cancelled_twice_ends_at_once)
{
    for (int won = 0; won < 2; won++) {
        stage_open();
        struct hand op[2] = { { .on_cancel = HAND_LINGERS }, { 0 } };
        struct coil_task *t[] = { stay("a", &op[0]), stay("b", &op[1]) };
        struct coil_task *r = await(coil_race(t, 2));
        stage_passes(1);
        hand_set(&op[1], won ? 0 : -EIO, 1);
        stage_passes(2);
        coil_task_cancel(r);
        stage_passes(3);
        CHECK(!coil_task_done(r));
        coil_task_cancel(r);
        CHECK_INT(stage_run(r), won ? 0 : -ECANCELED);
        CHECK_TRACE(won ? "b =1" : "b");
        hand_set(&op[0], -ECANCELED, 0);
        stage_close();
        CHECK_TRACE("a");
    }
}

// Success beats: it is told, and the request strikes the next await.
TEST(race_won_although_it_was_cancelled_returns_the_winner)
{
    stage_open();
    struct hand op[2] = { { .on_cancel = HAND_LINGERS }, { 0 } }, then = { 0 };
    struct coil_task *t[] = { coil_spawn(hand_op(&op[0])), stay("b", &op[1]) };
    struct coil_task *r = coil_spawn(
        CALL(awaits, .what = coil_race(t, 2), .then = &then));
    stage_passes(1);
    coil_task_cancel(r);
    stage_passes(3);
    hand_set(&op[0], 0, 5);
    CHECK_INT(stage_run(r), -ECANCELED);
    CHECK_TRACE("b =0");
    CHECK_INT(then.started, 0);
    CHECK_INT(coil_future_int(coil_task_future(t[0])), 5);
    stage_close();
}

struct runs_in_a_circle {
    struct coil_coro coro;
    struct coil_task **owner;
    bool wins;
};

static void runs_in_a_circle(struct coil_coro *co)
{
    ASYNC(runs_in_a_circle, my) {
        if (my->wins)
            AWAIT(coil_sleep(0));
        else
            AWAIT(*my->owner);
    FINALLY;
        trace("%s", my->wins ? "wins" : "loses");
    }
}

// A racer awaits the task that awaits the race: neither would ever end. That
// task is cancelled through the racer; if the race is won, it returns all the
// same.
TEST(race_in_a_circle_ends)
{
    for (int wins = 0; wins < 2; wins++) {
        stage_open();
        struct coil_task *owner;
        struct coil_task *t[] = {
            SPAWN(runs_in_a_circle, .owner = &owner),
            SPAWN(runs_in_a_circle, .owner = &owner, .wins = wins),
        };
        owner = await(coil_race(t, 2));
        stage_passes(1);
        if (!wins)
            coil_task_cancel(owner);
        CHECK_INT(stage_run(owner), wins ? 0 : -ECANCELED);
        stage_passes(3);
        CHECK_TRACE(wins ? "wins =1 loses" : "loses loses");
        CHECK_INT(stage_tasks(), 0);
        stage_close();
    }
}

TEST(race_that_is_dropped_leaves_the_tasks_alone)
{
    stage_open();
    struct coil_task *a = coil_spawn(CALL(work, .passes = 3));
    coil_discard(coil_race(&a, 1));
    CHECK_INT(stage_run(a), 0);
    stage_close();
}

/* ---- One after the other ---------------------------------------------- */

enum { CALLS_MAX = 6 };

/* What each call does: an operation by hand. */
struct calls {
    int n, asked;
    struct hand op[CALLS_MAX];
};

static struct coil_future *next_call(void *arg)
{
    struct calls *c = arg;
    static const char *const names[] = { "a", "b", "c", "d", "e", "f" };
    if (c->asked == c->n)
        return NULL;
    int i = c->asked++;
    trace("(%s", names[i]);
    return CALL(stays, .name = names[i], .op = &c->op[i]);
}

TEST(staggered_race_begins_the_next_when_one_has_failed)
{
    stage_open();
    struct calls c = { .n = 3 };
    int errors[3];
    struct coil_race_log log = { .errors = errors, .errors_n = 3 };
    struct coil_task *r = await(
        coil_staggered_race(COIL_NEVER, &log, next_call, &c));
    stage_passes(5);
    CHECK_TRACE("(a");
    hand_set(&c.op[0], -EIO, 0);
    stage_passes(5);
    CHECK_TRACE("a (b");
    hand_set(&c.op[1], 0, 42);
    CHECK_INT(stage_run(r), 0);
    CHECK_TRACE("b =42"); /* the third never began */
    CHECK_INT(log.winner, 1);
    CHECK_INT(log.begun, 2);
    CHECK_INT(errors[0], -EIO);
    CHECK_INT(errors[1], 0);
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

static void pass_until(const int *counter, int n)
{
    while (*counter < n)
        coil_loop_pass(stage_loop, COIL_MS(5));
}

// The delay counts from the last start; a winner cancels and awaits the rest.
TEST(staggered_race_begins_the_next_after_the_delay)
{
    stage_open();
    struct calls c = { .n = 3, .op = { [0].on_cancel = HAND_LINGERS } };
    int errors[3];
    struct coil_race_log log = { .errors = errors, .errors_n = 3 };
    struct coil_task *r = await(
        coil_staggered_race(COIL_MS(1), &log, next_call, &c));
    pass_until(&c.op[2].started, 1);
    CHECK_TRACE("(a (b (c");
    hand_set(&c.op[1], 0, 7);
    stage_passes(4);
    CHECK_TRACE("b c");
    CHECK(!coil_task_done(r));
    hand_set(&c.op[0], -ECANCELED, 0);
    CHECK_INT(stage_run(r), 0);
    CHECK_TRACE("a =7");
    CHECK_INT(log.winner, 1);
    CHECK_INT(log.begun, 3);
    CHECK_INT(errors[0], -ECANCELED);
    CHECK_INT(errors[1], 0);
    CHECK_INT(errors[2], -ECANCELED);
    CHECK_INT(stage_timers(), 0);
    stage_close();
}

// asyncio: only the failure of the newest one calls the next before its time.
TEST(staggered_race_waits_out_the_delay_when_an_older_one_fails)
{
    stage_open();
    struct calls c = { .n = 3 };
    int64_t began = coil_now(), delay = COIL_MS(20);
    struct coil_task *r = await(
        coil_staggered_race(delay, NULL, next_call, &c));
    pass_until(&c.op[1].started, 1);
    hand_set(&c.op[0], -EIO, 0);
    while (c.asked == 2)
        stage_passes(1);
    CHECK(coil_now() - began >= 2 * delay);
    pass_until(&c.op[2].started, 1);
    hand_set(&c.op[2], 0, 9);
    CHECK_INT(stage_run(r), 0);
    CHECK(strstr(stage_trace, "c b =9"));
    stage_close();
}

TEST(staggered_race_without_delay_begins_all_at_once)
{
    static const int64_t delays[] = { 0, -1, INT64_MIN };
    for (int i = 0; i < 3; i++) {
        stage_open();
        struct calls c = { .n = 3 };
        struct coil_task *r = await(
            coil_staggered_race(delays[i], NULL, next_call, &c));
        stage_passes(2);
        CHECK_TRACE("(a (b (c");
        hand_set(&c.op[2], 0, 3);
        CHECK_INT(stage_run(r), 0);
        CHECK_TRACE("c a b =3");
        stage_close();
    }
}

TEST(staggered_race_that_all_lose_fails_and_tells_each_error)
{
    stage_open();
    struct calls c = { .n = 3 };
    int errors[2] = { 1, 1 };
    struct coil_race_log log = { .errors = errors, .errors_n = 2 };
    struct coil_task *r = await(
        coil_staggered_race(COIL_NEVER, &log, next_call, &c));
    for (int i = 0; i < 3; i++) {
        static const int err[] = { -ECANCELED, -EIO, -EPIPE };
        stage_passes(4);
        hand_set(&c.op[i], err[i], 0);
    }
    CHECK_INT(stage_run(r), 0);
    CHECK_TRACE("(a a (b b (c c =-5");
    CHECK_INT(errors[0], -ECANCELED);
    CHECK_INT(errors[1], -EIO); /* no room for more */
    CHECK_INT(log.begun, 3);
    CHECK(log.winner == SIZE_MAX);
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

TEST(staggered_race_of_nothing_is_an_error)
{
    stage_open();
    struct calls c = { .n = 0 };
    stage_run(await(coil_staggered_race(0, NULL, next_call, &c)));
    CHECK_TRACE("=-22");
    stage_close();
}

static struct coil_future *done_call(void *arg)
{
    int *n = arg;
    switch ((*n)++) {
    case 0:
        return coil_future_from_nomem();
    case 1:
        return coil_future_from_error(-EIO, 0);
    case 2:
        return coil_future_from_int(6);
    default:
        return NULL;
    }
}

// asyncio: works with children that are done at creation.
TEST(staggered_race_of_what_is_done_already)
{
    stage_open();
    int n = 0, errors[3];
    struct coil_race_log log = { .errors = errors, .errors_n = 3 };
    stage_run(await(coil_staggered_race(COIL_NEVER, &log, done_call, &n)));
    CHECK_TRACE("=6");
    CHECK_INT(errors[0], -ENOMEM);
    CHECK_INT(errors[1], -EIO);
    CHECK_INT(log.winner, 2);
    stage_close();
}

TEST(staggered_race_cancelled_cancels_and_awaits_all)
{
    stage_open();
    struct calls c = { .n = 3, .op = { [0].on_cancel = HAND_LINGERS } };
    int errors[3];
    struct coil_race_log log = { .errors = errors, .errors_n = 3, .winner = 1 };
    struct coil_task *r = await(
        coil_staggered_race(COIL_MS(1), &log, next_call, &c));
    pass_until(&c.op[1].started, 1);
    coil_task_cancel(r);
    stage_passes(4);
    CHECK(!coil_task_done(r));
    hand_set(&c.op[0], -ECANCELED, 0);
    CHECK_INT(stage_run(r), -ECANCELED);
    CHECK_TRACE("(a (b b a");
    CHECK(log.winner == SIZE_MAX);
    CHECK_INT(log.begun, 2);
    CHECK_INT(stage_timers(), 0);
    stage_close();
}

// Won, then cancelled before it was told: the value is delivered.
TEST(staggered_race_cancelled_in_the_pass_in_which_it_was_won)
{
    stage_open();
    struct calls c = { .n = 1 };
    struct hand then = { 0 };
    struct coil_future *f = coil_staggered_race(0, NULL, next_call, &c);
    struct coil_task *r = coil_spawn(CALL(awaits, .what = f, .then = &then));
    stage_passes(3);
    hand_set(&c.op[0], 0, 8);
    stage_passes(2);
    CHECK_TRACE("(a a");
    coil_task_cancel(r);
    CHECK_INT(stage_run(r), -ECANCELED);
    CHECK_TRACE("=8");
    stage_close();
}

// Both succeed in one pass: the second has lost, and its value is dropped.
TEST(staggered_race_logs_one_winner)
{
    for (int first = 0; first < 2; first++) {
        stage_open();
        struct calls c = { .n = 3 };
        int errors[3];
        struct coil_race_log log = { .errors = errors, .errors_n = 3 };
        struct coil_task *r = await(
            coil_staggered_race(0, &log, next_call, &c));
        stage_passes(5);
        hand_set(&c.op[first], 0, 10 + first);
        hand_set(&c.op[!first], 0, 10 + !first);
        CHECK_INT(stage_run(r), 0);
        CHECK_TRACE(first ? "(a (b (c b a c =11" : "(a (b (c a b c =10");
        CHECK_INT(log.winner, first);
        CHECK_INT(errors[first], 0);
        CHECK_INT(errors[!first], -ECANCELED);
        CHECK_INT(errors[2], -ECANCELED);
        stage_close();
    }
}

static int freed;

static void count_and_free(void *memory)
{
    freed++;
    free(memory);
}

struct gives {
    struct coil_coro coro;
    int passes;
};

static void gives(struct coil_coro *co)
{
    ASYNC_GIVES(gives, my, count_and_free) {
        for (; my->passes > 0; my->passes--)
            AWAIT(coil_sleep(0));
        RETURN(malloc(1));
    }
}

static struct coil_future *next_giver(void *arg)
{
    int *n = arg;
    if (*n == 3)
        return NULL;
    ++*n;
    return CALL(gives, .passes = 2);
}

struct takes {
    struct coil_coro coro;
    bool takes;
    int n;
    void *memory;
};

static void takes(struct coil_coro *co)
{
    ASYNC(takes, my) {
        if (my->takes)
            AWAIT_TO(my->memory,
                     coil_staggered_race(0, NULL, next_giver, &my->n));
        else
            AWAIT(coil_staggered_race(0, NULL, next_giver, &my->n));
    FINALLY;
        free(my->memory);
    }
}

// Three that succeed in the same pass: one pointer goes to the await, the
// others are freed; and at every pass a cancellation loses none.
TEST(staggered_race_disposes_of_what_the_losers_give)
{
    for (int how = 0; how < 2; how++)
        for (int when = 0; when < 10; when++) {
            stage_open();
            freed = 0;
            struct coil_task *t = SPAWN(takes, .takes = how);
            stage_passes(when);
            coil_task_cancel(t);
            coil_loop_run_until_complete(stage_loop, t);
            struct takes *frame = coil_task_frame(t);
            CHECK(freed <= 3);
            if (when > 6)
                CHECK_INT(freed, frame->takes ? 2 : 3);
            stage_close();
        }
}

static struct coil_semaphore permits;

static struct coil_future *next_permit(void *arg)
{
    int *n = arg;
    return ++*n > 3 ? NULL : coil_semaphore_acquire(&permits);
}

// The log asked each call for its error, which takes the permit of a call that
// has succeeded.
TEST(staggered_race_with_a_log_gives_back_the_permits_of_losers)
{
    for (int taken = 0; taken < 2; taken++) {
        stage_open();
        int n = 0, errors[3], err;
        struct coil_race_log log = { .errors = errors, .errors_n = 3 };
        coil_semaphore_init_bounded(&permits, 3);
        struct coil_task *t = coil_spawn(
            coil_staggered_race(0, &log, next_permit, &n));
        stage_passes(5);
        CHECK(coil_task_done(t));
        CHECK_INT(log.begun, 3);
        CHECK_INT(log.winner, 0);
        CHECK_INT(coil_semaphore_value(&permits), 2);
        if (taken)
            CHECK(coil_task_peek(t, &err));
        coil_task_drop(&t);
        CHECK_INT(coil_semaphore_value(&permits), taken ? 2 : 3);
        stage_close();
    }
}

/* ---- Whatever happens ------------------------------------------------- */

struct races {
    struct coil_coro coro;
    struct source source;
    struct coil_task *t[3];
    int delay_ns;
};

static int some_passes(int i)
{
    return 3 - i;
}

static int first_fails(int i)
{
    return i == 0 ? -EIO : 0;
}

static void races(struct coil_coro *co)
{
    ASYNC(races, my) {
        for (int i = 0; i < 3; i++)
            my->t[i] = coil_spawn(CALL(work, .passes = 2 + i, .cleanup = i,
                                       .begun = &my->source.begun,
                                       .over = &my->source.over));
        AWAIT(coil_race(my->t, 3));
        my->source.n = 3;
        my->source.passes = some_passes;
        my->source.err = first_fails;
        AWAIT(coil_staggered_race(my->delay_ns, NULL, next, &my->source));
        my->source.asked = 0;
        AWAIT(coil_staggered_race(COIL_NEVER, NULL, next, &my->source));
    FINALLY;
        CHECK(my->source.begun <= my->source.over);
        trace("finally");
    }
}

TEST(race_survives_a_cancel_at_every_pass)
{
    for (int again = 0; again < 4; again++)
        for (int when = 0; when < 24; when++) {
            stage_open();
            struct coil_task *t = SPAWN(races);
            stage_passes(when);
            coil_task_cancel(t);
            stage_passes(again);
            coil_task_cancel(t);
            coil_loop_run_until_complete(stage_loop, t);
            CHECK_TRACE("finally");
            CHECK_INT(stage_tasks(), 0);
            CHECK_INT(stage_timers(), 0);
            stage_close();
        }
}

static struct coil_future *make_races(void)
{
    return CALL(races);
}

static int racing(void)
{
    int err = run_alone(make_races);
    stage_trace[0] = '\0';
    return err == -EIO ? -ENOMEM : err; /* the winner had no memory */
}

TEST(race_survives_every_failed_allocation)
{
    test_every_allocation(racing);
}

/* ---- Depth -------------------------------------------------------------- */

static void races_down(struct coil_coro *co);

struct races_down {
    struct coil_coro coro;
    int depth;
    struct coil_task *task;
};

static void races_down(struct coil_coro *co)
{
    ASYNC(races_down, my) {
        if (my->depth == 0)
            AWAIT(coil_sleep(COIL_SECONDS(3600)));
        my->task = SPAWN(races_down, .depth = my->depth - 1);
        AWAIT(coil_race(&my->task, 1));
    }
}

static void *run_races_down(void *arg)
{
    struct coil_loop *loop;
    CHECK_INT(coil_loop_new(&loop, NULL), 0);
    struct coil_task *t = coil_spawn(CALL(races_down, .depth = 20000));
    for (int i = 0; i < 20010; i++)
        coil_loop_pass(loop, 0);
    coil_task_cancel(t);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(coil_future_error(coil_task_future(t)), -ECANCELED);
    coil_loop_close(loop);
    return arg;
}

// A race cancels races, as deep as they go; the C stack must not.
TEST(race_nested_deeply_is_cancelled_on_a_small_stack)
{
    work_on_small_stack(run_races_down);
}
