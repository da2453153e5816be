// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_hello.c: hellos as other programs send them, and with each fault.
 *
 * Each test of a violation begins with a message that is right, made by the
 * writer, and changes one thing in it.
 */
#include "test.h"

#include "tls/hello.h"

#include <stdio.h>
#include <stdlib.h>

#include "captured.h"

/* ---- Messages that are right, and changes in them ----------------------- */

/* The body of a message. */
struct body {
    size_t len;
    unsigned char at[1500];
};

static const unsigned char ours[32] = "the random bytes of our own side";
static const unsigned char theirs[32] = "what the server has as its bytes";
static const unsigned char id[32] = "32 bytes to be echoed by servers";
static const unsigned char point[97] = { 4, 'p', 'o', 'i', 'n', 't' };

#define BYTES(literal) \
    ((struct coili_bytes){ (const unsigned char *)(literal), \
                           sizeof(literal) - 1 })

/* An offer of both versions, as it usually is. */
static struct coili_tls_offer usual(void)
{
    return (struct coili_tls_offer){
        .version_min = COILI_TLS12,
        .version_max = COILI_TLS13,
        .random = ours,
        .session_id = { id, 32 },
        .name = BYTES("a.test"),
        .alpn = BYTES("\2h2\10http/1.1"),
        .share_group = COILI_GROUP_X25519,
        .share = { point, 32 },
    };
}

static struct coili_tls_offer with_psk(void)
{
    struct coili_tls_offer offer = usual();
    offer.psk = BYTES("a ticket of TLS 1.3");
    offer.psk_age = 0x01020304;
    offer.psk_suite = COILI_SUITE_AES_256_GCM;
    return offer;
}

static struct coili_tls_offer with_ticket(void)
{
    struct coili_tls_offer offer = usual();
    offer.ticket = BYTES("a ticket of TLS 1.2");
    offer.ticket_suite = COILI_SUITE_RSA_AES_128_GCM;
    return offer;
}

static struct coili_tls_server_hello usual13(void)
{
    return (struct coili_tls_server_hello){
        .version = COILI_TLS13,
        .random = theirs,
        .session_id = { id, 32 },
        .suite = COILI_SUITE_AES_128_GCM,
        .group = COILI_GROUP_X25519,
        .share = { point, 32 },
    };
}

static struct coili_tls_server_hello usual_retry(void)
{
    struct coili_tls_server_hello hello = usual13();
    hello.is_retry = true;
    hello.group = COILI_GROUP_P256;
    hello.share.len = 0;
    hello.cookie = BYTES("a cookie");
    return hello;
}

static struct coili_tls_server_hello usual12(void)
{
    return (struct coili_tls_server_hello){
        .version = COILI_TLS12,
        .random = theirs,
        .session_id = BYTES("another"),
        .suite = COILI_SUITE_RSA_AES_128_GCM,
        .has_ems = true,
        .has_ticket = true,
        .has_renegotiation_info = true,
        .has_name = true,
        .has_point_formats = true,
        .alpn = BYTES("h2"),
    };
}

/* Take the body out of one whole message of this type. */
static struct body body_of(const struct coili_writer *w, unsigned type)
{
    struct body body;
    CHECK(coili_writer_is_whole(w));
    CHECK(w->len >= 4 && w->len - 4 <= sizeof body.at);
    CHECK_INT(w->at[0], type);
    CHECK_INT(w->at[1] << 16 | w->at[2] << 8 | w->at[3], w->len - 4);
    body.len = w->len - 4;
    memcpy(body.at, w->at + 4, body.len);
    return body;
}

static struct body client_hello(struct coili_tls_offer offer)
{
    unsigned char memory[1504];
    struct coili_writer w = { .at = memory, .size = sizeof memory };
    coili_tls_write_client_hello(&w, &offer);
    return body_of(&w, COILI_TLS_CLIENT_HELLO);
}

static struct body server_hello(struct coili_tls_server_hello hello)
{
    unsigned char memory[1504];
    struct coili_writer w = { .at = memory, .size = sizeof memory };
    coili_tls_write_server_hello(&w, &hello);
    return body_of(&w, COILI_TLS_SERVER_HELLO);
}

static struct body encrypted_extensions(void)
{
    struct coili_tls_encrypted_extensions extensions = { .alpn = BYTES("h2"),
                                                         .has_name = true };
    unsigned char memory[100];
    struct coili_writer w = { .at = memory, .size = sizeof memory };
    coili_tls_write_encrypted_extensions(&w, &extensions);
    return body_of(&w, COILI_TLS_ENCRYPTED_EXTENSIONS);
}

enum kind { CLIENT, SERVER, ENCRYPTED };

/* Where the length of the list of extensions stands. */
static size_t list_at(const struct body *body, enum kind kind)
{
    if (kind == ENCRYPTED)
        return 0;
    size_t at = 2 + 32;
    at += 1 + body->at[at];
    if (kind == SERVER)
        return at + 2 + 1;
    at += 2 + (size_t)(body->at[at] << 8 | body->at[at + 1]);
    return at + 1 + body->at[at];
}

/* Where an extension begins; 0: it is not there. */
static size_t find(const struct body *body, enum kind kind, unsigned type)
{
    size_t at = list_at(body, kind) + 2;
    while (at < body->len) {
        if ((unsigned)(body->at[at] << 8 | body->at[at + 1]) == type)
            return at;
        at += 4 + (size_t)(body->at[at + 2] << 8 | body->at[at + 3]);
    }
    return 0;
}

/* Replace `out` bytes at `at` by others, and set the length of the list. */
static void splice(struct body *body, enum kind kind, size_t at, size_t out,
                   const void *in, size_t in_len)
{
    CHECK(body->len - out + in_len <= sizeof body->at);
    memmove(body->at + at + in_len, body->at + at + out, body->len - at - out);
    memcpy(body->at + at, in, in_len);
    body->len = body->len - out + in_len;
    size_t list = list_at(body, kind);
    body->at[list] = (unsigned char)((body->len - list - 2) >> 8);
    body->at[list + 1] = (unsigned char)(body->len - list - 2);
}

static size_t extension_bytes(const struct body *body, size_t at)
{
    return 4 + (size_t)(body->at[at + 2] << 8 | body->at[at + 3]);
}

static struct body without(struct body body, enum kind kind, unsigned type)
{
    size_t at = find(&body, kind, type);
    CHECK(at);
    splice(&body, kind, at, extension_bytes(&body, at), "", 0);
    return body;
}

/* An extension with this content: in place of its like, or in front. */
static struct body with(struct body body, enum kind kind, unsigned type,
                        const void *data, size_t len)
{
    unsigned char extension[600] = { (unsigned char)(type >> 8),
                                     (unsigned char)type,
                                     (unsigned char)(len >> 8),
                                     (unsigned char)len };
    CHECK(len + 4 <= sizeof extension);
    memcpy(extension + 4, data, len);
    size_t at = find(&body, kind, type);
    size_t out = at ? extension_bytes(&body, at) : 0;
    splice(&body, kind, at ? at : list_at(&body, kind) + 2, out, extension,
           len + 4);
    return body;
}

#define WITH(body, kind, type, literal) \
    with(body, kind, type, literal, sizeof(literal) - 1)

static struct body changed(struct body body, size_t at, unsigned value)
{
    CHECK(at < body.len);
    body.at[at] = (unsigned char)value;
    return body;
}

static struct body longer(struct body body)
{
    body.at[body.len++] = 0;
    return body;
}

/* ---- Reading them: the alert -------------------------------------------- */

/* In a block of exactly its size, so that what is read behind it is seen. */
static struct coili_bytes exact(const struct body *body, size_t len)
{
    unsigned char *block = malloc(len ? len : 1);
    CHECK(block);
    memcpy(block, body->at, len);
    return (struct coili_bytes){ block, len };
}

static int as_server(struct body body, struct coili_tls_offer offer)
{
    struct coili_tls_server_hello hello;
    struct coili_bytes block = exact(&body, body.len);
    int alert = coili_tls_read_server_hello(block, &offer, &hello);
    CHECK(alert == 0 || (!hello.suite && !hello.random && !hello.share.at));
    captured_free(block);
    return alert;
}

static int reads(struct body body)
{
    return as_server(body, usual());
}

static int reads_extensions(struct body body)
{
    struct coili_tls_offer offer = usual();
    struct coili_tls_encrypted_extensions extensions;
    struct coili_bytes block = exact(&body, body.len);
    int alert = coili_tls_read_encrypted_extensions(block, &offer, &extensions);
    CHECK(alert == 0 || (!extensions.has_name && !extensions.alpn.at));
    captured_free(block);
    return alert;
}

