// SPDX-License-Identifier: MIT
// labels: http
/*
 * test_pool.c: who gets a connection, in which order, and that none gets lost.
 *
 * The first part borrows slots of the pool itself, without any network, and
 * compares with a model that is too simple to be wrong. The rest goes through
 * sessions and counts at the server.
 */
#include "origin.h"

#include "http/client/pool.h"

#include <coil/event.h>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Against a model -------------------------------------------------- */

#define HOSTS 6
#define BORROWERS 400

struct borrow {
    struct coil_coro coro;
    struct coili_origin *origin;
    struct coili_lease lease;
    struct coil_event *done;
    bool keeps;
    int err;
};

/* A connection that is good for nothing but to be kept. It never ends. */
static void pretend_to_connect(struct coili_conn *conn)
{
    int fds[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
    close(fds[1]);
    coili_conn_connected(conn, coil_stream_adopt(fds[0]));
}

static void borrow(struct coil_coro *co)
{
    ASYNC(borrow, my) {
        my->err = coili_pool_take(my->origin, &my->lease);
        if (my->err == -EAGAIN)
            AWAIT(coili_pool_wait(my->origin, &my->lease, COIL_NEVER));
        CHECK(my->lease.conn);
        AWAIT(coil_event_wait(&my->lease.conn->vacant));
        if (!my->lease.conn->stream)
            pretend_to_connect(my->lease.conn);
        AWAIT(coil_event_wait(my->done));

    FINALLY;
        if (my->lease.conn && my->keeps)
            coili_lease_release(&my->lease);
        else if (my->lease.conn)
            coili_lease_drop(&my->lease);
        coili_origin_unref(my->origin);
    }
}

enum lot { WAITS_STILL, HOLDS, GONE };

struct model {
    struct coil_coro coro;
    struct coili_pool pool;
    uint32_t seed;
    unsigned limit, cap;
    struct coil_event done[BORROWERS];
    struct coil_task *tasks[BORROWERS];
    uint8_t host[BORROWERS], lot[BORROWERS];
    uint8_t idle[BORROWERS]; /* hosts of kept connections, the oldest first */
    int n, i, idle_n;
};

static unsigned dice(struct model *my, unsigned sides)
{
    my->seed = my->seed * 1664525 + 1013904223;
    return (my->seed >> 8) % sides;
}

static void forget_idle(struct model *my, int at)
{
    my->idle_n--;
    memmove(&my->idle[at], &my->idle[at + 1], (size_t)(my->idle_n - at));
}

/* The latest that was kept for this host; -1 without one. */
static int latest_idle(const struct model *my, int host)
{
    int at = my->idle_n - 1;
    while (at >= 0 && my->idle[at] != host)
        at--;
    return at;
}

static unsigned connections(const struct model *my, int host)
{
    unsigned n = 0;
    for (int i = 0; i < my->n; i++)
        n += my->lot[i] == HOLDS && (host < 0 || my->host[i] == host);
    for (int i = 0; i < my->idle_n; i++)
        n += host < 0 || my->idle[i] == host;
    return n;
}

/* One that was kept, or a slot, or that of the one kept longest. */
static bool model_grants(struct model *my, int host)
{
    int at = latest_idle(my, host);
    if (at >= 0) {
        forget_idle(my, at);
        return true;
    }
    if (my->cap && connections(my, host) == my->cap)
        return false;
    if (connections(my, -1) < my->limit)
        return true;
    if (!my->idle_n)
        return false;
    forget_idle(my, 0);
    return true;
}

/* In the order of arrival, whoever may have a slot gets one. */
static void model_serve(struct model *my)
{
    for (int i = 0; i < my->n; i++)
        if (my->lot[i] == WAITS_STILL && model_grants(my, my->host[i]))
            my->lot[i] = HOLDS;
}

static struct coili_origin *host_of(struct model *my, int host)
{
    static const char *const urls[HOSTS] = { "http://a/",   "http://A:81/",
                                             "http://b/",   "http://a./",
                                             "http://[::1]", "http://aa" };
    struct coil_url url;
    CHECK_INT(coil_url_parse(&url, urls[host], strlen(urls[host])), 0);
    return coili_origin_find(&my->pool, &url, (struct coili_tls){ NULL, NULL });
}

static void compare(struct model *my)
{
    for (int i = 0; i < my->n; i++) {
        struct borrow *b = coil_task_frame(my->tasks[i]);
        CHECK_INT(coil_task_done(my->tasks[i]), my->lot[i] == GONE);
        CHECK_INT(b->lease.conn != NULL, my->lot[i] == HOLDS);
    }
    CHECK_INT(my->pool.count, connections(my, -1));
    const struct coili_list *link = my->pool.idle.next;
    for (int i = 0; i < my->idle_n; i++, link = link->next) {
        const struct coili_conn *conn = COILI_CONTAINER(link, struct coili_conn,
                                                        link);
        struct coili_origin *o = host_of(my, my->idle[i]);
        CHECK(conn->origin == o);
        coili_origin_unref(o);
    }
    CHECK(link == &my->pool.idle);
}

static void arrive(struct model *my)
{
    int i = my->n++;
    my->host[i] = (uint8_t)dice(my, HOSTS);
    my->lot[i] = WAITS_STILL;
    coil_event_init(&my->done[i]);
    my->tasks[i] = SPAWN(borrow, .origin = host_of(my, my->host[i]),
                         .done = &my->done[i]);
}

/* Somebody gives his slot back, or is cancelled, waiting or not. */
static void leave(struct model *my)
{
    int i = (int)dice(my, (unsigned)my->n);
    if (my->lot[i] == GONE)
        return;
    struct borrow *b = coil_task_frame(my->tasks[i]);
    b->keeps = dice(my, 3);
    if (my->lot[i] == HOLDS && b->keeps)
        my->idle[my->idle_n++] = my->host[i];
    if (my->lot[i] == HOLDS && dice(my, 3))
        coil_event_set(&my->done[i]);
    else
        coil_task_cancel(my->tasks[i]);
    my->lot[i] = GONE;
}

static void ended(void *arg)
{
    (void)arg;
}

static void model(struct coil_coro *co)
{
    ASYNC(model, my) {
        coili_pool_init(&my->pool, ended, NULL);
        my->pool.limit = my->limit;
        my->pool.limit_per_host = my->cap;
        my->pool.keepalive_ns = COIL_NEVER;
        while (my->n < BORROWERS) {
            if (dice(my, 5) < 3)
                arrive(my);
            else if (my->n)
                leave(my);
            model_serve(my);
            for (my->i = 0; my->i < 3; my->i++)
                AWAIT(coil_sleep(0));
            compare(my);
        }
        for (int i = 0; i < my->n; i++)
            coil_event_set(&my->done[i]);
        JOIN();

    FINALLY;
        JOIN();
        coili_pool_close(&my->pool);
        CHECK_INT(my->pool.count, 0);
        CHECK_INT(my->pool.origins, 0);
        while (my->pool.closing > 0)
            AWAIT(coil_sleep(0));
        coili_pool_fini(&my->pool);
    }
}

// Strictly first come, first served; a host that has all it may have holds
// nobody else up; who is cancelled, waiting or granted, loses nothing.
TEST(pool_serves_in_the_order_of_a_simple_model)
{
    static const struct { unsigned limit, cap; } limits[] = {
        { 1, 0 }, { 5, 0 }, { 5, 1 }, { 7, 2 }, { 100, 3 }, { 100, 0 }
    };
    test_timeout(120);
    for (uint32_t seed = 1; seed <= (test_is_slow() ? 2u : 10u); seed++)
        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
            test_note("seed %u, limits %zu", seed, i);
            CHECK_INT(RUN(model, .seed = seed, .limit = limits[i].limit,
                          .cap = limits[i].cap),
                      0);
        }
}

