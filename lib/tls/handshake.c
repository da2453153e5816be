// SPDX-License-Identifier: MIT
/*
 * handshake.c: from a stream to a TLS stream.
 *
 * One coroutine for clients and servers, since the engine knows what comes
 * next: a flight of ours, a record of the peer, a costly step, until the
 * connection is open. handshake_ns limits all of it. When it fails, or is
 * cancelled, the stream is closed in the background: the alert has to be sent.
 *
 * A costly step runs in the loop, in its turn (turn.c), or in a thread of the
 * setup's executor. Then the engine's state and this frame are lent to the
 * thread: the await of the job ends when the thread has let go of them, also if
 * the handshake was cancelled or is out of time. Nothing else looks at the state
 * meanwhile, since nobody else has the stream yet.
 */
#include <coil/tls.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <coil/block.h>
#include <coil/coroutine.h>
#include <coil/error.h>
#include <coil/executor.h>
#include <coil/result.h>
#include <coil/stream.h>
#include <coil/task.h>
#include <coil/time.h>

#include "base/check.h"
#include "cache.h"
#include "engine.h"
#include "name.h"
#include "setup.h"
#include "stream.h"
#include "ticket.h"
#include "turn.h"
#include "words.h"

#define NAME_BYTES 256

struct name {
    char text[NAME_BYTES];
};

/* A protocol of coil_tls_connect_options, with a length byte before it. */
#define PROTOCOL_BYTES 16

struct protocol {
    unsigned char bytes[PROTOCOL_BYTES];
};

struct handshake {
    struct coil_coro coro;
    struct coil_stream *stream; /* NULL: it was returned */
    struct coil_tls_why *why;
    struct coil_stream **failed; /* of the options */
    struct protocol protocol;
    struct coili_kept *kept; /* the session that is offered; or NULL */
    int64_t limit_ns;
    struct coil_executor *executor;    /* of the setup that it began with */
    struct coili_tls_handshake shared; /* with the engine */
    struct name name;
    char sentence[COILI_SENTENCE_BYTES];
    size_t n;
    int event, err;
    uint32_t detail;
};

/* What a client offers: the setup's protocols, or that of the caller. */
static void choose_alpn(struct handshake *my)
{
    const struct coili_tls_setup *setup = coili_tls_stream_state(my->stream)
                                              ->setup;
    bool has_own = setup->alpn_bytes > 0;
    my->shared.alpn = has_own ? setup->alpn : my->protocol.bytes;
    my->shared.alpn_bytes = setup->alpn_bytes;
    if (!has_own && my->protocol.bytes[0] > 0)
        my->shared.alpn_bytes = (uint16_t)(1 + my->protocol.bytes[0]);
}

/* A session to offer, if there is one. */
static void take_session(struct handshake *my,
                         struct coili_tls_sessions *sessions)
{
    int64_t now_ms = coil_wall_now() / COIL_MS(1);
    my->kept = coili_tls_sessions_take(sessions, now_ms);
    if (!my->kept)
        return;
    my->shared.session = &my->kept->session;
    my->shared.session_age_ms = (uint32_t)(now_ms -
                                           my->kept->session.received_ms);
}

/*
 * The handshake is over. A session that the server has not resumed is worth
 * nothing; neither is one with which the handshake failed, unless that has
 * other reasons.
 */
static void give_session_back(struct handshake *my, int err, uint32_t detail)
{
    struct coili_tls_sessions *sessions = coili_tls_stream_state(my->stream)
                                              ->sessions;
    my->shared.session = NULL;
    if (!sessions)
        return;
    bool says_nothing = err == -ECANCELED || err == -ENOMEM ||
                        err == -ETIMEDOUT;
    if (my->kept && !my->shared.resumed && !says_nothing)
        coili_tls_sessions_drop(sessions, my->kept);
    if (err < 0)
        coili_tls_sessions_failed(sessions, err, detail);
    coili_kept_unref(my->kept);
    my->kept = NULL;
}

/* Give the engine what it needs from outside, and begin. */
static int begin(struct handshake *my)
{
    struct coili_tls_state *state = coili_tls_stream_state(my->stream);
    struct coili_host host;
    choose_alpn(my);
    if (state->sessions)
        take_session(my, state->sessions);
    if (state->setup->ticket_keys)
        coili_ticket_keys_turn(state->setup->ticket_keys);
    my->shared.name = my->name.text;
    if (*my->name.text && coili_host_parse(&host, my->name.text) && !host.is_ip)
        memcpy(my->shared.asked, host.name, sizeof host.name);
    my->shared.why = my->sentence;
    my->shared.now = coil_wall_now() / COIL_SECONDS(1);
    state->handshake = &my->shared;
    return state->setup->engine->start(state, coili_tls_stream_out(my->stream));
}

