// SPDX-License-Identifier: MIT
#ifndef COILI_HTTP_MESSAGE_H
#define COILI_HTTP_MESSAGE_H

/*
 * message.h: HTTP/1 as bytes. No descriptor, no memory, no loop.
 *
 * A head is read in place. The same call is made again whenever the buffer
 * has grown, and goes on where it stopped:
 *
 *     struct coili_http_field fields[128];
 *     struct coili_http_head head = { .fields = fields };
 *     int n;
 *
 *     while ((n = coili_http_response_parse(&head, NULL, COILI_HTTP_TO_OTHER,
 *                                           buf, len)) == 0)
 *         ...append to buf...
 *
 * n > 0 is the length of the head; the body starts at buf + n. n < 0 is an
 * error, and head.fault says what was wrong. The body is then read piece by
 * piece, from whatever bytes there are:
 *
 *     struct coili_http_body body;
 *     struct coili_http_piece piece;
 *
 *     coili_http_body_start(&body, &head);
 *     do {
 *         n = coili_http_body_next(&body, NULL, at, end - at, &piece);
 *         if (n == COILI_HTTP_DATA)
 *             ...use piece.data, piece.len...
 *         at += piece.taken;
 *     } while (n == COILI_HTTP_DATA);
 *
 * A head remembers offsets, not pointers: it may be read from a buffer that
 * moves, and survives being moved itself. See coili_http_head.bytes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * What was wrong, and the words for it. The number travels in the detail of
 * COIL_EPROTOCOL and COIL_ELIMIT. New ones go to the end.
 */
#define COILI_HTTP_FAULTS(X) \
    X(NONE, "nothing is wrong") \
    X(NOT_HTTP, "the answer does not start with HTTP/") \
    X(VERSION, "the version is neither HTTP/1.0 nor HTTP/1.1") \
    X(STATUS, "the status is not a number from 100 to 999") \
    X(METHOD, "the method is not a token") \
    X(TARGET, "the request target is malformed") \
    X(BARE_CR, "a CR without LF") \
    X(BARE_LF, "a LF without CR") \
    X(CONTROL, "a control character") \
    X(FOLDED, "a field line that starts with white space") \
    X(NAME, "a field name that is not a token") \
    X(NAME_SPACE, "white space between a field name and its colon") \
    X(NO_COLON, "a field line without a colon") \
    X(LENGTH, "Content-Length is not a plain number") \
    X(LENGTH_OVERFLOW, "Content-Length is too large a number") \
    X(LENGTH_TWICE, "Content-Length is given twice") \
    X(CODING, "Transfer-Encoding is not just chunked") \
    X(CODING_TWICE, "Transfer-Encoding is given twice") \
    X(CODING_OLD, "Transfer-Encoding in an HTTP/1.0 message") \
    X(CODING_LENGTH, "both Transfer-Encoding and Content-Length") \
    X(HOST, "Host is malformed") \
    X(HOST_TWICE, "Host is given twice") \
    X(HOST_MISSING, "Host is missing") \
    X(LINE_LONG, "a line is longer than the limit") \
    X(HEAD_LARGE, "the head is larger than the limit") \
    X(FIELDS_MANY, "there are more fields than the limit") \
    X(CHUNK_SIZE, "a chunk size that is not a plain hexadecimal number") \
    X(CHUNK_OVERFLOW, "a chunk size that is too large a number") \
    X(CHUNK_LINE_LONG, "a chunk size line is longer than the limit") \
    X(CHUNK_NOISE, "chunk extensions outweigh the data") \
    X(CHUNK_END, "chunk data that does not end with CR LF") \
    X(TRAILERS_LARGE, "the trailers are larger than the limit") \
    X(TRUNCATED, "the connection ended before the message") \
    X(FIELD_RESERVED, \
      "Host, Content-Length or Transfer-Encoding among the extra fields") \
    X(CONNECT_BODY, "a CONNECT request with a body") \
    X(UPGRADE, "a change of protocol that was not asked for") \
    X(INTERIM_MANY, "there are more interim answers than the limit") \
    X(TUNNEL, "CONNECT is for proxies")

enum coili_http_fault {
#define COILI_HTTP_FAULT(name, words) COILI_HTTP_FAULT_##name,
    COILI_HTTP_FAULTS(COILI_HTTP_FAULT)
#undef COILI_HTTP_FAULT
    COILI_HTTP_FAULT_COUNT
};

/* Words for a fault, to stand after "HTTP: "; "" for what is none. Static. */
const char *coili_http_fault_text(int fault);

/*
 * How much a peer may send. A pointer to limits may be NULL where one is
 * asked for: then these defaults hold. They must not change in mid-message.
 */
struct coili_http_limits {
    uint32_t head;        /* 65536: a head, all lines and their ends; at most
                             INT_MAX */
    uint32_t trailers;    /* 8192: the fields after the last chunk */
    uint16_t line;        /* 8190: one line of a head, its CR LF not counted */
    uint16_t chunk_line;  /* 1024: all between the data of two chunks */
    uint16_t fields;      /* 128: fields of a head; its array has that size */
};

