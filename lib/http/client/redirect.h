// SPDX-License-Identifier: MIT
#ifndef COILI_HTTP_REDIRECT_H
#define COILI_HTTP_REDIRECT_H

/*
 * redirect.h: where an answer redirects to, and what is left out of the next
 * request.
 *
 * A request of several hops is a list of URLs, the newest first. The request
 * owns the list, and hands it to its response. A request that was not
 * redirected has no list.
 */

#include <coil/url.h>

#include "connection.h"

/* One URL, and what the server there has answered. */
struct coili_hop {
    struct coil_http_redirect redirect; /* `status` and `next`: when the answer
                                           was a redirect, too */
    struct coili_hop *previous;
    const char *basic; /* the value of Authorization, if the Location had a user
                          and a password for its own origin; or NULL */
    bool authorized;   /* `basic` is sent */
    size_t size;       /* of the block */
    char text[];       /* the URL; `basic` */
};

/* The first hop. NULL: no memory. */
struct coili_hop *coili_hop_new(const char *url);

/* Free this hop and all before it; NULL is allowed. */
void coili_hops_free(struct coili_hop *newest);

/* True for the statuses that redirect if there is a Location. */
static inline bool coili_redirects(unsigned status)
{
    return status - 301 < 8 && (1u << (status - 301) & 0xc7) != 0;
}

/*
 * Where the answer redirects to.
 *
 * Result    1: *location is the value of the field; 0: it is no redirect
 * Errors    COIL_EPROTOCOL: *fault tells which
 * Lifetime  *location views the response
 */
int coili_redirect_location(const struct coil_http_response *response,
                            const char **location, int *fault);

/* What a session allows. */
struct coili_redirect_rules {
    bool tls;  /* https can be spoken */
    bool last; /* as many as redirects_max have been followed */
    bool no_downgrade;
};

/*
 * Make the hop to which `location` leads from `hop`. The caller links them with
 * coili_hop_follow().
 *
 * Result    0: *next is the hop, and *url its parts
 * Errors    COIL_EURL, COIL_EREDIRECT: *code is the code of the detail; -ENOMEM
 * Lifetime  gives (coili_hops_free); *url views *next
 */
int coili_redirect_resolve(struct coili_hop **next, struct coil_url *url,
                           const struct coili_hop *hop, const char *location,
                           struct coili_redirect_rules rules, int *code);

/* The answer to `hop` has this status, and the request goes on at `next`. */
void coili_hop_follow(struct coili_hop *hop, struct coili_hop *next,
                      int status);

/* The text for the code of COIL_EREDIRECT. It may name the URL. */
const char *coili_redirect_text(int code);

/* --- The next request ----------------------------------------------------*/

/* True if a request with this method becomes a GET without a body. */
bool coili_redirect_to_get(int status, struct coili_http_text method);

/* The head of a request as coili_http_request_write() has written it. */
struct coili_head_reader {
    const char *at, *end;
};

/* The method; then the reader is at the first field. */
struct coili_http_text coili_head_begin(struct coili_head_reader *reader);

/*
 * The next field; false behind the last one: then reader->at is the first byte
 * behind the head. Host and Content-Length are left out.
 */
bool coili_head_next(struct coili_head_reader *reader,
                     struct coili_http_pair *field);

/* What is left out of the next request, with every field of the name. */
struct coili_redirect_drops {
    bool secrets;       /* it crosses an origin */
    bool body;          /* there is no body any more */
    bool authorization; /* the Location of the last hop has asked for it */
    const char *const *secret_headers;
    size_t secret_headers_n;
};

bool coili_redirect_keeps(const struct coili_redirect_drops *drops,
                          struct coili_http_text name);

#endif
