// SPDX-License-Identifier: MIT
#ifndef COIL_THEN_H
#define COIL_THEN_H

/*
 * then.h: chains of handlers that run when a future is done, as promises have
 * them, without a coroutine of your own.
 *
 *     struct coil_future *page = coil_http_get(session, url);
 *     page = coil_then(page, read_body, my);          // of the response
 *     page = coil_then(page, count_words, my);        // of the body
 *     page = coil_catch(page, report_error, my);      // of any step above
 *     my->words = coil_spawn(page);
 *
 * Each step is a future of its own, and its value goes to the next step. An
 * error skips steps until one has a handler for errors; if that succeeds, the
 * chain goes on with its value. The loop calls the handlers, never within the
 * call that completes a future.
 *
 * A chain is lazy, like a coroutine: it begins when its last future is awaited,
 * spawned or combined. Each step is a child of the one after it. So cancelling
 * the last future cancels the operation that the chain waits for, discarding it
 * discards the whole chain, and an error that no handler took is the error of
 * the last future: an await of it fails, or the error is reported once.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/task.h>

COIL_BEGIN_DECLS

/*
 * A handler. `done` has a value or an error: get it with coil_future_int(),
 * _pointer(), _double() or _error(). If the value is a pointer that its future
 * frees, the handler owns the pointer after coil_future_pointer(): it frees it,
 * or hands it on from a coroutine of its own (ASYNC_GIVES). Tasks that a
 * handler spawns are children of its step, and end with it.
 *
 * Result    what the step ends with. A CALL, or another future: the step waits
 *           until it is done (coil_future_from_int() and
 *           coil_future_from_pointer() make one that is done). NULL or `done`:
 *           the step ends with the value or error of `done`
 * Lifetime  views `done` until the future that the handler returns is done
 */
typedef struct coil_future *coil_then_fn(struct coil_future *done, void *arg);

/*
 * Call a handler when `x`, a future or a task, is done: coil_then() calls `ok`
 * if `x` succeeded, coil_catch() calls `failed` if `x` failed, and
 * coil_then_catch() calls one of the two. One task may have several chains.
 *
 * Result    that of the handler; that of `x` if there is no handler for it
 * Errors    that of the handler, or of `x`. If the task that awaits the chain
 *           is cancelled, no handler is called, as with TRY_AWAIT; if other
 *           code cancels `x`, that is an error like any other
 * Lifetime  takes a future; shares a task until the step is done. The caller
 *           lends `arg` until the step is done
 * Source    Twisted Deferred.addCallback(), addErrback(), addCallbacks(),
 *           addBoth(); then() and catch() of a JavaScript Promise
 */
#ifndef __cplusplus
#define coil_then(x, ok, arg) coil_then_catch(x, ok, NULL, arg)
#define coil_catch(x, failed, arg) coil_then_catch(x, NULL, failed, arg)
#define coil_then_catch(x, ok, failed, arg) \
    _Generic((x), \
             struct coil_task *: coil_then_task, \
             struct coil_future *: coil_then_future)((x), (ok), (failed), \
                                                     (arg))
#endif
COIL_API COIL_NODISCARD struct coil_future *
coil_then_task(struct coil_task *task, coil_then_fn *ok, coil_then_fn *failed,
               void *arg);
COIL_API COIL_NODISCARD struct coil_future *
coil_then_future(struct coil_future *future, coil_then_fn *ok,
                 coil_then_fn *failed, void *arg);

/*
 * What coil_finally() calls.
 *
 * Result    a future to await, or NULL
 * Lifetime  gives: the future is taken
 */
typedef struct coil_future *coil_finally_fn(void *arg);

/*
 * Call `fn(arg)` when `x`, a future or a task, has ended, whether it succeeded,
 * failed, was cancelled, or was discarded before it began. The future that `fn`
 * returns is awaited; NULL: there is none.
 *
 * Result    that of `x`
 * Errors    that of `x`; if `x` succeeded, that of the future of `fn`
 * Lifetime  takes a future; shares a task until the step is done. The caller
 *           lends `arg` until the step is done
 * Source    finally() of a JavaScript Promise; try ... finally
 */
#ifndef __cplusplus
#define coil_finally(x, fn, arg) \
    _Generic((x), \
             struct coil_task *: coil_finally_task, \
             struct coil_future *: coil_finally_future)((x), (fn), (arg))
#endif
COIL_API COIL_NODISCARD struct coil_future *
coil_finally_task(struct coil_task *task, coil_finally_fn *fn, void *arg);
COIL_API COIL_NODISCARD struct coil_future *
coil_finally_future(struct coil_future *future, coil_finally_fn *fn, void *arg);

/*
 * Complete the plain future `dst` with the value or error of `x`, a future or a
 * task. If `dst` is cancelled meanwhile, `x` is cancelled. If this step is
 * cancelled, both are.
 *
 * Result    0: `dst` is done
 * Errors    -ECANCELED, -ENOMEM; an error of `x` goes to `dst` only
 * Lifetime  takes a future; shares a task and `dst` until the step is done. A
 *           pointer that `x` would free is taken from it, and `dst` does not
 *           free it
 * Source    Twisted Deferred.chainDeferred(); asyncio's _chain_future()
 */
#ifndef __cplusplus
#define coil_chain(x, dst) \
    _Generic((x), \
             struct coil_task *: coil_chain_task, \
             struct coil_future *: coil_chain_future)((x), (dst))
#endif
COIL_API COIL_NODISCARD struct coil_future *
coil_chain_task(struct coil_task *task, struct coil_future *dst);
COIL_API COIL_NODISCARD struct coil_future *
coil_chain_future(struct coil_future *future, struct coil_future *dst);

COIL_END_DECLS

#endif
