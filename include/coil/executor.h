// SPDX-License-Identifier: MIT
#ifndef COIL_EXECUTOR_H
#define COIL_EXECUTOR_H

/*
 * executor.h: work that blocks, or that keeps a processor busy, in threads.
 *
 *     static struct coil_result load(void *arg)      // in a thread
 *     {
 *         struct image *image = image_load(arg);
 *         return image ? coil_result_pointer(image) : coil_result_error(-EIO);
 *     }
 *
 *     AWAIT_TO(my->image, coil_to_thread(load, my->path));
 *
 * A thread is made when there is a job and no thread is idle, up to a bound;
 * then jobs wait in line, first come, first served. A job in line is the
 * future that awaits it: the line takes no memory of its own.
 *
 * What is cancelled in line is never begun. A job that has begun cannot be
 * stopped, and its argument is lent by whoever awaits it: so the await of a
 * cancelled one ends when the job does, with its result. Do not want to wait
 * for that? coil_run_in_executor_take() hands the argument over, and its await
 * ends at once.
 *
 * So a job that never ends keeps its loop from closing, which aborts after
 * options.close_ns (loop.h): give blocking calls a time-out of their own.
 */

#include <coil/api.h>
#include <coil/future.h>
#include <coil/result.h>

COIL_BEGIN_DECLS

struct coil_executor;

/* Start with COIL_EXECUTOR_OPTIONS_INIT; 0 means the default. */
struct coil_executor_options {
    size_t size;         /* sizeof(struct coil_executor_options) */
    unsigned
        threads_limit;   /* at the most; 4 more than processors, at most 32 */
    size_t stack_bytes;  /* of each; the system's default, mostly 8 MiB */
    const char *name;    /* threads are "NAME-1", "NAME-2", cut to 15; "coil" */
};

#define COIL_EXECUTOR_OPTIONS_INIT \
    COILI_OPTIONS_INIT(struct coil_executor_options)

/*
 * Make an executor; it has no thread yet. Any thread may make one and several
 * loops may use it. What it allocates comes from malloc(). Its threads block
 * all signals. A child process of fork() has none of them: it must not use it.
 *
 * Result    NULL without memory
 * Lifetime  gives; coil_executor_free() takes it back. Copies the options
 * Source    concurrent.futures.ThreadPoolExecutor
 */
COIL_API COIL_NODISCARD struct coil_executor *
coil_executor_new(const struct coil_executor_options *options);

/*
 * Take no more jobs, wait until all that were given have ended, and their
 * threads too. Cannot be cancelled; in one of its own threads it aborts. NULL:
 * the loop's default executor.
 *
 *     AWAIT(coil_executor_shutdown(my->executor));
 *     coil_executor_free(my->executor);
 *
 * Result    0
 * Errors    -ENOMEM: nothing was begun; coil_executor_free() needs none
 * Lifetime  lends `executor` until it is done
 * Source    asyncio loop.shutdown_default_executor(), Executor.shutdown()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_executor_shutdown(struct coil_executor *executor);

/*
 * Free it. Blocks until its threads have ended; they are idle, unless there are
 * jobs that own their argument (coil_run_in_executor_take), of which nobody may
 * know any more: those are run. Jobs whose argument is lent abort: somebody
 * still awaits them, so shut it down first. So does one of its own threads,
 * which would wait for itself.
 *
 * Lifetime  takes; NULL is harmless
 */
COIL_API void coil_executor_free(struct coil_executor *executor);

/* What runs in a thread. */
typedef struct coil_result coil_job_fn(void *arg);

/*
 * Have `run(arg)` called in a thread. A NULL executor is the loop's own: made
 * at first use, ended when the loop closes.
 *
 * Result    what `run` returned. A pointer that nobody takes is lost; see
 *           coil_run_in_executor_take(), and ASYNC_GIVES
 * Errors    what `run` returned, with its detail; COIL_ECLOSED after a
 *           shutdown; COIL_ENOTHREAD; -ENOMEM; -ECANCELED it was
 *           not begun
 * Lifetime  lends `arg` until it is done, which is after `run` has returned
 * Source    asyncio loop.run_in_executor()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_run_in_executor(struct coil_executor *executor, coil_job_fn *run,
                     void *arg);

/* coil_run_in_executor(NULL, run, arg). Source: asyncio.to_thread() */
COIL_API COIL_NODISCARD struct coil_future *coil_to_thread(coil_job_fn *run,
                                                           void *arg);

/* A job that owns its argument. */
struct coil_job {
    coil_job_fn *run;
    void *arg;
    coil_call_fn *free_arg;    /* NULL: nothing is to be freed */
    coil_call_fn *free_result; /* of a pointer that nobody took; or NULL */
};

/*
 * The same, for an argument that is handed over: `free_arg(arg)` is called
 * exactly once, when `run` has returned or is not going to be called, in
 * whichever thread that is. When the await is cancelled it ends at once; a job
 * that had begun goes on, if need be when the loop has closed. A pointer that
 * it returns and that nobody takes goes to `free_result`, in the thread or in
 * the loop.
 *
 *     AWAIT(coil_run_in_executor_take(NULL, &(struct coil_job){
 *         .run = load, .arg = strdup(path), .free_arg = free }));
 *
 * Result    as above
 * Lifetime  takes job->arg, also on error; copies the rest
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_run_in_executor_take(struct coil_executor *executor,
                          const struct coil_job *job);

/*
 * The executor for NULL in this thread's loop, from now on. Once, before the
 * first use of the default one; later aborts.
 *
 * Result    0 or -ENOMEM
 * Lifetime  lends `executor` until the loop has closed
 * Source    asyncio loop.set_default_executor()
 */
COIL_API int coil_set_default_executor(struct coil_executor *executor);

/* Counters, asked for by any thread. */
struct coil_executor_stats {
    unsigned threads; /* there are */
    unsigned idle;    /* of them */
    unsigned waiting; /* jobs in line */
};
COIL_API void coil_executor_get_stats(struct coil_executor *executor,
                                      struct coil_executor_stats *out);

COIL_END_DECLS

#endif
