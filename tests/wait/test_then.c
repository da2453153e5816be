// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_then.c: chains, by the rules of Twisted's Deferred; lazy, and cancelled
 * like coroutines.
 */
#include "work.h"

#include <coil/shield.h>
#include <coil/then.h>

#include <stdlib.h>

/* ---- Handlers --------------------------------------------------------- */

static struct coil_future *plus_one(struct coil_future *done, void *arg)
{
    trace("%s%d", arg ? (const char *)arg : "", (int)coil_future_int(done));
    return coil_future_from_int(coil_future_int(done) + 1);
}

static struct coil_future *breaks(struct coil_future *done, void *arg)
{
    int *err = arg;
    (void)done;
    trace("breaks");
    return coil_future_from_error(*err, 0);
}

static struct coil_future *mends(struct coil_future *done, void *arg)
{
    (void)arg;
    trace("mends%d", coil_future_error(done));
    return coil_future_from_int(100);
}

static struct coil_future *goes_on(struct coil_future *done, void *arg)
{
    trace("%s", (const char *)arg);
    (void)done;
    return NULL;
}

/* Pauses the chain. */
static struct coil_future *asks(struct coil_future *done, void *arg)
{
    trace("asks");
    (void)done;
    return CALL(stays, .name = "asked", .op = arg);
}

static struct coil_future *cleans(void *arg)
{
    trace("%s", (const char *)arg);
    return NULL;
}

static struct coil_future *cleans_up(void *arg)
{
    trace("cleans");
    return CALL(stays, .name = "up", .op = arg);
}

/* ---- Order ------------------------------------------------------------ */

TEST(then_calls_handlers_in_order_with_the_result_of_the_one_before)
{
    stage_open();
    struct coil_future *f = CALL(work, .id = 5, .passes = 2);
    f = coil_then(f, plus_one, "a");
    f = coil_then(f, plus_one, "b");
    f = coil_then(f, plus_one, "c");
    CHECK_INT(stage_run(await(f)), 0);
    CHECK_TRACE("a5 b6 c7 =8");
    stage_close();
}

