// SPDX-License-Identifier: MIT
/*
 * test_bear_openssl.c: two libraries, one result.
 *
 * What lib/tls/bear computes with BearSSL is computed by OpenSSL's libcrypto too,
 * with random inputs: key schedule and PRF by its KDFs, records by its AEADs,
 * shares and signatures both ways. Records and signatures that ours would not
 * make, because they are wrong, are OpenSSL's as well.
 *
 * In a build without coil-openssl the cases are skipped.
 */
#include "hex.h"

#include "tls/bear/prf.h"
#include "tls/bear/record.h"
#include "tls/bear/schedule.h"
#include "tls/bear/share.h"
#include "tls/bear/sign.h"

#ifdef TEST_WITH_OPENSSL

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

static const char *name_of(enum coili_digest digest)
{
    return digest == COILI_SHA256   ? "SHA256"
           : digest == COILI_SHA384 ? "SHA384"
                                    : "SHA512";
}

/* A parameter of a KDF that is a string of bytes. */
static OSSL_PARAM octets(const char *key, const void *data, size_t len)
{
    return OSSL_PARAM_construct_octet_string(key, (void *)(uintptr_t)data, len);
}

static OSSL_PARAM text(const char *key, const char *value)
{
    return OSSL_PARAM_construct_utf8_string(key, (char *)(uintptr_t)value, 0);
}

static void kdf(const char *name, const OSSL_PARAM *params, unsigned char *out,
                size_t len)
{
    test_heap_ignore(); /* libcrypto keeps what it has fetched */
    EVP_KDF *fetched = EVP_KDF_fetch(NULL, name, NULL);
    EVP_KDF_CTX *c = EVP_KDF_CTX_new(fetched);
    CHECK(c);
    CHECK_INT(EVP_KDF_derive(c, out, len, params), 1);
    EVP_KDF_CTX_free(c);
    EVP_KDF_free(fetched);
}

static void extract(enum coili_digest digest, unsigned char *out,
                    const void *salt, const void *input, size_t len)
{
    OSSL_PARAM params[] = {
        text("mode", "EXTRACT_ONLY"),
        text("digest", name_of(digest)),
        octets("salt", salt, coili_digest_bytes(digest)),
        octets("key", input, len),
        OSSL_PARAM_construct_end(),
    };
    kdf("HKDF", params, out, coili_digest_bytes(digest));
}

static void expand(enum coili_digest digest, unsigned char *out, size_t len,
                   const void *secret, const char *label, const void *context,
                   size_t context_len)
{
    unsigned char info[300], *p = info;
    *p++ = 0;
    *p++ = (unsigned char)len;
    *p++ = (unsigned char)(6 + strlen(label));
    memcpy(p, "tls13 ", 6);
    memcpy(p + 6, label, strlen(label));
    p += 6 + strlen(label);
    *p++ = (unsigned char)context_len;
    memcpy(p, context, context_len);
    p += context_len;
    OSSL_PARAM params[] = {
        text("mode", "EXPAND_ONLY"),
        text("digest", name_of(digest)),
        octets("key", secret, coili_digest_bytes(digest)),
        octets("info", info, (size_t)(p - info)),
        OSSL_PARAM_construct_end(),
    };
    kdf("HKDF", params, out, len);
}

