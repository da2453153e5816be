// SPDX-License-Identifier: MIT
#ifndef TLS_SUITE_H
#define TLS_SUITE_H

/*
 * tls_suite.h: handshakes of all kinds, and what happens when they go wrong, of
 * the two engines that the program names (tls_kit.h). The streams that come of
 * them have a suite of their own: test_stream_tls_pair.c.
 *
 * A wrong authority, a wrong name and a wrong signature come first: a library
 * whose callback was never called passed all its other tests.
 */
#include "tls_kit.h"

#include "tls/setup.h"

#include <coil/exception.h>
#include <malloc.h>

enum { SERVER, CLIENT };

static struct coil_tls_server *server;
static struct coil_tls_client *client;
static struct kit_result results[2];

static void open_setups(const struct coil_tls_server_options *s,
                        const struct coil_tls_client_options *c)
{
    stage_open();
    server = kit_server(s);
    client = kit_client(c);
}

static void close_setups(void)
{
    coil_tls_server_unref(server);
    coil_tls_client_unref(client);
    server = NULL;
    client = NULL;
    UNTIL(stage_stats().in_flight == 0);
    stage_close();
}

static void close_results(void)
{
    for (int i = 0; i < 2; i++)
        if (results[i].stream)
            CHECK_INT(wait_int(coil_stream_close(results[i].stream)), 0);
    memset(results, 0, sizeof results);
}

static void shake_hands(const char *name)
{
    struct coil_stream *lower[2];
    CHECK_INT(coil_stream_pair(lower, 0), 0);
    kit_handshake(results, lower, server, client, name);
}

static int code(int end)
{
    CHECK_INT(COIL_DETAIL_PHASE(results[end].detail), COIL_PHASE_TLS);
    return COIL_DETAIL_CODE(results[end].detail);
}

static void check_failed(int end, int err, int expected, const char *says)
{
    CHECK_INT(results[end].err, err);
    CHECK_INT(code(end), expected);
    if (says)
        CHECK(strstr(results[end].why.text, says));
}

/* Both streams carry bytes both ways. */
static void check_open(void)
{
    static char buf[8];
    for (int i = 0; i < 2; i++) {
        CHECK_INT(results[i].err, 0);
        CHECK(results[i].stream);
    }
    for (int i = 0; i < 2; i++) {
        CHECK_INT(wait_int(coil_stream_write(results[i].stream, "hello", 5)),
                  5);
        CHECK_INT(
            wait_int(coil_stream_read_exactly(results[!i].stream, buf, 5)), 5);
        CHECK_MEM(buf, "hello", 5);
    }
}

static struct coil_tls_info info_of(int end)
{
    struct coil_tls_info info;
    CHECK(coil_tls_get_info(results[end].stream, &info));
    return info;
}

/* ---- Whom to believe -------------------------------------------------- */

// The server learns of it by an alert, which must arrive.
TEST(tls_server_of_another_authority_is_refused)
{
    struct coil_tls_client_options o = kit_client_options();
    o.ca = kit_pem(kit.stranger);
    open_setups(NULL, &o);
    shake_hands("a.test");
    check_failed(CLIENT, COIL_ECERT, COIL_CERT_UNKNOWN, "");
    CHECK(*results[CLIENT].why.text);
    check_failed(SERVER, COIL_ETLS, COIL_TLS_BY_PEER + 48,
                 "does not accept our certificate");
    close_results();
    close_setups();
}

TEST(tls_server_of_another_name_is_refused)
{
    static const char *const names[] = { "b.test", "x.a.test", "127.0.0.2",
                                         "::1",    "est",      "a.test.b" };
    open_setups(NULL, NULL);
    for (int i = 0; i < 6; i++) {
        shake_hands(names[i]);
        check_failed(CLIENT, COIL_ECERT, COIL_CERT_NAME, NULL);
        CHECK(results[SERVER].err < 0);
        close_results();
    }
    close_setups();
}

TEST(tls_server_is_known_by_its_names)
{
    static const char *const names[] = { "a.test", "A.TEST", "a.test.",
                                         "127.0.0.1" };
    open_setups(NULL, NULL);
    for (int i = 0; i < 4; i++) {
        shake_hands(names[i]);
        check_open();
        CHECK_STR(info_of(SERVER).name, i < 3 ? "a.test" : "");
        close_results();
    }
    close_setups();
}

TEST(tls_server_with_an_expired_certificate_is_refused)
{
    struct coil_tls_server_options o = kit_server_options();
    o.certificate = kit_pem(kit.expired.text);
    open_setups(&o, NULL);
    shake_hands("a.test");
    check_failed(CLIENT, COIL_ECERT, COIL_CERT_TIME, "expired on ");
    check_failed(SERVER, COIL_ETLS, COIL_TLS_BY_PEER + 45, NULL);
    close_results();
    close_setups();
}

// No name, no proof: an error before anything is sent.
TEST(tls_client_without_a_name_is_refused)
{
    struct coil_tls_client_options o = kit_client_options();
    open_setups(NULL, NULL);
    for (int i = 0; i < 4; i++) {
        char name[300];
        memset(name, 'a', sizeof name - 1);
        name[sizeof name - 1] = '\0';
        struct coil_stream *lower[2];
        struct coil_tls_why why = { "" };
        CHECK_INT(coil_stream_pair(lower, 0), 0);
        CHECK_INT(wait_int(coil_tls_connect(lower[0], client,
                                            i == 0   ? NULL
                                            : i == 1 ? ""
                                                     : name,
                                            &why)),
                  -EINVAL);
        CHECK(strstr(why.text, "the name of the server is "));
        CHECK_INT(wait_int(coil_stream_fill(lower[1], 1)), 0);
        CHECK_INT(wait_int(coil_stream_close(lower[1])), 0);
    }
    coil_tls_client_unref(client);
    o.verify = COIL_TLS_VERIFY_NONE;
    client = kit_client(&o);
    shake_hands(NULL);
    check_open();
    close_results();
    close_setups();
}

TEST(tls_client_that_verifies_nothing_takes_any_certificate)
{
    struct coil_tls_client_options o = kit_client_options();
    struct coil_tls_server_options s = kit_server_options();
    o.verify = COIL_TLS_VERIFY_NONE;
    s.certificate = kit_pem(kit.strangers_a.text);
    open_setups(&s, &o);
    shake_hands("b.test");
    check_open();
    close_results();
    close_setups();
}

