// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_tls_message.c: the handshake messages behind the hellos, for
 * lib/tls/message.c: what is written is read, what is changed is not.
 */
#include "test.h"

#include "tls/hello.h"
#include "tls/message.h"

#include <stdlib.h>

#include "captured.h"

/* The body of a message. */
struct body {
    size_t len;
    unsigned char at[600];
};

#define BYTES(literal) \
    ((struct coili_bytes){ (const unsigned char *)(literal), \
                           sizeof(literal) - 1 })
#define BODY(literal) \
    body_from((const unsigned char *)(literal), sizeof(literal) - 1)

static const unsigned char point[97] = { 4, 'p', 'o', 'i', 'n', 't' };

static struct body body_from(const unsigned char *bytes, size_t len)
{
    struct body body = { .len = len };
    CHECK(len <= sizeof body.at);
    memcpy(body.at, bytes, len);
    return body;
}

static struct coili_bytes view_of(const struct body *body)
{
    return (struct coili_bytes){ body->at, body->len };
}

static unsigned char memory[700];

static struct coili_writer pen(void)
{
    return (struct coili_writer){ .at = memory, .size = sizeof memory };
}

/* Take the body out of one whole message of this type. */
static struct body body_of(const struct coili_writer *w, unsigned type)
{
    CHECK(coili_writer_is_whole(w));
    CHECK_INT(w->at[0], type);
    CHECK_INT(w->at[1] << 16 | w->at[2] << 8 | w->at[3], w->len - 4);
    return body_from(w->at + 4, w->len - 4);
}

static void check_view(struct coili_bytes view, struct coili_bytes expected)
{
    CHECK_INT(view.len, expected.len);
    if (expected.len)
        CHECK_MEM(view.at, expected.at, expected.len);
}

/* ---- All kinds in one: the alert ---------------------------------------- */

