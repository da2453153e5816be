// SPDX-License-Identifier: MIT
/*
 * client.c: the handshake of a client, in both versions.
 *
 * One ClientHello offers TLS 1.3 and 1.2, and the first ServerHello decides: no
 * second connection is tried, so nobody in between can choose the version by
 * cutting the first one. (A server of 1.3 that is made to believe that we speak
 * 1.2 says so in its random: hello.c looks.)
 *
 *     1.3  ServerHello, keys                  WORK: the shared secret
 *          EncryptedExtensions
 *          [CertificateRequest]
 *          Certificate                        WORK: the chain
 *          CertificateVerify                  WORK: the signature; verified
 *          Finished                           [WORK: our own signature]
 *          -> [Certificate, [CertificateVerify]] Finished; open
 *
 *     1.2  ServerHello
 *          Certificate                        WORK: the chain
 *          ServerKeyExchange                  WORK: the signature; verified
 *                                             WORK: the shared secret
 *          [CertificateRequest]
 *          ServerHelloDone                    [WORK: our own signature]
 *          -> [Certificate] ClientKeyExchange [CertificateVerify]
 *             ChangeCipherSpec Finished
 *          [NewSessionTicket] ChangeCipherSpec Finished; open
 *
 * A session that is resumed leaves out the certificate and what is signed.
 */
#include "connection.h"

#include <errno.h>
#include <string.h>

#include <coil/entropy.h>

#include "base/check.h"

/* Room for a hello without what varies in length, and for short messages. */
#define HELLO_BYTES 1024
#define SHORT_BYTES (COILI_TLS_MESSAGE_HEAD_BYTES + 128)

static int refuse(struct coili_connection *c, int alert)
{
    return coili_connection_fail(c, alert);
}

/* The protocol that the server chose, which is one of ours; or none. */
static void take_alpn(struct coili_connection *c, struct coili_bytes name)
{
    const struct coili_tls_handshake *h = c->base.handshake;
    const unsigned char *at = h->alpn, *end = at + h->alpn_bytes;
    for (; name.len > 0 && at < end; at += 1 + at[0])
        if (coili_bytes_are(name, at + 1, at[0]))
            c->shake->alpn = at;
}

/* ---- ClientHello ------------------------------------------------------ */

/* Work: make the share that k->share.group stands for. */
static void make_share(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    coili_share_make(&k->share, k->share.group, k->seed);
    explicit_bzero(k->seed, sizeof k->seed);
}

/* Have a share made for `group`, and then go on. */
static int park_share(struct coili_connection *c, unsigned group,
                      coili_then_fn *then)
{
    struct coili_shake *k = c->shake;
    int err = coil_entropy(k->seed, sizeof k->seed);
    if (err < 0)
        return err;
    k->share.group = (uint16_t)group;
    return coili_park(c, make_share, then);
}

/*
 * Offer the session that the connection was given. One that this engine has not
 * made, or whose suite is not offered any more, is left out.
 */
static void offer_session(struct coili_connection *c)
{
    const struct coili_tls_handshake *h = c->base.handshake;
    const struct coili_tls_session *s = h->session;
    struct coili_tls_offer *offer = &c->shake->offer;
    if (!s || s->ticket.len == 0 ||
        !coili_tls_offers_suite(offer, s->version, s->suite))
        return;
    struct coili_bytes ticket = { s->ticket.at, s->ticket.len };
    if (s->version == COILI_TLS13 &&
        s->secret_len == coili_suite_hash_bytes(s->suite)) {
        offer->psk = ticket;
        offer->psk_age = h->session_age_ms + s->age_add;
        offer->psk_suite = s->suite;
    }
    if (s->version == COILI_TLS12 && s->secret_len == COILI_MASTER_BYTES) {
        offer->ticket = ticket;
        offer->ticket_suite = s->suite;
    }
}

/*
 * The proof that we know the PSK: the last bytes of the hello, over all that
 * stands before the list of them (RFC 8446, 4.2.11.2).
 */
