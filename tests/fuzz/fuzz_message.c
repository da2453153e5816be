// SPDX-License-Identifier: MIT
/*
 * fuzz_message.c: any bytes as an HTTP message, and as a request to write.
 *
 *     clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined \
 *         -Iinclude -Ilib tests/fuzz/fuzz_message.c lib/http/message.c
 *     ./a.out tests/fuzz/corpus/message
 *
 * The first three bytes say how the rest is read: by which parser, leniently or
 * not, and where it is cut. Two properties must hold besides doing no harm:
 *
 *   - a message read in pieces is the message read whole;
 *   - what the writer writes is one request with the fields it was given.
 *
 * Every call gets its bytes in a block of exactly their size, so that the
 * address sanitizer sees the first byte read behind them.
 */
#include "http/message.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    ((condition) ? (void)0 : fail(__LINE__, #condition))

static void fail(int line, const char *what)
{
    fprintf(stderr, "fuzz_message.c:%d: %s does not hold\n", line, what);
    abort();
}

enum { FIELDS = 128 };

/* Small limits are reached by small inputs. */
#define SMALL \
    .head = 200, .trailers = 24, .line = 60, .chunk_line = 16, .fields = 4
#define USUAL \
    .head = 65536, .trailers = 8192, .line = 8190, .chunk_line = 1024, \
    .fields = FIELDS

/* By two bits of the first byte. */
static const struct coili_http_limits all_limits[] = {
    { USUAL }, { SMALL }, { USUAL, .lenient = true }, { SMALL, .lenient = true }
};

enum how { TO_OTHER, TO_HEAD, TO_CONNECT, REQUEST, WRITER, HOWS };

/* All that can be learned from a message; no padding that is not zero. */
struct verdict {
    int head, body;
    int fault;
    int kind, minor, status, count, keep_alive, upgrade;
    int64_t length;
    uint64_t fields;   // a hash of them all
    uint64_t payload;  // and of the payload
    size_t payload_len;
    size_t taken;
};

static uint64_t hash(uint64_t h, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)bytes[i]) * 1099511628211u;
    return h;
}

static uint64_t hash_text(uint64_t h, struct coili_http_text text)
{
    return hash(h * 31 + text.len, text.at, text.len);
}

static char *new_block(size_t len)
{
    char *block = malloc(len ? len : 1);

    if (!block)
        abort();
    return block;
}

static char *copy(const char *bytes, size_t len)
{
    char *block = new_block(len);

    if (len)
        memcpy(block, bytes, len);
    return block;
}

static void note_head(struct verdict *v, const struct coili_http_head *head)
{
    v->kind = head->body;
    v->minor = head->minor;
    v->status = head->status;
    v->count = head->count;
    v->keep_alive = head->keep_alive;
    v->upgrade = head->upgrade;
    v->length = head->length;
    v->fields = hash_text(v->fields, head->status ? coili_http_reason(head)
                                                  : coili_http_method(head));
    if (!head->status)
        v->fields = hash_text(v->fields, coili_http_target(head));
    for (int i = 0; i < head->count; i++) {
        v->fields = hash_text(v->fields,
                              coili_http_name(head, &head->fields[i]));
        v->fields = hash_text(v->fields,
                              coili_http_value(head, &head->fields[i]));
    }
    REQUIRE(head->minor <= 1);
    REQUIRE(head->keep_alive ? head->body != COILI_HTTP_BODY_CLOSE : true);
    REQUIRE(head->body != COILI_HTTP_BODY_LENGTH || head->length >= 0);
}

/* All of one segment, or all up to the end of the body. */
static void read_segment(struct verdict *v, struct coili_http_body *body,
                         const struct coili_http_limits *limits,
                         const char *bytes, size_t len)
{
    char *block = copy(bytes, len), *at = block;
    struct coili_http_piece piece;

    do {
        v->body = coili_http_body_next(body, limits, at, len, &piece);
        REQUIRE(piece.taken <= len);
        REQUIRE((v->body == COILI_HTTP_DATA) == (piece.len > 0));
        REQUIRE(v->body != COILI_HTTP_MORE || piece.taken == len);
        if (piece.len)
            REQUIRE(piece.data + piece.len == at + piece.taken);
        v->payload = hash(v->payload, piece.data, piece.len);
        v->payload_len += piece.len;
        v->taken += piece.taken;
        at += piece.taken;
        len -= piece.taken;
    } while (v->body == COILI_HTTP_DATA);
    v->fault = body->fault;
    free(block);
}

static void read_body(struct verdict *v, const struct coili_http_head *head,
                      const struct coili_http_limits *limits,
                      const char *bytes, size_t end, size_t len, size_t step)
{
    struct coili_http_body body;

    coili_http_body_start(&body, head);
    read_segment(v, &body, limits, bytes + v->taken, end - v->taken);
    while (v->body == COILI_HTTP_MORE && end < len) {
        size_t next = len - end > step ? end + step : len;

        read_segment(v, &body, limits, bytes + end, next - end);
        end = next;
    }
    REQUIRE(coili_http_body_done(&body) == (v->body == COILI_HTTP_END));
}

