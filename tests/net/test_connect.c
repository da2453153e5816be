// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_connect.c: streams to other programs: what a connect that fails, is
 * cancelled or is not taken leaves behind: nothing.
 */
#include "peer.h"

#include <coil/connect.h>
#include <coil/error.h>
#include <coil/listen.h>
#include <sched.h>
#include <stdio.h>

/* ---- An address ------------------------------------------------------- */

struct connects {
    struct coil_coro coro;
    struct coil_addr addr;
    struct coil_stream *stream;
    bool forgets;
};

static void connects(struct coil_coro *co)
{
    ASYNC(connects, my) {
        if (my->forgets)
            AWAIT(coil_stream_connect(&my->addr));
        else
            AWAIT_TO(my->stream, coil_stream_connect(&my->addr));
    }
}

static struct coil_addr addr_of(const struct sockaddr_in *in4)
{
    struct coil_addr addr = { .len = sizeof *in4 };
    addr.u.in = *in4;
    return addr;
}

TEST(connect_gives_a_stream_without_delay)
{
    stage_open();
    struct sockaddr_in where;
    int listener = tcp_listen(&where, 4);
    struct coil_task *t = SPAWN(connects, .addr = addr_of(&where));
    CHECK_INT(stage_run(t), 0);
    struct coil_stream *s = ((struct connects *)coil_task_frame(t))->stream;
    int on = 0, fd = coil_stream_fd(s);
    socklen_t len = sizeof on;
    CHECK_INT(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    CHECK(on);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    struct coil_addr peer;
    CHECK_INT(coil_addr_peer(&peer, fd), 0);
    CHECK_INT(coil_addr_port(&peer), ntohs(where.sin_port));
    int accepted = accept(listener, NULL, NULL);
    char line[16];
    CHECK_INT(wait_int(coil_stream_write(s, "hello", 5)), 5);
    CHECK_INT(recv(accepted, line, 16, 0), 5);
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
    CHECK(!is_open(fd));
    close(accepted);
    close(listener);
    stage_close();
}

// The descriptor is closed: the harness counts.
TEST(connect_that_is_refused_leaves_nothing)
{
    stage_open();
    struct sockaddr_in gone;
    close(tcp_listen(&gone, 1));
    struct coil_task *t = SPAWN(connects, .addr = addr_of(&gone));
    CHECK_INT(stage_run(t), -ECONNREFUSED);
    struct coil_addr odd = { .len = sizeof odd.u.in, .u.sa.sa_family = 1234 };
    CHECK_INT(stage_run(SPAWN(connects, .addr = odd)), -EAFNOSUPPORT);
    stage_close();
}

TEST(connect_closes_a_stream_that_is_not_taken)
{
    stage_open();
    struct sockaddr_in where;
    int listener = tcp_listen(&where, 4);
    struct coil_task *t = SPAWN(connects, .addr = addr_of(&where),
                                .forgets = true);
    CHECK_INT(stage_run(t), 0);
    int fd = accept(listener, NULL, NULL);
    char x;
    CHECK_INT(recv(fd, &x, 1, 0), 0);
    UNTIL(stage_stats().in_flight == 0);
    close(fd);
    close(listener);
    stage_close();
}

// At every pass of it.
TEST(connect_that_is_cancelled_leaves_nothing)
{
    stage_open();
    struct sockaddr_in where;
    int listener = tcp_listen(&where, 64);
    for (int passes = 0; passes < 6; passes++) {
        struct coil_task *t = SPAWN(connects, .addr = addr_of(&where));
        stage_passes(passes);
        coil_task_cancel(t);
        int err = stage_run(t);
        struct coil_stream *s = ((struct connects *)coil_task_frame(t))->stream;
        CHECK(err == -ECANCELED || (err == 0 && s));
        coil_stream_close_soon(s);
    }
    UNTIL(stage_stats().in_flight == 0);
    close(listener);
    stage_close();
}

TEST(connect_that_waits_in_line_is_cancelled)
{
    stage_open();
    char path[64];
    struct coil_addr addr;
    snprintf(path, sizeof path, "/tmp/coil-test-connect-%d", (int)getpid());
    unlink(path);
    CHECK_INT(coil_addr_from_path(&addr, path), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(fd, &addr.u.sa, addr.len), 0);
    CHECK_INT(listen(fd, 0), 0);
    struct coil_task *first = SPAWN(connects, .addr = addr);
    CHECK_INT(stage_run(first), 0);
    struct coil_task *t = SPAWN(connects, .addr = addr);
    stage_passes(10);
    CHECK(!coil_task_done(t));
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    coil_stream_close_soon(((struct connects *)coil_task_frame(first))->stream);
    UNTIL(stage_stats().in_flight == 0);
    close(fd);
    unlink(path);
    stage_close();
}

// What main() returns and RUN does not ask for is given up only then, and a
// connection takes some passes to be closed.
TEST(connect_closes_the_stream_of_a_task_with_the_loop)
{
    struct sockaddr_in addr;
    struct coil_addr where;
    int listener = tcp_listen(&addr, 4);
    CHECK_INT(coil_addr_from_ip(&where, "127.0.0.1", ntohs(addr.sin_port)), 0);
    stage_open();
    struct coil_task *t = coil_spawn(coil_stream_connect(&where));
    CHECK_INT(stage_run(t), 0);
    int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    stage_close();
    char x;
    CHECK_INT(recv(peer, &x, 1, MSG_DONTWAIT), 0);
    close(peer);
    close(listener);
}

// A network namespace of its own has not even a way to itself.
TEST(connect_without_a_network_says_so)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        SKIP("no network namespace may be made");
    stage_open();
    struct coil_addr addr;
    int err;
    CHECK_INT(coil_addr_from_ip(&addr, "127.0.0.1", 80), 0);
    struct coil_stream *s = task_stream(coil_spawn(coil_stream_connect(&addr)),
                                        &err);
    CHECK(s == NULL);
    CHECK_INT(err, -ENETUNREACH);
    stage_close();
}

TEST(net_connect_and_accept_in_one_loop)
{
    stage_open();
    struct coil_listener *listener;
    struct coil_addr where;
    CHECK_INT(coil_addr_from_ip(&where, "127.0.0.1", 0), 0);
    CHECK_INT(coil_listener_open(&listener, &where, 4), 0);
    coil_listener_addr(listener, &where);
    int a_err, c_err;
    struct coil_task *a = coil_spawn(coil_listener_accept(listener));
    struct coil_task *c = coil_spawn(coil_stream_connect(&where));
    struct coil_stream *server = task_stream(a, &a_err);
    struct coil_stream *ours = task_stream(c, &c_err);
    CHECK_INT(a_err, 0);
    CHECK_INT(c_err, 0);
    static char buf[8];
    CHECK_INT(wait_int(coil_stream_write(ours, "hello", 5)), 5);
    CHECK_INT(wait_int(coil_stream_read(server, buf, 8)), 5);
    CHECK_MEM(buf, "hello", 5);
    CHECK_INT(wait_int(coil_stream_close(ours)), 0);
    CHECK_INT(wait_int(coil_stream_read(server, buf, 8)), 0);
    CHECK_INT(wait_int(coil_stream_close(server)), 0);
    CHECK_INT(wait_int(coil_listener_close(listener)), 0);
    stage_close();
}
