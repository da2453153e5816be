// SPDX-License-Identifier: MIT
// labels: http
/*
 * test_http_nginx.c: the client against a server that is not ours.
 *
 * Each case starts an nginx of its own in a directory of its own, which takes
 * its listening socket over from us: so the port is the kernel's choice and
 * there is no moment at which nobody listens.
 */
#include "test.h"

#include <coil.h>
#include <coil/http.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NGINX "/usr/sbin/nginx"

/* ---- nginx -------------------------------------------------------------- */

static struct {
    pid_t pid;
    char dir[64];
    char url[64];
} server;

static const char *in_dir(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", server.dir, name);
    return path;
}

static void make_file(const char *name, size_t size)
{
    FILE *f = fopen(in_dir(name), "w");
    CHECK(f);
    for (size_t i = 0; i < size; i++)
        putc('a' + (int)(i % 26), f);
    CHECK_INT(fclose(f), 0);
}

static void write_config(unsigned port, const char *more)
{
    FILE *f = fopen(in_dir("conf"), "w");
    CHECK(f);
    /* Paths are relative to -p, the directory. */
    fprintf(f,
            "daemon off; pid pid; error_log error.log;\n"
            "events { worker_connections 1024; }\n"
            "http {\n"
            "access_log off;\n"
            "client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f;\n"
            "uwsgi_temp_path u; scgi_temp_path s;\n"
            "default_type text/plain;\n"
            "%s\n"
            "server {\n"
            "listen 127.0.0.1:%u;\n"
            "root .;\n"
            "add_header X-Connection $connection always;\n"
            "add_header X-Requests $connection_requests always;\n"
            "} }\n",
            more, port);
    CHECK_INT(fclose(f), 0);
}

