// SPDX-License-Identifier: MIT
#ifndef COIL_REMOTE_H
#define COIL_REMOTE_H

/*
 * remote.h: call a function in a loop from other threads, also if the loop may
 * have closed.
 *
 *     struct coil_remote *remote = coil_remote_ref(coil_remote_current());
 *     ...
 *     if (!coil_remote_call_soon(remote, &my->call, arrived))  // any thread
 *         free(my);                                            // loop closed
 *
 * A remote stands for a loop in other threads. It is counted and outlives the
 * loop: when the loop has closed, the remote refuses the call.
 * (coil_call_soon_threadsafe() may only be used while the loop exists.) Remote
 * tasks, promises, channels and executors are made with remotes, and your own
 * primitives can be, too.
 */

#include <coil/api.h>
#include <coil/loop.h>

COIL_BEGIN_DECLS

struct coil_remote;
struct coil_remote_call;

/* What is called in the loop's thread; it may free `call`. */
typedef void coil_remote_call_fn(struct coil_remote_call *call);

/*
 * A call on its way to a loop: usually a field of a struct of yours, which the
 * function finds from it. The fields are private.
 */
struct coil_remote_call {
    struct coil_remote_call *next;
    coil_remote_call_fn *fn;
};

/*
 * The remote of this thread's loop. It is made at the first call, by malloc().
 * In a thread without a loop it aborts.
 *
 * Result    the same remote each time; NULL without memory
 * Lifetime  views: valid until the loop has closed. Code that keeps it longer
 *           takes a reference
 */
COIL_API struct coil_remote *coil_remote_current(void);

/*
 * Add a reference. From any thread.
 *
 * Result    `remote`
 * Lifetime  shares: coil_remote_unref() drops the reference
 */
COIL_API struct coil_remote *coil_remote_ref(struct coil_remote *remote);

/* Drop a reference. From any thread, also after the loop has closed. */
COIL_API void coil_remote_unref(struct coil_remote *remote);

/* True in the thread of the remote's loop, until the loop has closed. */
COIL_API bool coil_remote_is_current(const struct coil_remote *remote);

/*
 * Have `fn(call)` called in the loop's thread. From any thread. Calls are made
 * in the order in which they were asked for; the loop is woken once for all
 * that come before it looks.
 *
 * A call that was not refused is made, if need be while the loop closes. So ask
 * coil_loop_closing() in `fn` before you begin something there. Calls are
 * refused from the moment when all tasks have ended and no
 * coil_remote_keep_open() is left: also one that `fn` asks for.
 *
 * The queue has no bound of its own: it consists of the callers' structs, and
 * coil allocates nothing. For threads that wait while the loop is behind see
 * channel.h, whose capacity is a bound.
 *
 * Result    true; false if the loop has closed: `fn` will not be called
 * Lifetime  the caller lends `call` until `fn` is called; if the result is
 *           false, until the function returns
 * Source    asyncio loop.call_soon_threadsafe()
 */
COIL_API COIL_NODISCARD bool
coil_remote_call_soon(struct coil_remote *remote, struct coil_remote_call *call,
                      coil_remote_call_fn *fn);

/*
 * Keep the loop from closing until a matching coil_remote_allow_close(): for a
 * call that must not be refused. coil_loop_close() then waits without a
 * time-out, after all tasks have ended. In the loop's thread.
 */
COIL_API void coil_remote_keep_open(struct coil_remote *remote);

/*
 * Undo one coil_remote_keep_open(), usually in the call that was waited for. In
 * the loop's thread. More often than it was kept open aborts.
 */
COIL_API void coil_remote_allow_close(struct coil_remote *remote);

COIL_END_DECLS

#endif
