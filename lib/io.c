// SPDX-License-Identifier: MIT
/*
 * io.c: one future per operation, over the backend's table.
 *
 * The future contains the operation. It is done at the operation's own final
 * completion and not before, so that whoever awaits it, cancelled or not, may
 * have his buffer back when the await ends. A future that nobody waits for any
 * more cancels its operation and stays until that has landed (settle() in
 * future.c), and then disposes of what it brought: a descriptor is closed.
 *
 * A receiver is an operation that goes on. What it does when the shared
 * buffers are all in use:
 *
 *     MULTI   multishot receive armed; completes once per buffer
 *       | -ENOBUFS                                ^
 *       v                                         |
 *     WAIT    for the end of this pass: did anybody give a buffer back? yes
 *       | no                                      ^
 *       v                                         |
 *     POLL    until there is something to receive: an idle connection must
 *       | readable, still no buffer free          | not hold any memory
 *       v                                         |
 *     OWN     one receive into a block of its own, then MULTI again
 *
 * So a receiver never waits for another's buffers, and one that holds its
 * quota is PAUSED: cancelled, until it gives some back. Where there is no
 * memory for a block, or no room for one more operation (operations_max), it is
 * in WAIT for a while.
 */
#include <coil/io.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <coil/net.h>

#include "runtime.h"

/* The most that one read or write moves (MAX_RW_COUNT). */
#define LEN_MOST 0x7ffff000u

struct io {
    struct coil_custom custom;
    struct coili_op op;
};

static struct io *io_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct io, custom.future);
}

static void landed(struct coili_op *op, int res, unsigned flags)
{
    (void)flags;
    struct coil_future *f = &COILI_CONTAINER(op, struct io, op)->custom.future;
    if (res >= 0)
        coil_future_set_int(f, res);
    else
        coil_future_set_error(f, res);
}

static void io_start(struct coil_future *f)
{
    struct coil_loop *loop = coili_loop;
    struct io *io = io_of(f);
    int err = io->op.fd < 0 ? -EINVAL
                            : loop->table->submit(loop->backend, &io->op);
    if (err < 0)
        coil_future_set_error(f, err);
}

static void io_cancel(struct coil_future *f)
{
    coili_loop->table->cancel(coili_loop->backend, &io_of(f)->op);
}

static void io_free(struct coil_future *f)
{
    coil_custom_free(f);
}

static void io_describe(const struct coil_future *f, char *buf, size_t size)
{
    const struct io *io = COILI_CONTAINER(f, const struct io, custom.future);
    snprintf(buf, size, "%s fd %d", io->custom.cls->name, io->op.fd);
}

#define IO_CLASS(what) \
    static const struct coil_future_class what##_class = { \
        .name = #what, \
        .start = io_start, \
        .cancel = io_cancel, \
        .free = io_free, \
        .describe = io_describe, \
    }

IO_CLASS(read);
IO_CLASS(write);
IO_CLASS(recv);
IO_CLASS(send);
IO_CLASS(connect);
IO_CLASS(shutdown);
IO_CLASS(poll);

/* A buffer between here and the trampoline is gone before the operation is. */
void coil_check_lent(const void *buf)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    uintptr_t base = coili_loop ? coili_loop->stack_base : 0;
    if (base && (uintptr_t)buf - here < base - here)
        coili_misuse(coili_loop->current, NULL, 0,
                     "a buffer on the stack is lent to an operation: make it "
                     "a field of the frame");
}

static struct io *io_new(const struct coil_future_class *cls,
                         enum coili_opcode opcode, int fd, size_t size)
{
    coili_need_loop();
    struct io *io = coil_custom_new(cls, size);
    if (!io)
        return NULL;
    io->op.complete = landed;
    io->op.opcode = (uint8_t)opcode;
    io->op.fd = fd;
    return io;
}

static struct coil_future *transfer(const struct coil_future_class *cls,
                                    enum coili_opcode opcode, int fd,
                                    const void *buf, size_t len,
                                    uint64_t offset, unsigned arg)
{
    struct io *io = io_new(cls, opcode, fd, sizeof *io);
    if (!io)
        return coil_future_nomem();
    coil_check_lent(buf);
    io->op.addr = (void *)(uintptr_t)buf;
    io->op.len = len < LEN_MOST ? (uint32_t)len : LEN_MOST;
    io->op.offset = offset;
    io->op.arg = arg;
    return &io->custom.future;
}

