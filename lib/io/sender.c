// SPDX-License-Identifier: MIT
/*
 * sender.c: sends whole buffers, in the order of the calls.
 *
 * The first sending in the queue is in flight. The kernel may accept a part of
 * its bytes; the rest is sent next, before any other sending. A sending that
 * fails after a part of it was sent breaks the sender: the peer would read the
 * next sending as the rest of this one.
 */
#include <coil/sender.h>

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include <coil/io.h>

#include "backend/backend.h"
#include "base/check.h"
#include "base/list.h"
#include "core/loop.h"

/* The most bytes that the kernel moves in one call (MAX_RW_COUNT). */
#define LEN_MOST 0x7ffff000u

struct coil_sending {
    struct coil_custom custom;
    struct coil_sender *sender;
    struct coil_sending *next, *prev;
    const char *buf;
    size_t len, sent;
    struct coili_operation op;
};

static struct coil_sending *sending_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct coil_sending, custom.future);
}

void coil_sender_init(struct coil_sender *s, int fd)
{
    coili_check(s, "coil_sender_init: sender is NULL");
    *s = (struct coil_sender){ .fd = fd };
}

static int send_rest(struct coil_sending *it)
{
    size_t left = it->len - it->sent;
    it->op.addr = (void *)((uintptr_t)it->buf + it->sent);
    it->op.len = left < LEN_MOST ? (uint32_t)left : LEN_MOST;
    return coili_loop->table->submit(coili_loop->backend, &it->op);
}

static void leave_queue(struct coil_sending *it)
{
    struct coil_sender *s = it->sender;
    *(it->prev ? &it->prev->next : &s->first) = it->next;
    *(it->next ? &it->next->prev : &s->last) = it->prev;
}

static void finish_sending(struct coil_sending *it, int err)
{
    if (err < 0 && it->sent > 0)
        it->sender->broken = true; /* the peer got a part of it */
    leave_queue(it);
    if (err < 0)
        coil_future_set_error(&it->custom.future, err);
    else
        coil_future_set_int(&it->custom.future, (int64_t)it->len);
}

/* The error of a sending that begins now; 0: it may. */
static int refusal(const struct coil_sender *s)
{
    return s->closed ? COIL_ECLOSED : s->broken ? -EPIPE : 0;
}

/*
 * Begin the first sending in the queue. One that cannot begin fails, and the
 * next one is tried. When a sender that was stopped has none left its owner is
 * told.
 */
static void send_next(struct coil_sender *s)
{
    while (s->first) {
        int err = refusal(s);
        if (err == 0)
            err = send_rest(s->first);
        if (err == 0)
            return;
        finish_sending(s->first, err);
    }
    if (s->closed && s->idle.fn)
        coil_call_soon(&s->idle, s->idle.fn, s->idle.arg);
}

/*
 * Bytes that were accepted count first, also those of a cancelled operation.
 * The rest is sent only if nothing wants this sending to end: its sender was
 * stopped, or it was cancelled and a part had gone out all the same.
 */
static void sent(struct coili_operation *op, int res, unsigned flags)
{
    (void)flags;
    struct coil_sending *it = COILI_CONTAINER(op, struct coil_sending, op);
    struct coil_sender *s = it->sender;
    if (res > 0)
        it->sent += (size_t)res;
    int err = res < 0 ? res : 0;
    if (err == -ECANCELED && s->closed)
        err = COIL_ECLOSED;
    if (err == 0 && it->sent < it->len) {
        err = s->closed ? COIL_ECLOSED : op->cancelling ? -ECANCELED
                                                        : send_rest(it);
        if (err == 0)
            return;
    }
    finish_sending(it, err);
    send_next(s);
}

/* Behind the last in the queue; the first one begins at once. */
static void sending_start(struct coil_future *f)
{
    struct coil_sending *it = sending_of(f);
    struct coil_sender *s = it->sender;
    int err = refusal(s);
    if (err < 0) {
        coil_future_set_error(f, err);
        return;
    }
    it->prev = s->last;
    s->last = it;
    if (it->prev) {
        it->prev->next = it;
        return;
    }
    s->first = it;
    err = send_rest(it);
    if (err < 0)
        finish_sending(it, err);
}

/* Only the first sending is in flight; another one just leaves the queue. */
static void sending_cancel(struct coil_future *f)
{
    struct coil_sending *it = sending_of(f);
    if (it == it->sender->first)
        coili_loop->table->cancel(coili_loop->backend, &it->op);
    else
        finish_sending(it, -ECANCELED);
}

static void sending_describe(const struct coil_future *f, char *buf,
                             size_t size)
{
    const struct coil_sending *it = COILI_CONTAINER(
        f, const struct coil_sending, custom.future);
    snprintf(buf, size, "send fd %d", it->op.fd);
}

static const struct coil_future_class sending_class = {
    .name = "send",
    .start = sending_start,
    .cancel = sending_cancel,
    .describe = sending_describe,
};

static struct coil_sending *sending_new(struct coil_sender *s,
                                        enum coili_opcode opcode, unsigned arg)
{
    struct coil_sending *it = coil_custom_new(&sending_class, sizeof *it);
    if (!it)
        return NULL;
    it->sender = s;
    it->op.complete = sent;
    it->op.opcode = (uint8_t)opcode;
    it->op.fd = s->fd;
    it->op.arg = arg;
    return it;
}

struct coil_future *coil_sender_send(struct coil_sender *s, const void *buf,
                                     size_t len)
{
    coili_check(buf || !len, "coil_sender_send: buf is NULL");
    struct coil_sending *it = sending_new(s, COILI_OP_SEND,
                                          MSG_NOSIGNAL | MSG_WAITALL);
    if (!it)
        return coil_future_from_nomem();
    coil_check_lent(buf);
    it->buf = buf;
    it->len = len;
    return &it->custom.future;
}

struct coil_future *coil_sender_send_eof(struct coil_sender *s)
{
    struct coil_sending *it = sending_new(s, COILI_OP_SHUTDOWN, SHUT_WR);
    return it ? &it->custom.future : coil_future_from_nomem();
}

void coil_sender_stop(struct coil_sender *s, coil_call_fn *idle, void *arg)
{
    s->closed = true;
    if (!s->first) {
        coil_call_soon(&s->idle, idle, arg);
        return;
    }
    s->idle.fn = idle;
    s->idle.arg = arg;
    coili_loop->table->cancel(coili_loop->backend, &s->first->op);
}
