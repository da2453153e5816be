// SPDX-License-Identifier: MIT
#ifndef INTEROP_H
#define INTEROP_H

/*
 * interop.h: other TLS programs as the peers of coil.
 *
 *     interop_open     a directory with certificates and scripts
 *     interop_start    a peer, which the test ends with interop_stop()
 *     interop_client   coil as the client of a peer, by one row of a table
 *     interop_server   coil as the server of a peer
 *     interop_echo     both directions at once, in all the sizes that matter
 *
 * A peer is a command of the shell, run in that directory. It finds what it needs
 * in variables: $PORT, $KEY (the name of a certificate) and $MORE (its options in
 * this row). It sends back what it gets; for programs that copy from their standard input
 * and to their standard output these two are the ends of one pipe.
 *
 * $PORT is reserved by a socket that is bound and does not listen: a peer may
 * bind the same one, since both have SO_REUSEADDR, and the kernel gives it to
 * nobody else. A peer is ready when a connection succeeds. No configuration of
 * the system is used.
 */
#include "tls_kit.h"

#include <coil/connect.h>
#include <coil/listen.h>
#include <coil/tls_cache.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* The engine under test; of the file that includes the suite. */
static const struct coil_tls_engine *interop_engine(void);

/* ---- Files ------------------------------------------------------------ */

static char interop_dir[] = "/tmp/coil-interop-XXXXXX";

static const char interop_make[] =
    "set -e; cd $DIR\n"
    "sign() { # NAME SUBJECT SAN KEY...\n"
    "    name=$1 subject=$2 SAN=$3; export SAN; shift 3\n"
    "    openssl req -config conf -x509 -CA ca.pem -CAkey ca.key -days 2 \\\n"
    "        -extensions leaf -subj /CN=$subject -nodes -keyout $name.key \\\n"
    "        -out $name.pem -newkey $*\n"
    "    cat $name.key >> $name.pem\n"
    "}\n"
    "SAN=DNS:x openssl req -config conf -x509 -days 2 -extensions ca \\\n"
    "    -subj '/CN=the authority' -nodes -keyout ca.key -out ca.pem \\\n"
    "    -newkey ec -pkeyopt ec_paramgen_curve:P-256\n"
    "sign p256 a.test DNS:a.test,IP:127.0.0.1 \\\n"
    "    ec -pkeyopt ec_paramgen_curve:P-256\n"
    "sign p384 a.test DNS:a.test,IP:127.0.0.1 \\\n"
    "    ec -pkeyopt ec_paramgen_curve:P-384\n"
    "sign rsa a.test DNS:a.test,IP:127.0.0.1 rsa:2048\n"
    "sign b b.test DNS:b.test ec -pkeyopt ec_paramgen_curve:P-256\n"
    "sign client client email:me@a.test ec -pkeyopt ec_paramgen_curve:P-256\n";

static const char interop_conf[] = "[req]\n"
                                   "distinguished_name = none\n"
                                   "[none]\n"
                                   "[ca]\n"
                                   "basicConstraints = critical, CA:true\n"
                                   "keyUsage = critical, keyCertSign\n"
                                   "subjectKeyIdentifier = hash\n"
                                   "[leaf]\n"
                                   "keyUsage = critical, digitalSignature\n"
                                   "subjectAltName = $ENV::SAN\n";

/* A program of Python: an echo, which ends first when it is told "bye\n". */
static const char interop_python
    [] = "import os, socket, ssl, sys\n"
         "role, version = sys.argv[1:3]\n"
         "where = ('127.0.0.1', int(os.environ['PORT']))\n"
         "if role == 'server':\n"
         "    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
         "    context.load_cert_chain(os.environ['KEY'] + '.pem')\n"
         "else:\n"
         "    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)\n"
         "    context.load_verify_locations('ca.pem')\n"
         "context.minimum_version = ssl.TLSVersion[version]\n"
         "context.maximum_version = ssl.TLSVersion[version]\n"
         "if role == 'server':\n"
         "    raw = socket.create_server(where).accept()[0]\n"
         "    peer = context.wrap_socket(raw, server_side=True)\n"
         "else:\n"
         "    raw = socket.create_connection(where)\n"
         "    peer = context.wrap_socket(raw, server_hostname='a.test')\n"
         "while data := peer.recv(65536):\n"
         "    if data == b'bye\\n':\n"
         "        break\n"
         "    peer.sendall(data)\n"
         "peer.unwrap()\n";

