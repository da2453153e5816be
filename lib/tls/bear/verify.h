// SPDX-License-Identifier: MIT
#ifndef COILI_BEAR_VERIFY_H
#define COILI_BEAR_VERIFY_H

/*
 * verify.h: what of certificates BearSSL computes. No header of BearSSL stands
 * here, so that all of lib/tls/ may ask.
 */

#include <stdbool.h>
#include <stddef.h>

#include "tls/cert.h"
#include "tls/key.h"

void coili_bear_sha256(unsigned char hash[32], const void *data, size_t len);

/* True if the key made the signature of this certificate. 0.05 to 15 ms. */
bool coili_bear_signed_by(const struct coili_cert *cert,
                          const struct coili_public_key *key);

/*
 * True if BearSSL's own reader of certificates finds the same public key in
 * this one. False for kinds of keys that BearSSL does not know.
 */
bool coili_bear_finds_key(const struct coili_cert *cert);

/* True if the private key belongs to the public one: for EC it is computed. */
bool coili_bear_key_suits(const struct coili_private_key *key,
                          const struct coili_public_key *public_key);

#endif
