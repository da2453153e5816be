// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_schedule.c: the key schedule of TLS 1.3, by the handshakes of RFC 8448:
 * each secret that is printed there, each record opened and sealed again, each
 * Finished, binder and signature.
 */
#include "hex.h"
#include "rfc8448.h"
#include "secrets.h"

#include "tls/bear/record.h"
#include "tls/bear/schedule.h"
#include "tls/bear/share.h"
#include "tls/bear/sign.h"
#include "tls/bear/transcript.h"
#include "tls/cert.h"

enum { CERTIFICATE = 11, CERTIFICATE_VERIFY = 15, FINISHED = 20 };

/* A replayed handshake. */
struct replay {
    const struct rfc8448 *trace;
    struct coili_transcript transcript;
    struct coili_schedule schedule;
    struct coili_secret client_handshake, server_handshake;
    struct coili_secret client_traffic, server_traffic, exporter, resumption;
    struct coili_public_key key; /* of the last Certificate */
    int verified[2]; /* what was said of each side's signature; -1: none */
};

static void add_record(struct replay *r, const char *text)
{
    struct hex record = hex(text);
    coili_transcript_add(&r->transcript, record.at + 5, record.len - 5);
}

/* The (EC)DHE secret, which both sides must find. */
static struct hex exchange(const struct rfc8448 *trace)
{
    struct coili_share client = { .group = (uint16_t)trace->group };
    struct coili_share server = client;
    struct hex a = hex(trace->client_scalar), b = hex(trace->server_scalar);
    struct hex hello = hex(trace->hello), answer = hex(trace->server_hello);
    struct hex result = { .len = 0 }, other = { .len = 0 };
    size_t n = coili_share_point_bytes(trace->group);
    for (size_t i = 0; i < 32; i++) {
        client.scalar[i] = a.at[i];
        server.scalar[i] = b.at[i];
    }
    /* The peer's point stands behind its group and length. */
    unsigned char head[] = { 0, (unsigned char)trace->group, 0,
                             (unsigned char)n };
    const unsigned char *of_client = memmem(hello.at, hello.len, head, 4);
    const unsigned char *of_server = memmem(answer.at, answer.len, head, 4);
    CHECK(of_client && of_server);
    result.len = coili_share_combine(&client, of_server + 4, n, result.at);
    other.len = coili_share_combine(&server, of_client + 4, n, other.at);
    CHECK_INT(result.len, 32);
    CHECK_INT(other.len, 32);
    CHECK_MEM(result.at, other.at, 32);
    return result;
}

/* Open a record of the trace, and seal its content to the same bytes. */
static struct hex open_and_seal(struct coili_protection *p, const char *text,
                                enum coili_tls_record_type type)
{
    struct hex record = hex(text), sealed = record, content;
    struct coili_protection sender = *p;
    struct coili_record opened;
    CHECK_INT(coili_record_open(p, record.at, record.len, &opened), 0);
    CHECK_INT(opened.type, type);
    memcpy(content.at, record.at + opened.at, opened.len);
    content.len = opened.len;
    memset(sealed.at, 0, sizeof sealed.at);
    CHECK_INT(
        coili_record_seal(&sender, type, content.at, content.len, 0, sealed.at),
        sealed.len);
    CHECK_INT(content.len + coili_record_overhead(p), sealed.len);
    CHECK_HEX(sealed.at, text);
    CHECK_INT(sender.sequence, p->sequence);
    return content;
}

static void take_certificate(struct replay *r, const unsigned char *message)
{
    static unsigned char kept[1024];
    struct coili_cert cert;
    size_t n = (size_t)message[8] << 16 | (size_t)message[9] << 8 | message[10];
    CHECK(n <= sizeof kept);
    memcpy(kept, message + 11, n);
    CHECK_STR(coili_cert_parse(&cert, (struct coili_der){ kept, n }), NULL);
    r->key = cert.key;
}

static void verify(struct replay *r, enum coili_side side,
                   const unsigned char *message)
{
    struct coili_signable s;
    unsigned char hash[48];
    unsigned scheme = (unsigned)(message[4] << 8 | message[5]);
    size_t n = (size_t)(message[6] << 8 | message[7]);
    coili_transcript_hash(&r->transcript, COILI_SHA256, hash);
    CHECK(coili_signable_13(&s, scheme, side, COILI_SHA256, hash));
    r->verified[side] = coili_signature_verify(&s, &r->key, message + 8, n);
}