// From the PSK to the traffic keys, of both hashes.
TEST(bear_openssl_key_schedule)
{
    static const char *const labels[] = {
        "c hs traffic", "s hs traffic", "c ap traffic",
        "s ap traffic", "exp master",   "res master",
    };
    uint64_t state = 1;
    for (int round = 0; round < 40; round++) {
        enum coili_digest digest = round & 1 ? COILI_SHA384 : COILI_SHA256;
        size_t n = coili_digest_bytes(digest);
        struct coili_schedule s;
        struct coili_secret secret;
        unsigned char psk[48], shared[48], hash[48], zeros[48] = { 0 };
        unsigned char nothing[48], stage[48], salt[48], made[48], nonce[255];
        hex_fill(psk, sizeof psk, &state);
        hex_fill(shared, sizeof shared, &state);
        hex_fill(hash, sizeof hash, &state);
        hex_fill(nonce, sizeof nonce, &state);
        coili_digest_hash(digest, nothing, NULL, 0);

        coili_schedule_early(&s, digest, round & 2 ? psk : NULL, n);
        extract(digest, stage, zeros, round & 2 ? psk : zeros, n);
        CHECK_MEM(s.stage.bytes, stage, n);
        expand(digest, salt, n, stage, "derived", nothing, n);
        size_t shared_len = round & 4 ? 48 : 32;
        coili_schedule_handshake(&s, shared, shared_len);
        extract(digest, stage, salt, shared, shared_len);
        CHECK_MEM(s.stage.bytes, stage, n);
        for (int i = 0; i < 6; i++) {
            coili_schedule_derive(&s, (enum coili_label)i, hash, &secret);
            expand(digest, made, n, stage, labels[i], hash, n);
            CHECK_MEM(secret.bytes, made, n);
        }
        expand(digest, salt, n, stage, "derived", nothing, n);
        coili_schedule_master(&s);
        extract(digest, stage, salt, zeros, n);
        CHECK_MEM(s.stage.bytes, stage, n);

        size_t nonce_len = hex_random(&state) % 256;
        struct coili_secret next = secret, ticket;
        unsigned char key[32], iv[12];
        coili_secret_psk(&secret, digest, nonce, nonce_len, &ticket);
        expand(digest, made, n, secret.bytes, "resumption", nonce, nonce_len);
        CHECK_MEM(ticket.bytes, made, n);
        coili_secret_next(&next, digest);
        expand(digest, made, n, secret.bytes, "traffic upd", "", 0);
        CHECK_MEM(next.bytes, made, n);
        coili_secret_keys(&secret, digest, key, round & 8 ? 32 : 16, iv);
        expand(digest, made, round & 8 ? 32 : 16, secret.bytes, "key", "", 0);
        CHECK_MEM(key, made, round & 8 ? 32 : 16);
        expand(digest, made, 12, secret.bytes, "iv", "", 0);
        CHECK_MEM(iv, made, 12);
    }
}

static void prf(enum coili_digest digest, unsigned char *out, size_t len,
                const void *secret, size_t secret_len, const char *label,
                const void *a, size_t a_len, const void *b, size_t b_len)
{
    unsigned char seed[200];
    size_t n = strlen(label);
    memcpy(seed, label, n);
    memcpy(seed + n, a, a_len);
    if (b_len)
        memcpy(seed + n + a_len, b, b_len);
    OSSL_PARAM params[] = {
        text("digest", name_of(digest)),
        octets("secret", secret, secret_len),
        octets("seed", seed, n + a_len + b_len),
        OSSL_PARAM_construct_end(),
    };
    kdf("TLS1-PRF", params, out, len);
}

TEST(bear_openssl_prf)
{
    uint64_t state = 2;
    for (int round = 0; round < 40; round++) {
        enum coili_digest digest = round & 1 ? COILI_SHA384 : COILI_SHA256;
        size_t n = coili_digest_bytes(digest), key = round & 2 ? 16 : 32;
        size_t iv = round & 4 ? 4 : 12, premaster_len = round & 8 ? 48 : 32;
        unsigned char premaster[48], hash[48], cr[32], sr[32], made[88];
        unsigned char master[48], verify_data[12];
        struct coili_key_block keys;
        hex_fill(premaster, sizeof premaster, &state);
        hex_fill(hash, sizeof hash, &state);
        hex_fill(cr, sizeof cr, &state);
        hex_fill(sr, sizeof sr, &state);
        coili_prf_master(digest, master, premaster, premaster_len, cr, sr);
        prf(digest, made, 48, premaster, premaster_len, "master secret", cr, 32,
            sr, 32);
        CHECK_MEM(master, made, 48);
        coili_prf_extended_master(digest, master, premaster, premaster_len,
                                  hash);
        prf(digest, made, 48, premaster, premaster_len,
            "extended master secret", hash, n, NULL, 0);
        CHECK_MEM(master, made, 48);
        coili_prf_keys(digest, &keys, key, iv, master, cr, sr);
        prf(digest, made, 2 * (key + iv), master, 48, "key expansion", sr, 32,
            cr, 32);
        CHECK_MEM(keys.client_key, made, key);
        CHECK_MEM(keys.server_key, made + key, key);
        CHECK_MEM(keys.client_iv, made + 2 * key, iv);
        CHECK_MEM(keys.server_iv, made + 2 * key + iv, iv);
        coili_prf_finished(digest, verify_data, master, COILI_SERVER, hash);
        prf(digest, made, 12, master, 48, "server finished", hash, n, NULL, 0);
        CHECK_MEM(verify_data, made, 12);
    }
}

