// SPDX-License-Identifier: MIT
/*
 * connect.c: a stream to an address.
 */
#include <coil/connect.h>

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <coil/coroutine.h>
#include <coil/io.h>
#include <coil/stream.h>

struct stream_connect {
    struct coil_coro coro;
    struct coil_addr addr;
    struct coil_stream *stream;
    int fd;
};

static void no_delay(int fd, const struct coil_addr *addr)
{
    int on = 1;
    if (addr->u.sa.sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static int new_socket(const struct coil_addr *addr)
{
    int fd = socket(addr->u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    no_delay(fd, addr);
    return fd;
}

static void stream_connect(struct coil_coro *co)
{
    COIL_ASYNC_GIVES(stream_connect, my, coil_stream_close_soon) {
        my->fd = new_socket(&my->addr);
        if (my->fd < 0)
            COIL_FAIL(my->fd);
        my->stream = coil_stream_new(my->fd);
        if (!my->stream) {
            close(my->fd);
            COIL_FAIL(-ENOMEM);
        }
        COIL_AWAIT(coil_connect(my->fd, &my->addr));
        struct coil_stream *stream = my->stream;
        my->stream = NULL;
        COIL_RETURN(stream);

    COIL_FINALLY;
        coil_stream_close_soon(my->stream);
    }
}

struct coil_future *coil_stream_connect(const struct coil_addr *addr)
{
    return COIL_CALL(stream_connect, .addr = *addr);
}
