// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_cert.c: certificates, taken apart.
 */
#include "pki.h"

#include "tls/cert.h"

static struct pki_key key;
static struct pki_cert made;

static struct coili_cert parsed(struct pki_spec spec)
{
    struct coili_cert cert;
    key = pki_key_new(PKI_P256, 'C');
    spec.key = &key;
    made = pki_sign(&spec, NULL);
    CHECK_STR(coili_cert_parse(&cert, pki_view(&made)), NULL);
    return cert;
}

TEST(cert_has_the_parts_that_it_was_made_of)
{
    char text[64];
    struct coili_cert cert = parsed((struct pki_spec){
        .subject = "Subject",
        .issuer = "Issuer",
        .san = "DNS:a.test",
        .eku = "server any",
        .ku = "sign certsign",
        .bc = "ca:3",
        .nc = "+DNS:a.test,-DNS:b.test",
        .from = -100,
        .to = 200,
        .signature = PKI_SHA384,
    });
    coili_cert_name_text(cert.subject, text, sizeof text);
    CHECK_STR(text, "Subject");
    coili_cert_name_text(cert.issuer, text, sizeof text);
    CHECK_STR(text, "Issuer");
    coili_cert_name_text(cert.issuer, text, 4);
    CHECK_STR(text, "Iss");
    CHECK_INT(cert.not_before, PKI_NOW - 100);
    CHECK_INT(cert.not_after, PKI_NOW + 200);
    CHECK_INT(cert.version, 3);
    CHECK_INT(cert.key.type, COILI_KEY_P256);
    CHECK(coili_der_is(cert.key.point, key.point, key.point_len));
    CHECK_INT(cert.signature_type, COILI_SIGNATURE_ECDSA_SHA384);
    CHECK(cert.alt_names.at && cert.permitted.at && cert.excluded.at);
    CHECK_INT(cert.purposes, COILI_PURPOSE_SERVER | COILI_PURPOSE_ANY);
    CHECK_INT(cert.key_usage, COILI_USAGE_SIGN | COILI_USAGE_CERT_SIGN);
    CHECK(cert.has_basic && cert.is_ca && cert.path_len == 3);
    CHECK(!cert.unknown_critical.at);
    CHECK_INT(cert.subject_key_id.len, 20);
    CHECK_INT(cert.authority_key_id.len, 20);
    CHECK(!coili_cert_is_self_issued(&cert));
}

TEST(cert_without_extensions_has_none)
{
    struct coili_cert cert = parsed(
        (struct pki_spec){ .issuer = "Issuer", .no_ids = true });
    CHECK(!cert.alt_names.at && !cert.permitted.at && !cert.has_basic &&
          !cert.has_key_usage && !cert.has_purposes &&
          !cert.subject_key_id.at && cert.path_len == -1);
    char text[8] = "x";
    coili_cert_name_text(cert.subject, text, sizeof text);
    CHECK_STR(text, "");
    cert = parsed((struct pki_spec){ .subject = "Old", .version_1 = true });
    CHECK_INT(cert.version, 1);
    CHECK(coili_cert_is_self_issued(&cert));
    cert = parsed(
        (struct pki_spec){ .subject = "x", .unknown_critical = true });
    CHECK(coili_der_is(cert.unknown_critical, "\x55\x1d\x63", 3));
}

/* Replace bytes of a certificate that stand there once; lengths stay. */
static void replace(const char *from, const char *to, size_t len)
{
    unsigned char *at = memmem(made.der, made.len, from, len);
    CHECK(at);
    CHECK(!memmem(at + 1, made.len - (size_t)(at + 1 - made.der), from, len));
    memcpy(at, to, len);
}

static const char *fault_of_made(void)
{
    struct coili_cert cert;
    return coili_cert_parse(&cert, pki_view(&made));
}

#define OID_SAN "\x55\x1d\x11"
#define OID_BC "\x55\x1d\x13"

