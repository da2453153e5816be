// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_acceptor.c: who asks first gets the first connection; those that nobody
 * has asked for yet are kept, within a bound, and none is lost.
 */
#include "peer.h"

#include <coil/acceptor.h>
#include <coil/error.h>

static struct coil_acceptor *acceptor;
static struct sockaddr_in where;
static int listening;

static void open_with(struct coil_loop_options options)
{
    stage_open_with(options);
    listening = tcp_listen(&where, 1024);
    CHECK_INT(coil_acceptor_open(&acceptor, listening), 0);
}

static void open_acceptor(void)
{
    open_with((struct coil_loop_options){ 0 });
}

static void close_acceptor(void)
{
    CHECK_INT(wait_int(coil_acceptor_close(acceptor)), 0);
    CHECK_INT(stage_stats().in_flight, 0);
    CHECK(is_open(listening));
    close(listening);
    stage_close();
}

/* A client whose number the server can read. */
static int client(int number)
{
    int fd = tcp_connect(&where);
    CHECK_INT(write(fd, &number, sizeof number), sizeof number);
    return fd;
}

static int number_of(int64_t fd)
{
    int number;
    CHECK(fd >= 0);
    CHECK_INT(read((int)fd, &number, sizeof number), sizeof number);
    close((int)fd);
    return number;
}

static int accepted(void)
{
    return number_of(wait_int(coil_acceptor_next(acceptor)));
}

TEST(acceptor_serves_in_the_order_asked_for)
{
    enum { N = 5 };
    struct coil_task *tasks[N];
    int fds[N];
    open_acceptor();
    for (int i = 0; i < N; i++)
        tasks[i] = begin(coil_acceptor_next(acceptor));
    CHECK_INT(stage_stats().in_flight, 1);
    for (int i = 0; i < N; i++)
        fds[i] = client(i);
    for (int i = 0; i < N; i++) {
        CHECK_INT(number_of(task_int(tasks[i])), i);
        close(fds[i]);
    }
    close_acceptor();
}

TEST(acceptor_accepts_nothing_before_it_is_asked)
{
    open_acceptor();
    int fd = client(1);
    stage_passes(5);
    CHECK_INT(stage_stats().submitted, 1); /* the loop's own poll */
    CHECK_INT(accepted(), 1);
    close(fd);
    close_acceptor();
}

TEST(acceptor_gives_descriptors_that_exec_closes)
{
    open_acceptor();
    int fd = client(1);
    int64_t ours = wait_int(coil_acceptor_next(acceptor));
    CHECK(fcntl((int)ours, F_GETFD) & FD_CLOEXEC);
    CHECK_INT(number_of(ours), 1);
    close(fd);
    close_acceptor();
}

// A storm while the server is busy: some are accepted in advance, the others
// stay in the kernel's line, and all are served in the end.
TEST(acceptor_keeps_some_in_store_and_loses_none)
{
    enum { MANY = 600 };
    static int fds[MANY];
    open_with((struct coil_loop_options){ .sq_entries = 8, .cq_entries = 16 });
    for (int round = 0; round < 2; round++) {
        int first = client(-1);
        CHECK_INT(accepted(), -1);
        close(first);
        for (int i = 0; i < MANY; i++)
            fds[i] = client(i);
        stage_passes(200);
        struct coil_loop_stats stats = stage_stats();
        stage_passes(5);
        CHECK_INT(stage_stats().submitted, stats.submitted); /* it is full */
        for (int i = 0; i < MANY; i++)
            CHECK_INT(accepted(), i);
        for (int i = 0; i < MANY; i++)
            close(fds[i]);
    }
    close_acceptor();
}

// The kernel's completion queue is a power of two, whatever was asked for: the
// store has to hold all that one pass can bring.
TEST(acceptor_loses_none_with_a_completion_queue_of_any_size)
{
    enum { STORE = 63, MORE = 70 };
    static int fds[STORE + MORE];
    open_with((struct coil_loop_options){ .sq_entries = 8, .cq_entries = 33 });
    int first = client(-1);
    CHECK_INT(accepted(), -1);
    close(first);
    for (int i = 0; i < STORE + MORE; i++) {
        fds[i] = client(i);
        if (i < STORE)
            stage_passes(1);
    }
    stage_passes(5);
    for (int i = 0; i < STORE + MORE; i++) {
        CHECK_INT(accepted(), i);
        close(fds[i]);
    }
    close_acceptor();
}

