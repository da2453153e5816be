// SPDX-License-Identifier: MIT
/*
 * setup.c: from options to a setup, which never changes.
 *
 * Options of clients and of servers differ in a few fields, but make one kind
 * of setup: an engine looks at is_server. All that can be wrong in a file is
 * found here, so no connection fails because of it later.
 *
 * Several loops may share a setup, so its memory comes from malloc(), as that
 * of all objects which threads share.
 */
#include "setup.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/options.h"
#include "ticket.h"
#include "tls/bear/verify.h"
#include "words.h"

_Static_assert(sizeof(struct coil_tls_why) == COILI_SENTENCE_BYTES,
               "a sentence of trust.h fits into struct coil_tls_why");

/* A peer that was verified is verified again after a day, if sessions of it are
 * resumed until then. */
enum { BELIEVED_SECONDS = 24 * 3600 };

/* The options that clients and servers share. */
struct common {
    const char *call;
    const struct coil_tls_engine *engine;
    enum coil_tls_verify verify;
    const struct coil_tls_pem *ca, *certificate, *key;
    const unsigned char *pins;
    size_t pins_n;
    const char *const *alpn;
    size_t alpn_n;
    enum coil_tls_version version_min, version_max;
    int64_t handshake_ns, close_ns;
    struct coil_executor *executor;
};

struct coili_tls_setup *coili_tls_setup_ref(struct coili_tls_setup *setup)
{
    atomic_fetch_add_explicit(&setup->references, 1, memory_order_relaxed);
    return setup;
}

void coili_tls_setup_unref(struct coili_tls_setup *setup)
{
    if (!setup || atomic_fetch_sub_explicit(&setup->references, 1,
                                            memory_order_acq_rel) > 1)
        return;
    if (setup->prepared)
        setup->engine->forget(setup);
    coili_trust_unref(setup->trust);
    coili_identity_unref(setup->identity);
    coil_tls_ticket_keys_unref(setup->ticket_keys);
    free(setup);
}

/* ---- Checks of options: a mistake of the programmer aborts ------------- */

/* The name of each protocol behind a byte with its length. */
static void take_alpn(struct coili_tls_setup *setup, const struct common *o)
{
    coili_check(o->alpn || !o->alpn_n, "options.alpn is NULL, alpn_n is not 0");
    size_t at = 0;
    for (size_t i = 0; i < o->alpn_n; i++) {
        coili_check(o->alpn[i], "options.alpn: an element is NULL");
        size_t len = strlen(o->alpn[i]);
        if (len < 1 || len > 255)
            coili_bad_option(o->call, "the length of a name in alpn",
                             (int64_t)len, "must be 1 to 255");
        if (at + 1 + len > sizeof setup->alpn)
            coili_bad_option(o->call, "alpn_n", (int64_t)o->alpn_n,
                             "all names together must fit into 256 bytes");
        setup->alpn[at] = (unsigned char)len;
        memcpy(setup->alpn + at + 1, o->alpn[i], len);
        at += 1 + len;
    }
    setup->alpn_bytes = (uint16_t)at;
}

static void check_version(const struct common *o, const char *name,
                          enum coil_tls_version version)
{
    if (version != 0 && version != COIL_TLS_1_2 && version != COIL_TLS_1_3)
        coili_bad_option(o->call, name, (int64_t)version,
                         "must be COIL_TLS_1_2 or COIL_TLS_1_3");
}

static void take_versions(struct coili_tls_setup *setup, const struct common *o)
{
    check_version(o, "version_min", o->version_min);
    check_version(o, "version_max", o->version_max);
    setup->version_min = o->version_min ? (uint16_t)o->version_min
                                        : COIL_TLS_1_2;
    setup->version_max = o->version_max ? (uint16_t)o->version_max
                                        : COIL_TLS_1_3;
    if (setup->version_min > setup->version_max)
        coili_bad_option(o->call, "version_min", setup->version_min,
                         "must not be above version_max");
}

/* ---- Files and texts -------------------------------------------------- */

static int take_trust(struct coili_tls_setup *setup, const struct common *o,
                      char *why)
{
    static const enum coili_trust_mode modes[] = {
        [COIL_TLS_VERIFY_CHAIN] = COILI_TRUST_CHAIN,
        [COIL_TLS_VERIFY_PIN_ONLY] = COILI_TRUST_PIN_ONLY,
        [COIL_TLS_VERIFY_NONE] = COILI_TRUST_NONE,
    };
    if ((unsigned)o->verify > COIL_TLS_VERIFY_NONE)
        coili_bad_option(o->call, "verify", (int64_t)o->verify,
                         "must be one of enum coil_tls_verify");
    struct coili_trust_options options = {
        .mode = modes[o->verify],
        .ca_file = o->ca->file,
        .ca = o->ca->file ? NULL : o->ca->text,
        .ca_len = o->ca->text_bytes,
        .pins = o->pins,
        .pins_n = o->pins_n,
    };
    return coili_trust_new(&setup->trust, &options, why);
}

