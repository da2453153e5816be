// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_transcript.c: the running hash of a handshake. test_schedule.c replays
 * whole handshakes, one with a HelloRetryRequest.
 */
#include "hex.h"

#include "tls/bear/transcript.h"

static void check_hashes(const struct coili_transcript *t, const char *all)
{
    unsigned char hash[48], expected[48];
    for (int d = COILI_SHA256; d <= COILI_SHA384; d++) {
        coili_digest_hash((enum coili_digest)d, expected, all, strlen(all));
        coili_transcript_hash(t, (enum coili_digest)d, hash);
        CHECK_MEM(hash, expected, coili_digest_bytes((enum coili_digest)d));
    }
}

TEST(transcript_runs_both_hashes_and_can_be_asked_at_any_time)
{
    struct coili_transcript t;
    coili_transcript_init(&t);
    check_hashes(&t, "");
    coili_transcript_add(&t, "client", 6);
    check_hashes(&t, "client");
    coili_transcript_add(&t, "", 0);
    coili_transcript_add(&t, "server", 6);
    check_hashes(&t, "clientserver");
    check_hashes(&t, "clientserver");
}

TEST(transcript_hash_with_adds_nothing)
{
    struct coili_transcript t;
    unsigned char hash[48], expected[48];
    coili_transcript_init(&t);
    coili_transcript_add(&t, "client", 6);
    coili_transcript_hash_with(&t, COILI_SHA384, "hello", 5, hash);
    coili_digest_hash(COILI_SHA384, expected, "clienthello", 11);
    CHECK_MEM(hash, expected, 48);
    coili_transcript_hash_with(&t, COILI_SHA256, "hello", 5, hash);
    coili_digest_hash(COILI_SHA256, expected, "clienthello", 11);
    CHECK_MEM(hash, expected, 32);
    check_hashes(&t, "client");
}

TEST(transcript_goes_on_with_the_one_that_was_chosen)
{
    for (int d = COILI_SHA256; d <= COILI_SHA384; d++) {
        enum coili_digest digest = (enum coili_digest)d;
        struct coili_transcript t;
        unsigned char hash[48], expected[48];
        coili_transcript_init(&t);
        coili_transcript_add(&t, "client", 6);
        coili_transcript_choose(&t, digest);
        coili_transcript_choose(&t, digest);
        coili_transcript_add(&t, "server", 6);
        coili_transcript_hash(&t, digest, hash);
        coili_digest_hash(digest, expected, "clientserver", 12);
        CHECK_MEM(hash, expected, coili_digest_bytes(digest));
    }
}

DEATH_TEST(transcript_does_not_give_a_hash_that_it_forgot, "does not run")
{
    struct coili_transcript t;
    unsigned char hash[48];
    coili_transcript_init(&t);
    coili_transcript_choose(&t, COILI_SHA256);
    coili_transcript_hash(&t, COILI_SHA384, hash);
}

DEATH_TEST(transcript_never_runs_sha_512, "does not run")
{
    struct coili_transcript t;
    coili_transcript_init(&t);
    coili_transcript_choose(&t, COILI_SHA512);
}

// fe 00 00 20 and the hash of the hello, each hash by itself.
TEST(transcript_retry_puts_a_message_hash_in_the_place_of_the_hello)
{
    struct coili_transcript t;
    unsigned char hash[48], message[4 + 48 + 5] = { 0xfe, 0, 0 };
    coili_transcript_init(&t);
    coili_transcript_add(&t, "hello", 5);
    coili_transcript_retry(&t);
    coili_transcript_add(&t, "retry", 5);

    for (int d = COILI_SHA256; d <= COILI_SHA384; d++) {
        enum coili_digest digest = (enum coili_digest)d;
        size_t n = coili_digest_bytes(digest);
        unsigned char expected[48];
        message[3] = (unsigned char)n;
        coili_digest_hash(digest, message + 4, "hello", 5);
        memcpy(message + 4 + n, "retry", 5);
        coili_digest_hash(digest, expected, message, 4 + n + 5);
        coili_transcript_hash(&t, digest, hash);
        CHECK_MEM(hash, expected, n);
    }

    struct coili_transcript chosen;
    unsigned char other[48];
    coili_transcript_init(&chosen);
    coili_transcript_add(&chosen, "hello", 5);
    coili_transcript_choose(&chosen, COILI_SHA384);
    coili_transcript_retry(&chosen);
    coili_transcript_add(&chosen, "retry", 5);
    coili_transcript_hash(&chosen, COILI_SHA384, other);
    CHECK_MEM(other, hash, 48);
}