#define AT_POSITION UINT64_MAX

struct coil_future *coil_read(int fd, void *buf, size_t len)
{
    return transfer(&read_class, COILI_OP_READ, fd, buf, len, AT_POSITION, 0);
}

struct coil_future *coil_pread(int fd, void *buf, size_t len, uint64_t offset)
{
    return transfer(&read_class, COILI_OP_READ, fd, buf, len, offset, 0);
}

struct coil_future *coil_write(int fd, const void *buf, size_t len)
{
    return transfer(&write_class, COILI_OP_WRITE, fd, buf, len, AT_POSITION, 0);
}

struct coil_future *coil_pwrite(int fd, const void *buf, size_t len,
                                uint64_t offset)
{
    return transfer(&write_class, COILI_OP_WRITE, fd, buf, len, offset, 0);
}

struct coil_future *coil_recv(int fd, void *buf, size_t len)
{
    return transfer(&recv_class, COILI_OP_RECV, fd, buf, len, 0, 0);
}

struct coil_future *coil_send(int fd, const void *buf, size_t len)
{
    return transfer(&send_class, COILI_OP_SEND, fd, buf, len, 0, MSG_NOSIGNAL);
}

struct coil_future *coil_shutdown(int fd, int how)
{
    struct io *io = io_new(&shutdown_class, COILI_OP_SHUTDOWN, fd, sizeof *io);
    if (!io)
        return coil_future_nomem();
    io->op.arg = (uint32_t)how;
    return &io->custom.future;
}

struct coil_future *coil_poll(int fd, unsigned events)
{
    struct io *io = io_new(&poll_class, COILI_OP_POLL, fd, sizeof *io);
    if (!io)
        return coil_future_nomem();
    io->op.arg = events;
    return &io->custom.future;
}

/* ---- accept ----------------------------------------------------------- */

/* A connection that nobody took is not to leak. */
static void accept_dispose(struct coil_future *done)
{
    close((int)coil_future_int(done));
}

static const struct coil_future_class accept_class = {
    .name = "accept",
    .start = io_start,
    .cancel = io_cancel,
    .free = io_free,
    .dispose = accept_dispose,
    .describe = io_describe,
};

struct coil_future *coil_accept(int fd)
{
    struct io *io = io_new(&accept_class, COILI_OP_ACCEPT, fd, sizeof *io);
    if (!io)
        return coil_future_nomem();
    io->op.arg = SOCK_CLOEXEC;
    return &io->custom.future;
}

/* ---- connect ---------------------------------------------------------- */

struct connect {
    struct io io;
    struct coil_addr addr;
};

struct coil_future *coil_connect(int fd, const struct coil_addr *addr)
{
    struct io *io = io_new(&connect_class, COILI_OP_CONNECT, fd,
                           sizeof(struct connect));
    if (!io)
        return coil_future_nomem();
    struct connect *connect = (struct connect *)io;
    connect->addr = *addr;
    io->op.addr = &connect->addr.u.sa;
    io->op.len = addr->len;
    return &io->custom.future;
}

/* ---- close ------------------------------------------------------------ */

static void close_start(struct coil_future *f)
{
    struct coil_loop *loop = coili_loop;
    struct io *io = io_of(f);
    if (io->op.fd < 0) {
        coil_future_set_error(f, -EINVAL);
        return;
    }
    int err = loop->table->submit(loop->backend, &io->op);
    if (err == -EBADF) /* somebody else closes it */
        coil_future_set_error(f, err);
    else if (err < 0) /* closing is not subject to any bound */
        landed(&io->op, close(io->op.fd) < 0 ? -errno : 0, 0);
}

static const struct coil_future_class close_class = {
    .name = "close",
    .start = close_start,
    .free = io_free,
    .describe = io_describe,
};

struct coil_future *coil_close(int fd)
{
    struct io *io = io_new(&close_class, COILI_OP_CLOSE, fd, sizeof *io);
    if (!io && fd >= 0) {
        /* Closed all the same: who asks for it forgets the number. */
        coili_loop->table->cancel_fd(coili_loop->backend, fd);
        close(fd);
    }
    return io ? &io->custom.future : coil_future_nomem();
}

/* ---- Receivers -------------------------------------------------------- */

enum receiver_state { MULTI, WAIT, POLL, OWN, PAUSED, FAILING, OVER };

