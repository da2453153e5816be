// SPDX-License-Identifier: MIT
/*
 * executor.c: jobs in threads, and their results back in the loop.
 *
 *     loop                    any of the threads              loop
 *     start() --> in line ----------> running --> remote -----> arrived()
 *        |           |                   |                    future is done
 *        |       cancelled:          cancelled:
 *        |       withdrawn           lent: goes on, and is waited for
 *        |                           taken: abandoned; its result is disposed
 *        '- executor shut down: COIL_ECLOSED
 *
 * A job whose argument is lent lies in its future, which cannot end before it
 * and keeps the loop open (coil_remote_keep_open). One that owns its argument
 * is malloc'ed: it may outlive the loop. Only the loop's thread looks at
 * job->call, so nobody races about who disposes of a result: if the arrival is
 * delivered it is the loop, if the remote refuses it the thread.
 *
 * Invariant: jobs in line beyond the idle threads mean that there are as many
 * threads as there may be. (Python counts idle threads with a semaphore; here
 * both numbers stand under one lock, so that none is made too many.)
 *
 * A job that has run keeps the executor's memory until its loop has been told:
 * who awaits it may cancel or dump it meanwhile, and others free the executor.
 *
 * Each thread joins the one that ended before it; who waits for the end joins
 * the last. So nobody has to be told of single threads.
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
#include <coil/remote.h>

#include "base/check.h"
#include "base/list.h"

#define THREADS_MOST 32

struct coil_executor {
    atomic_size_t refs; /* its owner's; jobs and shutdowns not yet told */
    pthread_mutex_t lock;
    pthread_cond_t work;  /* there is a job, or it is closing */
    pthread_cond_t ended; /* the last thread is about to end */
    struct coili_list line; /* guarded by the lock, as all that follows */
    struct coili_list shutdowns;
    unsigned waiting, idle, threads, made;
    unsigned lent;  /* jobs in line or running that somebody waits for */
    unsigned owned; /* that run and own their argument */
    bool closing;
    bool orphaned;   /* the last thread frees it */
    bool has_ended;  /* a thread is to be joined: */
    pthread_t before;
    unsigned threads_limit; /* as made */
    size_t stack_bytes;
    char name[16];
};

struct call;

struct job {
    struct coil_remote_call arrival;
    struct coili_list link; /* in line; else zero */
    struct coil_executor *executor;
    struct coil_remote *remote;
    struct coil_job what;
    struct coil_result result;
    struct call *call; /* NULL: nobody waits any more */
    bool owns;         /* its argument, and so itself */
};

/* The future of a job. */
struct call {
    struct coil_custom custom;
    struct coil_executor *executor; /* NULL: the default one */
    struct job *job;
    union {
        struct job lent;           /* what `job` points at, unless it owns */
        coil_call_fn *free_result; /* its argument: then this */
    };
};

static struct call *call_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct call, custom.future);
}

static struct job *job_in_line(struct coili_list *link)
{
    return link ? COILI_CONTAINER(link, struct job, link) : NULL;
}

/* ---- A job ------------------------------------------------------------ */

static void free_arg(struct job *job)
{
    if (job->what.free_arg)
        job->what.free_arg(job->what.arg);
}

static void dispose(struct job *job)
{
    if (job->result.kind == COIL_RESULT_POINTER && job->what.free_result)
        job->what.free_result(job->result.value.p);
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

/* Of one that owns its argument. */
static void job_free(struct job *job)
{
    if (job->remote)
        coil_remote_unref(job->remote);
    free(job);
}

/* In the loop again. */
static void arrived(struct coil_remote_call *arrival)
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
            dispose(job);
        job_free(job);
    }
    if (call)
        coil_future_set_result(&call->custom.future, result);
}

/* ---- The threads ------------------------------------------------------ */

static void run(struct job *job)
{
    job->result = job->what.run(job->what.arg);
    if (job->owns)
        free_arg(job);
}

/* The executor may be freed from here on: the job is not counted any more. */
static void give_back(struct job *job)
{
    if (coil_remote_call_soon(job->remote, &job->arrival, arrived))
        return;
    dispose(job); /* only one that owns its argument outlives its loop */
    unref(job->executor);
    job_free(job);
}

/* Locked. */
static void has_run(struct job *job)
{
    if (job->owns)
        job->executor->owned--;
    else
        job->executor->lent--;
}

