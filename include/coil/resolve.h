// SPDX-License-Identifier: MIT
#ifndef COIL_RESOLVE_H
#define COIL_RESOLVE_H

/*
 * resolve.h: names to addresses.
 */

#include <coil/addr.h>
#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

#define COIL_RESOLVE_LIMIT 16

struct coil_addrs {
    size_t n;
    struct coil_addr list[COIL_RESOLVE_LIMIT];
};

/*
 * Look a name up, in coil's own worker thread. Who asks for a name that is
 * being looked up waits for the same answer, for any port; an answer is kept
 * for a while, an error is not. "localhost" is this machine: 127.0.0.1, then
 * ::1, and nobody is asked.
 *
 * The loop's options are the bounds: names beyond
 * options.resolver_threads_limit wait for a thread, new ones beyond
 * options.resolver_names_limit wait until they can be kept, both in the order
 * of arrival. A lookup cannot be interrupted: when those who wait are cancelled
 * it goes on and its answer is kept, and when the loop is closed its thread
 * ends by itself, within the time-outs of resolv.conf(5).
 *
 * Result    0, and the addresses in *out in the order to be tried
 * Errors    COIL_ERESOLVE (the detail's code is EAI_*); COIL_ENOTHREAD; -errno
 *           of the system for EAI_SYSTEM; -ECANCELED, -ENOMEM
 * Lifetime  copies `host`; lends `out` until it is done
 * Source    asyncio loop.getaddrinfo(); getaddrinfo(3)
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_resolve(struct coil_addrs *out, const char *host, uint16_t port);

COIL_END_DECLS

#endif
