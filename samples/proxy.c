// SPDX-License-Identifier: MIT
/*
 * A TCP proxy: two pumps, one for each direction, under one idle time-out. Each
 * piece from either side moves the deadline; when it strikes, both pumps end.
 *
 *     ./build/samples/proxy 7777 8080 60000  # PORT UPSTREAM-PORT IDLE-MS
 *
 * Prints "listening on 127.0.0.1:7777", then why connections were cut: "Timed
 * out" for an idle one. Serves until Ctrl-C or SIGTERM.
 */
#include <coil.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static struct coil_addr upstream;
static int64_t idle_ns;

struct pump {
    struct coil_coro coro;
    struct coil_stream *from, *to; /* lent by proxy(), as is the scope */
    struct coil_cancel_scope *idle;
    size_t n;
};

static void pump(struct coil_coro *co)
{
    ASYNC(pump, my) {
        for (;;) {
            /* If the deadline has struck already, the next await fails. */
            coil_cancel_scope_set_deadline(my->idle, coil_now() + idle_ns);
            AWAIT_TO(my->n, coil_stream_fill(my->from, 1));
            if (my->n == 0)
                break;
            char *data;
            my->n = coil_stream_peek(my->from, &data);
            AWAIT(coil_stream_write(my->to, data, my->n));
            coil_stream_consume(my->from, my->n);
        }
        AWAIT(coil_stream_write_eof(my->to)); /* the other pump goes on */
    }
}

struct proxy {
    struct coil_coro coro;
    struct coil_stream *client, *server; /* closed in FINALLY */
    struct coil_cancel_scope idle;
    struct coil_group pumps;
    int err;
};

static void proxy(struct coil_coro *co)
{
    ASYNC(proxy, my) {
        WITHIN(COIL_SECONDS(5)) {
            AWAIT_TO(my->server, coil_stream_connect(&upstream));
        }
        TRY(my->err) CANCEL_SCOPE(&my->idle) GROUP(&my->pumps) {
            if (START(pump, .from = my->client, .to = my->server,
                      .idle = &my->idle) < 0 ||
                START(pump, .from = my->server, .to = my->client,
                      .idle = &my->idle) < 0)
                FAIL(-ENOMEM);
        }
        if (my->err)
            puts(coil_strerror(my->err));

    FINALLY;
        AWAIT(coil_stream_close(my->server));
        AWAIT(coil_stream_close(my->client));
    }
}

struct serve {
    struct coil_coro coro;
    uint16_t port;
    struct coil_listener *listener;
    struct coil_signal_handler on_term;
    struct coil_stream *client;
    int err;
};

static void stop(void *task)
{
    coil_task_cancel(task);
}

static void serve(struct coil_coro *co)
{
    ASYNC(serve, my) {
        struct coil_addr addr;
        coil_addr_from_ip(&addr, "127.0.0.1", my->port);
        my->err = coil_listener_open(&my->listener, &addr, 128);
        if (my->err == 0)
            my->err = coil_signal_add_handler(&my->on_term, SIGTERM, stop,
                                              coil_task_current());
        if (my->err < 0)
            FAIL(my->err);
        coil_listener_addr(my->listener, &addr);
        printf("listening on 127.0.0.1:%u\n", coil_addr_port(&addr));
        fflush(stdout);
        for (;;) {
            TRY_AWAIT_TO(my->err, my->client,
                         coil_listener_accept(my->listener));
            if (my->err)
                fprintf(stderr, "accept: %s\n", coil_strerror(my->err));
            else if (START(proxy, .client = my->client) < 0)
                coil_stream_close_soon(my->client);
        }

    FINALLY;
        coil_signal_remove_handler(&my->on_term);
        if (my->listener)
            AWAIT(coil_listener_close(my->listener));
    }
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return fputs("usage: proxy PORT UPSTREAM-PORT IDLE-MS\n", stderr), 2;
    coil_addr_from_ip(&upstream, "127.0.0.1", (uint16_t)atoi(argv[2]));
    idle_ns = COIL_MS(atoi(argv[3]));
    setvbuf(stdout, NULL, _IOLBF, 0);
    int err = RUN(serve, .port = (uint16_t)atoi(argv[1]));
    if (err == -EINTR || err == -ECANCELED)
        return 0;
    fprintf(stderr, "proxy: %s\n", coil_strerror(err));
    return 1;
}
