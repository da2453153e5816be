// SPDX-License-Identifier: MIT
/*
 * signal.c: signals, from a signal handler into loops.
 *
 * A signalfd would need every thread to block the signal and every child to
 * unblock it, and threads of libraries and executed programs do neither. So a
 * handler is installed. It sets flags and wakes, which is all that a handler
 * may do:
 *
 *     kernel --> on_signal()   in any thread: sets a bit in each loop that
 *                    |         listens, raises its wakeup
 *                    v
 *     hub        dispatch()    in the loop: calls the listeners
 *
 * A loop with listeners has a hub. Handlers walk the list of hubs without a
 * lock. So a hub is complete before it is added to the list; it is taken out of
 * the list first and freed when no handler runs that may have seen it
 * (`running`).
 *
 * A disposition belongs to the process. The listeners of each signal are
 * counted, in all loops: the first installs our handler, the last puts the
 * former disposition back.
 *
 * A child process has our handler until the hook of fork() or execve() takes it
 * away; vfork() has no hook. A wakeup sent there would wake the parent, which
 * shares the descriptor. So a handler that runs in another process puts the
 * former disposition back and sends the signal again.
 */
#include <coil/signal.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <coil/coroutine.h>
#include <coil/io.h>
#include <coil/loop.h>
#include <coil/waiters.h>
#include <coil/wakeup.h>

#include "base/check.h"
#include "base/libc.h"
#include "interrupt.h"
#include "base/list.h"

#define SIGNALS 64
#define BIT(signo) ((uint64_t)1 << ((signo)-1))

/* One per loop that has listeners. */
struct hub {
    struct hub *_Atomic next;
    _Atomic uint64_t wanted, arrived;
    struct coil_wakeup wakeup;
    struct coil_handle closing;
    uint32_t listeners_n;
    uint32_t users[SIGNALS + 1]; /* listeners that want each signal */
    /*
     * Heads of circles. Listeners to one signal are in the circle of its
     * number, all others in circle 0. So an arrival does not look at listeners
     * to other signals.
     */
    struct coili_listener listeners[SIGNALS + 1];
    bool dispatching; /* dispatch() frees the hub if no listener is left */
};

static _Thread_local struct hub *my_hub;

/* Read by handlers, in all threads. */
static struct hub *_Atomic hubs;
static struct coil_wakeup *_Atomic interrupt; /* of RUN's SIGINT */
static atomic_int interrupted;
static atomic_int running; /* handlers, in all threads */
static _Atomic pid_t owner;

/*
 * Guarded by the lock; handlers read `former` only, which is written before our
 * handler is installed.
 */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    unsigned users;
    struct sigaction former;
} dispositions[SIGNALS + 1];

/* ---- The handler ------------------------------------------------------ */

/*
 * Send the signal again, under the disposition that it would have without us.
 * It is blocked until this handler returns.
 */
static void send_on(int signo, const struct sigaction *disposition)
{
    sigaction(signo, disposition, NULL);
    kill(getpid(), signo);
}

/* The first SIGINT cancels the main task, the second one ends the process. */
static void interrupt_or_die(struct coil_wakeup *wakeup)
{
    static const struct sigaction preset; /* zero: SIG_DFL */
    if (atomic_exchange(&interrupted, 1))
        send_on(SIGINT, &preset);
    else
        coil_wakeup_send(wakeup);
}

/* RUN gets a SIGINT only if no listener wants it. */
static void tell_hubs(int signo)
{
    bool heard = false;
    for (struct hub *hub = atomic_load(&hubs); hub;
         hub = atomic_load(&hub->next)) {
        if (!(atomic_load(&hub->wanted) & BIT(signo)))
            continue;
        heard = true;
        atomic_fetch_or(&hub->arrived, BIT(signo));
        coil_wakeup_send(&hub->wakeup);
    }
    struct coil_wakeup *wakeup = atomic_load(&interrupt);
    if (!heard && signo == SIGINT && wakeup)
        interrupt_or_die(wakeup);
}

static void on_signal(int signo)
{
    int saved = errno;
    if (getpid() != atomic_load(&owner)) {
        send_on(signo, &dispositions[signo].former);
    } else {
        atomic_fetch_add(&running, 1);
        tell_hubs(signo);
        atomic_fetch_sub(&running, 1);
    }
    errno = saved;
}

/*
 * What was taken out of the handlers' reach before this call is used by none of
 * them after it.
 */
static void wait_for_handlers(void)
{
    while (atomic_load(&running))
        sched_yield();
}

/* ---- Dispositions ----------------------------------------------------- */

static bool is_ours(const struct sigaction *action)
{
    return !(action->sa_flags & SA_SIGINFO) && action->sa_handler == on_signal;
}

