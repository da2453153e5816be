// SPDX-License-Identifier: MIT
/*
 * receiver.c: bytes as they arrive, in buffers that all connections share.
 *
 * A receiver is one multishot receive. While nothing arrives it holds no
 * buffer. When more connections have bytes than there are buffers, their
 * receivers wait in a line, a FIFO list of the loop, and get buffers in turn:
 *
 *     MULTI   the multishot receive is armed; it completes once per buffer
 *       |
 *       | -ENOBUFS: bytes have arrived, and no buffer was free
 *       v
 *     LINE  <-------------  POLL   until bytes have arrived
 *       |  ^                  ^
 *       v  | full             | not full, while the line is not empty, or no
 *     SHARED or OWN ----------+ buffer is free; otherwise back to MULTI
 *
 * SHARED is one receive into a shared buffer. At most as many of these receives
 * are in flight as buffers are free, so the kernel refuses one only if a
 * multishot receive has just used the buffer. They begin in each pass, and
 * whenever a buffer is returned.
 *
 * That is for a long line: more than LONG receivers for each buffer. While the
 * line is short, its first receivers go back to MULTI, in each pass as many as
 * buffers are free. One operation then brings several buffers, and a receiver
 * that is refused has cost no more than a poll would. Receives that are armed
 * already may take all buffers in each pass: if none is free when the line is
 * served, the first one that is returned afterwards is the line's.
 *
 * OWN is one receive into a block that is allocated for it: without it a
 * receiver could wait for ever for buffers that the owner of another receiver
 * keeps. It begins when no buffer is free and none was returned for a whole
 * pass.
 *
 * Both end at once if there are no bytes: an idle connection holds no memory.
 *
 * A poll reports an entry in the socket's error queue (MSG_ZEROCOPY, time
 * stamps) as long as the program does not read the entry, and a receive does
 * not find it. So the receiver would be polled and served in each pass. A
 * receiver whose poll has reported POLLERR alone, and which then received
 * nothing, therefore polls for changes (POLL_MULTI): it ignores that POLLERR,
 * and at the next report ends this poll and begins the usual one.
 *
 * The kernel also answers -ENOBUFS when it has no buffers of its own. So a
 * receiver that was refused REFUSALS_MOST times in a row, while no other one got
 * a buffer, goes on as OWN, and -ENOBUFS of that is an error of the connection.
 *
 * Why a line: if each refused receiver arms its multishot receive again as soon
 * as one buffer is free, all but one of thousands of connections are refused
 * again, and each costs a completion and a submission. Once begun such a
 * shortage did not end, and took five sixths of the throughput or more.
 *
 * A receiver whose owner holds a quota of buffers is PAUSED: its receive is
 * cancelled until some are returned. A receiver that finds no room for one more
 * operation (operations_limit) waits in the line, too. Without that room, or
 * without memory for a block, the line is tried again every millisecond.
 */
#include <coil/receiver.h>

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include <coil/loop.h>
#include <coil/wait.h>

#include "backend/backend.h"
#include "base/check.h"
#include "base/descriptor.h"
#include "base/list.h"
#include "core/loop.h"

enum receiver_state { MULTI, LINE, POLL, SHARED, OWN, PAUSED, FAILING, OVER };

/* piece.buffer of a piece that is the receiver's own block. */
#define OWN_BLOCK UINT32_MAX

/*
 * The most receives of SHARED and OWN in flight, and of MULTI begun at once.
 * Their completions come in one enter and have to fit into the completion queue
 * beside all others.
 */
#define SERVING_MOST 64u

/* Receivers for each buffer: a line of more is long. */
#define LONG 4u

#define REFUSALS_MOST 16

/* The pause without room for an operation: others must end first. */
#define NO_ROOM_PAUSE COIL_MS(1)

/* What the receivers of a loop share. */
struct coili_receivers {
    struct coili_list first;    /* the line, of coil_receiver.u.link: those */
    struct coili_list line;     /* that were refused twice come first */
    unsigned waiting;           /* receivers in both */
    unsigned serving;           /* receives of SHARED and OWN in flight */
    struct coil_handle call;    /* of serve_each_pass() */
    bool called;                /* serve_each_pass() will be called */
    bool waited;                /* the last call found no free buffer, and none
                                   was returned since */
    bool taken;                 /* a shared buffer was used since then */
    struct coil_piece pieces[]; /* one for each shared buffer */
};

