// SPDX-License-Identifier: MIT
/*
 * listen.c: listening sockets, and streams over what they accept.
 *
 * A listener may be closed while tasks wait for a connection. They get
 * COIL_ECLOSED, and may run when the listener has been freed: so a task that
 * accepts points to the acceptor's future and not to the listener.
 */
#include <coil/listen.h>

#include <errno.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

#include <coil/acceptor.h>
#include <coil/coroutine.h>
#include <coil/io.h>
#include <coil/stream.h>
#include <coil/task.h>
#include <coil/wait.h>

#include "base/check.h"
#include "base/descriptor.h"

/* The longest pause before a port is tried again; 63 ms for all pauses. */
#define PATIENCE_MS 32

struct coil_listener {
    struct coil_custom closing;
    struct coil_acceptor *acceptor;
    struct coil_future *close_fd; /* made in advance: close may not allocate */
    struct coil_handle closed_fd;
    int fd;
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

/* close_fd waits until the acceptor has no operation in flight any more. */
static void close_start(struct coil_future *f)
{
    struct coil_listener *l = listener_of(f);
    coil_detach(coil_acceptor_close(l->acceptor));
    coil_future_add_done_callback(l->close_fd, &l->closed_fd, fd_is_closed, l);
    coil_detach(l->close_fd);
}

static const struct coil_future_class close_class = {
    .name = "close listener",
    .start = close_start,
};

static int bind_and_listen(int fd, const struct coil_addr *addr, int backlog)
{
    if (bind(fd, &addr->u.sa, addr->len) < 0 || listen(fd, backlog) < 0)
        return -errno;
    return 0;
}

/*
 * When a process with a ring is killed, a worker of the kernel ends its accept,
 * and only then is the port free: 5 to 20 ms after the process was reaped. So a
 * server that is started again at once tries its port several times. Another
 * socket may be bound to the port meanwhile, and then listen() fails; a bound
 * socket cannot be bound again, so each try has a socket of its own.
 */
static int open_socket(const struct coil_addr *addr, int backlog)
{
    bool is_unix = addr->u.sa.sa_family == AF_UNIX;
    for (int ms = 1;; ms *= 2) {
        int fd = coili_socket_open(addr->u.sa.sa_family);
        if (fd < 0)
            return fd;
        int on = 1, err;
        if (!is_unix &&
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
            err = -errno;
        else
            err = bind_and_listen(fd, addr, backlog);
        if (err == 0)
            return fd;
        close(fd);
        if (err != -EADDRINUSE || is_unix || ms > PATIENCE_MS)
            return err;
        struct timespec ts = { .tv_nsec = ms * 1000000 };
        nanosleep(&ts, NULL);
    }
}

/* From here on l->close_fd closes the descriptor, also after an error. */
static int open_acceptor(struct coil_listener *l)
{
    l->close_fd = coil_close(l->fd);
    if (coil_future_done(l->close_fd))
        return -ENOMEM; /* coil_close() has closed the descriptor */
    int err = coil_acceptor_open(&l->acceptor, l->fd);
    if (err < 0)
        coil_detach(l->close_fd);
    return err;
}

/* Before open_acceptor() the descriptor is closed here, then by close_fd. */
int coil_listener_open(struct coil_listener **out, const struct coil_addr *addr,
                       int backlog)
{
    coili_check(out, "coil_listener_open: out is NULL");
    coili_check(addr, "coil_listener_open: addr is NULL");
    struct coil_listener *l = coil_custom_new(&close_class, sizeof *l);
    if (!l)
        return -ENOMEM;
    int err;
    l->fd = open_socket(addr, backlog);
    if (l->fd < 0)
        err = l->fd;
    else if ((err = coil_addr_local(&l->addr, l->fd)) < 0)
        close(l->fd);
    else
        err = open_acceptor(l);
    if (err < 0) {
        coil_custom_free(l);
        return err;
    }
    *out = l;
    return 0;
}

void coil_listener_addr(const struct coil_listener *l, struct coil_addr *out)
{
    coili_check(l, "coil_listener_addr: listener is NULL");
    coili_check(out, "coil_listener_addr: out is NULL");
    *out = l->addr;
}

/* Its fields are all it needs: the listener may be freed before it ends. */
struct listener_accept {
    struct coil_coro coro;
    struct coil_future *next; /* of the acceptor; NULL: awaited */
    bool tcp;
    int fd;
};

/* Wait for a descriptor, and make a stream of it. */
static void listener_accept(struct coil_coro *co)
{
    COIL_ASYNC_GIVES(listener_accept, my, coil_stream_close_soon) {
        struct coil_future *next = my->next;
        my->next = NULL;
        COIL_AWAIT_TO(my->fd, next);
        int on = 1;
        if (my->tcp)
            setsockopt(my->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct coil_stream *stream = coil_stream_new(my->fd);
        if (!stream) {
            coil_close_now(my->fd);
            COIL_FAIL(-ENOMEM);
        }
        COIL_RETURN(stream);

    COIL_FINALLY;
        if (my->next) /* cancelled before its first step */
            coil_discard(my->next);
    }
}

struct coil_future *coil_listener_accept(struct coil_listener *l)
{
    coili_check(l, "coil_listener_accept: listener is NULL");
    struct coil_future *next = coil_acceptor_next(l->acceptor);
    struct coil_future *f = COIL_CALL(
        listener_accept, .next = next,
        .tcp = l->addr.u.sa.sa_family != AF_UNIX);
    if (coil_future_done(f)) /* no memory */
        coil_discard(next);
    return f;
}

struct coil_future *coil_listener_close(struct coil_listener *listener)
{
    return listener ? &listener->closing.future : coil_sleep(0);
}
