// SPDX-License-Identifier: MIT
#ifndef COIL_REMOTE_TASK_H
#define COIL_REMOTE_TASK_H

/*
 * remote_task.h: a loop works for another thread, which may wait for it.
 *
 *     static struct coil_future *ask(void *arg)     // in the loop
 *     {
 *         return CALL(lookup, .name = arg);
 *     }
 *
 *     struct coil_remote_job job = { .make = ask, .arg = strdup("alice"),
 *                                    .free_arg = free };
 *     struct coil_remote_task *task = coil_remote_spawn(remote, &job);
 *     struct coil_result result;                    // in any other thread
 *     if (coil_remote_task_join(task, COIL_SECONDS(5), &result) == -ETIMEDOUT)
 *         coil_remote_task_cancel(task);
 *     coil_remote_task_unref(task);
 *
 * A future is made in the thread of its loop: so it is a function that goes
 * there, and what it makes becomes a task of the loop's.
 */

#include <coil/api.h>
#include <coil/remote.h>
#include <coil/result.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

struct coil_remote_task;

/* Called in the loop: a coroutine or any future; NULL counts as -ENOMEM. */
typedef struct coil_future *coil_remote_make_fn(void *arg);

struct coil_remote_job {
    coil_remote_make_fn *make;
    void *arg;
    coil_call_fn *free_arg;    /* NULL: nothing is to be freed */
    coil_call_fn *free_result; /* of a pointer that nobody took; or NULL */
};

/*
 * Have `make(arg)` called in the loop and what it returns run there, as a task
 * that closing the loop cancels. In any thread, also in that of the loop.
 *
 * Result    a task, also if the loop has closed or closes: then it is done,
 *           with COIL_ECLOSED, and `make` is not called. NULL without memory
 * Lifetime  gives; coil_remote_task_unref takes it back. Takes job->arg, also
 *           on error: free_arg(arg) is called when the task has ended or is not
 *           going to begin; copies the rest
 * Source    asyncio.run_coroutine_threadsafe()
 */
COIL_API COIL_NODISCARD struct coil_remote_task *
coil_remote_spawn(struct coil_remote *remote,
                  const struct coil_remote_job *job);

/*
 * Block this thread until it is done. In the loop's own thread, which would
 * wait for itself, it aborts unless it is done. A thread may be cancelled here.
 *
 * Units     nanoseconds; 0 or less: not at all; COIL_NEVER
 * Result    0: *out holds what it ended with, value or error, each time the
 *           same. `out` may be NULL
 * Errors    -ETIMEDOUT: it goes on
 * Lifetime  a pointer in *out is yours
 * Source    concurrent.futures Future.result(timeout), exception(timeout)
 */
COIL_API int coil_remote_task_join(struct coil_remote_task *task,
                                   int64_t timeout_ns, struct coil_result *out);

/* True once it is done. */
COIL_API bool coil_remote_task_done(struct coil_remote_task *task);

/*
 * Ask its task to end; one that has not begun never begins. It is done when
 * the task has ended, mostly with -ECANCELED.
 *
 * Result    false if it was done already
 * Source    concurrent.futures Future.cancel(): that one forgets the task
 */
COIL_API bool coil_remote_task_cancel(struct coil_remote_task *task);

/*
 * Have `fn(arg)` called once it is done: in the loop's thread, or at once in
 * this one if it is done already. Once per task; again aborts.
 *
 * Lifetime  keeps `arg` until then
 * Source    concurrent.futures Future.add_done_callback()
 */
COIL_API void coil_remote_task_on_done(struct coil_remote_task *task,
                                       coil_call_fn *fn, void *arg);

/*
 * One more reference, one less. Without any the task goes on, and its result
 * is freed.
 *
 * Lifetime  shares; NULL is harmless for unref
 */
COIL_API struct coil_remote_task *
coil_remote_task_ref(struct coil_remote_task *task);
COIL_API void coil_remote_task_unref(struct coil_remote_task *task);

COIL_END_DECLS

#endif
