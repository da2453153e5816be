// SPDX-License-Identifier: MIT
/*
 * server.c: a ClientHello, and what a server chooses of what it offers.
 *
 * The server chooses by its own order, in both versions: the suite, the group,
 * the scheme of its signature, the protocol. One exception: a client that puts
 * ChaCha20 before AES has no instructions for AES, so it gets ChaCha20.
 *
 * The order of a handshake. What is not in this table is unexpected_message; a
 * step in brackets is parked as costly.
 *
 *     state              message             goes on with
 *     WAITS_HELLO        ClientHello         [key exchange] [signature]
 *       1.3: answers HelloRetryRequest       WAITS_HELLO_AGAIN
 *       1.3: with all up to Finished         WAITS_CERTIFICATE if it has asked,
 *                                            else WAITS_FINISHED
 *       1.2: with all up to ServerHelloDone  12_WAITS_CERTIFICATE if it has
 *                                            asked, else 12_WAITS_EXCHANGE
 *       1.2: by a ticket, up to Finished     12_WAITS_CHANGE
 *     WAITS_HELLO_AGAIN  ClientHello         the same, without another retry
 *     WAITS_CERTIFICATE  Certificate         [chain] WAITS_SIGNATURE; an empty
 *                                            one: WAITS_FINISHED
 *     WAITS_SIGNATURE    CertificateVerify   [signature] WAITS_FINISHED
 *     WAITS_FINISHED     Finished            OPEN
 *     12_WAITS_CERTIFICATE  Certificate      [chain] 12_WAITS_EXCHANGE
 *     12_WAITS_EXCHANGE  ClientKeyExchange   [key exchange] 12_WAITS_SIGNATURE if
 *                                            there was a certificate, else
 *                                            12_WAITS_CHANGE
 *     12_WAITS_SIGNATURE CertificateVerify   [signature] 12_WAITS_CHANGE
 *     12_WAITS_CHANGE    ChangeCipherSpec    12_WAITS_FINISHED
 *     12_WAITS_FINISHED  Finished            answers its own, unless it has been
 *                                            sent; OPEN
 *
 * Behind ClientHello and Finished nothing may stand in the same record, in
 * either version: the client has to wait for an answer, or its keys change.
 */
#include "server.h"

#include <string.h>

#include <coil/entropy.h>
#include <coil/loop.h>

/* ---- The suite, the group, the protocol ------------------------------- */

const struct coili_suites coili_suites13 = {
    COILI_SUITE_AES_128_GCM,
    COILI_SUITE_AES_256_GCM,
    COILI_SUITE_CHACHA20,
};

const struct coili_suites coili_suites12_ecdsa = {
    COILI_SUITE_ECDSA_AES_128_GCM,
    COILI_SUITE_ECDSA_AES_256_GCM,
    COILI_SUITE_ECDSA_CHACHA20,
};

const struct coili_suites coili_suites12_rsa = {
    COILI_SUITE_RSA_AES_128_GCM,
    COILI_SUITE_RSA_AES_256_GCM,
    COILI_SUITE_RSA_CHACHA20,
};

static bool puts_chacha20_first(struct coili_bytes list,
                                const struct coili_suites *of)
{
    unsigned suite;
    while (coili_take_u16(&list, &suite)) {
        if (suite == of->chacha20)
            return true;
        if (suite == of->aes_128 || suite == of->aes_256)
            return false;
    }
    return false;
}

unsigned coili_server_suite(struct coili_bytes list,
                            const struct coili_suites *of)
{
    if ((!coili_cipher_aes_is_fast() || puts_chacha20_first(list, of)) &&
        coili_list_has(list, of->chacha20))
        return of->chacha20;
    if (coili_list_has(list, of->aes_128))
        return of->aes_128;
    if (coili_list_has(list, of->aes_256))
        return of->aes_256;
    return coili_list_has(list, of->chacha20) ? of->chacha20 : 0;
}

const uint16_t coili_server_groups[COILI_SERVER_GROUPS] = {
    COILI_GROUP_X25519,
    COILI_GROUP_P256,
    COILI_GROUP_P384,
};

/* Result: false: the client offers protocols, and none of them is ours. */
static bool choose_alpn(struct coili_connection *c,
                        const struct coili_tls_client_hello *hello)
{
    const struct coili_tls_setup *setup = c->base.setup;
    struct coili_bytes ours = { setup->alpn, setup->alpn_bytes }, name;
    if (ours.len == 0 || hello->alpn.len == 0)
        return true;
    while (coili_take_vector8(&ours, &name))
        if (coili_tls_alpn_has(hello->alpn, name)) {
            c->shake->alpn = name.at - 1;
            return true;
        }
    return false;
}

