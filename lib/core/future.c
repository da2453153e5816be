// SPDX-License-Identifier: MIT
/*
 * future.c: a result that is set once, and its waiters.
 *
 * A future goes from pending to done exactly once. To complete it runs no code
 * of its waiters: coroutines and calls alike move to the end of the ready
 * queue, in the order in which they came. This is the whole protection against
 * re-entrancy and against an unbounded C stack.
 *
 * The circle of waiters (future.h) is linked in one direction, but a handle
 * leaves it in one step: the field `where` of the handle has its place, the
 * address of the word that points at the handle. When the circle becomes a part
 * of the ready queue, only the first waiter gets another place. When the last
 * waiter leaves, future.waiters must change. So the last handle points to the
 * future, and the future has the place of that handle:
 *
 *     the last waiter is    future.waiters is    its field `where` is
 *     a coroutine           the coroutine        (it has none)
 *     a handle              its place, and 1     the future, WHERE_FUTURE_TAG
 *
 * A coroutine has no place: the circle is searched for it. It leaves the circle
 * only when its await of a task is cut (task.c).
 *
 * References to a future are counted. A coroutine that awaits it holds one
 * until it has read the result. A future that nothing refers to any more may
 * still be in flight: its count is 0 then, and settle() frees it.
 */
#include <coil/future.h>

#include "future.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "coroutine.h"
#include "debug.h"
#include "exception.h"
#include "loop.h"
#include "task.h"

#define NOINLINE __attribute__((noinline))

/* Static futures: never counted, never written. */
struct coil_future coili_zero = { .refs = REFS_MOST, .state = S_INT };
struct coil_future coili_cancelled = { .refs = REFS_MOST,
                                       .state = S_FAILED,
                                       .result.e = { -ECANCELED, 0 } };
struct coil_future coili_pass = { .refs = REFS_MOST, .flags = KIND_PASS };
struct coil_future coili_passed = { .refs = REFS_MOST, .state = S_INT };
/* What SPAWN and CALL give without memory: a future, and a handle as well. */
static struct coil_task nomem_task = {
    .coro.future = { .refs = REFS_MOST,
                     .flags = F_TASK | F_STARTED,
                     .state = S_FAILED,
                     .result.e = { -ENOMEM, 0 } },
};

struct coil_future *coil_future_from_nomem(void)
{
    return &nomem_task.coro.future;
}

/* ---- Waiters ---------------------------------------------------------- */

/* The place of the waiter behind `waiter`. */
static uintptr_t place_behind(uintptr_t waiter)
{
    return (uintptr_t)next_of(waiter) | (waiter & 1 ? 0 : PLACE_IN_CORO);
}

static uintptr_t *word_of(uintptr_t place)
{
    return (uintptr_t *)(place & ~PLACE_IN_CORO);
}

/* The waiter in front of the waiter that has this place. */
static uintptr_t waiter_before(uintptr_t place)
{
    char *word = (char *)word_of(place);
    return place & PLACE_IN_CORO
               ? (uintptr_t)(word - offsetof(struct coil_coro, next))
               : (uintptr_t)(word - offsetof(struct coil_handle, next)) | 1;
}

/* `place` is needed if the waiter is a handle. */
static void set_last(struct coil_future *f, uintptr_t waiter, uintptr_t place)
{
    f->waiters = waiter & 1 ? place | 1 : waiter;
    if (waiter & 1)
        handle_of(waiter)->where = (uintptr_t)f | WHERE_FUTURE_TAG;
}

uintptr_t coili_last_waiter(const struct coil_future *f)
{
    return f->waiters & 1 ? *word_of(f->waiters - 1) : f->waiters;
}

/* Append to a circle that is not empty. */
static void append(struct coil_future *f, uintptr_t waiter)
{
    uintptr_t last = coili_last_waiter(f), first = *next_of(last);
    *next_of(waiter) = first;
    *next_of(last) = waiter;
    if (f->waiters & 1)
        set_place(last, f->waiters - 1);
    set_place(first, place_behind(waiter)); /* `first` may be `last` */
    set_last(f, waiter, place_behind(last));
}

