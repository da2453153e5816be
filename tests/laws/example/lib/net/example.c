// SPDX-License-Identifier: MIT
/* Laws 1 and 7. socket() in a comment is fine, and so is a function of a table. */
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int example_open(int pid)
{
    table->open(pid);
    if (socket(AF_INET, SOCK_STREAM, 0) < 0)
        return (int)syscall(SYS_pidfd_open, pid, 0);
    return fcntl(pid, F_DUPFD_CLOEXEC, 0);
}

#include <sys/ioctl.h>
#include <sys/random.h>

/* CLOCK_REALTIME in a comment is fine, and so are coil_time() and run_time. */
int example_time(struct timespec *now)
{
    clock_gettime(CLOCK_MONOTONIC, now);
    return clock_gettime(CLOCK_REALTIME, now) + time(NULL);
}
