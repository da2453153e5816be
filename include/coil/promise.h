// SPDX-License-Identifier: MIT
#ifndef COIL_PROMISE_H
#define COIL_PROMISE_H

/*
 * promise.h: a loop's future that another thread completes.
 *
 *     my->promise = coil_promise_new(free);       // in the loop
 *     library_begin(..., done, my->promise);
 *     AWAIT_TO(my->text, coil_promise_future(my->promise));
 *
 *     static void done(char *text, void *promise) // in a thread of the library
 *     {
 *         coil_promise_set(promise, coil_result_pointer(text));
 *         coil_promise_unref(promise);
 *     }
 *
 * A promise is counted and outlives its loop, so whoever comes late does no
 * harm. One that nobody can set any more is broken: its future fails, and does
 * not wait for ever.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/result.h>

COIL_BEGIN_DECLS

struct coil_promise;

/*
 * Make a promise, in the thread of the loop that waits for it, with malloc().
 *
 * Result    NULL without memory
 * Lifetime  gives one reference. `free_value` is for a pointer that nobody
 *           takes, and may be called in any thread; NULL: nothing is to be done
 */
COIL_API COIL_NODISCARD struct coil_promise *
coil_promise_new(coil_call_fn *free_value);

/*
 * The future of it, for its loop: once, before or after it is set. A second
 * time aborts. To cancel it does not stop whoever is going to set it.
 *
 * Result    what it is set to; a pointer that nobody takes is freed
 * Errors    COIL_EBROKEN the last reference was given back before; -ECANCELED,
 *           -ENOMEM, also for a NULL promise
 * Lifetime  shares the promise
 * Source    asyncio.wrap_future(), loop.create_future()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_promise_future(struct coil_promise *promise);

/*
 * Set it, in any thread, exactly once. A second time aborts.
 *
 * Result    false if nobody waits any more: its future was cancelled or
 *           dropped, or the loop has closed
 * Lifetime  takes a pointer: one that nobody waits for is freed at once
 * Source    concurrent.futures Future.set_result, set_exception
 */
COIL_API bool coil_promise_set(struct coil_promise *promise,
                               struct coil_result result);

/*
 * True if nobody waits any more, so that work on it may stop.
 *
 * Source    concurrent.futures Future.cancelled()
 */
COIL_API bool coil_promise_abandoned(struct coil_promise *promise);

/*
 * One more reference for who is going to set it, one less. The last to go
 * breaks a promise that was not set. In any thread.
 *
 * Lifetime  shares
 */
COIL_API struct coil_promise *coil_promise_ref(struct coil_promise *promise);
COIL_API void coil_promise_unref(struct coil_promise *promise);

COIL_END_DECLS

#endif
