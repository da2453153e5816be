// SPDX-License-Identifier: MIT
/*
 * stream.c: TLS over any stream.
 *
 * Reading. The stream cuts what the lower stream shows into records, and the
 * engine opens one record at a time, in place. The plaintext is lent where it
 * is: the record leaves the lower stream when its last byte is consumed.
 *
 *     lower stream   | head | plaintext       | tag | the next record ...
 *                             ^ at      left ^
 *
 * A record that has come only in part is taken out of the lower stream at once,
 * into a block that grows with it: so the lower stream is empty while this one
 * waits, no shared receive buffer is pinned, and to wait is to watch the lower
 * stream, which allocates nothing. The record is opened in that block when it
 * is whole. A fill that wants more in one piece than a record has joins
 * plaintexts in the merged block, as in net/stream.c.
 *
 * Writing. Writes stand in one queue. Their bytes are sealed only when nothing
 * is on its way to the lower stream, up to four records in one block: the
 * flight. To seal is to spend a sequence number, so what is sealed must be
 * sent. The block and the write to the lower stream are made before: when there
 * is no memory for them nothing has happened. What the engine has to say by
 * itself while a flight is under way waits in `out`.
 *
 * Closing needs no memory: a small block and the write of close_notify to the
 * lower stream are made when the connection opens. close_notify tells the peer
 * that it has got all; so it is not sent if a write was cut short. Steps:
 *
 *     what is under way -> close_notify -> drop what still comes -> close lower
 *
 * The third one is for a peer in the middle of sending: a kernel that has
 * unread bytes when a socket is closed resets the connection, which may destroy
 * the close_notify or an alert on its way.
 *
 * The functions that are called by the loop are came(), sent(), timed_out() and
 * lower_closed(). Completing a future runs no other code, so none of them can
 * be entered again from inside.
 */
#include "stream.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <coil/coroutine.h>
#include <coil/error.h>
#include <coil/io.h>
#include <coil/loop.h>
#include <coil/stream.h>
#include <coil/task.h>
#include <coil/time.h>
#include <coil/tls.h>

#include "base/check.h"
#include "base/list.h"
#include "cache.h"
#include "engine.h"
#include "setup.h"

/* Records that share a flight, and the bytes that are opened in one pass. */
#define FLIGHT_RECORDS_MAX 4
#define PASS_BYTES 65536

/* Records in a row that bring nothing: more of them only cost time. */
#define IDLE_RECORDS_MAX 32

/* For a peer that still sends when the stream is closed. */
#define DISCARD_NS COIL_SECONDS(1)
#define DISCARD_BYTES_MAX 65536

/* close_notify with a reply to a KeyUpdate, in any version, or an alert. */
#define SMALL_BYTES 64

struct tls;

struct fill {
    struct coil_custom custom;
    struct tls *tls;
    size_t want;
};

struct write {
    struct coil_custom custom;
    struct tls *tls;
    struct coili_list link; /* of tls->writes, from its start to its end */
    const char *buf;
    size_t len, sealed;
    bool is_eof, taken; /* taken: all of it is sealed, and in the flight */
    bool cancelled;
};

struct tls {
    struct coil_custom closing; /* the future of close and abort */
    struct coil_stream stream;
    struct coil_stream *lower;
    struct coili_tls_state *state;

    struct fill *reader;         /* the fill that waits for bytes */
    struct coil_handle *watcher; /* only while nothing is there to read */
    struct coil_handle come;     /* lower has something, or `asking` is done */
    struct coil_future *asking;  /* a fill of lower, to learn how it ended */
    uint32_t record;     /* bytes of the record that was opened; 0: none */
    uint32_t at, left;   /* its plaintext that is not consumed */
    unsigned char *part; /* the record, if lower does not have it; or NULL */
    uint32_t part_len, part_size;
    uint32_t merged_at, merged_end, merged_size;
    char *merged;
    int32_t budget; /* bytes of records that may be opened in this pass */

    int end;     /* 1: the peer has ended; below 0: an error; 0: neither */
    int refusal; /* the error of a write that begins now; 0: it may */
    uint32_t end_detail;
    bool watching; /* `come` is the watch of lower */
    bool is_later; /* `come` is for the next pass */
    bool seen;     /* a record has come */
    bool open;     /* the handshake is over */
    bool broken;   /* a write was cut short */
    bool dead;     /* the engine must not be called any more */
    bool alerts;   /* the handshake has failed, and the peer is told */
    bool eof_sealed, closed, reset;
    uint8_t idle_records; /* in a row, that have brought nothing */
    bool discards, lower_closes;
    uint32_t discarded;

    struct coili_list writes;
    struct coili_tls_out out;    /* sealed, and waits */
    struct coili_tls_out flight; /* on its way to lower */
    struct coil_future *sending; /* of `flight` */
    struct coil_handle sent;
    struct coil_future *last; /* a write of close_notify, from `small` */
    struct coil_handle timer, at_close;
    unsigned char small[SMALL_BYTES];
};

static const struct coil_stream_ops tls_ops;

static struct tls *tls_of(const struct coil_stream *s)
{
    return COILI_CONTAINER((void *)(uintptr_t)s, struct tls, stream);
}

/* ---- Blocks of what is to be sent ------------------------------------- */