TEST(tls_pins_are_checked)
{
    struct coil_tls_client_options o = kit_client_options();
    unsigned char pins[2][32] = { { 1 } };
    br_sha256_context c;
    br_sha256_init(&c);
    br_sha256_update(&c, kit.a.cert.der, kit.a.cert.len);
    br_sha256_out(&c, pins[1]);
    o.pins = pins[0];
    for (int i = 0; i < 4; i++) {
        o.verify = i < 2 ? COIL_TLS_VERIFY_CHAIN : COIL_TLS_VERIFY_PIN_ONLY;
        o.pins_n = i % 2 ? 2 : 1;
        open_setups(NULL, &o);
        shake_hands(i < 2 ? "a.test" : "other.test");
        if (i % 2)
            check_open();
        else
            check_failed(CLIENT, COIL_ECERT, COIL_CERT_PIN, NULL);
        close_results();
        close_setups();
    }
}

// Both in 1.2, where the server is told at once, and in 1.3, where it is not.
TEST(tls_client_certificates_are_asked_for_and_verified)
{
    for (int i = 0; i < 2 * 3 * 3; i++) {
        int ask = i % 3, has = i / 3 % 3;
        enum coil_tls_version version = i < 9 ? COIL_TLS_1_2 : COIL_TLS_1_3;
        struct coil_tls_client_options c = kit_client_options();
        struct coil_tls_server_options s = kit_server_options();
        s.ask = (enum coil_tls_ask)ask;
        s.ca = kit_pem(kit.authority);
        s.version_max = s.version_min = version;
        if (has > 0) /* 2: a server's, which is none for a client */
            c.certificate = kit_pem(has == 1 ? kit.client.text : kit.b.text);
        test_note("ask %d, has %d, version %#x", ask, has, version);
        open_setups(&s, &c);
        shake_hands("a.test");
        struct coil_tls_info info;
        bool refused = ask == COIL_TLS_ASK_ALWAYS && has == 0;
        if (refused) {
            check_failed(SERVER, COIL_ETLS,
                         version == COIL_TLS_1_3
                             ? COILI_ALERT_CERTIFICATE_REQUIRED
                             : COILI_ALERT_HANDSHAKE_FAILURE,
                         NULL);
        } else if (results[SERVER].err == 0) {
            check_open();
            info = info_of(SERVER);
            CHECK_INT(info.certificate_bytes,
                      ask == COIL_TLS_ASK_NOT || has == 0 ? 0
                      : has == 1                          ? kit.client.cert.len
                                                          : kit.b.cert.len);
            info = info_of(CLIENT);
            CHECK_INT(info.certificate_bytes, kit.a.cert.len);
            CHECK_MEM(info.certificate, kit.a.cert.der, kit.a.cert.len);
        }
        if (refused && version == COIL_TLS_1_3) {
            CHECK_INT(results[CLIENT].err, 0); /* it learns of it later */
            CHECK_INT(wait_int(coil_stream_fill(results[CLIENT].stream, 1)),
                      COIL_ETLS);
            CHECK(coil_stream_at_end(results[CLIENT].stream));
            CHECK_INT(
                wait_int(coil_stream_write(results[CLIENT].stream, "x", 1)),
                COIL_ETLS);
        } else if (refused) {
            CHECK_INT(results[CLIENT].err, COIL_ETLS);
        }
        close_results();
        close_setups();
    }
}

TEST(tls_client_certificate_of_a_stranger_is_refused)
{
    struct coil_tls_client_options c = kit_client_options();
    struct coil_tls_server_options s = kit_server_options();
    c.certificate = kit_pem(kit.client.text);
    s.ask = COIL_TLS_ASK;
    s.ca = kit_pem(kit.stranger);
    open_setups(&s, &c);
    shake_hands("a.test");
    check_failed(SERVER, COIL_ECERT, COIL_CERT_UNKNOWN, NULL);
    CHECK_INT(wait_int(coil_stream_fill(results[CLIENT].stream, 1)), COIL_ETLS);
    close_results();
    close_setups();
}

/* ---- What is agreed on ------------------------------------------------ */

TEST(tls_versions_are_those_of_both)
{
    static const enum coil_tls_version all[] = { COIL_TLS_1_2, COIL_TLS_1_3 };
    for (int i = 0; i < 4; i++) {
        struct coil_tls_client_options c = kit_client_options();
        struct coil_tls_server_options s = kit_server_options();
        c.version_min = c.version_max = all[i % 2];
        s.version_min = s.version_max = all[i / 2];
        open_setups(&s, &c);
        shake_hands("a.test");
        if (i % 2 == i / 2) {
            check_open();
            CHECK_INT(info_of(CLIENT).version, all[i % 2]);
            CHECK_INT(info_of(SERVER).version, all[i % 2]);
            CHECK(info_of(SERVER).suite == info_of(CLIENT).suite);
            CHECK(!info_of(CLIENT).resumed);
        } else {
            check_failed(SERVER, COIL_ETLS, 70, "none of our TLS versions");
            CHECK_INT(results[CLIENT].err, COIL_ETLS);
        }
        close_results();
        close_setups();
    }
    open_setups(NULL, NULL);
    shake_hands("a.test");
    check_open();
    CHECK_INT(info_of(CLIENT).version, COIL_TLS_1_3);
    CHECK_INT(info_of(CLIENT).suite >> 8, 0x13);
    close_results();
    close_setups();
}

