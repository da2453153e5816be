// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_pem.c: the blocks of a PEM text, bad ones first.
 */
#include "test.h"

#include "tls/pem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Read all blocks. Result: how many; or - the line of the fault. */
static int blocks_of(const char *text, size_t len, const char **fault)
{
    char *copy = malloc(len + !len);
    CHECK(copy);
    memcpy(copy, text, len);
    struct coili_pem pem = { .at = copy, .end = copy + len };
    struct coili_pem_block block;
    int n, blocks = 0;
    while ((n = coili_pem_next(&pem, &block)) > 0) {
        unsigned char *out = malloc(block.bytes);
        struct coili_der der;
        CHECK(out);
        n = coili_pem_decode(&pem, &block, out, &der);
        if (n == 0)
            CHECK(der.len > 0 && der.len <= block.bytes);
        free(out);
        if (n < 0)
            break;
        blocks++;
    }
    free(copy);
    *fault = n < 0 ? pem.fault : "";
    return n < 0 ? -(int)pem.line : blocks;
}

#define BEGIN "-----BEGIN CERTIFICATE-----\n"
#define END "-----END CERTIFICATE-----\n"

TEST(pem_refuses_a_bad_text_with_its_line)
{
    static const struct {
        const char *text;
        int line;
        const char *fault;
    } rows[] = {
        { BEGIN "AAAA\n", 1, "BEGIN without END" },
        { "x\n" BEGIN "AAAA\n" BEGIN "AAAA\n" END, 2, "BEGIN without END" },
        { BEGIN "AAAA\n-----END PRIVATE KEY-----\n", 3,
          "END has another name than BEGIN" },
        { BEGIN "AAAA\n" END END, 4, "END without BEGIN" },
        { "\n-----BEGIN CERTIFI\n", 2, "a BEGIN line that is cut short" },
        { BEGIN "AAAA\nAA!A\n" END, 3, "not base64" },
        { BEGIN "AAAA\nAA AA\n" END, 3, "not base64" },
        { BEGIN "AAAA\n AAAA\n" END, 3, "not base64" },
        { BEGIN "AA==\nAAAA\n" END, 3, "not base64" },
        { BEGIN "A=A=\n" END, 2, "not base64" },
        { BEGIN "A===\n" END, 2, "not base64" },
        { BEGIN "AAA\n" END, 2, "the base64 is cut short" },
        { BEGIN "AAAAA\n" END, 2, "the base64 is cut short" },
        { BEGIN "AAAA=\n" END, 2, "the base64 is cut short" },
        { BEGIN "AA=\n" END, 2, "the base64 is cut short" },
        { BEGIN "AB==\n" END, 2, "the base64 is cut short" },
        { BEGIN "AAB=\n" END, 2, "the base64 is cut short" },
        { BEGIN END, 1, "an empty block" },
        { BEGIN "\n" END, 1, "an empty block" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *fault;
        test_note("%s", rows[i].text);
        CHECK_INT(blocks_of(rows[i].text, strlen(rows[i].text), &fault),
                  -rows[i].line);
        CHECK_STR(fault, rows[i].fault);
    }
}

TEST(pem_reads_texts_of_each_kind)
{
    static const struct {
        const char *text;
        int blocks;
    } rows[] = {
        { "", 0 },
        { "no block\n", 0 },
        { BEGIN "AAAA\n" END, 1 },
        { BEGIN "AAAA\n-----END CERTIFICATE-----", 1 },
        { "-----BEGIN CERTIFICATE-----\r\nAAAA\r\n-----END "
          "CERTIFICATE-----\r\n",
          1 },
        { "a\n\n" BEGIN "AA\n==\n\n" END "b\n" BEGIN "A\nA\nA=\n" END "c", 2 },
        { BEGIN "AAAA \t\n" END, 1 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *fault;
        test_note("%s", rows[i].text);
        CHECK_INT(blocks_of(rows[i].text, strlen(rows[i].text), &fault),
                  rows[i].blocks);
    }
}

// Cut at each byte: a fault, or as if the end were not there.
TEST(pem_reads_a_text_that_is_cut)
{
    static const char text[] = BEGIN "TWFuTQ==\n" END;
    for (size_t len = 0; len < sizeof text - 1; len++) {
        const char *fault;
        int n = blocks_of(text, len, &fault);
        test_note("%zu", len);
        CHECK(len < 10 ? n == 0 : len < sizeof text - 2 ? n == -1 : n == 1);
    }
}

TEST(pem_knows_labels)
{
    static const struct {
        const char *label;
        enum coili_pem_label expected;
    } rows[] = {
        { "CERTIFICATE", COILI_PEM_CERTIFICATE },
        { "X509 CERTIFICATE", COILI_PEM_CERTIFICATE },
        { "TRUSTED CERTIFICATE", COILI_PEM_TRUSTED },
        { "PRIVATE KEY", COILI_PEM_PKCS8 },
        { "RSA PRIVATE KEY", COILI_PEM_PKCS1 },
        { "EC PRIVATE KEY", COILI_PEM_SEC1 },
        { "ENCRYPTED PRIVATE KEY", COILI_PEM_ENCRYPTED },
        { "EC PARAMETERS", COILI_PEM_OTHER },
        { "certificate", COILI_PEM_OTHER },
        { "", COILI_PEM_OTHER },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[128];
        int len = sprintf(text, "-----BEGIN %s-----\nAAAA\n-----END %s-----\n",
                          rows[i].label, rows[i].label);
        struct coili_pem pem = { .at = text, .end = text + len };
        struct coili_pem_block block;
        CHECK_INT(coili_pem_next(&pem, &block), 1);
        CHECK_INT(block.label, rows[i].expected);
        CHECK_INT(block.line, 1);
        CHECK_INT(coili_pem_next(&pem, &block), 0);
    }
}

TEST(pem_knows_an_old_encrypted_key)
{
    static const char text[] = "-----BEGIN RSA PRIVATE KEY-----\n"
                               "Proc-Type: 4,ENCRYPTED\n"
                               "DEK-Info: AES-128-CBC,00\n\nAAAA\n"
                               "-----END RSA PRIVATE KEY-----\n";
    struct coili_pem pem = { .at = text, .end = text + sizeof text - 1 };
    struct coili_pem_block block;
    CHECK_INT(coili_pem_next(&pem, &block), 1);
    CHECK_INT(block.label, COILI_PEM_ENCRYPTED);
}

// RFC 4648, section 10, and all values of a byte.
TEST(pem_decodes_base64)
{
    static const struct {
        const char *base64, *bytes;
    } rows[] = {
        { "Zg==", "f" },
        { "Zm8=", "fo" },
        { "Zm9v", "foo" },
        { "Zm9vYg==", "foob" },
        { "Zm9vYmE=", "fooba" },
        { "Zm9vYmFy", "foobar" },
        { "+/+/", "\xfb\xff\xbf" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct coili_pem pem = { .line = 0 };
        struct coili_pem_block block = { .at = rows[i].base64,
                                         .len = strlen(rows[i].base64) };
        unsigned char out[16];
        struct coili_der der;
        CHECK_INT(coili_pem_decode(&pem, &block, out, &der), 0);
        CHECK(coili_der_is(der, rows[i].bytes, strlen(rows[i].bytes)));
    }
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int c = 0; c < 256; c++) {
        char text[4] = { 'A', 'A', 'A', (char)c };
        struct coili_pem pem = { .line = 0 };
        struct coili_pem_block block = { .at = text, .len = 4 };
        unsigned char out[8];
        struct coili_der der;
        const char *digit = c ? strchr(digits, c) : NULL;
        int err = coili_pem_decode(&pem, &block, out, &der);
        test_note("character %d", c);
        if (digit) {
            CHECK_INT(err, 0);
            CHECK_INT(out[2], digit - digits);
        } else if (c == '=') {
            CHECK_INT(err, 0);
            CHECK_INT(der.len, 2);
        } else {
            CHECK_INT(err, -EINVAL);
        }
    }
}

// Eight characters are decoded at once, if there are as many: each value of a
// byte at each place of a line that has two such groups and three more.
TEST(pem_decodes_groups_of_characters)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";
    enum { CHARACTERS = 20 };
    for (size_t place = 0; place < CHARACTERS; place++)
        for (int c = 0; c < 256; c++) {
            char text[CHARACTERS];
            unsigned char out[CHARACTERS] = { 0 };
            size_t bytes = place / 4 * 3;
            for (size_t i = 0; i < CHARACTERS; i++)
                text[i] = digits[i * 23 % 64];
            text[place] = (char)c;
            struct coili_pem pem = { .line = 0 };
            struct coili_pem_block block = { .at = text, .len = sizeof text };
            struct coili_der der;
            const char *digit = c ? strchr(digits, c) : NULL;
            bool ends_line = place == CHARACTERS - 1 &&
                             (c == '\n' || c == '\r' || c == ' ' || c == '\t' ||
                              c == '=');
            int err = coili_pem_decode(&pem, &block, out, &der);
            test_note("character %d at %zu", c, place);
            if (ends_line)
                continue; /* the end of the line, or padding */
            CHECK_INT(err, digit ? 0 : -EINVAL);
            if (!digit)
                continue;
            unsigned whole = (unsigned)out[bytes] << 16 |
                             (unsigned)out[bytes + 1] << 8 | out[bytes + 2];
            CHECK_INT(der.len, CHARACTERS / 4 * 3);
            for (size_t i = place / 4 * 4; i < place / 4 * 4 + 4; i++)
                CHECK(strchr(digits, text[i]) - digits ==
                      (long)(whole >> (18 - 6 * (i % 4)) & 63));
        }
}
