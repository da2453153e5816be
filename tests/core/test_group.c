// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_group.c: tasks that succeed together or end together, by the rules of
 * asyncio's TaskGroup: who is cancelled, whose error it is, what comes back.
 */
#include "stage.h"

#include <coil/cancel_scope.h>
#include <coil/group.h>

#include <stdlib.h>
#include <unistd.h>

/* ---- Actors ----------------------------------------------------------- */

// A child: waits for its hand; then ends as it was told to.
struct child {
    struct coil_coro coro;
    const char *name;
    struct hand *hand, *cleanup; // either may be NULL
    int fails, fails_late; // its error; if it is cancelled
    int err;
};

static void child(struct coil_coro *co)
{
    ASYNC(child, my) {
        if (my->hand && my->fails_late) {
            TRY_ALL(my->err)
                AWAIT(hand_op(my->hand));
            FAIL(my->fails_late);
        } else if (my->hand) {
            AWAIT(hand_op(my->hand));
        }
        if (my->fails)
            FAIL_WITH(my->fails, 17);

    FINALLY;
        if (my->cleanup)
            AWAIT(hand_op(my->cleanup));
        trace("%s", my->name);
    }
}

// The body: starts `n` children, then waits for `body`, then returns 7.
struct team {
    struct coil_coro coro;
    struct coil_group *group;
    struct child *children; // as prototypes
    int n;
    struct hand *body; // may be NULL
    struct coil_task **tasks; // may be NULL
    int64_t within;
    int fails, err;
    bool swallows;
};

static void team(struct coil_coro *co)
{
    ASYNC(team, my) {
        WITHIN(my->within ? my->within : COIL_NEVER) GROUP(my->group) {
            for (int i = 0; i < my->n; i++) {
                const struct child *c = &my->children[i];
                struct coil_task *t = SPAWN(child, .name = c->name,
                                            .hand = c->hand,
                                            .cleanup = c->cleanup,
                                            .fails = c->fails,
                                            .fails_late = c->fails_late);
                if (my->tasks)
                    my->tasks[i] = t;
            }
            if (my->body && my->swallows) {
                TRY_ALL(my->err)
                    AWAIT(hand_op(my->body));
                trace("body:%d", my->err);
            } else if (my->body) {
                AWAIT(hand_op(my->body));
            }
            if (my->fails)
                FAIL(my->fails);
            RETURN(7);
        }

    FINALLY;
        trace("over");
    }
}

// Who awaits a team, and what its next await meets.
struct boss {
    struct coil_coro coro;
    struct team *team;
    struct hand *then;
    int err, value;
};

static void boss(struct coil_coro *co)
{
    ASYNC(boss, my) {
        my->value = -1;
        TRY_AWAIT_TO(my->err, my->value,
                     CALL(team, .group = my->team->group,
                          .children = my->team->children, .n = my->team->n,
                          .body = my->team->body, .tasks = my->team->tasks,
                          .within = my->team->within, .fails = my->team->fails,
                          .swallows = my->team->swallows));
        trace("boss %d %d", my->err, my->value);
        TRY_ALL(my->err)
            AWAIT(hand_op(my->then));
        trace("then %d", my->err);
    }
}

static struct hand a, b, c, body, then;
static struct coil_group group;
static struct coil_task *tasks[3];

static void reset(void)
{
    a = b = c = body = then = (struct hand){ 0 };
    group = (struct coil_group){ 0 };
    memset(&stage_reported, 0, sizeof stage_reported);
    stage_trace[0] = '\0';
}

static struct coil_task *begin(struct team *team)
{
    reset();
    stage_open();
    team->group = &group;
    team->tasks = tasks;
    struct coil_task *t = coil_spawn(CALL(boss, .team = team, .then = &then));
    stage_passes(4);
    return t;
}

static void end(struct coil_task *t)
{
    if (then.flying)
        hand_set(&then, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
}

/* ---- Together --------------------------------------------------------- */

// The end of the block waits; a plain coroutine would cancel them.
TEST(group_waits_for_its_children_at_the_end_of_its_block)
{
    struct child two[] = { { .name = "a", .hand = &a },
                           { .name = "b", .hand = &b } };
    struct team team = { .children = two, .n = 2 };
    struct coil_task *t = begin(&team);
    CHECK_INT(a.cancels + b.cancels, 0);
    hand_set(&b, 0, 0);
    stage_passes(2);
    CHECK_TRACE("b");
    hand_set(&a, 0, 0);
    stage_passes(4);
    CHECK_TRACE("a over boss 0 7");
    end(t);
    CHECK_TRACE("then 0");
}

TEST(group_without_children_ends_with_its_block)
{
    struct team team = { 0 };
    struct coil_task *t = begin(&team);
    CHECK_TRACE("over boss 0 7");
    end(t);
}

TEST(group_child_that_fails_cancels_the_others_and_the_block)
{
    struct child two[] = { { .name = "a", .hand = &a, .fails = -EIO },
                           { .name = "b", .hand = &b } };
    struct team team = { .children = two, .n = 2, .body = &body };
    struct coil_task *t = begin(&team);
    hand_set(&a, 0, 0);
    stage_passes(5);
    CHECK_INT(b.cancels, 1);
    CHECK_INT(body.cancels, 1);
    CHECK_TRACE("a b over boss -5 -1");
    CHECK_INT(then.started, 1); /* the boss was not cancelled */
    CHECK_INT(stage_reported.n, 0);
    end(t);
    CHECK_TRACE("then 0");
}

TEST(group_child_that_fails_cancels_the_others_while_the_block_waits_for_them)
{
    struct child two[] = { { .name = "a", .hand = &a, .fails = -EIO },
                           { .name = "b", .hand = &b } };
    struct team team = { .children = two, .n = 2 };
    struct coil_task *t = begin(&team);
    hand_set(&a, 0, 0);
    stage_passes(5);
    CHECK_INT(b.cancels, 1);
    CHECK_TRACE("a b over boss -5 -1");
    end(t);
    stage_trace[0] = '\0';
}

TEST(group_fails_with_the_detail_of_its_first_error)
{
    reset();
    struct child one[] = { { .name = "a", .fails = -EIO } };
    stage_open();
    struct coil_task *t = coil_spawn(CALL(team, .group = &group, .n = 1,
                                          .children = one));
    CHECK_INT(stage_run(t), -EIO);
    CHECK_INT((int)coil_future_detail(coil_task_future(t)), 17);
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
    stage_trace[0] = '\0';
}

// asyncio puts them all into one ExceptionGroup; here one is returned, and the
// others are not lost: who has a handle may ask, else they are reported.
TEST(group_reports_the_errors_that_came_after_the_first)
{
    for (int ask = 0; ask < 2; ask++) {
        struct child two[] = {
            { .name = "a", .hand = &a, .fails = -EIO },
            { .name = "b", .hand = &b, .cleanup = &c, .fails_late = -ENXIO }
        };
        struct team team = { .children = two, .n = 2, .body = &body };
        struct coil_task *t = begin(&team);
        hand_set(&a, 0, 0);
        stage_passes(3);
        hand_set(&c, 0, 0);
        stage_passes(1);
        if (ask)
            CHECK_INT(coil_future_error(coil_task_future(tasks[1])), -ENXIO);
        stage_passes(4);
        CHECK_INT(stage_reported.n, !ask);
        CHECK_TRACE("a b over boss -5 -1");
        end(t);
        stage_trace[0] = '\0';
    }
}

// A child that somebody cancelled has not failed.
TEST(group_child_that_was_cancelled_is_no_error)
{
    struct child two[] = { { .name = "a", .hand = &a },
                           { .name = "b", .hand = &b } };
    struct team team = { .children = two, .n = 2 };
    struct coil_task *t = begin(&team);
    coil_task_cancel(tasks[0]);
    stage_passes(3);
    CHECK_INT(b.cancels, 0);
    hand_set(&b, 0, 0);
    stage_passes(4);
    CHECK_TRACE("a b over boss 0 7");
    end(t);
    stage_trace[0] = '\0';
}

// The error is the group's even if the body swallowed the cancellation.
TEST(group_fails_even_if_its_block_swallows_the_cancellation)
{
    struct child one[] = { { .name = "a", .hand = &a, .fails = -EIO } };
    struct team team = { .children = one, .n = 1, .body = &body,
                         .swallows = true };
    struct coil_task *t = begin(&team);
    hand_set(&a, 0, 0);
    stage_passes(5);
    CHECK_TRACE("a body:-125 over boss -5 -1");
    end(t);
    CHECK_TRACE("then 0");
}

struct fails_as_well {
    struct coil_coro coro;
    struct coil_group *group;
    int err;
};

static void fails_as_well(struct coil_coro *co)
{
    ASYNC(fails_as_well, my) {
        GROUP(my->group) {
            START(child, .name = "a", .fails = -EIO);
            TRY_ALL(my->err)
                AWAIT(hand_op(&body));
            FAIL(-ENOENT);
        }
    }
}

// Both errors are known to somebody.
TEST(group_reports_what_its_block_failed_with_after_a_child)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(fails_as_well, .group = &group));
    CHECK_INT(stage_run(t), -EIO);
    CHECK_INT(stage_reported.n, 1);
    CHECK_INT(stage_reported.err, -ENOENT);
    stage_close();
    stage_trace[0] = '\0';
}

