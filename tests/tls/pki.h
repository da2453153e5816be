// SPDX-License-Identifier: MIT
#ifndef PKI_H
#define PKI_H

/*
 * pki.h: certificates of the tests' own, made in memory.
 *
 *     struct pki_key key = pki_key_new(PKI_P256, 'L');
 *     struct pki_cert leaf = pki_sign(&(struct pki_spec){
 *         .subject = "a.test", .san = "DNS:a.test", .key = &key,
 *     }, &issuer);
 *
 * A writer and not the openssl command, because most of them are wrong, in ways
 * in which no tool will make one. What the writer makes of right ones is shown to
 * openssl in test_trust.c. Keys are made from a letter, so all is the same in
 * each run.
 *
 * DER is written from its end to its front: what stands behind a length is
 * there before the length is written.
 */
#include "test.h"

#include <arpa/inet.h>
#include <bearssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tls/der.h"
#include "tls/key.h"
#include "tls/pem.h"

/* --- Other programs -------------------------------------------------------*/

/*
 * What a shell command writes to its standard output. The case is skipped if
 * there is no openssl, and fails if the command does.
 */
static inline size_t pki_output(const char *command, char *out, size_t size)
{
    if (system("openssl version >/dev/null 2>&1") != 0)
        SKIP("no openssl");
    FILE *pipe = popen(command, "r");
    CHECK(pipe);
    size_t n = fread(out, 1, size - 1, pipe);
    out[n] = '\0';
    if (pclose(pipe) != 0)
        test_fail(__FILE__, __LINE__, "%s", command);
    return n;
}

/* --- Writing DER ----------------------------------------------------------*/

enum { PKI_BYTES = 8192 };

struct pki_out {
    unsigned char *bytes; /* PKI_BYTES long; what was written is at its end */
    size_t at;
};

static inline void pki_put(struct pki_out *o, const void *bytes, size_t len)
{
    CHECK(o->at >= len);
    o->at -= len;
    if (len)
        memcpy(o->bytes + o->at, bytes, len);
}

/* Put a tag and the length of all that was written since `end`. */
static inline void pki_wrap(struct pki_out *o, unsigned tag, size_t end)
{
    size_t len = end - o->at;
    unsigned char head[4] = { (unsigned char)tag, (unsigned char)len };
    size_t n = 2;
    if (len >= 256) {
        head[1] = 0x82;
        head[2] = (unsigned char)(len >> 8);
        head[3] = (unsigned char)len;
        n = 4;
    } else if (len >= 128) {
        head[1] = 0x81;
        head[2] = (unsigned char)len;
        n = 3;
    }
    pki_put(o, head, n);
}

static inline void pki_element(struct pki_out *o, unsigned tag,
                               const void *bytes, size_t len)
{
    size_t end = o->at;
    pki_put(o, bytes, len);
    pki_wrap(o, tag, end);
}

/* An INTEGER that is not negative. */
static inline void pki_integer(struct pki_out *o, const void *bytes, size_t len)
{
    size_t end = o->at;
    pki_put(o, bytes, len);
    if (o->bytes[o->at] & 0x80)
        pki_put(o, "", 1);
    pki_wrap(o, COILI_DER_INTEGER, end);
}

/* --- Keys -----------------------------------------------------------------*/

enum pki_kind {
    PKI_P256,
    PKI_P384,
    PKI_P521,
    PKI_RSA,      /* of 2048 bits, made by openssl; always the same */
    PKI_RSA_1024, /* numbers that are no key: they can sign nothing */
    PKI_RSA_6144,
    PKI_ED25519
};

struct pki_key {
    enum pki_kind kind;
    unsigned char scalar[66], point[133];
    size_t scalar_len, point_len;
    struct coili_private_key rsa;
};

static inline int pki_curve(enum pki_kind kind)
{
    return kind == PKI_P384   ? BR_EC_secp384r1
           : kind == PKI_P521 ? BR_EC_secp521r1
                              : BR_EC_secp256r1;
}

/* One of the process: openssl takes its time. */
static inline struct coili_private_key pki_rsa_key(void)
{
    static unsigned char der[4096];
    static struct coili_private_key key;
    char text[4096];
    if (key.type == COILI_KEY_RSA)
        return key;
    size_t n = pki_output("openssl genrsa 2048 2>/dev/null", text, sizeof text);
    struct coili_pem pem = { .at = text, .end = text + n };
    struct coili_pem_block block;
    struct coili_der view;
    CHECK_INT(coili_pem_next(&pem, &block), 1);
    CHECK_INT(coili_pem_decode(&pem, &block, der, &view), 0);
    CHECK_STR(coili_private_key_parse(&key, block.label, view), NULL);
    return key;
}

