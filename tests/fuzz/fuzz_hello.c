// SPDX-License-Identifier: MIT
/*
 * fuzz_hello.c: any bytes as a hello of TLS, and as an offer to write one from.
 *
 *     clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined \
 *         -Iinclude -Ilib tests/fuzz/fuzz_hello.c lib/tls/{wire,hello}.c
 *     ./a.out tests/fuzz/corpus/hello
 *
 * The first byte says which message it is, the second what was offered or is
 * accepted. What is accepted has all its parts within the bytes; it is not
 * accepted with its last byte cut off; and what is written from it is read as
 * the same. Every call gets its bytes in a block of exactly their size.
 */
#include "tls/hello.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))

static void fail(int line, const char *what)
{
    fprintf(stderr, "fuzz_hello.c:%d: %s does not hold\n", line, what);
    abort();
}

enum how { CLIENT_HELLO, SERVER_HELLO, ENCRYPTED, OFFER, HOWS };

static const unsigned char random_bytes[32] = "32 bytes that are not random...";
static const unsigned char point[97] = { 4 };

static void check_view(struct coili_bytes view, struct coili_bytes whole)
{
    REQUIRE(view.at || !view.len);
    if (view.at)
        REQUIRE(view.at >= whole.at &&
                view.at + view.len <= whole.at + whole.len);
}

static void check_same(struct coili_bytes a, struct coili_bytes b)
{
    REQUIRE(coili_bytes_equal(a, b));
}

static unsigned char *new_block(size_t len)
{
    unsigned char *block = malloc(len ? len : 1);
    if (!block)
        abort();
    return block;
}

/* ---- ClientHello -------------------------------------------------------- */

static void check_client_views(const struct coili_tls_client_hello *hello,
                               struct coili_bytes body)
{
    const struct coili_bytes views[] = {
        { hello->random, 32 }, hello->session_id, hello->suites,
        hello->extensions,     hello->groups,     hello->schemes,
        hello->schemes_cert,   hello->name,       hello->alpn,
        hello->shares,         hello->psks,       hello->binders,
        hello->ticket,
    };
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        check_view(views[i], body);
    REQUIRE(hello->name.len <= 255);
    REQUIRE(hello->suites.len % 2 == 0 && hello->groups.len % 2 == 0 &&
            hello->schemes.len % 2 == 0);
}

static void check_psks(const struct coili_tls_client_hello *hello,
                       struct coili_bytes body)
{
    struct coili_bytes psks = hello->psks, binders = hello->binders;
    struct coili_tls_psk psk;
    size_t n = 0;
    for (; coili_tls_take_psk(&psks, &binders, &psk); n++) {
        check_view(psk.identity, body);
        check_view(psk.binder, body);
        REQUIRE(psk.identity.len > 0 && psk.binder.len >= 32);
    }
    REQUIRE(n == hello->psks_n && psks.len == 0 && binders.len == 0);
    if (n > 0) {
        REQUIRE(hello->binders_at + 2 + hello->binders.len == body.len);
        REQUIRE(body.at + hello->binders_at + 2 == hello->binders.at);
    }
}

/* The list of extensions is what its parts are, written again. */
static void check_extensions(struct coili_bytes list)
{
    unsigned char *block = new_block(list.len);
    struct coili_writer w = { .at = block, .size = list.len };
    struct coili_bytes rest = list, data;
    unsigned type;
    while (coili_take_extension(&rest, &type, &data)) {
        size_t begin = coili_put_extension(&w, type);
        coili_put_bytes(&w, data);
        coili_put_extension_end(&w, begin);
    }
    REQUIRE(rest.len == 0 && coili_writer_is_whole(&w));
    check_same((struct coili_bytes){ block, w.len }, list);
    free(block);
}

/* A hello is like itself if it has one share, of the group, and no early data. */
static void check_comparison(const struct coili_tls_client_hello *hello,
                             struct coili_bytes body)
{
    struct coili_bytes rest = hello->shares, share;
    const char *why;
    unsigned group = 0;
    bool is_one = coili_take_u16(&rest, &group) &&
                  coili_take_vector16(&rest, &share) && rest.len == 0 &&
                  !hello->has_early_data;
    REQUIRE((coili_tls_compare_client_hellos(body, body, group, &why) == 0) ==
            is_one);
}

