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
 *     word                at entry            at its closing brace
 *     TRY(err)                                an error of the block lands in
 *                                             `err`; else `err` is 0
 *     TRY_ALL(err)                            this task's own cancellation too
 *     WITHIN(duration)    arms a timer        disarms it; late: -ETIMEDOUT
 *     WITH(x)             acquires x          releases it
 *     USING(x, release,   awaits `acquire`    calls `release(x)`
 *           acquire)
 *     GROUP(&group)                           waits for the tasks spawned in
 *                                             it (group.h)
 *     CANCEL_SCOPE(&s)    arms its deadline   ends the scope (cancel_scope.h)
 *     LEAVE;              goes on behind the innermost block
 *
 * The closing brace does this however the block is left: by its
 * end, LEAVE, an await that fails, FAIL, RETURN, a cancellation. An exit passes
 * the braces of all blocks around it, innermost first. An error that no TRY
 * takes goes on to FINALLY and ends the coroutine; the value of RETURN goes on
 * to FINALLY too. Words of different names may share a line, and a single
 * statement needs no braces: TRY(my->err) AWAIT(x);
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
 *   - `break` in a block aborts when it runs (the block is a loop of its own):
 *     LEAVE leaves the block; to leave a loop around the block set a flag, or
 *     put the loop inside. A `break` in a loop inside the block leaves that
 *     loop, as usual;
 *   - `continue` in a block ends the block only: *what stands behind the block
 *     in the loop around it runs*;
 *   - no `return` in a block, and no `goto` into or out of it: the block stays
 *     open, and an error behind it goes on at its brace. It aborts where that
 *     shows: at another brace, or at the end of the body;
 *   - no block inside a `switch` of your own; a `switch` in a block is allowed
 *     as long as the `switch` contains no await and no block;
 *   - a stray `;` behind the word makes an empty block: gcc (-Wextra) and clang
 *     warn; behind WITH and USING only gcc warns. clang also warns of a TRY,
 *     WITHIN, GROUP or CANCEL_SCOPE that calls no function: such a block can
 *     neither fail nor wait;
 *   - after an error, out-parameters of the block's calls were not set: test
 *     `err` before the code behind a TRY uses them;
 *   - two of the same word on one line do not compile (nor do WITH and USING);
 *   - FINALLY stands behind all blocks.
 *
 * A task spawned in a block belongs to the innermost GROUP, or to the coroutine
 * if there is none; no other block owns tasks. What HOLD acquires in a block is
 * held until the coroutine ends. If a block is left from inside a FOR_AWAIT,
 * the generator of that loop is closed, as after `break`: it is cancelled, runs
 * its FINALLY meanwhile, and has ended at the brace of the GROUP around it, or
 * before this coroutine does. A generator run by NEXT goes on when a block is
 * left, but is closed at the brace of the GROUP in which it was begun.
 *
 * A generator may YIELD in a block. The time at rest counts for a WITHIN, which
 * strikes the next await of the generator: YIELD itself is not struck. If the
 * generator is closed there, its blocks are left from the inside out, and no
 * TRY_ALL takes that.
 *
 * A block may stand in FINALLY. An error does not jump there: all statements
 * run. TRY stores the first error of its block. WITHIN limits the time of its
 * block: the await that the deadline strikes fails with -ETIMEDOUT. WITH skips
 * its block if it cannot acquire. GROUP, CANCEL_SCOPE and LEAVE abort there.
 *
 * Memory: a record from the loop while the block is open, of 24 (TRY), 32
 * (WITH, USING) or 64 bytes (WITHIN, CANCEL_SCOPE). A GROUP needs no record,
 * and leaving a block needs no memory. Without memory TRY sets its own `err` to
 * -ENOMEM and skips its block, the others fail with -ENOMEM; in FINALLY, the
 * blocks of TRY and WITHIN run all the same.
 */

#include <coil/api.h>
#include <coil/coroutine.h>
#include <coil/time.h>

#ifndef __cplusplus

/*
 * An error of the block lands in `err`, an int lvalue; 0 if there is none.
 * `err` is written once, at the closing brace, and only if the coroutine goes
 * on there: RETURN and this task's own cancellation leave `err` unchanged. So
 * do the time-out of a WITHIN and the end of a CANCEL_SCOPE or GROUP *around*
 * the TRY: they end more than this block. A local variable will do for `err`.
 * coil_last_detail() is the detail of the error.
 *
 * Source    try: ... except Exception as err:
 */
#define COIL_TRY(err) COILI_TRYING(err, COILI_LANDING(1), false)

/*
 * TRY_ALL is TRY, and this task's own cancellation lands in `err` too, as
 * -ECANCELED.
 * The request stays counted (coil_task_cancelling()) until coil_task_uncancel()
 * takes it back. In a CANCEL_SCOPE that was cancelled the next await fails
 * again; the time-out of a WITHIN around the TRY_ALL is caught for good.
 *
 * Source    try: ... except BaseException as err:
 */
#define COIL_TRY_ALL(err) COILI_TRYING(err, COILI_LANDING(2), true)

/*
 * The block has `duration` nanoseconds. Then the innermost operation that
 * the block waits for is cancelled, and the block fails with -ETIMEDOUT, an
 * error like any other. A duration of 0 or less strikes in the next pass. If
 * the operation succeeds all the same, its value is delivered, and the time-out
 * strikes the next await of the block, if there is one. If this task was
 * cancelled from outside as well, the task stays cancelled.
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
 * Acquire a lock, that of a condition, a permit of a semaphore or a token of a
 * limiter, waiting for it, and release it at the closing brace. If the wait
 * fails, the block is not run and the error goes on. RELEASE(x) aborts while
 * the block holds x, and so does WITH(x) if this coroutine holds x already.
 *
 * Source    async with lock:
 */
#define COIL_WITH(x) COILI_WITH(COILI_WANT_HOLDABLE(x), COILI_HOLDING(x))

/*
 * USING is WITH for any object: await `acquire` (taken, value included); if
 * `acquire` succeeds, `release(object)` is called at the closing brace.
 *
 * Lifetime  the caller lends `object` until it is released
 * Source    @asynccontextmanager
 */
#define COIL_USING(object, release, acquire) \
    COILI_WITH((void)0, coil_hold(co, (object), (release), (acquire)))

/* Go on behind the innermost block, also from inside loops in that block. */
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
 * The landing of a block: the case label, of the body's switch, at which the
 * block is left, and at which it goes on after it has waited. Its number is
 * above every line of a source, and each word has a range of its own: so a TRY,
 * a WITHIN and an await may share a line.
 */
#define COILI_LANDING(word) ((word) << 28 | __LINE__)
#define COILI_LANDING_LINE 0xfffffff

/* co->line when a block has run to its closing brace. */
#define COILI_LINE_THROUGH (INT32_MAX - 7)

/*
 * Expansion of WITHIN(d) { ... }, where ID is its landing:
 *
 *     for (coili_within(co, ID, d); coili_block_more(co, ID);)
 *         if (co->line == ID) {           // it waits
 *             return;
 *         case ID:;                       // resumed, or left: ask more() again
 *         } else if (co->line)            // on to the landing around it
 *             goto coil_again;
 *         else
 *             for (; coili_block_once(co, ID); co->line = COILI_LINE_THROUGH)
 *                 { ... }
 *
 * coili_block_more() returns true with co->line 0 (run the block), with ID (the
 * coroutine waits), or with another line at which the coroutine goes on. It
 * returns false when the block is over and the code behind it runs. `if (0) {}
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
