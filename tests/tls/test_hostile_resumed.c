// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_hostile_resumed.c: hostile flights in which a session is resumed, or is
 * not. A client has a session whose secret the attacker knows; a server has
 * given the attacker a ticket in a handshake before.
 */
#include "duel_kit.h"
#include "hostile.h"

enum change { NOTHING, OTHER_SECRET, OTHER_TICKET, OTHER_VERSION };

struct row {
    const char *name;
    int alert;
    int openssl; /* another outcome that it may have; 0: none */
    bool full;   /* it opens, but by a full handshake */
    struct att_script script;
    struct duel_options options;
    struct att_edit edits[4];
    enum change change; /* of what the attacker has */
    uint16_t suite;     /* of the session; 0: that of the script */
};

static const struct row rows[] = {
    { .name = "a session of 1.3", .alert = DUEL_OPENS, .script = S13() },
    { .name = "a session of 1.3 with 1302",
      .alert = DUEL_OPENS,
      .script = S13(.suite = 0x1302) },
    { .name = "a session of 1.3, other suite of that hash",
      .alert = DUEL_OPENS,
      .script = S13(.suite = 0x1303),
      .suite = 0x1301 },
    { .name = "a session of 1.3 behind a retry",
      .alert = DUEL_OPENS,
      .script = S13(.retry = 23) },
    { .name = "a session of 1.3 that is declined",
      .alert = DUEL_OPENS,
      .full = true,
      .script = S13(.declines = true) },
    { .name = "declined, and the certificate is a stranger's",
      .alert = 48,
      .script = S13(.declines = true),
      .options = { .stranger = true } },
    { .name = "declined, and the signature is wrong",
      .alert = 51,
      .script = S13(.declines = true, .signature = ATT_SIGN_BIT) },
    { .name = "declined, and there is no Certificate",
      .alert = 10,
      .script = S13(.declines = true),
      .edits = { DROP(CERT), DROP(CV) } },
    { .name = "identity 1",
      .alert = 47,
      .script = S13(),
      .edits = { EXT(SH, 41, "\0\1") } },
    { .name = "identity of 3 bytes",
      .alert = 50,
      .script = S13(),
      .edits = { EXT(SH, 41, "\0\0\0") } },
    { .name = "suite of another hash",
      .alert = 47,
      .script = S13(.suite = 0x1302),
      .suite = 0x1301 },
    { .name = "PSK without a share",
      .alert = 109,
      .script = S13(),
      .edits = { NO_EXT(SH, 51) } },
    { .name = "a server that does not know the PSK",
      .alert = 20,
      .script = S13(),
      .change = OTHER_SECRET },
    { .name = "Certificate, and a session is resumed",
      .alert = 10,
      .script = S13(),
      .edits = { AFTER(EE, CERT) } },
    { .name = "CertificateRequest, and a session is resumed",
      .alert = 10,
      .script = S13(),
      .edits = { AFTER(EE, CR) } },
    { .name = "CertificateVerify, and a session is resumed",
      .alert = 10,
      .script = S13(),
      .edits = { AFTER(EE, CV) } },
    { .name = "Finished wrong",
      .alert = 51,
      .script = S13(),
      .edits = { FLIP(FIN, 0) } },
    { .name = "no share is zeros with a PSK",
      .alert = 47,
      .script = S13(.share = ATT_SHARE_ZEROS) },

    { .name = "a session of 1.2", .alert = DUEL_OPENS, .script = S12() },
    { .name = "a session of 1.2, and a new ticket",
      .alert = DUEL_OPENS,
      .script = S12(.ticket = true) },
    { .name = "a session of 1.2 that is declined",
      .alert = DUEL_OPENS,
      .full = true,
      .script = S12(.declines = true) },
    { .name = "1.2: declined, and the certificate is a stranger's",
      .alert = 48,
      .script = S12(.declines = true),
      .options = { .stranger = true } },
    { .name = "1.2: other suite",
      .alert = 47,
      .script = S12(.suite = 0xcca9),
      .suite = 0xc02b },
    { .name = "1.2: without EMS", .alert = 40, .script = S12(.no_ems = true) },
    { .name = "1.2: Certificate behind ServerHello",
      .alert = 10,
      .script = S12(),
      .edits = { AFTER(SH, CERT) } },
    { .name = "1.2: ServerHelloDone behind ServerHello",
      .alert = 10,
      .script = S12(),
      .edits = { AFTER(SH, DONE) } },
    { .name = "1.2: no CCS",
      .alert = 10,
      .script = S12(),
      .edits = { DROP(ATT_CCS) } },
    { .name = "1.2: a server that does not know the secret",
      .alert = 20,
      .script = S12(),
      .change = OTHER_SECRET },
    { .name = "1.2: Finished wrong",
      .alert = 51,
      .script = S12(),
      .edits = { FLIP(FIN, 0) } },

    { .name = "a ticket of 1.3", .alert = DUEL_OPENS, .script = C13() },
    { .name = "a ticket of 1.3 with 1302",
      .alert = DUEL_OPENS,
      .script = C13(.suite = 0x1302) },
    { .name = "a ticket of 1.3 behind a retry",
      .alert = DUEL_OPENS,
      .script = C13(.retry = 1) },
    { .name = "a ticket of 1.3, suite of another hash",
      .alert = DUEL_OPENS,
      .full = true,
      .script = C13(.suite = 0x1302),
      .suite = 0x1301 },
    { .name = "a ticket with another byte",
      .alert = DUEL_OPENS,
      .full = true,
      .script = C13(),
      .change = OTHER_TICKET },
    { .name = "a ticket for another name",
      .alert = DUEL_OPENS,
      .full = true,
      .script = C13(.sni = "b.test") },
    { .name = "binder wrong",
      .alert = 51,
      .openssl = 47,
      .script = C13(),
      .edits = { FLIP(CH, -1) } },
    { .name = "binder wrong in its first byte",
      .alert = 51,
      .openssl = 47,
      .script = C13(),
      .edits = { FLIP(CH, -32) } },
    { .name = "binder of another secret",
      .alert = 51,
      .openssl = 47,
      .script = C13(),
      .change = OTHER_SECRET },
    { .name = "binder short",
      .alert = 50,
      .script = C13(),
      .edits = { PUT(CH, -1, 1, "") } },
    { .name = "binder wrong behind a retry",
      .alert = 51,
      .openssl = 47,
      .script = C13(.retry = 1),
      .edits = { FLIP(CH2, -1) } },
    { .name = "pre_shared_key not last",
      .alert = 47,
      .script = C13(),
      .edits = { EXT(CH, 0x1234, "") } },
    { .name = "pre_shared_key without its modes",
      .alert = 109,
      .script = C13(),
      .edits = { NO_EXT(CH, 45) } },
    { .name = "a ticket, and Finished wrong",
      .alert = 51,
      .script = C13(),
      .edits = { FLIP(FIN, 0) } },
    { .name = "a ticket, and a Certificate",
      .alert = 10,
      .script = C13(),
      .edits = { BEFORE(FIN, CERT) } },
    { .name = "a ticket, and X25519 zeros",
      .alert = 47,
      .script = C13(.share = ATT_SHARE_ZEROS) },

    { .name = "a ticket of 1.2", .alert = DUEL_OPENS, .script = C12() },
    { .name = "1.2: a ticket with another byte",
      .alert = DUEL_OPENS,
      .full = true,
      .script = C12(),
      .change = OTHER_TICKET },
    { .name = "1.2: a ticket for another name",
      .alert = DUEL_OPENS,
      .full = true,
      .script = C12(.sni = "b.test") },
    { .name = "1.2: a ticket with EMS, and a hello without",
      .alert = 40,
      .script = C12(.no_ems = true) },
    { .name = "1.2: a ticket, and CKE",
      .alert = 10,
      .script = C12(),
      .edits = { BEFORE(ATT_CCS, CKE) } },
    { .name = "1.2: a ticket, and no CCS",
      .alert = 10,
      .script = C12(),
      .edits = { DROP(ATT_CCS) } },
    { .name = "1.2: a ticket, and Finished wrong",
      .alert = 51,
      .script = C12(),
      .edits = { FLIP(FIN, 0) } },
    { .name = "1.2: a client that does not know the secret",
      .alert = 20,
      .script = C12(),
      .change = OTHER_SECRET },
    { .name = "1.2: a ticket of 1.3",
      .alert = DUEL_OPENS,
      .full = true,
      .script = C12(),
      .change = OTHER_VERSION },
    { .name = "a ticket of 1.2 as a PSK",
      .alert = DUEL_OPENS,
      .openssl = 47,
      .full = true,
      .script = C13(),
      .change = OTHER_VERSION },
};

