// SPDX-License-Identifier: MIT
#ifndef BLOCK_MODEL_H
#define BLOCK_MODEL_H

/*
 * block_model.h: what a program of block_program.h does, by the rules.
 *
 * A second interpreter, without coil: passes, tasks, frames and a ready queue
 * are simulated. It differs from the library in the one thing that is hard
 * there: each request to end is an object of its own. A frame knows which ones
 * have reached it (`reached`), and which of those no await has met (`unmet`).
 * So the rules can be said as they are meant:
 *
 *     a block that struck    takes its own request away at its brace, whether
 *                            an await has met it or not
 *     it alone has struck    no other request has reached the frame since the
 *                            block was entered
 *     an await fails         if `unmet` is not empty: all of it is met then
 *     a callee ends          what it has not met, its caller meets
 *
 * The library counts requests, for each block, and has one flag for what is
 * pending. Where the count cannot tell which request it is, it lets one strike
 * too often rather than lose one; the model says `unsure` there, and the two
 * stories are not compared.
 *
 * Requests are numbered for each task: bits of a word.
 */
#include "block_program.h"

#define AGAIN (1ull << 63) /* a struck scope's, in frames that it never asked */

enum m_wait {
    M_RUNS,
    M_PASS,
    M_OPERATION,
    M_LOCK,
    M_CALL,
    M_TASK,
    M_JOIN,
    M_BRACE,
    M_DRAIN, /* children, before FINALLY */
    M_LAST   /* children that FINALLY has spawned */
};

enum m_phase { M_BODY, M_ENDS, M_FINALLY, M_END };
enum m_outcome { M_NONE, M_VALUE, M_FAILED };

struct m_frame;
struct m_task;

struct m_nursery {
    struct m_task *tasks[FRAMES_MAX];
    int n, running;
    bool awaited;
    struct m_frame *owner;
    struct m_mark *group; /* or NULL: the frame's own */
};

/* A block or a loop in which a frame stands. */
struct m_mark {
    const struct node *node, *at;
    int left;
    uint64_t before, mine; /* requests at the word; the one it has made */
    bool struck, over;     /* over: taken back early, in FINALLY */
    bool expired, cancelled;
    int armed; /* number of its handle in the queue; 0: none */
    bool acquires, drains, asked;
    int error; /* of a group's child; a TRY's in FINALLY */
    struct m_nursery *nursery;
};

struct m_frame {
    int id, routine;
    struct m_frame *caller, *callee, *spawner;
    struct m_task *task;
    struct m_mark marks[MARKS_MAX + 1];
    int marks_n;
    const struct node *now;
    enum m_phase phase;
    enum m_wait wait;
    bool begun, own;
    enum m_outcome outcome;
    int value; /* or error */
    uint64_t reached, unmet, killed;
    /* What the await has ended with. */
    bool woken, by_callee;
    int error, got;
    uint64_t met;
    struct m_task *awaited, *child;
    int child_level; /* of the group that keeps the handle; -1: the frame */
    struct m_nursery nursery;
};

struct m_task {
    struct m_frame *root, *waiter;
    struct m_nursery *home;
    uint64_t requests;
    bool done, asked;
};

struct m_operation {
    struct m_frame *frame;
    const struct node *node;
    int left;
};

struct m_entry {
    struct m_frame *frame; /* to be resumed; else a deadline: */
    int armed;
};

enum { QUEUE_MAX = 4000, GROUPS_MAX = 300 };

static struct {
    struct story story;
    struct m_frame frames[FRAMES_MAX];
    struct m_task tasks[FRAMES_MAX];
    struct m_nursery groups[GROUPS_MAX];
    struct m_operation operations[QUEUE_MAX];
    struct m_entry queue[QUEUE_MAX];
    int frames_n, tasks_n, groups_n, operations_n, head, tail, armed_n;
    bool locked[ROUTINES];
    bool overflow, unsure; /* then nothing is said about the program */
    struct m_frame *line[ROUTINES][FRAMES_MAX]; /* who waits for a lock */
    int line_n[ROUTINES];
    struct m_frame *next; /* goes on in this step */
} model;

static void m_tell(enum what what, const struct m_frame *f, int node, int value)
{
    tell(&model.story, what, f->id, node, value);
}

/* ---- The ready queue -------------------------------------------------- */

static void m_queue(struct m_entry entry)
{
    if (model.tail == QUEUE_MAX)
        model.overflow = true;
    else
        model.queue[model.tail++] = entry;
}

/* Its await has ended: at once, or it waits for its turn. */
static void m_ended(struct m_frame *f, int error, int got)
{
    f->woken = true;
    f->error = error;
    f->got = got;
    f->by_callee = false;
}

