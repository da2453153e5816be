// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_group_storm.c: trees of groups, scopes, deadlines and generators, each
 * of them cancelled in whatever pass that is; and a model of what must hold.
 *
 *     every FINALLY runs once, and finds no child that has not ended
 *     a group with an error ends with that error
 *     in a scope that was cancelled every await fails
 *     who was cancelled and catches nothing does not end well
 *     what scopes and groups have asked for is taken back: the counter of a
 *     task is the number of requests of others
 *     what is returned is taken or freed
 *     nobody hangs: when all bells are rung the tree ends by itself
 *
 * There is no clock in it: a deadline is due in the next pass, or never.
 *
 *     GROUP_STORM_SEED=77 build/tests/test_group_storm
 */
#include "stage.h"

#include <coil/cancel_scope.h>
#include <coil/group.h>

#include <stdint.h>
#include <stdlib.h>

/* ---- Chance ----------------------------------------------------------- */

static uint64_t random_state;

static unsigned chance(unsigned n)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (unsigned)((random_state * 0x2545f4914f6cdd1dull) >> 33) % n;
}

static bool one_in(unsigned n)
{
    return chance(n) == 0;
}

/* ---- The world -------------------------------------------------------- */

enum { ROOTS = 6, MEMBERS_MAX = 100 };

struct member;

static struct {
    struct coil_task *roots[ROOTS];
    unsigned requests[ROOTS];
    int errors[ROOTS];       /* of their groups */
    struct member *members[MEMBERS_MAX]; /* in their blocks */
    unsigned members_n;
    int made, over, given, freed;
    bool catches, ending, closing;
    /* That it is a storm: how often what is looked for happened. */
    uint64_t failed, refused, struck;
} world;

/* ---- Bells ------------------------------------------------------------ */

/* An operation that ends when it is rung; if it likes, when it is cancelled. */
struct bell {
    struct coil_custom custom;
    struct bell *next, **prev;
};

static struct bell *bells;

static void hang(struct coil_future *f)
{
    struct bell *b = (struct bell *)(void *)f;
    if (world.closing) {
        coil_future_set_int(f, 1);
        return;
    }
    b->next = bells;
    b->prev = &bells;
    if (bells)
        bells->prev = &b->next;
    bells = b;
}

static void ring(struct bell *b, int err)
{
    *b->prev = b->next;
    if (b->next)
        b->next->prev = b->prev;
    if (err)
        coil_future_set_error(&b->custom.future, err);
    else
        coil_future_set_int(&b->custom.future, 1);
}

static void cancel_bell(struct coil_future *f)
{
    if (one_in(4))
        return; /* it hangs on for a while */
    ring((struct bell *)(void *)f, one_in(3) ? 0 : -ECANCELED);
}

static struct coil_future *bell(void)
{
    static const struct coil_future_class cls = {
        .name = "bell", .start = hang, .cancel = cancel_bell
    };
    struct bell *b = coil_custom_new(&cls, sizeof *b);
    return &b->custom.future;
}

static void ring_some(unsigned one_of)
{
    struct bell *next;
    for (struct bell *b = bells; b; b = next) {
        next = b->next;
        if (one_in(one_of))
            ring(b, !world.ending && one_in(8) ? -EIO : 0);
    }
}

/* ---- Members ---------------------------------------------------------- */

enum deed {
    LISTENS,
    CATCHES,
    LETS_OTHERS_GO,
    CALLS,
    SPAWNS,
    SPAWNS_INTO_ANOTHER,
    LEAVES_A_CHILD,
    JOINS,
    ITERATES,
    TAKES,
    ENTERS,
    CANCELS_A_GROUP,
    CANCELS_A_SCOPE,
    MOVES_A_DEADLINE,
    ENDS,
    DEEDS
};

struct member {
    struct coil_coro coro;
    int *kids;    /* of whose child it is: those that have not ended; or NULL */
    int *tell;    /* where it says what its group has failed with; or NULL */
    int depth, steps, err, item, alive, error;
    unsigned place;
    enum deed deed;
    bool over, listed, in_group, in_scope, within, caught, more;
    struct coil_group group;
    struct coil_cancel_scope scope;
    struct coil_task *task;
    struct coil_future *source;
    void *p;
};

static struct coil_future *a_member(int depth, int *kids, int *tell);
static void spawn_into(struct member *m, int depth);

static void enlist(struct member *my)
{
    if (world.members_n == MEMBERS_MAX)
        return;
    my->listed = true;
    my->place = world.members_n++;
    world.members[my->place] = my;
}

static void delist(struct member *my)
{
    if (!my->listed)
        return;
    struct member *last = world.members[--world.members_n];
    world.members[my->place] = last;
    last->place = my->place;
}

