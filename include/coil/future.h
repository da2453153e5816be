// SPDX-License-Identifier: MIT
#ifndef COIL_FUTURE_H
#define COIL_FUTURE_H

/*
 * future.h: futures: results of work that may not have ended yet.
 *
 *     struct coil_future *answer = coil_future_new();
 *     ask(coil_future_ref(answer));        // the producer's reference
 *     AWAIT_TO(my->n, answer);             // the await takes the other one
 *
 * A future is pending until it is completed, once, with a value or an error. A
 * value is an integer, a pointer or a double. Completing a future wakes its
 * waiters through the loop's ready queue, in the order in which they began to
 * wait.
 *
 * A future is reference-counted. coil_future_new() gives one reference; an
 * await or a combinator (wait.h) takes one. Code that needs the future longer
 * takes a reference of its own with coil_future_ref().
 *
 * There are three kinds of futures, of one type:
 *   - a plain future is completed by your code;
 *   - a coroutine is completed by its end (coroutine.h);
 *   - a future with a class has functions that start and cancel it, such as an
 *     operation of the kernel, or a wait in a queue (struct coil_future_class).
 *
 * A future belongs to the loop of the thread that made it. For a future that
 * another thread completes see promise.h.
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

/* A callback. The caller lends `arg` until the callback was called. */
typedef void coil_call_fn(void *arg);

/*
 * A call that the loop will make: soon, at a time (loop.h), or when a future is
 * done. The handle is in your memory, so that registering it allocates nothing.
 * Zero it before its first use. The fields are private.
 *
 * Source    asyncio.Handle
 */
struct coil_handle {
    uintptr_t where;
    uintptr_t next;
    coil_call_fn *fn;
    void *arg;
};

/*
 * Make a pending plain future, which your code completes.
 *
 * Result    the future; out of memory: one that has failed with -ENOMEM
 * Lifetime  gives one reference: an await takes it, coil_future_unref() drops
 *           it
 * Source    asyncio loop.create_future()
 */
COIL_API COIL_NODISCARD struct coil_future *coil_future_new(void);

/*
 * Add a reference.
 *
 * Result    `future`
 * Lifetime  shares: coil_future_unref() drops the reference
 */
COIL_API struct coil_future *coil_future_ref(struct coil_future *future);

/*
 * Drop a reference. Dropping the last one frees the future. A pending future
 * with a class is cancelled first, and freed when it has ended. Of a pending
 * plain future the callbacks are called.
 *
 * Lifetime  takes the reference; NULL is fine
 */
COIL_API void coil_future_unref(struct coil_future *future);

/*
 * Complete a pending future, plain or with a class, with a value or an error.
 * A future that was cancelled meanwhile does not change, and neither does the
 * failed future of a coil_future_new() that found no memory. Any other future
 * that is done aborts, and so does a coroutine. `err` is negative; `detail` is
 * described in error.h.
 *
 * Result    true if the future was pending
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
 * Complete a pending future of a class with a permit: the integer 0, which
 * stands for an object that was acquired, such as a lock. An await takes the
 * permit, also an AWAIT without a variable, and so do coil_future_error() and
 * coil_future_peek(): from then on the caller has to release the object. If the
 * permit was not taken when the last reference is dropped, dispose() of the
 * class is called, and releases the object.
 *
 * Result    true if the future was pending
 */
COIL_API bool coil_future_set_permit(struct coil_future *future);

/*
 * Complete a pending future with the value or error of `done`, a future of any
 * kind that is done. If `future` was pending, the error of `done` counts as
 * fetched.
 *
 * Result    true if `future` was pending
 * Lifetime  a pointer that `done` would have freed belongs to the code that
 *           reads it from `future`: neither of the two futures frees it
 * Source    asyncio's _copy_future_state()
 */
COIL_API bool coil_future_set_from(struct coil_future *future,
                                   struct coil_future *done);

