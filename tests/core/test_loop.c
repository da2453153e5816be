// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_loop.c: passes, calls, timers, other threads, and the end of it all.
 *
 * Order and counts are checked, and that nothing comes early; never that
 * something came soon.
 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <regex.h>
#include <sched.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <coil/block.h>
#include <coil/coroutine.h>
#include <coil/entropy.h>
#include <coil/future.h>
#include <coil/io.h>
#include <coil/loop.h>
#include <coil/semaphore.h>
#include <coil/task.h>
#include <coil/wait.h>
#include <coil/wait_for.h>

#include "backend/backend.h"
#include "core/loop.h"

/* --- Around a case ---------------------------------------------------------*/

static struct coil_loop *loop;

static struct {
    int n, err, line;
    char message[128], name[64], file[256];
} reported;

static void note_report(const struct coil_exception *what, void *arg)
{
    CHECK(arg == &reported);
    reported.n++;
    reported.err = what->err;
    reported.line = what->line;
    snprintf(reported.message, sizeof reported.message, "%s", what->message);
    snprintf(reported.name, sizeof reported.name, "%s",
             what->name ? what->name : "");
    snprintf(reported.file, sizeof reported.file, "%s",
             what->file ? what->file : "");
}

static const struct coil_loop_options reporting = {
    .size = sizeof(struct coil_loop_options),
    .on_exception = note_report,
    .on_exception_arg = &reported,
};

static void open_loop(void)
{
    CHECK_INT(coil_loop_new(&loop, &reporting), 0);
}

static void pass(void)
{
    coil_loop_pass(loop, 0);
}

static struct coil_loop_stats stats(void)
{
    struct coil_loop_stats s;
    coil_loop_get_stats(coil_loop_current(), &s);
    return s;
}

/* What was called, in order: one letter each. */
static char called[256];

static void note_call(void *arg)
{
    size_t n = strlen(called);
    CHECK(n + 1 < sizeof called);
    called[n] = *(const char *)arg;
    called[n + 1] = '\0';
}

/* --- Time of day and randomness --------------------------------------------*/

static int64_t wall_of_1999(struct coili_backend *b)
{
    CHECK(b == loop->backend);
    return 915148800 * INT64_C(1000000000);
}

static int refuse_entropy(struct coili_backend *b, void *buf, size_t len)
{
    CHECK(b == loop->backend && buf && len == 3);
    return -EPERM;
}

// Or a backend for tests could not choose the day, nor the keys.
TEST(loop_asks_its_backend_for_the_time_of_day_and_for_entropy)
{
    unsigned char bytes[32] = { 0 }, none[32] = { 0 };
    open_loop();
    CHECK(coil_wall_now() > 1600000000 * INT64_C(1000000000));
    CHECK_INT(coil_entropy(NULL, 0), 0);
    CHECK_INT(coil_entropy(bytes, sizeof bytes), 0);
    CHECK(memcmp(bytes, none, sizeof bytes) != 0);
    const struct coili_backend_table *real = loop->table;
    struct coili_backend_table table = *real;
    table.wall = wall_of_1999;
    table.entropy = refuse_entropy;
    loop->table = &table;
    CHECK_INT(coil_wall_now(), 915148800 * INT64_C(1000000000));
    CHECK_INT(coil_entropy(bytes, 3), -EPERM);
    loop->table = real;
    coil_loop_close(loop);
}

DEATH_TEST(loop_wall_time_without_a_loop_aborts, "this thread has no loop")
{
    coil_wall_now();
}

/* --- Life ------------------------------------------------------------------*/

TEST(loop_belongs_to_its_thread)
{
    CHECK(coil_loop_current() == NULL);
    open_loop();
    CHECK(coil_loop_current() == loop);
    struct coil_loop *second = NULL;
    CHECK_INT(coil_loop_new(&second, NULL), -EBUSY);
    CHECK(second == NULL);
    coil_loop_close(loop);
    CHECK(coil_loop_current() == NULL);
}

TEST(loop_can_be_made_again)
{
    for (int i = 0; i < 20; i++) {
        open_loop();
        pass();
        coil_loop_close(loop);
    }
}

static void *pass_elsewhere(void *arg)
{
    coil_loop_pass(arg, 0);
    return NULL;
}

DEATH_TEST(loop_pass_in_another_thread_aborts,
           "coil_loop_pass: the loop belongs to another thread, or has closed")
{
    open_loop();
    pthread_t thread;
    pthread_create(&thread, NULL, pass_elsewhere, loop);
    pthread_join(thread, NULL);
}

static void *close_elsewhere(void *arg)
{
    coil_loop_close(arg);
    return NULL;
}

DEATH_TEST(loop_close_in_another_thread_aborts,
           "coil_loop_close: the loop belongs to another thread")
{
    open_loop();
    pthread_t thread;
    pthread_create(&thread, NULL, close_elsewhere, loop);
    pthread_join(thread, NULL);
}

static void pass_again(void *arg)
{
    coil_loop_pass(arg, 0);
}

// The rest of the batch would run inside one of its calls.
DEATH_TEST(loop_pass_inside_a_call_aborts,
           "coil_loop_pass: called in a coroutine or callback of this loop: "
           "must be called outside, between two passes")
{
    open_loop();
    struct coil_handle h[2] = { { 0 } };
    coil_call_soon(&h[0], pass_again, loop);
    coil_call_soon(&h[1], note_call, "a");
    pass();
}

// The last call of a batch is still inside of it.
DEATH_TEST(loop_pass_inside_the_last_call_aborts,
           "coil_loop_pass: called in a coroutine or callback of this loop: "
           "must be called outside, between two passes")
{
    open_loop();
    struct coil_handle h = { 0 };
    coil_call_soon(&h, pass_again, loop);
    pass();
}

COROUTINE(pass_inside,)
{
    ASYNC(pass_inside, my) {
        coil_loop_pass(coil_loop_current(), 0);
    }
}

DEATH_TEST(loop_pass_inside_a_coroutine_aborts,
           "coil_loop_pass: called in a coroutine or callback of this loop: "
           "must be called outside, between two passes")
{
    RUN(pass_inside);
}

COROUTINE(run_inside,)
{
    ASYNC(run_inside, my) {
        RUN(run_inside);
    }
}

DEATH_TEST(loop_run_inside_a_run_aborts, "loop exists already")
{
    RUN(run_inside);
}

COROUTINE(run_until_inside, struct coil_task *task;)
{
    ASYNC(run_until_inside, my) {
        coil_loop_run_until_complete(coil_loop_current(), coil_task_current());
    }
}

DEATH_TEST(loop_run_until_inside_a_run_aborts,
           "coil_loop_run_until_complete: the loop runs: must be called when")
{
    RUN(run_until_inside);
}

COROUTINE(close_inside,)
{
    ASYNC(close_inside, my) {
        coil_loop_close(coil_loop_current());
    }
}

DEATH_TEST(loop_close_inside_a_run_aborts, "coil_loop_close: the loop runs")
{
    RUN(close_inside);
}

static void close_loop_now(void *arg)
{
    coil_loop_close(arg);
}

// Also if the program makes its passes itself.
DEATH_TEST(loop_close_inside_a_pass_aborts, "coil_loop_close: called in a ")
{
    open_loop();
    struct coil_handle h = { 0 };
    coil_call_soon(&h, close_loop_now, loop);
    pass();
}

/* --- Options ---------------------------------------------------------------*/

// Not only RUN is a door: the program spawns coroutines into this loop, too.
DEATH_TEST(loop_new_by_another_version_aborts,
           "coil_loop_new: the program was compiled with headers of another "
           "version of coil: 0.1, frame head 72; the library is 0.1, frame "
           "head 64")
{
    CHECK_INT(coili_loop_new(&loop, NULL, COILI_ABI + 8), 0);
}

DEATH_TEST(loop_options_without_their_size_abort,
           "coil_loop_new: options.size is 0: must be [0-9]+: use "
           "COIL_LOOP_OPTIONS_INIT")
{
    struct coil_loop_options options = { .sq_entries = 8 };
    (void)!coil_loop_new(&loop, &options);
}

// A program built against a newer header asks for what we do not know.
DEATH_TEST(loop_options_larger_than_ours_abort, "COIL_LOOP_OPTIONS_INIT")
{
    struct coil_loop_options options[2] = { COIL_LOOP_OPTIONS_INIT, { 0 } };
    options->size++;
    (void)!coil_loop_new(&loop, options);
}

// The first header had so many fields: whoever says less has not set the size.
DEATH_TEST(loop_options_smaller_than_the_first_abort, "COIL_LOOP_OPTIONS_INIT")
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.size = offsetof(struct coil_loop_options, resolver_threads_limit) -
                   1;
    (void)!coil_loop_new(&loop, &options);
}

// One built against an older header gives fewer; the rest is not read.
TEST(loop_options_of_an_older_program_are_taken)
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.size = offsetof(struct coil_loop_options, resolver_threads_limit);
    memset((char *)&options + options.size, 0xff,
           sizeof options - options.size);
    CHECK_INT(coil_loop_new(&loop, &options), 0);
    pass();
    coil_loop_close(loop);
}

DEATH_TEST(loop_options_with_an_odd_number_of_buffers_abort,
           "coil_loop_new: recv_buffers is 100: must be a power of two")
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.recv_buffers = 100;
    (void)!coil_loop_new(&loop, &options);
}

COROUTINE(sleep_once, int64_t ns;)
{
    ASYNC(sleep_once, my) {
        AWAIT(coil_sleep(my->ns));
    }
}

// To add it to another event loop a coroutine needs it, and it does no harm.
COROUTINE(ask_for_fd,)
{
    ASYNC(ask_for_fd, my) {
        int fd = coil_loop_fd(coil_loop_current());
        CHECK(fd >= 0);
        CHECK_INT(coil_loop_fd(coil_loop_current()), fd);
        AWAIT(coil_sleep(1));
    }
}

TEST(loop_fd_is_there_inside_a_coroutine)
{
    CHECK_INT(RUN(ask_for_fd), 0);
}

COROUTINE(ask_for_timeout,)
{
    ASYNC(ask_for_timeout, my) {
        coil_loop_timeout(coil_loop_current());
    }
}

DEATH_TEST(loop_timeout_inside_a_coroutine_aborts,
           "coil_loop_timeout: called in a coroutine or callback of this loop: "
           "must be called outside, between two passes")
{
    RUN(ask_for_timeout);
}

