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
 * limit. Beyond the limit, jobs wait in a FIFO queue. A waiting job is stored
 * in its future, so the queue needs no memory.
 *
 * Cancelling the await of a queued job withdraws the job. A running job cannot
 * be stopped, and uses an argument that the caller lends: so its await ends
 * when the job ends, with the result of the job, also after a cancellation.
 * With coil_run_in_executor_take() the job owns its argument, and a cancelled
 * await ends at once.
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
 * The options of an executor. Start with COIL_EXECUTOR_OPTIONS_INIT; a field
 * that is 0 has its default.
 *
 *   field          default     unit, meaning; what happens at the bound
 *   -------------  ----------  -----------------------------------------------
 *   size           -           sizeof(struct coil_executor_options)
 *   threads_limit  processors  threads at once; the default is 32 at most. More
 *                  + 4         jobs are queued
 *   stack_bytes    that of     bytes of each thread's stack. Fewer than
 *                  pthreads    pthreads allows (16384): aborts. Too few for the
 *                              program's thread-local variables: jobs fail with
 *                              -EINVAL
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
 * Make an executor, without a thread yet. Any thread may make one, and several
 * loops may share it. Its memory comes from malloc(). Its threads block all
 * signals. A child process of fork() has none of its threads and must not use
 * it. If `options` is NULL, all options have their defaults.
 *
 * Result    the executor; NULL if out of memory
 * Lifetime  gives the executor: coil_executor_free() frees it. Copies `options`
 * Source    concurrent.futures.ThreadPoolExecutor
 */
COIL_API COIL_NODISCARD struct coil_executor *
coil_executor_new(const struct coil_executor_options *options);

/*
 * Refuse further jobs, and wait until all jobs and all threads have ended.
 * Cannot be cancelled. Aborts in a thread of the executor. NULL means the
 * loop's default executor.
 *
 *     AWAIT(coil_executor_shutdown(my->executor));
 *     coil_executor_free(my->executor);
 *
 * Result    0
 * Errors    -ENOMEM  the executor was not shut down; coil_executor_free() needs
 *           no memory
 * Lifetime  the caller lends `executor` until the future is done
 * Source    asyncio loop.shutdown_default_executor(), Executor.shutdown()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_executor_shutdown(struct coil_executor *executor);

/*
 * Free an executor. Blocks this thread until all queued jobs have run and the
 * executor's threads have ended. All of them must be jobs of
 * coil_run_in_executor_take(): any other job is still awaited, and then the
 * call aborts; use coil_executor_shutdown() first. Aborts in a thread of the
 * executor. NULL is ignored. Is no cancellation point (pthread_cancel(3)).
 *
 * Lifetime  takes `executor`
 */
COIL_API void coil_executor_free(struct coil_executor *executor);

/* A job: a function that runs in a thread. */
typedef struct coil_result coil_job_fn(void *arg);

/*
 * Have `fn(arg)` called in a thread. If `executor` is NULL: of the loop's
 * default executor, which is made at its first use and freed when the loop
 * closes.
 *
 * Result    the value that `fn` returned. A pointer that no await takes is
 *           lost: see coil_run_in_executor_take(), or ASYNC_GIVES in
 *           coroutine.h
 * Errors    the error and the detail that `fn` returned
 *           COIL_ECLOSED    the executor was shut down
 *           COIL_EBROKEN    `fn` has ended its thread, by pthread_exit()
 *           COIL_ENOTHREAD  no thread exists, and starting one has failed
 *           -ECANCELED      the job was withdrawn before it ran
 *           -ENOMEM
 * Lifetime  the caller lends `arg` until the future is done, also if it was
 *           cancelled: `fn` has returned by then
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
    void *arg;                 /* the argument of `run` */
    coil_call_fn *free_arg;    /* called with `arg`, exactly once */
    coil_call_fn *free_result; /* called with a pointer that no await takes */
};

/*
 * As coil_run_in_executor(), with an argument that the job owns: a cancelled
 * await ends at once with -ECANCELED. A job that runs at that time continues,
 * also after the loop has closed.
 *
 *     AWAIT(coil_run_in_executor_take(NULL, &(struct coil_job){
 *         .run = load, .arg = strdup(path), .free_arg = free }));
 *
 * Result    the value that `run` returned
 * Errors    as coil_run_in_executor()
 * Lifetime  takes job->arg, also on error: free_arg(arg) is called when `run`
 *           has ended or will not be called, in any thread. free_result is
 *           called with a pointer that `run` returns and no await takes, in the
 *           job's thread or the loop's. Copies the rest of `job`
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_run_in_executor_take(struct coil_executor *executor,
                          const struct coil_job *job);

/*
 * Make `executor` the default executor of this thread's loop. Call this once,
 * before the first use of the default executor; a later call aborts.
 *
 * Result    0
 * Errors    -ENOMEM
 * Lifetime  the caller lends `executor` until the loop has closed
 * Source    asyncio loop.set_default_executor()
 */
COIL_API int coil_set_default_executor(struct coil_executor *executor);

/* A snapshot of an executor. */
struct coil_executor_stats {
    unsigned threads; /* threads that exist */
    unsigned idle;    /* threads without a job */
    unsigned waiting; /* queued jobs */
};

/* Read the statistics of an executor. In any thread. */
COIL_API void coil_executor_get_stats(struct coil_executor *executor,
                                      struct coil_executor_stats *out);

COIL_END_DECLS

#endif
