// SPDX-License-Identifier: MIT
#ifndef COIL_ADDR_H
#define COIL_ADDR_H

/*
 * addr.h: socket addresses.
 */

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <coil/api.h>

COIL_BEGIN_DECLS

/* A socket address, by value. */
struct coil_addr {
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } u;
};

/*
 * Read a numeric address: "127.0.0.1", "::1". No name is looked up.
 *
 * Errors    -EINVAL
 */
COIL_API int coil_addr_from_ip(struct coil_addr *out, const char *ip,
                               uint16_t port);

/*
 * The address of a Unix socket.
 *
 * Errors    -ENAMETOOLONG
 */
COIL_API int coil_addr_from_path(struct coil_addr *out, const char *path);

#define COIL_ADDR_TEXT_BYTES_MAX 128

/*
 * Write it down: "127.0.0.1:80", "[::1]:80", a path.
 *
 * Result    `buf`
 */
COIL_API const char *coil_addr_text(const struct coil_addr *addr, char *buf,
                                    size_t size);

/* The port, in host order; 0 for a Unix socket. */
COIL_API uint16_t coil_addr_port(const struct coil_addr *addr);

/* The addresses of a descriptor's two ends. Errors: -errno. */
COIL_API int coil_addr_local(struct coil_addr *out, int fd);
COIL_API int coil_addr_peer(struct coil_addr *out, int fd);

COIL_END_DECLS

#endif
