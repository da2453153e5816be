// SPDX-License-Identifier: MIT
/*
 * io.c: a future per operation, on top of the backend's table.
 *
 * The future contains the operation. The future is done at the operation's own
 * final completion, not earlier: so when an await ends, cancelled or not, the
 * buffer is the caller's again. When the last reference to a pending future is
 * dropped the operation is cancelled; the future stays until it has completed
 * (settle() in future.c), and then disposes of its value: a descriptor that was
 * accepted is closed.
 */
#include <coil/io.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <coil/addr.h>

#include "backend/backend.h"
#include "base/check.h"
#include "base/descriptor.h"
#include "base/list.h"
#include "core/coroutine.h"
#include "core/loop.h"

/* The most bytes that the kernel moves in one call (MAX_RW_COUNT). */
#define LEN_MOST 0x7ffff000u

struct io {
    struct coil_custom custom;
    struct coili_operation op;
};

static struct io *io_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct io, custom.future);
}

static void completed(struct coili_operation *op, int res, unsigned flags)
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
        .describe = io_describe, \
    }

IO_CLASS(read);
IO_CLASS(write);
IO_CLASS(recv);
IO_CLASS(send);
IO_CLASS(connect);
IO_CLASS(shutdown);
IO_CLASS(poll);

/*
 * A buffer on the stack of the current step is gone when the step returns, long
 * before the operation has completed.
 */
void coil_check_lent(const void *buf)
{
    coili_check_lent(buf, "a buffer on the stack is lent to an operation: make "
                          "it a field of the frame");
}

static struct io *io_new(const struct coil_future_class *cls,
                         enum coili_opcode opcode, int fd, size_t size)
{
    coili_need_loop();
    struct io *io = coil_custom_new(cls, size);
    if (!io)
        return NULL;
    io->op.complete = completed;
    io->op.opcode = (uint8_t)opcode;
    io->op.fd = fd;
    return io;
}

/* An operation that reads into a buffer or writes from it. */
static struct coil_future *transfer(const struct coil_future_class *cls,
                                    enum coili_opcode opcode, int fd,
                                    const void *buf, size_t len,
                                    uint64_t offset, unsigned arg)
{
    struct io *io = io_new(cls, opcode, fd, sizeof *io);
    if (!io)
        return coil_future_from_nomem();
    coil_check_lent(buf);
    io->op.addr = (void *)(uintptr_t)buf;
    io->op.len = len < LEN_MOST ? (uint32_t)len : LEN_MOST;
    io->op.offset = offset;
    io->op.arg = arg;
    return &io->custom.future;
}

/* The offset that means: at the file's own position. */
#define AT_POSITION UINT64_MAX

struct coil_future *coil_read(int fd, void *buf, size_t len)
{
    coili_check(buf || !len, "coil_read: buf is NULL");
    return transfer(&read_class, COILI_OP_READ, fd, buf, len, AT_POSITION, 0);
}

struct coil_future *coil_pread(int fd, void *buf, size_t len, uint64_t offset)
{
    coili_check(buf || !len, "coil_pread: buf is NULL");
    return transfer(&read_class, COILI_OP_READ, fd, buf, len, offset, 0);
}

struct coil_future *coil_write(int fd, const void *buf, size_t len)
{
    coili_check(buf || !len, "coil_write: buf is NULL");
    return transfer(&write_class, COILI_OP_WRITE, fd, buf, len, AT_POSITION, 0);
}

struct coil_future *coil_pwrite(int fd, const void *buf, size_t len,
                                uint64_t offset)
{
    coili_check(buf || !len, "coil_pwrite: buf is NULL");
    return transfer(&write_class, COILI_OP_WRITE, fd, buf, len, offset, 0);
}

struct coil_future *coil_recv(int fd, void *buf, size_t len)
{
    coili_check(buf || !len, "coil_recv: buf is NULL");
    return transfer(&recv_class, COILI_OP_RECV, fd, buf, len, 0, 0);
}

