// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_future.c: once from pending to done, and everybody told, in order.
 *
 * Most cases need no coroutine: they make the loop themselves and count its
 * passes, so that "soon" and "never inline" are facts.
 */
#include "test.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <coil/coroutine.h>
#include <coil/future.h>
#include <coil/loop.h>
#include <coil/task.h>
#include <coil/wait.h>
#include <coil/wait_for.h>

#include "core/future.h"

/* --- Around a case ---------------------------------------------------------*/

static struct coil_loop *loop;

static struct {
    int n, err;
    uint32_t detail;
    char message[128];
} reported;

static void note_report(const struct coil_exception *what, void *arg)
{
    CHECK(arg == &reported);
    reported.n++;
    reported.err = what->err;
    reported.detail = what->detail;
    snprintf(reported.message, sizeof reported.message, "%s", what->message);
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

static void close_loop(void)
{
    coil_loop_close(loop);
}

static void pass(void)
{
    coil_loop_pass(loop, 0);
}

/* What was called, in order: one letter each. */
static char called[64];

static void note_call(void *arg)
{
    size_t n = strlen(called);
    CHECK(n + 1 < sizeof called);
    called[n] = *(const char *)arg;
    called[n + 1] = '\0';
}

/* --- States ----------------------------------------------------------------*/

TEST(future_begins_pending)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    CHECK(!coil_future_done(f));
    CHECK(!coil_future_failed(f));
    CHECK(!coil_future_cancelled(f));
    CHECK_INT(coil_future_detail(f), 0);
    coil_future_unref(f);
    close_loop();
    CHECK_INT(reported.n, 0);
}

TEST(future_holds_an_integer)
{
    open_loop();
    static const int64_t values[] = { 0, 1, -1, INT64_MAX, INT64_MIN };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        struct coil_future *f = coil_future_new();
        CHECK(coil_future_set_int(f, values[i]));
        CHECK(coil_future_done(f));
        CHECK(!coil_future_failed(f));
        CHECK_INT(coil_future_error(f), 0);
        CHECK_INT(coil_future_int(f), values[i]);
        CHECK_INT(coil_future_int(f), values[i]);
        coil_future_unref(f);
    }
    close_loop();
}

TEST(future_holds_a_pointer)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    CHECK(coil_future_set_pointer(f, &loop));
    CHECK(coil_future_pointer(f) == &loop);
    CHECK(coil_future_pointer(f) == &loop);
    coil_future_unref(f);
    close_loop();
}

TEST(future_holds_a_double)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    CHECK(coil_future_set_double(f, -0.125));
    CHECK(coil_future_double(f) == -0.125);
    coil_future_unref(f);
    close_loop();
}

TEST(future_done_with_a_pointer_is_done)
{
    open_loop();
    struct coil_future *f = coil_future_from_pointer(&loop);
    CHECK(coil_future_done(f));
    CHECK(coil_future_pointer(f) == &loop);
    coil_future_unref(f);
    close_loop();
}

// Of whatever kind: the word, the error and its detail.
TEST(future_is_set_as_another_one)
{
    open_loop();
    struct coil_future *from[5], *to[5];
    for (int i = 0; i < 5; i++)
        from[i] = coil_future_new();
    coil_future_set_int(from[0], INT64_MIN);
    coil_future_set_pointer(from[1], &loop);
    coil_future_set_double(from[2], 0.5);
    coil_future_set_error_detail(from[3], -EIO, 7);
    coil_future_cancel(from[4]);
    for (int i = 0; i < 5; i++) {
        to[i] = coil_future_new();
        CHECK(coil_future_set_from(to[i], from[i]));
        coil_future_unref(from[i]);
    }
    CHECK_INT(coil_future_int(to[0]), INT64_MIN);
    CHECK(coil_future_pointer(to[1]) == &loop);
    CHECK(coil_future_double(to[2]) == 0.5);
    CHECK_INT(coil_future_error(to[3]), -EIO);
    CHECK_INT(coil_future_detail(to[3]), 7);
    CHECK(coil_future_cancelled(to[4]));
    for (int i = 0; i < 5; i++)
        coil_future_unref(to[i]);
    close_loop();
}

// One that was cancelled meanwhile takes nothing.
TEST(future_that_was_cancelled_is_not_set_as_another_one)
{
    open_loop();
    struct coil_future *from = coil_future_from_int(1);
    struct coil_future *to = coil_future_new();
    coil_future_cancel(to);
    CHECK(!coil_future_set_from(to, from));
    CHECK(coil_future_cancelled(to));
    coil_future_unref(from);
    coil_future_unref(to);
    close_loop();
}

DEATH_TEST(future_set_as_a_pending_one_aborts, "has no result yet")
{
    open_loop();
    coil_future_set_from(coil_future_new(), coil_future_new());
}

TEST(future_holds_an_error_and_its_detail)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    CHECK(coil_future_set_error_detail(f, -EIO, 0xdeadbeef));
    CHECK(coil_future_done(f));
    CHECK(coil_future_failed(f));
    CHECK(!coil_future_cancelled(f));
    CHECK_INT(coil_future_error(f), -EIO);
    CHECK_INT(coil_future_detail(f), 0xdeadbeef);
    coil_future_unref(f);

    f = coil_future_new();
    CHECK(coil_future_set_error(f, COIL_EPROTOCOL));
    CHECK_INT(coil_future_error(f), COIL_EPROTOCOL);
    CHECK_INT(coil_future_detail(f), 0);
    coil_future_unref(f);
    close_loop();
}

TEST(future_that_is_made_done)
{
    open_loop();
    struct coil_future *f = coil_future_from_int(-7);
    CHECK_INT(coil_future_int(f), -7);
    coil_future_unref(f);
    f = coil_future_from_error(-ENOENT, 0);
    CHECK_INT(coil_future_error(f), -ENOENT);
    coil_future_unref(f);
    close_loop();
}

DEATH_TEST(future_completed_twice_aborts, "a future was completed twice")
{
    open_loop();
    struct coil_future *f = coil_future_new();
    coil_future_set_int(f, 1);
    coil_future_set_int(f, 1);
}

DEATH_TEST(future_failed_after_it_was_completed_aborts,
           "a future was completed twice")
{
    open_loop();
    struct coil_future *f = coil_future_new();
    coil_future_set_int(f, 1);
    coil_future_set_error(f, -EIO);
}

