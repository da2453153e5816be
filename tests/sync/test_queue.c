// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_queue.c: no item is lost or doubled, and no waiter is left that could be
 * served; in every kind of queue, whatever is cancelled, discarded or shut
 * down.
 */
#include "interleave.h"

#include <coil/queue.h>

#include <stdint.h>

static void *item(int n)
{
    return (void *)(intptr_t)n;
}

static int number(void *item)
{
    return (int)(intptr_t)item;
}

static int by_tens(const void *a, const void *b)
{
    intptr_t x = (intptr_t)a / 10, y = (intptr_t)b / 10;
    return (x > y) - (x < y);
}

struct giver {
    struct coil_coro coro;
    struct coil_queue *queue;
    int from, to;
};

static void giver(struct coil_coro *co)
{
    ASYNC(giver, my) {
        for (; my->from <= my->to; my->from++) {
            AWAIT(coil_queue_put(my->queue, item(my->from)));
            trace("p%d", my->from);
        }
    }
}

struct taker {
    struct coil_coro coro;
    struct coil_queue *queue;
    int times;
    void *item;
    struct hand *then;
};

static void taker(struct coil_coro *co)
{
    ASYNC(taker, my) {
        for (; my->times > 0; my->times--) {
            AWAIT_TO(my->item, coil_queue_get(my->queue));
            trace("g%d", number(my->item));
        }
        if (my->then)
            AWAIT(hand_op(my->then));
    }
}

static struct coil_task *give(struct coil_queue *q, int from, int to)
{
    return coil_spawn(CALL(giver, .queue = q, .from = from, .to = to));
}

static struct coil_task *take(struct coil_queue *q, int times)
{
    return coil_spawn(CALL(taker, .queue = q, .times = times));
}

static int get(struct coil_queue *q)
{
    void *it = NULL;
    CHECK_INT(coil_queue_get_nowait(q, &it), 0);
    return number(it);
}

static void fill(struct coil_queue *q, const int *numbers, int n)
{
    for (int i = 0; i < n; i++)
        CHECK_INT(coil_queue_put_nowait(q, item(numbers[i])), 0);
}

/* ---- Orders ------------------------------------------------------------- */

static const int some[] = { 21, 12, 23, 14, 5, 26, 17, 28, 19, 10, 31 };
enum { SOME = sizeof some / sizeof some[0] };

TEST(queue_gives_the_oldest_first)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, COIL_UNBOUNDED);
    fill(&q, some, SOME);
    CHECK_INT(coil_queue_count(&q), SOME);
    for (int i = 0; i < SOME; i++)
        CHECK_INT(get(&q), some[i]);
    CHECK(coil_queue_empty(&q));
    coil_queue_fini(&q);
    stage_close();
}

TEST(queue_lifo_gives_the_newest_first)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init_lifo(&q, COIL_UNBOUNDED);
    fill(&q, some, SOME);
    for (int i = SOME; i-- > 0;)
        CHECK_INT(get(&q), some[i]);
    coil_queue_fini(&q);
    stage_close();
}

// Of equal ones the oldest: asyncio's heap needs a tuple with a counter.
TEST(queue_priority_gives_the_least_and_of_equal_ones_the_oldest)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init_priority(&q, COIL_UNBOUNDED, by_tens);
    fill(&q, some, SOME);
    static const int sorted[] = { 5, 12, 14, 17, 19, 10, 21, 23, 26, 28, 31 };
    for (int i = 0; i < SOME; i++)
        CHECK_INT(get(&q), sorted[i]);
    coil_queue_fini(&q);
    stage_close();
}