TEST(acceptor_cancelled_wait_leaves_the_line)
{
    open_acceptor();
    for (int passes = 0; passes < 6; passes++) {
        struct coil_task *a = begin(coil_acceptor_next(acceptor));
        struct coil_task *b = begin(coil_acceptor_next(acceptor));
        int fd = client(passes);
        if (passes % 2)
            stage_passes(passes / 2);
        coil_task_cancel(a);
        int64_t n = task_int(a);
        if (n >= 0) { /* it had got the connection already */
            CHECK_INT(number_of(n), passes);
            coil_task_cancel(b);
            CHECK_INT(task_int(b), -ECANCELED);
        } else {
            CHECK_INT(n, -ECANCELED);
            CHECK_INT(number_of(task_int(b)), passes);
        }
        close(fd);
    }
    close_acceptor();
}

// Granted, then dropped: the peer must not wait for somebody who is not there.
TEST(acceptor_connection_that_nobody_takes_is_closed)
{
    open_acceptor();
    int fd = client(1);
    struct coil_task *t = begin(coil_acceptor_next(acceptor));
    UNTIL(coil_task_done(t));
    coil_task_drop(&t);
    char x;
    CHECK(recv(fd, &x, 1, 0) <= 0);
    close(fd);
    close_acceptor();
}

// Accepted sockets have the option from the listener. Their close would wait
// for the peer's acknowledgement.
TEST(acceptor_closes_its_store_without_lingering)
{
    open_acceptor();
    linger_on_close(listening, 1000);
    int peers[] = { client(1), client(2) };
    int first = (int)wait_int(coil_acceptor_next(acceptor));
    int stored = -1;
    while (stored < 0) {
        stage_passes(1);
        for (int i = 0; i < 64 && stored < 0; i++)
            if (i != first && i != listening && lingers(i) == 1000)
                stored = i;
    }
    int kept = dup(stored);
    CHECK_INT(wait_int(coil_acceptor_close(acceptor)), 0);
    CHECK(!is_open(stored));
    CHECK_INT(lingers(kept), -1);
    close(kept);
    CHECK_INT(coil_close_now(first), 0);
    close(peers[0]);
    close(peers[1]);
    close(listening);
    stage_close();
}

TEST(acceptor_that_closes_tells_all_who_wait_and_drops_its_store)
{
    for (int passes = 0; passes < 4; passes++) {
        open_acceptor();
        int fds[3];
        for (int i = 0; i < 3; i++)
            fds[i] = client(i);
        CHECK_INT(accepted(), 0);
        stage_passes(passes);
        struct coil_task *got[2], *t[2];
        for (int i = 0; i < 2; i++)
            got[i] = begin(coil_acceptor_next(acceptor));
        UNTIL(coil_task_done(got[1]));
        int late = client(9);
        stage_passes(passes);
        for (int i = 0; i < 2; i++)
            t[i] = coil_spawn(coil_acceptor_next(acceptor));
        stage_passes(passes);
        test_forbid_allocations(true);
        coil_detach_future(coil_acceptor_close(acceptor));
        UNTIL(stage_stats().in_flight == 0);
        test_forbid_allocations(false);
        CHECK_INT(test_forbidden_allocations(), 0);
        for (int i = 0; i < 2; i++) {
            CHECK_INT(number_of(task_int(got[i])), i + 1);
            int64_t n = passes ? task_int(t[i]) : COIL_ECLOSED;
            CHECK(n == COIL_ECLOSED || (i == 0 && number_of(n) == 9));
        }
        for (int i = 0; i < 3; i++)
            close(fds[i]);
        close(late);
        close(listening);
        stage_close();
    }
}

// It rests for a while, and is closed at once all the same.
TEST(acceptor_out_of_descriptors_tells_one_and_can_be_closed)
{
    open_acceptor();
    int fd = client(1);
    struct coil_task *a = coil_spawn(coil_acceptor_next(acceptor));
    struct coil_task *b = coil_spawn(coil_acceptor_next(acceptor));
    struct rlimit limit = take_all_descriptors();
    CHECK_INT(task_int(a), -EMFILE);
    CHECK(!coil_task_done(b));
    CHECK_INT(stage_stats().timers, 1);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct coil_task *gone = coil_spawn(coil_acceptor_close(acceptor));
    stage_passes(3);
    CHECK(coil_task_done(gone));
    CHECK_INT(task_int(b), COIL_ECLOSED);
    CHECK_INT(stage_stats().timers, 0);
    close(fd);
    close(listening);
    stage_close();
}

