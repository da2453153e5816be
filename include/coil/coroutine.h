// SPDX-License-Identifier: MIT
#ifndef COIL_COROUTINE_H
#define COIL_COROUTINE_H

/*
 * coroutine.h: async and await, in C.
 *
 *     struct greet {
 *         struct coil_coro coro;      // first: where to resume
 *         const char *name;           // arguments and whatever outlives
 *         int i;                      // an await
 *     };
 *
 *     static void greet(struct coil_coro *co)
 *     {
 *         ASYNC(greet, my) {
 *             for (my->i = 0; my->i < 3; my->i++) {
 *                 printf("hello, %s\n", my->name);
 *                 AWAIT(coil_sleep(COIL_SECONDS(1)));
 *             }
 *         }
 *     }
 *
 *     int main(void) { return RUN(greet, .name = "world") < 0; }
 *
 * A coroutine is a function over a struct, and both bear one name. The struct
 * is its frame. The braces of ASYNC are its body; `my` is the frame in it. An
 * await that has to wait returns from the function; the loop calls it again and
 * the body goes on behind the await: a switch over line numbers (Duff's
 * device).
 *
 * An await that fails ends the coroutine with that error, by way of FINALLY,
 * unless a block around it takes the error or makes another one of it. Blocks
 * are the words for a part of a body, as in Python; they are in block.h, and
 * the first to learn after this page:
 *
 *     TRY(my->err) {                      // try: ... except
 *         WITHIN(COIL_SECONDS(2)) {       // async with asyncio.timeout(2):
 *             AWAIT_TO(my->n, ...);
 *         }
 *     }
 *     WITH(&my->lock) { ... }             // async with lock:
 *     GROUP(&my->group) { SPAWN(...); }   // async with TaskGroup():  (group.h)
 *
 * A variable that must outlive an await is a field; a local is lost there. gcc
 * warns of some such locals at -O1, clang of some with
 * -Wconditional-uninitialized, and a libcoil that was built with cmake
 * -DCOIL_DEBUG=ON overwrites the rest.
 * The other traps do not compile or abort:
 *   - no `switch` of your own around an await: aborts at the first resume;
 *   - one await a line: does not compile otherwise ("duplicate label");
 *   - no `return` in the body, but RETURN(v) and FAIL(err): aborts; a `break`
 *     or `continue` that is in no loop ends the body, as its closing brace
 *     does;
 *   - a frame of at most COIL_FRAME_BYTES_MAX bytes: does not compile
 *     otherwise;
 *   - ASYNC names its own function: gcc at -O1 and clang refuse another name.
 *
 * Every task that a coroutine starts is its child. When its body ends, for
 * whatever reason, children that still run are cancelled and awaited, then
 * FINALLY runs, then what the coroutine HOLDs is released, then its result is
 * published. So its fields may be lent to its children.
 */

#include <errno.h>
#include <string.h>

#include <coil/api.h>
#include <coil/future.h>
#include <coil/loop.h>

COIL_BEGIN_DECLS

struct coil_condition;
struct coil_coro;
struct coil_limiter;
struct coil_lock;
struct coil_semaphore;
struct coil_task;
struct coili_scope;

typedef void coil_step_fn(struct coil_coro *co);

/* The head of every frame, 64 bytes. The fields are private. */
struct coil_coro {
    struct coil_future future;
    coil_step_fn *step;
    uintptr_t awaiting;
    uintptr_t next;
    struct coili_scope *scopes;
    int32_t line;
    uint32_t since;
};

/* Where a coroutine stands in the source. Private. */
struct coil_site {
    const char *file;
    const char *name;
    int line;
    void (*give)(void);
};

/* The largest frame. */
#define COIL_FRAME_BYTES_MAX 16384

COIL_END_DECLS

#ifndef __cplusplus

/* ---- Calling ---------------------------------------------------------- */

/*
 * A coroutine with its arguments by name; fields that are not named are zero.
 * The coroutine runs when it is awaited, spawned or combined, not before.
 *
 *     AWAIT(CALL(greet, .name = "world"));
 *
 * Result    a struct coil_future *; without memory one that has failed with
 *           -ENOMEM
 * Lifetime  gives; the await takes it. coil_discard() for one never awaited
 */
#define COIL_CALL(...) COILI_CALL(__VA_ARGS__, .coro.line = 0)

/*
 * The same in your memory, mostly a field of your frame: nothing is allocated
 * and the call cannot fail. Results larger than a word are read from that
 * frame.
 *
 *     AWAIT(CALL_IN(&my->child, greet, .name = "world"));
 *
 * Lifetime  lends `place` until the coroutine is done
 */
#define COIL_CALL_IN(place, ...) \
    COILI_CALL_IN(place, __VA_ARGS__, .coro.line = 0)

/*
 * Run a coroutine concurrently, as a task that is a child of this one. Its
 * first step is queued behind the steps that are ready. A task that still runs
 * when this body ends is cancelled then; JOIN() waits until all children have
 * ended. A task spawned in a GROUP belongs to the group, whose closing brace
 * waits for it (group.h). The task's frame is kept until this coroutine is
 * over, or the GROUP is entered again: in an endless loop use START, or drop
 * the handle.
 *
 * Result    a struct coil_task *, to be awaited any number of times; without
 *           memory one that has failed with -ENOMEM
 * Lifetime  views: valid until this coroutine is over or coil_task_drop()
 * Source    asyncio.create_task()
 */
#define COIL_SPAWN(...) COILI_SPAWN(__VA_ARGS__, .coro.line = 0)

/*
 * The same without a handle, for accept loops: freed when it ends; an error
 * goes to the loop's exception handler.
 *
 * Result    0 or -ENOMEM
 */
#define COIL_START(...) COILI_START(__VA_ARGS__, .coro.line = 0)

