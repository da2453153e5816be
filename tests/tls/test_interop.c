// SPDX-License-Identifier: MIT
/*
 * test_interop.c: TLS with other programs: openssl s_server and s_client.
 */
#include "tls_kit.h"

#include <coil/connect.h>
#include <coil/listen.h>
#include <coil/tls_cache.h>
#include <sys/wait.h>

static char dir[] = "/tmp/coil-tls-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    CHECK(file);
    CHECK(fputs(text, file) >= 0);
    CHECK_INT(fclose(file), 0);
}

static void open_files(void)
{
    if (system("command -v openssl > /dev/null") != 0)
        SKIP("there is no openssl");
    kit_make();
    CHECK(mkdtemp(dir));
    write_file("a.pem", kit.a.text);
    write_file("ca.pem", kit.authority);
}

static void remove_files(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", dir);
    CHECK_INT(system(command), 0);
}

/* A program whose output is read from *out. */
static pid_t run(int *out, const char *format, int port, const char *options)
{
    char command[512];
    int fds[2];
    snprintf(command, sizeof command, format, dir, port, options);
    CHECK_INT(pipe(fds), 0);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], 1);
        close(fds[0]);
        close(fds[1]);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    *out = fds[0];
    return pid;
}

static int port_of(int fd)
{
    char text[256] = "", *at;
    size_t n = 0;
    for (;;) {
        ssize_t some = read(fd, text + n, sizeof text - 1 - n);
        CHECK(some > 0);
        n += (size_t)some;
        if ((at = strstr(text, "ACCEPT ")) && strchr(at, '\n'))
            return atoi(strrchr(at, ':') + 1);
    }
}

static const char *const options[] = {
    "-tls1_3",
    "-tls1_2",
    "-tls1_3 -groups P-256",
    "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256",
    "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305",
    "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384",
};

enum { OPTIONS = sizeof options / sizeof *options };

// It reverses each line.
TEST(interop_client_talks_to_s_server)
{
    static char line[64];
    open_files();
    for (int i = 0; i < OPTIONS; i++) {
        int out, err;
        pid_t pid = run(&out,
                        "exec openssl s_server -cert %1$s/a.pem -accept "
                        "127.0.0.1:%2$d -rev %3$s 2>&1",
                        0, options[i]);
        int port = port_of(out);
        stage_open();
        struct coil_tls_client *client = kit_client(NULL);
        struct coil_tls_why why = { "" };
        struct coil_stream *s = task_stream(
            coil_spawn(coil_open_connection("127.0.0.1", (uint16_t)port, NULL)),
            &err);
        CHECK_INT(err, 0);
        s = task_stream(coil_spawn(coil_tls_connect(s, client, "a.test", &why)),
                        &err);
        test_note("%s: %d %s", options[i], err, why.text);
        CHECK_INT(err, 0);
        CHECK_INT(wait_int(coil_stream_write(s, "stressed\n", 9)), 9);
        CHECK_INT(wait_int(coil_stream_read_exactly(s, line, 9)), 9);
        CHECK_MEM(line, "desserts\n", 9);
        CHECK(coil_stream_is_reusable(s)); /* after its tickets */
        CHECK_INT(wait_int(coil_stream_close(s)), 0);
        coil_tls_client_unref(client);
        stage_close();
        kill(pid, SIGTERM);
        waitpid(pid, NULL, 0);
        close(out);
    }
    remove_files();
}

