// SPDX-License-Identifier: MIT
/*
 * task_pool.c: each call gets a task that waits for a slot, then runs the call.
 *
 * A task is the child of the coroutine that runs when the task is made, and a
 * call must be a child of its spawner. But when a slot becomes free, another
 * coroutine runs. So coil_task_pool_spawn() makes a task at once, and this task
 * waits for the slot:
 *
 *     spawn() ----makes----> pooled task: waits for its slot
 *        | entry                | slot granted: completes the entry
 *        v                      v
 *     awaited by the spawner  the call, a child of the pooled task; its error
 *                             is reported with the name of the call
 *
 * The entry and the pooled task point at each other until the call has begun,
 * the task has ended, or the entry was cancelled or discarded. The first of
 * these events clears both pointers.
 *
 * Invariant: a slot is free only if no call waits. `waiting` also counts pooled
 * tasks that have not made their first step: they are not in `waiters` yet, but
 * a later call must not get a slot before them.
 */
#include <coil/task_pool.h>

#include <errno.h>

#include <coil/coroutine.h>
#include <coil/task.h>

#include "base/check.h"
#include "base/list.h"

/* The future that the spawner awaits. */
struct entry {
    struct coil_custom custom;
    struct coili_pooled *pooled; /* NULL once the call has begun or ended */
};

struct coili_pooled {
    struct coil_coro coro;
    struct coil_task_pool *pool;
    struct coil_future *call, *admission; /* until they are awaited */
    struct entry *entry;
    struct coil_task *self, *task;
    struct coili_pooled *next, **at; /* links of pool->members */
    bool has_slot;
};

void coil_task_pool_init(struct coil_task_pool *pool, size_t limit)
{
    coili_check(pool, "coil_task_pool_init: pool is NULL");
    *pool = (struct coil_task_pool){ .limit = limit };
    coil_waiters_init(&pool->waiters);
    coil_waiters_init(&pool->joiners);
}

/* ---- Slots --------------------------------------------------------------- */

static bool take_slot(void *arg)
{
    struct coil_task_pool *pool = arg;
    if (pool->running >= pool->limit)
        return false;
    pool->running++;
    return true;
}

static void admit_waiters(struct coil_task_pool *pool)
{
    while (!coil_waiters_empty(&pool->waiters) && take_slot(pool))
        coil_waiters_wake(&pool->waiters);
}

static void join_members(struct coil_task_pool *pool, struct coili_pooled *my)
{
    my->next = pool->members;
    if (my->next)
        my->next->at = &my->next;
    my->at = &pool->members;
    pool->members = my;
}

/* A pooled task ends: give its slot to the next call, or wake the joiners. */
static void leave_members(struct coil_task_pool *pool, struct coili_pooled *my)
{
    if (!my->at)
        return; /* not a member yet: spawning it has failed */
    *my->at = my->next;
    if (my->next)
        my->next->at = my->at;
    if (my->has_slot) {
        pool->running--;
        admit_waiters(pool);
    } else {
        pool->waiting--;
    }
    if (!pool->members)
        while (coil_waiters_wake(&pool->joiners))
            ;
}

/* ---- The task ------------------------------------------------------------ */

/* Complete the entry with 0 or an error, unless it is already complete. */
static void complete_entry(struct coili_pooled *my, int err)
{
    struct entry *entry = my->entry;
    if (!entry)
        return;
    my->entry = NULL;
    entry->pooled = NULL;
    if (err < 0)
        coil_future_set_error(&entry->custom.future, err);
    else
        coil_future_set_int(&entry->custom.future, 0);
}

static struct coil_future *move_future(struct coil_future **from)
{
    struct coil_future *f = *from;
    *from = NULL;
    return f;
}

static bool failed(struct coil_task *task)
{
    struct coil_future *f = coil_task_future(task);
    return coil_future_failed(f) && !coil_future_cancelled(f);
}

/* The task: wait for a slot, run the call as a child, leave the pool. */
static void coili_pooled(struct coil_coro *co)
{
    COIL_ASYNC(coili_pooled, my) {
        if (!my->has_slot) {
            COIL_AWAIT(move_future(&my->admission));
            my->has_slot = true;
            my->pool->waiting--;
        }
        my->task = coil_spawn(move_future(&my->call));
        if (!coil_task_frame(my->task)) {
            complete_entry(my, -ENOMEM);
            COIL_FAIL(-ENOMEM); /* reports the error, if the entry is done */
        }
        complete_entry(my, 0);
        COIL_JOIN();

    COIL_FINALLY;
        if (my->admission)
            coil_discard(my->admission);
        if (my->call)
            coil_discard(my->call);
        if (my->task && failed(my->task))
            my->pool->failed++;
        complete_entry(my, -ECANCELED);
        leave_members(my->pool, my);
    }
}

