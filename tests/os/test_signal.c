// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_signal.c: signals reach all who listen, and nobody else.
 *
 * Real signals, sent by kill() to this process, to one thread, by a child.
 */
#include "stage.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <coil/coroutine.h>
#include <coil/signal.h>

static void send(int signo)
{
    CHECK_INT(kill(getpid(), signo), 0);
}

typedef void disposition(int);

static disposition *now(int signo)
{
    struct sigaction action;
    CHECK_INT(sigaction(signo, NULL, &action), 0);
    return action.sa_handler;
}

static unsigned in_flight(void)
{
    struct coil_loop_stats stats;
    coil_loop_get_stats(stage_loop, &stats);
    return stats.in_flight;
}

/* Until it is so: a signal may take its time. */
#define PASS_UNTIL(condition) \
    while (!(condition)) \
    coil_loop_pass(stage_loop, COIL_SECONDS(10))

/* ---- A future --------------------------------------------------------- */

TEST(signal_await_gets_the_next_arrival)
{
    stage_open();
    struct coil_task *t = coil_spawn(coil_wait_signal(SIGUSR1));
    CHECK(now(SIGUSR1) == SIG_DFL); // nothing has begun
    stage_passes(2);
    CHECK(!coil_task_done(t));
    CHECK(now(SIGUSR1) != SIG_DFL);
    CHECK_INT(in_flight(), 0);
    send(SIGUSR1);
    CHECK_INT(stage_run(t), 0);
    CHECK_INT(coil_future_int(coil_task_future(t)), SIGUSR1);
    CHECK(now(SIGUSR1) == SIG_DFL);
    CHECK_INT(in_flight(), 0);
    stage_close();
}

// The second one may end the process: coil_signals() is for more than one.
TEST(signal_has_its_former_disposition_between_two_awaits)
{
    stage_open();
    for (int i = 0; i < 2; i++) {
        struct coil_task *t = coil_spawn(coil_wait_signal(SIGUSR1));
        stage_passes(2);
        CHECK(now(SIGUSR1) != SIG_DFL);
        send(SIGUSR1);
        PASS_UNTIL(now(SIGUSR1) == SIG_DFL);
        CHECK_INT(stage_run(t), 0);
        CHECK(now(SIGUSR1) == SIG_DFL);
    }
    stage_close();
}

TEST(signal_await_that_is_cancelled_listens_no_more)
{
    stage_open();
    struct coil_task *t = coil_spawn(coil_wait_signal(SIGUSR1));
    stage_passes(2);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK(now(SIGUSR1) == SIG_DFL);
    stage_close();
}

TEST(signal_wakes_all_who_await_it)
{
    struct coil_task *t[5];
    stage_open();
    for (int i = 0; i < 5; i++)
        t[i] = coil_spawn(coil_wait_signal(i < 4 ? SIGUSR1 : SIGUSR2));
    stage_passes(2);
    send(SIGUSR1);
    for (int i = 0; i < 4; i++)
        CHECK_INT(stage_run(t[i]), 0);
    CHECK(!coil_task_done(t[4]));
    stage_close(); // the last one is cancelled
    CHECK(now(SIGUSR1) == SIG_DFL);
    CHECK(now(SIGUSR2) == SIG_DFL);
}

// Another one keeps the loop's ear open; what came before is not for us.
TEST(signal_that_came_before_the_await_is_not_its)
{
    stage_open();
    struct coil_task *other = coil_spawn(coil_wait_signal(SIGUSR2));
    struct coil_task *first = coil_spawn(coil_wait_signal(SIGUSR1));
    stage_passes(2);
    send(SIGUSR1);
    coil_task_cancel(first);
    struct coil_task *second = coil_spawn(coil_wait_signal(SIGUSR1));
    stage_passes(5);
    CHECK(!coil_task_done(second));
    CHECK(!coil_task_done(other));
    send(SIGUSR1);
    CHECK_INT(stage_run(second), 0);
    stage_close();
}

