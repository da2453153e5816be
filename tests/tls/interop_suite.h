// SPDX-License-Identifier: MIT
/*
 * interop_suite.h: TLS with other programs, in both roles.
 *
 * A file that tests an engine defines interop_engine() and includes this. Each
 * row of a table is one connection: the handshake, 2 MB there and back, the end.
 */

/* ---- Each suite, with each kind of key -------------------------------- */

struct suite {
    unsigned version, number;
    const char *openssl, *gnutls;
};

#define V13 "--priority NORMAL:-VERS-ALL:+VERS-TLS1.3:-CIPHER-ALL:"
#define V12 "--priority NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:"

static const struct suite rsa_suites[] = {
    { COIL_TLS_1_3, 0x1301, "-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256",
      V13 "+AES-128-GCM" },
    { COIL_TLS_1_3, 0x1302, "-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384",
      V13 "+AES-256-GCM" },
    { COIL_TLS_1_3, 0x1303,
      "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256",
      V13 "+CHACHA20-POLY1305" },
    { COIL_TLS_1_2, 0xc02f, "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256",
      V12 "+AES-128-GCM" },
    { COIL_TLS_1_2, 0xc030, "-tls1_2 -cipher ECDHE-RSA-AES256-GCM-SHA384",
      V12 "+AES-256-GCM" },
    { COIL_TLS_1_2, 0xcca8, "-tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305",
      V12 "+CHACHA20-POLY1305" },
};

static const struct suite ecdsa_suites[] = {
    { COIL_TLS_1_3, 0x1301, "-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256",
      V13 "+AES-128-GCM" },
    { COIL_TLS_1_3, 0x1302, "-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384",
      V13 "+AES-256-GCM" },
    { COIL_TLS_1_3, 0x1303,
      "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256",
      V13 "+CHACHA20-POLY1305" },
    { COIL_TLS_1_2, 0xc02b, "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256",
      V12 "+AES-128-GCM" },
    { COIL_TLS_1_2, 0xc02c, "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384",
      V12 "+AES-256-GCM" },
    { COIL_TLS_1_2, 0xcca9, "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305",
      V12 "+CHACHA20-POLY1305" },
};

enum { SUITES = sizeof rsa_suites / sizeof *rsa_suites };

typedef void each_fn(const struct interop_row *row, enum interop_ends ends);

/* The rows of all suites and keys; `first` is what they have in common. */
static void each_suite(const struct interop_row *first, bool is_gnutls,
                       each_fn *fn)
{
    static const char *const keys[] = { "rsa", "p256", "p384" };
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < SUITES; i++) {
            const struct suite *suite = k ? &ecdsa_suites[i] : &rsa_suites[i];
            struct interop_row row = *first;
            row.key = keys[k];
            row.more = is_gnutls ? suite->gnutls : suite->openssl;
            row.version = suite->version;
            row.suite = suite->number;
            fn(&row, INTEROP_ECHO);
        }
}

/* Both versions with each kind of key, for programs that choose the suite. */
static void each_key(const char *command, each_fn *fn)
{
    static const char *const keys[] = { "rsa", "p256", "p384" };
    for (int i = 0; i < 6; i++) {
        struct interop_row row = {
            .command = command,
            .key = keys[i / 2],
            .more = i % 2 ? "TLSv1_3 TLSv1.3" : "TLSv1_2 TLSv1.2",
            .version = i % 2 ? COIL_TLS_1_3 : COIL_TLS_1_2,
            .close = i % 2 ? INTEROP_PEER_CLOSES : INTEROP_WE_CLOSE,
        };
        fn(&row, INTEROP_ECHO);
    }
}

static const char *const openssl[] = { "openssl", NULL };
static const char *const gnutls[] = { "openssl", "gnutls-serv", "gnutls-cli",
                                      NULL };
static const char *const python[] = { "openssl", "/usr/bin/python3", NULL };
static const char *const node[] = { "openssl", "node", NULL };

#define S_SERVER \
    "exec openssl s_server -quiet -naccept 1 -accept 127.0.0.1:$PORT -cert " \
    "$KEY.pem -CAfile ca.pem $MORE"
#define S_CLIENT \
    "exec openssl s_client -quiet -connect 127.0.0.1:$PORT -servername " \
    "a.test -verify_hostname a.test -verify_return_error -CAfile ca.pem $MORE"
