// SPDX-License-Identifier: MIT
// labels: kernel
/*
 * test_kernel.c: whatever the kernel answers, a program ends.
 *
 * Each scenario is run with its 1st, 2nd, 3rd... operation failing in each way
 * that the kernel knows, alone and with all later ones; with transfers of one
 * byte; with enters that fail for a while; with completions out of order or
 * late. It must end with the error that was injected, or with what that error
 * brings about at the other end, or do without. It must not end with
 * -ECANCELED, which is the word for a cancellation, leave anything behind, or
 * spin.
 */
#include "kernel.h"
#include "origin.h"
#include "stage.h"

#include <coil.h>
#include <coil/http.h>

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- Every answer ----------------------------------------------------- */

/* Enters of a run may be so many more than those of the undisturbed run. */
#define ENTERS_MORE 300

struct scenario {
    int (*run)(void);
    int also[8];     /* errors that an injected one brings about elsewhere */
    unsigned enters; /* of the undisturbed run */
};

static bool is_allowed(const struct scenario *s, int err, int injected)
{
    if (err == 0 || (err == injected && err != -ECANCELED) ||
        (err == -EAGAIN && injected == -ECANCELED))
        return true;
    for (int i = 0; i < 8 && s->also[i]; i++)
        if (err == s->also[i])
            return true;
    return false;
}

/* One run; true if a fault has happened in it. */
static bool run_with(const struct scenario *s, struct kernel_faults faults,
                     const char *what)
{
    int injected = faults.result < 0 ? faults.result : faults.enter_error;
    test_note("%s: %s, operation %u%s, enter %u", what,
              injected < 0 ? coil_strerror(injected) : "", faults.nth,
              faults.and_later ? " and all later" : "", faults.enter_nth);
    kernel_faults = faults;
    int err = test_leaves_nothing(s->run);
    struct kernel_faults counted = kernel_faults;
    kernel_faults = (struct kernel_faults){ 0 };
    if (!is_allowed(s, err, counted.fired ? injected : 0))
        test_fail(__FILE__, __LINE__, "the scenario ended with %s",
                  coil_strerror(err));
    if (s->enters && counted.enters > s->enters * 3 + ENTERS_MORE)
        test_fail(__FILE__, __LINE__, "%u enters, undisturbed: %u",
                  counted.enters, s->enters);
    return counted.fired > 0;
}

static void every_answer(struct scenario s)
{
    static const int results[] = { -ECANCELED, -EAGAIN, -ENOMEM, -ENOBUFS,
                                   -EINTR };
    static const int refusals[] = { -EBUSY, -EAGAIN, -EINTR, -ENOMEM };
    test_timeout(240);

    CHECK(!run_with(&s, (struct kernel_faults){ 0 }, "undisturbed"));
    kernel_faults = (struct kernel_faults){ 0 };
    CHECK_INT(s.run(), 0);
    s.enters = kernel_faults.enters;

    struct kernel_faults f = { 0 };
    for (size_t i = 0; i < 2 * (sizeof results / sizeof *results); i++) {
        f.result = results[i / 2];
        f.and_later = i % 2;
        for (f.nth = 1; run_with(&s, f, "result"); f.nth++)
            continue;
    }
    f = (struct kernel_faults){ .result = KERNEL_SHORT };
    for (f.nth = 1; run_with(&s, f, "short"); f.nth++)
        continue;
    f.nth = 1;
    f.and_later = true;
    run_with(&s, f, "all short");

    f = (struct kernel_faults){ .enter_times = 10 };
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        f.enter_error = refusals[i];
        f.enter_nth = 1;
        while (run_with(&s, f, "refusal"))
            f.enter_nth += f.enter_nth < 16 ? 1 : 7;
        CHECK(f.enter_nth > 1);
    }
    run_with(&s, (struct kernel_faults){ .one_by_one = true }, "one by one");
    run_with(&s, (struct kernel_faults){ .reverse = true }, "reverse");
    for (unsigned k = 1; k < KERNEL_DELAYS; k++) {
        CHECK(run_with(&s, (struct kernel_faults){ .delay = k }, "late"));
        run_with(&s, (struct kernel_faults){ .delay = k, .reverse = true },
                 "late and reverse");
    }
    test_note("%s", "");
}

/* ---- A loop, and one coroutine in it ----------------------------------- */

