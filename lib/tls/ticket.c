// SPDX-License-Identifier: MIT
/*
 * ticket.c: the session tickets of a server, and their keys.
 *
 *     ticket = id of the key 8 | nonce 12 | AES-128-GCM of a session | tag 16
 *
 * What a ticket must not be moved to is not in it, but in what the tag covers:
 * the id of the setup and the name that the client asks for. So a ticket of
 * another setup or name is one that does not open, and no comparison can be
 * forgotten. Such faults were found in other libraries again and again.
 *
 * Keys of our own have a time of an hour in which they seal, and another in
 * which they only open. Keys that were set are used until they are replaced. All
 * are derived, so that no key is used by two algorithms.
 *
 * The object belongs to no loop: its memory is from malloc(), and it has a lock.
 */
#include "ticket.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <coil/entropy.h>
#include <coil/time.h>

#include "base/check.h"
#include "setup.h"
#include "tls/bear/verify.h"

/* For keys of our own: how long one seals, and opens. */
enum { HOUR = 3600, DAY = 24 * HOUR, WEEK = 7 * DAY };

struct coil_tls_ticket_keys {
    _Atomic(size_t) references;
    pthread_mutex_t lock; /* of all that follows */
    bool given;           /* by coil_tls_ticket_keys_set() */
    size_t n;
    int64_t began; /* when the first one was made */
    struct coili_ticket_key keys[COIL_TLS_TICKET_KEYS_MAX]; /* newest first */
};

struct coil_tls_ticket_keys *coil_tls_ticket_keys_new(void)
{
    struct coil_tls_ticket_keys *keys = calloc(1, sizeof *keys);
    if (!keys)
        return NULL;
    atomic_init(&keys->references, 1);
    pthread_mutex_init(&keys->lock, NULL);
    return keys;
}

struct coil_tls_ticket_keys *
coil_tls_ticket_keys_ref(struct coil_tls_ticket_keys *keys)
{
    coili_check(keys, "coil_tls_ticket_keys_ref: keys is NULL");
    atomic_fetch_add_explicit(&keys->references, 1, memory_order_relaxed);
    return keys;
}

void coil_tls_ticket_keys_unref(struct coil_tls_ticket_keys *keys)
{
    if (!keys || atomic_fetch_sub_explicit(&keys->references, 1,
                                           memory_order_acq_rel) > 1)
        return;
    pthread_mutex_destroy(&keys->lock);
    explicit_bzero(keys->keys, sizeof keys->keys);
    free(keys);
}

static void derive(struct coili_ticket_key *key,
                   const unsigned char secret[COIL_TLS_TICKET_KEY_BYTES],
                   int64_t end)
{
    static const char id[] = "coil ticket id", seal[] = "coil ticket seal",
                      cipher[] = "coil ticket cipher",
                      mac[] = "coil ticket mac";
    unsigned char out[32];
    coili_bear_hmac(out, secret, COIL_TLS_TICKET_KEY_BYTES, id, sizeof id - 1);
    memcpy(key->id, out, sizeof key->id);
    coili_bear_hmac(out, secret, COIL_TLS_TICKET_KEY_BYTES, seal,
                    sizeof seal - 1);
    memcpy(key->seal, out, sizeof key->seal);
    coili_bear_hmac(key->cipher, secret, COIL_TLS_TICKET_KEY_BYTES, cipher,
                    sizeof cipher - 1);
    coili_bear_hmac(key->mac, secret, COIL_TLS_TICKET_KEY_BYTES, mac,
                    sizeof mac - 1);
    explicit_bzero(out, sizeof out);
    key->end = end;
}

