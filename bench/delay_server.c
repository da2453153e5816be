// SPDX-License-Identifier: MIT
/*
 * delay_server.c: answers request N after a delay that depends on N alone.
 *
 *     delay_server [--spin]     serve; prints "listening on 127.0.0.1:PORT"
 *     delay_server bound N K    what the best client of N requests can reach
 *
 * GET /N is answered after 0 to 999 ms, the same in every run and for every
 * client. So the shortest time for requests 0..N-1, started in that order with
 * at most K at once, is known beforehand: the next one starts when the first
 * of the K running ends. A client's time above that bound is its own.
 *
 * On SIGTERM it prints how many requests it had open at once, which must not
 * be more than K, and how late its own timers were.
 *
 * Plain epoll and one timer heap; wake-ups to the nanosecond (epoll_pwait2,
 * timer slack 1). On a virtual machine a sleeping core still wakes up to
 * milliseconds late, which every client would be charged for; with --spin the
 * server does not sleep while a request waits, if it has a core to itself.
 */
#include "bench.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>

enum { CONNECTIONS_MAX = 20000, REQUEST_MAX = 2048 };

// splitmix64: every bit of the number counts, neighbours are unrelated.
static int delay_ms(uint64_t number)
{
    uint64_t z = (number + 1) * 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return (int)((z ^ (z >> 31)) % 1000);
}

// --- The bound: list scheduling in request order ----------------------------

static int print_bound(long requests, long parallel)
{
    long sum = 0, longest = 0, end = 0;
    long *free_at = calloc((size_t)parallel, sizeof *free_at);
    if (!free_at)
        die("out of memory");
    for (long i = 0; i < requests; i++) {
        long first = 0, delay = delay_ms((uint64_t)i);
        for (long k = 1; k < parallel; k++)
            if (free_at[k] < free_at[first])
                first = k;
        free_at[first] += delay;
        end = free_at[first] > end ? free_at[first] : end;
        longest = delay > longest ? delay : longest;
        sum += delay;
    }
    printf("requests=%ld parallel=%ld bound_ms=%ld sum_ms=%ld longest_ms=%ld\n",
           requests, parallel, end, sum, longest);
    free(free_at);
    return 0;
}

// --- The server -------------------------------------------------------------

struct connection {
    unsigned generation;  // of the descriptor: old timers must not answer
    bool waiting;
    size_t length;
    char *request;
};

struct timer {
    int64_t due;
    int fd;
    unsigned generation;
};

static struct connection connections[CONNECTIONS_MAX];
static struct timer timers[CONNECTIONS_MAX];
static size_t timer_count;
static int poller, listener;
static long waiting, waiting_max, answered;
static int64_t latest_ns;
static bool spin;
static volatile sig_atomic_t stopped;

static void timer_push(struct timer t)
{
    if (timer_count == CONNECTIONS_MAX)
        die("too many timers");
    size_t i = timer_count++;
    for (; i > 0 && timers[(i - 1) / 2].due > t.due; i = (i - 1) / 2)
        timers[i] = timers[(i - 1) / 2];
    timers[i] = t;
}

static struct timer timer_pop(void)
{
    struct timer top = timers[0], last = timers[--timer_count];
    size_t i = 0;
    for (size_t c; (c = 2 * i + 1) < timer_count; i = c) {
        if (c + 1 < timer_count && timers[c + 1].due < timers[c].due)
            c++;
        if (timers[c].due >= last.due)
            break;
        timers[i] = timers[c];
    }
    timers[i] = last;
    return top;
}

static void hang_up(int fd)
{
    struct connection *c = &connections[fd];
    waiting -= c->waiting;
    c->waiting = false;
    c->generation++;
    c->length = 0;
    free(c->request);
    c->request = NULL;
    close(fd);
}

