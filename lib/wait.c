// SPDX-License-Identifier: MIT
/*
 * wait.c: everything that waits for several tasks. From here on coil is made
 * of its own public calls.
 *
 * gather and wait are one thing: a watch over n tasks with a callback in each,
 * which ends when enough have ended. What is enough, and what a cancellation
 * does, is all that differs:
 *
 *     watch              ends at                   cancelled
 *     gather             the first error, or all   cancels the tasks, just ends
 *     gather_settled     all                       cancels, waits for all;
 *                                                  the second time as gather
 *     wait               as its mode says          just ends
 *
 * as_completed and the two maps are generators over a list of tasks that have
 * ended.
 */
#include <coil/wait.h>

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <coil/coroutine.h>

#include "list.h"

/* ---- gather, wait ----------------------------------------------------- */

enum watch_kind {
    GATHER,
    GATHER_SETTLED,
    WAIT_ALL,
    WAIT_FIRST,
    WAIT_EXCEPTION
};

struct watch;

struct watched {
    struct coil_handle handle;
    struct watch *watch;
    struct coil_task *task;
};

struct watch {
    struct coil_custom custom;
    enum watch_kind kind;
    bool cancelled;
    bool cancelling, again; /* while it cancels its tasks */
    size_t n, left;
    int64_t timeout_ns;
    struct coil_handle timer;
    struct watched *watched; /* n of them */
};

static struct watch *watch_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct watch, custom.future);
}

/* A task that is awaited through here may outlive its spawner. */
static void keep(struct coil_task *task)
{
    coil_future_ref(coil_task_future(task));
}

static void let_go(struct coil_task *task)
{
    coil_future_unref(coil_task_future(task));
}

static void unwatch(struct watch *w)
{
    coil_handle_cancel(&w->timer);
    for (size_t i = 0; i < w->n; i++)
        if (w->watched[i].watch)
            coil_future_remove_done_callback(
                coil_task_future(w->watched[i].task), &w->watched[i].handle);
    w->left = 0;
}

static int64_t count_failed(struct watch *w)
{
    int64_t failed = 0;
    for (size_t i = 0; i < w->n; i++)
        failed += coil_future_error(coil_task_future(w->watched[i].task)) < 0;
    return failed;
}

static int64_t count_done(struct watch *w)
{
    int64_t done = 0;
    for (size_t i = 0; i < w->n; i++)
        done += coil_task_done(w->watched[i].task);
    return done;
}

/* The last act: the future may be gone when it returns. */
static void finish(struct watch *w)
{
    struct coil_future *f = &w->custom.future;
    unwatch(w);
    if (w->cancelled)
        coil_future_set_error(f, -ECANCELED);
    else if (w->kind == GATHER)
        coil_future_set_int(f, (int64_t)w->n);
    else if (w->kind == GATHER_SETTLED)
        coil_future_set_int(f, count_failed(w));
    else
        coil_future_set_int(f, count_done(w));
}

static void fail(struct watch *w, struct coil_future *task)
{
    struct coil_future *f = &w->custom.future;
    int err = coil_future_error(task);
    uint32_t detail = coil_future_detail(task);
    unwatch(w);
    for (size_t i = 0; i < w->n; i++)
        coil_task_quiet(w->watched[i].task);
    coil_future_set_error_detail(f, err, detail);
}

static void task_done(void *arg)
{
    struct watched *it = arg;
    struct watch *w = it->watch;
    struct coil_future *task = coil_task_future(it->task);
    it->watch = NULL;
    w->left--;
    switch (w->kind) {
    case GATHER:
        if (coil_future_failed(task)) {
            fail(w, task);
            return;
        }
        break;
    case WAIT_FIRST:
        finish(w);
        return;
    case WAIT_EXCEPTION:
        if (coil_future_failed(task) && !coil_future_cancelled(task)) {
            finish(w);
            return;
        }
        break;
    case GATHER_SETTLED:
    case WAIT_ALL:
        break;
    }
    if (w->left == 0)
        finish(w);
}

static void timed_out(void *arg)
{
    finish(arg);
}

static bool enough(const struct watch *w)
{
    if (w->left == 0)
        return true;
    for (size_t i = 0; i < w->n; i++) {
        struct coil_future *task = coil_task_future(w->watched[i].task);
        if (!coil_future_done(task))
            continue;
        if (w->kind == WAIT_FIRST)
            return true;
        if (w->kind == WAIT_EXCEPTION && coil_future_failed(task) &&
            !coil_future_cancelled(task))
            return true;
    }
    return false;
}