enum kind {
    CERTIFICATE13,
    CERTIFICATE12,
    CLIENT_CERTIFICATE13,
    CLIENT_CERTIFICATE12,
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

static int read_view(enum kind kind, struct coili_bytes view)
{
    struct coili_tls_certificates certificates;
    struct coili_tls_certificate_request request;
    struct coili_tls_signature signature;
    struct coili_tls_server_key_exchange exchange;
    struct coili_tls_ticket ticket;
    struct coili_bytes part;
    bool requested;
    switch (kind) {
    case CERTIFICATE13:
    case CERTIFICATE12:
        return coili_tls_read_certificates(
            view, kind == CERTIFICATE13 ? COILI_TLS13 : COILI_TLS12, false,
            &certificates);
    case CLIENT_CERTIFICATE13:
    case CLIENT_CERTIFICATE12:
        return coili_tls_read_certificates(
            view, kind == CLIENT_CERTIFICATE13 ? COILI_TLS13 : COILI_TLS12,
            true, &certificates);
    case REQUEST13:
        return coili_tls_read_certificate_request(view, COILI_TLS13, &request);
    case REQUEST12:
        return coili_tls_read_certificate_request(view, COILI_TLS12, &request);
    case VERIFY:
        return coili_tls_read_certificate_verify(view, coili_tls_schemes13,
                                                 &signature);
    case SERVER_EXCHANGE:
        return coili_tls_read_server_key_exchange(view, &exchange);
    case CLIENT_EXCHANGE:
        return coili_tls_read_client_key_exchange(view, COILI_GROUP_P256,
                                                  &part);
    case TICKET13:
        return coili_tls_read_ticket(view, COILI_TLS13, &ticket);
    case TICKET12:
        return coili_tls_read_ticket(view, COILI_TLS12, &ticket);
    case FINISHED:
        return coili_tls_read_finished(view, 12, &part);
    case KEY_UPDATE:
        return coili_tls_read_key_update(view, &requested);
    default:
        return coili_tls_read_nothing(view);
    }
}

/* In a block of exactly its size, so that what is read behind it is seen. */
static int reads(enum kind kind, struct body body)
{
    unsigned char *block = malloc(body.len ? body.len : 1);
    CHECK(block);
    memcpy(block, body.at, body.len);
    int alert = read_view(kind, (struct coili_bytes){ block, body.len });
    free(block);
    return alert;
}

static const struct coili_tls_signature signature = {
    COILI_SCHEME_ECDSA_SHA256, { (const unsigned char *)"a signature", 11 }
};

/* One of each kind that is right. */
static struct body sample(enum kind kind)
{
    static const struct coili_der certs[] = {
        { (const unsigned char *)"the leaf", 8 },
        { (const unsigned char *)"issuer", 6 },
    };
    struct coili_writer w = pen();
    unsigned version = kind == CERTIFICATE13 || kind == CLIENT_CERTIFICATE13 ||
                               kind == REQUEST13 || kind == TICKET13
                           ? COILI_TLS13
                           : COILI_TLS12;
    switch (kind) {
    case CERTIFICATE13:
    case CERTIFICATE12:
        coili_tls_write_certificates(&w, version, certs, 2);
        return body_of(&w, COILI_TLS_CERTIFICATE);
    case CLIENT_CERTIFICATE13:
    case CLIENT_CERTIFICATE12:
        coili_tls_write_certificates(&w, version, NULL, 0);
        return body_of(&w, COILI_TLS_CERTIFICATE);
    case REQUEST13:
    case REQUEST12:
        coili_tls_write_certificate_request(
            &w, version,
            &(struct coili_tls_certificate_request){
                .schemes = coili_tls_schemes12,
                .schemes_cert = coili_tls_schemes_cert,
                .types = BYTES("\1\x40"),
                .authorities = BYTES("\0\3one\0\3two"),
            });
        return body_of(&w, COILI_TLS_CERTIFICATE_REQUEST);
    case VERIFY:
        coili_tls_write_certificate_verify(&w, &signature);
        return body_of(&w, COILI_TLS_CERTIFICATE_VERIFY);
    case SERVER_EXCHANGE:
        coili_tls_write_server_key_exchange(
            &w, &(struct coili_tls_server_key_exchange){
                    .group = COILI_GROUP_X25519,
                    .share = { point, 32 },
                    .signature = signature,
                });
        return body_of(&w, COILI_TLS_SERVER_KEY_EXCHANGE);
    case CLIENT_EXCHANGE:
        coili_tls_write_client_key_exchange(&w,
                                            (struct coili_bytes){ point, 65 });
        return body_of(&w, COILI_TLS_CLIENT_KEY_EXCHANGE);
    case TICKET13:
    case TICKET12:
        coili_tls_write_ticket(&w, version,
                               &(struct coili_tls_ticket){
                                   .lifetime = 604800,
                                   .age_add = 0xfedcba98,
                                   .nonce = BYTES("nonce"),
                                   .ticket = BYTES("a ticket"),
                               });
        return body_of(&w, COILI_TLS_NEW_SESSION_TICKET);
    case FINISHED:
        coili_tls_write_finished(&w, BYTES("twelve bytes"));
        return body_of(&w, COILI_TLS_FINISHED);
    case KEY_UPDATE:
        coili_tls_write_key_update(&w, true);
        return body_of(&w, COILI_TLS_KEY_UPDATE);
    default:
        coili_tls_write_server_hello_done(&w);
        return body_of(&w, COILI_TLS_SERVER_HELLO_DONE);
    }
}

TEST(tls_message_of_each_kind_is_read_to_its_last_byte)
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        struct body body = sample(kind);
        test_note("kind %d", (int)kind);
        CHECK_INT(reads(kind, body), 0);
        struct body longer = body;
        longer.at[longer.len++] = 0;
        CHECK_INT(reads(kind, longer), COILI_ALERT_DECODE_ERROR);
        for (; body.len > 0;) {
            body.len--;
            CHECK_INT(reads(kind, body), COILI_ALERT_DECODE_ERROR);
        }
    }
}

