// SPDX-License-Identifier: MIT
#ifndef COIL_THEN_H
#define COIL_THEN_H

/*
 * then.h: what is to follow, said in advance; for who likes chains better than
 * coroutines.
 *
 *     struct coil_future *page = coil_http_get(session, url);
 *     page = coil_then(page, read_body, my);      // of the response
 *     page = coil_then(page, count_words, my);    // of the body
 *     page = coil_catch(page, say_why, my);       // of whatever failed above
 *     my->words = coil_spawn(page);
 *
 * Each link is a future of its own, whose value goes to the next one. An error
 * skips links until one has a handler for it; if that succeeds, the chain goes
 * on with its value. A handler is called from the loop, never within the call
 * that completes what it waits for.
 *
 * A chain is lazy, as every coroutine: its source begins when its end is
 * awaited, spawned or combined. What is upstream is a child of what is
 * downstream: cancelling the end cancels what the chain waits for at that
 * moment, dropping the end drops all of it, and an error that no handler took
 * is that of the end: thrown at who awaits it, or reported once.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/map.h>
#include <coil/task.h>

COIL_BEGIN_DECLS

/*
 * A handler. `done` has a value, or an error: ask it with coil_future_int(),
 * _pointer(), _double() or _error(). To ask for a pointer that is freed with
 * its future is to take it: free it, or hand it on by a coroutine of your own
 * (ASYNC_GIVES). What a handler spawns is a child of its link, and ends with
 * it.
 *
 * Result    what the link is to end with: a CALL, a future that is done
 *           (coil_future_from_int(n), coil_future_from_pointer(p)) or one
 *           that is not: the chain pauses until it is. NULL or `done` itself:
 *           the link ends with what it was given
 * Lifetime  views `done`, until the future that it returned is done
 */
typedef struct coil_future *coil_then_fn(struct coil_future *done, void *arg);

/*
 * Go on after `x`, a future (taken) or a task (borrowed): coil_then() if it
 * ended well, coil_catch() if it failed; coil_then_catch() has a handler for
 * either, of which one is called. Of one task there may be many chains.
 *
 * Result    that of the handler; without one for it, that of `x`
 * Errors    as in TRY_AWAIT, no handler sees this task's own cancellation; that
 *           of somebody else is an error like any other
 * Lifetime  lends `arg` until it is done
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
 * Call `fn(arg)` however `x` ends: well, badly, cancelled, or dropped before it
 * began. What it returns (NULL: nothing) is awaited.
 *
 * Result    that of `x`
 * Errors    of `x`; else of what `fn` returned
 * Lifetime  takes a future, borrows a task; lends `arg` until it is done
 * Source    finally() of a JavaScript Promise; try ... finally
 */
#ifndef __cplusplus
#define coil_finally(x, fn, arg) \
    _Generic((x), \
             struct coil_task *: coil_finally_task, \
             struct coil_future *: coil_finally_future)((x), (fn), (arg))
#endif
COIL_API COIL_NODISCARD struct coil_future *
coil_finally_task(struct coil_task *task, coil_source_fn *fn, void *arg);
COIL_API COIL_NODISCARD struct coil_future *
coil_finally_future(struct coil_future *future, coil_source_fn *fn, void *arg);

/*
 * Complete the plain future `dst` with what `x` ends with. If `dst` is
 * cancelled meanwhile, `x` is; if this is cancelled, both are.
 *
 * Result    0 once `dst` is done
 * Errors    -ECANCELED, -ENOMEM: never those of `x`, which `dst` has
 * Lifetime  takes a future, borrows a task; shares `dst`. A pointer that `x`
 *           would free is taken: `dst` frees nothing
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
