// SPDX-License-Identifier: MIT
#ifndef COILI_TICKET_H
#define COILI_TICKET_H

/*
 * ticket.h: the keys behind session tickets, for setups and for engines that
 * have a form of their own. Others use coili_tls_ticket_seal() and _open().
 */

#include <coil/tls_ticket_keys.h>

#include "engine.h"
#include "tls/bear/ticket.h"

#define COILI_TICKET_ID_BYTES 8

/* The keys that are made of one key of coil_tls_ticket_keys. Wipe it. */
struct coili_ticket_key {
    unsigned char id[COILI_TICKET_ID_BYTES];
    unsigned char seal[COILI_SEAL_KEY_BYTES]; /* for AES-128-GCM */
    unsigned char cipher[32]; /* for a cipher and a MAC, of other forms */
    unsigned char mac[32];
    int64_t end; /* it opens tickets until then; seconds since 1970 */
};

/*
 * Make a new key if it is time for one. In the loop's thread, when a connection
 * is accepted. Without random bytes there is none, and then no tickets.
 */
COIL_API void coili_ticket_keys_turn(struct coil_tls_ticket_keys *keys);

/*
 * The key that seals if `id` is NULL, else the one with this id.
 *
 * Result    true; false: there is none
 */
COIL_API bool coili_ticket_key_get(struct coil_tls_ticket_keys *keys,
                                   const unsigned char *id, int64_t now,
                                   struct coili_ticket_key *key);

/* key->mac for tickets of this setup, for the name that the client asks for. */
COIL_API void coili_ticket_mac_key(const struct coili_ticket_key *key,
                                   const struct coili_tls_setup *setup,
                                   const char *name, unsigned char mac[32]);

/* Seconds since 1970: in any thread until OPEN, then in the loop's. */
COIL_API int64_t coili_tls_now(const struct coili_tls_state *state);

/* Until when sessions of this connection may be resumed. */
COIL_API int64_t coili_tls_believed_until(const struct coili_tls_state *state,
                                          uint16_t version);

/* The lifetime of a ticket that is sealed now, in seconds. */
COIL_API uint32_t coili_ticket_lifetime(const struct coili_ticket_key *key,
                                        int64_t believed_until, int64_t now);

#endif
