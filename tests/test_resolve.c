// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_resolve.c: names, in threads that may hang for as long as they like.
 *
 * getaddrinfo() and freeaddrinfo() are this file's own: they count, block and
 * fail as a test says, or ask the real ones.
 */
#include "peer.h"

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include <coil/error.h>

/* ---- The names there are ---------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int calls, inside, inside_most; /* guarded by it, as all that follows */
    int answers;   /* how many may come back now; -1: any number */
    int fail_with; /* EAI_*, 0: an address */
    int addresses; /* so many of them */
    bool real;
    bool signals_blocked;
    char asked[64][256]; /* the hosts, in order */
} names = { .lock = PTHREAD_MUTEX_INITIALIZER,
            .changed = PTHREAD_COND_INITIALIZER,
            .answers = -1,
            .addresses = 1 };

struct made {
    struct addrinfo info;
    struct sockaddr_in addr;
};

int getaddrinfo(const char *host, const char *port,
                const struct addrinfo *hints, struct addrinfo **out)
{
    typedef int real_fn(const char *, const char *, const struct addrinfo *,
                        struct addrinfo **);
    union {
        void *object;
        real_fn *function;
    } real = { .object = dlsym(RTLD_NEXT, "getaddrinfo") };

    pthread_mutex_lock(&names.lock);
    snprintf(names.asked[names.calls++ % 64], 256, "%s", host);
    if (++names.inside > names.inside_most)
        names.inside_most = names.inside;
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    names.signals_blocked = sigismember(&set, SIGINT) &&
                            sigismember(&set, SIGCHLD);
    pthread_cond_broadcast(&names.changed);
    while (names.answers == 0)
        pthread_cond_wait(&names.changed, &names.lock);
    if (names.answers > 0)
        names.answers--;
    int err = names.fail_with, n = names.addresses;
    bool ask = names.real;
    names.inside--;
    pthread_cond_broadcast(&names.changed);
    pthread_mutex_unlock(&names.lock);

    if (ask)
        return real.function(host, port, hints, out);
    if (err)
        return err;
    *out = NULL;
    struct addrinfo **end = out;
    for (int i = 0; i < n; i++) {
        struct made *m = calloc(1, sizeof *m);
        if (!m)
            return EAI_MEMORY;
        m->addr.sin_family = AF_INET;
        m->addr.sin_port = htons((uint16_t)atoi(port));
        m->addr.sin_addr.s_addr = htonl(0x0a000000u + (unsigned)i + 1);
        m->info.ai_addr = (struct sockaddr *)&m->addr;
        m->info.ai_addrlen = sizeof m->addr;
        *end = &m->info;
        end = &m->info.ai_next;
    }
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    union {
        void *object;
        void (*function)(struct addrinfo *);
    } real = { .object = dlsym(RTLD_NEXT, "freeaddrinfo") };
    if (names.real) {
        real.function(list);
        return;
    }
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

static int locked(int *number)
{
    pthread_mutex_lock(&names.lock);
    int value = *number;
    pthread_mutex_unlock(&names.lock);
    return value;
}

static void set_locked(int *number, int value)
{
    pthread_mutex_lock(&names.lock);
    *number = value;
    pthread_cond_broadcast(&names.changed);
    pthread_mutex_unlock(&names.lock);
}

static void let_answer(int n)
{
    set_locked(&names.answers, n);
}

static void wait_inside(int n)
{
    UNTIL(locked(&names.inside) >= n);
}

/* ---- Asking ----------------------------------------------------------- */

static struct coil_addrs answer[100];

static struct coil_task *ask(int i, const char *host)
{
    return coil_spawn(coil_resolve(&answer[i], host, 80));
}

static int asked(const char *host)
{
    return (int)task_int(ask(0, host));
}

static const char *first_text(int i)
{
    static char buf[COIL_ADDR_TEXT_MAX];
    CHECK(answer[i].n > 0);
    return coil_addr_text(&answer[i].list[0], buf, sizeof buf);
}

// No name, no thread.
TEST(resolve_numeric_addresses_asks_nobody)
{
    stage_open();
    CHECK_INT(asked("192.0.2.7"), 0);
    CHECK_INT(answer[0].n, 1);
    CHECK_STR(first_text(0), "192.0.2.7:80");
    CHECK_INT(asked("::1"), 0);
    CHECK_STR(first_text(0), "[::1]:80");
    CHECK_INT(locked(&names.calls), 0);
    stage_close();
}

TEST(resolve_asks_the_system_for_localhost)
{
    names.real = true;
    stage_open();
    CHECK_INT(asked("localhost"), 0);
    CHECK(answer[0].n >= 1);
    bool loopback = false;
    for (size_t i = 0; i < answer[0].n; i++) {
        char buf[COIL_ADDR_TEXT_MAX];
        coil_addr_text(&answer[0].list[i], buf, sizeof buf);
        loopback |= strcmp(buf, "127.0.0.1:80") == 0 ||
                    strcmp(buf, "[::1]:80") == 0;
    }
    CHECK(loopback);
    stage_close();
}

// No such name for ever: RFC 2606.
TEST(resolve_of_an_unknown_name_fails_with_a_reason)
{
    setenv("RES_OPTIONS", "timeout:1 attempts:1", 1);
    test_heap_ignore(); /* of setenv() */
    test_timeout(60);
    names.real = true;
    stage_open();
    memset(&answer[0], 0x55, sizeof answer[0]);
    struct coil_task *t = ask(0, "no-such-host.invalid");
    CHECK_INT(stage_run(t), COIL_ERESOLVE);
    uint32_t detail = coil_future_detail(coil_task_future(t));
    CHECK_INT(COIL_DETAIL_PHASE(detail), COIL_PHASE_RESOLVE);
    int code = COIL_DETAIL_CODE(detail);
    CHECK(code == EAI_NONAME || code == EAI_AGAIN || code == EAI_FAIL);
    CHECK_INT(answer[0].n, (size_t)0x5555555555555555);
    char line[128];
    CHECK(strstr(coil_explain(COIL_ERESOLVE, detail, line, sizeof line),
                 gai_strerror(code)));
    stage_close();
}

TEST(resolve_gives_the_codes_of_getaddrinfo)
{
    static const int codes[] = { EAI_NONAME, EAI_AGAIN, EAI_FAIL, EAI_SYSTEM };
    stage_open();
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        set_locked(&names.fail_with, codes[i]);
        struct coil_task *t = ask(0, "host");
        CHECK_INT(stage_run(t), COIL_ERESOLVE);
        CHECK_INT(stage_reason(t), codes[i]);
        coil_task_drop(&t);
    }
    CHECK_INT(locked(&names.calls), 4); /* errors are not kept */
    set_locked(&names.fail_with, EAI_MEMORY);
    CHECK_INT(asked("host"), -ENOMEM);
    set_locked(&names.fail_with, 0);
    CHECK_INT(asked("host"), 0);
    stage_close();
}

