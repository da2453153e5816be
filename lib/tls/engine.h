// SPDX-License-Identifier: MIT
#ifndef COILI_TLS_ENGINE_H
#define COILI_TLS_ENGINE_H

/*
 * engine.h: the table between a TLS stream and what speaks the protocol.
 *
 * Three decisions let engines of very different shapes stand behind it:
 *
 *   - the stream frames, not the engine. The 5-byte head of a record is the
 *     same in TLS 1.2 and 1.3, so an engine always gets exactly one record;
 *   - received plaintext stays in the record's own memory: it is always
 *     shorter than the record;
 *   - what is to be sent is appended to a block of the stream's.
 *
 * So between two calls an engine holds no buffer, and a connection that is idle
 * has none. An engine knows no loop and no descriptor, and allocates nothing of
 * the loop's but `out`.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <coil/api.h>
#include <coil/tls.h>

#include "protocol.h"

struct coili_tls_setup;

/* The head of a record: type, version (which is ignored), length. */
#define COILI_TLS_HEAD_BYTES 5
#define COILI_TLS_PLAIN_BYTES_MAX 16384
/* Of what follows a head, once it is encrypted. */
#define COILI_TLS_BODY_BYTES_MAX (COILI_TLS_PLAIN_BYTES_MAX + 256)

enum coili_tls_record_type {
    COILI_TLS_CHANGE_CIPHER_SPEC = 20,
    COILI_TLS_ALERT,
    COILI_TLS_HANDSHAKE,
    COILI_TLS_DATA_RECORD
};

/* Who sends a message, or signs it. */
enum coili_side { COILI_CLIENT, COILI_SERVER };

/* ---- What is to be sent ----------------------------------------------- */

/* The most that a handshake may have to send at once. */
#define COILI_TLS_OUT_BYTES_MAX (128 * 1024)

/*
 * A block that grows by coil_alloc(). While `lent` its first block belongs to
 * somebody else and is not freed when it grows.
 */
struct coili_tls_out {
    unsigned char *data;
    size_t len, size;
    bool lent;
};

/*
 * Append `n` bytes. They are not initialised.
 *
 * Result    where they are; NULL: there is no memory, or the bound is reached
 */
COIL_API unsigned char *coili_tls_out_append(struct coili_tls_out *out,
                                             size_t n);

/* Free the block; `out` is empty then. */
COIL_API void coili_tls_out_free(struct coili_tls_out *out);

/* ---- Sessions --------------------------------------------------------- */

/* Bytes that stand elsewhere; none: len == 0. */
struct coili_tls_view {
    const unsigned char *at;
    size_t len;
};

#define COILI_TLS_SECRET_BYTES_MAX 48

/*
 * A session that can be resumed: of a client, which keeps it with the server's
 * ticket, or of a server, which seals it into a ticket. Any engine can fill one
 * in. An engine with a form of its own for all of it puts that into `ticket`,
 * and sets of the rest only version and lifetime.
 *
 * TLS 1.2 without the extended master secret (RFC 7627) has no sessions here.
 */
struct coili_tls_session {
    uint16_t version;  /* 0x0303, 0x0304: one never resumes the other */
    uint16_t suite;    /* 0x1301... */
    uint32_t lifetime; /* client: of the ticket, in seconds, as it came */
    uint32_t age_add;  /* client, TLS 1.3 */
    uint8_t secret_len;
    unsigned char
        secret[COILI_TLS_SECRET_BYTES_MAX]; /* TLS 1.3: the PSK of the ticket;
                                               1.2: the master secret */
    unsigned char leaf_sha256[32];     /* of the peer's certificate, verified in
                                          the full handshake; zeros: none */
    struct coili_tls_view certificate; /* that one, DER, if it is kept */
    struct coili_tls_view alpn;        /* the protocol that was chosen */
    struct coili_tls_view ticket;      /* client: as it came */
    int64_t received_ms; /* client: when, since 1970; engines do not set it */
    int64_t believed_until; /* seconds since 1970: no resumption after this;
                               engines do not set it */
};

