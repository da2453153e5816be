// SPDX-License-Identifier: MIT
// labels: threads
/*
 * test_executor_programs.c: what talks on concurrency do with threads and with
 * processes: download with functions that block, and look for primes.
 */
#include "stage.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <coil.h>

/* ---- A pool of ten threads downloads ------------------------------------ */

#define PAGES 40
#define THREADS 10

struct page {
    struct coil_channel *arrived;
    uint16_t port;
    int number;
    char text[64];
};

static atomic_int blocked, most_blocked;

/* Blocks, as a library would that knows nothing of loops. */
static struct coil_result download(void *arg)
{
    struct page *page = arg;
    int now = atomic_fetch_add(&blocked, 1) + 1, most = most_blocked;
    while (now > most &&
           !atomic_compare_exchange_weak(&most_blocked, &most, now))
        ;
    struct sockaddr_in addr = { .sin_family = AF_INET,
                                .sin_port = htons(page->port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    CHECK(dprintf(fd, "GET /%d\n", page->number) > 0);
    size_t len = 0;
    ssize_t n;
    while ((n = read(fd, page->text + len, sizeof page->text - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    atomic_fetch_sub(&blocked, 1);
    CHECK_INT(coil_channel_put_blocking(page->arrived, page, COIL_NEVER), 0);
    return coil_result_int((int64_t)len);
}

struct site {
    int waiting;
    bool open;
    struct coil_event full;
};

struct visit {
    struct coil_coro coro;
    struct coil_stream *peer;
    struct site *site;
    char line[64];
    size_t n;
};

/* Answers nobody before ten are there: no other pool can be enough. */
static void visit(struct coil_coro *co)
{
    ASYNC(visit, my) {
        char *data;
        AWAIT(coil_stream_fill(my->peer, 7));
        my->n = coil_stream_peek(my->peer, &data);
        memcpy(my->line, data, my->n < 63 ? my->n : 63);
        if (++my->site->waiting == THREADS)
            coil_event_set(&my->site->full);
        AWAIT(coil_event_wait(&my->site->full));
        AWAIT(coil_stream_write(my->peer, my->line, strlen(my->line)));

    FINALLY;
        AWAIT(coil_stream_close(my->peer));
    }
}

struct serve {
    struct coil_coro coro;
    struct coil_listener *listener;
    struct coil_stream *peer;
    struct site *site;
};

static void serve(struct coil_coro *co)
{
    ASYNC(serve, my) {
        for (;;) {
            AWAIT_TO(my->peer, coil_listener_accept(my->listener));
            CHECK_INT(START(visit, .peer = my->peer, .site = my->site), 0);
        }
    }
}

struct ticker {
    struct coil_coro coro;
    int *ticks;
};

static void ticker(struct coil_coro *co)
{
    ASYNC(ticker, my) {
        for (;; ++*my->ticks)
            AWAIT(coil_sleep(0));
    }
}

struct crawl {
    struct coil_coro coro;
    struct coil_listener *listener;
    struct coil_executor *executor;
    struct coil_channel *arrived;
    struct coil_task *jobs[PAGES];
    struct page *pages, *page;
    struct site site;
    uint16_t port;
    int i, ticks, before, seen[PAGES];
    int64_t len;
};

static void crawl(struct coil_coro *co)
{
    ASYNC(crawl, my) {
        struct coil_executor_options o = COIL_EXECUTOR_OPTIONS_INIT;
        o.threads_limit = THREADS;
        my->executor = coil_executor_new(&o);
        my->arrived = coil_channel_new(PAGES, NULL);
        my->pages = calloc(PAGES, sizeof *my->pages);
        CHECK(my->executor && my->arrived && my->pages);
        coil_event_init(&my->site.full);
        struct coil_addr any;
        CHECK_INT(coil_addr_from_ip(&any, "127.0.0.1", 0), 0);
        CHECK_INT(coil_listener_open(&my->listener, &any, 16), 0);
        coil_listener_addr(my->listener, &any);
        my->port = coil_addr_port(&any);
        START(serve, .listener = my->listener, .site = &my->site);
        START(ticker, .ticks = &my->ticks);
        for (my->i = 0; my->i < PAGES; my->i++) {
            my->pages[my->i] = (struct page){
                .arrived = my->arrived, .number = my->i,
                .port = my->port };
            my->jobs[my->i] = coil_spawn(coil_run_in_executor(
                my->executor, download, &my->pages[my->i]));
        }
        /* All ten threads hang in read(), and the loop goes on. */
        AWAIT(coil_event_wait(&my->site.full));
        my->before = my->ticks;
        for (my->i = 0; my->i < 100; my->i++)
            AWAIT(coil_sleep(0));
        CHECK(my->ticks >= my->before + 99);

        for (my->i = 0; my->i < PAGES; my->i++) {
            AWAIT_TO(my->page, coil_channel_get(my->arrived));
            char expected[64];
            snprintf(expected, sizeof expected, "GET /%d\n", my->page->number);
            CHECK_STR(my->page->text, expected);
            my->seen[my->page->number]++;
        }
        for (my->i = 0; my->i < PAGES; my->i++) {
            CHECK_INT(my->seen[my->i], 1);
            AWAIT_TO(my->len, my->jobs[my->i]);
        }

    FINALLY;
        AWAIT(coil_executor_shutdown(my->executor));
        coil_executor_free(my->executor);
        coil_channel_unref(my->arrived);
        AWAIT(coil_listener_close(my->listener));
        free(my->pages);
    }
}

TEST(programs_ten_threads_download_and_the_loop_keeps_its_beat)
{
    CHECK_INT(RUN(crawl), 0);
    CHECK_INT(most_blocked, THREADS);
}

/* ---- Primes: serial, threads, processes --------------------------------- */

#define PARTS 12
#define BELOW 20000

struct range {
    int from, to, primes;
};

static struct coil_result count(void *arg)
{
    struct range *r = arg;
    r->primes = 0;
    for (int n = r->from; n < r->to; n++) {
        int d = 2;
        while (d * d <= n && n % d)
            d++;
        r->primes += n > 1 && d * d > n;
    }
    return coil_result_int(r->primes);
}

static int64_t count_in_child(const void *request, size_t len, void *reply,
                              size_t size)
{
    struct range r;
    if (len != sizeof r || size != sizeof r)
        return -EINVAL;
    memcpy(&r, request, sizeof r);
    count(&r);
    memcpy(reply, &r, sizeof r);
    return sizeof r;
}

enum way { SERIAL, IN_THREADS, IN_PROCESSES, WAYS };

struct part {
    struct coil_coro coro;
    struct coil_process_pool *pool;
    struct coil_queue *results;
    enum way way;
    struct range range;
};

static void part(struct coil_coro *co)
{
    ASYNC(part, my) {
        if (my->way == SERIAL)
            count(&my->range);
        else if (my->way == IN_THREADS)
            AWAIT(coil_to_thread(count, &my->range));
        else
            AWAIT(coil_process_pool_run(my->pool, count_in_child, &my->range,
                                        sizeof my->range, &my->range,
                                        sizeof my->range));
        AWAIT(coil_queue_put(my->results, (void *)(intptr_t)my->range.primes));
    }
}

struct primes {
    struct coil_coro coro;
    struct coil_process_pool *pool;
    struct coil_queue results;
    int way, i, sums[WAYS];
    void *found;
};

static void primes(struct coil_coro *co)
{
    ASYNC(primes, my) {
        coil_queue_init(&my->results, 4);
        CHECK_INT(coil_process_pool_open(&my->pool, NULL), 0);
        for (; my->way < WAYS; my->way++) {
            for (my->i = 0; my->i < PARTS; my->i++)
                CHECK_INT(START(part, .pool = my->pool,
                                .results = &my->results,
                                .way = (enum way)my->way,
                                .range = { .from = BELOW / PARTS * my->i,
                                           .to = my->i == PARTS - 1
                                               ? BELOW
                                               : BELOW / PARTS * (my->i + 1) }),
                          0);
            for (; my->i > 0; my->i--) {
                AWAIT_TO(my->found, coil_queue_get(&my->results));
                my->sums[my->way] += (int)(intptr_t)my->found;
            }
        }
        for (my->way = 0; my->way < WAYS; my->way++)
            CHECK_INT(my->sums[my->way], 2262);

    FINALLY;
        AWAIT(coil_process_pool_close(my->pool));
        coil_queue_fini(&my->results);
    }
}

TEST(programs_primes_serial_in_threads_and_in_processes)
{
    CHECK_INT(RUN(primes), 0);
}

static int64_t dies(const void *request, size_t len, void *reply, size_t size)
{
    (void)request;
    (void)len;
    (void)reply;
    (void)size;
    abort();
}

struct fatal {
    struct coil_coro coro;
    struct coil_process_pool *pool;
    int err;
};

static void fatal(struct coil_coro *co)
{
    ASYNC(fatal, my) {
        CHECK_INT(coil_process_pool_open(&my->pool, NULL), 0);
        TRY_AWAIT(my->err, coil_process_pool_run(my->pool, dies, NULL, 0, NULL,
                                                 0));
        CHECK_INT(my->err, COIL_EBROKEN);

    FINALLY;
        AWAIT(coil_process_pool_close(my->pool));
    }
}

TEST(programs_a_childs_death_is_an_error_and_no_hang)
{
    CHECK_INT(RUN(fatal), 0);
}
