// SPDX-License-Identifier: MIT
// labels: threads
/*
 * test_offload_openssl.c: the engine coil-openssl, whose costly steps run in threads.
 */
#include "tls_kit.h"

static const struct coil_tls_engine *offload_engine(void)
{
    return coil_openssl_engine();
}

#include "offload_suite.h"