// Against a plain sort, with gets in between.
TEST(queue_priority_is_a_heap_at_any_size)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init_priority(&q, COIL_UNBOUNDED, by_tens);
    int held[1000] = { 0 };
    unsigned seed = 7, n = 0;
    for (int i = 0; i < 3000; i++) {
        seed = seed * 1103515245u + 12345u;
        if (seed >> 16 & 3) {
            int bucket = (int)(seed >> 20) % 100;
            CHECK_INT(coil_queue_put_nowait(&q, item(bucket * 10)), 0);
            held[bucket]++;
            n++;
        } else if (n > 0) {
            int least = 0;
            while (!held[least])
                least++;
            CHECK_INT(get(&q), least * 10);
            held[least]--;
            n--;
        }
        CHECK_INT(coil_queue_count(&q), n);
    }
    coil_queue_shutdown_now(&q, NULL);
    coil_queue_fini(&q);
    stage_close();
}

/* ---- Waiting ------------------------------------------------------------- */

TEST(queue_put_waits_while_it_is_full)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 2);
    struct coil_task *t = give(&q, 1, 4);
    stage_passes(3);
    CHECK_TRACE("p1 p2");
    CHECK(coil_queue_full(&q));
    CHECK_INT(coil_queue_put_nowait(&q, item(9)), -EAGAIN);
    CHECK_INT(get(&q), 1); /* and 3 is in: its slot is taken at once */
    CHECK_INT(coil_queue_count(&q), 2);
    CHECK_INT(coil_queue_put_nowait(&q, item(9)), -EAGAIN);
    stage_passes(1);
    CHECK_TRACE("p3");
    CHECK_INT(get(&q), 2);
    CHECK_INT(get(&q), 3);
    CHECK_INT(get(&q), 4);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("p4");
    coil_queue_fini(&q);
    stage_close();
}

TEST(queue_get_waits_while_it_is_empty)
{
    stage_open();
    struct coil_queue q;
    void *it = item(77);
    coil_queue_init(&q, 2);
    CHECK_INT(coil_queue_get_nowait(&q, &it), -EAGAIN);
    CHECK_INT(number(it), 77);
    take(&q, 1);
    take(&q, 1);
    stage_passes(1);
    for (int i = 1; i <= 3; i++)
        CHECK_INT(coil_queue_put_nowait(&q, item(i)), 0);
    CHECK_INT(coil_queue_count(&q), 1);
    stage_passes(1);
    CHECK_TRACE("g1 g2");
    CHECK_INT(get(&q), 3);
    coil_queue_fini(&q);
    stage_close();
}

// NULL is an item as any other, an error is something else.
TEST(queue_carries_a_null_pointer)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 1);
    struct coil_task *t = take(&q, 2);
    stage_passes(1);
    CHECK_INT(coil_queue_put_nowait(&q, NULL), 0);
    stage_passes(1);
    CHECK_INT(coil_queue_put_nowait(&q, NULL), 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("g0 g0");
    coil_queue_fini(&q);
    stage_close();
}

// With limit 0 a put has ended only when a get has the item.
TEST(queue_of_no_room_gives_from_hand_to_hand)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 0);
    CHECK(coil_queue_full(&q) && coil_queue_empty(&q));
    CHECK_INT(coil_queue_put_nowait(&q, item(1)), -EAGAIN);
    struct coil_task *t = give(&q, 1, 2);
    stage_passes(2);
    CHECK_TRACE("");
    CHECK_INT(coil_queue_count(&q), 0);
    take(&q, 1);
    stage_passes(2);
    CHECK_TRACE("g1 p1");
    CHECK_INT(get(&q), 2);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("p2");
    take(&q, 1);
    stage_passes(1);
    CHECK_INT(coil_queue_put_nowait(&q, item(3)), 0); /* a getter waits */
    stage_passes(1);
    CHECK_TRACE("g3");
    coil_queue_fini(&q);
    stage_close();
}

/* ---- Cancelled, discarded ------------------------------------------------ */