DEATH_TEST(future_error_of_a_pending_one_aborts,
           "a pending future has no error yet")
{
    open_loop();
    coil_future_error(coil_future_new());
}

DEATH_TEST(future_value_of_a_pending_one_aborts,
           "a pending future has no value yet")
{
    open_loop();
    coil_future_int(coil_future_new());
}

DEATH_TEST(future_value_of_a_failed_one_aborts, "ask for its error first")
{
    open_loop();
    coil_future_pointer(coil_future_from_error(-EIO, 0));
}

DEATH_TEST(future_value_of_another_kind_aborts,
           "the value is an integer, the variable holds")
{
    open_loop();
    coil_future_double(coil_future_from_int(5));
}

DEATH_TEST(future_real_read_as_a_pointer_aborts,
           "the value is a double, the variable holds")
{
    open_loop();
    struct coil_future *f = coil_future_new();
    coil_future_set_double(f, 0);
    coil_future_pointer(f);
}

// As AWAIT_TO takes it.
TEST(future_zero_is_a_null_pointer_and_a_zero_double)
{
    open_loop();
    struct coil_future *f = coil_future_from_int(0);
    CHECK(coil_future_pointer(f) == NULL);
    CHECK(coil_future_double(f) == 0.0);
    CHECK_INT(coil_future_int(f), 0);
    coil_future_unref(f);
    close_loop();
}

// The word is the same in memory; the meaning is not.
DEATH_TEST(future_pointer_read_as_an_integer_aborts,
           "the value is a pointer, the variable holds")
{
    open_loop();
    struct coil_future *f = coil_future_new();
    coil_future_set_pointer(f, NULL);
    coil_future_int(f);
}

DEATH_TEST(future_error_that_is_none_aborts, "an error is a negative number")
{
    open_loop();
    coil_future_set_error(coil_future_new(), 0);
}

DEATH_TEST(future_without_a_loop_aborts, "this thread has no loop")
{
    coil_future_unref(coil_future_new());
}

/* --- Cancelling ------------------------------------------------------------*/

TEST(future_cancelled_is_done_at_once)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    CHECK(coil_future_cancel(f));
    CHECK(coil_future_cancelled(f));
    CHECK(coil_future_failed(f));
    CHECK_INT(coil_future_error(f), -ECANCELED);
    CHECK(!coil_future_cancel(f));
    coil_future_unref(f);
    close_loop();
}

TEST(future_that_is_done_cannot_be_cancelled)
{
    open_loop();
    struct coil_future *f = coil_future_from_int(3);
    CHECK(!coil_future_cancel(f));
    CHECK_INT(coil_future_int(f), 3);
    coil_future_unref(f);
    close_loop();
}

// Whoever completes it cannot know that nobody waits any more: a timer, a
// thread, a completion from the kernel.
TEST(future_set_after_cancel_is_harmless)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    coil_future_cancel(f);
    CHECK(!coil_future_set_int(f, 1));
    CHECK(!coil_future_set_pointer(f, NULL));
    CHECK(!coil_future_set_double(f, 1));
    CHECK(!coil_future_set_error(f, -EIO));
    CHECK(coil_future_cancelled(f));
    coil_future_unref(f);
    close_loop();
    CHECK_INT(reported.n, 0);
}

// sleep(0) is one static object for all threads: it must stay pending.
TEST(future_cancel_does_not_touch_the_shared_pass)
{
    open_loop();
    struct coil_future *f = coil_sleep(0);
    CHECK(!coil_future_cancel(f));
    CHECK(!coil_future_done(coil_sleep(0)));
    coil_future_unref(f);
    close_loop();
}

TEST(future_sleep_cancelled_before_it_was_awaited)
{
    open_loop();
    struct coil_future *f = coil_sleep(COIL_SECONDS(1000));
    CHECK(coil_future_cancel(f));
    CHECK(coil_future_cancelled(f));
    coil_future_unref(f);
    close_loop();
}

/* --- Callbacks -------------------------------------------------------------*/

// A callback inside set_result would run code of another owner in the middle
// of ours.
TEST(future_calls_back_in_order_and_never_inline)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    struct coil_handle h[3] = { { 0 } };
    coil_future_add_done_callback(f, &h[0], note_call, "a");
    coil_future_add_done_callback(f, &h[1], note_call, "b");
    coil_future_add_done_callback(f, &h[2], note_call, "c");
    pass();
    CHECK_STR(called, "");
    coil_future_set_int(f, 1);
    CHECK_STR(called, "");
    pass();
    CHECK_STR(called, "abc");
    pass();
    CHECK_STR(called, "abc");
    coil_future_unref(f);
    close_loop();
}

TEST(future_calls_back_when_it_is_cancelled)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    struct coil_handle h = { 0 };
    coil_future_add_done_callback(f, &h, note_call, "a");
    coil_future_cancel(f);
    CHECK_STR(called, "");
    pass();
    CHECK_STR(called, "a");
    coil_future_unref(f);
    close_loop();
}

TEST(future_that_is_done_calls_back_soon)
{
    open_loop();
    struct coil_future *f = coil_future_from_int(1);
    struct coil_handle a = { 0 }, b = { 0 };
    coil_future_add_done_callback(f, &a, note_call, "a");
    coil_future_add_done_callback(f, &b, note_call, "b");
    CHECK_STR(called, "");
    pass();
    CHECK_STR(called, "ab");
    coil_future_unref(f);
    close_loop();
}

// A handle is free again when its call is made, even for the same future.
TEST(future_handle_serves_again_after_its_call)
{
    open_loop();
    struct coil_future *f = coil_future_from_int(1);
    struct coil_handle h = { 0 };
    for (int i = 0; i < 3; i++) {
        coil_future_add_done_callback(f, &h, note_call, "x");
        pass();
    }
    CHECK_STR(called, "xxx");
    coil_future_unref(f);
    close_loop();
}

TEST(future_callback_withdrawn_is_not_called)
{
    for (int which = 0; which < 3; which++) {
        open_loop();
        struct coil_future *f = coil_future_new();
        struct coil_handle h[3] = { { 0 } };
        coil_future_add_done_callback(f, &h[0], note_call, "a");
        coil_future_add_done_callback(f, &h[1], note_call, "b");
        coil_future_add_done_callback(f, &h[2], note_call, "c");
        CHECK(coil_future_remove_done_callback(f, &h[which]));
        CHECK(!coil_future_remove_done_callback(f, &h[which]));
        coil_future_add_done_callback(f, &h[which], note_call, "d");
        coil_future_set_int(f, 0);
        called[0] = '\0';
        pass();
        static const char *const left[] = { "bcd", "acd", "abd" };
        CHECK_STR(called, left[which]);
        coil_future_unref(f);
        close_loop();
    }
}