TEST(then_error_skips_to_the_next_error_handler)
{
    stage_open();
    struct coil_future *f = CALL(work, .err = -EIO, .passes = 2);
    f = coil_then(f, plus_one, "not");
    f = coil_then(f, plus_one, "not");
    f = coil_catch(f, mends, NULL);
    f = coil_then(f, plus_one, "then");
    f = coil_catch(f, mends, NULL);
    CHECK_INT(stage_run(await(f)), 0);
    CHECK_TRACE("mends-5 then100 =101");
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

TEST(then_handler_that_fails_skips_to_the_next_error_handler)
{
    stage_open();
    int err = -EPIPE;
    struct coil_future *f = coil_then(CALL(work), breaks, &err);
    f = coil_then(f, plus_one, "not");
    f = coil_catch(f, breaks, &(int){ -EIO });
    f = coil_catch(f, mends, NULL);
    CHECK_INT(stage_run(await(f)), 0);
    CHECK_TRACE("breaks breaks mends-5 =100");
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

// Twisted addCallbacks: one of the two; an error of `ok` is not for its twin.
TEST(then_catch_calls_one_of_its_handlers)
{
    stage_open();
    int err = -EPIPE;
    for (int fails = 0; fails < 2; fails++) {
        struct coil_future *f = CALL(work, .err = fails ? -EIO : 0);
        f = coil_then_catch(f, breaks, mends, &err);
        CHECK_INT(stage_run(await(f)), 0);
    }
    CHECK_TRACE("breaks =-32 mends-5 =100");
    stage_close();
}

// The errback of Twisted that returns the failure it was given.
TEST(then_handler_that_returns_null_passes_on_what_it_was_given)
{
    stage_open();
    struct coil_future *f = CALL(work, .id = 3);
    f = coil_then_catch(f, goes_on, goes_on, "seen");
    CHECK_INT(stage_run(await(f)), 0);
    f = CALL(work, .err = -EIO);
    f = coil_then_catch(f, goes_on, goes_on, "seen");
    CHECK_INT(stage_run(await(f)), 0);
    CHECK_TRACE("seen =3 seen =-5");
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

static struct coil_future *gives_back(struct coil_future *done, void *arg)
{
    (void)arg;
    return done;
}

// Twisted's `return result`, and `return failure`.
TEST(then_handler_may_return_what_it_was_given)
{
    stage_open();
    struct coil_future *f = CALL(work, .id = 3);
    CHECK_INT(stage_run(await(coil_then(f, gives_back, NULL))), 0);
    f = CALL(work, .err = -EIO);
    CHECK_INT(stage_run(await(coil_catch(f, gives_back, NULL))), 0);
    CHECK_TRACE("=3 =-5");
    stage_close();
}

// Twisted: a callback that returns a Deferred pauses the chain.
TEST(then_pauses_until_the_future_that_a_handler_returned_is_done)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_future *f = coil_then(CALL(work), asks, &op);
    struct coil_task *t = await(coil_then(f, plus_one, "then"));
    stage_passes(8);
    CHECK_TRACE("asks");
    hand_set(&op, 0, 20);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("asked then20 =21");
    stage_close();
}

static struct coil_future *retries(struct coil_future *done, void *arg)
{
    trace("again%d", coil_future_error(done));
    return CALL(work, .id = 9, .err = --*(int *)arg ? -EIO : 0);
}

TEST(then_error_handler_may_try_again)
{
    stage_open();
    int times = 2;
    struct coil_future *f = CALL(work, .err = -EPIPE);
    f = coil_catch(f, retries, &times);
    f = coil_catch(f, retries, &times);
    f = coil_catch(f, retries, &times);
    CHECK_INT(stage_run(await(f)), 0);
    CHECK_TRACE("again-32 again-5 =9");
    stage_close();
}

/* ---- When ------------------------------------------------------------- */

// Nothing runs before the last future of the chain is awaited.
TEST(then_is_lazy_and_dropped_as_a_whole)
{
    stage_open();
    int begun = 0, over = 0;
    struct coil_future *f = CALL(work, .begun = &begun, .over = &over);
    f = coil_then(f, plus_one, NULL);
    f = coil_catch(f, mends, NULL);
    stage_passes(5);
    coil_discard(f);
    stage_passes(5);
    CHECK_INT(begun, 0);
    CHECK_INT(over, 1); /* its FINALLY */
    CHECK_TRACE("");
    CHECK_INT(stage_tasks(), 0);
    stage_close();
}

// Never within the call that completes: code that sets a future goes on first.
TEST(then_handlers_run_from_the_loop)
{
    stage_open();
    struct coil_future *answer = coil_future_new();
    struct coil_future *f = coil_then(coil_future_ref(answer), plus_one, "a");
    struct coil_task *t = await(f);
    stage_passes(3);
    coil_future_set_int(answer, 1);
    trace("set");
    coil_future_unref(answer);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("set a1 =2");
    stage_close();
}

// Twisted: a handler that is added late is called; here soon, in order.
TEST(then_added_to_a_task_that_is_done_is_called_soon)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(work, .id = 1));
    CHECK_INT(stage_run(t), 0);
    struct coil_task *a = await(coil_then(t, plus_one, "a"));
    trace("added");
    CHECK_INT(stage_run(a), 0);
    CHECK_TRACE("added a1 =2");
    stage_close();
}

TEST(then_may_branch_from_one_task)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(work, .id = 1, .passes = 2));
    struct coil_task *a = await(coil_then(t, plus_one, "a"));
    struct coil_task *b = await(coil_then(t, plus_one, "b"));
    CHECK_INT(stage_run(b) + stage_run(a), 0);
    CHECK_TRACE("a1 =2 b1 =2");
    CHECK_INT(coil_future_int(coil_task_future(t)), 1);
    stage_close();
}

