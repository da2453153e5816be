// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_resolve.c: names, in threads that may hang for as long as they like.
 *
 * getaddrinfo() and freeaddrinfo() are this file's own: they count, block and
 * fail as a test says, or ask the real ones. Calls of pthread_create() pass
 * through here too (--wrap, see CMakeLists.txt) and fail as a test says.
 */
#include "peer.h"

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include <coil/error.h>
#include <coil/resolve.h>

/* ---- The names there are ---------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int calls, inside, inside_most; /* guarded by it, as all that follows */
    int answers;   /* how many may come back now; -1: any number */
    int fail_with; /* EAI_*, 0: an address */
    int fail_errno;
    int addresses; /* so many of them */
    int delay_ms;  /* before it answers */
    bool real;
    bool only_on_loopback; /* their family is configured on lo alone */
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
    int err = names.fail_with, n = names.addresses, number = names.fail_errno;
    if (names.only_on_loopback && hints->ai_flags & AI_ADDRCONFIG)
        err = EAI_AGAIN;
    bool ask = names.real;
    int delay_ms = names.delay_ms;
    names.inside--;
    pthread_cond_broadcast(&names.changed);
    pthread_mutex_unlock(&names.lock);

    nanosleep(&(struct timespec){ .tv_nsec = delay_ms * 1000000 }, NULL);
    if (ask)
        return real.function(host, port, hints, out);
    errno = number;
    if (err)
        return err;
    *out = NULL;
    struct addrinfo **end = out;
    for (int i = 0; i < n; i++) {
        struct made *m = calloc(1, sizeof *m);
        if (!m)
            return EAI_MEMORY;
        m->addr.sin_family = AF_INET;
        m->addr.sin_addr.s_addr = htonl(0x0a000000u + (unsigned)i + 1);
        m->info.ai_family = AF_INET;
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

/* The next so many threads cannot be had, for this reason. */
static struct {
    int times, err;
    int asked; /* pthread_create() was called so often */
} threads;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*start)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*start)(void *), void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*start)(void *), void *arg)
{
    threads.asked++;
    if (threads.times > 0) {
        threads.times--;
        return threads.err;
    }
    return __real_pthread_create(thread, attr, start, arg);
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
    static char buf[COIL_ADDR_TEXT_BYTES_MAX];
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

// Files and servers may say otherwise or nothing (RFC 6761 6.3).
TEST(resolve_localhost_is_this_machine_and_asks_nobody)
{
    static const char *const hosts[] = { "localhost", "localhost.",
                                         "LocalHost", "x.localhost",
                                         "a.b.localhost." };
    stage_open();
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        memset(&answer[0], 0, sizeof answer[0]);
        CHECK_INT(asked(hosts[i]), 0);
        CHECK_INT(answer[0].n, 2);
        CHECK_STR(first_text(0), "127.0.0.1:80");
        char buf[COIL_ADDR_TEXT_BYTES_MAX];
        CHECK_STR(coil_addr_text(&answer[0].list[1], buf, sizeof buf),
                  "[::1]:80");
    }
    CHECK_INT(locked(&names.calls), 0);
    static const char *const others[] = { "localhost.example", "xlocalhost",
                                          "localhost..", "." };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        CHECK_INT(asked(others[i]), 0);
        CHECK_STR(first_text(0), "10.0.0.1:80");
    }
    CHECK_INT(locked(&names.calls), 4);
    stage_close();
}

// ip6-localhost is ::1, also on a machine that has IPv6 on its loopback only.
TEST(resolve_finds_a_name_whose_family_the_machine_has_on_its_loopback_only)
{
    stage_open();
    names.only_on_loopback = true;
    CHECK_INT(asked("ip6-localhost"), 0);
    CHECK_INT(answer[0].n, 1);
    stage_close();
}

