// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_io.c: each operation of io.h: what it gives at the end of a file, from
 * a bad descriptor, and when it is cancelled. After a cancel the descriptor is
 * as good as before: no byte and no connection is lost (asyncio's sock_recv,
 * sock_sendall and sock_accept promise the same).
 */
#include "peer.h"

#include <coil/error.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/un.h>

/* ---- Files ------------------------------------------------------------ */

TEST(io_reads_and_writes_a_file_at_its_position)
{
    stage_open();
    int fd = memfd_create("file", MFD_CLOEXEC);
    char buf[16] = "";
    CHECK_INT(wait_int(coil_write(fd, "hello ", 6)), 6);
    CHECK_INT(wait_int(coil_write(fd, "world", 5)), 5);
    CHECK_INT(lseek(fd, 0, SEEK_SET), 0);
    CHECK_INT(wait_int(coil_read(fd, buf, 6)), 6);
    CHECK_STR(buf, "hello ");
    CHECK_INT(wait_int(coil_read(fd, buf, 16)), 5);
    CHECK_STR(buf, "world ");
    CHECK_INT(wait_int(coil_read(fd, buf, 16)), 0);
    CHECK_INT(wait_int(coil_read(fd, NULL, 0)), 0);
    close(fd);
    stage_close();
}

// Position 0 is a position, and so is one that needs 33 bits.
TEST(io_reads_and_writes_a_file_at_an_offset)
{
    stage_open();
    int fd = memfd_create("file", MFD_CLOEXEC);
    char buf[8] = "";
    uint64_t far = (uint64_t)5 << 32;
    CHECK_INT(wait_int(coil_pwrite(fd, "near", 4, 0)), 4);
    CHECK_INT(wait_int(coil_pwrite(fd, "far", 3, far)), 3);
    CHECK_INT(lseek(fd, 0, SEEK_CUR), 0);
    CHECK_INT(wait_int(coil_pread(fd, buf, 8, far)), 3);
    CHECK_STR(buf, "far");
    CHECK_INT(wait_int(coil_pread(fd, buf, 4, 0)), 4);
    CHECK_STR(buf, "near");
    CHECK_INT(wait_int(coil_pread(fd, buf, 8, far + 3)), 0);
    close(fd);
    stage_close();
}