#define GNUTLS_SERV \
    "exec gnutls-serv --echo --quiet --port $PORT --x509certfile $KEY.pem " \
    "--x509keyfile $KEY.pem --x509cafile ca.pem $MORE"
#define GNUTLS_CLI \
    "exec gnutls-cli --logfile log --port $PORT --x509cafile ca.pem " \
    "--sni-hostname a.test --verify-hostname a.test $MORE 127.0.0.1"

TEST(interop_client_of_openssl)
{
    struct interop_row row = { .command = S_SERVER };
    interop_open(openssl);
    each_suite(&row, false, interop_client);
    interop_close();
}

TEST(interop_server_of_openssl)
{
    struct interop_row row = { .command = S_CLIENT };
    interop_open(openssl);
    each_suite(&row, false, interop_server);
    interop_close();
}

// It listens on all addresses: it has no option for one.
TEST(interop_client_of_gnutls)
{
    struct interop_row row = { .command = GNUTLS_SERV };
    interop_open(gnutls);
    each_suite(&row, true, interop_client);
    interop_close();
}

// It ends without a close_notify of its own when it has got one, and prints byte
// by byte, with a system call for each: so not a megabyte every time.
TEST(interop_server_of_gnutls)
{
    struct interop_row row = { .command = GNUTLS_CLI,
                               .sizes = 3,
                               .ends_rudely = true };
    interop_open(gnutls);
    each_suite(&row, true, interop_server);
    row.sizes = INTEROP_SIZES;
    interop_server(&row, INTEROP_ECHO);
    interop_close();
}

TEST(interop_client_of_python)
{
    interop_open(python);
    each_key("set -- $MORE; exec /usr/bin/python3 -I echo.py server $1",
             interop_client);
    interop_close();
}

TEST(interop_server_of_python)
{
    interop_open(python);
    each_key("set -- $MORE; exec /usr/bin/python3 -I echo.py client $1",
             interop_server);
    interop_close();
}

TEST(interop_client_of_node)
{
    interop_open(node);
    each_key("set -- $MORE; exec node echo.js server $2", interop_client);
    interop_close();
}

TEST(interop_server_of_node)
{
    interop_open(node);
    each_key("set -- $MORE; exec node echo.js client $2", interop_server);
    interop_close();
}

/* ---- haproxy, nginx and curl ------------------------------------------ */

static const char *const haproxy[] = { "openssl", "haproxy", NULL };

/* The three ends of a proxy: TLS on one side of it, a plain stream behind. */
static void copy_both_ways(struct coil_stream *a, struct coil_stream *b)
{
    for (int i = 0; i < INTEROP_SIZES; i++) {
        interop_copy(a, b, interop_sizes[i]);
        interop_copy(b, a, interop_sizes[i]);
    }
    CHECK_INT(wait_int(coil_stream_write_eof(a)), 0);
    CHECK_INT(wait_int(coil_stream_fill(b, 1)), 0);
    CHECK_INT(wait_int(coil_stream_close(b)), 0);
    CHECK_INT(wait_int(coil_stream_fill(a, 1)), 0);
    CHECK_INT(wait_int(coil_stream_close(a)), 0);
}

static void through_haproxy(const struct interop_row *row,
                            enum interop_ends ends)
{
    struct coil_tls_client_options options = interop_client_options(row);
    uint16_t port;
    int err;
    interop_set(row);
    stage_open();
    struct coil_listener *listener = interop_listen(&port);
    interop_set_number("TO", port);
    struct interop_peer peer = interop_start(row->command, ends, 0);
    struct coil_tls_client *client = kit_client(&options);
    struct coil_stream *s = interop_handshake(row, interop_connect(&peer),
                                              client);
    struct coil_stream *plain = task_stream(
        coil_spawn(coil_listener_accept(listener)), &err);
    CHECK_INT(err, 0);
    interop_check_info(row, false, s);
    copy_both_ways(s, plain);
    CHECK_INT(wait_int(coil_listener_close(listener)), 0);
    coil_tls_client_unref(client);
    stage_close();
    interop_stop(&peer);
}

