// SPDX-License-Identifier: MIT
#ifndef COILI_BACKEND_H
#define COILI_BACKEND_H

/*
 * backend.h: the narrow table of functions between the loop and the kernel.
 *
 * An operation is one request to the kernel: read, accept, close... The loop
 * submits operations, may cancel them, and waits for their completions. A
 * backend is one way to do that: a file beside this one, which fills in the
 * table. Nothing above the table knows which backend stands behind it.
 *
 * Who calls: lib/io submits and cancels, and uses the shared receive buffers;
 * core/loop.c opens, waits and closes, and asks for wall() and entropy(). Every
 * call comes from the loop's thread, except wake().
 *
 * Every backend promises:
 *
 * - Buffers. From a submit() that returned 0 until the final completion the
 *   caller lends the operation, the memory at `addr` and the descriptor. The
 *   backend lets go of all three before it calls complete() for the last time,
 *   also if the operation was cancelled.
 * - Completions. Each operation completes for the last time exactly once, with
 *   a count or -errno. A "multi" operation also completes before that, once per
 *   arrival, each time with COILI_COMPLETION_MORE.
 * - Where complete() is called. In wait(), eager() and flush(). In submit()
 *   never for the operation that is submitted. In the four calls that cancel
 *   (cancel(), cancel_fd(), end() and submit() of a close) only for operations
 *   that the kernel does not have yet: these complete with -ECANCELED.
 * - What complete() may do. Submit and cancel any operation, also its own. It
 *   must not run a coroutine.
 * - Generations. The backend may use its record of an operation, its number or
 *   its descriptor again. An event that comes late for the former user never
 *   reaches the next one.
 * - Cancel. It is a request, allocates nothing and cannot fail. An operation
 *   that succeeds all the same completes with its own result. -ECANCELED is the
 *   result of cancelled operations only.
 * - Independence. An operation that waits for a peer never keeps another one
 *   from being carried out.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct coili_alloc;
struct coili_backend;

/*
 * What an operation does, and the fields that say how. `fd` is the descriptor
 * in each.
 */
enum coili_opcode {
    COILI_OP_READ,         /* addr, len, offset in the file; UINT64_MAX: at the
                              file's own position */
    COILI_OP_WRITE,        /* the same */
    COILI_OP_RECV,         /* addr, len; arg: message flags */
    COILI_OP_SEND,         /* addr, len; arg: message flags */
    COILI_OP_ACCEPT,       /* arg: flags of accept4(2); addr, offset: where
                              the peer's address and its length go, or 0 */
    COILI_OP_CONNECT,      /* addr, len: the socket address */
    COILI_OP_CLOSE,        /* see submit() */
    COILI_OP_SHUTDOWN,     /* arg: how, as for shutdown(2) */
    COILI_OP_POLL,         /* arg: mask of poll(2); completes with the events */
    COILI_OP_POLL_MULTI,   /* the same, once per arrival */
    COILI_OP_ACCEPT_MULTI, /* the same as ACCEPT, once per connection */
    COILI_OP_RECV_SHARED,  /* once, into a shared receive buffer; arg: message
                              flags; -ENOBUFS when all of them are in use */
    COILI_OP_RECV_MULTI    /* the same, once per buffer that is filled; without
                              arg */
};

enum coili_operation_state {
    COILI_OPERATION_IDLE,     /* not submitted, or completed */
    COILI_OPERATION_QUEUED,   /* the backend has it, the kernel does not: there
                                 was no room; the backend does it itself, or
                                 begins it again; or it is a close that waits
                                 for other operations */
    COILI_OPERATION_IN_FLIGHT /* the kernel has it */
};

/* Flags of a completion; a shared buffer's number is in the upper 16 bits. */
#define COILI_COMPLETION_BUFFER 1u /* the bytes are in a shared buffer */
#define COILI_COMPLETION_MORE 2u   /* it is not the last one */
#define COILI_COMPLETION_BUFFER_ID(flags) ((flags) >> 16)

struct coili_operation {
    union {
        struct coili_operation *next;
        struct {
            uint32_t next, prev;
        } in_line;
    } links; /* the backend's, while it is queued */
    void *addr;
    uint64_t offset;
    int fd;
    uint32_t len;
    uint32_t arg;
    uint32_t slot;      /* the backend's */
    uint8_t opcode;     /* enum coili_opcode */
    uint8_t state;      /* enum coili_operation_state; the backend's */
    uint8_t cancelling; /* not 0 from cancel() to the next submit(); the
                           backend's */
    uint8_t line;       /* the backend's: the list of `links` */
    uint8_t tries;      /* the backend's: how often it was begun again */
    /*
     * Called for each completion; see above. The operation may be gone when it
     * returns. The last field, so that it lies beside the owner's fields.
     */
    void (*complete)(struct coili_operation *op, int res, unsigned flags);
};

struct coili_backend_options {
    /* Lengths of its queues to and from the kernel, where it has such. */
    unsigned submission_entries, completion_entries;
    unsigned operations_limit; /* of operations in flight */
    unsigned recv_buffers, recv_buffer_bytes;
};

