// SPDX-License-Identifier: MIT
#ifndef COIL_LOOP_H
#define COIL_LOOP_H

/*
 * loop.h: the event loop: its options, callbacks and timers, running and
 * closing it, statistics.
 *
 * Most programs never name the loop: RUN() in coroutine.h makes it, runs a
 * coroutine and closes it. A program that makes the loop itself:
 *
 *     struct coil_loop *loop;
 *     int err = coil_loop_new(&loop, NULL);
 *     if (err < 0)
 *         return err;
 *     struct coil_task *task = SPAWN(serve);
 *     err = coil_loop_run_until_complete(loop, task);
 *     coil_loop_close(loop);
 *
 * One turn of the loop is a pass, in asyncio's order: submit the operations
 * that were prepared; wait, unless something is ready; take the completions;
 * take the timers that are due; then run the tasks and calls that are ready at
 * that moment. What becomes ready while they run is for the next pass.
 *
 * So a timer is never early. It is taken in the pass after the one in which its
 * deadline passes, or earlier, and its task runs behind those that are ready
 * by then: it is late by at most two passes, each one step of every ready task,
 * and 1 ms. The same holds for a completion.
 *
 * A loop belongs to the thread that made it. Other threads may call
 * coil_call_soon_threadsafe(), coil_wakeup_send() (wakeup.h), and the functions
 * whose manual says so (remote.h, promise.h, channel.h, executor.h).
 *
 * A loop that runs, or is being closed, is no cancellation point
 * (pthread_cancel(3)), and neither is the code that it calls: a cancellation of
 * its thread strikes when the run or the pass has returned. To end a loop from
 * another thread, cancel its coroutine by coil_remote_call_soon() (remote.h).
 *
 * Every descriptor that coil opens, and every connection that it accepts, is
 * close-on-exec and above 2. In a program that was started without standard
 * descriptors (`program <&- >&-`) the numbers 0 to 2 stay free, so its printf()
 * does not go into a client's connection. Other descriptors have the lowest
 * free number: what the program opens itself, the sockets of getaddrinfo(3)
 * during a lookup, and an accepted connection until the loop takes it from the
 * kernel. A program that may be started so, and has threads or looks up names,
 * should first of all open /dev/null for 0 to 2.
 *
 * After fork() the child process has no loop. Its copies of the loop, of tasks
 * and of futures belong to the parent: the child must not touch them. The child
 * may make a loop of its own. A child that was forked in a coroutine or in a
 * callback must not return from it: it must exit or execute another program.
 * The parent's loop is not affected. A program that is executed, after fork()
 * or by posix_spawn(), inherits no descriptor and no signal handler of coil's,
 * and coil blocks no signal in it.
 */

#include <coil/api.h>
#include <coil/exception.h>
#include <coil/future.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

struct coil_loop;
struct coil_task;