/* Take the messages of a flight, which ends with Finished. */
static void take_flight(struct replay *r, enum coili_side side,
                        const struct coili_secret *secret,
                        const struct hex *flight)
{
    const unsigned char *p = flight->at, *end = p + flight->len;
    unsigned char hash[48], verify_data[48];
    int type = -1;
    while (p < end) {
        size_t n = 4 + ((size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3]);
        CHECK(n <= (size_t)(end - p));
        type = p[0];
        if (type == CERTIFICATE)
            take_certificate(r, p);
        if (type == CERTIFICATE_VERIFY)
            verify(r, side, p);
        if (type == FINISHED) {
            CHECK_INT(n, 4 + 32);
            coili_transcript_hash(&r->transcript, COILI_SHA256, hash);
            coili_secret_finished(secret, COILI_SHA256, hash, verify_data);
            CHECK(coili_digest_equal(verify_data, p + 4, 32));
        }
        coili_transcript_add(&r->transcript, p, n);
        p += n;
    }
    CHECK_INT(type, FINISHED);
}

static struct coili_secret derive(struct replay *r, enum coili_label label)
{
    struct coili_secret secret;
    unsigned char hash[48];
    coili_transcript_hash(&r->transcript, COILI_SHA256, hash);
    coili_schedule_derive(&r->schedule, label, hash, &secret);
    return secret;
}

/* ClientHello with its binder, which is its last 32 bytes. */
static void take_hello(struct replay *r, const struct rfc8448 *trace)
{
    struct hex psk = hex(trace->psk ? trace->psk : ""),
               hello = hex(trace->hello);
    coili_schedule_early(&r->schedule, COILI_SHA256, trace->psk ? psk.at : NULL,
                         psk.len);
    if (trace->psk) {
        unsigned char hash[48], binder[48];
        /* The list of binders has a length and one length before the binder */
        coili_transcript_hash_with(&r->transcript, COILI_SHA256, hello.at + 5,
                                   hello.len - 5 - 2 - 1 - 32, hash);
        coili_schedule_binder(&r->schedule, hash, binder);
        CHECK_MEM(binder, hello.at + hello.len - 32, 32);
    }
    add_record(r, trace->hello);
}

static void take_early_data(struct replay *r, const struct rfc8448 *trace)
{
    struct coili_protection early;
    struct coili_secret secret = { { 0 } };
    unsigned char hash[48];
    coili_transcript_hash(&r->transcript, COILI_SHA256, hash);
    coili_secret_expand(&r->schedule.stage, COILI_SHA256, "c e traffic", hash,
                        32, secret.bytes, 32);
    coili_record_start13(&early, COILI_CIPHER_AES_128_GCM, COILI_SHA256,
                         &secret);
    struct hex data = open_and_seal(&early, trace->early_data,
                                    COILI_TLS_DATA_RECORD);
    CHECK_INT(data.len, 6);
    CHECK_MEM(data.at, "ABCDEF", 6);
    struct hex end = open_and_seal(&early, trace->early_end,
                                   COILI_TLS_HANDSHAKE);
    CHECK_HEX(end.at, "05000000");
}

