// SPDX-License-Identifier: MIT
/*
 * test_process_pool.c: functions in child processes, and children that die in
 * every way there is. The harness finds what is left of them: a zombie, a
 * descriptor. (Not `core`: valgrind 3.19 knows no pidfd_open().)
 */
#include "stage.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <coil/process_pool.h>

/* ---- In the children -------------------------------------------------- */

static int64_t doubled(const void *request, size_t len, void *reply,
                       size_t size)
{
    int n;
    if (len != sizeof n || size < sizeof n)
        return -EINVAL;
    memcpy(&n, request, len);
    n *= 2;
    memcpy(reply, &n, sizeof n);
    return sizeof n;
}

static int64_t echo(const void *request, size_t len, void *reply, size_t size)
{
    if (len > size)
        return -EMSGSIZE;
    memcpy(reply, request, len);
    return (int64_t)len;
}

static int64_t who(const void *request, size_t len, void *reply, size_t size)
{
    (void)request;
    (void)len;
    pid_t pid = getpid();
    if (size < sizeof pid)
        return -EMSGSIZE;
    memcpy(reply, &pid, sizeof pid);
    return sizeof pid;
}

static int64_t exits(const void *request, size_t len, void *reply, size_t size)
{
    (void)request;
    (void)len;
    (void)reply;
    (void)size;
    _exit(3);
}

static int64_t is_killed(const void *request, size_t len, void *reply,
                         size_t size)
{
    (void)request;
    (void)len;
    (void)reply;
    (void)size;
    raise(SIGKILL);
    return 0;
}

static int64_t hangs(const void *request, size_t len, void *reply, size_t size)
{
    (void)request;
    (void)len;
    (void)reply;
    (void)size;
    for (;;)
        pause();
    return 0;
}

static int64_t closes_all(const void *request, size_t len, void *reply,
                          size_t size)
{
    for (int fd = 0; fd < 1024; fd++)
        close(fd);
    return hangs(request, len, reply, size);
}

static int64_t raves(const void *request, size_t len, void *reply, size_t size)
{
    int64_t lie[2] = { 1 << 29, 0 };
    for (int fd = 3; fd < 1024; fd++)
        if (write(fd, lie, sizeof lie) > 0)
            break;
    return hangs(request, len, reply, size);
}

static int64_t too_much(const void *request, size_t len, void *reply,
                        size_t size)
{
    (void)request;
    (void)len;
    (void)reply;
    close(2); /* what it says is expected */
    return (int64_t)size + 1;
}

static int64_t says(const void *request, size_t len, void *reply, size_t size)
{
    char words[16] = "fifteen letters";
    if (write(0, words, 16) > 0 || write(1, words, 16) > 0)
        return -EIO;
    return doubled(request, len, reply, size);
}

/* What a child must not have: descriptors, a loop, handlers, a mask. */
static int64_t what_it_has(const void *request, size_t len, void *reply,
                           size_t size)
{
    (void)request;
    (void)len;
    (void)reply;
    (void)size;
    int fds = 0;
    for (int fd = 3; fd < 1024; fd++)
        fds += fcntl(fd, F_GETFD) >= 0;
    struct sigaction usr1, interrupt;
    sigaction(SIGUSR1, NULL, &usr1);
    sigaction(SIGINT, NULL, &interrupt);
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    if (fds != 1)
        return -EBADF;
    if (coil_loop_current())
        return -EBUSY;
    if (usr1.sa_handler != SIG_DFL || interrupt.sa_handler != SIG_IGN)
        return -EINTR;
    return sigismember(&mask, SIGUSR2) ? -EPERM : 0;
}

struct nap {
    struct coil_coro coro;
    int n;
};

static void nap(struct coil_coro *co)
{
    ASYNC(nap, my) {
        AWAIT(coil_sleep(0));
        RETURN(my->n + 1);
    }
}

static int64_t runs_a_loop(const void *request, size_t len, void *reply,
                           size_t size)
{
    (void)len;
    (void)reply;
    (void)size;
    int n = 0;
    int err = RUN_TO(n, nap, .n = *(const int *)request);
    return err < 0 ? err : n == 8 ? 0 : -EIO;
}

/* ---- Jobs ------------------------------------------------------------- */

