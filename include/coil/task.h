// SPDX-License-Identifier: MIT
#ifndef COIL_TASK_H
#define COIL_TASK_H

/*
 * task.h: tasks: coroutines that run concurrently, driven by the loop.
 *
 *     struct coil_task *a = SPAWN(fetch, .url = my->first);
 *     my->b = SPAWN(fetch, .url = my->second);
 *     ...
 *     coil_task_cancel(my->b);
 *     TRY_AWAIT(my->err, my->b);           // -ECANCELED
 *
 * SPAWN gives a handle that any code may use: to await the task, any number of
 * times, to cancel the task, to ask for its result. The handle is valid until
 * the coroutine that spawned the task has ended. A task is a child of that
 * coroutine, which does not end before its children.
 *
 * Cancelling is a request, and requests are counted, as in asyncio. The
 * innermost operation is asked to end, its await fails with -ECANCELED, and
 * then the closing braces of blocks and FINALLY run. If the operation has
 * succeeded all the same, its value is not lost: the await returns the value,
 * and the next await fails.
 */

#include <coil/api.h>
#include <coil/error.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

struct coil_task;

/*
 * Run a coroutine, or any future, concurrently: as a child of the running
 * coroutine, or of the loop if no coroutine runs. SPAWN(f, ...) is
 * coil_spawn(CALL(f, ...)).
 *
 * Result    the task's handle; out of memory: the handle of a task that has
 *           failed with -ENOMEM
 * Lifetime  takes `future`, also on error. The handle is valid until the
 *           spawner has ended or coil_task_drop() was called
 * Source    asyncio.create_task(), ensure_future()
 */
COIL_API struct coil_task *coil_spawn(struct coil_future *future);

/*
 * As coil_spawn(), without a handle: the task is freed when it ends, and its
 * error is reported to the exception handler.
 *
 * Result    0
 * Errors    -ENOMEM
 * Lifetime  takes `future`, also on error
 */
COIL_API int coil_start(struct coil_future *future);

/*
 * Give a task or a future to the loop: no coroutine waits for it any more.
 *
 *     coil_detach(task)      struct coil_task *: the task may outlive its
 *                            spawner, and is cancelled when the loop closes
 *     coil_detach(future)    struct coil_future * with a class (future.h): the
 *                            future is started if it has not begun; for
 *                            operations such as closing. Aborts if the
 *                            future has no class, or another reference
 *
 * Allocates nothing. C++ has the two functions.
 *
 * Lifetime  takes the handle or the reference. Memory that was lent to the task
 *           or future must live until that has ended
 */
#ifndef __cplusplus
#define coil_detach(x) \
    _Generic((x), struct coil_task * \
             : coil_detach_task, struct coil_future * \
             : coil_detach_future)(x)
#endif
COIL_API void coil_detach_task(struct coil_task *task);
COIL_API void coil_detach_future(struct coil_future *future);

/*
 * Give the handle back before the spawner has ended; sets *task to NULL. The
 * task continues, and a coroutine that awaits the task at that time still gets
 * its result. An error that no code fetches is reported. Aborts for a task
 * without a handle (START). *task may be NULL.
 *
 * Lifetime  takes the handle
 */
COIL_API void coil_task_drop(struct coil_task **task);

/*
 * Ask the task to end with -ECANCELED. `reason` is the code in the detail of
 * that error (error.h); coil_task_cancel() gives COIL_CANCEL_USER.
 *
 * Result    false if the task has already ended
 * Source    asyncio Task.cancel(msg)
 */
COIL_API bool coil_task_cancel(struct coil_task *task);
COIL_API bool coil_task_cancel_with(struct coil_task *task,
                                    enum coil_cancel_reason reason);

/*
 * Take one cancel request back, after it was handled. When the count reaches 0,
 * a request with which no await has failed yet is forgotten. A coroutine that
 * the task has called counts the requests since that call: a request that
 * arrives and is taken back during the call fails no await of that coroutine.
 * Aborts if 255 or more requests are pending: coil does not count further, so
 * such a task stays cancelled.
 *
 * Result    the number of requests that remain
 * Source    asyncio Task.uncancel()
 */
COIL_API unsigned coil_task_uncancel(struct coil_task *task);

/*
 * The number of cancel requests that were not taken back; 255: 255 or more.
 *
 * Source    asyncio Task.cancelling()
 */
COIL_API unsigned coil_task_cancelling(const struct coil_task *task);

/*
 * The task as a future: for the functions of future.h, such as those for
 * results and callbacks.
 *
 * Lifetime  views the task
 */
COIL_API struct coil_future *coil_task_future(struct coil_task *task);

/*
 * The frame of a task made by SPAWN: its arguments, and results larger than one
 * value.
 *
 * Result    the coroutine's struct; NULL for the handle of a failed SPAWN
 * Lifetime  views the task
 */
COIL_API void *coil_task_frame(struct coil_task *task);

/* Do not report the task's error if no code fetches it. */
COIL_API void coil_task_quiet(struct coil_task *task);

/* True once the task has ended. Source: asyncio Task.done() */
COIL_API bool coil_task_done(const struct coil_task *task);

/*
 * Get the outcome of a task without waiting. An error stored in *err counts as
 * fetched. The handle of a failed SPAWN has ended with -ENOMEM.
 *
 * Result    true if the task has ended: *err is 0 if the task holds a value,
 *           and its error otherwise, such as -ECANCELED. False while the task
 *           runs: *err is unchanged
 * Source    asyncio Task.done() and Task.exception() in one
 */
COIL_API bool coil_task_peek(struct coil_task *task, int *err);

/*
 * Set the task's name in messages and await trees. A name longer than 63 bytes
 * is cut.
 *
 * Result    0
 * Errors    -ENOMEM
 * Lifetime  copies `name`
 * Source    asyncio Task.set_name()
 */
COIL_API int coil_task_set_name(struct coil_task *task, const char *name);

/*
 * The task's name: that of its function, unless another one was set.
 *
 * Lifetime  views the task
 * Source    asyncio Task.get_name()
 */
COIL_API const char *coil_task_name(const struct coil_task *task);

/*
 * The task that runs now; NULL in a callback of the loop, and while the loop
 * does not run. In a release function of USING or HOLD_WITH: the task that held
 * the object.
 *
 * Source    asyncio.current_task()
 */
COIL_API struct coil_task *coil_task_current(void);

/*
 * Iterate over all tasks of this thread's loop that have not ended. The
 * children of a task follow it.
 *
 *     struct coil_task *task = NULL;
 *     while ((task = coil_task_next(task)))
 *         puts(coil_task_name(task));
 *
 * Result    the first task for NULL, else the one after `task`; NULL at the end
 * Lifetime  views the loop; between two calls no task may be spawned or end
 * Source    asyncio.all_tasks()
 */
COIL_API struct coil_task *coil_task_next(struct coil_task *task);

COIL_END_DECLS

#endif
