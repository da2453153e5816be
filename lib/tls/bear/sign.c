// SPDX-License-Identifier: MIT
/*
 * sign.c: the signatures of a handshake.
 *
 * BearSSL 0.6 has no RSA-PSS. Its encoding, EMSA-PSS (RFC 8017, 9.1), is here,
 * around BearSSL's modular powers:
 *
 *     zeros.. 01 salt, XOR mask | H = Hash(8 zeros, digest, salt) | bc
 *                 mask = MGF1(H)
 *
 * The encoding has one bit less than the modulus, and the salt is as long as the
 * hash (RFC 8446, 4.2.3). If the modulus has 8 n + 1 bits, the encoding has a
 * byte less too, and the power begins with a zero byte.
 *
 * An RSA signature is exactly as long as the modulus: a library that took
 * shorter ones accepted several forms of one signature.
 */
#include "tls/bear/sign.h"

#include <string.h>

#include "base/check.h"
#include "tls/bear/digest.h"

enum { RSA_BITS_MIN = 2048, RSA_BITS_MAX = 4096, RSA_BYTES_MAX = 512 };

/* ---- Schemes ---------------------------------------------------------- */

enum form { ECDSA, PKCS1, PSS };

/* In the order in which a key that suits several of them uses them. */
static const struct scheme {
    uint16_t id;
    uint8_t form, digest;
    uint8_t curve; /* ECDSA: of 1.3; enum coili_key_type */
} schemes[] = {
    { COILI_SCHEME_ECDSA_SHA256, ECDSA, COILI_SHA256, COILI_KEY_P256 },
    { COILI_SCHEME_ECDSA_SHA384, ECDSA, COILI_SHA384, COILI_KEY_P384 },
    { COILI_SCHEME_PSS_SHA256, PSS, COILI_SHA256, 0 },
    { COILI_SCHEME_PSS_SHA384, PSS, COILI_SHA384, 0 },
    { COILI_SCHEME_PSS_SHA512, PSS, COILI_SHA512, 0 },
    { COILI_SCHEME_PKCS1_SHA256, PKCS1, COILI_SHA256, 0 },
    { COILI_SCHEME_PKCS1_SHA384, PKCS1, COILI_SHA384, 0 },
    { COILI_SCHEME_PKCS1_SHA512, PKCS1, COILI_SHA512, 0 },
};

enum { SCHEMES = sizeof schemes / sizeof schemes[0] };

static const struct scheme *find_scheme(unsigned id)
{
    for (size_t i = 0; i < SCHEMES; i++)
        if (schemes[i].id == id)
            return &schemes[i];
    return NULL;
}

/* The scheme if it may stand in that place at all. */
static const struct scheme *scheme_of(unsigned id, enum coili_signed_by where)
{
    const struct scheme *s = find_scheme(id);
    if (!s || (where == COILI_SIGNED_13 && s->form == PKCS1) ||
        (where == COILI_SIGNED_MESSAGES12 && s->digest == COILI_SHA512))
        return NULL;
    return s;
}

static bool suits(const struct scheme *s, enum coili_signed_by where,
                  enum coili_key_type type)
{
    if (s->form != ECDSA)
        return type == COILI_KEY_RSA;
    if (where == COILI_SIGNED_13)
        return type == (enum coili_key_type)s->curve;
    return type == COILI_KEY_P256 || type == COILI_KEY_P384;
}

bool coili_scheme_suits(unsigned scheme, enum coili_signed_by where,
                        enum coili_key_type type)
{
    const struct scheme *s = scheme_of(scheme, where);
    return s && suits(s, where, type);
}

static bool lists(const unsigned char *list, size_t len, unsigned scheme)
{
    for (size_t i = 0; i + 2 <= len; i += 2)
        if ((list[i] << 8 | list[i + 1]) == (int)scheme)
            return true;
    return false;
}

unsigned coili_scheme_choose(enum coili_signed_by where,
                             enum coili_key_type type,
                             const unsigned char *list, size_t len)
{
    unsigned chosen = 0;
    for (size_t i = 0; i < SCHEMES; i++) {
        const struct scheme *s = &schemes[i];
        if (!coili_scheme_suits(s->id, where, type) || !lists(list, len, s->id))
            continue;
        /* In 1.2 an EC key goes with both hashes; that of its size is best. */
        if (s->form != ECDSA || s->curve == type)
            return s->id;
        if (!chosen)
            chosen = s->id;
    }
    return chosen;
}

