// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_remote.c: what other threads hand to a loop, and to one that has closed.
 */
#include "stage.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <coil/remote.h>

struct note {
    struct coil_remote_call post;
    int n;
};

static void noted(struct coil_remote_call *post)
{
    trace("%d", ((struct note *)(void *)post)->n);
}

// One port per loop, and none of its own for a loop that came later.
TEST(remote_is_one_per_loop)
{
    stage_open();
    struct coil_remote *port = coil_remote_current();
    CHECK(port);
    CHECK(coil_remote_current() == port);
    CHECK(coil_remote_is_current(port));
    coil_remote_ref(port);
    stage_close();
    CHECK(!coil_remote_is_current(port));
    stage_open();
    CHECK(coil_remote_current() != port);
    coil_remote_unref(port);
    stage_close();
}

TEST(remote_delivers_in_order)
{
    struct note notes[3] = { { .n = 0 }, { .n = 1 }, { .n = 2 } };
    stage_open();
    for (int i = 0; i < 3; i++)
        CHECK(coil_remote_call_soon(coil_remote_current(), &notes[i].post,
                                    noted));
    CHECK_TRACE("");
    stage_passes(1);
    CHECK_TRACE("0 1 2");
    stage_close();
}

// Nobody may call into a loop that is gone; its owner has to know.
TEST(remote_of_a_closed_loop_refuses)
{
    struct note note = { .n = 1 };
    stage_open();
    struct coil_remote *port = coil_remote_ref(coil_remote_current());
    stage_close();
    CHECK(!coil_remote_call_soon(port, &note.post, noted));
    CHECK_TRACE("");
    coil_remote_unref(port);
}

// What was promised to be delivered is, though the loop makes no more pass.
TEST(remote_delivers_what_came_before_the_loop_closed)
{
    struct note note = { .n = 1 };
    stage_open();
    CHECK(coil_remote_call_soon(coil_remote_current(), &note.post, noted));
    stage_close();
    CHECK_TRACE("1");
}

static struct {
    struct coil_remote *port;
    struct note note;
} later;

static void expected(struct coil_remote_call *post)
{
    noted(post);
    CHECK(coil_loop_closing(coil_loop_current()));
    coil_remote_allow_close(later.port);
}

static void *post_late(void *arg)
{
    (void)arg;
    usleep(20000);
    CHECK(coil_remote_call_soon(later.port, &later.note.post, expected));
    return NULL;
}

TEST(remote_holds_the_loop_open_for_what_is_expected)
{
    pthread_t thread;
    stage_open();
    later.port = coil_remote_current();
    later.note.n = 7;
    coil_remote_keep_open(later.port);
    CHECK_INT(pthread_create(&thread, NULL, post_late, NULL), 0);
    CHECK(!coil_loop_closing(stage_loop));
    stage_close();
    CHECK_TRACE("7");
    pthread_join(thread, NULL);
}

DEATH_TEST(remote_met_unasked_aborts, "more than was expected")
{
    stage_open();
    coil_remote_allow_close(coil_remote_current());
}

DEATH_TEST(remote_without_a_loop_aborts, "no loop")
{
    coil_remote_current();
}

/* ---- Closing ---------------------------------------------------------- */

static void say(void *arg)
{
    trace("%s", (const char *)arg);
}

// What was made last may use what was made before it.
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

// A child process has no loop, and must not post to its parent's.
TEST(remote_of_the_parent_is_not_the_childs)
{
    stage_open();
    struct coil_remote *port = coil_remote_current();
    pid_t pid = fork();
    if (pid == 0) {
        bool ok = !coil_remote_is_current(port) && !coil_loop_current();
        _exit(!ok);
    }
    int status = -1;
    CHECK_INT(waitpid(pid, &status, 0), pid);
    CHECK_INT(status, 0);
    stage_close();
}

/* ---- Many threads ----------------------------------------------------- */

#define POSTERS 4

static struct {
    struct coil_remote *port;
    atomic_long posted, refused, delivered;
    long each;
} storm;

static void landed(struct coil_remote_call *post)
{
    free(post);
    atomic_fetch_add(&storm.delivered, 1);
}

static void *post_many(void *arg)
{
    (void)arg;
    for (long i = 0; i < storm.each; i++) {
        struct coil_remote_call *post = malloc(sizeof *post);
        CHECK(post);
        if (coil_remote_call_soon(storm.port, post, landed)) {
            atomic_fetch_add(&storm.posted, 1);
        } else {
            atomic_fetch_add(&storm.refused, 1);
            free(post);
        }
    }
    return NULL;
}

// Each post is delivered or refused, never both and never neither.
TEST(remote_loses_nothing_when_the_loop_closes_under_it)
{
    for (int round = 0; round < (test_is_slow() ? 5 : 40); round++) {
        pthread_t threads[POSTERS];
        long before = atomic_load(&storm.delivered);
        stage_open();
        storm.port = coil_remote_ref(coil_remote_current());
        storm.each = 300;
        for (int i = 0; i < POSTERS; i++)
            CHECK_INT(pthread_create(&threads[i], NULL, post_many, NULL), 0);
        while (atomic_load(&storm.delivered) < before + round * 10)
            coil_loop_pass(stage_loop, COIL_MS(1));
        stage_close();
        for (int i = 0; i < POSTERS; i++)
            pthread_join(threads[i], NULL);
        CHECK_INT(storm.delivered, storm.posted);
        CHECK_INT(storm.posted + storm.refused, (round + 1) * POSTERS * 300);
        coil_remote_unref(storm.port);
    }
}

/* A cancellation that was asked for strikes in write(2), and whatever else. */
static void *post_cancelled(void *arg)
{
    struct coil_remote_call *post = arg;
    pthread_cancel(pthread_self());
    CHECK(coil_remote_call_soon(storm.port, post, landed));
    return NULL; /* it may have ended before */
}

// Or the loop that it was about to wake would wait for it for ever.
TEST(remote_posted_to_by_a_thread_that_is_cancelled)
{
    pthread_t thread;
    test_timeout(5);
    stage_open();
    storm.port = coil_remote_current();
    struct coil_remote_call *post = malloc(sizeof *post);
    CHECK_INT(pthread_create(&thread, NULL, post_cancelled, post), 0);
    pthread_join(thread, NULL);
    stage_close();
    CHECK_INT(storm.delivered, 1);
}
static int a_port(void)
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
    test_every_allocation(a_port);
}

/* ---- A result is a value ---------------------------------------------- */

// A value may go on as it is, whatever it is: to another thread, say.
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
