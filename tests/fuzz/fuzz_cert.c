// SPDX-License-Identifier: MIT
/*
 * fuzz_cert.c: any bytes as a certificate.
 *
 *     clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -Iinclude \
 *         -Ilib tests/fuzz/fuzz_cert.c lib/tls/{der,key,cert,name}.c -lbearssl
 *     ./a.out tests/fuzz/corpus/cert
 *
 * What is accepted has all its parts within the bytes, and can be judged: its
 * names are read, and its constraints are applied to itself. BearSSL's reader,
 * if it accepts the certificate too, finds the same public key.
 */
#include "tls/cert.h"
#include "tls/name.h"

#include <bearssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) ((condition) ? (void)0 : fail(__LINE__, #condition))

static void fail(int line, const char *what)
{
    fprintf(stderr, "fuzz_cert.c:%d: %s does not hold\n", line, what);
    abort();
}

static void check_view(struct coili_der view, struct coili_der whole)
{
    REQUIRE(view.at || !view.len);
    if (view.at)
        REQUIRE(view.at >= whole.at &&
                view.at + view.len <= whole.at + whole.len);
}

static void check_views(const struct coili_cert *cert, struct coili_der whole)
{
    const struct coili_der views[] = {
        cert->der,
        cert->tbs,
        cert->issuer,
        cert->subject,
        cert->signature,
        cert->alt_names,
        cert->permitted,
        cert->excluded,
        cert->key.spki,
        cert->key.modulus,
        cert->key.exponent,
        cert->key.point,
        cert->subject_key_id,
        cert->authority_key_id,
        cert->unknown_critical,
    };
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        check_view(views[i], whole);
    REQUIRE(coili_der_equal(cert->der, whole));
}

static void check_text(const char *text, size_t size)
{
    size_t len = strnlen(text, size);
    REQUIRE(len < size);
    for (size_t i = 0; i < len; i++)
        REQUIRE(text[i] >= ' ' && text[i] < 0x7f);
}

static void check_names(const struct coili_cert *cert)
{
    static const char *const hosts[] = { "a.test", "x.a.test", "127.0.0.1",
                                         "::1" };
    char text[80];
    unsigned budget = 1000;
    coili_cert_name_text(cert->subject, text, 40);
    check_text(text, 40);
    coili_cert_names_text(cert, text, sizeof text);
    check_text(text, sizeof text);
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        struct coili_host host;
        REQUIRE(coili_host_parse(&host, hosts[i]));
        coili_cert_speaks_for(cert, &host);
    }
    coili_constraints_check(cert, cert, &budget);
}

static void check_key(const struct coili_cert *cert)
{
    const struct coili_public_key *key = &cert->key;
    br_x509_decoder_context c;
    br_x509_decoder_init(&c, NULL, NULL);
    br_x509_decoder_push(&c, cert->der.at, cert->der.len);
    const br_x509_pkey *pk = br_x509_decoder_get_pkey(&c);
    if (!pk || key->type == COILI_KEY_OTHER)
        return;
    if (pk->key_type == BR_KEYTYPE_RSA) {
        REQUIRE(key->type == COILI_KEY_RSA);
        REQUIRE(coili_der_is(key->modulus, pk->key.rsa.n, pk->key.rsa.nlen));
        REQUIRE(coili_der_is(key->exponent, pk->key.rsa.e, pk->key.rsa.elen));
    } else {
        REQUIRE(coili_der_is(key->point, pk->key.ec.q, pk->key.ec.qlen));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct coili_cert cert;
    struct coili_der whole = { data, size };
    if (coili_cert_parse(&cert, whole))
        return 0;
    check_views(&cert, whole);
    check_names(&cert);
    check_key(&cert);
    return 0;
}
