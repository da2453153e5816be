// SPDX-License-Identifier: MIT
#ifndef COILI_BEAR_SIGN_H
#define COILI_BEAR_SIGN_H

/*
 * sign.h: the signatures of a handshake (RFC 8446, 4.2.3 and 4.4.3; RFC 5246,
 * 7.4.3 and 7.4.8; RFC 8017).
 *
 * Two steps. A struct coili_signable is filled when the message is there: it is
 * the digest of what is signed, small enough to be parked. Verifying and signing
 * are then the costly step, which may run in any thread: verifying takes 0.1 ms
 * (RSA-2048) to 5 ms (P-384), signing 0.4 ms (P-256) to 20 ms (RSA-4096).
 *
 * The same scheme means different things in the versions. In TLS 1.3 an ECDSA
 * scheme names the curve, and 04xx (PKCS#1) is for certificates alone. In 1.2
 * ECDSA's hash goes with any curve, and both RSA forms are in use.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tls/bear/transcript.h"
#include "tls/engine.h"
#include "tls/key.h"

/* Where a signature stands. */
enum coili_signed_by {
    COILI_SIGNED_13,         /* CertificateVerify of TLS 1.3 */
    COILI_SIGNED_EXCHANGE12, /* ServerKeyExchange of TLS 1.2 */
    COILI_SIGNED_MESSAGES12  /* CertificateVerify of TLS 1.2: no SHA-512, as
                                the transcript does not run it */
};

#define COILI_SIGNATURE_BYTES_MAX 512 /* RSA-4096 */
#define COILI_SALT_BYTES 64

/* The digest of what is signed, and by which rules. No pointers. */
struct coili_signable {
    uint16_t scheme;
    uint8_t where; /* enum coili_signed_by */
    unsigned char hash[COILI_DIGEST_BYTES_MAX];
};

/* ---- What is signed --------------------------------------------------- */

/*
 * TLS 1.3: the CertificateVerify of `side`. `hash` is the transcript's, up to
 * Certificate, of the suite's digest.
 *
 * Result    false: alert 47: the scheme is not known, or not of this place. So
 *           are those of the next two
 */
bool coili_signable_13(struct coili_signable *s, unsigned scheme,
                       enum coili_side side, enum coili_digest digest,
                       const unsigned char *hash);

/*
 * TLS 1.2: ServerKeyExchange. `params` are the message's bytes from curve_type
 * to the end of the point.
 */
bool coili_signable_exchange12(struct coili_signable *s, unsigned scheme,
                               const unsigned char client_random[32],
                               const unsigned char server_random[32],
                               const void *params, size_t params_len);

/*
 * TLS 1.2: CertificateVerify, over all messages before it. The scheme's hash
 * must run in the transcript.
 */
bool coili_signable_messages12(struct coili_signable *s, unsigned scheme,
                               const struct coili_transcript *t);

/* ---- Verifying and signing -------------------------------------------- */

/*
 * Verify a signature. That the scheme was offered the caller has checked.
 *
 * Result    0, or the alert to send: 47: the scheme is not one for this key (a
 *           kind, a curve in 1.3, or a size of RSA key that is refused); 51: the
 *           signature is wrong
 */
int coili_signature_verify(const struct coili_signable *s,
                           const struct coili_public_key *key,
                           const unsigned char *signature, size_t len);

/*
 * Sign. `salt` is fresh randomness for PSS; other schemes do not read it (ECDSA
 * is that of RFC 6979). A signature of RSA is verified before it leaves: one
 * made by a processor at fault would tell the key.
 *
 * Result    the bytes in `signature`. 0: the key does not go with the scheme or
 *           its numbers are wrong: alert 80
 */
size_t coili_signature_make(const struct coili_signable *s,
                            const struct coili_private_key *key,
                            const unsigned char salt[COILI_SALT_BYTES],
                            unsigned char signature[COILI_SIGNATURE_BYTES_MAX]);

/* ---- Choosing --------------------------------------------------------- */

/* True if a signature of this scheme in that place may be by such a key. */
bool coili_scheme_suits(unsigned scheme, enum coili_signed_by where,
                        enum coili_key_type type);

/*
 * The scheme to sign with: of the peer's list (the bytes of signature_algorithms
 * without their length: two for each scheme) the one that suits the key best by
 * our order. RSA: PSS before PKCS#1, shorter hashes first; EC: the hash of the
 * curve's size first.
 *
 * Result    0: none: alert 40 in a server; a client then has no certificate
 */
unsigned coili_scheme_choose(enum coili_signed_by where,
                             enum coili_key_type type,
                             const unsigned char *list, size_t len);

#endif
