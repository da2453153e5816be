// SPDX-License-Identifier: MIT
#ifndef GATE_H
#define GATE_H

/*
 * gate.h: threads that stop where a test wants them to.
 *
 *     gate_pass(&gate)         in a thread: says that it is there, and waits
 *     gate_await(&gate, 2)     until two are there
 *     gate_open(&gate, n)      lets n of them through; -1: all, for ever
 *     threads_there()          how many the process has
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int there, open; /* how many have come; how many may pass */
};

#define GATE_INIT \
    { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER }

static inline void gate_pass(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->there++;
    pthread_cond_broadcast(&g->changed);
    while (g->open == 0)
        pthread_cond_wait(&g->changed, &g->lock);
    if (g->open > 0)
        g->open--;
    pthread_mutex_unlock(&g->lock);
}

static inline void gate_await(struct gate *g, int n)
{
    pthread_mutex_lock(&g->lock);
    while (g->there < n)
        pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

static inline void gate_open(struct gate *g, int n)
{
    pthread_mutex_lock(&g->lock);
    g->open = n;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

static inline int gate_there(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    int there = g->there;
    pthread_mutex_unlock(&g->lock);
    return there;
}

static inline void *gate_note_id(void *id)
{
    *(pid_t *)id = gettid();
    return NULL;
}

/*
 * With the first thread a sanitizer makes one of its own: here is the first.
 * The kernel counts a thread for a moment after it was joined, so this waits
 * until the thread has gone.
 */
static inline int threads_there(void)
{
    pthread_t thread;
    pid_t id = 0;
    char line[128];
    if (pthread_create(&thread, NULL, gate_note_id, &id) == 0)
        pthread_join(thread, NULL);
    snprintf(line, sizeof line, "/proc/self/task/%d", (int)id);
    while (id && access(line, F_OK) == 0)
        sched_yield();
    int n = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "Threads: %d", &n) == 1)
            break;
    if (status)
        fclose(status);
    return n;
}

#endif