static void *send_soon(void *arg)
{
    struct timespec ts = { .tv_nsec = 20000000 };
    nanosleep(&ts, NULL);
    kill(getpid(), *(int *)arg);
    return NULL;
}

TEST(signal_wakes_a_loop_that_sleeps)
{
    int signo = SIGTERM;
    stage_open();
    struct coil_task *t = coil_spawn(coil_wait_signal(SIGTERM));
    stage_passes(2);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, send_soon, &signo), 0);
    CHECK_INT(stage_run(t), 0); // nothing else would wake it
    pthread_join(thread, NULL);
    stage_close();
}

// The kernel gives it to any thread: here to the other one, always.
TEST(signal_taken_by_another_thread_wakes_the_loop)
{
    int signo = SIGUSR1;
    stage_open();
    struct coil_task *t = coil_spawn(coil_wait_signal(SIGUSR1));
    stage_passes(2);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, send_soon, &signo), 0);
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, &old);
    CHECK_INT(stage_run(t), 0);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_join(thread, NULL);
    stage_close();
}

static void never(void *arg)
{
    (void)arg;
    CHECK(false);
}

TEST(signal_that_cannot_be_caught_is_refused)
{
    static const int bad[] = { SIGKILL, SIGSTOP, 0, -1, 65, 32, 1000000 };
    stage_open();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct coil_signal_handler h = { 0 };
        CHECK_INT(stage_run(coil_spawn(coil_wait_signal(bad[i]))), -EINVAL);
        CHECK_INT(coil_signal_add_handler(&h, bad[i], never, NULL), -EINVAL);
        CHECK(!coil_signal_remove_handler(&h));
    }
    struct coil_future *f = coil_signals(bad, 1);
    CHECK_INT(coil_future_error(f), -EINVAL);
    coil_future_unref(f);
    f = coil_signals(NULL, 0);
    CHECK_INT(coil_future_error(f), -EINVAL);
    coil_future_unref(f);
    stage_close();
}

TEST(signal_stands_in_the_await_tree)
{
    stage_open();
    int fds[2];
    CHECK_INT(pipe(fds), 0);
    coil_spawn(coil_wait_signal(SIGHUP));
    stage_passes(2);
    coil_dump(fds[1]);
    char text[1024] = "";
    CHECK(read(fds[0], text, sizeof text - 1) > 0);
    CHECK(strstr(text, "signal HUP"));
    close(fds[0]);
    close(fds[1]);
    stage_close();
}

/* ---- A source --------------------------------------------------------- */

struct hear {
    struct coil_coro coro;
    int n, most, signo;
};

static void hear(struct coil_coro *co)
{
    COIL_ASYNC(hear, my) {
        static const int set[] = { SIGUSR2, SIGUSR1, SIGHUP };
        COIL_FOR_AWAIT(my->signo, coil_signals(set, 3))
        {
            trace("%s", sigabbrev_np(my->signo));
            if (++my->n == my->most)
                break;
            if (my->n == 1) { // between two turns
                send(SIGUSR1);
                send(SIGHUP);
                send(SIGUSR1);
            }
            COIL_AWAIT(coil_sleep(COIL_MS(1)));
        }
    }
}

TEST(signal_source_misses_none_between_turns)
{
    stage_open();
    struct coil_task *t = COIL_SPAWN(hear, .most = 3);
    stage_passes(2);
    send(SIGUSR2);
    CHECK_INT(stage_run(t), 0);
    CHECK_TRACE("USR2 HUP USR1");
    CHECK(now(SIGUSR1) == SIG_DFL);
    CHECK(now(SIGHUP) == SIG_DFL);
    stage_close();
}

