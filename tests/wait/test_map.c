// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_map.c: many calls, at most `limit` at once, results in both orders.
 */
#include "work.h"

struct maps {
    struct coil_coro coro;
    struct source *source;
    size_t limit;
    bool ordered, quiet;
    int leave_after, pause, p;
    struct coil_task *task;
    int seen, err, id;
    long sum;
};

static void maps(struct coil_coro *co)
{
    ASYNC(maps, my) {
        FOR_AWAIT(my->task, my->ordered ? coil_map(my->limit, next, my->source)
                                        : coil_map_unordered(my->limit, next,
                                                             my->source)) {
            CHECK(coil_task_done(my->task));
            TRY_AWAIT_TO(my->err, my->id, my->task);
            if (!my->quiet)
                trace("%d", my->err ? my->err : my->id);
            my->seen++;
            my->sum += my->err ? 0 : my->id;
            for (my->p = my->pause; my->p > 0; my->p--)
                AWAIT(coil_sleep(0));
            if (my->seen == my->leave_after)
                break;
        }
        if (!my->quiet)
            trace(".");
        AWAIT(coil_sleep(0));
        RETURN(my->seen);
    }
}

static int backwards(int i)
{
    return 3 * (4 - i % 4);
}

TEST(map_yields_in_the_order_of_the_source)
{
    stage_open();
    struct source s = { .n = 8, .passes = backwards };
    struct coil_task *t = coil_spawn(
        CALL(maps, .source = &s, .limit = 4, .ordered = true));
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("0 1 2 3 4 5 6 7 .");
    CHECK_INT(s.most, 4);
    CHECK_INT(s.over, 8);
    stage_close();
}

TEST(map_unordered_yields_as_they_end)
{
    stage_open();
    struct source s = { .n = 4, .passes = backwards };
    struct coil_task *t = coil_spawn(CALL(maps, .source = &s, .limit = 4));
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("3 2 1 0 .");
    stage_close();
}

// Never more than `limit`, whatever the limit and the number of calls.
TEST(map_keeps_its_bound)
{
    for (int ordered = 0; ordered < 2; ordered++)
        for (size_t limit = 1; limit <= 7; limit++)
            for (int n = 0; n <= 10; n++) {
                stage_open();
                struct source s = { .n = n, .passes = backwards };
                struct coil_task *t = coil_spawn(
                    CALL(maps, .source = &s, .limit = limit,
                         .ordered = ordered, .quiet = true));
                CHECK_INT(stage_run(t), 0);
                CHECK_INT(coil_future_int(coil_task_future(t)), n);
                CHECK_INT(s.most, (size_t)n < limit ? n : (int)limit);
                CHECK_INT(s.over, n);
                stage_close();
            }
}

struct checks_lazy {
    struct coil_coro coro;
    struct source *source;
    bool ordered;
    struct coil_task *task;
    int read, i;
};

static void checks_lazy(struct coil_coro *co)
{
    ASYNC(checks_lazy, my) {
        FOR_AWAIT(my->task, my->ordered
                                ? coil_map(3, next, my->source)
                                : coil_map_unordered(3, next, my->source)) {
            my->read++;
            for (my->i = 0; my->i < 10; my->i++)
                AWAIT(coil_sleep(0));
            /* The task that is read and those that have ended keep a slot. */
            CHECK_INT(my->source->asked,
                      my->read + 2 < 9 ? my->read + 2 : 9);
            CHECK_INT(my->source->running, 0);
        }
    }
}

// Back-pressure: results that are not read hold up the source.
TEST(map_asks_its_source_only_when_there_is_room)
{
    for (int ordered = 0; ordered < 2; ordered++) {
        stage_open();
        struct source s = { .n = 9, .passes = NULL };
        struct coil_task *t = coil_spawn(
            CALL(checks_lazy, .source = &s, .ordered = ordered));
        CHECK_INT(s.asked, 0);
        CHECK_INT(stage_run(t), 0);
        stage_close();
    }
}

// Not awaited, the source is not asked at all.
TEST(map_that_is_dropped_never_asks_its_source)
{
    stage_open();
    struct source s = { .n = 9 };
    coil_discard(coil_map(3, next, &s));
    stage_passes(3);
    CHECK_INT(s.asked, 0);
    stage_close();
}

