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

#include <coil/block.h>
#include <coil/coroutine.h>
#include <coil/event.h>
#include <coil/future.h>
#include <coil/io.h>
#include <coil/lock.h>
#include <coil/loop.h>
#include <coil/remote.h>
#include <coil/semaphore.h>
#include <coil/task.h>
#include <coil/wait.h>
#include <coil/wait_for.h>
#include <coil/waiters.h>
#include <coil/wakeup.h>

/* --- Around a case ---------------------------------------------------------*/

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

static const struct coil_loop_options reporting = {
    .size = sizeof(struct coil_loop_options),
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
    struct coil_loop_stats stats;
    coil_loop_get_stats(coil_loop_current(), &stats);
    return stats.passes;
}

static unsigned tasks(void)
{
    struct coil_loop_stats stats;
    coil_loop_get_stats(coil_loop_current(), &stats);
    return stats.tasks;
}

static int error_of(struct coil_task *task)
{
    return coil_future_error(coil_task_future(task));
}

#define FOR_EVER COIL_SECONDS(100000)

/* Ends with a value, an error or nothing, now or after some passes. */
COROUTINE(work, int passes; int64_t value; int err; uint32_t detail;
          char *word;)
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
        struct coil_task *t = coil_spawn( \
            CALL_IN(&taker, take_##kind, .from = from, .to = *to)); \
        CHECK_INT(coil_loop_run_until_complete(coil_loop_current(), t), 0); \
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

COROUTINE(return_bits, unsigned small : 3; int negative : 4; bool flag : 1;
          unsigned which : 2;)
{
    ASYNC(return_bits, my) {
        if (my->which == 0)
            RETURN(my->small);
        if (my->which == 1)
            RETURN(my->flag);
        RETURN(my->negative);
    }
}

// gcc gives each width a type of its own.
TEST(coroutine_returns_a_bit_field)
{
    long got = 0;
    CHECK_INT(RUN_TO(got, return_bits, .small = 7), 0);
    CHECK_INT(got, 7);
    CHECK_INT(RUN_TO(got, return_bits, .flag = true, .which = 1), 0);
    CHECK_INT(got, 1);
    CHECK_INT(RUN_TO(got, return_bits, .negative = -3, .which = 2), 0);
    CHECK_INT(got, -3);
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

COROUTINE(tick)
{
    ASYNC(tick) {
        say("t");
        AWAIT(coil_sleep(0));
        say("T");
        RETURN(7);

    FINALLY;
        say(".");
    }
}

COROUTINE(run_ticks, struct tick place; int a, b;)
{
    ASYNC(run_ticks, my) {
        AWAIT_TO(my->a, SPAWN(tick));
        AWAIT_TO(my->b, CALL_IN(&my->place, tick));
        RETURN(my->a + my->b);
    }
}

// The word declares the frame; without fields ASYNC needs no name for it.
TEST(coroutine_without_fields_needs_no_struct)
{
    int got = 0;
    CHECK_INT(RUN(tick), 0);
    CHECK_INT(RUN_TO(got, run_ticks), 0);
    CHECK_INT(got, 14);
    CHECK_STR(said, "tT.tT.tT.");
}

struct by_hand {
    struct coil_coro coro;
    int n;
};

static void by_hand(struct coil_coro *co);

static void by_hand(struct coil_coro *co)
{
    ASYNC(by_hand) {
        RETURN(8);
    }
}

COROUTINE(many_fields, int a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q;
          int (*add)(int, int);)
{
    ASYNC(many_fields, my) {
        RETURN(my->add ? my->a : my->q);
    }
}

TEST(coroutine_fields_have_any_number_of_commas)
{
    int got = 0;
    CHECK_INT(RUN_TO(got, by_hand), 0);
    CHECK_INT(got, 8);
    CHECK_INT(RUN_TO(got, many_fields, .a = 1, .q = 9), 0);
    CHECK_INT(got, 9);
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
           "the value is a pointer, the variable holds an integer: make "
           "it a pointer")
{
    int to = 0;
    open_loop();
    into_int(CALL(give_pointer, .value = said), &to);
}

DEATH_TEST(coroutine_integer_into_a_pointer_aborts,
           "is an integer, the variable holds a pointer")
{
    const char *to = NULL;
    open_loop();
    into_pointer(CALL(give_int, .value = 1), &to);
}

// What a coroutine gives that ends without RETURN is none of any kind.
TEST(coroutine_zero_is_a_null_pointer_and_a_zero_double)
{
    const char *to_pointer = said;
    double to_double = 1;
    float to_float = 1;
    open_loop();
    CHECK_INT(into_pointer(CALL(give_int), &to_pointer), 0);
    CHECK(to_pointer == NULL);
    CHECK_INT(into_double(CALL(give_int), &to_double), 0);
    CHECK(to_double == 0.0);
    CHECK_INT(into_float(CALL(give_int), &to_float), 0);
    CHECK(to_float == 0.0f);
    coil_loop_close(loop);
}

COROUTINE(zero_items, int i;)
{
    ASYNC(zero_items, my) {
        for (; my->i < 2; my->i++)
            YIELD(0);
    }
}

COROUTINE(take_zero_items, const char *text; double real; int turns;)
{
    ASYNC(take_zero_items, my) {
        my->text = said;
        FOR_AWAIT(my->text, CALL(zero_items)) {
            CHECK(my->text == NULL);
            my->turns++;
        }
        my->real = 1;
        FOR_AWAIT(my->real, CALL(zero_items)) {
            CHECK(my->real == 0.0);
            my->turns++;
        }
        my->text = said;
        AWAIT_TO(my->text, coil_wait_for(CALL(return_nothing), COIL_NEVER));
        CHECK(my->text == NULL);
        RETURN(my->turns);
    }
}

TEST(coroutine_zero_item_is_a_null_pointer_and_a_zero_double)
{
    int turns = 0;
    CHECK_INT(RUN_TO(turns, take_zero_items), 0);
    CHECK_INT(turns, 4);
}

TEST(coroutine_run_to_takes_a_zero_as_null_pointer_or_double)
{
    const char *to_pointer = said;
    double to_double = 1;
    float to_float = 1;
    CHECK_INT(RUN_TO(to_pointer, return_nothing), 0);
    CHECK(to_pointer == NULL);
    CHECK_INT(RUN_TO(to_double, return_nothing), 0);
    CHECK(to_double == 0.0);
    CHECK_INT(RUN_TO(to_float, return_nothing), 0);
    CHECK(to_float == 0.0f);
}

DEATH_TEST(coroutine_real_into_an_integer_aborts,
           "is a double, the variable holds an integer")
{
    long to = 0;
    open_loop();
    into_long(CALL(give_double, .value = 1), &to);
}

DEATH_TEST(coroutine_integer_into_a_real_aborts,
           "is an integer, the variable holds a double")
{
    double to = 0;
    open_loop();
    into_double(CALL(give_int, .value = 1), &to);
}

DEATH_TEST(coroutine_huge_integer_into_a_real_aborts,
           "is an integer above INT64_MAX, the variable holds a double")
{
    double to = 0;
    open_loop();
    into_double(CALL(give_uint, .value = UINT64_MAX), &to);
}

DEATH_TEST(coroutine_run_to_another_kind_aborts,
           "the value is an integer, the variable holds a pointer: make "
           "it an integer")
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
        TRY_ALL(my->err) AWAIT(CALL(work, .passes = 1));
        CHECK_INT(my->err, 0);
        TRY_ALL(my->err) AWAIT(CALL(work, .err = -EPERM));
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
        AWAIT_TO(my->values[my->i++],
                 CALL(work, .value = my->n++, .passes = 1));
        TRY_AWAIT_TO(my->err, my->values[my->i++],
                     CALL(work, .value = my->n++));
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
        TRY_ALL(my->err) AWAIT(CALL(work, .err = -EIO, .detail = 1u << 31));
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
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
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
DEATH_TEST(coroutine_fail_with_0_aborts, "FAIL wants a negative number, not 0")
{
    RUN(fail_with, .err = 0);
}

DEATH_TEST(coroutine_fail_with_errno_aborts,
           "FAIL wants a negative number, not 5")
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
    CHECK_INT(into_int(CALL(pass_on, .future = coil_future_from_int(8)), &n),
              0);
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
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(error_of(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), 31);
    coil_future_unref(late);
    coil_loop_close(loop);
}

COROUTINE(take, struct coil_future **from; int n; bool gives_none;)
{
    ASYNC(take, my) {
        *my->from = coil_future_ref(coil_future_new());
        AWAIT_TO(my->n, *my->from);
        if (!my->gives_none)
            RETURN(my->n);
    }
}

COROUTINE(take_twice, struct coil_future **from; int n, err; bool gives_none;)
{
    ASYNC(take_twice, my) {
        AWAIT_TO(my->n, CALL(take, .from = my->from,
                             .gives_none = my->gives_none));
        TRY_ALL(my->err) AWAIT(coil_sleep(0));
        RETURN(my->n);
    }
}

// A task ends with what RETURN has given, and without RETURN cancelled. A call
// gives its value, or 0, and the request strikes the caller's next await.
TEST(coroutine_return_keeps_the_value_when_cancelled)
{
    for (int none = 0; none < 2; none++) {
        open_loop();
        struct coil_future *from = NULL;
        struct coil_task *t = SPAWN(take, .from = &from, .gives_none = none);
        pass();
        coil_future_set_int(from, 5);
        coil_task_cancel(t);
        CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
        CHECK_INT(error_of(t), none ? -ECANCELED : 0);
        if (!none)
            CHECK_INT(coil_future_int(coil_task_future(t)), 5);
        coil_future_unref(from);

        t = SPAWN(take_twice, .from = &from, .gives_none = none);
        struct take_twice *frame = coil_task_frame(t);
        pass();
        coil_future_set_int(from, 6);
        coil_task_cancel(t);
        CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
        CHECK_INT(error_of(t), 0);
        CHECK_INT(frame->n, none ? 0 : 6);
        CHECK_INT(frame->err, -ECANCELED);
        coil_future_unref(from);
        coil_loop_close(loop);
    }
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

struct knows {
    struct coil_coro coro;
    int fails;
    int64_t within;
    bool cancels;
    int *body, *knew; // what it was in the body and in FINALLY
};

static void knows(struct coil_coro *co)
{
    ASYNC(knows, my) {
        WITHIN(my->within ? my->within : COIL_NEVER) {
            if (my->cancels)
                coil_task_cancel(coil_task_current());
            AWAIT(coil_sleep(my->within || my->cancels ? FOR_EVER : 0));
            *my->body = coil_body_error(co);
            if (my->fails)
                FAIL(my->fails);
        }

    FINALLY;
        *my->knew = coil_body_error(co);
        AWAIT(coil_sleep(0));
        CHECK_INT(coil_body_error(co), *my->knew);
    }
}

// To commit or to roll back.
TEST(coroutine_finally_knows_how_the_body_ended)
{
    int body = 1, knew = 1;
    CHECK_INT(RUN(knows, .body = &body, .knew = &knew), 0);
    CHECK_INT(body, 0);
    CHECK_INT(knew, 0);
    CHECK_INT(RUN(knows, .fails = -EIO, .body = &body, .knew = &knew), -EIO);
    CHECK_INT(body, 0);
    CHECK_INT(knew, -EIO);
    CHECK_INT(RUN(knows, .within = COIL_MS(1), .knew = &knew), -ETIMEDOUT);
    CHECK_INT(knew, -ETIMEDOUT);
    CHECK_INT(RUN(knows, .cancels = true, .knew = &knew), -ECANCELED);
    CHECK_INT(knew, -ECANCELED);
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
        CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
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
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(error_of(t), -ECANCELED);
    CHECK_STR(said, "fF");
    coil_loop_close(loop);
}

TEST(coroutine_runs_its_finally_when_it_is_dropped)
{
    open_loop();
    coil_discard(CALL(end_somehow, .given = 7, .waits = true));
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
        coil_discard(CALL(end_somehow, .given = 7));
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
    coil_discard(coil_task_future(SPAWN(work)));
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
        coil_discard(f);
        pass();
        coil_discard(CALL(work, .word = said, .value = -1, .err = -1));
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

COROUTINE(awaits_child, struct coil_task *child; int err;)
{
    ASYNC(awaits_child, my) {
        FAIL(my->err);

    FINALLY;
        my->child = SPAWN(work, .err = -EIO, .passes = 2);
        AWAIT(my->child);
    }
}

/*
 * The await fetches the child's error, and the coroutine keeps its own: the
 * child's was seen by no code. An error that a caller gets is not reported.
 */
TEST(coroutine_reports_an_error_in_finally_after_another_one)
{
    CHECK_INT(RUN_REPORTING(fail_in_finally, .body = -EPERM, .first = -EIO),
              -EPERM);
    CHECK_INT(reported.n, 1);
    CHECK_INT(reported.err, -EIO);
    CHECK_INT(RUN_REPORTING(fail_in_finally, .first = -EIO, .second = -ENOENT),
              -EIO);
    CHECK_INT(reported.n, 2);
    CHECK_INT(reported.err, -ENOENT);
    CHECK_INT(RUN_REPORTING(fail_in_finally, .second = -ENOENT), -ENOENT);
    CHECK_INT(RUN_REPORTING(fail_in_finally, .body = -EPERM), -EPERM);
    CHECK_INT(
        RUN_REPORTING(fail_in_finally, .body = -EPERM, .first = -ECANCELED),
        -EPERM);
    CHECK_INT(reported.n, 2);

    CHECK_INT(RUN_REPORTING(awaits_child, .err = -EPERM), -EPERM);
    CHECK_INT(reported.n, 3);
    CHECK_INT(reported.err, -EIO);
    CHECK_INT(RUN_REPORTING(awaits_child, .err = -ECANCELED), -ECANCELED);
    CHECK_INT(reported.n, 4);
}

COROUTINE(try_in_finally_of_many, int err;)
{
    ASYNC(try_in_finally_of_many, my) {
        FAIL(-EPERM);

    FINALLY;
        TRY(my->err) {
            AWAIT(CALL(work, .err = -EIO));
            AWAIT(CALL(work, .err = -ENOENT));
        }
        CHECK_INT(my->err, -EIO);
    }
}

// TRY stores the first error of its block, the second would be lost.
TEST(coroutine_reports_the_second_error_of_a_try_in_finally)
{
    CHECK_INT(RUN_REPORTING(try_in_finally_of_many), -EPERM);
    CHECK_INT(reported.n, 1);
    CHECK_INT(reported.err, -ENOENT);
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
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_STR(said, "bFf");
    CHECK_INT(tasks(), 0);
    said[0] = '\0';
    t = SPAWN(spawn_in_finally, .join = true);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
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
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(error_of(t), -ECANCELED);
    CHECK_STR(said, "123");

    said[0] = '\0';
    t = SPAWN(slow_cleanup, .body = -EIO);
    pass();
    coil_task_cancel(t);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(error_of(t), -EIO);
    CHECK_STR(said, "123");
    coil_loop_close(loop);
}

COROUTINE(try_slow_cleanup, int body, err; bool within;)
{
    ASYNC(try_slow_cleanup, my) {
        WITHIN(my->within ? COIL_MS(1) : COIL_NEVER) {
            TRY_AWAIT(my->err, CALL(slow_cleanup, .body = my->body));
            say("a");
            AWAIT(coil_sleep(FOR_EVER));
            say("!");
        }

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
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
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
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_STR(said, "123af");
    CHECK_INT(error_of(t), -ETIMEDOUT);
    coil_loop_close(loop);
}

/* --- A request that waits for its await ------------------------------------*/

enum await_what {
    PLAIN,
    NOT_BEGUN,
    BEGUN,
    SLEEP,
    NOTHING,
    CALLED,
    TASK,
    CHILDREN,
    PERMIT,
    ITEM,
    AWAITS
};

COROUTINE(cancel_and_await, enum await_what what; struct coil_future *plain;
          struct coil_semaphore sem; struct coil_event event;
          struct coil_task *task; int i;)
{
    ASYNC(cancel_and_await, my) {
        coil_semaphore_init(&my->sem, 1);
        coil_event_init(&my->event);
        my->plain = coil_future_new();
        my->task = SPAWN(wait_for_ever);
        AWAIT(coil_sleep(0));
        AWAIT(coil_sleep(0));
        CHECK(coil_task_cancel(coil_task_current()));
        if (my->what == PLAIN)
            AWAIT(coil_future_ref(my->plain));
        if (my->what == NOT_BEGUN)
            AWAIT(coil_event_wait(&my->event));
        if (my->what == SLEEP)
            AWAIT(coil_sleep(FOR_EVER));
        if (my->what == NOTHING)
            AWAIT(coil_sleep(0));
        if (my->what == CALLED)
            AWAIT(CALL(end_somehow, .given = 7));
        if (my->what == TASK)
            AWAIT(my->task);
        if (my->what == CHILDREN)
            JOIN();
        if (my->what == PERMIT)
            HOLD(&my->sem);
        if (my->what == ITEM) {
            FOR_AWAIT(my->i, CALL(wait_for_ever))
                say("!");
        }
        say("!");

    FINALLY;
        CHECK(coil_waiters_empty(&my->event.waiters));
        CHECK_INT(coil_semaphore_value(&my->sem), 1);
        CHECK_INT(coil_future_cancelled(my->plain), my->what == PLAIN);
        coil_future_unref(my->plain);
        say("F");
    }
}

// Whatever it is, it is not begun: the permit is not taken, the call's block
// does not run.
TEST(coroutine_request_strikes_the_next_await_whatever_it_is)
{
    for (int what = PLAIN; what < AWAITS; what++) {
        if (what == BEGUN)
            continue;
        test_note("await %d", what);
        said[0] = '\0';
        CHECK_INT(RUN(cancel_and_await, .what = (enum await_what)what),
                  -ECANCELED);
        CHECK_STR(said, what == CALLED ? "bfFfF"
                        : what == ITEM ? "bffF"
                                       : "bfF");
    }
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
        HOLD_WITH(one, say_released, coil_future_from_int(0));
        HOLD_WITH(two, say_released, coil_future_from_int(0));
        HOLD_WITH(three, say_released, coil_future_from_int(0));
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
        CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
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
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
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

COROUTINE(call_in_place, struct fill_buffer child; struct work other;
          int i, len;
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
        coil_discard(CALL_IN(&my->other, work));

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
        TRY_ALL(my->err) AWAIT(CALL(make_text));
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
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(error_of(t), -ECANCELED);
    CHECK_INT(freed, 1);
    coil_loop_close(loop);
    CHECK_INT(freed, 1);
}

// No await has met the request: the pointer is the result, for who takes it.
TEST(coroutine_keeps_its_pointer_though_a_request_is_pending)
{
    open_loop();
    struct coil_task *t = SPAWN(make_text, .cancel = true);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(error_of(t), 0);
    CHECK_INT(freed, 0);
    char *text = coil_future_pointer(coil_task_future(t));
    CHECK_STR(text, "text");
    free(text);
    coil_loop_close(loop);
    CHECK_INT(freed, 0);
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
    CHECK_INT(coil_loop_run_until_complete(loop, b), 0);
    CHECK_INT(coil_loop_run_until_complete(loop, a), 0);
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

/* --- Generators ------------------------------------------------------------*/

COROUTINE(numbers, int from, to, i; bool wait, finally_waits; int fail,
          finally_fails;)
{
    ASYNC(numbers, my) {
        for (my->i = my->from; my->i < my->to; my->i++) {
            if (my->wait)
                AWAIT(coil_sleep(0));
            YIELD(my->i);
        }
        if (my->fail)
            FAIL(my->fail);
        RETURN(99);

    FINALLY;
        if (my->finally_waits)
            AWAIT(coil_sleep(0));
        say("G");
        if (my->finally_fails)
            AWAIT(CALL(work, .err = my->finally_fails));
    }
}

static void say_number(int i)
{
    char word[16];
    snprintf(word, sizeof word, "%d", i);
    say(word);
}

COROUTINE(run_through, int i; bool wait; int fail;)
{
    ASYNC(run_through, my) {
        my->i = -1;
        FOR_AWAIT(my->i, CALL(numbers, .to = 3, .wait = my->wait,
                              .fail = my->fail))
            say_number(my->i);
        CHECK_INT(my->i, 2);
        say("e");
        FOR_AWAIT(my->i, CALL(numbers, .to = 0))
            say("!");
        CHECK_INT(my->i, 2);
    }
}

TEST(coroutine_runs_through_a_generator)
{
    CHECK_INT(RUN(run_through), 0);
    CHECK_STR(said, "012GeG");
    said[0] = '\0';
    CHECK_INT(RUN(run_through, .wait = true), 0);
    CHECK_STR(said, "012GeG");
}

TEST(coroutine_ends_with_the_error_of_its_generator)
{
    CHECK_INT(RUN_REPORTING(run_through, .fail = -EIO), -EIO);
    CHECK_STR(said, "012G");
    said[0] = '\0';
    CHECK_INT(RUN_REPORTING(run_through, .wait = true, .fail = -EIO), -EIO);
    CHECK_STR(said, "012G");
    CHECK_INT(reported.n, 0);
}

COROUTINE(nest, int i, k, n;)
{
    ASYNC(nest, my) {
        FOR_AWAIT(my->i, CALL(numbers, .to = 3))
            FOR_AWAIT(my->k, CALL(numbers, .from = 5, .to = 7, .wait = true)) {
                AWAIT(coil_sleep(0));
                say_number(my->i * 10 + my->k);
            }
        say("e");
        // The body awaits on the loop's own line.
        FOR_AWAIT(my->i, CALL(numbers, .to = 3)) AWAIT(coil_sleep(0));
        RETURN(my->i);
    }
}

TEST(coroutine_nests_generators)
{
    int n = 0;
    CHECK_INT(RUN_TO(n, nest), 0);
    CHECK_INT(n, 2);
    CHECK_STR(said, "56G1516G2526GGeG");
}

COROUTINE(leave_and_skip, int i; bool wait;)
{
    ASYNC(leave_and_skip, my) {
        FOR_AWAIT(my->i, CALL(numbers, .to = 10, .wait = my->wait,
                              .finally_waits = my->wait)) {
            if (my->i % 2)
                continue;
            if (my->i == 4)
                break;
            say_number(my->i);
        }
        CHECK_INT(my->i, 4);
        say("a");

    FINALLY;
        say("F");
    }
}

// A generator that is left early runs its FINALLY, as a child.
TEST(coroutine_leaves_a_generator_by_break)
{
    CHECK_INT(RUN(leave_and_skip), 0);
    CHECK_STR(said, "02aGF");
    said[0] = '\0';
    CHECK_INT(RUN(leave_and_skip, .wait = true), 0);
    CHECK_STR(said, "02aGF");
}

COROUTINE(branch_around, int i; bool first, second;)
{
    ASYNC(branch_around, my) {
        if (my->first)
            FOR_AWAIT(my->i, CALL(numbers, .to = 2))
                say_number(my->i);
        else if (my->second)
            FOR_AWAIT(my->i, CALL(numbers, .from = 5, .to = 7))
                if (my->i == 5)
                    say("five");
                else
                    say_number(my->i);
        else
            say("none");
    }
}

TEST(coroutine_generator_loop_is_one_statement)
{
    CHECK_INT(RUN(branch_around, .first = true), 0);
    CHECK_INT(RUN(branch_around, .second = true), 0);
    CHECK_INT(RUN(branch_around), 0);
    CHECK_STR(said, "01Gfive6Gnone");
}

COROUTINE(leave_by, enum ending how; int i;)
{
    ASYNC(leave_by, my) {
        FOR_AWAIT(my->i, CALL(numbers, .to = 10, .finally_waits = true)) {
            say_number(my->i);
            if (my->i < 2)
                continue;
            if (my->how == RETURNED)
                RETURN(7);
            if (my->how == FAILED)
                FAIL(-EPERM);
            if (my->how == AWAIT_FAILED)
                AWAIT(CALL(work, .err = -EPERM));
            if (my->how == CANCELLED)
                AWAIT(coil_sleep(FOR_EVER));
            goto out;
        }
        say("!");
    out:
        say("o");

    FINALLY;
        say("F");
    }
}

TEST(coroutine_leaves_a_generator_in_any_way)
{
    int n = 0;
    CHECK_INT(RUN_TO(n, leave_by, .how = RETURNED), 0);
    CHECK_INT(n, 7);
    CHECK_INT(RUN(leave_by, .how = FAILED), -EPERM);
    CHECK_INT(RUN(leave_by, .how = AWAIT_FAILED), -EPERM);
    CHECK_STR(said, "012GF012GF012GF");
    said[0] = '\0';
    CHECK_INT(RUN(leave_by, .how = FALL_OFF), 0);
    CHECK_STR(said, "012oGF");

    said[0] = '\0';
    open_loop();
    struct coil_task *t = SPAWN(leave_by, .how = CANCELLED);
    pass();
    coil_task_cancel(t);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(error_of(t), -ECANCELED);
    CHECK_STR(said, "012GF");
    coil_loop_close(loop);
}

COROUTINE(goto_and_back, int i, rounds;)
{
    ASYNC(goto_and_back, my) {
    again:
        FOR_AWAIT(my->i, CALL(numbers, .to = 10)) {
            say_number(my->i);
            if (my->i == 1 && my->rounds++ < 2)
                goto again;
            if (my->i == 1)
                break;
        }
        AWAIT(coil_sleep(0));
        say("a");
    }
}

// A loop that was left by goto and comes again begins a new generator.
TEST(coroutine_begins_a_generator_again_after_goto)
{
    CHECK_INT(RUN(goto_and_back), 0);
    CHECK_STR(said, "010101GGGa");
}

COROUTINE(wait_in_generator,)
{
    ASYNC(wait_in_generator, my) {
        YIELD(1);
        AWAIT(coil_sleep(FOR_EVER));
        YIELD(2);

    FINALLY;
        AWAIT(coil_sleep(0));
        say("G");
    }
}

COROUTINE(consume, int i;)
{
    ASYNC(consume, my) {
        FOR_AWAIT(my->i, CALL(wait_in_generator))
            say_number(my->i);
        say("!");

    FINALLY;
        say("F");
    }
}

TEST(coroutine_cancelled_while_its_generator_waits)
{
    open_loop();
    struct coil_task *t = SPAWN(consume);
    pass();
    CHECK_STR(said, "1");
    coil_task_cancel(t);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(error_of(t), -ECANCELED);
    CHECK_STR(said, "1GF");
    coil_loop_close(loop);
    CHECK_INT(reported.n, 0);
}

COROUTINE(cancel_before_loop, int i;)
{
    ASYNC(cancel_before_loop, my) {
        coil_task_cancel(coil_task_current());
        FOR_AWAIT(my->i, CALL(numbers, .to = 3))
            say("!");
        say("!");

    FINALLY;
        say("F");
    }
}

// The request strikes before anything is begun.
TEST(coroutine_cancelled_before_its_generator_begins)
{
    CHECK_INT(RUN(cancel_before_loop), -ECANCELED);
    CHECK_STR(said, "GF");
}

COROUTINE(generator_in_place, struct numbers numbers; int i;)
{
    ASYNC(generator_in_place, my) {
        FOR_AWAIT(my->i, CALL_IN(&my->numbers, numbers, .to = 3)) {
            CHECK_INT(my->numbers.i, my->i);
            AWAIT(coil_sleep(0));
        }
        FOR_AWAIT(my->i, CALL_IN(&my->numbers, numbers, .to = 3,
                                 .finally_waits = true))
            break;
        JOIN();
        CHECK_STR(said, "GG");
        FOR_AWAIT(my->i, CALL_IN(&my->numbers, numbers, .to = 2, .wait = true))
            say_number(my->i);
    }
}

TEST(coroutine_runs_through_a_generator_in_place)
{
    CHECK_INT(RUN(generator_in_place), 0);
    CHECK_STR(said, "GG01G");
}

COROUTINE(leave_failing_generator, int i;)
{
    ASYNC(leave_failing_generator, my) {
        FOR_AWAIT(my->i, CALL(numbers, .to = 3, .finally_fails = -EIO))
            break;
        JOIN();
        say_number(my->i);
        FOR_AWAIT(my->i, CALL(numbers, .to = 1, .finally_fails = -EPERM))
            say_number(my->i);
        say("!");
    }
}

// An error after the last item is the loop's. One that was left early has its
// first error already, that it was cancelled; nobody is bothered with others.
TEST(coroutine_error_in_the_finally_of_a_generator)
{
    CHECK_INT(RUN_REPORTING(leave_failing_generator), -EPERM);
    CHECK_STR(said, "G00G");
    CHECK_INT(reported.n, 0);
}

COROUTINE(small_items, signed char c; int turns;)
{
    ASYNC(small_items, my) {
        my->c = 5;
        FOR_AWAIT(my->c, CALL(numbers, .from = 126, .to = 130))
            my->turns++;

    FINALLY;
        CHECK_INT(my->turns, 2);
        CHECK_INT(my->c, 127);
    }
}

TEST(coroutine_item_that_does_not_fit_overflows)
{
    CHECK_INT(RUN_REPORTING(small_items), -EOVERFLOW);
    CHECK_STR(said, "G");
}

COROUTINE(wrong_items, const char *text;)
{
    ASYNC(wrong_items, my) {
        FOR_AWAIT(my->text, CALL(numbers, .to = 2))
            continue;
    }
}

DEATH_TEST(coroutine_item_of_another_kind_aborts,
           "the value is an integer, the variable holds a pointer: make "
           "it an integer")
{
    RUN(wrong_items);
}

COROUTINE(all_kinds_of_items, int i;)
{
    ASYNC(all_kinds_of_items, my) {
        YIELD(2.5);
        YIELD(-1.5f);
    }
}

COROUTINE(zero_item, int i;)
{
    ASYNC(zero_item, my) {
        YIELD(0);
    }
}

COROUTINE(pointers, int i;)
{
    ASYNC(pointers, my) {
        for (my->i = 0; my->i < 3; my->i++)
            YIELD(&said[my->i]);
        YIELD(NULL);
    }
}

COROUTINE(large_items,)
{
    ASYNC(large_items, my) {
        YIELD(UINT64_MAX);
        YIELD((uint64_t)1 << 63);
        YIELD(0);
    }
}

COROUTINE(take_all_kinds, double d, sum; char *p; int n; uint64_t u, all;)
{
    ASYNC(take_all_kinds, my) {
        FOR_AWAIT(my->d, CALL(all_kinds_of_items))
            my->sum += my->d;
        CHECK(my->sum == 1.0);
        FOR_AWAIT(my->p, CALL(pointers))
            CHECK(my->p == (my->n < 3 ? said + my->n++ : NULL));
        CHECK_INT(my->n, 3);
        FOR_AWAIT(my->u, CALL(large_items))
            my->all += my->u;
        CHECK(my->all == UINT64_MAX / 2);
        my->p = said;
        FOR_AWAIT(my->p, CALL(zero_item))
            CHECK(my->p == NULL);
        CHECK(my->p == NULL);
        FOR_AWAIT(my->d, CALL(zero_item))
            CHECK(my->d == 0.0);
        CHECK(my->d == 0.0);
    }
}

TEST(coroutine_yields_any_kind_of_word)
{
    CHECK_INT(RUN(take_all_kinds), 0);
}

COROUTINE(iterate_a_future, int i;)
{
    ASYNC(iterate_a_future, my) {
        fprintf(stderr, "loop at %d\n", __LINE__ + 1);
        FOR_AWAIT(my->i, coil_future_from_int(1))
            say("!");
    }
}

DEATH_TEST(coroutine_loop_over_what_is_no_generator_aborts,
           "loop at ([0-9]+)\ncoil: FOR_AWAIT wants a generator: AWAIT "
           "this one")
{
    RUN(iterate_a_future);
}

COROUTINE(iterate_nothing, int i;)
{
    ASYNC(iterate_nothing, my) {
        FOR_AWAIT(my->i, coil_future_from_nomem())
            say("!");

    FINALLY;
        say("F");
        FOR_AWAIT(my->i, coil_future_from_nomem())
            say("!");
        say("f");
    }
}

// What CALL gives without memory.
TEST(coroutine_loop_over_a_failed_call_fails)
{
    CHECK_INT(RUN(iterate_nothing), -ENOMEM);
    CHECK_STR(said, "Ff");
}

COROUTINE(await_a_generator, bool spawn; int n;)
{
    ASYNC(await_a_generator, my) {
        if (my->spawn)
            AWAIT(SPAWN(numbers, .to = 2));
        else
            AWAIT(CALL(numbers, .to = 2));
    }
}

DEATH_TEST(coroutine_yield_to_an_await_aborts,
           "YIELD in a coroutine that no FOR_AWAIT runs\n    in numbers at ")
{
    RUN(await_a_generator);
}

DEATH_TEST(coroutine_yield_in_a_task_aborts,
           "YIELD in a coroutine that no FOR_AWAIT runs\n    in numbers at ")
{
    RUN(await_a_generator, .spawn = true);
}

COROUTINE(iterate_twice, struct coil_future *generator; int i;)
{
    ASYNC(iterate_twice, my) {
        my->generator = CALL(numbers, .to = 5);
        FOR_AWAIT(my->i, my->generator) {
            fprintf(stderr, "loop at %d\n", __LINE__ + 1);
            FOR_AWAIT(my->i, my->generator)
                continue;
        }
    }
}

DEATH_TEST(coroutine_generator_used_twice_aborts,
           "loop at ([0-9]+)\ncoil: a generator is used twice, or after "
           "its end: CALL it anew\n    in iterate_twice at .*test_coroutine.c:\\1$")
{
    RUN(iterate_twice);
}

COROUTINE(iterate_in_finally, int i, fail;)
{
    ASYNC(iterate_in_finally, my) {

    FINALLY;
        FOR_AWAIT(my->i, CALL(numbers, .to = 3, .fail = my->fail, .wait = true))
            say_number(my->i);
        FOR_AWAIT(my->i, CALL(numbers, .to = 3))
            break;
        say("f");
    }
}

TEST(coroutine_runs_through_a_generator_in_finally)
{
    CHECK_INT(RUN(iterate_in_finally), 0);
    CHECK_INT(RUN(iterate_in_finally, .fail = -EIO), -EIO);
    CHECK_STR(said, "012GfG012GfG");
}

COROUTINE(generate_with_children,)
{
    ASYNC(generate_with_children, my) {
        SPAWN(wait_for_ever);
        AWAIT(coil_sleep(0));
        YIELD(1);

    FINALLY;
        say("G");
    }
}

COROUTINE(leave_with_children, int i;)
{
    ASYNC(leave_with_children, my) {
        FOR_AWAIT(my->i, CALL(generate_with_children))
            break;
        say("a");

    FINALLY;
        say("F");
    }
}

// It ends as any coroutine does: its children first, then its FINALLY.
TEST(coroutine_leaves_a_generator_that_has_children)
{
    CHECK_INT(RUN(leave_with_children), 0);
    CHECK_STR(said, "bafGF");
}

COROUTINE(goto_in_finally, int i;)
{
    ASYNC(goto_in_finally, my) {

    FINALLY;
        FOR_AWAIT(my->i, CALL(numbers, .to = 3, .finally_waits = true))
            goto out;
    out:
        say("f");
    }
}

TEST(coroutine_leaves_a_generator_in_finally_by_goto)
{
    CHECK_INT(RUN(goto_in_finally), 0);
    CHECK_STR(said, "fG");
}

COROUTINE(cancel_and_yield,)
{
    ASYNC(cancel_and_yield, my) {
        CHECK(coil_task_cancel(coil_task_current()));
        YIELD(1);
        YIELD(2);

    FINALLY;
        say("G");
    }
}

COROUTINE(consume_a_request, int i;)
{
    ASYNC(consume_a_request, my) {
        FOR_AWAIT(my->i, CALL(cancel_and_yield)) {
            say_number(my->i);
            AWAIT(coil_sleep(0));
            say("!");
        }

    FINALLY;
        say("F");
    }
}

// It is the task's: it strikes the next await, whoever makes that.
TEST(coroutine_request_that_a_generator_met_goes_on_with_the_item)
{
    CHECK_INT(RUN(consume_a_request), -ECANCELED);
    CHECK_STR(said, "1GF");
}

COROUTINE(count_through, int i, n; uint64_t before;)
{
    ASYNC(count_through, my) {
        my->before = passes();
        FOR_AWAIT(my->i, CALL(numbers, .to = 10240))
            my->n++;
        CHECK_INT(my->n, 10240);
        // Two steps an item, 1024 steps a pass.
        CHECK(passes() - my->before >= 9);
        CHECK(passes() - my->before <= 21);
    }
}

// An endless generator must not keep everybody else out.
TEST(coroutine_generator_lets_others_run_now_and_then)
{
    CHECK_INT(RUN(count_through), 0);
}

COROUTINE(doubled, int depth, i;)
{
    ASYNC(doubled, my) {
        if (my->depth == 0)
            YIELD(1);
        else
            FOR_AWAIT(my->i, CALL(doubled, .depth = my->depth - 1)) {
                YIELD(my->i);
                YIELD(my->i + 1);
            }
    }
}

COROUTINE(sum_up, int depth, i, n; int64_t sum;)
{
    ASYNC(sum_up, my) {
        FOR_AWAIT(my->i, CALL(doubled, .depth = my->depth)) {
            my->n++;
            my->sum += my->i;
        }
        CHECK_INT(my->n, 1 << my->depth);
        RETURN(my->sum);
    }
}

// "yield from", ten deep.
TEST(coroutine_generator_of_a_generator)
{
    int64_t sum = 0;
    CHECK_INT(RUN_TO(sum, sum_up, .depth = 10), 0);
    // Each level doubles the items and adds half of their number.
    CHECK_INT(sum, 1024 + 10 * 512);
}

COROUTINE(slow_finally_generator,)
{
    ASYNC(slow_finally_generator, my) {
        YIELD(1);

    FINALLY;
        say("g");
        AWAIT(coil_sleep(FOR_EVER));
        say("G");
    }
}

COROUTINE(leave_slow_generator, struct coil_semaphore sem; int i;)
{
    ASYNC(leave_slow_generator, my) {
        // Other things that belong to it must not be taken for generators.
        coil_semaphore_init(&my->sem, 2);
        HOLD(&my->sem);
        WITHIN(FOR_EVER) {
            SPAWN(work);
            FOR_AWAIT(my->i, CALL(slow_finally_generator))
                break;
            say("a");
        }

    FINALLY;
        say("F");
    }
}

// It may take its time; a second request cuts that short, as with any child.
TEST(coroutine_cancelled_while_a_generator_is_closing)
{
    open_loop();
    struct coil_task *t = SPAWN(leave_slow_generator);
    for (int i = 0; i < 4; i++)
        pass();
    CHECK_STR(said, "ag");
    CHECK(!coil_task_done(t));
    coil_task_cancel(t);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_STR(said, "agGF");
    coil_loop_close(loop);
}

COROUTINE(hurried_numbers, int i;)
{
    ASYNC(hurried_numbers, my) {
        WITHIN(1) {
            for (;;) {
                YIELD(my->i++);
                AWAIT(coil_sleep(0));
            }
        }

    FINALLY;
        say("G");
    }
}

COROUTINE(consume_slowly, int i, err;)
{
    ASYNC(consume_slowly, my) {
        FOR_AWAIT(my->i, CALL(hurried_numbers)) {
            say_number(my->i);
            TRY_ALL(my->err) AWAIT(coil_sleep(COIL_MS(2)));
            CHECK_INT(my->err, 0);
        }
        say("!");

    FINALLY;
        say("F");
    }
}

// The generator's deadline is not its consumer's.
TEST(coroutine_deadline_of_a_generator_is_its_own)
{
    CHECK_INT(RUN(consume_slowly), -ETIMEDOUT);
    CHECK_STR(said, "0GF");
}

COROUTINE(hurried_generator, struct coil_future *future; int i;)
{
    ASYNC(hurried_generator, my) {
        WITHIN(COIL_MS(1)) {
            AWAIT(coil_future_ref(my->future));
            YIELD(1);
            AWAIT(coil_sleep(FOR_EVER));
        }

    FINALLY;
        say("G");
    }
}

COROUTINE(set_late, struct coil_future *future;)
{
    ASYNC(set_late, my) {
        AWAIT(coil_sleep(COIL_MS(1)));
        // Woken with its value in the pass in which its deadline strikes.
        coil_future_set_int(my->future, 1);
    }
}

COROUTINE(consume_struck, struct coil_future *future; int i, err;)
{
    ASYNC(consume_struck, my) {
        my->future = coil_future_new();
        SPAWN(set_late, .future = my->future);
        FOR_AWAIT(my->i, CALL(hurried_generator, .future = my->future)) {
            TRY_ALL(my->err) AWAIT(coil_sleep(0));
            CHECK_INT(my->err, 0);
            say_number(my->i);
        }

    FINALLY;
        say("F");
        coil_future_cancel(my->future);
        coil_future_unref(my->future);
    }
}

// Whichever of the two comes first: the consumer is not cancelled by it.
TEST(coroutine_deadline_that_struck_before_a_yield_stays_with_the_generator)
{
    int with_item = 0;
    for (int i = 0; i < 20; i++) {
        said[0] = '\0';
        int err = RUN(consume_struck);
        CHECK_INT(err, -ETIMEDOUT);
        with_item += strcmp(said, "1GF") == 0;
        CHECK(strcmp(said, "1GF") == 0 || strcmp(said, "GF") == 0);
    }
    test_note("%d with an item", with_item);
}

/* --- HOLD ------------------------------------------------------------------*/

COROUTINE(hold_some, struct coil_semaphore *sem; struct coil_lock *lock;
          enum ending how;)
{
    ASYNC(hold_some, my) {
        HOLD(my->sem);
        HOLD(my->lock);
        say("h");
        CHECK_INT(coil_semaphore_value(my->sem), 0);
        CHECK(coil_lock_locked(my->lock));
        if (my->how == RETURNED)
            RETURN(1);
        if (my->how == FAILED)
            FAIL(-EPERM);
        if (my->how == CANCELLED)
            AWAIT(coil_sleep(FOR_EVER));
        if (my->how == BREAK)
            break;

    FINALLY;
        // Still held, also over an await.
        AWAIT(coil_sleep(0));
        if (my->how != CONTINUE)
            CHECK(coil_lock_locked(my->lock));
        say("F");
    }
}

TEST(coroutine_releases_what_it_holds_however_it_ends)
{
    static const enum ending endings[] = { FALL_OFF, RETURNED, FAILED, BREAK,
                                           CANCELLED };
    struct coil_semaphore sem;
    struct coil_lock lock;
    coil_semaphore_init(&sem, 1);
    coil_lock_init(&lock);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        said[0] = '\0';
        open_loop();
        struct coil_task *t = SPAWN(hold_some, .sem = &sem, .lock = &lock,
                                    .how = endings[i]);
        pass();
        coil_task_cancel(t);
        CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
        CHECK_STR(said, "hF");
        CHECK_INT(coil_semaphore_value(&sem), 1);
        CHECK(!coil_lock_locked(&lock));
        coil_loop_close(loop);
    }
}

TEST(coroutine_cancelled_while_it_waits_to_hold_has_nothing)
{
    struct coil_semaphore sem;
    struct coil_lock lock;
    coil_semaphore_init(&sem, 1);
    coil_lock_init(&lock);
    open_loop();
    CHECK_INT(coil_lock_acquire_nowait(&lock), 0);
    struct coil_task *t = SPAWN(hold_some, .sem = &sem, .lock = &lock,
                                .how = CONTINUE);
    pass();
    CHECK_INT(coil_semaphore_value(&sem), 0);
    coil_task_cancel(t);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_STR(said, "F");
    CHECK_INT(coil_semaphore_value(&sem), 1);
    CHECK(coil_lock_locked(&lock));
    coil_lock_release(&lock);
    coil_loop_close(loop);
}

// Handed over, and cancelled before it ran: it has it, and gives it back.
TEST(coroutine_cancelled_when_it_was_granted_gives_it_back)
{
    struct coil_semaphore sem;
    struct coil_lock lock;
    coil_semaphore_init(&sem, 1);
    coil_lock_init(&lock);
    open_loop();
    CHECK_INT(coil_lock_acquire_nowait(&lock), 0);
    struct coil_task *t = SPAWN(hold_some, .sem = &sem, .lock = &lock,
                                .how = CANCELLED);
    pass();
    coil_lock_release(&lock);
    coil_task_cancel(t);
    CHECK(coil_lock_locked(&lock));
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(error_of(t), -ECANCELED);
    CHECK_STR(said, "hF");
    CHECK_INT(coil_semaphore_value(&sem), 1);
    CHECK(!coil_lock_locked(&lock));
    coil_loop_close(loop);
}

COROUTINE(release_early, struct coil_semaphore sem; struct coil_lock lock;)
{
    ASYNC(release_early, my) {
        coil_semaphore_init(&my->sem, 1);
        coil_lock_init(&my->lock);
        HOLD(&my->sem);
        HOLD(&my->lock);
        RELEASE(&my->sem);
        CHECK_INT(coil_semaphore_value(&my->sem), 1);
        CHECK(coil_lock_locked(&my->lock));
        HOLD(&my->sem);
        CHECK_INT(coil_semaphore_value(&my->sem), 0);
        RELEASE(&my->lock);
        RELEASE(&my->sem);
        CHECK_INT(coil_semaphore_value(&my->sem), 1);
        HOLD(&my->sem);

    FINALLY;
        // What was released is not released again; in FINALLY it may be, too.
        RELEASE(&my->sem);
        CHECK_INT(coil_semaphore_value(&my->sem), 1);
        CHECK(!coil_lock_locked(&my->lock));
    }
}

TEST(coroutine_releases_early_and_holds_again)
{
    CHECK_INT(RUN(release_early), 0);
}

COROUTINE(hold_twice, struct coil_semaphore *sem;)
{
    ASYNC(hold_twice, my) {
        HOLD(my->sem);
        HOLD(my->sem);
    }
}

// With one permit left it would wait for itself.
DEATH_TEST(coroutine_hold_of_what_it_holds_aborts,
           "HOLD or WITH of what this coroutine holds already\n    "
           "in hold_twice at ")
{
    struct coil_semaphore sem;
    coil_semaphore_init(&sem, 5);
    RUN(hold_twice, .sem = &sem);
}

COROUTINE(release_unheld, struct coil_semaphore *sem; bool held_before;)
{
    ASYNC(release_unheld, my) {
        if (my->held_before) {
            HOLD(my->sem);
            RELEASE(my->sem);
        }
        RELEASE(my->sem);
    }
}

DEATH_TEST(coroutine_release_of_what_it_does_not_hold_aborts,
           "does not hold: HOLD it\n    in release_unheld at ")
{
    struct coil_semaphore sem;
    coil_semaphore_init(&sem, 1);
    RUN(release_unheld, .sem = &sem);
}

DEATH_TEST(coroutine_release_of_what_it_released_aborts,
           "does not hold: HOLD it\n    in release_unheld at ")
{
    struct coil_semaphore sem;
    coil_semaphore_init(&sem, 1);
    RUN(release_unheld, .sem = &sem, .held_before = true);
}

COROUTINE(hold_with_failure, int err;)
{
    ASYNC(hold_with_failure, my) {
        static char a[] = "a", b[] = "b";
        HOLD_WITH(a, say_released, CALL(work, .passes = 2));
        HOLD_WITH(b, say_released, CALL(work, .passes = 1, .err = -EIO));
        say("!");

    FINALLY;
        say("F");
    }
}

TEST(coroutine_releases_only_what_it_got)
{
    CHECK_INT(RUN(hold_with_failure), -EIO);
    CHECK_STR(said, "Fa");
}

static void start_a_task(void *object)
{
    (void)object;
    say("r");
    CHECK_INT(START(work, .passes = 2, .word = "w"), 0);
}

COROUTINE(hold_what_starts_a_task,)
{
    ASYNC(hold_what_starts_a_task, my) {
        HOLD_WITH(said, start_a_task, coil_future_from_int(0));
        say("b");
    }
}

// The coroutine is over: what a release starts is the loop's.
TEST(coroutine_release_may_start_a_task)
{
    open_loop();
    struct coil_task *t = SPAWN(hold_what_starts_a_task);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    coil_task_drop(&t);
    CHECK_STR(said, "br");
    CHECK_INT(tasks(), 1);
    for (int i = 0; i < 4; i++)
        pass();
    CHECK_STR(said, "brw");
    coil_loop_close(loop);
}

/* --- WITHIN ----------------------------------------------------------------*/

COROUTINE(be_within, int64_t ns, sleep; int then; int err; bool catch;)
{
    ASYNC(be_within, my) {
        WITHIN(my->ns) {
            if (my->catch) {
                TRY_ALL(my->err) AWAIT(coil_sleep(my->sleep));
                CHECK_INT(my->err, -ECANCELED);
                RETURN(3);
            }
            AWAIT(coil_sleep(my->sleep));
            if (my->then)
                FAIL(my->then);
            say("e");
            RETURN(2);
        }

    FINALLY;
        AWAIT(coil_sleep(COIL_MS(1)));
        say("F");
    }
}

TEST(coroutine_times_out)
{
    int n = 0;
    CHECK_INT(RUN_TO(n, be_within, .ns = COIL_MS(1), .sleep = FOR_EVER),
              -ETIMEDOUT);
    CHECK_STR(said, "F");
    CHECK_INT(RUN_TO(n, be_within, .ns = FOR_EVER, .sleep = 1), 0);
    CHECK_INT(n, 2);
    CHECK_INT(RUN_TO(n, be_within, .ns = COIL_NEVER, .sleep = 1), 0);
    CHECK_STR(said, "FeFeF");
    CHECK_INT(RUN(be_within, .ns = FOR_EVER, .sleep = 1, .then = -EPERM),
              -EPERM);
}

COROUTINE(end_before_deadline, int64_t sleep; int err;)
{
    ASYNC(end_before_deadline, my) {
        WITHIN(COIL_MS(5)) {
            if (my->sleep)
                AWAIT(coil_sleep(my->sleep));
            RETURN(6);
        }

    FINALLY;
        TRY_AWAIT(my->err, coil_sleep(COIL_MS(10)));
        CHECK_INT(my->err, 0);
        say("F");
    }
}

// The body was in time; its cleanup has all the time it needs.
TEST(coroutine_deadline_is_off_in_finally)
{
    int n = 0;
    CHECK_INT(RUN_TO(n, end_before_deadline), 0);
    CHECK_INT(n, 6);
    CHECK_INT(RUN(end_before_deadline, .sleep = FOR_EVER), -ETIMEDOUT);
    CHECK_STR(said, "FF");
}

// Who catches the cancellation and goes on has not timed out.
TEST(coroutine_that_catches_its_timeout_returns)
{
    int n = 0;
    CHECK_INT(RUN_TO(n, be_within, .ns = COIL_MS(1), .sleep = FOR_EVER,
                     .catch = true), 0);
    CHECK_INT(n, 3);
}

COROUTINE(be_quick, int64_t ns; int i;)
{
    ASYNC(be_quick, my) {
        WITHIN(my->ns) {
            for (my->i = 0; my->i < 3; my->i++)
                AWAIT(coil_sleep(0));
            say("!");
        }

    FINALLY;
        CHECK(my->i <= 1);
    }
}

// Also in a loop that never looks at the clock.
TEST(coroutine_deadline_of_0_strikes_in_the_next_pass)
{
    CHECK_INT(RUN(be_quick, .ns = 0), -ETIMEDOUT);
    CHECK_INT(RUN(be_quick, .ns = -1), -ETIMEDOUT);
    CHECK_INT(RUN(be_quick, .ns = INT64_MIN), -ETIMEDOUT);
    CHECK_STR(said, "");
}

COROUTINE(within_within, int64_t outer, inner; int err; bool try;)
{
    ASYNC(within_within, my) {
        WITHIN(my->outer) {
            if (my->try) {
                TRY_AWAIT(my->err, CALL(be_within, .ns = my->inner,
                                        .sleep = FOR_EVER));
                CHECK_INT(my->err, -ETIMEDOUT);
                say("c");
                RETURN(1);
            }
            AWAIT(CALL(be_within, .ns = my->inner, .sleep = FOR_EVER));
            say("!");
        }
    }
}

TEST(coroutine_inner_deadline_is_an_error_for_the_outer_one)
{
    CHECK_INT(RUN(within_within, .outer = FOR_EVER, .inner = COIL_MS(1),
                  .try = true), 0);
    CHECK_STR(said, "Fc");
    CHECK_INT(RUN(within_within, .outer = FOR_EVER, .inner = COIL_MS(1)),
              -ETIMEDOUT);
}

// TRY catches what others do; the deadline of this coroutine is its own.
TEST(coroutine_outer_deadline_is_not_caught_inside)
{
    CHECK_INT(RUN(within_within, .outer = COIL_MS(1), .inner = FOR_EVER,
                  .try = true), -ETIMEDOUT);
    CHECK_STR(said, "F");
}

// Both strike in one pass: the outer one times out, once.
TEST(coroutine_two_deadlines_at_once)
{
    CHECK_INT(RUN(within_within, .outer = 0, .inner = 0), -ETIMEDOUT);
    CHECK_INT(RUN(within_within, .outer = COIL_MS(1), .inner = COIL_MS(1)),
              -ETIMEDOUT);
}

TEST(coroutine_cancelled_before_its_deadline_is_cancelled)
{
    open_loop();
    struct coil_task *t = SPAWN(be_within, .ns = COIL_MS(1),
                                .sleep = FOR_EVER);
    pass();
    coil_task_cancel(t);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(error_of(t), -ECANCELED);
    coil_loop_close(loop);
}

COROUTINE(narrow_down, int64_t first, second;)
{
    ASYNC(narrow_down, my) {
        WITHIN(my->first) {
            WITHIN(my->second)
                AWAIT(coil_sleep(FOR_EVER));
        }
    }
}

TEST(coroutine_with_two_deadlines_keeps_the_earlier_one)
{
    CHECK_INT(RUN(narrow_down, .first = COIL_MS(1), .second = FOR_EVER),
              -ETIMEDOUT);
    CHECK_INT(RUN(narrow_down, .first = FOR_EVER, .second = COIL_MS(1)),
              -ETIMEDOUT);
    CHECK_INT(RUN(narrow_down, .first = 0, .second = 0), -ETIMEDOUT);
}

COROUTINE(bound_the_cleanup, int body;)
{
    ASYNC(bound_the_cleanup, my) {
        WITHIN(COIL_MS(1)) {
            if (my->body)
                FAIL(my->body);
        }

    FINALLY;
        WITHIN(COIL_MS(1)) {
            AWAIT(coil_sleep(FOR_EVER));
            say("f");
        }
    }
}

COROUTINE(call_bounded, int body, err;)
{
    ASYNC(call_bounded, my) {
        TRY_AWAIT(my->err, CALL(bound_the_cleanup, .body = my->body));
        CHECK_INT(my->err, my->body ? my->body : -ETIMEDOUT);
        AWAIT(coil_sleep(0));
        say("c");
    }
}

// Cleanup that must not take for ever; its own deadline is its own matter.
TEST(coroutine_deadline_in_finally)
{
    CHECK_INT(RUN(bound_the_cleanup), -ETIMEDOUT);
    CHECK_INT(RUN(bound_the_cleanup, .body = -EIO), -EIO);
    CHECK_INT(RUN(call_bounded), 0);
    CHECK_INT(RUN(call_bounded, .body = -EIO), 0);
    CHECK_STR(said, "fffcfc");
}

/* --- What it costs ---------------------------------------------------------*/

static uintptr_t stack_low = UINTPTR_MAX, stack_high;

static void note_stack(void)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    stack_low = here < stack_low ? here : stack_low;
    stack_high = here > stack_high ? here : stack_high;
}

COROUTINE(dig, int depth, below; bool stay;)
{
    ASYNC(dig, my) {
        note_stack();
        if (my->depth > 0)
            AWAIT_TO(my->below, CALL(dig, .depth = my->depth - 1,
                                     .stay = my->stay));
        else if (my->stay)
            AWAIT(coil_sleep(FOR_EVER));
        else
            AWAIT(coil_sleep(0));
        note_stack();
        RETURN(my->below + 1);
    }
}

// Down, and up again, the C stack holds one step at a time.
TEST(coroutine_calls_nest_100000_deep)
{
    int n = 0;
    CHECK_INT(RUN_TO(n, dig, .depth = 100000), 0);
    CHECK_INT(n, 100001);
    CHECK(stack_high - stack_low < 16384);
}

TEST(coroutine_100000_deep_is_cancelled)
{
    open_loop();
    struct coil_task *t = SPAWN(dig, .depth = 100000, .stay = true);
    pass();
    CHECK(coil_task_cancel(t));
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    CHECK_INT(error_of(t), -ECANCELED);
    CHECK(stack_high - stack_low < 16384);
    coil_loop_close(loop);
}

COROUTINE(pass_down, int depth;)
{
    ASYNC(pass_down, my) {
        note_stack();
        if (my->depth == 0)
            RETURN(-5);
        RETURN_AWAIT(CALL(pass_down, .depth = my->depth - 1));
    }
}

TEST(coroutine_passes_results_up_100000_deep)
{
    int n = 0;
    CHECK_INT(RUN_TO(n, pass_down, .depth = 100000), 0);
    CHECK_INT(n, -5);
    CHECK(stack_high - stack_low < 16384);
}

COROUTINE(await_what_is_done, int n, i; bool calls; uint64_t before;)
{
    ASYNC(await_what_is_done, my) {
        my->before = passes();
        for (my->i = 0; my->i < my->n; my->i++) {
            if (my->calls)
                AWAIT(CALL(work));
            else
                AWAIT(coil_future_from_int(1));
        }
        RETURN(passes() - my->before);
    }
}

// What is done does not suspend; but once in 1024 times it lets others run.
TEST(coroutine_1024_awaits_of_what_is_done_cost_one_pass)
{
    for (int calls = 0; calls < 2; calls++) {
        int cost = -1;
        CHECK_INT(RUN_TO(cost, await_what_is_done, .n = 1000, .calls = calls),
                  0);
        CHECK_INT(cost, 0);
        CHECK_INT(RUN_TO(cost, await_what_is_done, .n = 1024, .calls = calls),
                  0);
        CHECK_INT(cost, 1);
        CHECK_INT(RUN_TO(cost, await_what_is_done, .n = 10300, .calls = calls),
                  0);
        CHECK_INT(cost, 10);
    }
}

/* --- Frames ----------------------------------------------------------------*/

#define FRAME(bytes) \
    COROUTINE(frame_##bytes, unsigned char room[bytes]; int i;) \
    { \
        ASYNC(frame_##bytes, my) { \
            for (my->i = 0; my->i < (bytes); my->i++) \
                my->room[my->i] = (unsigned char)(my->i * 7 + 1); \
            AWAIT(coil_sleep(0)); \
            for (my->i = 0; my->i < (bytes); my->i++) \
                CHECK_INT(my->room[my->i], (unsigned char)(my->i * 7 + 1)); \
        } \
    }

FRAME(1)
FRAME(15)
FRAME(16)
FRAME(17)
FRAME(100)
FRAME(900)
FRAME(932)
FRAME(933)
FRAME(936)
FRAME(937)
FRAME(1000)
FRAME(3000)
FRAME(4004)
FRAME(4005)
FRAME(9000)
FRAME(16316)

COROUTINE(spawn_frames, int round;)
{
    ASYNC(spawn_frames, my) {
        for (my->round = 0; my->round < 20; my->round++) {
            SPAWN(frame_1), SPAWN(frame_15), SPAWN(frame_16), SPAWN(frame_17);
            SPAWN(frame_100), SPAWN(frame_900), SPAWN(frame_932);
            SPAWN(frame_933), SPAWN(frame_936), SPAWN(frame_937);
            SPAWN(frame_1000), SPAWN(frame_3000), SPAWN(frame_4004);
            SPAWN(frame_4005), SPAWN(frame_9000), SPAWN(frame_16316);
            JOIN();
        }
    }
}

// Around each size at which the allocator changes its mind.
TEST(coroutine_frames_of_all_sizes)
{
    _Static_assert(sizeof(struct frame_16316) == COIL_FRAME_BYTES_MAX,
                   "the largest frame there may be");
    CHECK_INT(RUN(spawn_frames), 0);
}

COROUTINE(wide, _Alignas(16) unsigned char room[16]; long double number;)
{
    ASYNC(wide, my) {
        CHECK_INT((uintptr_t)my->room & 15, 0);
        my->number = 1.5L;
        AWAIT(coil_sleep(0));
        CHECK(my->number == 1.5L);
    }
}

COROUTINE(spawn_wide, struct wide in_place; int i;)
{
    ASYNC(spawn_wide, my) {
        for (my->i = 0; my->i < 20; my->i++) {
            SPAWN(wide);
            SPAWN(work);
            AWAIT(CALL(wide));
            AWAIT(CALL_IN(&my->in_place, wide));
            coil_discard(CALL(wide));
            JOIN();
        }
    }
}

// For SSE, and long double.
TEST(coroutine_frames_aligned_to_16_bytes)
{
    static char arena[64 * 1024];
    struct coil_loop_options options = reporting;
    CHECK_INT(RUN_WITH(&options, spawn_wide), 0);
    options.arena = arena + 8;
    options.arena_bytes = sizeof arena - 8;
    CHECK_INT(RUN_WITH(&options, spawn_wide), 0);
    CHECK_INT(reported.n, 0);
}

/* --- RUN -------------------------------------------------------------------*/

static int evaluated;

static int evaluate(int value)
{
    evaluated++;
    return value;
}

// Its arguments are evaluated once, in whatever way it fails.
TEST(coroutine_run_without_a_loop_says_why)
{
    static char arena[64];
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.arena = arena;
    options.arena_bytes = sizeof arena;
    CHECK_INT(RUN_WITH(&options, work, .value = evaluate(1)), -ENOMEM);
    CHECK_INT(evaluated, 1);
    CHECK(coil_loop_current() == NULL);
    // And the next one does not remember.
    int n = 0;
    CHECK_INT(RUN_TO(n, work, .value = evaluate(4)), 0);
    CHECK_INT(n, 4);
    CHECK_INT(evaluated, 2);
}

TEST(coroutine_run_leaves_the_result_alone_when_it_fails)
{
    int n = 7;
    unsigned char small = 7;
    CHECK_INT(RUN_TO(n, work, .err = -EIO), -EIO);
    CHECK_INT(n, 7);
    CHECK_INT(RUN_TO(small, work, .value = 256), -EOVERFLOW);
    CHECK_INT(small, 7);
    CHECK_INT(RUN_TO(n, work, .value = INT64_MIN), -EOVERFLOW);
    CHECK_INT(n, 7);
}

TEST(coroutine_run_gives_every_kind)
{
#define CHECK_RUN_TO(type, coroutine, given) \
    do { \
        type got = 0; \
        CHECK_INT(RUN_TO(got, coroutine, .value = (given)), 0); \
        CHECK(got == (given)); \
    } while (0)
    CHECK_RUN_TO(bool, give_int, true);
    CHECK_RUN_TO(char, give_int, 'c');
    CHECK_RUN_TO(signed char, give_int, -7);
    CHECK_RUN_TO(unsigned char, give_int, 255);
    CHECK_RUN_TO(short, give_int, -300);
    CHECK_RUN_TO(unsigned short, give_int, 65535);
    CHECK_RUN_TO(int, give_int, -70000);
    CHECK_RUN_TO(unsigned, give_int, 4000000000u);
    CHECK_RUN_TO(long, give_int, LONG_MIN);
    CHECK_RUN_TO(unsigned long, give_uint, ULONG_MAX);
    CHECK_RUN_TO(long long, give_int, -1);
    CHECK_RUN_TO(unsigned long long, give_uint, ULLONG_MAX);
    CHECK_RUN_TO(float, give_double, 0.5);
    CHECK_RUN_TO(double, give_double, -1e300);
    CHECK_RUN_TO(const void *, give_pointer, said);
}

DEATH_TEST(coroutine_run_by_another_version_aborts,
           "RUN: the program was compiled with headers of another version of "
           "coil: 0.0, frame head 64; the library is 0.1, frame head 64")
{
    coili_run_begin(NULL, COILI_ABI ^ 1 << 16);
}

DEATH_TEST(coroutine_run_with_another_frame_header_aborts,
           "headers of another version of coil")
{
    coili_run_begin(NULL, COILI_ABI + 8);
}

/* --- Traps -----------------------------------------------------------------*/

DEATH_TEST(coroutine_called_without_a_loop_aborts, "this thread has no loop")
{
    coil_discard(CALL(work));
}

DEATH_TEST(coroutine_spawned_without_a_loop_aborts, "this thread has no loop")
{
    SPAWN(work);
}

DEATH_TEST(coroutine_spawned_in_place_without_a_loop_aborts,
           "this thread has no loop")
{
    static struct work place;
    coil_spawn(CALL_IN(&place, work));
}

COROUTINE(await_in_switch, int what; bool done; int i;)
{
    ASYNC(await_in_switch, my) {
        switch (my->what) {
        case 0:
            AWAIT(coil_future_from_int(0));
            if (my->done)
                break;
            fprintf(stderr, "awaits at %d\n", __LINE__ + 1);
            AWAIT(coil_sleep(0));
            break;
        case 1:
            JOIN();
            SPAWN(work);
            JOIN();
            break;
        case 2:
            FOR_AWAIT(my->i, CALL(numbers, .to = 2, .wait = true))
                continue;
            break;
        default:
            break;
        }
        say("e");

    FINALLY;
        if (my->what == 3)
            switch (my->i) {
            default:
                AWAIT(coil_sleep(0));
            }
    }
}

// What need not wait is not resumed, so all is well.
TEST(coroutine_may_await_what_is_done_in_a_switch)
{
    CHECK_INT(RUN(await_in_switch, .done = true), 0);
    CHECK_INT(RUN(await_in_switch, .what = 4), 0);
    CHECK_STR(said, "ee");
}

// The line that is named is that of the await.
DEATH_TEST(coroutine_await_in_a_switch_aborts,
           "awaits at ([0-9]+)\ncoil: an await inside a `switch` of "
           "your own: use `if`\n    in await_in_switch at .*test_coroutine.c:\\1$")
{
    RUN(await_in_switch);
}

DEATH_TEST(coroutine_join_in_a_switch_aborts, "inside a `switch` of your own")
{
    RUN(await_in_switch, .what = 1);
}

DEATH_TEST(coroutine_loop_in_a_switch_aborts, "inside a `switch` of your own")
{
    RUN(await_in_switch, .what = 2);
}

DEATH_TEST(coroutine_await_in_a_switch_in_finally_aborts,
           "inside a `switch` of your own")
{
    RUN(await_in_switch, .what = 3);
}

COROUTINE(return_in_body, bool late;)
{
    ASYNC(return_in_body, my) {
        if (my->late)
            AWAIT(coil_sleep(0));
        return;
    }
}

DEATH_TEST(coroutine_return_in_the_body_aborts,
           "use RETURN\n    in return_in_body at .*test_coroutine.c:[0-9]")
{
    RUN(return_in_body);
}

DEATH_TEST(coroutine_return_in_the_body_after_an_await_aborts, "use RETURN")
{
    RUN(return_in_body, .late = true);
}

struct no_block {
    struct coil_coro coro;
};

static void no_block(struct coil_coro *co)
{
    (void)co;
}

DEATH_TEST(coroutine_without_async_aborts, "use RETURN")
{
    RUN(no_block);
}

COROUTINE(await_twice, struct coil_future *f; struct work place; int how;)
{
    ASYNC(await_twice, my) {
        my->f = my->how == 0 ? CALL_IN(&my->place, work)
                             : coil_future_ref(CALL(work, .passes = 1));
        if (my->how == 2)
            coil_spawn(my->f);
        else
            AWAIT(my->f);
        if (my->how == 3)
            coil_spawn(my->f);
        else
            AWAIT(my->f);
    }
}

DEATH_TEST(coroutine_in_place_awaited_twice_aborts,
           "a coroutine is awaited twice: CALL it anew\n    in await_twice at ")
{
    RUN(await_twice);
}

DEATH_TEST(coroutine_awaited_twice_aborts,
           "a coroutine is awaited twice: CALL it anew\n    in await_twice at ")
{
    RUN(await_twice, .how = 1);
}

DEATH_TEST(coroutine_spawned_and_awaited_aborts, "a coroutine is awaited twice")
{
    RUN(await_twice, .how = 2);
}

DEATH_TEST(coroutine_awaited_and_spawned_aborts, "a coroutine is started twice")
{
    RUN(await_twice, .how = 3);
}

COROUTINE(await_freed, struct coil_future *f; bool plain;)
{
    ASYNC(await_freed, my) {
        my->f = my->plain ? coil_future_from_int(0) : CALL(work, .passes = 1);
        AWAIT(my->f);
        AWAIT(my->f);
    }
}

/* Where each block is a malloc of its own a memory checker sees it. */
static void skip_if_freed_memory_is_gone(void)
{
#ifdef COIL_DEBUG_STACK
    SKIP("built with COIL_DEBUG");
#endif
    if (test_is_slow())
        SKIP("the sanitizer sees it first");
}

// The common form of it: the first await has freed the future.
DEATH_TEST(coroutine_future_awaited_twice_aborts, "awaited twice")
{
    skip_if_freed_memory_is_gone();
    RUN(await_freed, .plain = true);
}

DEATH_TEST(coroutine_call_awaited_twice_aborts, "awaited twice")
{
    skip_if_freed_memory_is_gone();
    RUN(await_freed);
}

COROUTINE(await_dropped, struct coil_task *task, *dropped;)
{
    ASYNC(await_dropped, my) {
        my->dropped = my->task = SPAWN(work);
        AWAIT(my->task);
        coil_task_drop(&my->dropped);
        AWAIT(my->task);
    }
}

DEATH_TEST(coroutine_handle_of_a_task_used_after_its_end_aborts,
           "a task handle is used after its end: .*\n    in await_dropped at ")
{
    skip_if_freed_memory_is_gone();
    RUN(await_dropped);
}

COROUTINE(await_itself, bool deep;)
{
    ASYNC(await_itself, my) {
        if (my->deep)
            AWAIT(CALL(await_itself));
        AWAIT(coil_task_current());
    }
}

DEATH_TEST(coroutine_that_awaits_itself_aborts,
           "a task awaits itself\n    in await_itself at ")
{
    RUN(await_itself);
}

DEATH_TEST(coroutine_called_by_what_it_awaits_aborts, "a task awaits itself")
{
    RUN(await_itself, .deep = true);
}

enum null_await {
    NULL_FUTURE,
    NULL_TASK,
    NULL_TO,
    NULL_TRY,
    NULL_TRY_TO,
    NULL_RETURN,
    NULL_FOR,
    NULL_SPAWN,
    NULL_START
};

/* Says the line of the await that follows it. */
static void say_line(int line)
{
    fprintf(stderr, "awaits at %d\n", line + 1);
}

COROUTINE(await_null, enum null_await how; struct coil_future *f;
          struct coil_task *task; int err, n;)
{
    ASYNC(await_null, my) {
        AWAIT(coil_sleep(0));
        if (my->how == NULL_FUTURE) {
            say_line(__LINE__);
            AWAIT(my->f);
        } else if (my->how == NULL_TASK) {
            say_line(__LINE__);
            AWAIT(my->task);
        } else if (my->how == NULL_TO) {
            say_line(__LINE__);
            AWAIT_TO(my->n, my->task);
        } else if (my->how == NULL_TRY) {
            say_line(__LINE__);
            TRY_AWAIT(my->err, my->f);
        } else if (my->how == NULL_TRY_TO) {
            say_line(__LINE__);
            TRY_AWAIT_TO(my->err, my->n, my->f);
        } else if (my->how == NULL_RETURN) {
            say_line(__LINE__);
            RETURN_AWAIT(my->f);
        } else if (my->how == NULL_FOR) {
            say_line(__LINE__);
            FOR_AWAIT(my->n, my->f)
                continue;
        } else if (my->how == NULL_SPAWN) {
            coil_spawn(my->f);
        } else {
            coil_start(my->f);
        }
    }
}

#define NULL_AWAITED \
    "awaits at ([0-9]+)\n" \
    "coil: AWAIT of NULL: it wants a future or a task\n" \
    "    in await_null at .*test_coroutine.c:\\1$"

// The line is that of the await, not of the one before.
DEATH_TEST(coroutine_await_of_null_aborts, NULL_AWAITED)
{
    RUN(await_null, .how = NULL_FUTURE);
}

// As coil_task_drop() leaves it.
DEATH_TEST(coroutine_await_of_a_null_task_aborts, NULL_AWAITED)
{
    RUN(await_null, .how = NULL_TASK);
}

DEATH_TEST(coroutine_await_to_of_null_aborts, NULL_AWAITED)
{
    RUN(await_null, .how = NULL_TO);
}

DEATH_TEST(coroutine_try_await_of_null_aborts, NULL_AWAITED)
{
    RUN(await_null, .how = NULL_TRY);
}

DEATH_TEST(coroutine_try_await_to_of_null_aborts, NULL_AWAITED)
{
    RUN(await_null, .how = NULL_TRY_TO);
}

DEATH_TEST(coroutine_return_await_of_null_aborts, NULL_AWAITED)
{
    RUN(await_null, .how = NULL_RETURN);
}

DEATH_TEST(coroutine_loop_over_null_aborts, NULL_AWAITED)
{
    RUN(await_null, .how = NULL_FOR);
}

DEATH_TEST(coroutine_spawn_of_null_aborts,
           "a task is made of NULL: .*\n    in await_null at ")
{
    RUN(await_null, .how = NULL_SPAWN);
}

DEATH_TEST(coroutine_start_of_null_aborts,
           "a task is made of NULL: .*\n    in await_null at ")
{
    RUN(await_null, .how = NULL_START);
}

enum in_finally { DO_RETURN, DO_FAIL, DO_YIELD, DO_RETURN_AWAIT };

COROUTINE(misuse_finally, enum in_finally what; int i;)
{
    ASYNC(misuse_finally, my) {

    FINALLY;
        if (my->what == DO_RETURN)
            RETURN(1);
        if (my->what == DO_FAIL)
            FAIL(-EIO);
        if (my->what == DO_YIELD)
            YIELD(1);
        if (my->what == DO_RETURN_AWAIT)
            RETURN_AWAIT(coil_sleep(0));
    }
}

DEATH_TEST(coroutine_return_in_finally_aborts,
           "RETURN or YIELD in FINALLY: put it before")
{
    RUN(misuse_finally, .what = DO_RETURN);
}

DEATH_TEST(coroutine_fail_in_finally_aborts, "FAIL in FINALLY: put it before")
{
    RUN(misuse_finally, .what = DO_FAIL);
}

COROUTINE(iterate_misuse, int i;)
{
    ASYNC(iterate_misuse, my) {
        FOR_AWAIT(my->i, CALL(misuse_finally, .what = DO_YIELD))
            continue;
    }
}

DEATH_TEST(coroutine_yield_in_finally_aborts, "RETURN or YIELD in FINALLY")
{
    RUN(iterate_misuse);
}

DEATH_TEST(coroutine_return_await_in_finally_aborts, "RETURN_AWAIT in FINALLY")
{
    RUN(misuse_finally, .what = DO_RETURN_AWAIT);
}

static struct coil_coro *other;

static void await_for_another(void *arg)
{
    (void)arg;
    coili_await(other, coil_sleep(1), 1);
}

COROUTINE(let_others_await, struct coil_handle handle;)
{
    ASYNC(let_others_await, my) {
        other = co;
        coil_call_soon(&my->handle, await_for_another, NULL);
        AWAIT(coil_sleep(FOR_EVER));
    }
}

// An await in a callback, or in a function that kept `co`.
DEATH_TEST(coroutine_awaited_in_by_others_aborts,
           "an await outside the running coroutine: .*\n"
           "    in let_others_await")
{
    RUN(let_others_await);
}

/* --- Handles on the stack --------------------------------------------------*/

static void never_called(void *arg)
{
    (void)arg;
    CHECK(false);
}

enum lent { SOON, LATER, AT_CLOSE, THREADSAFE, DONE, WAKEUP, LIST, REMOTE };

static void call_remote(struct coil_remote_call *call)
{
    (void)call;
}

static bool is_never(void *arg)
{
    (void)arg;
    return false;
}

/* The handle's memory is that of a step that has returned when it is used. */
COROUTINE(lends_stack, enum lent way; struct coil_future * f;)
{
    ASYNC(lends_stack, my) {
        struct coil_handle h = { 0 };
        struct coil_wakeup wakeup;
        struct coil_waiters list;
        struct coil_remote_call call;
        if (my->way == SOON)
            coil_call_soon(&h, never_called, NULL);
        else if (my->way == LATER)
            (void)!coil_call_later(&h, 1, never_called, NULL);
        else if (my->way == AT_CLOSE)
            coil_call_at_close(&h, never_called, NULL);
        else if (my->way == THREADSAFE)
            coil_call_soon_threadsafe(coil_loop_current(), &h, never_called,
                                      NULL);
        else if (my->way == DONE)
            coil_future_add_done_callback(my->f, &h, never_called, NULL);
        else if (my->way == WAKEUP)
            coil_wakeup_init(&wakeup, never_called, NULL);
        else if (my->way == REMOTE)
            (void)!coil_remote_call_soon(coil_remote_current(), &call,
                                         call_remote);
        coil_waiters_init(&list);
        if (my->way == LIST)
            AWAIT(coil_waiters_wait(&list, "list", is_never, NULL));
    }
}

static void lend_stack(enum lent way)
{
    open_loop();
    SPAWN(lends_stack, .way = way, .f = coil_future_new());
    pass();
    pass();
}

#define HANDLE_ON_STACK "a handle on the stack waits for a call: make it a"

DEATH_TEST(coroutine_call_soon_of_the_stack_aborts, HANDLE_ON_STACK)
{
    lend_stack(SOON);
}

DEATH_TEST(coroutine_call_later_of_the_stack_aborts, HANDLE_ON_STACK)
{
    lend_stack(LATER);
}

DEATH_TEST(coroutine_call_at_close_of_the_stack_aborts, HANDLE_ON_STACK)
{
    lend_stack(AT_CLOSE);
}

DEATH_TEST(coroutine_call_threadsafe_of_the_stack_aborts, HANDLE_ON_STACK)
{
    lend_stack(THREADSAFE);
}

DEATH_TEST(coroutine_done_callback_of_the_stack_aborts, HANDLE_ON_STACK)
{
    lend_stack(DONE);
}

DEATH_TEST(coroutine_wakeup_on_the_stack_aborts, HANDLE_ON_STACK)
{
    lend_stack(WAKEUP);
}

DEATH_TEST(coroutine_list_of_waiters_on_the_stack_aborts,
           "the lock, queue or waiter is on the stack")
{
    lend_stack(LIST);
}

DEATH_TEST(coroutine_remote_call_on_the_stack_aborts,
           "on the stack is lent to an operation")
{
    lend_stack(REMOTE);
}

/* --- Buffers on the stack --------------------------------------------------*/

enum buffer { LOCAL, OF_A_HELPER, OF_A_CALL, OF_MAIN, STATIC, FIELD };

static struct coil_future *read_into_local(int fd)
{
    char local[16];
    return coil_read(fd, local, sizeof local);
}

static char static_buffer[16];

COROUTINE(lend_a_buffer, enum buffer which; int fd; char *of_main;
          char field[16]; int n;)
{
    ASYNC(lend_a_buffer, my) {
        char local[16] = "x";
        if (my->which == LOCAL)
            AWAIT(coil_write(my->fd, local, 1));
        if (my->which == OF_A_HELPER)
            AWAIT(read_into_local(my->fd));
        if (my->which == OF_MAIN)
            AWAIT_TO(my->n, coil_recv(my->fd, my->of_main, 16));
        if (my->which == STATIC)
            AWAIT_TO(my->n, coil_recv(my->fd, static_buffer, 16));
        if (my->which == FIELD)
            AWAIT_TO(my->n, coil_recv(my->fd, my->field, 16));
        RETURN(my->n);
    }
}

// It would be gone when the kernel writes to it.
DEATH_TEST(coroutine_that_lends_a_local_aborts,
           "a buffer on the stack is lent to an operation: make it a field of "
           "the frame\n    in lend_a_buffer at ")
{
    RUN(lend_a_buffer, .which = LOCAL, .fd = STDOUT_FILENO);
}

DEATH_TEST(coroutine_that_lends_a_helpers_local_aborts,
           "a buffer on the stack is lent")
{
    RUN(lend_a_buffer, .which = OF_A_HELPER, .fd = STDIN_FILENO);
}

TEST(coroutine_lends_what_lives_longer_than_a_step)
{
    char of_main[16] = "";
    int fds[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    for (enum buffer which = OF_MAIN; which <= FIELD; which++) {
        int n = 0;
        CHECK_INT(write(fds[1], "abc", 3), 3);
        CHECK_INT(RUN_TO(n, lend_a_buffer, .which = which, .fd = fds[0],
                         .of_main = of_main), 0);
        CHECK_INT(n, 3);
    }
    CHECK_MEM(of_main, "abc", 3);
    CHECK_MEM(static_buffer, "abc", 3);
    close(fds[0]);
    close(fds[1]);
}

/* --- Locals ----------------------------------------------------------------*/

#ifdef COIL_DEBUG_STACK

static volatile unsigned char *volatile of_last_step;

COROUTINE(keep_a_local, int n;)
{
    ASYNC(keep_a_local, my) {
        volatile unsigned char local[64];
        of_last_step = local;
        for (size_t i = 0; i < sizeof local; i++)
            local[i] = 42;
        AWAIT(coil_sleep(0));
        for (size_t i = 0; i < 64; i++)
            my->n += of_last_step[i] == 42;
        RETURN(my->n);
    }
}

#endif

// A local is lost at an await. The debug build makes sure that it is, so that
// a program that works by luck does not.
TEST(coroutine_local_is_lost_at_an_await)
{
#ifdef COIL_DEBUG_STACK
    int n = 64;
    if (test_is_slow())
        SKIP("the sanitizer sees it first");
    CHECK_INT(RUN_TO(n, keep_a_local), 0);
    CHECK_INT(n, 0);
#else
    SKIP("not built with COIL_DEBUG");
#endif
}

/* --- Without memory --------------------------------------------------------*/

COROUTINE(use_everything, struct coil_semaphore *sem; struct coil_lock *lock;
          int i, err; bool held;)
{
    ASYNC(use_everything, my) {
        HOLD(my->sem);
        HOLD(my->lock);
        my->held = true;
        WITHIN(FOR_EVER) {
            AWAIT(CALL(work, .passes = 1));
            FOR_AWAIT(my->i, CALL(numbers, .to = 4, .wait = true)) {
                if (my->i == 2)
                    break;
            }
            FOR_AWAIT(my->i, CALL(doubled, .depth = 2))
                continue;
            AWAIT(CALL(pass_text_on, .depth = 1, .wait = true));
            SPAWN(work, .passes = 2);
            my->err = START(work);
            if (my->err)
                FAIL(my->err);
            AWAIT(coil_sleep(1));
            JOIN();
            coil_discard(CALL(end_somehow, .given = 7, .waits = false));
        }

    FINALLY;
        if (my->held)
            CHECK_INT(coil_semaphore_value(my->sem), 0);
    }
}

static int use_everything_once(void)
{
    struct coil_semaphore sem;
    struct coil_lock lock;
    coil_semaphore_init(&sem, 1);
    coil_lock_init(&lock);
    said[0] = '\0';
    int err = RUN_REPORTING(use_everything, .sem = &sem, .lock = &lock);
    CHECK_INT(coil_semaphore_value(&sem), 1);
    CHECK(!coil_lock_locked(&lock));
    return err;
}

TEST(coroutine_survives_every_failed_allocation)
{
    test_every_allocation(use_everything_once);
    CHECK_INT(reported.n, 0);
}
