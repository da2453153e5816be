// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_condition.c: a wait ends with the lock held, and a notification reaches
 * a waiter that can use it, whatever is cancelled when.
 */
#include "interleave.h"

#include <coil/cancel_scope.h>
#include <coil/condition.h>
#include <coil/group.h>

struct waits {
    struct coil_coro coro;
    struct coil_condition *cond;
    int id, err;
    struct hand *then;
};

static void waits(struct coil_coro *co)
{
    ASYNC(waits, my) {
        HOLD(my->cond);
        TRY_ALL(my->err) AWAIT(coil_condition_wait(my->cond));
        CHECK(coil_lock_locked(my->cond->lock));
        trace("%d%s", my->id, my->err ? "!" : "");
        if (my->err < 0)
            FAIL(my->err);
        if (my->then)
            AWAIT(hand_op(my->then));
    }
}

static struct coil_task *wait(struct coil_condition *cond, int id)
{
    return coil_spawn(CALL(waits, .cond = cond, .id = id));
}

static void notify(struct coil_condition *cond, size_t n)
{
    CHECK_INT(coil_lock_acquire_nowait(cond->lock), 0);
    coil_condition_notify(cond, n);
    coil_lock_release(cond->lock);
}

TEST(condition_notifies_so_many_in_the_order_of_arrival)
{
    stage_open();
    struct coil_condition cond;
    coil_condition_init(&cond, NULL);
    for (int i = 1; i <= 5; i++)
        wait(&cond, i);
    stage_passes(5);
    CHECK(!coil_lock_locked(cond.lock));
    CHECK_INT(coil_waiters_count(&cond.waiters), 5);
    notify(&cond, 1);
    stage_passes(3);
    CHECK_TRACE("1");
    notify(&cond, 2);
    stage_passes(4);
    CHECK_TRACE("2 3");
    notify(&cond, 0);
    stage_passes(2);
    CHECK_TRACE("");
    CHECK_INT(coil_lock_acquire_nowait(cond.lock), 0);
    coil_condition_notify_all(&cond);
    stage_passes(3);
    CHECK_TRACE(""); /* notified, but the lock is ours */
    coil_lock_release(cond.lock);
    stage_passes(5);
    CHECK_TRACE("4 5");
    CHECK(!coil_lock_locked(cond.lock));
    stage_close();
}

// asyncio test_context_manager, with a Lock of its own or one that is shared.
TEST(condition_may_share_a_lock)
{
    stage_open();
    struct coil_lock lock;
    struct coil_condition full, empty;
    coil_lock_init(&lock);
    coil_condition_init(&full, &lock);
    coil_condition_init(&empty, &lock);
    wait(&full, 1);
    wait(&empty, 2);
    stage_passes(3);
    CHECK(!coil_lock_locked(&lock));
    notify(&empty, 5);
    stage_passes(2);
    CHECK_TRACE("2");
    notify(&full, 5);
    stage_passes(2);
    CHECK_TRACE("1");
    stage_close();
}

DEATH_TEST(condition_waited_for_without_its_lock_aborts,
           "coil_condition_wait: its lock is not held")
{
    stage_open();
    struct coil_condition cond;
    coil_condition_init(&cond, NULL);
    coil_spawn(coil_condition_wait(&cond));
    stage_passes(1);
}

DEATH_TEST(condition_notified_without_its_lock_aborts,
           "coil_condition_notify: its lock is not held")
{
    struct coil_condition cond;
    coil_condition_init(&cond, NULL);
    coil_condition_notify(&cond, 1);
}

// asyncio test_wait_cancel: it comes back with the lock all the same.
TEST(condition_wait_cancelled_has_the_lock)
{
    stage_open();
    struct coil_condition cond;
    coil_condition_init(&cond, NULL);
    struct coil_task *t = wait(&cond, 1);
    stage_passes(1);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("1!");
    CHECK(!coil_lock_locked(cond.lock));
    CHECK(coil_waiters_empty(&cond.waiters));
    stage_close();
}

// asyncio test_wait_cancel_contested: not before the lock is there, however
// often it is asked.
TEST(condition_wait_cancelled_many_times_waits_for_the_lock)
{
    stage_open();
    struct coil_condition cond;
    coil_condition_init(&cond, NULL);
    struct coil_task *t = wait(&cond, 1);
    stage_passes(1);
    CHECK_INT(coil_lock_acquire_nowait(cond.lock), 0);
    for (int i = 0; i < 3; i++) {
        coil_task_cancel(t);
        stage_passes(2);
        CHECK(!coil_task_done(t));
    }
    CHECK_TRACE("");
    coil_lock_release(cond.lock);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("1!");
    CHECK(!coil_lock_locked(cond.lock));
    stage_close();
}

