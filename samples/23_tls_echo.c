// SPDX-License-Identifier: MIT
/*
 * The echo server over TLS. A TLS stream is a stream like any other: only the
 * handshake is new. It is a part of the connection's coroutine, so a slow client
 * holds no other up.
 *
 *     ./build/samples/23_tls_echo 7777 server.pem       # certificate and key
 *     openssl s_client -quiet -connect 127.0.0.1:7777 -CAfile ca.pem
 *
 * Prints "listening on 127.0.0.1:7777", and why a handshake has failed.
 */
#include <coil.h>
#include <coil/tls.h>
#include <stdio.h>
#include <stdlib.h>

static struct coil_tls_server *tls;
static struct coil_listener *listener;

COROUTINE(echo, struct coil_stream *peer; struct coil_tls_why why; size_t n;
          int err;)
{
    ASYNC(echo, my) {
        struct coil_stream *tcp = my->peer;
        my->peer = NULL; /* taken by the handshake, also if that fails */
        TRY_AWAIT_TO(my->err, my->peer, coil_tls_accept(tcp, tls, &my->why));
        if (my->err < 0)
            fprintf(stderr, "23_tls_echo: %s\n", my->why.text);
        while (my->peer) {
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

COROUTINE(serve, struct coil_stream *peer; uint16_t port; int err;)
{
    ASYNC(serve, my) {
        struct coil_addr addr;
        coil_addr_from_ip(&addr, "127.0.0.1", my->port);
        if ((my->err = coil_listener_open(&listener, &addr, 128)) < 0)
            FAIL(my->err);
        coil_listener_addr(listener, &addr);
        printf("listening on 127.0.0.1:%u\n", coil_addr_port(&addr));
        fflush(stdout);
        for (;;) {
            TRY_AWAIT_TO(my->err, my->peer, coil_listener_accept(listener));
            if (my->err == 0 && START(echo, .peer = my->peer) < 0)
                coil_stream_close_soon(my->peer); /* no memory for it */
        }

    FINALLY;
        if (listener)
            AWAIT(coil_listener_close(listener));
    }
}

int main(int argc, char **argv)
{
    struct coil_tls_server_options options = COIL_TLS_SERVER_OPTIONS_INIT;
    options.certificate.file = argc == 3 ? argv[2] : "server.pem";
    struct coil_tls_why why;
    int err = coil_tls_server_new(&tls, &options, &why);
    if (err == 0)
        err = RUN(serve, .port = (uint16_t)(argc > 1 ? atoi(argv[1]) : 7777));
    else
        fprintf(stderr, "23_tls_echo: %s\n", why.text);
    return err < 0;
}
