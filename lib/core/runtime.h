// SPDX-License-Identifier: MIT
#ifndef COILI_RUNTIME_H
#define COILI_RUNTIME_H

/*
 * runtime.h: what loop, future, coroutine and task know of one another.
 *
 * From wait.c on nobody includes this file, but for resolve.c: the rest is made
 * of public calls.
 *
 * Two things wait in lists of the runtime: coroutines, for a future or for
 * their turn, and handles, for a call. Both are linked through a word `next`;
 * a handle's address bears a tag in its lowest bit. A future's waiters are a
 * circle of which it knows the last, so that a whole circle moves to the end of
 * the ready list in one step:
 *
 *     future.waiters --> last --> first --> second --> last
 */

#include <pthread.h>

#include <coil/block.h>
#include <coil/cancel_scope.h>
#include <coil/coroutine.h>
#include <coil/future.h>
#include <coil/group.h>
#include <coil/loop.h>
#include <coil/task.h>
#include <coil/wakeup.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/heap.h"
#include "base/list.h"
#include "backend/backend.h"

/* ---- A future's words ------------------------------------------------- */

/* Kinds, in the lowest bits of `flags`. */
#define KIND_MASK 7u
#define KIND_PLAIN 0u
#define KIND_CORO COILI_KIND_CORO
#define KIND_CUSTOM 2u
#define KIND_SLEEP 3u
#define KIND_PASS 4u
#define KIND_DEAD 7u /* freed; see alloc.c */

#define F_STARTED 0x0008u     /* its first step or start() has been made */
#define F_CALLED 0x0010u      /* a coroutine awaited by its caller */
#define F_TASK 0x0020u        /* a coroutine driven by the loop */
#define F_IN_PLACE COILI_IN_PLACE /* its memory is the user's */
#define F_ASKED F_IN_PLACE /* of a task: its group has asked it to end */
#define F_HANDLE COILI_HANDLE /* its nursery holds a reference: the handle */
#define F_MUST_CANCEL COILI_MUST_CANCEL /* a request that has not struck yet */
#define F_OWN_CANCEL 0x0200u  /* it fails because its task was cancelled */
#define F_FINALLY COILI_IN_FINALLY /* in its FINALLY */
#define F_FETCHED COILI_FETCHED /* somebody knows the error, took the pointer */
#define F_GIVES COILI_GIVES /* disposes of what nobody took; a coroutine's
                               `next` is the giver */
#define F_GENERATOR 0x2000u   /* run by a FOR_AWAIT */
#define REASON_SHIFT 14       /* enum coil_cancel_reason, two bits */

/* States: the low three bits. Above them stands what it is going to be. */
#define STATE_MASK ((unsigned)COILI_STATE)
#define QUIET COILI_QUIET
#define S_PENDING 0u
#define S_INT ((unsigned)COILI_INT)
#define S_UINT ((unsigned)COILI_UINT)
#define S_DOUBLE ((unsigned)COILI_DOUBLE)
#define S_POINTER ((unsigned)COILI_POINTER)
#define S_FAILED ((unsigned)COILI_FAILED)
#define OUTCOME_SHIFT COILI_OUTCOME_SHIFT

#define REFS_MOST COILI_REFS_MOST

static inline unsigned kind_of(const struct coil_future *f)
{
    return f->flags & KIND_MASK;
}

static inline unsigned state_of(const struct coil_future *f)
{
    return f->state & STATE_MASK;
}

static inline unsigned outcome_of(const struct coil_future *f)
{
    return f->state >> OUTCOME_SHIFT;
}

static inline void flag_set(struct coil_future *f, unsigned flag)
{
    f->flags = (uint16_t)(f->flags | flag);
}

static inline void flag_clear(struct coil_future *f, unsigned flag)
{
    f->flags = (uint16_t)(f->flags & ~flag);
}

/* A task is never in place: there the same flag is F_ASKED. */
static inline bool is_in_place(const struct coil_future *f)
{
    return (f->flags & (F_IN_PLACE | F_TASK)) == F_IN_PLACE;
}

static inline struct coil_coro *coro_of(struct coil_future *f)
{
    return (struct coil_coro *)(void *)f;
}

