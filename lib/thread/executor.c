// SPDX-License-Identifier: MIT
/*
 * executor.c: jobs in threads, and their results back in the loop.
 *
 *     loop                    any of the threads              loop
 *     start() --> queued -----------> running --- call -----> job_arrived():
 *        |           |                   |                    future is done
 *        |       cancelled:          cancelled:
 *        |       withdrawn           lent: goes on, and is waited for
 *        |                           owned: goes on; its result is disposed of
 *        '- executor shut down: COIL_ECLOSED
 *
 * A job whose argument is lent is a field of its future. That future is not
 * done before the job has ended, and keeps the loop open until then
 * (coil_remote_keep_open). A job that owns its argument comes from malloc(): it
 * may outlive the loop.
 *
 * The result of such a job is disposed of by the loop if the call arrives, by
 * the thread if the remote refuses the call. Only the loop's thread uses
 * job->call, so whether a future still wants the result is no race.
 *
 * Invariant: if more jobs are queued than threads are idle, there are as many
 * threads as there may be. (Python counts idle threads with a semaphore; here
 * both numbers are under one lock, so no thread too many is made.)
 *
 * A job that has run holds a reference to the executor until its call has
 * arrived: until then the loop may cancel the future or print it, which locks
 * the executor, while another thread frees the executor.
 *
 * A job that calls pthread_exit() ends its thread. The await of the job fails,
 * and if jobs are queued another thread is started.
 *
 * A thread that ends joins the thread that ended before it, and wait_threads()
 * joins the last one. So no thread is left unjoined, and no list is needed.
 *
 * Lock order: this lock, then the remote's.
 */
#include <coil/executor.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <coil/io.h>
#include <coil/loop.h>
#include <coil/remote.h>

#include "base/check.h"
#include "base/list.h"
#include "base/options.h"

#define DEFAULT_THREADS_MOST 32

struct coil_executor {
    atomic_size_t refs; /* the owner's; jobs and shutdowns until they arrived */
    pthread_mutex_t lock;        /* guards the fields up to `unjoined` */
    pthread_cond_t work;         /* a job is queued, or it is closing */
    pthread_cond_t ended;        /* a thread is about to end */
    struct coili_list queue;     /* of jobs */
    struct coili_list shutdowns; /* futures that wait for the last thread */
    unsigned queued, idle, threads;
    unsigned threads_made; /* for the next one's name */
    unsigned lent; /* jobs, queued or running, that do not own their argument */
    unsigned owned; /* running jobs that own their argument */
    bool closing;
    bool last_thread_frees; /* the loop that owned it has closed */
    bool is_unjoined;       /* a thread has ended and is to be joined: */
    pthread_t unjoined;
    unsigned threads_limit; /* these never change */
    size_t stack_bytes;
    char name[16];
};

struct call;

struct job {
    struct coil_remote_call arrival; /* brings the result to the loop */
    struct coili_list link;          /* in executor->queue; else zero */
    struct coil_executor *executor;
    struct coil_remote *remote;
    struct coil_job given;
    struct coil_result result;
    struct call *call; /* its future; NULL: that was cancelled */
    bool owns;         /* its argument; then it comes from malloc() */
};

/* The future of a job. */
struct call {
    struct coil_custom custom;
    struct coil_executor *executor; /* NULL: the default one */
    struct job *job;
    union {
        struct job lent;           /* `job`, if it does not own its argument; */
        coil_call_fn *free_result; /* this if it does */
    };
};

static struct call *call_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct call, custom.future);
}

static struct job *job_of(struct coili_list *link)
{
    return link ? COILI_CONTAINER(link, struct job, link) : NULL;
}

/* ---- A job ------------------------------------------------------------ */

static void free_arg(struct job *job)
{
    if (job->given.free_arg)
        job->given.free_arg(job->given.arg);
}

static void dispose(struct coil_result result, coil_call_fn *free_result)
{
    if (result.kind == COIL_RESULT_POINTER && free_result)
        free_result(result.value.p);
}

