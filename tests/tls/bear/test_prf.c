// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_prf.c: what TLS 1.2 derives of its secrets. The values were computed by
 * a PRF of a few lines in Python, which gives the known vector of this PRF (key
 * 9bbe436b..., "test label") too. test_bear_openssl.c asks OpenSSL.
 */
#include "hex.h"
#include "secrets.h"

#include "tls/bear/prf.h"

struct vector {
    enum coili_digest digest;
    const char *extended, *master, *keys, *client, *server;
};

/* Premaster 00 01 02..., hash 64 65..., client random c1.., server random 5e.. */
static const struct vector vectors[] = {
    { COILI_SHA256,
      "3db67f8359dfe1d067acdda2e4ffbdfe7fa5150e1d3f728cdee31e79870e5948"
      "573d163d2ff8f9137d3d9e25dd9de867",
      "9d74292fc14cdf469df925ce3046d5252f3dc8719959e03ff7ece95339025c8f"
      "96271c5003eec038eb3e2592b399d064",
      "bb4bf01a0b17768591f2f86723d0570638887f695e982674fdae547e2a1c282d"
      "9229eea31cd2f268968fc3ea51c2c51746c6ae65b7de85cf62b05903faeee758"
      "06cfde61adab9cbd4e1684e2557f5576efc49b35ff050d6f",
      "9f463c94d5bf2eb7acbab27c", "64a78a0ddb8d25fe45f6b9f1" },
    { COILI_SHA384,
      "fe450d8d7d74248aec691e6dc4db158148e1c7e3d1eb52c608ba5498ef3dbc5b"
      "b2556f38b9109af417ef9bb0abe8e4ca",
      "bf2cccbde60a12baab04dea73bd3697060e9425a035756d9ddb02a785a956c2a"
      "d03d023213fd5351d5e897a60410b0c6",
      "ae084ecb6d078a0f89bf476fba94601b33470a7fae2167b702efbd1f88515fa1"
      "962c97363abf74c17ec07ec7c48b1f97ea22ce56189dd9bbfecbe75e919f4892"
      "d53941a2a1c31561b29a669887c0a8485d64ac02a8977d57",
      "ab0b68876dca01fd41e9c7da", "4598ad26401d78097d2971ef" },
};

struct input {
    unsigned char premaster[48], hash[48], client_random[32], server_random[32];
};

static struct input the_input(void)
{
    struct input in;
    for (unsigned i = 0; i < 48; i++) {
        in.premaster[i] = (unsigned char)i;
        in.hash[i] = (unsigned char)(100 + i);
    }
    memset(in.client_random, 0xc1, 32);
    memset(in.server_random, 0x5e, 32);
    return in;
}

TEST(prf_master_secrets_and_finished)
{
    struct input in = the_input();
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        const struct vector *v = &vectors[i];
        size_t n = coili_digest_bytes(v->digest);
        unsigned char master[COILI_MASTER_BYTES];
        unsigned char verify_data[COILI_FINISHED12_BYTES];
        coili_prf_master(v->digest, master, in.premaster, n, in.client_random,
                         in.server_random);
        CHECK_HEX(master, v->master);
        coili_prf_extended_master(v->digest, master, in.premaster, n, in.hash);
        CHECK_HEX(master, v->extended);
        coili_prf_finished(v->digest, verify_data, master, COILI_CLIENT,
                           in.hash);
        CHECK_HEX(verify_data, v->client);
        coili_prf_finished(v->digest, verify_data, master, COILI_SERVER,
                           in.hash);
        CHECK_HEX(verify_data, v->server);
    }
}

// Client key, server key, client iv, server iv, cut from one block.
TEST(prf_keys_stand_in_the_order_of_rfc_5246)
{
    static const struct {
        size_t key, iv;
    } sizes[] = { { 16, 4 }, { 32, 4 }, { 32, 12 } };
    struct input in = the_input();
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        for (size_t j = 0; j < sizeof sizes / sizeof sizes[0]; j++) {
            struct coili_key_block keys;
            struct hex master = hex(vectors[i].extended);
            struct hex block = hex(vectors[i].keys);
            const unsigned char *p = block.at;
            static const unsigned char zeros[32];
            size_t key = sizes[j].key, iv = sizes[j].iv;
            memset(&keys, 0xff, sizeof keys);
            coili_prf_keys(vectors[i].digest, &keys, key, iv, master.at,
                           in.client_random, in.server_random);
            CHECK_MEM(keys.client_key, p, key);
            CHECK_MEM(keys.server_key, p + key, key);
            CHECK_MEM(keys.client_iv, p + 2 * key, iv);
            CHECK_MEM(keys.server_iv, p + 2 * key + iv, iv);
            CHECK_MEM(keys.client_key + key, zeros, 32 - key);
            CHECK_MEM(keys.server_key + key, zeros, 32 - key);
            CHECK_MEM(keys.client_iv + iv, zeros, 12 - iv);
            CHECK_MEM(keys.server_iv + iv, zeros, 12 - iv);
        }
}

TEST(prf_does_not_branch_on_secrets)
{
    struct input in = the_input();
    struct coili_key_block keys;
    unsigned char master[COILI_MASTER_BYTES], verify_data[12];
    secret(in.premaster, sizeof in.premaster);
    coili_prf_extended_master(COILI_SHA384, master, in.premaster, 48, in.hash);
    coili_prf_keys(COILI_SHA384, &keys, 32, 4, master, in.client_random,
                   in.server_random);
    coili_prf_finished(COILI_SHA384, verify_data, master, COILI_CLIENT,
                       in.hash);
    published(&keys, sizeof keys);
    published(verify_data, sizeof verify_data);
    CHECK_HEX(verify_data, vectors[1].client);
}
