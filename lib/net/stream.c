// SPDX-License-Identifier: MIT
/*
 * stream.c: buffered bytes over a connection.
 *
 * What the receiver lends is kept as a list of pieces, and peek shows the
 * first:
 *
 *     merged | piece -> piece -> piece
 *     ^ copied together when somebody needs more in one piece than one holds
 *
 * So a reader that takes what is there copies nothing, and the buffer goes back
 * to the kernel when its last byte is consumed. Pieces may be tiny: when the
 * receiver has lent its quota and the reader is not content yet, they are
 * merged, which gives them back and lets it go on.
 *
 * Closing: shut down, unless other processes may share the socket; cancel; the
 * receiver and the sender tell when the kernel has let go; then the descriptor
 * is closed. Aborting is the same with SO_LINGER instead of the shutdown, which
 * would send what is queued. All of it happens in memory that the stream has
 * from its birth: closing works when nothing else does.
 */
#include <coil/stream.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <coil/coroutine.h>
#include <coil/io.h>
#include <coil/receiver.h>
#include <coil/sender.h>
#include <coil/task.h>
#include <coil/wait.h>

#include "base/check.h"
#include "base/list.h"

struct tcp;

struct fill {
    struct coil_custom custom;
    struct tcp *tcp;
    size_t want;
};

/* In the middle what every message touches, cold fields before and behind. */
struct tcp {
    struct coil_custom closing; /* the future of close */
    struct coil_handle received_all;
    struct coil_stream stream;
    struct coil_receiver *receiver; /* made at the first fill */
    struct fill *reader;            /* who waits for bytes */
    struct coil_piece *first, *last;
    size_t offset;   /* consumed of the first piece */
    size_t buffered; /* in pieces */
    char *merged;    /* a block of merged_size bytes */
    int fd;
    int end; /* 1: the peer has ended; an error; 0: neither */
    bool closed, shared, reset;
    uint8_t landing; /* receiver and sender, while they are closing */
    struct coil_sender sender;
    size_t merged_at, merged_end, merged_size;
};

static struct tcp *tcp_of(const struct coil_stream *s)
{
    return COILI_CONTAINER((void *)(uintptr_t)s, struct tcp, stream);
}

/* ---- What is there ---------------------------------------------------- */

static size_t merged_bytes(const struct tcp *t)
{
    return t->merged_end - t->merged_at;
}

static void return_first(struct tcp *t)
{
    struct coil_piece *piece = t->first;
    t->first = piece->next;
    if (!t->first)
        t->last = NULL;
    t->offset = 0;
    coil_receiver_return(t->receiver, piece);
}

static void free_merged(struct tcp *t)
{
    coil_free(t->merged, t->merged_size);
    t->merged = NULL;
    t->merged_at = t->merged_end = t->merged_size = 0;
}

static size_t tcp_peek(struct coil_stream *s, char **data)
{
    struct tcp *t = tcp_of(s);
    if (t->merged) {
        *data = t->merged + t->merged_at;
        return merged_bytes(t);
    }
    if (!t->first)
        return 0;
    *data = t->first->data + t->offset;
    return t->first->len - t->offset;
}

static void tcp_consume(struct coil_stream *s, size_t n)
{
    struct tcp *t = tcp_of(s);
    if (n == 0)
        return;
    if (t->merged) {
        coili_check(n <= merged_bytes(t), "more is consumed than peek shows");
        t->merged_at += n;
        if (t->merged_at == t->merged_end)
            free_merged(t);
        return;
    }
    coili_check(t->first && n <= t->first->len - t->offset,
                "more is consumed than peek shows");
    t->offset += n;
    t->buffered -= n;
    if (t->offset == t->first->len)
        return_first(t);
}

static bool tcp_at_end(const struct coil_stream *s)
{
    const struct tcp *t = tcp_of(s);
    return t->end && !t->first && !t->merged;
}

/* In one piece, as peek shows it. */
static size_t in_one_piece(struct tcp *t)
{
    char *data;
    return tcp_peek(&t->stream, &data);
}

static size_t all_bytes(const struct tcp *t)
{
    return merged_bytes(t) + t->buffered;
}

/* ---- Merging ---------------------------------------------------------- */

/* Room for `want` bytes in the merged block, what is there kept. */
static int reserve(struct tcp *t, size_t want)
{
    if (t->merged_size - t->merged_at >= want)
        return 0;
    size_t size = 1024;
    while (size < want)
        size *= 2;
    char *block = coil_alloc(size);
    if (!block)
        return -ENOMEM;
    size_t n = merged_bytes(t);
    if (n)
        memcpy(block, t->merged + t->merged_at, n);
    free_merged(t);
    t->merged = block;
    t->merged_size = size;
    t->merged_end = n;
    return 0;
}

