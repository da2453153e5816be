// SPDX-License-Identifier: MIT
/*
 * ring.h: liburing as the raw programs of this directory use it.
 *
 * Two things: a ring set up the way 6.1 and later like it (completions are
 * delivered when this thread asks, by one io_uring_enter per turn), and a pool
 * of receive buffers that the kernel picks from.
 *
 * The pool is what decides whether io_uring wins. 128 x 16 KiB stay in the
 * cache; fewer run dry and every multishot receive has to be armed again;
 * buffers smaller than a message cost a completion and a send per piece. For
 * bulk, 32 x 64 KiB take what loopback delivers in one piece.
 *
 * liburing 2.3 has no io_uring_setup_buf_ring(), so the pool's ring is mapped
 * and registered here by hand.
 */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include "bench.h"

#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>

static inline void ring_open(struct io_uring *ring, unsigned cq_entries)
{
    struct io_uring_params p = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE,
        .cq_entries = cq_entries,
    };
    int err = io_uring_queue_init_params(256, ring, &p);
    if (err < 0)
        die("io_uring: %s", strerror(-err));
    err = io_uring_register_ring_fd(ring);
    if (err < 0)
        die("io_uring_register_ring_fd: %s", strerror(-err));
}

/* A submission entry; what stands in a full queue is submitted first. */
static inline struct io_uring_sqe *ring_sqe(struct io_uring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
    while (!sqe) {
        int err = io_uring_submit(ring);
        if (err < 0 && err != -EINTR)
            die("io_uring_submit: %s", strerror(-err));
        sqe = io_uring_get_sqe(ring);
    }
    return sqe;
}

/* Submit, wait for at least one completion, and handle all there are. */
static inline void ring_turn(struct io_uring *ring,
                             void (*handle)(const struct io_uring_cqe *))
{
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;
    int err = io_uring_submit_and_wait(ring, 1);
    if (err < 0 && err != -EINTR)
        die("io_uring_submit_and_wait: %s", strerror(-err));
    io_uring_for_each_cqe(ring, head, cqe)
    {
        handle(cqe);
        seen++;
    }
    io_uring_cq_advance(ring, seen);
}

struct pool {
    struct io_uring_buf_ring *ring;
    char *memory;
    unsigned count, size; /* count is a power of two */
    unsigned free;        /* buffers the kernel may pick from */
};

enum { POOL_GROUP = 0 };

static inline char *pool_buffer(const struct pool *p, unsigned id)
{
    return p->memory + (size_t)id * p->size;
}

/* Hand buffer `id` back to the kernel. */
static inline void pool_give(struct pool *p, unsigned id)
{
    int mask = io_uring_buf_ring_mask(p->count);
    io_uring_buf_ring_add(p->ring, pool_buffer(p, id), p->size,
                          (unsigned short)id, mask, 0);
    io_uring_buf_ring_advance(p->ring, 1);
    p->free++;
}

static inline void *map_pages(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        die("mmap of %zu bytes: %s", bytes, strerror(errno));
    return memory;
}

static inline void pool_open(struct pool *p, struct io_uring *ring,
                             unsigned count, unsigned size)
{
    *p = (struct pool){ .count = count, .size = size };
    p->ring = map_pages(count * sizeof(struct io_uring_buf));
    p->memory = map_pages((size_t)count * size);
    struct io_uring_buf_reg reg = {
        .ring_addr = (uintptr_t)p->ring,
        .ring_entries = count,
        .bgid = POOL_GROUP,
    };
    int err = io_uring_register_buf_ring(ring, &reg, 0);
    if (err < 0)
        die("io_uring_register_buf_ring: %s", strerror(-err));
    io_uring_buf_ring_init(p->ring);
    for (unsigned i = 0; i < count; i++)
        pool_give(p, i);
}

/* "128x16384" */
static inline void pool_parse(const char *text, unsigned *count, unsigned *size)
{
    int end = 0;
    if (sscanf(text, "%ux%u%n", count, size, &end) != 2 || text[end] ||
        *count == 0 || *count > 32768 || *count & (*count - 1) || *size == 0)
        die("%s: want COUNTxBYTES, the count a power of two", text);
}

/* The buffer that a receive's completion names; it is ours now. */
static inline unsigned pool_taken(struct pool *p,
                                  const struct io_uring_cqe *cqe)
{
    if (!(cqe->flags & IORING_CQE_F_BUFFER))
        die("a receive without a buffer");
    p->free--;
    return cqe->flags >> IORING_CQE_BUFFER_SHIFT;
}

/* A multishot receive that picks its buffers from the pool. */
static inline struct io_uring_sqe *ring_recv(struct io_uring *ring, int fd,
                                             uint64_t user_data)
{
    struct io_uring_sqe *sqe = ring_sqe(ring);
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = POOL_GROUP;
    sqe->user_data = user_data;
    return sqe;
}

/*
 * Who was refused a buffer (ENOBUFS ends a multishot receive) waits here, in
 * order, and is armed again when buffers are back: one for each free buffer.
 */
struct starved {
    uint32_t *who;
    unsigned head, length, room; /* room is a power of two */
};

static inline void starved_open(struct starved *s, unsigned room)
{
    *s = (struct starved){ .room = 1 };
    while (s->room < room)
        s->room *= 2;
    s->who = calloc(s->room, sizeof *s->who);
    if (!s->who)
        die("out of memory");
}

static inline void starved_push(struct starved *s, uint32_t who)
{
    if (s->length == s->room)
        die("more starved receives than connections");
    s->who[(s->head + s->length++) & (s->room - 1)] = who;
}

static inline void starved_rearm(struct starved *s, const struct pool *p,
                                 void (*receive)(uint32_t who))
{
    for (unsigned n = p->free; n > 0 && s->length > 0; n--) {
        s->length--;
        receive(s->who[s->head++ & (s->room - 1)]);
    }
}

static inline struct sockaddr_in loopback(int port)
{
    return (struct sockaddr_in){ .sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

/* A listener on a port of the kernel's choice, which is printed. */
static inline int listen_and_say(void)
{
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
        listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        die("listen: %s", strerror(errno));
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

#endif