/* The same for node. */
static const char interop_node[] =
    "const fs = require('fs'), tls = require('tls');\n"
    "const [role, version] = process.argv.slice(2);\n"
    "const { PORT, KEY } = process.env;\n"
    "const pem = name => fs.readFileSync(`${name}.pem`);\n"
    "const both = { minVersion: version, maxVersion: version };\n"
    "function echo(peer) {\n"
    "    peer.on('data', data => {\n"
    "        if (data.equals(Buffer.from('bye\\n')))\n"
    "            peer.end();\n"
    "        else if (!peer.write(data)) {\n"
    "            peer.pause();\n"
    "            peer.once('drain', () => peer.resume());\n"
    "        }\n"
    "    });\n"
    "    peer.on('close', () => process.exit());\n"
    "}\n"
    "if (role == 'server')\n"
    "    tls.createServer({ ...both, cert: pem(KEY), key: pem(KEY) }, echo)\n"
    "        .listen(PORT, '127.0.0.1');\n"
    "else\n"
    "    echo(tls.connect({ ...both, host: '127.0.0.1', port: PORT,\n"
    "                       ca: pem('ca'), servername: 'a.test' }));\n";

/*
 * TLS in front, on $PORT, and a plain server of ours behind it, on $TO; and the
 * other way round.
 */
static const char
    interop_haproxy[] = "defaults\n"
                        "    mode tcp\n"
                        "    timeout connect 10s\n"
                        "    timeout client 20s\n"
                        "    timeout server 20s\n"
                        "listen it\n"
                        "    bind 127.0.0.1:\"${PORT}\" \"${FRONT[*]}\"\n"
                        "    server s 127.0.0.1:\"${TO}\" \"${BACK[*]}\"\n";

static const char interop_nginx[] =
    "daemon off; master_process off; pid pid;\n"
    "events { worker_connections 16; }\n"
    "http {\n"
    "    access_log off;\n"
    "    client_body_temp_path t1; proxy_temp_path t2; scgi_temp_path t3;\n"
    "    fastcgi_temp_path t4; uwsgi_temp_path t5;\n"
    "    server {\n"
    "        listen 127.0.0.1:PORT ssl; root .;\n"
    "        ssl_certificate KEY.pem; ssl_certificate_key KEY.pem; MORE\n"
    "    }\n"
    "}\n";

static inline const char *interop_file(const char *name)
{
    static char paths[32][96]; /* the last ones are still in use */
    static unsigned next;
    char *path = paths[next++ % 32];
    snprintf(path, sizeof paths[0], "%s/%s", interop_dir, name);
    return path;
}

static inline void interop_write_bytes(const char *name, const char *bytes,
                                       size_t n)
{
    FILE *file = fopen(interop_file(name), "w");
    CHECK(file);
    CHECK_INT(fwrite(bytes, 1, n, file), n);
    CHECK_INT(fclose(file), 0);
}

static inline void interop_write(const char *name, const char *text)
{
    interop_write_bytes(name, text, strlen(text));
}

/* Skips if one of the programs, which end with a NULL, is missing. */
static inline void interop_open(const char *const *programs)
{
    for (; *programs; programs++) {
        char command[64], why[64];
        snprintf(command, sizeof command, "command -v %s > /dev/null",
                 *programs);
        snprintf(why, sizeof why, "there is no %s", *programs);
        if (system(command) != 0)
            SKIP(why);
    }
    CHECK(mkdtemp(interop_dir));
    setenv("DIR", interop_dir, 1);
    setenv("OPENSSL_CONF", "/dev/null", 1);
    setenv("GNUTLS_SYSTEM_PRIORITY_FILE", "/dev/null", 1);
    interop_write("conf", interop_conf);
    interop_write("echo.py", interop_python);
    interop_write("echo.js", interop_node);
    interop_write("haproxy", interop_haproxy);
    interop_write("nginx", interop_nginx);
    interop_write("make", interop_make);
    CHECK_INT(system("OPENSSL_CONF=$DIR/conf sh $DIR/make 2> $DIR/log"), 0);
    test_timeout(60);
}

static inline void interop_close(void)
{
    CHECK_INT(system("rm -r $DIR"), 0);
}

/* ---- Peers ------------------------------------------------------------ */

enum { INTEROP_MOST = 1 << 20 }; /* bytes on their way at once */

enum interop_ends {
    INTEROP_ECHO, /* what it prints is its input */
    INTEROP_HAND  /* the test writes its input, and reads what it prints */
};

struct interop_peer {
    pid_t pid;
    int reserved; /* the socket of $PORT; -1: the port is ours */
    int in, out;  /* INTEROP_HAND: its input, and what it prints; else -1 */
    uint16_t port;
};

