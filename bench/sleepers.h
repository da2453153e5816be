// SPDX-License-Identifier: MIT
/*
 * sleepers.h: what the million sleeping tasks have in common in every language.
 *
 *     PROGRAM [--tasks N] [--seconds S]
 *
 * Tasks sleep until a common moment S seconds after the start, plus a spread of
 * up to a second, and end. Memory is read while all of them sleep: resident
 * bytes beyond those of the process before it had any, and the peak. A task
 * that wakes before the last one sleeps would spoil that, so it ends the run.
 */
#ifndef BENCH_SLEEPERS_H
#define BENCH_SLEEPERS_H

#include "bench.h"

struct sleepers {
    long tasks;
    int64_t due_ns; /* when the first of them wakes */
    int64_t start_ns, start_cpu_ns, spawned_cpu_ns;
    int64_t empty_bytes, asleep_bytes;
};

static inline struct sleepers sleepers_begin(int argc, char **argv)
{
    struct sleepers s;
    double seconds = 2;
    memset(&s, 0, sizeof s);
    s.tasks = 1000000;
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--tasks") == 0)
            s.tasks = strtol(value, NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = strtod(value, NULL);
        else
            s.tasks = 0;
    }
    if (s.tasks <= 0 || seconds <= 0)
        die("usage: %s [--tasks N] [--seconds S]", argv[0]);
    s.empty_bytes = resident_bytes();
    s.start_ns = now_ns();
    s.start_cpu_ns = cpu_ns();
    s.due_ns = s.start_ns + (int64_t)(seconds * 1e9);
    return s;
}

/* When task `i` wakes. */
static inline int64_t sleepers_due(const struct sleepers *s, long i)
{
    return s->due_ns + i % 1000 * 1000000;
}

/* To be called when the last task sleeps. */
static inline void sleepers_all_asleep(struct sleepers *s)
{
    s->spawned_cpu_ns = cpu_ns();
    s->asleep_bytes = resident_bytes();
    if (now_ns() >= s->due_ns)
        die("some were awake before all slept: give more --seconds");
}

static inline void sleepers_end(const struct sleepers *s, const char *peer,
                                long ended)
{
    double n = (double)s->tasks;
    if (ended != s->tasks)
        die("%ld of %ld ended", ended, s->tasks);
    printf("peer=%s tasks=%ld bytes_per_task=%.1f peak_bytes_per_task=%.1f "
           "spawn_ns=%.1f cpu_s=%.3f wall_s=%.3f\n",
           peer, s->tasks, (double)(s->asleep_bytes - s->empty_bytes) / n,
           (double)(peak_bytes() - s->empty_bytes) / n,
           (double)(s->spawned_cpu_ns - s->start_cpu_ns) / n,
           (double)cpu_ns() / 1e9,
           (double)(now_ns() - s->start_ns) / 1e9);
}

/* For those without a loop of their own. */
static inline void sleep_until_ns(int64_t due)
{
    struct timespec t = { due / 1000000000, due % 1000000000 };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        continue;
}

#endif
