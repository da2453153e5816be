// SPDX-License-Identifier: MIT
#ifndef COIL_ACCEPTOR_H
#define COIL_ACCEPTOR_H

/*
 * acceptor.h: connections as they arrive.
 *
 * coil_accept() accepts one connection. An acceptor is one operation that
 * accepts connection after connection, several in one pass if they come
 * together. Listeners use acceptors; most programs want a listener.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

struct coil_acceptor;

/*
 * Prepare to accept from a listening socket. The first coil_acceptor_next()
 * begins. From then on connections are accepted in advance: about 64, and at
 * most options.cq_entries more.
 *
 * Result    0
 * Errors    -ENOMEM
 * Lifetime  gives (coil_acceptor_close); lends `fd` until then
 */
COIL_API COIL_NODISCARD int coil_acceptor_open(struct coil_acceptor **out,
                                               int fd);

/*
 * Wait for the next connection; first come, first served.
 *
 * Result    its descriptor, close-on-exec and above 2 (loop.h); coil closes it
 *           if no await takes it
 * Errors    -EMFILE, -ENFILE, -ENOBUFS, -ENOMEM: one waiter gets the error, and
 *           the acceptor pauses for 100 ms; other errors of accept(2). Errors
 *           of single connections are skipped, except the 65th in a row: so a
 *           datagram socket fails with -EOPNOTSUPP; COIL_ECLOSED; -ECANCELED
 * Lifetime  shares the acceptor's memory: it stays until the future is freed
 * Source    asyncio loop.sock_accept; accept4(2)
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_acceptor_next(struct coil_acceptor *acceptor);

/*
 * Stop accepting. Waiters fail with COIL_ECLOSED, connections that were
 * accepted in advance are closed. The future is done when the kernel does not
 * use the socket any more; the socket stays open. Cannot be cancelled;
 * allocates nothing.
 *
 * Result    0
 * Lifetime  takes the acceptor; NULL is fine
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_acceptor_close(struct coil_acceptor *acceptor);

COIL_END_DECLS

#endif