/*
 * One listener more. SA_RESTART, because the program's own system calls do not
 * expect -EINTR.
 */
static int take_signal(int signo)
{
    if (dispositions[signo].users == 0) {
        struct sigaction ours = { .sa_flags = SA_RESTART | SA_ONSTACK };
        struct sigaction former;
        ours.sa_handler = on_signal;
        sigemptyset(&ours.sa_mask);
        if (sigaction(signo, NULL, &former) < 0)
            return -errno;
        if (!is_ours(&former)) /* ours: code that replaced it put it back */
            dispositions[signo].former = former;
        if (sigaction(signo, &ours, NULL) < 0)
            return -errno;
    }
    dispositions[signo].users++;
    return 0;
}

/* Not if the program has installed another handler meanwhile. */
static void put_back(int signo)
{
    struct sigaction now;
    if (sigaction(signo, NULL, &now) == 0 && is_ours(&now))
        sigaction(signo, &dispositions[signo].former, NULL);
}

static void give_signal(int signo)
{
    if (--dispositions[signo].users == 0)
        put_back(signo);
}

static void give_signals(uint64_t wanted)
{
    for (int signo = 1; signo <= SIGNALS; signo++)
        if (wanted & BIT(signo))
            give_signal(signo);
}

static int take_signals(uint64_t wanted)
{
    for (int signo = 1; signo <= SIGNALS; signo++) {
        int err = wanted & BIT(signo) ? take_signal(signo) : 0;
        if (err < 0) {
            give_signals(wanted & (BIT(signo) - 1));
            return err;
        }
    }
    return 0;
}

/* ---- fork ------------------------------------------------------------- */

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
    pthread_mutex_unlock(&lock);
}

/* Loops and hubs belong to the parent: forget them, free nothing. */
static void in_child(void)
{
    for (int signo = 1; signo <= SIGNALS; signo++)
        if (dispositions[signo].users) {
            dispositions[signo].users = 0;
            put_back(signo);
        }
    my_hub = NULL;
    atomic_store(&hubs, NULL);
    atomic_store(&interrupt, NULL);
    atomic_store(&running, 0);
    pthread_mutex_unlock(&lock);
}

static void guard_forks(void)
{
    pthread_atfork(before_fork, after_fork, in_child);
}

/* Unlock by pthread_mutex_unlock(). From here on this process is the owner. */
static void lock_dispositions(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, guard_forks);
    pthread_mutex_lock(&lock);
    atomic_store(&owner, getpid());
}

/* ---- Hubs ------------------------------------------------------------- */

static void unlink_hub(struct hub *hub)
{
    struct hub *_Atomic *p = &hubs;
    while (atomic_load(p) != hub)
        p = &atomic_load(p)->next;
    atomic_store(p, atomic_load(&hub->next));
}

static void hub_free(struct hub *hub)
{
    pthread_mutex_lock(&lock);
    unlink_hub(hub);
    pthread_mutex_unlock(&lock);
    wait_for_handlers();
    coil_wakeup_fini(&hub->wakeup);
    coil_handle_cancel(&hub->closing);
    my_hub = NULL;
    coil_free(hub, sizeof *hub);
}

static int lowest(uint64_t signals)
{
    return __builtin_ctzll(signals) + 1;
}

static struct coili_listener *circle_of(struct hub *hub, uint64_t wanted)
{
    return &hub->listeners[wanted & (wanted - 1) ? 0 : lowest(wanted)];
}

/*
 * Append a listener. Bits that arrived for a former listener are cleared,
 * except where another one still wants them.
 */
static void link_listener(struct hub *hub, struct coili_listener *l)
{
    struct coili_listener *head = circle_of(hub, l->wanted);
    l->next = head;
    l->prev = head->prev;
    l->prev->next = l;
    l->next->prev = l;
    hub->listeners_n++;
    for (uint64_t rest = l->wanted; rest; rest &= rest - 1)
        hub->users[lowest(rest)]++;
    atomic_fetch_and(&hub->arrived, ~l->wanted | atomic_load(&hub->wanted));
    atomic_fetch_or(&hub->wanted, l->wanted);
}

/*
 * The last listener takes the hub with it, unless dispatch() is at work on the
 * hub: then dispatch() frees it.
 */
static void unlink_listener(struct coili_listener *l)
{
    struct hub *hub = my_hub;
    uint64_t unwanted = 0;
    if (!l->next)
        return;
    l->next->prev = l->prev;
    l->prev->next = l->next;
    l->next = l->prev = NULL;
    for (uint64_t rest = l->wanted; rest; rest &= rest - 1)
        if (--hub->users[lowest(rest)] == 0)
            unwanted |= BIT(lowest(rest));
    atomic_fetch_and(&hub->wanted, ~unwanted);
    if (--hub->listeners_n == 0 && !hub->dispatching)
        hub_free(hub);
}