struct coili_bytes coili_server_alpn(const struct coili_connection *c)
{
    const unsigned char *alpn = c->shake->alpn;
    return alpn ? (struct coili_bytes){ alpn + 1, alpn[0] }
                : (struct coili_bytes){ NULL, 0 };
}

/* ---- The setup for a name --------------------------------------------- */

static void keep_name(struct coili_connection *c, struct coili_bytes name)
{
    char *asked = c->base.handshake->asked;
    if (name.len > 0)
        memcpy(asked, name.at, name.len);
    asked[name.len] = '\0';
}

/*
 * Have the chooser look for the setup of the name that the client asks for. The
 * hello is read for this name alone: which versions count, and whether the
 * client falls back from one, only the chosen setup tells.
 */
static int choose_setup(struct coili_connection *c, struct coili_bytes body)
{
    struct coili_tls_client_hello hello;
    int alert = coili_tls_read_client_hello(body, COILI_TLS12, COILI_TLS13,
                                            &hello);
    if (alert == COILI_ALERT_INAPPROPRIATE_FALLBACK)
        alert = coili_tls_read_client_hello(body, COILI_TLS12, COILI_TLS12,
                                            &hello);
    if (alert)
        return coili_connection_fail_because(c, alert, hello.why);
    keep_name(c, hello.name);
    if (!coili_tls_choose(&c->base))
        return coili_connection_fail(c, COILI_ALERT_UNRECOGNIZED_NAME);
    return 0;
}

/* ---- Sessions --------------------------------------------------------- */

/*
 * Open a ticket, and see whether its session is one of this version and
 * protocol. A larger ticket is none of ours.
 */
bool coili_server_session(struct coili_connection *c, struct coili_bytes ticket,
                          unsigned char room[COILI_SERVER_TICKET_BYTES_MAX],
                          struct coili_tls_session *session)
{
    struct coili_bytes alpn = coili_server_alpn(c);
    if (ticket.len == 0 || ticket.len > COILI_SERVER_TICKET_BYTES_MAX ||
        !coili_tls_gives_tickets(&c->base) ||
        !coili_tls_ticket_open(&c->base, ticket.at, ticket.len,
                               c->base.handshake->asked, room, session))
        return false;
    return session->version == c->version &&
           coili_bytes_are(alpn, session->alpn.at, session->alpn.len);
}

int coili_server_resume(struct coili_connection *c,
                        const struct coili_tls_session *session)
{
    struct coili_der leaf = { session->certificate.at,
                              session->certificate.len };
    coili_tls_resumed(&c->base, session);
    c->shake->is_resumed = true;
    return leaf.len == 0
               ? 0
               : coili_connection_keep_leaf(c, leaf, session->leaf_sha256);
}

void coili_server_session_of(const struct coili_connection *c,
                             struct coili_tls_session *session)
{
    const struct coili_agreed *a = c->agreed;
    *session = (struct coili_tls_session){ .version = c->version,
                                           .suite = c->suite };
    if (c->shake) {
        struct coili_bytes alpn = coili_server_alpn(c);
        session->alpn = (struct coili_tls_view){ alpn.at, alpn.len };
    } else if (a) {
        session->alpn = (struct coili_tls_view){ (const unsigned char *)a->text,
                                                 a->name_at - 1u };
    }
    if (a && a->leaf_bytes > 0) {
        session->certificate = (struct coili_tls_view){
            (const unsigned char *)a->text + a->leaf_at, a->leaf_bytes
        };
        memcpy(session->leaf_sha256, a->leaf_sha256, sizeof a->leaf_sha256);
    }
}

/* ---- ClientHello ------------------------------------------------------ */

int coili_server_start(struct coili_connection *c)
{
    c->state = COILI_SERVER_WAITS_HELLO;
    return 0;
}

int coili_server_hello(struct coili_connection *c, const unsigned char *m,
                       size_t len, struct coili_tls_out *out)
{
    struct coili_shake *k = c->shake;
    struct coili_bytes body = coili_body_of(m, len);
    struct coili_tls_client_hello hello;
    bool is_first = c->state == COILI_SERVER_WAITS_HELLO;
    if (is_first && c->base.setup->choose) {
        int err = choose_setup(c, body);
        if (err < 0)
            return err;
    }
    int alert = coili_tls_read_client_hello(body, c->base.setup->version_min,
                                            c->base.setup->version_max, &hello);
    if (alert == 0 && !is_first)
        alert = coili_tls_compare_client_hellos(
            (struct coili_bytes){ k->first_hello, k->first_hello_len }, body,
            k->group, &hello.why);
    if (alert)
        return coili_connection_fail_because(c, alert, hello.why);

    keep_name(c, hello.name);
    if (!choose_alpn(c, &hello))
        return coili_connection_fail(c, COILI_ALERT_NO_APPLICATION_PROTOCOL);
    c->version = (uint16_t)hello.version;
    k->hello_id = hello.session_id;
    memcpy(k->client_random, hello.random, sizeof k->client_random);
    int err = coil_entropy(k->server_random, sizeof k->server_random);
    if (err < 0)
        return err;
    return c->version == COILI_TLS13
               ? coili_server13_answer(c, &hello, m, len, out)
               : coili_server12_answer(c, &hello, m, len, out);
}

