// SPDX-License-Identifier: MIT
// labels: long
/*
 * test_states.c: every message in every state.
 *
 * An engine is led into each state by a good beginning of a handshake. Then one
 * message comes: each type of handshake message, known or not, with a body that
 * would be good elsewhere and with none; ChangeCipherSpec; data; alerts. What is
 * legal in a state is listed here, from RFC 8446, appendix A, and RFC 5246,
 * section 7.3, not taken from an engine. All else is alert 10.
 */
#include "duel_kit.h"

#define CH ATT_CLIENT_HELLO
#define CH2 ATT_SECOND_HELLO
#define SH ATT_SERVER_HELLO
#define HRR ATT_HELLO_RETRY
#define EE ATT_ENCRYPTED_EXTENSIONS
#define CERT ATT_CERTIFICATE
#define CR ATT_CERTIFICATE_REQUEST
#define CV ATT_CERTIFICATE_VERIFY
#define FIN ATT_FINISHED
#define SKE ATT_SERVER_KEY_EXCHANGE
#define CKE ATT_CLIENT_KEY_EXCHANGE
#define DONE ATT_SERVER_HELLO_DONE
#define NST ATT_TICKET
#define KU ATT_KEY_UPDATE
#define HR ATT_HELLO_REQUEST

/* A state, by the message that comes next in a good handshake. */
struct state {
    const char *name;
    int next;     /* ATT_END: the connection is open */
    int behind;   /* only if this has been sent; 0: whatever was */
    int legal[4]; /* types of messages; ends with -1 */
    bool keys;    /* what the attacker sends is encrypted */
};

static const struct state client_13[] = {
    /* Nobody knows yet that HelloRequest is not of this version. */
    { "WAIT_SH", HRR, 0, { SH, HRR, HR, -1 }, false },
    { "WAIT_SH behind HRR", SH, HRR, { SH, -1 }, false },
    { "WAIT_SH", SH, 0, { SH, HRR, HR, -1 }, false },
    { "WAIT_EE", EE, 0, { EE, -1 }, true },
    { "WAIT_CERT_CR", CR, 0, { CR, CERT, -1 }, true },
    { "WAIT_CERT", CERT, CR, { CERT, -1 }, true },
    { "WAIT_CERT_CR", CERT, 0, { CR, CERT, -1 }, true },
    { "WAIT_CV", CV, 0, { CV, -1 }, true },
    { "WAIT_FIN", FIN, 0, { FIN, -1 }, true },
    { "OPEN", ATT_END, 0, { NST, KU, -1 }, true },
};

static const struct state client_12[] = {
    { "WAIT_SH", SH, 0, { SH, HRR, HR, -1 }, false },
    { "WAIT_CERT", CERT, 0, { CERT, HR, -1 }, false },
    { "WAIT_SKE", SKE, 0, { SKE, HR, -1 }, false },
    { "WAIT_CR_OR_DONE", CR, 0, { CR, DONE, HR, -1 }, false },
    { "WAIT_DONE", DONE, CR, { DONE, HR, -1 }, false },
    { "WAIT_CR_OR_DONE", DONE, 0, { CR, DONE, HR, -1 }, false },
    { "WAIT_TICKET", NST, 0, { NST, HR, -1 }, false },
    { "WAIT_CCS", ATT_CCS, 0, { ATT_CCS, HR, -1 }, false },
    { "WAIT_FIN", FIN, 0, { FIN, HR, -1 }, true },
    { "OPEN", ATT_END, 0, { HR, -1 }, true },
};

static const struct state server_13[] = {
    { "WAIT_CH", CH, 0, { CH, -1 }, false },
    { "WAIT_CH2", CH2, 0, { CH, -1 }, false },
    { "WAIT_CERT", CERT, 0, { CERT, -1 }, true },
    { "WAIT_CV", CV, 0, { CV, -1 }, true },
    { "WAIT_FIN", FIN, 0, { FIN, -1 }, true },
    { "OPEN", ATT_END, 0, { KU, -1 }, true },
};