static bool is_given(const struct coil_tls_pem *pem)
{
    return pem->file || pem->text;
}

static int take_identity(struct coili_tls_setup *setup, const struct common *o,
                         char *why)
{
    if (!is_given(o->certificate)) {
        if (!setup->is_server && !is_given(o->key))
            return 0;
        snprintf(why, COILI_SENTENCE_BYTES, "%s: there is no certificate",
                 o->call);
        return -EINVAL;
    }
    struct coili_pem_source certificate = { o->certificate->file,
                                            o->certificate->text,
                                            o->certificate->text_bytes };
    struct coili_pem_source key = { o->key->file, o->key->text,
                                    o->key->text_bytes };
    return coili_identity_new(&setup->identity, &certificate, &key, why);
}

/* ---- A setup ---------------------------------------------------------- */

/*
 * Sessions rely on what was verified when they began, and on the certificate
 * that the other end was shown: a setup that differs in one of these must not
 * resume them.
 */
static void make_id(struct coili_tls_setup *setup)
{
    struct {
        char what[16];
        uint16_t version_min, version_max, is_server, ask;
        unsigned char engine[COILI_SHA256_BYTES], trust[COILI_SHA256_BYTES];
        unsigned char leaf[COILI_SHA256_BYTES], alpn[COILI_SHA256_BYTES];
    } all = {
        .what = "coil TLS setup 1",
        .version_min = setup->version_min,
        .version_max = setup->version_max,
        .is_server = setup->is_server,
        .ask = (uint16_t)setup->ask,
    };
    const char *engine = setup->engine->name;
    coili_bear_sha256(all.engine, engine, strlen(engine));
    coili_bear_sha256(all.alpn, setup->alpn, setup->alpn_bytes);
    if (setup->trust)
        coili_trust_id(setup->trust, all.trust);
    if (setup->identity)
        coili_bear_sha256(all.leaf, setup->identity->leaf.der.at,
                          setup->identity->leaf.der.len);
    coili_bear_sha256(setup->id, &all, sizeof all);
}

static int fill_in(struct coili_tls_setup *setup, const struct common *o,
                   char *why)
{
    take_alpn(setup, o);
    take_versions(setup, o);
    setup->engine = o->engine ? o->engine : coil_tls_own_engine();
    setup->handshake_ns = o->handshake_ns ? o->handshake_ns : COIL_SECONDS(60);
    setup->close_ns = o->close_ns ? o->close_ns : COIL_SECONDS(5);
    setup->executor = o->executor;
    setup->verifies_name = o->verify == COIL_TLS_VERIFY_CHAIN;
    int err = 0;
    if (!setup->is_server || setup->ask != COIL_TLS_ASK_NOT)
        err = take_trust(setup, o, why);
    if (err == 0)
        err = take_identity(setup, o, why);
    if (err < 0)
        return err;
    make_id(setup);
    return setup->engine->prepare(setup, why);
}

/* A reference to those of the options, or new ones. */
static int take_ticket_keys(struct coili_tls_setup *setup,
                            const struct coil_tls_server_options *o)
{
    if (o->no_tickets)
        return 0;
    setup->ticket_keys = o->ticket_keys
                             ? coil_tls_ticket_keys_ref(o->ticket_keys)
                             : coil_tls_ticket_keys_new();
    return setup->ticket_keys ? 0 : -ENOMEM;
}

/* Takes `setup`, which may be NULL. */
static int finish(struct coili_tls_setup **out, struct coili_tls_setup *setup,
                  const struct common *o, struct coil_tls_why *why)
{
    char sentence[COILI_SENTENCE_BYTES] = "";
    int err = setup ? fill_in(setup, o, sentence) : -ENOMEM;
    if (err < 0) {
        coili_tls_setup_unref(setup);
        if (why)
            snprintf(why->text, sizeof why->text, "%s",
                     *sentence ? sentence : coil_strerror(err));
        return err;
    }
    *out = setup;
    return 0;
}

static struct coili_tls_setup *setup_new(void)
{
    coili_tls_register_words();
    struct coili_tls_setup *setup = calloc(1, sizeof *setup);
    if (setup)
        atomic_init(&setup->references, 1);
    return setup;
}

int coil_tls_client_new(struct coil_tls_client **out,
                        const struct coil_tls_client_options *given,
                        struct coil_tls_why *why)
{
    static const char call[] = "coil_tls_client_new";
    coili_check(out, "coil_tls_client_new: out is NULL");
    struct coil_tls_client_options o;
    coili_options_read(&o, sizeof o, sizeof o, given, call,
                       "COIL_TLS_CLIENT_OPTIONS_INIT");
    struct common common = {
        .call = call,
        .engine = o.engine,
        .verify = o.verify,
        .ca = &o.ca,
        .certificate = &o.certificate,
        .key = &o.key,
        .pins = o.pins,
        .pins_n = o.pins_n,
        .alpn = o.alpn,
        .alpn_n = o.alpn_n,
        .version_min = o.version_min,
        .version_max = o.version_max,
        .handshake_ns = o.handshake_ns,
        .close_ns = o.close_ns,
        .executor = o.executor,
    };
    struct coili_tls_setup *setup = setup_new();
    if (setup)
        setup->client.ops = &coili_tls_client_ops;
    int err = finish(&setup, setup, &common, why);
    if (err == 0)
        *out = &setup->client;
    return err;
}

