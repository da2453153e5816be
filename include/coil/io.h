// SPDX-License-Identifier: MIT
#ifndef COIL_IO_H
#define COIL_IO_H

/*
 * io.h: single operations on a descriptor.
 *
 * Each call makes a future; the await submits the operation to the kernel. The
 * caller lends the buffer until the await has ended, also after a cancellation:
 * the await of a cancelled operation ends when the kernel no longer uses the
 * buffer, and returns the result if the operation succeeded all the same. A
 * buffer on the stack of the current step aborts, because the stack is reused
 * before the operation has completed.
 *
 * Each operation can fail with -ECANCELED; with -ENOMEM; with -ENOBUFS when
 * options.operations_limit operations are in flight; with -EAGAIN when the
 * kernel needs a thread for the operation, as for many files, and cannot start
 * one (RLIMIT_NPROC, pids.max); with the errors of the system call of the same
 * name; and with -EINVAL for a negative descriptor. -ECANCELED always means
 * that the program has cancelled the operation.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

struct coil_addr;

/*
 * Read from a file, pipe, terminal or socket. coil_read() reads at the file's
 * position, coil_pread() at `offset`.
 *
 * Result    bytes read, at most `len`; 0 at the end
 * Lifetime  the caller lends `buf` until the future is done
 * Source    read(2), pread(2)
 */
COIL_API COIL_NODISCARD struct coil_future *coil_read(int fd, void *buf,
                                                      size_t len);
COIL_API COIL_NODISCARD struct coil_future *
coil_pread(int fd, void *buf, size_t len, uint64_t offset);

/*
 * Write at the file's position or at `offset`; may write less than `len`. For a
 * pipe without a reader the kernel raises SIGPIPE, as in write(2); a program
 * that ignores SIGPIPE gets -EPIPE.
 *
 * Result    bytes written
 * Lifetime  the caller lends `buf` until the future is done
 * Source    write(2), pwrite(2)
 */
COIL_API COIL_NODISCARD struct coil_future *coil_write(int fd, const void *buf,
                                                       size_t len);
COIL_API COIL_NODISCARD struct coil_future *
coil_pwrite(int fd, const void *buf, size_t len, uint64_t offset);

/*
 * Receive from a socket; send to a socket, maybe less than `len`. A send never
 * raises SIGPIPE.
 *
 * Result    bytes; for recv 0 at the end of the stream
 * Lifetime  the caller lends `buf` until the future is done
 * Source    asyncio loop.sock_recv; recv(2), send(2)
 */
COIL_API COIL_NODISCARD struct coil_future *coil_recv(int fd, void *buf,
                                                      size_t len);
COIL_API COIL_NODISCARD struct coil_future *coil_send(int fd, const void *buf,
                                                      size_t len);

/*
 * Accept a connection.
 *
 * Result    the descriptor, close-on-exec and above 2 (loop.h); coil closes it
 *           if no await takes it
 * Source    asyncio loop.sock_accept; accept4(2)
 */
COIL_API COIL_NODISCARD struct coil_future *coil_accept(int fd);

/*
 * Connect a socket.
 *
 * While the backlog of a unix socket is full the connect waits, and is tried
 * again after 1 ms, later every 32 ms. The socket is non-blocking during each
 * try, also for another process that shares the socket.
 *
 * Result    0
 * Lifetime  copies `addr`
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
 * Cancel every operation on the descriptor, wait until all of them have
 * completed, then close the descriptor. Their awaits end with -ECANCELED; an
 * operation that begins meanwhile fails with -EBADF. The close itself cannot be
 * cancelled. For a socket of your own call coil_shutdown() first: then the peer
 * learns at once that the connection ends, even if another process shares the
 * socket.
 *
 * A socket's SO_LINGER with a time would make close(2) wait, and with it the
 * whole loop. coil switches it off when it closes a socket: the kernel sends
 * what is queued all the same. SO_LINGER with 0 s, a reset, stays. The option
 * belongs to the socket: for a process that shares the socket it is off, too.
 *
 * Result    0; the descriptor is closed even after an error
 * Errors    of close(2); -EBADF also if another close of the descriptor has
 *           begun
 * Source    close(2)
 */
COIL_API COIL_NODISCARD struct coil_future *coil_close(int fd);

/*
 * Close a descriptor at once; no operation may be in flight on it. As close(2),
 * but switches SO_LINGER off as coil_close() does.
 *
 * Result    0; the descriptor is closed even after an error
 * Errors    of close(2)
 * Source    close(2)
 */
COIL_API int coil_close_now(int fd);

/*
 * Wait until a descriptor is ready, for libraries that read and write it
 * themselves.
 *
 * Units     events: POLLIN, POLLOUT... of poll(2)
 * Result    the events that have occurred, including POLLERR and POLLHUP
 * Source    asyncio loop.add_reader, add_writer; gevent socket.wait_read
 */
COIL_API COIL_NODISCARD struct coil_future *coil_poll(int fd, unsigned events);

/*
 * Abort if the buffer is on the stack of the running step. For your own futures
 * whose caller lends a buffer until the future is done.
 */
COIL_API void coil_check_lent(const void *buf);

COIL_END_DECLS

#endif