// asyncio test_cancelled_getters_not_being_held_in_self_getters
TEST(queue_keeps_no_waiter_that_was_cancelled)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 1);
    struct coil_task *t[2] = { take(&q, 1), take(&q, 1) };
    stage_passes(1);
    CHECK_INT(coil_waiters_count(&q.getters), 2);
    coil_task_cancel(t[0]);
    CHECK_INT(coil_waiters_count(&q.getters), 1);
    struct coil_task *p = give(&q, 1, 3);
    stage_passes(3);
    CHECK_INT(coil_waiters_count(&q.putters), 1);
    coil_task_cancel(p);
    CHECK_INT(coil_waiters_count(&q.putters), 0);
    CHECK_INT(stage_run(p), -ECANCELED);
    CHECK_INT(stage_run(t[0]), -ECANCELED);
    CHECK_TRACE("p1 p2 g1");
    CHECK_INT(coil_queue_count(&q), 1); /* 3 was never in */
    CHECK_INT(get(&q), 2);
    coil_queue_fini(&q);
    stage_close();
}

// Granted, then cancelled before it ran: it has the item, the next is struck.
TEST(queue_get_granted_then_cancelled_has_its_item)
{
    stage_open();
    struct coil_queue q;
    struct hand then = { 0 };
    coil_queue_init(&q, 1);
    struct coil_task *t = coil_spawn(
        CALL(taker, .queue = &q, .times = 1, .then = &then));
    stage_passes(1);
    CHECK_INT(coil_queue_put_nowait(&q, item(5)), 0);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("g5");
    CHECK_INT(then.started, 0);
    CHECK_INT(q.reserved, 0);
    coil_queue_fini(&q);
    stage_close();
}

// asyncio test_putters_cancelled_race: the slot goes to the next putter.
TEST(queue_put_cancelled_leaves_its_place_to_the_next)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 1);
    fill(&q, some, 1);
    struct coil_task *a = give(&q, 1, 1), *b = give(&q, 2, 2);
    stage_passes(1);
    coil_task_cancel(a);
    CHECK_INT(get(&q), some[0]);
    CHECK_INT(stage_run(a), -ECANCELED);
    CHECK_INT(stage_run(b), 0);
    CHECK_INT(get(&q), 2);
    CHECK_TRACE("p2");
    coil_queue_fini(&q);
    stage_close();
}

/*
 * Futures that got the first items, which no await took, are freed in some
 * order: all is as before, whatever the kind of queue.
 */
static void drop_untaken(void (*init)(struct coil_queue *), bool waiting)
{
    static const int orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                      { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    for (int o = 0; o < 6; o++) {
        stage_open();
        struct coil_queue q;
        int expected[5];
        struct coil_task *t[3];
        init(&q);
        fill(&q, some, 5);
        for (int i = 0; i < 5; i++)
            expected[i] = get(&q);
        if (!waiting)
            fill(&q, some, 5);
        for (int i = 0; i < 3; i++)
            t[i] = coil_spawn(coil_queue_get(&q));
        stage_passes(2);
        if (waiting)
            fill(&q, some, 5);
        stage_passes(1);
        CHECK_INT(coil_queue_count(&q), 2);
        for (int i = 0; i < 3; i++)
            CHECK(coil_task_done(t[i]));
        for (int i = 0; i < 3; i++)
            coil_task_drop(&t[orders[o][i]]);
        CHECK_INT(coil_queue_count(&q), 5);
        CHECK_INT(q.reserved, 0);
        for (int i = 0; i < 5; i++) {
            int n = get(&q);
            if (!waiting || q.order != 1)
                CHECK_INT(n, expected[i]);
        }
        coil_queue_fini(&q);
        stage_close();
    }
}

static void init_fifo(struct coil_queue *q)
{
    coil_queue_init(q, 5);
}

static void init_lifo(struct coil_queue *q)
{
    coil_queue_init_lifo(q, 5);
}

static void init_priority(struct coil_queue *q)
{
    coil_queue_init_priority(q, 5, by_tens);
}

TEST(queue_item_that_nobody_took_is_back_in_its_old_place)
{
    drop_untaken(init_fifo, false);
    drop_untaken(init_fifo, true);
    drop_untaken(init_lifo, false);
    drop_untaken(init_lifo, true);
    drop_untaken(init_priority, false);
    drop_untaken(init_priority, true);
}

struct ignores {
    struct coil_coro coro;
    struct coil_queue *queue;
};

static void ignores(struct coil_coro *co)
{
    ASYNC(ignores, my) {
        AWAIT(coil_queue_get(my->queue));
        trace("ignored");
    }
}

TEST(queue_get_awaited_without_its_value_leaves_the_item)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 1);
    fill(&q, some, 1);
    CHECK_INT(stage_run(coil_spawn(CALL(ignores, .queue = &q))), 0);
    CHECK_TRACE("ignored");
    CHECK_INT(get(&q), some[0]);
    coil_queue_fini(&q);
    stage_close();
}