/*
 * Dispositions first: a signal that arrives in between has the former one, and
 * is not lost in a hub without a listener.
 */
static void unlisten(struct coili_listener *l)
{
    if (!l->next)
        return;
    pthread_mutex_lock(&lock);
    give_signals(l->wanted);
    pthread_mutex_unlock(&lock);
    unlink_listener(l);
}

/*
 * The loop closes. Listeners that are left belong to coil_signal_add_handler():
 * all others belonged to tasks, which have ended.
 */
static void hub_close(void *arg)
{
    struct hub *hub = arg;
    hub->dispatching = true;
    for (int i = 0; i <= SIGNALS; i++)
        while (hub->listeners[i].next != &hub->listeners[i])
            unlisten(hub->listeners[i].next);
    hub_free(hub);
}

/* Call the listeners of a circle. A listener may remove itself. */
static void call_circle(struct coili_listener *head, uint64_t arrived)
{
    struct coili_listener *l, *next;
    for (l = head->next; l != head; l = next) {
        next = l->next;
        if (l->wanted & arrived)
            l->heard(l, l->wanted & arrived);
    }
}

/* Call the listeners of what has arrived. */
static void dispatch(void *arg)
{
    struct hub *hub = arg;
    uint64_t arrived = atomic_exchange(&hub->arrived, 0);
    hub->dispatching = true;
    call_circle(&hub->listeners[0], arrived);
    for (uint64_t rest = arrived; rest; rest &= rest - 1)
        call_circle(&hub->listeners[lowest(rest)], arrived);
    hub->dispatching = false;
    if (hub->listeners_n == 0)
        hub_free(hub);
}

/* The hub of this thread's loop; NULL without memory. Added when complete. */
static struct hub *hub_need(void)
{
    if (my_hub)
        return my_hub;
    struct hub *hub = coil_alloc(sizeof *hub);
    if (!hub)
        return NULL;
    memset(hub, 0, sizeof *hub);
    for (int i = 0; i <= SIGNALS; i++)
        hub->listeners[i].next = hub->listeners[i].prev = &hub->listeners[i];
    coil_wakeup_init(&hub->wakeup, dispatch, hub);
    coil_call_at_close(&hub->closing, hub_close, hub);
    lock_dispositions();
    atomic_store(&hub->next, atomic_load(&hubs));
    atomic_store(&hubs, hub);
    pthread_mutex_unlock(&lock);
    my_hub = hub;
    return hub;
}

/*
 * The order matters: the listener is linked and its bits are wanted before the
 * handler is installed, so that the first signal finds it.
 */
static int listen_to(struct coili_listener *l, uint64_t wanted,
                     void (*heard)(struct coili_listener *, uint64_t))
{
    struct hub *hub = hub_need();
    if (!hub)
        return -ENOMEM;
    coili_check(!l->next, "a listener to signals is in use already");
    l->wanted = wanted;
    l->heard = heard;
    link_listener(hub, l);
    pthread_mutex_lock(&lock);
    int err = take_signals(wanted);
    pthread_mutex_unlock(&lock);
    if (err < 0)
        unlink_listener(l);
    return err;
}

/* The bit of a signal; 0: it cannot be caught. sigaction(2) refuses others. */
static uint64_t bit_of(int signo)
{
    bool can = signo > 0 && signo <= SIGNALS && signo != SIGKILL &&
               signo != SIGSTOP;
    return can ? BIT(signo) : 0;
}

/* ---- A future --------------------------------------------------------- */

struct one {
    struct coil_custom custom;
    struct coili_listener listener;
    int signo;
};

static void one_heard(struct coili_listener *l, uint64_t arrived)
{
    struct one *one = COILI_CONTAINER(l, struct one, listener);
    unlisten(l);
    coil_future_set_int(&one->custom.future, lowest(arrived));
}

static void one_start(struct coil_future *f)
{
    struct one *one = (struct one *)(void *)f;
    uint64_t bit = bit_of(one->signo);
    int err = bit ? listen_to(&one->listener, bit, one_heard) : -EINVAL;
    if (err < 0)
        coil_future_set_error(f, err);
}

static void one_cancel(struct coil_future *f)
{
    unlisten(&((struct one *)(void *)f)->listener);
    coil_future_set_error(f, -ECANCELED);
}

