// SPDX-License-Identifier: MIT
#ifndef COIL_URL_H
#define COIL_URL_H

/*
 * url.h: the parts of an http or https URL, and what a reference means in it.
 *
 *     struct coil_url url;
 *
 *     if (coil_url_parse(&url, text, strlen(text)) < 0)
 *         printf("%s\n", coil_url_fault_text(
 *                            coil_url_check(text, strlen(text))));
 *     else
 *         printf("%.*s port %u\n", (int)url.host.len, url.host.at, url.port);
 *
 * A URL is taken apart and never rewritten: nothing is percent-encoded or
 * decoded, so the signature of a signed URL stays valid. A URL in which two
 * programs could see two different hosts is refused. Nothing is allocated; the
 * parts point into the caller's text. No pointer may be NULL, except that of a
 * text whose length is 0; these functions check only the texts, not the
 * pointers.
 */

#include <coil/api.h>
#include <coil/error.h>

COIL_BEGIN_DECLS

/*
 * Some bytes of the text, without a NUL after them. In a part that is absent
 * `at` is NULL and `len` is 0.
 */
struct coil_url_part {
    const char *at;
    size_t len;
};

enum coil_url_host {
    COIL_URL_NAME,  /* at most 253 bytes of letters, digits, '-', '_', '.' */
    COIL_URL_IPV4,  /* four decimal numbers and nothing else */
    COIL_URL_IPV6   /* in brackets in the URL, without them in `host` */
};

/* The parts of "https://user:password@host:port/path?query". */
struct coil_url {
    struct coil_url_part user;      /* absent without '@'; percent-encoded */
    struct coil_url_part password;  /* absent without ':'; percent-encoded */
    struct coil_url_part host;      /* as written, without a final dot */
    struct coil_url_part path;      /* "/" if the URL has none */
    struct coil_url_part query;     /* absent without '?'; may be empty */
    struct coil_url_part target;    /* path and query as they are sent; that of
                                       "http://host?query" starts with '?':
                                       send a '/' before it */
    uint16_t port;                  /* 80 or 443 if the URL has none */
    uint8_t host_kind;              /* enum coil_url_host */
    bool tls;                       /* the scheme is https */
    bool rooted;                    /* the host ended with a dot: an absolute
                                       DNS name. It is looked up with the dot,
                                       and sent and verified without */
};

/* Why a URL was refused; the code in the detail of COIL_EURL. */
enum coil_url_fault {
    COIL_URL_FAULT_NONE,
    COIL_URL_FAULT_LONG,           /* more than COIL_URL_BYTES_MAX */
    COIL_URL_FAULT_SCHEME,         /* not http:// or https:// */
    COIL_URL_FAULT_CONTROL,        /* a control character, NUL included */
    COIL_URL_FAULT_SPACE,          /* write it as %20 */
    COIL_URL_FAULT_NON_ASCII,      /* percent-encode it */
    COIL_URL_FAULT_USER,           /* a second '@', a backslash, "%zz" */
    COIL_URL_FAULT_HOST_EMPTY,
    COIL_URL_FAULT_HOST,           /* a character or label no host has */
    COIL_URL_FAULT_HOST_NON_ASCII, /* write it as xn--... */
    COIL_URL_FAULT_HOST_PERCENT,
    COIL_URL_FAULT_HOST_NUMBER,    /* 127.1, 0x7f000001, 2130706433... */
    COIL_URL_FAULT_HOST_LONG,      /* name above 253 bytes, label above 63 */
    COIL_URL_FAULT_BRACKETS,       /* not an IPv6 address in brackets */
    COIL_URL_FAULT_PORT,           /* not a number from 1 to 65535 */
    COIL_URL_FAULT_COUNT
};

#define COIL_URL_BYTES_MAX 65535

/*
 * Take an absolute http or https URL apart. A fragment ("#...") is dropped,
 * since a client never sends it.
 *
 * Result    0
 * Errors    COIL_EURL: coil_url_check() says why; *url is unchanged
 * Lifetime  the parts view `text`
 * Source    RFC 3986 3, RFC 9110 4.2. Stricter than both: a host is an address,
 *           or a DNS name of letters, digits, '-' and '_'. A host whose last
 *           label is a number must be IPv4, since resolvers take 0x7f.1 for
 *           127.0.0.1 and filters do not
 */
COIL_API int coil_url_parse(struct coil_url *url, const char *text, size_t len);

/* Why coil_url_parse refuses the text; COIL_URL_FAULT_NONE if it does not. */
COIL_API enum coil_url_fault coil_url_check(const char *text, size_t len);

/* The text for a fault: "the port is not a number from 1 to 65535". */
COIL_API const char *coil_url_fault_text(int fault);

/* Room for the origin or the authority of any URL, and for a NUL. */
#define COIL_URL_ORIGIN_BYTES_MAX 272

/*
 * Write "host" or "host:port", the value of the Host field: the port only if it
 * is not the default of the scheme, an IPv6 address in brackets, no final dot.
 *
 * Result    the length, without the NUL that follows
 * Source    RFC 9110 7.2
 */
COIL_API size_t coil_url_authority(const struct coil_url *url,
                                   char buf[COIL_URL_ORIGIN_BYTES_MAX]);

/*
 * Write the origin: "https://host", "http://host:8080", in lower case, with
 * the final dot if the host has one. Two URLs have equal origins exactly if
 * coil_url_same_origin() is true of them.
 *
 * Result    the length, without the NUL that follows
 * Source    RFC 6454 6.2
 */
COIL_API size_t coil_url_origin(const struct coil_url *url,
                                char buf[COIL_URL_ORIGIN_BYTES_MAX]);

/*
 * True if scheme, host and port are the same: credentials for one URL may be
 * sent to the other. Addresses are compared as they are written, so [::1] and
 * [0::1] count as two hosts. That costs a connection, and no credentials go to
 * another host.
 */
COIL_API bool coil_url_same_origin(const struct coil_url *a,
                                   const struct coil_url *b);

/* Room for what coil_url_resolve() writes, with its NUL. */
#define COIL_URL_RESOLVED_BYTES(base_len, reference_len) \
    ((size_t)(base_len) + 3 * (size_t)(reference_len) + 2)

/*
 * Write what a reference in a document means: "../y?q" in "http://h/a/b/c" is
 * "http://h/a/y?q". A reference is the value of a Location field or of an
 * `href`, for example.
 *
 * Servers send references that are not quite URLs: a space becomes %20 and a
 * byte above 127 becomes %XX, but not in the host. Nothing else is changed: so
 * a backslash is a character of a path, as in RFC 3986, although browsers take
 * it for a slash. The result may be a URL that coil_url_parse() refuses, or one
 * of another scheme: "mailto:me@h".
 *
 * Units     size: bytes of `buf`; COIL_URL_RESOLVED_BYTES() are always enough
 * Result    the length, without the NUL that follows
 * Errors    COIL_EURL: `base` is not an http or https URL; COIL_ELIMIT: `buf`
 *           is too small. Then what is in `buf` is undefined
 * Source    RFC 3986 5.2, with the strict reading of "http:x", which is not
 *           relative. urllib.parse.urljoin()
 */
COIL_API int64_t coil_url_resolve(const char *base, size_t base_len,
                                  const char *reference, size_t reference_len,
                                  char *buf, size_t size);

COIL_END_DECLS

#endif
