// SPDX-License-Identifier: MIT
/*
 * A server: one coroutine per connection. What the kernel has received is sent
 * from where it lies; an idle connection holds no buffer.
 *
 *     ./build/samples/09_echo_server 7777          # 0: a free port
 *     echo hello | nc -N 127.0.0.1 7777
 *
 * Prints "listening on 127.0.0.1:7777" and serves until Ctrl-C.
 */
#include <coil.h>
#include <stdio.h>
#include <stdlib.h>

struct echo {
    struct coil_coro coro;
    struct coil_stream *peer; /* given by serve(): closed here */
    size_t n;
};

static void echo(struct coil_coro *co)
{
    ASYNC(echo, my) {
        for (;;) {
            AWAIT_TO(my->n, coil_stream_fill(my->peer, 1));
            if (my->n == 0)
                break; /* the peer has ended */
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
    uint16_t port;
    struct coil_listener *listener;
    struct coil_stream *peer;
    int err;
};

static void serve(struct coil_coro *co)
{
    ASYNC(serve, my) {
        struct coil_addr addr;
        coil_addr_from_ip(&addr, "127.0.0.1", my->port);
        my->err = coil_listener_open(&my->listener, &addr, 128);
        if (my->err < 0)
            FAIL(my->err);
        coil_listener_addr(my->listener, &addr);
        printf("listening on 127.0.0.1:%u\n", coil_addr_port(&addr));
        fflush(stdout);

        for (;;) {
            TRY_AWAIT_TO(my->err, my->peer, coil_listener_accept(my->listener));
            if (my->err < 0)
                fprintf(stderr, "accept: %s\n", coil_strerror(my->err));
            else if (START(echo, .peer = my->peer) < 0)
                coil_stream_close_soon(my->peer); /* no memory for it */
        }

    FINALLY;
        if (my->listener)
            AWAIT(coil_listener_close(my->listener));
    }
}

int main(int argc, char **argv)
{
    int err = RUN(serve, .port = (uint16_t)(argc > 1 ? atoi(argv[1]) : 7777));
    fprintf(stderr, "09_echo_server: %s\n", coil_strerror(err));
    return 1;
}