/* ---- Our certificate -------------------------------------------------- */

/* ---- The client's certificate, in both versions ----------------------- */

/* The schemes of a CertificateRequest. */
struct coili_bytes coili_server_schemes(const struct coili_connection *c)
{
    static const unsigned char schemes12[] = { 4, 3, 5, 3, 8, 4,
                                               8, 5, 4, 1, 5, 1 };
    return c->version == COILI_TLS13
               ? coili_tls_schemes13
               : (struct coili_bytes){ schemes12, sizeof schemes12 };
}

static int go_on_with_signature(struct coili_connection *c)
{
    c->state = c->version == COILI_TLS13 ? COILI_SERVER_WAITS_SIGNATURE
                                         : COILI_SERVER12_WAITS_EXCHANGE;
    return COILI_TLS_QUIET;
}

static int judged(struct coili_connection *c, struct coili_tls_out *out)
{
    (void)out;
    struct coili_shake *k = c->shake;
    if (k->result < 0)
        return coili_connection_fail_chain(c, k->result, k->verdict.fault);
    k->has_certificate = true;
    int err = coili_connection_keep_leaf(c, k->verdict.leaf,
                                         k->verdict.leaf_sha256);
    return err < 0 ? err : go_on_with_signature(c);
}

/* A client without a certificate: may it come in? */
static int go_without(struct coili_connection *c)
{
    if (c->base.setup->ask == COIL_TLS_ASK_ALWAYS)
        return coili_connection_fail(c, c->version == COILI_TLS13
                                            ? COILI_ALERT_CERTIFICATE_REQUIRED
                                            : COILI_ALERT_HANDSHAKE_FAILURE);
    coili_connection_verified(c);
    c->state = c->version == COILI_TLS13 ? COILI_SERVER_WAITS_FINISHED
                                         : COILI_SERVER12_WAITS_EXCHANGE;
    return COILI_TLS_QUIET;
}

int coili_server_certificate(struct coili_connection *c, const unsigned char *m,
                             size_t len, struct coili_tls_out *out)
{
    (void)out;
    struct coili_shake *k = c->shake;
    int alert = coili_tls_read_certificates(coili_body_of(m, len), c->version,
                                            true, &k->certificates);
    if (alert)
        return coili_connection_fail(c, alert);
    coili_transcript_take(c, m, len);
    return k->certificates.n == 0 ? go_without(c)
                                  : coili_park(c, coili_chain_judge, judged);
}

static int verified(struct coili_connection *c, struct coili_tls_out *out)
{
    (void)out;
    if (c->shake->result)
        return coili_connection_fail(c, c->shake->result);
    coili_connection_verified(c);
    c->state = c->version == COILI_TLS13 ? COILI_SERVER_WAITS_FINISHED
                                         : COILI_SERVER12_WAITS_CHANGE;
    return COILI_TLS_QUIET;
}

/* The signature covers the messages before it: so it is added after them. */
int coili_server_signature(struct coili_connection *c, const unsigned char *m,
                           size_t len, struct coili_tls_out *out)
{
    (void)out;
    struct coili_shake *k = c->shake;
    unsigned char hash[COILI_HASH_BYTES_MAX];
    int alert = coili_tls_read_certificate_verify(
        coili_body_of(m, len), coili_server_schemes(c), &k->signature);
    if (alert)
        return coili_connection_fail(c, alert);
    bool is_known;
    if (c->version == COILI_TLS13) {
        coili_connection_hash(c, hash);
        is_known = coili_signable_13(&k->signable, k->signature.scheme,
                                     COILI_CLIENT, coili_connection_digest(c),
                                     hash);
    } else {
        is_known = coili_signable_messages12(&k->signable, k->signature.scheme,
                                             &k->transcript);
        coili_transcript_choose(&k->transcript, coili_connection_digest(c));
    }
    if (!is_known)
        return coili_connection_fail(c, COILI_ALERT_ILLEGAL_PARAMETER);
    coili_transcript_take(c, m, len);
    return coili_park(c, coili_peer_signature_verify, verified);
}