TEST(signal_source_takes_several_of_one_number_as_one)
{
    stage_open();
    COIL_SPAWN(hear, .most = 100, .n = 1);
    stage_passes(2);
    for (int i = 0; i < 5; i++)
        send(SIGUSR2);
    stage_passes(10);
    CHECK_TRACE("USR2");
    stage_close(); // cancels it
    CHECK(now(SIGUSR2) == SIG_DFL);
}

TEST(signal_source_dropped_unstarted_has_never_listened)
{
    stage_open();
    coil_discard(coil_signals((int[]){ SIGUSR1 }, 1));
    stage_passes(3);
    CHECK(now(SIGUSR1) == SIG_DFL);
    stage_close();
}

/* ---- Calls ------------------------------------------------------------ */

static int calls;

static void count(void *arg)
{
    calls += *(int *)arg;
}

TEST(signal_handler_is_called_by_the_loop_at_each_arrival)
{
    struct coil_signal_handler h = { 0 }, other = { 0 };
    int one = 1, hundred = 100;
    stage_open();
    CHECK_INT(coil_signal_add_handler(&h, SIGUSR1, count, &one), 0);
    CHECK_INT(coil_signal_add_handler(&other, SIGUSR1, count, &hundred), 0);
    send(SIGUSR1);
    CHECK_INT(calls, 0); // not in the signal handler
    PASS_UNTIL(calls == 101);
    send(SIGUSR1);
    PASS_UNTIL(calls == 202);
    CHECK(coil_signal_remove_handler(&h));
    CHECK(!coil_signal_remove_handler(&h));
    send(SIGUSR1);
    PASS_UNTIL(calls == 302);
    CHECK(coil_signal_remove_handler(&other));
    CHECK(now(SIGUSR1) == SIG_DFL);
    stage_close();
}

TEST(signal_handler_removed_is_not_called_for_what_has_come)
{
    int one = 1;
    stage_open();
    for (int passes = 0; passes < 3; passes++) {
        struct coil_signal_handler h = { 0 };
        calls = 0;
        CHECK_INT(coil_signal_add_handler(&h, SIGUSR1, count, &one), 0);
        send(SIGUSR1);
        stage_passes(passes);
        int before = calls;
        CHECK(coil_signal_remove_handler(&h));
        stage_passes(5);
        CHECK_INT(calls, before);
    }
    stage_close();
}

static struct coil_signal_handler self_removing;

static void remove_self(void *arg)
{
    (void)arg;
    calls++;
    coil_signal_remove_handler(&self_removing);
}

TEST(signal_handler_may_remove_itself)
{
    stage_open();
    CHECK_INT(coil_signal_add_handler(&self_removing, SIGUSR1, remove_self,
                                      NULL), 0);
    send(SIGUSR1);
    PASS_UNTIL(calls == 1);
    CHECK(now(SIGUSR1) == SIG_DFL);
    stage_close();
}

DEATH_TEST(signal_handler_added_twice_aborts, "in use already")
{
    static struct coil_signal_handler h;
    stage_open();
    if (coil_signal_add_handler(&h, SIGUSR1, count, NULL) < 0)
        return;
    if (coil_signal_add_handler(&h, SIGUSR2, count, NULL) < 0)
        return;
}

COROUTINE(handle_on_the_stack,)
{
    ASYNC(handle_on_the_stack, my) {
        struct coil_signal_handler h = { 0 };
        (void)!coil_signal_add_handler(&h, SIGUSR1, count, NULL);
    }
}

DEATH_TEST(signal_handler_on_the_stack_aborts, "on the stack is lent")
{
    (void)!RUN(handle_on_the_stack);
}

TEST(signal_handlers_end_with_the_loop)
{
    struct coil_signal_handler h = { 0 };
    int one = 1;
    for (int i = 0; i < 3; i++) {
        stage_open();
        CHECK_INT(coil_signal_add_handler(&h, SIGUSR1, count, &one), 0);
        if (i == 1)
            send(SIGUSR1); // just before
        stage_close();
        CHECK(now(SIGUSR1) == SIG_DFL);
        CHECK(!coil_signal_remove_handler(&h));
    }
}

