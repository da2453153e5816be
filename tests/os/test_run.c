// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_run.c: RUN, RUN_ON, and what Ctrl-C does to them.
 *
 * Real SIGINTs. Where one must kill, it kills a child process.
 */
#include "stage.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <coil/signal.h>

static void send_sigint(void)
{
    CHECK_INT(kill(getpid(), SIGINT), 0);
}

typedef void disposition(int);

static disposition *now(void)
{
    struct sigaction action;
    CHECK_INT(sigaction(SIGINT, NULL, &action), 0);
    return action.sa_handler;
}

static void call_send(void *arg)
{
    (void)arg;
    send_sigint();
}

/* ---- SIGINT ----------------------------------------------------------- */

enum how { SLEEP, RETURN_7, FAIL_EIO, CANCEL_TOO, SLEEP_IN_FINALLY, LISTEN };

struct interrupted {
    struct coil_coro coro;
    enum how how;
    struct coil_handle call;
    int err;
};

static void interrupted(struct coil_coro *co)
{
    COIL_ASYNC(interrupted, my) {
        CHECK(now() != SIG_DFL);
        coil_call_soon(&my->call, call_send, NULL);
        if (my->how == CANCEL_TOO)
            coil_task_cancel(coil_task_current());
        if (my->how == LISTEN) {
            COIL_AWAIT(coil_wait_signal(SIGINT));
            trace("heard");
        } else if (my->how == RETURN_7 || my->how == FAIL_EIO) {
            COIL_TRY_ALL(my->err) COIL_AWAIT(coil_sleep(COIL_SECONDS(1000)));
            CHECK_INT(my->err, -ECANCELED);
            CHECK_INT(coil_last_detail(), COIL_CANCEL_INTERRUPT);
            if (my->how == FAIL_EIO)
                COIL_FAIL(-EIO);
            COIL_RETURN(7);
        } else if (my->how != SLEEP_IN_FINALLY) {
            COIL_AWAIT(coil_sleep(COIL_SECONDS(1000)));
        }

    COIL_FINALLY;
        if (my->how == SLEEP_IN_FINALLY)
            COIL_AWAIT(coil_sleep(COIL_SECONDS(1000)));
        COIL_AWAIT(coil_sleep(1)); // cleaning up may take its time
        trace("finally");
    }
}

TEST(run_interrupted_cleans_up_and_says_so)
{
    CHECK(now() == SIG_DFL);
    CHECK_INT(COIL_RUN(interrupted), -EINTR);
    CHECK_TRACE("finally");
    CHECK_INT(coil_last_detail(), 0);
    CHECK(now() == SIG_DFL);
}

TEST(run_interrupted_again_and_again)
{
    for (int i = 0; i < 3; i++)
        CHECK_INT(COIL_RUN(interrupted), -EINTR);
}

TEST(run_interrupted_that_ends_well_gives_its_value)
{
    int value = 0;
    CHECK_INT(COIL_RUN_TO(value, interrupted, .how = RETURN_7), 0);
    CHECK_INT(value, 7);
}

TEST(run_interrupted_that_fails_otherwise_gives_that_error)
{
    CHECK_INT(COIL_RUN(interrupted, .how = FAIL_EIO), -EIO);
}

TEST(run_cancelled_by_somebody_else_too_stays_cancelled)
{
    CHECK_INT(COIL_RUN(interrupted, .how = CANCEL_TOO), -ECANCELED);
}

TEST(run_interrupted_in_finally_cuts_its_await_short)
{
    CHECK_INT(COIL_RUN(interrupted, .how = SLEEP_IN_FINALLY), -EINTR);
    CHECK_TRACE("finally");
}

// Who listens to SIGINT has an answer of its own.
TEST(run_leaves_sigint_to_who_listens)
{
    CHECK_INT(COIL_RUN(interrupted, .how = LISTEN), 0);
    CHECK_TRACE("heard finally");
    CHECK(now() == SIG_DFL);
}

struct look {
    struct coil_coro coro;
    disposition *expected;
};

static void look(struct coil_coro *co)
{
    COIL_ASYNC(look, my) {
        COIL_RETURN(now() == my->expected);
    }
}

static void user_handler(int signo)
{
    (void)signo;
}

TEST(run_leaves_sigint_alone_if_it_is_told_to)
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.leave_sigint = 1;
    struct coil_loop *loop;
    CHECK_INT(coil_loop_new(&loop, &options), 0);
    bool left = false;
    CHECK_INT(COIL_RUN_ON_TO(loop, left, look, .expected = SIG_DFL), 0);
    CHECK(left);
    coil_loop_close(loop);
}

TEST(run_leaves_another_disposition_of_sigint_alone)
{
    disposition *const before[] = { SIG_IGN, user_handler };
    for (int i = 0; i < 2; i++) {
        bool left = false;
        signal(SIGINT, before[i]);
        CHECK_INT(COIL_RUN_TO(left, look, .expected = before[i]), 0);
        CHECK(left);
        CHECK(now() == before[i]);
    }
}