TEST(cert_that_is_malformed_is_refused_with_its_part)
{
    static const struct {
        struct pki_spec spec;
        const char *from, *to;
        size_t len;
        const char *fault;
    } rows[] = {
        /* Two extensions of one kind. */
        { { .subject = "x", .san = "DNS:a.test", .bc = "ca" },
          OID_BC,
          OID_SAN,
          3,
          "an extension stands there twice" },
        { { .subject = "x", .bc = "ca" },
          "\x30\3\1\1\xff",
          "\x30\3\1\1\1",
          5,
          "the basic constraints" },
        { { .subject = "x", .bc = "ca:0" },
          "\xff\2\1\0",
          "\xff\2\1\x80",
          4,
          "the basic constraints" },
        { { .subject = "x", .ku = "sign" },
          "\3\2\7\x80",
          "\3\2\7\x81",
          4,
          "the key usage" },
        { { .subject = "x", .ku = "sign" },
          "\3\2\7\x80",
          "\3\2\x08\x80",
          4,
          "the key usage" },
        { { .subject = "x", .san = "DNS:a.test" },
          "a.test",
          "a test",
          6,
          "the subject alternative names" },
        { { .subject = "x", .san = "DNS:a.test" },
          "a.test",
          "a\xfftest",
          6,
          "the subject alternative names" },
        { { .subject = "x", .san = "DNS:abcde,IP:1.2.3.4" },
          "\x87\4",
          "\x87\5",
          2,
          "the subject alternative names" },
        { { .subject = "x", .nc = "+DNS:abc" },
          "\x82\3",
          "\x02\3",
          2,
          "the name constraints" },
        { { .subject = "x", .eku = "server" },
          "\6\x08\x2b\6\1\5\5\7\3\1",
          "\5\x08\x2b\6\1\5\5\7\3\1",
          10,
          "the extended key usage" },
        { { .subject = "x" },
          "\2\3\x12\x34\x56",
          "\3\3\x12\x34\x56",
          5,
          "the serial number" },
        { { .subject = "x" },
          "\xa0\3\2\1\2",
          "\xa0\3\2\1\3",
          5,
          "the version" },
        { { .subject = "x" },
          "\xa0\3\2\1\2",
          "\xa0\3\2\1\0",
          5,
          "the version" },
        { { .subject = "x" },
          "\xa0\3\2\1\2",
          "\xa0\3\2\1\1",
          5,
          "the extensions" },
        { { .subject = "x" }, "\3\x42\0\4", "\3\x42\0\5", 4, "the public key" },
        { { .subject = "x" }, "\3\x42\0\4", "\3\x42\1\4", 4, "the public key" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        test_note("row %zu: %s", i, rows[i].fault);
        parsed(rows[i].spec);
        replace(rows[i].from, rows[i].to, rows[i].len);
        CHECK_STR(fault_of_made(), rows[i].fault);
    }
}

// An address of five bytes, or of none, is no address.
TEST(cert_names_addresses_of_four_or_sixteen_bytes)
{
    static const struct {
        const char *der;
        size_t len;
        bool ok;
    } rows[] = {
        { "\x30\6\x87\4\1\2\3\4", 8, true },
        { "\x30\7\x87\5\1\2\3\4\5", 9, false },
        { "\x30\2\x87\0", 4, false },
        { "\x30\2\x82\0", 4, false },
        { "\x30\0", 2, false },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        key = pki_key_new(PKI_P256, 'C');
        made = pki_sign(&(struct pki_spec){ .subject = "x",
                                            .key = &key,
                                            .san_der = rows[i].der,
                                            .san_len = rows[i].len },
                        NULL);
        CHECK_STR(fault_of_made(),
                  rows[i].ok ? NULL : "the subject alternative names");
    }
}

// Only one of the two is signed.
TEST(cert_has_one_signature_algorithm)
{
    static const unsigned char oid[] = { 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3 };
    parsed((struct pki_spec){ .subject = "x" });
    unsigned char *inner = memmem(made.der, made.len, oid, sizeof oid);
    unsigned char *outer = memmem(
        inner + 1, made.len - (size_t)(inner + 1 - made.der), oid, sizeof oid);
    CHECK(inner && outer);
    outer[7] = 3;
    CHECK_STR(fault_of_made(), "the signature algorithm");
    inner[7] = 3;
    CHECK_STR(fault_of_made(), NULL);
    outer[7] = inner[7] = 99;
    CHECK_STR(fault_of_made(), NULL);
}

// FALSE that is written out, and an issuer that is nobody.
TEST(cert_with_a_written_default_is_read_and_without_issuer_not)
{
    struct coili_cert cert;
    parsed((struct pki_spec){ .subject = "x", .bc = "ca" });
    replace("\x30\3\1\1\xff", "\x30\3\1\1\0", 5);
    CHECK_STR(coili_cert_parse(&cert, pki_view(&made)), NULL);
    CHECK(cert.has_basic && !cert.is_ca);
    key = pki_key_new(PKI_P256, 'C');
    struct pki_spec spec = { .key = &key };
    made = pki_sign(&spec, NULL);
    CHECK_STR(fault_of_made(), "the issuer");
}

TEST(cert_is_all_of_its_bytes)
{
    struct coili_cert cert;
    parsed((struct pki_spec){ .subject = "x", .san = "DNS:a.test" });
    for (size_t len = 0; len < made.len; len++)
        CHECK(coili_cert_parse(&cert, (struct coili_der){ made.der, len }));
    made.der[made.len++] = 0;
    CHECK_STR(fault_of_made(), "not DER");
}

TEST(cert_names_its_signature)
{
    static const struct {
        enum pki_signature signature;
        enum coili_signature_type type;
        const char *name;
    } rows[] = {
        { PKI_SHA256, COILI_SIGNATURE_ECDSA_SHA256, "ECDSA with SHA-256" },
        { PKI_SHA512, COILI_SIGNATURE_ECDSA_SHA512, "ECDSA with SHA-512" },
        { PKI_SHA1, COILI_SIGNATURE_WEAK, "SHA-1" },
        { PKI_PSS, COILI_SIGNATURE_OTHER, "RSA-PSS" },
        { PKI_ED25519_SIGNATURE, COILI_SIGNATURE_OTHER, "Ed25519" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct coili_cert cert = parsed((struct pki_spec){
            .subject = "x", .signature = rows[i].signature });
        CHECK_INT(cert.signature_type, rows[i].type);
        CHECK_STR(cert.signature_name, rows[i].name);
    }
}
