// SPDX-License-Identifier: MIT
#ifndef COILI_CONNECTION_H
#define COILI_CONNECTION_H

/*
 * connection.h: one connection of coil's own engine, as the files of this
 * directory see it.
 *
 *     engine.c    records, messages, order, keys of an open connection: what
 *                 both roles share, and the table of engine.h
 *     keys.c      the keys of a handshake, and Finished
 *     proof.c     certificates and signatures
 *     client.c    the handshake of a client, of TLS 1.3 and 1.2
 *     server.c    that of a server
 *
 * A role is a set of handlers. engine.c finds the handler in one table, by the
 * state of the connection and the type of the message: what has no row there is
 * refused. A handler reads the message, adds it to the transcript, queues what
 * is to be answered, and sets the next state.
 *
 * A costly step (a key, a combination, a chain, a signature) is parked: the
 * handler calls coili_park() with two functions and returns its result. The
 * first function then runs in work(), in any thread, and may touch nothing but
 * `c->shake` and what is immutable. The second runs in resume(), and goes on as
 * the handler would have. The message stays where it is until that returns.
 *
 * What is needed only until the connection is open stands in `c->shake`, which
 * is wiped and freed then.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tls/bear/prf.h"
#include "tls/bear/record.h"
#include "tls/bear/schedule.h"
#include "tls/bear/share.h"
#include "tls/bear/sign.h"
#include "tls/bear/transcript.h"
#include "tls/engine.h"
#include "tls/hello.h"
#include "tls/message.h"
#include "tls/setup.h"

/* What a connection waits for. */
enum coili_state {
    COILI_TLS_DEAD, /* it has failed: nothing is taken any more */

    COILI_CLIENT_WAITS_HELLO,
    COILI_CLIENT_WAITS_HELLO_AGAIN, /* behind a HelloRetryRequest */
    COILI_CLIENT_WAITS_EXTENSIONS,
    COILI_CLIENT_WAITS_CERTIFICATE, /* or CertificateRequest */
    COILI_CLIENT_WAITS_ONLY_CERTIFICATE,
    COILI_CLIENT_WAITS_SIGNATURE,
    COILI_CLIENT_WAITS_FINISHED,
    COILI_CLIENT_OPEN,

    COILI_CLIENT12_WAITS_CERTIFICATE,
    COILI_CLIENT12_WAITS_EXCHANGE,
    COILI_CLIENT12_WAITS_DONE, /* or CertificateRequest */
    COILI_CLIENT12_WAITS_ONLY_DONE,
    COILI_CLIENT12_WAITS_TICKET,
    COILI_CLIENT12_WAITS_CHANGE, /* ChangeCipherSpec */
    COILI_CLIENT12_WAITS_FINISHED,
    COILI_CLIENT12_OPEN,

    COILI_SERVER_WAITS_HELLO,
    COILI_SERVER_WAITS_HELLO_AGAIN,
    COILI_SERVER_WAITS_CERTIFICATE,
    COILI_SERVER_WAITS_SIGNATURE,
    COILI_SERVER_WAITS_FINISHED,
    COILI_SERVER_OPEN,

    COILI_SERVER12_WAITS_CERTIFICATE,
    COILI_SERVER12_WAITS_EXCHANGE,
    COILI_SERVER12_WAITS_SIGNATURE,
    COILI_SERVER12_WAITS_CHANGE,
    COILI_SERVER12_WAITS_FINISHED,
    COILI_SERVER12_OPEN
};

/* Records, warnings and messages in a row that bring nothing. */
#define COILI_IDLE_MAX 32

struct coili_connection;

/* The parts of a parked step, see above. */
typedef void coili_work_fn(struct coili_connection *c);
typedef int coili_then_fn(struct coili_connection *c,
                          struct coili_tls_out *out);

/*
 * A handler of a message: `m` is all of it, with its head. The result is one of
 * enum coili_tls_event: QUIET, WORK (of coili_park()), OPEN (of
 * coili_connection_open()), or an error.
 */
typedef int coili_message_fn(struct coili_connection *c, const unsigned char *m,
                             size_t len, struct coili_tls_out *out);

/* Until the connection is open. From coil_alloc(). */
struct coili_shake {
    coili_work_fn *work;
    coili_then_fn *then;