static void unref(struct coil_executor *e)
{
    if (atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_cond_destroy(&e->work);
    pthread_cond_destroy(&e->ended);
    pthread_mutex_destroy(&e->lock);
    free(e);
}

static struct coil_executor *ref(struct coil_executor *e)
{
    atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
    return e;
}

/* A job that owns its argument. `remote` is NULL if it was never begun. */
static void job_free(struct job *job)
{
    if (job->remote)
        coil_remote_unref(job->remote);
    free(job);
}

/*
 * In the loop's thread: the job has ended, or was withdrawn. The future is
 * completed last: a job whose argument is lent is a field of it.
 */
static void job_arrived(struct coil_remote_call *arrival)
{
    struct job *job = COILI_CONTAINER(arrival, struct job, arrival);
    struct call *call = job->call;
    struct coil_result result = job->result;
    unref(job->executor);
    if (!job->owns) {
        coil_remote_allow_close(job->remote);
    } else {
        if (call)
            call->job = NULL;
        else
            dispose(result, job->given.free_result);
        job_free(job);
    }
    if (call)
        coil_future_set_result(&call->custom.future, result);
}

/* ---- The threads ------------------------------------------------------ */

/*
 * What this thread does, if it belongs to an executor. Not a local variable of
 * thread_main(): a cleanup handler is reached by longjmp(), after which the
 * value of such a variable is indeterminate.
 */
struct worker {
    struct coil_executor *executor; /* NULL: this is no thread of an executor */
    struct job *job;                /* NULL: none */
    bool has_run;                   /* job->given.run has returned */
};
static _Thread_local struct worker this_worker;

static void run_job(struct worker *w)
{
    struct job *job = w->job;
    w->has_run = false;
    job->result = job->given.run(job->given.arg);
    w->has_run = true;
    if (job->owns)
        free_arg(job);
}

/*
 * Not locked. The job is not counted any more, so the executor may be freed
 * from here on; the job's reference keeps the executor's memory. The user's
 * code is called last: it may end the thread.
 */
static void send_result(struct job *job)
{
    if (coil_remote_call_soon(job->remote, &job->arrival, job_arrived))
        return;
    /* The loop has closed: so the job owns its argument. */
    struct coil_result result = job->result;
    coil_call_fn *free_result = job->given.free_result;
    unref(job->executor);
    job_free(job);
    dispose(result, free_result);
}

/* Locked. The job has run. */
static void count_run(struct job *job)
{
    if (job->owns)
        job->executor->owned--;
    else
        job->executor->lent--;
}

/*
 * Not locked. A job is counted as ended before its result is sent: when the
 * loop has the result it may free the executor, which aborts if a job with a
 * lent argument is counted. Cancellation is disabled again, in case the job has
 * enabled it: else it could end the thread in the wait for the next job, with
 * the lock held.
 */
static void end_job(struct worker *w)
{
    struct job *job = w->job;
    w->job = NULL;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_mutex_lock(&w->executor->lock);
    count_run(job);
    pthread_mutex_unlock(&w->executor->lock);
    send_result(job);
}

/*
 * Locked; waits without the lock. Take the next job; NULL: the executor is
 * closing, and no job is queued.
 */
static struct job *next_job(struct coil_executor *e)
{
    while (coili_list_empty(&e->queue)) {
        if (e->closing)
            return NULL;
        e->idle++;
        pthread_cond_wait(&e->work, &e->lock);
        e->idle--;
    }
    struct job *job = job_of(coili_list_first(&e->queue));
    coili_list_remove(&job->link);
    e->queued--;
    if (job->owns)
        e->owned++;
    return job;
}

/*
 * Locked; joins without the lock. In a loop: another thread may end meanwhile,
 * which then joins none, and is to be joined here.
 */
static void join_ended(struct coil_executor *e)
{
    while (e->is_unjoined) {
        pthread_t thread = e->unjoined;
        e->is_unjoined = false;
        pthread_mutex_unlock(&e->lock);
        pthread_join(thread, NULL);
        pthread_mutex_lock(&e->lock);
    }
}

/* The future of coil_executor_shutdown(). */
struct shutdown {
    struct coil_custom custom;
    struct coil_remote_call arrival;
    struct coili_list link;
    struct coil_remote *remote;
    struct coil_executor *executor;
};

static void shutdown_arrived(struct coil_remote_call *arrival);

/*
 * Locked. Tell the loops that no thread is left. The calls cannot be refused:
 * shutdown_start() keeps the loops open for them.
 */
static void call_shutdowns(struct coil_executor *e)
{
    struct coili_list *link;
    while ((link = coili_list_first(&e->shutdowns))) {
        struct shutdown *s = COILI_CONTAINER(link, struct shutdown, link);
        coili_list_remove(link);
        if (!coil_remote_call_soon(s->remote, &s->arrival, shutdown_arrived))
            coili_fatal("a loop has closed before a shutdown that it awaits");
    }
}

/*
 * Locked; unlocks. The thread ends, and leaves itself to be joined. If the loop
 * that owned the executor has closed, no thread joins the last one: it detaches
 * itself and frees the executor.
 */
static void thread_end(struct coil_executor *e)
{
    join_ended(e);
    if (--e->threads == 0 && e->last_thread_frees) {
        pthread_mutex_unlock(&e->lock);
        pthread_detach(pthread_self());
        unref(e);
        return;
    }
    e->unjoined = pthread_self();
    e->is_unjoined = true;
    if (e->threads == 0)
        call_shutdowns(e);
    pthread_cond_broadcast(&e->ended);
    pthread_mutex_unlock(&e->lock);
}

/* Locked; runs jobs without the lock, until the executor is closing. */
static void run_jobs(struct worker *w)
{
    struct coil_executor *e = w->executor;
    char name[32];
    snprintf(name, sizeof name, "%s-%u", e->name, ++e->threads_made);
    name[15] = '\0'; /* the kernel's limit */
    pthread_setname_np(pthread_self(), name);

    while ((w->job = next_job(e))) {
        pthread_mutex_unlock(&e->lock);
        run_job(w);
        end_job(w);
        pthread_mutex_lock(&e->lock);
    }
}

static void thread_exited(void *arg);

/*
 * A thread of an executor. A job may call pthread_exit(). pthread_cancel() has
 * no effect, unless a job enables it: then it acts as pthread_exit().
 */
static void *thread_main(void *arg)
{
    struct coil_executor *e = arg;
    this_worker.executor = e;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    pthread_mutex_lock(&e->lock);
    pthread_cleanup_push(thread_exited, &this_worker);
    run_jobs(&this_worker);
    pthread_cleanup_pop(0);
    thread_end(e);
    return NULL;
}

/*
 * Locked. Start a thread, with all signals blocked: the program's signals are
 * for its own threads.
 */
static int thread_begin(struct coil_executor *e)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    if (e->stack_bytes)
        pthread_attr_setstacksize(&attr, e->stack_bytes);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int err = pthread_create(&thread, &attr, thread_main, e);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (err == 0)
        e->threads++;
    return err == EAGAIN ? COIL_ENOTHREAD : -err;
}

