// SPDX-License-Identifier: MIT
/*
 * keys.c: the keys of a handshake, and Finished, which proves that both ends
 * have the same ones. Both roles do the same here, with the sides changed.
 */
#include "connection.h"

#include <errno.h>
#include <string.h>

#include "tls/key_log.h"

static enum coili_side our_side(const struct coili_connection *c)
{
    return c->base.setup->is_server ? COILI_SERVER : COILI_CLIENT;
}

static enum coili_side their_side(const struct coili_connection *c)
{
    return c->base.setup->is_server ? COILI_CLIENT : COILI_SERVER;
}

/* ---- TLS 1.3 ---------------------------------------------------------- */

static void log_secret(const struct coili_connection *c, const char *label,
                       const struct coili_secret *secret)
{
    coili_key_log(label, c->shake->client_random, secret->bytes,
                  coili_digest_bytes(coili_connection_digest(c)));
}

void coili_keys13_handshake(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    unsigned char hash[COILI_HASH_BYTES_MAX];
    if (!k->is_resumed)
        coili_schedule_early(&k->schedule, coili_connection_digest(c), NULL, 0);
    coili_schedule_handshake(&k->schedule, k->shared, k->shared_len);
    explicit_bzero(k->shared, sizeof k->shared);
    coili_connection_hash(c, hash);
    coili_schedule_derive(&k->schedule, COILI_LABEL_CLIENT_HANDSHAKE, hash,
                          &k->client);
    coili_schedule_derive(&k->schedule, COILI_LABEL_SERVER_HANDSHAKE, hash,
                          &k->server);
    log_secret(c, "CLIENT_HANDSHAKE_TRAFFIC_SECRET", &k->client);
    log_secret(c, "SERVER_HANDSHAKE_TRAFFIC_SECRET", &k->server);
}

void coili_keys13_traffic(struct coili_connection *c,
                          struct coili_secret *server)
{
    struct coili_shake *k = c->shake;
    unsigned char hash[COILI_HASH_BYTES_MAX];
    coili_connection_hash(c, hash);
    coili_schedule_master(&k->schedule);
    coili_schedule_derive(&k->schedule, COILI_LABEL_CLIENT_TRAFFIC, hash,
                          &k->client_traffic);
    coili_schedule_derive(&k->schedule, COILI_LABEL_SERVER_TRAFFIC, hash,
                          server);
    log_secret(c, "CLIENT_TRAFFIC_SECRET_0", &k->client_traffic);
    log_secret(c, "SERVER_TRAFFIC_SECRET_0", server);
}

/* ---- TLS 1.2 ---------------------------------------------------------- */

void coili_keys12_master(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    enum coili_digest digest = coili_connection_digest(c);
    unsigned char hash[COILI_HASH_BYTES_MAX];
    coili_connection_hash(c, hash);
    if (k->has_ems)
        coili_prf_extended_master(digest, k->master, k->shared, k->shared_len,
                                  hash);
    else
        coili_prf_master(digest, k->master, k->shared, k->shared_len,
                         k->client_random, k->server_random);
    explicit_bzero(k->shared, sizeof k->shared);
}

void coili_keys12_derive(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    enum coili_cipher cipher = coili_suite_cipher(c->suite);
    bool is_server = c->base.setup->is_server;
    struct coili_key_block keys;
    coili_key_log("CLIENT_RANDOM", k->client_random, k->master,
                  sizeof k->master);
    coili_prf_keys(coili_connection_digest(c), &keys,
                   coili_cipher_key_bytes(cipher),
                   coili_cipher_iv_bytes12(cipher), k->master, k->client_random,
                   k->server_random);
    coili_record_start12(is_server ? &k->next_in : &k->next_out, cipher,
                         keys.client_key, keys.client_iv);
    coili_record_start12(is_server ? &k->next_out : &k->next_in, cipher,
                         keys.server_key, keys.server_iv);
    explicit_bzero(&keys, sizeof keys);
}

/* ---- Finished --------------------------------------------------------- */

/* What Finished of this side says now. Result: its bytes */
static size_t finished_of(const struct coili_connection *c,
                          enum coili_side side,
                          unsigned char mac[COILI_HASH_BYTES_MAX])
{
    const struct coili_shake *k = c->shake;
    enum coili_digest digest = coili_connection_digest(c);
    unsigned char hash[COILI_HASH_BYTES_MAX];
    coili_connection_hash(c, hash);
    if (c->version == COILI_TLS12) {
        coili_prf_finished(digest, mac, k->master, side, hash);
        return COILI_FINISHED12_BYTES;
    }
    coili_secret_finished(side == COILI_CLIENT ? &k->client : &k->server,
                          digest, hash, mac);
    return coili_digest_bytes(digest);
}

int coili_finished_put(struct coili_connection *c)
{
    unsigned char mac[COILI_HASH_BYTES_MAX];
    struct coili_writer w;
    size_t n = finished_of(c, our_side(c), mac);
    if (coili_message_begin(c, COILI_TLS_MESSAGE_HEAD_BYTES + n, &w) < 0)
        return -ENOMEM;
    coili_tls_write_finished(&w, (struct coili_bytes){ mac, n });
    return coili_message_end(c, &w);
}

int coili_finished_take(struct coili_connection *c, const unsigned char *m,
                        size_t len)
{
    unsigned char mac[COILI_HASH_BYTES_MAX];
    struct coili_bytes theirs;
    size_t n = finished_of(c, their_side(c), mac);
    int alert = coili_tls_read_finished(coili_body_of(m, len), n, &theirs);
    if (alert)
        return coili_connection_fail(c, alert);
    if (!coili_digest_equal(mac, theirs.at, n))
        return coili_connection_fail(c, COILI_ALERT_DECRYPT_ERROR);
    coili_transcript_take(c, m, len);
    return 0;
}
