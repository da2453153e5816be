// SPDX-License-Identifier: MIT
/*
 * resolve.c: names to addresses, in threads of coil's own.
 *
 * getaddrinfo() blocks and cannot be cancelled. Each lookup has a thread of
 * its own, at most THREADS at once; the others stand in line. Who asks for a
 * name that is being looked up waits for the same answer; an answer is kept
 * for ten seconds, an error is not.
 *
 *     coil_resolve()  --> entry (host, port) --> lookup task --> thread
 *       waits for the      in the loop's           of the loop: a caller that
 *       entry's event      table                   is cancelled leaves it be
 *
 * When the loop closes the lookup tasks are cancelled: a thread that still
 * hangs in getaddrinfo() is left alone with its job and frees it at the end.
 * The lock of the job decides who of the two was first.
 *
 * What a thread needs is malloc'ed: it may outlive the loop's memory.
 */
#include <coil/net.h>

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coil/event.h>
#include <coil/io.h>
#include <coil/semaphore.h>
#include <coil/wait.h>

#include "runtime.h"

#define THREADS 4
#define STACK_BYTES (256 * 1024)
#define KEEP COIL_SECONDS(10)
#define ENTRIES_MOST 64
#define HOST_MOST 255

struct entry {
    struct coili_list link; /* newest use last */
    struct coil_event answered;
    unsigned users;
    bool pending;
    int64_t expires;
    int err; /* EAI_*, or 0 */
    uint16_t port;
    char host[HOST_MOST + 1];
    struct coil_addrs addrs;
};

struct coili_resolver {
    struct coili_list entries;
    size_t n;
    struct coil_semaphore threads;
};

/* ---- The thread ------------------------------------------------------- */

struct job {
    pthread_mutex_t lock;
    bool abandoned, finished; /* guarded by it */
    pthread_t thread;
    struct coil_loop *loop;
    struct coil_handle handle;
    struct coil_event done;
    int err;
    uint16_t port;
    struct coil_addrs addrs;
    char host[HOST_MOST + 1];
};

static void job_free(struct job *job)
{
    pthread_mutex_destroy(&job->lock);
    free(job);
}

static void tell(void *arg)
{
    struct job *job = arg;
    coil_event_set(&job->done);
}

static void copy_addresses(struct coil_addrs *out, const struct addrinfo *list)
{
    out->n = 0;
    for (; list && out->n < COIL_RESOLVE_MAX; list = list->ai_next) {
        struct coil_addr *a = &out->list[out->n];
        if (list->ai_addrlen > sizeof a->u)
            continue;
        a->len = list->ai_addrlen;
        memcpy(&a->u, list->ai_addr, list->ai_addrlen);
        out->n++;
    }
}

static void *look_up(void *arg)
{
    struct job *job = arg;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV };
    struct addrinfo *list = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", job->port);
    job->err = getaddrinfo(job->host, port, &hints, &list);
    if (job->err == 0) {
        copy_addresses(&job->addrs, list);
        freeaddrinfo(list);
    }
    pthread_mutex_lock(&job->lock);
    bool abandoned = job->abandoned;
    job->finished = true;
    if (!abandoned)
        coil_call_soon_threadsafe(job->loop, &job->handle, tell, job);
    pthread_mutex_unlock(&job->lock);
    if (abandoned)
        job_free(job);
    return NULL;
}

static int job_begin(struct job **out, const struct entry *entry)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return -ENOMEM;
    pthread_mutex_init(&job->lock, NULL);
    job->loop = coili_loop;
    job->port = entry->port;
    coil_event_init(&job->done);
    memcpy(job->host, entry->host, sizeof job->host);

    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    /* The program's signals are for threads that it knows. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&job->thread, &attr, look_up, job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (err) {
        job_free(job);
        return -err;
    }
    *out = job;
    return 0;
}

/* The loop needs it no more. A thread that has not finished keeps it. */
static void job_end(struct job *job)
{
    pthread_mutex_lock(&job->lock);
    bool finished = job->finished;
    job->abandoned = true;
    pthread_t thread = job->thread;
    pthread_mutex_unlock(&job->lock);
    if (!finished) {
        pthread_detach(thread);
        return;
    }
    pthread_join(thread, NULL);
    coil_handle_cancel(&job->handle);
    job_free(job);
}

/* ---- Entries ---------------------------------------------------------- */

static void entry_remove(struct coili_resolver *r, struct entry *e)
{
    coili_list_remove(&e->link);
    r->n--;
    coil_free(e, sizeof *e);
}

static void close_resolver(struct coil_loop *loop)
{
    struct coili_resolver *r = loop->resolver;
    struct coili_list *link;
    while ((link = coili_list_first(&r->entries)))
        entry_remove(r, COILI_CONTAINER(link, struct entry, link));
    coil_free(r, sizeof *r);
    loop->resolver = NULL;
}

static struct coili_resolver *resolver(void)
{
    struct coil_loop *loop = coili_loop;
    if (loop->resolver)
        return loop->resolver;
    struct coili_resolver *r = coil_alloc(sizeof *r);
    if (!r)
        return NULL;
    coili_list_init(&r->entries);
    r->n = 0;
    coil_semaphore_init(&r->threads, THREADS);
    loop->resolver = r;
    loop->at_close = close_resolver;
    return r;
}