/* ---- Dispositions ----------------------------------------------------- */

static void former(int signo)
{
    (void)signo;
    calls += 1000;
}

TEST(signal_puts_the_former_disposition_back)
{
    disposition *const before[] = { SIG_DFL, SIG_IGN, former };
    int one = 1;
    stage_open();
    for (int i = 0; i < 3; i++) {
        struct coil_signal_handler h = { 0 }, other = { 0 };
        signal(SIGUSR1, before[i]);
        CHECK_INT(coil_signal_add_handler(&h, SIGUSR1, count, &one), 0);
        CHECK_INT(coil_signal_add_handler(&other, SIGUSR1, count, &one), 0);
        CHECK(now(SIGUSR1) != before[i]);
        coil_signal_remove_handler(&h);
        CHECK(now(SIGUSR1) != before[i]);
        coil_signal_remove_handler(&other);
        CHECK(now(SIGUSR1) == before[i]);
    }
    send(SIGUSR1);
    CHECK_INT(calls, 1000);
    stage_close();
}

TEST(signal_leaves_the_disposition_of_who_replaced_ours)
{
    struct coil_signal_handler h = { 0 };
    int one = 1;
    stage_open();
    CHECK_INT(coil_signal_add_handler(&h, SIGUSR1, count, &one), 0);
    signal(SIGUSR1, former);
    coil_signal_remove_handler(&h);
    CHECK(now(SIGUSR1) == former);
    stage_close();
}

/* ---- Children --------------------------------------------------------- */

static void skip_under_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");
    if (preloaded && strstr(preloaded, "/vgpreload_"))
        SKIP("valgrind does not know MADV_DONTFORK");
}

/* It dies of the signal, and the parent, who listens, does not hear of it. */
static void check_child_died(pid_t child)
{
    int status = 0;
    CHECK(child > 0);
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    CHECK_INT(WTERMSIG(status), SIGUSR1);
    stage_passes(3);
    CHECK_INT(calls, 0);
}

TEST(signal_to_a_forked_child_is_the_childs)
{
    struct coil_signal_handler h = { 0 };
    int one = 1;
    skip_under_valgrind();
    stage_open();
    CHECK_INT(coil_signal_add_handler(&h, SIGUSR1, count, &one), 0);
    pid_t child = fork();
    if (child == 0) {
        kill(getpid(), SIGUSR1);
        _exit(1);
    }
    check_child_died(child);
    send(SIGUSR1);
    PASS_UNTIL(calls == 1);
    stage_close();
}

// As vfork() and clone() do: no hook of pthread_atfork() runs.
TEST(signal_to_a_child_without_hooks_does_not_wake_its_parent)
{
    struct coil_signal_handler h = { 0 };
    int one = 1;
    skip_under_valgrind();
#ifdef __SANITIZE_THREAD__
    SKIP("ThreadSanitizer delivers signals at calls of the C library only");
#endif
    stage_open();
    CHECK_INT(coil_signal_add_handler(&h, SIGUSR1, count, &one), 0);
    pid_t child = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        syscall(SYS_kill, syscall(SYS_getpid), SIGUSR1);
        syscall(SYS_exit_group, 1);
    }
    check_child_died(child);
    stage_close();
}

TEST(signal_to_an_executed_child_is_the_childs)
{
    struct coil_signal_handler h = { 0 };
    int one = 1;
    skip_under_valgrind();
    stage_open();
    CHECK_INT(coil_signal_add_handler(&h, SIGUSR1, count, &one), 0);
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/sh", "sh", "-c", "kill -USR1 $$; exit 1", (char *)NULL);
        _exit(2);
    }
    check_child_died(child);
    stage_close();
}

