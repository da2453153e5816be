// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_tls_limits.c: what a TLS stream bounds by itself, whatever its engine
 * does. The engine of these cases believes everything and encrypts nothing, and
 * the peer is a script.
 */
#include "tls_kit.h"

static int believe_prepare(struct coili_tls_setup *setup, char *why)
{
    (void)setup;
    (void)why;
    return 0;
}

static void believe_forget(struct coili_tls_setup *setup)
{
    (void)setup;
}

static int believe_start(struct coili_tls_state *state,
                         struct coili_tls_out *out)
{
    (void)state;
    (void)out;
    return 0;
}

/* "!" in a handshake record opens the connection. */
static int believe_record(struct coili_tls_state *state, unsigned char *record,
                          size_t len, struct coili_tls_data *data,
                          struct coili_tls_out *out)
{
    (void)out;
    if (state->handshake) {
        state->overhead = 5;
        return record[0] == COILI_TLS_HANDSHAKE && len > 5 && record[5] == '!'
                   ? COILI_TLS_OPEN
                   : COILI_TLS_QUIET;
    }
    if (record[0] != COILI_TLS_DATA_RECORD || len == 5)
        return COILI_TLS_QUIET;
    data->at = 5;
    data->len = len - 5;
    return COILI_TLS_DATA;
}

static int believe_seal(struct coili_tls_state *state, const void *bytes,
                        size_t len, struct coili_tls_out *out)
{
    (void)state;
    unsigned char *to = coili_tls_out_append(out, len + 5);
    if (!to)
        return -ENOMEM;
    memcpy(to, "\x17\3\3", 3);
    to[3] = (unsigned char)(len >> 8);
    to[4] = (unsigned char)len;
    memcpy(to + 5, bytes, len);
    return 0;
}

static void believe_alert(struct coili_tls_state *state, int alert,
                          struct coili_tls_out *out)
{
    (void)state;
    unsigned char *to = coili_tls_out_append(out, 7);
    CHECK(to);
    memcpy(to, "\x15\3\3\0\2\2", 6);
    to[6] = (unsigned char)alert;
}

static int believe_end(struct coili_tls_state *state, struct coili_tls_out *out)
{
    believe_alert(state, 0, out);
    return 0;
}

static void believe_free(struct coili_tls_state *state)
{
    (void)state;
}

static const struct coil_tls_engine believer = {
    .name = "believer",
    .state_bytes = sizeof(struct coili_tls_state),
    .prepare = believe_prepare,
    .forget = believe_forget,
    .start = believe_start,
    .record = believe_record,
    .seal = believe_seal,
    .end = believe_end,
    .alert = believe_alert,
    .free = believe_free,
};

/* ---- The script ------------------------------------------------------- */

static struct coil_stream *peer, *tls;
static struct coil_tls_client *client;
static struct coil_task *handshake;

static void open_peer(void)
{
    struct coil_stream *lower[2];
    struct coil_tls_client_options o = COIL_TLS_CLIENT_OPTIONS_INIT;
    o.engine = &believer;
    o.verify = COIL_TLS_VERIFY_NONE;
    stage_open();
    client = kit_client(&o);
    CHECK_INT(coil_stream_pair(lower, 65536), 0);
    peer = lower[0];
    handshake = coil_spawn(coil_tls_connect(lower[1], client, "a.test", NULL));
    stage_passes(2);
}

static void send_records(int n, unsigned char type, size_t len, char byte)
{
    static unsigned char record[5 + 17000];
    memset(record, byte, sizeof record);
    memcpy(record,
           (unsigned char[]){ type, 3, 3, (unsigned char)(len >> 8),
                              (unsigned char)len },
           5);
    for (; n > 0; n--)
        CHECK_INT(wait_int(coil_stream_write(peer, record, 5 + len)),
                  5 + (int64_t)len);
}

static int open_tls(void)
{
    struct kit_result result;
    kit_take(&result, handshake);
    tls = result.stream;
    if (!tls)
        CHECK_INT(result.err, COIL_ETLS);
    return tls ? 0 : COIL_DETAIL_CODE(result.detail);
}

static void close_peer(int alert)
{
    static unsigned char got[64];
    coil_stream_close_soon(tls);
    if (alert) {
        CHECK_INT(wait_int(coil_stream_read_exactly(peer, got, 7)), 7);
        CHECK_INT(got[0], COILI_TLS_ALERT);
        CHECK_INT(got[6], alert);
    }
    CHECK_INT(wait_int(coil_stream_close(peer)), 0);
    tls = NULL;
    coil_tls_client_unref(client);
    stage_close();
}

/* What a fill fails with: the code of COIL_ETLS. */
static int fill_code(void)
{
    struct coil_task *t = begin(coil_stream_fill(tls, 1));
    CHECK_INT(stage_run(t), COIL_ETLS);
    int code = COIL_DETAIL_CODE(coil_future_detail(coil_task_future(t)));
    coil_task_drop(&t);
    return code;
}

