// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_options.c: options structs, also those of a program that was compiled
 * with another header.
 */
#include "test.h"

#include "base/options.h"

struct options {
    size_t size;
    int first, second, third;
};

/* The first version had the first field only. */
#define LEAST offsetof(struct options, second)

static struct options given(size_t size)
{
    return (struct options){ size, 1, 2, 3 };
}

static struct options take(const struct options *from)
{
    struct options o;
    memset(&o, 0xff, sizeof o);
    coili_options_read(&o, sizeof o, LEAST, from, "the_call", "THE_INIT");
    return o;
}

TEST(options_that_are_not_given_are_zero)
{
    struct options o = take(NULL);
    CHECK_INT(o.first, 0);
    CHECK_INT(o.second, 0);
    CHECK_INT(o.third, 0);
}

TEST(options_are_copied)
{
    struct options from = given(sizeof from), o = take(&from);
    CHECK_INT(o.first, 1);
    CHECK_INT(o.second, 2);
    CHECK_INT(o.third, 3);
}

// What stands behind the end of a shorter struct is not the program's.
TEST(options_of_an_older_program_are_zero_where_it_has_none)
{
    struct options from = given(offsetof(struct options, third));
    struct options o = take(&from);
    CHECK_INT(o.second, 2);
    CHECK_INT(o.third, 0);
    from.size = LEAST;
    o = take(&from);
    CHECK_INT(o.first, 1);
    CHECK_INT(o.second, 0);
}

// The message says what was given, what is right, and which call.
DEATH_TEST(options_shorter_than_the_first_version_abort,
           "the_call: options.size is 11: must be 24: use THE_INIT")
{
    struct options from = given(LEAST - 1);
    take(&from);
}

DEATH_TEST(options_longer_than_this_version_abort,
           "the_call: options.size is 25: must be 24: use THE_INIT")
{
    struct options from = given(sizeof from + 1);
    take(&from);
}
