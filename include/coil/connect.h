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

COIL_END_DECLS

#endif