/* ---- Records ---------------------------------------------------------- */

static const struct {
    uint16_t version;
    enum coili_cipher cipher;
    const char *name;
} kinds[] = {
    { COILI_TLS13, COILI_CIPHER_AES_128_GCM, "AES-128-GCM" },
    { COILI_TLS13, COILI_CIPHER_AES_256_GCM, "AES-256-GCM" },
    { COILI_TLS13, COILI_CIPHER_CHACHA20_POLY1305, "ChaCha20-Poly1305" },
    { COILI_TLS12, COILI_CIPHER_AES_128_GCM, "AES-128-GCM" },
    { COILI_TLS12, COILI_CIPHER_AES_256_GCM, "AES-256-GCM" },
    { COILI_TLS12, COILI_CIPHER_CHACHA20_POLY1305, "ChaCha20-Poly1305" },
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

static struct coili_protection random_protection(int kind, uint64_t *state)
{
    struct coili_protection p = { .version = kinds[kind].version,
                                  .cipher = (uint8_t)kinds[kind].cipher };
    hex_fill(p.key, coili_cipher_key_bytes(kinds[kind].cipher), state);
    hex_fill(p.iv, sizeof p.iv, state);
    p.sequence = hex_random(state) >> (hex_random(state) & 63);
    return p;
}

/*
 * OpenSSL's record: `inner` is what is encrypted, in 1.3 with type and padding;
 * `outer` the type in the head. Gives its length.
 */
static size_t openssl_seal(const struct coili_protection *p, int kind,
                           unsigned outer, const unsigned char *inner,
                           size_t len, const unsigned char explicit_nonce[8],
                           unsigned char *out)
{
    bool is_13 = p->version == COILI_TLS13;
    bool has_explicit = !is_13 && p->cipher != COILI_CIPHER_CHACHA20_POLY1305;
    unsigned char nonce[12], aad[13];
    size_t at = has_explicit ? 13 : 5, body = at - 5 + len + 16;
    int n = 0;
    out[0] = (unsigned char)outer;
    out[1] = out[2] = 3;
    out[3] = (unsigned char)(body >> 8);
    out[4] = (unsigned char)body;
    for (int i = 0; i < 8; i++)
        aad[i] = (unsigned char)(p->sequence >> (56 - 8 * i));
    memcpy(nonce, p->iv, 12);
    if (has_explicit) {
        memcpy(nonce + 4, explicit_nonce, 8);
        memcpy(out + 5, explicit_nonce, 8);
    } else {
        for (int i = 0; i < 8; i++)
            nonce[4 + i] ^= aad[i];
    }
    memcpy(aad + 8, out, 3);
    aad[11] = (unsigned char)(len >> 8);
    aad[12] = (unsigned char)len;

    test_heap_ignore();
    EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, kinds[kind].name, NULL);
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    CHECK(cipher && c);
    CHECK_INT(EVP_EncryptInit_ex2(c, cipher, p->key, nonce, NULL), 1);
    CHECK_INT(EVP_EncryptUpdate(c, NULL, &n, is_13 ? out : aad, is_13 ? 5 : 13),
              1);
    CHECK_INT(EVP_EncryptUpdate(c, out + at, &n, inner, (int)len), 1);
    CHECK_INT(EVP_EncryptFinal_ex(c, out + at + len, &n), 1);
    CHECK_INT(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, out + at + len),
              1);
    EVP_CIPHER_CTX_free(c);
    EVP_CIPHER_free(cipher);
    return 5 + body;
}

enum { ROOM = 16384 + 1024 };

