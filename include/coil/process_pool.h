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
 * For what must not take the program along when it crashes, or shares what no
 * two threads may. A child is a copy of the program as it was when the pool was
 * made (fork, not exec): its functions and its data are there, nothing that was
 * changed later, and no loop.
 *
 * Threads are not copied, and whatever lock one of them held stays locked in
 * the children: make the pool before any threads, or let its functions do
 * without what threads of yours may have locked. malloc() is safe.
 *
 * A child has the standard descriptors and its own end of a socket, no others.
 * Signals do what they do by default, except for SIGINT, which is ignored:
 * Ctrl-C goes to the whole group, and the parent decides what becomes of its
 * children. A child ends with _exit(), and is killed when the parent's thread
 * that made the pool ends.
 *
 * One child that dies breaks the pool, as in Python: all jobs there are and all
 * that come later fail with COIL_EBROKEN, and the other children are killed.
 * The detail of the error holds, as its code, the exit status of the one that
 * died, or its signal as a negative number.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

struct coil_process_pool;

/* Start with COIL_PROCESS_POOL_OPTIONS_INIT; 0 means the default. */
struct coil_process_pool_options {
    size_t size;              /* sizeof(struct coil_process_pool_options) */
    unsigned workers;         /* children; as many as processors */
    size_t message_bytes_max; /* of a request, and of a reply; 65536 */
};

#define COIL_PROCESS_POOL_OPTIONS_INIT \
    COILI_OPTIONS_INIT(struct coil_process_pool_options)

/*
 * Make the children of a pool, which belongs to this thread's loop. A loop that
 * closes with a pool kills its children.
 *
 * Result    0
 * Errors    -ENOMEM; those of fork(2), socketpair(2), pidfd_open(2)
 * Lifetime  gives; coil_process_pool_close takes it back
 * Source    concurrent.futures.ProcessPoolExecutor; multiprocessing.Pool
 */
COIL_API COIL_NODISCARD int
coil_process_pool_open(struct coil_process_pool **out,
                       const struct coil_process_pool_options *options);

/*
 * Runs in a child: answers `request` with at most `size` bytes in `reply`; both
 * are aligned to 16 bytes.
 *
 * Result    bytes of the reply, or a negative error for who asked
 */
typedef int64_t coil_process_fn(const void *request, size_t len, void *reply,
                                size_t size);

/*
 * Have `fn` called in the next child that is idle; first come, first served.
 * What is cancelled in line is never begun. What has begun goes on in its
 * child, but the await ends at once; that child is idle again when it is
 * through.
 *
 * Result    bytes in `reply`
 * Errors    what `fn` returned; COIL_EBROKEN; COIL_ELIMIT the request is longer
 *           than message_bytes_max; COIL_ECLOSED; -ENOMEM, -ECANCELED
 * Lifetime  lends `pool`, `request` and `reply` until it is done
 * Source    asyncio loop.run_in_executor() with a ProcessPoolExecutor
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_process_pool_run(struct coil_process_pool *pool, coil_process_fn *fn,
                      const void *request, size_t len, void *reply,
                      size_t size);

/* How many children there are. */
COIL_API unsigned coil_process_pool_workers(
    const struct coil_process_pool *pool);

/*
 * Take no more jobs, wait for those that were given, have the children end and
 * wait for that. One whose job nobody awaits any more is killed. Allocates
 * nothing, cannot be cancelled.
 *
 * Result    0
 * Lifetime  takes `pool`
 * Source    Executor.shutdown(wait=True)
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_process_pool_close(struct coil_process_pool *pool);

COIL_END_DECLS

#endif
