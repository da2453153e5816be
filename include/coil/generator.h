// SPDX-License-Identifier: MIT
#ifndef COIL_GENERATOR_H
#define COIL_GENERATOR_H

/*
 * generator.h: coroutines that yield several values, one at a time.
 *
 *     static void countdown(struct coil_coro *co)
 *     {
 *         ASYNC(countdown, my) {
 *             for (; my->n > 0; my->n--)
 *                 YIELD(my->n);
 *         }
 *     }
 *
 *     FOR_AWAIT(my->i, CALL(countdown, .n = 5))
 *         printf("%d\n", my->i);
 *
 * A coroutine that yields is a generator. The coroutine that runs it is its
 * consumer. The generator runs while the consumer waits for the next item, and
 * is suspended at its YIELD between two items.
 *
 *     Python                              C
 *     yield v                             YIELD(v)
 *     x = yield v                         YIELD_TO(my->x, v)
 *     yield from inner()                  YIELD_FROM(CALL(inner))
 *     async for item in source:           FOR_AWAIT(my->item, source)
 *     item = await anext(generator, None) NEXT(my->more, my->item, generator)
 *     generator.send(v)                   SEND(generator, v), then NEXT
 *     await generator.aclose()            CLOSE(generator)
 *
 * coroutine.h includes this header.
 */

#include <coil/api.h>
#include <coil/coroutine.h>

#ifndef __cplusplus

/* ---- In a generator --------------------------------------------------- */

/* Give the next item to the consumer, and wait until it wants another one. */
#define COIL_YIELD(v) \
    COILI_AWAITS(COILI_PUT(co, v), coili_yield(co, __LINE__), coili_failed(co))

/*
 * YIELD, and take the value that the consumer sends (SEND) before it asks for
 * the next item. If the consumer sends none, the value is 0, or NULL. A value
 * of another kind than the lvalue's aborts; a value too large for the lvalue
 * fails with -EOVERFLOW.
 *
 * Source    x = yield v
 */
#define COIL_YIELD_TO(lvalue, v) \
    COILI_AWAITS_TO( \
        lvalue, COILI_PUT(co, v), coili_yield_to(co, __LINE__), \
        coili_sent_failed(co, COILI_KIND(lvalue), __FILE__, __LINE__))

/*
 * Yield each item of another generator (taken) as an item of this one, until
 * the other is over. Values sent to this generator go to the other one; an
 * error of the other one ends this coroutine; closing this generator closes the
 * other one first. YIELD_FROM_TO takes the value that the other one RETURNs. An
 * item costs the same however many generators delegate to each other. Aborts in
 * FINALLY.
 *
 * Source    x = yield from generator
 */
#define COIL_YIELD_FROM(generator) \
    COILI_AWAITS(COILI_WANT_GENERATOR(generator), \
                 coili_yield_from(co, (generator), __LINE__), \
                 (coili_from_over(co), coili_failed(co)))
#define COIL_YIELD_FROM_TO(lvalue, generator) \
    COILI_AWAITS_TO( \
        lvalue, COILI_WANT_GENERATOR(generator), \
        coili_yield_from(co, (generator), __LINE__), \
        (coili_from_over(co), \
         coili_failed_keep(co, COILI_KIND(lvalue), __FILE__, __LINE__)))

/* ---- In its consumer -------------------------------------------------- */

/*
 * Run a generator (taken), and the statement for each item that it yields.
 * `break` and `continue` work. A generator that is left early is cancelled, so
 * that its FINALLY runs, and has ended before this coroutine does. The value
 * that the generator RETURNs is dropped. As the branch of an `if` FOR_AWAIT
 * needs braces: -Wdangling-else warns of the `else` that is in the macro.
 *
 * Sources that coil has: coil_queue_items(), coil_channel_items(),
 * coil_stream_lines(), coil_as_completed(), coil_completions_items(),
 * coil_map() and its like, coil_signals(), coil_ticks().
 *
 * Source    async for
 */
