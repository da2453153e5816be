// SPDX-License-Identifier: MIT
/*
 * acceptor.c: one multishot accept, and the line of tasks that wait for its
 * connections.
 *
 *     IDLE      no accept is in flight: no task has asked for a connection yet,
 *       |       or enough connections are in the store
 *       v
 *     ARMED     each completion is a connection, for the first waiter or, if
 *       |       there is none, for the store
 *       |-----> STOPPING   the store has reached its quota: the accept is
 *       |                  cancelled and will end
 *       v
 *     RESTING   the process is out of descriptors or memory, or every
 *               connection has ended before it was accepted: an accept that
 *               begins at once would fail again
 *
 * A multishot accept cannot be held to a quota: the kernel accepts the whole
 * backlog as long as its completion queue has room. So the store has room for
 * that many connections beyond its quota.
 *
 * An error of which the acceptor can recover is given to one waiter only. So a
 * server that is out of descriptors gets one error per REST, not a thousand a
 * second.
 *
 * Errors of single connections are skipped. But if more than GONE_MOST come
 * without a connection in between, the socket itself is wrong: a datagram
 * socket fails each accept with one of these codes.
 */
#include <coil/acceptor.h>

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include <coil/error.h>
#include <coil/io.h>
#include <coil/loop.h>
#include <coil/wait.h>

#include "backend/backend.h"
#include "base/check.h"
#include "base/descriptor.h"
#include "base/list.h"
#include "core/loop.h"

/* The most connections in the store; the pause when resources are short. */
#define QUOTA 64u
#define REST COIL_MS(100)

/* Connections in a row that may end before they are accepted. */
#define GONE_MOST 64u

enum state { IDLE, ARMED, STOPPING, RESTING };

struct coil_acceptor {
    struct coil_custom closing; /* done when no accept is in flight */
    struct coili_operation op;
    struct coili_list line; /* of struct next: the waiters */
    int *store;             /* a ring of descriptors */
    unsigned size, first, n;
    unsigned users; /* futures of coil_acceptor_next(): they keep it alive */
    unsigned gone;  /* errors of single connections since the last success */
    uint8_t state;
    bool closed, unowned; /* unowned: `closing` is freed */
    struct coil_handle rested;
};

struct next {
    struct coil_custom custom;
    struct coil_acceptor *acceptor;
    struct coili_list link;
};

static struct next *next_in_line(const struct coil_acceptor *a)
{
    struct coili_list *link = coili_list_first(&a->line);
    return link ? COILI_CONTAINER(link, struct next, link) : NULL;
}

static void finish_next(struct next *it, int result)
{
    coili_list_remove(&it->link);
    if (result < 0)
        coil_future_set_error(&it->custom.future, result);
    else
        coil_future_set_int(&it->custom.future, result);
}

static void fail_waiters(struct coil_acceptor *a, int err)
{
    struct next *it;
    while ((it = next_in_line(a)))
        finish_next(it, err);
}

/* ---- The store -------------------------------------------------------- */

static void put(struct coil_acceptor *a, int fd)
{
    if (a->n == a->size) {
        /* In one pass more came than the completion queue has room for. */
        coil_close_now(fd);
        return;
    }
    a->store[(a->first + a->n++) % a->size] = fd;
}

static int take(struct coil_acceptor *a)
{
    int fd = a->store[a->first];
    a->first = (a->first + 1) % a->size;
    a->n--;
    return fd;
}

/* ---- Accepting -------------------------------------------------------- */

static bool out_of_something(int err)
{
    return err == -EMFILE || err == -ENFILE || err == -ENOBUFS ||
           err == -ENOMEM;
}

/*
 * Errors of one connection, which was gone before it was accepted, and not of
 * the listener: accept(2), "Error handling".
 */
static bool concerns_one(int err)
{
    return err == -ECONNABORTED || err == -EPROTO || err == -ENETDOWN ||
           err == -EHOSTUNREACH || err == -ENETUNREACH || err == -EHOSTDOWN ||
           err == -ENONET || err == -ENOPROTOOPT || err == -EOPNOTSUPP;
}

static void arm(struct coil_acceptor *a);

static void rested(void *arg)
{
    struct coil_acceptor *a = arg;
    a->state = IDLE;
    if (next_in_line(a))
        arm(a);
}

/*
 * Rest if that can help, and there is memory for a timer: one waiter gets the
 * error. Otherwise all of them do.
 */
static void fail(struct coil_acceptor *a, int err)
{
    struct next *it = next_in_line(a);
    if ((out_of_something(err) || concerns_one(err)) &&
        coil_call_later(&a->rested, REST, rested, a) == 0) {
        a->state = RESTING;
        if (it)
            finish_next(it, err);
        return;
    }
    fail_waiters(a, err);
}

static void arm(struct coil_acceptor *a)
{
    int err = coili_loop->table->submit(coili_loop->backend, &a->op);
    if (err < 0)
        fail(a, err);
    else
        a->state = ARMED;
}

/* Without a free descriptor above 2 the connection is lost: an error. */
static void arrived(struct coil_acceptor *a, int fd)
{
    struct next *it = next_in_line(a);
    fd = coili_fd_above_2(fd);
    if (it && !a->closed)
        finish_next(it, fd);
    else if (fd < 0)
        return;
    else if (a->closed)
        coil_close_now(fd);
    else
        put(a, fd);
}

