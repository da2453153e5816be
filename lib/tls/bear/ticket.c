// SPDX-License-Identifier: MIT
/*
 * ticket.c: the cryptography of session tickets.
 *
 * A ticket has some hundred bytes and there is one for each connection, so the
 * portable code, which runs in constant time, is fast enough: 5 us beside a
 * handshake of 300.
 */
#include "ticket.h"

#include <bearssl.h>
#include <string.h>

/* Ready for the text itself. */
static void begin(br_gcm_context *gcm, br_aes_ct64_ctr_keys *keys,
                  const struct coili_seal *seal)
{
    br_aes_ct64_ctr_init(keys, seal->key, sizeof seal->key);
    br_gcm_init(gcm, &keys->vtable, br_ghash_ctmul64);
    br_gcm_reset(gcm, seal->nonce, sizeof seal->nonce);
    br_gcm_aad_inject(gcm, seal->bound, sizeof seal->bound);
    br_gcm_flip(gcm);
}

void coili_bear_seal(const struct coili_seal *seal, void *text, size_t len,
                     unsigned char tag[COILI_SEAL_TAG_BYTES])
{
    br_gcm_context gcm;
    br_aes_ct64_ctr_keys keys;
    begin(&gcm, &keys, seal);
    br_gcm_run(&gcm, 1, text, len);
    br_gcm_get_tag(&gcm, tag);
    explicit_bzero(&gcm, sizeof gcm);
    explicit_bzero(&keys, sizeof keys);
}

/* br_gcm_check_tag() compares in constant time. */
bool coili_bear_unseal(const struct coili_seal *seal, void *text, size_t len,
                       const unsigned char tag[COILI_SEAL_TAG_BYTES])
{
    br_gcm_context gcm;
    br_aes_ct64_ctr_keys keys;
    begin(&gcm, &keys, seal);
    br_gcm_run(&gcm, 0, text, len);
    bool ok = br_gcm_check_tag(&gcm, tag) == 1;
    explicit_bzero(&gcm, sizeof gcm);
    explicit_bzero(&keys, sizeof keys);
    if (!ok)
        explicit_bzero(text, len);
    return ok;
}

void coili_bear_hmac(unsigned char out[32], const void *key, size_t key_len,
                     const void *data, size_t len)
{
    br_hmac_key_context keyed;
    br_hmac_context hmac;
    br_hmac_key_init(&keyed, &br_sha256_vtable, key, key_len);
    br_hmac_init(&hmac, &keyed, 0);
    br_hmac_update(&hmac, data, len);
    br_hmac_out(&hmac, out);
    explicit_bzero(&keyed, sizeof keyed);
    explicit_bzero(&hmac, sizeof hmac);
}
