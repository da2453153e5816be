// SPDX-License-Identifier: MIT
/*
 * fuzz_tls_message.c: any bytes as a handshake message of TLS behind the hellos.
 *
 *     clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined \
 *         -Iinclude -Ilib tests/fuzz/fuzz_tls_message.c \
 *         lib/tls/{wire,hello,message}.c
 *     ./a.out tests/fuzz/corpus/tls_message
 *
 * The first byte says which message it is. What is accepted has all its parts
 * within the bytes, and has the same bytes when it is written again; a message
 * of which something is passed over is then read as the same. It is accepted
 * neither with its last byte cut off nor with one behind it. Every call gets its
 * bytes in a block of exactly their size.
 */
#include "tls/hello.h"
#include "tls/message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))

static void fail(int line, const char *what)
{
    fprintf(stderr, "fuzz_tls_message.c:%d: %s does not hold\n", line, what);
    abort();
}

enum kind {
    CERTIFICATE13,
    CERTIFICATE12,
    REQUEST13,
    REQUEST12,
    VERIFY,
    SERVER_EXCHANGE,
    CLIENT_EXCHANGE,
    TICKET13,
    TICKET12,
    FINISHED,
    KEY_UPDATE,
    NOTHING,
    KINDS
};

/* What was read. All that is not set is zero. */
struct message {
    struct coili_tls_certificates certificates;
    struct coili_tls_certificate_request request;
    struct coili_tls_server_key_exchange exchange;
    struct coili_tls_signature signature;
    struct coili_tls_ticket ticket;
    struct coili_bytes part;
    bool requested;
};

static unsigned version_of(enum kind kind)
{
    return kind == CERTIFICATE13 || kind == REQUEST13 || kind == TICKET13
               ? COILI_TLS13
               : COILI_TLS12;
}

static int read_message(enum kind kind, unsigned flags, struct coili_bytes body,
                        struct message *m)
{
    static const unsigned groups[] = { COILI_GROUP_X25519, COILI_GROUP_P256,
                                       COILI_GROUP_P384 };
    *m = (struct message){ .requested = false };
    switch (kind) {
    case CERTIFICATE13:
    case CERTIFICATE12:
        return coili_tls_read_certificates(body, version_of(kind), flags & 1,
                                           &m->certificates);
    case REQUEST13:
    case REQUEST12:
        return coili_tls_read_certificate_request(body, version_of(kind),
                                                  &m->request);
    case VERIFY:
        return coili_tls_read_certificate_verify(
            body, flags & 1 ? coili_tls_schemes13 : coili_tls_schemes12,
            &m->signature);
    case SERVER_EXCHANGE:
        return coili_tls_read_server_key_exchange(body, &m->exchange);
    case CLIENT_EXCHANGE:
        return coili_tls_read_client_key_exchange(body, groups[flags % 3],
                                                  &m->part);
    case TICKET13:
    case TICKET12:
        return coili_tls_read_ticket(body, version_of(kind), &m->ticket);
    case FINISHED:
        return coili_tls_read_finished(body, 12, &m->part);
    case KEY_UPDATE:
        return coili_tls_read_key_update(body, &m->requested);
    default:
        return coili_tls_read_nothing(body);
    }
}

static void write_message(enum kind kind, struct coili_writer *w,
                          const struct message *m)
{
    switch (kind) {
    case CERTIFICATE13:
    case CERTIFICATE12:
        coili_tls_write_certificates(w, version_of(kind), m->certificates.certs,
                                     m->certificates.n);
        break;
    case REQUEST13:
    case REQUEST12:
        coili_tls_write_certificate_request(w, version_of(kind), &m->request);
        break;
    case VERIFY:
        coili_tls_write_certificate_verify(w, &m->signature);
        break;
    case SERVER_EXCHANGE:
        coili_tls_write_server_key_exchange(w, &m->exchange);
        break;
    case CLIENT_EXCHANGE:
        coili_tls_write_client_key_exchange(w, m->part);
        break;
    case TICKET13:
    case TICKET12:
        coili_tls_write_ticket(w, version_of(kind), &m->ticket);
        break;
    case FINISHED:
        coili_tls_write_finished(w, m->part);
        break;
    case KEY_UPDATE:
        coili_tls_write_key_update(w, m->requested);
        break;
    default:
        coili_tls_write_server_hello_done(w);
    }
}

