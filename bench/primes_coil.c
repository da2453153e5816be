// SPDX-License-Identifier: MIT
/*
 * primes_coil.c: the rows of primes_c.c, written as a user of coil does.
 *
 *     primes_coil [--quick]
 */
#include <coil/coroutine.h>
#include <coil/executor.h>
#include <coil/process_pool.h>
#include <coil/task.h>
#include <coil/wait.h>

#include "primes.h"

static void check(int err)
{
    if (err < 0)
        die("failed: %s", coil_strerror(err));
}

struct serial {
    struct coil_coro coro;
    long n;
};

static void serial(struct coil_coro *co)
{
    ASYNC(serial, my) {
        for (; my->n > 0; my->n--)
            found += is_prime(PRIME);
    }
}

static void serial_loop(long n)
{
    check(RUN(serial, .n = n));
}

/* ---- threads ------------------------------------------------------------ */

static struct coil_executor *executor;

static struct coil_result is_prime_job(void *number)
{
    return coil_result_int(is_prime(*(uint64_t *)number));
}

struct threads {
    struct coil_coro coro;
    uint64_t number;
    struct coil_task *jobs[JOBS];
    long n, i;
    bool prime;
};

static void threads(struct coil_coro *co)
{
    ASYNC(threads, my) {
        my->number = PRIME;
        for (my->i = 0; my->i < my->n; my->i++)
            my->jobs[my->i] = coil_spawn(
                coil_run_in_executor(executor, is_prime_job, &my->number));
        AWAIT(coil_gather(my->jobs, my->n));
        for (my->i = 0; my->i < my->n; my->i++) {
            AWAIT_TO(my->prime, my->jobs[my->i]);
            found += my->prime;
        }
    }
}

static void threads_loop(long n)
{
    check(RUN(threads, .n = n));
}

/* ---- processes ---------------------------------------------------------- */

static int64_t is_prime_there(const void *request, size_t len, void *reply,
                              size_t size)
{
    (void)len, (void)size;
    *(bool *)reply = is_prime(*(const uint64_t *)request);
    return sizeof(bool);
}

/* The pool belongs to its loop: one for all repetitions. */
struct processes {
    struct coil_coro coro;
    struct coil_process_pool *pool;
    uint64_t number;
    struct coil_future *calls[JOBS];
    bool prime[JOBS];
    int64_t start;
    double wall[5];
    int i, k;
};

static void processes(struct coil_coro *co)
{
    ASYNC(processes, my) {
        struct coil_process_pool_options two = COIL_PROCESS_POOL_OPTIONS_INIT;
        two.workers = 2;
        check(coil_process_pool_open(&my->pool, &two));
        my->number = PRIME;
        for (my->k = 0; my->k < 5; my->k++) {
            my->start = now_ns();
            for (my->i = 0; my->i < JOBS; my->i++)
                my->calls[my->i] = coil_process_pool_run(
                    my->pool, is_prime_there, &my->number, sizeof my->number,
                    &my->prime[my->i], sizeof(bool));
            AWAIT(coil_gather(my->calls, JOBS));
            my->wall[my->k] = (double)(now_ns() - my->start) / JOBS;
            for (my->i = 0; my->i < JOBS; my->i++)
                if (!my->prime[my->i])
                    die("not all are prime");
        }
        AWAIT(coil_process_pool_close(my->pool));
        qsort(my->wall, 5, sizeof *my->wall, compare_doubles);
        printf("peer=coil row=processes wall_ns=%.0f\n", my->wall[2]);
    }
}

int main(int argc, char **argv)
{
    struct bench b = bench_options(argc, argv);
    struct coil_executor_options two = COIL_EXECUTOR_OPTIONS_INIT;
    b.peer = "coil";
    check(RUN(processes));

    two.threads_limit = 2;
    executor = coil_executor_new(&two);
    if (!executor)
        die("out of memory");
    primes_measure(&b, "serial", serial_loop);
    primes_measure(&b, "threads", threads_loop);
    coil_executor_free(executor);
    return 0;
}
