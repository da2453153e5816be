// SPDX-License-Identifier: MIT
/*
 * session.c: from a URL to a response.
 *
 * The call prepares the request, not the await: the head is written as it will
 * be sent, the origin is looked up, and both are stored in one block, the job.
 * So the caller's strings are not needed any more.
 *
 *     coil_http_send()  job -> take or wait -> connect -> exchange -> response
 *                              ^ (pool.c)        ^          |   |
 *                              |                 +----------+   |
 *                              |        once, if a kept connection was closed
 *                              +--------------------------------+
 *                                       redirected: another hop
 *
 * A redirect changes the job: another origin, another head. The head is made of
 * the one before (redirect.c), so a request that is not redirected pays for
 * nothing but a copy of its URL. Nothing that was decided for one hop is kept
 * for the next one: the job gives its connection back, then takes one as a new
 * request does. So a session with limit 1 follows redirects, too.
 *
 * The coroutine that closes the session is made with the session, because
 * closing must not allocate. A session that is never closed is a coroutine that
 * was never awaited: the loop reports it at its end, and runs its FINALLY. That
 * closes the session.
 *
 * The session's memory is counted: each job holds a reference, whether it has
 * begun or not.
 */
#include <coil/http.h>

#include <errno.h>
#include <string.h>

#include <coil/block.h>
#include <coil/cancel_scope.h>
#include <coil/connect.h>
#include <coil/coroutine.h>
#include <coil/io.h>
#include <coil/tls.h>
#include <coil/url.h>
#include <coil/wait.h>

#include "base/check.h"
#include "base/options.h"
#include "redirect.h"
#include "response.h"
#include "words.h"

#define STRING(x) STRING_OF(x)
#define STRING_OF(x) #x
#define USER_AGENT \
    "coil/" STRING(COIL_VERSION_MAJOR) "." STRING(COIL_VERSION_MINOR)

#define LIMIT 100
#define KEEPALIVE COIL_SECONDS(15)
#define BODY_BYTES_MAX ((size_t)64 << 20)
#define TOTAL COIL_SECONDS(300)
#define CONNECT COIL_SECONDS(30)
#define REDIRECTS_MAX 10

/* So many fields and bytes of a head are written without an allocation. */
#define PAIRS_FEW 32
#define HEAD_FEW 2048
/* The largest body that is sent with the head in one write. */
#define BODY_WITH_HEAD 16384

/* Faults of a URL, in addition to those of coil_url_check(). */
enum {
    URL_FAULT_TLS = 128,
    URL_FAULT_USER,
    URL_FAULT_NAME
};

/* The code of -EACCES. */
enum { ADDRESS_REFUSED = 1 };

struct coil_http_session {
    struct coili_pool pool;
    size_t refs;    /* jobs, and 1 until the session is closed */
    size_t running; /* requests that have begun and not ended */
    bool closed;
    bool waits; /* the close waits for `quiet`, and its last pass is over */
    struct coil_handle last_pass; /* when the session is closed */
    bool no_retry, no_downgrade;
    int redirects_max;
    coil_allow_address_fn *allow_address;
    void *allow_address_arg;
    struct coil_tls_client *tls; /* a reference, or NULL */
    /* TLS sessions, from the first https on, and whose: other clients (that of
     * a request may be of another library) have none. */
    struct coil_tls_cache *tls_cache;
    const struct coil_tls_client_ops *tls_cache_ops;
    struct coil_future *close; /* the coroutine that closes the session */
    struct coil_future *quiet; /* done when no request runs, no stream closes */
    struct coil_http_timeouts timeouts;
    size_t body_max;
    struct coili_http_limits limits;
    struct coili_http_field *fields; /* of the head that is parsed now */
    struct coili_http_pair *pairs;   /* sent with every request */
    size_t pairs_n, pairs_size;
    const char **secret_headers; /* names, and their texts */
    size_t secret_headers_n, secret_headers_size;
    char head[HEAD_FEW];
};

/* ---- Texts of errors -------------------------------------------------- */

/* "" for a time-out that is not of the options. */
static const char *clock_text(int code)
{
    switch (code) {
    case COIL_HTTP_CLOCK_TOTAL:
        return "total_ns has passed";
    case COIL_HTTP_CLOCK_POOL:
        return "pool_ns has passed";
    case COIL_HTTP_CLOCK_CONNECT:
        return "connect_ns has passed";
    case COIL_HTTP_CLOCK_READ:
        return "read_ns has passed";
    case COIL_HTTP_CLOCK_HANDSHAKE:
        return "handshake_ns of the TLS client has passed";
    default:
        return "";
    }
}

/* The text of what only this library knows; "": coil_strerror() has one. */
static const char *text_for(int err, uint32_t detail)
{
    enum coil_phase phase = COIL_DETAIL_PHASE(detail);
    int code = COIL_DETAIL_CODE(detail);
    bool of_http = phase == COIL_PHASE_SEND || phase == COIL_PHASE_HEADERS ||
                   phase == COIL_PHASE_BODY;
    bool of_tls = phase == COIL_PHASE_TLS || err == COIL_ETLS;
    const char *words = of_tls ? coili_words_find(err, code) : NULL;
    if (words)
        return words;
    if (err == -ETIMEDOUT)
        return clock_text(code);
    if (err == COIL_EURL && code == URL_FAULT_TLS)
        return "https:// needs TLS: set options.tls of the session";
    if (err == COIL_EURL && code == URL_FAULT_NAME)
        return "server_name of the request is too long";
    if (err == COIL_EURL && code == URL_FAULT_USER)
        return "user and password in a URL are not sent; take them out";
    if (err == COIL_EURL && code > 0)
        return coil_url_fault_text(code);
    if (err == COIL_EREDIRECT)
        return coili_redirect_text(code);
    if (err == -EACCES && code == ADDRESS_REFUSED)
        return "allow_address has refused the address";
    if (err == COIL_ELIMIT && phase == COIL_PHASE_BODY && code == 0)
        return "the body is larger than body_bytes_max";
    if (of_http && code > 0 && code != COILI_HTTP_FAULT_TRUNCATED &&
        (err == -EINVAL || err == COIL_EPROTOCOL || err == COIL_ELIMIT))
        return coili_http_fault_text(code);
    return "";
}