/* What is not a shared buffer but the receiver's own block. */
#define OWN_BLOCK UINT32_MAX

/* What a completion touches lies together: op.complete and what follows. */
struct coil_receiver {
    struct coil_custom closing; /* done when the kernel has let go */
    struct coili_op op;
    coil_received_fn *received;
    void *arg;
    unsigned held, quota;
    bool own_lent, closed;
    uint8_t state;
    int err; /* while FAILING */
    union {
        struct coil_handle retry; /* while WAIT or FAILING */
        struct coil_piece own;    /* its block, while OWN or lent */
    } u;
};

static size_t block_bytes(void)
{
    return coili_loop->options.recv_buffer_bytes;
}

static void free_own(struct coil_receiver *r)
{
    coil_free(r->u.own.data, block_bytes());
    r->u.own.data = NULL;
    r->own_lent = false;
}

static void tell_failure(void *arg)
{
    struct coil_receiver *r = arg;
    r->state = OVER;
    r->received(r->arg, r->err, NULL);
}

/* There is no way to go on. Told soon: its owner may be in the middle of it. */
static void receiver_fail(struct coil_receiver *r, int err)
{
    if (r->state == OWN)
        free_own(r);
    r->state = FAILING;
    r->err = err;
    r->u.retry = (struct coil_handle){ 0 };
    coil_call_soon(&r->u.retry, tell_failure, r);
}

static void receiver_retry(void *arg);

/* When to look again for a control block: others have to end first. */
#define NO_ROOM_PAUSE COIL_MS(1)

static void receiver_wait(struct coil_receiver *r, int64_t delay)
{
    r->state = WAIT;
    r->u.retry = (struct coil_handle){ 0 };
    /* Without memory for a timer it asks in every pass. */
    if (delay == 0 || coil_call_later(&r->u.retry, delay, receiver_retry, r))
        coil_call_soon(&r->u.retry, receiver_retry, r);
}

static int receiver_begin(struct coil_receiver *r, enum receiver_state state)
{
    static const uint8_t opcodes[] = {
        [MULTI] = COILI_OP_RECV_MULTI,
        [POLL] = COILI_OP_POLL,
        [OWN] = COILI_OP_RECV,
    };
    struct coil_loop *loop = coili_loop;
    r->state = (uint8_t)state;
    r->op.opcode = opcodes[state];
    r->op.addr = state == OWN ? r->u.own.data : NULL;
    r->op.len = state == OWN ? (uint32_t)block_bytes() : 0;
    r->op.arg = state == POLL ? POLLIN | POLLRDHUP : 0;
    return loop->table->submit(loop->backend, &r->op);
}

static void receiver_arm(struct coil_receiver *r, enum receiver_state state)
{
    int err = receiver_begin(r, state);
    if (err == -ENOBUFS || err == -ENOMEM) {
        if (state == OWN)
            free_own(r);
        receiver_wait(r, NO_ROOM_PAUSE);
    } else if (err < 0) {
        receiver_fail(r, err);
    }
}

static void receiver_arm_own(struct coil_receiver *r)
{
    r->u.own.data = coil_alloc(block_bytes());
    if (r->u.own.data)
        receiver_arm(r, OWN);
    else
        receiver_wait(r, NO_ROOM_PAUSE);
}

static void deliver(struct coil_receiver *r, int res, unsigned buffer)
{
    struct coil_loop *loop = coili_loop;
    struct coil_piece *piece = &r->u.own;
    if (r->state == OWN) {
        r->own_lent = true;
        piece->buffer = OWN_BLOCK;
    } else {
        piece = &loop->pieces[buffer];
        piece->data = loop->table->buffer(loop->backend, buffer);
        piece->buffer = buffer;
    }
    piece->next = NULL;
    piece->len = (uint32_t)res;
    r->held++;
    r->received(r->arg, res, piece);
}

/* Those that ran in this pass have given back what they could. */
static void receiver_retry(void *arg)
{
    struct coil_receiver *r = arg;
    struct coil_loop *loop = coili_loop;
    r->u.own.data = NULL;
    bool free = loop->table->buffers_free(loop->backend) > 0;
    receiver_arm(r, free ? MULTI : POLL);
}

