// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_circles.c: two tasks that wait for each other must end when one of them
 * is cancelled, and when their owner ends.
 *
 * A task waits for another one in many ways: directly, by a call, through a
 * race. And it waits in many places: itself, or for a child that does so, at
 * the end of its body, at the brace of a group, in a generator that it closes.
 * All pairs are tried. Left out is what may wait for ever by the rules: the
 * FINALLY of a generator that was left early, while its consumer goes on.
 */
#include "stage.h"

#include <coil/generator.h>
#include <coil/group.h>
#include <coil/race.h>
#include <coil/shield.h>
#include <coil/then.h>

/* ---- Ways ------------------------------------------------------------- */

enum way {
    BY_AWAIT,
    BY_CALL,
    BY_ITEM,
    BY_GATHER,
    BY_GATHER_SETTLED,
    BY_RACE,
    BY_WAIT_FOR,
    BY_SHIELD,
    BY_THEN,
    WAYS
};

/* How a task or its child awaits the other task. */
struct link_to {
    enum way way;
    struct coil_task **task;
};

struct yields_after {
    struct coil_coro coro;
    struct coil_task *task;
};

static void yields_after(struct coil_coro *co)
{
    ASYNC(yields_after, my) {
        AWAIT(my->task);
        YIELD(1);
    }
}

struct awaits {
    struct coil_coro coro;
    struct link_to to;
    int item;
};

static void awaits(struct coil_coro *co)
{
    ASYNC(awaits, my) {
        if (my->to.way == BY_AWAIT)
            AWAIT(*my->to.task);
        if (my->to.way == BY_CALL)
            AWAIT(CALL(awaits, .to = { .task = my->to.task }));
        if (my->to.way == BY_ITEM) {
            FOR_AWAIT(my->item, CALL(yields_after, .task = *my->to.task))
                trace("item");
        }
        if (my->to.way == BY_GATHER)
            AWAIT(coil_gather(my->to.task, 1));
        if (my->to.way == BY_GATHER_SETTLED)
            AWAIT(coil_gather_settled(my->to.task, 1));
        if (my->to.way == BY_RACE)
            AWAIT(coil_race(my->to.task, 1));
        if (my->to.way == BY_WAIT_FOR)
            AWAIT(coil_wait_for(*my->to.task, COIL_SECONDS(1000)));
        if (my->to.way == BY_SHIELD)
            AWAIT(coil_shield(*my->to.task));
        if (my->to.way == BY_THEN)
            AWAIT(coil_then(*my->to.task, NULL, NULL));
    }
}

/* ---- Places ----------------------------------------------------------- */

enum place {
    ITSELF,
    IN_A_CHILD,
    AFTER_ITS_BODY,
    IN_A_GRANDCHILD,
    AT_JOIN,
    IN_A_GROUP,
    AT_THE_BRACE,
    IN_FINALLY,
    IN_A_CALL,
    IN_A_GENERATOR,
    IN_A_GENERATOR_LEFT,
    IN_A_GENERATOR_CLOSED,
    IN_A_MAP,
    IN_A_MAP_OVER,
    IN_A_STAGGERED_RACE,
    IN_A_SHIELD,
    IN_A_GATHER,
    PLACES
};

struct has_child {
    struct coil_coro coro;
    struct link_to to;
    bool yields;
};

static void has_child(struct coil_coro *co)
{
    ASYNC(has_child, my) {
        START(awaits, .to = my->to);
        if (my->yields)
            YIELD(1);
    }
}

struct awaits_at_last {
    struct coil_coro coro;
    struct link_to to;
};

static void awaits_at_last(struct coil_coro *co)
{
    ASYNC(awaits_at_last, my) {
        YIELD(1);
    FINALLY;
        AWAIT(CALL(awaits, .to = my->to));
    }
}

struct yields_a_call {
    struct coil_coro coro;
    struct link_to to;
};

static void yields_a_call(struct coil_coro *co)
{
    ASYNC(yields_a_call, my) {
        YIELD(CALL(awaits, .to = my->to));
    }
}

struct waits {
    struct coil_coro coro;
    enum place place;
    struct link_to to;
    struct coil_group group;
    struct coil_future *generator;
    struct coil_task *task;
    int item, calls;
    bool more;
};

static struct coil_future *one_call(void *arg)
{
    struct waits *my = arg;
    return my->calls++ ? NULL : CALL(awaits, .to = my->to);
}

