// SPDX-License-Identifier: MIT
#ifndef COILI_BEAR_SHARE_H
#define COILI_BEAR_SHARE_H

/*
 * share.h: ephemeral keys: X25519, P-256 and P-384 (RFC 8446, 4.2.8; RFC 8422,
 * 5.4; RFC 7748).
 *
 * A share is made, sent, combined with the peer's, and spent by that: one key
 * serves one handshake. Randomness is an argument, so all of this runs in any
 * thread and knows no loop. X25519 takes 0.1 to 0.2 ms for each of the two steps,
 * P-256 0.3 to 0.7, P-384 about 2.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tls/protocol.h"

#define COILI_SHARE_SEED_BYTES 48
#define COILI_SHARE_POINT_BYTES_MAX 97
#define COILI_SHARED_BYTES_MAX 48

struct coili_share {
    uint16_t group; /* 0: none */
    uint8_t point_len;
    bool is_spent;
    unsigned char point[COILI_SHARE_POINT_BYTES_MAX]; /* the public value */
    unsigned char scalar[48]; /* secret; as its RFC writes it */
};

/* True for the three. */
bool coili_share_knows(unsigned group);

/* The bytes of a point of this group: 32, 65 or 97; 0: the group is unknown. */
size_t coili_share_point_bytes(unsigned group);

/*
 * Make a key of a known group. The caller fills `seed` by coil_entropy() or the
 * like, uses it for this alone, and wipes it.
 */
void coili_share_make(struct coili_share *share, unsigned group,
                      const unsigned char seed[COILI_SHARE_SEED_BYTES]);

/*
 * What both sides know: the (EC)DHE input of coili_schedule_handshake(), or the
 * premaster secret of TLS 1.2. For P-256 and P-384 it is x with its leading
 * zeros. The share's scalar is wiped, whatever the result; its point stays. A
 * second call aborts.
 *
 * Result    the bytes in `shared`: 32, 32, 48. 0: alert 47: the peer's point has
 *           a wrong length or is compressed, is not on the curve, or is of small
 *           order (RFC 7748, 6.1)
 * Lifetime  the caller wipes `shared`
 */
size_t coili_share_combine(struct coili_share *share,
                           const unsigned char *point, size_t len,
                           unsigned char shared[COILI_SHARED_BYTES_MAX]);

void coili_share_wipe(struct coili_share *share);

#endif