/* The costly step, in any thread. */
static struct coil_result work(void *arg)
{
    struct coili_tls_state *state = arg;
    state->setup->engine->work(state);
    return coil_result_int(0);
}

/* Wait for the step: in a thread, or for the turn to take it here. */
static struct coil_future *step(struct handshake *my)
{
    my->shared.now = coil_wall_now() / COIL_SECONDS(1);
    if (!my->executor)
        return coili_tls_turn();
    return coil_run_in_executor(my->executor, work,
                                coili_tls_stream_state(my->stream));
}

static int take_step(struct handshake *my)
{
    struct coili_tls_state *state = coili_tls_stream_state(my->stream);
    if (!my->executor) {
        my->shared.now = coil_wall_now() / COIL_SECONDS(1);
        work(state);
    }
    return state->setup->engine->resume(state,
                                        coili_tls_stream_out(my->stream));
}

static uint32_t detail_of(const struct handshake *my)
{
    if (my->err == COIL_ETLS || my->err == COIL_ECERT)
        return coili_tls_stream_state(my->stream)->detail;
    bool has_code = my->err == -ECANCELED;
    return COIL_DETAIL(COIL_PHASE_TLS,
                       has_code ? COIL_DETAIL_CODE(coil_last_detail()) : 0);
}

/* Make a sentence of the error if the engine has not made one. */
static void say_why(struct handshake *my)
{
    const char *words = my->sentence;
    if (!*words && my->err == COIL_ETLS)
        words = coili_tls_words(COIL_DETAIL_CODE(my->detail));
    if (!*words && (my->err == COIL_EINCOMPLETE || my->err == -ECONNRESET))
        words = "the peer closed the connection during the TLS handshake";
    if (!*words && my->err == COIL_ECLOSED && my->executor)
        words = "the executor for TLS handshakes was shut down";
    if (!*words && my->err == -ETIMEDOUT)
        words = "the peer did not finish the TLS handshake in time";
    if (!*words)
        words = coil_strerror(my->err);
    if (my->why)
        snprintf(my->why->text, sizeof my->why->text, "%s", words);
}

/* Close a stream on which an alert is perhaps on its way. */
struct say_goodbye {
    struct coil_coro coro;
    struct coil_stream *stream;
};

static void say_goodbye(struct coil_coro *co)
{
    COIL_ASYNC(say_goodbye, my) {
    COIL_FINALLY;
        COIL_AWAIT(coil_stream_close(my->stream));
    }
}

/*
 * Takes the stream. The caller learns of the error at once: a peer may take its
 * time to end. A task does it, since a loop that is closed waits for tasks; it
 * would cut off a stream that closes by itself, and report that as left open.
 */
static void close_in_background(struct coil_stream *s)
{
    struct coil_future *f = COIL_CALL(say_goodbye, .stream = s);
    if (coil_future_done(f)) /* no memory */
        coil_stream_close_soon(s);
    struct coil_task *task = coil_spawn(f);
    coil_detach(task);
}

/* When it fails the stream is closed in the background. */
static void handshake(struct coil_coro *co)
{
    COIL_ASYNC_GIVES(handshake, my, coil_stream_close_soon) {
        COIL_TRY_ALL(my->err) COIL_WITHIN(my->limit_ns) {
            my->event = begin(my);
            for (;;) {
                while (my->event == COILI_TLS_WORK) {
                    COIL_AWAIT(step(my));
                    my->event = take_step(my);
                }
                if (my->event < 0)
                    COIL_FAIL(my->event);
                if (coili_tls_stream_out(my->stream)->len > 0) {
                    COIL_AWAIT(coili_tls_stream_write_flight(my->stream));
                    coili_tls_stream_flight_sent(my->stream);
                }
                if (my->event == COILI_TLS_OPEN)
                    break;
                if (my->event == COILI_TLS_ENDED)
                    COIL_FAIL(COIL_EINCOMPLETE);
                while (!coili_tls_stream_take_record(my->stream, &my->event)) {
                    COIL_AWAIT_TO(my->n,
                                  coil_stream_fill(
                                      coili_tls_stream_lower(my->stream), 1));
                    if (my->n == 0)
                        COIL_FAIL(COIL_EINCOMPLETE);
                }
            }
            give_session_back(my, 0, 0);
            my->event = coili_tls_stream_open(my->stream);
            if (my->event < 0)
                COIL_FAIL(my->event);
            struct coil_stream *stream = my->stream;
            my->stream = NULL;
            COIL_RETURN(stream);
        }
        my->detail = detail_of(my);
        say_why(my);
        COIL_FAIL_WITH(my->err, my->detail);

    COIL_FINALLY;
        if (my->stream) {
            my->err = coil_body_error(co);
            give_session_back(my, my->err, my->detail);
            coili_tls_stream_fail(my->stream, my->err);
            if (my->failed)
                *my->failed = my->stream;
            else
                close_in_background(my->stream);
        }
    }
}