static void m_wake(struct m_frame *f, int error, int got)
{
    m_ended(f, error, got);
    m_queue((struct m_entry){ .frame = f });
}

static void m_arm(struct m_mark *mark)
{
    mark->armed = ++model.armed_n;
    m_queue((struct m_entry){ .armed = mark->armed });
}

static struct m_mark *m_innermost(struct m_frame *f, enum op op)
{
    for (int i = f->marks_n - 1; i > 0; i--)
        if (f->marks[i].node->op == op)
            return &f->marks[i];
    return NULL;
}

/* Where what it spawns belongs. */
static struct m_nursery *m_home(struct m_frame *f)
{
    struct m_mark *g = m_innermost(f, GROUPS);
    return g ? g->nursery : &f->nursery;
}

/* ---- Requests --------------------------------------------------------- */

static void m_cancel(struct m_task *task);

static uint64_t m_new_request(struct m_task *task)
{
    uint64_t bit = 1;
    while (task->requests & bit)
        bit <<= 1;
    if (bit == AGAIN)
        model.overflow = true;
    task->requests |= bit;
    return bit;
}

static void m_leave_line(struct m_frame *f)
{
    int lock = f->routine, n = 0;
    for (int i = 0; i < model.line_n[lock]; i++)
        if (model.line[lock][i] != f)
            model.line[lock][n++] = model.line[lock][i];
    model.line_n[lock] = n;
}

static void m_operation_over(int i, int error, int got)
{
    struct m_operation *o = &model.operations[i];
    struct m_frame *f = o->frame;
    o->frame = NULL;
    m_wake(f, error, got);
}

static void m_cancel_operation(struct m_frame *f)
{
    for (int i = 0; i < model.operations_n; i++) {
        const struct node *node = model.operations[i].node;
        if (model.operations[i].frame != f)
            continue;
        if (node->how == ENDS)
            m_operation_over(i, -ECANCELED, 0);
        else if (node->how == SUCCEEDS)
            m_operation_over(i, 0, node->id);
    }
}

static struct m_frame *m_leaf(struct m_frame *f)
{
    while (f->wait == M_CALL)
        f = f->callee;
    return f;
}

/* The body of the innermost frame is over, and its FINALLY does not run. */
static bool m_ends_anyhow(const struct m_task *task)
{
    struct m_frame *f = m_leaf(task->root);
    return f->wait == M_DRAIN || f->wait == M_LAST ||
           (!f->begun && f->outcome);
}

/* What the innermost frame waits for is asked to end. */
static void m_end_wait(struct m_frame *f)
{
    if (f->woken) {
        if (f->wait == M_PASS)
            f->error = -ECANCELED;
        return;
    }
    switch (f->wait) {
    case M_OPERATION:
        m_cancel_operation(f);
        break;
    case M_LOCK:
        m_leave_line(f);
        m_wake(f, -ECANCELED, 0);
        break;
    case M_TASK:
        if (m_ends_anyhow(f->awaited)) {
            f->awaited->waiter = NULL;
            m_wake(f, -ECANCELED, 0);
        } else {
            m_cancel(f->awaited);
        }
        break;
    case M_JOIN:
    case M_BRACE:
        m_home(f)->awaited = false;
        m_wake(f, -ECANCELED, 0);
        break;
    case M_DRAIN:
    case M_LAST:
        f->nursery.awaited = false;
        m_wake(f, -ECANCELED, 0);
        break;
    default:
        break;
    }
}

static void m_ask(struct m_frame *f, uint64_t request)
{
    for (;; f = f->callee) {
        f->reached |= request;
        if (f->wait != M_CALL)
            break;
    }
    if (!f->begun && !f->outcome) { /* to FINALLY straight away */
        f->outcome = M_FAILED;
        f->value = -ECANCELED;
        f->own = true;
        f->killed = request;
        return;
    }
    f->unmet |= request;
    m_end_wait(f);
}

static void m_cancel(struct m_task *task)
{
    if (!task->done)
        m_ask(task->root, m_new_request(task));
}

static void m_cancel_all(struct m_nursery *n)
{
    for (int i = 0; i < n->n; i++)
        m_cancel(n->tasks[i]);
}

static void m_strike(struct m_frame *f, struct m_mark *mark)
{
    mark->struck = true;
    mark->mine = m_new_request(f->task);
    m_ask(f, mark->mine);
}

static uint64_t m_others(const struct m_frame *f, const struct m_mark *mark)
{
    return f->reached & ~mark->before & ~mark->mine;
}

/* ---- Groups and scopes ------------------------------------------------ */

