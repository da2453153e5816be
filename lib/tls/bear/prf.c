// SPDX-License-Identifier: MIT
/*
 * prf.c: what TLS 1.2 derives of its secrets.
 */
#include "tls/bear/prf.h"

#include <string.h>

#include "base/check.h"

/* PRF(secret, label, a b); b may be empty. */
static void prf(enum coili_digest digest, void *out, size_t len,
                const void *secret, size_t secret_len, const char *label,
                br_tls_prf_seed_chunk a, br_tls_prf_seed_chunk b)
{
    br_tls_prf_seed_chunk seed[2] = { a, b };
    br_tls_prf_impl compute = digest == COILI_SHA384 ? br_tls12_sha384_prf
                                                     : br_tls12_sha256_prf;
    coili_check(digest != COILI_SHA512, "no suite has SHA-512");
    compute(out, len, secret, secret_len, label, b.len ? 2 : 1, seed);
}

static br_tls_prf_seed_chunk chunk(const void *data, size_t len)
{
    return (br_tls_prf_seed_chunk){ data, len };
}

static const br_tls_prf_seed_chunk none = { NULL, 0 };

void coili_prf_extended_master(enum coili_digest digest,
                               unsigned char master[COILI_MASTER_BYTES],
                               const void *premaster, size_t premaster_len,
                               const unsigned char *hash)
{
    prf(digest, master, COILI_MASTER_BYTES, premaster, premaster_len,
        "extended master secret", chunk(hash, coili_digest_bytes(digest)),
        none);
}

void coili_prf_master(enum coili_digest digest,
                      unsigned char master[COILI_MASTER_BYTES],
                      const void *premaster, size_t premaster_len,
                      const unsigned char client_random[32],
                      const unsigned char server_random[32])
{
    prf(digest, master, COILI_MASTER_BYTES, premaster, premaster_len,
        "master secret", chunk(client_random, 32), chunk(server_random, 32));
}

/* Move the next `len` bytes of a block to a member of `size` bytes. */
static const unsigned char *take(unsigned char *to, size_t size,
                                 const unsigned char *from, size_t len)
{
    memset(to, 0, size);
    memcpy(to, from, len);
    return from + len;
}

void coili_prf_keys(enum coili_digest digest, struct coili_key_block *keys,
                    size_t key_len, size_t iv_len,
                    const unsigned char master[COILI_MASTER_BYTES],
                    const unsigned char client_random[32],
                    const unsigned char server_random[32])
{
    unsigned char block[2 * (32 + 12)];
    const unsigned char *p = block;
    coili_check(key_len <= 32 && iv_len <= 12, "key block: wrong lengths");
    /* The randoms stand the other way round than in the master secret. */
    prf(digest, block, 2 * (key_len + iv_len), master, COILI_MASTER_BYTES,
        "key expansion", chunk(server_random, 32), chunk(client_random, 32));
    p = take(keys->client_key, sizeof keys->client_key, p, key_len);
    p = take(keys->server_key, sizeof keys->server_key, p, key_len);
    p = take(keys->client_iv, sizeof keys->client_iv, p, iv_len);
    take(keys->server_iv, sizeof keys->server_iv, p, iv_len);
    explicit_bzero(block, sizeof block);
}

void coili_prf_finished(enum coili_digest digest,
                        unsigned char verify_data[COILI_FINISHED12_BYTES],
                        const unsigned char master[COILI_MASTER_BYTES],
                        enum coili_side side, const unsigned char *hash)
{
    prf(digest, verify_data, COILI_FINISHED12_BYTES, master, COILI_MASTER_BYTES,
        side == COILI_CLIENT ? "client finished" : "server finished",
        chunk(hash, coili_digest_bytes(digest)), none);
}