// Done, queued, and withdrawn all the same: asyncio cannot.
TEST(future_callback_withdrawn_when_its_call_is_queued)
{
    for (int which = 0; which < 3; which++) {
        open_loop();
        struct coil_future *f = coil_future_new();
        struct coil_handle h[3] = { { 0 } };
        coil_future_add_done_callback(f, &h[0], note_call, "a");
        coil_future_add_done_callback(f, &h[1], note_call, "b");
        coil_future_add_done_callback(f, &h[2], note_call, "c");
        coil_future_set_int(f, 0);
        CHECK(coil_future_remove_done_callback(f, &h[which]));
        CHECK(!coil_future_remove_done_callback(f, &h[which]));
        called[0] = '\0';
        pass();
        static const char *const left[] = { "bc", "ac", "ab" };
        CHECK_STR(called, left[which]);
        coil_future_unref(f);
        close_loop();
    }
}

TEST(future_callback_withdrawn_after_its_call_says_false)
{
    open_loop();
    struct coil_future *f = coil_future_from_int(0);
    struct coil_handle h = { 0 };
    coil_future_add_done_callback(f, &h, note_call, "a");
    pass();
    CHECK(!coil_future_remove_done_callback(f, &h));
    coil_future_unref(f);
    close_loop();
}

// The general cancel of handles finds it wherever it waits.
TEST(future_callback_withdrawn_by_its_handle)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    struct coil_handle a = { 0 }, b = { 0 };
    coil_future_add_done_callback(f, &a, note_call, "a");
    coil_future_add_done_callback(f, &b, note_call, "b");
    CHECK(coil_handle_cancel(&a));
    CHECK(!coil_handle_cancel(&a));
    coil_future_set_int(f, 0);
    CHECK(coil_handle_cancel(&b));
    pass();
    CHECK_STR(called, "");
    coil_future_unref(f);
    close_loop();
}

struct chain {
    struct coil_handle handle;
    struct coil_future *future;
    struct coil_handle *victim;
    const char *letter;
};

static void free_own_handle(void *arg)
{
    struct chain *it = arg;
    note_call((void *)(uintptr_t)it->letter);
    coil_future_unref(it->future);
    free(it);
}

// Its last reference and its handle go while it is being told.
TEST(future_callback_may_free_everything_it_has)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    for (int i = 0; i < 3; i++) {
        struct chain *it = malloc(sizeof *it);
        *it = (struct chain){ .future = coil_future_ref(f),
                              .letter = &"abc"[i] };
        coil_future_add_done_callback(f, &it->handle, free_own_handle, it);
    }
    coil_future_set_int(f, 0);
    coil_future_unref(f);
    pass();
    CHECK_STR(called, "abc");
    close_loop();
}

static void remove_victim(void *arg)
{
    struct chain *it = arg;
    note_call((void *)(uintptr_t)it->letter);
    CHECK(coil_future_remove_done_callback(it->future, it->victim));
}

// The one it removes stands in the batch that runs now: first, middle or last
// of what is left.
TEST(future_callback_may_withdraw_a_later_one)
{
    for (int victim = 1; victim < 4; victim++) {
        open_loop();
        struct coil_future *f = coil_future_new();
        struct coil_handle h[4] = { { 0 } };
        struct chain it = { .future = f, .victim = &h[victim], .letter = "r" };
        coil_future_add_done_callback(f, &h[0], remove_victim, &it);
        coil_future_add_done_callback(f, &h[1], note_call, "1");
        coil_future_add_done_callback(f, &h[2], note_call, "2");
        coil_future_add_done_callback(f, &h[3], note_call, "3");
        coil_future_set_int(f, 0);
        called[0] = '\0';
        pass();
        // What becomes ready now must still find the end of the list.
        coil_call_soon(&h[victim], note_call, "z");
        pass();
        static const char *const left[] = { "", "r23z", "r13z", "r12z" };
        CHECK_STR(called, left[victim]);
        coil_future_unref(f);
        close_loop();
    }
}

static void add_another(void *arg)
{
    struct chain *it = arg;
    note_call((void *)(uintptr_t)it->letter);
    coil_future_add_done_callback(it->future, it->victim, note_call, "n");
}

// What is added while the others are told waits for the next pass.
TEST(future_callback_may_add_another)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    struct coil_handle a = { 0 }, b = { 0 }, added = { 0 };
    struct chain it = { .future = f, .victim = &added, .letter = "a" };
    coil_future_add_done_callback(f, &a, add_another, &it);
    coil_future_add_done_callback(f, &b, note_call, "b");
    coil_future_set_int(f, 0);
    pass();
    CHECK_STR(called, "ab");
    pass();
    CHECK_STR(called, "abn");
    coil_future_unref(f);
    close_loop();
}

DEATH_TEST(future_handle_used_twice_aborts, "a handle is in use already")
{
    open_loop();
    struct coil_handle h = { 0 };
    coil_future_add_done_callback(coil_future_new(), &h, note_call, "a");
    coil_future_add_done_callback(coil_future_new(), &h, note_call, "b");
}

DEATH_TEST(future_handle_that_is_queued_is_in_use,
           "a handle is in use already")
{
    open_loop();
    struct coil_handle h = { 0 };
    coil_future_add_done_callback(coil_future_from_int(0), &h, note_call, "a");
    coil_future_add_done_callback(coil_future_new(), &h, note_call, "b");
}

/* --- References ------------------------------------------------------------*/

TEST(future_lives_as_long_as_its_last_reference)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    for (int i = 0; i < 1000; i++)
        CHECK(coil_future_ref(f) == f);
    coil_future_set_int(f, 9);
    for (int i = 0; i < 1000; i++)
        coil_future_unref(f);
    CHECK_INT(coil_future_int(f), 9);
    coil_future_unref(f);
    close_loop();
}

