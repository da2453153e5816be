// SPDX-License-Identifier: MIT
#ifndef COILI_BEAR_RECORD_H
#define COILI_BEAR_RECORD_H

/*
 * record.h: the protection of one direction of a connection (RFC 8446, 5; RFC
 * 5246, 6.2.3.3; RFC 5288; RFC 7905).
 *
 * The state has the key as it is, not expanded: an idle connection is small
 * then, and to expand an AES key takes 0.1 us, a twentieth of what a record of
 * 1 KB costs in all. A state that is zero protects nothing: its records are
 * plain, as those before the keys are.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tls/bear/schedule.h"
#include "tls/engine.h"

enum coili_cipher {
    COILI_CIPHER_NONE,
    COILI_CIPHER_AES_128_GCM,
    COILI_CIPHER_AES_256_GCM,
    COILI_CIPHER_CHACHA20_POLY1305
};

/* The most that protection adds to data: head, explicit nonce or type, tag. */
#define COILI_RECORD_OVERHEAD_MAX (COILI_TLS_HEAD_BYTES + 8 + 16)

/* 56 bytes; no pointers, so it may be copied. */
struct coili_protection {
    uint64_t sequence; /* of the next record */
    unsigned char key[32];
    unsigned char iv[12]; /* TLS 1.2 with GCM: 4 bytes */
    uint16_t version;     /* COILI_TLS12 or COILI_TLS13 */
    uint8_t cipher;       /* enum coili_cipher */
};

/* 16 or 32; 0 for NONE. */
size_t coili_cipher_key_bytes(enum coili_cipher cipher);

/* The bytes of an iv in TLS 1.2's key block: 4 or 12. In 1.3 it is always 12. */
size_t coili_cipher_iv_bytes12(enum coili_cipher cipher);

/*
 * True if this processor has instructions for AES: a hello then prefers GCM to
 * ChaCha20, which is five times slower there; else the other way round.
 */
bool coili_cipher_aes_is_fast(void);

/* From now on protect by this traffic secret; the sequence begins at 0. */
void coili_record_start13(struct coili_protection *p, enum coili_cipher cipher,
                          enum coili_digest digest,
                          const struct coili_secret *traffic);

/* The same of TLS 1.2: key and iv are those of the direction's key block. */
void coili_record_start12(struct coili_protection *p, enum coili_cipher cipher,
                          const unsigned char key[32],
                          const unsigned char iv[12]);

/* What coili_record_seal() adds to data without padding, the head included. */
size_t coili_record_overhead(const struct coili_protection *p);

/*
 * Write one record of `len` bytes, at most 16384, into `out`, which has room for
 * len + padding + coili_record_overhead(). `data` may stand anywhere in `out`;
 * it is moved. `type` is 20 to 23; a ChangeCipherSpec of 1.3 is always plain.
 * `padding` is the number of zeros behind the type, in TLS 1.3 alone: len +
 * padding is at most 16384.
 *
 * The version in the head is 0303. Only the record of a first ClientHello says
 * 0301: its sender writes out[2] itself.
 *
 * Result    the bytes of the record. Spends a sequence number
 */
size_t coili_record_seal(struct coili_protection *p,
                         enum coili_tls_record_type type, const void *data,
                         size_t len, size_t padding, unsigned char *out);

/* What was in a record: `len` bytes from record[at] on. */
struct coili_record {
    enum coili_tls_record_type type; /* in 1.3 the inner one */
    size_t at, len;
};

/*
 * Open a whole record in place; `len` has its head. The version bytes of the
 * head are not looked at (but TLS 1.2 authenticates them as they came), nor
 * whether the length in the head is right, which the stream has checked.
 *
 * A record that is plain while this direction is protected is only let through
 * if it is a ChangeCipherSpec of TLS 1.3. Whether one may come at this moment
 * the caller knows. It also knows when a plain alert is to be believed: it looks
 * at record[0] before it calls, if so, and opens that with a state of zeros.
 *
 * A record that fails spends no sequence number: a server that passes over early
 * data (RFC 8446, 4.2.10) tries the next one with the same state.
 *
 * Result    0, or the alert to send:
 *           20 wrong tag, or too short to have one
 *           22 more than 16384 bytes of content
 *           10 a type that is not 20 to 23, or in a protected record of 1.3 not
 *              21 to 23, or plain where it must not be; a record of 1.3 with
 *              nothing but zeros; a handshake or alert record without content; a
 *              ChangeCipherSpec that is not one byte 01
 */
int coili_record_open(struct coili_protection *p, unsigned char *record,
                      size_t len, struct coili_record *opened);

enum coili_record_limit {
    COILI_RECORD_GO_ON,
    COILI_RECORD_UPDATE, /* TLS 1.3: send KeyUpdate before the next data */
    COILI_RECORD_CLOSE   /* TLS 1.2: end the connection, there is no new key */
};

/*
 * Whether enough was sent by this key. GCM is safe for 2^24.5 full records in
 * TLS 1.3 (RFC 8446, 5.5): asked before each record, this asks for a new key
 * after 2^23, of ChaCha20 too. In 1.2 it ends a connection after 2^32, where the
 * bound of RFC 5288's nonces, 2^64, is far.
 */
enum coili_record_limit coili_record_limit(const struct coili_protection *p);

void coili_record_wipe(struct coili_protection *p);

#endif
