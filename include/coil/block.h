// SPDX-License-Identifier: MIT
#ifndef COIL_BLOCK_H
#define COIL_BLOCK_H

/*
 * block.h: blocks in a coroutine's body that handle errors, limit time, hold
 * resources and wait for tasks.
 *
 *     TRY(my->err) WITHIN(COIL_SECONDS(2)) WITH(my->limit) {
 *         AWAIT_TO(my->n, coil_stream_read(my->peer, my->buf, sizeof my->buf));
 *     }
 *     if (my->err)
 *         printf("no answer: %s\n", coil_strerror(my->err));
 *
 *     keyword             at entry            at its closing brace
 *     TRY(err)                                stores the error of the block in
 *                                             `err`; 0 if there is none
 *     TRY_ALL(err)                            the same, and also stores this
 *                                             task's own cancellation
 *     WITHIN(duration)    arms a timer        disarms the timer; -ETIMEDOUT if
 *                                             the timer has fired
 *     WITH(x)             acquires x          releases x
 *     USING(x, release,   awaits `acquire`    calls `release(x)`
 *           acquire)
 *     GROUP(&group)                           waits for the tasks spawned in
 *                                             the group (group.h)
 *     CANCEL_SCOPE(&s)    arms its deadline   ends the scope (cancel_scope.h)
 *     LEAVE;              leaves the innermost block
 *
 * The closing brace does this however the block is left: at its end, by LEAVE,
 * an await that fails, FAIL, RETURN, or a cancellation. An exit from nested
 * blocks runs all their braces, innermost first. An error that no TRY catches
 * leads to FINALLY and ends the coroutine; so does RETURN, with its value.
 * Different keywords may share a line, and a single statement needs no braces:
 * TRY(my->err) AWAIT(x);
 *
 *     Python                              C
 *     try:                                TRY(my->err) {
 *         n = await read()                    AWAIT_TO(my->n, read());
 *     except OSError as e:                }
 *         ...                             if (my->err) ...
 *     async with asyncio.timeout(2):      WITHIN(COIL_SECONDS(2)) {
 *     async with lock:                    WITH(&my->lock) {
 *     async with TaskGroup() as g:        GROUP(&my->group) {
 *         g.create_task(f(1))                 SPAWN(f, .x = 1);
 *
 * Traps:
 *   - `break` in a block aborts, because the block is a loop of its own: LEAVE
 *     leaves the block; to leave a loop around the block set a flag, or put the
 *     loop inside. A `break` in a loop inside the block leaves that loop;
 *   - `continue` in a block ends the block only: *the code after the block runs
 *     next*, not the next iteration of the loop around the block;
 *   - no `return` in a block, and no `goto` into or out of a block: the block
 *     stays open, and a later error wrongly continues at its brace. coil aborts
 *     when it finds the open block, at another brace or at the end of the body;
 *   - no block inside a `switch` of your own; a `switch` in a block is allowed
 *     as long as the `switch` contains no await and no block;
 *   - a stray `;` after the keyword makes an empty block: gcc (-Wextra) and
 *     clang warn; after WITH and USING only gcc warns. clang also warns of a
 *     TRY, WITHIN, GROUP or CANCEL_SCOPE that calls no function: such a block
 *     can neither fail nor wait;
 *   - after an error, out-parameters of the block's calls were not set: test
 *     `err` before the code after a TRY uses them;
 *   - the same keyword twice on one line does not compile, nor do WITH and
 *     USING on one line;
 *   - FINALLY stands after all blocks.
 *
 * A task spawned in a block belongs to the innermost GROUP, or to the coroutine
 * if there is no GROUP; no other block owns tasks. An object that HOLD acquires
 * in a block is held until the coroutine ends. If a block is left from inside a
 * FOR_AWAIT, the generator of that loop is closed, as after `break`: it is
 * cancelled, runs its FINALLY, and ends at the latest at the brace of the GROUP
 * around it, or before this coroutine ends. A generator run by NEXT stays open
 * when a block is left; the brace of the GROUP in which it was begun closes it.
 *
 * A generator may YIELD in a block. The time until its consumer asks for the
 * next item counts for a WITHIN; the time-out ends the next await of the
 * generator, not the YIELD. If the generator is closed at the YIELD, its blocks
 * are left, innermost first, and no TRY_ALL catches the closing.
 *
 * A block may stand in FINALLY, where all statements run, also after an error.
 * TRY stores the first error of its block. WITHIN limits the time of its block:
 * the await that waits at the deadline fails with -ETIMEDOUT. WITH skips its
 * block if it cannot acquire. GROUP, CANCEL_SCOPE and LEAVE abort in FINALLY.
 *
 * Memory: while a block is open the loop lends it a record of 24 (TRY), 32
 * (WITH, USING) or 64 bytes (WITHIN, CANCEL_SCOPE). A GROUP needs no record;
 * leaving a block needs no memory. If there is no memory for the record, TRY
 * sets its own `err` to -ENOMEM and skips its block, the others fail with
 * -ENOMEM; in FINALLY the blocks of TRY and WITHIN run all the same.
 */

