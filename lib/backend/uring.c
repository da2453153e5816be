// SPDX-License-Identifier: MIT
/*
 * uring.c: the io_uring backend, and the only file that includes liburing.
 *
 * The kernel knows an operation by slot and generation, never by its address. A
 * slot is a record of at most one operation; its generation counts its users,
 * so a completion for a former user of the slot is recognised. The states of an
 * operation, and what changes them:
 *
 *     state       submit()       its completion   cancel()
 *     IDLE        -> IN_FLIGHT                    nothing to do
 *                 or QUEUED
 *     QUEUED                     --               completes with -ECANCELED:
 *                                                 -> IDLE
 *     IN_FLIGHT                  -> IDLE, or      a cancel request is sent
 *                                QUEUED: to be
 *                                begun again
 *
 * complete() is called for the operation's own final completion: until then the
 * kernel may write into the caller's buffer, also if the operation was
 * cancelled. The operation may be gone after that. Its slot is used again only
 * when the completion of the cancel request has come, too.
 *
 * When the submission queue is full its entries are submitted and it is filled
 * again. When the kernel accepts no entry for now (-EBUSY: its list of
 * completions has overflowed) the operation, or its cancel request, waits in
 * the line FOR_ENTRY. Callers do not notice this.
 *
 * The kernel carries out an operation in a worker thread if the operation
 * cannot end at once and the kernel cannot poll for it. Two rules follow:
 *
 * - No operation that may wait for a peer occupies a worker. SHUTDOWN, for
 *   which the kernel always takes a worker although it never waits, and CONNECT
 *   of a unix socket, which has no readiness to poll for while the backlog is
 *   full, are done by this thread (line DIRECT). Neither can block here. The
 *   connect is tried again after a pause (line AGAIN).
 * - When the kernel cannot start a worker (RLIMIT_NPROC, pids.max) it ends the
 *   operation with -ECANCELED, before anything was done. So an operation that
 *   coil has not cancelled is begun again a few times (line AGAIN, too), and
 *   after that completes with -EAGAIN.
 *
 * Operations are found by their descriptor: slots are linked in buckets. A
 * close cancels the other operations on its descriptor, and waits until all of
 * them have completed: a listening socket that the kernel still holds for an
 * accept would keep its port. Meanwhile the close is in `closing` and has no
 * slot.
 *
 * A cancel request may miss its operation (-ENOENT): an operation that moves
 * from one queue of the kernel to another is in neither. So the request is
 * repeated, but after a pause (line AGAIN, too): an operation that is never
 * found may be a read from a disk, which ends by itself.
 *
 * Flags of the ring: SINGLE_ISSUER and DEFER_TASKRUN make the kernel complete
 * operations only when this thread enters, in one batch; TASKRUN_FLAG tells
 * when there are such completions. Kernels that lack these flags get fewer
 * (setup()). No SQPOLL: its thread keeps a core busy.
 */
#include "uring.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <coil/time.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/descriptor.h"
#include "base/list.h"

#if defined(__SANITIZE_ADDRESS__)
#define POISON_BUFFERS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON_BUFFERS 1
#endif
#endif
#ifdef POISON_BUFFERS
#include <sanitizer/asan_interface.h>
#endif
#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#endif
#endif
#ifndef RUNNING_ON_VALGRIND
#define RUNNING_ON_VALGRIND 0
#endif
#ifndef VALGRIND_MAKE_MEM_DEFINED
#define VALGRIND_MAKE_MEM_DEFINED(p, n) ((void)(p), (void)(n))
#endif

/* Newer than liburing 2.3; the kernel's values under names of our own. */
#define FEAT_NO_IOWAIT (1u << 17)
#define ENTER_NO_IOWAIT (1u << 7)

#define SLOTS_PER_CHUNK 256u
#define GENERATION_MASK 0x3fffffffu
#define CANCEL_TAG ((uint64_t)1 << 63)

/*
 * Values of op->line: what an operation waits for. FOR_ENTRY and AGAIN contain
 * operations that are QUEUED, and operations that are IN_FLIGHT whose cancel
 * request waits.
 */
enum line_name {
    NO_LINE,
    FOR_ENTRY, /* there was no free entry */
    DIRECT,    /* done by this thread in wait() */
    AGAIN,     /* the kernel refused it, or the cancel request missed */
    LINES
};

/*
 * The first pause in the line AGAIN, in nanoseconds. The pause of an operation
 * doubles with each try, DOUBLINGS times at most. Slots store the end of a
 * pause in ticks of about this length.
 */
#define AGAIN_PAUSE 1000000
#define DOUBLINGS 5
#define TICK(ns) ((uint32_t)((uint64_t)(ns) >> 20))
#define TICK_NS ((int64_t)1 << 20)

/*
 * How often an operation that the kernel has ended unasked is begun again: for
 * 127 ms in all.
 */
#define TRIES 8

/* The most completions of one harvest; then the loop runs the tasks. */
#define BATCH 256

/* The most enters of one flush. Each of them delivers at least a few. */
#define FLUSHES 256

/* The kernel runs the work of so many operations in one enter, or of all. */
#define WORK_PER_ENTER 20

#define BUFFER_GROUP 0

/*
 * The longest pause between attempts to set up a ring or the shared buffers
 * without memory; with the shorter ones before it 127 ms in all.
 */
#define PATIENCE_MS 64

/*
 * The index of another slot is stored plus one, so 0 means none. Slots whose
 * operations have descriptors of the same bucket are linked.
 */
struct slot {
    struct coili_operation *op; /* NULL: free, or only cancel's is to come */
    uint32_t generation : 30;
    uint32_t awaited : 2; /* completions to come: own and cancel's */
    union {
        uint32_t next_free;
        uint32_t entry; /* IN_FLIGHT: number of its submission queue entry */
        uint32_t due;   /* QUEUED in the line AGAIN: in ticks */
    };
    uint32_t next, prev; /* in the bucket, while there is an operation */
};

#define FEW_BUCKETS 64
#define SLOTS_PER_BUCKET 4
#define CLOSES_PER_BUCKET 4

/* Operations in flight, and closes that wait for others, by descriptor. */
struct buckets {
    uint32_t *slots;
    unsigned slots_n;
    struct coili_operation **closes;
    unsigned closes_n;
    uint32_t few_slots[FEW_BUCKETS];
    struct coili_operation *few_closes[FEW_BUCKETS];
};

/*
 * A FIFO list of operations. The links are indexes of slots: two of them fit
 * into the space of a pointer, so the list is linked in both directions.
 */
struct line {
    uint32_t first, last;
};

struct coili_backend {
    struct io_uring ring;
    struct coili_alloc *alloc;
    struct coili_backend_options options;
    struct slot *chunks[(1u << 16) / SLOTS_PER_CHUNK + 1];
    unsigned slots_n;
    uint32_t first_free; /* index + 1 of a free slot; 0: there is none */
    struct line lines[LINES];
    unsigned in_line; /* operations in FOR_ENTRY and DIRECT */
    int64_t again_at; /* before this time none in AGAIN is due */
    struct buckets buckets;
    unsigned closing; /* closes in buckets; each waits for op.len others */
    bool ending;      /* end() was called: only closes begin */
    bool harvesting; /* uring_harvest() runs: it must not run within itself */
    bool woken; /* the poll of wake_fd has completed since wait() returned */
    bool refused; /* the last enter took no entry, and brought nothing */
    unsigned enter_flags;
    int wake_fd;
    int event_fd; /* made by uring_fd(); -1: not yet */
    struct coili_operation wake_op;
    struct io_uring_buf_ring *buf_ring;
    char *buf_memory;
    unsigned buf_free;
    uint64_t pages; /* bytes of buf_ring plus buf_memory, for munmap */
    struct coili_backend_stats stats;
};