static inline struct pki_key pki_key_new(enum pki_kind kind, char letter)
{
    struct pki_key key = { .kind = kind };
    if (kind == PKI_RSA)
        key.rsa = pki_rsa_key();
    key.scalar_len = kind == PKI_P384 ? 48 : kind == PKI_P521 ? 66 : 32;
    memset(key.scalar + 1, letter, key.scalar_len - 1);
    if (kind <= PKI_P521)
        key.point_len = br_ec_all_m31.mulgen(key.point, key.scalar,
                                             key.scalar_len, pki_curve(kind));
    return key;
}

static const unsigned char pki_oid_curve[][10] = {
    { 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07 },
    { 5, 0x2b, 0x81, 0x04, 0x00, 0x22 },
    { 5, 0x2b, 0x81, 0x04, 0x00, 0x23 },
};

static inline void pki_spki(struct pki_out *o, const struct pki_key *key)
{
    static const unsigned char ec[] = {
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01
    };
    static const unsigned char rsa[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7,
                                         0x0d, 0x01, 0x01, 0x01 };
    static const unsigned char ed25519[] = { 0x2b, 0x65, 0x70 };
    size_t end = o->at, inner = o->at;
    unsigned char modulus[768];
    memset(modulus, 0xc5, sizeof modulus);
    if (key->kind == PKI_RSA) {
        pki_integer(o, key->rsa.rsa.e.at, key->rsa.rsa.e.len);
        pki_integer(o, key->rsa.rsa.n.at, key->rsa.rsa.n.len);
        pki_wrap(o, COILI_DER_SEQUENCE, inner);
    } else if (key->kind == PKI_RSA_1024 || key->kind == PKI_RSA_6144) {
        pki_integer(o, "\1\0\1", 3);
        pki_integer(o, modulus, key->kind == PKI_RSA_1024 ? 128 : 768);
        pki_wrap(o, COILI_DER_SEQUENCE, inner);
    } else if (key->kind == PKI_ED25519) {
        pki_put(o, modulus, 32);
    } else {
        pki_put(o, key->point, key->point_len);
    }
    pki_put(o, "", 1);
    pki_wrap(o, COILI_DER_BIT_STRING, inner);
    inner = o->at;
    if (key->kind <= PKI_P521) {
        const unsigned char *oid = pki_oid_curve[key->kind];
        pki_element(o, COILI_DER_OID, oid + 1, oid[0]);
        pki_element(o, COILI_DER_OID, ec, sizeof ec);
    } else if (key->kind == PKI_ED25519) {
        pki_element(o, COILI_DER_OID, ed25519, sizeof ed25519);
    } else {
        pki_element(o, COILI_DER_NULL, "", 0);
        pki_element(o, COILI_DER_OID, rsa, sizeof rsa);
    }
    pki_wrap(o, COILI_DER_SEQUENCE, inner);
    pki_wrap(o, COILI_DER_SEQUENCE, end);
}

/* The SEC1 form of a private key, with its curve and its point. */
static inline void pki_sec1(struct pki_out *o, const struct pki_key *key)
{
    const unsigned char *oid = pki_oid_curve[key->kind];
    size_t end = o->at, inner = o->at;
    pki_put(o, key->point, key->point_len);
    pki_put(o, "", 1);
    pki_wrap(o, COILI_DER_BIT_STRING, inner);
    pki_wrap(o, COILI_DER_CONTEXT_OF(1), inner);
    inner = o->at;
    pki_element(o, COILI_DER_OID, oid + 1, oid[0]);
    pki_wrap(o, COILI_DER_CONTEXT_OF(0), inner);
    pki_element(o, COILI_DER_OCTET_STRING, key->scalar, key->scalar_len);
    pki_element(o, COILI_DER_INTEGER, "\1", 1);
    pki_wrap(o, COILI_DER_SEQUENCE, end);
}

/* --- Certificates ---------------------------------------------------------*/

/* 2026-11-01 12:00:00 UTC: the clock of the tests. */
#define PKI_NOW 1793534400
#define PKI_DAY 86400

