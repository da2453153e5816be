// SPDX-License-Identifier: MIT
/*
 * schedule.c: the key schedule of TLS 1.3 (RFC 8446, 7).
 *
 * HKDF-Extract(salt, input) is HMAC with the salt as key. HKDF-Expand is used by
 * TLS for at most one digest of output, so it is one HMAC as well, over the
 * label and the byte 1. BearSSL's own HKDF cannot be used: it begins with an
 * Extract, and has no way to expand a secret that is there.
 */
#include "tls/bear/schedule.h"

#include <string.h>

#include "base/check.h"

static const unsigned char zeros[COILI_HASH_BYTES_MAX];

enum { LABEL_BYTES_MAX = 16, CONTEXT_BYTES_MAX = 255 };

void coili_secret_expand(const struct coili_secret *secret,
                         enum coili_digest digest, const char *label,
                         const void *context, size_t context_len, void *out,
                         size_t len)
{
    static const char prefix[] = "tls13 ";
    size_t prefix_len = sizeof prefix - 1, label_len = strlen(label);
    unsigned char info[2 + 1 + 6 + LABEL_BYTES_MAX + 1 + CONTEXT_BYTES_MAX + 1];
    unsigned char block[COILI_HASH_BYTES_MAX], *p = info;
    size_t size = coili_digest_bytes(digest);
    coili_check(size <= sizeof block && len <= size &&
                    label_len <= LABEL_BYTES_MAX &&
                    context_len <= CONTEXT_BYTES_MAX,
                "expand: a length is out of its bounds");
    *p++ = 0;
    *p++ = (unsigned char)len;
    *p++ = (unsigned char)(prefix_len + label_len);
    p = (unsigned char *)memcpy(p, prefix, prefix_len) + prefix_len;
    p = (unsigned char *)memcpy(p, label, label_len) + label_len;
    *p++ = (unsigned char)context_len;
    if (context_len)
        p = (unsigned char *)memcpy(p, context, context_len) + context_len;
    *p++ = 1; /* the counter of HKDF-Expand */
    coili_digest_hmac(digest, block, secret->bytes, size, info,
                      (size_t)(p - info));
    memcpy(out, block, len);
    explicit_bzero(block, sizeof block);
}

/* Expand to a secret of the digest's length, in its place too. */
static void derive(const struct coili_secret *secret, enum coili_digest digest,
                   const char *label, const void *context, size_t context_len,
                   struct coili_secret *to)
{
    struct coili_secret made = { { 0 } };
    coili_secret_expand(secret, digest, label, context, context_len, made.bytes,
                        coili_digest_bytes(digest));
    *to = made;
    coili_secret_wipe(&made);
}

/* HKDF-Extract. */
static void extract(struct coili_schedule *s, const unsigned char *salt,
                    const void *input, size_t len)
{
    size_t size = coili_digest_bytes(s->digest);
    struct coili_secret made = { { 0 } };
    if (!input) {
        input = zeros;
        len = size;
    }
    coili_digest_hmac(s->digest, made.bytes, salt, size, input, len);
    s->stage = made;
    coili_secret_wipe(&made);
}

/* Derive-Secret(stage, label, ""), which ends each stage. */
static void derive_of_nothing(const struct coili_schedule *s, const char *label,
                              struct coili_secret *to)
{
    unsigned char nothing[COILI_HASH_BYTES_MAX];
    coili_digest_hash(s->digest, nothing, NULL, 0);
    derive(&s->stage, s->digest, label, nothing, coili_digest_bytes(s->digest),
           to);
}

static void next_stage(struct coili_schedule *s, const void *input, size_t len)
{
    struct coili_secret salt;
    derive_of_nothing(s, "derived", &salt);
    extract(s, salt.bytes, input, len);
    coili_secret_wipe(&salt);
}

void coili_schedule_early(struct coili_schedule *s, enum coili_digest digest,
                          const void *psk, size_t psk_len)
{
    coili_check(digest != COILI_SHA512, "no suite has SHA-512");
    s->digest = digest;
    extract(s, zeros, psk, psk_len);
}

void coili_schedule_handshake(struct coili_schedule *s, const void *shared,
                              size_t shared_len)
{
    next_stage(s, shared, shared_len);
}

void coili_schedule_master(struct coili_schedule *s)
{
    next_stage(s, NULL, 0);
}

void coili_schedule_derive(const struct coili_schedule *s,
                           enum coili_label label, const unsigned char *hash,
                           struct coili_secret *secret)
{
    static const char *const labels[] = {
        [COILI_LABEL_CLIENT_HANDSHAKE] = "c hs traffic",
        [COILI_LABEL_SERVER_HANDSHAKE] = "s hs traffic",
        [COILI_LABEL_CLIENT_TRAFFIC] = "c ap traffic",
        [COILI_LABEL_SERVER_TRAFFIC] = "s ap traffic",
        [COILI_LABEL_EXPORTER] = "exp master",
        [COILI_LABEL_RESUMPTION] = "res master",
    };
    derive(&s->stage, s->digest, labels[label], hash,
           coili_digest_bytes(s->digest), secret);
}

void coili_schedule_binder(const struct coili_schedule *s,
                           const unsigned char *hash, unsigned char *binder)
{
    struct coili_secret key;
    derive_of_nothing(s, "res binder", &key);
    coili_secret_finished(&key, s->digest, hash, binder);
    coili_secret_wipe(&key);
}

void coili_schedule_wipe(struct coili_schedule *s)
{
    coili_secret_wipe(&s->stage);
}

void coili_secret_keys(const struct coili_secret *secret,
                       enum coili_digest digest, unsigned char *key,
                       size_t key_len, unsigned char iv[12])
{
    coili_secret_expand(secret, digest, "key", NULL, 0, key, key_len);
    coili_secret_expand(secret, digest, "iv", NULL, 0, iv, 12);
}

void coili_secret_next(struct coili_secret *secret, enum coili_digest digest)
{
    derive(secret, digest, "traffic upd", NULL, 0, secret);
}

void coili_secret_finished(const struct coili_secret *secret,
                           enum coili_digest digest, const unsigned char *hash,
                           unsigned char *verify_data)
{
    struct coili_secret key;
    size_t size = coili_digest_bytes(digest);
    derive(secret, digest, "finished", NULL, 0, &key);
    coili_digest_hmac(digest, verify_data, key.bytes, size, hash, size);
    coili_secret_wipe(&key);
}

void coili_secret_psk(const struct coili_secret *resumption,
                      enum coili_digest digest, const void *nonce,
                      size_t nonce_len, struct coili_secret *psk)
{
    derive(resumption, digest, "resumption", nonce, nonce_len, psk);
}

void coili_secret_wipe(struct coili_secret *secret)
{
    explicit_bzero(secret, sizeof *secret);
}