static void m_ask_group(struct m_mark *g)
{
    for (int i = 0; i < g->nursery->n; i++) {
        if (g->nursery->tasks[i]->asked)
            continue;
        g->nursery->tasks[i]->asked = true;
        m_cancel(g->nursery->tasks[i]);
    }
}

static void m_end_group(struct m_mark *g)
{
    if (g->asked)
        return;
    g->asked = true;
    m_ask_group(g);
    if (!g->drains)
        m_strike(g->nursery->owner, g);
}

static bool m_body_failed(const struct m_frame *f)
{
    return f->outcome == M_FAILED && f->value != -ECANCELED;
}

static void m_child_failed(struct m_mark *g, int error)
{
    if (error == -ECANCELED || g->error ||
        (g->drains && m_body_failed(g->nursery->owner)))
        return;
    g->error = error;
    m_end_group(g);
}

/* The frame that has called this one, or spawned it. */
static struct m_frame *m_above(struct m_frame *f)
{
    return f->caller ? f->caller : f->spawner;
}

static struct m_mark *m_nearest(struct m_frame *f, enum op op, int up)
{
    for (; f; f = m_above(f)) {
        struct m_mark *mark = up-- > 0 ? NULL : m_innermost(f, op);
        if (mark)
            return mark;
    }
    return NULL;
}

static struct m_frame *m_owner(const struct m_mark *mark)
{
    for (int i = 0; i < model.frames_n; i++) {
        struct m_frame *f = &model.frames[i];
        if (mark >= f->marks && mark < f->marks + MARKS_MAX)
            return f;
    }
    return NULL;
}

static void m_cancel_scope(struct m_mark *s)
{
    if (s->cancelled || s->expired)
        return;
    s->cancelled = true;
    s->armed = 0;
    m_strike(m_owner(s), s);
}

/* The requests of the struck scopes in which this frame stands. */
static uint64_t m_struck_scopes(struct m_frame *f)
{
    const struct m_frame *inside = f;
    uint64_t requests = 0;
    int i = f->marks_n - 1;
    while (f && f->phase != M_FINALLY) {
        for (; i > 0; i--) {
            struct m_mark *m = &f->marks[i];
            if (m->node->op != SCOPES || !m->struck || m->over)
                continue;
            bool asked = f->task == inside->task && m->mine & inside->reached;
            requests |= asked ? m->mine : AGAIN;
        }
        if (f->caller) {
            f = f->caller;
            i = f->marks_n - 1;
            continue;
        }
        struct m_nursery *home = f->task->home;
        f = home ? home->owner : NULL;
        if (f)
            i = home->group ? (int)(home->group - f->marks) - 1 : 0;
    }
    return requests;
}

/* A cancellation was caught. FINALLY shields what it calls, not its caller. */
static void m_scopes_strike_again(struct m_frame *f)
{
    while (f) {
        f->unmet |= m_struck_scopes(f);
        while (f && f->phase != M_FINALLY)
            f = f->caller;
        if (f)
            f = f->caller;
    }
}

/* A block's own request strikes no more; in a struck scope others do. */
static void m_strike_no_more(struct m_frame *f, const struct m_mark *mark)
{
    bool pending = f->unmet;
    model.unsure |= f->unmet & mark->mine && m_others(f, mark) &&
                    !(f->unmet & m_others(f, mark));
    f->unmet &= ~mark->mine;
    if (!(f->unmet & ~AGAIN))
        f->unmet = pending && f->reached && m_struck_scopes(f) ? AGAIN : 0;
}

/* ---- Outcomes --------------------------------------------------------- */

struct m_end {
    int error;
    bool own;
    uint64_t met;
};

static void m_fails(struct m_frame *f, struct m_end end)
{
    f->outcome = M_FAILED;
    f->value = end.error;
    f->own = end.own;
    f->killed = end.own ? end.met : 0;
}

/*
 * A deadline in FINALLY is a budget: the await that it strikes is late. Not if
 * others have asked since: then it is cancelled by them.
 */
static void m_spend_budgets(struct m_frame *f, struct m_end *end)
{
    const struct m_mark *oldest = NULL;
    uint64_t mine = 0;
    bool deeper = false;
    for (int i = f->marks_n - 1; i > 0; i--) {
        struct m_mark *mark = &f->marks[i];
        if (!mark->struck || mark->over) {
            deeper |= mark->node->op == WITHINS && !mark->over;
            continue;
        }
        oldest = mark;
        mark->over = true;
        mine |= mark->mine;
    }
    f->reached &= ~mine;
    if (!oldest)
        return;
    uint64_t others = f->reached & ~oldest->before;
    end->met |= others;
    model.unsure |= others && deeper; /* those are counted for the inner ones */
    if (!others)
        *end = (struct m_end){ .error = -ETIMEDOUT };
}

