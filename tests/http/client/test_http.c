// SPDX-License-Identifier: MIT
// labels: http
/*
 * test_http.c: a client against a server that says every wrong thing.
 *
 * The server is origin.h's, in the same loop: what it sends is given to the
 * byte, and it counts connections, so "the connection is used again" is a
 * number. Time-outs are short and nothing is asserted about how long they take.
 */
#include "origin.h"

#include <locale.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* What every test's frame begins with, and how each of them ends. */
#define STAGE \
    struct coil_coro coro; \
    struct origin origin; \
    struct coil_http_session *session; \
    struct coil_http_response *response; \
    size_t n; \
    int err, i

#define OK(body) "HTTP/1.1 200 OK\r\nContent-Length: " #body "\r\n\r\n"

/* ---- Misuse ------------------------------------------------------------ */

struct misuses {
    STAGE;
    struct coil_http_request request;
    struct coil_http_session_options options;
};

static void misuses(struct coil_coro *co)
{
    ASYNC(misuses, my) {
        my->options.size = sizeof my->options;
        my->session = coil_http_session_new(&my->options);
        my->request.url = "http://localhost/";
        coil_discard(coil_http_send(my->session, &my->request));

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
    }
}

#define SENDING(...) (void)RUN(misuses, .request = { __VA_ARGS__ })
#define OPENING(...) (void)RUN(misuses, .options = { __VA_ARGS__ })
#define HEADER(name, value) \
    .headers = &(const struct coil_http_header){ name, value }, .headers_n = 1

DEATH_TEST(http_header_without_a_name_aborts,
           "coil_http_send: the name of a header is NULL")
{
    SENDING(HEADER(NULL, "x"));
}

DEATH_TEST(http_header_without_a_value_aborts,
           "coil_http_send: the value of a header is NULL")
{
    SENDING(HEADER("X", NULL));
}

DEATH_TEST(http_headers_that_are_counted_and_not_given_abort,
           "coil_http_send: headers is NULL, but headers_n is not 0")
{
    SENDING(.headers_n = 1);
}

DEATH_TEST(http_body_that_is_measured_and_not_given_aborts,
           "coil_http_send: body is NULL, but body_size is not 0")
{
    SENDING(.body_size = 1);
}

COROUTINE(send_from_the_stack, struct coil_http_session *session;)
{
    ASYNC(send_from_the_stack, my) {
        char body[] = "gone when this step returns";
        struct coil_http_request q = { .method = "POST",
                                       .url = "http://127.0.0.1:1/",
                                       .body = body,
                                       .body_size = sizeof body };
        my->session = coil_http_session_new(NULL);
        AWAIT(coil_http_send(my->session, &q));
    }
}

// Up to some thousand bytes went out in time, and larger bodies as garbage.
DEATH_TEST(http_body_on_the_stack_aborts, "a buffer on the stack is lent")
{
    (void)!RUN(send_from_the_stack);
}

DEATH_TEST(http_request_that_is_not_given_aborts,
           "coil_http_send: request is NULL")
{
    CHECK(coil_http_send(NULL, NULL));
}

DEATH_TEST(http_session_header_without_a_name_aborts,
           "coil_http_session_new: the name of a header is NULL")
{
    OPENING(HEADER(NULL, "x"));
}

DEATH_TEST(http_session_header_without_a_value_aborts,
           "coil_http_session_new: the value of a header is NULL")
{
    OPENING(HEADER("X", NULL));
}

DEATH_TEST(http_session_headers_that_are_not_given_abort,
           "coil_http_session_new: headers is NULL")
{
    OPENING(.headers_n = 1);
}

DEATH_TEST(http_response_that_is_not_there_aborts_status,
           "coil_http_response_status: response is NULL")
{
    CHECK(coil_http_response_status(NULL));
}

DEATH_TEST(http_response_that_is_not_there_aborts_read,
           "coil_http_response_read: response is NULL")
{
    CHECK(coil_http_response_read(NULL));
}

/* ---- The plain case --------------------------------------------------- */

struct plain {
    STAGE;
};

static void plain(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/", { SAYS("HTTP/1.1 203 Quite So\r\n"
                      "Content-Length: 5\r\n"
                      "X-Empty:\r\n"
                      "x-many:  1 \r\n"
                      "X-Many:\t2\r\n"
                      "\r\n"
                      "hello") } },
        { 0 },
    };
    ASYNC(plain, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = coil_http_session_new(NULL);
        AWAIT_TO(my->response, coil_http_get(my->session, my->origin.url));
        struct coil_http_response *r = my->response;
        CHECK_INT(coil_http_response_status(r), 203);
        CHECK_STR(coil_http_response_reason(r), "Quite So");
        CHECK_INT(coil_http_response_version(r), 11);
        CHECK_INT(coil_http_response_content_length(r), 5);
        CHECK_STR(coil_http_response_header(r, "content-LENGTH"), "5");
        CHECK_STR(coil_http_response_header(r, "x-empty"), "");
        CHECK_STR(coil_http_response_header(r, "X-MANY"), "1");
        CHECK_STR(coil_http_response_header(r, "X-Man"), NULL);
        const struct coil_http_header *h = coil_http_response_headers(r);
        CHECK_STR(h[2].name, "x-many");
        CHECK_STR(h[3].name, "X-Many");
        CHECK_STR(h[3].value, "2");
        CHECK_STR(h[4].name, NULL);

        CHECK_STR(coil_http_response_body(r), "");
        CHECK_INT(coil_http_response_size(r), 0);
        AWAIT_TO(my->n, coil_http_response_read(my->response));
        CHECK_INT(my->n, 5);
        CHECK_INT(coil_http_response_size(my->response), 5);
        CHECK_STR(coil_http_response_body(my->response), "hello");
        AWAIT_TO(my->n, coil_http_response_read(my->response));
        CHECK_INT(my->n, 5);
        AWAIT_TO(my->n, coil_http_response_next(my->response));
        CHECK_INT(my->n, 0);

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_get_gives_the_head_and_then_the_body)
{
    CHECK_INT(RUN(plain), 0);
}

struct turkish {
    STAGE;
};