static void write_binder(struct coili_connection *c, struct coili_writer *w)
{
    struct coili_shake *k = c->shake;
    const struct coili_tls_session *s = c->base.handshake->session;
    size_t binder_bytes = coili_suite_hash_bytes(s->suite);
    enum coili_digest digest = binder_bytes == 48 ? COILI_SHA384 : COILI_SHA256;
    unsigned char hash[COILI_HASH_BYTES_MAX];
    coili_transcript_hash_with(&k->transcript, digest, w->at,
                               w->len - coili_tls_binders_bytes(&k->offer),
                               hash);
    coili_schedule_early(&k->schedule, digest, s->secret, s->secret_len);
    coili_schedule_binder(&k->schedule, hash, w->at + w->len - binder_bytes);
}

/* Append a hello to `out`, by k->offer. */
static int send_hello(struct coili_connection *c, struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    struct coili_tls_offer *offer = &k->offer;
    struct coili_writer w;
    if (coili_message_begin(c,
                            HELLO_BYTES + offer->alpn.len + offer->cookie.len +
                                offer->psk.len + offer->ticket.len,
                            &w) < 0)
        return -ENOMEM;
    offer->share_group = k->share.group;
    offer->share = (struct coili_bytes){ k->share.point, k->share.point_len };
    coili_tls_write_client_hello(&w, offer);
    offer->cookie.len = 0; /* it was a view of the retry */
    if (offer->psk.len > 0 && coili_writer_is_whole(&w))
        write_binder(c, &w);
    int err = coili_message_end(c, &w);
    return err < 0 ? err : coili_flight_send(c, out);
}

static int send_first_hello(struct coili_connection *c,
                            struct coili_tls_out *out)
{
    size_t at = out->len;
    int err = send_hello(c, out);
    if (err < 0)
        return err;
    out->data[at + 2] = 1; /* old servers want 0301 in the first record */
    c->state = COILI_CLIENT_WAITS_HELLO;
    return COILI_TLS_QUIET;
}

int coili_client_start(struct coili_connection *c, struct coili_tls_out *out)
{
    const struct coili_tls_setup *setup = c->base.setup;
    const char *name = c->base.handshake->asked;
    struct coili_shake *k = c->shake;
    int err = coil_entropy(k->client_random, sizeof k->client_random);
    if (err == 0)
        err = coil_entropy(k->session_id, sizeof k->session_id);
    if (err < 0)
        return err;
    k->offer = (struct coili_tls_offer){
        .version_min = setup->version_min,
        .version_max = setup->version_max,
        .aes_is_slow = !coili_cipher_aes_is_fast(),
        .random = k->client_random,
        .session_id = { k->session_id, sizeof k->session_id },
        .name = { (const unsigned char *)name, strlen(name) },
        .alpn = { c->base.handshake->alpn, c->base.handshake->alpn_bytes },
    };
    offer_session(c);
    if (setup->version_max < COILI_TLS13)
        return send_first_hello(c, out);
    return park_share(c, COILI_GROUP_X25519, send_first_hello);
}

/* ---- ServerHello ------------------------------------------------------ */

static int send_second_hello(struct coili_connection *c,
                             struct coili_tls_out *out)
{
    int err = coili_change_send(c, out);
    if (err == 0)
        err = send_hello(c, out);
    if (err < 0)
        return err;
    c->shake->change_sent = true;
    c->state = COILI_CLIENT_WAITS_HELLO_AGAIN;
    return COILI_TLS_QUIET;
}

/* HelloRetryRequest: the server wants another group, or a cookie back. */
static int take_retry(struct coili_connection *c, const unsigned char *m,
                      size_t len, const struct coili_tls_server_hello *hello,
                      struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    coili_transcript_choose(&k->transcript, coili_connection_digest(c));
    coili_transcript_retry(&k->transcript);
    coili_transcript_take(c, m, len);
    k->offer.retry_suite = hello->suite;
    k->offer.cookie = hello->cookie;
    if (coili_suite_hash_bytes(k->offer.psk_suite) !=
        coili_suite_hash_bytes(hello->suite))
        k->offer.psk.len = 0; /* this PSK is of another hash */
    if (hello->group)
        return park_share(c, hello->group, send_second_hello);
    return send_second_hello(c, out);
}

