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
