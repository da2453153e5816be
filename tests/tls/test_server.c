// SPDX-License-Identifier: MIT
// labels: long
/*
 * test_server.c: servers of coil's own engine, with clients of other programs.
 */
#define KIT_SERVER_ENGINE coil_tls_own_engine
#include "tls_kit.h"

#include <coil/connect.h>
#include <coil/listen.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Files, programs -------------------------------------------------- */

static char dir[] = "/tmp/coil-tls-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    CHECK(file);
    CHECK(fputs(text, file) >= 0);
    CHECK_INT(fclose(file), 0);
}

static void open_files(const char *program)
{
    char command[64];
    test_timeout(60); /* other programs, one after the other */
    snprintf(command, sizeof command, "command -v %s > /dev/null", program);
    if (system(command) != 0)
        SKIP("the program is not there");
    kit_make();
    CHECK(mkdtemp(dir));
    write_file("a.pem", kit.a.text);
    write_file("client.pem", kit.client.text);
    write_file("stranger.pem", kit.strangers_a.text);
    write_file("ca.pem", kit.authority);
}

static void remove_files(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", dir);
    CHECK_INT(system(command), 0);
}

/* A shell command whose output is read from *out. */
static pid_t run(int *out, const char *command)
{
    int fds[2];
    CHECK_INT(pipe(fds), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], 1);
        close(fds[0]);
        close(fds[1]);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    *out = fds[0];
    return pid;
}

static char said[65536];

/* All that the program says until it ends. */
static void finish(pid_t pid, int out)
{
    size_t n = 0;
    ssize_t some;
    int status;
    while ((some = read(out, said + n, sizeof said - 1 - n)) > 0)
        n += (size_t)some;
    said[n] = '\0';
    waitpid(pid, &status, 0);
    close(out);
}

/* ---- A server --------------------------------------------------------- */

static struct coil_listener *listener;
static struct coil_addr address;

static void open_server(void)
{
    stage_open();
    CHECK_INT(coil_addr_from_ip(&address, "127.0.0.1", 0), 0);
    CHECK_INT(coil_listener_open(&listener, &address, 4), 0);
    coil_listener_addr(listener, &address);
}

static void close_server(void)
{
    CHECK_INT(wait_int(coil_listener_close(listener)), 0);
    stage_close();
}

static struct kit_result served;
static struct coil_tls_info info;
static char info_name[256], info_alpn[256];

/*
 * Accept one connection. If the handshake succeeds it must bring a line, which
 * is answered, and is closed.
 */
static void serve(struct coil_tls_server *server)
{
    static char line[64];
    int err;
    memset(&served, 0, sizeof served);
    memset(&info, 0, sizeof info);
    struct coil_stream *s = task_stream(
        coil_spawn(coil_listener_accept(listener)), &err);
    CHECK_INT(err, 0);
    struct coil_task *task = coil_spawn(
        coil_tls_accept(s, server, &served.why));
    kit_take(&served, task);
    test_note("%d %#x \"%s\"", served.err, served.detail, served.why.text);
    if (!served.stream)
        return;
    CHECK(coil_tls_get_info(served.stream, &info));
    snprintf(info_name, sizeof info_name, "%s", info.name);
    snprintf(info_alpn, sizeof info_alpn, "%s", info.alpn);
    CHECK_INT(wait_int(coil_stream_read_until(served.stream, '\n', line, 64)),
              6);
    CHECK_MEM(line, "hello\n", 6);
    CHECK_INT(wait_int(coil_stream_write(served.stream, "good bye\n", 9)), 9);
    CHECK_INT(wait_int(coil_stream_close(served.stream)), 0);
}

/* That of a server which gives tickets. */
static struct coil_tls_server_options ticket_options(void)
{
    struct coil_tls_server_options o = kit_server_options();
    o.no_tickets = false;
    return o;
}

