// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_waiters.c: the list of waiters, as a user needs it for a primitive of
 * its own: a gate that lets one task through.
 */
#include "interleave.h"

#include <coil/barrier.h>
#include <coil/event.h>
#include <coil/limiter.h>
#include <coil/lock.h>
#include <coil/queue.h>
#include <coil/semaphore.h>
#include <coil/task_pool.h>
#include <coil/waiters.h>

struct gate {
    struct coil_waiters waiters;
    int free, tries;
};

static bool try_gate(void *arg)
{
    struct gate *gate = arg;
    gate->tries++;
    if (gate->free == 0)
        return false;
    gate->free--;
    return true;
}

static struct coil_future *pass_gate(struct gate *gate)
{
    return coil_waiters_wait(&gate->waiters, "gate", try_gate, gate);
}

static void gate_init(struct gate *gate, int n)
{
    *gate = (struct gate){ .free = n };
    coil_waiters_init(&gate->waiters);
}

/* Without a waiter the gate is free. */
static void open_gate(struct gate *gate)
{
    if (!coil_waiters_wake(&gate->waiters))
        gate->free++;
}

struct passes {
    struct coil_coro coro;
    struct gate *gate;
    int id;
    struct hand *then;
};

static void passes(struct coil_coro *co)
{
    ASYNC(passes, my) {
        AWAIT(pass_gate(my->gate));
        trace("%d", my->id);
        if (my->then)
            AWAIT(hand_op(my->then));
    }
}

static struct coil_task *pass(struct gate *gate, int id)
{
    return coil_spawn(CALL(passes, .gate = gate, .id = id));
}

TEST(waiters_go_in_the_order_in_which_they_came)
{
    stage_open();
    struct gate gate;
    gate_init(&gate, 0);
    CHECK(coil_waiters_empty(&gate.waiters));
    for (int i = 1; i <= 5; i++)
        pass(&gate, i);
    stage_passes(1);
    CHECK_INT(coil_waiters_count(&gate.waiters), 5);
    for (int i = 0; i < 5; i++)
        CHECK(coil_waiters_wake(&gate.waiters));
    CHECK(!coil_waiters_wake(&gate.waiters));
    CHECK(coil_waiters_empty(&gate.waiters));
    stage_passes(1);
    CHECK_TRACE("1 2 3 4 5");
    stage_close();
}

// Free and no waiter before us: the await does not suspend and costs no pass.
TEST(waiters_do_not_suspend_when_it_is_free)
{
    stage_open();
    struct gate gate;
    gate_init(&gate, 2);
    pass(&gate, 1);
    pass(&gate, 2);
    pass(&gate, 3);
    stage_passes(1);
    CHECK_TRACE("1 2");
    CHECK_INT(gate.tries, 3);
    CHECK_INT(coil_waiters_count(&gate.waiters), 1);
    stage_close();
}

// try_now() is not even called while a waiter is in the list.
TEST(waiters_are_never_overtaken)
{
    stage_open();
    struct gate gate;
    gate_init(&gate, 0);
    pass(&gate, 1);
    stage_passes(1);
    gate.free = 1; /* a primitive that forgot to unpark */
    pass(&gate, 2);
    stage_passes(2);
    CHECK_TRACE("");
    CHECK_INT(gate.tries, 1);
    stage_close();
}

// Lazy: the waiter enters the list at the await, not when the future is made.
TEST(waiters_stand_in_line_from_their_await_on)
{
    stage_open();
    struct gate gate;
    gate_init(&gate, 0);
    struct coil_future *f = pass_gate(&gate);
    CHECK(coil_waiters_empty(&gate.waiters));
    coil_future_cancel(f);
    CHECK(coil_future_cancelled(f));
    coil_future_unref(f);
    coil_discard(pass_gate(&gate));
    CHECK(coil_waiters_empty(&gate.waiters));
    CHECK_INT(gate.tries, 0);
    stage_close();
}

TEST(waiters_that_are_cancelled_leave_the_line)
{
    stage_open();
    struct gate gate;
    gate_init(&gate, 0);
    struct coil_task *t[5];
    for (int i = 0; i < 5; i++)
        t[i] = pass(&gate, i);
    stage_passes(1);
    coil_task_cancel(t[0]); /* the first, one in between, the last */
    coil_task_cancel(t[2]);
    coil_task_cancel(t[4]);
    CHECK_INT(coil_waiters_count(&gate.waiters), 2);
    coil_waiters_wake(&gate.waiters);
    coil_waiters_wake(&gate.waiters);
    stage_passes(1);
    CHECK_TRACE("1 3");
    for (int i = 0; i < 5; i += 2)
        CHECK_INT(stage_run(t[i]), -ECANCELED);
    stage_close();
}

