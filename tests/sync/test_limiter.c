// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_limiter.c: which borrower has a token, in any order of acquiring,
 * waiting, cancelling, resizing and releasing.
 */
#include "interleave.h"

#include <coil/limiter.h>

static struct coil_limiter_stats ask(const struct coil_limiter *l)
{
    struct coil_limiter_stats stats;
    coil_limiter_get_stats(l, &stats);
    return stats;
}

/* "limit borrowed available waiting" */
static void check(const struct coil_limiter *l, const char *expected)
{
    char text[64];
    struct coil_limiter_stats s = ask(l);
    snprintf(text, sizeof text, "%zu %zu %zu %zu", s.limit, s.borrowed,
             s.available, s.waiting);
    CHECK_STR(text, expected);
}

struct borrows {
    struct coil_coro coro;
    struct coil_limiter *limiter;
    int id;
    struct hand *inside;
};

static void borrows(struct coil_coro *co)
{
    ASYNC(borrows, my) {
        HOLD(my->limiter);
        trace("%d", my->id);
        if (my->inside)
            AWAIT(hand_op(my->inside));
    }
}

static struct coil_task *borrow(struct coil_limiter *l, int id,
                                struct hand *inside)
{
    return coil_spawn(
        CALL(borrows, .limiter = l, .id = id, .inside = inside));
}

TEST(limiter_lends_in_the_order_of_arrival)
{
    stage_open();
    struct coil_limiter l;
    struct hand inside[4] = { { 0 } };
    coil_limiter_init(&l, 2);
    struct coil_task *t[4];
    for (int i = 0; i < 4; i++)
        t[i] = borrow(&l, i, &inside[i]);
    stage_passes(2);
    CHECK_TRACE("0 1");
    check(&l, "2 2 0 2");
    hand_set(&inside[1], 0, 0);
    stage_passes(2);
    CHECK_TRACE("2");
    CHECK(coil_task_done(t[1]));
    for (int i = 0; i < 4; i++) {
        if (i != 1)
            hand_set(&inside[i], 0, 0);
        stage_passes(2);
    }
    CHECK_TRACE("3");
    check(&l, "2 0 2 0");
    CHECK(l.table == NULL); /* nothing to free */
    stage_close();
}

TEST(limiter_lends_for_anybody)
{
    stage_open();
    struct coil_limiter l;
    int a, b;
    coil_limiter_init(&l, 1);
    CHECK_INT(coil_limiter_acquire_for_nowait(&l, &a), 0);
    CHECK_INT(coil_limiter_acquire_for_nowait(&l, &b), -EAGAIN);
    struct coil_task *t = coil_spawn(coil_limiter_acquire_for(&l, &b));
    stage_passes(1);
    check(&l, "1 1 0 1");
    coil_limiter_release_for(&l, &a);
    check(&l, "1 1 0 0"); /* handed over: never free in between */
    CHECK_INT(coil_limiter_acquire_for_nowait(&l, &a), -EAGAIN);
    CHECK_INT(stage_run(t), 0);
    coil_limiter_release_for(&l, &b);
    check(&l, "1 0 1 0");
    stage_close();
}

// trio test_CapacityLimiter_change_total_tokens
TEST(limiter_grows_and_wakes_who_waits)
{
    stage_open();
    struct coil_limiter l;
    struct hand inside[5] = { { 0 } };
    coil_limiter_init(&l, 0);
    for (int i = 0; i < 5; i++)
        borrow(&l, i, &inside[i]);
    stage_passes(1);
    check(&l, "0 0 0 5");
    coil_limiter_resize(&l, 3);
    check(&l, "3 3 0 2");
    stage_passes(1);
    CHECK_TRACE("0 1 2");
    coil_limiter_resize(&l, SIZE_MAX);
    stage_passes(1);
    CHECK_TRACE("3 4");
    stage_close();
}

TEST(limiter_shrunk_lends_nothing_until_enough_is_back)
{
    stage_open();
    struct coil_limiter l;
    struct hand inside[4] = { { 0 } };
    coil_limiter_init(&l, 3);
    for (int i = 0; i < 4; i++)
        borrow(&l, i, &inside[i]);
    stage_passes(1);
    CHECK_TRACE("0 1 2");
    coil_limiter_resize(&l, 1);
    check(&l, "1 3 0 1");
    for (int i = 0; i < 2; i++) {
        hand_set(&inside[i], 0, 0);
        stage_passes(2);
    }
    check(&l, "1 1 0 1");
    CHECK_TRACE("");
    hand_set(&inside[2], 0, 0);
    stage_passes(2);
    CHECK_TRACE("3");
    stage_close();
}

