// SPDX-License-Identifier: MIT
// labels: http
/*
 * test_https.c: the client over TLS, against a server in the same loop.
 *
 * What TLS itself does is tested in tests/tls/. Here it is what a session makes
 * of it: which connections it shares, and what its errors say.
 */
#include "origin.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tls/tls_kit.h"

/* What every test's frame begins with, and how each of them ends. */
#define STAGE \
    struct coil_coro coro; \
    struct coil_tls_server *server; \
    struct coil_tls_client *client, *second; \
    struct coil_http_session *session; \
    struct coil_http_response *response; \
    size_t n; \
    int err, i, status; \
    uint32_t detail

static struct origin origin, other;

struct end {
    struct coil_coro coro;
    struct coil_http_session *session;
};

static void end(struct coil_coro *co)
{
    ASYNC(end, my) {
    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&origin));
        AWAIT(origin_close(&other));
    }
}

#define END \
    coil_http_response_free(my->response); \
    AWAIT(CALL(end, .session = my->session)); \
    coil_tls_server_unref(my->server); \
    coil_tls_client_unref(my->client); \
    coil_tls_client_unref(my->second)

#define GET(...) CALL(fetch, .session = my->session, .request = { __VA_ARGS__ })

static char alpn_of_server[32];

static struct coil_future *speak_tls(struct origin *o,
                                     struct coil_stream *stream)
{
    return coil_tls_accept(stream, o->secure_arg, NULL);
}

/* As origin_open(), with https. */
static int tls_open(struct origin *o, const struct route *routes,
                    struct coil_tls_server *server)
{
    int err = origin_open(o, routes);
    o->secure = speak_tls;
    o->secure_arg = server;
    snprintf(o->url, sizeof o->url, "https://127.0.0.1:%u", o->port);
    return err;
}

static struct coil_http_session *
session_with(struct coil_tls_client *client,
             const struct coil_http_session_options *given)
{
    struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
    if (given)
        o = *given;
    o.tls = client;
    return coil_http_session_new(&o);
}

static bool says(int err, uint32_t detail, const char *words)
{
    char text[512];
    coil_explain(err, detail, text, sizeof text);
    test_note("%s", text);
    return strstr(text, words);
}

/* "127.0.0.1:PORT: words" */
static const char *of_server(const struct origin *o, const char *words)
{
    static char text[256];
    snprintf(text, sizeof text, ": 127.0.0.1:%u: %s", o->port, words);
    return text;
}

/* ---- Pages ------------------------------------------------------------ */

struct pages {
    STAGE;
    enum coil_tls_version version;
};

static void pages(struct coil_coro *co)
{
    ASYNC(pages, my) {
        struct coil_tls_client_options o = kit_client_options();
        o.version_max = my->version;
        my->client = kit_client(&o);
        my->server = kit_server(NULL);
        CHECK_INT(tls_open(&origin, NULL, my->server), 0);
        my->session = session_with(my->client, NULL);
        for (; my->i < 3; my->i++) {
            AWAIT_TO(my->response,
                     coil_http_get(my->session, origin_url(&origin, "/page")));
            CHECK_INT(coil_http_response_status(my->response), 200);
            AWAIT_TO(my->n, coil_http_response_read(my->response));
            CHECK_STR(coil_http_response_body(my->response), "/page");
            coil_http_response_free(my->response);
            my->response = NULL;
        }
        CHECK_INT(origin.accepted, 1);
        CHECK_INT(origin.served, 3);
        CHECK(strstr(origin.head, "\r\nHost: 127.0.0.1:"));

    FINALLY;
        END;
    }
}

// The tickets of TLS 1.3 come behind the handshake: they are no reason to drop
// a kept connection.
TEST(https_connection_is_kept_for_the_next_request)
{
    CHECK_INT(RUN(pages), 0);
}

TEST(https_connection_of_tls_1_2_is_kept_for_the_next_request)
{
    CHECK_INT(RUN(pages, .version = COIL_TLS_1_2), 0);
}

struct upload {
    STAGE;
};

static char large[300000];

static void upload(struct coil_coro *co)
{
    ASYNC(upload, my) {
        my->client = kit_client(NULL);
        my->server = kit_server(NULL);
        CHECK_INT(tls_open(&origin, NULL, my->server), 0);
        my->session = session_with(my->client, NULL);
        memset(large, 'a', sizeof large);
        AWAIT_TO(my->status,
                 GET(.url = origin_url(&origin, "/put"), .method = "PUT",
                     .body = large, .body_size = sizeof large));
        CHECK_INT(my->status, 200);
        CHECK_INT(origin.body_n, sizeof large);

    FINALLY;
        END;
    }
}

TEST(https_large_body_is_sent)
{
    CHECK_INT(RUN(upload), 0);
}

/* ---- ALPN ------------------------------------------------------------- */

