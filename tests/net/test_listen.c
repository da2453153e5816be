// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_listen.c: tasks that wait for a connection are told when the listener
 * closes, a connection is either taken or closed, and a process without free
 * descriptors is told so and recovers.
 */
#include "peer.h"

#include <coil/connect.h>
#include <coil/error.h>
#include <coil/listen.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>

/* ---- Listening -------------------------------------------------------- */

static struct coil_listener *listener;
static struct coil_addr where; /* it listens */

static void listen_on(const char *ip)
{
    struct coil_addr addr;
    CHECK_INT(coil_addr_from_ip(&addr, ip, 0), 0);
    CHECK_INT(coil_listener_open(&listener, &addr, 64), 0);
    memset(&addr, 0, sizeof addr); /* it was copied */
    coil_listener_addr(listener, &where);
}

static void open_listener(void)
{
    stage_open();
    listen_on("127.0.0.1");
}

static void close_listener(void)
{
    CHECK_INT(wait_int(coil_listener_close(listener)), 0);
    UNTIL(stage_stats().in_flight == 0);
    stage_close();
}

/* A client of the test's own. */
static int client(void)
{
    int fd = socket(where.u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK_INT(connect(fd, &where.u.sa, where.len), 0);
    return fd;
}

static struct coil_stream *accept_one(void)
{
    int err;
    struct coil_stream *s = task_stream(
        coil_spawn(coil_listener_accept(listener)), &err);
    CHECK_INT(err, 0);
    return s;
}

/* Both ends of one connection: what the one says the other hears. */
static void check_connected(struct coil_stream *s, int fd)
{
    static char buf[8];
    CHECK_INT(write(fd, "ping", 4), 4);
    CHECK_INT(wait_int(coil_stream_read_exactly(s, buf, 4)), 4);
    CHECK_MEM(buf, "ping", 4);
    CHECK_INT(wait_int(coil_stream_write(s, "pong", 4)), 4);
    CHECK_INT(recv(fd, buf, 8, 0), 4);
}

TEST(listen_on_a_port_that_the_kernel_chose)
{
    open_listener();
    CHECK(coil_addr_port(&where) != 0);
    CHECK_INT(where.u.in.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    int fd = client();
    struct coil_stream *s = accept_one();
    int on = 0, ours = coil_stream_fd(s);
    socklen_t len = sizeof on;
    CHECK_INT(getsockopt(ours, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    CHECK(on);
    CHECK(fcntl(ours, F_GETFD) & FD_CLOEXEC);
    check_connected(s, fd);
    coil_stream_close_soon(s);
    close(fd);
    close_listener();
}

TEST(listen_on_ipv6)
{
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct coil_addr addr;
    CHECK_INT(coil_addr_from_ip(&addr, "::1", 0), 0);
    bool has_ipv6 = probe >= 0 && bind(probe, &addr.u.sa, addr.len) == 0;
    close(probe);
    if (!has_ipv6)
        SKIP("no IPv6 on loopback");
    stage_open();
    listen_on("::1");
    int fd = client();
    struct coil_stream *s = accept_one();
    check_connected(s, fd);
    coil_stream_close_soon(s);
    close(fd);
    close_listener();
}

TEST(listen_on_a_unix_socket)
{
    stage_open();
    char path[64];
    struct coil_addr addr;
    struct coil_listener *second;
    snprintf(path, sizeof path, "/tmp/coil-test-listen-%d", (int)getpid());
    unlink(path);
    CHECK_INT(coil_addr_from_path(&addr, path), 0);
    CHECK_INT(coil_listener_open(&listener, &addr, 4), 0);
    coil_listener_addr(listener, &where);
    char text[COIL_ADDR_TEXT_BYTES_MAX];
    CHECK_STR(coil_addr_text(&where, text, sizeof text), path);
    CHECK_INT(coil_listener_open(&second, &addr, 4), -EADDRINUSE);

    int err, fd = client();
    struct coil_stream *s = accept_one();
    check_connected(s, fd);
    struct coil_stream *other = task_stream(
        coil_spawn(coil_stream_connect(&addr)), &err);
    CHECK_INT(err, 0);
    coil_stream_close_soon(other);
    coil_stream_close_soon(s);
    close(fd);
    unlink(path);
    close_listener();
}

// Each says why, opens nothing and leaves *out alone.
TEST(listener_that_cannot_open_leaves_nothing)
{
    open_listener();
    struct coil_listener *none = NULL;
    struct coil_addr addr;
    CHECK_INT(coil_listener_open(&none, &where, 4), -EADDRINUSE);
    CHECK_INT(coil_addr_from_ip(&addr, "192.0.2.1", 0), 0);
    CHECK_INT(coil_listener_open(&none, &addr, 4), -EADDRNOTAVAIL);
    addr = (struct coil_addr){ .len = 16, .u.sa.sa_family = 1234 };
    CHECK_INT(coil_listener_open(&none, &addr, 4), -EAFNOSUPPORT);
    CHECK(none == NULL);
    close_listener();
}

static int held;

static void let_go(int signo)
{
    (void)signo;
    close(held);
}

// A server that is killed and started again at once finds its port taken for
// some milliseconds, until the kernel has ended its accept. (The timer is due
// before the last attempt, however slow the machine is.)
TEST(listener_waits_a_little_for_a_port_that_becomes_free)
{
    stage_open();
    held = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(coil_addr_from_ip(&where, "127.0.0.1", 0), 0);
    CHECK_INT(bind(held, &where.u.sa, where.len), 0);
    CHECK_INT(listen(held, 4), 0);
    CHECK_INT(coil_addr_local(&where, held), 0);
    signal(SIGALRM, let_go);
    struct itimerval soon = { .it_value.tv_usec = 2000 };
    CHECK_INT(setitimer(ITIMER_REAL, &soon, NULL), 0);
    CHECK_INT(coil_listener_open(&listener, &where, 4), 0);
    close_listener();
}

// SO_REUSEADDR: a server that is started again gets its port.
TEST(listen_again_where_connections_linger)
{
    open_listener();
    int fd = client();
    struct coil_stream *s = accept_one();
    CHECK_INT(wait_int(coil_stream_close(s)), 0); /* ours lingers */
    close(fd);
    CHECK_INT(wait_int(coil_listener_close(listener)), 0);
    struct coil_addr again = where;
    CHECK_INT(coil_listener_open(&listener, &again, 4), 0);
    close_listener();
}

/* ---- Accepting -------------------------------------------------------- */

enum { MANY = 40 };

// Each connection goes to one of those who wait.
TEST(listener_accepts_in_many_tasks)
{
    struct coil_task *tasks[MANY];
    struct coil_stream *streams[MANY];
    int clients[MANY], err;
    open_listener();
    for (int i = 0; i < MANY; i++)
        tasks[i] = coil_spawn(coil_listener_accept(listener));
    stage_passes(3);
    for (int i = 0; i < MANY; i++)
        clients[i] = client();
    for (int i = 0; i < MANY; i++) {
        streams[i] = task_stream(tasks[i], &err);
        CHECK_INT(err, 0);
    }
    for (int i = 0; i < MANY; i++) {
        struct coil_addr a, b;
        int met = 0;
        CHECK_INT(coil_addr_local(&a, clients[i]), 0);
        for (int j = 0; j < MANY; j++) {
            CHECK_INT(coil_addr_peer(&b, coil_stream_fd(streams[j])), 0);
            met += coil_addr_port(&a) == coil_addr_port(&b);
        }
        CHECK_INT(met, 1);
    }
    for (int i = 0; i < MANY; i++) {
        coil_stream_close_soon(streams[i]);
        close(clients[i]);
    }
    close_listener();
}

struct accepts {
    struct coil_coro coro;
    struct coil_stream *stream;
};

static void accepts(struct coil_coro *co)
{
    ASYNC(accepts, my) {
        AWAIT_TO(my->stream, coil_listener_accept(listener));
    }
}

// Whenever it is cancelled, the connection is the task's or the next one's.
TEST(listener_accept_that_is_cancelled_steals_no_connection)
{
    open_listener();
    for (int passes = 0; passes < 8; passes++) {
        int err;
        struct coil_task *t = SPAWN(accepts);
        stage_passes(passes / 2);
        int fd = client();
        if (passes % 2)
            stage_passes(1);
        coil_task_cancel(t);
        err = stage_run(t);
        CHECK(err == 0 || err == -ECANCELED);
        struct coil_stream *s = ((struct accepts *)coil_task_frame(t))->stream;
        coil_task_drop(&t);
        if (!s)
            s = accept_one();
        check_connected(s, fd);
        coil_stream_close_soon(s);
        close(fd);
    }
    close_listener();
}

TEST(listener_accept_that_is_a_task_and_cancelled_drops_no_connection)
{
    open_listener();
    for (int i = 0; i < 8; i++) {
        struct coil_task *t = coil_spawn(coil_listener_accept(listener));
        stage_passes(2);
        int err, fd = client();
        cancel_as_it_completes(t);
        struct coil_stream *s = task_stream(t, &err);
        CHECK(err == 0 || err == -ECANCELED);
        if (err < 0)
            s = accept_one();
        check_connected(s, fd);
        coil_stream_close_soon(s);
        close(fd);
    }
    close_listener();
}

struct accepts_and_forgets {
    struct coil_coro coro;
};

static void accepts_and_forgets(struct coil_coro *co)
{
    ASYNC(accepts_and_forgets, my) {
        AWAIT(coil_listener_accept(listener));
    }
}

TEST(listener_connection_that_nobody_takes_is_closed)
{
    open_listener();
    int fd = client();
    CHECK_INT(wait_int(CALL(accepts_and_forgets)), 0);
    char x;
    CHECK_INT(recv(fd, &x, 1, 0), 0);
    close(fd);
    close_listener();
}

// Gone before it was accepted: the next one is served.
TEST(listener_accepts_after_a_connection_that_was_aborted)
{
    open_listener();
    static char x;
    close_with_reset(client());
    int fd = client(), err;
    struct coil_stream *s = accept_one();
    int64_t n = wait_int(coil_stream_read(s, &x, 1));
    if (n == -ECONNRESET) { /* the kernel gave out the dead one too */
        coil_stream_close_soon(s);
        s = task_stream(coil_spawn(coil_listener_accept(listener)), &err);
        CHECK_INT(err, 0);
        check_connected(s, fd);
    }
    coil_stream_close_soon(s);
    close(fd);
    close_listener();
}

struct accepts_stubbornly {
    struct coil_coro coro;
    struct coil_stream *stream;
    int refused;
    int64_t began, refused_at;
    int err;
};

static void accepts_stubbornly(struct coil_coro *co)
{
    ASYNC(accepts_stubbornly, my) {
        while (!my->stream) {
            TRY_AWAIT_TO(my->err, my->stream, coil_listener_accept(listener));
            if (my->err == 0)
                break;
            if (my->err != -EMFILE)
                FAIL(my->err);
            my->refused++;
            my->refused_at = coil_now();
        }
    }
}

// Out of descriptors: told, then quiet for a while; then all is well again.
TEST(listener_accept_out_of_descriptors_is_told_and_recovers)
{
    open_listener();
    int fd = client(), second = client();
    struct rlimit limit = take_all_descriptors();
    int64_t start = coil_now();
    struct coil_task *t = SPAWN(accepts_stubbornly);
    struct accepts_stubbornly *my = coil_task_frame(t);
    while (coil_now() - start < COIL_MS(350))
        coil_loop_pass(stage_loop, COIL_MS(20));
    int64_t pauses = (coil_now() - start) / COIL_MS(100);
    CHECK(my->refused >= 1);
    CHECK(my->refused <= pauses + 1);
    CHECK(!coil_task_done(t));

    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
    CHECK_INT(stage_run(t), 0);
    check_connected(my->stream, fd);
    coil_stream_close_soon(my->stream);
    coil_task_drop(&t);
    struct coil_stream *s = accept_one();
    check_connected(s, second);
    coil_stream_close_soon(s);
    close(fd);
    close(second);
    close_listener();
}

/* ---- Closing a listener ----------------------------------------------- */

TEST(listener_that_closes_tells_all_who_wait)
{
    struct coil_task *tasks[MANY];
    for (int passes = 0; passes < 4; passes++) {
        open_listener();
        for (int i = 0; i < MANY; i++)
            tasks[i] = coil_spawn(coil_listener_accept(listener));
        stage_passes(passes); /* 0: they have not even begun */
        CHECK_INT(wait_int(coil_listener_close(listener)), 0);
        for (int i = 0; i < MANY; i++)
            CHECK_INT(task_int(tasks[i]), COIL_ECLOSED);
        UNTIL(stage_stats().in_flight == 0);
        stage_close();
    }
}

// Also when as many operations are in flight as may be: its own.
TEST(listener_closes_when_no_operation_may_begin)
{
    stage_open_with((struct coil_loop_options){ .operations_limit = 1 });
    listen_on("127.0.0.1");
    struct coil_task *t = begin(coil_listener_accept(listener));
    CHECK_INT(stage_stats().in_flight, 1);
    CHECK_INT(wait_int(coil_listener_close(listener)), 0);
    CHECK_INT(task_int(t), COIL_ECLOSED);
    stage_close();
}

// The kernel has let go of the socket by then, of the accept in flight too.
TEST(listener_that_is_closed_has_given_its_port_back)
{
    open_listener();
    for (int i = 0; i < 50; i++) {
        struct coil_task *t = begin(coil_listener_accept(listener));
        CHECK_INT(wait_int(coil_listener_close(listener)), 0);
        CHECK_INT(task_int(t), COIL_ECLOSED);
        struct coil_addr again = where;
        CHECK_INT(coil_listener_open(&listener, &again, 4), 0);
    }
    close_listener();
}

TEST(listener_that_closes_tells_one_that_pauses)
{
    open_listener();
    int fd = client();
    struct rlimit limit = take_all_descriptors();
    struct coil_task *t = coil_spawn(coil_listener_accept(listener));
    CHECK_INT(task_int(t), -EMFILE);
    t = begin(coil_listener_accept(listener));
    CHECK(!coil_task_done(t));
    CHECK_INT(wait_int(coil_listener_close(listener)), 0);
    CHECK_INT(task_int(t), COIL_ECLOSED);
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
    close(fd);
    stage_close();
}

// Nobody accepted them: they are not left to hang.
TEST(listener_that_closes_ends_connections_in_line)
{
    open_listener();
    int fd[3];
    for (int i = 0; i < 3; i++)
        fd[i] = client();
    close_listener();
    for (int i = 0; i < 3; i++) {
        char x;
        ssize_t n = recv(fd[i], &x, 1, 0);
        CHECK(n == 0 || (n < 0 && errno == ECONNRESET));
        close(fd[i]);
    }
    int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(connect(late, &where.u.sa, where.len), -1);
    CHECK_INT(errno, ECONNREFUSED);
    close(late);
}

struct closes_it {
    struct coil_coro coro;
};

static void closes_it(struct coil_coro *co)
{
    ASYNC(closes_it, my) {
        coil_task_cancel(coil_task_current());
        AWAIT(coil_listener_close(listener));
    }
}

// It takes the listener at the call: a cancel cannot leave it open.
TEST(listener_closes_in_a_cancelled_task_and_when_dropped)
{
    for (int i = 0; i < 2; i++) {
        open_listener();
        struct coil_task *t = begin(coil_listener_accept(listener));
        if (i == 0)
            coil_discard(coil_listener_close(listener));
        else
            wait_int(CALL(closes_it));
        CHECK_INT(task_int(t), COIL_ECLOSED);
        UNTIL(stage_stats().in_flight == 0);
        int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK_INT(connect(late, &where.u.sa, where.len), -1);
        close(late);
        stage_close();
    }
}

TEST(listener_close_allocates_nothing)
{
    open_listener();
    struct coil_task *t = begin(coil_listener_accept(listener));
    test_forbid_allocations(true);
    coil_detach_future(coil_listener_close(listener));
    UNTIL(coil_task_done(t) && stage_stats().in_flight == 0);
    test_forbid_allocations(false);
    CHECK_INT(test_forbidden_allocations(), 0);
    CHECK_INT(task_int(t), COIL_ECLOSED);
    stage_close();
}

/* ---- Without memory --------------------------------------------------- */

static int listen_and_accept(void)
{
    struct coil_loop *loop;
    int err = coil_loop_new(&loop, stage_options());
    if (err < 0)
        return err;
    stage_loop = loop;
    struct coil_addr addr;
    coil_addr_from_ip(&addr, "127.0.0.1", 0);
    struct coil_listener *l = NULL;
    err = coil_listener_open(&l, &addr, 4);
    if (err == 0) {
        coil_listener_addr(l, &where);
        int fd = client();
        struct coil_task *t = coil_spawn(coil_listener_accept(l));
        coil_task_quiet(t);
        struct coil_stream *s = task_stream(t, &err);
        if (s)
            coil_stream_close_soon(s);
        close(fd);
        coil_detach_future(coil_listener_close(l));
    }
    coil_loop_close(loop);
    return err;
}

TEST(listener_survives_every_failed_allocation)
{
    test_every_allocation(listen_and_accept);
}
