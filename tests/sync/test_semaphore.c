// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_semaphore.c: FIFO, no barging, no permit lost. "Granted, then cancelled
 * before it ran" is the bug that every library has shipped here: it is replayed
 * by name, and then by trying all interleavings of a small world.
 */
#include "interleave.h"

#include <coil/race.h>
#include <coil/semaphore.h>
#include <coil/shield.h>
#include <coil/then.h>

/* asyncio test_semaphore_acquire_fairness: in, and in again. */
struct takes_twice {
    struct coil_coro coro;
    struct coil_semaphore *sem;
    int id;
};

static void takes_twice(struct coil_coro *co)
{
    ASYNC(takes_twice, my) {
        HOLD(my->sem);
        trace("c%d_1", my->id);
        RELEASE(my->sem);
        HOLD(my->sem);
        trace("c%d_2", my->id);
    }
}

// Who comes back stands at the end: cpython#90155, python/asyncio#270.
TEST(semaphore_serves_each_once_before_it_serves_one_twice)
{
    stage_open();
    struct coil_semaphore sem;
    coil_semaphore_init(&sem, 0);
    struct coil_task *t[3];
    for (int i = 0; i < 3; i++)
        t[i] = coil_spawn(CALL(takes_twice, .sem = &sem, .id = i + 1));
    stage_passes(1);
    CHECK_TRACE("");
    coil_semaphore_release(&sem);
    for (int i = 0; i < 3; i++)
        CHECK_INT(stage_run(t[i]), 0);
    CHECK_TRACE("c1_1 c2_1 c3_1 c1_2 c2_2 c3_2");
    CHECK_INT(coil_semaphore_value(&sem), 1);
    stage_close();
}

struct takes {
    struct coil_coro coro;
    struct coil_semaphore *sem;
    int id;
    struct hand *inside;
};

static void takes(struct coil_coro *co)
{
    ASYNC(takes, my) {
        AWAIT(coil_semaphore_acquire(my->sem));
        trace("%d", my->id);
        if (my->inside)
            AWAIT(hand_op(my->inside));
    }
}

static struct coil_task *take(struct coil_semaphore *sem, int id)
{
    return coil_spawn(CALL(takes, .sem = sem, .id = id));
}

// asyncio test_acquire_fifo_order: 1 2 3 4, however the permits come.
TEST(semaphore_wakes_in_the_order_of_arrival)
{
    for (int batch = 1; batch <= 4; batch++) {
        stage_open();
        struct coil_semaphore sem;
        coil_semaphore_init(&sem, 0);
        for (int i = 1; i <= 4; i++)
            take(&sem, i);
        stage_passes(1);
        for (int i = 0; i < 4; i++) {
            coil_semaphore_release(&sem);
            if (i % batch == batch - 1)
                stage_passes(1);
        }
        stage_passes(1);
        CHECK_TRACE("1 2 3 4");
        stage_close();
    }
}

// asyncio test_acquire_cancel_before_awoken: [2, 3] after the cancel of 1.
TEST(semaphore_serves_those_behind_a_cancelled_waiter)
{
    stage_open();
    struct coil_semaphore sem;
    coil_semaphore_init(&sem, 0);
    struct coil_task *t[4];
    for (int i = 0; i < 4; i++)
        t[i] = take(&sem, i + 1);
    stage_passes(1);
    coil_task_cancel(t[0]);
    coil_semaphore_release(&sem);
    coil_semaphore_release(&sem);
    stage_passes(2);
    CHECK_INT(stage_run(t[0]), -ECANCELED);
    CHECK_TRACE("2 3");
    CHECK(!coil_task_done(t[3]));
    stage_close();
}

struct holds {
    struct coil_coro coro;
    struct coil_semaphore *sem;
    int passes;
    bool in;
    int *inside, *most, *finals;
};

static void holds(struct coil_coro *co)
{
    ASYNC(holds, my) {
        HOLD(my->sem);
        my->in = true;
        if (++*my->inside > *my->most)
            *my->most = *my->inside;
        for (; my->passes > 0; my->passes--)
            AWAIT(coil_sleep(0));

    FINALLY;
        ++*my->finals;
        if (my->in)
            --*my->inside;
    }
}

