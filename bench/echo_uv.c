// SPDX-License-Identifier: MIT
/*
 * echo_uv.c: the TCP echo server on libuv.
 *
 *     echo_uv
 *
 * Prints "listening on 127.0.0.1:PORT" and serves until it is killed.
 *
 * As its users write it when they care: one read buffer for all connections,
 * uv_try_write from it at once, and only what the socket refused is copied and
 * handed to uv_write. uv_try_write refuses by itself while a uv_write is
 * pending, so the order holds.
 */
#include "bench.h"

#include <netinet/in.h>
#include <uv.h>

static char shared[65536];

struct rest {
    uv_write_t request;
    char data[];
};

static void check(int err, const char *what)
{
    if (err < 0)
        die("%s: %s", what, uv_strerror(err));
}

static void closed(uv_handle_t *connection)
{
    free(connection);
}

static void hang_up(uv_stream_t *connection)
{
    if (!uv_is_closing((uv_handle_t *)connection))
        uv_close((uv_handle_t *)connection, closed);
}

static void give_buffer(uv_handle_t *connection, size_t wanted, uv_buf_t *buf)
{
    (void)connection;
    (void)wanted;
    *buf = uv_buf_init(shared, sizeof shared);
}

static void wrote(uv_write_t *request, int status)
{
    if (status < 0)
        hang_up(request->handle);
    free(request->data);
}

static void echo(uv_stream_t *connection, char *data, size_t length)
{
    uv_buf_t buf = uv_buf_init(data, (unsigned)length);
    int n = uv_try_write(connection, &buf, 1);
    if (n < 0 && n != UV_EAGAIN) {
        hang_up(connection);
        return;
    }
    size_t done = n < 0 ? 0 : (size_t)n;
    if (done == length)
        return;

    struct rest *rest = malloc(sizeof *rest + length - done);
    if (!rest)
        die("out of memory");
    memcpy(rest->data, data + done, length - done);
    rest->request.data = rest;
    buf = uv_buf_init(rest->data, (unsigned)(length - done));
    check(uv_write(&rest->request, connection, &buf, 1, wrote), "uv_write");
}

static void received(uv_stream_t *connection, ssize_t n, const uv_buf_t *buf)
{
    if (n > 0)
        echo(connection, buf->base, (size_t)n);
    else if (n < 0)
        hang_up(connection);
}

static void accepted(uv_stream_t *listener, int status)
{
    check(status, "accept");
    uv_tcp_t *connection = malloc(sizeof *connection);
    if (!connection)
        die("out of memory");
    check(uv_tcp_init(listener->loop, connection), "uv_tcp_init");
    check(uv_accept(listener, (uv_stream_t *)connection), "uv_accept");
    check(uv_tcp_nodelay(connection, 1), "uv_tcp_nodelay");
    check(uv_read_start((uv_stream_t *)connection, give_buffer, received),
          "uv_read_start");
}

int main(void)
{
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    struct sockaddr_in address;
    int length = sizeof address;

    check(uv_ip4_addr("127.0.0.1", 0, &address), "uv_ip4_addr");
    check(uv_tcp_init(loop, &listener), "uv_tcp_init");
    check(uv_tcp_bind(&listener, (struct sockaddr *)&address, 0), "bind");
    check(uv_listen((uv_stream_t *)&listener, 4096, accepted), "listen");
    check(uv_tcp_getsockname(&listener, (struct sockaddr *)&address, &length),
          "getsockname");
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