static const struct state server_12[] = {
    { "WAIT_CH", CH, 0, { CH, -1 }, false },
    { "WAIT_CERT", CERT, 0, { CERT, -1 }, false },
    { "WAIT_CKE", CKE, 0, { CKE, -1 }, false },
    { "WAIT_CV", CV, 0, { CV, -1 }, false },
    { "WAIT_CCS", ATT_CCS, 0, { ATT_CCS, -1 }, false },
    { "WAIT_FIN", FIN, 0, { FIN, -1 }, true },
    { "OPEN", ATT_END, 0, { -1 }, true },
};

/* Handshakes that come through all states. */
static const struct path {
    const char *name;
    struct att_script script;
    struct duel_options options;
} paths[] = {
#define S13(...) \
    { \
        .version = 0x0304, __VA_ARGS__ \
    }
#define S12(...) \
    { \
        .version = 0x0303, __VA_ARGS__ \
    }
#define C13(...) \
    { \
        .is_client = true, .version = 0x0304, __VA_ARGS__ \
    }
#define C12(...) \
    { \
        .is_client = true, .version = 0x0303, __VA_ARGS__ \
    }
    { "client 1.3", S13(.key = ATT_P256), { 0 } },
    { "client 1.3, retry", S13(.retry = 23), { 0 } },
    { "client 1.3, asked", S13(.asks = true), { .presents = true } },
    { "client 1.2", S12(.key = ATT_P256), { 0 } },
    { "client 1.2, asked", S12(.asks = true), { .presents = true } },
    { "client 1.2, no EMS", S12(.no_ems = true), { 0 } },
    { "client 1.2, ticket", S12(.ticket = true), { 0 } },
    { "server 1.3", C13(.key = ATT_P256), { 0 } },
    { "server 1.3, retry", C13(.retry = 1), { 0 } },
    { "server 1.3, asks",
      C13(.asks = true, .presents = true),
      { .ask = COIL_TLS_ASK } },
    { "server 1.3, asks in vain", C13(.asks = true), { .ask = COIL_TLS_ASK } },
    { "server 1.2", C12(.key = ATT_P256), { 0 } },
    { "server 1.2, asks",
      C12(.asks = true, .presents = true),
      { .ask = COIL_TLS_ASK } },
    { "server 1.2, asks in vain", C12(.asks = true), { .ask = COIL_TLS_ASK } },
};

static const struct state *state_at(const struct path *path, const int *steps,
                                    size_t at, size_t n)
{
    bool is_13 = path->script.version == 0x0304;
    const struct state *states = path->script.is_client
                                     ? is_13 ? server_13 : server_12
                                 : is_13 ? client_13
                                         : client_12;
    int next = ATT_END;
    for (size_t i = n; i-- > at;)
        if (steps[i] != ATT_FLUSH && (!is_13 || steps[i] != ATT_CCS))
            next = steps[i];
    for (;; states++) {
        bool was_sent = states->behind == 0;
        for (size_t i = 0; i < at; i++)
            was_sent = was_sent || steps[i] == states->behind;
        if (states->next == next && was_sent)
            return states;
        CHECK(states->next != ATT_END);
    }
}

static bool is_legal(const struct state *state, int what)
{
    for (const int *legal = state->legal; *legal >= 0; legal++)
        if (*legal == what)
            return true;
    return false;
}