/* Work: the shared secret, and the keys of the handshake. */
static void combine13(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    k->shared_len = coili_share_combine(&k->share, k->peer_share.at,
                                        k->peer_share.len, k->shared);
    if (k->shared_len > 0)
        coili_keys13_handshake(c);
}

static int use_handshake_keys(struct coili_connection *c,
                              struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    (void)out;
    if (k->shared_len == 0)
        return refuse(c, COILI_ALERT_ILLEGAL_PARAMETER);
    if (k->is_resumed)
        coili_connection_verified(c); /* Finished will be made of the PSK */
    coili_read_by(c, &k->server);
    coili_write_by(c, &k->client);
    c->state = COILI_CLIENT_WAITS_EXTENSIONS;
    return COILI_TLS_QUIET;
}

static int take_hello13(struct coili_connection *c, const unsigned char *m,
                        size_t len, const struct coili_tls_server_hello *hello)
{
    struct coili_shake *k = c->shake;
    coili_transcript_choose(&k->transcript, coili_connection_digest(c));
    coili_transcript_take(c, m, len);
    k->is_resumed = hello->psk_is_taken;
    k->peer_share = hello->share;
    return coili_park(c, combine13, use_handshake_keys);
}

static int take_hello12(struct coili_connection *c, const unsigned char *m,
                        size_t len, const struct coili_tls_server_hello *hello);

int coili_client_hello(struct coili_connection *c, const unsigned char *m,
                       size_t len, struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    struct coili_tls_server_hello hello;
    int alert = coili_tls_read_server_hello(coili_body_of(m, len), &k->offer,
                                            &hello);
    if (alert) {
        int err = coili_connection_fail_because(c, alert, hello.why);
        if (hello.is_downgrade)
            c->base.detail = coili_tls_detail(COIL_TLS_DOWNGRADED);
        return err;
    }
    if (hello.version == COILI_TLS12 && k->early_change)
        return refuse(c, COILI_ALERT_UNEXPECTED_MESSAGE);
    c->version = (uint16_t)hello.version;
    c->suite = (uint16_t)hello.suite;
    memcpy(k->server_random, hello.random, sizeof k->server_random);
    if (hello.version == COILI_TLS12)
        return take_hello12(c, m, len, &hello);
    int err = coili_connection_check_last(c);
    if (err < 0)
        return err;
    return hello.is_retry ? take_retry(c, m, len, &hello, out)
                          : take_hello13(c, m, len, &hello);
}

/* ---- 1.3: up to the server's Finished --------------------------------- */

int coili_client_extensions(struct coili_connection *c, const unsigned char *m,
                            size_t len, struct coili_tls_out *out)
{
    struct coili_tls_encrypted_extensions extensions;
    (void)out;
    int alert = coili_tls_read_encrypted_extensions(
        coili_body_of(m, len), &c->shake->offer, &extensions);
    if (alert)
        return coili_connection_fail_because(c, alert, extensions.why);
    coili_transcript_take(c, m, len);
    take_alpn(c, extensions.alpn);
    c->state = c->shake->is_resumed ? COILI_CLIENT_WAITS_FINISHED
                                    : COILI_CLIENT_WAITS_CERTIFICATE;
    return COILI_TLS_QUIET;
}

/* The scheme to sign with; without one our certificate is not shown. */
static unsigned choose_scheme(const struct coili_connection *c,
                              enum coili_signed_by where,
                              struct coili_bytes schemes)
{
    const struct coili_identity *identity = c->base.setup->identity;
    return identity ? coili_scheme_choose(where, identity->key.type, schemes.at,
                                          schemes.len)
                    : 0;
}

