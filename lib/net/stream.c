// SPDX-License-Identifier: MIT
/*
 * stream.c: buffered bytes over a connection.
 *
 * The pieces that the receiver has lent are in a list. The oldest bytes may
 * have been copied into the merged block, because a fill needed more bytes in
 * one piece than a piece holds:
 *
 *     merged block | piece -> piece -> piece
 *
 * peek shows the merged block if there is one, else the first piece. So a
 * reader that consumes what peek shows causes no copy, and a buffer goes back
 * to the kernel when its last byte is consumed. Pieces may be tiny: a receiver
 * that has lent its quota pauses, although the fill wants more bytes. Then the
 * pieces are merged, which returns them, and the receiver goes on.
 *
 * To close a stream: shut the socket down, unless other processes may use it;
 * cancel the receiver and the sender; when both have no operation in flight any
 * more, close the descriptor. Abort sets SO_LINGER instead of the shutdown,
 * since a shutdown would let the kernel send what is queued. All this needs
 * only memory that was allocated with the stream, so it cannot fail.
 */
#include <coil/stream.h>

#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

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

/* The fields that each message touches are in the middle, together. */
struct tcp {
    struct coil_custom closing; /* the future of close and abort */
    struct coil_handle received_all;
    struct coil_stream stream;
    struct coil_receiver *receiver; /* made at the first fill */
    union {
        struct fill *reader;         /* the fill that waits for bytes */
        struct coil_handle *watcher; /* with `watched`: see tcp_watch() */
    };
    struct coil_piece *first, *last;
    size_t offset;   /* bytes of the first piece that are consumed */
    size_t buffered; /* bytes in pieces that are not consumed */
    char *merged;    /* a block of merged_size bytes, or NULL */
    int fd;
    int end;         /* 1: the peer has ended; below 0: an error; 0: neither */
    bool closed, shared, reset, watched;
    uint8_t landing; /* of receiver and sender, those that still close */
    struct coil_sender sender;
    size_t merged_at, merged_end, merged_size;
};

static struct tcp *tcp_of(const struct coil_stream *s)
{
    return COILI_CONTAINER((void *)(uintptr_t)s, struct tcp, stream);
}

/* ---- Received bytes --------------------------------------------------- */

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

/* The last byte consumed frees the merged block, or returns the piece. */
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

/* The bytes that peek shows, in one piece. */
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

/* Make room for `want` bytes in the merged block, and keep the bytes in it. */
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

/*
 * Copy pieces into the merged block, and return them, until `want` bytes are in
 * it or all bytes are.
 */
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

/*
 * Complete the fill that waits, if it has its bytes or cannot get them. They
 * are merged first if they stand in several pieces: either enough have come (or
 * all that will come), or the receiver pauses and goes on only after this.
 */
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

static void end_watch(struct tcp *t)
{
    t->watched = false;
    t->watcher = NULL;
}

/* A byte or the end has come on a watched stream: make the call. */
static void notify(struct tcp *t)
{
    struct coil_handle *handle = t->watcher;
    end_watch(t);
    coil_call_soon(handle, handle->fn, handle->arg);
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
    if (t->watched)
        notify(t);
    else if (t->reader)
        try_fill(t);
}

/* At the first read or watch: a stream that is only written has no receiver. */
static int open_receiver(struct tcp *t)
{
    if (t->receiver || t->closed)
        return 0;
    return coil_receiver_open(&t->receiver, t->fd, received, t);
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
    int err = open_receiver(t);
    if (err < 0) {
        coil_future_set_error(f, err);
        return;
    }
    t->reader = fill;
    try_fill(t);
}

/* Bytes that arrive after this are kept for the next fill. */
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
    coil_close_now(t->fd);
    coil_future_set_int(&t->closing.future, 0);
}

static void reset_on_close(int fd)
{
    struct linger none = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
}