/* ---- Jobs ------------------------------------------------------------- */

struct job {
    struct coil_http_session *session;
    struct coili_origin *origin;
    struct coili_lease lease;
    struct coili_sent sent;
    int64_t total_ns, pool_ns, connect_ns, deadline, pool_deadline;
    struct coil_tls_client *tls; /* for https; a reference, or NULL */
    size_t size;     /* of this block */
    const char *url; /* of this hop */
    struct coili_hop *hop; /* redirect.h; NULL: not redirected yet */
    char *hop_text;        /* the head and a small body of a later hop */
    size_t hop_text_n;
    int redirects_left;
    bool running;    /* counted in session->running */
    bool no_retry;
    bool may_repeat;
    struct coili_exchange exchange;
    char text[]; /* the head; a small body; the URL */
};

static void session_free(struct coil_http_session *s);

static void session_unref(struct coil_http_session *s)
{
    if (--s->refs == 0)
        session_free(s);
}

static bool is_busy(const struct coil_http_session *s)
{
    return s->running > 0 || s->pool.closing > 0;
}

/* A request or a stream has ended: if it was the last one, close goes on. */
static void check_quiet(void *arg)
{
    struct coil_http_session *s = arg;
    if (!s->waits || is_busy(s))
        return;
    s->waits = false;
    coil_future_set_int(s->quiet, 0);
}

/* A kept connection over which nothing was sent can be kept further. */
static void end_lease(struct job *job)
{
    struct coili_lease *lease = &job->lease;
    if (!lease->conn)
        return;
    if (lease->conn->stream && lease->conn->phase == COIL_PHASE_POOL)
        coili_lease_release(lease);
    else
        coili_lease_drop(lease);
}

static void job_end(struct job *job)
{
    struct coil_http_session *s = job->session;
    end_lease(job);
    coili_origin_unref(job->origin);
    if (job->tls)
        job->tls->ops->unref(job->tls);
    s->running -= job->running;
    if (job->hop)
        coili_hops_free(job->hop);
    if (job->hop_text)
        coil_free(job->hop_text, job->hop_text_n);
    coil_free(job, job->size);
    check_quiet(s);
    session_unref(s);
}

/* Result: 0: the job has a slot; -EAGAIN: it must wait for one; an error. */
static int job_take(struct job *job)
{
    if (job->session->closed)
        return COIL_ECLOSED;
    return coili_pool_take(job->origin, &job->lease);
}

static int job_begin(struct job *job)
{
    if (job->session->closed)
        return COIL_ECLOSED;
    job->running = true;
    job->session->running++;
    job->deadline = coili_after(job->total_ns);
    return job_take(job);
}

static struct coil_future *wait_for_connection(struct job *job)
{
    if (!job->pool_deadline)
        job->pool_deadline = coili_after(job->pool_ns);
    return coili_pool_wait(job->origin, &job->lease,
                           job->pool_deadline < job->deadline
                               ? job->pool_deadline
                               : job->deadline);
}

/*
 * The job has a slot: the deadline of the slot is that of the request now. A
 * kept connection may have been closed by the server since it was granted.
 */
static int job_connected(struct job *job)
{
    struct coili_conn *conn = job->lease.conn;
    if (!conn)
        return job->lease.err;
    if (conn->stream && !coili_conn_is_good(conn))
        coili_conn_renew(conn);
    return coili_conn_until(conn, job->deadline);
}

/* ---- Misuse ------------------------------------------------------------ */

#define CHECK_HEADERS(function, headers, n) \
    do { \
        coili_check((headers) || !(n), \
                    function ": headers is NULL, but headers_n is not 0"); \
        for (size_t i = 0; i < (n); i++) { \
            coili_check((headers)[i].name, \
                        function ": the name of a header is NULL"); \
            coili_check((headers)[i].value, \
                        function ": the value of a header is NULL: use \"\""); \
        } \
    } while (0)

static void check_request(const struct coil_http_request *q)
{
    coili_check(q, "coil_http_send: request is NULL");
    coili_check(q->body || !q->body_size,
                "coil_http_send: body is NULL, but body_size is not 0");
    coil_check_lent(q->body);
    CHECK_HEADERS("coil_http_send", q->headers, q->headers_n);
}

/* ---- Making a job ----------------------------------------------------- */

struct draft {
    struct coil_http_session *session;
    const struct coil_http_request *request;
    struct coili_http_request head;
    struct coil_url url;
    size_t url_n; /* the length of its text; only for the first hop */
    /* From this URL: another URL of the origin may have other capitals. */
    char authority[COIL_URL_ORIGIN_BYTES_MAX];
    struct coili_http_pair *pairs, few[PAIRS_FEW];
    size_t pairs_max;
    bool keep;
    bool same; /* a later hop: the origin of the one before */
    uint32_t detail;
};

static int refuse(struct draft *d, int err, enum coil_phase phase, int code)
{
    d->detail = COIL_DETAIL(phase, code);
    return err;
}

/* The TLS client of a request: its own, or the session's. */
static struct coili_tls draft_tls(const struct draft *d)
{
    const struct coil_http_request *q = d->request;
    return (struct coili_tls){ q->tls ? q->tls : d->session->tls,
                               q->server_name };
}

static int draft_url(struct draft *d)
{
    const char *text = d->request->url ? d->request->url : "";
    size_t len = strlen(text);
    d->url_n = len;
    int err = coil_url_parse(&d->url, text, len);
    if (err < 0)
        return refuse(d, err, COIL_PHASE_NONE, (int)coil_url_check(text, len));
    if (d->url.tls && !draft_tls(d).client)
        return refuse(d, COIL_EURL, COIL_PHASE_NONE, URL_FAULT_TLS);
    if (d->request->server_name &&
        strlen(d->request->server_name) >= COILI_SERVER_NAME_BYTES)
        return refuse(d, COIL_EURL, COIL_PHASE_NONE, URL_FAULT_NAME);
    if (d->url.user.at)
        return refuse(d, COIL_EURL, COIL_PHASE_NONE, URL_FAULT_USER);
    return 0;
}

