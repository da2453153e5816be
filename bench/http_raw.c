// SPDX-License-Identifier: MIT
/*
 * http_raw.c: the limit for an HTTP client, a keep-alive loop on liburing.
 *
 *     http_raw PORT PATH REQUESTS PARALLEL [--ring 128x16384]
 *
 * PARALLEL connections; each sends its next GET when the previous response is
 * complete. Requests are sent from memory that stays, without a completion
 * (CQE_SKIP_SUCCESS; MSG_WAITALL makes a short send a failure, which does
 * complete). Responses arrive by one multishot receive per connection, into a
 * pool of buffers that all share and that go back at once, so a response of
 * any size costs no memory. The pool matters more than anything else here: see
 * ring.h.
 *
 * The parser is that of http_reply.h. There is no URL, DNS, redirect, timeout,
 * TLS, cookie, retry or second host: those are what a client library adds.
 */
#include "http_client.h"
#include "http_reply.h"
#include "ring.h"

enum kind { CONNECT, SEND, RECV };

struct connection {
    int fd;
    struct reply reply;
    char request[300];
    unsigned request_length;
};

static struct http_job job;
static struct io_uring ring;
static struct pool pool;
static struct starved starved;
static struct connection *connections;
static long asked, answered;
static int64_t body_bytes;

static uint64_t tag(enum kind kind, uint32_t i)
{
    return (uint64_t)kind << 32 | i;
}

static void send_request(uint32_t i)
{
    struct connection *c = &connections[i];
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    io_uring_prep_send(sqe, c->fd, c->request, c->request_length,
                       MSG_NOSIGNAL | MSG_WAITALL);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = tag(SEND, i);
}

static void receive(uint32_t i)
{
    ring_recv(&ring, connections[i].fd, tag(RECV, i));
}

static void ask_next(uint32_t i)
{
    struct connection *c = &connections[i];
    if (asked == job.requests)
        return;
    long number = asked++;
    if (c->request_length == 0 || strchr(job.path, '%')) {
        char path[256];
        http_job_path(&job, number, path, sizeof path);
        c->request_length = (unsigned)snprintf(
            c->request, sizeof c->request,
            "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", path);
    }
    send_request(i);
}

static void connect_one(uint32_t i)
{
    static struct sockaddr_in address;  // until the kernel has read it
    struct connection *c = &connections[i];
    int one = 1;
    address = loopback(job.port);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 ||
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
        die("socket: %s", strerror(errno));
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    io_uring_prep_connect(sqe, c->fd, (struct sockaddr *)&address,
                          sizeof address);
    sqe->user_data = tag(CONNECT, i);
}

static void consume(uint32_t i, const char *data, size_t length)
{
    struct reply *reply = &connections[i].reply;
    reply_take(reply, data, length);
    body_bytes += (int64_t)reply->body_taken;
    if (!reply->is_whole)
        return;
    if (reply->closes)
        die("the server closes the connection");
    reply_begin(reply);
    answered++;
    ask_next(i);
}

static void received(uint32_t i, const struct io_uring_cqe *cqe)
{
    if (cqe->res == -ENOBUFS) {
        starved_push(&starved, i);
        return;
    }
    if (cqe->res <= 0)
        die("the server closed a connection: %s", strerror(-cqe->res));
    unsigned id = pool_taken(&pool, cqe);
    consume(i, pool_buffer(&pool, id), (size_t)cqe->res);
    pool_give(&pool, id);
    if (!(cqe->flags & IORING_CQE_F_MORE))
        receive(i);
}

static void handle(const struct io_uring_cqe *cqe)
{
    uint32_t i = (uint32_t)cqe->user_data;
    switch ((enum kind)(cqe->user_data >> 32)) {
    case CONNECT:
        if (cqe->res < 0)
            die("connect: %s", strerror(-cqe->res));
        ask_next(i);  // first: a receive that finds nothing costs a poll
        receive(i);
        break;
    case SEND:
        die("send: %d", cqe->res);
    case RECV:
        received(i, cqe);
        break;
    }
}

int main(int argc, char **argv)
{
    unsigned buffers = 128, buffer_size = 16384;
    if (argc == 7 && strcmp(argv[5], "--ring") == 0)
        pool_parse(argv[6], &buffers, &buffer_size);
    else if (argc != 5)
        argc = 0;
    job = http_job_parse(argc, argv);

    ring_open(&ring, 4096);
    pool_open(&pool, &ring, buffers, buffer_size);
    starved_open(&starved, (unsigned)job.parallel);
    connections = calloc((size_t)job.parallel, sizeof *connections);
    if (!connections)
        die("out of memory");
    for (uint32_t i = 0; i < (uint32_t)job.parallel; i++)
        connect_one(i);

    while (answered < job.requests) {
        ring_turn(&ring, handle);
        starved_rearm(&starved, &pool, receive);
    }
    http_job_print(&job, body_bytes);
    return 0;
}