/* s_client with these options; its output is in `said` then. */
static void s_client(struct coil_tls_server *server, const char *options)
{
    char command[768];
    int out;
    open_server();
    snprintf(command, sizeof command,
             "echo hello | openssl s_client -ign_eof -CAfile %s/ca.pem "
             "-verify_return_error -connect 127.0.0.1:%d %s 2>&1",
             dir, coil_addr_port(&address), options);
    test_note("%s", options);
    pid_t pid = run(&out, command);
    serve(server);
    close_server();
    finish(pid, out);
}

/* The certificate of a.test with a key of this kind, and the key. */
static void kit_text(char *text, size_t size, enum pki_kind kind)
{
    kit_make();
    struct pki_key ca_key = pki_key_new(PKI_P256, 'A');
    struct pki_key key = pki_key_new(kind, 'S');
    struct pki_cert ca = kit_authority("the authority", &ca_key);
    struct pki_spec spec = kit_spec("a.test", "DNS:a.test,IP:127.0.0.1", &key);
    struct pki_cert cert = pki_sign(&spec, &ca);
    pki_cert_pem(text, size, &cert);
    if (kind == PKI_RSA)
        pki_pem(text, size, "PRIVATE KEY", key.rsa.der.at, key.rsa.der.len);
    else
        pki_key_pem(text, size, &key);
}

static struct coil_tls_server *server_with(enum pki_kind kind)
{
    struct coil_tls_server_options o = kit_server_options();
    static char texts[3][8192];
    char *text = texts[kind == PKI_RSA ? 2 : kind == PKI_P384];
    if (!*text)
        kit_text(text, sizeof texts[0], kind);
    o.certificate = kit_pem(text);
    return kit_server(&o);
}

/* ---- openssl s_client ------------------------------------------------- */

static const struct row {
    const char *options;
    enum pki_kind kind;
    uint16_t version, suite;
    const char *says; /* the group; the signature */
} rows[] = {
    { "-tls1_3", PKI_P256, 0x0304, 0x1301, "X25519" },
    { "-tls1_3", PKI_P384, 0x0304, 0x1301, "digest: SHA384" },
    { "-tls1_3", PKI_RSA, 0x0304, 0x1301, "RSA-PSS" },
    { "-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384", PKI_P256, 0x0304, 0x1302,
      "X25519" },
    { "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256", PKI_P256, 0x0304,
      0x1303, "X25519" },
    { "-tls1_3 -ciphersuites "
      "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
      PKI_P256, 0x0304, 0x1303, "X25519" },
    { "-tls1_3 -groups P-256", PKI_P256, 0x0304, 0x1301, "ECDH, prime256v1" },
    { "-tls1_3 -groups P-384", PKI_P256, 0x0304, 0x1301, "ECDH, secp384r1" },
    { "-tls1_3 -groups P-384:P-256", PKI_P256, 0x0304, 0x1301, "secp384r1" },
    { "-tls1_3 -groups P-521:P-256", PKI_P256, 0x0304, 0x1301, "prime256v1" },
    { "-tls1_3 -groups P-521:X25519 -ciphersuites TLS_AES_256_GCM_SHA384",
      PKI_RSA, 0x0304, 0x1302, "X25519" },
    { "-tls1_3 -groups P-521:P-384 -no_middlebox", PKI_P256, 0x0304, 0x1301,
      "secp384r1" },
    { "-tls1_3 -no_middlebox", PKI_P256, 0x0304, 0x1301, "X25519" },
    { "-tls1_3 -sigalgs RSA-PSS+SHA512:ECDSA+SHA256", PKI_RSA, 0x0304, 0x1301,
      "digest: SHA512" },
    { "-tls1_3 -max_send_frag 512", PKI_P256, 0x0304, 0x1301, "X25519" },
    { "-tls1_3 -record_padding 4096", PKI_P256, 0x0304, 0x1301, "X25519" },

    { "-tls1_2", PKI_P256, 0x0303, 0xc02b, "X25519" },
    { "-tls1_2", PKI_P384, 0x0303, 0xc02b, "digest: SHA384" },
    { "-tls1_2", PKI_RSA, 0x0303, 0xc02f, "RSA-PSS" },
    { "-tls1_2 -sigalgs RSA+SHA256:ECDSA+SHA256", PKI_RSA, 0x0303, 0xc02f,
      "signature type: RSA\n" },
    { "-tls1_2 -sigalgs RSA+SHA512:ECDSA+SHA256", PKI_RSA, 0x0303, 0xc02f,
      "digest: SHA512" },
    { "-tls1_2 -sigalgs ECDSA+SHA256", PKI_P384, 0x0303, 0xc02b,
      "digest: SHA256" },
    { "-tls1_2 -groups P-256", PKI_P256, 0x0303, 0xc02b, "prime256v1" },
    { "-tls1_2 -groups P-521:P-384:P-256", PKI_P256, 0x0303, 0xc02b,
      "prime256v1" },
    { "-tls1_2 -groups P-384", PKI_RSA, 0x0303, 0xc02f, "secp384r1" },
    { "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384", PKI_P256, 0x0303, 0xc02c,
      "X25519" },
    { "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305", PKI_P256, 0x0303, 0xcca9,
      "X25519" },
    { "-tls1_2 -cipher ECDHE-RSA-AES256-GCM-SHA384", PKI_RSA, 0x0303, 0xc030,
      "X25519" },
    { "-tls1_2 -cipher ECDHE-RSA-CHACHA20-POLY1305", PKI_RSA, 0x0303, 0xcca8,
      "X25519" },
    { "-tls1_2 -no_ticket", PKI_P256, 0x0303, 0xc02b, "X25519" },
};

