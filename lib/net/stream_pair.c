// SPDX-License-Identifier: MIT
/*
 * stream_pair.c: two connected streams without a descriptor.
 *
 * Each end has the block of bytes that it has received, and a queue of the
 * writes that it has begun. The bytes of a write are copied into the block of
 * the other end as soon as there is room:
 *
 *     end a                                    end b
 *     writes: w1 -> w2 -> eof ---- pull(b) --> block, a ring
 *     block <--------------------- pull(a) --- writes
 *
 * peek shows the bytes in place, up to the last byte of the ring: they must not
 * move while a reader may look at them. They move to the front of the block, or
 * into another one, only when a fill begins which wants more in one piece than
 * fits there, or while it waits.
 *
 * Invariant: while a write is in the queue the other end has a block that is
 * full up to its limit. So a write needs memory only when it begins, before its
 * first byte is taken: no write fails in the middle for the lack of memory, and
 * a consume, a cancel and a close need none.
 *
 * Completing a future runs no waiter, so nothing here can be entered again.
 */
#include <coil/stream_pair.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <coil/io.h>
#include <coil/loop.h>

#include "base/check.h"
#include "base/list.h"

#define BUFFER_BYTES 65536

struct end;

struct fill {
    struct coil_custom custom;
    struct end *end;
    size_t want;
};

struct write {
    struct coil_custom custom;
    struct end *end;
    struct coili_list link; /* of end->writes, from its start to its end */
    const char *buf;
    size_t len, sent;
    bool is_eof;
};

struct end {
    struct coil_custom closing; /* the future of close and abort */
    struct coil_handle told;    /* completes it */
    struct coil_stream stream;
    struct end *peer;            /* NULL: one of the two was closed */
    struct coili_list writes;    /* the first one may be sent in part */
    struct fill *reader;         /* the fill that waits for bytes */
    struct coil_handle *watcher; /* only while nothing is there to read */
    char *block;                 /* of `size` bytes; NULL: nothing received */
    size_t size, from, n;        /* n bytes from `from` on are not consumed */
    size_t limit;                /* of n */
    int ended;   /* 1: the peer has ended; below 0: an error; 0: neither */
    int refusal; /* the error of a write that begins now; 0: it may */
    bool broken; /* a write has sent only a part of its bytes */
    bool closed, reset;
};

static struct end *end_of(const struct coil_stream *s)
{
    return COILI_CONTAINER((void *)(uintptr_t)s, struct end, stream);
}

/* ---- The block of received bytes -------------------------------------- */

/* A fill that waits may want more than the limit. */
static size_t limit_of(const struct end *e)
{
    return e->reader && e->reader->want > e->limit ? e->reader->want : e->limit;
}

static bool open_block(struct end *e)
{
    e->size = limit_of(e);
    e->block = coil_alloc(e->size);
    if (!e->block)
        e->size = 0;
    return e->block;
}

static void free_block(struct end *e)
{
    if (e->block)
        coil_free(e->block, e->size);
    e->block = NULL;
    e->size = e->from = e->n = 0;
}

/* The number of the first bytes that stand in one piece. */
static size_t in_one_piece(const struct end *e)
{
    return e->n < e->size - e->from ? e->n : e->size - e->from;
}

/*
 * Make the block, if there is one, have `want` bytes in one piece from the
 * first one that is not consumed.
 */
static int arrange(struct end *e, size_t want)
{
    if (!e->block || e->size - e->from >= want)
        return 0;
    size_t n = e->n, first = in_one_piece(e);
    if (first == n && want <= e->size) {
        memmove(e->block, e->block + e->from, n);
        e->from = 0;
        return 0;
    }
    size_t size = e->size;
    while (size < want)
        size *= 2; /* the next fill may want one byte more */
    char *block = coil_alloc(size);
    if (!block)
        return -ENOMEM;
    memcpy(block, e->block + e->from, first);
    memcpy(block + first, e->block, n - first);
    free_block(e);
    e->block = block;
    e->size = size;
    e->n = n;
    return 0;
}

/* Copy bytes into the ring, as many as there is room for. Result: how many. */
static size_t put(struct end *e, const char *data, size_t len)
{
    size_t room = e->n < limit_of(e) ? limit_of(e) - e->n : 0;
    size_t n = len < room ? len : room;
    size_t to = e->from + e->n < e->size ? e->from + e->n
                                         : e->from + e->n - e->size;
    size_t first = n < e->size - to ? n : e->size - to;
    if (first > 0)
        memcpy(e->block + to, data, first);
    if (first < n)
        memcpy(e->block, data + first, n - first);
    e->n += n;
    return n;
}

/* ---- The reader is told ----------------------------------------------- */

static void end_fill(struct end *e, int64_t result)
{
    struct coil_future *fill = &e->reader->custom.future;
    e->reader = NULL;
    if (result < 0)
        coil_future_set_error(fill, (int)result);
    else
        coil_future_set_int(fill, result);
}

