// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_executor.c: jobs in threads, and every way in which a result may not
 * reach the future of its job.
 *
 * Threads stop at gates: a test lets them through, no clock is involved. Calls
 * of pthread_create() pass through here (--wrap, see CMakeLists.txt).
 */
#include "gate.h"
#include "stage.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <coil/executor.h>
#include <coil/io.h>
#include <coil/map.h>
#include <coil/remote_task.h>

static atomic_int threads_made, threads_refused;

typedef void *thread_fn(void *);
int __real_pthread_create(pthread_t *, const pthread_attr_t *, thread_fn *,
                          void *);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, thread_fn *,
                          void *);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          thread_fn *fn, void *arg)
{
    if (atomic_load(&threads_refused) > 0) {
        atomic_fetch_sub(&threads_refused, 1);
        return EAGAIN;
    }
    atomic_fetch_add(&threads_made, 1);
    return __real_pthread_create(thread, attr, fn, arg);
}

/* ---- Jobs ------------------------------------------------------------- */

static struct coil_result twice(void *arg)
{
    return coil_result_int(*(int *)arg * 2);
}

static struct coil_result half(void *arg)
{
    return coil_result_double(*(int *)arg / 2.0);
}

static struct coil_result itself(void *arg)
{
    return coil_result_pointer(arg);
}

static struct coil_result fails(void *arg)
{
    (void)arg;
    return coil_result_error_detail(-EIO, 77);
}

static struct coil_result stops(void *arg)
{
    gate_pass(arg);
    return coil_result_int(1);
}

static struct coil_executor *pool(unsigned threads)
{
    struct coil_executor_options o = COIL_EXECUTOR_OPTIONS_INIT;
    o.threads_limit = threads;
    struct coil_executor *e = coil_executor_new(&o);
    CHECK(e);
    return e;
}

static struct coil_executor_stats stats_of(struct coil_executor *e)
{
    struct coil_executor_stats stats;
    coil_executor_get_stats(e, &stats);
    return stats;
}

/* Passes until the future is done. */
static void drive(struct coil_future *f)
{
    while (!coil_future_done(f))
        coil_loop_pass(stage_loop, COIL_NEVER);
}

static int end_of(struct coil_task *task)
{
    drive(coil_task_future(task));
    return coil_future_error(coil_task_future(task));
}

static int64_t value_of(struct coil_task *task)
{
    CHECK_INT(end_of(task), 0);
    return coil_future_int(coil_task_future(task));
}

static void shut_down(struct coil_executor *e)
{
    CHECK_INT(end_of(coil_spawn(coil_executor_shutdown(e))), 0);
    coil_executor_free(e);
}

/* ---- Results ---------------------------------------------------------- */

struct results {
    struct coil_coro coro;
    int n, i, err;
    double d;
    void *p;
};

static void results(struct coil_coro *co)
{
    ASYNC(results, my) {
        my->n = 21;
        AWAIT_TO(my->i, coil_to_thread(twice, &my->n));
        AWAIT_TO(my->d, coil_to_thread(half, &my->n));
        AWAIT_TO(my->p, coil_to_thread(itself, &my->n));
        CHECK_INT(my->i, 42);
        CHECK(my->d == 10.5);
        CHECK(my->p == &my->n);
        TRY_AWAIT(my->err, coil_to_thread(fails, NULL));
        CHECK_INT(my->err, -EIO);
        CHECK_INT(coil_last_detail(), 77);
    }
}

TEST(executor_brings_back_integers_doubles_pointers_and_errors)
{
    CHECK_INT(RUN(results), 0);
}

static struct coil_result at_home(void *arg)
{
    char name[16] = "";
    sigset_t set;
    pthread_getname_np(pthread_self(), name, sizeof name);
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    CHECK(sigismember(&set, SIGINT) && sigismember(&set, SIGTERM));
    snprintf(arg, 64, "%s", name);
    return coil_result_int(coil_loop_current() == NULL);
}

// So `top -H` and gdb tell threads apart, and signals go where they should.
TEST(executor_names_its_threads_and_blocks_their_signals)
{
    char name[64];
    struct coil_executor_options o = COIL_EXECUTOR_OPTIONS_INIT;
    stage_open();
    CHECK_INT(value_of(coil_spawn(coil_to_thread(at_home, name))), 1);
    CHECK_STR(name, "coil-1");
    o.name = "a-name-that-is-far-too-long";
    o.stack_bytes = 1 << 20;
    struct coil_executor *e = coil_executor_new(&o);
    value_of(coil_spawn(coil_run_in_executor(e, at_home, name)));
    CHECK_STR(name, "a-name-that-is-");
    coil_executor_free(e);
    stage_close();
}

/* ---- Threads ---------------------------------------------------------- */