/*
 * How a loop is made. Start with COIL_LOOP_OPTIONS_INIT; a field that is 0 has
 * its default.
 *
 *   field                   default unit, meaning; what happens at the bound
 *   ----------------------  ------- -----------------------------------------
 *   size                    -       sizeof(struct coil_loop_options)
 *   sq_entries              64      entries of the submission queue. Full: it
 *                                   is submitted early, and no operation fails.
 *                                   Halved, to 8 at the least, if there is no
 *                                   memory for the rings (RLIMIT_MEMLOCK)
 *   cq_entries              512     entries of the completion queue, rounded up
 *                                   to a power of two; at least sq_entries, at
 *                                   most 65536. Full: the kernel keeps further
 *                                   completions, and none is lost; counted in
 *                                   coil_loop_stats.overflows
 *   operations_limit        65536   operations in flight, at most 65536.
 *                                   Reached: an operation fails with -ENOBUFS
 *   recv_buffers            128     receive buffers, shared by all streams: a
 *                                   power of two, at most 32768; others abort.
 *                                   All in use: streams get them in turns; if
 *                                   no buffer is returned for a pass, a stream
 *                                   receives into a block of its own. Receives
 *                                   that found no buffer are counted in
 *                                   coil_loop_stats.no_buffers
 *   recv_buffer_bytes       16384   bytes of one receive buffer
 *   close_ns                10 s    nanoseconds that coil_loop_close() may
 *                                   take; COIL_NEVER: no bound. Over: what has
 *                                   not ended is printed, and the program
 *                                   aborts. Negative: aborts
 *   arena                   NULL    memory for what coil allocates, see below;
 *                                   NULL: malloc()
 *   arena_bytes             0       bytes of the arena. Full: -ENOMEM. Not 0,
 *                                   and `arena` is NULL: aborts
 *   on_exception            NULL    callback for unhandled errors
 *                                   (exception.h); NULL: they are printed to
 *                                   stderr
 *   on_exception_arg        NULL    argument of the callback
 *   resolver_threads_limit  4       names that are looked up at once, each in a
 *                                   thread (resolve.h). Reached: further names
 *                                   wait in line
 *   resolver_names_limit    64      names that are looked up, waited for, or
 *                                   kept with their answer. Reached: the kept
 *                                   answer that was used longest ago is
 *                                   dropped; if none is kept, further names
 *                                   wait in line
 *   resolver_keep_ns        10 s    nanoseconds for which an answer is kept;
 *                                   COIL_NEVER: until its room is needed;
 *                                   negative: not at all
 *   leave_sigint            false   true: RUN does not handle SIGINT, see
 *                                   coroutine.h
 *   debug                   false   true: debug mode, see below
 *   slow_step_ns            100 ms  nanoseconds: in debug mode a step or call
 *                                   that takes longer is reported. Negative:
 *                                   aborts
 *
 * The arena is for all that coil allocates, except:
 *   - the rings, by the kernel;
 *   - the shared receive buffers, recv_buffers * recv_buffer_bytes, which are
 *     mapped when a stream first receives;
 *   - for each name that is looked up (resolve.h), until the answer has come:
 *     some 200 bytes from malloc(), a thread with a stack of 256 KiB, and what
 *     the thread and getaddrinfo() allocate;
 *   - objects that several threads share, by malloc(): remotes, remote tasks,
 *     promises, channels and executors.
 *
 * What is freed in an arena serves blocks of any size: neighbours are joined.
 * Blocks up to 1 KiB are kept for their own size until a block cannot be had
 * otherwise. An arena must hold, together:
 *   - its own records: 1/128 of its bytes, and 1 KiB;
 *   - the loop: 12 KiB, and 4 KiB for each 256 timers that are armed at once;
 *     each 256 operations in flight at once beyond the first 256 take 6 KiB;
 *   - all that is in use at the peak, each block rounded up to 16 bytes (the
 *     frame of a coroutine above 1 KiB: by up to a quarter).
 *     coil_loop_stats.memory_bytes has the peak of a run with a large arena;
 *   - gaps: a block needs free memory in one piece, and blocks in use may lie
 *     between the free ones. Blocks of one size lose nothing to gaps. For
 *     blocks of many sizes take twice the peak; allocate a block as large as a
 *     tenth of the arena early, and keep it.
 *
 * Debug mode is switched on by options.debug, or by COIL_DEBUG=1 in the
 * environment (any value but "" and "0"; a program with raised privileges
 * ignores it). It is not the CMake option COIL_DEBUG, which changes how coil is
 * built: one malloc() per block, and the dead part of the stack is overwritten
 * after each step. In debug mode the following is reported to the exception
 * handler:
 *   - a step of a coroutine, or a call, that took longer than slow_step_ns,
 *     with the line at which the step was resumed;
 *   - a plain future whose last reference was dropped while it was pending and
 *     nothing waited for it;
 *   - with a coroutine that was never awaited: which coroutine made it.
 * The following aborts:
 *   - to complete, cancel, await or drop a future or task of another thread's
 *     loop. A future that is done already and a coroutine made in place
 *     (CALL_IN) are not checked;
 *   - to stop the loop of another thread.
 * It costs two readings of the clock for each step and call.
 */
struct coil_loop_options {
    size_t size;
    unsigned sq_entries;
    unsigned cq_entries;
    unsigned operations_limit;
    unsigned recv_buffers;
    unsigned recv_buffer_bytes;
    int64_t close_ns;
    void *arena;
    size_t arena_bytes;
    coil_exception_fn *on_exception;
    void *on_exception_arg;
    unsigned resolver_threads_limit;
    unsigned resolver_names_limit;
    int64_t resolver_keep_ns;
    bool leave_sigint;
    bool debug;
    int64_t slow_step_ns;
};

#define COIL_LOOP_OPTIONS_INIT COILI_OPTIONS_INIT(struct coil_loop_options)

/* Private. */
COIL_API COIL_NODISCARD int
coili_loop_new(struct coil_loop **out, const struct coil_loop_options *options,
               uint32_t abi);

