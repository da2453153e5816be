// SPDX-License-Identifier: MIT
/*
 * server12.c: the handshake of a TLS 1.2 server, behind ClientHello.
 *
 *     client                                server
 *     ClientHello              -->
 *                              <--  ServerHello Certificate ServerKeyExchange
 *                                   [CertificateRequest] ServerHelloDone
 *     [Certificate] ClientKeyExchange
 *     [CertificateVerify] ChangeCipherSpec
 *     Finished                 -->
 *                              <--  [NewSessionTicket] ChangeCipherSpec Finished
 *
 * and with a ticket of ours (RFC 5077):
 *
 *     ClientHello              -->
 *                              <--  ServerHello [NewSessionTicket]
 *                                   ChangeCipherSpec Finished
 *     ChangeCipherSpec Finished -->
 *
 * Suites are ECDHE with AEAD alone. The extended master secret (RFC 7627) is used
 * with each client that has it; one without gets no ticket. A resumed session
 * keeps its master secret, and a new ticket for it says when it began.
 *
 * In a full handshake the session id of ServerHello is empty: an echo, as in 1.3,
 * would say that a session is resumed. A server that has 1.3 says so in its
 * random: a client that has it too then knows that its hello was changed.
 */
#include "server.h"

#include <string.h>

#include <coil/entropy.h>

/* Messages of ours that say little have no more bytes than this. */
#define SMALL_ROOM 320

/* The last bytes of the random of a server that could do more (4.1.3). */
static const unsigned char downgrade[8] = "DOWNGRD\x01";

/* ---- Messages --------------------------------------------------------- */

static int put_hello(struct coili_connection *c, bool has_point_formats,
                     bool has_renegotiation_info)
{
    struct coili_shake *k = c->shake;
    struct coili_writer w;
    struct coili_tls_server_hello hello = {
        .version = COILI_TLS12,
        .random = k->server_random,
        .suite = c->suite,
        .has_ems = k->has_ems,
        .has_ticket = k->gives_ticket,
        .has_renegotiation_info = has_renegotiation_info,
        .has_point_formats = has_point_formats,
        .alpn = coili_server_alpn(c),
    };
    if (k->is_resumed)
        hello.session_id = k->hello_id;
    else
        hello.has_name = c->base.setup->choose && *c->base.handshake->asked;
    int err = coili_message_begin(c, 2 * SMALL_ROOM, &w);
    if (err < 0)
        return err;
    coili_tls_write_server_hello(&w, &hello);
    return coili_message_end(c, &w);
}

static int put_exchange(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    struct coili_writer w;
    struct coili_tls_server_key_exchange exchange = {
        .group = k->share.group,
        .share = { k->share.point, k->share.point_len },
        .signature = { .scheme = k->own_scheme,
                       .bytes = { k->own_signature, k->own_signature_len } },
    };
    int err = coili_message_begin(c, SMALL_ROOM + k->own_signature_len, &w);
    if (err < 0)
        return err;
    coili_tls_write_server_key_exchange(&w, &exchange);
    return coili_message_end(c, &w);
}

static int put_request(struct coili_connection *c)
{
    static const unsigned char types[] = { 1, 64 }; /* RSA, ECDSA */
    struct coili_writer w;
    struct coili_tls_certificate_request request = {
        .schemes = coili_server_schemes(c),
        .types = { types, sizeof types },
    };
    int err = coili_message_begin(c, SMALL_ROOM, &w);
    if (err < 0)
        return err;
    coili_tls_write_certificate_request(&w, COILI_TLS12, &request);
    return coili_message_end(c, &w);
}

static int put_done(struct coili_connection *c)
{
    struct coili_writer w;
    int err = coili_message_begin(c, SMALL_ROOM, &w);
    if (err < 0)
        return err;
    coili_tls_write_server_hello_done(&w);
    return coili_message_end(c, &w);
}