int coil_tls_server_new(struct coil_tls_server **out,
                        const struct coil_tls_server_options *given,
                        struct coil_tls_why *why)
{
    static const char call[] = "coil_tls_server_new";
    coili_check(out, "coil_tls_server_new: out is NULL");
    struct coil_tls_server_options o;
    coili_options_read(&o, sizeof o, sizeof o, given, call,
                       "COIL_TLS_SERVER_OPTIONS_INIT");
    if ((unsigned)o.ask > COIL_TLS_ASK_ALWAYS)
        coili_bad_option(call, "ask", (int64_t)o.ask,
                         "must be one of enum coil_tls_ask");
    struct common common = {
        .call = call,
        .engine = o.engine,
        .verify = o.verify,
        .ca = &o.ca,
        .certificate = &o.certificate,
        .key = &o.key,
        .pins = o.pins,
        .pins_n = o.pins_n,
        .alpn = o.alpn,
        .alpn_n = o.alpn_n,
        .version_min = o.version_min,
        .version_max = o.version_max,
        .handshake_ns = o.handshake_ns,
        .close_ns = o.close_ns,
        .executor = o.executor,
    };
    struct coili_tls_setup *setup = setup_new();
    if (setup) {
        setup->is_server = true;
        setup->ask = o.ask;
        setup->choose = o.choose;
        setup->choose_arg = o.choose_arg;
        if (take_ticket_keys(setup, &o) < 0) {
            coili_tls_setup_unref(setup);
            setup = NULL;
        }
    }
    int err = finish(&setup, setup, &common, why);
    if (err == 0)
        *out = (struct coil_tls_server *)(void *)setup;
    return err;
}

struct coil_tls_client *coil_tls_client_ref(struct coil_tls_client *client)
{
    coili_check(client, "coil_tls_client_ref: client is NULL");
    return client->ops->ref(client);
}

void coil_tls_client_unref(struct coil_tls_client *client)
{
    if (client)
        client->ops->unref(client);
}

struct coil_tls_server *coil_tls_server_ref(struct coil_tls_server *server)
{
    coili_check(server, "coil_tls_server_ref: server is NULL");
    coili_tls_setup_ref(coili_tls_setup_of_server(server));
    return server;
}

void coil_tls_server_unref(struct coil_tls_server *server)
{
    coili_tls_setup_unref(coili_tls_setup_of_server(server));
}

/* ---- For the engines -------------------------------------------------- */

int coili_tls_judge(struct coili_tls_state *state,
                    const struct coili_chain *chain, bool tls13,
                    struct coili_verdict *verdict)
{
    const struct coili_tls_setup *setup = state->setup;
    struct coili_tls_handshake *h = state->handshake;
    struct coili_question question = {
        .role = setup->is_server ? COILI_PEER_IS_CLIENT : COILI_PEER_IS_SERVER,
        .host = setup->is_server ? NULL : h->name,
        .now = h->now,
        .tls13 = tls13,
    };
    int err = coili_trust_judge(setup->trust, chain, &question, verdict);
    if (err < 0) {
        snprintf(h->why, COILI_SENTENCE_BYTES, "%s", verdict->sentence);
        state->detail = coili_tls_detail(err == COIL_ECERT ? (int)verdict->fault
                                                           : 0);
        return err;
    }
    state->believed_until = h->now + BELIEVED_SECONDS;
    if (setup->verifies_name && verdict->not_after < state->believed_until)
        state->believed_until = verdict->not_after;
    return 0;
}

void coili_tls_resumed(struct coili_tls_state *state,
                       const struct coili_tls_session *session)
{
    state->believed_until = session->believed_until;
    state->handshake->resumed = true;
}

bool coili_tls_choose(struct coili_tls_state *state)
{
    struct coili_tls_setup *setup = state->setup;
    if (!setup->choose)
        return true;
    struct coil_tls_server *chosen = setup->choose(
        (struct coil_tls_server *)(void *)setup, state->handshake->asked,
        setup->choose_arg);
    if (!chosen)
        return false;
    struct coili_tls_setup *to = coili_tls_setup_of_server(chosen);
    coili_check(to->is_server && to->engine == setup->engine,
                "coil_tls_choose_fn: the setup has another engine");
    coili_tls_setup_ref(to);
    coili_tls_setup_unref(setup);
    state->setup = to;
    if (to->ticket_keys)
        coili_ticket_keys_turn(to->ticket_keys);
    return true;
}