TEST(resolve_gives_at_most_so_many_addresses_in_order)
{
    names.addresses = 20;
    stage_open();
    CHECK_INT(asked("host"), 0);
    CHECK_INT(answer[0].n, COIL_RESOLVE_MAX);
    for (unsigned i = 0; i < COIL_RESOLVE_MAX; i++)
        CHECK_INT(ntohl(answer[0].list[i].u.in.sin_addr.s_addr),
                  0x0a000001 + i);
    stage_close();
}

TEST(resolve_of_a_name_too_long_or_empty_fails)
{
    char host[257];
    memset(host, 'a', sizeof host);
    host[256] = '\0';
    stage_open();
    struct coil_task *t = ask(0, host);
    CHECK_INT(stage_run(t), COIL_ERESOLVE);
    CHECK_INT(stage_reason(t), EAI_NONAME);
    t = ask(0, "");
    CHECK_INT(stage_run(t), COIL_ERESOLVE);
    CHECK_INT(stage_reason(t), EAI_NONAME);
    CHECK_INT(locked(&names.calls), 0);
    host[255] = '\0';
    CHECK_INT(asked(host), 0);
    CHECK_STR(names.asked[0], host);
    stage_close();
}

/* ---- One lookup for all ----------------------------------------------- */

// The name is copied: the caller's memory may be gone.
TEST(resolve_asks_once_for_all_who_wait)
{
    struct coil_task *tasks[100];
    stage_open();
    let_answer(0);
    for (int i = 0; i < 100; i++) {
        char host[] = "host";
        tasks[i] = ask(i, host);
        memset(host, 'x', 4);
    }
    wait_inside(1);
    stage_passes(3);
    for (int i = 0; i < 100; i++)
        CHECK(!coil_task_done(tasks[i]));
    let_answer(-1);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(task_int(tasks[i]), 0);
        CHECK_STR(first_text(i), "10.0.0.1:80");
    }
    CHECK_INT(locked(&names.calls), 1);
    stage_close();
}

