// SPDX-License-Identifier: MIT
#ifndef COILI_HTTP_POOL_H
#define COILI_HTTP_POOL_H

/*
 * pool.h: connections that are kept, and the line of those who wait for one.
 *
 *     lookup -> take, else wait -> use -> release or drop
 *
 * A lease with a connection is a slot, whether it is connected yet or not. To
 * be granted one is to find it in the lease: also a request that is cancelled
 * at that moment does, and gives it back when it ends.
 */

#include <coil/url.h>
#include <coil/waiters.h>

#include "connection.h"

/* A scheme, host and port, while anybody has to do with it. */
struct coili_origin {
    struct coili_pool *pool;
    struct coili_origin *next; /* of its bucket */
    uint32_t hash;
    unsigned refs;             /* connections, and requests */
    unsigned count;            /* connections, the idle ones too */
    struct coili_list idle;    /* connections, the latest first */
    struct coil_waiters waiters;                /* who waits for one */
    struct coili_origin *child, *sibling, **up; /* of the heap */
    bool queued;               /* in it */
    bool tls;
    uint16_t port;
    uint16_t host_len;
    uint16_t authority_len;    /* of "host:port", behind the host */
    char host[];               /* in lower case, without brackets */
};

#define COILI_POOL_BUCKETS 16

struct coili_pool {
    unsigned limit, limit_per_host;
    int64_t keepalive_ns;
    unsigned count;             /* connections, connecting and idle ones too */
    unsigned closing;           /* streams that are being closed */
    struct coili_list idle;     /* the longest idle first */
    struct coili_list busy;
    struct coili_list spare;    /* slots without a connection, to use again */
    struct coili_origin *first; /* a heap: whose turn it is */
    uint64_t tickets;
    struct coili_origin **buckets;
    size_t buckets_n, origins;  /* the former a power of two */
    struct coili_origin *few[COILI_POOL_BUCKETS];
    coil_call_fn *ended;        /* a stream has been closed */
    void *ended_arg;
};

/* In your memory. The limits are set by you afterwards. */
void coili_pool_init(struct coili_pool *pool, coil_call_fn *ended, void *arg);

/*
 * No request waits any more, no connection is left: leases are taken away with
 * COIL_ECLOSED. Streams are closed in the background; `ended` is called after
 * each, and pool->closing counts those that are left.
 */
void coili_pool_close(struct coili_pool *pool);

/* Free what is left when nothing is closing and nobody has an origin. */
void coili_pool_fini(struct coili_pool *pool);

/*
 * The origin of a URL.
 *
 * Result    NULL without memory
 * Lifetime  shares: coili_origin_unref()
 */
struct coili_origin *coili_origin_find(struct coili_pool *pool,
                                       const struct coil_url *url);
void coili_origin_unref(struct coili_origin *origin);

/* The value of the Host field. */
static inline struct coili_http_text
coili_origin_authority(const struct coili_origin *origin)
{
    return (struct coili_http_text){ origin->host + origin->host_len + 1,
                                     origin->authority_len };
}

/*
 * Take a connection now: one that was kept, or a slot for a new one.
 *
 * Errors    -EAGAIN: wait; -ENOMEM
 */
int coili_pool_take(struct coili_origin *origin, struct coili_lease *lease);

/*
 * Wait in line for one.
 *
 * Result    0: the lease has a connection
 * Errors    -ETIMEDOUT after the deadline; COIL_ECLOSED; -ECANCELED; -ENOMEM
 * Lifetime  lends `origin` and `lease`
 */
struct coil_future *coili_pool_wait(struct coili_origin *origin,
                                    struct coili_lease *lease,
                                    int64_t deadline);

/*
 * A slot gets its stream. What its end needs is allocated before.
 *
 * Errors    -ENOMEM
 */
int coili_conn_prepare(struct coili_conn *conn);
void coili_conn_connected(struct coili_conn *conn, struct coil_stream *stream);

/* Close the stream and keep the slot, to connect again. */
void coili_conn_renew(struct coili_conn *conn);

/*
 * End a lease that has a connection. Release keeps it for the next request, or
 * closes it if it turns out not to be fit for one. Neither allocates.
 */
void coili_lease_release(struct coili_lease *lease);
void coili_lease_drop(struct coili_lease *lease);

#endif
