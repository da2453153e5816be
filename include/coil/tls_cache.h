// SPDX-License-Identifier: MIT
#ifndef COIL_TLS_CACHE_H
#define COIL_TLS_CACHE_H

/*
 * tls_cache.h: sessions of a TLS client: later connections begin faster.
 *
 *     struct coil_tls_cache *cache = coil_tls_cache_new(0);
 *     ...
 *     AWAIT_TO(my->stream, coil_open_connection("example.com", 443, NULL));
 *     AWAIT_TO(my->stream, coil_tls_connect_cached(my->stream, my->tls, cache,
 *                                                  "example.com", 443, NULL));
 *     ...
 *     coil_tls_cache_free(cache);
 *
 * A session is what client and server keep of a handshake. The server gives it
 * to the client as a ticket. With a ticket the next connection to the server
 * needs no certificate: that saves both sides most of the CPU time, and the
 * client a kilobyte or more to receive. coil_tls_get_info() then says
 * `resumed`, and still has the certificate if the engine keeps it.
 *
 * A session is used only by a setup that trusts the same authorities and pins,
 * has the same certificate, protocols and versions; for the same name and port;
 * for as long as the server says, and as the certificate is valid, but no more
 * than a day after it was verified. A ticket of TLS 1.3 is used once, so that
 * nobody on the way can tell that two connections come from one client. If the
 * server does not resume, its certificate is verified as in any handshake.
 *
 * A cache belongs to one loop and its thread. It keeps two sessions for each
 * name, and drops the name that was not used for the longest time; keys are
 * wiped. Each session takes about 350 bytes and its ticket.
 */

#include <stddef.h>
#include <stdint.h>

#include <coil/api.h>
#include <coil/tls.h>

COIL_BEGIN_DECLS

struct coil_tls_cache;

/* Names that a cache has room for. */
enum { COIL_TLS_CACHE_NAMES = 256, COIL_TLS_CACHE_NAMES_MAX = 65536 };

/*
 * Make an empty cache in the loop of this thread. `names` is how many names it
 * has room for, at most 65536; 0: 256.
 *
 * Result    NULL: there is no memory
 * Lifetime  gives the cache (coil_tls_cache_free)
 */
COIL_API COIL_NODISCARD struct coil_tls_cache *coil_tls_cache_new(size_t names);

/*
 * Wipe and free all sessions, and free the cache. Connections that were made
 * with it go on, and so do handshakes. Call it before the loop is closed, in
 * the loop's thread. NULL is allowed.
 */
COIL_API void coil_tls_cache_free(struct coil_tls_cache *cache);

/* Wipe all sessions: the next connections begin with full handshakes. */
COIL_API void coil_tls_cache_clear(struct coil_tls_cache *cache);

/* The number of sessions in it. */
COIL_API size_t coil_tls_cache_size(const struct coil_tls_cache *cache);

/*
 * coil_tls_connect() with a session of the cache, if it has one; sessions that
 * the server gives while the connection lasts go there.
 *
 * `port` is the one that was dialled; 0: not known, and treated as a port of
 * its own. A cache of NULL, or a name of NULL, means no cache.
 *
 * Result    and errors: as coil_tls_connect()
 * Lifetime  the cache may be freed at any time
 * Source    SSLSocket.session; the rest is that of coil_tls_connect()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_tls_connect_cached(struct coil_stream *stream,
                        struct coil_tls_client *client,
                        struct coil_tls_cache *cache, const char *name,
                        uint16_t port, struct coil_tls_why *why);

COIL_END_DECLS

#endif