// A thread per job, as a resolver would have it, is what pools are against.
TEST(executor_uses_an_idle_thread_before_it_makes_one)
{
    int n = 1;
    struct coil_executor *e = pool(8);
    stage_open();
    CHECK_INT(threads_made, 0);
    for (int i = 0; i < 20; i++) {
        value_of(coil_spawn(coil_run_in_executor(e, twice, &n)));
        while (stats_of(e).idle == 0)
            usleep(100);
    }
    CHECK_INT(threads_made, 1);
    shut_down(e);
    stage_close();
}

TEST(executor_makes_no_more_threads_than_it_may)
{
    struct gate gate = GATE_INIT;
    struct coil_task *tasks[9];
    struct coil_executor *e = pool(3);
    stage_open();
    for (int i = 0; i < 9; i++)
        tasks[i] = coil_spawn(coil_run_in_executor(e, stops, &gate));
    stage_passes(2);
    gate_await(&gate, 3);
    CHECK_INT(gate_there(&gate), 3);
    CHECK_INT(stats_of(e).threads, 3);
    CHECK_INT(stats_of(e).waiting, 6);
    gate_open(&gate, -1);
    for (int i = 0; i < 9; i++)
        CHECK_INT(value_of(tasks[i]), 1);
    CHECK_INT(threads_made, 3);
    shut_down(e);
    stage_close();
}

static struct coil_result traced(void *arg)
{
    trace("%d", *(int *)arg);
    return coil_result_int(0);
}

// With one thread jobs run in the order in which they were asked for.
TEST(executor_line_is_first_come_first_served)
{
    int n[5] = { 0, 1, 2, 3, 4 };
    struct coil_task *tasks[5];
    struct coil_executor *e = pool(1);
    stage_open();
    for (int i = 0; i < 5; i++)
        tasks[i] = coil_spawn(coil_run_in_executor(e, traced, &n[i]));
    for (int i = 0; i < 5; i++)
        value_of(tasks[i]);
    CHECK_TRACE("0 1 2 3 4");
    shut_down(e);
    stage_close();
}

TEST(executor_without_any_thread_fails_the_job)
{
    int n = 4;
    struct coil_executor *e = pool(2);
    stage_open();
    threads_refused = 1;
    CHECK_INT(end_of(coil_spawn(coil_run_in_executor(e, twice, &n))),
              COIL_ENOTHREAD);
    CHECK_INT(value_of(coil_spawn(coil_run_in_executor(e, twice, &n))), 8);
    shut_down(e);
    stage_close();
}

// One thread is enough to go on with.
TEST(executor_with_fewer_threads_than_it_wanted_goes_on)
{
    struct gate gate = GATE_INIT;
    struct coil_task *tasks[3];
    struct coil_executor *e = pool(3);
    stage_open();
    tasks[0] = coil_spawn(coil_run_in_executor(e, stops, &gate));
    stage_passes(1);
    threads_refused = 100;
    for (int i = 1; i < 3; i++)
        tasks[i] = coil_spawn(coil_run_in_executor(e, stops, &gate));
    stage_passes(1);
    gate_open(&gate, -1);
    for (int i = 0; i < 3; i++)
        CHECK_INT(value_of(tasks[i]), 1);
    CHECK_INT(threads_made, 1);
    shut_down(e);
    stage_close();
}

/* ---- Jobs that end their thread ---------------------------------------- */

static struct coil_result exits(void *arg)
{
    if (arg)
        gate_pass(arg);
    pthread_exit(NULL);
}

// A library may give up so: the await would never end.
TEST(executor_job_that_ends_its_thread_is_broken)
{
    int n = 4;
    struct coil_executor *e = pool(1);
    stage_open();
    for (int i = 0; i < 3; i++) {
        CHECK_INT(end_of(coil_spawn(coil_run_in_executor(e, exits, NULL))),
                  COIL_EBROKEN);
        CHECK_INT(value_of(coil_spawn(coil_run_in_executor(e, twice, &n))), 8);
    }
    CHECK_INT(end_of(coil_spawn(coil_run_in_executor(e, exits, NULL))),
              COIL_EBROKEN);
    shut_down(e);
    stage_close();
}

// Those behind it in line have no other thread to run in.
TEST(executor_replaces_a_thread_that_a_job_has_ended)
{
    struct gate gate = GATE_INIT;
    int n[3] = { 0, 1, 2 };
    struct coil_task *tasks[3];
    struct coil_executor *e = pool(1);
    stage_open();
    struct coil_task *first = coil_spawn(coil_run_in_executor(e, exits, &gate));
    stage_passes(1);
    gate_await(&gate, 1);
    for (int i = 0; i < 3; i++)
        tasks[i] = coil_spawn(coil_run_in_executor(e, traced, &n[i]));
    stage_passes(1);
    gate_open(&gate, -1);
    CHECK_INT(end_of(first), COIL_EBROKEN);
    for (int i = 0; i < 3; i++)
        value_of(tasks[i]);
    CHECK_TRACE("0 1 2");
    CHECK_INT(threads_made, 2);
    shut_down(e);
    stage_close();
}

