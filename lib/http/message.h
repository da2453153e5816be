// SPDX-License-Identifier: MIT
#ifndef COILI_HTTP_MESSAGE_H
#define COILI_HTTP_MESSAGE_H

/*
 * message.h: HTTP/1 as bytes, without descriptors, allocations and a loop.
 *
 * A head is parsed in the caller's buffer. When the buffer has grown, the same
 * call is made again and goes on where it stopped:
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
 * error, and head.fault tells which. The body is then read piece by piece, from
 * the bytes that are there:
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
 * A head stores offsets, not pointers: the buffer may move between two calls,
 * and so may the head. See coili_http_head.bytes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Faults of a message and their texts. The number of a fault is the code in the
 * detail of COIL_EPROTOCOL and COIL_ELIMIT, so new ones go to the end.
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
    X(INTERIM_LARGE, "the interim answers are larger than a head may be") \
    X(TUNNEL, "CONNECT is for proxies") \
    X(LOCATIONS, "two Location fields that differ") \
    X(TLS, "the server speaks TLS here: try https://")

enum coili_http_fault {
#define COILI_HTTP_FAULT(name, words) COILI_HTTP_FAULT_##name,
    COILI_HTTP_FAULTS(COILI_HTTP_FAULT)
#undef COILI_HTTP_FAULT
    COILI_HTTP_FAULT_COUNT
};

/* The text of a fault, a static string; "" for a number that is no fault. */
const char *coili_http_fault_text(int fault);

/*
 * How much a peer may send, with the defaults, which also hold where a pointer
 * to limits is NULL. The limits must not change within a message.
 */
struct coili_http_limits {
    uint32_t head;        /* 65536: bytes of a head, at most INT_MAX */
    uint32_t trailers;    /* 8192: bytes of the fields after the last chunk */
    uint16_t line;        /* 8190: bytes of a line of a head, without CR LF */
    uint16_t chunk_line;  /* 1024: bytes between the data of two chunks */
    uint16_t fields;      /* 128: fields of a head, and size of its array */
    bool lenient;         /* accept more in responses: see message.c */
};

extern const struct coili_http_limits coili_http_limits_default;

/* Some bytes: lent to the writer by its caller, or a view of the parser's. */
struct coili_http_text {
    const char *at;
    size_t len;
};

static inline struct coili_http_text coili_http_text(const char *string)
{
    return (struct coili_http_text){ string, strlen(string) };
}

/* --- Heads ---------------------------------------------------------------*/

/*
 * A field: offsets from the first byte of the head, without white space around
 * the value. A folded value (limits->lenient) has its line ends within it.
 */
struct coili_http_field {
    uint32_t name;
    uint32_t value;
    uint16_t name_len;
    uint16_t value_len;
};

#define COILI_HTTP_KEEP_UNTOLD UINT32_MAX

/* How the end of a body is found. */
enum coili_http_body_kind {
    COILI_HTTP_BODY_NONE,
    COILI_HTTP_BODY_LENGTH,
    COILI_HTTP_BODY_CHUNKED,
    COILI_HTTP_BODY_CLOSE  /* lasts until the peer closes */
};

/*
 * A parsed head, and the state of its parser. It starts as zeros and `.fields`.
 * Its fields are valid when the parser has returned the length of the head.
 */
struct coili_http_head {
    struct coili_http_field *fields;  /* lent by the caller, limits->fields of
                           them. They may be moved between two calls, together
                           with fields[count], which may have begun */
    const char *bytes;  /* the first byte of the head at the last call; to be
                           set by the caller if the bytes are moved after it */
    int64_t length;     /* Content-Length, also for HEAD; -1 if there is none */
    uint32_t keep_seconds; /* Keep-Alive: timeout=5; COILI_HTTP_KEEP_UNTOLD
                              without */
    uint32_t target;    /* requests: the offset of the target */
    uint16_t target_len;
    uint16_t method_len;  /* requests: the method is at offset 0 */
    uint16_t reason_len;  /* responses: may be 0 */
    uint16_t status;      /* 100 to 999; 0 in requests */
    uint16_t count;       /* of fields */
    uint8_t minor;        /* HTTP/1.minor: 0 or 1 */
    uint8_t body;         /* enum coili_http_body_kind */
    uint8_t fault;        /* enum coili_http_fault, after an error */
    bool keep_alive;      /* another message may follow the body */
    bool upgrade;         /* responses: the bytes after the head are not HTTP;
                             requests: the client asks for that */

    /* Private: 11 bytes of state. */
    bool lenient;
    uint8_t phase;
    uint8_t seen;
    uint32_t line;  /* the offset of the current line */
    uint32_t at;    /* the offset of the next byte to scan */
};

/* The method of the request: the answers to HEAD and CONNECT have no body. */
enum coili_http_to {
    COILI_HTTP_TO_OTHER,
    COILI_HTTP_TO_HEAD,
    COILI_HTTP_TO_CONNECT
};

/*
 * Parse the head of a response from the first `len` bytes of a message. After
 * the result 0 call again with the same bytes, which may have moved, and more.
 * Each byte is scanned once, and the result does not depend on how the bytes
 * were cut.
 *
 * `keep_alive` follows RFC 9112 9.3: HTTP/1.1 stays open unless there is
 * `close`; HTTP/1.0 only with `keep-alive` and without `close`. It is false for
 * a body that lasts until the peer closes, and after an upgrade.
 *
 * message.c says what is refused, and why.
 *
 * Result    the length of the head; 0: more bytes are needed
 * Errors    COIL_EPROTOCOL, COIL_ELIMIT; head->fault tells which. Further calls
 *           give the same error
 * Lifetime  views `bytes` through head->bytes
 * Source    RFC 9112 4, 5, 6.3
 */
