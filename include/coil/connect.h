// SPDX-License-Identifier: MIT
#ifndef COIL_CONNECT_H
#define COIL_CONNECT_H

/*
 * connect.h: streams to other programs.
 */

#include <coil/addr.h>
#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

/*
 * Connect to an address, with TCP_NODELAY.
 *
 * Result    a struct coil_stream *
 * Errors    of connect(2): -ECONNREFUSED, -ETIMEDOUT, ...; -EMFILE, -ENOMEM
 * Lifetime  gives (coil_stream_close); copies `addr`; closed if nobody takes it
 * Source    asyncio.open_connection()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_connect(const struct coil_addr *addr);

/*
 * Start with COIL_CONNECT_OPTIONS_INIT; 0 means the default. A time-out below 0
 * leaves no time at all.
 */
struct coil_connect_options {
    size_t size;                /* sizeof(struct coil_connect_options) */
    int64_t timeout_ns;         /* for the lookup and all addresses together;
                                   COIL_NEVER */
    int64_t attempt_timeout_ns; /* for the lookup of the name, and for each of
                                   its addresses; COIL_NEVER */
};

#define COIL_CONNECT_OPTIONS_INIT \
    COILI_OPTIONS_INIT(struct coil_connect_options)

/*
 * Connect to a host: resolve its name (resolve.h) and try its addresses in
 * turn until one of them answers, with TCP_NODELAY. A numeric host, such as
 * "127.0.0.1" or "::1", is not looked up. For a Unix socket there are
 * coil_addr_from_path() and coil_stream_connect().
 *
 * The detail of an error, also of a cancellation, says in which phase it came:
 * COIL_PHASE_RESOLVE or COIL_PHASE_CONNECT (COIL_PHASE_NONE: before the first
 * step).
 *
 * Result    a struct coil_stream *
 * Errors    those of coil_resolve(), in COIL_PHASE_RESOLVE;
 *           -ETIMEDOUT after timeout_ns, in either phase, and after
 *           attempt_timeout_ns in COIL_PHASE_RESOLVE;
 *           in COIL_PHASE_CONNECT, when all addresses have failed, the error of
 *           the first one, -ECONNREFUSED or another of coil_stream_connect(),
 *           or -ETIMEDOUT after attempt_timeout_ns; an address that was out of
 *           reach (-ENETUNREACH, -EHOSTUNREACH, -EADDRNOTAVAIL,
 *           -EAFNOSUPPORT) counts only if all of them were;
 *           -ECANCELED, -ENOMEM
 * Lifetime  gives (coil_stream_close); copies `host` and `options`; a stream
 *           that is not taken is closed
 * Source    asyncio.open_connection()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_open_connection(const char *host, uint16_t port,
                     const struct coil_connect_options *options);

COIL_END_DECLS

#endif
