// SPDX-License-Identifier: MIT
/*
 * tls: a TLS client or server that does what it is told, for trying things out
 * and for programs that test TLS.
 *
 *     ./build/samples/tls server --cert server.pem 127.0.0.1 0
 *     ./build/samples/tls client --ca ca.pem --www 127.0.0.1 PORT
 *
 * Certificates, each a file of PEM:
 *
 *     --cert FILE      our own: the leaf, then intermediates
 *     --key FILE       its key; else it is in the file of --cert
 *     --ca FILE        the authorities that are trusted, instead of the system's
 *     --insecure       client: trust anybody
 *     --name NAME      client: the name of the server; else HOST
 *     --ask            server: ask for a certificate
 *     --require        server: refuse a client that has none
 *
 * The protocol:
 *
 *     --engine NAME    what speaks TLS: see `engines` below
 *     --version-min V  1.2 or 1.3
 *     --version-max V
 *     --alpn LIST      protocols, with commas between them
 *     --expect-alpn P  the connection must agree on this one; "" for none
 *     --resume         client: resume the session of the connection before
 *     --no-tickets     server: sessions cannot be resumed
 *
 * What is done with a connection; without any of these a server does --echo, and
 * a client says nothing:
 *
 *     --echo           send back what comes
 *     --send FILE      send a file; - is standard input
 *     --www            server: answer a request with a page that tells what was
 *                      agreed on; client: make such a request
 *     --save FILE      write what comes to a file; - is standard output
 *     --close          close when all is sent; else only the end of our side is
 *                      sent, and the end of the peer's is waited for
 *     --connections N  so many; a client makes one after the other: 1. A server
 *                      stops when so many have ended, else with Ctrl-C
 *     --timeout S      seconds for each connection; 60
 *     --threads N      take the costly steps of handshakes in so many threads
 *
 * Prints lines of the form key=value. A server begins with
 * "listening=127.0.0.1:PORT"; with port 0 the kernel chooses one. Each
 * connection then has two groups of lines that begin with "connection=1": one
 * when the handshake is over, one when the connection is. A group is printed at
 * once.
 *
 * Exits with
 *
 *     0    all connections went as they should
 *     1    wrong usage, or a file that cannot be used
 *     2    a connection failed: refused, reset, cut off, out of time
 *     3    TLS failed: an alert, ours or the peer's, or a peer without TLS
 *     4    the certificate of the peer is not trusted
 *     5    not the protocol of --expect-alpn
 *     130  Ctrl-C
 *
 * Of several connections the first one that fails counts.
 */
#define _GNU_SOURCE /* getopt_long */

#include <coil.h>
#include <coil/tls.h>
#include <coil/tls_cache.h>
#ifdef COIL_SAMPLE_OPENSSL
#include <coil/openssl.h>
#endif
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What --engine can name; the first one is the default. */
static const struct {
    const char *name;
    const struct coil_tls_engine *(*get)(void);
} engines[] = {
    { "coil", coil_tls_own_engine },
#ifdef COIL_SAMPLE_OPENSSL
    { "openssl", coil_openssl_engine },
#endif
};

enum { ENGINES = sizeof engines / sizeof *engines, PROTOCOLS_MAX = 16 };

enum { OK, USAGE, CONNECTION, TLS, CERTIFICATE, UNEXPECTED, INTERRUPTED = 130 };

static struct {
    const char *host, *name;
    uint16_t port;
    const struct coil_tls_engine *engine;
    const char *cert, *key, *ca;
    enum coil_tls_version version_min, version_max;
    const char *alpn[PROTOCOLS_MAX], *expect_alpn;
    size_t alpn_n;
    enum coil_tls_ask ask;
    bool is_server, insecure, resume, no_tickets, echo, www, close;
    char *send; /* the bytes of the file */
    size_t send_bytes;
    FILE *save;
    long connections;
    double seconds, threads;
} options = { .seconds = 60 };

static struct coil_tls_client *client;
static struct coil_tls_server *server;
static struct coil_tls_cache *cache;   /* --resume */
static struct coil_executor *executor; /* --threads */
static int status;                     /* to exit with */

/* ---- What is printed --------------------------------------------------- */

static const char *version_text(enum coil_tls_version version)
{
    return version == COIL_TLS_1_3 ? "1.3" : "1.2";
}