TEST(signal_works_in_a_loop_of_a_forked_childs_own)
{
    struct coil_signal_handler h = { 0 };
    int one = 1;
    skip_under_valgrind();
    stage_open();
    CHECK_INT(coil_signal_add_handler(&h, SIGUSR1, count, &one), 0);
    pid_t child = fork();
    if (child == 0) {
        struct coil_signal_handler mine = { 0 };
        stage_open();
        CHECK_INT(coil_signal_add_handler(&mine, SIGUSR1, count, &one), 0);
        send(SIGUSR1);
        PASS_UNTIL(calls == 1);
        stage_close();
        _exit(now(SIGUSR1) == SIG_DFL ? 42 : 1);
    }
    int status;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK_INT(WEXITSTATUS(status), 42);
    CHECK_INT(calls, 0);
    stage_close();
}

/* ---- Many loops ------------------------------------------------------- */

enum { LOOPS = 4, ROUNDS = 50 };
static atomic_int listening, over;

static void *loop_of_its_own(void *arg)
{
    struct coil_loop *loop;
    (void)arg;
    CHECK_INT(coil_loop_new(&loop, NULL), 0);
    struct coil_task *t = coil_spawn(coil_wait_signal(SIGUSR1));
    coil_loop_pass(loop, 0);
    atomic_fetch_add(&listening, 1);
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    coil_loop_close(loop);
    return NULL;
}

TEST(signal_reaches_the_loops_of_all_threads)
{
    pthread_t threads[LOOPS];
    for (int i = 0; i < LOOPS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, loop_of_its_own, NULL), 0);
    while (atomic_load(&listening) < LOOPS)
        usleep(1000);
    send(SIGUSR1);
    for (int i = 0; i < LOOPS; i++)
        pthread_join(threads[i], NULL);
    CHECK(now(SIGUSR1) == SIG_DFL);
}

static void *come_and_go(void *arg)
{
    struct coil_loop *loop;
    (void)arg;
    CHECK_INT(coil_loop_new(&loop, NULL), 0);
    for (int i = 0; i < ROUNDS; i++) {
        struct coil_task *t = coil_spawn(coil_wait_signal(SIGUSR1));
        for (int n = 0; n < 3; n++)
            coil_loop_pass(loop, 0);
        if (i % 2)
            coil_task_cancel(t);
        CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
        coil_task_drop(&t);
    }
    coil_loop_close(loop);
    atomic_fetch_add(&over, 1);
    return NULL;
}

// Listeners come and go in all loops while signals are handled in any thread.
TEST(signal_storm_finds_no_loop_that_has_gone)
{
    pthread_t threads[LOOPS];
    signal(SIGUSR1, SIG_IGN);
    for (int i = 0; i < LOOPS; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, come_and_go, NULL), 0);
    while (atomic_load(&over) < LOOPS) {
        send(SIGUSR1);
        usleep(100);
    }
    for (int i = 0; i < LOOPS; i++)
        pthread_join(threads[i], NULL);
    CHECK(now(SIGUSR1) == SIG_IGN);
}

/* ---- Without memory --------------------------------------------------- */

static int scenario(void)
{
    struct coil_signal_handler h = { 0 };
    int one = 1, err = coil_loop_new(&stage_loop, stage_options());
    if (err < 0)
        return err;
    err = coil_signal_add_handler(&h, SIGUSR1, count, &one);
    if (err == 0) {
        struct coil_task *t = COIL_SPAWN(hear, .most = 1);
        struct coil_task *u = coil_spawn(coil_wait_signal(SIGUSR1));
        stage_passes(3);
        send(SIGUSR1);
        stage_passes(3);
        coil_loop_run_until_complete(stage_loop, t);
        err = coil_future_error(coil_task_future(t));
        coil_loop_run_until_complete(stage_loop, u);
        if (err == 0)
            err = coil_future_error(coil_task_future(u));
    }
    stage_close();
    CHECK(now(SIGUSR1) == SIG_DFL);
    return err;
}

TEST(signal_survives_every_failed_allocation)
{
    test_every_allocation(scenario);
}