/* The next job; NULL when there will be none. Locked. */
static struct job *next_job(struct coil_executor *e)
{
    while (coili_list_empty(&e->line)) {
        if (e->closing)
            return NULL;
        e->idle++;
        pthread_cond_wait(&e->work, &e->lock);
        e->idle--;
    }
    struct job *job = job_in_line(coili_list_first(&e->line));
    coili_list_remove(&job->link);
    e->waiting--;
    if (job->owns)
        e->owned++;
    return job;
}

/* Locked; lets go of the lock meanwhile. */
static void join_before(struct coil_executor *e)
{
    while (e->has_ended) {
        pthread_t before = e->before;
        e->has_ended = false;
        pthread_mutex_unlock(&e->lock);
        pthread_join(before, NULL);
        pthread_mutex_lock(&e->lock);
    }
}

struct shutdown {
    struct coil_custom custom;
    struct coil_remote_call arrival;
    struct coili_list link;
    struct coil_remote *remote;
    struct coil_executor *executor;
};

static void is_shut_down(struct coil_remote_call *arrival);

/* Locked. Their loops wait for these calls: none is refused. */
static void tell_shutdowns(struct coil_executor *e)
{
    struct coili_list *link;
    while ((link = coili_list_first(&e->shutdowns))) {
        struct shutdown *s = COILI_CONTAINER(link, struct shutdown, link);
        coili_list_remove(link);
        if (!coil_remote_call_soon(s->remote, &s->arrival, is_shut_down))
            coili_fatal("a loop has closed before a shutdown that it awaits");
    }
}

/* The last act of a thread. Locked. */
static void thread_end(struct coil_executor *e)
{
    join_before(e);
    if (--e->threads == 0 && e->orphaned) {
        pthread_mutex_unlock(&e->lock);
        pthread_detach(pthread_self());
        unref(e);
        return;
    }
    e->before = pthread_self();
    e->has_ended = true;
    if (e->threads == 0)
        tell_shutdowns(e);
    pthread_cond_broadcast(&e->ended);
    pthread_mutex_unlock(&e->lock);
}

/* Whose thread this is. */
static _Thread_local const struct coil_executor *employer;

static void *work(void *arg)
{
    struct coil_executor *e = arg;
    employer = e;
    pthread_mutex_lock(&e->lock);
    char name[32];
    snprintf(name, sizeof name, "%s-%u", e->name, ++e->made);
    name[15] = '\0'; /* the kernel takes no more */
    pthread_setname_np(pthread_self(), name);

    struct job *job;
    while ((job = next_job(e))) {
        pthread_mutex_unlock(&e->lock);
        run(job);
        pthread_mutex_lock(&e->lock);
        has_run(job);
        /* Before the result is there: who awaits it may free the executor. */
        pthread_mutex_unlock(&e->lock);
        give_back(job);
        pthread_mutex_lock(&e->lock);
    }
    thread_end(e);
    return NULL;
}

/* Locked. */
static int thread_begin(struct coil_executor *e)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    if (e->stack_bytes)
        pthread_attr_setstacksize(&attr, e->stack_bytes);
    /* The program's signals are for threads that it knows. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    int err = pthread_create(&thread, &attr, work, e);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (err == 0)
        e->threads++;
    return err == EAGAIN ? COIL_ENOTHREAD : -err;
}

/* Locked. False: it has begun. */
static bool leave_line(struct coil_executor *e, struct job *job)
{
    if (!coili_list_linked(&job->link))
        return false;
    coili_list_remove(&job->link);
    e->waiting--;
    if (!job->owns)
        e->lent--;
    return true;
}

/* ---- Making and freeing ----------------------------------------------- */

static unsigned default_threads(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN) + 4;
    return n > 4 && n < THREADS_MOST ? (unsigned)n : THREADS_MOST;
}

struct coil_executor *
coil_executor_new(const struct coil_executor_options *given)
{
    struct coil_executor_options o = COIL_EXECUTOR_OPTIONS_INIT;
    if (given) {
        coili_check(given->size == sizeof o,
                    "options begin with their size: "
                    "COIL_EXECUTOR_OPTIONS_INIT");
        o = *given;
    }
    struct coil_executor *e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    atomic_init(&e->refs, 1);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->work, NULL);
    pthread_cond_init(&e->ended, NULL);
    coili_list_init(&e->line);
    coili_list_init(&e->shutdowns);
    e->threads_limit = o.threads_limit ? o.threads_limit : default_threads();
    e->stack_bytes = o.stack_bytes;
    snprintf(e->name, sizeof e->name, "%s", o.name ? o.name : "coil");
    return e;
}