/* An empty block of exactly `n` bytes, or the small one if that is free. */
static bool out_reserve(struct tls *t, struct coili_tls_out *out, size_t n)
{
    if (out->data)
        return true;
    if (n <= SMALL_BYTES && t->flight.data != t->small &&
        t->out.data != t->small) {
        *out = (struct coili_tls_out){ .data = t->small,
                                       .size = SMALL_BYTES,
                                       .lent = true };
        return true;
    }
    out->data = coil_alloc(n);
    out->size = out->data ? n : 0;
    return out->data;
}

/* ---- Records ---------------------------------------------------------- */

/* The record that is opened, or is to be: in `part`, or in front of lower. */
static unsigned char *record_bytes(struct tls *t)
{
    char *data = NULL;
    if (t->part)
        return t->part;
    coil_stream_peek(t->lower, &data);
    return (unsigned char *)data;
}

static void free_part(struct tls *t)
{
    if (t->part)
        coil_free(t->part, t->part_size);
    t->part = NULL;
    t->part_len = t->part_size = 0;
}

/* The last byte of the record's plaintext is consumed. */
static void drop_record(struct tls *t)
{
    if (t->part)
        free_part(t);
    else
        coil_stream_consume(t->lower, t->record);
    t->record = t->at = t->left = 0;
}

/* Nothing can be read any more, but what was opened before. */
static void end_reading(struct tls *t, int end, uint32_t detail)
{
    t->end = end;
    t->end_detail = detail;
    if (t->left == 0)
        free_part(t);
}

static void refuse_writes(struct tls *t, int err, uint32_t detail);

/* Nothing can be written either. An alert may be in `out`. */
static void end_both(struct tls *t, int err, uint32_t detail)
{
    t->dead = true;
    if (t->state->sessions)
        coili_tls_sessions_failed(t->state->sessions, err, detail);
    end_reading(t, err, detail);
    refuse_writes(t, err, detail);
}

/* The first bytes of a peer that speaks another protocol. */
static int text_or_not(const unsigned char *head)
{
    for (int i = 0; i < COILI_TLS_HEAD_BYTES; i++)
        if ((head[i] < ' ' || head[i] > '~') && head[i] != '\r' &&
            head[i] != '\n')
            return COIL_TLS_NOT_TLS;
    return COIL_TLS_PLAIN_HTTP;
}

/* What is wrong with the peer's records, found here. Result: COIL_ETLS */
static int complain(struct tls *t, int fault)
{
    t->end_detail = coili_tls_detail(fault);
    if (fault < COIL_TLS_BY_PEER)
        t->state->setup->engine->alert(t->state, fault, &t->out);
    return COIL_ETLS;
}

/*
 * The length of a record with its head. An engine looks closer at length and
 * type; here it is found that this can be no record at all. The version is
 * ignored, as RFC 8446 says in 5.1. Records of data are encrypted; the others
 * are plain, but for the few short ones of TLS 1.2 behind ChangeCipherSpec.
 *
 * Result    the length; an error, with its detail in t->end_detail
 */
static int record_length(struct tls *t, const unsigned char *head)
{
    unsigned type = head[0];
    size_t len = (size_t)head[3] << 8 | head[4];
    size_t most = type == COILI_TLS_DATA_RECORD ? COILI_TLS_BODY_BYTES_MAX
                                                : COILI_TLS_PLAIN_BYTES_MAX;
    int fault = 0;
    if (!t->seen && type != COILI_TLS_HANDSHAKE && type != COILI_TLS_ALERT)
        fault = text_or_not(head);
    else if (type < COILI_TLS_CHANGE_CIPHER_SPEC ||
             type > COILI_TLS_DATA_RECORD)
        fault = COILI_ALERT_UNEXPECTED_MESSAGE;
    else if (len > most)
        fault = COILI_ALERT_RECORD_OVERFLOW;
    return fault ? complain(t, fault) : (int)(COILI_TLS_HEAD_BYTES + len);
}

/* Count the record if it brings nothing. Result: 0, or an error as above */
static int count_idle(struct tls *t, bool is_idle)
{
    t->idle_records = is_idle ? (uint8_t)(t->idle_records + 1) : 0;
    if (t->idle_records <= IDLE_RECORDS_MAX)
        return 0;
    return complain(t, COILI_ALERT_UNEXPECTED_MESSAGE);
}

/* Append bytes to `part`, which grows with what has come, up to `want`. */
static int part_append(struct tls *t, const char *data, size_t n, size_t want)
{
    size_t len = t->part_len + n;
    if (len > t->part_size) {
        size_t size = 2 * len > SMALL_BYTES ? 2 * len : SMALL_BYTES;
        if (len >= want / 4 || size > want)
            size = want > SMALL_BYTES ? want : SMALL_BYTES;
        unsigned char *block = coil_alloc(size);
        if (!block)
            return -ENOMEM;
        if (t->part_len)
            memcpy(block, t->part, t->part_len);
        uint32_t had = t->part_len;
        free_part(t);
        t->part = block;
        t->part_len = had;
        t->part_size = (uint32_t)size;
    }
    memcpy(t->part + t->part_len, data, n);
    t->part_len = (uint32_t)len;
    return 0;
}

/*
 * Make the next record whole, as far as lower has it. While lower has only a
 * part, that is moved into t->part; lower may have more behind it, as a ring
 * has at its end.
 *
 * Result    1: it is whole, t->record is its length; 0: more must come; an error
 */