struct crowd {
    struct coil_coro coro;
    struct coili_pool pool;
    struct coili_origin *origins[200];
};

static struct coili_origin *nth_host(struct crowd *my, int n, bool large)
{
    char text[64];
    struct coil_url url;
    snprintf(text, sizeof text, "http://%s%d:%d/", large ? "HOST" : "host",
             n / 2, 1000 + n % 2);
    CHECK_INT(coil_url_parse(&url, text, strlen(text)), 0);
    return coili_origin_find(&my->pool, &url, (struct coili_tls){ NULL, NULL });
}

static void crowd(struct coil_coro *co)
{
    ASYNC(crowd, my) {
        coili_pool_init(&my->pool, ended, NULL);
        for (int i = 0; i < 200; i++)
            my->origins[i] = nth_host(my, i, false);
        CHECK_INT(my->pool.origins, 200);
        for (int i = 0; i < 200; i++) {
            CHECK(nth_host(my, i, true) == my->origins[i]);
            coili_origin_unref(my->origins[i]);
        }
        CHECK_INT(my->pool.origins, 200);
        for (int i = 0; i < 200; i++)
            coili_origin_unref(my->origins[i]);
        coili_pool_fini(&my->pool);
    }
}

TEST(pool_finds_each_of_many_hosts)
{
    CHECK_INT(RUN(crowd), 0);
}

struct schemes {
    struct coil_coro coro;
    struct coili_pool pool;
    struct coili_lease leases[3];
};

static int references;

static struct coil_tls_client *pretend_ref(struct coil_tls_client *client)
{
    references++;
    return client;
}

static void pretend_unref(struct coil_tls_client *client)
{
    (void)client;
    references--;
}

static const struct coil_tls_client_ops pretend_ops = {
    .ref = pretend_ref,
    .unref = pretend_unref,
};

/* As many clients as there is trust. */
static struct coil_tls_client pretend_clients[2] = { { &pretend_ops },
                                                     { &pretend_ops } };

static struct coili_origin *origin_with(struct coili_pool *pool,
                                        const char *text, int client,
                                        const char *name)
{
    struct coil_url url;
    CHECK_INT(coil_url_parse(&url, text, strlen(text)), 0);
    return coili_origin_find(
        pool, &url, (struct coili_tls){ &pretend_clients[client], name });
}

static struct coili_origin *origin_of(struct coili_pool *pool, const char *text)
{
    return origin_with(pool, text, 0, NULL);
}

static void schemes(struct coil_coro *co)
{
    ASYNC(schemes, my) {
        coili_pool_init(&my->pool, ended, NULL);
        my->pool.limit = 10;
        my->pool.keepalive_ns = COIL_SECONDS(10);
        struct coili_origin *plain = origin_of(&my->pool, "http://h:443/");
        struct coili_origin *tls = origin_of(&my->pool, "https://h:443/");
        CHECK(plain != tls);
        CHECK(!plain->tls && tls->tls);
        CHECK(origin_of(&my->pool, "https://H/") == tls);
        coili_origin_unref(tls);
        CHECK_INT(references, 1);

        CHECK_INT(coili_pool_take(plain, &my->leases[0]), 0);
        pretend_to_connect(my->leases[0].conn);
        struct coil_stream *stream = my->leases[0].conn->stream;
        coili_lease_release(&my->leases[0]);
        CHECK_INT(coili_pool_take(tls, &my->leases[1]), 0);
        CHECK(my->leases[1].conn->stream == NULL);
        CHECK_INT(coili_pool_take(plain, &my->leases[2]), 0);
        CHECK(my->leases[2].conn->stream == stream);

        coili_lease_drop(&my->leases[1]);
        coili_lease_drop(&my->leases[2]);
        coili_origin_unref(plain);
        coili_origin_unref(tls);
        while (my->pool.closing > 0)
            AWAIT(coil_sleep(0));
        coili_pool_fini(&my->pool);
    }
}