// Let go, then cancelled before it ran: its await returns, its next one fails.
TEST(waiters_that_were_let_go_are_not_lost_by_a_cancel)
{
    stage_open();
    struct gate gate;
    struct hand then = { 0 };
    gate_init(&gate, 0);
    struct coil_task *t = coil_spawn(
        CALL(passes, .gate = &gate, .id = 1, .then = &then));
    stage_passes(1);
    coil_waiters_wake(&gate.waiters);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("1");
    CHECK_INT(then.started, 0);
    stage_close();
}

// Two tasks await one future in the list: both wake when it is woken.
TEST(waiters_future_may_be_awaited_by_many)
{
    stage_open();
    struct gate gate;
    gate_init(&gate, 0);
    struct coil_future *f = pass_gate(&gate);
    struct coil_task *a = coil_spawn(coil_future_ref(f));
    struct coil_task *b = coil_spawn(f);
    stage_passes(2);
    CHECK_INT(coil_waiters_count(&gate.waiters), 1);
    open_gate(&gate);
    CHECK_INT(stage_run(a), 0);
    CHECK_INT(stage_run(b), 0);
    stage_close();
}

struct many {
    struct coil_coro coro;
    struct gate *gate;
    int *inside, *most, *times, i;
};

static void leave_gate(void *gate)
{
    open_gate(gate);
}

static void many(struct coil_coro *co)
{
    ASYNC(many, my) {
        for (my->i = 0; my->i < 5; my->i++) {
            HOLD_WITH(my->gate, leave_gate, pass_gate(my->gate));
            if (++*my->inside > *my->most)
                *my->most = *my->inside;
            AWAIT(coil_sleep(0));
            --*my->inside;
            ++*my->times;
            RELEASE(my->gate);
        }
    }
}

// A primitive made of nothing but the public call, under load.
TEST(waiters_make_a_semaphore_of_ones_own)
{
    stage_open();
    struct gate gate;
    int inside = 0, most = 0, times = 0;
    gate_init(&gate, 3);
    struct coil_task *t[20];
    for (int i = 0; i < 20; i++)
        t[i] = coil_spawn(CALL(many, .gate = &gate, .inside = &inside,
                               .most = &most, .times = &times));
    for (int i = 0; i < 20; i++)
        CHECK_INT(stage_run(t[i]), 0);
    CHECK_INT(times, 100);
    CHECK_INT(most, 3);
    CHECK_INT(gate.free, 3);
    stage_close();
}

/* ---- Values, several lists -------------------------------------------- */

struct receives {
    struct coil_coro coro;
    struct gate *gate;
    const char *got;
};

static void receives(struct coil_coro *co)
{
    ASYNC(receives, my) {
        AWAIT_TO(my->got, pass_gate(my->gate));
        trace("%s", my->got);
    }
}

// A grant may carry a value: only the first waiter gets it.
TEST(waiters_are_handed_a_value)
{
    stage_open();
    struct gate gate;
    gate_init(&gate, 0);
    CHECK(!coil_waiters_wake_with(&gate.waiters, "nobody"));
    coil_spawn(CALL(receives, .gate = &gate));
    coil_spawn(CALL(receives, .gate = &gate));
    stage_passes(1);
    CHECK(coil_waiters_wake_with(&gate.waiters, "bread"));
    CHECK(coil_waiters_wake_with(&gate.waiters, "salt"));
    stage_passes(1);
    CHECK_TRACE("bread salt");
    stage_close();
}

/* One future in two lists at once: what select is made of. */
struct either {
    struct coil_custom custom;
    struct coil_waiter waiter[2];
    struct gate *gate[2];
};

static struct either *either_of(struct coil_future *f)
{
    return (struct either *)(void *)f;
}

static void either_leaves(struct either *e)
{
    for (int i = 0; i < 2; i++)
        coil_waiters_leave(&e->waiter[i]);
}