// The same bytes, of all ciphers, lengths and sequence numbers.
TEST(bear_openssl_records)
{
    static unsigned char inner[ROOM], ours[ROOM], theirs[ROOM];
    uint64_t state = 3;
    int rounds = test_is_slow() ? 60 : 600;
    for (int round = 0; round < rounds; round++) {
        int kind = round % KINDS;
        bool is_13 = kinds[kind].version == COILI_TLS13;
        struct coili_protection p = random_protection(kind, &state), sender = p;
        size_t len = hex_random(&state) % (round % 3 ? 200 : 16385);
        size_t padding = is_13 && round & 1 ? hex_random(&state) % 50 : 0;
        struct coili_record opened;
        unsigned char explicit_nonce[8];
        if (padding > 16384 - len)
            padding = 0;
        for (int i = 0; i < 8; i++)
            explicit_nonce[i] = (unsigned char)(p.sequence >> (56 - 8 * i));
        hex_fill(inner, len, &state);
        memset(inner + len, 0, 1 + padding);
        inner[len] = 23;
        size_t n = coili_record_seal(&sender, COILI_TLS_DATA_RECORD, inner, len,
                                     padding, ours);
        CHECK_INT(openssl_seal(&p, kind, 23, inner,
                               is_13 ? len + 1 + padding : len, explicit_nonce,
                               theirs),
                  n);
        CHECK_MEM(ours, theirs, n);
        CHECK_INT(coili_record_open(&p, theirs, n, &opened), 0);
        CHECK_INT(opened.type, COILI_TLS_DATA_RECORD);
        CHECK_INT(opened.len, len);
        CHECK_MEM(theirs + opened.at, inner, len);
    }
}

/* What opening an OpenSSL's record of this inner text says. */
static int opened_as(int kind, unsigned outer, const unsigned char *inner,
                     size_t len)
{
    static unsigned char record[ROOM];
    uint64_t state = 4;
    struct coili_protection p = random_protection(kind, &state);
    struct coili_record opened;
    size_t n = openssl_seal(&p, kind, outer, inner, len,
                            (const unsigned char *)"\377\0any123", record);
    return coili_record_open(&p, record, n, &opened);
}

// A peer's nonce of 1.2 is its own business; what is too long is refused.
TEST(bear_openssl_records_that_we_do_not_make)
{
    static unsigned char inner[ROOM];
    memset(inner, 'x', sizeof inner);
    for (int kind = 0; kind < KINDS; kind++) {
        if (kinds[kind].version == COILI_TLS12) {
            CHECK_INT(opened_as(kind, 23, inner, 16384), 0);
            CHECK_INT(opened_as(kind, 23, inner, 16385),
                      COILI_ALERT_RECORD_OVERFLOW);
            CHECK_INT(opened_as(kind, 22, inner, 0),
                      COILI_ALERT_UNEXPECTED_MESSAGE);
            CHECK_INT(opened_as(kind, 20, (const unsigned char *)"\1", 1), 0);
            CHECK_INT(opened_as(kind, 20, (const unsigned char *)"\2", 1),
                      COILI_ALERT_UNEXPECTED_MESSAGE);
            CHECK_INT(opened_as(kind, 24, inner, 3),
                      COILI_ALERT_UNEXPECTED_MESSAGE);
            continue;
        }
        inner[16384] = inner[16385] = 23;
        CHECK_INT(opened_as(kind, 23, inner, 16385), 0);
        CHECK_INT(opened_as(kind, 23, inner, 16386),
                  COILI_ALERT_RECORD_OVERFLOW);
        inner[16384] = inner[16385] = 'x';
        /* All zeros, as many as there may be. */
        static const unsigned char zeros[16385];
        CHECK_INT(opened_as(kind, 23, zeros, 16385),
                  COILI_ALERT_UNEXPECTED_MESSAGE);
        CHECK_INT(opened_as(kind, 23, zeros, 0), COILI_ALERT_BAD_RECORD_MAC);
        CHECK_INT(opened_as(kind, 22, (const unsigned char *)"x\26", 2),
                  COILI_ALERT_UNEXPECTED_MESSAGE);
    }
}

/* ---- Shares ----------------------------------------------------------- */

