// SPDX-License-Identifier: MIT
/*
 * transcript.c: the running hash of a handshake's messages.
 *
 * BearSSL's out() leaves its context as it was, so a value can be had at any
 * message and hashing goes on.
 */
#include "tls/bear/transcript.h"

#include "base/check.h"

/* The handshake type of the message that stands for a first ClientHello. */
enum { MESSAGE_HASH = 254 };

static bool runs(const struct coili_transcript *t, enum coili_digest digest)
{
    return t->running >> digest & 1;
}

void coili_transcript_init(struct coili_transcript *t)
{
    br_sha256_init(&t->sha256);
    br_sha384_init(&t->sha384);
    t->running = 1 << COILI_SHA256 | 1 << COILI_SHA384;
}

void coili_transcript_add(struct coili_transcript *t, const void *data,
                          size_t len)
{
    if (runs(t, COILI_SHA256))
        br_sha256_update(&t->sha256, data, len);
    if (runs(t, COILI_SHA384))
        br_sha384_update(&t->sha384, data, len);
}

void coili_transcript_choose(struct coili_transcript *t,
                             enum coili_digest digest)
{
    coili_check(runs(t, digest), "transcript: this hash does not run");
    t->running = (unsigned char)(1U << digest);
}

void coili_transcript_hash(const struct coili_transcript *t,
                           enum coili_digest digest, unsigned char *hash)
{
    coili_check(runs(t, digest), "transcript: this hash does not run");
    if (digest == COILI_SHA256)
        br_sha256_out(&t->sha256, hash);
    else
        br_sha384_out(&t->sha384, hash);
}

void coili_transcript_hash_with(const struct coili_transcript *t,
                                enum coili_digest digest, const void *data,
                                size_t len, unsigned char *hash)
{
    struct coili_transcript copy = *t;
    coili_transcript_choose(&copy, digest);
    coili_transcript_add(&copy, data, len);
    coili_transcript_hash(&copy, digest, hash);
}

void coili_transcript_retry(struct coili_transcript *t)
{
    unsigned char message[4 + COILI_HASH_BYTES_MAX] = { MESSAGE_HASH };
    if (runs(t, COILI_SHA256)) {
        message[3] = 32;
        br_sha256_out(&t->sha256, message + 4);
        br_sha256_init(&t->sha256);
        br_sha256_update(&t->sha256, message, 4 + 32);
    }
    if (runs(t, COILI_SHA384)) {
        message[3] = 48;
        br_sha384_out(&t->sha384, message + 4);
        br_sha384_init(&t->sha384);
        br_sha384_update(&t->sha384, message, 4 + 48);
    }
}
