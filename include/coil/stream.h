// SPDX-License-Identifier: MIT
#ifndef COIL_STREAM_H
#define COIL_STREAM_H

/*
 * stream.h: buffered bytes over a connection. For a pipe, a terminal or a file
 * there are coil_read() and coil_write() (io.h). For a test of code that talks
 * over a stream there are two connected streams in memory (stream_pair.h).
 *
 * A stream shows received bytes where the kernel has put them:
 * coil_stream_fill() waits for bytes, coil_stream_peek() shows them, and
 * coil_stream_consume() returns their space. So an echo copies nothing. The
 * other reads are made of these three.
 *
 * One task reads at a time; any number of tasks write. A write is done when the
 * kernel has taken all its bytes, so a slow peer slows the writer down.
 *
 * A stream is a table of operations, that of sockets or one of your own: see
 * the end of this page.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

struct coil_stream;

/* The most that coil_stream_fill() can show in one piece. */
#define COIL_STREAM_FILL_BYTES_MAX (256 * 1024)

/*
 * Make a stream over a connected socket that the program has made or accepted.
 *
 * Result    the stream; NULL if there is no memory
 * Lifetime  gives (coil_stream_close); takes `fd`, but not if the result is
 *           NULL
 */
COIL_API struct coil_stream *coil_stream_new(int fd);

/*
 * Make a stream over a connected socket that other processes may use, too, such
 * as an inherited one. To close the stream closes the descriptor, and does not
 * shut down the connection.
 *
 * Result    the stream; NULL if there is no memory
 * Lifetime  gives (coil_stream_close); takes `fd`, but not if the result is
 *           NULL
 * Source    asyncio loop.connect_accepted_socket()
 */
COIL_API struct coil_stream *coil_stream_adopt(int fd);

/*
 * The descriptor of the stream, to set options or to ask for addresses.
 *
 * Result    the descriptor; -1: the stream has none
 * Lifetime  views the stream
 */
COIL_API int coil_stream_fd(const struct coil_stream *stream);

/*
 * Wait until coil_stream_peek() shows at least `want` bytes in one piece, or
 * the peer has ended.
 *
 * Units     want: 1 to COIL_STREAM_FILL_BYTES_MAX; 0 counts as 1
 * Result    the number of bytes that peek shows; fewer than `want` only if the
 *           peer has ended; 0: no byte is left and none will come
 * Errors    -ECONNRESET and others of recv(2); -EBUSY: another task reads;
 *           COIL_ELIMIT: `want` is too large; COIL_ECLOSED: the stream was
 *           closed; -ECANCELED, -ENOMEM; from the first fill of a stream also
 *           -ENOBUFS: options.operations_limit operations are in flight
 * Lifetime  the caller lends the stream until the future is done
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_fill(struct coil_stream *stream, size_t want);

/*
 * Show the first received bytes that stand in one piece, without waiting.
 *
 * Result    the number of bytes at *data; 0, and *data unchanged, if there are
 *           none now
 * Lifetime  views the stream: the bytes are valid until they are consumed, the
 *           next fill begins, or the stream is closed. They are the caller's to
 *           change meanwhile: TLS decrypts them in place
 */
COIL_API size_t coil_stream_peek(struct coil_stream *stream, char **data);

/*
 * Return the space of the first `n` bytes that peek shows. A larger `n` than
 * peek shows aborts.
 */
COIL_API void coil_stream_consume(struct coil_stream *stream, size_t n);

/* True if the peer has ended, or reset, and all its bytes are consumed. */
COIL_API bool coil_stream_at_end(const struct coil_stream *stream);

/*
 * Ask, without waiting, whether a kept connection can be used for the next
 * exchange. The kernel is asked, too: what has arrived while the thread was
 * busy counts, although the loop has not seen it yet. That makes a system call
 * only if the kernel may have something. A socket receives nothing before the
 * first fill or watch of its stream: until then the answer is true.
 *
 * Result    true if no received byte is unread and the peer has not ended
 */
COIL_API bool coil_stream_is_reusable(struct coil_stream *stream);