/* Locked. False: a thread has taken the job already. */
static bool dequeue(struct coil_executor *e, struct job *job)
{
    if (!coili_list_linked(&job->link))
        return false;
    coili_list_remove(&job->link);
    e->queued--;
    if (!job->owns)
        e->lent--;
    return true;
}

/* Locked; unlocks meanwhile. Fail the first job in line: there is no thread. */
static void fail_first(struct coil_executor *e)
{
    struct job *job = job_of(coili_list_first(&e->queue));
    dequeue(e, job);
    pthread_mutex_unlock(&e->lock);
    job->result = coil_result_error(COIL_ENOTHREAD);
    if (job->owns)
        free_arg(job);
    send_result(job);
    pthread_mutex_lock(&e->lock);
}

/*
 * Not locked. A job, or a function that frees its argument or its result, has
 * called pthread_exit(). A job that did not return has no result. If jobs are
 * queued another thread is started; the jobs fail if this was the last thread
 * and no thread can be started. join_ended() comes first, since it unlocks: a
 * job that is queued meanwhile starts no thread, since this one still counts.
 */
static void thread_exited(void *arg)
{
    struct worker *w = arg;
    struct coil_executor *e = w->executor;
    if (w->job) {
        if (!w->has_run) {
            w->job->result = coil_result_error(COIL_EBROKEN);
            if (w->job->owns)
                free_arg(w->job);
        }
        end_job(w);
    }
    pthread_mutex_lock(&e->lock);
    join_ended(e);
    while (e->queued > e->idle && thread_begin(e) < 0 && e->threads == 1)
        fail_first(e);
    thread_end(e);
}

/* ---- Making and freeing ----------------------------------------------- */

static unsigned default_threads(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN) + 4;
    return n > 4 && n < DEFAULT_THREADS_MOST ? (unsigned)n
                                             : DEFAULT_THREADS_MOST;
}

/* pthreads would refuse a small size, and use the default without an error. */
static void check_stack(size_t bytes)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    bool fine = !bytes || pthread_attr_setstacksize(&attr, bytes) == 0;
    pthread_attr_destroy(&attr);
    if (fine)
        return;
    char rule[64];
    snprintf(rule, sizeof rule, "must be 0, or at least %ld",
             sysconf(_SC_THREAD_STACK_MIN));
    coili_bad_option("coil_executor_new", "stack_bytes", (int64_t)bytes, rule);
}

