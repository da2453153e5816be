// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_generator.c: generators run by hand, answered, and delegated to.
 *
 * What FOR_AWAIT does to a plain one stands in test_coroutine.c and
 * test_scope.c, with the other words of coroutine.h and the end of children.
 */
#include "stage.h"

#include <coil/event.h>

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* Frames of this file whose FINALLY is to come. */
static int alive;

/* Yields from `from` to before `to`, then ends as it is told. */
COROUTINE(numbers, int from, to, fail; bool waits; struct hand *cleanup;
          const char *name; bool ran;)
{
    ASYNC(numbers, my) {
        my->ran = true;
        alive++;
        for (; my->from < my->to; my->from++) {
            if (my->waits)
                AWAIT(coil_sleep(0));
            YIELD(my->from);
        }
        if (my->fail)
            FAIL(my->fail);
        RETURN(100 + my->to);

    FINALLY;
        if (my->cleanup)
            AWAIT(hand_op(my->cleanup));
        if (my->name)
            trace("~%s", my->name);
        alive -= my->ran;
    }
}

#define STAGE(...) RUN_WITH(stage_options(), __VA_ARGS__)

/* ---- YIELD_TO, SEND --------------------------------------------------- */

/* The multiplier of the talks: each item is the last word times n. */
COROUTINE(multiplier, int n; int word; int64_t product; const char *name;)
{
    ASYNC(multiplier, my) {
        for (;;) {
            YIELD_TO(my->word, my->product);
            my->product = (int64_t)my->word * my->n;
        }
    FINALLY;
        if (my->name)
            trace("~%s", my->name);
    }
}

COROUTINE(multiplies, struct coil_future *gen; bool more; int product;)
{
    ASYNC(multiplies, my) {
        my->gen = CALL(multiplier, .n = 3, .name = "multiplier");
        NEXT(my->more, my->product, my->gen);
        trace("%d", my->product);
        SEND(my->gen, 4);
        NEXT(my->more, my->product, my->gen);
        trace("%d", my->product);
        SEND(my->gen, 5);
        SEND(my->gen, 6);
        NEXT(my->more, my->product, my->gen);
        trace("%d", my->product);
        NEXT(my->more, my->product, my->gen);
        trace("%d", my->product);
    }
}

// The first turn has nothing to get; a second SEND replaces; nothing sent is 0.
TEST(generator_gets_the_word_that_was_sent)
{
    CHECK_INT(STAGE(multiplies), 0);
    CHECK_TRACE("0 12 18 0 ~multiplier");
}

COROUTINE(echoes, double d; const char *text; uint64_t u; bool flag;)
{
    ASYNC(echoes, my) {
        YIELD_TO(my->d, NULL);
        trace("%g", my->d);
        YIELD_TO(my->text, NULL);
        trace("%s", my->text);
        YIELD_TO(my->u, NULL);
        trace("%d", my->u == UINT64_MAX);
        YIELD_TO(my->flag, NULL);
        trace("%d", my->flag);
        my->d = my->flag = 1;
        YIELD_TO(my->d, NULL);
        YIELD_TO(my->text, NULL);
        YIELD_TO(my->u, NULL);
        trace("%g %d %d", my->d, my->text == NULL, my->u == 0);
    }
}

COROUTINE(sends_all_kinds, struct coil_future *gen; void *item; int turn;
          char text[8]; struct { unsigned bits : 4; } field;)
{
    ASYNC(sends_all_kinds, my) {
        my->gen = CALL(echoes);
        strcpy(my->text, "word");
        my->field.bits = 1;
        FOR_AWAIT(my->item, my->gen)
            switch (my->turn++) {
            case 0:
                SEND(my->gen, 2.5f);
                break;
            case 1:
                SEND(my->gen, my->text);
                break;
            case 2:
                SEND(my->gen, UINT64_MAX);
                break;
            case 3:
                SEND(my->gen, my->field.bits);
                break;
            }
        CHECK_INT(my->turn, 7);
    }
}

// In a FOR_AWAIT over a handle that is kept, too.
TEST(generator_gets_any_kind_of_word)
{
    CHECK_INT(STAGE(sends_all_kinds), 0);
    CHECK_TRACE("2.5 word 1 1 0 1 1");
}

COROUTINE(yields_once,)
{
    ASYNC(yields_once, my) {
        YIELD(1);
    }
}

COROUTINE(wraps_one, int64_t value;)
{
    ASYNC(wraps_one, my) {
        my->value = -1;
        YIELD_FROM_TO(my->value, CALL(yields_once));
        trace("value %d", (int)my->value);
    }
}

COROUTINE(sends_to_plain, struct coil_future *gen; int item;)
{
    ASYNC(sends_to_plain, my) {
        my->gen = CALL(wraps_one);
        FOR_AWAIT(my->item, my->gen)
            SEND(my->gen, 7);
    }
}

// It is not the value of the generator either, which ends after that.
TEST(generator_that_does_not_ask_drops_what_is_sent)
{
    CHECK_INT(STAGE(sends_to_plain), 0);
    CHECK_TRACE("value 0");
}

COROUTINE(asks_for_a_byte, unsigned char byte;)
{
    ASYNC(asks_for_a_byte, my) {
        my->byte = 9;
        YIELD_TO(my->byte, 1);
        trace("!");

    FINALLY;
        trace("byte %d", my->byte);
    }
}

COROUTINE(sends_too_much, struct coil_future *gen; int item;)
{
    ASYNC(sends_too_much, my) {
        my->gen = CALL(asks_for_a_byte);
        FOR_AWAIT(my->item, my->gen)
            SEND(my->gen, 256);
    }
}

TEST(generator_fails_if_what_is_sent_does_not_fit)
{
    CHECK_INT(STAGE(sends_too_much), -EOVERFLOW);
    CHECK_TRACE("byte 9");
}

COROUTINE(sends_a_wrong_kind, struct coil_future *gen; int item;)
{
    ASYNC(sends_a_wrong_kind, my) {
        my->gen = CALL(asks_for_a_byte);
        FOR_AWAIT(my->item, my->gen)
            SEND(my->gen, "text");
    }
}

DEATH_TEST(generator_that_is_sent_a_wrong_kind_aborts,
           "the value is a pointer, the variable holds an integer: make "
           "it a pointer")
{
    STAGE(sends_a_wrong_kind);
}

COROUTINE(sends_too_early, struct coil_future *gen;)
{
    ASYNC(sends_too_early, my) {
        my->gen = CALL(multiplier);
        fprintf(stderr, "SEND at %d\n", __LINE__ + 1);
        SEND(my->gen, 1);
    }
}

// asyncio: TypeError: can't send non-None value to a just-started generator.
DEATH_TEST(generator_that_has_not_begun_and_is_sent_to_aborts,
           "SEND at ([0-9]+)\ncoil: SEND to a generator not begun, or "
           "over: NEXT first\n    in sends_too_early at .*:\\1$")
{
    STAGE(sends_too_early);
}