static void left_granted(struct coil_waiter *waiter, void *value)
{
    struct either *e = (struct either *)(void *)((char *)waiter -
                                                 offsetof(struct either,
                                                          waiter[0]));
    CHECK(value == NULL);
    either_leaves(e);
    coil_future_set_int(&e->custom.future, 0);
}

static void right_granted(struct coil_waiter *waiter, void *value)
{
    struct either *e = (struct either *)(void *)((char *)waiter -
                                                 offsetof(struct either,
                                                          waiter[1]));
    CHECK(value == NULL);
    either_leaves(e);
    coil_future_set_int(&e->custom.future, 1);
}

static void either_start(struct coil_future *f)
{
    struct either *e = either_of(f);
    coil_waiters_enter(&e->gate[0]->waiters, &e->waiter[0], left_granted);
    coil_waiters_enter(&e->gate[1]->waiters, &e->waiter[1], right_granted);
}

static void either_cancel(struct coil_future *f)
{
    either_leaves(either_of(f));
    coil_future_set_error(f, -ECANCELED);
}

static struct coil_future *pass_either(struct gate *left, struct gate *right)
{
    static const struct coil_future_class cls = {
        .name = "either", .start = either_start, .cancel = either_cancel
    };
    struct either *e = coil_custom_new(&cls, sizeof *e);
    if (!e)
        return coil_future_from_nomem();
    e->gate[0] = left;
    e->gate[1] = right;
    return &e->custom.future;
}

// Granted in one list it has left the other: no dead waiter takes a grant.
TEST(waiters_of_one_future_stand_in_several_lines)
{
    for (int which = 0; which < 2; which++) {
        stage_open();
        struct gate gate[2];
        gate_init(&gate[0], 0);
        gate_init(&gate[1], 0);
        struct coil_task *both = coil_spawn(pass_either(&gate[0], &gate[1]));
        pass(&gate[0], 10);
        pass(&gate[1], 11);
        stage_passes(2);
        CHECK_INT(coil_waiters_count(&gate[0].waiters), 2);
        CHECK_INT(coil_waiters_count(&gate[1].waiters), 2);
        CHECK(coil_waiters_wake(&gate[which].waiters));
        CHECK_INT(coil_waiters_count(&gate[0].waiters), 1);
        CHECK_INT(coil_waiters_count(&gate[1].waiters), 1);
        CHECK_INT(stage_run(both), 0);
        CHECK_INT(coil_future_int(coil_task_future(both)), which);
        coil_waiters_wake(&gate[0].waiters);
        coil_waiters_wake(&gate[1].waiters);
        stage_passes(1);
        CHECK_TRACE("10 11");
        stage_close();
    }
}

TEST(waiters_of_one_future_leave_all_lines_when_cancelled)
{
    stage_open();
    struct gate gate[2];
    gate_init(&gate[0], 0);
    gate_init(&gate[1], 0);
    struct coil_task *t = coil_spawn(pass_either(&gate[0], &gate[1]));
    stage_passes(2);
    CHECK(coil_waiters_first(&gate[0].waiters) != NULL);
    coil_task_cancel(t);
    CHECK(coil_waiters_first(&gate[0].waiters) == NULL);
    CHECK(coil_waiters_empty(&gate[1].waiters));
    CHECK_INT(stage_run(t), -ECANCELED);
    stage_close();
}

TEST(waiters_place_that_is_in_no_line_leaves_none)
{
    struct coil_waiters waiters;
    struct coil_waiter waiter = { 0 };
    coil_waiters_init(&waiters);
    CHECK(!coil_waiters_leave(&waiter));
    coil_waiters_enter(&waiters, &waiter, left_granted);
    CHECK(coil_waiters_first(&waiters) == &waiter);
    CHECK(coil_waiters_leave(&waiter));
    CHECK(!coil_waiters_leave(&waiter));
    CHECK(coil_waiters_empty(&waiters));
}

/* ---- All interleavings ------------------------------------------------- */

static struct {
    struct gate gate;
    struct coil_task *t[3];
    int started, opened, passed[3];
} world;

struct goes {
    struct coil_coro coro;
    int id;
};

static void goes(struct coil_coro *co)
{
    ASYNC(goes, my) {
        AWAIT(pass_gate(&world.gate));
        world.passed[my->id]++;
        AWAIT(coil_sleep(0));
    }
}

static void begin(void)
{
    memset(&world, 0, sizeof world);
    gate_init(&world.gate, 0);
}

