// SPDX-License-Identifier: MIT
#ifndef COIL_WAIT_H
#define COIL_WAIT_H

/*
 * wait.h: wait for a duration, and for several tasks or futures.
 *
 *     coil_gather             all of them; fails with the first error
 *     coil_gather_settled     all of them, whether they succeed or fail
 *     coil_wait               all of them, or the first that ends, fails or
 *                             succeeds; never fails with their errors
 *     coil_cancel_and_wait    cancels all of them, and waits for all
 *
 * Each takes an array of tasks or an array of futures. C has one name for both;
 * in C++ the names end in _tasks and _futures.
 *
 *     AWAIT(coil_gather(my->tasks, 3));       struct coil_task *tasks[3]
 *     AWAIT(coil_gather(my->answers, 3));     struct coil_future *answers[3]
 *
 * These functions share the tasks and futures: while a function waits it holds
 * references of its own. So a task may outlive its spawner, and you may drop
 * your references meanwhile. Afterwards each result is still in its task or
 * future, and your reference to a plain future is still yours to unref.
 *
 * Only a future that has begun can be shared (coil_future_started() tells): a
 * plain future of coil_future_new(), a task. The future of a CALL() or
 * coil_recv() has not begun, and waiting for it would not begin it:
 *   - coil_gather takes such an element of an array of futures. The element
 *     becomes a task, a child of the running coroutine. One array may mix both
 *     kinds.
 *   - The other functions abort, unless the element is done: make it a task
 *     first, with SPAWN or coil_spawn.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/task.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

/*
 * Wait for a duration.
 *
 * Units     nanoseconds; 0 or less: exactly one pass of the loop
 * Result    0
 * Errors    -ECANCELED, -ENOMEM
 * Source    asyncio.sleep()
 */
COIL_API COIL_NODISCARD struct coil_future *coil_sleep(int64_t duration_ns);

#ifndef __cplusplus
/* Private. */
#define COILI_OF_TASKS_OR_FUTURES(name, array) \
    _Generic(*(array), struct coil_task * \
             : name##_tasks, struct coil_future * \
             : name##_futures)
#endif

/*
 * Wait until all have succeeded, or one has failed. If one fails, the others
 * continue, and their errors are not reported. Cancelling the wait cancels all
 * of them and ends the wait at once; a plain future then ends with -ECANCELED
 * at once, a task when its cleanup is over.
 *
 *     coil_gather(tasks, n)             an array of struct coil_task *
 *     coil_gather(futures, n)           an array of struct coil_future *
 *
 * Result    n; read each result from its task or future. The result of an
 *           element that was taken is lost: to keep it, spawn the element and
 *           gather the task, or use CALL_IN and read the frame
 * Errors    the error of the first that failed; -ECANCELED: the wait was
 *           cancelled; -ENOMEM
 * Lifetime  copies the array. Shares tasks and futures that have begun until
 *           the wait is over; takes the other futures, also on error, and also
 *           those whose call has failed at once. A gather that succeeds takes
 *           the permits of its locks and semaphores: if the gather is discarded
 *           afterwards, coil does not release them
 * Source    asyncio.gather()
 */
#ifndef __cplusplus
#define coil_gather(array, n) \
    COILI_OF_TASKS_OR_FUTURES(coil_gather, array)((array), (n))
#endif
COIL_API COIL_NODISCARD struct coil_future *
coil_gather_tasks(struct coil_task *const *tasks, size_t n);
COIL_API COIL_NODISCARD struct coil_future *
coil_gather_futures(struct coil_future *const *futures, size_t n);

/*
 * Wait until all have ended, whether they succeed or fail. Cancelling the wait
 * cancels all of them and the wait ends when they have ended; a second
 * cancellation ends the wait at once. A future that has not begun aborts.
 *
 * Result    the number of failures; their errors count as fetched
 * Errors    -ECANCELED: the wait was cancelled; -ENOMEM
 * Lifetime  copies the array; shares its elements until the wait is over
 * Source    asyncio.gather(return_exceptions=True)
 */
#ifndef __cplusplus
#define coil_gather_settled(array, n) \
    COILI_OF_TASKS_OR_FUTURES(coil_gather_settled, array)((array), (n))
#endif
COIL_API COIL_NODISCARD struct coil_future *
coil_gather_settled_tasks(struct coil_task *const *tasks, size_t n);
COIL_API COIL_NODISCARD struct coil_future *
coil_gather_settled_futures(struct coil_future *const *futures, size_t n);

/* When coil_wait() ends; at the latest when all tasks or futures are done. */
enum coil_wait_mode {
    COIL_ALL_COMPLETED,
    COIL_FIRST_COMPLETED,
    COIL_FIRST_EXCEPTION, /* the first error other than -ECANCELED */
    COIL_FIRST_SUCCESS
};

/*
 * Wait for tasks or futures. Their errors do not make the wait fail, and
 * cancelling the wait does not cancel them. Afterwards call coil_task_peek() or
 * coil_future_peek() for each of them: an error that no code fetches is
 * reported. A future that has not begun aborts. coil_wait() returns a
 * coroutine: await or spawn it, or dispose of it by coil_discard().
 *
 * Units     timeout_ns is in nanoseconds; COIL_NEVER: no time-out
 * Result    the number that are done when the wait returns; after the time-out
 *           it may be less than `mode` requires
 * Errors    -EINVAL: `n` is 0; -ECANCELED; -ENOMEM
 * Lifetime  copies the array; shares its elements until the wait is over
 * Source    asyncio.wait(); gevent.joinall(timeout); Twisted DeferredList with
 *           fireOnOneCallback (FIRST_SUCCESS), fireOnOneErrback
 */
#ifndef __cplusplus
#define coil_wait(array, n, mode, timeout_ns) \
    COILI_OF_TASKS_OR_FUTURES(coil_wait, array) \
    ((array), (n), (mode), (timeout_ns))
#endif
COIL_API COIL_NODISCARD struct coil_future *
coil_wait_tasks(struct coil_task *const *tasks, size_t n,
                enum coil_wait_mode mode, int64_t timeout_ns);
COIL_API COIL_NODISCARD struct coil_future *
coil_wait_futures(struct coil_future *const *futures, size_t n,
                  enum coil_wait_mode mode, int64_t timeout_ns);

/*
 * Cancel all, within this call, and wait until they have ended. Each error
 * stays in its task or future; a task that succeeds all the same keeps its
 * value. Cancelling the wait only ends the wait. A future that has not begun
 * aborts.
 *
 * Result    n
 * Errors    -ENOMEM: all were cancelled, without a wait; -ECANCELED
 * Lifetime  copies the array; shares its elements until the wait is over
 * Source    gevent.killall(); the cancel-and-gather of asyncio.run()
 */
#ifndef __cplusplus
#define coil_cancel_and_wait(array, n) \
    COILI_OF_TASKS_OR_FUTURES(coil_cancel_and_wait, array)((array), (n))
#endif
COIL_API COIL_NODISCARD struct coil_future *
coil_cancel_and_wait_tasks(struct coil_task *const *tasks, size_t n);
COIL_API COIL_NODISCARD struct coil_future *
coil_cancel_and_wait_futures(struct coil_future *const *futures, size_t n);

COIL_END_DECLS

#endif
