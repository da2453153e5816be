// SPDX-License-Identifier: MIT
// labels: long
/*
 * test_tls_own_server.c: the suite of TLS for a server of coil's own engine, a client of OpenSSL.
 */
#define KIT_SERVER_ENGINE coil_tls_own_engine

#include "tls_suite.h"
