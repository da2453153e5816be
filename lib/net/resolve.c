// SPDX-License-Identifier: MIT
/*
 * resolve.c: names to addresses, in threads of coil's own.
 *
 * getaddrinfo() blocks and cannot be cancelled. So each lookup has a thread of
 * its own, and each name is an entry in a table of the loop. Tasks that ask for
 * the same name wait for one entry. An answer is kept for a while, an error is
 * not.
 *
 *                    room             thread                answer
 *     coil_resolve() ----> queued -------------> looked up -------> kept
 *      waits for the          |                      |
 *      entry's event          | no task waits        | error
 *                             +-------> freed <------+
 *
 * There are two bounds. Each has a queue in the order of arrival.
 *
 * - options.resolver_threads_limit names are looked up at once, the others are
 *   queued. If all tasks that wait for a name are cancelled, a lookup goes on,
 *   but a queued name is freed.
 * - options.resolver_names_limit names are in the table. A name in use (queued,
 *   looked up, or answered while tasks have still to take the answer) holds a
 *   permit of `room`. A kept answer holds no permit; the one that was used
 *   longest ago is freed for a new name. Invariant: if a task has a permit and
 *   the table is full, there is a kept answer.
 *
 * When the loop closes, a thread may still hang in getaddrinfo(). It keeps its
 * job and frees it at its end; job->lock decides whether the thread or the loop
 * came first. A job is malloc'ed, since it may outlive the loop's memory.
 */
#include <coil/resolve.h>

#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <coil/event.h>
#include <coil/io.h>
#include <coil/semaphore.h>

#include "base/check.h"
#include "base/list.h"
#include "base/time.h"
#include "core/loop.h"

#define STACK_BYTES (256 * 1024)
#define HOST_MOST 255
#define BUCKETS_MOST 65536

struct entry {
    struct coili_list bucket; /* zero: not found by new tasks any more */
    struct coili_list link;   /* in queued, asked or kept; else zero */
    struct coil_event answered;
    struct job *job; /* while it is looked up */
    unsigned users;  /* tasks that wait for the answer or have to take it */
    int err;         /* the answer: an error and its code */
    int code;
    size_t n;        /* the answer: addresses */
    struct coil_addr *addrs;
    int64_t expires;
    char host[];
};

struct coili_resolver {
    struct coil_handle closing;
    struct coil_semaphore room;
    struct coili_list queued; /* entries that wait for a thread */
    struct coili_list asked;  /* entries that have a thread */
    struct coili_list kept;   /* answers without users; last used, last */
    unsigned threads;
    size_t names, mask;
    struct coili_list buckets[];
};

/* ---- The thread ------------------------------------------------------- */

struct job {
    pthread_mutex_t lock;
    bool abandoned, finished; /* guarded by `lock` */
    pthread_t thread;
    struct coil_loop *loop;
    struct entry *entry; /* only for the loop's thread */
    struct coil_handle handle;
    int err;        /* EAI_* */
    int system_err; /* errno */
    struct addrinfo *list;
    char host[];
};

static void job_finished(void *arg);

static void job_free(struct job *job)
{
    if (job->list)
        freeaddrinfo(job->list);
    pthread_mutex_destroy(&job->lock);
    free(job);
}

/*
 * The thread. When it has finished, the loop is called, unless it was closed
 * meanwhile: then the job is the thread's, and is freed here.
 */
static void *look_up(void *arg)
{
    struct job *job = arg;
    /*
     * Without AI_ADDRCONFIG, which leaves out the addresses of a family that
     * the machine has only on its loopback: on a machine with IPv4 only,
     * ip6-localhost (::1) would have no address. Addresses that cannot be
     * reached come last in the list (RFC 6724).
     */
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *list = NULL;
    errno = 0;
    job->err = getaddrinfo(job->host, NULL, &hints, &list);
    job->system_err = errno;
    if (job->err == 0)
        job->list = list;
    pthread_mutex_lock(&job->lock);
    bool abandoned = job->abandoned;
    job->finished = true;
    if (!abandoned)
        coil_call_soon_threadsafe(job->loop, &job->handle, job_finished, job);
    pthread_mutex_unlock(&job->lock);
    if (abandoned)
        job_free(job);
    return NULL;
}

/* A small stack is enough for getaddrinfo(), and there may be many threads. */
static int thread_begin(struct job *job)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    /* The program's signals must go to its own threads. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&job->thread, &attr, look_up, job);
    /* EINVAL: the program's thread-local variables are too large for it. */
    if (err == EINVAL)
        err = pthread_create(&job->thread, NULL, look_up, job);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return err == EAGAIN ? COIL_ENOTHREAD : -err;
}

