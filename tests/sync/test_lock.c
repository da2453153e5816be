// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_lock.c: the lock is handed over in the order of arrival, and never lost
 * when a waiter is cancelled.
 */
#include "interleave.h"

#include <coil/lock.h>

struct locks {
    struct coil_coro coro;
    struct coil_lock *lock;
    int id, passes;
    bool in;
    bool *inside;
    int *finals;
};

static void locks(struct coil_coro *co)
{
    ASYNC(locks, my) {
        HOLD(my->lock);
        CHECK(!*my->inside);
        my->in = *my->inside = true;
        trace("%d", my->id);
        for (; my->passes > 0; my->passes--)
            AWAIT(coil_sleep(0));

    FINALLY;
        ++*my->finals;
        if (my->in)
            *my->inside = false;
    }
}

struct world {
    struct coil_lock lock;
    bool inside;
    int finals;
};

static struct coil_task *lock(struct world *w, int id, int passes)
{
    return coil_spawn(CALL(locks, .lock = &w->lock, .id = id,
                           .passes = passes, .inside = &w->inside,
                           .finals = &w->finals));
}

TEST(lock_lets_in_one_at_a_time_in_the_order_of_arrival)
{
    stage_open();
    struct world w = { .finals = 0 };
    coil_lock_init(&w.lock);
    struct coil_task *t[5];
    for (int i = 0; i < 5; i++)
        t[i] = lock(&w, i, i % 3);
    for (int i = 0; i < 5; i++)
        CHECK_INT(stage_run(t[i]), 0);
    CHECK_TRACE("0 1 2 3 4");
    CHECK(!coil_lock_locked(&w.lock));
    stage_close();
}

TEST(lock_nowait_takes_it_if_it_is_free)
{
    struct coil_lock l;
    coil_lock_init(&l);
    CHECK(!coil_lock_locked(&l));
    CHECK_INT(coil_lock_acquire_nowait(&l), 0);
    CHECK(coil_lock_locked(&l));
    CHECK_INT(coil_lock_acquire_nowait(&l), -EAGAIN);
    coil_lock_release(&l);
    CHECK(!coil_lock_locked(&l));
}

// asyncio frees it in between, so another task can take it; here none can.
TEST(lock_is_handed_over_without_being_free_in_between)
{
    stage_open();
    struct world w = { .finals = 0 };
    coil_lock_init(&w.lock);
    CHECK_INT(coil_lock_acquire_nowait(&w.lock), 0);
    struct coil_task *t = lock(&w, 1, 0);
    stage_passes(1);
    coil_lock_release(&w.lock);
    CHECK(coil_lock_locked(&w.lock));
    CHECK_INT(coil_lock_acquire_nowait(&w.lock), -EAGAIN);
    CHECK_INT(stage_run(t), 0);
    CHECK(!coil_lock_locked(&w.lock));
    CHECK_TRACE("1");
    stage_close();
}

TEST(lock_that_no_await_takes_goes_on_to_the_next)
{
    stage_open();
    struct coil_lock lock;
    coil_lock_init(&lock);
    struct coil_task *a = coil_spawn(coil_lock_acquire(&lock));
    struct coil_task *b = coil_spawn(coil_lock_acquire(&lock));
    struct coil_task *c = coil_spawn(coil_lock_acquire(&lock));
    stage_passes(3);
    CHECK(coil_task_done(a));
    coil_task_drop(&a);
    coil_task_drop(&b); /* it goes on without a handle, and is granted */
    stage_passes(3);
    CHECK(coil_task_done(c));
    CHECK_INT(coil_future_error(coil_task_future(c)), 0);
    CHECK(coil_lock_locked(&lock)); /* c's, which we have asked */
    coil_task_drop(&c);
    CHECK(coil_lock_locked(&lock));
    coil_lock_release(&lock);
    stage_close();
}

// asyncio test_cancel_race, test_cancel_release_race.
TEST(lock_handed_to_a_task_that_is_cancelled_goes_on_to_the_next)
{
    for (int order = 0; order < 2; order++) {
        stage_open();
        struct world w = { .finals = 0 };
        coil_lock_init(&w.lock);
        CHECK_INT(coil_lock_acquire_nowait(&w.lock), 0);
        struct coil_task *a = lock(&w, 1, 1), *b = lock(&w, 2, 1);
        stage_passes(1);
        if (order == 0)
            coil_lock_release(&w.lock);
        coil_task_cancel(a);
        if (order == 1)
            coil_lock_release(&w.lock);
        CHECK_INT(stage_run(a), -ECANCELED);
        CHECK_INT(stage_run(b), 0);
        CHECK(!coil_lock_locked(&w.lock));
        CHECK_INT(w.finals, 2);
        stage_trace[0] = '\0';
        stage_close();
    }
}

DEATH_TEST(lock_released_that_nobody_holds_aborts,
           "coil_lock_release: the lock is not held")
{
    struct coil_lock l;
    coil_lock_init(&l);
    coil_lock_release(&l);
}

/* ---- All interleavings --------------------------------------------------- */

enum { TASKS = 3 };

static struct {
    struct world w;
    struct coil_task *t[TASKS];
    int started;
    bool ours;
} all;

static void begin(void)
{
    memset(&all, 0, sizeof all);
    stage_trace[0] = '\0';
    coil_lock_init(&all.w.lock);
}

enum { START = 1, TAKE, RELEASE_IT, CANCEL };

static bool act(int action)
{
    switch (action) {
    case START:
        if (all.started == TASKS)
            return false;
        all.t[all.started] = lock(&all.w, all.started, all.started % 2);
        all.started++;
        return true;
    case TAKE:
        if (coil_lock_acquire_nowait(&all.w.lock) < 0)
            return false;
        CHECK(!all.w.inside);
        return all.ours = all.w.inside = true;
    case RELEASE_IT:
        if (!all.ours)
            return false;
        all.ours = all.w.inside = false;
        coil_lock_release(&all.w.lock);
        return true;
    default:
        return action - CANCEL < all.started &&
               coil_task_cancel(all.t[action - CANCEL]);
    }
}

// One task is inside at a time (locks() checks it), in the order of arrival; no
// task hangs; every FINALLY runs once; the lock is free in the end.
static void end(void)
{
    if (all.ours)
        act(RELEASE_IT);
    stage_passes(10);
    for (int i = 0; i < all.started; i++) {
        CHECK(coil_task_done(all.t[i]));
        coil_task_drop(&all.t[i]);
    }
    for (const char *id = stage_trace; *id && id[1]; id += 2)
        CHECK(id[0] < id[2]);
    CHECK_INT(all.w.finals, all.started);
    CHECK(!coil_lock_locked(&all.w.lock));
    CHECK(coil_waiters_empty(&all.w.lock.waiters));
    stage_trace[0] = '\0';
}

TEST(lock_is_lost_in_no_interleaving)
{
    size_t n = interleave(&(struct interleave){
        .actions = CANCEL + TASKS - 1, .length = 6, .begin = begin,
        .act = act, .end = end });
    CHECK(n > 300);
}
