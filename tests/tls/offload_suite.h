// SPDX-License-Identifier: MIT
/*
 * offload_suite.h: the costly steps of TLS handshakes in threads.
 *
 * A file that tests an engine defines offload_engine() and includes this. Here
 * the engine has a gate in front of each step: so a case decides when a thread
 * is in the middle of one.
 */
#include "gate.h"

#include <coil/executor.h>
#include <sys/wait.h>

static struct gate gate = GATE_INIT;
static _Atomic(pthread_t) loops_thread;
static _Atomic(int) steps_in_loop, steps_in_threads;
static struct coil_executor *executor;
static struct coil_tls_server *server;
static struct coil_tls_client *client;
static struct kit_result results[2];

static void gated_work(struct coili_tls_state *state)
{
    if (pthread_equal(pthread_self(), loops_thread)) {
        steps_in_loop++;
    } else {
        steps_in_threads++;
        gate_pass(&gate);
    }
    offload_engine()->work(state);
}

static const struct coil_tls_engine *gated_engine(void)
{
    static struct coil_tls_engine engine;
    engine = *offload_engine();
    engine.work = gated_work;
    return &engine;
}

/* A loop, an executor and two setups; steps pass the gate. */
static void open_all(unsigned threads)
{
    struct coil_tls_server_options s = kit_server_options();
    struct coil_tls_client_options c = kit_client_options();
    struct coil_executor_options e = COIL_EXECUTOR_OPTIONS_INIT;
    e.threads_limit = threads;
    gate_open(&gate, -1);
    gate.there = 0;
    loops_thread = pthread_self();
    executor = coil_executor_new(&e);
    s.engine = c.engine = gated_engine();
    s.executor = c.executor = executor;
    server = kit_server(&s);
    client = kit_client(&c);
}

/* In a loop. */
static void close_all(void)
{
    if (executor)
        CHECK_INT(wait_int(coil_executor_shutdown(executor)), 0);
    coil_executor_free(executor);
    executor = NULL;
    coil_tls_server_unref(server);
    coil_tls_client_unref(client);
}

static void shake_hands(struct coil_task *tasks[2])
{
    struct coil_stream *lower[2];
    CHECK_INT(coil_stream_pair(lower, 0), 0);
    tasks[0] = coil_spawn(coil_tls_accept(lower[0], server, &results[0].why));
    tasks[1] = coil_spawn(
        coil_tls_connect(lower[1], client, "a.test", &results[1].why));
}

static void close_streams(void)
{
    for (int i = 0; i < 2; i++)
        if (results[i].stream)
            CHECK_INT(wait_int(coil_stream_close(results[i].stream)), 0);
}

static void take_both(struct coil_task *tasks[2])
{
    kit_take(&results[1], tasks[1]);
    kit_take(&results[0], tasks[0]);
}

TEST(offload_no_step_is_taken_in_the_loop)
{
    static char text[8];
    struct coil_task *tasks[2];
    stage_open();
    open_all(2);
    shake_hands(tasks);
    take_both(tasks);
    CHECK_INT(results[0].err, 0);
    CHECK_INT(results[1].err, 0);
    CHECK_INT(steps_in_loop, 0);
    CHECK(steps_in_threads >= 4);
    for (int i = 0; i < 2; i++) {
        struct coil_stream *from = results[i].stream, *to = results[!i].stream;
        CHECK_INT(wait_int(coil_stream_write(from, "hello", 5)), 5);
        CHECK_INT(wait_int(coil_stream_read_exactly(to, text, 5)), 5);
        CHECK_MEM(text, "hello", 5);
    }
    close_streams();
    close_all();
    stage_close();
}

/* Ticks as often as the loop lets it. */
struct ticker {
    struct coil_coro coro;
    int *ticks;
};

static void ticker(struct coil_coro *co)
{
    COIL_ASYNC(ticker, my) {
        for (;;) {
            COIL_AWAIT(coil_sleep(COIL_MS(10)));
            ++*my->ticks;
        }
    }
}