static struct hand ops[4];

static struct coil_future *by_hand(struct source *s, int i)
{
    static const char *const names[] = { "a", "b", "c", "d" };
    (void)s;
    return CALL(stays, .name = names[i], .op = &ops[i]);
}

// eventlet's GreenPile: next() waits for the next one only, and those behind it
// go on meanwhile; imap_unordered gives what is there.
TEST(map_waits_for_the_next_one_only)
{
    for (int ordered = 0; ordered < 2; ordered++) {
        stage_open();
        memset(ops, 0, sizeof ops);
        struct source s = { .n = 4, .call = by_hand };
        struct coil_task *t = coil_spawn(
            CALL(maps, .source = &s, .limit = 3, .ordered = ordered));
        stage_passes(3);
        hand_set(&ops[1], 0, 11);
        stage_passes(4);
        CHECK_TRACE(ordered ? "b" : "b 11");
        CHECK_INT(s.asked, ordered ? 3 : 4); /* unread, b keeps its slot */
        hand_set(&ops[0], 0, 10);
        stage_passes(4);
        CHECK_TRACE(ordered ? "a 10 11" : "a 10");
        CHECK_INT(s.asked, 4);
        hand_set(&ops[3], 0, 13);
        hand_set(&ops[2], 0, 12);
        CHECK_INT(stage_run(t), 0);
        CHECK_TRACE(ordered ? "d c 12 13 ." : "d c 13 12 .");
        stage_close();
    }
}

// gevent's Pool.kill: a loop that is cancelled cancels the tasks of its map.
TEST(map_cancelled_while_it_waits_cancels_and_awaits_what_runs)
{
    for (int ordered = 0; ordered < 2; ordered++) {
        stage_open();
        memset(ops, 0, sizeof ops);
        ops[1].on_cancel = HAND_LINGERS;
        struct source s = { .n = 4, .call = by_hand };
        struct coil_task *t = coil_spawn(
            CALL(maps, .source = &s, .limit = 2, .ordered = ordered));
        stage_passes(3);
        coil_task_cancel(t);
        stage_passes(4);
        CHECK(!coil_task_done(t));
        CHECK_INT(ops[0].cancels + ops[1].cancels, 2);
        hand_set(&ops[1], -ECANCELED, 0);
        CHECK_INT(stage_run(t), -ECANCELED);
        CHECK_TRACE("a b");
        CHECK_INT(s.asked, 2);
        stage_close();
    }
}

static int for_ever(int i)
{
    return i == 0 ? 0 : 1000000;
}

// Leaving cancels what runs and waits for it: `arg` is lent until then.
TEST(map_left_early_cancels_and_awaits_what_runs)
{
    for (int ordered = 0; ordered < 2; ordered++) {
        stage_open();
        struct source s = { .n = 9, .passes = for_ever };
        struct coil_task *t = coil_spawn(
            CALL(maps, .source = &s, .limit = 3, .ordered = ordered,
                 .leave_after = 1));
        CHECK_INT(stage_run(t), 0);
        CHECK_TRACE("0 .");
        CHECK_INT(s.begun, s.over);
        CHECK_INT(s.over, s.asked);
        CHECK_INT(s.running, 0);
        stage_close();
    }
}

static int odd_fails(int i)
{
    return i % 2 ? -EIO : 0;
}

