// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_coroutine.c: every word of coroutine.h, and every trap it sets.
 *
 * Most coroutines here write letters into `said`; what a case claims is mostly
 * an order, and that each letter stands there once.
 */
#include "test.h"

#include <errno.h>
#include <float.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <coil/coroutine.h>
#include <coil/event.h>
#include <coil/future.h>
#include <coil/io.h>
#include <coil/lock.h>
#include <coil/loop.h>
#include <coil/semaphore.h>
#include <coil/task.h>
#include <coil/wait.h>

/* --- Around a case ---------------------------------------------------------*/

/* A coroutine and its frame; the fields after the name. */
#define COROUTINE(name, ...) \
    struct name { \
        struct coil_coro coro; \
        __VA_ARGS__ \
    }; \
    static void name(struct coil_coro *co)

static char said[512];

static void say(const char *word)
{
    CHECK(strlen(said) + strlen(word) < sizeof said);
    strcat(said, word);
}

static struct {
    int n, err;
    char message[128], name[64];
} reported;

static void note_report(const struct coil_exception *what, void *arg)
{
    CHECK(arg == &reported);
    reported.n++;
    reported.err = what->err;
    snprintf(reported.message, sizeof reported.message, "%s", what->message);
    snprintf(reported.name, sizeof reported.name, "%s",
             what->name ? what->name : "");
}

static const struct coil_options reporting = {
    .size = sizeof(struct coil_options),
    .on_exception = note_report,
    .on_exception_arg = &reported,
};

#define RUN_REPORTING(...) RUN_WITH(&reporting, __VA_ARGS__)

static struct coil_loop *loop;

static void open_loop(void)
{
    CHECK_INT(coil_loop_new(&loop, &reporting), 0);
}

static void pass(void)
{
    coil_loop_pass(loop, 0);
}

static uint64_t passes(void)
{
    struct coil_stats stats;
    coil_loop_stats(coil_loop_current(), &stats);
    return stats.passes;
}

static unsigned tasks(void)
{
    struct coil_stats stats;
    coil_loop_stats(coil_loop_current(), &stats);
    return stats.tasks;
}

static int error_of(struct coil_task *task)
{
    return coil_future_error(coil_task_future(task));
}

#define FOR_EVER COIL_SECONDS(100000)

/* Ends with a value, an error or nothing, now or after some passes. */
COROUTINE(work, int passes; int64_t value; int err; uint32_t detail; char *word;)
{
    ASYNC(work, my) {
        while (my->passes-- > 0)
            AWAIT(coil_sleep(0));
        if (my->word)
            say(my->word);
        if (my->err)
            FAIL_WITH(my->err, my->detail);
        RETURN(my->value);
    }
}

/* Says "b" when it begins and "f" when it ends; waits in between. */
COROUTINE(wait_for_ever,)
{
    ASYNC(wait_for_ever, my) {
        say("b");
        AWAIT(coil_sleep(FOR_EVER));
        say("!");

    FINALLY;
        say("f");
    }
}

/* --- Values: taking them ---------------------------------------------------*/

COROUTINE(give_int, int64_t value;)
{
    ASYNC(give_int, my) {
        RETURN(my->value);
    }
}

COROUTINE(give_uint, uint64_t value;)
{
    ASYNC(give_uint, my) {
        RETURN(my->value);
    }
}

COROUTINE(give_double, double value; int passes;)
{
    ASYNC(give_double, my) {
        while (my->passes-- > 0)
            AWAIT(coil_sleep(0));
        RETURN(my->value);
    }
}

COROUTINE(give_pointer, const void *value;)
{
    ASYNC(give_pointer, my) {
        RETURN(my->value);
    }
}

/*
 * For each kind of lvalue a coroutine that takes what `from` gives, and a
 * function that says how that went: the error, and *to untouched then.
 */
#define TAKER(kind, type) \
    COROUTINE(take_##kind, struct coil_future *from; type to; int err;) \
    { \
        ASYNC(take_##kind, my) { \
            my->err = 99; \
            TRY_AWAIT_TO(my->err, my->to, my->from); \
        } \
    } \
    static int into_##kind(struct coil_future *from, type *to) \
    { \
        static struct take_##kind taker; \
        struct coil_task *t = coil_spawn(CALL_IN(&taker, take_##kind, \
                                                 .from = from, .to = *to)); \
        CHECK_INT(coil_run_until(coil_loop_current(), t), 0); \
        CHECK_INT(error_of(t), 0); \
        *to = taker.to; \
        return taker.err; \
    }

TAKER(bool, bool)
TAKER(char, char)
TAKER(schar, signed char)
TAKER(uchar, unsigned char)
TAKER(short, short)
TAKER(ushort, unsigned short)
TAKER(int, int)
TAKER(uint, unsigned)
TAKER(long, long)
TAKER(ulong, unsigned long)
TAKER(llong, long long)
TAKER(ullong, unsigned long long)
TAKER(float, float)
TAKER(double, double)
TAKER(pointer, const char *)

static int64_t below(int64_t value)
{
    return value > INT64_MIN ? value - 1 : value;
}

/* Both ends fit; one beyond each does not, and changes nothing. */
#define CHECK_RANGE(kind, type, least, most) \
    do { \
        type to = 1; \
        CHECK_INT(into_##kind(CALL(give_int, .value = (least)), &to), 0); \
        CHECK(to == (type)(least)); \
        to = 1; \
        CHECK_INT(into_##kind(CALL(give_uint, .value = (most)), &to), 0); \
        CHECK(to == (type)(most)); \
        to = 1; \
        if ((int64_t)(least) > INT64_MIN) \
            CHECK_INT(into_##kind(CALL(give_int, .value = below(least)), \
                                  &to), \
                      -EOVERFLOW); \
        CHECK(to == 1); \
        if ((uint64_t)(most) < UINT64_MAX) \
            CHECK_INT(into_##kind(CALL(give_uint, \
                                       .value = (uint64_t)(most) + 1), \
                                  &to), \
                      -EOVERFLOW); \
        CHECK(to == 1); \
    } while (0)

TEST(coroutine_result_fits_its_variable_or_overflows)
{
    open_loop();
    CHECK_RANGE(bool, bool, 0, 1);
    CHECK_RANGE(char, char, CHAR_MIN, CHAR_MAX);
    CHECK_RANGE(schar, signed char, SCHAR_MIN, SCHAR_MAX);
    CHECK_RANGE(uchar, unsigned char, 0, UCHAR_MAX);
    CHECK_RANGE(short, short, SHRT_MIN, SHRT_MAX);
    CHECK_RANGE(ushort, unsigned short, 0, USHRT_MAX);
    CHECK_RANGE(int, int, INT_MIN, INT_MAX);
    CHECK_RANGE(uint, unsigned, 0, UINT_MAX);
    CHECK_RANGE(long, long, LONG_MIN, LONG_MAX);
    CHECK_RANGE(ulong, unsigned long, 0, ULONG_MAX);
    CHECK_RANGE(llong, long long, LLONG_MIN, LLONG_MAX);
    CHECK_RANGE(ullong, unsigned long long, 0, ULLONG_MAX);
    coil_loop_close(loop);
    CHECK_INT(reported.n, 0);
}

