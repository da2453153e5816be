// SPDX-License-Identifier: MIT
/*
 * Work for the processor: primes counted here, in threads, in child processes.
 *
 *     ./build/samples/17_processes [N]      # below N; a million
 *
 * Prints "serial: 78498 primes", and so on.
 */
#include <coil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct all {
    struct coil_coro coro;
    struct coil_process_pool *pool;
    struct coil_future *parts[16];
    struct range {
        long from, to, primes;
    } ranges[16];
    long n, sum;
    int way, i, err;
};

static struct coil_result count(void *range)
{
    struct range *r = range;
    for (long n = r->from, d = 2; n < r->to; n++, d = 2) {
        while (d * d <= n && n % d != 0)
            d++;
        r->primes += n > 1 && d * d > n;
    }
    return coil_result_int(0);
}

static int64_t in_child(const void *range, size_t n, void *reply, size_t size)
{
    count(memcpy(reply, range, n < size ? n : size));
    return (int64_t)size;
}

static struct coil_future *begin(struct all *my, struct range *r)
{
    *r = (struct range){ my->n * my->i / 16, my->n * (my->i + 1) / 16, 0 };
    if (my->way == 1)
        return coil_to_thread(count, r);
    if (my->way == 2)
        return coil_process_pool_run(my->pool, in_child, r, sizeof *r, r,
                                     sizeof *r);
    count(r);
    return coil_sleep(0);
}

static void all(struct coil_coro *co)
{
    static const char *const ways[] = { "serial", "threads", "processes" };
    ASYNC(all, my) {
        if ((my->err = coil_process_pool_open(&my->pool, NULL)) < 0)
            FAIL(my->err); /* before threads: it forks */
        for (; my->way < 3; my->way++) {
            for (my->i = 0; my->i < 16; my->i++)
                my->parts[my->i] = begin(my, &my->ranges[my->i]);
            AWAIT(coil_gather(my->parts, 16));
            for (my->sum = 0; my->i-- > 0;)
                my->sum += my->ranges[my->i].primes;
            printf("%s: %ld primes\n", ways[my->way], my->sum);
        }

    FINALLY;
        if (my->pool)
            AWAIT(coil_process_pool_close(my->pool));
    }
}

int main(int argc, char **argv)
{
    int err = RUN(all, .n = argc > 1 ? atol(argv[1]) : 1000000);
    return err < 0 ? fprintf(stderr, "%s\n", coil_strerror(err)), 1 : 0;
}
