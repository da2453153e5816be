// SPDX-License-Identifier: MIT
#ifndef COILI_HTTP_RESPONSE_H
#define COILI_HTTP_RESPONSE_H

/*
 * response.h: the step from a request to the body of its response.
 */

#include "pool.h"

/* The head is read. If there is no body, give the connection back. */
void coili_response_begin(struct coil_http_response *response);

#endif