/* Lengths of the samples: where, and of how many bytes. The list ends with 0. */
static const struct length {
    size_t at, n;
} lengths[KINDS][8] = {
    [CERTIFICATE13] = { { 0, 1 },
                        { 1, 3 },
                        { 4, 3 },
                        { 15, 2 },
                        { 17, 3 },
                        { 26, 2 } },
    [CERTIFICATE12] = { { 0, 3 }, { 3, 3 }, { 14, 3 } },
    [CLIENT_CERTIFICATE13] = { { 0, 1 }, { 1, 3 } },
    [CLIENT_CERTIFICATE12] = { { 0, 3 } },
    [REQUEST13] = { { 0, 1 },
                    { 1, 2 },
                    { 5, 2 },
                    { 7, 2 },
                    { 27, 2 },
                    { 29, 2 } },
    [REQUEST12] = { { 0, 1 }, { 3, 2 }, { 21, 2 }, { 23, 2 }, { 28, 2 } },
    [VERIFY] = { { 2, 2 } },
    [SERVER_EXCHANGE] = { { 3, 1 }, { 38, 2 } },
    [CLIENT_EXCHANGE] = { { 0, 1 } },
    [TICKET13] = { { 8, 1 }, { 14, 2 }, { 24, 2 } },
    [TICKET12] = { { 4, 2 } },
};

TEST(tls_message_each_length_is_checked)
{
    for (enum kind kind = 0; kind < KINDS; kind++)
        for (const struct length *l = lengths[kind]; l->n; l++) {
            struct body body = sample(kind);
            size_t last = l->at + l->n - 1;
            test_note("kind %d at %zu", (int)kind, l->at);
            CHECK(last < body.len);
            unsigned char was = body.at[last];
            body.at[last] = (unsigned char)(was + 1);
            CHECK(reads(kind, body) != 0);
            body.at[last] = (unsigned char)(was - 1);
            CHECK(reads(kind, body) != 0);
            body.at[last] = was;
            CHECK_INT(reads(kind, body), 0);
            if (l->n > 1) {
                body.at[l->at] = 0xff;
                CHECK(reads(kind, body) != 0);
            }
        }
}

/* ---- Certificate -------------------------------------------------------- */

TEST(tls_message_certificates_are_views_in_the_order_sent)
{
    for (enum kind kind = CERTIFICATE13; kind <= CERTIFICATE12; kind++) {
        struct body body = sample(kind);
        struct coili_tls_certificates c;
        CHECK_INT(coili_tls_read_certificates(
                      view_of(&body),
                      kind == CERTIFICATE13 ? COILI_TLS13 : COILI_TLS12, false,
                      &c),
                  0);
        CHECK_INT(c.n, 2);
        CHECK(coili_der_is(c.certs[0], "the leaf", 8));
        CHECK(coili_der_is(c.certs[1], "issuer", 6));
        CHECK(c.certs[0].at > body.at && c.certs[0].at < body.at + body.len);
    }
}

// A server without a certificate cannot be believed; a client may have none.
TEST(tls_message_only_a_client_may_have_no_certificate)
{
    CHECK_INT(reads(CERTIFICATE13, BODY("\0\0\0\0")), 50);
    CHECK_INT(reads(CERTIFICATE12, BODY("\0\0\0")), 50);
    CHECK_INT(reads(CLIENT_CERTIFICATE13, BODY("\0\0\0\0")), 0);
    CHECK_INT(reads(CLIENT_CERTIFICATE12, BODY("\0\0\0")), 0);
}

