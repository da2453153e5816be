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
 * port. It never has more than options.limit connections; a request that finds
 * none free waits for one, in the order of arrival. A response of any status is
 * a response: 404 is not an error.
 *
 * The detail of an error tells the phase in which the request failed (error.h),
 * and coil_explain() makes a sentence of both:
 *
 *     -ETIMEDOUT          a time-out of the options, in any phase; the code of
 *                         the detail says which one: enum coil_http_clock. A
 *                         time-out of WITHIN or coil_wait_for() has no phase
 *                         and no code; a time-out of the kernel has no code
 *     COIL_EURL           `url` is not a URL, or cannot be fetched; or the
 *                         server redirects to what is no URL
 *     -EINVAL             the method or a header cannot be sent
 *     COIL_ERESOLVE       the name does not resolve
 *     -ECONNREFUSED...    no address of the host could be connected to, or the
 *                         connection failed
 *     COIL_EDISCONNECTED  the server closed the connection before it answered
 *     COIL_EPROTOCOL      the answer is not valid HTTP
 *     COIL_EINCOMPLETE    the connection ended in the middle of the answer
 *     COIL_ELIMIT         the head or the body is larger than the options allow
 *     COIL_EREDIRECT      a redirect is not followed: see "Redirects" below
 *     -EACCES             options.allow_address refuses the address
 *     COIL_ECLOSED        the session was closed meanwhile
 *     -ECANCELED, -ENOMEM, -EMFILE...
 *
 *     COIL_ETLS           TLS failed, mostly in the handshake; tls.h
 *     COIL_ECERT          the certificate of the server is not trusted
 *
 * For https:// a session needs a TLS client, which says which authorities are
 * trusted (tls.h; link coil-tls, too). NULL options mean the system's:
 *
 *     err = coil_tls_client_new(&tls, NULL, &why);
 *     options.tls = tls;
 *
 * Without a TLS client such a URL is refused with COIL_EURL, and a redirect to
 * one with COIL_EREDIRECT. The client offers "http/1.1" (ALPN) if it has no
 * protocols of its own. An error in COIL_PHASE_TLS comes before a byte of the
 * request was sent; COIL_TLS_CODE() is the code in its detail, and
 * coil_explain() has a sentence with the name of the server: see "Redirects"
 * for how long. A server may end a body without a length by ending the
 * connection. TLS tells this from a connection that was cut off:
 * COIL_EINCOMPLETE.
 *
 * A session keeps the TLS sessions of its servers, so that later connections to
 * them begin faster (tls_cache.h).
 */

#include <coil/api.h>
#include <coil/connect.h>
#include <coil/error.h>
#include <coil/future.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

struct coil_http_session;
struct coil_http_response;
struct coil_tls_client;

/* One header line. Two strings, without line ends. */
struct coil_http_header {
    const char *name;
    const char *value;
};

/*
 * Time-outs in nanoseconds. 0 means the default, which stands last in each
 * comment; COIL_NEVER: no time-out; below 0: no time at all.
 */
struct coil_http_timeouts {
    int64_t total_ns;   /* from the await of the request to the last byte of the
                        response's body, with all redirects; 300 s */
    int64_t pool_ns;    /* until a connection is free; COIL_NEVER. Each redirect
                        begins pool_ns, connect_ns and read_ns anew */
    int64_t connect_ns; /* to resolve the name, for each of its addresses to
                        answer, and for the TLS handshake; 30 s */
    int64_t read_ns;    /* until the next bytes of the answer come; does not run
                        while the request's body is sent, nor while no task
                        reads; COIL_NEVER */
};

/*
 * Which time-out has passed: the code in the detail of -ETIMEDOUT.
 *
 *     TRY_AWAIT_TO(my->err, my->response, coil_http_get(my->session, url));
 *     if (my->err == -ETIMEDOUT &&
 *         COIL_DETAIL_CODE(coil_last_detail()) == COIL_HTTP_CLOCK_READ)
 */
enum coil_http_clock {
    COIL_HTTP_CLOCK_TOTAL = 1,
    COIL_HTTP_CLOCK_POOL,
    COIL_HTTP_CLOCK_CONNECT,
    COIL_HTTP_CLOCK_READ,
    COIL_HTTP_CLOCK_HANDSHAKE /* handshake_ns of the TLS client; tls.h */
};

/* ---- Sessions --------------------------------------------------------- */

/*
 * Start with COIL_HTTP_SESSION_OPTIONS_INIT; 0 means the default, which stands
 * last in each comment.
 */