static bool is_overruled(const struct coil_http_request *q,
                         struct coili_http_text name)
{
    for (size_t i = 0; i < q->headers_n; i++)
        if (coili_http_text_is(name, q->headers[i].name))
            return true;
    return false;
}

/* Make room for `n` fields. */
static int draft_room(struct draft *d, size_t n)
{
    d->pairs = d->few;
    d->pairs_max = n;
    if (n > PAIRS_FEW)
        d->pairs = coil_alloc(n * sizeof *d->pairs);
    return d->pairs ? 0 : -ENOMEM;
}

/* All fields up to `end` are there. */
static void draft_fields_end(struct draft *d, const struct coili_http_pair *end)
{
    d->head.fields = d->pairs;
    d->head.count = (size_t)(end - d->pairs);
    d->keep = true;
    for (const struct coili_http_pair *p = d->pairs; p < end; p++)
        if (coili_http_text_is(p->name, "Connection") &&
            coili_http_list_has(p->value, "close"))
            d->keep = false;
}

/* Collect the fields: the session's that are not replaced, the request's. */
static int draft_fields(struct draft *d)
{
    const struct coil_http_session *s = d->session;
    const struct coil_http_request *q = d->request;
    if (draft_room(d, s->pairs_n + q->headers_n) < 0)
        return -ENOMEM;

    struct coili_http_pair *to = d->pairs;
    for (size_t i = 0; i < s->pairs_n; i++)
        if (!is_overruled(q, s->pairs[i].name))
            *to++ = s->pairs[i];
    for (size_t i = 0; i < q->headers_n; i++)
        *to++ = (struct coili_http_pair){
            coili_http_text(q->headers[i].name),
            coili_http_text(q->headers[i].value),
        };
    draft_fields_end(d, to);
    return 0;
}

static void draft_free(struct draft *d)
{
    if (d->pairs != d->few)
        coil_free(d->pairs, d->pairs_max * sizeof *d->pairs);
}

static bool is_one_of(struct coili_http_text method, const char *const *list)
{
    for (; *list; list++)
        if (strlen(*list) == method.len &&
            memcmp(*list, method.at, method.len) == 0)
            return true;
    return false;
}

static const char *const with_body[] = { "POST", "PUT", "PATCH", NULL };
static const char *const repeatable[] = { "GET",    "HEAD",  "OPTIONS", "TRACE",
                                          "PUT",    "DELETE", "QUERY",  NULL };
static const char *const tunnel[] = { "CONNECT", NULL };
static const char *const headless[] = { "HEAD", NULL };

/*
 * Write the head into the session's buffer. A method that usually has a body
 * sends Content-Length: 0 without one (RFC 9110 8.6).
 *
 * Result    the length of the head, which may be above HEAD_FEW; an error
 */
static int draft_head(struct draft *d, size_t body_size)
{
    struct coili_http_request *head = &d->head;
    head->target = (struct coili_http_text){ d->url.target.at,
                                             d->url.target.len };
    head->host = (struct coili_http_text){
        d->authority, coil_url_authority(&d->url, d->authority)
    };
    head->length = (int64_t)body_size;
    if (body_size > 0 || is_one_of(head->method, with_body))
        head->body = COILI_HTTP_BODY_LENGTH;
    if (is_one_of(head->method, tunnel))
        return refuse(d, -EINVAL, COIL_PHASE_SEND, COILI_HTTP_FAULT_TUNNEL);
    int n = coili_http_request_write(head, d->session->head, HEAD_FEW);
    return n < 0 ? refuse(d, n, COIL_PHASE_SEND, head->fault) : n;
}

static int64_t or_else(int64_t value, int64_t preset)
{
    return value ? value : preset;
}

/* Write the text of a request: its head, and the body if that is small. */
static void put_text(struct draft *d, size_t head_n, const void *body,
                     size_t body_n, char *to)
{
    if (head_n <= HEAD_FEW)
        memcpy(to, d->session->head, head_n);
    else /* it did not fit into the session's buffer */
        coili_http_request_write(&d->head, to, head_n);
    if (body_n > 0)
        memcpy(to + head_n, body, body_n);
}

/* True if a request with this method may be sent twice: http.h. */
static bool repeats(const struct job *job, struct coili_http_text method)
{
    return !job->no_retry && is_one_of(method, repeatable);
}

static struct job *job_new(struct draft *d, struct coili_origin *origin,
                           size_t head_n)
{
    struct coil_http_session *s = d->session;
    const struct coil_http_request *q = d->request;
    const struct coil_http_timeouts *t = &q->timeouts;
    bool small = q->body_size <= BODY_WITH_HEAD;
    size_t text_n = head_n + (small ? q->body_size : 0);
    size_t size = sizeof(struct job) + text_n + d->url_n + 1;
    struct job *job = coil_alloc(size);
    if (!job)
        return NULL;
    job->session = s;
    job->origin = origin;
    job->lease = (struct coili_lease){ 0 };
    job->sent = (struct coili_sent){
        .text = job->text,
        .text_n = text_n,
        .body = q->body,
        .body_n = small ? 0 : q->body_size,
        .body_max = q->body_bytes_max ? q->body_bytes_max : s->body_max,
        .read_ns = or_else(t->read_ns, s->timeouts.read_ns),
        .to = is_one_of(d->head.method, headless) ? COILI_HTTP_TO_HEAD
                                                  : COILI_HTTP_TO_OTHER,
        .keep = d->keep,
        .limits = &s->limits,
        .fields = s->fields,
    };
    job->total_ns = or_else(t->total_ns, s->timeouts.total_ns);
    job->pool_ns = or_else(t->pool_ns, s->timeouts.pool_ns);
    job->connect_ns = or_else(t->connect_ns, s->timeouts.connect_ns);
    struct coil_tls_client *tls = draft_tls(d).client;
    job->tls = tls ? tls->ops->ref(tls) : NULL;
    job->size = size;
    job->hop = NULL;
    job->hop_text = NULL;
    job->redirects_left = q->redirects_max ? q->redirects_max
                                           : s->redirects_max;
    job->running = false;
    job->pool_deadline = 0;
    job->no_retry = s->no_retry || q->no_retry;
    job->may_repeat = repeats(job, d->head.method);
    s->refs++;

    put_text(d, head_n, q->body, text_n - head_n, job->text);
    job->url = memcpy(job->text + text_n, q->url, d->url_n + 1);
    return job;
}

