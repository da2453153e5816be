// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_ticks.c: ticks come at whole periods after the start, never earlier.
 */
#include "work.h"

#include <coil/ticks.h>

struct beats {
    struct coil_coro coro;
    int64_t period, start, beat, last, slow;
    int turns, n, inside;
};

static void beats(struct coil_coro *co)
{
    ASYNC(beats, my) {
        my->start = coil_now();
        FOR_AWAIT(my->beat, coil_ticks(my->period)) {
            CHECK_INT(my->inside++, 0);
            /* The ticks began after my->start. */
            CHECK(coil_now() - my->start >= my->beat * my->period);
            CHECK(my->beat > my->last);
            my->last = my->beat;
            if (my->slow)
                AWAIT(coil_sleep(my->slow));
            my->inside--;
            if (++my->n == my->turns)
                break;
        }
    }
}

// Beat k is never before k periods: however noisy the machine, none is early.
TEST(ticks_count_the_periods_since_the_start)
{
    stage_open();
    struct coil_task *t = SPAWN(beats, .period = COIL_MS(1), .turns = 10);
    CHECK_INT(stage_run(t), 0);
    struct beats *frame = coil_task_frame(t);
    CHECK(frame->last >= 10);
    CHECK_INT(stage_timers(), 0);
    stage_close();
}

// An iteration of 2.5 periods: the ticks meanwhile are missed, not made up for.
TEST(ticks_that_are_missed_leave_a_gap)
{
    stage_open();
    struct coil_task *t = SPAWN(beats, .period = COIL_MS(2),
                                .slow = COIL_MS(5), .turns = 4);
    CHECK_INT(stage_run(t), 0);
    struct beats *frame = coil_task_frame(t);
    CHECK(frame->last >= 1 + 3 * 3);
    stage_close();
}

TEST(ticks_cancelled_disarm_their_timer)
{
    stage_open();
    struct coil_task *t = SPAWN(beats, .period = COIL_SECONDS(3600));
    stage_passes(2);
    CHECK_INT(stage_timers(), 1);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(stage_timers(), 0);
    stage_close();
}

TEST(ticks_of_no_period_are_an_error)
{
    static const int64_t periods[] = { 0, -1, INT64_MIN };
    for (int i = 0; i < 3; i++) {
        stage_open();
        CHECK_INT(stage_run(SPAWN(beats, .period = periods[i])), -EINVAL);
        stage_close();
    }
}

TEST(ticks_of_the_longest_period_wait)
{
    stage_open();
    struct coil_task *t = SPAWN(beats, .period = INT64_MAX);
    stage_passes(3);
    CHECK(!coil_task_done(t));
    stage_close();
}

static struct coil_future *make_beats(void)
{
    return CALL(beats, .period = COIL_US(50), .turns = 2);
}

static int beating(void)
{
    return run_alone(make_beats);
}

TEST(ticks_survive_every_failed_allocation)
{
    test_every_allocation(beating);
}
