// SPDX-License-Identifier: MIT
#ifndef COIL_WAKEUP_H
#define COIL_WAKEUP_H

/*
 * wakeup.h: a call that a signal handler may ask for.
 *
 * coil_call_soon_threadsafe() takes a lock, which a signal handler must not. An
 * wakeup is made beforehand in the loop's thread; to raise it takes no lock,
 * allocates nothing, keeps errno and wakes the loop. signal.h stands on it.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

struct coil_loop;

/* The fields are private. */
struct coil_wakeup {
    struct coil_handle call;
    struct coil_loop *loop;
    struct coil_wakeup *next;
    int sent;
};

/*
 * Prepare a wakeup of this thread's loop: `fn(arg)` is called by the loop after
 * it was sent; once for several times that it was sent before the call.
 *
 * Lifetime  lends `wakeup` until coil_wakeup_fini()
 * Source    uv_async_init()
 */
COIL_API void coil_wakeup_init(struct coil_wakeup *wakeup, coil_call_fn *fn,
                               void *arg);

/*
 * Have the loop make the call. From any thread, and from a signal handler.
 *
 * What was written before it is seen by the call that follows.
 *
 * Source    uv_async_send()
 */
COIL_API void coil_wakeup_send(struct coil_wakeup *wakeup);

/*
 * Withdraw what was sent and not yet called. Nobody raises it any more: to
 * see to that is the caller's duty, and before the loop is closed.
 */
COIL_API void coil_wakeup_fini(struct coil_wakeup *wakeup);

COIL_END_DECLS

#endif
