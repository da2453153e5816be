// SPDX-License-Identifier: MIT
/*
 * connection.c: one request and one response over one stream.
 *
 *     phase             where
 *     SEND -> HEADERS   coili_exchange(): ends with a response, which has the
 *                       lease
 *     BODY              response.c
 *
 * A small body is sent with the head in one write; then the answer is awaited.
 * A large body is sent by a child task, because a server may answer before it
 * has read the whole body, and read no further. A client that sends first and
 * reads then would wait for ever.
 *
 * A request sets no timer, in most cases. The timer of its connection is armed
 * all the time. A new deadline is only noted, unless it is earlier than the
 * timer: then the timer is set anew. When the timer expires too early, it is
 * set to the next deadline. For a connection that is always busy this happens
 * once in keepalive_ns.
 */
#include "connection.h"

#include <errno.h>
#include <string.h>

#include <coil/block.h>
#include <coil/tls.h>
#include <coil/wait.h>

/* The most bytes of blank lines before the answer. */
#define BLANKS_MOST 64

/* ---- Deadlines -------------------------------------------------------- */

static int64_t next_deadline(const struct coili_conn *conn)
{
    return conn->read_deadline < conn->deadline ? conn->read_deadline
                                                : conn->deadline;
}

static void timer_expired(void *arg);

static int set_timer(struct coili_conn *conn)
{
    int64_t at = next_deadline(conn);
    if (conn->timer_set && conn->timer_at <= at)
        return 0;
    if (conn->timer_set)
        coil_handle_cancel(&conn->timer);
    int err = coil_call_at(&conn->timer, at, timer_expired, conn);
    conn->timer_set = err == 0;
    conn->timer_at = at;
    return err;
}

static void timer_expired(void *arg)
{
    struct coili_conn *conn = arg;
    conn->timer_set = false;
    bool late = next_deadline(conn) <= coil_now();
    int code = conn->read_deadline < conn->deadline ? COIL_HTTP_CLOCK_READ
                                                    : COIL_HTTP_CLOCK_TOTAL;
    int err = late ? -ETIMEDOUT : set_timer(conn);
    if (err < 0)
        conn->owner->fail(conn, err, late ? code : 0);
}

int coili_conn_until(struct coili_conn *conn, int64_t deadline)
{
    conn->deadline = deadline;
    conn->read_deadline = COIL_NEVER;
    return set_timer(conn);
}

void coili_conn_disarm(struct coili_conn *conn)
{
    conn->deadline = conn->read_deadline = COIL_NEVER;
    if (conn->timer_set)
        coil_handle_cancel(&conn->timer);
    conn->timer_set = false;
}

static int arm_read_timeout(struct coili_conn *conn, int64_t read_ns)
{
    if (read_ns == COIL_NEVER)
        return 0;
    conn->read_deadline = coili_after(read_ns);
    return set_timer(conn);
}

struct coil_future *coili_conn_fill(struct coili_conn *conn, size_t want,
                                    int64_t read_ns)
{
    if (arm_read_timeout(conn, read_ns) < 0)
        return coil_future_from_nomem();
    return coil_stream_fill(conn->stream, want);
}

static void enter_phase(const struct coili_lease *lease, enum coil_phase phase)
{
    if (lease->conn)
        lease->conn->phase = (uint8_t)phase;
}

/* ---- Sending ---------------------------------------------------------- */

/* The pause before an operation for which there was no room is tried again. */
#define NO_ROOM_PAUSE COIL_MS(1)

/*
 * True if there was no room for an operation (operations_limit), and there may
 * be room later. A connection that was used before has an operation in flight,
 * its receive, while it needs another one to send. Over TLS nothing is sent
 * again: what was encrypted and not sent ends the stream.
 */
static bool no_room_yet(const struct coili_lease *lease, int err, bool sends)
{
    struct coili_conn *conn = lease->conn;
    return err == -ENOBUFS && conn && !(sends && conn->tls) &&
           conn->owner->relieve(conn, sends && conn->reused);
}

struct upload {
    struct coil_coro coro;
    struct coili_exchange *exchange;
    struct coil_stream *stream;
    unsigned tries;
};

/* Tries for a body: other exchanges end meanwhile, and make room. */
#define BODY_TRIES 1000