static void *run_elsewhere(void *arg)
{
    CHECK_INT(COIL_RUN_TO(*(bool *)arg, look, .expected = SIG_DFL), 0);
    return NULL;
}

TEST(run_in_another_thread_leaves_sigint_alone)
{
    bool left = false;
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, run_elsewhere, &left), 0);
    pthread_join(thread, NULL);
    CHECK(left);
}

struct struck {
    struct coil_coro coro;
    struct coil_handle call;
};

static void cancellation_point(void *arg)
{
    (void)arg;
    pthread_testcancel();
    trace("callback");
}

static void struck(struct coil_coro *co)
{
    COIL_ASYNC(struck, my) {
        pthread_cancel(pthread_self());
        pthread_testcancel();
        coil_call_soon(&my->call, cancellation_point, NULL);
        COIL_AWAIT(coil_sleep(1));
        trace("body");

    COIL_FINALLY;
        pthread_testcancel();
        trace("finally");
    }
}

static void *run_struck(void *arg)
{
    (void)arg;
    int err = COIL_RUN(struck);
    trace("returned %d", err);
    pthread_testcancel();
    trace("not reached");
    return NULL;
}

/*
 * A thread that ended in the middle of its loop would leave a loop that no
 * thread runs, whose descriptors stay open and for which other threads wait.
 */
TEST(run_ends_before_its_thread_is_cancelled)
{
    pthread_t thread;
    void *end;
    CHECK_INT(pthread_create(&thread, NULL, run_struck, NULL), 0);
    pthread_join(thread, &end);
    CHECK(end == PTHREAD_CANCELED);
    CHECK_TRACE("callback body finally returned 0");
}

static void skip_under_valgrind(void)
{
    const char *preloaded = getenv("LD_PRELOAD");
    if (preloaded && strstr(preloaded, "/vgpreload_"))
        SKIP("valgrind starts children slowly, and in its own way");
}

/* Tells what it is doing; SIGINTs are sent until it dies of one. */
struct stubborn {
    struct coil_coro coro;
    int tell;
    bool busy;
    struct coil_handle call;
};

static void stubborn(struct coil_coro *co)
{
    COIL_ASYNC(stubborn, my) {
        if (my->busy) {
            if (write(my->tell, "b", 1) != 1)
                _exit(1);
            for (volatile bool forever = true; forever;)
                ;
        }
        coil_call_soon(&my->call, call_send, NULL);
        COIL_AWAIT(coil_sleep(COIL_SECONDS(1000)));

    COIL_FINALLY;
        if (write(my->tell, "f", 1) != 1)
            _exit(1);
        for (;;)
            COIL_AWAIT(coil_sleep(COIL_SECONDS(1000)));
    }
}

static void check_second_sigint_kills(bool busy)
{
    int fds[2], status;
    char told;
    skip_under_valgrind();
    CHECK_INT(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        COIL_RUN(stubborn, .tell = fds[1], .busy = busy);
        _exit(1);
    }
    CHECK(child > 0);
    CHECK_INT(read(fds[0], &told, 1), 1);
    CHECK_INT(told, busy ? 'b' : 'f');
    int sent = 0;
    while (waitpid(child, &status, WNOHANG) == 0) {
        kill(child, SIGINT);
        sent++;
        usleep(2000);
    }
    CHECK(WIFSIGNALED(status));
    CHECK_INT(WTERMSIG(status), SIGINT);
    CHECK(sent >= (busy ? 2 : 1));
    close(fds[0]);
    close(fds[1]);
}

TEST(run_interrupted_twice_ends_by_the_default_action)
{
    check_second_sigint_kills(false);
}

// A loop that never awaits sees no cancellation: the handler itself must do it.
TEST(run_that_is_busy_ends_by_the_second_sigint)
{
    check_second_sigint_kills(true);
}

COIL_COROUTINE(answer, int64_t value; int err;)
{
    COIL_ASYNC(answer, my) {
        COIL_AWAIT(coil_sleep(0));
        if (my->err)
            COIL_FAIL(my->err);
        COIL_RETURN(my->value);
    }
}

TEST(run_with_to_takes_options_and_gives_the_result)
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    uint8_t byte = 1;
    options.leave_sigint = true;
    CHECK_INT(COIL_RUN_WITH_TO(&options, byte, answer, .value = 255), 0);
    CHECK_INT(byte, 255);
    CHECK_INT(COIL_RUN_WITH_TO(&options, byte, answer, .value = 256),
              -EOVERFLOW);
    CHECK_INT(byte, 255);
    CHECK_INT(COIL_RUN_WITH_TO(NULL, byte, answer, .err = -EIO), -EIO);
    CHECK_INT(byte, 255);
    static _Alignas(16) char arena[64]; // too small for a loop
    options.arena = arena;
    options.arena_bytes = sizeof arena;
    CHECK_INT(COIL_RUN_WITH_TO(&options, byte, answer), -ENOMEM);
    CHECK_INT(byte, 255);
}

/* ---- RUN_ON ----------------------------------------------------------- */

struct tick {
    struct coil_coro coro;
    int n, i;
};

