// SPDX-License-Identifier: MIT
/*
 * addr.c: socket addresses from text, to text, and of a descriptor.
 */
#include <coil/addr.h>

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

/* inet_pton() takes four decimal numbers only: not 127.1, not 0x7f000001. */
int coil_addr_from_ip(struct coil_addr *out, const char *ip, uint16_t port)
{
    coili_check(out, "coil_addr_from_ip: out is NULL");
    coili_check(ip, "coil_addr_from_ip: ip is NULL");
    struct coil_addr a = { 0 };
    if (inet_pton(AF_INET, ip, &a.u.in.sin_addr) == 1) {
        a.len = sizeof a.u.in;
        a.u.in.sin_family = AF_INET;
        a.u.in.sin_port = htons(port);
    } else if (inet_pton(AF_INET6, ip, &a.u.in6.sin6_addr) == 1) {
        a.len = sizeof a.u.in6;
        a.u.in6.sin6_family = AF_INET6;
        a.u.in6.sin6_port = htons(port);
    } else {
        return -EINVAL;
    }
    *out = a;
    return 0;
}

int coil_addr_from_path(struct coil_addr *out, const char *path)
{
    coili_check(out, "coil_addr_from_path: out is NULL");
    coili_check(path, "coil_addr_from_path: path is NULL");
    struct coil_addr a = { .len = sizeof a.u.un };
    size_t len = strlen(path);
    if (len >= sizeof a.u.un.sun_path)
        return -ENAMETOOLONG;
    a.u.un.sun_family = AF_UNIX;
    memcpy(a.u.un.sun_path, path, len + 1);
    *out = a;
    return 0;
}

uint16_t coil_addr_port(const struct coil_addr *addr)
{
    coili_check(addr, "coil_addr_port: addr is NULL");
    switch (addr->u.sa.sa_family) {
    case AF_INET:
        return ntohs(addr->u.in.sin_port);
    case AF_INET6:
        return ntohs(addr->u.in6.sin6_port);
    default:
        return 0;
    }
}

/* A path that fills sun_path has no NUL. */
const char *coil_addr_text(const struct coil_addr *addr, char *buf, size_t size)
{
    coili_check(addr, "coil_addr_text: addr is NULL");
    coili_check(buf, "coil_addr_text: buf is NULL");
    char ip[INET6_ADDRSTRLEN] = "";
    switch (addr->u.sa.sa_family) {
    case AF_INET:
        inet_ntop(AF_INET, &addr->u.in.sin_addr, ip, sizeof ip);
        snprintf(buf, size, "%s:%u", ip, coil_addr_port(addr));
        break;
    case AF_INET6:
        inet_ntop(AF_INET6, &addr->u.in6.sin6_addr, ip, sizeof ip);
        snprintf(buf, size, "[%s]:%u", ip, coil_addr_port(addr));
        break;
    case AF_UNIX:
        snprintf(buf, size, "%.*s", (int)sizeof addr->u.un.sun_path,
                 addr->u.un.sun_path);
        break;
    default:
        snprintf(buf, size, "?");
    }
    return buf;
}

int coil_addr_local(struct coil_addr *out, int fd)
{
    coili_check(out, "coil_addr_local: out is NULL");
    struct coil_addr a = { .len = sizeof a.u };
    if (getsockname(fd, &a.u.sa, &a.len) < 0)
        return -errno;
    *out = a;
    return 0;
}

int coil_addr_peer(struct coil_addr *out, int fd)
{
    coili_check(out, "coil_addr_peer: out is NULL");
    struct coil_addr a = { .len = sizeof a.u };
    if (getpeername(fd, &a.u.sa, &a.len) < 0)
        return -errno;
    *out = a;
    return 0;
}
