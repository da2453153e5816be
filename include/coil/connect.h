// SPDX-License-Identifier: MIT
#ifndef COIL_CONNECT_H
#define COIL_CONNECT_H

/*
 * connect.h: streams to other programs, by name or by address.
 *
 *     AWAIT_TO(my->peer, coil_open_connection("example.com", 7, NULL));
 */

#include <coil/addr.h>
#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

/*
 * Connect to an address, with TCP_NODELAY.
 *
 * Result    a struct coil_stream *
 * Errors    of connect(2): -ECONNREFUSED, -ETIMEDOUT, -ENETUNREACH and others;
 *           of socket(2): -EMFILE, -EAFNOSUPPORT and others; -ENOBUFS,
 *           -ECANCELED, -ENOMEM
 * Lifetime  gives (coil_stream_close); copies `addr`; a stream that is not
 *           taken is closed
 * Source    asyncio.open_connection(), open_unix_connection()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_connect(const struct coil_addr *addr);

/*
 * False: no connection to this address is made. Called after the name has been
 * resolved, before each connect(2), inside a step: it cannot await.
 */
typedef bool coil_allow_address_fn(void *arg, const struct coil_addr *addr);

/*
 * Start with COIL_CONNECT_OPTIONS_INIT; 0 means the default, which stands last
 * in each comment. A duration below 0 leaves no time at all.
 */
struct coil_connect_options {
    size_t size;                /* sizeof(struct coil_connect_options) */
    int64_t timeout_ns;         /* for the lookup and all addresses together;
                                   COIL_NEVER: no limit of their own */
    int64_t attempt_timeout_ns; /* for the lookup, and for each address;
                                   COIL_NEVER */
    coil_allow_address_fn *allow; /* is asked about each address; NULL: all
                                     are allowed */
    void *allow_arg;
};

#define COIL_CONNECT_OPTIONS_INIT \
    COILI_OPTIONS_INIT(struct coil_connect_options)

/*
 * Connect to a host by its name: resolve the name (resolve.h), then try its
 * addresses one after the other until one of them answers. A numeric host, such
 * as "127.0.0.1" or "::1", is not looked up. For a Unix socket there are
 * coil_addr_from_path() and coil_stream_connect().
 *
 * The detail of an error tells the phase in which the call ended,
 * COIL_PHASE_RESOLVE or COIL_PHASE_CONNECT, also that of -ECANCELED; it is
 * COIL_PHASE_NONE if the call ended before its first step.
 *
 * Result    a struct coil_stream *, with TCP_NODELAY
 * Errors    in COIL_PHASE_RESOLVE: those of coil_resolve(); -ETIMEDOUT after
 *           either time-out;
 *           in COIL_PHASE_CONNECT: -ETIMEDOUT after timeout_ns; when all
 *           addresses have failed the error of the first one: that of
 *           coil_stream_connect(), -ETIMEDOUT after attempt_timeout_ns, or
 *           -EACCES if options.allow has refused it. The error of an address
 *           out of reach (-ENETUNREACH, -EHOSTUNREACH, -EADDRNOTAVAIL,
 *           -EAFNOSUPPORT) gives way to that of the next one; -ECANCELED,
 *           -ENOMEM
 * Lifetime  gives (coil_stream_close); copies `host` and `options`, NULL for
 *           the defaults; a stream that is not taken is closed
 * Source    asyncio.open_connection()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_open_connection(const char *host, uint16_t port,
                     const struct coil_connect_options *options);

COIL_END_DECLS

#endif
