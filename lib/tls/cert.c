// SPDX-License-Identifier: MIT
/*
 * cert.c: one X.509 certificate, taken apart.
 *
 * The parts are found once, here, and everything that is decided about the
 * certificate is decided by these views: what is signed, whose key it is, whom
 * it speaks for. Where two parsers read the same bytes differently, what one
 * has checked is not what the other uses.
 *
 * Three forms that DER forbids are read all the same, because authorities
 * have made certificates of them: FALSE that is written out (it is the default
 * and should be left out), zero bits at the end of a key usage, and a negative
 * serial number, which means nothing here.
 *
 * Not in a certificate, whoever signed it: one of the extensions below twice; a
 * DNS name with a NUL, a space or a byte that is not ASCII ("a.test\0.evil" was
 * a.test for programs that stop at a NUL); an IP address of other than 4 or 16
 * bytes.
 */
#include "cert.h"

#include <string.h>

/* --- Signature algorithms ------------------------------------------------*/

static const struct algorithm {
    unsigned char oid[10];
    unsigned char len;
    enum coili_signature_type type;
    const char *name;
} algorithms[] = {
    /* 1.2.840.113549.1.1.x */
    { { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11 },
      9,
      COILI_SIGNATURE_RSA_SHA256,
      "RSA with SHA-256" },
    { { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12 },
      9,
      COILI_SIGNATURE_RSA_SHA384,
      "RSA with SHA-384" },
    { { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13 },
      9,
      COILI_SIGNATURE_RSA_SHA512,
      "RSA with SHA-512" },
    { { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10 },
      9,
      COILI_SIGNATURE_OTHER,
      "RSA-PSS" },
    { { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5 },
      9,
      COILI_SIGNATURE_WEAK,
      "SHA-1" },
    { { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4 },
      9,
      COILI_SIGNATURE_WEAK,
      "MD5" },
    { { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 2 },
      9,
      COILI_SIGNATURE_WEAK,
      "MD2" },
    /* 1.2.840.10045.4.x */
    { { 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2 },
      8,
      COILI_SIGNATURE_ECDSA_SHA256,
      "ECDSA with SHA-256" },
    { { 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3 },
      8,
      COILI_SIGNATURE_ECDSA_SHA384,
      "ECDSA with SHA-384" },
    { { 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4 },
      8,
      COILI_SIGNATURE_ECDSA_SHA512,
      "ECDSA with SHA-512" },
    { { 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1 },
      7,
      COILI_SIGNATURE_WEAK,
      "SHA-1" },
    /* 1.3.101.112 and 113 */
    { { 0x2b, 0x65, 0x70 }, 3, COILI_SIGNATURE_OTHER, "Ed25519" },
    { { 0x2b, 0x65, 0x71 }, 3, COILI_SIGNATURE_OTHER, "Ed448" },
};

static bool is_rsa(enum coili_signature_type type)
{
    return type == COILI_SIGNATURE_RSA_SHA256 ||
           type == COILI_SIGNATURE_RSA_SHA384 ||
           type == COILI_SIGNATURE_RSA_SHA512;
}

static bool is_ecdsa(enum coili_signature_type type)
{
    return type == COILI_SIGNATURE_ECDSA_SHA256 ||
           type == COILI_SIGNATURE_ECDSA_SHA384 ||
           type == COILI_SIGNATURE_ECDSA_SHA512;
}

/* An AlgorithmIdentifier's content. RSA has the parameter NULL, ECDSA none. */
static bool read_algorithm(struct coili_cert *cert, struct coili_der s)
{
    struct coili_der oid, null;
    if (!coili_der_take(&s, COILI_DER_OID, &oid))
        return false;
    cert->signature_name = "an unknown algorithm";
    for (size_t i = 0; i < sizeof algorithms / sizeof *algorithms; i++)
        if (coili_der_is(oid, algorithms[i].oid, algorithms[i].len)) {
            cert->signature_type = algorithms[i].type;
            cert->signature_name = algorithms[i].name;
        }
    if (is_rsa(cert->signature_type))
        return coili_der_take(&s, COILI_DER_NULL, &null) && null.len == 0 &&
               s.len == 0;
    return !is_ecdsa(cert->signature_type) || s.len == 0;
}

/* --- Extensions ----------------------------------------------------------*/

/* A BOOLEAN DEFAULT FALSE, which may be written out. */
static bool take_flag(struct coili_der *from, bool *flag)
{
    *flag = false;
    return coili_der_peek(from) != COILI_DER_BOOLEAN ||
           coili_der_take_boolean(from, flag);
}

