// SPDX-License-Identifier: MIT
#ifndef COILI_HTTP_CONNECTION_H
#define COILI_HTTP_CONNECTION_H

/*
 * connection.h: one request and one response over one stream.
 *
 * A request has a lease of the connection that it uses, and hands the lease to
 * its response. A lease can be revoked at any await, by a deadline or because
 * the session is closed. Then lease->conn is NULL and lease->err says why. So
 * lease->conn is looked at after every await.
 *
 * Received bytes that were shown to the user must stay as they are until the
 * user asks for more: a lease that is revoked meanwhile keeps the stream until
 * then.
 */

#include <coil/coroutine.h>
#include <coil/event.h>
#include <coil/http.h>
#include <coil/loop.h>
#include <coil/stream.h>
#include <coil/task.h>
#include <coil/time.h>

#include "base/list.h"
#include "base/time.h"
#include "http/message.h"

struct coili_conn;
struct coili_hop;
struct coili_origin;
struct coili_pool;

/* What a connection asks of its pool, which stands above this file. */
struct coili_conn_owner {
    /*
     * End the connection, and revoke its lease if it has one. `code`: of the
     * error's detail.
     */
    void (*fail)(struct coili_conn *conn, int err, int code);
    /*
     * There is no room for an operation: close an idle connection. `holds`:
     * `conn` has an operation in flight itself. True: try again after a pause.
     */
    bool (*relieve)(struct coili_conn *conn, bool holds);
};

struct coili_lease {
    struct coili_conn *conn;     /* NULL: not granted yet, or revoked */
    struct coil_stream *orphan;  /* of a revoked lease: shown, to be aborted */
    bool lent;                   /* received bytes are shown to the user */
    int err;                     /* why the lease was revoked */
    uint32_t detail;
    /* Called when it is revoked and has no user any more; or NULL */
    void (*abandoned)(struct coili_lease *lease);
};

/*
 * A slot of the pool: room for one connection. Its timer is armed as long as
 * the slot is in use, and seldom set anew: when it expires before the next
 * deadline, it is set to that deadline.
 */
struct coili_conn {
    struct coili_list link; /* in the pool's list: idle, busy or spare */
    struct coili_list same; /* in its origin's list of idle connections */
    struct coili_pool *pool;
    struct coili_origin *origin;
    struct coili_lease *lease;    /* NULL: idle or spare */
    struct coil_task *connecting; /* while there is no stream */
    struct coil_stream *stream;
    struct coil_event vacant;      /* no stream of this slot is being closed */
    struct coil_handle closed;     /* the call when a stream of it was closed */
    struct coil_handle noticed; /* the call when something comes while idle */
    const struct coili_conn_owner *owner;
    struct coil_handle timer;
    int64_t timer_at;
    int64_t deadline;      /* of the whole request, or of the idle time */
    int64_t read_deadline; /* of the wait for the next bytes */
    uint32_t keep_seconds; /* how long the server keeps it: message.h */
    bool timer_set;
    bool reused;   /* a request was sent over `stream` before */
    bool tls;      /* `stream` is a TLS stream */
    uint8_t phase; /* enum coil_phase */
};

/* The end of a duration that begins now; a duration below 0 counts as 0. */
static inline int64_t coili_after(int64_t duration)
{
    return coili_deadline(coil_now(), duration > 0 ? duration : 0);
}

/*
 * Set the deadline of the request, or of the idle time, that begins now.
 *
 * Errors    -ENOMEM; not if the timer is set: then it is only moved
 */
int coili_conn_until(struct coili_conn *conn, int64_t deadline);

/* Remove the deadlines and the timer. */
void coili_conn_disarm(struct coili_conn *conn);

/* coil_stream_fill() that fails the connection after `read_ns`. */
struct coil_future *coili_conn_fill(struct coili_conn *conn, size_t want,
                                    int64_t read_ns);

/* A fill has ended: its deadline is removed. */
static inline void coili_lease_filled(struct coili_lease *lease)
{
    if (lease->conn)
        lease->conn->read_deadline = COIL_NEVER;
}

/* ---- Request and response --------------------------------------------- */

/*
 * A response: the fields of the head, and how far its body is read. The array
 * of headers and a copy of the head follow in the same block.
 */
struct coil_http_response {
    struct coili_lease lease;
    struct coili_hop *hop; /* redirect.h; NULL: not redirected */
    uint32_t size;         /* of the block */
    uint32_t drained;      /* bytes skipped because no program reads them */
    const char *reason;
    int64_t length;
    int64_t read_ns;
    uint16_t status;
    uint8_t minor;
    bool keep;    /* the connection may be used for another request */
    bool ended;   /* the body was read to its end: no connection any more */
    bool broken;  /* the rest of the body is lost because of lease.err */
    bool busy;    /* a task reads */
    const struct coili_http_limits *limits;
    struct coili_http_body state;
    const char *piece; /* the piece that is shown */
    size_t taken;      /* bytes to consume before the next piece */
    char *body;        /* the bytes that coil_http_response_read() has read */
    size_t body_n, body_room, body_max;
    struct coil_http_header headers[];
};

/* The request. The job lends it until the exchange is over. */
struct coili_sent {
    const char *text;  /* the head, and the body if it is small */
    size_t text_n;
    const void *body;  /* the body if it is large */
    size_t body_n;
    size_t body_max;   /* of the answer */
    int64_t read_ns;
    enum coili_http_to to;
    bool keep; /* the request does not say "Connection: close" */
    const struct coili_http_limits *limits;
    struct coili_http_field *fields; /* limits->fields, of all exchanges */
};

struct coili_exchange {
    struct coil_coro coro;
    const struct coili_sent *sent;
    struct coili_lease *lease; /* the job's, until the response has it */
    struct coil_task *upload;
    struct coil_http_response *response;
    struct coili_http_field *fields; /* its own: the head came in pieces */
    size_t there, want; /* bytes of the last fill; of the next one */
    int err, send_err;
    uint32_t detail;
    size_t interim, skipped; /* bytes of interim answers; of blank lines */
    bool answered; /* bytes of an answer have come */
    struct coili_http_head head;
};

/*
 * Send the request and read the head of its answer.
 *
 * Result    a struct coil_http_response *
 */
void coili_exchange(struct coil_coro *co);

#endif
