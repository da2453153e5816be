// SPDX-License-Identifier: MIT
#ifndef COILI_HTTP_RESPONSE_H
#define COILI_HTTP_RESPONSE_H

/*
 * response.h: the steps from a request to the body of its response, and from
 * there to the next request.
 */

#include "pool.h"

/* The head is read. If there is no body, give the connection back. */
void coili_response_begin(struct coil_http_response *response);

/*
 * Skip the rest of a body that no program will read, up to 64 KiB and for at
 * most a second. Then the caller frees the response: if the body has ended, its
 * connection was given back; if not, the connection is closed.
 *
 * Result    an int
 * Errors    those of coil_http_response_next(): the connection is closed then
 */
struct coil_future *coili_response_drain(struct coil_http_response *response);

#endif
