// SPDX-License-Identifier: MIT
// labels: http
/*
 * test_http_storm.c: everything at once, cancelled anywhere.
 *
 * Clients of one session ask for answers of every kind, good and bad, read
 * them, read a part, give up and come back, or do not; each may be cancelled at
 * any moment, and some sessions are closed under them. Then it is counted: the
 * session must still have every slot it began with, and the harness finds no
 * descriptor, task or byte that was lost. What happens is chosen by a seed.
 */
#include "origin.h"

static const struct route routes[] = {
    { "/ok", { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc") } },
    { "/chunked",
      { SAYS("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab"),
        WAITS(COIL_MS(1)), SAYS("c\r\n0\r\n\r\n") } },
    { "/drip",
      { { .act = DRIP,
          .text = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc" } } },
    { "/large", { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n"),
                  POURS(300000) } },
    { "/until-close",
      { SAYS("HTTP/1.1 200 OK\r\n\r\n"), POURS(70000), THEN(CLOSE) } },
    { "/last", { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"),
                 THEN(CLOSE) } },
    { "/hang", { THEN(HANG) } },
    { "/half", { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
                 THEN(HANG) } },
    { "/reset", { THEN(RESET) } },
    { "/close", { THEN(CLOSE) } },
    { "/garbage", { SAYS("garbage\r\n\r\n") } },
    { "/chatty",
      { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef") } },
    { "/refused",
      { THEN(DEAF),
        SAYS("HTTP/1.1 403 No\r\nConnection: close\r\n"
             "Content-Length: 0\r\n\r\n"),
        THEN(HANG) } },
    { "/early",
      { THEN(DEAF), SAYS("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        WAITS(COIL_MS(1)) } },
    { "/early-heard",
      { THEN(DEAF), SAYS("HTTP/1.1 204 Done\r\n\r\n"), WAITS(COIL_US(200)),
        THEN(HEAR) } },
    { "/moved", { SAYS("HTTP/1.1 302 Found\r\nLocation: ok\r\n"
                       "Content-Length: 3\r\n\r\nabc") } },
    { "/moved-slowly",
      { SAYS("HTTP/1.1 307 Moved\r\nLocation: /moved\r\n"
             "Content-Length: 3\r\n\r\na"),
        WAITS(COIL_MS(1)), SAYS("bc") } },
    { "/moved-large",
      { SAYS("HTTP/1.1 308 Moved\r\nLocation: /large\r\n"
             "Content-Length: 300000\r\n\r\n"),
        POURS(300000) } },
    { "/moved-to-close",
      { SAYS("HTTP/1.1 301 Moved\r\nLocation: /close\r\n\r\n"),
        THEN(CLOSE) } },
    { "/moved-early",
      { THEN(DEAF), SAYS("HTTP/1.1 307 Moved\r\nLocation: /ok\r\n"
                         "Content-Length: 0\r\n\r\n") } },
    { "/circle", { SAYS("HTTP/1.1 303 Other\r\nLocation: /circle\r\n"
                        "Content-Length: 0\r\n\r\n") } },
    { "/moved-away", { SAYS("HTTP/1.1 301 Moved\r\nLocation: ftp://x/\r\n"
                            "Content-Length: 3\r\n\r\nabc") } },
    { 0 },
};
#define ROUTES (sizeof routes / sizeof *routes - 1)

#define CLIENTS 40
#define LIMIT 8

static uint32_t seed;

static unsigned dice(unsigned sides)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % sides;
}

/* ---- One client: a request after the other, until cancelled ------------- */

struct client {
    struct coil_coro coro;
    struct coil_http_session *const *session; /* NULL once it is closed */
    const struct origin *origin;
    struct coil_http_response *response;
    size_t n;
    int err, i;
    unsigned how;
};

static char upload[100000];

static struct coil_http_request any_request(const struct client *my)
{
    static const char *const hosts[] = { "127.0.0.1", "localhost" };
    static char urls[8][128];
    static unsigned next;
    char *url = urls[next++ % 8];
    struct coil_http_request q = { .url = url };
    snprintf(url, sizeof urls[0], "http://%s:%u%s", hosts[dice(2)],
             my->origin->port, routes[dice(ROUTES)].path);
    if (dice(5) == 0) {
        q.method = dice(2) ? "PUT" : "POST";
        q.body = upload;
        q.body_size = dice(2) ? 10 : sizeof upload;
    }
    if (dice(3) == 0)
        q.timeouts.total_ns = COIL_US(dice(8000));
    if (dice(4) == 0)
        q.timeouts.read_ns = COIL_US(dice(4000));
    if (dice(6) == 0)
        q.timeouts.pool_ns = COIL_US(dice(4000));
    return q;
}

static bool is_expected(int err)
{
    switch (err) {
    case 0:
    case -ETIMEDOUT:
    case -ECONNRESET:
    case -EPIPE:
    case COIL_EDISCONNECTED:
    case COIL_EINCOMPLETE:
    case COIL_EPROTOCOL:
    case COIL_ECLOSED:
    case COIL_EREDIRECT:
        return true;
    default:
        return false;
    }
}

/* The small answers say "abc"; any other three bytes are somebody else's. */
static bool is_whole(const struct coil_http_response *response)
{
    return coil_http_response_size(response) != 3 ||
           strcmp(coil_http_response_body(response), "abc") == 0;
}

static void client(struct coil_coro *co)
{
    ASYNC(client, my) {
        for (; my->i < 30 && *my->session; my->i++) {
            struct coil_http_request q = any_request(my);
            TRY_AWAIT_TO(my->err, my->response,
                         coil_http_send(*my->session, &q));
            CHECK(is_expected(my->err));
            my->how = dice(5);
            if (my->response && my->how == 0)
                TRY_AWAIT(my->err, coil_http_response_read(my->response));
            if (my->response && my->how == 1)
                TRY_AWAIT(my->err, coil_http_response_skip(my->response));
            for (my->n = 1; my->response && my->how == 2 && my->n && !my->err;)
                TRY_AWAIT_TO(my->err, my->n,
                             coil_http_response_next(my->response));
            for (my->n = 1; my->response && my->how == 3 && my->n;) {
                TRY_AWAIT_TO(
                    my->err, my->n,
                    coil_wait_for(coil_http_response_next(my->response),
                                  COIL_US(dice(300))));
                if (my->err < 0 && dice(4) == 0)
                    break;
            }
            CHECK(is_expected(my->err));
            if (my->response && my->how == 0 && my->err == 0)
                CHECK(is_whole(my->response));
            if (dice(3) == 0)
                AWAIT(coil_sleep(COIL_US(dice(500))));
            coil_http_response_free(my->response);
            my->response = NULL;
        }

    FINALLY;
        coil_http_response_free(my->response);
    }
}

/* ---- The storm, and what is left after it ------------------------------- */

struct storm {
    struct coil_coro coro;
    struct origin origin;
    struct coil_http_session *session;
    struct coil_http_response *held[LIMIT];
    struct coil_task *clients[CLIENTS];
    int i, err, slots;
    bool close;
};

static void storm(struct coil_coro *co)
{
    ASYNC(storm, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = LIMIT;
        o.limit_per_host = dice(2) ? 5 : 0;
        my->slots = o.limit_per_host ? 5 : LIMIT;
        o.keepalive_ns = dice(2) ? COIL_MS(2) : 0;
        o.timeouts.total_ns = COIL_MS(30);
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = coil_http_session_new(&o);
        for (int i = 0; i < CLIENTS; i++)
            my->clients[i] = SPAWN(client, .session = &my->session,
                                   .origin = &my->origin);
        for (; my->i < CLIENTS; my->i++) {
            AWAIT(coil_sleep(dice(3) ? 0 : COIL_US(dice(2000))));
            coil_task_cancel(my->clients[dice(CLIENTS)]);
        }
        if (my->close) {
            struct coil_http_session *session = my->session;
            my->session = NULL;
            AWAIT(coil_http_session_close(session));
        }
        for (my->i = 0; my->i < CLIENTS; my->i++) {
            if (my->i % 2)
                coil_task_cancel(my->clients[my->i]);
            TRY_AWAIT(my->err, my->clients[my->i]);
            CHECK(my->err == 0 || my->err == -ECANCELED);
        }

        /*
         * All slots at once, and each is held. A response that was freed may
         * still have its slot for a while, to read its last bytes.
         */
        CHECK(my->origin.most_open > 0);
        for (my->i = 0; my->session && my->i < my->slots; my->i++)
            AWAIT_TO(my->held[my->i],
                     coil_http_send(my->session,
                                    &(struct coil_http_request){
                                        .url = origin_url(&my->origin, "/half"),
                                        .timeouts.total_ns = COIL_SECONDS(20),
                                        .timeouts.pool_ns = COIL_SECONDS(9) }));

    FINALLY;
        for (int i = 0; i < LIMIT; i++)
            coil_http_response_free(my->held[i]);
        AWAIT(coil_http_session_close(my->session));
        AWAIT(origin_close(&my->origin));
    }
}

static void rage(bool closing)
{
    int n = test_seeds(40);
    test_timeout(120);
    for (int i = 0; i < n; i++) {
        seed = (uint32_t)test_seed(i);
        CHECK_INT(RUN(storm, .close = closing), 0);
    }
}

TEST(storm_of_cancellations_loses_no_slot)
{
    rage(false);
}

TEST(storm_under_a_session_that_closes_loses_nothing)
{
    rage(true);
}