int coili_client_request(struct coili_connection *c, const unsigned char *m,
                         size_t len, struct coili_tls_out *out)
{
    struct coili_tls_certificate_request request;
    (void)out;
    int alert = coili_tls_read_certificate_request(coili_body_of(m, len),
                                                   COILI_TLS13, &request);
    if (alert)
        return refuse(c, alert);
    coili_transcript_take(c, m, len);
    c->shake->is_asked = true;
    c->shake->own_scheme = choose_scheme(c, COILI_SIGNED_13, request.schemes);
    c->state = COILI_CLIENT_WAITS_ONLY_CERTIFICATE;
    return COILI_TLS_QUIET;
}

/* In 1.2 the suite says which kind of key signs. */
static bool key_suits_suite(const struct coili_connection *c)
{
    enum coili_key_type type = c->shake->verdict.key.type;
    switch (c->suite) {
    case COILI_SUITE_RSA_AES_128_GCM:
    case COILI_SUITE_RSA_AES_256_GCM:
    case COILI_SUITE_RSA_CHACHA20:
        return type == COILI_KEY_RSA;
    case COILI_SUITE_ECDSA_AES_128_GCM:
    case COILI_SUITE_ECDSA_AES_256_GCM:
    case COILI_SUITE_ECDSA_CHACHA20:
        return type == COILI_KEY_P256 || type == COILI_KEY_P384;
    default:
        return c->version == COILI_TLS13;
    }
}

static int believe_chain(struct coili_connection *c, struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    (void)out;
    if (k->result < 0)
        return coili_connection_fail_chain(c, k->result, k->verdict.fault);
    if (!key_suits_suite(c))
        return refuse(c, COILI_ALERT_ILLEGAL_PARAMETER);
    int err = coili_connection_keep_leaf(c, k->verdict.leaf,
                                         k->verdict.leaf_sha256);
    if (err < 0)
        return err;
    c->state = c->version == COILI_TLS13 ? COILI_CLIENT_WAITS_SIGNATURE
                                         : COILI_CLIENT12_WAITS_EXCHANGE;
    return COILI_TLS_QUIET;
}

int coili_client_certificate(struct coili_connection *c, const unsigned char *m,
                             size_t len, struct coili_tls_out *out)
{
    (void)out;
    int alert = coili_tls_read_certificates(coili_body_of(m, len), c->version,
                                            false, &c->shake->certificates);
    if (alert)
        return refuse(c, alert);
    coili_transcript_take(c, m, len);
    return coili_park(c, coili_chain_judge, believe_chain);
}

static int believe_signature(struct coili_connection *c,
                             struct coili_tls_out *out)
{
    (void)out;
    if (c->shake->result)
        return refuse(c, c->shake->result);
    coili_connection_verified(c);
    c->state = COILI_CLIENT_WAITS_FINISHED;
    return COILI_TLS_QUIET;
}

int coili_client_signature(struct coili_connection *c, const unsigned char *m,
                           size_t len, struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    unsigned char hash[COILI_HASH_BYTES_MAX];
    (void)out;
    int alert = coili_tls_read_certificate_verify(
        coili_body_of(m, len), coili_tls_schemes13, &k->signature);
    if (alert)
        return refuse(c, alert);
    coili_connection_hash(c, hash);
    if (!coili_signable_13(&k->signable, k->signature.scheme, COILI_SERVER,
                           coili_connection_digest(c), hash))
        return refuse(c, COILI_ALERT_ILLEGAL_PARAMETER);
    coili_transcript_take(c, m, len);
    return coili_park(c, coili_peer_signature_verify, believe_signature);
}

/* ---- Sessions --------------------------------------------------------- */

/* The server resumes: its certificate is the one of then. */
static int take_session(struct coili_connection *c)
{
    const struct coili_tls_session *s = c->base.handshake->session;
    coili_tls_resumed(&c->base, s);
    return coili_connection_keep_leaf(
        c, (struct coili_der){ s->certificate.at, s->certificate.len },
        s->leaf_sha256);
}

