// SPDX-License-Identifier: MIT
#ifndef COIL_RECEIVER_H
#define COIL_RECEIVER_H

/*
 * receiver.h: bytes as they arrive, in shared buffers.
 *
 * A receiver takes bytes from a socket into buffers that all receivers of the
 * loop share (options.recv_buffers): an idle connection holds none. Streams are
 * made of it; most programs want a stream.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

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
 * `received`; want of memory, or operations_limit reached, only delays.
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
 * Stop: what arrives from this call on is dropped, and `received` is not called
 * any more. Done when the kernel has let go of it. Return all pieces before it
 * is awaited. Cannot be cancelled; allocates nothing.
 *
 * Result    0
 * Lifetime  takes the receiver
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_receiver_close(struct coil_receiver *receiver);

COIL_END_DECLS

#endif