// A length that a 32-bit count cannot hold is not cut modulo 4 GiB.
TEST(io_writes_as_much_as_one_call_can)
{
    stage_open();
    size_t size = ((size_t)1 << 32) + 5;
    char *memory = mmap(NULL, size, PROT_READ,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        SKIP("no address space");
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    CHECK_INT(wait_int(coil_write(fd, memory, size)), 0x7ffff000);
    close(fd);
    munmap(memory, size);
    stage_close();
}

TEST(io_reads_a_pipe_to_its_end)
{
    stage_open();
    struct pair pipe = pipe_pair();
    char buf[8];
    struct coil_task *t = begin(coil_read(pipe.a, buf, sizeof buf));
    CHECK(!coil_task_done(t));
    CHECK_INT(write(pipe.b, "abc", 3), 3);
    CHECK_INT(task_int(t), 3);
    CHECK_MEM(buf, "abc", 3);
    t = begin(coil_read(pipe.a, buf, sizeof buf));
    close(pipe.b);
    CHECK_INT(task_int(t), 0);
    close(pipe.a);
    stage_close();
}

// As for write(2): the signal is the program's to ignore.
TEST(io_write_to_a_pipe_that_nobody_reads_fails)
{
    stage_open();
    struct pair pipe = pipe_pair();
    signal(SIGPIPE, SIG_IGN);
    close(pipe.a);
    CHECK_INT(wait_int(coil_write(pipe.b, "x", 1)), -EPIPE);
    close(pipe.b);
    stage_close();
}

/* ---- Sockets ---------------------------------------------------------- */

TEST(io_receives_and_sends)
{
    stage_open();
    for (int i = 0; i < 2; i++) {
        struct pair pair = i ? tcp_pair(0) : unix_pair();
        char buf[8];
        struct coil_task *t = begin(coil_recv(pair.b, buf, sizeof buf));
        CHECK_INT(wait_int(coil_send(pair.a, "abc", 3)), 3);
        CHECK_INT(task_int(t), 3);
        CHECK_MEM(buf, "abc", 3);
        close(pair.a);
        CHECK_INT(wait_int(coil_recv(pair.b, buf, sizeof buf)), 0);
        close(pair.b);
    }
    stage_close();
}

TEST(io_receive_learns_of_a_reset)
{
    stage_open();
    struct pair pair = tcp_pair(0);
    char buf[8];
    struct coil_task *t = begin(coil_recv(pair.b, buf, sizeof buf));
    close_with_reset(pair.a);
    CHECK_INT(task_int(t), -ECONNRESET);
    close(pair.b);
    stage_close();
}

TEST(io_accepts_and_connects)
{
    stage_open();
    struct sockaddr_in listening;
    struct coil_addr addr = { .len = sizeof listening };
    int listener = tcp_listen(&listening, 4);
    addr.u.in = listening;
    struct coil_task *t = begin(coil_accept(listener));
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct coil_future *connect = coil_connect(client, &addr);
    addr = (struct coil_addr){ 0 }; /* it was copied */
    CHECK_INT(wait_int(connect), 0);
    int fd = (int)task_int(t);
    CHECK(fd >= 0);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK_INT(wait_int(coil_send(client, "x", 1)), 1);
    char x;
    CHECK_INT(wait_int(coil_recv(fd, &x, 1)), 1);
    close(fd);
    close(client);
    close(listener);
    stage_close();
}

// As a task, gathered, or in a wait_for: nobody asks for it, and it is closed.
TEST(io_accepted_connection_that_nobody_takes_is_closed)
{
    for (int way = 0; way < 3; way++) {
        stage_open();
        struct sockaddr_in addr;
        int listener = tcp_listen(&addr, 4);
        int client = tcp_connect(&addr);
        struct coil_future *accept = coil_accept(listener);
        struct coil_task *t = coil_spawn(
            way == 0   ? accept
            : way == 1 ? coil_gather(&accept, 1)
                       : coil_wait_for(accept, COIL_SECONDS(60)));
        CHECK_INT(coil_loop_run_until_complete(stage_loop, t), 0);
        CHECK_INT(coil_future_error(coil_task_future(t)), 0);
        coil_task_drop(&t);
        char x; /* the end, or the descriptor is still open */
        CHECK(recv(client, &x, 1, MSG_DONTWAIT) == 0);
        close(client);
        close(listener);
        stage_close();
    }
}

TEST(io_connect_is_refused)
{
    stage_open();
    struct sockaddr_in gone;
    struct coil_addr addr = { .len = sizeof gone };
    close(tcp_listen(&gone, 1));
    addr.u.in = gone;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(wait_int(coil_connect(fd, &addr)), -ECONNREFUSED);
    close(fd);
    stage_close();
}

TEST(io_shuts_down_one_way)
{
    stage_open();
    struct pair pair = tcp_pair(0);
    char x;
    CHECK_INT(wait_int(coil_shutdown(pair.a, SHUT_WR)), 0);
    CHECK_INT(wait_int(coil_recv(pair.b, &x, 1)), 0);
    CHECK_INT(wait_int(coil_send(pair.a, "x", 1)), -EPIPE);
    CHECK_INT(wait_int(coil_send(pair.b, "x", 1)), 1);
    CHECK_INT(wait_int(coil_recv(pair.a, &x, 1)), 1);
    CHECK_INT(wait_int(coil_shutdown(pair.a, 77)), -EINVAL);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(wait_int(coil_shutdown(fd, SHUT_RDWR)), -ENOTCONN);
    close(fd);
    close_pair(pair);
    stage_close();
}

// Sockets of other libraries are non-blocking; here it makes no difference.
TEST(io_waits_on_a_non_blocking_descriptor_all_the_same)
{
    stage_open();
    for (int i = 0; i < 3; i++) {
        struct pair pair = i == 0   ? tcp_pair(0)
                           : i == 1 ? unix_pair()
                                    : pipe_pair();
        char buf[8];
        CHECK_INT(fcntl(pair.a, F_SETFL, O_NONBLOCK), 0);
        struct coil_task *t = begin(i < 2 ? coil_recv(pair.a, buf, 8)
                                          : coil_read(pair.a, buf, 8));
        test_note("kind %d", i);
        CHECK(!coil_task_done(t));
        CHECK_INT(write(pair.b, "abc", 3), 3);
        CHECK_INT(task_int(t), 3);
        close_pair(pair);
    }
    stage_close();
}

/* ---- Bad descriptors -------------------------------------------------- */

static struct coil_future *make(int kind, int fd)
{
    static char buf[8];
    static struct coil_addr addr;
    CHECK_INT(coil_addr_from_ip(&addr, "127.0.0.1", 1), 0);
    switch (kind) {
    case 0:
        return coil_read(fd, buf, 8);
    case 1:
        return coil_pread(fd, buf, 8, 1);
    case 2:
        return coil_write(fd, buf, 8);
    case 3:
        return coil_pwrite(fd, buf, 8, 1);
    case 4:
        return coil_recv(fd, buf, 8);
    case 5:
        return coil_send(fd, buf, 8);
    case 6:
        return coil_accept(fd);
    case 7:
        return coil_connect(fd, &addr);
    case 8:
        return coil_shutdown(fd, SHUT_RDWR);
    case 9:
        return coil_poll(fd, POLLIN);
    default:
        return coil_close(fd);
    }
}
enum { KINDS = 11 };

// The peer does not read. Or all timers would be as late as the option says.
TEST(io_close_never_lingers)
{
    stage_open();
    for (int i = 0; i < 2; i++) {
        struct pair pair = tcp_pair(4096);
        size_t n = send_all_that_fits(pair.a);
        linger_on_close(pair.a, 1000);
        CHECK_INT(i ? coil_close_now(pair.a) : wait_int(coil_close(pair.a)), 0);
        CHECK(!is_open(pair.a));
        read_to_the_end(pair.b, n);
        close(pair.b);
    }
    stage_close();
}

TEST(io_close_resets_if_the_option_says_so)
{
    stage_open();
    for (int i = 0; i < 2; i++) {
        char x;
        struct pair pair = tcp_pair(0);
        reset_on_close(pair.a);
        CHECK_INT(i ? coil_close_now(pair.a) : wait_int(coil_close(pair.a)), 0);
        CHECK_INT(read(pair.b, &x, 1), -1);
        CHECK_INT(errno, ECONNRESET);
        close(pair.b);
    }
    CHECK_INT(coil_close_now(9999), -EBADF);
    CHECK_INT(coil_close_now(memfd_create("file", MFD_CLOEXEC)), 0);
    stage_close();
}

TEST(io_on_a_negative_descriptor_is_invalid)
{
    stage_open();
    uint64_t submitted = stage_stats().submitted;
    for (int kind = 0; kind < KINDS; kind++) {
        CHECK_INT(wait_int(make(kind, -1)), -EINVAL);
        CHECK_INT(wait_int(make(kind, -EMFILE)), -EINVAL);
    }
    CHECK(stage_stats().submitted - submitted <= 1); /* the wake-up poll */
    stage_close();
}

TEST(io_on_a_descriptor_that_is_not_open_says_so)
{
    stage_open();
    for (int kind = 0; kind < KINDS; kind++) {
        test_note("kind %d", kind);
        CHECK_INT(wait_int(make(kind, 9999)), -EBADF);
    }
    stage_close();
}

TEST(io_of_a_socket_on_a_file_says_so)
{
    stage_open();
    int fd = memfd_create("file", MFD_CLOEXEC);
    for (int kind = 4; kind < 9; kind++)
        CHECK_INT(wait_int(make(kind, fd)), -ENOTSOCK);
    close(fd);
    stage_close();
}

/* ---- Cancelling ------------------------------------------------------- */

// What comes after the cancel comes whole.
TEST(io_cancelled_receive_takes_no_bytes)
{
    stage_open();
    for (int i = 0; i < 3; i++) {
        struct pair pair = i == 0   ? unix_pair()
                           : i == 1 ? tcp_pair(0)
                                    : pipe_pair();
        static char first[64], second[64];
        struct coil_task *t = begin(i == 2 ? coil_read(pair.a, first, 64)
                                           : coil_recv(pair.a, first, 64));
        CHECK(coil_task_cancel(t));
        CHECK_INT(task_int(t), -ECANCELED);
        CHECK_INT(write(pair.b, "all of it", 9), 9);
        CHECK_INT(wait_int(i == 2 ? coil_read(pair.a, second, 64)
                                  : coil_recv(pair.a, second, 64)),
                  9);
        CHECK_MEM(second, "all of it", 9);
        close_pair(pair);
    }
    stage_close();
}

// The peer sends as the cancel goes out: the bytes are in the one or the other.
TEST(io_receive_cancelled_as_bytes_arrive_loses_none)
{
    stage_open();
    struct pair pair = unix_pair();
    struct pattern out = { .seed = 3 }, in = out;
    int rounds = test_is_slow() ? 200 : 2000, kept = 0;
    for (int i = 0; i < rounds; i++) {
        static char buf[64];
        struct coil_task *t = begin(coil_recv(pair.a, buf, 64));
        if (i % 2)
            CHECK_INT(pattern_send(&out, pair.b, 10), 10);
        coil_task_cancel(t);
        if (i % 2 == 0)
            CHECK_INT(pattern_send(&out, pair.b, 10), 10);
        int64_t n = task_int(t);
        CHECK(n == 10 || n == -ECANCELED);
        kept += n == 10;
        if (n < 0)
            CHECK_INT(wait_int(coil_recv(pair.a, buf, 64)), 10);
        pattern_check(&in, buf, 10);
    }
    test_note("%d of %d succeeded all the same", kept, rounds);
    close_pair(pair);
    stage_close();
}

TEST(io_cancelled_accept_steals_no_connection)
{
    stage_open();
    struct sockaddr_in addr;
    int listener = tcp_listen(&addr, 8);
    for (int i = 0; i < 50; i++) {
        struct coil_task *t = begin(coil_accept(listener));
        int client = -1;
        if (i % 2)
            client = tcp_connect(&addr);
        coil_task_cancel(t);
        if (client < 0)
            client = tcp_connect(&addr);
        int64_t fd = task_int(t);
        CHECK(fd >= 0 || fd == -ECANCELED);
        if (fd < 0)
            fd = wait_int(coil_accept(listener));
        CHECK(fd >= 0);
        CHECK_INT(write(client, "x", 1), 1);
        char x;
        CHECK_INT(read((int)fd, &x, 1), 1);
        close((int)fd);
        close(client);
    }
    close(listener);
    stage_close();
}

// A send that could not begin leaves nothing behind; another one goes.
TEST(io_cancelled_send_leaves_the_socket_usable)
{
    stage_open();
    struct pair pair = unix_pair();
    struct pattern out = { .seed = 4 }, in = out;
    while (pattern_send(&out, pair.a, 4096) > 0)
        continue;
    struct coil_task *t = begin(coil_send(pair.a, "never sent", 10));
    CHECK(!coil_task_done(t));
    CHECK(coil_task_cancel(t));
    CHECK_INT(task_int(t), -ECANCELED);
    while (in.at < out.at)
        pattern_recv(&in, pair.b);
    CHECK_INT(wait_int(coil_send(pair.a, "sent", 4)), 4);
    char buf[16];
    CHECK_INT(recv(pair.b, buf, sizeof buf, 0), 4);
    CHECK_MEM(buf, "sent", 4);
    close_pair(pair);
    stage_close();
}

/* A Unix socket that nobody accepts from, its line of one full. */
static int full_listener(struct coil_addr *addr, int *waiting)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/coil-test-io-%d", (int)getpid());
    unlink(path);
    CHECK_INT(coil_addr_from_path(addr, path), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(fd, &addr->u.sa, addr->len), 0);
    CHECK_INT(listen(fd, 0), 0);
    *waiting = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(connect(*waiting, &addr->u.sa, addr->len), 0);
    return fd;
}