// The producer has given up: those who registered must get their handles back.
TEST(future_dropped_while_pending_ends_cancelled_for_its_callbacks)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    struct coil_handle h = { 0 };
    coil_future_add_done_callback(f, &h, note_call, "a");
    coil_future_unref(f);
    CHECK_STR(called, "");
    pass();
    CHECK_STR(called, "a");
    coil_call_soon(&h, note_call, "b");
    close_loop();
    CHECK_STR(called, "ab");
    CHECK_INT(reported.n, 0);
}

/* ---- Errors that were not fetched -------------------------------------- */

TEST(future_error_nobody_fetched_is_reported_once)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    coil_future_set_error_detail(f, -EPIPE, 77);
    coil_future_ref(f);
    coil_future_unref(f);
    CHECK_INT(reported.n, 0);
    coil_future_unref(f);
    CHECK_INT(reported.n, 1);
    CHECK_INT(reported.err, -EPIPE);
    CHECK_INT(reported.detail, 77);
    CHECK(strstr(reported.message, "was not fetched") != NULL);
    close_loop();
    CHECK_INT(reported.n, 1);
}

TEST(future_error_fetched_is_not_reported)
{
    open_loop();
    struct coil_future *f = coil_future_from_error(-EPIPE, 0);
    CHECK_INT(coil_future_error(f), -EPIPE);
    coil_future_unref(f);
    close_loop();
    CHECK_INT(reported.n, 0);
}

/* --- What became of it, without waiting ------------------------------------*/

// A pending future leaves the caller's variable alone.
TEST(future_peek_tells_pending_from_value_and_error)
{
    open_loop();
    struct coil_future *f[3] = { coil_future_new(), coil_future_new(),
                                 coil_future_new() };
    for (int i = 0; i < 3; i++) {
        int err = 99;
        CHECK(!coil_future_peek(f[i], &err));
        CHECK_INT(err, 99);
    }
    coil_future_set_int(f[0], 7);
    coil_future_set_error(f[1], -EPIPE);
    coil_future_cancel(f[2]);
    static const int errors[3] = { 0, -EPIPE, -ECANCELED };
    for (int i = 0; i < 3; i++) {
        int err = 99;
        CHECK(coil_future_peek(f[i], &err));
        CHECK_INT(err, errors[i]);
    }
    CHECK_INT(coil_future_int(f[0]), 7);
    for (int i = 0; i < 3; i++)
        coil_future_unref(f[i]);
    close_loop();
    CHECK_INT(reported.n, 0); /* the error was fetched by the peek */
}

// A peek at a pending future fetches nothing of the error that comes later.
TEST(future_error_after_a_peek_is_reported)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    int err = 0;
    CHECK(!coil_future_peek(f, &err));
    coil_future_set_error(f, -EIO);
    coil_future_unref(f);
    CHECK_INT(reported.n, 1);
    close_loop();
}

// Static futures are shared and are never written.
TEST(future_peek_of_static_futures)
{
    open_loop();
    struct coil_future *f = coil_future_from_nomem();
    int err = 99;
    CHECK(coil_future_peek(f, &err));
    CHECK_INT(err, -ENOMEM);
    CHECK(coil_future_peek(f, &err));
    err = 99;
    CHECK(!coil_future_peek(coil_sleep(0), &err));
    CHECK_INT(err, 99);
    f = coil_future_from_int(1);
    CHECK(coil_future_peek(f, &err));
    CHECK_INT(err, 0);
    coil_future_unref(f);
    close_loop();
}

// To see that it failed is not to have dealt with it.
TEST(future_error_only_looked_at_is_reported)
{
    open_loop();
    struct coil_future *f = coil_future_from_error(-EPIPE, 0);
    CHECK(coil_future_failed(f));
    CHECK(!coil_future_cancelled(f));
    CHECK_INT(coil_future_detail(f), 0);
    coil_future_unref(f);
    CHECK_INT(reported.n, 1);
    close_loop();
}

TEST(future_cancellation_is_not_reported)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    coil_future_cancel(f);
    coil_future_unref(f);
    close_loop();
    CHECK_INT(reported.n, 0);
}

// Without a handler of the program's own it is a line on stderr that says all.
DEATH_TEST(future_error_is_reported_on_stderr,
           "its error was not fetched: headers: Connection reset by peer")
{
    CHECK_INT(coil_loop_new(&loop, NULL), 0);
    struct coil_future *f = coil_future_new();
    coil_future_set_error_detail(f, -ECONNRESET,
                                 COIL_DETAIL(COIL_PHASE_HEADERS, 0));
    coil_future_unref(f);
    abort();
}

// Also before it fails: a gather that has failed does not know when that is.
TEST(future_made_quiet_is_not_reported)
{
    open_loop();
    for (int before = 0; before < 2; before++) {
        struct coil_future *f = coil_future_new();
        if (before)
            coil_future_quiet(f);
        CHECK(coil_future_set_error(f, -EIO));
        if (!before)
            coil_future_quiet(f);
        CHECK_INT(coil_future_error(f), -EIO);
        coil_future_unref(f);

        f = coil_future_new(); /* and a quiet one may still succeed */
        coil_future_quiet(f);
        CHECK(!coil_future_done(f));
        CHECK(coil_future_set_int(f, 3));
        CHECK_INT(coil_future_int(f), 3);
        coil_future_unref(f);
    }
    coil_future_quiet(coil_future_from_nomem());
    close_loop();
    CHECK_INT(reported.n, 0);
}

/* --- Awaited ---------------------------------------------------------------*/

COROUTINE(waiter, struct coil_future *future; char *letter; int err;
          int64_t value;)
{
    ASYNC(waiter, my) {
        TRY_AWAIT_TO(my->err, my->value, coil_future_ref(my->future));
        note_call(my->letter);
        if (my->err < 0)
            FAIL(my->err);
        RETURN(my->value);
    }
}

/* Four tasks that wait for one future. */
static void spawn_four(struct coil_task *tasks[4], struct coil_future *future)
{
    static char letters[] = "abcd";
    for (int i = 0; i < 4; i++)
        tasks[i] = SPAWN(waiter, .future = future, .letter = &letters[i]);
}

COROUTINE(wake_four, struct coil_future *future; struct coil_task *tasks[4];
          int i, value;)
{
    ASYNC(wake_four, my) {
        my->future = coil_future_new();
        spawn_four(my->tasks, my->future);
        AWAIT(coil_sleep(0));
        coil_future_set_int(my->future, 41);
        CHECK_STR(called, "");
        AWAIT(coil_sleep(0));
        CHECK_STR(called, "abcd");
        for (my->i = 0; my->i < 4; my->i++) {
            AWAIT_TO(my->value, my->tasks[my->i]);
            CHECK_INT(my->value, 41);
        }

    FINALLY;
        coil_future_unref(my->future);
    }
}