void coil_tls_ticket_keys_set(struct coil_tls_ticket_keys *keys,
                              const void *bytes, size_t n)
{
    coili_check(keys, "coil_tls_ticket_keys_set: keys is NULL");
    coili_check(bytes, "coil_tls_ticket_keys_set: bytes is NULL");
    coili_check(n >= 1 && n <= COIL_TLS_TICKET_KEYS_MAX,
                "coil_tls_ticket_keys_set: n must be 1 to 8");
    pthread_mutex_lock(&keys->lock);
    explicit_bzero(keys->keys, sizeof keys->keys);
    for (size_t i = 0; i < n; i++)
        derive(&keys->keys[i],
               (const unsigned char *)bytes + i * COIL_TLS_TICKET_KEY_BYTES,
               INT64_MAX);
    keys->given = true;
    keys->n = n;
    pthread_mutex_unlock(&keys->lock);
}

/* ---- Which key -------------------------------------------------------- */

/* Wipe those that open no ticket any more. Older ones end earlier. */
static void drop_old(struct coil_tls_ticket_keys *keys, int64_t now)
{
    while (keys->n > 0 && keys->keys[keys->n - 1].end <= now) {
        keys->n--;
        explicit_bzero(&keys->keys[keys->n], sizeof *keys->keys);
    }
}

void coili_ticket_keys_turn(struct coil_tls_ticket_keys *keys)
{
    unsigned char secret[COIL_TLS_TICKET_KEY_BYTES];
    int64_t now = coil_wall_now() / COIL_SECONDS(1);
    pthread_mutex_lock(&keys->lock);
    drop_old(keys, now);
    bool is_due = keys->n == 0 || now - keys->began >= HOUR ||
                  now < keys->began;
    if (!keys->given && is_due && coil_entropy(secret, sizeof secret) == 0) {
        keys->keys[1] = keys->keys[0];
        derive(&keys->keys[0], secret, now + 2 * HOUR);
        keys->began = now;
        keys->n = keys->n > 0 ? 2 : 1;
        explicit_bzero(secret, sizeof secret);
    }
    pthread_mutex_unlock(&keys->lock);
}

bool coili_ticket_key_get(struct coil_tls_ticket_keys *keys,
                          const unsigned char *id, int64_t now,
                          struct coili_ticket_key *key)
{
    bool found = false;
    pthread_mutex_lock(&keys->lock);
    for (size_t i = 0; i < keys->n && !found; i++) {
        found = keys->keys[i].end > now &&
                (!id ||
                 memcmp(id, keys->keys[i].id, COILI_TICKET_ID_BYTES) == 0);
        if (found)
            *key = keys->keys[i];
        if (!id)
            break;
    }
    pthread_mutex_unlock(&keys->lock);
    return found;
}

/* ---- What a ticket relies on ------------------------------------------ */

/* Names are compared as DNS does: upper case is lower case. */
static void bind_to(const struct coili_tls_setup *setup, const char *name,
                    unsigned char bound[32])
{
    unsigned char text[sizeof setup->id + 256];
    size_t n = sizeof setup->id;
    memcpy(text, setup->id, n);
    for (; *name && n < sizeof text; name++, n++)
        text[n] = (unsigned char)(*name >= 'A' && *name <= 'Z'
                                      ? *name + 'a' - 'A'
                                      : *name);
    coili_bear_sha256(bound, text, n);
}

void coili_ticket_mac_key(const struct coili_ticket_key *key,
                          const struct coili_tls_setup *setup, const char *name,
                          unsigned char mac[32])
{
    unsigned char bound[32];
    bind_to(setup, name, bound);
    coili_bear_hmac(mac, key->mac, sizeof key->mac, bound, sizeof bound);
}

int64_t coili_tls_now(const struct coili_tls_state *state)
{
    return state->handshake ? state->handshake->now
                            : coil_wall_now() / COIL_SECONDS(1);
}

/*
 * A session is bounded by the certificate it began with, or, for clients
 * without one, by time alone: TLS 1.3 makes new keys for each connection, TLS
 * 1.2 does not.
 */
int64_t coili_tls_believed_until(const struct coili_tls_state *state,
                                 uint16_t version)
{
    if (state->believed_until)
        return state->believed_until;
    return coili_tls_now(state) + (version == COIL_TLS_1_3 ? WEEK : DAY);
}

