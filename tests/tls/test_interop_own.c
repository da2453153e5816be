// SPDX-License-Identifier: MIT
// labels: long
/*
 * test_interop_own.c: coil's own engine with other programs.
 */
#include "interop.h"

static const struct coil_tls_engine *interop_engine(void)
{
    return coil_tls_own_engine();
}

#include "interop_suite.h"