TEST(group_whose_block_fails_cancels_its_children)
{
    struct child one[] = { { .name = "a", .hand = &a } };
    struct team team = { .children = one, .n = 1, .body = &body,
                         .fails = -ENOENT };
    struct coil_task *t = begin(&team);
    hand_set(&body, 0, 0);
    stage_passes(5);
    CHECK_INT(a.cancels, 1);
    CHECK_TRACE("a over boss -2 -1");
    end(t);
    stage_trace[0] = '\0';
}

// The first error is that of the block: a child that fails because it is
// cancelled does not take its place, and is reported.
TEST(group_whose_block_fails_keeps_that_error)
{
    struct child one[] = { { .name = "a", .hand = &a, .fails_late = -EIO } };
    struct team team = { .children = one, .n = 1, .body = &body,
                         .fails = -ENOENT };
    struct coil_task *t = begin(&team);
    hand_set(&body, 0, 0);
    stage_passes(5);
    CHECK_TRACE("a over boss -2 -1");
    CHECK_INT(stage_reported.n, 1);
    CHECK_INT(stage_reported.err, -EIO);
    end(t);
    stage_trace[0] = '\0';
}

// A second request would cut the FINALLY short that the first one has led to.
TEST(group_asks_its_children_once)
{
    for (int how = 0; how < 4; how++) {
        struct child two[] = {
            { .name = "a", .hand = &a, .fails_late = -EIO },
            { .name = "b", .hand = &b, .cleanup = &c }
        };
        struct team team = { .children = two, .n = 2, .body = &body,
                             .fails = how == 0 ? -ENOENT : 0 };
        struct coil_task *t = begin(&team);
        a.on_cancel = HAND_LINGERS;
        if (how == 0)
            hand_set(&body, 0, 0); /* the block fails */
        else if (how == 1)
            coil_group_cancel(&group);
        else if (how == 2)
            coil_task_cancel(t);
        else
            hand_set(&body, 0, 0); /* it waits for them, and is cancelled */
        stage_passes(2);
        if (how == 3)
            coil_group_cancel(&group);
        stage_passes(2);
        CHECK_INT(c.started, 1);
        hand_set(&a, 0, 0); /* the other one fails, while b cleans up */
        stage_passes(2);
        CHECK_INT(c.cancels, 0);
        coil_group_cancel(&group);
        CHECK_INT(c.cancels, 0);
        hand_set(&c, 0, 0);
        stage_passes(5);
        CHECK_TRACE(how == 0   ? "a b over boss -2 -1"
                    : how == 2 ? "a b over boss -5 -1 then -125"
                               : "a b over boss -5 -1");
        if (how == 2) {
            CHECK_INT(stage_run(t), 0);
            stage_close();
        } else {
            end(t);
        }
        stage_trace[0] = '\0';
    }
}

/* ---- Cancelled from outside ------------------------------------------- */

TEST(group_cancelled_from_outside_cancels_its_children)
{
    for (int where = 0; where < 2; where++) { /* in its block, in its end */
        struct child two[] = { { .name = "a", .hand = &a },
                               { .name = "b", .hand = &b } };
        struct team team = { .children = two, .n = 2,
                             .body = where ? NULL : &body };
        struct coil_task *t = begin(&team);
        coil_task_cancel(t);
        CHECK_INT(stage_run(t), -ECANCELED);
        CHECK_TRACE("a b over");
        CHECK_INT(a.cancels + b.cancels, 2);
        stage_close();
    }
}

// Errors win, and the cancellation is not forgotten: it strikes the next await.
TEST(group_error_beats_a_cancellation_which_strikes_the_next_await)
{
    struct child one[] = { { .name = "a", .hand = &a, .fails_late = -EIO } };
    struct team team = { .children = one, .n = 1, .body = &body };
    struct coil_task *t = begin(&team);
    coil_task_cancel(t);
    stage_passes(6);
    CHECK_TRACE("a over boss -5 -1 then -125");
    CHECK_INT(then.started, 0);
    CHECK_INT(stage_run(t), 0); /* the boss has caught it */
    CHECK_INT(coil_task_cancelling(t), 1);
    stage_close();
}

TEST(group_that_is_struck_already_and_cancelled_passes_that_on)
{
    struct child one[] = { { .name = "a", .hand = &a, .fails = -EIO } };
    struct team team = { .children = one, .n = 1, .body = &body };
    struct coil_task *t = begin(&team);
    body.on_cancel = HAND_LINGERS;
    hand_set(&a, 0, 0);
    stage_passes(2);
    CHECK_INT(body.cancels, 1);
    coil_task_cancel(t);
    hand_set(&body, -ECANCELED, 0);
    stage_passes(5);
    CHECK_TRACE("a over boss -5 -1 then -125");
    CHECK_INT(stage_run(t), 0);
    stage_close();
}

static int freed;

static void gives_free(void *p)
{
    freed++;
    free(p);
}

struct gives {
    struct coil_coro coro;
    struct coil_group group;
    struct hand *hand;
};

static void gives(struct coil_coro *co)
{
    ASYNC_GIVES(gives, my, gives_free) {
        GROUP(&my->group) {
            START(child, .name = "a", .hand = my->hand);
            RETURN(malloc(3));
        }
    }
}

// What it was going to return is disposed of.
TEST(group_cancelled_after_return_frees_what_it_returned)
{
    reset();
    stage_open();
    freed = 0;
    struct coil_task *t = coil_spawn(CALL(gives, .hand = &a));
    stage_passes(3);
    CHECK_INT(freed, 0);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(freed, 1);
    stage_close();
    CHECK_INT(freed, 1);
    stage_trace[0] = '\0';
}

TEST(group_deadline_covers_the_wait_for_its_children)
{
    struct child one[] = { { .name = "a", .hand = &a } };
    struct team team = { .children = one, .n = 1, .within = COIL_MS(1) };
    struct coil_task *t = begin(&team);
    while (!then.started)
        coil_loop_pass(stage_loop, COIL_NEVER);
    CHECK_TRACE("a over boss -110 -1");
    end(t);
    CHECK_TRACE("then 0");
}

/* ---- coil_group_cancel ------------------------------------------------ */

TEST(group_cancel_ends_all_of_it_without_an_error)
{
    for (int where = 0; where < 2; where++) {
        struct child two[] = { { .name = "a", .hand = &a },
                               { .name = "b", .hand = &b } };
        struct team team = { .children = two, .n = 2,
                             .body = where ? NULL : &body };
        struct coil_task *t = begin(&team);
        coil_group_cancel(&group);
        coil_group_cancel(&group);
        CHECK_INT(a.cancels, 1);
        stage_passes(5);
        CHECK_TRACE(where ? "a b over boss 0 7" : "a b over boss 0 0");
        coil_group_cancel(&group); /* it is over */
        end(t);
        CHECK_TRACE("then 0");
    }
}

// What the block has returned is not lost for that.
TEST(group_cancelled_after_return_keeps_what_it_returned)
{
    reset();
    stage_open();
    freed = 0;
    struct coil_task *t = coil_spawn(CALL(gives, .hand = &a));
    stage_passes(3);
    struct gives *frame = coil_task_frame(t);
    coil_group_cancel(&frame->group);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(freed, 0);
    free(coil_future_pointer(coil_task_future(t)));
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
    CHECK_INT(freed, 0);
    stage_trace[0] = '\0';
}

// It has a child already, which is not in the group.
struct late_group {
    struct coil_coro coro;
    struct coil_group group;
};

static void late_group(struct coil_coro *co)
{
    ASYNC(late_group, my) {
        START(child, .name = "a", .hand = &a);
        AWAIT(coil_sleep(0));
        coil_group_cancel(&my->group);
        GROUP(&my->group) {
            START(child, .name = "b", .hand = &b);
            CHECK_INT((int)coil_group_count(&my->group), 1);
            AWAIT(coil_sleep(0));
            trace("not reached");
        }
        CHECK_INT(a.cancels, 0);
        trace("behind");
    }
}

// The end of the coroutine cancels its own child, as ever.
TEST(group_cancelled_before_it_is_entered_leaves_other_children_alone)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(late_group));
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("b behind a"); /* b goes straight to its FINALLY */
    CHECK_INT(b.started, 0);
    CHECK_INT(a.cancels, 1);
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
}

TEST(group_cancelled_before_it_is_entered)
{
    reset();
    stage_open();
    struct child one[] = { { .name = "a", .hand = &a } };
    struct team team = { .children = one, .n = 1, .body = &body,
                         .group = &group };
    coil_group_cancel(&group);
    struct coil_task *t = coil_spawn(CALL(boss, .team = &team, .then = &then));
    stage_passes(5);
    CHECK_INT(body.started, 0);
    CHECK_TRACE("a over boss 0 0");
    end(t);
    stage_trace[0] = '\0';
}

TEST(group_cancel_does_not_hide_an_error)
{
    struct child one[] = { { .name = "a", .hand = &a, .fails_late = -EIO } };
    struct team team = { .children = one, .n = 1, .body = &body };
    struct coil_task *t = begin(&team);
    coil_group_cancel(&group);
    stage_passes(5);
    CHECK_TRACE("a over boss -5 -1");
    end(t);
    stage_trace[0] = '\0';
}

