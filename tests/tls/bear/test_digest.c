// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_digest.c: hash functions, HMAC, and the comparison of secret values.
 */
#include "hex.h"

#include "tls/bear/digest.h"

#include "secrets.h"

TEST(digest_hashes)
{
    unsigned char hash[COILI_DIGEST_BYTES_MAX];
    coili_digest_hash(COILI_SHA256, hash, "abc", 3);
    CHECK_HEX(hash, "ba7816bf8f01cfea414140de5dae2223"
                    "b00361a396177a9cb410ff61f20015ad");
    coili_digest_hash(COILI_SHA384, hash, "abc", 3);
    CHECK_HEX(hash, "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163"
                    "1a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7");
    coili_digest_hash(COILI_SHA512, hash, "abc", 3);
    CHECK_HEX(
        hash,
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
    coili_digest_hash(COILI_SHA256, hash, NULL, 0);
    CHECK_HEX(hash, "e3b0c44298fc1c149afbf4c8996fb924"
                    "27ae41e4649b934ca495991b7852b855");
    CHECK_INT(coili_digest_bytes(COILI_SHA256), 32);
    CHECK_INT(coili_digest_bytes(COILI_SHA384), 48);
    CHECK_INT(coili_digest_bytes(COILI_SHA512), 64);
}

// RFC 4231, test cases 2 and 6; the second key is longer than a block.
TEST(digest_hmac_is_that_of_rfc_4231)
{
    unsigned char mac[COILI_DIGEST_BYTES_MAX], key[131];
    static const char data[] = "what do ya want for nothing?";
    static const char
        other[] = "Test Using Larger Than Block-Size Key - Hash Key First";
    coili_digest_hmac(COILI_SHA256, mac, "Jefe", 4, data, sizeof data - 1);
    CHECK_HEX(mac, "5bdcc146bf60754e6a042426089575c7"
                   "5a003f089d2739839dec58b964ec3843");
    coili_digest_hmac(COILI_SHA384, mac, "Jefe", 4, data, sizeof data - 1);
    CHECK_HEX(mac, "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47"
                   "e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649");
    memset(key, 0xaa, sizeof key);
    coili_digest_hmac(COILI_SHA256, mac, key, sizeof key, other,
                      sizeof other - 1);
    CHECK_HEX(mac, "60e431591ee0b67f0d8a26aacbf5b77f"
                   "8e0bc6213728c5140546040f0ee37f54");
}

TEST(digest_equal_sees_each_bit)
{
    unsigned char a[48] = { 0 }, b[48] = { 0 };
    CHECK(coili_digest_equal(a, b, sizeof a));
    CHECK(coili_digest_equal(a, b, 0));
    for (size_t bit = 0; bit < 8 * sizeof a; bit++) {
        b[bit / 8] = (unsigned char)(1U << bit % 8);
        CHECK(!coili_digest_equal(a, b, sizeof a));
        CHECK(coili_digest_equal(a, b, bit / 8));
        b[bit / 8] = 0;
    }
}

// No branch until the whole is compared: valgrind sees one on secret bytes.
TEST(digest_equal_and_hmac_do_not_branch_on_secrets)
{
    unsigned char a[32] = "secret", b[32] = "secret", mac[32];
    secret(a, sizeof a);
    secret(b, sizeof b);
    bool is_equal = coili_digest_equal(a, b, sizeof a);
    published(&is_equal, sizeof is_equal);
    CHECK(is_equal);
    coili_digest_hmac(COILI_SHA256, mac, a, sizeof a, b, sizeof b);
    published(mac, sizeof mac);
    published(a, sizeof a);
    published(b, sizeof b);
    unsigned char again[32];
    coili_digest_hmac(COILI_SHA256, again, a, sizeof a, b, sizeof b);
    CHECK_MEM(mac, again, sizeof mac);
}
