// SPDX-License-Identifier: MIT
/*
 * wire.c: the encoding of TLS messages.
 *
 * A length that is believed before it is checked is the oldest fault of TLS
 * libraries (Heartbleed). Here a view is only ever cut from a view, so no length
 * in a message leads out of it; and a writer fills in each length from what was
 * really written.
 *
 * Invariant of a writer: the first min(len, size) bytes at `at` are what was
 * written; nothing behind `size` is touched.
 */
#include "wire.h"

#include "protocol.h"

bool coili_list_has(struct coili_bytes list, unsigned number)
{
    unsigned found;
    while (coili_take_u16(&list, &found))
        if (found == number)
            return true;
    return false;
}

int coili_extensions_check(struct coili_bytes list)
{
    unsigned char seen[65536 / 8];
    struct coili_bytes data;
    unsigned type;
    memset(seen, 0, sizeof seen);
    while (list.len > 0) {
        if (!coili_take_extension(&list, &type, &data))
            return COILI_ALERT_DECODE_ERROR;
        unsigned bit = 1u << (type & 7);
        if (seen[type >> 3] & bit)
            return COILI_ALERT_ILLEGAL_PARAMETER;
        seen[type >> 3] = (unsigned char)(seen[type >> 3] | bit);
    }
    return 0;
}

int coili_extension_alert(unsigned type)
{
    switch (type) {
    case COILI_EXT_SERVER_NAME:
    case COILI_EXT_SUPPORTED_GROUPS:
    case COILI_EXT_EC_POINT_FORMATS:
    case COILI_EXT_SIGNATURE_ALGORITHMS:
    case COILI_EXT_ALPN:
    case COILI_EXT_PADDING:
    case COILI_EXT_EXTENDED_MASTER_SECRET:
    case COILI_EXT_SESSION_TICKET:
    case COILI_EXT_PRE_SHARED_KEY:
    case COILI_EXT_SUPPORTED_VERSIONS:
    case COILI_EXT_COOKIE:
    case COILI_EXT_PSK_KEY_EXCHANGE_MODES:
    case COILI_EXT_SIGNATURE_ALGORITHMS_CERT:
    case COILI_EXT_KEY_SHARE:
    case COILI_EXT_RENEGOTIATION_INFO:
        return COILI_ALERT_ILLEGAL_PARAMETER;
    default:
        return COILI_ALERT_UNSUPPORTED_EXTENSION;
    }
}

/* ---- Writing ---------------------------------------------------------- */

/* Count `n` bytes more. Result: where they go; NULL: they do not fit. */
static unsigned char *advance(struct coili_writer *w, size_t n)
{
    size_t at = w->len;
    w->len += n;
    return at <= w->size && n <= w->size - at && n > 0 ? w->at + at : NULL;
}

void coili_put_raw(struct coili_writer *w, const void *bytes, size_t n)
{
    unsigned char *to = advance(w, n);
    if (to)
        memcpy(to, bytes, n);
}

void coili_put_zeros(struct coili_writer *w, size_t n)
{
    unsigned char *to = advance(w, n);
    if (to)
        memset(to, 0, n);
}

static void put_number(struct coili_writer *w, size_t bytes, uint32_t number)
{
    unsigned char *to = advance(w, bytes);
    if (!to)
        return;
    for (size_t i = bytes; i-- > 0; number >>= 8)
        to[i] = (unsigned char)number;
}

void coili_put_u8(struct coili_writer *w, unsigned number)
{
    put_number(w, 1, number);
}

void coili_put_u16(struct coili_writer *w, unsigned number)
{
    put_number(w, 2, number);
}

void coili_put_u32(struct coili_writer *w, uint32_t number)
{
    put_number(w, 4, number);
}

size_t coili_put_begin(struct coili_writer *w, size_t length_bytes)
{
    put_number(w, length_bytes, 0);
    return w->len;
}

/* The length is written over the zeros that coili_put_begin() has left. */
void coili_put_end(struct coili_writer *w, size_t length_bytes, size_t begin)
{
    size_t n = w->len - begin;
    if (n >> (8 * length_bytes))
        w->too_long = true;
    struct coili_writer length = { .at = w->at,
                                   .size = w->size,
                                   .len = begin - length_bytes };
    put_number(&length, length_bytes, (uint32_t)n);
}

void coili_put_vector(struct coili_writer *w, size_t length_bytes,
                      struct coili_bytes content)
{
    size_t begin = coili_put_begin(w, length_bytes);
    coili_put_bytes(w, content);
    coili_put_end(w, length_bytes, begin);
}

size_t coili_put_message(struct coili_writer *w, unsigned type)
{
    coili_put_u8(w, type);
    return coili_put_begin(w, 3);
}

void coili_put_message_end(struct coili_writer *w, size_t begin)
{
    coili_put_end(w, 3, begin);
}

size_t coili_put_extension(struct coili_writer *w, unsigned type)
{
    coili_put_u16(w, type);
    return coili_put_begin(w, 2);
}

void coili_put_extension_end(struct coili_writer *w, size_t begin)
{
    coili_put_end(w, 2, begin);
}

void coili_put_vector_extension(struct coili_writer *w, unsigned type,
                                size_t length_bytes, struct coili_bytes content)
{
    size_t begin = coili_put_extension(w, type);
    coili_put_vector(w, length_bytes, content);
    coili_put_extension_end(w, begin);
}
