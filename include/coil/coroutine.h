// SPDX-License-Identifier: MIT
#ifndef COIL_COROUTINE_H
#define COIL_COROUTINE_H

/*
 * coroutine.h: async and await, in C.
 *
 *     struct greet {
 *         struct coil_coro coro;      // first: where to resume
 *         const char *name;           // an argument
 *         int i;                      // a variable that outlives an await
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
 * A coroutine is a function over a struct, and both have the same name. The
 * struct is the frame of the coroutine; its first field is a struct coil_coro,
 * of 64 bytes, whose fields are private. The braces of ASYNC are the body, in
 * which `my` is the frame. An await that has to wait returns from the function;
 * later the loop calls the function again, and the body continues after the
 * await.
 *
 * An await that fails ends the coroutine: FINALLY runs, and the coroutine fails
 * with the error of the await, unless a block around the await catches or
 * replaces the error. A block is a part of a body, as in Python. Read block.h
 * next:
 *
 *     TRY(my->err) {                      // try: ... except
 *         WITHIN(COIL_SECONDS(2)) {       // async with asyncio.timeout(2):
 *             AWAIT_TO(my->n, ...);
 *         }
 *     }
 *     WITH(&my->lock) { ... }             // async with lock:
 *     GROUP(&my->group) { SPAWN(...); }   // async with TaskGroup():  (group.h)
 *
 * A variable that must outlive an await is a field: a local variable loses its
 * value. gcc warns of some such locals at -O1, clang of some with
 * -Wconditional-uninitialized, and a libcoil that was built with cmake
 * -DCOIL_DEBUG=ON overwrites the others.
 *
 * The other traps do not compile, or abort:
 *   - a `switch` of your own around an await aborts at the first resume;
 *   - two awaits on one line do not compile ("duplicate label");
 *   - `return` in the body aborts: use RETURN(v) or FAIL(err). A `break` or
 *     `continue` outside of any loop ends the body, as its closing brace does;
 *   - a frame of more than COIL_FRAME_BYTES_MAX bytes does not compile;
 *   - ASYNC must name the function around it: gcc at -O1 and clang reject
 *     another name.
 *
 * Every task that a coroutine starts is its child. When the body of the
 * coroutine ends, for any reason, children that still run are cancelled and
 * awaited; then FINALLY runs, then the objects that the coroutine HOLDs are
 * released, then its result is published. So a coroutine may lend its fields to
 * its children.
 *
 * Generators, coroutines that yield several values, are in generator.h, which
 * this header includes.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/loop.h>
#include <coil/machinery.h>

/* The size of the largest frame. */
#define COIL_FRAME_BYTES_MAX 16384

#ifndef __cplusplus

/* ---- Calling ---------------------------------------------------------- */

/*
 * Make a coroutine, with its arguments by name; fields that are not named are
 * zero. An argument without a name would set a private field: it is lost. The
 * coroutine begins when it is awaited, spawned or combined, not
 * before.
 *
 *     AWAIT(CALL(greet, .name = "world"));
 *
 * Result    a struct coil_future *; out of memory: one that has failed with
 *           -ENOMEM
 * Lifetime  gives the coroutine; the await takes it. coil_discard() frees a
 *           coroutine that is not awaited
 */
#define COIL_CALL(...) COILI_CALL(__VA_ARGS__, .coro.line = 0)

/*
 * Make a coroutine whose frame is in your memory, mostly a field of your frame:
 * nothing is allocated and the call cannot fail. Read results that are larger
 * than one value from that memory.
 *
 *     AWAIT(CALL_IN(&my->child, greet, .name = "world"));
 *
 * Lifetime  the caller lends `place` until the coroutine is done
 */
#define COIL_CALL_IN(place, ...) \
    COILI_CALL_IN(place, __VA_ARGS__, .coro.line = 0)

/*
 * Run a coroutine concurrently, as a task that is a child of this coroutine.
 * The first step of the task is queued behind the steps that are ready. A task
 * that still runs when this body ends is cancelled; JOIN() waits until all
 * children have ended. A task spawned in a GROUP belongs to the group, whose
 * closing brace waits for it (group.h). The frame of the task is kept until
 * this coroutine is over, or the GROUP is entered again: in an endless loop use
 * START, or call coil_task_drop().
 *
 * Result    a struct coil_task *, to be awaited any number of times; out of
 *           memory: one that has failed with -ENOMEM
 * Lifetime  views: the handle is valid until this coroutine is over or
 *           coil_task_drop() was called
 * Source    asyncio.create_task()
 */
#define COIL_SPAWN(...) COILI_SPAWN(__VA_ARGS__, .coro.line = 0)

/*
 * Spawn a task without a handle, as in an accept loop: the task is freed when
 * it ends, and its error goes to the loop's exception handler.
 *
 * Result    0 or -ENOMEM
 */