static struct member *somebody(void)
{
    return world.members_n ? world.members[chance(world.members_n)] : NULL;
}

/* It is over: its children must be. */
static void check_out(bool *over, int alive, int **kids)
{
    CHECK(!*over);
    *over = true;
    CHECK_INT(alive, 0);
    world.over++;
    if (*kids)
        --**kids;
    *kids = NULL;
}

/* What has ended with `err` told the error of its group. */
static void check_told(int err, int error)
{
    if (error)
        CHECK_INT(err, error);
    world.failed += error != 0;
}

static int64_t some_time(void)
{
    return one_in(3) ? 0 : COIL_SECONDS(3600);
}

/* ---- A generator, and one that returns memory ------------------------- */

struct source {
    struct coil_coro coro;
    int *tell;
    int depth, n, alive;
    bool over, in_group;
    struct coil_group group;
    struct coil_cancel_scope scope;
    struct coil_future *inner;
};

static void source(struct coil_coro *co)
{
    ASYNC(source, my) {
        if (one_in(3))
            WITHIN(some_time());
        if (one_in(2)) {
            GROUP(&my->group);
            my->in_group = true;
        }
        if (one_in(3))
            CANCEL_SCOPE(&my->scope);
        for (; my->n > 0; my->n--) {
            if (my->depth > 0 && one_in(2) &&
                coil_start(a_member(my->depth - 1, &my->alive, NULL)) == 0)
                my->alive++;
            if (one_in(3))
                AWAIT(bell());
            if (one_in(9))
                coil_group_cancel(&my->group);
            if (one_in(9))
                coil_cancel_scope_cancel(&my->scope);
            YIELD(my->n);
            if (my->depth > 0 && one_in(4)) {
                world.made++;
                my->inner = CALL(source, .n = 2, .depth = my->depth - 1);
                YIELD_FROM(my->inner);
            }
        }

    FINALLY;
        if (my->tell && my->in_group)
            *my->tell = my->group.error;
        if (one_in(3))
            AWAIT(bell());
        int *nobody = NULL;
        check_out(&my->over, my->alive, &nobody);
    }
}

static void give_back(void *p)
{
    world.freed++;
    free(p);
}

struct gives {
    struct coil_coro coro;
    int depth, alive;
    bool over;
    struct coil_group group;
};

static void gives(struct coil_coro *co)
{
    ASYNC_GIVES(gives, my, give_back) {
        GROUP(&my->group);
        if (one_in(2) &&
            coil_start(a_member(my->depth - 1, &my->alive, NULL)) == 0)
            my->alive++;
        AWAIT(coil_sleep(0));
        world.given++;
        if (one_in(4)) {
            coil_group_cancel(&my->group);
            RETURN_TAKEN(malloc(8));
        }
        RETURN(malloc(8));

    FINALLY;
        int *nobody = NULL;
        check_out(&my->over, my->alive, &nobody);
    }
}

/* ---- What they do ----------------------------------------------------- */

static bool is_struck(const struct member *my)
{
    return my->in_scope && (coil_cancel_scope_cancelled(&my->scope) ||
                            coil_cancel_scope_expired(&my->scope));
}

static void detach(struct member *my)
{
    struct member *child = coil_task_frame(my->task);
    if (child->kids)
        --*child->kids;
    child->kids = NULL;
    coil_detach(my->task);
}

