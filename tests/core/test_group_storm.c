// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_group_storm.c: trees of groups, scopes, deadlines and generators, each
 * of them cancelled in whatever pass that is; and a model of what must hold.
 *
 *     every FINALLY runs once, and finds no child that has not ended; nor does
 *     what stands behind the brace of a GROUP
 *     a group ends with the first error, of a child or of its body
 *     a block that is left early has an error, but for a cancelled group
 *     in a scope that was cancelled every await fails
 *     a task that was cancelled, and catches nothing, does not end well; but
 *     what it has returned before an await met the request stands
 *     what scopes and groups have asked for is taken back: the counter of a
 *     task is the number of requests of others
 *     what is returned is taken or freed
 *     nobody hangs: when all bells are rung the tree ends by itself
 *
 * A block is lexical, so a member has some nests of blocks to choose from, and
 * what it does in them is chosen by act(): to await a bell or another member,
 * to spawn, to cancel, to leave the block in one way or another. Any of the
 * members that it calls may be in a nest of its own.
 *
 * There is no clock in it: a deadline is due in the next pass, or never.
 *
 *     TEST_SEED=77 TEST_SEEDS=1 build/tests/test_group_storm
 */
#include "stage.h"

#include <coil/cancel_scope.h>
#include <coil/group.h>
#include <coil/link.h>

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
    int errors[ROOTS];       /* of their bodies */
    struct member *members[MEMBERS_MAX]; /* in their bodies */
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
    CATCHES,
    LEAVES_A_CHILD,
    JOINS,
    ITERATES,
    TAKES,
    CALLS,
    SPAWNS,
    WITHIN_ALONE,
    GROUP_ALONE,
    SCOPE_ALONE,
    GROUP_IN_SCOPE,
    SCOPE_IN_GROUP,
    GROUP_IN_GROUP,
    ALL_BLOCKS,
    ENDS,
    DEEDS
};

/* How a body goes on after an act. */
enum way { ON, LEAVES, CONTINUES, RETURNS, FAILS, WAYS };

/*
 * The children of a coroutine, or of one of its groups. What has ended is noted
 * by a call of the loop's; the coroutine may go on before that call is made, so
 * it has a list of those that wait for theirs, in the order of their ends.
 */
struct kin {
    int alive;      /* those that have not ended */
    int error;      /* of the first that has failed, or of the body before */
    struct member *ended, **last;
    bool open;      /* the block is */
    bool through;   /* its body was not cut short */
    bool cancelled; /* by coil_group_cancel() */
};

struct member {
    struct coil_coro coro;
    struct kin *kin; /* among which it is; or NULL */
    struct member *next_ended;
    int *tell;       /* where it says what its body has ended with; or NULL */
    struct member *up; /* who has called it or spawned it; or NULL */
    bool up_in_scope; /* its place is inside of their scope */
    struct coil_link link;
    int depth, steps, err, inner_err, item, told;
    unsigned place;
    enum deed deed;
    enum way way;
    bool over, listed, in_scope, caught, returned, more;
    struct kin own, of_group, of_inner;
    struct kin *in; /* which of these a child comes into */
    struct coil_group group, inner;
    struct coil_cancel_scope scope;
    struct coil_task *task;
    struct coil_future *source;
    void *p;
};

static struct coil_future *a_member(int depth, struct kin *kin,
                                    struct member *up, int *tell);
static void spawn_into(struct member *m, int depth);

