// SPDX-License-Identifier: MIT
/*
 * engine.c: coil's own engine: TLS 1.3 (RFC 8446) and 1.2 (RFC 5246).
 *
 * A record goes down these steps, each of which may refuse it:
 *
 *     own_record      open it with the key of now
 *     take_record     by its type: ChangeCipherSpec, alert, handshake, data
 *     join            handshake bytes go behind those that wait
 *     take_messages   each complete message to its handler, by the table `rules`
 *     (a handler)     client.c, server.c; here: KeyUpdate, HelloRequest
 *
 * Order is checked in one place, the table: a message that has no row for the
 * state is refused at its head, before it is complete. That is what keeps steps
 * from being skipped: in other libraries a message that came early or was left
 * out has opened connections to peers that had proved nothing. The second guard
 * is coili_connection_open(), the one function that ends a handshake: it demands
 * that coili_connection_verified() was called, for a good signature, for an
 * accepted session, or by a server whose clients need no certificate.
 *
 * Where keys change nothing may stand behind the message in its record: those
 * bytes were protected by the old key, and would be read as if by the new one.
 *
 * A connection that is open has no buffer: plaintext stays in the record, and
 * `joined` is there only while a part of a message waits for its rest.
 */
#include "connection.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <coil/loop.h>

/* Bounds of handshake messages, by their type. */
#define CERTIFICATE_BYTES_MAX 65536
#define TICKET_BYTES_MAX 5120
#define MESSAGE_BYTES_MAX 16384

enum { WARNING = 1, FATAL = 2 };

static const unsigned char change[1] = { 1 };

/* ---- Failing ---------------------------------------------------------- */

int coili_connection_fail(struct coili_connection *c, int alert)
{
    c->base.detail = coili_tls_detail(alert);
    c->alert = (uint8_t)alert;
    c->sends_alert = true;
    return COIL_ETLS;
}

int coili_connection_fail_because(struct coili_connection *c, int alert,
                                  const char *why)
{
    if (why && c->base.handshake)
        snprintf(c->base.handshake->why, COILI_SENTENCE_BYTES, "%s", why);
    return coili_connection_fail(c, alert);
}

int coili_connection_fail_chain(struct coili_connection *c, int err,
                                enum coil_cert_fault fault)
{
    static const uint8_t alerts[] = {
        [COIL_CERT_NAME] = COILI_ALERT_BAD_CERTIFICATE,
        [COIL_CERT_TIME] = COILI_ALERT_CERTIFICATE_EXPIRED,
        [COIL_CERT_UNKNOWN] = COILI_ALERT_UNKNOWN_CA,
        [COIL_CERT_SIGNATURE] = COILI_ALERT_BAD_CERTIFICATE,
        [COIL_CERT_WEAK] = COILI_ALERT_BAD_CERTIFICATE,
        [COIL_CERT_PURPOSE] = COILI_ALERT_UNSUPPORTED_CERTIFICATE,
        [COIL_CERT_CONSTRAINT] = COILI_ALERT_BAD_CERTIFICATE,
        [COIL_CERT_MALFORMED] = COILI_ALERT_BAD_CERTIFICATE,
        [COIL_CERT_UNSUPPORTED] = COILI_ALERT_UNSUPPORTED_CERTIFICATE,
        [COIL_CERT_PIN] = COILI_ALERT_BAD_CERTIFICATE,
    };
    c->alert = COILI_ALERT_INTERNAL_ERROR;
    if (err == COIL_ECERT && (size_t)fault < sizeof alerts && alerts[fault])
        c->alert = alerts[fault];
    c->sends_alert = true;
    return err;
}

/* A record, warning or message that brings nothing; a few of them may come. */
static int count_idle(struct coili_connection *c)
{
    if (c->idle == COILI_IDLE_MAX)
        return coili_connection_fail(c, COILI_ALERT_UNEXPECTED_MESSAGE);
    c->idle++;
    return COILI_TLS_QUIET;
}

/* ---- Sending ---------------------------------------------------------- */

int coili_records_send(struct coili_connection *c,
                       enum coili_tls_record_type type, const void *data,
                       size_t len, struct coili_tls_out *out)
{
    const unsigned char *from = data;
    while (len > 0) {
        size_t n = len < COILI_TLS_PLAIN_BYTES_MAX ? len
                                                   : COILI_TLS_PLAIN_BYTES_MAX;
        unsigned char *to = coili_tls_out_append(
            out, n + coili_record_overhead(&c->out));
        if (!to)
            return -ENOMEM;
        coili_record_seal(&c->out, type, from, n, 0, to);
        from += n;
        len -= n;
    }
    return 0;
}