/* The lease of the stream, the job's or the response's; NULL: it is revoked. */
static struct coili_lease *lease_of(const struct coili_exchange *x)
{
    if (x->lease->conn)
        return x->lease;
    return x->response && x->response->lease.conn ? &x->response->lease : NULL;
}

/* The peer has closed the connection. It may have sent an answer before. */
static bool may_have_answered(int send_err)
{
    return send_err == -EPIPE || send_err == -ECONNRESET;
}

/*
 * The upload has ended; the time for the answer begins. If the peer has closed
 * the connection, the exchange reads what it sent before, and meets the end by
 * itself. After any other error the server waits for the rest of the body, and
 * the exchange would wait for its answer: so the connection fails.
 */
static void uploaded(struct upload *my)
{
    struct coili_exchange *x = my->exchange;
    struct coili_lease *lease = lease_of(x);
    if (lease == x->lease && x->send_err == 0)
        x->send_err = arm_read_timeout(lease->conn, x->sent->read_ns);
    if (x->send_err == 0 || may_have_answered(x->send_err))
        enter_phase(x->lease, COIL_PHASE_HEADERS);
    else if (lease)
        lease->conn->owner->fail(lease->conn, x->send_err, 0);
}

/* The head is sent, so the request cannot begin again: it waits for room. */
static void upload(struct coil_coro *co)
{
    COIL_ASYNC(upload, my) {
        for (;;) {
            COIL_TRY_AWAIT(my->exchange->send_err,
                           coil_stream_write(my->stream,
                                             my->exchange->sent->body,
                                             my->exchange->sent->body_n));
            struct coili_lease *lease = lease_of(my->exchange);
            if (my->exchange->send_err != -ENOBUFS || !lease ||
                lease->conn->tls || ++my->tries == BODY_TRIES)
                break;
            no_room_yet(lease, -ENOBUFS, true);
            COIL_AWAIT(coil_sleep(NO_ROOM_PAUSE));
            if (!lease_of(my->exchange))
                break;
        }
        uploaded(my);
    }
}

/* ---- The answer's head ------------------------------------------------ */

/*
 * The head has not come whole, and other exchanges will use the shared array of
 * fields meanwhile. So the fields are copied, and the one that has just begun.
 */
static int keep_fields(struct coili_exchange *x)
{
    size_t most = x->sent->limits->fields;
    if (x->fields)
        return 0;
    x->fields = coil_alloc(most * sizeof *x->fields);
    if (!x->fields)
        return -ENOMEM;
    size_t n = x->head.count < most ? x->head.count + 1u : most;
    memcpy(x->fields, x->sent->fields, n * sizeof *x->fields);
    x->head.fields = x->fields;
    return 0;
}

static void begin_head(struct coili_exchange *x)
{
    x->head = (struct coili_http_head){
        .fields = x->fields ? x->fields : x->sent->fields,
    };
}

static int fault(struct coili_exchange *x, int err, int code)
{
    x->detail = COIL_DETAIL(COIL_PHASE_HEADERS, code);
    return err;
}

/* The code of the error with which the last await has ended. */
static int code_of(int err)
{
    return err == COIL_ETLS ? COIL_TLS_CODE(coil_last_detail()) : 0;
}

/* A server that speaks TLS answers HTTP with an alert, or with a handshake. */
static bool is_tls(const char *data, size_t n)
{
    return (data[0] == 0x15 || data[0] == 0x16) && (n == 1 || data[1] == 3);
}

/* A folded value is one line: its line ends become spaces. */
static void unfold(char *value, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (value[i] == '\r' || value[i] == '\n')
            value[i] = ' ';
}

/*
 * Copy the head into the response, and end its strings in place: the byte
 * after each is a colon, a space, a CR or a LF. There may be no byte for an
 * empty reason.
 */
static void copy_head(struct coil_http_response *r,
                      const struct coili_http_head *h, size_t len)
{
    char *text = (char *)&r->headers[h->count + 1];
    memcpy(text, h->bytes, len);
    struct coili_http_text reason = coili_http_reason(h);
    r->reason = "";
    if (reason.len > 0) {
        char *words = text + (reason.at - h->bytes);
        words[reason.len] = '\0';
        r->reason = words;
    }
    for (size_t i = 0; i < h->count; i++) {
        const struct coili_http_field *f = &h->fields[i];
        char *name = text + f->name, *value = text + f->value;
        name[f->name_len] = '\0';
        if (h->lenient)
            unfold(value, f->value_len);
        value[f->value_len] = '\0';
        r->headers[i] = (struct coil_http_header){ name, value };
    }
    r->headers[h->count] = (struct coil_http_header){ 0 };
}

