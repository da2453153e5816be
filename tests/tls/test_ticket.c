// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_ticket.c: tickets of a server, without a connection: sealed and opened,
 * changed, moved, too old; and which keys there are when.
 */
#include "tls_kit.h"

#include <coil/tls_ticket_keys.h>
#include <pthread.h>

#include "tls/setup.h"
#include "tls/ticket.h"

enum { HOUR = 3600, DAY = 24 * HOUR };

static const char one[] = "1bcdefghijklmnopqrstuvwxyzABCDEF";
static const char two_one[] = "2bcdefghijklmnopqrstuvwxyzABCDEF"
                              "1bcdefghijklmnopqrstuvwxyzABCDEF";

static struct coil_tls_ticket_keys *keys;
static struct coil_tls_server *server, *other;
static struct coili_tls_handshake handshake;
static struct coili_tls_state state;
static unsigned char ticket[4096], room[4096];
static size_t ticket_len;
static uint32_t lifetime;
static struct coili_tls_session opened;

static void open_server(void)
{
    struct coil_tls_server_options o = kit_server_options();
    stage_open();
    keys = coil_tls_ticket_keys_new();
    CHECK(keys);
    coil_tls_ticket_keys_set(keys, one, 1);
    o.no_tickets = false;
    o.ticket_keys = keys;
    server = kit_server(&o);
    o.certificate = kit_pem(kit.b.text);
    other = kit_server(&o);
    state = (struct coili_tls_state){
        .setup = coili_tls_setup_of_server(server),
        .handshake = &handshake,
    };
    handshake.now = 1000000;
}

static void close_server(void)
{
    coil_tls_server_unref(server);
    coil_tls_server_unref(other);
    coil_tls_ticket_keys_unref(keys);
    stage_close();
}

static struct coili_tls_session session_of(uint16_t version)
{
    struct coili_tls_session s = {
        .version = version,
        .suite = 0x1302,
        .secret_len = 48,
        .alpn = { (const unsigned char *)"h2", 2 },
        .certificate = { kit.client.cert.der, kit.client.cert.len },
    };
    memset(s.secret, 's', sizeof s.secret);
    memset(s.leaf_sha256, 'l', sizeof s.leaf_sha256);
    return s;
}

static int seal(const struct coili_tls_session *s, const char *name)
{
    memset(ticket, 0xee, sizeof ticket);
    ticket_len = coili_tls_ticket_bytes(s);
    CHECK(ticket_len < sizeof ticket);
    int err = coili_tls_ticket_seal(&state, s, name, NULL, ticket, &lifetime);
    CHECK_INT(ticket[ticket_len], 0xee);
    return err;
}

static bool unseal(const char *name)
{
    return coili_tls_ticket_open(&state, ticket, ticket_len, name, room,
                                 &opened);
}

// All that a server knows of the session.
TEST(ticket_is_the_session)
{
    open_server();
    struct coili_tls_session s = session_of(COIL_TLS_1_3);
    CHECK(coili_tls_gives_tickets(&state));
    CHECK_INT(seal(&s, "a.test"), 0);
    CHECK(!memmem(ticket, ticket_len, s.secret, 8));
    CHECK(!memmem(ticket, ticket_len, s.certificate.at, 8));
    CHECK(unseal("A.Test"));
    CHECK_INT(opened.version, s.version);
    CHECK_INT(opened.suite, s.suite);
    CHECK_INT(opened.secret_len, 48);
    CHECK_MEM(opened.secret, s.secret, 48);
    CHECK_MEM(opened.leaf_sha256, s.leaf_sha256, 32);
    CHECK_INT(opened.alpn.len, 2);
    CHECK_MEM(opened.alpn.at, "h2", 2);
    CHECK_INT(opened.certificate.len, s.certificate.len);
    CHECK_MEM(opened.certificate.at, s.certificate.at, s.certificate.len);
    CHECK_INT(opened.ticket.len, 0);
    coili_tls_resumed(&state, &opened);
    CHECK(handshake.resumed);
    CHECK_INT(state.believed_until, handshake.now + 7 * DAY);
    s = (struct coili_tls_session){ .version = COIL_TLS_1_2 };
    CHECK_INT(seal(&s, ""), 0);
    CHECK(unseal(""));
    CHECK_INT(opened.version, COIL_TLS_1_2);
    CHECK_INT(opened.secret_len + opened.alpn.len + opened.certificate.len, 0);
    handshake.resumed = false;
    close_server();
}

