// SPDX-License-Identifier: MIT
/*
 * test_resume_openssl.c: resumed sessions with OpenSSL at both ends.
 */
#include "resume_suite.h"