/* No thread yet: enqueue() starts them as jobs come. */
struct coil_executor *
coil_executor_new(const struct coil_executor_options *given)
{
    struct coil_executor_options o;
    coili_options_read(&o, sizeof o, sizeof o, given, "coil_executor_new",
                       "COIL_EXECUTOR_OPTIONS_INIT");
    check_stack(o.stack_bytes);
    struct coil_executor *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    atomic_init(&e->refs, 1);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    pthread_cond_init(&e->ended, NULL);
    coili_list_init(&e->queue);
    coili_list_init(&e->shutdowns);
    e->threads_limit = o.threads_limit ? o.threads_limit : default_threads();
    e->stack_bytes = o.stack_bytes;
    snprintf(e->name, sizeof e->name, "%s", o.name ? o.name : "coil");
    return e;
}

/*
 * Locked; waits without the lock. Refuse new jobs, wait until all threads have
 * ended, and join them. `except_owned`: do not wait for threads that run a job
 * which owns its argument.
 */
static void wait_threads(struct coil_executor *e, bool except_owned)
{
    e->closing = true;
    pthread_cond_broadcast(&e->work);
    while (e->threads > (except_owned ? e->owned : 0))
        pthread_cond_wait(&e->ended, &e->lock);
    join_ended(e);
}

/* A thread of the executor would wait for itself. */
static void check_other_thread(const struct coil_executor *e)
{
    coili_check(e != this_worker.executor,
                "coil_executor_free or _shutdown in one of its own threads");
}

void coil_executor_free(struct coil_executor *e)
{
    if (!e)
        return;
    check_other_thread(e);
    /* A thread that ended in wait_threads() would keep the lock for ever. */
    int cancel_state;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel_state);
    pthread_mutex_lock(&e->lock);
    coili_check(e->lent == 0, "coil_executor_free: jobs are awaited: "
                              "use coil_executor_shutdown first");
    wait_threads(e, false);
    pthread_mutex_unlock(&e->lock);
    unref(e);
    pthread_setcancelstate(cancel_state, NULL);
}

void coil_executor_get_stats(struct coil_executor *e,
                             struct coil_executor_stats *out)
{
    coili_check(e, "coil_executor_get_stats: executor is NULL");
    coili_check(out, "coil_executor_get_stats: out is NULL");
    pthread_mutex_lock(&e->lock);
    *out = (struct coil_executor_stats){ .threads = e->threads,
                                         .idle = e->idle,
                                         .waiting = e->queued };
    pthread_mutex_unlock(&e->lock);
}

/* ---- The default executor --------------------------------------------- */

/*
 * The default executor of the loop of this thread. It is valid if `remote` is
 * that of the current loop: no other loop, and no forked process, has the same
 * remote.
 */
static _Thread_local struct {
    struct coil_remote *remote;
    struct coil_executor *executor;
    bool owned; /* made by default_executor() */
    struct coil_handle at_close;
} this_loop;

/*
 * Locked; calls the user's code without the lock. Withdraw the queued jobs. No
 * coroutine awaits them: all tasks of the loop have ended.
 */
static void withdraw_all(struct coil_executor *e)
{
    struct job *job;
    while ((job = job_of(coili_list_first(&e->queue)))) {
        dequeue(e, job);
        pthread_mutex_unlock(&e->lock);
        job->result = coil_result_error(-ECANCELED);
        if (job->owns)
            free_arg(job);
        job_arrived(&job->arrival);
        pthread_mutex_lock(&e->lock);
    }
}

/*
 * Locked; runs the loop without the lock, while a detached job whose argument
 * is lent still runs. Such a job may wait for a remote task of this loop, which
 * only a running loop can refuse: wait_threads() would wait for ever.
 */
static void run_until_lent_return(struct coil_executor *e)
{
    while (e->lent > 0) {
        pthread_mutex_unlock(&e->lock);
        coil_loop_pass(coil_loop_current(), COIL_NEVER); /* its call wakes */
        pthread_mutex_lock(&e->lock);
    }
}

/*
 * The loop closes: free the default executor, if coil made it. Threads that run
 * a job which owns its argument go on, and the last of them frees it.
 */