static int next_record(struct tls *t)
{
    for (;;) {
        char *data = NULL;
        size_t there = coil_stream_peek(t->lower, &data);
        size_t has = t->part ? t->part_len : there;
        size_t want = COILI_TLS_HEAD_BYTES;
        if (has >= want) {
            int len = record_length(t,
                                    t->part ? t->part : (unsigned char *)data);
            if (len < 0)
                return len;
            want = (size_t)len;
            if (has >= want) {
                t->record = (uint32_t)want;
                return 1;
            }
        }
        if (there == 0)
            return 0;
        size_t n = want - t->part_len < there ? want - t->part_len : there;
        int err = part_append(t, data, n, want);
        if (err < 0)
            return err;
        coil_stream_consume(t->lower, n);
    }
}

/*
 * Open the next record, if it is whole. What it means to the reader is in
 * t->left and t->end then.
 *
 * Result    1: one was opened; 0: more must come; -ENOMEM: nothing was taken
 */
static int open_record(struct tls *t)
{
    int n = next_record(t);
    if (n == -ENOMEM || n == 0)
        return n;
    if (n < 0) {
        end_both(t, n, t->end_detail);
        return 1;
    }
    struct coili_tls_data data = { 0 };
    int event = t->state->setup->engine->record(t->state, record_bytes(t),
                                                t->record, &data, &t->out);
    t->seen = true;
    t->budget -= (int32_t)t->record;
    if (event == COILI_TLS_DATA && data.len > 0) {
        t->at = (uint32_t)data.at;
        t->left = (uint32_t)data.len;
        t->idle_records = 0;
        return 1;
    }
    drop_record(t);
    if (event == COILI_TLS_ENDED)
        end_reading(t, 1, 0);
    else if (event < 0)
        end_both(t, event, t->state->detail);
    else if (count_idle(t, true) < 0)
        end_both(t, COIL_ETLS, t->end_detail);
    return 1;
}

/* ---- What the reader sees --------------------------------------------- */

static size_t merged_bytes(const struct tls *t)
{
    return t->merged_end - t->merged_at;
}

static void free_merged(struct tls *t)
{
    if (t->merged)
        coil_free(t->merged, t->merged_size);
    t->merged = NULL;
    t->merged_at = t->merged_end = t->merged_size = 0;
}

static size_t in_one_piece(const struct tls *t)
{
    return t->merged ? merged_bytes(t) : t->left;
}

static size_t tls_peek(struct coil_stream *s, char **data)
{
    struct tls *t = tls_of(s);
    if (t->merged)
        *data = t->merged + t->merged_at;
    else if (t->left > 0)
        *data = (char *)record_bytes(t) + t->at;
    return in_one_piece(t);
}

static void tls_consume(struct coil_stream *s, size_t n)
{
    struct tls *t = tls_of(s);
    if (n == 0)
        return;
    coili_check(n <= in_one_piece(t), "more is consumed than peek shows");
    if (t->merged) {
        t->merged_at += (uint32_t)n;
        if (t->merged_at == t->merged_end)
            free_merged(t);
        return;
    }
    t->at += (uint32_t)n;
    t->left -= (uint32_t)n;
    if (t->left == 0)
        drop_record(t);
}

/* Why it has ended, if there was no close_notify, a fill will learn. */
static bool tls_at_end(const struct coil_stream *s)
{
    const struct tls *t = tls_of(s);
    bool ended = t->end || !t->lower || coil_stream_at_end(t->lower);
    return ended && in_one_piece(t) == 0;
}

/* Make room for `want` bytes in the merged block, and keep the bytes in it. */
static int reserve(struct tls *t, size_t want)
{
    if (t->merged_size - t->merged_at >= want)
        return 0;
    size_t size = (want + 1023) / 1024 * 1024;
    if (t->merged && size < 2 * (size_t)t->merged_size)
        size = 2 * (size_t)t->merged_size; /* the next one may want one more */
    char *block = coil_alloc(size);
    if (!block)
        return -ENOMEM;
    size_t n = merged_bytes(t);
    if (n)
        memcpy(block, t->merged + t->merged_at, n);
    free_merged(t);
    t->merged = block;
    t->merged_size = (uint32_t)size;
    t->merged_end = (uint32_t)n;
    return 0;
}

/* Copy plaintext of the record behind what is merged, up to `want` bytes. */
static int merge(struct tls *t, size_t want)
{
    int err = reserve(t, want);
    if (err < 0)
        return err;
    size_t n = want - merged_bytes(t);
    if (n > t->left)
        n = t->left;
    memcpy(t->merged + t->merged_end, record_bytes(t) + t->at, n);
    t->merged_end += (uint32_t)n;
    t->at += (uint32_t)n;
    t->left -= (uint32_t)n;
    if (t->left == 0)
        drop_record(t);
    return 0;
}

/* ---- Waiting for the lower stream ------------------------------------- */

static void came(void *arg);
static void flush(struct tls *t);

/* The outcome of `asking`: the lower stream has ended, or it has bytes. */
static int answered(struct tls *t)
{
    struct coil_future *f = t->asking;
    int err = coil_future_error(f);
    uint32_t detail = coil_future_detail(f);
    bool ended = err == 0 && coil_future_int(f) == 0;
    t->asking = NULL;
    coil_future_unref(f);
    if (err == -ENOMEM || err == -ENOBUFS)
        return err;
    if (err < 0)
        end_reading(t, err, detail);
    else if (ended)
        end_reading(t, COIL_EINCOMPLETE, coili_tls_detail(0));
    return 1;
}

/*
 * Have came() called when there is more, or learn at once how the lower stream
 * has ended.
 *
 * Result    0: came() will be called; 1: look again; an error
 */