/* Complete the fill or make the call that waits for what there is now. */
static void tell(struct end *e)
{
    if (e->watcher && (e->n > 0 || e->ended || e->closed)) {
        struct coil_handle *handle = e->watcher;
        e->watcher = NULL;
        coil_call_soon(handle, handle->fn, handle->arg);
    }
    if (!e->reader)
        return;
    size_t n = in_one_piece(e);
    if (n >= e->reader->want || e->ended == 1)
        end_fill(e, (int64_t)n);
    else if (e->ended < 0)
        end_fill(e, e->ended);
}

/* ---- write ------------------------------------------------------------ */

static struct write *write_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct write, custom.future);
}

/*
 * May free the write, if its future was detached.
 *
 * -EPIPE is no error of an end that is written: the end was written before, or
 * the peer is gone. It is one if the peer has got a part of a write.
 */
static void end_write(struct write *w, int err)
{
    struct end *e = w->end;
    coili_list_remove(&w->link);
    if (err < 0 && w->sent > 0)
        e->broken = true;
    if (err == -EPIPE && w->is_eof && !e->broken)
        err = 0;
    if (err < 0)
        coil_future_set_error(&w->custom.future, err);
    else
        coil_future_set_int(&w->custom.future, (int64_t)w->len);
}

/* The writes that have begun fail, and so do all later ones. */
static void refuse_writes(struct end *e, int err)
{
    struct coili_list *first;
    e->refusal = err;
    while ((first = coili_list_first(&e->writes)))
        end_write(COILI_CONTAINER(first, struct write, link), err);
}

/*
 * Take what the peer writes, as far as there is room, and tell the reader. If a
 * fill waits it gets its bytes in one piece: other tasks may have consumed some
 * since it began.
 */
static void pull(struct end *e)
{
    struct end *peer = e->peer;
    struct coili_list *first;
    if (e->reader && arrange(e, e->reader->want) < 0)
        end_fill(e, -ENOMEM);
    while (peer && (first = coili_list_first(&peer->writes))) {
        struct write *w = COILI_CONTAINER(first, struct write, link);
        if (w->len > 0)
            w->sent += put(e, w->buf + w->sent, w->len - w->sent);
        if (w->sent < w->len)
            break;
        bool is_eof = w->is_eof;
        end_write(w, 0);
        if (is_eof) {
            e->ended = 1;
            refuse_writes(peer, -EPIPE);
        }
    }
    tell(e);
}

/*
 * Behind the last in the queue. If it is the first one it is taken at once, or
 * in part; if not, the block is there and full.
 */
static void write_start(struct coil_future *f)
{
    struct write *w = write_of(f);
    struct end *e = w->end;
    if (e->refusal) {
        end_write(w, e->refusal);
        return;
    }
    coili_list_append(&e->writes, &w->link);
    if (w->len > 0 && !e->peer->block && !open_block(e->peer))
        end_write(w, -ENOMEM);
    else
        pull(e->peer);
}

/* The peer must not take the next write for the rest of this one. */
static void write_cancel(struct coil_future *f)
{
    struct write *w = write_of(f);
    struct end *e = w->end;
    end_write(w, -ECANCELED);
    if (e->broken)
        refuse_writes(e, -EPIPE);
    else
        pull(e->peer); /* the next one may have no bytes */
}

static const struct coil_future_class write_class = {
    .name = "write to a stream pair",
    .start = write_start,
    .cancel = write_cancel,
};

static struct write *write_new(struct coil_stream *s)
{
    struct write *w = coil_custom_new(&write_class, sizeof *w);
    if (w)
        w->end = end_of(s);
    return w;
}

static struct coil_future *pair_write(struct coil_stream *s, const void *buf,
                                      size_t len)
{
    coil_check_lent(buf);
    struct write *w = write_new(s);
    if (!w)
        return coil_future_from_nomem();
    w->buf = buf;
    w->len = len;
    return &w->custom.future;
}

static struct coil_future *pair_write_eof(struct coil_stream *s)
{
    struct write *w = write_new(s);
    if (!w)
        return coil_future_from_nomem();
    w->is_eof = true;
    return &w->custom.future;
}

/* ---- fill, peek, consume ---------------------------------------------- */

static void fill_start(struct coil_future *f)
{
    struct fill *fill = COILI_CONTAINER(f, struct fill, custom.future);
    struct end *e = fill->end;
    int err = e->reader || e->watcher                   ? -EBUSY
              : fill->want > COIL_STREAM_FILL_BYTES_MAX ? COIL_ELIMIT
              : e->closed                               ? COIL_ECLOSED
                          : arrange(e, fill->want);
    if (err < 0) {
        coil_future_set_error(f, err);
        return;
    }
    e->reader = fill;
    pull(e);
}

static void fill_cancel(struct coil_future *f)
{
    end_fill(COILI_CONTAINER(f, struct fill, custom.future)->end, -ECANCELED);
}

