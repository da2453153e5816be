// SPDX-License-Identifier: MIT
/*
 * tls_echo_coil.c: an echo server over TLS on coil, with a timer beside it.
 *
 *     tls_echo_coil CERTIFICATE-AND-KEY [--engine openssl] [--threads N]
 *
 * Prints "listening on 127.0.0.1:PORT" and serves until SIGTERM. All the time a
 * timer of 10 ms is set again and again. At the end the server prints how late
 * those timers were that came while a handshake was going on, and how many
 * connections had a handshake. --threads takes the costly steps of handshakes to
 * an executor.
 */
#include <coil.h>
#include <coil/tls.h>
#include <signal.h>

#include "late.h"
#include "tls_engine.h"

static struct coil_tls_server *tls;
static struct late late;
static long handshakes, open_handshakes;

static void die_of(int err)
{
    char text[256];
    die("a handshake failed: %s",
        coil_explain(err, coil_last_detail(), text, sizeof text));
}

/* No struct coil_tls_why: it is larger than the rest of the frame. */
COROUTINE(echo, struct coil_stream *peer; size_t n; int err;)
{
    ASYNC(echo, my) {
        struct coil_stream *tcp = my->peer;
        my->peer = NULL;
        open_handshakes++;
        TRY_AWAIT_TO(my->err, my->peer, coil_tls_accept(tcp, tls, NULL));
        open_handshakes--;
        if (my->err < 0)
            die_of(my->err);
        handshakes++;
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

COROUTINE(tick, int64_t deadline;)
{
    ASYNC(tick, my) {
        for (;;) {
            my->deadline = now_ns() + LATE_PERIOD_NS;
            AWAIT(coil_sleep(LATE_PERIOD_NS));
            if (open_handshakes > 0)
                late_came(&late, my->deadline);
        }
    }
}

static void print_and_exit(void *arg)
{
    (void)arg;
    printf("handshakes=%ld\n", handshakes);
    if (late.n > 0)
        late_end(&late, "coil");
    exit(0);
}

COROUTINE(serve, struct coil_signal_handler sigterm;
          struct coil_listener * listener; struct coil_stream * peer; int err;)
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
        SPAWN(tick);
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
    struct coil_loop_options loop = COIL_LOOP_OPTIONS_INIT;
    struct coil_tls_server_options o = COIL_TLS_SERVER_OPTIONS_INIT;
    struct coil_executor_options threads = COIL_EXECUTOR_OPTIONS_INIT;
    struct coil_tls_why why;
    loop.on_exception = quiet;
    if (argc < 2)
        die("usage: %s CERTIFICATE-AND-KEY", argv[0]);
    o.certificate.file = argv[1];
    for (int i = 2; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--engine") == 0)
            o.engine = tls_engine(value);
        else if (strcmp(argv[i], "--threads") == 0)
            threads.threads_limit = (unsigned)strtoul(value, NULL, 10);
        else
            die("%s: no such option", argv[i]);
    }
    if (threads.threads_limit > 0 &&
        !(o.executor = coil_executor_new(&threads)))
        die("no memory for threads");
    if (coil_tls_server_new(&tls, &o, &why) < 0)
        die("%s", why.text);
    return RUN_WITH(&loop, serve) < 0;
}