struct accept_and_ask {
    struct coil_coro coro;
    struct coil_stream *lower, *stream;
    struct coil_tls_server *server;
};

static void accept_and_ask(struct coil_coro *co)
{
    ASYNC_GIVES(accept_and_ask, my, coil_stream_close_soon) {
        AWAIT_TO(my->stream, coil_tls_accept(my->lower, my->server, NULL));
        struct coil_tls_info info;
        CHECK(coil_tls_get_info(my->stream, &info));
        snprintf(alpn_of_server, sizeof alpn_of_server, "%s", info.alpn);
        RETURN(my->stream);
    }
}

static struct coil_future *speak_and_ask(struct origin *o,
                                         struct coil_stream *stream)
{
    return CALL(accept_and_ask, .lower = stream, .server = o->secure_arg);
}

struct protocols {
    STAGE;
    const char *own;
};

static void protocols(struct coil_coro *co)
{
    static const char *const offered[] = { "x/1", "http/1.1" };
    ASYNC(protocols, my) {
        struct coil_tls_server_options so = kit_server_options();
        so.alpn = offered;
        so.alpn_n = 2;
        my->server = kit_server(&so);
        struct coil_tls_client_options co_ = kit_client_options();
        co_.alpn = &my->own;
        co_.alpn_n = my->own != NULL;
        my->client = kit_client(&co_);
        CHECK_INT(tls_open(&origin, NULL, my->server), 0);
        origin.secure = speak_and_ask;
        my->session = session_with(my->client, NULL);
        AWAIT_TO(my->status, GET(.url = origin_url(&origin, "/")));
        CHECK_STR(alpn_of_server, my->own ? my->own : "http/1.1");

    FINALLY;
        END;
    }
}

TEST(https_offers_http_1_1)
{
    CHECK_INT(RUN(protocols), 0);
}

TEST(https_offers_the_protocols_of_the_client_if_it_has_some)
{
    CHECK_INT(RUN(protocols, .own = "x/1"), 0);
}

/* ---- Trust ------------------------------------------------------------ */

struct trust {
    STAGE;
    const char *server_name, *words;
    bool stranger, expired, insecure;
    int fault;
};

static void trust(struct coil_coro *co)
{
    ASYNC(trust, my) {
        struct coil_tls_client_options o = kit_client_options();
        if (my->insecure)
            o.verify = COIL_TLS_VERIFY_NONE;
        my->client = kit_client(&o);
        struct coil_tls_server_options so = kit_server_options();
        if (my->stranger)
            so.certificate = kit_pem(kit.strangers_a.text);
        if (my->expired)
            so.certificate = kit_pem(kit.expired.text);
        my->server = kit_server(&so);
        CHECK_INT(tls_open(&origin, NULL, my->server), 0);
        my->session = session_with(my->client, NULL);
        TRY_AWAIT_TO(my->err, my->status,
                     GET(.url = origin_url(&origin, "/"),
                         .server_name = my->server_name));
        my->detail = coil_last_detail();
        if (!my->fault)
            CHECK_INT(my->err, 0);
        if (my->fault) {
            CHECK_ERR(my->err, COIL_ECERT, COIL_PHASE_TLS);
            CHECK_INT(COIL_TLS_CODE(my->detail), my->fault);
            CHECK(says(my->err, my->detail, of_server(&origin, my->words)));
            CHECK_INT(origin.requests, 0);
        }

    FINALLY;
        END;
    }
}

TEST(https_server_of_an_authority_that_is_not_trusted_is_refused)
{
    CHECK_INT(RUN(trust, .stranger = true, .fault = COIL_CERT_UNKNOWN,
                  .words = "the peer does not send its intermediate "
                           "certificate, or no trusted authority signed it"),
              0);
}

TEST(https_server_with_an_expired_certificate_is_refused)
{
    CHECK_INT(RUN(trust, .expired = true, .fault = COIL_CERT_TIME,
                  .words = "the certificate expired on "),
              0);
}

TEST(https_server_with_a_certificate_for_another_name_is_refused)
{
    CHECK_INT(RUN(trust, .server_name = "c.test", .fault = COIL_CERT_NAME,
                  .words = "the certificate is for a.test"),
              0);
}

TEST(https_server_may_have_another_name_than_the_url)
{
    CHECK_INT(RUN(trust, .server_name = "A.test"), 0);
}

TEST(https_server_is_not_verified_if_the_client_asks_for_that)
{
    CHECK_INT(RUN(trust, .stranger = true, .insecure = true), 0);
    CHECK_INT(RUN(trust, .expired = true, .insecure = true), 0);
    CHECK_INT(RUN(trust, .server_name = "c.test", .insecure = true), 0);
}

struct odd_name {
    STAGE;
    const char *server_name, *words;
    int expected;
};

static char long_name[300];

