// SPDX-License-Identifier: MIT
#ifndef TLS_KIT_H
#define TLS_KIT_H

/*
 * tls_kit.h: what tests of TLS streams share.
 *
 *     kit            certificates: an authority, a server, a client, a stranger
 *     kit_client()   a setup of a client; kit_server() of a server
 *     kit_handshake  both handshakes over two connected streams
 */
#include "pki.h"

#include "net/stream_kind.h"

#include "backend/backend.h"
#include "core/loop.h"
#include "tls/engine.h"

#include <coil/openssl.h>
#include <coil/stream_pair.h>
#include <coil/tls.h>

/* The engines of the two ends; a test may name others before it includes this. */
#ifndef KIT_CLIENT_ENGINE
#define KIT_CLIENT_ENGINE coil_openssl_engine
#endif
#ifndef KIT_SERVER_ENGINE
#define KIT_SERVER_ENGINE coil_openssl_engine
#endif

struct kit_identity {
    char text[4096]; /* certificate and key */
    struct pki_key key;
    struct pki_cert cert;
};

static struct {
    bool made;
    char authority[2048], stranger[2048];
    struct kit_identity a, b, client, strangers_a, expired;
} kit;

/* Valid now, whatever the clock says. */
static inline struct pki_spec kit_spec(const char *subject, const char *san,
                                       const struct pki_key *key)
{
    int64_t now = (int64_t)time(NULL) - PKI_NOW;
    return (struct pki_spec){ .subject = subject,
                              .san = san,
                              .key = key,
                              .from = now - PKI_DAY,
                              .to = now + PKI_DAY };
}

static inline struct pki_cert kit_authority(const char *subject,
                                            const struct pki_key *key)
{
    struct pki_spec spec = kit_spec(subject, NULL, key);
    spec.bc = "ca";
    spec.ku = "certsign";
    return pki_sign(&spec, NULL);
}

static inline void kit_identity(struct kit_identity *id, char letter,
                                struct pki_spec spec,
                                const struct pki_cert *authority)
{
    id->key = pki_key_new(PKI_P256, letter);
    spec.key = &id->key;
    id->cert = pki_sign(&spec, authority);
    pki_cert_pem(id->text, sizeof id->text, &id->cert);
    pki_key_pem(id->text, sizeof id->text, &id->key);
}

static inline void kit_make(void)
{
    if (kit.made)
        return;
    kit.made = true;
    struct pki_key key = pki_key_new(PKI_P256, 'A');
    struct pki_key other = pki_key_new(PKI_P256, 'O');
    struct pki_cert authority = kit_authority("the authority", &key);
    struct pki_cert stranger = kit_authority("a stranger", &other);
    pki_cert_pem(kit.authority, sizeof kit.authority, &authority);
    pki_cert_pem(kit.stranger, sizeof kit.stranger, &stranger);

    struct pki_spec a = kit_spec("a.test", "DNS:a.test,IP:127.0.0.1", NULL);
    struct pki_spec b = kit_spec("b.test", "DNS:b.test", NULL);
    struct pki_spec client = kit_spec("client", "EMAIL:me@a.test", NULL);
    struct pki_spec expired = a;
    client.eku = "client";
    expired.to = expired.from + 1;
    kit_identity(&kit.a, 'S', a, &authority);
    kit_identity(&kit.b, 'T', b, &authority);
    kit_identity(&kit.client, 'C', client, &authority);
    kit_identity(&kit.strangers_a, 'S', a, &stranger);
    kit_identity(&kit.expired, 'S', expired, &authority);
}

static inline struct coil_tls_pem kit_pem(const char *text)
{
    return (struct coil_tls_pem){ .text = text, .text_bytes = strlen(text) };
}

/*
 * Options of a good client, and of a good server for a.test. It gives no tickets,
 * so that cases can count bytes: test_tls_session.c has those with.
 */
static inline struct coil_tls_client_options kit_client_options(void)
{
    kit_make();
    struct coil_tls_client_options o = COIL_TLS_CLIENT_OPTIONS_INIT;
    o.engine = KIT_CLIENT_ENGINE();
    o.ca = kit_pem(kit.authority);
    return o;
}

static inline struct coil_tls_server_options kit_server_options(void)
{
    kit_make();
    struct coil_tls_server_options o = COIL_TLS_SERVER_OPTIONS_INIT;
    o.engine = KIT_SERVER_ENGINE();
    o.certificate = kit_pem(kit.a.text);
    o.no_tickets = true;
    return o;
}

/* The setup, or NULL if there is no memory. */
static inline struct coil_tls_client *
kit_client(const struct coil_tls_client_options *options)
{
    struct coil_tls_client_options o = kit_client_options();
    struct coil_tls_client *client = NULL;
    struct coil_tls_why why = { "" };
    int err = coil_tls_client_new(&client, options ? options : &o, &why);
    test_note("client: %s", why.text);
    CHECK(err == 0 || err == -ENOMEM);
    return client;
}

static inline struct coil_tls_server *
kit_server(const struct coil_tls_server_options *options)
{
    struct coil_tls_server_options o = kit_server_options();
    struct coil_tls_server *server = NULL;
    struct coil_tls_why why = { "" };
    int err = coil_tls_server_new(&server, options ? options : &o, &why);
    test_note("server: %s", why.text);
    CHECK(err == 0 || err == -ENOMEM);
    return server;
}

/* What the two handshakes came to; a stream or an error of each. */
struct kit_result {
    struct coil_stream *stream;
    int err;
    uint32_t detail;
    struct coil_tls_why why;
};

static inline void kit_take(struct kit_result *r, struct coil_task *task)
{
    r->stream = NULL;
    r->err = stage_run(task);
    r->detail = coil_future_detail(coil_task_future(task));
    if (r->err == 0)
        r->stream = coil_future_pointer(coil_task_future(task));
    coil_task_drop(&task);
}

/* results[0] is the server's. */
static inline void kit_handshake(struct kit_result results[2],
                                 struct coil_stream *lower[2],
                                 struct coil_tls_server *server,
                                 struct coil_tls_client *client,
                                 const char *name)
{
    results[0].why.text[0] = results[1].why.text[0] = '\0';
    struct coil_task *s = coil_spawn(
        coil_tls_accept(lower[0], server, &results[0].why));
    struct coil_task *c = coil_spawn(
        coil_tls_connect(lower[1], client, name, &results[1].why));
    kit_take(&results[1], c);
    kit_take(&results[0], s);
    test_note("server %d %#x \"%s\", client %d %#x \"%s\"", results[0].err,
              results[0].detail, results[0].why.text, results[1].err,
              results[1].detail, results[1].why.text);
}

/* Two TLS streams over two streams, which are taken. 0, or -ENOMEM. */
static inline int kit_over(struct coil_stream *lower[2],
                           struct coil_stream *ends[2])
{
    struct coil_tls_client *client = kit_client(NULL);
    struct coil_tls_server *server = client ? kit_server(NULL) : NULL;
    struct kit_result results[2] = { { .stream = NULL } };
    if (server) {
        kit_handshake(results, lower, server, client, "a.test");
    } else {
        coil_stream_close_soon(lower[0]);
        coil_stream_close_soon(lower[1]);
    }
    coil_tls_client_unref(client);
    coil_tls_server_unref(server);
    ends[0] = results[0].stream;
    ends[1] = results[1].stream;
    if (ends[0] && ends[1])
        return 0;
    coil_stream_close_soon(ends[0]);
    coil_stream_close_soon(ends[1]);
    return -ENOMEM;
}

#endif
