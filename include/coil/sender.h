// SPDX-License-Identifier: MIT
#ifndef COIL_SENDER_H
#define COIL_SENDER_H

/*
 * sender.h: all of it, in order.
 *
 * coil_send() may send a part. A sender sends all, and lets several tasks write
 * to one socket without mixing what they write. Streams are made of it; most
 * programs want a stream.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

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
 * Errors    of shutdown(2); -EPIPE after a part, as above; COIL_ECLOSED
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_sender_send_eof(struct coil_sender *sender);

/*
 * End with COIL_ECLOSED what is queued, cancel what is in flight, and call
 * `idle(arg)` soon after the kernel has let go. Allocates nothing.
 *
 * Lifetime  lends `sender` until the call
 */
COIL_API void coil_sender_stop(struct coil_sender *sender, coil_call_fn *idle,
                               void *arg);

COIL_END_DECLS

#endif
