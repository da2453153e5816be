// SPDX-License-Identifier: MIT
#ifndef COIL_SIGNAL_H
#define COIL_SIGNAL_H

/*
 * signal.h: signals: as futures, as a source for FOR_AWAIT, as calls.
 *
 *     AWAIT(coil_wait_signal(SIGTERM));                 // the next one
 *
 *     FOR_AWAIT(my->signo, coil_signals((int[]){ SIGHUP, SIGTERM }, 2))
 *         ...
 *
 * While a signal has listeners in this process, coil's handler is installed.
 * When the last listener is removed the former disposition is restored, unless
 * the program has replaced coil's handler. The signal is not blocked. Every
 * listener of every loop gets the signal, in whichever thread the kernel
 * delivers it.
 *
 * Several signals of one number that arrive within a pass may become one, as in
 * the kernel: a listener is called at least once after the last of them.
 *
 * A forked child has the former dispositions and no listener. A program that is
 * executed has the dispositions that execve(2) defines, and no signal is
 * blocked. RUN() handles SIGINT itself (coroutine.h); if SIGINT has a listener,
 * the listener gets it instead of RUN().
 *
 * All functions but coil_signal_remove_handler() can fail with -ENOMEM, and
 * with -EINVAL for a number that is no signal or cannot be caught (SIGKILL,
 * SIGSTOP).
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

/*
 * Wait for the next arrival after the await has begun. If the signal has no
 * other listener, it has its former disposition again when the await has ended:
 * a second SIGTERM then ends the process, also if the first one is still being
 * handled. So for more than one arrival use coil_signals(), which listens until
 * its loop is left.
 *
 * Result    signo
 * Errors    as above; -ECANCELED
 * Source    sigwait(3)
 */
COIL_API COIL_NODISCARD struct coil_future *coil_wait_signal(int signo);

/*
 * A source for FOR_AWAIT that misses no signal between two iterations: it
 * listens from the first iteration until the loop is left. Signals that have
 * arrived meanwhile are yielded in the order of their numbers.
 *
 * Result    yields signo
 * Errors    as above; -ECANCELED
 * Lifetime  copies `signos`
 * Source    trio.open_signal_receiver()
 */
COIL_API COIL_NODISCARD struct coil_future *coil_signals(const int *signos,
                                                         size_t n);

/* An entry of a list of listeners. The fields are private. */
struct coili_listener {
    struct coili_listener *next, *prev; /* NULL: in no list */
    uint64_t wanted;
    void (*heard)(struct coili_listener *listener, uint64_t signals);
};

/* A call at each arrival. Zero it before its first use. Private fields. */
struct coil_signal_handler {
    struct coili_listener listener;
    struct coil_handle call;
    coil_call_fn *fn;
    void *arg;
    bool called;
};

/*
 * Let the loop call `fn(arg)` after each arrival of the signal, until the
 * handler is removed or the loop is closed. Other listeners get the signal,
 * too.
 *
 * Result    0
 * Lifetime  the caller lends `handler` until it is removed or the loop is
 *           closed
 * Source    asyncio loop.add_signal_handler(), which replaces a former handler
 */
COIL_API COIL_NODISCARD int
coil_signal_add_handler(struct coil_signal_handler *handler, int signo,
                        coil_call_fn *fn, void *arg);

/*
 * Remove a handler. Its function is not called any more, even if the signal has
 * already arrived.
 *
 * Result    false if the handler was not added, or the loop was closed
 * Source    asyncio loop.remove_signal_handler()
 */
COIL_API bool coil_signal_remove_handler(struct coil_signal_handler *handler);

COIL_END_DECLS

#endif
