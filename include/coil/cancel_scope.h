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
 *         ...
 *     };
 *
 *     ASYNC(download, my) {
 *         CANCEL_SCOPE(&my->scope);       // the rest of this block
 *         ...
 *         coil_cancel_scope_set_deadline(&my->scope,
 *                                        coil_now() + COIL_SECONDS(5));
 *
 * WITHIN(duration) is the plain form: a deadline that does not move, and one
 * cancellation. A scope's is level-triggered: once it is cancelled or late,
 * every await in its block fails, in all that the block has called, until the
 * block is over; who catches the cancellation meets it again at its next await.
 * FINALLY is shielded: its awaits wait.
 *
 * The block ends with -ECANCELED or -ETIMEDOUT, an error as any other for who
 * awaits it: to be cancelled from outside is another matter and goes on up.
 */

#include <coil/api.h>
#include <coil/coroutine.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

struct cancel_scope;

/* In your memory; zero bytes are one that nobody has entered. Private. */
struct coil_cancel_scope {
    struct cancel_scope *inside;
    int64_t deadline;
    bool cancelled, expired, over;
};

/*
 * Cancel it. Before it is entered: then the first await strikes.
 *
 * Result    false if it is over, or was cancelled or late already
 * Source    trio CancelScope.cancel()
 */
COIL_API bool coil_cancel_scope_cancel(struct coil_cancel_scope *scope);

/*
 * Set, move or (COIL_NEVER) remove its deadline; before it is entered, too. One
 * that has passed strikes in the next pass.
 *
 * Units     nanoseconds, as coil_now()
 * Errors    -EALREADY it was cancelled or late, or is over; -ENOMEM: the old
 *           one stands
 * Source    asyncio Timeout.reschedule()
 */
COIL_API int coil_cancel_scope_set_deadline(struct coil_cancel_scope *scope,
                                            int64_t deadline_ns);

/* Its deadline; COIL_NEVER. Source: asyncio Timeout.when() */
COIL_API int64_t
coil_cancel_scope_deadline(const struct coil_cancel_scope *scope);

/* True once it was cancelled; once its deadline struck. Also afterwards. */
COIL_API bool
coil_cancel_scope_cancelled(const struct coil_cancel_scope *scope);
COIL_API bool coil_cancel_scope_expired(const struct coil_cancel_scope *scope);

COIL_END_DECLS

#ifndef __cplusplus

/*
 * The rest of this block is in the scope. Aborts in FINALLY, and if the scope
 * was entered before. Without memory the block ends with -ENOMEM.
 *
 * Lifetime  lends `scope` until the block is over
 * Source    trio.CancelScope, asyncio.timeout()
 */
#define COIL_CANCEL_SCOPE(scope) \
    do { \
        if (coili_cancel_scope_enter(co, (scope))) \
            goto coil_again; \
    } while (0)

#ifndef COIL_NO_SHORT_NAMES
#define CANCEL_SCOPE(scope) COIL_CANCEL_SCOPE(scope)
#endif

COIL_API bool coili_cancel_scope_enter(struct coil_coro *co,
                                       struct coil_cancel_scope *scope);

#endif

#endif