/* A request is to strike; unless it was taken back meanwhile. */
static inline bool must_cancel(struct coil_coro *co)
{
    if (COILI_LIKELY(!(co->future.flags & F_MUST_CANCEL)))
        return false;
    if (co->future.cancels)
        return true;
    flag_clear(&co->future, F_MUST_CANCEL);
    return false;
}

static inline struct coil_custom *custom_of(struct coil_future *f)
{
    return (struct coil_custom *)(void *)f;
}

/* ---- What a coroutine waits for --------------------------------------- */

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

/* Lines that are not in the source. */
#define LINE_FINALLY COILI_LINE_FINALLY
#define LINE_DRAIN (INT32_MAX - 1) /* children end before FINALLY */
#define LINE_OVER (INT32_MAX - 2)  /* and those that FINALLY started */
#define LINE_ASK (INT32_MAX - 3)   /* tell the site, do nothing */
#define LINE_SKIP (INT32_MAX - 4)  /* no memory for a record: skip the block */
#define LINE_BARE (INT32_MAX - 5)  /* no memory, in FINALLY: run the block */
#define LINE_LEAST COILI_LINE_THROUGH

/* The landing of a block: its word, above the line at which it stands. */
#define LANDING_SHIFT 28
#define LANDING_LEAST (1 << LANDING_SHIFT)

/* ---- Tasks and children ----------------------------------------------- */

/* In front of every frame that coil allocates. */
struct coil_task {
    struct coili_list siblings; /* of the nursery; or of loop->unstarted */
    struct coili_nursery *owner;
    struct coil_coro coro;
};

_Static_assert(offsetof(struct coil_task, coro) == COILI_TASK_HEAD,
               "coroutine.h knows where a task begins");

static inline struct coil_task *task_of(struct coil_coro *co)
{
    return COILI_CONTAINER(co, struct coil_task, coro);
}

/*
 * The frame at the root of a running frame's task: up through callers, and
 * through the consumers of generators.
 */
static inline struct coil_coro *root_of(struct coil_coro *co)
{
    while (!(co->future.flags & F_TASK) && co->future.waiters)
        co = (struct coil_coro *)co->future.waiters;
    return co;
}

/* The children of one coroutine, or (owner NULL) those of the loop. */
struct coili_nursery {
    struct coili_list tasks; /* of handles, done ones too */
    struct coil_coro *owner;
    uint32_t running;
    uint16_t awaited; /* the owner waits until none runs */
    uint16_t group;   /* that of a struct group_scope */
};

/* What belongs to a coroutine until it is over, newest first. */
enum scope_kind {
    SCOPE_CHILDREN,
    SCOPE_CANCEL,
    SCOPE_GROUP,
    SCOPE_HOLD,
    SCOPE_ITER,
    SCOPE_FROM,
    SCOPE_GIVE,
    SCOPE_NAME,
    SCOPE_CONTEXT,
    SCOPE_TRY,
    SCOPE_DROPPED /* in the head of the frame that was dropped */
};

/* A block is one whose id is a landing. */
struct coili_scope {
    struct coili_scope *next;
    unsigned kind : 8;
    unsigned on : 4;     /* it struck, STRUCK or OVER; a hold: acquired */
    unsigned stage : 4;  /* of a block */
    unsigned entry : 16; /* what may strike: requests there were before */
    int32_t id;          /* an iteration: its line; a block: its landing */
};

/* How far a block is; block.c. */
enum block_stage {
    BLOCK_ENTERED,
    BLOCK_PROBED, /* in debug mode */
    BLOCK_ACQUIRES,
    BLOCK_BODY,
    BLOCK_DRAINS
};

/* The block has asked its coroutine to end; that request was taken back. */
enum { STRUCK = 1, STRUCK_AND_OVER };

struct children_scope {
    struct coili_scope scope;
    struct coili_nursery nursery;
};

/* The block of a WITHIN or a CANCEL_SCOPE. */
struct cancel_scope {
    struct coili_scope scope;
    struct coil_coro *co;
    struct coil_handle handle; /* at its deadline */
    struct coil_cancel_scope *object; /* NULL: of WITHIN */
};

/* A struct coil_group: in the user's memory. id is 0 when its block is over. */
struct group_scope {
    struct coili_scope scope;
    struct coili_nursery nursery; /* owner: whose scope it is; or NULL */
    int32_t error; /* of the first child that failed */
    uint32_t detail;
    bool cancelled; /* by coil_group_cancel() */
    bool asked;     /* its tasks were asked to end */
    bool over;      /* it was entered, and its block is over */
};