// asyncio test_acquire_hang: granted, cancelled, the next one must be served.
TEST(semaphore_granted_then_cancelled_passes_its_permit_on)
{
    stage_open();
    struct coil_semaphore sem;
    int inside = 0, most = 0, finals = 0;
    coil_semaphore_init(&sem, 0);
    struct coil_task *t[2];
    for (int i = 0; i < 2; i++)
        t[i] = coil_spawn(CALL(holds, .sem = &sem, .passes = 1,
                               .inside = &inside, .most = &most,
                               .finals = &finals));
    stage_passes(1);
    coil_semaphore_release(&sem);
    coil_task_cancel(t[0]);
    CHECK_INT(stage_run(t[0]), -ECANCELED);
    CHECK_INT(stage_run(t[1]), 0);
    CHECK_INT(coil_semaphore_value(&sem), 1);
    CHECK_INT(finals, 2);
    stage_close();
}

// asyncio test_acquire_no_hang: both at once, in the other order.
TEST(semaphore_cancelled_then_granted_leaves_the_permit_to_the_next)
{
    stage_open();
    struct coil_semaphore sem;
    coil_semaphore_init(&sem, 0);
    struct coil_task *a = take(&sem, 1), *b = take(&sem, 2);
    stage_passes(1);
    coil_task_cancel(a);
    coil_semaphore_release(&sem);
    CHECK_INT(stage_run(a), -ECANCELED);
    CHECK_INT(stage_run(b), 0);
    CHECK_TRACE("2");
    CHECK_INT(coil_semaphore_value(&sem), 0);
    stage_close();
}

// A permit that is handed over is never free in between: no barging.
TEST(semaphore_newcomer_cannot_take_what_was_handed_over)
{
    stage_open();
    struct coil_semaphore sem;
    coil_semaphore_init(&sem, 0);
    take(&sem, 1);
    stage_passes(1);
    coil_semaphore_release(&sem);
    CHECK(coil_semaphore_locked(&sem));
    CHECK_INT(coil_semaphore_acquire_nowait(&sem), -EAGAIN);
    take(&sem, 2);
    stage_passes(2);
    CHECK_TRACE("1");
    stage_close();
}

struct again {
    struct coil_coro coro;
    struct coil_semaphore *sem;
};

static void again(struct coil_coro *co)
{
    ASYNC(again, my) {
        AWAIT(coil_semaphore_acquire(my->sem));
        trace("2");
        coil_semaphore_release(my->sem);
        CHECK(coil_semaphore_locked(my->sem)); /* the third has not run */
        CHECK_INT(coil_semaphore_acquire_nowait(my->sem), -EAGAIN);
        AWAIT(coil_semaphore_acquire(my->sem));
        trace("4");
    }
}

// asyncio test_acquire_fifo_order_2: the order was 1 2 4 3.
TEST(semaphore_newcomer_waits_behind_a_waiter_that_has_not_run)
{
    stage_open();
    struct coil_semaphore sem;
    coil_semaphore_init(&sem, 1);
    take(&sem, 1);
    struct coil_task *t = coil_spawn(CALL(again, .sem = &sem));
    take(&sem, 3);
    stage_passes(1);
    coil_semaphore_release(&sem);
    coil_semaphore_release(&sem);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("1 2 3 4");
    CHECK_INT(coil_semaphore_value(&sem), 0);
    CHECK(coil_semaphore_locked(&sem));
    coil_semaphore_release(&sem);
    CHECK(!coil_semaphore_locked(&sem));
    stage_close();
}

// asyncio test_acquire_fifo_order_3: the woken one is cancelled.
TEST(semaphore_free_permit_goes_on_when_a_woken_waiter_has_run)
{
    stage_open();
    struct coil_semaphore sem;
    coil_semaphore_init(&sem, 0);
    struct coil_task *a = take(&sem, 1);
    stage_passes(1);
    coil_semaphore_release(&sem);
    coil_semaphore_release(&sem);
    take(&sem, 2);
    coil_task_cancel(a);
    CHECK(coil_semaphore_locked(&sem));
    stage_passes(3);
    CHECK_TRACE("1 2");
    CHECK_INT(coil_semaphore_value(&sem), 0);
    stage_close();
}

