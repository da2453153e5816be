// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_debug.c: what debug mode tells.
 *
 * A slow step is one that looks at the clock until its time is over; that
 * others, on a machine that is busy, are reported too is all right.
 */
#include "stage.h"

#include <pthread.h>
#include <stdlib.h>

#include <coil/coroutine.h>

enum { REPORTS = 64 };
static struct {
    char message[128], name[64], file[256];
    int line;
} reports[REPORTS];
static int n_reports;

static void note(const struct coil_exception *what, void *arg)
{
    (void)arg;
    if (n_reports == REPORTS)
        return;
    snprintf(reports[n_reports].message, 128, "%s", what->message);
    snprintf(reports[n_reports].name, 64, "%s", what->name ? what->name : "");
    snprintf(reports[n_reports].file, 256, "%s", what->file ? what->file : "");
    reports[n_reports++].line = what->line;
}

static bool reported(const char *message, const char *name, int line)
{
    for (int i = 0; i < n_reports; i++)
        if (strstr(reports[i].message, message) == reports[i].message &&
            strcmp(reports[i].name, name) == 0 &&
            (!line || (reports[i].line == line &&
                       strcmp(reports[i].file, __FILE__) == 0)))
            return true;
    return false;
}

static struct coil_loop_options options_in_debug(unsigned debug)
{
    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.on_exception = note;
    options.debug = debug;
    options.slow_step_ns = COIL_MS(5);
    return options;
}

static void open_in_debug(void)
{
    struct coil_loop_options options = options_in_debug(1);
    CHECK_INT(coil_loop_new(&stage_loop, &options), 0);
}

static void take_long(void *arg)
{
    (void)arg;
    int64_t until = coil_now() + COIL_MS(8);
    while (coil_now() < until)
        ;
}

/* ---- Slow steps ------------------------------------------------------- */

struct callee {
    struct coil_coro coro;
};

static int callee_line, busy_line;

static void callee(struct coil_coro *co)
{
    callee_line = __LINE__ + 1;
    COIL_ASYNC(callee, my) {
        (void)my;
        take_long(NULL);
    }
}

struct busy {
    struct coil_coro coro;
    bool call;
};

static void busy(struct coil_coro *co)
{
    COIL_ASYNC(busy, my) {
        if (my->call) {
            COIL_AWAIT(COIL_CALL(callee));
            COIL_RETURN(0);
        }
        busy_line = __LINE__ + 1;
        COIL_AWAIT(coil_sleep(0));
        take_long(NULL);
        COIL_AWAIT(coil_sleep(0));
    }
}

TEST(debug_names_a_slow_step_and_the_line_it_was_resumed_at)
{
    open_in_debug();
    CHECK_INT(stage_run(COIL_SPAWN(busy)), 0);
    CHECK(reported("slow step: ", "busy", busy_line));
    stage_close();
}

TEST(debug_names_the_coroutine_whose_step_was_slow_not_its_caller)
{
    open_in_debug();
    CHECK_INT(stage_run(COIL_SPAWN(busy, .call = true)), 0);
    CHECK(reported("slow step: ", "callee", callee_line));
    stage_close();
}

TEST(debug_reports_a_slow_call)
{
    struct coil_handle call = { 0 };
    open_in_debug();
    coil_call_soon(&call, take_long, NULL);
    stage_passes(1);
    CHECK(reported("slow call: ", "", 0));
    stage_close();
}

static void run_busy(unsigned debug)
{
    struct coil_loop_options options = options_in_debug(debug);
    CHECK_INT(coil_loop_new(&stage_loop, &options), 0);
    CHECK_INT(stage_run(COIL_SPAWN(busy)), 0);
    stage_close();
}

TEST(debug_is_off_unless_it_is_asked_for)
{
    unsetenv("COIL_DEBUG");
    run_busy(0);
    CHECK_INT(n_reports, 0);
    setenv("COIL_DEBUG", "0", 1);
    run_busy(0);
    CHECK_INT(n_reports, 0);
    setenv("COIL_DEBUG", "1", 1);
    run_busy(0);
    CHECK(reported("slow step: ", "busy", busy_line));
    unsetenv("COIL_DEBUG");
}

TEST(debug_lets_any_step_be_quick_enough)
{
    struct coil_loop_options options = options_in_debug(1);
    options.slow_step_ns = COIL_NEVER;
    CHECK_INT(coil_loop_new(&stage_loop, &options), 0);
    CHECK_INT(stage_run(COIL_SPAWN(busy)), 0);
    CHECK_INT(n_reports, 0);
    stage_close();
}

/* ---- Threads ---------------------------------------------------------- */

static struct coil_future *future;
static struct coil_task *task;

struct waits {
    struct coil_coro coro;
    struct coil_future *other;
};

static void waits(struct coil_coro *co)
{
    COIL_ASYNC(waits, my) {
        COIL_AWAIT(my->other);
    }
}

static void *set_it(void *arg)
{
    (void)arg;
    open_in_debug();
    coil_future_set_int(future, 1);
    return NULL;
}

static void *cancel_it(void *arg)
{
    (void)arg;
    open_in_debug();
    coil_task_cancel(task);
    return NULL;
}

static void *await_it(void *arg)
{
    (void)arg;
    open_in_debug();
    COIL_SPAWN(waits, .other = future);
    stage_passes(1);
    return NULL;
}

static void *drop_it(void *arg)
{
    (void)arg;
    open_in_debug();
    coil_future_unref(future);
    return NULL;
}

static void *stop_it(void *arg)
{
    coil_loop_stop(arg);
    return NULL;
}