/* Begin the lookup of an entry; after an error the entry has no job. */
static int job_begin(struct entry *e)
{
    size_t size = strlen(e->host) + 1;
    struct job *job = calloc(1, sizeof *job + size);
    if (!job)
        return -ENOMEM;
    pthread_mutex_init(&job->lock, NULL);
    job->loop = coili_loop;
    job->entry = e;
    memcpy(job->host, e->host, size);
    int err = thread_begin(job);
    if (err < 0) {
        job_free(job);
        return err;
    }
    e->job = job;
    return 0;
}

/*
 * The loop closes. A thread that has not finished keeps the job. One that has
 * finished may have called the loop: that call must not run.
 */
static void job_abandon(struct job *job)
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

/* ---- The table -------------------------------------------------------- */

/* The table itself is freed with the loop's memory. */
static void close_resolver(void *arg)
{
    struct coili_resolver *r = arg;
    struct coili_list *link;
    while ((link = coili_list_first(&r->asked))) {
        coili_list_remove(link);
        job_abandon(COILI_CONTAINER(link, struct entry, link)->job);
    }
}

/* The loop's table; made at the first lookup. NULL if there is no memory. */
static struct coili_resolver *resolver(void)
{
    struct coil_loop *loop = coili_loop;
    if (loop->resolver)
        return loop->resolver;
    size_t n = 1;
    while (n < loop->options.resolver_names_limit && n < BUCKETS_MOST)
        n *= 2;
    struct coili_resolver *r = coil_alloc(sizeof *r + n * sizeof *r->buckets);
    if (!r)
        return NULL;
    coil_semaphore_init(&r->room, loop->options.resolver_names_limit);
    coili_list_init(&r->queued);
    coili_list_init(&r->asked);
    coili_list_init(&r->kept);
    r->threads = 0;
    r->names = 0;
    r->mask = n - 1;
    for (size_t i = 0; i < n; i++)
        coili_list_init(&r->buckets[i]);
    loop->resolver = r;
    r->closing = (struct coil_handle){ 0 };
    coil_call_at_close(&r->closing, close_resolver, r);
    return r;
}

/* FNV-1a */
static struct coili_list *bucket_of(struct coili_resolver *r, const char *host)
{
    uint32_t hash = 2166136261u;
    for (; *host; host++)
        hash = (hash ^ (unsigned char)*host) * 16777619u;
    return &r->buckets[(hash ^ hash >> 16) & r->mask];
}

static size_t entry_bytes(const char *host)
{
    return sizeof(struct entry) + strlen(host) + 1;
}

static struct entry *entry_new(struct coili_resolver *r, const char *host)
{
    struct entry *e = coil_alloc(entry_bytes(host));
    if (!e)
        return NULL;
    memset(e, 0, sizeof *e);
    coil_event_init(&e->answered);
    memcpy(e->host, host, strlen(host) + 1);
    coili_list_append(bucket_of(r, host), &e->bucket);
    r->names++;
    return e;
}

static void entry_free(struct coili_resolver *r, struct entry *e)
{
    coili_list_remove(&e->bucket);
    coili_list_remove(&e->link);
    coil_free(e->addrs, e->n * sizeof *e->addrs);
    coil_free(e, entry_bytes(e->host));
    r->names--;
}

/* The caller has a permit: so if the table is full, `kept` is not empty. */
static void make_room(struct coili_resolver *r)
{
    if (r->names >= coili_loop->options.resolver_names_limit)
        entry_free(r, COILI_CONTAINER(coili_list_first(&r->kept), struct entry,
                                      link));
}

static bool is_answered(const struct entry *e)
{
    return coil_event_is_set(&e->answered);
}

static struct entry *entry_find(struct coili_resolver *r, const char *host)
{
    struct coili_list *bucket = bucket_of(r, host);
    for (struct coili_list *l = bucket->next; l != bucket; l = l->next) {
        struct entry *e = COILI_CONTAINER(l, struct entry, bucket);
        if (strcmp(e->host, host) == 0)
            return e;
    }
    return NULL;
}

/*
 * A user has left, or the lookup has ended. An entry that is no longer in use
 * is kept or freed, and its permit is free for another name.
 */