/* A fill that waits ends at once, writes when their operations have ended. */
static void close_start(struct coil_future *f)
{
    struct tcp *t = COILI_CONTAINER(f, struct tcp, closing.future);
    t->closed = true;
    if (t->reset)
        reset_on_close(t->fd);
    else if (!t->shared)
        shutdown(t->fd, SHUT_RDWR);
    if (t->watched)
        end_watch(t);
    if (t->reader)
        try_fill(t);
    /* Close it before its pieces are returned: it would receive again. */
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

/* A shared socket is only closed: a reset would be for all who use it. */
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

/* Flush first: bytes that only the kernel has count, too. */
static bool tcp_is_reusable(struct coil_stream *s)
{
    struct tcp *t = tcp_of(s);
    if (t->closed || (t->receiver && !coil_receiver_flush(t->receiver)))
        return false;
    return all_bytes(t) == 0 && !t->end;
}

/* True, too, if the kernel cannot tell for this kind of socket. */
static bool tcp_is_sent(const struct coil_stream *s)
{
    int unsent = 0;
    return ioctl(tcp_of(s)->fd, SIOCOUTQ, &unsent) < 0 || unsent == 0;
}

/* NULL: end the watch. */
static int tcp_watch(struct coil_stream *s, struct coil_handle *handle)
{
    struct tcp *t = tcp_of(s);
    if (!handle) {
        if (t->watched)
            end_watch(t);
        return 0;
    }
    if (t->reader)
        return -EBUSY;
    int err = open_receiver(t);
    if (err < 0)
        return err;
    t->watcher = handle;
    t->watched = true;
    if (all_bytes(t) > 0 || t->end || t->closed)
        notify(t);
    return 0;
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
    .is_reusable = tcp_is_reusable,
    .is_sent = tcp_is_sent,
    .watch = tcp_watch,
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
    coili_check(s, "coil_stream_write: stream is NULL");
    coili_check(buf || !len, "coil_stream_write: buf is NULL");
    return s->ops->write(s, buf, len);
}

struct coil_future *coil_stream_write_eof(struct coil_stream *s)
{
    coili_check(s, "coil_stream_write_eof: stream is NULL");
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

bool coil_stream_is_reusable(struct coil_stream *s)
{
    char *data;
    if (s->ops->is_reusable)
        return s->ops->is_reusable(s);
    return coil_stream_peek(s, &data) == 0 && !coil_stream_at_end(s);
}

bool coil_stream_is_sent(const struct coil_stream *s)
{
    return !s->ops->is_sent || s->ops->is_sent(s);
}

int coil_stream_watch(struct coil_stream *s, struct coil_handle *handle,
                      coil_call_fn *fn, void *arg)
{
    handle->fn = fn;
    handle->arg = arg;
    return s->ops->watch ? s->ops->watch(s, handle) : 0;
}

void coil_stream_unwatch(struct coil_stream *s, struct coil_handle *handle)
{
    if (s->ops->watch)
        s->ops->watch(s, NULL);
    coil_handle_cancel(handle);
}

int coil_stream_fd(const struct coil_stream *s)
{
    return s->ops->fd(s);
}

/* ---- Reading, from fill, peek and consume ----------------------------- */

/*
 * When the task of a fill runs, another task may have consumed the bytes, or
 * have closed the stream. So a fill that has found bytes which are gone is no
 * end of the stream: the loop fills again.
 */
struct read_some {
    struct coil_coro coro;
    struct coil_stream *stream;
    char *buf;
    size_t len, n, there;
};

/* Copy and consume the received bytes, at most `len`. Result: their number. */
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
    coili_check(stream, "coil_stream_read: stream is NULL");
    coili_check(buf || !len, "coil_stream_read: buf is NULL");
    coil_check_lent(buf);
    return COIL_CALL(read_some, .stream = stream, .buf = buf, .len = len);
}

/*
 * Bytes are consumed only when all of them have come, so that a read that is
 * cancelled loses nothing. More bytes than a fill can show are consumed as they
 * come.
 */
struct read_exactly {
    struct coil_coro coro;
    struct coil_stream *stream;
    char *buf;
    size_t len, n, want, there;
};

/* The largest code that an error's detail can hold. */
#define DETAIL_MOST 0x7fffffu

/* A fill of 1 for more than a fill can show: what has come is consumed. */
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
    coili_check(stream, "coil_stream_read_exactly: stream is NULL");
    coili_check(buf || !len, "coil_stream_read_exactly: buf is NULL");
    coil_check_lent(buf);
    return COIL_CALL(read_exactly, .stream = stream, .buf = buf, .len = len);
}

/*
 * Look for a byte in the bytes that peek shows. The first `*scanned` of them
 * are known not to contain it; `*scanned` becomes `n`. So each byte is scanned
 * once, however few come at a time. If another task has consumed bytes
 * meanwhile, all bytes are scanned.
 */
static char *find_new(char *data, size_t n, char byte, size_t *scanned)
{
    size_t from = *scanned <= n ? *scanned : 0;
    *scanned = n;
    return n > from ? memchr(data + from, byte, n - from) : NULL;
}

struct read_until {
    struct coil_coro coro;
    struct coil_stream *stream;
    char *buf;
    size_t size;
    size_t there, scanned; /* bytes of the last fill; without a separator */
    char separator;
};

/*
 * Each turn wants one byte more than were scanned. A fill that gives no more
 * than that has met the end of the stream.
 */
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
            bool last = my->there <= my->scanned;
            char *found = find_new(data, n, my->separator, &my->scanned);
            if (found) {
                n = (size_t)(found - data) + 1;
                COIL_RETURN(take(my->stream, my->buf, n));
            }
            if (n == my->size)
                COIL_FAIL(COIL_ELIMIT);
            if (last) {
                if (n == 0)
                    COIL_RETURN(0);
                COIL_FAIL(COIL_EINCOMPLETE);
            }
        }
    }
}

struct coil_future *coil_stream_read_until(struct coil_stream *stream,
                                           char separator, void *buf,
                                           size_t size)
{
    coili_check(stream, "coil_stream_read_until: stream is NULL");
    coili_check(buf || !size, "coil_stream_read_until: buf is NULL");
    coil_check_lent(buf);
    return COIL_CALL(read_until, .stream = stream, .separator = separator,
                     .buf = buf, .size = size);
}

struct lines {
    struct coil_coro coro;
    struct coil_stream *stream;
    size_t line_bytes_max, there, scanned, size;
    struct coil_line line; /* its text is a block of `size` bytes */
};

/* Make a line of the first `n` bytes. After an error they stay unread. */
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

/* As read_until(), but the last line may have no newline. */
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
            bool last = my->there <= my->scanned;
            char *found = find_new(data, n, '\n', &my->scanned);
            if (!found && !last) {
                if (n == my->line_bytes_max)
                    COIL_FAIL(COIL_ELIMIT);
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
    coili_check(stream, "coil_stream_lines: stream is NULL");
    return COIL_CALL(lines, .stream = stream, .line_bytes_max = line_bytes_max);
}