#include <coil/api.h>
#include <coil/coroutine.h>
#include <coil/time.h>

#ifndef __cplusplus

/*
 * Store the error of the block in `err`, an int lvalue; 0 if there is none.
 * `err` is written once, at the closing brace, and only if the coroutine
 * continues there: RETURN and this task's own cancellation leave `err`
 * unchanged, and so do the time-out of a WITHIN and the cancellation of a
 * CANCEL_SCOPE or GROUP *around* the TRY, which end that outer block. `err` may
 * be a local variable. coil_last_detail() is the detail of the error.
 *
 * Source    try: ... except Exception as err:
 */
#define COIL_TRY(err) COILI_TRYING(err, COILI_LANDING(1), false)

/*
 * TRY_ALL is TRY that also stores this task's own cancellation, as -ECANCELED.
 * The request stays counted (coil_task_cancelling()) until coil_task_uncancel()
 * takes it back. In a CANCEL_SCOPE that was cancelled the next await fails
 * again; the time-out of a WITHIN around the TRY_ALL fails no further await.
 *
 * Source    try: ... except BaseException as err:
 */
#define COIL_TRY_ALL(err) COILI_TRYING(err, COILI_LANDING(2), true)

/*
 * Limit the time of the block. After `duration` nanoseconds the innermost
 * operation that the block waits for is cancelled, and the block fails with
 * -ETIMEDOUT, which a TRY can catch; the detail of this error is 0. With a
 * duration of 0 or less this happens in the next pass. If the operation
 * succeeds all the same, its value is delivered, and the next await of the
 * block fails, if there is one. If this task was cancelled from outside as
 * well, the task stays cancelled.
 *
 * Units     nanoseconds, COIL_SECONDS(2); COIL_NEVER: no deadline
 * Errors    -ETIMEDOUT, -ENOMEM
 * Source    asyncio.timeout()
 */
#define COIL_WITHIN(duration) \
    COILI_COVER(COILI_LANDING(3), \
                for (coili_within(co, COILI_LANDING(3), (duration)); \
                     coili_block_more(co, COILI_LANDING(3));)) \
        COILI_WARNS_OF_EMPTY

/*
 * Wait until x is acquired, and release it at the closing brace. x is a lock,
 * the lock of a condition, a permit of a semaphore or a token of a limiter. If
 * the wait fails, the block does not run and the error leaves the block.
 * RELEASE(x) aborts while the block holds x, and so does WITH(x) if this
 * coroutine already holds x.
 *
 * Source    async with lock:
 */
#define COIL_WITH(x) COILI_WITH(COILI_WANT_HOLDABLE(x), COILI_HOLDING(x))

/*
 * USING is WITH for any object: await and take `acquire`, with its value; if
 * `acquire` succeeds, `release(object)` is called at the closing brace.
 *
 * Lifetime  the caller lends `object` until it is released
 * Source    @asynccontextmanager
 */
#define COIL_USING(object, release, acquire) \
    COILI_WITH((void)0, coil_hold(co, (object), (release), (acquire)))

