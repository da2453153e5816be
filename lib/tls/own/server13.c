// SPDX-License-Identifier: MIT
/*
 * server13.c: the handshake of a TLS 1.3 server, behind ClientHello.
 *
 *     client                                server
 *     ClientHello              -->
 *                              <--  HelloRetryRequest ChangeCipherSpec
 *     ClientHello              -->          if no share is of a group of ours
 *                              <--  ServerHello ChangeCipherSpec
 *                                   EncryptedExtensions [CertificateRequest]
 *                                   Certificate CertificateVerify Finished
 *     [Certificate [CertificateVerify]]
 *     Finished                 -->
 *                              <--  NewSessionTicket, with the first data
 *
 * A session goes on by its PSK with a new key exchange, never without; then
 * there are no certificates. Early data are never granted: a client that sends
 * some has its records passed over, up to a bound (RFC 8446, 4.2.10).
 *
 * There are two costly steps, the key exchange and the signature. What is sent
 * between them needs the keys of the first.
 */
#include "server.h"

#include <errno.h>
#include <string.h>

#include <coil/entropy.h>
#include <coil/loop.h>

/* What a client may send as early data, with heads and tags. */
#define EARLY_BYTES_MAX 32768

/* NewSessionTicket but for the ticket in it. */
#define TICKET_MESSAGE_BYTES (4 + 4 + 4 + 2 + 2 + 2)

/* Of pre_shared_key, those that are looked at. */
#define TICKETS_MAX 8

/* ---- Resumption ------------------------------------------------------- */

/*
 * True if the client knows the PSK: its binder is that of the hello, up to the
 * binders. The schedule is then that of this PSK.
 */
static bool is_bound(struct coili_connection *c,
                     const struct coili_tls_client_hello *hello,
                     const unsigned char *m, const struct coili_tls_psk *psk,
                     const struct coili_tls_session *session)
{
    struct coili_shake *k = c->shake;
    enum coili_digest digest = coili_connection_digest(c);
    unsigned char hash[COILI_HASH_BYTES_MAX], binder[COILI_HASH_BYTES_MAX];
    coili_schedule_early(&k->schedule, digest, session->secret,
                         session->secret_len);
    coili_transcript_hash_with(&k->transcript, digest, m,
                               COILI_TLS_MESSAGE_HEAD_BYTES + hello->binders_at,
                               hash);
    coili_schedule_binder(&k->schedule, hash, binder);
    return psk->binder.len == coili_digest_bytes(digest) &&
           coili_digest_equal(binder, psk->binder.at, psk->binder.len);
}

/*
 * Take the first PSK that is a session of ours, of a suite with the hash of the
 * present one. A wrong binder ends the connection; a ticket that cannot be
 * opened is passed over.
 *
 * Result    0, also if there is none; an error
 */
static int take_session(struct coili_connection *c,
                        const struct coili_tls_client_hello *hello,
                        const unsigned char *m)
{
    struct coili_bytes psks = hello->psks, binders = hello->binders;
    struct coili_tls_psk psk;
    struct coili_tls_session session;
    unsigned char room[COILI_SERVER_TICKET_BYTES_MAX];
    int err = 0;
    if (!hello->psk_with_dhe)
        return 0;
    for (unsigned i = 0; i < TICKETS_MAX && err == 0 && !c->shake->is_resumed &&
                         coili_tls_take_psk(&psks, &binders, &psk);
         i++) {
        memset(&session, 0, sizeof session);
        if (coili_server_session(c, psk.identity, room, &session) &&
            coili_suite_hash_bytes(session.suite) ==
                coili_suite_hash_bytes(c->suite)) {
            c->shake->psk = (uint16_t)i;
            err = is_bound(c, hello, m, &psk, &session)
                      ? coili_server_resume(c, &session)
                      : coili_connection_fail(c, COILI_ALERT_DECRYPT_ERROR);
        }
        explicit_bzero(&session, sizeof session);
    }
    explicit_bzero(room, sizeof room);
    return err;
}

/* ---- HelloRetryRequest ------------------------------------------------ */

/* Our first group with a share, else our first one; 0: none in common. */
static unsigned choose_group(const struct coili_tls_client_hello *hello,
                             struct coili_bytes *share)
{
    unsigned known = 0;
    *share = (struct coili_bytes){ NULL, 0 };
    for (int i = 0; i < COILI_SERVER_GROUPS; i++) {
        unsigned group = coili_server_groups[i];
        if (!coili_list_has(hello->groups, group))
            continue;
        if (coili_tls_find_share(hello, group, share))
            return group;
        if (known == 0)
            known = group;
    }
    return known;
}

/* Messages of ours that say little have no more bytes than this. */
#define SMALL_ROOM 320

/*
 * Ask for a share of `group`. The hello is kept: the next one must be the same
 * in all that has not been asked for.
 */