TEST(executor_that_cannot_replace_its_last_thread_fails_the_jobs_in_line)
{
    struct gate gate = GATE_INIT;
    int n = 4;
    struct coil_executor *e = pool(1);
    stage_open();
    struct coil_task *first = coil_spawn(coil_run_in_executor(e, exits, &gate));
    stage_passes(1);
    gate_await(&gate, 1);
    struct coil_task *lent = coil_spawn(coil_run_in_executor(e, twice, &n));
    struct coil_task *owned = coil_spawn(coil_run_in_executor_take(
        e, &(struct coil_job){
               .run = itself, .arg = malloc(10), .free_arg = free }));
    stage_passes(1);
    threads_refused = 2;
    gate_open(&gate, -1);
    CHECK_INT(end_of(first), COIL_EBROKEN);
    CHECK_INT(end_of(lent), COIL_ENOTHREAD);
    CHECK_INT(end_of(owned), COIL_ENOTHREAD);
    CHECK_INT(value_of(coil_spawn(coil_run_in_executor(e, twice, &n))), 8);
    shut_down(e);
    stage_close();
}

static atomic_int args_freed;

static void free_and_exit(void *arg)
{
    free(arg);
    atomic_fetch_add(&args_freed, 1);
    pthread_exit(NULL);
}

// The argument is freed once, whoever ends the thread.
TEST(executor_job_that_ends_its_thread_frees_its_argument)
{
    struct coil_executor *e = pool(1);
    stage_open();
    struct coil_job job = { .run = exits, .arg = NULL, .free_arg = free };
    CHECK_INT(end_of(coil_spawn(coil_run_in_executor_take(e, &job))),
              COIL_EBROKEN);
    job = (struct coil_job){ .run = itself,
                             .arg = malloc(10),
                             .free_arg = free_and_exit };
    CHECK_INT(end_of(coil_spawn(coil_run_in_executor_take(e, &job))), 0);
    CHECK_INT(args_freed, 1);
    shut_down(e);
    stage_close();
}

static struct coil_result cancels_itself(void *arg)
{
    pthread_cancel(pthread_self());
    pthread_testcancel();
    return coil_result_pointer(arg);
}

// A thread that waits for jobs holds the executor's lock when it is cancelled.
TEST(executor_thread_cannot_be_cancelled)
{
    struct coil_executor *e = pool(1);
    stage_open();
    CHECK_INT(end_of(coil_spawn(coil_run_in_executor(e, cancels_itself, e))),
              0);
    CHECK_INT(end_of(coil_spawn(coil_run_in_executor(e, itself, e))), 0);
    CHECK_INT(threads_made, 1);
    shut_down(e);
    stage_close();
}

/* ---- The loop goes on ------------------------------------------------- */

struct blocked {
    struct coil_coro coro;
    struct gate *gate;
    struct coil_task *job;
    int beats;
};

static void blocked(struct coil_coro *co)
{
    ASYNC(blocked, my) {
        my->job = coil_spawn(coil_to_thread(stops, my->gate));
        for (; my->beats < 100; my->beats++)
            AWAIT(coil_sleep(0));
        CHECK(!coil_task_done(my->job));
        gate_open(my->gate, -1);
        AWAIT(my->job);
    }
}

TEST(executor_does_not_block_the_loop)
{
    struct gate gate = GATE_INIT;
    CHECK_INT(RUN(blocked, .gate = &gate), 0);
}

struct mapped {
    struct coil_coro coro;
    struct coil_task *done;
    int n[20], i, sum;
};

static struct coil_future *next_job(void *arg)
{
    struct mapped *my = arg;
    if (my->i == 20)
        return NULL;
    my->n[my->i] = my->i;
    return coil_to_thread(twice, &my->n[my->i++]);
}

static void mapped(struct coil_coro *co)
{
    ASYNC(mapped, my) {
        FOR_AWAIT(my->done, coil_map(3, next_job, my)) {
            trace("%d", (int)coil_future_int(coil_task_future(my->done)));
        }
    }
}

// Executor.map, in order, at most three at once: nothing of its own is needed.
TEST(executor_map_is_coil_map_over_jobs)
{
    CHECK_INT(RUN(mapped), 0);
    CHECK_TRACE("0 2 4 6 8 10 12 14 16 18 20 22 24 26 28 30 32 34 36 38");
}

/* ---- Cancelling ------------------------------------------------------- */

TEST(executor_job_in_line_is_withdrawn)
{
    struct gate gate = GATE_INIT;
    struct coil_executor *e = pool(1);
    stage_open();
    struct coil_task *first = coil_spawn(coil_run_in_executor(e, stops, &gate));
    struct coil_task *second = coil_spawn(
        coil_run_in_executor(e, stops, &gate));
    stage_passes(1);
    gate_await(&gate, 1);
    coil_task_cancel(second);
    CHECK_INT(end_of(second), -ECANCELED);
    gate_open(&gate, -1);
    value_of(first);
    CHECK_INT(gate_there(&gate), 1);
    shut_down(e);
    stage_close();
}