// All threads stand in the middle of a step: what the loop does meanwhile no
// step can hold up.
TEST(offload_loop_goes_on_while_a_hundred_handshakes_run)
{
    enum { PAIRS = 50, THREADS = 4 };
    static struct coil_task *tasks[PAIRS][2];
    int ticks = 0;
    stage_open();
    open_all(THREADS);
    gate_open(&gate, 0);
    for (int i = 0; i < PAIRS; i++)
        shake_hands(tasks[i]);
    struct coil_task *task = coil_spawn(COIL_CALL(ticker, .ticks = &ticks));
    UNTIL(gate_there(&gate) == THREADS);
    ticks = 0;
    UNTIL(ticks == 5);
    CHECK_INT(gate_there(&gate), THREADS);
    for (int i = 0; i < PAIRS; i++)
        CHECK(!coil_task_done(tasks[i][0]) && !coil_task_done(tasks[i][1]));
    gate_open(&gate, -1);
    for (int i = 0; i < PAIRS; i++) {
        take_both(tasks[i]);
        CHECK_INT(results[0].err, 0);
        CHECK_INT(results[1].err, 0);
        close_streams();
    }
    CHECK_INT(steps_in_loop, 0);
    coil_task_cancel(task);
    stage_run(task);
    coil_task_drop(&task);
    close_all();
    stage_close();
}

/* Passes until `n` steps were begun, or both ends are done; true: the first. */
static bool reaches(struct coil_task *tasks[2], int n)
{
    while (gate_there(&gate) < n) {
        if (coil_task_done(tasks[0]) && coil_task_done(tasks[1]))
            return false;
        coil_loop_pass(stage_loop, COIL_MS(1));
    }
    return true;
}

// The n-th step is in a thread when its end is cancelled: the await goes on until
// the thread has let go of the engine's state.
TEST(offload_cancel_waits_for_the_thread)
{
    stage_open();
    for (int n = 1;; n++) {
        struct coil_task *tasks[2];
        open_all(1); /* the steps are taken one after the other */
        gate_open(&gate, n - 1);
        shake_hands(tasks);
        bool there = reaches(tasks, n);
        for (int i = 0; i < 2; i++)
            coil_task_cancel(tasks[i]);
        stage_passes(5);
        /* One of them is in the thread; what the other waits for can end. */
        CHECK_INT(coil_task_done(tasks[0]) + coil_task_done(tasks[1]),
                  there ? 1 : 2);
        gate_open(&gate, -1);
        take_both(tasks);
        for (int i = 0; i < 2; i++)
            CHECK(results[i].err == 0 || results[i].err == -ECANCELED ||
                  results[i].err == COIL_EINCOMPLETE);
        close_streams();
        close_all();
        if (!there) {
            CHECK(n > 4);
            break;
        }
    }
    stage_close();
}

// In each pass of the loop, whatever the threads do meanwhile.
TEST(offload_handshake_is_cancelled_at_every_point)
{
    bool over = false;
    stage_open();
    for (int point = 0; !over; point++) {
        struct coil_task *tasks[2];
        int end = point % 2;
        open_all(2);
        shake_hands(tasks);
        for (int i = 0; i < point / 2; i++)
            coil_loop_pass(stage_loop, COIL_MS(20));
        over = coil_task_done(tasks[0]) && coil_task_done(tasks[1]);
        test_note("point %d", point);
        coil_task_cancel(tasks[end]);
        kit_take(&results[end], tasks[end]);
        kit_take(&results[!end], tasks[!end]);
        CHECK(results[end].err == 0 || results[end].err == -ECANCELED);
        close_streams();
        close_all();
    }
    stage_close();
}

// The time is up while a thread works: the error comes when the thread is done.
TEST(offload_time_out_waits_for_the_thread)
{
    struct coil_tls_client_options c = kit_client_options();
    struct coil_task *tasks[2];
    stage_open();
    open_all(1);
    coil_tls_client_unref(client);
    c.engine = gated_engine();
    c.executor = executor;
    c.handshake_ns = COIL_MS(500);
    client = kit_client(&c);
    gate_open(&gate, 0);
    shake_hands(tasks);
    UNTIL(gate_there(&gate) == 1);
    int64_t late = coil_now() + COIL_MS(550);
    UNTIL(coil_now() > late);
    CHECK(!coil_task_done(tasks[1]));
    gate_open(&gate, -1);
    kit_take(&results[1], tasks[1]);
    CHECK_INT(results[1].err, -ETIMEDOUT);
    CHECK(strstr(results[1].why.text, "in time"));
    kit_take(&results[0], tasks[0]);
    CHECK(results[0].err < 0);
    close_streams();
    close_all();
    stage_close();
}

static void *open_gate_later(void *arg)
{
    (void)arg;
    usleep(20000);
    gate_open(&gate, -1);
    return NULL;
}

