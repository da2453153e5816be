// SPDX-License-Identifier: MIT
#ifndef COILI_BEAR_PRF_H
#define COILI_BEAR_PRF_H

/*
 * prf.h: what TLS 1.2 derives of its secrets (RFC 5246, 5, 6.3, 7.4.9, 8.1; RFC
 * 7627).
 *
 * `digest` is the suite's: COILI_SHA384 for AES-256-GCM, else COILI_SHA256.
 */

#include <stddef.h>

#include "tls/bear/digest.h"
#include "tls/engine.h"

#define COILI_MASTER_BYTES 48
#define COILI_FINISHED12_BYTES 12

/*
 * The extended master secret: `hash` is the transcript's from ClientHello to
 * ClientKeyExchange, with it. `premaster` is what the key exchange has given.
 */
void coili_prf_extended_master(enum coili_digest digest,
                               unsigned char master[COILI_MASTER_BYTES],
                               const void *premaster, size_t premaster_len,
                               const unsigned char *hash);

/* The master secret of a peer that does not know the extended one. */
void coili_prf_master(enum coili_digest digest,
                      unsigned char master[COILI_MASTER_BYTES],
                      const void *premaster, size_t premaster_len,
                      const unsigned char client_random[32],
                      const unsigned char server_random[32]);

/* Keys and nonces of both directions: what of these bytes a cipher uses. */
struct coili_key_block {
    unsigned char client_key[32], server_key[32];
    unsigned char client_iv[12], server_iv[12];
};

/*
 * The key block. `key_len` is 16 or 32, `iv_len` 4 (GCM) or 12 (ChaCha20); what
 * lies behind them in each member is zero. coili_record_start12() takes key and
 * iv from here. The caller wipes the block by explicit_bzero().
 */
void coili_prf_keys(enum coili_digest digest, struct coili_key_block *keys,
                    size_t key_len, size_t iv_len,
                    const unsigned char master[COILI_MASTER_BYTES],
                    const unsigned char client_random[32],
                    const unsigned char server_random[32]);

/*
 * verify_data of a Finished of `side`; `hash` is the transcript's of all
 * messages before it. A received one is compared by coili_digest_equal().
 */
void coili_prf_finished(enum coili_digest digest,
                        unsigned char verify_data[COILI_FINISHED12_BYTES],
                        const unsigned char master[COILI_MASTER_BYTES],
                        enum coili_side side, const unsigned char *hash);

#endif
