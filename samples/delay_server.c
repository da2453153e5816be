// SPDX-License-Identifier: MIT
/*
 * A slow HTTP server, for clients to be tried on. It counts what they do.
 *
 *     ./build/samples/delay_server [PORT [REQUEST-MS]]
 *
 *     GET /delay/N    answers "N ms" after N milliseconds
 *     GET /bytes/N    answers N bytes
 *     GET /redirect/N redirects N times before it answers "0 more"
 *     GET /stats      answers "answered A, at most B at once"
 *
 * Prints "listening on 127.0.0.1:PORT" and serves until SIGTERM or SIGINT. It
 * reads GET and HEAD without a body, keeps connections, answers 4xx to what it
 * does not understand and closes then. A request must have come within
 * REQUEST-MS, 15000 unless told otherwise, of the connection or of the answer
 * before it: 408, or no answer if nothing of it has come.
 */
#define _POSIX_C_SOURCE 200809L

#include <coil.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>

enum { LINE_MAX_BYTES = 4096, LINES_MAX = 100 };

#define DELAY_MAX 3600000     /* an hour */
#define BYTES_MAX 0x40000000L /* 1 GiB */
#define REDIRECTS_MAX 1000

static long answered, in_flight, most; /* /stats itself is not counted */
static char filler[65536];             /* what /bytes is made of */
static int64_t request_ns; /* a whole request must come within this time */

struct request {
    char target[128];
    int status; /* 200, or what to answer instead */
    bool head, keep;
};

/* ---- Reading a request ------------------------------------------------- */

/* "GET /delay/5 HTTP/1.1" */
static void read_first_line(struct request *r, char *line)
{
    char method[8], version[10];
    int end = 0;
    r->status = 400;
    if (sscanf(line, "%7s %127s %9s%n", method, r->target, version, &end) < 3)
        return;
    if (line[end] != '\0' || strncmp(version, "HTTP/1.", 7) != 0)
        return;
    r->head = strcmp(method, "HEAD") == 0;
    r->keep = strcmp(version, "HTTP/1.0") != 0;
    r->status = r->head || strcmp(method, "GET") == 0 ? 200 : 405;
}

/* "Connection: close"; a body would be taken for the next request. */
static void read_header_line(struct request *r, char *line)
{
    char *value = strchr(line, ':');
    if (!value) {
        r->status = 400;
        return;
    }
    *value++ = '\0';
    value += strspn(value, " \t");
    if (strcasecmp(line, "Connection") == 0)
        r->keep = strcasecmp(value, "close") != 0 &&
                  (r->keep || strcasecmp(value, "keep-alive") == 0);
    else if (strcasecmp(line, "Transfer-Encoding") == 0 ||
             (strcasecmp(line, "Content-Length") == 0 && strcmp(value, "0")))
        r->status = 413;
}

/* Returns false when the peer has ended instead. */
struct read_request {
    struct coil_coro coro;
    struct coil_stream *peer;
    struct request *request;
    char line[LINE_MAX_BYTES + 1];
    size_t n;
    int lines, err;
};

static void read_request(struct coil_coro *co)
{
    ASYNC(read_request, my) {
        memset(my->request, 0, sizeof *my->request);
        for (; my->lines <= LINES_MAX; my->lines++) {
            TRY_AWAIT_TO(my->err, my->n,
                         coil_stream_read_until(my->peer, '\n', my->line,
                                                LINE_MAX_BYTES));
            if (my->err == COIL_ELIMIT)
                break;
            if (my->err == COIL_EINCOMPLETE || (my->err == 0 && my->n == 0))
                RETURN(false);
            if (my->err < 0)
                FAIL(my->err);

            my->line[my->n] = '\0';
            size_t len = strcspn(my->line, "\r\n"); /* a NUL ends it too */
            if (len + 2 < my->n)
                my->request->status = 400;
            my->line[len] = '\0';
            if (my->lines == 0)
                read_first_line(my->request, my->line);
            else if (len == 0)
                RETURN(true);
            else if (my->request->status == 200)
                read_header_line(my->request, my->line);
        }
        my->request->status = 431;
        RETURN(true);
    }
}

/* ---- Answering it ------------------------------------------------------ */

