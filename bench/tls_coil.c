// SPDX-License-Identifier: MIT
/*
 * tls_coil.c: handshakes between two ends in one loop, and the authorities of a
 * file.
 *
 *     tls_coil DIRECTORY [--client own|openssl] [--server own|openssl]
 *              [--seconds 0.5] [--row ROW]
 *     tls_coil --authorities FILE
 *
 * DIRECTORY is what tls_files makes. The streams below are a stream pair, so
 * there are no system calls, and the CPU time is that of both ends. In each
 * connection the server sends one byte, which the client reads, after the
 * tickets. --authorities prints what it takes to make the first client of a
 * process, which reads the file.
 */
#include <coil.h>
#include <coil/tls.h>
#include <coil/tls_cache.h>

#include "tls_engine.h"

static const struct row {
    const char *name, *pem;
    enum coil_tls_version version;
    bool resumes;
} rows[] = {
    { "p256_13", "ec.pem", COIL_TLS_1_3, false },
    { "rsa2048_13", "rsa.pem", COIL_TLS_1_3, false },
    { "p256_12", "ec.pem", COIL_TLS_1_2, false },
    { "resumed_13", "ec.pem", COIL_TLS_1_3, true },
    { "resumed_12", "ec.pem", COIL_TLS_1_2, true },
};

static const char *directory, *client_engine = "own", *server_engine = "own";
static const char *only;
static double seconds = 0.5;
static const struct row *row;
static struct coil_tls_client *client;
static struct coil_tls_server *server;

static void make_setups(void)
{
    struct coil_tls_server_options o = COIL_TLS_SERVER_OPTIONS_INIT;
    struct coil_tls_why why;
    char path[512];
    snprintf(path, sizeof path, "%s/ca.pem", directory);
    client = tls_client(client_engine, path);
    snprintf(path, sizeof path, "%s/%s", directory, row->pem);
    o.engine = tls_engine(server_engine);
    o.certificate.file = path;
    o.version_max = row->version;
    if (coil_tls_server_new(&server, &o, &why) < 0)
        die("%s", why.text);
}

COROUTINE(serve, struct coil_stream *stream;)
{
    ASYNC(serve, my) {
        struct coil_stream *below = my->stream;
        my->stream = NULL;
        AWAIT_TO(my->stream, coil_tls_accept(below, server, NULL));
        AWAIT(coil_stream_write(my->stream, "x", 1));

    FINALLY;
        AWAIT(coil_stream_close(my->stream));
    }
}

static void check(const struct coil_stream *stream, bool resumed)
{
    struct coil_tls_info info;
    coil_tls_get_info(stream, &info);
    if (info.version != row->version || info.resumed != resumed)
        die("%s: version %x, %s", row->name, (unsigned)info.version,
            info.resumed ? "resumed" : "not resumed");
}

COROUTINE(one, struct coil_tls_cache *cache; bool resumed;
          struct coil_stream *stream; struct coil_task *peer; char byte;)
{
    ASYNC(one, my) {
        struct coil_stream *ends[2];
        if (coil_stream_pair(ends, 0) < 0)
            FAIL(-ENOMEM);
        my->peer = SPAWN(serve, .stream = ends[1]);
        AWAIT_TO(my->stream, coil_tls_connect_cached(ends[0], client, my->cache,
                                                     "127.0.0.1", 1, NULL));
        check(my->stream, my->resumed);
        AWAIT(coil_stream_read_exactly(my->stream, &my->byte, 1));

    FINALLY;
        AWAIT(coil_stream_close(my->stream));
    }
}

COROUTINE(measure_row, struct coil_tls_cache *cache; int64_t start, end;
          long n;)
{
    ASYNC(measure_row, my) {
        if (row->resumes && !(my->cache = coil_tls_cache_new(0)))
            FAIL(-ENOMEM);
        AWAIT(CALL(one, .cache = my->cache)); // warms up, and has a session
        my->end = now_ns() + (int64_t)(seconds * 1e9);
        my->start = cpu_ns();
        while (now_ns() < my->end) {
            AWAIT(CALL(one, .cache = my->cache, .resumed = row->resumes));
            my->n++;
        }
        double cpu = (double)(cpu_ns() - my->start) / 1e9;
        printf("row=%s handshakes=%ld per_cpu_s=%.1f\n", row->name, my->n,
               (double)my->n / cpu);

    FINALLY;
        coil_tls_cache_free(my->cache);
    }
}

static int read_authorities(const char *file)
{
    int64_t start = cpu_ns();
    coil_tls_client_unref(tls_client("own", file));
    printf("row=authorities ms=%.3f\n", (double)(cpu_ns() - start) / 1e6);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--authorities") == 0)
        return read_authorities(argv[2]);
    directory = argc > 1 ? argv[1] : "";
    for (int i = 2; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--client") == 0)
            client_engine = value;
        else if (strcmp(argv[i], "--server") == 0)
            server_engine = value;
        else if (strcmp(argv[i], "--row") == 0)
            only = value;
        else if (strcmp(argv[i], "--seconds") == 0)
            seconds = strtod(value, NULL);
        else
            die("%s: no such option", argv[i]);
    }
    if (!*directory)
        die("usage: %s DIRECTORY", argv[0]);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        row = &rows[i];
        if (only && strcmp(only, row->name) != 0)
            continue;
        make_setups();
        int err = RUN(measure_row);
        char text[256];
        if (err < 0)
            die("%s: %s", row->name,
                coil_explain(err, coil_last_detail(), text, sizeof text));
        coil_tls_client_unref(client);
        coil_tls_server_unref(server);
    }
    return 0;
}
