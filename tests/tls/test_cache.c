// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_cache.c: sessions of TLS clients in their cache: which are found, which
 * are not taken, what goes when the cache is full. No connection is made.
 */
#include "tls_kit.h"

#include <coil/tls_cache.h>

#include "tls/cache.h"
#include "tls/name.h"
#include "tls/setup.h"

static struct coil_tls_client *client;
static struct coil_tls_cache *cache;

/* ---- What is wiped ---------------------------------------------------- */

static const char secret[] = "the secret of this session, 48 bytes of letters.";
static int wiped;

void __real_explicit_bzero(void *at, size_t len);
void __wrap_explicit_bzero(void *at, size_t len);

void __wrap_explicit_bzero(void *at, size_t len)
{
    if (memmem(at, len, secret, 48))
        wiped++;
    __real_explicit_bzero(at, len);
}

/* ---- Names and sessions ----------------------------------------------- */

static void open_cache(size_t names)
{
    stage_open();
    client = kit_client(NULL);
    cache = coil_tls_cache_new(names);
    CHECK(cache);
    wiped = 0;
}

static void close_cache(void)
{
    coil_tls_cache_free(cache);
    coil_tls_client_unref(client);
    stage_close();
}

static struct coili_tls_sessions *sessions_of(const char *name, uint16_t port)
{
    struct coili_host host;
    CHECK(coili_host_parse(&host, name));
    struct coili_tls_sessions *s = coili_tls_sessions_of(
        cache, coili_tls_setup_of_client(client), &host, port, NULL);
    CHECK(s);
    return s;
}

static int64_t now_ms(void)
{
    return coil_wall_now() / COIL_MS(1);
}

static struct coili_tls_session good(char ticket)
{
    static char tickets[256];
    tickets[(unsigned char)ticket] = ticket;
    struct coili_tls_session s = {
        .version = COIL_TLS_1_3,
        .lifetime = 3600,
        .secret_len = 48,
        .ticket = { (unsigned char *)&tickets[(unsigned char)ticket], 1 },
    };
    memcpy(s.secret, secret, 48);
    return s;
}

static void keep(const char *name, uint16_t port,
                 const struct coili_tls_session *session)
{
    struct coili_tls_state state = { .sessions = sessions_of(name, port),
                                     .believed_until = now_ms() / 1000 + 60 };
    coili_tls_keep(&state, session);
    coili_tls_sessions_unref(state.sessions);
}

/* The ticket of the session that is taken at that time; 0: there is none. */
static int take_at(const char *name, uint16_t port, int64_t at_ms)
{
    struct coili_tls_sessions *s = sessions_of(name, port);
    struct coili_kept *kept = coili_tls_sessions_take(s, at_ms);
    int ticket = kept ? *kept->session.ticket.at : 0;
    coili_kept_unref(kept);
    coili_tls_sessions_unref(s);
    return ticket;
}

static int take(const char *name, uint16_t port)
{
    return take_at(name, port, now_ms());
}

/* ---- Cases ------------------------------------------------------------ */

TEST(cache_gives_the_newest_session_of_a_name)
{
    open_cache(0);
    for (char c = 'a'; c < 'e'; c++) {
        struct coili_tls_session s = good(c);
        keep("a.test", 443, &s);
    }
    CHECK_INT(coil_tls_cache_size(cache), 2);
    CHECK_INT(take("b.test", 443), 0);
    CHECK_INT(take("a.test", 444), 0);
    CHECK_INT(take("A.Test.", 443), 'd');
    CHECK_INT(take("a.test", 443), 'c');
    CHECK_INT(take("a.test", 443), 0);
    CHECK_INT(coil_tls_cache_size(cache), 0);
    CHECK_INT(wiped, 4);
    close_cache();
}