extern const struct coili_http_limits coili_http_limits_default;

/* Bytes lent to the writer, or viewed in the parser's buffer. */
struct coili_http_text {
    const char *at;
    size_t len;
};

static inline struct coili_http_text coili_http_text(const char *string)
{
    return (struct coili_http_text){ string, strlen(string) };
}

/* --- Heads ---------------------------------------------------------------*/

/* Where a field stands, from the head's first byte; white space trimmed. */
struct coili_http_field {
    uint32_t name;
    uint32_t value;
    uint16_t name_len;
    uint16_t value_len;
};

/* How the end of a body is found. */
enum coili_http_body_kind {
    COILI_HTTP_BODY_NONE,
    COILI_HTTP_BODY_LENGTH,
    COILI_HTTP_BODY_CHUNKED,
    COILI_HTTP_BODY_CLOSE  /* lasts until the peer closes */
};

/*
 * A parsed head, and where its parser stands. Start it with zeros and
 * `.fields`. What it says holds once the parser has returned its length.
 */
struct coili_http_head {
    struct coili_http_field *fields;  /* yours, limits->fields of them; when
                           you move them between two calls, one that has been
                           begun, fields[count], must move too */
    const char *bytes;  /* the head's first byte, as of the last call; after
                           you moved the bytes, set it to their new place */
    int64_t length;     /* Content-Length, also of a HEAD; -1 without one */
    uint32_t target;    /* in requests; where the target starts */
    uint16_t target_len;
    uint16_t method_len;  /* in requests; the method starts at 0 */
    uint16_t reason_len;  /* in responses; may be 0 */
    uint16_t status;      /* 100 to 999; 0 in requests */
    uint16_t count;       /* of fields */
    uint8_t minor;        /* HTTP/1.minor: 0 or 1 */
    uint8_t body;         /* enum coili_http_body_kind */
    uint8_t fault;        /* enum coili_http_fault, after an error */
    bool keep_alive;      /* another message may follow the body */
    bool upgrade;         /* responses: what follows the head is not HTTP;
                             requests: that is what the client asks for */

    /* Private: 10 bytes of state. */
    uint8_t phase;
    uint8_t seen;
    uint32_t line;  /* where the current line starts */
    uint32_t at;    /* the first byte that has not been looked at */
};

/* What the request was; the answers to HEAD and CONNECT have no body. */
enum coili_http_to {
    COILI_HTTP_TO_OTHER,
    COILI_HTTP_TO_HEAD,
    COILI_HTTP_TO_CONNECT
};

/*
 * Read the head of a response from the first `len` bytes of a message. Call
 * again with the same bytes and more; they may have moved. Each byte is looked
 * at once, and the answer is the same however the bytes were cut.
 *
 * `keep_alive` is the verdict of RFC 9112 9.3: HTTP/1.1 stays open, HTTP/1.0
 * only with keep-alive, `close` anywhere wins. It is false with a body that
 * lasts until close and after an upgrade.
 *
 * Strict: see message.c for what is refused, and why.
 *
 * Result    the length of the head; 0: more bytes are needed
 * Errors    COIL_EPROTOCOL, COIL_ELIMIT; head->fault says which, and calling
 *           again says the same
 * Lifetime  views `bytes` through head->bytes
 * Source    RFC 9112 4, 5, 6.3
 */
int coili_http_response_parse(struct coili_http_head *head,
                              const struct coili_http_limits *limits,
                              enum coili_http_to to, const char *bytes,
                              size_t len);

/*
 * Read the head of a request; otherwise as above. HTTP/1.1 must have one Host,
 * HTTP/1.0 may. Methods are any token, and case matters in them.
 *
 * Source    RFC 9112 3
 */
int coili_http_request_parse(struct coili_http_head *head,
                             const struct coili_http_limits *limits,
                             const char *bytes, size_t len);

/*
 * True for an interim response (100, 102, 103...): the head of the same
 * request's next response follows it. 101 is not one: it is the last.
 */
static inline bool coili_http_interim(const struct coili_http_head *head)
{
    return head->status >= 100 && head->status < 200 && head->status != 101;
}

/* Parts of a head. They view head->bytes. */
static inline struct coili_http_text
coili_http_name(const struct coili_http_head *head,
                const struct coili_http_field *field)
{
    return (struct coili_http_text){ head->bytes + field->name,
                                     field->name_len };
}

static inline struct coili_http_text
coili_http_value(const struct coili_http_head *head,
                 const struct coili_http_field *field)
{
    return (struct coili_http_text){ head->bytes + field->value,
                                     field->value_len };
}

static inline struct coili_http_text
coili_http_method(const struct coili_http_head *head)
{
    return (struct coili_http_text){ head->bytes, head->method_len };
}

static inline struct coili_http_text
coili_http_target(const struct coili_http_head *head)
{
    return (struct coili_http_text){ head->bytes + head->target,
                                     head->target_len };
}

/* "Not Found" of "HTTP/1.1 404 Not Found". */
static inline struct coili_http_text
coili_http_reason(const struct coili_http_head *head)
{
    return (struct coili_http_text){ head->bytes + sizeof "HTTP/1.1 404",
                                     head->reason_len };
}

