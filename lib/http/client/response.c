// SPDX-License-Identifier: MIT
/*
 * response.c: the head of a response, and reading its body.
 *
 * A body is pulled out of the stream's own buffers, piece by piece. The next
 * pull consumes the piece that was shown. So nothing is copied for a program
 * that takes pieces, and a server that is faster is slowed down by the kernel.
 *
 *     lease.conn   ended   busy
 *        set        no     no     the body can be read
 *        set        no     yes    a task reads
 *        NULL       no            the lease was revoked or the body broke off:
 *                                 each read fails with lease.err; but if the
 *                                 piece that is shown is the last one, the next
 *                                 read meets the end of the body
 *        NULL       yes           the body was read to its end
 *
 * The connection is given back with the last byte of the body, not when the
 * response is freed: a program may keep a response without keeping a slot.
 */
#include "response.h"

#include <errno.h>
#include <string.h>

#include <coil/tls.h>

#include "base/check.h"
#include "redirect.h"

/* The most that is allocated at once for an announced length. */
#define BODY_AT_ONCE ((size_t)1 << 20)
#define BODY_ROOM_LEAST ((size_t)4096)

/* How much of a body is skipped that no program reads, and how long. */
#define DRAIN_MOST ((size_t)65536)
#define DRAIN_TIME COIL_SECONDS(1)

#define NEED_RESPONSE(r, function) \
    coili_check((r), function ": response is NULL")

/* ---- The head --------------------------------------------------------- */

int coil_http_response_status(const struct coil_http_response *r)
{
    NEED_RESPONSE(r, "coil_http_response_status");
    return r->status;
}

const char *coil_http_response_reason(const struct coil_http_response *r)
{
    NEED_RESPONSE(r, "coil_http_response_reason");
    return r->reason;
}

int coil_http_response_version(const struct coil_http_response *r)
{
    NEED_RESPONSE(r, "coil_http_response_version");
    return 10 + r->minor;
}

int64_t coil_http_response_content_length(const struct coil_http_response *r)
{
    NEED_RESPONSE(r, "coil_http_response_content_length");
    return r->length;
}

const char *coil_http_response_header(const struct coil_http_response *r,
                                      const char *name)
{
    NEED_RESPONSE(r, "coil_http_response_header");
    coili_check(name, "coil_http_response_header: name is NULL");
    for (const struct coil_http_header *h = r->headers; h->name; h++)
        if (coili_http_text_is(coili_http_text(h->name), name))
            return h->value;
    return NULL;
}

const struct coil_http_header *
coil_http_response_headers(const struct coil_http_response *r)
{
    NEED_RESPONSE(r, "coil_http_response_headers");
    return r->headers;
}

/* ---- Pulling ---------------------------------------------------------- */

/* An error ends the body: its rest is lost, and so is the connection. */
static int broken(struct coil_http_response *r, int err, int code)
{
    if (r->lease.conn)
        coili_lease_drop(&r->lease);
    r->broken = true;
    r->lease.err = err;
    r->lease.detail = COIL_DETAIL(COIL_PHASE_BODY, code);
    return err;
}

static void body_ended(struct coil_http_response *r)
{
    r->ended = true;
    if (r->lease.conn && r->keep)
        coili_lease_release(&r->lease);
    else if (r->lease.conn)
        coili_lease_drop(&r->lease);
}

/*
 * The head is read. The connection may be gone already: it may have failed
 * while coili_exchange() waited for the end of the upload.
 */
void coili_response_begin(struct coil_http_response *r)
{
    if (r->lease.conn)
        r->lease.conn->phase = COIL_PHASE_BODY;
    if (coili_http_body_done(&r->state))
        body_ended(r);
}

/*
 * Consume the piece that was shown, and go on to the next one, without waiting.
 *
 * Result    the length of the piece at r->piece; 0 at the end of the body;
 *           -EAGAIN: no bytes are there now; an error
 */
static int64_t pull(struct coil_http_response *r)
{
    r->lease.lent = false;
    if (r->lease.orphan)
        coil_detach(coil_stream_abort(r->lease.orphan));
    r->lease.orphan = NULL;
    if (r->ended)
        return 0;
    if (r->broken)
        return r->lease.err;
    if (r->lease.conn)
        coil_stream_consume(r->lease.conn->stream, r->taken);
    r->taken = 0;
    while (!coili_http_body_done(&r->state)) {
        if (!r->lease.conn)
            return r->lease.err;
        struct coil_stream *stream = r->lease.conn->stream;
        struct coili_http_piece piece;
        char *data;
        size_t n = coil_stream_peek(stream, &data);
        if (n == 0)
            return -EAGAIN;
        int what = coili_http_body_next(&r->state, r->limits, data, n, &piece);
        if (what < 0)
            return broken(r, what, r->state.fault);
        if (what == COILI_HTTP_DATA) {
            r->piece = piece.data;
            r->taken = piece.taken;
            return (int64_t)piece.len;
        }
        coil_stream_consume(stream, piece.taken);
    }
    body_ended(r);
    return 0;
}