static void enlist(struct member *my)
{
    my->in = &my->own;
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
static void check_out(bool *over, const struct kin *own)
{
    CHECK(!*over);
    *over = true;
    CHECK_INT(own->alive, 0);
    world.over++;
}

/* What has ended with `err` told the error of its body. */
static void check_told(int err, int told)
{
    if (told)
        CHECK_INT(err, told);
}

static int64_t some_time(void)
{
    return one_in(3) ? 0 : COIL_SECONDS(3600);
}

/* ---- Groups ----------------------------------------------------------- */

/* The last thing that it does, so that the order is that of the ends. */
static void leave_kin(struct member *child)
{
    struct kin *kin = child->kin;
    if (!kin)
        return;
    kin->alive--;
    if (!kin->open) {
        child->kin = NULL;
        return;
    }
    *kin->last = child;
    kin->last = &child->next_ended;
}

/* The first one of the list leaves it. */
static void note_end(struct kin *kin, struct member *child)
{
    struct coil_future *f = &child->coro.future;
    CHECK(kin->ended == child);
    kin->ended = child->next_ended;
    if (!kin->ended)
        kin->last = &kin->ended;
    child->kin = NULL;
    if (!kin->error && coil_future_failed(f) && !coil_future_cancelled(f))
        kin->error = coil_future_error(f);
}

static void has_ended(struct coil_future *done, void *arg)
{
    struct member *child = arg;
    (void)done;
    if (child->kin)
        note_end(child->kin, child);
}

/* `f`, a member, has begun as one of `kin`. The link keeps its frame. */
static void born(struct coil_future *f, struct kin *kin)
{
    struct member *child = (struct member *)(void *)f;
    kin->alive++;
    coil_link_add(&child->link, f, has_ended, has_ended, child);
}

static void begin_group(struct kin *kin)
{
    CHECK_INT(kin->alive, 0);
    *kin = (struct kin){ .open = true, .cancelled = kin->cancelled };
    kin->last = &kin->ended;
}

/*
 * Behind the brace, or in FINALLY if the block was left for that: `err` is what
 * the block has failed with. An error on its way out may have lost against one
 * of a child of the group around it: `around`.
 */
static void end_group(struct kin *kin, int err, const struct kin *around)
{
    if (!kin->open)
        return;
    CHECK_INT(kin->alive, 0);
    while (kin->ended)
        note_end(kin, kin->ended);
    if (kin->error && around && around->error)
        CHECK(err == kin->error || !kin->through || err == around->error);
    else if (kin->error && kin->through)
        CHECK_INT(err, kin->error);
    else if (kin->error)
        CHECK(err < 0);
    if (err == 0)
        CHECK(kin->through || kin->cancelled || (around && around->cancelled));
    world.failed += kin->error != 0;
    kin->open = false;
    kin->cancelled = false;
}

static void cancel_group(struct member *m)
{
    bool inner = one_in(2);
    (inner ? &m->of_inner : &m->of_group)->cancelled = true;
    coil_group_cancel(inner ? &m->inner : &m->group);
}

/* ---- Scopes ----------------------------------------------------------- */

static bool is_struck(const struct member *my)
{
    bool in_scope = my->in_scope;
    for (; my; in_scope = my->up_in_scope, my = my->up)
        if (in_scope && (coil_cancel_scope_cancelled(&my->scope) ||
                         coil_cancel_scope_expired(&my->scope)))
            return true;
    return false;
}

/* Who has caught the cancellation of a scope meets it at the next await. */
static void check_caught(struct member *my, int err)
{
    if (my->caught)
        CHECK_INT(err, -ECANCELED);
    my->caught = err == -ECANCELED && is_struck(my);
    world.struck += my->caught;
}

static void begin_scope(struct member *my)
{
    my->scope = (struct coil_cancel_scope){ 0 };
    if (one_in(4))
        coil_cancel_scope_set_deadline(&my->scope, one_in(3) ? 0 : COIL_NEVER);
}

static void end_scope(struct member *my)
{
    my->in_scope = false;
    my->caught = false;
}

/* ---- A generator, and one that returns memory ------------------------- */

struct source {
    struct coil_coro coro;
    int *tell;
    int depth, n;
    bool over;
    struct kin kin;
    struct coil_group group;
    struct coil_cancel_scope scope;
    struct coil_future *inner;
};

static void bear(struct kin *kin, int depth)
{
    struct coil_future *f = a_member(depth, kin, NULL, NULL);
    if (coil_start(f) == 0)
        born(f, kin);
}

static void source(struct coil_coro *co)
{
    ASYNC(source, my) {
        begin_group(&my->kin);
        WITHIN(one_in(3) ? some_time() : COIL_NEVER) GROUP(&my->group)
            CANCEL_SCOPE(&my->scope) {
            for (; my->n > 0; my->n--) {
                if (my->depth > 0 && one_in(2))
                    bear(&my->kin, my->depth - 1);
                if (one_in(3))
                    AWAIT(bell());
                if (one_in(9)) {
                    my->kin.cancelled = true;
                    coil_group_cancel(&my->group);
                }
                if (one_in(9))
                    coil_cancel_scope_cancel(&my->scope);
                YIELD(my->n);
                if (my->depth > 0 && one_in(4)) {
                    world.made++;
                    my->inner = CALL(source, .n = 2, .depth = my->depth - 1);
                    YIELD_FROM(my->inner);
                }
            }
            my->kin.through = true;
        }

    FINALLY;
        if (my->tell)
            *my->tell = coil_body_error(co);
        end_group(&my->kin, coil_body_error(co), NULL);
        if (one_in(3))
            AWAIT(bell());
        check_out(&my->over, &my->kin);
    }
}

static void give_back(void *p)
{
    world.freed++;
    free(p);
}

struct gives {
    struct coil_coro coro;
    int depth;
    bool over;
    struct kin kin;
    struct coil_group group;
};

static void gives(struct coil_coro *co)
{
    ASYNC_GIVES(gives, my, give_back) {
        begin_group(&my->kin);
        GROUP(&my->group) {
            if (one_in(2))
                bear(&my->kin, my->depth - 1);
            AWAIT(coil_sleep(0));
            world.given++;
            if (one_in(4)) {
                my->kin.cancelled = true;
                coil_group_cancel(&my->group);
            }
            my->kin.through = true;
            RETURN(malloc(8));
        }

    FINALLY;
        end_group(&my->kin, coil_body_error(co), NULL);
        check_out(&my->over, &my->kin);
    }
}

/* ---- What they do ----------------------------------------------------- */

/* The innermost group is in the scope that its coroutine is in. */
static bool group_is_in_scope(const struct member *my, const struct kin *kin)
{
    return (my->deed == GROUP_IN_SCOPE && kin == &my->of_group) ||
           (my->deed == ALL_BLOCKS && kin == &my->of_inner);
}

static struct coil_future *a_call(struct member *my, int *tell)
{
    struct coil_future *f = a_member(my->depth - 1, NULL, my, tell);
    ((struct member *)(void *)f)->up_in_scope = my->in_scope;
    return f;
}

static struct coil_future *a_child(struct member *my, int depth,
                                   struct kin *kin)
{
    struct coil_future *f = a_member(depth, kin, my, NULL);
    ((struct member *)(void *)f)->up_in_scope = group_is_in_scope(my, kin);
    return f;
}

static void spawn(struct member *my)
{
    struct coil_future *f = a_child(my, my->depth - 1, my->in);
    my->task = coil_spawn(f);
    born(f, my->in);
}

static void spawn_into(struct member *m, int depth)
{
    bool inner = one_in(2);
    struct coil_group *group = inner ? &m->inner : &m->group;
    struct kin *kin = inner ? &m->of_inner : &m->of_group;
    struct coil_future *f = a_child(m, depth, kin);
    bool handle = one_in(2);
    struct coil_task *t = handle ? coil_group_spawn(group, f) : NULL;
    int err = handle ? coil_task_done(t) ? COIL_ECLOSED : 0
                     : coil_group_start(group, f);
    if (err == 0) {
        CHECK(kin->open);
        born(f, kin);
    } else { /* its FINALLY is to come */
        CHECK_INT(err, COIL_ECLOSED);
        ((struct member *)(void *)f)->kin = NULL;
        ((struct member *)(void *)f)->up = NULL;
        world.refused++;
    }
}

static struct coil_future *a_source(struct member *my, int *tell)
{
    world.made++;
    return CALL(source, .n = 3, .depth = my->depth - 1, .tell = tell);
}

static void detach(struct member *my)
{
    struct member *child = coil_task_frame(my->task);
    if (!child->over) {
        if (child->kin)
            child->kin->alive--;
        child->kin = NULL;
        child->up = NULL;
    }
    coil_detach(my->task);
}

/* What is to be done in a block, and awaited; and how that goes on. */
static struct coil_future *act(struct member *my)
{
    struct member *other = one_in(2) && somebody() ? somebody() : my;
    my->way = one_in(2) ? ON : (enum way)chance(WAYS);
    if (one_in(5) && my->depth > 0) {
        spawn(my);
        if (one_in(4))
            coil_task_cancel(my->task);
        if (one_in(4))
            detach(my);
        else if (one_in(2))
            coil_task_drop(&my->task);
    }
    if (one_in(12))
        cancel_group(other);
    if (one_in(8))
        coil_cancel_scope_cancel(&other->scope);
    if (one_in(12))
        coil_cancel_scope_set_deadline(&other->scope,
                                       one_in(3) ? 0 : COIL_NEVER);
    if (one_in(8) && my->depth > 0)
        spawn_into(other, my->depth - 1);
    if (one_in(3))
        return coil_sleep(0);
    if (one_in(2) || my->depth == 0)
        return bell();
    if (one_in(2))
        return a_call(my, NULL);
    world.made++;
    return CALL(gives, .depth = my->depth);
}

static void through(struct kin *kin)
{
    if (kin)
        kin->through = true;
}

/* The body of a group fails, unless a child was the first. */
static void fails(struct kin *kin, int err)
{
    if (!kin)
        return;
    kin->through = true;
    while (kin->ended)
        note_end(kin, kin->ended);
    if (!kin->error)
        kin->error = err;
}

/*
 * After an act: out of all blocks, or out of the innermost one, if it is so
 * decided. That is the block of `group`, unless NULL. What it awaited has not
 * failed, so no scope that was caught covers it.
 */
#define GO_ON(group) \
    CHECK(!my->caught); \
    if (my->way == FAILS) { \
        fails(group, -EPERM); \
        FAIL(-EPERM); \
    } else if (my->way == RETURNS) { \
        my->returned = true; \
        through(group); \
        RETURN(1 + my->depth); \
    } else if (my->way == LEAVES) { \
        through(group); \
        LEAVE; \
    } else if (my->way == CONTINUES) { \
        through(group); \
        continue; \
    }

/* An await that a scope which was cancelled must strike again and again. */
#define CATCH(err) \
    if (world.catches) { \
        TRY_ALL(err) AWAIT(bell()); \
        check_caught(my, (err)); \
    }

static void member(struct coil_coro *co)
{
    ASYNC(member, my) {
        enlist(my);
        for (; my->steps > 0 && !world.ending; my->steps--) {
            my->deed = (enum deed)chance(DEEDS);
            my->returned = false;
            if (my->deed == ENDS && one_in(3))
                FAIL(-EPERM);
            if (my->deed == ENDS && one_in(2))
                RETURN(1 + my->depth);
            if (my->deed == CATCHES)
                CATCH(my->err)
            if (my->deed == JOINS) {
                JOIN();
                CHECK_INT(my->own.alive, 0);
            }

            if (my->deed == WITHIN_ALONE) {
                WITHIN(some_time()) {
                    AWAIT(act(my));
                    GO_ON(NULL)
                    AWAIT(act(my));
                }
            }
            if (my->deed == GROUP_ALONE) {
                begin_group(&my->of_group);
                TRY(my->err) GROUP(&my->group) {
                    my->in = &my->of_group;
                    AWAIT(act(my));
                    GO_ON(&my->of_group)
                    AWAIT(act(my));
                    GO_ON(&my->of_group)
                    my->of_group.through = true;
                }
                my->in = &my->own;
                end_group(&my->of_group, my->err, NULL);
            }
            if (my->deed == SCOPE_ALONE) {
                begin_scope(my);
                TRY(my->err) CANCEL_SCOPE(&my->scope) {
                    my->in_scope = true;
                    AWAIT(act(my));
                    GO_ON(NULL)
                    CATCH(my->inner_err)
                    CATCH(my->inner_err)
                    AWAIT(act(my));
                    GO_ON(NULL)
                }
                end_scope(my);
            }
            if (my->deed == GROUP_IN_SCOPE) {
                begin_scope(my);
                begin_group(&my->of_group);
                TRY(my->err) CANCEL_SCOPE(&my->scope) WITHIN(some_time())
                    GROUP(&my->group) {
                    my->in_scope = true;
                    my->in = &my->of_group;
                    AWAIT(act(my));
                    GO_ON(&my->of_group)
                    CATCH(my->inner_err)
                    AWAIT(act(my));
                    GO_ON(&my->of_group)
                    my->of_group.through = true;
                }
                end_scope(my);
                my->in = &my->own;
                end_group(&my->of_group, my->err, NULL);
            }
            if (my->deed == SCOPE_IN_GROUP) {
                begin_scope(my);
                begin_group(&my->of_group);
                GROUP(&my->group) {
                    my->in = &my->of_group;
                    AWAIT(act(my));
                    GO_ON(&my->of_group)
                    CANCEL_SCOPE(&my->scope) {
                        my->in_scope = true;
                        AWAIT(act(my));
                        GO_ON(NULL)
                        AWAIT(act(my));
                        GO_ON(NULL)
                    }
                    end_scope(my);
                    AWAIT(act(my));
                    GO_ON(&my->of_group)
                    my->of_group.through = true;
                }
                end_scope(my);
                my->in = &my->own;
                end_group(&my->of_group, 0, NULL);
            }
            if (my->deed == GROUP_IN_GROUP) {
                begin_group(&my->of_group);
                TRY(my->err) GROUP(&my->group) {
                    my->in = &my->of_group;
                    AWAIT(act(my));
                    GO_ON(&my->of_group)
                    begin_group(&my->of_inner);
                    TRY(my->inner_err) GROUP(&my->inner) WITHIN(some_time()) {
                        my->in = &my->of_inner;
                        AWAIT(act(my));
                        GO_ON(&my->of_inner)
                        AWAIT(act(my));
                        GO_ON(&my->of_inner)
                        JOIN();
                        my->of_inner.through = true;
                    }
                    my->in = &my->of_group;
                    end_group(&my->of_inner, my->inner_err, NULL);
                    AWAIT(act(my));
                    GO_ON(&my->of_group)
                    my->of_group.through = true;
                }
                my->in = &my->own;
                end_group(&my->of_inner, my->err, &my->of_group);
                end_group(&my->of_group, my->err, NULL);
            }
            if (my->depth == 0)
                continue;

            my->told = 0;
            if (my->deed == CALLS && world.catches && one_in(2)) {
                TRY_ALL(my->err) AWAIT(a_call(my, &my->told));
                check_told(my->err, my->told);
            } else if (my->deed == CALLS) {
                TRY_AWAIT(my->err, a_call(my, &my->told));
                check_told(my->err, my->told);
            }
            if (my->deed == SPAWNS || my->deed == LEAVES_A_CHILD)
                spawn(my);
            if (my->deed == SPAWNS && one_in(2))
                TRY_AWAIT(my->err, my->task);
            else if (my->deed == SPAWNS && one_in(2))
                coil_task_cancel(my->task);
            if (my->deed == LEAVES_A_CHILD && one_in(2))
                detach(my);
            else if (my->deed == LEAVES_A_CHILD)
                coil_task_drop(&my->task);
            if (my->deed == TAKES) {
                world.made++;
                TRY_AWAIT_TO(my->err, my->p, CALL(gives, .depth = my->depth));
                if (!my->err)
                    give_back(my->p);
            }
            if (my->deed == ITERATES) {
                my->source = a_source(my, &my->told);
                for (my->more = true; my->more;) {
                    TRY_NEXT(my->err, my->more, my->item, my->source);
                    if (my->err)
                        check_told(my->err, my->told);
                    if (my->err || (my->more && one_in(5)))
                        break;
                    if (one_in(3))
                        AWAIT(bell());
                }
                if (my->more && !my->err && one_in(2))
                    CLOSE(my->source);
            }
            if (my->deed == ALL_BLOCKS && world.catches) {
                begin_scope(my);
                begin_group(&my->of_group);
                TRY_ALL(my->err) WITHIN(some_time()) GROUP(&my->group) {
                    my->in = &my->of_group;
                    AWAIT(act(my));
                    GO_ON(&my->of_group)
                    CANCEL_SCOPE(&my->scope) {
                        my->in_scope = true;
                        FOR_AWAIT(my->item, a_source(my, NULL)) {
                            AWAIT(act(my));
                            if (one_in(3))
                                break;
                            if (one_in(9))
                                LEAVE;
                        }
                        begin_group(&my->of_inner);
                        GROUP(&my->inner) {
                            my->in = &my->of_inner;
                            AWAIT(act(my));
                            GO_ON(&my->of_inner)
                            CATCH(my->inner_err)
                            CATCH(my->inner_err)
                            my->of_inner.through = true;
                        }
                        my->in = &my->of_group;
                        end_group(&my->of_inner, 0, NULL);
                        AWAIT(act(my));
                        GO_ON(NULL)
                    }
                    end_scope(my);
                    AWAIT(act(my));
                    GO_ON(&my->of_group)
                    my->of_group.through = true;
                }
                end_scope(my);
                my->in = &my->own;
                end_group(&my->of_inner, my->err, &my->of_group);
                end_group(&my->of_group, my->err, NULL);
            }
        }
        if (one_in(2))
            RETURN(1);

    FINALLY;
        delist(my);
        my->in_scope = false;
        if (my->tell)
            *my->tell = coil_body_error(co);
        if (my->returned) /* through all blocks that were open */
            my->of_inner.cancelled = my->of_group.cancelled = true;
        end_group(&my->of_inner, coil_body_error(co),
                  my->of_group.open ? &my->of_group : NULL);
        end_group(&my->of_group, coil_body_error(co), NULL);
        if (one_in(3))
            AWAIT(bell());
        if (one_in(8)) {
            WITHIN(some_time())
                AWAIT(bell());
        }
        if (one_in(8)) {
            TRY(my->err) {
                AWAIT(bell());
                AWAIT(bell());
            }
        }
        check_out(&my->over, &my->own);
        leave_kin(my);
    }
}

static struct coil_future *a_member(int depth, struct kin *kin,
                                    struct member *up, int *tell)
{
    world.made++;
    return CALL(member, .depth = depth, .steps = 1 + (int)chance(7),
                .kin = kin, .up = up, .tell = tell);
}

/* ---- The storm -------------------------------------------------------- */

static void check_root(int i)
{
    struct coil_task *t = world.roots[i];
    int err = coil_future_error(coil_task_future(t));
    unsigned requests = world.requests[i];
    check_told(err, world.errors[i]);
    CHECK_INT(coil_task_cancelling(t), requests);
    if (requests && !world.catches && err == 0) /* it has not run off its end */
        CHECK(coil_future_int(coil_task_future(t)) > 0);
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
            a_member(1 + (int)chance(4), NULL, NULL, &world.errors[i]));
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
    memset(&world, 0, sizeof world);
    random_state = seed * 0x9e3779b97f4a7c15ull + 1;
    world.catches = one_in(2);
    stage_open_often(stage_options());
    for (int pass = 0; pass < passes; pass++) {
        for (int i = 0; i < ROOTS; i++)
            blow(i);
        if (somebody() && one_in(8))
            spawn_into(somebody(), 1);
        if (somebody() && one_in(8))
            cancel_group(somebody());
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

// Whatever is cancelled, in whatever order: the model holds.
TEST(group_storm_keeps_what_groups_and_scopes_promise)
{
    test_timeout(60);
    uint64_t failed = 0, refused = 0, struck = 0;
    int n = test_seeds(400);
    for (int i = 0; i < n; i++) {
        storm(test_seed(i), 60, false);
        failed += world.failed;
        refused += world.refused;
        struck += world.struck;
    }
    test_note("%llu failed, %llu refused, %llu struck again",
              (unsigned long long)failed, (unsigned long long)refused,
              (unsigned long long)struck);
    CHECK((failed > 0 && refused > 0 && struck > 0) || n < 20);
}

// The loop cancels all of it once.
TEST(group_storm_can_be_closed_in_the_midst_of_it)
{
    test_timeout(60);
    int n = test_seeds(400);
    for (int i = 0; i < n; i++)
        storm(test_seed(i), 30, true);
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
        GROUP(my->group ? my->group : &my->own) {
            if (my->depth == 0) {
                AWAIT(bell());
            } else if (my->calls) {
                START(deep);
                AWAIT(CALL(deep, .depth = my->depth - 1, .calls = true));
            } else {
                START(deep, .depth = my->depth - 1);
            }
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
