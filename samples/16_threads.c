// SPDX-License-Identifier: MIT
/*
 * Functions that block: ten threads download, and the loop keeps its beat.
 * Prints "arrived: PATH" for each, and the sums of bytes and beats.
 *
 *     ./build/samples/16_threads PORT PATH...     # of a server on this machine
 */
#define _POSIX_C_SOURCE 200809L /* dprintf */
#include <coil.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct coil_channel *arrived;
static int port;

static struct coil_result download(void *path) /* in a thread */
{
    struct sockaddr_in addr = { .sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    char buf[4096];
    ssize_t n = -1, bytes = 0;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&addr, sizeof addr) == 0 &&
        dprintf(fd, "GET %s HTTP/1.0\r\n\r\n", (char *)path) > 0)
        while ((n = read(fd, buf, sizeof buf)) > 0)
            bytes += n;
    n = n < 0 ? -errno : bytes;
    close(fd);
    if (coil_channel_put_blocking(arrived, path, COIL_NEVER) < 0)
        return coil_result_error(COIL_ECLOSED);
    return n < 0 ? coil_result_error((int)n) : coil_result_int(n);
}

struct all {
    struct coil_coro coro;
    char **paths, *path;
    struct coil_executor *executor;
    struct coil_group group;
    struct coil_task *jobs[100];
    int i, n, seen, beats, err, bytes, sum;
};

static void all(struct coil_coro *co)
{
    ASYNC(all, my) {
        struct coil_executor_options ten = COIL_EXECUTOR_OPTIONS_INIT;
        ten.threads_limit = 10;
        my->executor = coil_executor_new(&ten); /* NULL: the default one */
        GROUP(&my->group) { /* a job without a thread ends the loop below */
            for (; my->n < 100 && my->paths[my->n]; my->n++)
                my->jobs[my->n] = coil_spawn(coil_run_in_executor(
                    my->executor, download, my->paths[my->n]));
            for (; my->seen < my->n; my->seen += my->err != -ETIMEDOUT) {
                TRY(my->err) WITHIN(COIL_MS(10)) {
                    AWAIT_TO(my->path, coil_channel_get(arrived));
                    printf("arrived: %s\n", my->path);
                }
                my->beats += my->err == -ETIMEDOUT;
            }
        }
        for (; my->i < my->n; my->i++, my->sum += my->bytes)
            AWAIT_TO(my->bytes, my->jobs[my->i]); /* or its error */
        printf("%d bytes, %d beats meanwhile\n", my->sum, my->beats);

    FINALLY;
        coil_executor_free(my->executor); /* its jobs have ended by now */
    }
}

int main(int argc, char **argv)
{
    port = argc > 2 ? atoi(argv[1]) : 0;
    arrived = coil_channel_new(100, NULL); /* no thread waits for the loop */
    int err = port && arrived ? RUN(all, .paths = argv + 2) : -EINVAL;
    coil_channel_unref(arrived);
    return err < 0 ? fprintf(stderr, "%s\n", coil_strerror(err)), 1 : 0;
}
