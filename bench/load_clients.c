// SPDX-License-Identifier: MIT
/*
 * load_clients.c: many connections to an echo server, all of them active.
 *
 *     load_clients PORT [--connections 1000] [--processes 2] [--size 64]
 *                  [--seconds 2] [--warmup 0.5] [--resets N] [--server PID]
 *
 * Several processes have a part of the connections each, and work in bursts: a
 * process reads all answers that epoll(7) reports, and then sends the next
 * message on each of these connections. So messages reach the server hundreds
 * at a time. echo_load.c answers each message as it comes, which never takes
 * more than a few buffers of the server.
 *
 * With --resets N one answer in N, on average, is followed by a reset instead
 * of a message, and by a new connection.
 *
 * There are two processes, or more if the limit on descriptors asks for them.
 * Each connects from a loopback address of its own, so that each has all ports.
 *
 * With --server the server's CPU time per echo is printed, too.
 */
#include "bench.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { PROCESSES_MAX = 64 };

struct connection {
    int fd;
    unsigned got; // bytes of the answer so far
};

// In memory that all processes share.
struct shared {
    long echoes[PROCESSES_MAX][8]; // [0] is the count; a cache line each
    int connected;                 // processes whose connections are made
    int failed;                    // a process has printed why it ends
};

static struct shared *shared;
static unsigned connections = 1000, processes, size = 64, resets;
static double seconds = 2, warmup = 0.5;
static int port;
static char *message, *answer;

static void fail(const char *what)
{
    __atomic_store_n(&shared->failed, 1, __ATOMIC_RELAXED);
    die("%s: %s", what, strerror(errno));
}

static struct sockaddr_in loopback(unsigned host, int its_port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)its_port),
        .sin_addr.s_addr = htonl((127u << 24) + host),
    };
}

// A close sends a reset, and leaves no port in TIME_WAIT.
static void connect_it(struct connection *c, unsigned process, int epoll)
{
    struct sockaddr_in from = loopback(2 + process, 0), to = loopback(1, port);
    struct linger reset = { .l_onoff = 1, .l_linger = 0 };
    int one = 1;
    c->got = 0;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        fail("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from) < 0 ||
        connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        fail("connect");
}

static void ask(const struct connection *c)
{
    if (send(c->fd, message, size, MSG_NOSIGNAL) != (ssize_t)size)
        fail("send");
}

// True if the answer is complete.
static bool read_answer(struct connection *c)
{
    ssize_t n = recv(c->fd, answer, size - c->got, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0)
        fail("the server closed a connection");
    if (memcmp(answer, message + c->got, (size_t)n) != 0)
        fail("the server sent something else than it got");
    c->got += (unsigned)n;
    if (c->got < size)
        return false;
    c->got = 0;
    return true;
}

__attribute__((noreturn)) static void run(unsigned process)
{
    unsigned n = connections / processes + (process < connections % processes);
    struct connection *all = calloc(n, sizeof *all);
    struct epoll_event *events = calloc(n, sizeof *events);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!all || !events || epoll < 0)
        fail("no memory");
    for (unsigned i = 0; i < n; i++)
        connect_it(&all[i], process, epoll);
    __atomic_add_fetch(&shared->connected, 1, __ATOMIC_RELEASE);
    while (__atomic_load_n(&shared->connected, __ATOMIC_ACQUIRE) <
           (int)processes)
        usleep(1000);
    for (unsigned i = 0; i < n; i++)
        ask(&all[i]);

    uint32_t random = process + 1;
    for (;;) {
        int found = epoll_wait(epoll, events, (int)n, -1);
        if (found < 0)
            fail("epoll_wait");
        for (int i = 0; i < found; i++)
            if (!read_answer(events[i].data.ptr))
                events[i].data.ptr = NULL;
        for (int i = 0; i < found; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c)
                continue;
            __atomic_add_fetch(&shared->echoes[process][0], 1,
                               __ATOMIC_RELAXED);
            random = random * 1664525 + 1013904223;
            if (resets && (random >> 8) % resets == 0) {
                close(c->fd);
                connect_it(c, process, epoll);
            }
            ask(c);
        }
    }
}