TEST(tls_protocols_are_chosen_by_the_server)
{
    static const char *const h2_http[] = { "h2", "http/1.1" };
    static const char *const http_h2[] = { "http/1.1", "h2" };
    static const char *const other[] = { "other" };
    static const struct {
        const char *const *server, *const *client;
        size_t servers, clients;
        const char *chosen; /* NULL: none in common */
    } rows[] = {
        { h2_http, http_h2, 2, 2, "h2" },
        { http_h2, h2_http, 2, 2, "http/1.1" },
        { h2_http, other, 2, 1, NULL },
        { h2_http, NULL, 2, 0, "" },
        { NULL, h2_http, 0, 2, "" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct coil_tls_client_options c = kit_client_options();
        struct coil_tls_server_options s = kit_server_options();
        c.alpn = rows[i].client;
        c.alpn_n = rows[i].clients;
        s.alpn = rows[i].server;
        s.alpn_n = rows[i].servers;
        open_setups(&s, &c);
        shake_hands("a.test");
        if (rows[i].chosen) {
            check_open();
            CHECK_STR(info_of(CLIENT).alpn, rows[i].chosen);
            CHECK_STR(info_of(SERVER).alpn, rows[i].chosen);
        } else {
            check_failed(SERVER, COIL_ETLS, 120, "ALPN");
            check_failed(CLIENT, COIL_ETLS, COIL_TLS_BY_PEER + 120, "ALPN");
        }
        close_results();
        close_setups();
    }
}

static struct coil_tls_server *of_b;

static struct coil_tls_server *choose(struct coil_tls_server *first,
                                      const char *name, void *arg)
{
    CHECK_STR(arg, "arg");
    trace("%s", *name ? name : "-");
    return !strcmp(name, "b.test")   ? of_b
           : !strcmp(name, "c.test") ? NULL
                                     : first;
}

// With the versions and the protocols of the setup that is chosen.
TEST(tls_setup_of_a_server_is_chosen_by_name)
{
    struct coil_tls_server_options s = kit_server_options();
    static char arg[] = "arg";
    static const char *const alpn[] = { "b" };
    s.choose = choose;
    s.choose_arg = arg;
    struct coil_tls_client_options c = kit_client_options();
    c.alpn = alpn;
    c.alpn_n = 1;
    open_setups(&s, &c);
    s.choose = NULL;
    s.certificate = kit_pem(kit.b.text);
    s.version_max = COIL_TLS_1_2;
    s.alpn = alpn;
    s.alpn_n = 1;
    of_b = kit_server(&s);
    for (int round = 0; round < 2; round++) {
        shake_hands("a.test");
        check_open();
        CHECK_INT(info_of(CLIENT).version, COIL_TLS_1_3);
        CHECK_STR(info_of(CLIENT).alpn, "");
        close_results();
        shake_hands("b.test");
        check_open();
        CHECK_INT(info_of(CLIENT).version, COIL_TLS_1_2);
        CHECK_STR(info_of(CLIENT).alpn, "b");
        CHECK_STR(info_of(SERVER).name, "b.test");
        close_results();
        shake_hands("c.test");
        check_failed(SERVER, COIL_ETLS, 112, "a name that is refused");
        check_failed(CLIENT, COIL_ETLS, COIL_TLS_BY_PEER + 112,
                     "does not know the name");
        close_results();
        shake_hands("127.0.0.1");
        check_open();
        close_results();
        CHECK_TRACE("a.test b.test c.test -");
    }
    coil_tls_server_unref(of_b);
    close_setups();
}

// A new setup for new connections; the old ones go on.
TEST(tls_certificate_is_reloaded_while_the_server_runs)
{
    struct coil_tls_server_options s = kit_server_options();
    open_setups(NULL, NULL);
    shake_hands("a.test");
    check_open();
    struct kit_result old[2];
    memcpy(old, results, sizeof old);
    s.certificate = kit_pem(kit.b.text);
    coil_tls_server_unref(server);
    server = kit_server(&s);
    shake_hands("b.test");
    check_open();
    close_results();
    memcpy(results, old, sizeof old);
    check_open();
    close_results();
    close_setups();
}

/* How many lines of the text are this one. */
static int count_line(const char *text, const char *line, size_t len)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, line)) != NULL; at += len)
        n += (at == text || at[-1] == '\n') && at[len] == '\n';
    return n;
}

/* Each secret with this label is there twice: both ends have logged the same. */
static int count_secrets(const char *log, const char *label)
{
    char line[512];
    int n = 0;
    for (const char *at = log; *at; at += strcspn(at, "\n") + 1) {
        size_t len = strcspn(at, "\n");
        if (strncmp(at, label, strlen(label)) != 0)
            continue;
        CHECK(len < sizeof line && at[len] == '\n');
        memcpy(line, at, len);
        line[len] = '\0';
        CHECK_INT(count_line(log, line, len), 2);
        n++;
    }
    return n / 2;
}

// For a debugger of the wire. Both ends write the same secrets, whichever engine
// they have; without COIL_DEBUG nobody writes any.
TEST(tls_keys_are_logged_in_debug_builds_alone)
{
    static const char *const labels[] = {
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET ", "SERVER_HANDSHAKE_TRAFFIC_SECRET ",
        "CLIENT_TRAFFIC_SECRET_0 ", "SERVER_TRAFFIC_SECRET_0 ", "CLIENT_RANDOM "
    };
    char path[] = "/tmp/coil-keys-XXXXXX", log[8192] = "";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    setenv("SSLKEYLOGFILE", path, 1);
    for (int is12 = 0; is12 < 2; is12++) {
        struct coil_tls_client_options c = kit_client_options();
        if (is12)
            c.version_max = COIL_TLS_1_2;
        open_setups(NULL, &c);
        shake_hands("a.test");
        check_open();
        close_results();
        close_setups();
    }
    ssize_t n = read(fd, log, sizeof log - 1);
#ifdef COIL_DEBUG_STACK
    CHECK(n > 0);
    for (int i = 0; i < 5; i++)
        CHECK_INT(count_secrets(log, labels[i]), 1);
#else
    CHECK_INT(n, 0);
    (void)labels;
    (void)count_secrets;
#endif
    close(fd);
    unlink(path);
}

TEST(tls_info_is_of_tls_streams_only)
{
    struct coil_tls_info info;
    struct coil_stream *lower[2];
    stage_open();
    CHECK_INT(coil_stream_pair(lower, 0), 0);
    CHECK(!coil_tls_get_info(lower[0], &info));
    for (int i = 0; i < 2; i++)
        CHECK_INT(wait_int(coil_stream_close(lower[i])), 0);
    stage_close();
}

// As after STARTTLS: the peer's first flight was received with the line before.
TEST(tls_begins_with_bytes_that_were_received_before)
{
    static char line[16];
    struct coil_stream *lower[2];
    open_setups(NULL, NULL);
    CHECK_INT(coil_stream_pair(lower, 0), 0);
    CHECK_INT(wait_int(coil_stream_write(lower[1], "STARTTLS\n", 9)), 9);
    struct coil_task *c = coil_spawn(
        coil_tls_connect(lower[1], client, "a.test", NULL));
    stage_passes(10);
    CHECK_INT(wait_int(coil_stream_read_until(lower[0], '\n', line, 16)), 9);
    char *data;
    CHECK(coil_stream_peek(lower[0], &data) > 100);
    struct coil_task *s = coil_spawn(coil_tls_accept(lower[0], server, NULL));
    kit_take(&results[CLIENT], c);
    kit_take(&results[SERVER], s);
    check_open();
    close_results();
    close_setups();
}