// It blocks in a worker of the kernel's, which is interrupted: not -EINTR.
TEST(io_connect_that_waits_in_line_is_cancelled)
{
    stage_open();
    struct coil_addr addr;
    int waiting, listener = full_listener(&addr, &waiting);
    for (int i = 0; i < 10; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct coil_task *t = begin(coil_connect(fd, &addr));
        if (i % 2)
            stage_passes(20);
        CHECK(!coil_task_done(t));
        CHECK(coil_task_cancel(t));
        CHECK_INT(task_int(t), -ECANCELED);
        close(fd);
    }
    close(waiting);
    close(listener);
    unlink(addr.u.un.sun_path);
    stage_close();
}

TEST(io_connect_that_waits_in_line_ends_when_its_descriptor_is_closed)
{
    stage_open();
    struct coil_addr addr;
    int waiting, listener = full_listener(&addr, &waiting);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct coil_task *t = begin(coil_connect(fd, &addr));
    coil_loop_pass(stage_loop, COIL_MS(20));
    CHECK(!coil_task_done(t));
    CHECK_INT(wait_int(coil_close(fd)), 0);
    CHECK_INT(task_int(t), -ECANCELED);
    close(waiting);
    close(listener);
    unlink(addr.u.un.sun_path);
    stage_close();
}