/*
 * In TLS 1.3 it means nothing, but middleboxes like to see it: it is plain
 * there, whatever the keys.
 */
int coili_change_send(struct coili_connection *c, struct coili_tls_out *out)
{
    struct coili_protection plain = { 0 };
    unsigned char *to = coili_tls_out_append(out, COILI_TLS_HEAD_BYTES + 1);
    if (!to)
        return -ENOMEM;
    coili_record_seal(c->version == COILI_TLS12 ? &c->out : &plain,
                      COILI_TLS_CHANGE_CIPHER_SPEC, change, 1, 0, to);
    return 0;
}

int coili_message_begin(struct coili_connection *c, size_t room,
                        struct coili_writer *w)
{
    struct coili_tls_out *flight = &c->shake->flight;
    unsigned char *at = coili_tls_out_append(flight, room);
    if (!at)
        return -ENOMEM;
    flight->len -= room;
    *w = (struct coili_writer){ .at = at, .size = room };
    return 0;
}

int coili_message_end(struct coili_connection *c, const struct coili_writer *w)
{
    if (!coili_writer_is_whole(w))
        return coili_connection_fail(c, COILI_ALERT_INTERNAL_ERROR);
    coili_transcript_take(c, w->at, w->len);
    c->shake->flight.len += w->len;
    return 0;
}

int coili_flight_send(struct coili_connection *c, struct coili_tls_out *out)
{
    struct coili_tls_out *flight = &c->shake->flight;
    int err = coili_records_send(c, COILI_TLS_HANDSHAKE, flight->data,
                                 flight->len, out);
    flight->len = 0;
    return err;
}

static int send_alert(struct coili_connection *c, int level, int alert,
                      struct coili_tls_out *out)
{
    unsigned char bytes[] = { (unsigned char)level, (unsigned char)alert };
    return coili_records_send(c, COILI_TLS_ALERT, bytes, sizeof bytes, out);
}

/* ---- Keys of TLS 1.3 -------------------------------------------------- */

enum coili_cipher coili_suite_cipher(unsigned suite)
{
    switch (suite) {
    case COILI_SUITE_CHACHA20:
    case COILI_SUITE_RSA_CHACHA20:
    case COILI_SUITE_ECDSA_CHACHA20:
        return COILI_CIPHER_CHACHA20_POLY1305;
    default:
        return coili_suite_hash_bytes(suite) == 48 ? COILI_CIPHER_AES_256_GCM
                                                   : COILI_CIPHER_AES_128_GCM;
    }
}

void coili_read_by(struct coili_connection *c,
                   const struct coili_secret *secret)
{
    c->secret_in = *secret;
    coili_record_start13(&c->in, coili_suite_cipher(c->suite),
                         coili_connection_digest(c), secret);
}

void coili_write_by(struct coili_connection *c,
                    const struct coili_secret *secret)
{
    c->secret_out = *secret;
    coili_record_start13(&c->out, coili_suite_cipher(c->suite),
                         coili_connection_digest(c), secret);
}

/* ---- The handshake block ---------------------------------------------- */

static void free_joined(struct coili_connection *c)
{
    struct coili_joined *j = c->joined;
    c->joined = NULL;
    if (!j)
        return;
    explicit_bzero(j->bytes, j->end);
    coil_free(j, sizeof *j + j->size);
}

static void free_shake(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    c->shake = NULL;
    if (!k)
        return;
    coili_tls_out_free(&k->flight);
    coili_tls_out_free(&k->ticket);
    if (k->first_hello)
        coil_free(k->first_hello, k->first_hello_len);
    explicit_bzero(k, sizeof *k);
    coil_free(k, sizeof *k);
}

int coili_park(struct coili_connection *c, coili_work_fn *work,
               coili_then_fn *then)
{
    c->shake->work = work;
    c->shake->then = then;
    return COILI_TLS_WORK;
}

void coili_connection_verified(struct coili_connection *c)
{
    c->shake->verified = true;
}

/* ---- What info() shows ------------------------------------------------ */

