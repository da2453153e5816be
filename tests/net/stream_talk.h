// SPDX-License-Identifier: MIT
#ifndef STREAM_TALK_H
#define STREAM_TALK_H

/*
 * stream_talk.h: two programs that talk over two connected streams.
 *
 *     echo    sends back what it receives, from the buffer it was received in
 *     talks   sends bytes of a seed, and compares what comes back
 *     storm   many such conversations, half of which are cancelled at any time
 */
#include "peer.h"

#include "backend/backend.h"
#include "core/loop.h"

struct echo {
    struct coil_coro coro;
    struct coil_stream *stream;
    size_t n;
};

static void echo(struct coil_coro *co)
{
    ASYNC(echo, my) {
        for (;;) {
            AWAIT_TO(my->n, coil_stream_fill(my->stream, 1));
            if (my->n == 0)
                break;
            char *data;
            my->n = coil_stream_peek(my->stream, &data);
            AWAIT(coil_stream_write(my->stream, data, my->n));
            coil_stream_consume(my->stream, my->n);
        }

    FINALLY;
        AWAIT(coil_stream_close(my->stream));
    }
}

struct sends {
    struct coil_coro coro;
    struct coil_stream *stream;
    struct coil_task *talker;
    struct pattern out;
    uint64_t all, seed;
    size_t n;
    bool done;
    char buf[2000];
};

static void sends(struct coil_coro *co)
{
    ASYNC(sends, my) {
        while (my->out.at < my->all) {
            my->n = 1 + draw(&my->seed, sizeof my->buf);
            if (my->n > my->all - my->out.at)
                my->n = my->all - my->out.at;
            pattern_fill(&my->out, my->buf, my->n);
            AWAIT(coil_stream_write(my->stream, my->buf, my->n));
        }
        AWAIT(coil_stream_write_eof(my->stream));
        my->done = true;

    FINALLY;
        if (!my->done) /* the answers would never come */
            coil_task_cancel(my->talker);
    }
}

struct talks {
    struct coil_coro coro;
    struct coil_stream *stream;
    struct coil_task *sender;
    int sender_err;
    uint64_t all, seed;
    struct pattern in;
    size_t n, there;
    char buf[1500];
};

/* Sends and compares what comes back, in reads of every kind. */
static void talks(struct coil_coro *co)
{
    ASYNC(talks, my) {
        my->sender = SPAWN(sends, .stream = my->stream, .all = my->all,
                           .seed = my->seed, .out.seed = my->seed,
                           .talker = coil_task_current());
        coil_task_quiet(my->sender);
        if (coil_task_done(my->sender))
            AWAIT(my->sender);
        my->in.seed = my->seed;
        while (my->in.at < my->all) {
            my->n = 1 + draw(&my->seed, sizeof my->buf);
            if (my->n > my->all - my->in.at)
                my->n = my->all - my->in.at;
            if (draw(&my->seed, 2)) {
                AWAIT_TO(my->n, coil_stream_read(my->stream, my->buf, my->n));
                if (my->n == 0)
                    FAIL(COIL_EINCOMPLETE);
                pattern_check(&my->in, my->buf, my->n);
            } else if (draw(&my->seed, 2)) {
                AWAIT(coil_stream_read_exactly(my->stream, my->buf, my->n));
                pattern_check(&my->in, my->buf, my->n);
            } else {
                AWAIT_TO(my->there, coil_stream_fill(my->stream, my->n));
                if (my->there < my->n)
                    FAIL(COIL_EINCOMPLETE);
                char *data;
                my->there = coil_stream_peek(my->stream, &data);
                my->n = 1 + draw(&my->seed, (unsigned)my->there);
                pattern_check(&my->in, data, my->n);
                coil_stream_consume(my->stream, my->n);
            }
        }
        AWAIT_TO(my->n, coil_stream_fill(my->stream, 1));
        if (my->n != 0)
            FAIL(-EIO);

    FINALLY;
        AWAIT(coil_stream_close(my->stream));
        if (my->sender)
            TRY_AWAIT(my->sender_err, my->sender);
    }
}

/* Two streams for the i-th conversation. 0, or -ENOMEM. */
typedef int make_pair_fn(struct coil_stream *ends[2], int i);

/* Half of the connections are cancelled at some pass, at one end or both. */
static void storm(uint64_t seed, struct coil_loop_options options,
                  make_pair_fn *make)
{
    enum { CONNS = 16 };
    struct coil_task *client[CONNS], *server[CONNS];
    test_note("seed %llu", (unsigned long long)seed);
    stage_open_with(options);
    for (int i = 0; i < CONNS; i++) {
        struct coil_stream *ends[2];
        CHECK_INT(make(ends, i), 0);
        server[i] = SPAWN(echo, .stream = ends[0]);
        client[i] = SPAWN(talks, .stream = ends[1],
                          .all = 1000 + draw(&seed, 30000),
                          .seed = seed + (uint64_t)i);
        coil_task_quiet(client[i]);
        coil_task_quiet(server[i]);
    }
    unsigned cancelled = 0;
    for (bool busy = true; busy;) {
        coil_loop_pass(stage_loop, COIL_MS(1));
        busy = false;
        for (int i = 0; i < CONNS; i++) {
            busy |= !coil_task_done(client[i]) || !coil_task_done(server[i]);
            if (i % 2 == 0 || draw(&seed, 200) != 0)
                continue;
            cancelled |= 1u << i;
            coil_task_cancel(draw(&seed, 2) ? client[i] : server[i]);
        }
    }
    for (int i = 0; i < CONNS; i++) {
        struct coil_future *c = coil_task_future(client[i]);
        struct coil_future *e = coil_task_future(server[i]);
        bool full = options.operations_limit &&
                    (coil_future_failed(c) || coil_future_failed(e));
        if (!(cancelled & 1u << i) && !full) {
            CHECK_INT(coil_future_error(c), 0);
            CHECK_INT(coil_future_error(e), 0);
        }
        coil_future_error(c);
        coil_future_error(e);
        coil_task_drop(&client[i]);
        coil_task_drop(&server[i]);
    }
    UNTIL(stage_stats().in_flight == 0);
    struct coil_loop *loop = coili_loop;
    if (loop->receivers)
        CHECK_INT(loop->table->buffers_free(loop->backend),
                  loop->options.recv_buffers);
    stage_close();
}

#endif
