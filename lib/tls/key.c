// SPDX-License-Identifier: MIT
/*
 * key.c: public and private keys, as views of their DER.
 *
 * A key that comes from a peer is used by code that expects a sane one: an even
 * modulus or an exponent of 1 makes signatures that anybody can forge. BearSSL
 * has buffers for 4096 bits, and its own reader of private keys writes beyond
 * them in version 0.6. So all sizes are checked here, before any library sees a
 * key.
 */
#include "key.h"

#include <string.h>

static const unsigned char oid_rsa[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7,
                                         0x0d, 0x01, 0x01, 0x01 };
static const unsigned char oid_ec[] = {
    0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01
};
static const unsigned char oid_p256[] = { 0x2a, 0x86, 0x48, 0xce,
                                          0x3d, 0x03, 0x01, 0x07 };
static const unsigned char oid_p384[] = { 0x2b, 0x81, 0x04, 0x00, 0x22 };
static const unsigned char oid_p521[] = { 0x2b, 0x81, 0x04, 0x00, 0x23 };

static const unsigned char order_p256[32] = {
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
    0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
};
static const unsigned char order_p384[48] = {
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a, 0x0d, 0xb2,
    0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
};
static const unsigned char order_p521[66] = {
    0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xfa, 0x51, 0x86, 0x87, 0x83, 0xbf, 0x2f, 0x96, 0x6b, 0x7f, 0xcc,
    0x01, 0x48, 0xf7, 0x09, 0xa5, 0xd0, 0x3b, 0xb5, 0xc9, 0xb8, 0x89,
    0x9c, 0x47, 0xae, 0xbb, 0x6f, 0xb7, 0x1e, 0x91, 0x38, 0x64, 0x09,
};

static const struct curve {
    enum coili_key_type type;
    unsigned bits;
    const unsigned char *oid;
    size_t oid_len;
    const unsigned char *order;
    size_t bytes; /* of the order, and of a coordinate */
} curves[] = {
    { COILI_KEY_P256, 256, oid_p256, sizeof oid_p256, order_p256, 32 },
    { COILI_KEY_P384, 384, oid_p384, sizeof oid_p384, order_p384, 48 },
    { COILI_KEY_P521, 521, oid_p521, sizeof oid_p521, order_p521, 66 },
};

const char *coili_key_name(enum coili_key_type type)
{
    switch (type) {
    case COILI_KEY_RSA:
        return "RSA";
    case COILI_KEY_P256:
        return "P-256";
    case COILI_KEY_P384:
        return "P-384";
    case COILI_KEY_P521:
        return "P-521";
    case COILI_KEY_OTHER:
        break;
    }
    return "unknown";
}

/* NULL: a curve that coil does not know. */
static const struct curve *curve_of(struct coili_der oid)
{
    for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
        if (coili_der_is(oid, curves[i].oid, curves[i].oid_len))
            return &curves[i];
    return NULL;
}

static bool is_odd(struct coili_der number)
{
    return number.len > 0 && (number.at[number.len - 1] & 1);
}

static unsigned bits_of(struct coili_der number)
{
    if (number.len == 0)
        return 0;
    unsigned bits = (unsigned)(number.len - 1) * 8;
    for (unsigned first = number.at[0]; first > 0; first >>= 1)
        bits++;
    return bits;
}

static bool is_exponent(struct coili_der e)
{
    return is_odd(e) && e.len <= 4 && (e.len > 1 || e.at[0] >= 3);
}

/* --- Public keys ---------------------------------------------------------*/

static bool read_rsa(struct coili_public_key *key, struct coili_der parameters,
                     struct coili_der bytes)
{
    struct coili_der null, numbers;
    if (!coili_der_take(&parameters, COILI_DER_NULL, &null) || null.len > 0 ||
        parameters.len > 0)
        return false;
    if (!coili_der_take(&bytes, COILI_DER_SEQUENCE, &numbers) ||
        bytes.len > 0 || !coili_der_take_unsigned(&numbers, &key->modulus) ||
        !coili_der_take_unsigned(&numbers, &key->exponent) || numbers.len > 0 ||
        !is_odd(key->modulus) || !is_exponent(key->exponent))
        return false;
    key->type = COILI_KEY_RSA;
    key->bits = bits_of(key->modulus);
    return true;
}