/* Give a session to the cache; the caller sets its version, secret and ticket. */
static void keep_session(struct coili_connection *c,
                         struct coili_tls_session *s)
{
    const struct coili_agreed *a = c->agreed;
    s->suite = c->suite;
    if (a) {
        const unsigned char *text = (const unsigned char *)a->text;
        memcpy(s->leaf_sha256, a->leaf_sha256, sizeof s->leaf_sha256);
        s->certificate = (struct coili_tls_view){ text + a->leaf_at,
                                                  a->leaf_bytes };
        s->alpn = (struct coili_tls_view){ text, strlen(a->text) };
    }
    coili_tls_keep(&c->base, s);
    explicit_bzero(s, sizeof *s);
}

/* ---- 1.3: Finished ---------------------------------------------------- */

/* The rest of our flight; the keys of what follows; the end of the handshake. */
static int finish13(struct coili_connection *c, struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    int err = k->own_scheme ? coili_signature_put(c) : 0;
    if (err == 0)
        err = coili_finished_put(c);
    if (err == 0)
        err = coili_flight_send(c, out);
    if (err < 0)
        return err;
    coili_write_by(c, &k->client_traffic);
    if (c->base.sessions)
        err = coili_connection_keep_resumption(c);
    return err < 0 ? err : coili_connection_open(c);
}

/* Our flight, up to the signature, which is parked. */
static int answer13(struct coili_connection *c, struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    unsigned char hash[COILI_HASH_BYTES_MAX];
    int err = k->change_sent ? 0 : coili_change_send(c, out);
    if (err == 0 && k->is_asked)
        err = coili_certificates_put(c, k->own_scheme);
    if (err < 0)
        return err;
    if (!k->own_scheme)
        return finish13(c, out);
    coili_connection_hash(c, hash);
    if (!coili_signable_13(&k->own_signable, k->own_scheme, COILI_CLIENT,
                           coili_connection_digest(c), hash))
        return refuse(c, COILI_ALERT_INTERNAL_ERROR);
    return coili_park_signature(c, finish13);
}

int coili_client_finished(struct coili_connection *c, const unsigned char *m,
                          size_t len, struct coili_tls_out *out)
{
    struct coili_secret server_traffic;
    int err = coili_finished_take(c, m, len);
    if (err < 0)
        return err;
    coili_keys13_traffic(c, &server_traffic);
    coili_read_by(c, &server_traffic);
    coili_secret_wipe(&server_traffic);
    err = c->shake->is_resumed ? take_session(c) : 0;
    return err < 0 ? err : answer13(c, out);
}

/* A ticket, in an open connection: no event for the reader. */
int coili_client_ticket(struct coili_connection *c, const unsigned char *m,
                        size_t len, struct coili_tls_out *out)
{
    struct coili_tls_ticket ticket;
    (void)out;
    int alert = coili_tls_read_ticket(coili_body_of(m, len), COILI_TLS13,
                                      &ticket);
    if (alert)
        return refuse(c, alert);
    if (!c->resumption)
        return COILI_TLS_QUIET;
    enum coili_digest digest = coili_connection_digest(c);
    struct coili_secret psk;
    struct coili_tls_session session = {
        .version = COILI_TLS13,
        .lifetime = ticket.lifetime,
        .age_add = ticket.age_add,
        .secret_len = (uint8_t)coili_digest_bytes(digest),
        .ticket = { ticket.ticket.at, ticket.ticket.len },
    };
    coili_secret_psk(c->resumption, digest, ticket.nonce.at, ticket.nonce.len,
                     &psk);
    memcpy(session.secret, psk.bytes, session.secret_len);
    coili_secret_wipe(&psk);
    keep_session(c, &session);
    return COILI_TLS_QUIET;
}

/* ---- 1.2: ServerHello ------------------------------------------------- */

