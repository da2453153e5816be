// SPDX-License-Identifier: MIT
#ifndef COILI_LOOP_H
#define COILI_LOOP_H

/*
 * loop.h: the loop of a thread, and its ready queue.
 *
 * struct coil_loop holds what there is once per thread. loop.c writes its
 * fields, but for these:
 *
 *     ready          all files of the core, by wake() and coili_wake_waiters()
 *     timers, alloc  all files of the core, by the functions of heap.h, alloc.h
 *     current,       when a coroutine suspends or ends: suspend(), coroutine.c,
 *     resume,        scope.c (JOIN), generator.c
 *     budget
 *     ended, asked,  coroutine.c; loop.c takes `ended`
 *     releasing
 *     unstarted      coroutine.c appends a frame; the file that starts or frees
 *                    the frame removes it
 *     asking         scope.c
 *     way            task.c
 *     last_detail    coroutine.c, block.c; os/run.c at the end of a run
 *     try_error,     block.c
 *     bare
 *     cancelled_scopes, strike_again      cancel_scope.c
 *     contexts       context.c
 *     reporting      exception.c
 *     wakeups        wakeup.c, in any thread and in signal handlers
 *     receivers      io/receiver.c
 *     resolver       net/resolve.c
 *
 * The rooms io, net and os read `table`, `backend`, `options`, `running` and
 * `stack_base`, and no other field but their own. Other rooms do not include
 * this header.
 */

#include <pthread.h>

#include <coil/loop.h>
#include <coil/wakeup.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/heap.h"
#include "base/list.h"
#include "future.h"
#include "scope.h"

/* Waiters (future.h) whose turn comes in this order. */
struct ready_list {
    uintptr_t head; /* a waiter; 0 when empty */
    uintptr_t *end; /* where the next one is written; &head when empty */
};

struct coil_loop {
    struct ready_list ready; /* runs in the next pass */
    struct ready_list batch; /* what this pass still has to run */
    struct coil_coro *current;
    struct coil_coro *resume;    /* the trampoline's next */
    struct coil_coro *ended;     /* a task whose last step returns just now */
    struct coil_coro *releasing; /* what it held, at its end; or NULL */
    int budget;                  /* awaits that need not suspend */
    int passes_left;             /* until the next wait(), while busy */
    int64_t now;                 /* as of the last look at the clock */
    uint32_t now_ms;             /* the same, for coro.since */
    uint64_t looked;             /* coili_cycles() at that time, or earlier */
    uintptr_t stack_base;        /* of the current step */
    uint32_t last_detail;
    int try_error; /* of the TRY that is over just now */
    unsigned bare; /* blocks in FINALLY that run without a record */
    struct coili_heap timers;
    struct coili_alloc alloc;
    const struct coili_backend_table *table;
    struct coili_backend *backend;
    struct coili_list loops; /* of the process */
    struct coili_nursery root;
    struct coili_nursery *asking; /* its tasks are asked to end just now */
    const struct coili_way *way;  /* of the request that is on its way now */
    struct coili_list unstarted; /* frames that were not awaited yet */
    struct coili_receivers *receivers; /* NULL before the first */
    unsigned cancelled_scopes;   /* that still stand in a coroutine's list */
    /*
     * A cancellation was caught: scopes that were cancelled strike again. Set
     * with the first CANCEL_SCOPE; a program that has none does not link it.
     */
    void (*strike_again)(struct coil_coro *co, unsigned reason);
    struct coili_resolver *resolver;
    uintptr_t at_close;            /* handles, the last to be made first */
    struct coil_wakeup *wakeups;   /* sent, and not taken yet */
    const struct coil_site *asked; /* the answer to coili_site() */
    struct coil_loop_options options;
    uint64_t passes;
    unsigned contexts; /* tasks with bindings of context variables */
    bool stopping, running, closing, reporting, debug;
    bool shut; /* calls of other threads stay in their queue */