// It goes to the getter that waits, not into the ring.
TEST(queue_item_that_nobody_took_goes_to_who_waits)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 0);
    struct coil_task *raw = coil_spawn(coil_queue_get(&q));
    struct coil_task *t = take(&q, 1);
    stage_passes(2);
    CHECK_INT(coil_queue_put_nowait(&q, item(8)), 0);
    stage_passes(1);
    CHECK(coil_task_done(raw) && !coil_task_done(t));
    coil_task_drop(&raw);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("g8");
    coil_queue_fini(&q);
    stage_close();
}

struct in_time {
    struct coil_coro coro;
    struct coil_queue *queue;
    void *item;
    int err;
};

static void in_time(struct coil_coro *co)
{
    ASYNC(in_time, my) {
        TRY_AWAIT_TO(my->err, my->item,
                     coil_wait_for(coil_queue_get(my->queue), COIL_MS(1)));
        trace("%d %d", my->err, number(my->item));
    }
}

// A get within wait_for: in time it brings the item, late it has taken none.
TEST(queue_get_with_a_deadline_takes_an_item_or_none)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 2);
    CHECK_INT(stage_run(coil_spawn(CALL(in_time, .queue = &q))), 0);
    fill(&q, some, 2);
    CHECK_INT(stage_run(coil_spawn(CALL(in_time, .queue = &q))), 0);
    char expected[32];
    snprintf(expected, sizeof expected, "%d 0 0 %d", -ETIMEDOUT, some[0]);
    CHECK_TRACE(expected);
    CHECK_INT(get(&q), some[1]);
    CHECK_INT(q.reserved, 0);
    coil_queue_fini(&q);
    stage_close();
}

// An item that comes when the deadline has passed, but has not struck yet.
TEST(queue_item_in_the_pass_of_the_deadline_is_not_lost)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 2);
    struct coil_task *t = coil_spawn(CALL(in_time, .queue = &q));
    stage_passes(1);
    int64_t due = coil_now() + COIL_MS(2);
    while (coil_now() < due)
        ;
    fill(&q, some, 1);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("0 21");
    CHECK(coil_queue_empty(&q));
    coil_queue_fini(&q);
    stage_close();
}

/* ---- Iteration ----------------------------------------------------------- */

struct eats {
    struct coil_coro coro;
    struct coil_queue *queue;
    int id, most;
    void *item;
};

static void eats(struct coil_coro *co)
{
    ASYNC(eats, my) {
        FOR_AWAIT(my->item, coil_queue_items(my->queue)) {
            trace("%d:%d", my->id, number(my->item));
            coil_queue_task_done(my->queue);
            if (--my->most == 0)
                break;
            AWAIT(coil_sleep(0));
        }
        trace("%d:end", my->id);
    }
}

static struct coil_task *eat(struct coil_queue *q, int id, int most)
{
    return coil_spawn(CALL(eats, .queue = q, .id = id, .most = most));
}

TEST(queue_items_ends_when_it_is_closed_and_drained)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 4);
    struct coil_task *a = eat(&q, 1, 0), *b = eat(&q, 2, 0);
    stage_passes(1);
    fill(&q, some, 4);
    coil_queue_shutdown(&q);
    CHECK_INT(stage_run(a), 0);
    CHECK_INT(stage_run(b), 0);
    CHECK_TRACE("1:21 2:12 1:23 2:14 1:end 2:end");
    coil_queue_fini(&q);
    stage_close();
}

