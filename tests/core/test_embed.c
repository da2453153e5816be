// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_embed.c: coil inside a loop of somebody else's.
 *
 * That one sleeps in poll() or epoll_wait(), on coil's descriptor and for the
 * time that coil tells. If it was not woken it would hang here; if it was woken
 * for nothing the passes would be too many.
 */
#include "stage.h"

#include <dlfcn.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <coil/io.h>
#include <coil/signal.h>

/* ---- Older kernels ---------------------------------------------------- */

static unsigned forbidden_flags;

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                               struct io_uring_params *p)
{
    typedef int init_fn(unsigned, struct io_uring *, struct io_uring_params *);
    union {
        void *object;
        init_fn *function;
    } real = { .object = dlsym(RTLD_NEXT, "io_uring_queue_init_params") };
    if (p->flags & forbidden_flags)
        return -EINVAL;
    return real.function(entries, ring, p);
}

/* Each rung of the ladder of flags. */
static const unsigned rungs[] = {
    0,
    IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN,
};

/* ---- The other loop --------------------------------------------------- */

static int passes;
static bool with_epoll;

static int in_ms(int64_t ns)
{
    if (ns == COIL_NEVER)
        return -1;
    return (int)((ns + 999999) / 1000000);
}

/* Sleeps as long as nothing wakes it. */
static void turn(void)
{
    int fd = coil_loop_fd(stage_loop);
    int ms = in_ms(coil_loop_timeout(stage_loop));
    if (with_epoll) {
        struct epoll_event event = { .events = EPOLLIN };
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        CHECK(epoll >= 0);
        CHECK_INT(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
        int n = epoll_wait(epoll, &event, 1, ms);
        CHECK(n >= 0 || errno == EINTR);
        close(epoll);
    } else {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        CHECK(poll(&p, 1, ms) >= 0 || errno == EINTR);
    }
    coil_loop_pass(stage_loop, 0);
    passes++;
}

static int drive(struct coil_task *task)
{
    passes = 0;
    while (!coil_task_done(task))
        turn();
    return coil_future_error(coil_task_future(task));
}

static void for_all(void (*check)(void))
{
    for (size_t i = 0; i < sizeof rungs / sizeof *rungs; i++) {
        forbidden_flags = rungs[i];
        for (int epoll = 0; epoll < 2; epoll++) {
            test_note("rung %zu, %s", i, epoll ? "epoll" : "poll");
            with_epoll = epoll;
            stage_open();
            check();
            stage_close();
        }
    }
}

/* ---- Timers ----------------------------------------------------------- */

struct naps {
    struct coil_coro coro;
    int n;
    int64_t ns;
};

static void naps(struct coil_coro *co)
{
    COIL_ASYNC(naps, my) {
        while (my->n-- > 0)
            COIL_AWAIT(coil_sleep(my->ns));
    }
}

static void check_timers(void)
{
    int64_t began = coil_now();
    CHECK_INT(drive(COIL_SPAWN(naps, .n = 5, .ns = COIL_MS(3))), 0);
    CHECK(coil_now() - began >= COIL_MS(15));
    CHECK(passes <= 20);
}

TEST(embed_sleeps_until_a_timer_is_due)
{
    for_all(check_timers);
}

TEST(embed_timer_within_a_microsecond_does_not_spin)
{
    stage_open();
    CHECK_INT(drive(COIL_SPAWN(naps, .n = 5, .ns = 1)), 0);
    CHECK(passes <= 20);
    stage_close();
}

/* ---- Sockets ---------------------------------------------------------- */

struct pingpong {
    struct coil_coro coro;
    int fd, i, n;
    char byte;
};

static void pingpong(struct coil_coro *co)
{
    COIL_ASYNC(pingpong, my) {
        for (; my->i < my->n; my->i++) {
            COIL_AWAIT(coil_send(my->fd, "x", 1));
            COIL_AWAIT(coil_recv(my->fd, &my->byte, 1));
        }
    }
}

static void *echo_slowly(void *arg)
{
    int fd = *(int *)arg;
    char byte;
    while (recv(fd, &byte, 1, 0) == 1) {
        usleep(1000); // until the other loop sleeps
        if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1)
            break;
    }
    return NULL;
}

static void check_sockets(void)
{
    int fds[2];
    pthread_t thread;
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    CHECK_INT(pthread_create(&thread, NULL, echo_slowly, &fds[1]), 0);
    CHECK_INT(drive(COIL_SPAWN(pingpong, .fd = fds[0], .n = 20)), 0);
    CHECK(passes <= 20 * 6);
    close(fds[0]);
    pthread_join(thread, NULL);
    close(fds[1]);
}

TEST(embed_is_woken_for_sockets)
{
    for_all(check_sockets);
}

/* ---- Other threads, and signals --------------------------------------- */

enum { CALLS = 300 };
static struct coil_handle call;
static int made;
static pthread_mutex_t made_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t made_more = PTHREAD_COND_INITIALIZER;

static void make(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&made_lock);
    made++;
    pthread_cond_signal(&made_more);
    pthread_mutex_unlock(&made_lock);
}

/* Each one when the last has been made, so that each must wake. */
static void *ask(void *arg)
{
    for (int i = 0; i < CALLS; i++) {
        coil_call_soon_threadsafe(arg, &call, make, NULL);
        pthread_mutex_lock(&made_lock);
        while (made <= i)
            pthread_cond_wait(&made_more, &made_lock);
        pthread_mutex_unlock(&made_lock);
        if (i % 16 == 0)
            usleep(500);
    }
    return NULL;
}

