// SPDX-License-Identifier: MIT
#ifndef COIL_LOOP_H
#define COIL_LOOP_H

/*
 * loop.h: one thread, one loop, one pass after the other.
 *
 * A pass submits what was prepared, waits (not if something is ready), takes
 * the completions, then the timers that are due, and then runs exactly what
 * was ready at that moment. It is asyncio's order.
 *
 * Most programs never name the loop: RUN() in coroutine.h makes it, runs a
 * coroutine and closes it. A program with a main loop of its own uses
 * coil_loop_new, coil_loop_run_until_complete and coil_loop_close.
 *
 * A loop belongs to the thread that made it; only coil_call_soon_threadsafe and
 * coil_wakeup_send (wakeup.h) may come from others.
 *
 * After fork() the child has no loop: what it has copies of, loop, tasks and
 * futures, is the parent's and is not to be touched. It may make a loop of its
 * own; if it was forked in a coroutine or a call it must not return from there:
 * it ends, or executes. The parent's loop goes on untouched. What is executed,
 * after fork() or by posix_spawn(), inherits no descriptor of coil's and no
 * signal handler, and no signal is blocked for it.
 */

#include <coil/api.h>
#include <coil/exception.h>
#include <coil/future.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

struct coil_loop;
struct coil_task;

/*
 * How a loop is made. Start with COIL_LOOP_OPTIONS_INIT; 0 means the default.
 *
 * In debug mode, which COIL_DEBUG=1 in the environment switches on as well,
 * these are told to the exception handler: a step or call that took longer than
 * slow_step_ns, with the line it was resumed at; a future that is dropped while
 * it is pending; by whom a coroutine was made that was never awaited. And these
 * abort: to complete, cancel, await or drop a future or a task of another
 * thread's loop, where that can be known (of those in place, and of those that
 * are done, it cannot); to stop another thread's loop. Each step and call costs
 * two looks at the clock.
 *
 * An arena is for what coil allocates. What is not in it: the rings, which are
 * the kernel's; the shared receive buffers, recv_buffers * recv_buffer_bytes
 * mapped at first need; for each name that is looked up (net.h), until there
 * is an answer, a malloc of some 200 bytes, a thread with a stack of 256 KiB,
 * and what it and getaddrinfo() allocate; and what other threads share: ports,
 * executors, promises, tickets, channels.
 */
struct coil_loop_options {
    size_t size;         /* sizeof(struct coil_loop_options) */
    unsigned sq_entries; /* of the submission queue; 64 */
    unsigned cq_entries; /* of the completion queue, a power of two; 512 */
    unsigned operations_limit; /* in flight, then -ENOBUFS; 65536 */
    unsigned recv_buffers;   /* shared by all streams, power of two; 128 */
    unsigned recv_buffer_bytes; /* of one of them; 16384 */
    int64_t close_ns;        /* to drain when closing; 10 s */
    void *arena;             /* memory comes from here, if given; see above */
    size_t arena_bytes;
    coil_exception_fn *on_exception; /* see exception.h */
    void *on_exception_arg;
    unsigned resolver_threads_limit; /* so many names looked up at once; 4 */
    unsigned resolver_names_limit; /* kept or asked for, then others wait; 64 */
    int64_t resolver_keep_ns; /* the age of an answer at the most; 10 s;
                                 COIL_NEVER: any; negative: none is kept */
    bool leave_sigint;        /* RUN does not touch it; see coroutine.h */
    bool debug;               /* look for mistakes; see above */
    int64_t slow_step_ns;    /* debug: a step that takes longer is reported;
                                100 ms */
};

#define COIL_LOOP_OPTIONS_INIT COILI_OPTIONS_INIT(struct coil_loop_options)

/*
 * Make this thread's loop.
 *
 * Result    0
 * Errors    -EBUSY this thread has one; -EPERM, -ENOSYS, -ENOMEM io_uring is
 *           refused: one line on stderr says by whom and what to change
 * Lifetime  gives; closed by coil_loop_close. Lends options->arena until then;
 *           copies the rest
 */
COIL_API COIL_NODISCARD int
coil_loop_new(struct coil_loop **out, const struct coil_loop_options *options);

/* This thread's loop, or NULL. */
COIL_API struct coil_loop *coil_loop_current(void);

/*
 * Cancel all tasks, wait for them and for the kernel, free the loop. Streams
 * and listeners that nobody closed are reported with their descriptors, which
 * stay open. What does not end within options.close_ns is dumped and aborts:
 * coil never gives back memory that the kernel still holds.
 */
COIL_API void coil_loop_close(struct coil_loop *loop);

/* True once coil_loop_close has begun: what is begun now has no future. */
COIL_API bool coil_loop_closing(const struct coil_loop *loop);

/*
 * Run passes until the task is done.
 *
 * Result    0; then fetch its result
 * Errors    COIL_ESTOPPED if coil_loop_stop came first
 * Source    asyncio loop.run_until_complete()
 */
