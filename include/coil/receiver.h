// SPDX-License-Identifier: MIT
#ifndef COIL_RECEIVER_H
#define COIL_RECEIVER_H

/*
 * receiver.h: bytes as they arrive, in shared buffers.
 *
 * A receiver receives from a socket into buffers that all receivers of the loop
 * share (options.recv_buffers): an idle connection holds none. If more
 * connections have bytes than there are buffers, they take turns: first come,
 * first served. In its turn a connection gets those buffers that are free, or
 * one if many wait. Streams use receivers; most programs want a stream.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

struct coil_receiver;

/* Bytes that were received. `next` is yours, to link pieces. */
struct coil_piece {
    struct coil_piece *next;
    char *data;
    uint32_t len;
    uint32_t buffer; /* private */
};

/*
 * Called while the loop takes completions, before tasks run, and in
 * coil_receiver_flush(). It may complete futures and return pieces; it cannot
 * await.
 *
 * Units     res: bytes in *piece. 0 at the end of the stream, or an error: then
 *           `piece` is NULL and this is the last call
 * Lifetime  the receiver lends `piece` until coil_receiver_return()
 */
typedef void coil_received_fn(void *arg, int res, struct coil_piece *piece);

/*
 * Begin to receive from a socket. Later errors are passed to `received`; when
 * there is no memory, or operations_limit is reached, receiving is only
 * delayed.
 *
 * Result    0
 * Errors    -ENOMEM, -ENOBUFS; those of registering the shared buffers
 * Lifetime  gives (coil_receiver_close); lends `fd` and `arg` until then
 */
COIL_API COIL_NODISCARD int coil_receiver_open(struct coil_receiver **out,
                                               int fd,
                                               coil_received_fn *received,
                                               void *arg);

/*
 * Return a piece, whose memory is used again. A receiver whose quota of pieces
 * (an eighth of the shared buffers, at least 4) is lent pauses until half of
 * them are returned.
 *
 * Lifetime  takes `piece`
 */
COIL_API void coil_receiver_return(struct coil_receiver *receiver,
                                   struct coil_piece *piece);

/*
 * True if the receiver pauses: nothing comes until pieces are returned. Already
 * true in the call that delivers the last piece.
 */
COIL_API bool coil_receiver_paused(const struct coil_receiver *receiver);

/*
 * Deliver, in this call, what the kernel has received: calls `received`, also
 * that of other receivers. Makes a system call only if the kernel may have
 * something, or if no receive is in flight. Aborts in `received`.
 *
 * Result    true if all that had arrived is delivered; false if not, or if that
 *           is not known
 */
COIL_API bool coil_receiver_flush(struct coil_receiver *receiver);

/*
 * Stop receiving. From this call on bytes that arrive are dropped, and
 * `received` is not called any more. The future is done when the kernel does
 * not use the socket any more. Return all pieces before you await it. Cannot be
 * cancelled; allocates nothing.
 *
 * Result    0
 * Lifetime  takes the receiver; NULL is fine
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_receiver_close(struct coil_receiver *receiver);

COIL_END_DECLS

#endif