TEST(resolve_keeps_answers_for_a_while)
{
    stage_open();
    for (int i = 0; i < 3; i++) {
        CHECK_INT(asked("host"), 0);
        CHECK_STR(first_text(0), "10.0.0.1:80");
    }
    CHECK_INT(locked(&names.calls), 1);
    CHECK_INT(wait_int(coil_resolve(&answer[1], "host", 8080)), 0);
    CHECK_STR(first_text(1), "10.0.0.1:8080");
    CHECK_INT(asked("other"), 0);
    CHECK_INT(locked(&names.calls), 3);
    stage_close();
    stage_open(); /* another loop knows nothing */
    CHECK_INT(asked("host"), 0);
    CHECK_INT(locked(&names.calls), 4);
    stage_close();
}

// Bounded: the ones asked for longest ago make room.
TEST(resolve_does_not_keep_all_names_there_are)
{
    char host[16];
    stage_open();
    for (int i = 0; i < 200; i++) {
        snprintf(host, sizeof host, "host%d", i);
        CHECK_INT(asked(host), 0);
    }
    CHECK_INT(locked(&names.calls), 200);
    CHECK_INT(asked("host199"), 0);
    CHECK_INT(locked(&names.calls), 200);
    CHECK_INT(asked("host0"), 0);
    CHECK_INT(locked(&names.calls), 201);
    stage_close();
}

// It began the lookup, and leaves: the others get their answer.
TEST(resolve_goes_on_when_the_first_to_ask_is_cancelled)
{
    stage_open();
    let_answer(0);
    struct coil_task *first = ask(0, "host"), *second = ask(1, "host");
    wait_inside(1);
    answer[0].n = 77;
    CHECK(coil_task_cancel(first));
    CHECK_INT(task_int(first), -ECANCELED);
    CHECK(!coil_task_done(second));
    let_answer(-1);
    CHECK_INT(task_int(second), 0);
    CHECK_STR(first_text(1), "10.0.0.1:80");
    CHECK_INT(answer[0].n, 77);
    CHECK_INT(locked(&names.calls), 1);
    stage_close();
}

// Nobody waits any more: the answer is kept for who asks next.
TEST(resolve_keeps_an_answer_that_nobody_waited_for)
{
    stage_open();
    let_answer(0);
    struct coil_task *t = ask(0, "host");
    wait_inside(1);
    CHECK(coil_task_cancel(t));
    CHECK_INT(task_int(t), -ECANCELED);
    t = ask(0, "host");
    stage_passes(2);
    let_answer(-1);
    CHECK_INT(task_int(t), 0);
    CHECK_INT(locked(&names.calls), 1);
    stage_close();
}

TEST(resolve_cancelled_at_every_pass)
{
    for (int passes = 0; passes < 6; passes++) {
        stage_open();
        struct coil_task *t = ask(0, "host");
        stage_passes(passes);
        coil_task_cancel(t);
        int64_t err = task_int(t);
        CHECK(err == 0 || err == -ECANCELED);
        CHECK_INT(asked("host"), 0);
        stage_close();
    }
}

/* ---- Threads ---------------------------------------------------------- */

// The rest stands in line, in order.
TEST(resolve_asks_for_four_names_at_a_time)
{
    enum { N = 30 };
    struct coil_task *tasks[N];
    char host[16];
    stage_open();
    let_answer(0);
    for (int i = 0; i < N; i++) {
        snprintf(host, sizeof host, "host%d", i);
        tasks[i] = ask(i, host);
    }
    wait_inside(4);
    stage_passes(10);
    CHECK_INT(locked(&names.inside), 4);
    CHECK(coil_task_cancel(tasks[10])); /* it goes on in line */
    CHECK_INT(task_int(tasks[10]), -ECANCELED);
    for (int i = 4; i < N; i++) {
        let_answer(1);
        UNTIL(locked(&names.calls) == i + 1);
    }
    let_answer(-1);
    for (int i = 0; i < N; i++)
        if (i != 10)
            CHECK_INT(task_int(tasks[i]), 0);
    CHECK_INT(names.inside_most, 4);
    CHECK_INT(names.calls, N);
    for (int i = 4; i < N; i++) {
        snprintf(host, sizeof host, "host%d", i);
        CHECK_STR(names.asked[i], host);
    }
    stage_close();
}