static int make_agreed(struct coili_connection *c, struct coili_der leaf,
                       const unsigned char *sha256)
{
    const struct coili_tls_setup *setup = c->base.setup;
    const unsigned char *alpn = c->shake->alpn;
    const char *name = setup->is_server ? c->base.handshake->asked : "";
    size_t alpn_len = alpn ? alpn[0] : 0, name_len = strlen(name);
    size_t bytes = sizeof(struct coili_agreed) + alpn_len + 1 + name_len + 1 +
                   leaf.len;
    struct coili_agreed *a = coil_alloc(bytes);
    if (!a)
        return -ENOMEM;
    *a = (struct coili_agreed){ .bytes = (uint32_t)bytes,
                                .name_at = (uint16_t)(alpn_len + 1),
                                .leaf_at = (uint32_t)(alpn_len + name_len + 2),
                                .leaf_bytes = (uint32_t)leaf.len };
    if (alpn_len)
        memcpy(a->text, alpn + 1, alpn_len);
    a->text[alpn_len] = '\0';
    memcpy(a->text + a->name_at, name, name_len + 1);
    if (leaf.len)
        memcpy(a->text + a->leaf_at, leaf.at, leaf.len);
    if (sha256)
        memcpy(a->leaf_sha256, sha256, sizeof a->leaf_sha256);
    c->agreed = a;
    return 0;
}

static void free_agreed(struct coili_connection *c)
{
    if (c->agreed)
        coil_free(c->agreed, c->agreed->bytes);
    c->agreed = NULL;
}

int coili_connection_keep_leaf(struct coili_connection *c,
                               struct coili_der leaf,
                               const unsigned char sha256[32])
{
    free_agreed(c);
    return make_agreed(c, leaf, sha256);
}

/* ---- The resumption secret -------------------------------------------- */

int coili_connection_keep_resumption(struct coili_connection *c)
{
    unsigned char hash[COILI_HASH_BYTES_MAX];
    struct coili_secret *secret = coil_alloc(sizeof *secret);
    if (!secret)
        return -ENOMEM;
    coili_connection_hash(c, hash);
    coili_schedule_derive(&c->shake->schedule, COILI_LABEL_RESUMPTION, hash,
                          secret);
    c->resumption = secret;
    return 0;
}

void coili_connection_drop_resumption(struct coili_connection *c)
{
    struct coili_secret *secret = c->resumption;
    c->resumption = NULL;
    if (!secret)
        return;
    coili_secret_wipe(secret);
    coil_free(secret, sizeof *secret);
}

/* ---- Open ------------------------------------------------------------- */

static uint8_t open_state(const struct coili_connection *c)
{
    if (c->version == COILI_TLS13)
        return c->base.setup->is_server ? COILI_SERVER_OPEN : COILI_CLIENT_OPEN;
    return c->base.setup->is_server ? COILI_SERVER12_OPEN : COILI_CLIENT12_OPEN;
}

int coili_connection_open(struct coili_connection *c)
{
    const struct coili_tls_setup *setup = c->base.setup;
    if (!c->shake->verified || c->in.cipher == COILI_CIPHER_NONE ||
        c->out.cipher == COILI_CIPHER_NONE)
        return coili_connection_fail(c, COILI_ALERT_INTERNAL_ERROR);
    bool has_name = setup->is_server && *c->base.handshake->asked;
    if (!c->agreed && (c->shake->alpn || has_name)) {
        int err = make_agreed(c, (struct coili_der){ NULL, 0 }, NULL);
        if (err < 0)
            return err;
    }
    c->resumed = c->shake->is_resumed;
    c->state = open_state(c);
    c->idle = 0;
    c->base.overhead = (uint8_t)coili_record_overhead(&c->out);
    free_shake(c);
    return COILI_TLS_OPEN;
}

/* ---- Messages of an open connection ----------------------------------- */

/*
 * KeyUpdate. The key to read by changes at once; a reply, if one is wanted,
 * stands before our next data: one, however often the peer asks until then.
 */
static int take_key_update(struct coili_connection *c, const unsigned char *m,
                           size_t len, struct coili_tls_out *out)
{
    (void)out;
    bool is_requested;
    int alert = coili_tls_read_key_update(coili_body_of(m, len), &is_requested);
    if (alert)
        return coili_connection_fail(c, alert);
    struct coili_secret next = c->secret_in;
    coili_secret_next(&next, coili_connection_digest(c));
    coili_read_by(c, &next);
    coili_secret_wipe(&next);
    c->owes_update |= is_requested;
    return COILI_TLS_QUIET;
}

