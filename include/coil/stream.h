// SPDX-License-Identifier: MIT
#ifndef COIL_STREAM_H
#define COIL_STREAM_H

/*
 * stream.h: buffered bytes over a connection.
 *
 * Received bytes are lent: coil_stream_fill() waits for some,
 * coil_stream_peek() shows them where the kernel has put them, and
 * coil_stream_consume() gives the space back. An echo copies nothing. The
 * other reads are built on these three.
 *
 * One task reads and any number write; a write is done when all its bytes have
 * been given to the kernel, so a slow peer holds the writer back.
 *
 * A stream is a table of operations: TCP fills it in here, TLS will elsewhere,
 * and so may you: see the end of this page.
 */

#include <coil/api.h>
#include <coil/future.h>

COIL_BEGIN_DECLS

struct coil_stream;

/* The most that coil_stream_fill() can show in one piece. */
#define COIL_STREAM_FILL_BYTES_MAX (256 * 1024)

/*
 * A stream over a connected socket that you have made or accepted yourself.
 *
 * Result    NULL without memory: the descriptor stays yours
 * Lifetime  gives (coil_stream_close); takes `fd`
 */
COIL_API struct coil_stream *coil_stream_new(int fd);

/*
 * The same over one that other processes may share, such as an inherited one:
 * to close the stream does not shut down the connection.
 *
 * Source    asyncio loop.connect_accepted_socket()
 */
COIL_API struct coil_stream *coil_stream_adopt(int fd);

/* The descriptor, to set options or ask for addresses. Views. */
COIL_API int coil_stream_fd(const struct coil_stream *stream);

/*
 * Wait until at least `want` bytes can be peeked, or the peer has ended.
 *
 * Units     want: 1 to COIL_STREAM_FILL_BYTES_MAX, in one piece
 * Result    bytes that peek shows; fewer than `want` only at the end; 0: no
 *           more
 * Errors    -ECONNRESET and others of recv(2); -EBUSY another task reads;
 *           COIL_ELIMIT for a larger `want`; COIL_ECLOSED; -ENOMEM; the first
 *           one also -ENOBUFS, when options.operations_limit are in flight
 * Lifetime  lends the stream until it is done
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_fill(struct coil_stream *stream, size_t want);

/*
 * What is there, in one piece, without waiting.
 *
 * Result    the number of bytes at *data; 0 if there are none now
 * Lifetime  views: until they are consumed, the next fill, or close
 */
COIL_API size_t coil_stream_peek(struct coil_stream *stream, char **data);

/* Give back the first `n` bytes of what peek shows. More than that aborts. */
COIL_API void coil_stream_consume(struct coil_stream *stream, size_t n);

/* True if the peer has ended (or reset) and all it sent is consumed. */
COIL_API bool coil_stream_at_end(const struct coil_stream *stream);

/*
 * Ask, without waiting, whether a kept connection can be used for the next
 * exchange: false if bytes have come that nobody asked for, or if the peer has
 * ended. What comes later is not known now, and before the first fill nothing
 * is.
 *
 * Result    true if no received byte is unread and the peer has not ended
 */
COIL_API bool coil_stream_is_quiet(struct coil_stream *stream);

/*
 * Read at least one byte and at most `len` into `buf`.
 *
 * Result    bytes read; 0 at the end, and for len 0
 * Errors    as fill
 * Lifetime  lends `buf` until it is done
 * Source    asyncio StreamReader.read(n)
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_read(struct coil_stream *stream, void *buf, size_t len);

/*
 * Read `len` bytes, no fewer. Cancelled, it has read none; but one of more than
 * COIL_STREAM_FILL_BYTES_MAX bytes has read some.
 *
 * Result    len
 * Errors    COIL_EINCOMPLETE: the peer ended before; what had come is in buf,
 *           its length (at most 8388607) in the error's detail code; as fill
 * Lifetime  lends `buf` until it is done
 * Source    asyncio StreamReader.readexactly(n)
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_read_exactly(struct coil_stream *stream, void *buf, size_t len);

/*
 * Read up to and including the separator byte into `buf`.
 *
 * Result    bytes read, the separator included; 0 at the end
 * Errors    COIL_ELIMIT: none within `size` bytes, nor within
 *           COIL_STREAM_FILL_BYTES_MAX, and they stay unread;
 *           COIL_EINCOMPLETE: the peer ended in the middle, and the rest stays
 *           unread; as fill
 * Lifetime  lends `buf` until it is done
 * Source    asyncio StreamReader.readuntil(), readline()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_read_until(struct coil_stream *stream, char separator, void *buf,
                       size_t size);

/* A line; a NUL byte follows its last one. */
struct coil_line {
    char *text;
    size_t len;
};