/* The fields that a completion touches are together, from op.complete on. */
struct coil_receiver {
    struct coil_custom closing; /* done when no operation is in flight */
    struct coili_operation op;
    coil_received_fn *received;
    void *arg;
    unsigned held, quota; /* pieces that the owner has not returned */
    bool own_lent : 1, closed : 1;
    bool only_error : 1; /* the last poll has reported POLLERR alone */
    uint8_t state;
    uint8_t refusals; /* since the last bytes: see count_refusal() */
    int err; /* while FAILING */
    union {
        struct coili_list link;   /* while LINE */
        struct coil_handle retry; /* while FAILING */
        struct coil_piece own;    /* its block, while OWN or lent */
    } u;
};

static size_t block_bytes(void)
{
    return coili_loop->options.recv_buffer_bytes;
}

static unsigned buffers_free(const struct coil_loop *loop)
{
    return loop->table->buffers_free(loop->backend);
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
    r->state = FAILING;
    r->err = err;
    r->u.retry = (struct coil_handle){ 0 };
    coil_call_soon(&r->u.retry, tell_failure, r);
}

/* Submit the operation of a state. An error does not change the receiver. */
static int receiver_begin(struct coil_receiver *r, enum receiver_state state,
                          void *block)
{
    static const uint8_t opcodes[] = {
        [MULTI] = COILI_OP_RECV_MULTI,
        [POLL] = COILI_OP_POLL,
        [SHARED] = COILI_OP_RECV_SHARED,
        [OWN] = COILI_OP_RECV,
    };
    struct coil_loop *loop = coili_loop;
    r->op.opcode = opcodes[state];
    if (state == POLL && r->only_error)
        r->op.opcode = COILI_OP_POLL_MULTI;
    r->op.addr = block;
    r->op.len = (uint32_t)block_bytes(); /* OWN; a shared buffer has as many */
    r->op.arg = state == POLL ? POLLIN | POLLRDHUP : MSG_DONTWAIT;
    int err = loop->table->submit(loop->backend, &r->op);
    if (err == 0)
        r->state = (uint8_t)state;
    return err;
}

/* ---- The line --------------------------------------------------------- */

/* There is no room or no memory for an operation: others must end first. */
static bool is_out_of_room(int err)
{
    return err == -ENOBUFS || err == -ENOMEM;
}

static struct coil_receiver *first_in_line(const struct coili_receivers *all)
{
    struct coili_list *link = coili_list_first(&all->first);
    if (!link)
        link = coili_list_first(&all->line);
    return link ? COILI_CONTAINER(link, struct coil_receiver, u.link) : NULL;
}

static void leave_line(struct coil_receiver *r)
{
    coili_list_remove(&r->u.link);
    coili_loop->receivers->waiting--;
}

/* The first receiver leaves the line, unless its receive finds no room. */
static int serve_first(struct coil_receiver *r, enum receiver_state state)
{
    if (r->refusals == REFUSALS_MOST)
        state = OWN;
    void *block = state == OWN ? coil_alloc(block_bytes()) : NULL;
    if (state == OWN && !block)
        return -ENOMEM;
    int err = receiver_begin(r, state, block);
    if (err < 0)
        coil_free(block, block_bytes());
    if (is_out_of_room(err))
        return err;
    leave_line(r);
    if (err < 0) {
        receiver_fail(r, err);
    } else {
        if (state != MULTI)
            coili_loop->receivers->serving++;
        r->u.own.data = block;
    }
    return 0;
}

/* Begin receives for the line, one for each free buffer. OWN needs none. */
static int serve(enum receiver_state state)
{
    struct coili_receivers *all = coili_loop->receivers;
    unsigned most = buffers_free(coili_loop);
    struct coil_receiver *r;
    int err = 0;
    if (state == OWN || most > SERVING_MOST)
        most = SERVING_MOST;
    for (unsigned n = all->serving; err == 0 && n < most; n++) {
        r = first_in_line(all);
        if (!r)
            break;
        err = serve_first(r, state);
    }
    return err;
}

static bool is_long(const struct coil_loop *loop)
{
    return loop->receivers->waiting > LONG * loop->options.recv_buffers;
}

static void serve_each_pass(void *arg);

static void call_again(struct coil_loop *loop, int64_t delay)
{
    struct coil_handle *call = &loop->receivers->call;
    loop->receivers->called = true;
    /* Without memory for a timer: in the next pass. */
    if (delay == 0 || coil_call_later(call, delay, serve_each_pass, loop) < 0)
        coil_call_soon(call, serve_each_pass, loop);
}

