// SPDX-License-Identifier: MIT
/*
 * pool.c: kept connections, and the requests that wait for one.
 *
 * A slot is room for one connection. There are at most `limit` slots. A slot
 * is allocated when it is first needed, and freed with the session, so that to
 * hand a slot on takes no memory:
 *
 *               take                     connected
 *     SPARE ------------> BUSY, no stream --------> BUSY, stream
 *       ^                   |                      drop |  | ^
 *       +-------------------+---------------------------+  | | take
 *       |                   drop                   release v |
 *       +------------------------------------------------ IDLE
 *         expired, closed by the server, or with bytes that no request asked
 *         for; or its slot is needed for another origin
 *
 * A stream is closed in the background, and its slot may be spare or busy again
 * meanwhile. But the owner of that slot begins no connection before the
 * descriptor of the former stream is closed. So there are never more
 * descriptors than slots. The one exception is the stream of a piece that is
 * shown to the user (revoke()).
 *
 * A request that finds no slot waits at its origin, with a ticket. Tickets are
 * numbered in the order of arrival. The heap contains each origin whose first
 * waiter needs only a slot, ordered by the ticket of that waiter. So requests
 * are served strictly in the order of arrival, and an origin at its
 * limit_per_host delays no other origin. (aiohttp serves a random host.)
 *
 * Invariant: no waiter could be served now. A slot that becomes free is granted
 * to the first waiter in the same call, so a new request may take a slot that
 * it finds: it overtakes no waiter.
 *
 * In the pools of other clients slots were lost when their owner was cancelled.
 * Here a slot is in exactly one place at any time: in a list of the pool and
 * without a lease, or in the lease of its owner, whose FINALLY ends the lease.
 */
#include "pool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

/* ---- The next to be served: a pairing heap of origins ----------------- */

struct waiter {
    struct coil_custom custom;
    struct coil_waiter place;
    struct coili_origin *origin;
    struct coili_lease *lease;
    uint64_t ticket;
    int64_t deadline;
    struct coil_handle timer;
};

static struct waiter *first_waiter(const struct coili_origin *o)
{
    return COILI_CONTAINER(coil_waiters_first(&o->waiters), struct waiter,
                           place);
}

/* Each origin in the heap knows the pointer that points to it. */
static void attach(struct coili_origin **up, struct coili_origin *o)
{
    *up = o;
    if (o)
        o->up = up;
}

static struct coili_origin *meld(struct coili_origin *a, struct coili_origin *b)
{
    if (!a || !b)
        return a ? a : b;
    if (first_waiter(b)->ticket < first_waiter(a)->ticket) {
        struct coili_origin *swap = a;
        a = b;
        b = swap;
    }
    attach(&b->sibling, a->child);
    attach(&a->child, b);
    return a;
}

/* Meld siblings in pairs from the left, then the pairs from the right. */
static struct coili_origin *meld_siblings(struct coili_origin *o)
{
    struct coili_origin *pairs = NULL, *all = NULL;
    while (o) {
        struct coili_origin *a = o, *b = a->sibling;
        o = b ? b->sibling : NULL;
        a->sibling = NULL;
        if (b)
            b->sibling = NULL;
        a = meld(a, b);
        a->sibling = pairs;
        pairs = a;
    }
    while (pairs) {
        struct coili_origin *next = pairs->sibling;
        pairs->sibling = NULL;
        all = meld(all, pairs);
        pairs = next;
    }
    return all;
}

static void heap_insert(struct coili_pool *p, struct coili_origin *o)
{
    o->child = o->sibling = NULL;
    o->queued = true;
    attach(&p->first, meld(p->first, o));
}

static void heap_remove(struct coili_pool *p, struct coili_origin *o)
{
    attach(o->up, o->sibling);
    struct coili_origin *rest = meld_siblings(o->child);
    o->child = o->sibling = NULL;
    o->queued = false;
    attach(&p->first, meld(p->first, rest));
}

static bool has_room(const struct coili_origin *o)
{
    unsigned most = o->pool->limit_per_host;
    return !most || o->count < most;
}

/*
 * The first waiter of an origin has changed, or whether it needs only a slot:
 * put the origin into the heap, move it, or take it out.
 */
