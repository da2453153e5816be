// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_attacker.c: the attacker, when it does what is right. If an engine and
 * the attacker agree in everything then what the tables of test_hostile.c say of
 * a change is due to the change.
 */
#include "duel_kit.h"

/* Every script of a good peer, with the options that the engine needs. */
static const struct honest {
    const char *name;
    struct att_script script;
    struct duel_options options;
} honests[] = {
    { "1.3 server", { .version = 0x0304 }, { 0 } },
    { "1.3 server, 1302", { .version = 0x0304, .suite = 0x1302 }, { 0 } },
    { "1.3 server, 1303", { .version = 0x0304, .suite = 0x1303 }, { 0 } },
    { "1.3 server, RSA", { .version = 0x0304, .key = ATT_RSA }, { 0 } },
    { "1.3 server, RSA, 0806",
      { .version = 0x0304, .key = ATT_RSA, .scheme = 0x0806 },
      { 0 } },
    { "1.3 server, P-384", { .version = 0x0304, .key = ATT_P384 }, { 0 } },
    { "1.3 server, retry with P-256",
      { .version = 0x0304, .retry = 23 },
      { 0 } },
    { "1.3 server, retry with P-384 and cookie",
      { .version = 0x0304, .retry = 24, .cookie = true, .suite = 0x1302 },
      { 0 } },
    { "1.3 server, asks",
      { .version = 0x0304, .asks = true },
      { .presents = true } },
    { "1.3 server, asks and gets none",
      { .version = 0x0304, .asks = true },
      { 0 } },
    { "1.3 server, ALPN",
      { .version = 0x0304, .alpn = "h2" },
      { .alpn = "h2" } },
    { "1.3 server, in single bytes", { .version = 0x0304, .chunk = 1 }, { 0 } },
    { "1.3 server, in one record", { .version = 0x0304, .one = true }, { 0 } },
    { "1.2 server", { .version = 0x0303 }, { 0 } },
    { "1.2 server, c02c", { .version = 0x0303, .suite = 0xc02c }, { 0 } },
    { "1.2 server, cca9", { .version = 0x0303, .suite = 0xcca9 }, { 0 } },
    { "1.2 server, RSA", { .version = 0x0303, .key = ATT_RSA }, { 0 } },
    { "1.2 server, RSA, c030, 0501",
      { .version = 0x0303, .key = ATT_RSA, .suite = 0xc030, .scheme = 0x0501 },
      { 0 } },
    { "1.2 server, RSA, cca8",
      { .version = 0x0303, .key = ATT_RSA, .suite = 0xcca8 },
      { 0 } },
    { "1.2 server, P-256", { .version = 0x0303, .group = 23 }, { 0 } },
    { "1.2 server, P-384",
      { .version = 0x0303, .group = 24, .key = ATT_P384 },
      { 0 } },
    { "1.2 server, no EMS", { .version = 0x0303, .no_ems = true }, { 0 } },
    { "1.2 server, asks",
      { .version = 0x0303, .asks = true },
      { .presents = true } },
    { "1.2 server, asks and gets none",
      { .version = 0x0303, .asks = true },
      { 0 } },
    { "1.2 server, ALPN",
      { .version = 0x0303, .alpn = "h2" },
      { .alpn = "h2" } },
    { "1.2 server, in single bytes", { .version = 0x0303, .chunk = 1 }, { 0 } },
    { "1.2 server, in one record", { .version = 0x0303, .one = true }, { 0 } },

#define CLIENT .is_client = true
    { "1.3 client", { CLIENT, .version = 0x0304 }, { 0 } },
    { "1.3 client, 1302",
      { CLIENT, .version = 0x0304, .suite = 0x1302 },
      { 0 } },
    { "1.3 client, 1303",
      { CLIENT, .version = 0x0304, .suite = 0x1303 },
      { 0 } },
    { "1.3 client, RSA", { CLIENT, .version = 0x0304 }, { .key = ATT_RSA } },
    { "1.3 client, P-384", { CLIENT, .version = 0x0304 }, { .key = ATT_P384 } },
    { "1.3 client, group P-256",
      { CLIENT, .version = 0x0304, .group = 23 },
      { 0 } },
    { "1.3 client, group P-384",
      { CLIENT, .version = 0x0304, .group = 24 },
      { 0 } },
    { "1.3 client, no share",
      { CLIENT, .version = 0x0304, .retry = 1 },
      { 0 } },
    { "1.3 client, no share, P-256, 1302",
      { CLIENT, .version = 0x0304, .retry = 1, .group = 23, .suite = 0x1302 },
      { 0 } },
    { "1.3 client, presents",
      { CLIENT, .version = 0x0304, .asks = true, .presents = true },
      { .ask = COIL_TLS_ASK_ALWAYS } },
    { "1.3 client, has none",
      { CLIENT, .version = 0x0304, .asks = true },
      { .ask = COIL_TLS_ASK } },
    { "1.3 client, ALPN",
      { CLIENT, .version = 0x0304, .alpn = "h2" },
      { .alpn = "h2" } },
    { "1.3 client, in single bytes",
      { CLIENT, .version = 0x0304, .chunk = 1 },
      { 0 } },
    { "1.2 client", { CLIENT, .version = 0x0303 }, { 0 } },
    { "1.2 client, c02c",
      { CLIENT, .version = 0x0303, .suite = 0xc02c },
      { 0 } },
    { "1.2 client, cca9",
      { CLIENT, .version = 0x0303, .suite = 0xcca9 },
      { 0 } },
    { "1.2 client, RSA",
      { CLIENT, .version = 0x0303, .suite = 0xc02f },
      { .key = ATT_RSA } },
    { "1.2 client, RSA, c030",
      { CLIENT, .version = 0x0303, .suite = 0xc030 },
      { .key = ATT_RSA } },
    { "1.2 client, group P-256",
      { CLIENT, .version = 0x0303, .group = 23 },
      { 0 } },
    { "1.2 client, no EMS",
      { CLIENT, .version = 0x0303, .no_ems = true },
      { 0 } },
    { "1.2 client, presents",
      { CLIENT, .version = 0x0303, .asks = true, .presents = true },
      { .ask = COIL_TLS_ASK_ALWAYS } },
    { "1.2 client, has none",
      { CLIENT, .version = 0x0303, .asks = true },
      { .ask = COIL_TLS_ASK } },
    { "1.2 client, ALPN",
      { CLIENT, .version = 0x0303, .alpn = "h2" },
      { .alpn = "h2" } },
    { "1.2 client, in single bytes",
      { CLIENT, .version = 0x0303, .chunk = 1 },
      { 0 } },
};