struct coil_future *coil_send(int fd, const void *buf, size_t len)
{
    coili_check(buf || !len, "coil_send: buf is NULL");
    return transfer(&send_class, COILI_OP_SEND, fd, buf, len, 0, MSG_NOSIGNAL);
}

struct coil_future *coil_shutdown(int fd, int how)
{
    struct io *io = io_new(&shutdown_class, COILI_OP_SHUTDOWN, fd, sizeof *io);
    if (!io)
        return coil_future_from_nomem();
    io->op.arg = (uint32_t)how;
    return &io->custom.future;
}

struct coil_future *coil_poll(int fd, unsigned events)
{
    struct io *io = io_new(&poll_class, COILI_OP_POLL, fd, sizeof *io);
    if (!io)
        return coil_future_from_nomem();
    io->op.arg = events;
    return &io->custom.future;
}

/* ---- accept ----------------------------------------------------------- */

static void accepted(struct coili_operation *op, int res, unsigned flags)
{
    completed(op, coili_fd_above_2(res), flags);
}

/* A connection that no await has taken is closed, or it would leak. */
static void accept_dispose(struct coil_future *done)
{
    coil_close_now((int)coil_future_int(done));
}

static const struct coil_future_class accept_class = {
    .name = "accept",
    .start = io_start,
    .cancel = io_cancel,
    .dispose = accept_dispose,
    .describe = io_describe,
};

struct coil_future *coil_accept(int fd)
{
    struct io *io = io_new(&accept_class, COILI_OP_ACCEPT, fd, sizeof *io);
    if (!io)
        return coil_future_from_nomem();
    io->op.complete = accepted;
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
    coili_check(addr, "coil_connect: addr is NULL");
    struct io *io = io_new(&connect_class, COILI_OP_CONNECT, fd,
                           sizeof(struct connect));
    if (!io)
        return coil_future_from_nomem();
    struct connect *connect = (struct connect *)io;
    connect->addr = *addr;
    io->op.addr = &connect->addr.u.sa;
    io->op.len = addr->len;
    return &io->custom.future;
}

/* ---- close ------------------------------------------------------------ */

/*
 * With SO_LINGER close(2) waits until the peer has acknowledged all bytes, also
 * for a non-blocking socket, and in io_uring. An accepted socket inherits the
 * option from its listener.
 */
static void do_not_linger(int fd)
{
    struct linger linger;
    socklen_t len = sizeof linger;
    if (getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len) < 0 ||
        !linger.l_onoff || linger.l_linger == 0)
        return;
    linger.l_onoff = 0;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

int coil_close_now(int fd)
{
    do_not_linger(fd);
    return close(fd) < 0 ? -errno : 0;
}

/*
 * Closing is subject to no bound: when there is no slot for the operation
 * (operations_limit, memory) the descriptor is closed here. -EBADF is no such
 * error: another close of the descriptor has begun.
 */
static void close_start(struct coil_future *f)
{
    struct coil_loop *loop = coili_loop;
    struct io *io = io_of(f);
    if (io->op.fd < 0) {
        coil_future_set_error(f, -EINVAL);
        return;
    }
    do_not_linger(io->op.fd);
    int err = loop->table->submit(loop->backend, &io->op);
    if (err == -EBADF)
        coil_future_set_error(f, err);
    else if (err < 0)
        completed(&io->op, close(io->op.fd) < 0 ? -errno : 0, 0);
}

static const struct coil_future_class close_class = {
    .name = "close",
    .start = close_start,
    .describe = io_describe,
};

struct coil_future *coil_close(int fd)
{
    struct io *io = io_new(&close_class, COILI_OP_CLOSE, fd, sizeof *io);
    if (!io && fd >= 0) {
        /* Close it all the same: the caller does not keep the number. */
        coili_loop->table->cancel_fd(coili_loop->backend, fd);
        coil_close_now(fd);
    }
    return io ? &io->custom.future : coil_future_from_nomem();
}