static int serves(struct body body, unsigned version_min, unsigned version_max)
{
    struct coili_tls_client_hello hello;
    struct coili_bytes block = exact(&body, body.len);
    int alert = coili_tls_read_client_hello(block, version_min, version_max,
                                            &hello);
    CHECK(alert == 0 || (!hello.version && !hello.random && !hello.shares.at));
    captured_free(block);
    return alert;
}

static int serves_any(struct body body)
{
    return serves(body, COILI_TLS12, COILI_TLS13);
}

/* A hello of 1.2 alone. */
static struct body client_hello12(void)
{
    struct coili_tls_offer offer = with_ticket();
    offer.version_max = COILI_TLS12;
    return client_hello(offer);
}

/* ---- What is written is read -------------------------------------------- */

static void check_view(struct coili_bytes view, struct coili_bytes expected)
{
    CHECK_INT(view.len, expected.len);
    if (expected.len)
        CHECK_MEM(view.at, expected.at, expected.len);
}

/* Read our hello as a server of `version` does, and compare it to the offer. */
static void check_offer(struct coili_tls_offer offer, unsigned version)
{
    struct body body = client_hello(offer);
    struct coili_bytes view = { body.at, body.len }, share;
    struct coili_tls_client_hello hello;
    bool has12 = offer.version_min == COILI_TLS12;
    bool has13 = offer.version_max == COILI_TLS13;
    CHECK_INT(coili_tls_read_client_hello(view, COILI_TLS12, version, &hello),
              0);
    CHECK_INT(hello.version, version);
    CHECK_MEM(hello.random, ours, 32);
    check_view(hello.session_id, offer.session_id);
    check_view(hello.name, offer.name);
    check_view(hello.alpn, offer.alpn);
    check_view(hello.groups, BYTES("\0\35\0\27\0\30"));
    check_view(hello.schemes,
               has12 ? coili_tls_schemes12 : coili_tls_schemes13);
    check_view(hello.schemes_cert, coili_tls_schemes_cert);
    CHECK_INT(hello.suites.len, 2 * (3 * has13 + 6 * has12));
    static const unsigned suites[] = { 0,      0x1300, 0x1301, 0x1302, 0x1303,
                                       0x1304, 0xc02b, 0xc02c, 0xc02d, 0xc02f,
                                       0xc030, 0xcca8, 0xcca9, 0xccaa, 0x5600 };
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++)
        CHECK_INT(coili_list_has(hello.suites, suites[i]),
                  coili_tls_offers_suite(&offer, COILI_TLS12, suites[i]) ||
                      coili_tls_offers_suite(&offer, COILI_TLS13, suites[i]));
    CHECK_INT(hello.has_ems, has12);
    CHECK_INT(hello.has_renegotiation_info, has12);
    CHECK_INT(hello.has_point_formats, has12);
    CHECK_INT(hello.has_ticket, has12);
    check_view(hello.ticket, offer.ticket);
    CHECK_INT(coili_tls_find_share(&hello, offer.share_group, &share), has13);
    if (has13)
        check_view(share, offer.share);
    CHECK_INT(hello.psk_with_dhe, has13);
    CHECK_INT(hello.psks_n, has13 && offer.psk.len > 0);
    CHECK(!hello.has_early_data);
    if (hello.psks_n > 0) {
        struct coili_tls_psk psk;
        struct coili_bytes psks = hello.psks, binders = hello.binders;
        CHECK(coili_tls_take_psk(&psks, &binders, &psk));
        check_view(psk.identity, offer.psk);
        CHECK_INT(psk.age, offer.psk_age);
        CHECK_INT(psk.binder.len, coili_suite_hash_bytes(offer.psk_suite));
        CHECK(psk.binder.at + psk.binder.len == body.at + body.len);
        CHECK_INT(body.len - hello.binders_at, coili_tls_binders_bytes(&offer));
        CHECK(!coili_tls_take_psk(&psks, &binders, &psk));
    }
    CHECK_INT(find(&body, CLIENT, COILI_EXT_COOKIE) > 0,
              has13 && offer.cookie.len > 0);
    CHECK(body.len + 4 < 256 || body.len + 4 > 511);
}

TEST(hello_of_a_client_is_read_as_it_was_offered)
{
    for (int i = 0; i < 64; i++) {
        struct coili_tls_offer offer = i & 1   ? with_psk()
                                       : i & 2 ? with_ticket()
                                               : usual();
        offer.aes_is_slow = i & 4;
        if (i & 8)
            offer.name.len = 0;
        if (i & 16)
            offer.alpn.len = 0;
        if (i & 32)
            offer.cookie = BYTES("a cookie of the server's");
        check_offer(offer, COILI_TLS13);
        check_offer(offer, COILI_TLS12);
        offer.version_max = COILI_TLS12;
        offer.psk.len = 0;
        offer.cookie.len = 0;
        check_offer(offer, COILI_TLS12);
        offer.version_min = offer.version_max = COILI_TLS13;
        offer.ticket.len = 0;
        check_offer(offer, COILI_TLS13);
        offer.session_id.len = 0;
        offer.share_group = COILI_GROUP_P384;
        offer.share.len = 97;
        check_offer(offer, COILI_TLS13);
    }
}

// A load balancer of old stalls at hellos of 256 to 511 bytes.
TEST(hello_of_256_to_511_bytes_is_padded)
{
    static unsigned char filler[300];
    struct coili_tls_offer offer = usual();
    offer.name.len = 0;
    offer.alpn.len = 0;
    size_t plain = client_hello(offer).len + 4, padded = 0;
    memset(filler, 'x', sizeof filler);
    for (size_t n = 1; n <= 255; n++) {
        offer.name = (struct coili_bytes){ filler, n };
        struct body body = client_hello(offer);
        size_t len = plain + n + 9;
        bool pads = len > 255 && len < 512;
        CHECK_INT(find(&body, CLIENT, COILI_EXT_PADDING) > 0, pads);
        padded += pads;
        CHECK_INT(body.len + 4, !pads ? len : len + 5 > 512 ? len + 5 : 512);
    }
    CHECK(padded > 200);
    offer.psk = (struct coili_bytes){ filler, 100 };
    offer.psk_suite = COILI_SUITE_AES_128_GCM;
    for (size_t n = 1; n <= 255; n++) {
        offer.name.len = n;
        struct body body = client_hello(offer);
        CHECK(body.len + 4 < 256 || body.len + 4 > 511);
        CHECK_INT(serves_any(body), 0); /* so the PSK stands last */
    }
}

TEST(hello_puts_chacha_first_if_aes_is_slow)
{
    struct coili_tls_offer offer = usual();
    struct body body = client_hello(offer);
    CHECK_MEM(body.at + 67, "\0\22\x13\1\x13\2\x13\3\xc0\x2b\xc0\x2f", 12);
    offer.aes_is_slow = true;
    body = client_hello(offer);
    CHECK_MEM(body.at + 67, "\0\22\x13\3\x13\1\x13\2\xcc\xa9\xcc\xa8\xc0\x2b",
              14);
}

static void check_server_hello(struct coili_tls_server_hello expected,
                               struct coili_tls_offer offer)
{
    struct body body = server_hello(expected);
    struct coili_tls_server_hello hello;
    struct coili_bytes view = { body.at, body.len };
    CHECK_INT(coili_tls_read_server_hello(view, &offer, &hello), 0);
    CHECK_INT(hello.version, expected.version);
    CHECK_INT(hello.is_retry, expected.is_retry);
    if (!expected.is_retry)
        CHECK_MEM(hello.random, expected.random, 32);
    check_view(hello.session_id, expected.session_id);
    CHECK_INT(hello.suite, expected.suite);
    CHECK_INT(hello.group, expected.group);
    check_view(hello.share, expected.share);
    check_view(hello.cookie, expected.cookie);
    CHECK_INT(hello.psk_is_taken, expected.psk_is_taken);
    CHECK_INT(hello.is_resumed, expected.is_resumed);
    CHECK_INT(hello.has_ems, expected.has_ems);
    CHECK_INT(hello.has_ticket, expected.has_ticket);
    CHECK_INT(hello.has_renegotiation_info, expected.has_renegotiation_info);
    CHECK_INT(hello.has_name, expected.has_name);
    CHECK_INT(hello.has_point_formats, expected.has_point_formats);
    check_view(hello.alpn, expected.alpn);
    CHECK(!hello.is_downgrade && !hello.why);
}

TEST(hello_of_a_server_is_read_as_it_was_written)
{
    struct coili_tls_server_hello hello = usual13();
    check_server_hello(hello, usual());
    hello.psk_is_taken = true;
    hello.suite = COILI_SUITE_AES_256_GCM;
    check_server_hello(hello, with_psk());

    check_server_hello(usual_retry(), usual());
    hello = usual_retry();
    hello.group = 0;
    check_server_hello(hello, usual());
    hello = usual_retry();
    hello.cookie.len = 0;
    hello.group = COILI_GROUP_P384;
    check_server_hello(hello, usual());

    check_server_hello(usual12(), usual());
    hello = usual12();
    hello.has_ems = hello.has_ticket = hello.has_name = false;
    hello.has_point_formats = false;
    hello.alpn.len = 0;
    check_server_hello(hello, usual());
    hello = usual12();
    hello.session_id = (struct coili_bytes){ id, 32 };
    hello.is_resumed = true;
    check_server_hello(hello, with_ticket());
}