// The loop closes in the middle of a step, and waits until it may free the state.
TEST(offload_loop_closes_in_the_middle_of_a_step)
{
    struct coil_task *tasks[2];
    pthread_t thread;
    stage_open();
    open_all(2);
    gate_open(&gate, 0);
    shake_hands(tasks);
    UNTIL(gate_there(&gate) == 1);
    CHECK_INT(pthread_create(&thread, NULL, open_gate_later, NULL), 0);
    stage_close();
    pthread_join(thread, NULL);
    CHECK_INT(stage_reported.n, 0);
    coil_executor_free(executor);
    executor = NULL;
    coil_tls_server_unref(server);
    coil_tls_client_unref(client);
}

// It says why, and tells the peer, which has no executor.
TEST(offload_executor_that_was_shut_down_is_an_error)
{
    struct coil_task *tasks[2];
    stage_open();
    open_all(1);
    coil_tls_server_unref(server);
    struct coil_tls_server_options s = kit_server_options();
    s.engine = offload_engine();
    server = kit_server(&s);
    CHECK_INT(wait_int(coil_executor_shutdown(executor)), 0);
    shake_hands(tasks);
    take_both(tasks);
    CHECK_INT(results[1].err, COIL_ECLOSED);
    CHECK_INT(COIL_DETAIL_PHASE(results[1].detail), COIL_PHASE_TLS);
    CHECK_STR(results[1].why.text,
              "the executor for TLS handshakes was shut down");
    CHECK_INT(results[0].err, COIL_ETLS); /* an alert has come */
    coil_executor_free(executor);
    executor = NULL;
    close_all();
    stage_close();
}

// A step that waits for a thread is withdrawn at once.
TEST(offload_step_in_the_queue_is_cancelled_at_once)
{
    struct coil_task *first[2], *second[2];
    stage_open();
    open_all(1);
    gate_open(&gate, 0);
    shake_hands(first);
    UNTIL(gate_there(&gate) == 1);
    shake_hands(second);
    struct coil_executor_stats stats;
    do {
        coil_loop_pass(stage_loop, COIL_MS(1));
        coil_executor_get_stats(executor, &stats);
    } while (stats.waiting == 0);
    coil_task_cancel(second[1]);
    kit_take(&results[1], second[1]);
    CHECK_INT(results[1].err, -ECANCELED);
    kit_take(&results[0], second[0]);
    CHECK_INT(results[0].err, COIL_EINCOMPLETE);
    gate_open(&gate, -1);
    take_both(first);
    CHECK_INT(results[0].err, 0);
    close_streams();
    close_all();
    stage_close();
}

static int shake_hands_once(void)
{
    struct coil_stream *lower[2];
    int err = coil_loop_new(&stage_loop, stage_options());
    if (err < 0)
        return err;
    err = coil_stream_pair(lower, 0);
    if (err == 0) {
        kit_handshake(results, lower, server, client, "a.test");
        err = results[0].err < 0 ? results[0].err : results[1].err;
        for (int i = 0; i < 2; i++) {
            coil_stream_close_soon(results[i].stream);
            if (results[i].err == -ENOMEM)
                err = -ENOMEM;
        }
    }
    stage_close();
    return err;
}

// The setups and the executor stay; its thread is there after the first run.
TEST(offload_survives_every_failed_allocation)
{
    test_timeout(120);
    open_all(1);
    stage_open();
    struct coil_task *tasks[2];
    shake_hands(tasks);
    take_both(tasks);
    close_streams();
    stage_close();
    test_every_allocation(shake_hands_once);
    coil_executor_free(executor);
    executor = NULL;
    coil_tls_server_unref(server);
    coil_tls_client_unref(client);
}

// A child of fork() has no thread of the executor: there the loop does the work.
TEST(offload_child_of_fork_uses_a_setup_without)
{
    open_all(1);
    stage_open();
    struct coil_task *tasks[2];
    shake_hands(tasks);
    take_both(tasks);
    CHECK_INT(results[0].err, 0);
    close_streams();
    close_all();
    stage_close();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        stage_open();
        loops_thread = pthread_self();
        struct coil_tls_server_options s = kit_server_options();
        struct coil_tls_client_options c = kit_client_options();
        s.engine = c.engine = gated_engine();
        server = kit_server(&s);
        client = kit_client(&c);
        shake_hands(tasks);
        take_both(tasks);
        _exit(results[0].err == 0 && results[1].err == 0 && steps_in_loop > 0
                  ? 0
                  : 1);
    }
    int status;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK_INT(status, 0);
}
