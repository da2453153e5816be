// SPDX-License-Identifier: MIT
/*
 * then.c: chains of handlers that run when a future is done.
 *
 * A step is a coroutine that awaits its upstream (the future or task that it
 * follows), calls a handler, and ends with what the handler returned. So the
 * rules are those of coroutines: a step is lazy, it is cancelled where it
 * waits, its value is handed on with the duty to dispose of it, and the loop
 * calls the handler. Twisted's Deferreds call handlers within the call that
 * provides the result: chains of them have overflowed the stack, and handlers
 * have seen half-updated objects.
 *
 * An upstream future becomes a task, a child of the step, so that it can be
 * awaited a second time, when the step ends with the upstream's result.
 */
#include <coil/then.h>

#include <errno.h>

#include <coil/block.h>
#include <coil/coroutine.h>
#include <coil/loop.h>

#include "base/check.h"

/* What a step follows: a task of its own, or a shared one. */
struct upstream {
    struct coil_task *task;
    struct coil_future *future; /* until it has begun */
    bool shared;
};

/* The reference is needed since the task may outlive its spawner. */
static struct upstream upstream_of_task(struct coil_task *task)
{
    coil_future_ref(coil_task_future(task));
    return (struct upstream){ .task = task, .shared = true };
}

static struct upstream upstream_of_future(struct coil_future *future)
{
    return (struct upstream){ .future = future };
}

static void upstream_begin(struct upstream *up)
{
    if (!up->future)
        return;
    up->task = coil_spawn(up->future);
    up->future = NULL;
}

static void upstream_fini(struct upstream *up)
{
    if (up->shared)
        coil_future_unref(coil_task_future(up->task));
    if (up->future)
        coil_discard(up->future);
    *up = (struct upstream){ 0 };
}

/* If there was no memory for the step, release its upstream. */
static struct coil_future *fini_if_nomem(struct coil_future *step,
                                         struct upstream up)
{
    if (coil_future_done(step))
        upstream_fini(&up);
    return step;
}

/* ---- then, catch ------------------------------------------------------ */

struct then {
    struct coil_coro coro;
    struct upstream up;
    coil_then_fn *ok, *failed;
    void *arg;
    int err;
};

/* Call the handler. NULL: the step ends with the result of its upstream. */
static struct coil_future *handle(struct then *my)
{
    coil_then_fn *fn = my->err ? my->failed : my->ok;
    if (!fn)
        return NULL;
    struct coil_future *done = coil_task_future(my->up.task);
    struct coil_future *next = fn(done, my->arg);
    return next == done ? NULL : next;
}

/*
 * The await takes a permit, for the handler. Without a handler the step must
 * not take it: the step hands on the permit, with the duty to release it.
 */
static void then(struct coil_coro *co)
{
    COIL_ASYNC(then, my) {
        upstream_begin(&my->up);
        if (!my->ok) {
            COIL_TRY(my->err) COIL_RETURN_AWAIT(my->up.task);
        }
        if (my->ok || !coil_task_done(my->up.task)) /* no memory for the TRY */
            COIL_TRY_AWAIT(my->err, my->up.task);
        struct coil_future *next = handle(my);
        if (next)
            COIL_RETURN_AWAIT(next);
        COIL_RETURN_AWAIT(my->up.task);

    COIL_FINALLY;
        upstream_fini(&my->up);
    }
}

static struct coil_future *step_new(struct upstream up, coil_then_fn *ok,
                                    coil_then_fn *failed, void *arg)
{
    return fini_if_nomem(
        COIL_CALL(then, .up = up, .ok = ok, .failed = failed, .arg = arg), up);
}

struct coil_future *coil_then_task(struct coil_task *task, coil_then_fn *ok,
                                   coil_then_fn *failed, void *arg)
{
    coili_check(task, "coil_then: x is NULL");
    return step_new(upstream_of_task(task), ok, failed, arg);
}

struct coil_future *coil_then_future(struct coil_future *future,
                                     coil_then_fn *ok, coil_then_fn *failed,
                                     void *arg)
{
    coili_check(future, "coil_then: x is NULL");
    return step_new(upstream_of_future(future), ok, failed, arg);
}

/* ---- finally ---------------------------------------------------------- */

struct finally {
    struct coil_coro coro;
    struct upstream up;
    coil_finally_fn *fn;
    void *arg;
};

static void finally(struct coil_coro *co)
{
    COIL_ASYNC(finally, my) {
        upstream_begin(&my->up);
        COIL_RETURN_AWAIT(my->up.task);

    COIL_FINALLY;
        struct coil_future *cleanup = my->fn(my->arg);
        if (cleanup)
            COIL_AWAIT(cleanup);
        upstream_fini(&my->up);
    }
}

static struct coil_future *finally_new(struct upstream up, coil_finally_fn *fn,
                                       void *arg)
{
    return fini_if_nomem(COIL_CALL(finally, .up = up, .fn = fn, .arg = arg),
                         up);
}

struct coil_future *coil_finally_task(struct coil_task *task,
                                      coil_finally_fn *fn, void *arg)
{
    coili_check(task, "coil_finally: x is NULL");
    coili_check(fn, "coil_finally: fn is NULL");
    return finally_new(upstream_of_task(task), fn, arg);
}

struct coil_future *coil_finally_future(struct coil_future *future,
                                        coil_finally_fn *fn, void *arg)
{
    coili_check(future, "coil_finally: x is NULL");
    coili_check(fn, "coil_finally: fn is NULL");
    return finally_new(upstream_of_future(future), fn, arg);
}

/* ---- chain ------------------------------------------------------------ */

struct chain {
    struct coil_coro coro;
    struct upstream up;
    struct coil_future *dst;
    struct coil_handle handle;
    int err;
};

static void dst_done(void *arg)
{
    struct chain *my = arg;
    if (coil_future_cancelled(my->dst))
        coil_task_cancel(my->up.task);
}

/* Complete `dst` as `x` has ended, or cancel it if `x` has not. */
static void complete(struct chain *my)
{
    coil_future_remove_done_callback(my->dst, &my->handle);
    if (!my->up.task || !coil_task_done(my->up.task))
        coil_future_cancel(my->dst);
    else if (!coil_future_done(my->dst))
        coil_future_set_from(my->dst, coil_task_future(my->up.task));
    coil_future_unref(my->dst);
}

static void chain(struct coil_coro *co)
{
    COIL_ASYNC(chain, my) {
        upstream_begin(&my->up);
        coil_future_add_done_callback(my->dst, &my->handle, dst_done, my);
        COIL_TRY_AWAIT(my->err, my->up.task);

    COIL_FINALLY;
        complete(my);
        upstream_fini(&my->up);
    }
}

static struct coil_future *chain_new(struct upstream up,
                                     struct coil_future *dst)
{
    struct coil_future *f = COIL_CALL(chain, .up = up, .dst = dst);
    if (!coil_future_done(f))
        coil_future_ref(dst);
    return fini_if_nomem(f, up);
}

struct coil_future *coil_chain_task(struct coil_task *task,
                                    struct coil_future *dst)
{
    coili_check(task, "coil_chain: x is NULL");
    coili_check(dst, "coil_chain: dst is NULL");
    return chain_new(upstream_of_task(task), dst);
}

struct coil_future *coil_chain_future(struct coil_future *future,
                                      struct coil_future *dst)
{
    coili_check(future, "coil_chain: x is NULL");
    coili_check(dst, "coil_chain: dst is NULL");
    return chain_new(upstream_of_future(future), dst);
}
