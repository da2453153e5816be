// SPDX-License-Identifier: MIT
/*
 * test_server.c: servers of coil's own engine, with clients of other programs.
 */
#define KIT_SERVER_ENGINE coil_tls_own_engine
#include "tls_kit.h"

#include <coil/connect.h>
#include <coil/listen.h>
#include <signal.h>
#include <sys/wait.h>

/* ---- Files, programs -------------------------------------------------- */

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

static void open_files(const char *program)
{
    char command[64];
    snprintf(command, sizeof command, "command -v %s > /dev/null", program);
    if (system(command) != 0)
        SKIP("the program is not there");
    kit_make();
    CHECK(mkdtemp(dir));
    write_file("a.pem", kit.a.text);
    write_file("client.pem", kit.client.text);
    write_file("stranger.pem", kit.strangers_a.text);
    write_file("ca.pem", kit.authority);
}

static void remove_files(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", dir);
    CHECK_INT(system(command), 0);
}

/* A shell command whose output is read from *out. */
static pid_t run(int *out, const char *command)
{
    int fds[2];
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

static char said[65536];

/* All that the program says until it ends. */
static void finish(pid_t pid, int out)
{
    size_t n = 0;
    ssize_t some;
    int status;
    while ((some = read(out, said + n, sizeof said - 1 - n)) > 0)
        n += (size_t)some;
    said[n] = '\0';
    waitpid(pid, &status, 0);
    close(out);
}

/* ---- A server --------------------------------------------------------- */

static struct coil_listener *listener;
static struct coil_addr address;

static void open_server(void)
{
    stage_open();
    CHECK_INT(coil_addr_from_ip(&address, "127.0.0.1", 0), 0);
    CHECK_INT(coil_listener_open(&listener, &address, 4), 0);
    coil_listener_addr(listener, &address);
}

static void close_server(void)
{
    CHECK_INT(wait_int(coil_listener_close(listener)), 0);
    stage_close();
}

static struct kit_result served;
static struct coil_tls_info info;
static char info_name[256], info_alpn[256];

/*
 * Accept one connection. If the handshake succeeds it must bring a line, which
 * is answered, and is closed.
 */
static void serve(struct coil_tls_server *server)
{
    static char line[64];
    int err;
    memset(&served, 0, sizeof served);
    memset(&info, 0, sizeof info);
    struct coil_stream *s = task_stream(
        coil_spawn(coil_listener_accept(listener)), &err);
    CHECK_INT(err, 0);
    struct coil_task *task = coil_spawn(coil_tls_accept(s, server,
                                                        &served.why));
    kit_take(&served, task);
    test_note("%d %#x \"%s\"", served.err, served.detail, served.why.text);
    if (!served.stream)
        return;
    CHECK(coil_tls_get_info(served.stream, &info));
    snprintf(info_name, sizeof info_name, "%s", info.name);
    snprintf(info_alpn, sizeof info_alpn, "%s", info.alpn);
    CHECK_INT(wait_int(coil_stream_read_until(served.stream, '\n', line, 64)),
              6);
    CHECK_MEM(line, "hello\n", 6);
    CHECK_INT(wait_int(coil_stream_write(served.stream, "good bye\n", 9)), 9);
    CHECK_INT(wait_int(coil_stream_close(served.stream)), 0);
}

/* s_client with these options; its output is in `said` then. */
static void s_client(struct coil_tls_server *server, const char *options)
{
    char command[768];
    int out;
    snprintf(command, sizeof command,
             "(echo hello; sleep 1) | openssl s_client -CAfile %s/ca.pem "
             "-verify_return_error -connect 127.0.0.1:%d %s 2>&1",
             dir, coil_addr_port(&address), options);
    test_note("%s", options);
    pid_t pid = run(&out, command);
    serve(server);
    finish(pid, out);
}

/* ---- openssl s_client ------------------------------------------------- */

static const struct row {
    const char *options;
    int version, suite;
    const char *says;
} rows[] = {
    { "-tls1_3", 0x0304, 0x1301, "X25519" },
    { "-tls1_2", 0x0303, 0xc02b, "X25519" },
};

TEST(server_agrees_with_s_client)
{
    open_files("openssl");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        open_server();
        struct coil_tls_server *server = kit_server(NULL);
        s_client(server, rows[i].options);
        CHECK_INT(served.err, 0);
        CHECK_INT(info.version, rows[i].version);
        CHECK_INT(info.suite, rows[i].suite);
        CHECK(strstr(said, "Verify return code: 0 (ok)"));
        CHECK(strstr(said, rows[i].says));
        CHECK(strstr(said, "good bye"));
        coil_tls_server_unref(server);
        close_server();
    }
    remove_files();
}
