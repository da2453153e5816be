// SPDX-License-Identifier: MIT
/*
 * scale.h: rows that do the same with 1,000, 10,000 and 100,000 elements.
 *
 * A row prepares its elements, measures what it does with them between
 * measured_on() and measured_off(), and cleans up. Printed is the CPU time per
 * element. Under `valgrind --tool=callgrind --instr-atstart=no` instructions
 * are counted in the measured part only.
 *
 * Elements are taken from the middle of their list to both ends: neighbours in
 * the list are near in memory, so that the work counts, and caches do not.
 */
#ifndef SCALE_H
#define SCALE_H

#include <stdbool.h>

#include "bench.h"

#if defined(__has_include)
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#endif
#endif
#ifndef CALLGRIND_START_INSTRUMENTATION
#define CALLGRIND_START_INSTRUMENTATION ((void)0)
#define CALLGRIND_STOP_INSTRUMENTATION ((void)0)
#endif

enum { MOST = 100000 };

struct scale_row {
    const char *name;
    void (*work)(size_t n);
    size_t most; /* elements; 0: MOST */
};

static int64_t measured_since, measured_ns;

static inline void measured_on(void)
{
    measured_since = cpu_ns();
    CALLGRIND_START_INSTRUMENTATION;
}

static inline void measured_off(void)
{
    CALLGRIND_STOP_INSTRUMENTATION;
    measured_ns += cpu_ns() - measured_since;
}

/* The i-th of n elements, from the middle to both ends. */
static inline size_t from_middle(size_t i, size_t n)
{
    return i % 2 ? n / 2 - i / 2 - 1 : n / 2 + i / 2;
}

static inline double run_once(const struct scale_row *row, size_t n)
{
    measured_ns = 0;
    row->work(n);
    return (double)measured_ns / (double)n;
}

static inline void run_row(const char *peer, const struct scale_row *row,
                           size_t n, int repetitions)
{
    double ns[64];
    if (row->most && n > row->most)
        n = row->most;
    for (int i = 0; i < repetitions; i++)
        ns[i] = run_once(row, n);
    qsort(ns, (size_t)repetitions, sizeof *ns, compare_doubles);
    printf("peer=%s row=%s elements=%zu ns=%.3f best_ns=%.3f\n", peer,
           row->name, n, ns[repetitions / 2], ns[0]);
    fflush(stdout);
}

/*
 * --quick, for fewer repetitions; --most N, for no more elements; --row ROW and
 * --elements N, to run it once; --list, for the rows and their most elements. A
 * row of NULL ends `rows`.
 */
static inline int scale_main(const char *peer, const struct scale_row *rows,
                             int argc, char **argv)
{
    static const struct { size_t n; int usual, quick; } sizes[] = {
        { 1000, 21, 5 }, { 10000, 7, 3 }, { MOST, 3, 1 }
    };
    const char *only = NULL;
    size_t elements = 0, most = MOST;
    bool quick = false, list = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0)
            quick = true;
        else if (strcmp(argv[i], "--list") == 0)
            list = true;
        else if (strcmp(argv[i], "--row") == 0 && i + 1 < argc)
            only = argv[++i];
        else if (strcmp(argv[i], "--elements") == 0 && i + 1 < argc)
            elements = (size_t)atol(argv[++i]);
        else if (strcmp(argv[i], "--most") == 0 && i + 1 < argc)
            most = (size_t)atol(argv[++i]);
        else
            die("usage: %s [--quick] [--most N] [--row ROW] [--elements N] "
                "[--list]",
                argv[0]);
    }
    for (const struct scale_row *row = rows; row->name; row++) {
        if (only && strcmp(only, row->name) != 0)
            continue;
        if (list)
            printf("row=%s most=%zu\n", row->name,
                   row->most ? row->most : (size_t)MOST);
        else if (elements)
            run_row(peer, row, elements, 1);
        else
            for (size_t i = 0; i < 3 && sizes[i].n <= most; i++)
                run_row(peer, row, sizes[i].n,
                        quick ? sizes[i].quick : sizes[i].usual);
    }
    return 0;
}

#endif