#define COIL_FOR_AWAIT(item, source) \
    for (coili_iter_begin(co, (source), -1 - __LINE__); \
         coili_iter_live(co, -1 - __LINE__); \
         coili_iter_end(co, -1 - __LINE__)) \
        for (;;) \
            if (coili_iter_wait(co, -1 - __LINE__)) { \
                COILI_WANT_GENERATOR(source); \
                return; \
            COILI_RESUME_LOOP_AT(__LINE__); \
            } else if (coili_iter_failed(co, COILI_KIND(item), __FILE__, \
                                         __LINE__)) \
                goto coil_again; \
            else if (coili_iter_done(co)) \
                break; \
            else if (((item) = COILI_TAKE(item)), 0) { \
            } else

/*
 * Get one item of a generator that is kept in a field. If the generator has an
 * item, `more` is true and the item is stored. If the generator is over, `more`
 * is false, and the field is void: another NEXT aborts. From the first NEXT on
 * the generator belongs to this coroutine; its error ends this coroutine, as
 * with AWAIT.
 *
 *     my->numbers = CALL(countdown, .n = 5);
 *     NEXT(my->more, my->first, my->numbers);
 *     FOR_AWAIT(my->i, my->numbers)       // goes on with the second
 *         ...
 *
 * A later FOR_AWAIT or YIELD_FROM takes the generator and goes on where it
 * stands. In the loop of a FOR_AWAIT over the generator, NEXT skips an item,
 * SEND answers, and CLOSE ends the loop.
 *
 * Lifetime  a generator that is not over when the body ends is closed then,
 *           before FINALLY; one begun in a GROUP, at its closing brace
 * Source    anext(generator, default)
 */
#define COIL_NEXT(more, item, generator) \
    COILI_AWAITS_ITEM( \
        more, item, generator, \
        coili_iter_failed(co, COILI_KIND(item), __FILE__, __LINE__))

/*
 * NEXT that stores the outcome, 0 or the error, in the int `err`, as
 * TRY_AWAIT_TO does: not this task's own cancellation. After an error of the
 * generator there are no more items. An item that does not fit (-EOVERFLOW) is
 * lost, and the next NEXT gives the item behind it.
 */
#define COIL_TRY_NEXT(err, more, item, generator) \
    COILI_AWAITS_ITEM( \
        more, item, generator, \
        coili_iter_caught(co, &(err), COILI_KIND(item), __FILE__, __LINE__))

/*
 * Set the value that a generator gets from its YIELD_TO when it runs next. A
 * plain YIELD drops the value, and a second SEND replaces it. SEND is no await
 * and needs no memory. SEND aborts if this coroutine does not run the
 * generator: if the generator is over, belongs to another coroutine, or has not
 * begun, since no YIELD_TO would get the value.
 *
 *     SEND(my->multiplier, 7);
 *     NEXT(my->more, my->product, my->multiplier);
 *
 * Source    generator.send(v), without its turn
 */
#define COIL_SEND(generator, v) \
    do { \
        COILI_WANT_GENERATOR(generator); \
        struct coil_coro *coili_to = coili_send(co, (generator), __FILE__, \
                                                __LINE__); \
        COILI_PUT(coili_to, v); \
    } while (0)

/*
 * Close a generator before its end, begun or not: the generator is cancelled
 * where it yielded, and has run its FINALLY when this await ends. The end of
 * the body closes all generators that NEXT has begun, so FINALLY needs no
 * CLOSE. A cancellation does not end the await of CLOSE: it strikes what the
 * generator's FINALLY awaits, and then the next await here.
 *
 * Errors    the error that the generator ends with, as of a child of its GROUP
 * Lifetime  takes
 * Source    generator.aclose()
 */
#define COIL_CLOSE(generator) \
    COILI_AWAITS(COILI_WANT_GENERATOR(generator), \
                 coili_close(co, (generator), __LINE__), \
                 coili_close_failed(co))

/* ---- Short names ------------------------------------------------------ */