static void odd_name(struct coil_coro *co)
{
    ASYNC(odd_name, my) {
        my->client = kit_client(NULL);
        my->server = kit_server(NULL);
        CHECK_INT(tls_open(&origin, NULL, my->server), 0);
        my->session = session_with(my->client, NULL);
        TRY_AWAIT_TO(my->err, my->status,
                     GET(.url = origin_url(&origin, "/"),
                         .server_name = my->server_name));
        CHECK_INT(my->err, my->expected);
        CHECK(says(my->err, coil_last_detail(), my->words));

    FINALLY;
        END;
    }
}

TEST(https_server_name_that_is_none_is_an_error)
{
    memset(long_name, 'a', sizeof long_name - 1);
    CHECK_INT(RUN(odd_name, .server_name = "a b", .expected = -EINVAL,
                  .words = "the name of the server is no host name"),
              0);
    CHECK_INT(RUN(odd_name, .server_name = long_name, .expected = COIL_EURL,
                  .words = "server_name of the request is too long"),
              0);
}

/* ---- Sentences -------------------------------------------------------- */

struct sentences {
    STAGE;
    struct coil_tls_server *expired;
    int errs[8];
    uint32_t details[8];
};

/* Two servers with two faults, in turn: the sentences must not be mixed up. */
static void sentences(struct coil_coro *co)
{
    ASYNC(sentences, my) {
        my->client = kit_client(NULL);
        struct coil_tls_server_options so = kit_server_options();
        so.certificate = kit_pem(kit.expired.text);
        my->expired = kit_server(&so);
        CHECK_INT(tls_open(&origin, NULL, my->expired), 0);
        CHECK_INT(tls_open(&other, NULL, my->expired), 0);
        my->session = session_with(my->client, NULL);
        for (; my->i < 8; my->i++) {
            TRY_AWAIT(
                my->errs[my->i],
                GET(.url = origin_url(my->i % 2 ? &other : &origin, "/")));
            my->details[my->i] = coil_last_detail();
        }
        for (int i = 0; i < 8; i++) {
            const struct origin *o = i % 2 ? &other : &origin;
            CHECK_INT(COIL_TLS_CODE(my->details[i]), COIL_CERT_TIME);
            bool kept = says(my->errs[i], my->details[i],
                             of_server(o, "the certificate expired"));
            CHECK(kept == (i >= 4));
            CHECK(kept || says(my->errs[i], my->details[i],
                               "it has expired, or is not valid yet"));
        }

    FINALLY;
        coil_tls_server_unref(my->expired);
        END;
    }
}

// Whose sentence is not kept any more gets a general one, not that of another.
TEST(https_sentence_of_an_error_is_that_of_its_request)
{
    CHECK_INT(RUN(sentences), 0);
}

/* ---- The client's certificate ----------------------------------------- */

struct asked {
    STAGE;
    bool has_one;
    enum coil_tls_version version;
};

static void asked(struct coil_coro *co)
{
    ASYNC(asked, my) {
        struct coil_tls_client_options o = kit_client_options();
        o.version_max = my->version;
        if (my->has_one)
            o.certificate = kit_pem(kit.client.text);
        my->client = kit_client(&o);
        struct coil_tls_server_options so = kit_server_options();
        so.ask = COIL_TLS_ASK_ALWAYS;
        so.ca = kit_pem(kit.authority);
        my->server = kit_server(&so);
        CHECK_INT(tls_open(&origin, NULL, my->server), 0);
        my->session = session_with(my->client, NULL);
        TRY_AWAIT_TO(my->err, my->status, GET(.url = origin_url(&origin, "/")));
        my->detail = coil_last_detail();
        if (my->has_one) {
            CHECK_INT(my->err, 0);
            CHECK_INT(my->status, 200);
        } else if (my->version == COIL_TLS_1_2) {
            CHECK_ERR(my->err, COIL_ETLS, COIL_PHASE_TLS);
            CHECK(says(my->err, my->detail, of_server(&origin, "")));
        } else {
            CHECK_ERR(my->err, COIL_ETLS, COIL_PHASE_HEADERS);
            CHECK_INT(COIL_TLS_CODE(my->detail), COIL_TLS_BY_PEER + 116);
            CHECK(says(
                my->err, my->detail,
                of_server(&origin, "the peer wants a client certificate")));
        }
        CHECK_INT(origin.requests, my->has_one);

    FINALLY;
        END;
    }
}

TEST(https_client_shows_its_certificate)
{
    CHECK_INT(RUN(asked, .has_one = true), 0);
    CHECK_INT(RUN(asked, .has_one = true, .version = COIL_TLS_1_2), 0);
}

// In TLS 1.3 the refusal comes when the client's handshake is over.
TEST(https_client_without_a_certificate_learns_that_one_is_wanted)
{
    CHECK_INT(RUN(asked), 0);
    CHECK_INT(RUN(asked, .version = COIL_TLS_1_2), 0);
}

/* ---- The pool --------------------------------------------------------- */

struct separate {
    STAGE;
};

