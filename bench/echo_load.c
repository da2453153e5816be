// SPDX-License-Identifier: MIT
/*
 * echo_load.c: one load generator for every echo server.
 *
 *     echo_load PORT [--connections 64] [--size 64] [--seconds 2]
 *               [--warmup 0.3] [--server PID]
 *
 * A closed loop: each connection has one message in flight and sends the next
 * when the last byte of the answer is there. The first answer of each
 * connection is compared with what was sent; after that bytes are counted.
 *
 * With two cores, one of them ours, messages per second saturate on the
 * client. What tells servers apart is the CPU time that a message costs the
 * server, so --server reads its process clock at both ends of the measured
 * window: connecting and warming up are not in it. Ticks of /proc/PID/stat
 * would be 10 ms; this clock counts nanoseconds.
 *
 * It also reads what the server's memory grew by per connection while all of
 * them were connected and nothing had been sent.
 */
#include "ring.h"

#include <stdbool.h>

enum kind { RECV, SEND };

struct connection {
    int fd;
    unsigned got;  // bytes of the answer so far
    int64_t asked_ns;
    bool checked;  // one answer was compared
};

static struct io_uring ring;
static struct pool pool;
static struct starved starved;
static struct connection *connections;
static char *message;
static unsigned size = 64;
static long messages;

// --- Latencies: 32 steps for each power of two, so 3 % exact -----------------

enum { STEPS = 32 };

static long histogram[64 * STEPS];

static unsigned bucket_of(uint64_t ns)
{
    if (ns < STEPS)
        return (unsigned)ns;
    unsigned log = 63 - (unsigned)__builtin_clzll(ns);
    return (log - 4) * STEPS + (unsigned)(ns >> (log - 5)) % STEPS;
}

static double bucket_ns(unsigned bucket)
{
    if (bucket < STEPS)
        return bucket;
    unsigned log = bucket / STEPS + 4;
    double step = (double)(1ULL << (log - 5));
    return (double)(1ULL << log) + (bucket % STEPS + 0.5) * step;
}

static double percentile_us(double part)
{
    long before = 0, wanted = (long)(part * (double)messages);
    for (unsigned i = 0; i < 64 * STEPS; i++) {
        before += histogram[i];
        if (before > wanted)
            return bucket_ns(i) / 1000;
    }
    return 0;
}

// ----------------------------------------------------------------------------

static uint64_t tag(enum kind kind, uint32_t i)
{
    return (uint64_t)kind << 32 | i;
}

static void ask(uint32_t i, int64_t now)
{
    struct connection *c = &connections[i];
    c->got = 0;
    c->asked_ns = now;
    struct io_uring_sqe *sqe = ring_sqe(&ring);
    io_uring_prep_send(sqe, c->fd, message, size, MSG_NOSIGNAL | MSG_WAITALL);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;  // a short send is not a success
    sqe->user_data = tag(SEND, i);
}

static void receive(uint32_t i)
{
    ring_recv(&ring, connections[i].fd, tag(RECV, i));
}

static void received(uint32_t i, const struct io_uring_cqe *cqe)
{
    struct connection *c = &connections[i];
    if (cqe->res == -ENOBUFS) {
        starved_push(&starved, i);
        return;
    }
    if (cqe->res <= 0)
        die("the server closed a connection: %s", strerror(-cqe->res));

    unsigned id = pool_taken(&pool, cqe), n = (unsigned)cqe->res;
    if (c->got + n > size)
        die("the server sent more than it got");
    if (!c->checked && memcmp(pool_buffer(&pool, id), message + c->got, n) != 0)
        die("the server sent something else than it got");
    pool_give(&pool, id);
    if (!(cqe->flags & IORING_CQE_F_MORE))
        receive(i);
    c->got += n;
    if (c->got < size)
        return;

    int64_t now = now_ns();
    c->checked = true;
    histogram[bucket_of((uint64_t)(now - c->asked_ns))]++;
    messages++;
    ask(i, now);
}