    /*
     * Set by coili_connection_verified() alone: without it no connection opens.
     */
    bool verified;
    bool early_change; /* a ChangeCipherSpec before ServerHello: 1.2 has none */
    bool is_resumed;   /* by a PSK, or in 1.2 by a ticket */
    bool is_asked;     /* client: for a certificate; server: it has asked */
    bool has_ems;      /* 1.2: extended master secret */
    bool expects_ticket; /* 1.2: the server has announced one */
    bool change_sent;    /* 1.3: a ChangeCipherSpec; one is enough */

    struct coili_transcript transcript;
    struct coili_schedule schedule;     /* 1.3 */
    struct coili_secret client, server; /* 1.3: handshake traffic secrets */
    struct coili_secret client_traffic; /* 1.3: for what follows Finished */
    unsigned char master[COILI_MASTER_BYTES];  /* 1.2 */
    struct coili_protection next_in, next_out; /* 1.2: from CCS on */
    unsigned char client_random[32], server_random[32], session_id[32];

    /* Randomness for the next step, from coil_entropy(). */
    unsigned char seed[COILI_SHARE_SEED_BYTES];
    unsigned char salt[COILI_SALT_BYTES];

    struct coili_share share;
    struct coili_bytes peer_share; /* a view of the message, while parked */
    unsigned char shared[COILI_SHARED_BYTES_MAX];
    size_t shared_len; /* 0: the peer's share is wrong */

    /* The peer's certificates and its signature. */
    struct coili_tls_certificates certificates; /* views, while parked */
    struct coili_verdict verdict;
    struct coili_signable signable;
    struct coili_tls_signature signature; /* a view, while parked */
    int result; /* of a parked step: an alert, or an error */

    /* Our own signature. */
    struct coili_signable own_signable;
    unsigned own_scheme; /* 0: we have no certificate that suits */
    unsigned char own_signature[COILI_SIGNATURE_BYTES_MAX];
    size_t own_signature_len; /* 0: signing failed */

    /*
     * The agreed protocol, with a length byte in front: in handshake->alpn of a
     * client, in setup->alpn of a server; or NULL.
     */
    const unsigned char *alpn;

    struct coili_tls_offer offer; /* client */
    struct coili_tls_out ticket;  /* client, 1.2: until Finished has come */
    uint32_t ticket_lifetime;

    /* Server. */
    struct coili_bytes hello_id; /* the client's session id: a view of its
                                    hello, while that is handled or parked */
    uint16_t group;              /* of the key exchange, or of a retry */
    uint16_t psk;                /* which of the client's is resumed */
    uint32_t early_bytes; /* of records of early data that may still come */
    bool gives_ticket;
    bool has_certificate;       /* the client; it must sign */
    unsigned char *first_hello; /* the body of the hello that was answered by a
                                   HelloRetryRequest; from coil_alloc() */
    size_t first_hello_len;

    struct coili_tls_out flight; /* messages that are no records yet */
    size_t parked;               /* bytes of the message that is parked */
};

/* Bytes of handshake messages that are not complete, or not handled. */
struct coili_joined {
    uint32_t size, at, end;
    unsigned char bytes[];
};

/* What info() shows besides numbers. One block, made once. */
struct coili_agreed {
    uint32_t bytes; /* of this block */
    uint32_t leaf_at, leaf_bytes;
    uint16_t name_at;
    unsigned char leaf_sha256[COILI_SHA256_BYTES];
    char text[]; /* the protocol, the name, the leaf */
};

struct coili_connection {
    struct coili_tls_state base;
    struct coili_shake *shake;   /* NULL: the connection is open */
    struct coili_joined *joined; /* NULL: nothing waits */
    struct coili_agreed *agreed; /* NULL: there is nothing */
    struct coili_protection in, out;

    /* 1.3: the traffic secrets of `in` and `out`, for a KeyUpdate. */
    struct coili_secret secret_in, secret_out;
    struct coili_secret *resumption; /* 1.3: as long as tickets may come; from
                                        coil_alloc() */

    uint16_t version; /* 0 before ServerHello */
    uint16_t suite;
    uint8_t state;        /* enum coili_state */
    uint8_t idle;         /* see COILI_IDLE_MAX */
    uint8_t alert;        /* to be sent for the error */
    bool sends_alert : 1; /* it is */
    bool owes_update : 1; /* a KeyUpdate stands before our next data */
    bool ended : 1;       /* close_notify was sent */
    bool resumed : 1;
    bool asked_anew : 1; /* 1.2: a HelloRequest was the last that came */
};