static void in_another_thread(void *(*what)(void *))
{
    pthread_t thread;
    open_in_debug();
    future = coil_future_new();
    task = COIL_SPAWN(waits, .other = coil_future_ref(future));
    stage_passes(2);
    pthread_create(&thread, NULL, what, stage_loop);
    pthread_join(thread, NULL);
}

DEATH_TEST(debug_future_completed_by_another_thread_aborts,
           "of another thread's loop")
{
    in_another_thread(set_it);
}

DEATH_TEST(debug_task_cancelled_by_another_thread_aborts,
           "of another thread's loop")
{
    in_another_thread(cancel_it);
}

DEATH_TEST(debug_future_awaited_in_another_thread_aborts,
           "of another thread's loop.*\n.*in waits")
{
    in_another_thread(await_it);
}

DEATH_TEST(debug_future_dropped_in_another_thread_aborts,
           "of another thread's loop")
{
    pthread_t thread;
    open_in_debug();
    future = coil_future_new();
    pthread_create(&thread, NULL, drop_it, NULL);
    pthread_join(thread, NULL);
}

DEATH_TEST(debug_loop_stopped_by_another_thread_aborts,
           "coil_loop_stop in another thread")
{
    in_another_thread(stop_it);
}

struct in_place {
    struct coil_coro coro;
    struct waits child;
    struct coil_future *other;
    struct coil_task *task;
};

static void in_place(struct coil_coro *co)
{
    COIL_ASYNC(in_place, my) {
        my->other = coil_future_new();
        my->task = coil_spawn(COIL_CALL_IN(&my->child, waits,
                                           .other = coil_future_ref(my->other)));
        COIL_AWAIT(coil_sleep(1));
        coil_future_set_int(my->other, 1);
        coil_future_unref(my->other);
        COIL_AWAIT(my->task);
        my->task = COIL_SPAWN(waits, .other = coil_sleep(COIL_SECONDS(1000)));
        COIL_AWAIT(coil_sleep(0));
        coil_task_cancel(my->task);
    }
}

// With an arena too; what is in place is nobody's.
TEST(debug_finds_nothing_wrong_in_one_thread)
{
    static char arena[65536];
    for (int i = 0; i < 2; i++) {
        struct coil_loop_options options = options_in_debug(1);
        options.slow_step_ns = COIL_NEVER;
        options.arena = i ? arena : NULL;
        options.arena_bytes = i ? sizeof arena : 0;
        CHECK_INT(coil_loop_new(&stage_loop, &options), 0);
        CHECK_INT(stage_run(COIL_SPAWN(in_place)), 0);
        stage_close();
        CHECK_INT(n_reports, 0);
    }
}

/* ---- Lost ------------------------------------------------------------- */

static void drop_some(void)
{
    coil_future_unref(coil_future_new()); // nobody will complete it
    struct coil_future *f = coil_future_new();
    coil_future_set_int(f, 1);
    coil_future_unref(f);
    f = coil_future_new();
    coil_future_cancel(f);
    coil_future_unref(f);
    coil_discard(coil_sleep(5));
    f = coil_future_new(); // who has asked to be called is told
    static struct coil_handle told;
    coil_future_add_done_callback(f, &told, take_long, NULL);
    coil_future_unref(f);
}

TEST(debug_reports_a_future_that_is_dropped_while_it_is_pending)
{
    struct coil_loop_options options = options_in_debug(1);
    options.slow_step_ns = COIL_NEVER;
    CHECK_INT(coil_loop_new(&stage_loop, &options), 0);
    drop_some();
    CHECK_INT(n_reports, 1);
    CHECK(reported("a future was dropped while it was pending", "", 0));
    // One that is awaited is cancelled, not lost.
    struct coil_task *t = COIL_SPAWN(waits, .other = coil_future_new());
    stage_passes(2);
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    CHECK(!reported("a future was dropped", "waits", 0));
    CHECK_INT(n_reports, 1);
    stage_close();
}

TEST(debug_is_not_needed_to_drop_a_future)
{
    unsetenv("COIL_DEBUG");
    stage_open();
    drop_some();
    CHECK_INT(stage_reported.n, 0);
    stage_close();
}

static void forget(void *arg)
{
    (void)arg;
    (void)!COIL_CALL(callee);
}

TEST(debug_names_a_coroutine_that_was_never_awaited)
{
    struct coil_handle call = { 0 };
    open_in_debug();
    coil_call_soon(&call, forget, NULL);
    stage_passes(1);
    stage_close();
    CHECK(reported("a coroutine was never awaited", "callee", callee_line));
}

struct forgetful {
    struct coil_coro coro;
};

static int forgetful_line;

static void forgetful(struct coil_coro *co)
{
    COIL_ASYNC(forgetful, my) {
        (void)my;
        forgetful_line = __LINE__ + 1;
        COIL_AWAIT(coil_sleep(0));
        forget(NULL);
        COIL_AWAIT(COIL_CALL(callee)); // what was noted does no harm
        COIL_AWAIT(COIL_SPAWN(callee));
    }
}

TEST(debug_names_who_has_made_a_coroutine_that_was_never_awaited)
{
    char made[300];
    open_in_debug();
    CHECK_INT(stage_run(COIL_SPAWN(forgetful)), 0);
    stage_close();
    snprintf(made, sizeof made,
             "a coroutine was never awaited; made by forgetful, after %s:%d",
             __FILE__, forgetful_line);
    made[sizeof reports[0].message - 1] = '\0';
    CHECK(reported(made, "callee", callee_line));
}