static void replay(struct replay *r, const struct rfc8448 *trace)
{
    struct coili_protection client, server;
    const enum coili_cipher aes = COILI_CIPHER_AES_128_GCM;
    test_note("%s", trace->name);
    *r = (struct replay){ .trace = trace, .verified = { -1, -1 } };
    coili_transcript_init(&r->transcript);
    if (trace->hello1) {
        add_record(r, trace->hello1);
        coili_transcript_retry(&r->transcript);
        add_record(r, trace->retry);
    }
    take_hello(r, trace);
    if (trace->early_data)
        take_early_data(r, trace);
    add_record(r, trace->server_hello);
    coili_transcript_choose(&r->transcript, COILI_SHA256);

    struct hex shared = exchange(trace);
    coili_schedule_handshake(&r->schedule, shared.at, shared.len);
    r->client_handshake = derive(r, COILI_LABEL_CLIENT_HANDSHAKE);
    r->server_handshake = derive(r, COILI_LABEL_SERVER_HANDSHAKE);
    coili_record_start13(&client, aes, COILI_SHA256, &r->client_handshake);
    coili_record_start13(&server, aes, COILI_SHA256, &r->server_handshake);
    struct hex flight = open_and_seal(&server, trace->server_flight,
                                      COILI_TLS_HANDSHAKE);
    take_flight(r, COILI_SERVER, &r->server_handshake, &flight);

    coili_schedule_master(&r->schedule);
    r->client_traffic = derive(r, COILI_LABEL_CLIENT_TRAFFIC);
    r->server_traffic = derive(r, COILI_LABEL_SERVER_TRAFFIC);
    r->exporter = derive(r, COILI_LABEL_EXPORTER);
    if (trace->early_data)
        coili_transcript_add(&r->transcript, "\5\0\0\0", 4);
    struct hex answer = open_and_seal(&client, trace->client_flight,
                                      COILI_TLS_HANDSHAKE);
    take_flight(r, COILI_CLIENT, &r->client_handshake, &answer);
    r->resumption = derive(r, COILI_LABEL_RESUMPTION);

    coili_record_start13(&client, aes, COILI_SHA256, &r->client_traffic);
    coili_record_start13(&server, aes, COILI_SHA256, &r->server_traffic);
    if (trace->ticket)
        open_and_seal(&server, trace->ticket, COILI_TLS_HANDSHAKE);
    if (trace->client_data) {
        struct hex data = open_and_seal(&client, trace->client_data,
                                        COILI_TLS_DATA_RECORD);
        CHECK_INT(data.len, 50);
        CHECK_HEX(data.at, RFC8448_DATA);
        data = open_and_seal(&server, trace->server_data,
                             COILI_TLS_DATA_RECORD);
        CHECK_INT(data.len, 50);
        CHECK_HEX(data.at, RFC8448_DATA);
    }
    struct hex end = open_and_seal(&client, trace->client_close,
                                   COILI_TLS_ALERT);
    CHECK_INT(end.len, 2);
    CHECK_HEX(end.at, "0100");
    open_and_seal(&server, trace->server_close, COILI_TLS_ALERT);
}

// All that section 3 prints.
TEST(schedule_of_rfc_8448_simple)
{
    struct replay r;
    struct coili_schedule s;
    struct coili_secret psk;
    unsigned char key[16], iv[12];
    replay(&r, &rfc8448_simple);

    coili_schedule_early(&s, COILI_SHA256, NULL, 0);
    CHECK_HEX(
        s.stage.bytes,
        "33ad0a1c607ec03b09e6cd9893680ce210adf300aa1f2660e1b22e10f170f92a");
    struct hex shared = exchange(&rfc8448_simple);
    CHECK_HEX(
        shared.at,
        "8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d");
    coili_schedule_handshake(&s, shared.at, shared.len);
    CHECK_HEX(
        s.stage.bytes,
        "1dc826e93606aa6fdc0aadc12f741b01046aa6b99f691ed221a9f0ca043fbeac");
    CHECK_HEX(
        r.client_handshake.bytes,
        "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21");
    CHECK_HEX(
        r.server_handshake.bytes,
        "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38");
    coili_secret_keys(&r.server_handshake, COILI_SHA256, key, 16, iv);
    CHECK_HEX(key, "3fce516009c21727d0f2e4e86ee403bc");
    CHECK_HEX(iv, "5d313eb2671276ee13000b30");
    coili_schedule_master(&s);
    CHECK_HEX(
        s.stage.bytes,
        "18df06843d13a08bf2a449844c5f8a478001bc4d4c627984d5a41da8d0402919");
    CHECK_HEX(
        r.client_traffic.bytes,
        "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5");
    CHECK_HEX(
        r.server_traffic.bytes,
        "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643");
    CHECK_HEX(
        r.exporter.bytes,
        "fe22f881176eda18eb8f44529e6792c50c9a3f89452f68d8ae311b4309d3cf50");
    CHECK_HEX(
        r.resumption.bytes,
        "7df235f2031d2a051287d02b0241b0bfdaf86cc856231f2d5aba46c434ec196c");
    coili_secret_psk(&r.resumption, COILI_SHA256, "\0\0", 2, &psk);
    CHECK_HEX(psk.bytes, RFC8448_PSK);
    /* A key of 1024 bits is refused. */
    CHECK_INT(r.verified[COILI_SERVER], COILI_ALERT_ILLEGAL_PARAMETER);
    CHECK_INT(r.verified[COILI_CLIENT], -1);
}