/* ---- Redirects -------------------------------------------------------- */

/* A body that is sent: a small one stands behind the head, in one text. */
struct body {
    const void *at;
    size_t n;
    bool small;
};

/* The last hop's body; `reader` is behind its head. */
static struct body last_body(const struct coili_sent *sent,
                             const struct coili_head_reader *reader)
{
    if (sent->body_n > 0)
        return (struct body){ sent->body, sent->body_n, false };
    return (struct body){ reader->at, (size_t)(reader->end - reader->at),
                          true };
}

/* The user and the password of the Location, if there is nothing better. */
static void add_authorization(struct draft *d, struct coili_hop *hop)
{
    struct coili_http_text name = coili_http_text("Authorization");
    for (size_t i = 0; i < d->head.count; i++)
        if (coili_http_same(d->pairs[i].name, name))
            return;
    hop->authorized = true;
    d->pairs[d->head.count++] = (struct coili_http_pair){
        name, coili_http_text(hop->basic)
    };
}

/*
 * Draft the request of the next hop: the method, the fields and the body of the
 * last one, without what must not be sent there. The draft views the last one.
 */
static int draft_hop(struct draft *d, const struct job *job,
                     struct coili_hop *next, int status, struct body *body)
{
    const struct coili_sent *sent = &job->sent;
    struct coili_head_reader reader = { sent->text, sent->text + sent->text_n };
    struct coili_http_text method = coili_head_begin(&reader);
    struct coili_head_reader fields = reader;
    struct coili_http_pair field;
    size_t n = 1; /* Authorization */
    while (coili_head_next(&reader, &field))
        n++;
    if (draft_room(d, n) < 0)
        return -ENOMEM;

    struct coil_url last;
    d->same = coil_url_parse(&last, job->url, strlen(job->url)) == 0 &&
              coil_url_same_origin(&last, &d->url);
    struct coili_redirect_drops drops = {
        .secrets = !d->same,
        .body = coili_redirect_to_get(status, method),
        .authorization = job->hop->authorized,
        .secret_headers = d->session->secret_headers,
        .secret_headers_n = d->session->secret_headers_n,
    };
    *body = drops.body ? (struct body){ .small = true }
                       : last_body(sent, &reader);
    d->head.method = drops.body ? coili_http_text("GET") : method;
    struct coili_http_pair *to = d->pairs;
    while (coili_head_next(&fields, &field))
        if (coili_redirect_keeps(&drops, field.name))
            *to++ = field;
    draft_fields_end(d, to);
    if (next->basic)
        add_authorization(d, next);
    return 0;
}

/* A server name that was asked for counts while the origin is the same. */
static const char *job_server_name(const struct job *job)
{
    return job->origin->name_len ? coili_origin_name(job->origin) : NULL;
}

/* The job makes the drafted request next. After an error it is unchanged. */
static int job_redirect(struct job *job, struct draft *d, size_t head_n,
                        struct body body)
{
    size_t small_n = body.small ? body.n : 0;
    size_t text_n = head_n + small_n;
    struct coili_tls tls = { job->tls, d->same ? job_server_name(job) : NULL };
    struct coili_origin *origin = coili_origin_find(&d->session->pool, &d->url,
                                                    tls);
    if (!origin)
        return -ENOMEM;
    char *text = coil_alloc(text_n);
    if (!text) {
        coili_origin_unref(origin);
        return -ENOMEM;
    }
    put_text(d, head_n, body.at, small_n, text);
    job->sent.text = text;
    job->sent.text_n = text_n;
    job->sent.body = body.small ? NULL : body.at;
    job->sent.body_n = body.small ? 0 : body.n;
    job->sent.keep = d->keep;
    job->may_repeat = repeats(job, d->head.method);
    if (job->hop_text) /* the draft has viewed it up to here */
        coil_free(job->hop_text, job->hop_text_n);
    job->hop_text = text;
    job->hop_text_n = text_n;
    coili_origin_unref(job->origin);
    job->origin = origin;
    job->lease = (struct coili_lease){ 0 };
    job->pool_deadline = 0;
    job->redirects_left--;
    return 0;
}

/* Draft the request to `next`, and give it to the job. */
static int write_hop(struct job *job, struct coili_hop *next,
                     const struct coil_url *url, int status, int *code)
{
    struct draft d;
    struct body body;
    d.session = job->session;
    d.head = (struct coili_http_request){ 0 };
    d.url = *url;
    int err = draft_hop(&d, job, next, status, &body);
    if (err < 0)
        return err;
    err = draft_head(&d, body.n);
    if (err < 0)
        *code = d.head.fault;
    else
        err = job_redirect(job, &d, (size_t)err, body);
    draft_free(&d);
    return err;
}

/*
 * The answer to the job's request has this status and Location: the job makes
 * the request of the next hop. Result: 1; an error, with the code of its detail
 */
