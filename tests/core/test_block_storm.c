// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_block_storm.c: random programs of blocks in blocks, cancelled in every
 * pass, against a model.
 *
 * A program (block_program.h) is run twice: by a coroutine in which the words
 * of coil stand in each other, and by a simulation that knows no coil
 * (block_model.h). Each tells what happens and in which pass; the two stories
 * must be the same, event by event, to the last error and the last request. A
 * program that goes wrong is made smaller until every statement matters, and
 * printed with both stories.
 *
 * Wild programs have generators and FOR_AWAIT besides, spawn into groups of
 * others, drop and detach tasks; they are cancelled from everywhere, closed in
 * the midst of it, or have no memory. There is no model of that, but:
 *
 *     a brace       nothing is open behind it: no lock, no scope, no task, none
 *                   that was acquired; TRY's error is 0 or negative
 *     FINALLY       runs once; whatever the body has begun is over
 *     a scope       no await succeeds that was begun while it was struck
 *     a task        counts the requests of others at its end, no more; if it
 *                   was cancelled, caught nothing and returned nothing it fails
 *     a pointer     is taken or freed
 *     at the end    all frames made were over; no timer, no memory
 *
 * The coroutine is one interpreter. A block is lexical, so the nest is written
 * out: four levels, and at each of them the word is chosen when it is entered,
 * as all words are one macro with another first call.
 *
 *     TEST_SEED=77 TEST_SEEDS=1 build/tests/test_block_storm
 */
#include "block_model.h"
#include "block_program.h"
#include "stage.h"

#include <coil/block.h>
#include <coil/cancel_scope.h>
#include <coil/group.h>
#include <coil/lock.h>

#include <stdlib.h>

#include "core/scope.h"
#include "core/task.h"

/* ---- The world -------------------------------------------------------- */

struct runner;

static struct {
    struct story story;
    struct coil_lock locks[ROUTINES];
    struct operation *operations, **operations_end;
    struct runner *frames[FRAMES_MAX]; /* that run their body */
    int frames_n; /* made so far */
    int made, over, given, freed;
    bool closing; /* all operations end at once */
    bool poor;    /* memory has failed */
} world;

/* How often each thing happened, to show that it was a storm. */
static struct {
    uint64_t runs, unsure, ops[OPS];
    uint64_t values, errors, cancelled, late;
    uint64_t again;   /* TRY_ALL in a struck scope */
    uint64_t refused; /* by a group that is closed */
} counted;

static void count_end(int err)
{
    counted.values += err == 0;
    counted.cancelled += err == -ECANCELED;
    counted.late += err == -ETIMEDOUT;
    counted.errors += err && err != -ECANCELED && err != -ETIMEDOUT;
}

/* ---- Operations ------------------------------------------------------- */

struct operation {
    struct coil_custom custom;
    const struct node *node;
    int left;
    struct operation *next, **prev;
};

static void end_operation(struct operation *o, int err)
{
    if (o->prev) {
        *o->prev = o->next;
        if (o->next)
            o->next->prev = o->prev;
        else
            world.operations_end = o->prev;
        o->prev = NULL;
    }
    if (err)
        coil_future_set_error(&o->custom.future, err);
    else
        coil_future_set_int(&o->custom.future, o->node->id);
}

static void start_operation(struct coil_future *f)
{
    struct operation *o = (struct operation *)(void *)f;
    if (o->left == 0 || world.closing) {
        end_operation(o, o->node->err);
        return;
    }
    o->prev = world.operations_end;
    *world.operations_end = o;
    world.operations_end = &o->next;
}

static void cancel_operation(struct coil_future *f)
{
    struct operation *o = (struct operation *)(void *)f;
    if (o->node->how == ENDS)
        end_operation(o, -ECANCELED);
    else if (o->node->how == SUCCEEDS)
        end_operation(o, 0);
}

static struct coil_future *operation(const struct node *node)
{
    static const struct coil_future_class cls = {
        .name = "operation",
        .start = start_operation,
        .cancel = cancel_operation,
    };
    struct operation *o = coil_custom_new(&cls, sizeof *o);
    if (!o)
        return coil_future_from_nomem();
    o->node = node;
    o->left = node->a;
    o->next = NULL;
    o->prev = NULL;
    return &o->custom.future;
}

static void tick(void)
{
    struct operation *next;
    for (struct operation *o = world.operations; o; o = next) {
        next = o->next;
        if (--o->left <= 0 || world.story.pass >= RELEASE_PASS)
            end_operation(o, o->node->err);
    }
}

static void end_all_operations(void)
{
    world.closing = true;
    while (world.operations)
        end_operation(world.operations, 0);
}

/* ---- A pointer that is taken or freed --------------------------------- */

static void give_back(void *p)
{
    world.freed += p != NULL;
    free(p);
}

struct gives {
    struct coil_coro coro;
    struct coil_group group;
    void *p;
};