static void turkish(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/", { SAYS("HTTP/1.1 204 No\r\nx-request-id: 7\r\n\r\n") } },
        { 0 },
    };
    ASYNC(turkish, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = coil_http_session_new(NULL);
        AWAIT_TO(my->response, coil_http_get(my->session, my->origin.url));
        CHECK_STR(coil_http_response_header(my->response, "X-Request-ID"), "7");

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// There strcasecmp() tells I from i.
TEST(http_names_of_headers_are_the_same_in_every_language)
{
    if (!setlocale(LC_ALL, "tr_TR.UTF-8"))
        SKIP("no Turkish locale here");
    CHECK_INT(RUN(turkish), 0);
}

/* ---- What is sent ----------------------------------------------------- */

struct sent {
    STAGE;
    char expected[1024];
};

static struct coil_http_request to(const struct origin *o, const char *path,
                              const char *method)
{
    return (struct coil_http_request){ .url = origin_url(o, path),
                                  .method = method };
}

static struct coil_http_request with_body(struct coil_http_request q,
                                          const char *body)
{
    q.body = body;
    q.body_size = strlen(body);
    return q;
}

static struct coil_http_request
with_headers(struct coil_http_request q, const struct coil_http_header *headers,
             size_t n)
{
    q.headers = headers;
    q.headers_n = n;
    return q;
}

/* Fetch it all; check what the server was told. %u is the port. */
#define SENDS(q, text) \
    do { \
        AWAIT(CALL(fetch, .session = my->session, .request = q)); \
        snprintf(my->expected, sizeof my->expected, text, my->origin.port); \
        CHECK_STR(my->origin.head, my->expected); \
    } while (0)

#define USUAL "Host: 127.0.0.1:%u\r\nUser-Agent: coil/0.1\r\nAccept: */*\r\n"

static void sent(struct coil_coro *co)
{
    ASYNC(sent, my) {
        CHECK_INT(origin_open(&my->origin, NULL), 0);
        my->session = coil_http_session_new(NULL);

        SENDS(to(&my->origin, "", NULL), "GET / HTTP/1.1\r\n" USUAL "\r\n");
        SENDS(to(&my->origin, "?q=1", NULL),
              "GET /?q=1 HTTP/1.1\r\n" USUAL "\r\n");
        SENDS(to(&my->origin, "/%41%2f..//%%zz?a=b&%20#part", "DELETE"),
              "DELETE /%%41%%2f..//%%%%zz?a=b&%%20 HTTP/1.1\r\n" USUAL "\r\n");

        SENDS(with_body(to(&my->origin, "/form", "PUT"), "name=value"),
              "PUT /form HTTP/1.1\r\n" USUAL "Content-Length: 10\r\n\r\n");
        CHECK_STR(my->origin.body, "name=value");
        SENDS(with_body(to(&my->origin, "/form", "POST"), ""),
              "POST /form HTTP/1.1\r\n" USUAL "Content-Length: 0\r\n\r\n");
        SENDS(with_body(to(&my->origin, "/form", "GET"), "odd"),
              "GET /form HTTP/1.1\r\n" USUAL "Content-Length: 3\r\n\r\n");
        CHECK_INT(my->origin.accepted, 1);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

struct spelt {
    STAGE;
    char expected[64];
};

static void spelt(struct coil_coro *co)
{
    static const char *const names[] = { "LOCALHOST", "localhost",
                                         "LocalHost." };
    ASYNC(spelt, my) {
        CHECK_INT(origin_open(&my->origin, NULL), 0);
        my->session = coil_http_session_new(NULL);
        for (; my->i < 3; my->i++) {
            char url[64];
            snprintf(url, sizeof url, "http://%s:%u/", names[my->i],
                     my->origin.port);
            AWAIT_TO(my->response, coil_http_get(my->session, url));
            coil_http_response_free(my->response);
            my->response = NULL;
            snprintf(my->expected, sizeof my->expected, "Host: %.9s:%u\r\n",
                     names[my->i], my->origin.port);
            CHECK(strstr(my->origin.head, my->expected));
        }
        CHECK_INT(my->origin.accepted, 2); /* one for the first two */

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// They share connections, and each says the name that it was given.
TEST(http_host_is_that_of_the_url_in_its_own_capitals)
{
    CHECK_INT(RUN(spelt), 0);
}

// Signed URLs keep their signature: nothing is decoded, encoded or tidied up.
TEST(http_request_says_host_first_and_the_url_as_written)
{
    CHECK_INT(RUN(sent), 0);
}

static const struct coil_http_header session_headers[] = {
    { "Accept", "text/plain" }, { "X-Both", "session" }
};
static const struct coil_http_header request_headers[] = {
    { "x-both", "request" }, { "X-One", "" }, { "X-One", "2" }
};
static const struct coil_http_header agent_header[] = { { "USER-AGENT",
                                                          "me" } };

struct sent_headers {
    STAGE;
    char expected[1024];
};

static void sent_headers(struct coil_coro *co)
{
    ASYNC(sent_headers, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        CHECK_INT(origin_open(&my->origin, NULL), 0);
        o.headers = session_headers;
        o.headers_n = 2;
        my->session = coil_http_session_new(&o);
        SENDS(to(&my->origin, "/", NULL),
              "GET / HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
              "User-Agent: coil/0.1\r\nAccept: text/plain\r\n"
              "X-Both: session\r\n\r\n");
        SENDS(with_headers(to(&my->origin, "/", NULL), request_headers, 3),
              "GET / HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
              "User-Agent: coil/0.1\r\nAccept: text/plain\r\n"
              "x-both: request\r\nX-One: \r\nX-One: 2\r\n\r\n");
        AWAIT(coil_http_session_close(my->session));

        struct coil_http_session_options
            silent = COIL_HTTP_SESSION_OPTIONS_INIT;
        silent.user_agent = "";
        my->session = coil_http_session_new(&silent);
        SENDS(to(&my->origin, "/", NULL),
              "GET / HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nAccept: */*\r\n\r\n");
        SENDS(with_headers(to(&my->origin, "/", NULL), agent_header, 1),
              "GET / HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
              "Accept: */*\r\nUSER-AGENT: me\r\n\r\n");

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_headers_of_the_request_replace_those_of_the_session)
{
    CHECK_INT(RUN(sent_headers), 0);
}

/* More than has room in the session, in number and in bytes. */
struct sent_many {
    STAGE;
    struct coil_http_header headers[40];
    char names[40][8];
    char expected[4096];
};

static void sent_many(struct coil_coro *co)
{
    static const char value[] = "0123456789012345678901234567890123456789"
                                "0123456789";
    ASYNC(sent_many, my) {
        CHECK_INT(origin_open(&my->origin, NULL), 0);
        my->session = coil_http_session_new(NULL);
        char *to = my->expected;
        to += sprintf(to, "GET / HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n"
                          "User-Agent: coil/0.1\r\nAccept: */*\r\n",
                      my->origin.port);
        for (int i = 0; i < 40; i++) {
            sprintf(my->names[i], "X-%d", i);
            my->headers[i] = (struct coil_http_header){ my->names[i], value };
            to += sprintf(to, "X-%d: %s\r\n", i, value);
        }
        strcpy(to, "\r\n");
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->origin.url,
                                .headers = my->headers,
                                .headers_n = 40 }));
        CHECK_STR(my->origin.head, my->expected);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_a_head_of_any_size_is_sent_whole)
{
    CHECK_INT(RUN(sent_many), 0);
}

static const struct coil_http_header close_header[] = { { "connection",
                                                          "x, Close" } };

struct asks_to_close {
    STAGE;
};

static void asks_to_close(struct coil_coro *co)
{
    ASYNC(asks_to_close, my) {
        CHECK_INT(origin_open(&my->origin, NULL), 0);
        my->session = coil_http_session_new(NULL);
        for (; my->i < 2; my->i++)
            AWAIT(CALL(fetch, .session = my->session,
                       .request = { .url = my->origin.url,
                                    .headers = close_header,
                                    .headers_n = 1 }));
        CHECK_INT(my->origin.accepted, 2);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_a_request_that_says_close_keeps_no_connection)
{
    CHECK_INT(RUN(asks_to_close), 0);
}

/* ---- What cannot be sent ---------------------------------------------- */

struct unsendable {
    STAGE;
    struct coil_http_header header;
};

static const struct refusal {
    const char *url, *method, *name, *value;
    int err;
    const char *words;
} refusals[] = {
    { "https://localhost/", NULL, NULL, NULL, COIL_EURL,
      "Not a URL that can be fetched: https:// needs TLS: set options.tls of "
      "the session" },
    { "http://me:secret@localhost/", NULL, NULL, NULL, COIL_EURL,
      "Not a URL that can be fetched: user and password in a URL are not sent; "
      "take them out" },
    { "ftp://localhost/", NULL, NULL, NULL, COIL_EURL,
      "Not a URL that can be fetched: the URL does not start with http:// or "
      "https://" },
    { "http://localhost:0/", NULL, NULL, NULL, COIL_EURL,
      "Not a URL that can be fetched: the port is not a number from 1 to "
      "65535" },
    { "http://localhost/a b", NULL, NULL, NULL, COIL_EURL,
      "Not a URL that can be fetched: a space in the URL: write it as %20" },
    { NULL, NULL, NULL, NULL, COIL_EURL,
      "Not a URL that can be fetched: the URL does not start with http:// or "
      "https://" },
    { "http://localhost/", "GET /x\r\n", NULL, NULL, -EINVAL,
      "send: Invalid argument: the method is not a token" },
    { "http://localhost/", "", NULL, NULL, -EINVAL,
      "send: Invalid argument: the method is not a token" },
    { "http://localhost/", "CONNECT", NULL, NULL, -EINVAL,
      "send: Invalid argument: CONNECT is for proxies" },
    { "http://localhost/", NULL, "X-A\r\nB", "1", -EINVAL,
      "send: Invalid argument: a field name that is not a token" },
    { "http://localhost/", NULL, "X-A", "1\r\nX-B: 2", -EINVAL,
      "send: Invalid argument: a CR without LF" },
    { "http://localhost/", NULL, "content-length", "1", -EINVAL,
      "send: Invalid argument: Host, Content-Length or Transfer-Encoding among "
      "the extra fields" },
};

static struct coil_http_request refused(struct unsendable *my)
{
    const struct refusal *r = &refusals[my->i];
    my->header = (struct coil_http_header){ r->name, r->value };
    return (struct coil_http_request){ .url = r->url,
                                  .method = r->method,
                                  .headers = &my->header,
                                  .headers_n = r->name != NULL };
}

static void unsendable(struct coil_coro *co)
{
    ASYNC(unsendable, my) {
        my->session = coil_http_session_new(NULL);
        for (; my->i < (int)(sizeof refusals / sizeof *refusals); my->i++) {
            test_note("case %d", my->i);
            struct coil_http_request q = refused(my);
            TRY_AWAIT_TO(my->err, my->response,
                         coil_http_send(my->session, &q));
            CHECK_INT(my->err, refusals[my->i].err);
            CHECK_STR(explained(my->err), refusals[my->i].words);
        }

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
    }
}

// Nothing that a caller passes on from elsewhere becomes a second line.
TEST(http_what_cannot_be_sent_is_an_error_that_says_why)
{
    CHECK_INT(RUN(unsendable), 0);
}

/* ---- Answers ---------------------------------------------------------- */

static const struct answer {
    const char *what;
    const char *method;
    const char *text;
    enum act then; /* OVER, CLOSE, RESET */
    int err;
    enum coil_phase phase;
    const char *words; /* after the last colon; NULL: not looked at */
    int status;
    const char *body;
    bool reused;
} answers[] = {
    /* How a body ends. */
    { .what = "Content-Length",
      .text = OK(3) "abc", .status = 200, .body = "abc", .reused = true },
    { .what = "Content-Length: 0",
      .text = OK(0), .status = 200, .body = "", .reused = true },
    { .what = "chunked",
      .text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
              "3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
      .status = 200, .body = "abc0123456789", .reused = true },
    { .what = "until close",
      .text = "HTTP/1.1 200 OK\r\n\r\nall of it", .then = CLOSE,
      .status = 200, .body = "all of it" },
    { .what = "nothing until close",
      .text = "HTTP/1.1 200 OK\r\n\r\n", .then = CLOSE,
      .status = 200, .body = "" },
    { .what = "until reset",
      .text = "HTTP/1.1 200 OK\r\n\r\nall of it", .then = RESET,
      .err = -ECONNRESET, .phase = COIL_PHASE_BODY },

    /* No body at all, whatever the head says. */
    { .what = "HEAD", .method = "HEAD",
      .text = OK(3), .status = 200, .body = "", .reused = true },
    { .what = "HEAD, chunked", .method = "HEAD",
      .text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
      .status = 200, .body = "", .reused = true },
    { .what = "204",
      .text = "HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n",
      .status = 204, .body = "", .reused = true },
    { .what = "304",
      .text = "HTTP/1.1 304 \r\nContent-Length: 9\r\n\r\n",
      .status = 304, .body = "", .reused = true },
    { .what = "a status line that ends after the number",
      .text = "HTTP/1.1 404\r\nContent-Length: 1\r\n\r\n.",
      .status = 404, .body = ".", .reused = true },

    /* Whether another request may follow. */
    { .what = "close",
      .text = "HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\n"
              "Content-Length: 1\r\n\r\n.",
      .status = 200, .body = "." },
    { .what = "HTTP/1.0",
      .text = "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n.",
      .status = 200, .body = "." },
    { .what = "HTTP/1.0, keep-alive",
      .text = "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n"
              "Content-Length: 1\r\n\r\n.",
      .status = 200, .body = ".", .reused = true },
    { .what = "HTTP/1.0, until close", .then = CLOSE,
      .text = "HTTP/1.0 200 OK\r\n\r\nold", .status = 200, .body = "old" },
    { .what = "closed without a word", .then = CLOSE,
      .text = OK(1) ".", .status = 200, .body = "." },
    { .what = "two answers in one segment",
      .text = OK(1) "." OK(1) "!", .status = 200, .body = "." },
    { .what = "one byte too many",
      .text = OK(1) ".!", .status = 200, .body = "." },
    { .what = "a body after a 204",
      .text = "HTTP/1.1 204 No\r\n\r\n.", .status = 204, .body = "" },
    { .what = "a body after a HEAD", .method = "HEAD",
      .text = OK(1) ".", .status = 200, .body = "" },

    /* Interim answers. */
    { .what = "100 and 103",
      .text = "HTTP/1.1 100 Continue\r\n\r\n"
              "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" OK(1) ".",
      .status = 200, .body = ".", .reused = true },
    { .what = "100 and no more", .then = CLOSE,
      .text = "HTTP/1.1 100 Continue\r\n\r\n",
      .err = COIL_EINCOMPLETE, .phase = COIL_PHASE_HEADERS },
    { .what = "101",
      .text = "HTTP/1.1 101 Switching Protocols\r\n"
              "Connection: upgrade\r\nUpgrade: x\r\n\r\n",
      .err = COIL_EPROTOCOL, .phase = COIL_PHASE_HEADERS,
      .words = "a change of protocol that was not asked for" },

    /* Not HTTP. */
    { .what = "another protocol",
      .text = "SSH-2.0-OpenSSH_9.2\r\n",
      .err = COIL_EPROTOCOL, .phase = COIL_PHASE_HEADERS,
      .words = "the answer does not start with HTTP/" },
    { .what = "HTTP/2",
      .text = "HTTP/2.0 200 OK\r\n\r\n",
      .err = COIL_EPROTOCOL, .phase = COIL_PHASE_HEADERS,
      .words = "the version is neither HTTP/1.0 nor HTTP/1.1" },
    { .what = "both lengths",
      .text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"
              "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      .err = COIL_EPROTOCOL, .phase = COIL_PHASE_HEADERS,
      .words = "both Transfer-Encoding and Content-Length" },
    { .what = "a bad chunk",
      .text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
              "2\r\nab\r\nzz\r\n",
      .err = COIL_EPROTOCOL, .phase = COIL_PHASE_BODY,
      .words = "a chunk size that is not a plain hexadecimal number" },
    { .what = "a chunk that is too long",
      .text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
              "2\r\nabc\r\n",
      .err = COIL_EPROTOCOL, .phase = COIL_PHASE_BODY,
      .words = "chunk data that does not end with CR LF" },

    /* Not all of it. */
    { .what = "nothing", .text = "", .then = CLOSE,
      .err = COIL_EDISCONNECTED, .phase = COIL_PHASE_HEADERS },
    { .what = "a reset", .text = "", .then = RESET,
      .err = -ECONNRESET, .phase = COIL_PHASE_HEADERS },
    { .what = "half a head", .text = "HTTP/1.1 200 OK\r\nConte", .then = CLOSE,
      .err = COIL_EINCOMPLETE, .phase = COIL_PHASE_HEADERS },
    { .what = "half a head and a reset", .text = "HTTP/1.1 200", .then = RESET,
      .err = -ECONNRESET, .phase = COIL_PHASE_HEADERS },
    { .what = "half a body", .text = OK(10) "01234", .then = CLOSE,
      .err = COIL_EINCOMPLETE, .phase = COIL_PHASE_BODY },
    { .what = "no body", .text = OK(10), .then = CLOSE,
      .err = COIL_EINCOMPLETE, .phase = COIL_PHASE_BODY },
    { .what = "half a body and a reset", .text = OK(10) "01234", .then = RESET,
      .err = -ECONNRESET, .phase = COIL_PHASE_BODY },
    { .what = "no last chunk", .then = CLOSE,
      .text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
              "3\r\nabc\r\n",
      .err = COIL_EINCOMPLETE, .phase = COIL_PHASE_BODY },
    { .what = "half the last chunk", .then = CLOSE,
      .text = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
      .err = COIL_EINCOMPLETE, .phase = COIL_PHASE_BODY },
};

/* One answer, then a request to see what has become of the connection. */
struct one_answer {
    STAGE;
    const struct answer *answer;
    enum act act; /* SAY, CUT or DRIP */
    size_t cut;
    uint32_t detail;
    struct route routes[2];
};

static void one_answer(struct coil_coro *co)
{
    ASYNC(one_answer, my) {
        my->routes[0] = (struct route){ "/it",
                                        { { .act = my->act,
                                            .text = my->answer->text },
                                          THEN(my->answer->then) } };
        CHECK_INT(origin_open(&my->origin, my->routes), 0);
        my->origin.cut = my->cut;
        my->session = coil_http_session_new(NULL);
        TRY_AWAIT_TO(my->err, my->response,
                     coil_http_send(my->session,
                                    &(struct coil_http_request){
                                        .url = origin_url(&my->origin, "/it"),
                                        .method = my->answer->method }));
        my->detail = coil_last_detail();
        if (my->err == 0) {
            my->i = coil_http_response_status(my->response);
            TRY_AWAIT(my->err, coil_http_response_read(my->response));
            my->detail = coil_last_detail();
        }
        CHECK_INT(my->err, my->answer->err);
        if (my->err < 0) {
            char words[256];
            coil_explain(my->err, my->detail, words, sizeof words);
            CHECK_STR(coil_phase_name(COIL_DETAIL_PHASE(my->detail)),
                      coil_phase_name(my->answer->phase));
            if (my->answer->words)
                CHECK_STR(strrchr(words, ':') + 2, my->answer->words);
            if (my->response) { /* the error is there to stay */
                TRY_AWAIT(my->err, coil_http_response_next(my->response));
                CHECK_ERR(my->err, my->answer->err, COIL_PHASE_BODY);
            }
        } else {
            CHECK_INT(my->i, my->answer->status);
            CHECK_STR(coil_http_response_body(my->response), my->answer->body);
            CHECK_INT(coil_http_response_size(my->response),
                      strlen(my->answer->body));
        }
        AWAIT(CALL(origin_settle, .origin = &my->origin));
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = origin_url(&my->origin, "/more") }));
        CHECK_INT(my->origin.accepted, my->answer->reused ? 1 : 2);

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

#define EACH_ANSWER(a) \
    for (const struct answer *a = answers; \
         a < answers + sizeof answers / sizeof *answers; a++)

TEST(http_answers_are_taken_or_refused_as_the_rules_say)
{
    EACH_ANSWER(a) {
        test_note("%s", a->what);
        CHECK_INT(RUN(one_answer, .answer = a, .act = SAY), 0);
    }
}

// Whatever arrives when, the outcome is the same.
TEST(http_every_split_of_an_answer_gives_the_same)
{
    test_timeout(120);
    EACH_ANSWER(a)
        for (size_t cut = 1; cut < strlen(a->text); cut += test_is_slow() ? 7
                                                                          : 1) {
            test_note("%s, cut at %zu", a->what, cut);
            CHECK_INT(RUN(one_answer, .answer = a, .act = CUT, .cut = cut), 0);
        }
}

TEST(http_an_answer_byte_by_byte_gives_the_same)
{
    EACH_ANSWER(a) {
        test_note("%s", a->what);
        CHECK_INT(RUN(one_answer, .answer = a, .act = DRIP), 0);
    }
}

/* ---- Limits ----------------------------------------------------------- */

struct limits {
    STAGE;
    char *text;
    size_t body_max;
    struct route routes[2];
};

/* A head with `n` fields of `len` bytes in all each, and no body. */
static char *large_head(int n, int len)
{
    char *text = malloc((size_t)(n * len) + 100), *at = text;
    at += sprintf(at, "HTTP/1.1 204 No\r\n");
    for (int i = 0; i < n; i++)
        at += sprintf(at, "X: %0*d\r\n", len - 5, i);
    strcpy(at, "\r\n");
    return text;
}

static void limits(struct coil_coro *co)
{
    ASYNC(limits, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        my->routes[0] = (struct route){ "/", { SAYS(my->text) } };
        CHECK_INT(origin_open(&my->origin, my->routes), 0);
        o.head_bytes_max = my->n ? (uint32_t)my->n : 0;
        o.body_bytes_max = my->body_max;
        my->session = coil_http_session_new(&o);
        AWAIT_TO(my->response, coil_http_get(my->session, my->origin.url));
        TRY_AWAIT_TO(my->err, my->n, coil_http_response_read(my->response));
        if (my->err < 0) { /* the error is there to stay */
            AWAIT(coil_http_response_read(my->response));
            FAIL(-EBADMSG);
        }
        RETURN(my->n);

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

/* What a head of `n` fields ends with, read with a limit of `bytes`. */
static int with_head(int n, int len, size_t bytes)
{
    char *text = large_head(n, len);
    int err = RUN(limits, .text = text, .n = bytes);
    free(text);
    return err;
}

TEST(http_a_head_above_its_limits_is_an_error)
{
    CHECK_INT(with_head(128, 500, 0), 0);
    CHECK_INT(with_head(129, 10, 0), COIL_ELIMIT);
    CHECK_INT(with_head(1, 8192, 0), 0);
    CHECK_INT(with_head(1, 8193, 0), COIL_ELIMIT);
    CHECK_INT(with_head(10, 1000, 10000), COIL_ELIMIT);
    CHECK_INT(with_head(128, 512, 0), COIL_ELIMIT);
    CHECK_INT(with_head(128, 1000, 200000), 0);
    CHECK_INT(with_head(128, 2047, UINT32_MAX), 0);
    CHECK_INT(with_head(128, 2048, UINT32_MAX), COIL_ELIMIT);
}

struct narrow {
    STAGE;
    const char *text;
    enum act act;
    struct route routes[2];
};

static void narrow(struct coil_coro *co)
{
    ASYNC(narrow, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        my->routes[0] = (struct route){
            "/", { { .act = my->act, .text = my->text } }
        };
        CHECK_INT(origin_open(&my->origin, my->routes), 0);
        o.headers_limit = 2;
        o.line_bytes_max = 20;
        my->session = coil_http_session_new(&o);
        AWAIT_TO(my->response, coil_http_get(my->session, my->origin.url));
        AWAIT(coil_http_response_read(my->response));

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_limits_of_a_head_are_options)
{
    static const enum act acts[] = { SAY, DRIP };
    for (int i = 0; i < 2; i++) {
        CHECK_INT(RUN(narrow, .act = acts[i],
                      .text = "HTTP/1.1 204 No\r\nA: 1\r\nB: 2\r\n\r\n"),
                  0);
        CHECK_INT(RUN(narrow, .act = acts[i],
                      .text = "HTTP/1.1 204 No\r\nA: 1\r\nB: 2\r\nC: 3\r\n"
                              "\r\n"),
                  COIL_ELIMIT);
        CHECK_INT(RUN(narrow, .act = acts[i],
                      .text = "HTTP/1.1 204 No\r\nA: 34567890123456789\r\n"
                              "A: 345678901234567890\r\n\r\n"),
                  COIL_ELIMIT);
    }
}

/* What reading a body of three bytes ends with, and two chunks of two. */
TEST(http_read_stops_at_the_body_limit)
{
    static char three[] = OK(3) "abc", none[] = OK(0);
    static char chunks[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                           "\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n";
    CHECK_INT(RUN(limits, .text = three, .body_max = 3), 0);
    CHECK_INT(RUN(limits, .text = three, .body_max = 2), COIL_ELIMIT);
    CHECK_INT(RUN(limits, .text = none, .body_max = 1), 0);
    CHECK_INT(RUN(limits, .text = chunks, .body_max = 4), 0);
    CHECK_INT(RUN(limits, .text = chunks, .body_max = 3), COIL_ELIMIT);
    CHECK_INT(RUN(limits, .text = chunks, .body_max = 1), COIL_ELIMIT);
    CHECK_STR(explained(COIL_ELIMIT), "body: More bytes than the limit allows: "
                                      "the body is larger than body_bytes_max");
}

struct rest {
    STAGE;
};

static void rest(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/", { SAYS(OK(10) "01234567"), WAITS(COIL_MS(20)), SAYS("89") } },
        { 0 },
    };
    ASYNC(rest, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.body_bytes_max = 4;
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = coil_http_session_new(&o);
        AWAIT_TO(my->response, coil_http_get(my->session, my->origin.url));
        AWAIT_TO(my->n, coil_http_response_next(my->response));
        CHECK_INT(my->n, 8);
        AWAIT_TO(my->n, coil_http_response_read(my->response));
        CHECK_INT(my->n, 2);
        CHECK_STR(coil_http_response_body(my->response), "89");

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// What was looked at before takes no memory.
TEST(http_the_body_limit_is_about_what_read_keeps)
{
    CHECK_INT(RUN(rest), 0);
}

struct lenient {
    STAGE;
    bool lenient;
};

static void lenient(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/",
          { SAYS("HTTP/1.1 200\nX-Folded: a\r\n\tb\nX-Name : c\n"
                 "Transfer-Encoding: chunked\nContent-Length: 9\n\n"
                 "2\nhi\n0\n\n") } },
        { 0 },
    };
    ASYNC(lenient, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        CHECK_INT(origin_open(&my->origin, routes), 0);
        o.lenient = my->lenient;
        my->session = coil_http_session_new(&o);
        AWAIT_TO(my->response, coil_http_get(my->session, my->origin.url));
        AWAIT(coil_http_response_read(my->response));
        struct coil_http_response *r = my->response;
        CHECK_STR(coil_http_response_reason(r), "");
        CHECK_STR(coil_http_response_header(r, "X-Folded"), "a  \tb");
        CHECK_STR(coil_http_response_header(r, "X-Name"), "c");
        CHECK_STR(coil_http_response_body(r), "hi");
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = origin_url(&my->origin, "/x") }));
        CHECK_INT(my->origin.accepted, 2);

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_answers_are_read_leniently_if_that_is_asked_for)
{
    CHECK_INT(RUN(lenient, .lenient = true), 0);
    CHECK_INT(RUN(lenient), COIL_EPROTOCOL);
}

struct many_interim {
    STAGE;
    uint32_t head_bytes_max;
    struct route routes[2];
};

static void many_interim(struct coil_coro *co)
{
    static char text[12000];
    ASYNC(many_interim, my) {
        text[0] = '\0';
        for (int i = 0; i < my->i; i++)
            strcat(text, "HTTP/1.1 102 Wait\r\n\r\n");
        strcat(text, OK(0));
        my->routes[0] = (struct route){ "/", { SAYS(text) } };
        CHECK_INT(origin_open(&my->origin, my->routes), 0);
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.head_bytes_max = my->head_bytes_max;
        my->session = coil_http_session_new(&o);
        AWAIT_TO(my->response, coil_http_get(my->session, my->origin.url));

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// A server that sends nothing else must not keep a client for ever. But one may
// send 102 every other second while it works; `total` is the limit of that.
TEST(http_interim_answers_are_limited_by_their_size)
{
    CHECK_INT(RUN(many_interim, .i = 500), 0);
    CHECK_INT(RUN(many_interim, .i = 10, .head_bytes_max = 10 * 21), 0);
    CHECK_INT(RUN(many_interim, .i = 11, .head_bytes_max = 10 * 21),
              COIL_ELIMIT);
}

/* ---- Bodies in pieces ------------------------------------------------- */

#define MUCH ((size_t)8 << 20)
/* What a body is that no socket's buffer holds. */
#define VAST 50000000

struct pieces {
    STAGE;
    size_t sum, poured;
    int pauses;
};

#define POURING \
    SAYS("HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n"), POURS(MUCH)

static const struct route pours[] = { { "/much", { POURING } }, { 0 } };

static void pieces(struct coil_coro *co)
{
    ASYNC(pieces, my) {
        CHECK_INT(origin_open(&my->origin, pours), 0);
        my->session = coil_http_session_new(NULL);
        AWAIT_TO(my->response,
                 coil_http_get(my->session, origin_url(&my->origin, "/much")));
        AWAIT_TO(my->n, coil_http_response_next(my->response));
        CHECK(my->n > 0);

        /* Long enough for whatever the kernel takes without us. */
        do {
            my->poured = my->origin.poured;
            AWAIT(coil_sleep(COIL_MS(50)));
        } while (my->poured != my->origin.poured);
        CHECK(my->poured < MUCH);

        while (my->n > 0) {
            const char *piece = coil_http_response_piece(my->response);
            CHECK(piece[0] == 'x' && piece[my->n - 1] == 'x');
            my->sum += my->n;
            AWAIT_TO(my->n, coil_http_response_next(my->response));
        }
        CHECK_INT(my->sum, MUCH);
        CHECK_INT(my->origin.poured, MUCH);
        CHECK_INT(coil_http_response_size(my->response), 0);
        AWAIT_TO(my->n, coil_http_response_next(my->response));
        CHECK_INT(my->n, 0);

        coil_http_response_free(my->response);
        my->response = NULL;
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->origin.url }));
        CHECK_INT(my->origin.accepted, 1);

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// Who does not ask for the next piece holds the server back.
TEST(http_pieces_come_as_fast_as_they_are_taken)
{
    CHECK_INT(RUN(pieces), 0);
}

struct skips {
    STAGE;
};

static void skips(struct coil_coro *co)
{
    ASYNC(skips, my) {
        CHECK_INT(origin_open(&my->origin, pours), 0);
        my->session = coil_http_session_new(NULL);
        AWAIT_TO(my->response,
                 coil_http_get(my->session, origin_url(&my->origin, "/much")));
        AWAIT_TO(my->n, coil_http_response_next(my->response));
        my->i = (int)my->n;
        AWAIT_TO(my->n, coil_http_response_skip(my->response));
        CHECK_INT(my->n + (size_t)my->i, MUCH);
        AWAIT_TO(my->n, coil_http_response_skip(my->response));
        CHECK_INT(my->n, 0);
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->origin.url }));
        CHECK_INT(my->origin.accepted, 1);

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_skip_reads_the_rest_so_that_the_connection_serves_again)
{
    CHECK_INT(RUN(skips), 0);
}

struct read_all {
    STAGE;
};

static void read_all(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/much", { POURING } },
        { "/unsized",
          { SAYS("HTTP/1.1 200 OK\r\n\r\n"), POURS(3000000), THEN(CLOSE) } },
        { 0 },
    };
    ASYNC(read_all, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = coil_http_session_new(NULL);
        AWAIT_TO(my->response,
                 coil_http_get(my->session, origin_url(&my->origin, "/much")));
        AWAIT_TO(my->n, coil_http_response_read(my->response));
        CHECK_INT(my->n, MUCH);
        CHECK_INT(strspn(coil_http_response_body(my->response), "x"), MUCH);
        coil_http_response_free(my->response);
        my->response = NULL;

        AWAIT_TO(
            my->response,
            coil_http_get(my->session, origin_url(&my->origin, "/unsized")));
        AWAIT_TO(my->n, coil_http_response_next(my->response));
        my->i = (int)my->n;
        AWAIT_TO(my->n, coil_http_response_read(my->response));
        CHECK_INT(my->n + (size_t)my->i, 3000000);
        CHECK_INT(strlen(coil_http_response_body(my->response)), my->n);

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_read_keeps_bodies_of_any_size)
{
    CHECK_INT(RUN(read_all), 0);
}

/* Two tasks and one response. */
struct reads_too {
    struct coil_coro coro;
    struct coil_http_response *response;
};

static void reads_too(struct coil_coro *co)
{
    ASYNC(reads_too, my) {
        AWAIT(coil_http_response_read(my->response));
    }
}

struct two_readers {
    STAGE;
    struct coil_task *first;
};

static void two_readers(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/", { SAYS(OK(5)), WAITS(COIL_MS(100)), SAYS("hello") } },
        { 0 },
    };
    ASYNC(two_readers, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = coil_http_session_new(NULL);
        AWAIT_TO(my->response, coil_http_get(my->session, my->origin.url));
        my->first = SPAWN(reads_too, .response = my->response);
        AWAIT(coil_sleep(0));
        TRY_AWAIT(my->err, coil_http_response_next(my->response));
        CHECK_INT(my->err, -EBUSY);
        AWAIT(my->first);
        CHECK_STR(coil_http_response_body(my->response), "hello");

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_one_task_reads_a_body_at_a_time)
{
    CHECK_INT(RUN(two_readers), 0);
}

/* ---- Time-outs -------------------------------------------------------- */

struct timeouts {
    STAGE;
    const char *path;
    struct coil_http_timeouts limits;
    uint32_t detail;
    size_t sum;
};

#define PAUSE WAITS(COIL_MS(60))

static const struct route slow_routes[] = {
    { "/silent", { THEN(HANG) } },
    { "/half-head", { SAYS("HTTP/1.1 200 OK\r\n"), THEN(HANG) } },
    { "/half-body", { SAYS(OK(10) "01234"), THEN(HANG) } },
    { "/slow",
      { PAUSE, SAYS("HTTP/1.1 200 OK\r\n"), PAUSE,
        SAYS("Content-Length: 3\r\n\r\n"), PAUSE, SAYS("a"), PAUSE, SAYS("b"),
        PAUSE, SAYS("c") } },
    { "/much", { POURING } },
    { 0 },
};

/* Fetch; end with the error; check that the slot is free again. */
static void timeouts(struct coil_coro *co)
{
    ASYNC(timeouts, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = 1;
        CHECK_INT(origin_open(&my->origin, slow_routes), 0);
        my->session = coil_http_session_new(&o);
        TRY_AWAIT_TO(my->err, my->response,
                     coil_http_send(my->session, &(struct coil_http_request){
                                                     .url = origin_url(
                                                         &my->origin, my->path),
                                                     .timeouts = my->limits }));
        if (my->response) {
            TRY_AWAIT(my->err, coil_http_response_read(my->response));
            if (my->err < 0)
                CHECK_ERR(my->err, my->err, COIL_PHASE_BODY);
        } else {
            CHECK_ERR(my->err, my->err, COIL_PHASE_HEADERS);
        }
        my->detail = coil_last_detail();
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->origin.url,
                                .timeouts.pool_ns = COIL_MS(1) }));
        if (my->err < 0)
            FAIL_WITH(my->err, my->detail);

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

struct resets {
    STAGE;
    const char *path;
    struct coil_task *task;
    bool by_close;
};

static void resets(struct coil_coro *co)
{
    ASYNC(resets, my) {
        CHECK_INT(origin_open(&my->origin, slow_routes), 0);
        my->session = coil_http_session_new(NULL);
        my->task = SPAWN(
            fetch, .session = my->session,
            .request = { .url = origin_url(&my->origin, my->path),
                         .timeouts.total_ns = my->by_close ? 0 : COIL_MS(30) });
        if (my->by_close) {
            AWAIT(coil_sleep(COIL_MS(30)));
            AWAIT(coil_http_session_close(my->session));
            my->session = NULL;
        }
        TRY_AWAIT(my->err, my->task);
        CHECK_INT(my->err, my->by_close ? COIL_ECLOSED : -ETIMEDOUT);
        while (my->origin.resets == 0)
            AWAIT(coil_sleep(COIL_MS(1)));

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// The server learns at once that nobody waits for the rest, and what was queued
// for it is not sent.
TEST(http_a_request_that_is_cut_short_resets_its_connection)
{
    static const char *const paths[] = { "/silent", "/half-head",
                                         "/half-body" };
    for (int i = 0; i < 3; i++) {
        CHECK_INT(RUN(resets, .path = paths[i]), 0);
        CHECK_INT(RUN(resets, .path = paths[i], .by_close = true), 0);
    }
}

/* The request fails with -ETIMEDOUT, and the detail names the clock. */
#define STRIKES(clock, ...) \
    do { \
        CHECK_INT(RUN(__VA_ARGS__), -ETIMEDOUT); \
        CHECK_INT(COIL_DETAIL_CODE(coil_last_detail()), \
                  COIL_HTTP_CLOCK_##clock); \
    } while (0)

// The next request gets the slot at once: with one connection in all.
TEST(http_total_strikes_wherever_the_request_is)
{
    const struct coil_http_timeouts short_total = { .total_ns = COIL_MS(200) };
    const struct coil_http_timeouts long_total = { .total_ns = COIL_SECONDS(
                                                       20) };
    STRIKES(TOTAL, timeouts, .path = "/silent", .limits = short_total);
    STRIKES(TOTAL, timeouts, .path = "/half-head", .limits = short_total);
    STRIKES(TOTAL, timeouts, .path = "/half-body", .limits = short_total);
    STRIKES(TOTAL, timeouts, .path = "/slow", .limits = short_total);
    CHECK_INT(RUN(timeouts, .path = "/slow", .limits = long_total), 0);
}

TEST(http_read_time_out_is_about_the_gap_between_bytes)
{
    const struct coil_http_timeouts short_gap = { .read_ns = COIL_MS(40) };
    const struct coil_http_timeouts long_gap = { .read_ns = COIL_SECONDS(2) };
    STRIKES(READ, timeouts, .path = "/silent", .limits = short_gap);
    STRIKES(READ, timeouts, .path = "/half-head", .limits = short_gap);
    STRIKES(READ, timeouts, .path = "/half-body", .limits = short_gap);
    CHECK_INT(RUN(timeouts, .path = "/slow", .limits = long_gap), 0);
    CHECK_INT(RUN(timeouts, .path = "/much", .limits = long_gap), 0);
}

/* It is us who does not read for longer than the gap. */
struct lazy_reader {
    STAGE;
};

static void lazy_reader(struct coil_coro *co)
{
    ASYNC(lazy_reader, my) {
        CHECK_INT(origin_open(&my->origin, pours), 0);
        my->session = coil_http_session_new(NULL);
        AWAIT_TO(my->response,
                 coil_http_send(my->session,
                                &(struct coil_http_request){
                                    .url = origin_url(&my->origin, "/much"),
                                    .timeouts.read_ns = COIL_MS(500) }));
        for (; my->i < 3; my->i++) {
            AWAIT_TO(my->n, coil_http_response_next(my->response));
            CHECK(my->n > 0);
            if (my->i == 1)
                AWAIT(coil_sleep(COIL_MS(1200)));
        }

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_read_time_out_does_not_run_while_we_are_not_reading)
{
    CHECK_INT(RUN(lazy_reader), 0);
}

/* The reader gives up, does something else, and comes back. */
struct fickle_reader {
    STAGE;
    bool whole;
};

static void fickle_reader(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/late", { SAYS(OK(2) "a"), WAITS(COIL_MS(300)), SAYS("b") } },
        { 0 },
    };
    ASYNC(fickle_reader, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = coil_http_session_new(NULL);
        AWAIT_TO(my->response,
                 coil_http_send(my->session,
                                &(struct coil_http_request){
                                    .url = origin_url(&my->origin, "/late"),
                                    .timeouts.read_ns = COIL_MS(150) }));
        TRY_AWAIT(my->err,
                  coil_wait_for(my->whole
                                    ? coil_http_response_read(my->response)
                                    : coil_http_response_skip(my->response),
                                COIL_MS(20)));
        CHECK_INT(my->err, -ETIMEDOUT);
        AWAIT(coil_sleep(COIL_MS(600)));
        AWAIT(coil_http_response_read(my->response));
        CHECK_STR(coil_http_response_body(my->response),
                  my->whole ? "ab" : "b");

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_read_time_out_ends_with_the_read_that_is_cancelled)
{
    CHECK_INT(RUN(fickle_reader), 0);
}

TEST(http_read_goes_on_where_it_was_cancelled)
{
    CHECK_INT(RUN(fickle_reader, .whole = true), 0);
}

struct extremes {
    STAGE;
    struct coil_http_timeouts limits;
};

static void extremes(struct coil_coro *co)
{
    ASYNC(extremes, my) {
        CHECK_INT(origin_open(&my->origin, NULL), 0);
        my->session = coil_http_session_new(NULL);
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->origin.url,
                                .timeouts = my->limits }));

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_time_outs_may_be_never_and_over_already)
{
    const struct coil_http_timeouts never = { COIL_NEVER, COIL_NEVER,
                                              COIL_NEVER, COIL_NEVER };
    const struct coil_http_timeouts no_time = { .total_ns = INT64_MIN };
    const struct coil_http_timeouts no_connect = { .connect_ns = INT64_MIN };
    const struct coil_http_timeouts no_wait = { .pool_ns = INT64_MIN };
    CHECK_INT(RUN(extremes, .limits = never), 0);
    STRIKES(TOTAL, extremes, .limits = no_time);
    STRIKES(CONNECT, extremes, .limits = no_connect);
    CHECK_INT(RUN(extremes, .limits = no_wait), 0);
}

/* Each piece is awaited by a task of its own, which may be cancelled. */
#define BREATH WAITS(COIL_US(100))

struct impatient {
    STAGE;
    struct coil_task *task;
    unsigned seed;
    size_t got_n;
    char got[64];
};

static void impatient(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/", { SAYS(OK(5)), BREATH, SAYS("a"), BREATH, SAYS("b"), BREATH,
                 SAYS("c"), BREATH, SAYS("d"), BREATH, SAYS("e") } },
        { 0 }
    };
    ASYNC(impatient, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = coil_http_session_new(NULL);
        AWAIT_TO(my->response, coil_http_get(my->session, my->origin.url));
        for (my->n = 1; my->n > 0;) {
            my->task = coil_spawn(coil_http_response_next(my->response));
            my->seed = my->seed * 1664525 + 1013904223;
            for (my->i = (int)(my->seed >> 26); my->i > 0; my->i--)
                AWAIT(coil_sleep(0));
            coil_task_cancel(my->task);
            TRY_AWAIT_TO(my->err, my->n, my->task);
            coil_task_drop(&my->task);
            CHECK(my->err == 0 || my->err == -ECANCELED);
            if (my->err == 0 && my->n > 0) {
                memcpy(my->got + my->got_n,
                       coil_http_response_piece(my->response), my->n);
                my->got_n += my->n;
            }
        }
        CHECK_STR(my->got, "abcde");

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// What succeeded all the same is not lost: the piece is returned, or stays.
TEST(http_a_piece_is_not_lost_to_a_cancellation)
{
    for (unsigned seed = 1; seed <= 100; seed++) {
        test_note("seed %u", seed);
        CHECK_INT(RUN(impatient, .seed = seed), 0);
    }
}

/* A listener whose queue is full: connections to it neither come nor go. */
struct black_hole {
    STAGE;
    int fd, fds[4];
    struct coil_addr addr;
    char url[64];
    const char *words;
    struct coil_http_timeouts limits;
};

static void dig(struct black_hole *my)
{
    struct coil_addr any;
    CHECK_INT(coil_addr_from_ip(&any, "127.0.0.1", 0), 0);
    my->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(my->fd, &any.u.sa, any.len), 0);
    CHECK_INT(listen(my->fd, 0), 0);
    CHECK_INT(coil_addr_local(&my->addr, my->fd), 0);
    for (int i = 0; i < 4; i++) {
        my->fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
                            0);
        connect(my->fds[i], &my->addr.u.sa, my->addr.len);
    }
    snprintf(my->url, sizeof my->url, "http://127.0.0.1:%u/",
             coil_addr_port(&my->addr));
}

static void black_hole(struct coil_coro *co)
{
    ASYNC(black_hole, my) {
        dig(my);
        my->session = coil_http_session_new(NULL);
        TRY_AWAIT_TO(my->err, my->response,
                     coil_http_send(my->session, &(struct coil_http_request){
                                                     .url = my->url,
                                                     .timeouts = my->limits }));
        CHECK_ERR(my->err, -ETIMEDOUT, COIL_PHASE_CONNECT);
        CHECK_STR(explained(my->err), my->words);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        for (int i = 0; i < 4; i++)
            close(my->fds[i]);
        close(my->fd);
    }
}

TEST(http_connect_time_out_and_total_strike_while_connecting)
{
    const struct coil_http_timeouts connect_ns = { .connect_ns = COIL_MS(30) };
    const struct coil_http_timeouts total = { .total_ns = COIL_MS(30) };
    CHECK_INT(RUN(black_hole, .limits = connect_ns,
                  .words = "connect: Timed out: connect_ns has passed"),
              0);
    CHECK_INT(RUN(black_hole, .limits = total,
                  .words = "connect: Timed out: total_ns has passed"),
              0);
}

/* The time is over while the user looks at bytes that he was shown. */
struct lent {
    STAGE;
    struct coil_http_response *other;
    bool by_close;
    size_t n2;
};

static bool all_x(const char *at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (at[i] != 'x')
            return false;
    return true;
}

static void lent(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/x", { SAYS(OK(200000)), POURS(100000), THEN(HANG) } },
        { 0 },
    };
    ASYNC(lent, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = coil_http_session_new(NULL);
        AWAIT_TO(my->response,
                 coil_http_send(my->session,
                                &(struct coil_http_request){
                                    .url = origin_url(&my->origin, "/x"),
                                    .timeouts.total_ns = COIL_MS(300) }));
        AWAIT_TO(my->n, coil_http_response_next(my->response));
        if (my->by_close) {
            AWAIT(coil_http_session_close(my->session));
            my->session = coil_http_session_new(NULL);
        } else {
            AWAIT(coil_sleep(COIL_MS(500)));
        }
        /* Others use whatever buffers there are. */
        for (; my->i < 20; my->i++)
            AWAIT(CALL(fetch, .session = my->session,
                       .request = { .url = origin_url(&my->origin, "/yyy") }));
        CHECK(all_x(coil_http_response_piece(my->response), my->n));
        CHECK_INT(my->origin.resets, 0);
        TRY_AWAIT_TO(my->err, my->n, coil_http_response_next(my->response));
        CHECK_ERR(my->err, my->by_close ? COIL_ECLOSED : -ETIMEDOUT,
                  COIL_PHASE_BODY);
        while (my->origin.resets == 0)
            AWAIT(coil_sleep(COIL_MS(1)));

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// A piece may be on its way into a file when the time is over: its buffer must
// not go to the next connection's bytes before its user asks for more.
TEST(http_a_piece_stays_whole_when_the_connection_is_taken_away)
{
    const struct coil_loop_options few = { .size = sizeof few,
                                           .recv_buffers = 4,
                                           .recv_buffer_bytes = 4096 };
    CHECK_INT(RUN_WITH(&few, lent), 0);
    CHECK_INT(RUN_WITH(&few, lent, .by_close = true), 0);
}

/* The last piece is shown, and nobody was told yet that it is the last. */
struct last_piece {
    STAGE;
    bool by_close;
};

static void last_piece(struct coil_coro *co)
{
    ASYNC(last_piece, my) {
        CHECK_INT(origin_open(&my->origin, NULL), 0);
        my->session = coil_http_session_new(NULL);
        AWAIT_TO(my->response,
                 coil_http_send(my->session,
                                &(struct coil_http_request){
                                    .url = origin_url(&my->origin, "/all"),
                                    .timeouts.total_ns = COIL_MS(400) }));
        AWAIT_TO(my->n, coil_http_response_next(my->response));
        CHECK_INT(my->n, 4);
        if (my->by_close) {
            AWAIT(coil_http_session_close(my->session));
            my->session = NULL;
        } else {
            AWAIT(coil_sleep(COIL_MS(700)));
        }
        CHECK(memcmp(coil_http_response_piece(my->response), "/all", 4) == 0);
        for (; my->i < 2; my->i++) {
            AWAIT_TO(my->n, coil_http_response_next(my->response));
            CHECK_INT(my->n, 0);
        }

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// All of it came in time: what happens to the connection after that is of no
// interest to its reader.
TEST(http_a_body_that_is_all_there_has_ended)
{
    CHECK_INT(RUN(last_piece), 0);
    CHECK_INT(RUN(last_piece, .by_close = true), 0);
}

/* ---- A second try ----------------------------------------------------- */

struct retries {
    STAGE;
    const char *path, *method;
    bool no_retry;
    unsigned accepted, requests;
    const char *body;
};

/* What the server does with the request on a connection used before. */
static void retries(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/closes", { THEN(CLOSE) } },
        { "/resets", { THEN(RESET) } },
        { "/begins", { SAYS("H"), THEN(CLOSE) } },
        { "/interim", { SAYS("HTTP/1.1 102 Wait\r\n\r\n"), THEN(CLOSE) } },
        { 0 },
    };
    ASYNC(retries, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = 1;
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = coil_http_session_new(&o);
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->origin.url }));
        TRY_AWAIT(my->err,
                  CALL(fetch, .session = my->session,
                       .request = { .url = origin_url(&my->origin, my->path),
                                    .method = my->method,
                                    .body = my->body,
                                    .body_size = my->body ? strlen(my->body)
                                                          : 0,
                                    .no_retry = my->no_retry }));
        CHECK_INT(my->origin.accepted, my->accepted);
        CHECK_INT(my->origin.requests, my->requests);
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->origin.url }));
        if (my->err < 0)
            FAIL(my->err);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// Twice at most, and the second time over a connection that is new.