static void separate(struct coil_coro *co)
{
    ASYNC(separate, my) {
        struct coil_tls_client_options o = kit_client_options();
        my->client = kit_client(&o);
        o.verify = COIL_TLS_VERIFY_NONE;
        my->second = kit_client(&o);
        struct coil_tls_server_options so = kit_server_options();
        my->server = kit_server(&so);
        CHECK_INT(tls_open(&origin, NULL, my->server), 0);
        my->session = session_with(my->client, NULL);
        for (; my->i < 8; my->i++) {
            AWAIT(GET(.url = origin_url(&origin, "/"),
                      .tls = my->i % 4 < 2 ? NULL : my->second,
                      .server_name = my->i % 2 ? "a.test" : NULL));
            CHECK_INT(origin.accepted, my->i < 4 ? my->i + 1 : 4);
        }
        AWAIT(GET(.url = origin_url(&origin, "/"), .tls = my->client,
                  .server_name = "127.0.0.1"));
        AWAIT(GET(.url = origin_url(&origin, "/"), .server_name = "A.TEST"));
        CHECK_INT(origin.accepted, 4);

    FINALLY;
        END;
    }
}

// Or a request would go over a connection whose server nobody has verified.
TEST(https_connections_are_not_shared_by_other_trust_or_names)
{
    CHECK_INT(RUN(separate), 0);
}

struct no_tls {
    STAGE;
};

static void no_tls(struct coil_coro *co)
{
    static char location[128];
    static struct route routes[] = { { "/to", { SAYS(location) } }, { 0 } };
    ASYNC(no_tls, my) {
        my->session = coil_http_session_new(NULL);
        TRY_AWAIT(my->err, GET(.url = "https://127.0.0.1:1/"));
        CHECK_ERR(my->err, COIL_EURL, COIL_PHASE_NONE);
        CHECK(says(my->err, coil_last_detail(),
                   "https:// needs TLS: set options.tls of the session"));

        my->client = kit_client(NULL);
        my->server = kit_server(NULL);
        CHECK_INT(tls_open(&other, NULL, my->server), 0);
        CHECK_INT(origin_open(&origin, routes), 0);
        snprintf(location, sizeof location,
                 "HTTP/1.1 301 x\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n",
                 origin_url(&other, "/there"));
        TRY_AWAIT(my->err, GET(.url = origin_url(&origin, "/to")));
        CHECK_ERR(my->err, COIL_EREDIRECT, COIL_PHASE_HEADERS);
        CHECK_INT(COIL_HTTP_REDIRECT_FAULT(coil_last_detail()),
                  COIL_HTTP_REDIRECT_TLS);

        /* One request may have what the session has not. */
        AWAIT_TO(my->status,
                 GET(.url = origin_url(&origin, "/to"), .tls = my->client));
        CHECK_INT(my->status, 200);
        CHECK_STR(other.order, "there");

    FINALLY;
        END;
    }
}

TEST(https_without_a_tls_client_is_refused)
{
    CHECK_INT(RUN(no_tls), 0);
}

/* ---- Redirects -------------------------------------------------------- */

static char to_https[128], to_http[128];
static struct route plain_routes[] = { { "/1", { SAYS(to_https) } }, { 0 } };
static struct route tls_routes[] = { { "/2", { SAYS(to_http) } }, { 0 } };

struct redirected {
    STAGE;
    bool no_downgrade;
};

static void redirected(struct coil_coro *co)
{
    static const struct coil_http_header secret = { "Authorization", "it is" };
    ASYNC(redirected, my) {
        my->client = kit_client(NULL);
        my->server = kit_server(NULL);
        CHECK_INT(origin_open(&origin, plain_routes), 0);
        CHECK_INT(tls_open(&other, tls_routes, my->server), 0);
        snprintf(to_https, sizeof to_https,
                 "HTTP/1.1 302 x\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n",
                 origin_url(&other, "/2"));
        snprintf(to_http, sizeof to_http,
                 "HTTP/1.1 302 x\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n",
                 origin_url(&origin, "/3"));
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.no_downgrade = my->no_downgrade;
        o.limit = 1;
        my->session = session_with(my->client, &o);
        TRY_AWAIT_TO(my->err, my->status,
                     GET(.url = origin_url(&origin, "/1"), .headers = &secret,
                         .headers_n = 1));
        CHECK(!strstr(other.head, "Authorization"));
        CHECK_INT(other.requests, 1);
        if (my->no_downgrade) {
            CHECK_ERR(my->err, COIL_EREDIRECT, COIL_PHASE_HEADERS);
            CHECK_INT(COIL_HTTP_REDIRECT_FAULT(coil_last_detail()),
                      COIL_HTTP_REDIRECT_DOWNGRADE);
            CHECK_STR(origin.order, "1");
        } else {
            CHECK_INT(my->err, 0);
            CHECK_STR(origin.order, "1 3");
            CHECK(!strstr(origin.head, "Authorization"));
        }

    FINALLY;
        END;
    }
}