struct coil_http_session_options {
    size_t size;             /* sizeof(struct coil_http_session_options) */
    unsigned limit;          /* connections in all; 100 */
    unsigned limit_per_host; /* to one scheme, host and port; no limit */
    int64_t keepalive_ns;    /* how long an unused connection is kept; shorter
                                if the server's Keep-Alive says so; 15 s */
    size_t body_bytes_max;   /* of a body that is read whole; 64 MiB */
    uint32_t head_bytes_max; /* of an answer, at most 256 KiB - 1; 64 KiB */
    uint16_t line_bytes_max; /* of a line in a head; 8190 */
    uint16_t headers_limit;  /* lines in a head; 128 */
    struct coil_http_timeouts timeouts;
    const char *user_agent;  /* "" for none; "coil/VERSION" */
    const struct coil_http_header *headers; /* sent with each request that does
                                          not have a header of this name */
    size_t headers_n;
    bool no_retry; /* see coil_http_send() */
    bool lenient;  /* accept some answers that break RFC 9112: see below */
    bool no_downgrade; /* do not follow a redirect from https to http */
    int redirects_max; /* followed for one request; COIL_HTTP_NO_REDIRECTS: none
                          is; 10 */
    /*
     * Headers that are secrets: a redirect to another origin drops them, as it
     * drops Authorization, Cookie and Proxy-Authorization.
     */
    const char *const *secret_headers;
    size_t secret_headers_n;
    /*
     * Is asked about each address before a connection to it is made, so also
     * about those of redirects: connect.h. NULL: all are allowed. A kept
     * connection was asked about when it was made.
     */
    coil_allow_address_fn *allow_address;
    void *allow_address_arg;
    struct coil_tls_client *tls; /* for https://; NULL: it is refused */
};

/* As redirects_max: no redirect is followed; each is an answer like others. */
#define COIL_HTTP_NO_REDIRECTS (-1)

/*
 * An answer that two programs could read differently is refused, since a proxy
 * may have read it differently from coil. `lenient` accepts these:
 *
 *   - lines, also those of chunks and trailers, that end with LF alone
 *   - in the head, header lines that are folded: the line ends become spaces
 *   - in the head, white space between the name of a header and its colon
 *   - a Content-Length that is given again with an equal number, in a line of
 *     its own or in a list: `Content-Length: 2, 2`
 *   - Transfer-Encoding: chunked in HTTP/1.0, or beside a Content-Length; then
 *     the connection is not used again
 *
 * Always accepted, because some servers send them and they have one meaning
 * only, are a status line that ends after the number; spaces and tabs after a
 * chunk size; and, on a connection that was used before, up to 32 empty lines
 * (CR LF) before the status line.
 *
 * Always refused are control characters other than a tab in a value, a CR
 * without LF, a version that is neither 1.0 nor 1.1, header lines without a
 * colon or with a name that is no token (RFC 9110), a first header line that
 * begins with white space, a Content-Length that is not one number or a list of
 * equal ones, codings of the transfer other than one `chunked`, and chunk sizes
 * that are not hexadecimal digits.
 */

#define COIL_HTTP_SESSION_OPTIONS_INIT \
    COILI_OPTIONS_INIT(struct coil_http_session_options)

/*
 * Make a session. Most programs need one, for all their requests.
 *
 * Result    the session; NULL if there is no memory. A NULL session may be
 *           used: its requests fail with -ENOMEM, and it may be closed
 * Lifetime  gives (coil_http_session_close); copies `options` and all that it
 *           points to, but refers to options.tls; NULL for the defaults
 * Source    aiohttp.ClientSession with its TCPConnector
 */
COIL_API COIL_NODISCARD struct coil_http_session *
coil_http_session_new(const struct coil_http_session_options *options);

/*
 * Close the session. Requests that have not ended fail with COIL_ECLOSED, and
 * so does reading their responses; their connections are reset. Then wait until
 * all requests have ended and all connections are closed; but the connection of
 * a piece that coil_http_response_next() has shown stays open until the next
 * call with that response. A task that was spawned before the close may have
 * its first step during the close: requests that it makes in that step fail
 * with COIL_ECLOSED, too. Cannot be cancelled.
 *
 * Result    0
 * Lifetime  takes the session; NULL is allowed. Responses still belong to the
 *           caller
 * Source    aiohttp ClientSession.close(), which does not wait
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_http_session_close(struct coil_http_session *session);

/* ---- Requests --------------------------------------------------------- */