static void check_threads(void)
{
    pthread_t thread;
    made = passes = 0;
    CHECK_INT(pthread_create(&thread, NULL, ask, stage_loop), 0);
    while (made < CALLS)
        turn();
    pthread_join(thread, NULL);
    CHECK(passes <= CALLS * 4);
}

TEST(embed_is_woken_for_every_call_of_another_thread)
{
    for_all(check_threads);
}

static void *send_usr1(void *arg)
{
    usleep(5000);
    pthread_kill(*(pthread_t *)arg, SIGUSR1);
    return NULL;
}

static void check_signals(void)
{
    pthread_t self_ = pthread_self(), thread;
    struct coil_task *t = coil_spawn(coil_wait_signal(SIGUSR1));
    stage_passes(2);
    CHECK_INT(pthread_create(&thread, NULL, send_usr1, &self_), 0);
    CHECK_INT(drive(t), 0);
    CHECK(passes <= 10);
    pthread_join(thread, NULL);
}

TEST(embed_is_woken_for_signals)
{
    for_all(check_signals);
}

/* ---- More than the queues hold ---------------------------------------- */

static void check_overflow(void)
{
    enum { READERS = 200 };
    static char bytes[READERS], zeros[READERS];
    static struct coil_task *tasks[READERS];
    int fds[2];
    CHECK_INT(pipe(fds), 0);
    for (int i = 0; i < READERS; i++)
        tasks[i] = coil_spawn(coil_read(fds[0], &bytes[i], 1));
    for (int i = 0; i < 30; i++) // all are with the kernel
        coil_loop_pass(stage_loop, 0);
    CHECK_INT(write(fds[1], zeros, READERS), READERS);
    for (int i = 0; i < READERS; i++)
        CHECK_INT(drive(tasks[i]), 0);
    close(fds[0]);
    close(fds[1]);
}

TEST(embed_loses_nothing_when_completions_overflow)
{
    for (int epoll = 0; epoll < 2; epoll++) {
        struct coil_loop_options options = *stage_options();
        options.sq_entries = options.cq_entries = 8;
        with_epoll = epoll;
        CHECK_INT(coil_loop_new(&stage_loop, &options), 0);
        check_overflow();
        stage_close();
    }
}

/* ---- What it tells ---------------------------------------------------- */

static bool readable(void)
{
    struct pollfd p = { .fd = coil_loop_fd(stage_loop), .events = POLLIN };
    return poll(&p, 1, 0) == 1;
}

static void nothing(void *arg)
{
    (void)arg;
}

TEST(embed_tells_when_the_next_pass_is_due)
{
    struct coil_handle soon = { 0 }, later = { 0 };
    int fds[2];
    char byte;
    stage_open();
    stage_passes(3);
    CHECK(coil_loop_timeout(stage_loop) == COIL_NEVER);
    CHECK(!readable());

    coil_call_soon(&soon, nothing, NULL);
    CHECK_INT(coil_loop_timeout(stage_loop), 0);
    stage_passes(1);
    CHECK(coil_loop_timeout(stage_loop) == COIL_NEVER);

    CHECK_INT(coil_call_later(&later, COIL_SECONDS(1000), nothing, NULL), 0);
    CHECK(coil_loop_timeout(stage_loop) <= COIL_SECONDS(1000));
    CHECK(coil_loop_timeout(stage_loop) > COIL_SECONDS(500));
    coil_handle_cancel(&later);
    CHECK_INT(coil_call_later(&later, -5, nothing, NULL), 0);
    CHECK_INT(coil_loop_timeout(stage_loop), 0);
    stage_passes(1);
    CHECK_INT(coil_call_at(&later, INT64_MIN, nothing, NULL), 0);
    CHECK_INT(coil_loop_timeout(stage_loop), 0);
    stage_passes(1);

    // An operation that is not submitted yet, one that flies, one that is done.
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    struct coil_task *t = coil_spawn(coil_recv(fds[0], &byte, 1));
    coil_loop_pass(stage_loop, 0);
    CHECK_INT(coil_loop_timeout(stage_loop), 0);
    coil_loop_pass(stage_loop, 0);
    CHECK(coil_loop_timeout(stage_loop) == COIL_NEVER);
    CHECK(!readable());
    CHECK_INT(send(fds[1], "x", 1, 0), 1);
    CHECK(readable());
    CHECK_INT(drive(t), 0);
    close(fds[0]);
    close(fds[1]);
    stage_close();
}

// A step of the loop is what was ready when it began, and nothing more.
static void spawn_more(void *arg)
{
    trace("%s", (const char *)arg);
    if (*(const char *)arg == 'a') {
        static struct coil_handle b;
        coil_call_soon(&b, spawn_more, "b");
    }
}

TEST(embed_steps_by_exactly_what_was_ready)
{
    struct coil_handle a = { 0 }, c = { 0 };
    stage_open();
    coil_call_soon(&a, spawn_more, "a");
    coil_call_soon(&c, spawn_more, "c");
    CHECK(coil_loop_pass(stage_loop, 0)); // there is more
    CHECK_TRACE("a c");
    CHECK(!coil_loop_pass(stage_loop, 0));
    CHECK_TRACE("b");
    CHECK(!coil_loop_pass(stage_loop, 0));
    CHECK_TRACE("");
    stage_close();
}

static void *ask_timeout(void *arg)
{
    (void)arg;
    coil_loop_timeout(stage_loop);
    return NULL;
}

DEATH_TEST(embed_timeout_asked_for_by_another_thread_aborts,
           "coil_loop_timeout: the loop belongs to another thread")
{
    pthread_t thread;
    stage_open();
    pthread_create(&thread, NULL, ask_timeout, NULL);
    pthread_join(thread, NULL);
}