static void behind_haproxy(const struct interop_row *row,
                           enum interop_ends ends)
{
    struct coil_tls_server_options options = interop_server_options(row);
    uint16_t port;
    interop_set(row);
    stage_open();
    struct coil_listener *listener = interop_listen(&port);
    interop_set_number("TO", port);
    struct interop_peer peer = interop_start(row->command, ends, 0);
    struct coil_tls_server *server = kit_server(&options);
    struct coil_stream *plain = interop_connect(&peer);
    struct coil_stream *s = interop_accept(row, &peer, listener, server);
    interop_check_info(row, true, s);
    copy_both_ways(s, plain);
    CHECK_INT(wait_int(coil_listener_close(listener)), 0);
    coil_tls_server_unref(server);
    stage_close();
    interop_stop(&peer);
}

TEST(interop_client_of_haproxy)
{
    interop_open(haproxy);
    each_key("set -- $MORE; "
             "FRONT=\"ssl crt $KEY.pem ssl-min-ver $2 ssl-max-ver $2\" "
             "exec haproxy -db -q -f haproxy",
             through_haproxy);
    interop_close();
}

TEST(interop_server_of_haproxy)
{
    interop_open(haproxy);
    each_key("set -- $MORE; BACK=\"ssl verify required ca-file ca.pem "
             "sni str(a.test) verifyhost a.test ssl-min-ver $2 ssl-max-ver $2\""
             " exec haproxy -db -q -f haproxy",
             behind_haproxy);
    interop_close();
}

static const char *const nginx[] = { "openssl", "nginx", NULL };

/* A file of each size. */
static void fetch_from_nginx(const struct interop_row *row)
{
    static char answer[INTEROP_MOST + 4096];
    struct coil_tls_client_options options = interop_client_options(row);
    interop_set(row);
    struct interop_peer peer = interop_start(row->command, INTEROP_ECHO, 0);
    stage_open();
    struct coil_tls_client *client = kit_client(&options);
    for (int i = 0; i < INTEROP_SIZES; i++) {
        char name[32], ask[64];
        size_t n = interop_sizes[i], got = 0, some;
        snprintf(name, sizeof name, "%zu", n);
        interop_write_bytes(name, interop_text(n), n);
        struct coil_stream *s = interop_handshake(row, interop_connect(&peer),
                                                  client);
        interop_check_info(row, false, s);
        snprintf(ask, sizeof ask, "GET /%zu HTTP/1.0\r\n\r\n", n);
        CHECK_INT(wait_int(coil_stream_write(s, ask, strlen(ask))),
                  strlen(ask));
        while ((some = (size_t)wait_int(coil_stream_read(
                    s, answer + got, sizeof answer - got))) > 0)
            got += some;
        CHECK(got > n);
        CHECK_MEM(answer, "HTTP/1.1 200 OK\r\n", 17);
        CHECK_MEM(answer + got - n - 4, "\r\n\r\n", 4);
        CHECK_MEM(answer + got - n, interop_text(n), n);
        CHECK_INT(wait_int(coil_stream_close(s)), 0);
    }
    coil_tls_client_unref(client);
    stage_close();
    interop_stop(&peer);
}

// One group that the first hello has no share for; and small records.
TEST(interop_client_of_nginx)
{
    static const struct interop_row rows[] = {
        { .more = "ssl_protocols TLSv1.3;", .version = COIL_TLS_1_3 },
        { .more = "ssl_protocols TLSv1.2;", .version = COIL_TLS_1_2 },
        { .key = "rsa", .more = "ssl_protocols TLSv1.3;" },
        { .key = "rsa", .more = "ssl_protocols TLSv1.2;" },
        { .key = "p384", .more = "ssl_protocols TLSv1.3;" },
        { .more = "ssl_protocols TLSv1.3; ssl_ecdh_curve prime256v1;",
          .version = COIL_TLS_1_3 },
        { .more = "ssl_protocols TLSv1.3; ssl_ecdh_curve secp384r1;",
          .version = COIL_TLS_1_3 },
        { .more = "ssl_buffer_size 600;" },
    };
    interop_open(nginx);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct interop_row row = rows[i];
        row.command = "sed \"s/PORT/$PORT/; s/KEY/$KEY/g; "
                      "s/MORE/$MORE/\" nginx > conf && "
                      "exec nginx -e stderr -p . -c conf";
        fetch_from_nginx(&row);
    }
    interop_close();
}

static const char *const curl[] = { "openssl", "curl", "cmp", NULL };

