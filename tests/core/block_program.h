// SPDX-License-Identifier: MIT
#ifndef BLOCK_PROGRAM_H
#define BLOCK_PROGRAM_H

/*
 * block_program.h: random programs made of blocks.
 *
 * A program is a few routines. A routine has a body and a FINALLY; each is a
 * list of statements, and a block or a loop has a list of its own. A routine
 * calls and spawns only routines behind it in the table, so a program ends.
 *
 * Two interpreters run the same program: test_block_storm.c with the words of
 * coil, block_model.h with none. Each writes down what happens, as events. A
 * wild program has statements which the model does not know.
 *
 * There is no clock in a program. A deadline is due in the next pass or never;
 * an operation ends after a number of passes that the program says.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* ---- Chance ----------------------------------------------------------- */

static uint64_t random_state;

/* xorshift64*: the same program again for the same seed. */
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

static void seed_chance(uint64_t seed)
{
    random_state = seed * 0x9e3779b97f4a7c15ull + 1;
    for (int i = 0; i < 4; i++)
        chance(2);
}

/* ---- Statements ------------------------------------------------------- */

enum op {
    /* Awaits; with `caught` they are a TRY_AWAIT. */
    PASSES,
    OPERATES,
    CALLS,
    AWAITS_CHILD, /* the one that was spawned last */
    JOINS,
    YIELDS,
    DELEGATES, /* YIELD_FROM */
    NEXTS,
    CLOSES,
    TAKES, /* a pointer that another coroutine gives */
    /* Ways out. */
    FAILS,
    RETURNS,
    LEAVES,
    CONTINUES,
    BREAKS,
    /* What does not wait. */
    SPAWNS,
    CANCELS_GROUP, /* a: frames upwards at which the search begins */
    CANCELS_SCOPE,
    CANCELS_TASK,
    CANCELS_CHILD,
    STARTS,
    SPAWNS_INTO, /* into the group of any frame */
    DROPS_CHILD,
    DETACHES,
    DROPS_CALL,
    MOVES_DEADLINE,
    /* With a list of their own. */
    LOOPS,
    ITERATES, /* FOR_AWAIT */
    TRIES,
    TRIES_ALL,
    WITHINS,
    WITHS,
    USES,
    GROUPS,
    SCOPES,
    OPS
};

/* What an operation does when it is asked to end. */
enum how { ENDS, SUCCEEDS, LINGERS };

struct node {
    enum op op;
    int id;
    int a; /* passes, value, error, rounds, routine; a deadline: 1 if due */
    int err;
    enum how how;
    bool caught, dead; /* dead: taken out, to make the program smaller */
    struct node *body, *next;
};

enum {
    ROUTINES = 4,
    WILD_ROUTINES = 6,
    NODES_MAX = 300,
    BLOCKS_DEEP = 4,   /* how many blocks may stand in each other */
    FINALLY_DEEP = 2,  /* in FINALLY */
    MARKS_MAX = 12,    /* blocks and loops in each other */
    FRAMES_MAX = 60,   /* a run makes no more: further calls are left out */
    EVENTS_MAX = 8000,
    RELEASE_PASS = 40, /* from this one on each operation ends at once */
    PASSES_MAX = 400,  /* who runs longer hangs */
    NO_FRAME = -1
};

static struct {
    struct node nodes[NODES_MAX];
    int nodes_n, routines;
    bool wild, obedient; /* obedient: nothing is caught, no value is given */
    struct node *body[WILD_ROUTINES], *last[WILD_ROUTINES];
} program;

/* In a wild program some routines are generators. */
static bool is_generator(int routine)
{
    return program.wild && (routine == 2 || routine == 4);
}

static bool is_block(const struct node *node)
{
    return node->op >= TRIES;
}

/* ---- Making one ------------------------------------------------------- */

/* Where a statement stands: what may be written there. */
struct place {
    int routine, marks, blocks, loops;
    bool in_block, in_finally, locked;
    bool iterates, deep; /* in a FOR_AWAIT, and in a block that is in it */
};

static const unsigned weight[OPS] = {
    [PASSES] = 12, [OPERATES] = 16, [CALLS] = 7, [AWAITS_CHILD] = 2,
    [JOINS] = 1, [FAILS] = 5, [RETURNS] = 3, [LEAVES] = 3, [CONTINUES] = 2,
    [SPAWNS] = 9, [CANCELS_GROUP] = 3, [CANCELS_SCOPE] = 3, [CANCELS_TASK] = 2,
    [CANCELS_CHILD] = 2, [LOOPS] = 4, [TRIES] = 6, [TRIES_ALL] = 6,
    [WITHINS] = 8, [WITHS] = 5, [USES] = 3, [GROUPS] = 9, [SCOPES] = 6,
};