static void free_default(void *arg)
{
    struct coil_executor *e = arg;
    this_loop.remote = NULL;
    if (!this_loop.owned)
        return;
    pthread_mutex_lock(&e->lock);
    withdraw_all(e);
    run_until_lent_return(e);
    wait_threads(e, true);
    bool goes_on = e->last_thread_frees = e->threads > 0;
    pthread_mutex_unlock(&e->lock);
    if (!goes_on)
        unref(e);
}

static void set_default(struct coil_remote *remote, struct coil_executor *e,
                        bool owned)
{
    this_loop.remote = remote;
    this_loop.executor = e;
    this_loop.owned = owned;
    this_loop.at_close = (struct coil_handle){ 0 };
    coil_call_at_close(&this_loop.at_close, free_default, e);
}

int coil_set_default_executor(struct coil_executor *e)
{
    coili_check(e, "coil_set_default_executor: executor is NULL");
    struct coil_remote *remote = coil_remote_current();
    if (!remote)
        return -ENOMEM;
    coili_check(this_loop.remote != remote,
                "coil_set_default_executor: must be set once, "
                "before its first use");
    set_default(remote, e, false);
    return 0;
}

/* It is made at its first use; NULL without memory. */
static struct coil_executor *default_executor(struct coil_remote *remote)
{
    if (this_loop.remote != remote || !remote) {
        struct coil_executor *e = coil_executor_new(NULL);
        if (!e)
            return NULL;
        set_default(remote, e, true);
    }
    return this_loop.executor;
}

/* ---- The future of a job ---------------------------------------------- */

/*
 * Locked. Queue the job. If more jobs are queued than threads are idle, start a
 * thread; if none can be started, the job waits for those that there are.
 */
static int enqueue(struct coil_executor *e, struct job *job)
{
    if (e->closing)
        return COIL_ECLOSED;
    if (e->queued >= e->idle && e->threads < e->threads_limit) {
        int err = thread_begin(e);
        if (err < 0 && e->threads == 0)
            return err;
    }
    coili_list_append(&e->queue, &job->link);
    e->queued++;
    if (!job->owns)
        e->lent++;
    return 0;
}

/*
 * 0, or why the job is not run. If job->remote is set then, the job has its
 * references, and withdraw() drops them.
 */
static int begin_job(struct call *call, struct job *job)
{
    struct coil_remote *remote = coil_remote_current();
    if (!remote)
        return -ENOMEM;
    struct coil_executor *e = call->executor;
    if (!e && !(e = default_executor(remote)))
        return -ENOMEM;
    job->executor = ref(e);
    job->call = call;
    job->remote = remote;
    if (job->owns)
        coil_remote_ref(remote);
    else
        coil_remote_keep_open(remote);
    pthread_mutex_lock(&e->lock);
    int err = enqueue(e, job);
    pthread_mutex_unlock(&e->lock);
    if (err == 0)
        pthread_cond_signal(&e->work);
    return err;
}

/* The job is not going to be run: complete its future with an error. */
static void withdraw(struct call *call, int err)
{
    call->job->result = coil_result_error(err);
    if (call->job->owns)
        free_arg(call->job);
    job_arrived(&call->job->arrival);
}

static void start(struct coil_future *f)
{
    struct call *call = call_of(f);
    struct job *job = call->job;
    int err = begin_job(call, job);
    if (err == 0)
        return;
    if (job->remote) {
        withdraw(call, err);
    } else { /* no memory for a remote or an executor */
        coil_future_set_error(f, err);
    }
}

/*
 * A queued job is withdrawn. A running one that owns its argument is left to
 * its thread, and its result is disposed of. A running one with a lent argument
 * cannot be left: its future ends when the job does.
 */
static void cancel(struct coil_future *f)
{
    struct call *call = call_of(f);
    struct job *job = call->job;
    pthread_mutex_lock(&job->executor->lock);
    bool left = dequeue(job->executor, job);
    pthread_mutex_unlock(&job->executor->lock);
    if (left) {
        withdraw(call, -ECANCELED);
    } else if (job->owns) {
        job->call = NULL;
        call->job = NULL;
        coil_future_set_error(f, -ECANCELED);
    }
}

/* A job that the future still has was never begun. */
static void call_free(struct coil_future *f)
{
    struct call *call = call_of(f);
    if (call->job && call->job->owns) {
        free_arg(call->job);
        job_free(call->job);
    }
    coil_custom_free(call);
}

/* The result came, and was never taken: free it. */
static void call_dispose(struct coil_future *f)
{
    struct coil_result r = coil_future_result(f);
    if (r.kind == COIL_RESULT_POINTER)
        call_of(f)->free_result(r.value.p);
}

