// SPDX-License-Identifier: MIT
#ifndef COILI_TLS_STREAM_H
#define COILI_TLS_STREAM_H

/*
 * stream.h: a TLS stream while it shakes hands.
 *
 * handshake.c makes the stream, moves records and flights between the engine
 * and the stream below, and gives the stream away when it is open. Until then
 * nobody reads or writes, and only handshake.c uses it.
 */

#include <stdbool.h>

struct coil_future;
struct coil_stream;
struct coili_tls_out;
struct coili_tls_setup;
struct coili_tls_state;

/*
 * A stream whose engine has not begun. coil_stream_close() closes it, in any
 * state.
 *
 * Result    NULL: there is no memory
 * Lifetime  takes `lower`, also if the result is NULL; refers to the setup
 */
struct coil_stream *coili_tls_stream_new(struct coil_stream *lower,
                                         struct coili_tls_setup *setup);

/* Views: the engine's state, the block for what it says, the stream below. */
struct coili_tls_state *coili_tls_stream_state(struct coil_stream *s);
struct coili_tls_out *coili_tls_stream_out(struct coil_stream *s);
struct coil_stream *coili_tls_stream_lower(struct coil_stream *s);

/*
 * Give the next record to the engine, if it is whole. *event is what the engine
 * answers, or an error; the detail of one is in the state.
 *
 * Result    false: more must come
 */
bool coili_tls_stream_take_record(struct coil_stream *s, int *event);

/*
 * Write what the engine has said to the stream below; after success tell so.
 * What was sent in part is not sent again.
 */
struct coil_future *coili_tls_stream_write_flight(struct coil_stream *s);
void coili_tls_stream_flight_sent(struct coil_stream *s);

/*
 * The engine has verified the peer: from now on this is a stream.
 *
 * Result    0; -ENOMEM
 */
int coili_tls_stream_open(struct coil_stream *s);

/*
 * The handshake has failed: when the stream is closed the peer gets the alert
 * that the engine has made. For -ENOMEM one is made here, if there is memory
 * for that.
 */
void coili_tls_stream_fail(struct coil_stream *s, int err);

#endif