TEST(executor_job_that_was_not_awaited_is_never_begun)
{
    struct gate gate = GATE_INIT;
    stage_open();
    coil_future_unref(coil_to_thread(stops, &gate));
    struct coil_task *task = coil_spawn(coil_to_thread(stops, &gate));
    coil_task_cancel(task);
    CHECK_INT(end_of(task), -ECANCELED);
    CHECK_INT(threads_made, 0);
    stage_close();
}

// Its argument is the caller's: the await ends when the thread is through.
TEST(executor_job_that_runs_is_waited_for)
{
    struct gate gate = GATE_INIT;
    stage_open();
    struct coil_task *task = coil_spawn(coil_to_thread(stops, &gate));
    stage_passes(1);
    gate_await(&gate, 1);
    coil_task_cancel(task);
    stage_passes(10);
    CHECK(!coil_task_done(task));
    gate_open(&gate, -1);
    CHECK_INT(value_of(task), 1);
    stage_close();
}

/* ---- What owns its argument ------------------------------------------- */

static atomic_int args_freed, results_freed;

static void free_an_arg(void *arg)
{
    atomic_fetch_add(&args_freed, 1);
    free(arg);
}

static void free_a_result(void *result)
{
    atomic_fetch_add(&results_freed, 1);
    free(result);
}

struct parcel {
    struct gate *gate; /* or NULL */
    int n;
};

static struct coil_result unpack(void *arg)
{
    struct parcel *parcel = arg;
    if (parcel->gate)
        gate_pass(parcel->gate);
    int *made = malloc(sizeof *made);
    CHECK(made);
    *made = parcel->n + 1;
    return coil_result_pointer(made);
}

static struct coil_future *send_parcel(struct coil_executor *e,
                                       struct gate *gate)
{
    struct parcel *parcel = malloc(sizeof *parcel);
    if (!parcel)
        return coil_future_from_nomem();
    *parcel = (struct parcel){ .gate = gate, .n = 4 };
    return coil_run_in_executor_take(e, &(struct coil_job){
        .run = unpack, .arg = parcel, .free_arg = free_an_arg,
        .free_result = free_a_result });
}

TEST(executor_frees_an_argument_that_it_took)
{
    stage_open();
    struct coil_task *task = coil_spawn(send_parcel(NULL, NULL));
    CHECK_INT(end_of(task), 0);
    int *made = coil_future_pointer(coil_task_future(task));
    CHECK_INT(*made, 5);
    free(made);
    CHECK_INT(args_freed, 1);
    CHECK_INT(results_freed, 0);
    coil_future_unref(send_parcel(NULL, NULL));
    CHECK_INT(args_freed, 2);
    stage_close();
}

// The result came, to a task whose value is never fetched.
TEST(executor_frees_a_result_that_nobody_took)
{
    stage_open();
    struct coil_task *task = coil_spawn(send_parcel(NULL, NULL));
    CHECK_INT(end_of(task), 0);
    coil_task_drop(&task);
    CHECK_INT(results_freed, 1);
    stage_close();
}

TEST(executor_await_of_a_job_with_its_own_argument_ends_at_once)
{
    struct gate gate = GATE_INIT;
    struct coil_executor *e = pool(1);
    stage_open();
    struct coil_task *runs = coil_spawn(send_parcel(e, &gate));
    struct coil_task *waits = coil_spawn(send_parcel(e, &gate));
    stage_passes(1);
    gate_await(&gate, 1);
    coil_task_cancel(runs);
    coil_task_cancel(waits);
    stage_passes(1);
    CHECK_INT(coil_future_error(coil_task_future(runs)), -ECANCELED);
    CHECK_INT(coil_future_error(coil_task_future(waits)), -ECANCELED);
    CHECK_INT(args_freed, 1);
    gate_open(&gate, -1);
    shut_down(e);
    stage_close();
    CHECK_INT(args_freed, 2);
    CHECK_INT(results_freed, 1);
}

// The loop's memory is gone; the thread has the job, and nothing of the loop's.
TEST(executor_disposes_of_a_result_that_comes_after_the_loop)
{
    struct gate gate = GATE_INIT;
    struct coil_executor *e = pool(1);
    stage_open();
    coil_spawn(send_parcel(e, &gate));
    stage_passes(1);
    gate_await(&gate, 1);
    stage_close();
    CHECK_INT(args_freed, 0);
    gate_open(&gate, -1);
    coil_executor_free(e);
    CHECK_INT(args_freed, 1);
    CHECK_INT(results_freed, 1);
}

