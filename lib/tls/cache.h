// SPDX-License-Identifier: MIT
#ifndef COILI_CACHE_H
#define COILI_CACHE_H

/*
 * cache.h: a cache of client sessions, as a connection sees it: the sessions of
 * one name. All in the loop's thread.
 */

#include <coil/tls_cache.h>

#include "engine.h"

struct coili_host;

/*
 * The sessions of a host and port, for connections of this setup that offer the
 * protocol `alpn` besides those of the setup; NULL: none. There may be no
 * sessions; coili_tls_keep() adds some.
 *
 * Result    NULL: there is no memory
 * Lifetime  gives a reference (coili_tls_sessions_unref)
 */
struct coili_tls_sessions *
coili_tls_sessions_of(struct coil_tls_cache *cache,
                      const struct coili_tls_setup *setup,
                      const struct coili_host *host, uint16_t port,
                      const char *alpn);
void coili_tls_sessions_unref(struct coili_tls_sessions *sessions);

/* A session that is offered to a server. */
struct coili_kept {
    struct coili_tls_session session; /* views `bytes` */
    size_t references, size;
    unsigned char bytes[];
};

/*
 * The session to offer: the newest one that can be resumed now. One of TLS 1.3
 * is taken out of the cache.
 *
 * Result    NULL: there is none
 * Lifetime  gives a reference (coili_kept_unref)
 */
struct coili_kept *coili_tls_sessions_take(struct coili_tls_sessions *sessions,
                                           int64_t now_ms);
void coili_kept_unref(struct coili_kept *kept);

/* The server has not resumed this one: drop it. */
void coili_tls_sessions_drop(struct coili_tls_sessions *sessions,
                             const struct coili_kept *kept);

/*
 * Drop all sessions of the name if the error of a connection says that one of
 * the ends does not accept the other's certificate: alerts 42 to 49.
 */
void coili_tls_sessions_failed(struct coili_tls_sessions *sessions, int err,
                               uint32_t detail);

#endif