/*
 * The library counts what an await has met, for each block. It cannot where a
 * caller keeps a pending request, handed to it by a FINALLY: then it errs so
 * that no request of another is lost.
 */
static void m_requests_met(const struct m_frame *f)
{
    while ((f = f->caller))
        model.unsure |= f->unmet != 0;
}

/* The await has failed. Whose -ECANCELED is it? */
static struct m_end m_take(struct m_frame *f)
{
    struct m_end end = { .error = f->error };
    if (end.error != -ECANCELED)
        return end;
    if (f->unmet) {
        end.own = true;
        end.met = f->unmet;
        f->unmet = 0;
        m_requests_met(f);
    } else if (f->by_callee) {
        end.own = true;
        end.met = f->met;
    }
    if (end.own && f->phase == M_FINALLY)
        m_spend_budgets(f, &end);
    return end;
}

static void m_hand_up(struct m_frame *caller, uint64_t requests)
{
    caller->unmet |= requests & (caller->reached | AGAIN);
}

/*
 * Requests are to strike again. The library knows how many, not which: if one
 * of them is that of an open block, which has met others too, it cannot tell.
 */
static void m_strike_once_more(const struct m_frame *f, uint64_t requests)
{
    for (; f; f = f->caller)
        for (int i = f->marks_n - 1; i > 0; i--)
            model.unsure |= f->marks[i].mine & requests &&
                            m_others(f, &f->marks[i]);
}

static void m_failed_in_finally(struct m_frame *f, struct m_end end)
{
    for (int i = f->marks_n - 1; i > 0; i--) {
        struct m_mark *mark = &f->marks[i];
        enum op op = mark->node->op;
        if (op == TRIES_ALL || (op == TRIES && !end.own)) {
            if (!mark->error)
                mark->error = end.error;
            if (end.own)
                m_scopes_strike_again(f);
            return;
        }
    }
    if (f->outcome != M_FAILED) {
        m_fails(f, end);
    } else if (end.own && f->own) {
        f->killed |= end.met;
    } else if (end.own && f->caller) {
        m_strike_once_more(f->caller, end.met);
        m_hand_up(f->caller, end.met);
    }
}

static void m_failed(struct m_frame *f, struct m_end end)
{
    if (f->phase == M_FINALLY)
        m_failed_in_finally(f, end);
    else
        m_fails(f, end);
}

/* What the body never met: for the caller's next await; a task's own end. */
static void m_pass_on(struct m_frame *f)
{
    uint64_t unmet = f->unmet;
    f->unmet = 0;
    if (!unmet)
        return;
    if (f->caller)
        m_hand_up(f->caller, unmet);
    else if (f->outcome != M_FAILED)
        m_fails(f, (struct m_end){ -ECANCELED, true, unmet });
}

/* ---- Blocks: in ------------------------------------------------------- */

static void m_push(struct m_frame *f, const struct node *node)
{
    /* The library takes what strikes again for one of those it has counted. */
    model.unsure |= is_block(node) && f->unmet & AGAIN;
    f->marks[f->marks_n++] = (struct m_mark){
        .node = node, .at = node->body, .left = node->a,
        .before = f->reached & ~f->unmet,
    };
}

static void m_begin_operation(struct m_frame *f, const struct node *node)
{
    if (f->unmet) { /* it is not begun */
        m_ended(f, -ECANCELED, 0);
    } else if (node->a == 0) {
        m_ended(f, node->err, node->id);
    } else if (model.operations_n == QUEUE_MAX) {
        model.overflow = true;
    } else {
        f->woken = false;
        f->wait = M_OPERATION;
        model.operations[model.operations_n++] = (struct m_operation){
            f, node, node->a
        };
    }
}

static void m_acquire_lock(struct m_frame *f)
{
    int lock = f->routine;
    m_ended(f, f->unmet ? -ECANCELED : 0, 0);
    if (f->unmet) {
        ; /* not in line */
    } else if (!model.locked[lock]) {
        model.locked[lock] = true;
    } else {
        f->woken = false;
        f->wait = M_LOCK;
        model.line[lock][model.line_n[lock]++] = f;
    }
}

static void m_release_lock(int lock)
{
    if (model.line_n[lock] == 0) {
        model.locked[lock] = false;
        return;
    }
    struct m_frame *f = model.line[lock][0];
    m_leave_line(f);
    m_wake(f, 0, 0);
}