static void expect_end12(struct coili_connection *c)
{
    c->state = c->shake->expects_ticket ? COILI_CLIENT12_WAITS_TICKET
                                        : COILI_CLIENT12_WAITS_CHANGE;
}

static int take_hello12(struct coili_connection *c, const unsigned char *m,
                        size_t len, const struct coili_tls_server_hello *hello)
{
    struct coili_shake *k = c->shake;
    coili_transcript_take(c, m, len);
    take_alpn(c, hello->alpn);
    k->has_ems = hello->has_ems;
    k->expects_ticket = hello->has_ticket;
    if (!hello->is_resumed) {
        c->state = COILI_CLIENT12_WAITS_CERTIFICATE;
        return COILI_TLS_QUIET;
    }
    memcpy(k->master, c->base.handshake->session->secret, sizeof k->master);
    k->is_resumed = true;
    coili_keys12_derive(c);
    coili_connection_verified(c); /* Finished will be made of the secret */
    expect_end12(c);
    return take_session(c);
}

/* ---- 1.2: the server's key exchange ----------------------------------- */

int coili_client12_certificate(struct coili_connection *c,
                               const unsigned char *m, size_t len,
                               struct coili_tls_out *out)
{
    return coili_client_certificate(c, m, len, out);
}

/* Work: the share of another group, if the hello's does not serve; combine. */
static void combine12(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    if (k->share.point_len == 0)
        make_share(c);
    k->shared_len = coili_share_combine(&k->share, k->peer_share.at,
                                        k->peer_share.len, k->shared);
}

static int take_shared12(struct coili_connection *c, struct coili_tls_out *out)
{
    (void)out;
    if (c->shake->shared_len == 0)
        return refuse(c, COILI_ALERT_ILLEGAL_PARAMETER);
    c->state = COILI_CLIENT12_WAITS_DONE;
    return COILI_TLS_QUIET;
}

/* The server is who it should be: only now its share is used. */
static int believe_exchange12(struct coili_connection *c,
                              struct coili_tls_out *out)
{
    (void)out;
    if (c->shake->result)
        return refuse(c, c->shake->result);
    coili_connection_verified(c);
    return coili_park(c, combine12, take_shared12);
}

int coili_client12_exchange(struct coili_connection *c, const unsigned char *m,
                            size_t len, struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    struct coili_tls_server_key_exchange x;
    (void)out;
    int alert = coili_tls_read_server_key_exchange(coili_body_of(m, len), &x);
    if (alert)
        return refuse(c, alert);
    if (!coili_signable_exchange12(&k->signable, x.signature.scheme,
                                   k->client_random, k->server_random,
                                   x.is_signed.at, x.is_signed.len))
        return refuse(c, COILI_ALERT_ILLEGAL_PARAMETER);
    coili_transcript_take(c, m, len);
    k->signature = x.signature;
    k->peer_share = x.share;
    if (k->share.group != x.group) {
        int err = coil_entropy(k->seed, sizeof k->seed);
        if (err < 0)
            return err;
        coili_share_wipe(&k->share);
        k->share.group = (uint16_t)x.group;
        k->share.point_len = 0;
    }
    return coili_park(c, coili_peer_signature_verify, believe_exchange12);
}

int coili_client12_request(struct coili_connection *c, const unsigned char *m,
                           size_t len, struct coili_tls_out *out)
{
    const struct coili_identity *identity = c->base.setup->identity;
    struct coili_tls_certificate_request request;
    (void)out;
    int alert = coili_tls_read_certificate_request(coili_body_of(m, len),
                                                   COILI_TLS12, &request);
    if (alert)
        return refuse(c, alert);
    coili_transcript_take(c, m, len);
    c->shake->is_asked = true;
    unsigned char type = identity && identity->key.type == COILI_KEY_RSA ? 1
                                                                         : 64;
    if (memchr(request.types.at, type, request.types.len))
        c->shake->own_scheme = choose_scheme(c, COILI_SIGNED_MESSAGES12,
                                             request.schemes);
    c->state = COILI_CLIENT12_WAITS_ONLY_DONE;
    return COILI_TLS_QUIET;
}