static void watch_start(struct coil_future *f)
{
    struct watch *w = watch_of(f);
    for (size_t i = 0; i < w->n; i++)
        if (coil_task_done(w->watched[i].task))
            w->left--;
    /* What is done already does not suspend. */
    for (size_t i = 0; w->kind == GATHER && i < w->n; i++) {
        struct coil_future *task = coil_task_future(w->watched[i].task);
        if (coil_future_failed(task)) {
            fail(w, task);
            return;
        }
    }
    if (enough(w)) {
        finish(w);
        return;
    }
    if (w->timeout_ns != COIL_NEVER) {
        int err = coil_call_later(&w->timer, w->timeout_ns, timed_out, w);
        if (err < 0) {
            coil_future_set_error(f, err);
            return;
        }
    }
    for (size_t i = 0; i < w->n; i++) {
        struct watched *it = &w->watched[i];
        if (coil_task_done(it->task))
            continue;
        it->watch = w;
        coil_future_add_done_callback(coil_task_future(it->task), &it->handle,
                                      task_done, it);
    }
}

static void watch_cancel(struct coil_future *f)
{
    struct watch *w = watch_of(f);
    if (w->kind != GATHER && w->kind != GATHER_SETTLED) {
        w->cancelled = true;
        finish(w);
        return;
    }
    if (w->cancelling) { /* one of them awaits this gather's owner */
        w->again = true;
        return;
    }
    w->again = w->cancelled;
    w->cancelling = true;
    for (size_t i = 0; i < w->n; i++) {
        coil_task_quiet(w->watched[i].task);
        w->cancelled |= coil_task_cancel(w->watched[i].task);
    }
    w->cancelling = false;
    /* None was left to cancel: then it ends as if nothing had been asked. */
    if (w->cancelled && (w->kind == GATHER || w->again))
        finish(w);
}

static void watch_free(struct coil_future *f)
{
    struct watch *w = watch_of(f);
    for (size_t i = 0; i < w->n; i++)
        let_go(w->watched[i].task);
    coil_free(w->watched, w->n * sizeof *w->watched);
    coil_custom_free(f);
}

static const struct coil_future_class gather_class = {
    .name = "gather",
    .start = watch_start,
    .cancel = watch_cancel,
    .free = watch_free,
};

static const struct coil_future_class wait_class = {
    .name = "wait",
    .start = watch_start,
    .cancel = watch_cancel,
    .free = watch_free,
};

static struct watch *watch_new(enum watch_kind kind,
                               struct coil_task *const *tasks, size_t n)
{
    struct watch *w = coil_custom_new(
        kind <= GATHER_SETTLED ? &gather_class : &wait_class, sizeof *w);
    if (!w)
        return NULL;
    w->kind = kind;
    w->timeout_ns = COIL_NEVER;
    w->watched = n > SIZE_MAX / sizeof *w->watched
                     ? NULL
                     : coil_alloc(n * sizeof *w->watched);
    if (!w->watched) {
        coil_custom_free(w);
        return NULL;
    }
    memset(w->watched, 0, n * sizeof *w->watched);
    w->n = w->left = n;
    for (size_t i = 0; tasks && i < n; i++) {
        w->watched[i].task = tasks[i];
        keep(tasks[i]);
    }
    return w;
}

static struct coil_future *future_or_nomem(struct watch *w)
{
    return w ? &w->custom.future : coil_future_nomem();
}

struct coil_future *coil_gather_tasks(struct coil_task *const *tasks, size_t n)
{
    return future_or_nomem(watch_new(GATHER, tasks, n));
}

struct coil_future *coil_gather_settled(struct coil_task *const *tasks,
                                        size_t n)
{
    return future_or_nomem(watch_new(GATHER_SETTLED, tasks, n));
}

struct coil_future *coil_gather_futures(struct coil_future *const *futures,
                                        size_t n)
{
    struct watch *w = watch_new(GATHER, NULL, n);
    for (size_t i = 0; i < n; i++) {
        if (!w) {
            coil_drop(futures[i]);
            continue;
        }
        struct coil_task *task = coil_spawn(futures[i]);
        w->watched[i].task = task;
        keep(task);
        coil_task_drop(&task); /* nobody else knows it */
    }
    return future_or_nomem(w);
}