// Not an address as RFC 3986 has it, but the C library knows it offline.
TEST(resolve_asks_the_system)
{
    names.real = true;
    stage_open();
    CHECK_INT(asked("127.1"), 0);
    CHECK_INT(answer[0].n, 1);
    CHECK_STR(first_text(0), "127.0.0.1:80");
    CHECK_INT(locked(&names.calls), 1);
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

// "System error" says nothing: errno is what the user has to know.
TEST(resolve_gives_the_errno_of_a_system_error)
{
    char line[128];
    stage_open();
    names.fail_with = EAI_SYSTEM;
    names.fail_errno = EMFILE;
    struct coil_task *t = ask(0, "host");
    CHECK_INT(stage_run(t), -EMFILE);
    CHECK_STR(coil_explain(-EMFILE, coil_future_detail(coil_task_future(t)),
                           line, sizeof line),
              "resolve: Too many open files");
    set_locked(&names.fail_with, EAI_AGAIN); /* its errno has no meaning */
    set_locked(&names.fail_errno, ECONNREFUSED);
    t = ask(0, "host");
    CHECK_INT(stage_run(t), COIL_ERESOLVE);
    CHECK_INT(stage_reason(t), EAI_AGAIN);
    stage_close();
}

// glibc without a descriptor for /etc/hosts says that there is no such name.
// The HTTP client waits for a descriptor only if it is told of a shortage.
TEST(resolve_without_descriptors_says_so)
{
    static const int codes[] = { EAI_NONAME, EAI_AGAIN, EAI_FAIL };
    stage_open();
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        set_locked(&names.fail_with, codes[i]);
        set_locked(&names.fail_errno, EMFILE);
        CHECK_INT(asked("host"), -EMFILE);
        set_locked(&names.fail_errno, ENFILE);
        CHECK_INT(asked("host"), -ENFILE);
    }
    stage_close();
}

// Success means that there is an address to be tried.
TEST(resolve_without_any_address_fails)
{
    stage_open();
    names.addresses = 0;
    answer[0].n = 77;
    struct coil_task *t = ask(0, "host");
    CHECK_INT(stage_run(t), COIL_ERESOLVE);
    CHECK_INT(stage_reason(t), EAI_NONAME);
    CHECK_INT(answer[0].n, 77);
    set_locked(&names.addresses, 1);
    CHECK_INT(asked("host"), 0);
    stage_close();
}

TEST(resolve_gives_at_most_so_many_addresses_in_order)
{
    names.addresses = 20;
    stage_open();
    CHECK_INT(asked("host"), 0);
    CHECK_INT(answer[0].n, COIL_RESOLVE_LIMIT);
    for (unsigned i = 0; i < COIL_RESOLVE_LIMIT; i++)
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
    CHECK_INT(asked("other"), 0);
    CHECK_INT(locked(&names.calls), 2);
    stage_close();
    stage_open(); /* another loop knows nothing */
    CHECK_INT(asked("host"), 0);
    CHECK_INT(locked(&names.calls), 3);
    stage_close();
}

// A host has its addresses on all ports.
TEST(resolve_asks_once_for_all_ports)
{
    stage_open();
    let_answer(0);
    struct coil_task *a = ask(0, "host");
    struct coil_task *b = coil_spawn(coil_resolve(&answer[1], "host", 8080));
    wait_inside(1);
    stage_passes(3);
    let_answer(-1);
    CHECK_INT(task_int(a), 0);
    CHECK_INT(task_int(b), 0);
    CHECK_STR(first_text(0), "10.0.0.1:80");
    CHECK_STR(first_text(1), "10.0.0.1:8080");
    CHECK_INT(wait_int(coil_resolve(&answer[1], "host", 443)), 0);
    CHECK_STR(first_text(1), "10.0.0.1:443");
    CHECK_INT(locked(&names.calls), 1);
    stage_close();
}

/* Ask twice, some nanoseconds apart: so often was the system asked. */
static int calls_with_keep_ns(int64_t keep_ns)
{
    int before = locked(&names.calls);
    stage_open_with((struct coil_loop_options){ .resolver_keep_ns = keep_ns });
    CHECK_INT(asked("host"), 0);
    int64_t then = coil_now();
    while (coil_now() < then + 2)
        ;
    CHECK_INT(asked("host"), 0);
    stage_close();
    return locked(&names.calls) - before;
}