#define COIL_START(...) COILI_START(__VA_ARGS__, .coro.line = 0)

/*
 * Make this thread's loop, run the coroutine in it, and close the loop.
 *
 * RUN_WITH takes options (loop.h). RUN_TO stores the coroutine's result in an
 * lvalue if the coroutine did not fail. RUN_WITH_TO does both.
 *
 * Ctrl-C: in the main thread the first SIGINT cancels the coroutine, for the
 * reason COIL_CANCEL_INTERRUPT; a second SIGINT ends the process at once. RUN
 * leaves SIGINT alone if its disposition is not the default one, or with
 * options.leave_sigint. A listener to SIGINT (signal.h) gets the signal
 * instead.
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
 * Run a coroutine on a loop that this thread has made, any number of times:
 * tasks that the coroutine has detached continue in the next run. Aborts inside
 * another run.
 *
 *     coil_loop_new(&loop, NULL);
 *     err = RUN_ON(loop, first);
 *     err = RUN_ON_TO(loop, answer, second, .name = "x");
 *     coil_loop_close(loop);
 *
 * Result    as RUN; COIL_ESTOPPED after coil_loop_stop(): the coroutine
 *           continues in the next run
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
 * Opens the body of coroutine T, in which `my` is its frame. Write ASYNC(T) if
 * the body uses no field. The parameter of the function must be called `co`.
 */
#define COIL_ASYNC(...) \
    COILI_FOURTH(__VA_ARGS__, COILI_ASYNC_3, COILI_ASYNC_2, COILI_ASYNC_1, ) \
    (__VA_ARGS__)

/*
 * ASYNC for a coroutine that returns a pointer to allocated memory: if no await
 * or call takes the pointer, it is passed to `free_fn` when the future is
 * freed. `free_fn` is not called with NULL.
 */
#define COIL_ASYNC_GIVES(T, my, free_fn) COILI_ASYNC(T, my, free_fn)

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
 * If a coroutine is called before its definition, or in another file, write its
 * struct and a declaration of its function there, as above.
 */
#define COIL_COROUTINE(...) \
    COILI_COROUTINE(COILI_SECOND(__VA_ARGS__, COILI_NONE, )) \
    (__VA_ARGS__)

/*
 * The code after FINALLY runs exactly once, however the body ends, also if the
 * coroutine is cancelled before its first step. In that case fields that CALL
 * did not set are zero. The code may await. After an await that fails, the next
 * statement runs, and the coroutine keeps its first error, also that of a
 * cancellation; a later error goes to the exception handler (exception.h). Use
 * TRY_AWAIT or TRY where the code must know of a failure.
 * FINALLY stands after all blocks of the body.
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
 * End this coroutine with a value (an integer, a double or a pointer), or with
 * an error (and a detail). RETURN(-EIO) is the value -5, and no error: write
 * FAIL(-EIO). FAIL of 0 or of a positive number aborts.
 *
 * A pending cancellation, one with which no await has failed yet, does not
 * replace the value of RETURN: a task ends with the value; in a callee the next
 * await of the caller fails. A body that reaches its closing brace returns the
 * integer 0, but a task with a pending cancellation then ends cancelled. In a
 * block, the closing braces do their work first. The closing brace of a GROUP
 * that has to wait is an await, and a cancellation there replaces the value.
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
 * Await `x` and end with its value or its error. A pointer that `x` would free
 * is freed with the future of this coroutine instead, if no await or call takes
 * it.
 */
#define COIL_RETURN_AWAIT(x) \
    COILI_AWAITS(COILI_WANT_AWAITABLE(x), COILI_SUSPEND(x), \
                 (coili_return_awaited(co), true))

/* ---- Awaiting --------------------------------------------------------- */

/*
 * Wait for a future, which the await takes, or for a task, which stays valid;
 * NULL aborts. An error of `x` ends this coroutine: the body continues at
 * FINALLY.
 *
 * AWAIT_TO stores the value of `x` in an lvalue. Aborts if the kinds of the
 * value and the lvalue differ; fails with -EOVERFLOW if the value is too large
 * for the lvalue. The integer 0, the value of a coroutine that ends without
 * RETURN, is stored as NULL in a pointer and as 0.0 in a double. Use fields as
 * lvalues: gcc may warn that a local variable is not initialised, since an
 * await in FINALLY stores nothing when it fails.
 */
#define COIL_AWAIT(x) \
    COILI_AWAITS(COILI_WANT_AWAITABLE(x), COILI_SUSPEND(x), coili_failed(co))
#define COIL_AWAIT_TO(lvalue, x) \
    COILI_AWAITS_TO( \
        lvalue, COILI_WANT_AWAITABLE(x), COILI_SUSPEND(x), \
        coili_failed_keep(co, COILI_KIND(lvalue), __FILE__, __LINE__))