struct coil_future *coil_wait(struct coil_task *const *tasks, size_t n,
                              enum coil_wait_mode mode, int64_t timeout_ns)
{
    static const enum watch_kind kinds[] = {
        [COIL_ALL_COMPLETED] = WAIT_ALL,
        [COIL_FIRST_COMPLETED] = WAIT_FIRST,
        [COIL_FIRST_EXCEPTION] = WAIT_EXCEPTION,
    };
    if (n == 0)
        return coil_future_done_with(-EINVAL, 0);
    struct watch *w = watch_new(kinds[mode], tasks, n);
    if (w)
        w->timeout_ns = timeout_ns;
    return future_or_nomem(w);
}

/* ---- as_completed, map ------------------------------------------------ */

/* Tasks that have ended, in that order; and who waits for the next one. */
struct finishers {
    struct finisher *first, *last;
    struct coil_future *next;
};

struct finisher {
    struct coil_handle handle;
    struct finishers *list;
    struct finisher *after;
    struct coil_task *task;
    bool pending, ended;
};

static void finisher_done(void *arg)
{
    struct finisher *it = arg;
    struct finishers *list = it->list;
    it->pending = false;
    it->ended = true;
    it->after = NULL;
    if (list->last)
        list->last->after = it;
    else
        list->first = it;
    list->last = it;
    if (list->next) {
        struct coil_future *next = list->next;
        list->next = NULL;
        coil_future_set_int(next, 0);
        coil_future_unref(next);
    }
}

static void finisher_watch(struct finisher *it, struct finishers *list,
                           struct coil_task *task)
{
    *it = (struct finisher){ .list = list, .task = task };
    keep(task);
    if (coil_task_done(task)) {
        finisher_done(it);
        return;
    }
    it->pending = true;
    coil_future_add_done_callback(coil_task_future(task), &it->handle,
                                  finisher_done, it);
}

static void finisher_unwatch(struct finisher *it)
{
    if (!it->task)
        return;
    if (it->pending)
        coil_future_remove_done_callback(coil_task_future(it->task),
                                         &it->handle);
    let_go(it->task);
    *it = (struct finisher){ 0 };
}

static struct finisher *finishers_pop(struct finishers *list)
{
    struct finisher *it = list->first;
    list->first = it->after;
    if (!list->first)
        list->last = NULL;
    return it;
}

/* Done when the list has grown. */
static struct coil_future *finishers_more(struct finishers *list)
{
    struct coil_future *next = coil_future_new();
    if (!coil_future_done(next))
        list->next = coil_future_ref(next);
    return next;
}

static void finishers_forget(struct finishers *list)
{
    if (list->next)
        coil_future_unref(list->next);
    list->next = NULL;
}

struct as_completed {
    struct coil_coro coro;
    struct coil_task *const *tasks;
    size_t n, yielded;
    struct finisher *all;
    struct finishers list;
};

static void as_completed(struct coil_coro *co)
{
    COIL_ASYNC(as_completed, my) {
        my->all = coil_alloc((my->n + 1) * sizeof *my->all);
        if (!my->all)
            COIL_FAIL(-ENOMEM);
        for (size_t i = 0; i < my->n; i++)
            finisher_watch(&my->all[i], &my->list, my->tasks[i]);

        for (; my->yielded < my->n; my->yielded++) {
            while (!my->list.first)
                COIL_AWAIT(finishers_more(&my->list));
            COIL_YIELD(finishers_pop(&my->list)->task);
        }

    COIL_FINALLY;
        finishers_forget(&my->list);
        for (size_t i = 0; my->all && i < my->n; i++)
            finisher_unwatch(&my->all[i]);
        coil_free(my->all, (my->n + 1) * sizeof *my->all);
    }
}

struct coil_future *coil_as_completed(struct coil_task *const *tasks, size_t n)
{
    return COIL_CALL(as_completed, .tasks = tasks, .n = n);
}

/*
 * A slot holds a task from its start until the consumer comes back for the
 * next one; so what has ended and was not read keeps its place.
 */
struct map {
    struct coil_coro coro;
    coil_source_fn *source;
    void *arg;
    size_t limit;
    bool ordered, exhausted;
    struct finisher *slots; /* of a ring, if ordered */
    struct finisher *unused; /* if not */
    size_t busy, oldest;
    struct finisher *read; /* what the consumer has now */
    struct finishers list;
};

static struct finisher *slots_new(struct map *my)
{
    if (my->limit > SIZE_MAX / sizeof *my->slots)
        return NULL;
    struct finisher *slots = coil_alloc(my->limit * sizeof *slots);
    if (!slots)
        return NULL;
    memset(slots, 0, my->limit * sizeof *slots);
    for (size_t i = my->limit; !my->ordered && i-- > 0;) {
        slots[i].after = my->unused;
        my->unused = &slots[i];
    }
    return slots;
}

