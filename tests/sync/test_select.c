// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_select.c: exactly one case is performed, and each item is in exactly one
 * place afterwards.
 */
#include "interleave.h"

#include <coil/queue.h>
#include <coil/select.h>

#include <stdint.h>

static void *item(int n)
{
    return (void *)(intptr_t)n;
}

static int number(void *item)
{
    return (int)(intptr_t)item;
}

struct selects {
    struct coil_coro coro;
    struct coil_case cases[3];
    int n, which;
    struct hand *then;
};

static void selects(struct coil_coro *co)
{
    ASYNC(selects, my) {
        AWAIT_TO(my->which, coil_select(my->cases, (size_t)my->n));
        trace("%d:%d", my->which, number(my->cases[my->which].item));
        if (my->cases[my->which].err < 0)
            FAIL(my->cases[my->which].err);
        if (my->then)
            AWAIT(hand_op(my->then));
    }
}

static struct coil_task *choose(struct coil_case a, struct coil_case b)
{
    struct coil_task *t = coil_spawn(CALL(selects, .n = 2));
    struct selects *my = coil_task_frame(t);
    my->cases[0] = a;
    my->cases[1] = b;
    return t;
}

static int get(struct coil_queue *q)
{
    void *it = NULL;
    CHECK_INT(coil_queue_get_nowait(q, &it), 0);
    return number(it);
}

struct two {
    struct coil_queue a, b;
};

static void open_two(struct two *q, size_t limit)
{
    stage_open();
    coil_queue_init(&q->a, limit);
    coil_queue_init(&q->b, limit);
}

static void check_idle(struct coil_queue *q)
{
    CHECK(coil_waiters_empty(&q->getters));
    CHECK(coil_waiters_empty(&q->putters));
    CHECK_INT(q->reserved, 0);
}

static void close_two(struct two *q)
{
    check_idle(&q->a);
    check_idle(&q->b);
    coil_queue_fini(&q->a);
    coil_queue_fini(&q->b);
    stage_close();
}

TEST(select_takes_what_is_there)
{
    struct two q;
    open_two(&q, 2);
    CHECK_INT(coil_queue_put_nowait(&q.b, item(7)), 0);
    struct coil_task *t = choose(coil_case_get(&q.a), coil_case_get(&q.b));
    stage_passes(1); /* without a pass of waiting */
    CHECK(coil_task_done(t));
    CHECK_TRACE("1:7");
    t = choose(coil_case_get(&q.a), coil_case_put(&q.b, item(8)));
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("1:8");
    CHECK_INT(get(&q.b), 8);
    close_two(&q);
}

TEST(select_waits_in_all_lines_and_leaves_them_all)
{
    for (int which = 0; which < 2; which++) {
        struct two q;
        open_two(&q, 2);
        struct coil_task *t = choose(coil_case_get(&q.a),
                                     coil_case_get(&q.b));
        stage_passes(1);
        CHECK_INT(coil_waiters_count(&q.a.getters), 1);
        CHECK_INT(coil_waiters_count(&q.b.getters), 1);
        CHECK_INT(coil_queue_put_nowait(which ? &q.b : &q.a, item(5)), 0);
        CHECK(coil_waiters_empty(&q.a.getters));
        CHECK(coil_waiters_empty(&q.b.getters));
        CHECK_INT(coil_queue_put_nowait(which ? &q.a : &q.b, item(6)), 0);
        CHECK_INT(stage_run(t), 0);
        CHECK_TRACE(which ? "1:5" : "0:5");
        CHECK_INT(get(which ? &q.a : &q.b), 6); /* only one has happened */
        close_two(&q);
    }
}