/*
 * AWAIT and AWAIT_TO that store the outcome, 0 or the error, in the int `err`.
 * This task's own cancellation is not stored: the coroutine continues at
 * FINALLY.
 */
#define COIL_TRY_AWAIT(err, x) \
    COILI_AWAITS(COILI_WANT_AWAITABLE(x), COILI_SUSPEND(x), \
                 coili_caught(co, &(err)))
#define COIL_TRY_AWAIT_TO(err, lvalue, x) \
    COILI_AWAITS_TO( \
        lvalue, COILI_WANT_AWAITABLE(x), COILI_SUSPEND(x), \
        coili_caught_keep(co, &(err), COILI_KIND(lvalue), __FILE__, __LINE__))

/* Wait for every child of this coroutine. Each error stays in its task. */
#define COIL_JOIN() \
    COILI_AWAITS((void)0, coili_join(co, __LINE__), coili_failed(co))

/* ---- What belongs to this coroutine ----------------------------------- */

/*
 * HOLD waits until `x` is acquired: a lock, the lock of a condition, a permit
 * of a semaphore or a token of a limiter. `x` is released when this coroutine
 * ends, or earlier by RELEASE(x). For a part of the body use WITH (block.h).
 * HOLD of an object that this coroutine already holds aborts, and so does
 * RELEASE of an object that the coroutine does not hold. HOLD of a condition
 * holds its lock.
 *
 * Children end before the object is released: a child that must acquire it in
 * order to end would wait for ever. The wait of a condition needs its lock to
 * end, also when it is cancelled: if the lock is held by an ancestor that only
 * waits for its children, the program aborts and names both coroutines. Use
 * WITH in that case, or RELEASE before the end.
 */
#define COIL_HOLD(x) \
    do { \
        COILI_WANT_HOLDABLE(x); \
        COILI_HOLD(COILI_HOLDING(x)); \
    } while (0)

/*
 * HOLD for any object: await and take `acquire`, with its value; if `acquire`
 * succeeds, `release(object)` is called when this coroutine is over, or by
 * RELEASE(object).
 *
 * Lifetime  the caller lends `object` until it is released
 * Source    contextlib.AsyncExitStack.enter_async_context()
 */
#define COIL_HOLD_WITH(object, release, acquire) \
    COILI_HOLD(coil_hold(co, (object), (release), (acquire)))
#define COIL_RELEASE(x) coil_release(co, COILI_HELD(x))

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
#define HOLD(x) COIL_HOLD(x)
#define HOLD_WITH(object, release, acquire) \
    COIL_HOLD_WITH(object, release, acquire)
#define RELEASE(x) COIL_RELEASE(x)
#endif

#endif /* !__cplusplus */

COIL_BEGIN_DECLS

/* ---- For your own primitives ------------------------------------------ */

/*
 * The future that COIL_HOLD_WITH awaits, for a macro of your own. Only
 * COIL_HOLD_WITH may await it: AWAIT would not record that the coroutine holds
 * `object`.
 *
 * Result    the future to await: `acquire`, or one that failed with -ENOMEM
 * Lifetime  takes `acquire`; the caller lends `object` until it is released
 */
COIL_API struct coil_future *coil_hold(struct coil_coro *co, void *object,
                                       coil_call_fn *release,
                                       struct coil_future *acquire);

/*
 * Detect a deadlock in the cancel() of a class whose waits need `object` in
 * order to end, as the wait of a condition needs its lock. Aborts, and names
 * both coroutines, if an ancestor of the coroutine that awaits `wait` holds
 * `object` (HOLD, WITH) and goes on only when its children have ended.
 */
COIL_API void coil_check_holder(const struct coil_future *wait,
                                const void *object);

/*
 * Release now an object that the coroutine holds. Aborts if the coroutine does
 * not hold the object.
 */
COIL_API void coil_release(struct coil_coro *co, void *object);

/*
 * Dispose of a coroutine or future that is not going to be awaited. The body of
 * a coroutine does not run, but its FINALLY does. A coroutine made by CALL_IN
 * does not run at all: its memory and arguments stay yours.
 *
 * Lifetime  takes `future`
 * Source    coroutine.close()
 */
COIL_API void coil_discard(struct coil_future *future);

/*
 * In FINALLY: the error with which the body has ended, or 0; to decide between
 * commit and roll-back. The error is -ECANCELED if the body was cancelled, and
 * -ETIMEDOUT if a deadline ended it. Outside of FINALLY the result is 0.
 *
 * Source    the arguments of __aexit__()
 */
COIL_API int coil_body_error(const struct coil_coro *co);

/*
 * The detail of the last error that an await of the running coroutine failed
 * with or a TRY caught, valid until the next await; after RUN, the detail of
 * the error that RUN returned.
 */
COIL_API uint32_t coil_last_detail(void);

COIL_END_DECLS

#include <coil/generator.h>

#endif
