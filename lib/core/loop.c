// SPDX-License-Identifier: MIT
/*
 * loop.c: one pass after the other.
 *
 *          +--------------------------------------------------------+
 *          v                                                        |
 *     [ submit ] -> [ wait ] -> [ completions ] -> [ due timers ]   |
 *                   not if        become             become         |
 *                   something     ready              ready          |
 *                   is ready                            |           |
 *                                                       v           |
 *                              [ run what is ready at this moment ] +
 *
 * What becomes ready while the batch runs is for the next pass, so no task can
 * keep completions from being seen. Completions come before timers, so a read
 * that is both ready and late in one pass succeeds.
 *
 * While tasks are ready a pass makes no system call and does not look at the
 * clock, unless the backend is eager (something is to be submitted, or the
 * kernel has flagged work). Every 64th pass looks at the clock, and enters the
 * ring if an operation is in flight.
 *
 * A timer is late by at most one pass and 1 ms. 64 passes may take longer, so
 * while there are timers each pass reads the processor's time stamp counter,
 * and looks at the clock when 0.2 ms may have passed since the last look
 * (base/cycles.h). That costs 8 ns per pass with any backend. A time-out armed
 * in the kernel would cost only a load per pass, but a system call whenever the
 * first deadline changes; and epoll and kqueue share no memory in which the
 * kernel could show that the time-out has expired. To skip the clock while
 * passes are short gives no bound: the next pass may be long.
 *
 * The same holds for completions. The backend is asked in each pass. It takes a
 * part of the completions at once, so that the tasks which they wake are still
 * in the cache; after a long pass the loop takes all of them.
 *
 * Coroutines and calls run here alone, from the batch. lib/README.md lists the
 * other functions of a program that coil calls, and when.
 */
#include <coil/loop.h>

#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <coil/entropy.h>
#include <coil/wait.h>

#include "backend/uring.h"
#include "base/alloc.h"
#include "base/check.h"
#include "base/cycles.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/options.h"
#include "base/time.h"
#include "coroutine.h"
#include "debug.h"
#include "exception.h"
#include "future.h"
#include "scope.h"
#include "task.h"
#include "wakeup.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))

#define PASSES_WITHOUT_ENTER 64
#define LONG_PASS 100000     /* nanoseconds */
#define COMPLETIONS_LEAST 16 /* that wait() takes at once: backend.h */
#define BUDGET 1024 /* awaits in a row that need not suspend */
#define SLEEP_MOST COIL_SECONDS(86400)

_Thread_local struct coil_loop *coili_loop;

struct coil_loop *coil_loop_current(void)
{
    return coili_loop;
}

int64_t coil_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Both are the backend's: another one may have a clock and bytes of its own. */
int64_t coil_wall_now(void)
{
    struct coil_loop *loop = coili_need_loop();
    return loop->table->wall(loop->backend);
}

int coil_entropy(void *buf, size_t len)
{
    coili_check(buf || !len, "coil_entropy: buf is NULL");
    struct coil_loop *loop = coili_need_loop();
    return loop->table->entropy(loop->backend, buf, len);
}

/* ---- Calls ------------------------------------------------------------ */

/* The call is made when the step that asks for it has returned. */
static void check_not_on_stack(const struct coil_handle *h)
{
    coili_check(!coili_is_on_stack(h), COILI_HANDLE_ON_STACK);
}

/* Make a handle one of this call. A handle serves one call at a time. */
static void claim(struct coil_handle *h, coil_call_fn *fn, void *arg)
{
    coili_check(h->where == WHERE_NOWHERE, "a handle is in use already");
    h->fn = fn;
    h->arg = arg;
}

void coil_call_soon(struct coil_handle *h, coil_call_fn *fn, void *arg)
{
    coili_check(fn, "coil_call_soon: fn is NULL");
    struct coil_loop *loop = coili_need_loop();
    check_not_on_stack(h);
    claim(h, fn, arg);
    ready_push_handle(loop, h);
}

int coil_call_at(struct coil_handle *h, int64_t deadline, coil_call_fn *fn,
                 void *arg)
{
    coili_check(fn, "coil_call_at: fn is NULL");
    struct coil_loop *loop = coili_need_loop();
    check_not_on_stack(h);
    claim(h, fn, arg);
    return coili_heap_push(&loop->timers, deadline, (uintptr_t)&h->where | 1);
}

