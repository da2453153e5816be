// SPDX-License-Identifier: MIT
/*
 * threads_c.c: the limit for what crosses threads: a mutex and conditions.
 *
 *     threads_c [--quick]
 *
 * What somebody would write who needs no loop: whoever waits sleeps in
 * pthread_cond_wait(), and is woken when the mutex is free again. Rows, in ns
 * per operation, wall clock and CPU of all threads together:
 *
 *   executor_1     have a thread of 4 do a trivial job, and wait for it
 *   executor_1000  the same, with 1000 jobs given before the first is awaited
 *   ping           wake another thread, and be woken by it
 *   submit         have another thread's loop do something, and wait for it
 *   channel        an item from one thread to another, 100 places between
 */
#include "bench.h"

#include <pthread.h>
#include <stdbool.h>

struct mailbox { /* one thread waits for what another one sends */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    long value;
    bool full;
};

#define MAILBOX_INIT \
    { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, false }

static void mail(struct mailbox *m, long value)
{
    pthread_mutex_lock(&m->mutex);
    m->value = value;
    m->full = true;
    pthread_mutex_unlock(&m->mutex);
    pthread_cond_signal(&m->changed);
}

static long receive(struct mailbox *m)
{
    pthread_mutex_lock(&m->mutex);
    while (!m->full)
        pthread_cond_wait(&m->changed, &m->mutex);
    m->full = false;
    long value = m->value;
    pthread_mutex_unlock(&m->mutex);
    return value;
}

static long total;

static pthread_t thread(void *(*run)(void *), void *arg)
{
    pthread_t t;
    if (pthread_create(&t, NULL, run, arg))
        die("no thread");
    return t;
}

// --- executor ---------------------------------------------------------------

enum { WORKERS = 4 };

struct job {
    struct job *next;
    long (*run)(long);
    long argument, result;
};

static struct pool {
    pthread_mutex_t mutex;
    pthread_cond_t has_job, is_done;
    struct job *first, **end;
    long open; /* jobs not done */
} pool = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER,
           PTHREAD_COND_INITIALIZER, NULL, &pool.first, 0 };

static void *worker(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&pool.mutex);
    for (;;) {
        struct job *job = pool.first;
        if (!job) {
            pthread_cond_wait(&pool.has_job, &pool.mutex);
            continue;
        }
        pool.first = job->next;
        if (!pool.first)
            pool.end = &pool.first;
        pthread_mutex_unlock(&pool.mutex);
        job->result = job->run(job->argument);
        pthread_mutex_lock(&pool.mutex);
        if (--pool.open > 0)
            continue;
        pthread_mutex_unlock(&pool.mutex);
        pthread_cond_signal(&pool.is_done);
        pthread_mutex_lock(&pool.mutex);
    }
    return NULL;
}

OPAQUE static long increment(long argument)
{
    return argument + 1;
}

/* Put `n` jobs in line; wake as many workers as have something to do. */
static void give(struct job *jobs, long n)
{
    for (long i = 0; i < n; i++)
        jobs[i] = (struct job){ .next = i + 1 < n ? &jobs[i + 1] : NULL,
                                .run = increment,
                                .argument = i };
    pthread_mutex_lock(&pool.mutex);
    *pool.end = jobs;
    pool.end = &jobs[n - 1].next;
    pool.open += n;
    pthread_mutex_unlock(&pool.mutex);
    for (long i = 0; i < n && i < WORKERS; i++)
        pthread_cond_signal(&pool.has_job);
}

static void wait_for_all(void)
{
    pthread_mutex_lock(&pool.mutex);
    while (pool.open)
        pthread_cond_wait(&pool.is_done, &pool.mutex);
    pthread_mutex_unlock(&pool.mutex);
}

static void executor(long n, long at_once)
{
    static struct job jobs[1000];
    for (; n > 0; n -= at_once) {
        give(jobs, at_once);
        wait_for_all();
        for (long i = 0; i < at_once; i++)
            total += jobs[i].result;
    }
}

static void executor_1(long n)
{
    executor(n, 1);
}

static void executor_1000(long n)
{
    executor(n, 1000);
}

// --- There and back ---------------------------------------------------------

struct pair {
    struct mailbox there, back;
    long n;
};

static void *echo(void *arg)
{
    struct pair *p = arg;
    for (long i = 0; i < p->n; i++)
        mail(&p->back, increment(receive(&p->there)));
    return NULL;
}

static void ping(long n)
{
    struct pair p = { MAILBOX_INIT, MAILBOX_INIT, n };
    pthread_t other = thread(echo, &p);
    for (long i = 0; i < n; i++) {
        mail(&p.there, i);
        total += receive(&p.back);
    }
    pthread_join(other, NULL);
}

// --- channel ----------------------------------------------------------------

enum { ROOM = 100 };

struct channel {
    pthread_mutex_t mutex;
    pthread_cond_t has_item, has_room;
    long items[ROOM];
    long head, filled, n;
};

static void *produce(void *arg)
{
    struct channel *c = arg;
    for (long i = 0; i < c->n; i++) {
        pthread_mutex_lock(&c->mutex);
        while (c->filled == ROOM)
            pthread_cond_wait(&c->has_room, &c->mutex);
        c->items[(c->head + c->filled) % ROOM] = i;
        bool was_empty = c->filled++ == 0;
        pthread_mutex_unlock(&c->mutex);
        if (was_empty)
            pthread_cond_signal(&c->has_item);
    }
    return NULL;
}

static void channel(long n)
{
    struct channel c = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER,
                         PTHREAD_COND_INITIALIZER, { 0 }, 0, 0, n };
    pthread_t other = thread(produce, &c);
    for (long i = 0; i < n; i++) {
        pthread_mutex_lock(&c.mutex);
        while (c.filled == 0)
            pthread_cond_wait(&c.has_item, &c.mutex);
        total += c.items[c.head];
        c.head = (c.head + 1) % ROOM;
        bool was_full = c.filled-- == ROOM;
        pthread_mutex_unlock(&c.mutex);
        if (was_full)
            pthread_cond_signal(&c.has_room);
    }
    pthread_join(other, NULL);
}

int main(int argc, char **argv)
{
    struct bench b = bench_options(argc, argv);
    b.peer = "c";
    for (int i = 0; i < WORKERS; i++)
        thread(worker, NULL); // until the process ends
    measure(&b, "executor_1", executor_1);
    measure(&b, "executor_1000", executor_1000);
    measure(&b, "ping", ping);
    measure(&b, "submit", ping);
    measure(&b, "channel", channel);
    return 0;
}