/*
 * Make this thread's loop, run the coroutine in it, close it.
 *
 * RUN_WITH takes options (loop.h), RUN_TO puts the coroutine's result into an
 * lvalue if it ended well, RUN_WITH_TO does both.
 *
 * Ctrl-C: in the main thread, if SIGINT has its default disposition and unless
 * options.leave_sigint, the first SIGINT cancels the coroutine, for the reason
 * COIL_CANCEL_INTERRUPT; a second one ends the process at once, as without
 * coil. A listener to SIGINT (signal.h) gets the signal instead.
 *
 * Result    0, or the error of the loop or of the coroutine; -EINTR if the
 *           coroutine was cancelled by SIGINT and by nothing else
 * Source    asyncio.run()
 */
#define COIL_RUN(...) COIL_RUN_WITH(NULL, __VA_ARGS__)
#define COIL_RUN_WITH(options, ...) \
    (coili_run_begin((options), COILI_ABI), \
     coili_run_end(COIL_CALL(__VA_ARGS__), COILI_KIND_NONE, NULL))
#define COIL_RUN_TO(lvalue, ...) COIL_RUN_WITH_TO(NULL, lvalue, __VA_ARGS__)
#define COIL_RUN_WITH_TO(options, lvalue, ...) \
    (coili_run_begin((options), COILI_ABI), \
     coili_run_end(COIL_CALL(__VA_ARGS__), COILI_KIND(lvalue), &(lvalue)))

/*
 * The same on a loop that this thread has made, any number of times: tasks that
 * the coroutine has detached go on at the next run. Aborts inside another run.
 *
 *     coil_loop_new(&loop, NULL);
 *     err = RUN_ON(loop, first);
 *     err = RUN_ON_TO(loop, answer, second, .name = "x");
 *     coil_loop_close(loop);
 *
 * Result    as RUN; COIL_ESTOPPED after coil_loop_stop(): the coroutine goes on
 *           at the next run
 * Source    asyncio.Runner.run()
 */
#define COIL_RUN_ON(loop, ...) \
    (coili_run_on_begin((loop), COILI_ABI), \
     coili_run_on_end(COIL_CALL(__VA_ARGS__), COILI_KIND_NONE, NULL))
#define COIL_RUN_ON_TO(loop, lvalue, ...) \
    (coili_run_on_begin((loop), COILI_ABI), \
     coili_run_on_end(COIL_CALL(__VA_ARGS__), COILI_KIND(lvalue), &(lvalue)))

/* ---- The body --------------------------------------------------------- */

/*
 * Opens the body of coroutine T, in which `my` is its frame; ASYNC(T) is enough
 * where no field is used. The parameter of the function must be called co.
 *
 * Expansion of ASYNC(greet, my) { ... AWAIT(x); ... }:
 *
 *     for (struct greet *my = co; my; my = coili_leave(co, &site))
 *         coil_again: switch (co->line) case 0: {
 *             ...
 *             if (coili_await(co, x, 7)) { return; case 7:; }
 *             if (coili_failed(co)) goto coil_again;
 *             ...
 *         }
 *
 * A line that the switch does not know falls to coili_leave(), which ends the
 * coroutine, or aborts with a message.
 */
#define COIL_ASYNC(...) \
    COILI_FOURTH(__VA_ARGS__, COILI_ASYNC_3, COILI_ASYNC_2, COILI_ASYNC_1, ) \
    (__VA_ARGS__)

/*
 * The same for a coroutine that returns a pointer to memory that it allocated:
 * if no await or call takes the pointer, `free_fn` frees it with the future.
 * NULL is not freed.
 */
