// SPDX-License-Identifier: MIT
// labels: long
/*
 * test_tls_own_client.c: the suite of TLS for a client of coil's own engine, a server of OpenSSL.
 */
#define KIT_CLIENT_ENGINE coil_tls_own_engine

#include "tls_suite.h"