/* ---- Setups ----------------------------------------------------------- */

TEST(tls_setup_has_coils_own_engine_if_none_is_named)
{
    struct coil_tls_client_options c = kit_client_options();
    struct coil_tls_server_options s = kit_server_options();
    c.engine = s.engine = NULL;
    open_setups(&s, &c);
    CHECK(coili_tls_setup_of_client(client)->engine == coil_tls_own_engine());
    CHECK(coili_tls_setup_of_server(server)->engine == coil_tls_own_engine());
    shake_hands("a.test");
    check_open();
    close_results();
    close_setups();
}

TEST(tls_setup_says_what_is_wrong_with_a_file)
{
    struct coil_tls_server_options o = kit_server_options();
    struct coil_tls_server *s = NULL;
    struct coil_tls_why why;
    o.certificate = (struct coil_tls_pem){ .file = "/nonexistent/a.pem" };
    CHECK_INT(coil_tls_server_new(&s, &o, &why), -ENOENT);
    CHECK(strstr(why.text, "/nonexistent/a.pem"));
    o.certificate = (struct coil_tls_pem){ .text = NULL };
    CHECK_INT(coil_tls_server_new(&s, &o, &why), -EINVAL);
    CHECK(strstr(why.text, "there is no certificate"));
    o.certificate = kit_pem(kit.authority);
    CHECK_INT(coil_tls_server_new(&s, &o, &why), -EINVAL);
    o.certificate = kit_pem(kit.a.text);
    o.key = kit_pem(kit.b.text);
    CHECK_INT(coil_tls_server_new(&s, &o, &why), -EINVAL);
    test_note("%s", why.text);
    CHECK(strstr(why.text, "certificate"));
    CHECK(!s);
    struct coil_tls_client_options c = kit_client_options();
    struct coil_tls_client *cl = NULL;
    c.key = kit_pem(kit.a.text);
    CHECK_INT(coil_tls_client_new(&cl, &c, &why), -EINVAL);
    c = kit_client_options();
    c.ca = (struct coil_tls_pem){ .file = "/nonexistent/ca.pem" };
    CHECK_INT(coil_tls_client_new(&cl, &c, &why), -ENOENT);
    c = kit_client_options();
    c.verify = COIL_TLS_VERIFY_PIN_ONLY;
    CHECK_INT(coil_tls_client_new(&cl, &c, &why), -EINVAL);
    CHECK(!cl);
}

static int make_setups(void)
{
    struct coil_tls_client *c = NULL;
    struct coil_tls_server *s = NULL;
    struct coil_tls_client_options co = kit_client_options();
    struct coil_tls_server_options so = kit_server_options();
    int err = coil_tls_client_new(&c, &co, NULL);
    if (err == 0)
        err = coil_tls_server_new(&s, &so, NULL);
    coil_tls_client_unref(c);
    coil_tls_server_unref(s);
    return err;
}

TEST(tls_setups_survive_every_failed_allocation)
{
    test_every_allocation(make_setups);
}

DEATH_TEST(tls_client_of_a_wrong_version_aborts,
           "coil_tls_client_new: version_max is 770: must be COIL_TLS_1_2")
{
    struct coil_tls_client_options o = kit_client_options();
    o.version_max = (enum coil_tls_version)0x302;
    kit_client(&o);
}

DEATH_TEST(tls_client_with_versions_in_wrong_order_aborts,
           "version_min is 772: must not be above version_max")
{
    struct coil_tls_client_options o = kit_client_options();
    o.version_min = COIL_TLS_1_3;
    o.version_max = COIL_TLS_1_2;
    kit_client(&o);
}

DEATH_TEST(tls_protocol_without_a_name_aborts, "must be 1 to 255")
{
    static const char *const alpn[] = { "" };
    struct coil_tls_client_options o = kit_client_options();
    o.alpn = alpn;
    o.alpn_n = 1;
    kit_client(&o);
}

/* ---- A peer that breaks the protocol ---------------------------------- */

/* One end of TLS, and its peer, which the test plays itself. */
static struct coil_stream *play_against(int end, struct coil_task **task)
{
    struct coil_stream *lower[2];
    CHECK_INT(coil_stream_pair(lower, 0), 0);
    struct coil_tls_why *why = &results[end].why;
    *task = coil_spawn(end == CLIENT
                           ? coil_tls_connect(lower[0], client, "a.test", why)
                           : coil_tls_accept(lower[0], server, why));
    stage_passes(5);
    return lower[1];
}

struct fault {
    const char *bytes;
    size_t len;
    int code;
    const char *says;
};

#define BYTES(text) (text), sizeof(text) - 1

static void check_faults(int end, const struct fault *faults, size_t n)
{
    open_setups(NULL, NULL);
    for (size_t i = 0; i < n; i++) {
        for (int by_byte = 0; by_byte < 2; by_byte++) {
            struct coil_task *task;
            struct coil_stream *peer = play_against(end, &task);
            test_note("%zu: %s", i, faults[i].bytes);
            size_t part = by_byte ? 1 : faults[i].len;
            for (size_t at = 0; at < faults[i].len; at += part) {
                wait_int(coil_stream_write(peer, faults[i].bytes + at, part));
                stage_passes(4);
            }
            kit_take(&results[end], task);
            check_failed(end, COIL_ETLS, faults[i].code, faults[i].says);
            CHECK_INT(wait_int(coil_stream_close(peer)), 0);
        }
    }
    memset(results, 0, sizeof results);
    close_setups();
}

TEST(tls_client_says_what_else_the_port_speaks)
{
    const struct fault faults[] = {
        { BYTES("HTTP/1.1 400 Bad Request\r\n\r\n"), COIL_TLS_PLAIN_HTTP,
          "the port speaks plain HTTP, not TLS" },
        { BYTES("220 mail.a.test ESMTP\r\n"), COIL_TLS_PLAIN_HTTP, NULL },
        { BYTES("\0\1\2\3\4\5"), COIL_TLS_NOT_TLS, "does not speak TLS" },
        { BYTES("\x17\3\3\0\1x"), COIL_TLS_NOT_TLS, NULL },
        { BYTES("\x16\3\3\x41\1"), COILI_ALERT_RECORD_OVERFLOW, "too long" },
        { BYTES("\x16\3\3\xff\xff"), COILI_ALERT_RECORD_OVERFLOW, NULL },
        { BYTES("\x15\3\3\0\2\2\x28"), COIL_TLS_BY_PEER + 40,
          "no common cipher" },
        { BYTES("\x15\3\3\0\2\2\x46"), COIL_TLS_BY_PEER + 70,
          "none of our TLS versions" },
        { BYTES("\x16\3\3\0\4\x0e\0\0\0"), 10, "may not stand there" },
        { BYTES("\x16\3\3\0\4\2\xff\xff\xff"),
          KIT_CLIENT_ENGINE() == coil_openssl_engine() ? 47 : 50, NULL },
    };
    check_faults(CLIENT, faults, sizeof faults / sizeof *faults);
}

