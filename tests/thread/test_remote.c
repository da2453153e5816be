// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_remote.c: calls from other threads into a loop, also if it has closed.
 */
#include "stage.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <coil/remote.h>

struct note {
    struct coil_remote_call call;
    int n;
};

static void noted(struct coil_remote_call *call)
{
    trace("%d", ((struct note *)(void *)call)->n);
}

// A loop has one remote, and a loop that is made later has another one.
TEST(remote_is_one_per_loop)
{
    stage_open();
    struct coil_remote *remote = coil_remote_current();
    CHECK(remote);
    CHECK(coil_remote_current() == remote);
    CHECK(coil_remote_is_current(remote));
    coil_remote_ref(remote);
    stage_close();
    CHECK(!coil_remote_is_current(remote));
    stage_open();
    CHECK(coil_remote_current() != remote);
    coil_remote_unref(remote);
    stage_close();
}

TEST(remote_delivers_in_order)
{
    struct note notes[3] = { { .n = 0 }, { .n = 1 }, { .n = 2 } };
    stage_open();
    for (int i = 0; i < 3; i++)
        CHECK(coil_remote_call_soon(coil_remote_current(), &notes[i].call,
                                    noted));
    CHECK_TRACE("");
    stage_passes(1);
    CHECK_TRACE("0 1 2");
    stage_close();
}

// No call may be made in a loop that has closed, and the caller has to know.
TEST(remote_of_a_closed_loop_refuses)
{
    struct note note = { .n = 1 };
    stage_open();
    struct coil_remote *remote = coil_remote_ref(coil_remote_current());
    stage_close();
    CHECK(!coil_remote_call_soon(remote, &note.call, noted));
    CHECK_TRACE("");
    coil_remote_unref(remote);
}

// A call that was not refused is made, though the loop runs no more passes.
TEST(remote_delivers_what_came_before_the_loop_closed)
{
    struct note note = { .n = 1 };
    stage_open();
    CHECK(coil_remote_call_soon(coil_remote_current(), &note.call, noted));
    stage_close();
    CHECK_TRACE("1");
}

static struct {
    struct coil_remote *remote;
    struct note note;
} later;

static void expected(struct coil_remote_call *call)
{
    noted(call);
    CHECK(coil_loop_closing(coil_loop_current()));
    coil_remote_allow_close(later.remote);
}

static void *call_late(void *arg)
{
    (void)arg;
    usleep(20000);
    CHECK(coil_remote_call_soon(later.remote, &later.note.call, expected));
    return NULL;
}

TEST(remote_holds_the_loop_open_for_what_is_expected)
{
    pthread_t thread;
    stage_open();
    later.remote = coil_remote_current();
    later.note.n = 7;
    coil_remote_keep_open(later.remote);
    CHECK_INT(pthread_create(&thread, NULL, call_late, NULL), 0);
    CHECK(!coil_loop_closing(stage_loop));
    stage_close();
    CHECK_TRACE("7");
    pthread_join(thread, NULL);
}

DEATH_TEST(remote_allows_close_unasked_aborts, "the loop is not kept open")
{
    stage_open();
    coil_remote_allow_close(coil_remote_current());
}

DEATH_TEST(remote_without_a_loop_aborts, "no loop")
{
    coil_remote_current();
}

/* ---- Calls that never end --------------------------------------------- */

static struct coil_remote *flooded;
static bool refused;

static void call_itself_again(struct coil_remote_call *call)
{
    CHECK(!refused);
    refused = !coil_remote_call_soon(flooded, call, call_itself_again);
}

// The loop closes when its tasks have ended, not when no call is left. The last
// call that it makes is told so.
TEST(remote_refuses_calls_that_come_for_ever)
{
    struct coil_remote_call call;
    stage_open();
    flooded = coil_remote_current();
    CHECK(coil_remote_call_soon(flooded, &call, call_itself_again));
    stage_passes(3);
    CHECK(!refused);
    stage_close();
    CHECK(refused);
}

struct flood {
    struct coil_remote_call call;
    atomic_bool queued;
};

static void flood_arrived(struct coil_remote_call *call)
{
    usleep(10);
    ((struct flood *)(void *)call)->queued = false;
}

static void *flood_until_refused(void *remote)
{
    static struct flood flood[64];
    for (size_t i = 0;; i = (i + 1) % 64) {
        if (atomic_exchange(&flood[i].queued, true))
            continue;
        if (!coil_remote_call_soon(remote, &flood[i].call, flood_arrived))
            break;
    }
    coil_remote_unref(remote);
    return NULL;
}

// Faster than the loop makes them.
TEST(remote_refuses_a_thread_that_never_stops)
{
    pthread_t thread;
    stage_open();
    struct coil_remote *remote = coil_remote_ref(coil_remote_current());
    CHECK_INT(pthread_create(&thread, NULL, flood_until_refused, remote), 0);
    for (int i = 0; i < 10; i++)
        coil_loop_pass(stage_loop, COIL_MS(1));
    stage_close();
    pthread_join(thread, NULL);
}

/* ---- Closing ---------------------------------------------------------- */