static struct coil_process_pool *pool(unsigned workers)
{
    struct coil_process_pool_options o = COIL_PROCESS_POOL_OPTIONS_INIT;
    o.workers = workers;
    struct coil_process_pool *p = NULL;
    CHECK_INT(coil_process_pool_open(&p, &o), 0);
    return p;
}

static int numbers[64], answers[64];

static struct coil_task *run(struct coil_process_pool *p, coil_process_fn *fn,
                             int i)
{
    numbers[i] = i;
    answers[i] = -1;
    return coil_spawn(coil_process_pool_run(p, fn, &numbers[i], sizeof(int),
                                            &answers[i], sizeof(int)));
}

static int end_of(struct coil_task *task)
{
    return stage_run(task);
}

static void shut(struct coil_process_pool *p)
{
    CHECK_INT(end_of(coil_spawn(coil_process_pool_close(p))), 0);
}

TEST(process_pool_answers)
{
    stage_open();
    struct coil_process_pool *p = pool(2);
    struct coil_task *tasks[20];
    CHECK_INT(coil_process_pool_workers(p), 2);
    for (int i = 0; i < 20; i++)
        tasks[i] = run(p, doubled, i);
    for (int i = 0; i < 20; i++) {
        CHECK_INT(end_of(tasks[i]), 0);
        CHECK_INT(coil_future_int(coil_task_future(tasks[i])), sizeof(int));
        CHECK_INT(answers[i], 2 * i);
    }
    shut(p);
    stage_close();
}

TEST(process_pool_brings_errors)
{
    char reply[4];
    stage_open();
    struct coil_process_pool *p = pool(1);
    struct coil_task *task = coil_spawn(coil_process_pool_run(
        p, doubled, "x", 1, reply, sizeof reply));
    CHECK_INT(end_of(task), -EINVAL);
    task = coil_spawn(coil_process_pool_run(p, echo, "hello", 5, reply, 4));
    CHECK_INT(end_of(task), -EMSGSIZE);
    task = coil_spawn(coil_process_pool_run(p, echo, NULL, 0, NULL, 0));
    CHECK_INT(end_of(task), 0);
    task = coil_spawn(coil_process_pool_run(p, echo, "hell", 4, reply, 4));
    CHECK_INT(end_of(task), 0);
    CHECK_MEM(reply, "hell", 4);
    shut(p);
    stage_close();
}

// Larger than a socket's buffer, both ways.
TEST(process_pool_takes_messages_up_to_its_bound)
{
    size_t most = 1 << 20;
    struct coil_process_pool_options o = COIL_PROCESS_POOL_OPTIONS_INIT;
    o.workers = 1;
    o.message_bytes_max = most;
    char *out = malloc(most + 16), *in = malloc(most + 16);
    for (size_t i = 0; i < most + 16; i++)
        out[i] = (char)(i * 7 + i / 251);
    stage_open();
    struct coil_process_pool *p = NULL;
    CHECK_INT(coil_process_pool_open(&p, &o), 0);
    struct coil_task *task = coil_spawn(coil_process_pool_run(p, echo, out,
                                                              most, in, most));
    CHECK_INT(end_of(task), 0);
    CHECK_MEM(in, out, most);
    task = coil_spawn(coil_process_pool_run(p, echo, out, most + 1, in, most));
    CHECK_INT(end_of(task), COIL_ELIMIT);
    shut(p);
    stage_close();
    free(out);
    free(in);
}

static void on_signal(int sig)
{
    (void)sig;
}

TEST(process_pool_child_has_nothing_of_its_parents)
{
    int zero = open("/dev/null", O_RDONLY);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGUSR1, on_signal);
    stage_open();
    struct coil_process_pool *p = pool(2), *q = pool(1);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(end_of(run(p, what_it_has, i)), 0);
        CHECK_INT(end_of(run(q, what_it_has, i)), 0);
    }
    shut(p);
    shut(q);
    stage_close();
    close(zero);
}

TEST(process_pool_child_may_run_a_loop_of_its_own)
{
    stage_open();
    struct coil_process_pool *p = pool(1);
    CHECK_INT(end_of(run(p, runs_a_loop, 7)), 0);
    shut(p);
    stage_close();
}

/* ---- Order and cancelling --------------------------------------------- */