TEST(tls_message_certificate_faults_have_their_alerts)
{
    static const struct {
        enum kind kind;
        int alert;
        const char *bytes;
        size_t len;
    } samples[] = {
        { CERTIFICATE13, 47, "\1x\0\0\6\0\0\1a\0\0", 11 }, /* a context */
        { CERTIFICATE13, 50, "\0\0\0\5\0\0\0\0\0", 9 },    /* of 0 bytes */
        { CERTIFICATE12, 50, "\0\0\3\0\0\0", 6 },
        { CLIENT_CERTIFICATE13, 50, "\0\0\0\5\0\0\0\0\0", 9 },
        { CLIENT_CERTIFICATE12, 50, "\0\0\3\0\0\0", 6 },
        { CERTIFICATE13, 50, "\0\0\0\4\0\0\1a", 8 }, /* no extensions */
        { CERTIFICATE13, 110, "\0\0\0\xa\0\0\1a\0\4\0\5\0\0", 14 },
        { CERTIFICATE13, 110, "\0\0\0\xa\0\0\1a\0\4\0\x12\0\0", 14 },
        { CERTIFICATE13, 110, "\0\0\0\xa\0\0\1a\0\4\x2a\x2a\0\0", 14 },
        { CERTIFICATE13, 47, "\0\0\0\xa\0\0\1a\0\4\0\x33\0\0", 14 },
        { CERTIFICATE13, 47, "\0\0\0\xe\0\0\1a\0\x8\0\5\0\0\0\5\0\0",
          18 }, /* twice */
        { CERTIFICATE13, 50, "\0\0\0\x9\0\0\1a\0\3\0\5\0", 13 },
        { CERTIFICATE13, 0, "\0\0\0\6\0\0\1a\0\0", 10 },
        { CERTIFICATE12, 0, "\0\0\4\0\0\1a", 7 },
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        test_note("sample %zu", i);
        CHECK_INT(reads(samples[i].kind,
                        body_from((const unsigned char *)samples[i].bytes,
                                  samples[i].len)),
                  samples[i].alert);
    }
}

// trust.h refuses the eleventh with a sentence; a fault behind it is found here.
TEST(tls_message_certificates_beyond_the_bound_are_left_out)
{
    struct coili_der certs[50];
    for (size_t i = 0; i < 50; i++)
        certs[i] = (struct coili_der){ (const unsigned char *)"ab", 2 };
    struct coili_writer w = pen();
    coili_tls_write_certificates(&w, COILI_TLS13, certs, 50);
    struct body body = body_of(&w, COILI_TLS_CERTIFICATE);
    struct coili_tls_certificates c;
    CHECK_INT(
        coili_tls_read_certificates(view_of(&body), COILI_TLS13, false, &c), 0);
    CHECK_INT(c.n, COILI_TLS_CERTIFICATES_MAX);
    body.at[body.len - 5] = 1; /* the last certificate */
    CHECK_INT(reads(CERTIFICATE13, body), 50);
}

/* ---- CertificateRequest ------------------------------------------------- */

TEST(tls_message_a_request_is_read_as_it_was_written)
{
    struct coili_tls_certificate_request request;
    struct body body = sample(REQUEST13);
    CHECK_INT(coili_tls_read_certificate_request(view_of(&body), COILI_TLS13,
                                                 &request),
              0);
    check_view(request.schemes, coili_tls_schemes12);
    check_view(request.schemes_cert, coili_tls_schemes_cert);
    check_view(request.authorities, BYTES("\0\3one\0\3two"));
    CHECK_INT(request.types.len, 0);
    body = sample(REQUEST12);
    CHECK_INT(coili_tls_read_certificate_request(view_of(&body), COILI_TLS12,
                                                 &request),
              0);
    check_view(request.schemes, coili_tls_schemes12);
    check_view(request.authorities, BYTES("\0\3one\0\3two"));
    check_view(request.types, BYTES("\1\x40"));
    CHECK_INT(request.schemes_cert.len, 0);
}

