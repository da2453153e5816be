// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_waiters.c: the one line in which everybody waits, as a stranger would
 * use it for a primitive of his own: a gate that lets one through.
 */
#include "stage.h"

#include <coil/waiters.h>

struct gate {
    struct coil_waiters line;
    int free, tries;
};

static bool try_gate(void *object)
{
    struct gate *gate = object;
    gate->tries++;
    if (gate->free == 0)
        return false;
    gate->free--;
    return true;
}

static struct coil_future *pass_gate(struct gate *gate)
{
    return coil_park(&gate->line, "gate", try_gate, gate);
}

static void gate_init(struct gate *gate, int n)
{
    *gate = (struct gate){ .free = n };
    coil_waiters_init(&gate->line);
}

/* What is handed to nobody is free. */
static void open_gate(struct gate *gate)
{
    if (!coil_unpark(&gate->line))
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
    CHECK(coil_waiters_empty(&gate.line));
    for (int i = 1; i <= 5; i++)
        pass(&gate, i);
    stage_passes(1);
    CHECK_INT(coil_waiters_count(&gate.line), 5);
    for (int i = 0; i < 5; i++)
        CHECK(coil_unpark(&gate.line));
    CHECK(!coil_unpark(&gate.line));
    CHECK(coil_waiters_empty(&gate.line));
    stage_passes(1);
    CHECK_TRACE("1 2 3 4 5");
    stage_close();
}

// Free and nobody before us: not to suspend is not to cost a pass.
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
    CHECK_INT(coil_waiters_count(&gate.line), 1);
    stage_close();
}

// A newcomer is not even asked while somebody waits.
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

// Lazy: a place in line is taken at the await, not when the future is made.
TEST(waiters_stand_in_line_from_their_await_on)
{
    stage_open();
    struct gate gate;
    gate_init(&gate, 0);
    struct coil_future *f = pass_gate(&gate);
    CHECK(coil_waiters_empty(&gate.line));
    coil_future_cancel(f);
    CHECK(coil_future_cancelled(f));
    coil_future_unref(f);
    coil_drop(pass_gate(&gate));
    CHECK(coil_waiters_empty(&gate.line));
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
    CHECK_INT(coil_waiters_count(&gate.line), 2);
    coil_unpark(&gate.line);
    coil_unpark(&gate.line);
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
    coil_unpark(&gate.line);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("1");
    CHECK_INT(then.started, 0);
    stage_close();
}

// Two tasks on one place in line: both go when it comes up.
TEST(waiters_future_may_be_awaited_by_many)
{
    stage_open();
    struct gate gate;
    gate_init(&gate, 0);
    struct coil_future *f = pass_gate(&gate);
    struct coil_task *a = coil_spawn(coil_future_ref(f));
    struct coil_task *b = coil_spawn(f);
    stage_passes(2);
    CHECK_INT(coil_waiters_count(&gate.line), 1);
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
