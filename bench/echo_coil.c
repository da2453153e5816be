// SPDX-License-Identifier: MIT
/*
 * echo_coil.c: the TCP echo server on coil: a task per connection, which sends
 * from the buffer that the kernel has received into.
 *
 *     echo_coil [--ring 128x16384]
 *
 * Prints "listening on 127.0.0.1:PORT" and serves until SIGTERM. Then it prints
 * how many messages it has received, and how many receives were refused because
 * all shared buffers were in use.
 */
#include <coil.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long messages;

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
            messages++;
            char *data;
            my->n = coil_stream_peek(my->peer, &data);
            AWAIT(coil_stream_write(my->peer, data, my->n));
            coil_stream_consume(my->peer, my->n);
        }

    FINALLY;
        AWAIT(coil_stream_close(my->peer));
    }
}

static void print_and_exit(void *arg)
{
    struct coil_loop_stats stats;
    (void)arg;
    coil_loop_get_stats(coil_loop_current(), &stats);
    printf("messages=%ld refused=%llu overflows=%llu\n", messages,
           (unsigned long long)stats.no_buffers,
           (unsigned long long)stats.overflows);
    exit(0);
}

struct serve {
    struct coil_coro coro;
    struct coil_signal_handler sigterm;
    struct coil_listener *listener;
    struct coil_stream *peer;
    int err;
};

static void serve(struct coil_coro *co)
{
    ASYNC(serve, my) {
        struct coil_addr addr;
        coil_addr_from_ip(&addr, "127.0.0.1", 0);
        my->err = coil_signal_add_handler(&my->sigterm, SIGTERM, print_and_exit,
                                          NULL);
        if (my->err < 0)
            FAIL(my->err);
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

int main(int argc, char **argv)
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.on_exception = quiet;
    if (argc > 1 && (argc != 3 || strcmp(argv[1], "--ring") != 0 ||
                     sscanf(argv[2], "%ux%u", &options.recv_buffers,
                            &options.recv_buffer_bytes) != 2)) {
        fprintf(stderr, "usage: %s [--ring 128x16384]\n", argv[0]);
        return 1;
    }
    return RUN_WITH(&options, serve) < 0;
}
