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
 * Read in this order:
 *
 *   coroutine.h   the macros: ASYNC, AWAIT, CALL, SPAWN, FINALLY, RUN
 *   block.h       parts of a coroutine: TRY, WITHIN (a time-out), WITH, USING
 *   group.h       GROUP: tasks that succeed together or end together
 *   cancel_scope.h  CANCEL_SCOPE: what can be cancelled as a whole
 *   future.h      a result that is not there yet
 *   task.h        what the loop drives; cancelling
 *   wait.h        sleep, gather, wait
 *   wait_for.h    one thing, for so long at the most; ready.h: until it is of use
 *   shield.h      one thing, whoever is cancelled
 *   as_completed.h  map.h: a loop over tasks as they end
 *   race.h        the first that succeeds
 *   ticks.h       every so often
 *   then.h  link.h: what is to follow, said in advance
 *   semaphore.h   lock.h  event.h  condition.h  barrier.h  limiter.h
 *   queue.h       items from hand to hand, until it is closed
 *   select.h      one of several gets, puts and tasks
 *   task_pool.h   tasks, at most so many at once
 *   waiters.h     the line they all stand in; for primitives of your own
 *   executor.h    blocking work, in threads
 *   process_pool.h  functions in child processes
 *   channel.h     a queue between loops and threads
 *   promise.h     ticket.h: a thread answers a loop, a loop a thread
 *   port.h        result.h: what these two are made of
 *   io.h          one operation on a descriptor
 *   net.h         addresses, names, connect, listen
 *   stream.h      buffered bytes over a connection
 *   receiver.h    sender.h  acceptor.h: what these two are made of
 *   signal.h      signals, awaited or as calls
 *   context.h     what a task knows without being told
 *   loop.h        options, calls, several runs
 *   exception.h   what went wrong where nobody was listening
 *   alert.h       a call that a signal handler may ask for
 *   error.h       time.h
 *
 * The HTTP client is a library of its own: <coil/http.h>.
 */

#include <coil/acceptor.h>
#include <coil/wakeup.h>
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
#include <coil/link.h>
#include <coil/limiter.h>
#include <coil/lock.h>
#include <coil/loop.h>
#include <coil/map.h>
#include <coil/net.h>
#include <coil/remote.h>
#include <coil/process_pool.h>
#include <coil/promise.h>
#include <coil/queue.h>
#include <coil/race.h>
#include <coil/ready.h>
#include <coil/receiver.h>
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
#include <coil/remote_task.h>
#include <coil/ticks.h>
#include <coil/time.h>
#include <coil/wait.h>
#include <coil/waiters.h>
#include <coil/wait_for.h>

#endif