static int wait_for_lower(struct tls *t)
{
    if (t->watching || t->asking || t->is_later)
        return 0;
    if (t->lower->ops->watch && !coil_stream_at_end(t->lower)) {
        int err = coil_stream_watch(t->lower, &t->come, came, t);
        t->watching = err == 0;
        return err;
    }
    t->asking = coil_future_begin(coil_stream_fill(t->lower, 1));
    if (coil_future_done(t->asking))
        return answered(t);
    coil_future_add_done_callback(t->asking, &t->come, came, t);
    return 0;
}

/* Go on in the next pass: others have their turn. */
static void go_on_later(struct tls *t)
{
    if (t->watching) {
        coil_stream_unwatch(t->lower, &t->come);
        t->watching = false;
    }
    if (t->is_later || t->asking)
        return;
    t->is_later = true;
    coil_call_soon(&t->come, came, t);
}

/* ---- fill, watch ------------------------------------------------------ */

static void end_fill(struct tls *t, int64_t result, uint32_t detail)
{
    struct coil_future *f = &t->reader->custom.future;
    t->reader = NULL;
    if (result < 0)
        coil_future_set_error_detail(f, (int)result, detail);
    else
        coil_future_set_int(f, result);
}

/*
 * Complete the fill that waits, if it has its bytes or cannot get them; else
 * open records until it can be, and wait for more.
 */
static void try_fill(struct tls *t)
{
    size_t want = t->reader->want;
    for (;;) {
        size_t n = in_one_piece(t);
        int err = 1;
        if (n >= want || (t->end == 1 && t->left == 0)) {
            end_fill(t, (int64_t)n, 0);
            return;
        }
        if (t->left > 0) {
            if (!t->merged && t->end) { /* all that there will be */
                end_fill(t, t->end == 1 ? (int64_t)n : t->end, t->end_detail);
                return;
            }
            err = merge(t, want);
        } else if (t->end) {
            end_fill(t, t->end, t->end_detail);
            return;
        } else if (t->budget <= 0) {
            go_on_later(t);
            return;
        } else {
            err = open_record(t);
            if (err == 0)
                err = wait_for_lower(t);
            if (err == 0)
                return;
        }
        if (err < 0) {
            end_fill(t, err, 0);
            return;
        }
    }
}

static void notify(struct tls *t)
{
    struct coil_handle *handle = t->watcher;
    t->watcher = NULL;
    coil_call_soon(handle, handle->fn, handle->arg);
}

/*
 * Make the call of the watch if there is something to read. Records without
 * data are none. Why lower has ended does not matter: a fill will tell.
 *
 * Result    0; an error: nothing can be watched
 */
static int try_watch(struct tls *t)
{
    for (;;) {
        if (in_one_piece(t) > 0 || t->end || coil_stream_at_end(t->lower)) {
            notify(t);
            return 0;
        }
        if (t->budget <= 0) {
            go_on_later(t);
            return 0;
        }
        int err = open_record(t);
        if (err == 0 && coil_stream_at_end(t->lower))
            continue;
        if (err == 0)
            err = wait_for_lower(t);
        if (err <= 0)
            return err;
    }
}

static void discard(struct tls *t);

/* The lower stream has something, its fill is done, or a pass is over. */
static void came(void *arg)
{
    struct tls *t = arg;
    t->watching = t->is_later = false;
    t->budget = PASS_BYTES;
    int err = t->asking ? answered(t) : 1;
    if (t->discards) {
        discard(t);
        return;
    }
    if (t->reader && err < 0)
        end_fill(t, err, 0);
    else if (t->reader)
        try_fill(t);
    else if (t->watcher && (err < 0 || try_watch(t) < 0))
        notify(t); /* a fill will tell what is wrong */
    flush(t);      /* what the engine has answered */
}

static void fill_start(struct coil_future *f)
{
    struct fill *fill = COILI_CONTAINER(f, struct fill, custom.future);
    struct tls *t = fill->tls;
    int err = t->reader || t->watcher                   ? -EBUSY
              : fill->want > COIL_STREAM_FILL_BYTES_MAX ? COIL_ELIMIT
              : t->closed                               ? COIL_ECLOSED
                                                        : 0;
    if (err < 0) {
        coil_future_set_error(f, err);
        return;
    }
    t->reader = fill;
    try_fill(t);
    flush(t);
}

/* What arrives after this is kept for the next fill. */
static void fill_cancel(struct coil_future *f)
{
    end_fill(COILI_CONTAINER(f, struct fill, custom.future)->tls, -ECANCELED,
             0);
}

static void fill_describe(const struct coil_future *f, char *buf, size_t size)
{
    const struct fill *fill = COILI_CONTAINER(f, const struct fill,
                                              custom.future);
    snprintf(buf, size, "TLS stream fd %d: %zu bytes",
             coil_stream_fd(fill->tls->lower), fill->want);
}

static const struct coil_future_class fill_class = {
    .name = "fill TLS",
    .start = fill_start,
    .cancel = fill_cancel,
    .describe = fill_describe,
};

static struct coil_future *tls_fill(struct coil_stream *s, size_t want)
{
    struct fill *fill = coil_custom_new(&fill_class, sizeof *fill);
    if (!fill)
        return coil_future_from_nomem();
    fill->tls = tls_of(s);
    fill->want = want ? want : 1;
    return &fill->custom.future;
}