TEST(hello_encrypted_extensions_are_read_as_they_were_written)
{
    struct body body = encrypted_extensions();
    struct coili_tls_offer offer = usual();
    struct coili_tls_encrypted_extensions extensions;
    struct coili_bytes view = { body.at, body.len };
    CHECK_INT(coili_tls_read_encrypted_extensions(view, &offer, &extensions),
              0);
    CHECK(extensions.has_name);
    check_view(extensions.alpn, BYTES("h2"));
    body = without(without(body, ENCRYPTED, 0), ENCRYPTED, 16);
    CHECK_INT(body.len, 2);
    view = (struct coili_bytes){ body.at, body.len };
    CHECK_INT(coili_tls_read_encrypted_extensions(view, &offer, &extensions),
              0);
    CHECK(!extensions.has_name);
    CHECK_INT(extensions.alpn.len, 0);
}

/* ---- Cut, too long, lengths that are wrong ------------------------------ */

/* Check that no message which is cut, or has a byte behind it, is read. */
static void check_cuts(struct body body, int (*read)(struct body))
{
    CHECK_INT(read(body), 0);
    CHECK_INT(read(longer(body)), COILI_ALERT_DECODE_ERROR);
    for (size_t len = 0; len < body.len; len++) {
        struct body cut = body;
        cut.len = len;
        CHECK(read(cut) != 0);
    }
}

/* A list of extensions whose length is right, with the last one cut. */
static void check_cut_lists(struct body body, enum kind kind,
                            int (*read)(struct body))
{
    size_t list = list_at(&body, kind) + 2;
    while (body.len > list) {
        size_t last = list;
        while (last + extension_bytes(&body, last) < body.len)
            last += extension_bytes(&body, last);
        while (body.len > last + 1) {
            splice(&body, kind, body.len - 1, 1, "", 0);
            CHECK_INT(read(body), COILI_ALERT_DECODE_ERROR);
        }
        splice(&body, kind, body.len - 1, 1, "", 0);
    }
}

static int serves13(struct body body)
{
    return serves(body, COILI_TLS13, COILI_TLS13);
}

static int reads_with_psk(struct body body)
{
    return as_server(body, with_psk());
}

TEST(hello_cut_anywhere_is_none)
{
    struct coili_tls_server_hello taken = usual13();
    taken.psk_is_taken = true;
    taken.suite = COILI_SUITE_AES_256_GCM;
    check_cuts(server_hello(usual13()), reads);
    check_cuts(server_hello(usual_retry()), reads);
    check_cuts(server_hello(usual12()), reads);
    check_cuts(server_hello(taken), reads_with_psk);
    check_cuts(encrypted_extensions(), reads_extensions);
    check_cuts(client_hello(usual()), serves13);
    check_cuts(client_hello(with_psk()), serves13);
    check_cut_lists(server_hello(usual13()), SERVER, reads);
    check_cut_lists(server_hello(usual12()), SERVER, reads);
    check_cut_lists(encrypted_extensions(), ENCRYPTED, reads_extensions);
    check_cut_lists(client_hello(usual()), CLIENT, serves_any);
    check_cut_lists(client_hello(with_psk()), CLIENT, serves_any);
    check_cut_lists(client_hello12(), CLIENT, serves_any);
}

// In 1.2 the list of extensions may be missing, but what it must say may not.
TEST(hello_without_extensions_is_one_of_1_2)
{
    struct body body = client_hello12();
    body.len = list_at(&body, CLIENT);
    CHECK_INT(serves_any(body), 0);
    CHECK_INT(serves13(body), COILI_ALERT_PROTOCOL_VERSION);
    body.at[body.len++] = 0;
    CHECK_INT(serves_any(body), COILI_ALERT_DECODE_ERROR);
    body.at[body.len++] = 0;
    CHECK_INT(serves_any(body), 0);

    body = server_hello(usual12());
    body.len = list_at(&body, SERVER);
    CHECK_INT(reads(body), COILI_ALERT_HANDSHAKE_FAILURE);
}

/* Raise and lower the length at `at`, which has `n` bytes. */
static void check_length(struct body body, size_t at, size_t n,
                         int (*read)(struct body))
{
    size_t last = at + n - 1;
    CHECK(read(changed(body, last, body.at[last] + 1u)) != 0);
    CHECK(read(changed(body, last, body.at[last] - 1u)) != 0);
    CHECK(read(changed(body, at, 0xff)) != 0);
}

/*
 * Each length of a hello, and the first one inside each extension that consists
 * of a vector, but those in `plain`, a list that 0xffff ends.
 */
static void check_lengths(struct body body, enum kind kind,
                          const unsigned *plain, int (*read)(struct body))
{
    size_t at = list_at(&body, kind);
    if (kind != ENCRYPTED)
        check_length(body, 34, 1, read);
    if (kind == CLIENT) {
        check_length(body, 67, 2, read);
        check_length(body, at - 2, 1, read);
    }
    check_length(body, at, 2, read);
    for (at += 2; at < body.len; at += extension_bytes(&body, at)) {
        unsigned type = (unsigned)(body.at[at] << 8 | body.at[at + 1]);
        bool is_plain = false;
        for (const unsigned *p = plain; *p != 0xffff; p++)
            is_plain |= *p == type;
        check_length(body, at + 2, 2, read);
        if (is_plain)
            continue;
        bool is_short = type == COILI_EXT_EC_POINT_FORMATS ||
                        type == COILI_EXT_RENEGOTIATION_INFO ||
                        type == COILI_EXT_PSK_KEY_EXCHANGE_MODES ||
                        (type == COILI_EXT_SUPPORTED_VERSIONS &&
                         kind == CLIENT);
        check_length(body, at + 4, is_short ? 1 : 2, read);
    }
}

TEST(hello_each_length_is_checked)
{
    static const unsigned in_client[] = { 21, 23, 35, 0xffff };
    static const unsigned in_server[] = { 0, 23, 35, 41, 43, 51, 0xffff };
    struct coili_tls_offer offer = usual();
    offer.cookie = BYTES("a cookie");
    check_lengths(client_hello(offer), CLIENT, in_client, serves13);
    check_lengths(client_hello(with_psk()), CLIENT, in_client, serves13);
    check_lengths(server_hello(usual13()), SERVER, in_server, reads);
    check_lengths(server_hello(usual_retry()), SERVER, in_server, reads);
    check_lengths(server_hello(usual12()), SERVER, in_server, reads);
    check_lengths(encrypted_extensions(), ENCRYPTED, in_server,
                  reads_extensions);
}

/* ---- Extensions: twice, unknown, in a wrong message --------------------- */

/* Each extension of a message once more, in front of the others. */
static void check_twice(struct body body, enum kind kind,
                        int (*read)(struct body))
{
    size_t list = list_at(&body, kind) + 2;
    for (size_t at = list; at < body.len; at += extension_bytes(&body, at)) {
        unsigned char extension[600];
        struct body twice = body;
        size_t len = extension_bytes(&body, at);
        memcpy(extension, body.at + at, len);
        splice(&twice, kind, list, 0, extension, len);
        CHECK_INT(read(twice), COILI_ALERT_ILLEGAL_PARAMETER);
    }
}

TEST(hello_with_an_extension_twice_is_refused)
{
    check_twice(server_hello(usual13()), SERVER, reads);
    check_twice(server_hello(usual_retry()), SERVER, reads);
    check_twice(server_hello(usual12()), SERVER, reads);
    check_twice(encrypted_extensions(), ENCRYPTED, reads_extensions);
    check_twice(client_hello(with_psk()), CLIENT, serves_any);
    check_twice(client_hello12(), CLIENT, serves_any);
}

/* All types of extensions below 300, some above them, and 0xff01. */
static unsigned next_type(unsigned type)
{
    if (type < 300)
        return type + 1;
    return type < 0xff01 && type + 97 > 0xff01 ? 0xff01 : type + 97;
}

/* The answer to one more extension of each type, empty, in a server's message. */
static void check_types(struct body body, enum kind kind,
                        const unsigned *allowed, int (*read)(struct body))
{
    for (unsigned type = 0; type < 65536; type = next_type(type)) {
        bool is_allowed = find(&body, kind, type) > 0;
        for (const unsigned *p = allowed; *p != 0xffff; p++)
            is_allowed |= *p == type;
        if (!is_allowed)
            CHECK_INT(read(WITH(body, kind, type, "")),
                      coili_extension_alert(type));
    }
}