COROUTINE(sends_too_late, struct coil_future *gen; int item; bool more;)
{
    ASYNC(sends_too_late, my) {
        my->gen = CALL(numbers, .to = 1);
        FOR_AWAIT(my->item, my->gen)
            continue;
        SEND(my->gen, 1);
    }
}

DEATH_TEST(generator_that_is_over_and_is_sent_to_aborts,
           "SEND to a generator not begun, or over: NEXT first\n    in "
           "sends_too_late at ")
{
    STAGE(sends_too_late);
}

/* ---- NEXT ------------------------------------------------------------- */

COROUTINE(takes, int n, fail; bool waits, stay; struct hand *cleanup;
          struct coil_future *gen; int item; bool more;)
{
    ASYNC(takes, my) {
        my->gen = CALL(numbers, .to = 3, .fail = my->fail, .waits = my->waits,
                       .cleanup = my->cleanup, .name = "gen");
        my->item = -1;
        for (; my->n > 0; my->n--) {
            NEXT(my->more, my->item, my->gen);
            trace("%d:%d", my->more, my->item);
        }
        if (my->stay)
            AWAIT(coil_sleep(COIL_SECONDS(3600)));

    FINALLY;
        trace("~takes");
    }
}

// The last one leaves the item as it was.
TEST(generator_by_hand_until_it_is_over)
{
    CHECK_INT(STAGE(takes, .n = 4), 0);
    CHECK_TRACE("1:0 1:1 1:2 ~gen 0:2 ~takes");
    CHECK_INT(STAGE(takes, .n = 4, .waits = true), 0);
    CHECK_TRACE("1:0 1:1 1:2 ~gen 0:2 ~takes");
    CHECK_INT(STAGE(takes, .n = 4, .fail = -EIO), -EIO);
    CHECK_TRACE("1:0 1:1 1:2 ~gen ~takes");
    CHECK_INT(stage_reported.n, 0);
}

