// SPDX-License-Identifier: MIT
#ifndef ORIGIN_H
#define ORIGIN_H

/*
 * origin.h: the HTTP server of the tests, written with coil, in their loop.
 *
 * It says what a test tells it to, to the byte, right or wrong: a route is a
 * path and the steps of its answer. It counts connections and requests, and
 * keeps the last request as it came.
 *
 *     static const struct route routes[] = {
 *         { "/two", { SAYS("HTTP/1.1 200 OK\r\n"),
 *                     WAITS(COIL_MS(5)),
 *                     SAYS("Content-Length: 0\r\n\r\n") } },
 *         { 0 },
 *     };
 *
 *     origin_open(&my->origin, routes);       // in the test's coroutine
 *     FINALLY;
 *         AWAIT(origin_close(&my->origin));
 *
 * A path that no route knows is answered by its own name; "/delay/20/x" first
 * waits for 20 ms.
 */
#include "test.h"

#include <coil.h>
#include <coil/http.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/message.h"

enum act {
    OVER,  /* the answer is; the next request may come */
    SAY,   /* `text` */
    CUT,   /* `text` in two: the first origin.cut bytes, then the rest */
    DRIP,  /* `text`, byte by byte */
    WAIT,  /* `ns` */
    POUR,  /* `n` bytes of 'x', as fast as they go */
    HANG,  /* until the client has gone */
    DEAF,  /* first of all: the request's body is not read, or only by */
    HEAR,  /* the request's body, to its end */
    CLOSE,
    SEVER, /* the connection ends below TLS: no close_notify */
    RESET
};

struct step {
    enum act act;
    const char *text;
    int64_t ns;
    size_t n;
};

struct route {
    const char *path;
    struct step steps[12];
};

#define SAYS(bytes) { .act = SAY, .text = (bytes) }
#define WAITS(duration) { .act = WAIT, .ns = (duration) }
#define POURS(count) { .act = POUR, .n = (count) }
#define THEN(what) { .act = (what) }

struct origin {
    struct coil_listener *listener;
    const struct route *routes;
    struct coil_addr addr;
    uint16_t port;
    char url[64]; /* http://127.0.0.1:PORT */
    size_t cut;
    unsigned accepted, open, most_open;      /* connections */
    unsigned resets;                         /* by the client */
    unsigned requests, busy, most_busy;      /* requests */
    unsigned served;  /* of the connection that had the last request */
    int rcvbuf;       /* bytes of socket buffer for each connection, or 0 */
    size_t poured;
    size_t body_n;    /* of the last request */
    char body[64];    /* its beginning */
    char head[4096];  /* the last request's, as it came */
    char order[4096]; /* the last part of each path, in order */
    /*
     * TLS, to be set behind origin_open(): makes a stream of a connection, which
     * it takes.
     */
    struct coil_future *(*secure)(struct origin *o, struct coil_stream *stream);
    void *secure_arg;
    unsigned insecure; /* connections where that failed */
};

/* ---- One connection --------------------------------------------------- */

struct origin_talk {
    struct coil_coro coro;
    struct origin *origin;
    struct coil_stream *stream;
    const struct step *step;
    size_t n, left, served;
    bool busy, ends;
    char path[256];
    char text[512]; /* an answer of our own, and its steps */
    struct step own[3];
};

static char origin_noise[65536];

/* The head is there, `n` bytes at `head`: take it apart. */
static inline void origin_asked(struct origin_talk *my, const char *head,
                                size_t n)
{
    struct origin *o = my->origin;
    struct coili_http_field fields[128];
    struct coili_http_head h = { .fields = fields };
    CHECK_INT(coili_http_request_parse(&h, NULL, head, n), n);
    struct coili_http_text target = coili_http_target(&h);
    snprintf(my->path, sizeof my->path, "%.*s", (int)target.len, target.at);
    snprintf(o->head, sizeof o->head, "%.*s", (int)n, head);
    my->left = h.length > 0 ? (size_t)h.length : 0;
    o->body_n = 0;
    memset(o->body, 0, sizeof o->body);
    o->requests++;
    o->served = (unsigned)++my->served;
    o->busy++;
    my->busy = true;
    if (o->most_busy < o->busy)
        o->most_busy = o->busy;
    const char *last = strrchr(my->path, '/');
    size_t at = strlen(o->order);
    if (at < sizeof o->order - 64)
        snprintf(o->order + at, sizeof o->order - at, "%s%.60s",
                 at ? " " : "", last ? last + 1 : my->path);
}