static long all_echoes(void)
{
    long sum = 0;
    for (unsigned i = 0; i < processes; i++)
        sum += __atomic_load_n(&shared->echoes[i][0], __ATOMIC_RELAXED);
    return sum;
}

/*
 * For a time, and longer if not one answer per connection has come by then: on
 * a busy machine a burst of thousands may take a second.
 */
static long count_echoes(double at_least_s)
{
    int64_t start = now_ns(), shortest = (int64_t)(at_least_s * 1e9);
    long before = all_echoes(), n = 0;
    while (now_ns() < start + shortest || n < (long)connections) {
        if (__atomic_load_n(&shared->failed, __ATOMIC_RELAXED))
            exit(1);
        if (now_ns() > start + shortest + 30 * (int64_t)1000000000)
            die("%ld answers came in 30 s", n);
        usleep(1000);
        n = all_echoes() - before;
    }
    return n;
}

// As many as this process may have at most.
static unsigned descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        die("getrlimit: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur < 1000000 ? (unsigned)limit.rlim_cur : 1000000;
}

static void start_processes(pid_t *pids)
{
    pid_t parent = getpid();
    for (unsigned i = 0; i < processes; i++) {
        pids[i] = fork();
        if (pids[i] < 0)
            die("fork: %s", strerror(errno));
        if (pids[i] > 0)
            continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        run(i);
    }
}

int main(int argc, char **argv)
{
    pid_t server = 0;
    port = argc > 1 ? atoi(argv[1]) : 0;
    for (int i = 2; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        unsigned n = (unsigned)strtoul(value, NULL, 10);
        if (strcmp(argv[i], "--server") == 0)
            server = (pid_t)n;
        else if (strcmp(argv[i], "--connections") == 0)
            connections = n;
        else if (strcmp(argv[i], "--processes") == 0)
            processes = n;
        else if (strcmp(argv[i], "--size") == 0)
            size = n;
        else if (strcmp(argv[i], "--resets") == 0)
            resets = n;
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = strtod(value, NULL);
        else if (strcmp(argv[i], "--warmup") == 0)
            warmup = strtod(value, NULL);
        else
            port = 0;
    }
    unsigned per_process = descriptors() - 16;
    if (processes == 0)
        processes = (connections + per_process - 1) / per_process;
    if (processes < 2)
        processes = 2;
    if (port <= 0 || connections == 0 || size == 0 || processes > PROCESSES_MAX)
        die("usage: %s PORT [--connections N] [--processes N] [--size BYTES] "
            "[--seconds S] [--warmup S] [--resets N] [--server PID]",
            argv[0]);

    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    message = malloc(size);
    answer = malloc(size);
    if (shared == MAP_FAILED || !message || !answer)
        die("out of memory");
    for (unsigned i = 0; i < size; i++)
        message[i] = (char)(i * 7 + i / 251);

    clockid_t server_clock = CLOCK_PROCESS_CPUTIME_ID;
    if (server && clock_getcpuclockid(server, &server_clock) != 0)
        die("no clock of process %d", server);

    pid_t pids[PROCESSES_MAX];
    start_processes(pids);
    count_echoes(warmup);
    int64_t start = now_ns(), server_cpu = clock_ns(server_clock);
    long echoes = count_echoes(seconds);
    int64_t took = now_ns() - start;
    server_cpu = clock_ns(server_clock) - server_cpu;
    for (unsigned i = 0; i < processes; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    printf("connections=%u echoes=%ld echoes_per_s=%.0f", connections, echoes,
           (double)echoes / (double)took * 1e9);
    if (server)
        printf(" server_cpu_us=%.3f",
               (double)server_cpu / 1000 / (double)echoes);
    putchar('\n');
    return 0;
}