/*
 * Ask a pending future to end. A plain future ends with -ECANCELED at once. An
 * operation ends when the kernel no longer uses its buffer, and may still
 * succeed. For a coroutine that has not begun this aborts: use coil_discard().
 *
 * Result    false if the future was already done, or is the future of
 *           coil_sleep(0), which all tasks share
 * Source    asyncio Future.cancel()
 */
COIL_API bool coil_future_cancel(struct coil_future *future);

/*
 * True once the future has begun. A plain future of coil_future_new() and a
 * task have always begun. False for a future that a function returned and that
 * was not awaited yet: a coroutine made by CALL, an operation such as
 * coil_recv(), a coil_sleep(), and a result that was ready at once
 * (coil_future_from_int()). An operation that was made a task begins in the
 * task's first step.
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

/* True if the future failed. Does not mark its error as fetched. */
COIL_API bool coil_future_failed(const struct coil_future *future);

/* True if the future ended with -ECANCELED. */
COIL_API bool coil_future_cancelled(const struct coil_future *future);

/*
 * The error of a future that is done. Marks the error as fetched. Aborts if the
 * future is pending.
 *
 * Result    0 if the future holds a value, its error otherwise
 * Source    asyncio Future.exception()
 */
COIL_API int coil_future_error(struct coil_future *future);

/* The detail of that error (error.h); 0 if the future has not failed. */
COIL_API uint32_t coil_future_detail(const struct coil_future *future);

/*
 * Do not report the future's error if no code fetches it. May be called before
 * the future is done, or after.
 */
COIL_API void coil_future_quiet(struct coil_future *future);

/*
 * The value of a future that is done. Aborts if the future is pending, has
 * failed, or holds a value of another kind. The integer 0, the value of a
 * coroutine that ends without RETURN, may also be read as NULL or as 0.0.
 *
 * Lifetime  a pointer that the future would have freed is the caller's from now
 *           on
 * Source    asyncio Future.result()
 */
COIL_API int64_t coil_future_int(struct coil_future *future);
COIL_API void *coil_future_pointer(struct coil_future *future);
COIL_API double coil_future_double(struct coil_future *future);

/*
 * The value, of any kind, or the error of a future that is done. Marks an error
 * as fetched. Aborts if the future is pending.
 *
 * Lifetime  a pointer that the future would have freed is the caller's from now
 *           on
 */
COIL_API struct coil_result coil_future_result(struct coil_future *future);

/*
 * Have the loop call `fn(arg)` when the future is done; in the next pass if it
 * is already done. Callbacks are called in the order in which they were added.
 * Aborts if the future is a coroutine that has begun and is not a task, since
 * only its caller may wait for it; and if the handle still waits for a call.
 *
 * Lifetime  the caller lends `handle` until `fn` was called or the callback was
 *           removed
 * Source    asyncio Future.add_done_callback()
 */
COIL_API void coil_future_add_done_callback(struct coil_future *future,
                                            struct coil_handle *handle,
                                            coil_call_fn *fn, void *arg);

/*
 * Remove a callback, also one whose call is already in the ready queue. If you
 * hold no reference to the future, the future may have been freed: then use
 * coil_handle_cancel(handle), which does the same without the future.
 *
 * Result    true if the callback was not called yet
 * Source    asyncio Future.remove_done_callback(), which cannot remove a call
 *           that is in the ready queue
 */
COIL_API bool coil_future_remove_done_callback(struct coil_future *future,
                                               struct coil_handle *handle);

/*
 * The functions that start, cancel and free one kind of future. coil's
 * semaphore, gather and streams are made with classes; you may define classes,
 * too.
 */