TEST(select_puts_when_there_is_room)
{
    struct two q;
    open_two(&q, 1);
    CHECK_INT(coil_queue_put_nowait(&q.a, item(1)), 0);
    CHECK_INT(coil_queue_put_nowait(&q.b, item(2)), 0);
    struct coil_task *t = choose(coil_case_put(&q.a, item(3)),
                                 coil_case_put(&q.b, item(4)));
    stage_passes(2);
    CHECK(!coil_task_done(t));
    CHECK_INT(get(&q.b), 2);
    CHECK_INT(coil_queue_count(&q.b), 1);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("1:4");
    CHECK_INT(get(&q.b), 4);
    CHECK_INT(get(&q.a), 1);
    CHECK(coil_queue_empty(&q.a));
    close_two(&q);
}

// Two selects meet at a queue with no room, one as giver and one as taker.
TEST(select_meets_another_select)
{
    struct two q;
    open_two(&q, 0);
    struct coil_task *t = choose(coil_case_get(&q.a),
                                 coil_case_put(&q.b, item(9)));
    stage_passes(1);
    struct coil_task *u = choose(coil_case_put(&q.a, item(8)),
                                 coil_case_get(&q.b));
    CHECK_INT(stage_run(u), 0);
    CHECK_INT(stage_run(t), 0);
    bool first = strcmp(stage_trace, "0:8 0:8") == 0;
    CHECK_TRACE(first ? "0:8 0:8" : "1:9 1:9");
    close_two(&q);
}

