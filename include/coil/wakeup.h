// SPDX-License-Identifier: MIT
#ifndef COIL_WAKEUP_H
#define COIL_WAKEUP_H

/*
 * wakeup.h: a callback that a signal handler or another thread may request, as
 * libuv's uv_async_t.
 *
 *     static struct coil_wakeup wakeup;
 *
 *     coil_wakeup_init(&wakeup, reload, NULL);     // in the loop's thread
 *
 *     static void on_hangup(int signo)             // a signal handler
 *     {
 *         coil_wakeup_send(&wakeup);
 *     }
 *
 * coil_call_soon_threadsafe() takes a lock, which a signal handler must not do.
 * To send a wakeup takes no lock, allocates nothing and keeps errno; it wakes
 * the loop, which then makes the call. For signals that a coroutine waits for
 * see signal.h, which is made with wakeups.
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
 * Prepare a wakeup of this thread's loop: after coil_wakeup_send() the loop
 * calls `fn(arg)`, once for all sends that came before the call.
 *
 * Lifetime  the caller lends `wakeup` until coil_wakeup_fini(), or until the
 *           loop has closed
 * Source    uv_async_init()
 */
COIL_API void coil_wakeup_init(struct coil_wakeup *wakeup, coil_call_fn *fn,
                               void *arg);

/*
 * Have the loop make the call. From any thread, and from a signal handler. The
 * call sees what this thread has written before it sent the wakeup.
 *
 * Source    uv_async_send()
 */
COIL_API void coil_wakeup_send(struct coil_wakeup *wakeup);

/*
 * End a wakeup, in the loop's thread: a call that was sent and not made yet is
 * withdrawn. From now on, and once the loop is closed, no signal handler and no
 * thread may send the wakeup: the caller makes sure of that.
 *
 * Source    uv_close()
 */
COIL_API void coil_wakeup_fini(struct coil_wakeup *wakeup);

COIL_END_DECLS

#endif
