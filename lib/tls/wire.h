// SPDX-License-Identifier: MIT
#ifndef COILI_TLS_WIRE_H
#define COILI_TLS_WIRE_H

/*
 * wire.h: the encoding of TLS messages: big-endian numbers, and vectors with
 * their length in front (RFC 8446, section 3).
 *
 * A `struct coili_bytes` is a view of bytes, and the cursor over them: reading
 * takes bytes from its front. Nothing is copied. A call that fails takes
 * nothing; a view that was taken lies within the view it was taken from.
 *
 *     struct coili_bytes list;
 *     unsigned version;
 *     if (!coili_take_u16(&body, &version) || !coili_take_vector16(&body, &list))
 *         ...malformed...
 *
 * A `struct coili_writer` appends to memory of the caller, and counts what does
 * not fit any more. So the same calls tell how much memory is needed:
 *
 *     struct coili_writer w = { .at = NULL };
 *     coili_tls_write_finished(&w, mac);
 *     ...w.len is the number of bytes...
 *
 * Messages may be written one behind the other. Before the bytes are used,
 * coili_writer_is_whole() must be asked once.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct coili_bytes {
    const unsigned char *at;
    size_t len;
};

/* ---- Reading ---------------------------------------------------------- */

/* Take `n` bytes. Result: false: there are not so many. */
static inline bool coili_take_bytes(struct coili_bytes *from, size_t n,
                                    struct coili_bytes *part)
{
    if (n > from->len)
        return false;
    *part = (struct coili_bytes){ from->at, n };
    from->len -= n;
    if (n)
        from->at += n;
    return true;
}

/* Take a number of 1 to 4 bytes. */
static inline bool coili_take_number(struct coili_bytes *from, size_t bytes,
                                     uint32_t *number)
{
    struct coili_bytes part;
    if (!coili_take_bytes(from, bytes, &part))
        return false;
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | part.at[i];
    *number = value;
    return true;
}

static inline bool coili_take_u8(struct coili_bytes *from, unsigned *number)
{
    uint32_t value;
    if (!coili_take_number(from, 1, &value))
        return false;
    *number = value;
    return true;
}

static inline bool coili_take_u16(struct coili_bytes *from, unsigned *number)
{
    uint32_t value;
    if (!coili_take_number(from, 2, &value))
        return false;
    *number = value;
    return true;
}

static inline bool coili_take_u32(struct coili_bytes *from, uint32_t *number)
{
    return coili_take_number(from, 4, number);
}

/* Take a vector: its length of 1 to 3 bytes, and as many bytes as that says. */
static inline bool coili_take_vector(struct coili_bytes *from,
                                     size_t length_bytes,
                                     struct coili_bytes *content)
{
    struct coili_bytes rest = *from;
    uint32_t len;
    if (!coili_take_number(&rest, length_bytes, &len) ||
        !coili_take_bytes(&rest, len, content))
        return false;
    *from = rest;
    return true;
}

static inline bool coili_take_vector8(struct coili_bytes *from,
                                      struct coili_bytes *content)
{
    return coili_take_vector(from, 1, content);
}

static inline bool coili_take_vector16(struct coili_bytes *from,
                                       struct coili_bytes *content)
{
    return coili_take_vector(from, 2, content);
}

static inline bool coili_take_vector24(struct coili_bytes *from,
                                       struct coili_bytes *content)
{
    return coili_take_vector(from, 3, content);
}

/* True if the view has the `len` bytes at `bytes`. Not in constant time. */
static inline bool coili_bytes_are(struct coili_bytes view, const void *bytes,
                                   size_t len)
{
    return view.len == len && (len == 0 || memcmp(view.at, bytes, len) == 0);
}

static inline bool coili_bytes_equal(struct coili_bytes a, struct coili_bytes b)
{
    return coili_bytes_are(a, b.at, b.len);
}

/*
 * True if `number` is in a list of numbers of 16 bits: suites, groups, schemes,
 * versions. The length of the list is even.
 */