TEST(resolve_keeps_answers_as_long_as_the_options_say)
{
    CHECK_INT(calls_with_keep_ns(0), 1);
    CHECK_INT(calls_with_keep_ns(COIL_SECONDS(3600)), 1);
    CHECK_INT(calls_with_keep_ns(COIL_NEVER), 1);
    CHECK_INT(calls_with_keep_ns(1), 2);
    CHECK_INT(calls_with_keep_ns(-1), 2);
    CHECK_INT(calls_with_keep_ns(INT64_MIN), 2);
}

// Nobody asks for it again, and it is not kept: its waiters have it all the
// same, each of them, and one who comes between has another.
TEST(resolve_answers_that_are_not_kept_reach_all_who_wait)
{
    static const int64_t keep_ns[] = { 1, -1 };
    for (size_t k = 0; k < 2; k++) {
        struct coil_task *tasks[10];
        int before = locked(&names.calls);
        stage_open_with((struct coil_loop_options){
            .resolver_keep_ns = keep_ns[k], .resolver_names_limit = 1 });
        let_answer(0);
        for (int i = 0; i < 9; i++)
            tasks[i] = ask(i, "host");
        wait_inside(1);
        let_answer(-1);
        UNTIL(coil_task_done(tasks[0]));
        tasks[9] = ask(9, "host");
        for (int i = 0; i < 10; i++)
            CHECK_INT(task_int(tasks[i]), 0);
        CHECK_INT(locked(&names.calls) - before, 2);
        stage_close();
    }
}

// What the program's header did not know of is not read: it would be no bound,
// or nothing kept.
TEST(resolve_options_of_an_older_program_are_the_defaults)
{
    struct coil_loop_options options = *stage_options();
    options.size = offsetof(struct coil_loop_options, resolver_threads_limit);
    memset((char *)&options + options.size, 0xff,
           sizeof options - options.size);
    CHECK_INT(coil_loop_new(&stage_loop, &options), 0);
    for (int i = 0; i < 2; i++)
        CHECK_INT(asked("host"), 0);
    CHECK_INT(locked(&names.calls), 1);
    stage_close();
}

static int asked_number(const char *format, int i)
{
    char host[32];
    snprintf(host, sizeof host, "%s%d", format, i);
    return asked(host);
}

// Used last, kept longest; not: asked for first, forgotten first.
TEST(resolve_forgets_the_name_used_longest_ago)
{
    stage_open_with((struct coil_loop_options){ .resolver_names_limit = 3 });
    for (int i = 0; i < 3; i++)
        CHECK_INT(asked_number("host", i), 0);
    CHECK_INT(asked_number("host", 0), 0);
    CHECK_INT(locked(&names.calls), 3);
    CHECK_INT(asked_number("host", 3), 0); /* 1 goes */
    CHECK_INT(asked_number("host", 0), 0);
    CHECK_INT(asked_number("host", 2), 0);
    CHECK_INT(locked(&names.calls), 4);
    CHECK_INT(asked_number("host", 1), 0);
    CHECK_INT(locked(&names.calls), 5);
    stage_close();
}

// Far more than one to a place in the table.
TEST(resolve_finds_each_of_many_names)
{
    enum { N = 1000 };
    stage_open_with((struct coil_loop_options){
        .resolver_names_limit = N, .resolver_keep_ns = COIL_NEVER });
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < N; i++)
            CHECK_INT(asked_number("host", i), 0);
    CHECK_INT(locked(&names.calls), N);
    CHECK_INT(asked_number("host", N), 0);
    CHECK_INT(asked_number("host", 0), 0);
    CHECK_INT(locked(&names.calls), N + 2);
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

/* Ask for host<i>, as task i. */
static struct coil_task *ask_number(int i)
{
    char host[16];
    snprintf(host, sizeof host, "host%d", i);
    return ask(i, host);
}

/* The i-th that the system was asked for. */
#define CHECK_ASKED(i, n) \
    do { \
        char host_[16]; \
        snprintf(host_, sizeof host_, "host%d", (n)); \
        CHECK_STR(names.asked[i], host_); \
    } while (0)

