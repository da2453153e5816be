// SPDX-License-Identifier: MIT
/*
 * descriptor.c: the descriptors that coil opens, all of them above 2.
 *
 * A program may be started without standard descriptors: `program <&- >&-`.
 * The next file that it opens gets the lowest free number. If that is one of
 * coil's, the program's printf() goes into a client's connection, and its read
 * from stdin waits on the ring for ever. So the library opens descriptors only
 * here (tests/laws/check looks for others), and moves each of them above 2
 * before it is used.
 *
 * The numbers 0 to 2 stay free: the program decides whether to fill them with
 * /dev/null, as OpenSSH does.
 */
#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int coili_fd_above_2(int fd)
{
    if (fd < 0 || fd > 2)
        return fd;
    int above = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int err = errno;
    close(fd);
    return above < 0 ? -err : above;
}

static int opened(int fd)
{
    return fd < 0 ? -errno : coili_fd_above_2(fd);
}

int coili_file_open(const char *path)
{
    return opened(open(path, O_RDONLY | O_CLOEXEC));
}

int coili_file_append(const char *path)
{
    return opened(open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600));
}

int coili_eventfd_open(void)
{
    return opened(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

int coili_socket_open(int family)
{
    return opened(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

/* glibc 2.35 has no pidfd_open(). */
int coili_pidfd_open(pid_t pid)
{
    return opened((int)syscall(SYS_pidfd_open, pid, 0));
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

int coili_socket_pair_open(int fds[2])
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    pair[0] = coili_fd_above_2(pair[0]);
    pair[1] = coili_fd_above_2(pair[1]);
    if (pair[0] < 0 || pair[1] < 0) {
        close_if_open(pair[0]);
        close_if_open(pair[1]);
        return pair[0] < 0 ? pair[0] : pair[1];
    }
    fds[0] = pair[0];
    fds[1] = pair[1];
    return 0;
}

/* By poll(2): recv(2) with MSG_PEEK would take the error of a socket. */
bool coili_fd_is_silent(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN | POLLRDHUP };
    return poll(&p, 1, 0) == 0;
}
