// SPDX-License-Identifier: MIT
#ifndef COILI_BEAR_SCHEDULE_H
#define COILI_BEAR_SCHEDULE_H

/*
 * schedule.h: the key schedule of TLS 1.3 (RFC 8446, 7).
 *
 *     0 or PSK -> early -+-> binder key -> coili_schedule_binder()
 *                        |
 *        (EC)DHE -> handshake -+-> client and server handshake traffic
 *                              |
 *                   0 -> master -+-> client and server traffic, exporter
 *                                +-> resumption -> coili_secret_psk()
 *
 * struct coili_schedule is the column in the middle: it holds one stage at a
 * time. What hangs from a stage is a struct coili_secret; which digest it is of
 * the caller knows by the suite. Secrets meet constant-time code alone, and
 * each function wipes what it had in between.
 *
 * All of this is for SHA-256 and SHA-384.
 */

#include <stddef.h>

#include "tls/bear/digest.h"

/* One secret, of as many bytes as its digest has; the rest is zero. */
struct coili_secret {
    unsigned char bytes[COILI_HASH_BYTES_MAX];
};

struct coili_schedule {
    enum coili_digest digest;
    struct coili_secret stage;
};

/* What is derived from a stage, with the messages that `hash` must cover. */
enum coili_label {
    COILI_LABEL_CLIENT_HANDSHAKE, /* handshake: CH..SH */
    COILI_LABEL_SERVER_HANDSHAKE, /* handshake: CH..SH */
    COILI_LABEL_CLIENT_TRAFFIC,   /* master: CH..server's Finished */
    COILI_LABEL_SERVER_TRAFFIC,   /* master: CH..server's Finished */
    COILI_LABEL_EXPORTER,         /* master: CH..server's Finished */
    COILI_LABEL_RESUMPTION        /* master: CH..client's Finished */
};

/* ---- Stages ----------------------------------------------------------- */

/* Begin: the early secret. `psk` is NULL if there is none. */
void coili_schedule_early(struct coili_schedule *s, enum coili_digest digest,
                          const void *psk, size_t psk_len);

/* From the early to the handshake secret, by what the key exchange has given. */
void coili_schedule_handshake(struct coili_schedule *s, const void *shared,
                              size_t shared_len);

/* From the handshake to the master secret. */
void coili_schedule_master(struct coili_schedule *s);

/*
 * Derive-Secret: one of the secrets of the present stage. `hash` is the
 * transcript's, in the schedule's digest.
 */
void coili_schedule_derive(const struct coili_schedule *s,
                           enum coili_label label, const unsigned char *hash,
                           struct coili_secret *secret);

/*
 * The binder of a PSK that came by a ticket, in the early stage. `hash` is of
 * the messages up to the truncated ClientHello, see
 * coili_transcript_hash_with(). `binder` gets coili_digest_bytes().
 */
void coili_schedule_binder(const struct coili_schedule *s,
                           const unsigned char *hash, unsigned char *binder);

void coili_schedule_wipe(struct coili_schedule *s);

/* ---- What is made of a secret ----------------------------------------- */

/*
 * Key and iv of a traffic secret: 16 or 32 bytes, and 12. coili_record_start13()
 * of record.h calls it.
 */
void coili_secret_keys(const struct coili_secret *secret,
                       enum coili_digest digest, unsigned char *key,
                       size_t key_len, unsigned char iv[12]);

/* KeyUpdate: the traffic secret after this one, in its place. */
void coili_secret_next(struct coili_secret *secret, enum coili_digest digest);

/*
 * verify_data of a Finished: `secret` is the handshake traffic secret of the
 * side that sends it. A received one is compared by coili_digest_equal().
 */
void coili_secret_finished(const struct coili_secret *secret,
                           enum coili_digest digest, const unsigned char *hash,
                           unsigned char *verify_data);

/* The PSK of a ticket, out of the resumption secret. */
void coili_secret_psk(const struct coili_secret *resumption,
                      enum coili_digest digest, const void *nonce,
                      size_t nonce_len, struct coili_secret *psk);

void coili_secret_wipe(struct coili_secret *secret);

/*
 * HKDF-Expand-Label, of which all the above is made. `label` is without "tls13 "
 * and at most 16 bytes, `context` at most 255, `len` at most the digest's.
 */
void coili_secret_expand(const struct coili_secret *secret,
                         enum coili_digest digest, const char *label,
                         const void *context, size_t context_len, void *out,
                         size_t len);

#endif