/* One request of curl, whose body is the body of the answer. */
static void answer_curl(struct coil_stream *s, size_t n)
{
    static char body[INTEROP_MOST];
    char line[1024], head[64];
    int64_t len;
    do {
        len = wait_int(coil_stream_read_until(s, '\n', line, sizeof line));
        CHECK(len > 0);
    } while (len != 2);
    CHECK_INT(wait_int(coil_stream_read_exactly(s, body, n)), n);
    snprintf(head, sizeof head,
             "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
    CHECK_INT(wait_int(coil_stream_write(s, head, strlen(head))), strlen(head));
    CHECK_INT(wait_int(coil_stream_write(s, body, n)), n);
}

// All requests go over one connection, which curl keeps and ends.
TEST(interop_server_of_curl)
{
    static const struct interop_row rows[] = {
        { .more = "--tlsv1.3",
          .version = COIL_TLS_1_3,
          .alpn = { "http/1.1" } },
        { .more = "--tls-max 1.2",
          .version = COIL_TLS_1_2,
          .alpn = { "http/1.1" } },
        { .key = "rsa", .more = "--tlsv1.3", .alpn = { "http/1.1" } },
        { .key = "p384",
          .more = "--tls-max 1.2 --cert client.pem",
          .alpn = { "http/1.1" },
          .ask = COIL_TLS_ASK_ALWAYS,
          .shows = true },
    };
    interop_open(curl);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct interop_row row = rows[i];
        struct coil_tls_server_options options = interop_server_options(&row);
        char said[64];
        uint16_t port;
        row.command =
            "set -- 'https://a.test:'$PORT\n"
            "curl -q -sS --http1.1 --cacert ca.pem --resolve a.test:$PORT:"
            "127.0.0.1 -H Expect: -H Content-Type: $MORE "
            "--data-binary @1 $1 -o b1 "
            "--next -sS --http1.1 --cacert ca.pem --resolve a.test:$PORT:"
            "127.0.0.1 -H Expect: $MORE --data-binary @16384 $1 -o b16384 "
            "--next -sS --http1.1 --cacert ca.pem --resolve a.test:$PORT:"
            "127.0.0.1 -H Expect: $MORE --data-binary @16385 $1 -o b16385 "
            "--next -sS --http1.1 --cacert ca.pem --resolve a.test:$PORT:"
            "127.0.0.1 -H Expect: $MORE --data-binary @1048576 $1 -o b1048576 "
            "&& for f in 1 16384 16385 1048576; do cmp $f b$f || exit; done "
            "&& echo same";
        for (int k = 0; k < INTEROP_SIZES; k++) {
            char name[32];
            snprintf(name, sizeof name, "%zu", interop_sizes[k]);
            interop_write_bytes(name, interop_text(interop_sizes[k]),
                                interop_sizes[k]);
        }
        interop_set(&row);
        stage_open();
        struct coil_listener *listener = interop_listen(&port);
        struct coil_tls_server *server = kit_server(&options);
        struct interop_peer peer = interop_start(row.command, INTEROP_HAND,
                                                 port);
        struct coil_stream *s = interop_accept(&row, &peer, listener, server);
        interop_check_info(&row, true, s);
        for (int k = 0; k < INTEROP_SIZES; k++)
            answer_curl(s, interop_sizes[k]);
        CHECK_INT(wait_int(coil_stream_fill(s, 1)), 0);
        CHECK_INT(wait_int(coil_stream_close(s)), 0);
        CHECK_INT(wait_int(coil_listener_close(listener)), 0);
        coil_tls_server_unref(server);
        stage_close();
        interop_said(&peer, said, sizeof said);
        CHECK_STR(said, "same\n");
        interop_stop(&peer);
    }
    interop_close();
}

/* ---- What peers can be made to do ------------------------------------- */

static void each_row(const struct interop_row *rows, size_t n,
                     const char *command, each_fn *fn)
{
    for (size_t i = 0; i < n; i++) {
        struct interop_row row = rows[i];
        if (!row.command)
            row.command = command;
        fn(&row, INTEROP_ECHO);
    }
}

#define EACH_ROW(rows, command, fn) \
    each_row((rows), sizeof(rows) / sizeof *(rows), (command), (fn))

#define ONE_GROUP "--priority NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:"