static struct entry *entry_find(struct coili_resolver *r, const char *host,
                                uint16_t port)
{
    for (struct coili_list *l = r->entries.next; l != &r->entries;
         l = l->next) {
        struct entry *e = COILI_CONTAINER(l, struct entry, link);
        if (e->port == port && strcmp(e->host, host) == 0)
            return e;
    }
    return NULL;
}

/* Nobody uses it, and the next to ask must look it up again. */
static bool stale(const struct entry *e)
{
    return !e->pending && !e->users &&
           (e->err || e->expires <= coil_now());
}

static void make_room(struct coili_resolver *r)
{
    struct coili_list *l = r->entries.next;
    while (r->n >= ENTRIES_MOST && l != &r->entries) {
        struct entry *e = COILI_CONTAINER(l, struct entry, link);
        l = l->next;
        if (!e->pending && !e->users)
            entry_remove(r, e);
    }
}

static struct entry *entry_new(struct coili_resolver *r, const char *host,
                               uint16_t port)
{
    make_room(r);
    struct entry *e = coil_alloc(sizeof *e);
    if (!e)
        return NULL;
    memset(e, 0, sizeof *e);
    coil_event_init(&e->answered);
    e->port = port;
    snprintf(e->host, sizeof e->host, "%s", host);
    coili_list_append(&r->entries, &e->link);
    r->n++;
    return e;
}

/* ---- The lookup, a task of the loop ----------------------------------- */

struct lookup {
    struct coil_coro coro;
    struct coili_resolver *resolver;
    struct entry *entry; /* pending: it stays */
    struct job *job;
    int err;
};

static void lookup(struct coil_coro *co)
{
    COIL_ASYNC(lookup, my) {
        my->err = EAI_MEMORY;
        COIL_HOLD(&my->resolver->threads);
        if (job_begin(&my->job, my->entry) < 0)
            COIL_RETURN(0);
        COIL_AWAIT(coil_event_wait(&my->job->done));
        my->err = my->job->err;
        my->entry->addrs = my->job->addrs;
        my->entry->expires = coil_now() + KEEP;

    COIL_FINALLY;
        if (my->job)
            job_end(my->job);
        my->entry->err = my->err;
        my->entry->pending = false;
        coil_event_set(&my->entry->answered);
    }
}

static int lookup_begin(struct coili_resolver *r, struct entry *e)
{
    struct coil_future *call = COIL_CALL(lookup, .resolver = r, .entry = e,
                                         .err = EAI_MEMORY);
    if (coil_future_done(call))
        return -ENOMEM;
    e->pending = true;
    coil_event_clear(&e->answered);
    struct coil_task *task = coil_spawn(call);
    if (coil_task_done(task))
        return -ENOMEM;
    coil_detach(task);
    return 0;
}

/* ---- coil_resolve ----------------------------------------------------- */

struct resolve {
    struct coil_coro coro;
    struct coil_addrs *out;
    struct entry *entry;
    int err;
    uint16_t port;
    char host[HOST_MOST + 1];
};

static int find_or_begin(struct resolve *my)
{
    struct coili_resolver *r = resolver();
    if (!r)
        return -ENOMEM;
    struct entry *e = entry_find(r, my->host, my->port);
    if (e && stale(e)) {
        entry_remove(r, e);
        e = NULL;
    }
    if (!e) {
        e = entry_new(r, my->host, my->port);
        if (!e)
            return -ENOMEM;
        int err = lookup_begin(r, e);
        if (err < 0) {
            if (!e->pending)
                entry_remove(r, e);
            return err;
        }
    }
    e->users++;
    my->entry = e;
    return 0;
}

static void resolve(struct coil_coro *co)
{
    COIL_ASYNC(resolve, my) {
        struct coil_addr addr;
        if (coil_addr_ip(&addr, my->host, my->port) == 0) {
            my->out->n = 1;
            my->out->list[0] = addr;
            COIL_RETURN(0);
        }
        my->err = find_or_begin(my);
        if (my->err < 0)
            COIL_FAIL(my->err);
        if (my->entry->pending)
            COIL_AWAIT(coil_event_wait(&my->entry->answered));
        if (my->entry->err == EAI_MEMORY)
            COIL_FAIL(-ENOMEM);
        if (my->entry->err)
            COIL_FAIL_WITH(COIL_ERESOLVE, COIL_DETAIL(COIL_PHASE_RESOLVE,
                                                      my->entry->err));
        *my->out = my->entry->addrs;

    COIL_FINALLY;
        if (my->entry)
            my->entry->users--;
    }
}

static struct coil_future *no_such_name(void)
{
    struct coil_future *f = coil_future_new();
    if (!coil_future_done(f))
        coil_future_set_error_detail(f, COIL_ERESOLVE,
                                     COIL_DETAIL(COIL_PHASE_RESOLVE,
                                                 EAI_NONAME));
    return f;
}

struct coil_future *coil_resolve(struct coil_addrs *out, const char *host,
                                 uint16_t port)
{
    size_t len = strlen(host);
    coil_check_lent(out);
    if (len == 0 || len > HOST_MOST)
        return no_such_name();
    struct coil_future *f = COIL_CALL(resolve, .out = out, .port = port);
    if (!coil_future_done(f))
        memcpy(((struct resolve *)(void *)f)->host, host, len + 1);
    return f;
}
