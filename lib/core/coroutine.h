// SPDX-License-Identifier: MIT
#ifndef COILI_COROUTINE_H
#define COILI_COROUTINE_H

/*
 * coroutine.h: a frame between two steps, and how an await ends.
 *
 * This header offers what the other files of the core need in order to suspend
 * a coroutine, to resume it, to let its await fail and to say what the program
 * did wrong. Which file writes the fields of a struct coil_coro:
 *
 *     awaiting  all files of the core that suspend a coroutine or wake one
 *     next      the list in which the coroutine waits (loop.h, future.c). Free
 *               for other uses before the first step (debug.c, coroutine.c)
 *               and after the last one (coroutine.c: the giver)
 *     scopes    coili_scope_push() and coili_scope_pop(); see scope.h
 *     line      coroutine.c, block.c; cancel_scope.c (LINE_BARE), scope.c
 *               (JOIN), and task.c for a coroutine that has not begun or waits
 *               for its children
 *     since     suspend(), scope.c (JOIN); before the first step debug.c
 */

#include <coil/block.h>
#include <coil/coroutine.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/heap.h"
#include "future.h"
#include "loop.h"
#include "scope.h"
#include "task.h"

/* ---- Where a coroutine is --------------------------------------------- */

/*
 * coro.awaiting: 0, a future, or one of these tags. A sleep that is awaited
 * directly is just its place in the heap of timers.
 */
#define AWAITS_TIMER COILI_TIMER_TAG
#define AWAITS_CHILDREN ((uintptr_t)2)
#define AWAITS_TAG COILI_TAG_MASK

static inline struct coil_future *awaited_future(const struct coil_coro *co)
{
    return (struct coil_future *)co->awaiting;
}

/* coro.line: lines that are not in the source. */
#define LINE_FINALLY COILI_LINE_FINALLY
#define LINE_DRAIN (INT32_MAX - 1) /* children end before FINALLY */
#define LINE_OVER (INT32_MAX - 2)  /* and those that FINALLY started */
#define LINE_ASK (INT32_MAX - 3)   /* tell the site, do nothing */
#define LINE_SKIP (INT32_MAX - 4)  /* no memory for a record: skip the block */
#define LINE_BARE (INT32_MAX - 5)  /* no memory, in FINALLY: run the block */
#define LINE_LEAST COILI_LINE_THROUGH

/* ---- Suspending and resuming ------------------------------------------ */

/* The running coroutine has suspended. */
static inline void suspend(struct coil_loop *loop, struct coil_coro *co,
                           int line)
{
    co->line = line;
    co->since = loop->now_ms;
    loop->current = NULL;
}

/* Continue with a coroutine in this step, or in the next pass. */
static inline void switch_to(struct coil_loop *loop, struct coil_coro *co)
{
    if (COILI_LIKELY(--loop->budget > 0))
        loop->resume = co;
    else
        wake(loop, co);
}

/* ---- Requests to cancel ----------------------------------------------- */

/* The request strikes the next await of `co`. */
static inline void request(struct coil_coro *co, unsigned reason)
{
    flag_clear(&co->future, 3u << REASON_SHIFT);
    flag_set(&co->future, F_MUST_CANCEL | reason << REASON_SHIFT);
}

/* True if a request is to strike. One that was taken back is forgotten. */
static inline bool must_cancel(struct coil_coro *co)
{
    if (COILI_LIKELY(!(co->future.flags & F_MUST_CANCEL)))
        return false;
    if (co->future.cancels)
        return true;
    flag_clear(&co->future, F_MUST_CANCEL);
    return false;
}

/* True if a request strikes now, before anything is begun. */
static inline bool struck(struct coil_coro *co)
{
    if (COILI_LIKELY(!must_cancel(co)))
        return false;
    co->awaiting = (uintptr_t)&coili_cancelled;
    return true;
}

/* ---- How an await ends ------------------------------------------------ */

/* An await's error, taken from `awaiting`. */
struct coili_end {
    int err;
    uint32_t detail;
    bool own; /* this task's own cancellation */
};

struct coili_end coili_take_failure(struct coil_coro *co,
                                    struct coil_future *f);

/*
 * An await has failed. True: the coroutine goes on at the landing of a block,
 * or at FINALLY. False in FINALLY: the next statement runs.
 */
bool coili_failed_with(struct coil_coro *co, struct coili_end end);

/*
 * An await of TRY_AWAIT has failed. True: with the task's own cancellation,
 * which is not caught. False: `err` has the error.
 */
bool coili_catch_unless_own(struct coil_coro *co, struct coili_end end,
                            int *err);