int coil_call_later(struct coil_handle *h, int64_t delay, coil_call_fn *fn,
                    void *arg)
{
    coili_check(fn, "coil_call_later: fn is NULL");
    return coil_call_at(h, coili_deadline(coil_now(), delay), fn, arg);
}

void coil_call_at_close(struct coil_handle *h, coil_call_fn *fn, void *arg)
{
    coili_check(fn, "coil_call_at_close: fn is NULL");
    struct coil_loop *loop = coili_need_loop();
    check_not_on_stack(h);
    claim(h, fn, arg);
    h->where = (uintptr_t)&loop->at_close | WHERE_CLOSE_TAG;
    h->next = loop->at_close;
    if (h->next)
        handle_of(h->next)->where = (uintptr_t)&h->next | WHERE_CLOSE_TAG;
    loop->at_close = (uintptr_t)h | 1;
}

/*
 * Take a handle out of `remote` or `at_close`: the next handle gets its place.
 * Result: the place.
 */
static uintptr_t *unlink_handle(const struct coil_handle *h)
{
    uintptr_t *place = (uintptr_t *)(h->where & ~WHERE_LIST_MASK);
    *place = h->next;
    if (h->next)
        handle_of(h->next)->where = h->where;
    return place;
}

static void unlink_remote(struct coil_loop *loop, const struct coil_handle *h)
{
    pthread_mutex_lock(&loop->lock);
    uintptr_t *place = unlink_handle(h);
    if (loop->remote.end == &h->next)
        loop->remote.end = place;
    pthread_mutex_unlock(&loop->lock);
}

/* handle.where says in which list the call is, and where in it: loop.h. */
bool coil_handle_cancel(struct coil_handle *h)
{
    struct coil_loop *loop = coili_need_loop();
    if (h->where == WHERE_NOWHERE)
        return false;
    if ((h->where & COILI_TAG_MASK) == COILI_TIMER_TAG)
        coili_heap_remove(&loop->timers, COILI_TIMER_INDEX(h->where));
    else if ((h->where & WHERE_LIST_MASK) == WHERE_REMOTE_TAG)
        unlink_remote(loop, h);
    else if ((h->where & WHERE_LIST_MASK) == WHERE_CLOSE_TAG)
        unlink_handle(h);
    else
        coili_withdraw(loop, h);
    h->where = WHERE_NOWHERE;
    return true;
}

/*
 * Until it is awaited, a sleep is a future that holds its duration. When it is
 * awaited, the coroutine itself stands in the heap of timers and the future is
 * freed.
 */
static __attribute__((noinline)) struct coil_future *sleep_for(int64_t duration)
{
    struct coil_future *f = coil_future_new();
    if (coil_future_done(f))
        return f;
    f->flags = KIND_SLEEP;
    f->result.i = duration;
    return f;
}

struct coil_future *coil_sleep(int64_t duration)
{
    return duration <= 0 ? &coili_pass : sleep_for(duration);
}

/* ---- From other threads ----------------------------------------------- */

/*
 * Only the first call in an empty list wakes the loop, which then takes all.
 * The loop is woken outside of the lock, which the woken thread takes first of
 * all. `wakers` counts threads that are about to do so: coil_loop_close() waits
 * for them.
 */
void coil_call_soon_threadsafe(struct coil_loop *loop, struct coil_handle *h,
                               coil_call_fn *fn, void *arg)
{
    coili_check(loop, "coil_call_soon_threadsafe: loop is NULL");
    coili_check(fn, "coil_call_soon_threadsafe: fn is NULL");
    if (loop == coili_loop) /* other threads may use their stack */
        check_not_on_stack(h);
    pthread_mutex_lock(&loop->lock);
    claim(h, fn, arg);
    h->where = (uintptr_t)loop->remote.end | WHERE_REMOTE_TAG;
    bool first = !loop->remote.head;
    ready_push(&loop->remote, (uintptr_t)h | 1);
    if (first)
        __atomic_fetch_add(&loop->wakers, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&loop->lock);
    if (!first)
        return;
    loop->table->wake(loop->backend);
    __atomic_fetch_sub(&loop->wakers, 1, __ATOMIC_RELEASE);
}

