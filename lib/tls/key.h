// SPDX-License-Identifier: MIT
#ifndef COILI_KEY_H
#define COILI_KEY_H

/*
 * key.h: public and private keys, as views of their DER.
 *
 * No name of a cryptographic library stands here: each engine makes its own key
 * of the parts, or of the DER. Nothing is allocated, and no file is read.
 */

#include <stdbool.h>
#include <stddef.h>

#include "der.h"
#include "pem.h"

enum coili_key_type {
    COILI_KEY_OTHER, /* a kind that coil does not know: Ed25519, DSA... */
    COILI_KEY_RSA,
    COILI_KEY_P256,
    COILI_KEY_P384,
    COILI_KEY_P521
};

/* "RSA", "P-256"...; "unknown". */
const char *coili_key_name(enum coili_key_type type);

/* A public key; views of the SubjectPublicKeyInfo. */
struct coili_public_key {
    enum coili_key_type type;
    unsigned bits;             /* of the modulus or the curve; 0 for OTHER */
    struct coili_der spki;     /* the whole SubjectPublicKeyInfo */
    struct coili_der modulus;  /* RSA: big-endian, without leading zeros */
    struct coili_der exponent; /* RSA: the same; odd, 3 or more, <= 4 bytes */
    struct coili_der point;    /* EC: 04, x, y */
};

/*
 * Parse a SubjectPublicKeyInfo. A key of a kind or curve that coil does not
 * know is no fault: its type is COILI_KEY_OTHER.
 *
 * Result    false: malformed
 * Lifetime  views `spki`
 */
bool coili_public_key_parse(struct coili_public_key *key,
                            struct coili_der spki);

/* A private key; views of its DER. Numbers as in the public key. */
struct coili_private_key {
    enum coili_key_type type; /* never OTHER */
    unsigned bits;
    struct coili_der der; /* the whole block: PKCS#8, PKCS#1 or SEC1 */
    struct {
        struct coili_der n, e, d, p, q, dp, dq, iq;
    } rsa;
    struct coili_der scalar; /* EC: at most as many bytes as its order has */
    struct coili_der point;  /* EC: as the file says; at NULL: it does not */
};

/*
 * Parse what a PEM block of a private key holds: label is COILI_PEM_PKCS8,
 * PKCS1 or SEC1.
 *
 * RSA keys must have two primes, 2048 to 4096 bits, and numbers whose lengths
 * fit: BearSSL 0.6 writes beyond its buffers otherwise. EC keys must be of
 * P-256, P-384 or P-521, with a scalar from 1 to the order - 1.
 *
 * Result    NULL, or what is wrong: a static text such as "the private key is
 *           not DER", without an end stop; `key` is then undefined
 * Lifetime  views `der`
 */
const char *coili_private_key_parse(struct coili_private_key *key,
                                    enum coili_pem_label label,
                                    struct coili_der der);

/*
 * True if the numbers of the files say that the private key belongs to the
 * public one. For an EC key this is only half of the answer: type and, if the
 * file has one, the point. coili_bear_key_suits() computes the point.
 */
bool coili_private_key_resembles(const struct coili_private_key *key,
                                 const struct coili_public_key *public_key);

#endif
