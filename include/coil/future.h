// SPDX-License-Identifier: MIT
#ifndef COIL_FUTURE_H
#define COIL_FUTURE_H

/*
 * future.h: a result that is not there yet.
 *
 * A future is pending, then it holds one word (an integer, a pointer or a
 * double) or an error; once, for ever. Whoever waits for it is woken through
 * the loop's ready list, in the order in which they came.
 *
 *     struct coil_future *answer = coil_future_new();
 *     ask(coil_future_ref(answer));        // the producer keeps its own
 *     AWAIT_TO(my->n, answer);             // the await takes the other
 *
 * A future is counted. coil_future_new() gives one reference, and an await or
 * a combinator takes one; who needs it longer takes one of his own with
 * coil_future_ref().
 *
 * Three kinds meet in one type: a plain future, completed by your code; a
 * coroutine, completed by its end (coroutine.h); and a future with a class,
 * whose functions start and cancel something (an operation, a place in a
 * queue).
 */

#include <coil/api.h>
#include <coil/error.h>
#include <coil/result.h>

COIL_BEGIN_DECLS

/* 24 bytes. The fields are private. */
struct coil_future {
    uint32_t refs : 24;
    uint32_t cancels : 8;
    uint16_t flags;
    uint8_t size_class;
    uint8_t state;
    union {
        int64_t i;
        uint64_t u;
        double d;
        void *p;
        struct {
            int32_t error;
            uint32_t detail;
        } e;
    } result;
    uintptr_t waiters;
};

typedef void coil_call_fn(void *arg);

/*
 * A call that the loop will make: soon, later, or when a future is done. It
 * lives in your memory; nothing is allocated and nothing can fail. Zero it
 * before its first use. The fields are private.
 */
struct coil_handle {
    uintptr_t next;
    coil_call_fn *fn;
    void *arg;
    uintptr_t where;
};

/*
 * Make a pending future that your code completes.
 *
 * Result    the future; without memory one that already failed with -ENOMEM
 * Lifetime  gives one reference: an await takes it, coil_future_unref drops it
 * Source    asyncio loop.create_future()
 */
COIL_API COIL_NODISCARD struct coil_future *coil_future_new(void);

/*
 * One more reference, one less. The last one to go frees the future; one that
 * is pending is cancelled first and freed when it has ended.
 *
 * Lifetime  shares
 */
COIL_API struct coil_future *coil_future_ref(struct coil_future *future);
COIL_API void coil_future_unref(struct coil_future *future);

/*
 * Complete a plain future with a value or an error. On one that was cancelled
 * meanwhile nothing happens; on one that is done already coil aborts.
 *
 * Result    true if it was pending
 * Source    asyncio Future.set_result, set_exception
 */
COIL_API bool coil_future_set_int(struct coil_future *future, int64_t value);
COIL_API bool coil_future_set_pointer(struct coil_future *future, void *value);
COIL_API bool coil_future_set_double(struct coil_future *future, double value);
COIL_API bool coil_future_set_error(struct coil_future *future, int err);
COIL_API bool coil_future_set_error_detail(struct coil_future *future, int err,
                                           uint32_t detail);
COIL_API bool coil_future_set_result(struct coil_future *future,
                                     struct coil_result result);

/*
 * The same with what another future, which is done, has ended with; whatever
 * its kind. Its error counts as fetched.
 *
 * Lifetime  a pointer that `done` would free is taken: the plain future does
 *           not free it
 * Source    asyncio's _copy_future_state()
 */
COIL_API bool coil_future_set_as(struct coil_future *future,
                                 struct coil_future *done);

/*
 * Ask a pending future to end. A plain future ends with -ECANCELED at once;
 * an operation ends when the kernel has let go of its buffer, and may still
 * succeed.
 *
 * Result    false if it was done already
 * Source    asyncio Future.cancel()
 */
COIL_API bool coil_future_cancel(struct coil_future *future);

/*
 * True once the future has begun. A plain future of coil_future_new() has
 * always begun, and so has a task. False for a future that a call returns to be
 * awaited: a coroutine made by CALL, an operation such as coil_recv(), a
 * coil_sleep(), and a result that was ready at once (coil_future_from_int()).
 * An operation that was made a task begins in the task's first step.
 */
COIL_API bool coil_future_started(const struct coil_future *future);

/* True once the future holds a value or an error. */
COIL_API bool coil_future_done(const struct coil_future *future);

/*
 * Get the outcome of a future without waiting. An error stored in *err counts
 * as fetched.
 *
 * Result    true if the future is done: *err is 0 if the future holds a value,
 *           and its error otherwise. False while the future is pending: *err is
 *           unchanged
 * Source    asyncio Future.done() and Future.exception() in one
 */
COIL_API bool coil_future_peek(struct coil_future *future, int *err);

/* True if the future failed; does not mark its error as fetched. */
COIL_API bool coil_future_failed(const struct coil_future *future);

