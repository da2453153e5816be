// SPDX-License-Identifier: MIT
/*
 * late.h: how late a timer is beside tasks that are always busy.
 *
 *     PROGRAM [--step US] [--seconds S]
 *
 * 20 tasks use the CPU for US microseconds in each of their steps, for ever (0:
 * a step does nothing). Beside them a timer of 10 ms is set again and again.
 * How late each one came is noted; the worst and the median are printed.
 */
#ifndef BENCH_LATE_H
#define BENCH_LATE_H

#include "bench.h"

#define LATE_TASKS 20
#define LATE_PERIOD_NS INT64_C(10000000)
#define LATE_TIMERS_MOST 10000

struct late {
    int64_t step_ns, end_ns;
    double us[LATE_TIMERS_MOST];
    int n;
};

static inline struct late late_begin(int argc, char **argv)
{
    double step = 0, seconds = 1;
    struct late l;
    memset(&l, 0, sizeof l);
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--step") == 0)
            step = strtod(value, NULL);
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = strtod(value, NULL);
        else
            seconds = 0;
    }
    if (step < 0 || seconds <= 0)
        die("usage: %s [--step US] [--seconds S]", argv[0]);
    l.step_ns = (int64_t)(step * 1e3);
    l.end_ns = now_ns() + (int64_t)(seconds * 1e9);
    return l;
}

/* One step of a busy task. */
static inline void late_step(const struct late *l)
{
    if (l->step_ns > 0)
        for (int64_t end = now_ns() + l->step_ns; now_ns() < end;)
            ;
}

/* The timer of this deadline has come. */
static inline void late_came(struct late *l, int64_t deadline)
{
    if (l->n < LATE_TIMERS_MOST)
        l->us[l->n++] = (double)(now_ns() - deadline) / 1e3;
}

static inline int late_is_over(const struct late *l)
{
    return now_ns() >= l->end_ns;
}

static inline void late_end(struct late *l, const char *peer)
{
    if (l->n == 0)
        die("no timer came");
    qsort(l->us, (size_t)l->n, sizeof *l->us, compare_doubles);
    printf("peer=%s worst_us=%.1f median_us=%.1f n=%d\n", peer,
           l->us[l->n - 1], l->us[l->n / 2], l->n);
}

#endif