TEST(schedule_of_rfc_8448_resumed)
{
    struct replay r;
    replay(&r, &rfc8448_resumed);
    CHECK_INT(r.verified[COILI_SERVER], -1);
}

TEST(schedule_of_rfc_8448_hello_retry_request)
{
    struct replay r;
    replay(&r, &rfc8448_retry);
}

TEST(schedule_of_rfc_8448_client_certificate)
{
    struct replay r;
    replay(&r, &rfc8448_client_certificate);
    CHECK_INT(r.verified[COILI_SERVER], 0); /* by P-256 */
    CHECK_INT(r.verified[COILI_CLIENT], COILI_ALERT_ILLEGAL_PARAMETER);
}

// KeyUpdate: each secret differs from the one before, and nothing else is left.
TEST(schedule_updates_traffic_secrets)
{
    struct coili_secret secret = { { 0 } }, by_hand = { { 0 } };
    for (int d = COILI_SHA256; d <= COILI_SHA384; d++) {
        enum coili_digest digest = (enum coili_digest)d;
        size_t n = coili_digest_bytes(digest);
        memset(secret.bytes, 7, n);
        coili_secret_expand(&secret, digest, "traffic upd", NULL, 0,
                            by_hand.bytes, n);
        coili_secret_next(&secret, digest);
        CHECK_MEM(secret.bytes, by_hand.bytes, sizeof secret.bytes);
        CHECK(secret.bytes[0] != 7 || secret.bytes[1] != 7);
    }
}

DEATH_TEST(schedule_expands_at_most_one_digest, "out of its bounds")
{
    struct coili_secret secret = { { 0 } };
    unsigned char out[64];
    coili_secret_expand(&secret, COILI_SHA256, "key", NULL, 0, out, 33);
}

DEATH_TEST(schedule_has_no_sha_512, "no suite")
{
    struct coili_schedule s;
    coili_schedule_early(&s, COILI_SHA512, NULL, 0);
}

// A branch on a secret would be an error in valgrind's eyes.
TEST(schedule_does_not_branch_on_secrets)
{
    for (int d = COILI_SHA256; d <= COILI_SHA384; d++) {
        enum coili_digest digest = (enum coili_digest)d;
        struct coili_schedule s;
        struct coili_secret traffic, psk;
        unsigned char shared[48] = { 3 }, hash[48] = { 4 }, key[32], iv[12];
        unsigned char ticket_key[48] = { 5 }, verify_data[48], binder[48];
        secret(shared, sizeof shared);
        secret(ticket_key, sizeof ticket_key);
        coili_schedule_early(&s, digest, ticket_key,
                             coili_digest_bytes(digest));
        coili_schedule_binder(&s, hash, binder);
        coili_schedule_handshake(&s, shared, sizeof shared);
        coili_schedule_derive(&s, COILI_LABEL_SERVER_HANDSHAKE, hash, &traffic);
        coili_secret_finished(&traffic, digest, hash, verify_data);
        coili_schedule_master(&s);
        coili_schedule_derive(&s, COILI_LABEL_CLIENT_TRAFFIC, hash, &traffic);
        coili_secret_next(&traffic, digest);
        coili_secret_keys(&traffic, digest, key, sizeof key, iv);
        coili_secret_psk(&traffic, digest, "\1\2", 2, &psk);
        coili_secret_wipe(&traffic);
        coili_schedule_wipe(&s);
        published(verify_data, coili_digest_bytes(digest));
        published(binder, coili_digest_bytes(digest));
        CHECK(memcmp(verify_data, binder, coili_digest_bytes(digest)) != 0);
    }
}