static void one_describe(const struct coil_future *f, char *buf, size_t size)
{
    const struct one *one = (const void *)f;
    const char *name = coili_signal_name(one->signo);
    snprintf(buf, size, "signal %s", name ? name : "?");
}

static const struct coil_future_class one_class = {
    .name = "signal",
    .start = one_start,
    .cancel = one_cancel,
    .describe = one_describe,
};

struct coil_future *coil_wait_signal(int signo)
{
    struct one *one = coil_custom_new(&one_class, sizeof *one);
    if (!one)
        return coil_future_from_nomem();
    one->signo = signo;
    return &one->custom.future;
}

/* ---- A source --------------------------------------------------------- */

struct signals {
    struct coil_coro coro;
    struct coili_listener listener;
    struct coil_waiters line; /* the generator's own place to wait */
    uint64_t wanted, arrived;
    int signo, err;
};

static void source_heard(struct coili_listener *l, uint64_t arrived)
{
    struct signals *s = COILI_CONTAINER(l, struct signals, listener);
    s->arrived |= arrived;
    coil_waiters_wake(&s->line);
}

static bool has_arrived(void *arg)
{
    return ((struct signals *)arg)->arrived != 0;
}

/* A generator. Signals that arrive between two turns are kept, one of each. */
static void signals(struct coil_coro *co)
{
    COIL_ASYNC(signals, my) {
        coil_waiters_init(&my->line);
        my->err = listen_to(&my->listener, my->wanted, source_heard);
        if (my->err < 0)
            COIL_FAIL(my->err);
        for (;;) {
            if (!my->arrived)
                COIL_AWAIT(
                    coil_waiters_wait(&my->line, "signals", has_arrived, my));
            my->signo = lowest(my->arrived);
            my->arrived &= my->arrived - 1;
            COIL_YIELD(my->signo);
        }

    COIL_FINALLY;
        unlisten(&my->listener);
    }
}

struct coil_future *coil_signals(const int *signos, size_t n)
{
    coili_check(signos || !n, "coil_signals: signos is NULL");
    uint64_t wanted = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t bit = bit_of(signos[i]);
        if (!bit)
            return coil_future_from_error(-EINVAL, 0);
        wanted |= bit;
    }
    if (!wanted)
        return coil_future_from_error(-EINVAL, 0);
    return COIL_CALL(signals, .wanted = wanted);
}

/* ---- Calls ------------------------------------------------------------ */

static void handler_call(void *arg)
{
    struct coil_signal_handler *h = arg;
    h->called = false;
    h->fn(h->arg); /* may remove the handler, or free it */
}

static void handler_heard(struct coili_listener *l, uint64_t arrived)
{
    struct coil_signal_handler *h =
        COILI_CONTAINER(l, struct coil_signal_handler, listener);
    (void)arrived;
    if (!h->called)
        coil_call_soon(&h->call, handler_call, h);
    h->called = true;
}

int coil_signal_add_handler(struct coil_signal_handler *h, int signo,
                            coil_call_fn *fn, void *arg)
{
    coili_check(h, "coil_signal_add_handler: handler is NULL");
    coili_check(fn, "coil_signal_add_handler: fn is NULL");
    coil_check_lent(h);
    uint64_t bit = bit_of(signo);
    if (!bit)
        return -EINVAL;
    h->fn = fn;
    h->arg = arg;
    return listen_to(&h->listener, bit, handler_heard);
}

bool coil_signal_remove_handler(struct coil_signal_handler *h)
{
    coili_check(h, "coil_signal_remove_handler: handler is NULL");
    if (!h->listener.next)
        return false;
    unlisten(&h->listener);
    if (h->called)
        coil_handle_cancel(&h->call);
    h->called = false;
    return true;
}

/* ---- RUN -------------------------------------------------------------- */

static bool is_main_thread(void)
{
    return getpid() == (pid_t)syscall(SYS_gettid);
}

bool coili_interrupt_begin(struct coil_wakeup *wakeup)
{
    struct sigaction now;
    if (!is_main_thread() || sigaction(SIGINT, NULL, &now) < 0 ||
        now.sa_flags & SA_SIGINFO || now.sa_handler != SIG_DFL)
        return false;
    lock_dispositions();
    atomic_store(&interrupted, 0);
    atomic_store(&interrupt, wakeup);
    bool taken = take_signal(SIGINT) == 0;
    if (!taken)
        atomic_store(&interrupt, NULL);
    pthread_mutex_unlock(&lock);
    return taken;
}

void coili_interrupt_end(void)
{
    pthread_mutex_lock(&lock);
    give_signal(SIGINT);
    atomic_store(&interrupt, NULL);
    pthread_mutex_unlock(&lock);
    wait_for_handlers();
}
