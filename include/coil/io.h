// SPDX-License-Identifier: MIT
#ifndef COIL_IO_H
#define COIL_IO_H

/*
 * io.h: one operation on a descriptor.
 *
 * Each call makes a future; the await gives the operation to the kernel. A
 * buffer is lent until the await has ended, also when it was cancelled: the
 * await of a cancelled operation ends when the kernel has let go, and with its
 * result if it succeeded all the same. A buffer on the stack of the current
 * step aborts: it would be gone by then.
 *
 * All of them fail with -ECANCELED, -ENOMEM and, when options.operations_limit
 * are in flight, -ENOBUFS; with whatever the system call of their name says;
 * and with -EINVAL for a negative descriptor.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

struct coil_addr;

/*
 * Read from a file, pipe, terminal or socket. The first form reads at the
 * file's position.
 *
 * Result    bytes read, at most `len`; 0 at the end
 * Lifetime  lends `buf` until it is done
 * Source    read(2), pread(2)
 */
COIL_API COIL_NODISCARD struct coil_future *coil_read(int fd, void *buf,
                                                      size_t len);
COIL_API COIL_NODISCARD struct coil_future *
coil_pread(int fd, void *buf, size_t len, uint64_t offset);

/*
 * Write; may write less than asked for. Nobody reads the pipe any more? Then
 * the kernel raises SIGPIPE as for write(2): ignore it, and get -EPIPE.
 *
 * Result    bytes written
 * Lifetime  lends `buf` until it is done
 * Source    write(2), pwrite(2)
 */
COIL_API COIL_NODISCARD struct coil_future *coil_write(int fd, const void *buf,
                                                       size_t len);
COIL_API COIL_NODISCARD struct coil_future *
coil_pwrite(int fd, const void *buf, size_t len, uint64_t offset);

/*
 * Receive from a socket, send to it. A send never raises SIGPIPE.
 *
 * Result    bytes; recv: 0 at the end
 * Lifetime  lends `buf` until it is done
 * Source    asyncio loop.sock_recv; recv(2), send(2)
 */
COIL_API COIL_NODISCARD struct coil_future *coil_recv(int fd, void *buf,
                                                      size_t len);
COIL_API COIL_NODISCARD struct coil_future *coil_send(int fd, const void *buf,
                                                      size_t len);

/*
 * Accept a connection.
 *
 * Result    its descriptor, close-on-exec; closed if nobody takes it
 * Source    asyncio loop.sock_accept; accept4(2)
 */
COIL_API COIL_NODISCARD struct coil_future *coil_accept(int fd);

/*
 * Connect a socket.
 *
 * Result    0
 * Lifetime  copies
 * Source    asyncio loop.sock_connect; connect(2)
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_connect(int fd, const struct coil_addr *addr);

/*
 * Shut down a socket: SHUT_RD, SHUT_WR or SHUT_RDWR.
 *
 * Result    0
 * Source    shutdown(2)
 */
COIL_API COIL_NODISCARD struct coil_future *coil_shutdown(int fd, int how);

/*
 * Cancel every operation on the descriptor, wait until the kernel has let go of
 * them, then close it. The awaits of those operations end with -ECANCELED, what
 * is begun meanwhile with -EBADF. Cannot be cancelled itself. Closing a socket
 * that you made? coil_shutdown() it before, so that the peer learns at once
 * even if another process shares it.
 *
 * Result    0; the descriptor is closed even after an error
 * Errors    of close(2); -EBADF also if it is being closed already
 * Source    close(2)
 */
COIL_API COIL_NODISCARD struct coil_future *coil_close(int fd);

/*
 * Wait until a descriptor is ready: the door for other libraries.
 *
 * Units     POLLIN, POLLOUT... of poll(2)
 * Result    the events that are there; POLLERR, POLLHUP too
 * Source    asyncio loop.add_reader, add_writer; gevent socket.wait_read
 */
COIL_API COIL_NODISCARD struct coil_future *coil_poll(int fd, unsigned events);

/*
 * For your own primitives that borrow a buffer until they are done: abort if
 * it is on the stack of the step that runs now.
 */
COIL_API void coil_check_lent(const void *buf);

COIL_END_DECLS

#endif