static void play_all(int which)
{
    const struct coil_tls_engine *engine = duel_engine(which);
    stage_open();
    for (size_t i = 0; i < sizeof honests / sizeof *honests; i++) {
        const struct honest *h = &honests[i];
        struct duel_options options = h->options;
        options.is_server = h->script.is_client;
        struct coili_tls_setup *setup = duel_setup(engine, &options);
        struct duel_result r = duel_play(setup, &h->script,
                                         &(struct duel_extra){ .talk = true });
        test_note("%s, %s: %s, code %#x, \"%s\"", engine->name, h->name,
                  duel_outcome_text(r.outcome), (unsigned)r.code,
                  r.complaint ? r.complaint : "");
        bool good = r.outcome == DUEL_OPENS && !r.complaint &&
                    r.seen.finished && r.talks && r.left == 0 &&
                    r.info.version == h->script.version &&
                    r.seen.retry == (h->script.is_client && h->script.retry);
        if (options.is_server)
            good &= r.seen.asked == (options.ask != COIL_TLS_ASK_NOT);
        else
            good &= r.seen.certificate == options.presents;
        if (!good)
            duel_fault(h->name, r.talks ? "" : "silent", DUEL_OPENS, &r);
        coili_tls_setup_unref(setup);
    }
    stage_close();
    duel_check();
}

// An engine that talks to the attacker of each kind has the standard's formats,
// key schedules and signatures: the two have no code in common.
TEST(attacker_is_an_honest_peer_of_openssl)
{
    play_all(DUEL_OPENSSL);
}

TEST(attacker_is_an_honest_peer_of_coils_engine)
{
    play_all(DUEL_OWN);
}

static size_t first_record(const struct att_script *script, size_t *records)
{
    static unsigned char sent[16384];
    struct duel_options options = { .is_server = script->is_client };
    struct coili_tls_setup *setup = duel_setup(coil_tls_own_engine(), &options);
    struct duel_extra extra = { .sent = sent, .sent_size = sizeof sent };
    struct duel_result r = duel_play(setup, script, &extra);
    CHECK_INT(r.outcome, DUEL_OPENS);
    coili_tls_setup_unref(setup);
    *records = 0;
    for (size_t at = 0; at < r.bytes; ++*records)
        at += 5 + ((size_t)sent[at + 3] << 8 | sent[at + 4]);
    return (size_t)sent[3] << 8 | sent[4];
}

// If messages were not cut where a script says so, the tables that cut them at
// each place would play the same flight again and again.
TEST(attacker_cuts_messages_where_it_is_told)
{
    static const struct {
        bool is_client;
        uint16_t version;
        int what;
    } rows[] = { { false, 0x0304, ATT_SERVER_HELLO },
                 { false, 0x0303, ATT_SERVER_HELLO },
                 { true, 0x0304, ATT_CLIENT_HELLO },
                 { true, 0x0303, ATT_CLIENT_HELLO } };
    stage_open();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t whole, cut, single;
        struct att_script script = { .is_client = rows[i].is_client,
                                     .version = rows[i].version };
        first_record(&script, &whole);
        script.split_on = rows[i].what;
        script.split_at = 11;
        CHECK_INT(first_record(&script, &cut), 11);
        CHECK_INT(cut, whole + 1);
        script.split_at = 0;
        script.chunk = 1;
        CHECK_INT(first_record(&script, &single), 1);
        CHECK(single > whole + 100);
    }
    stage_close();
}
