// SPDX-License-Identifier: MIT
/*
 * http_reply.h: a parser for the answers of nginx and delay_server.c only.
 *
 * It refuses everything that they do not send: a head ends in an empty line and
 * has status 200, one Content-Length, and no transfer coding. A head may be cut
 * anywhere; then its pieces are put together in the reply.
 */
#ifndef BENCH_HTTP_REPLY_H
#define BENCH_HTTP_REPLY_H

#include "bench.h"

#include <stdbool.h>
#include <strings.h>

enum { HEAD_MAX = 4096 };

struct reply {
    bool in_body, is_whole;
    bool closes; /* the server says that it closes the connection */
    size_t body_left;
    size_t body_taken;  /* in the last call of reply_take() */
    size_t head_length; /* of a head that came in pieces */
    char *head;         /* HEAD_MAX bytes, once a head was cut */
};

static inline bool named(const char *line, size_t length, const char *name)
{
    size_t n = strlen(name);
    return length > n && line[n] == ':' && strncasecmp(line, name, n) == 0;
}

/* Digits and nothing else, with blanks around them allowed. */
static inline size_t parse_length(const char *p, const char *end)
{
    size_t value = 0, digits = 0;
    while (p < end && *p == ' ')
        p++;
    for (; p < end && *p >= '0' && *p <= '9'; p++, digits++)
        value = value * 10 + (size_t)(*p - '0');
    while (p < end && *p == ' ')
        p++;
    if (p != end || digits == 0 || digits > 12)
        die("a Content-Length that is not a number");
    return value;
}

/* A whole head, up to and with its empty line; returns the body's length. */
static inline size_t parse_head(struct reply *r, const char *p, size_t length)
{
    const char *end = p + length - 2; /* before the empty line */
    bool first = true, has_length = false;
    size_t body = 0;

    while (p < end) {
        const char *line_end = memchr(p, '\r', (size_t)(end - p));
        if (!line_end || line_end[1] != '\n')
            die("a header line without CRLF");
        size_t n = (size_t)(line_end - p);
        if (first && (n < 12 || memcmp(p, "HTTP/1.1 200", 12) != 0))
            die("not a 200: %.*s", (int)n, p);
        if (named(p, n, "Content-Length")) {
            if (has_length)
                die("two Content-Lengths");
            body = parse_length(p + strlen("Content-Length:"), line_end);
            has_length = true;
        } else if (named(p, n, "Transfer-Encoding")) {
            die("a transfer coding");
        } else if (named(p, n, "Connection") && memmem(p, n, "close", 5)) {
            r->closes = true;
        }
        first = false;
        p = line_end + 2;
    }
    if (!has_length)
        die("no Content-Length");
    return body;
}

/* Bytes of `data` that belong to the head; in_body once it is complete. */
static inline size_t take_head(struct reply *r, const char *data, size_t length)
{
    if (r->head_length == 0) {
        const char *end = memmem(data, length, "\r\n\r\n", 4);
        if (end) {
            size_t taken = (size_t)(end - data) + 4;
            r->body_left = parse_head(r, data, taken);
            r->in_body = true;
            return taken;
        }
    }

    if (!r->head && !(r->head = malloc(HEAD_MAX)))
        die("out of memory");
    size_t before = r->head_length;
    size_t room = HEAD_MAX - before, copied = length < room ? length : room;
    memcpy(r->head + before, data, copied);
    r->head_length += copied;
    char *end = memmem(r->head, r->head_length, "\r\n\r\n", 4);
    if (!end) {
        if (r->head_length == HEAD_MAX)
            die("a head of more than %d bytes", HEAD_MAX);
        return copied;
    }
    size_t head = (size_t)(end - r->head) + 4;
    r->body_left = parse_head(r, r->head, head);
    r->in_body = true;
    r->head_length = 0;
    return head - before;
}

/* Wait for another reply. The memory for a head that is cut is kept. */
static inline void reply_begin(struct reply *r)
{
    *r = (struct reply){ .head = r->head };
}

/* The next bytes of the connection, which all belong to this reply. */
static inline void reply_take(struct reply *r, const char *data, size_t length)
{
    r->body_taken = 0;
    while (!r->in_body && length > 0) {
        size_t taken = take_head(r, data, length);
        data += taken;
        length -= taken;
    }
    if (!r->in_body)
        return;
    if (length > r->body_left)
        die("bytes after a response nobody asked for");
    r->body_taken = length;
    r->body_left -= length;
    r->is_whole = r->body_left == 0;
}

#endif
