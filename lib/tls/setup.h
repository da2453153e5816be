// SPDX-License-Identifier: MIT
#ifndef COILI_TLS_SETUP_H
#define COILI_TLS_SETUP_H

/*
 * setup.h: what the connections of one client or server have in common.
 *
 * Immutable once it is made, and counted, so loops and threads share it. What
 * changes while connections come and go, such as sessions, stands elsewhere.
 */

#include <coil/tls.h>

#include "engine.h"
#include "identity.h"
#include "trust.h"

/* The names of all protocols together, a length byte before each. */
#define COILI_TLS_ALPN_BYTES_MAX 256

struct coili_tls_setup {
    struct coil_tls_client client; /* first: what a client's handle points to */
    _Atomic(size_t) references;
    const struct coil_tls_engine *engine;
    void *prepared;                  /* the engine's */
    struct coili_trust *trust;       /* NULL: a server that asks for none */
    struct coili_identity *identity; /* NULL: a client without */
    bool is_server;
    bool verifies_name; /* a client cannot do without the peer's name */
    enum coil_tls_ask ask;
    uint16_t version_min, version_max; /* 0x0303, 0x0304 */
    uint16_t alpn_bytes;
    unsigned char alpn[COILI_TLS_ALPN_BYTES_MAX]; /* as in the extension */
    unsigned char
        id[COILI_SHA256_BYTES]; /* SHA-256 of all that a session relies
                                             on: sessions belong to one id */
    struct coil_tls_ticket_keys *ticket_keys; /* server; NULL: no tickets */
    coil_tls_choose_fn *choose;
    void *choose_arg;
    int64_t handshake_ns, close_ns;
    struct coil_executor *executor; /* lent; NULL: costly steps in the loop */
};

COIL_API struct coili_tls_setup *
coili_tls_setup_ref(struct coili_tls_setup *setup);
COIL_API void coili_tls_setup_unref(struct coili_tls_setup *setup);

/*
 * Have trust.h judge the peer's chain: what state->setup asks of it, for the
 * name and at the time in state->handshake. In any thread.
 *
 * Result    0; an error, with its detail in state->detail and its sentence in
 *           handshake->why
 */
COIL_API int coili_tls_judge(struct coili_tls_state *state,
                             const struct coili_chain *chain, bool tls13,
                             struct coili_verdict *verdict);

/* The operations of clients whose setups are made here: in handshake.c. */
extern const struct coil_tls_client_ops coili_tls_client_ops;

/* The setup behind a handle of tls.h: it is the same address. */
static inline struct coili_tls_setup *
coili_tls_setup_of_client(struct coil_tls_client *client)
{
    return (struct coili_tls_setup *)(void *)client;
}

static inline struct coili_tls_setup *
coili_tls_setup_of_server(struct coil_tls_server *server)
{
    return (struct coili_tls_setup *)(void *)server;
}

#endif