/* For await trees: whether the job runs or is queued. */
static void describe(const struct coil_future *f, char *buf, size_t size)
{
    const struct call *call = COILI_CONTAINER(f, const struct call,
                                              custom.future);
    struct job *job = call->job;
    bool begun = false;
    if (job && job->executor) {
        pthread_mutex_lock(&job->executor->lock);
        begun = !coili_list_linked(&job->link);
        pthread_mutex_unlock(&job->executor->lock);
    }
    snprintf(buf, size, "%s", begun ? "thread" : "thread: queued");
}

static const struct coil_future_class call_class = {
    .name = "executor",
    .start = start,
    .cancel = cancel,
    .free = call_free,
    .describe = describe,
};
static const struct coil_future_class disposing_class = {
    .name = "executor",
    .start = start,
    .cancel = cancel,
    .free = call_free,
    .dispose = call_dispose,
    .describe = describe,
};

struct coil_future *coil_run_in_executor(struct coil_executor *e,
                                         coil_job_fn *fn, void *arg)
{
    coili_check(fn, "coil_run_in_executor: fn is NULL");
    coil_check_lent(arg);
    struct call *call = coil_custom_new(&call_class, sizeof *call);
    if (!call)
        return coil_future_from_nomem();
    call->executor = e;
    call->job = &call->lent;
    call->lent.given = (struct coil_job){ .run = fn, .arg = arg };
    return &call->custom.future;
}

struct coil_future *coil_to_thread(coil_job_fn *fn, void *arg)
{
    coili_check(fn, "coil_to_thread: fn is NULL");
    return coil_run_in_executor(NULL, fn, arg);
}

/*
 * The job has memory of its own: so of the union at the end of the future only
 * `free_result` is allocated.
 */
struct coil_future *coil_run_in_executor_take(struct coil_executor *e,
                                              const struct coil_job *given)
{
    coili_check(given, "coil_run_in_executor_take: job is NULL");
    coili_check(given->run, "coil_run_in_executor_take: job->run is NULL");
    struct job *job = calloc(1, sizeof *job);
    struct call *call = NULL;
    if (job)
        call = coil_custom_new(
            given->free_result ? &disposing_class : &call_class,
            offsetof(struct call, free_result) + sizeof given->free_result);
    if (!call) {
        free(job);
        if (given->free_arg)
            given->free_arg(given->arg);
        return coil_future_from_nomem();
    }
    job->given = *given;
    job->owns = true;
    call->executor = e;
    call->job = job;
    call->free_result = given->free_result;
    return &call->custom.future;
}

/* ---- Shutdown --------------------------------------------------------- */

static struct shutdown *shutdown_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct shutdown, custom.future);
}

/* In the loop's thread: all threads have ended; the last is to be joined. */
static void shutdown_arrived(struct coil_remote_call *arrival)
{
    struct shutdown *s = COILI_CONTAINER(arrival, struct shutdown, arrival);
    struct coil_executor *e = s->executor;
    coil_remote_allow_close(s->remote);
    pthread_mutex_lock(&e->lock);
    join_ended(e);
    pthread_mutex_unlock(&e->lock);
    unref(e);
    coil_future_set_int(&s->custom.future, 0);
}

/*
 * The future has no cancel(): it is completed in any case, and the loop is kept
 * open for it.
 */
static void shutdown_start(struct coil_future *f)
{
    struct shutdown *s = shutdown_of(f);
    struct coil_executor *e = s->executor;
    check_other_thread(e);
    coil_remote_keep_open(s->remote);
    ref(e);
    pthread_mutex_lock(&e->lock);
    e->closing = true;
    pthread_cond_broadcast(&e->work);
    coili_list_append(&e->shutdowns, &s->link);
    if (e->threads == 0)
        call_shutdowns(e);
    pthread_mutex_unlock(&e->lock);
}

static const struct coil_future_class shutdown_class = {
    .name = "executor shutdown",
    .start = shutdown_start,
};

struct coil_future *coil_executor_shutdown(struct coil_executor *e)
{
    struct coil_remote *remote = coil_remote_current();
    if (remote && !e)
        e = default_executor(remote);
    struct shutdown *s = NULL;
    if (remote && e)
        s = coil_custom_new(&shutdown_class, sizeof *s);
    if (!s)
        return coil_future_from_nomem();
    s->remote = remote;
    s->executor = e;
    return &s->custom.future;
}