/*
 * A fill has ended with `err`, or with `there` bytes; 0: the end of the stream,
 * which is the end of the body or an error, as the head says.
 */
static int filled(struct coil_http_response *r, int err, size_t there)
{
    coili_lease_filled(&r->lease);
    if (!r->lease.conn)
        return r->lease.err;
    if (err < 0)
        return broken(r, err,
                      err == COIL_ETLS ? COIL_TLS_CODE(coil_last_detail()) : 0);
    if (there > 0)
        return 0;
    err = coili_http_body_closed(&r->state);
    return err < 0 ? broken(r, err, r->state.fault) : 0;
}

/* ---- Keeping ---------------------------------------------------------- */

static int resize_body(struct coil_http_response *r, size_t room)
{
    char *body = coil_alloc(room);
    if (!body)
        return -ENOMEM;
    if (r->body) {
        memcpy(body, r->body, r->body_n);
        coil_free(r->body, r->body_room);
    }
    r->body = body;
    r->body_room = room;
    return 0;
}

/*
 * Make room for `more` bytes and a NUL. If the head has announced a length, the
 * room is made for all of it, but not more than BODY_AT_ONCE in advance.
 */
static int make_room(struct coil_http_response *r, size_t more)
{
    size_t need = r->body_n + more + 1;
    if (need <= r->body_room)
        return 0;
    size_t room = r->body_room ? r->body_room * 2 : BODY_ROOM_LEAST;
    if (r->length >= 0) {
        size_t all = need + (size_t)r->state.left;
        size_t least = all < BODY_AT_ONCE ? all : BODY_AT_ONCE;
        room = room < least ? least : room > all ? all : room;
    }
    return resize_body(r, room < need ? need : room);
}

static int keep_piece(struct coil_http_response *r, size_t n)
{
    if (n > r->body_max - r->body_n)
        return broken(r, COIL_ELIMIT, 0);
    int err = make_room(r, n);
    if (err < 0)
        return broken(r, err, 0);
    memcpy(r->body + r->body_n, r->piece, n);
    r->body_n += n;
    r->body[r->body_n] = '\0';
    return 0;
}

/* A body whose announced length is above the limit is not begun. */
static int check_length(struct coil_http_response *r)
{
    bool has_body = r->lease.conn && !r->ended;
    if (has_body && r->length >= 0 && r->state.left > r->body_max - r->body_n)
        return broken(r, COIL_ELIMIT, 0);
    return 0;
}

/* ---- Draining ---------------------------------------------------------- */

/* True if the rest of the body is skipped: a new connection costs more. */
static bool is_little(const struct coil_http_response *r)
{
    return r->keep && r->lease.conn && r->drained <= DRAIN_MOST &&
           r->state.left <= DRAIN_MOST;
}

static int set_drain_deadline(struct coili_conn *conn)
{
    int64_t most = coili_after(DRAIN_TIME);
    return coili_conn_until(conn,
                            conn->deadline < most ? conn->deadline : most);
}

/* 0: the body is read on; 1: that would be too much, or cannot be limited. */
static int begin_draining(struct coil_http_response *r)
{
    if (r->ended)
        return 0;
    return !is_little(r) || set_drain_deadline(r->lease.conn) < 0;
}

static int drained(struct coil_http_response *r, size_t n)
{
    r->drained += (uint32_t)n;
    return !is_little(r);
}

/* ---- Reading ---------------------------------------------------------- */

enum aim { NEXT, SKIP, READ, DRAIN };

struct response_body {
    struct coil_coro coro;
    struct coil_http_response *response;
    enum aim aim;
    bool reads;
    int err;
    int64_t n;
    size_t there, skipped;
};

static int begin_reading(struct response_body *my)
{
    struct coil_http_response *r = my->response;
    if (r->busy)
        return -EBUSY;
    r->busy = my->reads = true;
    if (my->aim == DRAIN)
        return begin_draining(r);
    return my->aim == READ ? check_length(r) : 0;
}

/* Use what was pulled. Result: 1: done; 0: pull again; -EAGAIN; an error. */
static int handle(struct response_body *my)
{
    if (my->n <= 0)
        return my->n == 0 ? 1 : (int)my->n;
    if (my->aim == NEXT)
        return 1;
    if (my->aim == READ)
        return keep_piece(my->response, (size_t)my->n);
    if (my->aim == DRAIN)
        return drained(my->response, (size_t)my->n);
    my->skipped += (size_t)my->n;
    return 0;
}

