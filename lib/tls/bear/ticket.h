// SPDX-License-Identifier: MIT
#ifndef COILI_BEAR_TICKET_H
#define COILI_BEAR_TICKET_H

/*
 * ticket.h: the cryptography of session tickets: AES-128-GCM, and keys from
 * keys. No header of BearSSL stands here.
 */

#include <stdbool.h>
#include <stddef.h>

enum {
    COILI_SEAL_KEY_BYTES = 16,
    COILI_SEAL_NONCE_BYTES = 12,
    COILI_SEAL_TAG_BYTES = 16
};

/* What a sealed text is bound to, besides its key. */
struct coili_seal {
    unsigned char key[COILI_SEAL_KEY_BYTES];
    unsigned char nonce[COILI_SEAL_NONCE_BYTES]; /* never twice with a key */
    unsigned char bound[32];                     /* associated data */
};

/* Encrypt in place. */
void coili_bear_seal(const struct coili_seal *seal, void *text, size_t len,
                     unsigned char tag[COILI_SEAL_TAG_BYTES]);

/* Decrypt in place. False: the text or what it is bound to was changed. */
bool coili_bear_unseal(const struct coili_seal *seal, void *text, size_t len,
                       const unsigned char tag[COILI_SEAL_TAG_BYTES]);

/* HMAC-SHA256. */
void coili_bear_hmac(unsigned char out[32], const void *key, size_t key_len,
                     const void *data, size_t len);

#endif
