// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_sign.c: which signature may be by which key and where, and that only the
 * right one is taken. test_bear_openssl.c has OpenSSL's signatures, and shows
 * ours to it.
 */
#include "../pki.h"
#include "hex.h"
#include "secrets.h"

#include "tls/bear/sign.h"
#include "tls/engine.h"

static const unsigned schemes[] = {
    COILI_SCHEME_ECDSA_SHA256, COILI_SCHEME_ECDSA_SHA384,
    COILI_SCHEME_PSS_SHA256,   COILI_SCHEME_PSS_SHA384,
    COILI_SCHEME_PSS_SHA512,   COILI_SCHEME_PKCS1_SHA256,
    COILI_SCHEME_PKCS1_SHA384, COILI_SCHEME_PKCS1_SHA512,
};

enum { SCHEMES = sizeof schemes / sizeof schemes[0], PLACES = 3 };

/* For each place a letter for each scheme of the list above. */
struct rule {
    enum coili_key_type type;
    const char *suits[PLACES];
};

static const struct rule rules[] = {
    /* EC  PSS  PKCS#1                 13          exchange    messages */
    { COILI_KEY_RSA, { "..PPP...", "..PPPKKK", "..PP.KK." } },
    { COILI_KEY_P256, { "E.......", "EE......", "EE......" } },
    { COILI_KEY_P384, { ".E......", "EE......", "EE......" } },
    { COILI_KEY_P521, { "........", "........", "........" } },
    { COILI_KEY_OTHER, { "........", "........", "........" } },
};

enum { RULES = sizeof rules / sizeof rules[0] };

TEST(sign_a_scheme_suits_keys_and_places)
{
    for (int r = 0; r < RULES; r++)
        for (int where = 0; where < PLACES; where++)
            for (int s = 0; s < SCHEMES; s++) {
                test_note("key %d, place %d, scheme %04x", r, where,
                          schemes[s]);
                CHECK_INT(coili_scheme_suits(schemes[s],
                                             (enum coili_signed_by)where,
                                             rules[r].type),
                          rules[r].suits[where][s] != '.');
            }
    /* SHA-1, P-521, PSS keys, Ed25519, GREASE. */
    static const unsigned others[] = { 0x0201, 0x0203, 0x0603, 0x0809,
                                       0x0807, 0x0a0a, 0 };
    for (int i = 0; i < 7; i++)
        for (int r = 0; r < RULES; r++)
            CHECK(!coili_scheme_suits(others[i], COILI_SIGNED_EXCHANGE12,
                                      rules[r].type));
}

static unsigned choose(enum coili_signed_by where, enum coili_key_type type,
                       const char *list)
{
    struct hex h = hex(list);
    return coili_scheme_choose(where, type, h.at, h.len);
}

TEST(sign_chooses_by_our_order)
{
    const enum coili_key_type rsa = COILI_KEY_RSA;
    static const char all[] = "0201 0601 0501 0401 0806 0805 0804 0503 0403";
    CHECK_INT(choose(COILI_SIGNED_13, rsa, all), 0x0804);
    CHECK_INT(choose(COILI_SIGNED_13, COILI_KEY_P256, all), 0x0403);
    CHECK_INT(choose(COILI_SIGNED_13, COILI_KEY_P384, all), 0x0503);
    CHECK_INT(choose(COILI_SIGNED_13, COILI_KEY_P521, all), 0);
    CHECK_INT(choose(COILI_SIGNED_13, rsa, "0806 0805"), 0x0805);
    CHECK_INT(choose(COILI_SIGNED_13, rsa, "0601 0501 0401 0403"), 0);
    CHECK_INT(choose(COILI_SIGNED_13, COILI_KEY_P256, "0503 0804"), 0);
    CHECK_INT(choose(COILI_SIGNED_13, COILI_KEY_P384, "0403"), 0);
    CHECK_INT(choose(COILI_SIGNED_13, rsa, ""), 0);

    CHECK_INT(choose(COILI_SIGNED_EXCHANGE12, rsa, "0601 0501 0401"), 0x0401);
    CHECK_INT(choose(COILI_SIGNED_EXCHANGE12, rsa, "0401 0806"), 0x0806);
    CHECK_INT(choose(COILI_SIGNED_EXCHANGE12, COILI_KEY_P384, all), 0x0503);
    CHECK_INT(choose(COILI_SIGNED_EXCHANGE12, COILI_KEY_P384, "0403"), 0x0403);
    CHECK_INT(choose(COILI_SIGNED_EXCHANGE12, COILI_KEY_P256, "0503"), 0x0503);
    CHECK_INT(choose(COILI_SIGNED_EXCHANGE12, COILI_KEY_P256, all), 0x0403);

    CHECK_INT(choose(COILI_SIGNED_MESSAGES12, rsa, "0806 0601"), 0);
    CHECK_INT(choose(COILI_SIGNED_MESSAGES12, rsa, "0806 0501"), 0x0501);
    /* Half a scheme at the end is passed over. */
    CHECK_INT(choose(COILI_SIGNED_13, rsa, "0403 08"), 0);
}