/* The last waiter leaves; the one in front of it becomes the last. */
static void remove_last(struct coil_future *f, uintptr_t place)
{
    uintptr_t last = *word_of(place), first = *next_of(last);
    if (first == last) {
        f->waiters = 0;
        return;
    }
    uintptr_t before = waiter_before(place);
    *next_of(before) = first;
    set_last(f, before, before & 1 ? handle_of(before)->where : 0);
    if (first == before && first & 1)
        f->waiters = place | 1;
    else
        set_place(first, place);
}

/*
 * A waiter that is not the last one leaves. The waiter behind it may be the
 * last one. In the ready queue there may be none behind it: result false.
 */
static bool remove_inner(uintptr_t place)
{
    uintptr_t behind = *next_of(*word_of(place));
    *word_of(place) = behind;
    if (!(behind & 1))
        return behind;
    uintptr_t where = handle_of(behind)->where;
    if ((where & COILI_TAG_MASK) == WHERE_FUTURE_TAG)
        ((struct coil_future *)(where - WHERE_FUTURE_TAG))->waiters = place | 1;
    else
        set_place(behind, place);
    return true;
}

void coili_append_waiter(struct coil_future *f, struct coil_coro *co)
{
    append(f, (uintptr_t)co);
}

static void add_handle(struct coil_future *f, struct coil_handle *handle)
{
    uintptr_t waiter = (uintptr_t)handle | 1;
    if (f->waiters) {
        append(f, waiter);
        return;
    }
    handle->next = waiter;
    set_last(f, waiter, place_behind(waiter));
}

/* Search the circle, beginning with the first waiter. */
void coili_remove_waiter(struct coil_future *f, struct coil_coro *co)
{
    uintptr_t before = coili_last_waiter(f);
    while (*next_of(before) != (uintptr_t)co)
        before = *next_of(before);
    if (f->waiters == (uintptr_t)co)
        remove_last(f, place_behind(before));
    else
        remove_inner(place_behind(before));
}

/*
 * In the batch the waiter in front of a handle may have gone: then the handle
 * is the first one, and its place is out of date.
 */
void coili_withdraw(struct coil_loop *loop, struct coil_handle *handle)
{
    uintptr_t where = handle->where, waiter = (uintptr_t)handle | 1;
    if ((where & COILI_TAG_MASK) == WHERE_FUTURE_TAG) {
        struct coil_future *f = (struct coil_future *)(where -
                                                       WHERE_FUTURE_TAG);
        remove_last(f, f->waiters - 1);
    } else if (waiter == loop->batch.head) {
        loop->batch.head = handle->next;
    } else if (!remove_inner(where) && loop->ready.end == &handle->next) {
        loop->ready.end = word_of(where);
    }
}

/*
 * The circle becomes the end of the ready queue. The handles in the middle have
 * the same places there.
 */
void coili_wake_handles(struct coil_loop *loop, struct coil_future *f)
{
    uintptr_t waiters = f->waiters, last = waiters;
    if (waiters & 1) {
        last = *word_of(waiters - 1);
        handle_of(last)->where = waiters - 1;
    }
    f->waiters = 0;
    uintptr_t first = *next_of(last);
    *next_of(last) = 0;
    set_place(first, (uintptr_t)loop->ready.end);
    ready_append(&loop->ready, first, last);
}

/* ---- Life ------------------------------------------------------------- */

struct coil_future *coil_future_new(void)
{
    struct coil_loop *loop = coili_need_loop();
    unsigned cls = coili_size_class(sizeof(struct coil_future));
    struct coil_future *f = coili_class_get(&loop->alloc, cls);
    if (!f)
        return coil_future_from_nomem();
    *f = (struct coil_future){ .refs = 1,
                               .flags = KIND_PLAIN | F_STARTED,
                               .size_class = (uint8_t)cls };
    return f;
}

/*
 * A future that is done. It counts as not begun, like all futures that a call
 * returns: so a gather takes it over.
 */
static struct coil_future *given(unsigned state, uint64_t word)
{
    struct coil_future *f = coil_future_new();
    if (f->refs == REFS_MOST)
        return f;
    f->flags = KIND_PLAIN;
    f->state = (uint8_t)state;
    f->result.u = word;
    return f;
}

