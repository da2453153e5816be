// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_server_sessions.c: tickets at a server of coil's own engine, and early
 * data, which it never takes.
 *
 * The client is the attacker: it brings back a ticket that it was given, with
 * one thing changed. A change that the client may have reasons for gives a full
 * handshake; one that no client has reasons for is refused.
 */
#include "duel_kit.h"

#include <stdlib.h>

#include "tls/bear/schedule.h"
#include "tls/bear/transcript.h"
#include "tls/ticket.h"
#include "tls/wire.h"

#define CH ATT_CLIENT_HELLO
#define CH2 ATT_SECOND_HELLO

#define C13(...) \
    { \
        .is_client = true, .version = 0x0304, __VA_ARGS__ \
    }
#define C12(...) \
    { \
        .is_client = true, .version = 0x0303, .ticket = true, __VA_ARGS__ \
    }

static struct coili_tls_setup *server(const struct duel_options *options)
{
    struct duel_options o = *options;
    o.is_server = true;
    struct coili_tls_setup *setup = duel_setup(coil_tls_own_engine(), &o);
    coili_ticket_keys_turn(setup->ticket_keys);
    return setup;
}

/* The session that an honest client is left with. */
static struct att_session session_of(struct coili_tls_setup *setup,
                                     const struct att_script *script)
{
    struct duel_extra extra = { .talk = true };
    struct duel_result r = duel_play(setup, script, &extra);
    test_note("a session of %#x: %s, %s", script->version,
              duel_outcome_text(r.outcome), r.complaint ? r.complaint : "");
    CHECK_INT(r.outcome, DUEL_OPENS);
    CHECK(!r.complaint);
    CHECK(r.talks);
    CHECK(!r.info.resumed);
    CHECK_INT(r.seen.tickets, 1);
    CHECK(r.has_session);
    return r.session;
}

/* What the server makes of a session that is brought back. */
enum { RESUMED = 1, FULL = 2 }; /* else the alert */

