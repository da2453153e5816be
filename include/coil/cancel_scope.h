// SPDX-License-Identifier: MIT
#ifndef COIL_CANCEL_SCOPE_H
#define COIL_CANCEL_SCOPE_H

/*
 * cancel_scope.h: a part of a program that can be cancelled, or given a
 * deadline that moves.
 *
 *     struct download {
 *         struct coil_coro coro;
 *         struct coil_cancel_scope scope;
 *         int err;
 *         ...
 *     };
 *
 *     TRY(my->err) CANCEL_SCOPE(&my->scope) {
 *         ...
 *         coil_cancel_scope_set_deadline(&my->scope,
 *                                        coil_now() + COIL_SECONDS(5));
 *         ...
 *     }
 *
 * WITHIN(duration) is the plain form: its deadline does not move, and it
 * cancels once. A scope is level-triggered: once the scope is cancelled or
 * late, every await in its block fails, also in coroutines that the block has
 * called and in the tasks of its GROUPs, until the block is over. Code that
 * catches the cancellation (TRY_ALL) meets it again at its next await. FINALLY
 * is shielded: its awaits wait as usual.
 *
 * The block fails with -ECANCELED or -ETIMEDOUT, an error like any other: TRY
 * around the scope takes this error, but not a cancellation from outside. If no
 * TRY takes the error, the coroutine ends with it; a task that ends with
 * -ECANCELED is not reported.
 */

#include <coil/api.h>
#include <coil/block.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

struct coili_cancel_scope;

/* In your memory; a scope of zero bytes was not entered yet. Private. */
struct coil_cancel_scope {
    struct coili_cancel_scope *inside;
    int64_t deadline;
    bool cancelled, expired, over;
};

/*
 * Cancel the scope. If it was not entered yet, its first await is struck.
 *
 * Result    false if the scope is over, or was cancelled or late already
 * Source    trio CancelScope.cancel()
 */
COIL_API bool coil_cancel_scope_cancel(struct coil_cancel_scope *scope);

/*
 * Set, move or (COIL_NEVER) remove the deadline of the scope, which need not be
 * entered yet. A deadline that has passed strikes in the next pass.
 *
 * Units     nanoseconds, as coil_now()
 * Result    0
 * Errors    -EALREADY: the scope was cancelled or late, or is over; -ENOMEM:
 *           the old deadline stands
 * Source    asyncio Timeout.reschedule()
 */
COIL_API int coil_cancel_scope_set_deadline(struct coil_cancel_scope *scope,
                                            int64_t deadline_ns);

/*
 * The deadline of the scope; COIL_NEVER: none.
 *
 * Source    asyncio Timeout.when()
 */
COIL_API int64_t
coil_cancel_scope_deadline(const struct coil_cancel_scope *scope);

/* True once the scope was cancelled, also when its block is over. */
COIL_API bool
coil_cancel_scope_cancelled(const struct coil_cancel_scope *scope);

/* True once the deadline has struck, also when the block is over. */
COIL_API bool coil_cancel_scope_expired(const struct coil_cancel_scope *scope);

COIL_END_DECLS

#ifndef __cplusplus

/*
 * A block that is in the scope. Aborts in FINALLY, and if the scope was entered
 * before: zero the scope to use it again. Without memory the block fails with
 * -ENOMEM.
 *
 * Errors    -ECANCELED: the scope was cancelled; -ETIMEDOUT: its deadline has
 *           passed; -ENOMEM
 * Lifetime  the caller lends `scope` until the block is over
 * Source    trio.CancelScope, asyncio.timeout()
 */
#define COIL_CANCEL_SCOPE(scope) \
    COILI_COVER(COILI_LANDING(6), \
                for (coili_cancel_scope_enter(co, COILI_LANDING(6), (scope)); \
                     coili_block_more(co, COILI_LANDING(6));)) \
        COILI_WARNS_OF_EMPTY

#ifndef COIL_NO_SHORT_NAMES
#define CANCEL_SCOPE(scope) COIL_CANCEL_SCOPE(scope)
#endif

COIL_API void coili_cancel_scope_enter(struct coil_coro *co, int32_t id,
                                       struct coil_cancel_scope *scope);

#endif

#endif
