// SPDX-License-Identifier: MIT
#ifndef PEER_H
#define PEER_H

/*
 * peer.h: the other end of a descriptor.
 *
 *     UNTIL          passes of stage_loop until something holds
 *     wait_int       run a future, give its value or its error
 *     task_stream    run a task, give its stream or NULL and the error
 *     begin          a task that has begun to wait
 *     tcp_pair       two connected sockets; small buffers if asked for
 *     struct pattern bytes of a seed: any part of them can be checked
 *     draw           a number by a seed, the same in every run
 *
 * The peer is a plain socket that the test reads and writes itself between two
 * passes, so the order of events is the test's.
 */
#include "stage.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <coil/addr.h>
#include <coil/io.h>
#include <coil/receiver.h>
#include <coil/sender.h>
#include <coil/stream.h>

/* Passes until `condition` holds; the case's time limit ends a wrong one. */
#define UNTIL(condition) \
    do { \
        while (!(condition)) \
            coil_loop_pass(stage_loop, COIL_MS(5)); \
    } while (0)

static inline void stage_open_with(struct coil_loop_options options)
{
    options.size = sizeof options;
    options.on_exception = stage_report;
    CHECK_INT(coil_loop_new(&stage_loop, &options), 0);
}

static inline struct coil_loop_stats stage_stats(void)
{
    struct coil_loop_stats stats;
    coil_loop_get_stats(stage_loop, &stats);
    return stats;
}

/* What the task of an integer has ended with; gives the handle back. */
static inline int64_t task_int(struct coil_task *task)
{
    int err = stage_run(task);
    int64_t value = err ? err : coil_future_int(coil_task_future(task));
    coil_task_drop(&task);
    return value;
}

/* The stream that a task has ended with, or NULL and the error. */
static inline struct coil_stream *task_stream(struct coil_task *task, int *err)
{
    struct coil_stream *stream = NULL;
    *err = stage_run(task);
    if (*err == 0)
        stream = coil_future_pointer(coil_task_future(task));
    coil_task_drop(&task);
    return stream;
}

static inline int64_t wait_int(struct coil_future *future)
{
    return task_int(coil_spawn(future));
}

/* A task, and so many passes for it to begin and to wait. */
static inline struct coil_task *begin(struct coil_future *future)
{
    struct coil_task *task = coil_spawn(future);
    stage_passes(3);
    return task;
}

static inline void cancel_task(void *task)
{
    coil_task_cancel(task);
}

/*
 * Cancel a task in the very pass in which what it waits for is there, before
 * its turn comes.
 */
static inline void cancel_as_it_completes(struct coil_task *task)
{
    struct coil_handle h = { 0 };
    coil_call_soon(&h, cancel_task, task);
    coil_loop_pass(stage_loop, 0);
}

/* ---- Descriptors ------------------------------------------------------ */

struct pair {
    int a, b;
};

