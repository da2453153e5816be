// SPDX-License-Identifier: MIT
#ifndef COILI_TLS_MESSAGE_H
#define COILI_TLS_MESSAGE_H

/*
 * message.h: the handshake messages behind the hellos, of TLS 1.3 and 1.2.
 *
 * Readers and writers are as in hello.h: a reader gets the body of one whole
 * message and gives views into it; its result is 0 or the alert to be sent. A
 * writer appends the whole message with its head. HelloRequest and
 * ServerHelloDone have an empty body: coili_tls_read_nothing().
 *
 * A message that is too short or too long, or has bytes behind its end, is
 * COILI_ALERT_DECODE_ERROR, also where nothing is said of it.
 */

#include "der.h"
#include "protocol.h"
#include "wire.h"

/* ---- Certificate ------------------------------------------------------ */

/*
 * One more than trust.h believes, so that it is trust.h that says so. Those
 * behind them are checked for their form and left out.
 */
#define COILI_TLS_CERTIFICATES_MAX 11

struct coili_tls_certificates {
    struct coili_der
        certs[COILI_TLS_CERTIFICATES_MAX]; /* as sent: leaf first */
    size_t n;                              /* 0: there is none */
};

/*
 * Read Certificate of `version`. A server's has at least one certificate, else
 * 50; a client's may have none. In 1.3 the context must be empty (47), as it is
 * in all our requests; and no extension is asked for, so an entry has none: 110,
 * or 47 for one that may never stand there.
 */
int coili_tls_read_certificates(struct coili_bytes body, unsigned version,
                                bool may_be_none,
                                struct coili_tls_certificates *certificates);

/* Write it from `n` certificates; 0 is a client that has none. */
void coili_tls_write_certificates(struct coili_writer *w, unsigned version,
                                  const struct coili_der *certs, size_t n);

/* ---- CertificateRequest ----------------------------------------------- */

struct coili_tls_certificate_request {
    struct coili_bytes schemes; /* of signature_algorithms: coili_list_has() */
    struct coili_bytes schemes_cert; /* 1.3; empty: not there */
    struct coili_bytes types; /* 1.2: certificate types, one byte each: 1 RSA,
                                 64 ECDSA */
    struct coili_bytes authorities; /* names as DER, each with a length of two
                                       bytes; empty: any */
};

/*
 * Read CertificateRequest of `version`. In 1.3 the context must be empty (47)
 * and signature_algorithms be there (109); unknown extensions are passed over.
 */
int coili_tls_read_certificate_request(
    struct coili_bytes body, unsigned version,
    struct coili_tls_certificate_request *request);

void coili_tls_write_certificate_request(
    struct coili_writer *w, unsigned version,
    const struct coili_tls_certificate_request *request);

/* ---- CertificateVerify ------------------------------------------------ */

struct coili_tls_signature {
    unsigned scheme;
    struct coili_bytes bytes;
};

/*
 * Read CertificateVerify, which is the same in both versions. A scheme that is
 * not in `offered`, a list as in the extension, is 47. That it suits the key is
 * left to the caller.
 */
int coili_tls_read_certificate_verify(struct coili_bytes body,
                                      struct coili_bytes offered,
                                      struct coili_tls_signature *signature);

void coili_tls_write_certificate_verify(
    struct coili_writer *w, const struct coili_tls_signature *signature);

/* ---- ServerKeyExchange, ClientKeyExchange (1.2) ----------------------- */

struct coili_tls_server_key_exchange {
    unsigned group;
    struct coili_bytes share;     /* its form is right: coili_tls_is_share() */
    struct coili_bytes is_signed; /* of the body: what the signature covers
                                     behind the two randoms */
    struct coili_tls_signature signature;
};

/* A curve that is not named, a group or scheme that we do not offer: 47. */
int coili_tls_read_server_key_exchange(
    struct coili_bytes body, struct coili_tls_server_key_exchange *exchange);

/*
 * Write the part that is signed, `03 group n point`, alone, without a head; and
 * the whole message. The latter needs no is_signed.
 */
void coili_tls_write_signed_share(struct coili_writer *w, unsigned group,
                                  struct coili_bytes share);
void coili_tls_write_server_key_exchange(
    struct coili_writer *w,
    const struct coili_tls_server_key_exchange *exchange);

/* The client's public key, of the server's group; of another form: 47. */
int coili_tls_read_client_key_exchange(struct coili_bytes body, unsigned group,
                                       struct coili_bytes *share);
void coili_tls_write_client_key_exchange(struct coili_writer *w,
                                         struct coili_bytes share);

/* ---- NewSessionTicket ------------------------------------------------- */

struct coili_tls_ticket {
    uint32_t lifetime; /* seconds; 1.3: above 604800 it may not be used */
    uint32_t age_add;  /* 1.3 */
    struct coili_bytes nonce;  /* 1.3: 0 to 255 bytes */
    struct coili_bytes ticket; /* 1.3: not empty; 1.2: may be */
};

int coili_tls_read_ticket(struct coili_bytes body, unsigned version,
                          struct coili_tls_ticket *ticket);
void coili_tls_write_ticket(struct coili_writer *w, unsigned version,
                            const struct coili_tls_ticket *ticket);

/* ---- The short ones --------------------------------------------------- */

/* Finished: `len` is that of the hash in 1.3, 12 in 1.2. */
int coili_tls_read_finished(struct coili_bytes body, size_t len,
                            struct coili_bytes *mac);
void coili_tls_write_finished(struct coili_writer *w, struct coili_bytes mac);

/* KeyUpdate: true if the peer asks for one of ours. A value above 1 is 47. */
int coili_tls_read_key_update(struct coili_bytes body, bool *is_requested);
void coili_tls_write_key_update(struct coili_writer *w, bool request);

/* ServerHelloDone and HelloRequest: 0, or 50 if the body is not empty. */
int coili_tls_read_nothing(struct coili_bytes body);
void coili_tls_write_server_hello_done(struct coili_writer *w);

#endif