_Static_assert(sizeof(struct group_scope) == sizeof(struct coil_group),
               "group.h knows how large a group is");

/* on: TRY_ALL. `error`: of a block in FINALLY, where errors do not jump. */
struct try_scope {
    struct coili_scope scope;
    int32_t error;
    uint32_t detail;
};

struct hold_scope {
    struct coili_scope scope;
    void *object;
    coil_call_fn *release;
};

struct iter_scope {
    struct coili_scope scope;
    struct coil_coro *generator;
    struct coili_nursery *nursery; /* in which it closes */
    struct coil_coro *leaf; /* what runs: itself, or the innermost inner one */
};

/* In a generator that delegates. */
struct from_scope {
    struct coili_scope scope;
    struct coil_coro *inner;
    struct iter_scope *root; /* the iteration of all of them */
};

/*
 * Who knows how to dispose of a result that nobody took: 0, a struct coil_site,
 * or, with the tag GIVER_FUTURE, the future that brought it: one of a class, or
 * that of a task, which others may still ask for its value. It is kept, told
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

struct name_scope {
    struct coili_scope scope;
    char name[64];
};

struct context_scope {
    struct coili_scope scope;
    struct binding *bindings; /* of context.c; one reference */
};

/* ---- The loop --------------------------------------------------------- */

struct ready_list {
    uintptr_t head; /* a waiter; 0 when empty */
    uintptr_t *end; /* where the next one is written; &head when empty */
};

struct coil_loop {
    struct ready_list ready; /* runs in the next pass */
    struct ready_list batch; /* what this pass still has to run */
    struct coil_coro *current;
    struct coil_coro *resume; /* the trampoline's next */
    struct coil_coro *ended;  /* a task whose last step returns just now */
    struct coil_coro *releasing; /* what it held, at its end; or NULL */
    int budget;               /* awaits that need not suspend */
    int idle_passes;          /* since the last wait() */
    int64_t now;              /* as of the last look at the clock */
    uint32_t now_ms;          /* the same, for coro.since */
    uintptr_t stack_base;     /* of the current step */
    uint32_t last_detail;
    int try_error; /* of the TRY that is over just now */
    unsigned bare; /* blocks in FINALLY that run without a record */
    struct coili_heap timers;
    struct coili_alloc alloc;
    const struct coili_backend_table *table;
    struct coili_backend *backend;
    struct coili_nursery root;
    struct coili_list unstarted; /* frames nobody awaited yet */
    struct coil_piece *pieces;   /* one per shared receive buffer */
    unsigned cancelled_scopes; /* that still stand in a coroutine's list */
    /*
     * A cancellation was caught: scopes that were cancelled strike again. Set
     * with the first CANCEL_SCOPE; a program that has none does not link it.
     */
    void (*strike_again)(struct coil_coro *co, unsigned reason);
    struct coili_resolver *resolver;
    struct coil_handle *at_close; /* the last to be made first; or NULL */
    struct coil_wakeup *wakeups;  /* sent, by whomever */
    const struct coil_site *asked;
    struct coil_loop_options options;
    uint64_t passes;
    unsigned contexts; /* tasks with bindings of context variables */
    bool stopping, running, closing, reporting, debug;

    pthread_mutex_t lock; /* guards what other threads touch: */
    struct ready_list remote;
    unsigned wakers; /* who have let go of the lock, and wake the loop */
};

extern _Thread_local struct coil_loop *coili_loop;

/* The detail of the error that RUN returned last in this thread. */
extern _Thread_local uint32_t coili_run_detail;

/* Static futures: done with 0, cancelled; a pass to come and one that came. */
extern struct coil_future coili_zero, coili_cancelled, coili_pass, coili_passed;

/* This thread's loop; aborts if there is none. */
static inline struct coil_loop *coili_need_loop(void)
{
    struct coil_loop *loop = coili_loop;
    coili_check(loop, "this thread has no loop: RUN() makes one");
    return loop;
}

/* ---- Waking ----------------------------------------------------------- */