static EVP_PKEY *openssl_share(unsigned group)
{
    EVP_PKEY *key = group == COILI_GROUP_X25519
                        ? EVP_PKEY_Q_keygen(NULL, NULL, "X25519")
                        : EVP_PKEY_Q_keygen(
                              NULL, NULL, "EC",
                              group == COILI_GROUP_P256 ? "P-256" : "P-384");
    CHECK(key);
    return key;
}

TEST(bear_openssl_shares)
{
    static const unsigned groups[] = { COILI_GROUP_X25519, COILI_GROUP_P256,
                                       COILI_GROUP_P384 };
    uint64_t state = 5;
    int rounds = test_is_slow() ? 6 : 60;
    test_heap_ignore();
    for (int round = 0; round < rounds; round++) {
        unsigned group = groups[round % 3];
        struct coili_share share;
        unsigned char seed[COILI_SHARE_SEED_BYTES], ours[48], theirs[48];
        unsigned char point[97], *encoded = NULL;
        hex_fill(seed, sizeof seed, &state);
        coili_share_make(&share, group, seed);

        EVP_PKEY *key = openssl_share(group), *peer = EVP_PKEY_new();
        CHECK(EVP_PKEY_copy_parameters(peer, key) == 1 ||
              EVP_PKEY_set_type(peer, EVP_PKEY_X25519) == 1);
        CHECK_INT(EVP_PKEY_set1_encoded_public_key(peer, share.point,
                                                   share.point_len),
                  1);
        size_t n = EVP_PKEY_get1_encoded_public_key(key, &encoded);
        CHECK_INT(n, share.point_len);
        memcpy(point, encoded, n);

        size_t len = sizeof theirs;
        EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(key, NULL);
        CHECK_INT(EVP_PKEY_derive_init(c), 1);
        CHECK_INT(EVP_PKEY_derive_set_peer(c, peer), 1);
        CHECK_INT(EVP_PKEY_derive(c, theirs, &len), 1);
        CHECK_INT(coili_share_combine(&share, point, n, ours), len);
        CHECK_MEM(ours, theirs, len);
        EVP_PKEY_CTX_free(c);
        EVP_PKEY_free(key);
        EVP_PKEY_free(peer);
        OPENSSL_free(encoded);
    }
}

/* ---- Signatures ------------------------------------------------------- */

/* A key of OpenSSL's, and what coil's parsers make of its DER. */
struct signer {
    EVP_PKEY *key;
    unsigned char *private_der, *public_der;
    struct coili_private_key private_key;
    struct coili_public_key public_key;
};

/*
 * A key of as many bits as were asked for: of an odd number OpenSSL itself makes
 * one bit less.
 */
static EVP_PKEY *rsa_key(unsigned bits)
{
    BN_CTX *context = BN_CTX_new();
    EVP_PKEY *key = NULL;
    BIGNUM *n = BN_new(), *e = BN_new(), *d = BN_new(), *p = BN_new(),
           *q = BN_new(), *dp = BN_new(), *dq = BN_new(), *iq = BN_new(),
           *p1 = BN_new(), *q1 = BN_new(), *phi = BN_new();
    BN_set_word(e, 65537);
    do {
        CHECK(
            BN_generate_prime_ex(p, (int)(bits + 1) / 2, 0, NULL, NULL, NULL));
        CHECK(BN_generate_prime_ex(q, (int)bits / 2, 0, NULL, NULL, NULL));
        CHECK(BN_sub(p1, p, BN_value_one()) && BN_sub(q1, q, BN_value_one()));
        CHECK(BN_mul(n, p, q, context) && BN_mul(phi, p1, q1, context));
    } while (BN_num_bits(n) != (int)bits ||
             !BN_mod_inverse(d, e, phi, context));
    CHECK(BN_mod(dp, d, p1, context) && BN_mod(dq, d, q1, context));
    CHECK(BN_mod_inverse(iq, q, p, context));
    OSSL_PARAM_BLD *list = OSSL_PARAM_BLD_new();
    BIGNUM *const numbers[] = { n, e, d, p, q, dp, dq, iq };
    static const char *const names[] = {
        OSSL_PKEY_PARAM_RSA_N,         OSSL_PKEY_PARAM_RSA_E,
        OSSL_PKEY_PARAM_RSA_D,         OSSL_PKEY_PARAM_RSA_FACTOR1,
        OSSL_PKEY_PARAM_RSA_FACTOR2,   OSSL_PKEY_PARAM_RSA_EXPONENT1,
        OSSL_PKEY_PARAM_RSA_EXPONENT2, OSSL_PKEY_PARAM_RSA_COEFFICIENT1
    };
    for (int i = 0; i < 8; i++)
        CHECK(OSSL_PARAM_BLD_push_BN(list, names[i], numbers[i]));
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(list);
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
    CHECK_INT(EVP_PKEY_fromdata_init(c), 1);
    CHECK_INT(EVP_PKEY_fromdata(c, &key, EVP_PKEY_KEYPAIR, params), 1);
    EVP_PKEY_CTX_free(c);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(list);
    for (int i = 0; i < 8; i++)
        BN_free(numbers[i]);
    BN_free(p1);
    BN_free(q1);
    BN_free(phi);
    BN_CTX_free(context);
    return key;
}