// It may be given back before the chain begins.
TEST(then_keeps_a_task_from_when_it_is_made)
{
    stage_open();
    struct coil_task *t = coil_spawn(CALL(work, .id = 1));
    struct coil_future *f = coil_then(t, plus_one, "a");
    stage_passes(2);
    coil_task_drop(&t);
    CHECK_INT(stage_run(await(f)), 0);
    CHECK_TRACE("a1 =2");
    t = coil_spawn(CALL(work, .id = 1));
    f = coil_then(t, plus_one, "a");
    coil_task_drop(&t);
    coil_discard(f);
    stage_close();
}

struct gathers_chains {
    struct coil_coro coro;
    struct coil_task *t[3];
    int i, err;
    int64_t value;
};

static void gathers_chains(struct coil_coro *co)
{
    ASYNC(gathers_chains, my) {
        for (my->i = 0; my->i < 3; my->i++) {
            struct coil_future *f = CALL(work, .id = my->i * 10,
                                         .passes = 9 - 3 * my->i,
                                         .err = my->i == 1 ? -EIO : 0);
            f = coil_then(f, plus_one, NULL);
            f = coil_catch(f, mends, NULL);
            my->t[my->i] = coil_spawn(f);
        }
        AWAIT(coil_gather(my->t, 3));
        for (my->i = 0; my->i < 3; my->i++) {
            AWAIT_TO(my->value, my->t[my->i]);
            trace("=%d", (int)my->value);
        }
    }
}

// A list of chains, gathered: results in the order of the list.
TEST(then_chains_are_gathered)
{
    stage_open();
    CHECK_INT(stage_run(SPAWN(gathers_chains)), 0);
    CHECK_TRACE("20 mends-5 0 =1 =100 =21");
    stage_close();
}

enum { LONG = 5000 };

static struct coil_future *counts(struct coil_future *done, void *arg)
{
    (void)arg;
    return coil_future_from_int(coil_future_int(done) + 1);
}

// However long: the C stack holds one step, also to discard and to cancel it.
TEST(then_chains_may_be_long)
{
    stage_open();
    for (int how = 0; how < 3; how++) {
        struct hand op = { 0 };
        struct coil_future *f = how == 2 ? hand_op(&op) : CALL(work);
        for (int i = 0; i < LONG; i++)
            f = coil_then(f, counts, NULL);
        if (how == 0) {
            coil_discard(f);
            stage_passes(3 * LONG);
            CHECK_INT(stage_tasks(), 0);
            continue;
        }
        struct coil_task *t = await(f);
        stage_passes(2 * LONG);
        if (how == 2)
            coil_task_cancel(t);
        CHECK_INT(stage_run(t), how == 2 ? -ECANCELED : 0);
        coil_task_drop(&t);
    }
    CHECK_TRACE("=5000");
    stage_close();
}

/* ---- Cancelling ------------------------------------------------------- */

TEST(then_cancelled_cancels_what_it_waits_for_at_the_moment)
{
    stage_open();
    struct hand op[2] = { { 0 }, { 0 } };
    for (int at = 0; at < 2; at++) {
        struct coil_future *f = CALL(stays, .name = "source", .op = &op[0]);
        f = coil_then(f, asks, &op[1]);
        f = coil_catch(f, mends, NULL);
        struct coil_task *t = await(coil_then(f, plus_one, "not"));
        stage_passes(6);
        if (at == 1) {
            hand_set(&op[0], 0, 0);
            stage_passes(6);
        }
        coil_task_cancel(t);
        CHECK_INT(stage_run(t), -ECANCELED);
        CHECK_INT(op[at].cancels, 1);
        CHECK_TRACE(at ? "source asks asked" : "source");
        stage_passes(3);
        CHECK_INT(stage_tasks(), 0);
    }
    stage_close();
}

