// SPDX-License-Identifier: MIT
#ifndef COILI_CERT_H
#define COILI_CERT_H

/*
 * cert.h: one X.509 certificate, taken apart (RFC 5280).
 *
 * All parts are views of the DER. Nothing is copied, allocated or judged here;
 * path.h and trust.h do that.
 */

#include <stdbool.h>
#include <stdint.h>

#include "der.h"
#include "key.h"

enum coili_signature_type {
    COILI_SIGNATURE_OTHER, /* PSS, Ed25519...: coil cannot check it */
    COILI_SIGNATURE_WEAK,  /* SHA-1, MD5, MD2 */
    COILI_SIGNATURE_RSA_SHA256,
    COILI_SIGNATURE_RSA_SHA384,
    COILI_SIGNATURE_RSA_SHA512,
    COILI_SIGNATURE_ECDSA_SHA256,
    COILI_SIGNATURE_ECDSA_SHA384,
    COILI_SIGNATURE_ECDSA_SHA512
};

/* Bits of key_usage. */
enum { COILI_USAGE_SIGN = 1, COILI_USAGE_CERT_SIGN = 2 };

/* Bits of purposes. */
enum {
    COILI_PURPOSE_ANY = 1,
    COILI_PURPOSE_SERVER = 2,
    COILI_PURPOSE_CLIENT = 4
};

/* An extension that is not there has at == NULL, or has_... false. */
struct coili_cert {
    struct coili_der der;             /* all of it */
    struct coili_der tbs;             /* what is signed, with its head */
    struct coili_der issuer, subject; /* Names, with their heads */
    int64_t not_before, not_after;    /* seconds since 1970 */
    struct coili_public_key key;
    enum coili_signature_type signature_type;
    const char *signature_name; /* "SHA-1", "RSA-PSS"...; static */
    struct coili_der signature;
    struct coili_der alt_names; /* the GeneralNames; each is sound */
    struct coili_der subject_key_id, authority_key_id;
    struct coili_der permitted, excluded; /* the GeneralSubtrees */
    struct coili_der unknown_critical;    /* OID of the first such extension */
    bool has_key_usage, has_purposes, has_basic, is_ca;
    uint8_t key_usage, purposes, version; /* version: 1 to 3 */
    int path_len; /* how many intermediates may follow; -1: any number */
};

/*
 * Take a certificate apart. Every byte of `der` must belong to it. What is
 * unknown (keys, signatures, extensions) is no fault here.
 *
 * Result    NULL, or what is malformed: a static text like "the validity"
 * Lifetime  views `der`
 */
const char *coili_cert_parse(struct coili_cert *cert, struct coili_der der);

/* True if issuer and subject are the same. */
static inline bool coili_cert_is_self_issued(const struct coili_cert *cert)
{
    return coili_der_equal(cert->issuer, cert->subject);
}

/*
 * Write what a person calls a Name: its common name, else its organisation,
 * else its unit; "" if it has none. Bytes that are not printable ASCII become
 * '?'. The text is cut to `size` bytes, its NUL included.
 */
void coili_cert_name_text(struct coili_der name, char *text, size_t size);

#endif