static bool is_dns_text(struct coili_der text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.at[i] <= ' ' || text.at[i] >= 0x7f)
            return false;
    return text.len > 0;
}

/* GeneralNames: at least one; the kinds that coil reads are sound. */
static bool read_alt_names(struct coili_cert *cert, struct coili_der value)
{
    struct coili_der name;
    unsigned tag;
    if (!coili_der_take(&value, COILI_DER_SEQUENCE, &cert->alt_names) ||
        value.len > 0 || cert->alt_names.len == 0)
        return false;
    for (struct coili_der rest = cert->alt_names; rest.len > 0;) {
        if (!coili_der_take_any(&rest, &tag, &name) || (tag & 0xc0) != 0x80)
            return false;
        if (tag == COILI_DER_CONTEXT(2) && !is_dns_text(name))
            return false;
        if (tag == COILI_DER_CONTEXT(7) && name.len != 4 && name.len != 16)
            return false;
    }
    return true;
}

/* A path length without cA means nothing; old leaves have it. */
static bool read_basic(struct coili_cert *cert, struct coili_der value)
{
    struct coili_der s;
    unsigned path_len;
    cert->has_basic = true;
    if (!coili_der_take(&value, COILI_DER_SEQUENCE, &s) || value.len > 0 ||
        !take_flag(&s, &cert->is_ca))
        return false;
    if (s.len > 0) {
        if (!coili_der_take_small(&s, &path_len) || s.len > 0)
            return false;
        cert->path_len = path_len < 255 ? (int)path_len : 255;
    }
    return true;
}

/* A BIT STRING whose first byte counts the unused bits, which are 0. */
static bool read_key_usage(struct coili_cert *cert, struct coili_der value)
{
    struct coili_der bits;
    cert->has_key_usage = true;
    if (!coili_der_take(&value, COILI_DER_BIT_STRING, &bits) || value.len > 0 ||
        bits.len < 2 || bits.at[0] > 7 ||
        (bits.at[bits.len - 1] & ((1u << bits.at[0]) - 1)) != 0)
        return false;
    if (bits.at[1] & 0x80)
        cert->key_usage |= COILI_USAGE_SIGN;
    if (bits.at[1] & 0x04)
        cert->key_usage |= COILI_USAGE_CERT_SIGN;
    return true;
}

static bool read_purposes(struct coili_cert *cert, struct coili_der value)
{
    static const unsigned char any[] = { 0x55, 0x1d, 0x25, 0 };
    static const unsigned char server[] = { 0x2b, 6, 1, 5, 5, 7, 3, 1 };
    static const unsigned char client[] = { 0x2b, 6, 1, 5, 5, 7, 3, 2 };
    struct coili_der s, oid;
    cert->has_purposes = true;
    if (!coili_der_take(&value, COILI_DER_SEQUENCE, &s) || value.len > 0 ||
        s.len == 0)
        return false;
    while (s.len > 0) {
        if (!coili_der_take(&s, COILI_DER_OID, &oid))
            return false;
        if (coili_der_is(oid, any, sizeof any))
            cert->purposes |= COILI_PURPOSE_ANY;
        if (coili_der_is(oid, server, sizeof server))
            cert->purposes |= COILI_PURPOSE_SERVER;
        if (coili_der_is(oid, client, sizeof client))
            cert->purposes |= COILI_PURPOSE_CLIENT;
    }
    return true;
}

/* A GeneralSubtree: a name alone, without the distances of X.509. */
static bool are_subtrees(struct coili_der list)
{
    struct coili_der subtree, name;
    unsigned tag;
    while (list.len > 0) {
        if (!coili_der_take(&list, COILI_DER_SEQUENCE, &subtree) ||
            !coili_der_take_any(&subtree, &tag, &name) ||
            (tag & 0xc0) != 0x80 || subtree.len > 0)
            return false;
    }
    return true;
}

static bool read_constraints(struct coili_cert *cert, struct coili_der value)
{
    struct coili_der s;
    return coili_der_take(&value, COILI_DER_SEQUENCE, &s) && value.len == 0 &&
           coili_der_take_optional(&s, COILI_DER_CONTEXT_OF(0),
                                   &cert->permitted) &&
           coili_der_take_optional(&s, COILI_DER_CONTEXT_OF(1),
                                   &cert->excluded) &&
           s.len == 0 && (cert->permitted.at || cert->excluded.at) &&
           are_subtrees(cert->permitted) && are_subtrees(cert->excluded);
}