/* False: it waits. */
static bool m_acquired(struct m_frame *f)
{
    struct m_mark *mark = &f->marks[f->marks_n - 1];
    const struct node *node = mark->node;
    f->wait = M_RUNS;
    mark->acquires = false;
    if (f->error == 0) {
        m_tell(ENTERED, f, node->id, 0);
        return true;
    }
    f->marks_n--;
    m_failed(f, m_take(f));
    if (f->phase == M_FINALLY)
        m_tell(BEHIND, f, node->id, 0);
    return true;
}

/* How many blocks stand around a block; none: -1. */
static int m_level(const struct m_frame *f, const struct m_mark *mark)
{
    int n = -1;
    for (const struct m_mark *m = f->marks + 1; mark && m <= mark; m++)
        n += is_block(m->node);
    return n;
}

static bool m_enter(struct m_frame *f, const struct node *node)
{
    m_push(f, node);
    struct m_mark *mark = &f->marks[f->marks_n - 1];
    if (node->op == WITHS || node->op == USES) {
        mark->acquires = true;
        if (node->op == WITHS)
            m_acquire_lock(f);
        else
            m_begin_operation(f, node);
        return f->wait == M_RUNS && m_acquired(f);
    }
    if (node->op == GROUPS) {
        if (f->child_level == m_level(f, mark))
            f->child = NULL; /* the group is entered again */
        if (model.groups_n == GROUPS_MAX) {
            model.overflow = true;
            model.groups_n = 0;
        }
        mark->nursery = &model.groups[model.groups_n++];
        *mark->nursery = (struct m_nursery){ .owner = f, .group = mark };
    }
    if ((node->op == WITHINS || node->op == SCOPES) && node->a)
        m_arm(mark);
    m_tell(ENTERED, f, node->id, 0);
    return true;
}

/* ---- Blocks: out ------------------------------------------------------ */

/* Its request goes with it; true if the block has failed by that alone. */
static bool m_take_back(struct m_frame *f, struct m_mark *mark)
{
    if (!mark->struck || mark->over)
        return false;
    mark->over = true;
    f->reached &= ~mark->mine;
    m_strike_no_more(f, mark);
    if (f->own)
        f->killed |= m_others(f, mark); /* it stays cancelled by those */
    return !m_others(f, mark) && f->phase != M_FINALLY &&
           f->outcome == M_FAILED && f->own;
}

/* The error that a TRY writes. */
static int m_close_try(struct m_frame *f, struct m_mark *mark)
{
    if (f->phase == M_FINALLY)
        return mark->error;
    if (f->outcome != M_FAILED || (f->own && mark->node->op != TRIES_ALL))
        return 0;
    int error = f->value;
    bool own = f->own;
    f->outcome = M_NONE;
    f->own = false;
    if (own)
        m_scopes_strike_again(f);
    return error;
}

static void m_cut(struct m_frame *f)
{
    m_fails(f, (struct m_end){ -ECANCELED, true, f->unmet });
    f->unmet = 0;
    m_requests_met(f);
}

/* At the brace of a group. True: it waits. */
static bool m_group_waits(struct m_frame *f, struct m_mark *g)
{
    bool again = false;
    if (g->drains) {
        again = f->error == -ECANCELED;
        if (again && f->outcome != M_FAILED)
            m_cut(f);
        else if (again && f->own)
            f->unmet = 0; /* the outcome is that request already */
    } else {
        g->drains = true;
        if (f->unmet & g->mine)
            m_strike_no_more(f, g); /* has served */
        if (f->unmet && g->nursery->running && f->outcome != M_FAILED)
            m_cut(f);
        if (g->asked)
            m_ask_group(g);
    }
    f->wait = M_RUNS;
    if (!g->nursery->running)
        return false;
    if (again) {
        g->asked = true;
        m_cancel_all(g->nursery);
    } else if (!g->asked && f->outcome == M_FAILED) {
        g->asked = true;
        m_ask_group(g);
    }
    g->nursery->awaited = true;
    f->woken = false;
    f->wait = M_BRACE;
    return true;
}

static void m_close_group(struct m_frame *f, struct m_mark *g)
{
    bool by_it = m_take_back(f, g);
    if (g->error) {
        uint64_t others = m_others(f, g);
        if (!by_it && f->outcome == M_FAILED && f->own) {
            f->unmet |= others; /* another's is not lost */
            m_strike_once_more(f, others);
        }
        m_fails(f, (struct m_end){ .error = g->error });
    } else if (by_it) {
        f->outcome = M_NONE;
        f->own = false;
    }
}

static void m_close_scope(struct m_frame *f, struct m_mark *mark)
{
    mark->armed = 0;
    if (!m_take_back(f, mark))
        return;
    f->own = false;
    f->value = mark->cancelled ? -ECANCELED : -ETIMEDOUT;
}