DEATH_TEST(loop_pass_of_nothing_aborts, "coil_loop_pass: loop is NULL")
{
    coil_loop_pass(NULL, 0);
}

DEATH_TEST(loop_fd_of_nothing_aborts, "coil_loop_fd: loop is NULL")
{
    coil_loop_fd(NULL);
}

// An allocation of the program that failed, most likely.
DEATH_TEST(loop_options_with_the_bytes_of_no_arena_abort,
           "coil_loop_new: arena_bytes is 4096: must be 0, or arena not NULL")
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.arena_bytes = 4096;
    (void)!coil_loop_new(&loop, &options);
}

TEST(loop_works_with_the_smallest_ring)
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.sq_entries = 1;
    options.cq_entries = 1;
    CHECK_INT(RUN_WITH(&options, sleep_once, .ns = 1000), 0);
}

/* --- Calls -----------------------------------------------------------------*/

TEST(loop_calls_soon_in_order)
{
    open_loop();
    struct coil_handle h[26] = { { 0 } };
    static char letters[] = "abcdefghijklmnopqrstuvwxyz";
    for (size_t i = 0; i < 26; i++)
        coil_call_soon(&h[i], note_call, &letters[i]);
    CHECK_STR(called, "");
    pass();
    CHECK_STR(called, letters);
    pass();
    CHECK_STR(called, letters);
    coil_loop_close(loop);
}

struct again {
    struct coil_handle handle;
    int left;
};

static void call_again(void *arg)
{
    struct again *it = arg;
    if (it->left <= 3)
        note_call("x");
    if (--it->left)
        coil_call_soon(&it->handle, call_again, it);
}

// Else a task that always has something to do would lock the kernel out.
TEST(loop_call_from_a_call_is_for_the_next_pass)
{
    open_loop();
    struct again it = { .left = 3 };
    coil_call_soon(&it.handle, call_again, &it);
    pass();
    CHECK_STR(called, "x");
    CHECK(coil_loop_pass(loop, COIL_NEVER));
    CHECK_STR(called, "xx");
    CHECK(!coil_loop_pass(loop, COIL_NEVER));
    CHECK_STR(called, "xxx");
    coil_loop_close(loop);
}

static void free_it(void *arg)
{
    note_call("f");
    free(arg);
}

TEST(loop_call_may_free_its_handle)
{
    open_loop();
    for (int i = 0; i < 3; i++) {
        struct coil_handle *h = calloc(1, sizeof *h);
        coil_call_soon(h, free_it, h);
        h = calloc(1, sizeof *h);
        CHECK_INT(coil_call_later(h, 0, free_it, h), 0);
    }
    while (strlen(called) < 6)
        pass();
    coil_loop_close(loop);
}

DEATH_TEST(loop_handle_called_soon_twice_aborts, "a handle is in use already")
{
    open_loop();
    struct coil_handle h = { 0 };
    coil_call_soon(&h, note_call, "a");
    coil_call_soon(&h, note_call, "a");
}

DEATH_TEST(loop_handle_of_a_timer_called_soon_aborts,
           "a handle is in use already")
{
    open_loop();
    struct coil_handle h = { 0 };
    CHECK_INT(coil_call_later(&h, 1, note_call, "a"), 0);
    coil_call_soon(&h, note_call, "a");
}

DEATH_TEST(loop_handle_called_later_twice_aborts, "a handle is in use already")
{
    open_loop();
    struct coil_handle h = { 0 };
    CHECK_INT(coil_call_later(&h, COIL_SECONDS(100), note_call, "a"), 0);
    CHECK_INT(coil_call_later(&h, COIL_SECONDS(100), note_call, "a"), 0);
}

DEATH_TEST(loop_handle_of_a_remote_call_is_in_use, "a handle is in use already")
{
    open_loop();
    struct coil_handle h = { 0 };
    coil_call_soon_threadsafe(loop, &h, note_call, "a");
    coil_call_soon(&h, note_call, "a");
}

DEATH_TEST(loop_call_without_a_loop_aborts, "this thread has no loop")
{
    struct coil_handle h = { 0 };
    coil_call_soon(&h, note_call, "a");
}

/* --- Withdrawing calls -----------------------------------------------------*/

TEST(loop_cancel_of_a_handle_never_used_says_false)
{
    open_loop();
    struct coil_handle h = { 0 };
    CHECK(!coil_handle_cancel(&h));
    coil_loop_close(loop);
}

TEST(loop_cancel_of_a_call_that_was_made_says_false)
{
    open_loop();
    struct coil_handle h = { 0 };
    coil_call_soon(&h, note_call, "a");
    pass();
    CHECK(!coil_handle_cancel(&h));
    CHECK_INT(coil_call_later(&h, -1, note_call, "b"), 0);
    while (strlen(called) < 2)
        pass();
    CHECK(!coil_handle_cancel(&h));
    coil_loop_close(loop);
}

// First, middle and last of the ready list; and the list is whole afterwards.
TEST(loop_cancel_of_a_ready_call)
{
    for (int which = 0; which < 3; which++) {
        open_loop();
        struct coil_handle h[3] = { { 0 } };
        coil_call_soon(&h[0], note_call, "a");
        coil_call_soon(&h[1], note_call, "b");
        coil_call_soon(&h[2], note_call, "c");
        CHECK(coil_handle_cancel(&h[which]));
        CHECK(!coil_handle_cancel(&h[which]));
        coil_call_soon(&h[which], note_call, "z");
        called[0] = '\0';
        pass();
        static const char *const left[] = { "bcz", "acz", "abz" };
        CHECK_STR(called, left[which]);
        coil_loop_close(loop);
    }
}

TEST(loop_cancel_of_the_only_ready_call)
{
    open_loop();
    struct coil_handle h = { 0 };
    coil_call_soon(&h, note_call, "a");
    CHECK(coil_handle_cancel(&h));
    CHECK(!coil_loop_pass(loop, 0));
    coil_call_soon(&h, note_call, "b");
    pass();
    CHECK_STR(called, "b");
    coil_loop_close(loop);
}

static void cancel_call(void *arg)
{
    note_call("C");
    CHECK(coil_handle_cancel(arg));
}

// In the batch that is running: the next one, a later one, the last one.
TEST(loop_cancel_of_a_call_of_the_same_pass)
{
    for (int which = 0; which < 3; which++) {
        open_loop();
        struct coil_handle first = { 0 }, h[3] = { { 0 } };
        coil_call_soon(&first, cancel_call, &h[which]);
        coil_call_soon(&h[0], note_call, "a");
        coil_call_soon(&h[1], note_call, "b");
        coil_call_soon(&h[2], note_call, "c");
        called[0] = '\0';
        pass();
        coil_call_soon(&h[which], note_call, "z");
        pass();
        static const char *const left[] = { "Cbcz", "Cacz", "Cabz" };
        CHECK_STR(called, left[which]);
        coil_loop_close(loop);
    }
}

static void cancel_and_reuse(void *arg)
{
    note_call("C");
    CHECK(coil_handle_cancel(arg));
    coil_call_soon(arg, note_call, "n");
}

TEST(loop_call_withdrawn_in_its_pass_and_made_again_is_for_the_next)
{
    open_loop();
    struct coil_handle first = { 0 }, h = { 0 };
    coil_call_soon(&first, cancel_and_reuse, &h);
    coil_call_soon(&h, note_call, "o");
    pass();
    CHECK_STR(called, "C");
    pass();
    CHECK_STR(called, "Cn");
    coil_loop_close(loop);
}

TEST(loop_cancel_of_a_timer)
{
    open_loop();
    struct coil_handle h[3] = { { 0 } };
    for (int i = 0; i < 3; i++)
        CHECK_INT(coil_call_later(&h[i], 1000 * i, note_call,
                                  (void *)(uintptr_t)&"abc"[i]), 0);
    CHECK_INT(stats().timers, 3);
    CHECK(coil_handle_cancel(&h[1]));
    CHECK(!coil_handle_cancel(&h[1]));
    CHECK_INT(stats().timers, 2);
    while (strlen(called) < 2)
        coil_loop_pass(loop, COIL_NEVER);
    CHECK_STR(called, "ac");
    coil_loop_close(loop);
}

// Due, in the batch, and withdrawn by the one before it.
TEST(loop_cancel_of_a_timer_that_is_due)
{
    open_loop();
    struct coil_handle first = { 0 }, h = { 0 };
    int64_t now = coil_now();
    CHECK_INT(coil_call_at(&first, now - 2, cancel_call, &h), 0);
    CHECK_INT(coil_call_at(&h, now - 1, note_call, "h"), 0);
    pass();
    pass();
    CHECK_STR(called, "C");
    coil_loop_close(loop);
}

/* --- Timers ----------------------------------------------------------------*/

struct appointment {
    struct coil_handle handle;
    int64_t deadline, called_at;
};

static void keep(void *arg)
{
    struct appointment *it = arg;
    it->called_at = coil_now();
    note_call("t");
}

TEST(loop_timers_never_fire_early)
{
    enum { N = 60 };
    open_loop();
    static struct appointment it[N];
    srand(5);
    for (int i = 0; i < N; i++) {
        int64_t delay = rand() % COIL_MS(3) - 1000;
        it[i].deadline = coil_now() + delay;
        CHECK_INT(coil_call_later(&it[i].handle, delay, keep, &it[i]), 0);
    }
    while (strlen(called) < N)
        coil_loop_pass(loop, COIL_NEVER);
    for (int i = 0; i < N; i++)
        CHECK(it[i].called_at >= it[i].deadline);
    coil_loop_close(loop);
}

TEST(loop_timers_fire_by_deadline)
{
    open_loop();
    static const int ms[] = { 3, 1, 4, 0, 2 };
    struct coil_handle h[5] = { { 0 } };
    int64_t now = coil_now();
    for (int i = 0; i < 5; i++)
        CHECK_INT(coil_call_at(&h[i], now + COIL_US(ms[i]), note_call,
                               (void *)(uintptr_t)&"dbeac"[i]), 0);
    while (strlen(called) < 5)
        coil_loop_pass(loop, COIL_NEVER);
    CHECK_STR(called, "abcde");
    coil_loop_close(loop);
}