struct coili_tls_sessions; /* those of one name, in a cache */

/* ---- One connection --------------------------------------------------- */

/* What an engine needs from outside until the connection is open. */
struct coili_tls_handshake {
    const char *name; /* client: the host or address that was dialled */
    const unsigned char *alpn; /* client: what it offers, as in the extension */
    uint16_t alpn_bytes;       /* 0: nothing */
    int64_t now;      /* seconds since 1970; set before each call of work */
    char *why;        /* COILI_SENTENCE_BYTES, for the sentence of an error */
    char asked[256];  /* server_name: what the client asks for, "" for nothing;
                         in a server the engine writes it */
    const struct coili_tls_session *session; /* client: to be offered, or NULL;
                                                see coili_tls_resumed() */
    uint32_t session_age_ms;                 /* since it was received */
    bool resumed;                            /* set by coili_tls_resumed() */
};

/* The beginning of an engine's state. */
struct coili_tls_state {
    struct coili_tls_setup *setup;         /* a reference of the state's */
    struct coili_tls_handshake *handshake; /* lent until OPEN; then NULL */
    uint32_t detail;  /* of an error: a detail of error.h */
    uint8_t overhead; /* from OPEN on: the bytes that seal() adds to a record,
                           as a rule; with 2 added, those of end() */
    uint8_t kept;     /* sessions that were given to coili_tls_keep() */
    uint16_t extra;   /* from OPEN on: what the next seal() puts before its
                           record, such as a ticket; 0 if that is not known */
    struct coili_tls_sessions *sessions; /* client: where new sessions go, a
                                            reference; NULL: none is wanted */
    int64_t believed_until; /* for sessions of this connection; 0: not known */
};

/* Where the plaintext of a record stands: `len` bytes from record[at] on. */
struct coili_tls_data {
    size_t at, len;
};

/* Results of record() and resume(); negative is an error. */
enum coili_tls_event {
    COILI_TLS_QUIET, /* nothing for the reader */
    COILI_TLS_DATA,  /* `data` is set, and not empty */
    COILI_TLS_OPEN,  /* the peer is verified: data may flow both ways */
    COILI_TLS_ENDED, /* close_notify */
    COILI_TLS_WORK   /* a costly step is parked: work(), then resume() */
};

struct coil_tls_engine {
    const char *name;
    size_t
        state_bytes; /* with the struct coili_tls_state that it begins with */

    /*
     * Make what all connections of one setup share, setup->prepared, and drop
     * it. Any thread. Result: 0, or an error and its sentence in `why`.
     */
    int (*prepare)(struct coili_tls_setup *setup, char *why);
    void (*forget)(struct coili_tls_setup *setup);

    /*
     * Begin. The state is zero but for its head. A client's first flight is in
     * `out` then; a server's is empty. Result: 0, COILI_TLS_WORK or an error.
     */
    int (*start)(struct coili_tls_state *state, struct coili_tls_out *out);

    /*
     * One whole record, its head included. The stream lends it, to be written
     * too, until the call returns. After COILI_TLS_WORK only work(), resume(),
     * alert() and free() may be called, until resume() has returned, and none
     * of them while work() runs. After an error an
     * alert may be in `out`, and only info() and free() may follow.
     */
    int (*record)(struct coili_tls_state *state, unsigned char *record,
                  size_t len, struct coili_tls_data *data,
                  struct coili_tls_out *out);

    /*
     * The parked step: in any thread, without the loop's allocator. Then, in
     * the loop's thread, what record() would have returned; COILI_TLS_WORK
     * again if there is more.
     */
    void (*work)(struct coili_tls_state *state);
    int (*resume)(struct coili_tls_state *state, struct coili_tls_out *out);