TEST(group_cancel_leaves_the_cancellation_of_somebody_else_alone)
{
    struct child one[] = { { .name = "a", .hand = &a } };
    struct team team = { .children = one, .n = 1, .body = &body };
    struct coil_task *t = begin(&team);
    body.on_cancel = HAND_LINGERS;
    coil_group_cancel(&group);
    coil_task_cancel(t);
    hand_set(&body, -ECANCELED, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("a over");
    stage_close();
}

struct canceller {
    struct coil_coro coro;
    struct coil_group *group;
};

static void canceller(struct coil_coro *co)
{
    ASYNC(canceller, my) {
        coil_group_cancel(my->group);
        AWAIT(coil_sleep(0));
        trace("not reached");
    }
}

struct cancels_itself {
    struct coil_coro coro;
    struct coil_group *group;
    bool by_body;
};

static void cancels_itself(struct coil_coro *co)
{
    ASYNC(cancels_itself, my) {
        GROUP(my->group) {
            START(child, .name = "a", .hand = &a);
            AWAIT(coil_sleep(0));
            if (my->by_body)
                coil_group_cancel(my->group);
            else
                START(canceller, .group = my->group);
            AWAIT(hand_op(&body));
            trace("not reached");
        }
        trace("behind");
    }
}

TEST(group_cancelled_from_inside)
{
    for (int by_body = 0; by_body < 2; by_body++) {
        reset();
        stage_open();
        struct coil_task *t = coil_spawn(
            CALL(cancels_itself, .group = &group, .by_body = by_body));
        CHECK_INT(stage_run(t), 0);
        CHECK_INT(coil_future_int(coil_task_future(t)), 0);
        CHECK_TRACE("a behind");
        CHECK_INT(body.started, !by_body);
        stage_close();
    }
}

/* ---- Spawning into it ------------------------------------------------- */

struct spawner {
    struct coil_coro coro;
    struct coil_group *group;
    struct hand *hand;
    int depth;
};

// Each spawns the next one into the group, from its own body, and ends.
static void spawner(struct coil_coro *co)
{
    ASYNC(spawner, my) {
        AWAIT(coil_sleep(0));
        if (my->depth > 0)
            CHECK_INT(coil_group_start(my->group,
                                       CALL(spawner, .group = my->group,
                                            .hand = my->hand,
                                            .depth = my->depth - 1)),
                      0);
        else
            AWAIT(hand_op(my->hand));
        trace("%d", my->depth);
    }
}

struct with_spawner {
    struct coil_coro coro;
    struct coil_group *group;
};

static void with_spawner(struct coil_coro *co)
{
    ASYNC(with_spawner, my) {
        GROUP(my->group)
            START(spawner, .group = my->group, .hand = &a, .depth = 3);

    FINALLY;
        trace("over");
    }
}

// The body is over, children are not: they may still spawn.
TEST(group_takes_what_its_children_spawn)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(with_spawner, .group = &group));
    stage_passes(12);
    CHECK_TRACE("3 2 1");
    CHECK(!coil_task_done(t));
    hand_set(&a, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("0 over");
    stage_close();
}

// Refused, and the coroutine is disposed of: its FINALLY has run.
TEST(group_that_is_closed_refuses_and_disposes)
{
    struct child two[] = { { .name = "a", .hand = &a, .fails = -EIO },
                           { .name = "b", .hand = &b, .cleanup = &c } };
    struct team team = { .children = two, .n = 2, .body = &body };
    struct coil_task *t, *refused;

    /* Before it is entered. */
    reset();
    stage_open();
    refused = coil_group_spawn(&group, CALL(child, .name = "refused"));
    CHECK_INT(coil_future_error(coil_task_future(refused)), COIL_ECLOSED);
    CHECK_INT(coil_group_start(&group, CALL(child, .name = "too")),
              COIL_ECLOSED);
    coil_task_drop(&refused);
    stage_passes(2);
    CHECK_TRACE("refused too");
    stage_close();

    /* While it ends, and when it is over. */
    t = begin(&team);
    hand_set(&a, 0, 0);
    stage_passes(3);
    CHECK_TRACE("a");
    refused = coil_group_spawn(&group, CALL(child, .name = "refused"));
    CHECK_INT(coil_future_error(coil_task_future(refused)), COIL_ECLOSED);
    hand_set(&c, 0, 0);
    stage_passes(4);
    CHECK_TRACE("refused b over boss -5 -1");
    CHECK_INT(coil_group_start(&group, CALL(child, .name = "late")),
              COIL_ECLOSED);
    stage_passes(2);
    CHECK_TRACE("late");
    end(t);
    stage_trace[0] = '\0';
}

TEST(group_spawns_any_future)
{
    struct team team = { .body = &body };
    struct coil_task *t = begin(&team);
    struct coil_task *op = coil_group_spawn(&group, hand_op(&a));
    stage_passes(1);
    hand_set(&body, 0, 0);
    stage_passes(2);
    CHECK_TRACE("");
    hand_set(&a, -EPERM, 0);
    stage_passes(1);
    CHECK_INT(coil_future_error(coil_task_future(op)), -EPERM);
    stage_passes(4);
    CHECK_TRACE("over boss -1 -1");
    end(t);
    stage_trace[0] = '\0';
}

struct many {
    struct coil_coro coro;
    struct coil_group group;
    int i;
    size_t memory;
};

static size_t memory_now(void)
{
    struct coil_loop_stats stats;
    coil_loop_get_stats(stage_loop, &stats);
    return stats.memory_bytes;
}

static void many(struct coil_coro *co)
{
    ASYNC(many, my) {
        GROUP(&my->group) {
            for (; my->i < 100000; my->i++) {
                CHECK_INT(coil_group_start(&my->group,
                                           CALL(child, .name = "")),
                          0);
                AWAIT(coil_sleep(0));
                stage_trace[0] = '\0';
                if (my->i == 100)
                    my->memory = memory_now();
            }
            CHECK_INT(memory_now() == my->memory, 1);
        }
    }
}

// A server's group must not grow with every connection there ever was.
TEST(group_lets_go_of_children_that_have_ended)
{
    reset();
    stage_open();
    CHECK_INT(stage_run(coil_spawn(CALL(many))), 0);
    stage_close();
}

/* ---- One in another --------------------------------------------------- */

struct outer {
    struct coil_coro coro;
    struct coil_group group;
    struct team *team;
    struct hand *hand;
    int fails;
};

static void outer(struct coil_coro *co)
{
    ASYNC(outer, my) {
        GROUP(&my->group) {
            START(child, .name = "outer", .hand = my->hand,
                  .fails = my->fails);
            AWAIT(CALL(team, .group = my->team->group,
                       .children = my->team->children, .n = my->team->n,
                       .body = my->team->body));
        }
    }
}

static struct coil_task *begin_nested(struct team *team, int outer_fails)
{
    reset();
    stage_open();
    team->group = &group;
    struct coil_task *t = coil_spawn(CALL(outer, .team = team, .hand = &then,
                                          .fails = outer_fails));
    stage_passes(4);
    return t;
}

TEST(group_nested_fails_inside)
{
    struct child one[] = { { .name = "a", .hand = &a, .fails = -EIO } };
    struct team team = { .children = one, .n = 1, .body = &body };
    struct coil_task *t = begin_nested(&team, 0);
    hand_set(&a, 0, 0);
    CHECK_INT(stage_run(t), -EIO);
    CHECK_TRACE("a over outer");
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
}

TEST(group_nested_fails_outside)
{
    struct child one[] = { { .name = "a", .hand = &a } };
    struct team team = { .children = one, .n = 1, .body = &body };
    struct coil_task *t = begin_nested(&team, -EIO);
    hand_set(&then, 0, 0);
    CHECK_INT(stage_run(t), -EIO);
    CHECK_TRACE("outer a over");
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
}

// test_taskgroup_14: both fail in one pass, or the inner one while it ends.
TEST(group_nested_fails_on_both_sides)
{
    struct child one[] = { { .name = "a", .hand = &a, .fails_late = -ENXIO } };
    struct team team = { .children = one, .n = 1, .body = &body };
    struct coil_task *t = begin_nested(&team, -EIO);
    hand_set(&then, 0, 0);
    CHECK_INT(stage_run(t), -EIO); /* the outer group's first error */
    CHECK_TRACE("outer a over");
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
}

TEST(group_nested_is_cancelled_from_outside)
{
    struct child one[] = { { .name = "a", .hand = &a } };
    struct team team = { .children = one, .n = 1, .body = &body };
    struct coil_task *t = begin_nested(&team, 0);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("a over outer");
    stage_close();
}

// Both groups wait at their braces, and the value with them.
struct gives_nested {
    struct coil_coro coro;
    struct coil_group outer, inner;
    int fails;
};

static void gives_nested(struct coil_coro *co)
{
    ASYNC_GIVES(gives_nested, my, gives_free) {
        GROUP(&my->outer) {
            START(child, .name = "a", .hand = &a, .fails = my->fails);
            GROUP(&my->inner) {
                START(child, .name = "b", .hand = &b);
                RETURN(malloc(3));
            }
        }
        trace("behind");
    }
}

