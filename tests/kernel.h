// SPDX-License-Identifier: MIT
#ifndef KERNEL_H
#define KERNEL_H

/*
 * kernel.h: a kernel that answers what it may.
 *
 *     kernel_faults = (struct kernel_faults){ .result = -ENOMEM, .nth = 3 };
 *
 * io_uring_enter2() and io_uring_queue_init_params() are this file's own: the
 * linker takes them before liburing's. The entry of an operation that is to
 * fail becomes a NOP before the kernel sees it, and the result of its
 * completion is overwritten before the library does. All of it concerns the
 * rings of the thread that includes this file and sets `kernel_faults`.
 *
 * Only what the kernel can do is done:
 *
 *     an operation   fails with any error and has done nothing; a close has
 *                    been carried out, but for -ECANCELED
 *     a transfer     moves one byte
 *     an enter       fails for a while, with nothing done; takes one entry
 *     completions    of one enter come in reverse order, except those of one
 *                    operation and its cancel request; come some enters later
 *
 * To hold completions back, the library reads the tail of the completion queue
 * from a variable of this file.
 */
#include "test.h"

#include <dlfcn.h>
#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The result that stands for a transfer of one byte. */
#define KERNEL_SHORT 1

#define KERNEL_DELAYS 8

struct kernel_faults {
    int result;      /* of the nth operation: an error, or KERNEL_SHORT */
    unsigned nth;    /* 0: of none */
    bool and_later;  /* of all operations from there on */
    int enter_error; /* of the enters after the nth, so many times */
    unsigned enter_nth, enter_times;
    bool one_by_one, reverse;
    unsigned delay;     /* of completions, in enters; less than KERNEL_DELAYS */
    bool enter_refused; /* all enters fail with enter_error */

    /* Counted here. */
    unsigned operations, enters, fired;
};

static _Thread_local struct kernel_faults kernel_faults;

static _Thread_local struct {
    struct io_uring *ring; /* the last one that was set up */
    unsigned *tail;        /* of its completions, as the kernel has it */
    unsigned seen;         /* completions up to here have been looked at */
    unsigned shown;        /* the library sees completions up to here */
    unsigned tails[KERNEL_DELAYS]; /* after the last enters */
    unsigned n;
    struct {
        uint64_t user_data;
        int result;
    } pending[4096]; /* completions to overwrite */
} kernel_state;

static inline bool kernel_moves_bytes(const struct io_uring_sqe *sqe)
{
    return (sqe->opcode == IORING_OP_READ || sqe->opcode == IORING_OP_WRITE ||
            sqe->opcode == IORING_OP_RECV || sqe->opcode == IORING_OP_SEND) &&
           !(sqe->flags & IOSQE_BUFFER_SELECT) && sqe->len > 1;
}

/* One entry, as the library has made it; the kernel sees it next. */
static inline void kernel_spoil(struct io_uring_sqe *sqe)
{
    struct kernel_faults *f = &kernel_faults;
    if (sqe->opcode == IORING_OP_ASYNC_CANCEL ||
        (f->result == KERNEL_SHORT && !kernel_moves_bytes(sqe)))
        return;
    unsigned i = ++f->operations;
    if (!f->nth || (f->and_later ? i < f->nth : i != f->nth))
        return;
    f->fired++;
    if (f->result == KERNEL_SHORT) {
        sqe->len = 1;
        return;
    }
    CHECK(kernel_state.n < 4096);
    kernel_state.pending[kernel_state.n].user_data = sqe->user_data;
    kernel_state.pending[kernel_state.n++].result = f->result;
    if (sqe->opcode != IORING_OP_CLOSE || f->result == -ECANCELED) {
        uint64_t user_data = sqe->user_data;
        io_uring_prep_nop(sqe);
        sqe->user_data = user_data;
    }
}

static inline void kernel_overwrite(struct io_uring_cqe *cqe)
{
    for (unsigned i = 0; i < kernel_state.n; i++) {
        if (kernel_state.pending[i].user_data != cqe->user_data)
            continue;
        cqe->res = kernel_state.pending[i].result;
        kernel_state.pending[i] = kernel_state.pending[--kernel_state.n];
        return;
    }
}

static inline struct io_uring_cqe *kernel_completion(unsigned i)
{
    struct io_uring_cq *cq = &kernel_state.ring->cq;
    return &cq->cqes[i & *cq->kring_mask];
}

/* Turn the completions [from, to) round, if none belong together. */
static inline void kernel_reverse(unsigned from, unsigned to)
{
    const uint64_t cancel = (uint64_t)1 << 63;
    for (unsigned i = from; i != to; i++)
        for (unsigned j = i + 1; j != to; j++)
            if ((kernel_completion(i)->user_data & ~cancel) ==
                (kernel_completion(j)->user_data & ~cancel))
                return;
    for (; to - from > 1; from++) {
        struct io_uring_cqe first = *kernel_completion(from);
        *kernel_completion(from) = *kernel_completion(--to);
        *kernel_completion(to) = first;
        kernel_faults.fired++;
    }
}

/* The completions up to `to` are there after this enter. */
static inline void kernel_show(unsigned enter, unsigned to)
{
    unsigned delay = kernel_faults.delay, *tails = kernel_state.tails;
    CHECK(delay < KERNEL_DELAYS);
    tails[enter % KERNEL_DELAYS] = to;
    if (enter > delay)
        kernel_state.shown = tails[(enter - delay) % KERNEL_DELAYS];
    kernel_faults.fired += kernel_state.shown != to;
}

int io_uring_enter2(unsigned fd, unsigned to_submit, unsigned min_complete,
                    unsigned flags, sigset_t *sig, size_t size)
{
    struct kernel_faults *f = &kernel_faults;
    struct io_uring *ring = kernel_state.ring;
    unsigned enter = ++f->enters;
    if (f->enter_refused || (f->enter_times && enter >= f->enter_nth &&
                             enter < f->enter_nth + f->enter_times)) {
        f->fired++;
        return f->enter_error;
    }
    if (f->one_by_one && to_submit > 1) {
        f->fired++;
        to_submit = 1;
        min_complete = 0; /* the kernel does not wait if it did not take all */
    }
    unsigned head = *ring->sq.khead;
    for (unsigned i = head; i != head + to_submit; i++)
        kernel_spoil(&ring->sq.sqes[i & *ring->sq.kring_mask]);
    long n = syscall(__NR_io_uring_enter, fd, to_submit, min_complete, flags,
                     sig, size);
    int err = n < 0 ? -errno : (int)n;

    unsigned from = kernel_state.seen;
    unsigned to = io_uring_smp_load_acquire(kernel_state.tail);
    for (unsigned i = from; i != to; i++)
        kernel_overwrite(kernel_completion(i));
    if (f->reverse)
        kernel_reverse(from, to);
    kernel_state.seen = to;
    kernel_show(enter, to);
    return err;
}

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                               struct io_uring_params *p)
{
    typedef int init_fn(unsigned, struct io_uring *, struct io_uring_params *);
    union {
        void *object;
        init_fn *function;
    } real = { .object = dlsym(RTLD_NEXT, "io_uring_queue_init_params") };
    int err = real.function(entries, ring, p);
    kernel_state.ring = ring;
    kernel_state.seen = kernel_state.shown = kernel_state.n = 0;
    memset(kernel_state.tails, 0, sizeof kernel_state.tails);
    if (err == 0) {
        kernel_state.tail = ring->cq.ktail;
        ring->cq.ktail = &kernel_state.shown;
    }
    return err;
}

#endif
