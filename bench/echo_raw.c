// SPDX-License-Identifier: MIT
/*
 * echo_raw.c: the limit for a TCP echo server, liburing and nothing else.
 *
 *     echo_raw [--direct] [--ring 128x16384]
 *
 * Prints "listening on 127.0.0.1:PORT" and serves until SIGTERM. Then it prints
 * how many messages it has received, and how many receives were refused because
 * all buffers were in use.
 *
 * One multishot accept, one multishot receive per connection into a pool of
 * buffers shared by all, and each received buffer is sent from where it lies.
 * One submit-and-wait per turn is the only system call. With --direct, accepted
 * sockets never become file descriptors: they live in the ring's own table.
 *
 * A connection sends one buffer at a time and queues what arrives meanwhile,
 * because two sends in flight on one socket may overtake each other when the
 * first finds the socket full. The queue is a list threaded through arrays that
 * are indexed by buffer, so it costs nothing when nobody waits. Idle
 * connections hold no buffer.
 *
 * A connection is forgotten only when its receive has said it is over and no
 * send is left: then no completion can name the reused slot.
 */
#include "ring.h"

#include <signal.h>
#include <stdbool.h>

enum { CONNECTIONS_MAX = 20000, NONE = -1 };

enum kind { ACCEPT, RECV, SEND, CLOSE };

struct connection {
    int head, tail;  // buffers to send, oldest first
    unsigned sent;   // of the oldest
    bool receiving, failed;
};

static struct io_uring ring;
static struct pool pool;
static struct starved starved;
static struct connection connections[CONNECTIONS_MAX];
static int *next_buffer;
static unsigned *buffer_length;
static bool direct;
static int listener;
static long messages, refused;
static volatile sig_atomic_t ended;

static uint64_t tag(enum kind kind, uint32_t slot)
{
    return (uint64_t)kind << 32 | slot;
}

static void on_socket(struct io_uring_sqe *sqe)
{
    if (direct)
        sqe->flags |= IOSQE_FIXED_FILE;
}

static void accept_many(void)
{
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    if (direct)
        io_uring_prep_multishot_accept_direct(sqe, listener, NULL, NULL, 0);
    else
        io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, 0);
    sqe->user_data = tag(ACCEPT, 0);
}

static void receive(uint32_t slot)
{
    connections[slot].receiving = true;
    on_socket(ring_recv(&ring, (int)slot, tag(RECV, slot)));
}

static void send_oldest(uint32_t slot)
{
    struct connection *c = &connections[slot];
    unsigned id = (unsigned)c->head;
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    io_uring_prep_send(sqe, (int)slot, pool_buffer(&pool, id) + c->sent,
                       buffer_length[id] - c->sent, MSG_NOSIGNAL);
    on_socket(sqe);
    sqe->user_data = tag(SEND, slot);
}

static void close_if_over(uint32_t slot)
{
    struct connection *c = &connections[slot];
    if (c->receiving || c->head != NONE)
        return;
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    if (direct)
        io_uring_prep_close_direct(sqe, slot);
    else
        io_uring_prep_close(sqe, (int)slot);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = tag(CLOSE, slot);
}

static void accepted(const struct io_uring_cqe *cqe)
{
    if (cqe->res < 0)
        die("accept: %s", strerror(-cqe->res));
    uint32_t slot = (uint32_t)cqe->res;
    if (slot >= CONNECTIONS_MAX)
        die("more than %d connections", CONNECTIONS_MAX);
    connections[slot] = (struct connection){ .head = NONE, .tail = NONE };
    receive(slot);
    if (!(cqe->flags & IORING_CQE_F_MORE))
        accept_many();
}

static void received(uint32_t slot, const struct io_uring_cqe *cqe)
{
    struct connection *c = &connections[slot];
    c->receiving = cqe->flags & IORING_CQE_F_MORE;
    if (cqe->res == -ENOBUFS) {
        refused++;
        c->receiving = true;  // as far as closing is concerned
        starved_push(&starved, slot);
        return;
    }
    if (cqe->res <= 0) {
        close_if_over(slot);
        return;
    }

    messages++;
    int id = (int)pool_taken(&pool, cqe);
    if (c->failed) {
        pool_give(&pool, (unsigned)id);
    } else {
        buffer_length[id] = (unsigned)cqe->res;
        next_buffer[id] = NONE;
        if (c->head == NONE) {
            c->head = c->tail = id;
            c->sent = 0;
            send_oldest(slot);
        } else {
            next_buffer[c->tail] = id;
            c->tail = id;
        }
    }
    if (!c->receiving)
        receive(slot);
}

// A send failed: nothing more can be sent, so what is queued goes back.
static void give_up(uint32_t slot)
{
    struct connection *c = &connections[slot];
    c->failed = true;
    for (; c->head != NONE; c->head = next_buffer[c->head])
        pool_give(&pool, (unsigned)c->head);
    if (!c->receiving) {
        close_if_over(slot);
        return;
    }
    struct io_uring_sqe *sqe = ring_sqe(&ring);  // which ends the receive
    io_uring_prep_shutdown(sqe, (int)slot, SHUT_RDWR);
    on_socket(sqe);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = tag(CLOSE, slot);
}

static void sent(uint32_t slot, const struct io_uring_cqe *cqe)
{
    struct connection *c = &connections[slot];
    if (cqe->res < 0) {
        give_up(slot);
        return;
    }
    c->sent += (unsigned)cqe->res;
    if (c->sent == buffer_length[c->head]) {
        int id = c->head;
        c->head = next_buffer[id];
        c->sent = 0;
        pool_give(&pool, (unsigned)id);
    }
    if (c->head != NONE)
        send_oldest(slot);
    else
        close_if_over(slot);
}

static void handle(const struct io_uring_cqe *cqe)
{
    uint32_t slot = (uint32_t)cqe->user_data;
    switch ((enum kind)(cqe->user_data >> 32)) {
    case ACCEPT:
        accepted(cqe);
        break;
    case RECV:
        received(slot, cqe);
        break;
    case SEND:
        sent(slot, cqe);
        break;
    case CLOSE:
        break;  // a shutdown of what the peer has reset already
    }
}

static void end(int signal)
{
    (void)signal;
    ended = 1;
}

int main(int argc, char **argv)
{
    unsigned count = 128, size = 16384;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--direct") == 0)
            direct = true;
        else if (strcmp(argv[i], "--ring") == 0 && i + 1 < argc)
            pool_parse(argv[++i], &count, &size);
        else
            die("usage: %s [--direct] [--ring 128x16384]", argv[0]);
    }

    ring_open(&ring, 4096);
    pool_open(&pool, &ring, count, size);
    starved_open(&starved, CONNECTIONS_MAX);
    next_buffer = calloc(count, sizeof *next_buffer);
    buffer_length = calloc(count, sizeof *buffer_length);
    if (!next_buffer || !buffer_length)
        die("out of memory");
    if (direct) {
        int err = io_uring_register_files_sparse(&ring, CONNECTIONS_MAX);
        if (err < 0)
            die("io_uring_register_files_sparse: %s", strerror(-err));
    }
    listener = listen_and_say();
    accept_many();

    signal(SIGTERM, end);
    while (!ended) {
        ring_turn(&ring, handle);
        starved_rearm(&starved, &pool, receive);
    }
    printf("messages=%ld refused=%ld\n", messages, refused);
    return 0;
}
