// SPDX-License-Identifier: MIT
// labels: long
/*
 * test_interop_openssl.c: the engine coil-openssl with other programs.
 */
#include "interop.h"

static const struct coil_tls_engine *interop_engine(void)
{
    return coil_openssl_engine();
}

#include "interop_suite.h"
