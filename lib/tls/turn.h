// SPDX-License-Identifier: MIT
#ifndef COILI_TLS_TURN_H
#define COILI_TLS_TURN_H

/* turn.h: one costly step of a handshake in a pass. */

struct coil_future;

/* Wait until this pass may have a costly step. Result: 0 */
struct coil_future *coili_tls_turn(void);

#endif