/* A socket that has a port and does not listen. */
static inline int interop_reserve(uint16_t *port)
{
    struct coil_addr addr;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK_INT(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one), 0);
    CHECK_INT(coil_addr_from_ip(&addr, "127.0.0.1", 0), 0);
    CHECK_INT(bind(fd, &addr.u.sa, addr.len), 0);
    CHECK_INT(coil_addr_local(&addr, fd), 0);
    *port = coil_addr_port(&addr);
    return fd;
}

static inline void interop_set_number(const char *name, unsigned number)
{
    char text[16];
    snprintf(text, sizeof text, "%u", number);
    setenv(name, text, 1);
}

/* In the child: nothing returns. */
static inline void interop_exec(const char *command, int in, int out)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (chdir(interop_dir) < 0)
        _exit(127);
    int log = open("log", O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(in, 0);
    dup2(out, 1);
    dup2(log, 2);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/*
 * Start a peer. With port 0 one is reserved for it, else it is told that of our
 * listener.
 */
static inline struct interop_peer
interop_start(const char *command, enum interop_ends ends, uint16_t port)
{
    struct interop_peer peer = {
        .reserved = -1, .in = -1, .out = -1, .port = port
    };
    int in[2], out[2];
    if (port == 0)
        peer.reserved = interop_reserve(&peer.port);
    interop_set_number("PORT", peer.port);
    CHECK_INT(pipe2(in, O_CLOEXEC), 0);
    CHECK_INT(pipe2(out, O_CLOEXEC), 0);
    fcntl(in[1], F_SETPIPE_SZ, INTEROP_MOST); /* an echo waits for itself */
    peer.pid = fork();
    CHECK(peer.pid >= 0);
    if (peer.pid == 0)
        interop_exec(command, in[0], ends == INTEROP_ECHO ? in[1] : out[1]);
    close(in[0]);
    close(out[1]);
    if (ends == INTEROP_HAND) {
        peer.in = in[1];
        peer.out = out[0];
    } else {
        close(in[1]);
        close(out[0]);
    }
    return peer;
}

static inline void interop_stop(struct interop_peer *peer)
{
    int status;
    kill(peer->pid, SIGKILL);
    CHECK_INT(waitpid(peer->pid, &status, 0), peer->pid);
    if (peer->reserved >= 0)
        close(peer->reserved);
    if (peer->in >= 0) {
        close(peer->in);
        close(peer->out);
    }
}

/* What the peer has printed until it ended. */
static inline size_t interop_said(struct interop_peer *peer, char *text,
                                  size_t size)
{
    size_t n = 0;
    ssize_t some;
    while (n < size - 1 && (some = read(peer->out, text + n, size - 1 - n)) > 0)
        n += (size_t)some;
    text[n] = '\0';
    return n;
}

static inline void interop_tell(struct interop_peer *peer, const char *text)
{
    CHECK_INT(write(peer->in, text, strlen(text)), strlen(text));
}

/* What the peer prints, up to and including `end`. */
static inline void interop_wait_for(struct interop_peer *peer, const char *end)
{
    char text[4096];
    size_t n = 0;
    do {
        CHECK(n < sizeof text - 1);
        CHECK_INT(read(peer->out, text + n, 1), 1);
        text[++n] = '\0';
        test_note("the peer has said: %s", text);
    } while (!strstr(text, end));
}

/* A connection to a peer, which may not listen yet. */
static inline struct coil_stream *interop_connect(struct interop_peer *peer)
{
    for (;;) {
        int err;
        struct coil_stream *s = task_stream(
            coil_spawn(coil_open_connection("127.0.0.1", peer->port, NULL)),
            &err);
        if (err == 0)
            return s;
        CHECK_INT(err, -ECONNREFUSED);
        CHECK_INT(waitpid(peer->pid, NULL, WNOHANG), 0); /* it has ended */
        wait_int(coil_sleep(COIL_MS(10)));
    }
}

static inline struct coil_listener *interop_listen(uint16_t *port)
{
    struct coil_listener *listener;
    struct coil_addr addr;
    CHECK_INT(coil_addr_from_ip(&addr, "127.0.0.1", 0), 0);
    CHECK_INT(coil_listener_open(&listener, &addr, 16), 0);
    coil_listener_addr(listener, &addr);
    *port = coil_addr_port(&addr);
    return listener;
}

/* ---- What is said ----------------------------------------------------- */

/*
 * Digits, and a newline at their end: some peers read lines, and some look for
 * commands at the beginning of what they read.
 */
static inline const char *interop_text(size_t n)
{
    static char text[INTEROP_MOST];
    for (size_t i = 0; i < n - 1; i++)
        text[i] = (char)('0' + i * 7 % 10);
    text[n - 1] = '\n';
    return text;
}

/* What is written to one stream comes out of the other, meanwhile. */
static inline void interop_copy(struct coil_stream *from,
                                struct coil_stream *to, size_t n)
{
    static char back[INTEROP_MOST];
    const char *text = interop_text(n);
    struct coil_task *write = coil_spawn(coil_stream_write(from, text, n));
    test_note("%zu bytes", n);
    CHECK_INT(wait_int(coil_stream_read_exactly(to, back, n)), n);
    CHECK_MEM(back, text, n);
    CHECK_INT(stage_run(write), 0);
    coil_task_drop(&write);
}

/* The least, one full record, one byte more, many records. */
static const size_t interop_sizes[] = { 1, 16384, 16385, INTEROP_MOST };

enum { INTEROP_SIZES = sizeof interop_sizes / sizeof *interop_sizes };

static inline void interop_echo(struct coil_stream *s, int sizes)
{
    for (int i = 0; i < sizes; i++)
        interop_copy(s, s, interop_sizes[i]);
}

/* ---- Rows ------------------------------------------------------------- */

enum interop_close { INTEROP_WE_CLOSE, INTEROP_PEER_CLOSES };

struct interop_row {
    const char *command;     /* of the peer */
    const char *key;         /* $KEY: the server's certificate; "p256" */
    const char *more;        /* $MORE */
    unsigned version, suite; /* what is agreed on; 0: it does not matter */
    enum coil_tls_version least, most; /* of coil */
    enum interop_close close;
    int sizes;             /* so many of interop_sizes; all */
    bool ends_rudely;      /* the peer does not answer our close_notify */
    bool shows;            /* the client has a certificate */
    enum coil_tls_ask ask; /* coil as server */
    const char *alpn[3];   /* what coil offers or accepts; the first is agreed
                              on */
    const char *name;      /* "a.test" */
    bool resumed;          /* an earlier session is resumed */
    int err, code;         /* of a handshake that fails */
};

static inline size_t interop_alpn_n(const struct interop_row *row)
{
    size_t n = 0;
    while (n < 3 && row->alpn[n])
        n++;
    return n;
}

static inline const char *interop_key(const struct interop_row *row)
{
    return row->key ? row->key : "p256";
}

static inline void interop_set(const struct interop_row *row)
{
    setenv("KEY", interop_key(row), 1);
    setenv("MORE", row->more ? row->more : "", 1);
}

static inline struct coil_tls_client_options
interop_client_options(const struct interop_row *row)
{
    struct coil_tls_client_options o = COIL_TLS_CLIENT_OPTIONS_INIT;
    o.engine = interop_engine();
    o.ca.file = interop_file("ca.pem");
    if (row->shows)
        o.certificate.file = interop_file("client.pem");
    o.alpn = row->alpn;
    o.alpn_n = interop_alpn_n(row);
    o.version_min = row->least;
    o.version_max = row->most;
    return o;
}

/* Servers choose the certificate of b.test for that name. */
static bool interop_chooses;

static inline struct coil_tls_server *
interop_choose(struct coil_tls_server *server, const char *name, void *arg)
{
    return strcmp(name, "b.test") == 0 ? arg : server;
}

static inline struct coil_tls_server_options
interop_server_options(const struct interop_row *row)
{
    static char name[16];
    struct coil_tls_server_options o = COIL_TLS_SERVER_OPTIONS_INIT;
    snprintf(name, sizeof name, "%s.pem", interop_key(row));
    o.engine = interop_engine();
    o.certificate.file = interop_file(name);
    o.ask = row->ask;
    o.ca.file = row->ask ? interop_file("ca.pem") : NULL;
    o.alpn = row->alpn;
    o.alpn_n = interop_alpn_n(row);
    o.version_min = row->least;
    o.version_max = row->most;
    return o;
}

static inline struct coil_tls_server *interop_server_b(void)
{
    static const struct interop_row b = { .key = "b" };
    struct coil_tls_server_options options = interop_server_options(&b);
    return kit_server(&options);
}

static inline void interop_check_info(const struct interop_row *row,
                                      bool is_server, struct coil_stream *s)
{
    struct coil_tls_info info;
    CHECK(coil_tls_get_info(s, &info));
    if (row->version)
        CHECK_INT(info.version, row->version);
    if (row->suite)
        CHECK_INT(info.suite, row->suite);
    CHECK_STR(info.alpn, row->alpn[0] ? row->alpn[0] : "");
    CHECK_INT(info.resumed, row->resumed);
    CHECK_INT(info.certificate != NULL, !is_server || row->shows);
}

/*
 * Both ends tell each other that they have said all, whoever begins. A peer
 * that answers a close_notify by closing may reset the connection.
 */
static inline void interop_end(const struct interop_row *row,
                               struct coil_stream *s)
{
    if (row->close == INTEROP_PEER_CLOSES)
        CHECK_INT(wait_int(coil_stream_write(s, "bye\n", 4)), 4);
    else
        CHECK_INT(wait_int(coil_stream_write_eof(s)), 0);
    test_note("%s %s: the end", row->command, row->more ? row->more : "");
    int64_t n = wait_int(coil_stream_fill(s, 1));
    if (!row->ends_rudely)
        CHECK_INT(n, 0);
    CHECK_INT(wait_int(coil_stream_close(s)), 0);
}

/* The sessions of clients, if it is not NULL. */
static struct coil_tls_cache *interop_cache;

/* The handshake of coil as a client. */
static inline struct coil_stream *
interop_handshake(const struct interop_row *row, struct coil_stream *s,
                  struct coil_tls_client *client)
{
    const char *name = row->name ? row->name : "a.test";
    struct kit_result r = { .why = { "" } };
    kit_take(&r, coil_spawn(coil_tls_connect_cached(s, client, interop_cache,
                                                    name, 1, &r.why)));
    test_note("%s, %s, %s: %d %#x %s", row->command, interop_key(row),
              row->more ? row->more : "", r.err, r.detail, r.why.text);
    CHECK_INT(r.err, row->err);
    if (r.err < 0)
        CHECK_INT(COIL_DETAIL_CODE(r.detail), row->code);
    return r.stream;
}

/* coil is the client, the peer an echo. */
static inline void interop_client(const struct interop_row *row,
                                  enum interop_ends ends)
{
    struct coil_tls_client_options options = interop_client_options(row);
    interop_set(row);
    struct interop_peer peer = interop_start(row->command, ends, 0);
    stage_open();
    struct coil_tls_client *client = kit_client(&options);
    struct coil_stream *s = interop_handshake(row, interop_connect(&peer),
                                              client);
    if (s) {
        interop_check_info(row, false, s);
        interop_echo(s, row->sizes ? row->sizes : INTEROP_SIZES);
        interop_end(row, s);
    }
    coil_tls_client_unref(client);
    stage_close();
    interop_stop(&peer);
}

/* The handshake of coil as a server, with the next that connects. */
static inline struct coil_stream *interop_accept(const struct interop_row *row,
                                                 struct interop_peer *peer,
                                                 struct coil_listener *listener,
                                                 struct coil_tls_server *server)
{
    struct kit_result r = { .why = { "" } };
    struct coil_task *accept = coil_spawn(coil_listener_accept(listener));
    while (!coil_task_done(accept)) {
        CHECK_INT(waitpid(peer->pid, NULL, WNOHANG), 0); /* it has ended */
        coil_loop_pass(stage_loop, COIL_MS(50));
    }
    kit_take(&r, accept);
    CHECK_INT(r.err, 0);
    kit_take(&r, coil_spawn(coil_tls_accept(r.stream, server, &r.why)));
    test_note("%s, %s, %s: %d %#x %s", row->command, interop_key(row),
              row->more ? row->more : "", r.err, r.detail, r.why.text);
    CHECK_INT(r.err, row->err);
    if (r.err < 0)
        CHECK_INT(COIL_DETAIL_CODE(r.detail), row->code);
    return r.stream;
}

/* coil is the server, the peer an echo. */
static inline void interop_server(const struct interop_row *row,
                                  enum interop_ends ends)
{
    struct coil_tls_server_options options = interop_server_options(row);
    uint16_t port;
    interop_set(row);
    stage_open();
    struct coil_listener *listener = interop_listen(&port);
    struct coil_tls_server *b = interop_chooses ? interop_server_b() : NULL;
    options.choose = b ? interop_choose : NULL;
    options.choose_arg = b;
    struct coil_tls_server *server = kit_server(&options);
    struct interop_peer peer = interop_start(row->command, ends, port);
    struct coil_stream *s = interop_accept(row, &peer, listener, server);
    if (s) {
        interop_check_info(row, true, s);
        interop_echo(s, row->sizes ? row->sizes : INTEROP_SIZES);
        interop_end(row, s);
    }
    CHECK_INT(wait_int(coil_listener_close(listener)), 0);
    coil_tls_server_unref(server);
    coil_tls_server_unref(b);
    stage_close();
    interop_stop(&peer);
}

#endif
