// SPDX-License-Identifier: MIT
#ifndef COIL_LISTEN_H
#define COIL_LISTEN_H

/*
 * listen.h: names, and listening for connections.
 */

#include <coil/addr.h>
#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

/* ---- Names ------------------------------------------------------------ */

#define COIL_RESOLVE_LIMIT 16

struct coil_addrs {
    size_t n;
    struct coil_addr list[COIL_RESOLVE_LIMIT];
};

/*
 * Look a name up, in coil's own worker thread. Who asks for a name that is
 * being looked up waits for the same answer, for any port; an answer is kept
 * for a while, an error is not. "localhost" is this machine: 127.0.0.1, then
 * ::1, and nobody is asked.
 *
 * The loop's options are the bounds: names beyond
 * options.resolver_threads_limit wait for a thread, new ones beyond
 * options.resolver_names_limit wait until they can be kept, both in the order
 * of arrival. A lookup cannot be interrupted: when those who wait are cancelled
 * it goes on and its answer is kept, and when the loop is closed its thread
 * ends by itself, within the time-outs of resolv.conf(5).
 *
 * Result    0, and the addresses in *out in the order to be tried
 * Errors    COIL_ERESOLVE (the detail's code is EAI_*); COIL_ENOTHREAD; -errno
 *           of the system for EAI_SYSTEM; -ECANCELED, -ENOMEM
 * Lifetime  copies `host`; lends `out` until it is done
 * Source    asyncio loop.getaddrinfo(); getaddrinfo(3)
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_resolve(struct coil_addrs *out, const char *host, uint16_t port);

/* ---- Listening -------------------------------------------------------- */

struct coil_listener;
struct coil_stream;

/*
 * Bind and listen, with SO_REUSEADDR. Port 0 lets the kernel choose: ask with
 * coil_listener_addr().
 *
 * Result    0
 * Errors    -errno of socket, bind and listen; -ENOMEM
 * Lifetime  gives (coil_listener_close); copies `addr`
 * Source    asyncio.start_server()
 */
COIL_API COIL_NODISCARD int coil_listener_open(struct coil_listener **out,
                                               const struct coil_addr *addr,
                                               int backlog);

COIL_API void coil_listener_addr(const struct coil_listener *listener,
                                 struct coil_addr *out);

/*
 * Wait for the next connection. Who asked first gets it; once one has asked,
 * some are accepted in advance (acceptor.h).
 *
 * Result    a struct coil_stream *, with TCP_NODELAY
 * Errors    -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM: one is told, and for 100 ms
 *           nothing more is accepted; COIL_ECLOSED; -ECANCELED
 * Lifetime  gives (coil_stream_close); closed if nobody takes it
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_listener_accept(struct coil_listener *listener);

/*
 * Stop listening: who waits for a connection is told COIL_ECLOSED, and
 * connections nobody has accepted are closed. Cannot be cancelled.
 *
 * Result    0
 * Lifetime  takes the listener
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_listener_close(struct coil_listener *listener);

COIL_END_DECLS

#endif