TEST(http_a_request_is_repeated_once_if_a_kept_connection_was_dead)
{
    CHECK_INT(RUN(retries, .path = "/closes", .accepted = 2, .requests = 3),
              COIL_EDISCONNECTED);
    CHECK_INT(RUN(retries, .path = "/resets", .accepted = 2, .requests = 3),
              -ECONNRESET);
    CHECK_INT(RUN(retries, .path = "/closes", .method = "PUT", .body = "again",
                  .accepted = 2, .requests = 3),
              COIL_EDISCONNECTED);
}

TEST(http_a_request_that_may_have_been_heard_is_not_repeated)
{
    CHECK_INT(RUN(retries, .path = "/closes", .method = "POST", .accepted = 1,
                  .requests = 2),
              COIL_EDISCONNECTED);
    CHECK_INT(RUN(retries, .path = "/closes", .method = "get", .accepted = 1,
                  .requests = 2),
              COIL_EDISCONNECTED);
    CHECK_INT(RUN(retries, .path = "/closes", .no_retry = true, .accepted = 1,
                  .requests = 2),
              COIL_EDISCONNECTED);
    CHECK_INT(RUN(retries, .path = "/begins", .accepted = 1, .requests = 2),
              COIL_EINCOMPLETE);
    CHECK_INT(RUN(retries, .path = "/interim", .accepted = 1, .requests = 2),
              COIL_EINCOMPLETE);
}