// Nobody waits for it: closing does not either, and the last thread clears up.
TEST(executor_of_a_closed_loop_is_freed_by_its_last_thread)
{
    struct gate gate = GATE_INIT;
    int threads = threads_there();
    stage_open();
    for (int i = 0; i < 3; i++)
        coil_spawn(send_parcel(NULL, &gate));
    stage_passes(1);
    gate_await(&gate, 3);
    stage_close();
    CHECK_INT(args_freed, 0);
    gate_open(&gate, -1);
    while (test_heap_blocks() > 0 || threads_there() > threads)
        usleep(1000);
    CHECK_INT(args_freed, 3);
    CHECK_INT(results_freed, 3);
}

// When the loop closes, queued jobs that were detached are not begun.
TEST(executor_drops_detached_jobs_in_line_when_the_loop_closes)
{
    struct gate gate = GATE_INIT;
    int threads = threads_there();
    struct coil_executor *e = pool(1);
    stage_open();
    CHECK_INT(coil_set_default_executor(e), 0);
    coil_detach_future(send_parcel(NULL, &gate));
    gate_await(&gate, 1);
    stage_close();
    gate_open(&gate, -1);
    coil_executor_free(e);
    CHECK_INT(results_freed, 1);

    gate.open = 0;
    stage_open();
    for (int i = 0; i < 40; i++)
        coil_detach_future(send_parcel(NULL, &gate));
    gate_await(&gate, 2);
    stage_close();
    gate_open(&gate, -1);
    while (test_heap_blocks() > 0 || threads_there() > threads)
        usleep(1000);
    CHECK_INT(args_freed, 41);
    CHECK(results_freed < 40);
}

/* ---- Ends ------------------------------------------------------------- */

TEST(executor_shutdown_waits_for_jobs_in_line_and_takes_no_more)
{
    struct gate gate = GATE_INIT;
    struct coil_executor *e = pool(1);
    int n = 1;
    stage_open();
    struct coil_task *tasks[4];
    for (int i = 0; i < 3; i++)
        tasks[i] = coil_spawn(coil_run_in_executor(e, stops, &gate));
    struct coil_task *shutdown = coil_spawn(coil_executor_shutdown(e));
    stage_passes(1);
    tasks[3] = coil_spawn(coil_run_in_executor(e, twice, &n));
    CHECK_INT(end_of(tasks[3]), COIL_ECLOSED);
    CHECK(!coil_task_done(shutdown));
    gate_open(&gate, -1);
    CHECK_INT(end_of(shutdown), 0);
    for (int i = 0; i < 3; i++)
        CHECK_INT(value_of(tasks[i]), 1);
    CHECK_INT(end_of(coil_spawn(coil_executor_shutdown(e))), 0);
    CHECK_INT(stats_of(e).threads, 0);
    coil_executor_free(e);
    stage_close();
}

static void *frees_executor(void *e)
{
    coil_executor_free(e);
    return NULL;
}

// It would keep the executor's lock, which the running job needs to end.
TEST(executor_is_freed_by_a_thread_that_is_cancelled)
{
    struct gate gate = GATE_INIT;
    struct coil_executor *e = pool(1);
    pthread_t thread;
    test_timeout(5);
    stage_open();
    coil_spawn(send_parcel(e, &gate));
    stage_passes(1);
    gate_await(&gate, 1);
    stage_close();
    CHECK_INT(pthread_create(&thread, NULL, frees_executor, e), 0);
    usleep(2000);
    pthread_cancel(thread);
    gate_open(&gate, -1);
    pthread_join(thread, NULL);
    CHECK_INT(args_freed, 1);
    CHECK_INT(results_freed, 1);
}

TEST(executor_shutdown_of_the_default_one)
{
    int n = 2;
    stage_open();
    CHECK_INT(value_of(coil_spawn(coil_to_thread(twice, &n))), 4);
    CHECK_INT(end_of(coil_spawn(coil_executor_shutdown(NULL))), 0);
    CHECK_INT(end_of(coil_spawn(coil_to_thread(twice, &n))), COIL_ECLOSED);
    stage_close();
}

TEST(executor_without_a_loop_is_made_and_freed)
{
    coil_executor_free(NULL);
    coil_executor_free(pool(3));
}

TEST(executor_of_ones_own_may_be_the_default)
{
    int n = 3;
    struct coil_executor *e = pool(1);
    stage_open();
    CHECK_INT(coil_set_default_executor(e), 0);
    CHECK_INT(value_of(coil_spawn(coil_to_thread(twice, &n))), 6);
    CHECK_INT(stats_of(e).threads, 1);
    stage_close();
    CHECK_INT(stats_of(e).threads, 1);
    coil_executor_free(e);
}

DEATH_TEST(executor_default_set_too_late_aborts, "before its first use")
{
    int n = 3;
    stage_open();
    value_of(coil_spawn(coil_to_thread(twice, &n)));
    coil_set_default_executor(pool(1));
}

// It was ignored, and the threads had 8 MiB each.
DEATH_TEST(executor_with_a_stack_too_small_aborts,
           "stack_bytes is 100: must be 0, or at least [1-9]")
{
    struct coil_executor_options o = COIL_EXECUTOR_OPTIONS_INIT;
    o.stack_bytes = 100;
    (void)!coil_executor_new(&o);
}

