// SPDX-License-Identifier: MIT
/*
 * pem.c: the blocks of a PEM text.
 *
 * A file of certificates is edited by hand, cut, joined, and copied through
 * mail. Whatever cannot be understood is refused with its line: a certificate
 * that is silently passed over is a chain that one server cannot verify, weeks
 * later. Three things that libraries got wrong are read here: the last line
 * without its end (BearSSL's reader never sees that END), lines that end in
 * CRLF, and a text behind the last block.
 *
 * Base64 is decoded without a table and without a branch on the characters,
 * because the block may be a private key.
 */
#include "pem.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static int refuse(struct coili_pem *pem, unsigned line, const char *fault)
{
    pem->line = line;
    pem->fault = fault;
    return -EINVAL;
}

/* One line, without its end and the white space before that. */
struct line {
    const char *at;
    size_t len;
};

static struct line take_line(const char **at, const char *end)
{
    const char *start = *at;
    const char *stop = memchr(start, '\n', (size_t)(end - start));
    *at = stop ? stop + 1 : end;
    size_t len = (size_t)((stop ? stop : end) - start);
    while (len > 0 && (start[len - 1] == '\r' || start[len - 1] == ' ' ||
                       start[len - 1] == '\t'))
        len--;
    return (struct line){ start, len };
}

/* "-----BEGIN CERTIFICATE-----" and `word` "-----BEGIN ": CERTIFICATE. */
static bool label_of(struct line line, const char *word, struct line *label)
{
    size_t n = strlen(word);
    if (line.len < n + 5 || memcmp(line.at, word, n) != 0 ||
        memcmp(line.at + line.len - 5, "-----", 5) != 0)
        return false;
    *label = (struct line){ line.at + n, line.len - n - 5 };
    return true;
}

