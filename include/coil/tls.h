// SPDX-License-Identifier: MIT
#ifndef COIL_TLS_H
#define COIL_TLS_H

/*
 * tls.h: TLS 1.3 and 1.2 over any stream; the library coil-tls.
 *
 *     struct coil_tls_client_options options = COIL_TLS_CLIENT_OPTIONS_INIT;
 *     options.alpn = (const char *const[]){ "http/1.1" };
 *     options.alpn_n = 1;
 *     err = coil_tls_client_new(&tls, &options, &why);
 *     if (err < 0)
 *         puts(why.text);
 *
 *     AWAIT_TO(my->stream, coil_open_connection("example.com", 443, NULL));
 *     AWAIT_TO(my->stream, coil_tls_connect(my->stream, my->tls,
 *                                           "example.com", NULL));
 *
 * What the connections of a client or a server have in common is a setup:
 * trust, certificates, keys, versions, protocols (ALPN). It is made once, never
 * changes, is counted, and may be used by several loops. To reload a
 * certificate, make another setup and pass that one from then on: connections
 * keep the one they began with.
 *
 * A TLS stream is a stream like any other (stream.h), over a stream of any
 * kind: a socket, one half of a pair, another TLS stream. Received bytes are
 * decrypted in the buffer in which they were received, and lent there. A stream
 * that is idle has no buffer.
 *
 *   - coil_stream_write_eof() sends close_notify, the message of TLS that says
 *     that no more data come. The stream can still be read, and the stream
 *     below stays open in both directions;
 *   - coil_stream_close() sends close_notify, unless a write was cut short, and
 *     closes the stream below. It waits at most options.close_ns for a peer
 *     that does not take the close_notify;
 *   - a stream below that ends without close_notify was perhaps cut off: what
 *     has come can be read, then a fill fails with COIL_EINCOMPLETE;
 *   - a cancelled write whose bytes were encrypted in part is the last one:
 *     later ones fail with -EPIPE, and the peer gets COIL_EINCOMPLETE.
 *
 * Servers give session tickets, with which clients begin later connections
 * faster. A client keeps them in a cache: tls_cache.h. How servers share the
 * keys for tickets, and how keys are replaced, is in tls_ticket_keys.h.
 *
 * A handshake takes milliseconds of CPU time. A loop takes one costly step of
 * one handshake in each pass, so that other tasks wait for no more than that.
 * With options.executor these steps run in threads, several at once, and the
 * loop goes on meanwhile. That is worth it for servers that many clients
 * connect to at once, and for keys above RSA 2048 or P-256.
 *
 * What speaks the protocol is an engine: coil's own, or OpenSSL (openssl.h).
 * coil's own was written for this project. It calls BearSSL for the
 * cryptography, and there only code whose time does not depend on secrets.
 * Nobody has audited coil's part. README.md says what it was tested against.
 *
 * Whether a certificate was revoked is not checked. There are no renegotiation,
 * no 0-RTT data (those before the end of the handshake), no compression, no
 * post-quantum key exchange and no Ed25519.
 *
 * TLS has two errors, both in COIL_PHASE_TLS. coil_explain() makes a sentence
 * of an error and its detail:
 *
 *     COIL_ETLS   the code is an alert that coil has sent (RFC 8446, section
 *                 6); an alert of the peer's, plus COIL_TLS_BY_PEER; or another
 *                 enum coil_tls_reason
 *     COIL_ECERT  the peer's certificate is not trusted; the code is an enum
 *                 coil_cert_fault
 */

#include <coil/api.h>
#include <coil/error.h>
#include <coil/future.h>
#include <coil/time.h>

COIL_BEGIN_DECLS

struct coil_executor;
struct coil_stream;
struct coil_tls_cache;
struct coil_tls_client;
struct coil_tls_engine;
struct coil_tls_server;
struct coil_tls_ticket_keys;

enum coil_tls_version { COIL_TLS_1_2 = 0x0303, COIL_TLS_1_3 = 0x0304 };

/*
 * The code in the detail of COIL_ETLS or COIL_ECERT. The other bits are for
 * coil_explain(), which finds the sentence of an HTTP request by them.
 */
#define COIL_TLS_CODE(detail) (COIL_DETAIL_CODE(detail) & 0x3ff)

