// SPDX-License-Identifier: MIT
/*
 * map.c: run many calls, at most `limit` at the same time.
 *
 * A generator that spawns the calls of its source and yields tasks that have
 * ended. The tasks are its children: closing it cancels and awaits them. So the
 * caller lends the argument of the source until the FOR_AWAIT is over.
 *
 * Invariant: busy <= limit, where a slot is busy from the start of its task
 * until the consumer asks for the task after it. So a task that has ended but
 * was not read keeps its slot, and a slow consumer slows down the source.
 *
 * A source that is a generator may wait while tasks end. So another coroutine,
 * the feeder, runs it: a child of the map, and the parent of the tasks. The
 * feeder must not end before its tasks. When the generator has no more calls
 * the feeder waits for `end`, which is never completed: the map, when it is
 * over, cancels the feeder.
 */
#include <coil/map.h>

#include <errno.h>
#include <stdint.h>
#include <string.h>

#include <coil/coroutine.h>
#include <coil/loop.h>

#include "base/check.h"
#include "finishers.h"

struct map {
    struct coil_coro coro;
    coil_source_fn *source;
    void *arg;
    struct coil_future *generator; /* the source; NULL once the feeder has it */
    size_t limit;
    bool ordered, exhausted;
    int err;                        /* of the generator */
    struct coil_future *slot_freed; /* for which the feeder waits */
    struct coili_finisher *slots;   /* `limit` of them; a ring if ordered */
    struct coili_finisher *unused;  /* the free slots, if not ordered */
    size_t busy, oldest;
    struct coili_finisher *current; /* yielded, not released yet */
    struct coili_finishers list;
};

static struct coili_finisher *slots_new(struct map *my)
{
    if (my->limit > SIZE_MAX / sizeof *my->slots)
        return NULL;
    struct coili_finisher *slots = coil_alloc(my->limit * sizeof *slots);
    if (!slots)
        return NULL;
    memset(slots, 0, my->limit * sizeof *slots);
    for (size_t i = my->limit; !my->ordered && i-- > 0;) {
        slots[i].next = my->unused;
        my->unused = &slots[i];
    }
    return slots;
}

static struct coili_finisher *free_slot(struct map *my)
{
    /* In the ring `current` is busy, and stands before the oldest. */
    if (my->ordered)
        return &my->slots[(my->oldest + my->busy - (my->current != NULL)) %
                          my->limit];
    struct coili_finisher *it = my->unused;
    my->unused = it->next;
    return it;
}

static void begin_call(struct map *my, struct coil_future *call)
{
    coili_finisher_watch(free_slot(my), &my->list, coil_spawn(call));
    my->busy++;
}

static void fill_slots(struct map *my)
{
    while (!my->exhausted && my->busy < my->limit) {
        struct coil_future *call = my->source(my->arg);
        if (call)
            begin_call(my, call);
        else
            my->exhausted = true;
    }
}

/* A future that is done when a slot is free. */
static struct coil_future *wait_for_slot(struct map *my)
{
    struct coil_future *freed = coil_future_new();
    if (!coil_future_done(freed))
        my->slot_freed = coil_future_ref(freed);
    return freed;
}

static void wake_feeder(struct map *my)
{
    struct coil_future *freed = my->slot_freed;
    my->slot_freed = NULL;
    if (freed) {
        coil_future_set_int(freed, 0);
        coil_future_unref(freed);
    }
}

struct feed {
    struct coil_coro coro;
    struct map *map;
    struct coil_future *generator, *end, *call;
    bool more;
};

/*
 * The feeder never fails: the map fails with map->err, after it has yielded all
 * tasks. `end` is made first, since there must be no error after a task began.
 */