// Its future is kept by the task's handle; its await has ended all the same.
TEST(semaphore_woken_waiter_in_a_task_that_is_not_awaited_holds_up_no_other)
{
    stage_open();
    struct coil_semaphore sem;
    coil_semaphore_init(&sem, 0);
    struct coil_task *a = coil_spawn(coil_semaphore_acquire(&sem));
    stage_passes(1);
    coil_semaphore_release(&sem);
    coil_semaphore_release(&sem);
    take(&sem, 2);
    stage_passes(4);
    CHECK_TRACE("2");
    CHECK(!coil_semaphore_locked(&sem) || coil_semaphore_value(&sem) == 0);
    coil_task_drop(&a);
    CHECK_INT(coil_semaphore_value(&sem), 1);
    CHECK(!coil_semaphore_locked(&sem));
    coil_detach_future(coil_semaphore_acquire(&sem)); /* not awaited at all */
    CHECK_INT(coil_semaphore_value(&sem), 1);
    CHECK(!coil_semaphore_locked(&sem));
    stage_close();
}

TEST(semaphore_nowait_takes_what_is_free)
{
    struct coil_semaphore sem;
    coil_semaphore_init(&sem, 2);
    CHECK(!coil_semaphore_locked(&sem));
    CHECK_INT(coil_semaphore_acquire_nowait(&sem), 0);
    CHECK_INT(coil_semaphore_acquire_nowait(&sem), 0);
    CHECK(coil_semaphore_locked(&sem));
    CHECK_INT(coil_semaphore_acquire_nowait(&sem), -EAGAIN);
    coil_semaphore_release(&sem);
    CHECK_INT(coil_semaphore_value(&sem), 1);
}

// An unbounded one may grow: it is also a counter of events.
TEST(semaphore_may_be_released_more_often_than_acquired)
{
    struct coil_semaphore sem;
    coil_semaphore_init(&sem, 0);
    coil_semaphore_release(&sem);
    coil_semaphore_release(&sem);
    CHECK_INT(coil_semaphore_value(&sem), 2);
}

DEATH_TEST(semaphore_bounded_released_once_too_often_aborts,
           "coil_semaphore_release: above the value of _init_bounded")
{
    struct coil_semaphore sem;
    coil_semaphore_init_bounded(&sem, 1);
    CHECK_INT(coil_semaphore_acquire_nowait(&sem), 0);
    coil_semaphore_release(&sem);
    coil_semaphore_release(&sem);
}

// To hand a permit to a waiter is no release too many.
TEST(semaphore_bounded_may_hand_over_at_its_bound)
{
    stage_open();
    struct coil_semaphore sem;
    coil_semaphore_init_bounded(&sem, 1);
    CHECK_INT(coil_semaphore_acquire_nowait(&sem), 0);
    struct coil_task *t = take(&sem, 1);
    stage_passes(1);
    coil_semaphore_release(&sem);
    CHECK_INT(stage_run(t), 0);
    coil_semaphore_release(&sem);
    CHECK_INT(coil_semaphore_value(&sem), 1);
    CHECK_TRACE("1");
    stage_close();
}

TEST(semaphore_bounds_how_many_are_inside)
{
    stage_open();
    struct coil_semaphore sem;
    int inside = 0, most = 0, finals = 0;
    coil_semaphore_init_bounded(&sem, 7);
    struct coil_task *t[100];
    for (int i = 0; i < 100; i++)
        t[i] = coil_spawn(CALL(holds, .sem = &sem, .passes = i % 5,
                               .inside = &inside, .most = &most,
                               .finals = &finals));
    for (int i = 0; i < 100; i++)
        CHECK_INT(stage_run(t[i]), 0);
    CHECK_INT(most, 7);
    CHECK_INT(finals, 100);
    CHECK_INT(coil_semaphore_value(&sem), 7);
    stage_close();
}