/* A server that keeps no connection, but does not say so. */
struct second_try {
    STAGE;
};

static void second_try(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/last", { SAYS(OK(1) "."), WAITS(COIL_MS(1)), THEN(RESET) } },
        { 0 },
    };
    ASYNC(second_try, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = coil_http_session_new(NULL);
        for (; my->i < 20; my->i++) {
            AWAIT(CALL(fetch, .session = my->session,
                       .request = { .url = origin_url(&my->origin, "/last") }));
            AWAIT(coil_sleep(COIL_US(100 * my->i)));
        }

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// The oldest complaint about every HTTP client: whenever the server closes,
// before, during or after the request, a GET gets its answer.
TEST(http_a_server_closing_kept_connections_goes_unnoticed)
{
    CHECK_INT(RUN(second_try), 0);
}

/* ---- Bodies that are sent --------------------------------------------- */

struct uploads {
    STAGE;
    const char *path;
    char *body;
    size_t size;
    unsigned accepted;
    int64_t total_ns, read_ns;
};

static void uploads(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/deaf", { THEN(DEAF), WAITS(COIL_SECONDS(60)) } },
        { "/half", { SAYS("HTTP/1.1 2"), WAITS(COIL_MS(5)), SAYS("00 OK\r\n"),
                     THEN(HANG) } },
        { "/early-413",
          { THEN(DEAF),
            SAYS("HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\n\r\nmuch"),
            WAITS(COIL_SECONDS(60)) } },
        { "/early-200",
          { THEN(DEAF), SAYS(OK(4) "fine"), WAITS(COIL_MS(20)),
            THEN(HEAR) } },
        { "/early-and-deaf",
          { THEN(DEAF), SAYS(OK(4) "fine"), WAITS(COIL_SECONDS(60)) } },
        { "/leaves", { THEN(DEAF), WAITS(COIL_MS(20)), THEN(CLOSE) } },
        { "/answers-and-leaves",
          { THEN(DEAF), SAYS(OK(4) "fine"), WAITS(COIL_MS(20)),
            THEN(CLOSE) } },
        { 0 },
    };
    ASYNC(uploads, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        /* Or the kernel may take a body that is not read to its end. */
        my->origin.rcvbuf = 32768;
        my->session = coil_http_session_new(NULL);
        AWAIT_TO(my->response,
                 coil_http_send(my->session,
                                &(struct coil_http_request){
                                    .url = origin_url(&my->origin, my->path),
                                    .method = "PUT",
                                    .body = my->body,
                                    .body_size = my->size,
                                    .timeouts.total_ns = my->total_ns,
                                    .timeouts.read_ns = my->read_ns }));
        my->i = coil_http_response_status(my->response);
        AWAIT(coil_http_response_read(my->response));
        coil_http_response_free(my->response);
        my->response = NULL;
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->origin.url }));
        CHECK_INT(my->origin.accepted, my->accepted);
        RETURN(my->i);

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_bodies_of_any_size_are_sent_whole)
{
    static const size_t sizes[] = { 1, 16384, 16385, 1000000, 20000000 };
    int status = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *body = malloc(sizes[i]);
        memset(body, 'b', sizes[i]);
        CHECK_INT(RUN_TO(status, uploads, .path = "/up", .body = body,
                         .size = sizes[i], .accepted = 1),
                  0);
        CHECK_INT(status, 200);
        free(body);
    }
}