// As a FOR_AWAIT that is left early: it is over before its consumer's FINALLY.
TEST(generator_by_hand_is_closed_at_the_end_of_the_body)
{
    CHECK_INT(STAGE(takes, .n = 2), 0);
    CHECK_TRACE("1:0 1:1 ~gen ~takes");

    stage_open();
    struct hand cleanup = { 0 };
    struct coil_task *t = SPAWN(takes, .n = 2, .cleanup = &cleanup);
    stage_passes(5);
    CHECK(!coil_task_done(t));
    CHECK_TRACE("1:0 1:1");
    hand_set(&cleanup, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("~gen ~takes");
    stage_close();
}

TEST(generator_by_hand_of_one_that_is_cancelled_runs_its_finally)
{
    stage_open();
    struct coil_task *t = SPAWN(takes, .n = 1, .stay = true);
    stage_passes(3);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("1:0 ~gen ~takes");

    // And while it waits itself.
    t = SPAWN(takes, .n = 3, .waits = true);
    stage_passes(2);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("1:0 ~gen ~takes");
    stage_close();
}

COROUTINE(tries, int fail; struct coil_future *gen; int item, err; bool more;
          signed char small;)
{
    ASYNC(tries, my) {
        my->gen = CALL(numbers, .to = 1, .fail = my->fail, .name = "gen");
        my->err = 1;
        do {
            TRY_NEXT(my->err, my->more, my->item, my->gen);
            trace("%d:%d", my->err, my->more);
        } while (my->more);
        my->gen = CALL(numbers, .from = 127, .to = 130, .name = "gen");
        do {
            TRY_NEXT(my->err, my->more, my->small, my->gen);
            trace("%d:%d", my->err, my->more);
        } while (my->err == 0);
        NEXT(my->more, my->item, my->gen);
        trace("%d", my->item);
        coil_task_cancel(coil_task_current());
        TRY_NEXT(my->err, my->more, my->item, my->gen);
        trace("!");
    }
}

// -75 is EOVERFLOW: that item is lost, and the generator goes on.
TEST(generator_whose_error_is_caught)
{
    CHECK_INT(STAGE(tries), -ECANCELED);
    CHECK_TRACE("0:1 ~gen 0:0 0:1 -75:0 129 ~gen");
    CHECK_INT(STAGE(tries, .fail = -EIO), -ECANCELED);
    CHECK_TRACE("0:1 ~gen -5:0 0:1 -75:0 129 ~gen");
}

COROUTINE(takes_in_finally, struct coil_future *gen; int item; bool more;
          int fail;)
{
    ASYNC(takes_in_finally, my) {

    FINALLY;
        my->gen = CALL(numbers, .to = my->fail ? 1 : 9, .fail = my->fail,
                       .name = "gen");
        NEXT(my->more, my->item, my->gen);
        trace("%d", my->more);
        NEXT(my->more, my->item, my->gen);
        trace("%d", my->more);
    }
}

// Nothing jumps there: one that failed has no more.
TEST(generator_by_hand_in_finally)
{
    CHECK_INT(STAGE(takes_in_finally), 0);
    CHECK_TRACE("1 1 ~gen");
    CHECK_INT(STAGE(takes_in_finally, .fail = -EIO), -EIO);
    CHECK_TRACE("1 ~gen 0");
}

COROUTINE(takes_by_turns, struct coil_future *a, *b; int x, y; bool more;)
{
    ASYNC(takes_by_turns, my) {
        my->a = CALL(numbers, .to = 3, .name = "a");
        my->b = CALL(numbers, .from = 7, .to = 10, .waits = true, .name = "b");
        for (;;) {
            NEXT(my->more, my->x, my->a);
            if (!my->more)
                break;
            NEXT(my->more, my->y, my->b);
            trace("%d%d", my->x, my->y);
        }
    }
}

TEST(generators_by_hand_side_by_side)
{
    CHECK_INT(STAGE(takes_by_turns), 0);
    CHECK_TRACE("07 18 29 ~a ~b");
}

COROUTINE(takes_a_byte, struct coil_future *gen; unsigned char item; bool more;)
{
    ASYNC(takes_a_byte, my) {
        my->gen = CALL(numbers, .from = 255, .to = 300, .name = "gen");
        NEXT(my->more, my->item, my->gen);
        NEXT(my->more, my->item, my->gen);
        trace("!");

    FINALLY;
        trace("%d", my->item);
    }
}

TEST(generator_by_hand_whose_item_does_not_fit_is_closed)
{
    CHECK_INT(STAGE(takes_a_byte), -EOVERFLOW);
    CHECK_TRACE("~gen 255");
}

COROUTINE(takes_what_failed, struct coil_future *gen; int item; bool more;)
{
    ASYNC(takes_what_failed, my) {
        my->more = true;
        NEXT(my->more, my->item, coil_future_from_nomem());

    FINALLY;
        NEXT(my->more, my->item, coil_future_from_nomem());
        trace("%d", my->more);
        CLOSE(coil_future_from_nomem());
    }
}

// What CALL gives without memory.
TEST(generator_by_hand_without_memory_fails)
{
    CHECK_INT(STAGE(takes_what_failed), -ENOMEM);
    CHECK_TRACE("0");
}

COROUTINE(takes_a_text, struct coil_future *gen; char *item; bool more;)
{
    ASYNC(takes_a_text, my) {
        my->gen = CALL(numbers, .to = 2);
        NEXT(my->more, my->item, my->gen);
        CHECK(my->more && my->item == NULL); /* that was 0 */
        NEXT(my->more, my->item, my->gen);
    }
}

DEATH_TEST(generator_by_hand_of_another_kind_aborts,
           "the value is an integer, the variable holds a pointer: make "
           "it an integer")
{
    STAGE(takes_a_text);
}

COROUTINE(takes_a_plain_future, int item; bool more;)
{
    ASYNC(takes_a_plain_future, my) {
        NEXT(my->more, my->item, coil_future_from_int(1));
    }
}

DEATH_TEST(generator_by_hand_of_what_is_none_aborts,
           "FOR_AWAIT wants a generator: AWAIT this one")
{
    STAGE(takes_a_plain_future);
}

COROUTINE(takes_too_often, struct numbers numbers; struct coil_future *gen;
          int item; bool more;)
{
    ASYNC(takes_too_often, my) {
        my->gen = CALL_IN(&my->numbers, numbers, .to = 1);
        for (;;)
            NEXT(my->more, my->item, my->gen);
    }
}

DEATH_TEST(generator_by_hand_that_is_over_aborts,
           "a generator is used twice, or after its end: .*\n"
           "    in takes_too_often at ")
{
    STAGE(takes_too_often);
}

COROUTINE(takes_from, struct coil_future *gen; int item; bool more;)
{
    ASYNC(takes_from, my) {
        NEXT(my->more, my->item, my->gen);
        AWAIT(coil_sleep(0));
    }
}

COROUTINE(shares, struct coil_future *gen;)
{
    ASYNC(shares, my) {
        my->gen = CALL(numbers, .to = 9);
        SPAWN(takes_from, .gen = my->gen);
        SPAWN(takes_from, .gen = my->gen);
        JOIN();
    }
}

DEATH_TEST(generator_of_two_coroutines_aborts,
           "a generator is used twice, or after its end: .*\n"
           "    in takes_from at ")
{
    STAGE(shares);
}

COROUTINE(keeps_one, struct coil_future *gen;)
{
    ASYNC(keeps_one, my) {
        my->gen = CALL(numbers, .to = 1, .name = "gen");
    }
}

TEST(generator_that_nobody_began_is_reported)
{
    CHECK_INT(STAGE(keeps_one), 0);
    CHECK_TRACE("~gen");
    CHECK_INT(stage_reported.n, 1);
    CHECK_STR(stage_reported.message, "a coroutine was never awaited");
    CHECK_STR(stage_reported.name, "numbers");
}

COROUTINE(drops_one, struct coil_future *gen; bool begin, more; int item;)
{
    ASYNC(drops_one, my) {
        my->gen = CALL(numbers, .to = 3, .name = "gen");
        if (my->begin)
            NEXT(my->more, my->item, my->gen);
        coil_discard(my->gen);
    }
}

TEST(generator_that_is_dropped_before_it_began_runs_its_finally)
{
    CHECK_INT(STAGE(drops_one), 0);
    CHECK_TRACE("~gen");
    CHECK_INT(stage_reported.n, 0);
}

// CLOSE is for that: it has a FINALLY to wait for.
DEATH_TEST(generator_that_has_begun_and_is_dropped_aborts,
           "only a coroutine that was not awaited can be dropped")
{
    STAGE(drops_one, .begin = true);
}

COROUTINE(in_place, struct numbers numbers; struct coil_future *gen; int item;
          bool more;)
{
    ASYNC(in_place, my) {
        my->gen = CALL_IN(&my->numbers, numbers, .to = 3, .name = "gen");
        NEXT(my->more, my->item, my->gen);
        CHECK_INT(my->numbers.from, my->item);
        CLOSE(my->gen);
        my->gen = CALL_IN(&my->numbers, numbers, .from = 1, .to = 3,
                          .name = "gen");
        FOR_AWAIT(my->item, my->gen)
            trace("%d", my->item);
        CLOSE(CALL_IN(&my->numbers, numbers, .name = "gen"));
        NEXT(my->more, my->item, CALL_IN(&my->numbers, numbers, .to = 1));
    }
}

TEST(generator_in_place_by_hand)
{
    CHECK_INT(STAGE(in_place), 0);
    CHECK_TRACE("~gen 1 2 ~gen ~gen");
}

/* ---- NEXT and FOR_AWAIT ----------------------------------------------- */

COROUTINE(goes_on, struct coil_future *gen; int item, second; bool more;)
{
    ASYNC(goes_on, my) {
        my->gen = CALL(numbers, .to = 6, .name = "gen");
        NEXT(my->more, my->item, my->gen);
        FOR_AWAIT(my->item, my->gen) {
            NEXT(my->more, my->second, my->gen);
            trace("%d+%d:%d", my->item, my->second, my->more);
        }
        trace("over");
    }
}

// It goes on where NEXT left it; in the loop NEXT takes what comes then. Its
// end there is the loop's end.
TEST(generator_by_hand_goes_on_in_a_loop)
{
    CHECK_INT(STAGE(goes_on), 0);
    CHECK_TRACE("1+2:1 3+4:1 ~gen 5+4:0 over");
}

COROUTINE(leaves_what_it_began, struct coil_future *gen; int item; bool more;
          int how;)
{
    ASYNC(leaves_what_it_began, my) {
        my->gen = CALL(numbers, .to = 6, .name = "gen");
        NEXT(my->more, my->item, my->gen);
        FOR_AWAIT(my->item, my->gen) {
            trace("%d", my->item);
            if (my->how == 0)
                break;
            if (my->how == 1)
                goto out;
            CLOSE(my->gen);
            trace("closed");
        }
        AWAIT(coil_sleep(0));
        trace("left");
    out:
        if (my->how == 1) {
            NEXT(my->more, my->item, my->gen);
            trace("%d", my->item);
        }

    FINALLY;
        trace("~");
    }
}

// A loop takes its generator: to leave it closes that; by goto it was not left.
TEST(generator_by_hand_is_taken_by_a_loop)
{
    CHECK_INT(STAGE(leaves_what_it_began, .how = 0), 0);
    CHECK_TRACE("1 ~gen left ~");
    CHECK_INT(STAGE(leaves_what_it_began, .how = 1), 0);
    CHECK_TRACE("1 2 ~gen ~");
    CHECK_INT(STAGE(leaves_what_it_began, .how = 2), 0);
    CHECK_TRACE("1 ~gen closed left ~");
}

/* ---- CLOSE ------------------------------------------------------------ */

COROUTINE(closes, bool begin, delegated; struct hand *cleanup, *then; int late;
          struct coil_future *gen; int item, err; bool more;)
{
    ASYNC(closes, my) {
        my->gen = CALL(numbers, .to = 9, .cleanup = my->cleanup, .name = "gen");
        if (my->begin)
            NEXT(my->more, my->item, my->gen);
        CLOSE(my->gen);
        trace("closed");
        if (my->then)
            AWAIT(hand_op(my->then));
        trace("on");

    FINALLY;
        trace("~closes");
    }
}

TEST(generator_is_closed_early)
{
    for (int begin = 0; begin < 2; begin++) {
        CHECK_INT(STAGE(closes, .begin = begin), 0);
        CHECK_TRACE("~gen closed on ~closes");
        stage_open();
        struct hand cleanup = { 0 };
        struct coil_task *t = SPAWN(closes, .begin = begin,
                                    .cleanup = &cleanup);
        stage_passes(3);
        CHECK_TRACE("");
        hand_set(&cleanup, 0, 0);
        CHECK_INT(stage_run(t), 0);
        CHECK_TRACE("~gen closed on ~closes");
        CHECK_INT(stage_reported.n, 0);
        stage_close();
    }
}

// Its FINALLY is cut short, and the request is not lost with that.
TEST(generator_that_is_being_closed_hands_a_request_on)
{
    for (int begin = 0; begin < 2; begin++)
        for (int on_cancel = HAND_ENDS; on_cancel <= HAND_LINGERS;
             on_cancel++) {
            stage_open();
            struct hand cleanup = { .on_cancel =
                                        (enum hand_on_cancel)on_cancel };
            struct hand then = { 0 };
            struct coil_task *t = SPAWN(closes, .begin = begin, .then = &then,
                                        .cleanup = &cleanup);
            stage_passes(3);
            CHECK(coil_task_cancel_with(t, COIL_CANCEL_INTERRUPT));
            CHECK_INT(cleanup.cancels, 1);
            if (on_cancel == HAND_LINGERS)
                hand_set(&cleanup, 0, 0);
            CHECK_INT(stage_run(t), -ECANCELED);
            CHECK_INT(stage_reason(t), COIL_CANCEL_INTERRUPT);
            CHECK_INT(then.started, 0);
            CHECK_TRACE("~gen closed ~closes");
            stage_close();
        }
}

COROUTINE(cancelled_then_closes, struct coil_future *gen; int item; bool more;)
{
    ASYNC(cancelled_then_closes, my) {
        my->gen = CALL(numbers, .to = 9, .name = "gen");
        NEXT(my->more, my->item, my->gen);
        coil_task_cancel(coil_task_current());
        CLOSE(my->gen);
        trace("closed");
        AWAIT(coil_sleep(0));
        trace("!");
    }
}

// To close cannot be cancelled: the request strikes what comes after.
TEST(generator_is_closed_by_one_that_is_cancelled)
{
    CHECK_INT(STAGE(cancelled_then_closes), -ECANCELED);
    CHECK_TRACE("~gen closed");
}

COROUTINE(yields_a_request,)
{
    ASYNC(yields_a_request, my) {
        coil_task_cancel(coil_task_current());
        YIELD(1);
    }
}

COROUTINE(closes_after_a_request, struct coil_future *gen; int item, err;
          bool more;)
{
    ASYNC(closes_after_a_request, my) {
        my->gen = CALL(yields_a_request);
        NEXT(my->more, my->item, my->gen);
        TRY_ALL(my->err) AWAIT(coil_sleep(0));
        CHECK_INT(my->err, -ECANCELED);
        CLOSE(my->gen);
        AWAIT(coil_sleep(0));
        trace("on");
    }
}

// One that the generator met before, and that was caught, is no news.
TEST(generator_that_is_closed_does_not_hand_on_an_old_request)
{
    CHECK_INT(STAGE(closes_after_a_request), 0);
    CHECK_TRACE("on");
}

COROUTINE(closes_in_finally, struct hand *cleanup, *then;
          struct coil_future *gen; int item, err; bool more;)
{
    ASYNC(closes_in_finally, my) {

    FINALLY;
        my->gen = CALL(numbers, .to = 9, .cleanup = my->cleanup, .name = "gen");
        NEXT(my->more, my->item, my->gen);
        CLOSE(my->gen);
        trace("closed");
        TRY_AWAIT(my->err, hand_op(my->then));
        trace("%d", my->err);
    }
}

// There a request interrupts one await, and not the next one as well.
TEST(generator_that_is_being_closed_in_finally_takes_a_request_for_itself)
{
    stage_open();
    struct hand cleanup = { 0 }, then = { 0 };
    struct coil_task *t = SPAWN(closes_in_finally, .cleanup = &cleanup,
                                .then = &then);
    stage_passes(3);
    coil_task_cancel(t);
    stage_passes(3);
    CHECK_TRACE("~gen closed");
    CHECK_INT(then.cancels, 0);
    hand_set(&then, 0, 0);
    stage_run(t);
    CHECK_TRACE("0");
    stage_close();
}

COROUTINE(fails_slowly, struct hand *first, *second;)
{
    ASYNC(fails_slowly, my) {
        if (my->first)
            FAIL(-EIO);
        YIELD(1);

    FINALLY;
        AWAIT(hand_op(my->first));
        AWAIT(hand_op(my->second));
    }
}

COROUTINE(runs_one_that_fails, struct hand *first, *second; int item;)
{
    ASYNC(runs_one_that_fails, my) {
        FOR_AWAIT(my->item,
                  CALL(fails_slowly, .first = my->first, .second = my->second))
            trace("%d", my->item);
    }
}

// The first request strikes one await of FINALLY, and is handed to the consumer
// for its next await. The second one must strike the next await of FINALLY.
TEST(generator_that_fails_meets_each_request_in_its_finally)
{
    stage_open();
    struct hand first = { 0 }, second = { 0 };
    struct coil_task *t = SPAWN(runs_one_that_fails, .first = &first,
                                .second = &second);
    coil_task_quiet(t);
    stage_passes(1);
    coil_task_cancel(t);
    stage_passes(1);
    CHECK_INT(first.cancels, 1);
    CHECK_INT(second.started, 1);
    coil_task_cancel(t);
    stage_passes(1);
    CHECK_INT(second.cancels, 1);
    CHECK(coil_task_done(t));
    stage_close();
}

COROUTINE(late_numbers,)
{
    ASYNC(late_numbers, my) {
        WITHIN(0) {
            YIELD(1);
            AWAIT(coil_sleep(COIL_SECONDS(3600)));
        }
    }
}

COROUTINE(closes_a_late_one, struct coil_future *gen; int item; bool more;)
{
    ASYNC(closes_a_late_one, my) {
        my->gen = CALL(late_numbers);
        NEXT(my->more, my->item, my->gen);
        AWAIT(coil_sleep(0));
        AWAIT(coil_sleep(0));
        CLOSE(my->gen);
        trace("closed");
    }
}

// Its deadline struck at rest, and no await has met that: to be closed is what
// it ends with, as with GeneratorExit in asyncio.timeout().
TEST(generator_that_is_closed_after_its_deadline_has_not_timed_out)
{
    CHECK_INT(STAGE(closes_a_late_one), 0);
    CHECK_TRACE("closed");
}

COROUTINE(closes_twice, struct numbers numbers; struct coil_future *gen;
          int item; bool more;)
{
    ASYNC(closes_twice, my) {
        my->gen = CALL_IN(&my->numbers, numbers, .to = 9);
        NEXT(my->more, my->item, my->gen);
        CLOSE(my->gen);
        CLOSE(my->gen);
    }
}

DEATH_TEST(generator_closed_twice_aborts,
           "CLOSE of a generator that this coroutine does not run, or that is "
           "over\n    in closes_twice at ")
{
    STAGE(closes_twice);
}

/* ---- YIELD_FROM ------------------------------------------------------- */

COROUTINE(wrapper, int depth, to, fail; bool waits, ran; const char *name;
          struct hand *cleanup; int64_t value;)
{
    ASYNC(wrapper, my) {
        my->ran = true;
        alive++;
        if (my->depth > 0)
            YIELD_FROM_TO(my->value, CALL(wrapper, .depth = my->depth - 1,
                                          .to = my->to, .fail = my->fail,
                                          .waits = my->waits,
                                          .cleanup = my->cleanup,
                                          .name = my->name));
        else
            YIELD_FROM_TO(my->value, CALL(numbers, .to = my->to,
                                          .fail = my->fail, .waits = my->waits,
                                          .cleanup = my->cleanup,
                                          .name = my->name));
        RETURN(my->value + 1);

    FINALLY;
        alive -= my->ran;
        if (my->name)
            trace("~%d", my->depth);
    }
}

COROUTINE(reads_wrapper, int depth, to, fail, leave; bool waits;
          const char *name; struct hand *cleanup; int item, sum, n;)
{
    ASYNC(reads_wrapper, my) {
        FOR_AWAIT(my->item, CALL(wrapper, .depth = my->depth, .to = my->to,
                                 .fail = my->fail, .waits = my->waits,
                                 .name = my->name, .cleanup = my->cleanup)) {
            my->sum += my->item;
            if (++my->n == my->leave)
                break;
        }
        trace("%d", my->sum);

    FINALLY;
        trace("~");
    }
}

TEST(generator_delegates_items_and_errors)
{
    CHECK_INT(STAGE(reads_wrapper, .to = 4, .name = "gen"), 0);
    CHECK_TRACE("~gen ~0 6 ~");
    CHECK_INT(STAGE(reads_wrapper, .depth = 2, .to = 4, .waits = true,
                    .name = "gen"), 0);
    CHECK_TRACE("~gen ~0 ~1 ~2 6 ~");
    CHECK_INT(STAGE(reads_wrapper, .depth = 2, .to = 4, .fail = -EIO,
                    .name = "gen"), -EIO);
    CHECK_TRACE("~gen ~0 ~1 ~2 ~");
    CHECK_INT(STAGE(reads_wrapper, .to = 0), 0);
    CHECK_TRACE("0 ~");
    CHECK_INT(stage_reported.n, 0);
}

COROUTINE(wraps_several, struct numbers numbers; int64_t value;)
{
    ASYNC(wraps_several, my) {
        YIELD(-1);
        YIELD_FROM(CALL(numbers, .to = 2));
        YIELD(-2);
        YIELD_FROM_TO(my->value, CALL_IN(&my->numbers, numbers, .to = 3));
        YIELD(my->value);
        YIELD_FROM(CALL(wrapper, .to = 2));
        YIELD_FROM(CALL(numbers));
    }
}

COROUTINE(reads_several, int item;)
{
    ASYNC(reads_several, my) {
        FOR_AWAIT(my->item, CALL(wraps_several))
            trace("%d", my->item);
    }
}

TEST(generator_delegates_between_its_own_items)
{
    CHECK_INT(STAGE(reads_several), 0);
    CHECK_TRACE("-1 0 1 -2 0 1 2 103 0 1");
}

// Inner ones first, and all of it before the consumer's FINALLY.
TEST(generator_that_delegates_and_is_closed_closes_the_inner_one_first)
{
    CHECK_INT(STAGE(reads_wrapper, .depth = 2, .to = 9, .leave = 3,
                    .name = "gen"), 0);
    CHECK_TRACE("3 ~gen ~0 ~1 ~2 ~");

    stage_open();
    struct hand cleanup = { 0 };
    struct coil_task *t = SPAWN(reads_wrapper, .depth = 2, .to = 9, .leave = 3,
                                .name = "gen", .cleanup = &cleanup);
    stage_passes(3);
    CHECK_TRACE("3");
    CHECK(!coil_task_done(t));
    // Stuck: a request gets at it through all of them.
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_INT(cleanup.cancels, 1);
    CHECK_TRACE("~gen ~0 ~1 ~2 ~");
    stage_close();
}

TEST(generator_that_delegates_is_cancelled_where_the_inner_one_waits)
{
    stage_open();
    struct coil_task *t = SPAWN(reads_wrapper, .depth = 2, .to = 9,
                                .waits = true, .name = "gen");
    stage_passes(4);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK_TRACE("~gen ~0 ~1 ~2 ~");
    stage_close();
}

static uintptr_t stack_low, stack_high;

COROUTINE(deep, int depth, items; bool at_bottom;)
{
    ASYNC(deep, my) {
        uintptr_t here = (uintptr_t)__builtin_frame_address(0);
        stack_low = stack_low < here ? stack_low : here;
        stack_high = stack_high > here ? stack_high : here;
        if (my->depth > 0)
            YIELD_FROM(CALL(deep, .depth = my->depth - 1, .items = my->items));
        else
            for (; my->items > 0; my->items--)
                YIELD(my->items);
    FINALLY;
        alive++;
    }
}

COROUTINE(reads_deep, int depth, items, leave, item, n;)
{
    ASYNC(reads_deep, my) {
        FOR_AWAIT(my->item, CALL(deep, .depth = my->depth, .items = my->items))
            if (++my->n == my->leave)
                break;
        RETURN(my->n);
    }
}

// A thousand deep: one step on the C stack, made, run and closed.
TEST(generator_that_delegates_deep_uses_no_stack)
{
    stack_low = UINTPTR_MAX;
    stack_high = 0;
    alive = 0;
    int n;
    CHECK_INT(RUN_TO(n, reads_deep, .depth = 1000, .items = 100000), 0);
    CHECK_INT(n, 100000);
    CHECK_INT(alive, 1001);
    CHECK_INT(RUN_TO(n, reads_deep, .depth = 1000, .items = 9, .leave = 3), 0);
    CHECK_INT(n, 3);
    CHECK_INT(alive, 2002);
    CHECK(stack_high - stack_low < 1024);
}

COROUTINE(multiplies_through, int depth, n;)
{
    ASYNC(multiplies_through, my) {
        if (my->depth > 0)
            YIELD_FROM(CALL(multiplies_through, .depth = my->depth - 1,
                            .n = my->n));
        else
            YIELD_FROM(CALL(multiplier, .n = my->n, .name = "multiplier"));
    }
}

COROUTINE(sends_through, struct coil_future *gen; int product; bool more;)
{
    ASYNC(sends_through, my) {
        my->gen = CALL(multiplies_through, .depth = 3, .n = 3);
        NEXT(my->more, my->product, my->gen);
        SEND(my->gen, 4);
        NEXT(my->more, my->product, my->gen);
        trace("%d", my->product);
        NEXT(my->more, my->product, my->gen);
        trace("%d", my->product);
        SEND(my->gen, 5);
        FOR_AWAIT(my->product, my->gen) {
            trace("%d", my->product);
            if (my->product == 0)
                break;
            SEND(my->gen, my->product < 100 ? my->product : 0);
        }
    }
}

TEST(generator_that_delegates_passes_on_what_is_sent)
{
    CHECK_INT(STAGE(sends_through), 0);
    CHECK_TRACE("12 0 15 45 135 0 ~multiplier");
}

COROUTINE(skips_then_delegates, struct coil_future *gen; int item, depth;
          bool more;)
{
    ASYNC(skips_then_delegates, my) {
        my->gen = CALL(wrapper, .depth = my->depth, .to = 5, .name = "gen");
        NEXT(my->more, my->item, my->gen);
        NEXT(my->more, my->item, my->gen);
        YIELD(-1);
        YIELD_FROM(my->gen);
        YIELD(-2);
    }
}

COROUTINE(reads_skipped, int item, depth, leave; struct coil_future *gen;
          bool more;)
{
    ASYNC(reads_skipped, my) {
        my->gen = CALL(skips_then_delegates, .depth = my->depth);
        FOR_AWAIT(my->item, my->gen) {
            SEND(my->gen, 5);
            trace("%d", my->item);
            if (my->item == my->leave)
                break;
        }
    }
}

// Its own depth, already begun, goes under the new roof as well.
TEST(generator_delegates_to_one_that_it_has_begun)
{
    CHECK_INT(STAGE(reads_skipped, .leave = -9), 0);
    CHECK_TRACE("-1 2 3 4 ~gen ~0 -2");
    CHECK_INT(STAGE(reads_skipped, .depth = 2, .leave = -9), 0);
    CHECK_TRACE("-1 2 3 4 ~gen ~0 ~1 ~2 -2");
    CHECK_INT(STAGE(reads_skipped, .depth = 2, .leave = 3), 0);
    CHECK_TRACE("-1 2 3 ~gen ~0 ~1 ~2");
    CHECK_INT(STAGE(reads_skipped, .depth = 2, .leave = -1), 0);
    CHECK_TRACE("-1 ~gen ~0 ~1 ~2");
}

COROUTINE(hurries, struct hand *op; struct coil_future *inner; int item, n;)
{
    ASYNC(hurries, my) {
        WITHIN(my->op ? COIL_MS(1) : 0) {
            YIELD_FROM(CALL(numbers, .to = 3, .waits = true, .cleanup = my->op,
                            .name = "gen"));
            trace("!");
        }

    FINALLY;
        trace("~hurries");
    }
}

COROUTINE(reads_hurried, struct hand *op; int item, err;)
{
    ASYNC(reads_hurried, my) {
        FOR_AWAIT(my->item, CALL(hurries)) {
            trace("%d", my->item);
            // Long enough for the deadline to strike while it yields.
            TRY_ALL(my->err) AWAIT(coil_sleep(0));
            TRY_ALL(my->err) AWAIT(coil_sleep(0));
            CHECK_INT(my->err, 0);
        }
        trace("!");
    }
}

// The deadline of one that delegates strikes what the inner one awaits; not the
// consumer.
TEST(generator_that_delegates_has_its_own_deadline)
{
    CHECK_INT(STAGE(reads_hurried), -ETIMEDOUT);
    CHECK_TRACE("~gen ~hurries");
}

/* The first item without waiting, so that the deadline strikes at rest. */
COROUTINE(yields_then_waits,)
{
    ASYNC(yields_then_waits, my) {
        YIELD(1);
        YIELD(2);
        AWAIT(coil_sleep(COIL_SECONDS(3600)));
    }
}

COROUTINE(hurries_at_rest,)
{
    ASYNC(hurries_at_rest, my) {
        WITHIN(0) {
            YIELD_FROM(CALL(yields_then_waits));
        }
    }
}

COROUTINE(reads_at_rest, int item, err;)
{
    ASYNC(reads_at_rest, my) {
        FOR_AWAIT(my->item, CALL(hurries_at_rest)) {
            trace("%d", my->item);
            TRY_ALL(my->err) AWAIT(coil_sleep(0));
            CHECK_INT(my->err, 0);
        }
    }
}

// And is not used up by an item that passes it.
TEST(generator_whose_deadline_strikes_at_an_inner_yield_times_out_later)
{
    CHECK_INT(STAGE(reads_at_rest), -ETIMEDOUT);
    CHECK_TRACE("1 2");
}

COROUTINE(awaits_one, struct hand *op; int64_t got;)
{
    ASYNC(awaits_one, my) {
        AWAIT_TO(my->got, hand_op(my->op));
        YIELD(my->got);
        trace("!");
    }
}

COROUTINE(wraps_await, struct hand *op;)
{
    ASYNC(wraps_await, my) {
        YIELD_FROM(CALL(awaits_one, .op = my->op));
    }
}

COROUTINE(reads_await, struct hand *op; int item, err;)
{
    ASYNC(reads_await, my) {
        FOR_AWAIT(my->item, CALL(wraps_await, .op = my->op)) {
            trace("%d", my->item);
            TRY_ALL(my->err) AWAIT(coil_sleep(0));
            trace("%d", my->err);
            break;
        }
    }
}

// The item that came with the cancellation is read, and the consumer is struck.
TEST(generator_that_delegates_hands_a_request_on_with_the_item)
{
    stage_open();
    struct hand op = { .on_cancel = HAND_SUCCEEDS, .value = 6 };
    struct coil_task *t = SPAWN(reads_await, .op = &op);
    stage_passes(1);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("6 -125");
    stage_close();
}

COROUTINE(cancelled_then_delegates, bool begin; struct coil_future *gen;
          int item; bool more;)
{
    ASYNC(cancelled_then_delegates, my) {
        my->gen = CALL(numbers, .to = 3, .name = "gen");
        if (my->begin)
            NEXT(my->more, my->item, my->gen);
        coil_task_cancel(coil_task_current());
        YIELD_FROM(my->gen);
        trace("!");

    FINALLY;
        trace("~");
    }
}

COROUTINE(reads_cancelled, bool begin; int item;)
{
    ASYNC(reads_cancelled, my) {
        FOR_AWAIT(my->item, CALL(cancelled_then_delegates, .begin = my->begin))
            trace("!");
    }
}

TEST(generator_that_is_cancelled_does_not_begin_to_delegate)
{
    CHECK_INT(STAGE(reads_cancelled), -ECANCELED);
    CHECK_TRACE("~gen ~");
    CHECK_INT(STAGE(reads_cancelled, .begin = true), -ECANCELED);
    CHECK_TRACE("~gen ~");
}

COROUTINE(delegates_nothing,)
{
    ASYNC(delegates_nothing, my) {
        YIELD(1);
        YIELD_FROM(coil_future_from_nomem());
    }
}

COROUTINE(reads_nothing, int item;)
{
    ASYNC(reads_nothing, my) {
        FOR_AWAIT(my->item, CALL(delegates_nothing))
            trace("%d", my->item);
    }
}

TEST(generator_that_delegates_to_a_failed_call_fails)
{
    CHECK_INT(STAGE(reads_nothing), -ENOMEM);
    CHECK_TRACE("1");
}

DEATH_TEST(generator_that_delegates_in_a_task_aborts,
           "YIELD in a coroutine that no FOR_AWAIT runs\n    in wrapper at ")
{
    STAGE(wrapper, .to = 1);
}

COROUTINE(awaits_a_wrapper,)
{
    ASYNC(awaits_a_wrapper, my) {
        YIELD(1);
        AWAIT(CALL(wrapper));
    }
}

COROUTINE(reads_an_await, int item;)
{
    ASYNC(reads_an_await, my) {
        FOR_AWAIT(my->item, CALL(awaits_a_wrapper))
            continue;
    }
}

// A coroutine that a generator awaits is none.
DEATH_TEST(generator_that_delegates_and_is_awaited_aborts,
           "YIELD in a coroutine that no FOR_AWAIT runs\n    in wrapper at ")
{
    STAGE(reads_an_await);
}

COROUTINE(delegates_in_finally,)
{
    ASYNC(delegates_in_finally, my) {
        YIELD(1);

    FINALLY;
        YIELD_FROM(CALL(numbers, .to = 2));
    }
}

COROUTINE(reads_finally, int item;)
{
    ASYNC(reads_finally, my) {
        FOR_AWAIT(my->item, CALL(delegates_in_finally))
            continue;
    }
}

DEATH_TEST(generator_that_delegates_in_finally_aborts,
           "YIELD_FROM in FINALLY: put it before")
{
    STAGE(reads_finally);
}

COROUTINE(delegates_twice, struct coil_future *gen; int item;)
{
    ASYNC(delegates_twice, my) {
        my->gen = CALL(numbers, .to = 3);
        FOR_AWAIT(my->item, my->gen)
            YIELD_FROM(my->gen);
    }
}

COROUTINE(reads_twice, int item;)
{
    ASYNC(reads_twice, my) {
        FOR_AWAIT(my->item, CALL(delegates_twice))
            continue;
    }
}

DEATH_TEST(generator_that_delegates_to_one_in_a_loop_aborts,
           "a generator is used twice, or after its end: .*\n"
           "    in delegates_twice at ")
{
    STAGE(reads_twice);
}

COROUTINE(wrong_value, char *text;)
{
    ASYNC(wrong_value, my) {
        YIELD_FROM_TO(my->text, CALL(numbers, .to = 1));
    }
}

COROUTINE(reads_wrong_value, int item;)
{
    ASYNC(reads_wrong_value, my) {
        FOR_AWAIT(my->item, CALL(wrong_value))
            continue;
    }
}

DEATH_TEST(generator_that_delegates_for_a_wrong_kind_aborts,
           "the value is an integer, the variable holds a pointer: make "
           "it an integer")
{
    STAGE(reads_wrong_value);
}

enum null_generator { NULL_NEXT, NULL_SEND, NULL_CLOSE, NULL_FROM };

COROUTINE(uses_null, enum null_generator how; struct coil_future *gen; int item;
          bool more;)
{
    ASYNC(uses_null, my) {
        YIELD(1);
        if (my->how == NULL_NEXT)
            NEXT(my->more, my->item, my->gen);
        if (my->how == NULL_SEND)
            SEND(my->gen, 1);
        if (my->how == NULL_CLOSE)
            CLOSE(my->gen);
        YIELD_FROM(my->gen);
    }
}

COROUTINE(reads_from_null, enum null_generator how; int item;)
{
    ASYNC(reads_from_null, my) {
        FOR_AWAIT(my->item, CALL(uses_null, .how = my->how))
            continue;
    }
}

DEATH_TEST(generator_next_of_null_aborts,
           "AWAIT of NULL: it wants a future or a task\n    in uses_null at ")
{
    STAGE(reads_from_null, .how = NULL_NEXT);
}

DEATH_TEST(generator_send_to_null_aborts,
           "AWAIT of NULL: it wants a future or a task\n    in uses_null at ")
{
    STAGE(reads_from_null, .how = NULL_SEND);
}

DEATH_TEST(generator_close_of_null_aborts,
           "AWAIT of NULL: it wants a future or a task\n    in uses_null at ")
{
    STAGE(reads_from_null, .how = NULL_CLOSE);
}

DEATH_TEST(generator_delegation_to_null_aborts,
           "AWAIT of NULL: it wants a future or a task\n    in uses_null at ")
{
    STAGE(reads_from_null, .how = NULL_FROM);
}

COROUTINE(asks_for_a_text, const char *text; double number;)
{
    ASYNC(asks_for_a_text, my) {
        my->text = "?";
        my->number = 1;
        YIELD_TO(my->text, 1);
        YIELD_TO(my->number, 2);
        trace("%s %g", my->text ? my->text : "NULL", my->number);
    }
}

COROUTINE(sends_zeros, struct coil_future *gen; int item;)
{
    ASYNC(sends_zeros, my) {
        my->gen = CALL(asks_for_a_text);
        FOR_AWAIT(my->item, my->gen)
            SEND(my->gen, 0);
    }
}

TEST(generator_that_is_sent_a_zero_takes_any_kind_of_zero)
{
    CHECK_INT(STAGE(sends_zeros), 0);
    CHECK_TRACE("NULL 0");
}

/* ---- The await tree --------------------------------------------------- */

COROUTINE(rests, struct hand *cleanup; struct coil_future *a, *b; int item;
          bool more;)
{
    ASYNC(rests, my) {
        my->a = CALL(wrapper, .depth = 1, .to = 9);
        my->b = CALL(wrapper, .to = 9, .cleanup = my->cleanup);
        NEXT(my->more, my->item, my->a);
        FOR_AWAIT(my->item, my->b)
            break;
        AWAIT(coil_sleep(COIL_SECONDS(1000)));
    }
}

/* What coil_dump() says, without files, lines and times. */
static const char *dump(void)
{
    static char text[4096];
    int fds[2];
    CHECK_INT(pipe(fds), 0);
    coil_dump(fds[1]);
    close(fds[1]);
    FILE *in = fdopen(fds[0], "r");
    char line[512];
    text[0] = '\0';
    for (int n = 0; fgets(line, sizeof line, in); n++) {
        if (n == 0)
            continue;
        char *colon = strrchr(line, ':');
        char *name = strstr(line + strspn(line, " -~"), "  ");
        CHECK(colon && name);
        *name = '\0';
        char *what = strchr(colon, ' '), *comma = strrchr(colon, ',');
        if (comma)
            *comma = '\0';
        else
            colon[strcspn(colon, "\n")] = '\0';
        strcat(strcat(strcat(text, line), what ? what : ""), "\n");
    }
    fclose(in);
    return text;
}

// Those at rest and those that close; each with all that it has called.
TEST(generators_stand_in_the_await_tree)
{
    stage_open();
    struct hand cleanup = { 0 };
    struct coil_task *t = SPAWN(rests, .cleanup = &cleanup);
    stage_passes(4);
    CHECK_STR(dump(), "- rests  sleep\n"
                      "  ~ wrapper\n"
                      "    numbers in FINALLY  hand\n"
                      "  ~ wrapper\n"
                      "    wrapper\n"
                      "    numbers  has yielded\n");
    coil_task_cancel(t);
    stage_passes(2);
    hand_set(&cleanup, 0, 0);
    CHECK_INT(stage_run(t), -ECANCELED);
    stage_close();
}

/* ---- At every point --------------------------------------------------- */

COROUTINE(everything_inside, int word; bool ran;)
{
    ASYNC(everything_inside, my) {
        my->ran = true;
        alive++;
        YIELD_FROM(CALL(wrapper, .depth = 2, .to = 2, .waits = true));
        YIELD_TO(my->word, 1);
        AWAIT(coil_sleep(0));
        YIELD_TO(my->word, my->word);

    FINALLY;
        AWAIT(coil_sleep(0));
        alive -= my->ran;
    }
}

COROUTINE(everything, struct coil_future *a, *b; int item, i; bool more;)
{
    ASYNC(everything, my) {
        my->a = CALL(wrapper, .depth = 1, .to = 3, .waits = true);
        my->b = CALL(numbers, .to = 9, .waits = true);
        NEXT(my->more, my->item, my->a);
        NEXT(my->more, my->item, my->b);
        FOR_AWAIT(my->item, my->a)
            AWAIT(coil_sleep(0));
        CLOSE(my->b);
        my->a = CALL(everything_inside);
        for (my->i = 0; my->i < 9; my->i++) {
            NEXT(my->more, my->item, my->a);
            if (!my->more)
                break;
            AWAIT(coil_sleep(0));
            SEND(my->a, my->i);
        }
        my->b = CALL(wrapper, .depth = 2, .to = 9, .waits = true);
        NEXT(my->more, my->item, my->b);
        RETURN(7);

    FINALLY;
        AWAIT(coil_sleep(0));
        CHECK_INT(alive, 0);
    }
}

static int in_time, in_trouble;

// Whatever it does then: each cleanup runs once, and before the consumer's.
TEST(generator_is_cancelled_at_every_point)
{
    for (int point = 0; in_time == 0; point++) {
        stage_open();
        alive = 0;
        struct coil_task *t = SPAWN(everything);
        stage_passes(point);
        bool asked = coil_task_cancel(t);
        CHECK_INT(stage_run(t), asked ? -ECANCELED : 0);
        in_time += !asked;
        in_trouble += asked;
        CHECK_INT(alive, 0);
        stage_close();
    }
    test_note("%d points", in_trouble);
    CHECK(in_trouble > 15);
}

static struct coil_future *everything_call(void)
{
    return CALL(everything);
}

static int run_everything(void)
{
    alive = 0;
    int err = coil_loop_new(&stage_loop, stage_options());
    if (err < 0)
        return err;
    struct coil_task *t = coil_spawn(everything_call());
    CHECK_INT(coil_loop_run_until_complete(stage_loop, t), 0);
    err = coil_future_error(coil_task_future(t));
    stage_close();
    CHECK_INT(alive, 0);
    return err;
}

TEST(generator_without_memory)
{
    test_every_allocation(run_everything);
}

COROUTINE(closes_without_memory, struct coil_future *a, *b; int item;
          bool more;)
{
    ASYNC(closes_without_memory, my) {
        my->a = CALL(wrapper, .depth = 3, .to = 9);
        my->b = CALL(wrapper, .depth = 3, .to = 9);
        NEXT(my->more, my->item, my->a);
        NEXT(my->more, my->item, my->b);
        test_forbid_allocations(true);
        SEND(my->a, 1);
        NEXT(my->more, my->item, my->a);
        CLOSE(my->a);

    FINALLY;
        test_forbid_allocations(false);
    }
}

// An item, an answer and a closing ask for none, the end of the body neither.
TEST(generator_gives_items_and_is_closed_without_memory)
{
    CHECK_INT(STAGE(closes_without_memory), 0);
}

/* ---- Who awaits its consumer --------------------------------------------- */

struct awaits_it {
    struct coil_coro coro;
    struct coil_task *task;
};

static void awaits_it(struct coil_coro *co)
{
    ASYNC(awaits_it, my) {
        AWAIT(my->task);

    FINALLY;
        trace("child");
    }
}

struct with_child {
    struct coil_coro coro;
    struct coil_task *consumer;
};

static void with_child(struct coil_coro *co)
{
    ASYNC(with_child, my) {
        START(awaits_it, .task = my->consumer);
        YIELD(1);
    }
}

struct leaves {
    struct coil_coro coro;
    struct hand *hand;
    int i;
};

static void leaves(struct coil_coro *co)
{
    ASYNC(leaves, my) {
        FOR_AWAIT(my->i, CALL(with_child, .consumer = coil_task_current())) {
            AWAIT(coil_sleep(0));
            break;
        }
        AWAIT(hand_op(my->hand));
        trace("went on");
    }
}

// The generator's child awaits the task that leaves the loop: to end the child
// is not to end that task, and neither waits for the other for ever.
TEST(generator_left_early_does_not_cancel_who_its_child_awaits)
{
    struct hand hand = { 0 };
    stage_open();
    struct coil_task *t = coil_spawn(CALL(leaves, .hand = &hand));
    stage_passes(8);
    CHECK_TRACE("child");
    CHECK_INT(hand.cancels, 0);
    CHECK_INT(coil_task_cancelling(t), 0);
    hand_set(&hand, 0, 0);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("went on");
    stage_close();
}