/* A session that nobody has agreed on: the attacker is its server. */
static struct att_session invent(const struct row *row)
{
    struct att_session s = { .version = row->script.version,
                             .lifetime = 7200,
                             .age_add = 12345,
                             .ticket_len = 40 };
    bool is_13 = s.version == 0x0304;
    uint16_t usual = is_13 ? 0x1301 : 0xc02b;
    s.suite = row->suite          ? row->suite
              : row->script.suite ? row->script.suite
                                  : usual;
    s.secret_len = !is_13 || s.suite == 0x1302 ? 48 : 32;
    memset(s.secret, 0x5a, s.secret_len);
    memset(s.ticket, 'T', s.ticket_len);
    return s;
}

/* A session of a handshake that was good. */
static struct att_session earn(const struct row *row,
                               struct coili_tls_setup *setup)
{
    uint16_t version = row->script.version;
    if (row->change == OTHER_VERSION)
        version = version == 0x0304 ? 0x0303 : 0x0304;
    struct att_script script = { .is_client = true,
                                 .version = version,
                                 .ticket = true };
    if (row->change != OTHER_VERSION)
        script.suite = row->suite ? row->suite : row->script.suite;
    struct duel_result r = duel_play(setup, &script,
                                     &(struct duel_extra){ .talk = true });
    CHECK_INT(r.outcome, DUEL_OPENS);
    CHECK_STR(r.complaint, NULL);
    CHECK(r.has_session);
    return r.session;
}

