// SPDX-License-Identifier: MIT
#ifndef COIL_SENDER_H
#define COIL_SENDER_H

/*
 * sender.h: whole buffers, in the order of the calls.
 *
 * coil_send() may send a part of its bytes. A sender sends all of them, and
 * several tasks may use one sender: their bytes do not mix. Streams use
 * senders; most programs want a stream.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

/* A queue of sends on one socket, in your memory. The fields are private. */
struct coil_sender {
    int fd;
    bool closed, broken;
    struct coil_sending *first, *last;
    struct coil_handle idle;
};

/*
 * Make a sender. It needs no fini: after its last send it holds nothing.
 *
 * Lifetime  lends `fd` as long as the sender is used
 */
COIL_API void coil_sender_init(struct coil_sender *sender, int fd);

/*
 * Send all of `buf`, after the sends that began earlier.
 *
 * A send that fails or is cancelled may have sent a part of its bytes. Then the
 * sender is broken, and all later sends fail with -EPIPE.
 *
 * Result    len
 * Errors    of send(2): -EPIPE, -ECONNRESET; COIL_ECLOSED; -ECANCELED
 * Lifetime  lends `buf` and `sender` until the future is done
 * Source    asyncio loop.sock_sendall()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_sender_send(struct coil_sender *sender, const void *buf, size_t len);

/*
 * After the sends that began earlier, end the stream to the peer, who can still
 * send.
 *
 * Result    0
 * Errors    of shutdown(2); -EPIPE if the sender is broken; COIL_ECLOSED
 * Lifetime  lends `sender` until the future is done
 * Source    asyncio StreamWriter.write_eof(); shutdown(2)
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_sender_send_eof(struct coil_sender *sender);

/*
 * Cancel the send that is in flight; it and all queued ones fail with
 * COIL_ECLOSED. When the kernel does not use a buffer any more the loop calls
 * `idle(arg)`. Allocates nothing.
 *
 * Lifetime  lends `sender` until that call
 */
COIL_API void coil_sender_stop(struct coil_sender *sender, coil_call_fn *idle,
                               void *arg);

COIL_END_DECLS

#endif