struct trusts {
    struct coil_coro coro;
    struct coili_pool pool;
};

static void trusts(struct coil_coro *co)
{
    static const struct {
        const char *url;
        int client;
        const char *name, *is;
    } rows[] = {
        { "https://h/", 0, NULL, "h" },
        { "https://h/", 1, NULL, "h" },
        { "https://h/", 0, "i", "i" },
        { "https://h/", 1, "i", "i" },
        { "https://i/", 0, NULL, "i" },
        { "https://h./", 0, NULL, "h." },
        { "https://hi/", 0, NULL, "hi" },
        { "http://h:443/", 0, NULL, "h" },
    };
    enum { N = sizeof rows / sizeof *rows };
    ASYNC(trusts, my) {
        struct coili_origin *found[N];
        coili_pool_init(&my->pool, ended, NULL);
        for (int i = 0; i < N; i++) {
            found[i] = origin_with(&my->pool, rows[i].url, rows[i].client,
                                   rows[i].name);
            CHECK_STR(coili_origin_name(found[i]), rows[i].is);
            for (int j = 0; j < i; j++)
                CHECK(found[j] != found[i]);
        }
        CHECK(origin_with(&my->pool, "https://H/", 0, "h") == found[0]);
        CHECK(origin_with(&my->pool, "https://H/", 1, "I") == found[3]);
        CHECK(origin_with(&my->pool, "http://H:443/", 1, "I") == found[N - 1]);
        coili_origin_unref(found[0]);
        coili_origin_unref(found[3]);
        coili_origin_unref(found[N - 1]);
        CHECK_INT(references, N - 1);
        for (int i = 0; i < N; i++)
            coili_origin_unref(found[i]);
        CHECK_INT(references, 0);
        coili_pool_fini(&my->pool);
    }
}

// Else a request would use a connection whose server was verified in another
// way, or for another name.
TEST(pool_shares_no_connection_between_tls_clients_and_server_names)
{
    CHECK_INT(RUN(trusts), 0);
}

// Else a request for https would go out in plain text.
TEST(pool_shares_no_connection_between_http_and_https)
{
    CHECK_INT(RUN(schemes), 0);
}

/* ---- Through a session ------------------------------------------------ */

#define STAGE \
    struct coil_coro coro; \
    struct origin origin; \
    struct coil_http_session *session; \
    struct coil_http_response *response; \
    size_t n; \
    int err, i

#define CLEAN_UP \
    coil_http_response_free(my->response); \
    AWAIT(coil_http_session_close(my->session))