static void requeue(struct coili_origin *o)
{
    if (o->queued)
        heap_remove(o->pool, o);
    if (!coil_waiters_empty(&o->waiters) &&
        (has_room(o) || !coili_list_empty(&o->idle)))
        heap_insert(o->pool, o);
}

/* ---- Origins ---------------------------------------------------------- */

/* What tells origins apart: the fields of these names. */
struct key {
    struct coil_tls_client *tls;
    uint16_t port;
    uint16_t host_len, name_len;
    char host[COIL_URL_ORIGIN_BYTES_MAX + COILI_SERVER_NAME_BYTES];
};

/* FNV-1a, salted with an address: colliding hosts cannot be prepared. */
static uint32_t hash_origin(const struct coili_pool *p, const struct key *key)
{
    uint64_t hash = 0xcbf29ce484222325u ^ (uintptr_t)p ^ key->port;
    hash ^= (uintptr_t)key->tls << 16;
    for (size_t i = 0; i < key->host_len + 1u + key->name_len; i++)
        hash = (hash ^ (unsigned char)key->host[i]) * 0x100000001b3u;
    return (uint32_t)(hash ^ hash >> 32);
}

static struct coili_origin **bucket(const struct coili_pool *p, uint32_t hash)
{
    return &p->buckets[hash & (p->buckets_n - 1)];
}

static void free_buckets(struct coili_pool *p)
{
    if (p->buckets != p->few)
        coil_free(p->buckets, p->buckets_n * sizeof *p->buckets);
}

/* If there is no memory the buckets stay few, and their chains get longer. */
static void grow_buckets(struct coili_pool *p)
{
    size_t n = p->buckets_n * 2;
    struct coili_origin **buckets = coil_alloc(n * sizeof *buckets);
    if (!buckets)
        return;
    memset(buckets, 0, n * sizeof *buckets);
    for (size_t i = 0; i < p->buckets_n; i++) {
        struct coili_origin *o = p->buckets[i], *next;
        for (; o; o = next) {
            struct coili_origin **to = &buckets[o->hash & (n - 1)];
            next = o->next;
            o->next = *to;
            *to = o;
        }
    }
    free_buckets(p);
    p->buckets = buckets;
    p->buckets_n = n;
}

/* Result: the byte behind the copy, which is a NUL. */
static char *copy_lower(char *to, const char *from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = from[i];
        *to++ = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
    *to = '\0';
    return to;
}

/* A name that is too long to be one was refused: the key has room. */
static void make_key(struct key *key, const struct coil_url *url,
                     struct coili_tls tls)
{
    char *end = copy_lower(key->host, url->host.at, url->host.len);
    if (url->rooted) {
        *end++ = '.';
        *end = '\0';
    }
    key->host_len = (uint16_t)(end - key->host);
    key->port = url->port;
    key->tls = url->tls ? tls.client : NULL;
    key->name_len = 0;
    if (!key->tls || !tls.name)
        return;
    char *name = end + 1;
    end = copy_lower(name, tls.name, strlen(tls.name));
    if (strcmp(name, key->host) != 0)
        key->name_len = (uint16_t)(end - name);
}

static bool has_key(const struct coili_origin *o, const struct key *key)
{
    return o->tls == key->tls && o->port == key->port &&
           o->host_len == key->host_len && o->name_len == key->name_len &&
           memcmp(o->host, key->host, key->host_len + 1u + key->name_len) == 0;
}

static size_t origin_size(const struct coili_origin *o)
{
    return sizeof *o + o->host_len + 2u + o->name_len;
}

static struct coili_origin *origin_new(struct coili_pool *p,
                                       const struct key *key)
{
    size_t text_n = key->host_len + 2u + key->name_len;
    struct coili_origin *o = coil_alloc(sizeof *o + text_n);
    if (!o)
        return NULL;
    *o = (struct coili_origin){
        .pool = p,
        .tls = key->tls ? key->tls->ops->ref(key->tls) : NULL,
        .port = key->port,
        .host_len = key->host_len,
        .name_len = key->name_len,
    };
    coili_list_init(&o->idle);
    coil_waiters_init(&o->waiters);
    memcpy(o->host, key->host, text_n - 1);
    o->host[text_n - 1] = '\0';
    return o;
}

