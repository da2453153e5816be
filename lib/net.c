// SPDX-License-Identifier: MIT
/*
 * net.c: addresses, and listening.
 *
 * A listener may be closed while tasks wait for a connection: it stays until
 * the last of them has been told.
 */
#include <coil/net.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <coil/coroutine.h>
#include <coil/io.h>
#include <coil/stream.h>
#include <coil/wait.h>

/* After the system ran out of something: how long not to ask again. */
#define PAUSE COIL_MS(100)

int coil_addr_ip(struct coil_addr *out, const char *ip, uint16_t port)
{
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

int coil_addr_unix(struct coil_addr *out, const char *path)
{
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
    switch (addr->u.sa.sa_family) {
    case AF_INET:
        return ntohs(addr->u.in.sin_port);
    case AF_INET6:
        return ntohs(addr->u.in6.sin6_port);
    default:
        return 0;
    }
}

const char *coil_addr_text(const struct coil_addr *addr, char *buf, size_t size)
{
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
    struct coil_addr a = { .len = sizeof a.u };
    if (getsockname(fd, &a.u.sa, &a.len) < 0)
        return -errno;
    *out = a;
    return 0;
}

int coil_addr_peer(struct coil_addr *out, int fd)
{
    struct coil_addr a = { .len = sizeof a.u };
    if (getpeername(fd, &a.u.sa, &a.len) < 0)
        return -errno;
    *out = a;
    return 0;
}

/* ---- Listening -------------------------------------------------------- */

struct coil_listener {
    struct coil_custom closing;
    struct coil_future *close_fd; /* made in advance: closing has no memory */
    struct coil_handle closed_fd;
    int fd;
    bool closed, unowned;
    unsigned users; /* tasks in accept */
    int64_t paused_until;
    struct coil_addr addr;
};

static struct coil_listener *listener_of(struct coil_future *f)
{
    return (struct coil_listener *)(void *)f;
}

static void fd_is_closed(void *arg)
{
    struct coil_listener *l = arg;
    coil_future_set_int(&l->closing.future, 0);
}

static void close_start(struct coil_future *f)
{
    struct coil_listener *l = listener_of(f);
    l->closed = true;
    coil_future_add_done_callback(l->close_fd, &l->closed_fd, fd_is_closed, l);
    coil_future_detach(l->close_fd);
}

static void close_free(struct coil_future *f)
{
    struct coil_listener *l = listener_of(f);
    l->unowned = true;
    if (l->users == 0)
        coil_custom_free(l);
}

static const struct coil_future_class close_class = {
    .name = "close listener",
    .start = close_start,
    .free = close_free,
};

static int bind_and_listen(int fd, const struct coil_addr *addr, int backlog)
{
    int on = 1;
    if (addr->u.sa.sa_family != AF_UNIX &&
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return -errno;
    if (bind(fd, &addr->u.sa, addr->len) < 0 || listen(fd, backlog) < 0)
        return -errno;
    return 0;
}

static int listener_init(struct coil_listener *l, const struct coil_addr *addr,
                         int backlog)
{
    int err = bind_and_listen(l->fd, addr, backlog);
    if (err == 0)
        err = coil_addr_local(&l->addr, l->fd);
    if (err < 0)
        return err;
    l->close_fd = coil_close(l->fd);
    if (!coil_future_done(l->close_fd))
        return 0;
    l->fd = -1; /* without memory coil_close() has closed it at once */
    return -ENOMEM;
}

int coil_listener_open(struct coil_listener **out, const struct coil_addr *addr,
                       int backlog)
{
    struct coil_listener *l = coil_custom_new(&close_class, sizeof *l);
    if (!l)
        return -ENOMEM;
    l->fd = socket(addr->u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int err = l->fd < 0 ? -errno : listener_init(l, addr, backlog);
    if (err < 0) {
        if (l->fd >= 0)
            close(l->fd);
        coil_custom_free(l);
        return err;
    }
    *out = l;
    return 0;
}

void coil_listener_addr(const struct coil_listener *l, struct coil_addr *out)
{
    *out = l->addr;
}

static void leave(struct coil_listener *l)
{
    if (--l->users == 0 && l->unowned)
        coil_custom_free(l);
}

static bool out_of_something(int err)
{
    return err == -EMFILE || err == -ENFILE || err == -ENOBUFS ||
           err == -ENOMEM;
}

/* Errors of one connection, gone before it was accepted: accept(2). */
static bool concerns_one(int err)
{
    return err == -ECONNABORTED || err == -EPROTO || err == -ENETDOWN ||
           err == -EHOSTUNREACH || err == -ENETUNREACH || err == -EHOSTDOWN ||
           err == -ENONET || err == -ENOPROTOOPT || err == -EOPNOTSUPP;
}

struct listener_accept {
    struct coil_coro coro;
    struct coil_listener *listener;
    bool inside;
    int fd, err;
};

static void listener_accept(struct coil_coro *co)
{
    COIL_ASYNC_GIVES(listener_accept, my, coil_stream_drop) {
        my->inside = true;
        my->listener->users++;
        if (my->listener->paused_until > coil_now())
            COIL_AWAIT(coil_sleep(my->listener->paused_until - coil_now()));
        do {
            if (my->listener->closed)
                COIL_FAIL(COIL_ECLOSED);
            COIL_TRY_AWAIT_TO(my->err, my->fd, coil_accept(my->listener->fd));
        } while (concerns_one(my->err));
        if (my->listener->closed && my->err < 0)
            COIL_FAIL(COIL_ECLOSED);
        if (out_of_something(my->err))
            my->listener->paused_until = coil_now() + PAUSE;
        if (my->err < 0)
            COIL_FAIL(my->err);

        int on = 1;
        if (my->listener->addr.u.sa.sa_family != AF_UNIX)
            setsockopt(my->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct coil_stream *stream = coil_stream_adopt(my->fd);
        if (!stream) {
            close(my->fd);
            COIL_FAIL(-ENOMEM);
        }
        COIL_RETURN(stream);

    COIL_FINALLY;
        if (my->inside)
            leave(my->listener);
    }
}

struct coil_future *coil_listener_accept(struct coil_listener *listener)
{
    return COIL_CALL(listener_accept, .listener = listener);
}

struct coil_future *coil_listener_close(struct coil_listener *listener)
{
    return &listener->closing.future;
}
