// SPDX-License-Identifier: MIT
// labels: long
/*
 * test_flips.c: each bit of a good handshake is changed on its way.
 *
 * No connection may open then. Only the version in the head of a record that is
 * not encrypted is ignored: RFC 8446, 5.1. In TLS 1.3 that of ChangeCipherSpec is
 * one of them; that of encrypted records is part of what the tag covers.
 *
 * And each handshake is cut short at each byte: then the engine waits for more.
 */
#include "duel_kit.h"

static const struct path {
    const char *name;
    struct att_script script;
    struct duel_options options;
} paths[] = {
    { "client 1.3", { .version = 0x0304 }, { 0 } },
    { "client 1.3, asked", { .version = 0x0304, .asks = true }, { 0 } },
    { "client 1.3, retry", { .version = 0x0304, .retry = 23 }, { 0 } },
    { "client 1.2", { .version = 0x0303 }, { 0 } },
    { "client 1.2, no EMS", { .version = 0x0303, .no_ems = true }, { 0 } },
    { "server 1.3", { .is_client = true, .version = 0x0304 }, { 0 } },
    { "server 1.3, retry",
      { .is_client = true, .version = 0x0304, .retry = 1 },
      { 0 } },
    { "server 1.3, asks",
      { .is_client = true, .version = 0x0304, .asks = true, .presents = true },
      { .ask = COIL_TLS_ASK } },
    { "server 1.2", { .is_client = true, .version = 0x0303 }, { 0 } },
    { "server 1.2, asks",
      { .is_client = true, .version = 0x0303, .asks = true, .presents = true },
      { .ask = COIL_TLS_ASK } },
};

enum { PATHS = sizeof paths / sizeof *paths };

/*
 * Is the byte `at` part of the version in a head that nothing protects? Flights
 * differ in length from time to time, as signatures do, so each is looked at.
 */
static bool is_ignored(const struct path *path, const unsigned char *bytes,
                       size_t n, size_t at)
{
    bool is_13 = path->script.version == 0x0304, ccs = false;
    for (size_t head = 0; head + 5 <= n && head <= at;) {
        bool sealed = is_13 ? bytes[head] == 23 : ccs;
        if (at == head + 1 || at == head + 2)
            return !sealed;
        ccs = ccs || bytes[head] == 20;
        head += 5 + ((size_t)bytes[head + 3] << 8 | bytes[head + 4]);
    }
    return false;
}

/* OpenSSL does not ignore those versions; for it one bit of a byte will do. */
static void flip_all(const struct path *path, int which)
{
    struct duel_options options = path->options;
    options.is_server = path->script.is_client;
    struct coili_tls_setup *setup = duel_setup(duel_engine(which), &options);
    struct duel_result r = duel_play(setup, &path->script, NULL);
    CHECK_INT(r.outcome, DUEL_OPENS);
    static unsigned char sent[16384];
    size_t n = r.bytes * 8, opened = 0;
    size_t step = test_is_slow() ? 37 : which == DUEL_OPENSSL ? 9 : 1;
    char how[64];
    for (size_t bit = 0; bit < n; bit += step) {
        struct duel_extra extra = {
            .flips = true, .bit = bit, .sent = sent, .sent_size = sizeof sent
        };
        snprintf(how, sizeof how, "bit %zu of byte %zu", bit % 8, bit / 8);
        test_note("%s, %s", path->name, how);
        r = duel_play(setup, &path->script, &extra);
        if (bit / 8 >= r.bytes)
            break;
        CHECK(r.bytes <= sizeof sent);
        bool may_open = is_ignored(path, sent, r.bytes, bit / 8);
        bool must_open = may_open && which == DUEL_OWN;
        opened += r.opened;
        if ((r.opened && !may_open) || (!r.opened && must_open))
            duel_fault(path->name, how, may_open ? DUEL_OPENS : DUEL_SILENT,
                       &r);
    }
    coili_tls_setup_unref(setup);
    CHECK(opened < n / 8);
}

static void cut_all(const struct path *path, int which)
{
    struct duel_options options = path->options;
    options.is_server = path->script.is_client;
    options.any_certificate = true;
    struct coili_tls_setup *setup = duel_setup(duel_engine(which), &options);
    struct duel_result whole = duel_play(setup, &path->script, NULL);
    size_t step = test_is_slow() ? 13 : 1;
    char how[64];
    for (size_t at = 1; at + 8 < whole.bytes; at += step) {
        struct duel_extra extra = { .cut_at = at };
        snprintf(how, sizeof how, "cut at %zu", at);
        struct duel_result r = duel_play(setup, &path->script, &extra);
        if (r.outcome != DUEL_WAITS || r.opened)
            duel_fault(path->name, how, DUEL_WAITS, &r);
    }
    coili_tls_setup_unref(setup);
}

static void play_all(void (*play)(const struct path *, int), int which,
                     size_t from, size_t to)
{
    test_timeout(200);
    stage_open();
    for (size_t i = from; i < to; i++)
        play(&paths[i], which);
    stage_close();
    duel_check();
}

// Whoever stands between can change any bit: none of them may go unnoticed.
TEST(flipped_bits_open_no_client_of_coils_engine)
{
    play_all(flip_all, DUEL_OWN, 0, 5);
}

TEST(flipped_bits_open_no_server_of_coils_engine)
{
    play_all(flip_all, DUEL_OWN, 5, PATHS);
}

TEST(flipped_bits_open_no_client_of_openssl)
{
    play_all(flip_all, DUEL_OPENSSL, 0, 5);
}

TEST(flipped_bits_open_no_server_of_openssl)
{
    play_all(flip_all, DUEL_OPENSSL, 5, PATHS);
}

// A flight that ends early is no flight.
TEST(handshakes_of_coils_engine_that_are_cut_anywhere_wait)
{
    play_all(cut_all, DUEL_OWN, 0, PATHS);
}