/* The first `first` bytes at once, then `step` at a time. */
static struct verdict read_message(enum how how,
                                   const struct coili_http_limits *limits,
                                   const char *bytes, size_t len, size_t first,
                                   size_t step)
{
    struct coili_http_field fields[FIELDS];
    struct coili_http_head head = { .fields = fields };
    struct verdict v = { .head = 0 };
    size_t end = first < len ? first : len;

    for (;;) {
        char *block = copy(bytes, end);

        v.head = how == REQUEST
                     ? coili_http_request_parse(&head, limits, block, end)
                     : coili_http_response_parse(
                           &head, limits, (enum coili_http_to)how, block, end);
        if (v.head > 0)
            note_head(&v, &head);
        free(block);
        if (v.head || end == len)
            break;
        end = len - end > step ? end + step : len;
    }
    v.fault = head.fault;
    REQUIRE((v.head < 0) == (v.fault != COILI_HTTP_FAULT_NONE));
    if (v.head > 0) {
        v.taken = (size_t)v.head;
        REQUIRE(v.taken <= end);
        read_body(&v, &head, limits, bytes, end, len, step);
    }
    return v;
}

static void check_same(struct verdict a, struct verdict b)
{
    REQUIRE(a.head == b.head);
    REQUIRE(a.body == b.body);
    REQUIRE(a.fault == b.fault);
    REQUIRE(a.kind == b.kind && a.length == b.length);
    REQUIRE(a.minor == b.minor && a.status == b.status);
    REQUIRE(a.keep_alive == b.keep_alive && a.upgrade == b.upgrade);
    REQUIRE(a.count == b.count && a.fields == b.fields);
    REQUIRE(a.payload == b.payload && a.payload_len == b.payload_len);
    REQUIRE(a.taken == b.taken);
}

/* Up to the next '|' of the input: a text for the writer. */
static struct coili_http_text next_text(const char **at, const char *end)
{
    const char *start = *at, *bar = start < end
                                        ? memchr(start, '|',
                                                 (size_t)(end - start))
                                        : NULL;

    *at = bar ? bar + 1 : end;
    return (struct coili_http_text){ start,
                                     (size_t)((bar ? bar : end) - start) };
}

static void read_written(const struct coili_http_request *r, const char *bytes,
                         size_t len)
{
    static const struct coili_http_limits large = {
        .head = 1 << 20, .trailers = 24, .line = UINT16_MAX, .chunk_line = 16,
        .fields = FIELDS
    };
    struct coili_http_field fields[FIELDS];
    struct coili_http_head head = { .fields = fields };

    REQUIRE(coili_http_request_parse(&head, &large, bytes, len) == (int)len);
    REQUIRE(head.count == r->count + 1 +
                              (r->body != COILI_HTTP_BODY_NONE));
    REQUIRE(head.body == r->body);
    REQUIRE(head.minor == !r->old);
    for (size_t i = 0; i < r->count; i++) {
        struct coili_http_text name = coili_http_name(&head, &fields[i + 1]);

        REQUIRE(name.len == r->fields[i].name.len);
        REQUIRE(!memcmp(name.at, r->fields[i].name.at, name.len));
    }
}

static void write_request(const char *at, size_t len, uint8_t flags)
{
    const char *end = at + len;
    struct coili_http_pair pairs[FIELDS - 2];
    struct coili_http_request r = {
        .fields = pairs,
        .body = flags & 3,
        .length = flags >> 3,
        .old = flags & 4,
    };

    r.method = next_text(&at, end);
    r.target = next_text(&at, end);
    r.host = next_text(&at, end);
    while (at < end && r.count < FIELDS - 2) {
        pairs[r.count].name = next_text(&at, end);
        pairs[r.count++].value = next_text(&at, end);
    }

    int need = coili_http_request_write(&r, NULL, 0);
    REQUIRE((need < 0) == (r.fault != COILI_HTTP_FAULT_NONE));
    if (need < 0)
        return;
    char *block = new_block((size_t)need);
    REQUIRE(coili_http_request_write(&r, block, (size_t)need) == need);
    if (need < UINT16_MAX)
        read_written(&r, block, (size_t)need);
    free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;

    const char *bytes = (const char *)data + 3;
    size_t len = size - 3, first = data[1], step = 1 + data[2] % 32u;
    enum how how = (enum how)(data[0] % HOWS);
    const struct coili_http_limits
        *limits = &all_limits[(data[0] >> 7) | (data[0] >> 5 & 2)];

    if (how == WRITER) {
        write_request(bytes, len, data[1]);
        return 0;
    }
    struct verdict whole = read_message(how, limits, bytes, len, len, 1);
    check_same(read_message(how, limits, bytes, len, first, step), whole);
    if (len < 600)
        check_same(read_message(how, limits, bytes, len, 0, 1), whole);
    return 0;
}
