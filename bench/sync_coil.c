// SPDX-License-Identifier: MIT
/*
 * sync_coil.c: the rows of sync_c.c, written as a user of coil writes them.
 *
 *     sync_coil [--quick]
 *
 * Errors are awaited and end the program: AWAIT ends the coroutine with them.
 */
#include <coil/condition.h>
#include <coil/coroutine.h>
#include <coil/event.h>
#include <coil/group.h>
#include <coil/lock.h>
#include <coil/queue.h>
#include <coil/semaphore.h>
#include <coil/task.h>
#include <coil/wait.h>

#include "bench.h"

static long total;

static void check(int err)
{
    if (err < 0)
        die("failed: %s", coil_strerror(err));
}

/* ---- Turns: lock_2, lock_100, semaphore --------------------------------- */

struct locker {
    struct coil_coro coro;
    struct coil_lock *lock;
    long left;
};

static void locker(struct coil_coro *co)
{
    ASYNC(locker, my) {
        for (; my->left > 0; my->left--) {
            AWAIT(coil_lock_acquire(my->lock));
            AWAIT(coil_sleep(0));
            coil_lock_release(my->lock);
        }
    }
}

struct lockers {
    struct coil_coro coro;
    struct coil_lock lock;
    long n, tasks, i;
};

static void lockers(struct coil_coro *co)
{
    ASYNC(lockers, my) {
        coil_lock_init(&my->lock);
        for (my->i = 0; my->i < my->tasks; my->i++)
            check(START(locker, .lock = &my->lock, .left = my->n / my->tasks));
        JOIN();
    }
}

static void lock_2(long n)
{
    check(RUN(lockers, .n = n, .tasks = 2));
}

static void lock_100(long n)
{
    check(RUN(lockers, .n = n, .tasks = 100));
}

struct permitted {
    struct coil_coro coro;
    struct coil_semaphore *permits;
    long left;
};

static void permitted(struct coil_coro *co)
{
    ASYNC(permitted, my) {
        for (; my->left > 0; my->left--) {
            AWAIT(coil_semaphore_acquire(my->permits));
            AWAIT(coil_sleep(0));
            coil_semaphore_release(my->permits);
        }
    }
}

struct permits {
    struct coil_coro coro;
    struct coil_semaphore permits;
    long n, i;
};

static void permits(struct coil_coro *co)
{
    ASYNC(permits, my) {
        coil_semaphore_init(&my->permits, 10);
        for (my->i = 0; my->i < 100; my->i++)
            check(START(permitted, .permits = &my->permits,
                        .left = my->n / 100));
        JOIN();
    }
}

static void semaphore(long n)
{
    check(RUN(permits, .n = n));
}

/* ---- From hand to hand: queue_0, queue_1, queue_100 --------------------- */

struct producer {
    struct coil_coro coro;
    struct coil_queue *queue;
    long n, i;
};

static void producer(struct coil_coro *co)
{
    ASYNC(producer, my) {
        for (my->i = 0; my->i < my->n; my->i++)
            AWAIT(coil_queue_put(my->queue, (void *)(intptr_t)my->i));
    }
}

struct consumer {
    struct coil_coro coro;
    struct coil_queue queue;
    size_t limit;
    long n, i;
    void *item;
};

static void consumer(struct coil_coro *co)
{
    ASYNC(consumer, my) {
        coil_queue_init(&my->queue, my->limit);
        check(START(producer, .queue = &my->queue, .n = my->n));
        for (my->i = 0; my->i < my->n; my->i++) {
            AWAIT_TO(my->item, coil_queue_get(&my->queue));
            total += (intptr_t)my->item;
        }
        JOIN();
        coil_queue_fini(&my->queue);
    }
}

static void queue_0(long n)
{
    check(RUN(consumer, .n = n, .limit = 0));
}

static void queue_1(long n)
{
    check(RUN(consumer, .n = n, .limit = 1));
}

static void queue_100(long n)
{
    check(RUN(consumer, .n = n, .limit = 100));
}

/* ---- 1000 waiters, woken at once: event, condition ---------------------- */

struct eventful {
    struct coil_coro coro;
    struct coil_event event;
    long n, i, waiting;
};

struct attentive {
    struct coil_coro coro;
    struct eventful *common;
    long left;
};

static void attentive(struct coil_coro *co)
{
    ASYNC(attentive, my) {
        for (; my->left > 0; my->left--) {
            my->common->waiting++;
            AWAIT(coil_event_wait(&my->common->event));
        }
    }
}