/* The number that a target of this form ends with; -1 if it has another. */
static long number_after(const char *prefix, const char *target, long max)
{
    size_t len = strlen(prefix);
    if (strncmp(target, prefix, len) != 0)
        return -1;
    const char *digits = target + len;
    if (*digits == '\0' || digits[strspn(digits, "0123456789")] != '\0')
        return -1;
    errno = 0;
    long n = strtol(digits, NULL, 10);
    return errno == 0 && n <= max ? n : -1;
}

static const char *reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 302:
        return "Found";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    default:
        return "Request Header Fields Too Large";
    }
}

struct answer {
    struct coil_coro coro;
    struct coil_stream *peer;
    struct request *request;
    bool counted;
    char text[256]; /* the head, and a short body behind it */
    size_t text_n;
    long delay, bytes, redirects;
};

static void leave(struct answer *my)
{
    in_flight -= my->counted;
    my->counted = false;
}

/* The head, and the body unless it is filler. */
static void write_text(struct answer *my)
{
    struct request *r = my->request;
    char body[64] = "", location[64] = "";
    if (my->redirects > 0)
        snprintf(location, sizeof location, "Location: /redirect/%ld\r\n",
                 my->redirects - 1);
    if (my->redirects >= 0)
        snprintf(body, sizeof body, "%ld more\n", my->redirects);
    else if (r->status != 200)
        snprintf(body, sizeof body, "%s\n", reason(r->status));
    else if (my->delay >= 0)
        snprintf(body, sizeof body, "%ld ms\n", my->delay);
    else if (my->bytes < 0)
        snprintf(body, sizeof body, "answered %ld, at most %ld at once\n",
                 answered, most);
    long length = my->bytes < 0 ? (long)strlen(body) : my->bytes;
    my->text_n = (size_t)snprintf(
        my->text, sizeof my->text,
        "HTTP/1.1 %d %s\r\n"
        "Content-Type: text/plain\r\n"
        "Content-Length: %ld\r\n"
        "%s%s\r\n%s",
        r->status, reason(r->status), length, location,
        r->keep ? "" : "Connection: close\r\n", r->head ? "" : body);
    if (r->head)
        my->bytes = -1;
}

static void answer(struct coil_coro *co)
{
    ASYNC(answer, my) {
        struct request *r = my->request;
        my->delay = number_after("/delay/", r->target, DELAY_MAX);
        my->bytes = number_after("/bytes/", r->target, BYTES_MAX);
        my->redirects = number_after("/redirect/", r->target, REDIRECTS_MAX);
        bool stats = strcmp(r->target, "/stats") == 0;
        if (r->status == 200 && my->delay < 0 && my->bytes < 0 &&
            my->redirects < 0 && !stats)
            r->status = 404;
        if (r->status != 200) {
            r->keep = r->keep && r->status == 404;
            my->delay = my->bytes = my->redirects = -1;
        }
        if (my->redirects > 0)
            r->status = 302;
        my->counted = !stats;
        in_flight += my->counted;
        if (in_flight > most)
            most = in_flight;

        if (my->delay > 0)
            AWAIT(coil_sleep(COIL_MS(my->delay)));

        /* Not in flight any more: the client may ask again once it has all. */
        write_text(my);
        answered += my->counted;
        if (my->bytes <= 0)
            leave(my);
        AWAIT(coil_stream_write(my->peer, my->text, my->text_n));
        while (my->bytes > 0) {
            size_t n = sizeof filler;
            if (my->bytes <= (long)n) {
                n = (size_t)my->bytes;
                leave(my);
            }
            my->bytes -= (long)n;
            AWAIT(coil_stream_write(my->peer, filler, n));
        }

    FINALLY;
        leave(my);
    }
}

/* ---- Connections ------------------------------------------------------- */

struct client {
    struct coil_coro coro;
    struct coil_stream *peer;
    struct request request;
    bool more;
    size_t n;
    int err;
    union {
        struct read_request read;
        struct answer answer;
    } call;
};

/* True if a part of the request has come that was read last. */
static bool has_begun(const struct client *my)
{
    char *data;
    return my->call.read.lines > 0 || coil_stream_peek(my->peer, &data) > 0;
}