static void tick(struct coil_coro *co)
{
    COIL_ASYNC(tick, my) {
        for (; my->i < my->n; my->i++) {
            trace("%d", my->i);
            COIL_AWAIT(coil_sleep(0));
        }
        trace("over");
        COIL_RETURN(my->n);
    }
}

struct leave_behind {
    struct coil_coro coro;
};

static void leave_behind(struct coil_coro *co)
{
    COIL_ASYNC(leave_behind, my) {
        (void)my;
        coil_detach(COIL_SPAWN(tick, .n = 4));
        COIL_AWAIT(coil_sleep(0));
        trace("left");
    }
}

static void open_runner(void)
{
    CHECK_INT(coil_loop_new(&stage_loop, stage_options()), 0);
}

TEST(run_on_goes_on_with_what_the_last_run_left)
{
    int value = 0;
    open_runner();
    CHECK_INT(COIL_RUN_ON(stage_loop, leave_behind), 0);
    CHECK_TRACE("0 left");
    CHECK_INT(COIL_RUN_ON_TO(stage_loop, value, tick, .n = 9, .i = 8), 0);
    CHECK_INT(value, 9);
    CHECK_TRACE("1 8 2 over");
    stage_close(); // which cancels it
    CHECK_TRACE("");
}

struct fail {
    struct coil_coro coro;
    int err;
};

static void fail(struct coil_coro *co)
{
    COIL_ASYNC(fail, my) {
        COIL_FAIL_WITH(my->err, 42);
    }
}

TEST(run_on_returns_the_error_and_leaves_the_loop)
{
    open_runner();
    CHECK_INT(COIL_RUN_ON(stage_loop, fail, .err = -EIO), -EIO);
    CHECK_INT(coil_last_detail(), 42);
    CHECK_INT(COIL_RUN_ON(stage_loop, tick, .n = 1), 0);
    CHECK_INT(coil_last_detail(), 0);
    CHECK_INT(stage_tasks(), 0);
    stage_close();
    CHECK_INT(stage_reported.n, 0);
}

TEST(run_on_gives_its_memory_back)
{
    struct coil_loop_stats stats;
    open_runner();
    CHECK_INT(COIL_RUN_ON(stage_loop, tick, .n = 1), 0);
    coil_loop_get_stats(stage_loop, &stats);
    size_t memory = stats.memory_bytes;
    for (int i = 0; i < 10000; i++)
        CHECK_INT(COIL_RUN_ON(stage_loop, tick), 0);
    coil_loop_get_stats(stage_loop, &stats);
    CHECK_INT(stats.memory_bytes, memory);
    stage_close();
}

TEST(run_on_is_interrupted_as_run_is)
{
    open_runner();
    CHECK_INT(COIL_RUN_ON(stage_loop, interrupted), -EINTR);
    CHECK(now() == SIG_DFL);
    CHECK_INT(COIL_RUN_ON(stage_loop, tick, .n = 1), 0);
    CHECK_INT(COIL_RUN_ON(stage_loop, interrupted), -EINTR);
    stage_close();
}

static void stop(void *arg)
{
    coil_loop_stop(arg);
}

TEST(run_on_that_is_stopped_goes_on_at_the_next_run)
{
    struct coil_handle call = { 0 };
    open_runner();
    coil_call_soon(&call, stop, stage_loop);
    CHECK_INT(COIL_RUN_ON(stage_loop, tick, .n = 3), COIL_ESTOPPED);
    CHECK_TRACE("0");
    CHECK_INT(COIL_RUN_ON(stage_loop, tick, .n = 9, .i = 6), 0);
    CHECK_TRACE("1 6 2 7 over 8 over");
    stage_close();
}

struct nested {
    struct coil_coro coro;
    struct coil_loop *loop;
};

static void nested(struct coil_coro *co)
{
    COIL_ASYNC(nested, my) {
        COIL_RUN_ON(my->loop, tick, .n = 1);
    }
}

DEATH_TEST(run_on_inside_a_run_aborts, "RUN_ON inside a run")
{
    open_runner();
    COIL_RUN_ON(stage_loop, nested, .loop = stage_loop);
}

static void run_in_call(void *arg)
{
    COIL_RUN_ON(arg, tick, .n = 1);
}

DEATH_TEST(run_on_inside_a_pass_aborts, "RUN_ON inside a run")
{
    struct coil_handle call = { 0 };
    open_runner();
    coil_call_soon(&call, run_in_call, stage_loop);
    stage_passes(1);
}

DEATH_TEST(run_on_nothing_aborts, "RUN_ON wants the loop of this thread")
{
    COIL_RUN_ON(NULL, tick, .n = 1);
}

static int run_on_scenario(void)
{
    int err = coil_loop_new(&stage_loop, stage_options());
    if (err < 0)
        return err;
    for (int i = 0; i < 2 && err == 0; i++)
        err = COIL_RUN_ON(stage_loop, leave_behind);
    stage_close();
    stage_trace[0] = '\0';
    return err;
}

TEST(run_on_survives_every_failed_allocation)
{
    test_every_allocation(run_on_scenario);
}
