// SPDX-License-Identifier: MIT
#ifndef COIL_REMOTE_TASK_H
#define COIL_REMOTE_TASK_H

/*
 * remote_task.h: run a coroutine in the loop of another thread, and wait there
 * for its result: asyncio's run_coroutine_threadsafe().
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
 * A future is made in the thread of its loop. So the other thread hands over a
 * function: the loop calls it, and runs the future that it returns as a task.
 *
 * All functions may be called from any thread. A remote task is counted, and it
 * outlives its loop.
 */

#include <coil/api.h>
#include <coil/remote.h>
#include <coil/result.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

struct coil_remote_task;

/*
 * Called in the loop: makes the coroutine, or any other future, that the task
 * runs. NULL: the task fails with -ENOMEM.
 */
typedef struct coil_future *coil_remote_make_fn(void *arg);

/* What a remote task does. free_arg and free_result may be NULL. */
struct coil_remote_job {
    coil_remote_make_fn *make;
    void *arg; /* of `make`: a number, or memory that lives until free_arg; not
                  the caller's stack, which a time-out may leave first */
    coil_call_fn *free_arg;    /* called with `arg`, exactly once */
    coil_call_fn *free_result; /* called with a pointer that was not taken */
};

/*
 * Have `make(arg)` called in the loop, and the future that it returns run there
 * as a task. Closing the loop cancels the task. May be called in the loop's own
 * thread, too.
 *
 * Result    the remote task; NULL without memory. If the loop has closed, or
 *           begins to close before `make` is called, `make` is not called and
 *           the remote task ends with COIL_ECLOSED
 * Lifetime  gives one reference: coil_remote_task_unref() drops it. Takes
 *           job->arg, also on error: free_arg(arg) is called when the task has
 *           ended or will not begin. Copies the rest of `job`
 * Source    asyncio.run_coroutine_threadsafe()
 */
COIL_API COIL_NODISCARD struct coil_remote_task *
coil_remote_spawn(struct coil_remote *remote,
                  const struct coil_remote_job *job);

/*
 * Block this thread until the task has ended. In the thread of the task's own
 * loop, which would wait for itself, it aborts unless the task has ended or
 * `timeout_ns` is 0 or less. It is a cancellation point (pthread_cancel(3)).
 *
 * Units     nanoseconds; 0 or less: do not wait; COIL_NEVER: no time-out
 * Result    0: *out is the value or error that the task has ended with, the
 *           same each time. `out` may be NULL
 * Errors    -ETIMEDOUT  the task has not ended; it goes on
 * Lifetime  a pointer in *out is the caller's; it is not given to free_result
 * Source    concurrent.futures Future.result(timeout), exception(timeout)
 */
COIL_API int coil_remote_task_join(struct coil_remote_task *task,
                                   int64_t timeout_ns, struct coil_result *out);

/* True once the task has ended. */
COIL_API bool coil_remote_task_done(struct coil_remote_task *task);

/*
 * Ask the task to end. One that has not begun will not begin. The task is done
 * when it has ended, usually with -ECANCELED, and not before.
 *
 * Result    false if the task has ended already
 * Source    concurrent.futures Future.cancel(), which does not wait for the
 *           task
 */
COIL_API bool coil_remote_task_cancel(struct coil_remote_task *task);

/*
 * Have `fn(arg)` called when the task has ended: in the loop's thread, or at
 * once in this thread if it has ended already. A task has one callback: a
 * second one aborts.
 *
 * Lifetime  the caller lends `arg` until `fn` was called
 * Source    concurrent.futures Future.add_done_callback()
 */
COIL_API void coil_remote_task_on_done(struct coil_remote_task *task,
                                       coil_call_fn *fn, void *arg);

/*
 * Add a reference.
 *
 * Result    `task`
 * Lifetime  shares: coil_remote_task_unref() drops the reference
 */
COIL_API struct coil_remote_task *
coil_remote_task_ref(struct coil_remote_task *task);

/*
 * Drop a reference. When none is left the task goes on, and its result is freed
 * when it has ended. NULL is ignored.
 */
COIL_API void coil_remote_task_unref(struct coil_remote_task *task);

COIL_END_DECLS

#endif