/* A request. A field that is 0 or NULL has its default. */
struct coil_http_request {
    const char *url;
    const char *method;      /* "GET" */
    /*
     * Sent in this order, after Host. A header replaces one of the same name in
     * the session's options. Host, Content-Length and Transfer-Encoding are
     * refused with -EINVAL: coil sends them itself.
     */
    const struct coil_http_header *headers;
    size_t headers_n;
    const void *body;        /* lent: must not lie on the stack */
    size_t body_size;
    struct coil_http_timeouts timeouts; /* each of them: the session's */
    size_t body_bytes_max;   /* the session's */
    bool no_retry;           /* do not repeat: see coil_http_send() */
    int redirects_max;       /* the session's */
    /*
     * For https://. Connections are shared by requests with the same client and
     * the same server name only.
     */
    struct coil_tls_client *tls; /* the session's */
    const char *server_name; /* that is sent, and must be in the certificate;
                                also for redirects to the same scheme, host and
                                port; the host of the URL */
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
 * coil adds Host, User-Agent, Accept and Content-Length, and sends the URL as
 * it is written. Redirects are followed: see below. Interim answers (100,
 * 103...) are skipped, up to head_bytes_max of them in all.
 *
 * The server may close a kept connection while the request is on its way. If
 * that happens on a connection that was used before, no byte of an answer has
 * come, and the method may be sent twice (GET, HEAD, OPTIONS, TRACE, PUT,
 * DELETE, QUERY), the request is sent once more over a new connection, unless
 * `no_retry` is true in the request or in the session's options.
 *
 * If an answer comes before the whole body is sent: with a status of 300 or
 * above the sending stops; below, the answer is given when the body is sent. In
 * both cases the connection is not used again, since the server may not read
 * the rest of the body. If the server sends an answer below 300 and then stops
 * reading, the answer is lost when total_ns passes: -ETIMEDOUT.
 *
 * A body of at most 16 KiB is sent with the head, and counts as sent when the
 * kernel has taken it; a larger one when the peer's kernel has also
 * acknowledged it. Then the connection is used again, although the server may
 * not have read the body.
 *
 * Result    a struct coil_http_response *
 * Errors    see the top of this page
 * Lifetime  gives (coil_http_response_free); a response that is not taken is
 *           freed. Copies all but `body`; the caller lends `body` until the
 *           future is done, and `body` must not lie on the stack
 * Source    aiohttp ClientSession.request()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_http_send(struct coil_http_session *session,
               const struct coil_http_request *request);

/*
 * Send a GET request: coil_http_send() with a URL and no other field.
 *
 * Result    a struct coil_http_response *
 * Lifetime  gives (coil_http_response_free); copies `url`
 * Source    aiohttp ClientSession.get()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_http_get(struct coil_http_session *session, const char *url);

/* ---- Redirects -------------------------------------------------------- */

/*
 * An answer 301, 302, 303, 307 or 308 with a Location is followed: the request
 * is made again to that URL, up to redirects_max times. An answer without a
 * Location, or with an empty one, is an answer like any other, and so are 300,
 * 304, 305 and 306.
 *
 *     status     method                       next request
 *     301, 302   POST                         GET without the body
 *     303        any but HEAD                 GET without the body
 *     301, 302   any other                    the same method and body
 *     303        HEAD                         the same method and body
 *     307, 308   any                          the same method and body
 *
 * With the body go Content-Type and the other headers that describe it. All
 * other headers are sent again; but if scheme, host or port differ,
 * Authorization, Cookie, Proxy-Authorization and options.secret_headers are
 * dropped, whether they are of the request or of the session. They do not come
 * back at a later redirect. A secret in a header of another name, such as
 * X-Api-Key, is sent to the other server, unless options.secret_headers names
 * it. So is a body.
 *
 * A Location is resolved as RFC 3986 says (coil_url_resolve()). If it has no
 * fragment it inherits that of the URL before; no fragment is ever sent. A user
 * and a password in it are sent to this URL as an Authorization of type Basic,
 * if scheme, host and port stay the same and there is no other Authorization;
 * else they are ignored.
 *
 * The body of a redirect is skipped up to 64 KiB, else the connection is
 * closed; then the next request waits for a connection like any other one. The
 * time-out total_ns includes all of this.
 *
 * Errors, in COIL_PHASE_HEADERS:
 *
 *     COIL_EREDIRECT    the redirect is not followed: the code of the detail is
 *                       an enum coil_http_redirect_fault in its lowest 4 bits
 *     COIL_EURL         the Location is no URL: "http:/x", "http://127.1/"
 *     COIL_EPROTOCOL    there are two that differ
 *
 * In the thread in which the request has failed, coil_explain() also names the
 * URL of COIL_EREDIRECT, without user, password and query, if it is called
 * before three more requests have failed in this way or by TLS.
 */
enum coil_http_redirect_fault {
    COIL_HTTP_REDIRECT_LIMIT = 1, /* redirects_max have been followed */
    COIL_HTTP_REDIRECT_SCHEME,    /* neither http nor https */
    COIL_HTTP_REDIRECT_TLS,       /* https, without options.tls */
    COIL_HTTP_REDIRECT_DOWNGRADE  /* from https to http, with no_downgrade */
};

/* The fault in the detail of COIL_EREDIRECT. */
#define COIL_HTTP_REDIRECT_FAULT(detail) \
    ((enum coil_http_redirect_fault)(COIL_DETAIL_CODE(detail) & 15))

/* One redirect on the way to a response. */
struct coil_http_redirect {
    const char *url; /* of the request that was redirected */
    int status;      /* of its answer: 301, 302, 303, 307 or 308 */
    const struct coil_http_redirect *next; /* NULL: that is the last one */
};

/*
 * The URL that has answered, if the request was redirected. It has a fragment
 * if the request or a Location had one, and no user and password.
 *
 * Result    NULL: the request was not redirected, so `url` of the request is
 *           the URL
 * Lifetime  views the response
 * Source    aiohttp ClientResponse.url
 */
COIL_API const char *
coil_http_response_url(const struct coil_http_response *response);

/*
 * The redirects on the way to this response, in their order.
 *
 *     for (h = coil_http_response_history(r); h; h = h->next)
 *         printf("%d %s\n", h->status, h->url);
 *
 * Result    the first one; NULL if there was none
 * Lifetime  views the response
 * Source    aiohttp ClientResponse.history
 */
COIL_API const struct coil_http_redirect *
coil_http_response_history(const struct coil_http_response *response);

/* ---- Responses: the head ---------------------------------------------- */

/* 200, 404... */
COIL_API int
coil_http_response_status(const struct coil_http_response *response);

/* "OK", "Not Found"; "" if the server sent none. Views the response. */
COIL_API const char *
coil_http_response_reason(const struct coil_http_response *response);

/* 10 for HTTP/1.0, 11 for HTTP/1.1. */
COIL_API int
coil_http_response_version(const struct coil_http_response *response);

/* The Content-Length, also in the answer to a HEAD; -1 if there is none. */
COIL_API int64_t
coil_http_response_content_length(const struct coil_http_response *response);

/*
 * The first header with this name, in capitals or not.
 *
 * Result    its value, without white space around it; NULL if there is none
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
 * Read the body to its end and keep it in the response, without the pieces that
 * coil_http_response_next() has shown before. Then the connection is free for
 * other requests. For a body that was read before the future is done at once. A
 * read that is cancelled loses nothing: the next call continues it.
 *
 * Result    the size of the body, that of coil_http_response_size()
 * Errors    COIL_ELIMIT: the body is larger than body_bytes_max; those at the
 *           top of this page, in COIL_PHASE_BODY: the rest of the body is lost;
 *           -EBUSY: another task reads; -ECANCELED
 * Source    aiohttp ClientResponse.read()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_http_response_read(struct coil_http_response *response);

/*
 * The bytes that coil_http_response_read() has read, also those before it
 * failed, and their number. A NUL follows the last byte.
 *
 * Result    "" and 0 before the first read
 * Lifetime  views the response, until coil_http_response_read() is called again
 */
COIL_API const char *
coil_http_response_body(const struct coil_http_response *response);
COIL_API size_t
coil_http_response_size(const struct coil_http_response *response);

/*
 * Wait for the next piece of the body, of any size. The piece stays in the
 * buffer in which it was received, so nothing is copied, and a server that is
 * faster than the program is slowed down.
 *
 *     for (;;) {
 *         AWAIT_TO(my->n, coil_http_response_next(my->response));
 *         if (my->n == 0)
 *             break;
 *         my->piece = coil_http_response_piece(my->response);
 *         AWAIT(coil_write(my->fd, my->piece, my->n));
 *     }
 *
 * Result    the size of the piece; 0 at the end of the body
 * Errors    those of coil_http_response_read(), except that of body_bytes_max
 * Source    aiohttp StreamReader.iter_any()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_http_response_next(struct coil_http_response *response);

/*
 * The piece for which coil_http_response_next() has waited.
 *
 * Lifetime  views the response, until the next call that reads or frees it
 */
COIL_API const char *
coil_http_response_piece(const struct coil_http_response *response);

/*
 * Read the rest of the body and discard it, so that the connection can be used
 * again.
 *
 * Result    the number of discarded bytes
 * Errors    those of coil_http_response_next()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_http_response_skip(struct coil_http_response *response);

/*
 * Free the response. If its body was not read to the end, the rest is skipped
 * in the background and the connection is kept, unless the rest is known to
 * have more than 64 KiB or takes more than a second: then the connection is
 * closed in the background. Allocates nothing and does not wait, so the call
 * may stand in FINALLY.
 *
 * Lifetime  takes the response; NULL is allowed
 * Source    aiohttp ClientResponse.close()
 */
COIL_API void coil_http_response_free(struct coil_http_response *response);

COIL_END_DECLS

#endif