// Left by break it has taken what it has yielded and nothing more.
TEST(queue_items_left_early_leaves_the_rest)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 4);
    fill(&q, some, 4);
    CHECK_INT(stage_run(eat(&q, 1, 2)), 0);
    CHECK_TRACE("1:21 1:12 1:end");
    CHECK_INT(get(&q), 23);
    CHECK_INT(get(&q), 14);
    coil_queue_fini(&q);
    stage_close();
}

// Cancelled when it waits; and when the item was under way already.
TEST(queue_items_cancelled_while_it_waits_loses_no_item)
{
    for (int granted = 0; granted < 2; granted++) {
        stage_open();
        struct coil_queue q;
        coil_queue_init(&q, 4);
        struct coil_task *t = eat(&q, 1, 0);
        stage_passes(2);
        if (granted)
            fill(&q, some, 1);
        coil_task_cancel(t);
        if (!granted)
            fill(&q, some, 1);
        CHECK_INT(stage_run(t), -ECANCELED);
        CHECK_TRACE(granted ? "1:21" : "");
        CHECK_INT(coil_queue_count(&q), granted ? 0 : 1);
        CHECK_INT(q.reserved, 0);
        coil_queue_shutdown_now(&q, NULL);
        coil_queue_fini(&q);
        stage_close();
    }
}

/* ---- join, close --------------------------------------------------------- */

static struct coil_task *join(struct coil_queue *q)
{
    return coil_spawn(coil_queue_join(q));
}

TEST(queue_join_waits_for_all_that_was_put_to_be_done)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 4);
    CHECK_INT(stage_run(join(&q)), 0); /* nothing was put */
    fill(&q, some, 2);
    struct coil_task *a = join(&q), *b = join(&q);
    get(&q);
    get(&q);
    stage_passes(2);
    CHECK(!coil_task_done(a)); /* got is not done */
    coil_queue_task_done(&q);
    stage_passes(2);
    CHECK(!coil_task_done(a));
    coil_queue_task_done(&q);
    CHECK_INT(stage_run(a), 0);
    CHECK_INT(stage_run(b), 0);
    coil_queue_fini(&q);
    stage_close();
}

DEATH_TEST(queue_task_done_once_too_often_aborts,
           "coil_queue_task_done: more calls than items put")
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 4);
    fill(&q, some, 1);
    coil_queue_task_done(&q);
    coil_queue_task_done(&q);
}

DEATH_TEST(queue_freed_while_somebody_waits_aborts,
           "coil_queue_fini: a task waits for the queue")
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 4);
    take(&q, 1);
    stage_passes(1);
    coil_queue_fini(&q);
}

TEST(queue_closed_refuses_puts_and_is_drained)
{
    stage_open();
    struct coil_queue q;
    void *it;
    coil_queue_init(&q, 2);
    struct coil_task *p = give(&q, 1, 3);
    stage_passes(2);
    CHECK(!coil_queue_is_shutdown(&q));
    coil_queue_shutdown(&q);
    coil_queue_shutdown(&q);
    CHECK(coil_queue_is_shutdown(&q));
    CHECK_INT(stage_run(p), COIL_ECLOSED); /* it had to wait */
    CHECK_INT(coil_queue_put_nowait(&q, item(4)), COIL_ECLOSED);
    CHECK_INT(stage_run(give(&q, 4, 4)), COIL_ECLOSED);
    CHECK_INT(get(&q), 1);
    CHECK_INT(stage_run(take(&q, 2)), COIL_EEND);
    CHECK_INT(coil_queue_get_nowait(&q, &it), COIL_EEND);
    CHECK_TRACE("p1 p2 g2");
    coil_queue_fini(&q);
    stage_close();
}

TEST(queue_closed_wakes_all_who_wait_for_an_item)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 0);
    struct coil_task *a = take(&q, 1), *b = take(&q, 1);
    stage_passes(1);
    coil_queue_shutdown(&q);
    CHECK_INT(stage_run(a), COIL_EEND);
    CHECK_INT(stage_run(b), COIL_EEND);
    coil_queue_fini(&q);
    stage_close();
}