struct twice {
    struct coil_coro coro;
    struct coil_limiter *limiter;
    int way;
};

static void inner(struct coil_coro *co);
struct inner {
    struct coil_coro coro;
    struct coil_limiter *limiter;
};

static void inner(struct coil_coro *co)
{
    ASYNC(inner, my) {
        HOLD(my->limiter);
    }
}

static void twice(struct coil_coro *co)
{
    ASYNC(twice, my) {
        if (my->way == 0)
            coil_limiter_release(my->limiter);
        HOLD(my->limiter);
        AWAIT(CALL(inner, .limiter = my->limiter));
    }
}

// A semaphore would wait for itself here, for ever.
DEATH_TEST(limiter_borrowed_twice_by_one_task_aborts,
           "coil_limiter_acquire: this borrower has a token or waits")
{
    stage_open();
    struct coil_limiter l;
    coil_limiter_init(&l, 5);
    stage_run(coil_spawn(CALL(twice, .limiter = &l, .way = 1)));
}

DEATH_TEST(limiter_waited_for_twice_by_one_borrower_aborts,
           "coil_limiter_acquire: this borrower has a token or waits")
{
    stage_open();
    struct coil_limiter l;
    int who;
    coil_limiter_init(&l, 0);
    coil_spawn(coil_limiter_acquire_for(&l, &who));
    coil_spawn(coil_limiter_acquire_for(&l, &who));
    stage_passes(1);
}

DEATH_TEST(limiter_returned_by_one_who_has_none_aborts,
           "coil_limiter_release: this borrower has no token")
{
    stage_open();
    struct coil_limiter l;
    coil_limiter_init(&l, 5);
    stage_run(coil_spawn(CALL(twice, .limiter = &l)));
}

DEATH_TEST(limiter_returned_by_one_who_only_waits_aborts,
           "coil_limiter_release: this borrower has no token")
{
    stage_open();
    struct coil_limiter l;
    int who;
    coil_limiter_init(&l, 0);
    coil_spawn(coil_limiter_acquire_for(&l, &who));
    stage_passes(1);
    coil_limiter_release_for(&l, &who);
}

DEATH_TEST(limiter_used_outside_of_a_task_aborts,
           "coil_limiter: no task runs: call the _for functions")
{
    stage_open();
    struct coil_limiter l;
    coil_limiter_init(&l, 5);
    coil_limiter_acquire_nowait(&l);
}

// Granted, then cancelled before it ran: HOLD has it, and gives it back.
TEST(limiter_granted_then_cancelled_passes_its_token_on)
{
    stage_open();
    struct coil_limiter l;
    struct hand inside = { 0 };
    coil_limiter_init(&l, 0);
    struct coil_task *a = borrow(&l, 1, &inside), *b = borrow(&l, 2, NULL);
    stage_passes(1);
    coil_limiter_resize(&l, 1);
    coil_task_cancel(a);
    CHECK_INT(stage_run(a), -ECANCELED);
    CHECK_INT(stage_run(b), 0);
    CHECK_TRACE("1 2");
    CHECK_INT(inside.started, 0);
    check(&l, "1 0 1 0");
    stage_close();
}

// A table against an array that is searched.
TEST(limiter_knows_its_borrowers_at_any_size)
{
    stage_open();
    enum { MANY = 300 };
    static char who[MANY];
    static bool has[MANY];
    struct coil_limiter l;
    size_t n = 0;
    unsigned seed = 11;
    coil_limiter_init(&l, MANY);
    for (int i = 0; i < 20000; i++) {
        seed = seed * 1103515245u + 12345u;
        unsigned w = (seed >> 12) % (i % 4000 < 2000 ? 20 : MANY);
        if (has[w]) {
            coil_limiter_release_for(&l, &who[w]);
            n--;
        } else {
            CHECK_INT(coil_limiter_acquire_for_nowait(&l, &who[w]), 0);
            n++;
        }
        has[w] = !has[w];
        CHECK_INT(ask(&l).borrowed, n);
    }
    for (unsigned w = 0; w < MANY; w++)
        if (has[w])
            coil_limiter_release_for(&l, &who[w]);
    check(&l, "300 0 300 0");
    CHECK(l.table == NULL);
    stage_close();
}

/* ---- Without memory ------------------------------------------------------ */

struct crowd {
    struct coil_coro coro;
    struct coil_limiter limiter;
    struct coil_task *t[20];
};

