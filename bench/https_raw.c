// SPDX-License-Identifier: MIT
/*
 * https_raw.c: the limit for an HTTPS client, liburing and OpenSSL by hand.
 *
 *     https_raw PORT PATH REQUESTS PARALLEL CA
 *
 * As http_raw.c, with OpenSSL between the ring and the parser: what is received
 * is written to a BIO in memory, and what OpenSSL writes to another one is sent.
 * A connection that the server closes is followed by another one, with the
 * newest session.
 *
 * Nothing waits for a send. A connection sends only when the server's answer to
 * what it has sent before is there, so its buffer is free then.
 */
#include "http_client.h"
#include "http_reply.h"
#include "ring.h"
#include "tls_by_hand.h"

enum kind { CONNECT, SEND, RECV };
enum { OUT_MOST = 8192 };

struct connection {
    SSL *ssl;
    BIO *in, *out; // of ssl
    int fd;
    bool is_open, has_asked, has_ended;
    struct reply reply;
    char sent[OUT_MOST]; // until the kernel has taken it
};

static struct http_job job;
static SSL_CTX *context;
static struct io_uring ring;
static struct pool pool;
static struct starved starved;
static struct connection *connections;
static long asked, answered, wanted;
static int64_t body_bytes;

static uint64_t tag(enum kind kind, uint32_t i)
{
    return (uint64_t)kind << 32 | i;
}

static void receive(uint32_t i)
{
    ring_recv(&ring, connections[i].fd, tag(RECV, i));
}

// Send what OpenSSL has written.
static void flush(uint32_t i)
{
    struct connection *c = &connections[i];
    int n = BIO_read(c->out, c->sent, sizeof c->sent);
    if (n <= 0)
        return;
    if (BIO_ctrl_pending(c->out) > 0)
        die("more than %d bytes to send", OUT_MOST);
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    io_uring_prep_send(sqe, c->fd, c->sent, (size_t)n,
                       MSG_NOSIGNAL | MSG_WAITALL);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = tag(SEND, i);
}

static void connect_one(uint32_t i)
{
    static struct sockaddr_in address; // until the kernel has read it
    struct connection *c = &connections[i];
    int one = 1;
    address = loopback(job.port);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 ||
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
        die("socket: %s", strerror(errno));
    c->ssl = client_connection(context);
    c->in = BIO_new(BIO_s_mem());
    c->out = BIO_new(BIO_s_mem());
    if (!c->in || !c->out)
        die("out of memory");
    SSL_set_bio(c->ssl, c->in, c->out);
    c->is_open = true;
    c->has_asked = false;
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    io_uring_prep_connect(sqe, c->fd, (struct sockaddr *)&address,
                          sizeof address);
    sqe->user_data = tag(CONNECT, i);
}

// False: OpenSSL needs more bytes, or the server has ended the connection.
static bool is_good(struct connection *c, int result, const char *what)
{
    if (result > 0)
        return true;
    int err = SSL_get_error(c->ssl, result);
    if (err == SSL_ERROR_ZERO_RETURN)
        c->has_ended = true;
    else if (err != SSL_ERROR_WANT_READ)
        die_openssl(what);
    return false;
}

// A connection whose handshake goes on asks at its end.
static void ask(struct connection *c)
{
    char path[256], request[320];
    if (asked == wanted || c->has_asked || !SSL_is_init_finished(c->ssl))
        return;
    http_job_path(&job, asked++, path, sizeof path);
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", path);
    is_good(c, SSL_write(c->ssl, request, n), "SSL_write");
    c->has_asked = true;
}

// Go on as far as is possible with what was received.
static void advance(struct connection *c)
{
    static char data[16384];
    if (!SSL_is_init_finished(c->ssl)) {
        if (!is_good(c, SSL_do_handshake(c->ssl), "SSL_do_handshake"))
            return;
        ask(c);
    }
    for (;;) {
        int n = SSL_read(c->ssl, data, sizeof data);
        if (!is_good(c, n, "SSL_read"))
            return;
        reply_take(&c->reply, data, (size_t)n);
        body_bytes += (int64_t)c->reply.body_taken;
        if (!c->reply.is_whole)
            continue;
        answered++;
        bool closes = c->reply.closes;
        reply_begin(&c->reply);
        c->has_asked = closes; // then no more is asked on this one
        ask(c);
    }
}

static void close_one(uint32_t i)
{
    struct connection *c = &connections[i];
    // OpenSSL forgets the sessions of a connection that has not sent its end.
    SSL_set_shutdown(c->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(c->ssl);
    close(c->fd);
    c->is_open = c->has_ended = false;
    if (asked < wanted)
        connect_one(i);
}

static void received(uint32_t i, const struct io_uring_cqe *cqe)
{
    struct connection *c = &connections[i];
    if (cqe->res == -ENOBUFS) {
        starved_push(&starved, i);
        return;
    }
    if (cqe->res == 0 && c->has_ended) {
        close_one(i);
        return;
    }
    if (cqe->res <= 0)
        die("the server closed a connection: %s", strerror(-cqe->res));
    unsigned id = pool_taken(&pool, cqe);
    if (BIO_write(c->in, pool_buffer(&pool, id), cqe->res) != cqe->res)
        die_openssl("BIO_write");
    pool_give(&pool, id);
    advance(c);
    flush(i);
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
        advance(&connections[i]); // writes the first flight
        flush(i);
        receive(i);
        break;
    case SEND:
        die("send: %d", cqe->res);
    case RECV:
        received(i, cqe);
        break;
    }
}

// Make `requests` more, and wait for all of them.
static void run(long requests)
{
    wanted += requests;
    // The end of a handshake may still wait to be sent, from the same buffer.
    if (io_uring_submit(&ring) < 0)
        die("io_uring_submit");
    for (uint32_t i = 0; i < (uint32_t)job.parallel; i++)
        if (!connections[i].is_open) {
            connect_one(i);
        } else if (asked < wanted) {
            ask(&connections[i]);
            flush(i);
        }
    while (answered < wanted) {
        ring_turn(&ring, handle);
        starved_rearm(&starved, &pool, receive);
    }
}

int main(int argc, char **argv)
{
    job = https_job_parse(argc, argv);
    if (!job.ca)
        die("this program speaks TLS only");
    context = client_context(job.ca);
    ring_open(&ring, 4096);
    pool_open(&pool, &ring, 128, 16384);
    starved_open(&starved, (unsigned)job.parallel);
    connections = calloc((size_t)job.parallel, sizeof *connections);
    if (!connections)
        die("out of memory");

    run(job.parallel);
    body_bytes = 0;
    http_job_begin(&job);
    run(job.requests);
    http_job_print(&job, body_bytes);
    return 0;
}