static const struct row {
    const char *name;
    int expected;
    struct att_script first, second;
    struct att_edit edits[4];
    struct duel_options options;
    int secret, ticket; /* this byte, from the end, is changed; 0: none */
    bool gets_none;     /* no new ticket */
} rows[] = {
    { .name = "1.3", .expected = RESUMED, .first = C13(), .second = C13() },
    { .name = "1.3, 1302",
      .expected = RESUMED,
      .first = C13(.suite = 0x1302),
      .second = C13(.suite = 0x1302) },
    { .name = "1.3, a suite with the same hash",
      .expected = RESUMED,
      .first = C13(.suite = 0x1301),
      .second = C13(.suite = 0x1303) },
    { .name = "1.3, a retry",
      .expected = RESUMED,
      .first = C13(),
      .second = C13(.retry = 1) },
    { .name = "1.3, a retry for P-384",
      .expected = RESUMED,
      .first = C13(),
      .second = C13(.retry = 1, .group = 24) },
    { .name = "1.3, another group",
      .expected = RESUMED,
      .first = C13(),
      .second = C13(.group = 23) },
    { .name = "1.3, in single bytes",
      .expected = RESUMED,
      .first = C13(),
      .second = C13(.chunk = 1) },
    { .name = "1.3, a client that is known",
      .expected = RESUMED,
      .first = C13(.asks = true, .presents = true),
      .second = C13(),
      .options = { .ask = COIL_TLS_ASK_ALWAYS } },
    { .name = "1.3, a protocol",
      .expected = RESUMED,
      .first = C13(.alpn = "h2"),
      .second = C13(.alpn = "h2"),
      .options = { .alpn = "h2" } },
    { .name = "1.3, without the protocol",
      .expected = FULL,
      .first = C13(.alpn = "h2"),
      .second = C13(),
      .options = { .alpn = "h2" } },
    { .name = "1.3, another name",
      .expected = FULL,
      .first = C13(),
      .second = C13(.sni = "b.test") },
    { .name = "1.3, no name",
      .expected = FULL,
      .first = C13(),
      .second = C13(.no_sni = true) },
    { .name = "1.3, changed key id",
      .expected = FULL,
      .first = C13(),
      .second = C13(),
      .ticket = 1000 },
    { .name = "1.3, changed ticket",
      .expected = FULL,
      .first = C13(),
      .second = C13(),
      .ticket = 40 },
    { .name = "1.3, changed tag",
      .expected = FULL,
      .first = C13(),
      .second = C13(),
      .ticket = 1 },
    { .name = "1.3, without a key exchange",
      .expected = FULL,
      .first = C13(),
      .second = C13(),
      .edits = { { CH, ATT_EXT_PUT, 45, 0, "\1\0", 2, ATT_SIGNED } },
      .gets_none = true },
    { .name = "1.3, ticket of 1.2",
      .expected = FULL,
      .first = C12(),
      .second = C13() },
    { .name = "1.3, wrong secret",
      .expected = 51,
      .first = C13(),
      .second = C13(),
      .secret = 1 },
    { .name = "1.3, wrong binder",
      .expected = 51,
      .first = C13(),
      .second = C13(),
      .edits = { { CH, ATT_XOR, -1, 1, NULL, 0, ATT_SENT } } },
    { .name = "1.3, wrong binder behind a retry",
      .expected = 51,
      .first = C13(),
      .second = C13(.retry = 1),
      .edits = { { CH2, ATT_XOR, -1, 1, NULL, 0, ATT_SENT } } },
    { .name = "1.3, no schemes, as it has a ticket",
      .expected = RESUMED,
      .first = C13(),
      .second = C13(),
      .edits = { { CH, ATT_EXT_DROP, 13, 0, NULL, 0, ATT_SIGNED } } },
    { .name = "1.3, no schemes, and the ticket does not open",
      .expected = 109,
      .first = C13(),
      .second = C13(),
      .edits = { { CH, ATT_EXT_DROP, 13, 0, NULL, 0, ATT_SIGNED } },
      .ticket = 1 },

    { .name = "1.2", .expected = RESUMED, .first = C12(), .second = C12() },
    { .name = "1.2, c02c",
      .expected = RESUMED,
      .first = C12(.suite = 0xc02c),
      .second = C12(.suite = 0xc02c) },
    { .name = "1.2, cca9",
      .expected = RESUMED,
      .first = C12(.suite = 0xcca9),
      .second = C12(.suite = 0xcca9) },
    { .name = "1.2, in single bytes",
      .expected = RESUMED,
      .first = C12(),
      .second = C12(.chunk = 1) },
    { .name = "1.2, a client that is known",
      .expected = RESUMED,
      .first = C12(.asks = true, .presents = true),
      .second = C12(),
      .options = { .ask = COIL_TLS_ASK_ALWAYS } },
    { .name = "1.2, a suite that is not offered any more",
      .expected = FULL,
      .first = C12(),
      .second = C12(.suite = 0xc02c) },
    { .name = "1.2, without extended master secret",
      .expected = 40,
      .first = C12(),
      .second = C12(.no_ems = true) },
    { .name = "1.2, another name",
      .expected = FULL,
      .first = C12(),
      .second = C12(.sni = "b.test") },
    { .name = "1.2, changed ticket",
      .expected = FULL,
      .first = C12(),
      .second = C12(),
      .ticket = 40 },
    { .name = "1.2, ticket of 1.3",
      .expected = FULL,
      .first = C13(),
      .second = C12() },
    { .name = "1.2, wrong secret",
      .expected = 20,
      .first = C12(),
      .second = C12(),
      .secret = 1 },
};

static void play(const struct row *row)
{
    struct duel_extra extra = { .talk = true };
    struct coili_tls_setup *setup = server(&row->options);
    struct att_session session = session_of(setup, &row->first);
    struct att_script script = row->second;
    if (row->ticket > (int)session.ticket_len)
        session.ticket[0] ^= 1;
    else if (row->ticket)
        session.ticket[session.ticket_len - (size_t)row->ticket] ^= 1;
    if (row->secret)
        session.secret[0] ^= 1;
    /* In 1.2 the attacker cannot go on with a full handshake by itself. */
    struct att_edit brings = { CH,      ATT_EXT_PUT,    35,
                               0,       session.ticket, session.ticket_len,
                               ATT_SENT };
    bool fails = script.version == 0x0303 && row->expected == FULL;
    session.version = script.version;
    script.resumes = fails ? NULL : &session;
    script.edits = fails ? &brings : row->edits;
    script.edits_n = fails ? 1 : sizeof row->edits / sizeof *row->edits;
    struct duel_result r = duel_play(setup, &script, &extra);
    int expected = row->expected > FULL ? row->expected : DUEL_OPENS;
    bool good = r.outcome == expected;
    if (expected == DUEL_OPENS)
        good &= r.info.resumed == (row->expected == RESUMED) && r.talks &&
                !r.complaint && r.seen.tickets == !row->gets_none &&
                (r.info.certificate_bytes > 0) == row->first.presents;
    if (!good)
        duel_fault(row->name, r.info.resumed ? "resumed" : "", expected, &r);
    coili_tls_setup_unref(setup);
}