static void play_row(const struct row *row, int which)
{
    struct duel_options options = row->options;
    struct att_script script = row->script;
    options.is_server = script.is_client;
    struct coili_tls_setup *setup = duel_setup(duel_engine(which), &options);
    struct att_session good = script.is_client ? earn(row, setup) : invent(row);
    struct att_session had = good;
    if (row->change == OTHER_SECRET)
        had.secret[7] ^= 1;
    if (row->change == OTHER_TICKET)
        had.ticket[had.ticket_len / 2] ^= 1;
    if (row->change == OTHER_VERSION) {
        had.version = script.version;
        had.secret_len = 48;
    }
    script.resumes = &had;
    script.edits = row->edits;
    script.edits_n = sizeof row->edits / sizeof *row->edits;
    test_note("%s", row->name);
    struct duel_extra extra = { .talk = true,
                                .offers = script.is_client ? NULL : &good };
    struct duel_result r = duel_play(setup, &script, &extra);
    int expected = which == DUEL_OPENSSL && row->openssl ? row->openssl
                                                         : row->alert;
    bool good_row = r.outcome == expected ||
                    (which == DUEL_OPENSSL && r.outcome == row->alert);
    if (r.outcome == DUEL_OPENS)
        good_row &= r.talks && !r.complaint && r.info.resumed == !row->full &&
                    r.seen.resumed == !row->full;
    else
        good_row &= !r.opened;
    if (!good_row)
        duel_fault(row->name, r.info.resumed ? "resumed" : "", expected, &r);
    coili_tls_setup_unref(setup);
}

static void play_rows(int which)
{
    stage_open();
    /* The sessions of OpenSSL's client have a form that cannot be invented. */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (which == DUEL_OWN || rows[i].script.is_client)
            play_row(&rows[i], which);
    stage_close();
    duel_check();
}

// A session is worth what its secret is worth: nothing without it.
TEST(hostile_sessions_are_refused_by_coils_engine)
{
    play_rows(DUEL_OWN);
}

TEST(hostile_sessions_are_refused_by_openssls_server)
{
    play_rows(DUEL_OPENSSL);
}

static size_t kept_of(const void *ticket, size_t len)
{
    struct duel_options options = { .any_certificate = false };
    struct coili_tls_setup *setup = duel_setup(coil_tls_own_engine(), &options);
    const struct att_edit edit = { ATT_END, ATT_BEFORE, NST,     0,
                                   ticket,  len,        ATT_SENT };
    struct att_script script = { .version = 0x0304,
                                 .edits = &edit,
                                 .edits_n = 1 };
    struct duel_result r = duel_play(setup, &script, NULL);
    CHECK_INT(r.outcome, DUEL_OPENS);
    coili_tls_setup_unref(setup);
    return r.kept;
}

// A lifetime above seven days is against RFC 8446, 4.6.1, and 0 means never.
TEST(hostile_ticket_of_a_wrong_lifetime_is_dropped)
{
    static const char day[] = "\0\1\x51\x80\0\0\0\0\1x\0\1x\0";
    static const char long_one[] = "\0\xa\xae\x60\0\0\0\0\1x\0\1x\0";
    static const char none[] = "\0\0\0\0\0\0\0\0\1x\0\1x\0";
    stage_open();
    CHECK_INT(kept_of(day, sizeof day), 1);
    CHECK_INT(kept_of(long_one, sizeof long_one), 0);
    CHECK_INT(kept_of(none, sizeof none), 0);
    stage_close();
}

// RFC 7627, 5.3: without an extended master secret the session of one server could
// be that of another.
TEST(hostile_session_without_extended_master_secret_is_not_kept)
{
    struct duel_options options = { .any_certificate = false };
    stage_open();
    struct coili_tls_setup *setup = duel_setup(coil_tls_own_engine(), &options);
    for (int no_ems = 0; no_ems < 2; no_ems++) {
        struct att_script script = { .version = 0x0303,
                                     .ticket = true,
                                     .no_ems = no_ems };
        struct duel_result r = duel_play(setup, &script, NULL);
        CHECK_INT(r.outcome, DUEL_OPENS);
        CHECK_INT(r.kept, no_ems ? 0 : 1);
    }
    coili_tls_setup_unref(setup);
    stage_close();
}
