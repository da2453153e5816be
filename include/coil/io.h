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
 * All of them fail with -ECANCELED, -ENOMEM and, when options.operations_max
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

/* ---- Receiving into shared buffers ------------------------------------ */

/*
 * A receiver takes bytes from a socket into buffers that all receivers of the
 * loop share (options.recv_buffers), as they arrive: an idle connection holds
 * none. Streams are made of it.
 */
struct coil_receiver;

/* What was received. `next` is yours, to link pieces. */
struct coil_piece {
    struct coil_piece *next;
    char *data;
    uint32_t len;
    uint32_t buffer; /* private */
};

/*
 * Called from the loop's harvest. It may complete futures and return pieces;
 * it must not wait.
 *
 * Units     res: bytes in *piece; 0 at the end of stream, or an error: then
 *           there is no piece and no more comes
 * Lifetime  lends `piece` until coil_receiver_return()
 */
typedef void coil_received_fn(void *arg, int res, struct coil_piece *piece);

/*
 * Begin to receive from a socket. What goes wrong from now on is told by
 * `received`; want of memory, or operations_max reached, only delays.
 *
 * Result    0
 * Errors    -ENOMEM, -ENOBUFS; of the registration of the shared buffers
 * Lifetime  gives (coil_receiver_close); lends `fd` and `arg` until then
 */
COIL_API COIL_NODISCARD int coil_receiver_open(struct coil_receiver **out,
                                               int fd,
                                               coil_received_fn *received,
                                               void *arg);

/* Give a piece back. A receiver that has lent its quota pauses until then. */
COIL_API void coil_receiver_return(struct coil_receiver *receiver,
                                   struct coil_piece *piece);

/*
 * True if it pauses: nothing comes until pieces are returned. The last piece
 * that comes finds it true already.
 */
COIL_API bool coil_receiver_paused(const struct coil_receiver *receiver);

/*
 * Stop; done when the kernel has let go of it. What arrives meanwhile is
 * dropped. Return all pieces before. Cannot be cancelled; allocates nothing.
 *
 * Result    0
 * Lifetime  takes the receiver
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_receiver_close(struct coil_receiver *receiver);

/* ---- Sending all, in order -------------------------------------------- */

/* The order of sends on one socket. In your memory; the fields are private. */
struct coil_sender {
    int fd;
    bool closed, broken;
    struct coil_sending *first, *last;
    struct coil_handle idle;
};

COIL_API void coil_sender_init(struct coil_sender *sender, int fd);

/*
 * Send all of it, after what was asked for before.
 *
 * One that fails or is cancelled may have sent a part of its bytes. Then
 * nothing more can be sent: all later ones fail with -EPIPE.
 *
 * Result    len
 * Errors    of send(2): -EPIPE, -ECONNRESET; COIL_ECLOSED; -ECANCELED
 * Lifetime  lends `buf` and `sender` until it is done
 * Source    asyncio loop.sock_sendall()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_sender_send(struct coil_sender *sender, const void *buf, size_t len);

/*
 * After what was asked for before, tell the peer that no more comes.
 *
 * Result    0
 * Errors    of shutdown(2); COIL_ECLOSED
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_sender_end(struct coil_sender *sender);

/*
 * End with COIL_ECLOSED what is queued, cancel what is in flight, and call
 * `idle(arg)` soon after the kernel has let go. Allocates nothing.
 *
 * Lifetime  lends `sender` until the call
 */
COIL_API void coil_sender_close(struct coil_sender *sender, coil_call_fn *idle,
                                void *arg);

COIL_END_DECLS

#endif
