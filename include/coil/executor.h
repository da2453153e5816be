// SPDX-License-Identifier: MIT
#ifndef COIL_EXECUTOR_H
#define COIL_EXECUTOR_H

/*
 * executor.h: a thread pool for functions that block, or that keep a processor
 * busy.
 *
 *     static struct coil_result load(void *arg)      // in a thread
 *     {
 *         struct image *image = image_load(arg);
 *         return image ? coil_result_pointer(image) : coil_result_error(-EIO);
 *     }
 *
 *     AWAIT_TO(my->image, coil_to_thread(load, my->path));
 *
 * An executor makes a thread when there is a job and no thread is idle, up to a
 * limit. Beyond it jobs wait in line, first come, first served. A waiting job
 * is kept in the future that awaits it, so the line takes no memory.
 *
 * To cancel the await of a job that waits in line withdraws the job. A job that
 * runs cannot be stopped, and it uses an argument that the caller lends: so its
 * await ends when the job ends, with its result, cancelled or not. With
 * coil_run_in_executor_take() the job owns its argument, and an await that is
 * cancelled ends at once.
 *
 * A job that never ends, and whose argument is lent, keeps its loop from
 * closing: coil_loop_close() aborts after options.close_ns (loop.h). Give
 * blocking calls a time-out of their own.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/result.h>

COIL_BEGIN_DECLS

struct coil_executor;

/*
 * How an executor is made. Start with COIL_EXECUTOR_OPTIONS_INIT; a field that
 * is 0 has its default.
 *
 *   field          default     unit, meaning; what happens at the bound
 *   -------------  ----------  -----------------------------------------------
 *   size           -           sizeof(struct coil_executor_options)
 *   threads_limit  processors  threads at once; the default is 32 at most. More
 *                  + 4         jobs wait in line
 *   stack_bytes    that of     bytes of each thread's stack
 *                  pthreads    (usually 8 MiB)
 *   name           "coil"      the threads are called "NAME-1", "NAME-2"; cut
 *                              to 15 bytes
 */
struct coil_executor_options {
    size_t size;
    unsigned threads_limit;
    size_t stack_bytes;
    const char *name;
};

#define COIL_EXECUTOR_OPTIONS_INIT \
    COILI_OPTIONS_INIT(struct coil_executor_options)

/*
 * Make an executor. It has no thread yet. Any thread may make one, and several
 * loops may use it. What it allocates comes from malloc(). Its threads block
 * all signals. A child process of fork() has none of its threads and must not
 * use it. `options` may be NULL: all defaults.
 *
 * Result    the executor; NULL without memory
 * Lifetime  gives: coil_executor_free() frees it. Copies `options`
 * Source    concurrent.futures.ThreadPoolExecutor
 */
COIL_API COIL_NODISCARD struct coil_executor *
coil_executor_new(const struct coil_executor_options *options);

/*
 * Refuse further jobs, and wait until all jobs and all threads have ended.
 * Cannot be cancelled. In one of the executor's own threads it aborts. NULL:
 * the loop's default executor.
 *
 *     AWAIT(coil_executor_shutdown(my->executor));
 *     coil_executor_free(my->executor);
 *
 * Result    0
 * Errors    -ENOMEM  nothing was shut down; coil_executor_free() needs no
 *           memory
 * Lifetime  the caller lends `executor` until the future is done
 * Source    asyncio loop.shutdown_default_executor(), Executor.shutdown()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_executor_shutdown(struct coil_executor *executor);

/*
 * Free an executor. Blocks this thread until all queued jobs have run and the
 * executor's threads have ended. These jobs own their argument
 * (coil_run_in_executor_take); if there is a job with a lent argument, it is
 * still awaited, and the call aborts: use coil_executor_shutdown() first. In
 * one of the executor's own threads it aborts. NULL is ignored.
 *
 * Lifetime  takes `executor`
 */
COIL_API void coil_executor_free(struct coil_executor *executor);

/* A job: a function that runs in a thread. */
typedef struct coil_result coil_job_fn(void *arg);

/*
 * Have `fn(arg)` called in a thread. NULL: the loop's default executor, which
 * is made at its first use and freed when the loop closes.
 *
 * Result    what `fn` returned. A pointer that is never taken is lost: see
 *           coil_run_in_executor_take(), or ASYNC_GIVES in coroutine.h
 * Errors    the error and the detail that `fn` returned
 *           COIL_ECLOSED    the executor was shut down
 *           COIL_ENOTHREAD  the executor has no thread and none can be started
 *           -ECANCELED      the job was withdrawn before it ran
 *           -ENOMEM
 * Lifetime  the caller lends `arg` until the future is done, cancelled or not:
 *           that is after `fn` has returned
 * Source    asyncio loop.run_in_executor()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_run_in_executor(struct coil_executor *executor, coil_job_fn *fn,
                     void *arg);

/* coil_run_in_executor(NULL, fn, arg). Source: asyncio.to_thread() */
COIL_API COIL_NODISCARD struct coil_future *coil_to_thread(coil_job_fn *fn,
                                                           void *arg);

/* A job that owns its argument. free_arg and free_result may be NULL. */
struct coil_job {
    coil_job_fn *run;
    void *arg;                 /* of `run` */
    coil_call_fn *free_arg;    /* called with `arg`, exactly once */
    coil_call_fn *free_result; /* called with a pointer that was not taken */
};

/*
 * As coil_run_in_executor(), with an argument that the job owns: a cancelled
 * await ends at once with -ECANCELED. A job that runs at that time goes on, if
 * need be after the loop has closed.
 *
 *     AWAIT(coil_run_in_executor_take(NULL, &(struct coil_job){
 *         .run = load, .arg = strdup(path), .free_arg = free }));
 *
 * Result    what `run` returned
 * Errors    as coil_run_in_executor()
 * Lifetime  takes job->arg, also on error: free_arg(arg) is called when `run`
 *           has returned or will not be called, in any thread. A pointer that
 *           `run` returns and that is never taken is given to free_result, in
 *           the job's thread or the loop's. Copies the rest of `job`
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_run_in_executor_take(struct coil_executor *executor,
                          const struct coil_job *job);

/*
 * Make `executor` the default executor of this thread's loop. Once, before the
 * first use of the default executor; later it aborts.
 *
 * Result    0
 * Errors    -ENOMEM
 * Lifetime  the caller lends `executor` until the loop has closed
 * Source    asyncio loop.set_default_executor()
 */
COIL_API int coil_set_default_executor(struct coil_executor *executor);

/* Numbers of this moment. */
struct coil_executor_stats {
    unsigned threads; /* that exist */
    unsigned idle;    /* threads without a job */
    unsigned waiting; /* jobs in line */
};

/* Read the statistics of an executor. In any thread. */
COIL_API void coil_executor_get_stats(struct coil_executor *executor,
                                      struct coil_executor_stats *out);

COIL_END_DECLS

#endif