static inline uintptr_t *next_of(uintptr_t waiter)
{
    return waiter & 1 ? &((struct coil_handle *)(waiter & ~(uintptr_t)1))->next
                      : &((struct coil_coro *)waiter)->next;
}

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

static inline void wake(struct coil_loop *loop, struct coil_coro *co)
{
    co->next = 0;
    *loop->ready.end = (uintptr_t)co;
    loop->ready.end = &co->next;
}

/* To be called when a future has got its state: all waiters become ready. */
void coili_wake_waiters(struct coil_loop *loop, struct coil_future *f);

void coili_add_waiter(struct coil_future *f, uintptr_t waiter);
bool coili_remove_waiter(struct coil_future *f, uintptr_t waiter);

/* Where a handle is: handle.where. */
#define WHERE_NOWHERE ((uintptr_t)0)
#define WHERE_READY ((uintptr_t)2)
#define WHERE_REMOTE ((uintptr_t)6)
#define WHERE_CLOSE ((uintptr_t)10)
#define WHERE_FUTURE_TAG ((uintptr_t)3)

/* Have the calls made of the wakeups that were sent. */
void coili_take_wakeups(struct coil_loop *loop);

/* ---- Futures, inside -------------------------------------------------- */

static inline void future_ref(struct coil_future *f)
{
    if (f->refs != REFS_MOST)
        f->refs++;
}

static inline void future_unref(struct coil_future *f)
{
    if (f->refs != REFS_MOST && --f->refs == 0)
        coili_gone(f);
}

static inline void mark_fetched(struct coil_future *f)
{
    if (f->refs != REFS_MOST)
        flag_set(f, F_FETCHED);
}

/* ---- Coroutines, inside ----------------------------------------------- */

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

/* The cancel request strikes before anything is begun. */
static inline bool struck(struct coil_coro *co)
{
    if (COILI_LIKELY(!must_cancel(co)))
        return false;
    co->awaiting = (uintptr_t)&coili_cancelled;
    return true;
}

/* The request strikes the next await of `co`. */
static inline void request(struct coil_coro *co, unsigned reason)
{
    flag_clear(&co->future, 3u << REASON_SHIFT);
    flag_set(&co->future, F_MUST_CANCEL | reason << REASON_SHIFT);
}

/* What an await ended with, taken from `awaiting`. */
struct coili_end {
    int err;
    uint32_t detail;
    bool own; /* this task's own cancellation */
};

struct coili_end coili_take_failure(struct coil_coro *co,
                                    struct coil_future *f);

/* It is going to fail with this task's own cancellation. */
void coili_cut(struct coil_coro *co, uint32_t detail);

/* An await ended so; true if that goes to FINALLY, false in FINALLY. */
bool coili_failed_with(struct coil_coro *co, struct coili_end end);

/* True: the task's own cancellation, which goes to FINALLY all the same. */
bool coili_catch_unless_own(struct coil_coro *co, struct coili_end end,
                            int *err);

/* False: too large for the lvalue. A value of another kind aborts. */
bool coili_fits_into(struct coil_coro *co, const struct coil_future *f,
                     unsigned state, enum coili_kind kind, const char *file,
                     int line);

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

/* Give back one that stands in no list yet. */
void coili_frame_unmake(struct coil_loop *loop, struct coil_coro *co);

/* CALL in a thread without a loop: NULL after RUN has failed, else aborts. */
struct coil_coro *coili_no_loop(void);

/* Its source: asks the coroutine itself. */
const struct coil_site *coili_site(struct coil_coro *co);

/* One request more. */
void coili_count_request(struct coil_future *f);

/* Cancel a frame and what it waits for. False: it is over. */
bool coili_cancel(struct coil_coro *co, enum coil_cancel_reason reason);

/* Have it run the FINALLY of one that it drops, when it is over itself. */
void coili_call_at_end(struct coil_coro *co, struct coil_coro *dropped);

/* Let a coroutine that has not begun go straight to its FINALLY. */
void coili_begin_cancelled(struct coil_coro *co, enum coil_cancel_reason why);

void coili_frame_free(struct coil_coro *co);

/* The frames of a task, one after the other, generators at rest among them. */
struct coil_coro *coili_next_frame(struct coil_coro *co);