enum { START = 1, OPEN, CANCEL };

static bool act(int action)
{
    if (action == START) {
        if (world.started == 3)
            return false;
        world.t[world.started] = coil_spawn(CALL(goes, .id = world.started));
        world.started++;
    } else if (action == OPEN) {
        if (world.opened == 3)
            return false;
        world.opened++;
        open_gate(&world.gate);
    } else {
        if (action - CANCEL >= world.started)
            return false;
        return coil_task_cancel(world.t[action - CANCEL]);
    }
    return true;
}

// A gate that was opened was passed once or is open; no task waits at it then.
static void end(void)
{
    stage_passes(4);
    int passed = 0;
    for (int i = 0; i < world.started; i++)
        passed += world.passed[i];
    CHECK_INT(passed + world.gate.free, world.opened);
    CHECK(world.gate.free == 0 || coil_waiters_empty(&world.gate.waiters));
    for (int i = 0; i < world.started; i++) {
        if (!coil_task_done(world.t[i]))
            for (int j = i + 1; j < world.started; j++)
                CHECK(!world.passed[j]); /* first come, first served */
        coil_task_cancel(world.t[i]);
    }
    stage_passes(3);
    CHECK(coil_waiters_empty(&world.gate.waiters));
    for (int i = 0; i < world.started; i++)
        coil_task_drop(&world.t[i]);
}

TEST(waiters_lose_no_turn_in_any_interleaving)
{
    size_t n = interleave(&(struct interleave){
        .actions = CANCEL + 2, .length = 7, .begin = begin, .act = act,
        .end = end });
    CHECK(n > 2000);
}

/* ---- Without _init ------------------------------------------------------ */

// A frame begins with zero bytes, which are no lock that is free: it is said
// so, and not found out by a crash, or by an item that is lost.
static void use_zero(int what)
{
    static struct coil_lock lock;
    static struct coil_event event;
    static struct coil_semaphore semaphore;
    static struct coil_barrier barrier;
    static struct coil_queue queue;
    static struct coil_task_pool pool;
    static struct coil_limiter limiter;
    void *item;
    stage_open();
    struct coil_future *f = NULL;
    switch (what) {
    case 0:
        (void)!coil_queue_put_nowait(&queue, &queue);
        break;
    case 1:
        coil_queue_get_nowait(&queue, &item);
        break;
    case 2:
        coil_event_set(&event);
        break;
    case 3:
        f = coil_lock_acquire(&lock);
        break;
    case 4:
        f = coil_event_wait(&event);
        break;
    case 5:
        f = coil_semaphore_acquire(&semaphore);
        break;
    case 6:
        f = coil_barrier_wait(&barrier);
        break;
    case 7:
        f = coil_task_pool_join(&pool);
        break;
    case 8:
        f = coil_queue_get(&queue);
        break;
    case 9:
        f = coil_limiter_acquire_for(&limiter, &limiter);
        break;
    }
    if (f)
        stage_run(coil_spawn(f));
}

#define BEFORE_INIT "a lock, queue or coil_waiters is zero: call its _init"

DEATH_TEST(waiters_queue_put_without_init_aborts, BEFORE_INIT)
{
    use_zero(0);
}

DEATH_TEST(waiters_queue_get_now_without_init_aborts, BEFORE_INIT)
{
    use_zero(1);
}

DEATH_TEST(waiters_event_set_without_init_aborts, BEFORE_INIT)
{
    use_zero(2);
}

DEATH_TEST(waiters_lock_without_init_aborts, BEFORE_INIT)
{
    use_zero(3);
}

DEATH_TEST(waiters_event_without_init_aborts, BEFORE_INIT)
{
    use_zero(4);
}

DEATH_TEST(waiters_semaphore_without_init_aborts, BEFORE_INIT)
{
    use_zero(5);
}

DEATH_TEST(waiters_barrier_without_init_aborts, BEFORE_INIT)
{
    use_zero(6);
}

DEATH_TEST(waiters_task_pool_without_init_aborts, BEFORE_INIT)
{
    use_zero(7);
}

DEATH_TEST(waiters_queue_get_without_init_aborts, BEFORE_INIT)
{
    use_zero(8);
}

DEATH_TEST(waiters_limiter_without_init_aborts, BEFORE_INIT)
{
    use_zero(9);
}
