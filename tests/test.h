// SPDX-License-Identifier: MIT
/*
 * test.h: how a test is written.
 *
 *     // labels: core
 *     #include "test.h"
 *
 *     // Why the claim matters, or what broke.
 *     TEST(heap_pops_the_smallest_first)
 *     {
 *         CHECK_INT(coili_heap_pop(&heap), 1);
 *     }
 *
 * Each case runs in a process of its own. It fails when a check fails, when it
 * crashes or takes too long, and also when it ends with heap blocks,
 * descriptors, threads or child processes that it did not start with.
 *
 * A file's `// labels:` line becomes its CTest labels: `core` is run under
 * valgrind by CI, `threads` under ThreadSanitizer.
 */
#ifndef TEST_H
#define TEST_H

#ifdef NDEBUG
#error "tests check with assert() too: build them without NDEBUG"
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A case. The name is the claim: `semaphore_wakes_in_arrival_order`. */
#define TEST(name) TEST_DEFINE(name, NULL)

/*
 * A case that must abort(), having written `said` to stderr: a part of the
 * text, or an extended regular expression found in it.
 */
#define DEATH_TEST(name, said) TEST_DEFINE(name, said)

/* A check that fails ends the case there. Each argument is evaluated once. */
#define CHECK(condition) \
    ((condition) ? (void)0 \
                 : test_fail(__FILE__, __LINE__, "CHECK(%s)", #condition))

/* Any two integers. Prints both, and an errno's name when negative. */
#define CHECK_INT(actual, expected) \
    test_check_int(__FILE__, __LINE__, #actual, (long long)(actual), \
                   (long long)(expected))

/* Two strings, either of which may be NULL. */
#define CHECK_STR(actual, expected) \
    test_check_str(__FILE__, __LINE__, #actual, (actual), (expected))

/* `len` bytes each. Prints the first difference. */
#define CHECK_MEM(actual, expected, len) \
    test_check_mem(__FILE__, __LINE__, #actual, (actual), (expected), (len))

/* This cannot run here: the kernel lacks a feature, a program is missing. */
#define SKIP(why) test_skip(__FILE__, __LINE__, (why))

/*
 * Change this case's time limit, 30 s by default, counted from its start.
 * Under a sanitizer or valgrind limits are ten times as long, and so they are
 * multiplied again by the environment's TEST_TIMEOUT_SCALE.
 */
void test_timeout(int seconds);

/* True under valgrind or a sanitizer: for sizes of loops, not for skipping. */
bool test_is_slow(void);

/* Printed if the case fails, crashes or hangs after this: where a loop was. */
__attribute__((format(printf, 1, 2))) void test_note(const char *format, ...);

/*
 * Seeds of a storm, a case that makes random choices:
 *
 *     int n = test_seeds(400);
 *     for (int i = 0; i < n; i++)
 *         storm(test_seed(i));
 *
 * `n` of them, fewer if test_is_slow(), or as many as the environment's
 * TEST_SEEDS says. They count up from TEST_SEED, or from 1. If the case fails
 * while it uses a seed the command that repeats it is printed; so what a storm
 * does may depend on its seed alone.
 */
int test_seeds(int n);
uint64_t test_seed(int i);

/*
 * The heap, as seen by this file and the library under test: malloc, calloc,
 * realloc, free, strdup, strndup, posix_memalign and aligned_alloc.
 * What libc allocates for itself is not seen. Thread-safe.
 */

/* Blocks and bytes allocated and not yet freed. */
size_t test_heap_blocks(void);
size_t test_heap_bytes(void);

/* Allocations attempted since the case began, failed ones included. */
size_t test_allocations(void);

/* Do not compare the heap at the end of this case with its start. */
void test_heap_ignore(void);

/* The n-th allocation from now returns NULL, the others do not; 0: none. */
void test_fail_allocation(size_t n);

/* The n-th allocation from now and all later ones return NULL; 0: none. */
void test_fail_allocations_from(size_t n);

/* True if a failure asked for since the last such call has happened. */
bool test_allocation_failed(void);

/* While forbidden, allocations work but are counted. */
void test_forbid_allocations(bool forbid);
size_t test_forbidden_allocations(void);

/*
 * Run `scenario` with its 1st, 2nd, 3rd... allocation failing, until it gets
 * by with none failing; then the same with all later allocations failing too.
 * If test_is_slow() this leaves out more and more after the first 32, unless
 * TEST_ALLOCATIONS=all is in the environment.
 *
 * Each run must return -ENOMEM or -ENOBUFS, or 0 if it could do without that
 * memory, and leave no block and no descriptor behind. The last must return 0.
 */
void test_every_allocation(int (*scenario)(void));

/*
 * Run `scenario` once. The case fails if it leaves a block, a descriptor, a
 * thread or a child process behind. For harnesses that make other things fail
 * than allocations. Gives what the scenario returned.
 */
int test_leaves_nothing(int (*scenario)(void));

/* --- Behind the macros ----------------------------------------------------*/

struct test_case {
    const char *name;
    const char *file;
    int line;
    void (*run)(void);
    const char *death;  // what a dying case must say; NULL: it must live
    struct test_case *next;
};

void test_register(struct test_case *test);

#define TEST_DEFINE(case_name, said) \
    static void case_##case_name(void); \
    __attribute__((constructor)) static void register_##case_name(void) \
    { \
        static struct test_case self = { \
            .name = #case_name, \
            .file = __FILE__, \
            .line = __LINE__, \
            .run = case_##case_name, \
            .death = (said), \
        }; \
        test_register(&self); \
    } \
    static void case_##case_name(void)

__attribute__((noreturn, format(printf, 3, 4))) void
test_fail(const char *file, int line, const char *format, ...);
__attribute__((noreturn)) void test_skip(const char *file, int line,
                                         const char *why);
void test_check_int(const char *file, int line, const char *what,
                    long long actual, long long expected);
void test_check_str(const char *file, int line, const char *what,
                    const char *actual, const char *expected);
void test_check_mem(const char *file, int line, const char *what,
                    const void *actual, const void *expected, size_t len);

#endif