/* Say what the program did wrong, naming coroutine and line, and abort. */
_Noreturn __attribute__((cold)) void
coili_misuse(struct coil_coro *co, const char *file, int line,
             const char *what);

/* Abort if `p`, which is lent, is on the stack of the step that runs now. */
void coili_check_lent(const void *p, const char *what);

#define COILI_AWAIT_OUTSIDE \
    "an await outside the running coroutine: use its own `co`"
#define COILI_AWAIT_NULL "AWAIT of NULL: it wants a future or a task"
#define COILI_TOO_LATE ": put it before"

/* The same: a value of `state` is taken as one of `kind`. */
_Noreturn __attribute__((cold)) void
coili_misuse_kind(struct coil_coro *co, unsigned state, enum coili_kind kind,
                  const char *file, int line);

/* The name of its function, or the one it was given. */
const char *coili_name(struct coil_coro *co);

void coili_report(const char *message, struct coil_coro *co, int err,
                  uint32_t detail);

/* The line of a frame that is to go on at `line`. */
int coili_source_line(int32_t line, const struct coil_site *site);

/* ---- Debug mode ------------------------------------------------------- */

/* The environment asks for it. */
bool coili_debug_wanted(void);

/* Report a step, resumed at `line`, and a call that took too long. */
void coili_debug_step(struct coil_loop *loop, struct coil_coro *co,
                      int32_t line, int64_t began);
void coili_debug_call(struct coil_loop *loop, coil_call_fn *fn, int64_t began);

/* Abort if it is not of this loop. */
void coili_debug_owner(struct coil_loop *loop, const struct coil_future *f);

/* Note who has made a frame, and report one that was never awaited. */
void coili_debug_made(struct coil_loop *loop, struct coil_coro *co);
void coili_debug_never_awaited(struct coil_coro *co);

/* Report that nobody will know what becomes of a future. */
void coili_debug_dropped(void);

/* ---- Children --------------------------------------------------------- */

/*
 * The nursery in which a coroutine spawns now: of its innermost GROUP, else its
 * own, which is made at first need. NULL: there is none.
 */
struct coili_nursery *coili_nursery_find(const struct coil_coro *co);
struct coili_nursery *coili_nursery_new(struct coil_coro *co);

static inline struct coili_nursery *coili_nursery_need(struct coil_coro *co)
{
    struct coili_scope *s = co->scopes;
    if (s && s->kind == SCOPE_CHILDREN)
        return &((struct children_scope *)s)->nursery;
    struct coili_nursery *n = coili_nursery_find(co);
    return n ? n : coili_nursery_new(co);
}

/* The nursery behind `n` of a coroutine, newest first; NULL: the first one. */
struct coili_nursery *coili_nursery_next(const struct coil_coro *co,
                                         const struct coili_nursery *n);

/* From `link` on, the first task of a nursery that is not done; or NULL. */
struct coil_task *coili_nursery_alive(const struct coili_nursery *n,
                                      const struct coili_list *link);

/* Spawn and start there; NULL: where coil_spawn() does. */
struct coil_task *coili_spawn_into(struct coili_nursery *n,
                                   struct coil_future *future);
int coili_start_into(struct coili_nursery *n, struct coil_future *future);

/* Cancel all that run in it. */
void coili_nursery_cancel(struct coili_nursery *n,
                          enum coil_cancel_reason reason);

/*
 * For a group: those that it has not asked yet (F_ASKED). Once more would cut
 * short the FINALLY that the first request has led to.
 */
void coili_nursery_ask(struct coili_nursery *n);

/* Its owner waits until none runs, and none does. */
void coili_last_child_ended(struct coil_loop *loop, struct coili_nursery *n);

/* One of its children has ended. */
static inline void coili_child_ended(struct coil_loop *loop,
                                     struct coili_nursery *n)
{
    if (--n->running == 0 && n->awaited)
        coili_last_child_ended(loop, n);
}

/* Wake a task's waiters and let go of the loop's reference. */
void coili_task_ended(struct coil_loop *loop, struct coil_coro *co);

/* Release all the handles of done children. */
void coili_nursery_release(struct coili_nursery *n);

/* Make a frame that nobody awaited a task of the loop that is cancelled. */
void coili_adopt(struct coil_loop *loop, struct coil_coro *co);

/* ---- Generators ------------------------------------------------------- */