static void waits(struct coil_coro *co)
{
    ASYNC(waits, my) {
        if (my->place == ITSELF)
            AWAIT(CALL(awaits, .to = my->to));
        if (my->place == IN_A_CHILD || my->place == AFTER_ITS_BODY ||
            my->place == AT_JOIN)
            START(awaits, .to = my->to);
        if (my->place == IN_A_GRANDCHILD)
            START(has_child, .to = my->to);
        if (my->place == AT_JOIN)
            JOIN();
        if (my->place == IN_A_GROUP || my->place == AT_THE_BRACE) {
            GROUP(&my->group) {
                START(awaits, .to = my->to);
                if (my->place == IN_A_GROUP)
                    AWAIT(coil_sleep(COIL_SECONDS(1000)));
            }
        }
        if (my->place == IN_A_CALL)
            AWAIT(CALL(has_child, .to = my->to));
        if (my->place == IN_A_GENERATOR) {
            FOR_AWAIT(my->item, CALL(has_child, .to = my->to))
                trace("item");
        }
        if (my->place == IN_A_GENERATOR_LEFT) {
            FOR_AWAIT(my->item, CALL(has_child, .to = my->to, .yields = true))
                break;
        }
        if (my->place == IN_A_GENERATOR_CLOSED) {
            my->generator = CALL(awaits_at_last, .to = my->to);
            NEXT(my->more, my->item, my->generator);
            CLOSE(my->generator);
        }
        if (my->place == IN_A_MAP) {
            FOR_AWAIT(my->task, coil_map(1, one_call, my))
                trace("task");
        }
        if (my->place == IN_A_MAP_OVER) {
            FOR_AWAIT(my->task,
                      coil_map_over(1, CALL(yields_a_call, .to = my->to)))
                trace("task");
        }
        if (my->place == IN_A_STAGGERED_RACE)
            AWAIT(coil_staggered_race(COIL_NEVER, NULL, one_call, my));
        if (my->place == IN_A_SHIELD)
            AWAIT(coil_shield(CALL(awaits, .to = my->to)));
        if (my->place == IN_A_GATHER) {
            my->task = SPAWN(awaits, .to = my->to);
            AWAIT(coil_gather(&my->task, 1));
        }
        if (my->place == IN_A_CHILD || my->place == IN_A_GRANDCHILD)
            AWAIT(coil_sleep(COIL_SECONDS(1000)));

    FINALLY;
        if (my->place == IN_FINALLY)
            START(awaits, .to = my->to);
    }
}

/* ---- Circles ---------------------------------------------------------- */

/*
 * The task that is cancelled must end. The other one need not, since a shield
 * does not hand a request on: so it is cancelled afterwards. The passes are
 * counted, so that tasks that ask each other to end for ever are found, too.
 */
static void try_circle(const enum place place[2], const enum way way[2],
                       int first)
{
    test_note("places %d and %d, ways %d and %d, first %d", (int)place[0],
              (int)place[1], (int)way[0], (int)way[1], first);
    struct coil_task *t[2];
    for (int i = 0; i < 2; i++) {
        t[i] = coil_spawn(
            CALL(waits, .place = place[i], .to = { way[i], &t[1 - i] }));
        coil_task_quiet(t[i]);
    }
    stage_passes(6);
    for (int i = 0; i < 2; i++) {
        int k = i ? 1 - first : first;
        coil_task_cancel(t[k]);
        for (int pass = 0; !coil_task_done(t[k]); pass++) {
            CHECK(pass < 50);
            stage_passes(1);
        }
    }
    for (int pass = 0; stage_tasks() > 0; pass++) {
        CHECK(pass < 50);
        stage_passes(1);
    }
    coil_task_drop(&t[0]);
    coil_task_drop(&t[1]);
    stage_trace[0] = '\0';
}

struct owner {
    struct coil_coro coro;
    const enum place *place;
    const enum way *way;
    struct coil_task *t[2];
    int i;
};

static void owner(struct coil_coro *co)
{
    ASYNC(owner, my) {
        for (my->i = 0; my->i < 2; my->i++) {
            my->t[my->i] = SPAWN(waits, .place = my->place[my->i],
                                 .to = { my->way[my->i], &my->t[1 - my->i] });
            coil_task_quiet(my->t[my->i]);
        }
        AWAIT(coil_sleep(COIL_SECONDS(1000)));
    }
}

/* The owner asks each task once. */
static void try_owner(const enum place place[2], const enum way way[2])
{
    test_note("an owner, places %d and %d, ways %d and %d", (int)place[0],
              (int)place[1], (int)way[0], (int)way[1]);
    struct coil_task *t = coil_spawn(CALL(owner, .place = place, .way = way));
    coil_task_quiet(t);
    stage_passes(6);
    coil_task_cancel(t);
    for (int pass = 0; !coil_task_done(t) || stage_tasks() > 0; pass++) {
        CHECK(pass < 50);
        stage_passes(1);
    }
    coil_task_drop(&t);
    stage_trace[0] = '\0';
}

static void for_each_circle(void (*try)(const enum place place[2],
                                        const enum way way[2]))
{
    test_timeout(60);
    stage_open();
    for (int place = 0; place < PLACES * PLACES; place++)
        for (int way = 0; way < WAYS * WAYS; way++) {
            enum place places[] = { (enum place)(place / PLACES),
                                    (enum place)(place % PLACES) };
            enum way ways[] = { (enum way)(way / WAYS),
                                (enum way)(way % WAYS) };
            try(places, ways);
        }
    stage_close();
}

static void try_both(const enum place place[2], const enum way way[2])
{
    try_circle(place, way, 0);
    try_circle(place, way, 1);
}

// Each request may be the only one: coil_loop_close() makes one.
TEST(circle_ends_when_a_task_of_it_is_cancelled)
{
    for_each_circle(try_both);
}

// The owner asks one task after the other, and each only once.
TEST(circle_ends_when_its_owner_ends)
{
    for_each_circle(try_owner);
}