enum pki_signature {
    PKI_SHA256,
    PKI_SHA384,
    PKI_SHA512,
    PKI_RSA_SHA256, /* by a signer of that kind; also SHA384, SHA512 */
    PKI_RSA_SHA384,
    PKI_RSA_SHA512,
    PKI_SHA1, /* the name alone: the signature is one of SHA-256 */
    PKI_PSS,
    PKI_ED25519_SIGNATURE
};

/* What is zero has a default that makes a good certificate of a leaf. */
struct pki_spec {
    const char *subject; /* a common name; NULL: an empty subject */
    const char *issuer;  /* NULL: the subject of the one that signs */
    const struct pki_key *key;
    int64_t from, to;    /* in seconds from PKI_NOW; default: a year around */
    const char *san;     /* "DNS:a.test,IP:::1,EMAIL:a@b.test" */
    const void *san_der; /* instead: the content of the extension */
    size_t san_len;
    const char *eku;      /* "server client any email" */
    const char *ku;       /* "sign", "encipher", "certsign" */
    const char *bc;       /* "ca", "ca:0", "no" */
    const char *nc;       /* "+DNS:b.test,-DNS:.test": permitted, excluded */
    const char *critical; /* names of these that are: "eku nc" */
    bool unknown_critical, no_ids, version_1;
    enum pki_signature signature;
};

struct pki_cert {
    unsigned char der[PKI_BYTES];
    size_t len;
    const struct pki_key *key;
    const char *subject;
};

static inline struct coili_der pki_view(const struct pki_cert *cert)
{
    return (struct coili_der){ cert->der, cert->len };
}

static inline void pki_name(struct pki_out *o, const char *common_name)
{
    size_t end = o->at;
    if (common_name) {
        pki_element(o, 0x0c, common_name, strlen(common_name));
        pki_element(o, COILI_DER_OID, "\x55\x04\x03", 3);
        pki_wrap(o, COILI_DER_SEQUENCE, end);
        pki_wrap(o, COILI_DER_SET, end);
    }
    pki_wrap(o, COILI_DER_SEQUENCE, end);
}

/* UTCTime up to 2049, else GeneralizedTime, as RFC 5280 wants it. */
static inline void pki_time(struct pki_out *o, int64_t seconds)
{
    char text[32];
    time_t t = (time_t)seconds;
    struct tm tm;
    gmtime_r(&t, &tm);
    bool is_utc = tm.tm_year < 150;
    size_t len = strftime(text, sizeof text,
                          is_utc ? "%y%m%d%H%M%SZ" : "%Y%m%d%H%M%SZ", &tm);
    pki_element(o, is_utc ? COILI_DER_UTC_TIME : COILI_DER_GENERALIZED_TIME,
                text, len);
}

static inline void pki_algorithm(struct pki_out *o, enum pki_signature s)
{
    static const unsigned char oids[][10] = {
        { 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2 },
        { 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3 },
        { 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4 },
        { 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11 },
        { 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12 },
        { 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13 },
        { 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1 },
        { 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10 },
        { 3, 0x2b, 0x65, 0x70 },
    };
    size_t end = o->at;
    if (s == PKI_PSS)
        pki_element(o, COILI_DER_SEQUENCE, "", 0);
    if (s >= PKI_RSA_SHA256 && s <= PKI_RSA_SHA512)
        pki_element(o, COILI_DER_NULL, "", 0);
    pki_element(o, COILI_DER_OID, oids[s] + 1, oids[s][0]);
    pki_wrap(o, COILI_DER_SEQUENCE, end);
}

/* Wrap the content of an extension 2.5.29.x, which was written since `end`. */
static inline void pki_extension(struct pki_out *o, unsigned x, bool critical,
                                 size_t end)
{
    unsigned char oid[] = { 0x55, 0x1d, (unsigned char)x };
    pki_wrap(o, COILI_DER_OCTET_STRING, end);
    if (critical)
        pki_element(o, COILI_DER_BOOLEAN, "\xff", 1);
    pki_element(o, COILI_DER_OID, oid, sizeof oid);
    pki_wrap(o, COILI_DER_SEQUENCE, end);
}

/*
 * One name, "DNS:a.test", as a GeneralName. In constraints an IP is
 * "IP:10.0.0.0/255.0.0.0".
 */