static bool read_subject_key_id(struct coili_cert *cert, struct coili_der value)
{
    return coili_der_take(&value, COILI_DER_OCTET_STRING,
                          &cert->subject_key_id) &&
           value.len == 0;
}

/* The key id alone: an issuer's name and serial number are not looked at. */
static bool read_authority_key_id(struct coili_cert *cert,
                                  struct coili_der value)
{
    struct coili_der s;
    return coili_der_take(&value, COILI_DER_SEQUENCE, &s) && value.len == 0 &&
           coili_der_take_optional(&s, COILI_DER_CONTEXT(0),
                                   &cert->authority_key_id);
}

/* coil requires no policy, so what this extension says is respected. */
static bool pass_policies(struct coili_cert *cert, struct coili_der value)
{
    (void)cert;
    (void)value;
    return true;
}

/* Those that coil understands; their OIDs are 2.5.29.x. */
static const struct extension {
    unsigned char x;
    bool (*take)(struct coili_cert *cert, struct coili_der value);
    const char *name;
} extensions[] = {
    { 14, read_subject_key_id, "the subject key identifier" },
    { 15, read_key_usage, "the key usage" },
    { 17, read_alt_names, "the subject alternative names" },
    { 19, read_basic, "the basic constraints" },
    { 30, read_constraints, "the name constraints" },
    { 32, pass_policies, "the policies" },
    { 35, read_authority_key_id, "the authority key identifier" },
    { 37, read_purposes, "the extended key usage" },
};

static const char *read_extension(struct coili_cert *cert, struct coili_der oid,
                                  bool critical, struct coili_der value,
                                  unsigned *seen)
{
    size_t n = sizeof extensions / sizeof *extensions;
    for (size_t i = 0; i < n; i++) {
        const unsigned char id[] = { 0x55, 0x1d, extensions[i].x };
        if (!coili_der_is(oid, id, sizeof id))
            continue;
        if (*seen & 1u << i)
            return "an extension stands there twice";
        *seen |= 1u << i;
        return extensions[i].take(cert, value) ? NULL : extensions[i].name;
    }
    if (critical && !cert->unknown_critical.at)
        cert->unknown_critical = oid;
    return NULL;
}

static const char *read_extensions(struct coili_cert *cert,
                                   struct coili_der wrapped)
{
    struct coili_der list, extension, oid, value;
    unsigned seen = 0;
    bool critical;
    if (!coili_der_take(&wrapped, COILI_DER_SEQUENCE, &list) ||
        wrapped.len > 0 || list.len == 0)
        return "the extensions";
    while (list.len > 0) {
        if (!coili_der_take(&list, COILI_DER_SEQUENCE, &extension) ||
            !coili_der_take(&extension, COILI_DER_OID, &oid) || oid.len == 0 ||
            !take_flag(&extension, &critical) ||
            !coili_der_take(&extension, COILI_DER_OCTET_STRING, &value) ||
            extension.len > 0)
            return "the extensions";
        const char *fault = read_extension(cert, oid, critical, value, &seen);
        if (fault)
            return fault;
    }
    return NULL;
}

/* --- The certificate -----------------------------------------------------*/

/* Version 1 is the default, and so is not written. */
static bool read_version(struct coili_cert *cert, struct coili_der *tbs)
{
    struct coili_der wrapped;
    unsigned version = 0;
    if (!coili_der_take_optional(tbs, COILI_DER_CONTEXT_OF(0), &wrapped))
        return false;
    if (wrapped.at && (!coili_der_take_small(&wrapped, &version) ||
                       wrapped.len > 0 || version < 1 || version > 2))
        return false;
    cert->version = (uint8_t)(version + 1);
    return true;
}

/* A Name: sets of attributes, each of a type and a value. */
static bool read_name(struct coili_der *from, struct coili_der *name)
{
    struct coili_der sets, set, attribute, oid, value;
    unsigned tag;
    if (!coili_der_take_whole(from, COILI_DER_SEQUENCE, &sets, name))
        return false;
    while (sets.len > 0) {
        if (!coili_der_take(&sets, COILI_DER_SET, &set) || set.len == 0)
            return false;
        while (set.len > 0)
            if (!coili_der_take(&set, COILI_DER_SEQUENCE, &attribute) ||
                !coili_der_take(&attribute, COILI_DER_OID, &oid) ||
                !coili_der_take_any(&attribute, &tag, &value) ||
                attribute.len > 0)
                return false;
    }
    return true;
}