enum { CCS = COILI_TLS_CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, DATA };

static const struct {
    unsigned char type;
    size_t len;
} idle[] = { { CCS, 1 }, { ALERT, 2 }, { HANDSHAKE, 0 }, { DATA, 0 } };

/* ---- Cases ------------------------------------------------------------ */

TEST(tls_limits_idle_records_of_a_handshake)
{
    for (int i = 0; i < 4; i++) {
        for (int n = 32; n <= 33; n++) {
            open_peer();
            test_note("type %d, %d of them", idle[i].type, n);
            if (i == 3) /* the first record must be of a handshake */
                send_records(1, HANDSHAKE, 1, '.');
            for (int round = 0; round < 2; round++) {
                send_records(32, i ? idle[i].type : ALERT, i ? idle[i].len : 2,
                             1);
                send_records(1, HANDSHAKE, 1, '.');
            }
            send_records(n, idle[i].type, idle[i].len, 1);
            send_records(1, HANDSHAKE, 1, '!');
            CHECK_INT(open_tls(), n == 32 ? 0 : 10);
            close_peer(n == 32 ? 0 : 10);
        }
    }
}

TEST(tls_limits_idle_records_of_an_open_connection)
{
    static char buf[8];
    for (int i = 0; i < 4; i++) {
        test_note("type %d", idle[i].type);
        open_peer();
        send_records(1, HANDSHAKE, 1, '!');
        CHECK_INT(open_tls(), 0);
        for (int round = 0; round < 3; round++) {
            send_records(32, idle[i].type, idle[i].len, 1);
            send_records(1, DATA, 1, 'x');
            CHECK_INT(wait_int(coil_stream_read(tls, buf, 8)), 1);
        }
        /* What is written may be what the peer waits for. */
        for (int round = 0; round < 3; round++) {
            send_records(30, idle[i].type, idle[i].len, 1);
            CHECK(coil_stream_is_reusable(tls));
            CHECK_INT(wait_int(coil_stream_write(tls, "x", 1)), 1);
            CHECK_INT(wait_int(coil_stream_read_exactly(peer, buf, 6)), 6);
        }
        send_records(33, idle[i].type, idle[i].len, 1);
        CHECK_INT(fill_code(), 10);
        CHECK(wait_int(coil_stream_write(tls, "x", 1)) < 0);
        close_peer(10);
    }
}

// Encryption adds 256 bytes at most: what is plain has no need of them.
TEST(tls_limits_lengths_by_what_is_encrypted)
{
    for (int more = 0; more < 2; more++) {
        open_peer();
        send_records(1, HANDSHAKE, 16384 + (size_t)more, '!');
        CHECK_INT(open_tls(), more ? 22 : 0);
        if (!more) {
            send_records(1, DATA, 16640, 'x');
            CHECK_INT(wait_int(coil_stream_fill(tls, 16640)), 16640);
            coil_stream_consume(tls, 16640);
            send_records(1, DATA, 16641, 'x');
            CHECK_INT(fill_code(), 22);
        }
        close_peer(22);
    }
    for (unsigned char type = CCS; type < DATA; type++) {
        open_peer();
        send_records(1, HANDSHAKE, 1, '!');
        CHECK_INT(open_tls(), 0);
        send_records(1, type, 16385, 'x');
        CHECK_INT(fill_code(), 22);
        close_peer(22);
    }
}

// A message of 16 MB: refused at its head, by OpenSSL as well.
TEST(tls_limits_messages_at_their_head)
{
    for (int is_server = 0; is_server < 2; is_server++) {
        static unsigned char got[600],
            record[] = { 22, 3, 3, 0, 4, 0, 255, 255, 255 };
        struct coil_stream *lower[2];
        struct kit_result result;
        record[5] = is_server ? 1 : 2;
        stage_open();
        struct coil_tls_server *server = kit_server(NULL);
        client = kit_client(NULL);
        CHECK_INT(coil_stream_pair(lower, 65536), 0);
        handshake = coil_spawn(
            is_server ? coil_tls_accept(lower[1], server, NULL)
                      : coil_tls_connect(lower[1], client, "a.test", NULL));
        CHECK_INT(wait_int(coil_stream_write(lower[0], record, 9)), 9);
        kit_take(&result, handshake);
        CHECK_INT(result.err, COIL_ETLS);
        CHECK_INT(COIL_DETAIL_CODE(result.detail), 47);
        int64_t n = wait_int(coil_stream_read(lower[0], got, sizeof got));
        CHECK(n >= 7);
        CHECK_MEM(got + n - 7, ((unsigned char[]){ 21, 3, 3, 0, 2, 2, 47 }), 7);
        CHECK_INT(wait_int(coil_stream_close(lower[0])), 0);
        coil_tls_server_unref(server);
        coil_tls_client_unref(client);
        stage_close();
    }
}