// RETURN passes the braces one by one. What comes meanwhile:
//     0  nothing: the value
//     1  the inner group is cancelled: its own, the value stands
//     2  the outer one is, while the inner one waits: that strikes the wait, as
//        a request from outside; the outer one goes on behind its brace
//     3  the outer one is, while it waits itself: the value stands
//     4  its task fails, while the inner one waits     5  while it waits itself
TEST(group_in_another_one_lets_what_was_returned_pass)
{
    static const char *const expected[] = { "b a", "b a", "a b behind",
                                            "b a", "a b", "b a" };
    for (int what = 0; what < 6; what++) {
        reset();
        freed = 0;
        stage_open();
        struct coil_task *t = coil_spawn(CALL(gives_nested, .fails =
                                              what >= 4 ? -EIO : 0));
        stage_passes(3);
        struct gives_nested *frame = coil_task_frame(t);
        if (what == 1) {
            coil_group_cancel(&frame->inner);
            CHECK_INT(b.cancels, 1);
        } else if (what == 2) {
            coil_group_cancel(&frame->outer);
            CHECK_INT(a.cancels, 1);
        } else if (what == 4) {
            hand_set(&a, 0, 0);
        } else {
            hand_set(&b, 0, 0);
        }
        stage_passes(3);
        if (what == 3)
            coil_group_cancel(&frame->outer);
        else if (what == 5)
            hand_set(&a, 0, 0);
        else if (a.flying)
            hand_set(&a, 0, 0);
        CHECK_INT(stage_run(t), what >= 4 ? -EIO : 0);
        CHECK_TRACE(expected[what]);
        bool given = what != 2 && what < 4;
        CHECK_INT(freed, !given);
        if (given)
            free(coil_future_pointer(coil_task_future(t)));
        CHECK_INT(coil_task_cancelling(t), 0);
        stage_close();
        CHECK_INT(freed, !given);
    }
}

struct scoped {
    struct coil_coro coro;
    struct coil_cancel_scope *scope;
    struct coil_group group;
};

static void scoped(struct coil_coro *co)
{
    ASYNC(scoped, my) {
        CANCEL_SCOPE(my->scope) GROUP(&my->group) {
            START(child, .name = "a", .hand = &a);
            START(child, .name = "b", .hand = &b, .fails_late = -EIO);
        }
    }
}

// trio's nursery: one scope, and an error that beats it.
TEST(group_in_a_cancel_scope)
{
    struct coil_cancel_scope scope = { 0 };
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(scoped, .scope = &scope));
    stage_passes(3);
    coil_cancel_scope_cancel(&scope);
    CHECK_INT(stage_run(t), -EIO);
    CHECK_TRACE("a b");
    stage_close();
}

/* ---- Asked once, and by whom ------------------------------------------ */

// A block that lingers, struck already, is not asked again either.
TEST(group_that_is_cancelled_does_not_ask_again_when_a_child_fails)
{
    struct child two[] = { { .name = "a", .hand = &a, .fails_late = -EIO },
                           { .name = "b", .hand = &b, .cleanup = &c } };
    struct team team = { .children = two, .n = 2, .body = &body };
    struct coil_task *t = begin(&team);
    a.on_cancel = body.on_cancel = HAND_LINGERS;
    coil_group_cancel(&group);
    stage_passes(2);
    CHECK_INT(c.started, 1);
    hand_set(&a, 0, 0);
    stage_passes(2);
    CHECK_INT(body.cancels, 1);
    CHECK_INT(c.cancels, 0);
    hand_set(&body, -ECANCELED, 0);
    hand_set(&c, 0, 0);
    stage_passes(5);
    CHECK_TRACE("a b over boss -5 -1");
    end(t);
    stage_trace[0] = '\0';
}

// A request from outside is another matter: it cuts the cleanup short, and
// takes the place of what RETURN has given.
TEST(group_cancelled_from_outside_while_it_ends_returns_nothing)
{
    struct child one[] = { { .name = "a", .hand = &a, .cleanup = &c } };
    struct team team = { .children = one, .n = 1 };
    struct coil_task *t = begin(&team);
    coil_group_cancel(&group);
    stage_passes(2);
    CHECK_INT(c.started, 1);
    coil_task_cancel(t);
    stage_passes(4);
    CHECK_INT(c.cancels, 1);
    CHECK_TRACE("a over");
    CHECK_INT(then.started, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(coil_task_cancelling(t), 1);
    stage_close();
}

struct survives {
    struct coil_coro coro;
    int err;
};

// A child that has dealt with a request of somebody else.
static void survives(struct coil_coro *co)
{
    ASYNC(survives, my) {
        TRY_ALL(my->err)
            AWAIT(hand_op(&a));
        trace("caught");
        AWAIT(hand_op(&b));
    }
}

struct fails_beside {
    struct coil_coro coro;
    struct coil_task *child;
};

static void fails_beside(struct coil_coro *co)
{
    ASYNC(fails_beside, my) {
        GROUP(&group) {
            my->child = SPAWN(survives);
            AWAIT(coil_sleep(0));
            coil_task_cancel(my->child);
            AWAIT(hand_op(&body));
            FAIL(-ENOENT);
        }
    }
}

TEST(group_asks_a_child_that_survived_a_cancellation_of_somebody_else)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(fails_beside));
    stage_passes(5);
    CHECK_TRACE("caught");
    hand_set(&body, 0, 0);
    CHECK_INT(stage_run(t), -ENOENT);
    CHECK_INT(b.cancels, 1);
    stage_close();
}

struct enters {
    struct coil_coro coro;
    int err;
};

static void enters(struct coil_coro *co)
{
    ASYNC(enters, my) {
        TRY_ALL(my->err)
            AWAIT(hand_op(&a));
        GROUP(&group)
            AWAIT(hand_op(&b));
    }
}

// asyncio compares with the counter at entry; a flag would not do.
TEST(group_entered_after_a_cancellation_was_caught_ends_well)
{
    for (int succeeds = 0; succeeds < 2; succeeds++) {
        reset();
        b.on_cancel = succeeds ? HAND_SUCCEEDS : HAND_ENDS;
        stage_open();
        struct coil_task *t = coil_spawn(CALL(enters));
        stage_passes(2);
        coil_task_cancel(t);
        stage_passes(2);
        coil_group_cancel(&group);
        CHECK_INT(stage_run(t), 0);
        CHECK_INT(coil_task_cancelling(t), 1);
        stage_close();
    }
}

// What the block has dealt with does not strike its caller.
TEST(group_error_after_a_cancellation_was_caught_is_an_error_only)
{
    struct child one[] = { { .name = "a", .hand = &a, .fails = -EIO } };
    struct team team = { .children = one, .n = 1, .body = &body,
                         .swallows = true };
    struct coil_task *t = begin(&team);
    coil_task_cancel(t);
    stage_passes(3);
    hand_set(&a, 0, 0);
    stage_passes(5);
    CHECK_TRACE("body:-125 a over boss -5 -1");
    CHECK_INT(then.started, 1);
    hand_set(&then, 0, 0);
    CHECK_INT(stage_run(t), 0);
    stage_close();
    stage_trace[0] = '\0';
}

struct waits_in_finally {
    struct coil_coro coro;
};

static void waits_in_finally(struct coil_coro *co)
{
    ASYNC(waits_in_finally, my) {
        GROUP(&group) {
            START(child, .name = "a", .hand = &a, .fails_late = -EIO);
            AWAIT(hand_op(&body));
        }

    FINALLY;
        AWAIT(hand_op(&c));
        trace("over");
    }
}

struct calls_it {
    struct coil_coro coro;
    int err;
};

static void calls_it(struct coil_coro *co)
{
    ASYNC(calls_it, my) {
        TRY_AWAIT(my->err, CALL(waits_in_finally));
        trace("%d", my->err);
        AWAIT(hand_op(&then));
        trace("not reached");
    }
}

// The first request has become the caller's; a second one cuts FINALLY short.
TEST(group_error_beats_two_cancellations_and_the_caller_is_struck)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(calls_it));
    stage_passes(3);
    coil_task_cancel(t);
    stage_passes(4);
    CHECK_INT(c.started, 1);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("a over -5");
    CHECK_INT(then.started, 0);
    stage_close();
}

struct spawns_in_finally {
    struct coil_coro coro;
};

static void spawns_in_finally(struct coil_coro *co)
{
    ASYNC(spawns_in_finally, my) {
        GROUP(&group)
            AWAIT(coil_sleep(0));

    FINALLY;
        AWAIT(coil_sleep(0));
        CHECK_INT(coil_group_start(&group, CALL(child, .name = "b")),
                  COIL_ECLOSED);
    }
}

TEST(group_that_is_over_takes_no_more_in_finally)
{
    reset();
    stage_open();
    CHECK_INT(stage_run(coil_spawn(CALL(spawns_in_finally))), 0);
    CHECK_TRACE("b");
    stage_close();
}

struct spawns_late {
    struct coil_coro coro;
    int err;
};

static void spawns_late(struct coil_coro *co)
{
    ASYNC(spawns_late, my) {
        GROUP(&group) {
            START(child, .name = "a", .fails = -EIO);
            TRY_ALL(my->err)
                AWAIT(hand_op(&body));
            CHECK_INT(my->err, -ECANCELED);
            CHECK_INT(coil_group_start(&group, CALL(child, .name = "b")),
                      COIL_ECLOSED);
        }
    }
}

TEST(group_with_an_error_takes_no_more)
{
    reset();
    stage_open();
    CHECK_INT(stage_run(coil_spawn(CALL(spawns_late))), -EIO);
    CHECK_TRACE("a b");
    stage_close();
}

