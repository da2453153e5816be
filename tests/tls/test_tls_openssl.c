// SPDX-License-Identifier: MIT
/*
 * test_tls_openssl.c: the suite of TLS for OpenSSL at both ends.
 */
#include "tls_suite.h"