/* After a final completion: what next? */
static void receiver_next(struct coil_receiver *r, int res)
{
    struct coil_loop *loop = coili_loop;
    if (r->held >= r->quota || r->own_lent)
        r->state = PAUSED;
    else if (r->state == MULTI && res == -ENOBUFS)
        receiver_wait(r, 0);
    else if (r->state == POLL && loop->table->buffers_free(loop->backend) == 0)
        receiver_arm_own(r);
    else
        receiver_arm(r, MULTI);
}

static void receiver_landed(struct coili_op *op, int res, unsigned flags)
{
    struct coil_loop *loop = coili_loop;
    struct coil_receiver *r = COILI_CONTAINER(op, struct coil_receiver, op);
    unsigned buffer = COILI_CQE_BUFFER_ID(flags);
    bool shared = flags & COILI_CQE_BUFFER;
    bool data = res > 0 && (shared || r->state == OWN);
    bool more = flags & COILI_CQE_MORE;

    if (data && !r->closed)
        deliver(r, res, buffer);
    else if (shared)
        loop->table->buffer_return(loop->backend, buffer);

    if (more) {
        if (r->held >= r->quota)
            loop->table->cancel(loop->backend, op);
        return;
    }
    if (r->u.own.data && !r->own_lent)
        free_own(r);
    if (r->closed) {
        r->state = OVER;
        coil_future_set_int(&r->closing.future, 0);
    } else if (data || res == -ENOBUFS || res == -ECANCELED ||
               (r->state == POLL && res >= 0)) {
        receiver_next(r, res);
    } else {
        r->state = OVER;
        r->received(r->arg, res, NULL);
    }
}

static void receiver_close_start(struct coil_future *f)
{
    struct coil_receiver *r = COILI_CONTAINER(f, struct coil_receiver,
                                              closing.future);
    r->closed = true;
    if (r->state == WAIT || r->state == FAILING) {
        coil_handle_cancel(&r->u.retry);
        r->u.own.data = NULL;
        r->state = OVER;
    }
    if (r->state == PAUSED || r->state == OVER)
        coil_future_set_int(f, 0);
    else
        coili_loop->table->cancel(coili_loop->backend, &r->op);
}

static void receiver_free(struct coil_future *f)
{
    coil_custom_free(f);
}

static const struct coil_future_class receiver_class = {
    .name = "close receiver",
    .start = receiver_close_start,
    .free = receiver_free,
};

/* The shared buffers and a piece for each, at first need. */
static int open_buffers(struct coil_loop *loop)
{
    size_t bytes = loop->options.recv_buffers * sizeof *loop->pieces;
    if (loop->pieces)
        return 0;
    struct coil_piece *pieces = coil_alloc(bytes);
    if (!pieces)
        return -ENOMEM;
    int err = loop->table->buffers_open(loop->backend);
    if (err < 0) {
        coil_free(pieces, bytes);
        return err;
    }
    loop->pieces = pieces;
    return 0;
}

int coil_receiver_open(struct coil_receiver **out, int fd,
                       coil_received_fn *received, void *arg)
{
    struct coil_loop *loop = coili_need_loop();
    int err = open_buffers(loop);
    if (err < 0)
        return err;
    struct coil_receiver *r = coil_custom_new(&receiver_class, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->op.complete = receiver_landed;
    r->op.fd = fd;
    r->received = received;
    r->arg = arg;
    r->quota = loop->options.recv_buffers / 8;
    if (r->quota < 4)
        r->quota = 4;
    err = receiver_begin(r, MULTI);
    if (err < 0) {
        coil_custom_free(r);
        return err;
    }
    *out = r;
    return 0;
}

void coil_receiver_return(struct coil_receiver *r, struct coil_piece *piece)
{
    struct coil_loop *loop = coili_loop;
    if (piece->buffer == OWN_BLOCK)
        free_own(r);
    else
        loop->table->buffer_return(loop->backend, piece->buffer);
    r->held--;
    if (r->state == PAUSED && !r->closed && !r->own_lent &&
        r->held <= r->quota / 2)
        receiver_arm(r, MULTI);
}

bool coil_receiver_paused(const struct coil_receiver *r)
{
    return r->state == PAUSED || r->op.cancelling || r->own_lent ||
           r->held >= r->quota;
}

struct coil_future *coil_receiver_close(struct coil_receiver *r)
{
    return &r->closing.future;
}

/* ---- Senders ---------------------------------------------------------- */

/*
 * The first in the queue is in flight. The kernel may take a part of it; the
 * rest goes next, before anything else does.
 */
struct coil_sending {
    struct io io;
    struct coil_sender *sender;
    struct coil_sending *next;
    const char *buf;
    size_t len, sent;
};

static struct coil_sending *sending_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct coil_sending, io.custom.future);
}