/* The brace waits after the value was given: it is taken back if that ends. */
static void gives(struct coil_coro *co)
{
    static const struct node slow = { .a = 3, .how = ENDS };
    ASYNC_GIVES(gives, my, give_back) {
        GROUP(&my->group) {
            coil_start(operation(&slow));
            my->p = malloc(1);
            world.given += my->p != NULL;
            RETURN(my->p);
        }
    }
}

/* ---- The interpreter: frames ------------------------------------------ */

/* A block, a loop or a FOR_AWAIT in which the interpreter stands. */
struct mark {
    const struct node *node, *at;
    int left, level; /* of the block; of the next block in it */
};

struct use {
    struct runner *by;
    const struct node *node;
    bool held;
};

/*
 * By level: how many blocks stand around. `alive` counts children that have not
 * been through their FINALLY: [0] the coroutine's own, [n + 1] those of the
 * group at level n.
 */
struct runner {
    struct coil_coro coro;
    int routine, id;
    struct runner *above, *root; /* called or spawned this one; the task's */
    struct coil_task *parent, *child;
    struct mark marks[MARKS_MAX + 1];
    int marks_n, level, child_level, source_level;
    const struct node *now;
    int value, err, item;
    bool continues, breaks, more, struck, in_finally, over;
    struct coil_future *source, *held;
    void *p;
    unsigned requests; /* of a root: made by others */
    int *counts, alive[BLOCKS_DEEP + 1], called;
    struct coil_lock lock; /* a generator's: it may rest and hold it */
    struct coil_group groups[BLOCKS_DEEP];
    struct coil_cancel_scope scopes[BLOCKS_DEEP];
    struct use uses[BLOCKS_DEEP];
    bool locked[BLOCKS_DEEP];
    int errors[BLOCKS_DEEP];
};

/* What a TRY's error is while its block is open, and after it. */
enum { UNTOUCHED = 77, READ };

static void runner(struct coil_coro *co);

/* `counts` is where the frame above counts it; NULL: nowhere. */
static struct coil_future *a_runner(struct runner *above, int routine,
                                    int *counts, struct runner *root)
{
    int id = world.frames_n++;
    struct coil_future *f = CALL(runner, .routine = routine, .id = id,
                                 .above = above, .root = root,
                                 .counts = counts, .child_level = -1);
    if (coil_future_done(f))
        return f; /* no memory */
    struct runner *r = (struct runner *)(void *)f;
    if (!root)
        r->root = r;
    world.made++;
    if (counts)
        ++*counts;
    return f;
}

static void say(enum what what, const struct runner *my, int node, int value)
{
    tell(&world.story, what, my->id, node, value);
}

static bool is_open(struct runner *r, const struct mark *mark)
{
    if (mark->node->op == SCOPES)
        return r->scopes[mark->level].inside;
    const void *group = &r->groups[mark->level];
    const struct coili_scope *scope = group;
    return scope->id;
}

/* The innermost mark of a kind that is open; NULL: there is none. */
static struct mark *innermost(struct runner *r, enum op op)
{
    for (int i = r->marks_n - 1; i > 0; i--)
        if (r->marks[i].node->op == op && is_open(r, &r->marks[i]))
            return &r->marks[i];
    return NULL;
}

/* The level of the innermost group; -1: the coroutine itself. */
static int home(struct runner *my)
{
    struct mark *g = innermost(my, GROUPS);
    return g ? g->level : -1;
}

/* A frame that runs its body; NULL: there is none. */
static struct runner *somebody(void)
{
    struct runner *r = NULL;
    unsigned n = 0;
    for (int i = 0; i < FRAMES_MAX; i++)
        if (world.frames[i] && one_in(++n))
            r = world.frames[i];
    return r;
}

/* ---- The interpreter: what does not wait ------------------------------ */

static void cancel_nearest(struct runner *my, enum op op, int up)
{
    for (struct runner *r = my; r; r = r->above) {
        struct mark *mark = up-- > 0 ? NULL : innermost(r, op);
        if (!mark)
            continue;
        if (op == SCOPES)
            coil_cancel_scope_cancel(&r->scopes[mark->level]);
        else
            coil_group_cancel(&r->groups[mark->level]);
        return;
    }
}

static struct coil_task *task_of_root(struct runner *root)
{
    return task_of(&root->coro);
}

static void cancel_task(struct runner *root)
{
    root->requests += coil_task_cancel(task_of_root(root));
}

static void spawn(struct runner *my)
{
    int id = world.frames_n, level = home(my);
    struct coil_future *f = a_runner(my, my->now->a, &my->alive[level + 1],
                                     NULL);
    if (my->now->op == STARTS) {
        coil_start(f);
        return;
    }
    my->child = coil_spawn(f);
    my->child_level = level;
    say(DONE, my, my->now->id, id);
}