static int m_blocks(const struct m_frame *f)
{
    int n = 0;
    for (int i = 1; i < f->marks_n; i++)
        n += is_block(f->marks[i].node);
    return n;
}

/* The innermost block is over, however; true: it waits. */
static bool m_close(struct m_frame *f)
{
    while (!is_block(f->marks[f->marks_n - 1].node))
        f->marks_n--; /* loops in it */
    struct m_mark *mark = &f->marks[f->marks_n - 1];
    const struct node *node = mark->node;
    int error = 0;
    if (node->op == GROUPS && m_group_waits(f, mark))
        return true;
    switch (node->op) {
    case TRIES:
    case TRIES_ALL:
        error = m_close_try(f, mark);
        break;
    case GROUPS:
        m_close_group(f, mark);
        break;
    case WITHINS:
    case SCOPES:
        m_close_scope(f, mark);
        break;
    case WITHS:
        m_release_lock(f->routine);
        break;
    default:
        m_tell(RELEASES, f, node->id, 0);
        break;
    }
    f->marks_n--;
    if (!f->outcome || f->phase == M_FINALLY)
        m_tell(BEHIND, f, node->id, error);
    return false;
}

/* ---- Calls and tasks -------------------------------------------------- */

static struct m_frame *m_frame_new(int routine)
{
    struct m_frame *f = &model.frames[model.frames_n];
    *f = (struct m_frame){ .id = model.frames_n++, .routine = routine };
    f->marks[0] = (struct m_mark){ .at = program.body[routine] };
    f->marks_n = 1;
    f->nursery.owner = f;
    return f;
}

static struct m_task *m_spawn(struct m_frame *spawner, struct m_nursery *home,
                              int routine)
{
    struct m_task *t = &model.tasks[model.tasks_n++];
    *t = (struct m_task){ .root = m_frame_new(routine), .home = home };
    t->root->task = t;
    t->root->spawner = spawner;
    if (home) {
        home->tasks[home->n++] = t;
        home->running++;
    }
    m_queue((struct m_entry){ .frame = t->root });
    return t;
}

/* The callee runs next, in this step. */
static void m_call(struct m_frame *f, int routine)
{
    struct m_frame *callee = m_frame_new(routine);
    callee->caller = f;
    callee->task = f->task;
    callee->begun = true;
    f->callee = callee;
    f->wait = M_CALL;
    f->woken = false;
    if (f->unmet) {
        m_fails(callee, (struct m_end){ -ECANCELED, true, f->unmet });
        f->unmet = 0;
        m_requests_met(f);
    }
    model.next = callee;
}

static void m_child_ended(struct m_nursery *n)
{
    if (--n->running > 0 || !n->awaited)
        return;
    n->awaited = false;
    m_wake(n->owner, 0, 0);
}

static void m_frame_over(struct m_frame *f)
{
    f->phase = M_END;
    int error = f->outcome == M_FAILED ? f->value : 0;
    if (f->caller) {
        f->caller->woken = true;
        f->caller->by_callee = f->own;
        f->caller->met = f->killed;
        f->caller->error = error;
        f->caller->got = f->value;
        model.next = f->caller;
        return;
    }
    struct m_task *t = f->task;
    t->done = true;
    if (t->waiter && !t->waiter->woken)
        m_wake(t->waiter, error, f->value);
    if (t->home && t->home->group && error)
        m_child_failed(t->home->group, error);
    if (t->home)
        m_child_ended(t->home);
}

/* ---- Statements ------------------------------------------------------- */

static void m_await_task(struct m_frame *f, struct m_task *t)
{
    f->awaited = t;
    if (t->done) {
        bool failed = t->root->outcome == M_FAILED;
        m_ended(f, failed ? t->root->value : 0, t->root->value);
        return;
    }
    f->wait = M_TASK;
    f->woken = false;
    t->waiter = f;
    if (f->unmet)
        m_cancel(t);
}

static void m_join(struct m_frame *f)
{
    struct m_nursery *n = m_home(f);
    m_ended(f, f->unmet ? -ECANCELED : 0, 0);
    if (f->error || !n->running)
        return;
    n->awaited = true;
    f->woken = false;
    f->wait = M_JOIN;
}

static void m_pass(struct m_frame *f)
{
    if (f->unmet) {
        m_ended(f, -ECANCELED, 0);
    } else {
        m_wake(f, 0, 0);
        f->wait = M_PASS;
    }
}