TEST(server_agrees_with_s_client)
{
    open_files("openssl");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct coil_tls_server *server = server_with(rows[i].kind);
        s_client(server, rows[i].options);
        CHECK_INT(served.err, 0);
        CHECK_INT(info.version, rows[i].version);
        CHECK_INT(info.suite, rows[i].suite);
        CHECK(strstr(said, "Verify return code: 0 (ok)"));
        CHECK(strstr(said, rows[i].says));
        CHECK(strstr(said, "good bye"));
        coil_tls_server_unref(server);
    }
    remove_files();
}

static const struct refusal {
    const char *options;
    enum pki_kind kind;
    int alert;
} refusals[] = {
    { "-tls1_3 -groups P-521", PKI_P256, COILI_ALERT_HANDSHAKE_FAILURE },
    { "-tls1_3 -sigalgs RSA-PSS+SHA256", PKI_P256,
      COILI_ALERT_HANDSHAKE_FAILURE },
    { "-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256", PKI_P256,
      COILI_ALERT_HANDSHAKE_FAILURE },
    { "-tls1_2 -groups P-521", PKI_RSA, COILI_ALERT_HANDSHAKE_FAILURE },
    { "-tls1_2 -groups P-256", PKI_P384, COILI_ALERT_HANDSHAKE_FAILURE },
    { "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256", PKI_P256,
      COILI_ALERT_HANDSHAKE_FAILURE },
    { "-tls1_2 -cipher AES128-GCM-SHA256", PKI_RSA,
      COILI_ALERT_HANDSHAKE_FAILURE },
    { "-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256", PKI_RSA,
      COILI_ALERT_HANDSHAKE_FAILURE },
    { "-tls1_2 -cipher ECDHE-RSA-AES128-SHA256", PKI_RSA,
      COILI_ALERT_HANDSHAKE_FAILURE },
    { "-tls1_2 -sigalgs ECDSA+SHA1:RSA+SHA1 -cipher DEFAULT:@SECLEVEL=0",
      PKI_RSA, COILI_ALERT_HANDSHAKE_FAILURE },
    { "-tls1_1 -cipher DEFAULT:@SECLEVEL=0", PKI_P256,
      COILI_ALERT_PROTOCOL_VERSION },
    { "-tls1_2 -fallback_scsv", PKI_P256, COILI_ALERT_INAPPROPRIATE_FALLBACK },
};

