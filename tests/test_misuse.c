// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_misuse.c: NULL where the manual wants a pointer, in each public call
 * that is not hot.
 *
 * The program aborts, in the call, with the name of the call and of the
 * argument: not later, in a step or a thread where the caller is unknown. A hot
 * call (locks, queues, futures, tasks) has no such check for its own object,
 * which it uses at once.
 */
#include "test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <coil.h>

/* The words that the row of this process expects; shared with the parent. */
static const char **words;

/*
 * A table of rows, as the body of a function which makes the call of the
 * `wanted`-th row and is false if there is none.
 */
#define ROWS_BEGIN int row = 0
#define ROW(said, call) \
    do { \
        if (row++ == wanted) { \
            *words = said " is NULL"; \
            call; \
            return true; \
        } \
    } while (0)
#define ROWS_END return false

/* For results that must not be ignored. */
static void use(const void *result)
{
    (void)result;
}

/* Each row in a process of its own, which has a loop. */
static void check_rows(bool (*rows)(int wanted))
{
    words = mmap(NULL, sizeof *words, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(words != MAP_FAILED);
    for (int i = 0;; i++) {
        int err[2];
        *words = NULL;
        CHECK_INT(pipe(err), 0);
        pid_t pid = fork();
        if (pid == 0) {
            dup2(err[1], 2);
            struct coil_loop *loop;
            struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
            options.sq_entries = 8;
            options.cq_entries = 16;
            if (coil_loop_new(&loop, &options) < 0)
                _exit(2);
            _exit(rows(i) ? 1 : 0);
        }
        close(err[1]);
        char said[1024] = "";
        size_t n = 0;
        ssize_t some;
        while ((some = read(err[0], said + n, sizeof said - 1 - n)) > 0)
            n += (size_t)some;
        close(err[0]);
        int status;
        CHECK_INT(waitpid(pid, &status, 0), pid);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            CHECK(i > 0);
            break;
        }
        test_note("%s: %s %d, and says: %s", *words ? *words : "?",
                  WIFEXITED(status) ? "exits with" : "dies of signal",
                  WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
                  said);
        CHECK(*words != NULL);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        CHECK(strstr(said, *words) != NULL);
    }
    munmap(words, sizeof *words);
}

/* ---- Arguments that are not NULL --------------------------------------- */

static char text[64];

static void call(void *arg)
{
    (void)arg;
}

static int64_t process(const void *request, size_t len, void *reply,
                       size_t size)
{
    (void)request;
    (void)len;
    (void)reply;
    (void)size;
    return 0;
}

static void received(void *arg, int res, struct coil_piece *piece)
{
    (void)arg;
    (void)res;
    (void)piece;
}

static void called(struct coil_remote_call *it)
{
    (void)it;
}

struct nap {
    struct coil_coro coro;
};

static void nap(struct coil_coro *co)
{
    ASYNC(nap, my) {
        (void)my;
        AWAIT(coil_sleep(COIL_SECONDS(1000)));
    }
}

/* ---- io/ ---------------------------------------------------------------- */

static bool io_rows(int wanted)
{
    ROWS_BEGIN;
    ROW("coil_read: buf", use(coil_read(0, NULL, 1)));
    ROW("coil_pread: buf", use(coil_pread(0, NULL, 1, 0)));
    ROW("coil_write: buf", use(coil_write(1, NULL, 1)));
    ROW("coil_pwrite: buf", use(coil_pwrite(1, NULL, 1, 0)));
    ROW("coil_recv: buf", use(coil_recv(0, NULL, 1)));
    ROW("coil_send: buf", use(coil_send(0, NULL, 1)));
    ROW("coil_connect: addr", use(coil_connect(0, NULL)));

    struct coil_receiver *receiver;
    ROW("coil_receiver_open: out",
        (void)!coil_receiver_open(NULL, 0, received, NULL));
    ROW("coil_receiver_open: received",
        (void)!coil_receiver_open(&receiver, 0, NULL, NULL));

    struct coil_sender sender;
    coil_sender_init(&sender, 1);
    ROW("coil_sender_init: sender", coil_sender_init(NULL, 0));
    ROW("coil_sender_send: buf", use(coil_sender_send(&sender, NULL, 1)));

    ROW("coil_acceptor_open: out", (void)!coil_acceptor_open(NULL, 0));
    ROW("coil_acceptor_next: acceptor", use(coil_acceptor_next(NULL)));
    ROWS_END;
}