/* ---- In a generator --------------------------------------------------- */

// Yields in a group, then awaits, then yields again.
struct yields {
    struct coil_coro coro;
    struct coil_group *group;
    int fails_late;
};

static void yields(struct coil_coro *co)
{
    ASYNC(yields, my) {
        GROUP(my->group) {
            START(child, .name = "a", .hand = &a, .fails = -EIO,
                  .fails_late = my->fails_late);
            YIELD(1);
            trace("on");
            YIELD(2);
            AWAIT(hand_op(&b));
            YIELD(3);
        }

    FINALLY;
        trace("over");
    }
}

struct reads {
    struct coil_coro coro;
    struct coil_future *gen;
    int item, err, closes, fails_late;
    bool more;
};

static void reads(struct coil_coro *co)
{
    ASYNC(reads, my) {
        my->gen = CALL(yields, .group = &group, .fails_late = my->fails_late);
        NEXT(my->more, my->item, my->gen);
        trace("%d", my->item);
        TRY_ALL(my->err)
            AWAIT(hand_op(&body));
        if (my->closes) {
            CLOSE(my->gen);
            trace("closed");
        }
        for (my->err = 0; my->err == 0 && my->more;) {
            TRY_NEXT(my->err, my->more, my->item, my->gen);
            trace("%d", my->err ? my->err : my->item);
        }
        AWAIT(hand_op(&then));
    }
}

// Yields in a group, and waits in its FINALLY.
struct cleans_up {
    struct coil_coro coro;
};

static void cleans_up(struct coil_coro *co)
{
    ASYNC(cleans_up, my) {
        GROUP(&group)
            YIELD(1);

    FINALLY;
        AWAIT(hand_op(&c));
        trace("over");
    }
}

struct closes {
    struct coil_coro coro;
    struct coil_future *gen;
    int item;
    bool more;
};

static void closes(struct coil_coro *co)
{
    ASYNC(closes, my) {
        my->gen = CALL(cleans_up);
        NEXT(my->more, my->item, my->gen);
        coil_group_cancel(&group);
        CLOSE(my->gen);
        trace("closed");
        AWAIT(hand_op(&then));
        trace("not reached");
    }
}

// Its group has asked it before, and takes that back; who closes it is asked
// now, and that is not the same request.
TEST(group_cancelled_in_a_generator_leaves_the_cancellation_of_its_close_alone)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(closes));
    stage_passes(3);
    CHECK_INT(c.started, 1);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("over closed");
    CHECK_INT(then.started, 0);
    stage_close();
}

struct delegates {
    struct coil_coro coro;
    struct coil_future *inner;
};

static void delegates(struct coil_coro *co)
{
    ASYNC(delegates, my) {
        my->inner = CALL(yields, .group = &group);
        YIELD_FROM(my->inner);
        trace("not reached");
        YIELD(4);
    }
}

struct leaves {
    struct coil_coro coro;
    int item;
};

static void leaves(struct coil_coro *co)
{
    ASYNC(leaves, my) {
        FOR_AWAIT(my->item, CALL(delegates)) {
            coil_group_cancel(&group);
            break;
        }
    }
}

// The group of the inner one ends well; the outer one is closed all the same.
TEST(group_cancelled_in_a_generator_that_is_closed_does_not_keep_it_going)
{
    reset();
    stage_open();
    CHECK_INT(stage_run(coil_spawn(CALL(leaves))), 0);
    CHECK_TRACE("a over");
    stage_close();
}

struct calls_reads {
    struct coil_coro coro;
    int err;
};

static void calls_reads(struct coil_coro *co)
{
    ASYNC(calls_reads, my) {
        TRY_AWAIT(my->err, CALL(reads, .closes = 1, .fails_late = -EIO));
        trace("%d", my->err);
        AWAIT(coil_sleep(0));
        trace("went on");
    }
}

// It is at rest when the child fails: its next await is struck, and its error
// is that of the group. The consumer was not cancelled.
TEST(group_in_a_generator_at_rest_is_struck_at_its_next_await)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(reads));
    stage_passes(4);
    hand_set(&a, 0, 0);
    stage_passes(2);
    CHECK_TRACE("1 a");
    hand_set(&body, 0, 0);
    stage_passes(3);
    CHECK_TRACE("on 2 over -5");
    CHECK_INT(b.started, 0);
    hand_set(&then, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
}

// A child fails while it is closed: an error of CLOSE, and no cancellation of
// who closes it. One that was caught before does not strike again.
TEST(group_in_a_generator_that_is_closed_fails_the_close)
{
    for (unsigned cancelled = 0; cancelled < 2; cancelled++) {
        reset();
        stage_open();
        struct coil_task *t = coil_spawn(CALL(calls_reads));
        stage_passes(4);
        if (cancelled)
            coil_task_cancel(t);
        else
            hand_set(&body, 0, 0);
        CHECK_INT(stage_run(t), 0);
        CHECK_TRACE("1 a over -5 went on");
        CHECK_INT(coil_task_cancelling(t), cancelled);
        stage_close();
    }
}

struct joins {
    struct coil_coro coro;
    struct coil_group group;
    int fails, err;
};

static void joins(struct coil_coro *co)
{
    ASYNC(joins, my) {
        GROUP(&my->group) {
            START(child, .name = "a", .hand = &a, .fails = my->fails);
            JOIN();
            trace("joined");
            RETURN(3);
        }
    }
}

TEST(group_join_in_the_block_is_struck_by_an_error)
{
    for (int fails = 0; fails < 2; fails++) {
        reset();
        stage_open();
        struct coil_task *t = coil_spawn(CALL(joins,
                                              .fails = fails ? -EIO : 0));
        stage_passes(3);
        hand_set(&a, 0, 0);
        CHECK_INT(stage_run(t), fails ? -EIO : 0);
        CHECK_TRACE(fails ? "a" : "a joined");
        stage_close();
    }
}

struct finally_children {
    struct coil_coro coro;
    struct coil_group group;
    int err;
};

static void finally_children(struct coil_coro *co)
{
    ASYNC(finally_children, my) {
        GROUP(&my->group)
            RETURN(1);

    FINALLY;
        START(child, .name = "fails", .fails = -EIO);
        START(child, .name = "a", .hand = &a);
        JOIN();
    }
}

// What FINALLY starts is not in the group: it is over.
TEST(group_is_over_in_finally)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(finally_children));
    stage_passes(4);
    CHECK_INT(a.cancels, 0);
    CHECK_INT(stage_reported.n, 1); /* as any other */
    hand_set(&a, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 1);
    stage_close();
    stage_trace[0] = '\0';
}

TEST(group_of_a_loop_that_closes_is_cancelled)
{
    struct child one[] = { { .name = "a", .hand = &a } };
    struct team team = { .children = one, .n = 1, .body = &body };
    begin(&team);
    stage_close();
    CHECK_TRACE("a over");
    CHECK_INT(a.freed + body.freed, 2);
}

/* ---- What is in it ---------------------------------------------------- */

// The names of its tasks that have not ended; each is a child().
static const char *listed(const struct coil_group *of)
{
    static char names[256];
    size_t n = 0;
    names[0] = '\0';
    for (struct coil_task *t = coil_group_next(of, NULL); t;
         t = coil_group_next(of, t)) {
        const struct child *frame = coil_task_frame(t);
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s",
                 n++ ? " " : "", frame->name);
    }
    CHECK_INT((int)coil_group_count(of), (int)n);
    return names;
}

TEST(group_lists_its_tasks_that_have_not_ended)
{
    struct child three[] = { { .name = "a", .hand = &a },
                             { .name = "b", .hand = &b },
                             { .name = "c", .hand = &c } };
    struct team team = { .children = three, .n = 3, .body = &body };
    reset();
    CHECK_STR(listed(&group), ""); /* not entered yet */
    struct coil_task *t = begin(&team);
    CHECK_STR(listed(&group), "a b c");
    hand_set(&b, 0, 0);
    stage_passes(1);
    CHECK_STR(listed(&group), "a c");
    CHECK(coil_group_next(&group, tasks[1]) == tasks[2]); /* b is done */
    hand_set(&body, 0, 0);
    stage_passes(2); /* at the brace */
    CHECK_STR(listed(&group), "a c");
    hand_set(&c, 0, 0);
    stage_passes(1);
    CHECK_STR(listed(&group), "a");
    hand_set(&a, 0, 0);
    stage_passes(3);
    CHECK_STR(listed(&group), ""); /* over */
    CHECK_TRACE("b c a over boss 0 7");
    end(t);
    stage_trace[0] = '\0';
}

struct detaches {
    struct coil_coro coro;
    struct coil_group group;
    struct coil_task *task;
};

static void detaches(struct coil_coro *co)
{
    ASYNC(detaches, my) {
        GROUP(&my->group) {
            my->task = SPAWN(child, .name = "a", .hand = &a, .fails = -EIO);
            START(child, .name = "b", .hand = &b);
            coil_detach(my->task);
            CHECK_STR(listed(&my->group), "b");
        }
        trace("behind");
    }
}

// Neither its end nor its error is the group's any more.
TEST(group_lets_a_task_be_detached)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(detaches));
    stage_passes(3);
    hand_set(&b, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(a.cancels, 0);
    CHECK_TRACE("b behind");
    hand_set(&a, 0, 0);
    stage_passes(2);
    CHECK_INT(stage_reported.err, -EIO);
    CHECK_TRACE("a");
    stage_close();
}

