// SPDX-License-Identifier: MIT
#ifndef COIL_HTTP_H
#define COIL_HTTP_H

/*
 * http.h: an HTTP client.
 *
 *     my->session = coil_http_session_new(NULL);
 *     AWAIT_TO(my->response, coil_http_get(my->session, "http://localhost/"));
 *     AWAIT(coil_http_response_read(my->response));
 *     puts(coil_http_response_body(my->response));
 *
 *     FINALLY;
 *         coil_http_response_free(my->response);
 *         AWAIT(coil_http_session_close(my->session));
 *
 * A session keeps connections for the next request to the same scheme, host and
 * port.
 * It never has more than options.limit of them; who finds none free waits his
 * turn, first come, first served. A response of any status is a response: 404
 * is no error.
 *
 * What fails says in which phase (error.h), and coil_explain() puts it into
 * words:
 *
 *     -ETIMEDOUT          a time-out, in the phase that it struck
 *     COIL_EURL           not a URL, or one that cannot be fetched
 *     -EINVAL             the method or a header cannot be sent
 *     COIL_ERESOLVE       the name does not resolve
 *     -ECONNREFUSED...    no address could be connected to, or the
 *                         connection broke
 *     COIL_EDISCONNECTED  the peer closed before it answered
 *     COIL_EPROTOCOL      the answer is not HTTP as it should be
 *     COIL_EINCOMPLETE    the answer stopped in the middle
 *     COIL_ELIMIT         the head or the body is larger than allowed
 *     COIL_ECLOSED        the session was closed meanwhile
 *     -ECANCELED, -ENOMEM, -EMFILE...
 *
 * Plain http:// for now: https:// is refused with COIL_EURL.
 */

#include <coil/api.h>
#include <coil/error.h>
#include <coil/future.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

struct coil_http_session;
struct coil_http_response;

/* One header line. Two strings, without line ends. */
struct coil_http_header {
    const char *name;
    const char *value;
};

/*
 * How long to wait for what, in nanoseconds. 0: the default; COIL_NEVER; below
 * 0: not at all.
 */
struct coil_http_timeouts {
    int64_t total_ns;   /* from the await of the request to the body's last
                        byte, all that follows included; 300 s */
    int64_t pool_ns;    /* for a connection to be free; COIL_NEVER */
    int64_t connect_ns; /* for the name to be resolved, and for each of its
                        addresses to answer; 30 s */
    int64_t read_ns;    /* for the next bytes of the answer; does not run while
                        the body is sent, nor while it is you who is not
                        reading; COIL_NEVER */
};

/* ---- Sessions --------------------------------------------------------- */

/* Start with COIL_HTTP_SESSION_OPTIONS_INIT; 0 means the default. */
struct coil_http_session_options {
    size_t size;             /* sizeof(struct coil_http_session_options) */
    unsigned limit;          /* connections in all; 100 */
    unsigned limit_per_host; /* to one scheme, host and port; no limit */
    int64_t keepalive_ns;    /* an unused connection is kept; 15 s */
    size_t body_bytes_max;   /* coil_http_response_read keeps no more; 64 MiB */
    uint32_t head_bytes_max; /* of an answer; 64 KiB; at most 256 KiB - 1 */
    uint16_t line_bytes_max; /* of a line in it; 8190 */
    uint16_t headers_limit;  /* lines in it; 128 */
    struct coil_http_timeouts timeouts;
    const char *user_agent;  /* "coil/VERSION"; "" for none */
    const struct coil_http_header *headers; /* sent with every request that does
                                          not say otherwise */
    size_t headers_n;
    bool no_retry; /* see coil_http_send */
};

#define COIL_HTTP_SESSION_OPTIONS_INIT \
    COILI_OPTIONS_INIT(struct coil_http_session_options)

/*
 * Make a session. One for the whole program is the rule.
 *
 * Result    the session; NULL without memory: requests of NULL fail with
 *           -ENOMEM, to close it is fine
 * Lifetime  gives (coil_http_session_close, awaited); copies `options`, NULL
 *           for the defaults, and all it points to
 * Source    aiohttp.ClientSession with its TCPConnector
 */
COIL_API COIL_NODISCARD struct coil_http_session *
coil_http_session_new(const struct coil_http_session_options *options);

/*
 * Close: requests under way and those who wait for a connection end with
 * COIL_ECLOSED, so does reading their responses; their connections are reset.
 * Then wait until all requests have ended and all connections are closed; but a
 * piece that coil_http_response_next() has shown keeps its connection until the
 * next call with that response. Cannot be cancelled.
 *
 * Result    0
 * Lifetime  takes the session; NULL is fine. Responses stay yours
 * Source    aiohttp ClientSession.close(), which does not wait
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_http_session_close(struct coil_http_session *session);

/* ---- Requests --------------------------------------------------------- */

/* What to send. 0 and NULL are the defaults. */
struct coil_http_request {
    const char *url;
    const char *method;      /* "GET" */
    const struct coil_http_header
        *headers; /* in this order, after Host; one that
                                          the session sends too replaces it.
                                          Not Host, Content-Length and
                                          Transfer-Encoding: -EINVAL */
    size_t headers_n;
    const void *body;
    size_t body_size;
    struct coil_http_timeouts timeouts; /* 0: the session's */
    size_t body_bytes_max;   /* 0: the session's */
    bool no_retry;
};

