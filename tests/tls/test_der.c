// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_der.c: reading DER, what is not DER first.
 */
#include "test.h"

#include "tls/der.h"

#include <stdlib.h>

/* A view of a string literal, whose bytes are in memory of just that size. */
static struct coili_der bytes(const char *literal, size_t len)
{
    static unsigned char *copy;
    free(copy);
    copy = NULL;
    if (len == 0)
        return (struct coili_der){ NULL, 0 };
    copy = malloc(len);
    CHECK(copy);
    memcpy(copy, literal, len);
    return (struct coili_der){ copy, len };
}

#define BYTES(literal) bytes(literal, sizeof literal - 1)

/* Give the memory back. */
static void done(void)
{
    bytes("", 0);
}

struct sample {
    const char *at;
    size_t len;
};

#define SAMPLE(literal) \
    { \
        literal, sizeof literal - 1 \
    }

TEST(der_refuses_what_is_cut_or_not_the_shortest_form)
{
    static const struct sample samples[] = {
        SAMPLE(""),
        SAMPLE("\x30"),
        SAMPLE("\x30\x01"),
        SAMPLE("\x30\x80\0\0"),
        SAMPLE("\x30\x81\x7f"),
        SAMPLE("\x30\x81\0"),
        SAMPLE("\x30\x81"),
        SAMPLE("\x30\x82\0\x80"),
        SAMPLE("\x30\x82\1"),
        SAMPLE("\x30\x83\0\1\0"),
        SAMPLE("\x30\x84\0\0\1\0"),
        SAMPLE("\x30\x84\xff\xff\xff\xff"),
        SAMPLE("\x30\x83\xff\xff\xff"),
        SAMPLE("\x30\xff"),
        SAMPLE("\x3f\x30\0"),
        SAMPLE("\x31\0"),
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct coili_der from = bytes(samples[i].at, samples[i].len), value;
        struct coili_der before = from;
        test_note("sample %zu", i);
        CHECK(!coili_der_take(&from, COILI_DER_SEQUENCE, &value));
        CHECK(from.at == before.at && from.len == before.len);
    }
    done();
}

TEST(der_takes_elements_of_each_length)
{
    static char text[70000];
    static const size_t lens[] = { 0, 1, 127, 128, 255, 256, 65535, 65536 };
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        size_t n = lens[i], head = 2;
        text[0] = 0x04;
        text[1] = (char)n;
        if (n > 65535) {
            memcpy(text + 1, "\x83\1\0\0", 4);
            head = 5;
        } else if (n > 255) {
            text[1] = (char)0x82;
            text[2] = (char)(n >> 8);
            text[3] = (char)n;
            head = 4;
        } else if (n > 127) {
            text[1] = (char)0x81;
            text[2] = (char)n;
            head = 3;
        }
        struct coili_der from = bytes(text, head + n), value, whole;
        struct coili_der all = from;
        CHECK(coili_der_take_whole(&from, COILI_DER_OCTET_STRING, &value,
                                   &whole));
        CHECK_INT(value.len, n);
        CHECK(value.at == all.at + head);
        CHECK(coili_der_equal(whole, all));
        CHECK_INT(from.len, 0);
        struct coili_der cut = bytes(text, head + n - 1);
        CHECK(!coili_der_take(&cut, COILI_DER_OCTET_STRING, &value));
    }
    done();
}

TEST(der_optional_elements_may_be_missing_but_not_malformed)
{
    struct coili_der value;
    struct coili_der from = BYTES("\x02\x01\x05");
    CHECK(coili_der_take_optional(&from, 0xa0, &value));
    CHECK(!value.at);
    CHECK_INT(from.len, 3);
    from = BYTES("\xa0\x01\x05");
    CHECK(coili_der_take_optional(&from, 0xa0, &value));
    CHECK_INT(value.len, 1);
    CHECK(coili_der_take_optional(&from, 0xa0, &value));
    CHECK(!value.at);
    from = BYTES("\xa0\x02\x05");
    CHECK(!coili_der_take_optional(&from, 0xa0, &value));
    done();
}

static int small(const char *literal, size_t len)
{
    struct coili_der from = bytes(literal, len);
    unsigned number = 0;
    bool ok = coili_der_take_small(&from, &number);
    CHECK(ok ? from.len == 0 : from.len == len);
    return ok ? (int)number : -1;
}

#define SMALL(literal) small(literal, sizeof literal - 1)

