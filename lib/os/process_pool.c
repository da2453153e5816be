// SPDX-License-Identifier: MIT
/*
 * process_pool.c: child processes that answer requests.
 *
 *     line of calls --> serve() --- socket ---> child: fn(request, reply)
 *                         one per child, one request at a time
 *                       watch() --- pidfd ----> its end
 *
 * All children are forked when the pool is opened, none later, because later
 * the program may have threads. So a child that dies is not replaced: it breaks
 * the pool, as in Python.
 *
 * A request is copied into the worker's buffer before it is sent, and the reply
 * is copied out of that buffer. So a call that is cancelled ends at once: its
 * worker forgets the call and drops the reply.
 *
 * Only watch() waits for the end of a child: it reaps the child and breaks the
 * pool with its exit status or signal. serve() waits only for the socket. When
 * the socket ends the child is dying, or a function has closed the descriptor:
 * serve() kills the child, which has no effect on a dead one.
 *
 * Both are tasks of the loop. The last of them that ends closes the pool.
 */
#include <coil/process_pool.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <coil/coroutine.h>
#include <coil/io.h>
#include <coil/task.h>
#include <coil/wait.h>
#include <coil/waiters.h>

#include "base/check.h"
#include "base/descriptor.h"
#include "base/list.h"
#include "base/options.h"

#define MESSAGE_MOST 65536
#define MESSAGE_LIMIT ((size_t)1 << 30)
#define WORKERS_LIMIT 1024

/* In front of a request, and of a reply. */
struct request_head {
    coil_process_fn *fn;
    uint64_t len, size;
};
struct reply_head {
    int64_t result, padding;
};

#define HEAD 32 /* a multiple of 16: the message behind it is aligned */
_Static_assert(sizeof(struct request_head) <= HEAD, "a head is short");

struct call {
    struct coil_custom custom;
    struct coili_list link; /* in pool->line, until a worker takes it */
    struct coil_process_pool *pool;
    struct worker *worker; /* that answers it; or NULL */
    coil_process_fn *fn;
    const void *request;
    void *reply;
    size_t len, size;
};

struct closing {
    struct coil_custom custom;
    struct coil_process_pool *pool;
};

struct worker {
    struct coil_process_pool *pool;
    struct call *call; /* NULL: idle, or the call was cancelled */
    bool busy, leaving; /* leaving: the pool closes, its child is to end */
    pid_t pid;          /* 0: reaped, or never forked */
    int pidfd, fd;
    char *buffer; /* HEAD and a message; the child uses two of these */
};

struct coil_process_pool {
    struct coil_custom *closed; /* made here: closing needs no memory */
    struct coili_list line;
    struct coil_waiters idle;
    int err; /* 0, or the pool is broken: the error of all calls */
    uint32_t detail;
    bool closing;
    bool orphaned;    /* opening has failed: the last task frees the pool */
    unsigned running; /* tasks */
    size_t message_max, room; /* room: rounded up to a multiple of 16 */
    unsigned n;
    struct worker workers[];
};

/* ---- The child -------------------------------------------------------- */

static void receive_all(int fd, char *buf, size_t len)
{
    while (len > 0) {
        ssize_t n = recv(fd, buf, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(0); /* the parent has closed the socket, or is gone */
        buf += n;
        len -= (size_t)n;
    }
}

static void send_all(int fd, const char *buf, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, buf, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            _exit(0);
        buf += n;
        len -= (size_t)n;
    }
}

/* All descriptors above stderr but this one. */
static void close_all_but(int fd)
{
    if (fd > 3)
        syscall(SYS_close_range, 3u, (unsigned)fd - 1, 0);
    syscall(SYS_close_range, (unsigned)fd + 1, ~0u, 0);
}

