// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_event.c: set() wakes all tasks that wait, whatever comes after it.
 */
#include "interleave.h"

#include <coil/event.h>

struct waits {
    struct coil_coro coro;
    struct coil_event *event;
    int id, times;
    struct hand *then;
};

static void waits(struct coil_coro *co)
{
    ASYNC(waits, my) {
        for (; my->times > 0; my->times--) {
            AWAIT(coil_event_wait(my->event));
            trace("%d", my->id);
        }
        if (my->then)
            AWAIT(hand_op(my->then));
    }
}

static struct coil_task *wait(struct coil_event *event, int id)
{
    return coil_spawn(CALL(waits, .event = event, .id = id, .times = 1));
}

TEST(event_set_wakes_everybody_in_order)
{
    stage_open();
    struct coil_event event;
    coil_event_init(&event);
    for (int i = 1; i <= 4; i++)
        wait(&event, i);
    stage_passes(3);
    CHECK_TRACE("");
    CHECK(!coil_event_is_set(&event));
    coil_event_set(&event);
    CHECK(coil_event_is_set(&event));
    stage_passes(1);
    CHECK_TRACE("1 2 3 4");
    stage_close();
}

// asyncio test_clear_with_waiters: the event is cleared before they run, and
// they wake all the same; a later task waits.
TEST(event_set_and_cleared_at_once_wakes_everybody)
{
    stage_open();
    struct coil_event event;
    coil_event_init(&event);
    for (int i = 1; i <= 3; i++)
        wait(&event, i);
    stage_passes(1);
    coil_event_set(&event);
    coil_event_clear(&event);
    wait(&event, 4);
    stage_passes(3);
    CHECK_TRACE("1 2 3");
    coil_event_set(&event);
    stage_passes(1);
    CHECK_TRACE("4");
    stage_close();
}

TEST(event_that_is_set_makes_nobody_wait)
{
    stage_open();
    struct coil_event event;
    coil_event_init(&event);
    coil_event_set(&event);
    coil_event_set(&event);
    struct coil_task *t = coil_spawn(
        CALL(waits, .event = &event, .id = 7, .times = 3));
    stage_passes(1);
    CHECK(coil_task_done(t));
    CHECK_TRACE("7 7 7");
    stage_close();
}

// No one is woken twice by one set().
TEST(event_wakes_once_for_each_set)
{
    stage_open();
    struct coil_event event;
    coil_event_init(&event);
    struct coil_task *t = coil_spawn(
        CALL(waits, .event = &event, .id = 1, .times = 3));
    for (int i = 0; i < 3; i++) {
        stage_passes(3);
        CHECK(!coil_task_done(t));
        coil_event_set(&event);
        coil_event_clear(&event);
        coil_event_set(&event);
        coil_event_clear(&event);
        stage_passes(3);
        CHECK_TRACE("1");
    }
    CHECK_INT(stage_run(t), 0);
    stage_close();
}

TEST(event_cancelled_waiter_leaves_the_others_alone)
{
    stage_open();
    struct coil_event event;
    coil_event_init(&event);
    struct coil_task *t[3];
    for (int i = 0; i < 3; i++)
        t[i] = wait(&event, i);
    stage_passes(1);
    coil_task_cancel(t[1]);
    CHECK_INT(coil_waiters_count(&event.waiters), 2);
    coil_event_set(&event);
    stage_passes(2);
    CHECK_TRACE("0 2");
    CHECK_INT(stage_run(t[1]), -ECANCELED);
    stage_close();
}

// Set, then cancelled before it ran: it has seen the event.
TEST(event_set_then_cancelled_is_seen_and_the_next_await_is_struck)
{
    stage_open();
    struct coil_event event;
    struct hand then = { 0 };
    coil_event_init(&event);
    struct coil_task *t = coil_spawn(
        CALL(waits, .event = &event, .id = 5, .times = 1, .then = &then));
    stage_passes(1);
    coil_event_set(&event);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("5");
    CHECK_INT(then.started, 0);
    stage_close();
}

/* ---- All interleavings --------------------------------------------------- */

enum { TASKS = 3 };

static struct {
    struct coil_event event;
    struct coil_task *t[TASKS];
    bool waits[TASKS]; /* it waits, as far as a model can tell */
    bool goes[TASKS], went[TASKS];
    int started;
} world;

struct sees {
    struct coil_coro coro;
    int id;
};

static void sees(struct coil_coro *co)
{
    ASYNC(sees, my) {
        if (coil_event_is_set(&world.event))
            world.goes[my->id] = true;
        else
            world.waits[my->id] = true;
        AWAIT(coil_event_wait(&world.event));
        world.went[my->id] = true;
        AWAIT(coil_sleep(0));
    }
}

static void begin(void)
{
    memset(&world, 0, sizeof world);
    coil_event_init(&world.event);
}

enum { START = 1, SET, CLEAR, CANCEL };

static bool act(int action)
{
    switch (action) {
    case START:
        if (world.started == TASKS)
            return false;
        world.t[world.started] = coil_spawn(CALL(sees, .id = world.started));
        world.started++;
        return true;
    case SET:
        if (coil_event_is_set(&world.event))
            return false;
        for (int i = 0; i < TASKS; i++)
            world.goes[i] |= world.waits[i];
        coil_event_set(&world.event);
        return true;
    case CLEAR:
        if (!coil_event_is_set(&world.event))
            return false;
        coil_event_clear(&world.event);
        return true;
    default:
        if (action - CANCEL >= world.started)
            return false;
        world.waits[action - CANCEL] = false;
        return coil_task_cancel(world.t[action - CANCEL]);
    }
}

// Only tasks that waited when the event was set, and were not cancelled before
// that, have seen it; a task that still waits can be cancelled.
static void end(void)
{
    stage_passes(5);
    for (int i = 0; i < world.started; i++) {
        CHECK_INT(world.went[i], world.goes[i]);
        coil_task_cancel(world.t[i]);
    }
    stage_passes(3);
    for (int i = 0; i < world.started; i++) {
        CHECK(coil_task_done(world.t[i]));
        coil_task_drop(&world.t[i]);
    }
    CHECK(coil_waiters_empty(&world.event.waiters));
}

TEST(event_is_missed_by_nobody_in_any_interleaving)
{
    size_t n = interleave(&(struct interleave){
        .actions = CANCEL + TASKS - 1, .length = 6, .begin = begin,
        .act = act, .end = end });
    CHECK(n > 300);
}