/* TLS 1.2: the server wants to renegotiate, which coil does not. */
static int decline_renegotiation(struct coili_connection *c,
                                 const unsigned char *m, size_t len,
                                 struct coili_tls_out *out)
{
    int alert = coili_tls_read_nothing(coili_body_of(m, len));
    if (alert)
        return coili_connection_fail(c, alert);
    c->asked_anew = true;
    if (c->ended)
        return COILI_TLS_QUIET; /* nothing may stand behind close_notify */
    return send_alert(c, WARNING, COILI_ALERT_NO_RENEGOTIATION, out);
}

/* TLS 1.2: the client begins to renegotiate. */
static int refuse_renegotiation(struct coili_connection *c,
                                const unsigned char *m, size_t len,
                                struct coili_tls_out *out)
{
    (void)m;
    (void)len;
    (void)out;
    return coili_connection_fail(c, COILI_ALERT_NO_RENEGOTIATION);
}

/* ---- Order ------------------------------------------------------------ */

/* A message that may come in a state; `last`: nothing may stand behind it. */
struct rule {
    uint8_t state, message;
    bool last;
    coili_message_fn *handle;
};

static const struct rule rules[] = {
    /* TLS 1.3, client; behind a ServerHello of 1.2 more may stand. */
    { COILI_CLIENT_WAITS_HELLO, COILI_TLS_SERVER_HELLO, false,
      coili_client_hello },
    { COILI_CLIENT_WAITS_HELLO_AGAIN, COILI_TLS_SERVER_HELLO, false,
      coili_client_hello },
    { COILI_CLIENT_WAITS_EXTENSIONS, COILI_TLS_ENCRYPTED_EXTENSIONS, false,
      coili_client_extensions },
    { COILI_CLIENT_WAITS_CERTIFICATE, COILI_TLS_CERTIFICATE_REQUEST, false,
      coili_client_request },
    { COILI_CLIENT_WAITS_CERTIFICATE, COILI_TLS_CERTIFICATE, false,
      coili_client_certificate },
    { COILI_CLIENT_WAITS_ONLY_CERTIFICATE, COILI_TLS_CERTIFICATE, false,
      coili_client_certificate },
    { COILI_CLIENT_WAITS_SIGNATURE, COILI_TLS_CERTIFICATE_VERIFY, false,
      coili_client_signature },
    { COILI_CLIENT_WAITS_FINISHED, COILI_TLS_FINISHED, true,
      coili_client_finished },
    { COILI_CLIENT_OPEN, COILI_TLS_NEW_SESSION_TICKET, false,
      coili_client_ticket },
    { COILI_CLIENT_OPEN, COILI_TLS_KEY_UPDATE, true, take_key_update },

    /* TLS 1.2, client. */
    { COILI_CLIENT12_WAITS_CERTIFICATE, COILI_TLS_CERTIFICATE, false,
      coili_client12_certificate },
    { COILI_CLIENT12_WAITS_EXCHANGE, COILI_TLS_SERVER_KEY_EXCHANGE, false,
      coili_client12_exchange },
    { COILI_CLIENT12_WAITS_DONE, COILI_TLS_CERTIFICATE_REQUEST, false,
      coili_client12_request },
    { COILI_CLIENT12_WAITS_DONE, COILI_TLS_SERVER_HELLO_DONE, true,
      coili_client12_done },
    { COILI_CLIENT12_WAITS_ONLY_DONE, COILI_TLS_SERVER_HELLO_DONE, true,
      coili_client12_done },
    { COILI_CLIENT12_WAITS_TICKET, COILI_TLS_NEW_SESSION_TICKET, true,
      coili_client12_ticket },
    { COILI_CLIENT12_WAITS_FINISHED, COILI_TLS_FINISHED, true,
      coili_client12_finished },
    { COILI_CLIENT12_OPEN, COILI_TLS_HELLO_REQUEST, false,
      decline_renegotiation },

    /* TLS 1.3, server; a hello of 1.2, too, has to wait for its answer. */
    { COILI_SERVER_WAITS_HELLO, COILI_TLS_CLIENT_HELLO, true,
      coili_server_hello },
    { COILI_SERVER_WAITS_HELLO_AGAIN, COILI_TLS_CLIENT_HELLO, true,
      coili_server_hello },
    { COILI_SERVER_WAITS_CERTIFICATE, COILI_TLS_CERTIFICATE, false,
      coili_server_certificate },
    { COILI_SERVER_WAITS_SIGNATURE, COILI_TLS_CERTIFICATE_VERIFY, false,
      coili_server_signature },
    { COILI_SERVER_WAITS_FINISHED, COILI_TLS_FINISHED, true,
      coili_server_finished },

    /* TLS 1.2, server. */
    { COILI_SERVER12_WAITS_CERTIFICATE, COILI_TLS_CERTIFICATE, false,
      coili_server_certificate },
    { COILI_SERVER12_WAITS_EXCHANGE, COILI_TLS_CLIENT_KEY_EXCHANGE, false,
      coili_server12_exchange },
    { COILI_SERVER12_WAITS_SIGNATURE, COILI_TLS_CERTIFICATE_VERIFY, false,
      coili_server_signature },
    { COILI_SERVER12_WAITS_FINISHED, COILI_TLS_FINISHED, true,
      coili_server12_finished },

    /* Servers, when they are open. */
    { COILI_SERVER_OPEN, COILI_TLS_KEY_UPDATE, true, take_key_update },
    { COILI_SERVER12_OPEN, COILI_TLS_CLIENT_HELLO, false,
      refuse_renegotiation },
};