void coil_sender_init(struct coil_sender *s, int fd)
{
    *s = (struct coil_sender){ .fd = fd };
}

static int send_rest(struct coil_sending *it)
{
    size_t left = it->len - it->sent;
    it->io.op.addr = (void *)((uintptr_t)it->buf + it->sent);
    it->io.op.len = left < LEN_MOST ? (uint32_t)left : LEN_MOST;
    return coili_loop->table->submit(coili_loop->backend, &it->io.op);
}

static void leave_queue(struct coil_sending *it)
{
    struct coil_sender *s = it->sender;
    struct coil_sending **p = &s->first, *before = NULL;
    while (*p != it) {
        before = *p;
        p = &before->next;
    }
    *p = it->next;
    if (s->last == it)
        s->last = before;
}

static void finish_sending(struct coil_sending *it, int err)
{
    if (err < 0 && it->sent > 0)
        it->sender->broken = true; /* the peer has a part of it */
    leave_queue(it);
    if (err < 0)
        coil_future_set_error(&it->io.custom.future, err);
    else
        coil_future_set_int(&it->io.custom.future, (int64_t)it->len);
}

/* Why nothing more can be sent; or 0. */
static int refusal(const struct coil_sender *s)
{
    return s->closed ? COIL_ECLOSED : s->broken ? -EPIPE : 0;
}

/* The next in line, if it can be begun; those that cannot are told. */
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

static void sent(struct coili_op *op, int res, unsigned flags)
{
    (void)flags;
    struct coil_sending *it = COILI_CONTAINER(op, struct coil_sending, io.op);
    struct coil_sender *s = it->sender;
    if (res > 0)
        it->sent += (size_t)res; /* maybe not all of it */
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

static void sending_start(struct coil_future *f)
{
    struct coil_sending *it = sending_of(f);
    struct coil_sender *s = it->sender;
    int err = refusal(s);
    if (err < 0) {
        coil_future_set_error(f, err);
        return;
    }
    if (s->last) {
        s->last->next = it;
        s->last = it;
        return;
    }
    s->first = s->last = it;
    err = send_rest(it);
    if (err < 0)
        finish_sending(it, err);
}

static void sending_cancel(struct coil_future *f)
{
    struct coil_sending *it = sending_of(f);
    if (it == it->sender->first)
        coili_loop->table->cancel(coili_loop->backend, &it->io.op);
    else
        finish_sending(it, -ECANCELED);
}

static const struct coil_future_class sending_class = {
    .name = "send",
    .start = sending_start,
    .cancel = sending_cancel,
    .free = io_free,
    .describe = io_describe,
};

static struct coil_sending *sending_new(struct coil_sender *s,
                                        enum coili_opcode opcode, unsigned arg)
{
    struct io *io = io_new(&sending_class, opcode, s->fd,
                           sizeof(struct coil_sending));
    if (!io)
        return NULL;
    struct coil_sending *it = (struct coil_sending *)io;
    io->op.complete = sent;
    io->op.arg = arg;
    it->sender = s;
    return it;
}

struct coil_future *coil_sender_send(struct coil_sender *s, const void *buf,
                                     size_t len)
{
    struct coil_sending *it = sending_new(s, COILI_OP_SEND,
                                          MSG_NOSIGNAL | MSG_WAITALL);
    if (!it)
        return coil_future_nomem();
    coil_check_lent(buf);
    it->buf = buf;
    it->len = len;
    return &it->io.custom.future;
}

struct coil_future *coil_sender_end(struct coil_sender *s)
{
    struct coil_sending *it = sending_new(s, COILI_OP_SHUTDOWN, SHUT_WR);
    return it ? &it->io.custom.future : coil_future_nomem();
}

void coil_sender_close(struct coil_sender *s, coil_call_fn *idle, void *arg)
{
    s->closed = true;
    if (!s->first) {
        coil_call_soon(&s->idle, idle, arg);
        return;
    }
    s->idle.fn = idle;
    s->idle.arg = arg;
    coili_loop->table->cancel(coili_loop->backend, &s->first->io.op);
}