TEST(hello_a_client_takes_no_extension_that_it_did_not_ask_for)
{
    static const unsigned none[] = { 41, 0xffff }, cookie[] = { 44, 0xffff };
    static const unsigned any12[] = { 10, 43, 0xffff }, any[] = { 10, 0xffff };
    struct coili_tls_server_hello retry = usual_retry();
    retry.cookie.len = 0;
    check_types(server_hello(usual13()), SERVER, none, reads);
    check_types(server_hello(retry), SERVER, cookie, reads);
    check_types(server_hello(usual12()), SERVER, any12, reads);
    check_types(encrypted_extensions(), ENCRYPTED, any, reads_extensions);
}

TEST(hello_a_client_takes_no_answer_to_a_question_it_did_not_ask)
{
    struct coili_tls_offer offer = usual();
    offer.name.len = offer.alpn.len = 0;
    struct body body = server_hello(usual12());
    CHECK_INT(as_server(body, offer), 110);
    CHECK_INT(as_server(without(body, SERVER, 0), offer), 110);
    CHECK_INT(as_server(without(without(body, SERVER, 0), SERVER, 16), offer),
              0);
    CHECK_INT(reads(WITH(server_hello(usual13()), SERVER, 41, "\0\0")), 110);
    struct coili_tls_encrypted_extensions extensions;
    body = encrypted_extensions();
    struct coili_bytes view = { body.at, body.len };
    CHECK_INT(coili_tls_read_encrypted_extensions(view, &offer, &extensions),
              110);
}

// GREASE (RFC 8701), drafts, extensions of the future.
TEST(hello_a_server_passes_over_what_it_does_not_know)
{
    static const unsigned known[] = { 0,  10, 11, 13, 16, 23, 35,    41,
                                      42, 43, 44, 45, 50, 51, 65281, 0xffff };
    struct body body = client_hello(with_psk());
    for (unsigned type = 0; type < 65536; type = next_type(type)) {
        bool is_known = false;
        for (const unsigned *p = known; *p != 0xffff; p++)
            is_known |= *p == type;
        if (!is_known)
            CHECK_INT(serves_any(WITH(body, CLIENT, type, "\1\2\3")), 0);
    }
    body = WITH(body, CLIENT, 10, "\0\10\x2a\x2a\x11\xec\0\x1d\0\x17");
    body = WITH(body, CLIENT, 13, "\0\6\x7a\x7a\x08\x04\x08\x07");
    body = WITH(body, CLIENT, 43, "\6\x9a\x9a\3\4\3\3");
    body = WITH(body, CLIENT, 45, "\2\x0b\1");
    body = WITH(body, CLIENT, 16, "\0\6\2\x1a\x1a\2h2");
    body = WITH(body, CLIENT, 0, "\0\14\1\0\0\0\0\6a.test");
    body = with(body, CLIENT, 51,
                "\0\x2e\x2a\x2a\0\1\0\x11\xec\0\1x\0\x1d\0\x20"
                "0123456789abcdef0123456789abcdef",
                48);
    body.at[67 + 2] = 0x3a; /* the first suite */
    body.at[67 + 3] = 0x3a;
    struct coili_tls_client_hello hello;
    struct coili_bytes view = { body.at, body.len }, share;
    CHECK_INT(coili_tls_read_client_hello(view, 0x0303, 0x0304, &hello), 0);
    CHECK_INT(hello.version, 0x0304);
    CHECK(coili_tls_find_share(&hello, 29, &share));
    CHECK_MEM(share.at, "0123", 4);
    CHECK(!coili_tls_find_share(&hello, 23, &share));
    CHECK(coili_tls_alpn_has(hello.alpn, BYTES("h2")));
    check_view(hello.name, BYTES("a.test"));
    CHECK(hello.psk_with_dhe);
}

/* ---- A client: what a server may not say -------------------------------- */

TEST(hello_a_client_refuses_versions_that_it_did_not_offer)
{
    struct body b13 = server_hello(usual13()), b12 = server_hello(usual12());
    struct coili_tls_offer only12 = usual(), only13 = usual();
    only12.version_max = COILI_TLS12;
    only13.version_min = COILI_TLS13;
    CHECK_INT(reads(changed(b13, 1, 2)), 47);
    CHECK_INT(reads(changed(b13, 1, 4)), 47);
    CHECK_INT(reads(WITH(b13, SERVER, 43, "\3\5")), 47);
    CHECK_INT(reads(WITH(b13, SERVER, 43, "\3\3")), 47);
    CHECK_INT(reads(WITH(b13, SERVER, 43, "\x7f\x1c")), 47);
    CHECK_INT(reads(WITH(b13, SERVER, 43, "\2\3\4")), 50);
    CHECK_INT(reads(WITH(b13, SERVER, 43, "\3")), 50);
    CHECK_INT(reads(WITH(b13, SERVER, 43, "")), 50);
    CHECK_INT(as_server(b13, only12), 47);
    CHECK_INT(as_server(b13, only13), 0);
    CHECK_INT(reads(changed(b12, 1, 2)), 70);
    CHECK_INT(reads(changed(b12, 1, 0)), 70);
    CHECK_INT(reads(changed(b12, 1, 4)), 70);
    CHECK_INT(as_server(b12, only13), 70);
    CHECK_INT(as_server(b12, only12), 0);
    CHECK_INT(reads(without(b13, SERVER, 43)), 47); /* 1301 is none of 1.2 */
}

// Somebody between took 1.3 out of our hello (RFC 8446, 4.1.3).
TEST(hello_a_client_sees_the_sentinel_of_a_downgrade)
{
    struct body body = server_hello(usual12());
    struct coili_tls_offer only12 = usual();
    only12.version_max = COILI_TLS12;
    for (unsigned last = 0; last < 3; last++) {
        struct coili_tls_offer offer = usual();
        struct coili_tls_server_hello hello;
        memcpy(body.at + 26, "DOWNGRD", 7);
        body.at[33] = (unsigned char)last;
        struct coili_bytes view = { body.at, body.len };
        int alert = coili_tls_read_server_hello(view, &offer, &hello);
        CHECK_INT(alert, last < 2 ? 47 : 0);
        CHECK_INT(hello.is_downgrade, last < 2);
        CHECK_INT(as_server(body, only12), 0);
    }
}

TEST(hello_a_client_refuses_suites_ids_and_compression_not_its_own)
{
    struct body b13 = server_hello(usual13()), b12 = server_hello(usual12());
    CHECK_INT(reads(changed(b13, 67 + 1, 4)), 47); /* 1304 */
    CHECK_INT(reads(changed(b13, 67, 0)), 47);     /* 0001 */
    CHECK_INT(reads(changed(b13, 67 + 1, 0)), 47); /* 1300 */
    CHECK_INT(reads(changed(b13, 35, 'T')), 47);   /* the session id */
    CHECK_INT(reads(changed(b13, 67 + 2, 1)), 47); /* compression */
    CHECK_INT(reads(changed(b12, 42, 0x13)), 47);  /* 132f */
    CHECK_INT(reads(changed(b12, 43, 0x2d)), 47);  /* c02d */
    CHECK_INT(reads(changed(b12, 44, 1)), 47);
    struct coili_tls_server_hello hello = usual13();
    hello.session_id.len = 31;
    CHECK_INT(reads(server_hello(hello)), 47);
    hello.session_id.len = 0;
    CHECK_INT(reads(server_hello(hello)), 47);
    hello = usual12();
    hello.suite = COILI_SUITE_AES_128_GCM;
    CHECK_INT(reads(server_hello(hello)), 47);
    hello = usual13();
    hello.suite = COILI_SUITE_RSA_AES_128_GCM;
    CHECK_INT(reads(server_hello(hello)), 47);
    hello.suite = 0;
    CHECK_INT(reads(server_hello(hello)), 47);
    unsigned char id33[33] = { 0 };
    hello = usual12();
    hello.session_id = (struct coili_bytes){ id33, 33 };
    CHECK_INT(reads(server_hello(hello)), 50);
}

TEST(hello_a_client_takes_the_share_of_its_group_alone)
{
    struct body body = server_hello(usual13());
    CHECK_INT(reads(without(body, SERVER, 51)), 109);
    struct coili_tls_server_hello hello = usual13();
    hello.group = COILI_GROUP_P384;
    hello.share.len = 97;
    CHECK_INT(reads(server_hello(hello)), 47);
    hello.group = COILI_GROUP_X25519;
    for (size_t len = 0; len <= 97; len++) {
        hello.share.len = len;
        CHECK_INT(reads(server_hello(hello)), len == 0    ? 50
                                              : len == 32 ? 0
                                                          : 47);
    }
    struct coili_tls_offer offer = usual();
    offer.share_group = hello.group = COILI_GROUP_P256;
    offer.retry_suite = COILI_SUITE_AES_128_GCM;
    hello.share.len = 65;
    CHECK_INT(as_server(server_hello(hello), offer), 0);
    unsigned char other[65] = { 2 };
    hello.share.at = other; /* compressed */
    CHECK_INT(as_server(server_hello(hello), offer), 47);
    CHECK_INT(reads(WITH(body, SERVER, 51, "\0\x1d")), 50);
    CHECK_INT(reads(WITH(body, SERVER, 51, "\0")), 50);
    CHECK_INT(reads(WITH(body, SERVER, 51, "")), 50);
}

