// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_resume_own.c: resumed sessions with coil's own engine at both ends.
 */
#define KIT_CLIENT_ENGINE coil_tls_own_engine
#define KIT_SERVER_ENGINE coil_tls_own_engine

#include "resume_suite.h"