#define COIL_ASYNC_GIVES(T, my, free_fn) \
    _Static_assert(offsetof(struct T, coro) == 0, \
                   "struct " #T ": coro must come first: make struct " \
                   "coil_coro coro its first member"); \
    static const struct coil_site coil_site = { \
        __FILE__, #T, __LINE__, (void (*)(void))(free_fn) \
    }; \
    if (__builtin_constant_p(__builtin_strcmp(__func__, #T)) && \
        __builtin_strcmp(__func__, #T) != 0) \
        coili_function_of_another_name(); \
    for (struct T *my = (struct T *)(void *)co; my; \
         my = coili_leave(co, &coil_site)) \
        if (co->future.state) \
            goto coil_again; \
        else \
            coil_again: \
            switch (co->line) \
            case 0:

/*
 * Declares struct T, the frame, and begins the definition of the function T,
 * which is static. Fields may follow the name; without them the coroutine takes
 * no arguments.
 *
 *     COROUTINE(tick)
 *     {
 *         ASYNC(tick) {
 *             AWAIT(coil_sleep(COIL_SECONDS(1)));
 *         }
 *     }
 *
 *     COROUTINE(greet, const char *name; int i, j;)
 *     {
 *         ASYNC(greet, my) {
 *             ...
 *
 * For a coroutine that is called before its definition, or in another file,
 * write its struct and a declaration of its function there, as above.
 */
#define COIL_COROUTINE(...) \
    COILI_COROUTINE(COILI_SECOND(__VA_ARGS__, COILI_NONE, )) \
    (__VA_ARGS__)

/*
 * The code behind FINALLY runs exactly once, however the body ended; also when
 * the coroutine was cancelled before its first step: fields that CALL was not
 * given are zero then. The code may await; an await that fails there does not
 * jump, and the coroutine keeps its first error, also that of a cancellation.
 * Use TRY_AWAIT or TRY where a failure must be known. FINALLY stands behind all
 * blocks of the body.
 */
#define COIL_FINALLY \
    do { \
        coili_body_over(co); \
        goto coil_again; \
    case COILI_LINE_FINALLY: \
    coil_one_finally_per_coroutine: __attribute__((unused)); \
        coili_in_finally(co); \
    } while (0)

/*
 * End this coroutine with a word, or with an error (and a detail).
 *
 * The value of RETURN stands: a cancellation that was requested before, and
 * that has struck no await, is too late for a task; in a callee it strikes the
 * next await of the caller. A body that runs off its end gives the integer 0; a
 * task with such a request then ends cancelled. In blocks a value or an error
 * passes the closing braces on its way out. The closing brace of a GROUP that
 * has to wait is an await, and a cancellation there takes the place of the
 * value.
 */
#define COIL_RETURN(v) \
    do { \
        COILI_PUT(co, v); \
        coili_body_over(co); \
        goto coil_again; \
    } while (0)
#define COIL_FAIL(err) COIL_FAIL_WITH(err, 0)
#define COIL_FAIL_WITH(err, detail) \
    do { \
        coili_fail(co, (err), (detail), __FILE__, __LINE__); \
        goto coil_again; \
    } while (0)

/*
 * Await `x` and end as `x` has ended: with its value or error, and the
 * ownership of a pointer.
 */
#define COIL_RETURN_AWAIT(x) \
    do { \
        COILI_WANT_AWAITABLE(x); \
        if (COILI_SUSPEND(x)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        coili_return_awaited(co); \
        goto coil_again; \
    } while (0)

/* ---- Awaiting --------------------------------------------------------- */

/*
 * Wait for a future (taken) or a task (borrowed); NULL aborts. AWAIT_TO stores
 * its result; a value of another kind than the lvalue's aborts, a value too
 * large for the lvalue fails with -EOVERFLOW. The integer 0, as of a coroutine
 * that ends without RETURN, is NULL in a pointer and 0.0 in a double. An error
 * of `x` ends this coroutine, by way of FINALLY. Store into fields: for a local
 * gcc may warn that it is not initialised, since an await in FINALLY stores
 * nothing when it fails.
 */
#define COIL_AWAIT(x) \
    do { \
        COILI_WANT_AWAITABLE(x); \
        if (COILI_SUSPEND(x)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        if (coili_failed(co)) \
            goto coil_again; \
    } while (0)
#define COIL_AWAIT_TO(lvalue, x) \
    do { \
        COILI_WANT_AWAITABLE(x); \
        if (COILI_SUSPEND(x)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        if (coili_failed_keep(co, COILI_KIND(lvalue), __FILE__, __LINE__)) \
            goto coil_again; \
        if (coili_has_value(co)) \
            (lvalue) = COILI_TAKE(lvalue); \
    } while (0)

/*
 * The same, but the outcome, 0 or the error, lands in the int `err`. This
 * task's own cancellation does not land there: the coroutine goes on to
 * FINALLY.
 */
#define COIL_TRY_AWAIT(err, x) \
    do { \
        COILI_WANT_AWAITABLE(x); \
        if (COILI_SUSPEND(x)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        if (coili_caught(co, &(err))) \
            goto coil_again; \
    } while (0)
#define COIL_TRY_AWAIT_TO(err, lvalue, x) \
    do { \
        COILI_WANT_AWAITABLE(x); \
        if (COILI_SUSPEND(x)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        if (coili_caught_keep(co, &(err), COILI_KIND(lvalue), __FILE__, \
                              __LINE__)) \
            goto coil_again; \
        if (coili_has_value(co)) \
            (lvalue) = COILI_TAKE(lvalue); \
    } while (0)

/* Wait for every child of this coroutine. Each error stays in its task. */
#define COIL_JOIN() \
    do { \
        if (coili_join(co, __LINE__)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        if (coili_failed(co)) \
            goto coil_again; \
    } while (0)

/* ---- Generators ------------------------------------------------------- */

/*
 * A coroutine that yields is a generator. The generator runs while its consumer
 * waits for the next item, and is suspended at its YIELD between two items.
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
 */

/* Give the next item to the consumer, the coroutine that runs this one. */
#define COIL_YIELD(v) \
    do { \
        COILI_PUT(co, v); \
        if (coili_yield(co, __LINE__)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        if (coili_failed(co)) \
            goto coil_again; \
    } while (0)

/*
 * The same, and take the value that the consumer has sent before it asked for
 * the next item. If none was sent, the value is 0, or NULL. A value of another
 * kind than the lvalue's aborts; one too large for it fails with -EOVERFLOW.
 *
 * Source    x = yield v
 */
#define COIL_YIELD_TO(lvalue, v) \
    do { \
        COILI_PUT(co, v); \
        if (coili_yield_to(co, __LINE__)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        if (coili_sent_failed(co, COILI_KIND(lvalue), __FILE__, __LINE__)) \
            goto coil_again; \
        if (coili_has_value(co)) \
            (lvalue) = COILI_TAKE(lvalue); \
    } while (0)

/*
 * Yield each item of another generator (taken) as an item of this one, until
 * the other is over. Values sent to this generator go to the other one; the
 * error of the other ends this coroutine; and closing this one closes the other
 * first. YIELD_FROM_TO takes what the other RETURNs. An item costs the same
 * however many generators delegate to each other. Aborts in FINALLY.
 *
 * Source    x = yield from generator
 */
#define COIL_YIELD_FROM(generator) \
    do { \
        COILI_WANT_GENERATOR(generator); \
        if (coili_yield_from(co, (generator), __LINE__)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        coili_from_over(co); \
        if (coili_failed(co)) \
            goto coil_again; \
    } while (0)
#define COIL_YIELD_FROM_TO(lvalue, generator) \
    do { \
        COILI_WANT_GENERATOR(generator); \
        if (coili_yield_from(co, (generator), __LINE__)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        coili_from_over(co); \
        if (coili_failed_keep(co, COILI_KIND(lvalue), __FILE__, __LINE__)) \
            goto coil_again; \
        if (coili_has_value(co)) \
            (lvalue) = COILI_TAKE(lvalue); \
    } while (0)

/*
 * Run a generator (taken) and the statement for each item it yields. `break`
 * and `continue` work; a generator left early is cancelled, so that its
 * FINALLY runs, and has ended before this coroutine does. What the generator
 * RETURNs is not kept. As the branch of an `if` FOR_AWAIT needs braces:
 * -Wdangling-else warns of the `else` that is in the macro.
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
 * One item of a generator that is kept in a field. `more` is true and the item
 * is stored; or the generator is over, `more` is false, and the field is void:
 * another NEXT aborts. From the first NEXT on the generator belongs to this
 * coroutine; its error ends this coroutine, as with AWAIT.
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
    do { \
        COILI_WANT_GENERATOR(generator); \
        if (coili_next(co, (generator), __LINE__)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        if (coili_iter_failed(co, COILI_KIND(item), __FILE__, __LINE__)) \
            goto coil_again; \
        if (((more) = !coili_iter_done(co))) \
            (item) = COILI_TAKE(item); \
    } while (0)

/*
 * The same, but the outcome, 0 or the error, lands in the int `err`, as for
 * TRY_AWAIT_TO: not this task's own cancellation. After an error of the
 * generator there are no more items; after an item that did not fit
 * (-EOVERFLOW), which is lost, NEXT gives the item behind it.
 */
#define COIL_TRY_NEXT(err, more, item, generator) \
    do { \
        COILI_WANT_GENERATOR(generator); \
        if (coili_next(co, (generator), __LINE__)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        if (coili_iter_caught(co, &(err), COILI_KIND(item), __FILE__, \
                              __LINE__)) \
            goto coil_again; \
        if (((more) = !coili_iter_done(co))) \
            (item) = COILI_TAKE(item); \
    } while (0)

/*
 * Set the value that a generator gets from its YIELD_TO when it is run next. A
 * plain YIELD drops the value, a second SEND replaces it. SEND is no await and
 * needs no memory. SEND to a generator that this coroutine does not run aborts:
 * one that is over, belongs to another coroutine, or was not begun, since no
 * YIELD_TO would get the value.
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
 * where it yielded and has run its FINALLY when this await ends. The end of the
 * body closes all generators that NEXT has begun; so CLOSE is not for FINALLY.
 * A cancellation does not end the await of CLOSE: it strikes what the
 * generator's FINALLY awaits, and then the next await here.
 *
 * Errors    the error that the generator ends with, as of a child of its GROUP
 * Lifetime  takes
 * Source    generator.aclose()
 */
#define COIL_CLOSE(generator) \
    do { \
        COILI_WANT_GENERATOR(generator); \
        if (coili_close(co, (generator), __LINE__)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        if (coili_close_failed(co)) \
            goto coil_again; \
    } while (0)

/* ---- What belongs to this coroutine ----------------------------------- */

/*
 * Acquire a lock, that of a condition, a permit of a semaphore or a token of a
 * limiter, waiting for it, until this coroutine ends; RELEASE gives it back
 * before. For a part of the body there is WITH (block.h). HOLD of an object
 * that this coroutine holds already aborts, and so does RELEASE of one that it
 * does not hold.
 *
 * Children end before the held object is released: a child that needs the
 * object in order to end, as the wait of a condition does, would wait for ever.
 * Use WITH there.
 */
#define COIL_HOLD(x) \
    do { \
        COILI_WANT_HOLDABLE(x); \
        COILI_HOLD(COILI_HOLDING(x)); \
    } while (0)

/*
 * The same for any object: await `acquire` (taken, and its value with it); if
 * `acquire` succeeds, `release(object)` is called when this coroutine is over,
 * or by RELEASE(object).
 *
 * Lifetime  lends `object` until it is released
 * Source    contextlib.AsyncExitStack.enter_async_context()
 */
#define COIL_HOLD_WITH(object, release, acquire) \
    COILI_HOLD(coil_hold(co, (object), (release), (acquire)))
#define COIL_RELEASE(x) coil_release(co, (x))

/* ---- Short names ------------------------------------------------------ */

#ifndef COIL_NO_SHORT_NAMES
#define CALL(...) COIL_CALL(__VA_ARGS__)
#define CALL_IN(place, ...) COIL_CALL_IN(place, __VA_ARGS__)
#define SPAWN(...) COIL_SPAWN(__VA_ARGS__)
#define START(...) COIL_START(__VA_ARGS__)
#define RUN(...) COIL_RUN(__VA_ARGS__)
#define RUN_WITH(options, ...) COIL_RUN_WITH(options, __VA_ARGS__)
#define RUN_TO(lvalue, ...) COIL_RUN_TO(lvalue, __VA_ARGS__)
#define RUN_WITH_TO(options, lvalue, ...) \
    COIL_RUN_WITH_TO(options, lvalue, __VA_ARGS__)
#define RUN_ON(loop, ...) COIL_RUN_ON(loop, __VA_ARGS__)
#define RUN_ON_TO(loop, lvalue, ...) COIL_RUN_ON_TO(loop, lvalue, __VA_ARGS__)
#define COROUTINE(...) COIL_COROUTINE(__VA_ARGS__)
#define ASYNC(...) COIL_ASYNC(__VA_ARGS__)
#define ASYNC_GIVES(T, my, free_fn) COIL_ASYNC_GIVES(T, my, free_fn)
#define FINALLY COIL_FINALLY
#define RETURN(v) COIL_RETURN(v)
#define FAIL(err) COIL_FAIL(err)
#define FAIL_WITH(err, detail) COIL_FAIL_WITH(err, detail)
#define RETURN_AWAIT(x) COIL_RETURN_AWAIT(x)
#define AWAIT(x) COIL_AWAIT(x)
#define AWAIT_TO(lvalue, x) COIL_AWAIT_TO(lvalue, x)
#define TRY_AWAIT(err, x) COIL_TRY_AWAIT(err, x)
#define TRY_AWAIT_TO(err, lvalue, x) COIL_TRY_AWAIT_TO(err, lvalue, x)
#define JOIN() COIL_JOIN()
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
#define HOLD(x) COIL_HOLD(x)
#define HOLD_WITH(object, release, acquire) \
    COIL_HOLD_WITH(object, release, acquire)
#define RELEASE(x) COIL_RELEASE(x)
#endif

/* ---- Behind the macros; private --------------------------------------- */

#define COILI_LINE_FINALLY INT32_MAX

/* One argument or two: in C11 `...` is at least one, so they are counted. */
#define COILI_FOURTH(a, b, c, d, ...) d
#define COILI_ASYNC_1(T) COIL_ASYNC_GIVES(T, coili_my, NULL)
#define COILI_ASYNC_2(T, my) COIL_ASYNC_GIVES(T, my, NULL)
#define COILI_ASYNC_3(T, my, free_fn) \
    _Static_assert(0, "ASYNC(f, my) takes no third word: what frees a result " \
                      "is for ASYNC_GIVES(f, my, free_fn)"); \
    COIL_ASYNC_GIVES(T, my, free_fn)

/*
 * Fields may have any number of commas. So the second argument is asked for:
 * COILI_NONE stands there if there is but one, and pasted to COILI_IF_ it is a
 * macro with a comma, which the beginning of a field is not.
 */
#define COILI_SECOND(a, b, ...) b
#define COILI_SECOND_OF(...) COILI_SECOND(__VA_ARGS__)
#define COILI_COROUTINE(second) COILI_COROUTINE_IF(second)
#define COILI_COROUTINE_IF(second) \
    COILI_SECOND_OF(COILI_IF_##second, COILI_COROUTINE_FIELDS, )
#define COILI_IF_COILI_NONE , COILI_COROUTINE_PLAIN
#define COILI_COROUTINE_PLAIN(T) COILI_COROUTINE_FIELDS(T, )
#define COILI_COROUTINE_FIELDS(T, ...) \
    struct T { \
        struct coil_coro coro; \
        __VA_ARGS__ \
    }; \
    static void T(struct coil_coro *co)

/* A program and a library of different frames must not meet. */
#define COILI_ABI \
    ((uint32_t)COIL_VERSION_MAJOR << 24 | (uint32_t)COIL_VERSION_MINOR << 16 | \
     (uint32_t)sizeof(struct coil_coro))

#define COILI_TEXT(number) COILI_TEXT_OF(number)
#define COILI_TEXT_OF(number) #number

#define COILI_FRAME_SIZE(T) \
    (sizeof(struct T) + \
     0 * sizeof(struct { \
         _Static_assert( \
             sizeof(struct T) <= COIL_FRAME_BYTES_MAX, \
             "struct " #T ": a frame is at most " COILI_TEXT( \
                 COIL_FRAME_BYTES_MAX) " bytes " \
                                       "(COIL_FRAME_BYTES_MAX): keep a large " \
                                       "buffer behind a " \
                                       "pointer, as from coil_alloc()"); \
         _Static_assert(_Alignof(struct T) <= 16, \
                        "struct " #T ": a frame is aligned to at most 16 " \
                        "bytes: keep what needs more behind a pointer, as " \
                        "from aligned_alloc()"); \
         char c; \
     }))

#define COILI_CALL(T, ...) \
    coili_call(coili_frame_new(T, COILI_BLOCK(T)), sizeof(struct T), \
               &(struct T){ __VA_ARGS__ })
/*
 * Make a task directly, not by way of a future. Tasks that its arguments spawn
 * are made, and queued, before this one.
 */
#define COILI_SPAWN(T, ...) \
    coili_spawned(T, COILI_BLOCK(T), sizeof(struct T), \
                  &(struct T){ __VA_ARGS__ })
#define COILI_START(T, ...) \
    coili_started(T, COILI_BLOCK(T), sizeof(struct T), \
                  &(struct T){ __VA_ARGS__ })

/*
 * A frame's block: its size, with room for the task's words in front. Sizes
 * are even: an odd one says that the frame is aligned to 16.
 */
#define COILI_BLOCK(T) \
    (uint32_t)(COILI_FRAME_SIZE(T) + (_Alignof(struct T) > 8 ? 33 : 24))
#define COILI_CALL_IN(place, T, ...) \
    coili_call_in(T, COILI_FRAME_SIZE(T), *(struct T *[1]){ (place) }, \
                  &(struct T){ __VA_ARGS__ })

/* The future that acquires `x`. */
#define COILI_HOLDING(x) \
    _Generic((x), \
             struct coil_semaphore *: coili_hold_semaphore, \
             struct coil_limiter *: coili_hold_limiter, \
             struct coil_condition *: coili_hold_condition, \
             struct coil_lock *: coili_hold_lock, \
             default: coili_hold_other)(co, (x))

/*
 * Where a coroutine goes on. The label says to the compiler's user what a
 * second await on the line is: "duplicate label coil_one_await_per_line_12".
 * A loop and an await in its body may stand on one line.
 */
#define COILI_RESUME_AT(line) COILI_RESUME_LABEL(line)
#define COILI_RESUME_LABEL(line) \
    case line: \
    coil_one_await_per_line_##line: __attribute__((unused))
#define COILI_RESUME_LOOP_AT(line) COILI_RESUME_LOOP_LABEL(line)
#define COILI_RESUME_LOOP_LABEL(line) \
    case -1 - line: \
    coil_one_for_await_per_line_##line: __attribute__((unused))

#define COILI_WANT_HOLDABLE(x) \
    _Static_assert(_Generic((x), \
                            struct coil_semaphore *: 1, \
                            struct coil_limiter *: 1, \
                            struct coil_condition *: 1, \
                            struct coil_lock *: 1, \
                            default: 0), \
                   COILI_WANTS_HOLDABLE)
#define COILI_WANTS_HOLDABLE \
    "WITH and HOLD want the address of a lock, condition, semaphore or " \
    "limiter; for anything else there is USING(object, release, acquire)"

#define COILI_HOLD(x) \
    do { \
        if (coili_await(co, (x), __LINE__)) { \
            return; \
        COILI_RESUME_AT(__LINE__); \
        } \
        if (coili_hold_failed(co)) \
            goto coil_again; \
    } while (0)

/*
 * 0 if the constant `cond` is true, else the compiler says `what`. Unlike a
 * _Static_assert it stands in an expression; which must not be one with a CALL
 * in it: clang takes a compound literal in a struct for one of file scope.
 */
#define COILI_REQUIRE(cond, what) \
    (0 * (int)sizeof(struct { \
         _Static_assert((cond), what); \
         char c; \
     }))

#define COILI_SUSPEND(x) \
    _Generic((x), \
             struct coil_task *: coili_await_task, \
             struct coil_future *: coili_await, \
             default: coili_await_other)(co, (x), __LINE__)
#define COILI_WANT_AWAITABLE(x) \
    _Static_assert(_Generic((x), \
                            struct coil_task *: 1, \
                            struct coil_future *: 1, \
                            default: 0), \
                   COILI_WANTS_AWAITABLE)
#define COILI_WANTS_AWAITABLE \
    "AWAIT wants a struct coil_future * or a struct coil_task *: call a " \
    "coroutine with CALL(f, ...), or start one with SPAWN(f, ...)"

#define COILI_WANT_GENERATOR(x) \
    _Static_assert(_Generic((x), struct coil_future *: 1, default: 0), \
                   "a generator is a struct coil_future *, as CALL(f, ...) " \
                   "makes it; a task from SPAWN(f, ...) runs by itself: " \
                   "AWAIT it")

/* The two branches promote: a bit-field has a type of its own in gcc. */
#define COILI_PUT(to, v) \
    do { \
        _Static_assert(COILI_IS_VALUE(v), \
                       "a result or an item is one integer, double or " \
                       "pointer: of a struct give a pointer, or have the " \
                       "caller read it from the frame: CALL_IN(&my->child, " \
                       "f, ...)"); \
        _Generic(1 ? (v) : (v), \
                 float: coili_put_double, \
                 double: coili_put_double, \
                 unsigned: coili_put_uint, \
                 unsigned long: coili_put_uint, \
                 unsigned long long: coili_put_uint, \
                 int: coili_put_int, \
                 long: coili_put_int, \
                 long long: coili_put_int, \
                 default: coili_put_pointer)((to), (v)); \
    } while (0)

/* The types that gcc calls integer (1 to 4), pointer (5) and real (8). */
#define COILI_IS_VALUE(v) \
    _Generic(1 ? (v) : (v), \
             long double: 0, \
             default: 0x13e >> __builtin_classify_type(v) & 1)

/* What an lvalue can hold; coili_fits() in coroutine.c reads it. */
enum coili_kind {
    COILI_KIND_NONE,
    COILI_KIND_BOOL,
    COILI_KIND_CHAR,
    COILI_KIND_SCHAR,
    COILI_KIND_UCHAR,
    COILI_KIND_SHORT,
    COILI_KIND_USHORT,
    COILI_KIND_INT,
    COILI_KIND_UINT,
    COILI_KIND_LONG,
    COILI_KIND_ULONG,
    COILI_KIND_LLONG,
    COILI_KIND_ULLONG,
    COILI_KIND_FLOAT,
    COILI_KIND_DOUBLE,
    COILI_KIND_POINTER
};

#define COILI_KIND(lvalue) \
    ((enum coili_kind)( \
        COILI_KIND_OF(lvalue) + \
        COILI_REQUIRE(COILI_KIND_OF(lvalue) != COILI_KIND_POINTER || \
                          __builtin_classify_type(lvalue) == 5, \
                      "a result or an item goes into a variable that is an " \
                      "integer, a double or a pointer: take a struct by a " \
                      "pointer to it, or read it from the frame of " \
                      "CALL_IN(&my->child, f, ...)")))

#define COILI_KIND_OF(lvalue) \
    _Generic((lvalue), \
             _Bool: COILI_KIND_BOOL, \
             char: COILI_KIND_CHAR, \
             signed char: COILI_KIND_SCHAR, \
             unsigned char: COILI_KIND_UCHAR, \
             short: COILI_KIND_SHORT, \
             unsigned short: COILI_KIND_USHORT, \
             int: COILI_KIND_INT, \
             unsigned: COILI_KIND_UINT, \
             long: COILI_KIND_LONG, \
             unsigned long: COILI_KIND_ULONG, \
             long long: COILI_KIND_LLONG, \
             unsigned long long: COILI_KIND_ULLONG, \
             float: COILI_KIND_FLOAT, \
             double: COILI_KIND_DOUBLE, \
             default: COILI_KIND_POINTER)

#define COILI_TAKE(lvalue) \
    _Generic((lvalue), \
             _Bool: (_Bool)coili_take_int(co), \
             char: (char)coili_take_int(co), \
             signed char: (signed char)coili_take_int(co), \
             unsigned char: (unsigned char)coili_take_int(co), \
             short: (short)coili_take_int(co), \
             unsigned short: (unsigned short)coili_take_int(co), \
             int: (int)coili_take_int(co), \
             unsigned: (unsigned)coili_take_int(co), \
             long: (long)coili_take_int(co), \
             unsigned long: (unsigned long)coili_take_int(co), \
             long long: (long long)coili_take_int(co), \
             unsigned long long: (unsigned long long)coili_take_int(co), \
             float: (float)coili_take_double(co), \
             double: coili_take_double(co), \
             default: coili_take_pointer(co))

/*
 * The state of a future: its lowest three bits, 0 for pending. The upper four
 * bits are what it is going to be, from RETURN to the end of FINALLY.
 */
enum {
    COILI_INT = 1,
    COILI_UINT, /* above INT64_MAX */
    COILI_DOUBLE,
    COILI_POINTER,
    COILI_FAILED,
    COILI_STATE = 7
};

#define COILI_OUTCOME_SHIFT 4
#define COILI_QUIET 8u /* an error that nobody fetches is not reported */

/* The flags of a coroutine that the inlined functions know. */
#define COILI_KIND_CORO 1u
#define COILI_IN_PLACE 0x0040u
#define COILI_HANDLE 0x0080u
#define COILI_MUST_CANCEL 0x0100u
#define COILI_IN_FINALLY 0x0400u
#define COILI_FETCHED 0x0800u
#define COILI_GIVES 0x1000u

COIL_API struct coil_coro *coili_frame_new(coil_step_fn *step, uint32_t block);
COIL_API struct coil_coro *coili_spawn_frame(coil_step_fn *step, uint32_t block,
                                             unsigned handle);
COIL_API struct coil_task *coili_nomem_task(void);
COIL_API void coili_run_begin(const struct coil_loop_options *options,
                              uint32_t abi);
COIL_API int coili_run_end(struct coil_future *main, enum coili_kind kind,
                           void *result);
COIL_API void coili_run_on_begin(struct coil_loop *loop, uint32_t abi);
COIL_API int coili_run_on_end(struct coil_future *main, enum coili_kind kind,
                              void *result);

/* These functions do not exist: a call to one of them is a compile error. */
void coili_function_of_another_name(void)
    __attribute__((error("ASYNC must name the function that it stands in: "
                         "another name has a frame of another layout")));

bool coili_await_other(struct coil_coro *co, ...)
    __attribute__((error(COILI_WANTS_AWAITABLE)));
struct coil_future *coili_hold_other(struct coil_coro *co, ...)
    __attribute__((error(COILI_WANTS_HOLDABLE)));

COIL_API void *coili_leave(struct coil_coro *co, const struct coil_site *site);
COIL_API void coili_body_over_slow(struct coil_coro *co);
COIL_API void coili_in_finally(struct coil_coro *co);
COIL_API _Noreturn void coili_put_misuse(struct coil_coro *co);
COIL_API void coili_return_awaited(struct coil_coro *co);
COIL_API void coili_fail(struct coil_coro *co, int err, uint32_t detail,
                         const char *file, int line);

COIL_API bool coili_await(struct coil_coro *co, struct coil_future *future,
                          int line);
COIL_API bool coili_await_task(struct coil_coro *co, struct coil_task *task,
                               int line);
COIL_API bool coili_failed_slow(struct coil_coro *co);
COIL_API bool coili_failed_keep_slow(struct coil_coro *co,
                                     enum coili_kind kind, const char *file,
                                     int line);
COIL_API bool coili_caught(struct coil_coro *co, int *err);
COIL_API bool coili_caught_keep(struct coil_coro *co, int *err,
                                enum coili_kind kind, const char *file,
                                int line);
COIL_API bool coili_join(struct coil_coro *co, int line);
COIL_API bool coili_yield(struct coil_coro *co, int line);
COIL_API bool coili_yield_to(struct coil_coro *co, int line);
COIL_API bool coili_sent_failed(struct coil_coro *co, enum coili_kind kind,
                                const char *file, int line);

COIL_API void coili_iter_begin(struct coil_coro *co, struct coil_future *source,
                               int id);
COIL_API bool coili_iter_live(const struct coil_coro *co, int id);
COIL_API bool coili_iter_wait(struct coil_coro *co, int id);
COIL_API bool coili_iter_failed_slow(struct coil_coro *co,
                                     enum coili_kind kind, const char *file,
                                     int line);
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

COIL_API struct coil_future *coili_hold_semaphore(struct coil_coro *co,
                                                  struct coil_semaphore *sem);
COIL_API struct coil_future *coili_hold_lock(struct coil_coro *co,
                                             struct coil_lock *lock);
COIL_API struct coil_future *coili_hold_limiter(struct coil_coro *co,
                                                struct coil_limiter *limiter);
COIL_API struct coil_future *coili_hold_condition(struct coil_coro *co,
                                                  struct coil_condition *cond);
COIL_API bool coili_hold_failed(struct coil_coro *co);

COIL_API void coili_gone(struct coil_future *future);

/* A count that never changes: the future is static, or the count too large. */
#define COILI_REFS_MOST 0xffffffu

/*
 * What happens at every await that ends well is inlined; all else is a call.
 * `awaiting` holds the future that is done.
 */
static inline void coili_let_go(struct coil_coro *co, struct coil_future *f)
{
    co->awaiting = 0;
    if (f->refs != COILI_REFS_MOST && --f->refs == 0)
        coili_gone(f);
}

static inline bool coili_failed(struct coil_coro *co)
{
    struct coil_future *f = (struct coil_future *)co->awaiting;
    unsigned state = f->state & COILI_STATE;
    if (state == 0 || state == COILI_FAILED)
        return coili_failed_slow(co);
    coili_let_go(co, f);
    return false;
}

/* Whether an integer goes into that kind of lvalue. */
static inline bool coili_fits_int(enum coili_kind kind, int64_t v)
{
    switch (kind) {
    case COILI_KIND_BOOL:
        return v == 0 || v == 1;
    case COILI_KIND_CHAR:
        return v == (char)v;
    case COILI_KIND_SCHAR:
        return v == (signed char)v;
    case COILI_KIND_UCHAR:
        return v == (unsigned char)v;
    case COILI_KIND_SHORT:
        return v == (short)v;
    case COILI_KIND_USHORT:
        return v == (unsigned short)v;
    case COILI_KIND_INT:
        return v == (int)v;
    case COILI_KIND_UINT:
        return v == (unsigned)v;
    case COILI_KIND_LONG:
        return v == (long)v;
    case COILI_KIND_LLONG:
        return true;
    case COILI_KIND_ULONG:
        return v >= 0 && (sizeof(long) == 8 || v == (int64_t)(unsigned long)v);
    case COILI_KIND_ULLONG:
        return v >= 0;
    default:
        return false;
    }
}

/* A value that fits stays in `awaiting`, to be taken. */
static inline bool coili_failed_keep(struct coil_coro *co,
                                     enum coili_kind kind, const char *file,
                                     int line)
{
    struct coil_future *f = (struct coil_future *)co->awaiting;
    if ((f->state & COILI_STATE) == COILI_INT &&
        coili_fits_int(kind, f->result.i))
        return false;
    return coili_failed_keep_slow(co, kind, file, line);
}

/* The same for an item: the generator's outcome so far. */
static inline bool coili_iter_failed(struct coil_coro *co,
                                     enum coili_kind kind, const char *file,
                                     int line)
{
    const struct coil_future *f = (struct coil_future *)co->awaiting;
    if (f->state == COILI_INT << COILI_OUTCOME_SHIFT
            ? coili_fits_int(kind, f->result.i)
            : f->state == COILI_POINTER << COILI_OUTCOME_SHIFT &&
                  kind == COILI_KIND_POINTER)
        return false;
    return coili_iter_failed_slow(co, kind, file, line);
}

static inline bool coili_iter_done(struct coil_coro *co)
{
    const struct coil_future *f = (struct coil_future *)co->awaiting;
    return (!f || f->state & COILI_STATE) && coili_iter_done_slow(co);
}

static inline bool coili_has_value(const struct coil_coro *co)
{
    return co->awaiting != 0;
}

static inline uint64_t coili_take(struct coil_coro *co)
{
    struct coil_future *f = (struct coil_future *)co->awaiting;
    uint64_t word = f->result.u;
    if (f->state & COILI_STATE) {
        if (f->flags & COILI_GIVES) /* the first taker owns the pointer */
            f->flags = (uint16_t)(f->flags | COILI_FETCHED);
        coili_let_go(co, f);
    } else { /* yielded, or sent: the generator stays */
        f->state = 0;
        co->awaiting = 0;
    }
    return word;
}

static inline int64_t coili_take_int(struct coil_coro *co)
{
    return (int64_t)coili_take(co);
}

static inline double coili_take_double(struct coil_coro *co)
{
    double value;
    uint64_t word = coili_take(co);
    memcpy(&value, &word, sizeof value);
    return value;
}

static inline void *coili_take_pointer(struct coil_coro *co)
{
    return (void *)(uintptr_t)coili_take(co);
}

/*
 * Inlined where it stands, so that the compiler writes the arguments straight
 * into the frame: a copy out of line stalls on store forwarding.
 */
COIL_NODISCARD static inline __attribute__((always_inline)) struct coil_future *
coili_call(struct coil_coro *co, size_t size, const void *args)
{
    if (!co)
        return coil_future_from_nomem();
    memcpy((char *)co + sizeof *co, (const char *)args + sizeof *co,
           size - sizeof *co);
    return &co->future;
}

/* How far in front of its frame a task begins. */
#define COILI_TASK_HEAD 24

static inline __attribute__((always_inline)) struct coil_task *
coili_spawned(coil_step_fn *step, uint32_t block, size_t size, const void *args)
{
    struct coil_coro *co = coili_spawn_frame(step, block, COILI_HANDLE);
    if (!co)
        return coili_nomem_task();
    memcpy((char *)co + sizeof *co, (const char *)args + sizeof *co,
           size - sizeof *co);
    return (struct coil_task *)(void *)((char *)co - COILI_TASK_HEAD);
}

static inline __attribute__((always_inline)) int
coili_started(coil_step_fn *step, uint32_t block, size_t size, const void *args)
{
    struct coil_coro *co = coili_spawn_frame(step, block, 0);
    if (!co)
        return -ENOMEM;
    memcpy((char *)co + sizeof *co, (const char *)args + sizeof *co,
           size - sizeof *co);
    return 0;
}

static inline __attribute__((always_inline)) struct coil_future *
coili_call_in(coil_step_fn *step, size_t size, void *place, const void *args)
{
    memcpy((char *)place + sizeof(struct coil_coro),
           (const char *)args + sizeof(struct coil_coro),
           size - sizeof(struct coil_coro));
    struct coil_coro *co = (struct coil_coro *)place;
    /* Word by word: a memset is made of stores that later loads stall on. */
    co->future = (struct coil_future){
        .refs = 1, .flags = COILI_KIND_CORO | COILI_IN_PLACE
    };
    co->step = step;
    co->awaiting = 0;
    co->next = 0;
    co->scopes = NULL;
    co->line = 0;
    co->since = 0;
    return &co->future;
}

/* The word of RETURN and YIELD. */
static inline void coili_outcome(struct coil_coro *co, unsigned state,
                                 uint64_t word)
{
    if (co->future.flags & COILI_IN_FINALLY)
        coili_put_misuse(co);
    co->future.state = (uint8_t)(state << COILI_OUTCOME_SHIFT |
                                 (co->future.state & COILI_QUIET));
    co->future.result.u = word;
}

static inline void coili_put_int(struct coil_coro *co, int64_t value)
{
    coili_outcome(co, COILI_INT, (uint64_t)value);
}

static inline void coili_put_uint(struct coil_coro *co, uint64_t value)
{
    coili_outcome(co, value > INT64_MAX ? COILI_UINT : COILI_INT, value);
}

static inline void coili_put_double(struct coil_coro *co, double value)
{
    uint64_t word;
    memcpy(&word, &value, sizeof word);
    coili_outcome(co, COILI_DOUBLE, word);
}

static inline void coili_put_pointer(struct coil_coro *co, const void *value)
{
    coili_outcome(co, COILI_POINTER, (uintptr_t)value);
}

/* The body ends. In most cases no block, task or hold belongs to it. */
static inline void coili_body_over(struct coil_coro *co)
{
    if (co->scopes || co->future.flags & COILI_MUST_CANCEL ||
        !(co->future.state >> COILI_OUTCOME_SHIFT))
        coili_body_over_slow(co);
    else
        co->line = COILI_LINE_FINALLY;
}

#endif /* !__cplusplus */

COIL_BEGIN_DECLS

/* ---- For your own primitives ------------------------------------------ */

/*
 * The future that HOLD_WITH awaits, for a macro of your own: only
 * COIL_HOLD_WITH may await it, since AWAIT would not note that `object` is
 * held.
 *
 * Result    the future to await: `acquire`, or one failed with -ENOMEM
 * Lifetime  takes `acquire`; lends `object` until it is released
 */
COIL_API struct coil_future *coil_hold(struct coil_coro *co, void *object,
                                       coil_call_fn *release,
                                       struct coil_future *acquire);

/* Release an object that the coroutine holds, now. Aborts if not held. */
COIL_API void coil_release(struct coil_coro *co, void *object);

/*
 * Dispose of a coroutine or future that is not going to be awaited: it is
 * never started, but its FINALLY runs. A coroutine made by CALL_IN is not run
 * at all: memory and arguments stay yours.
 *
 * Lifetime  takes
 * Source    coroutine.close()
 */
COIL_API void coil_discard(struct coil_future *future);

/*
 * In FINALLY: the error with which the body has ended, or 0, to decide between
 * roll-back and commit. -ECANCELED if the body was cancelled, -ETIMEDOUT if a
 * deadline struck. Outside of FINALLY 0.
 *
 * Source    the arguments of __aexit__()
 */
COIL_API int coil_body_error(const struct coil_coro *co);

/*
 * The detail of the last error that an await or TRY gave to the running
 * coroutine, valid until its next await; after RUN, of the error that RUN
 * returned.
 */
COIL_API uint32_t coil_last_detail(void);

COIL_END_DECLS

#endif