struct at_once {
    struct coil_handle handle;
    int i, *next;
};

static void call_in_order(void *arg)
{
    struct at_once *it = arg;
    CHECK_INT(it->i, (*it->next)++);
}

// Also if other timers come and go in between.
TEST(loop_timers_of_one_deadline_fire_in_the_order_in_which_they_were_set)
{
    open_loop();
    static struct at_once it[64], other[64];
    int next = 0;
    int64_t deadline = coil_now() + COIL_MS(1);
    for (int i = 0; i < 64; i++) {
        it[i] = (struct at_once){ .i = i, .next = &next };
        CHECK_INT(coil_call_at(&it[i].handle, deadline, call_in_order, &it[i]),
                  0);
        CHECK_INT(coil_call_at(&other[i].handle, deadline + i % 3 - 1,
                               call_in_order, NULL),
                  0);
    }
    for (int i = 0; i < 64; i++)
        CHECK(coil_handle_cancel(&other[i * 37 % 64].handle));
    while (next < 64)
        coil_loop_pass(loop, COIL_NEVER);
    coil_loop_close(loop);
}

// now + delay must not wrap into the past.
TEST(loop_timers_at_the_ends_of_time)
{
    open_loop();
    struct coil_handle h[5] = { { 0 } };
    CHECK_INT(coil_call_later(&h[0], INT64_MAX, note_call, "!"), 0);
    CHECK_INT(coil_call_later(&h[1], INT64_MAX - 1, note_call, "!"), 0);
    CHECK_INT(coil_call_at(&h[2], COIL_NEVER, note_call, "!"), 0);
    CHECK_INT(coil_call_later(&h[3], INT64_MIN, note_call, "a"), 0);
    CHECK_INT(coil_call_at(&h[4], INT64_MIN, note_call, "a"), 0);
    for (int i = 0; i < 3; i++)
        pass();
    CHECK_STR(called, "aa");
    CHECK_INT(stats().timers, 3);
    for (int i = 0; i < 3; i++)
        CHECK(coil_handle_cancel(&h[i]));
    coil_loop_close(loop);
}

COROUTINE(nap, int n; int64_t ns;)
{
    ASYNC(nap, my) {
        while (my->n-- > 0)
            AWAIT(coil_sleep(my->ns));
    }
}

// A sleep that ends a little early, and looks again at once, burns a core.
TEST(loop_does_not_spin_during_short_sleeps)
{
    static const int64_t durations[] = { 1, 100, 10000, 1000000 };
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        open_loop();
        struct coil_task *t = SPAWN(nap, .n = 10, .ns = durations[i]);
        CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
        test_note("%d passes, %d enters for 10 sleeps of %d ns",
                  (int)stats().passes, (int)stats().enters,
                  (int)durations[i]);
        CHECK(stats().passes <= 10 * 3 + 3);
        CHECK(stats().enters <= 10 * 3 + 3);
        coil_loop_close(loop);
    }
}

TEST(loop_pass_with_nothing_to_do_waits_its_time_out)
{
    open_loop();
    int64_t begin = coil_now();
    CHECK(!coil_loop_pass(loop, COIL_MS(5)));
    CHECK(coil_now() - begin >= COIL_MS(5));
    CHECK_INT(stats().passes, 1);
    coil_loop_close(loop);
}

TEST(loop_clock_never_goes_back)
{
    int64_t last = coil_now();
    for (int i = 0; i < 1000; i++) {
        int64_t now = coil_now();
        CHECK(now >= last);
        last = now;
    }
}

static void nanoseconds(long ns)
{
    nanosleep(&(struct timespec){ .tv_nsec = ns }, NULL);
}

// Even if nobody ever waits, timers come to their turn.
TEST(loop_busy_with_calls_still_fires_timers)
{
    open_loop();
    struct again it = { .left = 1000000 };
    struct coil_handle h = { 0 };
    coil_call_soon(&it.handle, call_again, &it);
    CHECK_INT(coil_call_later(&h, 1, note_call, "t"), 0);
    nanoseconds(1000);
    for (int i = 0; i < 65 && !strchr(called, 't'); i++)
        CHECK(coil_loop_pass(loop, COIL_NEVER));
    CHECK(strchr(called, 't') != NULL);
    CHECK(coil_handle_cancel(&it.handle));
    coil_loop_close(loop);
}

/* --- The order of a pass ---------------------------------------------------*/

COROUTINE(say_after_recv, int fd; char byte;)
{
    ASYNC(say_after_recv, my) {
        AWAIT(coil_recv(my->fd, &my->byte, 1));
        note_call("r");
    }
}

COROUTINE(say_after_sleep, int64_t ns;)
{
    ASYNC(say_after_sleep, my) {
        AWAIT(coil_sleep(my->ns));
        note_call("t");
    }
}