/* ---- What is signed --------------------------------------------------- */

static const struct scheme *begin(struct coili_signable *s, unsigned scheme,
                                  enum coili_signed_by where)
{
    const struct scheme *found = scheme_of(scheme, where);
    *s = (struct coili_signable){ .scheme = (uint16_t)scheme,
                                  .where = (uint8_t)where };
    return found;
}

bool coili_signable_13(struct coili_signable *s, unsigned scheme,
                       enum coili_side side, enum coili_digest digest,
                       const unsigned char *hash)
{
    /* 64 spaces, the context, a zero, the hash (RFC 8446, 4.4.3). */
    unsigned char content[64 + 34 + COILI_HASH_BYTES_MAX];
    const char *context = side == COILI_SERVER
                              ? "TLS 1.3, server CertificateVerify"
                              : "TLS 1.3, client CertificateVerify";
    const struct scheme *found = begin(s, scheme, COILI_SIGNED_13);
    size_t n = coili_digest_bytes(digest);
    coili_check(digest != COILI_SHA512, "no suite has SHA-512");
    if (!found)
        return false;
    memset(content, ' ', 64);
    memcpy(content + 64, context, 34);
    memcpy(content + 64 + 34, hash, n);
    coili_digest_hash((enum coili_digest)found->digest, s->hash, content,
                      64 + 34 + n);
    return true;
}

bool coili_signable_exchange12(struct coili_signable *s, unsigned scheme,
                               const unsigned char client_random[32],
                               const unsigned char server_random[32],
                               const void *params, size_t params_len)
{
    const struct scheme *found = begin(s, scheme, COILI_SIGNED_EXCHANGE12);
    br_hash_compat_context c;
    if (!found)
        return false;
    const br_hash_class *class = coili_digest_class(
        (enum coili_digest)found->digest);
    class->init(&c.vtable);
    class->update(&c.vtable, client_random, 32);
    class->update(&c.vtable, server_random, 32);
    class->update(&c.vtable, params, params_len);
    class->out(&c.vtable, s->hash);
    return true;
}

bool coili_signable_messages12(struct coili_signable *s, unsigned scheme,
                               const struct coili_transcript *t)
{
    const struct scheme *found = begin(s, scheme, COILI_SIGNED_MESSAGES12);
    if (!found)
        return false;
    coili_transcript_hash(t, (enum coili_digest)found->digest, s->hash);
    return true;
}

/* ---- EMSA-PSS --------------------------------------------------------- */

/* What an encoding consists of; lengths in bytes. */
struct pss {
    unsigned char *masked; /* salt and what is before it */
    unsigned char *hash;   /* H */
    size_t masked_len, hash_len;
    unsigned char mask; /* the bits of the first byte that exist */
};

/* The parts of the encoding that stands at the end of `power`. */
static struct pss split(unsigned char *power, size_t len, unsigned bits,
                        size_t hash_len)
{
    size_t n = (bits - 1 + 7) / 8;
    unsigned unused = (unsigned)(8 * n - (bits - 1));
    unsigned char *encoded = power + len - n;
    return (struct pss){ .masked = encoded,
                         .hash = encoded + n - 1 - hash_len,
                         .masked_len = n - 1 - hash_len,
                         .hash_len = hash_len,
                         .mask = (unsigned char)(0xff >> unused) };
}

/* XOR the mask, MGF1 of H, to what is masked, and clear the bits in excess. */
static void apply_mask(const struct pss *e, enum coili_digest digest)
{
    unsigned char input[COILI_DIGEST_BYTES_MAX + 4];
    unsigned char block[COILI_DIGEST_BYTES_MAX];
    memcpy(input, e->hash, e->hash_len);
    memset(input + e->hash_len, 0, 4);
    for (size_t at = 0; at < e->masked_len; at++) {
        if (at % e->hash_len == 0) {
            /* At most 16 blocks: one byte of the counter is enough. */
            input[e->hash_len + 3] = (unsigned char)(at / e->hash_len);
            coili_digest_hash(digest, block, input, e->hash_len + 4);
        }
        e->masked[at] ^= block[at % e->hash_len];
    }
    e->masked[0] &= e->mask;
}