_Static_assert(sizeof(struct coili_connection) <= 320,
               "an idle connection is small");

static inline struct coili_connection *
coili_connection_of(struct coili_tls_state *base)
{
    return (struct coili_connection *)(void *)base;
}

static inline bool coili_connection_is_open(const struct coili_connection *c)
{
    return c->state == COILI_CLIENT_OPEN || c->state == COILI_CLIENT12_OPEN ||
           c->state == COILI_SERVER_OPEN || c->state == COILI_SERVER12_OPEN;
}

/* The digest of the suite. */
static inline enum coili_digest
coili_connection_digest(const struct coili_connection *c)
{
    return coili_suite_hash_bytes(c->suite) == 48 ? COILI_SHA384 : COILI_SHA256;
}

/* The body of a message: what readers get. */
static inline struct coili_bytes coili_body_of(const unsigned char *m,
                                               size_t len)
{
    return (struct coili_bytes){ m + COILI_TLS_MESSAGE_HEAD_BYTES,
                                 len - COILI_TLS_MESSAGE_HEAD_BYTES };
}

enum coili_cipher coili_suite_cipher(unsigned suite);

/* ---- Failing ---------------------------------------------------------- */

/* The connection ends with this alert. Result: COIL_ETLS */
int coili_connection_fail(struct coili_connection *c, int alert);

/* The same with a sentence, which may be NULL. */
int coili_connection_fail_because(struct coili_connection *c, int alert,
                                  const char *why);

/* The peer's chain was refused with `err`. Result: `err` */
int coili_connection_fail_chain(struct coili_connection *c, int err,
                                enum coil_cert_fault fault);

/* ---- Going on --------------------------------------------------------- */

/*
 * Have `work` done in whatever thread, and then `then` in the loop's. Result:
 * COILI_TLS_WORK
 */
int coili_park(struct coili_connection *c, coili_work_fn *work,
               coili_then_fn *then);

/*
 * The keys change behind the message that is handled: nothing may follow in its
 * record (RFC 8446, 5.1). Rows of the table say so for messages where it is
 * always so. Result: 0 or an error
 */
int coili_connection_check_last(struct coili_connection *c);

/*
 * The peer is who it should be: its signature is right and its chain believed,
 * or it has proved that it knows a session of ours. For a server that asks for
 * no certificate, or whose client may have none: it knows so.
 */
void coili_connection_verified(struct coili_connection *c);

/*
 * The handshake is over. The one way into the states that are open: without
 * coili_connection_verified() it is an internal error. Keys, secrets and
 * base.handshake->asked are set before. `leaf` is the peer's certificate, at
 * NULL if there is none.
 *
 * Result    COILI_TLS_OPEN, or an error
 */
int coili_connection_open(struct coili_connection *c);

/*
 * Keep the secret that tickets are made of, in an open connection. The
 * transcript ends with the client's Finished. Result: 0 or -ENOMEM
 */
int coili_connection_keep_resumption(struct coili_connection *c);
void coili_connection_drop_resumption(struct coili_connection *c);

/*
 * Keep the peer's leaf for info(). At most once, before the connection is open.
 * Result: 0 or -ENOMEM
 */
int coili_connection_keep_leaf(struct coili_connection *c,
                               struct coili_der leaf,
                               const unsigned char sha256[32]);

/* ---- Sending ---------------------------------------------------------- */

/*
 * Write a handshake message: begin with room for it, write it, end. It is added
 * to the transcript and waits in the flight until coili_flight_send().
 *
 *     struct coili_writer w;
 *     if (coili_message_begin(c, room, &w) < 0)
 *         return -ENOMEM;
 *     coili_tls_write_...(&w, ...);
 *     int err = coili_message_end(c, &w);
 *
 * Result    0; -ENOMEM; of the second: COIL_ETLS: the room was too small
 */
int coili_message_begin(struct coili_connection *c, size_t room,
                        struct coili_writer *w);
int coili_message_end(struct coili_connection *c, const struct coili_writer *w);

/* Put what waits in the flight into records, under the keys of now. */
int coili_flight_send(struct coili_connection *c, struct coili_tls_out *out);