/*
 * Called in each pass while the line is not empty. Begins OWN if, now and at
 * the last call, no buffer was free and no receive was in flight, and none was
 * returned in between: all tasks that were ready have run and kept theirs.
 */
static void serve_each_pass(void *arg)
{
    struct coil_loop *loop = arg;
    struct coili_receivers *all = loop->receivers;
    bool none = buffers_free(loop) == 0 && all->serving == 0;
    int err = serve(none && all->waited ? OWN : is_long(loop) ? SHARED : MULTI);
    all->waited = none;
    all->taken = false;
    all->called = false;
    if (all->waiting > 0)
        call_again(loop, err < 0 ? NO_ROOM_PAUSE : 0);
}

/*
 * One that was refused has lost its turn to receivers in front of it, whose
 * multishot receives took all buffers. These have joined the line again before
 * it: so from its second refusal on it comes before those that had bytes.
 */
static void join_line(struct coil_receiver *r)
{
    struct coil_loop *loop = coili_loop;
    struct coili_receivers *all = loop->receivers;
    r->state = LINE;
    r->u.link = (struct coili_list){ 0 };
    coili_list_append(r->refusals < 2 ? &all->line : &all->first, &r->u.link);
    all->waiting++;
    if (!all->called) {
        all->waited = false;
        call_again(loop, 0);
    }
}

/*
 * Return a shared buffer. The first in a long line gets it at once, and so does
 * the first in a short line if serve_each_pass() has just found no free buffer:
 * multishot receives that are armed may take every buffer before each call.
 */
static void return_buffer(struct coil_loop *loop, unsigned buffer)
{
    struct coili_receivers *all = loop->receivers;
    bool none_before = all->waited;
    loop->table->buffer_return(loop->backend, buffer);
    all->waited = false;
    if (is_long(loop))
        serve(SHARED);
    else if (none_before)
        serve(MULTI);
}

/* ---- Receiving -------------------------------------------------------- */

/*
 * A multishot receive would take a buffer before the receivers in line, or would
 * be refused.
 */
static bool is_short(void)
{
    const struct coil_loop *loop = coili_loop;
    return loop->receivers->waiting > 0 ||
           buffers_free(loop) <= loop->receivers->serving;
}

/* Wait for bytes. */
static void receiver_arm(struct coil_receiver *r)
{
    enum receiver_state state = is_short() ? POLL : MULTI;
    r->only_error = r->only_error && state == POLL;
    int err = receiver_begin(r, state, NULL);
    if (is_out_of_room(err))
        join_line(r);
    else if (err < 0)
        receiver_fail(r, err);
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
        piece = &loop->receivers->pieces[buffer];
        piece->data = loop->table->buffer(loop->backend, buffer);
        piece->buffer = buffer;
    }
    piece->next = NULL;
    piece->len = (uint32_t)res;
    r->held++;
    r->received(r->arg, res, piece);
}

/*
 * True if a poll has news. False if a poll for changes has reported, at its
 * beginning, the error that was there already.
 */
static bool is_news(struct coil_receiver *r, int res, bool more)
{
    bool known = r->only_error && more && res == POLLERR;
    r->only_error = !more && res == POLLERR;
    return !known;
}

/*
 * Two refusals are enough to come first in the line. More are counted only if no
 * other receiver got a buffer in this pass: then it is the kernel that has none.
 */
static void count_refusal(struct coil_receiver *r)
{
    if (r->refusals < 2 ||
        (r->refusals < REFUSALS_MOST && !coili_loop->receivers->taken))
        r->refusals++;
}

/*
 * The next state after a final completion. The quota comes first, since a
 * paused receiver must not arm; one whose own block is lent pauses too, because
 * u.own is in use. A receiver that is refused, or for which a poll has ended,
 * has bytes and waits for a buffer. So does one that has filled a buffer, while
 * buffers are short: it has more bytes, as a rule, and needs no poll.
 */
static void receiver_next(struct coil_receiver *r, int res)
{
    if (r->held >= r->quota || r->own_lent)
        r->state = PAUSED;
    else if (res == -ENOBUFS || (r->state == POLL && res >= 0) ||
             (res == (int)block_bytes() && is_short()))
        join_line(r);
    else
        receiver_arm(r);
}