static int follow(struct job *job, int status, const char *location, int *code)
{
    const struct coili_redirect_rules rules = {
        .tls = job->tls,
        .no_downgrade = job->session->no_downgrade,
        .last = job->redirects_left == 0,
    };
    struct coili_hop *next;
    struct coil_url url;
    if (!job->hop)
        job->hop = coili_hop_new(job->url);
    if (!job->hop)
        return -ENOMEM;
    int err = coili_redirect_resolve(&next, &url, job->hop, location, rules,
                                     code);
    if (err < 0)
        return err;
    err = write_hop(job, next, &url, status, code);
    if (err < 0) {
        coili_hops_free(next);
        return err;
    }
    coili_hop_follow(job->hop, next, status);
    job->hop = next;
    job->url = next->text;
    return 1;
}

/* ---- A request -------------------------------------------------------- */

struct request {
    struct coil_coro coro;
    struct job *job;
    struct coil_task *connecting;
    struct coil_stream *stream;
    struct coil_stream *failed; /* of a TLS handshake: it is to be closed */
    struct coil_http_response *response;
    int err;
    uint32_t detail;
};

/* Connect when the last connection of this slot has been closed. */
struct connection {
    struct coil_coro coro;
    struct coili_conn *conn;
    struct coil_future *open;
    struct coil_stream *stream;
};

static void connection(struct coil_coro *co)
{
    COIL_ASYNC_GIVES(connection, my, coil_stream_close_soon) {
        COIL_AWAIT(coil_event_wait(&my->conn->vacant));
        struct coil_future *open = my->open;
        my->open = NULL;
        COIL_AWAIT_TO(my->stream, open);
        COIL_RETURN(my->stream);

    COIL_FINALLY;
        if (my->open)
            coil_discard(my->open);
    }
}

static struct coil_future *connect_later(struct coili_conn *conn,
                                         struct coil_future *open)
{
    struct coil_future *f = COIL_CALL(connection, .conn = conn, .open = open);
    if (coil_future_done(f)) /* no memory */
        coil_discard(open);
    return f;
}

/* ---- TLS -------------------------------------------------------------- */

/*
 * The detail of an error of the server at `origin`, with a sentence that names
 * the server.
 */
static uint32_t with_words(const struct coili_origin *origin, int err,
                           uint32_t detail, const char *sentence)
{
    bool ipv6 = strchr(origin->host, ':');
    bool has_code = err == COIL_ETLS || err == COIL_ECERT;
    int code = coili_words_keep(err, COILI_WORDS_TLS,
                                has_code ? COIL_TLS_CODE(detail) : 0,
                                "%s%.80s%s:%u: %s", ipv6 ? "[" : "",
                                origin->host, ipv6 ? "]" : "", origin->port,
                                sentence);
    return COIL_DETAIL(COIL_DETAIL_PHASE(detail), code);
}

/* Speak TLS over the stream that `open` makes. */
struct secure {
    struct coil_coro coro;
    struct request *request;
    struct coil_future *open; /* NULL: awaited */
    struct coil_stream *stream; /* TCP's, then TLS's; NULL: passed on */
    struct coil_tls_why why;
    int err, tls_err;
};

/* Without memory for a cache there is none. */
static struct coil_tls_cache *tls_cache_for(struct coil_http_session *s,
                                            const struct coil_tls_client *tls)
{
    if (!s->tls_cache) {
        s->tls_cache = tls->ops->cache_new(0);
        s->tls_cache_ops = tls->ops;
    }
    return s->tls_cache_ops == tls->ops ? s->tls_cache : NULL;
}

static struct coil_future *begin_tls(struct secure *my)
{
    const struct coili_origin *origin = my->request->job->origin;
    const struct coil_tls_connect_options o = {
        .name = coili_origin_name(origin),
        .alpn = "http/1.1",
        .why = &my->why,
        .failed = &my->request->failed,
        .cache = tls_cache_for(my->request->job->session, origin->tls),
        .port = origin->port,
    };
    struct coil_stream *lower = my->stream;
    my->stream = NULL;
    return origin->tls->ops->connect(lower, origin->tls, &o);
}

/*
 * The handshake has ended with my->err, and coil_tls_connect() with my->tls_err
 * unless it was cancelled: after connect_ns, or from outside.
 */
static uint32_t tls_detail(const struct secure *my)
{
    uint32_t detail = COIL_DETAIL(COIL_PHASE_TLS, 0);
    if (my->err == -ETIMEDOUT)
        return detail | (my->tls_err == -ETIMEDOUT ? COIL_HTTP_CLOCK_HANDSHAKE
                                                   : COIL_HTTP_CLOCK_CONNECT);
    if (my->err == -ECANCELED || my->err == -ENOMEM || my->err == -ENOBUFS)
        return detail;
    if (my->err == COIL_ETLS || my->err == COIL_ECERT)
        detail |= (uint32_t)COIL_TLS_CODE(coil_last_detail());
    const char *text = my->why.text;
    return with_words(my->request->job->origin, my->err, detail,
                      *text ? text : coil_strerror(my->err));
}

static void secure(struct coil_coro *co)
{
    COIL_ASYNC_GIVES(secure, my, coil_stream_close_soon) {
        struct coil_future *open = my->open;
        my->open = NULL;
        COIL_AWAIT_TO(my->stream, open);
        COIL_TRY_ALL(my->err) COIL_WITHIN(my->request->job->connect_ns) {
            COIL_TRY_AWAIT_TO(my->tls_err, my->stream, begin_tls(my));
            if (my->tls_err < 0)
                COIL_FAIL_WITH(my->tls_err, coil_last_detail());
            struct coil_stream *stream = my->stream;
            my->stream = NULL;
            COIL_RETURN(stream);
        }
        COIL_FAIL_WITH(my->err, tls_detail(my));

    COIL_FINALLY;
        if (my->open)
            coil_discard(my->open);
        coil_stream_close_soon(my->stream);
    }
}

static struct coil_future *secure_later(struct request *my,
                                        struct coil_future *open)
{
    struct coil_future *f = COIL_CALL(secure, .request = my, .open = open);
    if (coil_future_done(f)) /* no memory */
        coil_discard(open);
    return f;
}

/* ---- Connecting ------------------------------------------------------- */