DEATH_TEST(executor_options_without_their_size_abort,
           "coil_executor_new: options.size is 0: must be 32: "
           "use COIL_EXECUTOR_OPTIONS_INIT")
{
    struct coil_executor_options o = { .threads_limit = 1 };
    (void)!coil_executor_new(&o);
}

DEATH_TEST(executor_freed_with_a_job_that_is_awaited_aborts, "jobs are awaited")
{
    struct gate gate = GATE_INIT;
    struct coil_executor *e = pool(1);
    stage_open();
    coil_spawn(coil_run_in_executor(e, stops, &gate));
    stage_passes(1);
    gate_await(&gate, 1);
    coil_executor_free(e);
}

// Threads have stacks of their own: this one will be gone.
struct lends_its_stack {
    struct coil_coro coro;
};

static void lends_its_stack(struct coil_coro *co)
{
    ASYNC(lends_its_stack, my) {
        int n = 1;
        AWAIT(coil_to_thread(twice, &n));
    }
}

DEATH_TEST(executor_argument_on_the_stack_of_a_step_aborts, "stack")
{
    (void)RUN(lends_its_stack);
}

// A blocking call that never ends is named, as all that keeps a loop open.
DEATH_TEST(executor_job_that_never_ends_keeps_the_loop_from_closing,
           "cannot be closed")
{
    static struct gate gate = GATE_INIT;
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.close_ns = COIL_MS(50);
    CHECK_INT(coil_loop_new(&stage_loop, &options), 0);
    coil_spawn(coil_to_thread(stops, &gate));
    stage_passes(1);
    gate_await(&gate, 1);
    stage_close();
}

/* ---- Loops in threads ------------------------------------------------- */

struct in_a_loop {
    struct coil_coro coro;
    int rounds, n;
};

static void in_a_loop(struct coil_coro *co)
{
    ASYNC(in_a_loop, my) {
        for (; my->n < my->rounds; my->n++)
            AWAIT(coil_sleep(0));
        RETURN(my->n);
    }
}

static struct coil_result run_a_loop(void *arg)
{
    int n = 0, err = RUN_TO(n, in_a_loop, .rounds = *(int *)arg);
    return err < 0 ? coil_result_error(err) : coil_result_int(n);
}

// One loop per thread: the executor starts it, and its end is a future.
TEST(executor_thread_may_run_a_loop_of_its_own)
{
    int rounds[2] = { 10, 20 };
    stage_open();
    struct coil_task *a = coil_spawn(coil_to_thread(run_a_loop, &rounds[0]));
    struct coil_task *b = coil_spawn(coil_to_thread(run_a_loop, &rounds[1]));
    CHECK_INT(value_of(a), 10);
    CHECK_INT(value_of(b), 20);
    stage_close();
}

/* ---- Storm ------------------------------------------------------------ */

static struct {
    struct coil_executor *executor;
    atomic_int sum;
} storm;

static struct coil_result add(void *arg)
{
    atomic_fetch_add(&storm.sum, *(int *)arg);
    return coil_result_int(*(int *)arg);
}

struct shared {
    struct coil_coro coro;
    struct coil_task *tasks[64];
    int ones[64], i, round, err;
    int64_t value;
};

static void shared(struct coil_coro *co)
{
    ASYNC(shared, my) {
        for (; my->round < 20; my->round++) {
            for (my->i = 0; my->i < 64; my->i++) {
                my->ones[my->i] = 1;
                if (my->i % 5 == 4)
                    my->tasks[my->i] = coil_spawn(send_parcel(storm.executor,
                                                              NULL));
                else
                    my->tasks[my->i] = coil_spawn(coil_run_in_executor(
                        storm.executor, add, &my->ones[my->i]));
            }
            AWAIT(coil_sleep(0));
            for (my->i = my->round % 7; my->i < 64; my->i += 7)
                coil_task_cancel(my->tasks[my->i]);
            for (my->i = 0; my->i < 64; my->i++) {
                TRY_ALL(my->err) AWAIT(my->tasks[my->i]);
                CHECK(my->err == 0 || my->err == -ECANCELED);
                if (my->i % 5 == 4 && my->err == 0)
                    free(coil_future_pointer(
                        coil_task_future(my->tasks[my->i])));
                else if (my->i % 5 != 4 && my->err == 0)
                    my->value++;
                coil_task_drop(&my->tasks[my->i]);
            }
        }
        RETURN(my->value);
    }
}

static void *run_shared(void *arg)
{
    CHECK_INT(RUN_TO(*(int *)arg, shared), 0);
    return NULL;
}