static struct coili_private_key private_key(const struct pki_key *key)
{
    if (key->kind == PKI_RSA)
        return key->rsa;
    return (struct coili_private_key){
        .type = key->kind == PKI_P256   ? COILI_KEY_P256
                : key->kind == PKI_P384 ? COILI_KEY_P384
                                        : COILI_KEY_P521,
        .bits = key->kind == PKI_P384 ? 384 : 256,
        .scalar = { key->scalar, key->scalar_len },
    };
}

static struct coili_public_key public_key(const struct pki_key *key)
{
    struct coili_private_key private = private_key(key);
    return (struct coili_public_key){
        .type = private.type,
        .bits = private.bits,
        .modulus = private.rsa.n,
        .exponent = private.rsa.e,
        .point = { key->point, key->point_len },
    };
}

/* A signable of the place, with something in it. */
static bool fill(struct coili_signable *s, unsigned scheme, int where, int what)
{
    unsigned char text[48] = { (unsigned char)what };
    struct coili_transcript t;
    switch (where) {
    case COILI_SIGNED_13:
        return coili_signable_13(s, scheme, COILI_SERVER, COILI_SHA384, text);
    case COILI_SIGNED_EXCHANGE12:
        return coili_signable_exchange12(s, scheme, text, text, text, 40);
    default:
        coili_transcript_init(&t);
        coili_transcript_add(&t, text, sizeof text);
        return coili_signable_messages12(s, scheme, &t);
    }
}

static const unsigned char salt[COILI_SALT_BYTES] = { 1, 2, 3 };

// By each key, in each place, with each scheme that suits; no other is made.
TEST(sign_and_verify)
{
    for (int kind = PKI_P256; kind <= PKI_RSA; kind++)
        for (int where = 0; where < PLACES; where++)
            for (int i = 0; i < SCHEMES; i++) {
                struct pki_key made = pki_key_new((enum pki_kind)kind, 'A');
                struct coili_private_key key = private_key(&made);
                struct coili_public_key verifier = public_key(&made);
                struct coili_signable s, other;
                unsigned char signature[COILI_SIGNATURE_BYTES_MAX];
                bool suits = coili_scheme_suits(
                    schemes[i], (enum coili_signed_by)where, key.type);
                test_note("kind %d, place %d, scheme %04x", kind, where,
                          schemes[i]);
                if (!fill(&s, schemes[i], where, 1)) {
                    CHECK(!suits);
                    CHECK_INT(
                        coili_signature_verify(&s, &verifier, signature, 0),
                        COILI_ALERT_ILLEGAL_PARAMETER);
                    continue;
                }
                size_t n = coili_signature_make(&s, &key, salt, signature);
                CHECK_INT(n > 0, suits);
                if (!suits) {
                    CHECK_INT(
                        coili_signature_verify(&s, &verifier, signature, n),
                        COILI_ALERT_ILLEGAL_PARAMETER);
                    continue;
                }
                CHECK_INT(coili_signature_verify(&s, &verifier, signature, n),
                          0);
                CHECK(fill(&other, schemes[i], where, 2));
                CHECK_INT(
                    coili_signature_verify(&other, &verifier, signature, n),
                    COILI_ALERT_DECRYPT_ERROR);
            }
}