// Nobody waits for it any more; its buffer is the kernel's until it lands.
TEST(io_that_is_dropped_in_flight_lands_by_itself)
{
    stage_open();
    struct pair pair = unix_pair();
    static char buf[8];
    struct coil_future *f = coil_future_ref(coil_recv(pair.a, buf, 8));
    struct coil_task *t = begin(f);
    CHECK_INT(stage_stats().in_flight, 1);
    coil_task_cancel(t);
    CHECK_INT(task_int(t), -ECANCELED);
    CHECK(coil_future_cancelled(f));
    coil_future_unref(f);
    coil_detach_future(coil_recv(pair.a, buf, 8));
    stage_passes(2);
    CHECK_INT(write(pair.b, "abc", 3), 3);
    UNTIL(stage_stats().in_flight == 0);
    CHECK_MEM(buf, "abc", 3);
    close_pair(pair);
    stage_close();
}

TEST(io_closing_the_loop_cancels_what_flies)
{
    stage_open();
    struct pair pair = unix_pair();
    static char buf[8];
    coil_spawn(coil_recv(pair.a, buf, 8));
    coil_spawn(coil_poll(pair.a, POLLIN));
    stage_passes(3);
    CHECK_INT(stage_stats().in_flight, 2);
    stage_close();
    close_pair(pair);
}

