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
            CATCH_AWAIT(my->err, hand_op(my->hand));
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
        GROUP(my->group);
        if (my->within)
            WITHIN(my->within);
        for (int i = 0; i < my->n; i++) {
            const struct child *c = &my->children[i];
            struct coil_task *t = SPAWN(child, .name = c->name,
                                        .hand = c->hand, .cleanup = c->cleanup,
                                        .fails = c->fails,
                                        .fails_late = c->fails_late);
            if (my->tasks)
                my->tasks[i] = t;
        }
        if (my->body && my->swallows) {
            CATCH_AWAIT(my->err, hand_op(my->body));
            trace("body:%d", my->err);
        } else if (my->body) {
            AWAIT(hand_op(my->body));
        }
        if (my->fails)
            FAIL(my->fails);
        RETURN(7);

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
        CATCH_AWAIT(my->err, hand_op(my->then));
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
        GROUP(my->group);
        START(child, .name = "a", .fails = -EIO);
        CATCH_AWAIT(my->err, hand_op(&body));
        FAIL(-ENOENT);
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
        GROUP(&my->group);
        START(child, .name = "a", .hand = my->hand);
        RETURN(malloc(3));
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

// It has children already: they are in the group, too.
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
        GROUP(&my->group);
        CHECK_INT(a.cancels, 1);
        START(child, .name = "b", .hand = &b);
        AWAIT(coil_sleep(0));
        trace("not reached");
    }
}

TEST(group_cancelled_before_it_is_entered_by_who_has_children)
{
    reset();
    stage_open();
    struct coil_task *t = coil_spawn(CALL(late_group));
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("a b"); /* b goes straight to its FINALLY */
    CHECK_INT(b.started, 0);
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
        GROUP(my->group);
        START(child, .name = "a", .hand = &a);
        AWAIT(coil_sleep(0));
        if (my->by_body)
            coil_group_cancel(my->group);
        else
            START(canceller, .group = my->group);
        AWAIT(hand_op(&body));
        trace("not reached");
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
        CHECK_TRACE("a");
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
        GROUP(my->group);
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
    struct coil_stats stats;
    coil_loop_stats(stage_loop, &stats);
    return stats.memory;
}

static void many(struct coil_coro *co)
{
    ASYNC(many, my) {
        GROUP(&my->group);
        for (; my->i < 100000; my->i++) {
            CHECK_INT(coil_group_start(&my->group, CALL(child, .name = "")),
                      0);
            AWAIT(coil_sleep(0));
            stage_trace[0] = '\0';
            if (my->i == 100)
                my->memory = memory_now();
        }
        CHECK_INT(memory_now() == my->memory, 1);
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
        GROUP(&my->group);
        START(child, .name = "outer", .hand = my->hand, .fails = my->fails);
        AWAIT(CALL(team, .group = my->team->group,
                   .children = my->team->children, .n = my->team->n,
                   .body = my->team->body));
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

struct scoped {
    struct coil_coro coro;
    struct coil_cancel_scope *scope;
    struct coil_group group;
};

static void scoped(struct coil_coro *co)
{
    ASYNC(scoped, my) {
        CANCEL_SCOPE(my->scope);
        GROUP(&my->group);
        START(child, .name = "a", .hand = &a);
        START(child, .name = "b", .hand = &b, .fails_late = -EIO);
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

/* ---- Waiting in the block --------------------------------------------- */

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

// A request from outside is another matter, also if the block has returned.
TEST(group_cancelled_twice_over_cuts_the_cleanup_of_its_children_short)
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
    CHECK_TRACE("a over boss 0 7 then -125");
    CHECK_INT(stage_run(t), 0);
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
        CATCH_AWAIT(my->err, hand_op(&a));
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
        GROUP(&group);
        my->child = SPAWN(survives);
        AWAIT(coil_sleep(0));
        coil_task_cancel(my->child);
        AWAIT(hand_op(&body));
        FAIL(-ENOENT);
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
        CATCH_AWAIT(my->err, hand_op(&a));
        GROUP(&group);
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
        GROUP(&group);
        START(child, .name = "a", .hand = &a, .fails_late = -EIO);
        AWAIT(hand_op(&body));

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
        GROUP(&group);

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
        GROUP(&group);
        START(child, .name = "a", .fails = -EIO);
        CATCH_AWAIT(my->err, hand_op(&body));
        CHECK_INT(my->err, -ECANCELED);
        CHECK_INT(coil_group_start(&group, CALL(child, .name = "b")),
                  COIL_ECLOSED);
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
        GROUP(my->group);
        START(child, .name = "a", .hand = &a, .fails = -EIO,
              .fails_late = my->fails_late);
        YIELD(1);
        trace("on");
        YIELD(2);
        AWAIT(hand_op(&b));
        YIELD(3);

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
        CATCH_AWAIT(my->err, hand_op(&body));
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
        GROUP(&group);
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
        GROUP(&my->group);
        START(child, .name = "a", .hand = &a, .fails = my->fails);
        JOIN();
        trace("joined");
        RETURN(3);
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
        GROUP(&my->group);
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

/* ---- Misuse, memory --------------------------------------------------- */

struct misuse {
    struct coil_coro coro;
    struct coil_group one, two;
    int what;
};

static void misuse(struct coil_coro *co)
{
    ASYNC(misuse, my) {
        GROUP(&my->one);
        if (my->what == 0)
            GROUP(&my->one);
        if (my->what == 1)
            GROUP(&my->two);
        RETURN(0);

    FINALLY;
        GROUP(&my->two);
    }
}

DEATH_TEST(group_entered_twice_aborts, "a group is entered twice")
{
    RUN(misuse, .what = 0);
}

DEATH_TEST(group_entered_after_its_end_aborts, "a group is entered twice")
{
    reset();
    stage_open();
    for (int i = 0; i < 2; i++)
        stage_run(coil_spawn(CALL(team, .group = &group)));
}

DEATH_TEST(group_beside_another_in_one_coroutine_aborts,
           "two groups in one coroutine")
{
    RUN(misuse, .what = 1);
}

DEATH_TEST(group_in_finally_aborts, "GROUP in FINALLY")
{
    RUN(misuse, .what = 2);
}

struct few {
    struct coil_coro coro;
    struct coil_group group;
    int err;
};

static void few(struct coil_coro *co)
{
    ASYNC(few, my) {
        GROUP(&my->group);
        for (int i = 0; i < 3; i++)
            if (coil_group_start(&my->group, CALL(child, .name = "")) < 0)
                FAIL(-ENOMEM);
        struct coil_task *t = coil_group_spawn(&my->group,
                                               CALL(child, .name = ""));
        AWAIT(t);
    }
}

static int group_allocations(void)
{
    int err = RUN(few);
    stage_trace[0] = '\0';
    return err;
}

TEST(group_every_allocation)
{
    test_every_allocation(group_allocations);
}