static void fill_describe(const struct coil_future *f, char *buf, size_t size)
{
    const struct fill *fill = COILI_CONTAINER(f, const struct fill,
                                              custom.future);
    snprintf(buf, size, "stream pair: %zu bytes", fill->want);
}

static const struct coil_future_class fill_class = {
    .name = "fill",
    .start = fill_start,
    .cancel = fill_cancel,
    .describe = fill_describe,
};

static struct coil_future *pair_fill(struct coil_stream *s, size_t want)
{
    struct fill *fill = coil_custom_new(&fill_class, sizeof *fill);
    if (!fill)
        return coil_future_from_nomem();
    fill->end = end_of(s);
    fill->want = want ? want : 1;
    return &fill->custom.future;
}

static size_t pair_peek(struct coil_stream *s, char **data)
{
    struct end *e = end_of(s);
    if (e->n > 0)
        *data = e->block + e->from;
    return in_one_piece(e);
}

/* The last byte consumed frees the block, unless a write waits for room. */
static void pair_consume(struct coil_stream *s, size_t n)
{
    struct end *e = end_of(s);
    if (n == 0)
        return;
    coili_check(n <= in_one_piece(e), "more is consumed than peek shows");
    e->n -= n;
    e->from += n;
    if (e->from == e->size)
        e->from = 0;
    pull(e);
    if (e->n == 0)
        free_block(e);
}

static bool pair_at_end(const struct coil_stream *s)
{
    const struct end *e = end_of(s);
    return e->ended && e->n == 0;
}

static bool pair_is_reusable(struct coil_stream *s)
{
    const struct end *e = end_of(s);
    return e->n == 0 && !e->ended && !e->closed;
}

static bool pair_is_sent(const struct coil_stream *s)
{
    const struct end *peer = end_of(s)->peer;
    return !peer || peer->n == 0;
}

/* NULL: end the watch. */
static int pair_watch(struct coil_stream *s, struct coil_handle *handle)
{
    struct end *e = end_of(s);
    if (handle && (e->reader || e->watcher))
        return -EBUSY;
    e->watcher = handle;
    tell(e);
    return 0;
}

/* ---- close and abort -------------------------------------------------- */

static void end_close(void *arg)
{
    coil_future_set_int(arg, 0); /* may free the end */
}

/*
 * What waits at both ends is told; the bytes that the peer has stay there. A
 * reader that was woken before is ready, and looks at the stream in its step:
 * so the close ends, and the stream is freed, behind it in the ready queue.
 */
static void close_start(struct coil_future *f)
{
    struct end *e = COILI_CONTAINER(f, struct end, closing.future);
    struct end *peer = e->peer;
    e->closed = true;
    e->watcher = NULL;
    refuse_writes(e, COIL_ECLOSED);
    if (e->reader)
        end_fill(e, COIL_ECLOSED);
    free_block(e);
    if (peer) {
        e->peer = peer->peer = NULL;
        if (!peer->ended)
            peer->ended = e->reset ? -ECONNRESET : 1;
        if (!peer->refusal)
            refuse_writes(peer, e->reset ? -ECONNRESET : -EPIPE);
        tell(peer);
    }
    coil_call_soon(&e->told, end_close, f);
}

static const struct coil_future_class close_class = {
    .name = "close stream",
    .start = close_start,
};

static struct coil_future *pair_close(struct coil_stream *s)
{
    return &end_of(s)->closing.future;
}

static struct coil_future *pair_abort(struct coil_stream *s)
{
    end_of(s)->reset = true;
    return &end_of(s)->closing.future;
}

static int pair_fd(const struct coil_stream *s)
{
    (void)s;
    return -1;
}

static const struct coil_stream_ops pair_ops = {
    .fill = pair_fill,
    .peek = pair_peek,
    .consume = pair_consume,
    .at_end = pair_at_end,
    .write = pair_write,
    .write_eof = pair_write_eof,
    .close = pair_close,
    .fd = pair_fd,
    .abort = pair_abort,
    .is_reusable = pair_is_reusable,
    .is_sent = pair_is_sent,
    .watch = pair_watch,
};

static struct end *end_new(size_t limit)
{
    struct end *e = coil_custom_new(&close_class, sizeof *e);
    if (!e)
        return NULL;
    e->stream.ops = &pair_ops;
    e->limit = limit ? limit : BUFFER_BYTES;
    coili_list_init(&e->writes);
    return e;
}

int coil_stream_pair(struct coil_stream *ends[2], size_t buffer_bytes)
{
    coili_check(ends, "coil_stream_pair: ends is NULL");
    struct end *a = end_new(buffer_bytes),
               *b = a ? end_new(buffer_bytes) : NULL;
    if (!b) {
        coil_stream_close_soon(a ? &a->stream : NULL);
        return -ENOMEM;
    }
    a->peer = b;
    b->peer = a;
    ends[0] = &a->stream;
    ends[1] = &b->stream;
    return 0;
}