static int ask_again(struct coili_connection *c, unsigned group,
                     const unsigned char *m, size_t len,
                     struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    struct coili_bytes body = coili_body_of(m, len);
    k->first_hello = coil_alloc(body.len);
    if (!k->first_hello)
        return -ENOMEM;
    memcpy(k->first_hello, body.at, body.len);
    k->first_hello_len = body.len;
    k->group = (uint16_t)group;

    coili_transcript_take(c, m, len);
    coili_transcript_retry(&k->transcript);
    struct coili_writer w;
    struct coili_tls_server_hello retry = {
        .version = COILI_TLS13,
        .is_retry = true,
        .session_id = k->hello_id,
        .suite = c->suite,
        .group = group,
    };
    int err = coili_message_begin(c, SMALL_ROOM, &w);
    if (err < 0)
        return err;
    coili_tls_write_server_hello(&w, &retry);
    err = coili_message_end(c, &w);
    if (err == 0)
        err = coili_flight_send(c, out);
    if (err == 0 && k->hello_id.len > 0)
        err = coili_change_send(c, out);
    c->state = COILI_SERVER_WAITS_HELLO_AGAIN;
    return err < 0 ? err : COILI_TLS_QUIET;
}

/* ---- The server's flight ---------------------------------------------- */

static int send_server_hello(struct coili_connection *c,
                             struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    struct coili_writer w;
    struct coili_tls_server_hello hello = {
        .version = COILI_TLS13,
        .random = k->server_random,
        .session_id = k->hello_id,
        .suite = c->suite,
        .group = k->share.group,
        .share = { k->share.point, k->share.point_len },
        .psk_is_taken = k->is_resumed,
        .psk = k->psk,
    };
    int err = coili_message_begin(c, SMALL_ROOM, &w);
    if (err < 0)
        return err;
    coili_tls_write_server_hello(&w, &hello);
    err = coili_message_end(c, &w);
    if (err == 0)
        err = coili_flight_send(c, out);
    if (err == 0 && k->hello_id.len > 0 && !k->first_hello)
        err = coili_change_send(c, out);
    return err;
}

static int put_extensions(struct coili_connection *c)
{
    struct coili_writer w;
    struct coili_tls_encrypted_extensions extensions = {
        .alpn = coili_server_alpn(c),
        .has_name = c->base.setup->choose && *c->base.handshake->asked,
    };
    int err = coili_message_begin(c, SMALL_ROOM, &w);
    if (err < 0)
        return err;
    coili_tls_write_encrypted_extensions(&w, &extensions);
    return coili_message_end(c, &w);
}

static int put_request(struct coili_connection *c)
{
    struct coili_writer w;
    struct coili_tls_certificate_request request = {
        .schemes = coili_server_schemes(c),
        .schemes_cert = coili_tls_schemes_cert,
    };
    int err = coili_message_begin(c, SMALL_ROOM, &w);
    if (err < 0)
        return err;
    coili_tls_write_certificate_request(&w, COILI_TLS13, &request);
    return coili_message_end(c, &w);
}

/*
 * The end of the flight. From here on the server writes by its traffic secret;
 * it reads by that of the handshake until the client's Finished has come.
 */
static int finish_flight(struct coili_connection *c, struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    struct coili_secret traffic;
    int err = coili_finished_put(c);
    if (err == 0)
        err = coili_flight_send(c, out);
    if (err < 0)
        return err;
    coili_keys13_traffic(c, &traffic);
    coili_write_by(c, &traffic);
    coili_secret_wipe(&traffic);
    if (k->is_asked) {
        c->state = COILI_SERVER_WAITS_CERTIFICATE;
    } else {
        coili_connection_verified(c);
        c->state = COILI_SERVER_WAITS_FINISHED;
    }
    return COILI_TLS_QUIET;
}

static int is_signed(struct coili_connection *c, struct coili_tls_out *out)
{
    int err = coili_signature_put(c);
    return err < 0 ? err : finish_flight(c, out);
}

/* Certificate, and have it signed. */
static int show_certificate(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    unsigned char hash[COILI_HASH_BYTES_MAX];
    int err = coili_certificates_put(c, true);
    if (err < 0)
        return err;
    coili_connection_hash(c, hash);
    if (!coili_signable_13(&k->own_signable, k->own_scheme, COILI_SERVER,
                           coili_connection_digest(c), hash))
        return coili_connection_fail(c, COILI_ALERT_INTERNAL_ERROR);
    return coili_park_signature(c, is_signed);
}

static void exchange_keys(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    coili_share_make(&k->share, k->group, k->seed);
    explicit_bzero(k->seed, sizeof k->seed);
    k->shared_len = coili_share_combine(&k->share, k->peer_share.at,
                                        k->peer_share.len, k->shared);
}

static int keys_are_exchanged(struct coili_connection *c,
                              struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    if (k->shared_len == 0)
        return coili_connection_fail(c, COILI_ALERT_ILLEGAL_PARAMETER);
    int err = send_server_hello(c, out);
    if (err < 0)
        return err;
    coili_keys13_handshake(c);
    coili_read_by(c, &k->client);
    coili_write_by(c, &k->server);
    err = put_extensions(c);
    if (err < 0)
        return err;
    if (k->is_resumed)
        return finish_flight(c, out);
    k->is_asked = c->base.setup->ask != COIL_TLS_ASK_NOT;
    if (k->is_asked)
        err = put_request(c);
    return err < 0 ? err : show_certificate(c);
}