/* An await has ended. */
static void m_settle(struct m_frame *f)
{
    const struct node *node = f->now;
    f->wait = M_RUNS;
    struct m_end end = { 0 };
    if (f->error) {
        end = m_take(f);
        if (f->phase == M_FINALLY && (end.own || !node->caught))
            m_failed_in_finally(f, end);
        else if (end.own || !node->caught)
            m_fails(f, end);
        if (f->phase != M_FINALLY && f->outcome)
            return;
    }
    int value = node->caught ? end.error : 0;
    if (!f->error && node->op != PASSES && node->op != JOINS)
        value = f->got;
    m_tell(DONE, f, node->id, value);
}

/* An await; false: it waits. */
static bool m_await(struct m_frame *f)
{
    const struct node *node = f->now;
    f->wait = M_RUNS;
    switch (node->op) {
    case PASSES:
        m_pass(f);
        break;
    case OPERATES:
        m_begin_operation(f, node);
        break;
    case CALLS:
        m_call(f, node->a);
        break;
    case AWAITS_CHILD:
        m_await_task(f, f->child);
        break;
    default:
        m_join(f);
        break;
    }
    if (f->wait != M_RUNS)
        return false;
    m_settle(f);
    return true;
}

static void m_continue(struct m_frame *f)
{
    struct m_mark *mark = &f->marks[f->marks_n - 1];
    mark->at = NULL;
}

static void m_fail_with(struct m_frame *f, int error)
{
    bool own = error == -ECANCELED && f->reached;
    m_fails(f, (struct m_end){ error, own, own ? f->reached : 0 });
}

static void m_do_cancel(struct m_frame *f, const struct node *node)
{
    struct m_mark *mark;
    struct m_frame *up = f;
    switch (node->op) {
    case CANCELS_GROUP:
        mark = m_nearest(f, GROUPS, node->a);
        if (mark)
            m_end_group(mark);
        break;
    case CANCELS_SCOPE:
        mark = m_nearest(f, SCOPES, node->a);
        if (mark)
            m_cancel_scope(mark);
        break;
    case CANCELS_CHILD:
        if (f->child)
            m_cancel(f->child);
        break;
    default:
        if (node->a)
            up = f->task->root->spawner;
        if (up)
            m_cancel(up->task);
        break;
    }
}

/* One statement; false: it waits. */
static bool m_execute(struct m_frame *f, const struct node *node)
{
    f->now = node;
    switch (node->op) {
    case CALLS:
    case SPAWNS:
        if (model.frames_n == FRAMES_MAX)
            return true;
        break;
    case AWAITS_CHILD:
        if (!f->child)
            return true;
        break;
    default:
        break;
    }
    switch (node->op) {
    case FAILS:
        m_fail_with(f, node->err);
        return true;
    case RETURNS:
        f->outcome = M_VALUE;
        f->value = node->a;
        return true;
    case LEAVES:
        return !m_close(f);
    case CONTINUES:
        m_continue(f);
        return true;
    case LOOPS:
        m_push(f, node);
        return true;
    case SPAWNS:
        f->child = m_spawn(f, m_home(f), node->a);
        f->child_level = m_level(f, m_innermost(f, GROUPS));
        m_tell(DONE, f, node->id, f->child->root->id);
        return true;
    case CANCELS_GROUP:
    case CANCELS_SCOPE:
    case CANCELS_TASK:
    case CANCELS_CHILD:
        m_do_cancel(f, node);
        m_tell(DONE, f, node->id, 0);
        return true;
    default:
        return is_block(node) ? m_enter(f, node) : m_await(f);
    }
}

/* ---- Frames ----------------------------------------------------------- */

/* The next statement of a list; true at its end. */
static bool m_list_over(struct m_mark *mark)
{
    while (mark->at && mark->at->dead)
        mark->at = mark->at->next;
    return !mark->at;
}

/* Until it waits, or its list is over. False: it waits. */
static bool m_run_list(struct m_frame *f)
{
    for (;;) {
        struct m_mark *mark = &f->marks[f->marks_n - 1];
        if (f->outcome && f->phase == M_BODY) {
            if (!m_blocks(f))
                return true;
            if (m_close(f))
                return false;
            continue;
        }
        if (m_list_over(mark)) {
            if (f->marks_n == 1)
                return true;
            if (is_block(mark->node)) {
                if (m_close(f))
                    return false;
            } else if (--mark->left > 0) {
                mark->at = mark->node->body;
            } else {
                f->marks_n--;
            }
            continue;
        }
        const struct node *node = mark->at;
        mark->at = node->next;
        if (!m_execute(f, node))
            return false;
    }
}

/* Its children are asked to end; true: it waits for them. */
static bool m_drains(struct m_frame *f, enum m_wait wait)
{
    if (!f->nursery.running)
        return false;
    m_cancel_all(&f->nursery);
    f->nursery.awaited = true;
    f->woken = false;
    f->wait = wait;
    return true;
}