// A server that refuses reads no further: who insists on sending all of it
// before he listens waits for ever. The connection is of no use after that.
TEST(http_an_early_refusal_ends_the_upload)
{
    size_t size = VAST;
    char *body = calloc(1, size);
    int status = 0;
    CHECK_INT(RUN_TO(status, uploads, .path = "/early-413", .body = body,
                     .size = size, .accepted = 2),
              0);
    CHECK_INT(status, 413);
    free(body);
}

// The answer is given when the body is sent. Whether the server has read it is
// not known, so the connection is not used again.
TEST(http_an_early_success_waits_for_the_upload)
{
    size_t size = VAST;
    char *body = calloc(1, size);
    int status = 0;
    CHECK_INT(RUN_TO(status, uploads, .path = "/early-200", .body = body,
                     .size = size, .accepted = 2),
              0);
    CHECK_INT(status, 200);
    free(body);
}

// The kernel has taken the body, and the server reads none of it: the next
// request over this connection would wait for ever.
TEST(http_an_answer_before_the_end_of_the_upload_keeps_no_connection)
{
    size_t size = 400000;
    char *body = calloc(1, size);
    int status = 0;
    CHECK_INT(RUN_TO(status, uploads, .path = "/early-and-deaf", .body = body,
                     .size = size, .accepted = 2),
              0);
    CHECK_INT(status, 200);
    free(body);
}