/*
 * Locked. Wait until all threads have ended, but for those, if so asked, whose
 * job nobody awaits; and join them.
 */
static void wait_ended(struct coil_executor *e, bool but_owned)
{
    e->closing = true;
    pthread_cond_broadcast(&e->work);
    while (e->threads > (but_owned ? e->owned : 0))
        pthread_cond_wait(&e->ended, &e->lock);
    join_before(e);
}

static void check_employer(const struct coil_executor *e)
{
    coili_check(e != employer, "an executor is freed or shut down in one of "
                               "its own threads, which would wait for itself");
}

void coil_executor_free(struct coil_executor *e)
{
    if (!e)
        return;
    check_employer(e);
    pthread_mutex_lock(&e->lock);
    coili_check(e->lent == 0,
                "an executor is freed with jobs that somebody awaits: "
                "coil_executor_shutdown() waits for them");
    wait_ended(e, false);
    pthread_mutex_unlock(&e->lock);
    unref(e);
}

void coil_executor_get_stats(struct coil_executor *e,
                             struct coil_executor_stats *out)
{
    pthread_mutex_lock(&e->lock);
    *out = (struct coil_executor_stats){ .threads = e->threads,
                                         .idle = e->idle,
                                         .waiting = e->waiting };
    pthread_mutex_unlock(&e->lock);
}

/* ---- The default one -------------------------------------------------- */

/* Of this thread's loop. A remote is that of one loop, in one process. */
static _Thread_local struct {
    struct coil_remote *remote;
    struct coil_executor *executor;
    bool ours;
    struct coil_handle at_close;
} preset;

/* Jobs that nobody awaits: never begun, or left to their threads. */
static void drop_line(struct coil_executor *e)
{
    struct job *job;
    while ((job = job_in_line(coili_list_first(&e->line)))) {
        leave_line(e, job);
        pthread_mutex_unlock(&e->lock);
        job->result = coil_result_error(-ECANCELED);
        if (job->owns)
            free_arg(job);
        arrived(&job->arrival);
        pthread_mutex_lock(&e->lock);
    }
}

/*
 * The loop closes. A thread whose job nobody waits for is left alone, and the
 * last of them frees the executor.
 */
static void free_preset(void *arg)
{
    struct coil_executor *e = arg;
    preset.remote = NULL;
    if (!preset.ours)
        return;
    pthread_mutex_lock(&e->lock);
    drop_line(e);
    wait_ended(e, true);
    bool left = e->orphaned = e->threads > 0;
    pthread_mutex_unlock(&e->lock);
    if (!left)
        unref(e);
}

static void set_preset(struct coil_remote *remote, struct coil_executor *e,
                       bool ours)
{
    preset.remote = remote;
    preset.executor = e;
    preset.ours = ours;
    preset.at_close = (struct coil_handle){ 0 };
    coil_call_at_close(&preset.at_close, free_preset, e);
}

int coil_set_default_executor(struct coil_executor *e)
{
    struct coil_remote *remote = coil_remote_current();
    if (!remote)
        return -ENOMEM;
    coili_check(preset.remote != remote,
                "the default executor is set once, before its first use");
    set_preset(remote, e, false);
    return 0;
}

static struct coil_executor *default_executor(struct coil_remote *remote)
{
    if (preset.remote != remote || !remote) {
        struct coil_executor *e = coil_executor_new(NULL);
        if (!e)
            return NULL;
        set_preset(remote, e, true);
    }
    return preset.executor;
}

/* ---- A call ----------------------------------------------------------- */

/* Locked. A thread for it, if none is idle. */
static int join_line(struct coil_executor *e, struct job *job)
{
    if (e->closing)
        return COIL_ECLOSED;
    if (e->waiting >= e->idle && e->threads < e->threads_limit) {
        int err = thread_begin(e);
        if (err < 0 && e->threads == 0)
            return err;
    }
    coili_list_append(&e->line, &job->link);
    e->waiting++;
    if (!job->owns)
        e->lent++;
    return 0;
}

