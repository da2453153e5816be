// SPDX-License-Identifier: MIT
#ifndef COIL_OPENSSL_H
#define COIL_OPENSSL_H

/*
 * openssl.h: OpenSSL 3 as the engine of TLS; the library coil-openssl.
 *
 *     options.engine = coil_openssl_engine();
 *
 * OpenSSL speaks the protocol. Which certificates are trusted is decided by
 * coil, as with any engine (tls.h). Versions, suites, groups and signature
 * schemes are set by coil: openssl.cnf does not change them.
 *
 * OpenSSL allocates with malloc(), also if the loop has an arena.
 */

#include <coil/api.h>

COIL_BEGIN_DECLS

struct coil_tls_engine;

/* The engine, for the options of a setup. Any thread. */
COIL_API const struct coil_tls_engine *coil_openssl_engine(void);

COIL_END_DECLS

#endif