TEST(https_redirect_to_https_and_back)
{
    CHECK_INT(RUN(redirected), 0);
}

TEST(https_redirect_back_to_http_is_refused_with_no_downgrade)
{
    CHECK_INT(RUN(redirected, .no_downgrade = true), 0);
}

struct named {
    STAGE;
};

static void named(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/1",
          { SAYS("HTTP/1.1 302 x\r\nContent-Length: 0\r\n"
                 "Location: /2\r\n\r\n") } },
        { "/2", { SAYS(to_https) } },
        { 0 },
    };
    ASYNC(named, my) {
        my->client = kit_client(NULL);
        my->server = kit_server(NULL);
        struct coil_tls_server_options so = kit_server_options();
        so.certificate = kit_pem(kit.b.text);
        struct coil_tls_server *b = kit_server(&so);
        CHECK_INT(tls_open(&origin, routes, b), 0);
        CHECK_INT(tls_open(&other, NULL, my->server), 0);
        snprintf(to_https, sizeof to_https,
                 "HTTP/1.1 302 x\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n",
                 origin_url(&other, "/3"));
        my->session = session_with(my->client, NULL);
        AWAIT_TO(my->status, GET(.url = origin_url(&origin, "/1"),
                                 .server_name = "b.test"));
        CHECK_INT(my->status, 200);
        CHECK_INT(origin.accepted, 1);
        CHECK_STR(origin.order, "1 2");
        CHECK_STR(other.order, "3");

    FINALLY;
        coil_tls_server_unref(origin.secure_arg);
        END;
    }
}

// The other server is verified for the host of its own URL.
TEST(https_server_name_counts_for_its_origin_only)
{
    CHECK_INT(RUN(named), 0);
}

/* ---- Cut off ---------------------------------------------------------- */

#define BODY(act) \
    { \
        SAYS("HTTP/1.1 200 OK\r\n\r\nto the end"), THEN(act) \
    }
#define KNOWN(text, act) \
    { \
        SAYS("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" text), THEN(act) \
    }

static const struct route cuts[] = {
    { "/closed", BODY(CLOSE) },
    { "/severed", BODY(SEVER) },
    { "/whole", KNOWN("hello", SEVER) },
    { "/part", KNOWN("hell", SEVER) },
    { "/none", { THEN(SEVER) } },
    { "/head", { SAYS("HTTP/1.1 200"), THEN(SEVER) } },
    { 0 },
};

struct cut {
    STAGE;
    const char *path;
    int expected;
    enum coil_phase phase;
};

static void cut(struct coil_coro *co)
{
    ASYNC(cut, my) {
        my->client = kit_client(NULL);
        my->server = kit_server(NULL);
        CHECK_INT(tls_open(&origin, cuts, my->server), 0);
        my->session = session_with(my->client, NULL);
        TRY_AWAIT_TO(my->err, my->status,
                     GET(.url = origin_url(&origin, my->path)));
        CHECK_INT(my->err, my->expected);
        if (my->err < 0)
            CHECK_ERR(my->err, my->expected, my->phase);
        CHECK_INT(origin.requests, 1);

    FINALLY;
        END;
    }
}

// Anybody on the way can end a connection, but not write close_notify.
TEST(https_body_without_a_length_that_is_cut_off_is_not_whole)
{
    CHECK_INT(RUN(cut, .path = "/closed"), 0);
    CHECK_INT(RUN(cut, .path = "/severed", .expected = COIL_EINCOMPLETE,
                  .phase = COIL_PHASE_BODY),
              0);
}

// Many servers send no close_notify, and the body is known to be whole.
TEST(https_body_with_a_length_may_be_followed_by_anything)
{
    CHECK_INT(RUN(cut, .path = "/whole"), 0);
    CHECK_INT(RUN(cut, .path = "/part", .expected = COIL_EINCOMPLETE,
                  .phase = COIL_PHASE_BODY),
              0);
}

TEST(https_answer_that_is_cut_off)
{
    CHECK_INT(RUN(cut, .path = "/none", .expected = COIL_EDISCONNECTED,
                  .phase = COIL_PHASE_HEADERS),
              0);
    CHECK_INT(RUN(cut, .path = "/head", .expected = COIL_EINCOMPLETE,
                  .phase = COIL_PHASE_HEADERS),
              0);
}

struct repeated {
    STAGE;
};