/* ---- Slots ------------------------------------------------------------ */

static struct slot *slot_at(struct coili_backend *b, uint32_t i)
{
    return &b->chunks[i / SLOTS_PER_CHUNK][i % SLOTS_PER_CHUNK];
}

static void buckets_init(struct buckets *to)
{
    to->slots = to->few_slots;
    to->closes = to->few_closes;
    to->slots_n = to->closes_n = FEW_BUCKETS;
}

static void buckets_fini(struct coili_backend *b)
{
    struct buckets *to = &b->buckets;
    if (to->slots != to->few_slots)
        coili_put(b->alloc, to->slots, to->slots_n * sizeof *to->slots);
    if (to->closes != to->few_closes)
        coili_put(b->alloc, to->closes,
                  to->closes_n * sizeof(struct coili_operation *));
}

static uint32_t *slots_on(struct coili_backend *b, int fd)
{
    return &b->buckets.slots[(unsigned)fd & (b->buckets.slots_n - 1)];
}

/* The slot belongs to the operation from now on. */
static void link_slot(struct coili_backend *b, uint32_t i,
                      struct coili_operation *op)
{
    struct slot *s = slot_at(b, i);
    uint32_t *first = slots_on(b, op->fd);
    s->op = op;
    s->prev = 0;
    s->next = *first;
    if (s->next)
        slot_at(b, s->next - 1)->prev = i + 1;
    *first = i + 1;
}

/* The operation has completed, or gives its slot back. */
static void unlink_slot(struct coili_backend *b, uint32_t i)
{
    struct slot *s = slot_at(b, i);
    uint32_t *link = s->prev ? &slot_at(b, s->prev - 1)->next
                             : slots_on(b, s->op->fd);
    *link = s->next;
    if (s->next)
        slot_at(b, s->next - 1)->prev = s->prev;
    s->op = NULL;
}

/*
 * The number of buckets follows that of the slots. If there is no memory the
 * buckets stay few, and hold more slots.
 */
static void more_buckets(struct coili_backend *b)
{
    struct buckets *to = &b->buckets;
    unsigned n = to->slots_n * 2;
    if (b->slots_n <= to->slots_n * SLOTS_PER_BUCKET)
        return;
    uint32_t *slots = coili_get(b->alloc, n * sizeof *slots);
    if (!slots)
        return;
    memset(slots, 0, n * sizeof *slots);
    if (to->slots != to->few_slots)
        coili_put(b->alloc, to->slots, to->slots_n * sizeof *slots);
    to->slots = slots;
    to->slots_n = n;
    for (uint32_t i = 0; i < b->slots_n; i++)
        if (slot_at(b, i)->op)
            link_slot(b, i, slot_at(b, i)->op);
}

/* Slots come in chunks and are kept until the backend is closed. */
static int more_slots(struct coili_backend *b)
{
    if (b->slots_n >= b->options.operations_limit)
        return -ENOBUFS;
    struct slot *chunk = coili_get(b->alloc, SLOTS_PER_CHUNK * sizeof *chunk);
    if (!chunk)
        return -ENOMEM;
    b->chunks[b->slots_n / SLOTS_PER_CHUNK] = chunk;
    for (unsigned i = SLOTS_PER_CHUNK; i-- > 0;) {
        chunk[i] = (struct slot){ .generation = 1, .next_free = b->first_free };
        b->first_free = b->slots_n + i + 1;
    }
    b->slots_n += SLOTS_PER_CHUNK;
    more_buckets(b);
    return 0;
}

/* Give the operation a slot. Errors: -ENOBUFS, -ENOMEM. */
static int take_slot(struct coili_backend *b, struct coili_operation *op)
{
    if (b->stats.in_flight >= b->options.operations_limit)
        return -ENOBUFS;
    if (!b->first_free) {
        int err = more_slots(b);
        if (err < 0)
            return err;
    }
    uint32_t i = b->first_free - 1;
    struct slot *s = slot_at(b, i);
    b->first_free = s->next_free;
    link_slot(b, i, op);
    s->awaited = 1;
    op->slot = i;
    b->stats.in_flight++;
    return 0;
}

/* One of the completions for this slot has come; with the last it is free. */
static void slot_done(struct coili_backend *b, uint32_t i)
{
    struct slot *s = slot_at(b, i);
    if (--s->awaited > 0)
        return;
    if (s->op)
        unlink_slot(b, i);
    s->generation = (s->generation + 1) & GENERATION_MASK;
    s->next_free = b->first_free;
    b->first_free = i + 1;
    b->stats.in_flight--;
}

/* What the kernel knows an operation by; CANCEL_TAG is added for its cancel. */
static uint64_t user_data(struct coili_backend *b, uint32_t i)
{
    return (uint64_t)slot_at(b, i)->generation << 32 | (i + 1);
}

/* ---- Entering --------------------------------------------------------- */

static unsigned unsubmitted(const struct coili_backend *b)
{
    return b->ring.sq.sqe_tail - b->ring.sq.sqe_head;
}

/*
 * One io_uring_enter(2): submit all entries and wait for `wait_for` completions
 * or `timeout_ns`. liburing's own wrapper cannot pass NO_IOWAIT, so the tail is
 * published here; the index array was made the identity by uring_open().
 */
static int enter(struct coili_backend *b, unsigned wait_for, int64_t timeout_ns)
{
    struct io_uring_sq *sq = &b->ring.sq;
    unsigned n = unsubmitted(b);
    io_uring_smp_store_release(sq->ktail, sq->sqe_tail);

    struct __kernel_timespec ts = { 0 };
    struct io_uring_getevents_arg arg = { 0 };
    if (timeout_ns >= 0) {
        ts.tv_sec = timeout_ns / 1000000000;
        ts.tv_nsec = timeout_ns % 1000000000;
        arg.ts = (uint64_t)(uintptr_t)&ts;
    }
    unsigned flags = b->enter_flags | IORING_ENTER_GETEVENTS |
                     IORING_ENTER_EXT_ARG;
    int n_sent = io_uring_enter2((unsigned)b->ring.enter_ring_fd, n, wait_for,
                                 flags, (void *)&arg, sizeof arg);
    b->stats.enters++;
    /* The kernel's head says how many it took, also when the wait failed. */
    unsigned head = io_uring_smp_load_acquire(sq->khead);
    b->stats.submitted += head - sq->sqe_head;
    sq->sqe_head = head;
    return n_sent;
}

/* A free entry; NULL if the kernel accepts no more for now. */
static struct io_uring_sqe *get_sqe(struct coili_backend *b)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&b->ring);
    for (int tries = 0; !sqe && tries < 4; tries++) {
        enter(b, 0, 0);
        sqe = io_uring_get_sqe(&b->ring);
    }
    return sqe;
}

/* ---- Submitting ------------------------------------------------------- */

