// SPDX-License-Identifier: MIT
#ifndef COILI_DER_H
#define COILI_DER_H

/*
 * der.h: reading DER, strictly.
 *
 * A `struct coili_der` is a view of bytes, and the cursor over them: reading
 * takes bytes from its front. Nothing is copied, and nothing is allocated.
 *
 *     struct coili_der sequence, version;
 *     if (!coili_der_take(&bytes, COILI_DER_SEQUENCE, &sequence) ||
 *         !coili_der_take(&sequence, COILI_DER_INTEGER, &version))
 *         ...malformed...
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct coili_der {
    const unsigned char *at;
    size_t len;
};

/* The tags that coil reads, as they stand in the first byte of an element. */
enum {
    COILI_DER_BOOLEAN = 0x01,
    COILI_DER_INTEGER = 0x02,
    COILI_DER_BIT_STRING = 0x03,
    COILI_DER_OCTET_STRING = 0x04,
    COILI_DER_NULL = 0x05,
    COILI_DER_OID = 0x06,
    COILI_DER_UTC_TIME = 0x17,
    COILI_DER_GENERALIZED_TIME = 0x18,
    COILI_DER_SEQUENCE = 0x30,
    COILI_DER_SET = 0x31
};

/* The tag [n] of a field that is, or is not, made of other elements. */
#define COILI_DER_CONTEXT(n) (0x80u | (n))
#define COILI_DER_CONTEXT_OF(n) (0xa0u | (n))

/* Lengths that are not the shortest form, and those above this, are refused. */
#define COILI_DER_BYTES_MAX 0xffffffu

/* The tag of the next element; 0 at the end. */
static inline unsigned coili_der_peek(const struct coili_der *from)
{
    return from->len ? from->at[0] : 0;
}

/*
 * Take the next element, which must have this tag. `value` becomes the view of
 * its content, `whole`, if it is not NULL, that of the element with its head.
 *
 * Result    false: another tag, cut short, or not DER; nothing was taken
 */
bool coili_der_take(struct coili_der *from, unsigned tag,
                    struct coili_der *value);
bool coili_der_take_whole(struct coili_der *from, unsigned tag,
                          struct coili_der *value, struct coili_der *whole);

/* The next element, whatever it is. Tags above 30 are refused. */
bool coili_der_take_any(struct coili_der *from, unsigned *tag,
                        struct coili_der *value);

/*
 * The next element if it has this tag. An element of another tag, or the end,
 * is no fault: `value` is then empty with at == NULL.
 *
 * Result    false: the element has the tag and is not DER
 */
bool coili_der_take_optional(struct coili_der *from, unsigned tag,
                             struct coili_der *value);

/*
 * An INTEGER that is not negative, as its bytes without leading zeros: the
 * number 0 has none. coili_der_take_small() reads one of up to 31 bits.
 */
bool coili_der_take_unsigned(struct coili_der *from, struct coili_der *bytes);
bool coili_der_take_small(struct coili_der *from, unsigned *number);

/* TRUE is FF and FALSE is 00: all else is BER. */
bool coili_der_take_boolean(struct coili_der *from, bool *value);

/* A BIT STRING of whole bytes: the count of unused bits is 0. */
bool coili_der_take_bytes(struct coili_der *from, struct coili_der *bytes);

/*
 * A UTCTime or GeneralizedTime as RFC 5280 allows it, with seconds and "Z":
 * seconds since 1970.
 */
bool coili_der_take_time(struct coili_der *from, int64_t *seconds);

bool coili_der_equal(struct coili_der a, struct coili_der b);

/* True if the view has the `len` bytes at `bytes`. */
bool coili_der_is(struct coili_der view, const void *bytes, size_t len);

#endif