/* Curves given by their numbers, and compressed points, stay OTHER. */
static bool read_ec(struct coili_public_key *key, struct coili_der parameters,
                    struct coili_der bytes)
{
    struct coili_der oid;
    unsigned tag;
    if (!coili_der_take_any(&parameters, &tag, &oid) || parameters.len > 0)
        return false;
    const struct curve *curve = tag == COILI_DER_OID ? curve_of(oid) : NULL;
    if (!curve)
        return true;
    if (bytes.len == 1 + curve->bytes && (bytes.at[0] | 1) == 3)
        return true;
    if (bytes.len != 1 + 2 * curve->bytes || bytes.at[0] != 4)
        return false;
    key->type = curve->type;
    key->bits = curve->bits;
    key->point = bytes;
    return true;
}

bool coili_public_key_parse(struct coili_public_key *key, struct coili_der spki)
{
    struct coili_der whole = spki, content, algorithm, oid, bytes;
    *key = (struct coili_public_key){ .spki = whole };
    if (!coili_der_take(&spki, COILI_DER_SEQUENCE, &content) || spki.len > 0 ||
        !coili_der_take(&content, COILI_DER_SEQUENCE, &algorithm) ||
        !coili_der_take_bytes(&content, &bytes) || content.len > 0 ||
        !coili_der_take(&algorithm, COILI_DER_OID, &oid))
        return false;
    if (coili_der_is(oid, oid_rsa, sizeof oid_rsa))
        return read_rsa(key, algorithm, bytes);
    if (coili_der_is(oid, oid_ec, sizeof oid_ec))
        return read_ec(key, algorithm, bytes);
    return true;
}

/* --- Private keys --------------------------------------------------------*/

static const char malformed[] = "the private key is malformed";

/* RSAPrivateKey of RFC 8017, A.1.2, with two primes. */
static const char *read_pkcs1(struct coili_private_key *key,
                              struct coili_der der)
{
    struct coili_der s;
    unsigned version;
    if (!coili_der_take(&der, COILI_DER_SEQUENCE, &s) || der.len > 0 ||
        !coili_der_take_small(&s, &version))
        return malformed;
    if (version != 0)
        return "the RSA key has more than two primes";
    if (!coili_der_take_unsigned(&s, &key->rsa.n) ||
        !coili_der_take_unsigned(&s, &key->rsa.e) ||
        !coili_der_take_unsigned(&s, &key->rsa.d) ||
        !coili_der_take_unsigned(&s, &key->rsa.p) ||
        !coili_der_take_unsigned(&s, &key->rsa.q) ||
        !coili_der_take_unsigned(&s, &key->rsa.dp) ||
        !coili_der_take_unsigned(&s, &key->rsa.dq) ||
        !coili_der_take_unsigned(&s, &key->rsa.iq) || s.len > 0)
        return malformed;

    key->type = COILI_KEY_RSA;
    key->bits = bits_of(key->rsa.n);
    if (key->bits < 2048)
        return "the RSA key is shorter than 2048 bits";
    if (key->bits > 4096)
        return "the RSA key is longer than 4096 bits";
    unsigned p = bits_of(key->rsa.p), q = bits_of(key->rsa.q);
    if (!is_odd(key->rsa.n) || !is_exponent(key->rsa.e) ||
        !is_odd(key->rsa.p) || !is_odd(key->rsa.q) || p > key->bits / 2 + 16 ||
        q > key->bits / 2 + 16 ||
        (p + q != key->bits && p + q != key->bits + 1) || key->rsa.d.len == 0 ||
        key->rsa.d.len > key->rsa.n.len || key->rsa.dp.len == 0 ||
        key->rsa.dp.len > key->rsa.p.len || key->rsa.dq.len == 0 ||
        key->rsa.dq.len > key->rsa.q.len || key->rsa.iq.len == 0 ||
        key->rsa.iq.len > key->rsa.p.len)
        return "the numbers of the RSA key do not fit together";
    return NULL;
}

/* True if 0 < scalar < order of the curve. */
static bool is_scalar(struct coili_der scalar, const struct curve *curve)
{
    if (scalar.len == 0 || scalar.len > curve->bytes)
        return false;
    unsigned any = 0;
    for (size_t i = 0; i < scalar.len; i++)
        any |= scalar.at[i];
    return any != 0 && (scalar.len < curve->bytes ||
                        memcmp(scalar.at, curve->order, scalar.len) < 0);
}