/* ChangeCipherSpec: plain in 1.3. Result: 0 or -ENOMEM */
int coili_change_send(struct coili_connection *c, struct coili_tls_out *out);

/* Append records of `type`. Result: 0 or -ENOMEM */
int coili_records_send(struct coili_connection *c,
                       enum coili_tls_record_type type, const void *data,
                       size_t len, struct coili_tls_out *out);

/* ---- The transcript --------------------------------------------------- */

static inline void coili_transcript_take(struct coili_connection *c,
                                         const unsigned char *m, size_t len)
{
    coili_transcript_add(&c->shake->transcript, m, len);
}

/* The hash of all messages so far, by the suite's digest. */
static inline void
coili_connection_hash(const struct coili_connection *c,
                      unsigned char hash[COILI_HASH_BYTES_MAX])
{
    coili_transcript_hash(&c->shake->transcript, coili_connection_digest(c),
                          hash);
}

/* ---- Keys of TLS 1.3 -------------------------------------------------- */

/* From now on read, or write, by this traffic secret. */
void coili_read_by(struct coili_connection *c,
                   const struct coili_secret *secret);
void coili_write_by(struct coili_connection *c,
                    const struct coili_secret *secret);

/* ---- Keys and Finished: keys.c ---------------------------------------- */

/*
 * TLS 1.3: from k->shared to the secrets of the handshake, k->client and
 * k->server, if the transcript ends with ServerHello; to those of what follows,
 * k->client_traffic and *server, if it ends with the server's Finished. The
 * caller wipes *server.
 */
void coili_keys13_handshake(struct coili_connection *c);
void coili_keys13_traffic(struct coili_connection *c,
                          struct coili_secret *server);

/*
 * TLS 1.2: from k->shared to k->master, if the transcript ends with
 * ClientKeyExchange; from there to k->next_in and k->next_out.
 */
void coili_keys12_master(struct coili_connection *c);
void coili_keys12_derive(struct coili_connection *c);

/* Queue our Finished, of either version. Result: 0 or an error */
int coili_finished_put(struct coili_connection *c);

/*
 * Compare the peer's Finished, and add it to the transcript. Result: 0, or the
 * error of one that is wrong
 */
int coili_finished_take(struct coili_connection *c, const unsigned char *m,
                        size_t len);

/* ---- Certificates and signatures: proof.c ----------------------------- */

/*
 * Work: is the peer's chain, k->certificates, to be believed? Then: is
 * k->signable signed by its key? k->result is 0, or an error or an alert.
 */
coili_work_fn coili_chain_judge, coili_peer_signature_verify;

/* Queue Certificate: our chain, or none. Result: 0 or -ENOMEM */
int coili_certificates_put(struct coili_connection *c, bool shows);

/*
 * Have k->own_signable signed, and go on with `then`; and queue the
 * CertificateVerify of it. Result: as coili_park(); 0 or an error. The first one
 * is that work alone: k->salt is filled.
 */
void coili_own_signature_make(struct coili_connection *c);
int coili_park_signature(struct coili_connection *c, coili_then_fn *then);
int coili_signature_put(struct coili_connection *c);

/* ---- Roles ------------------------------------------------------------ */

/* Begin. Result: as start() of engine.h */
int coili_client_start(struct coili_connection *c, struct coili_tls_out *out);

/* Handlers of a client; engine.c says when each is called. */
coili_message_fn coili_client_hello, coili_client_extensions,
    coili_client_request, coili_client_certificate, coili_client_signature,
    coili_client_finished, coili_client_ticket;
coili_message_fn coili_client12_certificate, coili_client12_exchange,
    coili_client12_request, coili_client12_done, coili_client12_ticket,
    coili_client12_finished;

/* The same of a server. */
int coili_server_start(struct coili_connection *c);
coili_message_fn coili_server_hello, coili_server_certificate,
    coili_server_signature, coili_server_finished;
coili_message_fn coili_server12_exchange, coili_server12_finished;

/*
 * The message with the ticket that stands before a server's first data, if one
 * is due: at most COILI_TICKET_ROOM bytes.
 *
 * Result    its bytes; 0: there is none
 */
#define COILI_TICKET_ROOM 4200
size_t coili_server_write_ticket(struct coili_connection *c,
                                 unsigned char message[COILI_TICKET_ROOM]);

#endif