#ifndef COIL_NO_SHORT_NAMES
#define YIELD(v) COIL_YIELD(v)
#define YIELD_TO(lvalue, v) COIL_YIELD_TO(lvalue, v)
#define YIELD_FROM(generator) COIL_YIELD_FROM(generator)
#define YIELD_FROM_TO(lvalue, generator) COIL_YIELD_FROM_TO(lvalue, generator)
#define FOR_AWAIT(item, source) COIL_FOR_AWAIT(item, source)
#define NEXT(more, item, generator) COIL_NEXT(more, item, generator)
#define TRY_NEXT(err, more, item, generator) \
    COIL_TRY_NEXT(err, more, item, generator)
#define SEND(generator, v) COIL_SEND(generator, v)
#define CLOSE(generator) COIL_CLOSE(generator)
#endif

/* ---- Behind the macros; private --------------------------------------- */

#define COILI_WANT_GENERATOR(x) \
    _Static_assert(_Generic((x), struct coil_future *: 1, default: 0), \
                   "a generator is a struct coil_future *, as CALL(f, ...) " \
                   "makes it; a task from SPAWN(f, ...) runs by itself: " \
                   "AWAIT it")

/*
 * The place at which a loop goes on with the next item. Its number is negative,
 * so that a loop and an await in its body may stand on one line.
 */
#define COILI_RESUME_LOOP_AT(line) COILI_RESUME_LOOP_LABEL(line)
#define COILI_RESUME_LOOP_LABEL(line) \
    case -1 - line: \
    coil_one_for_await_per_line_##line: __attribute__((unused))

/* The await of a turn: `item` is stored if `more` is true. */
#define COILI_AWAITS_ITEM(more, item, generator, failed) \
    do { \
        COILI_WANT_GENERATOR(generator); \
        if (coili_next(co, (generator), __LINE__)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        if (failed) \
            goto coil_again; \
        if (((more) = !coili_iter_done(co))) \
            (item) = COILI_TAKE(item); \
    } while (0)

COIL_API bool coili_yield(struct coil_coro *co, int line);
COIL_API bool coili_yield_to(struct coil_coro *co, int line);
COIL_API bool coili_sent_failed(struct coil_coro *co, enum coili_kind kind,
                                const char *file, int line);

COIL_API void coili_iter_begin(struct coil_coro *co, struct coil_future *source,
                               int id);
COIL_API bool coili_iter_live(const struct coil_coro *co, int id);
COIL_API bool coili_iter_wait(struct coil_coro *co, int id);
COIL_API bool coili_iter_failed_slow(struct coil_coro *co, enum coili_kind kind,
                                     const char *file, int line);
COIL_API bool coili_iter_caught(struct coil_coro *co, int *err,
                                enum coili_kind kind, const char *file,
                                int line);
COIL_API bool coili_iter_done_slow(struct coil_coro *co);
COIL_API void coili_iter_end(struct coil_coro *co, int id);
COIL_API bool coili_next(struct coil_coro *co, struct coil_future *source,
                         int line);
COIL_API struct coil_coro *coili_send(struct coil_coro *co,
                                      struct coil_future *source,
                                      const char *file, int line);
COIL_API bool coili_close(struct coil_coro *co, struct coil_future *source,
                          int line);
COIL_API bool coili_close_failed(struct coil_coro *co);
COIL_API bool coili_yield_from(struct coil_coro *co, struct coil_future *source,
                               int line);
COIL_API void coili_from_over(struct coil_coro *co);

/*
 * coili_failed_keep() for an item, which is the outcome of a generator that is
 * not done.
 */
static inline bool coili_iter_failed(struct coil_coro *co, enum coili_kind kind,
                                     const char *file, int line)
{
    const struct coil_future *f = (struct coil_future *)co->awaiting;
    if (f->state == COILI_INT << COILI_OUTCOME_SHIFT
            ? coili_fits_int(kind, f->result.i)
            : f->state == COILI_POINTER << COILI_OUTCOME_SHIFT &&
                  kind == COILI_KIND_POINTER)
        return false;
    return coili_iter_failed_slow(co, kind, file, line);
}

/* True if the turn brought no item: the generator is over, or has failed. */
static inline bool coili_iter_done(struct coil_coro *co)
{
    const struct coil_future *f = (struct coil_future *)co->awaiting;
    return (!f || f->state & COILI_STATE) && coili_iter_done_slow(co);
}

#endif /* !__cplusplus */

#endif