/* The buckets grow with the origins, so their chains stay short. */
struct coili_origin *coili_origin_find(struct coili_pool *p,
                                       const struct coil_url *url,
                                       struct coili_tls tls)
{
    struct key key;
    make_key(&key, url, tls);
    uint32_t hash = hash_origin(p, &key);
    struct coili_origin *o = *bucket(p, hash);
    while (o && (o->hash != hash || !has_key(o, &key)))
        o = o->next;
    if (o) {
        o->refs++;
        return o;
    }
    o = origin_new(p, &key);
    if (!o)
        return NULL;
    if (++p->origins > p->buckets_n)
        grow_buckets(p);
    struct coili_origin **in = bucket(p, hash);
    o->refs = 1;
    o->hash = hash;
    o->next = *in;
    *in = o;
    return o;
}

void coili_origin_unref(struct coili_origin *o)
{
    struct coili_pool *p = o->pool;
    if (--o->refs > 0)
        return;
    struct coili_origin **at = bucket(p, o->hash);
    while (*at != o)
        at = &(*at)->next;
    *at = o->next;
    p->origins--;
    if (o->tls)
        o->tls->ops->unref(o->tls);
    coil_free(o, origin_size(o));
}

/* ---- Slots ------------------------------------------------------------ */

void coili_conn_connected(struct coili_conn *conn, struct coil_stream *stream)
{
    conn->stream = stream;
    conn->tls = conn->origin->tls;
    conn->reused = false;
    conn->keep_seconds = COILI_HTTP_KEEP_UNTOLD;
}

static void stream_closed(void *arg)
{
    struct coili_conn *conn = arg;
    struct coili_pool *p = conn->pool;
    p->closing--;
    coil_event_set(&conn->vacant);
    p->ended(p->ended_arg);
}

static void end_watch(struct coili_conn *conn)
{
    if (conn->stream)
        coil_stream_unwatch(conn->stream, &conn->noticed);
}

/* `end` is the close or abort of conn->stream. */
static void end_stream(struct coili_conn *conn, struct coil_future *end)
{
    end_watch(conn);
    conn->stream = NULL;
    conn->read_deadline = COIL_NEVER;
    conn->pool->closing++;
    coil_event_clear(&conn->vacant);
    coil_future_add_done_callback(end, &conn->closed, stream_closed, conn);
    coil_detach(end);
}

void coili_conn_renew(struct coili_conn *conn)
{
    if (conn->stream)
        end_stream(conn, coil_stream_close(conn->stream));
}

void coili_conn_discard(struct coili_conn *conn, struct coil_stream *stream)
{
    if (stream)
        end_stream(conn, coil_stream_close(stream));
}

static void conn_fail(struct coili_conn *conn, int err, int code);
static bool relieve(struct coili_conn *conn, bool holds);

static const struct coili_conn_owner owner = {
    .fail = conn_fail,
    .relieve = relieve,
};

static struct coili_conn *conn_new(struct coili_pool *p)
{
    struct coili_conn *conn = coil_alloc(sizeof *conn);
    if (!conn)
        return NULL;
    *conn = (struct coili_conn){
        .pool = p,
        .owner = &owner,
        .deadline = COIL_NEVER,
        .read_deadline = COIL_NEVER,
    };
    coil_event_init(&conn->vacant);
    coil_event_set(&conn->vacant);
    return conn;
}

/* End the connection; its slot becomes a spare one. */
static void close_conn(struct coili_conn *conn)
{
    struct coili_pool *p = conn->pool;
    struct coili_origin *o = conn->origin;
    coili_conn_renew(conn);
    coili_conn_disarm(conn);
    if (conn->connecting)
        coil_task_cancel(conn->connecting);
    conn->connecting = NULL;
    conn->lease = NULL;
    conn->origin = NULL;
    coili_list_remove(&conn->same);
    coili_list_remove(&conn->link);
    coili_list_append(&p->spare, &conn->link);
    p->count--;
    o->count--;
    requeue(o);
    coili_origin_unref(o);
}

static struct coili_conn *conn_of(struct coili_list *link)
{
    return COILI_CONTAINER(link, struct coili_conn, link);
}

/*
 * True if nothing is to be read from a connection, and the server has not ended
 * it, as far as the loop has seen. CR LF behind the last answer is skipped: some
 * servers send one too many.
 */