/* One without a ticket says that there is none after all. */
static int put_ticket(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    unsigned char sealed[COILI_SERVER_TICKET_BYTES_MAX];
    struct coili_tls_ticket ticket = { .ticket = { sealed, 0 } };
    struct coili_tls_session session;
    struct coili_writer w;
    coili_server_session_of(c, &session);
    session.secret_len = sizeof k->master;
    memcpy(session.secret, k->master, sizeof k->master);
    size_t len = coili_tls_ticket_bytes(&session);
    if (len <= sizeof sealed &&
        coili_tls_ticket_seal(&c->base, &session, c->base.handshake->asked,
                              NULL, sealed, &ticket.lifetime) == 0)
        ticket.ticket.len = len;
    explicit_bzero(&session, sizeof session);
    int err = coili_message_begin(c, 16 + ticket.ticket.len, &w);
    if (err < 0)
        return err;
    coili_tls_write_ticket(&w, COILI_TLS12, &ticket);
    return coili_message_end(c, &w);
}

/* ---- Keys and Finished ------------------------------------------------ */

/* The end of our side: [ticket] ChangeCipherSpec Finished. */
static int send_finished(struct coili_connection *c, struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    int err = k->gives_ticket ? put_ticket(c) : 0;
    if (err == 0)
        err = coili_flight_send(c, out);
    if (err == 0)
        err = coili_change_send(c, out);
    if (err < 0)
        return err;
    c->out = k->next_out;
    err = coili_finished_put(c);
    return err < 0 ? err : coili_flight_send(c, out);
}

int coili_server12_finished(struct coili_connection *c, const unsigned char *m,
                            size_t len, struct coili_tls_out *out)
{
    int err = coili_finished_take(c, m, len);
    if (err == 0 && !c->shake->is_resumed)
        err = send_finished(c, out);
    return err < 0 ? err : coili_connection_open(c);
}

/* ---- ClientKeyExchange ------------------------------------------------ */

static void combine(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    k->shared_len = coili_share_combine(&k->share, k->peer_share.at,
                                        k->peer_share.len, k->shared);
}

static int combined(struct coili_connection *c, struct coili_tls_out *out)
{
    (void)out;
    struct coili_shake *k = c->shake;
    if (k->shared_len == 0)
        return coili_connection_fail(c, COILI_ALERT_ILLEGAL_PARAMETER);
    coili_keys12_master(c);
    coili_keys12_derive(c);
    c->state = COILI_SERVER12_WAITS_SIGNATURE;
    if (!k->has_certificate) {
        coili_transcript_choose(&k->transcript, coili_connection_digest(c));
        c->state = COILI_SERVER12_WAITS_CHANGE;
    }
    return COILI_TLS_QUIET;
}

int coili_server12_exchange(struct coili_connection *c, const unsigned char *m,
                            size_t len, struct coili_tls_out *out)
{
    (void)out;
    struct coili_shake *k = c->shake;
    int alert = coili_tls_read_client_key_exchange(
        coili_body_of(m, len), k->share.group, &k->peer_share);
    if (alert)
        return coili_connection_fail(c, alert);
    coili_transcript_take(c, m, len);
    return coili_park(c, combine, combined);
}

/* ---- A full handshake ------------------------------------------------- */

/* Make our share, and sign it. */
static void sign_share(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    unsigned char signed_share[4 + COILI_SHARE_POINT_BYTES_MAX];
    struct coili_writer w = { .at = signed_share, .size = sizeof signed_share };
    coili_share_make(&k->share, k->group, k->seed);
    explicit_bzero(k->seed, sizeof k->seed);
    coili_tls_write_signed_share(
        &w, k->group,
        (struct coili_bytes){ k->share.point, k->share.point_len });
    k->own_signature_len = 0;
    if (coili_signable_exchange12(&k->own_signable, k->own_scheme,
                                  k->client_random, k->server_random,
                                  signed_share, w.len))
        coili_own_signature_make(c);
}

static int share_is_signed(struct coili_connection *c,
                           struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    const struct coili_tls_setup *setup = c->base.setup;
    if (k->own_signature_len == 0)
        return coili_connection_fail(c, COILI_ALERT_INTERNAL_ERROR);
    int err = coili_certificates_put(c, true);
    if (err == 0)
        err = put_exchange(c);
    k->is_asked = setup->ask != COIL_TLS_ASK_NOT;
    if (err == 0 && k->is_asked)
        err = put_request(c);
    if (err == 0)
        err = put_done(c);
    if (err == 0)
        err = coili_flight_send(c, out);
    if (err < 0)
        return err;
    if (k->is_asked) {
        c->state = COILI_SERVER12_WAITS_CERTIFICATE;
    } else {
        coili_connection_verified(c);
        c->state = COILI_SERVER12_WAITS_EXCHANGE;
    }
    return COILI_TLS_QUIET;
}

