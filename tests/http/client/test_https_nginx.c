// SPDX-License-Identifier: MIT
// labels: http
/*
 * test_https_nginx.c: the client over TLS, against a server that is not ours.
 *
 * nginx takes its listening socket over from us, as in test_http_nginx.c.
 */
#include "origin.h"

#include "tls/tls_kit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NGINX "/usr/sbin/nginx"

enum { BYTES = 300000 };

static struct {
    pid_t pid;
    unsigned port;
    char dir[64], url[64];
} server;

static const char *in_dir(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", server.dir, name);
    return path;
}

static FILE *create(const char *name)
{
    FILE *f = fopen(in_dir(name), "w");
    CHECK(f);
    return f;
}

static void write_files(const char *more)
{
    FILE *f = create("page");
    for (int i = 0; i < BYTES; i++)
        putc('a' + i % 26, f);
    CHECK_INT(fclose(f), 0);
    f = create("pem");
    fputs(kit.a.text, f);
    CHECK_INT(fclose(f), 0);
    f = create("conf");
    fprintf(f,
            "daemon off; pid pid; error_log error.log;\n"
            "events { worker_connections 1024; }\n"
            "http {\n"
            "access_log off; client_body_temp_path b; proxy_temp_path p;\n"
            "fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;\n"
            "server {\n"
            "listen 127.0.0.1:%u ssl; root .; %s\n"
            "ssl_certificate pem; ssl_certificate_key pem;\n"
            "} }\n",
            server.port, more);
    CHECK_INT(fclose(f), 0);
}

static void nginx_start(const char *more)
{
    struct coil_addr addr;
    char inherit[16];
    if (access(NGINX, X_OK) < 0)
        SKIP("nginx is missing (nginx-light)");
    kit_make();
    strcpy(server.dir, "/tmp/coil-nginx-XXXXXX");
    CHECK(mkdtemp(server.dir));
    CHECK_INT(chmod(server.dir, 0755), 0); /* its workers are nobody */
    CHECK_INT(coil_addr_from_ip(&addr, "127.0.0.1", 0), 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_INT(bind(fd, &addr.u.sa, addr.len), 0);
    CHECK_INT(listen(fd, 512), 0);
    CHECK_INT(coil_addr_local(&addr, fd), 0);
    server.port = coil_addr_port(&addr);
    write_files(more);
    snprintf(server.url, sizeof server.url, "https://127.0.0.1:%u/page",
             server.port);
    snprintf(inherit, sizeof inherit, "%d;", fd);
    server.pid = fork();
    CHECK(server.pid >= 0);
    if (server.pid == 0) {
        setenv("NGINX", inherit, 1);
        dup2(open("/dev/null", O_RDWR), 2);
        execl(NGINX, NGINX, "-e", "stderr", "-p", server.dir, "-c", in_dir("conf"),
              (char *)NULL);
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

struct pages {
    struct coil_coro coro;
    struct coil_tls_client *client;
    struct coil_http_session *session;
    struct coil_task *tasks[100];
    int i, status;
};

static void pages(struct coil_coro *co)
{
    ASYNC(pages, my) {
        struct coil_http_session_options o = COIL_HTTP_SESSION_OPTIONS_INIT;
        o.limit = 10;
        o.tls = my->client;
        my->session = coil_http_session_new(&o);
        for (int i = 0; i < 100; i++)
            my->tasks[i] = SPAWN(fetch, .session = my->session,
                                 .request = { .url = server.url });
        for (; my->i < 100; my->i++) {
            AWAIT_TO(my->status, my->tasks[my->i]);
            CHECK_INT(my->status, 200);
        }

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
    }
}

static void get_pages(const char *more)
{
    nginx_start(more);
    struct coil_tls_client *client = kit_client(NULL);
    CHECK_INT(RUN(pages, .client = client), 0);
    coil_tls_client_unref(client);
    nginx_stop();
}

// Records and buffers of another size than ours; connections that nginx closes
// after a few requests.
TEST(https_nginx_100_requests_share_10_connections)
{
    get_pages("");
    get_pages("keepalive_requests 3; ssl_protocols TLSv1.2; "
              "ssl_buffer_size 1400;");
}

struct plain {
    struct coil_coro coro;
    struct coil_http_session *session;
    int status;
    char url[64];
};

static void plain(struct coil_coro *co)
{
    ASYNC(plain, my) {
        my->session = coil_http_session_new(NULL);
        snprintf(my->url, sizeof my->url, "http://127.0.0.1:%u/", server.port);
        AWAIT_TO(my->status, CALL(fetch, .session = my->session,
                                  .request = { .url = my->url }));
        CHECK_INT(my->status, 400);

    FINALLY;
        AWAIT(coil_http_session_close(my->session));
    }
}

// It says so in plain HTTP: that is an answer.
TEST(https_nginx_that_is_asked_for_http_answers_in_http)
{
    nginx_start("");
    CHECK_INT(RUN(plain), 0);
    nginx_stop();
}
