// SPDX-License-Identifier: MIT
/*
 * tls_dial_coil.c: many connections over TLS, and what they cost.
 *
 *     tls_dial_coil PORT CA [--connections N] [--at-once 20] [--hold]
 *                   [--engine openssl] [--server PID]
 *
 * Each connection has a full handshake, sends 64 bytes and compares what comes
 * back. Without --hold it is closed then. With --hold all of them stay open: the
 * memory of this process and of the server is read after the first tenth and
 * after the last one, and what it grew by per connection is printed.
 */
#include <coil.h>
#include <coil/tls.h>

#include "tls_engine.h"

static struct coil_tls_client *tls;
static struct coil_stream **held;
static long port, connections = 1000, at_once = 20, server, begun, wanted;
static bool holds;

COROUTINE(dial, long i; char out[64], in[64];)
{
    ASYNC(dial, my) {
        while (begun < wanted) {
            my->i = begun++;
            AWAIT_TO(held[my->i],
                     coil_open_connection("127.0.0.1", (uint16_t)port, NULL));
            struct coil_stream *tcp = held[my->i];
            held[my->i] = NULL;
            AWAIT_TO(held[my->i],
                     coil_tls_connect(tcp, tls, "127.0.0.1", NULL));
            memset(my->out, (int)('a' + my->i % 26), sizeof my->out);
            AWAIT(coil_stream_write(held[my->i], my->out, sizeof my->out));
            AWAIT(coil_stream_read_exactly(held[my->i], my->in, sizeof my->in));
            if (memcmp(my->in, my->out, sizeof my->in) != 0)
                die("the server sent something else than it got");
            if (!holds) {
                AWAIT(coil_stream_close(held[my->i]));
                held[my->i] = NULL;
            }
        }
    }
}

COROUTINE(dial_until, long until; struct coil_group group; long i;)
{
    ASYNC(dial_until, my) {
        wanted = my->until;
        GROUP(&my->group) {
            for (my->i = 0; my->i < at_once; my->i++)
                if (START(dial) < 0)
                    FAIL(-ENOMEM);
        }
    }
}

static int64_t resident(long pid)
{
    char path[64];
    if (pid == 0)
        return 0;
    snprintf(path, sizeof path, "/proc/%ld/smaps_rollup", pid);
    return proc_bytes(path, "Rss:");
}

COROUTINE(dial_all, int64_t mine, its;)
{
    ASYNC(dial_all, my) {
        AWAIT(CALL(dial_until, .until = connections / 10));
        AWAIT(coil_sleep(COIL_SECONDS(0.2)));
        my->mine = resident(getpid());
        my->its = resident(server);
        AWAIT(CALL(dial_until, .until = connections));
        AWAIT(coil_sleep(COIL_SECONDS(0.2)));
        double n = (double)(connections - connections / 10);
        printf("connections=%ld", connections);
        if (holds)
            printf(" client_bytes=%.0f server_bytes=%.0f",
                   (double)(resident(getpid()) - my->mine) / n,
                   (double)(resident(server) - my->its) / n);
        putchar('\n');
        if (holds)
            exit(0); // to close them one by one would take longer
    }
}

int main(int argc, char **argv)
{
    const char *engine = "own";
    if (argc < 3)
        die("usage: %s PORT CA", argv[0]);
    port = strtol(argv[1], NULL, 10);
    for (int i = 3; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--hold") == 0) {
            holds = true;
            continue;
        }
        if (strcmp(argv[i], "--connections") == 0)
            connections = strtol(value, NULL, 10);
        else if (strcmp(argv[i], "--at-once") == 0)
            at_once = strtol(value, NULL, 10);
        else if (strcmp(argv[i], "--server") == 0)
            server = strtol(value, NULL, 10);
        else if (strcmp(argv[i], "--engine") == 0)
            engine = value;
        else
            die("%s: no such option", argv[i]);
        i++;
    }
    held = calloc((size_t)connections, sizeof(struct coil_stream *));
    if (!held)
        die("out of memory");
    tls = tls_client(engine, argv[2]);
    int err = RUN(dial_all);
    char text[256];
    if (err < 0)
        die("%s", coil_explain(err, coil_last_detail(), text, sizeof text));
    return 0;
}