static void open_pair(int fds[2])
{
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static void close_pair(const int fds[2])
{
    close(fds[0]);
    close(fds[1]);
}

// A read that is both ready and late this turn succeeds, as in asyncio.
TEST(loop_takes_completions_before_timers)
{
    int fds[2];
    open_pair(fds);
    open_loop();
    struct coil_handle h = { 0 };
    SPAWN(say_after_recv, .fd = fds[0]);
    pass();
    pass();
    SPAWN(say_after_sleep, .ns = COIL_MS(1));
    pass();
    CHECK_INT(stats().in_flight, 1);
    CHECK_INT(stats().timers, 1);

    CHECK_INT(write(fds[1], "x", 1), 1);
    nanoseconds(3000000);
    coil_call_soon(&h, note_call, "s");
    pass();
    CHECK_STR(called, "srt");
    coil_loop_close(loop);
    close_pair(fds);
}

COROUTINE(answer, int fd; char byte; struct coil_handle *handle;)
{
    ASYNC(answer, my) {
        AWAIT(coil_recv(my->fd, &my->byte, 1));
        note_call("r");
        coil_call_soon(my->handle, note_call, "n");
        AWAIT(coil_sleep(0));
        note_call("R");
    }
}

// What a completion or a timer leads to is not for the same pass.
TEST(loop_runs_exactly_what_was_ready)
{
    int fds[2];
    open_pair(fds);
    open_loop();
    struct coil_handle a = { 0 }, b = { 0 };
    SPAWN(answer, .fd = fds[0], .handle = &a);
    pass();
    pass();
    CHECK_INT(write(fds[1], "x", 1), 1);
    coil_call_soon(&b, note_call, "b");
    pass();
    CHECK_STR(called, "br");
    pass();
    CHECK_STR(called, "brnR");
    coil_loop_close(loop);
    close_pair(fds);
}

COROUTINE(two_words, char *word;)
{
    ASYNC(two_words, my) {
        note_call(my->word);
        AWAIT(coil_sleep(0));
        note_call(my->word);
    }
}

COROUTINE(foo_and_bar,)
{
    ASYNC(foo_and_bar, my) {
        static char foo[] = "f", bar[] = "b";
        SPAWN(two_words, .word = foo);
        SPAWN(two_words, .word = bar);
        CHECK_STR(called, "");
        JOIN();
        CHECK_STR(called, "fbfb");
    }
}

// gevent's first example, and asyncio's: lazy, first in first out.
TEST(loop_two_tasks_take_turns)
{
    CHECK_INT(RUN(foo_and_bar), 0);
}

COROUTINE(count_passes, int i; uint64_t before;)
{
    ASYNC(count_passes, my) {
        my->before = stats().passes;
        for (my->i = 0; my->i < 500; my->i++)
            AWAIT(coil_sleep(my->i % 2 ? 0 : -1));
        CHECK_INT(stats().passes - my->before, 500);
        CHECK_INT(stats().timers, 0);
    }
}

TEST(loop_sleep_of_nothing_is_exactly_one_pass)
{
    CHECK_INT(RUN(count_passes), 0);
}

static uint64_t enters_in_640_passes(void)
{
    struct again it = { .left = 640 };
    pass();
    uint64_t before = stats().enters;
    coil_call_soon(&it.handle, call_again, &it);
    while (it.left)
        pass();
    return stats().enters - before;
}

// One enter costs more than the pass's work. When operations fly, every 64th
// pass makes one all the same.
TEST(loop_makes_no_system_call_while_tasks_are_ready)
{
    open_loop();
    CHECK_INT(enters_in_640_passes(), 0);
    int fds[2];
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    coil_spawn(coil_poll(fds[0], POLLIN));
    pass();
    uint64_t n = enters_in_640_passes();
    CHECK(n >= 640 / 64 - 1 && n <= 640 / 64 + 1);
    coil_loop_close(loop);
    close(fds[0]);
    close(fds[1]);
}

/* --- How late --------------------------------------------------------------*/

static struct {
    int64_t deadline; /* no earlier than that of the timer */
    uint64_t passed;  /* the pass at whose end the deadline had passed */
    uint64_t came;    /* the pass in which the timer had its effect */
} late;

static void note_came(void *arg)
{
    (void)arg;
    late.came = stats().passes;
}

static void burn_cpu(int64_t ns)
{
    int64_t end = coil_now() + ns;
    while (coil_now() < end)
        ;
}

COROUTINE(burn_until_it_came,)
{
    ASYNC(burn_until_it_came, my) {
        late.deadline = coil_now() + COIL_MS(15);
        while (!late.came) {
            burn_cpu(COIL_MS(10));
            if (!late.passed && coil_now() >= late.deadline)
                late.passed = stats().passes;
            AWAIT(coil_sleep(0));
        }
    }
}

COROUTINE(call_later_15_ms, struct coil_handle handle;)
{
    ASYNC(call_later_15_ms, my) {
        CHECK_INT(coil_call_later(&my->handle, COIL_MS(15), note_came, NULL),
                  0);
        SPAWN(burn_until_it_came);
        JOIN();
    }
}

COROUTINE(sleep_15_ms,)
{
    ASYNC(sleep_15_ms, my) {
        SPAWN(burn_until_it_came);
        AWAIT(coil_sleep(COIL_MS(15)));
        note_came(NULL);
    }
}

COROUTINE(within_15_ms, int err;)
{
    ASYNC(within_15_ms, my) {
        SPAWN(burn_until_it_came);
        TRY(my->err) WITHIN(COIL_MS(15)) AWAIT(coil_future_new());
        CHECK_INT(my->err, -ETIMEDOUT);
        note_came(NULL);
    }
}

COROUTINE(wait_for_15_ms, int err;)
{
    ASYNC(wait_for_15_ms, my) {
        SPAWN(burn_until_it_came);
        TRY_AWAIT(my->err, coil_wait_for(coil_future_new(), COIL_MS(15)));
        CHECK_INT(my->err, -ETIMEDOUT);
        note_came(NULL);
    }
}

/* The passes between that in which the deadline had passed, and the effect. */
static int passes_late(void)
{
    int passes = late.passed ? (int)(late.came - late.passed) : 0;
    memset(&late, 0, sizeof late);
    return passes;
}

// However long the passes are: here 10 ms each. A time-out takes one pass more,
// from the call of its timer to the end of the await.
TEST(loop_timers_are_late_by_one_pass_at_the_most)
{
    CHECK_INT(RUN(call_later_15_ms), 0);
    CHECK(passes_late() <= 1);
    CHECK_INT(RUN(sleep_15_ms), 0);
    CHECK(passes_late() <= 1);
    CHECK_INT(RUN(within_15_ms), 0);
    CHECK(passes_late() <= 2);
    CHECK_INT(RUN(wait_for_15_ms), 0);
    CHECK(passes_late() <= 2);
}

COROUTINE(recv_one, int fd; unsigned *left; char byte;)
{
    ASYNC(recv_one, my) {
        AWAIT(coil_recv(my->fd, &my->byte, 1));
        if (--*my->left == 0)
            note_came(NULL);
    }
}

enum { PAIRS = 300 };

COROUTINE(recv_from_many, int fds[PAIRS][2]; unsigned left; int i;)
{
    ASYNC(recv_from_many, my) {
        my->left = PAIRS;
        for (my->i = 0; my->i < PAIRS; my->i++) {
            open_pair(my->fds[my->i]);
            SPAWN(recv_one, .fd = my->fds[my->i][0], .left = &my->left);
        }
        while (stats().in_flight < PAIRS || stats().submitted < PAIRS)
            AWAIT(coil_sleep(0));
        for (my->i = 0; my->i < PAIRS; my->i++)
            CHECK_INT(write(my->fds[my->i][1], "x", 1), 1);
        late.passed = stats().passes;
        while (!late.came) {
            burn_cpu(COIL_MS(10));
            AWAIT(coil_sleep(0));
        }

    FINALLY;
        for (my->i = 0; my->i < PAIRS; my->i++)
            close_pair(my->fds[my->i]);
    }
}

// The kernel delivers 20 completions in one enter, since Linux 6.14.
TEST(loop_completions_are_late_by_one_pass_at_the_most)
{
    CHECK_INT(RUN(recv_from_many), 0);
    CHECK(passes_late() <= 1);
}

/* --- Stopping --------------------------------------------------------------*/

TEST(loop_stopped_before_it_runs_makes_one_pass)
{
    open_loop();
    struct coil_task *t = SPAWN(nap, .n = 1, .ns = COIL_SECONDS(1000));
    struct coil_handle h = { 0 };
    coil_call_soon(&h, note_call, "a");
    coil_loop_stop(loop);
    CHECK_INT(coil_loop_run_until_complete(loop, t), COIL_ESTOPPED);
    CHECK_INT(stats().passes, 1);
    CHECK_STR(called, "a");
    CHECK(!coil_task_done(t));
    coil_loop_close(loop);
}

static void stop_it(void *arg)
{
    note_call("S");
    coil_loop_stop(arg);
}

// The pass in which it is asked to stop goes on to its end; and the loop can
// be run again.
TEST(loop_stopped_in_a_pass_finishes_it)
{
    open_loop();
    struct coil_task *t = SPAWN(nap, .n = 5, .ns = 0);
    struct coil_handle h[2] = { { 0 } };
    coil_call_soon(&h[0], stop_it, loop);
    coil_call_soon(&h[1], note_call, "b");
    CHECK_INT(coil_loop_run_until_complete(loop, t), COIL_ESTOPPED);
    CHECK_STR(called, "Sb");
    CHECK_INT(stats().passes, 1);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(coil_future_error(coil_task_future(t)), 0);
    coil_loop_close(loop);
}

COROUTINE(stop_and_return,)
{
    ASYNC(stop_and_return, my) {
        coil_loop_stop(coil_loop_current());
        RETURN(5);
    }
}

// Done in the pass that was to be the last: done wins.
TEST(loop_stopped_by_a_task_that_ends_runs_to_its_end)
{
    int result = 0;
    CHECK_INT(RUN_TO(result, stop_and_return), 0);
    CHECK_INT(result, 5);
}

COROUTINE(stop_and_wait, bool *finally;)
{
    ASYNC(stop_and_wait, my) {
        coil_loop_stop(coil_loop_current());
        AWAIT(coil_sleep(COIL_SECONDS(1000)));

    FINALLY;
        *my->finally = true;
    }
}

TEST(loop_stopped_makes_run_fail_and_clean_up)
{
    bool finally = false;
    CHECK_INT(RUN(stop_and_wait, .finally = &finally), COIL_ESTOPPED);
    CHECK(finally);
}

// An old request must not end the next run.
TEST(loop_stopped_and_done_at_once_forgets_the_request)
{
    open_loop();
    struct coil_task *a = SPAWN(nap, .n = 0);
    CHECK_INT(coil_loop_run_until_complete(loop, a), 0);
    coil_loop_stop(loop);
    CHECK_INT(coil_loop_run_until_complete(loop, a), 0);
    struct coil_task *b = SPAWN(nap, .n = 3, .ns = 0);
    CHECK_INT(coil_loop_run_until_complete(loop, b), 0);
    coil_loop_close(loop);
}

/* --- Other threads ---------------------------------------------------------*/

enum { THREADS = 4, CALLS = 200 };

struct remote_call {
    struct coil_handle handle;
    struct remote *remote;
    int number;
};

struct remote {
    struct coil_loop *loop;
    struct remote_call calls[CALLS];
    int next; // the loop's thread only
    pthread_t thread;
};

static int remote_calls;

static void remote_called(void *arg)
{
    struct remote_call *it = arg;
    CHECK_INT(it->number, it->remote->next);
    it->remote->next++;
    remote_calls++;
}

static void *call_remotely(void *arg)
{
    struct remote *r = arg;
    for (int i = 0; i < CALLS; i++) {
        r->calls[i].remote = r;
        r->calls[i].number = i;
        coil_call_soon_threadsafe(r->loop, &r->calls[i].handle, remote_called,
                                  &r->calls[i]);
        if (i % 16 == 0)
            nanoseconds(10000);
    }
    return NULL;
}

// Nothing else wakes the loop: a lost wake-up is a hang.
TEST(loop_makes_the_calls_of_many_threads_each_in_order)
{
    static struct remote remotes[THREADS];
    open_loop();
    for (int i = 0; i < THREADS; i++) {
        remotes[i].loop = loop;
        CHECK_INT(pthread_create(&remotes[i].thread, NULL, call_remotely,
                                 &remotes[i]), 0);
    }
    while (remote_calls < THREADS * CALLS)
        coil_loop_pass(loop, COIL_NEVER);
    for (int i = 0; i < THREADS; i++)
        pthread_join(remotes[i].thread, NULL);
    coil_loop_close(loop);
}

// The same while the loop has enough to do by itself and does not sleep.
TEST(loop_that_is_busy_hears_other_threads)
{
    static struct remote remotes[THREADS];
    open_loop();
    struct again it = { .left = INT32_MAX };
    coil_call_soon(&it.handle, call_again, &it);
    for (int i = 0; i < THREADS; i++) {
        remotes[i].loop = loop;
        CHECK_INT(pthread_create(&remotes[i].thread, NULL, call_remotely,
                                 &remotes[i]), 0);
    }
    while (remote_calls < THREADS * CALLS)
        CHECK(coil_loop_pass(loop, COIL_NEVER));
    for (int i = 0; i < THREADS; i++)
        pthread_join(remotes[i].thread, NULL);
    CHECK(coil_handle_cancel(&it.handle));
    coil_loop_close(loop);
}

static void *answer_from_thread(void *arg);

COROUTINE(ask_thread, struct coil_future *answer; struct coil_loop *loop;
          struct coil_handle handle; pthread_t thread; int i, value;)
{
    ASYNC(ask_thread, my) {
        for (my->i = 0; my->i < 50; my->i++) {
            my->loop = coil_loop_current();
            my->answer = coil_future_new();
            CHECK_INT(pthread_create(&my->thread, NULL, answer_from_thread, my),
                      0);
            AWAIT_TO(my->value, my->answer);
            CHECK_INT(my->value, 42);
            pthread_join(my->thread, NULL);
        }
    }
}

static void answer_it(void *arg)
{
    coil_future_set_int(arg, 42);
}

static void *answer_from_thread(void *arg)
{
    struct ask_thread *my = arg;
    coil_call_soon_threadsafe(my->loop, &my->handle, answer_it, my->answer);
    return NULL;
}

// The way in which every answer of a thread comes back.
TEST(loop_future_completed_by_a_thread)
{
    CHECK_INT(RUN(ask_thread), 0);
}

TEST(loop_threadsafe_call_from_its_own_thread)
{
    open_loop();
    struct coil_handle a = { 0 }, b = { 0 };
    coil_call_soon_threadsafe(loop, &a, note_call, "a");
    coil_call_soon_threadsafe(loop, &b, note_call, "b");
    CHECK_STR(called, "");
    while (strlen(called) < 2)
        coil_loop_pass(loop, COIL_NEVER);
    CHECK_STR(called, "ab");
    coil_loop_close(loop);
}

TEST(loop_remote_call_withdrawn_before_the_loop_saw_it)
{
    for (int which = 0; which < 3; which++) {
        open_loop();
        struct coil_handle h[3] = { { 0 } };
        for (int i = 0; i < 3; i++)
            coil_call_soon_threadsafe(loop, &h[i], note_call,
                                      (void *)(uintptr_t)&"abc"[i]);
        CHECK(coil_handle_cancel(&h[which]));
        CHECK(!coil_handle_cancel(&h[which]));
        coil_call_soon_threadsafe(loop, &h[which], note_call, "z");
        called[0] = '\0';
        while (strlen(called) < 3)
            coil_loop_pass(loop, COIL_NEVER);
        static const char *const left[] = { "bcz", "acz", "abz" };
        CHECK_STR(called, left[which]);
        coil_loop_close(loop);
    }
}

TEST(loop_only_remote_call_withdrawn)
{
    open_loop();
    struct coil_handle h = { 0 };
    coil_call_soon_threadsafe(loop, &h, note_call, "a");
    CHECK(coil_handle_cancel(&h));
    pass();
    CHECK_STR(called, "");
    coil_call_soon_threadsafe(loop, &h, note_call, "b");
    while (strlen(called) < 1)
        coil_loop_pass(loop, COIL_NEVER);
    CHECK_STR(called, "b");
    coil_loop_close(loop);
}

// Taken over into the batch, not made yet.
TEST(loop_remote_call_withdrawn_in_its_pass)
{
    open_loop();
    struct coil_handle first = { 0 }, h = { 0 }, last = { 0 };
    coil_call_soon_threadsafe(loop, &first, cancel_call, &h);
    coil_call_soon_threadsafe(loop, &h, note_call, "h");
    coil_call_soon_threadsafe(loop, &last, note_call, "l");
    while (strlen(called) < 2)
        coil_loop_pass(loop, COIL_NEVER);
    pass();
    CHECK_STR(called, "Cl");
    coil_loop_close(loop);
}

static void *call_once(void *arg)
{
    struct remote *r = arg;
    coil_call_soon_threadsafe(r->loop, &r->calls[0].handle, note_call, "a");
    return NULL;
}

// Its caller lent a handle until it was called: closing must not forget it.
TEST(loop_close_makes_remote_calls_that_wait)
{
    static struct remote remote;
    open_loop();
    remote.loop = loop;
    CHECK_INT(pthread_create(&remote.thread, NULL, call_once, &remote), 0);
    pthread_join(remote.thread, NULL);
    coil_loop_close(loop);
    CHECK_STR(called, "a");
}

static struct {
    struct coil_loop *loop;
    struct coil_handle handle, at_close;
    pthread_t thread;
    atomic_bool stop, queued;
} flood;

static void flood_arrived(void *arg)
{
    (void)arg;
    flood.queued = false;
}

static void *call_for_ever(void *arg)
{
    (void)arg;
    while (!flood.stop)
        if (!atomic_exchange(&flood.queued, true))
            coil_call_soon_threadsafe(flood.loop, &flood.handle, flood_arrived,
                                      NULL);
    return NULL;
}

static void stop_flood(void *arg)
{
    (void)arg;
    flood.stop = true;
    pthread_join(flood.thread, NULL);
}

static void call_again_threadsafe(void *arg)
{
    struct coil_handle *handle = arg;
    coil_call_soon_threadsafe(loop, handle, call_again_threadsafe, handle);
}

// The loop closes when its tasks have ended. Calls that come later are not made
// and their handles are free.
TEST(loop_close_does_not_wait_for_calls_of_other_threads_to_end)
{
    static struct coil_handle handle;
    open_loop();
    flood.loop = loop;
    CHECK_INT(pthread_create(&flood.thread, NULL, call_for_ever, NULL), 0);
    coil_call_at_close(&flood.at_close, stop_flood, NULL);
    call_again_threadsafe(&handle);
    for (int i = 0; i < 10; i++)
        coil_loop_pass(loop, COIL_MS(1));
    coil_loop_close(loop);

    open_loop();
    coil_call_soon(&handle, note_call, "a");
    coil_call_soon(&flood.handle, note_call, "b");
    pass();
    CHECK_STR(called, "ab");
    coil_loop_close(loop);
}

COROUTINE(work_a_little, int n; int i, err; int64_t two, sum;)
{
    ASYNC(work_a_little, my) {
        for (my->i = 0; my->i < my->n; my->i++) {
            AWAIT_TO(my->two, coil_future_from_int(2));
            my->sum += my->two;
            AWAIT(coil_sleep(my->i % 8 ? 0 : 1));
            TRY_AWAIT(my->err, coil_future_from_nomem());
            CHECK_INT(my->err, -ENOMEM);
            SPAWN(nap, .n = 1, .ns = 0);
        }
        JOIN();
        RETURN(my->sum);
    }
}

static void *run_a_loop(void *arg)
{
    (void)arg;
    int sum = 0;
    CHECK_INT(RUN_TO(sum, work_a_little, .n = 300), 0);
    CHECK_INT(sum, 600);
    CHECK(coil_loop_current() == NULL);
    return NULL;
}

// What loops share is never written.
TEST(loop_in_every_thread)
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, run_a_loop, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

/* --- Closing ---------------------------------------------------------------*/

COROUTINE(wait_for_bytes, int fd; char byte; int *finished;)
{
    ASYNC(wait_for_bytes, my) {
        AWAIT(coil_recv(my->fd, &my->byte, 1));

    FINALLY;
        AWAIT(coil_sleep(0));
        ++*my->finished;
    }
}

// The buffer is in the frame: it must outlive the kernel's interest in it.
TEST(loop_close_cancels_tasks_and_drains_operations)
{
    int fds[2], finished = 0;
    open_pair(fds);
    open_loop();
    for (int i = 0; i < 10; i++)
        SPAWN(wait_for_bytes, .fd = fds[0], .finished = &finished);
    pass();
    pass();
    CHECK_INT(stats().in_flight, 10);
    // One that is queued and has not begun, too.
    SPAWN(wait_for_bytes, .fd = fds[0], .finished = &finished);
    coil_loop_close(loop);
    CHECK_INT(finished, 11);
    close_pair(fds);
    CHECK_INT(reported.n, 0);
}

COROUTINE(spawn_at_the_end, int left; int *ended;)
{
    ASYNC(spawn_at_the_end, my) {
        AWAIT(coil_sleep(COIL_SECONDS(1000)));

    FINALLY;
        ++*my->ended;
        if (my->left > 0)
            coil_detach(SPAWN(spawn_at_the_end, .left = my->left - 1,
                              .ended = my->ended));
    }
}

// Each is cancelled before it begins, but its FINALLY runs.
TEST(loop_close_ends_what_was_spawned_while_it_closed)
{
    int ended = 0;
    open_loop();
    SPAWN(spawn_at_the_end, .left = 3, .ended = &ended);
    pass();
    coil_loop_close(loop);
    CHECK_INT(ended, 4);
}

COROUTINE(fails, int passes;)
{
    ASYNC(fails, my) {
        for (; my->passes > 0; my->passes--)
            AWAIT(coil_sleep(0));
        FAIL(-EIO);
    }
}

static void spawn_twice(const struct coil_exception *what, void *arg)
{
    int *told = arg;
    CHECK_INT(what->err, -EIO);
    if (++*told == 1) {
        SPAWN(fails, .passes = 3);
        START(fails, .passes = 2);
    }
}

// The last handles are given back, and who is told of an error begins again.
TEST(loop_close_ends_what_was_spawned_for_an_error_that_it_reports)
{
    int told = 0;
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.on_exception = spawn_twice;
    options.on_exception_arg = &told;
    CHECK_INT(coil_loop_new(&loop, &options), 0);
    SPAWN(fails);
    SPAWN(fails);
    pass();
    CHECK_INT(told, 0);
    coil_loop_close(loop);
    CHECK_INT(told, 2); /* the two that it spawned are cancelled */
}

TEST(loop_close_makes_calls_that_are_ready)
{
    open_loop();
    struct again it = { .left = 3 };
    coil_call_soon(&it.handle, call_again, &it);
    coil_loop_close(loop);
    CHECK_STR(called, "xxx");
}

// A timer that did not fire: its handle is free again, for the next loop too.
TEST(loop_close_gives_the_handles_of_timers_back)
{
    struct coil_handle h = { 0 };
    open_loop();
    CHECK_INT(coil_call_later(&h, COIL_SECONDS(1000), note_call, "!"), 0);
    coil_loop_close(loop);
    CHECK_STR(called, "");

    open_loop();
    CHECK(!coil_handle_cancel(&h));
    coil_call_soon(&h, note_call, "a");
    pass();
    CHECK_STR(called, "a");
    coil_loop_close(loop);
}

COROUTINE(shrug_off, int times; int err;)
{
    ASYNC(shrug_off, my) {
        while (my->times-- > 0)
            TRY_ALL(my->err) AWAIT(coil_sleep(COIL_MS(1)));
        note_call("e");
    }
}

TEST(loop_close_waits_for_a_task_that_goes_on)
{
    open_loop();
    SPAWN(shrug_off, .times = 3);
    pass();
    coil_loop_close(loop);
    CHECK_STR(called, "e");
}

static void close_at_once(void)
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.close_ns = COIL_MS(20);
    CHECK_INT(coil_loop_new(&loop, &options), 0);
}