TEST(misuse_null_in_io_aborts)
{
    check_rows(io_rows);
}

/* ---- wait/ -------------------------------------------------------------- */

static bool wait_rows(int wanted)
{
    ROWS_BEGIN;
    struct coil_task *task = SPAWN(nap), *none = NULL;
    struct coil_task *tasks[2] = { task, NULL };
    struct coil_future *future = coil_future_new(), *no_future = NULL;
    struct coil_future *futures[2] = { future, NULL };
    ROW("coil_gather: array", use(coil_gather((struct coil_task **)NULL, 1)));
    ROW("coil_gather: array", use(coil_gather((struct coil_future **)NULL, 1)));
    ROW("coil_gather: element 1", use(coil_gather(tasks, 2)));
    ROW("coil_gather: element 1", use(coil_gather(futures, 2)));
    ROW("coil_gather_settled: array",
        use(coil_gather_settled((struct coil_task **)NULL, 1)));
    ROW("coil_gather_settled: element 1", use(coil_gather_settled(futures, 2)));
    ROW("coil_wait: array", use(coil_wait((struct coil_task **)NULL, 1,
                                          COIL_ALL_COMPLETED, COIL_NEVER)));
    ROW("coil_wait: element 1",
        use(coil_wait(tasks, 2, COIL_ALL_COMPLETED, COIL_NEVER)));
    ROW("coil_wait: element 1",
        use(coil_wait(futures, 2, COIL_ALL_COMPLETED, COIL_NEVER)));
    ROW("coil_cancel_and_wait: array",
        use(coil_cancel_and_wait((struct coil_task **)NULL, 1)));
    ROW("coil_cancel_and_wait: element 1",
        use(coil_cancel_and_wait(futures, 2)));
    ROW("coil_wait_for: x", use(coil_wait_for(none, 1)));
    ROW("coil_wait_for: x", use(coil_wait_for(no_future, 1)));
    ROW("coil_shield: x", use(coil_shield(none)));
    ROW("coil_shield: x", use(coil_shield(no_future)));
    ROW("coil_wait_ready: task", use(coil_wait_ready(NULL, future)));
    ROW("coil_wait_ready: ready", use(coil_wait_ready(task, NULL)));

    struct coil_completions completions;
    ROW("coil_as_completed: tasks", use(coil_as_completed(NULL, 1)));
    ROW("coil_completions_init: c",
        (void)!coil_completions_init(NULL, tasks, 1, COIL_NEVER));
    ROW("coil_completions_init: tasks",
        (void)!coil_completions_init(&completions, NULL, 1, COIL_NEVER));
    ROW("coil_completions_init: element 1",
        (void)!coil_completions_init(&completions, tasks, 2, COIL_NEVER));
    ROW("coil_completions_next: c", use(coil_completions_next(NULL)));
    ROW("coil_completions_items: c", use(coil_completions_items(NULL)));

    ROW("coil_map: source", use(coil_map(1, NULL, NULL)));
    ROW("coil_map_unordered: source", use(coil_map_unordered(1, NULL, NULL)));
    ROW("coil_map_over: generator", use(coil_map_over(1, NULL)));
    ROW("coil_map_over_unordered: generator",
        use(coil_map_over_unordered(1, NULL)));
    ROW("coil_race: tasks", use(coil_race(NULL, 1)));
    ROW("coil_race: element 1", use(coil_race(tasks, 2)));
    ROW("coil_staggered_race: source",
        use(coil_staggered_race(0, NULL, NULL, NULL)));
    ROW("coil_then: x", use(coil_then(none, NULL, NULL)));
    ROW("coil_then: x", use(coil_then(no_future, NULL, NULL)));
    ROW("coil_finally: x", use(coil_finally(none, NULL, NULL)));
    ROW("coil_finally: fn", use(coil_finally(task, NULL, NULL)));
    ROW("coil_finally: fn", use(coil_finally(future, NULL, NULL)));
    ROW("coil_chain: x", use(coil_chain(no_future, future)));
    ROW("coil_chain: dst", use(coil_chain(task, NULL)));
    ROW("coil_chain: dst", use(coil_chain(future, NULL)));

    struct coil_link link = { 0 };
    ROW("coil_link_add: link", coil_link_add(NULL, future, NULL, NULL, NULL));
    ROW("coil_link_add: future", coil_link_add(&link, NULL, NULL, NULL, NULL));
    ROW("coil_link_remove: link", coil_link_remove(NULL));
    ROWS_END;
}