static bool is_quiet(struct coili_conn *conn)
{
    char *data;
    size_t n = coil_stream_peek(conn->stream, &data);
    if (n == 2 && memcmp(data, "\r\n", 2) == 0) {
        coil_stream_consume(conn->stream, 2);
        n = 0;
    }
    return n == 0 && !coil_stream_at_end(conn->stream);
}

/*
 * Asked once per request, before it is sent. It may have to make a system call,
 * so is_quiet() has to do before that.
 */
bool coili_conn_is_good(struct coili_conn *conn)
{
    return coil_stream_is_reusable(conn->stream) ||
           (is_quiet(conn) && coil_stream_is_reusable(conn->stream));
}

/*
 * A kept connection of the origin; those that the server has ended are closed.
 * The deadline is compared here, too: the thread may have been busy when the
 * timer was due.
 */
static struct coili_conn *find_idle(struct coili_origin *o)
{
    struct coili_list *same;
    while ((same = coili_list_first(&o->idle))) {
        struct coili_conn *conn = COILI_CONTAINER(same, struct coili_conn,
                                                  same);
        if (conn->deadline > coil_now() && is_quiet(conn))
            return conn;
        close_conn(conn);
    }
    return NULL;
}

/* The room is `limit`; less in a shortage of descriptors or operations. */
static bool is_full(const struct coili_pool *p)
{
    return p->count + p->shortage >= p->limit;
}

/*
 * A spare slot. If there is no room, the connection that is idle for the
 * longest time is closed to get its slot. NULL: there is no room, or a slot has
 * to be made. The slot that became spare last is used, since its descriptor may
 * still be open: in a shortage another slot could not get a descriptor.
 */
static struct coili_conn *find_slot(struct coili_pool *p)
{
    struct coili_list *oldest = coili_list_first(&p->idle);
    if (is_full(p) && oldest)
        close_conn(conn_of(oldest));
    if (is_full(p) || coili_list_empty(&p->spare))
        return NULL;
    return conn_of(p->shortage ? p->spare.prev : p->spare.next);
}

static void assign(struct coili_conn *conn, struct coili_origin *o)
{
    conn->origin = o;
    o->refs++;
    o->count++;
    o->pool->count++;
}

static void lend(struct coili_conn *conn, struct coili_lease *lease)
{
    end_watch(conn);
    coili_list_remove(&conn->same);
    coili_list_remove(&conn->link);
    coili_list_append(&conn->pool->busy, &conn->link);
    conn->deadline = COIL_NEVER;
    conn->phase = COIL_PHASE_POOL;
    conn->lease = lease;
    lease->conn = conn;
}

/* No waiter is overtaken: see the invariant above. */
int coili_pool_take(struct coili_origin *o, struct coili_lease *lease)
{
    struct coili_pool *p = o->pool;
    struct coili_conn *conn = find_idle(o);
    if (!conn) {
        if (!has_room(o))
            return -EAGAIN;
        conn = find_slot(p);
        if (!conn && is_full(p))
            return -EAGAIN;
        if (!conn)
            conn = conn_new(p);
        if (!conn)
            return -ENOMEM;
        assign(conn, o);
    }
    lend(conn, lease);
    return 0;
}

/* ---- Waiters ---------------------------------------------------------- */

static struct waiter *waiter_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct waiter, custom.future);
}

/*
 * The first waiter gets the slot, before its task runs. Now the next waiter of
 * this origin is the first.
 */
static void granted(struct coil_waiter *place, void *conn)
{
    struct waiter *w = COILI_CONTAINER(place, struct waiter, place);
    coil_handle_cancel(&w->timer);
    lend(conn, w->lease);
    requeue(w->origin);
    coil_future_set_int(&w->custom.future, 0);
}

static void waiter_failed(struct waiter *w, int err)
{
    coil_handle_cancel(&w->timer);
    coil_waiters_leave(&w->place);
    requeue(w->origin);
    coil_future_set_error(&w->custom.future, err);
}

static void waiter_late(void *arg)
{
    waiter_failed(arg, -ETIMEDOUT);
}