/* ---- 1.2: our flight -------------------------------------------------- */

static int send_finished12(struct coili_connection *c,
                           struct coili_tls_out *out)
{
    int err = coili_change_send(c, out);
    if (err < 0)
        return err;
    c->out = c->shake->next_out;
    err = coili_finished_put(c);
    return err < 0 ? err : coili_flight_send(c, out);
}

static int finish_flight12(struct coili_connection *c,
                           struct coili_tls_out *out)
{
    int err = c->shake->own_scheme ? coili_signature_put(c) : 0;
    if (err == 0)
        err = coili_flight_send(c, out);
    if (err == 0)
        err = send_finished12(c, out);
    if (err < 0)
        return err;
    expect_end12(c);
    return COILI_TLS_QUIET;
}

static int write_key_exchange12(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    struct coili_writer w;
    if (coili_message_begin(c, SHORT_BYTES, &w) < 0)
        return -ENOMEM;
    coili_tls_write_client_key_exchange(
        &w, (struct coili_bytes){ k->share.point, k->share.point_len });
    return coili_message_end(c, &w);
}

int coili_client12_done(struct coili_connection *c, const unsigned char *m,
                        size_t len, struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    int alert = coili_tls_read_nothing(coili_body_of(m, len));
    if (alert)
        return refuse(c, alert);
    coili_transcript_take(c, m, len);
    int err = k->is_asked ? coili_certificates_put(c, k->own_scheme) : 0;
    if (err == 0)
        err = write_key_exchange12(c);
    if (err < 0)
        return err;
    coili_keys12_master(c);
    coili_keys12_derive(c);
    if (!k->own_scheme)
        return finish_flight12(c, out);
    if (!coili_signable_messages12(&k->own_signable, k->own_scheme,
                                   &k->transcript))
        return refuse(c, COILI_ALERT_INTERNAL_ERROR);
    return coili_park_signature(c, finish_flight12);
}

/* ---- 1.2: the end ----------------------------------------------------- */

int coili_client12_ticket(struct coili_connection *c, const unsigned char *m,
                          size_t len, struct coili_tls_out *out)
{
    struct coili_tls_ticket ticket;
    (void)out;
    int alert = coili_tls_read_ticket(coili_body_of(m, len), COILI_TLS12,
                                      &ticket);
    if (alert)
        return refuse(c, alert);
    coili_transcript_take(c, m, len);
    c->state = COILI_CLIENT12_WAITS_CHANGE;
    if (!c->base.sessions || !c->shake->has_ems || ticket.ticket.len == 0)
        return COILI_TLS_QUIET;
    unsigned char *to = coili_tls_out_append(&c->shake->ticket,
                                             ticket.ticket.len);
    if (!to)
        return -ENOMEM;
    memcpy(to, ticket.ticket.at, ticket.ticket.len);
    c->shake->ticket_lifetime = ticket.lifetime;
    return COILI_TLS_QUIET;
}

/* The ticket that came is good only now: Finished covers it. */
static void keep_ticket12(struct coili_connection *c)
{
    const struct coili_shake *k = c->shake;
    struct coili_tls_session session = {
        .version = COILI_TLS12,
        .lifetime = k->ticket_lifetime,
        .secret_len = COILI_MASTER_BYTES,
        .ticket = { k->ticket.data, k->ticket.len },
    };
    memcpy(session.secret, k->master, sizeof session.secret);
    keep_session(c, &session);
}

int coili_client12_finished(struct coili_connection *c, const unsigned char *m,
                            size_t len, struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    int err = coili_finished_take(c, m, len);
    if (err == 0 && k->is_resumed)
        err = send_finished12(c, out);
    if (err < 0)
        return err;
    if (k->ticket.len > 0)
        keep_ticket12(c);
    return coili_connection_open(c);
}