TEST(hello_a_retry_must_change_something_that_was_offered)
{
    struct coili_tls_server_hello hello = usual_retry();
    hello.group = 0;
    hello.cookie.len = 0;
    CHECK_INT(reads(server_hello(hello)), 47);
    hello.group = COILI_GROUP_X25519; /* the share is there */
    CHECK_INT(reads(server_hello(hello)), 47);
    hello.cookie = BYTES("a cookie");
    CHECK_INT(reads(server_hello(hello)), 47);
    hello.group = 25; /* P-521 */
    CHECK_INT(reads(server_hello(hello)), 47);
    struct body body = server_hello(usual_retry());
    CHECK_INT(reads(WITH(body, SERVER, 44, "\0\0")), 50);
    CHECK_INT(reads(WITH(body, SERVER, 44, "\0\2a")), 50);
    CHECK_INT(reads(WITH(body, SERVER, 44, "")), 50);
    CHECK_INT(reads(WITH(body, SERVER, 51, "\0\x17\0\0")), 50);
    CHECK_INT(reads(WITH(body, SERVER, 51, "\0")), 50);
    CHECK_INT(reads_with_psk(WITH(body, SERVER, 41, "\0\0")), 47);
    CHECK_INT(reads(WITH(server_hello(usual13()), SERVER, 44, "\0\1x")), 47);
    CHECK_INT(reads(without(body, SERVER, 43)), 47); /* a retry in 1.2 */
    struct coili_tls_offer only12 = usual();
    only12.version_max = COILI_TLS12;
    CHECK_INT(as_server(without(body, SERVER, 43), only12), 47);
}

TEST(hello_behind_a_retry_keeps_version_and_suite)
{
    struct coili_tls_offer offer = usual();
    struct coili_tls_server_hello retry = usual_retry();
    offer.retry_suite = COILI_SUITE_AES_128_GCM;
    offer.share_group = COILI_GROUP_P256;
    offer.share.len = 65;
    CHECK_INT(as_server(server_hello(retry), offer), 10);
    retry.group = COILI_GROUP_P384;
    CHECK_INT(as_server(server_hello(retry), offer), 10);
    struct coili_tls_server_hello hello = usual13();
    hello.group = COILI_GROUP_P256;
    hello.share.len = 65;
    CHECK_INT(as_server(server_hello(hello), offer), 0);
    hello.suite = COILI_SUITE_CHACHA20;
    CHECK_INT(as_server(server_hello(hello), offer), 47);
    CHECK_INT(as_server(server_hello(usual12()), offer), 47);
}

TEST(hello_a_client_knows_which_psk_it_sent)
{
    struct coili_tls_server_hello hello = usual13();
    hello.psk_is_taken = true;
    CHECK_INT(reads_with_psk(server_hello(hello)), 47); /* SHA-256 */
    hello.suite = COILI_SUITE_AES_256_GCM;
    struct body body = server_hello(hello);
    CHECK_INT(reads_with_psk(body), 0);
    CHECK_INT(reads_with_psk(WITH(body, SERVER, 41, "\0\1")), 47);
    CHECK_INT(reads_with_psk(WITH(body, SERVER, 41, "\1\0")), 47);
    CHECK_INT(reads_with_psk(WITH(body, SERVER, 41, "\0")), 50);
    CHECK_INT(reads_with_psk(WITH(body, SERVER, 41, "\0\0\0")), 50);
    CHECK_INT(reads_with_psk(without(body, SERVER, 41)), 0);
    CHECK_INT(reads_with_psk(without(body, SERVER, 51)), 109);
}

TEST(hello_of_1_2_has_what_makes_it_safe)
{
    struct body body = server_hello(usual12());
    struct coili_tls_offer offer = usual();
    CHECK_INT(reads(without(body, SERVER, 0xff01)), 40);
    CHECK_INT(reads(WITH(body, SERVER, 0xff01, "\1x")), 40);
    CHECK_INT(reads(WITH(body, SERVER, 0xff01, "")), 50);
    CHECK_INT(reads(WITH(body, SERVER, 0xff01, "\1")), 50);
    CHECK_INT(reads(WITH(body, SERVER, 0xff01, "\0\0")), 50);
    CHECK_INT(reads(WITH(body, SERVER, 23, "\0")), 50);
    CHECK_INT(reads(WITH(body, SERVER, 35, "\0")), 50);
    CHECK_INT(reads(WITH(body, SERVER, 0, "\0")), 50);
    CHECK_INT(reads(WITH(body, SERVER, 11, "\1\1")), 47);
    CHECK_INT(reads(WITH(body, SERVER, 11, "\2\1\0")), 0);
    CHECK_INT(reads(WITH(body, SERVER, 11, "\0")), 50);
    CHECK_INT(reads(WITH(body, SERVER, 11, "")), 50);
    CHECK_INT(reads(WITH(body, SERVER, 10, "anything")), 0); /* F5 sends it */
    CHECK_INT(reads(without(body, SERVER, 23)), 0);
    offer.ems_required = true;
    CHECK_INT(as_server(body, offer), 0);
    CHECK_INT(as_server(without(body, SERVER, 23), offer), 40);
}

TEST(hello_of_1_2_resumes_what_was_offered)
{
    struct coili_tls_server_hello hello = usual12();
    hello.session_id = (struct coili_bytes){ id, 32 };
    CHECK_INT(reads(server_hello(hello)), 47); /* no ticket was sent */
    CHECK_INT(as_server(server_hello(hello), with_ticket()), 0);
    hello.has_ems = false;
    CHECK_INT(as_server(server_hello(hello), with_ticket()), 40);
    hello = usual12();
    hello.session_id = (struct coili_bytes){ id, 32 };
    hello.suite = COILI_SUITE_RSA_AES_256_GCM;
    CHECK_INT(as_server(server_hello(hello), with_ticket()), 47);
    hello.session_id.len = 31; /* another session: a full handshake */
    CHECK_INT(as_server(server_hello(hello), with_ticket()), 0);
    struct coili_tls_offer offer = usual();
    offer.session_id.len = 0;
    hello.session_id.len = 0;
    CHECK_INT(as_server(server_hello(hello), offer), 0);
}

TEST(hello_the_chosen_protocol_is_one_that_was_offered)
{
    struct body b12 = server_hello(usual12()), ee = encrypted_extensions();
    static const struct {
        const char *data;
        size_t len;
        int alert;
    } samples[] = {
        { "\0\3\2h2", 5, 0 },      { "\0\x9\10http/1.1", 11, 0 },
        { "\0\3\2h3", 5, 47 },     { "\0\2\1h", 4, 47 },
        { "\0\6\2h2\2h2", 8, 50 }, { "\0\1\0", 3, 50 },
        { "\0\0", 2, 50 },         { "", 0, 50 },
        { "\0\4\2h2", 5, 50 },     { "\0\3\2h2x", 6, 50 },
        { "\0\2\2h2", 5, 50 },     { "\0\3\1h2", 5, 50 },
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        const char *data = samples[i].data;
        size_t len = samples[i].len;
        CHECK_INT(reads(with(b12, SERVER, 16, data, len)), samples[i].alert);
        CHECK_INT(reads_extensions(with(ee, ENCRYPTED, 16, data, len)),
                  samples[i].alert);
    }
}

TEST(hello_encrypted_extensions_have_rules_of_their_own)
{
    struct body body = encrypted_extensions();
    CHECK_INT(reads_extensions(WITH(body, ENCRYPTED, 0, "\0")), 50);
    CHECK_INT(reads_extensions(WITH(body, ENCRYPTED, 10, "\0\2\0\x1d")), 0);
    CHECK_INT(reads_extensions(WITH(body, ENCRYPTED, 51, "\0\x1d")), 47);
    CHECK_INT(reads_extensions(WITH(body, ENCRYPTED, 43, "\3\4")), 47);
    CHECK_INT(reads_extensions(WITH(body, ENCRYPTED, 42, "")), 110);
    CHECK_INT(reads_extensions(WITH(body, ENCRYPTED, 28, "\x40\0")), 110);
}

/* ---- A server: what a client may not say -------------------------------- */

/* The version that a server goes on with, or minus the alert. */
static int version_of(struct body body, unsigned version_min,
                      unsigned version_max)
{
    struct coili_tls_client_hello hello;
    struct coili_bytes view = { body.at, body.len };
    int alert = coili_tls_read_client_hello(view, version_min, version_max,
                                            &hello);
    return alert ? -alert : (int)hello.version;
}