/* Takes `s`; NULL: there is no memory. */
static struct coil_future *
begin_handshake(struct coil_stream *s, const struct coil_tls_connect_options *o)
{
    struct name name = { "" };
    struct protocol protocol = { { 0 } };
    if (!s)
        return coil_future_from_nomem();
    if (o->name)
        memcpy(name.text, o->name, strlen(o->name) + 1);
    if (o->alpn) {
        protocol.bytes[0] = (unsigned char)strlen(o->alpn);
        memcpy(protocol.bytes + 1, o->alpn, strlen(o->alpn));
    }
    struct coili_tls_setup *setup = coili_tls_stream_state(s)->setup;
    struct coil_future *f = COIL_CALL(
        handshake, .stream = s, .why = o->why, .failed = o->failed,
        .limit_ns = setup->handshake_ns, .executor = setup->executor,
        .name = name, .protocol = protocol);
    if (coil_future_done(f)) /* no memory */
        coil_stream_close_soon(s);
    return f;
}

/* An error that is known before anything is sent. */
static struct coil_future *refuse_name(struct coil_stream *lower,
                                       const char *words,
                                       struct coil_tls_why *why)
{
    coil_stream_close_soon(lower);
    if (why)
        snprintf(why->text, sizeof why->text, "%s", words);
    return coil_future_from_error(-EINVAL, coili_tls_detail(0));
}

/* Without memory for sessions there are none. */
static struct coil_future *
client_connect(struct coil_stream *stream, struct coil_tls_client *client,
               const struct coil_tls_connect_options *o)
{
    struct coili_tls_setup *setup = coili_tls_setup_of_client(client);
    coili_check(!o->alpn || (*o->alpn && strlen(o->alpn) < PROTOCOL_BYTES),
                "struct coil_tls_connect_options: alpn has no, or too many "
                "bytes");
    bool has_name = o->name && *o->name;
    if (setup->verifies_name && !has_name)
        return refuse_name(stream, "the name of the server is missing", o->why);
    struct coili_host host;
    if (has_name &&
        (strlen(o->name) >= NAME_BYTES || !coili_host_parse(&host, o->name)))
        return refuse_name(stream, "the name of the server is no host name",
                           o->why);
    struct coil_stream *s = coili_tls_stream_new(stream, setup);
    if (s && o->cache && has_name)
        coili_tls_stream_state(s)->sessions = coili_tls_sessions_of(
            o->cache, setup, &host, o->port, o->alpn);
    return begin_handshake(s, o);
}

static struct coil_tls_client *client_ref(struct coil_tls_client *client)
{
    coili_tls_setup_ref(coili_tls_setup_of_client(client));
    return client;
}

static void client_unref(struct coil_tls_client *client)
{
    coili_tls_setup_unref(coili_tls_setup_of_client(client));
}

const struct coil_tls_client_ops coili_tls_client_ops = {
    .connect = client_connect,
    .ref = client_ref,
    .unref = client_unref,
    .words = coili_tls_words,
    .cache_new = coil_tls_cache_new,
    .cache_free = coil_tls_cache_free,
};

struct coil_future *coil_tls_connect(struct coil_stream *stream,
                                     struct coil_tls_client *client,
                                     const char *name, struct coil_tls_why *why)
{
    coili_check(stream, "coil_tls_connect: stream is NULL");
    coili_check(client, "coil_tls_connect: client is NULL");
    const struct coil_tls_connect_options o = { .name = name, .why = why };
    return client->ops->connect(stream, client, &o);
}

struct coil_future *coil_tls_connect_cached(struct coil_stream *stream,
                                            struct coil_tls_client *client,
                                            struct coil_tls_cache *cache,
                                            const char *name, uint16_t port,
                                            struct coil_tls_why *why)
{
    coili_check(stream, "coil_tls_connect_cached: stream is NULL");
    coili_check(client, "coil_tls_connect_cached: client is NULL");
    const struct coil_tls_connect_options o = {
        .name = name, .why = why, .cache = cache, .port = port,
    };
    return client->ops->connect(stream, client, &o);
}

struct coil_future *coil_tls_accept(struct coil_stream *stream,
                                    struct coil_tls_server *server,
                                    struct coil_tls_why *why)
{
    coili_check(stream, "coil_tls_accept: stream is NULL");
    coili_check(server, "coil_tls_accept: server is NULL");
    struct coili_tls_setup *setup = coili_tls_setup_of_server(server);
    const struct coil_tls_connect_options o = { .why = why };
    return begin_handshake(coili_tls_stream_new(stream, setup), &o);
}