/* 0, or -EOVERFLOW: too large for the lvalue. Another kind aborts. */
int coili_fits(const struct coil_future *f, enum coili_kind kind);

/* False: too large for the lvalue. A value of another kind aborts. */
bool coili_fits_into(struct coil_coro *co, const struct coil_future *f,
                     unsigned state, enum coili_kind kind, const char *file,
                     int line);

/* ---- The outcome ------------------------------------------------------ */

/* The coroutine is going to fail with this task's own cancellation. */
void coili_cut(struct coil_coro *co, uint32_t detail);

/* The coroutine is going to fail; its value, if any, is disposed of. */
void coili_replace_by_failure(struct coil_coro *co, int err, uint32_t detail);

/* Report an error of FINALLY that an earlier error hides. */
void coili_report_second(struct coil_coro *co, struct coili_end end);

/* The coroutine was going to fail, and goes on instead. */
static inline void coili_outcome_clear(struct coil_coro *co)
{
    co->future.state &= (uint8_t)QUIET;
    co->future.result.u = 0;
    flag_clear(&co->future, F_OWN_CANCEL);
}

/*
 * The giver of a result: what disposes of it if it is not taken. 0: nothing; a
 * struct coil_site, whose give() frees the pointer; or, with the tag
 * GIVER_FUTURE, the future that brought the result: one of a class, or that of
 * a task, which others may still ask for its value. This future is kept, told
 * when the value was taken elsewhere, and disposes of it itself otherwise.
 */
#define GIVER_FUTURE ((uintptr_t)2)

struct give_scope {
    struct coili_scope scope;
    uintptr_t giver; /* of the result that this coroutine passes on; counted */
};

/* The future that owns the result; or NULL. */
static inline struct coil_future *giving_future(uintptr_t giver)
{
    return giver & GIVER_FUTURE ? (struct coil_future *)(giver - GIVER_FUTURE)
                                : NULL;
}

/* ---- Frames ----------------------------------------------------------- */

/*
 * A frame in a block of COILI_BLOCK(), to be put into a list at once; NULL
 * without memory.
 */
static inline struct coil_task *coili_frame_make(struct coil_loop *loop,
                                                 coil_step_fn *step,
                                                 uint32_t size, unsigned refs,
                                                 unsigned flags)
{
    unsigned wide = size & 1;
    unsigned cls = coili_size_class(size - wide);
    char *block = coili_class_get(&loop->alloc, cls);
    if (COILI_UNLIKELY(!block))
        return NULL;

    /* So the frame of a wide one is aligned to 16: block_of() sees it. */
    struct coil_task *t = (struct coil_task *)(void *)(block + wide * 8);
    t->coro = (struct coil_coro){
        .future = { .refs = refs & REFS_MOST,
                    .flags = (uint16_t)flags,
                    .size_class = (uint8_t)cls },
        .step = step,
    };
    return t;
}

/* Free a frame that is in no list yet. */
void coili_frame_unmake(struct coil_loop *loop, struct coil_coro *co);

void coili_frame_free(struct coil_coro *co);

/* Let `co` call a coroutine that it drops, when its body or FINALLY ends. */
void coili_call_at_end(struct coil_coro *co, struct coil_coro *dropped);

/* CALL in a thread without a loop: NULL after RUN has failed, else aborts. */
struct coil_coro *coili_no_loop(void);

/*
 * Of RUN in this thread, written by os/run.c: why it could not make a loop, or
 * 0, while its coroutine is made; the detail of the error that it returned
 * last.
 */
extern _Thread_local int coili_run_error;
extern _Thread_local uint32_t coili_run_detail;

/* ---- What can go wrong ------------------------------------------------ */

/* Where the coroutine stands in the source. */
const struct coil_site *coili_site(struct coil_coro *co);

/* Say what the program did wrong, naming coroutine and line, and abort. */
_Noreturn __attribute__((cold)) void coili_misuse(struct coil_coro *co,
                                                  const char *file, int line,
                                                  const char *what);

/* The same: a value of `state` is taken as one of `kind`. */
_Noreturn __attribute__((cold)) void
coili_misuse_kind(struct coil_coro *co, unsigned state, enum coili_kind kind,
                  const char *file, int line);

#define COILI_AWAIT_OUTSIDE \
    "an await outside the running coroutine: use its own `co`"
#define COILI_AWAIT_NULL "AWAIT of NULL: it wants a future or a task"
#define COILI_TOO_LATE ": put it before"
#define COILI_HANDLE_ON_STACK \
    "a handle on the stack waits for a call: make it a field of the frame"

/* Abort if `p`, which is lent, is on the stack of the step that runs now. */
void coili_check_lent(const void *p, const char *what);

#endif