TEST(hello_a_server_takes_the_highest_common_version)
{
    struct body both = client_hello(usual()), old = client_hello12();
    CHECK_INT(version_of(both, 0x0303, 0x0304), 0x0304);
    CHECK_INT(version_of(both, 0x0304, 0x0304), 0x0304);
    CHECK_INT(version_of(both, 0x0303, 0x0303), 0x0303);
    CHECK_INT(version_of(old, 0x0303, 0x0304), 0x0303);
    CHECK_INT(version_of(old, 0x0304, 0x0304), -70);
    /* supported_versions decides alone; GREASE and drafts are none. */
    struct body body = WITH(both, CLIENT, 43, "\4\x7f\x1c\3\5");
    CHECK_INT(version_of(body, 0x0303, 0x0304), -70);
    body = WITH(both, CLIENT, 43, "\2\3\3");
    CHECK_INT(version_of(body, 0x0303, 0x0304), 0x0303);
    body = WITH(both, CLIENT, 43, "\2\3\4");
    CHECK_INT(version_of(body, 0x0303, 0x0303), -70);
    body = WITH(both, CLIENT, 43, "\6\3\2\3\3\3\4");
    CHECK_INT(version_of(body, 0x0303, 0x0304), 0x0304);
    CHECK_INT(version_of(WITH(both, CLIENT, 43, "\0"), 0x0303, 0x0304), -50);
    CHECK_INT(version_of(WITH(both, CLIENT, 43, "\1\3"), 0x0303, 0x0304), -50);
    /* Without it the version in front is the client's highest. */
    CHECK_INT(version_of(changed(old, 1, 2), 0x0303, 0x0304), -70);
    CHECK_INT(version_of(changed(old, 1, 0), 0x0303, 0x0304), -70);
    CHECK_INT(version_of(changed(old, 1, 4), 0x0303, 0x0304), 0x0303);
    CHECK_INT(version_of(changed(old, 0, 2), 0x0303, 0x0304), -70);
    /* Beside it, it means nothing, unless it is SSL 3.0 or lower. */
    CHECK_INT(version_of(changed(both, 1, 1), 0x0303, 0x0304), 0x0304);
    CHECK_INT(version_of(changed(both, 1, 0), 0x0303, 0x0304), -70);
    CHECK_INT(version_of(changed(both, 0, 1), 0x0303, 0x0304), -70);
}

TEST(hello_a_server_refuses_a_fallback_that_was_not_needed)
{
    struct body old = client_hello12(), both = client_hello(usual());
    old.at[69] = both.at[69] = 0x56; /* the first suite: 5600 */
    old.at[70] = both.at[70] = 0;
    CHECK_INT(version_of(old, 0x0303, 0x0304), -86);
    CHECK_INT(version_of(old, 0x0303, 0x0303), 0x0303);
    CHECK_INT(version_of(both, 0x0303, 0x0304), 0x0304);
    CHECK_INT(version_of(both, 0x0303, 0x0303), 0x0303);
    CHECK_INT(version_of(WITH(both, CLIENT, 43, "\2\3\3"), 0x0303, 0x0304),
              -86);
    CHECK_INT(version_of(changed(old, 1, 2), 0x0303, 0x0304), -70);
}

TEST(hello_a_server_compresses_nothing)
{
    struct body both = client_hello(usual()), old = client_hello12();
    size_t at = list_at(&both, CLIENT) - 1;
    CHECK_INT(serves_any(changed(both, at, 1)), 47);
    at = list_at(&old, CLIENT) - 1;
    CHECK_INT(serves_any(changed(old, at, 1)), 47);
    /* {1, 0}: in 1.2 it may be offered, in 1.3 not. */
    struct body *bodies[] = { &both, &old };
    for (int i = 0; i < 2; i++) {
        struct body more = *bodies[i];
        at = list_at(&more, CLIENT) - 2;
        memmove(more.at + at + 3, more.at + at + 2, more.len - at - 2);
        memcpy(more.at + at, "\2\1\0", 3);
        more.len++;
        CHECK_INT(serves_any(more), i == 0 ? 47 : 0);
    }
}

TEST(hello_a_server_misses_what_1_3_needs)
{
    struct body body = client_hello(usual()), psk = client_hello(with_psk());
    CHECK_INT(serves_any(without(body, CLIENT, 10)), 109);
    CHECK_INT(serves_any(without(body, CLIENT, 51)), 109);
    CHECK_INT(serves_any(without(body, CLIENT, 13)), 109);
    CHECK_INT(serves_any(without(body, CLIENT, 45)), 0);
    CHECK_INT(serves_any(without(psk, CLIENT, 13)), 0);
    CHECK_INT(serves_any(without(psk, CLIENT, 45)), 109);
    CHECK_INT(serves_any(without(psk, CLIENT, 51)), 109);
    CHECK_INT(serves_any(WITH(body, CLIENT, 51, "\0\0")), 0); /* asks: retry */
    CHECK_INT(serves(without(body, CLIENT, 51), 0x0303, 0x0303), 0);
}

TEST(hello_a_server_takes_one_share_of_each_group)
{
    struct body body = client_hello(usual());
    CHECK_INT(serves_any(WITH(body, CLIENT, 51, "\0\5\0\x1d\0\1x")), 0);
    CHECK_INT(serves_any(WITH(body, CLIENT, 51, "\0\12\0\x1d\0\1x\0\x1d\0\1y")),
              47);
    CHECK_INT(serves_any(WITH(body, CLIENT, 51, "\0\12\0\x1d\0\1x\0\x17\0\1y")),
              0);
    body = WITH(body, CLIENT, 10, "\0\2\0\x1d");
    CHECK_INT(serves_any(WITH(body, CLIENT, 51, "\0\12\0\x1d\0\1x\0\x17\0\1y")),
              47);
    CHECK_INT(serves_any(WITH(body, CLIENT, 51, "\0\4\0\x1d\0\0")), 50);
    CHECK_INT(serves_any(WITH(body, CLIENT, 51, "\0\4\0\x1d\0\1x")), 50);
    CHECK_INT(serves_any(WITH(body, CLIENT, 51, "\0\3\0\x1d\0")), 50);
    CHECK_INT(serves_any(WITH(body, CLIENT, 51, "\0\5\0\x1d\0\2x")), 50);
}

/* A hello with these identities and binders. */
static struct body psks(const char *identities, size_t identities_len,
                        const unsigned *binders, size_t binders_n)
{
    unsigned char data[600];
    struct coili_writer w = { .at = data, .size = sizeof data };
    coili_put_vector(&w, 2,
                     (struct coili_bytes){ (const unsigned char *)identities,
                                           identities_len });
    size_t list = coili_put_begin(&w, 2);
    for (size_t i = 0; i < binders_n; i++) {
        size_t binder = coili_put_begin(&w, 1);
        coili_put_zeros(&w, binders[i]);
        coili_put_end(&w, 1, binder);
    }
    coili_put_end(&w, 2, list);
    CHECK(coili_writer_is_whole(&w));
    return with(client_hello(with_psk()), CLIENT, 41, data, w.len);
}

TEST(hello_a_server_wants_a_binder_for_each_psk)
{
    static const unsigned two[] = { 32, 48 }, small[] = { 31 }, big[] = { 255 };
    static const char one_id[] = "\0\1a\0\0\0\0",
                      two_ids[] = "\0\1a\0\0\0\1\0\2bb\0\0\0\2";
    struct body body = psks(two_ids, 15, two, 2);
    struct coili_tls_client_hello hello;
    struct coili_bytes view = { body.at, body.len };
    CHECK_INT(coili_tls_read_client_hello(view, 0x0303, 0x0304, &hello), 0);
    CHECK_INT(hello.psks_n, 2);
    CHECK_INT(body.len - hello.binders_at, 2 + 33 + 49);
    struct coili_bytes ids = hello.psks, binders = hello.binders;
    struct coili_tls_psk psk;
    CHECK(coili_tls_take_psk(&ids, &binders, &psk));
    CHECK(coili_tls_take_psk(&ids, &binders, &psk));
    check_view(psk.identity, BYTES("bb"));
    CHECK_INT(psk.age, 2);
    CHECK_INT(psk.binder.len, 48);
    CHECK(!coili_tls_take_psk(&ids, &binders, &psk));

    CHECK_INT(serves_any(psks(two_ids, 15, two, 1)), 47);
    CHECK_INT(serves_any(psks(one_id, 7, two, 2)), 47);
    CHECK_INT(serves_any(psks(one_id, 7, two, 0)), 50);
    CHECK_INT(serves_any(psks("", 0, two, 1)), 50);
    CHECK_INT(serves_any(psks("\0\0\0\0\0\0", 6, two, 1)), 50);
    CHECK_INT(serves_any(psks(one_id, 6, two, 1)), 50);
    CHECK_INT(serves_any(psks(one_id, 7, small, 1)), 50);
    CHECK_INT(serves_any(psks(one_id, 7, big, 1)), 0);
}