static const struct route routes[] = {
    { "/hang", { THEN(HANG) } },
    { "/garbage", { SAYS("garbage\r\n\r\n") } },
    { "/reset", { THEN(RESET) } },
    { "/close", { THEN(CLOSE) } },
    { "/short",
      { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
        THEN(CLOSE) } },
    { "/chatty",
      { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n."),
        WAITS(COIL_MS(2)), SAYS("and another thing") } },
    { "/second",
      { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
             "Keep-Alive: max=9, timeout=1\r\n\r\n") } },
    { "/long",
      { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
             "Keep-Alive: timeout=100\r\n\r\n") } },
    { "/none",
      { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
             "Keep-Alive: timeout=0\r\n\r\n") } },
    { "/first",
      { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n"),
        THEN(HANG) } },
    { "/blank-line",
      { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n."),
        WAITS(COIL_MS(1)), SAYS("\r\n") } },
    { "/blank-line-at-once",
      { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n.\r\n") } },
    { "/after-blank-line",
      { { .act = DRIP, .text = "\r\n\r\nHTTP/1.1 204 No\r\n\r\n" } } },
    { "/leaves",
      { SAYS("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n."),
        WAITS(COIL_MS(2)), THEN(CLOSE) } },
    { 0 },
};

static struct coil_http_session *session_of(unsigned limit, unsigned per_host,
                                            int64_t keepalive_ns)
{
    struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
    o.limit = limit;
    o.limit_per_host = per_host;
    o.keepalive_ns = keepalive_ns;
    return coil_http_session_new(&o);
}

#define GET(path) \
    CALL(fetch, .session = my->session, \
         .request = { .url = origin_url(&my->origin, (path)), \
                      .timeouts.pool_ns = COIL_MS(1) })

/* Sockets of this process but the server's, connected or not yet. */
static unsigned clients_of(uint16_t port)
{
    unsigned n = 0;
    for (int fd = 0; fd < 256; fd++) {
        struct coil_addr own;
        own.len = sizeof own.u;
        if (getsockname(fd, &own.u.sa, &own.len) == 0)
            n += coil_addr_port(&own) != port;
    }
    return n;
}

struct reuses {
    STAGE;
};

static void reuses(struct coil_coro *co)
{
    ASYNC(reuses, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(2, 0, 0);
        for (; my->i < 50; my->i++)
            AWAIT(GET("/x"));
        CHECK_INT(my->origin.accepted, 1);
        CHECK_INT(my->origin.served, 50);

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

TEST(pool_uses_a_connection_again_and_again)
{
    CHECK_INT(RUN(reuses), 0);
}

struct many {
    STAGE;
    unsigned limit;
    struct coil_task *tasks[200];
    struct fetch *f;
};

static void many(struct coil_coro *co)
{
    ASYNC(many, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(my->limit, 0, 0);
        for (int i = 0; i < 200; i++) {
            my->tasks[i] = SPAWN(fetch, .session = my->session);
            my->f = coil_task_frame(my->tasks[i]);
            snprintf(my->f->url, sizeof my->f->url, "%s/delay/%d/%d",
                     my->origin.url, i % 3, i);
            my->f->request.url = my->f->url;
        }
        AWAIT(coil_gather(my->tasks, 200));
        CHECK_INT(my->origin.requests, 200);
        CHECK(my->origin.most_busy <= my->limit);
        CHECK(my->origin.most_open <= my->limit);
        CHECK_INT(my->origin.accepted, my->limit);
        if (my->limit == 1) {
            char *at = my->origin.order;
            for (int i = 0; i < 200; i++)
                CHECK_INT(strtol(at, &at, 10), i);
        }

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

// Counted by the server. 199 wait for the first one: in their order.
TEST(pool_never_exceeds_its_limit_and_serves_in_order)
{
    CHECK_INT(RUN(many, .limit = 1), 0);
    CHECK_INT(RUN(many, .limit = 7), 0);
    CHECK_INT(RUN(many, .limit = 100), 0);
}

/* ---- Several hosts ---------------------------------------------------- */

struct two_hosts {
    STAGE;
    struct coil_task *stuck[3];
    char url[64];
};

static void two_hosts(struct coil_coro *co)
{
    ASYNC(two_hosts, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(3, 1, 0);
        snprintf(my->url, sizeof my->url, "http://localhost:%u/",
                 my->origin.port);
        for (int i = 0; i < 3; i++)
            my->stuck[i] = SPAWN(fetch, .session = my->session,
                                 .request = { .url = origin_url(&my->origin,
                                                                "/hang") });
        while (my->origin.requests == 0)
            AWAIT(coil_sleep(COIL_MS(1)));
        CHECK_INT(my->origin.open, 1);
        for (; my->i < 5; my->i++)
            AWAIT(CALL(
                fetch, .session = my->session,
                .request = { .url = my->url, .timeouts.pool_ns = COIL_MS(1) }));
        CHECK_INT(my->origin.accepted, 2);

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

TEST(pool_a_full_host_holds_up_no_other)
{
    CHECK_INT(RUN(two_hosts), 0);
}

struct evicts {
    STAGE;
    char url[64];
};

static void evicts(struct coil_coro *co)
{
    ASYNC(evicts, my) {
        CHECK_INT(origin_open_at(&my->origin, "0.0.0.0", routes), 0);
        my->session = session_of(4, 0, 0);
        for (; my->i < 200; my->i++) {
            snprintf(my->url, sizeof my->url, "http://127.0.0.%d:%u/",
                     my->i % 100 + 1, my->origin.port);
            AWAIT(CALL(
                fetch, .session = my->session,
                .request = { .url = my->url, .timeouts.pool_ns = COIL_MS(1) }));
        }
        CHECK_INT(my->origin.accepted, 200);
        while (my->origin.open > 4)
            AWAIT(coil_sleep(COIL_MS(1)));
        CHECK_INT(my->origin.open, 4);

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

// Nobody waits for a connection that only idles.
TEST(pool_closes_the_longest_idle_for_another_host)
{
    CHECK_INT(RUN(evicts), 0);
}

/* ---- Idle ones -------------------------------------------------------- */

struct idles {
    STAGE;
};

static void idles(struct coil_coro *co)
{
    ASYNC(idles, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(0, 0, COIL_MS(100));
        AWAIT(GET("/1"));
        AWAIT(GET("/2"));
        CHECK_INT(my->origin.open, 1);
        while (my->origin.open > 0)
            AWAIT(coil_sleep(COIL_MS(1)));
        AWAIT(GET("/3"));
        CHECK_INT(my->origin.accepted, 2);

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

TEST(pool_closes_what_is_idle_for_too_long)
{
    CHECK_INT(RUN(idles), 0);
}

struct overslept {
    STAGE;
};

static void overslept(struct coil_coro *co)
{
    ASYNC(overslept, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(1, 0, COIL_MS(20));
        AWAIT(GET("/one"));
        int64_t until = coil_now() + COIL_MS(20);
        while (coil_now() < until)
            ; /* no pass is made, and no timer expires */
        AWAIT(GET("/two"));
        CHECK_INT(my->origin.accepted, 2);

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

// The server may have closed it, too, and its end be still under way.
TEST(pool_uses_no_connection_whose_time_is_over)
{
    CHECK_INT(RUN(overslept), 0);
}

struct told {
    STAGE;
};

static void told(struct coil_coro *co)
{
    ASYNC(told, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(1, 0, COIL_NEVER);
        AWAIT(GET("/long"));
        AWAIT(GET("/second"));
        CHECK_INT(my->origin.accepted, 1);
        while (clients_of(my->origin.port) > 0)
            AWAIT(coil_sleep(COIL_MS(10)));
        AWAIT(GET("/none"));
        AWAIT(coil_sleep(COIL_MS(1)));
        AWAIT(GET("/none"));
        CHECK_INT(my->origin.accepted, 3);

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

// Else a request is on its way when the server closes.
TEST(pool_keeps_a_connection_no_longer_than_the_server_says)
{
    CHECK_INT(RUN(told), 0);
}

struct not_kept {
    STAGE;
    struct coil_task *tasks[2];
};

static void not_kept(struct coil_coro *co)
{
    ASYNC(not_kept, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(1, 0, 0);
        for (; my->i < 2; my->i++)
            my->tasks[my->i] = SPAWN(
                fetch, .session = my->session,
                .request = { .url = origin_url(&my->origin, "/none") });
        AWAIT(coil_gather(my->tasks, 2));
        CHECK_INT(my->origin.accepted, 2);

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

// Not even a request that waits for it gets it: the server closes at once.
TEST(pool_keeps_no_connection_that_the_server_keeps_for_no_time)
{
    CHECK_INT(RUN(not_kept), 0);
}

struct discards {
    STAGE;
    const char *path;
};

static void discards(struct coil_coro *co)
{
    ASYNC(discards, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(1, 0, 0);
        AWAIT(GET(my->path));
        AWAIT(CALL(origin_settle, .origin = &my->origin));
        AWAIT(GET("/more"));
        /* Not sent twice: it was known before that the connection is bad. */
        CHECK_INT(my->origin.requests, 2);
        CHECK_INT(my->origin.accepted, 2);

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

// What a server says unasked would be taken for the answer to the next request.
TEST(pool_discards_connections_that_were_closed_or_talked)
{
    CHECK_INT(RUN(discards, .path = "/leaves"), 0);
    CHECK_INT(RUN(discards, .path = "/chatty"), 0);
}

/* The server is this coroutine: what it does and when is exact. */
struct handed_on {
    STAGE;
    struct coil_task *first, *second;
    int listener, fds[2];
    char url[64];
};

static int listen_here(char url[64])
{
    struct coil_addr addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    CHECK_INT(coil_addr_from_ip(&addr, "127.0.0.1", 0), 0);
    CHECK_INT(bind(fd, &addr.u.sa, addr.len), 0);
    CHECK_INT(listen(fd, 5), 0);
    CHECK_INT(coil_addr_local(&addr, fd), 0);
    snprintf(url, 64, "http://127.0.0.1:%u/", coil_addr_port(&addr));
    return fd;
}

/* The next connection gets its answer, whatever it asks. */
struct answer_here {
    struct coil_coro coro;
    int listener, fd;
    const char *text;
};

static void answer_here(struct coil_coro *co)
{
    ASYNC(answer_here, my) {
        while ((my->fd = accept(my->listener, NULL, NULL)) < 0)
            AWAIT(coil_sleep(COIL_US(100)));
        CHECK_INT(send(my->fd, my->text, strlen(my->text), MSG_NOSIGNAL),
                  strlen(my->text));
        RETURN(my->fd);
    }
}

static void handed_on(struct coil_coro *co)
{
    ASYNC(handed_on, my) {
        my->listener = listen_here(my->url);
        my->session = session_of(1, 0, 0);
        my->first = coil_spawn(coil_http_get(my->session, my->url));
        AWAIT_TO(my->fds[0], CALL(answer_here, .listener = my->listener,
                                  .text = "HTTP/1.1 200 OK\r\n"
                                          "Content-Length: 1\r\n\r\n."));
        AWAIT_TO(my->response, my->first);
        AWAIT_TO(my->n, coil_http_response_next(my->response));
        my->second = SPAWN(fetch, .session = my->session,
                           .request = { .url = my->url, .method = "POST" });
        AWAIT(coil_sleep(0));
        AWAIT(coil_sleep(0));
        coil_http_response_free(my->response);
        my->response = NULL;
        shutdown(my->fds[0], SHUT_WR);
        AWAIT_TO(my->fds[1], CALL(answer_here, .listener = my->listener,
                                  .text = "HTTP/1.1 204 Done\r\n\r\n"));
        AWAIT(my->second);

    FINALLY;
        CLEAN_UP;
        close(my->fds[0]);
        close(my->fds[1]);
        close(my->listener);
    }
}

// Between being handed a connection and using it there is a pass. An end that
// comes in it must not cost a request that cannot be repeated.
TEST(pool_looks_again_at_a_connection_that_was_handed_on)
{
    CHECK_INT(RUN(handed_on), 0);
}

/* What the server does while the client's thread is busy. */
enum late { TALKS, ENDS, RESETS };

struct busy {
    STAGE;
    enum late late;
    struct coil_task *server;
    int listener, fd, round;
    char url[64];
};

static void be_late(struct busy *my)
{
    static const char evil[] = "HTTP/1.1 201 Evil\r\nContent-Length: 0\r\n\r\n";
    struct linger none = { .l_onoff = 1 };
    if (my->late == TALKS)
        CHECK_INT(send(my->fd, evil, strlen(evil), MSG_NOSIGNAL), strlen(evil));
    if (my->late == ENDS)
        shutdown(my->fd, SHUT_WR);
    if (my->late == RESETS) {
        char request[512];
        CHECK(recv(my->fd, request, sizeof request, 0) > 0);
        setsockopt(my->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        close(my->fd);
        my->fd = -1;
    }
}

/* From be_late() to the request the loop makes no pass. */
static void busy(struct coil_coro *co)
{
    ASYNC(busy, my) {
        my->fd = -1;
        my->listener = listen_here(my->url);
        my->session = session_of(1, 0, 0);
        for (; my->round < 100; my->round++) {
            if (my->fd >= 0)
                be_late(my);
            my->i = my->fd;
            my->server = SPAWN(answer_here, .listener = my->listener,
                               .text = "HTTP/1.1 200 Good\r\n"
                                       "Content-Length: 0\r\n\r\n");
            AWAIT_TO(my->n,
                     CALL(fetch, .session = my->session,
                          .request = { .url = my->url, .method = "POST" }));
            CHECK_INT(my->n, 200);
            AWAIT_TO(my->fd, my->server);
            coil_task_drop(&my->server);
            if (my->i >= 0)
                close(my->i);
            my->i = -1;
        }

    FINALLY;
        CLEAN_UP;
        if (my->i >= 0)
            close(my->i);
        if (my->fd >= 0)
            close(my->fd);
        close(my->listener);
    }
}

// The loop has not run, but the kernel has it: a late byte would be the answer
// to the next request, and an end would cost a request that is sent only once.
TEST(pool_knows_what_has_come_while_the_thread_was_busy)
{
    CHECK_INT(RUN(busy, .late = TALKS), 0);
    CHECK_INT(RUN(busy, .late = ENDS), 0);
    CHECK_INT(RUN(busy, .late = RESETS), 0);
}

/* ---- Descriptors ------------------------------------------------------ */

struct churn {
    STAGE;
    struct coil_task *tasks[8];
    unsigned round, most;
};

/* Cancelled after so many passes, and at once there are others. */
static void churn(struct coil_coro *co)
{
    ASYNC(churn, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(4, 0, 0);
        for (; my->round < 40; my->round++) {
            for (my->i = 0; my->i < 8; my->i++)
                my->tasks[my->i] = SPAWN(
                    fetch, .session = my->session,
                    .request = { .url = origin_url(&my->origin, "/hang") });
            for (my->n = 0; my->n < my->round / 2; my->n++) {
                AWAIT(coil_sleep(0));
                if (my->most < clients_of(my->origin.port))
                    my->most = clients_of(my->origin.port);
            }
            for (my->i = 0; my->i < 8; my->i++) {
                coil_task_cancel(my->tasks[my->i]);
                coil_task_drop(&my->tasks[my->i]);
            }
        }
        CHECK_INT(my->most, 4);

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

// The slot of a connection that is closed serves the next one when its
// descriptor is closed, not before.
TEST(pool_has_no_more_descriptors_than_slots)
{
    CHECK_INT(RUN(churn), 0);
}

struct deserted {
    STAGE;
    struct coil_task *tasks[60];
};

static void deserted(struct coil_coro *co)
{
    ASYNC(deserted, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(60, 0, 0);
        for (my->i = 0; my->i < 60; my->i++)
            my->tasks[my->i] = SPAWN(
                fetch, .session = my->session,
                .request = { .url = origin_url(&my->origin, "/leaves") });
        AWAIT(coil_gather(my->tasks, 60));
        AWAIT(CALL(origin_settle, .origin = &my->origin));
        CHECK_INT(clients_of(my->origin.port), 0);
        CHECK_INT(my->origin.open, 0);

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

// The server has closed them, and no request comes that would find out.
TEST(pool_closes_idle_connections_when_their_end_arrives)
{
    CHECK_INT(RUN(deserted), 0);
}

struct blank_line {
    STAGE;
};

static void blank_line(struct coil_coro *co)
{
    ASYNC(blank_line, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(1, 0, 0);
        for (; my->i < 3; my->i++) {
            AWAIT(GET("/blank-line"));
            AWAIT(CALL(origin_settle, .origin = &my->origin));
            AWAIT(GET("/after-blank-line"));
            AWAIT(GET("/blank-line-at-once"));
        }
        CHECK_INT(my->origin.accepted, 1);

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

// Behind a body, as some servers send it. It comes with the body, while the
// connection is idle, or in front of the next answer.
TEST(pool_skips_a_blank_line_behind_an_answer)
{
    CHECK_INT(RUN(blank_line), 0);
}

/* ---- Shortage --------------------------------------------------------- */

/* A server in a process of its own, with its own descriptors. */
struct elsewhere {
    struct coil_coro coro;
    struct origin origin;
    int up, down; /* the port goes up; the end comes down */
    char byte;
};

static void elsewhere(struct coil_coro *co)
{
    ASYNC(elsewhere, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        CHECK_INT(write(my->up, my->origin.url, sizeof my->origin.url),
                  sizeof my->origin.url);
        AWAIT(coil_read(my->down, &my->byte, 1));

    FINALLY;
        AWAIT(origin_close(&my->origin));
    }
}

struct server {
    pid_t pid;
    int down;
    char url[64];
};

static struct server serve_elsewhere(void)
{
    struct server s;
    int up[2], down[2];
    CHECK_INT(pipe(up), 0);
    CHECK_INT(pipe(down), 0);
    s.pid = fork();
    if (s.pid == 0) {
        close(up[0]);
        close(down[1]);
        _exit(RUN(elsewhere, .up = up[1], .down = down[0]) != 0);
    }
    close(up[1]);
    close(down[0]);
    s.down = down[1];
    CHECK_INT(read(up[0], s.url, sizeof s.url), sizeof s.url);
    close(up[0]);
    return s;
}

static void end_server(struct server *s)
{
    int status;
    close(s->down);
    CHECK_INT(waitpid(s->pid, &status, 0), s->pid);
    CHECK_INT(status, 0);
}

enum { HUNDRED = 100 };

struct hundred {
    STAGE;
    const char *url, *method;
    size_t body_n;
    struct coil_task *tasks[HUNDRED];
    int round;
};

/* 100 at once, five times: new connections and kept ones. */
static void hundred(struct coil_coro *co)
{
    static char body[40000];
    ASYNC(hundred, my) {
        my->session = session_of(HUNDRED, 0, 0);
        for (; my->round < 5; my->round++) {
            for (my->i = 0; my->i < HUNDRED; my->i++) {
                my->tasks[my->i] = SPAWN(fetch, .session = my->session);
                struct fetch *f = coil_task_frame(my->tasks[my->i]);
                snprintf(f->url, sizeof f->url, "%s/delay/%d/x", my->url,
                         my->i % 3);
                f->request = (struct coil_http_request){
                    .url = f->url,
                    .method = my->method,
                    .body = my->body_n ? body : NULL,
                    .body_size = my->body_n,
                };
            }
            AWAIT(coil_gather(my->tasks, HUNDRED));
            for (my->i = 0; my->i < HUNDRED; my->i++)
                coil_task_drop(&my->tasks[my->i]);
        }

    FINALLY;
        CLEAN_UP;
    }
}

static void limit_descriptors(rlim_t n)
{
    struct rlimit limit;
    CHECK_INT(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = n;
    CHECK_INT(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static rlim_t lowest_free(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    close(fd);
    return (rlim_t)fd;
}

// As under `ulimit -n 64`: fewer connections, and every request is answered.
TEST(pool_makes_do_with_the_descriptors_that_there_are)
{
    struct server s = serve_elsewhere();
    limit_descriptors(40);
    CHECK_INT(RUN(hundred, .url = s.url), 0);
    CHECK_INT(RUN(hundred, .url = s.url, .method = "POST"), 0);
    end_server(&s);
}

struct elsewhere_idle {
    STAGE;
    const char *first, *second;
};

/* The only connection that is possible is idle, and of another server. */
static void elsewhere_idle(struct coil_coro *co)
{
    ASYNC(elsewhere_idle, my) {
        my->session = session_of(HUNDRED, 0, COIL_NEVER);
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->first }));
        limit_descriptors(lowest_free());
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->second,
                                .timeouts.pool_ns = COIL_SECONDS(5) }));

    FINALLY;
        CLEAN_UP;
    }
}

// The waiter that there is no descriptor for gets that of an idle connection.
TEST(pool_closes_an_idle_connection_when_descriptors_are_short)
{
    struct server a = serve_elsewhere(), b = serve_elsewhere();
    CHECK_INT(RUN(elsewhere_idle, .first = a.url, .second = b.url), 0);
    end_server(&b); /* it has inherited the pipe of the other one */
    end_server(&a);
}

struct one_closing {
    STAGE;
    const char *url;
    struct coil_http_response *other;
};

/* Two slots: one is empty, and the connection of the other is being closed. */
static void one_closing(struct coil_coro *co)
{
    ASYNC(one_closing, my) {
        char url[96];
        snprintf(url, sizeof url, "%s/first", my->url);
        my->session = session_of(HUNDRED, 0, 0);
        AWAIT_TO(my->response, coil_http_get(my->session, url));
        snprintf(url, sizeof url, "%s/first", my->url);
        AWAIT_TO(my->other, coil_http_get(my->session, url));
        coil_http_response_free(my->other);
        my->other = NULL;
        for (; my->i < 100; my->i++)
            AWAIT(coil_sleep(0));
        limit_descriptors(lowest_free());
        coil_http_response_free(my->response);
        my->response = NULL;
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->url,
                                .timeouts.pool_ns = COIL_SECONDS(5) }));

    FINALLY;
        coil_http_response_free(my->other);
        CLEAN_UP;
    }
}

// The request that finds no descriptor gets the one that becomes free.
TEST(pool_waits_for_the_descriptor_of_a_connection_that_is_being_closed)
{
    struct server s = serve_elsewhere();
    CHECK_INT(RUN(one_closing, .url = s.url), 0);
    end_server(&s);
}

TEST(pool_makes_do_with_the_operations_that_there_are)
{
    struct server s = serve_elsewhere();
    struct coil_loop_options o = COIL_LOOP_OPTIONS_INIT;
    o.operations_limit = 16;
    CHECK_INT(RUN_WITH(&o, hundred, .url = s.url), 0);
    CHECK_INT(RUN_WITH(&o, hundred, .url = s.url, .method = "POST"), 0);
    CHECK_INT(
        RUN_WITH(&o, hundred, .url = s.url, .method = "POST", .body_n = 40000),
        0);
    end_server(&s);
}

/* ---- No slot is lost -------------------------------------------------- */

struct waits {
    STAGE;
    struct coil_task *first, *second, *third;
};

/* The await tree says this of somebody. */
static bool is_dumped(const char *words)
{
    char text[8192];
    int fds[2];
    CHECK_INT(pipe(fds), 0);
    coil_dump(fds[1]);
    close(fds[1]);
    ssize_t n = read(fds[0], text, sizeof text - 1);
    close(fds[0]);
    text[n > 0 ? n : 0] = '\0';
    return strstr(text, words);
}

static void waits(struct coil_coro *co)
{
    ASYNC(waits, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(1, 0, 0);
        my->first = SPAWN(fetch, .session = my->session,
                          .request = { .url = origin_url(&my->origin,
                                                         "/hang") });
        AWAIT(coil_sleep(COIL_MS(5)));
        TRY_AWAIT(my->err, GET("/late"));
        CHECK_ERR(my->err, -ETIMEDOUT, COIL_PHASE_POOL);
        CHECK_STR(explained(my->err), "pool: Timed out: pool_ns has passed");
        my->second = SPAWN(fetch, .session = my->session,
                           .request = { .url = "http://nobody.invalid:81/" });
        AWAIT(coil_sleep(0));
        AWAIT(coil_sleep(0));
        CHECK(is_dumped("connection to nobody.invalid:81"));
        coil_task_cancel(my->second);
        TRY_AWAIT(my->err,
                  CALL(fetch, .session = my->session,
                       .request = { .url = my->origin.url,
                                    .timeouts.total_ns = COIL_MS(1) }));
        CHECK_ERR(my->err, -ETIMEDOUT, COIL_PHASE_POOL);
        CHECK_STR(explained(my->err), "pool: Timed out: total_ns has passed");
        coil_task_cancel(my->first);
        AWAIT(CALL(fetch, .session = my->session,
                   .request = { .url = my->origin.url }));
        CHECK_INT(my->origin.requests, 2);

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

TEST(pool_time_out_is_told_from_all_others)
{
    CHECK_INT(RUN(waits), 0);
}

struct granted {
    STAGE;
    bool read;
    struct coil_task *second, *third;
};

static void granted(struct coil_coro *co)
{
    ASYNC(granted, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(1, 0, 0);
        AWAIT_TO(my->response,
                 coil_http_get(my->session,
                               origin_url(&my->origin,
                                          my->read ? "/x/first" : "/first")));
        if (my->read)
            AWAIT(coil_http_response_next(my->response));
        my->second = SPAWN(fetch, .session = my->session,
                           .request = { .url = origin_url(&my->origin,
                                                          "/second") });
        my->third = SPAWN(fetch, .session = my->session,
                          .request = { .url = origin_url(&my->origin,
                                                         "/third") });
        AWAIT(coil_sleep(0));
        AWAIT(coil_sleep(0));
        /* Granted, then cancelled before it ran. */
        coil_http_response_free(my->response);
        my->response = NULL;
        coil_task_cancel(my->second);
        AWAIT(my->third);
        TRY_AWAIT(my->err, my->second);
        CHECK_INT(my->err, -ECANCELED);
        CHECK_STR(my->origin.order, "first third");
        CHECK_INT(my->origin.accepted, my->read ? 1 : 2);

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

// The bug that aiohttp, httpx and httpcore have all shipped.
TEST(pool_a_slot_granted_to_a_cancelled_request_goes_to_the_next)
{
    CHECK_INT(RUN(granted), 0);
}

// Nothing was sent over it.
TEST(pool_a_connection_granted_to_a_cancelled_request_goes_to_the_next)
{
    CHECK_INT(RUN(granted, .read = true), 0);
}

struct failures {
    STAGE;
    struct coil_task *task;
    int round;
};

static const char *const failing[] = { "/garbage", "/reset", "/close",
                                       "/short",   "/hang",  NULL };

/* After each failure the only slot must be there for the next request. */
static void failures(struct coil_coro *co)
{
    ASYNC(failures, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(1, 0, 0);
        for (my->round = 0; my->round < 3; my->round++)
            for (my->i = 0; failing[my->i]; my->i++) {
                TRY_AWAIT(
                    my->err,
                    CALL(fetch, .session = my->session,
                         .request = {
                             .url = origin_url(&my->origin, failing[my->i]),
                             .timeouts.total_ns = COIL_MS(20) }));
                CHECK(my->err < 0);
                AWAIT(GET("/good"));
            }
        TRY_AWAIT(my->err, CALL(fetch, .session = my->session,
                                .request = { .url = "http://127.0.0.1:1/" }));
        CHECK_INT(my->err, -ECONNREFUSED);
        TRY_AWAIT(my->err,
                  CALL(fetch, .session = my->session,
                       .request = { .url = "http://no-such.invalid/" }));
        CHECK_INT(my->err, COIL_ERESOLVE);
        AWAIT(GET("/good"));

        /* Cancelled after so many passes: connecting, sending, receiving. */
        for (my->round = 0; my->round < 40; my->round++) {
            my->task = SPAWN(fetch, .session = my->session,
                             .request = { .url = origin_url(&my->origin,
                                                            "/delay/1/x") });
            for (my->i = 0; my->i < my->round; my->i++)
                AWAIT(coil_sleep(0));
            coil_task_cancel(my->task);
            TRY_AWAIT(my->err, my->task);
            coil_task_drop(&my->task);
            if (my->round % 3 == 0) /* on a connection not used before, too */
                TRY_AWAIT(my->err, GET("/close"));
            AWAIT(GET("/good"));
        }

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

TEST(pool_loses_no_slot_whatever_goes_wrong)
{
    CHECK_INT(RUN(failures), 0);
}

struct holds {
    STAGE;
};

static void holds(struct coil_coro *co)
{
    ASYNC(holds, my) {
        CHECK_INT(origin_open(&my->origin, routes), 0);
        my->session = session_of(1, 0, 0);
        AWAIT_TO(my->response, coil_http_get(my->session, my->origin.url));
        AWAIT(coil_http_response_read(my->response));
        AWAIT(GET("/while-it-is-held"));
        CHECK_STR(coil_http_response_body(my->response), "/");
        CHECK_INT(my->origin.accepted, 1);

    FINALLY;
        CLEAN_UP;
        AWAIT(origin_close(&my->origin));
    }
}

TEST(pool_a_response_that_was_read_holds_no_connection)
{
    CHECK_INT(RUN(holds), 0);
}