static void member(struct coil_coro *co)
{
    ASYNC(member, my) {
        enlist(my);
        for (; my->steps > 0 && !world.ending; my->steps--) {
            my->deed = (enum deed)chance(DEEDS);
            if (my->deed == ENDS && one_in(3))
                FAIL(-EPERM);
            if (my->deed == ENDS && one_in(2))
                RETURN(my->depth);
            if (my->deed == LISTENS)
                AWAIT(bell());
            if (my->deed == LETS_OTHERS_GO)
                AWAIT(coil_sleep(0));
            if (my->deed == CATCHES && world.catches) {
                CATCH_AWAIT(my->err, bell());
                if (my->caught)
                    CHECK_INT(my->err, -ECANCELED);
                if (my->err == -ECANCELED && is_struck(my))
                    my->caught = true;
                world.struck += my->caught;
            }
            if (my->deed == ENTERS && !my->in_group && one_in(2)) {
                my->in_group = true;
                GROUP(&my->group);
            } else if (my->deed == ENTERS && !my->in_scope && one_in(2)) {
                my->in_scope = true;
                CANCEL_SCOPE(&my->scope);
            } else if (my->deed == ENTERS && !my->within) {
                my->within = true;
                WITHIN(some_time());
            }
            if (my->deed == CANCELS_A_GROUP && somebody() && one_in(2))
                coil_group_cancel(&somebody()->group);
            if (my->deed == CANCELS_A_SCOPE && somebody())
                coil_cancel_scope_cancel(&somebody()->scope);
            if (my->deed == MOVES_A_DEADLINE && somebody())
                coil_cancel_scope_set_deadline(&somebody()->scope,
                                               one_in(3) ? 0 : COIL_NEVER);
            if (my->deed == JOINS)
                JOIN();
            if (my->depth == 0)
                continue;

            my->error = 0;
            if (my->deed == CALLS && world.catches && one_in(2)) {
                CATCH_AWAIT(my->err,
                            a_member(my->depth - 1, NULL, &my->error));
                check_told(my->err, my->error);
            } else if (my->deed == CALLS) {
                TRY_AWAIT(my->err, a_member(my->depth - 1, NULL, &my->error));
                check_told(my->err, my->error);
            }
            if (my->deed == SPAWNS || my->deed == LEAVES_A_CHILD) {
                my->task = coil_spawn(
                    a_member(my->depth - 1, &my->alive, NULL));
                my->alive++;
            }
            if (my->deed == SPAWNS && one_in(2))
                TRY_AWAIT(my->err, my->task);
            else if (my->deed == SPAWNS && one_in(2))
                coil_task_cancel(my->task);
            if (my->deed == LEAVES_A_CHILD && one_in(2))
                detach(my);
            else if (my->deed == LEAVES_A_CHILD)
                coil_task_drop(&my->task);
            if (my->deed == SPAWNS_INTO_ANOTHER && somebody())
                spawn_into(somebody(), my->depth - 1);
            if (my->deed == TAKES) {
                world.made++;
                TRY_AWAIT_TO(my->err, my->p, CALL(gives, .depth = my->depth));
                if (!my->err)
                    give_back(my->p);
            }
            if (my->deed == ITERATES) {
                world.made++;
                my->source = CALL(source, .n = 3, .depth = my->depth - 1,
                                  .tell = &my->error);
                for (my->more = true; my->more;) {
                    TRY_NEXT(my->err, my->more, my->item, my->source);
                    if (my->err)
                        check_told(my->err, my->error);
                    if (my->err || (my->more && one_in(5)))
                        break;
                    if (one_in(3))
                        AWAIT(bell());
                }
                if (my->more && !my->err && one_in(2))
                    CLOSE(my->source);
            }
        }
        RETURN(1);

    FINALLY;
        delist(my);
        if (my->tell && my->in_group)
            *my->tell = my->group.error;
        if (one_in(3))
            AWAIT(bell());
        if (one_in(8)) {
            WITHIN(some_time());
            AWAIT(bell());
        }
        check_out(&my->over, my->alive, &my->kids);
    }
}

static struct coil_future *a_member(int depth, int *kids, int *tell)
{
    world.made++;
    return CALL(member, .depth = depth, .steps = 1 + (int)chance(7),
                .kids = kids, .tell = tell);
}

static void spawn_into(struct member *m, int depth)
{
    struct coil_future *f = a_member(depth, &m->alive, NULL);
    bool handle = one_in(2);
    struct coil_task *t = handle ? coil_group_spawn(&m->group, f) : NULL;
    int err = handle ? coil_task_done(t) ? COIL_ECLOSED : 0
                     : coil_group_start(&m->group, f);
    if (err == 0) {
        m->alive++;
    } else { /* its FINALLY is to come */
        CHECK_INT(err, COIL_ECLOSED);
        ((struct member *)(void *)f)->kids = NULL;
        world.refused++;
    }
}

/* ---- The storm -------------------------------------------------------- */

static void check_root(int i)
{
    struct coil_task *t = world.roots[i];
    int err = coil_future_error(coil_task_future(t));
    unsigned requests = world.requests[i];
    check_told(err, world.errors[i]);
    CHECK_INT(coil_task_cancelling(t), requests);
    if (requests && !world.catches)
        CHECK(err < 0);
    coil_task_drop(&world.roots[i]);
}

static void cancel_root(int i)
{
    world.requests[i] += coil_task_cancel(world.roots[i]);
}

static void blow(int i)
{
    if (world.roots[i] && coil_task_done(world.roots[i])) {
        check_root(i);
    } else if (!world.roots[i] && !world.ending) {
        world.requests[i] = 0;
        world.errors[i] = 0;
        world.roots[i] = coil_spawn(
            a_member(1 + (int)chance(4), NULL, &world.errors[i]));
    } else if (world.roots[i] && !world.ending && one_in(30)) {
        cancel_root(i);
    }
}

static bool any_root(void)
{
    for (int i = 0; i < ROOTS; i++)
        if (world.roots[i])
            return true;
    return false;
}