TEST(loop_close_may_wait_as_long_as_it_takes)
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.close_ns = COIL_NEVER;
    CHECK_INT(coil_loop_new(&loop, &options), 0);
    SPAWN(shrug_off, .times = 3);
    pass();
    coil_loop_close(loop);
    CHECK_STR(called, "e");
}

DEATH_TEST(loop_close_in_negative_time_aborts,
           "coil_loop_new: close_ns is -1: must not be negative")
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.close_ns = -1;
    CHECK_INT(coil_loop_new(&loop, &options), 0);
}

TEST(loop_calls_what_is_long_overdue_at_once)
{
    open_loop();
    struct coil_handle h[2] = { { 0 }, { 0 } };
    CHECK_INT(coil_call_later(&h[0], INT64_MIN, note_call, "a"), 0);
    CHECK_INT(coil_call_at(&h[1], INT64_MIN, note_call, "b"), 0);
    coil_loop_pass(loop, COIL_NEVER);
    CHECK_INT(strlen(called), 2);
    coil_loop_close(loop);
}

TEST(loop_pass_waits_no_negative_time)
{
    open_loop();
    CHECK(!coil_loop_pass(loop, -1));
    CHECK(!coil_loop_pass(loop, INT64_MIN));
    coil_loop_close(loop);
}

// Better no program than one whose memory the kernel writes to. What does not
// end is named.
DEATH_TEST(loop_close_of_a_task_that_never_ends_aborts,
           "the loop cannot be closed")
{
    close_at_once();
    SPAWN(shrug_off, .times = INT32_MAX);
    pass();
    coil_loop_close(loop);
}