/* Names of peers may have any bytes: none of them may end a line. */
static void print_line(const char *key, const char *value)
{
    printf("%s=", key);
    for (; *value; value++)
        putchar(*value >= ' ' && *value <= '~' ? *value : '?');
    putchar('\n');
}

static void print_agreed(long number, const struct coil_tls_info *info)
{
    printf("connection=%ld\nversion=%s\nsuite=0x%04x\n", number,
           version_text(info->version), info->suite);
    print_line("alpn", info->alpn);
    print_line("name", info->name);
    printf("resumed=%s\ncertificate=", info->resumed ? "yes" : "no");
    for (size_t i = 0; info->certificate && i < 32; i++)
        printf("%02x", info->certificate_sha256[i]);
    putchar('\n');
    fflush(stdout);
}

/* An alert is a code of COIL_ETLS: ours, or the peer's. */
static void print_alert(uint32_t detail)
{
    int code = COIL_DETAIL_CODE(detail) & 0x3ff;
    if (code < COIL_TLS_BY_PEER)
        printf("alert_sent=%d\n", code);
    else if (code < 2 * COIL_TLS_BY_PEER)
        printf("alert_received=%d\n", code - COIL_TLS_BY_PEER);
}

static int status_of(int err)
{
    return err == 0            ? OK
           : err == COIL_ETLS  ? TLS
           : err == COIL_ECERT ? CERTIFICATE
           : err == -EPROTO    ? UNEXPECTED
           : err == -ECANCELED ? INTERRUPTED
                               : CONNECTION;
}

/* ---- A connection ------------------------------------------------------ */

struct connection {
    struct coil_coro coro;
    struct coil_stream *stream; /* of a server: there from the beginning */
    long number;
    struct coil_tls_why why;
    struct coil_tls_info info;
    struct coil_group group;
    const char *out; /* what is sent */
    size_t out_n, n;
    long long sent, received;
    int err;
    bool has_ended; /* and that was printed */
    char text[1024];
};

/* Read until the peer ends, and send it back if that is wanted. */
struct receive {
    struct coil_coro coro;
    struct connection *from; /* lent by connection() */
    size_t n;
};

static void receive(struct coil_coro *co)
{
    ASYNC(receive, my) {
        for (;;) {
            AWAIT_TO(my->n, coil_stream_fill(my->from->stream, 1));
            if (my->n == 0)
                break;
            char *data;
            my->n = coil_stream_peek(my->from->stream, &data);
            my->from->received += (long long)my->n;
            if (options.save)
                fwrite(data, 1, my->n, options.save);
            if (options.echo) {
                AWAIT(coil_stream_write(my->from->stream, data, my->n));
                my->from->sent += (long long)my->n;
            }
            coil_stream_consume(my->from->stream, my->n);
        }
    }
}

/* The request of --www: lines, of which the last one is empty. */
struct receive_request {
    struct coil_coro coro;
    struct connection *from; /* lent by connection() */
    size_t n;
};

static void receive_request(struct coil_coro *co)
{
    ASYNC(receive_request, my) {
        do {
            AWAIT_TO(my->n, coil_stream_read_until(my->from->stream, '\n',
                                                   my->from->text,
                                                   sizeof my->from->text));
            my->from->received += (long long)my->n;
        } while (my->n > 2);
    }
}

static void write_page(struct connection *my)
{
    char page[640];
    int n = snprintf(page, sizeof page,
                     "version=%s\nsuite=0x%04x\nalpn=%s\nname=%s\n"
                     "resumed=%s\n",
                     version_text(my->info.version), my->info.suite,
                     my->info.alpn, my->info.name,
                     my->info.resumed ? "yes" : "no");
    snprintf(my->text, sizeof my->text,
             "HTTP/1.1 200 OK\r\n"
             "Content-Type: text/plain\r\n"
             "Content-Length: %d\r\n"
             "Connection: close\r\n\r\n%s",
             n, page);
}

/* What --send or --www sends. */
static void choose_what_to_send(struct connection *my)
{
    my->out = options.send;
    my->out_n = options.send_bytes;
    if (!options.www)
        return;
    if (options.is_server)
        write_page(my);
    else
        snprintf(my->text, sizeof my->text,
                 "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n",
                 options.name);
    my->out = my->text;
    my->out_n = strlen(my->text);
}

/* The handshake is over: tell what was agreed on. */
static bool is_as_expected(struct connection *my)
{
    coil_tls_get_info(my->stream, &my->info);
    print_agreed(my->number, &my->info);
    return !options.expect_alpn ||
           strcmp(my->info.alpn, options.expect_alpn) == 0;
}