// Two loops, one executor, cancellations at any moment: what ran was delivered.
TEST(executor_is_shared_by_loops)
{
    pthread_t threads[2];
    int done[2] = { 0 };
    storm.executor = pool(4);
    for (int i = 0; i < 2; i++)
        CHECK_INT(__real_pthread_create(&threads[i], NULL, run_shared,
                                        &done[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    coil_executor_free(storm.executor);
    CHECK_INT(done[0] + done[1], storm.sum);
    CHECK(threads_made <= 4);
}

/* ---- Memory ----------------------------------------------------------- */

struct modest {
    struct coil_coro coro;
    int n, err;
    int *made;
};

static void modest(struct coil_coro *co)
{
    ASYNC(modest, my) {
        my->n = 2;
        AWAIT_TO(my->n, coil_to_thread(twice, &my->n));
        AWAIT_TO(my->made, send_parcel(NULL, NULL));
        AWAIT(coil_executor_shutdown(NULL));

    FINALLY;
        free(my->made);
    }
}

/* The thread allocates too: what is short there would be this test's fault. */
static struct coil_result give_static(void *arg)
{
    (void)arg;
    return coil_result_int(5);
}

struct frugal {
    struct coil_coro coro;
    int n;
};

static void frugal(struct coil_coro *co)
{
    ASYNC(frugal, my) {
        my->n = 2;
        AWAIT_TO(my->n, coil_to_thread(twice, &my->n));
        AWAIT_TO(my->n, coil_run_in_executor_take(NULL, &(struct coil_job){
            .run = give_static }));
        AWAIT(coil_executor_shutdown(NULL));
    }
}

static int run_frugal(void)
{
    return RUN(frugal);
}

TEST(executor_survives_every_failed_allocation)
{
    CHECK_INT(RUN(modest), 0);
    test_every_allocation(run_frugal);
}

// The path of a job whose argument is lent takes memory from its loop only.
TEST(executor_job_mallocs_nothing)
{
    static char arena[1 << 20];
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.arena = arena;
    options.arena_bytes = sizeof arena;
    int n = 2;
    CHECK_INT(coil_loop_new(&stage_loop, &options), 0);
    struct coil_executor *e = pool(1);
    value_of(coil_spawn(coil_run_in_executor(e, twice, &n)));
    test_forbid_allocations(true);
    for (int i = 0; i < 10; i++)
        value_of(coil_spawn(coil_run_in_executor(e, twice, &n)));
    test_forbid_allocations(false);
    CHECK_INT(test_forbidden_allocations(), 0);
    coil_executor_free(e);
    stage_close();
}

/* ---- Freeing ----------------------------------------------------------- */

static void *close_it(void *arg)
{
    stage_open();
    shut_down(arg);
    stage_close();
    return NULL;
}

// A shutdown waits until results are on their way, not until their loops have
// taken them: the awaits may be cancelled or printed meanwhile.
TEST(executor_may_be_gone_before_a_loop_is_told_of_its_job)
{
    static char text[128];
    int n = 1;
    pthread_t thread;
    struct coil_loop *loop;
    struct coil_executor *e = pool(1);
    stage_open();
    loop = stage_loop;
    struct coil_task *lent = coil_spawn(coil_run_in_executor(e, twice, &n));
    struct coil_task *owned = coil_spawn(coil_run_in_executor_take(
        e, &(struct coil_job){ .run = itself, .arg = text }));
    stage_passes(1);
    CHECK_INT(__real_pthread_create(&thread, NULL, close_it, e), 0);
    pthread_join(thread, NULL);
    stage_loop = loop;
    int null = open("/dev/null", O_WRONLY);
    coil_dump(null);
    close(null);
    coil_task_cancel(lent);
    coil_task_cancel(owned);
    CHECK_INT(end_of(lent), 0); /* it was done */
    CHECK_INT(end_of(owned), -ECANCELED);
    stage_close();
}

static void *open_later(void *gate)
{
    usleep(10000);
    gate_open(gate, -1);
    return NULL;
}

// Their loop has closed, so it cannot have shut the executor down.
TEST(executor_freed_runs_the_jobs_that_are_queued)
{
    struct gate gate = GATE_INIT;
    pthread_t thread;
    struct coil_executor *e = pool(1);
    stage_open();
    coil_detach_future(send_parcel(e, &gate));
    coil_detach_future(send_parcel(e, &gate));
    gate_await(&gate, 1);
    stage_close();
    CHECK_INT(stats_of(e).waiting, 1);
    CHECK_INT(__real_pthread_create(&thread, NULL, open_later, &gate), 0);
    coil_executor_free(e);
    pthread_join(thread, NULL);
    CHECK_INT(args_freed, 2);
    CHECK_INT(results_freed, 2);
}

static pthread_t thread_of_job;

static struct coil_result allows_cancel(void *arg)
{
    (void)arg;
    thread_of_job = pthread_self();
    pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    return coil_result_int(1);
}

static struct coil_result returns_0(void *arg)
{
    (void)arg;
    return coil_result_int(0);
}

// The thread ended in its wait for a job, with the lock held.
TEST(executor_thread_whose_job_has_enabled_cancellation_is_not_cancelled)
{
    test_timeout(10);
    stage_open();
    struct coil_executor *e = pool(1);
    CHECK_INT(end_of(coil_spawn(coil_run_in_executor(e, allows_cancel, NULL))),
              0);
    while (stats_of(e).idle == 0)
        usleep(1000);
    CHECK_INT(pthread_cancel(thread_of_job), 0);
    CHECK_INT(end_of(coil_spawn(coil_run_in_executor(e, returns_0, NULL))), 0);
    coil_executor_free(e);
    stage_close();
}

/* ---- A job that waits for the loop that closes ------------------------- */

struct asks {
    struct coil_remote *remote;
    struct gate gate;
    bool before;
    int err;
};

static struct coil_future *sleeps_long(void *arg)
{
    (void)arg;
    return coil_sleep(COIL_SECONDS(1000));
}

static struct coil_result asks_the_loop(void *arg)
{
    struct asks *asks = arg;
    struct coil_remote_job job = { .make = sleeps_long };
    struct coil_remote_task *t = NULL;
    if (asks->before)
        t = coil_remote_spawn(asks->remote, &job);
    gate_pass(&asks->gate);
    usleep(2000);
    if (!t)
        t = coil_remote_spawn(asks->remote, &job);
    struct coil_result result;
    CHECK_INT(coil_remote_task_join(t, COIL_NEVER, &result), 0);
    asks->err = result.err;
    coil_remote_task_unref(t);
    return coil_result_int(0);
}

/*
 * The loop closed, and waited for the executor's thread; the thread waited for
 * a remote task, which the loop did not refuse any more.
 */
TEST(executor_detached_job_may_wait_for_a_remote_task_of_a_loop_that_closes)
{
    test_timeout(10);
    for (int way = 0; way < 8; way++) {
        static struct asks asks;
        struct coil_executor *e = way & 2 ? pool(1) : NULL;
        pthread_t thread;
        stage_open();
        asks = (struct asks){ .remote = coil_remote_ref(coil_remote_current()),
                              .gate = GATE_INIT,
                              .before = way & 1 };
        coil_detach_future(coil_run_in_executor(e, asks_the_loop, &asks));
        stage_passes(2);
        gate_await(&asks.gate, 1);
        stage_passes(2); /* the remote task begins */
        if (way & 4)
            coil_spawn(coil_sleep(COIL_SECONDS(1000)));
        CHECK_INT(__real_pthread_create(&thread, NULL, open_later, &asks.gate),
                  0);
        stage_close();
        pthread_join(thread, NULL);
        CHECK_INT(asks.err, asks.before ? -ECANCELED : COIL_ECLOSED);
        coil_remote_unref(asks.remote);
        coil_executor_free(e);
    }
}

static int late_calls, operation_fd;

static void count_late_call(void *arg)
{
    (void)arg;
    late_calls++;
}

static struct coil_result calls_and_returns_late(void *loop)
{
    static struct coil_handle handle;
    usleep(20000);
    coil_call_soon_threadsafe(loop, &handle, count_late_call, NULL);
    usleep(20000);
    CHECK_INT(eventfd_write(operation_fd, 1), 0);
    usleep(20000);
    return coil_result_int(0);
}

/*
 * The call comes when all tasks have ended, and the loop, which waits for a
 * detached operation, does not make it. Behind it the end of the job did not
 * wake the loop.
 */
TEST(executor_detached_job_may_end_behind_a_call_that_came_late)
{
    test_timeout(20);
    stage_open();
    operation_fd = eventfd(0, EFD_CLOEXEC);
    coil_spawn(coil_sleep(COIL_SECONDS(1000)));
    coil_detach_future(coil_poll(operation_fd, POLLIN));
    coil_detach_future(
        coil_run_in_executor(NULL, calls_and_returns_late, stage_loop));
    stage_passes(2);
    stage_close();
    CHECK(late_calls <= 1);
    close(operation_fd);
}

static struct coil_result frees_it(void *arg)
{
    coil_executor_free(arg);
    return coil_result_int(0);
}

static struct coil_result shuts_it_down(void *arg)
{
    close_it(arg);
    return coil_result_int(0);
}

static void in_its_own_thread(coil_job_fn *fn)
{
    struct coil_executor *e = pool(1);
    stage_open();
    coil_detach_future(coil_run_in_executor_take(
        e, &(struct coil_job){ .run = fn, .arg = e }));
    test_timeout(5);
    for (;;)
        coil_loop_pass(stage_loop, COIL_NEVER);
}

// It would wait for itself.
DEATH_TEST(executor_freed_in_its_own_thread_aborts, "its own threads")
{
    in_its_own_thread(frees_it);
}

DEATH_TEST(executor_shut_down_in_its_own_thread_aborts, "its own threads")
{
    in_its_own_thread(shuts_it_down);
}