DEATH_TEST(loop_close_of_a_task_that_never_ends_names_it,
           "- shrug_off  .*test_loop.c:[0-9]+  (sleep|ready), ")
{
    close_at_once();
    SPAWN(shrug_off, .times = INT32_MAX);
    pass();
    coil_loop_close(loop);
}

DEATH_TEST(loop_close_with_a_call_that_repeats_itself_aborts,
           "the loop cannot be closed")
{
    close_at_once();
    struct again it = { .left = INT32_MAX };
    coil_call_soon(&it.handle, call_again, &it);
    coil_loop_close(loop);
}

COROUTINE(forgotten, int *finished; int value;)
{
    ASYNC(forgotten, my) {
        test_fail(__FILE__, __LINE__, "it was never awaited");

    FINALLY;
        *my->finished += my->value;
    }
}

static const int line_of_forgotten = __LINE__ - 8;

COROUTINE(forget, int *finished;)
{
    ASYNC(forget, my) {
        struct coil_future *f = CALL(forgotten, .finished = my->finished,
                                     .value = 5);
        (void)f;
    }
}

// A call without its AWAIT is the most common mistake there is.
TEST(loop_reports_a_coroutine_that_was_never_awaited)
{
    int finished = 0;
    CHECK_INT(RUN_WITH(&reporting, forget, .finished = &finished), 0);
    CHECK_INT(finished, 5);
    CHECK_INT(reported.n, 1);
    CHECK_STR(reported.message, "a coroutine was never awaited");
    CHECK_STR(reported.name, "forgotten");
    CHECK(strstr(reported.file, "test_loop.c") != NULL);
    CHECK_INT(reported.line, line_of_forgotten);
    CHECK_INT(reported.err, 0);
}

DEATH_TEST(loop_reports_a_forgotten_coroutine_on_stderr,
           "coil: a coroutine was never awaited\n    in forgotten at ")
{
    int finished = 0;
    CHECK_INT(RUN(forget, .finished = &finished), 0);
    abort();
}

TEST(loop_reports_a_coroutine_forgotten_outside)
{
    int finished = 0;
    open_loop();
    struct coil_future *f = CALL(forgotten, .finished = &finished, .value = 1);
    CHECK(f != NULL);
    coil_loop_close(loop);
    CHECK_INT(finished, 1);
    CHECK_INT(reported.n, 1);
}

COROUTINE(forget_at_the_end, int *finished;)
{
    ASYNC(forget_at_the_end, my) {
        AWAIT(coil_sleep(COIL_SECONDS(1000)));

    FINALLY;
        struct coil_future *f = CALL(forgotten, .finished = my->finished,
                                     .value = 1);
        (void)f;
    }
}

// Also one that was made while the loop was being closed.
TEST(loop_reports_a_coroutine_forgotten_while_it_closes)
{
    int finished = 0;
    open_loop();
    SPAWN(forget_at_the_end, .finished = &finished);
    pass();
    coil_loop_close(loop);
    CHECK_INT(finished, 1);
    CHECK_INT(reported.n, 1);
}

// A frame in the user's memory is the user's: nothing is reported.
TEST(loop_forgets_a_frame_in_place)
{
    int finished = 0;
    static struct forgotten frame;
    open_loop();
    struct coil_future *f = CALL_IN(&frame, forgotten, .finished = &finished);
    CHECK(f == &frame.coro.future);
    coil_loop_close(loop);
    CHECK_INT(finished, 0);
    CHECK_INT(reported.n, 0);
}

/* --- Memory ----------------------------------------------------------------*/

COROUTINE(numbers, int n; int i;)
{
    ASYNC(numbers, my) {
        for (my->i = 0; my->i < my->n; my->i++)
            YIELD(my->i);
    }
}

COROUTINE(hold_and_nap, struct coil_semaphore *sem; int fail;)
{
    ASYNC(hold_and_nap, my) {
        HOLD(my->sem);
        WITHIN(COIL_SECONDS(1000)) {
            AWAIT(coil_sleep(1000));
            if (my->fail)
                FAIL(my->fail);
        }
    }
}

/* Everything that allocates; fails with -ENOMEM only. */
COROUTINE(workout, struct coil_semaphore sem; struct coil_task *tasks[8];
          struct numbers numbers; int i, n, fds[2], err; char byte;
          int64_t done;)
{
    ASYNC(workout, my) {
        my->fds[0] = my->fds[1] = -1;
        coil_semaphore_init(&my->sem, 2);
        for (my->i = 0; my->i < 8; my->i++)
            my->tasks[my->i] = SPAWN(hold_and_nap, .sem = &my->sem);
        AWAIT(coil_gather(my->tasks, 8));
        FOR_AWAIT(my->n, CALL(numbers, .n = 3))
            AWAIT(CALL(hold_and_nap, .sem = &my->sem));
        FOR_AWAIT(my->n, CALL_IN(&my->numbers, numbers, .n = 3))
            if (my->n == 1)
                break;
        AWAIT(coil_wait_for(coil_sleep(1), COIL_SECONDS(1000)));
        my->err = START(hold_and_nap, .sem = &my->sem);
        if (my->err < 0)
            FAIL(my->err);
        open_pair(my->fds);
        AWAIT_TO(my->done, coil_send(my->fds[0], "x", 1));
        AWAIT_TO(my->done, coil_recv(my->fds[1], &my->byte, 1));
        JOIN();

    FINALLY;
        if (my->fds[0] >= 0)
            close_pair(my->fds);
        CHECK_INT(coil_semaphore_value(&my->sem), 2);
    }
}

static int run_workout(void)
{
    return RUN_WITH(&reporting, workout);
}

TEST(loop_survives_every_failed_allocation)
{
    test_every_allocation(run_workout);
}

TEST(loop_with_an_arena_never_calls_malloc)
{
    static char arena[1 << 20];
    struct coil_loop_options options = reporting;
    options.arena = arena;
    options.arena_bytes = sizeof arena;
    CHECK_INT(coil_loop_new(&loop, &options), 0);
    test_forbid_allocations(true);
    for (int i = 0; i < 20; i++) {
        struct coil_task *t = SPAWN(workout);
        CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
        CHECK_INT(coil_future_error(coil_task_future(t)), 0);
        coil_task_drop(&t);
    }
    size_t taken = stats().memory_bytes;
    struct coil_task *t = SPAWN(workout);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(stats().memory_bytes, taken);
    CHECK(taken <= sizeof arena);
    coil_loop_close(loop);
    test_forbid_allocations(false);
    CHECK_INT(test_forbidden_allocations(), 0);
    CHECK_INT(reported.n, 0);
}

// At every size between "no loop" and "enough" it ends in order.
TEST(loop_in_an_arena_of_any_size)
{
    static char arena[128 * 1024];
    size_t step = test_is_slow() ? 2011 : 233;
    int refused = 0, failed = 0, fine = 0;
    for (size_t bytes = 0; bytes <= sizeof arena; bytes += step) {
        struct coil_loop_options options = reporting;
        options.arena = arena;
        options.arena_bytes = bytes;
        test_note("an arena of %zu bytes", bytes);
        int err = coil_loop_new(&loop, &options);
        if (err < 0) {
            CHECK_INT(err, -ENOMEM);
            refused++;
            continue;
        }
        coil_loop_close(loop);
        err = RUN_WITH(&options, workout);
        CHECK(err == 0 || err == -ENOMEM);
        failed += err < 0;
        fine += err == 0;
    }
    CHECK(refused > 0 && failed > 0 && fine > 0);
}

// The sum that the manual of options.arena makes: records, loop, timers, tasks.
TEST(loop_fits_into_an_arena_of_the_size_that_its_manual_says)
{
    enum { TASKS = 200, LOOP = 12 * 1024, TIMERS = 4 * 1024, OWN = 1024 };
    static struct coil_task *tasks[TASKS];
    static char arena[64 * 1024];
    size_t used = LOOP + TIMERS + TASKS * ((sizeof(struct nap) + 79) & ~15u);
    struct coil_loop_options options = reporting;
    options.arena = arena;
    options.arena_bytes = OWN + used + used / 100;
    CHECK(options.arena_bytes <= sizeof arena);
    CHECK_INT(coil_loop_new(&loop, &options), 0);
    for (int i = 0; i < TASKS; i++)
        tasks[i] = SPAWN(nap, .n = 1, .ns = COIL_SECONDS(1000));
    coil_loop_pass(loop, 0);
    for (int i = 0; i < TASKS; i++)
        CHECK(!coil_task_done(tasks[i]));
    coil_loop_close(loop);
}

struct large_frame {
    struct coil_coro coro;
    char bytes[900];
};

static void large_frame(struct coil_coro *co)
{
    ASYNC(large_frame, my) {
        my->bytes[0] = 1;
        AWAIT(coil_sleep(COIL_SECONDS(1000)));
    }
}

// A buffer that grew and grew, and was freed, is memory for tasks: the 67th of
// them failed, and so did every one after it.
TEST(loop_spawns_tasks_where_a_buffer_was_freed_in_its_arena)
{
    static char arena[2 << 20];
    struct coil_loop_options options = reporting;
    options.arena = arena;
    options.arena_bytes = sizeof arena;
    CHECK_INT(coil_loop_new(&loop, &options), 0);
    for (size_t size = 2048; size < sizeof arena / 2; size += size / 8) {
        void *buffer = coil_alloc(size);
        test_note("a buffer of %zu bytes", size);
        CHECK(buffer != NULL);
        coil_free(buffer, size);
    }
    for (int i = 0; i < 1500; i++) {
        struct coil_task *t = SPAWN(large_frame);
        test_note("task %d", i);
        CHECK(!coil_task_done(t));
    }
    coil_loop_close(loop);
}

// No sum may wrap around: the block would be tiny.
TEST(loop_alloc_of_more_than_there_is_gives_nothing)
{
    CHECK_INT(coil_loop_new(&loop, NULL), 0);
    for (size_t less = 0; less < 64; less++)
        CHECK(coil_alloc(SIZE_MAX - less) == NULL);
    coil_loop_close(loop);
}