static inline struct pair unix_pair(void)
{
    int fd[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    return (struct pair){ fd[0], fd[1] };
}

static inline struct pair pipe_pair(void)
{
    int fd[2];
    CHECK_INT(pipe2(fd, O_CLOEXEC), 0);
    return (struct pair){ fd[0], fd[1] };
}

/* A listening socket on a port of loopback that the kernel chose. */
static inline int tcp_listen(struct sockaddr_in *addr, int backlog)
{
    socklen_t len = sizeof *addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *addr = (struct sockaddr_in){ .sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    CHECK(fd >= 0);
    CHECK_INT(bind(fd, (struct sockaddr *)addr, sizeof *addr), 0);
    CHECK_INT(listen(fd, backlog), 0);
    CHECK_INT(getsockname(fd, (struct sockaddr *)addr, &len), 0);
    return fd;
}

static inline int tcp_connect(const struct sockaddr_in *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK_INT(connect(fd, (const struct sockaddr *)addr, sizeof *addr), 0);
    return fd;
}

static inline void set_int(int fd, int level, int name, int value)
{
    CHECK_INT(setsockopt(fd, level, name, &value, sizeof value), 0);
}

/* Connected over loopback; `bytes` of socket buffer each way, 0: as it is. */
static inline struct pair tcp_pair(int bytes)
{
    struct sockaddr_in addr;
    struct pair pair;
    int listener = tcp_listen(&addr, 1);
    if (bytes)
        set_int(listener, SOL_SOCKET, SO_RCVBUF, bytes);
    pair.a = tcp_connect(&addr);
    pair.b = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(pair.b >= 0);
    close(listener);
    int ends[] = { pair.a, pair.b };
    for (int i = 0; i < 2; i++) {
        set_int(ends[i], IPPROTO_TCP, TCP_NODELAY, 1);
        if (bytes) {
            set_int(ends[i], SOL_SOCKET, SO_SNDBUF, bytes);
            set_int(ends[i], SOL_SOCKET, SO_RCVBUF, bytes);
        }
    }
    return pair;
}

static inline void close_pair(struct pair pair)
{
    close(pair.a);
    close(pair.b);
}

/* The next close sends a reset. */
static inline void reset_on_close(int fd)
{
    struct linger linger = { .l_onoff = 1, .l_linger = 0 };
    CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
}

static inline void close_with_reset(int fd)
{
    reset_on_close(fd);
    close(fd);
}

/* Close would wait for so long until the peer has taken all bytes. */
static inline void linger_on_close(int fd, int seconds)
{
    struct linger linger = { .l_onoff = 1, .l_linger = seconds };
    CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
}

/* The number of seconds, or -1 if close does not wait, or it is no socket. */
static inline int lingers(int fd)
{
    struct linger linger = { 0 };
    socklen_t len = sizeof linger;
    getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len);
    return linger.l_onoff ? linger.l_linger : -1;
}

/* Send until the kernel takes no more. Gives the number of bytes. */
static inline size_t send_all_that_fits(int fd)
{
    static const char zeros[4096];
    size_t n = 0;
    ssize_t some;
    while ((some = send(fd, zeros, sizeof zeros, MSG_DONTWAIT)) > 0)
        n += (size_t)some;
    CHECK_INT(errno, EAGAIN);
    return n;
}

/* Read so many bytes, and the end after them. */
static inline void read_to_the_end(int fd, size_t n)
{
    static char buf[4096];
    ssize_t some;
    while ((some = read(fd, buf, sizeof buf)) > 0)
        n -= (size_t)some;
    CHECK_INT(some, 0);
    CHECK_INT(n, 0);
}

/* It keeps limits and mappings of its own account, and not always the same. */
static inline bool under_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded && strstr(preloaded, "/vgpreload_");
}

/* So few descriptors that there is none left. Gives the limit to restore. */
static inline struct rlimit take_all_descriptors(void)
{
    if (under_valgrind())
        SKIP("valgrind hides RLIMIT_NOFILE from the kernel");
    struct rlimit limit, few;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int next = dup(STDERR_FILENO);
    close(next);
    few = limit;
    few.rlim_cur = (rlim_t)next;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &few), 0);
    return limit;
}

/* Open or not? */
static inline bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* ---- Bytes of a seed -------------------------------------------------- */

static inline uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9u;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static inline unsigned draw(uint64_t *seed, unsigned below)
{
    *seed += 0x9e3779b97f4a7c15u;
    return (unsigned)(mix(*seed) % below);
}

/* A stream of bytes that was written or read up to `at`. */
struct pattern {
    uint64_t seed, at;
};

static inline char pattern_byte(const struct pattern *p, uint64_t i)
{
    uint64_t at = p->at + i;
    return (char)(mix(p->seed * 0x10001 + at / 8) >> at % 8 * 8);
}

static inline void pattern_fill(struct pattern *p, char *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf[i] = pattern_byte(p, i);
    p->at += n;
}

static inline void pattern_check(struct pattern *p, const char *buf, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (buf[i] != pattern_byte(p, i))
            test_fail(__FILE__, __LINE__,
                      "byte %llu of stream %llu is %#04x, expected %#04x",
                      (unsigned long long)(p->at + i),
                      (unsigned long long)p->seed, (unsigned char)buf[i],
                      (unsigned char)pattern_byte(p, i));
    }
    p->at += n;
}

/* As many bytes of the pattern as the socket takes now, at most `n`. */
static inline size_t pattern_send(struct pattern *p, int fd, size_t n)
{
    char buf[16384];
    size_t sent = 0;
    while (sent < n) {
        struct pattern ahead = *p;
        size_t want = n - sent < sizeof buf ? n - sent : sizeof buf;
        pattern_fill(&ahead, buf, want);
        ssize_t got = send(fd, buf, want, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (got < 0)
            break;
        p->at += (uint64_t)got;
        sent += (size_t)got;
    }
    return sent;
}

/* Read and check what is there now; -1: the end, or an error in errno. */
static inline ssize_t pattern_recv(struct pattern *p, int fd)
{
    char buf[16384];
    ssize_t all = 0, n;
    errno = 0;
    while ((n = recv(fd, buf, sizeof buf, MSG_DONTWAIT)) > 0) {
        pattern_check(p, buf, (size_t)n);
        all += n;
    }
    if (all == 0 && (n == 0 || errno != EAGAIN))
        return -1;
    return all;
}

#endif