static bool read_validity(struct coili_cert *cert, struct coili_der *tbs)
{
    struct coili_der s;
    return coili_der_take(tbs, COILI_DER_SEQUENCE, &s) &&
           coili_der_take_time(&s, &cert->not_before) &&
           coili_der_take_time(&s, &cert->not_after) && s.len == 0;
}

static bool read_serial(struct coili_der *tbs)
{
    struct coili_der serial;
    return coili_der_take(tbs, COILI_DER_INTEGER, &serial) && serial.len > 0;
}

static bool read_key(struct coili_cert *cert, struct coili_der *tbs)
{
    struct coili_der content, spki;
    return coili_der_take_whole(tbs, COILI_DER_SEQUENCE, &content, &spki) &&
           coili_public_key_parse(&cert->key, spki);
}

/* What is signed. `algorithm` is that of the signature, to be equal. */
static const char *read_tbs(struct coili_cert *cert, struct coili_der tbs,
                            struct coili_der algorithm)
{
    struct coili_der own, id, wrapped;
    if (!read_version(cert, &tbs))
        return "the version";
    if (!read_serial(&tbs))
        return "the serial number";
    if (!coili_der_take(&tbs, COILI_DER_SEQUENCE, &own) ||
        !coili_der_equal(own, algorithm))
        return "the signature algorithm";
    if (!read_name(&tbs, &cert->issuer) || cert->issuer.len <= 2)
        return "the issuer";
    if (!read_validity(cert, &tbs))
        return "the validity";
    if (!read_name(&tbs, &cert->subject))
        return "the subject";
    if (!read_key(cert, &tbs))
        return "the public key";
    if (cert->version > 1 &&
        (!coili_der_take_optional(&tbs, COILI_DER_CONTEXT(1), &id) ||
         !coili_der_take_optional(&tbs, COILI_DER_CONTEXT(2), &id)))
        return "a unique identifier";
    if (tbs.len == 0)
        return NULL;
    if (cert->version < 3 ||
        !coili_der_take(&tbs, COILI_DER_CONTEXT_OF(3), &wrapped) || tbs.len > 0)
        return "the extensions";
    return read_extensions(cert, wrapped);
}

const char *coili_cert_parse(struct coili_cert *cert, struct coili_der der)
{
    struct coili_der content, tbs, algorithm;
    *cert = (struct coili_cert){ .der = der, .path_len = -1 };
    if (!coili_der_take(&der, COILI_DER_SEQUENCE, &content) || der.len > 0 ||
        !coili_der_take_whole(&content, COILI_DER_SEQUENCE, &tbs, &cert->tbs) ||
        !coili_der_take(&content, COILI_DER_SEQUENCE, &algorithm))
        return "not DER";
    if (!coili_der_take_bytes(&content, &cert->signature) || content.len > 0)
        return "the signature";
    if (!read_algorithm(cert, algorithm))
        return "the signature algorithm";
    return read_tbs(cert, tbs, algorithm);
}

/* --- A name for a person -------------------------------------------------*/

/* Common name first; its OID is 2.5.4.3, the others differ in the last byte. */
void coili_cert_name_text(struct coili_der name, char *text, size_t size)
{
    static const unsigned char wanted[] = { 3, 10, 11 };
    struct coili_der best = { NULL, 0 }, sets, set, attribute, oid, value;
    size_t rank = sizeof wanted;
    unsigned tag;
    bool ok = coili_der_take(&name, COILI_DER_SEQUENCE, &sets);
    while (ok && sets.len > 0) {
        ok = coili_der_take(&sets, COILI_DER_SET, &set);
        while (ok && set.len > 0) {
            ok = coili_der_take(&set, COILI_DER_SEQUENCE, &attribute) &&
                 coili_der_take(&attribute, COILI_DER_OID, &oid) &&
                 coili_der_take_any(&attribute, &tag, &value);
            for (size_t i = 0; ok && i < rank; i++) {
                const unsigned char id[] = { 0x55, 0x04, wanted[i] };
                if (coili_der_is(oid, id, sizeof id)) {
                    rank = i;
                    best = value;
                }
            }
        }
    }
    if (size == 0)
        return;
    size_t n = best.len < size ? best.len : size - 1;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = best.at[i];
        text[i] = c >= ' ' && c < 0x7f ? (char)c : '?';
    }
    text[n] = '\0';
}