COROUTINE(use_up, int n; int *finished;)
{
    ASYNC(use_up, my) {
        for (;;) {
            struct coil_task *t = SPAWN(nap, .n = 1, .ns = COIL_SECONDS(1000));
            if (coil_task_done(t))
                break;
            my->n++;
        }
        // From here on nothing may need memory: closing least of all.
        CHECK(my->n > 100);
        struct coil_task *t = SPAWN(nap);
        CHECK_INT(coil_future_error(coil_task_future(t)), -ENOMEM);
        CHECK_INT(START(nap), -ENOMEM);
        int err;
        TRY_AWAIT(err, CALL(nap));
        CHECK_INT(err, -ENOMEM);
        RETURN(my->n);

    FINALLY;
        ++*my->finished;
    }
}

TEST(loop_with_an_exhausted_arena_fails_and_closes)
{
    static char arena[128 * 1024];
    int finished = 0, n = 0;
    struct coil_loop_options options = reporting;
    options.arena = arena;
    options.arena_bytes = sizeof arena;
    CHECK_INT(coil_loop_new(&loop, &options), 0);
    struct coil_task *t = SPAWN(use_up, .finished = &finished);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(coil_future_error(coil_task_future(t)), 0);
    n = (int)coil_future_int(coil_task_future(t));
    CHECK(n > 100);
    CHECK_INT(finished, 1);
    coil_task_drop(&t);
    // What they had serves again.
    t = SPAWN(use_up, .finished = &finished);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), n);
    coil_loop_close(loop);
    CHECK_INT(reported.n, 0);
}

TEST(loop_lends_its_allocator)
{
    static char arena[64 * 1024];
    for (int with_arena = 0; with_arena < 2; with_arena++) {
        struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
        options.arena = with_arena ? arena : NULL;
        options.arena_bytes = with_arena ? sizeof arena : 0;
        CHECK_INT(coil_loop_new(&loop, &options), 0);
        for (size_t size = 1; size < 20000; size *= 3) {
            char *p = coil_alloc(size);
            CHECK(p != NULL);
            CHECK_INT((uintptr_t)p & 15, 0);
            memset(p, 1, size);
            coil_free(p, size);
        }
        coil_free(NULL, 10);
        if (with_arena)
            CHECK(coil_alloc(sizeof arena) == NULL);
        // What is not freed is gone with the loop.
        CHECK(coil_alloc(100) != NULL);
        CHECK(coil_alloc(10000) != NULL);
        coil_loop_close(loop);
    }
}

/* --- fork ------------------------------------------------------------------*/

/* Of this process: kernel objects that only a loop has. */
static int loop_descriptors(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++) {
        char path[64], target[64] = "";
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        if (readlink(path, target, sizeof target - 1) > 0)
            n += strstr(target, "io_uring") || strstr(target, "eventfd");
    }
    return n;
}

/*
 * Valgrind keeps the parent's rings in its books of the child, and is lost
 * when the kernel maps another one there.
 */
static void skip_under_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");
    if (preloaded && strstr(preloaded, "/vgpreload_"))
        SKIP("valgrind does not know MADV_DONTFORK");
}

static void child_with_a_loop_of_its_own(void)
{
    if (coil_loop_current() || loop_descriptors() != 0)
        _exit(2);
    if (RUN(nap, .n = 3, .ns = 1000) < 0)
        _exit(3);
    _exit(loop_descriptors() == 0 ? 42 : 4);
}

static void check_child(pid_t child)
{
    int status = 0;
    CHECK(child > 0);
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 42);
}

COROUTINE(fork_inside, int fds[2]; char byte; struct coil_task *reader;
          int done;)
{
    ASYNC(fork_inside, my) {
        open_pair(my->fds);
        my->reader = coil_spawn(coil_recv(my->fds[0], &my->byte, 1));
        AWAIT(coil_sleep(COIL_MS(1)));
        pid_t child = fork();
        if (child == 0)
            child_with_a_loop_of_its_own();
        check_child(child);
        // The parent's operation is still in flight, and its timers run.
        AWAIT(coil_sleep(COIL_MS(1)));
        CHECK(!coil_task_done(my->reader));
        AWAIT_TO(my->done, coil_send(my->fds[1], "x", 1));
        AWAIT_TO(my->done, my->reader);
        CHECK_INT(my->done, 1);

    FINALLY;
        close_pair(my->fds);
    }
}

// A child that kept the parent's ring would submit into it.
TEST(loop_is_the_parents_alone_after_fork)
{
    skip_under_valgrind();
    CHECK_INT(RUN(fork_inside), 0);
}

TEST(loop_forked_between_passes)
{
    skip_under_valgrind();
    open_loop();
    struct coil_task *t = SPAWN(nap, .n = 3, .ns = 1000);
    pass();
    pid_t child = fork();
    if (child == 0)
        child_with_a_loop_of_its_own();
    check_child(child);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    coil_loop_close(loop);
}

static void fork_and_run(void)
{
    pid_t child = fork();
    if (child == 0)
        child_with_a_loop_of_its_own();
    check_child(child);
}

// The guard stays when the loop has gone, and with a thread that has none.
TEST(loop_guard_of_forks_without_a_loop)
{
    skip_under_valgrind();
    open_loop();
    coil_loop_close(loop);
    fork_and_run();
    open_loop();
    coil_loop_close(loop);
    fork_and_run();
}