// As every await of a task does; to prevent that, shield the task.
TEST(then_cancelled_cancels_the_task_it_follows_unless_that_is_shielded)
{
    for (int shielded = 0; shielded < 2; shielded++) {
        stage_open();
        struct hand op = { 0 };
        struct coil_task *a = stay("a", &op);
        struct coil_task *t = await(
            shielded ? coil_then(coil_shield(a), plus_one, "not")
                     : coil_then(a, plus_one, "not"));
        stage_passes(3);
        coil_task_cancel(t);
        CHECK_INT(stage_run(t), -ECANCELED);
        CHECK_INT(op.cancels, !shielded);
        CHECK_TRACE(shielded ? "" : "a");
        stage_close();
        stage_trace[0] = '\0';
    }
}

// Twisted's addTimeout: a deadline around the whole of it.
TEST(then_chain_may_be_given_a_time)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_future *f = coil_then(CALL(work), asks, &op);
    f = coil_wait_for(coil_then(f, plus_one, "not"), COIL_MS(50));
    CHECK_INT(stage_run(await(coil_catch(f, mends, NULL))), 0);
    CHECK_TRACE("asks asked mends-110 =100");
    CHECK_INT(op.cancels, 1);
    stage_close();
}

// TRY_AWAIT's rule: one's own cancellation is no error to be mended...
TEST(then_error_handler_is_not_given_the_chains_own_cancellation)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_future *f = CALL(stays, .name = "a", .op = &op);
    struct coil_task *t = await(coil_catch(f, mends, NULL));
    stage_passes(3);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("a");
    stage_close();
}

// ...but that of another task is.
TEST(then_error_handler_is_given_the_cancellation_of_its_task)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_task *a = stay("a", &op);
    struct coil_task *t = await(coil_catch(a, mends, NULL));
    stage_passes(3);
    coil_task_cancel(a);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("a mends-125 =100");
    stage_close();
}

static struct coil_future *spawns(struct coil_future *done, void *arg)
{
    (void)done;
    coil_task_quiet(stay("child", arg));
    return NULL;
}

// A child of the link: it ends with it, and so what it was lent is safe.
TEST(then_handler_spawns_children_of_its_link)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_future *f = coil_then(CALL(work, .id = 4), spawns, &op);
    CHECK_INT(stage_run(await(f)), 0);
    CHECK_TRACE("child =4");
    stage_close();
}

/* ---- Errors, ownership ------------------------------------------------ */

TEST(then_error_that_no_handler_took_is_reported_once)
{
    stage_open();
    for (int handled = 0; handled < 2; handled++) {
        struct coil_future *f = CALL(work, .err = -EIO);
        f = coil_then(f, plus_one, "not");
        f = coil_then(f, plus_one, "not");
        if (handled)
            f = coil_catch(f, mends, NULL);
        CHECK_INT(coil_start(f), 0);
        stage_passes(10);
        CHECK_INT(stage_reported.n, 1);
        CHECK_INT(stage_reported.err, -EIO);
    }
    CHECK_TRACE("mends-5");
    stage_close();
    CHECK_INT(stage_reported.n, 1);
}

static int freed;

static void count_and_free(void *memory)
{
    freed++;
    free(memory);
}

struct gives {
    struct coil_coro coro;
};

static void gives(struct coil_coro *co)
{
    ASYNC_GIVES(gives, my, count_and_free) {
        AWAIT(coil_sleep(0));
        RETURN(malloc(1));
    }
}

static struct coil_future *looks(struct coil_future *done, void *arg)
{
    (void)arg;
    CHECK(!coil_future_failed(done));
    return NULL;
}

static struct coil_future *frees(struct coil_future *done, void *arg)
{
    (void)arg;
    free(coil_future_pointer(done));
    return coil_future_from_pointer(&freed);
}