// One at a time per child, and those in line wait their turn.
TEST(process_pool_job_in_line_is_withdrawn)
{
    stage_open();
    struct coil_process_pool *p = pool(1);
    struct coil_task *a = run(p, who, 0), *b = run(p, who, 1);
    struct coil_task *c = run(p, who, 2);
    stage_passes(1);
    coil_task_cancel(b);
    CHECK_INT(end_of(c), 0);
    CHECK_INT(end_of(a), 0);
    CHECK_INT(coil_future_error(coil_task_future(b)), -ECANCELED);
    CHECK_INT(answers[1], -1);
    CHECK_INT(answers[0], answers[2]); /* the same child */
    shut(p);
    stage_close();
}

// Nothing is lent to a child: the await of what has begun need not wait for it.
TEST(process_pool_await_of_a_running_job_ends_at_once)
{
    stage_open();
    struct coil_process_pool *p = pool(2);
    struct coil_task *a = run(p, hangs, 0);
    stage_passes(3);
    coil_task_cancel(a);
    CHECK_INT(end_of(a), -ECANCELED);
    CHECK_INT(end_of(run(p, doubled, 4)), 0); /* by the other one */
    shut(p); /* does not wait for the one that hangs */
    stage_close();
}

// A child whose reply nobody wants any more is good for the next job.
TEST(process_pool_child_of_a_cancelled_job_is_used_again)
{
    stage_open();
    struct coil_process_pool *p = pool(1);
    for (int i = 0; i < 30; i++) {
        struct coil_task *a = run(p, doubled, i);
        stage_passes(i % 5);
        coil_task_cancel(a);
        stage_passes(1);
        CHECK_INT(end_of(run(p, doubled, i + 20)), 0);
        CHECK_INT(answers[i + 20], 2 * (i + 20));
    }
    shut(p);
    stage_close();
}

/* ---- Deaths ----------------------------------------------------------- */

/* The detail of the error, as coil_explain() says it. */
static int code_of(struct coil_task *task)
{
    return COIL_DETAIL_CODE(coil_future_detail(coil_task_future(task)));
}

static void check_broken(coil_process_fn *fn, int code)
{
    stage_open();
    struct coil_process_pool *p = pool(2);
    struct coil_task *a = run(p, hangs, 0), *b = run(p, fn, 1);
    struct coil_task *c = run(p, doubled, 2);
    CHECK_INT(end_of(a), COIL_EBROKEN);
    CHECK_INT(end_of(b), COIL_EBROKEN);
    CHECK_INT(end_of(c), COIL_EBROKEN);
    CHECK_INT(code_of(b), code);
    struct coil_task *later = run(p, doubled, 3);
    CHECK_INT(end_of(later), COIL_EBROKEN);
    CHECK_INT(code_of(later), code);
    shut(p);
    stage_close();
}

TEST(process_pool_breaks_with_a_child_that_exits)
{
    char words[128];
    check_broken(exits, 3);
    coil_explain(COIL_EBROKEN, COIL_DETAIL(COIL_PHASE_NONE, 3), words,
                 sizeof words);
    CHECK(strstr(words, "exit status 3"));
}

TEST(process_pool_breaks_with_a_child_that_is_killed)
{
    char words[128];
    check_broken(is_killed, -SIGKILL);
    coil_explain(COIL_EBROKEN, COIL_DETAIL(COIL_PHASE_NONE, -SIGKILL), words,
                 sizeof words);
    CHECK(strstr(words, "Killed"));
}

// It lives, but cannot answer: it is as good as dead.
TEST(process_pool_breaks_with_a_child_that_closes_its_socket)
{
    check_broken(closes_all, -SIGKILL);
}

// What it says is not believed: a reply of half a gigabyte was not asked for.
TEST(process_pool_breaks_with_a_child_that_raves)
{
    check_broken(raves, -SIGKILL);
}

TEST(process_pool_breaks_with_a_function_that_writes_too_much)
{
    check_broken(too_much, -SIGABRT);
}

// Nobody has a job: the next one hears of it, and there is no zombie before.
TEST(process_pool_breaks_with_an_idle_child)
{
    stage_open();
    struct coil_process_pool *p = pool(1);
    CHECK_INT(end_of(run(p, who, 0)), 0);
    kill(answers[0], SIGTERM);
    while (kill(answers[0], 0) == 0)
        coil_loop_pass(stage_loop, COIL_MS(1));
    struct coil_task *task = run(p, doubled, 1);
    CHECK_INT(end_of(task), COIL_EBROKEN);
    CHECK_INT(code_of(task), -SIGTERM);
    shut(p);
    stage_close();
}