static void freed(void *it)
{
    trace("f%d", number(it));
}

// asyncio test_shutdown_immediate: what was got must still be done.
TEST(queue_closed_now_gives_its_items_away_as_done)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 3);
    fill(&q, some, 3);
    CHECK_INT(get(&q), some[0]);
    struct coil_task *j = join(&q);
    stage_passes(2);
    coil_queue_shutdown_now(&q, freed);
    CHECK_TRACE("f12 f23");
    stage_passes(2);
    CHECK(!coil_task_done(j));
    coil_queue_task_done(&q);
    CHECK_INT(stage_run(j), 0);
    CHECK_INT(stage_run(take(&q, 1)), COIL_EEND);
    coil_queue_fini(&q);
    stage_close();
}

TEST(queue_cannot_be_closed_over_an_item_under_way)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 1);
    struct coil_task *t = take(&q, 1);
    stage_passes(1);
    fill(&q, some, 1);
    coil_queue_shutdown_now(&q, freed);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("g21");
    coil_queue_fini(&q);
    stage_close();
}

/*
 * Granted and never taken: back in a queue that was closed and emptied, the
 * item was neither got nor freed, and join() did not end.
 */
TEST(queue_closed_now_frees_an_item_under_way_that_no_await_takes)
{
    for (int i = 0; i < 4; i++) {
        stage_open();
        struct coil_queue q;
        coil_queue_init(&q, 3);
        struct coil_task *got = coil_spawn(coil_queue_get(&q));
        if (i == 1)
            stage_passes(1); /* it waits, and is granted */
        fill(&q, some, 2);
        stage_passes(2);
        CHECK(coil_task_done(got));
        struct coil_task *j = join(&q);
        stage_passes(2);
        coil_queue_shutdown_now(&q, i == 2 ? NULL : freed);
        CHECK_TRACE(i == 2 ? "" : "f12");
        stage_passes(2);
        CHECK(!coil_task_done(j));
        if (i == 3) /* as a FINALLY does; the handle lives until the end */
            coil_task_cancel(j);
        stage_passes(2);
        if (i == 3)
            coil_queue_fini(&q);
        coil_task_drop(&got);
        CHECK_TRACE(i == 2 ? "" : "f21");
        CHECK_INT(stage_run(j), i == 3 ? -ECANCELED : 0);
        CHECK_INT(q.unfinished, 0);
        CHECK_INT(coil_queue_count(&q), 0);
        coil_queue_fini(&q);
        stage_close();
    }
}

// Freed with a handle still there that holds an item: nothing is touched.
TEST(queue_freed_before_a_handle_that_nobody_asked)
{
    stage_open();
    struct coil_queue q;
    coil_queue_init(&q, 1);
    fill(&q, some, 1);
    struct coil_task *raw = coil_spawn(coil_queue_get(&q));
    stage_passes(2);
    CHECK(coil_task_done(raw));
    coil_queue_fini(&q);
    coil_task_drop(&raw);
    CHECK_INT(q.reserved, 0);
    stage_close();
}

/* ---- Memory -------------------------------------------------------------- */

struct eats_all {
    struct coil_coro coro;
    struct coil_queue *queue;
    void *item;
};

static void eats_all(struct coil_coro *co)
{
    ASYNC(eats_all, my) {
        FOR_AWAIT(my->item, coil_queue_items(my->queue))
            AWAIT(coil_sleep(0));

    FINALLY;
        coil_queue_shutdown(my->queue); /* or they wait for us for ever */
    }
}

struct scene {
    struct coil_coro coro;
    struct coil_queue queue;
    struct coil_task *takers[2];
    int i, err;
};

