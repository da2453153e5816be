// SPDX-License-Identifier: MIT
#ifndef HEX_H
#define HEX_H

/*
 * hex.h: bytes as RFCs print them.
 */
#include "test.h"

struct hex {
    unsigned char at[1024];
    size_t len;
};

static inline int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0'
                                : (c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1);
}

/* Two digits for each byte; spaces are passed over; {87} is 87 zeros. */
static inline struct hex hex(const char *text)
{
    struct hex h = { .len = 0 };
    while (*text) {
        size_t zeros = 0;
        if (*text == ' ') {
            text++;
        } else if (*text == '{') {
            for (text++; *text != '}'; text++)
                zeros = 10 * zeros + (size_t)hex_digit(*text);
            text++;
            h.len += zeros;
            CHECK(h.len <= sizeof h.at);
        } else {
            int high = hex_digit(text[0]), low = hex_digit(text[1]);
            CHECK(high >= 0 && low >= 0 && h.len < sizeof h.at);
            h.at[h.len++] = (unsigned char)(high << 4 | low);
            text += 2;
        }
    }
    return h;
}

/* `len` bytes are those of a text. */
#define CHECK_HEX(actual, text) \
    do { \
        struct hex expected_ = hex(text); \
        CHECK_MEM((actual), expected_.at, expected_.len); \
    } while (0)

/* Bytes without a pattern, the same in each run. */
static inline uint64_t hex_random(uint64_t *state)
{
    uint64_t x = (*state += 0x9e3779b97f4a7c15U);
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
    x = (x ^ x >> 27) * 0x94d049bb133111ebU;
    return x ^ x >> 31;
}

static inline void hex_fill(void *bytes, size_t len, uint64_t *state)
{
    unsigned char *p = bytes;
    for (size_t i = 0; i < len; i++)
        p[i] = (unsigned char)hex_random(state);
}

#endif