/*
 * The lines of a stream, one after the other: a source for FOR_AWAIT. Each ends
 * with its newline, as from getline(3); the last one may have none. What comes
 * behind a line is left to whoever reads next: to leave the loop loses nothing.
 *
 *     FOR_AWAIT(my->line, coil_stream_lines(my->peer, 4096))
 *         fwrite(my->line->text, 1, my->line->len, stdout);
 *
 * Units     limit: bytes of the longest line, with its newline
 * Result    yields struct coil_line *, until the peer has ended; it is the
 *           loop's, text and all, and valid until its next turn
 * Errors    COIL_ELIMIT: a line is longer than `limit` or
 *           COIL_STREAM_FILL_BYTES_MAX, and stays unread; as fill
 * Lifetime  lends the stream while the loop runs
 * Source    async for line in StreamReader
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_lines(struct coil_stream *stream, size_t limit);

/*
 * Write all of it. Writes of several tasks go out one after the other. One
 * that is cancelled may have sent a part of its bytes: then all later ones fail
 * with -EPIPE, and what is left is to read and to close.
 *
 * Result    len
 * Errors    -EPIPE, -ECONNRESET; COIL_ECLOSED; -ECANCELED
 * Lifetime  lends `buf` until it is done
 * Source    asyncio StreamWriter.write() and drain(), in one
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_write(struct coil_stream *stream, const void *buf, size_t len);

/*
 * Tell the peer that no more is written, after what is being written.
 *
 * Result    0
 * Errors    of shutdown(2); -EPIPE after a write that was cut short, as above;
 *           COIL_ECLOSED
 * Lifetime  lends the stream until it is done
 * Source    asyncio StreamWriter.write_eof()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_write_eof(struct coil_stream *stream);

/*
 * Close: shut down (not what was adopted), cancel what is in flight, wait until
 * the kernel has let go, close the descriptor. Reads and writes of other tasks
 * end with COIL_ECLOSED. Cannot be cancelled.
 *
 * Result    0
 * Lifetime  takes the stream; NULL is fine
 * Source    asyncio StreamWriter.close() and wait_closed(), in one
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_close(struct coil_stream *stream);

/*
 * The same without waiting, for a place that cannot await. Allocates nothing;
 * the loop waits for it when it is closed.
 *
 * Lifetime  takes the stream; NULL is fine
 */
COIL_API void coil_stream_close_soon(struct coil_stream *stream);

/*
 * Close without sending what is queued: the kernel drops the bytes that it has
 * not sent yet and resets the connection, so the peer sees -ECONNRESET. Reads
 * and writes of other tasks end with COIL_ECLOSED. Cannot be cancelled;
 * allocates nothing. In a place that cannot await:
 * coil_detach(coil_stream_abort(stream)).
 *
 * A Unix socket has no reset: its peer sees the end or, if it has sent bytes
 * that were not received, -ECONNRESET. A stream from coil_stream_adopt() is
 * closed as by coil_stream_close(), since the connection may be in use
 * elsewhere.
 *
 * Result    0
 * Lifetime  takes the stream; NULL is fine
 * Source    asyncio WriteTransport.abort()
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_stream_abort(struct coil_stream *stream);

/* ---- For your own streams --------------------------------------------- */

/*
 * What stands behind a stream. Each does what the function of its name says;
 * the functions that are not here are made of these.
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
     * A future of a class that cannot be cancelled, made without memory: the
     * stream has it from its birth. coil_stream_close_soon() detaches it.
     */
    struct coil_future *(*close)(struct coil_stream *stream);
    int (*fd)(const struct coil_stream *stream);
    /* Such a future too. NULL: close. */
    struct coil_future *(*abort)(struct coil_stream *stream);
    /* NULL: true if peek shows nothing and at_end is false. */
    bool (*is_quiet)(struct coil_stream *stream);
};

/* The head of a stream; your fields follow. */
struct coil_stream {
    const struct coil_stream_ops *ops;
};

COIL_END_DECLS

#endif