TEST(server_sessions_are_resumed_as_they_were)
{
    stage_open();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        play(&rows[i]);
    stage_close();
    duel_check();
}

/* ---- Tickets ---------------------------------------------------------- */

static int tickets_for(struct coili_tls_setup *setup,
                       const struct att_script *script, bool talks)
{
    struct duel_extra extra = { .talk = talks };
    struct duel_result r = duel_play(setup, script, &extra);
    CHECK_INT(r.outcome, DUEL_OPENS);
    CHECK(!r.complaint);
    return r.seen.tickets;
}

// A ticket that is sent alone makes the kernel of a client that has closed
// answer with a reset, which destroys what that client has sent.
TEST(server_ticket_of_13_waits_for_the_first_data)
{
    struct att_script script = C13();
    stage_open();
    struct coili_tls_setup *setup = server(&(struct duel_options){ 0 });
    CHECK_INT(tickets_for(setup, &script, false), 0);
    CHECK_INT(tickets_for(setup, &script, true), 1);
    coili_tls_setup_unref(setup);
    stage_close();
}

// A client that cannot resume with a new key exchange gets none.
TEST(server_ticket_is_of_use_to_its_client)
{
    static const struct att_edit edits[] = { { CH, ATT_EXT_PUT, 45, 0, "\1\0",
                                               2, ATT_SENT } };
    struct att_script script = C13(.edits = edits, .edits_n = 1);
    struct att_script no_ems = C12(.no_ems = true);
    struct att_script unasked = { .is_client = true, .version = 0x0303 };
    stage_open();
    struct coili_tls_setup *setup = server(&(struct duel_options){ 0 });
    CHECK_INT(tickets_for(setup, &script, true), 0);
    CHECK_INT(tickets_for(setup, &no_ems, true), 0);
    CHECK_INT(tickets_for(setup, &unasked, true), 0);
    coili_tls_setup_unref(setup);
    stage_close();
}

/* ---- Early data ------------------------------------------------------- */

#define EARLY(on) \
    { \
        (on), ATT_EXT_PUT, 42, 0, "", 0, ATT_SENT \
    }
#define JUNK(on, n) \
    { \
        (on), ATT_REPEAT, ATT_DATA, (n), junk, sizeof junk, ATT_SENT \
    }

static const char junk[1000] = "a record that no key of the server opens";

static const struct early {
    const char *name;
    int outcome;
    struct att_script script;
    struct att_edit edits[4];
} earlies[] = {
    { .name = "one record",
      .outcome = DUEL_OPENS,
      .script = C13(),
      .edits = { EARLY(CH), JUNK(CH, 1) } },
    { .name = "thirty records",
      .outcome = DUEL_OPENS,
      .script = C13(),
      .edits = { EARLY(CH), JUNK(CH, 30) } },
    { .name = "forty records",
      .outcome = 20,
      .script = C13(),
      .edits = { EARLY(CH), JUNK(CH, 40) } },
    { .name = "none announced",
      .outcome = 20,
      .script = C13(),
      .edits = { JUNK(CH, 1) } },
    { .name = "before a retry",
      .outcome = DUEL_OPENS,
      .script = C13(.retry = 1),
      .edits = { EARLY(CH), JUNK(CH, 30) } },
    { .name = "too many before a retry",
      .outcome = 10,
      .script = C13(.retry = 1),
      .edits = { EARLY(CH), JUNK(CH, 40) } },
    { .name = "none announced before a retry",
      .outcome = 10,
      .script = C13(.retry = 1),
      .edits = { JUNK(CH, 1) } },
    { .name = "behind the second hello",
      .outcome = 20,
      .script = C13(.retry = 1),
      .edits = { EARLY(CH), JUNK(CH2, 1) } },
    { .name = "announced again",
      .outcome = 47,
      .script = C13(.retry = 1),
      .edits = { EARLY(CH), EARLY(CH2) } },
    /* It looks like early data. */
    { .name = "a changed record",
      .outcome = DUEL_WAITS,
      .script = C13(),
      .edits = { EARLY(CH), { ATT_FINISHED, ATT_FLIP, -1, 1, NULL, 0, 0 } } },
};