COIL_API int coil_loop_run_until_complete(struct coil_loop *loop,
                                          struct coil_task *task);

/*
 * Run one pass; wait at most `timeout_ns` (0 or less: not at all; COIL_NEVER).
 *
 * Result    true if anything is ready for the next pass
 */
COIL_API bool coil_loop_pass(struct coil_loop *loop, int64_t timeout_ns);

/*
 * To drive this loop from another one, of GLib or your own epoll: a descriptor
 * that is readable when the loop has something to do, and how long to wait for
 * it at the most. Do not read it; ask for the time before each sleep, which is
 * also what makes the descriptor unreadable again.
 *
 *     struct pollfd p = { .fd = coil_loop_fd(loop), .events = POLLIN };
 *     int64_t ns = coil_loop_timeout(loop);
 *     poll(&p, 1, ns == COIL_NEVER ? -1 : (int)((ns + 999999) / 1000000));
 *     coil_loop_pass(loop, 0);
 *
 * Nobody runs: no RUN() is around it, the first coroutine is spawned before the
 * other loop begins. A pass before its time does no harm.
 *
 * Result    the descriptor, which is the loop's; nanoseconds until a pass is
 *           due: 0 now, COIL_NEVER only if the descriptor says so
 * Errors    -EMFILE, -ENFILE, -ENOMEM at the first call for the descriptor
 * Source    uv_backend_fd(), uv_backend_timeout()
 */
COIL_API int coil_loop_fd(struct coil_loop *loop);
COIL_API int64_t coil_loop_timeout(struct coil_loop *loop);

/*
 * Let the current pass finish and make coil_loop_run_until_complete return.
 * Called before coil_loop_run_until_complete, that one runs a single pass.
 *
 * Source    asyncio loop.stop()
 */
COIL_API void coil_loop_stop(struct coil_loop *loop);

/*
 * Call `fn(arg)` in the next pass, after `delay_ns`, or at a time of
 * coil_now(). Calls are made in order. A handle that is in use already aborts.
 *
 * Errors    -ENOMEM for the two with a time
 * Lifetime  lends `handle` until it was called or cancelled
 * Source    asyncio loop.call_soon, call_later, call_at
 */
COIL_API void coil_call_soon(struct coil_handle *handle, coil_call_fn *fn,
                             void *arg);
COIL_API int coil_call_later(struct coil_handle *handle, int64_t delay_ns,
                             coil_call_fn *fn, void *arg);
COIL_API int coil_call_at(struct coil_handle *handle, int64_t deadline_ns,
                          coil_call_fn *fn, void *arg);

/*
 * Call `fn(arg)` when this thread's loop closes: all tasks have ended, and
 * nothing is in flight. The last to ask for it is called first. It may free
 * what it has in the loop, and must begin nothing.
 *
 * Lifetime  lends `handle` until it was called or cancelled
 * Source    contextlib.ExitStack.callback()
 */
COIL_API void coil_call_at_close(struct coil_handle *handle, coil_call_fn *fn,
                                 void *arg);

/*
 * Withdraw a call.
 *
 * Result    false if it was made already or never asked for
 * Source    asyncio Handle.cancel()
 */
COIL_API bool coil_handle_cancel(struct coil_handle *handle);

/*
 * The same from any thread: queues the call and wakes the loop. Withdraw it
 * from the loop's thread only.
 *
 * Lifetime  lends `handle` until it was called; lends `loop`: stop calling
 *           before it is closed
 * Source    asyncio loop.call_soon_threadsafe()
 */
COIL_API void coil_call_soon_threadsafe(struct coil_loop *loop,
                                        struct coil_handle *handle,
                                        coil_call_fn *fn, void *arg);

/*
 * Memory from the loop's allocator: the arena, if there is one. `size` must be
 * the same in both calls.
 *
 * Result    uninitialised memory, aligned to 16 bytes; NULL without memory
 * Lifetime  gives; all of it is gone when the loop closes
 */
COIL_API void *coil_alloc(size_t size);
COIL_API void coil_free(void *memory, size_t size);

/* Counters since the loop was made. Asked for by its own thread. */
struct coil_loop_stats {
    uint64_t passes;
    uint64_t enters;      /* system calls into the ring */
    uint64_t submitted;   /* operations given to the kernel */
    uint64_t overflows;   /* times the completion queue had overflowed */
    uint64_t no_buffers;  /* receives that found no shared buffer */
    unsigned in_flight;   /* operations the kernel holds now */
    unsigned timers;      /* armed now */
    unsigned tasks;       /* not done now; they are counted for this */
    size_t memory;        /* bytes taken from the system or the arena */
};
COIL_API void coil_loop_get_stats(const struct coil_loop *loop,
                                  struct coil_loop_stats *out);

/*
 * Print the await tree of every task of this thread's loop: its name, the line
 * where each frame waits, on what, and for how long.
 *
 * Source    asyncio.print_call_graph(), python -m asyncio pstree
 */
COIL_API void coil_dump(int fd);

COIL_END_DECLS

#endif