struct takes {
    struct coil_coro coro;
    void *memory;
    bool takes;
};

static void takes(struct coil_coro *co)
{
    ASYNC(takes, my) {
        struct coil_future *f = coil_then(CALL(gives), looks, NULL);
        f = coil_finally(coil_then(f, looks, NULL), cleans, "!");
        if (my->takes)
            AWAIT_TO(my->memory, f);
        else
            AWAIT(f);
    FINALLY;
        free(my->memory);
    }
}

// A pointer goes down the chain with the duty to free it; to get it is to take
// it.
TEST(then_passes_a_pointer_on_with_its_owner)
{
    stage_open();
    for (int take = 0; take < 2; take++) {
        freed = 0;
        CHECK_INT(stage_run(SPAWN(takes, .takes = take)), 0);
        CHECK_INT(freed, !take);
    }
    freed = 0;
    struct coil_task *t = coil_spawn(coil_then(CALL(gives), frees, NULL));
    CHECK_INT(stage_run(t), 0);
    CHECK(coil_future_pointer(coil_task_future(t)) == &freed);
    stage_close();
    CHECK_INT(freed, 0);
    CHECK_TRACE("! !");
}

/* ---- finally ---------------------------------------------------------- */

TEST(finally_is_called_however_it_ends)
{
    stage_open();
    struct hand op = { 0 };
    CHECK_INT(stage_run(await(coil_finally(CALL(work, .id = 2), cleans,
                                           "well"))), 0);
    struct coil_future *f = CALL(work, .err = -EIO);
    CHECK_INT(stage_run(await(coil_finally(f, cleans, "badly"))), 0);
    f = CALL(stays, .name = "a", .op = &op);
    struct coil_task *t = await(coil_finally(f, cleans, "cancelled"));
    stage_passes(3);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    coil_discard(coil_finally(CALL(work), cleans, "dropped"));
    stage_passes(3);
    CHECK_TRACE("well =2 badly =-5 a cancelled dropped");
    stage_close();
}

TEST(finally_awaits_what_it_calls_and_keeps_the_first_error)
{
    for (int err = -EIO; err <= 0; err += EIO)
        for (int cleanup = -EPIPE; cleanup <= 0; cleanup += EPIPE) {
            stage_open();
            struct hand op = { 0 };
            struct coil_future *f = CALL(work, .id = 7, .err = err);
            struct coil_task *t = await(coil_finally(f, cleans_up, &op));
            stage_passes(8);
            CHECK_TRACE("cleans");
            hand_set(&op, cleanup, 0);
            CHECK_INT(stage_run(t), 0);
            CHECK_TRACE(err       ? "up =-5"
                        : cleanup ? "up =-32"
                                  : "up =7");
            stage_close();
        }
}

/* ---- chain ------------------------------------------------------------ */