/* Leave the innermost block, also from inside loops in that block. */
#define COIL_LEAVE \
    do { \
        coili_block_leave(co); \
        goto coil_again; \
    } while (0)

#ifndef COIL_NO_SHORT_NAMES
#define TRY(err) COIL_TRY(err)
#define TRY_ALL(err) COIL_TRY_ALL(err)
#define WITHIN(duration) COIL_WITHIN(duration)
#define WITH(x) COIL_WITH(x)
#define USING(object, release, acquire) COIL_USING(object, release, acquire)
#define LEAVE COIL_LEAVE
#endif

/* ---- Behind the macros; private --------------------------------------- */

/*
 * The landing of a block: the case label, in the body's switch, at which the
 * block is left, and at which it resumes after it has waited. The number of a
 * landing is above every line number of a source, and each keyword has a range
 * of its own: so a TRY, a WITHIN and an await may share a line.
 */
#define COILI_LANDING(word) ((word) << 28 | __LINE__)
#define COILI_LANDING_LINE 0xfffffff

/* co->line when a block has run to its closing brace. */
#define COILI_LINE_THROUGH (INT32_MAX - 7)

/*
 * Expansion of WITHIN(d) { ... }, where ID is its landing:
 *
 *     for (coili_within(co, ID, d); coili_block_more(co, ID);)
 *         if (co->line == ID) {           // the coroutine waits
 *             return;
 *         case ID:;                       // resumed, or left: ask more() again
 *         } else if (co->line)            // to the landing around this one
 *             goto coil_again;
 *         else
 *             for (; coili_block_once(co, ID); co->line = COILI_LINE_THROUGH)
 *                 { ... }
 *
 * coili_block_more() returns true with co->line 0 (run the block), with ID (the
 * coroutine waits), or with another line at which the coroutine continues. It
 * returns false when the block is over and the code after it runs. `if (0) {}
 * else` makes gcc warn of a stray semicolon, and keeps an `else` of the user
 * with the `if` of the user.
 */
#define COILI_COVER(id, header) COILI_COVER_CHECKED(id, (void)0, header)
#define COILI_COVER_CHECKED(id, check, header) \
    header \
        if (co->line == (id)) { \
            check; \
            return; \
        case (id):; \
        } else if (co->line) \
            goto coil_again; \
        else \
            for (; coili_block_once(co, (id)); co->line = COILI_LINE_THROUGH) \
                if (0) { \
                } else

#define COILI_TRYING(err, id, all) \
    COILI_COVER_CHECKED(id, \
                        _Static_assert(_Generic((err), int: 1, default: 0), \
                                       "TRY wants an int for the error, as " \
                                       "TRY(my->err)"), \
                        for (coili_try(co, (id), (all)); \
                             coili_block_more(co, (id)) || \
                             (((err) = coili_try_error()), 0);)) \
        COILI_WARNS_OF_EMPTY

#define COILI_WITH(check, acquire) \
    COILI_COVER_CHECKED(COILI_LANDING(4), check, \
                        for (coili_with(co, COILI_LANDING(4), (acquire)); \
                             coili_block_more(co, COILI_LANDING(4));))

/*
 * clang warns that it ignores this attribute where no function is called, as in
 * `WITHIN(d);`.
 */
#if defined(__clang__)
#define COILI_WARNS_OF_EMPTY __attribute__((nomerge))
#else
#define COILI_WARNS_OF_EMPTY
#endif

COIL_API void coili_try(struct coil_coro *co, int32_t id, bool all);
COIL_API int coili_try_error(void);
COIL_API void coili_within(struct coil_coro *co, int32_t id, int64_t duration);
COIL_API void coili_with(struct coil_coro *co, int32_t id,
                         struct coil_future *acquire);
COIL_API bool coili_block_more(struct coil_coro *co, int32_t id);
COIL_API void coili_block_leave(struct coil_coro *co);

/* True the first time. Afterwards co->line is not 0: the block has run. */
static inline bool coili_block_once(struct coil_coro *co, int32_t id)
{
    if (co->line)
        return false;
    co->line = id & COILI_LANDING_LINE;
    return true;
}

#endif /* !__cplusplus */

#endif