// A nonce is not used twice: the bytes differ.
TEST(ticket_of_the_same_session_is_another)
{
    static unsigned char first[4096];
    open_server();
    struct coili_tls_session s = session_of(COIL_TLS_1_3);
    CHECK_INT(seal(&s, "a.test"), 0);
    memcpy(first, ticket, ticket_len);
    CHECK_INT(seal(&s, "a.test"), 0);
    CHECK_MEM(first, ticket, COILI_TICKET_ID_BYTES);
    CHECK(memcmp(first + 8, ticket + 8, 12) != 0);
    CHECK(memcmp(first + 20, ticket + 20, 8) != 0);
    close_server();
}

TEST(ticket_that_was_changed_is_none)
{
    open_server();
    struct coili_tls_session s = session_of(COIL_TLS_1_3);
    s.certificate.len = 0;
    CHECK_INT(seal(&s, "a.test"), 0);
    size_t len = ticket_len;
    for (size_t i = 0; i < len; i++) {
        ticket[i] ^= 1;
        CHECK(!unseal("a.test"));
        ticket[i] ^= 1;
    }
    for (ticket_len = 0; ticket_len < len; ticket_len++)
        CHECK(!unseal("a.test"));
    ticket_len = len + 1;
    CHECK(!unseal("a.test"));
    ticket_len = len;
    CHECK(unseal("a.test"));
    close_server();
}

TEST(ticket_that_was_moved_is_none)
{
    open_server();
    struct coili_tls_session s = session_of(COIL_TLS_1_3);
    CHECK_INT(seal(&s, "a.test"), 0);
    CHECK(!unseal("b.test"));
    CHECK(!unseal("a.tes"));
    CHECK(!unseal("a.test."));
    CHECK(!unseal(""));
    state.setup = coili_tls_setup_of_server(other);
    CHECK(!unseal("a.test"));
    state.setup = coili_tls_setup_of_server(server);
    CHECK(unseal("a.test"));
    close_server();
}

// By the first handshake, however often a session was resumed since.
TEST(ticket_that_is_too_old_is_none)
{
    open_server();
    for (int v = COIL_TLS_1_2; v <= COIL_TLS_1_3; v++) {
        struct coili_tls_session s = session_of((uint16_t)v);
        int64_t days = v == COIL_TLS_1_2 ? 1 : 7;
        handshake.now = 1000000;
        state.believed_until = 0;
        CHECK_INT(seal(&s, "a.test"), 0);
        CHECK_INT(lifetime, days * DAY);
        handshake.now += days * DAY - 1;
        CHECK(unseal("a.test"));
        coili_tls_resumed(&state, &opened);
        CHECK_INT(seal(&s, "a.test"), 0);
        CHECK_INT(lifetime, 1);
        CHECK(unseal("a.test"));
        handshake.now++;
        CHECK(!unseal("a.test"));
        CHECK(seal(&s, "a.test") < 0); /* there would be no use for it */
    }
    close_server();
}

// The first key seals. One that is gone opens nothing.
TEST(ticket_keys_are_replaced)
{
    open_server();
    struct coili_tls_session s = session_of(COIL_TLS_1_3);
    CHECK_INT(seal(&s, "a.test"), 0);
    coil_tls_ticket_keys_set(keys, two_one, 2);
    CHECK(unseal("a.test"));
    CHECK_INT(seal(&s, "a.test"), 0);
    coil_tls_ticket_keys_set(keys, one, 1);
    CHECK(!unseal("a.test"));
    coil_tls_ticket_keys_set(keys, two_one, 1);
    CHECK(unseal("a.test"));
    close_server();
}