/* True if the future ended with -ECANCELED. */
COIL_API bool coil_future_cancelled(const struct coil_future *future);

/*
 * The error of a future that is done; asking marks it as fetched.
 *
 * Result    0 if it holds a value, the error otherwise; pending: aborts
 * Source    asyncio Future.exception()
 */
COIL_API int coil_future_error(struct coil_future *future);
COIL_API uint32_t coil_future_detail(const struct coil_future *future);

/*
 * Do not report the future's error if it is never fetched. May be called at any
 * time, before the future is done or after.
 */
COIL_API void coil_future_quiet(struct coil_future *future);

/*
 * The value of a future that is done. A value of another kind, an error and a
 * pending future abort; but the integer 0 is NULL and 0.0 as well, since a
 * coroutine gives it that ends without a RETURN.
 *
 * Lifetime  a pointer that the future would free is taken: yours from now on
 * Source    asyncio Future.result()
 */
COIL_API int64_t coil_future_int(struct coil_future *future);
COIL_API void *coil_future_pointer(struct coil_future *future);
COIL_API double coil_future_double(struct coil_future *future);

/*
 * Value or error of a future that is done, whatever it is; pending: aborts.
 *
 * Lifetime  as the two above: an error is fetched, a pointer taken
 */
COIL_API struct coil_result coil_future_result(struct coil_future *future);

/*
 * Have `fn(arg)` called by the loop once the future is done; at once (that is,
 * soon) if it is done already. Calls are made in the order of registration. On
 * a coroutine that has begun and is no task coil aborts: only its caller waits
 * for it.
 *
 * Lifetime  lends `handle` until it was called or removed
 * Source    asyncio Future.add_done_callback()
 */
COIL_API void coil_future_add_done_callback(struct coil_future *future,
                                            struct coil_handle *handle,
                                            coil_call_fn *fn, void *arg);

/*
 * Withdraw a callback, also one whose call is already on its way. If you hold
 * no reference to the future it may be gone: coil_handle_cancel(handle) does
 * the same without naming it.
 *
 * Result    true if it was still to be called
 * Source    asyncio Future.remove_done_callback(); that one cannot withdraw a
 *           call that is queued
 */
COIL_API bool coil_future_remove_done_callback(struct coil_future *future,
                                               struct coil_handle *handle);

/*
 * A kind of future: what starts, cancels and disposes of it. Every primitive
 * of coil (semaphore, gather, stream) is made from this, and so can yours be.
 */
struct coil_future_class {
    /* In await trees: "semaphore", "recv". */
    const char *name;
    /*
     * The first await. Begin; completing at once is fine. Not called for a
     * future that is dropped or cancelled before it was awaited, unless it
     * cannot be cancelled.
     */
    void (*start)(struct coil_future *future);
    /*
     * Somebody wants it to end. Complete it, now or later; with the value if
     * it has succeeded meanwhile, with -ECANCELED if not. Allocates nothing.
     * NULL: it cannot be cancelled, as closing something; it is begun even if
     * its task is cancelled, or it is dropped.
     */
    void (*cancel)(struct coil_future *future);
    /*
     * The last reference is gone: let go of what it holds and free the memory,
     * coil_custom_free(). Called exactly once. NULL: it holds nothing.
     */
    void (*free)(struct coil_future *future);
    /*
     * Nobody took the value that `done` holds, be it from a task that handed it
     * on: a descriptor to be closed, an item to be put back. Called before
     * free(). NULL: nothing is to be done.
     */
    void (*dispose)(struct coil_future *done);
    /*
     * What it waits for, for the await tree: text into `buf`. May be NULL.
     */
    void (*describe)(const struct coil_future *future, char *buf, size_t size);
};

/* The head of a future with a class; your fields follow. */
struct coil_custom {
    struct coil_future future;
    const struct coil_future_class *cls;
};

/*
 * Make a future of a class, in memory of `size` bytes that begins with a
 * struct coil_custom; the rest is zero.
 *
 * Result    the future's memory; NULL without memory: return
 *           coil_future_from_nomem() in its place
 * Lifetime  gives; its class's free() returns it with coil_custom_free()
 */
COIL_API void *coil_custom_new(const struct coil_future_class *cls,
                               size_t size);
COIL_API void coil_custom_free(void *custom);

/* A future that has failed with -ENOMEM; it is static and never freed. */
COIL_API struct coil_future *coil_future_from_nomem(void);

/*
 * A future that is done: it holds an integer, a pointer (which stays the
 * caller's), or an error and its detail.
 *
 * Result    the future; without memory one that failed with -ENOMEM
 * Lifetime  gives one reference
 */
COIL_API struct coil_future *coil_future_from_int(int64_t value);
COIL_API struct coil_future *coil_future_from_pointer(void *value);
COIL_API struct coil_future *coil_future_from_error(int err, uint32_t detail);

COIL_END_DECLS

#endif