int coili_http_response_parse(struct coili_http_head *head,
                              const struct coili_http_limits *limits,
                              enum coili_http_to to, const char *bytes,
                              size_t len);

/*
 * Parse the head of a request, as above. HTTP/1.1 must have one Host, HTTP/1.0
 * may have one. A method is any token, in capitals or not.
 *
 * Source    RFC 9112 3
 */
int coili_http_request_parse(struct coili_http_head *head,
                             const struct coili_http_limits *limits,
                             const char *bytes, size_t len);

/*
 * True for an interim response (100, 102, 103...): the head of another response
 * to the same request follows. 101 is none: it is the last response.
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

/* True if both are the same, in ASCII capitals or not. */
bool coili_http_same(struct coili_http_text a, struct coili_http_text b);

/* Inline: texts of another length than a literal's need no call. */
static inline bool coili_http_text_is(struct coili_http_text text,
                                      const char *string)
{
    struct coili_http_text other = coili_http_text(string);

    return text.len == other.len && coili_http_same(text, other);
}

/*
 * The first field with this name after `after`, or of all if `after` is NULL.
 *
 *     for (f = NULL; (f = coili_http_find(&head, "Set-Cookie", f));)
 *
 * Result    the field; NULL if there is none
 */
const struct coili_http_field *
coili_http_find(const struct coili_http_head *head, const char *name,
                const struct coili_http_field *after);

/*
 * True if `token` is an item of the comma-separated `list`, as "close" is of
 * "keep-alive, Close": in capitals or not, without white space around it.
 *
 * Source    RFC 9110 5.6.1
 */
bool coili_http_list_has(struct coili_http_text list, const char *token);

/* True if `token` is an item of the list in any field with this name. */
bool coili_http_field_has(const struct coili_http_head *head, const char *name,
                          const char *token);

/* --- Bodies --------------------------------------------------------------*/

/* How far a body is read. 24 bytes, private. */
struct coili_http_body {
    uint64_t left;   /* bytes left of the body, or of the chunk */
    uint32_t line;   /* bytes of this chunk line, or of the trailers, so far */
    uint32_t noise;  /* bytes of framing in excess; see NOISE_MAX */
    uint8_t phase;
    uint8_t fault;   /* enum coili_http_fault, after an error */
    bool answer;     /* of a response */
};

enum {
    COILI_HTTP_MORE = 0,  /* all bytes are taken, without payload in them */
    COILI_HTTP_DATA = 1,  /* `data` and `len` are payload */
    COILI_HTTP_END = 2    /* the body is over; the other bytes follow it */
};

struct coili_http_piece {
    size_t taken;  /* input bytes that are used up, with those of `data` */
    const char *data;
    size_t len;
};

/* Prepare to read the body of `head`. Copies what it needs of `head`. */
void coili_http_body_start(struct coili_http_body *body,
                           const struct coili_http_head *head);

/*
 * Read on, from all bytes that are there after those that were taken. Framing
 * is removed; chunk extensions and trailers are checked and dropped. How the
 * bytes were cut does not change the payload.
 *
 * Result    COILI_HTTP_DATA, with piece->len > 0; COILI_HTTP_MORE;
 *           COILI_HTTP_END, also from further calls
 * Errors    COIL_EPROTOCOL, COIL_ELIMIT; body->fault tells which. Further calls
 *           give the same error. Payload before it may have been given already
 * Lifetime  piece->data views `bytes`
 * Source    RFC 9112 6, 7.1
 */
int coili_http_body_next(struct coili_http_body *body,
                         const struct coili_http_limits *limits,
                         const char *bytes, size_t len,
                         struct coili_http_piece *piece);

/*
 * True when the last byte of the body is taken. For a body that lasts until the
 * peer closes it is true after coili_http_body_closed().
 */
bool coili_http_body_done(const struct coili_http_body *body);

/*
 * The peer has closed: check whether that is the end of the body.
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
 * A request to write. Zeros mean HTTP/1.1, and no body. The caller lends all
 * that it points to until the call returns.
 */
struct coili_http_request {
    struct coili_http_text method;
    struct coili_http_text target;  /* "/path?query"; if it starts with '?', a
                                       '/' is written before it */
    struct coili_http_text host;    /* the value of Host: "name:8080" */
    const struct coili_http_pair *fields;  /* written in this order */
    size_t count;
    int64_t length;  /* of the body, with COILI_HTTP_BODY_LENGTH */
    uint8_t body;    /* NONE, LENGTH or CHUNKED */
    bool old;        /* HTTP/1.0, which has no chunked body */
    uint8_t fault;   /* enum coili_http_fault, after an error */
};

/*
 * Write the head of a request: request line, Host, the fields, and the field
 * that frames the body. Every byte is checked, so that no argument can be taken
 * for a second line or a second request. Host, Content-Length and
 * Transfer-Encoding are refused among the fields: other members give them.
 *
 * Result    the length of the head. The head was written if the length is at
 *           most `len`; with (NULL, 0) the call only tells the length
 * Errors    -EINVAL; request->fault tells which
 * Lifetime  copies
 * Source    RFC 9112 3, 6
 */
int coili_http_request_write(struct coili_http_request *request, char *buf,
                             size_t len);

/*
 * Write the line before `size` bytes of a chunked body. The caller writes CR LF
 * after the bytes, and "0" CR LF CR LF after the last chunk.
 *
 * Result    the length of the line
 */
#define COILI_HTTP_CHUNK_LINE_MAX 18
size_t coili_http_chunk_line_write(char buf[COILI_HTTP_CHUNK_LINE_MAX],
                                   uint64_t size);

#endif