TEST(misuse_null_in_combinators_aborts)
{
    check_rows(wait_rows);
}

/* ---- sync/ -------------------------------------------------------------- */

static bool sync_rows(int wanted)
{
    ROWS_BEGIN;
    ROW("coil_lock_init: lock", coil_lock_init(NULL));
    ROW("coil_event_init: event", coil_event_init(NULL));
    ROW("coil_semaphore_init: sem", coil_semaphore_init(NULL, 1));
    ROW("coil_semaphore_init_bounded: sem",
        coil_semaphore_init_bounded(NULL, 1));
    ROW("coil_waiters_init: waiters", coil_waiters_init(NULL));

    struct coil_condition cond;
    coil_condition_init(&cond, NULL);
    ROW("coil_condition_init: cond", coil_condition_init(NULL, NULL));
    ROW("coil_condition_wait: cond", use(coil_condition_wait(NULL)));
    ROW("coil_condition_wait_for: cond",
        use(coil_condition_wait_for(NULL, NULL, NULL)));
    ROW("coil_condition_wait_for: predicate",
        use(coil_condition_wait_for(&cond, NULL, NULL)));

    ROW("coil_barrier_init: barrier", coil_barrier_init(NULL, 1));
    ROW("coil_barrier_wait: barrier", use(coil_barrier_wait(NULL)));
    ROW("coil_barrier_reset: barrier", coil_barrier_reset(NULL));
    ROW("coil_barrier_abort: barrier", coil_barrier_abort(NULL));

    struct coil_limiter limiter;
    coil_limiter_init(&limiter, 1);
    ROW("coil_limiter_init: limiter", coil_limiter_init(NULL, 1));
    ROW("coil_limiter_acquire: limiter", use(coil_limiter_acquire(NULL)));
    ROW("coil_limiter_acquire_for: limiter",
        use(coil_limiter_acquire_for(NULL, text)));
    ROW("coil_limiter_resize: limiter", coil_limiter_resize(NULL, 1));
    ROW("coil_limiter_get_stats: limiter",
        coil_limiter_get_stats(NULL, (struct coil_limiter_stats *)text));
    ROW("coil_limiter_get_stats: out", coil_limiter_get_stats(&limiter, NULL));

    struct coil_task_pool pool;
    coil_task_pool_init(&pool, 1);
    ROW("coil_task_pool_init: pool", coil_task_pool_init(NULL, 1));
    ROW("coil_task_pool_spawn: pool",
        use(coil_task_pool_spawn(NULL, CALL(nap))));
    ROW("coil_task_pool_spawn: call", use(coil_task_pool_spawn(&pool, NULL)));
    ROW("coil_task_pool_resize: pool", coil_task_pool_resize(NULL, 1));
    ROW("coil_task_pool_join: pool", use(coil_task_pool_join(NULL)));
    ROW("coil_task_pool_cancel_all: pool", coil_task_pool_cancel_all(NULL));

    struct coil_queue queue;
    coil_queue_init(&queue, 1);
    ROW("coil_queue_init: queue", coil_queue_init(NULL, 1));
    ROW("coil_queue_init_lifo: queue", coil_queue_init_lifo(NULL, 1));
    ROW("coil_queue_init_priority: queue",
        coil_queue_init_priority(NULL, 1, NULL));
    ROW("coil_queue_init_priority: compare",
        coil_queue_init_priority(&queue, 1, NULL));
    ROW("coil_queue_items: queue", use(coil_queue_items(NULL)));
    ROW("coil_queue_join: queue", use(coil_queue_join(NULL)));
    ROW("coil_queue_shutdown: queue", coil_queue_shutdown(NULL));

    ROW("coil_select: cases", use(coil_select(NULL, 1)));
    ROW("coil_select_nowait: cases", (void)!coil_select_nowait(NULL, 1));
    ROWS_END;
}