/*
 * Make the loop of this thread. `options` may be NULL: all defaults. Aborts, as
 * RUN does, if the program was compiled with the headers of another version of
 * coil than the library: the caller's code passes its version.
 *
 * Result    0, and *out is the loop
 * Errors    -EBUSY   this thread has a loop
 *           -ENOMEM  no memory; for the rings: RLIMIT_MEMLOCK is too low
 *           -EPERM   io_uring is forbidden, by sysctl or a seccomp filter
 *           -ENOSYS  the kernel is older than Linux 6.1
 *           -errno   another one of io_uring_setup(2) or eventfd(2)
 *           If the kernel refuses io_uring, a line on stderr says what to
 *           change
 * Lifetime  gives the loop: coil_loop_close() frees it. The caller lends
 *           options->arena until then; the other options are copied
 */
static inline COIL_NODISCARD int
coil_loop_new(struct coil_loop **out, const struct coil_loop_options *options)
{
    return coili_loop_new(out, options, COILI_ABI);
}

/*
 * The loop of this thread, or NULL.
 *
 * Source    asyncio.get_running_loop()
 */
COIL_API struct coil_loop *coil_loop_current(void);

/*
 * Cancel all tasks, wait until they have ended and the kernel has completed all
 * operations, then free the loop. Only in the loop's thread, and not while the
 * loop runs; else it aborts.
 *
 * A stream or listener that was left open is reported with its descriptor,
 * which stays open. If something does not end within options.close_ns, all
 * tasks are printed (coil_dump) and the program aborts: coil never frees memory
 * to which the kernel may still write.
 *
 * Lifetime  takes `loop`; NULL is allowed
 */
COIL_API void coil_loop_close(struct coil_loop *loop);

/*
 * True once coil_loop_close() has begun. Begin nothing new then: a task that is
 * spawned outside of a coroutine is cancelled before its first step.
 */
COIL_API bool coil_loop_closing(const struct coil_loop *loop);

/*
 * Run passes until `task` has ended.
 *
 * Result    0: fetch the task's result (task.h)
 * Errors    COIL_ESTOPPED  coil_loop_stop() was called before the task ended
 * Source    asyncio loop.run_until_complete()
 */
COIL_API int coil_loop_run_until_complete(struct coil_loop *loop,
                                          struct coil_task *task);

/*
 * Run one pass. If nothing is ready it waits for at most `timeout_ns`. Aborts
 * in another thread than the loop's, and in a coroutine or callback of the
 * loop.
 *
 * Units     nanoseconds; 0 or less: do not wait; COIL_NEVER: no time-out
 * Result    true if something is ready for the next pass
 */
COIL_API bool coil_loop_pass(struct coil_loop *loop, int64_t timeout_ns);

/*
 * A descriptor that is readable when the loop has something to do: to drive
 * this loop from another one, of GLib or your own epoll.
 *
 *     struct pollfd p = { .fd = coil_loop_fd(loop), .events = POLLIN };
 *     int64_t ns = coil_loop_timeout(loop);
 *     poll(&p, 1, ns == COIL_NEVER ? -1 : (int)((ns + 999999) / 1000000));
 *     coil_loop_pass(loop, 0);
 *
 * Do not read from the descriptor. A coroutine may ask for it, too.
 * Call coil_loop_timeout() before each sleep: it also makes the descriptor
 * unreadable again. There is no RUN() in such a program: spawn the first
 * coroutine before the other loop begins. A pass that comes too early does no
 * harm.
 *
 * Result    the descriptor; it belongs to the loop
 * Errors    -EMFILE, -ENFILE, -ENOMEM, at the first call only
 * Source    uv_backend_fd()
 */
COIL_API int coil_loop_fd(struct coil_loop *loop);

/*
 * How long another loop may sleep, at most, before it has to run a pass. Aborts
 * where coil_loop_pass() does.
 *
 * Result    nanoseconds; 0: run a pass now; COIL_NEVER: not before the
 *           descriptor of coil_loop_fd() is readable
 * Source    uv_backend_timeout()
 */
COIL_API int64_t coil_loop_timeout(struct coil_loop *loop);

/*
 * Make coil_loop_run_until_complete() return after the current pass. If the
 * loop does not run yet, the next coil_loop_run_until_complete() runs a single
 * pass.
 *
 * Source    asyncio loop.stop()
 */
COIL_API void coil_loop_stop(struct coil_loop *loop);