/* Describe the operation in an entry; the fields are those of backend.h. */
static void prepare(struct io_uring_sqe *sqe, const struct coili_operation *op)
{
    switch ((enum coili_opcode)op->opcode) {
    case COILI_OP_READ:
        io_uring_prep_read(sqe, op->fd, op->addr, op->len, op->offset);
        break;
    case COILI_OP_WRITE:
        io_uring_prep_write(sqe, op->fd, op->addr, op->len, op->offset);
        break;
    case COILI_OP_RECV:
        io_uring_prep_recv(sqe, op->fd, op->addr, op->len, (int)op->arg);
        break;
    case COILI_OP_SEND:
        io_uring_prep_send(sqe, op->fd, op->addr, op->len, (int)op->arg);
        break;
    case COILI_OP_ACCEPT:
        io_uring_prep_accept(sqe, op->fd, op->addr,
                             (socklen_t *)(uintptr_t)op->offset, (int)op->arg);
        break;
    case COILI_OP_CONNECT:
        io_uring_prep_connect(sqe, op->fd, op->addr, op->len);
        break;
    case COILI_OP_CLOSE:
        io_uring_prep_close(sqe, op->fd);
        break;
    case COILI_OP_SHUTDOWN:
        io_uring_prep_shutdown(sqe, op->fd, (int)op->arg);
        break;
    case COILI_OP_POLL:
        io_uring_prep_poll_add(sqe, op->fd, op->arg);
        break;
    case COILI_OP_POLL_MULTI:
        io_uring_prep_poll_multishot(sqe, op->fd, op->arg);
        break;
    case COILI_OP_ACCEPT_MULTI:
        io_uring_prep_multishot_accept(sqe, op->fd, NULL, NULL, (int)op->arg);
        break;
    case COILI_OP_RECV_SHARED:
        io_uring_prep_recv(sqe, op->fd, NULL, 0, (int)op->arg);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = BUFFER_GROUP;
        break;
    case COILI_OP_RECV_MULTI:
        io_uring_prep_recv_multishot(sqe, op->fd, NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = BUFFER_GROUP;
        break;
    }
}

/*
 * Under AddressSanitizer a buffer that the kernel may write to is poisoned, so
 * that the program's use of it is reported. When the operation has completed
 * the buffer may be used again; for valgrind the bytes received are defined.
 */
static void hide(const void *p, size_t n)
{
#ifdef POISON_BUFFERS
    __asan_poison_memory_region(p, n);
#else
    (void)p;
    (void)n;
#endif
}

static void show(const void *p, size_t n)
{
#ifdef POISON_BUFFERS
    __asan_unpoison_memory_region(p, n);
#else
    (void)p;
    (void)n;
#endif
}

static void lend_buffer(const struct coili_operation *op)
{
    if (op->opcode == COILI_OP_READ || op->opcode == COILI_OP_RECV)
        hide(op->addr, op->len);
}

static void take_buffer_back(const struct coili_operation *op, int res)
{
    if (op->opcode != COILI_OP_READ && op->opcode != COILI_OP_RECV)
        return;
    show(op->addr, op->len);
    if (res > 0)
        VALGRIND_MAKE_MEM_DEFINED(op->addr, (size_t)res);
}

/* False if there is no entry for now. */
static bool put_entry(struct coili_backend *b, struct coili_operation *op)
{
    struct io_uring_sqe *sqe = get_sqe(b);
    if (!sqe)
        return false;
    prepare(sqe, op);
    sqe->user_data = user_data(b, op->slot);
    slot_at(b, op->slot)->entry = b->ring.sq.sqe_tail - 1;
    op->state = COILI_OPERATION_IN_FLIGHT;
    return true;
}

static bool is_empty(const struct coili_backend *b, enum line_name line)
{
    return !b->lines[line].first;
}

static struct coili_operation *op_at(struct coili_backend *b, uint32_t place)
{
    return slot_at(b, place - 1)->op;
}

static struct coili_operation *first_in(struct coili_backend *b,
                                        enum line_name line)
{
    return op_at(b, b->lines[line].first);
}

static void join(struct coili_backend *b, enum line_name name,
                 struct coili_operation *op)
{
    struct line *line = &b->lines[name];
    uint32_t place = op->slot + 1, last = line->last;
    op->line = (uint8_t)name;
    op->links.in_line.next = 0;
    op->links.in_line.prev = last;
    *(last ? &op_at(b, last)->links.in_line.next : &line->first) = place;
    line->last = place;
    b->in_line += name != AGAIN;
}

/* The operation leaves its line, if it is in one. */
static void leave(struct coili_backend *b, struct coili_operation *op)
{
    if (op->line == NO_LINE)
        return;
    struct line *line = &b->lines[op->line];
    uint32_t next = op->links.in_line.next, prev = op->links.in_line.prev;
    *(prev ? &op_at(b, prev)->links.in_line.next : &line->first) = next;
    *(next ? &op_at(b, next)->links.in_line.prev : &line->last) = prev;
    b->in_line -= op->line != AGAIN;
    op->line = NO_LINE;
}

/* Try the operation, or its cancel request, again after a pause. */
static void try_again(struct coili_backend *b, struct coili_operation *op)
{
    int shift = op->tries < DOUBLINGS ? op->tries : DOUBLINGS;
    int64_t due = coil_now() + ((int64_t)AGAIN_PAUSE << shift);
    if (is_empty(b, AGAIN) || due < b->again_at)
        b->again_at = due;
    if (op->state == COILI_OPERATION_QUEUED)
        slot_at(b, op->slot)->due = TICK(due);
    join(b, AGAIN, op);
}

/* Begin the operation again after a pause. The operation keeps its slot. */
static void begin_again(struct coili_backend *b, struct coili_operation *op)
{
    op->state = COILI_OPERATION_QUEUED;
    try_again(b, op);
    if (op->tries < UINT8_MAX)
        op->tries++;
}

/* Done by this thread: see the head of the file. */
static bool is_direct(const struct coili_operation *op)
{
    if (op->opcode != COILI_OP_CONNECT)
        return op->opcode == COILI_OP_SHUTDOWN;
    const struct sockaddr *sa = op->addr;
    return op->len >= sizeof sa->sa_family && sa->sa_family == AF_UNIX;
}

/*
 * If operations wait for an entry, this one waits behind them: a new operation
 * must not overtake them, even if there is a free entry.
 */
static int begin(struct coili_backend *b, struct coili_operation *op)
{
    int err = take_slot(b, op);
    if (err < 0)
        return err;
    lend_buffer(op);
    op->state = COILI_OPERATION_QUEUED;
    if (is_direct(op))
        join(b, DIRECT, op);
    else if (!is_empty(b, FOR_ENTRY) || !put_entry(b, op))
        join(b, FOR_ENTRY, op);
    return 0;
}

static struct coili_operation **closes_on(struct coili_backend *b, int fd)
{
    return &b->buckets.closes[(unsigned)fd & (b->buckets.closes_n - 1)];
}

/* The close of this descriptor that waits for other operations; or NULL. */
static struct coili_operation *close_pending_on(struct coili_backend *b, int fd)
{
    struct coili_operation *op = *closes_on(b, fd);
    while (op && op->fd != fd)
        op = op->links.next;
    return op;
}

/* As more_buckets(), for closes. */
static void more_close_buckets(struct coili_backend *b)
{
    struct buckets *to = &b->buckets;
    unsigned old = to->closes_n;
    struct coili_operation **from = to->closes, **closes, *op;
    if (b->closing <= old * CLOSES_PER_BUCKET)
        return;
    closes = coili_get(b->alloc, 2 * old * sizeof(struct coili_operation *));
    if (!closes)
        return;
    memset(closes, 0, 2 * old * sizeof(struct coili_operation *));
    to->closes = closes;
    to->closes_n = 2 * old;
    for (unsigned i = 0; i < old; i++)
        while ((op = from[i])) {
            from[i] = op->links.next;
            op->links.next = *closes_on(b, op->fd);
            *closes_on(b, op->fd) = op;
        }
    if (from != to->few_closes)
        coili_put(b->alloc, from, old * sizeof(struct coili_operation *));
}

static void link_close(struct coili_backend *b, struct coili_operation *op)
{
    b->closing++;
    more_close_buckets(b);
    op->links.next = *closes_on(b, op->fd);
    *closes_on(b, op->fd) = op;
}

static void unlink_close(struct coili_backend *b, struct coili_operation *op)
{
    struct coili_operation **p = closes_on(b, op->fd);
    while (*p != op)
        p = &(*p)->links.next;
    *p = op->links.next;
    b->closing--;
}

static int submit_close(struct coili_backend *b, struct coili_operation *op);

static int uring_submit(struct coili_backend *b, struct coili_operation *op)
{
    op->cancelling = 0;
    op->line = NO_LINE;
    op->tries = 0;
    if (b->closing && close_pending_on(b, op->fd))
        return -EBADF;
    if (op->opcode == COILI_OP_CLOSE)
        return submit_close(b, op);
    return b->ending ? -ECANCELED : begin(b, op);
}

/* False if there is no entry for now. Its completion is awaited, too. */
static bool put_cancel_entry(struct coili_backend *b,
                             struct coili_operation *op)
{
    struct io_uring_sqe *sqe = get_sqe(b);
    if (!sqe)
        return false;
    io_uring_prep_cancel64(sqe, user_data(b, op->slot), 0);
    sqe->user_data = user_data(b, op->slot) | CANCEL_TAG;
    slot_at(b, op->slot)->awaited++;
    return true;
}

/* The final completion. The operation may be gone when this returns. */
static void finish(struct coili_operation *op, int res, unsigned flags)
{
    take_buffer_back(op, res);
    op->state = COILI_OPERATION_IDLE;
    op->complete(op, res, flags);
}

/* A second cancel of an operation has no effect, nor one of an idle one. */
static void uring_cancel(struct coili_backend *b, struct coili_operation *op)
{
    if (op->state == COILI_OPERATION_QUEUED) {
        leave(b, op);
        slot_done(b, op->slot);
        finish(op, -ECANCELED, 0);
    } else if (op->state == COILI_OPERATION_IN_FLIGHT && !op->cancelling) {
        op->cancelling = 1;
        if (!is_empty(b, FOR_ENTRY) || !put_cancel_entry(b, op))
            join(b, FOR_ENTRY, op);
    }
}

/* The first slot from `i` on of an operation on this descriptor, no close. */
static uint32_t next_on(struct coili_backend *b, uint32_t i, int fd)
{
    while (i) {
        const struct coili_operation *op = slot_at(b, i - 1)->op;
        if (op->fd == fd && op->opcode != COILI_OP_CLOSE)
            break;
        i = slot_at(b, i - 1)->next;
    }
    return i;
}

/*
 * Cancel all operations on a descriptor but its close. Those that were queued
 * complete here; the result is the number of those that are still in flight.
 * complete() may submit on this descriptor, or end other operations: so the
 * search begins again after it.
 */
static uint32_t cancel_on(struct coili_backend *b, int fd)
{
    uint32_t n = 0, i = next_on(b, *slots_on(b, fd), fd);
    while (i) {
        struct slot *s = slot_at(b, i - 1);
        bool queued = s->op->state == COILI_OPERATION_QUEUED;
        uring_cancel(b, s->op);
        n = queued ? 0 : n + 1;
        i = next_on(b, queued ? *slots_on(b, fd) : s->next, fd);
    }
    return n;
}

/*
 * The caller closes the descriptor next. Entries that the kernel has not seen
 * yet are submitted before that: they must not refer to the next file that gets
 * the number. Entries that the kernel does not accept are made void: -EBADF.
 */
static void uring_cancel_fd(struct coili_backend *b, int fd)
{
    cancel_on(b, fd);
    for (int tries = 0; unsubmitted(b) && tries < 4; tries++)
        enter(b, 0, 0);
    for (unsigned i = b->ring.sq.sqe_head; i != b->ring.sq.sqe_tail; i++) {
        struct io_uring_sqe *sqe = &b->ring.sq.sqes[i & *b->ring.sq.kring_mask];
        if (sqe->fd == fd)
            sqe->fd = -1;
    }
}

/* It completes again and again until it is cancelled. */
static bool is_endless(const struct coili_operation *op)
{
    return op->opcode == COILI_OP_RECV_MULTI ||
           op->opcode == COILI_OP_ACCEPT_MULTI ||
           op->opcode == COILI_OP_POLL_MULTI;
}

/* The poll of wake() goes on: see wake_arm(). */
static void uring_end(struct coili_backend *b, bool all, void (*tell)(int fd))
{
    b->ending = true;
    for (uint32_t i = 0; i < b->slots_n; i++) {
        struct coili_operation *op = slot_at(b, i)->op;
        if (!op || op == &b->wake_op || op->opcode == COILI_OP_CLOSE ||
            op->cancelling || !(all || is_endless(op)))
            continue;
        tell(op->fd);
        uring_cancel(b, op);
    }
}

static int submit_close(struct coili_backend *b, struct coili_operation *op)
{
    /*
     * Link the close first: callbacks of cancel_on() may submit on this
     * descriptor and must get -EBADF.
     */
    op->state = COILI_OPERATION_QUEUED;
    link_close(b, op);
    op->len = cancel_on(b, op->fd);
    if (op->len > 0)
        return 0;
    unlink_close(b, op);
    op->state = COILI_OPERATION_IDLE;
    return begin(b, op);
}

/*
 * An operation on this descriptor has completed. When it was the last one for
 * which a close waits, begin the close. Closing has no bound: without a slot it
 * is done by close(2), here.
 */
static void finished_on(struct coili_backend *b, int fd)
{
    struct coili_operation *op = close_pending_on(b, fd);
    if (!op || --op->len > 0)
        return;
    unlink_close(b, op);
    if (begin(b, op) < 0)
        finish(op, close(fd) < 0 ? -errno : 0, 0);
}

/*
 * How long an operation in AGAIN has still to wait. Cancel requests have no
 * time of their own: they are moved with the first operation that is due.
 */
static int64_t until_due(struct coili_backend *b,
                         const struct coili_operation *op, uint32_t tick)
{
    if (op->state != COILI_OPERATION_QUEUED)
        return 0;
    return (int32_t)(slot_at(b, op->slot)->due - tick) * TICK_NS;
}

/*
 * Move the operations in AGAIN that are due to the lines that they came from.
 * Each operation has a time of its own: otherwise the tries of other operations
 * would use up its tries. Result: how long until one is due; 0 if some were
 * moved.
 */
static int64_t retry_again(struct coili_backend *b)
{
    int64_t time = coil_now(), pause = INT64_MAX;
    bool moved = false;
    if (b->again_at > time)
        return b->again_at - time;
    for (uint32_t place = b->lines[AGAIN].first; place;) {
        struct coili_operation *op = op_at(b, place);
        int64_t left = until_due(b, op, TICK(time));
        place = op->links.in_line.next;
        if (left <= 0) {
            leave(b, op);
            join(b, is_direct(op) ? DIRECT : FOR_ENTRY, op);
            moved = true;
        } else if (left < pause) {
            pause = left;
            b->again_at = time + left;
        }
    }
    return moved ? 0 : pause;
}

/*
 * FOR_ENTRY holds operations that found no entry, and operations in flight
 * whose cancel request found none: in order, as far as there are entries.
 */
static void retry_entries(struct coili_backend *b)
{
    while (!is_empty(b, FOR_ENTRY) && io_uring_sq_space_left(&b->ring) > 0) {
        struct coili_operation *op = first_in(b, FOR_ENTRY);
        if (op->state == COILI_OPERATION_QUEUED ? !put_entry(b, op)
                                                : !put_cancel_entry(b, op))
            return;
        leave(b, op);
    }
}

/* ---- Operations done by this thread ------------------------------------ */

/*
 * A unix socket is connected at once or, while the peer's backlog is full, not
 * at all: -EAGAIN. The socket is made non-blocking for the time of the call
 * only: the caller may share it with another process.
 */
static int connect_unix(const struct coili_operation *op)
{
    int flags = fcntl(op->fd, F_GETFL);
    if (flags < 0)
        return -errno;
    if (!(flags & O_NONBLOCK))
        fcntl(op->fd, F_SETFL, flags | O_NONBLOCK);
    int err = connect(op->fd, op->addr, op->len) < 0 ? -errno : 0;
    if (!(flags & O_NONBLOCK))
        fcntl(op->fd, F_SETFL, flags);
    return err;
}

static int do_directly(const struct coili_operation *op)
{
    if (op->opcode == COILI_OP_CONNECT)
        return connect_unix(op);
    return shutdown(op->fd, (int)op->arg) < 0 ? -errno : 0;
}

/*
 * Carry out at most BATCH operations of the line DIRECT; the rest is for the
 * next pass. Entries that were put before are submitted first: a shutdown must
 * not overtake a send. complete() may cancel and begin other operations, so
 * each round reads the line again.
 */
static void run_direct(struct coili_backend *b)
{
    if (unsubmitted(b) || !is_empty(b, FOR_ENTRY))
        return;
    for (int n = 0; n < BATCH && !is_empty(b, DIRECT); n++) {
        struct coili_operation *op = first_in(b, DIRECT);
        int res = do_directly(op);
        leave(b, op);
        if (res == -EAGAIN && op->opcode == COILI_OP_CONNECT) {
            begin_again(b, op);
            continue;
        }
        slot_done(b, op->slot);
        finish(op, res, 0);
    }
}

/* ---- Completions ------------------------------------------------------ */

static char *uring_buffer(struct coili_backend *b, unsigned id)
{
    return b->buf_memory + (size_t)id * b->options.recv_buffer_bytes;
}

/*
 * The flags of backend.h for a completion. The loop owns the shared buffer that
 * it names from here on.
 */
static unsigned translate(struct coili_backend *b,
                          const struct io_uring_cqe *cqe)
{
    unsigned flags = 0;
    if (cqe->flags & IORING_CQE_F_MORE)
        flags |= COILI_COMPLETION_MORE;
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        flags |= COILI_COMPLETION_BUFFER |
                 (cqe->flags >> IORING_CQE_BUFFER_SHIFT) << 16;
        b->buf_free--;
        if (cqe->res > 0) {
            char *data = uring_buffer(b, COILI_COMPLETION_BUFFER_ID(flags));
            show(data, (size_t)cqe->res);
            VALGRIND_MAKE_MEM_DEFINED(data, (size_t)cqe->res);
        }
    }
    if (cqe->res == -ENOBUFS)
        b->stats.no_buffers++;
    return flags;
}