TEST(misuse_null_in_primitives_aborts)
{
    check_rows(sync_rows);
}

/* ---- thread/ ------------------------------------------------------------ */

static bool thread_rows(int wanted)
{
    ROWS_BEGIN;
    struct coil_executor *e = coil_executor_new(NULL);
    struct coil_job no_run = { .arg = text };
    ROW("coil_run_in_executor: fn", use(coil_run_in_executor(e, NULL, NULL)));
    ROW("coil_to_thread: fn", use(coil_to_thread(NULL, NULL)));
    ROW("coil_run_in_executor_take: job",
        use(coil_run_in_executor_take(e, NULL)));
    ROW("coil_run_in_executor_take: job->run",
        use(coil_run_in_executor_take(e, &no_run)));
    ROW("coil_set_default_executor: executor", coil_set_default_executor(NULL));
    ROW("coil_executor_get_stats: executor",
        coil_executor_get_stats(NULL, (struct coil_executor_stats *)text));
    ROW("coil_executor_get_stats: out", coil_executor_get_stats(e, NULL));

    struct coil_remote *remote = coil_remote_current();
    struct coil_remote_call it;
    struct coil_remote_job no_make = { .arg = text };
    ROW("coil_remote_ref: remote", coil_remote_ref(NULL));
    ROW("coil_remote_call_soon: remote",
        (void)!coil_remote_call_soon(NULL, &it, called));
    ROW("coil_remote_call_soon: call",
        (void)!coil_remote_call_soon(remote, NULL, called));
    ROW("coil_remote_call_soon: fn",
        (void)!coil_remote_call_soon(remote, &it, NULL));
    ROW("coil_remote_keep_open: remote", coil_remote_keep_open(NULL));
    ROW("coil_remote_allow_close: remote", coil_remote_allow_close(NULL));
    ROW("coil_remote_spawn: remote", use(coil_remote_spawn(NULL, &no_make)));
    ROW("coil_remote_spawn: job", use(coil_remote_spawn(remote, NULL)));
    ROW("coil_remote_spawn: job->make",
        use(coil_remote_spawn(remote, &no_make)));
    ROW("coil_remote_task_join: task",
        (void)!coil_remote_task_join(NULL, 0, NULL));
    ROW("coil_remote_task_cancel: task", coil_remote_task_cancel(NULL));
    ROW("coil_remote_task_on_done: task",
        coil_remote_task_on_done(NULL, call, NULL));
    ROW("coil_remote_task_ref: task", coil_remote_task_ref(NULL));

    ROW("coil_promise_set: promise",
        coil_promise_set(NULL, coil_result_int(1)));
    ROW("coil_promise_abandoned: promise", coil_promise_abandoned(NULL));
    ROW("coil_promise_ref: promise", use(coil_promise_ref(NULL)));

    struct coil_channel *channel = coil_channel_new(1, NULL);
    ROW("coil_channel_ref: channel", use(coil_channel_ref(NULL)));
    ROW("coil_channel_items: channel", use(coil_channel_items(NULL)));
    ROW("coil_channel_put_blocking: channel",
        (void)!coil_channel_put_blocking(NULL, text, 0));
    ROW("coil_channel_get_blocking: item",
        (void)!coil_channel_get_blocking(channel, 0, NULL));
    ROW("coil_channel_shutdown: channel", coil_channel_shutdown(NULL));
    ROWS_END;
}

TEST(misuse_null_between_threads_aborts)
{
    check_rows(thread_rows);
}

/* ---- os/ ---------------------------------------------------------------- */