static inline void origin_answered(struct origin_talk *my)
{
    if (my->busy)
        my->origin->busy--;
    my->busy = false;
}

static inline const struct step *origin_choose(struct origin_talk *my)
{
    for (const struct route *r = my->origin->routes; r && r->path; r++)
        if (strcmp(r->path, my->path) == 0)
            return r->steps;
    int delay = strncmp(my->path, "/delay/", 7) == 0 ? atoi(my->path + 7) : 0;
    snprintf(my->text, sizeof my->text,
             "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(my->path), my->path);
    my->own[0] = (struct step)WAITS(COIL_MS(delay));
    my->own[1] = (struct step)SAYS(my->text);
    my->own[2] = (struct step)THEN(OVER);
    return &my->own[delay ? 0 : 1];
}

/* Wait for a request's head. Result: its length; 0: the client has gone. */
struct origin_listen {
    struct coil_coro coro;
    struct origin_talk *talk;
    size_t seen, there;
};

static inline void origin_listen(struct coil_coro *co)
{
    ASYNC(origin_listen, my) {
        for (;;) {
            char *data;
            size_t n = coil_stream_peek(my->talk->stream, &data);
            char *end = n ? memmem(data, n, "\r\n\r\n", 4) : NULL;
            if (end) {
                n = (size_t)(end - data) + 4;
                origin_asked(my->talk, data, n);
                coil_stream_consume(my->talk->stream, n);
                RETURN(n);
            }
            my->seen = n;
            AWAIT_TO(my->there, coil_stream_fill(my->talk->stream, n + 1));
            if (my->there <= my->seen)
                RETURN(0);
        }
    }
}

/* Take what has come of the request's body. */
static inline size_t origin_take_body(struct origin_talk *my)
{
    struct origin *o = my->origin;
    char *data;
    size_t n = coil_stream_peek(my->stream, &data);
    if (n > my->left)
        n = my->left;
    if (n > 0 && o->body_n < sizeof o->body - 1) {
        size_t some = sizeof o->body - 1 - o->body_n;
        memcpy(o->body + o->body_n, data, n < some ? n : some);
    }
    o->body_n += n;
    my->left -= n;
    coil_stream_consume(my->stream, n);
    return n;
}

struct origin_hear {
    struct coil_coro coro;
    struct origin_talk *talk;
};

static inline void origin_hear(struct coil_coro *co)
{
    ASYNC(origin_hear, my) {
        while (my->talk->left > 0) {
            AWAIT(coil_stream_fill(my->talk->stream, 1));
            if (origin_take_body(my->talk) == 0)
                FAIL(COIL_EEND);
        }
    }
}

/* Some bytes, and time for the client to read them before others come. */
struct origin_bit {
    struct coil_coro coro;
    struct coil_stream *stream;
    const char *text;
    size_t n;
    int pass;
};

static inline void origin_bit(struct coil_coro *co)
{
    ASYNC(origin_bit, my) {
        if (my->n > 0)
            AWAIT(coil_stream_write(my->stream, my->text, my->n));
        for (; my->pass < 4; my->pass++)
            AWAIT(coil_sleep(0));
    }
}

/* A connection reset without a word, not even a FIN. */
static inline void origin_reset(struct coil_stream *stream)
{
    struct sockaddr none = { .sa_family = AF_UNSPEC };
    connect(coil_stream_fd(stream), &none, sizeof none);
}

struct origin_step {
    struct coil_coro coro;
    struct origin *origin;
    struct coil_stream *stream;
    const struct step *step;
    size_t i, n;
};

static inline void origin_step(struct coil_coro *co)
{
    ASYNC(origin_step, my) {
        if (my->step->act == SAY)
            AWAIT(coil_stream_write(my->stream, my->step->text,
                                    strlen(my->step->text)));
        if (my->step->act == CUT) {
            my->n = strlen(my->step->text);
            if (my->n > my->origin->cut)
                my->n = my->origin->cut;
            AWAIT(CALL(origin_bit, .stream = my->stream,
                       .text = my->step->text, .n = my->n));
            AWAIT(CALL(origin_bit, .stream = my->stream,
                       .text = my->step->text + my->n,
                       .n = strlen(my->step->text) - my->n));
        }
        for (; my->step->act == DRIP && my->step->text[my->i]; my->i++)
            AWAIT(CALL(origin_bit, .stream = my->stream,
                       .text = my->step->text + my->i, .n = 1));
        if (my->step->act == WAIT)
            AWAIT(coil_sleep(my->step->ns));
        for (; my->step->act == POUR && my->i < my->step->n; my->i += my->n) {
            my->n = my->step->n - my->i;
            if (my->n > sizeof origin_noise)
                my->n = sizeof origin_noise;
            AWAIT(coil_stream_write(my->stream, origin_noise, my->n));
            my->origin->poured += my->n;
        }
        while (my->step->act == HANG) {
            AWAIT_TO(my->n, coil_stream_fill(my->stream, 1));
            if (my->n == 0)
                break;
            coil_stream_consume(my->stream, my->n);
        }
        if (my->step->act == SEVER)
            shutdown(coil_stream_fd(my->stream), SHUT_RDWR);
        if (my->step->act == RESET)
            origin_reset(my->stream);
    }
}

static inline void origin_talk(struct coil_coro *co)
{
    ASYNC(origin_talk, my) {
        while (!my->ends) {
            AWAIT_TO(my->n, CALL(origin_listen, .talk = my));
            if (my->n == 0)
                break;
            my->step = origin_choose(my);
            if (my->step->act != DEAF)
                AWAIT(CALL(origin_hear, .talk = my));
            for (; my->step->act != OVER; my->step++) {
                if (my->step->act == HEAR)
                    AWAIT(CALL(origin_hear, .talk = my));
                AWAIT(CALL(origin_step, .origin = my->origin,
                           .stream = my->stream, .step = my->step));
                my->ends |= my->step->act == CLOSE ||
                            my->step->act == SEVER ||
                            my->step->act == RESET || my->step->act == HANG;
            }
            my->ends |= my->left > 0;
            origin_answered(my);
        }

    FINALLY;
        origin_answered(my);
    }
}

/* That the client has gone is no error: it is how most connections end. */
struct origin_serve {
    struct coil_coro coro;
    struct origin *origin;
    struct coil_stream *stream, *lower;
    int err;
};

static inline void origin_serve(struct coil_coro *co)
{
    ASYNC(origin_serve, my) {
        my->origin->accepted++;
        if (++my->origin->open > my->origin->most_open)
            my->origin->most_open = my->origin->open;
        if (my->origin->secure) {
            my->lower = my->stream;
            my->stream = NULL;
            TRY_AWAIT_TO(my->err, my->stream,
                         my->origin->secure(my->origin, my->lower));
            my->origin->insecure += my->err < 0;
        }
        if (my->stream)
            TRY_AWAIT(my->err, CALL(origin_talk, .origin = my->origin,
                                    .stream = my->stream));
        my->origin->open--;
        my->origin->resets += my->err == -ECONNRESET;

    FINALLY;
        AWAIT(coil_stream_close(my->stream));
    }
}

/* ---- The server ------------------------------------------------------- */

struct origin_run {
    struct coil_coro coro;
    struct origin *origin;
    struct coil_stream *stream;
    int err;
};

static inline void origin_run(struct coil_coro *co)
{
    ASYNC(origin_run, my) {
        while (my->origin->listener) {
            TRY_AWAIT_TO(my->err, my->stream,
                         coil_listener_accept(my->origin->listener));
            if (my->err < 0)
                continue;
            if (my->origin->rcvbuf)
                CHECK_INT(setsockopt(coil_stream_fd(my->stream), SOL_SOCKET,
                                     SO_RCVBUF, &my->origin->rcvbuf,
                                     sizeof my->origin->rcvbuf),
                          0);
            if (START(origin_serve, .origin = my->origin,
                      .stream = my->stream) < 0)
                AWAIT(coil_stream_close(my->stream));
        }
    }
}

static inline int origin_open_at(struct origin *o, const char *ip,
                                 const struct route *routes)
{
    struct coil_addr addr;
    memset(o, 0, sizeof *o);
    memset(origin_noise, 'x', sizeof origin_noise);
    o->routes = routes;
    CHECK_INT(coil_addr_from_ip(&addr, ip, 0), 0);
    int err = coil_listener_open(&o->listener, &addr, 512);
    if (err < 0)
        return err;
    coil_listener_addr(o->listener, &o->addr);
    o->port = coil_addr_port(&o->addr);
    snprintf(o->url, sizeof o->url,
             addr.u.sa.sa_family == AF_INET6 ? "http://[%s]:%u"
                                             : "http://%s:%u",
             ip, o->port);
    return START(origin_run, .origin = o);
}

/* A child of the running coroutine: its end ends the server. */
static inline int origin_open(struct origin *o, const struct route *routes)
{
    return origin_open_at(o, "127.0.0.1", routes);
}

static inline struct coil_future *origin_close(struct origin *o)
{
    struct coil_listener *listener = o->listener;
    o->listener = NULL;
    return listener ? coil_listener_close(listener) : coil_sleep(0);
}

/* Wait until every answer is over and all of it has arrived. */
struct origin_settle {
    struct coil_coro coro;
    const struct origin *origin;
    int pass;
};

static inline void origin_settle(struct coil_coro *co)
{
    ASYNC(origin_settle, my) {
        while (my->origin->busy > 0)
            AWAIT(coil_sleep(COIL_US(100)));
        for (; my->pass < 10; my->pass++)
            AWAIT(coil_sleep(0));
        AWAIT(coil_sleep(COIL_US(100)));
    }
}

/* A URL of the server; static, good for the next seven calls too. */
static inline const char *origin_url(const struct origin *o, const char *path)
{
    static char urls[8][512];
    static unsigned i;
    char *url = urls[i++ % 8];
    snprintf(url, sizeof urls[0], "%s%s", o->url, path);
    return url;
}

/* ---- One fetch, whole ------------------------------------------------- */

/* Get or send, and read it all. What it ended with stays in the frame. */
struct fetch {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_http_request request;
    struct coil_http_response *response;
    size_t n;
    char url[512];
};

static inline void fetch(struct coil_coro *co)
{
    ASYNC(fetch, my) {
        AWAIT_TO(my->response, coil_http_send(my->session, &my->request));
        AWAIT_TO(my->n, coil_http_response_read(my->response));
        RETURN(coil_http_response_status(my->response));

    FINALLY;
        coil_http_response_free(my->response);
    }
}

/* The words for an error, with the last detail. */
static inline const char *explained(int err)
{
    static char words[256];
    return coil_explain(err, coil_last_detail(), words, sizeof words);
}

/* CHECK the error and phase of the await just made. */
#define CHECK_ERR(err, expected, phase) \
    do { \
        CHECK_INT((err), (expected)); \
        CHECK_STR(coil_phase_name(COIL_DETAIL_PHASE(coil_last_detail())), \
                  coil_phase_name(phase)); \
    } while (0)

#endif