static void asks_for_so_many_at_a_time(int most)
{
    enum { N = 30 };
    struct coil_task *tasks[N];
    let_answer(0);
    for (int i = 0; i < N; i++)
        tasks[i] = ask_number(i);
    wait_inside(most);
    stage_passes(10);
    CHECK_INT(locked(&names.inside), most);
    for (int i = most; i < N; i++) {
        let_answer(1);
        UNTIL(locked(&names.calls) == i + 1);
    }
    let_answer(-1);
    for (int i = 0; i < N; i++)
        CHECK_INT(task_int(tasks[i]), 0);
    CHECK_INT(names.inside_most, most);
    CHECK_INT(names.calls, N);
    for (int i = most; i < N; i++)
        CHECK_ASKED(i, i);
}

// The rest stands in line, in order.
TEST(resolve_asks_for_four_names_at_a_time)
{
    stage_open();
    asks_for_so_many_at_a_time(4);
    stage_close();
}

TEST(resolve_asks_for_as_many_names_at_a_time_as_the_options_say)
{
    stage_open_with((struct coil_loop_options){ .resolver_threads_limit = 1 });
    asks_for_so_many_at_a_time(1);
    stage_close();
}

TEST(resolve_asks_for_many_names_at_a_time_if_the_options_say_so)
{
    stage_open_with((struct coil_loop_options){ .resolver_threads_limit = 20 });
    asks_for_so_many_at_a_time(20);
    stage_close();
}

// What nobody waits for any more does not keep those behind it waiting.
TEST(resolve_in_line_is_dropped_with_the_last_who_waits)
{
    stage_open_with((struct coil_loop_options){ .resolver_threads_limit = 1 });
    let_answer(0);
    struct coil_task *first = ask_number(0);
    wait_inside(1);
    struct coil_task *dropped = ask_number(1);
    struct coil_task *one = ask_number(2), *other = ask(3, "host2");
    struct coil_task *last = ask_number(4);
    stage_passes(3);
    CHECK(coil_task_cancel(dropped));
    CHECK(coil_task_cancel(one)); /* another waits for the same name */
    CHECK_INT(task_int(dropped), -ECANCELED);
    CHECK_INT(task_int(one), -ECANCELED);
    dropped = ask_number(1); /* at the end of the line now */
    stage_passes(2);
    let_answer(-1);
    CHECK_INT(task_int(first), 0);
    CHECK_INT(task_int(other), 0);
    CHECK_INT(task_int(last), 0);
    CHECK_INT(task_int(dropped), 0);
    CHECK_INT(names.calls, 4);
    CHECK_ASKED(0, 0);
    CHECK_ASKED(1, 2);
    CHECK_ASKED(2, 4);
    CHECK_ASKED(3, 1);
    stage_close();
}

/* ---- Room ------------------------------------------------------------- */

// The table is full of names that are in use: the next ones wait, and those
// who ask for what is in it do not.
TEST(resolve_of_a_new_name_waits_for_room)
{
    struct coil_task *tasks[6];
    stage_open_with((struct coil_loop_options){ .resolver_threads_limit = 9,
                                                .resolver_names_limit = 2 });
    let_answer(0);
    for (int i = 0; i < 5; i++)
        tasks[i] = ask_number(i);
    wait_inside(2);
    stage_passes(5);
    CHECK_INT(locked(&names.calls), 2);
    tasks[5] = ask(5, "host0");
    stage_passes(3);
    for (int i = 2; i < 5; i++) {
        let_answer(1);
        UNTIL(locked(&names.calls) == i + 1);
        stage_passes(5);
        CHECK_INT(locked(&names.calls), i + 1);
        CHECK_ASKED(i, i);
    }
    let_answer(-1);
    for (int i = 0; i < 6; i++)
        CHECK_INT(task_int(tasks[i]), 0);
    CHECK_INT(names.inside_most, 2);
    CHECK_INT(names.calls, 5);
    stage_close();
}

// Not one, three: and the first of them asks for all. Room that they do not
// need goes to the one behind them.
TEST(resolve_asks_once_for_all_who_waited_for_room)
{
    struct coil_task *tasks[6];
    stage_open_with((struct coil_loop_options){ .resolver_names_limit = 2 });
    let_answer(0);
    tasks[0] = ask_number(0);
    tasks[1] = ask_number(1);
    wait_inside(2);
    for (int i = 2; i < 5; i++)
        tasks[i] = ask(i, "same");
    tasks[5] = ask_number(5);
    stage_passes(3);
    for (int calls = 3; calls <= 4; calls++) {
        let_answer(1);
        UNTIL(locked(&names.calls) == calls);
        stage_passes(5);
    }
    let_answer(-1);
    for (int i = 0; i < 6; i++)
        CHECK_INT(task_int(tasks[i]), 0);
    CHECK_INT(names.calls, 4);
    CHECK_STR(names.asked[2], "same");
    CHECK_ASKED(3, 5);
    stage_close();
}