static const struct rule *rule_for(const struct coili_connection *c,
                                   unsigned message)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].state == c->state && rules[i].message == message)
            return &rules[i];
    return NULL;
}

static size_t message_bytes_max(unsigned message)
{
    return message == COILI_TLS_CERTIFICATE          ? CERTIFICATE_BYTES_MAX
           : message == COILI_TLS_NEW_SESSION_TICKET ? TICKET_BYTES_MAX
                                                     : MESSAGE_BYTES_MAX;
}

/*
 * A HelloRequest in a handshake of 1.2 is passed over (RFC 5246, 7.4.1.1), and
 * is no part of the transcript. Until ServerHello the client does not know the
 * version, so there too.
 */
static bool is_passed_over(const struct coili_connection *c, unsigned message)
{
    return message == COILI_TLS_HELLO_REQUEST && c->shake &&
           !c->base.setup->is_server && c->version != COILI_TLS13;
}

/* ---- Joining messages ------------------------------------------------- */

/*
 * Put handshake bytes behind those that wait. A message is refused at its head
 * if it is too long, so what waits is bounded by the longest one and a record.
 */
static int join(struct coili_connection *c, const unsigned char *data, size_t n)
{
    struct coili_joined *j = c->joined;
    size_t waits = j ? j->end - j->at : 0;
    if (!j || n > j->size - j->end) {
        size_t size = waits + n;
        if (j && size < 2 * (size_t)j->size)
            size = 2 * (size_t)j->size;
        struct coili_joined *to = coil_alloc(sizeof *to + size);
        if (!to)
            return -ENOMEM;
        to->size = (uint32_t)size;
        to->at = 0;
        to->end = (uint32_t)waits;
        if (waits)
            memcpy(to->bytes, j->bytes + j->at, waits);
        free_joined(c);
        c->joined = j = to;
    }
    memcpy(j->bytes + j->end, data, n);
    j->end += (uint32_t)n;
    return 0;
}

/* The first `len` bytes are done with. */
static void drop_joined(struct coili_connection *c, size_t len)
{
    struct coili_joined *j = c->joined;
    j->at += (uint32_t)len;
    if (j->at == j->end)
        free_joined(c);
}

int coili_connection_check_last(struct coili_connection *c)
{
    const struct coili_joined *j = c->joined;
    const unsigned char *m = j->bytes + j->at;
    size_t len = COILI_TLS_MESSAGE_HEAD_BYTES +
                 ((size_t)m[1] << 16 | (size_t)m[2] << 8 | m[3]);
    if (j->end - j->at == len)
        return 0;
    return coili_connection_fail(c, COILI_ALERT_UNEXPECTED_MESSAGE);
}

/*
 * Handle the messages that are complete, in order, until one parks a step.
 * What may not come is refused when its head is there.
 */