static void entry_unused(struct coili_resolver *r, struct entry *e)
{
    if (e->users > 0 || e->job)
        return;
    if (is_answered(e) && coili_list_linked(&e->bucket))
        coili_list_append(&r->kept, &e->link);
    else
        entry_free(r, e);
    coil_semaphore_release(&r->room);
}

/* ---- The answer ------------------------------------------------------- */

static void answer(struct entry *e, int err, int code)
{
    int64_t keep = coili_loop->options.resolver_keep_ns;
    e->err = err;
    e->code = code;
    e->expires = coili_deadline(coil_now(), keep);
    if (err < 0 || keep < 0)
        coili_list_remove(&e->bucket);
    coil_event_set(&e->answered);
}

static bool is_usable(const struct addrinfo *info)
{
    return info->ai_family == AF_INET || info->ai_family == AF_INET6;
}

/* Copy the first IPv4 and IPv6 addresses, in the order of getaddrinfo(). */
static int copy_addresses(struct entry *e, const struct addrinfo *list)
{
    size_t n = 0;
    for (const struct addrinfo *l = list; l && n < COIL_RESOLVE_LIMIT;
         l = l->ai_next)
        n += is_usable(l);
    if (n == 0)
        return COIL_ERESOLVE;
    e->addrs = coil_alloc(n * sizeof *e->addrs);
    if (!e->addrs)
        return -ENOMEM;
    memset(e->addrs, 0, n * sizeof *e->addrs);
    for (; e->n < n; list = list->ai_next) {
        if (!is_usable(list))
            continue;
        struct coil_addr *a = &e->addrs[e->n++];
        a->len = list->ai_addrlen;
        memcpy(&a->u, list->ai_addr, list->ai_addrlen);
    }
    return 0;
}

/*
 * If the process has no descriptor left, glibc cannot open /etc/hosts or a
 * socket, and returns EAI_NONAME or EAI_AGAIN. Only errno, which was 0 before
 * the call, tells these two cases from the usual ones.
 */
static int error_of(const struct job *job)
{
    bool is_short = job->system_err == EMFILE || job->system_err == ENFILE;
    if (job->err == EAI_MEMORY)
        return -ENOMEM;
    if (is_short || (job->err == EAI_SYSTEM && job->system_err))
        return -job->system_err;
    return COIL_ERESOLVE;
}

static void answer_with(struct entry *e, const struct job *job)
{
    int err = job->err ? error_of(job) : copy_addresses(e, job->list);
    int code = job->err ? job->err : EAI_NONAME; /* the list has no address */
    answer(e, err, err == COIL_ERESOLVE ? code : 0);
}

/*
 * Begin lookups of queued names. If no thread can be started, the name stays
 * queued until one of our threads ends; without such a thread it fails.
 */
static void begin(struct coili_resolver *r)
{
    struct coili_list *link;
    while (r->threads < coili_loop->options.resolver_threads_limit &&
           (link = coili_list_first(&r->queued))) {
        struct entry *e = COILI_CONTAINER(link, struct entry, link);
        int err = job_begin(e);
        if (err == COIL_ENOTHREAD && r->threads > 0)
            break;
        coili_list_remove(link);
        if (err < 0) {
            answer(e, err, 0);
            continue;
        }
        coili_list_append(&r->asked, link);
        r->threads++;
    }
}

/* Called in the loop when the thread of a job has finished. */
static void job_finished(void *arg)
{
    struct job *job = arg;
    struct coili_resolver *r = coili_loop->resolver;
    struct entry *e = job->entry;
    pthread_join(job->thread, NULL);
    r->threads--;
    coili_list_remove(&e->link);
    e->job = NULL;
    answer_with(e, job);
    job_free(job);
    entry_unused(r, e);
    begin(r);
}

/* ---- coil_resolve ----------------------------------------------------- */

struct resolve {
    struct coil_coro coro;
    struct coil_addrs *out;
    struct coili_resolver *resolver;
    struct entry *entry; /* this task is one of its users */
    bool has_room;       /* has a permit that no entry holds */
    uint16_t port;
    char host[HOST_MOST + 1];
};

/* "localhost", "x.localhost", with or without a dot at the end. */
static bool is_this_machine(const char *host)
{
    static const char name[] = "localhost";
    size_t len = strlen(host), size = sizeof name - 1;
    if (len > 0 && host[len - 1] == '.')
        len--;
    return len >= size && strncasecmp(host + len - size, name, size) == 0 &&
           (len == size || host[len - size - 1] == '.');
}