static inline void pki_general_name(struct pki_out *o, const char *text,
                                    size_t len)
{
    char copy[256];
    unsigned char ip[32];
    CHECK(len < sizeof copy);
    memcpy(copy, text, len);
    copy[len] = '\0';
    if (!strncmp(copy, "DNS:", 4)) {
        pki_element(o, COILI_DER_CONTEXT(2), copy + 4, len - 4);
    } else if (!strncmp(copy, "EMAIL:", 6)) {
        pki_element(o, COILI_DER_CONTEXT(1), copy + 6, len - 6);
    } else if (!strncmp(copy, "DIR:", 4)) {
        size_t end = o->at;
        pki_name(o, copy + 4);
        pki_wrap(o, COILI_DER_CONTEXT_OF(4), end);
    } else {
        CHECK(!strncmp(copy, "IP:", 3));
        char *mask = strchr(copy, '/');
        int family = strchr(copy + 3, ':') ? AF_INET6 : AF_INET;
        size_t n = family == AF_INET6 ? 16 : 4;
        if (mask) {
            *mask = '\0';
            CHECK_INT(inet_pton(family, mask + 1, ip + n), 1);
        }
        CHECK_INT(inet_pton(family, copy + 3, ip), 1);
        pki_element(o, COILI_DER_CONTEXT(7), ip, mask ? 2 * n : n);
    }
}

/* The last name of a list that ends at `end`. */
static inline const char *pki_last(const char *list, const char *end)
{
    const char *at = end;
    while (at > list && at[-1] != ',')
        at--;
    return at;
}

static inline void pki_san(struct pki_out *o, const struct pki_spec *spec)
{
    size_t mark = o->at;
    if (spec->san_der) {
        pki_put(o, spec->san_der, spec->san_len);
    } else {
        const char *end = spec->san + strlen(spec->san);
        for (;;) {
            const char *at = pki_last(spec->san, end);
            pki_general_name(o, at, (size_t)(end - at));
            if (at == spec->san)
                break;
            end = at - 1;
        }
        pki_wrap(o, COILI_DER_SEQUENCE, mark);
    }
    pki_extension(o, 17, false, mark);
}

/* Those with this sign; [0] for '+', [1] for '-'. */
static inline void pki_subtrees(struct pki_out *o, const char *list, char sign)
{
    size_t mark = o->at;
    const char *end = list + strlen(list);
    for (;;) {
        const char *at = pki_last(list, end);
        size_t name = o->at;
        if (*at == sign) {
            pki_general_name(o, at + 1, (size_t)(end - at - 1));
            pki_wrap(o, COILI_DER_SEQUENCE, name);
        }
        if (at == list)
            break;
        end = at - 1;
    }
    if (o->at != mark)
        pki_wrap(o, sign == '+' ? 0xa0 : 0xa1, mark);
}

static inline bool pki_is_critical(const struct pki_spec *spec,
                                   const char *name)
{
    return spec->critical && strstr(spec->critical, name);
}

static inline void pki_purposes(struct pki_out *o, const struct pki_spec *spec)
{
    static const unsigned char any[] = { 0x55, 0x1d, 0x25, 0 };
    unsigned char oid[] = { 0x2b, 6, 1, 5, 5, 7, 3, 0 };
    static const char *const names[] = { "", "server", "client", "", "email" };
    size_t mark = o->at;
    for (unsigned char i = 1; i < 5; i++) {
        oid[7] = i;
        if (*names[i] && strstr(spec->eku, names[i]))
            pki_element(o, COILI_DER_OID, oid, sizeof oid);
    }
    if (strstr(spec->eku, "any"))
        pki_element(o, COILI_DER_OID, any, sizeof any);
    pki_wrap(o, COILI_DER_SEQUENCE, mark);
    pki_extension(o, 37, pki_is_critical(spec, "eku"), mark);
}

static inline void pki_key_id(unsigned char id[20], const struct pki_key *key)
{
    br_sha1_context c;
    br_sha1_init(&c);
    br_sha1_update(&c, key->point, key->point_len);
    if (key->kind == PKI_RSA)
        br_sha1_update(&c, key->rsa.rsa.n.at, key->rsa.rsa.n.len);
    br_sha1_out(&c, id);
}