/*
 * Send a request and wait for the head of its answer.
 *
 *     struct coil_http_request put = { .url = my->url,
 *                                      .method = "PUT",
 *                                      .body = my->text,
 *                                      .body_size = my->size };
 *     AWAIT_TO(my->response, coil_http_send(my->session, &put));
 *
 * Host, User-Agent, Accept and Content-Length are sent by themselves; the URL
 * is sent as you wrote it. Redirects are answers like any other; interim
 * answers (100, 103...) are passed over.
 *
 * The server may have closed a kept connection at the same moment. If nothing
 * of an answer came over a connection that was used before, and the method is
 * one that may be sent twice (GET, HEAD, OPTIONS, TRACE, PUT, DELETE, QUERY),
 * it is sent once more over a new one; `no_retry` says not to.
 *
 * An answer of 300 or above that comes before the whole body is sent stops the
 * sending; one below waits for it.
 *
 * Result    a struct coil_http_response *
 * Errors    see above
 * Lifetime  gives (coil_http_response_free); freed if nobody takes it. Copies
 *           all but `body`, which is lent until it is done
 * Source    aiohttp ClientSession.request()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_http_send(struct coil_http_session *session,
               const struct coil_http_request *request);

/*
 * GET a URL: coil_http_send() with nothing else.
 *
 * Result    a struct coil_http_response *
 * Lifetime  gives (coil_http_response_free); copies `url`
 * Source    aiohttp ClientSession.get()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_http_get(struct coil_http_session *session, const char *url);

/* ---- Responses: the head ---------------------------------------------- */

/* 200, 404... */
COIL_API int
coil_http_response_status(const struct coil_http_response *response);

/* "OK", "Not Found"; "" if the server gave none. Views the response. */
COIL_API const char *
coil_http_response_reason(const struct coil_http_response *response);

/* 10 for HTTP/1.0, 11 for HTTP/1.1. */
COIL_API int
coil_http_response_version(const struct coil_http_response *response);

/* The Content-Length, also of the answer to a HEAD; -1 without one. */
COIL_API int64_t
coil_http_response_content_length(const struct coil_http_response *response);

/*
 * The first header of a name; capitals do not matter.
 *
 * Result    its value, white space around it cut off; NULL without one
 * Lifetime  views the response
 * Source    aiohttp ClientResponse.headers
 */
COIL_API const char *
coil_http_response_header(const struct coil_http_response *response,
                          const char *name);

/*
 * All headers, in the order in which they came.
 *
 *     for (h = coil_http_response_headers(r); h->name; h++)
 *         printf("%s: %s\n", h->name, h->value);
 *
 * Result    an array that ends with a NULL name
 * Lifetime  views the response
 * Source    aiohttp ClientResponse.raw_headers
 */
COIL_API const struct coil_http_header *
coil_http_response_headers(const struct coil_http_response *response);

/* ---- Responses: the body ---------------------------------------------- */

/*
 * Read the body to its end and keep it; not what was taken in pieces before.
 * The connection is free for others when this is done. Read already? Then it is
 * done at once. If it is cancelled, the next call goes on where it stopped.
 *
 * Result    its size, as coil_http_response_size() says
 * Errors    COIL_ELIMIT above body_bytes_max, and those above, in the phase
 *           BODY: the rest is lost; -EBUSY another task reads; -ECANCELED
 * Source    aiohttp ClientResponse.read()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_http_response_read(struct coil_http_response *response);

/*
 * What coil_http_response_read has read, also before it has failed. A NUL
 * stands behind the last byte.
 *
 * Result    "" and 0 before
 * Lifetime  views the response; until coil_http_response_read is called again
 */
COIL_API const char *
coil_http_response_body(const struct coil_http_response *response);
COIL_API size_t
coil_http_response_size(const struct coil_http_response *response);

/*
 * Wait for the next piece of the body, however large it is. It stays where it
 * was received, so nothing is copied, and a server that is faster than you is
 * held back.
 *
 *     for (;;) {
 *         AWAIT_TO(my->n, coil_http_response_next(my->response));
 *         if (my->n == 0)
 *             break;
 *         my->piece = coil_http_response_piece(my->response);
 *         AWAIT(coil_write(my->fd, my->piece, my->n));
 *     }
 *
 * Result    its size; 0 at the end of the body
 * Errors    as coil_http_response_read, but for the limit
 * Source    aiohttp StreamReader.iter_any()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_http_response_next(struct coil_http_response *response);

/*
 * The piece that coil_http_response_next has waited for.
 *
 * Lifetime  views: until the next call that reads or frees the response
 */
COIL_API const char *
coil_http_response_piece(const struct coil_http_response *response);

/*
 * Read the rest of the body and throw it away, so that the connection can be
 * used again.
 *
 * Result    bytes thrown away
 * Errors    as coil_http_response_next
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_http_response_skip(struct coil_http_response *response);

/*
 * Free the response. Its connection is given on if the body was read to its
 * end, and is closed in the background if not. Allocates nothing and does not
 * wait: right for FINALLY.
 *
 * Lifetime  takes the response; NULL is fine
 * Source    aiohttp ClientResponse.close()
 */
COIL_API void coil_http_response_free(struct coil_http_response *response);

COIL_END_DECLS

#endif