/*
 * ECPrivateKey of RFC 5915. `curve` is that of the PKCS#8 around it, or NULL:
 * the key itself must name one.
 */
static const char *read_sec1(struct coili_private_key *key,
                             struct coili_der der, const struct curve *curve)
{
    struct coili_der s, parameters, public_key, oid;
    unsigned version;
    if (!coili_der_take(&der, COILI_DER_SEQUENCE, &s) || der.len > 0 ||
        !coili_der_take_small(&s, &version) || version != 1 ||
        !coili_der_take(&s, COILI_DER_OCTET_STRING, &key->scalar) ||
        !coili_der_take_optional(&s, COILI_DER_CONTEXT_OF(0), &parameters) ||
        !coili_der_take_optional(&s, COILI_DER_CONTEXT_OF(1), &public_key) ||
        s.len > 0)
        return malformed;

    if (parameters.at) {
        unsigned tag;
        if (!coili_der_take_any(&parameters, &tag, &oid) || parameters.len > 0)
            return malformed;
        const struct curve *own = tag == COILI_DER_OID ? curve_of(oid) : NULL;
        if (curve && own != curve)
            return "the EC key names two curves";
        curve = own;
    }
    if (!curve)
        return "the curve of the EC key is not P-256, P-384 or P-521";
    key->type = curve->type;
    key->bits = curve->bits;

    if (!is_scalar(key->scalar, curve))
        return "the number of the EC key is not one of its curve";
    if (public_key.at &&
        (!coili_der_take_bytes(&public_key, &key->point) ||
         public_key.len > 0 || key->point.len != 1 + 2 * curve->bytes ||
         key->point.at[0] != 4))
        return "the public part of the EC key is malformed";
    return NULL;
}

/* PrivateKeyInfo of RFC 5208, and OneAsymmetricKey of RFC 5958. */
static const char *read_pkcs8(struct coili_private_key *key,
                              struct coili_der der)
{
    struct coili_der s, algorithm, oid, inner, attributes, public_key;
    unsigned version;
    if (!coili_der_take(&der, COILI_DER_SEQUENCE, &s) || der.len > 0 ||
        !coili_der_take_small(&s, &version) || version > 1 ||
        !coili_der_take(&s, COILI_DER_SEQUENCE, &algorithm) ||
        !coili_der_take(&s, COILI_DER_OCTET_STRING, &inner) ||
        !coili_der_take_optional(&s, COILI_DER_CONTEXT_OF(0), &attributes) ||
        !coili_der_take_optional(&s, COILI_DER_CONTEXT(1), &public_key) ||
        s.len > 0 || !coili_der_take(&algorithm, COILI_DER_OID, &oid))
        return malformed;

    if (coili_der_is(oid, oid_rsa, sizeof oid_rsa))
        return read_pkcs1(key, inner);
    if (coili_der_is(oid, oid_ec, sizeof oid_ec)) {
        struct coili_der name;
        if (!coili_der_take(&algorithm, COILI_DER_OID, &name) ||
            algorithm.len > 0 || !curve_of(name))
            return "the curve of the EC key is not P-256, P-384 or P-521";
        return read_sec1(key, inner, curve_of(name));
    }
    return "the private key is neither RSA nor EC";
}

const char *coili_private_key_parse(struct coili_private_key *key,
                                    enum coili_pem_label label,
                                    struct coili_der der)
{
    *key = (struct coili_private_key){ .der = der };
    switch (label) {
    case COILI_PEM_PKCS8:
        return read_pkcs8(key, der);
    case COILI_PEM_PKCS1:
        return read_pkcs1(key, der);
    case COILI_PEM_SEC1:
        return read_sec1(key, der, NULL);
    case COILI_PEM_OTHER:
    case COILI_PEM_CERTIFICATE:
    case COILI_PEM_TRUSTED:
    case COILI_PEM_ENCRYPTED:
        break;
    }
    return "not a private key";
}

bool coili_private_key_resembles(const struct coili_private_key *key,
                                 const struct coili_public_key *public_key)
{
    if (key->type != public_key->type)
        return false;
    if (key->type == COILI_KEY_RSA)
        return coili_der_equal(key->rsa.n, public_key->modulus) &&
               coili_der_equal(key->rsa.e, public_key->exponent);
    return !key->point.at || coili_der_equal(key->point, public_key->point);
}