static int submit(struct call *call, struct job *job)
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
    int err = join_line(e, job);
    pthread_mutex_unlock(&e->lock);
    if (err == 0)
        pthread_cond_signal(&e->work);
    return err;
}

/* It is not going to be run. */
static void withdraw(struct call *call, int err)
{
    call->job->result = coil_result_error(err);
    if (call->job->owns)
        free_arg(call->job);
    arrived(&call->job->arrival);
}

static void start(struct coil_future *f)
{
    struct call *call = call_of(f);
    struct job *job = call->job;
    int err = submit(call, job);
    if (err == 0)
        return;
    if (job->remote) {
        withdraw(call, err);
    } else { /* not even that much memory */
        coil_future_set_error(f, err);
    }
}

static void cancel(struct coil_future *f)
{
    struct call *call = call_of(f);
    struct job *job = call->job;
    pthread_mutex_lock(&job->executor->lock);
    bool left = leave_line(job->executor, job);
    pthread_mutex_unlock(&job->executor->lock);
    if (left) {
        withdraw(call, -ECANCELED);
    } else if (job->owns) {
        job->call = NULL;
        call->job = NULL;
        coil_future_set_error(f, -ECANCELED);
    } /* else its argument is lent: it ends when the job does */
}

/* A job that is still there was never begun. */
static void call_free(struct coil_future *f)
{
    struct call *call = call_of(f);
    if (call->job && call->job->owns) {
        free_arg(call->job);
        job_free(call->job);
    }
    coil_custom_free(call);
}

/* It came in time, but nobody took it. */
static void call_dispose(struct coil_future *f)
{
    struct coil_result r = coil_future_result(f);
    if (r.kind == COIL_RESULT_POINTER)
        call_of(f)->free_result(r.value.p);
}

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
    snprintf(buf, size, "%s", begun ? "thread" : "thread: in line");
}

static const struct coil_future_class call_class = {
    .name = "executor",
    .start = start,
    .cancel = cancel,
    .free = call_free,
    .describe = describe,
};
static const struct coil_future_class giving_class = {
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
    coil_check_lent(arg);
    struct call *call = coil_custom_new(&call_class, sizeof *call);
    if (!call)
        return coil_future_from_nomem();
    call->executor = e;
    call->job = &call->lent;
    call->lent.what = (struct coil_job){ .run = fn, .arg = arg };
    return &call->custom.future;
}

struct coil_future *coil_to_thread(coil_job_fn *fn, void *arg)
{
    return coil_run_in_executor(NULL, fn, arg);
}

struct coil_future *coil_run_in_executor_take(struct coil_executor *e,
                                              const struct coil_job *what)
{
    struct job *job = calloc(1, sizeof *job);
    struct call *call = NULL;
    if (job)
        call = coil_custom_new(what->free_result ? &giving_class : &call_class,
                               offsetof(struct call, free_result) +
                                   sizeof what->free_result);
    if (!call) {
        free(job);
        if (what->free_arg)
            what->free_arg(what->arg);
        return coil_future_from_nomem();
    }
    job->what = *what;
    job->owns = true;
    call->executor = e;
    call->job = job;
    call->free_result = what->free_result;
    return &call->custom.future;
}

/* ---- Shutdown --------------------------------------------------------- */

static struct shutdown *shutdown_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct shutdown, custom.future);
}

/* The threads have nothing more to do than to end. */
static void is_shut_down(struct coil_remote_call *arrival)
{
    struct shutdown *s = COILI_CONTAINER(arrival, struct shutdown, arrival);
    struct coil_executor *e = s->executor;
    coil_remote_allow_close(s->remote);
    pthread_mutex_lock(&e->lock);
    join_before(e);
    pthread_mutex_unlock(&e->lock);
    unref(e);
    coil_future_set_int(&s->custom.future, 0);
}

static void shutdown_start(struct coil_future *f)
{
    struct shutdown *s = shutdown_of(f);
    struct coil_executor *e = s->executor;
    check_employer(e);
    coil_remote_keep_open(s->remote);
    ref(e);
    pthread_mutex_lock(&e->lock);
    e->closing = true;
    pthread_cond_broadcast(&e->work);
    coili_list_append(&e->shutdowns, &s->link);
    if (e->threads == 0)
        tell_shutdowns(e);
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
