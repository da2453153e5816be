// SPDX-License-Identifier: MIT
#ifndef COIL_URL_H
#define COIL_URL_H

/*
 * url.h: where a request goes.
 *
 *     struct coil_url url;
 *
 *     if (coil_url_parse(&url, text, strlen(text)) < 0)
 *         printf("%s\n", coil_url_fault_text(
 *                            coil_url_check(text, strlen(text))));
 *     else
 *         printf("%.*s port %u\n", (int)url.host.len, url.host.at, url.port);
 *
 * An http or https URL is taken apart, never rewritten: what you percent-
 * encoded, or did not, is sent as it is, so signed URLs keep their signature.
 * A URL that two programs could take for two different places is refused.
 * Nothing is allocated; the parts point into your text.
 */

#include <coil/api.h>
#include <coil/error.h>

COIL_BEGIN_DECLS

/* Some bytes of the text, without a NUL. Absent: `at` is NULL, `len` is 0. */
struct coil_url_part {
    const char *at;
    size_t len;
};

enum coil_url_host {
    COIL_URL_NAME,  /* at most 253 bytes of letters, digits, '-', '_', '.' */
    COIL_URL_IPV4,  /* four decimal numbers, nothing else */
    COIL_URL_IPV6   /* stands in brackets in the URL, not in `host` */
};

/* The parts of "https://user:password@host:port/path?query". */
struct coil_url {
    struct coil_url_part user;      /* absent without '@'; percent-encoded */
    struct coil_url_part password;  /* absent without ':'; percent-encoded */
    struct coil_url_part host;      /* as written, but for a final dot */
    struct coil_url_part path;      /* "/" if there is none */
    struct coil_url_part query;     /* absent without '?'; "" after one */
    struct coil_url_part target;    /* path and query as they are sent; only
                                       "http://host?query" starts with '?'
                                       here: send a '/' before it */
    uint16_t port;                  /* 80 or 443 if there is none */
    uint8_t host_kind;              /* enum coil_url_host */
    bool tls;                       /* https */
    bool rooted;                    /* host ended with a dot: an absolute DNS
                                       name, looked up with the dot, but sent
                                       and verified without */
};

/* Why a URL was refused; the code in the detail of COIL_EURL. */
enum coil_url_fault {
    COIL_URL_FAULT_NONE,
    COIL_URL_FAULT_LONG,           /* more than COIL_URL_BYTES_MAX */
    COIL_URL_FAULT_SCHEME,         /* not http:// or https:// */
    COIL_URL_FAULT_CONTROL,        /* a control character, NUL included */
    COIL_URL_FAULT_SPACE,          /* %20 */
    COIL_URL_FAULT_NON_ASCII,      /* to be percent-encoded */
    COIL_URL_FAULT_USER,           /* a second '@', a backslash, "%zz" */
    COIL_URL_FAULT_HOST_EMPTY,
    COIL_URL_FAULT_HOST,           /* a character or label no host has */
    COIL_URL_FAULT_HOST_NON_ASCII, /* to be written as xn--... */
    COIL_URL_FAULT_HOST_PERCENT,
    COIL_URL_FAULT_HOST_NUMBER,    /* 127.1, 0x7f000001, 2130706433... */
    COIL_URL_FAULT_HOST_LONG,      /* name above 253 bytes, label above 63 */
    COIL_URL_FAULT_BRACKETS,       /* not an IPv6 address in brackets */
    COIL_URL_FAULT_PORT,           /* not a number from 1 to 65535 */
    COIL_URL_FAULT_COUNT
};

#define COIL_URL_BYTES_MAX 65535

/*
 * Take an absolute http or https URL apart. A fragment is dropped: it is never
 * sent.
 *
 * Result    0
 * Errors    COIL_EURL; coil_url_check says why. `*url` is unchanged then
 * Lifetime  views `text`
 * Source    RFC 3986 3, RFC 9110 4.2. Narrower than both on purpose: a host is
 *           a DNS name of LDH and '_', or an address; one that ends in a number
 *           is IPv4 or nothing, since resolvers take 0x7f.1 for 127.0.0.1 and
 *           filters do not
 */
COIL_API int coil_url_parse(struct coil_url *url, const char *text, size_t len);

/* Why coil_url_parse refuses the text; COIL_URL_FAULT_NONE if it does not. */
COIL_API enum coil_url_fault coil_url_check(const char *text, size_t len);

/* The words for it, such as "the port is not a number from 1 to 65535". */
COIL_API const char *coil_url_fault_text(int fault);

/* Room for an origin of any URL, and for its NUL. */
#define COIL_URL_ORIGIN_BYTES_MAX 272

/*
 * Write "host" or "host:port" as the Host field says it: the port only if it
 * is not the scheme's, brackets around IPv6, no final dot.
 *
 * Result    the length; a NUL follows it
 * Source    RFC 9110 7.2
 */
COIL_API size_t coil_url_authority(const struct coil_url *url,
                                   char buf[COIL_URL_ORIGIN_BYTES_MAX]);

/*
 * Write the origin: "https://host", "http://host:8080", in lower case, with
 * the final dot if there was one. Two URLs have equal origins exactly if
 * coil_url_same_origin is true of them.
 *
 * Result    the length; a NUL follows it
 * Source    RFC 6454 6.2
 */
COIL_API size_t coil_url_origin(const struct coil_url *url,
                                char buf[COIL_URL_ORIGIN_BYTES_MAX]);

/*
 * True if scheme, host and port are the same: credentials for one may be sent
 * to the other. Addresses are compared as they are written: [::1] and [0::1]
 * count as two, which costs a connection and leaks nothing.
 */
COIL_API bool coil_url_same_origin(const struct coil_url *a,
                                   const struct coil_url *b);

COIL_END_DECLS

#endif