TEST(tls_message_request_faults_have_their_alerts)
{
    static const struct {
        enum kind kind;
        int alert;
        const char *bytes;
        size_t len;
    } samples[] = {
        { REQUEST13, 0, "\0\0\x8\0\xd\0\4\0\2\4\3", 11 },
        { REQUEST13, 47, "\1x\0\x8\0\xd\0\4\0\2\4\3", 12 }, /* a context */
        { REQUEST13, 109, "\0\0\0", 3 },
        { REQUEST13, 109, "\0\0\x8\0\x32\0\4\0\2\4\3", 11 },
        { REQUEST13, 50, "\0\0\6\0\xd\0\2\0\0", 9 },
        { REQUEST13, 50, "\0\0\7\0\xd\0\3\0\1\4", 10 },
        { REQUEST13, 47, "\0\0\x10\0\xd\0\4\0\2\4\3\0\xd\0\4\0\2\4\3", 19 },
        /* unknown ones, status_request and timestamps are passed over */
        { REQUEST13, 0, "\0\0\xc\0\xd\0\4\0\2\4\3\x2a\x2a\0\0", 15 },
        { REQUEST13, 0, "\0\0\xc\0\xd\0\4\0\2\4\3\0\5\0\0", 15 },
        { REQUEST13, 0, "\0\0\xc\0\xd\0\4\0\2\4\3\0\x12\0\0", 15 },
        /* key_share and server_name stand elsewhere */
        { REQUEST13, 47, "\0\0\xc\0\xd\0\4\0\2\4\3\0\x33\0\0", 15 },
        { REQUEST13, 47, "\0\0\xc\0\xd\0\4\0\2\4\3\0\0\0\0", 15 },
        /* authorities: none, or one of 0 bytes */
        { REQUEST13, 50, "\0\0\xe\0\xd\0\4\0\2\4\3\0\x2f\0\2\0\0", 17 },
        { REQUEST13, 50, "\0\0\x10\0\xd\0\4\0\2\4\3\0\x2f\0\4\0\2\0\0", 19 },
        { REQUEST12, 0, "\1\1\0\2\4\3\0\0", 8 },
        { REQUEST12, 50, "\0\0\2\4\3\0\0", 7 },
        { REQUEST12, 50, "\1\1\0\0\0\0", 6 },
        { REQUEST12, 50, "\1\1\0\1\4\0\0", 7 },
        { REQUEST12, 50, "\1\1\0\2\4\3\0\2\0\0", 10 },
        { REQUEST12, 50, "\1\1\0\2\4\3\0\1\0", 9 },
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        test_note("sample %zu", i);
        CHECK_INT(reads(samples[i].kind,
                        body_from((const unsigned char *)samples[i].bytes,
                                  samples[i].len)),
                  samples[i].alert);
    }
}

/* ---- CertificateVerify, key exchanges ----------------------------------- */

TEST(tls_message_a_signature_has_a_scheme_that_was_offered)
{
    struct body body = sample(VERIFY);
    struct coili_tls_signature found;
    CHECK_INT(coili_tls_read_certificate_verify(view_of(&body),
                                                coili_tls_schemes13, &found),
              0);
    CHECK_INT(found.scheme, COILI_SCHEME_ECDSA_SHA256);
    check_view(found.bytes, BYTES("a signature"));
    size_t n = 0;
    for (unsigned scheme = 0; scheme < 65536; scheme++) {
        body.at[0] = (unsigned char)(scheme >> 8);
        body.at[1] = (unsigned char)scheme;
        bool ok = scheme == 0x0403 || scheme == 0x0503 || scheme == 0x0804 ||
                  scheme == 0x0805 || scheme == 0x0806;
        n += ok;
        CHECK_INT(coili_tls_read_certificate_verify(
                      view_of(&body), coili_tls_schemes13, &found),
                  ok ? 0 : 47);
        ok |= scheme == 0x0401 || scheme == 0x0501 || scheme == 0x0601;
        CHECK_INT(coili_tls_read_certificate_verify(
                      view_of(&body), coili_tls_schemes12, &found),
                  ok ? 0 : 47);
    }
    CHECK_INT(n, 5);
}