/* ---- Closing ---------------------------------------------------------- */

TEST(process_pool_close_waits_for_what_was_given)
{
    stage_open();
    struct coil_process_pool *p = pool(1);
    struct coil_task *tasks[5];
    for (int i = 0; i < 4; i++)
        tasks[i] = run(p, doubled, i);
    stage_passes(1);
    struct coil_task *close = coil_spawn(coil_process_pool_close(p));
    stage_passes(1);
    tasks[4] = run(p, doubled, 4);
    stage_passes(1);
    CHECK_INT(end_of(tasks[4]), COIL_ECLOSED);
    CHECK_INT(end_of(close), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_INT(end_of(tasks[i]), 0);
        CHECK_INT(answers[i], 2 * i);
    }
    stage_close();
}

// A child that is stopped does not see that its socket ends.
TEST(process_pool_close_ends_a_child_that_is_stopped)
{
    stage_open();
    struct coil_process_pool *p = pool(2);
    CHECK_INT(end_of(run(p, who, 0)), 0);
    kill(answers[0], SIGSTOP);
    siginfo_t info;
    CHECK_INT(waitid(P_PID, (id_t)answers[0], &info, WSTOPPED | WNOWAIT), 0);
    CHECK_INT(end_of(coil_spawn(coil_process_pool_close(p))), 0);
    stage_close();
}

TEST(process_pool_close_needs_no_memory)
{
    stage_open();
    struct coil_process_pool *p = pool(2);
    struct coil_future *closed = coil_process_pool_close(p);
    test_forbid_allocations(true);
    coil_future_ref(closed);
    coil_future_unref(closed);
    test_forbid_allocations(false);
    CHECK_INT(test_forbidden_allocations(), 0);
    CHECK_INT(end_of(coil_spawn(closed)), 0);
    stage_close();
}

// The children do not outlive the loop, nor are they left as zombies.
TEST(process_pool_that_nobody_closed_ends_with_its_loop)
{
    stage_open();
    struct coil_process_pool *p = pool(3);
    run(p, hangs, 0);
    run(p, doubled, 1);
    stage_passes(4);
    stage_close();
    stage_open();
    pool(2);
    stage_close();
}

struct owner {
    struct coil_coro coro;
    struct coil_process_pool *pool;
    int n, err, answer;
};

static void owner(struct coil_coro *co)
{
    ASYNC(owner, my) {
        my->err = coil_process_pool_open(&my->pool, NULL);
        if (my->err)
            FAIL(my->err);
        AWAIT(coil_process_pool_run(my->pool, hangs, NULL, 0, NULL, 0));

    FINALLY;
        my->n = 4;
        TRY_AWAIT(my->err, coil_process_pool_run(my->pool, doubled, &my->n,
                                                 sizeof my->n, &my->answer,
                                                 sizeof my->answer));
        trace("%d", my->err);
        AWAIT(coil_process_pool_close(my->pool));
        trace("closed");
    }
}

// Made in a coroutine it is not that one's child; closed as the loop closes.
TEST(process_pool_closed_while_its_loop_closes)
{
    stage_open();
    SPAWN(owner);
    stage_passes(3);
    stage_close();
    CHECK(strstr(stage_trace, "closed"));
}

/* A zombie is not: it waits for whoever reaps what has no parent. */
static bool is_alive(pid_t pid)
{
    char path[64], state = 'Z';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return false;
    if (fscanf(file, "%*d %*[^)]) %c", &state) != 1)
        state = 'Z';
    fclose(file);
    return state != 'Z' && state != 'X';
}

struct parent {
    struct coil_coro coro;
    struct coil_process_pool *pool;
    int fd;
    pid_t child;
};

static void parent(struct coil_coro *co)
{
    ASYNC(parent, my) {
        if (coil_process_pool_open(&my->pool, NULL))
            FAIL(-EIO);
        AWAIT(coil_process_pool_run(my->pool, who, NULL, 0, &my->child,
                                    sizeof my->child));
        CHECK_INT(write(my->fd, &my->child, sizeof my->child),
                  sizeof my->child);
        raise(SIGKILL);
    }
}