// asyncio test_cancelled_wakeup: notified, then cancelled before the lock was
// there: the notification is the next one's.
TEST(condition_notification_of_a_cancelled_waiter_goes_to_another)
{
    stage_open();
    struct coil_condition cond;
    coil_condition_init(&cond, NULL);
    struct coil_task *t[3];
    for (int i = 0; i < 3; i++)
        t[i] = wait(&cond, i);
    stage_passes(3);
    CHECK_INT(coil_lock_acquire_nowait(cond.lock), 0);
    coil_condition_notify(&cond, 1);
    coil_task_cancel(t[0]);
    coil_task_cancel(t[0]); /* passed on once */
    CHECK_INT(coil_waiters_count(&cond.waiters), 1);
    coil_lock_release(cond.lock);
    stage_passes(4);
    CHECK_TRACE("0! 1");
    CHECK_INT(stage_run(t[0]), -ECANCELED);
    CHECK(coil_task_done(t[1]) && !coil_task_done(t[2]));
    stage_close();
}

// The lock was there, then cancelled before it ran: the wait has succeeded.
TEST(condition_wait_done_then_cancelled_returns_and_the_next_await_is_struck)
{
    stage_open();
    struct coil_condition cond;
    struct hand then = { 0 };
    coil_condition_init(&cond, NULL);
    struct coil_task *t = coil_spawn(
        CALL(waits, .cond = &cond, .id = 1, .then = &then));
    stage_passes(1);
    notify(&cond, 1);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("1");
    CHECK_INT(then.started, 0);
    CHECK(!coil_lock_locked(cond.lock));
    stage_close();
}

struct until {
    struct coil_coro coro;
    struct coil_condition *cond;
    int *count, least, err;
};

static bool enough(void *arg)
{
    struct until *my = arg;
    return *my->count >= my->least;
}

static void until(struct coil_coro *co)
{
    ASYNC(until, my) {
        HOLD(my->cond);
        TRY_ALL(my->err) AWAIT(coil_condition_wait_for(my->cond, enough, my));
        CHECK(coil_lock_locked(my->cond->lock));
        trace("%d at %d%s", my->least, *my->count, my->err ? "!" : "");
        if (my->err < 0)
            FAIL(my->err);
    }
}

TEST(condition_wait_for_tests_first_and_each_time)
{
    stage_open();
    struct coil_condition cond;
    int count = 1;
    struct coil_task *t[3];
    coil_condition_init(&cond, NULL);
    for (int i = 0; i < 3; i++)
        t[i] = coil_spawn(CALL(until, .cond = &cond, .count = &count,
                               .least = i + 1));
    stage_passes(1);
    CHECK_TRACE("1 at 1"); /* without waiting */
    CHECK(coil_task_done(t[0]));
    for (; count <= 3; count++) {
        notify(&cond, 5);
        stage_passes(4);
    }
    CHECK_TRACE("2 at 2 3 at 3");
    CHECK(!coil_lock_locked(cond.lock));
    stage_close();
}

TEST(condition_wait_for_cancelled_has_the_lock)
{
    stage_open();
    struct coil_condition cond;
    int count = 0;
    coil_condition_init(&cond, NULL);
    struct coil_task *t = coil_spawn(
        CALL(until, .cond = &cond, .count = &count, .least = 1));
    stage_passes(1);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("1 at 0!");
    CHECK(!coil_lock_locked(cond.lock));
    stage_close();
}

// anyio#884: a waiter that is cancelled and cannot have the lock must sleep.
TEST(condition_cancelled_waiter_does_not_spin)
{
    stage_open();
    struct coil_condition cond;
    coil_condition_init(&cond, NULL);
    struct coil_task *t = wait(&cond, 1);
    stage_passes(1);
    CHECK_INT(coil_lock_acquire_nowait(cond.lock), 0);
    coil_task_cancel(t);
    for (int i = 0; i < 3; i++)
        CHECK(!coil_loop_pass(stage_loop, 0)); /* nothing becomes ready */
    coil_lock_release(cond.lock);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("1!");
    stage_close();
}

/* ---- Without memory ------------------------------------------------------ */

struct pair {
    struct coil_coro coro;
    struct coil_condition cond;
    struct coil_task *t[2];
    int count;
};

static void pair(struct coil_coro *co)
{
    ASYNC(pair, my) {
        coil_condition_init(&my->cond, NULL);
        for (int i = 0; i < 2; i++)
            my->t[i] = SPAWN(until, .cond = &my->cond, .count = &my->count,
                             .least = i + 1);
        for (; my->count <= 2; my->count++) {
            HOLD(&my->cond);
            coil_condition_notify_all(&my->cond);
            RELEASE(&my->cond);
            AWAIT(coil_sleep(0));
            AWAIT(coil_sleep(0));
        }
        AWAIT(coil_gather(my->t, 2));

    FINALLY;
        CHECK(!coil_lock_locked(my->cond.lock));
    }
}