/* --- Fields --------------------------------------------------------------*/

/* True if both are the same but for the case of ASCII letters. */
bool coili_http_text_is(struct coili_http_text text, const char *string);

/*
 * The first field of that name after `after`, or of all if `after` is NULL.
 *
 *     for (f = NULL; (f = coili_http_find(&head, "Set-Cookie", f));)
 *
 * Result    the field, NULL without one
 */
const struct coili_http_field *
coili_http_find(const struct coili_http_head *head, const char *name,
                const struct coili_http_field *after);

/*
 * True if the comma-separated `list` has `token` in it: "close" in
 * "keep-alive, Close". Case and white space around items do not matter.
 *
 * Source    RFC 9110 5.6.1
 */
bool coili_http_list_has(struct coili_http_text list, const char *token);

/* The same over all fields of that name. */
bool coili_http_field_has(const struct coili_http_head *head, const char *name,
                          const char *token);

/* --- Bodies --------------------------------------------------------------*/

/* What is left to read of a body. 24 bytes, private. */
struct coili_http_body {
    uint64_t left;   /* of the body, or of the chunk */
    uint32_t line;   /* bytes of this chunk line, or of the trailers, so far */
    uint32_t noise;  /* bytes of framing that no data has paid for */
    uint8_t phase;
    uint8_t fault;   /* enum coili_http_fault, after an error */
};

enum {
    COILI_HTTP_MORE = 0,  /* everything taken, nothing for you in it */
    COILI_HTTP_DATA = 1,  /* `data` and `len` are payload */
    COILI_HTTP_END = 2    /* the body is over; what was not taken follows it */
};

struct coili_http_piece {
    size_t taken;  /* input bytes that are done with, `data` included */
    const char *data;
    size_t len;
};

/* Make ready to read the body of `head`, which need not live longer. */
void coili_http_body_start(struct coili_http_body *body,
                           const struct coili_http_head *head);

/*
 * Read on: pass the bytes that follow those taken so far, as many as there
 * are. Framing is taken off, chunk extensions and trailers are checked and
 * dropped. The payload is the same however the bytes were cut.
 *
 * Result    COILI_HTTP_DATA, with piece->len > 0; COILI_HTTP_END, for ever
 *           after too; COILI_HTTP_MORE
 * Errors    COIL_EPROTOCOL, COIL_ELIMIT; body->fault says which, for ever
 *           after too. What came before may have been given away already.
 * Lifetime  piece->data views `bytes`
 * Source    RFC 9112 6, 7.1
 */
int coili_http_body_next(struct coili_http_body *body,
                         const struct coili_http_limits *limits,
                         const char *bytes, size_t len,
                         struct coili_http_piece *piece);

/*
 * True as soon as the last byte of the body was taken. A body that lasts until
 * close never is.
 */
bool coili_http_body_done(const struct coili_http_body *body);

/*
 * The peer has closed: is that the end of the body?
 *
 * Result    0 if it is
 * Errors    COIL_EINCOMPLETE if bytes are missing; the error of a broken body
 */
int coili_http_body_closed(struct coili_http_body *body);

/* --- The writer ----------------------------------------------------------*/

struct coili_http_pair {
    struct coili_http_text name, value;
};

/*
 * A request to write. Zeros give a request without a body, in HTTP/1.1.
 * Everything is lent for the time of the call.
 */
struct coili_http_request {
    struct coili_http_text method;
    struct coili_http_text target;  /* "/path?query"; one that starts with '?'
                                       gets its '/' put in front */
    struct coili_http_text host;    /* the value of Host: "name:8080" */
    const struct coili_http_pair *fields;  /* written in this order */
    size_t count;
    int64_t length;  /* of the body, with COILI_HTTP_BODY_LENGTH */
    uint8_t body;    /* NONE, LENGTH or CHUNKED */
    bool old;        /* say HTTP/1.0; without chunked then */
    uint8_t fault;   /* enum coili_http_fault, after an error */
};

/*
 * Write a request's head: request line, Host, your fields, and the field that
 * frames the body. Nothing that could be taken for a second line or a second
 * request gets through: every byte is checked, and Host, Content-Length and
 * Transfer-Encoding are refused among the fields, because they are said above.
 *
 * Result    the length of the head. It was written if that is at most `len`;
 *           ask with (NULL, 0) first
 * Errors    -EINVAL; request->fault says which
 * Lifetime  copies
 * Source    RFC 9112 3, 6
 */
int coili_http_request_write(struct coili_http_request *request, char *buf,
                             size_t len);

/*
 * Write the line that stands before `size` bytes of a chunked body. After the
 * bytes comes CR LF, after the last chunk "0" CR LF CR LF.
 *
 * Result    the length of the line
 */
#define COILI_HTTP_CHUNK_LINE_MAX 18
size_t coili_http_chunk_line_write(char buf[COILI_HTTP_CHUNK_LINE_MAX],
                                   uint64_t size);

#endif