static int take_messages(struct coili_connection *c, struct coili_tls_out *out)
{
    while (c->joined) {
        struct coili_joined *j = c->joined;
        const unsigned char *m = j->bytes + j->at;
        size_t there = j->end - j->at;
        if (there < COILI_TLS_MESSAGE_HEAD_BYTES)
            return COILI_TLS_QUIET;
        size_t len = (size_t)m[1] << 16 | (size_t)m[2] << 8 | m[3];
        const struct rule *rule = rule_for(c, m[0]);
        if (!rule && !(is_passed_over(c, m[0]) && len == 0))
            return coili_connection_fail(c, COILI_ALERT_UNEXPECTED_MESSAGE);
        if (len > message_bytes_max(m[0]))
            return coili_connection_fail(c, COILI_ALERT_DECODE_ERROR);
        len += COILI_TLS_MESSAGE_HEAD_BYTES;
        if (there < len)
            return COILI_TLS_QUIET;
        if (rule && rule->last && there > len)
            return coili_connection_fail(c, COILI_ALERT_UNEXPECTED_MESSAGE);
        int event = COILI_TLS_QUIET;
        if (c->shake && rule)
            c->idle = 0;
        else
            event = count_idle(c);
        if (rule && event == COILI_TLS_QUIET)
            event = rule->handle(c, m, len, out);
        if (event == COILI_TLS_WORK)
            c->shake->parked = len;
        if (event == COILI_TLS_WORK || event < 0)
            return event;
        drop_joined(c, len);
        if (event == COILI_TLS_OPEN)
            return event;
    }
    return COILI_TLS_QUIET;
}

/* ---- Records ---------------------------------------------------------- */

/*
 * ChangeCipherSpec. In 1.2 it has its one place, with no message or part of one
 * before it that waits: keys never start early, and none is skipped. In 1.3 it
 * means nothing, and may come as long as the handshake goes on.
 */
static int take_change(struct coili_connection *c)
{
    bool waits = c->state == COILI_CLIENT12_WAITS_CHANGE ||
                 c->state == COILI_SERVER12_WAITS_CHANGE;
    bool may_come = c->version == COILI_TLS12
                        ? waits
                        : c->shake && c->state != COILI_SERVER_WAITS_HELLO;
    if (!may_come || c->joined)
        return coili_connection_fail(c, COILI_ALERT_UNEXPECTED_MESSAGE);
    if (!waits) {
        c->shake->early_change |= c->version == 0;
        return count_idle(c);
    }
    c->in = c->shake->next_in;
    c->state = c->state == COILI_CLIENT12_WAITS_CHANGE
                   ? COILI_CLIENT12_WAITS_FINISHED
                   : COILI_SERVER12_WAITS_FINISHED;
    return COILI_TLS_QUIET;
}

/*
 * An alert. Before ServerHello and in 1.2 a peer may warn, for example that it
 * does not know the name (RFC 6066, 3), and go on; in 1.3 the level means
 * nothing. user_canceled stands before a close_notify that says the rest.
 */
static int take_alert(struct coili_connection *c, const unsigned char *data,
                      size_t len)
{
    if (len != 2)
        return coili_connection_fail(c, COILI_ALERT_DECODE_ERROR);
    if (data[0] != WARNING && data[0] != FATAL)
        return coili_connection_fail(c, COILI_ALERT_ILLEGAL_PARAMETER);
    if (data[1] == COILI_ALERT_CLOSE_NOTIFY)
        return COILI_TLS_ENDED;
    if (data[1] == COILI_ALERT_USER_CANCELED ||
        (c->version != COILI_TLS13 && data[0] == WARNING)) {
        if (c->joined)
            return coili_connection_fail(c, COILI_ALERT_UNEXPECTED_MESSAGE);
        return count_idle(c);
    }
    bool refused = c->asked_anew && data[1] == COILI_ALERT_HANDSHAKE_FAILURE;
    c->base.detail = coili_tls_detail(refused ? COIL_TLS_RENEGOTIATES
                                              : COIL_TLS_BY_PEER + data[1]);
    return COIL_ETLS;
}

static int take_data(struct coili_connection *c,
                     const struct coili_record *record,
                     struct coili_tls_data *data)
{
    if (!coili_connection_is_open(c) || c->joined)
        return coili_connection_fail(c, COILI_ALERT_UNEXPECTED_MESSAGE);
    if (record->len == 0)
        return count_idle(c);
    c->idle = 0;
    c->asked_anew = false;
    *data = (struct coili_tls_data){ record->at, record->len };
    return COILI_TLS_DATA;
}

/*
 * A client that finds a fault in ServerHello may have no keys yet: its alert is
 * believed although ours are there, until its first protected record.
 */