/* ---- Answering a hello ------------------------------------------------ */

int coili_server13_answer(struct coili_connection *c,
                          const struct coili_tls_client_hello *hello,
                          const unsigned char *m, size_t len,
                          struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    struct coili_bytes share;
    unsigned suite = coili_server_suite(hello->suites, &coili_suites13);
    unsigned group = choose_group(hello, &share);
    if (suite == 0 || group == 0)
        return coili_connection_fail(c, COILI_ALERT_HANDSHAKE_FAILURE);
    c->suite = (uint16_t)suite;
    coili_transcript_choose(&k->transcript, coili_connection_digest(c));
    k->early_bytes = hello->has_early_data ? EARLY_BYTES_MAX : 0;
    k->gives_ticket = hello->psk_with_dhe && coili_tls_gives_tickets(&c->base);
    if (share.len == 0)
        return ask_again(c, group, m, len, out);

    int err = take_session(c, hello, m);
    if (err < 0)
        return err;
    if (!k->is_resumed) {
        if (hello->schemes.len == 0)
            return coili_connection_fail(c, COILI_ALERT_MISSING_EXTENSION);
        k->own_scheme = coili_scheme_choose(
            COILI_SIGNED_13, c->base.setup->identity->key.type,
            hello->schemes.at, hello->schemes.len);
        if (k->own_scheme == 0)
            return coili_connection_fail(c, COILI_ALERT_HANDSHAKE_FAILURE);
    }
    coili_transcript_take(c, m, len);
    k->group = (uint16_t)group;
    k->peer_share = share;
    err = coil_entropy(k->seed, sizeof k->seed);
    return err < 0 ? err : coili_park(c, exchange_keys, keys_are_exchanged);
}

/* ---- The ticket ------------------------------------------------------- */

/*
 * It goes out with the first data, and not at once: a client that only writes,
 * and closes, would answer it with a reset, which destroys what it has written.
 * Its secret waits until then.
 */
size_t coili_server_write_ticket(struct coili_connection *c,
                                 unsigned char message[COILI_TICKET_ROOM])
{
    static const unsigned char nonce[1] = { 0 };
    enum coili_digest digest = coili_connection_digest(c);
    unsigned char sealed[COILI_SERVER_TICKET_BYTES_MAX], age_add[4];
    struct coili_writer w = { .at = message, .size = COILI_TICKET_ROOM };
    struct coili_tls_ticket ticket = { .nonce = { nonce, sizeof nonce } };
    struct coili_tls_session session;
    struct coili_secret psk;
    const char *name = c->agreed ? c->agreed->text + c->agreed->name_at : "";
    if (!c->resumption)
        return 0;
    coili_secret_psk(c->resumption, digest, nonce, sizeof nonce, &psk);
    coili_connection_drop_resumption(c);
    coili_server_session_of(c, &session);
    session.secret_len = (uint8_t)coili_digest_bytes(digest);
    memcpy(session.secret, psk.bytes, session.secret_len);
    size_t len = coili_tls_ticket_bytes(&session);
    bool ok = len <= sizeof sealed && coil_entropy(age_add, 4) == 0 &&
              coili_tls_ticket_seal(&c->base, &session, name, NULL, sealed,
                                    &ticket.lifetime) == 0;
    coili_secret_wipe(&psk);
    explicit_bzero(&session, sizeof session);
    if (!ok)
        return 0;
    memcpy(&ticket.age_add, age_add, sizeof age_add);
    ticket.ticket = (struct coili_bytes){ sealed, len };
    coili_tls_write_ticket(&w, COILI_TLS13, &ticket);
    return coili_writer_is_whole(&w) ? w.len : 0;
}

/*
 * Say how much more the first data will need. A large certificate of the client
 * makes a ticket that would not be sent: nothing is kept for it then.
 */
static void expect_ticket(struct coili_connection *c)
{
    struct coili_tls_session session;
    coili_server_session_of(c, &session);
    session.secret_len = (uint8_t)coili_digest_bytes(
        coili_connection_digest(c));
    size_t len = coili_tls_ticket_bytes(&session);
    if (len > COILI_SERVER_TICKET_BYTES_MAX) {
        coili_connection_drop_resumption(c);
        return;
    }
    c->base.extra = (uint16_t)(len + TICKET_MESSAGE_BYTES +
                               coili_record_overhead(&c->out));
}

/* ---- Finished --------------------------------------------------------- */

int coili_server_finished(struct coili_connection *c, const unsigned char *m,
                          size_t len, struct coili_tls_out *out)
{
    (void)out;
    struct coili_shake *k = c->shake;
    int err = coili_finished_take(c, m, len);
    if (err < 0)
        return err;
    coili_read_by(c, &k->client_traffic);
    if (k->gives_ticket) {
        err = coili_connection_keep_resumption(c);
        if (err < 0)
            return err;
        expect_ticket(c);
    }
    return coili_connection_open(c);
}
