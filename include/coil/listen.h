// SPDX-License-Identifier: MIT
#ifndef COIL_LISTEN_H
#define COIL_LISTEN_H

/*
 * listen.h: listening for connections.
 */

#include <coil/addr.h>
#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

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