TEST(server_passes_over_early_data_within_a_bound)
{
    stage_open();
    struct coili_tls_setup *setup = server(&(struct duel_options){ 0 });
    for (size_t i = 0; i < sizeof earlies / sizeof *earlies; i++) {
        struct att_script script = earlies[i].script;
        struct duel_extra extra = { .talk = true };
        script.edits = earlies[i].edits;
        script.edits_n = sizeof earlies[i].edits / sizeof(struct att_edit);
        struct duel_result r = duel_play(setup, &script, &extra);
        if (r.outcome != earlies[i].outcome ||
            (r.outcome == DUEL_OPENS && !r.talks))
            duel_fault(earlies[i].name, "", earlies[i].outcome, &r);
    }
    coili_tls_setup_unref(setup);
    stage_close();
    duel_check();
}

// The first record that opens is the end of early data, however few came.
TEST(server_passes_over_nothing_behind_a_record_that_opens)
{
    static const struct att_edit edits[] = {
        EARLY(CH), { ATT_FINISHED, ATT_FLIP, -1, 1, NULL, 0, 0 }
    };
    struct att_script script = C13(.asks = true, .presents = true,
                                   .edits = edits, .edits_n = 2);
    stage_open();
    struct coili_tls_setup *setup = server(
        &(struct duel_options){ .ask = COIL_TLS_ASK_ALWAYS });
    struct duel_result r = duel_play(setup, &script, NULL);
    CHECK_INT(r.outcome, 20);
    coili_tls_setup_unref(setup);
    stage_close();
}

/* ---- Several tickets -------------------------------------------------- */

/*
 * A ClientHello with two tickets: one that is none of the server's, and behind
 * it that of `session`. It is made from the attacker's, which has the latter as
 * its last extension, and one binder of 32 bytes. Result: the record's length.
 */
static size_t hello_with_two(unsigned char record[4096],
                             const struct att_session *session)
{
    static const unsigned char
        alien[] = "\0\5alien\0\0\0"; /* and an age byte */
    enum { ALIEN = sizeof alien, BINDER = 33 };
    struct att_script script = C13(.resumes = session);
    struct attacker *a = att_new(&script);
    const unsigned char *bytes;
    unsigned char hash[COILI_HASH_BYTES_MAX];
    size_t len;
    CHECK(att_next(a, &bytes, &len));
    CHECK(len + ALIEN + BINDER < 4096);
    size_t identities = 2 + 4 + session->ticket_len, binders = 2 + BINDER;
    size_t head = len - identities - 2 - binders - 2;
    struct coili_writer w = { .at = record, .size = 4096 };
    coili_put_raw(&w, bytes, head);
    CHECK_INT(record[head - 2] << 8 | record[head - 1],
              COILI_EXT_PRE_SHARED_KEY);
    size_t whole = coili_put_begin(&w, 2), list = coili_put_begin(&w, 2);
    coili_put_raw(&w, alien, ALIEN);
    coili_put_raw(&w, bytes + head + 4, identities);
    coili_put_end(&w, 2, list);
    size_t truncated = w.len;
    list = coili_put_begin(&w, 2);
    coili_put_u8(&w, BINDER - 1);
    coili_put_zeros(&w, BINDER - 1);
    coili_put_u8(&w, BINDER - 1);
    coili_put_zeros(&w, BINDER - 1);
    coili_put_end(&w, 2, list);
    coili_put_end(&w, 2, whole);
    att_free(a);

    /* All lengths around it; then the binder. */
    size_t extensions = 5 + 4 + 2 + 32;
    extensions += 1u + record[extensions];
    extensions += 2 +
                  ((size_t)record[extensions] << 8 | record[extensions + 1]);
    extensions += 1u + record[extensions];
    struct coili_writer at[] = {
        { .at = record + 3, .size = 2 },
        { .at = record + 7, .size = 2 },
        { .at = record + extensions, .size = 2 },
    };
    coili_put_u16(&at[0], (unsigned)(w.len - 5));
    coili_put_u16(&at[1], (unsigned)(w.len - 9));
    coili_put_u16(&at[2], (unsigned)(w.len - extensions - 2));
    struct coili_transcript t;
    struct coili_schedule s;
    coili_transcript_init(&t);
    coili_transcript_hash_with(&t, COILI_SHA256, record + 5, truncated - 5,
                               hash);
    coili_schedule_early(&s, COILI_SHA256, session->secret,
                         session->secret_len);
    coili_schedule_binder(&s, hash, record + w.len - (BINDER - 1));
    return w.len;
}

