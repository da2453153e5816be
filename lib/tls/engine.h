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

/* ---- One connection --------------------------------------------------- */

/* What an engine needs from outside until the connection is open. */
struct coili_tls_handshake {
    const char *name; /* client: the host or address that was dialled */
    int64_t now;      /* seconds since 1970; set before each call of work */
    char *why;        /* COILI_SENTENCE_BYTES, for the sentence of an error */
    char asked[256];  /* server_name: what the client asks for, "" for nothing;
                         in a server the engine writes it */
};

/* The beginning of an engine's state. */
struct coili_tls_state {
    struct coili_tls_setup *setup;         /* a reference of the state's */
    struct coili_tls_handshake *handshake; /* lent until OPEN; then NULL */
    uint32_t detail;   /* of an error: a detail of error.h */
    uint16_t overhead; /* from OPEN on: the bytes that seal() adds to a record,
                          as a rule; with 2 added, those of end() */
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
     * too, until the call returns. After COILI_TLS_WORK only work(), resume()
     * and free() may be called, until resume() has returned. After an error an
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

/* A detail of COIL_ETLS: an alert of ours, or of the peer's, or a reason. */
static inline uint32_t coili_tls_detail(int code)
{
    return COIL_DETAIL(COIL_PHASE_TLS, code);
}

#endif
