// SPDX-License-Identifier: MIT
/*
 * victims.c: cases that must fail, each in its own way.
 *
 * test_harness.c runs them one at a time and checks that each was caught, and
 * what was said. Not a test by itself.
 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

TEST(passes)
{
    free(malloc(10));
}

TEST(fails_a_check)
{
    CHECK(1 + 1 == 3);
}

TEST(fails_an_int)
{
    CHECK_INT(-ECANCELED, 0u);
}

TEST(fails_a_string)
{
    CHECK_STR("is", "ought");
    CHECK_STR("never reached", "");
}

TEST(fails_a_null_string)
{
    CHECK_STR(NULL, "ought");
}

TEST(fails_a_byte)
{
    CHECK_MEM("abc", "abd", 3);
}

TEST(skips)
{
    SKIP("the moon is not full");
}

TEST(leaks_a_block)
{
    CHECK(malloc(123) != NULL);
}

TEST(leaks_a_block_knowingly)
{
    test_heap_ignore();
    CHECK(strdup("for ever") != NULL);
}

TEST(leaks_a_descriptor)
{
    CHECK(open("/dev/null", O_RDONLY) >= 0);
}

TEST(closes_a_descriptor)
{
    close(STDIN_FILENO);
}

TEST(leaves_a_child)
{
    if (fork() == 0) {
        pause();
        _exit(0);
    }
}

static void *sleep_long(void *arg)
{
    sleep(100);
    return arg;
}

TEST(leaves_a_thread)
{
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, sleep_long, NULL), 0);
}

TEST(hangs)
{
    test_timeout(1);
    test_note("at step %d", 7);
    for (;;)
        pause();
}

TEST(fails_with_a_seed)
{
    int n = test_seeds(5);
    for (int i = 0; i < n; i++)
        CHECK(test_seed(i) != 3);
}

TEST(crashes)
{
    raise(SIGSEGV);
}

TEST(exits_early)
{
    exit(3);
}

TEST(aborts)
{
    abort();
}

DEATH_TEST(dies_as_told, "line [0-9]+ is wrong")
{
    fprintf(stderr, "harness: line 12 is wrong\n");
    abort();
}

DEATH_TEST(dies_as_told_literally, "f(x) + 1?")
{
    fprintf(stderr, "what about f(x) + 1?\n");
    abort();
}

DEATH_TEST(dies_saying_something_else, "line [0-9]+ is wrong")
{
    fprintf(stderr, "all is well\n");
    abort();
}

DEATH_TEST(lives, "anything")
{
}

DEATH_TEST(dies_of_something_else, "anything")
{
    fprintf(stderr, "anything\n");
    raise(SIGTERM);
}

static int careful(void)
{
    char *a = malloc(10);
    char *b = strdup("b");
    char *c = a ? realloc(a, 100) : NULL;
    free(b);
    free(c ? c : a);
    return c && b ? 0 : -ENOMEM;
}

static int careless(void)
{
    char *a = malloc(10);
    char *b = a ? calloc(1, 10) : NULL;
    if (!b)
        return -ENOMEM;  // and a?
    free(a);
    free(b);
    return 0;
}

static int reckless(void)
{
    char *a = malloc(10);
    *(volatile char *)a = 'a';
    free(a);
    return 0;
}

static int wrong_error(void)
{
    char *a = malloc(10);
    free(a);
    return a ? 0 : -EINVAL;
}

static int never_works(void)
{
    return -ENOMEM;
}

TEST(is_careful_with_memory)
{
    test_every_allocation(careful);
}

TEST(is_careless_with_memory)
{
    test_every_allocation(careless);
}

TEST(is_reckless_with_memory)
{
    test_every_allocation(reckless);
}

TEST(returns_the_wrong_error)
{
    test_every_allocation(wrong_error);
}

TEST(fails_without_a_reason)
{
    test_every_allocation(never_works);
}
