// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_wire.c: numbers and vectors, cut short at every byte.
 */
#include "test.h"

#include "tls/protocol.h"
#include "tls/wire.h"

#include <stdlib.h>

/* A view of `len` bytes in a block of just that size, to be freed. */
static struct coili_bytes copy(const void *bytes, size_t len)
{
    unsigned char *block = malloc(len ? len : 1);
    CHECK(block);
    if (len)
        memcpy(block, bytes, len);
    return (struct coili_bytes){ block, len };
}

static void drop(struct coili_bytes view)
{
    free((void *)(uintptr_t)view.at);
}

TEST(wire_numbers_are_big_endian_and_whole)
{
    static const unsigned char bytes[] = { 1, 2,    3,    4,    5,
                                           6, 0xff, 0xfe, 0xfd, 0xfc };
    struct coili_bytes whole = copy(bytes, sizeof bytes), rest = whole;
    unsigned u8 = 0, u16 = 0;
    uint32_t u24 = 0, u32 = 0;
    CHECK(coili_take_u8(&rest, &u8));
    CHECK(coili_take_u16(&rest, &u16));
    CHECK(coili_take_number(&rest, 3, &u24));
    CHECK(coili_take_u32(&rest, &u32));
    CHECK_INT(u8, 1);
    CHECK_INT(u16, 0x0203);
    CHECK_INT(u24, 0x040506);
    CHECK_INT(u32, 0xfffefdfc);
    CHECK_INT(rest.len, 0);
    CHECK(!coili_take_u8(&rest, &u8));
    drop(whole);
}

// A caller goes on after a failed call, as with an optional part.
TEST(wire_a_call_that_fails_takes_nothing)
{
    struct coili_bytes whole = copy("\0\4abc", 5), rest = whole, part;
    uint32_t number = 77;
    CHECK(!coili_take_vector16(&rest, &part));
    CHECK(!coili_take_vector24(&rest, &part));
    CHECK(!coili_take_bytes(&rest, 6, &part));
    CHECK(!coili_take_only(&rest, 2, &part));
    CHECK_INT(rest.len, 5);
    CHECK(rest.at == whole.at);
    CHECK(coili_take_vector8(&rest, &part));
    CHECK_INT(part.len, 0);
    CHECK_INT(rest.len, 4);
    CHECK(!coili_take_number(&rest, 5, &number));
    CHECK_INT(number, 77);
    CHECK_INT(rest.len, 4);
    drop(whole);
}

TEST(wire_a_vector_cut_at_any_byte_is_none)
{
    static const unsigned char bytes[] = { 0, 0, 5, 'a', 'b', 'c', 'd', 'e' };
    for (size_t bytes_n = 1; bytes_n <= 3; bytes_n++) {
        const unsigned char *from = bytes + 3 - bytes_n;
        for (size_t len = 0; len <= bytes_n + 5; len++) {
            struct coili_bytes whole = copy(from, len), rest = whole, part;
            CHECK_INT(coili_take_vector(&rest, bytes_n, &part),
                      len == bytes_n + 5);
            CHECK_INT(rest.len, len == bytes_n + 5 ? 0 : len);
            drop(whole);
        }
    }
}

TEST(wire_only_means_that_nothing_stands_behind)
{
    struct coili_bytes whole = copy("\1ab", 3), part;
    CHECK(!coili_take_only(&whole, 1, &part));
    struct coili_bytes less = { whole.at, 2 };
    CHECK(coili_take_only(&less, 1, &part));
    CHECK_INT(part.len, 1);
    drop(whole);
}

TEST(wire_a_list_has_whole_numbers_and_at_least_one)
{
    static const struct {
        const char *bytes;
        size_t len;
        bool ok;
    } samples[] = {
        { "\2\3\4", 3, true },    { "\4\3\4\3\3", 5, true },
        { "\0", 1, false },       { "\1\3", 2, false },
        { "\3\3\4\3", 4, false }, { "\2\3\4\0", 4, false },
        { "\4\3\4\3", 4, false }, { "", 0, false },
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct coili_bytes whole = copy(samples[i].bytes, samples[i].len);
        struct coili_bytes rest = whole, list;
        CHECK_INT(coili_take_only_list(&rest, 1, &list), samples[i].ok);
        drop(whole);
    }
    struct coili_bytes list = { (const unsigned char *)"\3\4\3\3", 4 };
    CHECK(coili_list_has(list, 0x0304));
    CHECK(coili_list_has(list, 0x0303));
    CHECK(!coili_list_has(list, 0x0403)); /* across two of them */
    CHECK(!coili_list_has((struct coili_bytes){ NULL, 0 }, 0));
}