TEST(future_wakes_its_waiters_in_the_order_they_came)
{
    CHECK_INT(RUN(wake_four), 0);
}

COROUTINE(cancel_future, struct coil_future *future;
          struct coil_task *tasks[4]; int i, err;)
{
    ASYNC(cancel_future, my) {
        my->future = coil_future_new();
        spawn_four(my->tasks, my->future);
        AWAIT(coil_sleep(0));
        coil_future_cancel(my->future);
        for (my->i = 0; my->i < 4; my->i++) {
            TRY_AWAIT(my->err, my->tasks[my->i]);
            CHECK_INT(my->err, -ECANCELED);
        }
        CHECK_STR(called, "abcd");

    FINALLY;
        coil_future_unref(my->future);
    }
}

TEST(future_cancelled_cancels_all_who_wait)
{
    CHECK_INT(RUN_WITH(&reporting, cancel_future), 0);
    CHECK_INT(reported.n, 0);
}

COROUTINE(cancel_one_task, struct coil_future *future;
          struct coil_task *tasks[4]; int i;)
{
    ASYNC(cancel_one_task, my) {
        my->future = coil_future_new();
        spawn_four(my->tasks, my->future);
        AWAIT(coil_sleep(0));
        CHECK(coil_task_cancel(my->tasks[2]));
        CHECK(coil_future_cancelled(my->future));
        JOIN();
        // The cancelled task went straight to its end; the others caught it.
        CHECK_STR(called, "abd");
        for (my->i = 0; my->i < 4; my->i++)
            CHECK(coil_future_cancelled(coil_task_future(my->tasks[my->i])));

    FINALLY;
        coil_future_unref(my->future);
    }
}

// As in asyncio: a task takes the future it awaits with it, and so the others.
TEST(future_of_a_cancelled_task_is_cancelled_for_the_others_too)
{
    CHECK_INT(RUN(cancel_one_task), 0);
}

COROUTINE(await_done, struct coil_loop_stats before, after; int value, err;)
{
    ASYNC(await_done, my) {
        coil_loop_get_stats(coil_loop_current(), &my->before);
        AWAIT_TO(my->value, coil_future_from_int(5));
        CHECK_INT(my->value, 5);
        TRY_AWAIT(my->err, coil_future_from_error(-EPIPE, 0));
        CHECK_INT(my->err, -EPIPE);
        coil_loop_get_stats(coil_loop_current(), &my->after);
        CHECK_INT(my->after.passes, my->before.passes);
    }
}

TEST(future_that_is_done_does_not_suspend)
{
    CHECK_INT(RUN_WITH(&reporting, await_done), 0);
    CHECK_INT(reported.n, 0);
}

COROUTINE(fail_with_detail, struct coil_future *future;)
{
    ASYNC(fail_with_detail, my) {
        my->future = coil_future_new();
        coil_future_set_error_detail(my->future, -EIO, 1234);
        AWAIT(my->future);
    }
}

TEST(future_error_travels_with_its_detail)
{
    open_loop();
    struct coil_task *t = SPAWN(fail_with_detail);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(coil_future_error(coil_task_future(t)), -EIO);
    CHECK_INT(coil_future_detail(coil_task_future(t)), 1234);
    close_loop();
    CHECK_INT(reported.n, 0);
}

/* --- Futures with a class --------------------------------------------------*/

struct fancy {
    struct coil_custom custom;
    bool slow;    // cancel() does not complete it
    bool instant; // start() completes it
    int value;
};

static char life[64];

static void fancy_start(struct coil_future *f)
{
    struct fancy *it = (struct fancy *)(void *)f;
    strcat(life, "s");
    if (it->instant)
        coil_future_set_int(f, it->value);
}

static void fancy_cancel(struct coil_future *f)
{
    struct fancy *it = (struct fancy *)(void *)f;
    strcat(life, "c");
    if (!it->slow)
        coil_future_set_error(f, -ECANCELED);
}

static void fancy_free(struct coil_future *f)
{
    strcat(life, "f");
    coil_custom_free(f);
}

static const struct coil_future_class fancy_class = {
    .name = "fancy",
    .start = fancy_start,
    .cancel = fancy_cancel,
    .free = fancy_free,
};

static struct fancy *fancy_new(void)
{
    struct fancy *it = coil_custom_new(&fancy_class, sizeof *it);
    CHECK(it != NULL);
    CHECK(!it->slow && !it->instant && it->value == 0);
    return it;
}

TEST(future_with_a_class_never_begun_is_only_freed)
{
    open_loop();
    coil_future_unref(&fancy_new()->custom.future);
    CHECK_STR(life, "f");
    coil_discard(&fancy_new()->custom.future);
    CHECK_STR(life, "ff");
    close_loop();
}

TEST(future_with_a_class_cancelled_before_it_began_never_begins)
{
    open_loop();
    struct coil_future *f = &fancy_new()->custom.future;
    CHECK(coil_future_cancel(f));
    CHECK(coil_future_cancelled(f));
    CHECK_STR(life, "");
    coil_future_unref(f);
    CHECK_STR(life, "f");
    close_loop();
}

static struct coil_task *task_for(struct coil_future *f)
{
    struct coil_task *t = coil_spawn(f);
    pass();
    return t;
}

TEST(future_with_a_class_begins_when_it_is_awaited)
{
    open_loop();
    struct fancy *it = fancy_new();
    struct coil_task *t = coil_spawn(&it->custom.future);
    CHECK_STR(life, "");
    pass();
    CHECK_STR(life, "s");
    coil_future_set_int(&it->custom.future, 12);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_STR(life, "sf");
    CHECK_INT(coil_future_int(coil_task_future(t)), 12);
    close_loop();
}

TEST(future_with_a_class_may_complete_when_it_begins)
{
    open_loop();
    struct fancy *it = fancy_new();
    it->instant = true;
    it->value = 3;
    struct coil_task *t = task_for(&it->custom.future);
    CHECK(coil_task_done(t));
    CHECK_INT(coil_future_int(coil_task_future(t)), 3);
    CHECK_STR(life, "sf");
    close_loop();
}

/* Its value is something that must not get lost. */
static int64_t disposed_of;