/* Numeric hosts and "localhost" need no lookup (RFC 6761 6.3). */
static bool is_known(struct resolve *my)
{
    struct coil_addr addr, six;
    if (coil_addr_from_ip(&addr, my->host, my->port) == 0) {
        my->out->n = 1;
        my->out->list[0] = addr;
        return true;
    }
    if (!is_this_machine(my->host))
        return false;
    coil_addr_from_ip(&addr, "127.0.0.1", my->port);
    coil_addr_from_ip(&six, "::1", my->port);
    my->out->n = 2;
    my->out->list[0] = addr;
    my->out->list[1] = six;
    return true;
}

static void give_addresses(struct resolve *my, const struct entry *e)
{
    my->out->n = e->n;
    for (size_t i = 0; i < e->n; i++) {
        struct coil_addr *a = &my->out->list[i];
        *a = e->addrs[i];
        if (a->u.sa.sa_family == AF_INET)
            a->u.in.sin_port = htons(my->port);
        else
            a->u.in6.sin6_port = htons(my->port);
    }
}

/* Take an answer that is there already and has not expired. */
static bool use_answer(struct resolve *my)
{
    struct entry *e = entry_find(my->resolver, my->host);
    if (!e || !is_answered(e))
        return false;
    bool kept = coili_list_linked(&e->link);
    if (e->expires <= coil_now()) {
        coili_list_remove(&e->bucket); /* tasks that wait still take it */
        if (kept)
            entry_free(my->resolver, e);
        return false;
    }
    if (kept) {
        coili_list_remove(&e->link);
        coili_list_append(&my->resolver->kept, &e->link);
    }
    give_addresses(my, e);
    return true;
}

/* Wait for the entry of this name, if there is one. */
static bool join_others(struct resolve *my)
{
    struct entry *e = entry_find(my->resolver, my->host);
    if (!e)
        return false;
    e->users++;
    my->entry = e;
    return true;
}

/* Make an entry, which takes over the permit, and queue it. */
static bool queue_name(struct resolve *my)
{
    struct coili_resolver *r = my->resolver;
    make_room(r);
    struct entry *e = entry_new(r, my->host);
    if (!e)
        return false;
    my->has_room = false;
    e->users = 1;
    my->entry = e;
    coili_list_append(&r->queued, &e->link);
    begin(r);
    return true;
}

static void give_room_back(struct resolve *my)
{
    if (my->has_room)
        coil_semaphore_release(&my->resolver->room);
    my->has_room = false;
}

/*
 * Asked for again after the wait for room: another task may have brought the
 * answer, or an entry for the same name, meanwhile.
 */
static void resolve(struct coil_coro *co)
{
    COIL_ASYNC(resolve, my) {
        if (is_known(my))
            COIL_RETURN(0);
        my->resolver = resolver();
        if (!my->resolver)
            COIL_FAIL(-ENOMEM);
        if (use_answer(my))
            COIL_RETURN(0);
        if (!join_others(my)) {
            COIL_AWAIT(coil_semaphore_acquire(&my->resolver->room));
            my->has_room = true;
            if (use_answer(my))
                COIL_RETURN(0);
            if (!join_others(my) && !queue_name(my))
                COIL_FAIL(-ENOMEM);
            give_room_back(my);
        }
        COIL_AWAIT(coil_event_wait(&my->entry->answered));
        if (my->entry->err)
            COIL_FAIL_WITH(my->entry->err, COIL_DETAIL(COIL_PHASE_RESOLVE,
                                                       my->entry->code));
        give_addresses(my, my->entry);

    COIL_FINALLY;
        give_room_back(my);
        if (my->entry) {
            my->entry->users--;
            entry_unused(my->resolver, my->entry);
        }
    }
}

static struct coil_future *no_such_name(void)
{
    return coil_future_from_error(COIL_ERESOLVE,
                                  COIL_DETAIL(COIL_PHASE_RESOLVE, EAI_NONAME));
}

struct coil_future *coil_resolve(struct coil_addrs *out, const char *host,
                                 uint16_t port)
{
    coili_check(out, "coil_resolve: out is NULL");
    coili_check(host, "coil_resolve: host is NULL");
    size_t len = strlen(host);
    coil_check_lent(out);
    if (len == 0 || len > HOST_MOST)
        return no_such_name();
    struct coil_future *f = COIL_CALL(resolve, .out = out, .port = port);
    if (!coil_future_done(f))
        memcpy(((struct resolve *)(void *)f)->host, host, len + 1);
    return f;
}