TEST(acceptor_rests_and_goes_on)
{
    open_acceptor();
    int fd = client(1);
    struct coil_task *a = coil_spawn(coil_acceptor_next(acceptor));
    struct rlimit limit = take_all_descriptors();
    CHECK_INT(task_int(a), -EMFILE);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK_INT(accepted(), 1);
    close(fd);
    close_acceptor();
}

TEST(acceptor_on_what_is_no_listening_socket_says_so)
{
    stage_open();
    struct pair pair = unix_pair();
    CHECK_INT(coil_acceptor_open(&acceptor, pair.a), 0);
    for (int i = 0; i < 2; i++)
        CHECK_INT(wait_int(coil_acceptor_next(acceptor)), -EINVAL);
    CHECK_INT(wait_int(coil_acceptor_close(acceptor)), 0);
    close_pair(pair);
    stage_close();
}

TEST(acceptor_on_a_descriptor_that_is_closed_says_so)
{
    open_acceptor();
    struct coil_task *t[2];
    for (int i = 0; i < 2; i++)
        t[i] = begin(coil_acceptor_next(acceptor));
    CHECK_INT(wait_int(coil_close(listening)), 0);
    for (int i = 0; i < 2; i++)
        CHECK_INT(task_int(t[i]), -EBADF);
    CHECK_INT(wait_int(coil_acceptor_close(acceptor)), 0);
    stage_close();
}

// As many operations in flight as may be: told, then it goes on.
TEST(acceptor_that_may_not_begin_says_so)
{
    static char buf[1];
    open_with((struct coil_loop_options){ .operations_limit = 1 });
    struct pair pair = unix_pair();
    struct coil_task *t = begin(coil_recv(pair.a, buf, 1));
    CHECK_INT(wait_int(coil_acceptor_next(acceptor)), -ENOBUFS);
    CHECK_INT(write(pair.b, "x", 1), 1);
    CHECK_INT(task_int(t), 1);
    int fd = client(4);
    CHECK_INT(accepted(), 4);
    close(fd);
    close_pair(pair);
    close_acceptor();
}

TEST(acceptor_says_what_it_waits_for)
{
    open_acceptor();
    struct coil_future *f = coil_acceptor_next(acceptor);
    const struct coil_custom *custom = (const void *)f;
    char words[32], expected[32];
    custom->cls->describe(f, words, sizeof words);
    snprintf(expected, sizeof expected, "accept fd %d", listening);
    CHECK_STR(words, expected);
    coil_discard(f);
    close_acceptor();
}

// accept(2) counts -EOPNOTSUPP among the errors of one connection. But a socket
// that cannot accept at all says it for ever, and so the loop never slept.
TEST(acceptor_that_only_fails_rests_and_says_so)
{
    struct coil_acceptor *a;
    stage_open();
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    CHECK_INT(coil_acceptor_open(&a, fd), 0);
    CHECK_INT(wait_int(coil_acceptor_next(a)), -EOPNOTSUPP);
    struct coil_loop_stats before = stage_stats();
    CHECK_INT(wait_int(coil_acceptor_next(a)), -EOPNOTSUPP);
    CHECK(stage_stats().enters - before.enters <= 20);
    CHECK_INT(wait_int(coil_acceptor_close(a)), 0);
    close(fd);
    stage_close();
}

static int accept_once(void)
{
    struct coil_loop *loop;
    struct sockaddr_in addr;
    int fd = tcp_listen(&addr, 4), peer = tcp_connect(&addr);
    int err = coil_loop_new(&loop, stage_options());
    if (err == 0) {
        struct coil_acceptor *a;
        stage_loop = loop;
        err = coil_acceptor_open(&a, fd);
        if (err == 0) {
            struct coil_task *t = coil_spawn(coil_acceptor_next(a));
            coil_task_quiet(t);
            coil_loop_run_until_complete(loop, t);
            err = coil_future_error(coil_task_future(t));
            if (err == 0)
                close((int)coil_future_int(coil_task_future(t)));
            coil_detach_future(coil_acceptor_close(a));
        }
        coil_loop_close(loop);
    }
    close(peer);
    close(fd);
    return err;
}

TEST(acceptor_survives_every_failed_allocation)
{
    test_every_allocation(accept_once);
}