struct passes {
    struct coil_coro coro;
    struct coil_limiter *limiter;
};

static void passes(struct coil_coro *co)
{
    ASYNC(passes, my) {
        HOLD(my->limiter);
        AWAIT(coil_sleep(0));
    }
}

static void crowd(struct coil_coro *co)
{
    ASYNC(crowd, my) {
        coil_limiter_init(&my->limiter, 3);
        for (int i = 0; i < 20; i++)
            my->t[i] = SPAWN(passes, .limiter = &my->limiter);
        AWAIT(coil_gather(my->t, 20));

    FINALLY;
        CHECK(my->limiter.limit == 0 || my->limiter.table == NULL);
    }
}

static int play(void)
{
    struct coil_loop *loop;
    int err = coil_loop_new(&loop, stage_options());
    if (err < 0)
        return err;
    struct coil_task *t = coil_spawn(CALL(crowd));
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    err = coil_future_error(coil_task_future(t));
    coil_loop_close(loop);
    return err;
}

TEST(limiter_without_memory_has_all_tokens_back)
{
    test_every_allocation(play);
}

TEST(limiter_needs_no_memory_to_grant_and_to_return)
{
    stage_open();
    struct coil_limiter l;
    int who[40];
    struct coil_task *t[40];
    coil_limiter_init(&l, 1);
    for (int i = 0; i < 40; i++)
        t[i] = coil_spawn(coil_limiter_acquire_for(&l, &who[i]));
    stage_passes(2);
    test_forbid_allocations(true);
    coil_task_cancel(t[20]);
    coil_limiter_resize(&l, 30);
    for (int i = 0; i < 30; i++)
        if (i != 20)
            coil_limiter_release_for(&l, &who[i]);
    CHECK_INT(test_forbidden_allocations(), 0);
    test_forbid_allocations(false);
    stage_passes(2);
    for (int i = 30; i < 40; i++)
        coil_limiter_release_for(&l, &who[i]);
    check(&l, "30 0 30 0");
    stage_close();
}

/* ---- All interleavings --------------------------------------------------- */

enum { TASKS = 3 };

static struct {
    struct coil_limiter limiter;
    struct coil_task *t[TASKS];
    int started, inside, finals;
    size_t limit;
} world;

struct enters {
    struct coil_coro coro;
    bool in;
};

static void enters(struct coil_coro *co)
{
    ASYNC(enters, my) {
        HOLD(&world.limiter);
        my->in = true;
        world.inside++;
        AWAIT(coil_sleep(0));

    FINALLY;
        world.finals++;
        if (my->in)
            world.inside--;
    }
}

static void begin(void)
{
    memset(&world, 0, sizeof world);
    world.limit = 1;
    coil_limiter_init(&world.limiter, 1);
}

enum { START = 1, GROW, SHRINK, CANCEL };

static bool act(int action)
{
    switch (action) {
    case START:
        if (world.started == TASKS)
            return false;
        world.t[world.started++] = coil_spawn(CALL(enters));
        return true;
    case GROW:
        if (world.limit == 2)
            return false;
        coil_limiter_resize(&world.limiter, ++world.limit);
        return true;
    case SHRINK:
        if (world.limit == 0)
            return false;
        coil_limiter_resize(&world.limiter, --world.limit);
        return true;
    default:
        return action - CANCEL < world.started &&
               coil_task_cancel(world.t[action - CANCEL]);
    }
}

// Nobody waits while a token is there; in the end all are back.
static void end(void)
{
    struct coil_limiter_stats s = ask(&world.limiter);
    CHECK(s.available == 0 || s.waiting == 0);
    CHECK_INT(s.waiting, coil_waiters_count(&world.limiter.waiters));
    if (world.limit == 0)
        coil_limiter_resize(&world.limiter, 1);
    stage_passes(8);
    for (int i = 0; i < world.started; i++) {
        CHECK(coil_task_done(world.t[i]));
        coil_task_drop(&world.t[i]);
    }
    CHECK_INT(world.finals, world.started);
    CHECK_INT(world.inside, 0);
    CHECK_INT(ask(&world.limiter).borrowed, 0);
    CHECK(world.limiter.table == NULL);
}

TEST(limiter_loses_no_token_in_any_interleaving)
{
    size_t n = interleave(&(struct interleave){
        .actions = CANCEL + TASKS - 1, .length = 6, .begin = begin,
        .act = act, .end = end });
    CHECK(n > 300);
}