// The peer takes no group that the hello has a share for: it asks for another.
TEST(interop_client_is_asked_for_another_share)
{
    static const struct interop_row rows[] = {
        { .more = "-groups P-256", .version = COIL_TLS_1_3 },
        { .more = "-groups P-384", .version = COIL_TLS_1_3 },
        { .more = "-groups P-384 -ciphersuites TLS_AES_256_GCM_SHA384",
          .version = COIL_TLS_1_3,
          .suite = 0x1302 },
        { .command = GNUTLS_SERV,
          .more = ONE_GROUP "+GROUP-SECP256R1",
          .version = COIL_TLS_1_3 },
    };
    interop_open(gnutls);
    EACH_ROW(rows, S_SERVER, interop_client);
    interop_close();
}

// The share of the first hello is for a group that coil does not have.
TEST(interop_server_asks_for_another_share)
{
    static const struct interop_row rows[] = {
        { .more = "-groups P-521:X25519", .version = COIL_TLS_1_3 },
        { .more = "-groups P-521:P-256", .version = COIL_TLS_1_3 },
        { .more = "-groups P-521:P-384 -ciphersuites TLS_AES_256_GCM_SHA384",
          .version = COIL_TLS_1_3,
          .suite = 0x1302 },
        { .command = GNUTLS_CLI,
          .more = ONE_GROUP "+GROUP-SECP521R1:+GROUP-FFDHE2048:"
                            "+GROUP-SECP256R1",
          .version = COIL_TLS_1_3,
          .sizes = 3,
          .ends_rudely = true },
    };
    interop_open(gnutls);
    EACH_ROW(rows, S_CLIENT, interop_server);
    interop_close();
}

static const struct interop_row small_records[] = {
    { .more = "-tls1_3 -max_send_frag 512", .version = COIL_TLS_1_3 },
    { .more = "-tls1_2 -max_send_frag 512", .version = COIL_TLS_1_2 },
    { .more = "-tls1_3 -max_send_frag 1024 -split_send_frag 512" },
    { .more = "-tls1_3 -record_padding 4096", .version = COIL_TLS_1_3 },
};

TEST(interop_client_gets_small_and_padded_records)
{
    interop_open(openssl);
    EACH_ROW(small_records, S_SERVER, interop_client);
    interop_close();
}

TEST(interop_server_gets_small_and_padded_records)
{
    interop_open(openssl);
    EACH_ROW(small_records, S_CLIENT, interop_server);
    interop_close();
}

TEST(interop_client_shows_a_certificate)
{
    static const struct interop_row rows[] = {
        { .more = "-tls1_3 -Verify 1 -verify_return_error", .shows = true },
        { .more = "-tls1_2 -Verify 1 -verify_return_error", .shows = true },
        { .more = "-tls1_3 -verify 1" },
        { .more = "-tls1_2 -verify 1" },
        { .more = "-tls1_2 -Verify 1",
          .err = COIL_ETLS,
          .code = COIL_TLS_BY_PEER + COILI_ALERT_HANDSHAKE_FAILURE },
        { .command = GNUTLS_SERV,
          .more = "--require-client-cert --verify-client-cert",
          .shows = true },
    };
    interop_open(gnutls);
    EACH_ROW(rows, S_SERVER, interop_client);
    interop_close();
}

// A server of TLS 1.3 refuses when the client has sent its last flight.
TEST(interop_client_learns_late_that_a_certificate_is_required)
{
    static const struct interop_row row = { .command = S_SERVER,
                                            .more = "-tls1_3 -Verify 1" };
    struct coil_tls_client_options options;
    interop_open(openssl);
    options = interop_client_options(&row);
    interop_set(&row);
    struct interop_peer peer = interop_start(row.command, INTEROP_ECHO, 0);
    stage_open();
    struct coil_tls_client *client = kit_client(&options);
    struct coil_stream *s = interop_handshake(&row, interop_connect(&peer),
                                              client);
    struct coil_task *fill = coil_spawn(coil_stream_fill(s, 1));
    CHECK_INT(stage_run(fill), COIL_ETLS);
    CHECK_INT(COIL_DETAIL_CODE(coil_future_detail(coil_task_future(fill))),
              COIL_TLS_BY_PEER + COILI_ALERT_CERTIFICATE_REQUIRED);
    coil_task_drop(&fill);
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
    coil_tls_client_unref(client);
    stage_close();
    interop_stop(&peer);
    interop_close();
}

#define SHOWS "-cert client.pem -key client.pem "