/* Into the group of any frame, by any frame, or (NULL) from outside. */
static void spawn_into(struct runner *r)
{
    struct mark *g = r ? innermost(r, GROUPS) : NULL;
    if (!g || world.frames_n >= FRAMES_MAX)
        return;
    struct coil_future *f = a_runner(r, WILD_ROUTINES - 1,
                                     &r->alive[g->level + 1], NULL);
    if (coil_future_done(f))
        return; /* no memory */
    struct coil_group *group = &r->groups[g->level];
    int err;
    if (one_in(2)) {
        struct coil_task *t = coil_group_spawn(group, f);
        err = coil_task_done(t) ? coil_future_error(coil_task_future(t)) : 0;
    } else {
        err = coil_group_start(group, f);
    }
    if (err != COIL_ECLOSED)
        return;
    r->alive[g->level + 1]--; /* it is to go straight to its FINALLY */
    ((struct runner *)(void *)f)->counts = NULL;
    ((struct runner *)(void *)f)->above = NULL;
    counted.refused++;
}

static void detach(struct runner *my)
{
    struct runner *r = coil_task_frame(my->child);
    if (r && !coil_task_done(my->child)) {
        if (r->counts && !r->over)
            --*r->counts;
        r->counts = NULL;
        r->above = NULL;
    }
    coil_detach(my->child);
    my->child = NULL;
}

static void move_deadline(struct runner *r)
{
    struct mark *s = r ? innermost(r, SCOPES) : NULL;
    if (s)
        coil_cancel_scope_set_deadline(&r->scopes[s->level],
                                       one_in(2) ? coil_now() : COIL_NEVER);
}

/* Of which only the wild programs are made. */
static void do_wildly(struct runner *my)
{
    bool room = world.frames_n < FRAMES_MAX;
    switch (my->now->op) {
    case STARTS:
        if (room)
            spawn(my);
        break;
    case SPAWNS_INTO:
        spawn_into(somebody());
        break;
    case DROPS_CHILD:
        coil_task_drop(&my->child);
        break;
    case DETACHES:
        if (my->child)
            detach(my);
        break;
    case DROPS_CALL:
        if (room)
            coil_discard(a_runner(NULL, my->now->a, NULL, NULL));
        break;
    default:
        move_deadline(one_in(2) ? my : somebody());
        break;
    }
}

static void do_at_once(struct runner *my)
{
    const struct node *node = my->now;
    struct runner *root = my->root;
    switch (node->op) {
    case SPAWNS:
        if (world.frames_n < FRAMES_MAX)
            spawn(my);
        return;
    case CANCELS_GROUP:
        cancel_nearest(my, GROUPS, node->a);
        break;
    case CANCELS_SCOPE:
        cancel_nearest(my, SCOPES, node->a);
        break;
    case CANCELS_CHILD:
        if (my->child)
            coil_task_cancel(my->child);
        break;
    case CANCELS_TASK:
        if (node->a)
            root = root->above ? root->above->root : NULL;
        if (root)
            cancel_task(root);
        break;
    default:
        do_wildly(my);
        return;
    }
    say(DONE, my, node->id, 0);
}

/* ---- The interpreter: the next statement ------------------------------ */

static void push(struct runner *my, const struct node *node)
{
    my->marks[my->marks_n++] = (struct mark){
        node, node->body, node->a, my->level
    };
}

/* It cannot be done: it is left out. */
static bool possible(struct runner *my)
{
    bool room = world.frames_n < FRAMES_MAX;
    switch (my->now->op) {
    case CALLS:
    case DELEGATES:
    case ITERATES:
        return room;
    case NEXTS:
        return room || my->source;
    case CLOSES:
        return my->source;
    case AWAITS_CHILD:
        return my->child;
    default:
        return true;
    }
}

/* In a block that was cancelled and is level-triggered. */
static bool is_struck(struct runner *my)
{
    for (int i = my->marks_n - 1; i > 0 && !my->in_finally; i--) {
        const struct mark *mark = &my->marks[i];
        struct coil_cancel_scope *s = &my->scopes[mark->level];
        if (mark->node->op == SCOPES && s->inside &&
            (s->cancelled || s->expired))
            return true;
    }
    return false;
}

/* Where a list of the C nest ends. */
static bool is_nest(const struct node *node)
{
    return !node || is_block(node) || node->op == ITERATES;
}

/* The list is left: `continue` or `break`, where none of its loops is meant. */
static bool leaves_list(struct runner *my, struct mark *mark)
{
    mark->at = NULL;
    my->continues = my->now->op == CONTINUES && is_nest(mark->node);
    my->breaks = my->now->op == BREAKS;
    return my->continues || my->breaks;
}

/*
 * The next statement that the body must do: it is `now`. False at the end of
 * the list of the innermost block or FOR_AWAIT. Loops are in here.
 */
static bool next(struct runner *my)
{
    CHECK_INT(my->called, 0); /* what it has called is over */
    for (;;) {
        struct mark *mark = &my->marks[my->marks_n - 1];
        while (mark->at && mark->at->dead)
            mark->at = mark->at->next;
        if (!mark->at) {
            if (is_nest(mark->node))
                return false;
            if (--mark->left > 0)
                mark->at = mark->node->body;
            else
                my->marks_n--;
            continue;
        }
        my->now = mark->at;
        mark->at = mark->at->next;
        my->value = my->err = 0;
        my->p = NULL;
        enum op op = my->now->op;
        counted.ops[op] += possible(my);
        if (op == CONTINUES || op == BREAKS) {
            if (leaves_list(my, mark))
                return false;
        } else if (op == LOOPS) {
            push(my, my->now);
        } else if (op >= SPAWNS && op <= MOVES_DEADLINE) {
            do_at_once(my);
        } else if (possible(my)) {
            my->struck = is_struck(my);
            return true;
        }
    }
}