/*
 * Have the loop call `fn(arg)` once:
 *
 *     coil_call_soon     in the next pass; several calls in the order in which
 *                        they were asked for
 *     coil_call_later    when `delay_ns` has passed; 0 or less: when the loop
 *                        next looks at its timers
 *     coil_call_at       when coil_now() has reached `deadline_ns`; calls with
 *                        the same deadline are made in the order of these
 *                        requests
 *
 * Aborts if the handle still waits for a call or, in a coroutine or callback,
 * if the handle is on the stack. A timed call that is not due when the loop
 * closes is not made.
 *
 * Units     nanoseconds of the monotonic clock
 * Errors    -ENOMEM  coil_call_later and coil_call_at only
 * Lifetime  the caller lends `handle` until it was called or cancelled
 * Source    asyncio loop.call_soon, call_later, call_at
 */
COIL_API void coil_call_soon(struct coil_handle *handle, coil_call_fn *fn,
                             void *arg);
COIL_API int coil_call_later(struct coil_handle *handle, int64_t delay_ns,
                             coil_call_fn *fn, void *arg);
COIL_API int coil_call_at(struct coil_handle *handle, int64_t deadline_ns,
                          coil_call_fn *fn, void *arg);

/*
 * Have `fn(arg)` called when the loop of this thread closes: after all tasks
 * have ended, when no operation is in flight. The call that was asked for last
 * is made first. `fn` may free what it has in the loop; it must begin nothing.
 *
 * Lifetime  the caller lends `handle` until it was called or cancelled
 * Source    contextlib.ExitStack.callback()
 */
COIL_API void coil_call_at_close(struct coil_handle *handle, coil_call_fn *fn,
                                 void *arg);

/*
 * Withdraw a call. In the loop's thread, whichever function asked for it.
 *
 * Result    true if the call was still to be made; false if it was made
 *           already, or was never asked for
 * Source    asyncio Handle.cancel()
 */
COIL_API bool coil_handle_cancel(struct coil_handle *handle);

/*
 * As coil_call_soon(), from any thread: queues the call and wakes `loop`. If
 * the loop may be closed meanwhile, use remote.h.
 *
 * While the loop closes, calls are made until the last task has ended. Later
 * ones are made only while a detached job of the default executor still runs;
 * the handles of the others are free when coil_loop_close() returns.
 *
 * The queue has no bound of its own: it consists of the callers' handles, and
 * coil allocates nothing. For threads that wait while the loop is behind see
 * channel.h, whose capacity is a bound.
 *
 * Lifetime  the caller lends `handle` until it was called, or was cancelled in
 *           the loop's thread; and `loop` until the function returns: no other
 *           thread may call this function once the loop is closed
 * Source    asyncio loop.call_soon_threadsafe()
 */
COIL_API void coil_call_soon_threadsafe(struct coil_loop *loop,
                                        struct coil_handle *handle,
                                        coil_call_fn *fn, void *arg);

/*
 * Memory from the allocator of this thread's loop: from options.arena, if there
 * is one.
 *
 * Result    uninitialised memory, aligned to 16 bytes; NULL without memory
 * Lifetime  gives: coil_free() frees it, and so does coil_loop_close()
 */
COIL_API void *coil_alloc(size_t size);

/* Free memory of coil_alloc(); `size` must be what was asked for there. */
COIL_API void coil_free(void *memory, size_t size);

/* The first five count since the loop was made; the others tell of now. */
struct coil_loop_stats {
    uint64_t passes;      /* turns of the loop */
    uint64_t enters;      /* system calls into the ring */
    uint64_t submitted;   /* operations given to the kernel */
    uint64_t overflows;   /* times that the completion queue had overflowed */
    uint64_t no_buffers;  /* receives that found no shared buffer */
    unsigned in_flight;   /* operations that the kernel holds now */
    unsigned timers;      /* armed now */
    unsigned tasks;       /* not done now; counted one by one for this call */
    size_t memory_bytes;  /* bytes taken from the system; of an arena: in use,
                             kept for their size, and its own records */
};

/* Read the statistics of this thread's loop. */
COIL_API void coil_loop_get_stats(const struct coil_loop *loop,
                                  struct coil_loop_stats *out);

/*
 * Print the await tree of every task of this thread's loop to `fd`: its name,
 * and for each frame the line at which it waits, for what, and for how long.
 *
 * Source    asyncio.print_call_graph(), python -m asyncio pstree
 */
COIL_API void coil_dump(int fd);

COIL_END_DECLS

#endif
