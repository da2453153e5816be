// SPDX-License-Identifier: MIT
/*
 * cache.c: sessions of TLS clients.
 *
 *     cache --> table of names --> two sessions, the newest first
 *                    ^
 *     connection ----+  while it lasts: new sessions come at any time
 *
 * The key of a name is a hash of all that a session must be the same in: host,
 * port, and the id of the setup. So a session of another setup is not found,
 * and no comparison can be forgotten.
 *
 * A name stays in memory while a connection refers to it, but is in the table
 * only while the cache has room. Invariant: a name that is not in the table has
 * no sessions. It comes back when it is given one.
 */
#include "cache.h"

#include <string.h>

#include <coil/error.h>
#include <coil/loop.h>
#include <coil/time.h>

#include "base/check.h"
#include "base/list.h"
#include "name.h"
#include "setup.h"
#include "tls/bear/verify.h"

/* Of one name, of one connection, and the bytes of one. */
enum { SESSIONS_MAX = 2, KEPT_MAX = 8, SESSION_BYTES_MAX = 16384 };

/* RFC 8446, 4.6.1: seven days. RFC 5077 has no limit; it gets the same. */
enum { LIFETIME_MAX = 604800 };

struct coili_tls_sessions {
    struct coil_tls_cache *cache;    /* a reference */
    struct coili_list link;          /* of cache->used, if it is in the table */
    struct coili_tls_sessions *next; /* of its bucket */
    size_t references;               /* the table has one */
    struct coili_kept *kept[SESSIONS_MAX];
    unsigned char key[32];
};

struct coil_tls_cache {
    size_t references; /* the user's, and one of each name */
    size_t names, names_max, sessions, buckets;
    bool freed;
    struct coili_list used; /* the longest unused first */
    struct coili_tls_sessions *table[];
};

/* ---- One session ------------------------------------------------------ */

static struct coili_tls_view copy(unsigned char **to,
                                  struct coili_tls_view from)
{
    struct coili_tls_view view = { *to, from.len };
    if (from.len)
        memcpy(*to, from.at, from.len);
    *to += from.len;
    return view;
}

static struct coili_kept *kept_new(const struct coili_tls_session *s)
{
    size_t bytes = s->certificate.len + s->alpn.len + s->ticket.len;
    if (bytes > SESSION_BYTES_MAX)
        return NULL;
    struct coili_kept *kept = coil_alloc(sizeof *kept + bytes);
    if (!kept)
        return NULL;
    unsigned char *at = kept->bytes;
    kept->references = 1;
    kept->size = sizeof *kept + bytes;
    kept->session = *s;
    kept->session.certificate = copy(&at, s->certificate);
    kept->session.alpn = copy(&at, s->alpn);
    kept->session.ticket = copy(&at, s->ticket);
    return kept;
}

void coili_kept_unref(struct coili_kept *kept)
{
    if (!kept || --kept->references > 0)
        return;
    size_t size = kept->size;
    explicit_bzero(kept, size);
    coil_free(kept, size);
}

/* The clock may have been set back: then its age is not known. */
static bool is_usable(const struct coili_tls_session *s, int64_t now_ms)
{
    int64_t age_ms = now_ms - s->received_ms;
    return age_ms >= 0 && age_ms < (int64_t)s->lifetime * 1000 &&
           now_ms / 1000 < s->believed_until;
}

/* ---- The sessions of a name ------------------------------------------- */

static void remove_session(struct coili_tls_sessions *s, size_t i)
{
    if (!s->kept[i])
        return;
    coili_kept_unref(s->kept[i]);
    for (; i + 1 < SESSIONS_MAX; i++)
        s->kept[i] = s->kept[i + 1];
    s->kept[SESSIONS_MAX - 1] = NULL;
    s->cache->sessions--;
}

static void remove_all(struct coili_tls_sessions *s)
{
    while (s->kept[0])
        remove_session(s, 0);
}