static void scene(struct coil_coro *co)
{
    ASYNC(scene, my) {
        coil_queue_init(&my->queue, 10);
        my->takers[0] = SPAWN(eats_all, .queue = &my->queue);
        my->takers[1] = SPAWN(eats_all, .queue = &my->queue);
        for (my->i = 0; my->i < 30 && my->err != COIL_ECLOSED; my->i++)
            TRY_AWAIT(my->err, coil_queue_put(&my->queue, item(my->i)));
        coil_queue_shutdown(&my->queue);
        AWAIT(coil_gather(my->takers, 2));
        if (my->err < 0)
            FAIL(my->err);

    FINALLY;
        coil_queue_fini(&my->queue);
    }
}

static int play(void)
{
    struct coil_loop *loop;
    stage_trace[0] = '\0';
    int err = coil_loop_new(&loop, stage_options());
    if (err < 0)
        return err;
    struct coil_task *t = coil_spawn(CALL(scene));
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    err = coil_future_error(coil_task_future(t));
    coil_loop_close(loop);
    return err;
}

TEST(queue_without_memory_loses_nothing)
{
    test_every_allocation(play);
}

// To get, cancel, discard or shut down allocates nothing.
TEST(queue_only_a_put_asks_for_memory)
{
    stage_open();
    struct coil_queue q;
    void *it;
    coil_queue_init(&q, 2);
    struct coil_task *raw = coil_spawn(coil_queue_get(&q));
    struct coil_task *p = give(&q, 1, 9), *p2 = give(&q, 10, 19);
    stage_passes(3);
    test_forbid_allocations(true);
    coil_task_drop(&raw); /* 1 comes back: three in a queue of two */
    CHECK_INT(coil_queue_count(&q), 3);
    for (int i = 1; i <= 3; i++) {
        CHECK_INT(coil_queue_get_nowait(&q, &it), 0);
        CHECK(number(it) == 1 || i > 1);
    }
    coil_task_cancel(p);
    coil_task_cancel(p2);
    coil_queue_shutdown_now(&q, NULL);
    CHECK_INT(test_forbidden_allocations(), 0);
    test_forbid_allocations(false);
    CHECK(stage_run(p) < 0);
    CHECK(stage_run(p2) < 0);
    coil_queue_fini(&q);
    stage_close();
}

/* ---- All interleavings --------------------------------------------------- */

enum { PUTTERS = 2, GETTERS = 2 };

static struct {
    struct coil_queue queue;
    void (*init)(struct coil_queue *);
    struct coil_task *putter[PUTTERS], *getter[GETTERS], *raw;
    int puts, gets, raws;
    int in[8], out[8];  /* by item: put, got */
    int order[8], n;    /* as got */
} world;

struct world_put {
    struct coil_coro coro;
    int id;
};

/* Two items each: one that has waited goes on to the next. */
static void world_put(struct coil_coro *co)
{
    ASYNC(world_put, my) {
        AWAIT(coil_queue_put(&world.queue, item(2 * my->id + 1)));
        world.in[2 * my->id + 1]++;
        AWAIT(coil_queue_put(&world.queue, item(2 * my->id + 2)));
        world.in[2 * my->id + 2]++;
    }
}

static void note(void *it)
{
    world.out[number(it)]++;
    world.order[world.n++] = number(it);
}

struct world_get {
    struct coil_coro coro;
    void *item;
};

static void world_get(struct coil_coro *co)
{
    ASYNC(world_get, my) {
        AWAIT_TO(my->item, coil_queue_get(&world.queue));
        note(my->item);
        AWAIT_TO(my->item, coil_queue_get(&world.queue));
        note(my->item);
    }
}

static void begin(void)
{
    void (*init)(struct coil_queue *) = world.init;
    memset(&world, 0, sizeof world);
    world.init = init;
    init(&world.queue);
}

enum { PUT = 1, GET, RAW, DROP, CLOSE, CANCEL_PUT, CANCEL_GET = CANCEL_PUT + 2,
       ACTIONS = CANCEL_GET + 1 };

