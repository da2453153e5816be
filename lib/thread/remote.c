// SPDX-License-Identifier: MIT
/*
 * port.c: a loop's door, which stands when the house is gone.
 *
 *     any thread                    the loop's thread
 *     post(a) --> [a] -- wakes --.
 *     post(b) --> [a b]          '--> deliver(): a, b
 *
 * Only the first post of a batch wakes the loop. That is a system call, and who
 * is woken wants the lock first of all: so it is made outside of the lock and
 * counted, and who closes waits for those that make it (a channel there and
 * back takes a third of the time). Then the door is shut: a post is refused,
 * and its owner, who may be the last that knows of it, clears up.
 *
 * A child process of fork() has neither the loop nor its threads: it forgets
 * the port of its parent.
 */
#include <coil/remote.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/check.h"

struct coil_port {
    atomic_size_t refs;
    atomic_size_t callers;   /* who have posted, and are to wake the loop */
    pthread_mutex_t lock;
    pthread_cond_t posted;   /* for a loop that closes */
    struct coil_loop *loop;  /* guarded by it, as all up to `expected`; */
    struct coil_post *first; /* NULL: it has closed */
    struct coil_post **end;
    size_t expected; /* the loop's own */
    struct coil_handle handle, at_close;
};

static _Thread_local struct coil_port *port_here;

static void forget(void)
{
    port_here = NULL;
}

static void guard_forks(void)
{
    pthread_atfork(NULL, NULL, forget);
}

struct coil_port *coil_port_ref(struct coil_port *port)
{
    atomic_fetch_add_explicit(&port->refs, 1, memory_order_relaxed);
    return port;
}

void coil_port_unref(struct coil_port *port)
{
    if (atomic_fetch_sub_explicit(&port->refs, 1, memory_order_acq_rel) > 1)
        return;
    pthread_cond_destroy(&port->posted);
    pthread_mutex_destroy(&port->lock);
    free(port);
}

bool coil_port_is_here(const struct coil_port *port)
{
    return port == port_here;
}

/* ---- Posting ---------------------------------------------------------- */

static struct coil_post *take(struct coil_port *port)
{
    struct coil_post *first = port->first;
    port->first = NULL;
    port->end = &port->first;
    return first;
}

static void deliver(struct coil_post *post)
{
    while (post) {
        struct coil_post *next = post->next;
        post->fn(post); /* may free it */
        post = next;
    }
}

static void arrived(void *arg)
{
    struct coil_port *port = arg;
    pthread_mutex_lock(&port->lock);
    struct coil_post *first = take(port);
    pthread_mutex_unlock(&port->lock);
    deliver(first);
}

bool coil_port_post(struct coil_port *port, struct coil_post *post,
                    coil_post_fn *fn)
{
    post->next = NULL;
    post->fn = fn;
    pthread_mutex_lock(&port->lock);
    struct coil_loop *loop = port->loop;
    bool first = loop && !port->first;
    if (loop) {
        *port->end = post;
        port->end = &post->next;
    }
    if (first) {
        atomic_fetch_add_explicit(&port->callers, 1, memory_order_relaxed);
        pthread_cond_signal(&port->posted);
    }
    pthread_mutex_unlock(&port->lock);
    if (first) {
        coil_call_soon_threadsafe(loop, &port->handle, arrived, port);
        atomic_fetch_sub_explicit(&port->callers, 1, memory_order_release);
    }
    return loop != NULL;
}

void coil_port_expect(struct coil_port *port)
{
    port->expected++;
}

void coil_port_met(struct coil_port *port)
{
    coili_check(port->expected > 0, "a port got more than was expected");
    port->expected--;
}

/* ---- Opening and closing ---------------------------------------------- */

/* Locked, and so that nobody is about to call the loop. */
static void wait_for_callers(struct coil_port *port)
{
    while (atomic_load_explicit(&port->callers, memory_order_acquire) > 0) {
        pthread_mutex_unlock(&port->lock);
        sched_yield();
        pthread_mutex_lock(&port->lock);
    }
}

/* What is delivered here may lead to more. */
static void close_port(void *arg)
{
    struct coil_port *port = arg;
    pthread_mutex_lock(&port->lock);
    wait_for_callers(port);
    while (port->first || port->expected > 0) {
        while (!port->first)
            pthread_cond_wait(&port->posted, &port->lock);
        wait_for_callers(port);
        struct coil_post *first = take(port);
        /* Inside the lock: whoever posts next wants the handle. */
        coil_handle_cancel(&port->handle);
        pthread_mutex_unlock(&port->lock);
        deliver(first);
        pthread_mutex_lock(&port->lock);
        wait_for_callers(port);
    }
    port->loop = NULL;
    pthread_mutex_unlock(&port->lock);
    port_here = NULL;
    coil_port_unref(port);
}

static struct coil_port *port_new(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, guard_forks);
    struct coil_port *port = calloc(1, sizeof *port);
    if (!port)
        return NULL;
    atomic_init(&port->refs, 1);
    atomic_init(&port->callers, 0);
    pthread_mutex_init(&port->lock, NULL);
    pthread_cond_init(&port->posted, NULL);
    port->loop = coil_loop_current();
    port->end = &port->first;
    coil_call_at_close(&port->at_close, close_port, port);
    return port;
}

struct coil_port *coil_port_here(void)
{
    if (!port_here) {
        coili_check(coil_loop_current(),
                    "this thread has no loop: RUN() makes one");
        port_here = port_new();
    }
    return port_here;
}
