// SPDX-License-Identifier: MIT
#ifndef COIL_SIGNAL_H
#define COIL_SIGNAL_H

/*
 * signal.h: signals, as futures, as a source for FOR_AWAIT, as calls.
 *
 *     AWAIT(coil_wait_signal(SIGTERM));                 // the next one
 *
 *     FOR_AWAIT(my->signo, coil_signals((int[]){ SIGHUP, SIGTERM }, 2))
 *         ...
 *
 * While anybody in the process listens to a signal, coil's handler stands in
 * for its disposition; when the last one has left, what there was before is put
 * back, unless somebody else has replaced ours. The signal is not blocked.
 * Every listener is told, in every loop, whichever thread the kernel has
 * chosen.
 *
 * Signals of one number that come faster than the loop turns are one, as they
 * are for the kernel: what listens is told at least once after the last one.
 *
 * A forked child has none of it: the dispositions are those from before. One
 * that is executed has the dispositions that execve(2) gives it, and no signal
 * is blocked. RUN() has an answer of its own to SIGINT, see coroutine.h: who
 * listens to SIGINT here gets it instead.
 *
 * Errors of all of them: -ENOMEM, and -EINVAL for what cannot be caught
 * (SIGKILL, SIGSTOP) or is no signal.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

/*
 * Wait for the next arrival, counted from the await on. In a loop one that
 * comes between two awaits is missed: that is what coil_signals() is for.
 *
 * Result    signo
 * Errors    as above; -ECANCELED
 * Source    sigwait(3)
 */
COIL_API COIL_NODISCARD struct coil_future *coil_wait_signal(int signo);

/*
 * A source for FOR_AWAIT that misses none between two turns: it listens from
 * the first turn to the end. Those that have come meanwhile are yielded by
 * their numbers, the lowest first.
 *
 * Result    yields signo
 * Errors    as above; -ECANCELED
 * Lifetime  copies the array
 * Source    trio.open_signal_receiver()
 */
COIL_API COIL_NODISCARD struct coil_future *coil_signals(const int *signos,
                                                         size_t n);

/* A place of the lists of listeners. The fields are private. */
struct coili_listener {
    struct coili_listener *next, *prev; /* NULL: in none */
    uint64_t wanted;
    void (*heard)(struct coili_listener *listener, uint64_t signals);
};

/* A call at each arrival. Zero it before its first use; private fields. */
struct coil_signal_handler {
    struct coili_listener listener;
    struct coil_handle call;
    coil_call_fn *fn;
    void *arg;
    bool called;
};

/*
 * Have the loop call `fn(arg)` when the signal has come, until the handler is
 * removed or the loop is closed. Others who listen are told too.
 *
 * Result    0
 * Lifetime  lends `handler` until it is removed or the loop is closed
 * Source    asyncio loop.add_signal_handler(); that one replaces the former
 */
COIL_API COIL_NODISCARD int
coil_signal_add_handler(struct coil_signal_handler *handler, int signo,
                        coil_call_fn *fn, void *arg);

/*
 * It is not called any more, even if the signal has come already.
 *
 * Result    false if it was not added, or the loop has been closed
 * Source    asyncio loop.remove_signal_handler()
 */
COIL_API bool coil_signal_remove_handler(struct coil_signal_handler *handler);

COIL_END_DECLS

#endif
