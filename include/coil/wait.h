// SPDX-License-Identifier: MIT
#ifndef COIL_WAIT_H
#define COIL_WAIT_H

/*
 * wait.h: to wait for time, and for several things.
 *
 *     gather         all of them, or the first error
 *     wait           all, or the first to end, to fail or to succeed; no errors
 *
 * They borrow tasks, and keep them until they are done, also when the spawner
 * is over before. An array of futures is taken in their place: each becomes a
 * task, a child of the running coroutine.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/task.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

/*
 * Sleep.
 *
 * Units     nanoseconds; 0 or less is exactly one pass of the loop
 * Result    0
 * Errors    -ECANCELED, -ENOMEM
 * Source    asyncio.sleep()
 */
COIL_API COIL_NODISCARD struct coil_future *coil_sleep(int64_t duration_ns);

/*
 * Wait until all have ended well, or one has failed. Then the others go on,
 * and their errors are not reported. Cancelling the wait cancels them all.
 *
 *     coil_gather(tasks, n)             an array of struct coil_task *
 *     coil_gather(calls, n)             an array of struct coil_future *
 *
 * Result    n; fetch each result from its task. That of a future is not kept:
 *           spawn it and gather the task, or CALL_IN and read your own frame
 * Errors    of the first that failed; -ECANCELED if it was cancelled
 * Lifetime  lends the array of tasks until it is done; takes futures
 * Source    asyncio.gather()
 */
#ifndef __cplusplus
#define coil_gather(things, n) \
    _Generic(*(things), \
             struct coil_task *: coil_gather_tasks, \
             struct coil_future *: coil_gather_futures)((things), (n))
#endif
COIL_API COIL_NODISCARD struct coil_future *
coil_gather_tasks(struct coil_task *const *tasks, size_t n);
COIL_API COIL_NODISCARD struct coil_future *
coil_gather_futures(struct coil_future *const *futures, size_t n);

/*
 * The same, but it waits for all, whatever they end with.
 *
 * Result    how many failed
 * Errors    -ECANCELED if it was cancelled itself, after all have ended; at
 *           once if it is cancelled a second time; -ENOMEM
 * Lifetime  lends the array until it is done
 * Source    asyncio.gather(return_exceptions=True)
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_gather_settled(struct coil_task *const *tasks, size_t n);

enum coil_wait_mode {
    COIL_ALL_COMPLETED,
    COIL_FIRST_COMPLETED,
    COIL_FIRST_EXCEPTION, /* a cancelled one is none */
    COIL_FIRST_SUCCESS
};

/*
 * Wait, and never fail with their errors nor cancel them. Ask each with
 * coil_task_done() afterwards.
 *
 * Units     the time-out in nanoseconds; COIL_NEVER
 * Result    how many are done; fewer than asked for after the time-out
 * Errors    -EINVAL for n == 0
 * Lifetime  lends the array until it is done
 * Source    asyncio.wait(); gevent.joinall(timeout); Twisted DeferredList with
 *           fireOnOneCallback (FIRST_SUCCESS), fireOnOneErrback
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_wait(struct coil_task *const *tasks, size_t n, enum coil_wait_mode mode,
          int64_t timeout_ns);

/*
 * Ask all to end, at once, and wait until they have. Their errors stay with
 * them; one that succeeded all the same keeps its value. Cancelled it just
 * ends.
 *
 * Result    n
 * Errors    -ENOMEM: they were asked, but nothing waits for them
 * Lifetime  lends the array until it is done
 * Source    gevent.killall(); the cancel-and-gather of asyncio.run()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_cancel_and_wait(struct coil_task *const *tasks, size_t n);

COIL_END_DECLS

#endif
