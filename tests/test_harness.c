// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_harness.c: a harness that sees nothing passes everything, so this runs
 * victims.c, whose cases must fail, and looks at what is said about them.
 */
#include "test.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* Run one victim; its output, and its exit status as the result. */
static int run_victim(const char *arguments, char *output, size_t size)
{
    char self[256], command[512];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    CHECK(len > 0);
    self[len] = '\0';
    *strrchr(self, '/') = '\0';
    int n = snprintf(command, sizeof command,
                     "TEST_TIMEOUT_SCALE=%s exec 2>&1 '%s/victims' %s",
                     test_is_slow() ? "0.1" : "1", self, arguments);
    CHECK(n > 0 && (size_t)n < sizeof command);

    FILE *pipe = popen(command, "r");
    CHECK(pipe != NULL);
    size_t got = fread(output, 1, size - 1, pipe);
    output[got] = '\0';
    int status = pclose(pipe);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect(const char *victim, int status, const char *said)
{
    char arguments[128], output[8192];
    snprintf(arguments, sizeof arguments, "--run %s", victim);
    int actual = run_victim(arguments, output, sizeof output);
    if (actual != status || !strstr(output, said))
        fprintf(stderr, "%s", output);
    CHECK_INT(actual, status);
    CHECK(strstr(output, said) != NULL);
}

TEST(harness_passes_a_good_case)
{
    expect("passes", 0, "\nok 1 - passes\n");
}

TEST(harness_catches_failed_checks)
{
    expect("fails_a_check", 1, "CHECK(1 + 1 == 3)");
    expect("fails_an_int", 1, "ECANCELED is -125 (-ECANCELED), expected 0");
    expect("fails_a_string", 1, "\"is\" is \"is\", expected \"ought\"");
    expect("fails_a_null_string", 1, "is NULL, expected \"ought\"");
    expect("fails_a_byte", 1, "byte 2 of 3 is 0x63, expected 0x64");
}

TEST(harness_says_why_it_skips)
{
    expect("skips", 77, "ok 1 - skips # SKIP the moon is not full");
}

TEST(harness_catches_leaked_blocks)
{
    expect("leaks_a_block", 1, "123 bytes not freed");
    expect("leaks_a_block", 1, "case_leaks_a_block at victims.c:");
}

TEST(harness_lets_a_case_leak_knowingly)
{
    // LeakSanitizer does not.
    if (test_is_slow())
        SKIP("a leak checker is watching");
    expect("leaks_a_block_knowingly", 0, "ok 1");
}

TEST(harness_catches_descriptors)
{
    expect("leaks_a_descriptor", 1, "left open: /dev/null");
    expect("closes_a_descriptor", 1, "descriptor 0 closed, it was not ours");
}

TEST(harness_catches_processes_and_threads)
{
    expect("leaves_a_child", 1, "a child process was not waited for");
    if (!test_is_slow())
        expect("leaves_a_thread", 1, "1 threads at the start, 2 at the end");
}

TEST(harness_catches_a_hang_and_says_where)
{
    expect("hangs", 1, "took too long\n# last note: at step 7\n");
}

TEST(harness_says_how_to_repeat_a_storm)
{
    unsetenv("TEST_SEED");
    unsetenv("TEST_SEEDS");
    expect("fails_with_a_seed", 1, "note: TEST_SEED=3 TEST_SEEDS=1 ");
    expect("fails_with_a_seed", 1, "victims --run fails_with_a_seed\n");
    setenv("TEST_SEED", "3", 1);
    setenv("TEST_SEEDS", "1", 1);
    expect("fails_with_a_seed", 1, "note: TEST_SEED=3 TEST_SEEDS=1 ");
    setenv("TEST_SEED", "4", 1);
    expect("fails_with_a_seed", 0, "ok 1");
    setenv("TEST_SEED", "1", 1);
    setenv("TEST_SEEDS", "2", 1);
    expect("fails_with_a_seed", 0, "ok 1");
}

TEST(harness_catches_a_bad_end)
{
    expect("exits_early", 1, "ended with status 3");
    expect("aborts", 1, "killed by SIGABRT");
    if (!test_is_slow())
        expect("crashes", 1, "killed by SIGSEGV");
}

TEST(harness_expects_a_death)
{
    expect("dies_as_told", 0, "ok 1");
    expect("dies_as_told_literally", 0, "ok 1");
    expect("dies_saying_something_else", 1, "died without saying that");
    expect("lives", 1, "lived, but should have died");
    expect("dies_of_something_else", 1, "killed by SIGTERM");
}

TEST(harness_fails_every_allocation_in_turn)
{
    expect("is_careful_with_memory", 0, "ok 1");
    expect("is_careless_with_memory", 1, "10 bytes not freed");
    expect("is_reckless_with_memory", 1, "note: allocation 1 failed by the");
    expect("is_reckless_with_memory", 1, "reckless at victims.c:");
    expect("returns_the_wrong_error", 1, "returned -22 (-EINVAL)");
    expect("fails_without_a_reason", 1, "returned -12 (-ENOMEM)");
}

TEST(harness_lists_cases_in_order)
{
    char output[8192];
    CHECK_INT(run_victim("--list", output, sizeof output), 0);
    CHECK(strncmp(output, "passes\nfails_a_check\n", 21) == 0);
}

TEST(harness_refuses_what_it_does_not_know)
{
    char output[8192];
    CHECK_INT(run_victim("--run nothing", output, sizeof output), 2);
    CHECK_INT(run_victim("--walk", output, sizeof output), 2);
}

TEST(harness_fails_only_the_allocation_asked_for)
{
    test_fail_allocation(2);
    char *block = malloc(1);
    CHECK(block != NULL);
    CHECK(!test_allocation_failed());
    char *moved = realloc(block, 2000);
    CHECK(moved == NULL && errno == ENOMEM);
    CHECK(test_allocation_failed());

    // The block that realloc() did not move is still there, and the next works.
    CHECK_INT(test_heap_blocks(), 1);
    block = realloc(block, 2000);
    CHECK(block != NULL && !test_allocation_failed());
    free(block);
}

TEST(harness_fails_all_allocations_from_one_on)
{
    test_fail_allocations_from(2);
    char *first = malloc(1), *second = strdup(""), *third = calloc(1, 1);
    CHECK(first && !second && !third);
    test_fail_allocations_from(0);
    second = aligned_alloc(64, 64);
    CHECK(second != NULL);
    free(first);
    free(second);
}

TEST(harness_counts_blocks_and_bytes)
{
    size_t attempts = test_allocations();
    char *a = malloc(100), *b = strdup("1234"), *c = NULL;
    CHECK_INT(posix_memalign((void **)&c, 64, 1000), 0);
    CHECK_INT(test_heap_blocks(), 3);
    CHECK_INT(test_heap_bytes(), 100 + 5 + 1000);
    a = realloc(a, 200);
    CHECK_INT(test_heap_bytes(), 200 + 5 + 1000);
    CHECK_INT(test_allocations() - attempts, 4);
    free(a);
    free(b);
    free(c);
    free(NULL);
    CHECK_INT(test_heap_blocks(), 0);
    CHECK_INT(test_heap_bytes(), 0);
}

// getline() allocates inside libc, where nobody counts; free() is ours to see.
TEST(harness_ignores_blocks_that_libc_allocated)
{
    char *path = realpath("/proc/self/..", NULL);
    CHECK(path != NULL);
    free(path);
    CHECK_INT(test_heap_blocks(), 0);
}

TEST(harness_counts_forbidden_allocations)
{
    test_forbid_allocations(true);
    free(malloc(1));
    test_forbid_allocations(false);
    free(malloc(1));
    CHECK_INT(test_forbidden_allocations(), 1);
}

// The table of live blocks grows, shrinks and loses nobody on the way.
TEST(harness_keeps_many_blocks_apart)
{
    enum { MANY = 20000 };
    static void *blocks[MANY];
    for (size_t i = 0; i < MANY; i++)
        blocks[i] = malloc(i % 100 + 1);
    CHECK_INT(test_heap_blocks(), MANY);
    for (size_t i = 0; i < MANY; i += 3)
        free(blocks[i]);
    for (size_t i = 1; i < MANY; i += 3)
        free(blocks[i]);
    CHECK_INT(test_heap_blocks(), MANY / 3);
    for (size_t i = 2; i < MANY; i += 3)
        free(blocks[i]);
    CHECK_INT(test_heap_bytes(), 0);
}

static void *allocate_a_lot(void *arg)
{
    for (size_t i = 0; i < 10000; i++)
        free(realloc(malloc(i % 64 + 1), 100));
    return arg;
}

TEST(harness_counts_in_threads)
{
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&thread[i], NULL, allocate_a_lot, NULL), 0);
    for (int i = 0; i < 4; i++)
        CHECK_INT(pthread_join(thread[i], NULL), 0);
    CHECK_INT(test_allocations(), 4 * 20000);
    CHECK_INT(test_heap_blocks(), 0);
}

TEST(harness_runs_a_file_as_tap)
{
    char output[65536];
    CHECK_INT(run_victim("", output, sizeof output), 1);
    CHECK(strncmp(output, "TAP version 13\n1..", 18) == 0);
    CHECK(strstr(output, "\nok 1 - passes\n") != NULL);
    CHECK(strstr(output, "\nnot ok 2 - fails_a_check\n") != NULL);
}