/* What an executed child sees of our descriptors: it prints its own. */
static size_t spawn_and_list(char *text, size_t size)
{
    int out[2];
    posix_spawn_file_actions_t actions;
    char *argv[] = { "ls", "-l", "/proc/self/fd", NULL };
    pid_t child;
    CHECK_INT(pipe2(out, O_CLOEXEC), 0);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    CHECK_INT(posix_spawnp(&child, "ls", &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(out[1]);
    size_t n = 0;
    ssize_t got;
    while ((got = read(out[0], text + n, size - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    close(out[0]);
    int status;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(WEXITSTATUS(status), 0);
    return n;
}

// A ring in another program's hands would live as long as that.
TEST(loop_is_not_inherited_by_what_is_executed)
{
    static char text[16384];
    skip_under_valgrind();
    open_loop();
    CHECK(coil_loop_fd(loop) >= 0);
    pass();
    CHECK(loop_descriptors() >= 3);
    CHECK(spawn_and_list(text, sizeof text) > 0);
    CHECK(strstr(text, "pipe"));
    CHECK(!strstr(text, "io_uring"));
    CHECK(!strstr(text, "eventfd"));
    coil_loop_close(loop);
}

static atomic_bool calls_end;
static void call_nothing(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
}

static void *call_all_the_time(void *arg)
{
    struct coil_handle handle = { 0 };
    while (!atomic_load(&calls_end)) {
        atomic_bool made = false;
        coil_call_soon_threadsafe(arg, &handle, call_nothing, &made);
        while (!atomic_load(&made))
            sched_yield();
    }
    return NULL;
}

// The other thread may be in the middle of a call: the child has no part in it.
TEST(loop_forked_while_another_thread_calls)
{
    pthread_t thread;
    skip_under_valgrind();
    open_loop();
    CHECK_INT(pthread_create(&thread, NULL, call_all_the_time, loop), 0);
    for (int i = 0; i < 20; i++) {
        coil_loop_pass(loop, COIL_SECONDS(10));
        pid_t child = fork();
        if (child == 0)
            child_with_a_loop_of_its_own();
        for (int n = 0; n < 10; n++)
            pass();
        check_child(child);
    }
    atomic_store(&calls_end, true);
    while (pthread_tryjoin_np(thread, NULL) != 0)
        pass();
    coil_loop_close(loop);
}

static atomic_int loops_open;

static void *loop_until_told(void *arg)
{
    struct coil_loop *own;
    (void)arg;
    CHECK_INT(coil_loop_new(&own, NULL), 0);
    coil_loop_fd(own);
    loops_open++;
    while (!atomic_load(&calls_end))
        coil_loop_pass(own, COIL_MS(1));
    coil_loop_close(own);
    return NULL;
}

// Any thread may fork. The child has no other thread that could close the
// copies of the descriptors.
TEST(loop_of_another_thread_is_not_the_childs)
{
    pthread_t threads[2];
    skip_under_valgrind();
    for (int i = 0; i < 2; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, loop_until_told, NULL), 0);
    while (loops_open < 2)
        nanoseconds(100000);
    fork_and_run();
    open_loop();
    fork_and_run();
    atomic_store(&calls_end, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    fork_and_run();
    coil_loop_close(loop);
}

/* --- All tasks -------------------------------------------------------------*/

/* Their names, in the order in which coil_task_next() gives them. */
static const char *task_names(void)
{
    static char names[512];
    names[0] = '\0';
    for (struct coil_task *t = coil_task_next(NULL); t; t = coil_task_next(t)) {
        strcat(names, coil_task_name(t));
        strcat(names, " ");
    }
    return names;
}

COROUTINE(leaf,)
{
    ASYNC(leaf, my) {
        AWAIT(coil_sleep(COIL_SECONDS(1000)));
    }
}

COROUTINE(branch,)
{
    ASYNC(branch, my) {
        coil_task_set_name(SPAWN(leaf), "leaf1");
        coil_task_set_name(SPAWN(leaf), "leaf2");
        AWAIT(coil_sleep(COIL_SECONDS(1000)));
    }
}

// Calls a frame that has children of its own: it is in the middle.
COROUTINE(trunk,)
{
    ASYNC(trunk, my) {
        SPAWN(nap);
        coil_task_set_name(SPAWN(leaf), "leaf3");
        AWAIT(CALL(branch));
    }
}

TEST(loop_shows_all_tasks_each_before_its_children)
{
    open_loop();
    CHECK(coil_task_next(NULL) == NULL);
    struct coil_task *first = SPAWN(trunk);
    struct coil_task *last = SPAWN(leaf);
    CHECK_STR(task_names(), "trunk leaf ");
    pass();
    CHECK_STR(task_names(), "trunk nap leaf3 leaf1 leaf2 leaf ");
    pass();
    CHECK_STR(task_names(), "trunk leaf3 leaf1 leaf2 leaf ");
    CHECK_INT(stats().tasks, 5);
    CHECK(coil_task_next(NULL) == first);
    CHECK(coil_task_next(last) == NULL);
    coil_task_cancel(last);
    pass();
    CHECK_STR(task_names(), "trunk leaf3 leaf1 leaf2 ");
    coil_loop_close(loop);
}

COROUTINE(yield_with_children,)
{
    ASYNC(yield_with_children, my) {
        coil_task_set_name(SPAWN(leaf), "deep");
        YIELD(1);
        AWAIT(coil_sleep(COIL_SECONDS(1000)));
    }
}

COROUTINE(consume, int item; bool leave;)
{
    ASYNC(consume, my) {
        coil_task_set_name(SPAWN(leaf), "own");
        FOR_AWAIT(my->item, CALL(yield_with_children)) {
            AWAIT(coil_sleep(0));
            if (my->leave)
                break;
        }
        AWAIT(coil_sleep(COIL_SECONDS(1000)));
    }
}

// A generator's children are running while it has just yielded, too.
TEST(loop_shows_the_children_of_a_generator)
{
    open_loop();
    SPAWN(consume);
    SPAWN(leaf);
    for (int i = 0; i < 4; i++) {
        pass();
        CHECK_STR(task_names(), "consume own deep leaf ");
        CHECK_INT(stats().tasks, 4);
    }
    coil_loop_close(loop);
}

/* --- Counters --------------------------------------------------------------*/

TEST(loop_counts_what_it_does)
{
    int fds[2];
    open_pair(fds);
    open_loop();
    struct coil_loop_stats s = stats();
    CHECK_INT(s.passes, 0);
    CHECK_INT(s.in_flight, 0);
    CHECK_INT(s.timers, 0);
    CHECK_INT(s.tasks, 0);
    CHECK(s.memory_bytes > 0);

    struct coil_task *t = SPAWN(say_after_recv, .fd = fds[0]);
    SPAWN(leaf);
    CHECK_INT(stats().tasks, 2);
    pass();
    s = stats();
    CHECK_INT(s.passes, 1);
    CHECK_INT(s.in_flight, 1);
    CHECK_INT(s.timers, 1);
    uint64_t submitted = s.submitted;
    pass();
    CHECK_INT(stats().submitted, submitted + 1);
    CHECK_INT(write(fds[1], "x", 1), 1);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    s = stats();
    CHECK_INT(s.in_flight, 0);
    CHECK_INT(s.tasks, 1);
    CHECK_INT(s.overflows, 0);
    CHECK_INT(s.no_buffers, 0);
    coil_loop_close(loop);
    close_pair(fds);
}

/* --- The await tree --------------------------------------------------------*/

/* What coil_dump() says, as one string. */
static const char *dump(void)
{
    static char text[8192];
    int fds[2];
    CHECK_INT(pipe(fds), 0);
    coil_dump(fds[1]);
    close(fds[1]);
    size_t len = 0;
    for (ssize_t n; (n = read(fds[0], text + len, sizeof text - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = '\0';
    close(fds[0]);
    return text;
}

static void check_match(const char *text, const char *pattern)
{
    regex_t regex;
    CHECK_INT(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB | REG_NEWLINE),
              0);
    if (regexec(&regex, text, 0, NULL, 0) != 0)
        test_fail(__FILE__, __LINE__, "no line like %s in\n%s", pattern, text);
    regfree(&regex);
}

/* `what` stands at a line of this file. */
static void check_line(const char *text, const char *before, int line,
                       const char *after)
{
    char pattern[256];
    snprintf(pattern, sizeof pattern, "^%s  .*/?test_loop.c:%d%s$", before,
             line, after);
    check_match(text, pattern);
}

#define SECONDS ", [0-9]+\\.[0-9][0-9][0-9] s"

static int line_inner, line_outer, line_hold, line_task, line_finally,
    line_children, line_future, line_iter;

COROUTINE(inner, int fd; char byte;)
{
    ASYNC(inner, my) {
        line_inner = __LINE__ + 1;
        AWAIT(coil_recv(my->fd, &my->byte, 1));
    }
}

COROUTINE(outer, int fd;)
{
    ASYNC(outer, my) {
        line_outer = __LINE__ + 1;
        AWAIT(CALL(inner, .fd = my->fd));
    }
}

COROUTINE(holder, struct coil_semaphore *sem;)
{
    ASYNC(holder, my) {
        line_hold = __LINE__ + 1;
        HOLD(my->sem);
    }
}

COROUTINE(task_waiter, struct coil_task *task;)
{
    ASYNC(task_waiter, my) {
        line_task = __LINE__ + 1;
        AWAIT(my->task);
    }
}

COROUTINE(cleaner,)
{
    ASYNC(cleaner, my) {

    FINALLY;
        line_finally = __LINE__ + 1;
        AWAIT(coil_sleep(COIL_SECONDS(1000)));
    }
}

COROUTINE(future_waiter, struct coil_future *future;)
{
    ASYNC(future_waiter, my) {
        line_future = __LINE__ + 1;
        AWAIT(coil_future_ref(my->future));

    FINALLY;
        coil_future_unref(my->future);
    }
}

COROUTINE(slow_numbers,)
{
    ASYNC(slow_numbers, my) {
        AWAIT(coil_sleep(COIL_SECONDS(1000)));
        YIELD(1);
    }
}

COROUTINE(iterator, int item;)
{
    ASYNC(iterator, my) {
        line_iter = __LINE__ + 1;
        FOR_AWAIT(my->item, CALL(slow_numbers)) {
        }
    }
}

COROUTINE(family, int fd; struct coil_semaphore sem; struct coil_task *child;)
{
    ASYNC(family, my) {
        coil_semaphore_init(&my->sem, 0);
        my->child = SPAWN(outer, .fd = my->fd);
        coil_task_set_name(my->child, "named one");
        SPAWN(holder, .sem = &my->sem);
        SPAWN(task_waiter, .task = my->child);
        SPAWN(cleaner);
        SPAWN(future_waiter, .future = coil_future_new());
        SPAWN(iterator);
        line_children = __LINE__ + 1;
        JOIN();
    }
}

TEST(loop_dump_shows_who_waits_where_on_what)
{
    int fds[2];
    char text[128];
    open_pair(fds);
    open_loop();
    CHECK_STR(dump(), "coil: 0 tasks, 0 operations in flight, 0 timers\n");
    SPAWN(family, .fd = fds[0]);
    check_match(dump(), "^- family  .*test_loop.c:[0-9]+  ready to begin$");
    for (int i = 0; i < 3; i++)
        pass();
    nanoseconds(30000000); /* no pass: a debugger stops the loop, too */

    const char *said = dump();
    check_match(said, "^coil: 7 tasks, 1 operations in flight, 2 timers$");
    check_line(said, "- family", line_children, "  6 children" SECONDS);
    check_line(said, "    - named one", line_outer, "");
    snprintf(text, sizeof text, "  recv fd %d" SECONDS, fds[0]);
    check_line(said, "      inner", line_inner, text);
    check_line(said, "    - holder", line_hold, "  semaphore" SECONDS);
    check_line(said, "    - task_waiter", line_task,
               "  task named one" SECONDS);
    check_line(said, "    - cleaner", line_finally,
               " in FINALLY  sleep" SECONDS);
    check_line(said, "    - future_waiter", line_future, "  future" SECONDS);
    check_line(said, "    - iterator", line_iter, "");
    check_match(said, "^      slow_numbers  .*test_loop.c:[0-9]+  sleep");

    // It has waited for the 30 ms at least; the clock of tasks has ms.
    const char *cleaner_line = strstr(said, "- cleaner");
    const char *seconds = strstr(cleaner_line, "sleep, ") + strlen("sleep, ");
    CHECK(strtod(seconds, NULL) >= 0.029);
    // Order: as coil_task_next().
    CHECK(strstr(said, "- family") < strstr(said, "- named one"));
    CHECK(strstr(said, "- named one") < strstr(said, "- holder"));
    CHECK(strstr(said, "- future_waiter") < strstr(said, "- iterator"));
    coil_loop_close(loop);
    close_pair(fds);
}

COROUTINE(dump_itself, int line;)
{
    ASYNC(dump_itself, my) {
        my->line = __LINE__ + 1;
        AWAIT(coil_sleep(0));
        check_line(dump(), "- dump_itself", my->line, "  running");
    }
}

TEST(loop_dump_from_a_coroutine_says_that_it_runs)
{
    CHECK_INT(RUN(dump_itself), 0);
}

COROUTINE(in_each_other, int levels;)
{
    ASYNC(in_each_other, my) {
        if (my->levels > 0)
            SPAWN(in_each_other, .levels = my->levels - 1);
        AWAIT(coil_sleep(COIL_SECONDS(1000)));
    }
}

// Lines are cut at 511 bytes: an indent of 100,000 levels would leave nothing.
TEST(loop_dump_of_deep_tasks_shows_their_depth)
{
    open_loop();
    SPAWN(in_each_other, .levels = 20);
    for (int i = 0; i < 21; i++)
        pass();
    check_match(dump(), "^ {64}- in_each_other ");
    check_match(dump(), "^ {64}- \\[17\\] in_each_other ");
    check_match(dump(), "^ {64}- \\[20\\] in_each_other .*sleep, [0-9.]+ s$");
    coil_loop_close(loop);
}

TEST(loop_dump_allocates_nothing)
{
    open_loop();
    SPAWN(trunk);
    pass();
    test_forbid_allocations(true);
    CHECK(strstr(dump(), "trunk") != NULL);
    test_forbid_allocations(false);
    CHECK_INT(test_forbidden_allocations(), 0);
    coil_loop_close(loop);
}

// Nobody reads: the program must not hang or die.
TEST(loop_dump_to_a_closed_descriptor_is_harmless)
{
    open_loop();
    SPAWN(trunk);
    pass();
    coil_dump(-1);
    coil_loop_close(loop);
}

// A time-out that was meant for ever must not strike at once.
TEST(loop_durations_beyond_what_can_be_are_for_ever)
{
    static const int64_t constants[] = { COIL_SECONDS(1e12), COIL_MS(1.5),
                                         COIL_SECONDS(-1e12) };
    volatile double huge = 1e300, none = 0.0;
    CHECK(constants[0] == COIL_NEVER);
    CHECK(constants[1] == 1500000);
    CHECK(constants[2] == -COIL_NEVER);
    CHECK(COIL_SECONDS(huge) == COIL_NEVER);
    CHECK(COIL_MS(huge * 1e300) == COIL_NEVER); /* infinite */
    CHECK(COIL_US(-huge) == -COIL_NEVER);
    CHECK(COIL_SECONDS(none / none) == 0); /* not a number */
    int i = 3;
    CHECK(COIL_SECONDS(i++) == 3000000000);
    CHECK_INT(i, 4);
}
