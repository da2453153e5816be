// SPDX-License-Identifier: MIT
/*
 * coil inside a loop that is there already: a program around epoll asks, a
 * coroutine answers. The one sleeps for both.
 *
 *     ./build/samples/15_inside_epoll
 *
 * Prints "program: 1 + 1 = 2" and so on to "program: 4 + 4 = 8".
 */
#include <coil.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct adder {
    struct coil_coro coro;
    int fd, number;
    size_t n;
};

static void adder(struct coil_coro *co)
{
    ASYNC(adder, my) {
        for (;;) {
            AWAIT_TO(my->n, coil_recv(my->fd, &my->number, sizeof(int)));
            if (my->n == 0) /* the program has hung up */
                break;
            AWAIT(coil_sleep(COIL_MS(10))); /* it is a long sum */
            my->number *= 2;
            AWAIT(coil_send(my->fd, &my->number, sizeof(int)));
        }
    }
}

/* What there was before coil: false when it has all its answers. */
static bool ask(int fd, int *asked)
{
    int sum;
    if (*asked > 0 && read(fd, &sum, sizeof sum) == sizeof sum)
        printf("program: %d + %d = %d\n", *asked, *asked, sum);
    ++*asked;
    return *asked <= 4 && write(fd, asked, sizeof *asked) == sizeof *asked;
}

int main(void)
{
    struct coil_loop *loop;
    int pair[2], asked = 0;
    int err = coil_loop_new(&loop, NULL);
    if (err < 0)
        return 1;
    int epoll = epoll_create1(EPOLL_CLOEXEC), coil = coil_loop_fd(loop);
    if (epoll < 0 || coil < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
        return 1;
    struct epoll_event e = { .events = EPOLLIN, .data.fd = coil };
    epoll_ctl(epoll, EPOLL_CTL_ADD, coil, &e);
    e.data.fd = pair[0];
    epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &e);

    struct coil_task *task = SPAWN(adder, .fd = pair[1]);
    bool more = ask(pair[0], &asked);
    while (more) {
        int64_t ns = coil_loop_timeout(loop); /* before each sleep */
        int ms = ns == COIL_NEVER ? -1 : (int)((ns + 999999) / 1000000);
        if (epoll_wait(epoll, &e, 1, ms) > 0 && e.data.fd == pair[0])
            more = ask(pair[0], &asked);
        coil_loop_pass(loop, 0); /* never waits */
    }
    close(pair[0]);
    err = coil_loop_run_until_complete(loop, task); /* it sees the end */
    coil_loop_close(loop);
    close(pair[1]);
    close(epoll);
    return err < 0;
}