/* NULL: end the watch. The watch of lower may stay: came() finds no one. */
static int tls_watch(struct coil_stream *s, struct coil_handle *handle)
{
    struct tls *t = tls_of(s);
    if (!handle) {
        t->watcher = NULL;
        return 0;
    }
    if (t->reader || t->watcher)
        return -EBUSY;
    t->watcher = handle;
    int err = 0;
    if (t->closed)
        notify(t);
    else
        err = try_watch(t);
    if (err < 0)
        t->watcher = NULL;
    flush(t);
    return err;
}

/*
 * Records that have come are opened first: a ticket or a KeyUpdate forbids no
 * other request. The rest of a record might be anything.
 */
static bool tls_is_reusable(struct coil_stream *s)
{
    struct tls *t = tls_of(s);
    while (!t->closed && in_one_piece(t) == 0 && !t->end) {
        if (coil_stream_is_reusable(t->lower)) {
            flush(t);
            return !t->part;
        }
        if (coil_stream_at_end(t->lower) || open_record(t) <= 0)
            break;
    }
    if (!t->closed)
        flush(t);
    return false;
}

static bool tls_is_sent(const struct coil_stream *s)
{
    const struct tls *t = tls_of(s);
    return !t->sending && t->out.len == 0 && coil_stream_is_sent(t->lower);
}

/* ---- write ------------------------------------------------------------ */

static struct write *write_of(struct coil_future *f)
{
    return COILI_CONTAINER(f, struct write, custom.future);
}

/* An end that was written before, or that cannot arrive, is no error. */
static void end_write(struct write *w, int err, uint32_t detail)
{
    coili_list_remove(&w->link);
    if (err == -EPIPE && w->is_eof && !w->tls->broken && !w->tls->dead)
        err = 0;
    if (err < 0)
        coil_future_set_error_detail(&w->custom.future, err, detail);
    else
        coil_future_set_int(&w->custom.future, (int64_t)w->len);
}

/* The writes that have begun fail, and so do all later ones. */
static void refuse_writes(struct tls *t, int err, uint32_t detail)
{
    struct coili_list *first;
    if (t->refusal == 0 || t->closed)
        t->refusal = err;
    while ((first = coili_list_first(&t->writes)))
        end_write(COILI_CONTAINER(first, struct write, link), err, detail);
}

/* The writes of the flight, which was sent: they stand in front. */
static void end_taken(struct tls *t)
{
    struct coili_list *first;
    while ((first = coili_list_first(&t->writes))) {
        struct write *w = COILI_CONTAINER(first, struct write, link);
        if (!w->taken)
            break;
        end_write(w, 0, 0);
    }
}

static struct write *next_write(struct tls *t, const struct coili_list *link)
{
    return link->next == &t->writes
               ? NULL
               : COILI_CONTAINER(link->next, struct write, link);
}

/* The bytes of the first records that wait, as they will be sealed. */
static size_t flight_bytes(struct tls *t)
{
    unsigned records = 0, overhead = t->state->overhead;
    size_t bytes = t->out.len;
    struct write *w = next_write(t, &t->writes);
    for (; w && records < FLIGHT_RECORDS_MAX; w = next_write(t, &w->link)) {
        size_t left = w->len - w->sealed;
        if (w->is_eof)
            return bytes + overhead + 2;
        for (; left > 0 && records < FLIGHT_RECORDS_MAX; records++) {
            size_t n = left < COILI_TLS_PLAIN_BYTES_MAX
                           ? left
                           : COILI_TLS_PLAIN_BYTES_MAX;
            bytes += n + overhead;
            left -= n;
        }
    }
    if (records > 0)
        bytes += t->state->extra;
    return bytes;
}

/* Seal those records. Behind the end nothing is taken. */
static int seal_flight(struct tls *t)
{
    const struct coil_tls_engine *engine = t->state->setup->engine;
    unsigned records = 0;
    int err = 0;
    struct write *w = next_write(t, &t->writes);
    for (; w && err == 0 && records < FLIGHT_RECORDS_MAX && !t->eof_sealed;
         w = next_write(t, &w->link)) {
        if (w->is_eof) {
            err = engine->end(t->state, &t->out);
            t->eof_sealed = true;
        }
        for (; w->sealed < w->len && err == 0 && records < FLIGHT_RECORDS_MAX;
             records++) {
            size_t n = w->len - w->sealed;
            if (n > COILI_TLS_PLAIN_BYTES_MAX)
                n = COILI_TLS_PLAIN_BYTES_MAX;
            err = engine->seal(t->state, w->buf + w->sealed, n, &t->out);
            w->sealed += n;
            t->idle_records = 0; /* it may be what the peer waits for */
        }
        w->taken = err == 0 && w->sealed == w->len;
    }
    return err;
}

static void sent(void *arg);

/* `write` is a write of all that is in t->out, which becomes the flight. */
static void launch(struct tls *t, struct coil_future *write)
{
    t->flight = t->out;
    t->out = (struct coili_tls_out){ 0 };
    t->sending = coil_future_begin(write);
    coil_future_add_done_callback(t->sending, &t->sent, sent, t);
}

static bool has_no_memory(struct coil_future *f)
{
    return coil_future_done(f) && coil_future_failed(f);
}

/*
 * The connection cannot go on: sealed bytes are lost, or the engine failed. If
 * that is so because a write was cancelled the others fail with -EPIPE.
 */