static void precious_dispose(struct coil_future *done)
{
    strcat(life, "d");
    disposed_of += coil_future_int(done);
}

static const struct coil_future_class precious_class = {
    .name = "precious",
    .start = fancy_start,
    .cancel = fancy_cancel,
    .free = fancy_free,
    .dispose = precious_dispose,
};

static struct coil_future *precious(int value)
{
    struct fancy *it = coil_custom_new(&precious_class, sizeof *it);
    CHECK(it != NULL);
    it->instant = true;
    it->value = value;
    return &it->custom.future;
}

TEST(future_with_a_class_disposes_of_a_value_that_nobody_took)
{
    open_loop();
    struct coil_future *f = precious(0);
    coil_future_set_int(f, 5);
    coil_future_unref(f);
    CHECK_STR(life, "df");
    CHECK_INT(disposed_of, 5);

    f = precious(0);
    coil_future_set_int(f, 6);
    CHECK_INT(coil_future_int(f), 6);
    coil_future_unref(f);
    CHECK_STR(life, "dff");
    close_loop();
}

TEST(future_with_a_class_that_failed_has_nothing_to_dispose_of)
{
    open_loop();
    struct coil_future *f = precious(0);
    coil_future_set_error(f, -EIO);
    coil_future_unref(f);
    coil_future_unref(precious(0));
    CHECK_STR(life, "ff");
    close_loop();
}

COROUTINE(take_precious, struct coil_future *from; int value;)
{
    ASYNC(take_precious, my) {
        AWAIT_TO(my->value, my->from);
        strcat(life, "t");
    }
}

COROUTINE(ignore_precious, struct coil_future *from;)
{
    ASYNC(ignore_precious, my) {
        AWAIT(my->from);
        strcat(life, "i");
    }
}

TEST(future_with_a_class_awaited_for_its_value_is_taken)
{
    open_loop();
    CHECK_INT(coil_loop_run_until_complete(
                  loop, SPAWN(take_precious, .from = precious(3))),
              0);
    CHECK_STR(life, "sft");
    life[0] = '\0';
    CHECK_INT(coil_loop_run_until_complete(
                  loop, SPAWN(ignore_precious, .from = precious(3))),
              0);
    CHECK_STR(life, "sdfi");
    close_loop();
}

COROUTINE(hand_on, struct coil_future *from;)
{
    ASYNC(hand_on, my) {
        RETURN_AWAIT(my->from);
    }
}

// A task of a future, wait_for, RETURN_AWAIT: the duty goes with the value.
TEST(future_with_a_class_hands_the_duty_to_dispose_on)
{
    open_loop();
    struct coil_task *t = task_for(precious(5));
    CHECK(coil_task_done(t));
    CHECK_STR(life, "s");
    coil_task_drop(&t);
    CHECK_STR(life, "sdf");
    CHECK_INT(disposed_of, 5);

    life[0] = '\0';
    t = SPAWN(hand_on, .from = CALL(hand_on, .from = precious(7)));
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_STR(life, "s");
    coil_task_drop(&t);
    CHECK_STR(life, "sdf");
    CHECK_INT(disposed_of, 12);

    life[0] = '\0';
    t = SPAWN(take_precious,
              .from = coil_wait_for(precious(9), COIL_SECONDS(1)));
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    coil_task_drop(&t);
    CHECK_STR(life, "sft");
    close_loop();
}

TEST(future_with_a_class_handed_on_and_asked_for_is_not_disposed_of)
{
    open_loop();
    struct coil_task *t = task_for(precious(5));
    CHECK_INT(coil_future_int(coil_task_future(t)), 5);
    coil_task_drop(&t);
    CHECK_STR(life, "sf");
    close_loop();
}

COROUTINE(hand_on_late, struct coil_future *from;)
{
    ASYNC(hand_on_late, my) {
        RETURN_AWAIT(my->from);
    FINALLY;
        AWAIT(coil_future_from_error(-EIO, 0));
    }
}

TEST(future_with_a_class_handed_on_is_disposed_of_if_finally_fails)
{
    open_loop();
    struct coil_task *t = SPAWN(hand_on_late, .from = precious(5));
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(coil_future_error(coil_task_future(t)), -EIO);
    CHECK_STR(life, "sdf");
    CHECK_INT(disposed_of, 5);
    coil_task_drop(&t);
    CHECK_STR(life, "sdf");
    close_loop();
}

TEST(future_with_a_class_begins_once_for_many)
{
    open_loop();
    struct coil_future *f = &fancy_new()->custom.future;
    struct coil_task *a = task_for(coil_future_ref(f));
    struct coil_task *b = task_for(f);
    CHECK_STR(life, "s");
    coil_future_set_int(f, 8);
    CHECK_INT(coil_loop_run_until_complete(loop, b), 0);
    CHECK_INT(coil_future_int(coil_task_future(a)), 8);
    CHECK_INT(coil_future_int(coil_task_future(b)), 8);
    CHECK_STR(life, "sf");
    close_loop();
}

// It ends when it says so, not when it was asked; and what succeeded although
// it was cancelled is not lost.
TEST(future_with_a_class_that_succeeds_when_cancelled_delivers_its_value)
{
    open_loop();
    struct fancy *it = fancy_new();
    struct coil_future *f = &it->custom.future;
    it->slow = true;
    struct coil_task *t = task_for(f);
    coil_task_cancel(t);
    pass();
    CHECK_STR(life, "sc");
    CHECK(!coil_task_done(t));
    CHECK(coil_future_set_int(f, 5));
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 5);
    CHECK_STR(life, "scf");
    close_loop();
}

// The kernel may still write to it: the memory waits for the end.
TEST(future_with_a_class_pending_at_its_last_unref_is_cancelled_first)
{
    open_loop();
    struct fancy *it = fancy_new();
    struct coil_handle h = { 0 };
    it->custom.future.flags |= F_STARTED;
    coil_future_add_done_callback(&it->custom.future, &h, note_call, "d");
    coil_future_unref(&it->custom.future);
    CHECK_STR(life, "cf");
    pass();
    CHECK_STR(called, "d");

    it = fancy_new();
    it->slow = true;
    it->custom.future.flags |= F_STARTED;
    life[0] = '\0';
    coil_future_unref(&it->custom.future);
    CHECK_STR(life, "c");
    coil_future_set_int(&it->custom.future, 1);
    CHECK_STR(life, "cf");
    close_loop();
}