static struct signer signer_new(const char *curve, unsigned bits)
{
    struct signer s = { 0 };
    test_heap_ignore();
    s.key = curve ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", curve) : rsa_key(bits);
    CHECK(s.key);
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(s.key);
    int n = i2d_PKCS8_PRIV_KEY_INFO(info, &s.private_der);
    CHECK(n > 0);
    PKCS8_PRIV_KEY_INFO_free(info);
    CHECK_STR(
        coili_private_key_parse(&s.private_key, COILI_PEM_PKCS8,
                                (struct coili_der){ s.private_der, (size_t)n }),
        NULL);
    n = i2d_PUBKEY(s.key, &s.public_der);
    CHECK(n > 0);
    CHECK(coili_public_key_parse(
        &s.public_key, (struct coili_der){ s.public_der, (size_t)n }));
    CHECK(curve || s.public_key.bits == bits);
    return s;
}

static void signer_free(struct signer *s)
{
    EVP_PKEY_free(s->key);
    OPENSSL_free(s->private_der);
    OPENSSL_free(s->public_der);
}

/* A context for a digest that was computed; salt_len as OpenSSL counts. */
static EVP_PKEY_CTX *signing(const struct signer *s, unsigned scheme,
                             int salt_len, bool verifies)
{
    const EVP_MD *md = (scheme >> 8 & 0xf) == 4 || scheme == 0x0804
                           ? EVP_sha256()
                       : (scheme >> 8) == 5 || scheme == 0x0805 ? EVP_sha384()
                                                                : EVP_sha512();
    EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(s->key, NULL);
    CHECK(c);
    CHECK_INT(verifies ? EVP_PKEY_verify_init(c) : EVP_PKEY_sign_init(c), 1);
    CHECK_INT(EVP_PKEY_CTX_set_signature_md(c, md), 1);
    if (scheme >> 8 == 8) {
        CHECK_INT(EVP_PKEY_CTX_set_rsa_padding(c, RSA_PKCS1_PSS_PADDING), 1);
        CHECK_INT(EVP_PKEY_CTX_set_rsa_pss_saltlen(c, salt_len), 1);
        CHECK_INT(EVP_PKEY_CTX_set_rsa_mgf1_md(c, md), 1);
    }
    return c;
}

static size_t hash_bytes(unsigned scheme)
{
    switch (scheme) {
    case 0x0403:
    case 0x0804:
    case 0x0401:
        return 32;
    case 0x0503:
    case 0x0805:
    case 0x0501:
        return 48;
    default:
        return 64;
    }
}

static size_t openssl_sign(const struct signer *s, unsigned scheme,
                           int salt_len, const struct coili_signable *signable,
                           unsigned char *signature)
{
    size_t len = COILI_SIGNATURE_BYTES_MAX;
    EVP_PKEY_CTX *c = signing(s, scheme, salt_len, false);
    CHECK_INT(
        EVP_PKEY_sign(c, signature, &len, signable->hash, hash_bytes(scheme)),
        1);
    EVP_PKEY_CTX_free(c);
    return len;
}

