// SPDX-License-Identifier: MIT
#ifndef COILI_NAME_H
#define COILI_NAME_H

/*
 * name.h: whom a certificate speaks for (RFC 9525), and whom its authority may
 * let it speak for (RFC 5280, 4.2.1.10).
 */

#include <stdbool.h>
#include <stddef.h>

#include "cert.h"

/* What was dialled: a DNS name or an IP address. */
struct coili_host {
    bool is_ip;
    unsigned char ip[16];
    size_t ip_len;  /* 4 or 16 */
    char name[254]; /* DNS: lower case, no final dot; as for server_name */
    size_t len;
};

/*
 * Read "a.test", "a.test.", "192.0.2.1" or "2001:db8::1". A label that is not
 * ASCII, which must be UTF-8, becomes its xn-- form; it is not mapped to lower
 * case or composed first.
 *
 * Result    false: neither a DNS name nor an IP address
 */
bool coili_host_parse(struct coili_host *host, const char *text);

/*
 * True if one of the subject alternative names is this host. The common name
 * does not count, nor does "*" but as the whole first label, with two labels
 * or more behind it, for exactly one label.
 */
bool coili_cert_speaks_for(const struct coili_cert *cert,
                           const struct coili_host *host);

/*
 * Write the names of a certificate, "a.test, *.b.test, 192.0.2.1", and "and 3
 * more" if they are too many for `size` bytes or more than 8; "no name" if
 * there are none.
 */
void coili_cert_names_text(const struct coili_cert *cert, char *text,
                           size_t size);

enum coili_constraint_result {
    COILI_CONSTRAINT_KEPT,
    COILI_CONSTRAINT_BROKEN,
    COILI_CONSTRAINT_UNKNOWN, /* of a kind that coil cannot check */
    COILI_CONSTRAINT_COSTLY   /* more comparisons than were left */
};

/*
 * Check the names of `cert` against the name constraints of `authority`, which
 * stands above it. Each comparison takes one from `*budget`.
 */
enum coili_constraint_result
coili_constraints_check(const struct coili_cert *authority,
                        const struct coili_cert *cert, unsigned *budget);

#endif
