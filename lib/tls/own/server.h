// SPDX-License-Identifier: MIT
#ifndef COILI_SERVER_H
#define COILI_SERVER_H

/*
 * server.h: what the files of the server role share.
 *
 *     server.c      ClientHello and the choices; the client's certificate
 *     server13.c    the handshake of TLS 1.3
 *     server12.c    that of 1.2
 */

#include "connection.h"

/* The suites of one version and one kind of key. */
struct coili_suites {
    uint16_t aes_128, aes_256, chacha20;
};

extern const struct coili_suites coili_suites13, coili_suites12_ecdsa,
    coili_suites12_rsa;

/* The suite to go on with; 0: the client's list has none of these. */
unsigned coili_server_suite(struct coili_bytes list,
                            const struct coili_suites *of);

/* Our groups, the preferred one first. */
#define COILI_SERVER_GROUPS 3
extern const uint16_t coili_server_groups[COILI_SERVER_GROUPS];

/* The name of the protocol that was chosen; empty: none. */
struct coili_bytes coili_server_alpn(const struct coili_connection *c);

/* The schemes that a client may sign with. */
struct coili_bytes coili_server_schemes(const struct coili_connection *c);

/* A ticket that is larger is none of ours. */
#define COILI_SERVER_TICKET_BYTES_MAX 4096

/*
 * The session in a ticket of a hello, if it is of c->version, and of the name
 * and the protocol that are chosen now.
 *
 * Lifetime  *session views `room`; the caller wipes both
 */
bool coili_server_session(struct coili_connection *c, struct coili_bytes ticket,
                          unsigned char room[COILI_SERVER_TICKET_BYTES_MAX],
                          struct coili_tls_session *session);

/* What a new ticket seals, but for the secret; views the connection. */
void coili_server_session_of(const struct coili_connection *c,
                             struct coili_tls_session *session);

/* This session is resumed. Result: 0 or -ENOMEM */
int coili_server_resume(struct coili_connection *c,
                        const struct coili_tls_session *session);

/*
 * Answer a hello of this version. The message `m`, of `len` bytes, is not in the
 * transcript yet. Result: as that of a coili_message_fn.
 */
int coili_server13_answer(struct coili_connection *c,
                          const struct coili_tls_client_hello *hello,
                          const unsigned char *m, size_t len,
                          struct coili_tls_out *out);
int coili_server12_answer(struct coili_connection *c,
                          const struct coili_tls_client_hello *hello,
                          const unsigned char *m, size_t len,
                          struct coili_tls_out *out);

#endif