/* ---- poll ------------------------------------------------------------- */

// Another library's descriptor: it does its own reading, non-blocking.
TEST(io_poll_is_the_door_for_other_libraries)
{
    stage_open();
    struct pair pair = tcp_pair(4096);
    struct pattern out = { .seed = 5 }, in = out;
    CHECK_INT(wait_int(coil_poll(pair.a, POLLOUT)), POLLOUT);
    while (pattern_send(&out, pair.a, 4096) > 0)
        continue;
    struct coil_task *writable = begin(coil_poll(pair.a, POLLOUT));
    struct coil_task *readable = begin(coil_poll(pair.a, POLLIN));
    CHECK(!coil_task_done(writable) && !coil_task_done(readable));
    while (in.at < out.at) {
        CHECK_INT(wait_int(coil_poll(pair.b, POLLIN)), POLLIN);
        pattern_recv(&in, pair.b);
    }
    CHECK_INT(task_int(writable), POLLOUT);
    CHECK(!coil_task_done(readable));
    close(pair.b);
    CHECK(task_int(readable) & POLLIN);
    CHECK(wait_int(coil_poll(pair.a, POLLIN | POLLRDHUP)) & POLLRDHUP);
    close(pair.a);
    stage_close();
}

TEST(io_poll_tells_of_a_broken_pipe)
{
    stage_open();
    struct pair pipe = pipe_pair();
    close(pipe.a);
    CHECK(wait_int(coil_poll(pipe.b, 0)) & POLLERR);
    close(pipe.b);
    stage_close();
}

// The same descriptor may be polled again, and by several tasks.
TEST(io_poll_is_cancelled_and_asked_again)
{
    stage_open();
    struct pair pair = unix_pair();
    struct coil_task *a = begin(coil_poll(pair.a, POLLIN));
    struct coil_task *b = begin(coil_poll(pair.a, POLLIN));
    CHECK(coil_task_cancel(a));
    CHECK_INT(task_int(a), -ECANCELED);
    CHECK(!coil_task_done(b));
    a = begin(coil_poll(pair.a, POLLIN));
    CHECK_INT(write(pair.b, "x", 1), 1);
    CHECK_INT(task_int(a), POLLIN);
    CHECK_INT(task_int(b), POLLIN);
    close_pair(pair);
    stage_close();
}

/* ---- close ------------------------------------------------------------ */