/*
 * Move the calls of other threads, and wakeups, to the ready queue; unless
 * `shut` is set: see coil_loop_close().
 */
static void take_remote(struct coil_loop *loop)
{
    if (loop->shut)
        return;
    pthread_mutex_lock(&loop->lock);
    uintptr_t waiter = loop->remote.head;
    ready_init(&loop->remote);
    pthread_mutex_unlock(&loop->lock);
    while (waiter) {
        struct coil_handle *h = handle_of(waiter);
        waiter = h->next;
        ready_push_handle(loop, h);
    }
    if (__atomic_load_n(&loop->wakeups, __ATOMIC_RELAXED))
        coili_take_wakeups(loop);
}

/* ---- The trampoline --------------------------------------------------- */

#ifdef COIL_DEBUG_STACK
/*
 * Overwrite what a step has left on the stack: a local variable that is used
 * across an await then has another value at once, not only by chance.
 */
static __attribute__((noinline)) void fill_dead_stack(void)
{
    volatile char dead[2048];
    for (size_t i = 0; i < sizeof dead; i++)
        dead[i] = (char)0xa5;
}
#else
static void fill_dead_stack(void)
{
}
#endif

/*
 * The trampoline: run a step of a coroutine, then of the coroutine that this
 * step resumes, until one resumes none. A step sets `current` to NULL before it
 * returns; if it is still set, the body has returned by itself. A task whose
 * last step it was is ended here, when that step has returned.
 */
static ALWAYS_INLINE void run_steps(struct coil_loop *loop,
                                    struct coil_coro *co, bool timed)
{
    for (;;) {
        int32_t line = timed ? co->line : 0;
        int64_t began = timed ? coil_now() : 0;
        loop->current = co;
        co->step(co);
        if (COILI_UNLIKELY(loop->current))
            coili_misuse(co, NULL, 0,
                         "`return` in the body of a coroutine: use RETURN");
        if (timed)
            coili_debug_step(loop, co, line, began);
        fill_dead_stack();
        if (loop->ended) {
            struct coil_coro *ended = loop->ended;
            loop->ended = NULL;
            coili_task_ended(loop, ended);
        }
        co = loop->resume;
        if (COILI_LIKELY(!co))
            break;
        loop->resume = NULL;
    }
}

/* ---- One pass --------------------------------------------------------- */

static void run_handle(struct coil_handle *h)
{
    coil_call_fn *fn = h->fn;
    void *arg = h->arg;
    h->where = WHERE_NOWHERE;
    fn(arg); /* may free or reuse the handle */
}

/*
 * Run what is ready now. What becomes ready meanwhile goes to the new ready
 * list. The next waiter is read before a call or step, which may free this one.
 * stack_base is where the stack of these steps begins: see coili_check_lent().
 */
static ALWAYS_INLINE void run_all(struct coil_loop *loop, bool timed)
{
    loop->batch = loop->ready;
    ready_init(&loop->ready);
    loop->stack_base = (uintptr_t)__builtin_frame_address(0);
    while (loop->batch.head) {
        uintptr_t waiter = loop->batch.head;
        if (waiter & 1) {
            struct coil_handle *h = (struct coil_handle *)(waiter - 1);
            loop->batch.head = h->next;
            coil_call_fn *fn = h->fn;
            int64_t began = timed ? coil_now() : 0;
            run_handle(h);
            if (timed)
                coili_debug_call(loop, fn, began);
        } else {
            struct coil_coro *co = (struct coil_coro *)waiter;
            loop->batch.head = co->next;
            loop->budget = BUDGET;
            run_steps(loop, co, timed);
        }
    }
    loop->stack_base = 0;
}

/* The same in debug mode, where each step and call is timed. */
static __attribute__((noinline)) void run_batch_in_debug(struct coil_loop *loop)
{
    run_all(loop, true);
}

static void run_batch(struct coil_loop *loop)
{
    if (!loop->ready.head)
        return;
    if (COILI_UNLIKELY(loop->debug))
        run_batch_in_debug(loop);
    else
        run_all(loop, false);
}

