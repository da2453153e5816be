// SPDX-License-Identifier: MIT
/*
 * then.c: what is to follow, said in advance.
 *
 * A link is a coroutine that awaits what is upstream, calls a handler and ends
 * with what that returned. So all rules are those of coroutines: it is lazy, it
 * is cancelled where it waits, values travel with the duty to dispose of them,
 * and no handler runs inside somebody else's call. Twisted's Deferreds call
 * theirs at once, from whoever has the result: handlers that fire each other
 * have overflowed its stack, and have met half-updated objects.
 *
 * What is upstream becomes a task, a child of the link: so it can be awaited a
 * second time, when a link hands on what it was given.
 */
#include <coil/then.h>

#include <errno.h>

#include <coil/coroutine.h>
#include <coil/loop.h>

/* What a link follows: a task of its own or a borrowed one. */
struct upstream {
    struct coil_task *task;
    struct coil_future *future; /* until it is begun */
    bool borrowed;
};

/* It may outlive its spawner. */
static struct upstream upstream_of_task(struct coil_task *task)
{
    coil_future_ref(coil_task_future(task));
    return (struct upstream){ .task = task, .borrowed = true };
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
    if (up->borrowed)
        coil_future_unref(coil_task_future(up->task));
    if (up->future)
        coil_discard(up->future);
    *up = (struct upstream){ 0 };
}

/* A link for which there was no memory: what it was to follow is dropped. */
static struct coil_future *fini_if_nomem(struct coil_future *link,
                                         struct upstream up)
{
    if (coil_future_done(link))
        upstream_fini(&up);
    return link;
}

/* ---- then, catch ------------------------------------------------------ */

struct then {
    struct coil_coro coro;
    struct upstream up;
    coil_then_fn *ok, *failed;
    void *arg;
    int err;
};

/* NULL if the link is to end with what it was given. */
static struct coil_future *handle(struct then *my)
{
    coil_then_fn *fn = my->err ? my->failed : my->ok;
    if (!fn)
        return NULL;
    struct coil_future *done = coil_task_future(my->up.task);
    struct coil_future *next = fn(done, my->arg);
    return next == done ? NULL : next;
}

static void then(struct coil_coro *co)
{
    COIL_ASYNC(then, my) {
        upstream_begin(&my->up);
        COIL_TRY_AWAIT(my->err, my->up.task);
        struct coil_future *next = handle(my);
        if (next)
            COIL_RETURN_AWAIT(next);
        COIL_RETURN_AWAIT(my->up.task);

    COIL_FINALLY;
        upstream_fini(&my->up);
    }
}

static struct coil_future *link_new(struct upstream up, coil_then_fn *ok,
                                    coil_then_fn *failed, void *arg)
{
    return fini_if_nomem(
        COIL_CALL(then, .up = up, .ok = ok, .failed = failed, .arg = arg), up);
}

struct coil_future *coil_then_task(struct coil_task *task, coil_then_fn *ok,
                                   coil_then_fn *failed, void *arg)
{
    return link_new(upstream_of_task(task), ok, failed, arg);
}

struct coil_future *coil_then_future(struct coil_future *future,
                                     coil_then_fn *ok, coil_then_fn *failed,
                                     void *arg)
{
    return link_new(upstream_of_future(future), ok, failed, arg);
}

/* ---- finally ---------------------------------------------------------- */

struct finally {
    struct coil_coro coro;
    struct upstream up;
    coil_source_fn *fn;
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

static struct coil_future *finally_new(struct upstream up, coil_source_fn *fn,
                                       void *arg)
{
    return fini_if_nomem(COIL_CALL(finally, .up = up, .fn = fn, .arg = arg),
                         up);
}

struct coil_future *coil_finally_task(struct coil_task *task,
                                      coil_source_fn *fn, void *arg)
{
    return finally_new(upstream_of_task(task), fn, arg);
}

struct coil_future *coil_finally_future(struct coil_future *future,
                                        coil_source_fn *fn, void *arg)
{
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

static void complete(struct chain *my)
{
    coil_future_remove_done_callback(my->dst, &my->handle);
    if (!my->up.task || !coil_task_done(my->up.task))
        coil_future_cancel(my->dst);
    else if (!coil_future_done(my->dst))
        coil_future_set_as(my->dst, coil_task_future(my->up.task));
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
    return chain_new(upstream_of_task(task), dst);
}

struct coil_future *coil_chain_future(struct coil_future *future,
                                      struct coil_future *dst)
{
    return chain_new(upstream_of_future(future), dst);
}