static void give_up(struct tls *t, int err, uint32_t detail)
{
    t->broken = true;
    coili_tls_out_free(&t->out);
    if (err == -ECANCELED) {
        struct write *w = next_write(t, &t->writes), *next;
        err = -EPIPE;
        for (; w; w = next) {
            next = next_write(t, &w->link);
            if (w->cancelled)
                end_write(w, -ECANCELED, 0);
        }
    }
    refuse_writes(t, err, detail);
}

/*
 * The memory for a flight of `bytes`: a block, and the write of it to lower.
 * Result: NULL, and nothing has changed.
 */
static struct coil_future *prepare_flight(struct tls *t, size_t bytes)
{
    struct coil_future *write = NULL;
    if (out_reserve(t, &t->out, bytes))
        write = coil_stream_write(t->lower, t->out.data, bytes);
    if (write && !has_no_memory(write))
        return write;
    if (t->out.len == 0)
        coili_tls_out_free(&t->out);
    return NULL;
}

/* What was written behind the end is refused, and so is what comes. */
static void refuse_behind_eof(struct tls *t)
{
    struct write *w = next_write(t, &t->writes), *next;
    t->refusal = -EPIPE;
    for (; w; w = next) {
        next = next_write(t, &w->link);
        if (!w->taken)
            end_write(w, -EPIPE, 0);
    }
}

/*
 * Send what waits in `out`, and behind it what is written: memory first, then
 * seal. A write that finds no memory fails, unless a part of it is sent: then
 * it is cut. The flight is of another length than was foreseen if the engine
 * had something to add, such as the reply to a KeyUpdate.
 */
static void flush(struct tls *t)
{
    struct coil_future *write = NULL;
    size_t bytes;
    if (t->sending || t->closed || !t->open)
        return;
    while ((bytes = flight_bytes(t)) > 0 &&
           !(write = prepare_flight(t, bytes))) {
        struct write *w = next_write(t, &t->writes);
        if (!w)
            return; /* it goes with the next one */
        if (w->sealed > 0) {
            t->broken = true;
            refuse_writes(t, -ENOMEM, 0);
            return;
        }
        end_write(w, -ENOMEM, 0);
    }
    const unsigned char *data = t->out.data;
    int err = t->dead ? 0 : seal_flight(t);
    if (bytes == 0) { /* writes without a byte */
        end_taken(t);
        return;
    }
    if (err == 0 && (t->out.data != data || t->out.len != bytes)) {
        coil_discard(write);
        write = coil_stream_write(t->lower, t->out.data, t->out.len);
        err = has_no_memory(write) ? -ENOMEM : 0;
    }
    if (err < 0) {
        coil_discard(write);
        give_up(t, err, t->state->detail);
        return;
    }
    launch(t, write);
    if (t->eof_sealed)
        refuse_behind_eof(t);
}

static void close_further(struct tls *t);

/* The lower stream has taken the flight, or never will. */
static void sent(void *arg)
{
    struct tls *t = arg;
    int err = coil_future_error(t->sending);
    uint32_t detail = coil_future_detail(t->sending);
    coil_future_unref(t->sending);
    t->sending = NULL;
    coili_tls_out_free(&t->flight);
    if (t->closed) {
        if (err < 0)
            coili_tls_out_free(&t->out);
        if (!t->discards)
            close_further(t);
        return;
    }
    if (err < 0) {
        give_up(t, err, detail);
        return;
    }
    end_taken(t);
    flush(t);
}

static void write_start(struct coil_future *f)
{
    struct write *w = write_of(f);
    struct tls *t = w->tls;
    int refusal = t->closed ? COIL_ECLOSED : t->refusal;
    if (refusal) {
        end_write(w, refusal, 0);
        return;
    }
    coili_list_append(&t->writes, &w->link);
    flush(t);
}

/*
 * A write that is sealed may still succeed: lower is asked to end, and says
 * whether the flight was sent. One that is sealed in part has failed: the peer
 * must not take the next write for the rest of it.
 */
static void write_cancel(struct coil_future *f)
{
    struct write *w = write_of(f);
    struct tls *t = w->tls;
    if (w->taken && (w->len > 0 || w->is_eof)) {
        w->cancelled = true;
        coil_future_cancel(t->sending);
        return;
    }
    bool cut = w->sealed > 0;
    end_write(w, -ECANCELED, 0);
    if (!cut)
        return;
    t->broken = true;
    refuse_writes(t, -EPIPE, 0);
}

static void write_describe(const struct coil_future *f, char *buf, size_t size)
{
    const struct write *w = COILI_CONTAINER(f, const struct write,
                                            custom.future);
    snprintf(buf, size, "TLS stream fd %d: write",
             coil_stream_fd(w->tls->lower));
}

static const struct coil_future_class write_class = {
    .name = "write TLS",
    .start = write_start,
    .cancel = write_cancel,
    .describe = write_describe,
};

static struct write *write_new(struct coil_stream *s)
{
    struct write *w = coil_custom_new(&write_class, sizeof *w);
    if (w)
        w->tls = tls_of(s);
    return w;
}

