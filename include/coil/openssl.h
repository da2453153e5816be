// SPDX-License-Identifier: MIT
#ifndef COIL_OPENSSL_H
#define COIL_OPENSSL_H

/*
 * openssl.h: OpenSSL 3 as the engine of TLS; the library coil-openssl.
 *
 *     options.engine = coil_openssl_engine();
 *
 * coil-tls does not need it: the default is an engine of coil's own, which
 * nobody has audited. This one is for programs whose protocol and cryptography
 * are to be OpenSSL's.
 *
 * Which certificates are trusted is decided by coil, as with any engine
 * (tls.h), and that code was not audited either. coil also sets versions,
 * suites, groups and signature schemes: openssl.cnf does not change them.
 *
 * OpenSSL allocates with malloc(), also if the loop has an arena. It keeps more
 * memory for each connection than coil's own engine.
 */

#include <coil/api.h>

COIL_BEGIN_DECLS

struct coil_tls_engine;

/*
 * OpenSSL as an engine.
 *
 * Result    the engine, for options.engine of a client or a server; in any
 *           thread
 * Lifetime  static
 */
COIL_API const struct coil_tls_engine *coil_openssl_engine(void);

COIL_END_DECLS

#endif