/* ---- Its tasks and others --------------------------------------------- */

struct nested {
    struct coil_coro coro;
    struct coil_group outer, inner;
};

static void nested(struct coil_coro *co)
{
    ASYNC(nested, my) {
        START(child, .name = "own", .hand = &c);
        GROUP(&my->outer) {
            START(child, .name = "a", .hand = &a);
            GROUP(&my->inner) {
                START(child, .name = "b", .hand = &b);
                JOIN();
                trace("joined");
                START(child, .name = "d", .hand = &body);
            }
            trace("inner-over");
            CHECK_STR(listed(&my->inner), "");
            CHECK_STR(listed(&my->outer), "a");
            JOIN();
            trace("joined");
        }
        trace("outer-over");
        JOIN();
        trace("joined");
    }
}

// SPAWN, START and JOIN() are about the innermost group, else the coroutine.
TEST(group_join_waits_for_the_tasks_of_the_innermost_group)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(nested));
    stage_passes(3);
    CHECK_INT(a.started + b.started + c.started, 3);
    hand_set(&b, 0, 0);
    stage_passes(3);
    CHECK_TRACE("b joined");
    hand_set(&body, 0, 0);
    stage_passes(3);
    CHECK_TRACE("d inner-over");
    hand_set(&a, 0, 0);
    stage_passes(3);
    CHECK_TRACE("a joined outer-over");
    CHECK_INT(c.cancels, 0);
    hand_set(&c, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("own joined");
    stage_close();
}

struct cleans_late {
    struct coil_coro coro;
    int i;
};

static void cleans_late(struct coil_coro *co)
{
    ASYNC(cleans_late, my) {
        for (;; my->i++)
            YIELD(my->i);

    FINALLY;
        AWAIT(hand_op(&c));
        trace("closed");
    }
}

struct runs_generators {
    struct coil_coro coro;
    struct coil_group group;
    struct coil_future *before, *in;
    bool by_loop, more;
    int item;
};

static void runs_generators(struct coil_coro *co)
{
    ASYNC(runs_generators, my) {
        my->before = CALL(yields, .group = &group);
        NEXT(my->more, my->item, my->before);
        GROUP(&my->group) {
            if (my->by_loop) {
                FOR_AWAIT(my->item, CALL(cleans_late))
                    break;
            } else {
                my->in = CALL(cleans_late);
                NEXT(my->more, my->item, my->in);
            }
            NEXT(my->more, my->item, my->before);
            trace("brace");
        }
        trace("behind %d", (int)coil_group_count(&my->group));
        NEXT(my->more, my->item, my->before);
        trace("%d", my->item);
        CLOSE(my->before);
    }
}

// Left by a loop, or begun by NEXT in the group: it closes as a task of it. One
// that was begun outside goes on.
TEST(group_waits_for_generators_that_were_begun_in_it)
{
    for (int by_loop = 0; by_loop < 2; by_loop++) {
        reset();
        stage_open();
        struct coil_task *t = coil_spawn(CALL(runs_generators,
                                              .by_loop = by_loop));
        stage_passes(3);
        CHECK_TRACE("on brace");
        CHECK_INT(c.started, 1);
        struct runs_generators *frame = coil_task_frame(t);
        CHECK_INT((int)coil_group_count(&frame->group), 1);
        CHECK(!coil_group_next(&frame->group, NULL)); /* it is no task */
        hand_set(&c, 0, 0);
        stage_passes(3);
        CHECK_TRACE("closed behind 0");
        hand_set(&b, 0, 0);
        CHECK_INT(stage_run(t), 0);
        CHECK_TRACE("3 a over");
        stage_close();
    }
}

// A request from outside cuts their FINALLY short, as that of a task.
TEST(group_cancelled_from_outside_asks_generators_that_close)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(runs_generators));
    stage_passes(3);
    CHECK_INT(c.started, 1);
    struct runs_generators *frame = coil_task_frame(t);
    coil_group_cancel(&frame->group);
    stage_passes(2);
    CHECK_INT(c.cancels, 0);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(c.cancels, 1);
    CHECK_TRACE("on brace closed a over");
    stage_close();
}

/* ---- One after another, and again ------------------------------------- */

struct numbered {
    struct coil_coro coro;
    int n;
};

static void numbered(struct coil_coro *co)
{
    ASYNC(numbered, my) {
        AWAIT(coil_sleep(0));
        RETURN(my->n);
    }
}

struct rounds {
    struct coil_coro coro;
    struct coil_group group;
    struct coil_task *two[2];
    int i, x, y;
    size_t memory;
};

static void rounds(struct coil_coro *co)
{
    ASYNC(rounds, my) {
        for (; my->i < 1000; my->i++) {
            GROUP(&my->group) {
                my->two[0] = SPAWN(numbered, .n = my->i);
                my->two[1] = coil_group_spawn(&my->group,
                                              CALL(numbered, .n = -my->i));
            }
            CHECK_INT((int)coil_group_count(&my->group), 0);
            AWAIT_TO(my->x, my->two[0]);
            AWAIT_TO(my->y, my->two[1]);
            CHECK_INT(my->x, my->i);
            CHECK_INT(my->y, -my->i);
            if (my->i == 10)
                my->memory = memory_now();
        }
        CHECK_INT(memory_now() == my->memory, 1);
    }
}

// Their results are read behind the brace; those of the last round go.
TEST(group_in_a_loop_keeps_the_handles_of_one_round)
{
    reset();
    stage_open();
    CHECK_INT(stage_run(coil_spawn(CALL(rounds))), 0);
    stage_close();
}

struct gives_one {
    struct coil_coro coro;
};

static void gives_one(struct coil_coro *co)
{
    ASYNC_GIVES(gives_one, my, gives_free) {
        (void)my;
        RETURN(malloc(3));
    }
}

struct enters_again {
    struct coil_coro coro;
    struct coil_group group;
    int err;
};

static void enters_again(struct coil_coro *co)
{
    ASYNC(enters_again, my) {
        TRY(my->err) GROUP(&my->group) {
            SPAWN(child, .name = "a", .hand = &a, .fails_late = -ENXIO);
            SPAWN(gives_one);
            AWAIT(coil_sleep(0));
            FAIL(-EIO);
        }
        trace("%d", my->err);
        CHECK_INT(freed, 0);
        CHECK_INT(stage_reported.n, 0); /* somebody may ask still */
        AWAIT(coil_sleep(0));
        TRY(my->err) GROUP(&my->group) {
            CHECK_INT(freed, 1);
            CHECK_INT(stage_reported.n, 1);
            CHECK_INT(stage_reported.err, -ENXIO);
            CHECK_STR(listed(&my->group), "");
            AWAIT(coil_sleep(0));
        }
        trace("%d", my->err);
    }
}

// As if they were dropped: what nobody took is freed, what nobody fetched is
// reported. And nothing else is left of the last round, its error neither.
TEST(group_entered_again_loses_the_handles_of_its_last_round)
{
    reset();
    freed = 0;
    stage_open();
    CHECK_INT(stage_run(coil_spawn(CALL(enters_again))), 0);
    CHECK_TRACE("a -5 0");
    CHECK_INT(stage_reported.n, 1);
    stage_close();
}

struct leaves_handles {
    struct coil_coro coro;
    struct hand *hand;
};

static void leaves_handles(struct coil_coro *co)
{
    ASYNC(leaves_handles, my) {
        GROUP(&group)
            SPAWN(child, .name = "a");
        if (my->hand)
            AWAIT(hand_op(my->hand));
    }
}

// It belongs to the coroutine that has entered it last.
TEST(group_is_entered_by_one_coroutine_after_another)
{
    reset();
    stage_open();
    struct coil_task *first = coil_spawn(CALL(leaves_handles, .hand = &b));
    stage_passes(4);
    CHECK_INT(b.started, 1);
    struct coil_task *second = coil_spawn(CALL(leaves_handles, .hand = &c));
    stage_passes(4);
    CHECK_INT(c.started, 1);
    CHECK_INT(stage_run(coil_spawn(CALL(leaves_handles))), 0);
    hand_set(&b, 0, 0);
    CHECK_INT(stage_run(first), 0);
    CHECK_INT(stage_run(coil_spawn(CALL(leaves_handles))), 0);
    hand_set(&c, 0, 0);
    CHECK_INT(stage_run(second), 0);
    CHECK_TRACE("a a a a");
    stage_close();
}

struct cancels_rounds {
    struct coil_coro coro;
    struct coil_group one, two;
    int i;
};

static void cancels_rounds(struct coil_coro *co)
{
    ASYNC(cancels_rounds, my) {
        for (; my->i < 3; my->i++) {
            GROUP(&my->one) {
                if (my->i == 1)
                    coil_group_cancel(&my->one);
                AWAIT(coil_sleep(0));
                trace("one:%d", my->i);
            }
            coil_group_cancel(&my->one); /* it is over */
            GROUP(&my->two) {
                coil_group_cancel(&my->one);
                AWAIT(coil_sleep(0));
                trace("two:%d", my->i);
            }
        }
    }
}

TEST(group_cancelled_strikes_neither_the_next_round_nor_the_next_group)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(cancels_rounds));
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("one:0 two:0 two:1 one:2 two:2");
    CHECK_INT(coil_task_cancelling(t), 0);
    stage_close();
}