TEST(map_yields_calls_that_fail)
{
    stage_open();
    struct source s = { .n = 5, .err = odd_fails };
    struct coil_task *t = coil_spawn(
        CALL(maps, .source = &s, .limit = 2, .ordered = true));
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("0 -5 2 -5 4 .");
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

struct skims {
    struct coil_coro coro;
    struct source *source;
    struct coil_task *task;
};

static void skims(struct coil_coro *co)
{
    ASYNC(skims, my) {
        FOR_AWAIT(my->task, coil_map_unordered(2, next, my->source)) {
        }
    }
}

// Unread errors are reported, each once; no call is forgotten for it.
TEST(map_reports_the_errors_that_nobody_fetched)
{
    stage_open();
    struct source s = { .n = 7, .err = odd_fails };
    CHECK_INT(stage_run(coil_spawn(CALL(skims, .source = &s))), 0);
    CHECK_INT(stage_reported.n, 3);
    stage_close();
    CHECK_INT(stage_reported.n, 3);
}

static struct coil_future *any_future(struct source *s, int i)
{
    (void)s;
    switch (i % 4) {
    case 0:
        return coil_future_from_int(i);
    case 1:
        return coil_future_from_nomem();
    case 2:
        return coil_future_from_error(-EIO, 0);
    default:
        return CALL(work, .id = i);
    }
}

// Also a CALL that found no memory, and what is done when it is made.
TEST(map_takes_any_future_from_its_source)
{
    for (int ordered = 0; ordered < 2; ordered++)
        for (size_t limit = 1; limit < 5; limit++) {
            stage_open();
            struct source s = { .n = 8, .call = any_future };
            struct coil_task *t = coil_spawn(
                CALL(maps, .source = &s, .limit = limit, .ordered = true));
            CHECK_INT(stage_run(t), 0);
            CHECK_TRACE("0 -12 -5 3 4 -12 -5 7 .");
            stage_close();
        }
    CHECK_INT(stage_reported.n, 0);
}

struct fails_to_map {
    struct coil_coro coro;
    size_t limit;
    struct coil_task *task;
    struct source *source;
};

static void fails_to_map(struct coil_coro *co)
{
    ASYNC(fails_to_map, my) {
        FOR_AWAIT(my->task, coil_map_unordered(my->limit, next, my->source))
            trace("not here");
        trace("nor here");
    }
}

TEST(map_with_limit_0_is_an_error)
{
    stage_open();
    struct source s = { .n = 3 };
    CHECK_INT(stage_run(coil_spawn(CALL(fails_to_map, .source = &s))),
              -EINVAL);
    CHECK_TRACE("");
    CHECK_INT(s.asked, 0);
    stage_close();
}

// "No limit" is not to be a multiplication that overflows.
TEST(map_with_a_limit_beyond_memory_is_an_error)
{
    stage_open();
    struct source s = { .n = 3 };
    size_t limits[] = { SIZE_MAX, (SIZE_MAX >> 6) + 2, (SIZE_MAX >> 5) + 2,
                        (SIZE_MAX >> 4) + 2, (SIZE_MAX >> 3) + 2 };
    for (int i = 0; i < 5; i++)
        CHECK_INT(stage_run(coil_spawn(
                      CALL(fails_to_map, .source = &s, .limit = limits[i]))),
                  -ENOMEM);
    CHECK_INT(s.asked, 0);
    stage_close();
}

// The source says "no more" once, and is not asked again.
TEST(map_does_not_ask_a_source_that_has_ended)
{
    stage_open();
    struct source s = { .n = 1 };
    struct coil_task *t = coil_spawn(CALL(maps, .source = &s, .limit = 3));
    stage_passes(1);
    s.n = 5;
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(s.asked, 1);
    CHECK_TRACE("0 .");
    stage_close();
}

static int some(int i)
{
    return i * 7 % 5;
}

// 100,000 calls with 100 at once: memory is that of 100.
TEST(map_of_many_takes_the_memory_of_few)
{
    int n = test_is_slow() ? 10000 : 100000;
    for (int ordered = 0; ordered < 2; ordered++) {
        stage_open();
        struct source s = { .n = n, .passes = some };
        struct coil_task *t = coil_spawn(
            CALL(maps, .source = &s, .limit = 100, .ordered = ordered,
                 .quiet = true));
        struct coil_loop_stats stats;
        size_t most = 0;
        while (!coil_task_done(t)) {
            coil_loop_pass(stage_loop, COIL_NEVER);
            coil_loop_get_stats(stage_loop, &stats);
            most = stats.memory_bytes > most ? stats.memory_bytes : most;
        }
        CHECK_INT(coil_future_int(coil_task_future(t)), n);
        struct maps *frame = coil_task_frame(t);
        CHECK_INT(frame->sum, (long)n * (n - 1) / 2);
        CHECK(s.most <= 100);
        CHECK_INT(s.over, n);
        CHECK(most < 256 * 1024);
        stage_close();
    }
}

/* ---- Over a generator ------------------------------------------------- */

/* The calls of a source, one after the other. */
struct calls {
    struct coil_coro coro;
    struct source *source;
    int pause, fail_at, fail, p, n;
    bool closed_only;
    struct coil_future *call;
};

static void calls(struct coil_coro *co)
{
    ASYNC(calls, my) {
        for (;; my->n++) {
            for (my->p = my->pause; my->p > 0; my->p--)
                AWAIT(coil_sleep(0));
            if (my->fail && my->n == my->fail_at)
                FAIL(my->fail);
            my->call = next(my->source);
            if (!my->call)
                break;
            YIELD(my->call);
        }
    FINALLY;
        if (my->closed_only)
            trace("~calls");
    }
}

struct maps_over {
    struct coil_coro coro;
    struct source *source;
    size_t limit;
    bool ordered, quiet, closed_only;
    int pause, slow, fail_at, fail, leave_after, p;
    struct coil_task *task;
    struct coil_future *generator;
    int seen, id;
};

static void maps_over(struct coil_coro *co)
{
    ASYNC(maps_over, my) {
        my->generator = CALL(calls, .source = my->source, .pause = my->pause,
                             .fail_at = my->fail_at, .fail = my->fail,
                             .closed_only = my->closed_only);
        FOR_AWAIT(my->task,
                  my->ordered
                      ? coil_map_over(my->limit, my->generator)
                      : coil_map_over_unordered(my->limit, my->generator)) {
            CHECK(coil_task_done(my->task));
            AWAIT_TO(my->id, my->task);
            if (!my->quiet)
                trace("%d", my->id);
            my->seen++;
            for (my->p = my->slow; my->p > 0; my->p--)
                AWAIT(coil_sleep(0));
            if (my->seen == my->leave_after)
                break;
        }
        RETURN(my->seen);

    FINALLY;
        if (!my->quiet)
            trace(".");
    }
}

TEST(map_over_a_generator_in_both_orders)
{
    stage_open();
    struct source s = { .n = 8, .passes = backwards };
    struct coil_task *t = SPAWN(maps_over, .source = &s, .limit = 4,
                                .ordered = true);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("0 1 2 3 4 5 6 7 .");
    CHECK_INT(s.most, 4);
    s = (struct source){ .n = 4, .passes = backwards };
    t = SPAWN(maps_over, .source = &s, .limit = 4);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("3 2 1 0 .");
    stage_close();
}

// A slow source, a slow reader, or neither: all of them, never too many.
TEST(map_over_a_generator_keeps_its_bound)
{
    for (int kind = 0; kind < 8; kind++)
        for (size_t limit = 1; limit <= 5; limit++)
            for (int n = 0; n <= 8; n++) {
                stage_open();
                struct source s = { .n = n, .passes = backwards };
                struct coil_task *t = SPAWN(
                    maps_over, .source = &s, .limit = limit,
                    .ordered = kind & 1, .pause = kind & 2, .slow = kind & 4,
                    .quiet = true);
                CHECK_INT(stage_run(t), 0);
                CHECK_INT(coil_future_int(coil_task_future(t)), n);
                CHECK(s.most <= (int)limit);
                CHECK_INT(s.over, n);
                CHECK_INT(stage_reported.n, 0);
                stage_close();
            }
}

struct checks_lazy_over {
    struct coil_coro coro;
    struct source *source;
    bool ordered;
    struct coil_task *task;
    int read, i;
};

static void checks_lazy_over(struct coil_coro *co)
{
    ASYNC(checks_lazy_over, my) {
        FOR_AWAIT(my->task,
                  my->ordered
                      ? coil_map_over(3, CALL(calls, .source = my->source))
                      : coil_map_over_unordered(
                            3, CALL(calls, .source = my->source))) {
            my->read++;
            for (my->i = 0; my->i < 10; my->i++)
                AWAIT(coil_sleep(0));
            CHECK_INT(my->source->asked,
                      my->read + 2 < 9 ? my->read + 2 : 9);
            CHECK_INT(my->source->running, 0);
        }
    }
}

TEST(map_over_a_generator_runs_it_only_when_there_is_room)
{
    for (int ordered = 0; ordered < 2; ordered++) {
        stage_open();
        struct source s = { .n = 9, .passes = NULL };
        struct coil_task *t = SPAWN(checks_lazy_over, .source = &s,
                                    .ordered = ordered);
        CHECK_INT(stage_run(t), 0);
        stage_close();
    }
}

// What began before is run and read first.
TEST(map_over_a_generator_ends_with_its_error)
{
    for (int kind = 0; kind < 4; kind++) {
        stage_open();
        struct source s = { .n = 9, .passes = backwards };
        struct coil_task *t = SPAWN(maps_over, .source = &s, .limit = 3,
                                    .ordered = kind & 1, .pause = kind & 2,
                                    .fail_at = 4, .fail = -EIO, .quiet = true);
        CHECK_INT(stage_run(t), -EIO);
        struct maps_over *frame = coil_task_frame(t);
        CHECK_INT(frame->seen, 4);
        CHECK_INT(stage_reported.n, 0);
        stage_close();
    }
}

// The generator is closed, and what runs is cancelled.
TEST(map_over_a_generator_left_early_closes_it)
{
    stage_open();
    struct source s = { .n = 99, .passes = backwards };
    struct coil_task *t = SPAWN(maps_over, .source = &s, .limit = 4,
                                .leave_after = 2, .closed_only = true);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("3 2 ~calls .");
    CHECK_INT(s.running, 0);

    t = SPAWN(maps_over, .source = &s, .limit = 4, .pause = 1,
              .closed_only = true, .quiet = true);
    stage_passes(3);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("~calls");
    CHECK_INT(s.running, 0);
    CHECK_INT(stage_reported.n, 0);
    stage_close();
}

TEST(map_over_a_generator_that_is_never_asked_runs_its_finally)
{
    stage_open();
    struct source s = { .n = 9 };
    coil_discard(
        coil_map_over(3, CALL(calls, .source = &s, .closed_only = true)));
    stage_passes(4);
    CHECK_TRACE("~calls");
    struct coil_task *t = SPAWN(maps_over, .source = &s, .limit = 0,
                                .closed_only = true, .quiet = true);
    CHECK_INT(stage_run(t), -EINVAL);
    CHECK_TRACE("~calls");
    CHECK_INT(s.asked, 0);
    CHECK_INT(stage_reported.n, 0);
    stage_close();
}

// Once all was seen its RETURN stands.
TEST(map_over_a_generator_is_cancelled_at_every_point)
{
    for (int kind = 0; kind < 8; kind++) {
        bool over = false;
        for (int point = 0; !over; point++) {
            stage_open();
            struct source s = { .n = 9, .passes = backwards };
            struct coil_task *t = SPAWN(
                maps_over, .source = &s, .limit = 3, .ordered = kind & 1,
                .pause = kind & 2, .slow = kind & 4, .quiet = true,
                .closed_only = true);
            stage_passes(point);
            struct maps_over *frame = coil_task_frame(t);
            over = !coil_task_cancel(t);
            int err = stage_run(t);
            CHECK(err == -ECANCELED ? !over : err == 0 && frame->seen == 9);
            CHECK_INT(s.running, 0);
            if (point)
                CHECK_TRACE("~calls");
            stage_close();
            CHECK_INT(stage_reported.n, 0);
        }
    }
}

static int over_both(void)
{
    int err = coil_loop_new(&stage_loop, stage_options());
    for (int ordered = 0; err == 0 && ordered < 2; ordered++) {
        struct source s = { .n = 5, .passes = backwards };
        struct coil_task *t = SPAWN(maps_over, .source = &s, .limit = 2,
                                    .ordered = ordered, .pause = 1,
                                    .quiet = true);
        CHECK_INT(coil_loop_run_until_complete(stage_loop, t), 0);
        err = coil_future_error(coil_task_future(t));
        CHECK_INT(s.running, 0);
        coil_task_drop(&t);
    }
    if (stage_loop)
        stage_close();
    return err;
}

TEST(map_over_a_generator_without_memory)
{
    test_every_allocation(over_both);
}
