// SPDX-License-Identifier: MIT
#ifndef COIL_PROCESS_POOL_H
#define COIL_PROCESS_POOL_H

/*
 * process_pool.h: functions that run in child processes.
 *
 *     static int64_t prime(const void *request, size_t len,  // in a child
 *                          void *reply, size_t size);
 *
 *     int err = coil_process_pool_open(&my->pool, NULL);
 *     AWAIT_TO(my->n, coil_process_pool_run(my->pool, prime, &my->number,
 *                                           sizeof my->number, &my->answer,
 *                                           sizeof my->answer));
 *
 * For code that may crash and must not end the program, or that uses a library
 * which two threads must not use. A child is a copy of the program as it was
 * when the pool was opened (fork, not exec): it has the functions and the data
 * of that moment, no later changes, and no loop.
 *
 * Threads are not copied, and a lock that another thread held at that moment
 * stays locked in the children. So open the pool before the program has
 * threads, or do not use in its functions what other threads may have locked.
 * malloc() is safe.
 *
 * A child has the standard descriptors and its own end of a socket, no others.
 * Signals have their default disposition, except SIGINT, which is ignored:
 * Ctrl-C goes to the whole process group, and the parent decides when its
 * children end. A child is killed, by SIGKILL, when the pool closes, and when
 * the thread of the parent that opened the pool ends: no exit handlers run.
 *
 * A child that dies breaks the pool, as in Python: all jobs, also later ones,
 * fail with COIL_EBROKEN, and the other children are killed. The code in the
 * detail of the error is the exit status of the child that died, or its signal
 * as a negative number.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

struct coil_process_pool;

/* Start with COIL_PROCESS_POOL_OPTIONS_INIT; 0 means the default. */
struct coil_process_pool_options {
    size_t size;              /* sizeof(struct coil_process_pool_options) */
    unsigned workers;         /* children, at most 1024; default: one per
                                 processor */
    size_t message_bytes_max; /* of a request and of a reply, at most 1 GiB;
                                 default: 65536 */
};

#define COIL_PROCESS_POOL_OPTIONS_INIT \
    COILI_OPTIONS_INIT(struct coil_process_pool_options)

/*
 * Make a pool and fork its children. The pool belongs to this thread's loop; a
 * loop that is closed with an open pool kills the children. An option out of
 * range aborts.
 *
 * Result    0
 * Errors    -ENOMEM; those of fork(2), socketpair(2), pidfd_open(2)
 * Lifetime  gives the pool (coil_process_pool_close)
 * Source    concurrent.futures.ProcessPoolExecutor; multiprocessing.Pool
 */
COIL_API COIL_NODISCARD int
coil_process_pool_open(struct coil_process_pool **out,
                       const struct coil_process_pool_options *options);

/*
 * A function that runs in a child. It reads `len` bytes of `request` and writes
 * at most `size` bytes to `reply`; both are aligned to 16 bytes.
 *
 * Result    bytes of the reply, or a negative error, which the await gets
 */
typedef int64_t coil_process_fn(const void *request, size_t len, void *reply,
                                size_t size);

/*
 * Call `fn` in the next child that is idle; first come, first served. A job
 * that is cancelled before it has begun never runs. When a running job is
 * cancelled the await ends at once; the child finishes the job and is idle
 * then.
 *
 * Result    bytes in `reply`
 * Errors    what `fn` returned; COIL_EBROKEN; COIL_ELIMIT the request is longer
 *           than message_bytes_max; COIL_ECLOSED; -ENOMEM, -ECANCELED
 * Lifetime  lends `pool`, `request` and `reply` until the future is done
 * Source    asyncio loop.run_in_executor() with a ProcessPoolExecutor
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_process_pool_run(struct coil_process_pool *pool, coil_process_fn *fn,
                      const void *request, size_t len, void *reply,
                      size_t size);

/* The number of children. */
COIL_API unsigned coil_process_pool_workers(
    const struct coil_process_pool *pool);

/*
 * Accept no more jobs (COIL_ECLOSED), wait for those that were accepted, then
 * kill the children and wait for their end. A child whose job was cancelled is
 * killed at once. Allocates nothing, cannot be cancelled.
 *
 * Result    0
 * Lifetime  takes `pool`; NULL is fine
 * Source    Executor.shutdown(wait=True)
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_process_pool_close(struct coil_process_pool *pool);

COIL_END_DECLS

#endif
