// SPDX-License-Identifier: MIT
/*
 * primes.h: a job that keeps a processor busy, the same for all in C.
 *
 * The jobs of a repetition are a hundred, whoever does them: pools are measured
 * with so many given at once.
 */
#ifndef BENCH_PRIMES_H
#define BENCH_PRIMES_H

#include <stdbool.h>

#include "bench.h"

#define PRIME UINT64_C(9999999967)

enum { JOBS = 100 };

static long found; /* primes, of all that were tried */

OPAQUE static bool is_prime(uint64_t n)
{
    if (n % 2 == 0)
        return n == 2;
    for (uint64_t divisor = 3; divisor * divisor <= n; divisor += 2)
        if (n % divisor == 0)
            return false;
    return n > 1;
}

static inline void primes_measure(const struct bench *b, const char *row,
                                  void (*loop)(long n))
{
    double wall[5];
    for (int i = 0; i < 5; i++) {
        found = 0;
        wall[i] = take_sample(loop, JOBS).wall;
        if (found != JOBS)
            die("%s: %ld of %d are prime", row, found, (int)JOBS);
    }
    qsort(wall, 5, sizeof *wall, compare_doubles);
    printf("peer=%s row=%s wall_ns=%.0f\n", b->peer, row, wall[2]);
    fflush(stdout);
}

#endif
