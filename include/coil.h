// SPDX-License-Identifier: MIT
#ifndef COIL_H
#define COIL_H

/*
 * coil.h: all of coil's core in one include. coil is asyncio in C11: coroutines
 * and an event loop on io_uring (COroutines on an Io_uring Loop).
 *
 *     struct hello {
 *         struct coil_coro coro;               // first: where to resume
 *     };
 *
 *     static void hello(struct coil_coro *co)
 *     {
 *         ASYNC(hello, my) {
 *             AWAIT(coil_sleep(COIL_SECONDS(1)));
 *             puts("hello");
 *         }
 *     }
 *
 *     int main(void)
 *     {
 *         return RUN(hello) < 0;
 *     }
 *
 * Conventions, the same in every header:
 *
 *   Results    a function that can fail returns an int: 0 or a count on
 *              success, else -errno or a COIL_E* code (error.h). It changes
 *              its out-parameters only on success.
 *   Futures    a function that may wait returns a struct coil_future *. Its
 *              operation begins when the future is awaited or spawned, not
 *              before, unless the manual says so.
 *   Time       int64_t nanoseconds of the monotonic clock: COIL_SECONDS(1.5),
 *              COIL_MS(20). COIL_NEVER: without a time-out.
 *   Bounds     a bound on a number is called `limit`, one on bytes
 *              `..._bytes_max`; a duration or a time is called `..._ns`.
 *   Misuse     by the programmer aborts the program, in release builds too,
 *              with a message that names the coroutine, file and line. The
 *              manual says what "aborts". Bad input never does: it is an error.
 *              A call aborts if a pointer that it needs is NULL, or a buffer
 *              of more than 0 bytes; the message names call and argument. The
 *              fast calls of locks, queues, channels, futures and tasks do not
 *              check their first argument.
 *   Names      _init/_fini work on memory of yours, _new/_free on memory of
 *              coil's; _unref ends what is counted, _close what holds
 *              descriptors. A close is awaited, except coil_loop_close(). A
 *              name with coili_ or COILI_ is private.
 *   Cleanup    _fini of zero bytes, and _free, _unref, _close and
 *              coil_discard() of NULL, do nothing. So FINALLY, which also runs
 *              if a task was cancelled before its first step, calls them
 *              without a test.
 *
 * The row "Lifetime" of a function says who frees what, in six words:
 *
 *   copies     you may change or free the argument when the call returns
 *   lends      you keep the argument alive and unchanged until the moment that
 *              is named. A buffer that you lend to an operation belongs to the
 *              kernel until the await of the operation has ended, cancelled or
 *              not
 *   takes      coil frees the argument, also on error: forget the pointer
 *   gives      you free the result, with the function named there
 *   shares     the object is counted: _ref adds a reference, _unref drops one
 *   views      the result points into another object and is valid as long as
 *              that one
 *
 * The headers, in reading order:
 *
 *   coroutine.h   the macros: ASYNC, AWAIT, CALL, SPAWN, FINALLY, RUN
 *   generator.h   generators: YIELD, FOR_AWAIT, NEXT, SEND
 *   block.h       blocks: TRY, WITHIN (a time-out), WITH, USING
 *   group.h       GROUP: tasks that all succeed, or are all cancelled
 *   cancel_scope.h  CANCEL_SCOPE: a block that can be cancelled
 *   future.h      futures, callbacks, classes of futures
 *   task.h        tasks: spawn, cancel, results, names
 *   wait.h        sleep, gather, wait
 *   wait_for.h    a time-out for one future or task
 *   ready.h       start a task and wait until it reports that it is ready
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
 *   task_pool.h   limits how many tasks exist at once
 *   waiters.h     the queue of waiters in all of these; for your primitives
 *   executor.h    blocking functions in a thread pool
 *   process_pool.h  functions in child processes
 *   channel.h     a bounded queue between loops and threads
 *   promise.h     a future that another thread completes
 *   remote.h      calls into a loop from other threads
 *   remote_task.h  run a coroutine in the loop of another thread
 *   result.h      a value or an error, outside of a loop
 *   io.h          one operation on a descriptor
 *   addr.h        socket addresses
 *   resolve.h     addresses of names
 *   connect.h     streams to other programs
 *   listen.h      listening for connections
 *   stream.h      buffered reads and writes over a connection
 *   stream_pair.h  two connected streams in memory, for tests of protocols
 *   receiver.h    sender.h  acceptor.h: what streams and listeners are made of
 *   signal.h      signals: awaited, iterated, or as callbacks
 *   context.h     context variables
 *   loop.h        options, callbacks, running a loop, statistics
 *   exception.h   where unhandled errors are reported
 *   wakeup.h      a callback that a signal handler may request
 *   error.h       error numbers
 *   time.h        durations, the time
 *   entropy.h     random bytes for keys and tokens
 *
 * The HTTP client is a library of its own: <coil/http.h>.
 */

#include <coil/acceptor.h>
#include <coil/addr.h>
#include <coil/api.h>
#include <coil/as_completed.h>
#include <coil/barrier.h>
#include <coil/block.h>
#include <coil/cancel_scope.h>
#include <coil/channel.h>
#include <coil/condition.h>
#include <coil/connect.h>
#include <coil/context.h>
#include <coil/coroutine.h>
#include <coil/entropy.h>
#include <coil/error.h>
#include <coil/event.h>
#include <coil/exception.h>
#include <coil/executor.h>
#include <coil/future.h>
#include <coil/generator.h>
#include <coil/group.h>
#include <coil/io.h>
#include <coil/limiter.h>
#include <coil/link.h>
#include <coil/listen.h>
#include <coil/lock.h>
#include <coil/loop.h>
#include <coil/map.h>
#include <coil/process_pool.h>
#include <coil/promise.h>
#include <coil/queue.h>
#include <coil/race.h>
#include <coil/ready.h>
#include <coil/receiver.h>
#include <coil/remote.h>
#include <coil/remote_task.h>
#include <coil/resolve.h>
#include <coil/result.h>
#include <coil/select.h>
#include <coil/semaphore.h>
#include <coil/sender.h>
#include <coil/shield.h>
#include <coil/signal.h>
#include <coil/stream.h>
#include <coil/stream_pair.h>
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