static bool is_plain_alert(const struct coili_connection *c,
                           const unsigned char *record)
{
    return record[0] == COILI_TLS_ALERT && c->shake &&
           c->version == COILI_TLS13 && c->base.setup->is_server &&
           c->in.sequence == 0;
}

/*
 * Early data are not taken, so their records are passed over: those that our
 * keys do not open, and behind a HelloRetryRequest those that are protected at
 * all (RFC 8446, 4.2.10). The first record that opens is the end of them.
 */
static bool is_early(struct coili_connection *c, const unsigned char *record,
                     size_t len, bool opens)
{
    struct coili_shake *k = c->shake;
    bool is_plain = c->in.cipher == COILI_CIPHER_NONE;
    if (opens || !k || record[0] != COILI_TLS_DATA_RECORD ||
        k->early_bytes < len ||
        is_plain != (c->state == COILI_SERVER_WAITS_HELLO_AGAIN) ||
        c->in.sequence > 0)
        return false;
    k->early_bytes -= (uint32_t)len;
    return true;
}

static int take_record(struct coili_connection *c, unsigned char *record,
                       size_t len, struct coili_tls_data *data,
                       struct coili_tls_out *out)
{
    struct coili_protection plain = { 0 };
    struct coili_record r;
    int alert = coili_record_open(is_plain_alert(c, record) ? &plain : &c->in,
                                  record, len, &r);
    if (is_early(c, record, len,
                 alert != COILI_ALERT_BAD_RECORD_MAC &&
                     c->in.cipher != COILI_CIPHER_NONE))
        return COILI_TLS_QUIET;
    if (alert)
        return coili_connection_fail(c, alert);
    switch (r.type) {
    case COILI_TLS_CHANGE_CIPHER_SPEC:
        return take_change(c);
    case COILI_TLS_ALERT:
        return take_alert(c, record + r.at, r.len);
    case COILI_TLS_HANDSHAKE: {
        int err = join(c, record + r.at, r.len);
        return err < 0 ? err : take_messages(c, out);
    }
    case COILI_TLS_DATA_RECORD:
        return take_data(c, &r, data);
    }
    return coili_connection_fail(c, COILI_ALERT_UNEXPECTED_MESSAGE);
}

/* An error ends the connection; the peer is told, if there is something. */
static int report(struct coili_connection *c, int event,
                  struct coili_tls_out *out)
{
    if (event >= 0)
        return event;
    if (c->sends_alert)
        send_alert(c, FATAL, c->alert, out);
    c->sends_alert = false;
    c->state = COILI_TLS_DEAD;
    return event;
}

/* ---- The table -------------------------------------------------------- */

/*
 * Nothing is shared by the connections of a setup but the setup. A key that no
 * handshake could be signed with is refused here, and not at each handshake.
 */
static int own_prepare(struct coili_tls_setup *setup, char *why)
{
    if (!setup->identity || setup->identity->key.type != COILI_KEY_P521)
        return 0;
    snprintf(why, COILI_SENTENCE_BYTES,
             "the key of the certificate is of P-521: coil's engine signs with "
             "RSA, P-256 and P-384");
    return -EINVAL;
}

static void own_forget(struct coili_tls_setup *setup)
{
    (void)setup;
}

static int own_start(struct coili_tls_state *base, struct coili_tls_out *out)
{
    struct coili_connection *c = coili_connection_of(base);
    c->shake = coil_alloc(sizeof *c->shake);
    if (!c->shake)
        return -ENOMEM;
    memset(c->shake, 0, sizeof *c->shake);
    coili_transcript_init(&c->shake->transcript);
    return report(c,
                  base->setup->is_server ? coili_server_start(c)
                                         : coili_client_start(c, out),
                  out);
}

static int own_record(struct coili_tls_state *base, unsigned char *record,
                      size_t len, struct coili_tls_data *data,
                      struct coili_tls_out *out)
{
    struct coili_connection *c = coili_connection_of(base);
    return report(c, take_record(c, record, len, data, out), out);
}

static void own_work(struct coili_tls_state *base)
{
    struct coili_connection *c = coili_connection_of(base);
    c->shake->work(c);
}