TEST(hello_a_server_wants_the_psk_last)
{
    struct body body = client_hello(with_psk());
    unsigned char psk[300];
    size_t at = find(&body, CLIENT, 41), len = extension_bytes(&body, at);
    memcpy(psk, body.at + at, len);
    body = without(body, CLIENT, 41);
    splice(&body, CLIENT, list_at(&body, CLIENT) + 2, 0, psk, len);
    CHECK_INT(serves_any(body), 47);
    body = without(body, CLIENT, 41);
    splice(&body, CLIENT, body.len, 0, psk, len);
    CHECK_INT(serves_any(body), 0);
}

TEST(hello_a_server_reads_the_form_of_each_extension)
{
    struct body body = client_hello(usual());
    static const struct {
        unsigned type;
        int alert;
        const char *data;
        size_t len;
    } samples[] = {
        { 0, 50, "", 0 },
        { 0, 50, "\0\0", 2 },
        { 0, 50, "\0\3\0\0\0", 5 },           /* an empty name */
        { 0, 47, "\0\10\0\0\1a\0\0\1b", 10 }, /* two */
        { 0, 47, "\0\6\0\0\3a\0b", 8 },       /* a NUL in it */
        { 0, 0, "\0\4\0\0\1a", 6 },
        { 0, 50, "\0\4\0\0\2a", 6 },
        { 0, 50, "\0\4\0\0\1a\0", 7 },
        { 10, 50, "\0\0", 2 },
        { 10, 50, "\0\3\0\x1d\0", 5 },
        { 13, 50, "\0\0", 2 },
        { 13, 50, "", 0 },
        { 50, 50, "\0\1\4", 3 },
        { 11, 50, "\0", 1 },
        { 11, 50, "", 0 },
        { 16, 50, "\0\0", 2 },
        { 16, 50, "\0\1\0", 3 },
        { 16, 50, "\0\4\2h2\0", 6 },
        { 16, 50, "\0\4\3h2", 5 },
        { 23, 50, "\0", 1 },
        { 35, 0, "any bytes", 9 },
        { 42, 0, "", 0 },
        { 42, 50, "\0", 1 },
        { 44, 50, "\0\0", 2 },
        { 44, 0, "\0\1x", 3 },
        { 45, 50, "\0", 1 },
        { 45, 50, "", 0 },
        { 45, 0, "\1\0", 2 },
        { 0xff01, 40, "\1x", 2 },
        { 0xff01, 50, "", 0 },
        { 0xff01, 50, "\1", 1 },
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        test_note("sample %zu", i);
        CHECK_INT(serves_any(with(body, CLIENT, samples[i].type,
                                  samples[i].data, samples[i].len)),
                  samples[i].alert);
    }
    unsigned char name[5 + 256] = { 1, 3, 0, 1, 0 };
    memset(name + 5, 'a', 256);
    CHECK_INT(serves_any(with(body, CLIENT, 0, name, sizeof name)), 47);
    memcpy(name, "\1\2\0\0\377", 5);
    CHECK_INT(serves_any(with(body, CLIENT, 0, name, sizeof name - 1)), 0);
    body = client_hello12();
    CHECK_INT(serves_any(WITH(body, CLIENT, 11, "\1\1")), 47);
    CHECK_INT(serves_any(WITH(body, CLIENT, 11, "\3\1\2\0")), 0);
}

// 00ff says what renegotiation_info says (RFC 5746, 3.3).
TEST(hello_a_server_sees_secure_renegotiation_in_both_places)
{
    struct body body = client_hello12();
    struct coili_tls_client_hello hello;
    for (int i = 0; i < 2; i++) {
        if (i == 0)
            body = without(body, CLIENT, 0xff01);
        else
            memcpy(body.at + 69, "\0\377", 2);
        struct coili_bytes view = { body.at, body.len };
        CHECK_INT(coili_tls_read_client_hello(view, 0x0303, 0x0304, &hello), 0);
        CHECK_INT(hello.has_renegotiation_info, i);
    }
}

TEST(hello_with_thousands_of_extensions_is_read)
{
    enum { MANY = 15000 };
    struct body body = client_hello(usual());
    size_t list = list_at(&body, CLIENT), len = body.len + 4 * MANY;
    unsigned char *block = calloc(len, 1);
    CHECK(block);
    memcpy(block, body.at, body.len);
    block[list] = (unsigned char)((len - list - 2) >> 8);
    block[list + 1] = (unsigned char)(len - list - 2);
    for (unsigned i = 0; i < MANY; i++) {
        block[body.len + 4 * i] = (unsigned char)((i + 1000) >> 8);
        block[body.len + 4 * i + 1] = (unsigned char)(i + 1000);
    }
    struct coili_tls_client_hello hello;
    struct coili_bytes view = { block, len };
    CHECK_INT(coili_tls_read_client_hello(view, 0x0303, 0x0304, &hello), 0);
    check_view(hello.name, BYTES("a.test"));
    block[len - 4] = 1000 >> 8;
    block[len - 3] = 1000 & 0xff;
    CHECK_INT(coili_tls_read_client_hello(view, 0x0303, 0x0304, &hello), 47);
    free(block);
}

/* ---- The second hello --------------------------------------------------- */

static int compares(struct body first, struct body second, unsigned group)
{
    struct coili_bytes a = exact(&first, first.len);
    struct coili_bytes b = exact(&second, second.len);
    const char *why = "unset";
    int alert = coili_tls_compare_client_hellos(a, b, group, &why);
    CHECK_INT(alert != 0, why != NULL);
    captured_free(a);
    captured_free(b);
    return alert;
}

TEST(hello_behind_a_retry_is_the_same_but_for_what_may_change)
{
    struct body first = client_hello(with_psk());
    struct coili_tls_offer offer = with_psk();
    offer.share_group = COILI_GROUP_P256;
    offer.share.len = 65;
    offer.psk_age++;
    offer.cookie = BYTES("a cookie");
    struct body second = client_hello(offer);
    CHECK_INT(compares(first, second, 23), 0);
    CHECK_INT(compares(first, second, 24), 47);
    CHECK_INT(compares(first, without(second, CLIENT, 41), 23), 0);
    CHECK_INT(compares(first, WITH(second, CLIENT, 21, "\0\0\0"), 23), 0);
    CHECK_INT(compares(WITH(first, CLIENT, 42, ""), second, 23), 0);
    CHECK_INT(
        compares(WITH(first, CLIENT, 42, ""), WITH(second, CLIENT, 42, ""), 23),
        47);
    CHECK_INT(compares(first, first, 23), 47); /* the share of X25519 */
    CHECK_INT(compares(first, WITH(second, CLIENT, 51, "\0\0"), 23), 47);
    CHECK_INT(compares(first, without(second, CLIENT, 51), 23), 47);
    CHECK_INT(compares(first,
                       WITH(second, CLIENT, 51, "\0\12\0\x17\0\1x\0\x18\0\1y"),
                       23),
              47);
    CHECK_INT(compares(first, WITH(second, CLIENT, 51, "\0\5\0\x17\0\1x"), 23),
              0);
}

TEST(hello_behind_a_retry_changes_nothing_else)
{
    struct body first = client_hello(usual());
    struct coili_tls_offer offer = usual();
    offer.share_group = COILI_GROUP_P256;
    offer.share.len = 65;
    struct body second = client_hello(offer);
    size_t shares = find(&second, CLIENT, 51);
    CHECK_INT(compares(first, second, 23), 0);
    CHECK_INT(compares(first, second, 24), 47); /* a share of another group */
    for (size_t at = 0; at < shares; at++) {
        if (find(&second, CLIENT, 21) && at >= find(&second, CLIENT, 21))
            break;
        struct body other = changed(second, at, second.at[at] ^ 1u);
        CHECK_INT(compares(first, other, 23), 47);
    }
    for (size_t at = list_at(&second, CLIENT) + 2; at < second.len;
         at += extension_bytes(&second, at)) {
        unsigned type = (unsigned)(second.at[at] << 8 | second.at[at + 1]);
        if (type == COILI_EXT_PADDING)
            continue;
        CHECK_INT(compares(first, without(second, CLIENT, type), 23), 47);
    }
    CHECK_INT(compares(first, WITH(second, CLIENT, 5, "\1\0\0\0\0"), 23), 47);
    CHECK_INT(compares(WITH(first, CLIENT, 5, "\1\0\0\0\0"), second, 23), 47);
}

/* ---- What other programs send ------------------------------------------- */

