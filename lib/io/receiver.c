// SPDX-License-Identifier: MIT
/*
 * receiver.c: bytes as they arrive, in buffers that all connections share.
 *
 * A receiver is one multishot receive. While nothing arrives it holds no
 * buffer. What it does when all shared buffers are in use:
 *
 *     MULTI   the multishot receive is armed; it completes once per buffer
 *       |                                         ^
 *       | -ENOBUFS                                |
 *       v                                         |
 *     WAIT    until the ready tasks have run. Has one returned a buffer?
 *       |                                         | yes
 *       | no                                      |
 *       v                                         |
 *     POLL    until bytes have arrived: an idle connection must not hold memory
 *       |                                         |
 *       | and still no buffer is free             |
 *       v                                         |
 *     OWN     one receive into a block that is allocated for it
 *
 * So no receiver waits for another one's buffers. A receiver whose owner holds
 * a quota of buffers is PAUSED: its receive is cancelled until some are
 * returned. Without memory for a block, or without room for one more operation
 * (operations_limit), it stays in WAIT for a millisecond at a time.
 */
#include <coil/receiver.h>

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include <coil/loop.h>
#include <coil/wait.h>

#include "backend/backend.h"
#include "base/list.h"
#include "core/loop.h"

enum receiver_state { MULTI, WAIT, POLL, OWN, PAUSED, FAILING, OVER };

/* piece.buffer of a piece that is the receiver's own block. */
#define OWN_BLOCK UINT32_MAX

/* The fields that a completion touches are together, from op.complete on. */
struct coil_receiver {
    struct coil_custom closing; /* done when no operation is in flight */
    struct coili_operation op;
    coil_received_fn *received;
    void *arg;
    unsigned held, quota; /* pieces that the owner has not returned */
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

/*
 * The receiver cannot go on. Its owner is told through the ready queue and not
 * here, because this may run inside a call that the owner has made.
 */
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

/* The pause without room for an operation: others must end first. */
#define NO_ROOM_PAUSE COIL_MS(1)

static void receiver_wait(struct coil_receiver *r, int64_t delay)
{
    r->state = WAIT;
    r->u.retry = (struct coil_handle){ 0 };
    /* Without memory for a timer: in the next pass. */
    if (delay == 0 || coil_call_later(&r->u.retry, delay, receiver_retry, r))
        coil_call_soon(&r->u.retry, receiver_retry, r);
}

/* Submit the operation of a state. */
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

/* The same, and without room wait; other errors end the receiver. */
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

/* Lend a piece to the owner, until coil_receiver_return(). */
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

/* The tasks that ran in this pass have returned the buffers they could. */
static void receiver_retry(void *arg)
{
    struct coil_receiver *r = arg;
    struct coil_loop *loop = coili_loop;
    r->u.own.data = NULL;
    bool free = loop->table->buffers_free(loop->backend) > 0;
    receiver_arm(r, free ? MULTI : POLL);
}

/*
 * The next state after a final completion. The quota comes first, since a
 * paused receiver must not arm; one whose own block is lent pauses too, because
 * u.own is in use. -ENOBUFS of a multishot receive: no shared buffer is free.
 */
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

/*
 * Bytes, or the end of the operation (no MORE flag), or both.
 *
 * Bytes first: they are in order, and the owner must get them before it is told
 * of an end. A buffer that comes for a closed receiver, or without bytes, goes
 * back. While the operation goes on the only question is the quota. At its end
 * the own block is freed unless it is lent. Then a closed receiver is done, and
 * one that can go on does. The rest, 0 for the end of the stream or an error,
 * is the last call to the owner.
 */
static void receiver_completed(struct coili_operation *op, int res,
                               unsigned flags)
{
    struct coil_loop *loop = coili_loop;
    struct coil_receiver *r = COILI_CONTAINER(op, struct coil_receiver, op);
    unsigned buffer = COILI_COMPLETION_BUFFER_ID(flags);
    bool shared = flags & COILI_COMPLETION_BUFFER;
    bool data = res > 0 && (shared || r->state == OWN);
    bool more = flags & COILI_COMPLETION_MORE;

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
    if (r->state == PAUSED || r->state == OVER)
        coil_future_set_int(f, 0);
    else
        coili_loop->table->cancel(coili_loop->backend, &r->op);
}

static const struct coil_future_class receiver_class = {
    .name = "close receiver",
    .start = receiver_close_start,
};

/* Set up the shared buffers and a piece for each, when first needed. */
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

/* Receives at once, so that the first bytes are there when they are awaited. */
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
    r->op.complete = receiver_completed;
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

/* True if no byte, no end and no error is in the socket's queue. */
static bool is_silent(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EWOULDBLOCK);
}

/*
 * While an operation is armed the backend knows. Without one (PAUSED, WAIT) all
 * that arrived is in the socket's queue, and the socket is asked. A receiver
 * that is OVER has told all.
 */
bool coil_receiver_flush(struct coil_receiver *r)
{
    struct coil_loop *loop = coili_loop;
    if (r->op.state != COILI_OPERATION_IDLE &&
        !loop->table->flush(loop->backend, &r->op))
        return false;
    if (r->op.state != COILI_OPERATION_IDLE || r->state == OVER)
        return true;
    return r->state != FAILING && is_silent(r->op.fd);
}

struct coil_future *coil_receiver_close(struct coil_receiver *r)
{
    if (!r)
        return coil_sleep(0);
    r->closed = true;
    if (r->state == WAIT || r->state == FAILING) {
        coil_handle_cancel(&r->u.retry);
        r->u.own.data = NULL;
        r->state = OVER;
    }
    return &r->closing.future;
}