uint32_t coili_ticket_lifetime(const struct coili_ticket_key *key,
                               int64_t believed_until, int64_t now)
{
    int64_t end = key->end < believed_until ? key->end : believed_until;
    return end <= now ? 0 : end - now > WEEK ? WEEK : (uint32_t)(end - now);
}

/* ---- A session as bytes ----------------------------------------------- */

/*
 * The form: 1 | version 2 | suite 2 | believed until 8 | and each with its
 * length before it: secret 1, hash of the leaf 1, protocol 1, certificate 2,
 * bytes of the engine 2.
 */
enum { FORM = 1, FIXED_BYTES = 1 + 2 + 2 + 8 + 1 + 1 + 1 + 2 + 2 };
enum {
    HEAD_BYTES = COILI_TICKET_ID_BYTES + COILI_SEAL_NONCE_BYTES,
    AROUND_BYTES = HEAD_BYTES + COILI_SEAL_TAG_BYTES
};

static size_t leaf_bytes(const struct coili_tls_session *s)
{
    static const unsigned char none[sizeof s->leaf_sha256];
    return memcmp(s->leaf_sha256, none, sizeof none) == 0 ? 0 : sizeof none;
}

static size_t session_bytes(const struct coili_tls_session *s)
{
    return FIXED_BYTES + s->secret_len + leaf_bytes(s) + s->alpn.len +
           s->certificate.len + s->ticket.len;
}

size_t coili_tls_ticket_bytes(const struct coili_tls_session *session)
{
    return AROUND_BYTES + session_bytes(session);
}

static unsigned char *put_number(unsigned char *at, uint64_t number,
                                 unsigned bytes)
{
    while (bytes-- > 0)
        *at++ = (unsigned char)(number >> 8 * bytes);
    return at;
}

static unsigned char *put_bytes(unsigned char *at, const void *bytes,
                                size_t len, unsigned of_len)
{
    at = put_number(at, len, of_len);
    if (len)
        memcpy(at, bytes, len);
    return at + len;
}

static void put_session(unsigned char *at, const struct coili_tls_session *s,
                        int64_t believed_until)
{
    at = put_number(at, FORM, 1);
    at = put_number(at, s->version, 2);
    at = put_number(at, s->suite, 2);
    at = put_number(at, (uint64_t)believed_until, 8);
    at = put_bytes(at, s->secret, s->secret_len, 1);
    at = put_bytes(at, s->leaf_sha256, leaf_bytes(s), 1);
    at = put_bytes(at, s->alpn.at, s->alpn.len, 1);
    at = put_bytes(at, s->certificate.at, s->certificate.len, 2);
    put_bytes(at, s->ticket.at, s->ticket.len, 2);
}

static bool take_number(struct coili_tls_view *from, uint64_t *number,
                        unsigned bytes)
{
    if (from->len < bytes)
        return false;
    *number = 0;
    from->len -= bytes;
    while (bytes-- > 0)
        *number = *number << 8 | *from->at++;
    return true;
}

static bool take_bytes(struct coili_tls_view *from, struct coili_tls_view *to,
                       unsigned of_len)
{
    uint64_t len;
    if (!take_number(from, &len, of_len) || from->len < len)
        return false;
    *to = (struct coili_tls_view){ from->at, len };
    from->at += len;
    from->len -= len;
    return true;
}

/* Only a server with the key has made these bytes; another version, perhaps. */
static bool take_session(struct coili_tls_view from,
                         struct coili_tls_session *s)
{
    uint64_t form, version, suite, until;
    struct coili_tls_view secret, leaf;
    *s = (struct coili_tls_session){ 0 };
    if (!take_number(&from, &form, 1) || form != FORM ||
        !take_number(&from, &version, 2) || !take_number(&from, &suite, 2) ||
        !take_number(&from, &until, 8) || !take_bytes(&from, &secret, 1) ||
        !take_bytes(&from, &leaf, 1) || !take_bytes(&from, &s->alpn, 1) ||
        !take_bytes(&from, &s->certificate, 2) ||
        !take_bytes(&from, &s->ticket, 2) || from.len > 0 ||
        secret.len > sizeof s->secret ||
        (leaf.len != 0 && leaf.len != sizeof s->leaf_sha256))
        return false;
    s->version = (uint16_t)version;
    s->suite = (uint16_t)suite;
    s->believed_until = (int64_t)until;
    s->secret_len = (uint8_t)secret.len;
    memcpy(s->secret, secret.at, secret.len);
    memcpy(s->leaf_sha256, leaf.at, leaf.len);
    return true;
}