static struct coili_tls_sessions **bucket_of(struct coil_tls_cache *cache,
                                             const unsigned char key[32])
{
    uint32_t hash;
    memcpy(&hash, key, sizeof hash);
    return &cache->table[hash & (cache->buckets - 1)];
}

static struct coili_tls_sessions *find(struct coil_tls_cache *cache,
                                       const unsigned char key[32])
{
    struct coili_tls_sessions *s = *bucket_of(cache, key);
    while (s && memcmp(s->key, key, sizeof s->key) != 0)
        s = s->next;
    return s;
}

/* Out of the table, which may free it. */
static void detach(struct coili_tls_sessions *s)
{
    struct coili_tls_sessions **at = bucket_of(s->cache, s->key);
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    coili_list_remove(&s->link);
    s->cache->names--;
    remove_all(s);
    coili_tls_sessions_unref(s);
}

static struct coili_tls_sessions *longest_unused(struct coil_tls_cache *cache)
{
    return COILI_CONTAINER(coili_list_first(&cache->used),
                           struct coili_tls_sessions, link);
}

static void attach(struct coili_tls_sessions *s)
{
    struct coil_tls_cache *cache = s->cache;
    struct coili_tls_sessions **bucket = bucket_of(cache, s->key);
    if (cache->names == cache->names_max)
        detach(longest_unused(cache));
    s->next = *bucket;
    *bucket = s;
    s->references++;
    coili_list_append(&cache->used, &s->link);
    cache->names++;
}

static void touch(struct coili_tls_sessions *s)
{
    coili_list_remove(&s->link);
    coili_list_append(&s->cache->used, &s->link);
}

/* ---- A cache ---------------------------------------------------------- */

static size_t cache_bytes(size_t buckets)
{
    return sizeof(struct coil_tls_cache) +
           buckets * sizeof(struct coili_tls_sessions *);
}

struct coil_tls_cache *coil_tls_cache_new(size_t names)
{
    coili_check(names <= COIL_TLS_CACHE_NAMES_MAX,
                "coil_tls_cache_new: names must be at most 65536");
    if (names == 0)
        names = COIL_TLS_CACHE_NAMES;
    size_t buckets = 1;
    while (buckets < names / 2)
        buckets *= 2;
    struct coil_tls_cache *cache = coil_alloc(cache_bytes(buckets));
    if (!cache)
        return NULL;
    memset(cache, 0, cache_bytes(buckets));
    cache->references = 1;
    cache->names_max = names;
    cache->buckets = buckets;
    coili_list_init(&cache->used);
    return cache;
}

static void cache_unref(struct coil_tls_cache *cache)
{
    if (--cache->references == 0)
        coil_free(cache, cache_bytes(cache->buckets));
}

void coil_tls_cache_clear(struct coil_tls_cache *cache)
{
    coili_check(cache, "coil_tls_cache_clear: cache is NULL");
    while (cache->names > 0)
        detach(longest_unused(cache));
}

void coil_tls_cache_free(struct coil_tls_cache *cache)
{
    if (!cache)
        return;
    coil_tls_cache_clear(cache);
    cache->freed = true;
    cache_unref(cache);
}

size_t coil_tls_cache_size(const struct coil_tls_cache *cache)
{
    coili_check(cache, "coil_tls_cache_size: cache is NULL");
    return cache->sessions;
}

/* ---- What a connection does ------------------------------------------- */

/*
 * Which sessions are the same: by the address, or the name as sent in SNI; and
 * by what the connection offers besides its setup.
 */
