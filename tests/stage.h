// SPDX-License-Identifier: MIT
#ifndef STAGE_H
#define STAGE_H

/*
 * stage.h: what the tests of the runtime share.
 *
 *     CHECK_TRACE    what happened, in order, as words of one string
 *     stage_open     a loop that a test drives pass by pass, from outside
 *     struct hand    an operation that a test completes by hand
 *
 * Driven from outside every interleaving can be made: spawn, make so many
 * passes, cancel or complete, make another pass. No clock is involved.
 */
#include "test.h"

#include <coil/as_completed.h>
#include <coil/block.h>
#include <coil/coroutine.h>
#include <coil/error.h>
#include <coil/future.h>
#include <coil/loop.h>
#include <coil/map.h>
#include <coil/task.h>
#include <coil/wait.h>
#include <coil/wait_for.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

/* ---- What happened ---------------------------------------------------- */

static char stage_trace[4096];

/* Append words; a space goes between. */
static inline __attribute__((format(printf, 1, 2))) void
trace(const char *format, ...)
{
    size_t len = strlen(stage_trace);
    if (len > 0)
        len += (size_t)snprintf(stage_trace + len, sizeof stage_trace - len,
                                " ");
    va_list args;
    va_start(args, format);
    vsnprintf(stage_trace + len, sizeof stage_trace - len, format, args);
    va_end(args);
}

/* Compare what happened since the last such check. */
#define CHECK_TRACE(expected) \
    do { \
        CHECK_STR(stage_trace, (expected)); \
        stage_trace[0] = '\0'; \
    } while (0)

/* ---- A loop by hand --------------------------------------------------- */

static struct coil_loop *stage_loop;

/* What went to the loop's exception handler. */
static struct {
    int n, err;
    char message[128], name[64];
} stage_reported;

static inline void stage_report(const struct coil_exception *what, void *arg)
{
    (void)arg;
    stage_reported.n++;
    stage_reported.err = what->err;
    snprintf(stage_reported.message, sizeof stage_reported.message, "%s",
             what->message);
    snprintf(stage_reported.name, sizeof stage_reported.name, "%s",
             what->name ? what->name : "");
}

static inline const struct coil_loop_options *stage_options(void)
{
    static const struct coil_loop_options options = {
        .size = sizeof options,
        .on_exception = stage_report,
    };
    return &options;
}

static inline void stage_open(void)
{
    CHECK_INT(coil_loop_new(&stage_loop, stage_options()), 0);
}

/*
 * For a test that opens hundreds of loops in a row. The kernel gives the locked
 * memory of a ring back late, and the limit (ulimit -l) is that of the user: so
 * other tests may have none for a while, and this one waits for it.
 */
static inline void stage_open_often(const struct coil_loop_options *options)
{
    struct coil_loop_options small = *options;
    small.sq_entries = 8;
    small.cq_entries = 64;
    int err = coil_loop_new(&stage_loop, &small);
    for (int i = 0; err == -ENOMEM && i < 100; i++) {
        nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
        err = coil_loop_new(&stage_loop, &small);
    }
    CHECK_INT(err, 0);
}

static inline void stage_close(void)
{
    coil_loop_close(stage_loop);
    stage_loop = NULL;
}

static inline void stage_passes(int n)
{
    while (n-- > 0)
        coil_loop_pass(stage_loop, 0);
}

static inline unsigned stage_tasks(void)
{
    struct coil_loop_stats stats;
    coil_loop_get_stats(stage_loop, &stats);
    return stats.tasks;
}

static inline unsigned stage_timers(void)
{
    struct coil_loop_stats stats;
    coil_loop_get_stats(stage_loop, &stats);
    return stats.timers;
}

/* Passes until the task is done; what it ended with. */
static inline int stage_run(struct coil_task *task)
{
    CHECK_INT(coil_loop_run_until_complete(stage_loop, task), 0);
    return coil_future_error(coil_task_future(task));
}

/* The reason in the detail of a task that was cancelled. */
static inline int stage_reason(struct coil_task *task)
{
    return COIL_DETAIL_CODE(coil_future_detail(coil_task_future(task)));
}

/* ---- An operation by hand --------------------------------------------- */

/* What it does when it is asked to end. */
enum hand_on_cancel {
    HAND_ENDS,     /* -ECANCELED, at once */
    HAND_SUCCEEDS, /* it had succeeded all the same: its value */
    HAND_LINGERS   /* nothing: the test completes it later */
};

struct hand {
    enum hand_on_cancel on_cancel;
    int64_t value; /* for HAND_SUCCEEDS */
    int started, cancels, freed;
    struct coil_future *flying; /* the last one started, until it is done */
};

struct hand_op {
    struct coil_custom custom;
    struct hand *hand;
};

static inline struct hand *hand_of(struct coil_future *f)
{
    return ((struct hand_op *)(void *)f)->hand;
}

static inline void hand_start(struct coil_future *f)
{
    hand_of(f)->started++;
    hand_of(f)->flying = f;
}

static inline void hand_set(struct hand *hand, int err, int64_t value)
{
    struct coil_future *f = hand->flying;
    hand->flying = NULL;
    if (err < 0)
        coil_future_set_error(f, err);
    else
        coil_future_set_int(f, value);
}

static inline void hand_cancel(struct coil_future *f)
{
    struct hand *hand = hand_of(f);
    hand->cancels++;
    if (hand->on_cancel == HAND_ENDS)
        hand_set(hand, -ECANCELED, 0);
    else if (hand->on_cancel == HAND_SUCCEEDS)
        hand_set(hand, 0, hand->value);
}

static inline void hand_free(struct coil_future *f)
{
    hand_of(f)->freed++;
    coil_custom_free(f);
}

static inline struct coil_future *hand_op(struct hand *hand)
{
    static const struct coil_future_class cls = {
        .name = "hand",
        .start = hand_start,
        .cancel = hand_cancel,
        .free = hand_free,
    };
    struct hand_op *op = coil_custom_new(&cls, sizeof *op);
    if (!op)
        return coil_future_from_nomem();
    op->hand = hand;
    return &op->custom.future;
}

#endif