TEST(tls_server_says_what_else_the_client_speaks)
{
    static const struct fault faults[] = {
        { BYTES("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"), COIL_TLS_PLAIN_HTTP,
          NULL },
        { BYTES("\x80\x2e\1\0\2\0\x15"), COIL_TLS_NOT_TLS, NULL },
        { BYTES("\x16\3\1\0\4\2\0\0\0"), 10, NULL },
    };
    check_faults(SERVER, faults, sizeof faults / sizeof *faults);
}

// Alert 10 goes to the peer, and close waits until the peer has it.
TEST(tls_peer_gets_the_alert)
{
    static char got[8];
    struct coil_task *task;
    open_setups(NULL, NULL);
    struct coil_stream *peer = play_against(SERVER, &task);
    CHECK_INT(wait_int(coil_stream_write(peer, "\x16\3\1\xff\xff", 5)), 5);
    kit_take(&results[SERVER], task);
    CHECK_INT(wait_int(coil_stream_read_exactly(peer, got, 7)), 7);
    CHECK_MEM(got, "\x15\3\3\0\2\2\x16", 7);
    CHECK_INT(wait_int(coil_stream_close(peer)), 0);
    memset(results, 0, sizeof results);
    close_setups();
}

TEST(tls_peer_that_says_nothing_is_given_up)
{
    struct coil_tls_client_options c = kit_client_options();
    struct coil_tls_server_options s = kit_server_options();
    c.handshake_ns = s.handshake_ns = COIL_MS(20);
    open_setups(&s, &c);
    for (int end = 0; end < 2; end++) {
        struct coil_task *task;
        struct coil_stream *peer = play_against(end, &task);
        kit_take(&results[end], task);
        check_failed(end, -ETIMEDOUT, 0, "in time");
        if (end == CLIENT)
            CHECK(wait_int(coil_stream_fill(peer, 1)) > 0);
        CHECK_INT(wait_int(coil_stream_close(peer)), 0);
    }
    memset(results, 0, sizeof results);
    close_setups();
}

// It drips: what has come is kept, and the time-out is for all of it.
TEST(tls_peer_that_drips_is_given_up)
{
    static const char head[] = "\x16\3\1\1\0";
    struct coil_tls_server_options s = kit_server_options();
    s.handshake_ns = COIL_MS(30);
    open_setups(&s, NULL);
    struct coil_task *task;
    struct coil_stream *peer = play_against(SERVER, &task);
    for (size_t i = 0; !coil_task_done(task); i++) {
        coil_detach(coil_stream_write(peer, i < 5 ? head + i : "\1", 1));
        stage_passes(2);
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
        CHECK(i < 250);
    }
    kit_take(&results[SERVER], task);
    check_failed(SERVER, -ETIMEDOUT, 0, NULL);
    CHECK_INT(wait_int(coil_stream_close(peer)), 0);
    memset(results, 0, sizeof results);
    close_setups();
}

TEST(tls_peer_that_ends_or_resets_in_the_handshake)
{
    open_setups(NULL, NULL);
    for (int i = 0; i < 4; i++) {
        struct coil_task *task;
        int end = i % 2;
        struct coil_stream *peer = play_against(end, &task);
        coil_detach(i < 2 ? coil_stream_close(peer) : coil_stream_abort(peer));
        kit_take(&results[end], task);
        CHECK_INT(results[end].err, i < 2 ? COIL_EINCOMPLETE : -ECONNRESET);
        CHECK_INT(COIL_DETAIL_PHASE(results[end].detail), COIL_PHASE_TLS);
        CHECK_STR(results[end].why.text,
                  "the peer closed the connection during the TLS handshake");
    }
    memset(results, 0, sizeof results);
    close_setups();
}

/* ---- A relay that does something to the bytes ------------------------- */

/*
 * Copies one direction. It may pass on one byte at a time, change one, stop
 * behind so many, or pause there.
 */
struct relay {
    struct coil_coro coro;
    struct coil_stream *from, *to;
    size_t at, n, each;
    size_t flip, cut, pause; /* positions; SIZE_MAX: nowhere */
    char buf[8192];
};

static void relay(struct coil_coro *co)
{
    ASYNC(relay, my) {
        for (;;) {
            my->n = my->each;
            if (my->at < my->pause && my->at + my->n > my->pause)
                my->n = my->pause - my->at;
            if (my->at < my->cut && my->at + my->n > my->cut)
                my->n = my->cut - my->at;
            if (my->at == my->cut)
                break;
            if (my->at == my->pause) {
                AWAIT(coil_sleep(0));
                AWAIT(coil_sleep(0));
                AWAIT(coil_sleep(0));
            }
            AWAIT_TO(my->n, coil_stream_read(my->from, my->buf, my->n));
            if (my->n == 0)
                break;
            if (my->at + my->n > my->cut) /* it was set meanwhile */
                my->n = my->cut - my->at;
            if (my->flip >= my->at && my->flip < my->at + my->n)
                my->buf[my->flip - my->at] ^= 1;
            my->at += my->n;
            AWAIT(coil_stream_write(my->to, my->buf, my->n));
        }
        AWAIT(coil_stream_write_eof(my->to));
    }
}

static struct coil_task *relays[2];
static struct coil_stream *outer[2], *inner[2];

/* Server and client with a relay between: relays[0] is from the server. */
static void shake_hands_over(struct relay server_to_client,
                             struct relay client_to_server)
{
    struct coil_stream *a[2], *b[2];
    CHECK_INT(coil_stream_pair(a, 0), 0);
    CHECK_INT(coil_stream_pair(b, 0), 0);
    outer[0] = a[0];
    outer[1] = b[0];
    inner[0] = a[1];
    inner[1] = b[1];
    struct coil_stream *ends[2] = { outer[0], outer[1] };
    struct relay *each[2] = { &server_to_client, &client_to_server };
    for (int i = 0; i < 2; i++)
        relays[i] = SPAWN(relay, .from = inner[i], .to = inner[!i],
                          .each = each[i]->each, .flip = each[i]->flip,
                          .cut = each[i]->cut, .pause = each[i]->pause);
    kit_handshake(results, ends, server, client, "a.test");
}

