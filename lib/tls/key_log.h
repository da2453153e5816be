// SPDX-License-Identifier: MIT
#ifndef COILI_KEY_LOG_H
#define COILI_KEY_LOG_H

/*
 * key_log.h: the keys of connections, for those who look at their own traffic.
 *
 * Debug builds (the CMake option COIL_DEBUG) append to the file that the
 * environment's SSLKEYLOGFILE names, in the form that wireshark reads: a label,
 * the client's random, and a secret. All others write keys nowhere, whatever the
 * environment says. Thread-safe.
 */
#include <stddef.h>

#ifdef COIL_DEBUG_KEYS

#include <coil/api.h>

/* Append a line, which comes without its end. An error is passed over. */
COIL_API void coili_key_log_line(const char *line);

/* The same, of its parts. `label` is one of the format; at most 48 bytes of
 * `secret`. */
void coili_key_log(const char *label, const unsigned char client_random[32],
                   const void *secret, size_t len);

#else

static inline void coili_key_log(const char *label,
                                 const unsigned char client_random[32],
                                 const void *secret, size_t len)
{
    (void)label;
    (void)client_random;
    (void)secret;
    (void)len;
}

#endif
#endif