// Its name was looked up for another meanwhile, and is kept.
TEST(resolve_that_needs_no_room_any_more_passes_it_on)
{
    struct coil_task *tasks[4];
    stage_open_with((struct coil_loop_options){ .resolver_names_limit = 1 });
    let_answer(0);
    tasks[0] = ask_number(0);
    tasks[1] = ask(1, "same");
    tasks[2] = ask(2, "same");
    tasks[3] = ask_number(3);
    wait_inside(1);
    stage_passes(3);
    let_answer(-1);
    for (int i = 0; i < 4; i++)
        CHECK_INT(task_int(tasks[i]), 0);
    CHECK_INT(names.calls, 3);
    stage_close();
}

// A permit that came with the cancellation is not lost, nor one before it.
TEST(resolve_cancelled_while_it_waits_for_room_passes_it_on)
{
    for (int passes = 0; passes < 8; passes++) {
        stage_open_with(
            (struct coil_loop_options){ .resolver_names_limit = 1 });
        let_answer(0);
        struct coil_task *first = ask_number(0);
        UNTIL(locked(&names.inside) == 1);
        struct coil_task *leaves = ask_number(1), *stays = ask_number(2);
        stage_passes(3);
        let_answer(-1);
        UNTIL(coil_task_done(first) || passes < 2);
        stage_passes(passes / 2);
        coil_task_cancel(leaves);
        int64_t err = task_int(leaves);
        CHECK(err == 0 || err == -ECANCELED);
        CHECK_INT(task_int(stays), 0);
        CHECK_INT(task_int(first), 0);
        CHECK_INT(asked("another"), 0);
        stage_close();
    }
}

/* ---- No thread -------------------------------------------------------- */

// As it is: this is not a lack of memory, and it may be had later.
TEST(resolve_without_a_thread_says_why)
{
    char line[128];
    stage_open();
    threads.times = 1;
    threads.err = EAGAIN;
    struct coil_task *t = ask(0, "host");
    CHECK_INT(stage_run(t), COIL_ENOTHREAD);
    CHECK_STR(coil_explain(COIL_ENOTHREAD,
                           coil_future_detail(coil_task_future(t)), line,
                           sizeof line),
              "resolve: No thread can be started");
    CHECK_INT(threads.asked, 1);
    threads.times = 1;
    threads.err = EPERM;
    CHECK_INT(asked("host"), -EPERM);
    CHECK_INT(locked(&names.calls), 0);
    CHECK_INT(asked("host"), 0); /* an error is not kept */
    stage_close();
}

// Fewer threads than the options allow are enough.
TEST(resolve_waits_for_one_of_its_threads_if_there_are_no_more)
{
    struct coil_task *tasks[6];
    stage_open();
    let_answer(0);
    tasks[0] = ask_number(0);
    tasks[1] = ask_number(1);
    wait_inside(2);
    threads.times = 1000;
    threads.err = EAGAIN;
    for (int i = 2; i < 6; i++)
        tasks[i] = ask_number(i);
    stage_passes(5);
    for (int i = 2; i < 6; i++)
        CHECK(!coil_task_done(tasks[i]));
    CHECK_INT(threads.asked, 6);
    threads.times = 0;
    let_answer(-1);
    for (int i = 0; i < 6; i++)
        CHECK_INT(task_int(tasks[i]), 0);
    CHECK_INT(names.calls, 6);
    /* And if there is none at all those in line learn that, too. */
    let_answer(0);
    tasks[0] = ask_number(10);
    wait_inside(1);
    threads.times = 1000;
    tasks[1] = ask_number(11);
    tasks[2] = ask_number(12);
    stage_passes(3);
    let_answer(-1);
    CHECK_INT(task_int(tasks[0]), 0);
    CHECK_INT(task_int(tasks[1]), COIL_ENOTHREAD);
    CHECK_INT(task_int(tasks[2]), COIL_ENOTHREAD);
    stage_close();
}