    pthread_mutex_t lock; /* guards what other threads touch: */
    struct ready_list remote;
    unsigned wakers; /* threads that have let go of the lock, and wake the
                        loop */
};

extern _Thread_local struct coil_loop *coili_loop;

/* This thread's loop; aborts if there is none. */
static inline struct coil_loop *coili_need_loop(void)
{
    struct coil_loop *loop = coili_loop;
    coili_check(loop, "this thread has no loop: RUN() makes one");
    return loop;
}

/*
 * True if `p` is on the stack of the step that runs now. That stack lies
 * between this function's frame and that of the batch. Outside of a batch
 * `stack_base` is 0.
 */
static inline bool coili_is_on_stack(const void *p)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    const struct coil_loop *loop = coili_loop;
    return loop && (uintptr_t)p < loop->stack_base && (uintptr_t)p >= here;
}

/* Abort if the program was compiled with headers of another version. */
void coili_check_abi(uint32_t abi, const char *call);

/* ---- Waking ----------------------------------------------------------- */

static inline void ready_init(struct ready_list *list)
{
    list->head = 0;
    list->end = &list->head;
}

/* Append a chain of waiters, whose last one's `next` is 0. */
static inline void ready_append(struct ready_list *list, uintptr_t first,
                                uintptr_t last)
{
    *list->end = first;
    list->end = next_of(last);
}

static inline void ready_push(struct ready_list *list, uintptr_t waiter)
{
    uintptr_t *next = next_of(waiter);
    *next = 0;
    *list->end = waiter;
    list->end = next;
}

/* A call is ready. Each handle in the ready queue has its place: future.h. */
static inline void ready_push_handle(struct coil_loop *loop,
                                     struct coil_handle *h)
{
    h->where = (uintptr_t)loop->ready.end;
    ready_push(&loop->ready, (uintptr_t)h | 1);
}

static inline void wake(struct coil_loop *loop, struct coil_coro *co)
{
    co->next = 0;
    *loop->ready.end = (uintptr_t)co;
    loop->ready.end = &co->next;
}

/*
 * To be called when a future has got its state: all waiters become ready. The
 * circle of waiters becomes the end of the ready queue.
 */
static inline void coili_wake_waiters(struct coil_loop *loop,
                                      struct coil_future *f)
{
    uintptr_t last = f->waiters;
    if (!last)
        return;
    if (COILI_UNLIKELY(last & 1 || ((struct coil_coro *)last)->next & 1)) {
        coili_wake_handles(loop, f);
        return;
    }
    struct coil_coro *co = (struct coil_coro *)last;
    uintptr_t first = co->next;
    f->waiters = 0;
    co->next = 0;
    *loop->ready.end = first;
    loop->ready.end = &co->next;
}

/*
 * Where a handle is: handle.where, written by loop.c, future.c and heap.c. The
 * lowest bits say in which list; in the lists that are linked the others are
 * the handle's place, the address of the word that points at it. So a handle
 * leaves each list in one step.
 *
 *     0                   in none
 *     no tag              in the ready queue or the batch; or it waits for a
 *                         future and is not the last (future.h)
 *     COILI_TIMER_TAG     in the heap of timers (heap.h)
 *     WHERE_FUTURE_TAG    it waits for this future, as the last
 *     WHERE_REMOTE_TAG    in `remote`
 *     WHERE_CLOSE_TAG     in `at_close`
 */
#define WHERE_NOWHERE ((uintptr_t)0)
#define WHERE_FUTURE_TAG ((uintptr_t)3)
#define WHERE_REMOTE_TAG ((uintptr_t)2)
#define WHERE_CLOSE_TAG ((uintptr_t)6)
#define WHERE_LIST_MASK ((uintptr_t)7)

/* The two words that owners of timers lend to the heap. */
_Static_assert(offsetof(struct coil_coro, next) ==
                       offsetof(struct coil_coro, awaiting) + 8 &&
                   offsetof(struct coil_handle, next) ==
                       offsetof(struct coil_handle, where) + 8,
               "a timer's owner: its place, then its order");

#endif
