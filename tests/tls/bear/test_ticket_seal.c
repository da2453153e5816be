// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_ticket_seal.c: the cryptography of session tickets.
 */
#include "test.h"

#include <bearssl.h>

#include "secrets.h"
#include "tls/bear/ticket.h"

static struct coili_seal seal_of_numbers(void)
{
    struct coili_seal seal;
    for (unsigned i = 0; i < 16; i++)
        seal.key[i] = (unsigned char)i;
    for (unsigned i = 0; i < 12; i++)
        seal.nonce[i] = (unsigned char)(i + 16);
    for (unsigned i = 0; i < 32; i++)
        seal.bound[i] = (unsigned char)(i + 32);
    return seal;
}

// The values are OpenSSL's.
TEST(ticket_seal_is_aes_gcm)
{
    static const unsigned char sealed[] = {
        0x84, 0x6f, 0x41, 0xec, 0x4b, 0x0a, 0xf0, 0xa8, 0x5f, 0x94,
        0x17, 0xbe, 0x8b, 0x6a, 0xa5, 0x71, 0x6a, 0xed, 0x26, 0xd4,
        0x62, 0xa1, 0x3d, 0xe8, 0xdd, 0x92, 0x73, 0x4a, 0x3b, 0x58,
        0x4f, 0xf2, 0xb2, 0xb8, 0x43, 0x5c, 0xe5, 0xc3, 0x9d, 0x7b
    };
    static const unsigned char expected[] = { 0x29, 0x18, 0x0c, 0xf9,
                                              0x69, 0x01, 0x1d, 0x86,
                                              0x4e, 0x81, 0x2d, 0x4a,
                                              0xfe, 0xd4, 0xd2, 0x55 };
    struct coili_seal seal = seal_of_numbers();
    unsigned char text[40], tag[16];
    for (unsigned i = 0; i < sizeof text; i++)
        text[i] = (unsigned char)(i + 64);
    coili_bear_seal(&seal, text, sizeof text, tag);
    CHECK_MEM(text, sealed, sizeof sealed);
    CHECK_MEM(tag, expected, sizeof expected);
    CHECK(coili_bear_unseal(&seal, text, sizeof text, tag));
    for (unsigned i = 0; i < sizeof text; i++)
        CHECK_INT(text[i], i + 64);
}

// What does not open leaves nothing behind.
TEST(ticket_seal_finds_each_changed_bit)
{
    static const unsigned char zeros[40];
    struct coili_seal seal = seal_of_numbers(), other;
    unsigned char text[40], tag[16], bad[40], bad_tag[16];
    memset(text, 'x', sizeof text);
    coili_bear_seal(&seal, text, sizeof text, tag);
    for (size_t bit = 0; bit < 8 * (sizeof text + sizeof tag + sizeof seal);
         bit++) {
        size_t at = bit / 8;
        unsigned char flip = (unsigned char)(1u << bit % 8);
        memcpy(bad, text, sizeof bad);
        memcpy(bad_tag, tag, sizeof bad_tag);
        other = seal;
        if (at < sizeof text)
            bad[at] ^= flip;
        else if (at < sizeof text + sizeof tag)
            bad_tag[at - sizeof text] ^= flip;
        else
            ((unsigned char *)&other)[at - sizeof text - sizeof tag] ^= flip;
        CHECK(!coili_bear_unseal(&other, bad, sizeof bad, bad_tag));
        CHECK_MEM(bad, zeros, sizeof bad);
    }
}

/* Whether a tag is right shows in what is done next. */
uint32_t __real_br_gcm_check_tag(br_gcm_context *gcm, const void *tag);
uint32_t __wrap_br_gcm_check_tag(br_gcm_context *gcm, const void *tag);

uint32_t __wrap_br_gcm_check_tag(br_gcm_context *gcm, const void *tag)
{
    uint32_t is_right = __real_br_gcm_check_tag(gcm, tag);
    published(&is_right, sizeof is_right);
    return is_right;
}

TEST(ticket_seal_does_not_branch_on_keys_or_sessions)
{
    for (int changed = 0; changed < 2; changed++) {
        struct coili_seal seal = seal_of_numbers();
        unsigned char text[40] = "a session", tag[16];
        secret(seal.key, sizeof seal.key);
        secret(text, sizeof text);
        coili_bear_seal(&seal, text, sizeof text, tag);
        published(text, sizeof text); /* the ticket itself */
        published(tag, sizeof tag);
        tag[15] ^= (unsigned char)changed;
        CHECK_INT(coili_bear_unseal(&seal, text, sizeof text, tag), !changed);
    }
}

// RFC 4231, 4.3.
TEST(ticket_keys_are_made_by_hmac)
{
    static const unsigned char expected[] = {
        0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24,
        0x26, 0x08, 0x95, 0x75, 0xc7, 0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27,
        0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43
    };
    unsigned char mac[32];
    coili_bear_hmac(mac, "Jefe", 4, "what do ya want for nothing?", 28);
    CHECK_MEM(mac, expected, sizeof mac);
}
