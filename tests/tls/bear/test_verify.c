// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_verify.c: what of certificates BearSSL computes, and what its own engine
 * for chains says of ours.
 */
#include "../policy.h"

#include "tls/bear/verify.h"
#include "tls/cert.h"

TEST(verify_hashes)
{
    unsigned char hash[32];
    coili_bear_sha256(hash, "abc", 3);
    CHECK_MEM(
        hash,
        "\xba\x78\x16\xbf\x8f\x01\xcf\xea\x41\x41\x40\xde\x5d\xae\x22\x23"
        "\xb0\x03\x61\xa3\x96\x17\x7a\x9c\xb4\x10\xff\x61\xf2\x00\x15\xad",
        32);
}

static struct coili_cert parsed(const struct pki_cert *made)
{
    struct coili_cert cert;
    CHECK_STR(coili_cert_parse(&cert, pki_view(made)), NULL);
    return cert;
}

// Of each curve, with each hash.
TEST(verify_accepts_the_signature_of_its_key_alone)
{
    static struct pki_cert ca, leaf;
    for (int kind = PKI_P256; kind <= PKI_RSA; kind++)
        for (int hash = 0; hash < 3; hash++) {
            struct pki_key key = pki_key_new((enum pki_kind)kind, 'A');
            struct pki_key other = pki_key_new(PKI_P256, 'B');
            int signature = (kind == PKI_RSA ? PKI_RSA_SHA256 : PKI_SHA256) +
                            hash;
            ca = pki_sign(
                &(struct pki_spec){
                    .subject = "CA",
                    .key = &key,
                    .signature = (enum pki_signature)signature },
                NULL);
            leaf = pki_sign(
                &(struct pki_spec){
                    .subject = "leaf",
                    .key = &other,
                    .signature = (enum pki_signature)signature },
                &ca);
            struct coili_cert authority = parsed(&ca), cert = parsed(&leaf);
            test_note("kind %d, hash %d", kind, hash);
            CHECK(coili_bear_signed_by(&cert, &authority.key));
            CHECK(!coili_bear_signed_by(&cert, &cert.key));
            CHECK(coili_bear_finds_key(&cert));
            CHECK(coili_bear_finds_key(&authority));

            /* The type of another key, and a signature of another length. */
            struct coili_cert wrong = cert;
            wrong.signature_type = kind == PKI_RSA
                                       ? COILI_SIGNATURE_ECDSA_SHA256
                                       : COILI_SIGNATURE_RSA_SHA256;
            CHECK(!coili_bear_signed_by(&wrong, &authority.key));
            wrong = cert;
            wrong.signature.len--;
            CHECK(!coili_bear_signed_by(&wrong, &authority.key));
            wrong = cert;
            wrong.tbs.len--;
            CHECK(!coili_bear_signed_by(&wrong, &authority.key));
            wrong.signature_type = COILI_SIGNATURE_WEAK;
            CHECK(!coili_bear_signed_by(&wrong, &authority.key));
        }
}

// Were the two readers to differ, the certificate would not be believed.
TEST(verify_finds_the_key_that_stands_in_the_certificate_alone)
{
    static struct pki_cert made;
    struct pki_key key = pki_key_new(PKI_P256, 'A');
    struct pki_key other = pki_key_new(PKI_P256, 'B');
    struct pki_key rsa = pki_key_new(PKI_RSA, 0);
    made = pki_sign(&(struct pki_spec){ .subject = "x", .key = &key }, NULL);
    struct coili_cert cert = parsed(&made), wrong = cert;
    CHECK(coili_bear_finds_key(&cert));
    wrong.key.point = (struct coili_der){ other.point, other.point_len };
    CHECK(!coili_bear_finds_key(&wrong));
    wrong = cert;
    wrong.key.type = COILI_KEY_P384;
    CHECK(!coili_bear_finds_key(&wrong));
    wrong.key.type = COILI_KEY_RSA;
    CHECK(!coili_bear_finds_key(&wrong));
    wrong = cert;
    wrong.der.len--;
    CHECK(!coili_bear_finds_key(&wrong));
    made = pki_sign(&(struct pki_spec){ .subject = "x",
                                        .key = &rsa,
                                        .signature = PKI_RSA_SHA256 },
                    NULL);
    cert = wrong = parsed(&made);
    wrong.key.exponent = (struct coili_der){ (const unsigned char *)"\3", 1 };
    CHECK(coili_bear_finds_key(&cert) && !coili_bear_finds_key(&wrong));
    wrong = cert;
    wrong.key.modulus = rsa.rsa.rsa.d;
    CHECK(!coili_bear_finds_key(&wrong));
}

