// SPDX-License-Identifier: MIT
#ifndef COILI_CYCLES_H
#define COILI_CYCLES_H

/*
 * cycles.h: whether to look at the clock, asked in every pass.
 *
 * A pass of one short step takes 7 ns. To read the clock takes 20 ns, to read
 * the processor's time stamp counter 8. So the loop reads the counter, and
 * reads the clock when the counter has advanced far enough.
 *
 * The counter is not converted to nanoseconds and needs no calibration:
 * COILI_CYCLES_SHORT must only be less than 1 ms. The counters of x86-64
 * processors run at 0.6 to 5 GHz, which makes it 0.02 to 0.17 ms. On arm64 a
 * register holds the rate. On other processors the clock is the counter.
 *
 * When a thread moves to a processor whose counter is behind, the difference is
 * a large unsigned number: the loop looks at the clock too early, not too late.
 */

#include <stdbool.h>
#include <stdint.h>

#include <coil/time.h>

#if defined(__x86_64__)
#define COILI_CYCLES_SHORT 100000u
#elif defined(__aarch64__)
#define COILI_CYCLES_SHORT (coili_cycles_rate() >> 14)
#else
#define COILI_CYCLES_SHORT 100000u /* nanoseconds */
#endif

#ifdef __aarch64__
static inline uint64_t coili_cycles_rate(void)
{
    uint64_t per_second;
    __asm__("mrs %0, cntfrq_el0" : "=r"(per_second));
    return per_second;
}
#endif

static inline uint64_t coili_cycles(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t count;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(count));
    return count;
#else
    return (uint64_t)coil_now();
#endif
}

/* True if coili_cycles() was `since` at least COILI_CYCLES_SHORT before now. */
static inline bool coili_cycles_passed(uint64_t since)
{
    return coili_cycles() - since >= COILI_CYCLES_SHORT;
}

#endif