static void end_relays(void)
{
    close_results();
    for (int i = 0; i < 2; i++) {
        coil_task_cancel(relays[i]);
        coil_task_quiet(relays[i]);
        stage_run(relays[i]);
        coil_task_drop(&relays[i]);
    }
    for (int i = 0; i < 2; i++)
        CHECK_INT(wait_int(coil_stream_close(inner[i])), 0);
}

static struct relay *relay_of(int i)
{
    return coil_task_frame(relays[i]);
}

static size_t relayed(int i)
{
    return relay_of(i)->at;
}

static const struct relay honest = {
    .each = 8192, .flip = SIZE_MAX, .cut = SIZE_MAX, .pause = SIZE_MAX
};

static void open_version(enum coil_tls_version version, int64_t handshake_ns)
{
    struct coil_tls_client_options c = kit_client_options();
    struct coil_tls_server_options s = kit_server_options();
    c.handshake_ns = s.handshake_ns = handshake_ns;
    c.version_max = version;
    open_setups(&s, &c);
}

TEST(tls_handshake_comes_one_byte_at_a_time)
{
    for (int i = 0; i < 2; i++) {
        struct relay slow = honest;
        slow.each = 1;
        open_version(i ? COIL_TLS_1_3 : COIL_TLS_1_2, 0);
        shake_hands_over(slow, slow);
        check_open();
        end_relays();
        close_setups();
    }
}

/* How many bytes a handshake has in each direction. */
static void measure(size_t bytes[2])
{
    shake_hands_over(honest, honest);
    bytes[0] = relayed(0);
    bytes[1] = relayed(1);
    check_open();
    end_relays();
}

// Wherever the network cuts a flight in two.
TEST(tls_handshake_is_cut_anywhere_in_two)
{
    size_t bytes[2], step = test_is_slow() ? 41 : 3;
    test_timeout(60);
    for (int v = 0; v < 2; v++) {
        open_version(v ? COIL_TLS_1_3 : COIL_TLS_1_2, 0);
        measure(bytes);
        for (size_t at = 1; at < bytes[0] || at < bytes[1]; at += step) {
            struct relay cut = honest;
            test_note("version %d, at %zu", v, at);
            cut.pause = at;
            shake_hands_over(cut, cut);
            check_open();
            end_relays();
        }
        close_setups();
    }
}

// The peer goes away in the middle: an error of its own, at once. A signature of
// this handshake may be shorter than the one that was measured: then the place to
// cut at is behind the last byte.
TEST(tls_handshake_that_ends_anywhere_fails)
{
    size_t bytes[2], step = test_is_slow() ? 67 : 7;
    test_timeout(60);
    for (int v = 0; v < 2; v++) {
        open_version(v ? COIL_TLS_1_3 : COIL_TLS_1_2, 0);
        shake_hands("a.test");
        close_results();
        measure(bytes);
        for (size_t at = 0; at < bytes[0]; at += step) {
            struct relay cut = honest;
            test_note("version %d, at %zu", v, at);
            cut.cut = at;
            shake_hands_over(cut, honest);
            if (results[CLIENT].err < 0) {
                CHECK_INT(results[CLIENT].err, COIL_EINCOMPLETE);
            } else if (relayed(0) >= at) {
                CHECK_INT(wait_int(coil_stream_fill(results[CLIENT].stream, 1)),
                          COIL_EINCOMPLETE);
            }
            end_relays();
        }
        close_setups();
    }
}

// Whatever byte is changed: no end takes it for what was sent. The version in
// the head of a record is ignored, so some changes are not seen.
TEST(tls_handshake_with_a_changed_byte_fails)
{
    size_t bytes[2], step = test_is_slow() ? 61 : 1;
    test_timeout(120);
    for (int v = 0; v < 2; v++) {
        int unseen = 0;
        open_version(v ? COIL_TLS_1_3 : COIL_TLS_1_2, 0);
        measure(bytes);
        close_setups();
        open_version(v ? COIL_TLS_1_3 : COIL_TLS_1_2,
                     COIL_MS(test_is_slow() ? 1000 : 100));
        for (int from = 0; from < 2; from++) {
            for (size_t at = 0; at < bytes[from]; at += step) {
                struct relay flips = honest;
                test_note("version %d, byte %zu from %d", v, at, from);
                flips.flip = at;
                shake_hands_over(from == 0 ? flips : honest,
                                 from == 1 ? flips : honest);
                if (results[0].err == 0 && results[1].err == 0) {
                    struct coil_stream *reader = results[!from].stream;
                    int64_t n = wait_int(
                        coil_stream_write(results[from].stream, "hello", 5));
                    CHECK(n == 5 || n < 0);
                    coil_stream_close_soon(results[from].stream);
                    results[from].stream = NULL;
                    n = wait_int(coil_stream_fill(reader, 5));
                    char *data = NULL;
                    if (n == 5) {
                        coil_stream_peek(reader, &data);
                        CHECK_MEM(data, "hello", 5);
                        unseen++;
                    } else {
                        CHECK(n == COIL_ETLS || n == COIL_EINCOMPLETE);
                    }
                }
                end_relays();
            }
        }
        test_note("version %d: %d changes are not seen", v, unseen);
        CHECK(unseen <= 60);
        close_setups();
    }
}

/* ---- An open connection ----------------------------------------------- */

// What came before is read first.
TEST(tls_stream_that_is_cut_off_says_so)
{
    open_setups(NULL, NULL);
    for (size_t lost = 1; lost < 28; lost++) {
        test_note("%zu bytes are lost", lost);
        shake_hands_over(honest, honest);
        check_open(); /* a ticket stands before the first data */
        relay_of(0)->cut = relayed(0) + 27 - lost;
        CHECK_INT(
            wait_int(coil_stream_write(results[SERVER].stream, "hello", 5)), 5);
        struct coil_stream *s = results[CLIENT].stream;
        CHECK_INT(wait_int(coil_stream_fill(s, 5)), COIL_EINCOMPLETE);
        CHECK_INT(wait_int(coil_stream_fill(s, 1)), COIL_EINCOMPLETE);
        CHECK(coil_stream_at_end(s));
        CHECK(!coil_stream_is_reusable(s));
        end_relays();
    }
    shake_hands_over(honest, honest);
    check_open();
    relay_of(0)->cut = relayed(0) + 27;
    CHECK_INT(wait_int(coil_stream_write(results[SERVER].stream, "hello", 5)),
              5);
    struct coil_stream *s = results[CLIENT].stream;
    CHECK_INT(wait_int(coil_stream_fill(s, 5)), 5);
    CHECK_INT(wait_int(coil_stream_fill(s, 6)), COIL_EINCOMPLETE);
    coil_stream_consume(s, 5);
    CHECK_INT(wait_int(coil_stream_fill(s, 1)), COIL_EINCOMPLETE);
    end_relays();
    close_setups();
}