// The largest numbers into everything that is too small for them.
TEST(coroutine_result_far_too_large_overflows)
{
    open_loop();
#define TOO_LARGE(kind, type) \
    do { \
        type to = 1; \
        CHECK_INT(into_##kind(CALL(give_uint, .value = UINT64_MAX), &to), \
                  -EOVERFLOW); \
        CHECK_INT(into_##kind(CALL(give_uint, .value = 1ull << 63), &to), \
                  -EOVERFLOW); \
        CHECK(to == 1); \
    } while (0)
    TOO_LARGE(bool, bool);
    TOO_LARGE(char, char);
    TOO_LARGE(schar, signed char);
    TOO_LARGE(uchar, unsigned char);
    TOO_LARGE(short, short);
    TOO_LARGE(ushort, unsigned short);
    TOO_LARGE(int, int);
    TOO_LARGE(uint, unsigned);
    TOO_LARGE(long, long);
    TOO_LARGE(llong, long long);
    coil_loop_close(loop);
}

TEST(coroutine_result_that_is_a_real_number)
{
    open_loop();
    double d = 0;
    float f = 0;
    static const double values[] = { 0.0,     -0.0,    1.5, -2.25, DBL_MAX,
                                     DBL_MIN, -DBL_MAX };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        CHECK_INT(into_double(CALL(give_double, .value = values[i]), &d), 0);
        CHECK_MEM(&d, &values[i], sizeof d);
    }
    CHECK_INT(into_double(CALL(give_double, .value = NAN), &d), 0);
    CHECK(isnan(d));
    CHECK_INT(into_float(CALL(give_double, .value = 0.5), &f), 0);
    CHECK(f == 0.5f);
    CHECK_INT(into_float(CALL(give_double, .value = (double)-FLT_MAX), &f), 0);
    CHECK(f == -FLT_MAX);
    CHECK_INT(into_float(CALL(give_double, .value = (double)-INFINITY), &f),
              0);
    CHECK(isinf(f));
    CHECK_INT(into_float(CALL(give_double, .value = (double)NAN), &f), 0);
    CHECK(isnan(f));
    // To round is to fit.
    CHECK_INT(into_float(CALL(give_double, .value = 0.1), &f), 0);
    CHECK(f == 0.1f);
    coil_loop_close(loop);
}

TEST(coroutine_result_too_large_for_a_float_overflows)
{
    open_loop();
    float f = 1;
    CHECK_INT(into_float(CALL(give_double, .value = 1e39), &f), -EOVERFLOW);
    CHECK_INT(into_float(CALL(give_double, .value = -DBL_MAX), &f),
              -EOVERFLOW);
    CHECK(f == 1);
    coil_loop_close(loop);
}

TEST(coroutine_result_that_is_a_pointer)
{
    open_loop();
    const char *p = NULL;
    CHECK_INT(into_pointer(CALL(give_pointer, .value = said), &p), 0);
    CHECK(p == said);
    CHECK_INT(into_pointer(CALL(give_pointer), &p), 0);
    CHECK(p == NULL);
    coil_loop_close(loop);
}

/* --- Values: giving them ---------------------------------------------------*/

