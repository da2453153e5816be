// SPDX-License-Identifier: MIT
/*
 * share.c: ephemeral keys: X25519, P-256 and P-384.
 *
 * A scalar of X25519 is any 32 bytes (little-endian, RFC 7748). For the others it
 * is big-endian, below the order of the curve, and uniform there: candidates
 * come out of HMAC_DRBG until one fits, which for these curves is the first but
 * for one case in 2^32.
 */
#include "tls/bear/share.h"

#include <bearssl.h>
#include <string.h>

#include "base/check.h"
#include "tls/bear/digest.h"

/* One byte before the two coordinates: the point is not compressed. */
enum { FORM = 1, UNCOMPRESSED = 4 };

static size_t field_bytes(unsigned group)
{
    switch (group) {
    case COILI_GROUP_X25519:
    case COILI_GROUP_P256:
        return 32;
    case COILI_GROUP_P384:
        return 48;
    default:
        return 0;
    }
}

bool coili_share_knows(unsigned group)
{
    return field_bytes(group) != 0;
}

size_t coili_share_point_bytes(unsigned group)
{
    size_t n = field_bytes(group);
    return n == 0 || group == COILI_GROUP_X25519 ? n : FORM + 2 * n;
}

static void make_scalar(unsigned char *scalar, unsigned group,
                        const unsigned char *seed)
{
    br_hmac_drbg_context random;
    br_ec_private_key key;
    unsigned char buffer[BR_EC_KBUF_PRIV_MAX_SIZE];
    if (group == COILI_GROUP_X25519) {
        memcpy(scalar, seed, 32);
        return;
    }
    br_hmac_drbg_init(&random, &br_sha384_vtable, seed, COILI_SHARE_SEED_BYTES);
    br_ec_keygen(&random.vtable, &br_ec_all_m31, &key, buffer, (int)group);
    memcpy(scalar, key.x, key.xlen);
    explicit_bzero(&random, sizeof random);
    explicit_bzero(buffer, sizeof buffer);
}

void coili_share_make(struct coili_share *share, unsigned group,
                      const unsigned char seed[COILI_SHARE_SEED_BYTES])
{
    coili_check(coili_share_knows(group), "share: the group is not known");
    share->group = (uint16_t)group;
    share->is_spent = false;
    make_scalar(share->scalar, group, seed);
    share->point_len = (uint8_t)br_ec_all_m31.mulgen(
        share->point, share->scalar, field_bytes(group), (int)group);
}

size_t coili_share_combine(struct coili_share *share,
                           const unsigned char *point, size_t len,
                           unsigned char shared[COILI_SHARED_BYTES_MAX])
{
    static const unsigned char zeros[32];
    unsigned char product[COILI_SHARE_POINT_BYTES_MAX];
    const unsigned group = share->group;
    size_t n = field_bytes(group),
           form = group == COILI_GROUP_X25519 ? 0 : FORM;
    bool is_good = n > 0 && len == coili_share_point_bytes(group) &&
                   (form == 0 || point[0] == UNCOMPRESSED);
    /* Zeros are a scalar of X25519 too: what it makes everybody knows. */
    coili_check(!share->is_spent, "share: combined twice");
    share->is_spent = true;
    if (is_good) {
        memcpy(product, point, len);
        /* 0: the point is not on the curve. */
        is_good = br_ec_all_m31.mul(product, len, share->scalar, n, (int)group);
    }
    if (is_good)
        memcpy(shared, product + form, n);
    /* A point of small order makes zeros, whatever our scalar is. */
    if (is_good && group == COILI_GROUP_X25519)
        n *= !coili_digest_equal(product, zeros, sizeof zeros);
    explicit_bzero(product, sizeof product);
    explicit_bzero(share->scalar, sizeof share->scalar);
    return is_good ? n : 0;
}

void coili_share_wipe(struct coili_share *share)
{
    explicit_bzero(share, sizeof *share);
}