/*
 * Ask, without waiting, whether the bytes of all finished writes have arrived:
 * a socket asks the kernel, which makes a system call. TCP: the peer's kernel
 * has acknowledged them, but the peer need not have read them; Unix sockets:
 * the peer has read them. For a stream of your own whose table has no `is_sent`
 * the result is true.
 *
 * Result    false if bytes are known to be on their way
 * Source    tcp(7), SIOCOUTQ
 */
COIL_API bool coil_stream_is_sent(const struct coil_stream *stream);

/*
 * Watch a kept connection that no task reads: fn(arg) is called, once and from
 * the ready queue, when a byte is unread or the peer has ended. Begins to
 * receive, as a fill does, and needs no other memory or operation. Until the
 * call is made or the watch is ended, a fill fails with -EBUSY. Closing the
 * stream ends the watch, but does not withdraw a call that is ready already.
 * For a stream of your own whose table has no `watch` the call is never made.
 *
 * Result    0
 * Errors    -EBUSY: a task reads, or the stream is watched already; -ENOBUFS,
 *           -ENOMEM, as from the first fill
 * Lifetime  the caller lends `handle` until the call is made or withdrawn
 */
COIL_API int coil_stream_watch(struct coil_stream *stream,
                               struct coil_handle *handle, coil_call_fn *fn,
                               void *arg);

/* End the watch, and withdraw a call that is ready. No effect if neither is. */
COIL_API void coil_stream_unwatch(struct coil_stream *stream,
                                  struct coil_handle *handle);

/*
 * Read at least one byte and at most `len` into `buf`.
 *
 * Result    the number of bytes; 0 at the end of the stream, and for len 0
 * Errors    those of coil_stream_fill()
 * Lifetime  the caller lends `buf` until the future is done
 * Source    asyncio StreamReader.read(n)
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_read(struct coil_stream *stream, void *buf, size_t len);

/*
 * Read `len` bytes, no fewer. A read that is cancelled has consumed nothing,
 * unless `len` is above COIL_STREAM_FILL_BYTES_MAX.
 *
 * Result    len
 * Errors    COIL_EINCOMPLETE: the peer ended before; the bytes that had come
 *           are in `buf`, their number (at most 8388607) is the code in the
 *           error's detail; those of coil_stream_fill()
 * Lifetime  the caller lends `buf` until the future is done
 * Source    asyncio StreamReader.readexactly(n)
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_read_exactly(struct coil_stream *stream, void *buf, size_t len);

/*
 * Read up to and including the next separator byte into `buf`. No NUL byte is
 * added.
 *
 * Result    the number of bytes, with the separator; 0 at the end of the stream
 * Errors    COIL_ELIMIT: there is no separator within `size` bytes, or within
 *           COIL_STREAM_FILL_BYTES_MAX; the bytes stay unread;
 *           COIL_EINCOMPLETE: the peer ended before a separator; the bytes stay
 *           unread; those of coil_stream_fill()
 * Lifetime  the caller lends `buf` until the future is done
 * Source    asyncio StreamReader.readuntil(), readline()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_read_until(struct coil_stream *stream, char separator, void *buf,
                       size_t size);

/* A line of a stream. */
struct coil_line {
    char *text; /* a NUL byte follows the line */
    size_t len;
};