// A record changed on the way: nothing of it is delivered, and the peer is told.
TEST(tls_stream_does_not_deliver_what_was_changed)
{
    for (int v = 0; v < 2; v++) {
        open_version(v ? COIL_TLS_1_3 : COIL_TLS_1_2, 0);
        size_t len = v ? 27 : 34;
        for (size_t at = 0; at < len; at++) {
            struct relay flips = honest;
            shake_hands_over(flips, honest);
            check_open();
            relay_of(0)->flip = relayed(0) + at;
            test_note("version %d, byte %zu", v, at);
            CHECK_INT(
                wait_int(coil_stream_write(results[SERVER].stream, "hello", 5)),
                5);
            if (at == 3 || at == 4) { /* the length: it waits, or not */
                coil_stream_close_soon(results[SERVER].stream);
                results[SERVER].stream = NULL;
            }
            struct coil_stream *s = results[CLIENT].stream;
            int64_t n = wait_int(coil_stream_fill(s, 1));
            CHECK(n == COIL_ETLS || n == COIL_EINCOMPLETE ||
                  (v && at < 3 && n == 5));
            if (n == COIL_ETLS) {
                CHECK_INT(wait_int(coil_stream_write(s, "x", 1)), COIL_ETLS);
                CHECK_INT(wait_int(coil_stream_write_eof(s)), COIL_ETLS);
                coil_stream_close_soon(s);
                results[CLIENT].stream = NULL;
                struct coil_stream *told = results[SERVER].stream;
                n = told ? wait_int(coil_stream_fill(told, 1)) : COIL_ETLS;
                CHECK(n == COIL_ETLS || (n == COIL_EINCOMPLETE && at < 3));
            }
            end_relays();
        }
        close_setups();
    }
}

/* Two TLS streams that were open, over a pair; the test writes to the pair. */
static void open_raw(struct coil_stream *lower[2])
{
    open_setups(NULL, NULL);
    CHECK_INT(coil_stream_pair(lower, 0), 0);
    struct coil_stream *both[2] = { lower[0], lower[1] };
    kit_handshake(results, both, server, client, "a.test");
    check_open();
}

TEST(tls_stream_answers_a_head_that_is_none_with_an_alert)
{
    static const struct {
        const char *head;
        int code;
    } rows[] = {
        { "\x17\3\3\x41\x01", COILI_ALERT_RECORD_OVERFLOW },
        { "\x18\3\3\0\x20", COILI_ALERT_UNEXPECTED_MESSAGE },
        { "\0\3\3\0\x20", COILI_ALERT_UNEXPECTED_MESSAGE },
    };
    for (size_t i = 0; i < 3; i++) {
        struct coil_stream *lower[2];
        open_raw(lower);
        CHECK_INT(wait_int(coil_stream_write(lower[1], rows[i].head, 5)), 5);
        struct coil_task *t = coil_spawn(
            coil_stream_fill(results[SERVER].stream, 1));
        CHECK_INT(stage_run(t), COIL_ETLS);
        CHECK_INT(stage_reason(t), rows[i].code);
        coil_task_drop(&t);
        t = coil_spawn(coil_stream_fill(results[CLIENT].stream, 1));
        CHECK_INT(stage_run(t), COIL_ETLS);
        CHECK_INT(stage_reason(t), COIL_TLS_BY_PEER + rows[i].code);
        coil_task_drop(&t);
        close_results();
        close_setups();
    }
}

/* ---- Memory, cancellation --------------------------------------------- */

static int connect_once(void)
{
    struct coil_stream *lower[2], *ends[2];
    int err = coil_loop_new(&stage_loop, stage_options());
    if (err < 0)
        return err;
    err = coil_stream_pair(lower, 0);
    if (err == 0)
        err = kit_over(lower, ends);
    if (err == 0) {
        coil_stream_close_soon(ends[0]);
        coil_stream_close_soon(ends[1]);
    }
    coil_loop_close(stage_loop);
    return err;
}

TEST(tls_handshake_survives_every_failed_allocation)
{
    test_timeout(120);
    kit_make();
    test_every_allocation(connect_once);
}

// One end, in each pass; the other end learns of it.
TEST(tls_handshake_is_cancelled_at_every_point)
{
    open_setups(NULL, NULL);
    for (int end = 0; end < 2; end++) {
        bool over = false;
        for (int point = 0; !over; point++) {
            struct coil_stream *lower[2];
            test_note("end %d, point %d", end, point);
            CHECK_INT(coil_stream_pair(lower, 0), 0);
            struct coil_task *tasks[2] = {
                coil_spawn(coil_tls_accept(lower[0], server, &results[0].why)),
                coil_spawn(coil_tls_connect(lower[1], client, "a.test",
                                            &results[1].why)),
            };
            stage_passes(point);
            over = coil_task_done(tasks[0]) && coil_task_done(tasks[1]);
            bool asked = coil_task_cancel(tasks[end]);
            kit_take(&results[end], tasks[end]);
            CHECK(results[end].err == 0 || results[end].err == -ECANCELED);
            CHECK(asked || results[end].err == 0);
            if (results[end].err == 0) {
                kit_take(&results[!end], tasks[!end]);
            } else {
                CHECK(!results[end].stream);
                kit_take(&results[!end], tasks[!end]);
                if (results[!end].stream)
                    CHECK_INT(
                        wait_int(coil_stream_fill(results[!end].stream, 1)),
                        COIL_EINCOMPLETE);
            }
            close_results();
        }
    }
    close_setups();
}

static int steps;

static void count_client_step(struct coili_tls_state *state)
{
    steps++;
    KIT_CLIENT_ENGINE()->work(state);
}

static void count_server_step(struct coili_tls_state *state)
{
    steps++;
    KIT_SERVER_ENGINE()->work(state);
}