TEST(tls_message_a_server_key_exchange_has_what_is_signed)
{
    struct body body = sample(SERVER_EXCHANGE);
    struct coili_tls_server_key_exchange found;
    CHECK_INT(coili_tls_read_server_key_exchange(view_of(&body), &found), 0);
    CHECK_INT(found.group, COILI_GROUP_X25519);
    check_view(found.share, (struct coili_bytes){ point, 32 });
    CHECK_INT(found.signature.scheme, COILI_SCHEME_ECDSA_SHA256);
    check_view(found.signature.bytes, BYTES("a signature"));
    CHECK(found.is_signed.at == body.at);
    struct coili_writer w = pen();
    coili_tls_write_signed_share(&w, COILI_GROUP_X25519,
                                 (struct coili_bytes){ point, 32 });
    CHECK(coili_writer_is_whole(&w));
    CHECK_INT(w.len, 4 + 32);
    check_view(found.is_signed, (struct coili_bytes){ memory, w.len });
}

TEST(tls_message_server_key_exchange_faults_have_their_alerts)
{
    struct body body = sample(SERVER_EXCHANGE);
    for (unsigned kind = 0; kind < 256; kind++) {
        body.at[0] = (unsigned char)kind;
        CHECK_INT(reads(SERVER_EXCHANGE, body), kind == 3 ? 0 : 47);
    }
    body = sample(SERVER_EXCHANGE);
    for (unsigned group = 0; group < 256; group++) {
        body.at[2] = (unsigned char)group;
        CHECK_INT(reads(SERVER_EXCHANGE, body), group == 29 ? 0 : 47);
    }
    body = sample(SERVER_EXCHANGE);
    body.at[36] = 2; /* 0203 and 0201: SHA-1 */
    CHECK_INT(reads(SERVER_EXCHANGE, body), 47);
    body.at[37] = 1;
    CHECK_INT(reads(SERVER_EXCHANGE, body), 47);
    CHECK_INT(reads(SERVER_EXCHANGE, BODY("\3\0\x1d\0\4\3\0\1x")), 50);
    CHECK_INT(reads(SERVER_EXCHANGE, BODY("\3\0\x1d\2ab\4\3\0\1x")), 47);
    static const unsigned lens[] = { 32, 65, 97 };
    static const unsigned groups[] = { 29, 23, 24 };
    for (unsigned i = 0; i < 9; i++) {
        struct coili_writer w = pen();
        coili_tls_write_server_key_exchange(
            &w, &(struct coili_tls_server_key_exchange){
                    .group = groups[i % 3],
                    .share = { point, lens[i / 3] },
                    .signature = signature,
                });
        CHECK_INT(
            reads(SERVER_EXCHANGE, body_of(&w, COILI_TLS_SERVER_KEY_EXCHANGE)),
            i % 3 == i / 3 ? 0 : 47);
    }
}

TEST(tls_message_a_client_key_exchange_has_a_point_of_the_group)
{
    struct coili_bytes share;
    struct body body = sample(CLIENT_EXCHANGE);
    CHECK_INT(coili_tls_read_client_key_exchange(view_of(&body), 23, &share),
              0);
    check_view(share, (struct coili_bytes){ point, 65 });
    CHECK_INT(coili_tls_read_client_key_exchange(view_of(&body), 24, &share),
              47);
    CHECK_INT(coili_tls_read_client_key_exchange(view_of(&body), 29, &share),
              47);
    body.at[1] = 2; /* compressed */
    CHECK_INT(reads(CLIENT_EXCHANGE, body), 47);
    CHECK_INT(reads(CLIENT_EXCHANGE, BODY("\0")), 50);
}

/* ---- NewSessionTicket, the short ones ----------------------------------- */

TEST(tls_message_a_ticket_is_read_as_it_was_written)
{
    struct coili_tls_ticket ticket;
    struct body body = sample(TICKET13);
    CHECK_INT(coili_tls_read_ticket(view_of(&body), COILI_TLS13, &ticket), 0);
    CHECK_INT(ticket.lifetime, 604800);
    CHECK_INT(ticket.age_add, 0xfedcba98);
    check_view(ticket.nonce, BYTES("nonce"));
    check_view(ticket.ticket, BYTES("a ticket"));
    body = sample(TICKET12);
    CHECK_INT(coili_tls_read_ticket(view_of(&body), COILI_TLS12, &ticket), 0);
    CHECK_INT(ticket.lifetime, 604800);
    check_view(ticket.ticket, BYTES("a ticket"));
    CHECK_INT(ticket.nonce.len, 0);
}