static int listen_somewhere(unsigned *port)
{
    struct coil_addr addr;
    CHECK_INT(coil_addr_from_ip(&addr, "127.0.0.1", 0), 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_INT(bind(fd, &addr.u.sa, addr.len), 0);
    CHECK_INT(listen(fd, 512), 0);
    CHECK_INT(coil_addr_local(&addr, fd), 0);
    *port = coil_addr_port(&addr);
    return fd;
}

/* `more` goes into the http block. */
static void nginx_start(const char *more)
{
    unsigned port;
    char inherit[16];
    if (access(NGINX, X_OK) < 0)
        SKIP("nginx is missing (nginx-light)");
    strcpy(server.dir, "/tmp/coil-nginx-XXXXXX");
    CHECK(mkdtemp(server.dir));
    CHECK_INT(chmod(server.dir, 0755), 0); /* its workers are nobody */
    int fd = listen_somewhere(&port);
    write_config(port, more);
    snprintf(server.url, sizeof server.url, "http://127.0.0.1:%u", port);
    snprintf(inherit, sizeof inherit, "%d;", fd);
    server.pid = fork();
    CHECK(server.pid >= 0);
    if (server.pid == 0) {
        setenv("NGINX", inherit, 1);
        int null = open("/dev/null", O_RDWR);
        dup2(null, 2);
        execl(NGINX, NGINX, "-e", "stderr", "-p", server.dir, "-c",
              in_dir("conf"), (char *)NULL);
        _exit(127);
    }
    close(fd);
}

static void nginx_stop(void)
{
    char command[128];
    int status;
    kill(server.pid, SIGTERM);
    CHECK_INT(waitpid(server.pid, &status, 0), server.pid);
    snprintf(command, sizeof command, "rm -r %s", server.dir);
    CHECK_INT(system(command), 0);
}

static const char *at(const char *path)
{
    static char urls[8][128];
    static unsigned next;
    char *url = urls[next++ % 8];
    snprintf(url, sizeof urls[0], "%s%s", server.url, path);
    return url;
}

/* ---- Files -------------------------------------------------------------- */

static const size_t sizes[] = { 0, 1, 1023, 16384, 65537, 3000000 };
#define SIZES (sizeof sizes / sizeof *sizes)

struct files {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_http_response *response;
    size_t n, i, sum;
    char path[32];
};

static bool is_alphabet(const char *text, size_t from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (text[i] != 'a' + (char)((from + i) % 26))
            return false;
    return true;
}

static void files(struct coil_coro *co)
{
    ASYNC(files, my) {
        my->session = coil_http_session_new(NULL);
        for (; my->i < SIZES; my->i++) {
            snprintf(my->path, sizeof my->path, "/%zu", sizes[my->i]);
            AWAIT_TO(my->response, coil_http_get(my->session, at(my->path)));
            CHECK_INT(coil_http_response_status(my->response), 200);
            CHECK_INT(coil_http_response_content_length(my->response),
                      sizes[my->i]);
            AWAIT_TO(my->n, coil_http_response_read(my->response));
            CHECK_INT(my->n, sizes[my->i]);
            CHECK(is_alphabet(coil_http_response_body(my->response), 0, my->n));
            coil_http_response_free(my->response);
            my->response = NULL;

            AWAIT_TO(my->response, coil_http_get(my->session, at(my->path)));
            for (my->sum = 0;; my->sum += my->n) {
                AWAIT_TO(my->n, coil_http_response_next(my->response));
                if (my->n == 0)
                    break;
                CHECK(is_alphabet(coil_http_response_piece(my->response),
                                  my->sum, my->n));
            }
            CHECK_INT(my->sum, sizes[my->i]);
            coil_http_response_free(my->response);
            my->response = NULL;
        }

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
    }
}

TEST(nginx_files_of_every_size_arrive)
{
    char name[32];
    nginx_start("");
    for (size_t i = 0; i < SIZES; i++) {
        snprintf(name, sizeof name, "%zu", sizes[i]);
        make_file(name, sizes[i]);
    }
    CHECK_INT(RUN(files), 0);
    nginx_stop();
}

/* ---- Other answers ------------------------------------------------------ */

/* One request, its answer read whole. The response is the caller's. */
struct ask {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_http_request request;
    struct coil_http_response **response;
};

static void ask(struct coil_coro *co)
{
    ASYNC(ask, my) {
        coil_http_response_free(*my->response);
        *my->response = NULL;
        AWAIT_TO(*my->response, coil_http_send(my->session, &my->request));
        RETURN_AWAIT(coil_http_response_read(*my->response));
    }
}

struct answers {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_http_response *response;
    size_t n;
};

#define ASK(...) \
    AWAIT_TO(my->n, CALL(ask, .session = my->session, \
                         .response = &my->response, \
                         .request = { __VA_ARGS__ }))

static const struct coil_http_header range[] = { { "Range", "bytes=26-51" } };
static const struct coil_http_header gzip[] = { { "Accept-Encoding", "gzip" } };
static const struct coil_http_header since[] = {
    { "If-Modified-Since", "Fri, 01 Jan 2100 00:00:00 GMT" }
};
static char big_body[5000000];

static void answers(struct coil_coro *co)
{
    ASYNC(answers, my) {
        my->session = coil_http_session_new(NULL);
        ASK(.url = at("/file"), .method = "HEAD");
        CHECK_INT(coil_http_response_status(my->response), 200);
        CHECK_INT(coil_http_response_content_length(my->response), 1000);
        CHECK_INT(my->n, 0);

        ASK(.url = at("/none"));
        CHECK_INT(coil_http_response_status(my->response), 404);
        CHECK_STR(coil_http_response_reason(my->response), "Not Found");
        CHECK_INT(my->n, coil_http_response_content_length(my->response));

        ASK(.url = at("/file"), .headers = range, .headers_n = 1);
        CHECK_INT(coil_http_response_status(my->response), 206);
        CHECK_STR(coil_http_response_body(my->response),
                  "abcdefghijklmnopqrstuvwxyz");

        ASK(.url = at("/file"), .headers = since, .headers_n = 1);
        CHECK_INT(coil_http_response_status(my->response), 304);
        CHECK_INT(my->n, 0);

        /* Compressed on the fly, so chunked; taken as it comes. */
        ASK(.url = at("/file"), .headers = gzip, .headers_n = 1);
        CHECK_STR(coil_http_response_header(my->response, "transfer-encoding"),
                  "chunked");
        CHECK_MEM(coil_http_response_body(my->response), "\x1f\x8b", 2);

        ASK(.url = at("/file"), .method = "POST", .body = "x", .body_size = 1);
        CHECK_INT(coil_http_response_status(my->response), 405);
        CHECK_STR(coil_http_response_header(my->response, "x-requests"), "6");

        /* Refused before it is all there. */
        ASK(.url = at("/file"), .method = "POST", .body = big_body,
            .body_size = sizeof big_body);
        CHECK_INT(coil_http_response_status(my->response), 413);
        ASK(.url = at("/file"));
        CHECK_INT(coil_http_response_status(my->response), 200);
        CHECK_STR(coil_http_response_header(my->response, "x-requests"), "1");

    FINALLY;
        coil_http_response_free(my->response);
        AWAIT(coil_http_session_close(my->session));
    }
}

TEST(nginx_answers_of_every_kind_are_understood)
{
    nginx_start("gzip on; gzip_types text/plain; gzip_min_length 10;\n"
                "client_max_body_size 1k; if_modified_since before;");
    make_file("file", 1000);
    CHECK_INT(RUN(answers), 0);
    nginx_stop();
}

/* ---- Connections -------------------------------------------------------- */

struct get {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_http_response *response;
};

/* Gives nginx's number of the connection. */
static void get(struct coil_coro *co)
{
    ASYNC(get, my) {
        AWAIT_TO(my->response, coil_http_get(my->session, at("/file")));
        AWAIT(coil_http_response_read(my->response));
        CHECK_INT(coil_http_response_size(my->response), 1000);
        RETURN(atoi(coil_http_response_header(my->response, "X-Connection")));

    FINALLY;
        coil_http_response_free(my->response);
    }
}

struct series {
    struct coil_coro coro;
    struct coil_http_session *session;
    int64_t pause_ns;
    int requests, connections, number, last, i;
};

static void series(struct coil_coro *co)
{
    ASYNC(series, my) {
        my->session = coil_http_session_new(NULL);
        for (; my->i < my->requests; my->i++) {
            AWAIT_TO(my->number, CALL(get, .session = my->session));
            my->connections += my->number != my->last;
            my->last = my->number;
            if (my->pause_ns)
                AWAIT(coil_sleep(my->pause_ns));
        }
        RETURN(my->connections);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
    }
}

TEST(nginx_keeps_one_connection_for_all_requests)
{
    int connections = 0;
    nginx_start("");
    make_file("file", 1000);
    CHECK_INT(RUN_TO(connections, series, .requests = 300), 0);
    CHECK_INT(connections, 1);
    nginx_stop();
}

// "Connection: close" on every tenth answer.
TEST(nginx_that_limits_requests_per_connection_is_obeyed)
{
    int connections = 0;
    nginx_start("keepalive_requests 10;");
    make_file("file", 1000);
    CHECK_INT(RUN_TO(connections, series, .requests = 100), 0);
    CHECK_INT(connections, 10);
    nginx_stop();
}

// The client asks just when the server closes: before, during and after.
TEST(nginx_closing_idle_connections_is_never_noticed)
{
    nginx_start("keepalive_timeout 20ms;");
    make_file("file", 1000);
    for (int us = 18000; us <= 22000; us += 500) {
        test_note("pause of %d us", us);
        CHECK_INT(RUN(series, .requests = 5, .pause_ns = COIL_US(us)), 0);
    }
    nginx_stop();
}

struct crowd {
    struct coil_coro coro;
    struct coil_http_session *session;
    struct coil_task *tasks[500];
    int i, number, connections;
    bool seen[4096];
};

static void crowd(struct coil_coro *co)
{
    ASYNC(crowd, my) {
        my->session = coil_http_session_new(NULL);
        for (int i = 0; i < 500; i++)
            my->tasks[i] = SPAWN(get, .session = my->session);
        AWAIT(coil_gather(my->tasks, 500));
        for (; my->i < 500; my->i++) {
            AWAIT_TO(my->number, my->tasks[my->i]);
            CHECK(my->number < 4096);
            my->connections += !my->seen[my->number];
            my->seen[my->number] = true;
        }
        RETURN(my->connections);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
    }
}

TEST(nginx_500_requests_share_100_connections)
{
    int connections = 0;
    nginx_start("");
    make_file("file", 1000);
    CHECK_INT(RUN_TO(connections, crowd), 0);
    CHECK(connections <= 100);
    nginx_stop();
}
