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
 * The parser knows what nginx and delay_server.c send and refuses the rest: a
 * head that ends in an empty line, status 200, one Content-Length, no transfer
 * coding, no close. A head may be cut anywhere; then its pieces are put
 * together in the connection. There is no URL, DNS, redirect, timeout, TLS,
 * cookie, retry or second host: those are what a client library adds.
 */
#include "http_client.h"
#include "ring.h"

#include <stdbool.h>

enum { HEAD_MAX = 4096 };

enum kind { CONNECT, SEND, RECV };

struct connection {
    int fd;
    bool in_body;
    size_t body_left;
    size_t head_length;  // of a head that came in pieces
    char *head;          // HEAD_MAX bytes, once a head was cut
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

static bool named(const char *line, size_t length, const char *name)
{
    size_t n = strlen(name);
    return length > n && line[n] == ':' && strncasecmp(line, name, n) == 0;
}

// Digits and nothing else, with blanks around them allowed.
static size_t parse_length(const char *p, const char *end)
{
    size_t value = 0, digits = 0;
    while (p < end && *p == ' ')
        p++;
    for (; p < end && *p >= '0' && *p <= '9'; p++, digits++)
        value = value * 10 + (size_t)(*p - '0');
    while (p < end && *p == ' ')
        p++;
    if (p != end || digits == 0 || digits > 12)
        die("a Content-Length that is not a number");
    return value;
}

// A whole head, up to and with its empty line; returns the body's length.
static size_t parse_head(const char *p, size_t length)
{
    const char *end = p + length - 2;  // before the empty line
    bool first = true, has_length = false;
    size_t body = 0;

    while (p < end) {
        const char *line_end = memchr(p, '\r', (size_t)(end - p));
        if (!line_end || line_end[1] != '\n')
            die("a header line without CRLF");
        size_t n = (size_t)(line_end - p);
        if (first && (n < 12 || memcmp(p, "HTTP/1.1 200", 12) != 0))
            die("not a 200: %.*s", (int)n, p);
        if (named(p, n, "Content-Length")) {
            if (has_length)
                die("two Content-Lengths");
            body = parse_length(p + strlen("Content-Length:"), line_end);
            has_length = true;
        } else if (named(p, n, "Transfer-Encoding")) {
            die("a transfer coding");
        } else if (named(p, n, "Connection") && memmem(p, n, "close", 5)) {
            die("the server closes the connection");
        }
        first = false;
        p = line_end + 2;
    }
    if (!has_length)
        die("no Content-Length");
    return body;
}

// Bytes of `data` that belong to the head; in_body once it is complete.
static size_t take_head(struct connection *c, const char *data, size_t length)
{
    if (c->head_length == 0) {
        const char *end = memmem(data, length, "\r\n\r\n", 4);
        if (end) {
            size_t taken = (size_t)(end - data) + 4;
            c->body_left = parse_head(data, taken);
            c->in_body = true;
            return taken;
        }
    }

    if (!c->head && !(c->head = malloc(HEAD_MAX)))
        die("out of memory");
    size_t before = c->head_length;
    size_t room = HEAD_MAX - before, copied = length < room ? length : room;
    memcpy(c->head + before, data, copied);
    c->head_length += copied;
    char *end = memmem(c->head, c->head_length, "\r\n\r\n", 4);
    if (!end) {
        if (c->head_length == HEAD_MAX)
            die("a head of more than %d bytes", HEAD_MAX);
        return copied;
    }
    size_t head = (size_t)(end - c->head) + 4;
    c->body_left = parse_head(c->head, head);
    c->in_body = true;
    c->head_length = 0;
    return head - before;
}

static void consume(uint32_t i, const char *data, size_t length)
{
    struct connection *c = &connections[i];
    while (length > 0 || (c->in_body && c->body_left == 0)) {
        if (!c->in_body) {
            size_t taken = take_head(c, data, length);
            data += taken;
            length -= taken;
            continue;
        }
        size_t n = length < c->body_left ? length : c->body_left;
        data += n;
        length -= n;
        c->body_left -= n;
        body_bytes += (int64_t)n;
        if (c->body_left > 0)
            return;
        if (length > 0)
            die("bytes after a response nobody asked for");
        c->in_body = false;
        answered++;
        ask_next(i);
    }
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
