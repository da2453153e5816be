// SPDX-License-Identifier: MIT
#ifndef COIL_ACCEPTOR_H
#define COIL_ACCEPTOR_H

/*
 * acceptor.h: connections as they arrive.
 *
 * coil_accept() asks the kernel for one connection. An acceptor asks once and
 * is told of each, several in one pass if they come together. Listeners are
 * made of it; most programs want a listener.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

struct coil_acceptor;

/*
 * Prepare to accept from a listening socket. The first coil_acceptor_next()
 * begins; from then on connections are accepted in advance, 64 or as many more
 * as one pass brings.
 *
 * Result    0
 * Errors    -ENOMEM
 * Lifetime  gives (coil_acceptor_close); lends `fd` until then
 */
COIL_API COIL_NODISCARD int coil_acceptor_open(struct coil_acceptor **out,
                                               int fd);

/*
 * Wait for the next connection. Who asked first gets it.
 *
 * Result    its descriptor, close-on-exec; closed if nobody takes it
 * Errors    -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM: one is told, and for 100 ms
 *           nothing more is accepted; others of accept(2) that do not concern
 *           a single connection; COIL_ECLOSED; -ECANCELED
 * Source    asyncio loop.sock_accept; accept4(2)
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_acceptor_next(struct coil_acceptor *acceptor);

/*
 * Stop: who waits is told COIL_ECLOSED, and connections that nobody has taken
 * are closed. Done when the kernel has let go of the socket, which stays open.
 * Cannot be cancelled; allocates nothing.
 *
 * Result    0
 * Lifetime  takes the acceptor
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_acceptor_close(struct coil_acceptor *acceptor);

COIL_END_DECLS

#endif
