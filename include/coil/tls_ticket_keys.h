// SPDX-License-Identifier: MIT
#ifndef COIL_TLS_TICKET_KEYS_H
#define COIL_TLS_TICKET_KEYS_H

/*
 * tls_ticket_keys.h: the keys of a TLS server's session tickets.
 *
 * A server keeps no sessions. It gives each client a ticket, in which the
 * session is sealed (encrypted, and protected against changes) with a key that
 * only servers have. A client that brings the ticket back within a day saves
 * both sides the costly part of the handshake.
 *
 * A server's setup makes keys of its own if it is given none. An object for
 * them, for options.ticket_keys, is needed where tickets must survive the
 * setup, or be opened elsewhere:
 *
 *   - by the next setup of the same process, which has the same certificate;
 *   - by other processes or machines, which coil_tls_ticket_keys_set() gives
 *     the same keys.
 *
 * A ticket is opened only for the server name that it was made for, by a setup
 * that has the same certificate, authorities, pins, protocols and versions. So
 * setups may share keys without taking sessions of each other.
 *
 * Unless keys are set, a random one is made each hour. It opens tickets for an
 * hour more, and is then wiped: a key that is stolen opens no older tickets.
 */

#include <stddef.h>

#include <coil/api.h>

COIL_BEGIN_DECLS

struct coil_tls_ticket_keys;

enum { COIL_TLS_TICKET_KEY_BYTES = 32, COIL_TLS_TICKET_KEYS_MAX = 8 };

/*
 * Make an object for keys, in any thread, with a loop or without; setups in any
 * threads may use it.
 *
 * Result    NULL: there is no memory
 * Lifetime  gives one reference (coil_tls_ticket_keys_unref)
 */
COIL_API COIL_NODISCARD struct coil_tls_ticket_keys *
coil_tls_ticket_keys_new(void);

/*
 * Add a reference, and drop one: in any thread. NULL may be dropped. With the
 * last reference the keys are wiped.
 *
 * Result    `keys`
 * Lifetime  shares
 */
COIL_API struct coil_tls_ticket_keys *
coil_tls_ticket_keys_ref(struct coil_tls_ticket_keys *keys);
COIL_API void coil_tls_ticket_keys_unref(struct coil_tls_ticket_keys *keys);

/*
 * From now on use these keys, and make no more. They are random bytes, 32 for
 * each of the `n` keys, 1 to 8. The first one seals, all of them open. Call it
 * again with a new key in front, each hour or day: a key that is never replaced
 * opens everything that was ever sent. First have all servers open with the
 * new key, then let them seal with it. In any thread, at any time.
 *
 * Lifetime  copies `keys`, and wipes those from before
 */
COIL_API void coil_tls_ticket_keys_set(struct coil_tls_ticket_keys *keys,
                                       const void *bytes, size_t n);

COIL_END_DECLS

#endif