/* H of a digest and a salt. */
static void salted_hash(enum coili_digest digest, unsigned char *hash,
                        const unsigned char *signed_hash,
                        const unsigned char *salt)
{
    unsigned char input[8 + 2 * COILI_DIGEST_BYTES_MAX] = { 0 };
    size_t n = coili_digest_bytes(digest);
    memcpy(input + 8, signed_hash, n);
    memcpy(input + 8 + n, salt, n);
    coili_digest_hash(digest, hash, input, 8 + 2 * n);
}

/* `power` is `len` bytes long, as the modulus of `bits` bits. */
static void pss_encode(unsigned char *power, size_t len, unsigned bits,
                       enum coili_digest digest, const unsigned char *hash,
                       const unsigned char *salt)
{
    size_t n = coili_digest_bytes(digest);
    struct pss e = split(power, len, bits, n);
    memset(power, 0, len);
    memcpy(e.masked + e.masked_len - n, salt, n);
    e.masked[e.masked_len - n - 1] = 1;
    salted_hash(digest, e.hash, hash, salt);
    apply_mask(&e, digest);
    power[len - 1] = 0xbc;
}

static bool pss_is_right(unsigned char *power, size_t len, unsigned bits,
                         enum coili_digest digest, const unsigned char *hash)
{
    unsigned char expected[COILI_DIGEST_BYTES_MAX];
    size_t n = coili_digest_bytes(digest);
    struct pss e = split(power, len, bits, n);
    unsigned char wrong = power[len - 1] ^ 0xbc;
    if (e.masked > power)
        wrong |= power[0];
    wrong |= e.masked[0] & (unsigned char)~e.mask;
    apply_mask(&e, digest);
    for (size_t i = 0; i < e.masked_len - n - 1; i++)
        wrong |= e.masked[i];
    wrong |= e.masked[e.masked_len - n - 1] ^ 1;
    salted_hash(digest, expected, hash, e.masked + e.masked_len - n);
    return wrong == 0 && memcmp(expected, e.hash, n) == 0;
}

/* ---- RSA and ECDSA ---------------------------------------------------- */

/* BearSSL's structures have no const; it does not write through them. */
static unsigned char *bytes_of(struct coili_der view)
{
    return (unsigned char *)(uintptr_t)view.at;
}

static const unsigned char *oid_of(enum coili_digest digest)
{
    switch (digest) {
    case COILI_SHA256:
        return BR_HASH_OID_SHA256;
    case COILI_SHA384:
        return BR_HASH_OID_SHA384;
    case COILI_SHA512:
        break;
    }
    return BR_HASH_OID_SHA512;
}

static int curve_of(enum coili_key_type type)
{
    return type == COILI_KEY_P384 ? BR_EC_secp384r1 : BR_EC_secp256r1;
}

static bool pkcs1_is_right(enum coili_digest digest, const unsigned char *hash,
                           const br_rsa_public_key *pk,
                           const unsigned char *signature, size_t len)
{
    unsigned char found[COILI_DIGEST_BYTES_MAX];
    size_t n = coili_digest_bytes(digest);
    br_rsa_pkcs1_vrfy verify = br_rsa_i62_pkcs1_vrfy_get();
    if (!verify)
        verify = br_rsa_i31_pkcs1_vrfy;
    return verify(signature, len, oid_of(digest), n, pk, found) &&
           memcmp(found, hash, n) == 0;
}

/* The key's size is in its bounds. */
static bool rsa_is_right(const struct scheme *scheme, const unsigned char *hash,
                         const struct coili_public_key *key,
                         const unsigned char *signature, size_t len)
{
    enum coili_digest digest = (enum coili_digest)scheme->digest;
    unsigned char power[RSA_BYTES_MAX];
    br_rsa_public_key pk = { .n = bytes_of(key->modulus),
                             .nlen = key->modulus.len,
                             .e = bytes_of(key->exponent),
                             .elen = key->exponent.len };
    if (len != key->modulus.len)
        return false;
    if (scheme->form == PKCS1)
        return pkcs1_is_right(digest, hash, &pk, signature, len);
    br_rsa_public raise = br_rsa_i62_public_get();
    if (!raise)
        raise = br_rsa_i31_public;
    memcpy(power, signature, len);
    return raise(power, len, &pk) &&
           pss_is_right(power, len, key->bits, digest, hash);
}