/* ---- The interpreter: awaits ------------------------------------------ */

static struct coil_future *awaited(struct runner *my)
{
    switch (my->now->op) {
    case OPERATES:
        return operation(my->now);
    case CALLS:
        return a_runner(my, my->now->a, &my->called, my->root);
    default:
        return coil_sleep(0);
    }
}

static struct coil_future *a_generator(struct runner *my)
{
    return a_runner(my, my->now->a, &my->alive[home(my) + 1], my->root);
}

static struct coil_future *forget_source(struct runner *my)
{
    struct coil_future *f = my->source;
    my->source = NULL;
    return f;
}

/* For NEXT: if that fails, the generator is gone, or cannot be named again. */
static struct coil_future *source(struct runner *my)
{
    if (!my->source) {
        my->source_level = home(my);
        my->source = a_generator(my);
    }
    return my->held = forget_source(my);
}

static struct coil_future *delegated(struct runner *my)
{
    return my->source ? forget_source(my) : a_generator(my);
}

/* An await is over, and the coroutine goes on. */
static void done(struct runner *my)
{
    enum op op = my->now->op;
    if (op > TAKES)
        return;
    give_back(my->p);
    if (op == NEXTS && my->more)
        my->source = my->held;
    if (op == NEXTS && !my->more && !my->in_finally)
        my->held = NULL;
    if (op <= CALLS && my->struck)
        CHECK(my->err == -ECANCELED && my->now->caught);
    count_end(my->err);
    if (op <= JOINS)
        say(DONE, my, my->now->id,
            my->now->caught && my->err ? my->err : my->value);
}

/* ---- The interpreter: FOR_AWAIT --------------------------------------- */

static struct coil_future *iterated(struct runner *my)
{
    push(my, my->now);
    return a_generator(my);
}

static void begin_item(struct runner *my)
{
    struct mark *mark = &my->marks[my->marks_n - 1];
    CHECK_INT(mark->node->op, ITERATES);
    mark->at = mark->node->body;
}

static void end_iteration(struct runner *my)
{
    CHECK_INT(my->marks[--my->marks_n].node->op, ITERATES);
    my->continues = my->breaks = false;
}

/* ---- The interpreter: blocks ------------------------------------------ */

static void release_use(void *arg)
{
    struct use *use = arg;
    CHECK(use->held);
    use->held = false;
    say(RELEASES, use->by, use->node->id, 0);
}

static void prepare_scope(struct coil_cancel_scope *scope, bool due)
{
    *scope = (struct coil_cancel_scope){ 0 };
    if (due)
        coil_cancel_scope_set_deadline(scope, coil_now());
}

static struct coil_lock *lock_of(struct runner *my)
{
    return program.wild ? &my->lock : &world.locks[my->routine];
}

/* The first call of the word that `now` is. */
static void enter(struct coil_coro *co, int32_t id, struct runner *my)
{
    const struct node *node = my->now;
    int level = my->level;
    push(my, node);
    my->level++;
    switch (node->op) {
    case TRIES:
    case TRIES_ALL:
        my->errors[level] = UNTOUCHED;
        coili_try(co, id, node->op == TRIES_ALL);
        break;
    case WITHINS:
        coili_within(co, id, node->a ? 0 : COIL_NEVER);
        break;
    case WITHS:
        coili_with(co, id, COILI_HOLDING(lock_of(my)));
        break;
    case USES:
        my->uses[level] = (struct use){ .by = my, .node = node };
        coili_with(co, id, coil_hold(co, &my->uses[level], release_use,
                                     operation(node)));
        break;
    case GROUPS:
        if (my->child_level == level)
            my->child = NULL; /* the handle is void */
        coili_group_enter(co, id, &my->groups[level]);
        break;
    default:
        prepare_scope(&my->scopes[level], node->a);
        coili_cancel_scope_enter(co, id, &my->scopes[level]);
        break;
    }
}

static void entered(struct runner *my)
{
    int level = my->level - 1;
    my->now = my->marks[my->marks_n - 1].node;
    enum op op = my->now->op;
    if (op == USES)
        my->uses[level].held = true;
    if (op == WITHS)
        CHECK(coil_lock_locked(lock_of(my)));
    if (op == WITHS || op == USES)
        CHECK(!my->struck); /* its acquire was an await */
    say(ENTERED, my, my->now->id, 0);
}

/* Nothing is left of the blocks from this level on. */
static void check_closed(struct runner *my, int level)
{
    for (; level < BLOCKS_DEEP; level++) {
        CHECK(!my->uses[level].held);
        CHECK(!my->scopes[level].inside);
        CHECK_INT(coil_group_count(&my->groups[level]), 0);
        CHECK(world.poor || my->alive[level + 1] == 0);
        CHECK(my->errors[level] == 0 || my->errors[level] == UNTOUCHED ||
              my->errors[level] == READ);
    }
}