// The server says which of the client's tickets it takes: not always the first.
TEST(server_takes_the_ticket_that_it_knows)
{
    static unsigned char record[4096];
    static const unsigned char second[] = { 0, 41, 0, 2, 0, 1 };
    struct att_script script = C13();
    stage_open();
    struct coili_tls_setup *setup = server(&(struct duel_options){ 0 });
    struct att_session session = session_of(setup, &script);
    size_t len = hello_with_two(record, &session);
    const struct coil_tls_engine *engine = setup->engine;
    char why[COILI_SENTENCE_BYTES] = "";
    struct coili_tls_handshake handshake = { .why = why,
                                             .now = (int64_t)time(NULL) };
    struct coili_tls_state *state = calloc(1, engine->state_bytes);
    struct coili_tls_out out = { 0 };
    struct coili_tls_data data = { 0 };
    CHECK(state);
    state->setup = coili_tls_setup_ref(setup);
    state->handshake = &handshake;
    CHECK_INT(engine->start(state, &out), 0);
    int event = engine->record(state, record, len, &data, &out);
    test_note("%d %#x %s", event, state->detail, why);
    while (event == COILI_TLS_WORK) {
        engine->work(state);
        event = engine->resume(state, &out);
    }
    CHECK_INT(event, COILI_TLS_QUIET);
    CHECK(out.len > 5);
    size_t hello = 5 + ((size_t)out.data[3] << 8 | out.data[4]);
    CHECK(out.len > hello);
    CHECK_MEM(out.data + hello - sizeof second, second, sizeof second);
    coili_tls_out_free(&out);
    engine->free(state);
    coili_tls_setup_unref(state->setup);
    free(state);
    coili_tls_setup_unref(setup);
    stage_close();
}

/* ---- ServerHello of 1.2 ----------------------------------------------- */

/* The ServerHello that answers a good hello with this session id. */
static void server_hello12(struct coili_tls_setup *setup,
                           const unsigned char id[33], unsigned char hello[39])
{
    struct att_edit edit = {
        CH, ATT_SPLICE, ATT_AT_SESSION, 1, id, 33, ATT_SENT
    };
    struct att_script script = C12(.edits = &edit, .edits_n = 1);
    struct attacker *a = att_new(&script);
    unsigned char record[4096];
    const unsigned char *bytes;
    char why[COILI_SENTENCE_BYTES] = "";
    struct coili_tls_handshake handshake = { .why = why,
                                             .now = (int64_t)time(NULL) };
    struct coili_tls_state *state = calloc(1, setup->engine->state_bytes);
    struct coili_tls_out out = { 0 };
    struct coili_tls_data data = { 0 };
    size_t len;
    CHECK(state && att_next(a, &bytes, &len) && len <= sizeof record);
    memcpy(record, bytes, len);
    CHECK(memmem(record, len, id, 33));
    state->setup = coili_tls_setup_ref(setup);
    state->handshake = &handshake;
    CHECK_INT(setup->engine->start(state, &out), 0);
    int event = setup->engine->record(state, record, len, &data, &out);
    while (event == COILI_TLS_WORK) {
        setup->engine->work(state);
        event = setup->engine->resume(state, &out);
    }
    CHECK_INT(event, COILI_TLS_QUIET);
    CHECK(out.len > 5 + 39);
    memcpy(hello, out.data + 5, 39);
    coili_tls_out_free(&out);
    setup->engine->free(state);
    coili_tls_setup_unref(state->setup);
    free(state);
    att_free(a);
}