static const unsigned wild_weight[OPS] = {
    [YIELDS] = 14, [DELEGATES] = 5, [NEXTS] = 8, [CLOSES] = 3, [TAKES] = 4,
    [BREAKS] = 5, [STARTS] = 5, [SPAWNS_INTO] = 6, [DROPS_CHILD] = 2,
    [DETACHES] = 3, [DROPS_CALL] = 2, [MOVES_DEADLINE] = 4, [ITERATES] = 10,
};

/* The last routine of a kind stands behind this one. */
static bool has_another(int routine, bool generator)
{
    while (++routine < program.routines)
        if (is_generator(routine) == generator)
            return true;
    return false;
}

static bool may_stand(enum op op, struct place p)
{
    switch (op) {
    case CALLS:
    case SPAWNS:
    case STARTS:
    case DROPS_CALL:
        return has_another(p.routine, false);
    case YIELDS:
        return is_generator(p.routine) && !p.in_finally;
    case DELEGATES:
        return is_generator(p.routine) && has_another(p.routine, true) &&
               !p.in_finally;
    case NEXTS:
        return has_another(p.routine, true) && !p.in_finally;
    case RETURNS:
        return !p.in_finally && !program.obedient;
    case CLOSES:
    case FAILS:
        return !p.in_finally;
    case LEAVES:
        return p.in_block && !p.in_finally;
    case CONTINUES:
        return p.marks > 0;
    case BREAKS:
        return p.iterates && !p.deep;
    case ITERATES:
        if (p.iterates || !has_another(p.routine, true))
            return false;
        break;
    case LOOPS:
        return !p.iterates && p.loops < 2 && p.marks < MARKS_MAX - 4;
    case TRIES_ALL:
        if (program.obedient)
            return false;
        break;
    case GROUPS:
    case SCOPES:
        if (p.in_finally)
            return false;
        break;
    case WITHS:
        if (p.locked)
            return false;
        break;
    default:
        break;
    }
    if (op < LOOPS)
        return true;
    if (p.deep)
        return false;
    return p.blocks < (p.in_finally ? FINALLY_DEEP : BLOCKS_DEEP) &&
           p.marks < MARKS_MAX - 4;
}

static unsigned weight_of(enum op op, struct place p)
{
    unsigned w = program.wild ? weight[op] + wild_weight[op] : weight[op];
    return w && may_stand(op, p) ? w : 0;
}

static enum op some_op(struct place p)
{
    unsigned sum = 0;
    for (int op = 0; op < OPS; op++)
        sum += weight_of((enum op)op, p);
    unsigned at = chance(sum);
    for (int op = 0;; op++) {
        unsigned w = weight_of((enum op)op, p);
        if (at < w)
            return (enum op)op;
        at -= w;
    }
}

static struct node *some_list(struct place p, int most);

static int another(int routine, bool generator)
{
    for (;;) {
        int r = routine + 1 +
                (int)chance((unsigned)(program.routines - 1 - routine));
        if (is_generator(r) == generator)
            return r;
    }
}

static struct node *some_node(struct place p)
{
    static const int errors[] = { -EIO, -EDOM, -ERANGE, -EBUSY };
    struct node *n = &program.nodes[program.nodes_n];
    *n = (struct node){ .op = some_op(p), .id = program.nodes_n++ };
    switch (n->op) {
    case OPERATES:
    case USES:
        n->how = (enum how)chance(3);
        n->a = one_in(3) ? 100 : (int)chance(5);
        n->err = one_in(6) ? errors[chance(4)] : 0;
        break;
    case FAILS:
        n->err = one_in(12) ? -ECANCELED : errors[chance(4)];
        break;
    case RETURNS:
        n->a = 100 + n->id;
        break;
    case CALLS:
    case SPAWNS:
    case STARTS:
    case DROPS_CALL:
        n->a = another(p.routine, false);
        break;
    case DELEGATES:
    case NEXTS:
    case ITERATES:
        n->a = another(p.routine, true);
        break;
    case CANCELS_GROUP:
    case CANCELS_SCOPE:
    case CANCELS_TASK:
        n->a = one_in(3) ? 1 : 0;
        break;
    case LOOPS:
        n->a = 2;
        break;
    case WITHINS:
        n->a = !one_in(4);
        break;
    case SCOPES:
        n->a = one_in(3);
        break;
    default:
        break;
    }
    n->caught = n->op <= AWAITS_CHILD && one_in(5);
    if (n->op >= LOOPS) {
        p.marks++;
        p.loops += n->op == LOOPS;
        p.iterates |= n->op == ITERATES;
        if (is_block(n)) {
            p.deep = p.iterates;
            p.blocks++;
            p.in_block = true;
            p.locked |= n->op == WITHS;
        }
        n->body = some_list(p, 4);
    }
    return n;
}

static struct node *some_list(struct place p, int most)
{
    struct node *first = NULL, **end = &first;
    for (int n = 1 + (int)chance((unsigned)most); n > 0; n--) {
        if (program.nodes_n == NODES_MAX)
            break;
        *end = some_node(p);
        end = &(*end)->next;
    }
    return first;
}

