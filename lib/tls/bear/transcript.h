// SPDX-License-Identifier: MIT
#ifndef COILI_BEAR_TRANSCRIPT_H
#define COILI_BEAR_TRANSCRIPT_H

/*
 * transcript.h: the running hash of a handshake's messages.
 *
 * Until the suite is known both hashes of the suites run, SHA-256 and SHA-384.
 * In TLS 1.2 the signature of a CertificateVerify is over all messages too, by
 * the hash of its scheme and not of the suite: both go on there until no
 * CertificateVerify can come.
 *
 * What is added are whole messages with their 4-byte heads. ChangeCipherSpec
 * and HelloRequest (RFC 5246, 7.4.1.1) are not added, in either version.
 */

#include <stddef.h>

#include "tls/bear/digest.h"

/* May be copied by assignment. Holds no secrets: nothing needs to be wiped. */
struct coili_transcript {
    br_sha256_context sha256;
    br_sha384_context sha384;
    unsigned char running; /* bit 1 << enum coili_digest */
};

/* Begin with both hashes. */
void coili_transcript_init(struct coili_transcript *t);

void coili_transcript_add(struct coili_transcript *t, const void *data,
                          size_t len);

/*
 * Go on with this one alone. It must be running.
 */
void coili_transcript_choose(struct coili_transcript *t,
                             enum coili_digest digest);

/*
 * The hash of all messages so far; more may be added afterwards. `digest` must
 * be running; `hash` gets coili_digest_bytes() of it.
 */
void coili_transcript_hash(const struct coili_transcript *t,
                           enum coili_digest digest, unsigned char *hash);

/*
 * The hash as if `len` bytes more had been added; they are not. A PSK binder
 * covers the ClientHello only up to its own list of binders (RFC 8446,
 * 4.2.11.2): its first bytes are hashed so, and then the whole is added.
 */
void coili_transcript_hash_with(const struct coili_transcript *t,
                                enum coili_digest digest, const void *data,
                                size_t len, unsigned char *hash);

/*
 * The transcript is the first ClientHello alone, and a HelloRetryRequest was
 * sent or came: put a message_hash in the place of the hello (RFC 8446, 4.4.1).
 * The HelloRetryRequest is added after this. Each running hash is replaced by
 * its own; as the retry says the suite, choose it first or soon after.
 */
void coili_transcript_retry(struct coili_transcript *t);

#endif