// A place, a scheme, and a side each make another signature.
TEST(sign_what_is_signed_tells_all)
{
    struct coili_signable a, b;
    unsigned char hash[48] = { 7 }, random[32] = { 8 }, none[32] = { 0 };
    CHECK(coili_signable_13(&a, 0x0403, COILI_SERVER, COILI_SHA256, hash));
    /* RFC 8446, 4.4.3 */
    unsigned char content[64 + 34 + 32], expected[32];
    memset(content, 0x20, 64);
    memcpy(content + 64, "TLS 1.3, server CertificateVerify", 34);
    memcpy(content + 98, hash, 32);
    coili_digest_hash(COILI_SHA256, expected, content, sizeof content);
    CHECK_MEM(a.hash, expected, 32);
    CHECK(coili_signable_13(&b, 0x0403, COILI_CLIENT, COILI_SHA256, hash));
    CHECK(memcmp(a.hash, b.hash, 32) != 0);
    CHECK(coili_signable_13(&b, 0x0403, COILI_SERVER, COILI_SHA384, hash));
    CHECK(memcmp(a.hash, b.hash, 32) != 0);
    CHECK(coili_signable_exchange12(&a, 0x0403, random, none, "x", 1));
    CHECK(coili_signable_exchange12(&b, 0x0403, none, random, "x", 1));
    CHECK(memcmp(a.hash, b.hash, 32) != 0);
    CHECK(!coili_signable_13(&b, 0x0401, COILI_SERVER, COILI_SHA256, hash));
    CHECK(!coili_signable_exchange12(&b, 0x0201, none, random, "x", 1));
}

// One bit of the signature, of any key, and it is another.
TEST(sign_refuses_each_flipped_bit)
{
    for (int kind = PKI_P256; kind <= PKI_RSA; kind++) {
        if (kind == PKI_P521)
            continue;
        struct pki_key made = pki_key_new((enum pki_kind)kind, 'A');
        struct coili_private_key key = private_key(&made);
        struct coili_public_key verifier = public_key(&made);
        struct coili_signable s;
        unsigned char signature[COILI_SIGNATURE_BYTES_MAX];
        unsigned scheme = coili_scheme_choose(
            COILI_SIGNED_13, key.type, (const unsigned char *)"\4\3\5\3\10\4",
            6);
        CHECK(fill(&s, scheme, COILI_SIGNED_13, 1));
        size_t n = coili_signature_make(&s, &key, salt, signature);
        CHECK(n > 0);
        size_t step = test_is_slow() ? 97 : kind == PKI_P384 ? 7 : 1;
        for (size_t bit = 0; bit < 8 * n; bit += step) {
            signature[bit / 8] ^= (unsigned char)(1U << bit % 8);
            CHECK_INT(coili_signature_verify(&s, &verifier, signature, n),
                      COILI_ALERT_DECRYPT_ERROR);
            signature[bit / 8] ^= (unsigned char)(1U << bit % 8);
        }
        for (size_t len = 0; len < n; len += 7)
            CHECK_INT(coili_signature_verify(&s, &verifier, signature, len),
                      COILI_ALERT_DECRYPT_ERROR);
        CHECK_INT(coili_signature_verify(&s, &verifier, signature, n), 0);
    }
}