static void storm(uint64_t seed, int passes, bool closed)
{
    test_note("GROUP_STORM_SEED=%llu%s", (unsigned long long)seed,
              closed ? ", closed in the midst of it" : "");
    memset(&world, 0, sizeof world);
    random_state = seed * 0x9e3779b97f4a7c15ull + 1;
    world.catches = one_in(2);
    stage_open();
    for (int pass = 0; pass < passes; pass++) {
        for (int i = 0; i < ROOTS; i++)
            blow(i);
        if (somebody() && one_in(8))
            spawn_into(somebody(), 1);
        if (somebody() && one_in(8))
            coil_group_cancel(&somebody()->group);
        if (somebody() && one_in(8))
            coil_cancel_scope_cancel(&somebody()->scope);
        ring_some(4);
        coil_loop_pass(stage_loop, 0);
    }
    world.ending = true;
    world.closing = closed; /* nobody is left to ring */
    if (closed)
        ring_some(1);
    /* Nobody is cancelled any more: all must end by itself. */
    for (int pass = 0; !closed && (any_root() || stage_tasks() > 0); pass++) {
        CHECK(pass < 1000);
        ring_some(1);
        coil_loop_pass(stage_loop, 0);
        for (int i = 0; i < ROOTS; i++)
            blow(i);
    }
    stage_close();
    CHECK_INT(world.over, world.made);
    CHECK_INT(world.freed, world.given);
    CHECK(!bells);
}

static uint64_t first_seed(void)
{
    const char *seed = getenv("GROUP_STORM_SEED");
    return seed ? strtoull(seed, NULL, 10) : 1;
}

static int seeds(void)
{
    const char *n = getenv("GROUP_STORM_SEEDS");
    return n ? atoi(n) : test_is_slow() ? 20 : 400;
}

// Whatever is cancelled, in whatever order: the model holds.
TEST(group_storm_keeps_what_groups_and_scopes_promise)
{
    test_timeout(60);
    uint64_t seed = first_seed(), failed = 0, refused = 0, struck = 0;
    for (int i = 0; i < seeds(); i++) {
        storm(seed + (uint64_t)i, 60, false);
        failed += world.failed;
        refused += world.refused;
        struck += world.struck;
    }
    test_note("%llu failed, %llu refused, %llu struck again",
              (unsigned long long)failed, (unsigned long long)refused,
              (unsigned long long)struck);
    CHECK(failed > 0 && refused > 0 && struck > 0);
}

// The loop cancels all of it once.
TEST(group_storm_can_be_closed_in_the_midst_of_it)
{
    test_timeout(60);
    uint64_t seed = first_seed();
    for (int i = 0; i < seeds(); i++)
        storm(seed + (uint64_t)i, 30, true);
}

/* ---- Depth ------------------------------------------------------------ */

enum { DEEP = 10000 };

struct deep {
    struct coil_coro coro;
    struct coil_group *group; /* of the outermost */
    struct coil_group own;
    int depth;
    bool calls;
};

static void deep(struct coil_coro *co)
{
    ASYNC(deep, my) {
        GROUP(my->group ? my->group : &my->own);
        if (my->depth == 0) {
            AWAIT(bell());
        } else if (my->calls) {
            START(deep);
            AWAIT(CALL(deep, .depth = my->depth - 1, .calls = true));
        } else {
            START(deep, .depth = my->depth - 1);
        }

    FINALLY;
        world.over++;
    }
}

// A child of a child of a child..., or calls: neither depth of the C stack nor
// time that grows with the square of the depth, whoever ends it.
TEST(group_storm_of_ten_thousand_groups_in_each_other)
{
    test_timeout(60);
    for (int how = 0; how < 5; how++) {
        struct coil_group outermost = { 0 };
        int n = test_is_slow() ? DEEP / 10 : DEEP;
        memset(&world, 0, sizeof world);
        world.ending = true;
        stage_open();
        struct coil_task *t = coil_spawn(CALL(deep, .depth = n,
                                              .group = &outermost,
                                              .calls = how >= 3));
        stage_passes(n + 5);
        if (how == 0 || how == 3)
            coil_task_cancel(t);
        else if (how == 1)
            coil_group_cancel(&outermost);
        else
            ring(bells, -EIO); /* one deep down fails */
        int passes = 0;
        while (!coil_task_done(t) && passes++ < 4 * n) {
            world.closing = true;
            ring_some(1);
            coil_loop_pass(stage_loop, 0);
        }
        world.closing = false;
        int err = stage_run(t);
        CHECK_INT(err, how == 1 ? 0 : how == 0 || how == 3 ? -ECANCELED : -EIO);
        CHECK_INT(world.over, how >= 3 ? 2 * n + 1 : n + 1);
        stage_close();
    }
}
