// SPDX-License-Identifier: MIT
#ifndef COIL_ADDR_H
#define COIL_ADDR_H

/*
 * addr.h: socket addresses, as values: IPv4, IPv6 and Unix.
 */

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <coil/api.h>

COIL_BEGIN_DECLS

/* A socket address. It may be copied, and there is nothing to free. */
struct coil_addr {
    socklen_t len; /* of the address in `u` */
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } u;
};

/*
 * Make an address of a numeric host, "127.0.0.1" or "::1", and a port. No name
 * is looked up.
 *
 * Result    0
 * Errors    -EINVAL: `ip` is not a numeric address, and nothing else
 * Lifetime  copies `ip`
 * Source    inet_pton(3)
 */
COIL_API int coil_addr_from_ip(struct coil_addr *out, const char *ip,
                               uint16_t port);

/*
 * Make the address of a Unix socket with this path.
 *
 * Result    0
 * Errors    -ENAMETOOLONG: more than 107 bytes
 * Lifetime  copies `path`
 * Source    unix(7)
 */
COIL_API int coil_addr_from_path(struct coil_addr *out, const char *path);

/* Room for the text of any address, and for its NUL. */
#define COIL_ADDR_TEXT_BYTES_MAX 128

/*
 * Write the address as text: "127.0.0.1:80", "[::1]:80", a path; "?" for an
 * address of another family.
 *
 * Units     size: bytes of `buf`, at least 1; a longer text is cut
 * Result    `buf`; a NUL ends the text
 */
COIL_API const char *coil_addr_text(const struct coil_addr *addr, char *buf,
                                    size_t size);

/* The port, in host byte order; 0 for a Unix socket. */
COIL_API uint16_t coil_addr_port(const struct coil_addr *addr);

/*
 * The address of a socket's own end, and that of its peer.
 *
 * Result    0
 * Errors    -EBADF, -ENOTSOCK; -ENOTCONN: there is no peer; others of
 *           getsockname(2) and getpeername(2)
 */
COIL_API int coil_addr_local(struct coil_addr *out, int fd);
COIL_API int coil_addr_peer(struct coil_addr *out, int fd);

COIL_END_DECLS

#endif