static void m_end_body(struct m_frame *f)
{
    f->phase = M_ENDS;
    f->marks_n = 1;
    if (!f->outcome) {
        f->outcome = M_VALUE;
        f->value = 0;
    } else if (!f->caller) {
        f->unmet = 0; /* RETURN's value stands */
    }
    m_pass_on(f);
}

static void m_begin_finally(struct m_frame *f)
{
    m_pass_on(f);
    f->phase = M_FINALLY;
    f->wait = M_RUNS;
    f->marks[0] = (struct m_mark){ .at = program.last[f->routine] };
    m_tell(FINALLY_BEGINS, f, 0, f->outcome == M_FAILED ? f->value : 0);
}

/* It begins, or its await has ended. */
static void m_resume(struct m_frame *f)
{
    bool begins = !f->begun;
    f->begun = true;
    f->woken = false;
    switch (f->wait) {
    case M_RUNS:
        if ((begins || f->caller) && f->outcome && f->phase == M_BODY) {
            f->phase = M_ENDS; /* cancelled before its first step */
            m_begin_finally(f);
        }
        break;
    case M_DRAIN:
        if (m_drains(f, M_DRAIN))
            return;
        m_begin_finally(f);
        break;
    case M_LAST:
        break;
    case M_LOCK:
        m_acquired(f);
        break;
    case M_BRACE:
        if (m_close(f))
            return;
        break;
    default:
        if (f->marks_n > 1 && f->marks[f->marks_n - 1].acquires)
            m_acquired(f);
        else
            m_settle(f);
        break;
    }
    if (f->phase == M_BODY) {
        if (!m_run_list(f))
            return;
        m_end_body(f);
        if (m_drains(f, M_DRAIN))
            return;
        m_begin_finally(f);
    }
    if (f->wait != M_LAST) {
        if (!m_run_list(f))
            return;
        m_tell(OVER, f, 0, f->outcome == M_FAILED ? f->value : 0);
        m_pass_on(f);
    }
    if (m_drains(f, M_LAST))
        return;
    m_pass_on(f);
    m_frame_over(f);
}

static void m_step(struct m_frame *f)
{
    while (f) {
        model.next = NULL;
        m_resume(f);
        f = model.next;
    }
}

/* A deadline is due, if its block is still open. */
static void m_due(int armed)
{
    for (int i = 0; i < model.frames_n; i++) {
        struct m_frame *f = &model.frames[i];
        for (int k = f->marks_n - 1; k > 0; k--) {
            if (f->marks[k].armed != armed)
                continue;
            f->marks[k].armed = 0;
            f->marks[k].expired = true;
            m_strike(f, &f->marks[k]);
            return;
        }
    }
}

static void m_one_pass(void)
{
    int end = model.tail;
    while (model.head < end) {
        struct m_entry entry = model.queue[model.head++];
        if (entry.frame)
            m_step(entry.frame);
        else
            m_due(entry.armed);
    }
}

static void m_tick(void)
{
    int n = model.operations_n;
    for (int i = 0; i < n; i++) {
        struct m_operation *o = &model.operations[i];
        if (o->frame &&
            (--o->left <= 0 || model.story.pass >= RELEASE_PASS))
            m_operation_over(i, o->node->err, o->node->id);
    }
}

/* ---- A run ------------------------------------------------------------ */

/* Cancelled from outside before these passes; none: -1. */
struct plan {
    int first, second;
};

static void run_model(struct plan plan)
{
    model.story.n = model.story.pass = 0;
    model.story.hangs = false;
    model.operations_n = model.frames_n = model.tasks_n = 0;
    model.groups_n = model.head = model.tail = model.armed_n = 0;
    model.overflow = model.unsure = false;
    memset(model.locked, 0, sizeof model.locked);
    memset(model.line_n, 0, sizeof model.line_n);
    struct m_task *root = m_spawn(NULL, NULL, 0);
    int *pass = &model.story.pass;
    for (; !root->done && *pass < PASSES_MAX; ++*pass) {
        m_tick();
        if (*pass == plan.first || *pass == plan.second)
            m_cancel(root);
        m_one_pass();
    }
    if (!root->done) {
        model.overflow = true;
        return;
    }
    const struct m_frame *f = root->root;
    m_tell(ROOT_ENDED, f, 0, f->outcome == M_FAILED ? f->value : 0);
    m_tell(ROOT_VALUE, f, 0, f->outcome == M_FAILED ? 0 : f->value);
    m_tell(ROOT_REQUESTS, f, 0, __builtin_popcountll(f->reached));
}

#endif
