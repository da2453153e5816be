// SPDX-License-Identifier: MIT
#ifndef COIL_TASK_H
#define COIL_TASK_H

/*
 * task.h: a coroutine that the loop drives.
 *
 * SPAWN makes one and gives a handle that everybody may borrow: await it any
 * number of times, cancel it, ask for its result. The handle is valid until
 * the coroutine that spawned it is over. A task is a child of that coroutine,
 * which does not end before it.
 *
 * Cancelling is a request, counted as in asyncio: the innermost operation is
 * asked to end, the await there fails with -ECANCELED, and the closing braces
 * of blocks and FINALLY run on the way out. What succeeded all the same is not
 * lost: the await returns its value and the request strikes at the next await.
 */

#include <coil/api.h>
#include <coil/error.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

struct coil_task;

/*
 * Run a coroutine or any future concurrently, as a child of the running
 * coroutine; of the loop if none runs. SPAWN(f, ...) is coil_spawn(CALL(...)).
 *
 * Result    its handle; without memory one that has failed with -ENOMEM
 * Lifetime  takes `future`. The handle views: until the spawner is over
 * Source    asyncio.create_task(), ensure_future()
 */
COIL_API struct coil_task *coil_spawn(struct coil_future *future);

/*
 * The same without a handle. An error nobody can fetch is reported.
 *
 * Result    0 or -ENOMEM
 */
COIL_API int coil_start(struct coil_future *future);

/*
 * Hand a task, or a future of a class (future.h) that only the caller refers
 * to, to the loop: it ends by itself, and no coroutine waits for it. A task may
 * outlive its spawner then, and is cancelled when the loop closes; its handle
 * is void afterwards. A future is begun, if it has not begun; this is for
 * operations such as closing. Allocates nothing. What a detached task or future
 * borrows must outlive it.
 *
 *     coil_detach(task)      struct coil_task *
 *     coil_detach(future)    struct coil_future *
 *
 * Lifetime  takes
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
 * Give the handle back before the spawner is over. The task goes on; its error
 * is reported if nobody fetched it. Sets *task to NULL. Who awaits the task
 * gets its result all the same. A task without a handle (START) aborts.
 */
COIL_API void coil_task_drop(struct coil_task **task);

/*
 * Ask the task to end with -ECANCELED. The reason is the code of its detail.
 *
 * Result    false if it is done
 * Source    asyncio Task.cancel(msg)
 */
COIL_API bool coil_task_cancel(struct coil_task *task);
COIL_API bool coil_task_cancel_with(struct coil_task *task,
                                    enum coil_cancel_reason reason);

/*
 * Take one request back, after it was handled. At 0 a request that has not
 * struck yet is forgotten. A coroutine that was called counts the requests
 * since its call: one that comes and is taken back in it strikes nothing.
 *
 * Result    the requests that remain
 * Source    asyncio Task.uncancel()
 */
COIL_API unsigned coil_task_uncancel(struct coil_task *task);

/* The number of requests. Source: asyncio Task.cancelling() */
COIL_API unsigned coil_task_cancelling(const struct coil_task *task);

/*
 * The task as a future: done, result, error, callbacks.
 *
 * Lifetime  views
 */
COIL_API struct coil_future *coil_task_future(struct coil_task *task);

/*
 * The frame of a task made by SPAWN: its arguments, and results larger than a
 * word.
 *
 * Result    the coroutine's struct; NULL for the handle of a failed SPAWN
 * Lifetime  views
 */
COIL_API void *coil_task_frame(struct coil_task *task);

/* Do not report its error if nobody fetches it. */
COIL_API void coil_task_quiet(struct coil_task *task);

/* True once it has ended. */
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
 * Its name in messages and await trees: that of its function unless set.
 *
 * Errors    -ENOMEM
 * Lifetime  copies, at most 63 bytes; the result views the task
 */
COIL_API int coil_task_set_name(struct coil_task *task, const char *name);
COIL_API const char *coil_task_name(const struct coil_task *task);

/*
 * The task that runs now; NULL in a plain callback and outside. In a release
 * function of USING and HOLD_WITH it is the task that held.
 *
 * Source    asyncio.current_task()
 */
COIL_API struct coil_task *coil_task_current(void);

/*
 * All tasks that are not done: the first with NULL, then the one after `task`,
 * NULL at the end. Children follow the task that spawned them.
 *
 * Lifetime  views; nothing may be spawned or end in between
 * Source    asyncio.all_tasks()
 */
COIL_API struct coil_task *coil_task_next(struct coil_task *task);

COIL_END_DECLS

#endif
