// SPDX-License-Identifier: MIT
// labels: long
/*
 * test_resume_own_client.c: resumed sessions with a client of coil's own engine, a
 * server of OpenSSL.
 */
#define KIT_CLIENT_ENGINE coil_tls_own_engine

#include "resume_suite.h"
