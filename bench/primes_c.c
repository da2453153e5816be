// SPDX-License-Identifier: MIT
/*
 * primes_c.c: the limit for work that keeps processors busy, by hand in C.
 *
 *     primes_c [--quick]
 *
 * Whether 9,999,999,967 is prime, by trial division: some 0.2 ms in C. Rows, in
 * ns per such job by the wall clock:
 *
 *   serial     one after the other
 *   threads    by two threads
 *   processes  by two processes that are made once: each reads a number from a
 *              socket and writes back what it found
 *
 * Serial is one function call; the distance from half of it to the others is
 * what sharing the work costs.
 */
#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "primes.h"

static void serial(long n)
{
    for (long i = 0; i < n; i++)
        found += is_prime(PRIME);
}

// --- threads ----------------------------------------------------------------

struct share {
    long left, found;
};

static void *work(void *arg)
{
    struct share *share = arg;
    for (; share->left > 0; share->left--)
        share->found += is_prime(PRIME);
    return NULL;
}

static void threads(long n)
{
    struct share shares[2] = { { n / 2, 0 }, { n - n / 2, 0 } };
    pthread_t other;
    if (pthread_create(&other, NULL, work, &shares[0]))
        die("no thread");
    work(&shares[1]);
    pthread_join(other, NULL);
    found += shares[0].found + shares[1].found;
}

// --- processes --------------------------------------------------------------

static int sockets[2];

static void serve(int socket)
{
    uint64_t number;
    while (read(socket, &number, sizeof number) == sizeof number) {
        number = is_prime(number);
        if (write(socket, &number, sizeof number) != sizeof number)
            break;
    }
    _exit(0);
}

static void begin(int *socket)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        die("socketpair: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0)
        die("fork: %s", strerror(errno));
    if (child == 0) {
        close(ends[0]);
        serve(ends[1]);
    }
    close(ends[1]);
    *socket = ends[0];
}

static void processes(long n)
{
    const uint64_t number = PRIME;
    for (long i = 0; i < n; i += 2) {
        for (int k = 0; k < 2; k++)
            if (write(sockets[k], &number, sizeof number) != sizeof number)
                die("write: %s", strerror(errno));
        for (int k = 0; k < 2; k++) {
            uint64_t answer;
            if (read(sockets[k], &answer, sizeof answer) != sizeof answer)
                die("a child has died");
            found += (long)answer;
        }
    }
}

int main(int argc, char **argv)
{
    struct bench b = bench_options(argc, argv);
    b.peer = "c";
    begin(&sockets[0]);
    begin(&sockets[1]);
    primes_measure(&b, "serial", serial);
    primes_measure(&b, "threads", threads);
    primes_measure(&b, "processes", processes);
    close(sockets[0]);
    close(sockets[1]); // and the children end
    while (wait(NULL) > 0)
        continue;
    return 0;
}