TEST(interop_server_asks_for_a_certificate)
{
    static const char
        command[] = "exec openssl s_client -quiet -connect "
                    "127.0.0.1:$PORT -servername a.test -CAfile ca.pem $MORE";
    static const struct interop_row rows[] = {
        { .more = "-tls1_3 " SHOWS, .ask = COIL_TLS_ASK_ALWAYS, .shows = true },
        { .more = "-tls1_2 " SHOWS, .ask = COIL_TLS_ASK_ALWAYS, .shows = true },
        { .more = "-tls1_3 " SHOWS, .ask = COIL_TLS_ASK, .shows = true },
        { .more = "-tls1_3", .ask = COIL_TLS_ASK },
        { .more = "-tls1_2", .ask = COIL_TLS_ASK },
        { .more = "-tls1_3 " SHOWS },
        { .more = "-tls1_3",
          .ask = COIL_TLS_ASK_ALWAYS,
          .err = COIL_ETLS,
          .code = COILI_ALERT_CERTIFICATE_REQUIRED },
        { .more = "-tls1_2",
          .ask = COIL_TLS_ASK_ALWAYS,
          .err = COIL_ETLS,
          .code = COILI_ALERT_HANDSHAKE_FAILURE },
        { .command = GNUTLS_CLI,
          .more = "--x509certfile client.pem --x509keyfile "
                  "client.pem",
          .ask = COIL_TLS_ASK_ALWAYS,
          .shows = true,
          .sizes = 3,
          .ends_rudely = true },
    };
    interop_open(gnutls);
    EACH_ROW(rows, command, interop_server);
    interop_close();
}

TEST(interop_client_agrees_on_a_protocol)
{
    static const struct interop_row rows[] = {
        { .more = "-tls1_3 -alpn h2,http/1.1", .alpn = { "http/1.1" } },
        { .more = "-tls1_2 -alpn h2,http/1.1", .alpn = { "http/1.1" } },
        { .more = "-tls1_3 -alpn h2", .alpn = { "h2", "http/1.1" } },
        { .command = GNUTLS_SERV,
          .more = "--alpn http/1.1",
          .alpn = { "http/1.1", "h2" } },
    };
    interop_open(gnutls);
    EACH_ROW(rows, S_SERVER, interop_client);
    interop_close();
}

TEST(interop_server_agrees_on_a_protocol)
{
    static const struct interop_row rows[] = {
        { .more = "-tls1_3 -alpn h2,http/1.1", .alpn = { "http/1.1" } },
        { .more = "-tls1_2 -alpn h2,http/1.1", .alpn = { "http/1.1", "h2" } },
        { .more = "-tls1_3 -alpn spdy/1",
          .alpn = { "http/1.1" },
          .err = COIL_ETLS,
          .code = COILI_ALERT_NO_APPLICATION_PROTOCOL },
        { .command = GNUTLS_CLI,
          .more = "--alpn h2 --alpn http/1.1",
          .alpn = { "http/1.1" },
          .sizes = 3,
          .ends_rudely = true },
    };
    interop_open(gnutls);
    EACH_ROW(rows, S_CLIENT, interop_server);
    interop_close();
}

TEST(interop_client_says_which_server_it_wants)
{
    static const struct interop_row rows[] = {
        { .more = "-tls1_3", .name = "b.test" },
        { .more = "-tls1_2", .name = "b.test" },
        { .more = "-tls1_3", .name = "127.0.0.1" },
    };
    interop_open(openssl);
    EACH_ROW(rows,
             "exec openssl s_server -quiet -naccept 1 -accept 127.0.0.1:$PORT "
             "-cert p256.pem -servername b.test -cert2 b.pem -key2 "
             "b.pem $MORE",
             interop_client);
    interop_close();
}

TEST(interop_server_shows_the_certificate_that_a_client_wants)
{
    static const char command
        [] = "exec openssl s_client -quiet -connect 127.0.0.1:$PORT -CAfile "
             "ca.pem -verify_return_error $MORE";
    static const struct interop_row rows[] = {
        { .more = "-tls1_3 -servername b.test -verify_hostname b.test" },
        { .more = "-tls1_2 -servername b.test -verify_hostname b.test" },
        { .more = "-tls1_3 -servername a.test -verify_hostname a.test" },
        { .more = "-tls1_3 -noservername -verify_ip 127.0.0.1" },
    };
    interop_open(openssl);
    interop_chooses = true;
    EACH_ROW(rows, command, interop_server);
    interop_close();
}