static enum coili_pem_label known_label(struct line label)
{
    static const struct {
        const char *text;
        enum coili_pem_label label;
    } rows[] = {
        { "CERTIFICATE", COILI_PEM_CERTIFICATE },
        { "X509 CERTIFICATE", COILI_PEM_CERTIFICATE },
        { "TRUSTED CERTIFICATE", COILI_PEM_TRUSTED },
        { "PRIVATE KEY", COILI_PEM_PKCS8 },
        { "RSA PRIVATE KEY", COILI_PEM_PKCS1 },
        { "EC PRIVATE KEY", COILI_PEM_SEC1 },
        { "ENCRYPTED PRIVATE KEY", COILI_PEM_ENCRYPTED },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (label.len == strlen(rows[i].text) &&
            memcmp(label.at, rows[i].text, label.len) == 0)
            return rows[i].label;
    return COILI_PEM_OTHER;
}

/* The block whose BEGIN, with this label, was just read. */
static int read_block(struct coili_pem *pem, struct line label,
                      struct coili_pem_block *block)
{
    block->label = known_label(label);
    block->line = pem->line;
    block->at = pem->at;
    while (pem->at < pem->end) {
        const char *start = pem->at;
        struct line line = take_line(&pem->at, pem->end), other;
        pem->line++;
        if (label_of(line, "-----BEGIN ", &other))
            break;
        /* A key that is encrypted in the old way has header lines. */
        if (line.len > 10 && memcmp(line.at, "Proc-Type:", 10) == 0 &&
            memchr(line.at, 'E', line.len))
            block->label = COILI_PEM_ENCRYPTED;
        if (!label_of(line, "-----END ", &other))
            continue;
        if (other.len != label.len ||
            memcmp(other.at, label.at, label.len) != 0)
            return refuse(pem, pem->line, "END has another name than BEGIN");
        block->len = (size_t)(start - block->at);
        block->bytes = block->len / 4 * 3 + 3;
        return 1;
    }
    return refuse(pem, block->line, "BEGIN without END");
}

int coili_pem_next(struct coili_pem *pem, struct coili_pem_block *block)
{
    while (pem->at < pem->end) {
        struct line line = take_line(&pem->at, pem->end), label;
        pem->line++;
        if (label_of(line, "-----BEGIN ", &label))
            return read_block(pem, label, block);
        if (label_of(line, "-----END ", &label))
            return refuse(pem, pem->line, "END without BEGIN");
        if (line.len >= 10 && memcmp(line.at, "-----BEGIN", 10) == 0)
            return refuse(pem, pem->line, "a BEGIN line that is cut short");
    }
    return 0;
}

/*
 * All ones if first <= c <= last, else 0. Each difference is negative, and so
 * has its upper bits set, exactly if its comparison holds.
 */
static unsigned between(unsigned c, unsigned first, unsigned last)
{
    return 0 - (((first - 1 - c) & (c - last - 1)) >> 31);
}

/* The six bits of a character; above 63 if it is not one of base64. */
static unsigned bits_of(unsigned char character)
{
    unsigned c = character;
    unsigned upper = between(c, 'A', 'Z'), lower = between(c, 'a', 'z');
    unsigned digit = between(c, '0', '9');
    unsigned plus = between(c, '+', '+'), slash = between(c, '/', '/');
    return (upper & (c - 'A')) | (lower & (c - 'a' + 26)) |
           (digit & (c - '0' + 52)) | (plus & 62) | (slash & 63) |
           (~(upper | lower | digit | plus | slash) & 64);
}

enum { GROUP = 8 };

/* `byte` in each of the eight bytes. */
static uint64_t each(unsigned byte)
{
    return byte * UINT64_C(0x0101010101010101);
}

/* Bit 7 of each byte that is `least` or more. All bytes are below 128. */
static uint64_t at_least(uint64_t bytes, unsigned least)
{
    return ((bytes | each(128)) - each(least)) & each(128);
}

/* All ones in each byte that is between these two. */
static uint64_t are_between(uint64_t bytes, unsigned first, unsigned last)
{
    return (at_least(bytes, first) & ~at_least(bytes, last + 1)) / 128 * 255;
}

/*
 * Eight characters at once: a file of authorities has 200,000. No byte of the
 * sums below has a carry or a borrow, so the bytes stay apart.
 *
 * Result: 48 bits; *wrong is not 0 if one of the characters is not of base64
 */
static uint64_t bits_of_group(const char *at, uint64_t *wrong)
{
    uint64_t all = 0, bits = 0;
    for (int i = 0; i < GROUP; i++)
        all |= (uint64_t)(unsigned char)at[i] << 8 * i;
    uint64_t c = all & each(127);
    uint64_t upper = are_between(c, 'A', 'Z'), lower = are_between(c, 'a', 'z');
    uint64_t digit = are_between(c, '0', '9');
    uint64_t plus = are_between(c, '+', '+'), slash = are_between(c, '/', '/');
    *wrong |= (all & each(128)) | ~(upper | lower | digit | plus | slash);
    c = (c | each(128)) - (upper & each('A')) - (lower & each('a' - 26)) +
        (digit & each(52 - '0')) + (plus & each(62 - '+')) +
        (slash & each(63 - '/'));
    for (int i = 0; i < GROUP; i++)
        bits = bits << 6 | (c >> 8 * i & 63);
    return bits;
}

/* What is decoded of one block, over its lines. */
struct decoder {
    unsigned char *out;
    size_t len;
    unsigned bits;    /* of a group of four characters that is not whole */
    unsigned n;       /* characters of it */
    unsigned padding; /* '=' so far */
};

/* Result: false if there is something else than base64. */
static bool decode_line(struct decoder *d, struct line line)
{
    unsigned wrong = 0;
    uint64_t wrong_group = 0;
    size_t len = line.len, i = 0;
    while (len > 0 && line.at[len - 1] == '=')
        len--;
    if (len > 0 && d->padding > 0)
        return false;
    d->padding += (unsigned)(line.len - len);
    for (; d->n == 0 && len - i >= GROUP; i += GROUP) {
        uint64_t bits = bits_of_group(line.at + i, &wrong_group);
        for (int shift = 40; shift >= 0; shift -= 8)
            d->out[d->len++] = (unsigned char)(bits >> shift);
    }
    for (; i < len; i++) {
        unsigned bits = bits_of((unsigned char)line.at[i]);
        wrong |= bits;
        d->bits = d->bits << 6 | (bits & 63);
        if (++d->n < 4)
            continue;
        d->out[d->len] = (unsigned char)(d->bits >> 16);
        d->out[d->len + 1] = (unsigned char)(d->bits >> 8);
        d->out[d->len + 2] = (unsigned char)d->bits;
        d->len += 3;
        d->n = 0;
    }
    return wrong < 64 && wrong_group == 0 && d->padding <= 2;
}

/* The last group: 2 characters and "==", or 3 and "=". Bits beyond are 0. */
static bool decode_end(struct decoder *d)
{
    if (d->n == 0)
        return d->padding == 0;
    if (d->n == 1 || d->n + d->padding != 4)
        return false;
    unsigned beyond = d->n == 2 ? d->bits & 15 : d->bits & 3;
    d->bits <<= 6 * d->padding;
    d->out[d->len++] = (unsigned char)(d->bits >> 16);
    if (d->n == 3)
        d->out[d->len++] = (unsigned char)(d->bits >> 8);
    return beyond == 0;
}

int coili_pem_decode(struct coili_pem *pem, const struct coili_pem_block *block,
                     unsigned char *out, struct coili_der *der)
{
    struct decoder d = { .out = out };
    const char *at = block->at, *end = block->at + block->len;
    unsigned line = block->line;
    while (at < end) {
        line++;
        if (!decode_line(&d, take_line(&at, end)))
            return refuse(pem, line, "not base64");
    }
    if (!decode_end(&d))
        return refuse(pem, line, "the base64 is cut short");
    if (d.len == 0)
        return refuse(pem, block->line, "an empty block");
    *der = (struct coili_der){ out, d.len };
    return 0;
}