/* A timer is due: a coroutine, or (with a tag) a handle, is ready. */
static void fire(struct coil_loop *loop, uintptr_t owner)
{
    uintptr_t *word = (uintptr_t *)(owner & ~(uintptr_t)1);
    if (owner & 1) {
        struct coil_handle *h = COILI_CONTAINER(word, struct coil_handle,
                                                where);
        ready_push_handle(loop, h);
    } else {
        struct coil_coro *co = COILI_CONTAINER(word, struct coil_coro,
                                               awaiting);
        co->awaiting = (uintptr_t)&coili_zero;
        wake(loop, co);
    }
}

static void look_at_clock(struct coil_loop *loop)
{
    if (loop->timers.n > 0)
        loop->looked = coili_cycles();
    loop->now = coil_now();
    loop->now_ms = (uint32_t)(loop->now / 1000000);
}

/*
 * Asked in each pass. `looked` is older than the last look if there was no
 * timer then: the answer may be true too early.
 */
static inline bool timer_may_be_due(const struct coil_loop *loop)
{
    return loop->timers.n > 0 && coili_cycles_passed(loop->looked);
}

static void due_timers(struct coil_loop *loop)
{
    struct coili_heap_entry *first;
    while ((first = coili_heap_first(&loop->timers)) &&
           first->deadline <= loop->now) {
        uintptr_t owner = coili_heap_take(&loop->timers), next;
        for (; owner; owner = next) {
            next = *(uintptr_t *)(owner & ~(uintptr_t)1);
            fire(loop, owner);
        }
    }
}

/* How long wait() may sleep: until the first timer, at most `most`. */
static int64_t patience(const struct coil_loop *loop, int64_t most)
{
    const struct coili_heap_entry *first = coili_heap_first(&loop->timers);
    if (most > SLEEP_MOST)
        most = SLEEP_MOST;
    if (!first || most == 0)
        return most;
    int64_t now = coil_now();
    if (first->deadline <= now)
        return 0;
    return first->deadline - now < most ? first->deadline - now : most;
}

static unsigned in_flight(const struct coil_loop *loop)
{
    struct coili_backend_stats stats;
    loop->table->stats(loop->backend, &stats);
    return stats.in_flight;
}

/*
 * Take the completions that wait() has left for the next pass. Linux 6.14 and
 * newer deliver 20 of them in one enter. Operations that begin meanwhile may
 * complete at once, so the number of rounds has a bound: what the operations
 * that are in flight now can need.
 */
static void take_completions(struct coil_loop *loop)
{
    for (unsigned rounds = in_flight(loop) / COMPLETIONS_LEAST;
         rounds > 0 && loop->table->eager(loop->backend); rounds--)
        loop->table->wait(loop->backend, 0);
}

/*
 * Wait for at most `timeout_ns`; then make ready what completions, other
 * threads and timers wake. If the loop is busy it does not sleep, so the time
 * since the last look is the time that the passes since then took.
 */
static void look(struct coil_loop *loop, bool busy, int64_t timeout_ns)
{
    int64_t before = loop->now;
    loop->passes_left = PASSES_WITHOUT_ENTER;
    loop->table->wait(loop->backend, busy ? 0 : patience(loop, timeout_ns));
    look_at_clock(loop);
    if (busy && loop->now - before >= LONG_PASS)
        take_completions(loop);
    take_remote(loop);
    due_timers(loop);
}

/* One pass, which waits at most `timeout_ns` if nothing is ready. */
static inline void pass(struct coil_loop *loop, int64_t timeout_ns)
{
    loop->passes++;
    bool busy = loop->ready.head || loop->stopping;
    if (!busy || --loop->passes_left <= 0 ||
        loop->table->eager(loop->backend) || timer_may_be_due(loop))
        look(loop, busy, timeout_ns);
    run_batch(loop);
}

static _Noreturn __attribute__((cold)) void bad_call(const char *call,
                                                     const char *rule)
{
    char message[160];
    snprintf(message, sizeof message, "%s: %s", call, rule);
    coili_fatal(message);
}

static void check_owner(const struct coil_loop *loop, const char *call)
{
    if (COILI_UNLIKELY(!loop))
        bad_call(call, "loop is NULL");
    if (COILI_UNLIKELY(loop != coili_loop))
        bad_call(call, "the loop belongs to another thread, or has closed");
}