static void read_client_hello(struct coili_bytes body, unsigned flags)
{
    static const unsigned versions[][2] = { { COILI_TLS12, COILI_TLS13 },
                                            { COILI_TLS12, COILI_TLS12 },
                                            { COILI_TLS13, COILI_TLS13 } };
    const unsigned *v = versions[flags % 3];
    struct coili_tls_client_hello hello;
    struct coili_bytes share;
    const char *why;
    int alert = coili_tls_read_client_hello(body, v[0], v[1], &hello);
    REQUIRE(alert >= 0 && alert < 256);
    /* Any two messages may be compared. */
    coili_tls_compare_client_hellos(
        body, (struct coili_bytes){ body.at, body.len / 2 }, COILI_GROUP_P256,
        &why);
    if (alert)
        return;
    REQUIRE(hello.version >= v[0] && hello.version <= v[1]);
    check_client_views(&hello, body);
    check_psks(&hello, body);
    check_extensions(hello.extensions);
    check_comparison(&hello, body);
    if (coili_tls_find_share(&hello, COILI_GROUP_X25519, &share))
        check_view(share, body);
    if (hello.version == COILI_TLS13)
        REQUIRE(hello.groups.len > 0 && (hello.schemes.len || hello.psks_n));
    unsigned char *cut = new_block(body.len - 1);
    memcpy(cut, body.at, body.len - 1);
    REQUIRE(
        coili_tls_read_client_hello((struct coili_bytes){ cut, body.len - 1 },
                                    v[0], v[1], &hello) != 0);
    free(cut);
}

/* ---- ServerHello, EncryptedExtensions ----------------------------------- */

/* By the bits of `flags`. The session id is that of the message. */
static struct coili_tls_offer offer_for(struct coili_bytes body, unsigned flags)
{
    struct coili_tls_offer offer = {
        .version_min = flags & 1 ? COILI_TLS13 : COILI_TLS12,
        .version_max = flags & 2 && !(flags & 1) ? COILI_TLS12 : COILI_TLS13,
        .ems_required = flags & 4,
        .random = random_bytes,
        .name = { (const unsigned char *)"a.test", flags & 8 ? 6 : 0 },
        .alpn = { (const unsigned char *)"\2h2\10http/1.1",
                  flags & 8 ? 12 : 0 },
        .share_group = flags & 16 ? COILI_GROUP_P256 : COILI_GROUP_X25519,
        .share = { point, flags & 16 ? 65 : 32 },
    };
    if (body.len > 35 && body.at[34] <= 32 && body.len >= 37u + body.at[34]) {
        offer.session_id = (struct coili_bytes){ body.at + 35, body.at[34] };
        unsigned suite = (unsigned)(body.at[35 + body.at[34]] << 8 |
                                    body.at[36 + body.at[34]]);
        if (flags & 32)
            offer.psk_suite = offer.ticket_suite = suite;
        if (flags & 64)
            offer.retry_suite = suite;
    }
    if (flags & 32)
        offer.psk = offer.ticket = (struct coili_bytes){ random_bytes, 20 };
    return offer;
}

static void check_same_server_hello(const struct coili_tls_server_hello *a,
                                    const struct coili_tls_server_hello *b)
{
    REQUIRE(a->version == b->version && a->is_retry == b->is_retry);
    REQUIRE(memcmp(a->random, b->random, 32) == 0);
    check_same(a->session_id, b->session_id);
    REQUIRE(a->suite == b->suite && a->group == b->group);
    check_same(a->share, b->share);
    check_same(a->cookie, b->cookie);
    REQUIRE(a->psk_is_taken == b->psk_is_taken);
    REQUIRE(a->is_resumed == b->is_resumed && a->has_ems == b->has_ems);
    REQUIRE(a->has_ticket == b->has_ticket);
    REQUIRE(a->has_renegotiation_info == b->has_renegotiation_info);
    REQUIRE(a->has_name == b->has_name);
    REQUIRE(a->has_point_formats == b->has_point_formats);
    check_same(a->alpn, b->alpn);
}

static void read_server_hello(struct coili_bytes body, unsigned flags)
{
    struct coili_tls_offer offer = offer_for(body, flags);
    struct coili_tls_server_hello hello, again;
    int alert = coili_tls_read_server_hello(body, &offer, &hello);
    REQUIRE(alert >= 0 && alert < 256);
    if (alert)
        return;
    const struct coili_bytes views[] = { { hello.random, 32 },
                                         hello.session_id,
                                         hello.share,
                                         hello.cookie,
                                         hello.alpn };
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        check_view(views[i], body);
    REQUIRE(coili_tls_offers_suite(&offer, hello.version, hello.suite));
    REQUIRE(hello.version >= offer.version_min &&
            hello.version <= offer.version_max);
    REQUIRE(!hello.is_retry || hello.version == COILI_TLS13);

    struct coili_writer count = { .at = NULL };
    coili_tls_write_server_hello(&count, &hello);
    unsigned char *block = new_block(count.len);
    struct coili_writer w = { .at = block, .size = count.len };
    coili_tls_write_server_hello(&w, &hello);
    REQUIRE(coili_writer_is_whole(&w) && w.len == count.len);
    struct coili_bytes written = { block + 4, w.len - 4 };
    REQUIRE(coili_tls_read_server_hello(written, &offer, &again) == 0);
    check_same_server_hello(&hello, &again);
    free(block);
}

