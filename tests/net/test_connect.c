// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_connect.c: streams to other programs. A connect that fails, is cancelled
 * or whose stream is not taken leaves nothing, and coil_open_connection()
 * says in which phase it failed.
 *
 * getaddrinfo() and freeaddrinfo() are this file's own: they give the addresses
 * that a test names, or fail or block as it says.
 */
#include "gate.h"
#include "peer.h"

#include <netdb.h>
#include <poll.h>

#include <coil/connect.h>
#include <coil/error.h>
#include <coil/listen.h>
#include <sched.h>
#include <stdio.h>

/* ---- An address ------------------------------------------------------- */

struct connects {
    struct coil_coro coro;
    struct coil_addr addr;
    struct coil_stream *stream;
    bool forgets;
};

static void connects(struct coil_coro *co)
{
    ASYNC(connects, my) {
        if (my->forgets)
            AWAIT(coil_stream_connect(&my->addr));
        else
            AWAIT_TO(my->stream, coil_stream_connect(&my->addr));
    }
}

static struct coil_addr addr_of(const struct sockaddr_in *in4)
{
    struct coil_addr addr = { .len = sizeof *in4 };
    addr.u.in = *in4;
    return addr;
}

TEST(connect_gives_a_stream_without_delay)
{
    stage_open();
    struct sockaddr_in where;
    int listener = tcp_listen(&where, 4);
    struct coil_task *t = SPAWN(connects, .addr = addr_of(&where));
    CHECK_INT(stage_run(t), 0);
    struct coil_stream *s = ((struct connects *)coil_task_frame(t))->stream;
    int on = 0, fd = coil_stream_fd(s);
    socklen_t len = sizeof on;
    CHECK_INT(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    CHECK(on);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    struct coil_addr peer;
    CHECK_INT(coil_addr_peer(&peer, fd), 0);
    CHECK_INT(coil_addr_port(&peer), ntohs(where.sin_port));
    int accepted = accept(listener, NULL, NULL);
    char line[16];
    CHECK_INT(wait_int(coil_stream_write(s, "hello", 5)), 5);
    CHECK_INT(recv(accepted, line, 16, 0), 5);
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
    CHECK(!is_open(fd));
    close(accepted);
    close(listener);
    stage_close();
}

// The descriptor is closed: the harness counts.
TEST(connect_that_is_refused_leaves_nothing)
{
    stage_open();
    struct sockaddr_in gone;
    close(tcp_listen(&gone, 1));
    struct coil_task *t = SPAWN(connects, .addr = addr_of(&gone));
    CHECK_INT(stage_run(t), -ECONNREFUSED);
    struct coil_addr odd = { .len = sizeof odd.u.in, .u.sa.sa_family = 1234 };
    CHECK_INT(stage_run(SPAWN(connects, .addr = odd)), -EAFNOSUPPORT);
    stage_close();
}

TEST(connect_closes_a_stream_that_is_not_taken)
{
    stage_open();
    struct sockaddr_in where;
    int listener = tcp_listen(&where, 4);
    struct coil_task *t = SPAWN(connects, .addr = addr_of(&where),
                                .forgets = true);
    CHECK_INT(stage_run(t), 0);
    int fd = accept(listener, NULL, NULL);
    char x;
    CHECK_INT(recv(fd, &x, 1, 0), 0);
    UNTIL(stage_stats().in_flight == 0);
    close(fd);
    close(listener);
    stage_close();
}

// At every pass of it.
TEST(connect_that_is_cancelled_leaves_nothing)
{
    stage_open();
    struct sockaddr_in where;
    int listener = tcp_listen(&where, 64);
    for (int passes = 0; passes < 6; passes++) {
        struct coil_task *t = SPAWN(connects, .addr = addr_of(&where));
        stage_passes(passes);
        coil_task_cancel(t);
        int err = stage_run(t);
        struct coil_stream *s = ((struct connects *)coil_task_frame(t))->stream;
        CHECK(err == -ECANCELED || (err == 0 && s));
        coil_stream_close_soon(s);
    }
    UNTIL(stage_stats().in_flight == 0);
    close(listener);
    stage_close();
}

TEST(connect_that_waits_in_line_is_cancelled)
{
    stage_open();
    char path[64];
    struct coil_addr addr;
    snprintf(path, sizeof path, "/tmp/coil-test-connect-%d", (int)getpid());
    unlink(path);
    CHECK_INT(coil_addr_from_path(&addr, path), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_INT(bind(fd, &addr.u.sa, addr.len), 0);
    CHECK_INT(listen(fd, 0), 0);
    struct coil_task *first = SPAWN(connects, .addr = addr);
    CHECK_INT(stage_run(first), 0);
    struct coil_task *t = SPAWN(connects, .addr = addr);
    stage_passes(10);
    CHECK(!coil_task_done(t));
    coil_task_cancel(t);
    CHECK_INT(stage_run(t), -ECANCELED);
    coil_stream_close_soon(((struct connects *)coil_task_frame(first))->stream);
    UNTIL(stage_stats().in_flight == 0);
    close(fd);
    unlink(path);
    stage_close();
}

// What main() returns and RUN does not ask for is given up only then, and a
// connection takes some passes to be closed.
TEST(connect_closes_the_stream_of_a_task_with_the_loop)
{
    struct sockaddr_in addr;
    struct coil_addr where;
    int listener = tcp_listen(&addr, 4);
    CHECK_INT(coil_addr_from_ip(&where, "127.0.0.1", ntohs(addr.sin_port)), 0);
    stage_open();
    struct coil_task *t = coil_spawn(coil_stream_connect(&where));
    CHECK_INT(stage_run(t), 0);
    int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    stage_close();
    char x;
    CHECK_INT(recv(peer, &x, 1, MSG_DONTWAIT), 0);
    close(peer);
    close(listener);
}

// A network namespace of its own has not even a way to itself.
TEST(connect_without_a_network_says_so)
{
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        SKIP("no network namespace may be made");
    stage_open();
    struct coil_addr addr;
    int err;
    CHECK_INT(coil_addr_from_ip(&addr, "127.0.0.1", 80), 0);
    struct coil_stream *s = task_stream(coil_spawn(coil_stream_connect(&addr)),
                                        &err);
    CHECK(s == NULL);
    CHECK_INT(err, -ENETUNREACH);
    stage_close();
}

TEST(net_connect_and_accept_in_one_loop)
{
    stage_open();
    struct coil_listener *listener;
    struct coil_addr where;
    CHECK_INT(coil_addr_from_ip(&where, "127.0.0.1", 0), 0);
    CHECK_INT(coil_listener_open(&listener, &where, 4), 0);
    coil_listener_addr(listener, &where);
    int a_err, c_err;
    struct coil_task *a = coil_spawn(coil_listener_accept(listener));
    struct coil_task *c = coil_spawn(coil_stream_connect(&where));
    struct coil_stream *server = task_stream(a, &a_err);
    struct coil_stream *ours = task_stream(c, &c_err);
    CHECK_INT(a_err, 0);
    CHECK_INT(c_err, 0);
    static char buf[8];
    CHECK_INT(wait_int(coil_stream_write(ours, "hello", 5)), 5);
    CHECK_INT(wait_int(coil_stream_read(server, buf, 8)), 5);
    CHECK_MEM(buf, "hello", 5);
    CHECK_INT(wait_int(coil_stream_close(ours)), 0);
    CHECK_INT(wait_int(coil_stream_read(server, buf, 8)), 0);
    CHECK_INT(wait_int(coil_stream_close(server)), 0);
    CHECK_INT(wait_int(coil_listener_close(listener)), 0);
    stage_close();
}

/* ---- The names there are ---------------------------------------------- */

static struct {
    const char *ips[4]; /* the answer */
    int fail_with;      /* EAI_*; 0: the answer */
    char asked[300];
    int threads; /* of the process, without those of lookups */
    struct gate gate;
} names = { .gate = GATE_INIT };

struct made {
    struct addrinfo info;
    struct coil_addr addr;
};

int getaddrinfo(const char *host, const char *port,
                const struct addrinfo *hints, struct addrinfo **out)
{
    (void)port;
    (void)hints;
    snprintf(names.asked, sizeof names.asked, "%s", host);
    gate_pass(&names.gate);
    if (names.fail_with)
        return names.fail_with;
    *out = NULL;
    for (int i = 0; i < 4 && names.ips[i]; i++) {
        struct made *m = calloc(1, sizeof *m);
        if (!m)
            return EAI_MEMORY;
        coil_addr_from_ip(&m->addr, names.ips[i], 0);
        m->info.ai_family = m->addr.u.sa.sa_family;
        m->info.ai_addr = &m->addr.u.sa;
        m->info.ai_addrlen = m->addr.len;
        *out = &m->info;
        out = &m->info.ai_next;
    }
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

/* Before the first lookup of a case: a sanitizer has threads of its own. */
static void count_threads(void)
{
    names.threads = threads_there();
}

static void wait_for_threads(void)
{
    while (threads_there() > names.threads)
        usleep(1000);
}

/* "host" has these addresses from now on; the last ones may be NULL. */
static void host_is(const char *a, const char *b, const char *c)
{
    names.ips[0] = a;
    names.ips[1] = b;
    names.ips[2] = c;
    gate_open(&names.gate, -1);
}

/* ---- To a host -------------------------------------------------------- */

/* An address of loopback with a port of its own, and perhaps a listener. */
struct place {
    struct coil_addr addr;
    uint16_t port;
    int fd;     /* it listens; -1: it has been closed */
    int fds[4]; /* connections that fill its queue */
    int fds_n;
};

static bool place_at(struct place *p, const char *ip, uint16_t port)
{
    *p = (struct place){ .fd = -1 };
    CHECK_INT(coil_addr_from_ip(&p->addr, ip, port), 0);
    p->fd = socket(p->addr.u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->fd < 0 || bind(p->fd, &p->addr.u.sa, p->addr.len) < 0) {
        close(p->fd);
        return false;
    }
    CHECK_INT(coil_addr_local(&p->addr, p->fd), 0);
    p->port = coil_addr_port(&p->addr);
    return true;
}

static void place_close(struct place *p)
{
    for (int i = 0; i < p->fds_n; i++)
        close(p->fds[i]);
    close(p->fd);
}

static void place_listens(struct place *p, const char *ip, uint16_t port)
{
    CHECK(place_at(p, ip, port));
    CHECK_INT(listen(p->fd, 16), 0);
}

/* Bound, but not listening: each connect is refused, and the port is ours. */
static void place_refuses(struct place *p, const char *ip, uint16_t port)
{
    CHECK(place_at(p, ip, port));
}

/* Its queue is full: a connect to it is neither accepted nor refused. */
static void place_is_silent(struct place *p, const char *ip, uint16_t port)
{
    CHECK(place_at(p, ip, port));
    CHECK_INT(listen(p->fd, 0), 0);
    for (p->fds_n = 0; p->fds_n < 4; p->fds_n++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        p->fds[p->fds_n] = fd;
        connect(fd, &p->addr.u.sa, p->addr.len);
    }
    struct pollfd there[4];
    for (int i = 0; i < 4; i++)
        there[i] = (struct pollfd){ .fd = p->fds[i], .events = POLLOUT };
    CHECK(poll(there, 4, -1) > 0); /* the queue has its connection */
}

static struct coil_task *open_task(const char *host, uint16_t port,
                                   const struct coil_connect_options *options)
{
    return coil_spawn(coil_open_connection(host, port, options));
}

/* What the task has failed with: error, phase and code. */
#define CHECK_FAILS(task, err, phase, code) \
    do { \
        struct coil_task *task_ = (task); \
        CHECK_INT(stage_run(task_), (err)); \
        uint32_t detail_ = coil_future_detail(coil_task_future(task_)); \
        CHECK_INT(COIL_DETAIL_PHASE(detail_), (phase)); \
        CHECK_INT(COIL_DETAIL_CODE(detail_), (code)); \
        coil_task_drop(&task_); \
    } while (0)

/* The task has connected to this place. */
static void check_opens(struct coil_task *t, const struct place *p)
{
    int err, on = 0;
    struct coil_stream *s = task_stream(t, &err);
    CHECK_INT(err, 0);
    struct coil_addr peer;
    CHECK_INT(coil_addr_peer(&peer, coil_stream_fd(s)), 0);
    CHECK_INT(peer.len, p->addr.len);
    CHECK_MEM(&peer.u, &p->addr.u, peer.len);
    socklen_t len = sizeof on;
    CHECK_INT(
        getsockopt(coil_stream_fd(s), IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    CHECK(on);
    coil_stream_close_soon(s);
}

TEST(open_connection_to_a_numeric_host_looks_nothing_up)
{
    struct place p;
    count_threads();
    stage_open();
    place_listens(&p, "127.0.0.1", 0);
    check_opens(open_task("127.0.0.1", p.port, NULL), &p);
    CHECK_INT(threads_there(), names.threads);
    CHECK_STR(names.asked, "");
    place_close(&p);
    if (place_at(&p, "::1", 0)) {
        CHECK_INT(listen(p.fd, 4), 0);
        check_opens(open_task("::1", p.port, NULL), &p);
        place_close(&p);
    }
    stage_close();
}

// "localhost" is 127.0.0.1, then ::1.
TEST(open_connection_tries_the_next_address_when_one_refuses)
{
    struct place p;
    if (!place_at(&p, "::1", 0))
        SKIP("no IPv6 on loopback");
    CHECK_INT(listen(p.fd, 4), 0);
    stage_open();
    check_opens(open_task("localhost", p.port, NULL), &p);
    place_close(&p);
    stage_close();
}

TEST(open_connection_asks_for_the_name_and_tries_all_its_addresses)
{
    struct place a, b, c;
    stage_open();
    place_refuses(&a, "127.0.0.1", 0);
    place_refuses(&b, "127.0.0.2", a.port);
    place_listens(&c, "127.0.0.3", a.port);
    host_is("127.0.0.1", "127.0.0.2", "127.0.0.3");
    struct coil_connect_options o = COIL_CONNECT_OPTIONS_INIT;
    check_opens(open_task("host", a.port, &o), &c);
    CHECK_STR(names.asked, "host");
    place_close(&a);
    place_close(&b);
    place_close(&c);
    stage_close();
}

// The caller's string and options may change as soon as the call returns.
TEST(open_connection_copies_its_arguments)
{
    struct place p;
    stage_open();
    place_listens(&p, "127.0.0.1", 0);
    host_is("127.0.0.1", NULL, NULL);
    char host[] = "host.example";
    struct coil_connect_options o = COIL_CONNECT_OPTIONS_INIT;
    struct coil_future *f = coil_open_connection(host, p.port, &o);
    memset(host, 'x', sizeof host - 1);
    o.timeout_ns = -1;
    check_opens(coil_spawn(f), &p);
    CHECK_STR(names.asked, "host.example");
    place_close(&p);
    stage_close();
}

TEST(open_connection_that_all_refuse_says_so)
{
    struct place p;
    stage_open();
    place_refuses(&p, "127.0.0.1", 0);
    CHECK_FAILS(open_task("127.0.0.1", p.port, NULL), -ECONNREFUSED,
                COIL_PHASE_CONNECT, 0);
    CHECK_FAILS(open_task("localhost", p.port, NULL), -ECONNREFUSED,
                COIL_PHASE_CONNECT, 0);
    place_close(&p);
    stage_close();
}

/* Allows the addresses behind the first `*arg` ones. */
static bool allow_later(void *arg, const struct coil_addr *addr)
{
    int *refused = arg;
    CHECK_INT(addr->u.sa.sa_family, AF_INET);
    return --*refused < 0;
}

// A refused address is not connected to, and the next one is asked about.
TEST(open_connection_goes_only_to_addresses_that_are_allowed)
{
    struct place a, b;
    struct coil_connect_options o = COIL_CONNECT_OPTIONS_INIT;
    int refused = 1;
    o.allow = allow_later;
    o.allow_arg = &refused;
    stage_open();
    place_listens(&a, "127.0.0.1", 0);
    place_listens(&b, "127.0.0.2", a.port);
    host_is("127.0.0.1", "127.0.0.2", NULL);
    check_opens(open_task("host", a.port, &o), &b);
    CHECK_INT(refused, -1);
    refused = 2;
    CHECK_FAILS(open_task("host", a.port, &o), -EACCES, COIL_PHASE_CONNECT, 0);
    CHECK_INT(refused, 0);
    place_close(&a);
    place_close(&b);
    stage_close();
}

// Port 0 is no port to connect to, and the kernel says so.
TEST(open_connection_to_port_0_fails_in_the_phase_of_connecting)
{
    stage_open();
    CHECK_FAILS(open_task("127.0.0.1", 0, NULL), -ECONNREFUSED,
                COIL_PHASE_CONNECT, 0);
    stage_close();
}

static struct coil_task *open_limited(uint16_t port, int64_t limit)
{
    struct coil_connect_options o = COIL_CONNECT_OPTIONS_INIT;
    o.attempt_timeout_ns = limit;
    return open_task("host", port, &o);
}

static bool fails_in_connect(struct coil_task *t, int err)
{
    bool same = stage_run(t) == err;
    uint32_t detail = coil_future_detail(coil_task_future(t));
    coil_task_drop(&t);
    return same && COIL_DETAIL_PHASE(detail) == COIL_PHASE_CONNECT;
}

// A group address cannot be connected to: -ENETUNREACH, on any machine. What
// is out of reach says less about the host than one address that answered.
//
// The limit of an attempt ends the silent ones. On a busy machine a lookup or a
// refusal may take longer than the limit: then the case is tried with more. So
// in other cases with a limit.
TEST(open_connection_gives_the_first_error_of_an_address_in_reach)
{
    static const struct {
        const char *a, *b, *c;
        int err;
    } cases[] = {
        { "224.0.0.1", "127.0.0.1", NULL, -ECONNREFUSED },
        { "127.0.0.1", "224.0.0.1", NULL, -ECONNREFUSED },
        { "224.0.0.1", "127.0.0.2", "127.0.0.1", -ETIMEDOUT },
        { "127.0.0.2", "127.0.0.1", NULL, -ETIMEDOUT },
        { "127.0.0.1", "127.0.0.2", NULL, -ECONNREFUSED },
        { "224.0.0.1", "224.0.0.2", NULL, -ENETUNREACH },
    };
    struct place refuses, silent;
    test_timeout(120);
    place_refuses(&refuses, "127.0.0.1", 0);
    place_is_silent(&silent, "127.0.0.2", refuses.port);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_note("case %zu", i);
        stage_open();
        host_is(cases[i].a, cases[i].b, cases[i].c);
        int64_t limit = COIL_MS(30);
        while (
            limit < COIL_SECONDS(5) &&
            !fails_in_connect(open_limited(refuses.port, limit), cases[i].err))
            limit *= 4;
        if (limit >= COIL_SECONDS(5))
            CHECK_FAILS(open_limited(refuses.port, limit), cases[i].err,
                        COIL_PHASE_CONNECT, 0);
        stage_close();
    }
    place_close(&refuses);
    place_close(&silent);
}

// The codes of getaddrinfo() stand in the detail, as from coil_resolve().
TEST(open_connection_to_a_bad_name_says_why)
{
    stage_open();
    char name[300];
    memset(name, 'x', sizeof name);
    name[sizeof name - 1] = '\0';
    CHECK_FAILS(open_task("", 80, NULL), COIL_ERESOLVE, COIL_PHASE_RESOLVE,
                EAI_NONAME);
    CHECK_FAILS(open_task(name, 80, NULL), COIL_ERESOLVE, COIL_PHASE_RESOLVE,
                EAI_NONAME);
    host_is(NULL, NULL, NULL);
    names.fail_with = EAI_AGAIN;
    CHECK_FAILS(open_task("host", 80, NULL), COIL_ERESOLVE, COIL_PHASE_RESOLVE,
                EAI_AGAIN);
    stage_close();
}

/* ---- Time ------------------------------------------------------------- */

/* No answer from the resolver, until forget_name(). */
static struct coil_task *hang_in_lookup(const struct coil_connect_options *o)
{
    struct coil_task *t = open_task("host", 80, o);
    int there = gate_there(&names.gate);
    UNTIL(gate_there(&names.gate) > there || coil_task_done(t));
    return t;
}

static void forget_name(void)
{
    gate_open(&names.gate, -1);
    wait_for_threads();
}

TEST(open_connection_is_late_in_the_phase_of_the_lookup)
{
    static const struct coil_connect_options options[] = {
        { .size = sizeof options[0], .timeout_ns = COIL_MS(30) },
        { .size = sizeof options[0], .attempt_timeout_ns = COIL_MS(30) },
    };
    count_threads();
    for (int i = 0; i < 2; i++) {
        stage_open();
        CHECK_FAILS(hang_in_lookup(&options[i]), -ETIMEDOUT, COIL_PHASE_RESOLVE,
                    0);
        stage_close();
    }
    forget_name();
}

TEST(open_connection_is_late_in_the_phase_of_connecting)
{
    static const struct coil_connect_options options[] = {
        { .size = sizeof options[0], .timeout_ns = COIL_MS(30) },
        { .size = sizeof options[0], .attempt_timeout_ns = COIL_MS(30) },
    };
    struct place p;
    place_is_silent(&p, "127.0.0.1", 0);
    for (int i = 0; i < 2; i++) {
        stage_open();
        CHECK_FAILS(open_task("127.0.0.1", p.port, &options[i]), -ETIMEDOUT,
                    COIL_PHASE_CONNECT, 0);
        stage_close();
    }
    place_close(&p);
}

// An address that does not answer costs its attempt; then the next is tried.
TEST(open_connection_goes_on_after_an_attempt_that_was_late)
{
    struct place silent, p;
    int64_t limit = COIL_MS(30);
    test_timeout(120);
    place_is_silent(&silent, "127.0.0.1", 0);
    place_listens(&p, "127.0.0.2", silent.port);
    stage_open();
    host_is("127.0.0.1", "127.0.0.2", NULL);
    struct coil_task *t = open_limited(p.port, limit);
    while (stage_run(t) < 0 && limit < COIL_SECONDS(5)) {
        coil_task_drop(&t);
        t = open_limited(p.port, limit *= 4);
    }
    check_opens(t, &p);
    place_close(&silent);
    place_close(&p);
    stage_close();
}

// timeout_ns is for all addresses together: the third one is not tried.
TEST(open_connection_has_one_time_out_for_all_addresses)
{
    struct place a, b, c;
    struct coil_connect_options o = COIL_CONNECT_OPTIONS_INIT;
    int64_t limit = COIL_MS(25);
    test_timeout(120);
    place_is_silent(&a, "127.0.0.1", 0);
    place_is_silent(&b, "127.0.0.2", a.port);
    place_listens(&c, "127.0.0.3", a.port);
    stage_open();
    host_is("127.0.0.1", "127.0.0.2", "127.0.0.3");
    do {
        limit *= 4;
        o.timeout_ns = limit + limit / 2;
        o.attempt_timeout_ns = limit;
    } while (limit < COIL_SECONDS(5) &&
             !fails_in_connect(open_task("host", a.port, &o), -ETIMEDOUT));
    if (limit >= COIL_SECONDS(5))
        CHECK_FAILS(open_task("host", a.port, &o), -ETIMEDOUT,
                    COIL_PHASE_CONNECT, 0);
    place_close(&a);
    place_close(&b);
    place_close(&c);
    stage_close();
}

TEST(open_connection_without_any_time_is_late)
{
    struct place p;
    place_is_silent(&p, "127.0.0.1", 0);
    static const struct coil_connect_options whole = { .size = sizeof whole,
                                                       .timeout_ns = -1 };
    static const struct coil_connect_options each = {
        .size = sizeof each, .attempt_timeout_ns = -1
    };
    stage_open();
    CHECK_FAILS(open_task("127.0.0.1", p.port, &whole), -ETIMEDOUT,
                COIL_PHASE_CONNECT, 0);
    CHECK_FAILS(open_task("127.0.0.1", p.port, &each), -ETIMEDOUT,
                COIL_PHASE_RESOLVE, 0);
    place_close(&p);
    stage_close();
}

/* ---- Cancelled -------------------------------------------------------- */

TEST(open_connection_that_is_cancelled_says_in_which_phase)
{
    struct place p;
    place_is_silent(&p, "127.0.0.1", 0);
    count_threads();
    stage_open();
    struct coil_task *t = hang_in_lookup(NULL);
    coil_task_cancel(t);
    CHECK_FAILS(t, -ECANCELED, COIL_PHASE_RESOLVE, COIL_CANCEL_USER);
    t = begin(coil_open_connection("127.0.0.1", p.port, NULL));
    CHECK(!coil_task_done(t));
    coil_task_cancel(t);
    CHECK_FAILS(t, -ECANCELED, COIL_PHASE_CONNECT, COIL_CANCEL_USER);
    t = open_task("127.0.0.1", p.port, NULL);
    coil_task_cancel(t); /* before its first step: in no phase */
    CHECK_FAILS(t, -ECANCELED, COIL_PHASE_NONE, COIL_CANCEL_USER);
    forget_name();
    place_close(&p);
    stage_close();
}

struct within {
    struct coil_coro coro;
    const char *host;
    uint16_t port;
    struct coil_stream *stream;
    int err;
    uint32_t detail;
};

static void within(struct coil_coro *co)
{
    ASYNC(within, my) {
        TRY(my->err) WITHIN(COIL_MS(30)) {
            AWAIT_TO(my->stream,
                     coil_open_connection(my->host, my->port, NULL));
        }
        my->detail = coil_last_detail();
        CHECK_INT(my->err, -ETIMEDOUT);
        RETURN(COIL_DETAIL_PHASE(my->detail));
    }
}

// A deadline of the caller's is a time-out there; the phase is not lost.
TEST(open_connection_in_a_block_that_is_late_says_in_which_phase)
{
    struct place p;
    place_is_silent(&p, "127.0.0.1", 0);
    count_threads();
    stage_open();
    CHECK_INT(wait_int(CALL(within, .host = "127.0.0.1", .port = p.port)),
              COIL_PHASE_CONNECT);
    CHECK_INT(wait_int(CALL(within, .host = "host", .port = p.port)),
              COIL_PHASE_RESOLVE);
    stage_close();
    forget_name();
    place_close(&p);
}

struct opens {
    struct coil_coro coro;
    uint16_t port;
    struct coil_stream *stream;
};

static void opens(struct coil_coro *co)
{
    ASYNC(opens, my) {
        AWAIT_TO(my->stream, coil_open_connection("host", my->port, NULL));
    }
}

// The harness counts descriptors and memory.
TEST(open_connection_that_is_cancelled_at_any_pass_leaves_nothing)
{
    struct place refuses, p;
    place_refuses(&refuses, "127.0.0.1", 0);
    place_listens(&p, "127.0.0.2", refuses.port);
    host_is("127.0.0.1", "127.0.0.2", NULL);
    for (int passes = 0; passes < 14; passes++) {
        stage_open();
        struct coil_task *t = SPAWN(opens, .port = p.port);
        for (int i = 0; i < passes; i++)
            coil_loop_pass(stage_loop, COIL_MS(5));
        coil_task_cancel(t);
        int err = stage_run(t);
        struct coil_stream *s = ((struct opens *)coil_task_frame(t))->stream;
        CHECK(err == -ECANCELED || (err == 0 && s));
        coil_stream_close_soon(s);
        stage_close();
    }
    place_close(&refuses);
    place_close(&p);
}

TEST(open_connection_that_is_dropped_leaves_nothing)
{
    struct place p;
    stage_open();
    place_listens(&p, "127.0.0.1", 0);
    coil_discard(coil_open_connection("127.0.0.1", p.port, NULL));
    stage_passes(3);
    struct coil_task *t = open_task("127.0.0.1", p.port, NULL);
    CHECK_INT(stage_run(t), 0);
    coil_task_drop(&t); /* its stream is not taken: closed */
    int fd = accept(p.fd, NULL, NULL);
    char x;
    UNTIL(stage_stats().in_flight == 0);
    CHECK_INT(recv(fd, &x, 1, 0), 0);
    close(fd);
    place_close(&p);
    stage_close();
}

/* ---- Misuse, and no memory -------------------------------------------- */

DEATH_TEST(open_connection_with_options_of_no_size_aborts,
           "coil_open_connection: options.size is 0: must be 40: "
           "use COIL_CONNECT_OPTIONS_INIT")
{
    stage_open();
    struct coil_connect_options o = { .timeout_ns = 1 };
    coil_discard(coil_open_connection("127.0.0.1", 80, &o));
}

static struct place known;

static int open_once(void)
{
    struct coil_loop *loop;
    int err = coil_loop_new(&loop, stage_options());
    if (err < 0)
        return err;
    stage_loop = loop;
    struct coil_connect_options o = COIL_CONNECT_OPTIONS_INIT;
    o.timeout_ns = COIL_SECONDS(20);
    o.attempt_timeout_ns = COIL_SECONDS(10);
    struct coil_task *t = open_task("host", known.port, &o);
    coil_task_quiet(t);
    struct coil_stream *s = task_stream(t, &err);
    coil_stream_close_soon(s);
    coil_loop_close(loop);
    wait_for_threads();
    return err;
}

TEST(open_connection_survives_every_failed_allocation)
{
    test_timeout(120);
    count_threads();
    place_listens(&known, "127.0.0.1", 0);
    host_is("127.0.0.1", NULL, NULL);
    test_every_allocation(open_once);
    place_close(&known);
}