// The random of a server that has 1.3 says so (RFC 8446, 4.1.3): a client that
// has it too knows then that its hello was changed. And the session id is empty:
// an echo would say that a session is resumed.
TEST(server_of_12_says_what_it_could_do)
{
    static const unsigned char id[33] = { 32, 1, 2, 3 };
    unsigned char hello[39];
    stage_open();
    for (int v = COIL_TLS_1_2; v <= COIL_TLS_1_3; v++) {
        struct coili_tls_setup *setup = server(
            &(struct duel_options){ .version_max = (enum coil_tls_version)v });
        server_hello12(setup, id, hello);
        CHECK_INT(hello[0], 2);
        CHECK_INT(hello[4] << 8 | hello[5], 0x0303);
        CHECK_INT(memcmp(hello + 6 + 24, "DOWNGRD\1", 8) == 0,
                  v == COIL_TLS_1_3);
        CHECK_INT(hello[38], 0);
        coili_tls_setup_unref(setup);
    }
    stage_close();
}

/* ---- Without memory --------------------------------------------------- */

/* What a client has sent until its first HelloRetryRequest, or at first. */
static unsigned char first_flight[4096];
static size_t first_flight_len;

static void record_first_flight(const struct att_script *script)
{
    struct attacker *a = att_new(script);
    const unsigned char *bytes;
    CHECK(att_next(a, &bytes, &first_flight_len));
    CHECK(first_flight_len <= sizeof first_flight);
    memcpy(first_flight, bytes, first_flight_len);
    att_free(a);
}

/* A server up to its first answer, with a client's certificate asked for. */
static int answer_first_flight(void)
{
    static char why[COILI_SENTENCE_BYTES];
    struct coil_tls_server_options o = COIL_TLS_SERVER_OPTIONS_INIT;
    struct coil_tls_server *made = NULL;
    struct coili_tls_handshake handshake = { .why = why,
                                             .now = (int64_t)time(NULL) };
    struct coili_tls_out out = { 0 };
    struct coili_tls_data data = { 0 };
    int err = coil_loop_new(&stage_loop, stage_options());
    if (err < 0)
        return err;
    o.engine = coil_tls_own_engine();
    o.certificate.text = att_server_pem(ATT_P256);
    o.certificate.text_bytes = strlen(o.certificate.text);
    o.ca.text = att_authority_pem();
    o.ca.text_bytes = strlen(o.ca.text);
    o.ask = COIL_TLS_ASK;
    err = coil_tls_server_new(&made, &o, NULL);
    struct coili_tls_state *state = err < 0 ? NULL
                                            : calloc(1, o.engine->state_bytes);
    if (state) {
        unsigned char record[sizeof first_flight];
        memcpy(record, first_flight, first_flight_len);
        state->setup = coili_tls_setup_ref(coili_tls_setup_of_server(made));
        state->handshake = &handshake;
        err = o.engine->start(state, &out);
        if (err == 0)
            err = o.engine->record(state, record, first_flight_len, &data,
                                   &out);
        while (err == COILI_TLS_WORK) {
            o.engine->work(state);
            err = o.engine->resume(state, &out);
        }
        CHECK(err < 0 || (err == COILI_TLS_QUIET && out.len > 0));
        coili_tls_out_free(&out);
        o.engine->free(state);
        coili_tls_setup_unref(state->setup);
    } else if (err == 0) {
        err = -ENOMEM;
    }
    free(state);
    coil_tls_server_unref(made);
    coil_loop_close(stage_loop);
    return err;
}

TEST(server_answers_a_hello_or_has_no_memory)
{
    struct att_script scripts[] = { C13(), C13(.retry = 1), C12() };
    att_server_pem(ATT_P256);
    att_authority_pem();
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        record_first_flight(&scripts[i]);
        test_note("script %zu", i);
        test_every_allocation(answer_first_flight);
    }
}