// A thousand handshakes at once must not keep the loop in one pass.
TEST(tls_handshakes_take_one_costly_step_in_a_pass)
{
    enum { CONNS = 10 };
    struct coil_tls_engine client_counts = *KIT_CLIENT_ENGINE();
    struct coil_tls_engine server_counts = *KIT_SERVER_ENGINE();
    client_counts.work = count_client_step;
    server_counts.work = count_server_step;
    struct coil_tls_client_options c = kit_client_options();
    struct coil_tls_server_options s = kit_server_options();
    c.engine = &client_counts;
    s.engine = &server_counts;
    open_setups(&s, &c);
    struct coil_task *tasks[2 * CONNS];
    for (int i = 0; i < CONNS; i++) {
        struct coil_stream *lower[2];
        CHECK_INT(coil_stream_pair(lower, 0), 0);
        tasks[2 * i] = coil_spawn(coil_tls_accept(lower[0], server, NULL));
        tasks[2 * i + 1] = coil_spawn(
            coil_tls_connect(lower[1], client, "a.test", NULL));
    }
    int all = 0, busy = 2 * CONNS;
    while (busy > 0) {
        steps = busy = 0;
        coil_loop_pass(stage_loop, COIL_MS(5));
        CHECK(steps <= 1);
        all += steps;
        for (int i = 0; i < 2 * CONNS; i++)
            busy += !coil_task_done(tasks[i]);
    }
    test_note("%d steps", all);
    CHECK(all >= 4 * CONNS);
    for (int i = 0; i < CONNS; i++) {
        kit_take(&results[SERVER], tasks[2 * i]);
        kit_take(&results[CLIENT], tasks[2 * i + 1]);
        check_open();
        close_results();
    }
    close_setups();
}

TEST(tls_handshake_that_is_dropped_closes_the_stream)
{
    struct coil_stream *lower[2];
    open_setups(NULL, NULL);
    CHECK_INT(coil_stream_pair(lower, 0), 0);
    coil_discard(coil_tls_connect(lower[0], client, "a.test", NULL));
    CHECK_INT(wait_int(coil_stream_fill(lower[1], 1)), 0);
    CHECK_INT(wait_int(coil_stream_close(lower[1])), 0);
    CHECK_INT(coil_stream_pair(lower, 0), 0);
    struct coil_task *s = coil_spawn(coil_tls_accept(lower[0], server, NULL));
    struct coil_task *c = coil_spawn(
        coil_tls_connect(lower[1], client, "a.test", NULL));
    UNTIL(coil_task_done(s) && coil_task_done(c));
    coil_task_drop(&s); /* nobody takes the streams */
    coil_task_drop(&c);
    stage_passes(20);
    close_setups();
}

// The loop closes around them: nothing of OpenSSL's or of the setup is lost.
TEST(tls_streams_that_are_left_open_are_freed_with_the_loop)
{
    open_setups(NULL, NULL);
    shake_hands("a.test");
    check_open();
    memset(results, 0, sizeof results);
    close_setups();
}

enum { MANY = 1000 };

/* Bytes that OpenSSL has, which takes them from malloc() of libc. */
static size_t libc_bytes(void)
{
    return mallinfo2().uordblks;
}

// An idle connection has no buffer. The numbers are of both ends, with the
// streams of the pair, and the server's certificate, of 377 bytes, in the client.
TEST(tls_idle_connections_are_small)
{
    static struct kit_result all[MANY][2];
    int n = test_is_slow() ? 100 : MANY;
    test_timeout(120);
    open_setups(NULL, NULL);
    for (int i = 0; i < 3; i++) { /* blocks that are kept */
        shake_hands("a.test");
        check_open();
        close_results();
    }
    size_t coils = test_heap_bytes(), libc = libc_bytes();
    for (int i = 0; i < n; i++) {
        shake_hands("a.test");
        check_open();
        memcpy(all[i], results, sizeof results);
    }
    size_t mine = (test_heap_bytes() - coils) / (size_t)n / 2;
    size_t whole = (libc_bytes() - libc) / (size_t)n / 2;
    fprintf(stderr,
            "# idle connection: %zu bytes of coil, %zu with OpenSSL's\n", mine,
            whole);
    CHECK(mine <= 1600);
    if (!test_is_slow())
        CHECK(whole <= 20480);
    for (int i = 0; i < n; i++) {
        memcpy(results, all[i], sizeof results);
        close_results();
    }
    close_setups();
}

// 3 bytes of a record, from each of them: they hold no receive buffer.
TEST(tls_part_of_a_record_pins_no_buffer)
{
    enum { PEERS = 300 };
    static struct kit_result all[PEERS][2];
    static int fds[PEERS];
    int n = test_is_slow() ? 40 : PEERS;
    open_setups(NULL, NULL);
    size_t before = 0;
    for (int i = 0; i < n; i++) {
        struct coil_stream *lower[2];
        struct pair pair = tcp_pair(0);
        fds[i] = pair.b;
        CHECK_INT(streams_over(pair, lower), 0);
        struct coil_stream *both[2] = { lower[0], lower[1] };
        kit_handshake(results, both, server, client, "a.test");
        check_open();
        memcpy(all[i], results, sizeof results);
    }
    before = test_heap_bytes();
    for (int i = 0; i < n; i++) {
        CHECK_INT(send(fds[i], "\x17\3\3", 3, 0), 3);
        struct coil_task *t = begin(coil_stream_fill(all[i][SERVER].stream, 1));
        UNTIL(stage_stats().in_flight > 0);
        for (int j = 0; j < 20; j++)
            coil_loop_pass(stage_loop, 0);
        coil_task_cancel(t);
        CHECK_INT(task_int(t), -ECANCELED);
    }
    struct coil_loop *loop = coili_loop;
    CHECK_INT(loop->table->buffers_free(loop->backend),
              loop->options.recv_buffers);
    CHECK((test_heap_bytes() - before) / (size_t)n <= 512);
    for (int i = 0; i < n; i++) {
        for (int end = 0; end < 2; end++)
            coil_detach(coil_stream_abort(all[i][end].stream));
    }
    memset(results, 0, sizeof results);
    stage_passes(20);
    close_setups();
}

DEATH_TEST(tls_connect_over_nothing_aborts, "coil_tls_connect: stream is NULL")
{
    open_setups(NULL, NULL);
    coil_discard(coil_tls_connect(NULL, client, "a.test", NULL));
}

#endif