/* The coroutine goes on behind the brace of the block at `level`. */
static bool behind(struct runner *my, int level)
{
    while (my->marks[my->marks_n - 1].level > level ||
           !is_block(my->marks[my->marks_n - 1].node))
        my->marks_n--;
    const struct node *node = my->marks[--my->marks_n].node;
    int err = 0;
    if (node->op == TRIES || node->op == TRIES_ALL) {
        err = my->errors[level];
        my->errors[level] = READ;
        CHECK(err <= 0);
        count_end(err);
        counted.again += node->op == TRIES_ALL && is_struck(my);
    }
    my->level = level;
    my->continues = my->breaks = false;
    if (my->source_level >= level)
        my->source = NULL; /* closed with its group */
    check_closed(my, level);
    say(BEHIND, my, node->id, err);
    return false;
}

static bool is_try(const struct runner *my, int level)
{
    for (int i = my->marks_n - 1; i > 0; i--)
        if (my->marks[i].level == level && is_block(my->marks[i].node))
            return my->marks[i].node->op == TRIES ||
                   my->marks[i].node->op == TRIES_ALL;
    return false;
}

/* Any word: TRY, WITHIN... by `now`. See COILI_COVER and COIL_TRY. */
#define WORD(level) \
    COILI_COVER(COILI_LANDING(1), \
                for (enter(co, COILI_LANDING(1), my); \
                     coili_block_more(co, COILI_LANDING(1)) || \
                     (is_try(my, (level)) && \
                      ((my->errors[(level)] = coili_try_error()), 0)) || \
                     behind(my, (level));))

#define ON(which) if (my->now->op == (which))
#define ON_AWAIT(is_caught) \
    if (my->now->op <= CALLS && my->now->caught == (is_caught))
#define ON_CHILD(is_caught) \
    if (my->now->op == AWAITS_CHILD && my->now->caught == (is_caught))

/* ---- The interpreter -------------------------------------------------- */

static void begin_list(struct runner *my, const struct node *list)
{
    my->marks[0] = (struct mark){ .at = list, .level = -1 };
    my->marks_n = 1;
    my->level = 0;
}

static void begin_body(struct runner *my)
{
    begin_list(my, program.body[my->routine]);
    coil_lock_init(&my->lock);
    my->source_level = -1;
    world.frames[my->id] = my;
}

/* All that the body has begun is over. */
static void begin_finally(struct runner *my)
{
    CHECK(!my->in_finally);
    check_closed(my, 0);
    CHECK_INT(my->alive[0] + my->called, 0);
    CHECK(!my->lock.locked);
    begin_list(my, program.last[my->routine]);
    coil_lock_init(&my->lock);
    my->in_finally = true;
    my->source = NULL;
    world.frames[my->id] = NULL;
    count_end(coil_body_error(&my->coro));
    say(FINALLY_BEGINS, my, 0, coil_body_error(&my->coro));
}

static void over(struct runner *my)
{
    check_closed(my, 0);
    my->over = true;
    world.over++;
    if (my->counts)
        --*my->counts;
    say(OVER, my, 0, coil_body_error(&my->coro));
}