static void waiter_start(struct coil_future *f)
{
    struct waiter *w = waiter_of(f);
    if (w->deadline != COIL_NEVER) {
        int err = coil_call_at(&w->timer, w->deadline, waiter_late, w);
        if (err < 0) {
            coil_future_set_error(f, err);
            return;
        }
    }
    struct coili_origin *o = w->origin;
    w->ticket = ++o->pool->tickets;
    coil_waiters_enter(&o->waiters, &w->place, granted);
    if (coil_waiters_first(&o->waiters) == &w->place)
        requeue(o);
}

static void waiter_cancel(struct coil_future *f)
{
    waiter_failed(waiter_of(f), -ECANCELED);
}

static void waiter_describe(const struct coil_future *f, char *buf, size_t size)
{
    const struct waiter *w = COILI_CONTAINER(f, const struct waiter,
                                             custom.future);
    snprintf(buf, size, "connection to %s:%u", w->origin->host,
             w->origin->port);
}

static const struct coil_future_class waiter_class = {
    .name = "connection pool",
    .start = waiter_start,
    .cancel = waiter_cancel,
    .describe = waiter_describe,
};

struct coil_future *coili_pool_wait(struct coili_origin *origin,
                                    struct coili_lease *lease,
                                    int64_t deadline)
{
    struct waiter *w = coil_custom_new(&waiter_class, sizeof *w);
    if (!w)
        return coil_future_from_nomem();
    w->origin = origin;
    w->lease = lease;
    w->deadline = deadline;
    return &w->custom.future;
}

/* Slots may be free: grant them to the first waiters that can use them. */
static void grant_slots(struct coili_pool *p)
{
    while (p->first) {
        struct coili_origin *o = p->first;
        struct coili_conn *conn = find_idle(o);
        if (!conn) {
            conn = find_slot(p);
            if (!conn)
                return;
            assign(conn, o);
        }
        coil_waiters_wake_with(&o->waiters, conn);
    }
}

/* ---- The end of a lease ----------------------------------------------- */

/*
 * Revokes the lease: its holder sees lease->conn NULL and lease->err. The
 * connection is in the middle of an exchange, so it is reset. If received bytes
 * are shown to the user, pull() in response.c does that, when they are not
 * needed any more.
 */
static void revoke(struct coili_conn *conn, int err, int code)
{
    struct coili_lease *lease = conn->lease;
    if (lease->lent) {
        lease->orphan = conn->stream;
        conn->stream = NULL;
    } else if (conn->stream) {
        end_stream(conn, coil_stream_abort(conn->stream));
    }
    lease->conn = NULL;
    lease->err = err;
    lease->detail = COIL_DETAIL(conn->phase, code);
    close_conn(conn);
    if (lease->abandoned)
        lease->abandoned(lease);
}

static void conn_fail(struct coili_conn *conn, int err, int code)
{
    struct coili_pool *p = conn->pool;
    if (conn->lease)
        revoke(conn, err, code);
    else
        close_conn(conn);
    grant_slots(p);
}

/* ---- Shortage --------------------------------------------------------- */

/*
 * In a shortage the process has no descriptor left, or the loop has no room for
 * an operation, but other connections of this pool have them. So a request
 * waits for one of those connections, as if the limit were their number. After
 * as many exchanges as there are connections the room grows by one: if that is
 * still too many, a request fails to connect and waits again.
 */
static void set_room(struct coili_pool *p, unsigned room)
{
    p->shortage = room < p->limit ? p->limit - room : 0;
    p->exchanges = 0;
}

static void exchange_ended(struct coili_pool *p)
{
    unsigned room = p->limit - p->shortage;
    if (p->shortage && ++p->exchanges >= room)
        set_room(p, room + 1);
}

/*
 * The slot of this lease has no descriptor, so it becomes the first spare slot:
 * find_slot() returns the last one.
 */
bool coili_lease_starved(struct coili_lease *lease)
{
    struct coili_conn *conn = lease->conn;
    struct coili_pool *p = conn->pool;
    unsigned others = p->count - 1;
    if (others == 0 && p->closing == 0)
        return false;
    set_room(p, others ? others : 1);
    lease->conn = NULL;
    close_conn(conn);
    coili_list_remove(&conn->link);
    coili_list_append(p->spare.next, &conn->link); /* at the front */
    grant_slots(p);
    return true;
}

/*
 * Close an idle connection, one at a time. A connection that has an operation
 * in flight and needs another one waits only if a stream is being closed: if
 * such connections waited for each other, none could go on.
 */
