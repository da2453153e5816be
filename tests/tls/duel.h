// SPDX-License-Identifier: MIT
#ifndef DUEL_H
#define DUEL_H

/*
 * duel.h: an engine against the attacker, in memory.
 *
 *     struct coili_tls_setup *setup = duel_setup(engine, &(struct duel_options){
 *         .is_server = true });
 *     struct duel_result r = duel_play(setup, &script, NULL);
 *     r.outcome == 47
 *
 * The engine is called as the stream calls it: whole records, each in memory of
 * its own that is gone when the call returns; what the handshake was lent is
 * gone when the connection is open. What the contract of engine.h forbids aborts.
 *
 * A loop must be there, as engines allocate from it.
 */
#include "attacker.h"

#include <coil/tls.h>

#include "tls/engine.h"
#include "tls/setup.h"

/* Of the engine. */
struct duel_options {
    bool is_server;
    enum att_key key;      /* server: of its certificate */
    enum coil_tls_ask ask; /* server */
    bool presents;         /* client: it has a certificate */
    enum coil_tls_version version_min, version_max;
    const char *alpn;     /* one protocol */
    bool any_certificate; /* verify none: costs less */
    bool stranger;        /* trusts another authority */
};

struct coili_tls_setup *duel_setup(const struct coil_tls_engine *engine,
                                   const struct duel_options *options);

/* What a duel came to: an alert of the engine's, or one of these. */
enum {
    DUEL_OPENS = 1000,  /* the connection is open, and nothing was wrong */
    DUEL_WAITS,         /* the handshake is not over, and nothing was wrong */
    DUEL_ENDED,         /* it was open, or not, and close_notify has come */
    DUEL_SILENT,        /* an error, and no alert that is known */
    DUEL_BY_PEER = 2000 /* and an alert: the engine believed that one */
};

struct duel_result {
    int outcome;
    bool opened; /* at any time */
    int err, code;
    bool talks;   /* data went both ways at the end; only if it was asked for */
    size_t data;  /* bytes of plaintext that came */
    size_t bytes; /* that the attacker has sent */
    size_t left;  /* of them at the end: part of a record */
    size_t changed;  /* length of the message that the first edit is of */
    size_t answered; /* bytes that the engine has sent */
    struct att_seen seen;
    const char *complaint;     /* of the attacker, or of this file; NULL */
    struct coil_tls_info info; /* version, suite, resumed: if it is open */
    size_t kept;               /* client: sessions that it has kept */
    bool has_session;          /* server: it has given one */
    struct att_session session;
};

struct duel_extra {
    bool flips; /* change the bit `bit` of all that the attacker sends */
    size_t bit;
    bool talk;     /* when it is open, send data both ways */
    size_t cut_at; /* the attacker's bytes end there; 0: they do not */
    void (*after)(struct coili_tls_state *state, struct attacker *a,
                  void *arg); /* when the script is over and no error was */
    void *arg;
    unsigned char *sent; /* gets what the attacker sends, as much as fits */
    size_t sent_size;
    const struct att_session *offers; /* client: the session that it has */
};

struct duel_result duel_play(struct coili_tls_setup *setup,
                             const struct att_script *script,
                             const struct duel_extra *extra);

/* Records that are no attacker's: fed as they are. */
struct duel_result duel_feed(struct coili_tls_setup *setup,
                             const unsigned char *bytes, size_t len);

/* In words, for messages of tests. Static memory. */
const char *duel_outcome_text(int outcome);

#endif
