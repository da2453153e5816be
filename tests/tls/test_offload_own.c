// SPDX-License-Identifier: MIT
// labels: threads
/*
 * test_offload_own.c: coil's own engine, whose costly steps run in threads.
 */
#include "tls_kit.h"

static const struct coil_tls_engine *offload_engine(void)
{
    return coil_tls_own_engine();
}

#include "offload_suite.h"
