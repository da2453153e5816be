// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_key.c: keys, bad ones first. test_identity.c reads what openssl writes.
 */
#include "pki.h"

#include "tls/key.h"

static unsigned char buffer[PKI_BYTES];

static struct coili_der written(const struct pki_out *o)
{
    return (struct coili_der){ buffer + o->at, sizeof buffer - o->at };
}

/* ---- Public keys ---------------------------------------------------------*/

static struct coili_der rsa_spki(const void *n, size_t n_len, const void *e,
                                 size_t e_len)
{
    static const unsigned char rsa[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7,
                                         0x0d, 0x01, 0x01, 0x01 };
    struct pki_out o = { buffer, sizeof buffer };
    pki_integer(&o, e, e_len);
    pki_integer(&o, n, n_len);
    pki_wrap(&o, COILI_DER_SEQUENCE, sizeof buffer);
    pki_put(&o, "", 1);
    pki_wrap(&o, COILI_DER_BIT_STRING, sizeof buffer);
    size_t end = o.at;
    pki_element(&o, COILI_DER_NULL, "", 0);
    pki_element(&o, COILI_DER_OID, rsa, sizeof rsa);
    pki_wrap(&o, COILI_DER_SEQUENCE, end);
    pki_wrap(&o, COILI_DER_SEQUENCE, sizeof buffer);
    return written(&o);
}