/* Pull until nothing is left in the stream's buffers, then fill them again. */
static void response_body(struct coil_coro *co)
{
    COIL_ASYNC(response_body, my) {
        my->err = begin_reading(my);
        while (my->err == 0) {
            do
                my->n = pull(my->response);
            while ((my->err = handle(my)) == 0);
            if (my->err != -EAGAIN)
                break;
            COIL_TRY_AWAIT_TO(my->err, my->there,
                              coili_conn_fill(my->response->lease.conn, 1,
                                              my->response->read_ns));
            my->err = filled(my->response, my->err, my->there);
        }
        if (my->err < 0)
            COIL_FAIL_WITH(my->err,
                           my->reads ? my->response->lease.detail : 0);
        if (my->aim == SKIP || my->aim == DRAIN)
            COIL_RETURN(my->skipped);
        if (my->aim == READ)
            COIL_RETURN(my->response->body_n);
        my->response->lease.lent = my->n > 0;
        COIL_RETURN(my->n); /* of the piece that is shown from now on */

    COIL_FINALLY;
        if (my->reads) {
            my->response->busy = false;
            coili_lease_filled(&my->response->lease);
        }
    }
}

struct coil_future *coil_http_response_read(struct coil_http_response *r)
{
    NEED_RESPONSE(r, "coil_http_response_read");
    if (r->ended)
        return coil_future_from_int((int64_t)r->body_n);
    return COIL_CALL(response_body, .response = r, .aim = READ);
}

struct coil_future *coil_http_response_next(struct coil_http_response *r)
{
    NEED_RESPONSE(r, "coil_http_response_next");
    return COIL_CALL(response_body, .response = r, .aim = NEXT);
}

struct coil_future *coil_http_response_skip(struct coil_http_response *r)
{
    NEED_RESPONSE(r, "coil_http_response_skip");
    return COIL_CALL(response_body, .response = r, .aim = SKIP);
}

struct coil_future *coili_response_drain(struct coil_http_response *r)
{
    return COIL_CALL(response_body, .response = r, .aim = DRAIN);
}

const char *coil_http_response_piece(const struct coil_http_response *r)
{
    NEED_RESPONSE(r, "coil_http_response_piece");
    return r->piece;
}

const char *coil_http_response_body(const struct coil_http_response *r)
{
    NEED_RESPONSE(r, "coil_http_response_body");
    return r->body ? r->body : "";
}

size_t coil_http_response_size(const struct coil_http_response *r)
{
    NEED_RESPONSE(r, "coil_http_response_size");
    return r->body_n;
}

/* ---- Freeing ---------------------------------------------------------- */

static void response_destroy(struct coil_http_response *r)
{
    coil_free(r->body, r->body_room);
    coili_hops_free(r->hop);
    coil_free(r, r->size);
}

/*
 * Skip what has arrived of the body, and the piece that was shown.
 *
 * Result    true if a rest is to come, and is_little() as far as is known
 */
static bool drain(struct coil_http_response *r)
{
    int64_t n;
    while ((n = pull(r)) > 0 && is_little(r))
        r->drained += (uint32_t)n;
    return n == -EAGAIN && is_little(r) &&
           !coil_stream_at_end(r->lease.conn->stream);
}

/* The end of a response, after its lease was revoked or when it is drained. */
static void abandoned(struct coili_lease *lease)
{
    response_destroy(COILI_CONTAINER(lease, struct coil_http_response, lease));
}

static void drain_on(void *arg);

/* False if the rest cannot be waited for. */
static bool wait_for_rest(struct coil_http_response *r)
{
    struct coili_conn *conn = r->lease.conn;
    return coil_stream_watch(conn->stream, &conn->noticed, drain_on, r) == 0;
}

static void drop_and_destroy(struct coil_http_response *r)
{
    if (r->lease.conn)
        coili_lease_drop(&r->lease);
    response_destroy(r);
}

static void drain_on(void *arg)
{
    struct coil_http_response *r = arg;
    if (!drain(r) || !wait_for_rest(r))
        drop_and_destroy(r);
}

/*
 * If little is left of the body, the response stays in memory until the rest
 * has come. A callback of the stream reads the rest, not a task, because this
 * function allocates nothing.
 */
void coil_http_response_free(struct coil_http_response *r)
{
    if (!r)
        return;
    coili_check(!r->busy, "coil_http_response_free: the response is freed "
                          "while a task reads it");
    r->lease.abandoned = abandoned;
    if (!drain(r) || set_drain_deadline(r->lease.conn) < 0 || !wait_for_rest(r))
        drop_and_destroy(r);
}
