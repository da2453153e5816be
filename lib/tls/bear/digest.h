// SPDX-License-Identifier: MIT
#ifndef COILI_BEAR_DIGEST_H
#define COILI_BEAR_DIGEST_H

/*
 * digest.h: the three hash functions of TLS, HMAC, and the comparison of secret
 * values.
 */

#include <stdbool.h>
#include <stddef.h>

#include <bearssl.h>

/* A suite has SHA-256 or SHA-384; SHA-512 stands in signatures alone. */
enum coili_digest { COILI_SHA256, COILI_SHA384, COILI_SHA512 };

#define COILI_DIGEST_BYTES_MAX 64
/* Of a suite's. */
#define COILI_HASH_BYTES_MAX 48

/* 32, 48 or 64. */
static inline size_t coili_digest_bytes(enum coili_digest digest)
{
    return 32 + 16 * (size_t)digest;
}

const br_hash_class *coili_digest_class(enum coili_digest digest);

/* Hash `len` bytes; `data` may be NULL if there are none. */
void coili_digest_hash(enum coili_digest digest, unsigned char *hash,
                       const void *data, size_t len);

/*
 * HMAC; its value is as long as the digest's. `mac` may be the memory of `key`
 * or of `data`.
 */
void coili_digest_hmac(enum coili_digest digest, unsigned char *mac,
                       const void *key, size_t key_len, const void *data,
                       size_t len);

/*
 * True if the bytes are equal. How long this takes depends on `len` alone: MACs
 * and verify_data are compared so, or their first wrong byte could be measured.
 */
bool coili_digest_equal(const void *a, const void *b, size_t len);

#endif
