// SPDX-License-Identifier: MIT
/*
 * echo_coil.c: the TCP echo server on coil: a task per connection, which sends
 * from the buffer that the kernel has received into.
 *
 *     echo_coil
 *
 * Prints "listening on 127.0.0.1:PORT" and serves until SIGTERM.
 */
#include <coil.h>
#include <stdio.h>

struct echo {
    struct coil_coro coro;
    struct coil_stream *peer;
    size_t n;
};

static void echo(struct coil_coro *co)
{
    ASYNC(echo, my) {
        for (;;) {
            AWAIT_TO(my->n, coil_stream_fill(my->peer, 1));
            if (my->n == 0)
                break;
            char *data;
            my->n = coil_stream_peek(my->peer, &data);
            AWAIT(coil_stream_write(my->peer, data, my->n));
            coil_stream_consume(my->peer, my->n);
        }

    FINALLY;
        AWAIT(coil_stream_close(my->peer));
    }
}

struct serve {
    struct coil_coro coro;
    struct coil_listener *listener;
    struct coil_stream *peer;
    int err;
};

static void serve(struct coil_coro *co)
{
    ASYNC(serve, my) {
        struct coil_addr addr;
        coil_addr_from_ip(&addr, "127.0.0.1", 0);
        my->err = coil_listener_open(&my->listener, &addr, 4096);
        if (my->err < 0)
            FAIL(my->err);
        coil_listener_addr(my->listener, &addr);
        printf("listening on 127.0.0.1:%u\n", coil_addr_port(&addr));
        fflush(stdout);
        for (;;) {
            TRY_AWAIT_TO(my->err, my->peer, coil_listener_accept(my->listener));
            if (my->err == 0 && START(echo, .peer = my->peer) < 0)
                coil_stream_close_soon(my->peer);
        }
    }
}

static void quiet(const struct coil_exception *what, void *arg)
{
    (void)what; /* connections reset at the end of the load */
    (void)arg;
}

int main(void)
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.on_exception = quiet;
    return RUN_WITH(&options, serve) < 0;
}