/* clang-format off */
static void runner(struct coil_coro *co)
{
    ASYNC(runner, my) {
        begin_body(my);
        while (next(my)) {
          if (my->now->op == ITERATES) {
            FOR_AWAIT(my->item, iterated(my)) {
              begin_item(my);
              while (next(my)) {
                if (is_block(my->now)) {
                  WORD(0) {
                    entered(my);
                    while (next(my)) {
#define FLAT_LINE 10100
#include "block_storm_flat.h"
                    }
                    if (my->continues)
                      continue;
                  }
                  continue;
                }
#define FLAT_LINE 10200
#include "block_storm_flat.h"
              }
              if (my->continues)
                continue;
              if (my->breaks)
                break;
            }
            end_iteration(my);
            continue;
          }
          if (is_block(my->now)) {
            WORD(0) {
              entered(my);
              while (next(my)) {
                if (my->now->op == ITERATES) {
                  FOR_AWAIT(my->item, iterated(my)) {
                    begin_item(my);
                    while (next(my)) {
                      if (is_block(my->now)) {
                        WORD(1) {
                          entered(my);
                          while (next(my)) {
#define FLAT_LINE 10300
#include "block_storm_flat.h"
                          }
                          if (my->continues)
                            continue;
                        }
                        continue;
                      }
#define FLAT_LINE 10400
#include "block_storm_flat.h"
                    }
                    if (my->continues)
                      continue;
                    if (my->breaks)
                      break;
                  }
                  end_iteration(my);
                  continue;
                }
                if (is_block(my->now)) {
                  WORD(1) {
                    entered(my);
                    while (next(my)) {
                      if (my->now->op == ITERATES) {
                        FOR_AWAIT(my->item, iterated(my)) {
                          begin_item(my);
                          while (next(my)) {
                            if (is_block(my->now)) {
                              WORD(2) {
                                entered(my);
                                while (next(my)) {
#define FLAT_LINE 10500
#include "block_storm_flat.h"
                                }
                                if (my->continues)
                                  continue;
                              }
                              continue;
                            }
#define FLAT_LINE 10600
#include "block_storm_flat.h"
                          }
                          if (my->continues)
                            continue;
                          if (my->breaks)
                            break;
                        }
                        end_iteration(my);
                        continue;
                      }
                      if (is_block(my->now)) {
                        WORD(2) {
                          entered(my);
                          while (next(my)) {
                            if (my->now->op == ITERATES) {
                              FOR_AWAIT(my->item, iterated(my)) {
                                begin_item(my);
                                while (next(my)) {
                                  if (is_block(my->now)) {
                                    WORD(3) {
                                      entered(my);
                                      while (next(my)) {
#define FLAT_LINE 10700
#include "block_storm_flat.h"
                                      }
                                      if (my->continues)
                                        continue;
                                    }
                                    continue;
                                  }
#define FLAT_LINE 10800
#include "block_storm_flat.h"
                                }
                                if (my->continues)
                                  continue;
                                if (my->breaks)
                                  break;
                              }
                              end_iteration(my);
                              continue;
                            }
                            if (is_block(my->now)) {
                              WORD(3) {
                                entered(my);
                                while (next(my)) {
#define FLAT_LINE 10900
#include "block_storm_flat.h"
                                }
                                if (my->continues)
                                  continue;
                              }
                              continue;
                            }
#define FLAT_LINE 11000
#include "block_storm_flat.h"
                          }
                          if (my->continues)
                            continue;
                        }
                        continue;
                      }
#define FLAT_LINE 11100
#include "block_storm_flat.h"
                    }
                    if (my->continues)
                      continue;
                  }
                  continue;
                }
#define FLAT_LINE 11200
#include "block_storm_flat.h"
              }
              if (my->continues)
                continue;
            }
            continue;
          }
#define FLAT_LINE 11300
#include "block_storm_flat.h"
        }

    FINALLY;
        begin_finally(my);
        while (next(my)) {
          if (my->now->op == ITERATES) {
            FOR_AWAIT(my->item, iterated(my)) {
              begin_item(my);
              while (next(my)) {
                if (is_block(my->now)) {
                  WORD(0) {
                    entered(my);
                    while (next(my)) {
#define FLAT_LINE 11400
#include "block_storm_flat.h"
                    }
                    if (my->continues)
                      continue;
                  }
                  continue;
                }
#define FLAT_LINE 11500
#include "block_storm_flat.h"
              }
              if (my->continues)
                continue;
              if (my->breaks)
                break;
            }
            end_iteration(my);
            continue;
          }
          if (is_block(my->now)) {
            WORD(0) {
              entered(my);
              while (next(my)) {
                if (my->now->op == ITERATES) {
                  FOR_AWAIT(my->item, iterated(my)) {
                    begin_item(my);
                    while (next(my)) {
                      if (is_block(my->now)) {
                        WORD(1) {
                          entered(my);
                          while (next(my)) {
#define FLAT_LINE 11600
#include "block_storm_flat.h"
                          }
                          if (my->continues)
                            continue;
                        }
                        continue;
                      }
#define FLAT_LINE 11700
#include "block_storm_flat.h"
                    }
                    if (my->continues)
                      continue;
                    if (my->breaks)
                      break;
                  }
                  end_iteration(my);
                  continue;
                }
                if (is_block(my->now)) {
                  WORD(1) {
                    entered(my);
                    while (next(my)) {
#define FLAT_LINE 11800
#include "block_storm_flat.h"
                    }
                    if (my->continues)
                      continue;
                  }
                  continue;
                }
#define FLAT_LINE 11900
#include "block_storm_flat.h"
              }
              if (my->continues)
                continue;
            }
            continue;
          }
#define FLAT_LINE 12000
#include "block_storm_flat.h"
        }
        over(my);
    }
}
/* clang-format on */

/* ---- A run ------------------------------------------------------------ */

static void begin_world(void)
{
    world.story.n = world.story.pass = 0;
    world.story.hangs = false;
    for (int i = 0; i < ROUTINES; i++)
        coil_lock_init(&world.locks[i]);
    world.operations = NULL;
    world.operations_end = &world.operations;
    world.frames_n = 0;
    memset(world.frames, 0, sizeof world.frames);
    world.made = world.over = world.given = world.freed = 0;
    world.closing = world.poor = false;
}

/* Its end, as the story tells it. */
static void tell_end(struct coil_task *root)
{
    struct coil_future *f = coil_task_future(root);
    int err = coil_future_error(f);
    tell(&world.story, ROOT_ENDED, 0, 0, err);
    tell(&world.story, ROOT_VALUE, 0, 0, err ? 0 : (int)coil_future_int(f));
    tell(&world.story, ROOT_REQUESTS, 0, 0, (int)coil_task_cancelling(root));
}

/* It hangs: all operations end at once, so that the loop can be closed. */
static void give_up(void)
{
    world.story.hangs = true;
    end_all_operations();
    coil_loop_close(stage_loop);
    stage_open();
}