/* What else the code of COIL_ETLS may be. */
enum coil_tls_reason {
    COIL_TLS_BY_PEER = 0x100,    /* added to an alert that the peer has sent */
    COIL_TLS_PLAIN_HTTP = 0x201, /* the port speaks plain HTTP, or other text */
    COIL_TLS_DOWNGRADED = 0x202, /* somebody between prevents TLS 1.3 */
    COIL_TLS_RENEGOTIATES = 0x203, /* the peer wants to renegotiate */
    COIL_TLS_NOT_TLS = 0x204       /* the first bytes are no TLS, and no text */
};

/*
 * Why a call has failed: one sentence, such as "the certificate is for a.test,
 * not b.test" or "server.pem:31: the private key is encrypted". A call that
 * succeeds leaves it alone.
 */
struct coil_tls_why {
    char text[384];
};

/* ---- Setups ----------------------------------------------------------- */

/* What a client or a server asks of the certificate of its peer. */
enum coil_tls_verify {
    COIL_TLS_VERIFY_CHAIN,    /* a path to a trusted authority, and the name of
                                 the server; one of the pins, if there are
                                 any */
    COIL_TLS_VERIFY_PIN_ONLY, /* one of the pins, and nothing else */
    COIL_TLS_VERIFY_NONE      /* nothing: anybody can be in between */
};

/*
 * A certificate or a key, as PEM: a file, or a text in memory if `file` is
 * NULL. Neither: there is none.
 */
struct coil_tls_pem {
    const char *file;
    const void *text;
    size_t text_bytes;
};

/*
 * coil's own engine, the default: TLS 1.3 and 1.2 with X25519, P-256 and P-384,
 * AES-GCM and ChaCha20-Poly1305; the certificate of a server or a client has a
 * key of RSA with 2048 to 4096 bits, of P-256 or of P-384.
 * For an idle connection it keeps about 300 bytes, beside the stream's own.
 * coil_openssl_engine() is another engine.
 *
 * Result    the engine, for options.engine; in any thread
 * Lifetime  static
 */
COIL_API const struct coil_tls_engine *coil_tls_own_engine(void);

/*
 * Start with COIL_TLS_CLIENT_OPTIONS_INIT; 0 means the default, which stands
 * last in each comment. A duration below 0 leaves no time at all.
 */
struct coil_tls_client_options {
    size_t size; /* sizeof(struct coil_tls_client_options) */
    const struct coil_tls_engine *engine; /* coil_tls_own_engine() */
    enum coil_tls_verify verify;          /* COIL_TLS_VERIFY_CHAIN */
    struct coil_tls_pem ca;    /* trusted authorities, instead of the system's:
                               those of the file that SSL_CERT_FILE names, else
                               of the distribution's */
    const unsigned char *pins; /* 32 bytes for each: the SHA-256 of a
                                  certificate or its SubjectPublicKeyInfo */
    size_t pins_n;
    struct coil_tls_pem
        certificate;         /* the client's own, the leaf first; none */
    struct coil_tls_pem key; /* of the leaf; in `certificate` */
    const char *const *alpn; /* protocols, the preferred one first */
    size_t alpn_n;
    enum coil_tls_version version_min; /* COIL_TLS_1_2 */
    enum coil_tls_version version_max; /* COIL_TLS_1_3 */
    int64_t handshake_ns; /* for the handshake; 60 s; COIL_NEVER: no limit */
    int64_t close_ns;     /* for the peer to take close_notify; 5 s */
    struct coil_executor *executor; /* where costly steps of handshakes run
                                       (executor.h); NULL: in the loop */
};

#define COIL_TLS_CLIENT_OPTIONS_INIT \
    COILI_OPTIONS_INIT(struct coil_tls_client_options)

/*
 * Make the setup of a client, in any thread, with a loop or without. The files
 * are read now; the file of authorities again when it has changed.
 *
 * Result    0
 * Errors    -EINVAL, or of open(2) and read(2): a file cannot be used; -ENOMEM.
 *           why->text says more
 * Lifetime  gives one reference (coil_tls_client_unref); copies `options`,
 *           NULL for the defaults; the caller lends options.executor until all
 *           handshakes have ended; `why` may be NULL
 * Source    ssl.create_default_context(), SSLContext.load_cert_chain()
 */
