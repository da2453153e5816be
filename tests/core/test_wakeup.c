// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_wakeup.c: callbacks requested where no lock may be taken, and callbacks
 * when a loop closes.
 */
#include "peer.h"
#include "stage.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <coil/acceptor.h>
#include <coil/wakeup.h>

static struct coil_wakeup wakeup;
static int calls;

static void count(void *arg)
{
    (void)arg;
    calls++;
}

TEST(wakeup_sent_several_times_is_one_call)
{
    stage_open();
    coil_wakeup_init(&wakeup, count, NULL);
    stage_passes(2);
    CHECK_INT(calls, 0);
    for (int i = 0; i < 3; i++)
        coil_wakeup_send(&wakeup);
    stage_passes(3);
    CHECK_INT(calls, 1);
    coil_wakeup_send(&wakeup);
    stage_passes(3);
    CHECK_INT(calls, 2);
    coil_wakeup_fini(&wakeup);
    stage_close();
}

static void note(void *arg)
{
    trace("%s", (const char *)arg);
}

TEST(wakeup_calls_come_in_the_order_in_which_they_were_sent)
{
    static struct coil_wakeup a, b, c;
    stage_open();
    coil_wakeup_init(&a, note, "a");
    coil_wakeup_init(&b, note, "b");
    coil_wakeup_init(&c, note, "c");
    coil_wakeup_send(&b);
    coil_wakeup_send(&a);
    coil_wakeup_send(&c);
    coil_wakeup_send(&b);
    stage_passes(2);
    CHECK_TRACE("b a c");
    stage_close();
}

TEST(wakeup_withdrawn_is_not_called)
{
    stage_open();
    coil_wakeup_init(&wakeup, count, NULL);
    coil_wakeup_send(&wakeup);
    coil_wakeup_fini(&wakeup);
    stage_passes(3);
    CHECK_INT(calls, 0);
    stage_close();
}

static void send_again(void *arg)
{
    (void)arg;
    if (++calls < 3)
        coil_wakeup_send(&wakeup);
}

TEST(wakeup_sent_in_its_call_is_for_another_one)
{
    stage_open();
    coil_wakeup_init(&wakeup, send_again, NULL);
    coil_wakeup_send(&wakeup);
    for (int i = 0; i < 10 && calls < 3; i++)
        coil_loop_pass(stage_loop, COIL_SECONDS(10));
    CHECK_INT(calls, 3);
    coil_wakeup_fini(&wakeup);
    stage_close();
}

enum { TIMES = 20000 };
static int written, seen;

static void *send_often(void *arg)
{
    (void)arg;
    for (int i = 1; i <= TIMES; i++) {
        __atomic_store_n(&written, i, __ATOMIC_RELAXED);
        coil_wakeup_send(&wakeup);
    }
    return NULL;
}

static void look(void *arg)
{
    (void)arg;
    seen = __atomic_load_n(&written, __ATOMIC_RELAXED);
}

// What was written last, before the last send, must be seen by some call.
TEST(wakeup_of_a_thread_wakes_the_loop_for_the_last_one_too)
{
    stage_open();
    coil_wakeup_init(&wakeup, look, NULL);
    pthread_t thread;
    CHECK_INT(pthread_create(&thread, NULL, send_often, NULL), 0);
    while (seen < TIMES)
        coil_loop_pass(stage_loop, COIL_NEVER);
    pthread_join(thread, NULL);
    coil_wakeup_fini(&wakeup);
    stage_close();
}

static void on_alarm(int signo)
{
    (void)signo;
    int saved = errno;
    errno = 4242;
    coil_wakeup_send(&wakeup);
    if (errno != 4242)
        _exit(3);
    errno = saved;
}

TEST(wakeup_sent_in_a_signal_handler_wakes_the_loop_and_keeps_errno)
{
    struct sigaction action = { .sa_handler = on_alarm };
    stage_open();
    coil_wakeup_init(&wakeup, count, NULL);
    sigaction(SIGALRM, &action, NULL);
    alarm(1);
    while (!calls)
        coil_loop_pass(stage_loop, COIL_NEVER);
    coil_wakeup_fini(&wakeup);
    stage_close();
}

/* ---- At close --------------------------------------------------------- */

TEST(wakeup_calls_at_close_are_made_the_last_first)
{
    static struct coil_handle a, b, c, d;
    stage_open();
    coil_call_at_close(&a, note, "a");
    coil_call_at_close(&b, note, "b");
    coil_call_at_close(&c, note, "c");
    coil_call_at_close(&d, note, "d");
    CHECK(coil_handle_cancel(&b));
    CHECK(!coil_handle_cancel(&b));
    CHECK(coil_handle_cancel(&d));
    stage_passes(2);
    stage_close();
    CHECK_TRACE("c a");
    stage_open();
    coil_call_at_close(&a, note, "again");
    stage_close();
    CHECK_TRACE("again");
}

struct sleeper {
    struct coil_coro coro;
};

static void sleeper(struct coil_coro *co)
{
    COIL_ASYNC(sleeper, my) {
        (void)my;
        COIL_AWAIT(coil_sleep(COIL_SECONDS(1000)));

    COIL_FINALLY;
        trace("finally");
    }
}

TEST(wakeup_calls_at_close_come_when_all_tasks_have_ended)
{
    static struct coil_handle a;
    stage_open();
    coil_call_at_close(&a, note, "close");
    COIL_SPAWN(sleeper);
    stage_passes(1);
    stage_close();
    CHECK_TRACE("finally close");
}

DEATH_TEST(wakeup_call_at_close_asked_for_twice_aborts, "a handle is in use")
{
    static struct coil_handle a;
    stage_open();
    coil_call_at_close(&a, note, "a");
    coil_call_at_close(&a, note, "a");
}

/* ---- While the loop ends ---------------------------------------------- */

static void send_on_report(const struct coil_exception *what, void *arg)
{
    (void)what;
    coil_wakeup_send(arg);
}

// The poll that wakes a loop is counted as in flight. If it completes while the
// loop ends it must not be counted twice, or the loop never ends.
TEST(wakeup_sent_while_the_loop_ends_does_not_keep_it)
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.on_exception = send_on_report;
    options.on_exception_arg = &wakeup;
    struct sockaddr_in addr;
    int listening = tcp_listen(&addr, 1);
    struct coil_loop *loop;
    CHECK_INT(coil_loop_new(&loop, &options), 0);
    coil_wakeup_init(&wakeup, count, NULL);
    struct coil_acceptor *acceptor;
    CHECK_INT(coil_acceptor_open(&acceptor, listening), 0);
    coil_detach_future(coil_acceptor_next(acceptor));
    coil_loop_pass(loop, 0);
    coil_loop_close(loop); /* reports that `listening` was left open */
    close(listening);
}

// The child has the parent's signal handlers, but the descriptor that wakes the
// parent may be another file there.
TEST(wakeup_sent_in_a_forked_child_writes_nowhere)
{
    stage_open();
    coil_wakeup_init(&wakeup, count, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        int fds[8], n = 0;
        for (int i = 0; i < 8; i++)
            fds[i] = eventfd(0, EFD_NONBLOCK);
        coil_wakeup_send(&wakeup);
        uint64_t times;
        for (int i = 0; i < 8; i++)
            n += read(fds[i], &times, sizeof times) > 0;
        _exit(n);
    }
    int status = -1;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK_INT(status, 0);
    coil_wakeup_fini(&wakeup);
    stage_close();
}