static void read_encrypted(struct coili_bytes body, unsigned flags)
{
    struct coili_tls_offer offer = offer_for(body, flags);
    struct coili_tls_encrypted_extensions extensions, again;
    if (coili_tls_read_encrypted_extensions(body, &offer, &extensions))
        return;
    check_view(extensions.alpn, body);
    REQUIRE(!extensions.alpn.len ||
            coili_tls_alpn_has(offer.alpn, extensions.alpn));
    unsigned char block[600];
    struct coili_writer w = { .at = block, .size = sizeof block };
    coili_tls_write_encrypted_extensions(&w, &extensions);
    REQUIRE(coili_writer_is_whole(&w));
    struct coili_bytes written = { block + 4, w.len - 4 };
    REQUIRE(coili_tls_read_encrypted_extensions(written, &offer, &again) == 0);
    check_same(extensions.alpn, again.alpn);
    REQUIRE(extensions.has_name == again.has_name);
}

/* ---- An offer ----------------------------------------------------------- */

/* The next part of the input: a byte that says how long, and so many bytes. */
static struct coili_bytes next_part(struct coili_bytes *from)
{
    struct coili_bytes part = { NULL, 0 };
    unsigned len;
    if (coili_take_u8(from, &len) && !coili_take_bytes(from, len, &part)) {
        part = *from;
        from->len = 0;
    }
    return part;
}

/* Write a hello from parts of the input, and read it as a server. */
static void write_offer(struct coili_bytes input, unsigned flags)
{
    struct coili_tls_offer offer = offer_for((struct coili_bytes){ NULL, 0 },
                                             flags & 3);
    unsigned char alpn[300];
    struct coili_writer names = { .at = alpn, .size = sizeof alpn };
    offer.aes_is_slow = flags & 4;
    offer.session_id = next_part(&input);
    if (offer.session_id.len > 32)
        offer.session_id.len = 32;
    offer.name = next_part(&input);
    if (offer.name.len && memchr(offer.name.at, 0, offer.name.len))
        offer.name.len = 0;
    offer.cookie = next_part(&input);
    offer.psk = next_part(&input);
    offer.psk_suite = flags & 8 ? COILI_SUITE_AES_256_GCM
                                : COILI_SUITE_CHACHA20;
    offer.ticket = next_part(&input);
    struct coili_bytes name = next_part(&input);
    if (name.len)
        coili_put_vector(&names, 1, name);
    offer.alpn = (struct coili_bytes){ alpn, names.len };

    struct coili_writer count = { .at = NULL };
    coili_tls_write_client_hello(&count, &offer);
    unsigned char *block = new_block(count.len);
    struct coili_writer w = { .at = block, .size = count.len };
    coili_tls_write_client_hello(&w, &offer);
    REQUIRE(coili_writer_is_whole(&w) && w.len == count.len);
    REQUIRE(w.len < 256 || w.len > 511);
    struct coili_bytes body = { block + 4, w.len - 4 };
    struct coili_tls_client_hello hello;
    REQUIRE(coili_tls_read_client_hello(body, offer.version_min,
                                        offer.version_max, &hello) == 0);
    REQUIRE(hello.version == offer.version_max);
    check_same(hello.session_id, offer.session_id);
    check_same(hello.name, offer.name);
    check_same(hello.alpn, offer.alpn);
    if (offer.version_min == COILI_TLS12)
        check_same(hello.ticket, offer.ticket);
    if (offer.version_max == COILI_TLS13)
        REQUIRE(hello.psks_n == (offer.psk.len > 0));
    check_client_views(&hello, body);
    check_psks(&hello, body);
    free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    unsigned char *block = new_block(size - 2);
    struct coili_bytes body = { block, size - 2 };
    memcpy(block, data + 2, size - 2);
    switch ((enum how)(data[0] % HOWS)) {
    case CLIENT_HELLO:
        read_client_hello(body, data[1]);
        break;
    case SERVER_HELLO:
        read_server_hello(body, data[1]);
        break;
    case ENCRYPTED:
        read_encrypted(body, data[1]);
        break;
    default:
        write_offer(body, data[1]);
    }
    free(block);
    return 0;
}