TEST(cache_gives_a_session_of_1_2_more_than_once)
{
    open_cache(0);
    struct coili_tls_session s = good('a');
    s.version = COIL_TLS_1_2;
    keep("192.0.2.1", 443, &s);
    for (int i = 0; i < 3; i++)
        CHECK_INT(take("192.0.2.1", 443), 'a');
    CHECK_INT(take("192.0.2.2", 443), 0);
    struct coili_tls_sessions *sessions = sessions_of("192.0.2.1", 443);
    struct coili_kept *kept = coili_tls_sessions_take(sessions, now_ms());
    s = good('b');
    keep("192.0.2.1", 443, &s);
    coili_tls_sessions_drop(sessions, kept); /* the older one */
    CHECK_INT(coil_tls_cache_size(cache), 1);
    CHECK_MEM(kept->session.secret, secret, 48); /* while it is offered */
    CHECK_INT(wiped, 0);
    coili_kept_unref(kept);
    CHECK_INT(wiped, 1);
    coili_tls_sessions_unref(sessions);
    CHECK_INT(take("192.0.2.1", 443), 'b');
    close_cache();
}

TEST(cache_keeps_what_can_be_resumed)
{
    static const unsigned char large[16384];
    open_cache(0);
    static const uint32_t lifetimes[] = { 0, 1, 604800, 604801, UINT32_MAX };
    for (int i = 0; i < 5; i++) {
        struct coili_tls_session s = good('a');
        s.lifetime = lifetimes[i];
        keep("a.test", 443, &s);
        CHECK_INT(coil_tls_cache_size(cache), i == 1 || i == 2);
        coil_tls_cache_clear(cache);
    }
    struct coili_tls_session s = good('a');
    struct coili_tls_state state = { .sessions = sessions_of("a.test", 443),
                                     .believed_until = now_ms() / 1000 };
    coili_tls_keep(&state, &s); /* is believed no more */
    state.believed_until = 0;   /* was never verified */
    coili_tls_keep(&state, &s);
    CHECK_INT(coil_tls_cache_size(cache), 0);
    state.believed_until = INT64_MAX;
    s.ticket = (struct coili_tls_view){ large, sizeof large };
    coili_tls_keep(&state, &s);
    CHECK_INT(coil_tls_cache_size(cache), 1);
    s.alpn = (struct coili_tls_view){ large, 1 };
    coili_tls_keep(&state, &s);
    CHECK_INT(coil_tls_cache_size(cache), 1);
    coili_tls_sessions_unref(state.sessions);
    struct coili_tls_state none = { .believed_until = INT64_MAX };
    coili_tls_keep(&none, &s); /* there is no cache */
    close_cache();
}

TEST(cache_gives_nothing_too_late)
{
    open_cache(0);
    struct coili_tls_session s = good('a');
    s.version = COIL_TLS_1_2;
    int64_t now = now_ms();
    s.lifetime = 10;
    keep("a.test", 1, &s);
    CHECK_INT(take_at("a.test", 1, now + 9000), 'a');
    CHECK_INT(take_at("a.test", 1, now + 12000), 0);
    CHECK_INT(take_at("a.test", 1, now), 0); /* it is gone */
    s.lifetime = 3600;
    keep("a.test", 1, &s);
    CHECK_INT(take_at("a.test", 1, now + 58000), 'a');
    CHECK_INT(take_at("a.test", 1, now + 63000), 0); /* see keep() */
    keep("a.test", 1, &s);
    CHECK_INT(take_at("a.test", 1, now - 1000), 0); /* a clock set back */
    CHECK_INT(coil_tls_cache_size(cache), 0);
    CHECK_INT(wiped, 3);
    close_cache();
}

// A server may send as many as it likes.
TEST(cache_takes_eight_sessions_of_a_connection)
{
    open_cache(0);
    struct coili_tls_state state = { .sessions = sessions_of("a.test", 443),
                                     .believed_until = INT64_MAX };
    for (char c = 'a'; c <= 'z'; c++) {
        struct coili_tls_session s = good(c);
        coili_tls_keep(&state, &s);
    }
    coili_tls_sessions_unref(state.sessions);
    CHECK_INT(take("a.test", 443), 'h');
    CHECK_INT(take("a.test", 443), 'g');
    close_cache();
}