struct coil_future_class {
    /* The name of the kind in await trees: "semaphore", "recv". */
    const char *name;
    /*
     * Begin. Called at the first await; may complete the future at once. Not
     * called if the future is discarded or cancelled before it was awaited,
     * unless `cancel` is NULL.
     */
    void (*start)(struct coil_future *future);
    /*
     * End the future, now or later: complete it with its value if it has
     * succeeded meanwhile, else with -ECANCELED. Must allocate nothing. NULL:
     * the future cannot be cancelled, for example the close of a descriptor.
     * Such a future is started even if its task is cancelled, or if the future
     * is discarded.
     */
    void (*cancel)(struct coil_future *future);
    /*
     * The last reference was dropped: release what the future holds, then free
     * its memory with coil_custom_free(). Called exactly once. NULL: the future
     * holds nothing; coil frees its memory.
     */
    void (*free)(struct coil_future *future);
    /*
     * Dispose of the value of `done`, a future of this class, because the value
     * was never taken, neither from the future nor from a task that returned
     * it. For example, close the descriptor, or put the item back. Called
     * before free(). NULL: the value needs no disposal.
     */
    void (*dispose)(struct coil_future *done);
    /*
     * Write into `buf` what the future waits for: await trees show this text in
     * place of `name`. NULL: they show `name`.
     */
    void (*describe)(const struct coil_future *future, char *buf, size_t size);
    /*
     * `done` has a permit (coil_future_set_permit()), and an await or a call
     * reads it now, so that the waiter is known to run. Called once or several
     * times. NULL: nothing to do.
     */
    void (*taken)(struct coil_future *done);
    /*
     * True: cancel() is also called for a future that has not begun, for a
     * class that has to tell other code, as a promise tells its setter. False:
     * such a future ends with -ECANCELED, without a call.
     */
    bool cancels_unstarted;
};

/* The beginning of a future with a class; your fields follow it. */
struct coil_custom {
    struct coil_future future;
    const struct coil_future_class *cls;
};

/*
 * Make a future with a class. `size` is the size of your struct, which begins
 * with a struct coil_custom; the fields after that are zero. A size above 4 MiB
 * aborts.
 *
 *     struct timer_wait { struct coil_custom custom; int fd; };
 *
 *     struct timer_wait *t = coil_custom_new(&timer_class, sizeof *t);
 *     if (!t)
 *         return coil_future_from_nomem();
 *     t->fd = fd;
 *     return &t->custom.future;
 *
 * Result    your struct; NULL if out of memory
 * Lifetime  gives one reference to its future. The caller lends `cls` until the
 *           future is freed
 */
COIL_API void *coil_custom_new(const struct coil_future_class *cls,
                               size_t size);

/*
 * Free the memory of a future with a class, in its class's free(). NULL is
 * allowed.
 */
COIL_API void coil_custom_free(void *custom);

/*
 * Begin a future without waiting for it: for a future of your own that is made
 * of others, and that learns of their end by a callback. One with a class
 * begins within this call; a coroutine or a sleep becomes a task of the loop.
 * A future that has begun or is done stays as it is.
 *
 *     struct coil_future *f = coil_future_begin(coil_stream_fill(stream, 1));
 *     coil_future_add_done_callback(f, &my->handle, filled, my);
 *
 * Result    the future whose outcome it is: `future`, or that of the task. Out
 *           of memory: one that has failed with -ENOMEM
 * Lifetime  takes `future`; gives one reference to the result
 * Source    asyncio.ensure_future()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_future_begin(struct coil_future *future);

/*
 * A future that has failed with -ENOMEM. It is static, and needs no memory and
 * no unref.
 */
COIL_API struct coil_future *coil_future_from_nomem(void);

/*
 * Make a future that is done: it holds an integer, a pointer, or an error and
 * its detail.
 *
 * Result    the future; out of memory: one that has failed with -ENOMEM
 * Lifetime  gives one reference. The future does not free a pointer
 */
COIL_API struct coil_future *coil_future_from_int(int64_t value);
COIL_API struct coil_future *coil_future_from_pointer(void *value);
COIL_API struct coil_future *coil_future_from_error(int err, uint32_t detail);

COIL_END_DECLS

#endif