struct coili_backend_stats {
    uint64_t enters;     /* system calls that submit, wait or flush */
    uint64_t submitted;  /* operations and cancel requests */
    uint64_t overflows;  /* times that the completion queue was too short */
    uint64_t no_buffers; /* completions with -ENOBUFS */
    unsigned in_flight;  /* operations, queued ones too */
};

struct coili_backend_table {
    const char *name;

    /*
     * coil_loop_new() calls it once. 0, or -errno after one line on stderr that
     * says what to change.
     */
    int (*open)(struct coili_backend **out, struct coili_alloc *alloc,
                const struct coili_backend_options *options);

    /* The loop calls it last, when no operation is in flight. */
    void (*close)(struct coili_backend *b);

    /*
     * Begin an operation. COILI_OP_CLOSE first cancels all others on the
     * descriptor and waits for their final completions; no other operation can
     * begin on it meanwhile. With an error complete() is not called.
     *
     * Errors   -ENOBUFS at operations_limit, -ENOMEM, -EBADF a close of the
     *          descriptor has begun, -ECANCELED after end()
     */
    int (*submit)(struct coili_backend *b, struct coili_operation *op);

    /* Ask the operation to end. Its own final completion says how it ended. */
    void (*cancel)(struct coili_backend *b, struct coili_operation *op);

    /*
     * cancel() for all operations on a descriptor. The caller may close(2) it
     * when the call has returned.
     */
    void (*cancel_fd)(struct coili_backend *b, int fd);

    /*
     * The loop closes, and no task is left that waits. From now on submit()
     * accepts closes only. Cancel the multi operations, which do not end by
     * themselves, or with `all` every operation but closes; tell() is called
     * for each of them with its descriptor. May be called again.
     */
    void (*end)(struct coili_backend *b, bool all, void (*tell)(int fd));

    /*
     * The loop calls eager() in each pass in which tasks are ready, instead of
     * wait(). Makes no system call; calls complete() for completions that have
     * come. A backend that learns of completions only by a system call returns
     * true if an operation is in flight and coili_cycles_passed()
     * (base/cycles.h) is true of the time of its last wait().
     *
     * Result   true if wait() must be called in this pass all the same. Right
     *          after a wait(): true if that wait has left completions
     */
    bool (*eager)(struct coili_backend *b);

    /*
     * Submit what is queued, sleep until a completion or for `timeout_ns` (0:
     * not at all, negative: without end), call complete() for a bounded number
     * of completions: at least 16, or all of them if there are fewer.
     *
     * Result   true if it made a system call
     */
    bool (*wait)(struct coili_backend *b, int64_t timeout_ns);

    /*
     * Deliver what the kernel has for `op`, which is in flight: what arrived
     * before this call has completed when it returns. Calls complete() for
     * other operations, too. Makes a system call only if the kernel may have
     * something. Not to be called from complete().
     *
     * Result   true if all that arrived before has completed; false: not
     *          known, since the kernel does not have the operation yet, or has
     *          too many completions
     */
    bool (*flush)(struct coili_backend *b, const struct coili_operation *op);

    /*
     * Make wait() return, now or the next time. From any thread and from signal
     * handlers.
     */
    void (*wake)(struct coili_backend *b);

    /*
     * For a loop inside another event loop, which sleeps instead of wait().
     *
     * fd(): a descriptor that becomes readable when wait() has something to
     * do, or -errno. patience(): called before each such sleep; how long it may
     * take, 0 if wait() has something to do already, negative: without end.
     */
    int (*fd)(struct coili_backend *b);
    int64_t (*patience)(struct coili_backend *b);

    /*
     * The shared receive buffers, for COILI_OP_RECV_MULTI. buffers_open() sets
     * them up at first use: 0 or -errno. buffer() is the memory of one. The
     * caller owns a buffer from the completion that brought it to
     * buffer_return().
     */
    int (*buffers_open)(struct coili_backend *b);
    char *(*buffer)(struct coili_backend *b, unsigned id);
    void (*buffer_return)(struct coili_backend *b, unsigned id);
    unsigned (*buffers_free)(const struct coili_backend *b);

    /*
     * What a program takes from outside besides descriptors. wall(): the time
     * of day, in nanoseconds since 1970, UTC; it may jump. entropy(): fill
     * `buf` with bytes that cannot be guessed. It fills all of it: 0, or
     * -errno and `buf` must not be used.
     */
    int64_t (*wall)(struct coili_backend *b);
    int (*entropy)(struct coili_backend *b, void *buf, size_t len);

    void (*stats)(const struct coili_backend *b,
                  struct coili_backend_stats *out);

    /*
     * Called in a forked child. return_buffers(): only if the loop's thread has
     * forked: the child may use its copies of buffers that were lent. forked(),
     * after that, whichever thread has forked: close the copies of the
     * descriptors, and touch nothing else.
     */
    void (*return_buffers)(struct coili_backend *b);
    void (*forked)(struct coili_backend *b);
};

#endif
