// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_tls_own.c: the suite of TLS for coil's own engine at both ends.
 */
#define KIT_CLIENT_ENGINE coil_tls_own_engine
#define KIT_SERVER_ENGINE coil_tls_own_engine

#include "tls_suite.h"
