// SPDX-License-Identifier: MIT
#ifndef COILI_HTTP_CONNECTION_H
#define COILI_HTTP_CONNECTION_H

/*
 * connection.h: one request and one response over one stream.
 *
 * Who uses a connection has a lease of it: a request, and then its response.
 * A lease can be taken away at any await, by a deadline or because the session
 * is closed; it then says why. So after every await the first question is
 * whether lease->conn is still there.
 *
 * Received bytes that were shown to the user stay as they are until the user
 * asks for more: a lease that is taken away meanwhile keeps the stream so long.
 */

#include <coil/coroutine.h>
#include <coil/http.h>
#include <coil/loop.h>
#include <coil/stream.h>
#include <coil/task.h>
#include <coil/time.h>

#include "base/list.h"
#include "base/time.h"
#include "http/message.h"

struct coili_conn;
struct coili_origin;
struct coili_pool;

/* End a connection, and revoke its lease if it has one, because of `err`. */
typedef void coili_fail_fn(struct coili_conn *conn, int err);

struct coili_lease {
    struct coili_conn *conn;     /* NULL: not yet, or not any more */
    struct coil_stream *orphan;  /* to be aborted; see above */
    bool lent;                   /* the user looks at received bytes */
    int err;                     /* why it was taken away */
    uint32_t detail;
};

/*
 * A slot of the pool. Its timer is armed as long as it is in use, and rarely
 * set: going off too early it looks at the deadlines and is set again.
 */
struct coili_conn {
    struct coili_list link; /* of the pool: idle, busy or spare */
    struct coili_list same; /* of its origin's idle ones */
    struct coili_pool *pool;
    struct coili_origin *origin;
    struct coili_lease *lease;    /* NULL: idle or spare */
    struct coil_task *connecting; /* while there is no stream */
    struct coil_stream *stream;
    struct coili_closing *closing; /* for the end of `stream`; see pool.c */
    coili_fail_fn *fail;           /* the pool's */
    struct coil_handle timer;
    int64_t timer_at;
    int64_t deadline; /* of the whole request; of being idle */
    int64_t read_deadline; /* of the wait for the next bytes */
    bool timer_set;
    bool reused;
    uint8_t phase; /* enum coil_phase */
};

/* When `duration` is over that begins now; one below 0 is over. */
static inline int64_t coili_after(int64_t duration)
{
    return coili_deadline(coil_now(), duration > 0 ? duration : 0);
}

/*
 * Set the deadline of what begins now.
 *
 * Errors    -ENOMEM; not if the timer was set before: that place is kept
 */
int coili_conn_until(struct coili_conn *conn, int64_t deadline);

/* No deadline, no timer. */
void coili_conn_disarm(struct coili_conn *conn);

/* Wait for bytes, for `read_ns` at the most; otherwise coil_stream_fill(). */
struct coil_future *coili_conn_fill(struct coili_conn *conn, size_t want,
                                    int64_t read_ns);

/* The wait is over: nobody is late any more. */
static inline void coili_lease_filled(struct coili_lease *lease)
{
    if (lease->conn)
        lease->conn->read_deadline = COIL_NEVER;
}

/* ---- Request and response --------------------------------------------- */

/*
 * A response: what was in the head, and where the reading of the body stands.
 * One block with the headers' pointers and the head's bytes behind it.
 */
struct coil_http_response {
    struct coili_lease lease;
    size_t size; /* of the block */
    const char *reason;
    int64_t length;
    int64_t read_ns;
    uint16_t status;
    uint8_t minor;
    bool keep;    /* as far as we know another request may follow */
    bool ended;   /* the body has, and the connection is given back */
    bool broken;  /* an error has cost the rest of the body */
    bool busy;    /* a task reads */
    const struct coili_http_limits *limits;
    struct coili_http_body state;
    const char *piece; /* what coil_http_response_next has shown */
    size_t taken;      /* and what is to be consumed before the next */
    char *body;        /* what coil_http_response_read has read */
    size_t body_n, body_room, body_max;
    struct coil_http_header headers[];
};

/* What the exchange must know of the request; lent until it is done. */
struct coili_sent {
    const char *text;  /* the head; and the body, if it is small */
    size_t text_n;
    const void *body;  /* the rest */
    size_t body_n;
    size_t body_max;   /* of the answer */
    int64_t read_ns;
    enum coili_http_to to;
    bool keep; /* the request does not say "Connection: close" */
    const struct coili_http_limits *limits;
    struct coili_http_field *fields; /* limits->fields of them, of everybody */
};

struct coili_exchange {
    struct coil_coro coro;
    const struct coili_sent *sent;
    struct coili_lease *lease; /* goes over to the response */
    struct coil_task *upload;
    struct coil_http_response *response;
    struct coili_http_field *fields; /* of its own, if the head is cut */
    size_t there, want;
    int err, send_err;
    uint32_t detail;
    unsigned interim;
    bool answered; /* something of an answer has come */
    struct coili_http_head head;
};

/* Send it, read the head of the answer: a struct coil_http_response *. */
void coili_exchange(struct coil_coro *co);

#endif