static void answer(int fd)
{
    static const char response[] = "HTTP/1.1 200 OK\r\n"
                                   "Content-Type: text/plain\r\n"
                                   "Content-Length: 3\r\n\r\nok\n";
    struct connection *c = &connections[fd];
    c->waiting = false;
    waiting--;
    answered++;
    ssize_t n = send(fd, response, sizeof response - 1, MSG_NOSIGNAL);
    if (n != (ssize_t)sizeof response - 1)
        hang_up(fd);
}

static void accept_all(void)
{
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >=
           0) {
        struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
        if (fd >= CONNECTIONS_MAX)
            die("more than %d connections", CONNECTIONS_MAX);
        connections[fd].request = malloc(REQUEST_MAX);
        if (!connections[fd].request ||
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
            epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
            die("accept: %s", strerror(errno));
    }
    if (errno != EAGAIN && errno != ECONNABORTED)
        die("accept: %s", strerror(errno));
}

// One request at a time, without a body: anything else ends the connection.
static void received(int fd)
{
    struct connection *c = &connections[fd];
    ssize_t n = recv(fd, c->request + c->length, REQUEST_MAX - c->length, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0 || c->waiting) {
        hang_up(fd);
        return;
    }
    int64_t now = now_ns();
    c->length += (size_t)n;
    char *end = memmem(c->request, c->length, "\r\n\r\n", 4);
    if (!end && c->length < REQUEST_MAX)
        return;
    if (!end || end + 4 != c->request + c->length ||
        memcmp(c->request, "GET /", 5) != 0) {
        hang_up(fd);
        return;
    }
    c->length = 0;
    int ms = delay_ms(strtoull(c->request + 5, NULL, 10));
    c->waiting = true;
    waiting++;
    waiting_max = waiting > waiting_max ? waiting : waiting_max;
    timer_push(
        (struct timer){ now + (int64_t)ms * 1000000, fd, c->generation });
}

static void fire_due(void)
{
    int64_t now = now_ns();
    while (timer_count > 0 && timers[0].due <= now) {
        struct timer t = timer_pop();
        if (connections[t.fd].generation == t.generation) {
            latest_ns = now - t.due > latest_ns ? now - t.due : latest_ns;
            answer(t.fd);
        }
    }
}

static void wait_for_events(void)
{
    struct epoll_event events[256];
    struct timespec left = { 0 };
    if (timer_count > 0 && !spin) {
        int64_t ns = timers[0].due - now_ns();
        ns = ns > 0 ? ns : 0;
        left = (struct timespec){ ns / 1000000000, ns % 1000000000 };
    }
    int n = epoll_pwait2(poller, events, 256, timer_count ? &left : NULL, NULL);
    if (n < 0 && errno != EINTR)
        die("epoll_pwait2: %s", strerror(errno));
    for (int i = 0; i < n; i++) {
        if (events[i].data.fd == listener)
            accept_all();
        else
            received(events[i].data.fd);
    }
}

static void stop(int signal)
{
    (void)signal;
    stopped = 1;
}

static int listen_and_say(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 ||
        listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        die("listen: %s", strerror(errno));
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "bound") == 0) {
        long requests = strtol(argv[2], NULL, 10);
        long parallel = strtol(argv[3], NULL, 10);
        if (requests > 0 && parallel > 0)
            return print_bound(requests, parallel);
    }
    spin = argc == 2 && strcmp(argv[1], "--spin") == 0;
    if (argc != 1 && !spin)
        die("usage: %s [--spin | bound REQUESTS PARALLEL]", argv[0]);

    struct sigaction action = { .sa_handler = stop };
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    prctl(PR_SET_TIMERSLACK, 1);
    poller = epoll_create1(EPOLL_CLOEXEC);
    listener = listen_and_say();
    struct epoll_event event = { .events = EPOLLIN, .data.fd = listener };
    if (poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) < 0)
        die("epoll: %s", strerror(errno));

    while (!stopped) {
        wait_for_events();
        fire_due();
    }
    printf("answered=%ld waiting_max=%ld timer_late_us=%.1f\n", answered,
           waiting_max, (double)latest_ns / 1000);
    return 0;
}