/*
 * The final result of an operation, in the terms of backend.h. -EINTR: a
 * cancelled operation has ended in a worker thread. -EBADF: uring_cancel_fd()
 * has made the entry void. A close that the kernel did not carry out is carried
 * out here, since the caller does not keep the descriptor.
 *
 * A connect is not tried again: its first attempt may still be under way.
 *
 * Result: false if the operation is to be tried again.
 */
static bool settle(const struct coili_operation *op, int *res)
{
    if (op->cancelling) {
        if (*res == -EINTR || *res == -EBADF)
            *res = -ECANCELED;
        return true;
    }
    if (op->opcode == COILI_OP_CLOSE) {
        if (*res == -ECANCELED)
            *res = close(op->fd) < 0 ? -errno : 0;
        return true;
    }
    if (*res != -ECANCELED && *res != -EINTR)
        return true;
    if (op->opcode != COILI_OP_CONNECT && op->tries < TRIES)
        return false;
    if (*res == -ECANCELED)
        *res = -EAGAIN;
    return true;
}

/*
 * One completion: of an operation, or (CANCEL_TAG) of its cancel request.
 *
 * The order at the end matters. The operation leaves its line before its slot
 * is given back, since the line is linked through the slot. The slot is given
 * back before complete() is called, which may submit the operation again or
 * free it. A close that waits is looked at last, by descriptor: what was
 * submitted meanwhile on that descriptor got -EBADF.
 */