// A client of one version alone, at a peer that has both; the peer refuses one
// that it does not have.
TEST(interop_client_is_of_one_version)
{
    static const struct interop_row rows[] = {
        { .most = COIL_TLS_1_2, .version = COIL_TLS_1_2 },
        { .least = COIL_TLS_1_3, .version = COIL_TLS_1_3 },
        { .more = "-tls1_2",
          .least = COIL_TLS_1_3,
          .err = COIL_ETLS,
          .code = COIL_TLS_BY_PEER + COILI_ALERT_PROTOCOL_VERSION },
        { .more = "-tls1_3",
          .most = COIL_TLS_1_2,
          .err = COIL_ETLS,
          .code = COIL_TLS_BY_PEER + COILI_ALERT_PROTOCOL_VERSION },
    };
    interop_open(openssl);
    EACH_ROW(rows, S_SERVER, interop_client);
    interop_close();
}

TEST(interop_server_is_of_one_version)
{
    static const struct interop_row rows[] = {
        { .most = COIL_TLS_1_2, .version = COIL_TLS_1_2 },
        { .least = COIL_TLS_1_3, .version = COIL_TLS_1_3 },
        { .more = "-tls1_2 -fallback_scsv",
          .most = COIL_TLS_1_2,
          .version = COIL_TLS_1_2 },
        { .more = "-tls1_2",
          .least = COIL_TLS_1_3,
          .err = COIL_ETLS,
          .code = COILI_ALERT_PROTOCOL_VERSION },
        { .more = "-tls1_3",
          .most = COIL_TLS_1_2,
          .err = COIL_ETLS,
          .code = COILI_ALERT_PROTOCOL_VERSION },
        { .more = "-tls1_2 -fallback_scsv",
          .err = COIL_ETLS,
          .code = 86 /* inappropriate_fallback */ },
    };
    interop_open(openssl);
    EACH_ROW(rows, S_CLIENT, interop_server);
    interop_close();
}

/* ---- Sessions --------------------------------------------------------- */

/* Three connections with one cache: all but the first one resume. */
static void resume_as_client(const struct interop_row *first,
                             enum interop_ends ends)
{
    struct interop_row row = *first;
    struct coil_tls_client_options options = interop_client_options(&row);
    interop_set(&row);
    struct interop_peer peer = interop_start(row.command, ends, 0);
    stage_open();
    struct coil_tls_client *client = kit_client(&options);
    interop_cache = coil_tls_cache_new(0);
    for (int i = 0; i < 3; i++) {
        struct coil_stream *s = interop_handshake(&row, interop_connect(&peer),
                                                  client);
        interop_check_info(&row, false, s);
        interop_copy(s, s, 1);
        interop_end(&row, s);
        row.resumed = true;
    }
    coil_tls_cache_free(interop_cache);
    interop_cache = NULL;
    coil_tls_client_unref(client);
    stage_close();
    interop_stop(&peer);
}

TEST(interop_client_resumes)
{
    static const struct interop_row rows[] = {
        { .more = "-tls1_3", .version = COIL_TLS_1_3 },
        { .more = "-tls1_2", .version = COIL_TLS_1_2 },
        { .more = "-tls1_3 -groups P-256", .version = COIL_TLS_1_3 },
        { .more = "-tls1_3 -num_tickets 5", .version = COIL_TLS_1_3 },
        { .command = GNUTLS_SERV,
          .more = "--priority NORMAL:-VERS-ALL:+VERS-TLS1.3",
          .version = COIL_TLS_1_3 },
        { .command = GNUTLS_SERV,
          .more = "--priority NORMAL:-VERS-ALL:+VERS-TLS1.2",
          .version = COIL_TLS_1_2 },
    };
    interop_open(gnutls);
    EACH_ROW(rows,
             "exec openssl s_server -quiet -accept 127.0.0.1:$PORT -cert "
             "$KEY.pem $MORE",
             resume_as_client);
    interop_close();
}