// A form of the same signature with other bytes would be a second one.
TEST(sign_an_rsa_signature_has_the_length_of_the_modulus)
{
    for (int form = 0; form < 2; form++) {
        struct pki_key made = pki_key_new(PKI_RSA, 'A');
        struct coili_private_key key = private_key(&made);
        struct coili_public_key verifier = public_key(&made);
        struct coili_signable s;
        unsigned char signature[COILI_SIGNATURE_BYTES_MAX];
        unsigned char padded[COILI_SIGNATURE_BYTES_MAX + 1] = { 0 };
        unsigned char other_salt[COILI_SALT_BYTES] = { 0 };
        size_t n = 0;
        CHECK(fill(&s, form ? 0x0804 : 0x0401, COILI_SIGNED_EXCHANGE12, 1));
        /* Until one begins with a zero that could be left out. */
        for (int i = 0; i < 3000; i++) {
            fill(&s, form ? 0x0804 : 0x0401, COILI_SIGNED_EXCHANGE12, i & 255);
            other_salt[0] = (unsigned char)(i >> 8);
            n = coili_signature_make(&s, &key, other_salt, signature);
            CHECK_INT(n, key.rsa.n.len);
            if (signature[0] == 0 || test_is_slow() || (form == 0 && i == 255))
                break;
        }
        memcpy(padded + 1, signature, n);
        CHECK_INT(coili_signature_verify(&s, &verifier, signature, n), 0);
        CHECK_INT(coili_signature_verify(&s, &verifier, signature + 1, n - 1),
                  COILI_ALERT_DECRYPT_ERROR);
        CHECK_INT(coili_signature_verify(&s, &verifier, padded, n + 1),
                  COILI_ALERT_DECRYPT_ERROR);
        /* Longer than any modulus. */
        static const unsigned char endless[70000] = { 1 };
        CHECK_INT(
            coili_signature_verify(&s, &verifier, endless, sizeof endless),
            COILI_ALERT_DECRYPT_ERROR);
        /* The modulus itself, which is not below the modulus. */
        CHECK_INT(coili_signature_verify(&s, &verifier, key.rsa.n.at, n),
                  COILI_ALERT_DECRYPT_ERROR);
    }
}

// A fault in one half of the computation would give the key away.
TEST(sign_makes_nothing_with_a_faulty_rsa_key)
{
    for (int form = 0; form < 2; form++) {
        struct pki_key made = pki_key_new(PKI_RSA, 'A');
        struct coili_private_key key = private_key(&made);
        struct coili_signable s;
        unsigned char signature[COILI_SIGNATURE_BYTES_MAX], dp[512];
        static const unsigned char zeros[COILI_SIGNATURE_BYTES_MAX];
        CHECK(key.rsa.dp.len <= sizeof dp);
        memcpy(dp, key.rsa.dp.at, key.rsa.dp.len);
        dp[key.rsa.dp.len / 2] ^= 4;
        key.rsa.dp.at = dp;
        CHECK(fill(&s, form ? 0x0804 : 0x0401, COILI_SIGNED_EXCHANGE12, 1));
        CHECK_INT(coili_signature_make(&s, &key, salt, signature), 0);
        CHECK_MEM(signature, zeros, key.rsa.n.len);
    }
}

// Too small to be safe, or larger than BearSSL's buffers.
TEST(sign_refuses_other_sizes_of_rsa_keys)
{
    static const unsigned bits[] = { 1024, 2047, 4097, 8192 };
    struct pki_key made = pki_key_new(PKI_RSA, 'A');
    struct coili_signable s;
    unsigned char signature[COILI_SIGNATURE_BYTES_MAX];
    CHECK(fill(&s, 0x0804, COILI_SIGNED_13, 1));
    for (int i = 0; i < 4; i++) {
        struct coili_public_key key = public_key(&made);
        struct coili_private_key private = private_key(&made);
        key.bits = private.bits = bits[i];
        CHECK_INT(coili_signature_verify(&s, &key, signature, 256),
                  COILI_ALERT_ILLEGAL_PARAMETER);
        CHECK_INT(coili_signature_make(&s, &private, salt, signature), 0);
    }
}