static struct coil_task *begin_connecting(struct request *my)
{
    struct job *job = my->job;
    struct coili_conn *conn = job->lease.conn;
    struct coil_connect_options o = COIL_CONNECT_OPTIONS_INIT;
    o.attempt_timeout_ns = job->connect_ns;
    o.allow = job->session->allow_address;
    o.allow_arg = job->session->allow_address_arg;
    coil_task_drop(&my->connecting);
    struct coil_future *open = coil_open_connection(job->origin->host,
                                                    job->origin->port, &o);
    conn->phase = COIL_PHASE_RESOLVE;
    if (!coil_event_is_set(&conn->vacant)) {
        conn->phase = COIL_PHASE_POOL;
        open = connect_later(conn, open);
    }
    if (job->origin->tls)
        open = secure_later(my, open);
    my->connecting = coil_spawn(open);
    conn->connecting = my->connecting;
    return my->connecting;
}

/*
 * The task that connects has ended with my->err or my->stream. If the lease was
 * revoked meanwhile, that has cancelled the task: the error is that of the
 * lease, and the phase is the one that the task had reached, if it had begun.
 */
static int end_connecting(struct request *my)
{
    struct coili_lease *lease = &my->job->lease;
    struct coil_stream *failed = my->failed;
    my->failed = NULL;
    my->detail = my->err < 0 ? coil_last_detail()
                             : COIL_DETAIL(COIL_PHASE_CONNECT, 0);
    if (!lease->conn) {
        coil_stream_close_soon(failed);
        enum coil_phase phase = COIL_DETAIL_PHASE(my->detail);
        int code = COIL_DETAIL_CODE(lease->detail);
        my->detail = phase ? COIL_DETAIL(phase, code) : lease->detail;
        return lease->err;
    }
    coili_conn_discard(lease->conn, failed);
    if (my->err == -ETIMEDOUT && my->job->connect_ns != COIL_NEVER &&
        COIL_DETAIL_PHASE(my->detail) != COIL_PHASE_TLS)
        my->detail = COIL_DETAIL(COIL_DETAIL_PHASE(my->detail),
                                 COIL_HTTP_CLOCK_CONNECT);
    if (my->err == -EACCES && my->job->session->allow_address)
        my->detail = COIL_DETAIL(COIL_DETAIL_PHASE(my->detail),
                                 ADDRESS_REFUSED);
    lease->conn->connecting = NULL;
    if (my->err == 0) {
        coili_conn_connected(lease->conn, my->stream);
        my->stream = NULL;
    }
    return my->err;
}

static struct coil_future *begin_exchange(struct job *job)
{
    return COIL_CALL_IN(&job->exchange, coili_exchange, .sent = &job->sent,
                        .lease = &job->lease);
}

/* The detail of an error before there was a connection. */
static uint32_t pool_detail(const struct job *job, int err)
{
    int code = 0;
    if (err == -ETIMEDOUT)
        code = job->pool_deadline && job->pool_deadline < job->deadline
                   ? COIL_HTTP_CLOCK_POOL
                   : COIL_HTTP_CLOCK_TOTAL;
    return COIL_DETAIL(COIL_PHASE_POOL, code);
}

/* An alert of the server's, such as one that refuses our certificate. */
static uint32_t exchange_detail(const struct request *my)
{
    const struct coili_origin *origin = my->job->origin;
    uint32_t detail = coil_last_detail();
    if (my->err != COIL_ETLS || !origin->tls)
        return detail;
    return with_words(origin, my->err, detail,
                      origin->tls->ops->words(COIL_TLS_CODE(detail)));
}

/*
 * True if the server may have closed a kept connection before it read the
 * request: no byte of an answer has come.
 */
static bool may_repeat(const struct job *job, int err)
{
    const struct coili_conn *conn = job->lease.conn;
    bool was_kept = conn && conn->stream && conn->reused;
    return job->may_repeat && was_kept && !job->exchange.answered &&
           (err == COIL_EDISCONNECTED || err == -EPIPE || err == -ECONNRESET);
}

/* True if there was no descriptor or no operation, and nothing was sent. */
static bool is_starved(const struct request *my)
{
    bool short_of = my->err == -EMFILE || my->err == -ENFILE ||
                    my->err == -ENOBUFS;
    return short_of && my->job->lease.conn &&
           COIL_DETAIL_PHASE(my->detail) <= COIL_PHASE_SEND;
}

/* True: the loop runs again, and my->err is as after job_begin(). */
static bool goes_on(struct request *my)
{
    struct job *job = my->job;
    if (is_starved(my) && coili_lease_starved(&job->lease)) {
        my->err = coili_pool_take(job->origin, &job->lease);
        return true;
    }
    if (!may_repeat(job, my->err))
        return false;
    job->may_repeat = false;
    coili_conn_renew(job->lease.conn);
    my->err = 0;
    return true;
}

/*
 * The head of an answer has come. If it redirects, the job makes the next
 * request from now on.
 *
 * Result    1: it redirects; 0: it is the answer to the request; an error
 */
static int redirected(struct request *my)
{
    const struct coil_http_response *r = my->response;
    const char *location;
    int code = 0;
    if (!coili_redirects(r->status) || my->job->redirects_left < 0)
        return 0;
    int err = coili_redirect_location(r, &location, &code);
    if (err > 0)
        err = follow(my->job, r->status, location, &code);
    my->detail = COIL_DETAIL(COIL_PHASE_HEADERS, code);
    return err;
}

/* The response belongs to the caller now, and so do the URLs on its way. */
static struct coil_http_response *take_response(struct request *my)
{
    struct coil_http_response *response = my->response;
    my->response = NULL;
    response->hop = my->job->hop;
    my->job->hop = NULL;
    return response;
}

/*
 * Get a slot, connect if the slot has no stream, send and read the head. The
 * inner loop runs again if a kept connection was closed by the server, once, or
 * if there was no descriptor or operation for a new one; the outer loop runs
 * again for each redirect. An error in the body of a redirect closes its
 * connection, and the request goes on.
 */