/* One setup for three connections, each of a process that keeps its session. */
static void resume_as_server(const struct interop_row *first,
                             enum interop_ends ends)
{
    struct interop_row row = *first;
    struct coil_tls_server_options options = interop_server_options(&row);
    uint16_t port;
    stage_open();
    struct coil_listener *listener = interop_listen(&port);
    struct coil_tls_server *server = kit_server(&options);
    for (int i = 0; i < 3; i++) {
        char more[128];
        snprintf(more, sizeof more, "%s -sess_out session %s", first->more,
                 i ? "-sess_in session" : "");
        row.more = more;
        interop_set(&row);
        struct interop_peer peer = interop_start(row.command, ends, port);
        struct coil_stream *s = interop_accept(&row, &peer, listener, server);
        interop_check_info(&row, true, s);
        interop_copy(s, s, 16385);
        interop_end(&row, s);
        interop_stop(&peer);
        row.resumed = true;
    }
    CHECK_INT(wait_int(coil_listener_close(listener)), 0);
    coil_tls_server_unref(server);
    stage_close();
}

TEST(interop_server_resumes)
{
    static const struct interop_row rows[] = {
        { .more = "-tls1_3", .version = COIL_TLS_1_3 },
        { .more = "-tls1_2", .version = COIL_TLS_1_2 },
        { .more = "-tls1_3 -groups P-521:P-256", .version = COIL_TLS_1_3 },
        { .key = "rsa", .more = "-tls1_3", .version = COIL_TLS_1_3 },
    };
    interop_open(openssl);
    EACH_ROW(rows, S_CLIENT, resume_as_server);
    interop_close();
}

/* ---- New keys --------------------------------------------------------- */

/*
 * The peer changes its keys, and asks for new ones of coil's, again and again.
 * It reads commands when a line begins, so each is answered before the next.
 */
static void talk_with_new_keys(struct coil_stream *s, struct interop_peer *peer,
                               const char *answer)
{
    static const char *const commands[] = { "K\n", "k\n", "K\n" };
    char line[16];
    for (int i = 0; i < 3; i++) {
        interop_tell(peer, commands[i]);
        interop_wait_for(peer, answer);
        interop_tell(peer, "hello\n");
        CHECK_INT(wait_int(coil_stream_read_exactly(s, line, 6)), 6);
        CHECK_MEM(line, "hello\n", 6);
        CHECK_INT(wait_int(coil_stream_write(s, "good bye\n", 9)), 9);
        interop_wait_for(peer, "good bye\n");
    }
    interop_tell(peer, commands[0]); /* a reply without data of ours */
    interop_wait_for(peer, answer);
    interop_tell(peer, "hello\n");
    CHECK_INT(wait_int(coil_stream_read_exactly(s, line, 6)), 6);
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
}

TEST(interop_client_changes_keys)
{
    static const struct interop_row row = {
        .command = "exec stdbuf -oL openssl s_server -naccept 1 -accept "
                   "127.0.0.1:$PORT -cert p256.pem -tls1_3 2>&1"
    };
    static const char *const programs[] = { "openssl", "stdbuf", NULL };
    struct coil_tls_client_options options;
    interop_open(programs);
    options = interop_client_options(&row);
    interop_set(&row);
    struct interop_peer peer = interop_start(row.command, INTEROP_HAND, 0);
    stage_open();
    struct coil_tls_client *client = kit_client(&options);
    struct coil_stream *s = interop_handshake(&row, interop_connect(&peer),
                                              client);
    talk_with_new_keys(s, &peer, "SSL_do_handshake -> 1\n");
    coil_tls_client_unref(client);
    stage_close();
    interop_stop(&peer);
    interop_close();
}

TEST(interop_server_changes_keys)
{
    static const struct interop_row row = {
        .command = "exec openssl s_client -connect 127.0.0.1:$PORT -CAfile "
                   "ca.pem -servername a.test -tls1_3 2>&1"
    };
    struct coil_tls_server_options options;
    uint16_t port;
    interop_open(openssl);
    options = interop_server_options(&row);
    interop_set(&row);
    stage_open();
    struct coil_listener *listener = interop_listen(&port);
    struct coil_tls_server *server = kit_server(&options);
    struct interop_peer peer = interop_start(row.command, INTEROP_HAND, port);
    struct coil_stream *s = interop_accept(&row, &peer, listener, server);
    talk_with_new_keys(s, &peer, "KEYUPDATE\n");
    CHECK_INT(wait_int(coil_listener_close(listener)), 0);
    coil_tls_server_unref(server);
    stage_close();
    interop_stop(&peer);
    interop_close();
}