static struct finisher *free_slot(struct map *my)
{
    if (my->ordered)
        return &my->slots[(my->oldest + my->busy) % my->limit];
    struct finisher *it = my->unused;
    my->unused = it->after;
    return it;
}

static void fill_slots(struct map *my)
{
    while (!my->exhausted && my->busy < my->limit) {
        struct coil_future *call = my->source(my->arg);
        if (!call) {
            my->exhausted = true;
            break;
        }
        finisher_watch(free_slot(my), &my->list, coil_spawn(call));
        my->busy++;
    }
}

static bool readable(const struct map *my)
{
    return my->ordered ? my->slots[my->oldest].ended : my->list.first != NULL;
}

/* The next task to yield, and its slot's successor in the ring. */
static struct finisher *read_slot(struct map *my)
{
    if (!my->ordered)
        return finishers_pop(&my->list);
    struct finisher *it = &my->slots[my->oldest];
    my->oldest = (my->oldest + 1) % my->limit;
    return it;
}

/* The list only tells that something has ended; the ring tells what. */
static void forget_order(struct map *my)
{
    if (my->ordered)
        my->list.first = my->list.last = NULL;
}

static void release_slot(struct map *my)
{
    struct coil_task *task = my->read->task;
    coil_task_drop(&task);
    finisher_unwatch(my->read);
    if (!my->ordered) {
        my->read->after = my->unused;
        my->unused = my->read;
    }
    my->read = NULL;
    my->busy--;
}

static void map(struct coil_coro *co)
{
    COIL_ASYNC(map, my) {
        if (my->limit == 0)
            COIL_FAIL(-EINVAL);
        my->slots = slots_new(my);
        if (!my->slots)
            COIL_FAIL(-ENOMEM);

        for (;;) {
            fill_slots(my);
            if (my->busy == 0)
                break;
            while (!readable(my)) {
                forget_order(my);
                COIL_AWAIT(finishers_more(&my->list));
            }
            my->read = read_slot(my);
            COIL_YIELD(my->read->task);
            release_slot(my);
        }

    COIL_FINALLY;
        finishers_forget(&my->list);
        for (size_t i = 0; my->slots && i < my->limit; i++)
            finisher_unwatch(&my->slots[i]);
        coil_free(my->slots, my->limit * sizeof *my->slots);
    }
}

struct coil_future *coil_map(coil_source_fn *source, void *arg, size_t limit)
{
    return COIL_CALL(map, .source = source, .arg = arg, .limit = limit,
                     .ordered = true);
}

struct coil_future *coil_map_unordered(coil_source_fn *source, void *arg,
                                       size_t limit)
{
    return COIL_CALL(map, .source = source, .arg = arg, .limit = limit);
}

/* ---- wait_for --------------------------------------------------------- */

struct wait_for {
    struct coil_coro coro;
    struct coil_task *task;
    struct coil_future *future;
    int64_t duration_ns;
    int err;
};

static void wait_for(struct coil_coro *co)
{
    COIL_ASYNC(wait_for, my) {
        struct coil_future *future = my->future;
        if (my->task && my->duration_ns <= 0 && !coil_task_done(my->task)) {
            coil_task_cancel_reason(my->task, COIL_CANCEL_TIMEOUT);
            COIL_TRY_AWAIT(my->err, my->task);
            if (my->err == -ECANCELED)
                COIL_FAIL(-ETIMEDOUT);
            COIL_RETURN_AWAIT(my->task);
        }
        if (my->task) {
            if (!coil_task_done(my->task))
                COIL_WITHIN(my->duration_ns);
            COIL_RETURN_AWAIT(my->task);
        }
        if (my->duration_ns <= 0 && !coil_future_done(future))
            COIL_FAIL(-ETIMEDOUT);
        COIL_WITHIN(my->duration_ns);
        my->future = NULL;
        COIL_RETURN_AWAIT(future);

    COIL_FINALLY;
        if (my->task)
            let_go(my->task);
        if (my->future)
            coil_drop(my->future);
    }
}

struct coil_future *coil_wait_for_task(struct coil_task *task,
                                       int64_t duration_ns)
{
    struct coil_future *f = COIL_CALL(wait_for, .task = task,
                                      .duration_ns = duration_ns);
    if (!coil_future_done(f))
        keep(task);
    return f;
}

struct coil_future *coil_wait_for_future(struct coil_future *future,
                                         int64_t duration_ns)
{
    struct coil_future *f = COIL_CALL(wait_for, .future = future,
                                      .duration_ns = duration_ns);
    if (coil_future_done(f)) /* no memory */
        coil_drop(future);
    return f;
}
