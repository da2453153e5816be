// SPDX-License-Identifier: MIT
#ifndef WORK_H
#define WORK_H

/*
 * work.h: tasks to wait for, and one that waits; what the tests of wait.c and
 * of the files after it share.
 *
 *     CALL(work, ...)   ends after so many passes, as it is told
 *     stay(name, op)    ends when the test says so; traces its end
 *     await(future)     awaits what the test has made; traces what came of it
 *     run_alone(make)   a scenario for test_every_allocation()
 *     next, struct source: calls for a map
 */
#include "stage.h"

#include <pthread.h>

struct work {
    struct coil_coro coro;
    int id, passes, err;
    int cleanup; /* passes in FINALLY */
    int *begun, *over, *running, *most;
};

static inline void work(struct coil_coro *co)
{
    ASYNC(work, my) {
        if (my->begun)
            ++*my->begun;
        if (my->running && ++*my->running > *my->most)
            *my->most = *my->running;
        for (; my->passes > 0; my->passes--)
            AWAIT(coil_sleep(0));
        if (my->err)
            FAIL(my->err);
        RETURN(my->id);

    FINALLY;
        for (; my->cleanup > 0; my->cleanup--)
            AWAIT(coil_sleep(0));
        if (my->running)
            --*my->running;
        if (my->over)
            ++*my->over;
    }
}

/* Waits for ever; says when it is told to end. */
struct stays {
    struct coil_coro coro;
    const char *name;
    struct hand *op;
    int64_t value;
};

static inline void stays(struct coil_coro *co)
{
    ASYNC(stays, my) {
        AWAIT_TO(my->value, hand_op(my->op));
        RETURN(my->value);
    FINALLY;
        trace("%s", my->name);
    }
}

static inline struct coil_task *stay(const char *name, struct hand *op)
{
    return coil_spawn(CALL(stays, .name = name, .op = op));
}

/* Awaits a combinator that the test has made; then something else. */
struct awaits {
    struct coil_coro coro;
    struct coil_future *what;
    struct hand *then;
    int err;
    int64_t value;
};

static inline void awaits(struct coil_coro *co)
{
    ASYNC(awaits, my) {
        struct coil_future *what = my->what;
        my->what = NULL;
        TRY_AWAIT_TO(my->err, my->value, what);
        trace("=%d", my->err ? my->err : (int)my->value);
        if (my->then)
            AWAIT(hand_op(my->then));
        RETURN(my->err ? my->err : my->value);
    FINALLY;
        if (my->what)
            coil_discard(my->what);
    }
}

static inline struct coil_task *await(struct coil_future *what)
{
    return coil_spawn(CALL(awaits, .what = what));
}

/* ---- Memory that fails ------------------------------------------------- */

/* For test_every_allocation(): a loop of its own for one coroutine. */
static inline int run_alone(struct coil_future *(*make)(void))
{
    struct coil_loop *loop;
    int err = coil_loop_new(&loop, stage_options());
    if (err < 0)
        return err;
    struct coil_task *t = coil_spawn(make());
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    err = coil_future_error(coil_task_future(t));
    coil_loop_close(loop);
    return err;
}

/* ---- Calls for a map --------------------------------------------------- */

struct source {
    int n, asked, limit;
    int begun, over, running, most;
    int (*passes)(int i);
    int (*err)(int i);
    struct coil_future *(*call)(struct source *s, int i);
};

static inline struct coil_future *next(void *arg)
{
    struct source *s = arg;
    if (s->asked == s->n)
        return NULL;
    int i = s->asked++;
    if (s->call)
        return s->call(s, i);
    return CALL(work, .id = i, .passes = s->passes ? s->passes(i) : 0,
                .err = s->err ? s->err(i) : 0, .begun = &s->begun,
                .over = &s->over, .running = &s->running, .most = &s->most);
}

/* In a thread of its own: what is deep must not be deep on the C stack. */
static inline void work_on_small_stack(void *(*fn)(void *))
{
    pthread_attr_t attr;
    pthread_t thread;
    CHECK_INT(pthread_attr_init(&attr), 0);
    CHECK_INT(pthread_attr_setstacksize(&attr, (size_t)512 * 1024), 0);
    CHECK_INT(pthread_create(&thread, &attr, fn, NULL), 0);
    CHECK_INT(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attr);
}

#endif