static const struct wild {
    const char *name;
    int version; /* or minus the alert */
    const char *host;
    size_t alpn;
    int shares; /* bits: 1 X25519, 2 P-256, 4 P-384 */
} wild[] = {
    { "hello-openssl-13", 0x0304, "a.test", 0, 1 },
    { "hello-openssl-12", 0x0303, "a.test", 12, 0 },
    { "hello-openssl-fallback", -86, "", 0, 0 },
    { "hello-openssl-alpn", 0x0304, "", 12, 4 },
    { "hello-openssl-10", -70, "", 0, 0 },
    { "hello-gnutls", 0x0304, "localhost", 0, 3 },
    { "hello-gnutls-12", 0x0303, "localhost", 0, 0 },
    { "hello-curl", 0x0304, "localhost", 12, 1 },
    { "hello-node", 0x0304, "a.test", 9, 1 },
    { "hello-python", 0x0304, "a.test", 0, 1 },
    { "hello-java", 0x0304, "", 0, 3 },
    { "ec13-hello", 0x0304, "localhost", 12, 1 },
    { "retry13-hello", 0x0304, "", 0, 1 },
    { "retry13-hello2", 0x0304, "", 0, 2 },
    { "psk13-hello", 0x0304, "", 0, 1 },
    { "psk13-hello2", 0x0304, "", 0, 4 },
    { "rsa12-hello", 0x0303, "localhost", 3, 0 },
};

TEST(hello_of_other_programs_is_read)
{
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
        const struct wild *is = &wild[i];
        struct coili_bytes body = captured_body(is->name), share;
        struct coili_tls_client_hello hello;
        test_note("%s", is->name);
        int alert = coili_tls_read_client_hello(body, 0x0303, 0x0304, &hello);
        CHECK_INT(alert ? -alert : (int)hello.version, is->version);
        if (!alert) {
            CHECK_INT(hello.name.len, strlen(is->host));
            if (hello.name.len)
                CHECK_MEM(hello.name.at, is->host, hello.name.len);
            CHECK_INT(hello.alpn.len, is->alpn);
            CHECK_INT(coili_tls_find_share(&hello, 29, &share) |
                          coili_tls_find_share(&hello, 23, &share) << 1 |
                          coili_tls_find_share(&hello, 24, &share) << 2,
                      is->shares);
            CHECK(hello.has_ems || is->version == 0x0304);
            CHECK(coili_list_has(hello.groups, 29));
            CHECK(coili_list_has(hello.schemes, 0x0804));
        }
        captured_free(body);
    }
}

TEST(hello_of_another_program_cut_anywhere_is_none)
{
    for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
        if (wild[i].version < 0)
            continue;
        struct coili_bytes whole = captured_body(wild[i].name);
        struct coili_tls_client_hello hello;
        for (size_t len = 0; len < whole.len; len++) {
            unsigned char *block = malloc(len ? len : 1);
            CHECK(block);
            memcpy(block, whole.at, len);
            struct coili_bytes cut = { block, len };
            int alert = coili_tls_read_client_hello(cut, 0x0303, 0x0304,
                                                    &hello);
            /* In 1.2 the list of extensions may be missing. */
            CHECK(alert || hello.extensions.len == 0);
            free(block);
        }
        captured_free(whole);
    }
}

TEST(hello_behind_a_retry_of_openssl_is_the_same)
{
    const char *why;
    struct coili_bytes first = captured_body("retry13-hello");
    struct coili_bytes second = captured_body("retry13-hello2");
    CHECK_INT(coili_tls_compare_client_hellos(first, second, 23, &why), 0);
    captured_free(first);
    captured_free(second);
    first = captured_body("psk13-hello");
    second = captured_body("psk13-hello2");
    CHECK_INT(coili_tls_compare_client_hellos(first, second, 24, &why), 0);
    CHECK_INT(coili_tls_compare_client_hellos(second, first, 29, &why), 0);
    CHECK_INT(coili_tls_compare_client_hellos(first, second, 23, &why), 47);
    captured_free(first);
    captured_free(second);
}

/* The PSK that OpenSSL sends with -sess_in, and its binder at the end. */
TEST(hello_of_openssl_with_a_psk_has_its_binder_last)
{
    struct coili_bytes body = captured_body("psk13-hello");
    struct coili_tls_client_hello hello;
    struct coili_tls_psk psk;
    CHECK_INT(coili_tls_read_client_hello(body, 0x0303, 0x0304, &hello), 0);
    CHECK_INT(hello.psks_n, 1);
    CHECK(hello.psk_with_dhe);
    CHECK_INT(hello.binders_at, body.len - 2 - 1 - 48);
    CHECK(coili_tls_take_psk(&hello.psks, &hello.binders, &psk));
    CHECK_INT(psk.binder.len, 48);
    CHECK(psk.binder.at + 48 == body.at + body.len);
    captured_free(body);
}

static const struct answer {
    const char *name;
    unsigned version;
    bool is_retry;
    unsigned share_group, suite;
} answers[] = {
    { "ec13-server-hello", 0x0304, false, 29, 0x1302 },
    { "retry13-retry", 0x0304, true, 29, 0x1302 },
    { "retry13-server-hello", 0x0304, false, 23, 0x1302 },
    { "psk13-server-hello", 0x0304, false, 24, 0x1302 },
    { "rsa12-server-hello", 0x0303, false, 29, 0xc030 },
};

TEST(hello_of_openssl_as_a_server_is_read)
{
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        const struct answer *is = &answers[i];
        struct coili_bytes body = captured_body(is->name);
        struct coili_tls_offer offer = usual();
        struct coili_tls_server_hello hello;
        test_note("%s", is->name);
        offer.session_id = (struct coili_bytes){ body.at + 35, body.at[34] };
        if (is->version == 0x0303)
            offer.session_id.len = 0;
        offer.share_group = is->share_group;
        CHECK_INT(coili_tls_read_server_hello(body, &offer, &hello), 0);
        CHECK_INT(hello.version, is->version);
        CHECK_INT(hello.is_retry, is->is_retry);
        CHECK_INT(hello.suite, is->suite);
        CHECK_INT(hello.group, is->is_retry            ? 23
                               : is->version == 0x0304 ? is->share_group
                                                       : 0);
        if (is->version == 0x0303) {
            CHECK(hello.has_ems && hello.has_ticket);
            CHECK(hello.has_renegotiation_info);
            check_view(hello.alpn, BYTES("h2"));
        }
        captured_free(body);
    }
    struct coili_bytes body = captured_body("ec13-extensions");
    struct coili_tls_offer offer = usual();
    struct coili_tls_encrypted_extensions extensions;
    CHECK_INT(coili_tls_read_encrypted_extensions(body, &offer, &extensions),
              0);
    check_view(extensions.alpn, BYTES("h2"));
    captured_free(body);
}

/* ---- What stands in front of the extensions ----------------------------- */

/* A hello of 1.2 with this between its random and its extensions. */
static int serves_middle(struct coili_bytes middle)
{
    struct body body = client_hello12();
    size_t list = list_at(&body, CLIENT);
    memmove(body.at + 34 + middle.len, body.at + list, body.len - list);
    memcpy(body.at + 34, middle.at, middle.len);
    body.len = body.len - list + 34 + middle.len;
    return serves_any(body);
}

TEST(hello_a_server_wants_suites_and_a_compression)
{
    CHECK_INT(serves_middle(BYTES("\0\0\2\xc0\x2f\1\0")), 0);
    CHECK_INT(serves_middle(BYTES("\1i\0\2\xc0\x2f\1\0")), 0);
    CHECK_INT(serves_middle(BYTES("\0\0\0\1\0")), 50);
    CHECK_INT(serves_middle(BYTES("\0\0\1\xc0\1\0")), 50);
    CHECK_INT(serves_middle(BYTES("\0\0\3\xc0\x2f\xc0\1\0")), 50);
    CHECK_INT(serves_middle(BYTES("\0\0\2\xc0\x2f\0")), 50);
    CHECK_INT(serves_middle(BYTES("\41"
                                  "0123456789abcdef0123456789abcdefg"
                                  "\0\2\xc0\x2f\1\0")),
              50);
}

// A retry is of 1.3, whatever cipher it names.
TEST(hello_a_retry_is_none_of_1_2)
{
    struct coili_tls_server_hello hello = usual_retry();
    struct coili_tls_offer only12 = usual();
    struct body body = server_hello(usual12()), retry = server_hello(hello);
    only12.version_max = COILI_TLS12;
    memcpy(body.at + 2, retry.at + 2, 32);
    CHECK_INT(reads(body), 47);
    CHECK_INT(as_server(body, only12), 47);
}

TEST(hello_a_name_that_was_not_asked_for_is_not_confirmed)
{
    struct coili_tls_offer offer = usual();
    offer.name.len = 0;
    CHECK_INT(as_server(server_hello(usual12()), offer), 110);
    CHECK_INT(as_server(without(server_hello(usual12()), SERVER, 0), offer), 0);
}