/* An upload is cancelled when the answer, without a body, is there already. */
struct cancelled_upload {
    STAGE;
    struct coil_task *task;
    const char *path;
    char *body;
    size_t size;
};

static void cancelled_upload(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/early-200", { THEN(DEAF), SAYS(OK(0)), WAITS(COIL_SECONDS(60)) } },
        { "/early-204",
          { THEN(DEAF), SAYS("HTTP/1.1 204 No\r\n\r\n"),
            WAITS(COIL_SECONDS(60)) } },
        { 0 },
    };
    ASYNC(cancelled_upload, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = coil_http_session_new(NULL);
        my->task = SPAWN(fetch, .session = my->session,
                         .request = { .url = origin_url(&my->origin, my->path),
                                      .method = "PUT",
                                      .body = my->body,
                                      .body_size = my->size });
        while (my->origin.requests == 0)
            AWAIT(coil_sleep(COIL_MS(1)));
        AWAIT(coil_sleep(COIL_MS(50)));
        CHECK(!coil_task_done(my->task));
        coil_task_cancel(my->task);
        TRY_AWAIT(my->err, my->task);
        CHECK_INT(my->err, -ECANCELED);
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->origin.url,
                                .timeouts.total_ns = COIL_SECONDS(2) }));
        CHECK_INT(my->origin.accepted, 2);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// To the server the next request would be the rest of that body.
