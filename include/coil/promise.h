// SPDX-License-Identifier: MIT
#ifndef COIL_PROMISE_H
#define COIL_PROMISE_H

/*
 * promise.h: a future that another thread completes: for libraries that call
 * back in a thread of their own.
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
 * A promise is reference-counted and may outlive its loop: setting it after the
 * loop has closed is safe. If the last reference is dropped before the promise
 * was set, the promise is broken: its future fails with COIL_EBROKEN, instead
 * of being pending for ever.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/result.h>

COIL_BEGIN_DECLS

struct coil_promise;

/*
 * Make a promise, by malloc(), in the thread of the loop that is going to await
 * it. Aborts in a thread without a loop.
 *
 * Result    the promise; NULL if out of memory
 * Lifetime  gives one reference, for the code that sets the promise:
 *           coil_promise_unref() drops it. `free_value`, which may be NULL, is
 *           called, in any thread, with a pointer that was set and never taken
 */
COIL_API COIL_NODISCARD struct coil_promise *
coil_promise_new(coil_call_fn *free_value);

/*
 * The promise's future, in the thread that made the promise: before or after
 * the promise is set, but only once. A second call aborts. Cancelling the
 * future does not stop the code that is going to set the promise; see
 * coil_promise_abandoned().
 *
 * Result    the value that the promise is set to
 * Errors    COIL_EBROKEN  the last reference was dropped before it was set
 *           -ECANCELED; -ENOMEM, also if `promise` is NULL; the error that the
 *           promise is set to
 * Lifetime  gives the future, which shares the promise. `free_value` is called
 *           with a pointer that no await takes from the future
 * Source    asyncio.wrap_future(), loop.create_future()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_promise_future(struct coil_promise *promise);

/*
 * Set the promise to a value or an error, exactly once: a second call aborts.
 * In any thread.
 *
 * Result    true; false if the value cannot arrive: the future was cancelled or
 *           dropped, or the loop has closed
 * Lifetime  takes a pointer in `result`; on false, `free_value` is called with
 *           it at once
 * Source    concurrent.futures Future.set_result, set_exception
 */
COIL_API bool coil_promise_set(struct coil_promise *promise,
                               struct coil_result result);

/*
 * True if the future was cancelled or dropped, so that the work for the promise
 * may stop. In any thread.
 *
 * Source    concurrent.futures Future.cancelled()
 */
COIL_API bool coil_promise_abandoned(struct coil_promise *promise);

/*
 * Add a reference, for other code that may set the promise. In any thread.
 *
 * Result    `promise`
 * Lifetime  shares: coil_promise_unref() drops the reference
 */
COIL_API struct coil_promise *coil_promise_ref(struct coil_promise *promise);

/*
 * Drop a reference. In any thread. Dropping the last one breaks a promise that
 * was not set.
 */
COIL_API void coil_promise_unref(struct coil_promise *promise);

COIL_END_DECLS

#endif
