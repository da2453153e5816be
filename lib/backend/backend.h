// SPDX-License-Identifier: MIT
#ifndef COILI_BACKEND_H
#define COILI_BACKEND_H

/*
 * backend.h: the narrow table between the loop and the kernel.
 *
 * Submit an operation, harvest completions, cancel. Behind it stands io_uring
 * (uring.c); another backend fills in the same table. Operations are shaped like
 * completions: a buffer is lent when it is submitted and given back with the
 * final completion, never before.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct coili_alloc;
struct coili_backend;

enum coili_opcode {
    COILI_OP_READ,
    COILI_OP_WRITE,
    COILI_OP_RECV,
    COILI_OP_SEND,
    COILI_OP_ACCEPT,
    COILI_OP_CONNECT,
    COILI_OP_CLOSE, /* of the others on the descriptor: see submit() */
    COILI_OP_SHUTDOWN,
    COILI_OP_POLL,
    COILI_OP_POLL_MULTI,   /* completes once per arrival */
    COILI_OP_ACCEPT_MULTI, /* completes once per connection */
    COILI_OP_RECV_MULTI    /* completes once per buffer of the shared ring */
};

/* How an operation stands; the table is in uring.c. */
enum coili_op_state {
    COILI_OP_IDLE,
    COILI_OP_QUEUED, /* waits for room in the submission queue, or (a close)
                        for other operations to end */
    COILI_OP_FLYING  /* the kernel has it */
};

/* Flags of a completion; the buffer's number stands in the upper 16 bits. */
#define COILI_CQE_BUFFER 1u
#define COILI_CQE_MORE 2u
#define COILI_CQE_BUFFER_ID(flags) ((flags) >> 16)

struct coili_op {
    struct coili_op *next; /* in the queue for room */
    void *addr;            /* buffer or socket address */
    uint64_t offset;       /* of a file; or where an address length stands */
    int fd;
    uint32_t len;
    uint32_t arg; /* message flags, poll mask, how to shut down */
    uint32_t slot;
    uint8_t opcode, state, cancelling;
    /*
     * Called from the harvest, for each completion; the last one comes
     * without COILI_CQE_MORE and gives `addr` back. It may submit, it must not
     * run a coroutine. The last field, so that it lies beside the owner's.
     */
    void (*complete)(struct coili_op *op, int res, unsigned flags);
};

struct coili_backend_options {
    unsigned sq_entries, cq_entries, operations_limit;
    unsigned recv_buffers, recv_buffer_bytes;
};

struct coili_backend_stats {
    uint64_t enters, submitted, overflows, no_buffers;
    unsigned in_flight;
};

struct coili_backend_table {
    const char *name;

    /* 0, or -errno after one line on stderr that says what to change. */
    int (*open)(struct coili_backend **out, struct coili_alloc *alloc,
                const struct coili_backend_options *options);
    void (*close)(struct coili_backend *b);

    /*
     * Begin an operation. COILI_OP_CLOSE first cancels all others on the
     * descriptor and waits for their final completions; nothing else can be
     * begun there meanwhile. Errors: -ENOBUFS at operations_limit, -ENOMEM,
     * -EBADF a close has begun; then complete() is not called.
     */
    int (*submit)(struct coili_backend *b, struct coili_op *op);

    /* Ask it to end; its own completion tells. Allocates nothing. */
    void (*cancel)(struct coili_backend *b, struct coili_op *op);

    /* The same for all operations on a descriptor, which may be closed then. */
    void (*cancel_fd)(struct coili_backend *b, int fd);

    /*
     * The loop closes, and nobody is left who waits: begin nothing but closes,
     * and cancel what does not end by itself, or all, telling the descriptors.
     */
    void (*end)(struct coili_backend *b, bool all, void (*tell)(int fd));

    /*
     * While tasks are ready, without a system call: true if wait() has to be
     * called all the same; else complete() was called for what is there.
     */
    bool (*eager)(struct coili_backend *b);

    /*
     * Submit, sleep until a completion or for `timeout_ns` (0: not at all,
     * negative: for ever), call complete() for a bounded batch.
     *
     * Result   true if it made a system call
     */
    bool (*wait)(struct coili_backend *b, int64_t timeout_ns);

    /* From another thread: make wait() return. */
    void (*wake)(struct coili_backend *b);

    /*
     * For who sleeps elsewhere: a descriptor that becomes readable when wait()
     * has something to harvest, or -errno. And, before each sleep, how long it
     * may be: 0 if there is something to submit, say; negative: for ever.
     */
    int (*fd)(struct coili_backend *b);
    int64_t (*patience)(struct coili_backend *b);

    /* The shared receive buffers: set up at first use; -errno. */
    int (*buffers_open)(struct coili_backend *b);
    char *(*buffer)(struct coili_backend *b, unsigned id);
    void (*buffer_return)(struct coili_backend *b, unsigned id);
    unsigned (*buffers_free)(const struct coili_backend *b);

    void (*stats)(const struct coili_backend *b,
                  struct coili_backend_stats *out);

    /* In a forked child: forget the kernel objects, touch nothing shared. */
    void (*forked)(struct coili_backend *b);
};

extern const struct coili_backend_table coili_ring;

#endif