COIL_API COIL_NODISCARD int
coil_tls_client_new(struct coil_tls_client **out,
                    const struct coil_tls_client_options *options,
                    struct coil_tls_why *why);

/*
 * Add a reference, and drop one: in any thread. NULL may be dropped. With the
 * last reference the setup is freed and its keys are wiped.
 *
 * Result    `client`
 * Lifetime  shares
 */
COIL_API struct coil_tls_client *
coil_tls_client_ref(struct coil_tls_client *client);
COIL_API void coil_tls_client_unref(struct coil_tls_client *client);

/* What a server asks of its clients. */
enum coil_tls_ask {
    COIL_TLS_ASK_NOT,   /* no certificate */
    COIL_TLS_ASK,       /* one, which is verified; a client may have none */
    COIL_TLS_ASK_ALWAYS /* one: a client without is refused */
};

/*
 * Choose the setup for the name that a client asks for, "" if it asks for none:
 * its certificate, authorities, ALPN and versions count then; its own chooser,
 * handshake_ns and executor do not. Called in the loop's thread, in the
 * handshake; it cannot await.
 *
 * Result    the setup, which may be `server` itself; NULL: the client is
 *           refused
 * Lifetime  `name` views; the result lives until the call has returned
 * Source    SSLContext.sni_callback
 */
typedef struct coil_tls_server *
coil_tls_choose_fn(struct coil_tls_server *server, const char *name, void *arg);

/*
 * Start with COIL_TLS_SERVER_OPTIONS_INIT; the fields of one name are those of
 * a client.
 */
struct coil_tls_server_options {
    size_t size; /* sizeof(struct coil_tls_server_options) */
    const struct coil_tls_engine *engine;
    struct coil_tls_pem certificate; /* the leaf first, then intermediates */
    struct coil_tls_pem key;         /* of the leaf; in `certificate` */
    coil_tls_choose_fn *choose;      /* NULL: this setup for every name */
    void *choose_arg;
    enum coil_tls_ask ask;       /* for a client's certificate; not */
    enum coil_tls_verify verify; /* of clients, if they are asked */
    struct coil_tls_pem ca;
    const unsigned char *pins;
    size_t pins_n;
    const char *const *alpn; /* a client that offers none of them is refused;
                                one that offers none at all is not */
    size_t alpn_n;
    enum coil_tls_version version_min;
    enum coil_tls_version version_max;
    int64_t handshake_ns;
    int64_t close_ns;
    struct coil_tls_ticket_keys *ticket_keys; /* tls_ticket_keys.h; its own */
    bool no_tickets; /* each connection begins with a full handshake */
    struct coil_executor *executor;
};

#define COIL_TLS_SERVER_OPTIONS_INIT \
    COILI_OPTIONS_INIT(struct coil_tls_server_options)

/*
 * Make the setup of a server.
 *
 * Result    0
 * Errors    as coil_tls_client_new(); -EINVAL also if there is no certificate
 * Lifetime  gives one reference (coil_tls_server_unref); copies `options`, and
 *           refers to ticket_keys; the caller lends choose_arg as long as
 *           connections are accepted, and options.executor until all handshakes
 *           have ended
 * Source    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
 */
COIL_API COIL_NODISCARD int
coil_tls_server_new(struct coil_tls_server **out,
                    const struct coil_tls_server_options *options,
                    struct coil_tls_why *why);

/*
 * Add a reference, and drop one: as of a client.
 *
 * Result    `server`
 * Lifetime  shares
 */
COIL_API struct coil_tls_server *
coil_tls_server_ref(struct coil_tls_server *server);
COIL_API void coil_tls_server_unref(struct coil_tls_server *server);

/* ---- Streams ---------------------------------------------------------- */