static bool act(int action)
{
    switch (action) {
    case PUT:
        if (world.puts == PUTTERS)
            return false;
        world.putter[world.puts] = coil_spawn(
            CALL(world_put, .id = world.puts));
        world.puts++;
        return true;
    case GET:
        if (world.gets == GETTERS)
            return false;
        world.getter[world.gets++] = coil_spawn(CALL(world_get));
        return true;
    case RAW: /* a task whose item is not going to be taken */
        if (world.raws++)
            return false;
        world.raw = coil_spawn(coil_queue_get(&world.queue));
        return true;
    case DROP:
        if (!world.raw || !coil_task_done(world.raw))
            return false;
        coil_task_quiet(world.raw);
        coil_task_drop(&world.raw);
        return true;
    case CLOSE:
        if (coil_queue_is_shutdown(&world.queue))
            return false;
        coil_queue_shutdown(&world.queue);
        return true;
    default:
        if (action < CANCEL_GET)
            return action - CANCEL_PUT < world.puts &&
                   coil_task_cancel(world.putter[action - CANCEL_PUT]);
        return action - CANCEL_GET < world.gets &&
               coil_task_cancel(world.getter[action - CANCEL_GET]);
    }
}

static void end_tasks(struct coil_task **t, int n)
{
    for (int i = 0; i < n; i++) {
        coil_task_quiet(t[i]);
        coil_task_cancel(t[i]);
    }
    stage_passes(3);
    for (int i = 0; i < n; i++)
        coil_task_drop(&t[i]);
}

static void end(void)
{
    struct coil_queue *q = &world.queue;
    stage_passes(8);
    /* No waiter is left that could be served. */
    bool getters = !coil_waiters_empty(&q->getters);
    bool putters = !coil_waiters_empty(&q->putters);
    CHECK(!getters || (coil_queue_empty(q) && !putters));
    CHECK(!putters || coil_queue_full(q));
    CHECK(!coil_queue_is_shutdown(q) || (!putters && !getters));
    end_tasks(world.getter, world.gets);
    if (world.raw)
        end_tasks(&world.raw, 1);
    end_tasks(world.putter, world.puts);

    void *it;
    while (coil_queue_get_nowait(q, &it) == 0)
        note(it);
    for (int i = 1; i <= 2 * PUTTERS; i++)
        CHECK_INT(world.out[i], world.in[i]); /* none lost, none doubled */
    /* Each putter's items in his order, if one alone got them all. */
    bool alone = world.gets <= 1 && !world.raws && q->order == 0;
    for (int i = 0; i < world.n && alone; i++)
        for (int j = i + 1; j < world.n; j++)
            CHECK(world.order[i] != world.order[j] + 1 ||
                  world.order[j] % 2 == 0);
    CHECK_INT(q->reserved, 0);
    coil_queue_fini(q);
}

static size_t all_interleavings(void (*init)(struct coil_queue *), int length)
{
    world.init = init;
    return interleave(&(struct interleave){ .actions = ACTIONS,
                                            .length = length,
                                            .begin = begin,
                                            .act = act,
                                            .end = end });
}

static void init_one(struct coil_queue *q)
{
    coil_queue_init(q, 1);
}

static void init_none(struct coil_queue *q)
{
    coil_queue_init(q, 0);
}

static void init_lifo_one(struct coil_queue *q)
{
    coil_queue_init_lifo(q, 1);
}

static void init_priority_one(struct coil_queue *q)
{
    coil_queue_init_priority(q, 1, by_tens);
}

TEST(queue_loses_no_item_in_any_interleaving)
{
    CHECK(all_interleavings(init_one, 6) > 2000);
}

TEST(queue_of_no_room_loses_no_item_in_any_interleaving)
{
    CHECK(all_interleavings(init_none, 6) > 2000);
}

TEST(queue_lifo_loses_no_item_in_any_interleaving)
{
    CHECK(all_interleavings(init_lifo_one, 5) > 500);
}

TEST(queue_priority_loses_no_item_in_any_interleaving)
{
    CHECK(all_interleavings(init_priority_one, 5) > 500);
}