/*
 * True if the answer has come before the end of the upload: the body is not
 * written, or bytes of it are still on their way. The server may not read them.
 */
static bool is_early(const struct coili_exchange *x)
{
    return x->upload && (!coil_task_done(x->upload) ||
                         !coil_stream_is_sent(x->lease->conn->stream));
}

/*
 * True if the connection may be kept: the answer allows it, and all was sent.
 * Keep-Alive with a time-out of 0 s means that the server closes it now.
 */
static bool is_kept(const struct coili_exchange *x)
{
    return x->send_err == 0 && x->sent->keep && x->head.keep_alive &&
           x->head.keep_seconds > 0 && !is_early(x);
}

/* Make the response, which takes over the lease. */
static int make_response(struct coili_exchange *x, size_t len)
{
    const struct coili_http_head *h = &x->head;
    const struct coili_sent *sent = x->sent;
    size_t size = sizeof(struct coil_http_response) +
                  (h->count + 1u) * sizeof(struct coil_http_header) + len;
    struct coil_http_response *r = coil_alloc(size);
    if (!r)
        return fault(x, -ENOMEM, 0);
    *r = (struct coil_http_response){
        .lease = *x->lease,
        .size = (uint32_t)size,
        .length = h->length,
        .read_ns = sent->read_ns,
        .status = h->status,
        .minor = h->minor,
        .keep = is_kept(x),
        .limits = sent->limits,
        .body_max = sent->body_max,
    };
    copy_head(r, h, len);
    coili_http_body_start(&r->state, h);
    r->lease.conn->keep_seconds = h->keep_seconds;
    coil_stream_consume(r->lease.conn->stream, len);
    r->lease.conn->lease = &r->lease;
    x->lease->conn = NULL;
    x->response = r;
    return 0;
}

/*
 * CR LF before the answer, on a connection that was used before, belongs to the
 * previous answer: some servers send CR LF behind a body. True if the bytes are
 * the beginning of such a line.
 */
static bool is_blank_line(const struct coili_exchange *x, const char *data,
                          size_t n)
{
    return !x->answered && x->lease->conn->reused && data[0] == '\r' &&
           (n == 1 || data[1] == '\n');
}

/*
 * Parse the bytes that have come. Interim answers are skipped.
 *
 * Result    0: x->response is made, or x->want says how many bytes are needed
 */
static int read_head(struct coili_exchange *x)
{
    struct coil_stream *stream = x->lease->conn->stream;
    const struct coili_sent *sent = x->sent;
    char *data;
    size_t n;
    while ((n = coil_stream_peek(stream, &data)) > 0) {
        if (is_blank_line(x, data, n)) {
            x->want = 2;
            if (n == 1)
                return 0;
            x->skipped += 2;
            if (x->skipped > BLANKS_MOST)
                return fault(x, COIL_EPROTOCOL, COILI_HTTP_FAULT_NOT_HTTP);
            coil_stream_consume(stream, 2);
            continue;
        }
        x->answered = true;
        int len = coili_http_response_parse(&x->head, sent->limits, sent->to,
                                            data, n);
        if (len < 0 && x->head.fault == COILI_HTTP_FAULT_NOT_HTTP &&
            is_tls(data, n))
            return fault(x, len, COILI_HTTP_FAULT_TLS);
        if (len < 0)
            return fault(x, len, x->head.fault);
        if (len == 0) {
            x->want = n + 1;
            return fault(x, keep_fields(x), 0);
        }
        if (x->head.status == 101)
            return fault(x, COIL_EPROTOCOL, COILI_HTTP_FAULT_UPGRADE);
        if (!coili_http_interim(&x->head))
            return make_response(x, (size_t)len);
        x->interim += (size_t)len;
        if (x->interim > sent->limits->head)
            return fault(x, COIL_ELIMIT, COILI_HTTP_FAULT_INTERIM_LARGE);
        coil_stream_consume(stream, (size_t)len);
        begin_head(x);
    }
    x->want = 1;
    return 0;
}

/* While the body is sent the server need not answer. */
static int64_t read_timeout(const struct coili_exchange *x)
{
    bool sending = x->upload && !coil_task_done(x->upload);
    return sending ? COIL_NEVER : x->sent->read_ns;
}