// Get from and put into one queue: not from oneself; and twice the same.
TEST(select_is_not_served_by_itself)
{
    struct two q;
    open_two(&q, 0);
    struct coil_task *t = choose(coil_case_get(&q.a),
                                 coil_case_put(&q.a, item(1)));
    stage_passes(3);
    CHECK(!coil_task_done(t));
    CHECK_INT(get(&q.a), 1);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("1:1");
    t = choose(coil_case_get(&q.a), coil_case_get(&q.a));
    stage_passes(1);
    CHECK_INT(coil_queue_put_nowait(&q.a, item(2)), 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("0:2");
    close_two(&q);
}

// Of those that can happen none is starved.
TEST(select_leaves_it_to_chance_among_those_that_can_happen)
{
    struct two q;
    open_two(&q, 0);
    struct coil_future *done = coil_future_from_int(1);
    struct coil_case cases[4] = { coil_case_future(done),
                                  coil_case_get(&q.a),
                                  coil_case_future(done),
                                  coil_case_future(done) };
    int times[4] = { 0 };
    for (int i = 0; i < 3000; i++)
        times[coil_select_nowait(cases, 4)]++;
    CHECK_INT(times[1], 0);
    for (int i = 0; i < 4; i++)
        CHECK(i == 1 || times[i] > 500);
    coil_future_unref(done);
    close_two(&q);
}

TEST(select_nowait_has_a_default_case)
{
    struct two q;
    open_two(&q, 1);
    struct coil_case cases[2] = { coil_case_get(&q.a),
                                  coil_case_put(&q.b, item(3)) };
    CHECK_INT(coil_select_nowait(cases, 2), 1);
    CHECK_INT(coil_select_nowait(cases, 2), -EAGAIN);
    CHECK_INT(coil_queue_put_nowait(&q.a, item(4)), 0);
    CHECK_INT(coil_select_nowait(cases, 2), 0);
    CHECK_INT(number(cases[0].item), 4);
    CHECK_INT(coil_select_nowait(cases, 0), -EAGAIN);
    CHECK_INT(get(&q.b), 3);
    close_two(&q);
}

/* ---- Futures, tasks ------------------------------------------------------ */

// Its value stays with it: select only tells.
TEST(select_tells_that_a_task_is_done)
{
    struct two q;
    open_two(&q, 1);
    struct hand hand = { 0 };
    struct coil_task *op = coil_spawn(hand_op(&hand));
    struct coil_task *t = choose(coil_case_get(&q.a), coil_case_task(op));
    stage_passes(2);
    CHECK(!coil_task_done(t));
    hand_set(&hand, 0, 55);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("1:0");
    CHECK_INT(coil_future_int(coil_task_future(op)), 55);
    close_two(&q);
}

// Done before or later, with a value, an error or a cancellation; the case only
// tells, and each keeps what it has ended with.
TEST(select_treats_a_plain_future_and_a_task_alike)
{
    for (int row = 0; row < 12; row++) {
        bool plain = row & 1, before = row & 2;
        int end = row / 4; /* a value, an error, cancelled */
        test_note("plain %d, before %d, end %d", plain, before, end);
        struct two q;
        open_two(&q, 1);
        struct hand hand = { 0 };
        struct coil_task *op = coil_spawn(hand_op(&hand));
        struct coil_future *f = plain ? coil_future_new()
                                      : coil_future_ref(coil_task_future(op));
        struct coil_task *t = NULL;
        stage_passes(1);
        if (!before) {
            t = choose(coil_case_get(&q.a), coil_case_future(f));
            stage_passes(2);
            CHECK(!coil_task_done(t));
        }
        if (end == 2)
            coil_future_cancel(f);
        else if (plain && end == 1)
            coil_future_set_error(f, -EIO);
        else if (plain)
            coil_future_set_int(f, 55);
        else
            hand_set(&hand, end == 1 ? -EIO : 0, 55);
        stage_passes(2);
        if (before)
            t = choose(coil_case_get(&q.a), coil_case_future(f));
        CHECK_INT(stage_run(t), 0);
        CHECK_TRACE("1:0");
        int err = 99;
        CHECK(coil_future_peek(f, &err));
        CHECK_INT(err, end == 2 ? -ECANCELED : end == 1 ? -EIO : 0);
        CHECK(end || coil_future_int(f) == 55);
        coil_task_drop(&t);
        coil_task_drop(&op);
        CHECK_INT(f->refs, 1);
        coil_future_unref(f);
        close_two(&q);
        CHECK_INT(stage_reported.n, 0);
    }
}

// It tells only: an error that the program does not ask for is reported.
TEST(select_fetches_no_error_of_a_future)
{
    struct two q;
    open_two(&q, 1);
    struct coil_future *f = coil_future_new();
    struct coil_task *t = choose(coil_case_get(&q.a), coil_case_future(f));
    stage_passes(1);
    coil_future_set_error(f, -EIO);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("1:0");
    coil_task_drop(&t);
    coil_future_unref(f);
    CHECK_INT(stage_reported.n, 1);
    close_two(&q);
}

// The handle of a failed SPAWN is done, and a zero case has no future at all.
TEST(select_of_a_task_without_memory_happens_at_once)
{
    struct two q;
    open_two(&q, 1);
    struct coil_task *failed = coil_spawn(coil_future_from_nomem());
    struct coil_task *t = choose((struct coil_case){ 0 },
                                 coil_case_task(failed));
    stage_passes(1);
    CHECK(coil_task_done(t));
    CHECK_TRACE("1:0");
    close_two(&q);
}

// The caller may give its reference back while the select waits.
TEST(select_holds_a_reference_of_its_own)
{
    struct two q;
    open_two(&q, 1);
    struct coil_future *f = coil_future_new();
    struct coil_task *t = choose(coil_case_get(&q.a), coil_case_future(f));
    stage_passes(1);
    coil_future_unref(f);
    CHECK(!coil_future_done(f));
    coil_future_set_int(f, 1);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("1:0");
    close_two(&q);
}

#define NOT_BEGUN(function, i) \
    function ": case " #i " has not begun: make it a task with SPAWN or " \
             "coil_spawn"

DEATH_TEST(select_of_a_call_that_has_not_begun_aborts,
           NOT_BEGUN("coil_select", 1))
{
    struct two q;
    open_two(&q, 1);
    struct coil_case cases[] = { coil_case_get(&q.a),
                                 coil_case_future(CALL(selects, .n = 0)) };
    coil_discard(coil_select(cases, 2));
}

DEATH_TEST(select_of_an_operation_that_has_not_begun_aborts,
           NOT_BEGUN("coil_select", 0))
{
    struct two q;
    open_two(&q, 1);
    struct hand hand = { 0 };
    struct coil_case cases[] = { coil_case_future(hand_op(&hand)),
                                 coil_case_get(&q.a) };
    coil_discard(coil_select(cases, 2));
}

// Also if another case could happen: a program that is wrong only sometimes is
// harder to mend.
DEATH_TEST(select_nowait_of_a_call_that_has_not_begun_aborts,
           NOT_BEGUN("coil_select_nowait", 1))
{
    struct two q;
    open_two(&q, 1);
    CHECK_INT(coil_queue_put_nowait(&q.a, item(7)), 0);
    struct coil_case cases[] = { coil_case_get(&q.a),
                                 coil_case_future(CALL(selects, .n = 0)) };
    coil_select_nowait(cases, 2);
}

// Its call is on its way when an item comes: the item it is, once.
TEST(select_of_a_future_that_is_done_a_moment_before_an_item)
{
    struct two q;
    open_two(&q, 1);
    struct coil_future *f = coil_future_new();
    struct coil_task *t = choose(coil_case_get(&q.a), coil_case_future(f));
    stage_passes(1);
    coil_future_set_int(f, 1);
    CHECK_INT(coil_queue_put_nowait(&q.a, item(6)), 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("0:6");
    stage_passes(2);
    coil_future_unref(f);
    close_two(&q);
}

/* ---- Closed, none -------------------------------------------------------- */

TEST(select_of_a_closed_queue_happens_and_says_so)
{
    for (int waits = 0; waits < 2; waits++)
        for (int puts = 0; puts < 2; puts++) {
            struct two q;
            open_two(&q, 0);
            struct coil_case other = puts ? coil_case_put(&q.b, item(1))
                                          : coil_case_get(&q.b);
            if (!waits)
                coil_queue_shutdown(&q.b);
            struct coil_task *t = choose(coil_case_get(&q.a), other);
            stage_passes(1);
            coil_queue_shutdown(&q.b);
            CHECK_INT(stage_run(t), puts ? COIL_ECLOSED : COIL_EEND);
            CHECK_TRACE(puts ? "1:1" : "1:0");
            close_two(&q);
        }
}

// A zero case is what a nil channel is in Go; of none there is no sense.
TEST(select_case_that_is_zero_never_happens)
{
    struct two q;
    open_two(&q, 1);
    struct coil_case none = { 0 };
    struct coil_task *t = choose(none, coil_case_get(&q.a));
    stage_passes(1);
    CHECK_INT(coil_queue_put_nowait(&q.a, item(2)), 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("1:2");
    struct coil_future *f = coil_select(&none, 0);
    CHECK_INT(coil_future_error(f), -EINVAL);
    coil_future_unref(f);
    close_two(&q);
}

/* ---- Cancelled, late, discarded ------------------------------------------ */

TEST(select_granted_then_cancelled_has_its_item)
{
    struct two q;
    open_two(&q, 1);
    struct hand then = { 0 };
    struct coil_task *t = choose(coil_case_get(&q.a), coil_case_get(&q.b));
    ((struct selects *)coil_task_frame(t))->then = &then;
    stage_passes(1);
    CHECK_INT(coil_queue_put_nowait(&q.b, item(5)), 0);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("1:5");
    CHECK_INT(then.started, 0);
    close_two(&q);
}

TEST(select_cancelled_leaves_no_trace)
{
    struct two q;
    open_two(&q, 0);
    struct coil_task *t = choose(coil_case_get(&q.a),
                                 coil_case_put(&q.b, item(1)));
    stage_passes(1);
    coil_task_cancel(t);
    check_idle(&q.a);
    check_idle(&q.b);
    CHECK_INT(stage_run(t), -ECANCELED);
    close_two(&q);
}

// Spawned, and no await took the index: the item is where it was.
TEST(select_item_that_nobody_took_is_back)
{
    struct two q;
    open_two(&q, 1);
    struct coil_case cases[2] = { coil_case_get(&q.a), coil_case_get(&q.b) };
    struct coil_task *t = coil_spawn(coil_select(cases, 2));
    stage_passes(1);
    CHECK_INT(coil_queue_put_nowait(&q.a, item(3)), 0);
    CHECK_INT(stage_run(t), 0);
    CHECK(coil_queue_empty(&q.a));
    coil_task_drop(&t);
    CHECK_INT(get(&q.a), 3);
    close_two(&q);
}

struct in_time {
    struct coil_coro coro;
    struct coil_case *cases;
    int err, which;
};

static void in_time(struct coil_coro *co)
{
    ASYNC(in_time, my) {
        my->which = -1;
        TRY_AWAIT_TO(my->err, my->which,
                     coil_wait_for(coil_select(my->cases, 2), COIL_MS(1)));
        trace("%d %d", my->err == -ETIMEDOUT, my->which);
    }
}

TEST(select_with_a_deadline)
{
    struct two q;
    open_two(&q, 1);
    struct coil_case cases[2] = { coil_case_get(&q.a), coil_case_get(&q.b) };
    CHECK_INT(stage_run(coil_spawn(CALL(in_time, .cases = cases))), 0);
    CHECK_INT(coil_queue_put_nowait(&q.b, item(3)), 0);
    CHECK_INT(stage_run(coil_spawn(CALL(in_time, .cases = cases))), 0);
    CHECK_TRACE("1 -1 0 1");
    CHECK_INT(number(cases[1].item), 3);
    close_two(&q);
}

/* ---- Without memory ------------------------------------------------------ */

struct scene {
    struct coil_coro coro;
    struct coil_queue a, b;
    struct coil_case cases[2];
    struct coil_task *t;
    void *item;
    int which, i;
};

struct feeds {
    struct coil_coro coro;
    struct coil_queue *a, *b;
    void *item;
    int i;
};

static void feeds(struct coil_coro *co)
{
    ASYNC(feeds, my) {
        for (my->i = 0; my->i < 20; my->i++)
            AWAIT(coil_queue_put(my->i % 3 ? my->a : my->b, item(my->i)));

    FINALLY;
        coil_queue_shutdown(my->a);
        coil_queue_shutdown(my->b);
    }
}

static void scene(struct coil_coro *co)
{
    ASYNC(scene, my) {
        coil_queue_init(&my->a, 1);
        coil_queue_init(&my->b, 0);
        my->t = SPAWN(feeds, .a = &my->a, .b = &my->b);
        if (!coil_task_frame(my->t))
            FAIL(-ENOMEM);
        my->cases[0] = coil_case_get(&my->a);
        my->cases[1] = coil_case_get(&my->b);
        while (my->cases[0].queue || my->cases[1].queue) {
            AWAIT_TO(my->which, coil_select(my->cases, 2));
            if (my->cases[my->which].err == COIL_EEND)
                my->cases[my->which] = (struct coil_case){ 0 };
            else
                my->i++;
        }
        AWAIT(my->t);
        CHECK_INT(my->i, 20);

    FINALLY;
        if (my->a.getters.next) {
            coil_queue_fini(&my->a);
            coil_queue_fini(&my->b);
        }
    }
}

static int play(void)
{
    struct coil_loop *loop;
    int err = coil_loop_new(&loop, stage_options());
    if (err < 0)
        return err;
    struct coil_task *t = coil_spawn(CALL(scene));
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    err = coil_future_error(coil_task_future(t));
    coil_loop_close(loop);
    return err;
}

TEST(select_without_memory_loses_nothing)
{
    test_every_allocation(play);
}

/* ---- All interleavings --------------------------------------------------- */

enum { ITEMS = 8 };

static struct {
    struct coil_queue a, b; /* limit 1, limit 0 */
    struct coil_future *future;
    struct coil_task *t[3];
    struct coil_case raw[2];
    int next, in[ITEMS], out[ITEMS];
} world;

struct one {
    struct coil_coro coro;
    struct coil_case cases[3];
    int which, id;
};

static void one(struct coil_coro *co)
{
    ASYNC(one, my) {
        my->cases[0] = coil_case_get(&world.a);
        my->cases[1] = my->id ? coil_case_get(&world.b)
                              : coil_case_put(&world.b, item(7));
        my->cases[2] = coil_case_future(world.future);
        my->which = -1;
        AWAIT_TO(my->which, coil_select(my->cases, 3));
        if (my->which == 2 || my->cases[my->which].err)
            RETURN(0);
        if (my->cases[my->which].is_put)
            world.in[7]++;
        else
            world.out[number(my->cases[my->which].item)]++;
    }
}

static void begin(void)
{
    memset(&world, 0, sizeof world);
    coil_queue_init(&world.a, 1);
    coil_queue_init(&world.b, 0);
    world.future = coil_future_new();
    world.raw[0] = coil_case_get(&world.b);
    world.raw[1] = coil_case_get(&world.a);
}

enum { START_A = 1, START_B, START_RAW, DROP_RAW, PUT_A, PUT_B, GET_B, DONE,
       CLOSE, CANCEL_A, CANCEL_B, ACTIONS = CANCEL_B };

static bool put(struct coil_queue *q)
{
    if (world.next == 3 || coil_queue_put_nowait(q, item(world.next)) < 0)
        return false;
    world.in[world.next++]++;
    return true;
}

static bool take(struct coil_queue *q)
{
    void *it;
    if (coil_queue_get_nowait(q, &it) < 0)
        return false;
    world.out[number(it)]++;
    return true;
}

static bool act(int action)
{
    switch (action) {
    case START_A:
    case START_B:
        if (world.t[action - START_A])
            return false;
        world.t[action - START_A] = coil_spawn(
            CALL(one, .id = action - START_A));
        return true;
    case START_RAW:
        if (world.t[2])
            return false;
        world.t[2] = coil_spawn(coil_select(world.raw, 2));
        return true;
    case DROP_RAW:
        if (!world.t[2] || !coil_task_done(world.t[2]))
            return false;
        coil_task_drop(&world.t[2]);
        return true;
    case PUT_A:
        return put(&world.a);
    case PUT_B:
        return put(&world.b);
    case GET_B:
        return take(&world.b);
    case DONE:
        return !coil_future_done(world.future) &&
               coil_future_set_int(world.future, 0);
    case CLOSE:
        if (coil_queue_is_shutdown(&world.b))
            return false;
        coil_queue_shutdown(&world.b);
        return true;
    default:
        return world.t[action - CANCEL_A] &&
               coil_task_cancel(world.t[action - CANCEL_A]);
    }
}

// Each item came out once or is still there; no queue keeps a dead waiter.
static void end(void)
{
    stage_passes(5);
    /* No waiter is left that could be served. */
    for (int i = 0; i < 2; i++)
        CHECK(!world.t[i] || coil_task_done(world.t[i]) ||
              (coil_queue_empty(&world.a) && !coil_future_done(world.future)));
    for (int i = 0; i < 3; i++) {
        if (!world.t[i])
            continue;
        coil_task_cancel(world.t[i]);
        stage_passes(2);
        CHECK(coil_task_done(world.t[i]));
        coil_task_drop(&world.t[i]);
    }
    while (take(&world.a) || take(&world.b))
        ;
    for (int i = 0; i < ITEMS; i++)
        CHECK_INT(world.out[i], world.in[i]);
    check_idle(&world.a);
    check_idle(&world.b);
    coil_queue_fini(&world.a);
    coil_queue_fini(&world.b);
    coil_future_unref(world.future);
}

TEST(select_moves_each_item_once_in_any_interleaving)
{
    size_t n = interleave(&(struct interleave){ .actions = ACTIONS,
                                                .length = 5,
                                                .begin = begin,
                                                .act = act,
                                                .end = end });
    CHECK(n > 500);
}
