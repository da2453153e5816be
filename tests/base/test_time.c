// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_time.c: sums of times, and where they do not fit.
 */
#include "test.h"

#include <coil/time.h>

#include "base/time.h"

struct sum {
    int64_t now, duration, deadline;
};

static void check_sums(const struct sum *sums, size_t n)
{
    for (size_t i = 0; i < n; i++)
        CHECK_INT(coili_deadline(sums[i].now, sums[i].duration),
                  sums[i].deadline);
}

#define CHECK_SUMS(sums) check_sums(sums, sizeof(sums) / sizeof *(sums))

TEST(time_deadline_is_the_sum)
{
    static const struct sum sums[] = {
        { 0, 0, 0 },
        { 0, 1, 1 },
        { 5, 0, 5 },
        { COIL_SECONDS(3), COIL_MS(20), 3020000000 },
    };
    CHECK_SUMS(sums);
}

// So that the loop never computes with it.
TEST(time_never_after_any_time_is_never)
{
    static const struct sum sums[] = {
        { 0, COIL_NEVER, COIL_NEVER },
        { 1, COIL_NEVER, COIL_NEVER },
        { COIL_SECONDS(1e9), COIL_NEVER, COIL_NEVER },
        { INT64_MAX, COIL_NEVER, COIL_NEVER },
    };
    CHECK_SUMS(sums);
}

// One less than never is a deadline like others.
TEST(time_deadline_that_just_fits_is_exact)
{
    static const struct sum sums[] = {
        { 0, INT64_MAX - 1, INT64_MAX - 1 },
        { 7, INT64_MAX - 8, INT64_MAX - 1 },
        { INT64_MAX - 1, 0, INT64_MAX - 1 },
        { INT64_MAX - 2, 1, INT64_MAX - 1 },
        { 7, INT64_MAX - 7, COIL_NEVER }, /* fits, and is never */
    };
    CHECK_SUMS(sums);
}

TEST(time_deadline_that_does_not_fit_is_never)
{
    static const struct sum sums[] = {
        { 7, INT64_MAX - 6, COIL_NEVER },
        { INT64_MAX, 1, COIL_NEVER },
        { INT64_MAX / 2 + 1, INT64_MAX / 2 + 1, COIL_NEVER },
    };
    CHECK_SUMS(sums);
}

TEST(time_negative_duration_gives_a_deadline_that_has_passed)
{
    static const struct sum sums[] = {
        { 0, -1, -1 },
        { 10, -3, 7 },
        { 0, INT64_MIN, INT64_MIN },
        { 10, INT64_MIN, INT64_MIN + 10 },
        { INT64_MAX, INT64_MIN, -1 },
        { INT64_MAX, -1, INT64_MAX - 1 },
    };
    CHECK_SUMS(sums);
}