struct tries {
    struct coil_coro coro;
    struct coil_group one, two;
    int err, i;
};

static void tries(struct coil_coro *co)
{
    ASYNC(tries, my) {
        for (; my->i < 2; my->i++) {
            TRY(my->err) GROUP(&my->one) {
                START(child, .name = "a", .hand = &a, .fails = -EIO);
                AWAIT(hand_op(&body));
            }
            trace("%d/%u", my->err, coil_last_detail());
            AWAIT(coil_sleep(0)); /* the request was the group's */
            TRY(my->err) GROUP(&my->two)
                AWAIT(coil_sleep(0));
            trace("%d", my->err);
        }
    }
}

TEST(group_error_is_taken_by_a_try_around_it)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(tries));
    for (int i = 0; i < 2; i++) {
        stage_passes(3);
        CHECK_INT(body.started, i + 1);
        hand_set(&a, 0, 0);
        stage_passes(2);
        CHECK_INT(body.cancels, i + 1);
        CHECK_TRACE("a -5/17");
        stage_passes(2);
        CHECK_TRACE("0");
    }
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_task_cancelling(t), 0);
    CHECK_INT(stage_reported.n, 0);
    stage_close();
}

/* ---- Spawned into one that was asked to end --------------------------- */

struct spawns_more {
    struct coil_coro coro;
    int how, err;
};

static void spawns_more(struct coil_coro *co)
{
    ASYNC(spawns_more, my) {
        GROUP(&group) {
            coil_group_cancel(&group);
            if (my->how > 0) {
                TRY_ALL(my->err)
                    AWAIT(coil_sleep(0));
                CHECK_INT(my->err, -ECANCELED);
            }
            if (my->how == 1)
                START(child, .name = "a", .hand = &a);
            else
                SPAWN(child, .name = "a", .hand = &a);
            if (my->how > 1)
                AWAIT(coil_sleep(0));
            if (my->how == 3)
                RETURN(3);
        }
        trace("behind");
    }
}

// The body may spawn still; the brace does not wait for as long as they like.
TEST(group_that_was_asked_to_end_asks_what_was_spawned_since)
{
    for (int how = 0; how < 4; how++) {
        reset();
        stage_open();
        struct coil_task *t = coil_spawn(CALL(spawns_more, .how = how));
        stage_passes(6);
        CHECK(coil_task_done(t));
        CHECK_INT(stage_run(t), 0);
        CHECK_INT(a.started, how > 1);
        CHECK_INT(a.cancels, how > 1);
        CHECK_TRACE(how == 3 ? "a" : "a behind");
        CHECK_INT(coil_task_cancelling(t), 0);
        stage_close();
    }
}

// Meets a request, then has a group of its own that fails, then goes on.
struct outlasts {
    struct coil_coro coro;
    struct coil_group group;
    bool in_group; /* its own group is open when it is asked */
    int err;
};

static void outlasts(struct coil_coro *co)
{
    ASYNC(outlasts, my) {
        TRY_ALL(my->err)
            AWAIT(hand_op(&a));
        trace("%d", my->err);
        TRY_ALL(my->err) GROUP(&my->group) {
            START(child, .name = "b", .fails = -EIO);
            TRY_ALL(my->err)
                AWAIT(coil_sleep(COIL_SECONDS(1000)));
            trace("%d", my->err);
            if (my->in_group)
                AWAIT(hand_op(&c));
        }
        trace("%d", my->err);
        AWAIT(hand_op(&c));
        trace("not reached");
    }
}

struct has_outlasting_child {
    struct coil_coro coro;
    bool in_group;
    int err;
    struct coil_task *child;
};

static void has_outlasting_child(struct coil_coro *co)
{
    ASYNC(has_outlasting_child, my) {
        GROUP(&group) {
            coil_group_cancel(&group);
            TRY_ALL(my->err)
                AWAIT(coil_sleep(0));
            my->child = SPAWN(outlasts, .in_group = my->in_group);
            AWAIT(hand_op(&body));
        }
        trace("behind");
    }
}

// The request that the child met last was that of its own group.
TEST(group_asks_a_child_that_its_own_group_has_asked)
{
    for (int i = 0; i < 4; i++) {
        bool cancelled = i & 1, in_group = i & 2;
        reset();
        stage_open();
        struct coil_task *t = coil_spawn(CALL(has_outlasting_child,
                                              .in_group = in_group));
        stage_passes(3);
        struct has_outlasting_child *frame = coil_task_frame(t);
        if (cancelled)
            coil_task_cancel(frame->child);
        else
            hand_set(&a, 0, 0);
        stage_passes(6);
        CHECK_INT(c.started, 1);
        hand_set(&body, 0, 0);
        stage_passes(6);
        CHECK_INT(c.cancels, 1);
        CHECK(coil_task_done(t));
        stage_trace[0] = '\0';
        stage_close();
    }
}

struct asked_twice {
    struct coil_coro coro;
    struct coil_task *child;
    int err;
};

static void asked_twice(struct coil_coro *co)
{
    ASYNC(asked_twice, my) {
        GROUP(&group) {
            my->child = SPAWN(child, .name = "a", .hand = &a, .cleanup = &c);
            AWAIT(coil_sleep(0));
            AWAIT(coil_sleep(0));
            coil_task_cancel(my->child);
            coil_group_cancel(&group);
            TRY_ALL(my->err)
                AWAIT(coil_sleep(0));
            AWAIT(hand_op(&body));
        }
        trace("behind");
    }
}

// It was asked by somebody else and by its group before it could meet either:
// its FINALLY is not cut short at the brace for that.
TEST(group_asks_no_child_again_that_somebody_else_asks_as_well)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(asked_twice));
    stage_passes(6);
    CHECK_INT(a.cancels, 1);
    CHECK_INT(c.started, 1);
    hand_set(&body, 0, 0);
    stage_passes(3); /* at the brace */
    CHECK_INT(c.cancels, 0);
    hand_set(&c, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("a behind");
    stage_close();
}

/* ---- Requests at the brace, one by one -------------------------------- */

// A group with a task that cleans up; says what the block and then the next
// await end with.
struct meets {
    struct coil_coro coro;
    int fails, err;
};

static void meets(struct coil_coro *co)
{
    ASYNC(meets, my) {
        TRY_ALL(my->err) GROUP(&group) {
            START(child, .name = "a", .hand = &a, .cleanup = &c);
            AWAIT(hand_op(&body));
            if (my->fails)
                FAIL(my->fails);
        }
        trace("%d", my->err);
        TRY_ALL(my->err)
            AWAIT(hand_op(&then));
        trace("%d", my->err);
    }
}

static struct coil_task *begin_meets(int fails)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(meets, .fails = fails));
    stage_passes(3);
    return t;
}

static void end_meets(struct coil_task *t, unsigned cancelling)
{
    stage_passes(4);
    if (then.flying)
        hand_set(&then, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_task_cancelling(t), cancelling);
    stage_close();
}

// The block was cut short by the group, which is no failure; the request makes
// it one, and has struck by that.
TEST(group_that_was_cancelled_meets_a_request_at_its_brace_once)
{
    struct coil_task *t = begin_meets(0);
    coil_group_cancel(&group);
    stage_passes(3);
    CHECK_INT(c.started, 1);
    coil_task_cancel(t);
    end_meets(t, 1);
    CHECK_INT(c.cancels, 1);
    CHECK_TRACE("a -125 0");
}

// Beside an error it asks the tasks again, and strikes the next await.
TEST(group_whose_block_has_failed_hands_a_request_on)
{
    struct coil_task *t = begin_meets(-EDOM);
    hand_set(&body, 0, 0);
    stage_passes(3);
    CHECK_INT(c.started, 1);
    coil_task_cancel(t);
    end_meets(t, 1);
    CHECK_INT(c.cancels, 1);
    CHECK_TRACE("a -33 -125");
    CHECK_INT(then.started, 0);
}

// It was not met when the body failed: the tasks are asked once, for the error,
// and it strikes behind the block.
TEST(group_whose_block_fails_leaves_a_request_that_it_has_not_met)
{
    struct coil_task *t = begin_meets(-EDOM);
    body.on_cancel = HAND_SUCCEEDS;
    coil_task_cancel(t);
    stage_passes(4);
    CHECK_INT(a.cancels, 1);
    CHECK_INT(c.started, 1);
    CHECK_INT(c.cancels, 0);
    hand_set(&c, 0, 0);
    end_meets(t, 1);
    CHECK_TRACE("a -33 -125");
    CHECK_INT(then.started, 0);
}

// Without one it strikes at the brace, which is an await if a task runs still.
TEST(group_meets_a_request_at_its_brace_that_the_block_has_not_met)
{
    for (int alone = 0; alone < 2; alone++) {
        struct coil_task *t = begin_meets(0);
        body.on_cancel = HAND_SUCCEEDS;
        if (alone)
            hand_set(&a, 0, 0);
        stage_passes(1);
        if (alone)
            hand_set(&c, 0, 0);
        stage_passes(1);
        coil_task_cancel(t);
        stage_passes(4);
        CHECK_INT(a.cancels, !alone);
        if (!alone)
            hand_set(&c, 0, 0);
        end_meets(t, 1);
        CHECK_TRACE(alone ? "a 0 -125" : "a -125 0");
        CHECK_INT(c.cancels, 0);
    }
}