/* All views of a message; fewer than the array has. */
enum { VIEWS = COILI_TLS_CERTIFICATES_MAX + 10 };

static void views_of(const struct message *m, struct coili_bytes views[VIEWS])
{
    const struct coili_bytes others[10] = {
        m->request.schemes,
        m->request.schemes_cert,
        m->request.types,
        m->request.authorities,
        m->exchange.share,
        m->exchange.is_signed,
        m->exchange.signature.bytes,
        m->ticket.nonce,
        m->ticket.ticket,
        m->part,
    };
    memcpy(views, others, sizeof others);
    for (size_t i = 0; i < COILI_TLS_CERTIFICATES_MAX; i++)
        views[10 + i] = i < m->certificates.n
                            ? (struct coili_bytes){ m->certificates.certs[i].at,
                                                    m->certificates.certs[i]
                                                        .len }
                            : (struct coili_bytes){ NULL, 0 };
}

static void check_same(const struct message *a, const struct message *b)
{
    struct coili_bytes va[VIEWS], vb[VIEWS];
    views_of(a, va);
    views_of(b, vb);
    for (size_t i = 0; i < VIEWS; i++)
        REQUIRE(coili_bytes_equal(va[i], vb[i]));
    REQUIRE(coili_bytes_equal(a->signature.bytes, b->signature.bytes));
    REQUIRE(a->certificates.n == b->certificates.n);
    REQUIRE(a->signature.scheme == b->signature.scheme);
    REQUIRE(a->exchange.group == b->exchange.group);
    REQUIRE(a->exchange.signature.scheme == b->exchange.signature.scheme);
    REQUIRE(a->ticket.lifetime == b->ticket.lifetime);
    REQUIRE(a->ticket.age_add == b->ticket.age_add);
    REQUIRE(a->requested == b->requested);
}

static unsigned char *new_block(size_t len)
{
    unsigned char *block = malloc(len ? len : 1);
    if (!block)
        abort();
    return block;
}

static void check_written(enum kind kind, unsigned flags,
                          struct coili_bytes body, const struct message *m)
{
    struct coili_writer count = { .at = NULL };
    struct message again;
    write_message(kind, &count, m);
    unsigned char *block = new_block(count.len);
    struct coili_writer w = { .at = block, .size = count.len };
    write_message(kind, &w, m);
    REQUIRE(coili_writer_is_whole(&w) && w.len == count.len);
    struct coili_bytes written = { block + 4, w.len - 4 };
    REQUIRE(written.len ==
            ((size_t)block[1] << 16 | (size_t)block[2] << 8 | block[3]));
    REQUIRE(read_message(kind, flags, written, &again) == 0);
    check_same(m, &again);
    bool passes_over = kind == REQUEST13 || kind == TICKET13 ||
                       m->certificates.n == COILI_TLS_CERTIFICATES_MAX;
    if (!passes_over)
        REQUIRE(coili_bytes_equal(written, body));
    free(block);
}

/* The message with one byte less or more is none. */
static void check_ends(enum kind kind, unsigned flags, struct coili_bytes body)
{
    struct message m;
    unsigned char *other = new_block(body.len + 1);
    if (body.len)
        memcpy(other, body.at, body.len);
    other[body.len] = 0;
    struct coili_bytes longer = { other, body.len + 1 };
    REQUIRE(read_message(kind, flags, longer, &m) != 0);
    if (body.len > 0) {
        struct coili_bytes cut = { other, body.len - 1 };
        REQUIRE(read_message(kind, flags, cut, &m) != 0);
    }
    free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    enum kind kind = (enum kind)(data[0] % KINDS);
    unsigned flags = data[0] / KINDS;
    unsigned char *block = new_block(size - 1);
    memcpy(block, data + 1, size - 1);
    struct coili_bytes body = { block, size - 1 }, views[VIEWS];
    struct message m;
    int alert = read_message(kind, flags, body, &m);
    REQUIRE(alert >= 0 && alert < 256);
    if (!alert) {
        views_of(&m, views);
        for (size_t i = 0; i < VIEWS; i++)
            if (views[i].len)
                REQUIRE(views[i].at >= body.at &&
                        views[i].at + views[i].len <= body.at + body.len);
        check_written(kind, flags, body, &m);
        check_ends(kind, flags, body);
    }
    free(block);
    return 0;
}