/*
 * Speak TLS over `stream` as a client, and as a server. Bytes that the stream
 * has received and that were not consumed are the first ones of TLS: so after
 * an answer to STARTTLS consume the answer, and no more. Neither a fill nor a
 * write may wait, and the stream is used through the result only.
 *
 * `name` is the host that was dialled, as in a URL: the peer's certificate must
 * be for it. It is sent to the server (SNI), unless it is an IP address. NULL
 * only with COIL_TLS_VERIFY_NONE or _PIN_ONLY.
 *
 * Result    a struct coil_stream *, verified and ready for both directions. A
 *           TLS 1.3 server refuses the certificate of a client later: then the
 *           first fill fails
 * Errors    COIL_ETLS and COIL_ECERT, see above; -ETIMEDOUT after handshake_ns;
 *           COIL_EINCOMPLETE: the peer ended in the middle; -EINVAL: `name` is
 *           no name, or is missing; those of the stream below; with an
 *           executor COIL_ECLOSED: it was shut down, and COIL_ENOTHREAD;
 *           -ECANCELED, -ENOMEM. A step that runs in a thread is waited for,
 *           also after a time-out or a cancellation. All in COIL_PHASE_TLS;
 *           why->text says more
 * Lifetime  takes `stream`, also on error; gives the result
 *           (coil_stream_close); a stream that no await takes is closed. Copies
 *           `name`; refers to the setup; the caller lends `why`, which may be
 *           NULL, until the future is done
 * Source    asyncio loop.start_tls(), open_connection(ssl=)
 */
COIL_API COIL_NODISCARD struct coil_future *
coil_tls_connect(struct coil_stream *stream, struct coil_tls_client *client,
                 const char *name, struct coil_tls_why *why);
COIL_API COIL_NODISCARD struct coil_future *
coil_tls_accept(struct coil_stream *stream, struct coil_tls_server *server,
                struct coil_tls_why *why);

/* What the two ends have agreed on. Strings are "" if there is nothing. */
struct coil_tls_info {
    enum coil_tls_version version;
    uint16_t suite;   /* the number of IANA: 0x1301... */
    const char *alpn; /* the protocol */
    const char *name; /* server: the name that the client has asked for */
    bool resumed;     /* an earlier session: no certificate was sent */
    const unsigned char *certificate; /* the peer's leaf, DER; NULL: none */
    size_t certificate_bytes;
    unsigned char certificate_sha256[32]; /* of that; zeros: none */
};

/*
 * What a TLS stream has agreed on with its peer.
 *
 * Result    true; false, and *out unchanged: `stream` is no TLS stream
 * Lifetime  views the stream
 * Source    SSLObject.version(), cipher(), selected_alpn_protocol(),
 *           getpeercert(True)
 */
COIL_API bool coil_tls_get_info(const struct coil_stream *stream,
                                struct coil_tls_info *out);

/* ---- For libraries, and for TLS of your own --------------------------- */

/*
 * A client is reached by a table of functions. So a library can speak TLS over
 * its streams without linking coil-tls, as coil-http does, and programs without
 * TLS do not pay for it. A client of your own, over another TLS library, is a
 * struct that begins with struct coil_tls_client.
 */

/* How one connection begins. Options may be added at the end. */
struct coil_tls_connect_options {
    const char *name; /* as for coil_tls_connect() */
    const char *alpn; /* the protocol to offer if the client has none of its
                         own, at most 15 bytes; NULL: none */
    struct coil_tls_why *why;
    /*
     * Where a stream is stored that is left when the call fails after the
     * handshake has begun: an alert to the peer may wait in it. The caller
     * closes it. Lent until the future is done; NULL: it is closed in the
     * background.
     */
    struct coil_stream **failed;
    struct coil_tls_cache *cache; /* of sessions (tls_cache.h), for this port;
                                     NULL: none */
    uint16_t port;
};

struct coil_tls_client_ops {
    /* coil_tls_connect(): copies `options`, but lends alpn, too */
    struct coil_future *(*connect)(
        struct coil_stream *stream, struct coil_tls_client *client,
        const struct coil_tls_connect_options *options);
    /* In any thread */
    struct coil_tls_client *(*ref)(struct coil_tls_client *client);
    void (*unref)(struct coil_tls_client *client);
    /* What a code of COIL_ETLS means: a static sentence, "" if it is unknown */
    const char *(*words)(int code);
    /* coil_tls_cache_new() and coil_tls_cache_free(), see tls_cache.h */
    struct coil_tls_cache *(*cache_new)(size_t names);
    void (*cache_free)(struct coil_tls_cache *cache);
};

/* The beginning of a client. */
struct coil_tls_client {
    const struct coil_tls_client_ops *ops;
};

COIL_END_DECLS

#endif