static void client(struct coil_coro *co)
{
    ASYNC(client, my) {
        do {
            /* One deadline for all of the request, however slow its lines. */
            TRY(my->err) WITHIN(request_ns) {
                AWAIT_TO(my->more,
                         CALL_IN(&my->call.read, read_request, .peer = my->peer,
                                 .request = &my->request));
                if (!my->more)
                    RETURN(0); /* the peer has ended */
            }
            if (my->err == -ETIMEDOUT && has_begun(my)) {
                my->request.status = 408;
                my->request.keep = false;
            } else if (my->err < 0) {
                FAIL(my->err);
            }
            AWAIT(CALL_IN(&my->call.answer, answer, .peer = my->peer,
                          .request = &my->request));
        } while (my->request.keep);

        /* To close on unread bytes would reset, and take our answer along. */
        AWAIT(coil_stream_write_eof(my->peer));
        WITHIN(COIL_SECONDS(2)) {
            do {
                char *data;
                my->n = coil_stream_peek(my->peer, &data);
                coil_stream_consume(my->peer, my->n);
                AWAIT_TO(my->n, coil_stream_fill(my->peer, 1));
            } while (my->n > 0);
        }

    FINALLY;
        AWAIT(coil_stream_close(my->peer));
    }
}

struct accept_all {
    struct coil_coro coro;
    struct coil_listener *listener;
    struct coil_stream *peer;
    int err;
};

static void accept_all(struct coil_coro *co)
{
    ASYNC(accept_all, my) {
        for (;;) {
            TRY_AWAIT_TO(my->err, my->peer, coil_listener_accept(my->listener));
            if (my->err < 0)
                fprintf(stderr, "accept: %s\n", coil_strerror(my->err));
            else if (START(client, .peer = my->peer) < 0)
                coil_stream_close_soon(my->peer);
        }
    }
}

struct serve {
    struct coil_coro coro;
    uint16_t port;
    struct coil_listener *listener;
    int err;
};

static void serve(struct coil_coro *co)
{
    ASYNC(serve, my) {
        struct coil_addr addr;
        coil_addr_from_ip(&addr, "127.0.0.1", my->port);
        my->err = coil_listener_open(&my->listener, &addr, 4096);
        if (my->err < 0)
            FAIL(my->err);
        coil_listener_addr(my->listener, &addr);
        printf("listening on 127.0.0.1:%u\n", coil_addr_port(&addr));
        fflush(stdout);

        /* When we are over, so are our children, and theirs. */
        if (START(accept_all, .listener = my->listener) < 0)
            FAIL(-ENOMEM);
        AWAIT(coil_wait_signal(SIGTERM)); /* for SIGINT there is RUN */

    FINALLY;
        if (my->listener)
            AWAIT(coil_listener_close(my->listener));
    }
}

/* Clients that leave, early or late, are no news. */
static void on_exception(const struct coil_exception *what, void *arg)
{
    (void)arg;
    if (what->err != -ECONNRESET && what->err != -EPIPE &&
        what->err != -ENOTCONN && what->err != -ETIMEDOUT)
        fprintf(stderr, "%s: %s\n", what->message, coil_strerror(what->err));
}

int main(int argc, char **argv)
{
    char *end = "", *end_ms = "";
    long port = argc > 1 ? strtol(argv[1], &end, 10) : 0;
    long ms = argc > 2 ? strtol(argv[2], &end_ms, 10) : 15000;
    if (argc > 3 || *end || *end_ms || port < 0 || port > 65535 || ms < 1 ||
        ms > DELAY_MAX) {
        fprintf(stderr, "usage: delay_server [PORT [REQUEST-MS]]\n");
        return 2;
    }
    request_ns = COIL_MS(ms);
    for (size_t i = 0; i < sizeof filler; i++)
        filler[i] = i % 64 == 63 ? '\n' : (char)('0' + i % 64);

    /* As many connections as we may have. */
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }

    struct coil_loop_options options = COIL_LOOP_OPTIONS_INIT;
    options.on_exception = on_exception;
    int err = RUN_WITH(&options, serve, .port = (uint16_t)port);
    if (err < 0 && err != -EINTR)
        fprintf(stderr, "delay_server: %s\n", coil_strerror(err));
    return err < 0 && err != -EINTR;
}