static void handle(const struct io_uring_cqe *cqe)
{
    if (cqe->user_data >> 32 == SEND)
        die("send: %d of %u bytes", cqe->res, size);
    received((uint32_t)cqe->user_data, cqe);
}

static void run_until(int64_t end)
{
    while (now_ns() < end) {
        ring_turn(&ring, handle);
        starved_rearm(&starved, &pool, receive);
    }
}

// Closed by a reset: thousands of runs would fill the ports with TIME_WAIT.
static int connect_to(int port)
{
    struct sockaddr_in address = loopback(port);
    struct linger reset = { .l_onoff = 1, .l_linger = 0 };
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) < 0 ||
        connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        die("connect: %s", strerror(errno));
    return fd;
}

static int64_t server_resident(long pid)
{
    char path[64];
    if (pid == 0)
        return 0;
    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", pid);
    return proc_bytes(path, "Rss:");
}

int main(int argc, char **argv)
{
    unsigned count = 64;
    double seconds = 2, warmup = 0.3;
    long server = 0;
    int port = argc > 1 ? atoi(argv[1]) : 0;
    for (int i = 2; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--connections") == 0)
            count = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--size") == 0)
            size = (unsigned)strtoul(value, NULL, 10);
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = strtod(value, NULL);
        else if (strcmp(argv[i], "--warmup") == 0)
            warmup = strtod(value, NULL);
        else if (strcmp(argv[i], "--server") == 0)
            server = strtol(value, NULL, 10);
        else
            port = 0;
    }
    if (port <= 0 || count == 0 || size == 0)
        die("usage: %s PORT [--connections N] [--size BYTES] [--seconds S] "
            "[--warmup S] [--server PID]",
            argv[0]);

    clockid_t server_clock = CLOCK_PROCESS_CPUTIME_ID;
    if (server && clock_getcpuclockid((pid_t)server, &server_clock) != 0)
        die("no clock of process %ld", server);
    connections = calloc(count, sizeof *connections);
    message = malloc(size);
    if (!connections || !message)
        die("out of memory");
    for (unsigned i = 0; i < size; i++)
        message[i] = (char)(i * 7 + i / 251);
    ring_open(&ring, 4096);
    pool_open(&pool, &ring, 128, 16384);
    starved_open(&starved, count);

    int64_t empty = server_resident(server);
    for (unsigned i = 0; i < count; i++)
        connections[i].fd = connect_to(port);
    usleep(100000);  // the server accepts
    int64_t connected = server_resident(server);

    int64_t start = now_ns();
    for (uint32_t i = 0; i < count; i++) {
        ask(i, start);
        receive(i);
    }
    run_until(start + (int64_t)(warmup * 1e9));

    messages = 0;
    memset(histogram, 0, sizeof histogram);
    int64_t server_cpu = clock_ns(server_clock), cpu = cpu_ns();
    start = now_ns();
    run_until(start + (int64_t)(seconds * 1e9));
    int64_t took = now_ns() - start;
    cpu = cpu_ns() - cpu;
    server_cpu = clock_ns(server_clock) - server_cpu;
    if (messages == 0)
        die("no message came back");

    double n = (double)messages;
    printf("connections=%u size=%u messages=%ld msgs_per_s=%.0f p50_us=%.1f "
           "p99_us=%.1f client_cpu_us=%.3f",
           count, size, messages, n / (double)took * 1e9, percentile_us(0.5),
           percentile_us(0.99), (double)cpu / 1000 / n);
    if (server)
        printf(" server_cpu_us=%.3f server_bytes_per_connection=%.0f",
               (double)server_cpu / 1000 / n,
               (double)(connected - empty) / count);
    putchar('\n');
    for (unsigned i = 0; i < count; i++)
        close(connections[i].fd);
    return 0;
}