/* ---- Circles ---------------------------------------------------------- */

/* Awaits a task; with `in_group` by a child of its group. */
struct awaits {
    struct coil_coro coro;
    struct coil_task **task;
    struct coil_group group;
    bool in_group;
    const char *name;
};

static void awaits(struct coil_coro *co)
{
    ASYNC(awaits, my) {
        if (!my->in_group)
            AWAIT(*my->task);
        GROUP(&my->group) {
            START(awaits, .task = my->task, .name = "child");
        }
        trace("on");

    FINALLY;
        trace("%s", my->name);
    }
}

// A child awaits a task that awaits the owner of the group, or has a group with
// such a child. The request comes back to the owner that waits at its brace.
TEST(group_ends_whose_child_awaits_a_task_that_awaits_its_owner)
{
    for (int groups = 1; groups <= 2; groups++)
        for (int i = 0; i < 2; i++) {
            stage_open();
            struct coil_task *t[2];
            t[0] = SPAWN(awaits, .task = &t[1], .in_group = true,
                         .name = "first");
            t[1] = SPAWN(awaits, .task = &t[0], .in_group = groups == 2,
                         .name = "second");
            stage_passes(4);
            coil_task_cancel(t[i]);
            stage_passes(12);
            CHECK(coil_task_done(t[0]) && coil_task_done(t[1]));
            CHECK_INT(stage_run(t[0]), -ECANCELED);
            CHECK_INT(stage_run(t[1]), -ECANCELED);
            stage_trace[0] = '\0';
            stage_close();
        }
}

/* ---- What shows of it ------------------------------------------------- */

static struct hand hands[6];

struct callee {
    struct coil_coro coro;
    struct coil_group group;
    struct coil_future *generator;
    int item;
    bool more;
};

static void callee(struct coil_coro *co)
{
    ASYNC(callee, my) {
        START(child, .name = "e", .hand = &hands[0]);
        my->generator = CALL(yields, .group = &group); /* has a child a */
        NEXT(my->more, my->item, my->generator);
        GROUP(&my->group) {
            START(child, .name = "f", .hand = &hands[1]);
            SPAWN(child, .name = "done");
        }
    }
}

struct family {
    struct coil_coro coro;
    struct coil_group over, outer, inner;
};

static void family(struct coil_coro *co)
{
    ASYNC(family, my) {
        GROUP(&my->over) {
            SPAWN(child, .name = "done");
            SPAWN(child, .name = "done");
        }
        START(child, .name = "b", .hand = &hands[2]);
        GROUP(&my->outer) {
            START(child, .name = "c", .hand = &hands[3]);
            SPAWN(child, .name = "done");
            GROUP(&my->inner) {
                START(child, .name = "d", .hand = &hands[4]);
                AWAIT(CALL(callee));
            }
        }
    }
}

// Those of the coroutine, of its groups, open and over; of what it has called,
// and of a generator at rest.
TEST(group_tasks_are_listed_once_among_all_tasks)
{
    reset();
    memset(hands, 0, sizeof hands);
    stage_open();
    struct coil_task *t = coil_spawn(CALL(family));
    coil_spawn(CALL(child, .name = "g", .hand = &hands[5]));
    stage_passes(8);
    stage_trace[0] = '\0';
    CHECK_INT(coil_task_next(NULL) == t, 1);
    int seen['h'] = { 0 }, n = 1;
    for (struct coil_task *at = coil_task_next(t); at;
         at = coil_task_next(at)) {
        const struct child *frame = coil_task_frame(at);
        CHECK(frame->name[0] < 'h' && !frame->name[1]);
        seen[(int)frame->name[0]]++;
        n++;
    }
    for (int name = 'a'; name < 'h'; name++)
        CHECK_INT(seen[name], 1);
    CHECK_INT(n, (int)stage_tasks());
    stage_close();
    stage_trace[0] = '\0';
}

struct ends_a_block {
    struct coil_coro coro;
    struct coil_group group;
};

static int line_group;

static void ends_a_block(struct coil_coro *co)
{
    ASYNC(ends_a_block, my) {
        START(child, .name = "own", .hand = &c);
        line_group = __LINE__ + 1;
        GROUP(&my->group) {
            START(child, .name = "a", .hand = &a);
            START(child, .name = "b", .hand = &b);
        }
    }
}

TEST(group_that_waits_at_its_brace_says_so_in_a_dump)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(ends_a_block));
    stage_passes(3);
    char text[4096], line[64];
    int fds[2];
    CHECK_INT(pipe(fds), 0);
    coil_dump(fds[1]);
    close(fds[1]);
    size_t len = 0;
    for (ssize_t n; (n = read(fds[0], text + len, sizeof text - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = '\0';
    close(fds[0]);
    snprintf(line, sizeof line, "test_group.c:%d ends a block  2 children, ",
             line_group);
    if (!strstr(text, line))
        test_fail(__FILE__, __LINE__, "no \"%s\" in\n%s", line, text);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    stage_close();
    stage_trace[0] = '\0';
}

/* ---- Misuse, memory --------------------------------------------------- */

struct misuse_below {
    struct coil_coro coro;
    struct coil_group *group;
};

static void misuse_below(struct coil_coro *co)
{
    ASYNC(misuse_below, my) {
        GROUP(my->group)
            trace("not reached");
    }
}

struct misuse {
    struct coil_coro coro;
    struct coil_group one;
    int what;
};

static void misuse(struct coil_coro *co)
{
    ASYNC(misuse, my) {
        GROUP(&my->one) {
            if (my->what == 0) {
                GROUP(&my->one)
                    trace("not reached");
            }
            if (my->what == 1)
                AWAIT(CALL(misuse_below, .group = &my->one));
        }

    FINALLY;
        GROUP(&my->one)
            trace("not reached");
    }
}

DEATH_TEST(group_entered_twice_aborts, "a group is entered twice")
{
    RUN(misuse, .what = 0);
}

DEATH_TEST(group_entered_by_a_callee_while_it_is_open_aborts,
           "a group is entered twice")
{
    RUN(misuse, .what = 1);
}

DEATH_TEST(group_in_finally_aborts, "GROUP in FINALLY")
{
    RUN(misuse, .what = 2);
}

struct ends_early {
    struct coil_coro coro;
    struct coil_group group;
};

static void ends_early(struct coil_coro *co)
{
    ASYNC_GIVES(ends_early, my, gives_free) {
        GROUP(&my->group) {
            coil_group_cancel(&my->group);
            AWAIT(coil_sleep(COIL_SECONDS(1000)));
            RETURN(malloc(3));
        }
    }
}

struct takes_it {
    struct coil_coro coro;
    void *p;
    double d;
};

static void takes_it(struct coil_coro *co)
{
    ASYNC(takes_it, my) {
        my->p = my;
        my->d = 3;
        AWAIT_TO(my->p, CALL(ends_early));
        AWAIT_TO(my->d, CALL(ends_early));
        CHECK(!my->p);
        CHECK(my->d == 0);
    }
}

// A cancelled group is no failure: the body goes on, and runs off its end. What
// it gives then fits any variable of its caller's.
TEST(group_cancelled_in_a_coroutine_that_gives_a_pointer_gives_null)
{
    CHECK_INT(RUN(takes_it), 0);
}

struct zeroes {
    struct coil_coro coro;
    struct coil_group group;
};

static void zeroes(struct coil_coro *co)
{
    ASYNC(zeroes, my) {
        for (;;) {
            GROUP(&my->group)
                SPAWN(child, .name = "");
            my->group = (struct coil_group){ 0 };
        }
    }
}

// It keeps the handles of its last round, in the coroutine's list.
DEATH_TEST(group_zeroed_after_its_block_aborts, "a group was zeroed")
{
    RUN(zeroes);
}

struct few {
    struct coil_coro coro;
    struct coil_group group;
    int err;
};

static void few(struct coil_coro *co)
{
    ASYNC(few, my) {
        GROUP(&my->group) {
            for (int i = 0; i < 3; i++)
                if (coil_group_start(&my->group, CALL(child, .name = "")) < 0)
                    FAIL(-ENOMEM);
            struct coil_task *t = coil_group_spawn(&my->group,
                                                   CALL(child, .name = ""));
            AWAIT(t);
        }
    }
}

static int group_allocations(void)
{
    int err = RUN(few);
    stage_trace[0] = '\0';
    return err;
}

struct pair {
    struct coil_coro coro;
    struct coil_group group;
};

static int pair_ran;

static void counts(struct coil_coro *co);
struct counts {
    struct coil_coro coro;
};

static void counts(struct coil_coro *co)
{
    ASYNC(counts) {
        AWAIT(coil_sleep(0));
        pair_ran++;
    }
}

static void pair(struct coil_coro *co)
{
    ASYNC(pair, my) {
        GROUP(&my->group) {
            SPAWN(counts);
            coil_spawn(CALL(counts));
        }
        CHECK_INT(pair_ran, 2);
    }
}

static int pair_allocations(void)
{
    pair_ran = 0;
    return RUN(pair);
}

// A task that is missing must not go unnoticed because its handle does.
TEST(group_fails_without_memory_for_a_task)
{
    test_every_allocation(pair_allocations);
}

TEST(group_every_allocation)
{
    test_every_allocation(group_allocations);
}