/*
 * Close those that were left: of a block that is over, or (NULL) all of them.
 * One run by NEXT is left only with the GROUP in which it was begun.
 */
void coili_close_iterations(struct coil_coro *co,
                            const struct coili_scope *block);

/* Those that are closing run their FINALLY: cut short only on request. */
void coili_cancel_closing(struct coil_coro *co, const struct coili_nursery *n,
                          enum coil_cancel_reason reason);

/* It is a generator that `consumer` has left, or closes. */
bool coili_is_closed_by(const struct coil_coro *co,
                        const struct coil_coro *consumer);

/* One whose consumer left early has run its FINALLY. */
void coili_generator_ended(struct coil_loop *loop, struct coil_coro *co);

/* ---- Scopes ----------------------------------------------------------- */

/* 0, or -EOVERFLOW: too large for the lvalue. Another kind aborts. */
int coili_fits(const struct coil_future *f, enum coili_kind kind);

void *coili_scope_push(struct coil_coro *co, enum scope_kind kind,
                       size_t size);
void coili_scope_pop(struct coil_coro *co, struct coili_scope *scope);

/* ---- Blocks ----------------------------------------------------------- */

/* The innermost block that is open; or NULL. */
static inline struct coili_scope *coili_block_of(const struct coil_coro *co)
{
    struct coili_scope *s = co->scopes;
    while (s && s->id < LANDING_LEAST)
        s = s->next;
    return s;
}

/* In FINALLY: record the error of an await in the TRY around it. */
bool coili_try_notes(struct coil_coro *co, struct coili_end end);

/* From now on no open TRY_ALL takes the cancellation that strikes. */
void coili_try_none(struct coil_coro *co);

/* ---- What cancels a coroutine from within ----------------------------- */

/*
 * An await in FINALLY was struck: take back the requests of all open blocks
 * that have struck. True if there was no other request.
 */
bool coili_cancel_scopes_struck(struct coil_coro *co);

/* True if the pending request is that of a block of this coroutine. */
bool coili_is_late(const struct coil_coro *co);

/* The number of requests that are not of the coroutine's own blocks. */
unsigned coili_cancels_of_others(const struct coil_coro *co);

/* For scope.entry: the number of requests that have struck the coroutine. */
uint16_t coili_cancels_met(const struct coil_coro *co);

/* A block asks its coroutine to end. */
void coili_strike(struct coil_coro *co, struct coili_scope *scope,
                  enum coil_cancel_reason reason);

/* True if the pending request is that of this block, and of no other. */
bool coili_struck_alone(const struct coil_coro *co,
                        const struct coili_scope *scope);

/*
 * A block is over: take back its request. True if the block has failed by that
 * request alone.
 */
bool coili_take_back(struct coil_coro *co, struct coili_scope *scope);

/* A WITHIN or CANCEL_SCOPE is over. */
void coili_cancel_scope_over(struct coil_coro *co, struct cancel_scope *s);

/* It leaves its coroutine's list. */
void coili_cancel_scope_gone(struct cancel_scope *scope);

/* A child of a group has failed; if it is the first, so has the group. */
void coili_group_child_failed(struct coili_nursery *n, struct coil_coro *child);

/* There was no memory for a task that this coroutine spawns. */
void coili_group_spawn_failed(const struct coil_coro *co);

/* At the brace of a group: true if it waits for its children. */
bool coili_group_waits(struct coil_coro *co, struct group_scope *g);

/* They have ended: what the block ends with is decided. */
void coili_group_over(struct coil_coro *co, struct group_scope *g);

/* What a coroutine was going to end with is disposed of. */
void coili_replace_by_failure(struct coil_coro *co, int err, uint32_t detail);

/* It was going to fail, and goes on all the same. */
static inline void coili_outcome_clear(struct coil_coro *co)
{
    co->future.state &= (uint8_t)QUIET;
    co->future.result.u = 0;
    flag_clear(&co->future, F_OWN_CANCEL);
}

/* ---- Context variables ------------------------------------------------ */

/* A new task sees what the running one does. False without memory. */
bool coili_context_inherit(struct coil_loop *loop, struct coil_coro *to);

/* A scope goes, and the bindings that nobody else sees. */
void coili_context_over(struct coil_loop *loop, struct context_scope *scope);

#endif
