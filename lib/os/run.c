// SPDX-License-Identifier: MIT
/*
 * run.c: from main() into a coroutine and back.
 *
 * RUN makes a loop, runs one coroutine on it and closes it; RUN_ON runs one on
 * a loop that exists. Both are macros. They make the coroutine between calls of
 * two functions of this file: begin, after which there is a loop but nothing
 * runs, and end, which is given the coroutine.
 *
 * Ctrl-C: the first SIGINT cancels the main task, which may clean up; the next
 * one ends the process, in case the cleanup hangs. A main task that was
 * cancelled only for this reason gives -EINTR. SIGINT is left alone if it has
 * another disposition than the default one or a listener (signal.h), and in
 * threads other than the main one.
 */
#include <coil/coroutine.h>

#include <errno.h>
#include <string.h>

#include <coil/signal.h>

#include "base/check.h"
#include "core/coroutine.h"
#include "core/future.h"
#include "core/loop.h"
#include "interrupt.h"

/* ---- SIGINT ----------------------------------------------------------- */

struct sigint {
    struct coil_wakeup wakeup;
    struct coil_task *task;
    bool taken, came; /* the signal is ours; it has cancelled the task */
};

static void cancel_main(void *arg)
{
    struct sigint *s = arg;
    s->came = coil_task_cancel_with(s->task, COIL_CANCEL_INTERRUPT);
}

static void sigint_begin(struct sigint *s, struct coil_loop *loop,
                         struct coil_task *task)
{
    *s = (struct sigint){ .task = task };
    if (loop->options.leave_sigint)
        return;
    coil_wakeup_init(&s->wakeup, cancel_main, s);
    s->taken = coili_interrupt_begin(&s->wakeup);
}

static void sigint_end(struct sigint *s)
{
    if (!s->taken)
        return;
    coili_interrupt_end();
    coil_wakeup_fini(&s->wakeup);
}

/* The task was cancelled by SIGINT, and by no other request. */
static bool was_interrupted(const struct sigint *s)
{
    const struct coil_future *f = &s->task->coro.future;
    return s->came && coil_future_cancelled(f) && f->cancels <= 1 &&
           COIL_DETAIL_CODE(coil_future_detail(f)) == COIL_CANCEL_INTERRUPT;
}

/* ---- One run ---------------------------------------------------------- */

/*
 * Store the result in the variable of RUN_TO, whose type is `kind`: AWAIT_TO
 * does that with an assignment, here it is a function. The taker is a frame
 * that does nothing but give coili_take_...() the future.
 */
static int store(enum coili_kind kind, void *to, struct coil_future *f)
{
    struct coil_coro taker = { .awaiting = (uintptr_t)f, .step = NULL };
    future_ref(f);
    int err = coili_fits(f, kind);
    if (err < 0) {
        future_unref(f);
        return err;
    }
#define STORE(K, type) \
    case K: \
        *(type *)to = (type)coili_take_int(&taker); \
        break
    switch (kind) {
        STORE(COILI_KIND_BOOL, bool);
        STORE(COILI_KIND_CHAR, char);
        STORE(COILI_KIND_SCHAR, signed char);
        STORE(COILI_KIND_UCHAR, unsigned char);
        STORE(COILI_KIND_SHORT, short);
        STORE(COILI_KIND_USHORT, unsigned short);
        STORE(COILI_KIND_INT, int);
        STORE(COILI_KIND_UINT, unsigned);
        STORE(COILI_KIND_LONG, long);
        STORE(COILI_KIND_ULONG, unsigned long);
        STORE(COILI_KIND_LLONG, long long);
        STORE(COILI_KIND_ULLONG, unsigned long long);
    case COILI_KIND_FLOAT:
        *(float *)to = (float)coili_take_double(&taker);
        break;
    case COILI_KIND_DOUBLE:
        *(double *)to = coili_take_double(&taker);
        break;
    case COILI_KIND_POINTER:
        memcpy(to, &(void *){ coili_take_pointer(&taker) }, sizeof(void *));
        break;
    case COILI_KIND_NONE:
        break;
    }
#undef STORE
    return 0;
}

static void drop_handle(struct coil_task *t)
{
    if (t->coro.future.refs != REFS_MOST && t->coro.future.flags & F_HANDLE)
        coil_task_drop(&t);
}

/*
 * Run one coroutine as the main task. A reference is kept, because the task may
 * detach itself. SIGINT is given back before the result is read: from here on
 * a Ctrl-C ends the process.
 */
static int run(struct coil_loop *loop, struct coil_future *main,
               enum coili_kind kind, void *result)
{
    struct coil_task *t = coil_spawn(main);
    struct coil_future *f = &t->coro.future;
    struct sigint sigint;
    future_ref(f);
    sigint_begin(&sigint, loop, t);
    int err = coil_loop_run_until_complete(loop, t);
    sigint_end(&sigint);
    uint32_t detail = 0;
    if (err == 0) {
        err = coil_future_error(f);
        detail = coil_future_detail(f);
    }
    if (err == 0 && kind != COILI_KIND_NONE)
        err = store(kind, result, f);
    if (was_interrupted(&sigint)) {
        err = -EINTR;
        detail = 0;
    }
    drop_handle(t);
    future_unref(f);
    loop->last_detail = coili_run_detail = detail;
    return err;
}

/* ---- The macros' functions -------------------------------------------- */

void coili_run_begin(const struct coil_loop_options *options, uint32_t abi)
{
    struct coil_loop *loop;
    coili_check_abi(abi, "RUN");
    coili_check(!coili_loop, "RUN in a thread whose loop exists already");
    coili_run_error = coili_loop_new(&loop, options, abi);
}

int coili_run_end(struct coil_future *main, enum coili_kind kind, void *result)
{
    int err = coili_run_error;
    coili_run_error = 0;
    coili_run_detail = 0;
    if (err < 0)
        return err;
    struct coil_loop *loop = coili_need_loop();
    err = run(loop, main, kind, result);
    coil_loop_close(loop);
    return err;
}

void coili_run_on_begin(struct coil_loop *loop, uint32_t abi)
{
    coili_check_abi(abi, "RUN_ON");
    coili_check(loop && loop == coili_loop,
                "RUN_ON wants the loop of this thread");
    coili_check(!loop->running && !loop->stack_base,
                "RUN_ON inside a run: the loop runs already");
}

int coili_run_on_end(struct coil_future *main, enum coili_kind kind,
                     void *result)
{
    return run(coili_need_loop(), main, kind, result);
}