static void request(struct coil_coro *co)
{
    COIL_ASYNC_GIVES(request, my, coil_http_response_free) {
        my->err = job_begin(my->job);
        for (;;) {
            for (;;) {
                if (my->err == -EAGAIN)
                    COIL_TRY_AWAIT(my->err, wait_for_connection(my->job));
                if (my->err == 0)
                    my->err = job_connected(my->job);
                if (my->err < 0)
                    COIL_FAIL_WITH(my->err, pool_detail(my->job, my->err));

                if (!my->job->lease.conn->stream) {
                    COIL_TRY_AWAIT_TO(my->err, my->stream,
                                      begin_connecting(my));
                    my->err = end_connecting(my);
                }
                if (my->err == 0) {
                    COIL_TRY_AWAIT_TO(my->err, my->response,
                                      begin_exchange(my->job));
                    if (my->err == 0)
                        break;
                    my->detail = exchange_detail(my);
                }
                if (!goes_on(my))
                    COIL_FAIL_WITH(my->err, my->detail);
            }
            coili_response_begin(my->response);
            my->err = redirected(my);
            if (my->err < 0)
                COIL_FAIL_WITH(my->err, my->detail);
            if (my->err == 0)
                COIL_RETURN(take_response(my));
            COIL_TRY_AWAIT(my->err, coili_response_drain(my->response));
            coil_http_response_free(my->response);
            my->response = NULL;
            my->err = job_take(my->job);
        }

    COIL_FINALLY;
        coil_stream_close_soon(my->failed);
        if (my->stream)
            COIL_AWAIT(coil_stream_close(my->stream));
        coil_http_response_free(my->response);
        job_end(my->job);
    }
}

/* ---- Sending ---------------------------------------------------------- */

static struct coil_future *call(struct draft *d, struct coili_origin *origin,
                                int head_n)
{
    struct job *job = job_new(d, origin, (size_t)head_n);
    if (!job) {
        coili_origin_unref(origin);
        return coil_future_from_nomem();
    }
    struct coil_future *f = COIL_CALL(request, .job = job);
    if (coil_future_done(f)) /* no memory */
        job_end(job);
    return f;
}

/* The draft is on the stack: only the job outlives this call. */
struct coil_future *coil_http_send(struct coil_http_session *session,
                                   const struct coil_http_request *q)
{
    check_request(q);
    if (!session)
        return coil_future_from_nomem();
    struct draft d;
    d.session = session;
    d.request = q;
    d.head = (struct coili_http_request){
        .method = coili_http_text(q->method ? q->method : "GET"),
    };
    int err = draft_url(&d);
    if (err < 0)
        return coil_future_from_error(err, d.detail);
    struct coili_origin *origin = coili_origin_find(&session->pool, &d.url,
                                                    draft_tls(&d));
    if (!origin)
        return coil_future_from_nomem();
    if (draft_fields(&d) < 0) {
        coili_origin_unref(origin);
        return coil_future_from_nomem();
    }
    struct coil_future *f;
    int head_n = draft_head(&d, q->body_size);
    if (head_n < 0) {
        coili_origin_unref(origin);
        f = coil_future_from_error(head_n, d.detail);
    } else {
        f = call(&d, origin, head_n);
    }
    draft_free(&d);
    return f;
}

struct coil_future *coil_http_get(struct coil_http_session *session,
                                  const char *url)
{
    return coil_http_send(session, &(struct coil_http_request){ .url = url });
}

/* ---- Making a session ------------------------------------------------- */

/* A head must fit into one piece of the stream, so its limit is bounded. */
static struct coil_http_session_options
with_defaults(const struct coil_http_session_options *given)
{
    struct coil_http_session_options o;
    coili_options_read(
        &o, sizeof o, offsetof(struct coil_http_session_options, timeouts),
        given, "coil_http_session_new", "COIL_HTTP_SESSION_OPTIONS_INIT");
    CHECK_HEADERS("coil_http_session_new", o.headers, o.headers_n);
    coili_check(o.secret_headers || !o.secret_headers_n,
                "coil_http_session_new: secret_headers is NULL, but "
                "secret_headers_n is not 0");
    for (size_t i = 0; i < o.secret_headers_n; i++)
        coili_check(o.secret_headers[i],
                    "coil_http_session_new: a name in secret_headers is NULL");
    const struct coili_http_limits *l = &coili_http_limits_default;
    o.limit = o.limit ? o.limit : LIMIT;
    o.keepalive_ns = or_else(o.keepalive_ns, KEEPALIVE);
    o.body_bytes_max = o.body_bytes_max ? o.body_bytes_max : BODY_BYTES_MAX;
    o.head_bytes_max = o.head_bytes_max ? o.head_bytes_max : l->head;
    if (o.head_bytes_max >= COIL_STREAM_FILL_BYTES_MAX)
        o.head_bytes_max = COIL_STREAM_FILL_BYTES_MAX - 1;
    o.line_bytes_max = o.line_bytes_max ? o.line_bytes_max : l->line;
    o.headers_limit = o.headers_limit ? o.headers_limit : l->fields;
    o.timeouts.total_ns = or_else(o.timeouts.total_ns, TOTAL);
    o.timeouts.pool_ns = or_else(o.timeouts.pool_ns, COIL_NEVER);
    o.timeouts.connect_ns = or_else(o.timeouts.connect_ns, CONNECT);
    o.timeouts.read_ns = or_else(o.timeouts.read_ns, COIL_NEVER);
    o.user_agent = o.user_agent ? o.user_agent : USER_AGENT;
    o.redirects_max = o.redirects_max ? o.redirects_max : REDIRECTS_MAX;
    return o;
}

/* The headers that coil adds unless they are given: User-Agent and Accept. */
static size_t own_headers(struct coil_http_header own[2],
                          const struct coil_http_session_options *o)
{
    const struct coil_http_request given = { .headers = o->headers,
                                        .headers_n = o->headers_n };
    size_t n = 0;
    if (*o->user_agent && !is_overruled(&given, coili_http_text("User-Agent")))
        own[n++] = (struct coil_http_header){ "User-Agent", o->user_agent };
    if (!is_overruled(&given, coili_http_text("Accept")))
        own[n++] = (struct coil_http_header){ "Accept", "*/*" };
    return n;
}