static void complete(struct coili_backend *b, const struct io_uring_cqe *cqe)
{
    uint64_t id = cqe->user_data & ~CANCEL_TAG;
    uint32_t i = (uint32_t)(id & 0xffffffffu) - 1;
    coili_check(i < b->slots_n, "a completion names no operation");
    struct slot *s = slot_at(b, i);
    coili_check(s->generation == (uint32_t)(id >> 32),
                "a completion came for an operation that is over");
    struct coili_operation *op = s->op;
    if (cqe->user_data & CANCEL_TAG) {
        slot_done(b, i);
        /* `op` is still in flight, and the request did not find it. */
        if (op && cqe->res == -ENOENT)
            try_again(b, op);
        return;
    }

    unsigned flags = translate(b, cqe);
    if (flags & COILI_COMPLETION_MORE) {
        op->tries = 0;
        op->complete(op, cqe->res, flags);
        return;
    }
    int res = cqe->res;
    if (!settle(op, &res)) {
        begin_again(b, op);
        return;
    }
    leave(b, op);
    int fd = op->opcode == COILI_OP_CLOSE ? -1 : op->fd;
    unlink_slot(b, i);
    slot_done(b, i);
    finish(op, res, flags);
    if (b->closing)
        finished_on(b, fd);
}

/*
 * The operation of the next completion, into the cache: with a thousand
 * connections it is not there. Two lines: the operation and its owner's fields.
 */
static void prefetch_next(struct coili_backend *b, unsigned head)
{
    if (head + 1 == io_uring_smp_load_acquire(b->ring.cq.ktail))
        return;
    const struct io_uring_cqe *next =
        &b->ring.cq.cqes[(head + 1) & *b->ring.cq.kring_mask];
    uint32_t i = (uint32_t)(next->user_data & 0xffffffffu) - 1;
    if (i >= b->slots_n)
        return;
    const struct coili_operation *op = slot_at(b, i)->op;
    if (!op) /* the completion of a cancel request */
        return;
    __builtin_prefetch(op);
    __builtin_prefetch((const char *)op + 64);
}

/* At most BATCH completions; the rest is for the next pass. */
static void uring_harvest(struct coili_backend *b)
{
    struct io_uring_cqe *cqe;
    unsigned head, n = 0;
    b->harvesting = true;
    io_uring_for_each_cqe(&b->ring, head, cqe)
    {
        if (n == BATCH)
            break;
        n++;
        prefetch_next(b, head);
        complete(b, cqe);
    }
    b->harvesting = false;
    if (n)
        io_uring_cq_advance(&b->ring, n);
}

/* True if operations, apart from completions, need a wait() to go on. */
static bool has_work(const struct coili_backend *b)
{
    return unsubmitted(b) || b->in_line;
}

/*
 * Look at the ring's memory only. TASKRUN: the kernel has completions that it
 * delivers in an enter; OVERFLOW: it has some for which the ring had no room.
 */