/* Where OpenSSL may differ: it is more lenient, or says so in other words. */
static const struct difference {
    const char *path;  /* a beginning of its name */
    const char *state; /* "WAIT_": each of them */
    int what;
    const char *kind; /* NULL: any */
    int outcome;
} openssl_differs[] = {
    /* It passes over HelloRequest in any handshake. */
    { "client 1.3", "WAIT_", HR, NULL, DUEL_WAITS },
    { "client 1.3", "WAIT_", ATT_CCS, "of two", 47 },
    { "server 1.3", "WAIT_", ATT_CCS, "of two", 47 },
    /* What is too short to be decrypted is an "internal error". */
    { "client 1.2", "WAIT_FIN", ATT_CCS, NULL, 80 },
    { "server 1.2", "WAIT_FIN", ATT_CCS, NULL, 80 },
    { "client 1.2", "OPEN", ATT_CCS, NULL, 80 },
    { "server 1.2", "OPEN", ATT_CCS, NULL, 80 },
    /* Between CCS and Finished, and before ClientHello, it takes no alert. */
    { "client 1.2", "WAIT_FIN", ATT_ALERT, NULL, 10 },
    { "server 1.2", "WAIT_FIN", ATT_ALERT, NULL, 10 },
    { "server 1.3", "WAIT_CH", ATT_ALERT, NULL, 10 },
    { "server 1.2", "WAIT_CH", ATT_ALERT, NULL, 10 },
    /* It refuses to renegotiate by a warning. */
    { "server 1.2", "OPEN", CH, NULL, DUEL_OPENS },
    { NULL, NULL, 0, NULL, 0 },
};

struct moment {
    const struct path *path;
    const struct state *state;
    int which;
    size_t at;
    struct coili_tls_setup *setup;
    bool first; /* nothing was sent before */
};

static bool is_state(const struct state *state, const char *name)
{
    if (!strcmp(name, "WAIT_"))
        return state->next != ATT_END;
    return !strcmp(state->name, name);
}

static int expected_outcome(const struct moment *m, int what, const char *kind,
                            int expected)
{
    const struct difference *d = openssl_differs;
    bool of_stream = expected == DUEL_SILENT; /* no engine sees this record */
    for (; m->which == DUEL_OPENSSL && !of_stream && d->path; d++)
        if (!strncmp(m->path->name, d->path, strlen(d->path)) &&
            is_state(m->state, d->state) && what == d->what &&
            (!d->kind || !strcmp(d->kind, kind)))
            return d->outcome;
    return expected;
}

/* What is not an error leaves the state as it is, or leads to the next one. */
static bool goes_on(int outcome)
{
    return outcome == DUEL_WAITS || outcome == DUEL_OPENS;
}

enum { GOES_ON = -1, NOT_10 = -2 };

static void inject(const struct moment *m, int what, const char *kind,
                   const void *bytes, size_t len, bool plain, int expected)
{
    struct att_script script = m->path->script;
    struct att_edit edit = { what, ATT_PLAIN, 0, 0, NULL, 0, ATT_SENT };
    char how[128];
    script.stops = true;
    script.stop_at = m->at;
    script.then = what;
    script.then_bytes = bytes;
    script.then_len = len;
    script.edits = &edit;
    script.edits_n = plain;
    int usual = expected;
    expected = expected_outcome(m, what, kind, expected);
    snprintf(how, sizeof how, "%s, %s, message %#x", m->state->name, kind,
             (unsigned)what);
    test_note("%s, %s", m->path->name, how);
    struct duel_result r = duel_play(m->setup, &script, NULL);
    bool was_open = m->state->next == ATT_END;
    bool good = expected == GOES_ON  ? goes_on(r.outcome)
                : expected == NOT_10 ? r.outcome != 10
                                     : r.outcome == expected ||
                                           r.outcome == usual;
    if (!good || (r.opened && !was_open && m->state->next != what))
        duel_fault(m->path->name, how, expected, &r);
}

/* Each type, with a good body and with none. */
static void inject_messages(const struct moment *m)
{
    bool is_13 = m->path->script.version == 0x0304;
    bool renegotiates = m->state->next == ATT_END && !is_13 &&
                        m->path->script.is_client;
    for (int type = 0; type < 256; type++) {
        bool known = type <= 25 || type == 67 || type == 254 || type == 99;
        int expected = 10;
        if (is_legal(m->state, type))
            expected = type == m->state->next || type == HR ? GOES_ON : NOT_10;
        else if (type == CH && renegotiates)
            expected = 100;
        if (!known && (test_is_slow() || strchr(m->path->name, ',')))
            continue;
        inject(m, type, "good", NULL, 0, false, expected);
        if (known && !is_legal(m->state, type))
            inject(m, type, "empty", "", 0, false, expected);
    }
    bool legal = is_legal(m->state, HRR);
    inject(m, HRR, "good", NULL, 0, false, legal ? NOT_10 : 10);
}