static void repeated(struct coil_coro *co)
{
    static struct route routes[] = {
        { "/1", { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1") } },
        { "/2", { THEN(SEVER) } },
        { 0 },
    };
    ASYNC(repeated, my) {
        my->client = kit_client(NULL);
        my->server = kit_server(NULL);
        CHECK_INT(tls_open(&origin, routes, my->server), 0);
        my->session = session_with(my->client, NULL);
        AWAIT(GET(.url = origin_url(&origin, "/1")));
        TRY_AWAIT(my->err, GET(.url = origin_url(&origin, "/2")));
        CHECK_ERR(my->err, COIL_EDISCONNECTED, COIL_PHASE_HEADERS);
        CHECK_STR(origin.order, "1 2 2");
        CHECK_INT(origin.accepted, 2);

    FINALLY;
        END;
    }
}

// A kept connection that ends without close_notify is one that the server has
// closed: the request goes over another one, once.
TEST(https_request_is_repeated_if_a_kept_connection_was_closed)
{
    CHECK_INT(RUN(repeated), 0);
}

struct idle_end {
    STAGE;
};

static void idle_end(struct coil_coro *co)
{
    static struct route routes[] = {
        { "/", KNOWN("hello", CLOSE) },
        { 0 },
    };
    ASYNC(idle_end, my) {
        my->client = kit_client(NULL);
        my->server = kit_server(NULL);
        CHECK_INT(tls_open(&origin, routes, my->server), 0);
        my->session = session_with(my->client, NULL);
        for (; my->i < 3; my->i++) {
            AWAIT(GET(.url = origin_url(&origin, "/"), .method = "POST"));
            AWAIT(CALL(origin_settle, .origin = &origin));
        }
        CHECK_INT(origin.accepted, 3);
        CHECK_INT(origin.requests, 3);

    FINALLY;
        END;
    }
}

// A POST is not repeated, so it must not go to a connection that has ended.
TEST(https_kept_connection_with_close_notify_is_not_used)
{
    CHECK_INT(RUN(idle_end), 0);
}

/* ---- The wrong protocol ----------------------------------------------- */

struct crossed {
    STAGE;
    const struct route *routes;
};

static void crossed(struct coil_coro *co)
{
    ASYNC(crossed, my) {
        CHECK_INT(origin_open(&origin, my->routes), 0);
        my->session = coil_http_session_new(NULL);
        TRY_AWAIT(my->err, GET(.url = origin_url(&origin, "/")));
        CHECK_ERR(my->err, COIL_EPROTOCOL, COIL_PHASE_HEADERS);
        CHECK(says(my->err, coil_last_detail(),
                   "the server speaks TLS here: try https://"));

    FINALLY;
        END;
    }
}

TEST(https_server_that_is_asked_for_http_is_known_by_its_alert)
{
    static const struct route whole[] = {
        { "/", { SAYS("\x15\x03\x01"), THEN(CLOSE) } }, { 0 }
    };
    static const struct route bytes[] = {
        { "/", { { .act = DRIP, .text = "\x15\x03\x01" }, THEN(CLOSE) } },
        { 0 },
    };
    CHECK_INT(RUN(crossed, .routes = whole), 0);
    CHECK_INT(RUN(crossed, .routes = bytes), 0);
}

/* Says this to everybody, at once. */
static struct coil_line said;
static bool slow_to_close; /* before it closes */

struct rude {
    struct coil_coro coro;
    struct coil_stream *stream;
};

static void rude(struct coil_coro *co)
{
    ASYNC_GIVES(rude, my, coil_stream_close_soon) {
        AWAIT(coil_stream_fill(my->stream, 1));
        AWAIT(coil_stream_write(my->stream, said.text, said.len));
        if (slow_to_close)
            AWAIT(coil_sleep(COIL_MS(20)));
        AWAIT(coil_stream_write_eof(my->stream));
        FAIL(-EPROTO);

    FINALLY;
        coil_stream_close_soon(my->stream);
    }
}

static struct coil_future *speak_rudely(struct origin *o,
                                        struct coil_stream *stream)
{
    (void)o;
    return CALL(rude, .stream = stream);
}

struct rudely {
    STAGE;
    struct coil_line text;
    const char *words;
    int expected, code;
};

#define BYTES(text) \
    { \
        (char[]){ text }, sizeof text - 1 \
    }

static void rudely(struct coil_coro *co)
{
    ASYNC(rudely, my) {
        my->client = kit_client(NULL);
        CHECK_INT(tls_open(&origin, NULL, NULL), 0);
        origin.secure = speak_rudely;
        said = my->text;
        my->session = session_with(my->client, NULL);
        TRY_AWAIT(my->err, GET(.url = origin_url(&origin, "/")));
        my->detail = coil_last_detail();
        CHECK_ERR(my->err, my->expected, COIL_PHASE_TLS);
        CHECK_INT(COIL_TLS_CODE(my->detail), my->code);
        CHECK(says(my->err, my->detail, of_server(&origin, my->words)));

    FINALLY;
        END;
    }
}

TEST(https_server_that_speaks_plain_http_is_known)
{
    CHECK_INT(RUN(rudely, .text = BYTES("HTTP/1.1 400 Bad Request\r\n\r\n"),
                  .expected = COIL_ETLS, .code = COIL_TLS_PLAIN_HTTP,
                  .words = "the port speaks plain HTTP, not TLS"),
              0);
}

TEST(https_server_that_closes_in_the_handshake)
{
    CHECK_INT(RUN(rudely, .text = BYTES(""), .expected = COIL_EINCOMPLETE,
                  .words = "the peer closed the connection during the TLS "
                           "handshake"),
              0);
}

TEST(https_server_that_sends_an_alert)
{
    CHECK_INT(RUN(rudely, .text = BYTES("\x15\x03\x03\0\x02\x02\x28"),
                  .expected = COIL_ETLS, .code = COIL_TLS_BY_PEER + 40,
                  .words = "no common cipher, group or signature"),
              0);
}

/* ---- Time-outs and cancellation --------------------------------------- */

struct silent {
    struct coil_coro coro;
    struct coil_stream *stream;
    size_t n;
};

static void silent(struct coil_coro *co)
{
    ASYNC_GIVES(silent, my, coil_stream_close_soon) {
        do {
            AWAIT_TO(my->n, coil_stream_fill(my->stream, 1));
            coil_stream_consume(my->stream, my->n);
        } while (my->n > 0);
        FAIL(-EPROTO);

    FINALLY;
        coil_stream_close_soon(my->stream);
    }
}

static struct coil_future *say_nothing(struct origin *o,
                                       struct coil_stream *stream)
{
    (void)o;
    return CALL(silent, .stream = stream);
}

struct slow {
    STAGE;
    struct coil_http_timeouts timeouts;
    int64_t handshake_ns;
    int clock;
};

static void slow(struct coil_coro *co)
{
    ASYNC(slow, my) {
        struct coil_tls_client_options o = kit_client_options();
        o.handshake_ns = my->handshake_ns;
        my->client = kit_client(&o);
        CHECK_INT(tls_open(&origin, NULL, NULL), 0);
        origin.secure = say_nothing;
        my->session = session_with(my->client, NULL);
        TRY_AWAIT(my->err, GET(.url = origin_url(&origin, "/"),
                               .timeouts = my->timeouts));
        my->detail = coil_last_detail();
        CHECK_ERR(my->err, -ETIMEDOUT, COIL_PHASE_TLS);
        CHECK_INT(COIL_DETAIL_CODE(my->detail), my->clock);
        CHECK_INT(origin.accepted, 1);
        while (origin.open > 0)
            AWAIT(coil_sleep(COIL_MS(1)));

    FINALLY;
        END;
    }
}

TEST(https_server_that_is_silent_in_the_handshake)
{
    CHECK_INT(RUN(slow, .timeouts = { .connect_ns = COIL_MS(50) },
                  .clock = COIL_HTTP_CLOCK_CONNECT),
              0);
    CHECK_INT(RUN(slow, .timeouts = { .total_ns = COIL_MS(50) },
                  .clock = COIL_HTTP_CLOCK_TOTAL),
              0);
    CHECK_INT(RUN(slow, .handshake_ns = COIL_MS(50),
                  .clock = COIL_HTTP_CLOCK_HANDSHAKE),
              0);
}

struct cancelled {
    STAGE;
    struct coil_task *tasks[100];
    bool closes;
};

/* Connections whose handshake has begun: their server is silent. */
static void cancelled(struct coil_coro *co)
{
    ASYNC(cancelled, my) {
        my->client = kit_client(NULL);
        CHECK_INT(tls_open(&origin, NULL, NULL), 0);
        origin.secure = say_nothing;
        my->session = session_with(my->client, NULL);
        for (my->i = 0; my->i < 10; my->i++)
            my->tasks[my->i] = SPAWN(
                fetch, .session = my->session,
                .request = { .url = origin_url(&origin, "/") });
        while (origin.accepted < 10)
            AWAIT(coil_sleep(COIL_MS(1)));
        AWAIT(coil_sleep(COIL_MS(5)));
        if (my->closes)
            AWAIT(coil_http_session_close(my->session));
        for (my->i = 0; my->i < 10; my->i++) {
            if (!my->closes)
                coil_task_cancel(my->tasks[my->i]);
            TRY_AWAIT(my->err, my->tasks[my->i]);
            CHECK_INT(my->err, my->closes ? COIL_ECLOSED : -ECANCELED);
            if (my->closes)
                CHECK_ERR(my->err, COIL_ECLOSED, COIL_PHASE_TLS);
        }
        while (origin.open > 0)
            AWAIT(coil_sleep(COIL_MS(1)));

    FINALLY;
        if (my->closes)
            my->session = NULL;
        END;
    }
}

TEST(https_request_is_cancelled_in_the_handshake)
{
    CHECK_INT(RUN(cancelled), 0);
}

TEST(https_session_is_closed_in_the_handshake)
{
    CHECK_INT(RUN(cancelled, .closes = true), 0);
}

/* ---- Many ------------------------------------------------------------- */

struct crowd {
    STAGE;
    struct coil_task *tasks[100];
};

static void crowd(struct coil_coro *co)
{
    static const struct coil_http_header close = { "Connection", "close" };
    ASYNC(crowd, my) {
        my->client = kit_client(NULL);
        my->server = kit_server(NULL);
        CHECK_INT(tls_open(&origin, NULL, my->server), 0);
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = 8;
        my->session = session_with(my->client, &o);
        for (my->i = 0; my->i < 100; my->i++)
            my->tasks[my->i] = SPAWN(
                fetch, .session = my->session,
                .request = {
                    .url = origin_url(&origin, my->i % 7 ? "/x" : "/delay/2/x"),
                    .headers = &close,
                    .headers_n = my->i % 3 == 0 });
        for (my->i = 0; my->i < 100; my->i++) {
            AWAIT_TO(my->status, my->tasks[my->i]);
            CHECK_INT(my->status, 200);
        }
        CHECK_INT(origin.requests, 100);
        CHECK(origin.accepted > 8 && origin.most_open <= 8);

    FINALLY;
        END;
    }
}

TEST(https_many_requests_share_few_connections)
{
    CHECK_INT(RUN(crowd), 0);
}

struct failing {
    STAGE;
    struct coil_task *tasks[100];
};

static void failing(struct coil_coro *co)
{
    static char no_hello[] = "\x16\x03\x03\0\x04\x02\0\0";
    ASYNC(failing, my) {
        my->client = kit_client(NULL);
        CHECK_INT(tls_open(&origin, NULL, NULL), 0);
        origin.secure = speak_rudely;
        said = (struct coil_line){ no_hello, sizeof no_hello };
        slow_to_close = true;
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = 2;
        my->session = session_with(my->client, &o);
        for (my->i = 0; my->i < 10; my->i++)
            my->tasks[my->i] = SPAWN(
                fetch, .session = my->session,
                .request = { .url = origin_url(&origin, "/") });
        for (my->i = 0; my->i < 10; my->i++) {
            TRY_AWAIT(my->err, my->tasks[my->i]);
            CHECK_ERR(my->err, COIL_ETLS, COIL_PHASE_TLS);
        }
        while (origin.open > 0)
            AWAIT(coil_sleep(COIL_MS(1)));
        CHECK_INT(origin.insecure, 10);
        CHECK_INT(origin.most_open, 2);

    FINALLY;
        END;
    }
}

// Our alert is sent, and the server takes its time to close.
TEST(https_connections_that_failed_count_until_they_are_closed)
{
    CHECK_INT(RUN(failing), 0);
}

/* ---- Memory ----------------------------------------------------------- */

/*
 * A server in a process of its own, which is no child of the test: it has
 * memory, and the test waits for its children.
 */
static struct {
    pid_t pid;
    char url[64];
    struct coil_tls_client *client;
} elsewhere;

struct serve {
    struct coil_coro coro;
    struct coil_tls_server *server;
    int tell;
};

static void serve(struct coil_coro *co)
{
    ASYNC(serve, my) {
        CHECK_INT(tls_open(&origin, NULL, my->server), 0);
        pid_t pid = getpid();
        CHECK_INT(write(my->tell, &pid, sizeof pid), sizeof pid);
        CHECK_INT(write(my->tell, origin.url, sizeof origin.url),
                  sizeof origin.url);
        AWAIT(coil_sleep(COIL_NEVER));
    }
}

static void elsewhere_open(void)
{
    int tell[2], status;
    CHECK_INT(pipe(tell), 0);
    struct coil_tls_server *server = kit_server(NULL);
    pid_t child = fork();
    if (child == 0)
        _exit(fork() == 0 ? RUN(serve, .server = server, .tell = tell[1]) < 0
                          : 0);
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
    CHECK_INT(read(tell[0], &elsewhere.pid, sizeof(pid_t)), sizeof(pid_t));
    CHECK_INT(read(tell[0], elsewhere.url, sizeof elsewhere.url),
              sizeof elsewhere.url);
    close(tell[0]);
    close(tell[1]);
    coil_tls_server_unref(server);
}

struct frugal {
    struct coil_coro coro;
    struct coil_http_session *session;
    int i;
};

static void frugal(struct coil_coro *co)
{
    ASYNC(frugal, my) {
        my->session = session_with(elsewhere.client, NULL);
        for (; my->i < 2; my->i++)
            AWAIT(GET(.url = elsewhere.url, .server_name = "a.test"));

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
    }
}

static int frugal_run(void)
{
    return RUN(frugal);
}

TEST(https_survives_every_allocation_that_fails)
{
    test_timeout(120);
    elsewhere_open();
    elsewhere.client = kit_client(NULL);
    CHECK_INT(frugal_run(), 0);
    test_every_allocation(frugal_run);
    kill(elsewhere.pid, SIGKILL);
    coil_tls_client_unref(elsewhere.client);
}