static void say(void *arg)
{
    trace("%s", (const char *)arg);
}

// An object that was made last may use those that were made before it.
TEST(loop_calls_at_close_the_newest_first)
{
    struct coil_handle a = { 0 }, b = { 0 }, c = { 0 };
    stage_open();
    coil_call_at_close(&a, say, "a");
    coil_call_at_close(&b, say, "b");
    coil_call_at_close(&c, say, "c");
    CHECK(coil_handle_cancel(&b));
    CHECK(!coil_handle_cancel(&b));
    stage_close();
    CHECK_TRACE("c a");
}

// A child process has no loop, and must not call into its parent's.
TEST(remote_of_the_parent_is_not_the_childs)
{
    stage_open();
    struct coil_remote *remote = coil_remote_current();
    pid_t pid = fork();
    if (pid == 0) {
        bool ok = !coil_remote_is_current(remote) && !coil_loop_current();
        _exit(!ok);
    }
    int status = -1;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK_INT(status, 0);
    stage_close();
}

/* ---- Many threads ----------------------------------------------------- */

#define CALLERS 4

static struct {
    struct coil_remote *remote;
    atomic_long accepted, refused, delivered;
    long each;
} storm;

static void landed(struct coil_remote_call *call)
{
    free(call);
    atomic_fetch_add(&storm.delivered, 1);
}

static void *call_many(void *arg)
{
    (void)arg;
    for (long i = 0; i < storm.each; i++) {
        struct coil_remote_call *call = malloc(sizeof *call);
        CHECK(call);
        if (coil_remote_call_soon(storm.remote, call, landed)) {
            atomic_fetch_add(&storm.accepted, 1);
        } else {
            atomic_fetch_add(&storm.refused, 1);
            free(call);
        }
    }
    return NULL;
}

// Each call is made or refused, never both and never neither.
TEST(remote_loses_nothing_when_the_loop_closes_under_it)
{
    for (int round = 0; round < (test_is_slow() ? 5 : 40); round++) {
        pthread_t threads[CALLERS];
        long before = atomic_load(&storm.delivered);
        stage_open();
        storm.remote = coil_remote_ref(coil_remote_current());
        storm.each = 300;
        for (int i = 0; i < CALLERS; i++)
            CHECK_INT(pthread_create(&threads[i], NULL, call_many, NULL), 0);
        while (atomic_load(&storm.delivered) < before + round * 10)
            coil_loop_pass(stage_loop, COIL_MS(1));
        stage_close();
        for (int i = 0; i < CALLERS; i++)
            pthread_join(threads[i], NULL);
        CHECK_INT(storm.delivered, storm.accepted);
        CHECK_INT(storm.accepted + storm.refused, (round + 1) * CALLERS * 300);
        coil_remote_unref(storm.remote);
    }
}

/* The cancellation may take effect in any system call, such as write(2). */
static void *call_when_cancelled(void *arg)
{
    struct coil_remote_call *call = arg;
    pthread_cancel(pthread_self());
    CHECK(coil_remote_call_soon(storm.remote, call, landed));
    return NULL; /* or the thread has ended before */
}

// Otherwise the loop that the thread was about to wake would wait for ever.
TEST(remote_called_by_a_thread_that_is_cancelled)
{
    pthread_t thread;
    test_timeout(5);
    stage_open();
    storm.remote = coil_remote_current();
    struct coil_remote_call *call = malloc(sizeof *call);
    CHECK_INT(pthread_create(&thread, NULL, call_when_cancelled, call), 0);
    pthread_join(thread, NULL);
    stage_close();
    CHECK_INT(storm.delivered, 1);
}

static int one_remote(void)
{
    struct coil_loop *loop;
    int err = coil_loop_new(&loop, NULL);
    if (err < 0)
        return err;
    err = coil_remote_current() ? 0 : -ENOMEM;
    coil_loop_close(loop);
    return err;
}

TEST(remote_survives_every_failed_allocation)
{
    test_every_allocation(one_remote);
}

/* ---- A result is a value ---------------------------------------------- */

// A result of any kind may be handed on as it is, for example to a thread.
TEST(future_result_is_taken_and_set_whole)
{
    stage_open();
    struct coil_result results[] = {
        coil_result_int(-3),
        coil_result_double(1.5),
        coil_result_pointer("p"),
        { .kind = COIL_RESULT_UINT, .value.u = UINT64_MAX },
        coil_result_error_detail(-EIO, 9),
    };
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        struct coil_future *f = coil_future_new();
        CHECK(coil_future_set_result(f, results[i]));
        struct coil_result r = coil_future_result(f);
        CHECK_INT(r.kind, results[i].kind);
        CHECK_INT(r.err, results[i].err);
        CHECK_INT(r.detail, results[i].detail);
        if (!r.err)
            CHECK_INT(r.value.u, results[i].value.u);
        coil_future_unref(f);
    }
    CHECK_INT(stage_reported.n, 0); /* an error that was asked for */
    stage_close();
}

DEATH_TEST(future_result_of_a_pending_one_aborts, "no result yet")
{
    stage_open();
    coil_future_result(coil_future_new());
}