// Thread-local variables lie in the stack: a program may have more of them
// than our size holds, and glibc says EINVAL then.
TEST(resolve_takes_a_larger_stack_if_its_own_is_too_small)
{
    stage_open();
    threads.times = 1;
    threads.err = EINVAL;
    CHECK_INT(asked("host"), 0);
    CHECK_INT(threads.asked, 2);
    threads.times = 2;
    CHECK_INT(asked("other"), -EINVAL);
    stage_close();
}

/* ---- What threads do -------------------------------------------------- */

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

struct asks_at_its_end {
    struct coil_coro coro;
    struct coil_addrs *out;
    int err;
};

static void asks_at_its_end(struct coil_coro *co)
{
    ASYNC(asks_at_its_end, my) {
        AWAIT(coil_sleep(COIL_NEVER));

    FINALLY;
        TRY_AWAIT(my->err, coil_resolve(my->out, "host", 80));
        trace("%d", my->err);
    }
}

// Only who is cancelled goes without the answer: who cleans up may need it.
TEST(resolve_answers_who_asks_while_the_loop_is_closed)
{
    stage_open();
    let_answer(0);
    ask(0, "host");
    CHECK_INT(coil_start(CALL(asks_at_its_end, .out = &answer[1])), 0);
    wait_inside(1);
    stage_passes(3);
    set_locked(&names.delay_ms, 20);
    let_answer(-1);
    stage_close();
    CHECK_TRACE("0");
    CHECK_STR(first_text(1), "10.0.0.1:80");
    CHECK_INT(names.calls, 1);
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
static void storm(uint64_t seed, struct coil_loop_options options)
{
    enum { N = 100 };
    stage_open_with(options);
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
            set_locked(&names.fail_with, draw(&seed, 4) ? 0 : EAI_AGAIN);
            stage_passes((int)draw(&seed, 3));
        }
        let_answer(-1);
        for (int i = 0; i < N; i++) {
            int64_t err = task_int(tasks[i]);
            CHECK(err == 0 || err == COIL_ERESOLVE ||
                  (cancelled[i] && err == -ECANCELED));
            if (err == 0)
                CHECK_STR(first_text(i), "10.0.0.1:80");
        }
    }
    CHECK(names.inside_most <= 4);
    stage_close();
}

TEST(resolve_survives_a_storm_of_cancels)
{
    storm(11, (struct coil_loop_options){ 0 });
}

// The same with hardly any room, so that all the lines are full.
TEST(resolve_survives_a_storm_in_a_small_table)
{
    for (unsigned room = 1; room < 7; room++)
        storm(room, (struct coil_loop_options){
                        .resolver_names_limit = room,
                        .resolver_threads_limit = 1 + room % 3,
                        .resolver_keep_ns = 1 });
}

// However many are asked for, what is taken is taken once. Two tables' worth
// of names wait at a time, from an arena: nothing is taken elsewhere.
TEST(resolve_takes_no_more_memory_with_more_names)
{
    static char arena[256 * 1024] __attribute__((aligned(16)));
    struct coil_task *tasks[16];
    char host[256];
    size_t memory = 0;
    memset(host, 'a', sizeof host - 1);
    host[255] = '\0';
    names.addresses = COIL_RESOLVE_LIMIT;
    stage_open_with((struct coil_loop_options){ .resolver_names_limit = 8,
                                                .arena = arena,
                                                .arena_bytes = sizeof arena });
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 16; i++) {
            char number[12];
            int len = snprintf(number, sizeof number, "%d-%d", round, i);
            memcpy(host, number, (size_t)len);
            tasks[i] = ask(i, host);
        }
        for (int i = 0; i < 16; i++)
            CHECK_INT(task_int(tasks[i]), 0);
        if (round == 1)
            memory = stage_stats().memory_bytes;
    }
    CHECK_INT(stage_stats().memory_bytes, memory);
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
        coil_discard(coil_resolve(&out, "host", 1));
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