// With an exponent of 1 every message is its own signature.
TEST(key_of_rsa_has_an_odd_modulus_and_a_sane_exponent)
{
    static const struct {
        const char *n, *e;
        size_t n_len, e_len;
        bool ok;
    } rows[] = {
        { "\x80\1", "\3", 2, 1, true },
        { "\x80\1", "\1\0\1", 2, 3, true },
        { "\x80\1", "\x80\0\0\1", 2, 4, true },
        { "\x80\1", "\1", 2, 1, false },
        { "\x80\1", "\2", 2, 1, false },
        { "\x80\1", "\0", 2, 1, false },
        { "\x80\1", "\1\0\0\0\1", 2, 5, false },
        { "\x80\2", "\3", 2, 1, false },
        { "\0", "\3", 1, 1, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct coili_public_key key;
        test_note("row %zu", i);
        CHECK_INT(
            coili_public_key_parse(&key, rsa_spki(rows[i].n, rows[i].n_len,
                                                  rows[i].e, rows[i].e_len)),
            rows[i].ok);
        if (!rows[i].ok)
            continue;
        CHECK_INT(key.type, COILI_KEY_RSA);
        CHECK_INT(key.bits, 16);
        CHECK(coili_der_is(key.modulus, rows[i].n, rows[i].n_len));
        CHECK(coili_der_is(key.exponent, rows[i].e, rows[i].e_len));
    }
}

TEST(key_of_a_curve_is_a_point)
{
    static const struct {
        enum pki_kind kind;
        enum coili_key_type type;
        unsigned bits;
        const char *name;
    } rows[] = {
        { PKI_P256, COILI_KEY_P256, 256, "P-256" },
        { PKI_P384, COILI_KEY_P384, 384, "P-384" },
        { PKI_P521, COILI_KEY_P521, 521, "P-521" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pki_key made = pki_key_new(rows[i].kind, 'K');
        struct pki_out o = { buffer, sizeof buffer };
        struct coili_public_key key;
        pki_spki(&o, &made);
        CHECK(coili_public_key_parse(&key, written(&o)));
        CHECK_INT(key.type, rows[i].type);
        CHECK_INT(key.bits, rows[i].bits);
        CHECK_STR(coili_key_name(key.type), rows[i].name);
        CHECK(coili_der_is(key.point, made.point, made.point_len));
        CHECK(coili_der_equal(key.spki, written(&o)));
        for (size_t len = 0; len < written(&o).len; len++)
            CHECK(!coili_public_key_parse(
                &key, (struct coili_der){ buffer + o.at, len }));
    }
    CHECK_STR(coili_key_name(COILI_KEY_RSA), "RSA");
    CHECK_STR(coili_key_name(COILI_KEY_OTHER), "unknown");
}

TEST(key_of_another_kind_is_no_fault)
{
    struct pki_key made = pki_key_new(PKI_ED25519, 'K');
    struct pki_out o = { buffer, sizeof buffer };
    struct coili_public_key key;
    pki_spki(&o, &made);
    CHECK(coili_public_key_parse(&key, written(&o)));
    CHECK_INT(key.type, COILI_KEY_OTHER);
    CHECK(coili_der_equal(key.spki, written(&o)));
}

/* ---- Private keys --------------------------------------------------------*/

/* The numbers of an RSA key; the test changes some. */
struct numbers {
    struct coili_der n, e, d, p, q, dp, dq, iq;
};

static const char *parse_rsa(const struct numbers *r,
                             struct coili_private_key *key)
{
    const struct coili_der *const all[] = { &r->iq, &r->dq, &r->dp, &r->q,
                                            &r->p,  &r->d,  &r->e,  &r->n };
    struct pki_out o = { buffer, sizeof buffer };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        pki_integer(&o, all[i]->at, all[i]->len);
    pki_element(&o, COILI_DER_INTEGER, "\0", 1);
    pki_wrap(&o, COILI_DER_SEQUENCE, sizeof buffer);
    return coili_private_key_parse(key, COILI_PEM_PKCS1, written(&o));
}

TEST(key_of_rsa_has_numbers_that_fit)
{
    struct coili_private_key good = pki_rsa_key(), key;
    const struct numbers r = {
        good.rsa.n, good.rsa.e,  good.rsa.d,  good.rsa.p,
        good.rsa.q, good.rsa.dp, good.rsa.dq, good.rsa.iq
    };
    static const char unfit[] = "the numbers of the RSA key do not fit "
                                "together";
    static unsigned char large[700];
    memset(large, 0xff, sizeof large);
    CHECK_STR(parse_rsa(&r, &key), NULL);
    CHECK_INT(key.bits, 2048);
    CHECK(coili_der_equal(key.rsa.iq, r.iq));

    struct numbers x = r;
    x.n.len--;
    CHECK_STR(parse_rsa(&x, &key), "the RSA key is shorter than 2048 bits");
    x.n = (struct coili_der){ large, 513 };
    CHECK_STR(parse_rsa(&x, &key), "the RSA key is longer than 4096 bits");
    /* What BearSSL 0.6 writes beyond its buffers. */
    x = r;
    x.p = (struct coili_der){ large, 300 };
    CHECK_STR(parse_rsa(&x, &key), unfit);
    x = r;
    x.d = (struct coili_der){ large, 257 };
    CHECK_STR(parse_rsa(&x, &key), unfit);
    x = r;
    x.dp = (struct coili_der){ large, 129 };
    CHECK_STR(parse_rsa(&x, &key), unfit);
    x = r;
    x.iq = (struct coili_der){ large, 520 };
    CHECK_STR(parse_rsa(&x, &key), unfit);
    x = r;
    x.q = (struct coili_der){ (const unsigned char *)"\2", 1 };
    CHECK_STR(parse_rsa(&x, &key), unfit);
    x = r;
    x.e = (struct coili_der){ (const unsigned char *)"\1", 1 };
    CHECK_STR(parse_rsa(&x, &key), unfit);
}

static const char *parse_ec(const struct pki_key *made,
                            struct coili_private_key *key)
{
    struct pki_out o = { buffer, sizeof buffer };
    pki_sec1(&o, made);
    return coili_private_key_parse(key, COILI_PEM_SEC1, written(&o));
}

// 0 and the order of the curve are no keys; the numbers beside them are.
TEST(key_of_a_curve_is_between_0_and_its_order)
{
    static const char bad[] = "the number of the EC key is not one of its "
                              "curve";
    static const struct {
        enum pki_kind kind;
        const char *order;
    } rows[] = {
        { PKI_P256, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc"
                    "632551" },
        { PKI_P384, "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4"
                    "372ddf581a0db248b0a77aecec196accc52973" },
        { PKI_P521, "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
                    "fffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47ae"
                    "bb6fb71e91386409" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct pki_key made = pki_key_new(rows[i].kind, 'K');
        struct coili_private_key key;
        CHECK_STR(parse_ec(&made, &key), NULL);
        CHECK(coili_der_is(key.scalar, made.scalar, made.scalar_len));
        memset(made.scalar, 0, made.scalar_len);
        CHECK_STR(parse_ec(&made, &key), bad);
        made.scalar[made.scalar_len - 1] = 1;
        CHECK_STR(parse_ec(&made, &key), NULL);
        CHECK_INT(strlen(rows[i].order), 2 * made.scalar_len);
        for (size_t k = 0; k < made.scalar_len; k++) {
            unsigned byte;
            CHECK_INT(sscanf(rows[i].order + 2 * k, "%2x", &byte), 1);
            made.scalar[k] = (unsigned char)byte;
        }
        CHECK_STR(parse_ec(&made, &key), bad);
        made.scalar[made.scalar_len - 1]--;
        CHECK_STR(parse_ec(&made, &key), NULL);
        memset(made.scalar, 0xff, made.scalar_len);
        CHECK_STR(parse_ec(&made, &key), bad);
    }
}

// One byte short, one byte more, and each bit: a fault or a key, never a crash.
TEST(key_that_is_cut_or_changed_is_refused_or_whole)
{
    struct pki_key made = pki_key_new(PKI_P384, 'K');
    struct coili_private_key key;
    struct pki_out o = { buffer, sizeof buffer };
    pki_sec1(&o, &made);
    struct coili_der der = written(&o);
    for (size_t len = 0; len < der.len; len++) {
        unsigned char *copy = malloc(len + !len);
        CHECK(copy);
        memcpy(copy, der.at, len);
        CHECK(coili_private_key_parse(&key, COILI_PEM_SEC1,
                                      (struct coili_der){ copy, len }));
        free(copy);
    }
    for (size_t bit = 0; bit < 8 * der.len; bit++) {
        buffer[o.at + bit / 8] ^= (unsigned char)(1 << bit % 8);
        coili_private_key_parse(&key, COILI_PEM_SEC1, der);
        coili_private_key_parse(&key, COILI_PEM_PKCS8, der);
        buffer[o.at + bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    CHECK_STR(coili_private_key_parse(&key, COILI_PEM_CERTIFICATE, der),
              "not a private key");
}

TEST(key_resembles_its_public_key)
{
    struct pki_key made = pki_key_new(PKI_P256, 'K');
    struct pki_key other = pki_key_new(PKI_P256, 'O');
    static unsigned char spki_bytes[PKI_BYTES];
    struct pki_out o = { spki_bytes, sizeof spki_bytes };
    struct coili_private_key key;
    struct coili_public_key public_key;
    pki_spki(&o, &made);
    struct coili_der spki = { spki_bytes + o.at, sizeof spki_bytes - o.at };
    CHECK(coili_public_key_parse(&public_key, spki));
    CHECK_STR(parse_ec(&made, &key), NULL);
    CHECK(coili_private_key_resembles(&key, &public_key));
    CHECK_STR(parse_ec(&other, &key), NULL);
    CHECK(!coili_private_key_resembles(&key, &public_key));
    key = pki_rsa_key();
    CHECK(!coili_private_key_resembles(&key, &public_key));
}