static int run_one(struct coil_future *(*make)(void))
{
    struct coil_loop *loop;
    stage_reported.n = 0;
    int err = coil_loop_new(&loop, stage_options());
    if (err < 0)
        return err;
    struct coil_task *t = coil_spawn(make());
    CHECK_INT(coil_loop_run_until_complete(loop, t), 0);
    err = coil_future_error(coil_task_future(t));
    coil_loop_close(loop);
    return err;
}

/* run_name(): the coroutine `name` in a loop of its own. */
#define SCENARIO(name) \
    static struct coil_future *make_##name(void) \
    { \
        return CALL(name); \
    } \
    static int run_##name(void) \
    { \
        return run_one(make_##name); \
    }

#define EVERY_ANSWER(name, ...) \
    every_answer( \
        (struct scenario){ .run = run_##name, .also = { __VA_ARGS__ } })

/* ---- Files, pipes ------------------------------------------------------ */

struct files {
    struct coil_coro coro;
    int fd, n, at;
    char out[32], in[32];
};

static void files(struct coil_coro *co)
{
    ASYNC(files, my) {
        my->fd = memfd_create("kernel", MFD_CLOEXEC);
        memset(my->out, 'x', sizeof my->out);
        for (; my->at < 32; my->at += my->n)
            AWAIT_TO(my->n,
                     coil_pwrite(my->fd, my->out + my->at,
                                 (size_t)(32 - my->at), (uint64_t)my->at));
        for (my->at = 0; my->at < 32; my->at += my->n)
            AWAIT_TO(my->n,
                     coil_pread(my->fd, my->in + my->at, (size_t)(32 - my->at),
                                (uint64_t)my->at));
        CHECK_MEM(my->in, my->out, 32);
        AWAIT(coil_write(my->fd, "y", 1));
        AWAIT(coil_read(my->fd, my->in, 8));
        AWAIT(coil_poll(my->fd, POLLIN));

    FINALLY;
        AWAIT(coil_close(my->fd));
    }
}

SCENARIO(files)

TEST(kernel_answers_to_files)
{
    EVERY_ANSWER(files, 0);
}

struct pours {
    struct coil_coro coro;
    int fd; /* taken */
    int n, at;
    char out[100];
};

static void pours(struct coil_coro *co)
{
    ASYNC(pours, my) {
        memset(my->out, 'x', sizeof my->out);
        for (; my->at < 100; my->at += my->n)
            AWAIT_TO(my->n,
                     coil_write(my->fd, my->out, (size_t)(100 - my->at)));

    FINALLY;
        AWAIT(coil_close(my->fd));
    }
}

struct pipes {
    struct coil_coro coro;
    int fds[2], n, sum;
    char in[64];
    struct coil_task *writer;
};

static void pipes(struct coil_coro *co)
{
    ASYNC(pipes, my) {
        CHECK_INT(pipe2(my->fds, O_CLOEXEC), 0);
        my->writer = SPAWN(pours, .fd = my->fds[1]);
        for (my->n = 1; my->n > 0; my->sum += my->n)
            AWAIT_TO(my->n, coil_read(my->fds[0], my->in, sizeof my->in));
        AWAIT(my->writer);
        CHECK_INT(my->sum, 100);

    FINALLY;
        AWAIT(coil_close(my->fds[0]));
    }
}

SCENARIO(pipes)

TEST(kernel_answers_to_pipes)
{
    EVERY_ANSWER(pipes, 0);
}

/* ---- Sockets ----------------------------------------------------------- */

/* Answers each line; closes the stream. */
struct echo {
    struct coil_coro coro;
    struct coil_stream *peer;
    size_t n;
};

static void echo(struct coil_coro *co)
{
    ASYNC(echo, my) {
        for (;;) {
            AWAIT_TO(my->n, coil_stream_fill(my->peer, 1));
            if (my->n == 0)
                break;
            char *data;
            my->n = coil_stream_peek(my->peer, &data);
            AWAIT(coil_stream_write(my->peer, data, my->n));
            coil_stream_consume(my->peer, my->n);
        }
        AWAIT(coil_stream_write_eof(my->peer));

    FINALLY;
        AWAIT(coil_stream_close(my->peer));
    }
}

/* Two rounds with echo() at the other end; closes the stream. */
struct talk {
    struct coil_coro coro;
    struct coil_stream *peer;
    int i;
    int64_t n;
    char in[40];
};

static void talk(struct coil_coro *co)
{
    ASYNC(talk, my) {
        for (; my->i < 2; my->i++) {
            AWAIT(coil_stream_write(my->peer, "a line of some words", 20));
            AWAIT(coil_stream_read_exactly(my->peer, my->in, 20));
            CHECK_MEM(my->in, "a line of some words", 20);
        }
        AWAIT(coil_stream_write_eof(my->peer));
        AWAIT_TO(my->n, coil_stream_read(my->peer, my->in, sizeof my->in));
        CHECK_INT(my->n, 0);

    FINALLY;
        AWAIT(coil_stream_close(my->peer));
    }
}

struct streams {
    struct coil_coro coro;
    int fds[2];
    struct coil_task *both[2];
};

static void streams(struct coil_coro *co)
{
    ASYNC(streams, my) {
        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, my->fds),
                  0);
        my->both[0] = SPAWN(echo, .peer = coil_stream_new(my->fds[1]));
        my->both[1] = SPAWN(talk, .peer = coil_stream_new(my->fds[0]));
        AWAIT(coil_gather(my->both, 2));
    }
}

SCENARIO(streams)

TEST(kernel_answers_to_streams)
{
    EVERY_ANSWER(streams, COIL_EINCOMPLETE, -EPIPE, -ECONNRESET);
}

struct accepts {
    struct coil_coro coro;
    int fd, *out;
};

static void accepts(struct coil_coro *co)
{
    ASYNC(accepts, my) {
        AWAIT_TO(*my->out, coil_accept(my->fd));
    }
}

struct sockets {
    struct coil_coro coro;
    struct coil_addr addr;
    int listener, client, accepted;
    char in[8];
    struct coil_task *both[2];
};

static void sockets(struct coil_coro *co)
{
    ASYNC(sockets, my) {
        my->accepted = -1;
        coil_addr_from_ip(&my->addr, "127.0.0.1", 0);
        my->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        my->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK_INT(bind(my->listener, &my->addr.u.sa, my->addr.len), 0);
        CHECK_INT(listen(my->listener, 4), 0);
        coil_addr_local(&my->addr, my->listener);
        my->both[0] = SPAWN(accepts, .fd = my->listener, .out = &my->accepted);
        my->both[1] = coil_spawn(coil_connect(my->client, &my->addr));
        AWAIT(coil_gather(my->both, 2));
        AWAIT(coil_send(my->client, "x", 1));
        AWAIT(coil_recv(my->accepted, my->in, sizeof my->in));
        AWAIT(coil_shutdown(my->client, SHUT_RDWR));

    FINALLY;
        if (my->accepted >= 0)
            AWAIT(coil_close(my->accepted));
        AWAIT(coil_close(my->client));
        AWAIT(coil_close(my->listener));
    }
}

SCENARIO(sockets)

TEST(kernel_answers_to_sockets)
{
    EVERY_ANSWER(sockets, 0);
}

struct serves {
    struct coil_coro coro;
    struct coil_listener *listener;
    struct coil_stream *peer;
};

static void serves(struct coil_coro *co)
{
    ASYNC(serves, my) {
        AWAIT_TO(my->peer, coil_listener_accept(my->listener));
        AWAIT(CALL(echo, .peer = my->peer));
    }
}

struct calls {
    struct coil_coro coro;
    uint16_t port;
    struct coil_stream *peer;
};

static void calls(struct coil_coro *co)
{
    ASYNC(calls, my) {
        AWAIT_TO(my->peer, coil_open_connection("127.0.0.1", my->port, NULL));
        AWAIT(CALL(talk, .peer = my->peer));
    }
}

struct listeners {
    struct coil_coro coro;
    struct coil_listener *listener;
    struct coil_task *both[2];
    uint16_t port;
    int i;
};

static void listeners(struct coil_coro *co)
{
    ASYNC(listeners, my) {
        struct coil_addr addr;
        coil_addr_from_ip(&addr, "127.0.0.1", 0);
        int err = coil_listener_open(&my->listener, &addr, 16);
        if (err < 0)
            FAIL(err);
        coil_listener_addr(my->listener, &addr);
        my->port = (uint16_t)coil_addr_port(&addr);
        for (; my->i < 2; my->i++) {
            my->both[0] = SPAWN(serves, .listener = my->listener);
            my->both[1] = SPAWN(calls, .port = my->port);
            AWAIT(coil_gather(my->both, 2));
        }

    FINALLY;
        if (my->listener)
            AWAIT(coil_listener_close(my->listener));
    }
}

SCENARIO(listeners)

TEST(kernel_answers_to_listeners)
{
    EVERY_ANSWER(listeners, COIL_EINCOMPLETE, -EPIPE, -ECONNRESET);
}

struct senders {
    struct coil_coro coro;
    struct coil_sender sender;
    int fds[2];
    struct coil_task *t[3];
    int n, sum;
    char in[64];
};

static void senders(struct coil_coro *co)
{
    ASYNC(senders, my) {
        CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, my->fds),
                  0);
        coil_sender_init(&my->sender, my->fds[0]);
        my->t[0] = coil_spawn(coil_sender_send(&my->sender, "0123456789", 10));
        my->t[1] = coil_spawn(coil_sender_send(&my->sender, "abcdef", 6));
        my->t[2] = coil_spawn(coil_sender_send_eof(&my->sender));
        AWAIT(coil_gather(my->t, 3));
        for (my->n = 1; my->n > 0; my->sum += my->n)
            AWAIT_TO(my->n, coil_recv(my->fds[1], my->in + my->sum,
                                      (size_t)(64 - my->sum)));
        CHECK_MEM(my->in, "0123456789abcdef", 16);
        CHECK_INT(my->sum, 16);

    FINALLY;
        AWAIT(coil_close(my->fds[0]));
        AWAIT(coil_close(my->fds[1]));
    }
}

