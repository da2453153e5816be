// SPDX-License-Identifier: MIT
/*
 * duel.c: the engine is driven as lib/tls/stream.c drives it, without a stream.
 *
 * The heads of records are looked at here as the stream does: a type or a length
 * that cannot be, and the engine is told to send the alert.
 */
#include "duel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <coil/error.h>
#include <coil/tls_cache.h>

#include "tls/cache.h"
#include "tls/name.h"
#include "tls/ticket.h"

#define MUST(condition) \
    ((condition) ? (void)0 : must_fail(__LINE__, #condition))

__attribute__((noreturn)) static void must_fail(int line, const char *what)
{
    fprintf(stderr, "duel.c:%d: %s does not hold\n", line, what);
    abort();
}

struct duel {
    struct coili_tls_setup *setup;
    struct coili_tls_state *state;
    struct coili_tls_handshake *handshake;
    char *why;
    struct coili_tls_out out;
    struct coil_tls_cache *cache;     /* of a client */
    struct coili_tls_session session; /* that it offers */
    struct attacker *attacker;        /* NULL: none listens */
    unsigned char *in;                /* bytes that make no whole record */
    size_t in_len;
    bool seen; /* a record has come */
    struct duel_result result;
};

/* ---- Setups ----------------------------------------------------------- */

static struct coil_tls_pem pem(const char *text)
{
    return (struct coil_tls_pem){ .text = text, .text_bytes = strlen(text) };
}

static struct coil_tls_pem authority(const struct duel_options *o)
{
    return pem(o->stranger ? att_stranger_pem() : att_authority_pem());
}

struct coili_tls_setup *duel_setup(const struct coil_tls_engine *engine,
                                   const struct duel_options *o)
{
    struct coil_tls_why why = { "" };
    int err;
    if (o->is_server) {
        struct coil_tls_server_options s = COIL_TLS_SERVER_OPTIONS_INIT;
        struct coil_tls_server *server;
        s.engine = engine;
        s.certificate = pem(att_server_pem(o->key));
        s.ask = o->ask;
        s.ca = authority(o);
        s.verify = o->any_certificate ? COIL_TLS_VERIFY_NONE
                                      : COIL_TLS_VERIFY_CHAIN;
        s.version_min = o->version_min;
        s.version_max = o->version_max;
        s.alpn = &o->alpn;
        s.alpn_n = o->alpn != NULL;
        err = coil_tls_server_new(&server, &s, &why);
        if (err == 0)
            return coili_tls_setup_of_server(server);
    } else {
        struct coil_tls_client_options c = COIL_TLS_CLIENT_OPTIONS_INIT;
        struct coil_tls_client *client;
        c.engine = engine;
        if (o->presents)
            c.certificate = pem(att_client_pem());
        c.ca = authority(o);
        c.verify = o->any_certificate ? COIL_TLS_VERIFY_NONE
                                      : COIL_TLS_VERIFY_CHAIN;
        c.version_min = o->version_min;
        c.version_max = o->version_max;
        c.alpn = &o->alpn;
        c.alpn_n = o->alpn != NULL;
        err = coil_tls_client_new(&client, &c, &why);
        if (err == 0)
            return coili_tls_setup_of_client(client);
    }
    fprintf(stderr, "duel_setup: %d: %s\n", err, why.text);
    abort();
}

/* ---- The engine ------------------------------------------------------- */

static void end_handshake(struct duel *d)
{
    free(d->handshake);
    free(d->why);
    d->handshake = NULL;
    d->why = NULL;
    d->state->handshake = NULL;
}

static void complain(struct duel *d, const char *what)
{
    if (!d->result.complaint)
        d->result.complaint = what;
}

/* Hand over what the engine has to say. */
static void answer(struct duel *d)
{
    if (d->out.len > 0 && d->attacker)
        att_take(d->attacker, d->out.data, d->out.len);
    d->result.answered += d->out.len;
    coili_tls_out_free(&d->out);
}

/* Do the costly steps; what the last one meant. */
static void take_event(struct duel *d, int event,
                       const struct coili_tls_data *data, size_t len)
{
    const struct coil_tls_engine *engine = d->setup->engine;
    for (int i = 0; event == COILI_TLS_WORK; i++) {
        MUST(i < 1000);
        if (d->handshake)
            d->handshake->now = (int64_t)time(NULL);
        engine->work(d->state);
        event = engine->resume(d->state, &d->out);
    }
    if (event < 0) {
        d->result.err = event;
        d->result.code = COIL_DETAIL_CODE(d->state->detail);
        return;
    }
    MUST(event <= COILI_TLS_ENDED);
    if (event == COILI_TLS_OPEN) {
        MUST(!d->result.opened);
        d->result.opened = true;
        MUST(d->state->overhead > 0);
        end_handshake(d);
    } else if (event == COILI_TLS_DATA) {
        MUST(d->result.opened && data && data->len > 0 && data->at <= len &&
             data->len <= len - data->at);
        d->result.data += data->len;
    } else if (event == COILI_TLS_ENDED) {
        d->result.outcome = DUEL_ENDED;
    }
}

static void fail_head(struct duel *d, int alert)
{
    d->result.err = COIL_ETLS;
    d->result.code = alert;
    if (alert < COIL_TLS_BY_PEER)
        d->setup->engine->alert(d->state, alert, &d->out);
}

static bool is_over(const struct duel *d)
{
    return d->result.err < 0 || d->result.outcome == DUEL_ENDED;
}

/* The next whole record, in memory of its own. */
static bool take_record(struct duel *d)
{
    const unsigned char *head = d->in;
    if (d->in_len < COILI_TLS_HEAD_BYTES || is_over(d))
        return false;
    size_t len = COILI_TLS_HEAD_BYTES + ((size_t)head[3] << 8 | head[4]);
    if (!d->seen && head[0] != COILI_TLS_HANDSHAKE &&
        head[0] != COILI_TLS_ALERT) {
        fail_head(d, COIL_TLS_NOT_TLS);
        return false;
    }
    if (head[0] < COILI_TLS_CHANGE_CIPHER_SPEC ||
        head[0] > COILI_TLS_DATA_RECORD) {
        fail_head(d, COILI_ALERT_UNEXPECTED_MESSAGE);
        return false;
    }
    if (len > COILI_TLS_HEAD_BYTES + COILI_TLS_BODY_BYTES_MAX) {
        fail_head(d, COILI_ALERT_RECORD_OVERFLOW);
        return false;
    }
    if (d->in_len < len)
        return false;
    unsigned char *record = malloc(len);
    MUST(record);
    memcpy(record, d->in, len);
    d->in_len -= len;
    memmove(d->in, d->in + len, d->in_len);
    d->seen = true;
    struct coili_tls_data data = { 0 };
    take_event(d,
               d->setup->engine->record(d->state, record, len, &data, &d->out),
               &data, len);
    free(record);
    return true;
}

static void feed(struct duel *d, const unsigned char *bytes, size_t len)
{
    if (is_over(d) || len == 0)
        return;
    unsigned char *in = malloc(d->in_len + len);
    MUST(in);
    if (d->in_len > 0)
        memcpy(in, d->in, d->in_len);
    memcpy(in + d->in_len, bytes, len);
    free(d->in);
    d->in = in;
    d->in_len += len;
    while (take_record(d))
        answer(d);
    answer(d);
}

/* A client has a place for new sessions, and perhaps one from before. */
static void begin_sessions(struct duel *d, const struct att_session *offers)
{
    struct coili_host host;
    MUST(coili_host_parse(&host, "a.test"));
    d->cache = coil_tls_cache_new(1);
    MUST(d->cache);
    d->state->sessions = coili_tls_sessions_of(d->cache, d->setup, &host, 443,
                                              NULL);
    MUST(d->state->sessions);
    if (!offers)
        return;
    int64_t now = (int64_t)time(NULL);
    d->session = (struct coili_tls_session){
        .version = offers->version,
        .suite = offers->suite,
        .lifetime = offers->lifetime,
        .age_add = offers->age_add,
        .secret_len = (uint8_t)offers->secret_len,
        .ticket = { offers->ticket, offers->ticket_len },
        .received_ms = now * 1000 - 1000,
        .believed_until = now + 3600,
    };
    memset(d->session.leaf_sha256, 7, sizeof d->session.leaf_sha256);
    memcpy(d->session.secret, offers->secret, offers->secret_len);
    d->handshake->session = &d->session;
    d->handshake->session_age_ms = 1000;
}

static void begin(struct duel *d, struct coili_tls_setup *setup,
                  const struct att_session *offers)
{
    bool is_server = setup->is_server;
    d->setup = setup;
    d->state = calloc(1, setup->engine->state_bytes);
    d->handshake = calloc(1, sizeof *d->handshake);
    d->why = calloc(1, COILI_SENTENCE_BYTES);
    MUST(d->state && d->handshake && d->why);
    d->handshake->name = is_server ? "" : "a.test";
    d->handshake->why = d->why;
    d->handshake->now = (int64_t)time(NULL);
    if (!is_server) {
        strcpy(d->handshake->asked, "a.test");
        d->handshake->alpn = setup->alpn;
        d->handshake->alpn_bytes = setup->alpn_bytes;
    }
    d->state->setup = coili_tls_setup_ref(setup);
    d->state->handshake = d->handshake;
    d->result.outcome = DUEL_WAITS;
    if (!is_server)
        begin_sessions(d, offers);
    else if (setup->ticket_keys)
        coili_ticket_keys_turn(setup->ticket_keys);
    take_event(d, setup->engine->start(d->state, &d->out), NULL, 0);
    MUST(!is_server || d->out.len == 0);
    answer(d);
}

/* The alert that the engine has sent, or its error. */
static int outcome_of(struct duel *d)
{
    struct duel_result *r = &d->result;
    if (r->err == 0)
        return r->outcome == DUEL_ENDED ? DUEL_ENDED
               : r->opened              ? DUEL_OPENS
                                        : DUEL_WAITS;
    if (r->err == COIL_ETLS && r->code >= COIL_TLS_BY_PEER &&
        r->code < COIL_TLS_PLAIN_HTTP)
        return DUEL_BY_PEER + r->code - COIL_TLS_BY_PEER;
    int alert = r->seen.alerts > 0 ? r->seen.alert : -1;
    if (r->err == COIL_ETLS && r->code < COIL_TLS_BY_PEER) {
        if (alert >= 0 && alert != r->code)
            complain(d, "the alert that was sent is not that of the error");
        return r->code;
    }
    return alert >= 0 ? alert : DUEL_SILENT;
}

static void end(struct duel *d)
{
    struct duel_result *r = &d->result;
    if (d->attacker) {
        r->seen = *att_seen(d->attacker);
        if (att_complaint(d->attacker))
            complain(d, att_complaint(d->attacker));
        r->has_session = att_session(d->attacker, &r->session);
    }
    r->left = d->in_len;
    r->outcome = outcome_of(d);
    if (r->opened && r->err == 0) {
        r->info.alpn = r->info.name = "";
        d->setup->engine->info(d->state, &r->info);
        r->info.alpn = r->info.name = NULL;
        r->info.certificate = NULL;
    }
    d->setup->engine->free(d->state);
    end_handshake(d);
    if (d->cache) {
        r->kept = coil_tls_cache_size(d->cache);
        coili_tls_sessions_unref(d->state->sessions);
        coil_tls_cache_free(d->cache);
    }
    coili_tls_setup_unref(d->state->setup);
    free(d->state);
    free(d->in);
    att_free(d->attacker);
}

/* Data of both, after the script. */
static void talk(struct duel *d)
{
    const unsigned char *bytes;
    size_t len, had = att_seen(d->attacker)->data, got = d->result.data;
    if (!d->result.opened || is_over(d))
        return;
    MUST(d->setup->engine->seal(d->state, "hello", 5, &d->out) == 0);
    answer(d);
    att_say(d->attacker, ATT_DATA, "world!", 6, &bytes, &len);
    feed(d, bytes, len);
    d->result.talks = att_seen(d->attacker)->data == had + 5 &&
                      d->result.data == got + 6;
}

struct duel_result duel_play(struct coili_tls_setup *setup,
                             const struct att_script *script,
                             const struct duel_extra *extra)
{
    static const struct duel_extra nothing;
    const unsigned char *bytes;
    size_t len;
    struct duel d = { .attacker = att_new(script) };
    MUST(script->is_client == setup->is_server);
    if (!extra)
        extra = &nothing;
    begin(&d, setup, extra->offers);
    while (att_next(d.attacker, &bytes, &len)) {
        size_t from = d.result.bytes;
        if (extra->sent && from + len <= extra->sent_size)
            memcpy(extra->sent + from, bytes, len);
        d.result.bytes += len;
        if (extra->cut_at > 0 && d.result.bytes > extra->cut_at)
            len = extra->cut_at > from ? extra->cut_at - from : 0;
        if (extra->flips && extra->bit / 8 >= from &&
            extra->bit / 8 < from + len) {
            unsigned char *copy = malloc(len);
            MUST(copy);
            memcpy(copy, bytes, len);
            copy[extra->bit / 8 - from] ^= (unsigned char)(1 << extra->bit % 8);
            feed(&d, copy, len);
            free(copy);
        } else {
            feed(&d, bytes, len);
        }
    }
    if (script->edits_n > 0)
        d.result.changed = att_sent_len(d.attacker, script->edits[0].on);
    if (extra->talk)
        talk(&d);
    if (extra->after && !is_over(&d))
        extra->after(d.state, d.attacker, extra->arg);
    end(&d);
    return d.result;
}

struct duel_result duel_feed(struct coili_tls_setup *setup,
                             const unsigned char *bytes, size_t len)
{
    struct duel d = { .attacker = NULL };
    begin(&d, setup, NULL);
    feed(&d, bytes, len);
    end(&d);
    return d.result;
}

const char *duel_outcome_text(int outcome)
{
    static char text[64];
    switch (outcome) {
    case DUEL_OPENS:
        return "opens";
    case DUEL_WAITS:
        return "waits";
    case DUEL_ENDED:
        return "ended";
    case DUEL_SILENT:
        return "an error without an alert";
    default:
        snprintf(text, sizeof text,
                 outcome >= DUEL_BY_PEER ? "alert %d of the peer" : "alert %d",
                 outcome >= DUEL_BY_PEER ? outcome - DUEL_BY_PEER : outcome);
        return text;
    }
}