// The name that was not used for the longest time goes, also if a connection
// refers to it.
TEST(cache_is_bounded)
{
    enum { NAMES = COIL_TLS_CACHE_NAMES };
    static struct coili_tls_sessions *held[NAMES + 10];
    struct coili_tls_session s = good('x');
    open_cache(0);
    for (int i = 0; i < NAMES + 10; i++) {
        char name[32];
        snprintf(name, sizeof name, "host%d.test", i);
        keep(name, 443, &s);
        keep(name, 443, &s);
        held[i] = sessions_of(name, 443);
        CHECK(coil_tls_cache_size(cache) <= 2 * NAMES);
        if (i > 0)
            CHECK_INT(take("host0.test", 443), 'x');
        keep("host0.test", 443, &s);
    }
    CHECK_INT(coil_tls_cache_size(cache), 2 * NAMES);
    CHECK_INT(take("host0.test", 443), 'x');
    CHECK_INT(take("host10.test", 443), 0);
    CHECK_INT(take("host255.test", 443), 'x');
    CHECK_INT(take("host265.test", 443), 'x');

    /* A connection of a name that went gives it a session again. */
    struct coili_tls_state state = { .sessions = held[1],
                                     .believed_until = INT64_MAX };
    coili_tls_keep(&state, &s);
    CHECK_INT(take("host1.test", 443), 'x');
    CHECK_INT(take("host1.test", 443), 0);

    /* Two of one name, of which one lost its place. */
    state.sessions = held[2];
    keep("host2.test", 443, &s);
    coili_tls_keep(&state, &s);
    CHECK_INT(take("host2.test", 443), 'x');
    CHECK_INT(take("host2.test", 443), 'x');
    coil_tls_cache_free(cache);
    state.sessions = held[3];
    coili_tls_keep(&state, &s); /* goes nowhere */
    for (int i = 0; i < NAMES + 10; i++)
        coili_tls_sessions_unref(held[i]);
    cache = NULL;
    close_cache();
}

TEST(cache_of_one_name_and_of_many)
{
    static const size_t sizes[] = { 1, 2, 3, COIL_TLS_CACHE_NAMES_MAX };
    for (int i = 0; i < 4; i++) {
        struct coili_tls_session s = good('x');
        open_cache(sizes[i]);
        for (int j = 0; j < 400; j++) {
            char name[32];
            snprintf(name, sizeof name, "host%d.test", j);
            keep(name, 0, &s);
        }
        CHECK_INT(coil_tls_cache_size(cache), sizes[i] < 400 ? sizes[i] : 400);
        CHECK_INT(take("host399.test", 0), 'x');
        coil_tls_cache_clear(cache);
        CHECK_INT(coil_tls_cache_size(cache), 0);
        CHECK_INT(wiped, 400);
        keep("host1.test", 0, &s);
        CHECK_INT(take("host1.test", 0), 'x');
        close_cache();
    }
}

TEST(cache_drops_a_name_after_alerts_about_certificates)
{
    struct coili_tls_session s = good('x');
    open_cache(0);
    for (int code = 0; code < 0x300; code++) {
        keep("a.test", 443, &s);
        struct coili_tls_sessions *sessions = sessions_of("a.test", 443);
        coili_tls_sessions_failed(sessions, COIL_ETLS, coili_tls_detail(code));
        coili_tls_sessions_failed(sessions, -EPIPE, coili_tls_detail(42));
        coili_tls_sessions_unref(sessions);
        bool drops = (code >= 42 && code <= 49) ||
                     (code >= 0x100 + 42 && code <= 0x100 + 49);
        test_note("code %#x", (unsigned)code);
        CHECK_INT(take("a.test", 443), drops ? 0 : 'x');
    }
    keep("a.test", 443, &s);
    struct coili_tls_sessions *sessions = sessions_of("a.test", 443);
    coili_tls_sessions_failed(sessions, COIL_ECERT, 0);
    coili_tls_sessions_unref(sessions);
    CHECK_INT(coil_tls_cache_size(cache), 0);
    close_cache();
}

DEATH_TEST(cache_of_too_many_names_aborts,
           "coil_tls_cache_new: names must be at most 65536")
{
    stage_open();
    cache = coil_tls_cache_new(COIL_TLS_CACHE_NAMES_MAX + 1);
}