SCENARIO(senders)

TEST(kernel_answers_to_senders)
{
    EVERY_ANSWER(senders, -EPIPE);
}

/* ---- Threads, signals, processes, timers ------------------------------- */

static struct coil_result doubled(void *arg)
{
    return coil_result_int((int64_t)(intptr_t)arg * 2);
}

struct threads {
    struct coil_coro coro;
    struct coil_addrs addrs;
    int i, n;
};

static void threads(struct coil_coro *co)
{
    ASYNC(threads, my) {
        AWAIT(coil_resolve(&my->addrs, "localhost", 80));
        for (; my->i < 3; my->i++) {
            AWAIT_TO(my->n, coil_to_thread(doubled, (void *)(intptr_t)my->i));
            CHECK_INT(my->n, my->i * 2);
        }
        AWAIT(coil_sleep(COIL_MS(1)));
        AWAIT(coil_wait_for(coil_spawn(coil_sleep(0)), COIL_SECONDS(60)));
    }
}

SCENARIO(threads)

TEST(kernel_answers_to_threads)
{
    EVERY_ANSWER(threads, 0);
}

struct signals {
    struct coil_coro coro;
    int i;
    struct coil_task *waits;
};

static void signals(struct coil_coro *co)
{
    ASYNC(signals, my) {
        for (; my->i < 2; my->i++) {
            my->waits = coil_spawn(coil_wait_signal(SIGUSR1));
            AWAIT(coil_sleep(0));
            AWAIT(coil_sleep(0));
            raise(SIGUSR1);
            AWAIT(my->waits);
        }
    }
}