static struct coil_future *tls_write(struct coil_stream *s, const void *buf,
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

static struct coil_future *tls_write_eof(struct coil_stream *s)
{
    struct write *w = write_new(s);
    if (!w)
        return coil_future_from_nomem();
    w->is_eof = true;
    return &w->custom.future;
}

/* ---- close and abort -------------------------------------------------- */

/* Free what this stream holds but its own memory. */
static void release(struct tls *t)
{
    struct coili_tls_state *state = t->state;
    t->state = NULL;
    if (!state)
        return;
    const struct coil_tls_engine *engine = state->setup->engine;
    struct coili_tls_setup *setup = state->setup;
    coili_tls_sessions_unref(state->sessions);
    engine->free(state);
    coil_free(state, engine->state_bytes);
    coili_tls_setup_unref(setup);
}

/* The loop closes, and the stream was left open. */
static void release_at_close(void *arg)
{
    release(arg);
}

static void finish(struct tls *t)
{
    coil_handle_cancel(&t->at_close);
    coil_handle_cancel(&t->timer);
    if (t->last)
        coil_discard(t->last);
    coili_tls_out_free(&t->out);
    free_part(t);
    release(t);
    coil_future_set_int(&t->closing.future, 0); /* may free t */
}

/* The write to lower may end a pass later than lower itself. */
static void lower_closed(void *arg)
{
    struct tls *t = arg;
    t->lower = NULL;
    if (!t->sending)
        finish(t);
}

/* The last step: nothing more is sent, and what comes is not looked at. */
static void close_lower(struct tls *t)
{
    t->lower_closes = true;
    t->discards = false;
    coil_handle_cancel(&t->timer);
    if (t->watching)
        coil_stream_unwatch(t->lower, &t->come);
    coil_handle_cancel(&t->come);
    if (t->asking) {
        coil_future_quiet(t->asking);
        coil_future_unref(t->asking);
        t->asking = NULL;
    }
    t->watching = t->is_later = false;
    struct coil_future *closing = t->reset ? coil_stream_abort(t->lower)
                                           : coil_stream_close(t->lower);
    coil_future_add_done_callback(closing, &t->come, lower_closed, t);
    coil_detach(closing);
}

/* The peer does not take close_notify, or does not stop to send. */
static void timed_out(void *arg)
{
    struct tls *t = arg;
    if (!t->lower_closes)
        close_lower(t);
}

/*
 * Drop what comes until the peer has ended, for a while. The end of the stream
 * below is sent before, so two that wait for each other see it.
 */
static void discard(struct tls *t)
{
    char *data;
    size_t n;
    while ((n = coil_stream_peek(t->lower, &data)) > 0) {
        coil_stream_consume(t->lower, n);
        t->discarded += (uint32_t)n;
        if (t->discarded > DISCARD_BYTES_MAX)
            break;
    }
    if (coil_stream_at_end(t->lower) || t->discarded > DISCARD_BYTES_MAX ||
        !t->lower->ops->watch || wait_for_lower(t) < 0)
        close_lower(t);
}

/*
 * True if the peer was still sending when the stream was closed or failed, and
 * something was said that must arrive.
 */
static bool expects_more(struct tls *t)
{
    char *data;
    if (t->reset || t->end == 1 || coil_stream_at_end(t->lower) ||
        !(t->open || t->alerts))
        return false;
    return t->alerts || t->part || coil_stream_peek(t->lower, &data) > 0;
}

/*
 * Called when a step of closing may be over. There is a time limit for each
 * step that waits; if the loop has no memory for one, the step does not wait.
 */
static void close_further(struct tls *t)
{
    if (t->lower_closes) {
        if (!t->lower && !t->sending)
            finish(t);
        return;
    }
    if (t->sending)
        return;
    coil_handle_cancel(&t->timer);
    if (t->out.len > 0) {
        struct coil_future *write = t->last;
        t->last = NULL;
        if (write && (t->out.data != t->small ||
                      t->out.len != t->state->overhead + 2u)) {
            coil_discard(write);
            write = NULL;
        }
        if (!write)
            write = coil_stream_write(t->lower, t->out.data, t->out.len);
        if (!has_no_memory(write) &&
            coil_call_later(&t->timer, t->state->setup->close_ns, timed_out,
                            t) == 0) {
            launch(t, write);
            return;
        }
        coil_discard(write);
    }
    if (!expects_more(t) ||
        coil_call_later(&t->timer, DISCARD_NS, timed_out, t) < 0) {
        close_lower(t);
        return;
    }
    free_part(t);
    t->discards = true;
    t->sending = coil_future_begin(coil_stream_write_eof(t->lower));
    coil_future_add_done_callback(t->sending, &t->sent, sent, t);
    discard(t);
}

/* A write that has begun and has not ended is cut short. */
static bool cuts_a_write(const struct tls *t)
{
    const struct coili_list *link = t->writes.next;
    for (; link != &t->writes; link = link->next)
        if (COILI_CONTAINER(link, struct write, link)->len > 0)
            return true;
    return false;
}

/*
 * Readers and writers are told at once. The record whose plaintext is lent goes
 * first, so that what is left in lower is what the peer sends still.
 */
static void close_start(struct coil_future *f)
{
    struct tls *t = COILI_CONTAINER(f, struct tls, closing.future);
    if (cuts_a_write(t))
        t->broken = true;
    t->closed = true;
    t->watcher = NULL;
    refuse_writes(t, COIL_ECLOSED, 0);
    if (t->reader)
        end_fill(t, COIL_ECLOSED, 0);
    free_merged(t);
    if (t->left > 0)
        drop_record(t);
    if (t->reset || (t->broken && !t->dead)) {
        coili_tls_out_free(&t->out);
        close_lower(t);
        return;
    }
    t->alerts = t->dead || (!t->open && t->out.len > 0);
    if (t->open && !t->eof_sealed && !t->dead &&
        out_reserve(t, &t->out, SMALL_BYTES))
        t->state->setup->engine->end(t->state, &t->out);
    t->eof_sealed = true;
    if (t->sending &&
        coil_call_later(&t->timer, t->state->setup->close_ns, timed_out, t) < 0)
        close_lower(t);
    else
        close_further(t);
}

static const struct coil_future_class close_class = {
    .name = "close TLS stream",
    .start = close_start,
};

static struct coil_future *tls_close(struct coil_stream *s)
{
    return &tls_of(s)->closing.future;
}

static struct coil_future *tls_abort(struct coil_stream *s)
{
    tls_of(s)->reset = true;
    return &tls_of(s)->closing.future;
}

static int tls_fd(const struct coil_stream *s)
{
    const struct tls *t = tls_of(s);
    return t->lower ? coil_stream_fd(t->lower) : -1;
}

static const struct coil_stream_ops tls_ops = {
    .fill = tls_fill,
    .peek = tls_peek,
    .consume = tls_consume,
    .at_end = tls_at_end,
    .write = tls_write,
    .write_eof = tls_write_eof,
    .close = tls_close,
    .fd = tls_fd,
    .abort = tls_abort,
    .is_reusable = tls_is_reusable,
    .is_sent = tls_is_sent,
    .watch = tls_watch,
};

/* ---- The handshake: see stream.h --------------------------------------- */

struct coil_stream *coili_tls_stream_new(struct coil_stream *lower,
                                         struct coili_tls_setup *setup)
{
    struct tls *t = coil_custom_new(&close_class, sizeof *t);
    struct coili_tls_state *state = coil_alloc(setup->engine->state_bytes);
    if (!t || !state) {
        coil_stream_close_soon(lower);
        if (state)
            coil_free(state, setup->engine->state_bytes);
        coil_custom_free(t);
        return NULL;
    }
    memset(state, 0, setup->engine->state_bytes);
    state->setup = coili_tls_setup_ref(setup);
    t->state = state;
    t->stream.ops = &tls_ops;
    t->lower = lower;
    t->budget = PASS_BYTES;
    coili_list_init(&t->writes);
    coil_call_at_close(&t->at_close, release_at_close, t);
    return &t->stream;
}

struct coili_tls_state *coili_tls_stream_state(struct coil_stream *s)
{
    return tls_of(s)->state;
}

struct coili_tls_out *coili_tls_stream_out(struct coil_stream *s)
{
    return &tls_of(s)->out;
}

struct coil_stream *coili_tls_stream_lower(struct coil_stream *s)
{
    return tls_of(s)->lower;
}

bool coili_tls_stream_take_record(struct coil_stream *s, int *event)
{
    struct tls *t = tls_of(s);
    struct coili_tls_data data = { 0 };
    int n = next_record(t);
    if (n == 0)
        return false;
    if (n > 0) {
        unsigned type = *record_bytes(t);
        int err = count_idle(t, t->record == COILI_TLS_HEAD_BYTES ||
                                    type == COILI_TLS_ALERT ||
                                    type == COILI_TLS_CHANGE_CIPHER_SPEC);
        n = err < 0 ? err : n;
    }
    if (n < 0) {
        *event = n;
        t->state->detail = t->end_detail;
        return true;
    }
    *event = t->state->setup->engine->record(t->state, record_bytes(t),
                                             t->record, &data, &t->out);
    t->seen = true;
    drop_record(t);
    return true;
}

struct coil_future *coili_tls_stream_write_flight(struct coil_stream *s)
{
    struct tls *t = tls_of(s);
    t->flight = t->out;
    t->out = (struct coili_tls_out){ 0 };
    return coil_stream_write(t->lower, t->flight.data, t->flight.len);
}

void coili_tls_stream_flight_sent(struct coil_stream *s)
{
    coili_tls_out_free(&tls_of(s)->flight);
}

int coili_tls_stream_open(struct coil_stream *s)
{
    struct tls *t = tls_of(s);
    t->state->handshake = NULL;
    t->last = coil_stream_write(t->lower, t->small, t->state->overhead + 2u);
    if (has_no_memory(t->last)) {
        t->last = NULL;
        return -ENOMEM;
    }
    t->open = true;
    return 0;
}

/* Neither the peer has done anything wrong, nor the stream below. */
static bool is_internal(int err)
{
    return err == -ENOMEM || err == COIL_ENOTHREAD || err == COIL_ECLOSED;
}

void coili_tls_stream_fail(struct coil_stream *s, int err)
{
    struct tls *t = tls_of(s);
    coili_tls_out_free(&t->flight);
    t->state->handshake = NULL;
    if (is_internal(err) && t->out.len == 0 &&
        out_reserve(t, &t->out, SMALL_BYTES))
        t->state->setup->engine->alert(t->state, COILI_ALERT_INTERNAL_ERROR,
                                       &t->out);
}

/* ---- What was agreed on ----------------------------------------------- */

bool coil_tls_get_info(const struct coil_stream *stream,
                       struct coil_tls_info *out)
{
    coili_check(stream, "coil_tls_get_info: stream is NULL");
    coili_check(out, "coil_tls_get_info: out is NULL");
    if (stream->ops != &tls_ops || !tls_of(stream)->open)
        return false;
    struct coili_tls_state *state = tls_of(stream)->state;
    *out = (struct coil_tls_info){ .alpn = "", .name = "" };
    state->setup->engine->info(state, out);
    return true;
}