static void eventful(struct coil_coro *co)
{
    ASYNC(eventful, my) {
        coil_event_init(&my->event);
        for (my->i = 0; my->i < 1000; my->i++)
            check(START(attentive, .common = my, .left = my->n / 1000));
        for (my->i = 0; my->i < my->n / 1000; my->i++) {
            while (my->waiting < 1000)
                AWAIT(coil_sleep(0));
            my->waiting = 0;
            coil_event_set(&my->event);
            coil_event_clear(&my->event);
        }
        JOIN();
    }
}

static void event(long n)
{
    check(RUN(eventful, .n = n));
}

struct crowd {
    struct coil_coro coro;
    struct coil_condition condition;
    long n, i, waiting;
};

struct member {
    struct coil_coro coro;
    struct crowd *crowd;
    long left;
};

static void member(struct coil_coro *co)
{
    ASYNC(member, my) {
        for (; my->left > 0; my->left--) {
            HOLD(&my->crowd->condition);
            my->crowd->waiting++;
            AWAIT(coil_condition_wait(&my->crowd->condition));
            RELEASE(&my->crowd->condition);
        }
    }
}

static void crowd(struct coil_coro *co)
{
    ASYNC(crowd, my) {
        coil_condition_init(&my->condition, NULL);
        for (my->i = 0; my->i < 1000; my->i++)
            check(START(member, .crowd = my, .left = my->n / 1000));
        for (my->i = 0; my->i < my->n / 1000; my->i++) {
            while (my->waiting < 1000)
                AWAIT(coil_sleep(0));
            my->waiting = 0;
            HOLD(&my->condition);
            coil_condition_notify_all(&my->condition);
            RELEASE(&my->condition);
        }
        JOIN();
    }
}

static void condition(long n)
{
    check(RUN(crowd, .n = n));
}

/* ---- 1000 children: group, gather --------------------------------------- */

struct child {
    struct coil_coro coro;
    long argument;
};

static void child(struct coil_coro *co)
{
    ASYNC(child, my) {
        RETURN(my->argument + 1);
    }
}

struct family {
    struct coil_coro coro;
    struct coil_group group;
    long i;
};

static void family(struct coil_coro *co)
{
    ASYNC(family, my) {
        GROUP(&my->group) {
            for (my->i = 0; my->i < 1000; my->i++)
                check(START(child, .argument = my->i));
        }
    }
}

struct families {
    struct coil_coro coro;
    long n;
};

static void families(struct coil_coro *co)
{
    ASYNC(families, my) {
        for (; my->n > 0; my->n -= 1000)
            AWAIT(CALL(family));
    }
}

static void group(long n)
{
    check(RUN(families, .n = n));
}

struct gatherer {
    struct coil_coro coro;
    struct coil_task *tasks[1000];
    long n, i, result;
};

static void gatherer(struct coil_coro *co)
{
    ASYNC(gatherer, my) {
        for (; my->n > 0; my->n -= 1000) {
            for (my->i = 0; my->i < 1000; my->i++)
                my->tasks[my->i] = SPAWN(child, .argument = my->i);
            AWAIT(coil_gather(my->tasks, 1000));
            for (my->i = 0; my->i < 1000; my->i++) {
                AWAIT_TO(my->result, my->tasks[my->i]);
                total += my->result;
                coil_task_drop(&my->tasks[my->i]);
            }
        }
    }
}

static void gather(long n)
{
    check(RUN(gatherer, .n = n));
}

/* ---- generator ---------------------------------------------------------- */

struct count {
    struct coil_coro coro;
    long n, i;
};

static void count(struct coil_coro *co)
{
    ASYNC(count, my) {
        for (my->i = 0; my->i < my->n; my->i++)
            YIELD(my->i);
    }
}

struct counted {
    struct coil_coro coro;
    long n, item;
};

static void counted(struct coil_coro *co)
{
    ASYNC(counted, my) {
        FOR_AWAIT(my->item, CALL(count, .n = my->n))
            total += my->item;
    }
}

static void generator(long n)
{
    check(RUN(counted, .n = n));
}

int main(int argc, char **argv)
{
    struct bench b = bench_options(argc, argv);
    b.peer = "coil";
    measure(&b, "lock_2", lock_2);
    measure(&b, "lock_100", lock_100);
    measure(&b, "semaphore", semaphore);
    measure(&b, "queue_0", queue_0);
    measure(&b, "queue_1", queue_1);
    measure(&b, "queue_100", queue_100);
    measure(&b, "event", event);
    measure(&b, "condition", condition);
    measure(&b, "group", group);
    measure(&b, "gather", gather);
    measure(&b, "generator", generator);
    return 0;
}
