// SPDX-License-Identifier: MIT
/*
 * connect.c: a stream to an address, and to a host by its name.
 *
 * coil_open_connection() is made of coil_resolve() and coil_stream_connect().
 * One TRY_ALL covers both phases, so that every error gets a detail which tells
 * the phase, also a time-out and a cancellation.
 */
#include <coil/connect.h>

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <coil/block.h>
#include <coil/coroutine.h>
#include <coil/error.h>
#include <coil/io.h>
#include <coil/loop.h>
#include <coil/resolve.h>
#include <coil/stream.h>
#include <coil/time.h>
#include <coil/wait_for.h>

#include "base/check.h"
#include "base/descriptor.h"
#include "base/options.h"

/* ---- To an address ---------------------------------------------------- */

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
    int fd = coili_socket_open(addr->u.sa.sa_family);
    if (fd >= 0)
        no_delay(fd, addr);
    return fd;
}

/*
 * The stream is made before the socket is connected: closing it cancels the
 * connect and closes the descriptor, whatever happens.
 */
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
    coili_check(addr, "coil_stream_connect: addr is NULL");
    return COIL_CALL(stream_connect, .addr = *addr);
}

/* ---- To a host -------------------------------------------------------- */

struct open_connection {
    struct coil_coro coro;
    struct coil_future *lookup; /* has copied the host; NULL: awaited */
    struct coil_addrs *addrs;   /* 2 KB, freed when the stream is there */
    int64_t timeout_ns, attempt_timeout_ns;
    coil_allow_address_fn *allow; /* NULL: all addresses are allowed */
    void *allow_arg;
    struct coil_stream *stream;
    size_t i;
    int err, first_err;
    enum coil_phase phase;
};

/*
 * Keep the error of the first address: it is the one that the resolver
 * prefers. But an address may be out of reach from this machine, as IPv6 often
 * is. Then the error of the next one says more.
 */
static void note_error(struct open_connection *my)
{
    int first = my->first_err;
    if (!first || first == -ENETUNREACH || first == -EHOSTUNREACH ||
        first == -EADDRNOTAVAIL || first == -EAFNOSUPPORT)
        my->first_err = my->err;
}

static struct coil_future *begin_lookup(struct open_connection *my)
{
    struct coil_future *lookup = my->lookup;
    my->lookup = NULL;
    return coil_wait_for(lookup, my->attempt_timeout_ns);
}

static struct coil_future *begin_attempt(struct open_connection *my)
{
    const struct coil_addr *addr = &my->addrs->list[my->i];
    if (my->allow && !my->allow(my->allow_arg, addr))
        return coil_future_from_error(-EACCES, 0);
    return coil_wait_for(coil_stream_connect(addr), my->attempt_timeout_ns);
}

/* The phase, and the code if the error has one: EAI_*, or why cancelled. */
static uint32_t detail_of(const struct open_connection *my)
{
    bool has_code = my->err == COIL_ERESOLVE || my->err == -ECANCELED;
    return COIL_DETAIL(my->phase,
                       has_code ? COIL_DETAIL_CODE(coil_last_detail()) : 0);
}

/* The value of RETURN leaves both blocks; an error lands in my->err. */
static void open_connection(struct coil_coro *co)
{
    COIL_ASYNC_GIVES(open_connection, my, coil_stream_close_soon) {
        my->phase = COIL_PHASE_RESOLVE;
        COIL_TRY_ALL(my->err) COIL_WITHIN(my->timeout_ns) {
            COIL_AWAIT(begin_lookup(my));
            my->phase = COIL_PHASE_CONNECT;
            for (; my->i < my->addrs->n; my->i++) {
                COIL_TRY_AWAIT_TO(my->err, my->stream, begin_attempt(my));
                if (my->err == 0)
                    COIL_RETURN(my->stream);
                note_error(my);
            }
            COIL_FAIL(my->first_err);
        }
        COIL_FAIL_WITH(my->err, detail_of(my));

    COIL_FINALLY;
        if (my->lookup)
            coil_discard(my->lookup);
        coil_free(my->addrs, sizeof *my->addrs);
    }
}

static struct coil_connect_options
with_defaults(const struct coil_connect_options *given)
{
    struct coil_connect_options o;
    coili_options_read(&o, sizeof o,
                       offsetof(struct coil_connect_options, allow), given,
                       "coil_open_connection", "COIL_CONNECT_OPTIONS_INIT");
    o.timeout_ns = o.timeout_ns ? o.timeout_ns : COIL_NEVER;
    o.attempt_timeout_ns = o.attempt_timeout_ns ? o.attempt_timeout_ns
                                                : COIL_NEVER;
    return o;
}

/* The lookup is made here, since it copies `host`, and begins at the await. */
struct coil_future *
coil_open_connection(const char *host, uint16_t port,
                     const struct coil_connect_options *options)
{
    coili_check(host, "coil_open_connection: host is NULL");
    struct coil_connect_options o = with_defaults(options);
    struct coil_addrs *addrs = coil_alloc(sizeof *addrs);
    if (!addrs)
        return coil_future_from_nomem();
    addrs->n = 0;
    struct coil_future *lookup = coil_resolve(addrs, host, port);
    struct coil_future *f = COIL_CALL(
        open_connection, .lookup = lookup, .addrs = addrs,
        .timeout_ns = o.timeout_ns, .attempt_timeout_ns = o.attempt_timeout_ns,
        .allow = o.allow, .allow_arg = o.allow_arg);
    if (coil_future_done(f)) { /* no memory */
        coil_discard(lookup);
        coil_free(addrs, sizeof *addrs);
    }
    return f;
}