/* ---- Tickets ---------------------------------------------------------- */

bool coili_tls_gives_tickets(const struct coili_tls_state *state)
{
    return state->setup->ticket_keys;
}

/* After OPEN, perhaps hours after it, this is the loop's thread. */
int coili_tls_ticket_seal(
    struct coili_tls_state *state, const struct coili_tls_session *session,
    const char *name, const unsigned char nonce[COILI_TLS_TICKET_NONCE_BYTES],
    unsigned char *ticket, uint32_t *lifetime)
{
    struct coil_tls_ticket_keys *keys = state->setup->ticket_keys;
    int64_t now = coili_tls_now(state);
    int64_t until = coili_tls_believed_until(state, session->version);
    struct coili_ticket_key key;
    struct coili_seal seal;
    coili_check(session->alpn.len <= 255 && session->certificate.len <= 65535 &&
                    session->ticket.len <= 65535 &&
                    session->secret_len <= sizeof session->secret,
                "coili_tls_ticket_seal: a part of the session is too long");
    if (keys && !state->handshake)
        coili_ticket_keys_turn(keys);
    if (!keys || until <= now || !coili_ticket_key_get(keys, NULL, now, &key))
        return -ENOKEY;
    if (nonce)
        memcpy(seal.nonce, nonce, sizeof seal.nonce);
    else if (coil_entropy(seal.nonce, sizeof seal.nonce) < 0)
        return -ENOKEY;
    memcpy(seal.key, key.seal, sizeof seal.key);
    bind_to(state->setup, name, seal.bound);
    memcpy(ticket, key.id, sizeof key.id);
    memcpy(ticket + COILI_TICKET_ID_BYTES, seal.nonce, sizeof seal.nonce);
    size_t len = session_bytes(session);
    put_session(ticket + HEAD_BYTES, session, until);
    coili_bear_seal(&seal, ticket + HEAD_BYTES, len, ticket + HEAD_BYTES + len);
    *lifetime = coili_ticket_lifetime(&key, until, now);
    explicit_bzero(&seal, sizeof seal);
    explicit_bzero(&key, sizeof key);
    return 0;
}

bool coili_tls_ticket_open(struct coili_tls_state *state,
                           const unsigned char *ticket, size_t len,
                           const char *name, unsigned char *room,
                           struct coili_tls_session *session)
{
    struct coil_tls_ticket_keys *keys = state->setup->ticket_keys;
    int64_t now = coili_tls_now(state);
    struct coili_ticket_key key;
    struct coili_seal seal;
    if (!keys || len < AROUND_BYTES + FIXED_BYTES ||
        !coili_ticket_key_get(keys, ticket, now, &key))
        return false;
    size_t n = len - AROUND_BYTES;
    memcpy(seal.key, key.seal, sizeof seal.key);
    memcpy(seal.nonce, ticket + COILI_TICKET_ID_BYTES, sizeof seal.nonce);
    bind_to(state->setup, name, seal.bound);
    memcpy(room, ticket + HEAD_BYTES, n);
    bool ok = coili_bear_unseal(&seal, room, n, ticket + HEAD_BYTES + n) &&
              take_session((struct coili_tls_view){ room, n }, session) &&
              now < session->believed_until;
    if (!ok)
        explicit_bzero(room, n);
    explicit_bzero(&seal, sizeof seal);
    explicit_bzero(&key, sizeof key);
    return ok;
}