TEST(tls_message_ticket_faults_have_their_alerts)
{
#define HEAD13 "\0\0\0\1\0\0\0\2\1n"
    CHECK_INT(reads(TICKET13, BODY(HEAD13 "\0\0\0\0")), 50); /* empty */
    CHECK_INT(reads(TICKET12, BODY("\0\0\0\1\0\0")),
              0); /* announced for nothing */
    CHECK_INT(reads(TICKET13, BODY(HEAD13 "\0\1t\0\0")), 0);
    CHECK_INT(reads(TICKET13, BODY(HEAD13 "\0\1t")), 50);
    CHECK_INT(reads(TICKET13, BODY(HEAD13 "\0\1t\0\x8\0\x2a\0\4\0\0\x40\0")),
              0);
    CHECK_INT(reads(TICKET13, BODY(HEAD13 "\0\1t\0\7\0\x2a\0\3\0\0\x40")), 50);
    CHECK_INT(reads(TICKET13, BODY(HEAD13 "\0\1t\0\4\x3a\x3a\0\0")), 0);
    CHECK_INT(reads(TICKET13, BODY(HEAD13 "\0\1t\0\4\0\x33\0\0")), 47);
    CHECK_INT(
        reads(TICKET13, BODY(HEAD13 "\0\1t\0\x8\x3a\x3a\0\0\x3a\x3a\0\0")), 47);
    CHECK_INT(reads(TICKET13, BODY(HEAD13 "\0\1t\0\3\x3a\x3a\0")), 50);
    CHECK_INT(reads(TICKET13, BODY("\0\0\0\1\0\0\0\2\0\0\1t\0\0")), 0);
}

TEST(tls_message_the_short_ones_have_one_form)
{
    struct body body = sample(KEY_UPDATE);
    bool requested = false;
    CHECK_INT(coili_tls_read_key_update(view_of(&body), &requested), 0);
    CHECK(requested);
    body.at[0] = 0;
    CHECK_INT(coili_tls_read_key_update(view_of(&body), &requested), 0);
    CHECK(!requested);
    for (unsigned value = 2; value < 256; value++) {
        body.at[0] = (unsigned char)value;
        CHECK_INT(reads(KEY_UPDATE, body), 47);
    }
    struct coili_bytes mac;
    body = sample(FINISHED);
    CHECK_INT(coili_tls_read_finished(view_of(&body), 12, &mac), 0);
    check_view(mac, BYTES("twelve bytes"));
    CHECK_INT(coili_tls_read_finished(view_of(&body), 32, &mac), 50);
    CHECK_INT(coili_tls_read_finished(view_of(&body), 11, &mac), 50);
    CHECK_INT(reads(NOTHING, BODY("\0")), 50);
}

/* ---- What OpenSSL sends ------------------------------------------------- */