/* ---- The entry ----------------------------------------------------------- */

static struct entry *entry_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct entry, custom.future);
}

/* The entry is cancelled or freed: a call that has no slot must not begin. */
static void withdraw_call(struct entry *entry)
{
    struct coili_pooled *pooled = entry->pooled;
    if (!pooled)
        return;
    entry->pooled = NULL;
    pooled->entry = NULL;
    if (!pooled->has_slot)
        coil_task_cancel(pooled->self);
}

static void entry_start(struct coil_future *f)
{
    (void)f; /* the pooled task does the waiting */
}

static void entry_cancel(struct coil_future *f)
{
    withdraw_call(entry_of(f));
    coil_future_set_error(f, -ECANCELED);
}

static void entry_free(struct coil_future *f)
{
    withdraw_call(entry_of(f));
    coil_custom_free(f);
}

static const struct coil_future_class entry_class = {
    .name = "task pool",
    .start = entry_start,
    .cancel = entry_cancel,
    .free = entry_free,
    .cancels_unstarted = true,
};

/* Make the pooled task, which has or waits for a slot; NULL: no memory. */
static struct coili_pooled *pooled_new(struct coil_task_pool *pool,
                                       struct coil_future *call)
{
    struct coil_future *admission = coil_waiters_wait(
        &pool->waiters, "task pool", take_slot, pool);
    struct coil_future *f = COIL_CALL(coili_pooled, .pool = pool, .call = call,
                                      .admission = admission);
    if (coil_future_done(f)) {
        coil_discard(admission);
        coil_discard(call);
        return NULL;
    }
    struct coili_pooled *pooled = (struct coili_pooled *)(void *)f;
    if (coil_future_done(admission)) {
        coil_discard(f); /* its FINALLY discards the call */
        return NULL;
    }
    struct coil_task *task = coil_spawn(f);
    if (!coil_task_frame(task))
        return NULL;
    pooled->self = task;
    coil_task_drop(&task); /* no handle: the task is freed when it ends */
    join_members(pool, pooled);
    pooled->has_slot = pool->waiting == 0 && take_slot(pool);
    pool->waiting += !pooled->has_slot;
    return pooled;
}

/* Make entry and pooled task; out of memory, discard the call. */
struct coil_future *coil_task_pool_spawn(struct coil_task_pool *pool,
                                         struct coil_future *call)
{
    coili_check(pool, "coil_task_pool_spawn: pool is NULL");
    coili_check(call, "coil_task_pool_spawn: call is NULL");
    if (coil_future_failed(call)) /* CALL() had no memory */
        return call;
    struct entry *entry = coil_custom_new(&entry_class, sizeof *entry);
    if (!entry) {
        coil_discard(call);
        return coil_future_from_nomem();
    }
    struct coili_pooled *pooled = pooled_new(pool, call);
    if (!pooled) {
        coil_future_set_error(&entry->custom.future, -ENOMEM);
    } else if (pooled->has_slot) {
        coil_future_set_int(&entry->custom.future, 0);
    } else {
        entry->pooled = pooled;
        pooled->entry = entry;
    }
    return &entry->custom.future;
}

/* ---- The pool ------------------------------------------------------------ */

void coil_task_pool_resize(struct coil_task_pool *pool, size_t limit)
{
    coili_check(pool, "coil_task_pool_resize: pool is NULL");
    pool->limit = limit;
    admit_waiters(pool);
}

static bool all_ended(void *pool)
{
    return !((struct coil_task_pool *)pool)->members;
}

struct coil_future *coil_task_pool_join(struct coil_task_pool *pool)
{
    coili_check(pool, "coil_task_pool_join: pool is NULL");
    return coil_waiters_wait(&pool->joiners, "task pool join", all_ended, pool);
}

void coil_task_pool_cancel_all(struct coil_task_pool *pool)
{
    coili_check(pool, "coil_task_pool_cancel_all: pool is NULL");
    for (struct coili_pooled *p = pool->members; p; p = p->next)
        coil_task_cancel(p->self);
}

size_t coil_task_pool_running(const struct coil_task_pool *pool)
{
    return pool->running;
}

size_t coil_task_pool_available(const struct coil_task_pool *pool)
{
    bool full = pool->waiting || pool->running >= pool->limit;
    return full ? 0 : pool->limit - pool->running;
}

size_t coil_task_pool_waiting(const struct coil_task_pool *pool)
{
    return pool->waiting;
}

size_t coil_task_pool_failed(const struct coil_task_pool *pool)
{
    return pool->failed;
}
