// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_share.c: ephemeral keys. test_schedule.c has the exchanges of RFC 8448,
 * test_bear_openssl.c makes some with OpenSSL.
 */
#include "hex.h"
#include "secrets.h"

#include "tls/bear/share.h"

static const unsigned groups[] = { COILI_GROUP_X25519, COILI_GROUP_P256,
                                   COILI_GROUP_P384 };

enum { GROUPS = sizeof groups / sizeof groups[0] };

static struct coili_share share_of(unsigned group, uint64_t number)
{
    struct coili_share share;
    unsigned char seed[COILI_SHARE_SEED_BYTES];
    hex_fill(seed, sizeof seed, &number);
    coili_share_make(&share, group, seed);
    return share;
}

static size_t combine(struct coili_share share, const void *point, size_t len,
                      unsigned char *shared)
{
    return coili_share_combine(&share, point, len, shared);
}

TEST(share_both_sides_find_the_same_secret)
{
    static const size_t points[] = { 32, 65, 97 }, secrets[] = { 32, 32, 48 };
    for (int i = 0; i < GROUPS; i++)
        for (uint64_t n = 0; n < 4; n++) {
            struct coili_share a = share_of(groups[i], 2 * n);
            struct coili_share b = share_of(groups[i], 2 * n + 1);
            unsigned char of_a[48], of_b[48];
            CHECK(coili_share_knows(groups[i]));
            CHECK_INT(coili_share_point_bytes(groups[i]), points[i]);
            CHECK_INT(a.point_len, points[i]);
            CHECK_INT(combine(a, b.point, b.point_len, of_a), secrets[i]);
            CHECK_INT(combine(b, a.point, a.point_len, of_b), secrets[i]);
            CHECK_MEM(of_a, of_b, secrets[i]);
            CHECK(memcmp(a.point, b.point, a.point_len) != 0);
        }
    CHECK(!coili_share_knows(0));
    CHECK(!coili_share_knows(25));
    CHECK_INT(coili_share_point_bytes(25), 0);
}

// It is one key for one handshake: nothing is left of it.
TEST(share_is_wiped_by_its_use)
{
    static const unsigned char zeros[sizeof(struct coili_share)];
    for (int i = 0; i < GROUPS; i++) {
        struct coili_share a = share_of(groups[i], 1), again = a;
        struct coili_share b = share_of(groups[i], 2);
        unsigned char shared[48], point[97];
        memcpy(point, a.point, a.point_len);
        CHECK(coili_share_combine(&a, b.point, b.point_len, shared));
        CHECK_MEM(a.scalar, zeros, sizeof a.scalar);
        CHECK_MEM(a.point, point, a.point_len);
        CHECK_INT(coili_share_combine(&again, b.point, 1, shared), 0);
        CHECK_MEM(again.scalar, zeros, sizeof again.scalar);
        coili_share_wipe(&b);
        CHECK_MEM(&b, zeros, sizeof b);
    }
}

DEATH_TEST(share_is_not_combined_twice, "combined twice")
{
    struct coili_share a = share_of(COILI_GROUP_X25519, 1);
    struct coili_share b = share_of(COILI_GROUP_X25519, 2);
    unsigned char shared[48];
    CHECK(coili_share_combine(&a, b.point, b.point_len, shared));
    (void)coili_share_combine(&a, b.point, b.point_len, shared);
}

DEATH_TEST(share_of_an_unknown_group_is_not_made, "not known")
{
    (void)share_of(25, 1);
}

static void x25519(const unsigned char *scalar, const unsigned char *u,
                   unsigned char *out)
{
    struct coili_share share = { .group = COILI_GROUP_X25519 };
    memcpy(share.scalar, scalar, 32);
    CHECK_INT(coili_share_combine(&share, u, 32, out), 32);
}