TEST(http_a_connection_with_half_a_body_on_it_is_never_used_again)
{
    size_t size = VAST;
    char *body = calloc(1, size);
    CHECK_INT(RUN(cancelled_upload, .path = "/early-200", .body = body,
                  .size = size),
              0);
    CHECK_INT(RUN(cancelled_upload, .path = "/early-204", .body = body,
                  .size = size),
              0);
    free(body);
}

// A connection that ends is an error, unless there is an answer.
TEST(http_a_server_that_leaves_in_mid_upload_is_noticed)
{
    char *body = calloc(1, VAST);
    int err = RUN(uploads, .path = "/leaves", .body = body, .size = VAST);
    CHECK(err == -EPIPE || err == -ECONNRESET || err == COIL_EDISCONNECTED);
    CHECK_INT(RUN(uploads, .path = "/answers-and-leaves", .body = body,
                  .size = VAST, .accepted = 2),
              0);
    free(body);
}

// The server waits for the rest of the body, and we would wait for its answer.
// The second body breaks off when an answer has come, and is of no use either.
TEST(http_an_upload_that_fails_on_our_side_ends_the_request)
{
    size_t half = (size_t)24 << 20;
    char *body = mmap(NULL, 2 * half, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(body != MAP_FAILED);
    CHECK_INT(mprotect(body + half, half, PROT_NONE), 0);
    CHECK_INT(RUN(uploads, .path = "/deaf", .body = body + half, .size = half,
                  .total_ns = COIL_SECONDS(20)),
              -EFAULT);
    CHECK_INT(RUN(uploads, .path = "/early-200", .body = body, .size = 2 * half,
                  .total_ns = COIL_SECONDS(20)),
              -EFAULT);
    munmap(body, 2 * half);
}

TEST(http_total_strikes_in_mid_upload)
{
    size_t size = VAST;
    char *body = calloc(1, size);
    CHECK_INT(RUN(uploads, .path = "/early-and-deaf", .body = body,
                  .size = size, .total_ns = COIL_MS(100)),
              -ETIMEDOUT);
    CHECK_INT(RUN(uploads, .path = "/deaf", .body = body, .size = size,
                  .total_ns = COIL_MS(100)),
              -ETIMEDOUT);
    free(body);
}

// While the body is on its way it is not the server's turn; then it is.
TEST(http_read_time_out_begins_when_the_body_is_sent)
{
    size_t size = 100000;
    char *body = calloc(1, size);
    CHECK_INT(RUN(uploads, .path = "/half", .body = body, .size = size,
                  .read_ns = COIL_MS(50)),
              -ETIMEDOUT);
    free(body);
}

/* ---- Ends ------------------------------------------------------------- */

struct unread {
    STAGE;
    const char *path;
    bool read;
    unsigned accepted;
    int64_t pool_ns;
};

/* One slot: the second request needs that of the first. */
static void unread(struct coil_coro *co)
{
    static const struct route routes[] = {
        { "/late",
          { SAYS(OK(2)), WAITS(COIL_MS(5)), SAYS("a"), WAITS(COIL_MS(5)),
            SAYS("b") } },
        { "/chunks",
          { SAYS("HTTP/1.1 200 OK\r\n"
                 "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"),
            WAITS(COIL_MS(5)), SAYS("1\r\nb\r\n0\r\n\r\n") } },
        { "/never", { SAYS(OK(2) "a"), THEN(HANG) } },
        { "/ends", { SAYS(OK(2) "a"), WAITS(COIL_MS(5)), THEN(CLOSE) } },
        { "/broken",
          { SAYS("HTTP/1.1 200 OK\r\n"
                 "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n"),
            WAITS(COIL_MS(5)), SAYS("!"), WAITS(COIL_SECONDS(60)) } },
        { "/much", { SAYS(OK(65538)), THEN(HANG) } },
        { "/endless", { SAYS("HTTP/1.1 200 OK\r\n\r\na"), THEN(HANG) } },
        { "/close",
          { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
                 "Connection: close\r\n\r\na"),
            THEN(HANG) } },
        { 0 },
    };
    ASYNC(unread, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = 1;
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = coil_http_session_new(&o);
        AWAIT_TO(my->response,
                 coil_http_get(my->session, origin_url(&my->origin, my->path)));
        if (my->read)
            AWAIT_TO(my->n, coil_http_response_next(my->response));
        test_forbid_allocations(true);
        coil_http_response_free(my->response);
        test_forbid_allocations(false);
        CHECK_INT(test_forbidden_allocations(), 0);
        my->response = NULL;
        AWAIT_TO(
            my->response,
            coil_http_send(my->session, &(struct coil_http_request){
                                            .url = my->origin.url,
                                            .timeouts.pool_ns = my->pool_ns }));
        CHECK_INT(my->origin.accepted, my->accepted);

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// The slot is free in the same pass.
TEST(http_a_response_not_read_to_its_end_closes_the_connection)
{
    CHECK_INT(RUN(unread, .path = "/much", .accepted = 2, .pool_ns = 1), 0);
    CHECK_INT(RUN(unread, .path = "/endless", .accepted = 2, .pool_ns = 1), 0);
    CHECK_INT(RUN(unread, .path = "/close", .accepted = 2, .pool_ns = 1), 0);
}

// The last piece is the end, also if nobody was told so.
TEST(http_a_response_freed_after_its_last_piece_keeps_the_connection)
{
    CHECK_INT(
        RUN(unread, .path = "/x", .read = true, .accepted = 1, .pool_ns = 1),
        0);
}

// A body that is here costs nothing, and one that is small costs less than
// another connection.
TEST(http_a_response_freed_with_little_left_keeps_the_connection)
{
    CHECK_INT(RUN(unread, .path = "/x", .accepted = 1, .pool_ns = 1), 0);
    CHECK_INT(RUN(unread, .path = "/late", .accepted = 1), 0);
    CHECK_INT(RUN(unread, .path = "/late", .read = true, .accepted = 1), 0);
    CHECK_INT(RUN(unread, .path = "/chunks", .accepted = 1), 0);
}

TEST(http_a_rest_that_does_not_come_is_not_waited_for_long)
{
    CHECK_INT(RUN(unread, .path = "/never", .accepted = 2), 0);
    CHECK_INT(RUN(unread, .path = "/ends", .accepted = 2), 0);
    CHECK_INT(RUN(unread, .path = "/broken", .accepted = 2), 0);
}

struct closes {
    STAGE;
    struct coil_task *tasks[6];
    struct coil_http_session *after;
    int64_t wait_ns;
};

static const char *const close_paths[] = { "/silent", "/half-head",
                                           "/half-body", "/slow",
                                           "/delay/5",   "/delay/0" };

static void closes(struct coil_coro *co)
{
    ASYNC(closes, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = 4;
        CHECK_INT(origin_open(&my->origin, slow_routes), 0);
        my->session = coil_http_session_new(&o);
        for (int i = 0; i < 6; i++)
            my->tasks[i] = SPAWN(fetch, .session = my->session,
                                 .request = { .url = origin_url(
                                                  &my->origin,
                                                  close_paths[i]) });
        AWAIT(coil_sleep(my->wait_ns));
        AWAIT(coil_http_session_close(my->session));
        my->session = NULL;
        for (; my->i < 6; my->i++) {
            TRY_AWAIT(my->err, my->tasks[my->i]);
            if (my->i < 3)
                CHECK_INT(my->err, COIL_ECLOSED);
            else
                CHECK(my->err == 0 || my->err == COIL_ECLOSED);
        }

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_close_ends_everything_wherever_it_is)
{
    for (int ms = 0; ms < 60; ms += 3)
        CHECK_INT(RUN(closes, .wait_ns = COIL_MS(ms)), 0);
}

/* The closer is cancelled while it closes. */
struct closer {
    struct coil_coro coro;
    struct coil_http_session **session;
    int *state;
};

static void closer(struct coil_coro *co)
{
    ASYNC(closer, my) {
        *my->state = 1;
        struct coil_http_session *session = *my->session;
        *my->session = NULL;
        AWAIT(coil_http_session_close(session));
        *my->state = 2;
        AWAIT(coil_sleep(COIL_SECONDS(60)));
        *my->state = 3;
    }
}

struct cancelled_close {
    STAGE;
    struct coil_task *task, *request;
    int state;
};

static void cancelled_close(struct coil_coro *co)
{
    ASYNC(cancelled_close, my) {
        CHECK_INT(origin_open(&my->origin, slow_routes), 0);
        my->session = coil_http_session_new(NULL);
        my->request = SPAWN(fetch, .session = my->session,
                            .request = { .url = origin_url(&my->origin,
                                                           "/silent") });
        AWAIT(coil_sleep(COIL_MS(5)));
        my->task = SPAWN(closer, .session = &my->session, .state = &my->state);
        AWAIT(coil_sleep(0));
        CHECK_INT(my->state, 1);
        coil_task_cancel(my->task);
        TRY_AWAIT(my->err, my->task);
        CHECK_INT(my->err, -ECANCELED);
        CHECK_INT(my->state, 2);
        CHECK(coil_task_done(my->request));
        TRY_AWAIT(my->err, my->request);
        CHECK_INT(my->err, COIL_ECLOSED);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

// All of it is closed first; then the request strikes at the next await.
TEST(http_close_is_not_stopped_by_a_cancellation)
{
    CHECK_INT(RUN(cancelled_close), 0);
}

struct survives {
    STAGE;
    struct coil_future *never;
};

static void survives(struct coil_coro *co)
{
    ASYNC(survives, my) {
        CHECK_INT(origin_open(&my->origin, NULL), 0);
        my->session = coil_http_session_new(NULL);
        my->never = coil_http_get(my->session, my->origin.url);
        AWAIT_TO(my->response,
                 coil_http_get(my->session, origin_url(&my->origin, "/kept")));
        AWAIT(coil_http_response_read(my->response));
        AWAIT(coil_http_session_close(my->session));
        CHECK_STR(coil_http_response_body(my->response), "/kept");
        CHECK_STR(coil_http_response_header(my->response, "content-length"),
                  "5");
        TRY_AWAIT(my->err, my->never);
        CHECK_ERR(my->err, COIL_ECLOSED, COIL_PHASE_POOL);

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(origin_close(&my->origin));
    }
}

// A request made before and awaited after the close finds its session closed,
// not gone.
TEST(http_responses_and_requests_outlive_the_session)
{
    CHECK_INT(RUN(survives), 0);
}

struct late_user {
    STAGE;
    struct coil_task *tasks[3];
};

static void late_user(struct coil_coro *co)
{
    ASYNC(late_user, my) {
        my->session = coil_http_session_new(NULL);
        for (my->i = 0; my->i < 3; my->i++)
            my->tasks[my->i] = SPAWN(fetch, .session = my->session,
                                     .request = { .url = "http://localhost/" });
        AWAIT(coil_http_session_close(my->session));
        for (my->i = 0; my->i < 3; my->i++) {
            TRY_AWAIT(my->err, my->tasks[my->i]);
            CHECK_INT(my->err, COIL_ECLOSED);
        }
    }
}

// They were spawned before the close, and begin after it.
TEST(http_tasks_that_have_not_begun_when_the_session_closes_are_told)
{
    CHECK_INT(RUN(late_user), 0);
}

struct forgets {
    STAGE;
};

static void forgets(struct coil_coro *co)
{
    ASYNC(forgets, my) {
        CHECK_INT(origin_open(&my->origin, slow_routes), 0);
        my->session = coil_http_session_new(NULL);
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->origin.url }));
        coil_discard(coil_http_get(my->session, my->origin.url));
        START(fetch, .session = my->session,
              .request = { .url = origin_url(&my->origin, "/silent") });
        AWAIT(coil_sleep(COIL_MS(5)));

    FINALLY;
        AWAIT(origin_close(&my->origin));
    }
}

static void note_exception(const struct coil_exception *what, void *arg)
{
    snprintf(arg, 200, "%s: %s", what->name, what->message);
}

// The loop would wait for its connections for ever if it did not.
TEST(http_a_session_nobody_closed_is_named_and_closed_with_the_loop)
{
    char said[200] = "";
    const struct coil_loop_options options = { .size = sizeof options,
                                               .on_exception = note_exception,
                                               .on_exception_arg = said };
    CHECK_INT(RUN_WITH(&options, forgets), 0);
    CHECK_STR(said, "session_close: a coroutine was never awaited");
}

struct frees_in_use {
    STAGE;
};

static void frees_in_use(struct coil_coro *co)
{
    ASYNC(frees_in_use, my) {
        CHECK_INT(origin_open(&my->origin, slow_routes), 0);
        my->session = coil_http_session_new(NULL);
        AWAIT_TO(
            my->response,
            coil_http_get(my->session, origin_url(&my->origin, "/half-body")));
        START(reads_too, .response = my->response);
        AWAIT(coil_sleep(0));
        coil_http_response_free(my->response);
    }
}

DEATH_TEST(http_a_response_freed_while_it_is_read_aborts,
           "freed while a task reads it")
{
    (void)RUN(frees_in_use);
}

/* ---- Hosts ------------------------------------------------------------ */

struct hosts {
    STAGE;
    const char *ip, *host;
    char url[100];
};

static void hosts(struct coil_coro *co)
{
    ASYNC(hosts, my) {
        my->err = origin_open_at(&my->origin, my->ip, NULL);
        if (my->err < 0)
            FAIL(-EAFNOSUPPORT);
        snprintf(my->url, sizeof my->url, "http://%s:%u/there", my->host,
                 my->origin.port);
        my->session = coil_http_session_new(NULL);
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->url }));

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

TEST(http_localhost_is_this_machine_without_a_resolver)
{
    CHECK_INT(RUN(hosts, .ip = "127.0.0.1", .host = "localhost"), 0);
    CHECK_INT(RUN(hosts, .ip = "127.0.0.1", .host = "LocalHost."), 0);
}

// The first address refuses: the next is tried.
TEST(http_every_address_of_a_host_is_tried)
{
    int err = RUN(hosts, .ip = "::1", .host = "[::1]");
    if (err == -EAFNOSUPPORT)
        SKIP("no IPv6 here");
    CHECK_INT(err, 0);
    CHECK_INT(RUN(hosts, .ip = "::1", .host = "localhost"), 0);
}

struct nobody_there {
    STAGE;
    const char *host;
    char url[100];
};

static void nobody_there(struct coil_coro *co)
{
    ASYNC(nobody_there, my) {
        CHECK_INT(origin_open(&my->origin, NULL), 0);
        snprintf(my->url, sizeof my->url, "http://%s:%u/", my->host,
                 my->origin.port);
        AWAIT(origin_close(&my->origin));
        my->session = coil_http_session_new(NULL);
        TRY_AWAIT_TO(my->err, my->response,
                     coil_http_get(my->session, my->url));
        CHECK_ERR(my->err, -ECONNREFUSED, COIL_PHASE_CONNECT);
        CHECK_STR(explained(my->err), "connect: Connection refused");
        TRY_AWAIT_TO(
            my->err, my->response,
            coil_http_get(my->session, "http://no-such-host.invalid/"));
        CHECK_ERR(my->err, COIL_ERESOLVE, COIL_PHASE_RESOLVE);
        CHECK(strncmp(explained(my->err),
                      "resolve: The name does not resolve: ", 36) == 0);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
    }
}

TEST(http_a_host_that_is_not_there_is_an_error_of_its_phase)
{
    CHECK_INT(RUN(nobody_there, .host = "127.0.0.1"), 0);
    CHECK_INT(RUN(nobody_there, .host = "localhost"), 0);
}

/* ---- Out of memory ---------------------------------------------------- */

/*
 * A server of another process, so that what fails is the client; of a
 * grandchild, which the harness does not take for a leak. It answers with 300
 * bytes, in two pieces that split the head.
 */
static struct {
    pid_t pid;
    char url[64];
} frugal;

static void frugal_answer(int fd)
{
    static char in[65536], out[400];
    int head = sprintf(out, "HTTP/1.1 200 OK\r\nContent-Length: 300\r\n"
                            "X-A: 1\r\n\r\n");
    ssize_t n;
    memset(out + head, '.', 300);
    while ((n = read(fd, in, sizeof in)) > 0) {
        /* a large body comes in many pieces; its end is a '$' */
        if (in[0] != 'G' && in[n - 1] != '$')
            continue;
        if (send(fd, out, 30, MSG_NOSIGNAL) < 0)
            break;
        usleep(200);
        if (send(fd, out + 30, (size_t)head + 270, MSG_NOSIGNAL) < 0)
            break;
    }
    close(fd);
}

static void frugal_open(void)
{
    struct coil_addr addr;
    CHECK_INT(coil_addr_from_ip(&addr, "127.0.0.1", 0), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(fd, &addr.u.sa, addr.len), 0);
    CHECK_INT(listen(fd, 100), 0);
    CHECK_INT(coil_addr_local(&addr, fd), 0);
    snprintf(frugal.url, sizeof frugal.url, "http://127.0.0.1:%u/",
             coil_addr_port(&addr));
    int tell[2];
    CHECK_INT(pipe(tell), 0);
    pid_t child = fork();
    if (child == 0) {
        pid_t pid = fork();
        if (pid == 0)
            for (;;)
                frugal_answer(accept(fd, NULL, NULL));
        _exit(write(tell[1], &pid, sizeof pid) != sizeof pid);
    }
    int status;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(status, 0);
    CHECK_INT(read(tell[0], &frugal.pid, sizeof frugal.pid), sizeof(pid_t));
    close(tell[0]);
    close(tell[1]);
    close(fd);
}

struct frugally {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_http_response *response;
    struct coil_task *one, *two;
    int err;
};

static char frugal_body[100000];
static struct coil_http_header frugal_headers[40];

static void frugally(struct coil_coro *co)
{
    ASYNC(frugally, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = 1;
        o.timeouts.read_ns = COIL_SECONDS(20);
        my->session = coil_http_session_new(&o);
        if (!my->session)
            FAIL(-ENOMEM);
        my->one = SPAWN(fetch, .session = my->session,
                        .request = { .url = frugal.url });
        my->two = SPAWN(fetch, .session = my->session,
                        .request = { .url = frugal.url,
                                     .method = "PUT",
                                     .headers = frugal_headers,
                                     .headers_n = 40,
                                     .timeouts.pool_ns = COIL_SECONDS(20),
                                     .body = frugal_body,
                                     .body_size = sizeof frugal_body });
        TRY_AWAIT(my->err, my->two);
        AWAIT(my->one);
        if (my->err < 0)
            FAIL(my->err);
        AWAIT_TO(my->response, coil_http_get(my->session, frugal.url));
        AWAIT(coil_http_response_next(my->response));

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
    }
}

static int frugal_run(void)
{
    return RUN(frugally);
}

// Waiting in line, a head in two pieces, many headers, a large body: each of
// their blocks fails once, and nothing is lost.
TEST(http_survives_every_allocation_that_fails)
{
    test_timeout(120);
    memset(frugal_body, '-', sizeof frugal_body);
    frugal_body[sizeof frugal_body - 1] = '$';
    for (int i = 0; i < 40; i++)
        frugal_headers[i] = (struct coil_http_header){ "X-Many", "times" };
    frugal_open();
    test_every_allocation(frugal_run);
    kill(frugal.pid, SIGKILL);
}

struct starved {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_http_response *response;
    int err;
};

static void starved(struct coil_coro *co)
{
    ASYNC(starved, my) {
        my->session = coil_http_session_new(NULL);
        TRY_AWAIT_TO(my->err, my->response,
                     coil_http_get(my->session, "ftp://x/"));
        TRY_AWAIT_TO(my->err, my->response,
                     coil_http_get(my->session, frugal.url));
        if (my->err < 0) {
            CHECK_INT(COIL_DETAIL_CODE(coil_last_detail()), 0);
            FAIL(my->err);
        }
        AWAIT(coil_http_response_read(my->response));

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
    }
}

static int starved_run(void)
{
    return RUN(starved);
}

// The detail of an error from long ago would name a fault that is none.
TEST(http_without_memory_an_error_says_nothing_else)
{
    test_timeout(120);
    frugal_open();
    test_every_allocation(starved_run);
    kill(frugal.pid, SIGKILL);
}