static void make_key(unsigned char key[32], const struct coili_tls_setup *setup,
                     const struct coili_host *host, uint16_t port,
                     const char *alpn)
{
    unsigned char text[2 * sizeof setup->id + 3 + sizeof host->name];
    size_t n = sizeof setup->id;
    memcpy(text, setup->id, n);
    coili_bear_sha256(text + n, alpn, alpn ? strlen(alpn) : 0);
    n += 32;
    text[n++] = (unsigned char)(port >> 8);
    text[n++] = (unsigned char)port;
    text[n++] = host->is_ip;
    if (host->is_ip)
        memcpy(text + n, host->ip, host->ip_len);
    else
        memcpy(text + n, host->name, host->len);
    n += host->is_ip ? host->ip_len : host->len;
    coili_bear_sha256(key, text, n);
}

struct coili_tls_sessions *
coili_tls_sessions_of(struct coil_tls_cache *cache,
                      const struct coili_tls_setup *setup,
                      const struct coili_host *host, uint16_t port,
                      const char *alpn)
{
    unsigned char key[32];
    make_key(key, setup, host, port, alpn);
    struct coili_tls_sessions *s = find(cache, key);
    if (s) {
        s->references++;
        touch(s);
        return s;
    }
    s = coil_alloc(sizeof *s);
    if (!s)
        return NULL;
    *s = (struct coili_tls_sessions){ .cache = cache, .references = 1 };
    memcpy(s->key, key, sizeof key);
    cache->references++;
    attach(s);
    return s;
}

void coili_tls_sessions_unref(struct coili_tls_sessions *s)
{
    if (!s || --s->references > 0)
        return;
    cache_unref(s->cache);
    coil_free(s, sizeof *s);
}

struct coili_kept *coili_tls_sessions_take(struct coili_tls_sessions *s,
                                           int64_t now_ms)
{
    while (s->kept[0] && !is_usable(&s->kept[0]->session, now_ms))
        remove_session(s, 0);
    struct coili_kept *kept = s->kept[0];
    if (!kept)
        return NULL;
    kept->references++;
    if (kept->session.version == COIL_TLS_1_3)
        remove_session(s, 0);
    return kept;
}

void coili_tls_sessions_drop(struct coili_tls_sessions *s,
                             const struct coili_kept *kept)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        if (s->kept[i] == kept)
            remove_session(s, i);
}

void coili_tls_sessions_failed(struct coili_tls_sessions *s, int err,
                               uint32_t detail)
{
    int alert = COIL_DETAIL_CODE(detail) & (COIL_TLS_BY_PEER - 1);
    if (err == COIL_ECERT ||
        (err == COIL_ETLS && COIL_DETAIL_CODE(detail) < 2 * COIL_TLS_BY_PEER &&
         alert >= COILI_ALERT_BAD_CERTIFICATE &&
         alert <= COILI_ALERT_ACCESS_DENIED))
        remove_all(s);
}

/*
 * Where the connection's name is now: it may have lost its place in the table,
 * and another connection may have taken one for the same name.
 */
static struct coili_tls_sessions *in_table(struct coili_tls_sessions *s)
{
    if (coili_list_linked(&s->link))
        return s;
    struct coili_tls_sessions *other = find(s->cache, s->key);
    if (other)
        return other;
    attach(s);
    return s;
}

void coili_tls_keep(struct coili_tls_state *state,
                    const struct coili_tls_session *session)
{
    int64_t now_ms = coil_wall_now() / COIL_MS(1);
    struct coili_tls_sessions *s = state->sessions;
    if (!s || s->cache->freed || state->kept == KEPT_MAX ||
        session->lifetime == 0 || session->lifetime > LIFETIME_MAX ||
        state->believed_until <= now_ms / 1000)
        return;
    struct coili_kept *kept = kept_new(session);
    if (!kept)
        return;
    kept->session.received_ms = now_ms;
    kept->session.believed_until = state->believed_until;
    state->kept++;
    s = in_table(s);
    touch(s);
    remove_session(s, SESSIONS_MAX - 1);
    for (size_t i = SESSIONS_MAX - 1; i > 0; i--)
        s->kept[i] = s->kept[i - 1];
    s->kept[0] = kept;
    s->cache->sessions++;
}