/* Copy pieces together until `want` bytes, or all there are, stand in one. */
static int merge(struct tcp *t, size_t want)
{
    int err = reserve(t, want);
    if (err < 0)
        return err;
    while (t->first && merged_bytes(t) < want) {
        size_t room = t->merged_size - t->merged_end;
        size_t n = t->first->len - t->offset;
        if (n > room)
            n = room;
        memcpy(t->merged + t->merged_end, t->first->data + t->offset, n);
        t->merged_end += n;
        t->offset += n;
        t->buffered -= n;
        if (t->offset == t->first->len)
            return_first(t);
    }
    return 0;
}

/* ---- fill ------------------------------------------------------------- */

static void end_fill(struct tcp *t, int64_t result)
{
    struct fill *fill = t->reader;
    t->reader = NULL;
    if (result < 0)
        coil_future_set_error(&fill->custom.future, (int)result);
    else
        coil_future_set_int(&fill->custom.future, result);
}

/* The reader has enough, or will not get more: tell it. */
static void try_fill(struct tcp *t)
{
    size_t want = t->reader->want;
    if (t->closed) {
        end_fill(t, COIL_ECLOSED);
        return;
    }
    bool together = all_bytes(t) > in_one_piece(t) &&
                    (all_bytes(t) >= want || t->end);
    bool held_up = t->first && coil_receiver_paused(t->receiver);
    if (in_one_piece(t) < want && (together || held_up)) {
        int err = merge(t, want);
        if (err < 0) {
            end_fill(t, err);
            return;
        }
    }
    size_t n = in_one_piece(t);
    if (n >= want || t->end == 1)
        end_fill(t, (int64_t)n);
    else if (t->end < 0)
        end_fill(t, t->end);
}

static void received(void *arg, int res, struct coil_piece *piece)
{
    struct tcp *t = arg;
    if (piece) {
        if (t->last)
            t->last->next = piece;
        else
            t->first = piece;
        t->last = piece;
        t->buffered += (size_t)res;
    } else {
        t->end = res == 0 ? 1 : res;
    }
    if (t->reader)
        try_fill(t);
}

static void fill_start(struct coil_future *f)
{
    struct fill *fill = COILI_CONTAINER(f, struct fill, custom.future);
    struct tcp *t = fill->tcp;
    if (t->reader) {
        coil_future_set_error(f, -EBUSY);
        return;
    }
    if (fill->want > COIL_STREAM_FILL_BYTES_MAX) {
        coil_future_set_error(f, COIL_ELIMIT);
        return;
    }
    if (!t->receiver && !t->closed) {
        int err = coil_receiver_open(&t->receiver, t->fd, received, t);
        if (err < 0) {
            coil_future_set_error(f, err);
            return;
        }
    }
    t->reader = fill;
    try_fill(t);
}

/* Bytes that arrive after this wait for the next reader. */
static void fill_cancel(struct coil_future *f)
{
    struct fill *fill = COILI_CONTAINER(f, struct fill, custom.future);
    end_fill(fill->tcp, -ECANCELED);
}

static void fill_describe(const struct coil_future *f, char *buf, size_t size)
{
    const struct fill *fill = COILI_CONTAINER(f, const struct fill,
                                              custom.future);
    snprintf(buf, size, "stream fd %d: %zu bytes", fill->tcp->fd, fill->want);
}

static const struct coil_future_class fill_class = {
    .name = "fill",
    .start = fill_start,
    .cancel = fill_cancel,
    .describe = fill_describe,
};

static struct coil_future *tcp_fill(struct coil_stream *s, size_t want)
{
    struct fill *fill = coil_custom_new(&fill_class, sizeof *fill);
    if (!fill)
        return coil_future_from_nomem();
    fill->tcp = tcp_of(s);
    fill->want = want ? want : 1;
    return &fill->custom.future;
}

/* ---- write ------------------------------------------------------------ */

static struct coil_future *tcp_write(struct coil_stream *s, const void *buf,
                                     size_t len)
{
    return coil_sender_send(&tcp_of(s)->sender, buf, len);
}

static struct coil_future *tcp_write_eof(struct coil_stream *s)
{
    return coil_sender_send_eof(&tcp_of(s)->sender);
}

/* ---- close ------------------------------------------------------------ */

static void landed(void *arg)
{
    struct tcp *t = arg;
    if (--t->landing > 0)
        return;
    close(t->fd);
    coil_future_set_int(&t->closing.future, 0);
}