struct coil_future *coil_future_from_error(int err, uint32_t detail)
{
    coili_check(err < 0, "an error is a negative number");
    struct coil_future word = { .result.e = { err, detail } };
    return given(S_FAILED, word.result.u);
}

struct coil_future *coil_future_from_int(int64_t value)
{
    return given(S_INT, (uint64_t)value);
}

struct coil_future *coil_future_from_pointer(void *value)
{
    return given(S_POINTER, (uintptr_t)value);
}

struct coil_future *coil_future_ref(struct coil_future *f)
{
    future_ref(f);
    return f;
}

void coil_future_unref(struct coil_future *f)
{
    if (f)
        future_unref(f);
}

/*
 * The block becomes a future. F_GIVES says that dispose() is to be called: not
 * all classes have one.
 */
static inline void *custom_init(void *block, size_t size, unsigned size_class,
                                const struct coil_future_class *cls)
{
    struct coil_custom *c = memset(block, 0, size);
    unsigned gives = cls->dispose ? F_GIVES : 0;
    c->future = (struct coil_future){ .refs = 1,
                                      .flags = (uint16_t)(KIND_CUSTOM | gives),
                                      .size_class = (uint8_t)size_class };
    c->cls = cls;
    return c;
}

/* The free list of the class is empty, or the future is above 1 KiB. */
static NOINLINE void *custom_new_slow(const struct coil_future_class *cls,
                                      size_t size)
{
    unsigned size_class = coili_size_class(size);
    coili_check(size_class < COILI_CLASSES, "a future of a class is too large");
    void *block = coili_class_get(&coili_loop->alloc, size_class);
    return block ? custom_init(block, size, size_class, cls) : NULL;
}

void *coil_custom_new(const struct coil_future_class *cls, size_t size)
{
    coili_check(cls, "coil_custom_new: cls is NULL");
    struct coil_loop *loop = coili_need_loop();
    void *block = coili_get_freed(&loop->alloc, size);
    return COILI_LIKELY(block)
               ? custom_init(block, size, coili_size_class(size), cls)
               : custom_new_slow(cls, size);
}

void coil_custom_free(void *custom)
{
    struct coil_custom *c = custom;
    if (!c)
        return;
    coili_class_put(&coili_need_loop()->alloc, c, c->future.size_class);
}

/* A future of a class is over: free it. */
static inline void custom_free(struct coil_loop *loop, struct coil_future *f)
{
    if (custom_of(f)->cls->free)
        custom_of(f)->cls->free(f);
    else
        coili_class_put(&loop->alloc, f, f->size_class);
}

/* True if the value of this future of a class is to be disposed of. */
static inline bool has_untaken_value(const struct coil_future *f)
{
    return (f->flags & (F_GIVES | F_FETCHED)) == F_GIVES &&
           state_of(f) != S_FAILED && state_of(f) != S_PENDING;
}

/* The future is begun, and goes on without a reference. */
void coil_detach_future(struct coil_future *f)
{
    if (f->refs == REFS_MOST)
        return;
    coili_check(kind_of(f) == KIND_CUSTOM && f->refs == 1,
                "only a future of a class can be detached, by its one owner");
    if (!f->state && !(f->flags & F_STARTED)) {
        flag_set(f, F_STARTED);
        custom_of(f)->cls->start(f);
    }
    f->refs = 0; /* settle() frees it */
    if (f->state)
        coili_gone(f);
}

/*
 * The last reference to a pending future with a class is gone. An operation
 * that has begun is asked to end. One that has not begun is dropped, unless it
 * cannot be cancelled: such a one, as a close, is begun all the same.
 *
 * Result    true: in flight, settle() frees it. False: it is to be freed now
 */
static bool goes_on(struct coil_future *f)
{
    const struct coil_future_class *cls = custom_of(f)->cls;
    bool begun = f->flags & F_STARTED;
    f->refs = 0; /* settle() frees it */
    flag_set(f, F_STARTED);
    if (begun && cls->cancel)
        cls->cancel(f);
    else if (!begun && !cls->cancel)
        cls->start(f);
    return begun || !cls->cancel;
}

/*
 * The last reference is gone: end the future according to its kind. A value
 * that was not taken is disposed of, an error that was not fetched is reported,
 * and the memory is freed. Waiters of a pending future can only be calls, since
 * a coroutine that awaits it holds a reference: they are made.
 */