static void make_program(uint64_t seed, bool wild)
{
    seed_chance(seed);
    memset(&program, 0, sizeof program);
    program.wild = wild;
    program.obedient = wild && one_in(4);
    program.routines = wild ? WILD_ROUTINES : ROUTINES;
    for (int r = program.routines - 1; r >= 0; r--) {
        struct place p = { .routine = r };
        program.body[r] = some_list(p, r == 0 ? 7 : 5);
        p.in_finally = true;
        if (one_in(2))
            program.last[r] = some_list(p, 3);
    }
}

/* ---- Reading one ------------------------------------------------------ */

static void print_list(const struct node *n, int indent)
{
    static const char *const name[OPS] = {
        "pass", "operation", "CALL", "AWAIT(child)", "JOIN", "YIELD",
        "YIELD_FROM", "NEXT", "CLOSE", "take", "FAIL", "RETURN", "LEAVE",
        "continue", "break", "SPAWN", "cancel_group", "cancel_scope",
        "cancel_task", "cancel_child", "START", "spawn_into", "drop_child",
        "detach", "drop(CALL)", "move_deadline", "loop", "FOR_AWAIT", "TRY",
        "TRY_ALL", "WITHIN", "WITH", "USING", "GROUP", "CANCEL_SCOPE",
    };
    static const char *const how[] = { "ends", "succeeds", "lingers" };
    for (; n; n = n->next) {
        if (n->dead)
            continue;
        fprintf(stderr, "  %*s%d: %s%s", indent, "", n->id,
                n->caught ? "TRY_AWAIT " : "", name[n->op]);
        if (n->op == OPERATES || n->op == USES)
            fprintf(stderr, "(%d passes, err %d, cancelled: %s)", n->a, n->err,
                    how[n->how]);
        else if (n->op == FAILS)
            fprintf(stderr, "(%d)", n->err);
        else if (n->a)
            fprintf(stderr, "(%d)", n->a);
        fprintf(stderr, n->op >= LOOPS ? " {\n" : "\n");
        if (n->op >= LOOPS) {
            print_list(n->body, indent + 4);
            fprintf(stderr, "  %*s}\n", indent, "");
        }
    }
}

static void print_program(void)
{
    for (int r = 0; r < program.routines; r++) {
        fprintf(stderr, "routine %d%s\n", r,
                is_generator(r) ? ", a generator" : "");
        print_list(program.body[r], 2);
        if (program.last[r]) {
            fprintf(stderr, "  FINALLY\n");
            print_list(program.last[r], 2);
        }
    }
}

/* ---- Events ----------------------------------------------------------- */

enum what {
    DONE,    /* a statement; its value, or the error that it caught */
    ENTERED, /* a block's body begins */
    BEHIND,  /* the coroutine goes on behind a brace; a TRY's error */
    RELEASES,
    FINALLY_BEGINS, /* coil_body_error() */
    OVER,
    ROOT_ENDED, /* error */
    ROOT_VALUE,
    ROOT_REQUESTS
};

struct event {
    enum what what;
    int pass, frame, node, value;
};

struct story {
    struct event events[EVENTS_MAX];
    int n, pass;
    bool hangs;
};

static void tell(struct story *s, enum what what, int frame, int node,
                 int value)
{
    if (s->n < EVENTS_MAX)
        s->events[s->n++] = (struct event){ what, s->pass, frame, node, value };
}

static void print_event(const struct event *e)
{
    static const char *const what[] = {
        "done", "entered", "behind", "releases", "FINALLY", "over",
        "root ended", "root value", "root requests",
    };
    fprintf(stderr, "pass %d  frame %d  node %d  %s  %d", e->pass, e->frame,
            e->node, what[e->what], e->value);
}

static bool same_story(const struct story *a, const struct story *b)
{
    if (a->n != b->n || a->hangs != b->hangs)
        return false;
    for (int i = 0; i < a->n; i++)
        if (memcmp(&a->events[i], &b->events[i], sizeof a->events[i]))
            return false;
    return true;
}

static void print_stories(const struct story *real, const struct story *model)
{
    for (int i = 0; i < real->n || i < model->n; i++) {
        const struct event *r = i < real->n ? &real->events[i] : NULL;
        const struct event *m = i < model->n ? &model->events[i] : NULL;
        bool same = r && m && memcmp(r, m, sizeof *r) == 0;
        fprintf(stderr, same ? "      both  " : "      coil  ");
        if (r)
            print_event(r);
        fprintf(stderr, "\n");
        if (same)
            continue;
        fprintf(stderr, "     model  ");
        if (m)
            print_event(m);
        fprintf(stderr, "\n");
    }
    if (real->hangs || model->hangs)
        fprintf(stderr, "      hangs: coil %d, model %d\n", real->hangs,
                model->hangs);
}

#endif
