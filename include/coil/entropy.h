// SPDX-License-Identifier: MIT
#ifndef COIL_ENTROPY_H
#define COIL_ENTROPY_H

/*
 * entropy.h: bytes that cannot be guessed, for keys, nonces and tokens.
 */

#include <coil/api.h>

COIL_BEGIN_DECLS

/*
 * Fill all of `buf` with random bytes of the system, by the loop of this
 * thread; a thread without a loop aborts. Blocks only while the machine has
 * just been switched on and has none yet.
 *
 * Result    0
 * Errors    -ENOSYS, -EPERM: a filter of system calls forbids getrandom(2), and
 *           others of it. `buf` must not be used then
 * Source    os.urandom(), secrets.token_bytes(); getrandom(2)
 */
COIL_API COIL_NODISCARD int coil_entropy(void *buf, size_t len);

COIL_END_DECLS

#endif
