// SPDX-License-Identifier: MIT
#ifndef COIL_H
#define COIL_H

/*
 * coil.h: the front page. COroutines on an Io_uring Loop: asyncio in C.
 *
 * Conventions, the same everywhere:
 *
 *   Results    one int says how it went: 0 or a count, or -errno, or COIL_E*
 *              (error.h). Out-parameters change only on success.
 *   Futures    functions that may wait return a struct coil_future *. Nothing
 *              has begun: that is the await's (or spawn's) doing.
 *   Ownership  copies, lends, takes, gives, shares, views: the row "Lifetime"
 *              of each function says which. A buffer that is lent to an
 *              operation is the kernel's until the await of it has ended,
 *              cancelled or not.
 *   Time       int64_t nanoseconds, monotonic: COIL_SECONDS(1.5), COIL_MS(20).
 *   Misuse     by the programmer aborts with a line that names coroutine, file
 *              and line. Bad input never does.
 *   Names      _init/_fini work on your memory, _new/_free on coil's,
 *              _open/_close hold a kernel object (close is awaited).
 *
 * The headers, in reading order:
 *
 *   coroutine.h   the macros: ASYNC, AWAIT, CALL, SPAWN, FINALLY, RUN
 *   block.h       blocks: TRY, WITHIN (a time-out), WITH, USING
 *   group.h       GROUP: tasks that all succeed, or are all cancelled
 *   cancel_scope.h  CANCEL_SCOPE: a block that can be cancelled
 *   future.h      futures, callbacks, classes of futures
 *   task.h        tasks: spawn, cancel, results, names
 *   wait.h        sleep, gather, wait
 *   wait_for.h    a time-out for one future or task
 *   ready.h       wait until a task reports that it is ready
 *   shield.h      protects an operation from its awaiter's cancellation
 *   as_completed.h  tasks in the order in which they end
 *   map.h         many calls, a limited number at once
 *   race.h        the first of several tasks or calls that succeeds
 *   ticks.h       a periodic timer
 *   then.h        chains of callbacks, as of promises in JavaScript
 *   link.h        separate callbacks for success and failure
 *   semaphore.h   lock.h  event.h  condition.h  barrier.h  limiter.h
 *   queue.h       bounded FIFO, LIFO and priority queues
 *   select.h      the first of several gets, puts and tasks
 *   task_pool.h   a pool that limits how many tasks exist
 *   waiters.h     the queue of waiters in all of these; for your primitives
 *   executor.h    blocking functions in a thread pool
 *   process_pool.h  functions in child processes
 *   channel.h     a queue between loops and threads
 *   promise.h     a future that another thread completes
 *   remote.h      calls into a loop from other threads
 *   remote_task.h  tasks that another thread starts, and joins
 *   result.h      a value or an error, outside of a loop
 *   io.h          one operation on a descriptor
 *   net.h         addresses, name resolution, listeners
 *   stream.h      buffered reads and writes over a connection
 *   receiver.h    sender.h  acceptor.h: what streams and listeners are made of
 *   signal.h      signals: awaited, iterated, or as callbacks
 *   context.h     context variables
 *   loop.h        options, callbacks, running a loop, statistics
 *   exception.h   where unhandled errors are reported
 *   wakeup.h      a callback that a signal handler may request
 *   error.h       error numbers
 *   time.h        durations
 *
 * The HTTP client is a library of its own: <coil/http.h>.
 */

#include <coil/acceptor.h>
#include <coil/api.h>
#include <coil/as_completed.h>
#include <coil/barrier.h>
#include <coil/block.h>
#include <coil/cancel_scope.h>
#include <coil/channel.h>
#include <coil/condition.h>
#include <coil/context.h>
#include <coil/coroutine.h>
#include <coil/error.h>
#include <coil/event.h>
#include <coil/exception.h>
#include <coil/executor.h>
#include <coil/future.h>
#include <coil/group.h>
#include <coil/io.h>
#include <coil/limiter.h>
#include <coil/link.h>
#include <coil/lock.h>
#include <coil/loop.h>
#include <coil/map.h>
#include <coil/net.h>
#include <coil/process_pool.h>
#include <coil/promise.h>
#include <coil/queue.h>
#include <coil/race.h>
#include <coil/ready.h>
#include <coil/receiver.h>
#include <coil/remote.h>
#include <coil/remote_task.h>
#include <coil/result.h>
#include <coil/select.h>
#include <coil/semaphore.h>
#include <coil/sender.h>
#include <coil/shield.h>
#include <coil/signal.h>
#include <coil/stream.h>
#include <coil/task.h>
#include <coil/task_pool.h>
#include <coil/then.h>
#include <coil/ticks.h>
#include <coil/time.h>
#include <coil/wait.h>
#include <coil/wait_for.h>
#include <coil/waiters.h>
#include <coil/wakeup.h>

#endif