SCENARIO(signals)

TEST(kernel_answers_to_signals)
{
    EVERY_ANSWER(signals, 0);
}

static int64_t tripled(const void *in, size_t n, void *out, size_t size)
{
    int i;
    CHECK(n == sizeof i && size == sizeof i);
    memcpy(&i, in, n);
    i *= 3;
    memcpy(out, &i, size);
    return (int64_t)size;
}

struct processes {
    struct coil_coro coro;
    struct coil_process_pool *pool;
    int n, answer;
};

static void processes(struct coil_coro *co)
{
    ASYNC(processes, my) {
        struct coil_process_pool_options o = COIL_PROCESS_POOL_OPTIONS_INIT;
        o.workers = 1;
        int err = coil_process_pool_open(&my->pool, &o);
        if (err < 0)
            FAIL(err);
        my->n = 5;
        AWAIT(coil_process_pool_run(my->pool, tripled, &my->n, sizeof my->n,
                                    &my->answer, sizeof my->answer));
        CHECK_INT(my->answer, 15);

    FINALLY;
        if (my->pool)
            AWAIT(coil_process_pool_close(my->pool));
    }
}

SCENARIO(processes)

TEST(kernel_answers_to_processes)
{
    EVERY_ANSWER(processes, COIL_EBROKEN);
}

/* ---- HTTP --------------------------------------------------------------- */