static int play(void)
{
    struct coil_loop *loop;
    stage_trace[0] = '\0';
    int err = coil_loop_new(&loop, stage_options());
    if (err < 0)
        return err;
    struct coil_task *t = coil_spawn(CALL(pair));
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    err = coil_future_error(coil_task_future(t));
    coil_loop_close(loop);
    return err;
}

COROUTINE(waits_for_nothing, struct coil_condition cond;)
{
    ASYNC(waits_for_nothing, my) {
        WITH(&my->cond) {
            AWAIT(coil_condition_wait(&my->cond));
        }
    }
}

DEATH_TEST(condition_that_was_not_begun_aborts,
           "a coil_condition is zero: call its _init")
{
    RUN(waits_for_nothing);
}

/* ---- A lock that an ending ancestor holds ------------------------------ */

struct consumer {
    struct coil_coro coro;
    struct coil_condition *cond;
    bool waits_for;
};

static bool never(void *arg)
{
    (void)arg;
    return false;
}

static void consumer(struct coil_coro *co)
{
    ASYNC(consumer, my) {
        HOLD(my->cond);
        if (my->waits_for)
            AWAIT(coil_condition_wait_for(my->cond, never, NULL));
        AWAIT(coil_condition_wait(my->cond));
    }
}

enum way { AT_END, NOTIFIES, OTHER, IN_GROUP, ABOVE, IN_JOIN, RELEASES, TWICE };

struct producer {
    struct coil_coro coro;
    struct coil_lock lock;
    struct coil_condition cond, other;
    struct coil_group group;
    struct coil_cancel_scope scope;
    enum way way;
};

struct between {
    struct coil_coro coro;
    struct coil_condition *cond;
};

static void between(struct coil_coro *co)
{
    ASYNC(between, my) {
        START(consumer, .cond = my->cond);
        JOIN();
    }
}

static void producer(struct coil_coro *co)
{
    ASYNC(producer, my) {
        coil_lock_init(&my->lock);
        coil_condition_init(&my->cond, &my->lock);
        coil_condition_init(&my->other, &my->lock);
        if (my->way == IN_GROUP) {
            CANCEL_SCOPE(&my->scope) GROUP(&my->group) {
                START(consumer, .cond = &my->cond);
                AWAIT(coil_sleep(0));
                HOLD(&my->cond);
                coil_cancel_scope_set_deadline(&my->scope,
                                               coil_now() + COIL_MS(1));
            }
        }
        if (my->way == ABOVE)
            START(between, .cond = &my->cond);
        else
            START(consumer, .cond = &my->cond, .waits_for = my->way == OTHER);
        AWAIT(coil_sleep(0));
        AWAIT(coil_sleep(0));
        WITHIN(COIL_MS(1)) {
            if (my->way == OTHER)
                HOLD(&my->other);
            else
                HOLD(&my->cond);
            if (my->way == NOTIFIES)
                coil_condition_notify(&my->cond, 1);
            if (my->way == IN_JOIN)
                JOIN();
            if (my->way == TWICE)
                HOLD(&my->lock);
            if (my->way == RELEASES)
                RELEASE(&my->cond);
        }
    }
}

#define DEADLOCK \
    "deadlock: producer at .*test_condition.c:[0-9]+ waits for its children " \
    "to end, and holds what consumer needs to end"

static void hold_to_the_end(enum way way)
{
    test_timeout(5);
    CHECK_INT(RUN(producer, .way = way), 0);
}

/*
 * The child, cancelled, needs the lock to end, and the lock is released when
 * the child has ended: this stood still for ever, under a deadline too.
 */
DEATH_TEST(condition_held_by_an_ending_parent_aborts, DEADLOCK)
{
    hold_to_the_end(AT_END);
}

DEATH_TEST(condition_held_by_a_parent_that_has_notified_aborts, DEADLOCK)
{
    hold_to_the_end(NOTIFIES);
}

DEATH_TEST(condition_whose_lock_is_held_by_another_one_aborts, DEADLOCK)
{
    hold_to_the_end(OTHER);
}

DEATH_TEST(condition_held_at_the_brace_of_a_group_aborts, DEADLOCK)
{
    hold_to_the_end(IN_GROUP);
}

DEATH_TEST(condition_held_by_a_parents_parent_aborts, DEADLOCK)
{
    hold_to_the_end(ABOVE);
}

// The time-out ends the JOIN: until then the parent might still release.
DEATH_TEST(condition_held_in_a_join_aborts_at_the_end, DEADLOCK)
{
    hold_to_the_end(IN_JOIN);
}

TEST(condition_released_before_the_end_does_not_abort)
{
    hold_to_the_end(RELEASES);
}

DEATH_TEST(condition_held_twice_by_its_lock_aborts, "holds already")
{
    hold_to_the_end(TWICE);
}