// No permit is free, so a new task would wait.
TEST(semaphore_is_locked_while_it_has_no_permit_or_somebody_waits)
{
    stage_open();
    struct coil_semaphore sem;
    coil_semaphore_init(&sem, 1);
    CHECK(!coil_semaphore_locked(&sem));
    take(&sem, 1);
    take(&sem, 2);
    take(&sem, 3);
    stage_passes(1);
    for (int i = 0; i < 2; i++) {
        CHECK(coil_semaphore_locked(&sem));
        coil_semaphore_release(&sem); /* to the waiter */
        CHECK(coil_semaphore_locked(&sem));
        stage_passes(1);
    }
    coil_semaphore_release(&sem);
    CHECK(!coil_semaphore_locked(&sem));
    CHECK_TRACE("1 2 3");
    stage_close();
}

struct in_time {
    struct coil_coro coro;
    struct coil_semaphore *sem;
    int err;
};

static void in_time(struct coil_coro *co)
{
    ASYNC(in_time, my) {
        TRY_AWAIT(my->err, coil_wait_for(coil_semaphore_acquire(my->sem),
                                         COIL_MS(1)));
        trace("%s", my->err == -ETIMEDOUT ? "late" : "in");
    }
}

// Granted in the pass in which the deadline strikes: it has the permit. Late:
// it has none. There is nothing in between.
TEST(semaphore_acquire_with_a_deadline_has_a_permit_or_none)
{
    for (int granted = 0; granted < 2; granted++) {
        stage_open();
        struct coil_semaphore sem;
        coil_semaphore_init(&sem, 0);
        struct coil_task *t = coil_spawn(CALL(in_time, .sem = &sem));
        stage_passes(1);
        int64_t due = coil_now() + COIL_MS(2);
        while (coil_now() < due)
            ;
        if (granted)
            coil_semaphore_release(&sem);
        CHECK_INT(stage_run(t), 0);
        if (!granted)
            coil_semaphore_release(&sem);
        CHECK_TRACE(granted ? "in" : "late");
        CHECK_INT(coil_semaphore_value(&sem), granted ? 0 : 1);
        stage_close();
    }
}

/* ---- Permits that no await takes ---------------------------------------- */

/* How the permit of a task, which waits or not, ends with the task. */
enum end { DROPPED, DETACHED, IN_WAIT_FOR, NESTED, IN_CATCH };

static struct coil_future *pass_error(struct coil_future *failed, void *arg)
{
    (void)arg;
    return failed;
}

static struct coil_future *acquire_in(enum end end, struct coil_semaphore *sem)
{
    struct coil_future *f = coil_semaphore_acquire(sem);
    if (end == IN_WAIT_FOR || end == NESTED)
        f = coil_wait_for(f, COIL_SECONDS(9));
    if (end == NESTED)
        f = coil_shield(f);
    if (end == IN_CATCH)
        f = coil_catch(f, pass_error, NULL);
    return f;
}

// It was taken for ever: no code knew that the task had it.
TEST(semaphore_permit_that_no_await_takes_is_given_back)
{
    for (enum end end = DROPPED; end <= IN_CATCH; end++) {
        for (int waits = 0; waits < 2; waits++) {
            stage_open();
            struct coil_semaphore sem;
            coil_semaphore_init_bounded(&sem, 1);
            if (waits)
                CHECK_INT(coil_semaphore_acquire_nowait(&sem), 0);
            struct coil_task *t = coil_spawn(acquire_in(end, &sem));
            stage_passes(5);
            if (end == DETACHED)
                coil_detach(t);
            if (waits)
                coil_semaphore_release(&sem);
            stage_passes(5);
            if (end != DETACHED) {
                CHECK(coil_task_done(t));
                CHECK_INT(coil_semaphore_value(&sem), 0);
                coil_task_drop(&t);
            }
            stage_passes(5);
            CHECK_INT(coil_semaphore_value(&sem), 1);
            stage_close();
        }
    }
}

enum taker { AWAITS, TRIES, STORES, PEEKS, GATHERS, GATHERS_TASKS, RACES };

struct owner {
    struct coil_coro coro;
    struct coil_semaphore *sem;
    enum taker how;
    struct coil_task *task;
    struct coil_future *f;
    int err, value;
};

