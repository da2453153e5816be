// SPDX-License-Identifier: MIT
/*
 * test_descriptor.c: descriptors that coil opens are above 2, also in a program
 * that was started without standard descriptors.
 *
 * A case needs its stderr, so such a program is a child process. What it found
 * is its exit status: the line of the check that failed, or 0.
 */
#include "test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <coil.h>

#include "base/descriptor.h"

static int failed_line;

/* As CHECK(), in a process that has no stderr. */
#define MUST(condition) \
    ((condition) || failed_line ? (void)0 : (void)(failed_line = __LINE__))

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static bool low_are_free(void)
{
    return !is_open(0) && !is_open(1) && !is_open(2);
}

/* The exit status of a program that was started with `<&- >&- 2>&-`. */
static int run_without_standard(void (*program)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        for (int fd = 0; fd < 3; fd++)
            close(fd);
        program();
        _exit(failed_line ? 1 + failed_line % 255 : 0);
    }
    int status;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* ---- One by one -------------------------------------------------------- */

/* A descriptor that is close-on-exec, above 2, and alone. */
static void is_fine(int fd)
{
    MUST(fd > 2 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    MUST(low_are_free());
    close(fd);
}

static void each_open(void)
{
    int pair[2];
    is_fine(coili_file_open("/dev/null"));
    is_fine(coili_eventfd_open());
    is_fine(coili_socket_open(AF_INET));
    is_fine(coili_pidfd_open(getpid()));
    MUST(coili_socket_pair_open(pair) == 0);
    MUST(send(pair[0], "x", 1, 0) == 1);
    char c = 0;
    MUST(recv(pair[1], &c, 1, 0) == 1 && c == 'x');
    is_fine(pair[0]);
    is_fine(pair[1]);
    is_fine(coili_fd_above_2(open("/dev/null", O_RDONLY)));
}

TEST(descriptor_is_above_2_however_it_is_opened)
{
    CHECK_INT(run_without_standard(each_open), 0);
}

TEST(descriptor_above_2_is_not_moved)
{
    int fd = coili_file_open("/dev/null");
    CHECK(fd > 2);
    CHECK_INT(coili_fd_above_2(fd), fd);
    CHECK_INT(close(fd), 0);
    CHECK_INT(coili_fd_above_2(-EMFILE), -EMFILE);
    CHECK_INT(coili_file_open("/there/is/no/such"), -ENOENT);
    CHECK_INT(coili_socket_open(4711), -EAFNOSUPPORT);
}

// Three numbers are free, and none of them will do.
static void none_above_2(void)
{
    int pair[2] = { -7, -7 };
    struct rlimit limit = { 3, 3 };
    setrlimit(RLIMIT_NOFILE, &limit);
    MUST(coili_file_open("/dev/null") < 0);
    MUST(coili_eventfd_open() < 0);
    MUST(coili_socket_pair_open(pair) < 0);
    MUST(pair[0] == -7 && pair[1] == -7);
    struct coil_loop *loop;
    MUST(coil_loop_new(&loop, NULL) < 0);
    MUST(low_are_free());
}

TEST(descriptor_that_cannot_be_moved_is_closed)
{
    CHECK_INT(run_without_standard(none_above_2), 0);
}

/* ---- A program --------------------------------------------------------- */

struct client {
    struct coil_coro coro;
    struct coil_addr addr;
    struct coil_stream *stream;
    char bytes[8];
    size_t n;
};

/* Reads until the end: nothing but what the server wrote to its stream. */
static void client(struct coil_coro *co)
{
    ASYNC(client, my) {
        AWAIT_TO(my->stream, coil_stream_connect(&my->addr));
        MUST(coil_stream_fd(my->stream) > 2);
        AWAIT_TO(my->n, coil_stream_read(my->stream, my->bytes, 8));
        MUST(my->n == 1 && my->bytes[0] == '.');

    FINALLY;
        AWAIT(coil_stream_close(my->stream));
    }
}

static int64_t in_child(const void *request, size_t len, void *reply,
                        size_t size)
{
    (void)request;
    (void)len;
    (void)reply;
    (void)size;
    return low_are_free() ? 0 : -EEXIST;
}

static struct coil_result in_thread(void *arg)
{
    (void)arg;
    return coil_result_int(low_are_free());
}

struct program {
    struct coil_coro coro;
    struct coil_listener *listener;
    struct coil_process_pool *pool;
    struct coil_task *client;
    struct coil_stream *peer;
    struct coil_addr addr;
    struct coil_addrs addrs;
    int64_t n;
    int fd, err, i;
    char c;
};

/* Opens all that coil can open, and writes to its stdout in between. */
static void program(struct coil_coro *co)
{
    ASYNC(program, my) {
        TRY_AWAIT(my->err, coil_read(0, &my->c, 1));
        MUST(my->err == -EBADF);

        struct coil_process_pool_options o = COIL_PROCESS_POOL_OPTIONS_INIT;
        o.workers = 1;
        MUST(coil_process_pool_open(&my->pool, &o) == 0);
        AWAIT_TO(my->n,
                 coil_process_pool_run(my->pool, in_child, NULL, 0, NULL, 0));
        MUST(my->n == 0);
        AWAIT_TO(my->n, coil_to_thread(in_thread, NULL));
        MUST(my->n == 1);
        AWAIT(coil_resolve(&my->addrs, "localhost", 1));

        coil_addr_from_ip(&my->addr, "127.0.0.1", 0);
        MUST(coil_listener_open(&my->listener, &my->addr, 8) == 0);
        coil_listener_addr(my->listener, &my->addr);
        for (my->i = 0; my->i < 3; my->i++) {
            my->client = SPAWN(client, .addr = my->addr);
            AWAIT_TO(my->peer, coil_listener_accept(my->listener));
            MUST(coil_stream_fd(my->peer) > 2);
            MUST(write(1, "for stdout", 10) < 0 && errno == EBADF);
            AWAIT(coil_stream_write(my->peer, ".", 1));
            AWAIT(coil_stream_close(my->peer));
            my->peer = NULL;
            AWAIT(my->client);
            MUST(low_are_free());
        }
        AWAIT(coil_listener_close(my->listener));
        my->listener = NULL;

        // One accept at a time, on a socket of the program's own.
        my->fd = coili_socket_open(AF_INET);
        coil_addr_from_ip(&my->addr, "127.0.0.1", 0);
        MUST(bind(my->fd, &my->addr.u.sa, my->addr.len) == 0);
        MUST(listen(my->fd, 8) == 0 && coil_addr_local(&my->addr, my->fd) == 0);
        my->client = SPAWN(client, .addr = my->addr);
        AWAIT_TO(my->i, coil_accept(my->fd));
        MUST(my->i > 2 && low_are_free());
        MUST(send(my->i, ".", 1, 0) == 1);
        AWAIT(coil_close(my->i));
        AWAIT(my->client);
        AWAIT(coil_close(my->fd));

    FINALLY;
        AWAIT(coil_stream_close(my->peer));
        AWAIT(coil_listener_close(my->listener));
        AWAIT(coil_process_pool_close(my->pool));
    }
}

static void whole_program(void)
{
    struct coil_loop *loop;
    MUST(coil_loop_new(&loop, NULL) == 0);
    MUST(coil_loop_fd(loop) > 2);
    struct coil_task *task = SPAWN(program);
    MUST(coil_loop_run_until_complete(loop, task) == 0);
    MUST(coil_future_error(coil_task_future(task)) == 0);
    coil_loop_close(loop);
    MUST(low_are_free());
}

TEST(descriptor_of_each_part_of_a_program_is_above_2)
{
    CHECK_INT(run_without_standard(whole_program), 0);
}