TEST(der_integers_have_one_form)
{
    CHECK_INT(SMALL("\2\1\0"), 0);
    CHECK_INT(SMALL("\2\1\x7f"), 127);
    CHECK_INT(SMALL("\2\2\0\x80"), 128);
    CHECK_INT(SMALL("\2\4\x7f\xff\xff\xff"), 0x7fffffff);
    CHECK_INT(SMALL("\2\5\0\x80\0\0\0"), -1); /* too large */
    CHECK_INT(SMALL("\2\5\1\0\0\0\0"), -1);
    CHECK_INT(SMALL("\2\1\x80"), -1); /* negative */
    CHECK_INT(SMALL("\2\2\0\x7f"), -1);
    CHECK_INT(SMALL("\2\2\0\0"), -1);
    CHECK_INT(SMALL("\2\0"), -1);
    CHECK_INT(SMALL("\3\1\0"), -1);
    done();
}

TEST(der_booleans_and_bit_strings_have_one_form)
{
    bool flag = true;
    struct coili_der value;
    struct coili_der from = BYTES("\1\1\0\1\1\xff");
    CHECK(coili_der_take_boolean(&from, &flag) && !flag);
    CHECK(coili_der_take_boolean(&from, &flag) && flag);
    from = BYTES("\1\1\1");
    CHECK(!coili_der_take_boolean(&from, &flag));
    from = BYTES("\1\2\0\0");
    CHECK(!coili_der_take_boolean(&from, &flag));
    from = BYTES("\3\3\0ab");
    CHECK(coili_der_take_bytes(&from, &value) && coili_der_is(value, "ab", 2));
    from = BYTES("\3\2\1a");
    CHECK(!coili_der_take_bytes(&from, &value));
    from = BYTES("\3\0");
    CHECK(!coili_der_take_bytes(&from, &value));
    done();
}

/* -1 if it is refused; the tests have no time that would be -1. */
static int64_t time_of(unsigned char tag, const char *text)
{
    char element[40];
    size_t len = strlen(text);
    int64_t seconds;
    element[0] = (char)tag;
    element[1] = (char)len;
    memcpy(element + 2, text, len);
    struct coili_der from = bytes(element, len + 2);
    return coili_der_take_time(&from, &seconds) ? seconds : -1;
}

// `date -u -d ... +%s` says the same.
TEST(der_times_are_seconds_since_1970)
{
    enum { UTC = COILI_DER_UTC_TIME, ANY = COILI_DER_GENERALIZED_TIME };
    CHECK_INT(time_of(UTC, "700101000000Z"), 0);
    CHECK_INT(time_of(UTC, "500101000000Z"), -631152000);
    CHECK_INT(time_of(UTC, "491231235959Z"), 2524607999);
    CHECK_INT(time_of(UTC, "000229120000Z"), 951825600);
    CHECK_INT(time_of(ANY, "20260301000000Z"), 1772323200);
    CHECK_INT(time_of(ANY, "21000301000000Z"), 4107542400);
    CHECK_INT(time_of(ANY, "99991231235959Z"), 253402300799);
    CHECK_INT(time_of(ANY, "00000101000000Z"), -62167219200);
    CHECK_INT(time_of(ANY, "16010101000000Z"), -11644473600);
    done();
}

TEST(der_refuses_times_of_other_forms)
{
    enum { UTC = COILI_DER_UTC_TIME, ANY = COILI_DER_GENERALIZED_TIME };
    static const char *const utc[] = {
        "7001010000Z",   "700101000000",  "700101000000+0100", "700101000000z",
        "701301000000Z", "700001000000Z", "700132000000Z",     "700230000000Z",
        "010229000000Z", "700101240000Z", "700101006000Z",     "700101000060Z",
        "70010100000aZ", "7-0101000000Z", "19700101000000Z",
    };
    static const char *const any[] = {
        "21000229000000Z", "19700101000000.5Z", "197001010000Z",
        "700101000000Z",   "19700101000000",
    };
    for (size_t i = 0; i < sizeof utc / sizeof *utc; i++)
        CHECK_INT(time_of(UTC, utc[i]), -1);
    for (size_t i = 0; i < sizeof any / sizeof *any; i++)
        CHECK_INT(time_of(ANY, any[i]), -1);
    CHECK_INT(time_of(COILI_DER_OCTET_STRING, "700101000000Z"), -1);
    done();
}