static bool relieve(struct coili_conn *conn, bool holds)
{
    struct coili_pool *p = conn->pool;
    struct coili_list *oldest = coili_list_first(&p->idle);
    if (!p->closing && oldest)
        close_conn(conn_of(oldest));
    return p->closing > 0 || (!holds && p->count > 1);
}

/* ---- Idle connections ------------------------------------------------- */

static void watch(struct coili_conn *conn);

/* Something has come on an idle connection: its end, as a rule. */
static void noticed(void *arg)
{
    struct coili_conn *conn = arg;
    struct coili_pool *p = conn->pool;
    if (is_quiet(conn))
        watch(conn);
    else
        close_conn(conn);
    grant_slots(p);
}

/* Watch an idle connection: it is closed when the server closes it. */
static void watch(struct coili_conn *conn)
{
    if (coil_stream_watch(conn->stream, &conn->noticed, noticed, conn) < 0)
        close_conn(conn);
}

/* How long to keep the connection; not longer than the server keeps it. */
static int64_t keep_ns(const struct coili_conn *conn)
{
    int64_t most = conn->pool->keepalive_ns;
    if (conn->keep_seconds == COILI_HTTP_KEEP_UNTOLD)
        return most;
    int64_t told = (int64_t)conn->keep_seconds * 1000000000;
    return told < most ? told : most;
}

/*
 * The connection becomes idle. A waiter may get it at once. If no waiter does,
 * the idle time begins, and the connection is watched. That needs a timer: if
 * there is no memory for a timer, the connection is closed.
 */
void coili_lease_release(struct coili_lease *lease)
{
    struct coili_conn *conn = lease->conn;
    struct coili_pool *p = conn->pool;
    if (!is_quiet(conn)) {
        coili_lease_drop(lease);
        return;
    }
    exchange_ended(p);
    lease->conn = NULL;
    conn->lease = NULL;
    conn->reused = true;
    conn->deadline = conn->read_deadline = COIL_NEVER;
    coili_list_remove(&conn->link);
    coili_list_append(&p->idle, &conn->link);
    coili_list_append(conn->origin->idle.next, &conn->same); /* at the front */
    if (!coil_waiters_empty(&conn->origin->waiters))
        requeue(conn->origin);
    if (p->first)
        grant_slots(p);
    bool idle = !conn->lease && conn->origin;
    if (!idle)
        return;
    if (coili_conn_until(conn, coili_after(keep_ns(conn))) < 0)
        close_conn(conn);
    else
        watch(conn);
}

void coili_lease_drop(struct coili_lease *lease)
{
    struct coili_conn *conn = lease->conn;
    struct coili_pool *p = conn->pool;
    exchange_ended(p);
    lease->conn = NULL;
    close_conn(conn);
    grant_slots(p);
}

/* ---- Life ------------------------------------------------------------- */

void coili_pool_init(struct coili_pool *p, coil_call_fn *ended, void *arg)
{
    *p = (struct coili_pool){ .ended = ended, .ended_arg = arg };
    p->buckets = p->few;
    p->buckets_n = COILI_POOL_BUCKETS;
    coili_list_init(&p->idle);
    coili_list_init(&p->busy);
    coili_list_init(&p->spare);
}

static void fail_waiters(struct coili_origin *o)
{
    while (!coil_waiters_empty(&o->waiters))
        waiter_failed(first_waiter(o), COIL_ECLOSED);
}

void coili_pool_close(struct coili_pool *p)
{
    struct coili_list *link;
    for (size_t i = 0; i < p->buckets_n; i++)
        for (struct coili_origin *o = p->buckets[i]; o; o = o->next)
            fail_waiters(o);
    while ((link = coili_list_first(&p->busy)))
        revoke(conn_of(link), COIL_ECLOSED, 0);
    while ((link = coili_list_first(&p->idle)))
        close_conn(conn_of(link));
}

void coili_pool_fini(struct coili_pool *p)
{
    struct coili_list *link;
    coili_check(!p->count && !p->closing && !p->origins,
                "a session ends before its connections");
    while ((link = coili_list_first(&p->spare))) {
        struct coili_conn *conn = conn_of(link);
        coili_list_remove(link);
        coil_free(conn, sizeof *conn);
    }
    free_buckets(p);
}