static void print_end(struct connection *my, int err, uint32_t detail)
{
    char text[256];
    if (status == OK)
        status = status_of(err);
    printf("connection=%ld\nsent=%lld\nreceived=%lld\n", my->number, my->sent,
           my->received);
    if (err == COIL_ETLS)
        print_alert(detail);
    if (err < 0)
        print_line("error", *my->why.text
                                ? my->why.text
                                : coil_explain(err, detail, text, sizeof text));
    printf("end=%s\n", err < 0 ? "failed" : "well");
    fflush(stdout);
    my->has_ended = true;
}

static struct coil_future *handshake(struct connection *my)
{
    struct coil_stream *tcp = my->stream;
    my->stream = NULL; /* taken, also if it fails */
    return options.is_server
               ? coil_tls_accept(tcp, server, &my->why)
               : coil_tls_connect_cached(tcp, client, cache, options.name,
                                         options.port, &my->why);
}

/*
 * Everything from TCP to the end, in one TRY: whatever fails is printed, and the
 * next connection begins. Reading and writing go on at once, since the peer may
 * wait for one before it does the other.
 */
static void connection(struct coil_coro *co)
{
    ASYNC(connection, my) {
        TRY(my->err) WITHIN(COIL_SECONDS(options.seconds)) {
            if (!options.is_server)
                AWAIT_TO(my->stream, coil_open_connection(options.host,
                                                          options.port, NULL));
            AWAIT_TO(my->stream, handshake(my));
            if (!is_as_expected(my)) {
                snprintf(my->why.text, sizeof my->why.text,
                         "the protocol is not the one that was expected");
                FAIL(-EPROTO);
            }
            if (options.www && options.is_server)
                AWAIT(CALL(receive_request, .from = my));
            choose_what_to_send(my);
            GROUP(&my->group) {
                if (!options.close && START(receive, .from = my) < 0)
                    FAIL(-ENOMEM);
                AWAIT(coil_stream_write(my->stream, my->out, my->out_n));
                my->sent += (long long)my->out_n;
                if (!options.close && !options.echo)
                    AWAIT(coil_stream_write_eof(my->stream));
            }
            if (options.echo)
                AWAIT(coil_stream_write_eof(my->stream));
        }
        print_end(my, my->err, coil_last_detail());

    FINALLY;
        if (!my->has_ended)
            print_end(my, -ECANCELED, 0);
        AWAIT(coil_stream_close(my->stream));
    }
}

/* ---- The two roles ----------------------------------------------------- */

/* One connection after the other, so that each can resume the one before. */
struct dial {
    struct coil_coro coro;
    long number;
};

static void dial(struct coil_coro *co)
{
    ASYNC(dial, my) {
        if (options.resume && !(cache = coil_tls_cache_new(0)))
            FAIL(-ENOMEM);
        while (my->number++ < options.connections)
            AWAIT(CALL(connection, .number = my->number));

    FINALLY;
        coil_tls_cache_free(cache);
    }
}

struct serve {
    struct coil_coro coro;
    struct coil_listener *listener;
    struct coil_stream *peer;
    long number;
};

static void serve(struct coil_coro *co)
{
    ASYNC(serve, my) {
        struct coil_addr addr;
        char text[COIL_ADDR_TEXT_BYTES_MAX];
        int err = coil_addr_from_ip(&addr, options.host, options.port);
        if (err == 0)
            err = coil_listener_open(&my->listener, &addr, 128);
        if (err < 0)
            FAIL(err);
        coil_listener_addr(my->listener, &addr);
        print_line("listening", coil_addr_text(&addr, text, sizeof text));
        fflush(stdout);

        while (options.connections == 0 || my->number < options.connections) {
            AWAIT_TO(my->peer, coil_listener_accept(my->listener));
            if (START(connection, .stream = my->peer, .number = ++my->number) <
                0)
                coil_stream_close_soon(my->peer); /* no memory for it */
        }
        JOIN();

    FINALLY;
        if (my->listener)
            AWAIT(coil_listener_close(my->listener));
    }
}

/* ---- The command line -------------------------------------------------- */

#define USAGE_TEXT \
    "usage: tls client|server [OPTION]... HOST PORT\n" \
    "The head of samples/tls.c has the options.\n"

static int usage(const char *what, const char *value)
{
    fprintf(stderr, "tls: %s: %s\n" USAGE_TEXT, what, value);
    return USAGE;
}

