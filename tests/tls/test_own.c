// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_own.c: what only coil's own engine has: limits of keys, the guard in front
 * of an open connection, steps in other threads.
 */
#define KIT_CLIENT_ENGINE coil_tls_own_engine
#define KIT_SERVER_ENGINE coil_tls_own_engine

#include "tls_kit.h"

#include "tls/own/connection.h"
#include "tls/stream.h"

#include <pthread.h>

static struct coil_stream *ends[2];

static void open_ends(enum coil_tls_version version,
                      const struct coil_tls_engine *engine)
{
    struct coil_tls_client_options c = kit_client_options();
    struct coil_tls_server_options s = kit_server_options();
    struct coil_stream *lower[2];
    struct kit_result results[2];
    c.version_max = version;
    if (engine)
        c.engine = s.engine = engine;
    stage_open();
    struct coil_tls_client *client = kit_client(&c);
    struct coil_tls_server *server = kit_server(&s);
    CHECK_INT(coil_stream_pair(lower, 0), 0);
    kit_handshake(results, lower, server, client, "a.test");
    for (int i = 0; i < 2; i++) {
        CHECK_INT(results[i].err, 0);
        ends[i] = results[i].stream;
    }
    coil_tls_client_unref(client);
    coil_tls_server_unref(server);
}

static void close_ends(void)
{
    for (int i = 0; i < 2; i++)
        CHECK_INT(wait_int(coil_stream_close(ends[i])), 0);
    stage_close();
}

static struct coili_connection *connection(int end)
{
    return coili_connection_of(coili_tls_stream_state(ends[end]));
}

static void send_hello(int from)
{
    static char buf[5];
    CHECK_INT(wait_int(coil_stream_write(ends[from], "hello", 5)), 5);
    CHECK_INT(wait_int(coil_stream_read_exactly(ends[!from], buf, 5)), 5);
    CHECK_MEM(buf, "hello", 5);
}

/* Both ends of one direction believe that so many records were sent. */
static void set_sequence(int from, uint64_t sequence)
{
    connection(from)->out.sequence = sequence;
    connection(!from)->in.sequence = sequence;
}

// RFC 8446, 5.5: a key of AES-GCM is safe for 2^24.5 records of full length.
TEST(own_key_changes_after_eight_million_records)
{
    open_ends(COIL_TLS_1_3, NULL);
    for (int from = 0; from < 2; from++) {
        send_hello(from); /* and the server's ticket */
        struct coili_secret before = connection(from)->secret_out;
        set_sequence(from, (1 << 23) - 1);
        send_hello(from);
        CHECK_MEM(connection(from)->secret_out.bytes, before.bytes, 48);
        send_hello(from);
        CHECK_INT(connection(from)->out.sequence, 1);
        CHECK(memcmp(connection(from)->secret_out.bytes, before.bytes, 48));
        CHECK_MEM(connection(!from)->secret_in.bytes,
                  connection(from)->secret_out.bytes, 48);
        send_hello(from);
    }
    close_ends();
}

// TLS 1.2 has no new key without a new handshake.
TEST(own_connection_of_tls_1_2_ends_after_four_billion_records)
{
    open_ends(COIL_TLS_1_2, NULL);
    set_sequence(1, (UINT64_C(1) << 32) - 1);
    send_hello(1);
    CHECK_INT(wait_int(coil_stream_write(ends[1], "hello", 5)), COIL_ETLS);
    send_hello(0);
    CHECK_INT(wait_int(coil_stream_close(ends[1])), 0);
    CHECK_INT(wait_int(coil_stream_fill(ends[0], 1)), COIL_EINCOMPLETE);
    CHECK_INT(wait_int(coil_stream_close(ends[0])), 0);
    stage_close();
}

/* Have an end ask for new keys; what it says goes out with its next data. */
static void ask_for_keys(int end)
{
    static const unsigned char request[] = { COILI_TLS_KEY_UPDATE, 0, 0, 1, 1 };
    struct coili_connection *c = connection(end);
    CHECK_INT(coili_records_send(c, COILI_TLS_HANDSHAKE, request,
                                 sizeof request,
                                 coili_tls_stream_out(ends[end])),
              0);
    struct coili_secret next = c->secret_out;
    coili_secret_next(&next, coili_connection_digest(c));
    coili_write_by(c, &next);
}

// However many requests come, one reply stands before the next data.
TEST(own_requests_for_keys_have_one_reply)
{
    open_ends(COIL_TLS_1_3, NULL);
    for (int from = 0; from < 2; from++) {
        send_hello(!from);
        for (int i = 0; i < COILI_IDLE_MAX; i++)
            ask_for_keys(from);
        send_hello(from);
        CHECK(connection(!from)->owes_update);
        struct coili_secret once = connection(!from)->secret_out;
        coili_secret_next(&once, coili_connection_digest(connection(!from)));
        send_hello(!from);
        CHECK(!connection(!from)->owes_update);
        CHECK_MEM(connection(!from)->secret_out.bytes, once.bytes, 48);
        CHECK_INT(connection(!from)->out.sequence, 1);
    }
    close_ends();
}