static const struct route routes[] = {
    { "/", { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") } },
    { "/moved",
      { SAYS("HTTP/1.1 307 Moved\r\nLocation: /\r\n"
             "Content-Length: 5\r\n\r\nhe"),
        WAITS(COIL_US(100)), SAYS("llo") } },
    { 0 },
};

struct fetches {
    struct coil_coro coro;
    struct origin origin;
    struct coil_http_session *session;
    struct coil_http_response *response;
    int i;
};

static void fetches(struct coil_coro *co)
{
    ASYNC(fetches, my) {
        origin_open(&my->origin, routes);
        my->session = coil_http_session_new(NULL);
        for (; my->i < 2; my->i++) {
            AWAIT_TO(my->response, coil_http_get(my->session, my->origin.url));
            AWAIT(coil_http_response_read(my->response));
            coil_http_response_free(my->response);
            my->response = NULL;
        }

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

SCENARIO(fetches)

TEST(kernel_answers_to_fetches)
{
    EVERY_ANSWER(fetches, COIL_EDISCONNECTED, COIL_EINCOMPLETE, -EPIPE,
                 -ECONNRESET);
}

struct redirected {
    struct coil_coro coro;
    struct origin origin;
    struct coil_http_session *session;
};

static void redirected(struct coil_coro *co)
{
    ASYNC(redirected, my) {
        origin_open(&my->origin, routes);
        my->session = coil_http_session_new(NULL);
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = origin_url(&my->origin, "/moved"),
                                .method = "PUT",
                                .body = "hello",
                                .body_size = 5 }));

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

SCENARIO(redirected)

TEST(kernel_answers_to_a_request_that_is_redirected)
{
    EVERY_ANSWER(redirected, COIL_EDISCONNECTED, COIL_EINCOMPLETE, -EPIPE,
                 -ECONNRESET);
}

/* ---- For a while ------------------------------------------------------- */

// The loop asked again at once, a hundred thousand times in a second.
TEST(kernel_that_is_out_of_memory_is_asked_now_and_then)
{
    static const int refusals[] = { -EAGAIN, -ENOMEM, -EBUSY };
    static char in[8];
    stage_open();
    int fds[2];
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    for (int i = 0; i < 3; i++) {
        struct coil_task *t = coil_spawn(coil_read(fds[0], in, 1));
        coil_loop_pass(stage_loop, 0); /* it begins */
        kernel_faults = (struct kernel_faults){ .enter_error = refusals[i],
                                                .enter_refused = true };
        int64_t start = coil_now();
        while (coil_now() - start < COIL_MS(50))
            coil_loop_pass(stage_loop, COIL_SECONDS(1));
        unsigned enters = kernel_faults.enters;
        kernel_faults = (struct kernel_faults){ 0 };
        CHECK(enters <= 60);
        CHECK_INT(write(fds[1], "x", 1), 1);
        CHECK_INT(stage_run(t), 0);
        coil_task_drop(&t);
    }
    close(fds[0]);
    close(fds[1]);
    stage_close();
}

struct patient {
    struct coil_coro coro;
    int64_t delay, began;
    int file;
    char byte;
};

static int64_t shortest;

static void patient(struct coil_coro *co)
{
    ASYNC(patient, my) {
        AWAIT(coil_sleep(my->delay));
        my->began = coil_now();
        AWAIT(coil_pread(my->file, &my->byte, 1, 0));

    FINALLY;
        if (coil_now() - my->began < shortest)
            shortest = coil_now() - my->began;
    }
}

// Each operation that the kernel ends unasked has pauses of its own. The tries
// of others used up its own.
TEST(kernel_without_workers_is_asked_for_127_ms)
{
    enum { N = 30 };
    struct coil_task *t[N];
    stage_open();
    int file = memfd_create("kernel", MFD_CLOEXEC);
    stage_passes(1); /* the loop's own operation begins */
    shortest = INT64_MAX;
    kernel_faults = (struct kernel_faults){ .result = -ECANCELED,
                                            .nth = 1,
                                            .and_later = true };
    for (int i = 0; i < N; i++)
        t[i] = coil_spawn(CALL(patient, .delay = COIL_MS(i), .file = file));
    for (int i = 0; i < N; i++) {
        CHECK_INT(stage_run(t[i]), -EAGAIN);
        coil_task_drop(&t[i]);
    }
    kernel_faults = (struct kernel_faults){ 0 };
    test_note("the shortest has waited %lld us", (long long)shortest / 1000);
    CHECK(shortest >= COIL_MS(100));
    close(file);
    stage_close();
}