static NOINLINE void gone_slow(struct coil_loop *loop, struct coil_future *f)
{
    if (COILI_UNLIKELY(loop->debug))
        coili_debug_owner(loop, f);
    switch (kind_of(f)) {
    case KIND_CUSTOM:
        if (!f->state && goes_on(f))
            break;
        coili_wake_waiters(loop, f);
        if (has_untaken_value(f))
            custom_of(f)->cls->dispose(f);
        custom_free(loop, f);
        break;
    case KIND_PLAIN:
    case KIND_SLEEP:
        if (state_of(f) == S_FAILED && !(f->flags & F_FETCHED) &&
            f->result.e.error != -ECANCELED)
            coili_report("a future failed and its error was not fetched", NULL,
                         f->result.e.error, f->result.e.detail);
        if (COILI_UNLIKELY(loop->debug) && !f->state && !f->waiters &&
            kind_of(f) == KIND_PLAIN)
            coili_debug_dropped();
        coili_wake_waiters(loop, f);
        coili_class_put(&loop->alloc, f, f->size_class);
        break;
    default:
        coili_fatal("a future was given back twice");
    }
}

/* The last reference is gone. In most cases only the memory is left. */
void coili_gone(struct coil_future *f)
{
    unsigned kind = kind_of(f);
    if (COILI_LIKELY(kind == KIND_CORO)) {
        coili_frame_free(coro_of(f));
        return;
    }
    struct coil_loop *loop = coili_need_loop();
    if (kind == KIND_CUSTOM && f->state && !has_untaken_value(f) &&
        COILI_LIKELY(!loop->debug))
        custom_free(loop, f);
    else
        gone_slow(loop, f);
}

/* ---- Completing ------------------------------------------------------- */

/* The future gets its state, and its waiters become ready. */
static inline void complete(struct coil_loop *loop, struct coil_future *f,
                            unsigned state, uint64_t result)
{
    f->state = (uint8_t)state;
    f->result.u = result;
    coili_wake_waiters(loop, f);
}

/*
 * Complete a future. If it was cancelled meanwhile, nothing happens, since its
 * producer cannot know; else a second completion aborts. A future without a
 * reference was kept for this only, and is freed.
 *
 * Result    true if it was pending
 */
static NOINLINE bool settle_slow(struct coil_future *f, unsigned state,
                                 uint64_t result)
{
    if (f->state) {
        if (coil_future_cancelled(f) || f->refs == REFS_MOST)
            return false;
        coili_fatal("a future was completed twice");
    }
    coili_check(kind_of(f) != KIND_CORO, "a coroutine completes itself");
    struct coil_loop *loop = coili_need_loop();
    if (COILI_UNLIKELY(loop->debug))
        coili_debug_owner(loop, f);
    complete(loop, f, state, result);
    if (f->refs == 0)
        coili_gone(f);
    return true;
}

/* The same. In most cases nothing is to be checked or freed. */
static bool settle(struct coil_future *f, unsigned state, uint64_t result)
{
    struct coil_loop *loop = coili_loop;
    if (COILI_UNLIKELY(f->state || kind_of(f) == KIND_CORO || f->refs == 0 ||
                       !loop || loop->debug))
        return settle_slow(f, state, result);
    complete(loop, f, state, result);
    return true;
}

bool coil_future_set_int(struct coil_future *f, int64_t value)
{
    return settle(f, S_INT, (uint64_t)value);
}

bool coil_future_set_permit(struct coil_future *f)
{
    return settle(f, S_PERMIT, 0);
}

bool coil_future_set_pointer(struct coil_future *f, void *value)
{
    return settle(f, S_POINTER, (uintptr_t)value);
}

bool coil_future_set_double(struct coil_future *f, double value)
{
    uint64_t word;
    memcpy(&word, &value, sizeof word);
    return settle(f, S_DOUBLE, word);
}

bool coil_future_set_error_detail(struct coil_future *f, int err,
                                  uint32_t detail)
{
    coili_check(err < 0, "an error is a negative number");
    struct coil_future word = { .result.e = { err, detail } };
    return settle(f, S_FAILED, word.result.u);
}