/*
 * Bytes, or the end of the operation (no MORE flag), or both.
 *
 * Bytes first: they are in order, and the owner must get them before it is told
 * of an end. A buffer that comes for a closed receiver, or without bytes, goes
 * back. While the operation goes on, it is cancelled if the quota is reached,
 * or if it is a poll that has news. At its end the own block is freed unless it
 * is lent. Then a closed receiver is done, and a receiver that can go on does.
 * Otherwise the last call to the owner reports 0, the end of the stream, or an
 * error.
 */
static void receiver_completed(struct coili_operation *op, int res,
                               unsigned flags)
{
    struct coil_loop *loop = coili_loop;
    struct coil_receiver *r = COILI_CONTAINER(op, struct coil_receiver, op);
    unsigned buffer = COILI_COMPLETION_BUFFER_ID(flags);
    bool shared = flags & COILI_COMPLETION_BUFFER;
    bool served = r->state == SHARED || r->state == OWN;
    bool data = res > 0 && (shared || r->state == OWN);
    bool more = flags & COILI_COMPLETION_MORE;
    bool refused = res == -ENOBUFS && (r->state == MULTI || r->state == SHARED);
    bool news = r->state == POLL && is_news(r, res, more);

    if (served) {
        loop->receivers->serving--;
        r->only_error = r->only_error && !data;
    }
    if (shared)
        loop->receivers->taken = true;
    if (data)
        r->refusals = 0;
    else if (refused)
        count_refusal(r);
    if (data && !r->closed)
        deliver(r, res, buffer);
    else if (shared)
        return_buffer(loop, buffer);

    if (more) {
        if (r->held >= r->quota || news)
            loop->table->cancel(loop->backend, op);
        return;
    }
    if (r->u.own.data && !r->own_lent)
        free_own(r);
    if (r->closed) {
        r->state = OVER;
        coil_future_set_int(&r->closing.future, 0);
    } else if (data || refused || res == -ECANCELED ||
               (served && res == -EAGAIN) || (r->state == POLL && res >= 0)) {
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
    struct coili_receivers *all = loop->receivers;
    if (all)
        return 0;
    size_t bytes = sizeof *all +
                   loop->options.recv_buffers * sizeof all->pieces[0];
    all = coil_alloc(bytes);
    if (!all)
        return -ENOMEM;
    int err = loop->table->buffers_open(loop->backend);
    if (err < 0) {
        coil_free(all, bytes);
        return err;
    }
    *all = (struct coili_receivers){ .serving = 0 };
    coili_list_init(&all->first);
    coili_list_init(&all->line);
    loop->receivers = all;
    return 0;
}

/* Receives at once, so that the first bytes are there when they are awaited. */
int coil_receiver_open(struct coil_receiver **out, int fd,
                       coil_received_fn *received, void *arg)
{
    coili_check(out, "coil_receiver_open: out is NULL");
    coili_check(received, "coil_receiver_open: received is NULL");
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
    err = receiver_begin(r, MULTI, NULL);
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
        return_buffer(loop, piece->buffer);
    r->held--;
    if (r->state == PAUSED && !r->closed && !r->own_lent &&
        r->held <= r->quota / 2)
        receiver_arm(r);
}

bool coil_receiver_paused(const struct coil_receiver *r)
{
    return r->state == PAUSED || r->op.cancelling || r->own_lent ||
           r->held >= r->quota;
}

/*
 * While an operation is in flight the backend is asked. Without an operation
 * (PAUSED, LINE) all that arrived is in the socket's queue, and the socket is
 * asked. A receiver that is OVER has delivered all.
 */
bool coil_receiver_flush(struct coil_receiver *r)
{
    struct coil_loop *loop = coili_loop;
    if (r->op.state != COILI_OPERATION_IDLE &&
        !loop->table->flush(loop->backend, &r->op))
        return false;
    if (r->op.state != COILI_OPERATION_IDLE || r->state == OVER)
        return true;
    return r->state != FAILING && coili_fd_is_silent(r->op.fd);
}

struct coil_future *coil_receiver_close(struct coil_receiver *r)
{
    if (!r)
        return coil_sleep(0);
    r->closed = true;
    if (r->state == LINE)
        leave_line(r);
    else if (r->state == FAILING)
        coil_handle_cancel(&r->u.retry);
    else
        return &r->closing.future;
    r->state = OVER;
    return &r->closing.future;
}