TEST(interop_server_talks_to_s_client)
{
    static char line[64];
    open_files();
    for (int i = 0; i < OPTIONS; i++) {
        int out, err, status;
        struct coil_addr addr;
        struct coil_listener *listener;
        stage_open();
        CHECK_INT(coil_addr_from_ip(&addr, "127.0.0.1", 0), 0);
        CHECK_INT(coil_listener_open(&listener, &addr, 4), 0);
        coil_listener_addr(listener, &addr);
        pid_t pid = run(&out,
                        "(echo hello; sleep 1) | openssl s_client -CAfile "
                        "%1$s/ca.pem -verify_return_error -quiet -connect "
                        "127.0.0.1:%2$d -servername a.test %3$s 2>/dev/null",
                        coil_addr_port(&addr), options[i]);
        struct coil_tls_server *server = kit_server(NULL);
        struct coil_tls_why why = { "" };
        struct coil_stream *s = task_stream(
            coil_spawn(coil_listener_accept(listener)), &err);
        CHECK_INT(err, 0);
        s = task_stream(coil_spawn(coil_tls_accept(s, server, &why)), &err);
        test_note("%s: %d %s", options[i], err, why.text);
        CHECK_INT(err, 0);
        CHECK_INT(wait_int(coil_stream_read_until(s, '\n', line, 64)), 6);
        CHECK_MEM(line, "hello\n", 6);
        CHECK_INT(wait_int(coil_stream_write(s, "good bye\n", 9)), 9);
        CHECK_INT(wait_int(coil_stream_close(s)), 0);
        CHECK_INT(wait_int(coil_listener_close(listener)), 0);
        coil_tls_server_unref(server);
        stage_close();
        memset(line, 0, sizeof line);
        CHECK_INT(read(out, line, sizeof line), 9);
        CHECK_STR(line, "good bye\n");
        waitpid(pid, &status, 0);
        close(out);
    }
    remove_files();
}

// s_client asks for new keys and for new keys of ours: the reply goes out with
// the next data, or alone.
TEST(interop_server_answers_a_key_update)
{
    static char line[64], text[16384];
    open_files();
    for (int writes = 0; writes < 2; writes++) {
        int out, err, status;
        struct coil_addr addr;
        struct coil_listener *listener;
        stage_open();
        CHECK_INT(coil_addr_from_ip(&addr, "127.0.0.1", 0), 0);
        CHECK_INT(coil_listener_open(&listener, &addr, 4), 0);
        coil_listener_addr(listener, &addr);
        pid_t pid = run(&out,
                        "(sleep 0.3; echo K; sleep 0.3; echo hello; sleep 1) | "
                        "openssl s_client -CAfile %1$s/ca.pem -connect "
                        "127.0.0.1:%2$d -servername a.test %3$s 2>&1",
                        coil_addr_port(&addr), "-tls1_3");
        struct coil_tls_server *server = kit_server(NULL);
        struct coil_stream *s = task_stream(
            coil_spawn(coil_listener_accept(listener)), &err);
        CHECK_INT(err, 0);
        s = task_stream(coil_spawn(coil_tls_accept(s, server, NULL)), &err);
        CHECK_INT(err, 0);
        CHECK_INT(wait_int(coil_stream_read_until(s, '\n', line, 64)), 6);
        CHECK_MEM(line, "hello\n", 6);
        for (int i = 0; i < 2 * writes; i++)
            CHECK_INT(wait_int(coil_stream_write(s, "good bye\n", 9)), 9);
        CHECK_INT(wait_int(coil_stream_close(s)), 0);
        CHECK_INT(wait_int(coil_listener_close(listener)), 0);
        coil_tls_server_unref(server);
        stage_close();
        size_t n = 0;
        ssize_t some;
        while ((some = read(out, text + n, sizeof text - 1 - n)) > 0)
            n += (size_t)some;
        text[n] = '\0';
        CHECK(strstr(text, "KEYUPDATE"));
        CHECK(!strstr(text, "error:"));
        CHECK(!writes || strstr(text, "good bye\ngood bye\n"));
        waitpid(pid, &status, 0);
        close(out);
    }
    remove_files();
}

static const char *const versions[] = { "-tls1_3", "-tls1_2" };