/* The permit is this coroutine's, though the handle of the task lives on. */
static void owner(struct coil_coro *co)
{
    ASYNC(owner, my) {
        my->f = coil_semaphore_acquire(my->sem);
        if (my->how == GATHERS) {
            AWAIT(coil_gather(&my->f, 1));
        } else {
            my->task = coil_spawn(my->f);
            AWAIT(coil_sleep(0));
            if (my->how == AWAITS)
                AWAIT(my->task);
            else if (my->how == TRIES)
                TRY_AWAIT(my->err, my->task);
            else if (my->how == STORES)
                AWAIT_TO(my->value, my->task);
            else if (my->how == PEEKS)
                CHECK(coil_task_peek(my->task, &my->err));
            else if (my->how == GATHERS_TASKS)
                AWAIT(coil_gather(&my->task, 1));
            else
                AWAIT(coil_race(&my->task, 1));
        }
        CHECK_INT(my->err, 0);
        CHECK_INT(my->value, 0);
        trace("in");
        if (my->task)
            coil_task_drop(&my->task);
        AWAIT(coil_sleep(0));
        CHECK_INT(coil_semaphore_value(my->sem), 0);
        coil_semaphore_release(my->sem);
    }
}

TEST(semaphore_permit_of_a_task_is_taken_in_every_way)
{
    for (enum taker how = AWAITS; how <= RACES; how++) {
        stage_open();
        struct coil_semaphore sem;
        coil_semaphore_init_bounded(&sem, 1);
        CHECK_INT(stage_run(coil_spawn(CALL(owner, .sem = &sem, .how = how))),
                  0);
        CHECK_TRACE("in");
        CHECK_INT(coil_semaphore_value(&sem), 1);
        stage_close();
    }
}

/* ---- All interleavings --------------------------------------------------- */

enum { TASKS = 3 };

static struct {
    struct coil_semaphore sem;
    struct coil_task *t[TASKS];
    int started, permits; /* permits: those that there are in all */
    int inside, most, finals;
    bool bounded;
} world;

static void begin(void)
{
    bool bounded = world.bounded;
    memset(&world, 0, sizeof world);
    world.bounded = bounded;
    if (bounded) {
        coil_semaphore_init_bounded(&world.sem, 1);
        CHECK_INT(coil_semaphore_acquire_nowait(&world.sem), 0);
    } else {
        coil_semaphore_init(&world.sem, 0);
    }
}

enum { START = 1, RELEASE_ONE, CANCEL };

static bool act(int action)
{
    switch (action) {
    case START:
        if (world.started == TASKS)
            return false;
        world.t[world.started] = coil_spawn(
            CALL(holds, .sem = &world.sem, .passes = world.started % 2,
                 .inside = &world.inside, .most = &world.most,
                 .finals = &world.finals));
        world.started++;
        return true;
    case RELEASE_ONE:
        if (world.permits == (world.bounded ? 1 : 2))
            return false;
        world.permits++;
        coil_semaphore_release(&world.sem);
        return true;
    default:
        return action - CANCEL < world.started &&
               coil_task_cancel(world.t[action - CANCEL]);
    }
}

// However releases and cancels fall between the passes, no permit is lost and
// none is made, no task hangs, every FINALLY runs once.
static void end(void)
{
    CHECK(coil_semaphore_value(&world.sem) == 0 || world.sem.woken > 0 ||
          coil_waiters_empty(&world.sem.waiters));
    if (!world.permits)
        act(RELEASE_ONE);
    stage_passes(10);
    for (int i = 0; i < world.started; i++) {
        CHECK(coil_task_done(world.t[i]));
        coil_task_drop(&world.t[i]);
    }
    CHECK_INT(world.finals, world.started);
    CHECK_INT(coil_semaphore_value(&world.sem), world.permits);
    CHECK(coil_waiters_empty(&world.sem.waiters));
    CHECK(world.most <= world.permits);
    CHECK_INT(world.inside, 0);
}

static size_t all_interleavings(bool bounded)
{
    world.bounded = bounded;
    return interleave(&(struct interleave){ .actions = CANCEL + TASKS - 1,
                                            .length = 7,
                                            .begin = begin,
                                            .act = act,
                                            .end = end });
}

TEST(semaphore_loses_no_permit_in_any_interleaving)
{
    CHECK(all_interleavings(false) > 300);
}

TEST(semaphore_bounded_loses_no_permit_in_any_interleaving)
{
    CHECK(all_interleavings(true) > 300);
}