TEST(server_refuses_what_s_client_offers)
{
    open_files("openssl");
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        struct coil_tls_server *server = server_with(refusals[i].kind);
        char alert[32];
        s_client(server, refusals[i].options);
        CHECK_INT(served.err, COIL_ETLS);
        CHECK_INT(COIL_DETAIL_CODE(served.detail), refusals[i].alert);
        snprintf(alert, sizeof alert, "alert number %d", refusals[i].alert);
        CHECK(strstr(said, alert));
        coil_tls_server_unref(server);
    }
    remove_files();
}

// No client could be served with it.
TEST(server_with_a_key_of_p521_says_so)
{
    static char text[8192];
    struct coil_tls_server_options o = kit_server_options();
    struct coil_tls_server *server = NULL;
    struct coil_tls_why why;
    kit_text(text, sizeof text, PKI_P521);
    o.certificate = kit_pem(text);
    CHECK_INT(coil_tls_server_new(&server, &o, &why), -EINVAL);
    CHECK(strstr(why.text, "P-521"));
    CHECK(!server);
}

/* ---- Sessions --------------------------------------------------------- */

static int count(const char *text, const char *word)
{
    int n = 0;
    for (; (text = strstr(text, word)); text++)
        n++;
    return n;
}

static const char *const resumable[] = {
    "-tls1_3",
    "-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384",
    "-tls1_3 -groups P-521:P-256",
    "-tls1_3 -groups P-384:P-256",
    "-tls1_2",
    "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384",
    "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305",
};

/* Without a session s_client would not even connect. */
static bool has_session(void)
{
    char path[128];
    snprintf(path, sizeof path, "%s/session", dir);
    return access(path, R_OK) == 0;
}

TEST(server_resumes_sessions_of_s_client)
{
    open_files("openssl");
    for (size_t i = 0; i < sizeof resumable / sizeof *resumable; i++) {
        char options[256];
        struct coil_tls_server_options o = ticket_options();
        struct coil_tls_server *server = kit_server(&o);
        snprintf(options, sizeof options, "%s -sess_out %s/session",
                 resumable[i], dir);
        s_client(server, options);
        CHECK_INT(served.err, 0);
        CHECK(!info.resumed);
        CHECK_INT(count(said, "\nNew, TLSv1"), 1);
        CHECK(has_session());
        for (int again = 0; again < 3; again++) {
            snprintf(options, sizeof options,
                     "%s -sess_in %s/session -sess_out %s/session",
                     resumable[i], dir, dir);
            s_client(server, options);
            CHECK_INT(served.err, 0);
            CHECK(info.resumed);
            CHECK_INT(count(said, "\nReused, TLSv1"), 1);
            CHECK(strstr(said, "good bye"));
        }
        /* Another name is another session. */
        snprintf(options, sizeof options,
                 "%s -servername a.test -sess_in "
                 "%s/session",
                 resumable[i], dir);
        s_client(server, options);
        CHECK_INT(served.err, 0);
        CHECK(!info.resumed);
        coil_tls_server_unref(server);
        /* So is that of another server. */
        server = kit_server(&o);
        snprintf(options, sizeof options, "%s -sess_in %s/session",
                 resumable[i], dir);
        s_client(server, options);
        CHECK_INT(served.err, 0);
        CHECK(!info.resumed);
        coil_tls_server_unref(server);
    }
    remove_files();
}