/* As in a fresh program; Ctrl-C is for the parent, which ends its children. */
static void reset_signals(void)
{
    struct sigaction action = { .sa_handler = SIG_DFL };
    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGINT, &action, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * The child: answer requests until the socket ends. It dies with its parent:
 * PDEATHSIG covers a parent that ends from now on, getppid() one that has ended
 * before the call.
 */
static _Noreturn void run_child(const struct worker *w, int fd, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    reset_signals();
    close_all_but(fd);
    char *request = w->buffer + HEAD;
    char *reply = request + w->pool->room + HEAD;
    for (;;) {
        struct request_head head;
        receive_all(fd, (char *)&head, sizeof head);
        receive_all(fd, request, head.len);
        struct reply_head answer = { 0 };
        answer.result = head.fn(request, head.len, reply, head.size);
        coili_check(answer.result <= (int64_t)head.size,
                    "a process function returned more bytes than there is "
                    "room for");
        send_all(fd, (const char *)&answer, sizeof answer);
        if (answer.result > 0)
            send_all(fd, reply, (size_t)answer.result);
    }
}

/* ---- Breaking --------------------------------------------------------- */

static void kill_worker(const struct worker *w)
{
    if (!w->pid)
        return;
    /*
     * By pidfd: where SIGCHLD is ignored the kernel reaps the child itself, and
     * its pid may be that of another process by now.
     */
    if (w->pidfd >= 0)
        syscall(SYS_pidfd_send_signal, w->pidfd, SIGKILL, NULL, 0);
    else
        kill(w->pid, SIGKILL);
}

static void wake_all(struct coil_process_pool *p)
{
    while (coil_waiters_wake(&p->idle))
        ;
}

static struct call *first_call(struct coil_process_pool *p)
{
    struct coili_list *link = coili_list_first(&p->line);
    if (!link)
        return NULL;
    coili_list_remove(link);
    return COILI_CONTAINER(link, struct call, link);
}

static void fail_call(struct call *call)
{
    call->worker = NULL;
    coil_future_set_error_detail(&call->custom.future, call->pool->err,
                                 call->pool->detail);
}

/*
 * All calls fail, all children are killed; tasks that are idle wake up and end.
 * Only the first error counts. Workers first: a call that fails must not be
 * found by its worker any more.
 */
static void break_pool(struct coil_process_pool *p, int err, uint32_t detail)
{
    if (p->err)
        return;
    p->err = err;
    p->detail = detail;
    for (unsigned i = 0; i < p->n; i++) {
        struct call *call = p->workers[i].call;
        p->workers[i].call = NULL;
        kill_worker(&p->workers[i]);
        if (call)
            fail_call(call);
    }
    struct call *call;
    while ((call = first_call(p)))
        fail_call(call);
    wake_all(p);
}

/*
 * A pool that closes does not wait for calls that were cancelled: their
 * children are killed, once no other call is in line.
 */
static void kill_abandoned(struct coil_process_pool *p)
{
    if (!p->closing || !coili_list_empty(&p->line))
        return;
    for (unsigned i = 0; i < p->n; i++) {
        struct worker *w = &p->workers[i];
        if (w->busy && !w->call) {
            w->leaving = true;
            kill_worker(w);
        }
    }
}

/* The child's exit status, or its signal as a negative number. */
static int reap(struct worker *w)
{
    siginfo_t info = { 0 };
    while (waitid(P_PID, (id_t)w->pid, &info, WEXITED) < 0 && errno == EINTR)
        ;
    w->pid = 0;
    return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
}

/* ---- The tasks of a worker -------------------------------------------- */

static void pool_free(struct coil_process_pool *p)
{
    for (unsigned i = 0; i < p->n; i++)
        if (p->workers[i].buffer)
            coil_free(p->workers[i].buffer, 2 * (HEAD + p->room));
    coil_free(p, sizeof *p + p->n * sizeof *p->workers);
}

/* The pool first: the future of its closing does not refer to it. */
static void finish_closing(struct coil_process_pool *p)
{
    struct coil_future *closed = &p->closed->future;
    pool_free(p);
    coil_future_set_int(closed, 0);
}

/*
 * The last task finishes closing. If the pool was not closed yet the user may
 * still close it; otherwise it goes with the loop's memory.
 */
static void task_ended(struct coil_process_pool *p)
{
    if (--p->running > 0)
        return;
    if (p->closing) {
        finish_closing(p);
    } else if (p->orphaned) {
        coil_custom_free(p->closed);
        pool_free(p);
    }
}

struct watch {
    struct coil_coro coro;
    struct worker *worker;
    bool on;
    int err;
};

/*
 * Wait for the end of one child, and reap it. FINALLY finds the child alive if
 * this task was cancelled (the loop closes) or had no memory to wait. Then the
 * child is killed and waited for: otherwise a zombie would be left.
 */
static void watch(struct coil_coro *co)
{
    COIL_ASYNC(watch, my) {
        COIL_TRY_AWAIT(my->err, coil_poll(my->worker->pidfd, POLLIN));
        if (my->err)
            COIL_RETURN(0);
        int code = reap(my->worker);
        if (!my->worker->leaving)
            break_pool(my->worker->pool, COIL_EBROKEN,
                       COIL_DETAIL(COIL_PHASE_NONE, code));

    COIL_FINALLY;
        if (my->on && my->worker->pid) {
            break_pool(my->worker->pool, my->err ? my->err : -ECANCELED, 0);
            kill_worker(my->worker);
            COIL_TRY_AWAIT(my->err, coil_poll(my->worker->pidfd, POLLIN));
            if (my->worker->pid)
                reap(my->worker);
        }
        if (my->on) {
            close(my->worker->pidfd);
            task_ended(my->worker->pool);
        }
    }
}

/* Copy the request: from now on the call may be cancelled at any time. */
static size_t pack(struct worker *w)
{
    struct call *call = w->call;
    struct request_head head = { .fn = call->fn,
                                 .len = call->len,
                                 .size = call->size };
    memcpy(w->buffer, &head, sizeof head);
    if (call->len > 0)
        memcpy(w->buffer + sizeof head, call->request, call->len);
    return sizeof head + call->len;
}

static struct reply_head head_of(const struct worker *w)
{
    struct reply_head head;
    memcpy(&head, w->buffer, sizeof head);
    return head;
}

/* Send a request to the child and receive its reply. */
struct exchange {
    struct coil_coro coro;
    struct worker *worker;
    size_t at, len; /* bytes done, bytes to send */
    size_t size;    /* the longest reply */
    size_t n;
};

/* The length of the reply, as far as its head is known. */
static size_t reply_len(const struct exchange *my)
{
    size_t head = sizeof(struct reply_head);
    if (my->at < head)
        return head;
    int64_t result = head_of(my->worker).result;
    return result > 0 ? head + (size_t)result : head;
}

/*
 * The head of a reply is checked: a function may have written anything into the
 * child's memory.
 */
static bool reply_is_invalid(const struct exchange *my)
{
    int64_t result = head_of(my->worker).result;
    return my->at + my->n >= sizeof(struct reply_head) &&
           (result > (int64_t)my->size || result < INT32_MIN);
}

/* Lengths are added up here: a send or receive may move a part only. */
static void exchange(struct coil_coro *co)
{
    COIL_ASYNC(exchange, my) {
        my->size = my->worker->call->size;
        my->len = pack(my->worker);
        for (; my->at < my->len; my->at += my->n)
            COIL_AWAIT_TO(my->n, coil_send(my->worker->fd,
                                           my->worker->buffer + my->at,
                                           my->len - my->at));
        for (my->at = 0; my->at < reply_len(my); my->at += my->n) {
            COIL_AWAIT_TO(my->n, coil_recv(my->worker->fd,
                                           my->worker->buffer + my->at,
                                           reply_len(my) - my->at));
            if (my->n == 0 || reply_is_invalid(my))
                COIL_FAIL(COIL_EBROKEN);
        }
    }
}

/* Complete the call, unless it was cancelled meanwhile. */
static void answer(struct worker *w)
{
    struct call *call = w->call;
    w->busy = false;
    w->call = NULL;
    if (!call)
        return;
    call->worker = NULL;
    int64_t result = head_of(w).result;
    if (result > 0)
        memcpy(call->reply, w->buffer + sizeof(struct reply_head),
               (size_t)result);
    if (result < 0)
        coil_future_set_error(&call->custom.future, (int)result);
    else
        coil_future_set_int(&call->custom.future, result);
}

/* Take the first call in line. False: there is none, or the pool is broken. */
static bool next_job(struct worker *w)
{
    struct coil_process_pool *p = w->pool;
    if (p->err || !(w->call = first_call(p)))
        return false;
    w->call->worker = w;
    w->busy = true;
    kill_abandoned(p);
    return true;
}

/* True if no call will come. In a pool that closes the child ends, too. */
static bool is_over(struct worker *w)
{
    if (w->pool->err)
        return true;
    w->leaving = w->pool->closing;
    return w->leaving;
}

static bool never(void *object)
{
    (void)object;
    return false;
}

struct serve {
    struct coil_coro coro;
    struct worker *worker;
    bool on;
    int err;
    struct exchange exchange;
};

/*
 * The task of a worker ends, and with it the child, for one of three reasons.
 * The socket has failed: kill the child, watch() breaks the pool. The pool
 * closes (leaving): the child would exit when its socket ends, but not while it
 * is stopped (SIGSTOP, a debugger), so the child is killed. It is idle then,
 * and exit handlers do not run in either case. This task was cancelled or is
 * out of memory: the pool breaks.
 */
static void worker_leave(struct worker *w, int err)
{
    struct coil_process_pool *p = w->pool;
    if (w->leaving || err == COIL_EBROKEN || err == -EPIPE ||
        err == -ECONNRESET)
        kill_worker(w);
    else
        break_pool(p, err ? err : -ECANCELED, 0);
    shutdown(w->fd, SHUT_RDWR); /* children forked later have a copy of fd */
    close(w->fd);
    task_ended(p);
}

/*
 * One call after the other. `on` is set by task_begin(): a task that was never
 * begun has FINALLY run, too, and must not end a worker.
 */
static void serve(struct coil_coro *co)
{
    COIL_ASYNC(serve, my) {
        while (!my->err) {
            if (next_job(my->worker)) {
                COIL_TRY_AWAIT(my->err, COIL_CALL_IN(&my->exchange, exchange,
                                                     .worker = my->worker));
                if (!my->err)
                    answer(my->worker);
            } else if (is_over(my->worker)) {
                COIL_RETURN(0);
            } else {
                COIL_TRY_AWAIT(my->err,
                               coil_waiters_wait(&my->worker->pool->idle,
                                                 "process pool", never, NULL));
            }
        }

    COIL_FINALLY;
        if (my->on)
            worker_leave(my->worker, my->err);
    }
}

/* ---- Making ----------------------------------------------------------- */

/*
 * Does not return in the child. Signals are blocked meanwhile, so that no
 * handler of the parent runs in the child.
 */
static pid_t fork_child(const struct worker *w, int fd)
{
    pid_t parent = getpid();
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        run_child(w, fd, parent);
    int err = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pid < 0 ? -err : pid;
}

static int child_begin(struct worker *w)
{
    int fds[2] = { -1, -1 }; /* gcc -flto does not know that errno is not 0 */
    int err = coili_socket_pair_open(fds);
    if (err < 0)
        return err;
    pid_t pid = fork_child(w, fds[1]);
    close(fds[1]);
    if (pid < 0) {
        close(fds[0]);
        return pid;
    }
    w->pid = pid;
    w->fd = fds[0];
    w->pidfd = coili_pidfd_open(pid);
    return w->pidfd < 0 ? w->pidfd : 0;
}

/* The child ends before its watch() has begun. */
static void child_end(struct worker *w)
{
    if (!w->pid)
        return;
    kill_worker(w);
    reap(w);
    close(w->fd);
    if (w->pidfd >= 0)
        close(w->pidfd);
}

/*
 * Run the call as a task of the loop. Without memory the call is dropped: its
 * FINALLY runs and finds that it is not `on`.
 */
static int task_begin(struct coil_process_pool *p, struct coil_future *call,
                      bool *on)
{
    struct coil_task *task = coil_spawn(call);
    if (coil_future_done(coil_task_future(task)))
        return -ENOMEM;
    coil_detach(task);
    p->running++;
    *on = true;
    return 0;
}

static int watch_begin(struct worker *w)
{
    struct coil_future *f = COIL_CALL(watch, .worker = w);
    if (coil_future_done(f))
        return -ENOMEM;
    return task_begin(w->pool, f, &((struct watch *)(void *)f)->on);
}

static int serve_begin(struct worker *w)
{
    struct coil_future *f = COIL_CALL(serve, .worker = w);
    if (coil_future_done(f))
        return -ENOMEM;
    return task_begin(w->pool, f, &((struct serve *)(void *)f)->on);
}

/*
 * A child, then its two tasks. When watch() runs it is watch() that reaps the
 * child: an error after that only closes the socket, and undo_open() breaks the
 * pool.
 */
static int worker_begin(struct worker *w)
{
    struct coil_process_pool *p = w->pool;
    w->buffer = coil_alloc(2 * (HEAD + p->room));
    if (!w->buffer)
        return -ENOMEM;
    int err = child_begin(w);
    if (err == 0)
        err = watch_begin(w);
    if (err < 0) {
        child_end(w);
        return err;
    }
    err = serve_begin(w);
    if (err < 0)
        close(w->fd);
    return err;
}

/*
 * Opening has failed. Tasks that run already find the pool broken; the last of
 * them frees it. `running` is raised meanwhile: there may be none.
 */
static int undo_open(struct coil_process_pool *p, int err)
{
    p->orphaned = true;
    p->running++;
    break_pool(p, err, 0);
    task_ended(p);
    return err;
}

static unsigned default_workers(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 && n <= WORKERS_LIMIT ? (unsigned)n : 1;
}

static void close_start(struct coil_future *f)
{
    struct coil_process_pool *p = COILI_CONTAINER(f, struct closing,
                                                  custom.future)->pool;
    p->closing = true;
    kill_abandoned(p);
    wake_all(p);
    if (p->running == 0)
        finish_closing(p);
}

static const struct coil_future_class close_class = {
    .name = "process pool closing",
    .start = close_start,
};

/*
 * The future of its closing is made here, so that closing cannot fail. From the
 * first child on an error goes through undo_open(), which waits for tasks.
 */
int coil_process_pool_open(struct coil_process_pool **out,
                           const struct coil_process_pool_options *given)
{
    coili_check(out, "coil_process_pool_open: out is NULL");
    struct coil_process_pool_options o;
    static const char call[] = "coil_process_pool_open";
    coili_options_read(&o, sizeof o, sizeof o, given, call,
                       "COIL_PROCESS_POOL_OPTIONS_INIT");
    if (o.workers > WORKERS_LIMIT)
        coili_bad_option(call, "workers", o.workers, "must be at most 1024");
    if (o.message_bytes_max > MESSAGE_LIMIT)
        coili_bad_option(call, "message_bytes_max",
                         (int64_t)o.message_bytes_max,
                         "must be at most 1073741824");
    unsigned n = o.workers ? o.workers : default_workers();
    size_t most = o.message_bytes_max ? o.message_bytes_max : MESSAGE_MOST;

    struct coil_process_pool *p = coil_alloc(sizeof *p +
                                             n * sizeof *p->workers);
    if (!p)
        return -ENOMEM;
    memset(p, 0, sizeof *p + n * sizeof *p->workers);
    p->closed = coil_custom_new(&close_class, sizeof(struct closing));
    if (!p->closed) {
        coil_free(p, sizeof *p + n * sizeof *p->workers);
        return -ENOMEM;
    }
    ((struct closing *)p->closed)->pool = p;
    coili_list_init(&p->line);
    coil_waiters_init(&p->idle);
    p->message_max = most;
    p->room = (most + 15) & ~(size_t)15;
    p->n = n;
    for (unsigned i = 0; i < n; i++) {
        p->workers[i].pool = p;
        int err = worker_begin(&p->workers[i]);
        if (err < 0)
            return undo_open(p, err);
    }
    *out = p;
    return 0;
}

unsigned coil_process_pool_workers(const struct coil_process_pool *p)
{
    coili_check(p, "coil_process_pool_workers: pool is NULL");
    return p->n;
}

/* ---- Running ---------------------------------------------------------- */

static struct call *call_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct call, custom.future);
}