/* ---- Renegotiation in TLS 1.2 ----------------------------------------- */

/* What the server says goes out with its next data. */
static void say(enum coili_tls_record_type type, const char *bytes, size_t len)
{
    CHECK_INT(coili_records_send(connection(0), type, bytes, len,
                                 coili_tls_stream_out(ends[0])),
              0);
}

static void request_hello(void)
{
    say(COILI_TLS_HANDSHAKE, "\0\0\0\0", 4);
}

// OpenSSL's server asks so for a certificate after the handshake.
TEST(own_client_declines_to_renegotiate_and_goes_on)
{
    open_ends(COIL_TLS_1_2, NULL);
    request_hello();
    send_hello(0);
    CHECK_INT(connection(1)->out.sequence, 2); /* Finished, the alert */
    send_hello(1);
    send_hello(0);
    close_ends();
}

// A server that cannot go on without says 40: then the error names the cause.
TEST(own_client_says_that_the_server_wants_to_renegotiate)
{
    for (int asks = 0; asks < 2; asks++) {
        open_ends(COIL_TLS_1_2, NULL);
        if (asks)
            request_hello();
        say(COILI_TLS_ALERT, "\2\50", 2);
        CHECK_INT(wait_int(coil_stream_write(ends[0], "x", 1)), 1);
        struct coil_task *t = begin(coil_stream_fill(ends[1], 1));
        coil_task_quiet(t);
        CHECK_INT(stage_run(t), COIL_ETLS);
        CHECK_INT(COIL_DETAIL_CODE(coil_future_detail(coil_task_future(t))),
                  asks ? COIL_TLS_RENEGOTIATES : COIL_TLS_BY_PEER + 40);
        coil_task_drop(&t);
        close_ends();
    }
}

// Nothing may stand behind close_notify.
TEST(own_client_that_has_ended_does_not_answer)
{
    open_ends(COIL_TLS_1_2, NULL);
    CHECK_INT(wait_int(coil_stream_write_eof(ends[1])), 0);
    CHECK_INT(wait_int(coil_stream_fill(ends[0], 1)), 0);
    request_hello();
    send_hello(0);
    CHECK_INT(connection(1)->out.sequence, 2); /* Finished, close_notify */
    close_ends();
}

/* ---- The guard -------------------------------------------------------- */

// The second guard: whatever a handler has forgotten.
TEST(own_connection_that_is_not_verified_does_not_open)
{
    static struct coili_shake shake; /* verified: false */
    static struct coili_tls_setup setup;
    struct coili_connection c = { .base.setup = &setup, .shake = &shake };
    c.version = COILI_TLS13;
    c.in.cipher = c.out.cipher = COILI_CIPHER_AES_128_GCM;
    CHECK_INT(coili_connection_open(&c), COIL_ETLS);
    CHECK_INT(COIL_DETAIL_CODE(c.base.detail), COILI_ALERT_INTERNAL_ERROR);
    CHECK(!coili_connection_is_open(&c));
    CHECK(c.shake == &shake);
}

// Nor is one open whose records are plain.
TEST(own_connection_without_keys_does_not_open)
{
    static struct coili_shake shake;
    static struct coili_tls_setup setup;
    for (int i = 0; i < 2; i++) {
        struct coili_connection c = { .base.setup = &setup, .shake = &shake };
        c.version = COILI_TLS12;
        shake.verified = true;
        (i ? &c.in : &c.out)->cipher = COILI_CIPHER_AES_128_GCM;
        CHECK_INT(coili_connection_open(&c), COIL_ETLS);
        CHECK(!coili_connection_is_open(&c));
    }
}

/* ---- Steps in other threads ------------------------------------------- */

static int steps;

static void *take_step(void *state)
{
    coil_tls_own_engine()->work(state);
    return NULL;
}

static void work_elsewhere(struct coili_tls_state *state)
{
    pthread_t thread;
    steps++;
    CHECK_INT(pthread_create(&thread, NULL, take_step, state), 0);
    CHECK_INT(pthread_join(thread, NULL), 0);
}

// A thread without a loop has no loop's memory and no entropy: a step that wants
// one of them aborts.
TEST(own_steps_run_in_any_thread)
{
    struct coil_tls_engine elsewhere = *coil_tls_own_engine();
    elsewhere.work = work_elsewhere;
    for (int v = 0; v < 2; v++) {
        steps = 0;
        open_ends(v ? COIL_TLS_1_3 : COIL_TLS_1_2, &elsewhere);
        send_hello(0);
        send_hello(1);
        CHECK(steps >= 5);
        close_ends();
    }
}