/*
 * A connection, or the end of the accept (no MORE flag), or both.
 *
 * A closed acceptor comes first: it never arms again. While the accept goes on
 * the only question is whether the store is full. When it has ended by an error
 * that concerns the listener the waiters are told; otherwise the acceptor arms
 * again if there is a waiter or room in the store. -ECANCELED is the end that
 * STOPPING has asked for.
 */
static void completed(struct coili_operation *op, int res, unsigned flags)
{
    struct coil_acceptor *a = COILI_CONTAINER(op, struct coil_acceptor, op);
    bool more = flags & COILI_COMPLETION_MORE;
    a->gone = res < 0 && concerns_one(res) ? a->gone + 1 : 0;
    if (res >= 0)
        arrived(a, res);
    if (!more)
        a->state = IDLE;

    if (a->closed) {
        if (!more)
            coil_future_set_int(&a->closing.future, 0);
    } else if (more) {
        if (a->n >= QUOTA && a->state == ARMED) {
            a->state = STOPPING;
            coili_loop->table->cancel(coili_loop->backend, op);
        }
    } else if (res < 0 && res != -ECANCELED &&
               (!concerns_one(res) || a->gone > GONE_MOST)) {
        fail(a, res);
    } else if (next_in_line(a) || a->n < QUOTA) {
        arm(a);
    }
}

/* ---- next ------------------------------------------------------------- */

/*
 * From the store, or wait in line. The accept begins again at half the quota,
 * not at each connection taken: to stop and to begin it costs two operations.
 */
static void next_start(struct coil_future *f)
{
    struct next *it = COILI_CONTAINER(f, struct next, custom.future);
    struct coil_acceptor *a = it->acceptor;
    if (a->closed) {
        coil_future_set_error(f, COIL_ECLOSED);
        return;
    }
    if (a->n > 0) {
        coil_future_set_int(f, take(a));
        if (a->state == IDLE && a->n <= QUOTA / 2)
            arm(a);
        return;
    }
    coili_list_append(&a->line, &it->link);
    if (a->state == IDLE)
        arm(a);
}

static void next_cancel(struct coil_future *f)
{
    finish_next(COILI_CONTAINER(f, struct next, custom.future), -ECANCELED);
}

/* The acceptor goes with the last future that refers to it. */
static void free_unused(struct coil_acceptor *a)
{
    if (a->users > 0 || !a->unowned)
        return;
    coil_free(a->store, a->size * sizeof *a->store);
    coil_custom_free(a);
}

static void next_free(struct coil_future *f)
{
    struct coil_acceptor *a = COILI_CONTAINER(f, struct next,
                                              custom.future)->acceptor;
    coil_custom_free(f);
    a->users--;
    free_unused(a);
}

static void next_dispose(struct coil_future *done)
{
    coil_close_now((int)coil_future_int(done));
}

static void next_describe(const struct coil_future *f, char *buf, size_t size)
{
    const struct next *it = COILI_CONTAINER(f, const struct next,
                                            custom.future);
    snprintf(buf, size, "accept fd %d", it->acceptor->op.fd);
}

static const struct coil_future_class next_class = {
    .name = "accept",
    .start = next_start,
    .cancel = next_cancel,
    .free = next_free,
    .dispose = next_dispose,
    .describe = next_describe,
};

struct coil_future *coil_acceptor_next(struct coil_acceptor *a)
{
    coili_check(a, "coil_acceptor_next: acceptor is NULL");
    struct next *it = coil_custom_new(&next_class, sizeof *it);
    if (!it)
        return coil_future_from_nomem();
    it->acceptor = a;
    a->users++;
    return &it->custom.future;
}

/* ---- Life ------------------------------------------------------------- */

/* Waiters fail, stored connections are closed, an accept in flight must end. */
static void close_start(struct coil_future *f)
{
    struct coil_acceptor *a = COILI_CONTAINER(f, struct coil_acceptor,
                                              closing.future);
    a->closed = true;
    fail_waiters(a, COIL_ECLOSED);
    while (a->n > 0)
        coil_close_now(take(a));
    coil_handle_cancel(&a->rested);
    if (a->state == IDLE || a->state == RESTING)
        coil_future_set_int(f, 0);
    else
        coili_loop->table->cancel(coili_loop->backend, &a->op);
}

static void close_free(struct coil_future *f)
{
    struct coil_acceptor *a = COILI_CONTAINER(f, struct coil_acceptor,
                                              closing.future);
    a->unowned = true;
    free_unused(a);
}

static const struct coil_future_class close_class = {
    .name = "close acceptor",
    .start = close_start,
    .free = close_free,
};

/* The acceptor contains the future of its closing: closing needs no memory. */
int coil_acceptor_open(struct coil_acceptor **out, int fd)
{
    coili_check(out, "coil_acceptor_open: out is NULL");
    struct coil_loop *loop = coili_need_loop();
    struct coil_acceptor *a = coil_custom_new(&close_class, sizeof *a);
    if (!a)
        return -ENOMEM;
    a->size = QUOTA + loop->options.cq_entries;
    a->store = coil_alloc(a->size * sizeof *a->store);
    if (!a->store) {
        coil_custom_free(a);
        return -ENOMEM;
    }
    a->op.complete = completed;
    a->op.opcode = COILI_OP_ACCEPT_MULTI;
    a->op.fd = fd;
    a->op.arg = SOCK_CLOEXEC;
    coili_list_init(&a->line);
    *out = a;
    return 0;
}

struct coil_future *coil_acceptor_close(struct coil_acceptor *a)
{
    return a ? &a->closing.future : coil_sleep(0);
}