// kill -9 of the parent is no reason for children to stay.
TEST(process_pool_children_die_with_their_parent)
{
    int fds[2];
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        (void)RUN(parent, .fd = fds[1]);
        _exit(1);
    }
    close(fds[1]);
    pid_t child;
    CHECK_INT(read(fds[0], &child, sizeof child), sizeof child);
    CHECK_INT(waitpid(pid, NULL, 0), pid);
    while (is_alive(child))
        usleep(1000);
    close(fds[0]);
}

/* ---- Memory ----------------------------------------------------------- */

struct modest {
    struct coil_coro coro;
    struct coil_process_pool *pool;
    int n, err, answer;
};

static void modest(struct coil_coro *co)
{
    ASYNC(modest, my) {
        struct coil_process_pool_options o = COIL_PROCESS_POOL_OPTIONS_INIT;
        o.workers = 2;
        my->err = coil_process_pool_open(&my->pool, &o);
        if (my->err)
            FAIL(my->err);
        my->n = 4;
        AWAIT(coil_process_pool_run(my->pool, doubled, &my->n, sizeof my->n,
                                    &my->answer, sizeof my->answer));
        CHECK_INT(my->answer, 8);

    FINALLY;
        if (my->pool)
            AWAIT(coil_process_pool_close(my->pool));
    }
}

static int run_modest(void)
{
    return RUN(modest);
}

TEST(process_pool_survives_every_failed_allocation)
{
    test_timeout(100);
    test_every_allocation(run_modest);
}

// Another child of the parent's has copies of its sockets, and lives on.
TEST(process_pool_closes_whoever_holds_its_sockets)
{
    stage_open();
    struct coil_process_pool *p = pool(2);
    CHECK_INT(end_of(run(p, doubled, 1)), 0);
    pid_t pid = fork();
    if (pid == 0)
        for (;;)
            pause();
    test_timeout(5);
    shut(p);
    kill(pid, SIGKILL);
    CHECK_INT(waitpid(pid, NULL, 0), pid);
    stage_close();
}

// The parent's end takes the number of a standard descriptor, which stays open.
TEST(process_pool_of_a_daemon_without_standard_descriptors)
{
    stage_open();
    int copies[2] = { dup(0), dup(1) };
    close(0);
    close(1);
    struct coil_process_pool *p = pool(3);
    CHECK_INT(end_of(run(p, says, 1)), 0); /* and not into its socket */
    test_timeout(5);
    shut(p);
    for (int i = 0; i < 2; i++) {
        dup2(copies[i], i);
        close(copies[i]);
    }
    stage_close();
}

// The bound is the one that was given, whatever is allocated.
TEST(process_pool_bound_is_exact)
{
    char in[16];
    struct coil_process_pool_options o = COIL_PROCESS_POOL_OPTIONS_INIT;
    o.workers = 1;
    o.message_bytes_max = 10;
    stage_open();
    struct coil_process_pool *p = NULL;
    CHECK_INT(coil_process_pool_open(&p, &o), 0);
    for (int n = 9; n <= 12; n++) {
        struct coil_task *task = coil_spawn(coil_process_pool_run(
            p, echo, "0123456789abcdef", (size_t)n, in, sizeof in));
        CHECK_INT(end_of(task), n <= 10 ? 0 : COIL_ELIMIT);
    }
    shut(p);
    stage_close();
}

// More would not be refused before a child is forked for each.
DEATH_TEST(process_pool_of_too_many_children_aborts,
           "coil_process_pool_open: workers is 1025: must be at most 1024")
{
    struct coil_process_pool *p;
    struct coil_process_pool_options o = COIL_PROCESS_POOL_OPTIONS_INIT;
    stage_open();
    o.workers = 1025;
    (void)!coil_process_pool_open(&p, &o);
}

DEATH_TEST(process_pool_of_messages_too_long_aborts,
           "coil_process_pool_open: message_bytes_max is 1073741825: "
           "must be at most 1073741824")
{
    struct coil_process_pool *p;
    struct coil_process_pool_options o = COIL_PROCESS_POOL_OPTIONS_INIT;
    stage_open();
    o.message_bytes_max = 1073741825;
    (void)!coil_process_pool_open(&p, &o);
}

DEATH_TEST(process_pool_options_without_their_size_abort,
           "coil_process_pool_open: options.size is 0: must be 24: "
           "use COIL_PROCESS_POOL_OPTIONS_INIT")
{
    struct coil_process_pool *p;
    struct coil_process_pool_options o = { .workers = 1 };
    stage_open();
    (void)!coil_process_pool_open(&p, &o);
}