static bool openssl_verifies(const struct signer *s, unsigned scheme,
                             const struct coili_signable *signable,
                             const unsigned char *signature, size_t len)
{
    EVP_PKEY_CTX *c = signing(s, scheme, RSA_PSS_SALTLEN_DIGEST, true);
    int result = EVP_PKEY_verify(c, signature, len, signable->hash,
                                 hash_bytes(scheme));
    EVP_PKEY_CTX_free(c);
    return result == 1;
}

static void both_ways(const struct signer *s, uint64_t *state)
{
    static const unsigned schemes[] = { 0x0403, 0x0503, 0x0804, 0x0805,
                                        0x0806, 0x0401, 0x0501, 0x0601 };
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        struct coili_signable signable;
        unsigned char signature[COILI_SIGNATURE_BYTES_MAX], cr[32], sr[32];
        unsigned char params[69], salt[COILI_SALT_BYTES];
        if (!coili_scheme_suits(schemes[i], COILI_SIGNED_EXCHANGE12,
                                s->public_key.type))
            continue;
        test_note("key %s %u, scheme %04x", coili_key_name(s->public_key.type),
                  s->public_key.bits, schemes[i]);
        hex_fill(cr, sizeof cr, state);
        hex_fill(sr, sizeof sr, state);
        hex_fill(params, sizeof params, state);
        hex_fill(salt, sizeof salt, state);
        CHECK(coili_signable_exchange12(&signable, schemes[i], cr, sr, params,
                                        sizeof params));
        size_t len = openssl_sign(s, schemes[i], RSA_PSS_SALTLEN_DIGEST,
                                  &signable, signature);
        CHECK_INT(
            coili_signature_verify(&signable, &s->public_key, signature, len),
            0);
        len = coili_signature_make(&signable, &s->private_key, salt, signature);
        CHECK(len > 0);
        CHECK(openssl_verifies(s, schemes[i], &signable, signature, len));
        signature[len - 1] ^= 1;
        CHECK(!openssl_verifies(s, schemes[i], &signable, signature, len));
        CHECK_INT(
            coili_signature_verify(&signable, &s->public_key, signature, len),
            COILI_ALERT_DECRYPT_ERROR);
        if (schemes[i] >> 8 != 8)
            continue;
        /* Salts that are not as long as the hash (RFC 8446, 4.2.3). */
        static const int salts[] = { 0, 20, 31, 33, 65 };
        for (int j = 0; j < 5; j++) {
            len = openssl_sign(s, schemes[i], salts[j], &signable, signature);
            CHECK_INT(coili_signature_verify(&signable, &s->public_key,
                                             signature, len),
                      COILI_ALERT_DECRYPT_ERROR);
        }
    }
}

TEST(bear_openssl_ecdsa_signatures)
{
    uint64_t state = 6;
    int rounds = test_is_slow() ? 1 : 8;
    for (int round = 0; round < rounds; round++)
        for (int i = 0; i < 2; i++) {
            struct signer s = signer_new(i ? "P-384" : "P-256", 0);
            both_ways(&s, &state);
            signer_free(&s);
        }
}

// Sizes whose encodings have 1, 2, 7 and 8 bits in their first byte.
TEST(bear_openssl_rsa_signatures)
{
    static const unsigned bits[] = { 2048, 2049, 2050, 2054,
                                     2055, 2056, 3072, 4096 };
    uint64_t state = 7;
    size_t n = test_is_slow() ? 2 : sizeof bits / sizeof bits[0];
    test_timeout(120);
    for (size_t i = 0; i < n; i++) {
        struct signer s = signer_new(NULL, bits[i]);
        both_ways(&s, &state);
        signer_free(&s);
    }
}

/* One thing that is wrong in an encoding. */
enum fault {
    FAULT_NONE,
    FAULT_TRAILER,   /* not bc */
    FAULT_SEPARATOR, /* not 01 in front of the salt */
    FAULT_PADDING,   /* a byte before it that is not zero */
    FAULT_FIRST,     /* the first of them */
    FAULT_HIGH_BIT,  /* a bit that the encoding does not have */
    FAULT_HIGH_BYTE, /* the same, a byte that it does not have */
    FAULTS
};