TEST(wire_extensions_are_whole_and_each_comes_once)
{
    static const unsigned char list[] = { 0, 1, 0, 2, 'a', 'b', 0xff, 0xff,
                                          0, 0, 0, 2, 0,   1,   'c' };
    for (size_t len = 0; len <= sizeof list; len++) {
        struct coili_bytes whole = copy(list, len);
        bool between = len == 0 || len == 6 || len == 10 || len == sizeof list;
        CHECK_INT(coili_extensions_check(whole),
                  between ? 0 : COILI_ALERT_DECODE_ERROR);
        drop(whole);
    }
    unsigned char twice[sizeof list];
    memcpy(twice, list, sizeof list);
    twice[11] = 1;
    CHECK_INT(
        coili_extensions_check((struct coili_bytes){ twice, sizeof twice }),
        COILI_ALERT_ILLEGAL_PARAMETER);
}

// Each of 16,000 types once, then one of them again: no list is too long.
TEST(wire_thousands_of_extensions_are_checked)
{
    enum { MANY = 16000 };
    unsigned char *list = calloc(MANY + 1, 4);
    CHECK(list);
    for (unsigned i = 0; i < MANY; i++) {
        list[4 * i] = (unsigned char)((i * 4) >> 8);
        list[4 * i + 1] = (unsigned char)(i * 4);
    }
    struct coili_bytes all = { list, 4 * MANY };
    CHECK_INT(coili_extensions_check(all), 0);
    memcpy(list + 4 * MANY, list + 4 * 9999, 4);
    all.len += 4;
    CHECK_INT(coili_extensions_check(all), COILI_ALERT_ILLEGAL_PARAMETER);
    free(list);
}

TEST(wire_a_known_extension_in_a_wrong_place_is_47_another_110)
{
    static const unsigned known[] = { 0,  10, 11, 13, 16, 21, 23,    35,
                                      41, 43, 44, 45, 50, 51, 0xff01 };
    size_t n = 0;
    for (unsigned type = 0; type < 65536; type++) {
        bool is_known = n < sizeof known / sizeof *known && known[n] == type;
        n += is_known;
        CHECK_INT(coili_extension_alert(type), is_known ? 47 : 110);
    }
    CHECK_INT(n, sizeof known / sizeof *known);
}

static void write_sample(struct coili_writer *w)
{
    size_t message = coili_put_message(w, COILI_TLS_FINISHED);
    coili_put_u8(w, 7);
    size_t outer = coili_put_begin(w, 2);
    coili_put_vector(w, 1,
                     (struct coili_bytes){ (const unsigned char *)"ab", 2 });
    size_t extension = coili_put_extension(w, 0xff01);
    coili_put_u32(w, 0x01020304);
    coili_put_extension_end(w, extension);
    coili_put_end(w, 2, outer);
    coili_put_zeros(w, 2);
    coili_put_message_end(w, message);
    coili_put_vector_extension(w, 5, 2, (struct coili_bytes){ NULL, 0 });
}

static const unsigned char sample[] = { 20,  0,    0, 16, 7, 0, 11, 2, 'a',
                                        'b', 0xff, 1, 0,  4, 1, 2,  3, 4,
                                        0,   0,    0, 5,  0, 2, 0,  0 };

TEST(wire_lengths_are_those_of_what_was_written)
{
    unsigned char memory[sizeof sample + 1];
    memset(memory, 0xaa, sizeof memory);
    struct coili_writer w = { .at = memory, .size = sizeof sample };
    write_sample(&w);
    CHECK(coili_writer_is_whole(&w));
    CHECK_INT(w.len, sizeof sample);
    CHECK_MEM(memory, sample, sizeof sample);
    CHECK_INT(memory[sizeof sample], 0xaa);
}

// Memory of every size that is too small: it is not overrun, and the need told.
TEST(wire_what_does_not_fit_is_counted)
{
    for (size_t size = 0; size < sizeof sample; size++) {
        unsigned char *memory = malloc(size ? size : 1);
        CHECK(memory);
        struct coili_writer w = { .at = size ? memory : NULL, .size = size };
        write_sample(&w);
        CHECK_INT(w.len, sizeof sample);
        CHECK(!coili_writer_is_whole(&w));
        free(memory);
    }
}

TEST(wire_a_vector_longer_than_its_length_can_say_is_not_whole)
{
    static unsigned char memory[70000];
    for (size_t n = 255; n <= 256; n++) {
        struct coili_writer w = { .at = memory, .size = sizeof memory };
        coili_put_vector(&w, 1, (struct coili_bytes){ memory + 1000, n });
        CHECK_INT(coili_writer_is_whole(&w), n == 255);
    }
    for (size_t n = 65535; n <= 65536; n++) {
        struct coili_writer w = { .at = memory, .size = sizeof memory };
        size_t begin = coili_put_begin(&w, 2);
        coili_put_zeros(&w, n);
        coili_put_end(&w, 2, begin);
        CHECK_INT(coili_writer_is_whole(&w), n == 65535);
    }
}