static void run_coil(struct plan plan)
{
    begin_world();
    struct coil_task *root = coil_spawn(a_runner(NULL, 0, NULL, NULL));
    int *pass = &world.story.pass;
    for (; !coil_task_done(root) && *pass < PASSES_MAX; ++*pass) {
        tick();
        if (*pass == plan.first || *pass == plan.second)
            coil_task_cancel(root);
        coil_loop_pass(stage_loop, 0);
    }
    if (!coil_task_done(root)) {
        give_up();
        return;
    }
    tell_end(root);
    for (int i = 0; i < ROUTINES; i++)
        CHECK(!coil_lock_locked(&world.locks[i]));
    CHECK(!world.operations);
    CHECK_INT(stage_timers(), 0);
    CHECK_INT(stage_tasks(), 0);
    coil_task_drop(&root);
}

/* False: the stories differ. */
static bool agree(struct plan plan)
{
    run_model(plan);
    counted.runs++;
    counted.unsure += model.overflow || model.unsure;
    if (model.overflow || model.unsure)
        return true;
    run_coil(plan);
    return same_story(&world.story, &model.story);
}

/* Leave out whatever is not needed for the stories to differ. */
static void make_smaller(struct plan plan)
{
    for (bool again = true; again;) {
        again = false;
        for (int i = 0; i < program.nodes_n; i++) {
            if (program.nodes[i].dead)
                continue;
            program.nodes[i].dead = true;
            if (agree(plan))
                program.nodes[i].dead = false;
            else
                again = true;
        }
    }
}

static void check_plan(struct plan plan)
{
    if (agree(plan))
        return;
    if (!getenv("TEST_WHOLE"))
        make_smaller(plan);
    agree(plan);
    fprintf(stderr, "cancelled before pass %d, %d\n", plan.first, plan.second);
    print_program();
    print_stories(&world.story, &model.story);
    test_fail(__FILE__, __LINE__, "coil and the model tell different stories");
}

/* ---- Seeds ------------------------------------------------------------ */

/* That it was a storm: each statement was done, each kind of end was met. */
static void check_counted(int n)
{
    test_note("%llu runs (%llu unsure): awaits and blocks ended with %llu "
              "values, %llu errors, %llu cancelled, %llu late",
              (unsigned long long)counted.runs,
              (unsigned long long)counted.unsure,
              (unsigned long long)counted.values,
              (unsigned long long)counted.errors,
              (unsigned long long)counted.cancelled,
              (unsigned long long)counted.late);
    if (n < 100)
        return;
    CHECK(counted.values && counted.errors && counted.cancelled &&
          counted.late && counted.again);
    for (int op = 0; op < OPS; op++)
        CHECK(counted.ops[op] || (!program.wild && wild_weight[op]));
}

/* Not cancelled; in each pass; and again one and two passes later. */
static void check_program(uint64_t seed)
{
    make_program(seed, false);
    check_plan((struct plan){ -1, -1 });
    int passes = model.story.pass;
    for (int pass = 0; pass < passes; pass += 1 + passes / 60)
        for (int later = 0; later < 3; later++)
            check_plan((struct plan){ pass, later ? pass + later : -1 });
}

TEST(block_storm_does_what_the_model_does)
{
    test_timeout(60);
    stage_open();
    int n = test_seeds(2500);
    for (int i = 0; i < n; i++)
        check_program(test_seed(i));
    stage_close();
    check_counted(n);
    CHECK(counted.unsure * 10 < counted.runs || n < 100);
}

/* ---- A storm without a model ------------------------------------------ */

/* From outside, before a pass: whatever there is. */
static void blow(struct runner *root)
{
    struct runner *r = somebody();
    if (one_in(25) && !root->over)
        cancel_task(root);
    if (r && one_in(25))
        cancel_task(r->root);
    if (r && one_in(12) && innermost(r, GROUPS))
        coil_group_cancel(&r->groups[innermost(r, GROUPS)->level]);
    if (r && one_in(12) && innermost(r, SCOPES))
        coil_cancel_scope_cancel(&r->scopes[innermost(r, SCOPES)->level]);
    if (one_in(12))
        spawn_into(somebody());
    if (one_in(12))
        move_deadline(somebody());
}

/* What the end of a root must be. */
static void check_root(struct coil_task *t, struct runner *root)
{
    CHECK_INT(coil_task_cancelling(t), root->requests);
    if (root->requests && program.obedient)
        CHECK(coil_future_error(coil_task_future(t)) < 0);
}

enum weather { WILD, CLOSED_IN_IT, WITHOUT_MEMORY };