/*
 * The lines of a stream, one after the other: a source for FOR_AWAIT. Each line
 * ends with its newline, as from getline(3); the last one may have none. Bytes
 * after the line stay in the stream for the next read, also when the loop is
 * left.
 *
 *     FOR_AWAIT(my->line, coil_stream_lines(my->peer, 4096))
 *         fwrite(my->line->text, 1, my->line->len, stdout);
 *
 * Units     line_bytes_max: of the longest line, with its newline
 * Result    yields struct coil_line *, until the peer has ended
 * Errors    COIL_ELIMIT: a line is longer than `line_bytes_max` or
 *           COIL_STREAM_FILL_BYTES_MAX, and stays unread; those of
 *           coil_stream_fill()
 * Lifetime  the caller lends the stream until the loop is left; the line and
 *           its text are views, valid until the next turn of the loop
 * Source    async for line in StreamReader
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_lines(struct coil_stream *stream, size_t line_bytes_max);

/*
 * Write all `len` bytes. Writes of several tasks are sent one after the other,
 * in the order in which they began. A write that is cancelled may have sent a
 * part of its bytes. Then all later writes fail with -EPIPE: the stream can
 * still be read, and closed.
 *
 * Result    len
 * Errors    of send(2): -EPIPE, -ECONNRESET and others; COIL_ECLOSED: the
 *           stream was closed; -ENOBUFS, -ECANCELED, -ENOMEM
 * Lifetime  the caller lends `buf` until the future is done
 * Source    asyncio StreamWriter.write() and drain(), in one
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_write(struct coil_stream *stream, const void *buf, size_t len);

/*
 * Send the end of the stream after all writes that have begun; the stream can
 * still be read.
 *
 * Result    0
 * Errors    of shutdown(2); -EPIPE after a write that has sent only a part;
 *           COIL_ECLOSED: the stream was closed; -ENOBUFS, -ECANCELED, -ENOMEM
 * Lifetime  the caller lends the stream until the future is done
 * Source    asyncio StreamWriter.write_eof()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_write_eof(struct coil_stream *stream);

/*
 * Close: shut the connection down (not that of coil_stream_adopt()), cancel all
 * operations on it, wait for their final completions, and close the descriptor.
 * Reads and writes of other tasks end with COIL_ECLOSED. The kernel still sends
 * bytes of writes that are done; a time of SO_LINGER is switched off, also for
 * a process that shares the socket (coil_close() in io.h). Cannot be cancelled;
 * allocates nothing.
 *
 * Result    0
 * Lifetime  takes the stream; NULL is allowed
 * Source    asyncio StreamWriter.close() and wait_closed(), in one
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_close(struct coil_stream *stream);

/*
 * Close without waiting, for a place that cannot await. Allocates nothing. A
 * loop that is closed waits until the stream is.
 *
 * Lifetime  takes the stream; NULL is allowed
 */
COIL_API void coil_stream_close_soon(struct coil_stream *stream);

/*
 * Close, and reset the connection: the kernel drops all bytes that it has not
 * sent yet, and the peer gets ECONNRESET. Reads and writes of other tasks end
 * with COIL_ECLOSED. Cannot be cancelled; allocates nothing. In a place that
 * cannot await: coil_detach(coil_stream_abort(stream)).
 *
 * A Unix socket has no reset: its peer sees the end of the stream, or gets
 * ECONNRESET if bytes that it has sent were not received. The stream of
 * coil_stream_adopt() is closed as by coil_stream_close(), since other
 * processes may use the connection.
 *
 * Result    0
 * Lifetime  takes the stream; NULL is allowed
 * Source    asyncio WriteTransport.abort()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_abort(struct coil_stream *stream);

/* ---- For your own streams --------------------------------------------- */

/*
 * The operations of a stream. Each does what the function of its name says; the
 * functions that have none are made of these.
 */
struct coil_stream_ops {
    struct coil_future *(*fill)(struct coil_stream *stream, size_t want);
    size_t (*peek)(struct coil_stream *stream, char **data);
    void (*consume)(struct coil_stream *stream, size_t n);
    bool (*at_end)(const struct coil_stream *stream);
    struct coil_future *(*write)(struct coil_stream *stream, const void *buf,
                                 size_t len);
    struct coil_future *(*write_eof)(struct coil_stream *stream);
    /*
     * Its future has a class without `cancel`, and is made together with the
     * stream: to close allocates nothing. coil_stream_close_soon() detaches it.
     * A reader that was woken before still looks at the stream, so the stream
     * has to live until it has run: complete the future in a call of
     * coil_call_soon() at the earliest.
     */
    struct coil_future *(*close)(struct coil_stream *stream);
    int (*fd)(const struct coil_stream *stream);
    /* As close; close and abort may return one future. NULL: close is called */
    struct coil_future *(*abort)(struct coil_stream *stream);
    /* NULL: true if peek shows no byte and at_end is false */
    bool (*is_reusable)(struct coil_stream *stream);
    /* NULL: true */
    bool (*is_sent)(const struct coil_stream *stream);
    /*
     * Pass `handle` to coil_call_soon(), with its own fn and arg, when there is
     * something to read; NULL: end the watch. NULL in the table: no call
     */
    int (*watch)(struct coil_stream *stream, struct coil_handle *handle);
};

/* The beginning of a stream. The fields of your stream follow it. */
struct coil_stream {
    const struct coil_stream_ops *ops;
};

COIL_END_DECLS

#endif