static bool uring_eager(struct coili_backend *b)
{
    unsigned flags = IO_URING_READ_ONCE(*b->ring.sq.kflags);
    if (has_work(b) || b->woken ||
        flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
        return true;
    if (!io_uring_cq_ready(&b->ring))
        return false;
    uring_harvest(b);
    /*
     * complete() may have submitted something, or have seen a wake-up: neither
     * sets a flag of the ring, so a later pass would not see it. Or there were
     * more than BATCH completions.
     */
    return has_work(b) || b->woken || io_uring_cq_ready(&b->ring);
}

/* True if the operation is in no line and its entry is submitted. */
static bool is_submitted(struct coili_backend *b,
                         const struct coili_operation *op)
{
    return op->state == COILI_OPERATION_IN_FLIGHT &&
           slot_at(b, op->slot)->entry - b->ring.sq.sqe_head >= unsubmitted(b);
}

/*
 * What has arrived for an operation is in the completion queue, or the kernel
 * has set TASKRUN (OVERFLOW) and delivers it in an enter. So if the queue is
 * empty and the flags are clear, the kernel has nothing, and that is known
 * without a system call. The flags are read before the queue is: completions
 * move from the state that the flags tell of into the queue, and never back.
 *
 * On a busy ring TASKRUN is nearly always set, for other operations. Then the
 * descriptor is polled, once: an enter would cost more, since it submits a part
 * of what the pass is going to submit at once. What has been received already
 * by the kernel, and is not in the descriptor any more, is in the queue, unless
 * OVERFLOW is set.
 *
 * TASKRUN may also stand for nothing: the kernel sets it a moment after the work
 * that it stands for was done, and clears it with the next work only. An enter
 * runs the work of WORK_PER_ENTER operations, if there are so many. So nothing
 * is left when such enters in a row have completed nothing for as many
 * operations as are in flight.
 *
 * A ring that was set up without TASKRUN_FLAG is entered once in any case.
 */
static bool uring_flush(struct coili_backend *b,
                        const struct coili_operation *op)
{
    coili_check(!b->harvesting, "coil_receiver_flush, or coil_stream_is_"
                                "reusable, is called from `received`");
    bool told = b->ring.flags & IORING_SETUP_TASKRUN_FLAG;
    bool polled = false, silent = false;
    unsigned idle = 0; /* operations for which the last enters found no work */
    for (int enters = 0; op->state != COILI_OPERATION_IDLE;) {
        unsigned flags = IO_URING_READ_ONCE(*b->ring.sq.kflags);
        bool overflow = flags & IORING_SQ_CQ_OVERFLOW;
        bool clear = !overflow && !(flags & IORING_SQ_TASKRUN);
        if (io_uring_cq_ready(&b->ring)) {
            uring_harvest(b);
            idle = 0;
            continue;
        }
        if (silent && !overflow)
            return true;
        bool none = (clear && (told || enters > 0)) ||
                    idle > b->stats.in_flight;
        if (none && is_submitted(b, op))
            return true;
        if (!polled) {
            polled = true;
            silent = coili_fd_is_silent(op->fd);
            continue;
        }
        if (enters == FLUSHES)
            return false;
        enter(b, 0, 0);
        idle += WORK_PER_ENTER;
        enters++;
    }
    return true;
}

/*
 * For valgrind, under which a thread in io_uring_enter(2) stops all others,
 * also one for which it waits. So enter without waiting, and sleep in between:
 * during nanosleep(2) the other threads run. Counts as one enter.
 */
static int enter_patiently(struct coili_backend *b, int64_t timeout_ns)
{
    uint64_t enters = b->stats.enters + 1;
    for (;;) {
        int err = enter(b, 0, 0);
        b->stats.enters = enters;
        if (timeout_ns == 0 || io_uring_cq_ready(&b->ring))
            return err;
        bool short_of_ms = timeout_ns > 0 && timeout_ns < 1000000;
        struct timespec ts = { .tv_nsec = short_of_ms ? timeout_ns : 1000000 };
        nanosleep(&ts, NULL);
        if (timeout_ns > 0)
            timeout_ns -= ts.tv_nsec;
    }
}

/*
 * The kernel takes no entry and has no completion: the kernel is out of memory,
 * and returns at once. Without a pause the loop would enter it again and again.
 */
static void pause_refused(int64_t timeout_ns)
{
    bool short_of_pause = timeout_ns >= 0 && timeout_ns < AGAIN_PAUSE;
    struct timespec ts = { .tv_nsec = short_of_pause ? timeout_ns
                                                     : AGAIN_PAUSE };
    nanosleep(&ts, NULL);
}

/*
 * First the lines AGAIN and FOR_ENTRY are served. Each reason not to sleep sets
 * timeout_ns to 0. If then nothing is to be submitted or harvested, and only
 * the poll of wake() is in flight, no system call is needed. The operations of
 * the line DIRECT run after the entries that were put before them, and before
 * the harvest: its callbacks may put new entries in each pass, and a shutdown
 * must not wait for those.
 *
 * `woken` is reset twice: once because the caller looks, after this call, at
 * all that a wake-up may mean; again because uring_eager() or the harvest may
 * have seen one more.
 */
static bool uring_wait(struct coili_backend *b, int64_t timeout_ns)
{
    int64_t patience = timeout_ns;
    if (!is_empty(b, AGAIN)) {
        int64_t pause = retry_again(b);
        if (timeout_ns < 0 || timeout_ns > pause)
            timeout_ns = pause;
    }
    if (!is_empty(b, FOR_ENTRY))
        retry_entries(b);
    if (IO_URING_READ_ONCE(*b->ring.sq.kflags) & IORING_SQ_CQ_OVERFLOW)
        b->stats.overflows++;
    if (io_uring_cq_ready(&b->ring) || !is_empty(b, FOR_ENTRY) ||
        !is_empty(b, DIRECT) || b->woken)
        timeout_ns = 0;
    b->woken = false;
    if (timeout_ns == 0 && b->stats.in_flight == 1 && !uring_eager(b))
        return false;
    int err = RUNNING_ON_VALGRIND ? enter_patiently(b, timeout_ns)
                                  : enter(b, timeout_ns != 0, timeout_ns);
    coili_check(err >= 0 || err == -ETIME || err == -EINTR || err == -EAGAIN ||
                    err == -EBUSY || err == -ENOMEM,
                "io_uring_enter failed: the loop is in the wrong thread, or "
                "its ring was closed");
    b->refused = (err == -EAGAIN || err == -EBUSY || err == -ENOMEM) &&
                 !io_uring_cq_ready(&b->ring);
    if (b->refused && patience != 0)
        pause_refused(patience);
    run_direct(b);
    uring_harvest(b);
    b->woken = false;
    return true;
}

/* ---- Waking ----------------------------------------------------------- */

/*
 * One multishot poll of wake_fd serves all calls of wake(): a poll per call
 * would cost the loop an enter each.
 *
 * The poll lends no buffer, so it may be armed when the ring is closed. It is
 * one of the operations in flight until then: `ending` does not apply to it.
 */
static int wake_arm(struct coili_backend *b)
{
    b->wake_op.opcode = COILI_OP_POLL_MULTI;
    b->wake_op.fd = b->wake_fd;
    b->wake_op.arg = POLLIN;
    return begin(b, &b->wake_op);
}

static void empty(int eventfd)
{
    uint64_t times;
    while (read(eventfd, &times, sizeof times) < 0 && errno == EINTR)
        ;
}

static void woken(struct coili_operation *op, int res, unsigned flags)
{
    struct coili_backend *b = COILI_CONTAINER(op, struct coili_backend,
                                              wake_op);
    b->woken = true;
    empty(b->wake_fd);
    if (flags & COILI_COMPLETION_MORE)
        return;
    /*
     * The poll ends when the completion queue overflows, or when the kernel has
     * no memory for the poll; then it is armed after a pause. Its slot has just
     * been given back, so arming cannot fail.
     */
    if (res >= 0)
        wake_arm(b);
    else if (take_slot(b, op) == 0)
        begin_again(b, op);
}

/*
 * Not by write(), which is a cancellation point: a thread that ends there would
 * remain counted in loop->wakers.
 */
static void fill(int eventfd)
{
    uint64_t one = 1;
    long n;
    do {
        n = syscall(SYS_write, eventfd, &one, sizeof one);
    } while (n < 0 && errno == EINTR);
}

/*
 * A loop that sleeps in another event loop is woken directly: from within the
 * write to one eventfd the kernel signals another one only after a grace period
 * of RCU.
 */
static void uring_wake(struct coili_backend *b)
{
    fill(b->wake_fd);
    int event_fd = __atomic_load_n(&b->event_fd, __ATOMIC_ACQUIRE);
    if (event_fd >= 0)
        fill(event_fd);
}

/* ---- Sleeping elsewhere ----------------------------------------------- */

/*
 * Not the ring's own descriptor: with DEFER_TASKRUN newer kernels do not wake a
 * poll(2) on it when there is work. They signal a registered eventfd, also for
 * completions that were harvested long ago. So uring_patience() empties it
 * before each sleep, and then looks at the ring for what has come by then.
 */
static int uring_fd(struct coili_backend *b)
{
    if (b->event_fd >= 0)
        return b->event_fd;
    int fd = coili_eventfd_open();
    if (fd < 0)
        return fd;
    int err = io_uring_register_eventfd(&b->ring, fd);
    if (err < 0) {
        close(fd);
        return err;
    }
    __atomic_store_n(&b->event_fd, fd, __ATOMIC_RELEASE); /* for uring_wake() */
    return fd;
}

static int64_t uring_patience(struct coili_backend *b)
{
    if (b->event_fd >= 0)
        empty(b->event_fd);
    unsigned flags = IO_URING_READ_ONCE(*b->ring.sq.kflags);
    if (io_uring_cq_ready(&b->ring) ||
        flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
        return 0;
    if (has_work(b))
        return b->refused ? AGAIN_PAUSE : 0;
    if (is_empty(b, AGAIN))
        return -1;
    int64_t left = b->again_at - coil_now();
    return left > 0 ? left : 0;
}

/* ---- Shared receive buffers ------------------------------------------- */

static void uring_buffer_return(struct coili_backend *b, unsigned id)
{
    unsigned n = b->options.recv_buffers;
    hide(uring_buffer(b, id), b->options.recv_buffer_bytes);
    io_uring_buf_ring_add(b->buf_ring, uring_buffer(b, id),
                          b->options.recv_buffer_bytes, (unsigned short)id,
                          io_uring_buf_ring_mask(n), 0);
    io_uring_buf_ring_advance(b->buf_ring, 1);
    b->buf_free++;
}

static unsigned uring_buffers_free(const struct coili_backend *b)
{
    return b->buf_free;
}

/* One mapping: the kernel's ring of free buffers, then the buffers. */
/*
 * Rings and shared buffers are charged against RLIMIT_MEMLOCK, and the charge
 * of those that were closed comes back late, for example when a program is
 * started again. Wait a little, each time longer; false: long enough.
 */
static bool wait_for_memory(int *ms)
{
    if (*ms > PATIENCE_MS)
        return false;
    struct timespec ts = { .tv_nsec = *ms * 1000000 };
    nanosleep(&ts, NULL);
    *ms *= 2;
    return true;
}

static int uring_buffers_open(struct coili_backend *b)
{
    if (b->buf_ring)
        return 0;
    unsigned n = b->options.recv_buffers;
    size_t ring_bytes = n * sizeof(struct io_uring_buf);
    ring_bytes = (ring_bytes + 4095) & ~(size_t)4095;
    size_t bytes = ring_bytes + (size_t)n * b->options.recv_buffer_bytes;
    /* mmap: page-aligned, and pages that are never written to cost nothing. */
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;

    struct io_uring_buf_reg reg = { .ring_addr = (uint64_t)(uintptr_t)memory,
                                    .ring_entries = n,
                                    .bgid = BUFFER_GROUP };
    int err, ms = 1;
    do
        err = io_uring_register_buf_ring(&b->ring, &reg, 0);
    while (err == -ENOMEM && wait_for_memory(&ms));
    if (err < 0) {
        munmap(memory, bytes);
        return err;
    }
    b->buf_ring = (struct io_uring_buf_ring *)(void *)memory;
    b->buf_memory = memory + ring_bytes;
    b->pages = bytes;
    io_uring_buf_ring_init(b->buf_ring);
    for (unsigned i = 0; i < n; i++)
        uring_buffer_return(b, i);
    return 0;
}

/* ---- Opening ---------------------------------------------------------- */

/* kernel.io_uring_disabled: 0 if it is unset or unknown. */
static int read_sysctl(void)
{
    int fd = coili_file_open("/proc/sys/kernel/io_uring_disabled");
    if (fd < 0)
        return 0;
    char c = '0';
    ssize_t n = read(fd, &c, 1);
    close(fd);
    return n == 1 ? c - '0' : 0;
}

/* One line that tells the user what to change. */
static void explain_refusal(int err)
{
    struct rlimit limit = { 0 };
    switch (err) {
    case -EPERM:
        if (read_sysctl() > 0)
            fprintf(stderr, "coil: io_uring is switched off: set sysctl "
                            "kernel.io_uring_disabled=0\n");
        else
            fprintf(stderr, "coil: io_uring is forbidden by a seccomp filter, "
                            "as in Docker's default profile: run the "
                            "container with a profile that allows io_uring\n");
        break;
    case -ENOSYS:
        fprintf(stderr, "coil: this kernel has no io_uring: Linux 6.1 or "
                        "newer with CONFIG_IO_URING is needed\n");
        break;
    case -ENOMEM:
        getrlimit(RLIMIT_MEMLOCK, &limit);
        fprintf(stderr,
                "coil: no memory for the ring: RLIMIT_MEMLOCK is %llu KiB; "
                "raise it (ulimit -l) or make options.sq_entries smaller\n",
                (unsigned long long)limit.rlim_cur / 1024);
        break;
    default:
        fprintf(stderr, "coil: io_uring cannot be set up: %s\n",
                strerror(-err));
    }
}

/* The ring is mapped, and not registered yet: so only its number changes. */
static int move_above_2(struct io_uring *ring)
{
    int fd = coili_fd_above_2(ring->ring_fd);
    ring->ring_fd = ring->enter_ring_fd = fd;
    if (fd >= 0)
        return 0;
    io_uring_queue_exit(ring);
    return fd;
}

/*
 * Set up a ring with the best flags that this kernel accepts: it refuses flags
 * that it does not know with -EINVAL, and then the next row is tried.
 */
static int setup(struct io_uring *ring, unsigned entries, unsigned cq_entries,
                 struct io_uring_params *p)
{
    static const unsigned ladder[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
            IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
            IORING_SETUP_SUBMIT_ALL,
        0,
    };
    int err = -EINVAL;
    for (size_t i = 0; i < sizeof ladder / sizeof *ladder; i++) {
        *p = (struct io_uring_params){
            .flags = ladder[i] | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = cq_entries,
        };
        err = io_uring_queue_init_params(entries, ring, p);
        if (err == 0)
            return move_above_2(ring);
        if (err != -EINVAL)
            return err;
    }
    return err;
}

/* On -ENOMEM: see wait_for_memory(). A smaller ring needs less. */
static int setup_smaller(struct io_uring *ring, unsigned entries,
                         unsigned cq_entries, struct io_uring_params *p)
{
    for (;;) {
        int err = setup(ring, entries, cq_entries, p);
        if (err != -ENOMEM || entries <= 8)
            return err;
        entries /= 2;
        cq_entries = entries * 2;
    }
}

/*
 * Whether the kernel has all operations that coil uses. A multishot receive has
 * no number of its own to ask for: it came with SEND_ZC (Linux 6.0).
 */
static bool has_operations(struct io_uring *ring)
{
    static const uint8_t needed[] = {
        IORING_OP_READ,    IORING_OP_WRITE,    IORING_OP_RECV,
        IORING_OP_SEND,    IORING_OP_ACCEPT,   IORING_OP_CONNECT,
        IORING_OP_CLOSE,   IORING_OP_SHUTDOWN, IORING_OP_POLL_ADD,
        IORING_OP_ASYNC_CANCEL, IORING_OP_SEND_ZC,
    };
    enum { KNOWN = IORING_OP_SEND_ZC + 1 };
    _Alignas(struct io_uring_probe) char
        room[sizeof(struct io_uring_probe) +
             KNOWN * sizeof(struct io_uring_probe_op)] = { 0 };
    struct io_uring_probe *probe = (struct io_uring_probe *)(void *)room;
    if (io_uring_register_probe(ring, probe, KNOWN) < 0)
        return false;
    for (size_t i = 0; i < sizeof needed; i++)
        if (!(probe->ops[needed[i]].flags & IO_URING_OP_SUPPORTED))
            return false;
    return true;
}

static int setup_patiently(struct io_uring *ring, unsigned entries,
                           unsigned cq_entries, struct io_uring_params *p)
{
    int err, ms = 1;
    do
        err = setup_smaller(ring, entries, cq_entries, p);
    while (err == -ENOMEM && wait_for_memory(&ms));
    return err;
}

/* Also of a backend that was opened in part. */
static void uring_close(struct coili_backend *b)
{
    if (b->buf_ring) {
        show(b->buf_ring, b->pages);
        munmap(b->buf_ring, b->pages);
    }
    io_uring_queue_exit(&b->ring);
    if (b->wake_fd >= 0)
        close(b->wake_fd);
    if (b->event_fd >= 0)
        close(b->event_fd);
    for (unsigned i = 0; i < b->slots_n; i += SLOTS_PER_CHUNK)
        coili_put(b->alloc, b->chunks[i / SLOTS_PER_CHUNK],
                  SLOTS_PER_CHUNK * sizeof(struct slot));
    buckets_fini(b);
    coili_put(b->alloc, b, sizeof *b);
}

/*
 * The ring with its flags, what the kernel has beyond the floor, then wake_fd
 * and its poll.
 *
 * Worker threads of the kernel: 4 for files, so that slow disks do not start
 * hundreds; operations on files end by themselves. The other kind serves
 * operations that the kernel does not poll for any more (after 128 wake-ups
 * without success, or without memory). There a worker waits for a peer, so
 * there may be as many workers as operations: with fewer, an operation that
 * waits for its peer would keep others from being carried out.
 */
static int uring_open(struct coili_backend **out, struct coili_alloc *alloc,
                      const struct coili_backend_options *options)
{
    struct coili_backend *b = coili_get(alloc, sizeof *b);
    if (!b)
        return -ENOMEM;
    *b = (struct coili_backend){ .alloc = alloc, .options = *options };
    buckets_init(&b->buckets);
    b->options.operations_limit++; /* for the poll of wake() */

    struct io_uring_params p;
    int err = setup_patiently(&b->ring, options->submission_entries,
                              options->completion_entries, &p);
    if (err < 0) {
        explain_refusal(err);
        coili_put(alloc, b, sizeof *b);
        return err;
    }
    b->wake_fd = b->event_fd = -1;
    if (!has_operations(&b->ring)) {
        fprintf(stderr, "coil: this kernel's io_uring is too old: Linux 6.1 or "
                        "newer is needed\n");
        uring_close(b);
        return -ENOSYS;
    }
    if (p.features & FEAT_NO_IOWAIT)
        b->enter_flags |= ENTER_NO_IOWAIT;
    io_uring_ring_dontfork(&b->ring);
    if (io_uring_register_ring_fd(&b->ring) == 1)
        b->enter_flags |= IORING_ENTER_REGISTERED_RING;
    unsigned workers[2] = { 4, b->options.operations_limit };
    io_uring_register_iowq_max_workers(&b->ring, workers);

    /* Newer versions of liburing set up rings without the array. */
    for (unsigned i = 0; b->ring.sq.array && i < b->ring.sq.ring_entries; i++)
        b->ring.sq.array[i] = i;

    b->wake_op.complete = woken;
    b->wake_fd = coili_eventfd_open();
    err = b->wake_fd < 0 ? b->wake_fd : wake_arm(b);
    if (err < 0) {
        if (b->wake_fd < 0)
            explain_refusal(err);
        uring_close(b);
        return err;
    }
    *out = b;
    return 0;
}

static void uring_stats(const struct coili_backend *b,
                        struct coili_backend_stats *out)
{
    *out = b->stats;
    out->in_flight--; /* the poll of wake() is not the program's */
}

/* The child has copies of the buffers, to which the kernel does not write. */
static void uring_return_buffers(struct coili_backend *b)
{
    if (b->buf_ring)
        show(b->buf_ring, b->pages);
    for (unsigned i = 0; i < b->slots_n; i++)
        if (slot_at(b, i)->op)
            take_buffer_back(slot_at(b, i)->op, 0);
}

/* A signal handler of the parent may still call wake(): it has no effect. */
static void uring_forked(struct coili_backend *b)
{
    close(b->ring.ring_fd);
    close(b->wake_fd);
    if (b->event_fd >= 0)
        close(b->event_fd);
    b->wake_fd = -1;
    __atomic_store_n(&b->event_fd, -1, __ATOMIC_RELEASE);
}

/* ---- Time of day and randomness --------------------------------------- */

static int64_t uring_wall(struct coili_backend *b)
{
    (void)b;
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* A signal may cut short what is above 256 bytes, or come before the first. */
static int uring_entropy(struct coili_backend *b, void *buf, size_t len)
{
    (void)b;
    char *p = buf;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

const struct coili_backend_table coili_uring = {
    .name = "io_uring",
    .open = uring_open,
    .close = uring_close,
    .submit = uring_submit,
    .cancel = uring_cancel,
    .cancel_fd = uring_cancel_fd,
    .end = uring_end,
    .eager = uring_eager,
    .wait = uring_wait,
    .flush = uring_flush,
    .wake = uring_wake,
    .fd = uring_fd,
    .patience = uring_patience,
    .buffers_open = uring_buffers_open,
    .buffer = uring_buffer,
    .buffer_return = uring_buffer_return,
    .buffers_free = uring_buffers_free,
    .wall = uring_wall,
    .entropy = uring_entropy,
    .stats = uring_stats,
    .return_buffers = uring_return_buffers,
    .forked = uring_forked,
};