static void reset_on_close(int fd)
{
    struct linger none = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

static void close_start(struct coil_future *f)
{
    struct tcp *t = COILI_CONTAINER(f, struct tcp, closing.future);
    t->closed = true;
    if (t->reset)
        reset_on_close(t->fd);
    else if (!t->shared)
        shutdown(t->fd, SHUT_RDWR);
    if (t->reader)
        try_fill(t);
    /* Before the pieces go back, or it would receive what nobody reads. */
    struct coil_future *closing = t->receiver ? coil_receiver_close(t->receiver)
                                              : NULL;
    while (t->first)
        return_first(t);
    if (t->merged)
        free_merged(t);
    t->landing = t->receiver ? 2 : 1;
    coil_sender_stop(&t->sender, landed, t);
    if (!t->receiver)
        return;
    t->receiver = NULL;
    coil_future_add_done_callback(closing, &t->received_all, landed, t);
    coil_detach(closing);
}

static const struct coil_future_class close_class = {
    .name = "close stream",
    .start = close_start,
};

static struct coil_future *tcp_close(struct coil_stream *s)
{
    return &tcp_of(s)->closing.future;
}

/* Who shares the socket would be reset too. */
static struct coil_future *tcp_abort(struct coil_stream *s)
{
    struct tcp *t = tcp_of(s);
    t->reset = !t->shared;
    return &t->closing.future;
}

static int tcp_fd(const struct coil_stream *s)
{
    return tcp_of(s)->fd;
}

static const struct coil_stream_ops tcp_ops = {
    .fill = tcp_fill,
    .peek = tcp_peek,
    .consume = tcp_consume,
    .at_end = tcp_at_end,
    .write = tcp_write,
    .write_eof = tcp_write_eof,
    .close = tcp_close,
    .fd = tcp_fd,
    .abort = tcp_abort,
};

struct coil_stream *coil_stream_new(int fd)
{
    struct tcp *t = coil_custom_new(&close_class, sizeof *t);
    if (!t)
        return NULL;
    t->stream.ops = &tcp_ops;
    t->fd = fd;
    coil_sender_init(&t->sender, fd);
    return &t->stream;
}

struct coil_stream *coil_stream_adopt(int fd)
{
    struct coil_stream *s = coil_stream_new(fd);
    if (s)
        tcp_of(s)->shared = true;
    return s;
}

/* ---- Any stream ------------------------------------------------------- */

struct coil_future *coil_stream_fill(struct coil_stream *s, size_t want)
{
    return s->ops->fill(s, want);
}

size_t coil_stream_peek(struct coil_stream *s, char **data)
{
    return s->ops->peek(s, data);
}

void coil_stream_consume(struct coil_stream *s, size_t n)
{
    s->ops->consume(s, n);
}

bool coil_stream_at_end(const struct coil_stream *s)
{
    return s->ops->at_end(s);
}

struct coil_future *coil_stream_write(struct coil_stream *s, const void *buf,
                                      size_t len)
{
    return s->ops->write(s, buf, len);
}

struct coil_future *coil_stream_write_eof(struct coil_stream *s)
{
    return s->ops->write_eof(s);
}

struct coil_future *coil_stream_close(struct coil_stream *s)
{
    return s ? s->ops->close(s) : coil_sleep(0);
}

void coil_stream_close_soon(struct coil_stream *s)
{
    if (s)
        coil_detach(s->ops->close(s));
}

struct coil_future *coil_stream_abort(struct coil_stream *s)
{
    return s && s->ops->abort ? s->ops->abort(s) : coil_stream_close(s);
}

bool coil_stream_is_quiet(struct coil_stream *s)
{
    char *data;
    if (s->ops->is_quiet)
        return s->ops->is_quiet(s);
    return coil_stream_peek(s, &data) == 0 && !coil_stream_at_end(s);
}

int coil_stream_fd(const struct coil_stream *s)
{
    return s->ops->fd(s);
}

/* ---- Reading, from fill, peek and consume ----------------------------- */

/*
 * What a fill has found may be gone when its task runs: another task read it,
 * or closed the stream. That is not its end; the next fill tells.
 */
struct read_some {
    struct coil_coro coro;
    struct coil_stream *stream;
    char *buf;
    size_t len, n, there;
};

/* Copy what is there, up to `len`; gives the count. */
static size_t take(struct coil_stream *s, char *buf, size_t len)
{
    size_t n = 0;
    char *data;
    size_t there;
    while (n < len && (there = coil_stream_peek(s, &data)) > 0) {
        if (there > len - n)
            there = len - n;
        memcpy(buf + n, data, there);
        coil_stream_consume(s, there);
        n += there;
    }
    return n;
}

static void read_some(struct coil_coro *co)
{
    COIL_ASYNC(read_some, my) {
        my->there = my->len;
        while (my->n == 0 && my->there > 0) {
            COIL_AWAIT_TO(my->there, coil_stream_fill(my->stream, 1));
            my->n = take(my->stream, my->buf, my->len);
        }
        COIL_RETURN(my->n);
    }
}

struct coil_future *coil_stream_read(struct coil_stream *stream, void *buf,
                                     size_t len)
{
    coil_check_lent(buf);
    return COIL_CALL(read_some, .stream = stream, .buf = buf, .len = len);
}

/*
 * Nothing is taken before all of it is there, so that a read that is cancelled
 * loses nothing; what is larger than a fill is taken as it comes.
 */
struct read_exactly {
    struct coil_coro coro;
    struct coil_stream *stream;
    char *buf;
    size_t len, n, want, there;
};

#define DETAIL_MOST 0x7fffffu

static void read_exactly(struct coil_coro *co)
{
    COIL_ASYNC(read_exactly, my) {
        while (my->n < my->len) {
            my->want = my->len - my->n;
            if (my->want > COIL_STREAM_FILL_BYTES_MAX)
                my->want = 1;
            COIL_AWAIT_TO(my->there, coil_stream_fill(my->stream, my->want));
            my->n += take(my->stream, my->buf + my->n, my->len - my->n);
            if (my->there < my->want)
                COIL_FAIL_WITH(COIL_EINCOMPLETE,
                               COIL_DETAIL(COIL_PHASE_NONE,
                                           my->n < DETAIL_MOST ? my->n
                                                               : DETAIL_MOST));
        }
        COIL_RETURN(my->n);
    }
}

struct coil_future *coil_stream_read_exactly(struct coil_stream *stream,
                                             void *buf, size_t len)
{
    coil_check_lent(buf);
    return COIL_CALL(read_exactly, .stream = stream, .buf = buf, .len = len);
}

struct read_until {
    struct coil_coro coro;
    struct coil_stream *stream;
    char *buf;
    size_t size, there, scanned;
    char separator;
};

static void read_until(struct coil_coro *co)
{
    COIL_ASYNC(read_until, my) {
        for (;;) {
            COIL_AWAIT_TO(my->there,
                          coil_stream_fill(my->stream, my->scanned + 1));
            char *data;
            size_t n = coil_stream_peek(my->stream, &data);
            if (n > my->size)
                n = my->size;
            char *found = n ? memchr(data, my->separator, n) : NULL;
            if (found) {
                n = (size_t)(found - data) + 1;
                COIL_RETURN(take(my->stream, my->buf, n));
            }
            if (n == my->size)
                COIL_FAIL(COIL_ELIMIT);
            if (my->there <= my->scanned) {
                if (n == 0)
                    COIL_RETURN(0);
                COIL_FAIL(COIL_EINCOMPLETE);
            }
            my->scanned = n;
        }
    }
}

struct coil_future *coil_stream_read_until(struct coil_stream *stream,
                                           char separator, void *buf,
                                           size_t size)
{
    coil_check_lent(buf);
    return COIL_CALL(read_until, .stream = stream, .separator = separator,
                     .buf = buf, .size = size);
}

struct lines {
    struct coil_coro coro;
    struct coil_stream *stream;
    size_t line_bytes_max, there, scanned, size;
    struct coil_line line; /* its text: a block of `size` bytes */
};

/* Make a line of the first `n` bytes; without memory they stay unread. */
static int take_line(struct lines *my, size_t n)
{
    if (n + 1 > my->size) {
        size_t size = my->size ? my->size : 128;
        while (size < n + 1)
            size *= 2;
        char *text = coil_alloc(size);
        if (!text)
            return -ENOMEM;
        coil_free(my->line.text, my->size);
        my->line.text = text;
        my->size = size;
    }
    my->line.len = take(my->stream, my->line.text, n);
    my->line.text[n] = '\0';
    return 0;
}

static void lines(struct coil_coro *co)
{
    COIL_ASYNC(lines, my) {
        for (;;) {
            COIL_AWAIT_TO(my->there,
                          coil_stream_fill(my->stream, my->scanned + 1));
            char *data;
            size_t n = coil_stream_peek(my->stream, &data);
            if (n > my->line_bytes_max)
                n = my->line_bytes_max;
            char *found = n > my->scanned ? memchr(data + my->scanned, '\n',
                                                   n - my->scanned)
                                          : NULL;
            bool last = my->there <= my->scanned;
            if (!found && !last) {
                if (n == my->line_bytes_max)
                    COIL_FAIL(COIL_ELIMIT);
                my->scanned = n;
                continue;
            }
            if (n == 0)
                break;
            int err = take_line(my, found ? (size_t)(found - data) + 1 : n);
            if (err < 0)
                COIL_FAIL(err);
            my->scanned = 0;
            COIL_YIELD(&my->line);
        }

    COIL_FINALLY;
        coil_free(my->line.text, my->size);
    }
}

struct coil_future *coil_stream_lines(struct coil_stream *stream,
                                      size_t line_bytes_max)
{
    return COIL_CALL(lines, .stream = stream, .line_bytes_max = line_bytes_max);
}