bool coil_future_set_error(struct coil_future *f, int err)
{
    return coil_future_set_error_detail(f, err, 0);
}

/* The caller takes the outcome: errors count as fetched, permits as taken. */
static void take(struct coil_future *done)
{
    mark_fetched(done);
    if (state_of(done) == S_PERMIT)
        coili_tell_taken(done);
}

bool coil_future_set_from(struct coil_future *f, struct coil_future *done)
{
    coili_check(coil_future_done(done), "a pending future has no result yet");
    bool set = settle(f, state_of(done), done->result.u);
    if (set)
        take(done);
    return set;
}

bool coil_future_set_result(struct coil_future *f, struct coil_result r)
{
    static const unsigned char states[] = {
        [COIL_RESULT_INT] = S_INT,
        [COIL_RESULT_UINT] = S_UINT,
        [COIL_RESULT_DOUBLE] = S_DOUBLE,
        [COIL_RESULT_POINTER] = S_POINTER,
    };
    if (r.kind == COIL_RESULT_ERROR)
        return coil_future_set_error_detail(f, r.err, r.detail);
    return settle(f, states[r.kind], r.value.u);
}

/*
 * By kind: a coroutine is cancelled with what it waits for. A future with a
 * class that has begun decides by its cancel(); before that it just ends,
 * unless its class wants to know. All others end at once, but for coili_pass,
 * which many sleeps share.
 */
bool coil_future_cancel(struct coil_future *f)
{
    if (f->state & STATE_MASK)
        return false;
    struct coil_loop *loop = coili_need_loop();
    if (COILI_UNLIKELY(loop->debug))
        coili_debug_owner(loop, f);
    switch (kind_of(f)) {
    case KIND_CORO:
        coili_check(f->flags & (F_TASK | F_CALLED),
                    "only what runs can be cancelled; see coil_discard()");
        return coili_cancel(coro_of(f), COIL_CANCEL_USER);
    case KIND_CUSTOM:
        if (!custom_of(f)->cls->cancel)
            return true; /* it cannot be cancelled */
        if (f->flags & F_STARTED || custom_of(f)->cls->cancels_unstarted)
            custom_of(f)->cls->cancel(f);
        else
            coil_future_set_error(f, -ECANCELED);
        return true;
    case KIND_PASS:
        return false;
    default:
        return coil_future_set_error(f, -ECANCELED);
    }
}

void coil_discard(struct coil_future *f)
{
    if (!f)
        return;
    if (kind_of(f) != KIND_CORO) {
        future_unref(f);
        return;
    }
    coili_check(!(f->flags & F_STARTED),
                "only a coroutine that was not awaited can be dropped");
    if (f->flags & F_IN_PLACE)
        return;
    coili_adopt(coili_need_loop(), coro_of(f));
}

/* ---- Asking ----------------------------------------------------------- */

bool coil_future_started(const struct coil_future *f)
{
    return f->flags & F_STARTED;
}

void coili_check_array(const void *array, size_t n, const char *call,
                       const char *name)
{
    char what[96];
    if (n && !array) {
        snprintf(what, sizeof what, "%s: %s is NULL", call, name);
        coili_fatal(what);
    }
    for (size_t i = 0; i < n; i++) {
        const void *element;
        memcpy(&element, (const char *)array + i * sizeof element,
               sizeof element);
        if (COILI_LIKELY(element))
            continue;
        snprintf(what, sizeof what, "%s: element %zu is NULL", call, i);
        coili_fatal(what);
    }
}

void coili_check_started(const struct coil_future *f, const char *function,
                         const char *noun, size_t i)
{
    if (COILI_LIKELY(coil_future_started(f) || coil_future_done(f)))
        return;
    char what[160];
    snprintf(what, sizeof what,
             "%s: %s %zu has not begun: make it a task with SPAWN or "
             "coil_spawn",
             function, noun, i);
    coili_fatal(what);
}

bool coil_future_done(const struct coil_future *f)
{
    return state_of(f) != S_PENDING;
}

bool coil_future_failed(const struct coil_future *f)
{
    return state_of(f) == S_FAILED;
}

bool coil_future_cancelled(const struct coil_future *f)
{
    return state_of(f) == S_FAILED && f->result.e.error == -ECANCELED;
}