/*
 * A fill has ended with x->err and x->there. Result: the error of the exchange,
 * or 0. If an answer has begun, its error counts more than that of sending;
 * without any answer the error of sending is the cause, unless the server has
 * sent an alert. Before an answer there is nothing that could be cut off: a TLS
 * stream without close_notify has ended like any other.
 */
static int head_filled(struct coili_exchange *x)
{
    struct coili_lease *lease = x->lease;
    coili_lease_filled(lease);
    if (!lease->conn) {
        x->detail = lease->detail;
        return lease->err;
    }
    if (x->err == 0 && x->there >= x->want)
        return 0;
    int code = code_of(x->err);
    if (x->answered)
        return fault(x, x->err < 0 ? x->err : COIL_EINCOMPLETE, code);
    if (x->send_err < 0 && !code) {
        x->detail = COIL_DETAIL(COIL_PHASE_SEND, 0);
        return x->send_err;
    }
    bool ended = x->err == 0 || x->err == COIL_EINCOMPLETE;
    return fault(x, ended ? COIL_EDISCONNECTED : x->err, code);
}

/* The write of the head, and of a small body, has ended with x->send_err. */
static int text_sent(struct coili_exchange *x)
{
    if (!x->lease->conn) {
        x->detail = x->lease->detail;
        return x->lease->err;
    }
    x->detail = COIL_DETAIL(COIL_PHASE_SEND, code_of(x->send_err));
    return may_have_answered(x->send_err) ? 0 : x->send_err;
}

/* The upload is a child, so it has ended before FINALLY frees what it uses. */
void coili_exchange(struct coil_coro *co)
{
    COIL_ASYNC_GIVES(coili_exchange, my, coil_http_response_free) {
        begin_head(my);
        enter_phase(my->lease, COIL_PHASE_SEND);
        for (;;) {
            COIL_TRY_AWAIT(my->send_err,
                           coil_stream_write(my->lease->conn->stream,
                                             my->sent->text, my->sent->text_n));
            if (!no_room_yet(my->lease, my->send_err, true))
                break;
            COIL_AWAIT(coil_sleep(NO_ROOM_PAUSE));
            if (!my->lease->conn)
                break;
        }
        my->err = text_sent(my);
        if (my->err < 0)
            COIL_FAIL_WITH(my->err, my->detail);
        if (my->sent->body_n > 0 && my->send_err == 0) {
            my->upload = COIL_SPAWN(upload, .exchange = my,
                                    .stream = my->lease->conn->stream);
            if (coil_task_done(my->upload))
                COIL_FAIL_WITH(-ENOMEM, COIL_DETAIL(COIL_PHASE_SEND, 0));
            COIL_AWAIT(coil_sleep(0)); /* so that the upload begins first */
            if (!my->lease->conn)
                COIL_FAIL_WITH(my->lease->err, my->lease->detail);
        } else {
            enter_phase(my->lease, COIL_PHASE_HEADERS);
        }

        for (;;) {
            my->err = read_head(my);
            if (my->err < 0)
                COIL_FAIL_WITH(my->err, my->detail);
            if (my->response)
                break;
            COIL_TRY_AWAIT_TO(
                my->err, my->there,
                coili_conn_fill(my->lease->conn, my->want, read_timeout(my)));
            if (no_room_yet(my->lease, my->err, false)) {
                my->err = 0;
                my->there = my->want;
                COIL_AWAIT(coil_sleep(NO_ROOM_PAUSE));
            }
            my->err = head_filled(my);
            if (my->err < 0)
                COIL_FAIL_WITH(my->err, my->detail);
        }

        /*
         * Status 300 or above before the body is sent: stop sending; returning
         * cancels the upload.
         */
        if (my->upload && my->response->status < 300)
            COIL_TRY_AWAIT(my->err, my->upload);
        if (!my->response->lease.conn)
            COIL_FAIL_WITH(my->response->lease.err,
                           my->response->lease.detail);
        struct coil_http_response *response = my->response;
        my->response = NULL;
        COIL_RETURN(response);

    COIL_FINALLY;
        coil_http_response_free(my->response);
        if (my->fields)
            coil_free(my->fields,
                      my->sent->limits->fields * sizeof *my->fields);
    }
}