/* This is the loop's thread, and no coroutine or call of the loop. */
static void check_outside(const struct coil_loop *loop, const char *call)
{
    check_owner(loop, call);
    if (COILI_UNLIKELY(loop->stack_base))
        bad_call(call, "called in a coroutine or callback of this loop: must "
                       "be called outside, between two passes");
}

static void check_not_running(const struct coil_loop *loop, const char *call)
{
    check_owner(loop, call);
    if (COILI_UNLIKELY(loop->running))
        bad_call(call, "the loop runs: must be called when "
                       "coil_loop_run_until_complete() or RUN has returned");
    check_outside(loop, call);
}

/*
 * A thread that ended in the middle of a pass (pthread_cancel) would leave a
 * loop that no thread runs: other threads would wait for ever for its tasks,
 * and for what these hold. So cancellation is disabled until the pass has
 * returned; the same in coil_loop_run_until_complete() and coil_loop_close().
 */
bool coil_loop_pass(struct coil_loop *loop, int64_t timeout_ns)
{
    int cancel_state;
    check_outside(loop, "coil_loop_pass");
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    pass(loop, timeout_ns > 0 ? timeout_ns : 0);
    pthread_setcancelstate(cancel_state, NULL);
    return loop->ready.head != 0;
}

/* ---- In another loop -------------------------------------------------- */

int coil_loop_fd(struct coil_loop *loop)
{
    check_owner(loop, "coil_loop_fd");
    return loop->table->fd(loop->backend);
}

int64_t coil_loop_timeout(struct coil_loop *loop)
{
    check_outside(loop, "coil_loop_timeout");
    if (loop->ready.head)
        return 0;
    int64_t left = loop->table->patience(loop->backend);
    const struct coili_heap_entry *first = coili_heap_first(&loop->timers);
    if (left == 0 || !first)
        return left < 0 ? COIL_NEVER : left;
    int64_t now = coil_now();
    int64_t timer = first->deadline > now ? first->deadline - now : 0;
    return left < 0 || timer < left ? timer : left;
}

/* ---- Running ---------------------------------------------------------- */

/* The reference keeps the future of a task that detaches itself. */
int coil_loop_run_until_complete(struct coil_loop *loop, struct coil_task *task)
{
    coili_check(task, "coil_loop_run_until_complete: task is NULL");
    struct coil_future *f = coil_task_future(task);
    check_not_running(loop, "coil_loop_run_until_complete");
    loop->running = true;
    future_ref(f);
    int err = 0, cancel_state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    while (!state_of(f)) {
        pass(loop, COIL_NEVER);
        if (loop->stopping && !coil_future_done(f)) {
            err = COIL_ESTOPPED;
            break;
        }
    }
    future_unref(f);
    pthread_setcancelstate(cancel_state, NULL);
    loop->stopping = loop->running = false;
    return err;
}

void coil_loop_stop(struct coil_loop *loop)
{
    coili_check(loop, "coil_loop_stop: loop is NULL");
    coili_check(!loop->debug || loop == coili_loop,
                "coil_loop_stop in another thread than that of the loop");
    loop->stopping = true;
}

/* ---- Life ------------------------------------------------------------- */

/*
 * All loops of the process: a child that any thread forks closes its copies of
 * their kernel objects, which would otherwise live as long as the child. The
 * lock is held while a backend is closed: otherwise a child could close a
 * number that belongs to another descriptor by then. The lock is also held
 * while the process forks: in the child no other thread could release the lock.
 */
static pthread_mutex_t loops_lock = PTHREAD_MUTEX_INITIALIZER;
static struct coili_list loops = { &loops, &loops };

static void before_fork(void)
{
    pthread_mutex_lock(&loops_lock);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&loops_lock);
}

/*
 * The child has no loop until it makes one. It may use its copies of the
 * buffers of this thread's loop. Other threads may have been changing their
 * loops at the moment of the fork, so of those only the descriptors are closed.
 */
static void in_child(void)
{
    struct coili_list *link;
    if (coili_loop)
        coili_loop->table->return_buffers(coili_loop->backend);
    while ((link = coili_list_first(&loops))) {
        struct coil_loop *loop = COILI_CONTAINER(link, struct coil_loop, loops);
        loop->table->forked(loop->backend);
        coili_list_remove(link);
    }
    coili_loop = NULL;
    pthread_mutex_unlock(&loops_lock);
}