static void inject_records(const struct moment *m)
{
    bool is_13 = m->path->script.version == 0x0304;
    bool open = m->state->next == ATT_END, keys = m->state->keys;
    bool sh_was_sent = m->state->next != SH && m->state->next != HRR &&
                       m->state->next != CH && m->state->next != CH2;
    int ccs = 10, data = open ? GOES_ON : 10;
    if (is_13 && !open)
        ccs = GOES_ON;
    else if (!is_13)
        ccs = m->state->next == ATT_CCS || m->state->next == SH ? GOES_ON
              : keys                                            ? 20
                                                                : 10;
    if (m->first)
        ccs = data = DUEL_SILENT;
    inject(m, ATT_CCS, "", NULL, 0, false, ccs);
    inject(m, ATT_CCS, "of two", "\1\1", 2, false,
           m->first         ? DUEL_SILENT
           : !is_13 && keys ? 20
                            : 10);
    inject(m, ATT_DATA, "", NULL, 0, false, data);
    inject(m, ATT_ALERT, "fatal", NULL, 0, false, DUEL_BY_PEER + 40);
    inject(m, ATT_ALERT, "close_notify", "\1\0", 2, false, DUEL_ENDED);
    inject(m, ATT_ALERT, "user_canceled", "\1\x5a", 2, false, GOES_ON);
    if (!is_13 || !keys || !sh_was_sent)
        return;
    /* An alert that anybody could have sent. */
    bool believed = m->path->script.is_client && m->state->next != ATT_END &&
                    m->state->next != CV &&
                    !(m->state->next == FIN && m->path->script.asks);
    inject(m, ATT_ALERT, "plain", NULL, 0, true,
           believed ? DUEL_BY_PEER + 40 : 10);
    inject(m, ATT_DATA, "plain", NULL, 0, true, 20);
    inject(m, SH, "plain", NULL, 0, true, 10);
}

static void walk(const struct path *path, int which)
{
    struct duel_options options = path->options;
    int steps[64];
    struct moment m = { .path = path, .which = which };
    options.is_server = path->script.is_client;
    options.any_certificate = true;
    m.setup = duel_setup(duel_engine(which), &options);
    struct duel_result r = duel_play(m.setup, &path->script, NULL);
    if (path->script.ticket && !r.seen.offers_ticket) {
        /* Then it refuses to be sent one: see hostile.h. */
        CHECK_INT(r.outcome, 110);
        coili_tls_setup_unref(m.setup);
        return;
    }
    CHECK_INT(r.outcome, DUEL_OPENS);
    struct attacker *a = att_new(&path->script);
    size_t n = att_steps(a, steps, sizeof steps / sizeof *steps);
    att_free(a);
    for (m.at = 0; m.at <= n; m.at++) {
        if (m.at > 0 && steps[m.at - 1] == ATT_FLUSH && m.at < n)
            continue;
        if (m.at == n - 1 && steps[m.at] == ATT_FLUSH)
            continue;
        m.state = state_at(path, steps, m.at, n);
        m.first = m.at == 0;
        inject_messages(&m);
        inject_records(&m);
    }
    coili_tls_setup_unref(m.setup);
}

static void walk_all(int which)
{
    test_timeout(120);
    stage_open();
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        walk(&paths[i], which);
    stage_close();
    duel_check();
}

// A message out of turn is how a handshake is skipped: FREAK, SKIP-TLS, early CCS.
TEST(states_of_coils_engine_take_what_is_legal_alone)
{
    walk_all(DUEL_OWN);
}

TEST(states_of_openssl_take_what_is_legal_alone)
{
    walk_all(DUEL_OPENSSL);
}