    /*
     * Append one record of 1 to 16384 bytes. This spends a sequence number: the
     * order of these calls is the order on the wire. Result: 0 or an error.
     *
     * A server of TLS 1.3 sends one ticket, before its first data: a ticket
     * that is sent alone resets a peer that only writes and has closed.
     */
    int (*seal)(struct coili_tls_state *state, const void *data, size_t len,
                struct coili_tls_out *out);

    /* Append close_notify. The peer's data still come. Result: 0 or an error */
    int (*end)(struct coili_tls_state *state, struct coili_tls_out *out);

    /* Append a fatal alert for what the stream has found, if that is possible */
    void (*alert)(struct coili_tls_state *state, int alert,
                  struct coili_tls_out *out);

    /* Views of the state and its setup. */
    void (*info)(struct coili_tls_state *state, struct coil_tls_info *info);

    /* Wipe what is secret, free what start() and later calls made. */
    void (*free)(struct coili_tls_state *state);
};

/*
 * Server, in the loop's thread: the setup for the name in handshake->asked, by
 * the setup's chooser. The state then holds a reference to that one instead.
 *
 * Result    true; false: the chooser refuses the name, alert 112
 */
COIL_API bool coili_tls_choose(struct coili_tls_state *state);

/* ---- Sessions: what an engine calls ----------------------------------- */

/*
 * The peer and the engine have agreed to resume this session, which was in
 * handshake->session, or came out of coili_tls_ticket_open(). In any thread,
 * before OPEN. A session that is not resumed needs no call.
 */
COIL_API void coili_tls_resumed(struct coili_tls_state *state,
                                const struct coili_tls_session *session);

/*
 * Client: keep a session, for a later connection to the same name. In the
 * loop's thread: so of TLS 1.2 in the resume() that gives OPEN, not in work().
 * It is copied. If there is no memory, or if its lifetime is 0 or above
 * seven days, it is not kept; no engine need look at that. If state->sessions
 * is NULL nothing is kept, and a client of TLS 1.2 need not ask for a ticket.
 */
COIL_API void coili_tls_keep(struct coili_tls_state *state,
                             const struct coili_tls_session *session);

/* Server: true if it opens tickets and gives new ones. */
COIL_API bool coili_tls_gives_tickets(const struct coili_tls_state *state);

/* Server: the bytes that the ticket of this session will have. */
COIL_API size_t coili_tls_ticket_bytes(const struct coili_tls_session *session);

#define COILI_TLS_TICKET_NONCE_BYTES 12

/*
 * Server: seal a session into `ticket`, which has room for those bytes. Only a
 * setup with the same id (setup.h) opens it, and only for the same server_name:
 * `name` is what the client asks for. `nonce` must be random; NULL, in the
 * loop's thread alone: one of coil_entropy(). In any thread until OPEN, then in
 * the loop's.
 *
 * Result    0, and the ticket's lifetime in seconds; below 0: there is no key,
 *           so no ticket can be given
 */
COIL_API int
coili_tls_ticket_seal(struct coili_tls_state *state,
                      const struct coili_tls_session *session, const char *name,
                      const unsigned char nonce[COILI_TLS_TICKET_NONCE_BYTES],
                      unsigned char *ticket, uint32_t *lifetime);

/*
 * Server: open a ticket of a ClientHello. The engine compares version, suite,
 * hash and ALPN with what it would choose now. In any thread, until OPEN.
 *
 * Result    true; false: not ours, not for this setup or name, or too old: a
 *           full handshake follows
 * Lifetime  the views of *session go into `room`, which has `len` bytes. The
 *           caller wipes both
 */
COIL_API bool coili_tls_ticket_open(struct coili_tls_state *state,
                                    const unsigned char *ticket, size_t len,
                                    const char *name, unsigned char *room,
                                    struct coili_tls_session *session);

/* A detail of COIL_ETLS: an alert of ours, or of the peer's, or a reason. */
static inline uint32_t coili_tls_detail(int code)
{
    return COIL_DETAIL(COIL_PHASE_TLS, code);
}

#endif
