// SPDX-License-Identifier: MIT
/*
 * verify.c: what of certificates BearSSL computes.
 *
 * BearSSL's own engine for chains, br_x509_minimal, is not used. It refuses
 * each critical extension that it does not know, and it knows neither extended
 * key usage nor name constraints, which RFC 5280 wants to be critical. It takes
 * a path whole, so a wrong signature is found only after all others were checked
 * again. And it reads the certificates once more by itself: two readers that
 * differ are how a certificate that was checked differs from the one in use.
 * So each signature is checked here, by the views of cert.h. The tests ask
 * br_x509_minimal what it says of the same paths.
 *
 * The leaf's key is used after this, by us or by another library. For it, and
 * for it alone, BearSSL's reader is asked too, and must find the same.
 */
#include "verify.h"

#include <bearssl.h>
#include <string.h>

void coili_bear_sha256(unsigned char hash[32], const void *data, size_t len)
{
    br_sha256_context c;
    br_sha256_init(&c);
    br_sha256_update(&c, data, len);
    br_sha256_out(&c, hash);
}

/* What BearSSL's buffers have room for. */
static const unsigned rsa_bits_max = 4096;

/* The hash of a signature type, and its OID for PKCS#1. */
struct digest {
    const br_hash_class *hash;
    const unsigned char *oid;
    bool is_rsa;
    size_t len;
    unsigned char value[64];
};

static bool choose_digest(struct digest *d, enum coili_signature_type type)
{
    switch (type) {
    case COILI_SIGNATURE_RSA_SHA256:
    case COILI_SIGNATURE_ECDSA_SHA256:
        *d = (struct digest){ .hash = &br_sha256_vtable,
                              .oid = BR_HASH_OID_SHA256,
                              .len = 32 };
        break;
    case COILI_SIGNATURE_RSA_SHA384:
    case COILI_SIGNATURE_ECDSA_SHA384:
        *d = (struct digest){ .hash = &br_sha384_vtable,
                              .oid = BR_HASH_OID_SHA384,
                              .len = 48 };
        break;
    case COILI_SIGNATURE_RSA_SHA512:
    case COILI_SIGNATURE_ECDSA_SHA512:
        *d = (struct digest){ .hash = &br_sha512_vtable,
                              .oid = BR_HASH_OID_SHA512,
                              .len = 64 };
        break;
    case COILI_SIGNATURE_OTHER:
    case COILI_SIGNATURE_WEAK:
        return false;
    }
    d->is_rsa = type == COILI_SIGNATURE_RSA_SHA256 ||
                type == COILI_SIGNATURE_RSA_SHA384 ||
                type == COILI_SIGNATURE_RSA_SHA512;
    return true;
}

static void compute_digest(struct digest *d, struct coili_der signed_bytes)
{
    br_hash_compat_context c;
    d->hash->init(&c.vtable);
    d->hash->update(&c.vtable, signed_bytes.at, signed_bytes.len);
    d->hash->out(&c.vtable, d->value);
}

/* BearSSL's structures have no const; it does not write through them. */
static unsigned char *bytes_of(struct coili_der view)
{
    return (unsigned char *)(uintptr_t)view.at;
}

static int curve_of(enum coili_key_type type)
{
    switch (type) {
    case COILI_KEY_P256:
        return BR_EC_secp256r1;
    case COILI_KEY_P384:
        return BR_EC_secp384r1;
    case COILI_KEY_P521:
        return BR_EC_secp521r1;
    case COILI_KEY_RSA:
    case COILI_KEY_OTHER:
        break;
    }
    return 0;
}

/* A signature is as long as the modulus: a shorter one would be a second form
 * of the same. */
static bool verify_rsa(const struct digest *d, struct coili_der signature,
                       const struct coili_public_key *key)
{
    br_rsa_pkcs1_vrfy verify = br_rsa_i62_pkcs1_vrfy_get();
    br_rsa_public_key pk = {
        .n = bytes_of(key->modulus),
        .nlen = key->modulus.len,
        .e = bytes_of(key->exponent),
        .elen = key->exponent.len,
    };
    unsigned char found[64];
    if (!verify)
        verify = br_rsa_i31_pkcs1_vrfy;
    return key->bits <= rsa_bits_max && signature.len == key->modulus.len &&
           verify(signature.at, signature.len, d->oid, d->len, &pk, found) &&
           memcmp(found, d->value, d->len) == 0;
}

static bool verify_ecdsa(const struct digest *d, struct coili_der signature,
                         const struct coili_public_key *key)
{
    br_ec_public_key pk = {
        .curve = curve_of(key->type),
        .q = bytes_of(key->point),
        .qlen = key->point.len,
    };
    return br_ecdsa_i31_vrfy_asn1(&br_ec_all_m31, d->value, d->len, &pk,
                                  signature.at, signature.len) == 1;
}

bool coili_bear_signed_by(const struct coili_cert *cert,
                          const struct coili_public_key *key)
{
    struct digest d;
    if (!choose_digest(&d, cert->signature_type) ||
        key->type == COILI_KEY_OTHER ||
        d.is_rsa != (key->type == COILI_KEY_RSA))
        return false;
    compute_digest(&d, cert->tbs);
    return d.is_rsa ? verify_rsa(&d, cert->signature, key)
                    : verify_ecdsa(&d, cert->signature, key);
}

bool coili_bear_finds_key(const struct coili_cert *cert)
{
    const struct coili_public_key *key = &cert->key;
    br_x509_decoder_context c;
    br_x509_decoder_init(&c, NULL, NULL);
    br_x509_decoder_push(&c, cert->der.at, cert->der.len);
    const br_x509_pkey *pk = br_x509_decoder_get_pkey(&c);
    if (!pk)
        return false;
    if (key->type == COILI_KEY_RSA)
        return pk->key_type == BR_KEYTYPE_RSA &&
               coili_der_is(key->modulus, pk->key.rsa.n, pk->key.rsa.nlen) &&
               coili_der_is(key->exponent, pk->key.rsa.e, pk->key.rsa.elen);
    return key->type != COILI_KEY_OTHER && pk->key_type == BR_KEYTYPE_EC &&
           pk->key.ec.curve == curve_of(key->type) &&
           coili_der_is(key->point, pk->key.ec.q, pk->key.ec.qlen);
}

bool coili_bear_key_suits(const struct coili_private_key *key,
                          const struct coili_public_key *public_key)
{
    unsigned char point[BR_EC_KBUF_PUB_MAX_SIZE];
    if (!coili_private_key_resembles(key, public_key))
        return false;
    if (key->type == COILI_KEY_RSA)
        return true;
    size_t len = br_ec_all_m31.mulgen(point, key->scalar.at, key->scalar.len,
                                      curve_of(key->type));
    return coili_der_is(public_key->point, point, len);
}