TEST(verify_computes_the_public_key_of_a_private_one)
{
    for (int kind = PKI_P256; kind <= PKI_P521; kind++) {
        static struct pki_cert made;
        unsigned char buffer[PKI_BYTES];
        struct pki_out o = { buffer, sizeof buffer };
        struct pki_key key = pki_key_new((enum pki_kind)kind, 'A');
        struct coili_private_key private_key;
        made = pki_sign(&(struct pki_spec){ .subject = "x", .key = &key },
                        NULL);
        struct coili_cert cert = parsed(&made);
        pki_sec1(&o, &key);
        CHECK_STR(
            coili_private_key_parse(
                &private_key, COILI_PEM_SEC1,
                (struct coili_der){ buffer + o.at, sizeof buffer - o.at }),
            NULL);
        CHECK(coili_bear_key_suits(&private_key, &cert.key));
        private_key.point.at = NULL;
        CHECK(coili_bear_key_suits(&private_key, &cert.key));
        key = pki_key_new((enum pki_kind)kind, 'B');
        private_key.scalar = (struct coili_der){ key.scalar, key.scalar_len };
        CHECK(!coili_bear_key_suits(&private_key, &cert.key));
    }
}

/* --- BearSSL's engine -----------------------------------------------------*/

static unsigned char root_name[512];
static size_t root_name_len;

static void append_name(void *arg, const void *data, size_t len)
{
    (void)arg;
    CHECK(len <= sizeof root_name - root_name_len);
    memcpy(root_name + root_name_len, data, len);
    root_name_len += len;
}

/* What br_x509_minimal says of the chain in its order, below this root. */
static unsigned minimal_says(const struct policy *p, int64_t now)
{
    static br_x509_decoder_context decoder;
    static br_x509_minimal_context minimal;
    br_x509_trust_anchor anchor = { .flags = BR_X509_TA_CA };
    root_name_len = 0;
    br_x509_decoder_init(&decoder, append_name, NULL);
    br_x509_decoder_push(&decoder, p->r.der, p->r.len);
    CHECK(br_x509_decoder_get_pkey(&decoder));
    anchor.pkey = *br_x509_decoder_get_pkey(&decoder);
    anchor.dn.data = root_name;
    anchor.dn.len = root_name_len;

    br_x509_minimal_init(&minimal, &br_sha256_vtable, &anchor, 1);
    br_x509_minimal_set_hash(&minimal, br_sha256_ID, &br_sha256_vtable);
    br_x509_minimal_set_hash(&minimal, br_sha384_ID, &br_sha384_vtable);
    br_x509_minimal_set_hash(&minimal, br_sha512_ID, &br_sha512_vtable);
    br_x509_minimal_set_minrsa(&minimal, 256);
    br_x509_minimal_set_rsa(&minimal, br_rsa_i31_pkcs1_vrfy);
    br_x509_minimal_set_ecdsa(&minimal, &br_ec_all_m31, br_ecdsa_i31_vrfy_asn1);
    br_x509_minimal_set_time(&minimal, (uint32_t)(now / 86400 + 719528),
                             (uint32_t)(now % 86400));
    const br_x509_class **x = &minimal.vtable;
    (*x)->start_chain(x, NULL);
    for (size_t i = 0; i < p->n; i++) {
        (*x)->start_cert(x, (uint32_t)p->chain[i].len);
        (*x)->append(x, p->chain[i].at, p->chain[i].len);
        (*x)->end_cert(x);
    }
    return (*x)->end_chain(x);
}

/*
 * What it refuses and we accept: order and company of the chain (55, 62),
 * critical extensions that we check (57), and what is not in the store "R".
 */
static bool is_known_refusal(const struct policy_row *row, unsigned err)
{
    bool other_order = row->send && strcmp(row->send, "LIJ") != 0;
    bool critical = row->critical || row->authority_critical;
    return (other_order &&
            (err == BR_ERR_X509_DN_MISMATCH || err == BR_ERR_X509_NOT_TRUSTED ||
             err == BR_ERR_X509_EXPIRED || err == BR_ERR_X509_BAD_SIGNATURE)) ||
           (critical && err == BR_ERR_X509_CRITICAL_EXTENSION) || row->store ||
           row->mode != COILI_TRUST_CHAIN;
}

// We believe no chain that BearSSL's engine does not, but for known reasons.
TEST(verify_agrees_with_the_engine_of_bearssl)
{
    static struct policy p;
    int asked = 0;
    for (int i = 0; i < POLICY_ROWS; i++) {
        const struct policy_row *row = &policy_rows[i];
        if (row->fault)
            continue;
        policy_build(&p, row);
        unsigned err = minimal_says(&p, row->clock ? row->clock : PKI_NOW);
        test_note("%s: %u", row->name, err);
        CHECK(err == 0 || is_known_refusal(row, err));
        asked += err == 0;
    }
    CHECK(asked >= 20);
}

// Why coil checks signatures by itself: see verify.c.
TEST(verify_cannot_leave_critical_extensions_to_bearssl)
{
    static struct policy p;
    int seen = 0;
    for (int i = 0; i < POLICY_ROWS; i++)
        if (policy_rows[i].critical && !policy_rows[i].fault) {
            policy_build(&p, &policy_rows[i]);
            CHECK_INT(minimal_says(&p, PKI_NOW),
                      BR_ERR_X509_CRITICAL_EXTENSION);
            seen++;
        }
    CHECK(seen > 0);
}