// One ChangeCipherSpec of each end, for middleboxes, where the client has a
// session id; the server's stands behind its first message.
TEST(server_sends_one_change_cipher_spec)
{
    static const struct {
        const char *options;
        int n;
    } cases[] = {
        { "-tls1_3 -msg", 2 },
        { "-tls1_3 -msg -groups P-521:P-256", 2 },
        { "-tls1_3 -msg -no_middlebox", 0 },
        { "-tls1_3 -msg -no_middlebox -groups P-521:P-256", 0 },
    };
    open_files("openssl");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct coil_tls_server *server = kit_server(NULL);
        s_client(server, cases[i].options);
        CHECK_INT(served.err, 0);
        CHECK_INT(count(said, "\n    14 03 03 00 01\n"), cases[i].n);
        coil_tls_server_unref(server);
    }
    remove_files();
}

/* ---- Names, protocols, clients' certificates -------------------------- */

TEST(server_knows_what_s_client_asks_for)
{
    static const char *const ours[] = { "h2", "http/1.1" };
    open_files("openssl");
    for (int version = 2; version <= 3; version++) {
        char options[256];
        struct coil_tls_server_options o = kit_server_options();
        o.alpn = ours;
        o.alpn_n = 2;
        struct coil_tls_server *server = kit_server(&o);
        snprintf(options, sizeof options,
                 "-tls1_%d -servername a.test -alpn x,http/1.1,h2", version);
        s_client(server, options);
        CHECK_INT(served.err, 0);
        CHECK_STR(info_name, "a.test");
        CHECK_STR(info_alpn, "h2");
        CHECK(strstr(said, "ALPN protocol: h2"));
        snprintf(options, sizeof options, "-tls1_%d -noservername", version);
        s_client(server, options);
        CHECK_INT(served.err, 0);
        CHECK_STR(info_name, "");
        CHECK_STR(info_alpn, "");
        snprintf(options, sizeof options, "-tls1_%d -alpn x", version);
        s_client(server, options);
        CHECK_INT(served.err, COIL_ETLS);
        CHECK_INT(COIL_DETAIL_CODE(served.detail), 120);
        coil_tls_server_unref(server);
    }
    remove_files();
}

TEST(server_asks_s_client_for_a_certificate)
{
    static const int missing[] = { COILI_ALERT_HANDSHAKE_FAILURE,
                                   COILI_ALERT_CERTIFICATE_REQUIRED };
    open_files("openssl");
    for (int version = 2; version <= 3; version++) {
        char options[256];
        for (int always = 0; always < 2; always++) {
            struct coil_tls_server_options o = ticket_options();
            o.ask = always ? COIL_TLS_ASK_ALWAYS : COIL_TLS_ASK;
            o.ca = kit_pem(kit.authority);
            struct coil_tls_server *server = kit_server(&o);
            snprintf(options, sizeof options,
                     "-tls1_%d -cert %s/client.pem -key %s/client.pem "
                     "-sess_out %s/session",
                     version, dir, dir, dir);
            s_client(server, options);
            CHECK_INT(served.err, 0);
            CHECK(!info.resumed);
            CHECK_INT(info.certificate_bytes, kit.client.cert.len);

            CHECK(has_session());

            /* A resumed session is of the same client. */
            snprintf(options, sizeof options, "-tls1_%d -sess_in %s/session",
                     version, dir);
            s_client(server, options);
            CHECK_INT(served.err, 0);
            CHECK(info.resumed);
            CHECK_INT(info.certificate_bytes, kit.client.cert.len);

            snprintf(options, sizeof options, "-tls1_%d", version);
            s_client(server, options);
            CHECK_INT(served.err, always ? COIL_ETLS : 0);
            if (always)
                CHECK_INT(COIL_DETAIL_CODE(served.detail),
                          missing[version - 2]);
            else
                CHECK_INT(info.certificate_bytes, 0);

            snprintf(options, sizeof options,
                     "-tls1_%d -cert %s/stranger.pem -key %s/stranger.pem",
                     version, dir, dir);
            s_client(server, options);
            CHECK_INT(served.err, COIL_ECERT);
            coil_tls_server_unref(server);
        }
    }
    remove_files();
}