static bool os_rows(int wanted)
{
    ROWS_BEGIN;
    struct coil_signal_handler handler = { 0 };
    ROW("coil_signals: signos", use(coil_signals(NULL, 1)));
    ROW("coil_signal_add_handler: handler",
        (void)!coil_signal_add_handler(NULL, SIGUSR1, call, NULL));
    ROW("coil_signal_add_handler: fn",
        (void)!coil_signal_add_handler(&handler, SIGUSR1, NULL, NULL));
    ROW("coil_signal_remove_handler: handler",
        coil_signal_remove_handler(NULL));

    struct coil_process_pool *pool = (struct coil_process_pool *)text;
    ROW("coil_process_pool_open: out",
        (void)!coil_process_pool_open(NULL, NULL));
    ROW("coil_process_pool_run: pool",
        use(coil_process_pool_run(NULL, process, NULL, 0, NULL, 0)));
    ROW("coil_process_pool_run: fn",
        use(coil_process_pool_run(pool, NULL, NULL, 0, NULL, 0)));
    ROW("coil_process_pool_run: request",
        use(coil_process_pool_run(pool, process, NULL, 1, NULL, 0)));
    ROW("coil_process_pool_run: reply",
        use(coil_process_pool_run(pool, process, NULL, 0, NULL, 1)));
    ROW("coil_process_pool_workers: pool", coil_process_pool_workers(NULL));
    ROWS_END;
}

TEST(misuse_null_in_signals_and_processes_aborts)
{
    check_rows(os_rows);
}

/* ---- net/ --------------------------------------------------------------- */

static bool net_rows(int wanted)
{
    ROWS_BEGIN;
    struct coil_addr addr;
    struct coil_addrs addrs;
    struct coil_listener *listener = (struct coil_listener *)text;
    ROW("coil_addr_from_ip: out", coil_addr_from_ip(NULL, "::1", 1));
    ROW("coil_addr_from_ip: ip", coil_addr_from_ip(&addr, NULL, 1));
    ROW("coil_addr_from_path: out", coil_addr_from_path(NULL, "/tmp/x"));
    ROW("coil_addr_from_path: path", coil_addr_from_path(&addr, NULL));
    ROW("coil_addr_port: addr", coil_addr_port(NULL));
    ROW("coil_addr_text: addr", use(coil_addr_text(NULL, text, 1)));
    ROW("coil_addr_text: buf", use(coil_addr_text(&addr, NULL, 1)));
    ROW("coil_addr_local: out", coil_addr_local(NULL, 0));
    ROW("coil_addr_peer: out", coil_addr_peer(NULL, 0));
    ROW("coil_resolve: out", use(coil_resolve(NULL, "host", 1)));
    ROW("coil_resolve: host", use(coil_resolve(&addrs, NULL, 1)));
    ROW("coil_stream_connect: addr", use(coil_stream_connect(NULL)));
    ROW("coil_open_connection: host", use(coil_open_connection(NULL, 1, NULL)));
    ROW("coil_listener_open: out", (void)!coil_listener_open(NULL, &addr, 1));
    ROW("coil_listener_open: addr",
        (void)!coil_listener_open(&listener, NULL, 1));
    ROW("coil_listener_addr: listener", coil_listener_addr(NULL, &addr));
    ROW("coil_listener_addr: out", coil_listener_addr(listener, NULL));
    ROW("coil_listener_accept: listener", use(coil_listener_accept(NULL)));

    struct coil_stream *stream = coil_stream_new(dup(1));
    ROW("coil_stream_read: stream", use(coil_stream_read(NULL, text, 1)));
    ROW("coil_stream_read: buf", use(coil_stream_read(stream, NULL, 1)));
    ROW("coil_stream_read_exactly: stream",
        use(coil_stream_read_exactly(NULL, text, 1)));
    ROW("coil_stream_read_exactly: buf",
        use(coil_stream_read_exactly(stream, NULL, 1)));
    ROW("coil_stream_read_until: stream",
        use(coil_stream_read_until(NULL, 'x', text, 1)));
    ROW("coil_stream_read_until: buf",
        use(coil_stream_read_until(stream, 'x', NULL, 1)));
    ROW("coil_stream_lines: stream", use(coil_stream_lines(NULL, 1)));
    ROW("coil_stream_write: stream", use(coil_stream_write(NULL, text, 1)));
    ROW("coil_stream_write: buf", use(coil_stream_write(stream, NULL, 1)));
    ROW("coil_stream_write_eof: stream", use(coil_stream_write_eof(NULL)));
    ROW("coil_stream_pair: ends", (void)!coil_stream_pair(NULL, 0));
    ROWS_END;
}