static void start(struct coil_future *f)
{
    struct call *call = call_of(f);
    struct coil_process_pool *p = call->pool;
    if (p->err) {
        fail_call(call);
    } else if (p->closing) {
        coil_future_set_error(f, COIL_ECLOSED);
    } else if (call->len > p->message_max) {
        coil_future_set_error(f, COIL_ELIMIT);
    } else {
        coili_list_append(&p->line, &call->link);
        coil_waiters_wake(&p->idle);
    }
}

static void cancel(struct coil_future *f)
{
    struct call *call = call_of(f);
    coili_list_remove(&call->link);
    if (call->worker)
        call->worker->call = NULL; /* the reply is dropped */
    call->worker = NULL;
    kill_abandoned(call->pool);
    coil_future_set_error(f, -ECANCELED);
}

static const struct coil_future_class call_class = {
    .name = "process pool",
    .start = start,
    .cancel = cancel,
};

struct coil_future *coil_process_pool_run(struct coil_process_pool *p,
                                          coil_process_fn *fn,
                                          const void *request, size_t len,
                                          void *reply, size_t size)
{
    coili_check(p, "coil_process_pool_run: pool is NULL");
    coili_check(fn, "coil_process_pool_run: fn is NULL");
    coili_check(request || !len, "coil_process_pool_run: request is NULL");
    coili_check(reply || !size, "coil_process_pool_run: reply is NULL");
    coil_check_lent(request);
    coil_check_lent(reply);
    struct call *call = coil_custom_new(&call_class, sizeof *call);
    if (!call)
        return coil_future_from_nomem();
    call->pool = p;
    call->fn = fn;
    call->request = request;
    call->len = len;
    call->reply = reply;
    call->size = size < p->message_max ? size : p->message_max;
    return &call->custom.future;
}

struct coil_future *coil_process_pool_close(struct coil_process_pool *p)
{
    return p ? &p->closed->future : coil_sleep(0);
}