bool coili_list_has(struct coili_bytes list, unsigned number);

/* Take an extension off the front of a list. Result: false: cut, or no more. */
static inline bool coili_take_extension(struct coili_bytes *list,
                                        unsigned *type,
                                        struct coili_bytes *data)
{
    struct coili_bytes rest = *list;
    if (!coili_take_u16(&rest, type) || !coili_take_vector16(&rest, data))
        return false;
    *list = rest;
    return true;
}

/*
 * Check a list of extensions before it is read: it has no rest that is none,
 * and no type comes twice. Linear, also for thousands of extensions: a bit for
 * each type, 8 KB on the stack.
 *
 * Result    0; 50: it is cut short; 47: a type comes twice
 */
int coili_extensions_check(struct coili_bytes list);

/*
 * The alert for an extension that may not stand where it stands: 47 for one that
 * we know, from our own hellos, as none of this place; 110 for one that we did
 * not ask for.
 */
int coili_extension_alert(unsigned type);

/* Take a vector that `from` consists of. Result: false: cut, or bytes behind. */
static inline bool coili_take_only(struct coili_bytes *from,
                                   size_t length_bytes,
                                   struct coili_bytes *content)
{
    struct coili_bytes rest = *from;
    if (!coili_take_vector(&rest, length_bytes, content) || rest.len > 0)
        return false;
    *from = rest;
    return true;
}

/* The same for a list of numbers of 16 bits, which has at least one. */
static inline bool coili_take_only_list(struct coili_bytes *from,
                                        size_t length_bytes,
                                        struct coili_bytes *list)
{
    struct coili_bytes rest = *from, content;
    if (!coili_take_only(&rest, length_bytes, &content) || content.len == 0 ||
        content.len % 2)
        return false;
    *from = rest;
    *list = content;
    return true;
}

/* ---- Writing ---------------------------------------------------------- */

/* At the beginning only `at` and `size` are set: { .at = memory, .size = n }. */
struct coili_writer {
    unsigned char *at;
    size_t size;
    size_t len;    /* bytes written, those that did not fit included */
    bool too_long; /* a vector has more bytes than its length can say */
};

/* True if all that was written is there, and may be sent. */
static inline bool coili_writer_is_whole(const struct coili_writer *w)
{
    return !w->too_long && w->len <= w->size;
}

void coili_put_raw(struct coili_writer *w, const void *bytes, size_t n);
void coili_put_zeros(struct coili_writer *w, size_t n);
void coili_put_u8(struct coili_writer *w, unsigned number);
void coili_put_u16(struct coili_writer *w, unsigned number);
void coili_put_u32(struct coili_writer *w, uint32_t number);

static inline void coili_put_bytes(struct coili_writer *w,
                                   struct coili_bytes bytes)
{
    coili_put_raw(w, bytes.at, bytes.len);
}

/* A vector whose length has 1 to 3 bytes. */
void coili_put_vector(struct coili_writer *w, size_t length_bytes,
                      struct coili_bytes content);

/*
 * A vector whose content is written between the two calls. They nest.
 *
 *     size_t list = coili_put_begin(w, 2);
 *     coili_put_u16(w, ...);
 *     coili_put_end(w, 2, list);
 */
size_t coili_put_begin(struct coili_writer *w, size_t length_bytes);
void coili_put_end(struct coili_writer *w, size_t length_bytes, size_t begin);

/* The same for a handshake message, and for one extension of a list. */
size_t coili_put_message(struct coili_writer *w, unsigned type);
void coili_put_message_end(struct coili_writer *w, size_t begin);
size_t coili_put_extension(struct coili_writer *w, unsigned type);
void coili_put_extension_end(struct coili_writer *w, size_t begin);

/* An extension that is one vector, with a length of 1 or 2 bytes. */
void coili_put_vector_extension(struct coili_writer *w, unsigned type,
                                size_t length_bytes,
                                struct coili_bytes content);

#endif