// Its tickets come when they come: here with the answer.
TEST(interop_client_resumes_at_s_server)
{
    static char line[64];
    open_files();
    for (int i = 0; i < 2; i++) {
        int out, err;
        pid_t pid = run(&out,
                        "exec openssl s_server -cert %1$s/a.pem -accept "
                        "127.0.0.1:%2$d -rev %3$s 2>&1",
                        0, versions[i]);
        int port = port_of(out);
        stage_open();
        struct coil_tls_client *client = kit_client(NULL);
        struct coil_tls_cache *cache = coil_tls_cache_new(0);
        for (int j = 0; j < 3; j++) {
            struct coil_tls_info info;
            struct coil_stream *s = task_stream(
                coil_spawn(
                    coil_open_connection("127.0.0.1", (uint16_t)port, NULL)),
                &err);
            CHECK_INT(err, 0);
            s = task_stream(
                coil_spawn(coil_tls_connect_cached(s, client, cache, "a.test",
                                                   (uint16_t)port, NULL)),
                &err);
            CHECK_INT(err, 0);
            CHECK(coil_tls_get_info(s, &info));
            test_note("%s, connection %d", versions[i], j);
            CHECK_INT(info.resumed, j > 0);
            CHECK(info.certificate);
            CHECK_INT(wait_int(coil_stream_write(s, "stressed\n", 9)), 9);
            CHECK_INT(wait_int(coil_stream_read_exactly(s, line, 9)), 9);
            CHECK_MEM(line, "desserts\n", 9);
            CHECK_INT(wait_int(coil_stream_close(s)), 0);
        }
        coil_tls_cache_free(cache);
        coil_tls_client_unref(client);
        stage_close();
        kill(pid, SIGTERM);
        waitpid(pid, NULL, 0);
        close(out);
    }
    remove_files();
}

// It prints "New" or "Reused". The ticket comes with the first data.
TEST(interop_server_resumes_s_client)
{
    static char line[64], text[16384];
    open_files();
    for (int i = 0; i < 2; i++) {
        struct coil_tls_server_options o = kit_server_options();
        o.no_tickets = false;
        stage_open();
        struct coil_tls_server *server = kit_server(&o);
        for (int j = 0; j < 3; j++) {
            int out, err, status;
            struct coil_addr addr;
            struct coil_listener *listener;
            char more[128];
            CHECK_INT(coil_addr_from_ip(&addr, "127.0.0.1", 0), 0);
            CHECK_INT(coil_listener_open(&listener, &addr, 4), 0);
            coil_listener_addr(listener, &addr);
            snprintf(more, sizeof more, "%s -sess_out %s/session %s%s%s",
                     versions[i], dir, j ? "-sess_in " : "", j ? dir : "",
                     j ? "/session" : "");
            pid_t pid = run(&out,
                            "(echo hello; sleep 1) | openssl s_client -CAfile "
                            "%1$s/ca.pem -verify_return_error -connect "
                            "127.0.0.1:%2$d -servername a.test %3$s 2>&1",
                            coil_addr_port(&addr), more);
            struct coil_stream *s = task_stream(
                coil_spawn(coil_listener_accept(listener)), &err);
            CHECK_INT(err, 0);
            s = task_stream(coil_spawn(coil_tls_accept(s, server, NULL)), &err);
            CHECK_INT(err, 0);
            CHECK_INT(wait_int(coil_stream_read_until(s, '\n', line, 64)), 6);
            CHECK_MEM(line, "hello\n", 6);
            CHECK_INT(wait_int(coil_stream_write(s, "good bye\n", 9)), 9);
            CHECK_INT(wait_int(coil_stream_close(s)), 0);
            CHECK_INT(wait_int(coil_listener_close(listener)), 0);
            size_t n = 0;
            ssize_t some;
            while ((some = read(out, text + n, sizeof text - 1 - n)) > 0)
                n += (size_t)some;
            text[n] = '\0';
            test_note("%s, connection %d: %s", versions[i], j, text);
            CHECK(strstr(text, j ? "Reused, TLS" : "New, TLS"));
            CHECK(strstr(text, "good bye\n"));
            waitpid(pid, &status, 0);
            close(out);
        }
        coil_tls_server_unref(server);
        stage_close();
    }
    remove_files();
}