// Made when they are needed, by a loop; a new one each hour.
TEST(ticket_keys_of_our_own_last_two_hours)
{
    stage_open();
    struct coil_tls_ticket_keys *own = coil_tls_ticket_keys_new();
    struct coili_ticket_key first, second, found;
    int64_t now = coil_wall_now() / COIL_SECONDS(1);
    CHECK(!coili_ticket_key_get(own, NULL, now, &first));
    coili_ticket_keys_turn(own);
    CHECK(coili_ticket_key_get(own, NULL, now, &first));
    coili_ticket_keys_turn(own);
    CHECK(coili_ticket_key_get(own, NULL, now, &second));
    CHECK_MEM(first.id, second.id, sizeof first.id);
    CHECK(first.end >= now + 2 * HOUR && first.end <= now + 2 * HOUR + 60);
    CHECK(coili_ticket_key_get(own, first.id, first.end - 1, &found));
    CHECK_MEM(first.seal, found.seal, sizeof first.seal);
    CHECK(!coili_ticket_key_get(own, first.id, first.end, &found));
    CHECK(!coili_ticket_key_get(own, NULL, first.end, &found));
    first.id[0] ^= 1;
    CHECK(!coili_ticket_key_get(own, first.id, now, &found));
    CHECK(coili_ticket_lifetime(&second, INT64_MAX, now) >= 2 * HOUR);
    CHECK_INT(coili_ticket_lifetime(&second, now + 5, now), 5);
    CHECK_INT(coili_ticket_lifetime(&second, now - 5, now), 0);
    coil_tls_ticket_keys_unref(own);
    stage_close();
}

/* ---- A clock that is ahead -------------------------------------------- */

static int64_t ahead_s;
static const struct coili_backend_table *real_table;

static int64_t wall_ahead(struct coili_backend *b)
{
    return real_table->wall(b) + ahead_s * COIL_SECONDS(1);
}

static int no_entropy(struct coili_backend *b, void *buf, size_t len)
{
    (void)b;
    (void)buf;
    (void)len;
    return -ENOSYS;
}

TEST(ticket_keys_of_our_own_are_made_each_hour)
{
    static struct coili_backend_table table;
    stage_open();
    real_table = stage_loop->table;
    table = *real_table;
    table.wall = wall_ahead;
    stage_loop->table = &table;
    struct coil_tls_ticket_keys *own = coil_tls_ticket_keys_new();
    struct coili_ticket_key made[5], found;
    for (int hour = 0; hour < 5; hour++) {
        ahead_s = hour * HOUR;
        int64_t now = coil_wall_now() / COIL_SECONDS(1);
        coili_ticket_keys_turn(own);
        CHECK(coili_ticket_key_get(own, NULL, now, &made[hour]));
        for (int old = 0; old <= hour; old++)
            CHECK_INT(coili_ticket_key_get(own, made[old].id, now, &found),
                      old >= hour - 1);
    }

    /* Without random bytes the last one goes on to its end. */
    table.entropy = no_entropy;
    ahead_s = 5 * HOUR;
    coili_ticket_keys_turn(own);
    int64_t now = coil_wall_now() / COIL_SECONDS(1);
    CHECK(coili_ticket_key_get(own, NULL, now, &found));
    CHECK_MEM(found.id, made[4].id, sizeof found.id);
    ahead_s = 6 * HOUR;
    coili_ticket_keys_turn(own);
    now = coil_wall_now() / COIL_SECONDS(1);
    CHECK(!coili_ticket_key_get(own, NULL, now, &found));
    coil_tls_ticket_keys_unref(own);
    stage_close();
}

/* ---- Threads ---------------------------------------------------------- */

static void *replace_keys(void *arg)
{
    for (int i = 0; i < 2000; i++)
        coil_tls_ticket_keys_set(arg, i % 2 ? one : two_one, i % 2 ? 1 : 2);
    coil_tls_ticket_keys_unref(arg);
    return NULL;
}

// Key 1 is there all the time: its tickets open.
TEST(ticket_keys_are_replaced_by_another_thread)
{
    pthread_t thread;
    open_server();
    struct coili_tls_session s = session_of(COIL_TLS_1_3);
    CHECK_INT(seal(&s, "a.test"), 0);
    CHECK_INT(pthread_create(&thread, NULL, replace_keys,
                             coil_tls_ticket_keys_ref(keys)),
              0);
    for (int i = 0; i < 2000; i++)
        CHECK(unseal("a.test"));
    CHECK_INT(pthread_join(thread, NULL), 0);
    close_server();
}

DEATH_TEST(ticket_keys_without_a_key_abort,
           "coil_tls_ticket_keys_set: n must be 1 to 8")
{
    keys = coil_tls_ticket_keys_new();
    coil_tls_ticket_keys_set(keys, one, 0);
}
