// SPDX-License-Identifier: MIT
/*
 * digest.c: the three hash functions of TLS, HMAC, and the comparison of secret
 * values.
 *
 * BearSSL's hash functions and HMAC take no branch and no address from the
 * bytes they are given. What is left of a key on the stack is wiped here.
 */
#include "tls/bear/digest.h"

#include <string.h>

const br_hash_class *coili_digest_class(enum coili_digest digest)
{
    switch (digest) {
    case COILI_SHA256:
        return &br_sha256_vtable;
    case COILI_SHA384:
        return &br_sha384_vtable;
    case COILI_SHA512:
        break;
    }
    return &br_sha512_vtable;
}

void coili_digest_hash(enum coili_digest digest, unsigned char *hash,
                       const void *data, size_t len)
{
    br_hash_compat_context c;
    const br_hash_class *class = coili_digest_class(digest);
    class->init(&c.vtable);
    if (len)
        class->update(&c.vtable, data, len);
    class->out(&c.vtable, hash);
}

void coili_digest_hmac(enum coili_digest digest, unsigned char *mac,
                       const void *key, size_t key_len, const void *data,
                       size_t len)
{
    br_hmac_key_context prepared;
    br_hmac_context c;
    br_hmac_key_init(&prepared, coili_digest_class(digest), key, key_len);
    br_hmac_init(&c, &prepared, 0);
    if (len)
        br_hmac_update(&c, data, len);
    br_hmac_out(&c, mac);
    explicit_bzero(&prepared, sizeof prepared);
    explicit_bzero(&c, sizeof c);
}

bool coili_digest_equal(const void *a, const void *b, size_t len)
{
    const unsigned char *x = a, *y = b;
    unsigned difference = 0;
    for (size_t i = 0; i < len; i++)
        difference |= x[i] ^ (unsigned)y[i];
    return difference == 0;
}