int coil_future_error(struct coil_future *f)
{
    unsigned state = state_of(f);
    if (COILI_LIKELY(state != S_PENDING && state < S_FAILED))
        return 0;
    coili_check(state != S_PENDING, "a pending future has no error yet");
    take(f);
    return state == S_FAILED ? f->result.e.error : 0;
}

bool coil_future_peek(struct coil_future *f, int *err)
{
    if (!coil_future_done(f))
        return false;
    *err = coil_future_error(f);
    return true;
}

uint32_t coil_future_detail(const struct coil_future *f)
{
    return state_of(f) == S_FAILED ? f->result.e.detail : 0;
}

void coil_future_quiet(struct coil_future *f)
{
    if (f->refs == REFS_MOST)
        return;
    /* Errors of futures of the other kinds are never reported. */
    if (kind_of(f) == KIND_CORO)
        f->state |= QUIET;
    else if (kind_of(f) == KIND_PLAIN)
        flag_set(f, F_FETCHED);
}

/*
 * Abort unless the future holds a value of that kind. The integer 0 is NULL and
 * 0.0 as well: see fit() in coroutine.c.
 */
static void need_state(const struct coil_future *f, unsigned state,
                       enum coili_kind kind)
{
    if (COILI_LIKELY(state_of(f) == state))
        return;
    if (state_of(f) == S_PERMIT ||
        (state != S_INT && state_of(f) == S_INT && f->result.i == 0))
        return;
    coili_check(coil_future_done(f), "a pending future has no value yet");
    coili_check(state_of(f) != S_FAILED,
                "a future that failed has no value: ask for its error first");
    coili_misuse_kind(coili_loop ? coili_loop->current : NULL, state_of(f),
                      kind, NULL, 0);
}

int64_t coil_future_int(struct coil_future *f)
{
    need_state(f, S_INT, COILI_KIND_LLONG);
    take(f);
    return f->result.i;
}

void *coil_future_pointer(struct coil_future *f)
{
    need_state(f, S_POINTER, COILI_KIND_POINTER);
    take(f);
    return f->result.p;
}

double coil_future_double(struct coil_future *f)
{
    need_state(f, S_DOUBLE, COILI_KIND_DOUBLE);
    take(f);
    return f->result.d;
}

struct coil_result coil_future_result(struct coil_future *f)
{
    static const enum coil_result_kind kinds[] = {
        [S_INT] = COIL_RESULT_INT,       [S_UINT] = COIL_RESULT_UINT,
        [S_DOUBLE] = COIL_RESULT_DOUBLE, [S_POINTER] = COIL_RESULT_POINTER,
        [S_PERMIT] = COIL_RESULT_INT,
    };
    coili_check(coil_future_done(f), "a pending future has no result yet");
    take(f);
    if (state_of(f) == S_FAILED)
        return coil_result_error_detail(f->result.e.error, f->result.e.detail);
    struct coil_result r = { .kind = kinds[state_of(f)] };
    r.value.u = f->result.u;
    return r;
}

/* ---- Callbacks -------------------------------------------------------- */

/*
 * A handle is a waiter with a tag. In a coroutine that was called, `waiters` is
 * its caller and no list, so there is no place for a handle.
 */
void coil_future_add_done_callback(struct coil_future *f,
                                   struct coil_handle *handle,
                                   coil_call_fn *fn, void *arg)
{
    coili_check(fn, "coil_future_add_done_callback: fn is NULL");
    if (coil_future_done(f)) {
        coil_call_soon(handle, fn, arg);
        return;
    }
    coili_check(kind_of(f) != KIND_CORO || f->flags & F_TASK ||
                    !(f->flags & F_STARTED),
                "a callback is added to a call: make it a task with SPAWN");
    coili_check(!coili_is_on_stack(handle), COILI_HANDLE_ON_STACK);
    coili_check(handle->where == WHERE_NOWHERE, "a handle is in use already");
    handle->fn = fn;
    handle->arg = arg;
    add_handle(f, handle);
}

bool coil_future_remove_done_callback(struct coil_future *f,
                                      struct coil_handle *handle)
{
    (void)f; /* the handle's `where` is enough */
    return coil_handle_cancel(handle);
}