TEST(share_x25519_is_that_of_rfc_7748)
{
    unsigned char out[48];
    struct hex k = hex(
        "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4");
    struct hex u = hex(
        "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c");
    x25519(k.at, u.at, out);
    CHECK_HEX(
        out,
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552");
    k = hex("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d");
    /* The highest bit of u is to be ignored. */
    u = hex("e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493");
    x25519(k.at, u.at, out);
    CHECK_HEX(
        out,
        "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957");
    u.at[31] ^= 0x80;
    x25519(k.at, u.at, out);
    CHECK_HEX(
        out,
        "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957");
}

// RFC 7748, 5.2: each result is the next scalar, each scalar the next u.
TEST(share_x25519_iterated)
{
    unsigned char k[32] = { 9 }, u[32] = { 9 }, out[48];
    int n = test_is_slow() ? 1 : 1000;
    for (int i = 0; i < n; i++) {
        x25519(k, u, out);
        memcpy(u, k, 32);
        memcpy(k, out, 32);
    }
    CHECK_HEX(k, n == 1 ? "422c8e7a6227d7bca1350b3e2bb7279f"
                          "7897b87bb6854b783c60e80311ae3079"
                        : "684cf59ba83309552800ef566f2f4d3c"
                          "1c3887c49360e3875f2eb94d99532c51");
}

// Each of them makes zeros of any scalar: a peer would choose the secret.
TEST(share_refuses_x25519_points_of_small_order)
{
    static const char *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        for (int high = 0; high < 2; high++) {
            unsigned char shared[48];
            struct hex u = hex(points[i]);
            u.at[31] |= (unsigned char)(high << 7);
            CHECK_INT(
                combine(share_of(COILI_GROUP_X25519, i), u.at, 32, shared), 0);
        }
}

TEST(share_refuses_points_of_another_length)
{
    for (int i = 0; i < GROUPS; i++) {
        struct coili_share a = share_of(groups[i], 1);
        struct coili_share b = share_of(groups[i], 2);
        unsigned char shared[48], point[100] = { 0 };
        memcpy(point, b.point, b.point_len);
        for (size_t n = 0; n < sizeof point; n++)
            if (n != b.point_len)
                CHECK_INT(combine(a, point, n, shared), 0);
    }
    /* One that is zero has no group. */
    struct coili_share none = { 0 };
    unsigned char shared[48];
    CHECK_INT(coili_share_combine(&none, shared, 0, shared), 0);
}

// Off the curve a point may lie in a small group, and tell of the scalar.
TEST(share_refuses_points_that_are_not_on_the_curve)
{
    for (int i = 1; i < GROUPS; i++) {
        struct coili_share a = share_of(groups[i], 1);
        struct coili_share b = share_of(groups[i], 2);
        unsigned char shared[48], point[97];
        size_t n = b.point_len;
        size_t step = test_is_slow() ? 61 : 5;
        for (size_t bit = 8; bit < 8 * n; bit += step) {
            memcpy(point, b.point, n);
            point[bit / 8] ^= (unsigned char)(1U << bit % 8);
            CHECK_INT(combine(a, point, n, shared), 0);
        }
        /* Other forms: compressed, hybrid, none. */
        for (int form = 0; form < 256; form++) {
            memcpy(point, b.point, n);
            point[0] = (unsigned char)form;
            if (form != 4)
                CHECK_INT(combine(a, point, n, shared), 0);
        }
        /* (0, 0), and coordinates that are not below the prime. */
        memset(point, 0, n);
        point[0] = 4;
        CHECK_INT(combine(a, point, n, shared), 0);
        memset(point + 1, 0xff, n - 1);
        CHECK_INT(combine(a, point, n, shared), 0);
        memcpy(point, b.point, n);
        memset(point + 1, 0xff, n / 2);
        CHECK_INT(combine(a, point, n, shared), 0);
        memcpy(point, b.point, n);
        CHECK(combine(a, point, n, shared));
    }
}

TEST(share_is_made_of_its_seed_alone)
{
    for (int i = 0; i < GROUPS; i++) {
        struct coili_share a = share_of(groups[i], 1);
        struct coili_share b = share_of(groups[i], 1);
        struct coili_share c = share_of(groups[i], 2);
        CHECK_MEM(a.scalar, b.scalar, sizeof a.scalar / 3 * 2);
        CHECK(memcmp(a.scalar, c.scalar, 32) != 0);
    }
}

// Neither when it is made (of X25519 by its seed) nor when it is combined.
TEST(share_does_not_branch_on_secrets)
{
    for (int i = 0; i < GROUPS; i++) {
        struct coili_share a = share_of(groups[i], 1), b;
        unsigned char seed[COILI_SHARE_SEED_BYTES] = { 1, 2, 3 }, shared[48];
        if (groups[i] == COILI_GROUP_X25519) {
            secret(seed, sizeof seed);
            coili_share_make(&b, groups[i], seed);
            published(b.point, b.point_len);
        } else {
            b = share_of(groups[i], 2);
            secret(b.scalar, sizeof b.scalar);
        }
        size_t n = coili_share_combine(&b, a.point, a.point_len, shared);
        published(&n, sizeof n);
        CHECK(n > 0);
        published(shared, sizeof shared);
    }
}