/* Until all has ended; or closed in the midst of it. */
static void run_wildly(enum weather weather)
{
    begin_world();
    stage_open_often(stage_options());
    struct coil_future *f = a_runner(NULL, 0, NULL, NULL);
    struct runner *root = (struct runner *)(void *)f;
    struct coil_task *t = coil_spawn(f);
    int *pass = &world.story.pass, last = 3 + (int)chance(30);
    for (; !coil_task_done(t) || stage_tasks() > 0; ++*pass) {
        CHECK(*pass < 10 * PASSES_MAX); /* or it hangs */
        tick();
        if (*pass < RELEASE_PASS && !coil_task_done(t))
            blow(root);
        if (weather == WITHOUT_MEMORY && one_in(4)) {
            test_fail_allocation(1 + chance(8));
            world.poor = true;
        }
        coil_loop_pass(stage_loop, 0);
        if (weather == CLOSED_IN_IT && *pass == last)
            break;
    }
    test_fail_allocation(0);
    end_all_operations();
    if (coil_task_done(t))
        check_root(t, root);
    CHECK(weather == CLOSED_IN_IT || stage_timers() == 0);
    stage_close();
    CHECK_INT(world.over, world.made);
    CHECK_INT(world.freed, world.given);
    CHECK(!world.operations);
    counted.runs++;
}

static void storm(enum weather weather, int n, int runs)
{
    test_timeout(60);
    for (int i = 0; i < n; i++) {
        make_program(test_seed(i), true);
        if (getenv("TEST_WHOLE"))
            print_program();
        for (int run = 0; run < runs; run++)
            run_wildly(weather);
    }
    check_counted(n);
    CHECK(counted.refused || n < 100);
}

// Generators, groups of others, what is detached and dropped: no model knows
// all of it, but what must hold at each brace and in each FINALLY is checked.
TEST(block_storm_closes_every_block_once)
{
    storm(WILD, test_seeds(400), 5);
}

// The loop cancels all of it.
TEST(block_storm_can_be_closed_in_the_midst_of_it)
{
    storm(CLOSED_IN_IT, test_seeds(200), 5);
}

TEST(block_storm_without_memory)
{
    storm(WITHOUT_MEMORY, test_seeds(200), 5);
}

/* ---- Without memory, one allocation after the other ------------------- */

struct steps {
    struct coil_coro coro;
    struct coil_lock *lock;
    int n, i;
};

static void steps(struct coil_coro *co)
{
    ASYNC(steps, my) {
        WITH(my->lock) WITHIN(COIL_SECONDS(1000))
            for (; my->i < my->n; my->i++)
                AWAIT(coil_sleep(0));

    FINALLY;
        AWAIT(coil_sleep(0));
    }
}

static void counts_up(struct coil_coro *co);
struct counts_up {
    struct coil_coro coro;
    struct coil_lock lock;
    struct coil_group group;
    int i;
};

static void counts_up(struct coil_coro *co)
{
    ASYNC(counts_up, my) {
        coil_lock_init(&my->lock);
        WITH(&my->lock) GROUP(&my->group) WITHIN(COIL_SECONDS(1000))
            for (; my->i < 3; my->i++)
                YIELD(my->i);

    FINALLY;
        CHECK(!coil_lock_locked(&my->lock));
    }
}

struct everything {
    struct coil_coro coro;
    struct coil_lock lock, others;
    struct coil_group group, inner;
    struct coil_cancel_scope scope;
    struct coil_task *task;
    bool used;
    int err, caught, item, done;
};

static void unuse(void *used)
{
    CHECK(*(bool *)used);
    *(bool *)used = false;
}

/* Every word there is, in each other. */
static void everything(struct coil_coro *co)
{
    ASYNC(everything, my) {
        coil_lock_init(&my->lock);
        coil_lock_init(&my->others);
        TRY(my->err) WITHIN(COIL_SECONDS(1000)) CANCEL_SCOPE(&my->scope) {
            GROUP(&my->group) {
                my->task = SPAWN(steps, .lock = &my->others, .n = 2);
                USING(&my->used, unuse, coil_sleep(0)) {
                    my->used = true;
                    WITH(&my->lock) FOR_AWAIT(my->item, CALL(counts_up)) {
                        TRY_ALL(my->caught) GROUP(&my->inner) {
                            if (START(steps, .lock = &my->others, .n = 1) < 0)
                                FAIL(-ENOMEM);
                            AWAIT(CALL(steps, .lock = &my->others, .n = 2));
                        }
                        if (my->caught)
                            FAIL(my->caught);
                        if (my->item == 1)
                            LEAVE;
                    }
                }
            }
            AWAIT(my->task);
        }
        if (my->err)
            FAIL(my->err);
        RETURN(1);

    FINALLY;
        CHECK(!my->used && !my->scope.inside);
        CHECK(!coil_lock_locked(&my->lock) && !coil_lock_locked(&my->others));
        CHECK_INT(coil_group_count(&my->group), 0);
        TRY(my->err) WITHIN(COIL_SECONDS(1000)) {
            WITH(&my->lock)
                AWAIT(coil_sleep(0));
            my->done++;
        }
        CHECK_INT(my->done, 1); /* whatever failed in it */
        CHECK(!coil_lock_locked(&my->lock));
    }
}

static int everything_scenario(void)
{
    return RUN_WITH(stage_options(), everything);
}

TEST(block_storm_every_allocation_of_all_words_fails)
{
    test_every_allocation(everything_scenario);
}