/* RFC 8422, 4 and 5.1: a client that names no groups knows P-256. */
static unsigned choose_group(const struct coili_tls_client_hello *hello)
{
    if (hello->groups.len == 0)
        return COILI_GROUP_P256;
    for (int i = 0; i < COILI_SERVER_GROUPS; i++)
        if (coili_list_has(hello->groups, coili_server_groups[i]))
            return coili_server_groups[i];
    return 0;
}

/* The groups say, too, which curve the key of our certificate may be of. */
static bool knows_curve(const struct coili_tls_client_hello *hello,
                        enum coili_key_type type)
{
    unsigned group = type == COILI_KEY_P384 ? COILI_GROUP_P384
                                            : COILI_GROUP_P256;
    return type == COILI_KEY_RSA || hello->groups.len == 0 ||
           coili_list_has(hello->groups, group);
}

static int begin_full(struct coili_connection *c,
                      const struct coili_tls_client_hello *hello)
{
    struct coili_shake *k = c->shake;
    enum coili_key_type type = c->base.setup->identity->key.type;
    unsigned suite = coili_server_suite(
        hello->suites,
        type == COILI_KEY_RSA ? &coili_suites12_rsa : &coili_suites12_ecdsa);
    k->group = (uint16_t)choose_group(hello);
    k->own_scheme = coili_scheme_choose(COILI_SIGNED_EXCHANGE12, type,
                                        hello->schemes.at, hello->schemes.len);
    if (suite == 0 || k->group == 0 || k->own_scheme == 0 ||
        !knows_curve(hello, type))
        return coili_connection_fail(c, COILI_ALERT_HANDSHAKE_FAILURE);
    c->suite = (uint16_t)suite;
    return 0;
}

/* ---- Resumption ------------------------------------------------------- */

/* What is left of it is answered with a full handshake. */
static int take_session(struct coili_connection *c,
                        const struct coili_tls_client_hello *hello)
{
    struct coili_shake *k = c->shake;
    struct coili_tls_session session = { 0 };
    unsigned char room[COILI_SERVER_TICKET_BYTES_MAX];
    int err = 0;
    if (coili_server_session(c, hello->ticket, room, &session) &&
        session.secret_len == sizeof k->master &&
        coili_list_has(hello->suites, session.suite)) {
        if (!hello->has_ems) /* RFC 7627, 5.3 */
            err = coili_connection_fail(c, COILI_ALERT_HANDSHAKE_FAILURE);
        else
            err = coili_server_resume(c, &session);
        c->suite = session.suite;
        memcpy(k->master, session.secret, sizeof k->master);
    }
    explicit_bzero(&session, sizeof session);
    explicit_bzero(room, sizeof room);
    return err;
}

/* ---- Answering a hello ------------------------------------------------ */

int coili_server12_answer(struct coili_connection *c,
                          const struct coili_tls_client_hello *hello,
                          const unsigned char *m, size_t len,
                          struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    if (c->base.setup->version_max > COILI_TLS12)
        memcpy(k->server_random + sizeof k->server_random - sizeof downgrade,
               downgrade, sizeof downgrade);
    k->has_ems = hello->has_ems;
    k->gives_ticket = hello->has_ticket && hello->has_ems &&
                      coili_tls_gives_tickets(&c->base);
    int err = take_session(c, hello);
    if (err == 0 && !k->is_resumed)
        err = begin_full(c, hello);
    if (err < 0)
        return err;

    /* Both hashes go on if a client may sign: by which one it chooses. */
    if (k->is_resumed || c->base.setup->ask == COIL_TLS_ASK_NOT)
        coili_transcript_choose(&k->transcript, coili_connection_digest(c));
    coili_transcript_take(c, m, len);
    err = put_hello(c, hello->has_point_formats, hello->has_renegotiation_info);
    if (err < 0)
        return err;
    if (k->is_resumed) {
        coili_keys12_derive(c);
        coili_connection_verified(c);
        c->state = COILI_SERVER12_WAITS_CHANGE;
        err = send_finished(c, out);
        return err < 0 ? err : COILI_TLS_QUIET;
    }
    err = coil_entropy(k->seed, sizeof k->seed);
    if (err == 0)
        err = coil_entropy(k->salt, sizeof k->salt);
    return err < 0 ? err : coili_park(c, sign_share, share_is_signed);
}