static void note_end(void *arg)
{
    (void)arg;
    trace("called");
}

// The check of a cancelled wait reads the waiters of its future: a callback
// that is the last of them is marked in another way than a coroutine.
TEST(condition_wait_that_has_a_callback_is_cancelled)
{
    static struct coil_handle handles[2];
    for (int callbacks = 1; callbacks <= 2; callbacks++) {
        stage_open();
        struct coil_condition cond;
        coil_condition_init(&cond, NULL);
        CHECK_INT(coil_lock_acquire_nowait(cond.lock), 0);
        struct coil_future *f = coil_condition_wait(&cond);
        struct coil_task *t = coil_spawn(coil_future_ref(f));
        stage_passes(1);
        for (int i = 0; i < callbacks; i++)
            coil_future_add_done_callback(f, &handles[i], note_end, NULL);
        CHECK_INT(coil_lock_acquire_nowait(cond.lock), 0);
        coil_task_cancel(t);
        stage_passes(2);
        CHECK(!coil_task_done(t));
        coil_lock_release(cond.lock);
        CHECK_INT(stage_run(t), -ECANCELED);
        stage_passes(1);
        CHECK_TRACE(callbacks == 1 ? "called" : "called called");
        coil_lock_release(cond.lock); /* the wait has it */
        coil_future_unref(f);
        stage_close();
    }
}

TEST(condition_without_memory_keeps_its_lock_in_order)
{
    test_every_allocation(play);
}

/* ---- All interleavings --------------------------------------------------- */

enum { WAITERS = 3 };

static struct {
    struct coil_condition cond;
    struct coil_task *t[WAITERS];
    int delivered, cancelled, notified;
    int inside; /* the task that has the lock; -1: the test; -2: none */
} world;

struct sleeper {
    struct coil_coro coro;
    int id, err;
    bool in;
};

static void enter(int id)
{
    CHECK_INT(world.inside, -2);
    world.inside = id;
}

static void sleeper(struct coil_coro *co)
{
    ASYNC(sleeper, my) {
        HOLD(&world.cond);
        TRY_ALL(my->err) AWAIT(coil_condition_wait(&world.cond));
        my->in = true;
        enter(my->id);
        if (my->err < 0)
            world.cancelled++;
        else
            world.delivered++;
        if (my->err < 0)
            FAIL(my->err);
        AWAIT(coil_sleep(0)); /* keeps the lock for a pass */

    FINALLY;
        if (my->in)
            world.inside = -2;
    }
}

static void begin(void)
{
    memset(&world, 0, sizeof world);
    world.inside = -2;
    coil_condition_init(&world.cond, NULL);
    for (int i = 0; i < WAITERS; i++)
        world.t[i] = coil_spawn(CALL(sleeper, .id = i));
    stage_passes(2);
    CHECK_INT(coil_waiters_count(&world.cond.waiters), WAITERS);
}

enum { TAKE = 1, NOTIFY, RELEASE_IT, CANCEL };

static bool act(int action)
{
    switch (action) {
    case TAKE:
        if (world.inside == -1 ||
            coil_lock_acquire_nowait(world.cond.lock) < 0)
            return false;
        enter(-1);
        return true;
    case NOTIFY:
        if (world.inside != -1)
            return false;
        world.notified += !coil_waiters_empty(&world.cond.waiters);
        coil_condition_notify(&world.cond, 1);
        return true;
    case RELEASE_IT:
        if (world.inside != -1)
            return false;
        world.inside = -2;
        coil_lock_release(world.cond.lock);
        return true;
    default:
        return coil_task_cancel(world.t[action - CANCEL]);
    }
}

// One task has the lock at a time; as many waiters wake as were notified, if
// there are as many; in the end the lock is free.
static void end(void)
{
    if (world.inside == -1)
        act(RELEASE_IT);
    stage_passes(8);
    int waiting = (int)coil_waiters_count(&world.cond.waiters);
    CHECK_INT(world.delivered + world.cancelled + waiting, WAITERS);
    CHECK(world.delivered <= world.notified);
    CHECK(!waiting || world.delivered == world.notified);
    CHECK(!coil_lock_locked(world.cond.lock));
    for (int i = 0; i < WAITERS; i++)
        coil_task_cancel(world.t[i]);
    stage_passes(8);
    CHECK_INT(world.delivered + world.cancelled, WAITERS);
    CHECK(!coil_lock_locked(world.cond.lock));
    for (int i = 0; i < WAITERS; i++)
        coil_task_drop(&world.t[i]);
}

TEST(condition_loses_no_notification_in_any_interleaving)
{
    size_t n = interleave(&(struct interleave){
        .actions = CANCEL + WAITERS - 1, .length = 6, .begin = begin,
        .act = act, .end = end });
    CHECK(n > 300);
}
