// SPDX-License-Identifier: MIT
#ifndef COIL_REMOTE_H
#define COIL_REMOTE_H

/*
 * remote.h: where other threads reach a loop, as long as it is there.
 *
 * coil_call_soon_threadsafe wants a loop that is not closed meanwhile. A remote
 * is counted and outlives its loop: what is called to a loop that has closed
 * is refused. Executors, promises and channels stand on it, and so can yours.
 *
 *     struct coil_remote *remote = coil_remote_ref(coil_remote_current());
 *     ...
 *     coil_remote_call_soon(remote, &my->call, arrived);      // in any thread
 */

#include <coil/api.h>
#include <coil/loop.h>

COIL_BEGIN_DECLS

struct coil_remote;
struct coil_remote_call;

typedef void coil_remote_call_fn(struct coil_remote_call *call);

/* What is called: mostly a field of yours. The fields are private. */
struct coil_remote_call {
    struct coil_remote_call *next;
    coil_remote_call_fn *fn;
};

/*
 * The remote of this thread's loop; made at first need, with malloc().
 *
 * Result    the same one each time; NULL without memory
 * Lifetime  views: until the loop has closed. Who keeps it longer takes a
 *           reference
 */
COIL_API struct coil_remote *coil_remote_current(void);

/*
 * One more reference, one less. From any thread.
 *
 * Lifetime  shares
 */
COIL_API struct coil_remote *coil_remote_ref(struct coil_remote *remote);
COIL_API void coil_remote_unref(struct coil_remote *remote);

/* True in the thread of the remote's loop, until that has closed. */
COIL_API bool coil_remote_is_current(const struct coil_remote *remote);

/*
 * Have `fn(call)` called in the loop's thread, from any thread, in the order of
 * calling. The loop is woken once for all that is called meanwhile.
 *
 * What is called before the loop has closed is called, if need be as its last
 * act: ask coil_loop_closing() before you begin something there.
 *
 * Result    false if the loop has closed: `fn` is not going to be called
 * Lifetime  lends `call` until `fn` is called
 * Source    asyncio loop.call_soon_threadsafe()
 */
COIL_API COIL_NODISCARD bool
coil_remote_call_soon(struct coil_remote *remote, struct coil_remote_call *call,
                      coil_remote_call_fn *fn);

/*
 * The loop is not closed before what is expected was called, and waits without
 * a limit if all else is over. Each coil_remote_keep_open() wants one
 * coil_remote_allow_close(), mostly where the call arrives. In the loop's
 * thread.
 */
COIL_API void coil_remote_keep_open(struct coil_remote *remote);
COIL_API void coil_remote_allow_close(struct coil_remote *remote);

COIL_END_DECLS

#endif