/* EMSA-PSS with SHA-256 by the letter of RFC 8017, 9.1.1. */
static void encode(unsigned char *power, size_t len, unsigned bits,
                   const unsigned char hash[32], const unsigned char salt[32],
                   enum fault fault)
{
    size_t n = (bits - 1 + 7) / 8, db_len = n - 32 - 1;
    unsigned char *em = power + len - n, *h = em + db_len;
    unsigned char message[8 + 64] = { 0 }, input[36], mask[32];
    memset(power, 0, len);
    memcpy(message + 8, hash, 32);
    memcpy(message + 40, salt, 32);
    coili_digest_hash(COILI_SHA256, h, message, sizeof message);
    em[db_len - 33] = fault == FAULT_SEPARATOR ? 2 : 1;
    memcpy(em + db_len - 32, salt, 32);
    if (fault == FAULT_PADDING)
        em[db_len - 34] = 1;
    if (fault == FAULT_FIRST)
        em[1] = 0x80;
    for (size_t i = 0; i < db_len; i++) {
        memcpy(input, h, 32);
        memset(input + 32, 0, 3);
        input[35] = (unsigned char)(i / 32);
        if (i % 32 == 0)
            coili_digest_hash(COILI_SHA256, mask, input, 36);
        em[i] ^= mask[i % 32];
    }
    em[0] &= (unsigned char)(0xff >> (8 * n - (bits - 1)));
    em[n - 1] = fault == FAULT_TRAILER ? 0xcc : 0xbc;
    if (fault == FAULT_HIGH_BIT)
        em[0] |= (unsigned char)(0x100 >> (8 * n - (bits - 1)));
    if (fault == FAULT_HIGH_BYTE)
        power[0] = 1;
}

// Signed with the right key all the same: each check of the encoding counts.
TEST(bear_openssl_wrong_pss_encodings)
{
    static const unsigned bits[] = { 2048, 2049, 2052 };
    uint64_t state = 8;
    for (size_t i = 0; i < sizeof bits / sizeof bits[0]; i++) {
        struct signer s = signer_new(NULL, bits[i]);
        size_t len = s.public_key.modulus.len;
        for (int fault = 0; fault < FAULTS; fault++) {
            struct coili_signable signable;
            unsigned char hash[48], salt[32], power[512], signature[512];
            size_t n = sizeof signature;
            bool has_byte = bits[i] % 8 == 1;
            if (fault == (has_byte ? FAULT_HIGH_BIT : FAULT_HIGH_BYTE))
                continue;
            hex_fill(hash, sizeof hash, &state);
            CHECK(coili_signable_13(&signable, 0x0804, COILI_SERVER,
                                    COILI_SHA256, hash));
            EVP_PKEY_CTX *c = EVP_PKEY_CTX_new(s.key, NULL);
            CHECK_INT(EVP_PKEY_sign_init(c), 1);
            CHECK_INT(EVP_PKEY_CTX_set_rsa_padding(c, RSA_NO_PADDING), 1);
            do { /* until it is below the modulus */
                hex_fill(salt, sizeof salt, &state);
                encode(power, len, bits[i], signable.hash, salt,
                       (enum fault)fault);
            } while (memcmp(power, s.public_key.modulus.at, len) >= 0);
            CHECK_INT(EVP_PKEY_sign(c, signature, &n, power, len), 1);
            EVP_PKEY_CTX_free(c);
            test_note("%u bits, fault %d", bits[i], fault);
            CHECK_INT(
                coili_signature_verify(&signable, &s.public_key, signature, n),
                fault == FAULT_NONE ? 0 : COILI_ALERT_DECRYPT_ERROR);
        }
        signer_free(&s);
    }
}

#else

#define WHY "no libcrypto in this build"

TEST(bear_openssl_key_schedule)
{
    SKIP(WHY);
}

TEST(bear_openssl_prf)
{
    SKIP(WHY);
}

TEST(bear_openssl_records)
{
    SKIP(WHY);
}

TEST(bear_openssl_records_that_we_do_not_make)
{
    SKIP(WHY);
}

TEST(bear_openssl_shares)
{
    SKIP(WHY);
}

TEST(bear_openssl_ecdsa_signatures)
{
    SKIP(WHY);
}

TEST(bear_openssl_rsa_signatures)
{
    SKIP(WHY);
}

TEST(bear_openssl_wrong_pss_encodings)
{
    SKIP(WHY);
}

#endif
