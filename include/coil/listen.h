// SPDX-License-Identifier: MIT
#ifndef COIL_LISTEN_H
#define COIL_LISTEN_H

/*
 * listen.h: listeners, which accept the connections of other programs.
 *
 *     for (;;) {
 *         AWAIT_TO(my->peer, coil_listener_accept(my->listener));
 *         if (START(serve, .peer = my->peer) < 0)
 *             coil_stream_close_soon(my->peer);
 *     }
 */

#include <coil/addr.h>
#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

struct coil_listener;
struct coil_stream;

/*
 * Make a socket, bind it to the address with SO_REUSEADDR, and listen. With
 * port 0 the kernel chooses a port, which coil_listener_addr() tells. The file
 * of a Unix socket must not exist yet, and stays when the listener is closed.
 *
 * Units     backlog: connections that the kernel keeps until they are accepted
 * Result    0
 * Errors    of socket(2), bind(2) and listen(2): -EADDRINUSE, -EACCES, -EMFILE
 *           and others; -ENOMEM. A port that is in use is tried again, and
 *           blocks the thread, for up to 63 ms: after a program with a loop
 *           was killed, the kernel keeps its port for some milliseconds
 * Lifetime  gives (coil_listener_close); copies `addr`
 * Source    asyncio.start_server()
 */
COIL_API COIL_NODISCARD int coil_listener_open(struct coil_listener **out,
                                               const struct coil_addr *addr,
                                               int backlog);

/* The address on which the listener listens, with the port that it has. */
COIL_API void coil_listener_addr(const struct coil_listener *listener,
                                 struct coil_addr *out);

/*
 * Wait for the next connection. Tasks that wait get connections in the order in
 * which they asked. From the first call on some connections are accepted in
 * advance (acceptor.h).
 *
 * Result    a struct coil_stream *, with TCP_NODELAY
 * Errors    -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM: the first task that waits gets
 *           the error, and for 100 ms nothing is accepted; COIL_ECLOSED: the
 *           listener was closed; -ECANCELED
 * Lifetime  gives (coil_stream_close); a stream that is not taken is closed
 * Source    asyncio.start_server(), its client_connected_cb
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_listener_accept(struct coil_listener *listener);

/*
 * Stop listening. Tasks that wait for a connection get COIL_ECLOSED, and
 * connections that no task has accepted are closed. Cannot be cancelled;
 * allocates nothing.
 *
 * Result    0; the port can be bound again
 * Lifetime  takes the listener; NULL is allowed
 * Source    asyncio Server.close() and wait_closed(), in one
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_listener_close(struct coil_listener *listener);

COIL_END_DECLS

#endif