// PSS: the salt is all that differs between two signatures.
TEST(sign_pss_is_salted)
{
    struct pki_key made = pki_key_new(PKI_RSA, 'A');
    struct coili_private_key key = private_key(&made);
    struct coili_signable s;
    unsigned char a[COILI_SIGNATURE_BYTES_MAX], b[COILI_SIGNATURE_BYTES_MAX];
    unsigned char other[COILI_SALT_BYTES] = { 2, 2, 3 };
    CHECK(fill(&s, 0x0804, COILI_SIGNED_13, 1));
    size_t n = coili_signature_make(&s, &key, salt, a);
    CHECK_INT(coili_signature_make(&s, &key, salt, b), n);
    CHECK_MEM(a, b, n);
    CHECK_INT(coili_signature_make(&s, &key, other, b), n);
    CHECK(memcmp(a, b, n) != 0);
}

enum { LENGTH_SHOWS = 8 };

/* All of a number but what its length is seen by. */
static void secret_number(struct coili_der number)
{
    secret(number.at + LENGTH_SHOWS, number.len - LENGTH_SHOWS);
}

static void secret_key(const struct coili_private_key *key)
{
    if (key->type != COILI_KEY_RSA) {
        secret(key->scalar.at, key->scalar.len);
        return;
    }
    secret_number(key->rsa.p);
    secret_number(key->rsa.q);
    secret(key->rsa.d.at, key->rsa.d.len);
    secret(key->rsa.dp.at, key->rsa.dp.len);
    secret(key->rsa.dq.at, key->rsa.dq.len);
    secret(key->rsa.iq.at, key->rsa.iq.len);
}

/*
 * A signature is public, and so is whether there is one: sign.c, which verifies
 * it at once, gets functions that say so.
 */
br_rsa_private __real_br_rsa_i62_private_get(void);
br_rsa_private __wrap_br_rsa_i62_private_get(void);
br_rsa_pkcs1_sign __real_br_rsa_i62_pkcs1_sign_get(void);
br_rsa_pkcs1_sign __wrap_br_rsa_i62_pkcs1_sign_get(void);

static uint32_t raise_and_show(unsigned char *x, const br_rsa_private_key *sk)
{
    br_rsa_private raise = __real_br_rsa_i62_private_get();
    if (!raise)
        raise = br_rsa_i31_private;
    uint32_t made = raise(x, sk);
    published(&made, sizeof made);
    published(x, (sk->n_bitlen + 7) / 8);
    return made;
}

static uint32_t sign_and_show(const unsigned char *oid,
                              const unsigned char *hash, size_t hash_len,
                              const br_rsa_private_key *sk, unsigned char *x)
{
    br_rsa_pkcs1_sign sign = __real_br_rsa_i62_pkcs1_sign_get();
    if (!sign)
        sign = br_rsa_i31_pkcs1_sign;
    uint32_t made = sign(oid, hash, hash_len, sk, x);
    published(&made, sizeof made);
    published(x, (sk->n_bitlen + 7) / 8);
    return made;
}

br_rsa_private __wrap_br_rsa_i62_private_get(void)
{
    return raise_and_show;
}

br_rsa_pkcs1_sign __wrap_br_rsa_i62_pkcs1_sign_get(void)
{
    return sign_and_show;
}

// The key does not decide where the code goes, nor what it reads.
TEST(sign_does_not_branch_on_keys)
{
    for (int kind = PKI_P256; kind <= PKI_RSA; kind++)
        for (int i = 0; i < SCHEMES; i++) {
            struct pki_key made = pki_key_new((enum pki_kind)kind, 'A');
            struct coili_private_key key = private_key(&made);
            struct coili_public_key verifier = public_key(&made);
            struct coili_signable s;
            unsigned char signature[COILI_SIGNATURE_BYTES_MAX];
            if (!coili_scheme_suits(schemes[i], COILI_SIGNED_EXCHANGE12,
                                    key.type))
                continue;
            CHECK(fill(&s, schemes[i], COILI_SIGNED_EXCHANGE12, 1));
            secret_key(&key);
            size_t n = coili_signature_make(&s, &key, salt, signature);
            published(&n, sizeof n);
            published(signature, n);
            CHECK_INT(coili_signature_verify(&s, &verifier, signature, n), 0);
        }
}