/* For each type a coroutine that returns it, at once and after a wait. */
#define GIVER(name, type) \
    COROUTINE(return_##name, type value; int wait;) \
    { \
        ASYNC(return_##name, my) { \
            if (my->wait) \
                AWAIT(coil_sleep(0)); \
            RETURN(my->value); \
        } \
    }

GIVER(bool, bool)
GIVER(char, char)
GIVER(schar, signed char)
GIVER(uchar, unsigned char)
GIVER(short, short)
GIVER(ushort, unsigned short)
GIVER(int, int)
GIVER(uint, unsigned)
GIVER(long, long)
GIVER(ulong, unsigned long)
GIVER(llong, long long)
GIVER(ullong, unsigned long long)
GIVER(size, size_t)
GIVER(ssize, ssize_t)
GIVER(enum, enum coil_phase)
GIVER(float, float)
GIVER(text, const char *)
GIVER(volatile, volatile int)
GIVER(const, const long)

#define CHECK_GIVEN(name, type, given) \
    do { \
        for (int wait = 0; wait < 2; wait++) { \
            type got = 1; \
            CHECK_INT(RUN_TO(got, return_##name, .value = (given), \
                             .wait = wait), \
                      0); \
            CHECK(got == (given)); \
        } \
    } while (0)

TEST(coroutine_returns_any_number)
{
    CHECK_GIVEN(bool, bool, true);
    CHECK_GIVEN(char, char, 'x');
    CHECK_GIVEN(schar, long, SCHAR_MIN);
    CHECK_GIVEN(uchar, long, UCHAR_MAX);
    CHECK_GIVEN(short, long, SHRT_MIN);
    CHECK_GIVEN(ushort, long, USHRT_MAX);
    CHECK_GIVEN(int, long, INT_MIN);
    CHECK_GIVEN(int, int, -1);
    CHECK_GIVEN(uint, long, UINT_MAX);
    CHECK_GIVEN(long, long, LONG_MIN);
    CHECK_GIVEN(ulong, unsigned long, ULONG_MAX);
    CHECK_GIVEN(ulong, long, 5ul);
    CHECK_GIVEN(llong, long long, LLONG_MIN);
    CHECK_GIVEN(ullong, unsigned long long, ULLONG_MAX);
    CHECK_GIVEN(ullong, unsigned long long, 1ull << 63);
    CHECK_GIVEN(size, size_t, SIZE_MAX);
    CHECK_GIVEN(ssize, ssize_t, -7);
    CHECK_GIVEN(enum, enum coil_phase, COIL_PHASE_BODY);
    CHECK_GIVEN(float, double, 1.5f);
    CHECK_GIVEN(volatile, int, -3);
    CHECK_GIVEN(const, long, -4l);
}

TEST(coroutine_returns_a_pointer)
{
    static const char text[] = "text";
    const char *got = NULL;
    CHECK_INT(RUN_TO(got, return_text, .value = text), 0);
    CHECK(got == text);
    CHECK_INT(RUN_TO(got, return_text, .wait = 1), 0);
    CHECK(got == NULL);
}

COROUTINE(return_array, char room[8];)
{
    ASYNC(return_array, my) {
        RETURN("literal");
    }
}

TEST(coroutine_returns_an_array_as_a_pointer)
{
    const char *got = NULL;
    CHECK_INT(RUN_TO(got, return_array), 0);
    CHECK_STR(got, "literal");
}

COROUTINE(return_nothing,)
{
    ASYNC(return_nothing, my) {
    }
}

TEST(coroutine_that_returns_nothing_gives_0)
{
    int got = 1;
    CHECK_INT(RUN_TO(got, return_nothing), 0);
    CHECK_INT(got, 0);
}

COROUTINE(return_twice, int64_t zero;)
{
    ASYNC(return_twice, my) {
        if (my->zero == 0)
            RETURN(1);
        else
            RETURN(2);
        say("!");
    }
}

TEST(coroutine_return_is_one_statement)
{
    int got = 0;
    CHECK_INT(RUN_TO(got, return_twice), 0);
    CHECK_INT(got, 1);
    CHECK_STR(said, "");
}

/* --- Wrong kinds -----------------------------------------------------------*/

DEATH_TEST(coroutine_pointer_into_an_integer_aborts,
           "another kind\n    in take_int at .*test_coroutine.c:")
{
    int to = 0;
    open_loop();
    into_int(CALL(give_pointer, .value = said), &to);
}

DEATH_TEST(coroutine_integer_into_a_pointer_aborts, "another kind")
{
    const char *to = NULL;
    open_loop();
    into_pointer(CALL(give_int, .value = 0), &to);
}

DEATH_TEST(coroutine_real_into_an_integer_aborts, "another kind")
{
    long to = 0;
    open_loop();
    into_long(CALL(give_double, .value = 1), &to);
}

DEATH_TEST(coroutine_integer_into_a_real_aborts, "another kind")
{
    double to = 0;
    open_loop();
    into_double(CALL(give_int, .value = 1), &to);
}

DEATH_TEST(coroutine_huge_integer_into_a_real_aborts, "another kind")
{
    double to = 0;
    open_loop();
    into_double(CALL(give_uint, .value = UINT64_MAX), &to);
}

DEATH_TEST(coroutine_run_to_another_kind_aborts, "another kind")
{
    const char *to = NULL;
    RUN_TO(to, give_int, .value = 1);
}

/* --- AWAIT -----------------------------------------------------------------*/

COROUTINE(await_all_ways, int64_t a; int b; unsigned char c; int err;)
{
    ASYNC(await_all_ways, my) {
        AWAIT(CALL(work));
        AWAIT_TO(my->a, CALL(work, .value = 1));
        AWAIT_TO(my->b, CALL(work, .value = 2, .passes = 1));
        CHECK_INT(my->a, 1);
        CHECK_INT(my->b, 2);

        my->err = 99;
        TRY_AWAIT(my->err, CALL(work));
        CHECK_INT(my->err, 0);
        TRY_AWAIT(my->err, CALL(work, .err = -EIO, .passes = 1));
        CHECK_INT(my->err, -EIO);
        TRY_AWAIT_TO(my->err, my->b, CALL(work, .value = 3));
        CHECK_INT(my->err, 0);
        CHECK_INT(my->b, 3);
        TRY_AWAIT_TO(my->err, my->b, CALL(work, .err = -EIO));
        CHECK_INT(my->err, -EIO);
        CHECK_INT(my->b, 3);
        TRY_AWAIT_TO(my->err, my->c, CALL(work, .value = 256));
        CHECK_INT(my->err, -EOVERFLOW);
        CHECK_INT(my->c, 0);
        CATCH_AWAIT(my->err, CALL(work, .passes = 1));
        CHECK_INT(my->err, 0);
        CATCH_AWAIT(my->err, CALL(work, .err = -EPERM));
        CHECK_INT(my->err, -EPERM);
        say("end");
    }
}

TEST(coroutine_awaits_in_all_ways)
{
    CHECK_INT(RUN_REPORTING(await_all_ways), 0);
    CHECK_STR(said, "end");
    CHECK_INT(reported.n, 0);
}

COROUTINE(await_an_error, int way; int n; unsigned char small;)
{
    ASYNC(await_an_error, my) {
        my->n = 7;
        my->small = 7;
        if (my->way == 0)
            AWAIT(CALL(work, .err = -EPERM, .detail = 5));
        else if (my->way == 1)
            AWAIT_TO(my->n, CALL(work, .err = -EPERM, .passes = 2));
        else
            AWAIT_TO(my->small, CALL(work, .value = -1));
        say("!");

    FINALLY;
        CHECK_INT(my->n, 7);
        CHECK_INT(my->small, 7);
        say("f");
    }
}

TEST(coroutine_ends_with_the_error_of_its_await)
{
    CHECK_INT(RUN_REPORTING(await_an_error, .way = 0), -EPERM);
    CHECK_INT(RUN_REPORTING(await_an_error, .way = 1), -EPERM);
    CHECK_INT(RUN_REPORTING(await_an_error, .way = 2), -EOVERFLOW);
    CHECK_STR(said, "fff");
    CHECK_INT(reported.n, 0);
}

COROUTINE(evaluate_once, int i, n; int err; int values[4];)
{
    ASYNC(evaluate_once, my) {
        AWAIT_TO(my->values[my->i++], CALL(work, .value = my->n++));
        AWAIT_TO(my->values[my->i++], CALL(work, .value = my->n++, .passes = 1));
        TRY_AWAIT_TO(my->err, my->values[my->i++], CALL(work, .value = my->n++));
        CHECK_INT(my->i, 3);
        CHECK_INT(my->n, 3);
        CHECK_INT(my->values[2], 2);
        RETURN(my->n++ + 1);

    FINALLY;
        CHECK_INT(my->n, 4);
    }
}

TEST(coroutine_words_evaluate_their_arguments_once)
{
    int n = 0;
    CHECK_INT(RUN_TO(n, evaluate_once), 0);
    CHECK_INT(n, 4);
}

COROUTINE(await_in_branches, int i, n;)
{
    ASYNC(await_in_branches, my) {
        for (my->i = 0; my->i < 4; my->i++)
            if (my->i % 2)
                AWAIT(coil_sleep(0));
            else
                AWAIT_TO(my->n, CALL(work, .value = my->i));
        do
            AWAIT(coil_sleep(0));
        while (my->i-- > 0);
        RETURN(my->n);
    }
}

TEST(coroutine_words_stand_where_a_statement_may)
{
    int n = 0;
    CHECK_INT(RUN_TO(n, await_in_branches), 0);
    CHECK_INT(n, 2);
}

/* --- Errors and details ----------------------------------------------------*/

COROUTINE(look_at_details, int err;)
{
    ASYNC(look_at_details, my) {
        TRY_AWAIT(my->err, CALL(work, .err = -EIO, .detail = 77));
        CHECK_INT(coil_last_detail(), 77);
        TRY_AWAIT(my->err, CALL(work, .err = -EIO, .passes = 1));
        CHECK_INT(coil_last_detail(), 0);
        CATCH_AWAIT(my->err, CALL(work, .err = -EIO, .detail = 1u << 31));
        CHECK_INT(coil_last_detail(), 1u << 31);
        FAIL_WITH(COIL_EPROTOCOL, COIL_DETAIL(COIL_PHASE_HEADERS, 9));
    }
}

COROUTINE(pass_details_on, int err;)
{
    ASYNC(pass_details_on, my) {
        AWAIT(CALL(look_at_details));

    FINALLY;
        CHECK_INT(coil_last_detail(), COIL_DETAIL(COIL_PHASE_HEADERS, 9));
        AWAIT(coil_sleep(0));
    }
}

TEST(coroutine_error_travels_with_its_detail)
{
    open_loop();
    struct coil_task *t = SPAWN(pass_details_on);
    CHECK_INT(coil_run_until(loop, t), 0);
    CHECK_INT(error_of(t), COIL_EPROTOCOL);
    CHECK_INT(coil_future_detail(coil_task_future(t)),
              COIL_DETAIL(COIL_PHASE_HEADERS, 9));
    coil_loop_close(loop);
}

COROUTINE(fail_with, int err;)
{
    ASYNC(fail_with, my) {
        FAIL(my->err);
    }
}

// An error number that is none would look like success.
DEATH_TEST(coroutine_fail_with_0_aborts,
           "FAIL wants a negative number\n    in fail_with at .*:[1-9]")
{
    RUN(fail_with, .err = 0);
}

DEATH_TEST(coroutine_fail_with_errno_aborts, "FAIL wants a negative number")
{
    RUN(fail_with, .err = EIO);
}

/* --- RETURN_AWAIT ----------------------------------------------------------*/

COROUTINE(pass_on, struct coil_future *future; struct coil_task *task;
          struct coil_future **late; bool make;)
{
    ASYNC(pass_on, my) {
        if (my->task)
            RETURN_AWAIT(my->task);
        if (my->make)
            *my->late = my->future = coil_future_ref(coil_future_new());
        RETURN_AWAIT(my->future);
    }
}

TEST(coroutine_return_await_passes_everything_on)
{
    int n = 0;
    unsigned long long big = 0;
    double d = 0;
    const char *p = NULL;
    open_loop();
    CHECK_INT(into_int(CALL(pass_on, .future = CALL(work, .value = -3)), &n),
              0);
    CHECK_INT(n, -3);
    CHECK_INT(into_int(CALL(pass_on, .future = CALL(work, .value = 4,
                                                    .passes = 3)), &n),
              0);
    CHECK_INT(n, 4);
    CHECK_INT(into_ullong(CALL(pass_on, .future = CALL(give_uint,
                                                       .value = UINT64_MAX)),
                          &big),
              0);
    CHECK(big == ULLONG_MAX);
    CHECK_INT(into_double(CALL(pass_on, .future = CALL(give_double,
                                                       .value = 2.5)), &d),
              0);
    CHECK(d == 2.5);
    CHECK_INT(into_pointer(CALL(pass_on, .future = CALL(give_pointer,
                                                        .value = said)), &p),
              0);
    CHECK(p == said);
    CHECK_INT(into_int(CALL(pass_on, .future = CALL(work, .err = -EPERM,
                                                    .detail = 6)), &n),
              -EPERM);
    CHECK_INT(coil_last_detail(), 6);
    CHECK_INT(into_int(CALL(pass_on,
                            .future = coil_future_done_with(0, 8)), &n), 0);
    CHECK_INT(n, 8);

    struct coil_task *t = SPAWN(work, .value = 21, .passes = 2);
    CHECK_INT(into_int(CALL(pass_on, .task = t), &n), 0);
    CHECK_INT(n, 21);
    CHECK_INT(into_int(CALL(pass_on, .task = t), &n), 0);
    CHECK_INT(n, 21);
    t = SPAWN(work, .err = -ENOENT);
    CHECK_INT(into_int(CALL(pass_on, .task = t), &n), -ENOENT);
    coil_loop_close(loop);
    CHECK_INT(reported.n, 0);
}

// The value it was given beats the request: it may be a permit or bytes.
TEST(coroutine_return_await_of_a_task_keeps_the_value_when_cancelled)
{
    open_loop();
    struct coil_future *late = NULL;
    struct coil_task *t = SPAWN(pass_on, .late = &late, .make = true);
    pass();
    coil_future_set_int(late, 31);
    CHECK(coil_task_cancel(t));
    CHECK_INT(coil_run_until(loop, t), 0);
    CHECK_INT(error_of(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 31);
    coil_future_unref(late);
    coil_loop_close(loop);
}

/* --- How a coroutine ends --------------------------------------------------*/

enum ending {
    FALL_OFF,
    RETURNED,
    FAILED,
    AWAIT_FAILED,
    BREAK,
    CONTINUE,
    BREAK_LATE,
    CANCELLED
};

COROUTINE(end_somehow, enum ending how; int64_t given; bool waits;)
{
    ASYNC(end_somehow, my) {
        say("b");
        if (my->waits)
            AWAIT(coil_sleep(0));
        if (my->how == RETURNED)
            RETURN(5);
        if (my->how == FAILED)
            FAIL(-EPERM);
        if (my->how == AWAIT_FAILED)
            AWAIT(CALL(work, .err = -EPERM, .passes = my->waits));
        if (my->how == BREAK)
            break;
        if (my->how == CONTINUE)
            continue;
        if (my->how == CANCELLED)
            AWAIT(coil_sleep(FOR_EVER));
        if (my->how == BREAK_LATE) {
            AWAIT(coil_sleep(0));
            break;
        }
        say("e");

    FINALLY;
        CHECK_INT(my->given, 7);
        say("f");
        if (my->waits)
            AWAIT(coil_sleep(0));
        say("F");
    }
}

static void check_ending(enum ending how, bool waits, int err, const char *word)
{
    said[0] = '\0';
    test_note("ending %d, waits %d", how, waits);
    CHECK_INT(RUN_REPORTING(end_somehow, .how = how, .given = 7,
                            .waits = waits),
              err);
    CHECK_STR(said, word);
}

// However it ends, FINALLY has run, and once.
TEST(coroutine_runs_its_finally_exactly_once)
{
    for (int waits = 0; waits < 2; waits++) {
        check_ending(FALL_OFF, waits, 0, "befF");
        check_ending(RETURNED, waits, 0, "bfF");
        check_ending(FAILED, waits, -EPERM, "bfF");
        check_ending(AWAIT_FAILED, waits, -EPERM, "bfF");
        check_ending(BREAK, waits, 0, "bfF");
        check_ending(CONTINUE, waits, 0, "bfF");
        check_ending(BREAK_LATE, waits, 0, "bfF");
    }
    CHECK_INT(reported.n, 0);
}

TEST(coroutine_runs_its_finally_when_it_is_cancelled)
{
    for (int waits = 0; waits < 2; waits++) {
        said[0] = '\0';
        open_loop();
        struct coil_task *t = SPAWN(end_somehow, .how = CANCELLED, .given = 7,
                                    .waits = waits);
        for (int i = 0; i < 3; i++)
            pass();
        CHECK(coil_task_cancel(t));
        CHECK_INT(coil_run_until(loop, t), 0);
        CHECK_INT(error_of(t), -ECANCELED);
        CHECK_STR(said, "bfF");
        coil_loop_close(loop);
    }
    CHECK_INT(reported.n, 0);
}

// Its block never runs, but what it was given may have to be released.
TEST(coroutine_runs_its_finally_when_it_is_cancelled_before_it_began)
{
    open_loop();
    struct coil_task *t = SPAWN(end_somehow, .given = 7, .waits = true);
    CHECK(coil_task_cancel(t));
    CHECK(coil_task_cancel(t));
    CHECK_INT(coil_run_until(loop, t), 0);
    CHECK_INT(error_of(t), -ECANCELED);
    CHECK_STR(said, "fF");
    coil_loop_close(loop);
}

TEST(coroutine_runs_its_finally_when_it_is_dropped)
{
    open_loop();
    coil_drop(CALL(end_somehow, .given = 7, .waits = true));
    CHECK_STR(said, "");
    for (int i = 0; i < 3; i++)
        pass();
    CHECK_STR(said, "fF");
    CHECK_INT(tasks(), 0);
    coil_loop_close(loop);
    CHECK_INT(reported.n, 0);
}

COROUTINE(drop_a_call, int64_t lent;)
{
    ASYNC(drop_a_call, my) {
        coil_drop(CALL(end_somehow, .given = 7));
        say("d");

    FINALLY;
        say("D");
    }
}

// What it was given may be lent by the one who made it: so before that ends.
TEST(coroutine_dropped_ends_before_who_made_it)
{
    CHECK_INT(RUN_REPORTING(drop_a_call), 0);
    CHECK_STR(said, "dfFD");
    CHECK_INT(reported.n, 0);
}

DEATH_TEST(coroutine_dropped_when_it_runs_aborts,
           "only a coroutine that was not awaited can be dropped")
{
    open_loop();
    coil_drop(coil_task_future(SPAWN(work)));
}

COROUTINE(look_at_fields, int given; int not_given; const char *nor_this;)
{
    ASYNC(look_at_fields, my) {
        my->not_given = 5;

    FINALLY;
        CHECK_INT(my->given, 3);
        CHECK_INT(my->not_given, 0);
        CHECK(my->nor_this == NULL);
        say("f");
    }
}

// Memory is reused: what is not given must be zero and not the last one's.
TEST(coroutine_finds_zero_in_fields_not_given)
{
    open_loop();
    for (int i = 0; i < 10; i++) {
        struct coil_future *f = CALL(look_at_fields, .given = 3);
        memset((char *)f + sizeof(struct coil_coro) + sizeof(int), 0, 1);
        coil_drop(f);
        pass();
        coil_drop(CALL(work, .word = said, .value = -1, .err = -1));
        pass();
    }
    CHECK_STR(said, "ffffffffff");
    coil_loop_close(loop);
}

/* --- In FINALLY ------------------------------------------------------------*/

COROUTINE(fail_in_finally, int body, first, second; int n;)
{
    ASYNC(fail_in_finally, my) {
        my->n = 1;
        if (my->body)
            FAIL(my->body);
        RETURN(9);

    FINALLY;
        AWAIT(CALL(work, .err = my->first, .passes = 1));
        say("1");
        AWAIT_TO(my->n, CALL(work, .err = my->second, .value = 2));
        CHECK_INT(my->n, my->second ? 1 : 2);
        say("2");
    }
}

// An await there never jumps: the rest of the cleanup is owed, too.
TEST(coroutine_goes_on_in_finally_after_an_error)
{
    CHECK_INT(RUN_REPORTING(fail_in_finally), 0);
    CHECK_INT(RUN_REPORTING(fail_in_finally, .first = -EIO), -EIO);
    CHECK_INT(RUN_REPORTING(fail_in_finally, .second = -ENOENT), -ENOENT);
    CHECK_STR(said, "121212");
}

TEST(coroutine_keeps_its_first_error)
{
    CHECK_INT(RUN_REPORTING(fail_in_finally, .body = -EPERM, .first = -EIO),
              -EPERM);
    CHECK_INT(RUN_REPORTING(fail_in_finally, .first = -EIO, .second = -ENOENT),
              -EIO);
    CHECK_STR(said, "1212");
}

COROUTINE(try_in_finally, int err;)
{
    ASYNC(try_in_finally, my) {
        RETURN(4);

    FINALLY;
        TRY_AWAIT(my->err, CALL(work, .err = -EIO));
        CHECK_INT(my->err, -EIO);
    }
}

TEST(coroutine_may_catch_errors_in_finally)
{
    int n = 0;
    CHECK_INT(RUN_TO(n, try_in_finally), 0);
    CHECK_INT(n, 4);
}

COROUTINE(overflow_in_finally, unsigned char small;)
{
    ASYNC(overflow_in_finally, my) {
        my->small = 3;

    FINALLY;
        AWAIT_TO(my->small, CALL(work, .value = 300, .passes = 1));
        CHECK_INT(my->small, 3);
        say("f");
    }
}

TEST(coroutine_leaves_the_variable_alone_in_finally_too)
{
    CHECK_INT(RUN(overflow_in_finally), -EOVERFLOW);
    CHECK_STR(said, "f");
}

COROUTINE(spawn_in_finally, bool join;)
{
    ASYNC(spawn_in_finally, my) {

    FINALLY;
        SPAWN(wait_for_ever);
        SPAWN(work, .passes = 2, .word = my->join ? "w" : "!");
        AWAIT(coil_sleep(0));
        AWAIT(coil_sleep(0));
        if (my->join)
            AWAIT(coil_sleep(0));
        say("F");
    }
}

// What FINALLY started is cancelled and awaited when FINALLY is over.
TEST(coroutine_ends_after_what_its_finally_spawned)
{
    open_loop();
    struct coil_task *t = SPAWN(spawn_in_finally);
    CHECK_INT(coil_run_until(loop, t), 0);
    CHECK_STR(said, "bFf");
    CHECK_INT(tasks(), 0);
    said[0] = '\0';
    t = SPAWN(spawn_in_finally, .join = true);
    CHECK_INT(coil_run_until(loop, t), 0);
    CHECK_STR(said, "bwFf");
    coil_loop_close(loop);
}

COROUTINE(join_in_finally,)
{
    ASYNC(join_in_finally, my) {

    FINALLY;
        SPAWN(work, .passes = 2, .word = "w");
        JOIN();
        say("F");
    }
}

TEST(coroutine_may_join_in_finally)
{
    CHECK_INT(RUN(join_in_finally), 0);
    CHECK_STR(said, "wF");
}

COROUTINE(break_in_finally, bool waits;)
{
    ASYNC(break_in_finally, my) {
        say("b");

    FINALLY;
        say("f");
        if (my->waits)
            AWAIT(coil_sleep(0));
        break;
    }
}

TEST(coroutine_ends_by_a_break_in_finally)
{
    CHECK_INT(RUN(break_in_finally), 0);
    CHECK_INT(RUN(break_in_finally, .waits = true), 0);
    CHECK_STR(said, "bfbf");
}

COROUTINE(without_finally, enum ending how;)
{
    ASYNC(without_finally, my) {
        say("b");
        AWAIT(coil_sleep(0));
        if (my->how == BREAK)
            break;
        if (my->how == CONTINUE)
            continue;
        say("e");
    }
}

TEST(coroutine_without_finally_may_end_by_break)
{
    CHECK_INT(RUN(without_finally, .how = BREAK), 0);
    CHECK_INT(RUN(without_finally, .how = CONTINUE), 0);
    CHECK_INT(RUN(without_finally), 0);
    CHECK_STR(said, "bbbe");
}

/* --- Cancelled in FINALLY --------------------------------------------------*/

COROUTINE(slow_cleanup, int body, err; bool try;)
{
    ASYNC(slow_cleanup, my) {
        if (my->body)
            FAIL(my->body);
        RETURN(1);

    FINALLY;
        say("1");
        if (my->try)
            TRY_AWAIT(my->err, coil_sleep(FOR_EVER));
        else
            AWAIT(coil_sleep(FOR_EVER));
        say("2");
        AWAIT(coil_sleep(0));
        say("3");
    }
}

// A request there interrupts what is waited for, and nothing else.
TEST(coroutine_cancelled_in_finally_goes_on_with_it)
{
    open_loop();
    struct coil_task *t = SPAWN(slow_cleanup);
    pass();
    coil_task_cancel(t);
    CHECK_INT(coil_run_until(loop, t), 0);
    CHECK_INT(error_of(t), -ECANCELED);
    CHECK_STR(said, "123");

    said[0] = '\0';
    t = SPAWN(slow_cleanup, .body = -EIO);
    pass();
    coil_task_cancel(t);
    CHECK_INT(coil_run_until(loop, t), 0);
    CHECK_INT(error_of(t), -EIO);
    CHECK_STR(said, "123");
    coil_loop_close(loop);
}

COROUTINE(try_slow_cleanup, int body, err; bool within;)
{
    ASYNC(try_slow_cleanup, my) {
        if (my->within)
            WITHIN(COIL_MS(1));
        TRY_AWAIT(my->err, CALL(slow_cleanup, .body = my->body));
        say("a");
        AWAIT(coil_sleep(FOR_EVER));
        say("!");

    FINALLY;
        say("f");
    }
}

// TRY never catches this task's own cancellation, wherever below it struck.
TEST(coroutine_cancelled_in_the_finally_of_a_call_ends)
{
    open_loop();
    struct coil_task *t = SPAWN(try_slow_cleanup);
    pass();
    coil_task_cancel(t);
    CHECK_INT(coil_run_until(loop, t), 0);
    CHECK_INT(error_of(t), -ECANCELED);
    CHECK_STR(said, "123f");
    coil_loop_close(loop);
}

// The call keeps its first error, which is caught; but the request is not
// lost with it: it strikes the caller's next await.
TEST(coroutine_cancelled_in_the_finally_of_a_failed_call_ends)
{
    open_loop();
    struct coil_task *t = SPAWN(try_slow_cleanup, .body = -EIO);
    pass();
    coil_task_cancel(t);
    for (int i = 0; i < 10; i++)
        pass();
    CHECK_STR(said, "123af");
    CHECK(coil_task_done(t));
    CHECK_INT(error_of(t), -ECANCELED);
    coil_loop_close(loop);
}

// As above; it was the deadline's request.
TEST(coroutine_deadline_in_the_finally_of_a_failed_call_holds)
{
    open_loop();
    struct coil_task *t = SPAWN(try_slow_cleanup, .body = -EIO, .within = true);
    CHECK_INT(coil_run_until(loop, t), 0);
    CHECK_STR(said, "123af");
    CHECK_INT(error_of(t), -ETIMEDOUT);
    coil_loop_close(loop);
}

/* --- Children, and the order at the end ------------------------------------*/

COROUTINE(name_scope_end, char *word; struct coil_semaphore *sem;)
{
    ASYNC(name_scope_end, my) {
        if (my->sem)
            HOLD(my->sem);
        AWAIT(coil_sleep(FOR_EVER));

    FINALLY;
        AWAIT(coil_sleep(0));
        say(my->word);
    }
}

static void say_released(void *object)
{
    say(object);
}

COROUTINE(end_in_order, bool fail;)
{
    ASYNC(end_in_order, my) {
        static char one[] = "1", two[] = "2", three[] = "3";
        HOLD_WITH(one, say_released, coil_future_done_with(0, 0));
        HOLD_WITH(two, say_released, coil_future_done_with(0, 0));
        HOLD_WITH(three, say_released, coil_future_done_with(0, 0));
        SPAWN(name_scope_end, .word = "c");
        SPAWN(name_scope_end, .word = "d");
        AWAIT(coil_sleep(0));
        AWAIT(coil_sleep(0));
        if (my->fail)
            FAIL(-EIO);

    FINALLY;
        say("F");
        AWAIT(coil_sleep(0));
        say("f");
    }
}

static void say_done(void *arg)
{
    say(arg);
}

// Children, FINALLY, what it holds from the newest to the oldest, and only
// then the result.
TEST(coroutine_ends_in_a_fixed_order)
{
    for (int fail = 0; fail < 2; fail++) {
        said[0] = '\0';
        open_loop();
        struct coil_task *t = SPAWN(end_in_order, .fail = fail);
        struct coil_handle h = { 0 };
        static char done[] = "R";
        coil_future_add_done_callback(coil_task_future(t), &h, say_done, done);
        CHECK_INT(coil_run_until(loop, t), 0);
        CHECK_STR(said, "cdFf321");
        pass();
        CHECK_STR(said, "cdFf321R");
        CHECK_INT(error_of(t), fail ? -EIO : 0);
        coil_loop_close(loop);
    }
}

COROUTINE(spawn_and_return, int *finished;)
{
    ASYNC(spawn_and_return, my) {
        SPAWN(wait_for_ever);
        SPAWN(wait_for_ever);
        AWAIT(coil_sleep(0));
        RETURN(3);
    }
}

// So its fields may be lent to them.
TEST(coroutine_ends_after_its_children)
{
    int n = 0;
    CHECK_INT(RUN_TO(n, spawn_and_return), 0);
    CHECK_INT(n, 3);
    CHECK_STR(said, "bbff");
}

COROUTINE(call_who_spawns, int n;)
{
    ASYNC(call_who_spawns, my) {
        AWAIT_TO(my->n, CALL(spawn_and_return));
        say("c");
        RETURN(my->n + 1);
    }
}

// A called coroutine's children are its own, not its task's.
TEST(coroutine_that_is_called_ends_after_its_children)
{
    int n = 0;
    CHECK_INT(RUN_TO(n, call_who_spawns), 0);
    CHECK_INT(n, 4);
    CHECK_STR(said, "bbffc");
}

COROUTINE(join_children, int fail; uint64_t before; struct coil_task *failing;)
{
    ASYNC(join_children, my) {
        my->before = passes();
        JOIN();
        CHECK_INT(passes(), my->before);
        SPAWN(work, .passes = 3, .word = "3");
        SPAWN(work, .passes = 1, .word = "1");
        my->failing = SPAWN(work, .passes = 2, .word = "2", .err = my->fail);
        JOIN();
        say("j");
        JOIN();
        if (my->fail)
            CHECK_INT(error_of(my->failing), my->fail);
    }
}

TEST(coroutine_joins_its_children)
{
    CHECK_INT(RUN_REPORTING(join_children), 0);
    CHECK_STR(said, "123j");
    CHECK_INT(RUN_REPORTING(join_children, .fail = -EIO), 0);
    CHECK_INT(reported.n, 0);
}

COROUTINE(join_failing,)
{
    ASYNC(join_failing, my) {
        SPAWN(work, .err = -EIO);
        JOIN();
        say("j");
    }
}

// Its error stays with it: nobody asked, so it is reported, once.
TEST(coroutine_join_leaves_errors_with_the_children)
{
    CHECK_INT(RUN_REPORTING(join_failing), 0);
    CHECK_STR(said, "j");
    CHECK_INT(reported.n, 1);
    CHECK_INT(reported.err, -EIO);
    CHECK_STR(reported.name, "work");
}

COROUTINE(join_for_ever,)
{
    ASYNC(join_for_ever, my) {
        SPAWN(wait_for_ever);
        JOIN();
        say("!");

    FINALLY;
        say("F");
    }
}

TEST(coroutine_cancelled_in_a_join_cancels_its_children)
{
    open_loop();
    struct coil_task *t = SPAWN(join_for_ever);
    pass();
    pass();
    coil_task_cancel(t);
    CHECK_INT(coil_run_until(loop, t), 0);
    CHECK_INT(error_of(t), -ECANCELED);
    CHECK_STR(said, "bfF");
    coil_loop_close(loop);
}

COROUTINE(start_children, int i;)
{
    ASYNC(start_children, my) {
        for (my->i = 0; my->i < 100; my->i++) {
            CHECK_INT(START(work), 0);
            AWAIT(coil_sleep(0));
        }
        CHECK_INT(START(work, .err = -EIO), 0);
        CHECK_INT(START(wait_for_ever), 0);
        AWAIT(coil_sleep(0));
        CHECK_INT(reported.n, 1);
    }
}

// An accept loop has no use for handles; an error is for the exception handler.
TEST(coroutine_starts_what_needs_no_handle)
{
    CHECK_INT(RUN_REPORTING(start_children), 0);
    CHECK_INT(reported.n, 1);
    CHECK_INT(reported.err, -EIO);
    CHECK_STR(said, "bf");
}

COROUTINE(spawn_lazily,)
{
    ASYNC(spawn_lazily, my) {
        SPAWN(work, .word = "a");
        AWAIT(CALL(work, .word = "b"));
        say("c");
        AWAIT(coil_sleep(0));
        say("d");
    }
}

// A call begins within the caller's step, a spawned one when its turn comes.
TEST(coroutine_spawn_waits_its_turn_and_call_does_not)
{
    CHECK_INT(RUN(spawn_lazily), 0);
    CHECK_STR(said, "bcad");
}

COROUTINE(lend_fields, int counter; int i;)
{
    ASYNC(lend_fields, my) {
        struct coil_task *t = SPAWN(work, .value = 5);
        CHECK(((struct work *)coil_task_frame(t))->value == 5);
        AWAIT_TO(my->i, t);
        CHECK_INT(my->i, 5);
    }
}

TEST(coroutine_frame_of_a_task_can_be_read)
{
    CHECK_INT(RUN(lend_fields), 0);
}

/* --- In place --------------------------------------------------------------*/

COROUTINE(fill_buffer, int n; char text[32];)
{
    ASYNC(fill_buffer, my) {
        AWAIT(coil_sleep(0));
        snprintf(my->text, sizeof my->text, "%d", my->n);
        RETURN(strlen(my->text));
    }
}

COROUTINE(call_in_place, struct fill_buffer child; struct work other; int i, len;
          struct coil_task *task; size_t blocks;)
{
    ASYNC(call_in_place, my) {
        my->blocks = test_heap_blocks();
        for (my->i = 8; my->i < 12; my->i++) {
            AWAIT_TO(my->len, CALL_IN(&my->child, fill_buffer, .n = my->i));
            CHECK_INT(my->len, my->i < 10 ? 1 : 2);
            CHECK_INT(atoi(my->child.text), my->i);
            CHECK_INT(my->child.n, my->i);
        }
        CHECK_INT(test_heap_blocks(), my->blocks);

        // Never awaited: no report, nothing to free.
        CALL_IN(&my->other, work, .value = 9);
        CHECK_INT(my->other.value, 9);
        coil_drop(CALL_IN(&my->other, work));

        // As a task it needs memory for its handle, not for its frame.
        my->task = coil_spawn(CALL_IN(&my->other, work, .value = 6));
        AWAIT_TO(my->i, my->task);
        CHECK_INT(my->i, 6);
    }
}

TEST(coroutine_in_place_needs_no_memory)
{
    CHECK_INT(RUN_REPORTING(call_in_place), 0);
    CHECK_INT(reported.n, 0);
}

COROUTINE(cancel_in_place, struct name_scope_end child; struct coil_task *task;)
{
    ASYNC(cancel_in_place, my) {
        my->task = coil_spawn(CALL_IN(&my->child, name_scope_end, .word = "c"));
        AWAIT(coil_sleep(0));
        say("e");

    FINALLY;
        say("F");
    }
}

TEST(coroutine_in_place_ends_before_its_place_does)
{
    CHECK_INT(RUN(cancel_in_place), 0);
    CHECK_STR(said, "ecF");
}

/* --- ASYNC_GIVES -----------------------------------------------------------*/

static int freed;

static void count_freed(void *p)
{
    CHECK(p != NULL);
    freed++;
    free(p);
}

COROUTINE(make_text, bool null, hang, cancel; int wait, fail_late;)
{
    ASYNC_GIVES(make_text, my, count_freed) {
        if (my->wait)
            AWAIT(coil_sleep(0));
        if (my->cancel)
            coil_task_cancel(coil_task_current());
        if (my->null)
            RETURN(NULL);
        RETURN(strdup("text"));

    FINALLY;
        if (my->wait)
            AWAIT(coil_sleep(0));
        if (my->hang)
            AWAIT(coil_sleep(FOR_EVER));
        if (my->fail_late)
            AWAIT(CALL(work, .err = my->fail_late));
    }
}

COROUTINE(take_text, int wait; char *text;)
{
    ASYNC(take_text, my) {
        AWAIT_TO(my->text, CALL(make_text, .wait = my->wait));
        CHECK_STR(my->text, "text");
        CHECK_INT(freed, 0);

    FINALLY;
        free(my->text);
    }
}

TEST(coroutine_gives_its_pointer_to_who_takes_it)
{
    CHECK_INT(RUN(take_text), 0);
    CHECK_INT(RUN(take_text, .wait = 1), 0);
    CHECK_INT(freed, 0);
}

COROUTINE(ignore_text, int err;)
{
    ASYNC(ignore_text, my) {
        AWAIT(CALL(make_text));
        CHECK_INT(freed, 1);
        AWAIT(CALL(make_text, .wait = 1));
        CHECK_INT(freed, 2);
        TRY_AWAIT(my->err, CALL(make_text));
        CHECK_INT(freed, 3);
        CATCH_AWAIT(my->err, CALL(make_text));
        CHECK_INT(freed, 4);
        AWAIT(CALL(make_text, .null = true));
        AWAIT(coil_gather(((struct coil_task *[]){ SPAWN(make_text) }), 1));
    }
}

// Nobody took it, so it is freed with the future; what is NULL is not.
TEST(coroutine_frees_a_pointer_that_nobody_took)
{
    CHECK_INT(RUN(ignore_text), 0);
    CHECK_INT(freed, 5);
}

// The error takes the pointer's place; somebody has to free it.
TEST(coroutine_frees_its_pointer_when_it_fails_late)
{
    CHECK_INT(RUN(make_text, .fail_late = -EIO), -EIO);
    CHECK_INT(freed, 1);
    CHECK_INT(RUN(make_text, .fail_late = -EIO, .null = true), -EIO);
    CHECK_INT(freed, 1);
    CHECK_INT(RUN(make_text, .fail_late = -EIO, .wait = 1), -EIO);
    CHECK_INT(freed, 2);
    CHECK_INT(reported.n, 0);
}

TEST(coroutine_frees_its_pointer_when_it_is_cancelled_late)
{
    open_loop();
    struct coil_task *t = SPAWN(make_text, .hang = true);
    pass();
    coil_task_cancel(t);
    CHECK_INT(coil_run_until(loop, t), 0);
    CHECK_INT(error_of(t), -ECANCELED);
    CHECK_INT(freed, 1);
    // A request that its end finds undelivered replaces the pointer as well.
    t = SPAWN(make_text, .cancel = true);
    CHECK_INT(coil_run_until(loop, t), 0);
    CHECK_INT(error_of(t), -ECANCELED);
    CHECK_INT(freed, 2);
    coil_loop_close(loop);
    CHECK_INT(freed, 2);
}

COROUTINE(pass_text_on, int depth; int fail_late; bool wait;)
{
    ASYNC(pass_text_on, my) {
        if (my->depth)
            RETURN_AWAIT(CALL(pass_text_on, .depth = my->depth - 1));
        RETURN_AWAIT(CALL(make_text));

    FINALLY;
        if (my->wait)
            AWAIT(coil_sleep(0));
        if (my->fail_late)
            AWAIT(CALL(work, .err = my->fail_late));
    }
}

COROUTINE(take_passed_text, char *text;)
{
    ASYNC(take_passed_text, my) {
        AWAIT_TO(my->text, CALL(pass_text_on, .depth = 3));
        CHECK_STR(my->text, "text");

    FINALLY;
        free(my->text);
    }
}

// The duty to free goes along with the pointer, as often as it is passed on.
TEST(coroutine_passes_the_duty_to_free_on)
{
    CHECK_INT(RUN(take_passed_text), 0);
    CHECK_INT(freed, 0);
    CHECK_INT(RUN(pass_text_on, .depth = 3), 0);
    CHECK_INT(freed, 1);
    CHECK_INT(RUN(pass_text_on, .fail_late = -EIO), -EIO);
    CHECK_INT(freed, 2);
    CHECK_INT(RUN(pass_text_on, .depth = 1, .wait = true), 0);
    CHECK_INT(freed, 3);
}

TEST(coroutine_frees_a_task_s_pointer_unless_it_is_taken)
{
    open_loop();
    struct coil_task *a = SPAWN(make_text), *b = SPAWN(make_text);
    CHECK_INT(coil_run_until(loop, b), 0);
    CHECK_INT(coil_run_until(loop, a), 0);
    char *text = coil_future_pointer(coil_task_future(a));
    CHECK_STR(text, "text");
    free(text);
    coil_task_drop(&a);
    CHECK_INT(freed, 0);
    coil_task_drop(&b);
    CHECK_INT(freed, 1);
    coil_loop_close(loop);
    CHECK_INT(freed, 1);
}

TEST(coroutine_run_to_takes_the_pointer)
{
    char *text = NULL;
    CHECK_INT(RUN_TO(text, make_text, .wait = 1), 0);
    CHECK_STR(text, "text");
    free(text);
    CHECK_INT(freed, 0);
    CHECK_INT(RUN(make_text), 0);
    CHECK_INT(freed, 1);
}