static inline void pki_extensions(struct pki_out *o,
                                  const struct pki_spec *spec,
                                  const struct pki_key *signer)
{
    size_t end = o->at, mark;
    unsigned char id[20];
    if (spec->unknown_critical) {
        mark = o->at;
        pki_element(o, COILI_DER_NULL, "", 0);
        pki_extension(o, 99, true, mark);
    }
    if (spec->nc) {
        mark = o->at;
        pki_subtrees(o, spec->nc, '-');
        pki_subtrees(o, spec->nc, '+');
        pki_wrap(o, COILI_DER_SEQUENCE, mark);
        pki_extension(o, 30, pki_is_critical(spec, "nc"), mark);
    }
    if (spec->eku)
        pki_purposes(o, spec);
    if (spec->ku) {
        unsigned char bits[2] = { 0, 0 };
        bits[1] |= strstr(spec->ku, "certsign") ? 0x04 : 0;
        bits[1] |= !strncmp(spec->ku, "sign", 4) ? 0x80 : 0;
        bits[1] |= strstr(spec->ku, "encipher") ? 0x20 : 0;
        bits[0] = bits[1] & 0x04 ? 2 : bits[1] & 0x20 ? 5 : 7;
        mark = o->at;
        pki_element(o, COILI_DER_BIT_STRING, bits, 2);
        pki_extension(o, 15, true, mark);
    }
    if (spec->bc) {
        mark = o->at;
        if (!strncmp(spec->bc, "ca:", 3)) {
            unsigned char n = (unsigned char)(spec->bc[3] - '0');
            pki_element(o, COILI_DER_INTEGER, &n, 1);
        }
        if (!strncmp(spec->bc, "ca", 2))
            pki_element(o, COILI_DER_BOOLEAN, "\xff", 1);
        pki_wrap(o, COILI_DER_SEQUENCE, mark);
        pki_extension(o, 19, true, mark);
    }
    if (spec->san || spec->san_der)
        pki_san(o, spec);
    if (!spec->no_ids) {
        mark = o->at;
        pki_key_id(id, signer);
        pki_element(o, COILI_DER_CONTEXT(0), id, sizeof id);
        pki_wrap(o, COILI_DER_SEQUENCE, mark);
        pki_extension(o, 35, false, mark);
        mark = o->at;
        pki_key_id(id, spec->key);
        pki_element(o, COILI_DER_OCTET_STRING, id, sizeof id);
        pki_extension(o, 14, false, mark);
    }
    if (o->at == end)
        return;
    pki_wrap(o, COILI_DER_SEQUENCE, end);
    pki_wrap(o, COILI_DER_CONTEXT_OF(3), end);
}

static inline void pki_tbs(struct pki_out *o, const struct pki_spec *spec,
                           const char *issuer, const struct pki_key *signer)
{
    size_t end = o->at, mark;
    if (!spec->version_1)
        pki_extensions(o, spec, signer);
    pki_spki(o, spec->key);
    pki_name(o, spec->subject);
    mark = o->at;
    pki_time(o, PKI_NOW + (spec->to ? spec->to : 180 * PKI_DAY));
    pki_time(o, PKI_NOW + (spec->from ? spec->from : -180 * PKI_DAY));
    pki_wrap(o, COILI_DER_SEQUENCE, mark);
    pki_name(o, issuer);
    pki_algorithm(o, spec->signature);
    pki_element(o, COILI_DER_INTEGER, "\x12\x34\x56", 3);
    if (!spec->version_1) {
        mark = o->at;
        pki_element(o, COILI_DER_INTEGER, "\2", 1);
        pki_wrap(o, COILI_DER_CONTEXT_OF(0), mark);
    }
    pki_wrap(o, COILI_DER_SEQUENCE, end);
}

static inline unsigned char *pki_bytes(struct coili_der view)
{
    return (unsigned char *)(uintptr_t)view.at;
}

static inline size_t pki_sign_rsa(const struct coili_private_key *key,
                                  const br_hash_class *hash,
                                  const unsigned char *digest,
                                  unsigned char *signature)
{
    br_rsa_private_key sk = {
        .n_bitlen = key->bits,
        .p = pki_bytes(key->rsa.p),
        .plen = key->rsa.p.len,
        .q = pki_bytes(key->rsa.q),
        .qlen = key->rsa.q.len,
        .dp = pki_bytes(key->rsa.dp),
        .dplen = key->rsa.dp.len,
        .dq = pki_bytes(key->rsa.dq),
        .dqlen = key->rsa.dq.len,
        .iq = pki_bytes(key->rsa.iq),
        .iqlen = key->rsa.iq.len,
    };
    bool is_384 = hash == &br_sha384_vtable, is_512 = hash == &br_sha512_vtable;
    const unsigned char *oid = is_384   ? BR_HASH_OID_SHA384
                               : is_512 ? BR_HASH_OID_SHA512
                                        : BR_HASH_OID_SHA256;
    CHECK_INT(br_rsa_i31_pkcs1_sign(oid, digest,
                                    is_384   ? 48
                                    : is_512 ? 64
                                             : 32,
                                    &sk, signature),
              1);
    return (key->bits + 7) / 8;
}