static bool size_is_allowed(enum coili_key_type type, unsigned bits)
{
    return type != COILI_KEY_RSA ||
           (bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX);
}

int coili_signature_verify(const struct coili_signable *s,
                           const struct coili_public_key *key,
                           const unsigned char *signature, size_t len)
{
    const struct scheme *scheme = scheme_of(s->scheme,
                                            (enum coili_signed_by)s->where);
    if (!scheme || !suits(scheme, (enum coili_signed_by)s->where, key->type) ||
        !size_is_allowed(key->type, key->bits))
        return COILI_ALERT_ILLEGAL_PARAMETER;
    if (scheme->form != ECDSA)
        return rsa_is_right(scheme, s->hash, key, signature, len)
                   ? 0
                   : COILI_ALERT_DECRYPT_ERROR;
    br_ec_public_key pk = { .curve = curve_of(key->type),
                            .q = bytes_of(key->point),
                            .qlen = key->point.len };
    size_t n = coili_digest_bytes((enum coili_digest)scheme->digest);
    return br_ecdsa_i31_vrfy_asn1(&br_ec_all_m31, s->hash, n, &pk, signature,
                                  len) == 1
               ? 0
               : COILI_ALERT_DECRYPT_ERROR;
}

static size_t sign_rsa(const struct scheme *scheme, const unsigned char *hash,
                       const struct coili_private_key *key,
                       const unsigned char *salt, unsigned char *signature)
{
    enum coili_digest digest = (enum coili_digest)scheme->digest;
    size_t len = key->rsa.n.len;
    br_rsa_private_key sk = {
        .n_bitlen = key->bits,
        .p = bytes_of(key->rsa.p),
        .plen = key->rsa.p.len,
        .q = bytes_of(key->rsa.q),
        .qlen = key->rsa.q.len,
        .dp = bytes_of(key->rsa.dp),
        .dplen = key->rsa.dp.len,
        .dq = bytes_of(key->rsa.dq),
        .dqlen = key->rsa.dq.len,
        .iq = bytes_of(key->rsa.iq),
        .iqlen = key->rsa.iq.len,
    };
    if (scheme->form == PKCS1) {
        br_rsa_pkcs1_sign sign = br_rsa_i62_pkcs1_sign_get();
        if (!sign)
            sign = br_rsa_i31_pkcs1_sign;
        if (!sign(oid_of(digest), hash, coili_digest_bytes(digest), &sk,
                  signature))
            return 0;
    } else {
        br_rsa_private raise = br_rsa_i62_private_get();
        if (!raise)
            raise = br_rsa_i31_private;
        pss_encode(signature, len, key->bits, digest, hash, salt);
        if (!raise(signature, &sk))
            return 0;
    }
    /* One wrong half of the CRT would give a factor of the modulus away. */
    const struct coili_public_key public_key = { .type = COILI_KEY_RSA,
                                                 .bits = key->bits,
                                                 .modulus = key->rsa.n,
                                                 .exponent = key->rsa.e };
    if (!rsa_is_right(scheme, hash, &public_key, signature, len)) {
        explicit_bzero(signature, len);
        return 0;
    }
    return len;
}

size_t coili_signature_make(const struct coili_signable *s,
                            const struct coili_private_key *key,
                            const unsigned char salt[COILI_SALT_BYTES],
                            unsigned char signature[COILI_SIGNATURE_BYTES_MAX])
{
    const struct scheme *scheme = scheme_of(s->scheme,
                                            (enum coili_signed_by)s->where);
    if (!scheme || !suits(scheme, (enum coili_signed_by)s->where, key->type) ||
        !size_is_allowed(key->type, key->bits))
        return 0;
    if (scheme->form != ECDSA)
        return sign_rsa(scheme, s->hash, key, salt, signature);
    br_ec_private_key sk = { .curve = curve_of(key->type),
                             .x = bytes_of(key->scalar),
                             .xlen = key->scalar.len };
    return br_ecdsa_i31_sign_asn1(
        &br_ec_all_m31, coili_digest_class((enum coili_digest)scheme->digest),
        s->hash, &sk, signature);
}
