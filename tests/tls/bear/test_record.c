// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_record.c: the protection of one direction. test_schedule.c has the
 * records of RFC 8448, test_bear_openssl.c those that OpenSSL makes.
 */
#include "hex.h"
#include "secrets.h"

#include <stdlib.h>

#include "tls/bear/record.h"

static const struct kind {
    uint16_t version;
    enum coili_cipher cipher;
    size_t overhead;
} kinds[] = {
    { COILI_TLS13, COILI_CIPHER_AES_128_GCM, 22 },
    { COILI_TLS13, COILI_CIPHER_AES_256_GCM, 22 },
    { COILI_TLS13, COILI_CIPHER_CHACHA20_POLY1305, 22 },
    { COILI_TLS12, COILI_CIPHER_AES_128_GCM, 29 },
    { COILI_TLS12, COILI_CIPHER_AES_256_GCM, 29 },
    { COILI_TLS12, COILI_CIPHER_CHACHA20_POLY1305, 21 },
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

static struct coili_protection start(const struct kind *kind)
{
    struct coili_protection p;
    if (kind->version == COILI_TLS13) {
        struct coili_secret secret = { { 1, 2, 3 } };
        coili_record_start13(&p, kind->cipher, COILI_SHA256, &secret);
    } else {
        unsigned char key[32] = { 4, 5 }, iv[12] = { 6, 7 };
        coili_record_start12(&p, kind->cipher, key, iv);
    }
    CHECK_INT(coili_record_overhead(&p), kind->overhead);
    CHECK_INT(p.sequence, 0);
    return p;
}

// 2 x 56 bytes are what an idle connection has for its records.
TEST(record_state_is_small)
{
    CHECK(sizeof(struct coili_protection) <= 56);
    CHECK_INT(coili_cipher_key_bytes(COILI_CIPHER_NONE), 0);
    CHECK_INT(coili_cipher_key_bytes(COILI_CIPHER_AES_128_GCM), 16);
    CHECK_INT(coili_cipher_key_bytes(COILI_CIPHER_AES_256_GCM), 32);
    CHECK_INT(coili_cipher_key_bytes(COILI_CIPHER_CHACHA20_POLY1305), 32);
    CHECK_INT(coili_cipher_iv_bytes12(COILI_CIPHER_AES_128_GCM), 4);
    CHECK_INT(coili_cipher_iv_bytes12(COILI_CIPHER_CHACHA20_POLY1305), 12);
}

#ifdef __x86_64__
TEST(record_knows_whether_the_processor_has_aes)
{
    CHECK_INT(coili_cipher_aes_is_fast(), __builtin_cpu_supports("aes") != 0);
}
#endif

static unsigned char *room(void)
{
    unsigned char *bytes = malloc(COILI_TLS_PLAIN_BYTES_MAX * 2 + 64);
    CHECK(bytes);
    return bytes;
}

// Of each length class and cipher, with the data where they may be.
TEST(record_opens_what_it_sealed)
{
    static const size_t lengths[] = { 0,  1,   15,   16,   17,    63,   64,
                                      65, 255, 1000, 4096, 16383, 16384 };
    unsigned char *data = room(), *record = room();
    uint64_t state = 1;
    hex_fill(data, COILI_TLS_PLAIN_BYTES_MAX, &state);
    for (int k = 0; k < KINDS; k++) {
        struct coili_protection sender = start(&kinds[k]), receiver = sender;
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
            for (size_t at = 0; at < 15; at++) {
                struct coili_record opened;
                size_t n = lengths[i];
                const void *from = data;
                if (at < 14) { /* in the record's own memory */
                    memcpy(record + at, data, n);
                    from = record + at;
                }
                size_t len = coili_record_seal(&sender, COILI_TLS_DATA_RECORD,
                                               from, n, 0, record);
                CHECK_INT(len, n + kinds[k].overhead);
                CHECK_INT(record[0], 23);
                CHECK_INT(record[1] << 8 | record[2], 0x0303);
                CHECK_INT(record[3] << 8 | record[4], len - 5);
                CHECK_INT(coili_record_open(&receiver, record, len, &opened),
                          0);
                CHECK_INT(opened.type, COILI_TLS_DATA_RECORD);
                CHECK_INT(opened.len, n);
                CHECK_MEM(record + opened.at, data, n);
                CHECK_INT(sender.sequence, receiver.sequence);
            }
        CHECK(sender.sequence == 15 * sizeof lengths / sizeof lengths[0]);
    }
    free(data);
    free(record);
}

TEST(record_keeps_the_type)
{
    for (int k = 0; k < KINDS; k++)
        for (int type = COILI_TLS_ALERT; type <= COILI_TLS_DATA_RECORD;
             type++) {
            struct coili_protection sender = start(&kinds[k]),
                                    receiver = sender;
            unsigned char record[64];
            struct coili_record opened;
            size_t len = coili_record_seal(
                &sender, (enum coili_tls_record_type)type, "ab", 2, 0, record);
            CHECK_INT(record[0], kinds[k].version == COILI_TLS13 ? 23 : type);
            CHECK_INT(coili_record_open(&receiver, record, len, &opened), 0);
            CHECK_INT(opened.type, type);
            CHECK_INT(opened.len, 2);
            CHECK_MEM(record + opened.at, "ab", 2);
        }
}

// Padding hides the length, and costs nothing but bytes.
TEST(record_padding_comes_off)
{
    unsigned char *record = room();
    static const size_t paddings[] = { 1, 2, 100, 16382 };
    for (int k = 0; k < 3; k++)
        for (size_t i = 0; i < 4; i++) {
            struct coili_protection sender = start(&kinds[k]),
                                    receiver = sender;
            struct coili_record opened;
            size_t len = coili_record_seal(&sender, COILI_TLS_HANDSHAKE, "\1\0",
                                           2, paddings[i], record);
            CHECK_INT(len, 2 + paddings[i] + 22);
            CHECK_INT(coili_record_open(&receiver, record, len, &opened), 0);
            CHECK_INT(opened.type, COILI_TLS_HANDSHAKE);
            CHECK_INT(opened.len, 2);
            CHECK_MEM(record + opened.at, "\1\0", 2);
        }
    free(record);
}

DEATH_TEST(record_does_not_seal_more_than_16384_bytes, "longer than 16384")
{
    struct coili_protection p = start(&kinds[0]);
    unsigned char *record = room();
    coili_record_seal(&p, COILI_TLS_DATA_RECORD, record, 16385, 0, record);
}

// Every bit counts: head, explicit nonce, ciphertext and tag.
TEST(record_refuses_each_flipped_bit)
{
    for (int k = 0; k < KINDS; k++) {
        struct coili_protection sender = start(&kinds[k]), receiver = sender;
        unsigned char sealed[64], record[64];
        struct coili_record opened;
        size_t len = coili_record_seal(&sender, COILI_TLS_DATA_RECORD,
                                       "secret data", 11, 0, sealed);
        for (size_t bit = 0; bit < 8 * len; bit++) {
            memcpy(record, sealed, len);
            record[bit / 8] ^= (unsigned char)(1U << bit % 8);
            bool other_type = kinds[k].version == COILI_TLS13
                                  ? bit < 8
                                  : record[0] < 20 || record[0] > 23;
            /* The length in a head of 1.2 is the stream's to check. */
            if (kinds[k].version == COILI_TLS12 && bit / 8 >= 3 && bit / 8 < 5)
                continue;
            test_note("kind %d, bit %zu", k, bit);
            CHECK_INT(coili_record_open(&receiver, record, len, &opened),
                      other_type ? COILI_ALERT_UNEXPECTED_MESSAGE
                                 : COILI_ALERT_BAD_RECORD_MAC);
            CHECK_INT(receiver.sequence, 0);
        }
        CHECK_INT(coili_record_open(&receiver, sealed, len, &opened), 0);
        CHECK_INT(receiver.sequence, 1);
    }
}

TEST(record_refuses_one_that_is_cut_short_or_longer)
{
    for (int k = 0; k < KINDS; k++) {
        struct coili_protection sender = start(&kinds[k]), receiver = sender;
        unsigned char sealed[64] = { 0 }, record[64];
        struct coili_record opened;
        size_t len = coili_record_seal(&sender, COILI_TLS_DATA_RECORD, "data",
                                       4, 0, sealed);
        for (size_t n = 5; n <= len + 1; n++) {
            memcpy(record, sealed, sizeof record);
            if (n != len)
                CHECK_INT(coili_record_open(&receiver, record, n, &opened),
                          COILI_ALERT_BAD_RECORD_MAC);
        }
    }
}

// A sequence number is part of the nonce: no replay, no other order.
TEST(record_refuses_a_replay_and_another_order)
{
    for (int k = 0; k < KINDS; k++) {
        struct coili_protection sender = start(&kinds[k]), receiver = sender;
        unsigned char first[64], second[64], record[64];
        struct coili_record opened;
        size_t len = coili_record_seal(&sender, COILI_TLS_DATA_RECORD, "1", 1,
                                       0, first);
        coili_record_seal(&sender, COILI_TLS_DATA_RECORD, "1", 1, 0, second);
        CHECK(memcmp(first, second, len) != 0);
        memcpy(record, second, len);
        CHECK_INT(coili_record_open(&receiver, record, len, &opened),
                  COILI_ALERT_BAD_RECORD_MAC);
        memcpy(record, first, len);
        CHECK_INT(coili_record_open(&receiver, record, len, &opened), 0);
        memcpy(record, first, len);
        CHECK_INT(coili_record_open(&receiver, record, len, &opened),
                  COILI_ALERT_BAD_RECORD_MAC);
        CHECK_INT(coili_record_open(&receiver, second, len, &opened), 0);
    }
}

// In 1.2 the sender's nonce is in the record; ours counts.
TEST(record_explicit_nonce_is_the_sequence)
{
    struct coili_protection p = start(&kinds[3]), receiver;
    unsigned char record[64];
    struct coili_record opened;
    p.sequence = 0x0102030405060708U;
    receiver = p;
    size_t len = coili_record_seal(&p, COILI_TLS_DATA_RECORD, "data", 4, 0,
                                   record);
    CHECK_MEM(record + 5, "\1\2\3\4\5\6\7\10", 8);
    CHECK_INT(coili_record_open(&receiver, record, len, &opened), 0);
    CHECK_INT(opened.at, 13);
    CHECK_INT(p.sequence, 0x0102030405060709);
}

// A server that passes over early data tries until one record opens.
TEST(record_that_fails_spends_no_sequence_number)
{
    struct coili_protection sender = start(&kinds[0]), receiver = sender, early;
    struct coili_secret secret = { { 9 } };
    unsigned char record[64];
    struct coili_record opened;
    coili_record_start13(&early, COILI_CIPHER_AES_128_GCM, COILI_SHA256,
                         &secret);
    for (int i = 0; i < 3; i++) {
        size_t len = coili_record_seal(&early, COILI_TLS_DATA_RECORD, "early",
                                       5, 0, record);
        CHECK_INT(coili_record_open(&receiver, record, len, &opened),
                  COILI_ALERT_BAD_RECORD_MAC);
    }
    size_t len = coili_record_seal(&sender, COILI_TLS_HANDSHAKE, "done", 4, 0,
                                   record);
    CHECK_INT(coili_record_open(&receiver, record, len, &opened), 0);
}

/* What opening a record of 1.3 says whose inner text is `inner`. */
static int inner_text(const char *inner, size_t len)
{
    struct coili_protection sender = start(&kinds[0]), receiver = sender;
    unsigned char record[64];
    struct coili_record opened;
    /* Type 0 is padding too. */
    size_t n = coili_record_seal(&sender, (enum coili_tls_record_type)0, inner,
                                 len, 0, record);
    return coili_record_open(&receiver, record, n, &opened);
}

TEST(record_inner_types_of_tls_13)
{
    CHECK_INT(inner_text("", 0), COILI_ALERT_UNEXPECTED_MESSAGE);
    CHECK_INT(inner_text("\0\0\0", 3), COILI_ALERT_UNEXPECTED_MESSAGE);
    for (size_t n = 0; n < 32; n++)
        CHECK_INT(inner_text((char[32]){ 0 }, n),
                  COILI_ALERT_UNEXPECTED_MESSAGE);
    CHECK_INT(inner_text("\x17", 1), 0);
    CHECK_INT(inner_text("x\x17\0\0", 4), 0);
    CHECK_INT(inner_text("x\x16", 2), 0);
    CHECK_INT(inner_text("\x16", 1), COILI_ALERT_UNEXPECTED_MESSAGE);
    CHECK_INT(inner_text("\x15", 1), COILI_ALERT_UNEXPECTED_MESSAGE);
    CHECK_INT(inner_text("\1\x14", 2), COILI_ALERT_UNEXPECTED_MESSAGE);
    CHECK_INT(inner_text("x\x18", 2), COILI_ALERT_UNEXPECTED_MESSAGE);
    CHECK_INT(inner_text("x\x19", 2), COILI_ALERT_UNEXPECTED_MESSAGE);
    CHECK_INT(inner_text("x\1", 2), COILI_ALERT_UNEXPECTED_MESSAGE);
}

TEST(record_empty_messages_of_tls_12_are_refused)
{
    for (int type = COILI_TLS_CHANGE_CIPHER_SPEC; type <= COILI_TLS_DATA_RECORD;
         type++) {
        struct coili_protection sender = start(&kinds[3]), receiver = sender;
        unsigned char record[64];
        struct coili_record opened;
        size_t n = coili_record_seal(&sender, (enum coili_tls_record_type)type,
                                     "", 0, 0, record);
        CHECK_INT(
            coili_record_open(&receiver, record, n, &opened),
            type == COILI_TLS_DATA_RECORD ? 0 : COILI_ALERT_UNEXPECTED_MESSAGE);
    }
}

static int open_plain(const struct coili_protection *state, int type,
                      const void *content, size_t len)
{
    struct coili_protection p = *state;
    struct coili_record opened;
    unsigned char *record = calloc(1, 5 + 16384 + 300);
    CHECK(record);
    record[0] = (unsigned char)type;
    memcpy(record + 5, content, len < 4 ? len : 4);
    int result = coili_record_open(&p, record, 5 + len, &opened);
    if (result == 0) {
        CHECK_INT(opened.type, type);
        CHECK_INT(opened.at, 5);
        CHECK_INT(opened.len, len);
        CHECK_INT(p.sequence, 0);
    }
    free(record);
    return result;
}

TEST(record_plain_ones)
{
    const int no = COILI_ALERT_UNEXPECTED_MESSAGE;
    struct coili_protection none = { 0 }, tls13 = start(&kinds[0]);
    CHECK_INT(coili_record_overhead(&none), 5);
    CHECK_INT(open_plain(&none, 22, "abcd", 4), 0);
    CHECK_INT(open_plain(&none, 21, "abcd", 2), 0);
    CHECK_INT(open_plain(&none, 22, "abcd", 16384), 0);
    CHECK_INT(open_plain(&none, 22, "abcd", 16385),
              COILI_ALERT_RECORD_OVERFLOW);
    CHECK_INT(open_plain(&none, 22, "", 0), no);
    CHECK_INT(open_plain(&none, 21, "", 0), no);
    CHECK_INT(open_plain(&none, 23, "abcd", 4), no);
    CHECK_INT(open_plain(&none, 23, "", 0), no);
    CHECK_INT(open_plain(&none, 19, "abcd", 4), no);
    CHECK_INT(open_plain(&none, 24, "abcd", 4), no);
    CHECK_INT(open_plain(&none, 0, "abcd", 4), no);
    /* ChangeCipherSpec, also while all else is protected. */
    const struct coili_protection *both[] = { &none, &tls13 };
    for (int i = 0; i < 2; i++) {
        CHECK_INT(open_plain(both[i], 20, "\1", 1), 0);
        CHECK_INT(open_plain(both[i], 20, "\2", 1), no);
        CHECK_INT(open_plain(both[i], 20, "\1\1", 2), no);
        CHECK_INT(open_plain(both[i], 20, "", 0), no);
    }
    CHECK_INT(open_plain(&tls13, 21, "abcd", 2), no);
    CHECK_INT(open_plain(&tls13, 22, "abcd", 40), no);
    CHECK_INT(open_plain(&tls13, 24, "abcd", 40), no);

    unsigned char record[16];
    CHECK_INT(
        coili_record_seal(&none, COILI_TLS_HANDSHAKE, "abc", 3, 0, record), 8);
    CHECK_MEM(record,
              "\x16\3\3\0\3"
              "abc",
              8);
    CHECK_INT(none.sequence, 0);
    CHECK_INT(coili_record_seal(&tls13, COILI_TLS_CHANGE_CIPHER_SPEC, "\1", 1,
                                0, record),
              6);
    CHECK_MEM(record, "\x14\3\3\0\1\1", 6);
    CHECK_INT(tls13.sequence, 0);
}

TEST(record_limits)
{
    struct coili_protection tls13 = start(&kinds[2]), tls12 = start(&kinds[3]);
    tls13.sequence = (1U << 23) - 1;
    CHECK_INT(coili_record_limit(&tls13), COILI_RECORD_GO_ON);
    tls13.sequence++;
    CHECK_INT(coili_record_limit(&tls13), COILI_RECORD_UPDATE);
    tls12.sequence = 0xffffffffU;
    CHECK_INT(coili_record_limit(&tls12), COILI_RECORD_GO_ON);
    tls12.sequence++;
    CHECK_INT(coili_record_limit(&tls12), COILI_RECORD_CLOSE);
    coili_record_wipe(&tls12);
    CHECK_INT(tls12.cipher, COILI_CIPHER_NONE);
}

TEST(record_seal_does_not_branch_on_keys_or_data)
{
    for (int k = 0; k < KINDS; k++) {
        struct coili_protection p = start(&kinds[k]);
        unsigned char data[100] = "secret", record[200];
        secret(p.key, sizeof p.key);
        secret(p.iv, sizeof p.iv);
        secret(data, sizeof data);
        size_t len = coili_record_seal(&p, COILI_TLS_DATA_RECORD, data,
                                       sizeof data, 3 * (k < 3), record);
        published(record, sizeof record);
        published(&p, sizeof p);
        CHECK_INT(len, sizeof data + 3 * (size_t)(k < 3) + kinds[k].overhead);
        p.sequence = 0;
        struct coili_record opened;
        CHECK_INT(coili_record_open(&p, record, len, &opened), 0);
    }
}

enum { SHOWN = 4 }; /* the type, and padding of 3 bytes */

/*
 * Whether the tag is right shows in what is done next. If it is, type and padding
 * may be looked at, which stand right before it; all else stays secret.
 */
bool __real_coili_digest_equal(const void *a, const void *b, size_t len);
bool __wrap_coili_digest_equal(const void *a, const void *b, size_t len);

bool __wrap_coili_digest_equal(const void *a, const void *b, size_t len)
{
    bool equal = __real_coili_digest_equal(a, b, len);
    published(&equal, sizeof equal);
    if (equal)
        published((const unsigned char *)b - SHOWN, SHOWN);
    return equal;
}

// Neither before the tag is right nor, but for the padding, after that.
TEST(record_open_does_not_branch_on_keys_or_data)
{
    for (int k = 0; k < KINDS; k++)
        for (int changed = 0; changed < 2; changed++) {
            struct coili_protection p = start(&kinds[k]);
            unsigned char record[200];
            size_t len = coili_record_seal(&p, COILI_TLS_DATA_RECORD, "secret",
                                           6, k < 3 ? SHOWN - 1 : 0, record);
            struct coili_record opened;
            p.sequence = 0;
            record[len - 1] ^= (unsigned char)changed;
            secret(p.key, sizeof p.key);
            secret(p.iv, sizeof p.iv);
            CHECK_INT(coili_record_open(&p, record, len, &opened),
                      changed ? COILI_ALERT_BAD_RECORD_MAC : 0);
        }
}