static int own_resume(struct coili_tls_state *base, struct coili_tls_out *out)
{
    struct coili_connection *c = coili_connection_of(base);
    size_t parked = c->shake->parked;
    int event = c->shake->then(c, out);
    if (event == COILI_TLS_WORK || event < 0)
        return report(c, event, out);
    if (parked > 0)
        drop_joined(c, parked);
    if (c->shake)
        c->shake->parked = 0;
    if (event == COILI_TLS_QUIET)
        event = take_messages(c, out);
    return report(c, event, out);
}

/* A server's ticket, in front of its first data. Without memory: no ticket. */
static void send_ticket(struct coili_connection *c, struct coili_tls_out *out)
{
    unsigned char message[COILI_TICKET_ROOM];
    size_t len = coili_server_write_ticket(c, message);
    c->base.extra = 0;
    if (len > 0)
        (void)coili_records_send(c, COILI_TLS_HANDSHAKE, message, len, out);
}

/*
 * Data, behind a KeyUpdate if one is due. The memory for both comes first, so
 * that no sequence number is spent if there is none.
 */
static int own_seal(struct coili_tls_state *base, const void *data, size_t len,
                    struct coili_tls_out *out)
{
    struct coili_connection *c = coili_connection_of(base);
    enum coili_record_limit limit = coili_record_limit(&c->out);
    if (limit == COILI_RECORD_CLOSE)
        return coili_connection_fail(c, COILI_ALERT_INTERNAL_ERROR);
    if (c->resumption && c->state == COILI_SERVER_OPEN)
        send_ticket(c, out);
    bool updates = c->owes_update || limit == COILI_RECORD_UPDATE;
    unsigned char update[COILI_TLS_MESSAGE_HEAD_BYTES + 1];
    size_t overhead = coili_record_overhead(&c->out);
    size_t more = updates ? sizeof update + overhead : 0;
    unsigned char *to = coili_tls_out_append(out, more + len + overhead);
    if (!to)
        return -ENOMEM;
    if (updates) {
        struct coili_writer w = { .at = update, .size = sizeof update };
        coili_tls_write_key_update(&w, false);
        to += coili_record_seal(&c->out, COILI_TLS_HANDSHAKE, update,
                                sizeof update, 0, to);
        struct coili_secret next = c->secret_out;
        coili_secret_next(&next, coili_connection_digest(c));
        coili_write_by(c, &next);
        coili_secret_wipe(&next);
        c->owes_update = false;
    }
    coili_record_seal(&c->out, COILI_TLS_DATA_RECORD, data, len, 0, to);
    return 0;
}

static int own_end(struct coili_tls_state *base, struct coili_tls_out *out)
{
    struct coili_connection *c = coili_connection_of(base);
    int err = send_alert(c, WARNING, COILI_ALERT_CLOSE_NOTIFY, out);
    c->ended = err == 0;
    return err;
}

static void own_alert(struct coili_tls_state *base, int alert,
                      struct coili_tls_out *out)
{
    send_alert(coili_connection_of(base), FATAL, alert, out);
}

static void own_info(struct coili_tls_state *base, struct coil_tls_info *info)
{
    const struct coili_connection *c = coili_connection_of(base);
    const struct coili_agreed *a = c->agreed;
    info->version = (enum coil_tls_version)c->version;
    info->suite = c->suite;
    info->resumed = c->resumed;
    if (!a)
        return;
    info->alpn = a->text;
    info->name = a->text + a->name_at;
    memcpy(info->certificate_sha256, a->leaf_sha256, sizeof a->leaf_sha256);
    if (a->leaf_bytes == 0)
        return;
    info->certificate = (const unsigned char *)a->text + a->leaf_at;
    info->certificate_bytes = a->leaf_bytes;
}

static void own_free(struct coili_tls_state *base)
{
    struct coili_connection *c = coili_connection_of(base);
    free_shake(c);
    free_joined(c);
    free_agreed(c);
    coili_record_wipe(&c->in);
    coili_record_wipe(&c->out);
    coili_secret_wipe(&c->secret_in);
    coili_secret_wipe(&c->secret_out);
    coili_connection_drop_resumption(c);
}

const struct coil_tls_engine *coil_tls_own_engine(void)
{
    static const struct coil_tls_engine engine = {
        .name = "coil",
        .state_bytes = sizeof(struct coili_connection),
        .prepare = own_prepare,
        .forget = own_forget,
        .start = own_start,
        .record = own_record,
        .work = own_work,
        .resume = own_resume,
        .seal = own_seal,
        .end = own_end,
        .alert = own_alert,
        .info = own_info,
        .free = own_free,
    };
    return &engine;
}