TEST(future_with_a_class_never_begun_calls_back_when_it_is_dropped)
{
    open_loop();
    struct coil_future *f = &fancy_new()->custom.future;
    struct coil_handle h = { 0 };
    coil_future_add_done_callback(f, &h, note_call, "d");
    coil_future_unref(f);
    CHECK_STR(life, "f");
    pass();
    CHECK_STR(called, "d");
    close_loop();
}

DEATH_TEST(future_given_back_twice_aborts, "a future was given back twice")
{
#ifdef COIL_DEBUG_STACK
    SKIP("built with COIL_DEBUG");
#endif
    if (test_is_slow())
        SKIP("the sanitizer sees it first");
    open_loop();
    struct coil_future *f = coil_future_new();
    coil_future_set_int(f, 1);
    coil_future_unref(f);
    coil_future_unref(f);
}

// The call is on its way, and the future has been freed.
TEST(future_callback_is_withdrawn_though_the_future_is_gone)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    struct coil_handle h = { 0 };
    coil_future_add_done_callback(f, &h, note_call, "x");
    coil_future_unref(f);
    CHECK(coil_handle_cancel(&h));
    CHECK(!coil_handle_cancel(&h));
    pass();
    CHECK_STR(called, "");
    close_loop();
}

TEST(future_detached_ends_by_itself)
{
    open_loop();
    struct fancy *it = fancy_new();
    coil_detach_future(&it->custom.future);
    CHECK_STR(life, "s");
    coil_future_set_int(&it->custom.future, 0);
    CHECK_STR(life, "sf");

    life[0] = '\0';
    it = fancy_new();
    it->instant = true;
    coil_detach_future(&it->custom.future);
    CHECK_STR(life, "sf");

    coil_detach_future(coil_future_from_nomem());
    close_loop();
}

COROUTINE(return_at_once, int value;)
{
    ASYNC(return_at_once, my) {
        RETURN(my->value);
    }
}

// A class begins within the call, a coroutine becomes a task; what has begun or
// is done stays as it is.
TEST(future_begin_starts_and_keeps_a_reference)
{
    static struct coil_handle h;
    open_loop();
    struct fancy *it = fancy_new();
    struct coil_future *f = coil_future_begin(&it->custom.future);
    CHECK(f == &it->custom.future);
    CHECK_STR(life, "s");
    CHECK(coil_future_begin(f) == f);
    CHECK_STR(life, "s");
    coil_future_add_done_callback(f, &h, note_call, "f");
    coil_future_set_int(f, 7);
    pass();
    CHECK_STR(called, "f");
    CHECK_INT(coil_future_int(f), 7);
    coil_future_unref(f);
    CHECK_STR(life, "sf");

    f = coil_future_begin(CALL(return_at_once, .value = 8));
    CHECK(!coil_future_done(f));
    coil_future_add_done_callback(f, &h, note_call, "c");
    for (int i = 0; i < 3; i++)
        pass();
    CHECK_STR(called, "fc");
    CHECK_INT(coil_future_int(f), 8);
    coil_future_unref(f);

    f = coil_future_begin(coil_future_from_int(9));
    CHECK_INT(coil_future_int(f), 9);
    coil_future_unref(f);
    f = coil_future_begin(coil_future_from_nomem());
    CHECK_INT(coil_future_error(f), -ENOMEM);
    close_loop();
}

DEATH_TEST(future_of_a_coroutine_completed_by_hand_aborts,
           "a coroutine completes itself")
{
    open_loop();
    coil_future_set_int(CALL(return_at_once), 1);
}

DEATH_TEST(future_of_a_class_completed_twice_aborts,
           "a future was completed twice")
{
    open_loop();
    struct coil_future *f = &fancy_new()->custom.future;
    coil_future_set_int(f, 1);
    coil_future_set_int(f, 2);
}

// Its size class is kept in a byte: too large a class must not wrap.
DEATH_TEST(future_of_a_class_that_is_too_large_aborts, "too large")
{
    open_loop();
    coil_custom_new(&fancy_class, (4 << 20) + 1);
}

/* --- Begun or not ----------------------------------------------------------*/

TEST(future_plain_has_always_started_and_a_result_of_a_call_has_not)
{
    open_loop();
    struct coil_future *f = coil_future_new();
    CHECK(coil_future_started(f));
    coil_future_set_int(f, 1);
    CHECK(coil_future_started(f));
    coil_future_unref(f);
    f = coil_future_from_error(-EIO, 0); /* to be taken, as any call's */
    CHECK(!coil_future_started(f));
    CHECK_INT(coil_future_error(f), -EIO);
    coil_future_unref(f);
    f = coil_future_from_error(-EIO, 17);
    CHECK(!coil_future_started(f));
    CHECK_INT(coil_future_error(f), -EIO);
    CHECK_INT((int)coil_future_detail(f), 17);
    coil_future_unref(f);
    close_loop();
}

struct sees {
    struct coil_coro coro;
    bool started;
};

static void sees(struct coil_coro *co)
{
    ASYNC(sees, my)
        my->started = coil_future_started(&my->coro.future);
}

COROUTINE(sees_itself, struct sees in;)
{
    ASYNC(sees_itself, my) {
        struct coil_future *f = CALL_IN(&my->in, sees);
        CHECK(!coil_future_started(f));
        AWAIT(f);
        CHECK(my->in.started);
        CHECK(coil_future_started(&my->in.coro.future));
    }
}

TEST(future_of_a_coroutine_has_started_when_it_is_awaited_or_a_task)
{
    open_loop();
    struct coil_future *f = CALL(sees_itself);
    CHECK(!coil_future_started(f));
    struct coil_task *t = coil_spawn(f);
    CHECK(coil_future_started(coil_task_future(t)));
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(coil_future_error(coil_task_future(t)), 0);
    CHECK(coil_future_started(coil_task_future(t)));
    close_loop();
}

TEST(future_of_an_operation_has_started_when_it_is_awaited)
{
    open_loop();
    struct coil_future *f = &fancy_new()->custom.future;
    struct coil_future *sleep = coil_sleep(1);
    CHECK(!coil_future_started(f));
    CHECK(!coil_future_started(sleep));
    CHECK(!coil_future_started(coil_sleep(0)));
    struct coil_task *t = coil_spawn(coil_future_ref(f));
    CHECK(!coil_future_started(f)); /* the task has begun, its await not */
    pass();
    CHECK(coil_future_started(f));
    coil_task_cancel(t);
    coil_future_cancel(sleep);
    CHECK(!coil_future_started(sleep));
    coil_future_unref(sleep);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    coil_future_unref(f);
    close_loop();
}

