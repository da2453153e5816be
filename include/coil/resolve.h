// SPDX-License-Identifier: MIT
#ifndef COIL_RESOLVE_H
#define COIL_RESOLVE_H

/*
 * resolve.h: the addresses of a host, by its name.
 */

#include <coil/addr.h>
#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

/* The most addresses of one name. */
#define COIL_RESOLVE_LIMIT 16

struct coil_addrs {
    size_t n;
    struct coil_addr list[COIL_RESOLVE_LIMIT];
};

/*
 * Look up the addresses of a host, in a worker thread of coil's own. Tasks that
 * ask for a name which is being looked up wait for the same answer, for any
 * port. An answer is kept for options.resolver_keep_ns, an error is not. A
 * numeric host is not looked up. "localhost" and names that end in ".localhost"
 * mean this machine, 127.0.0.1 and then ::1, without a lookup.
 *
 * The loop's options are the bounds. Names beyond
 * options.resolver_threads_limit wait for a thread, new names beyond
 * options.resolver_names_limit wait for room, both in the order of arrival. A
 * lookup cannot be interrupted: if all tasks that wait for it are cancelled,
 * it goes on and its answer is kept. If the loop is closed meanwhile, the
 * thread ends by itself, within the time-outs of resolv.conf(5).
 *
 * Result    0; the addresses of both families are in *out, in the order in
 *           which to try them; those that this machine cannot reach come last
 * Errors    COIL_ERESOLVE, with EAI_* in the detail's code: the name does not
 *           resolve, or is empty or longer than 255 bytes; COIL_ENOTHREAD;
 *           -errno of the system for EAI_SYSTEM; -EMFILE, -ENFILE: there was
 *           no descriptor for the lookup; -ECANCELED, -ENOMEM
 * Lifetime  copies `host`; the caller lends `out` until the future is done
 * Source    asyncio loop.getaddrinfo(); getaddrinfo(3), RFC 6761 6.3
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_resolve(struct coil_addrs *out, const char *host, uint16_t port);

COIL_END_DECLS

#endif