static void guard_forks(void)
{
    pthread_atfork(before_fork, after_fork, in_child);
}

static unsigned or_default(unsigned value, unsigned preset)
{
    return value ? value : preset;
}

/*
 * The size that the kernel gives the completion queue. An acceptor has room for
 * as many connections, all of which may come in one pass.
 */
static unsigned cq_entries(unsigned n)
{
    unsigned power = 1;
    while (power < n && power < 65536)
        power *= 2;
    return power;
}

/* The size of the struct in its first version: no program has a smaller one. */
#define OPTIONS_LEAST offsetof(struct coil_loop_options, resolver_threads_limit)

/*
 * Copy the options and put in the defaults. Fields that the caller's version of
 * the struct does not have are zero.
 */
static void fill_options(struct coil_loop_options *o,
                         const struct coil_loop_options *given)
{
    static const char call[] = "coil_loop_new";
    coili_options_read(o, sizeof *o, OPTIONS_LEAST, given, call,
                       "COIL_LOOP_OPTIONS_INIT");
    o->sq_entries = or_default(o->sq_entries, 64);
    o->cq_entries = or_default(o->cq_entries, 512);
    if (o->cq_entries < o->sq_entries)
        o->cq_entries = o->sq_entries;
    o->cq_entries = cq_entries(o->cq_entries);
    o->operations_limit = or_default(o->operations_limit, 65536);
    if (o->operations_limit > 65536)
        o->operations_limit = 65536;
    o->recv_buffers = or_default(o->recv_buffers, 128);
    o->recv_buffer_bytes = or_default(o->recv_buffer_bytes, 16384);
    if ((o->recv_buffers & (o->recv_buffers - 1)) != 0 ||
        o->recv_buffers > 32768)
        coili_bad_option(call, "recv_buffers", o->recv_buffers,
                         "must be a power of two, at most 32768");
    if (!o->arena && o->arena_bytes > 0)
        coili_bad_option(call, "arena_bytes", (int64_t)o->arena_bytes,
                         "must be 0, or arena not NULL");
    o->debug = o->debug || coili_debug_wanted();
    if (o->slow_step_ns < 0)
        coili_bad_option(call, "slow_step_ns", o->slow_step_ns,
                         "must not be negative");
    if (!o->slow_step_ns)
        o->slow_step_ns = COIL_MS(100);
    if (o->close_ns < 0)
        coili_bad_option(call, "close_ns", o->close_ns, "must not be negative");
    if (!o->close_ns)
        o->close_ns = COIL_SECONDS(10);
    o->resolver_threads_limit = or_default(o->resolver_threads_limit, 4);
    o->resolver_names_limit = or_default(o->resolver_names_limit, 64);
    if (!o->resolver_keep_ns)
        o->resolver_keep_ns = COIL_SECONDS(10);
}

void coili_check_abi(uint32_t abi, const char *call)
{
    if (COILI_LIKELY(abi == COILI_ABI))
        return;
    char message[160];
    snprintf(message, sizeof message,
             "%s: the program was compiled with headers of another version of "
             "coil: %u.%u, frame head %u; the library is %d.%d, frame head %d",
             call, abi >> 24, abi >> 16 & 0xff, abi & 0xffff,
             COIL_VERSION_MAJOR, COIL_VERSION_MINOR, COILI_FRAME_HEAD);
    coili_fatal(message);
}

/*
 * The loop is allocated by its own allocator, which is then moved into it: so
 * that with an arena all memory is in the arena. The thread has the loop only
 * when all has succeeded.
 */
