// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_exception.c: what went wrong is told once, to the right one.
 */
#include "stage.h"

#include <unistd.h>

#include <coil/exception.h>

struct fail {
    struct coil_coro coro;
};

static void fail(struct coil_coro *co)
{
    COIL_ASYNC(fail, my) {
        (void)my;
        COIL_FAIL(-EIO);
    }
}

static void note(const struct coil_exception *what, void *arg)
{
    trace("%s:%d", (const char *)arg, what->err);
}

TEST(exception_handler_is_set_and_asked_for_at_run_time)
{
    void *arg = NULL;
    stage_open();
    CHECK(coil_loop_get_exception_handler(stage_loop, &arg) == stage_report);
    CHECK(arg == NULL);
    coil_loop_set_exception_handler(stage_loop, note, "first");
    CHECK(coil_loop_get_exception_handler(stage_loop, &arg) == note);
    CHECK_STR(arg, "first");
    COIL_START(fail);
    stage_passes(2);
    coil_loop_set_exception_handler(stage_loop, note, "second");
    COIL_START(fail);
    stage_passes(2);
    CHECK_TRACE("first:-5 second:-5");
    CHECK_INT(stage_reported.n, 0);
    coil_loop_set_exception_handler(stage_loop, NULL, NULL);
    CHECK(coil_loop_get_exception_handler(stage_loop, NULL) == NULL);
    stage_close();
}

TEST(exception_of_a_library_goes_to_the_handler)
{
    stage_open();
    coil_call_exception_handler(&(struct coil_exception){
        .message = "it broke", .name = "library", .err = -EPIPE });
    CHECK_INT(stage_reported.n, 1);
    CHECK_INT(stage_reported.err, -EPIPE);
    CHECK_STR(stage_reported.message, "it broke");
    CHECK_STR(stage_reported.name, "library");
    stage_close();
}

static void report_again(const struct coil_exception *what, void *arg)
{
    struct coil_exception again = *what;
    again.message = "the handler failed";
    ++*(int *)arg;
    coil_call_exception_handler(&again);
}

/* Of stderr, while a case writes to it. */
static const char *said(void (*run)(void))
{
    static char text[2048];
    int fds[2], saved = dup(2);
    CHECK_INT(pipe(fds), 0);
    dup2(fds[1], 2);
    run();
    dup2(saved, 2);
    close(saved);
    close(fds[1]);
    ssize_t n = read(fds[0], text, sizeof text - 1);
    text[n < 0 ? 0 : n] = '\0';
    close(fds[0]);
    return text;
}

static int called;

static void run_reports_again(void)
{
    coil_loop_set_exception_handler(stage_loop, report_again, &called);
    COIL_START(fail);
    stage_passes(2);
    COIL_START(fail);
    stage_passes(2);
}

TEST(exception_handler_that_reports_does_not_call_itself)
{
    stage_open();
    const char *text = said(run_reports_again);
    CHECK_INT(called, 2); // and it is called again afterwards
    CHECK(strstr(text, "coil: the handler failed: Input/output error\n"
                       "    in fail at "));
    stage_close();
}

static void report_without_a_loop(void)
{
    coil_call_exception_handler(&(struct coil_exception){ .message = "alone" });
    coil_default_exception_handler(&(struct coil_exception){
        .message = "at", .file = "x.c", .line = 7, .err = -EIO });
}

TEST(exception_without_a_loop_is_a_line_on_stderr)
{
    CHECK_STR(said(report_without_a_loop),
              "coil: alone\ncoil: at: Input/output error\n    in ? at x.c:7\n");
}
