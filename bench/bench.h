// SPDX-License-Identifier: MIT
/*
 * bench.h: what every measuring program needs, and nothing it measures.
 *
 * Clocks, the memory of a process, and one way to repeat a loop. C and C++
 * include it. Everything is printed as lines of `key=value`, which bench/run
 * collects; text for people goes to stderr.
 *
 * Memory comes from smaps_rollup and VmHWM. The kernel's cheaper counters are
 * batched per CPU, and getrusage's ru_maxrss survives an exec, so a small
 * program started by a large one would show the large one's peak.
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/*
 * A function that the compiler must treat as one of another translation unit:
 * not inlined, not specialised, nothing known of what it does to memory.
 */
#ifdef __clang__
#define OPAQUE __attribute__((noinline))  // clang has nothing stricter
#else
#define OPAQUE __attribute__((noipa))
#endif

/* The compiler may assume nothing about `pointer` or memory after this. */
#define LAUNDER(pointer) __asm__ volatile("" : "+r"(pointer) : : "memory")

__attribute__((noreturn, format(printf, 1, 2))) static inline void
die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static inline int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) < 0)
        die("clock_gettime: %s", strerror(errno));
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* CPU time of this process, user and system together. */
static inline int64_t cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

/* The number behind `field` in a file of /proc, in bytes (the file has kB). */
static inline int64_t proc_bytes(const char *path, const char *field)
{
    FILE *file = fopen(path, "r");
    char line[256];
    long kilobytes = -1;
    size_t length = strlen(field);

    while (file && kilobytes < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, field, length) == 0)
            kilobytes = strtol(line + length, NULL, 10);
    if (file)
        fclose(file);
    if (kilobytes < 0)
        die("%s: no %s", path, field);
    return (int64_t)kilobytes * 1024;
}

static inline int64_t resident_bytes(void)
{
    return proc_bytes("/proc/self/smaps_rollup", "Rss:");
}

static inline int64_t peak_bytes(void)
{
    return proc_bytes("/proc/self/status", "VmHWM:");
}

static inline int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct bench {
    const char *peer; /* who is measured, as bench/run names it */
    double seconds;   /* of one repetition */
    int repetitions;
    const char *only; /* this row; NULL: all */
};

/* What one operation of a row took, in ns. */
struct sample {
    double cpu, wall;
};

static inline struct sample take_sample(void (*loop)(long n), long n)
{
    int64_t wall = now_ns(), cpu = cpu_ns();
    loop(n);
    return (struct sample){ (double)(cpu_ns() - cpu) / (double)n,
                            (double)(now_ns() - wall) / (double)n };
}

/*
 * Run `loop(n)` with an n that takes `seconds`, several times, and print the
 * medians of CPU and wall-clock ns per operation, and the best of each. CPU
 * time does not count when somebody else has the core.
 */
static inline void measure(const struct bench *b, const char *row,
                           void (*loop)(long n))
{
    double cpu[64], wall[64];
    int repetitions = b->repetitions < 64 ? b->repetitions : 64;
    long n = 1000;

    if (b->only && strcmp(row, b->only) != 0)
        return;
    do
        n *= 2;
    while (take_sample(loop, n).wall * (double)n < b->seconds * 1e9 / 2);
    for (int i = 0; i < repetitions; i++) {
        struct sample s = take_sample(loop, n);
        cpu[i] = s.cpu;
        wall[i] = s.wall;
    }
    qsort(cpu, (size_t)repetitions, sizeof *cpu, compare_doubles);
    qsort(wall, (size_t)repetitions, sizeof *wall, compare_doubles);
    printf("peer=%s row=%s ns=%.3f best_ns=%.3f wall_ns=%.3f "
           "best_wall_ns=%.3f n=%ld\n",
           b->peer, row, cpu[repetitions / 2], cpu[0], wall[repetitions / 2],
           wall[0], n);
    fflush(stdout);
}

/* `--quick` for short repetitions, `--row ROW` for one row, as for perf. */
static inline struct bench bench_options(int argc, char **argv)
{
    struct bench b = { "", 0.05, 7, NULL };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            b.seconds = 0.01;
            b.repetitions = 5;
        } else if (strcmp(argv[i], "--row") == 0 && i + 1 < argc) {
            b.only = argv[++i];
        } else {
            die("usage: %s [--quick] [--row ROW]", argv[0]);
        }
    }
    return b;
}

#endif
