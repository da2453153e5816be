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

#include <coil/url.h>
#include <coil/waiters.h>

#include "connection.h"

/* A scheme, host and port; freed with its last connection and request. */
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
    bool tls;
    uint16_t port;
    uint16_t host_len;
    char host[]; /* in lower case, without brackets */
};

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

/*
 * The origin of a URL.
 *
 * Result    NULL if there is no memory
 * Lifetime  shares: coili_origin_unref()
 */
struct coili_origin *coili_origin_find(struct coili_pool *pool,
                                       const struct coil_url *url);
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

/*
 * End a lease that has a slot. Release keeps the connection for the next
 * request if no byte is unread, but CR LF; drop closes it. Neither allocates.
 */
void coili_lease_release(struct coili_lease *lease);
void coili_lease_drop(struct coili_lease *lease);

#endif
