// SPDX-License-Identifier: MIT
// labels: core http
/*
 * test_programs.c: what main() sees of a program, and the smallest program of
 * the talks; those that need a server are in test_http_programs.c.
 */
#include "stage.h"

#include <coil.h>
#include <coil/http.h>

/* ---- Two greenlets take turns (gevent) --------------------------------- */

struct speak {
    struct coil_coro coro;
    const char *name;
};

static void speak(struct coil_coro *co)
{
    ASYNC(speak, my) {
        trace("%s", my->name);
        AWAIT(coil_sleep(0));
        trace("%s-again", my->name);
    }
}

struct turns {
    struct coil_coro coro;
    struct coil_task *tasks[2];
};

static void turns(struct coil_coro *co)
{
    ASYNC(turns, my) {
        my->tasks[0] = SPAWN(speak, .name = "foo");
        my->tasks[1] = SPAWN(speak, .name = "bar");
        trace("spawned");
        AWAIT(coil_gather(my->tasks, 2));
    }
}

TEST(programs_two_tasks_take_turns)
{
    CHECK_INT(RUN(turns), 0);
    CHECK_TRACE("spawned foo bar foo-again bar-again");
}

/* ---- What RUN returns --------------------------------------------------- */

struct fails {
    struct coil_coro coro;
    int err;
    uint32_t detail;
};

static void fails(struct coil_coro *co)
{
    ASYNC(fails, my) {
        if (my->err < 0)
            FAIL_WITH(my->err, my->detail);
        RETURN(7);
    }
}

// main() has only the error: the words need the detail beside it.
TEST(programs_run_keeps_the_detail_of_its_error)
{
    char words[64];
    uint32_t detail = COIL_DETAIL(COIL_PHASE_CONNECT, 0);
    int err = RUN(fails, .err = -ECONNREFUSED, .detail = detail);
    CHECK_INT(err, -ECONNREFUSED);
    CHECK_INT(coil_last_detail(), detail);
    CHECK_STR(coil_explain(err, coil_last_detail(), words, sizeof words),
              "connect: Connection refused");

    int n = 0;
    CHECK_INT(RUN_TO(n, fails), 0);
    CHECK_INT(n, 7);
    CHECK_INT(coil_last_detail(), 0);
}

// An error of the loop itself has no detail, nor the one before it.
TEST(programs_run_without_memory_has_no_detail)
{
    CHECK_INT(RUN(fails, .err = -EIO, .detail = 5), -EIO);
    test_fail_allocations_from(1);
    int err = RUN(fails, .err = -EIO, .detail = 5);
    test_fail_allocations_from(0);
    CHECK_INT(err, -ENOMEM);
    CHECK_INT(coil_last_detail(), 0);
}

/* ---- A session that could not be made ----------------------------------- */

struct no_session {
    struct coil_coro coro;
    struct coil_http_response *response;
};

static void no_session(struct coil_coro *co)
{
    ASYNC(no_session, my) {
        AWAIT_TO(my->response, coil_http_get(NULL, "http://127.0.0.1:1/"));

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(NULL));
    }
}

// So that one check, that of the request, serves for both.
TEST(programs_request_of_no_session_is_out_of_memory)
{
    CHECK_INT(RUN(no_session), -ENOMEM);
}

/* ---- A task that is cancelled before its first step --------------------- */

struct owner {
    struct coil_coro coro;
    struct coil_queue queue;
    struct coil_completions completions;
    struct coil_wakeup wakeup;
    struct coil_future *future, *call;
    struct coil_custom *custom;
    struct coil_task *task;
    struct coil_promise *promise;
    struct coil_remote *remote;
    struct coil_remote_task *remote_task;
    struct coil_channel *channel;
    struct coil_executor *executor;
    struct coil_process_pool *pool;
    struct coil_listener *listener;
    struct coil_stream *stream, *other, *third;
    struct coil_acceptor *acceptor;
    struct coil_receiver *receiver;
    struct coil_http_session *session;
    struct coil_http_response *response;
    int *errors;
};

#define NOTE(x) TRY_AWAIT(my->errors[__LINE__ % 16], x)

static void owner(struct coil_coro *co)
{
    ASYNC(owner, my) {
        AWAIT(coil_sleep(COIL_SECONDS(60)));

    FINALLY;
        coil_queue_shutdown_now(&my->queue, NULL);
        coil_queue_fini(&my->queue);
        coil_completions_fini(&my->completions);
        coil_wakeup_fini(&my->wakeup);
        coil_future_unref(my->future);
        coil_discard(my->call);
        coil_custom_free(my->custom);
        coil_task_drop(&my->task);
        coil_promise_unref(my->promise);
        coil_remote_unref(my->remote);
        coil_remote_task_unref(my->remote_task);
        coil_channel_unref(my->channel);
        coil_executor_free(my->executor);
        coil_stream_close_soon(my->stream);
        coil_http_response_free(my->response);
        NOTE(coil_process_pool_close(my->pool));
        NOTE(coil_listener_close(my->listener));
        NOTE(coil_stream_close(my->other));
        NOTE(coil_stream_abort(my->third));
        NOTE(coil_acceptor_close(my->acceptor));
        NOTE(coil_receiver_close(my->receiver));
        NOTE(coil_http_session_close(my->session));
        trace("clean");
    }
}

COROUTINE(cancels_at_once, struct coil_task *task; int err; int errors[16];)
{
    ASYNC(cancels_at_once, my) {
        my->task = SPAWN(owner, .errors = my->errors);
        coil_task_cancel(my->task);
        TRY_AWAIT(my->err, my->task);
        CHECK_INT(my->err, -ECANCELED);
        for (int i = 0; i < 16; i++)
            CHECK_INT(my->errors[i], 0);
    }
}

// Its FINALLY runs, with all fields zero: each cleanup takes zero and NULL.
TEST(programs_finally_cleans_up_what_was_never_made)
{
    CHECK_INT(RUN(cancels_at_once), 0);
    CHECK_TRACE("clean");
}

// So a program that failed to make its loop has one way out.
TEST(programs_close_a_loop_that_was_never_made)
{
    coil_loop_close(NULL);
    struct coil_loop *loop;
    CHECK_INT(coil_loop_new(&loop, NULL), 0);
    coil_loop_close(NULL);
    coil_loop_close(loop);
}