static bool read_number(const char *text, double least, double most,
                        double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= least && *out <= most;
}

static bool read_version(const char *text, enum coil_tls_version *out)
{
    *out = strcmp(text, "1.2") == 0   ? COIL_TLS_1_2
           : strcmp(text, "1.3") == 0 ? COIL_TLS_1_3
                                      : 0;
    return *out != 0;
}

static bool read_engine(const char *name)
{
    for (size_t i = 0; i < ENGINES; i++)
        if (strcmp(engines[i].name, name) == 0) {
            options.engine = engines[i].get();
            return true;
        }
    return false;
}

/* "h2,http/1.1" */
static bool read_protocols(char *list)
{
    for (char *p = strtok(list, ","); p; p = strtok(NULL, ",")) {
        if (options.alpn_n == PROTOCOLS_MAX || strlen(p) > 15)
            return false;
        options.alpn[options.alpn_n++] = p;
    }
    return options.alpn_n > 0;
}

/* All of a file, before anything begins: then nothing blocks later. */
static bool read_file(const char *name)
{
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "r");
    size_t size = 0, n = 1;
    while (file && n > 0) {
        if (options.send_bytes == size) {
            size = size ? 2 * size : 65536;
            char *more = realloc(options.send, size);
            if (!more)
                return false;
            options.send = more;
        }
        n = fread(options.send + options.send_bytes, 1,
                  size - options.send_bytes, file);
        options.send_bytes += n;
    }
    bool good = file && !ferror(file);
    if (file && file != stdin)
        fclose(file);
    return good;
}

static bool open_save(const char *name)
{
    options.save = strcmp(name, "-") == 0 ? stdout : fopen(name, "w");
    return options.save;
}

enum {
    CERT = 1,
    KEY,
    CA,
    INSECURE,
    NAME,
    ASK,
    REQUIRE,
    ENGINE,
    MIN,
    MAX,
    ALPN,
    EXPECT_ALPN,
    RESUME,
    NO_TICKETS,
    ECHO,
    SEND,
    WWW,
    SAVE,
    CLOSE,
    CONNECTIONS,
    TIMEOUT,
    THREADS
};

static const struct option long_options[] = {
    { "cert", required_argument, NULL, CERT },
    { "key", required_argument, NULL, KEY },
    { "ca", required_argument, NULL, CA },
    { "insecure", no_argument, NULL, INSECURE },
    { "name", required_argument, NULL, NAME },
    { "ask", no_argument, NULL, ASK },
    { "require", no_argument, NULL, REQUIRE },
    { "engine", required_argument, NULL, ENGINE },
    { "version-min", required_argument, NULL, MIN },
    { "version-max", required_argument, NULL, MAX },
    { "alpn", required_argument, NULL, ALPN },
    { "expect-alpn", required_argument, NULL, EXPECT_ALPN },
    { "resume", no_argument, NULL, RESUME },
    { "no-tickets", no_argument, NULL, NO_TICKETS },
    { "echo", no_argument, NULL, ECHO },
    { "send", required_argument, NULL, SEND },
    { "www", no_argument, NULL, WWW },
    { "save", required_argument, NULL, SAVE },
    { "close", no_argument, NULL, CLOSE },
    { "connections", required_argument, NULL, CONNECTIONS },
    { "timeout", required_argument, NULL, TIMEOUT },
    { "threads", required_argument, NULL, THREADS },
    { NULL, 0, NULL, 0 },
};

/* False: the value is wrong. */
static bool read_option(int option, char *value)
{
    double number = 0;
    bool good = true;
    switch (option) {
    case CERT:
        options.cert = value;
        break;
    case KEY:
        options.key = value;
        break;
    case CA:
        options.ca = value;
        break;
    case INSECURE:
        options.insecure = true;
        break;
    case NAME:
        options.name = value;
        break;
    case ASK:
        options.ask = COIL_TLS_ASK;
        break;
    case REQUIRE:
        options.ask = COIL_TLS_ASK_ALWAYS;
        break;
    case ENGINE:
        return read_engine(value);
    case MIN:
        return read_version(value, &options.version_min);
    case MAX:
        return read_version(value, &options.version_max);
    case ALPN:
        return read_protocols(value);
    case EXPECT_ALPN:
        options.expect_alpn = value;
        break;
    case RESUME:
        options.resume = true;
        break;
    case NO_TICKETS:
        options.no_tickets = true;
        break;
    case ECHO:
        options.echo = true;
        break;
    case SEND:
        return read_file(value);
    case WWW:
        options.www = true;
        break;
    case SAVE:
        return open_save(value);
    case CLOSE:
        options.close = true;
        break;
    case CONNECTIONS:
        good = read_number(value, 1, 1e9, &number);
        options.connections = (long)number;
        break;
    case TIMEOUT:
        good = read_number(value, 0.001, 1e9, &options.seconds);
        break;
    case THREADS:
        good = read_number(value, 1, 256, &options.threads);
        break;
    }
    return good;
}