static void feed(struct coil_coro *co)
{
    COIL_ASYNC(feed, my) {
        my->end = coil_future_new();
        if (coil_future_done(my->end))
            my->map->err = -ENOMEM;
        while (my->map->err == 0) {
            if (my->map->busy == my->map->limit) {
                COIL_TRY_AWAIT(my->map->err, wait_for_slot(my->map));
                continue;
            }
            if (my->map->generator) {
                my->generator = my->map->generator;
                my->map->generator = NULL;
            }
            COIL_TRY_NEXT(my->map->err, my->more, my->call, my->generator);
            if (!my->more)
                break;
            begin_call(my->map, my->call);
        }
        my->map->exhausted = true;
        coili_finishers_wake(&my->map->list);
        if (!coil_future_done(my->end))
            COIL_AWAIT(coil_future_ref(my->end));

    COIL_FINALLY;
        if (my->end)
            coil_future_unref(my->end);
    }
}

static bool can_yield(const struct map *my)
{
    return my->ordered ? my->slots[my->oldest].ended : my->list.first != NULL;
}

/* Take the slot of the next task to yield; can_yield() is true. */
static struct coili_finisher *take_ended(struct map *my)
{
    if (!my->ordered)
        return coili_finishers_pop(&my->list);
    struct coili_finisher *it = &my->slots[my->oldest];
    my->oldest = (my->oldest + 1) % my->limit;
    return it;
}

/* If ordered, the list only wakes the map; the ring knows which task ended. */
static void clear_list(struct map *my)
{
    if (my->ordered)
        my->list.first = my->list.last = NULL;
}

static void release_slot(struct map *my)
{
    struct coil_task *task = my->current->task;
    coil_task_drop(&task);
    coili_finisher_unwatch(my->current);
    if (!my->ordered) {
        my->current->next = my->unused;
        my->unused = my->current;
    }
    my->current = NULL;
    my->busy--;
    wake_feeder(my);
}

/* Keep the slots busy, wait until a task can be yielded, yield it, repeat. */
static void map(struct coil_coro *co)
{
    COIL_ASYNC(map, my) {
        if (my->limit == 0)
            COIL_FAIL(-EINVAL);
        my->slots = slots_new(my);
        if (!my->slots)
            COIL_FAIL(-ENOMEM);

        if (!my->source)
            my->err = COIL_START(feed, .map = my);
        my->exhausted = my->err < 0;

        for (;;) {
            if (my->source)
                fill_slots(my);
            if (my->busy == 0 && my->exhausted)
                break;
            if (!can_yield(my)) {
                clear_list(my);
                COIL_AWAIT(coili_finishers_wait(&my->list));
                continue;
            }
            my->current = take_ended(my);
            COIL_YIELD(my->current->task);
            release_slot(my);
        }
        if (my->err)
            COIL_FAIL(my->err);

    COIL_FINALLY;
        if (my->generator)
            coil_discard(my->generator);
        if (my->slot_freed)
            coil_future_unref(my->slot_freed);
        coili_finishers_end_wait(&my->list);
        for (size_t i = 0; my->slots && i < my->limit; i++)
            coili_finisher_unwatch(&my->slots[i]);
        coil_free(my->slots, my->limit * sizeof *my->slots);
    }
}

struct coil_future *coil_map(size_t limit, coil_source_fn *source, void *arg)
{
    coili_check(source, "coil_map: source is NULL");
    return COIL_CALL(map, .source = source, .arg = arg, .limit = limit,
                     .ordered = true);
}

struct coil_future *coil_map_unordered(size_t limit, coil_source_fn *source,
                                       void *arg)
{
    coili_check(source, "coil_map_unordered: source is NULL");
    return COIL_CALL(map, .source = source, .arg = arg, .limit = limit);
}

static struct coil_future *map_over(struct coil_future *generator, size_t limit,
                                    bool ordered)
{
    struct coil_future *f = COIL_CALL(map, .generator = generator,
                                      .limit = limit, .ordered = ordered);
    if (coil_future_done(f)) /* no memory */
        coil_discard(generator);
    return f;
}

struct coil_future *coil_map_over(size_t limit, struct coil_future *generator)
{
    coili_check(generator, "coil_map_over: generator is NULL");
    return map_over(generator, limit, true);
}

struct coil_future *coil_map_over_unordered(size_t limit,
                                            struct coil_future *generator)
{
    coili_check(generator, "coil_map_over_unordered: generator is NULL");
    return map_over(generator, limit, false);
}