TEST(misuse_null_in_addresses_and_streams_aborts)
{
    check_rows(net_rows);
}

/* ---- core/ -------------------------------------------------------------- */

static bool core_rows(int wanted)
{
    ROWS_BEGIN;
    struct coil_loop *loop = coil_loop_current();
    struct coil_handle handle = { 0 };
    struct coil_future *future = coil_future_new();
    struct coil_wakeup wakeup;
    ROW("coil_loop_new: out", (void)!coil_loop_new(NULL, NULL));
    ROW("coil_entropy: buf", (void)!coil_entropy(NULL, 1));
    ROW("coil_loop_closing: loop", coil_loop_closing(NULL));
    ROW("coil_loop_run_until_complete: loop",
        coil_loop_run_until_complete(NULL, SPAWN(nap)));
    ROW("coil_loop_run_until_complete: task",
        coil_loop_run_until_complete(loop, NULL));
    ROW("coil_loop_stop: loop", coil_loop_stop(NULL));
    ROW("coil_loop_get_stats: loop",
        coil_loop_get_stats(NULL, (struct coil_loop_stats *)text));
    ROW("coil_loop_get_stats: out", coil_loop_get_stats(loop, NULL));
    ROW("coil_call_soon: fn", coil_call_soon(&handle, NULL, NULL));
    ROW("coil_call_later: fn", coil_call_later(&handle, 0, NULL, NULL));
    ROW("coil_call_at: fn", coil_call_at(&handle, 0, NULL, NULL));
    ROW("coil_call_at_close: fn", coil_call_at_close(&handle, NULL, NULL));
    ROW("coil_call_soon_threadsafe: loop",
        coil_call_soon_threadsafe(NULL, &handle, call, NULL));
    ROW("coil_call_soon_threadsafe: fn",
        coil_call_soon_threadsafe(loop, &handle, NULL, NULL));
    ROW("coil_loop_set_exception_handler: loop",
        coil_loop_set_exception_handler(NULL, NULL, NULL));
    ROW("coil_loop_get_exception_handler: loop",
        (void)!coil_loop_get_exception_handler(NULL, NULL));
    ROW("coil_call_exception_handler: exception",
        coil_call_exception_handler(NULL));
    ROW("coil_default_exception_handler: exception",
        coil_default_exception_handler(NULL));
    ROW("coil_future_add_done_callback: fn",
        coil_future_add_done_callback(future, &handle, NULL, NULL));
    ROW("coil_custom_new: cls", use(coil_custom_new(NULL, 64)));
    ROW("coil_context_set: var", (void)!coil_context_set(NULL, NULL));
    ROW("coil_wakeup_init: wakeup", coil_wakeup_init(NULL, call, NULL));
    ROW("coil_wakeup_init: fn", coil_wakeup_init(&wakeup, NULL, NULL));
    ROW("coil_explain: buf", use(coil_explain(-1, 0, NULL, 1)));
    ROW("coil_group_spawn: group", use(coil_group_spawn(NULL, CALL(nap))));
    ROW("coil_group_start: group", (void)!coil_group_start(NULL, CALL(nap)));
    ROW("coil_group_cancel: group", coil_group_cancel(NULL));
    ROW("coil_cancel_scope_cancel: scope", coil_cancel_scope_cancel(NULL));
    ROW("coil_cancel_scope_set_deadline: scope",
        (void)!coil_cancel_scope_set_deadline(NULL, 0));
    ROWS_END;
}

TEST(misuse_null_in_the_loop_aborts)
{
    check_rows(core_rows);
}