static int read_command_line(int argc, char **argv)
{
    double port;
    int option, index;
    if (argc < 2 || (strcmp(argv[1], "client") && strcmp(argv[1], "server")))
        return usage(argc < 2 ? "there is no role" : argv[1],
                     "it must be client or server");
    options.is_server = strcmp(argv[1], "server") == 0;
    options.engine = engines[0].get();
    optind = 2;
    while ((option = getopt_long(argc, argv, "", long_options, &index)) != -1) {
        if (option == '?')
            return usage("an option is wrong", argv[optind - 1]);
        if (!read_option(option, optarg))
            return usage(long_options[index].name, optarg);
    }
    if (argc - optind != 2 || !read_number(argv[optind + 1], 0, 65535, &port))
        return usage("wrong arguments", "HOST and PORT must be last");
    options.host = argv[optind];
    options.port = (uint16_t)port;
    if (!options.name)
        options.name = options.host;
    if (options.is_server && !options.send && !options.www)
        options.echo = true;
    if (!options.is_server && options.connections == 0)
        options.connections = 1;
    if (options.version_min && options.version_max &&
        options.version_min > options.version_max)
        return usage("--version-min", "above --version-max");
    return OK;
}

/* ---- Setups ------------------------------------------------------------ */

static int make_executor(struct coil_tls_why *why)
{
    struct coil_executor_options o = COIL_EXECUTOR_OPTIONS_INIT;
    o.threads_limit = (unsigned)options.threads;
    executor = options.threads > 0 ? coil_executor_new(&o) : NULL;
    if (executor || options.threads == 0)
        return 0;
    snprintf(why->text, sizeof why->text, "there is no memory for threads");
    return -ENOMEM;
}

static int make_client(struct coil_tls_why *why)
{
    struct coil_tls_client_options o = COIL_TLS_CLIENT_OPTIONS_INIT;
    o.engine = options.engine;
    o.verify = options.insecure ? COIL_TLS_VERIFY_NONE : COIL_TLS_VERIFY_CHAIN;
    o.ca.file = options.ca;
    o.certificate.file = options.cert;
    o.key.file = options.key;
    o.alpn = options.alpn;
    o.alpn_n = options.alpn_n;
    o.version_min = options.version_min;
    o.version_max = options.version_max;
    o.executor = executor;
    return coil_tls_client_new(&client, &o, why);
}

static int make_server(struct coil_tls_why *why)
{
    struct coil_tls_server_options o = COIL_TLS_SERVER_OPTIONS_INIT;
    o.engine = options.engine;
    o.ask = options.ask;
    o.ca.file = options.ca;
    o.certificate.file = options.cert;
    o.key.file = options.key;
    o.alpn = options.alpn;
    o.alpn_n = options.alpn_n;
    o.version_min = options.version_min;
    o.version_max = options.version_max;
    o.no_tickets = options.no_tickets;
    o.executor = executor;
    return coil_tls_server_new(&server, &o, why);
}

int main(int argc, char **argv)
{
    struct coil_tls_why why = { "" };
    int err = read_command_line(argc, argv);
    if (err != OK)
        return err;
    err = make_executor(&why);
    if (err == 0)
        err = options.is_server ? make_server(&why) : make_client(&why);
    if (err < 0) {
        fprintf(stderr, "tls: %s\n", why.text);
        return USAGE;
    }
    err = options.is_server ? RUN(serve) : RUN(dial);
    coil_tls_client_unref(client);
    coil_tls_server_unref(server);
    coil_executor_free(executor);
    free(options.send);
    if (options.save)
        fclose(options.save);
    if (err == -EINTR)
        return INTERRUPTED;
    if (err < 0)
        fprintf(stderr, "tls: %s\n", coil_strerror(err));
    return err < 0 && status == OK ? CONNECTION : status;
}
