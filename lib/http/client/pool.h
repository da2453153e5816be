// SPDX-License-Identifier: MIT
#ifndef COILI_HTTP_POOL_H
#define COILI_HTTP_POOL_H

/*
 * pool.h: kept connections, and the requests that wait for one.
 *
 *     find the origin -> take a slot, or wait -> use -> release or drop
 *
 * A slot is room for one connection, whether there is a stream yet or not. A
 * grant stores the slot in the request's lease at once. So a request that is
 * cancelled after the grant, and before it runs, finds the slot in its lease
 * and gives it back at its end.
 */

#include <coil/tls.h>
#include <coil/url.h>
#include <coil/waiters.h>

#include "connection.h"

/*
 * Whose connections may be used for a request: those to this scheme, host and
 * port, and with https also of this TLS client, made for this name. Freed with
 * the last connection and request.
 */
struct coili_origin {
    struct coili_pool *pool;
    struct coili_origin *next; /* in its bucket */
    uint32_t hash;
    unsigned refs;             /* connections and requests */
    unsigned count;            /* connections, with the idle ones */
    struct coili_list idle;    /* connections, the last used first */
    struct coil_waiters waiters;                /* requests */
    struct coili_origin *child, *sibling, **up; /* in the heap */
    bool queued;               /* in the heap */
    struct coil_tls_client *tls; /* a reference; NULL: http */
    uint16_t port;
    uint16_t host_len, name_len;
    /* In lower case, without brackets; then the name of the server, for TLS */
    char host[];
};

/* The server has this name: that of the URL, if no other was asked for. */
static inline const char *coili_origin_name(const struct coili_origin *o)
{
    return o->name_len ? o->host + o->host_len + 1 : o->host;
}

/* Of the name of a server, with a NUL. */
#define COILI_SERVER_NAME_BYTES 256

#define COILI_POOL_BUCKETS 16

struct coili_pool {
    unsigned limit, limit_per_host;
    int64_t keepalive_ns;
    unsigned count;             /* connections, also connecting and idle ones */
    unsigned closing;           /* streams whose close has not ended */
    unsigned shortage;  /* `limit` minus the connections possible now */
    unsigned exchanges; /* since the shortage changed */
    struct coili_list idle;     /* the longest idle first */
    struct coili_list busy;
    struct coili_list spare;    /* slots that are not in use */
    struct coili_origin *first; /* the top of the heap: the next to be served */
    uint64_t tickets;           /* the last one that was given out */
    struct coili_origin **buckets;
    size_t buckets_n, origins;  /* a power of two; the number of origins */
    struct coili_origin *few[COILI_POOL_BUCKETS];
    coil_call_fn *ended;        /* called when a stream has been closed */
    void *ended_arg;
};

/* Prepare a pool in the caller's memory, who then sets its limits. */
void coili_pool_init(struct coili_pool *pool, coil_call_fn *ended, void *arg);

/*
 * Fail all requests that wait, and revoke all leases, with COIL_ECLOSED; close
 * all connections. Streams are closed in the background: `ended` is called
 * after each, and pool->closing counts those that are left.
 */
void coili_pool_close(struct coili_pool *pool);

/* Free the slots. No stream is closing then, and there are no origins. */
void coili_pool_fini(struct coili_pool *pool);

/* How https is spoken. */
struct coili_tls {
    struct coil_tls_client *client; /* NULL: it is not */
    const char *name; /* of the server, instead of the URL's; or NULL */
};

/*
 * The origin of a URL. `tls` counts if the URL has https, and has a client then.
 *
 * Result    NULL if there is no memory
 * Lifetime  shares: coili_origin_unref()
 */
struct coili_origin *coili_origin_find(struct coili_pool *pool,
                                       const struct coil_url *url,
                                       struct coili_tls tls);
void coili_origin_unref(struct coili_origin *origin);

/*
 * Take a kept connection, or a slot for a new one, without waiting.
 *
 * Errors    -EAGAIN: there is none, so wait; -ENOMEM
 */
int coili_pool_take(struct coili_origin *origin, struct coili_lease *lease);

/*
 * Wait for a kept connection or a slot, in the order of arrival.
 *
 * Result    0: the lease has a slot
 * Errors    -ETIMEDOUT after the deadline; COIL_ECLOSED; -ECANCELED; -ENOMEM
 * Lifetime  the caller lends `origin` and `lease` until the future is done
 */
struct coil_future *coili_pool_wait(struct coili_origin *origin,
                                    struct coili_lease *lease,
                                    int64_t deadline);

/* Give a slot its stream. The slot is vacant: conn->vacant is set. */
void coili_conn_connected(struct coili_conn *conn, struct coil_stream *stream);

/*
 * There was no descriptor or no operation for the connection of this lease, and
 * no byte was sent. If the pool has other connections, the lease gives its slot
 * back, and the request takes one of those connections or waits.
 *
 * Result    true: call coili_pool_take(); false: there is nothing to wait for
 */
bool coili_lease_starved(struct coili_lease *lease);

/*
 * True if nothing was received that no request has asked for, and the server has
 * not ended the connection. The kernel is asked, too.
 */
bool coili_conn_is_good(struct coili_conn *conn);

/* Close the stream, and keep the slot to connect again. */
void coili_conn_renew(struct coili_conn *conn);

/* The same with a stream of this slot that was never usable; NULL is allowed. */
void coili_conn_discard(struct coili_conn *conn, struct coil_stream *stream);

/*
 * End a lease that has a slot. Release keeps the connection for the next
 * request if no byte is unread, but CR LF; drop closes it. Neither allocates.
 */
void coili_lease_release(struct coili_lease *lease);
void coili_lease_drop(struct coili_lease *lease);

#endif