TEST(io_close_ends_all_operations_on_the_descriptor)
{
    stage_open();
    struct pair pair = unix_pair(), other = unix_pair();
    static char buf[8], others[8];
    struct coil_task *recv = begin(coil_recv(pair.a, buf, 8));
    struct coil_task *again = begin(coil_recv(pair.a, buf, 8));
    struct coil_task *poll = begin(coil_poll(pair.a, POLLIN));
    struct coil_task *untouched = begin(coil_recv(other.a, others, 8));
    CHECK_INT(wait_int(coil_close(pair.a)), 0);
    CHECK(!is_open(pair.a));
    CHECK_INT(task_int(recv), -ECANCELED);
    CHECK_INT(task_int(again), -ECANCELED);
    CHECK_INT(task_int(poll), -ECANCELED);
    char x;
    CHECK_INT(read(pair.b, &x, 1), 0);
    CHECK(!coil_task_done(untouched));
    CHECK_INT(write(other.b, "x", 1), 1);
    CHECK_INT(task_int(untouched), 1);
    close(pair.b);
    close_pair(other);
    stage_close();
}

// A socket that the kernel still has for an accept would keep its port.
TEST(io_close_waits_for_what_it_has_cancelled)
{
    stage_open();
    struct sockaddr_in addr;
    int fd = tcp_listen(&addr, 4);
    for (int i = 0; i < 100; i++) {
        struct coil_task *accepts[3];
        for (int j = 0; j < 3; j++)
            accepts[j] = begin(coil_accept(fd));
        stage_passes(i % 3);
        CHECK_INT(wait_int(coil_close(fd)), 0);
        CHECK_INT(stage_stats().in_flight, 0);
        for (int j = 0; j < 3; j++)
            CHECK_INT(task_int(accepts[j]), -ECANCELED);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK_INT(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
        CHECK_INT(listen(fd, 4), 0);
    }
    close(fd);
    stage_close();
}

// A descriptor that is being closed is as good as closed.
TEST(io_that_begins_while_its_descriptor_is_closed_fails)
{
    stage_open();
    struct pair pair = unix_pair();
    static char buf[8];
    struct coil_task *recv = begin(coil_recv(pair.a, buf, 8));
    struct coil_task *gone = coil_spawn(coil_close(pair.a));
    struct coil_task *late = coil_spawn(coil_recv(pair.a, buf, 8));
    struct coil_task *again = coil_spawn(coil_close(pair.a));
    CHECK_INT(task_int(late), -EBADF);
    CHECK_INT(task_int(again), -EBADF);
    CHECK_INT(task_int(gone), 0);
    CHECK_INT(task_int(recv), -ECANCELED);
    close(pair.b);
    stage_close();
}

// Asked for in the same pass as the operation: behind it, not in front of it.
TEST(io_close_ends_what_was_begun_in_the_same_pass)
{
    stage_open();
    struct pair pair = unix_pair();
    static char buf[8];
    struct coil_task *recv = coil_spawn(coil_recv(pair.a, buf, 8));
    struct coil_task *gone = coil_spawn(coil_close(pair.a));
    CHECK_INT(task_int(gone), 0);
    CHECK_INT(task_int(recv), -ECANCELED);
    close(pair.b);
    stage_close();
}

TEST(io_close_twice_closes_once)
{
    stage_open();
    struct pair pair = unix_pair();
    struct coil_task *a = coil_spawn(coil_close(pair.a));
    struct coil_task *b = coil_spawn(coil_close(pair.a));
    CHECK_INT(task_int(a), 0);
    CHECK_INT(task_int(b), -EBADF);
    CHECK_INT(wait_int(coil_close(pair.a)), -EBADF);
    close(pair.b);
    stage_close();
}

// It was asked for; a cancel comes too late whenever it comes.
TEST(io_close_cannot_be_cancelled)
{
    stage_open();
    for (int passes = 0; passes < 4; passes++) {
        struct pair pair = unix_pair();
        struct coil_task *t = coil_spawn(coil_close(pair.a));
        stage_passes(passes);
        coil_task_cancel(t);
        int64_t err = task_int(t);
        test_note("after %d passes: %d", passes, (int)err);
        UNTIL(stage_stats().in_flight == 0);
        CHECK(!is_open(pair.a));
        close(pair.b);
    }
    stage_close();
}

// A future that is given up unawaited has still taken the descriptor.
TEST(io_close_that_is_dropped_closes)
{
    stage_open();
    struct pair pair = unix_pair();
    coil_discard(coil_close(pair.a));
    UNTIL(stage_stats().in_flight == 0);
    CHECK(!is_open(pair.a));
    coil_detach_future(coil_close(pair.b));
    UNTIL(stage_stats().in_flight == 0);
    CHECK(!is_open(pair.b));
    stage_close();
}

/* As many receives on `fd` as the loop allows. */
static void take_all_operations(struct coil_task **tasks, int n, int fd)
{
    static char buf[8];
    for (int i = 0; i < n; i++)
        tasks[i] = coil_spawn(coil_recv(fd, buf, 1));
    stage_passes(3);
    CHECK_INT(stage_stats().in_flight, n);
    CHECK_INT(wait_int(coil_recv(fd, buf, 1)), -ENOBUFS);
}

// The bound is for what begins: closing is how room comes back.
TEST(io_close_works_when_no_operation_may_begin)
{
    struct coil_task *tasks[8];
    stage_open_with((struct coil_loop_options){ .operations_limit = 8 });
    struct pair pair = unix_pair();
    take_all_operations(tasks, 8, pair.a);
    CHECK_INT(wait_int(coil_close(pair.a)), 0);
    CHECK(!is_open(pair.a));
    for (int i = 0; i < 8; i++)
        CHECK_INT(task_int(tasks[i]), -ECANCELED);
    CHECK_INT(stage_stats().in_flight, 0);
    close(pair.b);
    stage_close();
}

struct closes_without_memory {
    struct coil_coro coro;
    int fd, next, err;
};

static void closes_without_memory(struct coil_coro *co)
{
    ASYNC(closes_without_memory, my) {
        for (size_t size = 16; size <= 1024; size += 16)
            while (coil_alloc(size))
                ;
        struct coil_future *f = coil_close(my->fd);
        CHECK(coil_future_done(f));
        CHECK(!is_open(my->fd));
        CHECK_INT(dup2(my->next, my->fd), my->fd);
        TRY_AWAIT(my->err, f);
        FAIL(my->err);
    }
}

// Without memory the descriptor is closed at once. What was begun in the same
// pass must not meet the next file of that number.
TEST(io_close_without_memory_keeps_what_was_begun_from_the_next_descriptor)
{
    static char arena[64 * 1024], buf[8];
    stage_open_with((struct coil_loop_options){ .arena = arena,
                                                .arena_bytes = sizeof arena });
    struct pair pair = unix_pair(), next = unix_pair();
    CHECK_INT(write(next.b, "secret", 6), 6);
    struct coil_task *recv = coil_spawn(coil_recv(pair.a, buf, 8));
    struct coil_task *gone = coil_spawn(CALL(closes_without_memory,
                                             .fd = pair.a, .next = next.a));
    CHECK_INT(task_int(gone), -ENOMEM);
    CHECK_INT(task_int(recv), -ECANCELED);
    CHECK_INT(read(pair.a, buf, 8), 6);
    close_pair(pair);
    close_pair(next);
    stage_close();
}

TEST(io_above_operations_max_fails_and_recovers)
{
    struct coil_task *tasks[8];
    stage_open_with((struct coil_loop_options){ .operations_limit = 8 });
    struct pair pair = unix_pair();
    for (int round = 0; round < 3; round++) {
        take_all_operations(tasks, 8, pair.a);
        CHECK_INT(write(pair.b, "12345678", 8), 8);
        for (int i = 0; i < 8; i++)
            CHECK_INT(task_int(tasks[i]), 1);
    }
    close_pair(pair);
    stage_close();
}

/* ---- Buffers and memory ----------------------------------------------- */

struct lends_its_stack {
    struct coil_coro coro;
    int fd, kind;
    struct coil_stream *stream;
    struct coil_sender sender;
};

static void lends_its_stack(struct coil_coro *co)
{
    ASYNC(lends_its_stack, my) {
        char buf[8] = "";
        switch (my->kind) {
        case 0:
            coil_discard(coil_recv(my->fd, buf, 8));
            break;
        case 1:
            coil_discard(coil_send(my->fd, buf, 8));
            break;
        case 2:
            coil_discard(coil_pread(my->fd, buf, 8, 0));
            break;
        default:
            coil_sender_init(&my->sender, my->fd);
            coil_discard(coil_sender_send(&my->sender, buf, 8));
        }
    }
}

// The stack of this step is gone when the kernel writes to it.
DEATH_TEST(io_receive_into_the_stack_aborts, "a buffer on the stack is lent")
{
    stage_open();
    wait_int(CALL(lends_its_stack, .kind = 0));
}

DEATH_TEST(io_send_from_the_stack_aborts, "a buffer on the stack is lent")
{
    stage_open();
    wait_int(CALL(lends_its_stack, .kind = 1));
}

DEATH_TEST(io_read_into_the_stack_aborts,
           "lends_its_stack at .*test_io.c:[0-9]+")
{
    stage_open();
    wait_int(CALL(lends_its_stack, .kind = 2));
}

DEATH_TEST(io_sender_from_the_stack_aborts, "a buffer on the stack is lent")
{
    stage_open();
    wait_int(CALL(lends_its_stack, .kind = 3));
}

// Below the loop the stack stays: main() may lend its own.
TEST(io_buffer_on_the_stack_below_the_loop_is_fine)
{
    stage_open();
    struct pair pair = unix_pair();
    char buf[8];
    CHECK_INT(write(pair.b, "abc", 3), 3);
    CHECK_INT(wait_int(coil_recv(pair.a, buf, 8)), 3);
    close_pair(pair);
    stage_close();
}

// Made is not begun: more than the kernel would take, and it sees none.
TEST(io_that_is_not_awaited_costs_the_kernel_nothing)
{
    enum { N = 70000 };
    static struct coil_future *futures[N];
    static char buf[8];
    stage_open();
    struct pair pair = unix_pair();
    stage_passes(2);
    uint64_t submitted = stage_stats().submitted;
    for (int i = 0; i < N; i++)
        futures[i] = coil_recv(pair.a, buf, 8);
    stage_passes(2);
    CHECK_INT(stage_stats().submitted, submitted);
    CHECK_INT(stage_stats().in_flight, 0);
    for (int i = 0; i < N; i++)
        coil_discard(futures[i]);
    stage_passes(2);
    CHECK_INT(stage_stats().submitted, submitted);
    close_pair(pair);
    stage_close();
}

// In an await tree each says what it is and on which descriptor.
TEST(io_says_what_it_waits_for)
{
    stage_open();
    struct pair pair = unix_pair();
    static char buf[8];
    char said[2048] = "", expected[64];
    struct coil_task *a = begin(coil_recv(pair.a, buf, 8));
    struct coil_task *b = begin(coil_poll(pair.a, POLLIN));
    int fd = memfd_create("dump", MFD_CLOEXEC);
    coil_dump(fd);
    CHECK(pread(fd, said, sizeof said - 1, 0) > 0);
    snprintf(expected, sizeof expected, "recv fd %d", pair.a);
    CHECK(strstr(said, expected));
    snprintf(expected, sizeof expected, "poll fd %d", pair.a);
    CHECK(strstr(said, expected));
    CHECK(strstr(said, "2 operations in flight"));
    CHECK_INT(write(pair.b, "x", 1), 1);
    CHECK_INT(task_int(b), POLLIN);
    CHECK_INT(task_int(a), 1);
    close(fd);
    close_pair(pair);
    stage_close();
}

static int64_t try_int(struct coil_future *f)
{
    struct coil_task *t = coil_spawn(f);
    return task_int(t);
}

static int each_operation_once(void)
{
    static char buf[8];
    struct coil_loop *loop;
    struct pair pair = unix_pair();
    int err = coil_loop_new(&loop, stage_options());
    if (err == 0) {
        stage_loop = loop;
        struct coil_future *calls[] = {
            coil_send(pair.a, "abc", 3), coil_recv(pair.b, buf, 3),
            coil_poll(pair.a, POLLOUT),  coil_write(pair.a, "x", 1),
            coil_read(pair.b, buf, 1),   coil_shutdown(pair.a, SHUT_WR),
        };
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
            int64_t n = err < 0 ? 0 : try_int(calls[i]);
            if (err < 0)
                coil_discard(calls[i]);
            else if (n < 0)
                err = (int)n;
        }
        coil_loop_close(loop);
    }
    close_pair(pair);
    return err;
}

TEST(io_survives_every_failed_allocation)
{
    test_every_allocation(each_operation_once);
}