int coili_loop_new(struct coil_loop **out,
                   const struct coil_loop_options *options, uint32_t abi)
{
    coili_check(out, "coil_loop_new: out is NULL");
    coili_check_abi(abi, "coil_loop_new");
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, guard_forks);
    if (coili_loop)
        return -EBUSY;

    struct coil_loop_options filled;
    fill_options(&filled, options);
    struct coili_alloc alloc;
    coili_alloc_init(&alloc, filled.arena, filled.arena_bytes);
    struct coil_loop *loop = coili_get(&alloc, sizeof *loop);
    if (!loop) {
        coili_alloc_fini(&alloc);
        return -ENOMEM;
    }
    memset(loop, 0, sizeof *loop);
    coili_alloc_move(&loop->alloc, &alloc);
    loop->options = filled;
    loop->debug = filled.debug;
    loop->timers.alloc = &loop->alloc;
    loop->table = &coili_uring;
    ready_init(&loop->ready);
    ready_init(&loop->remote);
    coili_list_init(&loop->root.tasks);
    coili_list_init(&loop->unstarted);

    struct coili_backend_options b = {
        .submission_entries = loop->options.sq_entries,
        .completion_entries = loop->options.cq_entries,
        .operations_limit = loop->options.operations_limit,
        .recv_buffers = loop->options.recv_buffers,
        .recv_buffer_bytes = loop->options.recv_buffer_bytes,
    };
    int err = loop->table->open(&loop->backend, &loop->alloc, &b);
    if (err < 0) {
        coili_alloc_move(&alloc, &loop->alloc);
        coili_alloc_fini(&alloc);
        return err;
    }
    pthread_mutex_init(&loop->lock, NULL);
    look_at_clock(loop);
    pthread_mutex_lock(&loops_lock);
    coili_list_append(&loops, &loop->loops);
    pthread_mutex_unlock(&loops_lock);
    coili_loop = loop;
    *out = loop;
    return 0;
}

/*
 * Report the coroutines that were never awaited, and run their FINALLY. Called
 * when all tasks have ended: until then a task may still await or drop them.
 *
 * Result    true if there were any
 */
static bool adopt_unstarted(struct coil_loop *loop)
{
    struct coili_list *link;
    bool any = !coili_list_empty(&loop->unstarted);
    while ((link = coili_list_first(&loop->unstarted))) {
        struct coil_task *t = COILI_CONTAINER(link, struct coil_task,
                                              siblings);
        if (loop->debug)
            coili_debug_never_awaited(&t->coro);
        else
            coili_report("a coroutine was never awaited", &t->coro, 0, 0);
        coili_adopt(loop, &t->coro);
    }
    return any;
}

/* An operation on `fd` is still in flight when all tasks have ended. */
static void tell_left(int fd)
{
    char message[96];
    snprintf(message, sizeof message,
             "fd %d was left with an operation in flight: a stream or listener "
             "that was not closed?", fd);
    coili_report(message, NULL, 0, 0);
}

/* No task runs, and no call is ready, which might spawn one. */
static bool idle(const struct coil_loop *loop)
{
    return loop->root.running == 0 && !loop->ready.head;
}

/*
 * One round of closing. True if nothing is left.
 *
 * When all tasks have ended, coroutines that were never awaited run, and then
 * the handles are released. That frees results that were not taken, and may
 * begin something, such as closing a connection: so both questions are asked
 * again. An operation that is still in flight then belongs to a stream or
 * listener that was not closed: it is cancelled and reported. Or it is detached
 * and ends by itself: that is cancelled only after half of close_ns.
 */
static bool is_over(struct coil_loop *loop, bool half_time)
{
    if (!idle(loop) || adopt_unstarted(loop))
        return false;
    coili_nursery_release(&loop->root);
    if (!idle(loop) || !coili_list_empty(&loop->unstarted))
        return false;
    if (in_flight(loop) > 0)
        loop->table->end(loop->backend, half_time, tell_left);
    return idle(loop) && in_flight(loop) == 0;
}

/* These calls will not be made: their handles may be used again. */
static void drop_calls(struct coil_loop *loop)
{
    while (loop->remote.head)
        coil_handle_cancel(handle_of(loop->remote.head));
    struct coili_heap_entry *first;
    while ((first = coili_heap_first(&loop->timers))) {
        uintptr_t *where = (uintptr_t *)(first->owner & ~(uintptr_t)1);
        coili_heap_remove(&loop->timers, 0);
        *where = WHERE_NOWHERE;
    }
}

/*
 * A call at close may run passes, as the default executor does until its jobs
 * have returned. These passes take calls of other threads again. Calls that
 * came while `shut` was set have used up the wake-up, and a further call would
 * not wake the loop: so the loop is woken here.
 */
static void take_calls_again(struct coil_loop *loop)
{
    loop->shut = false;
    pthread_mutex_lock(&loop->lock);
    bool any = loop->remote.head;
    pthread_mutex_unlock(&loop->lock);
    if (any)
        loop->table->wake(loop->backend);
}

