// SPDX-License-Identifier: MIT
#ifndef COILI_HTTP_RESPONSE_H
#define COILI_HTTP_RESPONSE_H

/*
 * response.h: what a request does with the response it has got.
 */

#include "pool.h"

/* Give the connection back if there is no body to be read. */
void coili_response_begin(struct coil_http_response *response);

#endif
