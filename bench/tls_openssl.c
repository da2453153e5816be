// SPDX-License-Identifier: MIT
/*
 * tls_openssl.c: the rows of tls_coil.c on OpenSSL alone, over a BIO pair.
 *
 *     tls_openssl DIRECTORY [--seconds 0.5]
 *     tls_openssl --authorities FILE
 */
#include "tls_by_hand.h"

static const struct row {
    const char *name, *pem;
    int version;
    bool resumes;
} rows[] = {
    { "p256_13", "ec.pem", TLS1_3_VERSION, false },
    { "rsa2048_13", "rsa.pem", TLS1_3_VERSION, false },
    { "p256_12", "ec.pem", TLS1_2_VERSION, false },
    { "resumed_13", "ec.pem", TLS1_3_VERSION, true },
    { "resumed_12", "ec.pem", TLS1_2_VERSION, true },
};

static SSL_CTX *client, *server;

static void forget_sessions(void)
{
    while (sessions.n > 0)
        SSL_SESSION_free(sessions.kept[--sessions.n]);
}

/* True: this end is done; false: it needs bytes of the other one. */
static bool go_on(SSL *ssl, int result)
{
    if (result <= 0 && SSL_get_error(ssl, result) != SSL_ERROR_WANT_READ)
        die_openssl("a handshake");
    return result > 0;
}

static void one(const struct row *row, bool resumed)
{
    SSL *c = client_connection(client), *s = SSL_new(server);
    BIO *c_bio, *s_bio;
    char byte = 'x';
    if (!s || BIO_new_bio_pair(&c_bio, 65536, &s_bio, 65536) != 1)
        die_openssl("SSL_new");
    SSL_set_bio(c, c_bio, c_bio);
    SSL_set_bio(s, s_bio, s_bio);
    SSL_set_accept_state(s);
    for (bool ready = false; !ready;)
        ready = go_on(c, SSL_do_handshake(c)) & go_on(s, SSL_do_handshake(s));
    if (!go_on(s, SSL_write(s, &byte, 1)) || !go_on(c, SSL_read(c, &byte, 1)))
        die("the byte has not come");
    if (SSL_version(c) != row->version || SSL_session_reused(c) != resumed ||
        SSL_get_verify_result(c) != X509_V_OK)
        die("%s: not as it should be", row->name);
    if (row->resumes && sessions.n == 0) // of TLS 1.2: it is used again
        keep_session(c, SSL_get1_session(c));
    SSL_shutdown(c);
    SSL_shutdown(s);
    SSL_free(c);
    SSL_free(s);
    if (!row->resumes)
        forget_sessions();
}

static void measure_row(const struct row *row, const char *directory,
                        double seconds)
{
    char path[512];
    snprintf(path, sizeof path, "%s/ca.pem", directory);
    client = client_context(path);
    snprintf(path, sizeof path, "%s/%s", directory, row->pem);
    server = server_context(path);
    SSL_CTX_set_max_proto_version(server, row->version);
    one(row, false);
    long n = 0;
    int64_t end = now_ns() + (int64_t)(seconds * 1e9), start = cpu_ns();
    for (; now_ns() < end; n++)
        one(row, row->resumes);
    printf("row=%s handshakes=%ld per_cpu_s=%.1f\n", row->name, n,
           (double)n / (double)(cpu_ns() - start) * 1e9);
    forget_sessions();
    SSL_CTX_free(client);
    SSL_CTX_free(server);
}

static int read_authorities(const char *file)
{
    int64_t start = cpu_ns();
    SSL_CTX_free(client_context(file));
    printf("row=authorities ms=%.3f\n", (double)(cpu_ns() - start) / 1e6);
    return 0;
}

int main(int argc, char **argv)
{
    double seconds = 0.5;
    if (argc == 3 && strcmp(argv[1], "--authorities") == 0)
        return read_authorities(argv[2]);
    if (argc == 4 && strcmp(argv[2], "--seconds") == 0)
        seconds = strtod(argv[3], NULL);
    else if (argc != 2)
        die("usage: %s DIRECTORY [--seconds S]", argv[0]);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        measure_row(&rows[i], argv[1], seconds);
    return 0;
}