/*
 * The call that was registered last is made first: it may stand for something
 * that is built on an earlier one.
 */
static void call_at_close(struct coil_loop *loop)
{
    take_calls_again(loop);
    while (loop->at_close) {
        struct coil_handle *h = handle_of(loop->at_close);
        unlink_handle(h);
        run_handle(h);
    }
}

/*
 * Cancel all tasks and run passes until nothing is left, at most for close_ns;
 * then give everything back. Memory that the kernel or a task may still use is
 * never given back: the program aborts instead.
 *
 * Other threads may queue calls faster than the loop makes them. So when the
 * last task has ended, the calls that are queued are made, and `shut` is set:
 * no more calls are made. `shut` is not set while tasks run, since a task may
 * wait for such a call.
 *
 * Other threads may be in coil_call_soon_threadsafe() at this moment: in the
 * critical section, which ends when the lock was taken once more, or behind it,
 * which `wakers` counts. The allocator is moved out of the loop first, since
 * the loop is in its memory.
 */
void coil_loop_close(struct coil_loop *loop)
{
    if (!loop)
        return;
    check_not_running(loop, "coil_loop_close");
    int cancel_state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    loop->closing = true;
    loop->stopping = false;
    int64_t most = loop->options.close_ns;
    int64_t deadline = coili_deadline(coil_now(), most);
    coili_nursery_cancel(&loop->root, COIL_CANCEL_USER);
    take_remote(loop);
    while (!is_over(loop, deadline - coil_now() < most / 2)) {
        if (coil_now() >= deadline) {
            coil_dump(2);
            coili_fatal("the loop cannot be closed: these tasks or operations "
                        "do not end, or a call repeats itself");
        }
        coil_loop_pass(loop, COIL_MS(10));
        take_remote(loop);
        loop->shut = loop->root.running == 0;
    }
    call_at_close(loop);

    pthread_mutex_lock(&loop->lock);
    pthread_mutex_unlock(&loop->lock);
    while (__atomic_load_n(&loop->wakers, __ATOMIC_ACQUIRE) > 0)
        sched_yield();
    drop_calls(loop);
    pthread_mutex_destroy(&loop->lock);
    pthread_mutex_lock(&loops_lock);
    loop->table->close(loop->backend);
    coili_list_remove(&loop->loops);
    pthread_mutex_unlock(&loops_lock);
    coili_heap_fini(&loop->timers);
    coili_loop = NULL;
    struct coili_alloc alloc;
    coili_alloc_move(&alloc, &loop->alloc);
    coili_alloc_fini(&alloc);
    pthread_setcancelstate(cancel_state, NULL);
}

bool coil_loop_closing(const struct coil_loop *loop)
{
    coili_check(loop, "coil_loop_closing: loop is NULL");
    return loop->closing;
}

static unsigned count_tasks(const struct coil_loop *loop)
{
    unsigned n = 0;
    if (loop != coili_loop)
        return 0;
    for (struct coil_task *t = coil_task_next(NULL); t; t = coil_task_next(t))
        n++;
    return n;
}

/* Tasks are counted only in the loop's own thread. */
void coil_loop_get_stats(const struct coil_loop *loop,
                         struct coil_loop_stats *out)
{
    coili_check(loop, "coil_loop_get_stats: loop is NULL");
    coili_check(out, "coil_loop_get_stats: out is NULL");
    struct coili_backend_stats b;
    loop->table->stats(loop->backend, &b);
    *out = (struct coil_loop_stats){
        .passes = loop->passes,
        .enters = b.enters,
        .submitted = b.submitted,
        .overflows = b.overflows,
        .no_buffers = b.no_buffers,
        .in_flight = b.in_flight,
        .timers = (unsigned)loop->timers.n,
        .tasks = count_tasks(loop),
        .memory_bytes = loop->alloc.taken,
    };
}

/* ---- Memory ----------------------------------------------------------- */

void *coil_alloc(size_t size)
{
    return coili_get(&coili_need_loop()->alloc, size);
}

void coil_free(void *memory, size_t size)
{
    coili_put(&coili_need_loop()->alloc, memory, size);
}
