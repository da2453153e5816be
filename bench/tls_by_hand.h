// SPDX-License-Identifier: MIT
/*
 * tls_by_hand.h: OpenSSL as the programs of this directory use it.
 *
 * Setups of a client and of a server, and the client's newest sessions. Its
 * sessions are used once, as coil and browsers do with those of TLS 1.3.
 */
#ifndef BENCH_TLS_BY_HAND_H
#define BENCH_TLS_BY_HAND_H

#include "bench.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdbool.h>

__attribute__((noreturn)) static inline void die_openssl(const char *what)
{
    char text[256];
    ERR_error_string_n(ERR_get_error(), text, sizeof text);
    die("%s: %s", what, text);
}

enum { SESSIONS_MOST = 1024 };

static struct {
    SSL_SESSION *kept[SESSIONS_MOST];
    unsigned n;
} sessions;

static inline int keep_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    if (sessions.n == SESSIONS_MOST)
        return 0;
    sessions.kept[sessions.n++] = session;
    return 1;
}

/* The setup of a client that trusts the authority of the file `ca`. */
static inline SSL_CTX *client_context(const char *ca)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context || SSL_CTX_load_verify_locations(context, ca, NULL) != 1)
        die_openssl(ca);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT |
                                                SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(context, keep_session);
    return context;
}

/* The setup of a server; `pem` has its certificate and the key. */
static inline SSL_CTX *server_context(const char *pem)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context || SSL_CTX_use_certificate_chain_file(context, pem) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, pem, SSL_FILETYPE_PEM) != 1)
        die_openssl(pem);
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    return context;
}

/* A client's connection to 127.0.0.1, with a session if one is kept. */
static inline SSL *client_connection(SSL_CTX *context)
{
    SSL *ssl = SSL_new(context);
    if (!ssl ||
        X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), "127.0.0.1") != 1)
        die_openssl("SSL_new");
    SSL_set_connect_state(ssl);
    if (sessions.n > 0) {
        SSL_SESSION *session = sessions.kept[--sessions.n];
        SSL_set_session(ssl, session);
        SSL_SESSION_free(session);
    }
    return ssl;
}

#endif