TEST(chain_completes_a_plain_future)
{
    stage_open();
    struct coil_future *dst[2];
    for (int i = 0; i < 2; i++) {
        dst[i] = coil_future_new();
        struct coil_future *f = CALL(work, .id = 3, .err = i ? -EIO : 0);
        CHECK_INT(coil_start(coil_chain(f, dst[i])), 0);
    }
    stage_passes(5);
    CHECK_INT(coil_future_int(dst[0]), 3);
    CHECK_INT(coil_future_error(dst[1]), -EIO);
    struct coil_task *t = coil_spawn(CALL(gives));
    struct coil_future *given = coil_future_new();
    freed = 0;
    CHECK_INT(stage_run(coil_spawn(coil_chain(t, given))), 0);
    coil_task_drop(&t);
    CHECK_INT(freed, 0); /* the reader of `given` has it */
    free(coil_future_pointer(given));
    coil_future_unref(given);
    coil_future_unref(dst[0]);
    coil_future_unref(dst[1]);
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

// Both ways, as between a thread's future and a loop's.
TEST(chain_cancels_its_source_when_the_plain_future_is_cancelled)
{
    stage_open();
    struct hand op = { 0 };
    struct coil_future *dst = coil_future_new();
    struct coil_task *a = stay("a", &op);
    struct coil_task *t = coil_spawn(coil_chain(a, dst));
    stage_passes(2);
    coil_future_cancel(dst);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(stage_run(a), -ECANCELED);
    coil_future_unref(dst);
    CHECK_TRACE("a");
    stage_close();
}

TEST(chain_that_is_dropped_cancels_both)
{
    stage_open();
    int begun = 0, over = 0;
    struct coil_future *dst = coil_future_new();
    struct coil_future *f = CALL(work, .begun = &begun, .over = &over);
    coil_discard(coil_chain(f, dst));
    stage_passes(3);
    CHECK(coil_future_cancelled(dst));
    CHECK_INT(begun, 0);
    CHECK_INT(over, 1);
    coil_future_unref(dst);
    stage_close();
}

TEST(chain_cancelled_cancels_both)
{
    for (int when = 0; when < 3; when++) {
        stage_open();
        struct hand op = { 0 };
        struct coil_future *dst = coil_future_new();
        struct coil_future *f = CALL(stays, .name = "a", .op = &op);
        struct coil_task *t = coil_spawn(coil_chain(f, dst));
        stage_passes(when);
        coil_task_cancel(t);
        CHECK_INT(stage_run(t), -ECANCELED);
        CHECK(coil_future_cancelled(dst));
        coil_future_unref(dst);
        stage_passes(2);
        CHECK_TRACE("a");
        stage_close();
    }
}

/* ---- Whatever happens ------------------------------------------------- */

struct chains {
    struct coil_coro coro;
    struct coil_future *dst;
    struct coil_task *t;
    int n, begun, over;
    int64_t value;
};

static struct coil_future *more_work(struct coil_future *done, void *arg)
{
    struct chains *my = arg;
    (void)done;
    return CALL(work, .passes = 1, .cleanup = 1, .begun = &my->begun,
                .over = &my->over);
}

static struct coil_future *counts_down(void *arg)
{
    struct chains *my = arg;
    my->n--;
    return coil_sleep(0);
}

static void chains(struct coil_coro *co)
{
    ASYNC(chains, my) {
        my->n = 1;
        struct coil_future *f = more_work(NULL, my);
        f = coil_finally(coil_then(f, more_work, my), counts_down, my);
        if (coil_future_done(f))
            my->n = 0; /* no memory */
        AWAIT(coil_then(f, more_work, my));
        my->dst = coil_future_new();
        my->t = coil_spawn(CALL(work, .passes = 1));
        AWAIT(coil_chain(coil_catch(my->t, more_work, my), my->dst));
        AWAIT_TO(my->value, coil_future_ref(my->dst));
    FINALLY;
        CHECK(my->begun <= my->over);
        if (my->dst)
            coil_future_unref(my->dst);
        trace("finally");
    }
}

TEST(then_survives_a_cancel_at_every_pass)
{
    for (int again = 0; again < 4; again++)
        for (int when = 0; when < 30; when++) {
            stage_open();
            struct coil_task *t = SPAWN(chains);
            stage_passes(when);
            coil_task_cancel(t);
            stage_passes(again);
            coil_task_cancel(t);
            coil_loop_run_until_complete(stage_loop, t);
            struct chains *frame = coil_task_frame(t);
            CHECK_INT(frame->n, 0);
            CHECK_TRACE("finally");
            CHECK_INT(stage_tasks(), 0);
            stage_close();
        }
}

static struct coil_future *make_chains(void)
{
    return CALL(chains);
}

static int chaining(void)
{
    int err = run_alone(make_chains);
    stage_trace[0] = '\0';
    return err;
}

TEST(then_survives_every_failed_allocation)
{
    test_every_allocation(chaining);
}