/* The signature of `bytes`, as a BIT STRING. */
static inline void pki_signature(struct pki_out *o, enum pki_signature s,
                                 const struct pki_key *signer,
                                 const unsigned char *bytes, size_t len)
{
    bool is_384 = s == PKI_SHA384 || s == PKI_RSA_SHA384;
    bool is_512 = s == PKI_SHA512 || s == PKI_RSA_SHA512;
    const br_hash_class *hash = is_384   ? &br_sha384_vtable
                                : is_512 ? &br_sha512_vtable
                                         : &br_sha256_vtable;
    unsigned char digest[64], signature[512];
    br_hash_compat_context c;
    hash->init(&c.vtable);
    hash->update(&c.vtable, bytes, len);
    hash->out(&c.vtable, digest);
    br_ec_private_key sk = {
        .curve = pki_curve(signer->kind),
        .x = (unsigned char *)(uintptr_t)signer->scalar,
        .xlen = signer->scalar_len,
    };
    size_t n = signer->kind == PKI_RSA
                   ? pki_sign_rsa(&signer->rsa, hash, digest, signature)
                   : br_ecdsa_i31_sign_asn1(&br_ec_all_m31, hash, digest, &sk,
                                            signature);
    CHECK(n > 0);
    size_t end = o->at;
    pki_put(o, signature, n);
    pki_put(o, "", 1);
    pki_wrap(o, COILI_DER_BIT_STRING, end);
}

/* Make a certificate. `signer` is NULL: it signs itself. */
static inline struct pki_cert pki_sign(const struct pki_spec *spec,
                                       const struct pki_cert *signer)
{
    struct pki_cert cert = { .key = spec->key, .subject = spec->subject };
    unsigned char buffer[PKI_BYTES], tbs[PKI_BYTES];
    const struct pki_key *key = signer ? signer->key : spec->key;
    const char *issuer = spec->issuer ? spec->issuer
                         : signer     ? signer->subject
                                      : spec->subject;
    struct pki_out o = { tbs, sizeof tbs };
    pki_tbs(&o, spec, issuer, key);
    const unsigned char *at = tbs + o.at;
    size_t len = sizeof tbs - o.at;

    o = (struct pki_out){ buffer, sizeof buffer };
    pki_signature(&o, spec->signature, key, at, len);
    pki_algorithm(&o, spec->signature);
    pki_put(&o, at, len);
    pki_wrap(&o, COILI_DER_SEQUENCE, sizeof buffer);
    cert.len = sizeof buffer - o.at;
    memcpy(cert.der, buffer + o.at, cert.len);
    return cert;
}

/* --- PEM ------------------------------------------------------------------*/

/* Append a block to a text of `size` bytes that ends with a NUL. */
static inline void pki_pem(char *text, size_t size, const char *label,
                           const unsigned char *der, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";
    char *at = text + strlen(text);
    CHECK(size - strlen(text) > len * 3 / 2 + 128);
    at += sprintf(at, "-----BEGIN %s-----\n", label);
    for (size_t i = 0; i < len; i += 3) {
        unsigned n = len - i < 3 ? (unsigned)(len - i) : 3;
        unsigned bits = (unsigned)der[i] << 16;
        bits |= n > 1 ? (unsigned)der[i + 1] << 8 : 0;
        bits |= n > 2 ? der[i + 2] : 0;
        *at++ = digits[bits >> 18];
        *at++ = digits[bits >> 12 & 63];
        *at++ = n > 1 ? digits[bits >> 6 & 63] : '=';
        *at++ = n > 2 ? digits[bits & 63] : '=';
        if (i % 48 == 45 || i + 3 >= len)
            *at++ = '\n';
    }
    sprintf(at, "-----END %s-----\n", label);
}

static inline void pki_cert_pem(char *text, size_t size,
                                const struct pki_cert *cert)
{
    pki_pem(text, size, "CERTIFICATE", cert->der, cert->len);
}

static inline void pki_key_pem(char *text, size_t size,
                               const struct pki_key *key)
{
    unsigned char buffer[PKI_BYTES];
    struct pki_out o = { buffer, sizeof buffer };
    pki_sec1(&o, key);
    pki_pem(text, size, "EC PRIVATE KEY", buffer + o.at, sizeof buffer - o.at);
}

#endif