// A handler of the program's does not run in a thread it knows nothing of.
TEST(resolve_threads_take_no_signals)
{
    stage_open();
    CHECK_INT(asked("host"), 0);
    CHECK(names.signals_blocked);
    sigset_t set;
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    CHECK(!sigismember(&set, SIGINT)); /* ours does as before */
    stage_close();
}

/* A thread that was left alone frees what it has as its last act. */
static void wait_until_all_is_freed(size_t blocks)
{
    while (test_heap_blocks() > blocks)
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

// It hangs for minutes if a name server is gone: nobody waits for it, and it
// clears up after itself. The harness counts blocks and threads.
TEST(resolve_that_hangs_does_not_hold_the_loop_up)
{
    stage_open();
    let_answer(0);
    for (int i = 0; i < 10; i++) {
        char host[16];
        snprintf(host, sizeof host, "host%d", i);
        ask(i, host);
    }
    wait_inside(4);
    stage_close();
    let_answer(-1);
    wait_until_all_is_freed(0);
    CHECK_INT(names.calls, 4);
}

// Whoever comes first, the closing loop or the answer, frees the job.
TEST(resolve_that_answers_as_the_loop_closes)
{
    for (int i = 0; i < (test_is_slow() ? 50 : 300); i++) {
        stage_open();
        let_answer(0);
        ask(0, "host");
        ask(1, "other");
        if (i % 4 == 3)
            wait_inside(2);
        stage_passes(i % 4);
        let_answer(-1);
        for (int j = 0; j < i % 7; j++)
            sched_yield();
        stage_close();
    }
    wait_until_all_is_freed(0);
}

// Names, cancels and answers in any order, by a seed.
TEST(resolve_survives_a_storm_of_cancels)
{
    enum { N = 100 };
    uint64_t seed = 11;
    stage_open();
    for (int round = 0; round < (test_is_slow() ? 3 : 20); round++) {
        struct coil_task *tasks[N];
        bool cancelled[N] = { false };
        let_answer(0);
        for (int i = 0; i < N; i++) {
            char host[16];
            snprintf(host, sizeof host, "%d-%u", round, draw(&seed, 20));
            tasks[i] = ask(i, host);
        }
        for (int i = 0; i < 60; i++) {
            unsigned victim = draw(&seed, N);
            cancelled[victim] |= coil_task_cancel(tasks[victim]);
            let_answer((int)draw(&seed, 2));
            stage_passes((int)draw(&seed, 3));
        }
        let_answer(-1);
        for (int i = 0; i < N; i++) {
            int64_t err = task_int(tasks[i]);
            CHECK(err == 0 || (cancelled[i] && err == -ECANCELED));
            if (err == 0)
                CHECK_STR(first_text(i), "10.0.0.1:80");
        }
    }
    stage_close();
}

/* ---- Misuse, and no memory -------------------------------------------- */

struct lends_its_stack {
    struct coil_coro coro;
};

static void lends_its_stack(struct coil_coro *co)
{
    ASYNC(lends_its_stack, my) {
        struct coil_addrs out;
        coil_drop(coil_resolve(&out, "host", 1));
    }
}

DEATH_TEST(resolve_into_the_stack_aborts, "a buffer on the stack is lent")
{
    stage_open();
    wait_int(CALL(lends_its_stack));
}

static int resolve_once(void)
{
    struct coil_loop *loop;
    size_t blocks = test_heap_blocks();
    int err = coil_loop_new(&loop, stage_options());
    if (err < 0)
        return err;
    stage_loop = loop;
    err = asked("host");
    coil_loop_close(loop);
    wait_until_all_is_freed(blocks);
    return err;
}

TEST(resolve_survives_every_failed_allocation)
{
    test_every_allocation(resolve_once);
}