static struct coili_http_text copy_text(char **to, const char *string)
{
    struct coili_http_text text = { *to, strlen(string) };
    memcpy(*to, string, text.len);
    *to += text.len;
    return text;
}

/* Copy the headers of every request: pairs and their texts in one block. */
static int copy_headers(struct coil_http_session *s,
                        const struct coil_http_session_options *o)
{
    struct coil_http_header own[2];
    size_t own_n = own_headers(own, o);
    size_t n = own_n + o->headers_n;
    size_t size = n * sizeof *s->pairs;
    for (size_t i = 0; i < n; i++) {
        const struct coil_http_header *h = i < own_n ? &own[i]
                                                     : &o->headers[i - own_n];
        size += strlen(h->name) + strlen(h->value);
    }
    s->pairs_size = size ? size : 1;
    s->pairs = coil_alloc(s->pairs_size);
    if (!s->pairs)
        return -ENOMEM;
    s->pairs_n = n;
    char *to = (char *)&s->pairs[n];
    for (size_t i = 0; i < n; i++) {
        const struct coil_http_header *h = i < own_n ? &own[i]
                                                     : &o->headers[i - own_n];
        s->pairs[i].name = copy_text(&to, h->name);
        s->pairs[i].value = copy_text(&to, h->value);
    }
    return 0;
}

/* Copy the names: pointers and their texts in one block. */
static int copy_secret_headers(struct coil_http_session *s,
                               const struct coil_http_session_options *o)
{
    size_t n = o->secret_headers_n, size = n * sizeof *s->secret_headers;
    if (n == 0)
        return 0;
    for (size_t i = 0; i < n; i++)
        size += strlen(o->secret_headers[i]) + 1;
    s->secret_headers = coil_alloc(size);
    if (!s->secret_headers)
        return -ENOMEM;
    s->secret_headers_n = n;
    s->secret_headers_size = size;
    char *to = (char *)&s->secret_headers[n];
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(o->secret_headers[i]) + 1;
        s->secret_headers[i] = memcpy(to, o->secret_headers[i], len);
        to += len;
    }
    return 0;
}

/* check_quiet() completes it; a cancellation does nothing. */
static void quiet_nothing(struct coil_future *f)
{
    (void)f;
}

static const struct coil_future_class quiet_class = {
    .name = "connections of a session",
    .start = quiet_nothing,
    .cancel = quiet_nothing,
};

/* Tasks that were spawned before the close have had their first step. */
static void last_pass_over(void *arg)
{
    struct coil_http_session *s = arg;
    s->waits = true;
    check_quiet(s);
}

struct session_close {
    struct coil_coro coro;
    struct coil_http_session *session;
};

/*
 * FINALLY does all the work: so it is done even if the task is cancelled. The
 * session exists for one more pass: tasks that were spawned before the close
 * may use the session in their first step, which may come in that pass.
 */
static void session_close(struct coil_coro *co)
{
    COIL_ASYNC(session_close, my) {
    COIL_FINALLY;
        my->session->closed = true;
        coili_pool_close(&my->session->pool);
        coil_call_soon(&my->session->last_pass, last_pass_over, my->session);
        COIL_AWAIT(coil_future_ref(my->session->quiet));
        session_unref(my->session);
    }
}

/* After an error session_free() frees what is there. */
static int session_init(struct coil_http_session *s,
                        const struct coil_http_session_options *o)
{
    *s = (struct coil_http_session){
        .refs = 1,
        .no_retry = o->no_retry,
        .no_downgrade = o->no_downgrade,
        .redirects_max = o->redirects_max,
        .allow_address = o->allow_address,
        .allow_address_arg = o->allow_address_arg,
        .tls = o->tls ? o->tls->ops->ref(o->tls) : NULL,
        .timeouts = o->timeouts,
        .body_max = o->body_bytes_max,
        .limits = coili_http_limits_default,
    };
    s->limits.head = o->head_bytes_max;
    s->limits.line = o->line_bytes_max;
    s->limits.fields = o->headers_limit;
    s->limits.lenient = o->lenient;
    coili_pool_init(&s->pool, check_quiet, s);
    s->pool.limit = o->limit;
    s->pool.limit_per_host = o->limit_per_host;
    s->pool.keepalive_ns = o->keepalive_ns;
    s->fields = coil_alloc(o->headers_limit * sizeof *s->fields);
    s->quiet = coil_custom_new(&quiet_class, sizeof(struct coil_custom));
    if (!s->fields || !s->quiet || copy_headers(s, o) < 0 ||
        copy_secret_headers(s, o) < 0)
        return -ENOMEM;
    s->close = COIL_CALL(session_close, .session = s);
    return coil_future_done(s->close) ? -ENOMEM : 0;
}

static void session_free(struct coil_http_session *s)
{
    coili_pool_fini(&s->pool);
    coil_free(s->fields, s->limits.fields * sizeof *s->fields);
    coil_free(s->pairs, s->pairs_size);
    coil_free(s->secret_headers, s->secret_headers_size);
    if (s->tls)
        s->tls->ops->unref(s->tls);
    if (s->tls_cache)
        s->tls_cache_ops->cache_free(s->tls_cache);
    if (s->quiet)
        coil_future_unref(s->quiet);
    coil_free(s, sizeof *s);
}

struct coil_http_session *
coil_http_session_new(const struct coil_http_session_options *given)
{
    struct coil_http_session_options o = with_defaults(given);
    coil_set_explain(text_for);
    struct coil_http_session *s = coil_alloc(sizeof *s);
    if (s && session_init(s, &o) < 0) {
        session_free(s);
        return NULL;
    }
    return s;
}

struct coil_future *coil_http_session_close(struct coil_http_session *session)
{
    return session ? session->close : coil_sleep(0);
}