COROUTINE(is_called, int unused;)
{
    ASYNC(is_called, my) {
        struct coil_handle h = { 0 };
        AWAIT(coil_sleep(0));
        coil_future_add_done_callback(&my->coro.future, &h, note_call, "a");
    }
}

COROUTINE(calls_it, int unused;)
{
    ASYNC(calls_it, my)
        AWAIT(CALL(is_called));
}

DEATH_TEST(future_callback_of_a_called_coroutine_aborts,
           "a callback is added to a call: make it a task with SPAWN")
{
    RUN(calls_it);
}

/* --- Without memory --------------------------------------------------------*/

TEST(future_without_memory_has_failed_and_is_harmless)
{
    struct coil_future *f = coil_future_from_nomem();
    struct coil_handle h = { 0 };
    open_loop();
    CHECK(coil_future_done(f));
    CHECK(coil_future_failed(f));
    CHECK_INT(coil_future_error(f), -ENOMEM);
    CHECK_INT(coil_future_detail(f), 0);
    CHECK(!coil_future_set_int(f, 1));
    CHECK(!coil_future_set_error(f, -EIO));
    CHECK(!coil_future_cancel(f));
    for (int i = 0; i < 3; i++)
        coil_future_unref(f);
    CHECK(coil_future_ref(f) == f);
    coil_discard(f);
    coil_future_add_done_callback(f, &h, note_call, "a");
    pass();
    CHECK_STR(called, "a");
    CHECK_INT(coil_future_error(f), -ENOMEM);
    close_loop();
    CHECK_INT(reported.n, 0);
}

static void complete(void *arg)
{
    coil_future_set_int(arg, 1);
}

COROUTINE(use_futures, struct coil_future *future; struct coil_handle handle;)
{
    ASYNC(use_futures, my) {
        my->future = coil_future_new();
        coil_call_soon(&my->handle, complete, my->future);
        AWAIT(coil_future_ref(my->future));
        AWAIT(coil_future_from_int(1));
        AWAIT(coil_sleep(1));

    FINALLY;
        if (my->future) {
            coil_handle_cancel(&my->handle);
            coil_future_unref(my->future);
        }
    }
}

static int futures_run(void)
{
    return RUN(use_futures);
}

TEST(future_survives_every_failed_allocation)
{
    test_every_allocation(futures_run);
}

/* --- Waiters come and go ---------------------------------------------------*/

enum { MEMBERS = 12 };

struct member {
    struct coil_handle handle;
    struct coil_task *task; /* of a coroutine that waits; else NULL */
    int number;
    bool waits;
};

static struct {
    struct coil_future *future;
    struct member members[MEMBERS];
    int model[MEMBERS], n; /* the numbers of those that wait, in order */
    int woken[MEMBERS], woken_n;
} crowd;

static unsigned roll(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*seed >> 33);
}

static void crowd_leaves(int number)
{
    int k = 0;
    for (int i = 0; i < crowd.n; i++)
        if (crowd.model[i] != number)
            crowd.model[k++] = crowd.model[i];
    crowd.n = k;
    crowd.members[number].waits = false;
}

static void crowd_woken(void *arg)
{
    struct member *w = arg;
    w->waits = false;
    crowd.woken[crowd.woken_n++] = w->number;
}

struct crowd_member {
    struct coil_coro coro;
    struct member *waiter;
};

static void crowd_member(struct coil_coro *co)
{
    ASYNC(crowd_member, my) {
        AWAIT(coil_future_ref(crowd.future));
        crowd_woken(my->waiter);
    }
}

/* Takes callbacks out in the batch, in front of those that it takes out. */
static void crowd_shrinks(void *arg)
{
    for (int i = 0; i < MEMBERS; i++) {
        struct member *w = &crowd.members[i];
        if (w->task || !w->waits || roll(arg) % 2)
            continue;
        CHECK(coil_handle_cancel(&w->handle));
        crowd_leaves(i);
    }
}

static void crowd_changes(uint64_t *seed)
{
    struct member *w = &crowd.members[roll(seed) % MEMBERS];
    if (w->waits && !w->task) {
        CHECK(roll(seed) % 2
                  ? coil_handle_cancel(&w->handle)
                  : coil_future_remove_done_callback(crowd.future, &w->handle));
        crowd_leaves(w->number);
    } else if (!w->waits) {
        w->waits = true;
        crowd.model[crowd.n++] = w->number;
        if (roll(seed) % 3 == 0) {
            w->task = coil_spawn(CALL(crowd_member, .waiter = w));
            pass();
        } else {
            coil_future_add_done_callback(crowd.future, &w->handle, crowd_woken,
                                          w);
        }
    }
}

static void crowd_storm(uint64_t seed)
{
    struct coil_handle before = { 0 };
    memset(&crowd, 0, sizeof crowd);
    crowd.future = coil_future_new();
    for (int i = 0; i < MEMBERS; i++)
        crowd.members[i].number = i;
    for (int i = 0; i < 60; i++)
        crowd_changes(&seed);
    coil_call_soon(&before, crowd_shrinks, &seed);
    coil_future_set_int(crowd.future, 1);
    for (int i = 0; i < MEMBERS; i++) {
        struct member *w = &crowd.members[i];
        if (w->task || !w->waits || roll(&seed) % 3)
            continue;
        CHECK(coil_handle_cancel(&w->handle));
        CHECK(!coil_handle_cancel(&w->handle));
        crowd_leaves(i);
    }
    pass();
    CHECK_INT(crowd.woken_n, crowd.n);
    for (int i = 0; i < crowd.n; i++)
        CHECK_INT(crowd.woken[i], crowd.model[i]);
    for (int i = 0; i < MEMBERS; i++)
        if (crowd.members[i].task)
            coil_task_drop(&crowd.members[i].task);
    coil_future_unref(crowd.future);
}

// Callbacks know their place: in the list of a future, in the ready queue, and
// in the batch, where those in front of them have gone.
TEST(future_callbacks_leave_from_any_place)
{
    int n = test_seeds(400);
    open_loop();
    for (int i = 0; i < n; i++)
        crowd_storm(test_seed(i));
    close_loop();
}