TEST(tls_message_of_openssl_1_3_is_read)
{
    struct coili_bytes body = captured_body("ec13-certificate"), mac;
    struct coili_tls_certificates c;
    CHECK_INT(coili_tls_read_certificates(body, COILI_TLS13, false, &c), 0);
    CHECK_INT(c.n, 1);
    CHECK_INT(c.certs[0].at[0], COILI_DER_SEQUENCE);
    struct coili_writer w = pen();
    coili_tls_write_certificates(&w, COILI_TLS13, c.certs, c.n);
    struct body again = body_of(&w, COILI_TLS_CERTIFICATE);
    check_view(view_of(&again), body);
    CHECK(coili_tls_read_certificates(body, COILI_TLS12, false, &c) != 0);
    captured_free(body);

    struct coili_tls_signature found;
    body = captured_body("ec13-verify");
    CHECK_INT(
        coili_tls_read_certificate_verify(body, coili_tls_schemes13, &found),
        0);
    CHECK_INT(found.scheme, 0x0403);
    CHECK_INT(found.bytes.len, body.len - 4);
    captured_free(body);
    body = captured_body("ask13-verify");
    CHECK_INT(
        coili_tls_read_certificate_verify(body, coili_tls_schemes13, &found),
        0);
    CHECK_INT(found.scheme, 0x0804);
    captured_free(body);

    struct coili_tls_certificate_request request;
    body = captured_body("ask13-request");
    CHECK_INT(coili_tls_read_certificate_request(body, COILI_TLS13, &request),
              0);
    CHECK(coili_list_has(request.schemes, 0x0804));
    CHECK(request.authorities.len > 0);
    captured_free(body);

    body = captured_body("ec13-finished");
    CHECK_INT(coili_tls_read_finished(body, 48, &mac), 0);
    captured_free(body);

    struct coili_tls_ticket ticket;
    body = captured_body("ec13-ticket");
    CHECK_INT(coili_tls_read_ticket(body, COILI_TLS13, &ticket), 0);
    CHECK_INT(ticket.lifetime, 7200);
    CHECK_INT(ticket.nonce.len, 8);
    CHECK(ticket.ticket.len > 100);
    captured_free(body);

    bool requested = false;
    body = captured_body("ec13-key-update");
    CHECK_INT(coili_tls_read_key_update(body, &requested), 0);
    CHECK(requested);
    captured_free(body);
}

TEST(tls_message_of_openssl_1_2_is_read)
{
    struct coili_bytes body = captured_body("rsa12-certificate"), part;
    struct coili_tls_certificates c;
    CHECK_INT(coili_tls_read_certificates(body, COILI_TLS12, false, &c), 0);
    CHECK_INT(c.n, 1);
    CHECK(coili_tls_read_certificates(body, COILI_TLS13, false, &c) != 0);
    captured_free(body);

    static const struct {
        const char *name;
        unsigned scheme;
    } exchanges[] = { { "rsa12-exchange", 0x0804 },
                      { "ec12-exchange", 0x0403 } };
    for (int i = 0; i < 2; i++) {
        struct coili_tls_server_key_exchange exchange;
        body = captured_body(exchanges[i].name);
        CHECK_INT(coili_tls_read_server_key_exchange(body, &exchange), 0);
        CHECK_INT(exchange.group, 29);
        CHECK_INT(exchange.signature.scheme, exchanges[i].scheme);
        CHECK_INT(exchange.is_signed.len, 36);
        struct coili_writer w = pen();
        coili_tls_write_server_key_exchange(&w, &exchange);
        struct body again = body_of(&w, COILI_TLS_SERVER_KEY_EXCHANGE);
        check_view(view_of(&again), body);
        captured_free(body);
    }

    struct coili_tls_certificate_request request;
    body = captured_body("ec12-request");
    CHECK_INT(coili_tls_read_certificate_request(body, COILI_TLS12, &request),
              0);
    CHECK(memchr(request.types.at, 64, request.types.len) != NULL);
    captured_free(body);

    struct coili_tls_signature found;
    body = captured_body("ec12-verify");
    CHECK_INT(
        coili_tls_read_certificate_verify(body, coili_tls_schemes12, &found),
        0);
    captured_free(body);
    body = captured_body("rsa12-done");
    CHECK_INT(coili_tls_read_nothing(body), 0);
    captured_free(body);
    body = captured_body("rsa12-client-exchange");
    CHECK_INT(coili_tls_read_client_key_exchange(body, 29, &part), 0);
    captured_free(body);
    body = captured_body("rsa12-client-finished");
    CHECK_INT(coili_tls_read_finished(body, 12, &part), 0);
    captured_free(body);
    struct coili_tls_ticket ticket;
    body = captured_body("rsa12-ticket");
    CHECK_INT(coili_tls_read_ticket(body, COILI_TLS12, &ticket), 0);
    CHECK_INT(ticket.lifetime, 7200);
    captured_free(body);
}
