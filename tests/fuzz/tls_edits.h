// SPDX-License-Identifier: MIT
#ifndef TLS_EDITS_H
#define TLS_EDITS_H

/*
 * tls_edits.h: what fuzz_tls_client.c and fuzz_tls_server.c share.
 *
 * An input is a script of the attacker (tests/tls/attacker.h): five bytes for
 * the version, the suite and the like, then edits. So what the fuzzer changes is
 * encrypted, signed and hashed again as the protocol wants it, and comes to
 * where a changed byte on the wire never would. An input that begins with 0xff
 * is a stream of records instead.
 *
 * The script is played against coil's own engine and against OpenSSL's. Besides
 * doing no harm these must hold:
 *
 *   - where coil's own engine opens a connection, so does OpenSSL's. Exceptions
 *     are listed in is_excused(): there OpenSSL is stricter;
 *   - a connection that is open has a Finished that the attacker finds right;
 *   - no stream of records opens a connection.
 *
 * The other way about no rule holds: OpenSSL lets pass much that is wrong.
 */
#include "duel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coil/loop.h>
#include <coil/openssl.h>

#define REQUIRE(condition) \
    ((condition) ? (void)0 : fail(__LINE__, #condition " does not hold"))

static void fail(int line, const char *what)
{
    fprintf(stderr, "tls_edits.h:%d: %s\n", line, what);
    abort();
}

enum { EDITS_MAX = 12, HEAD_BYTES = 5 };

struct input {
    const uint8_t *at;
    size_t len;
};

static unsigned take_byte(struct input *in)
{
    if (in->len == 0)
        return 0;
    in->len--;
    return *in->at++;
}

/* The messages that an edit may be of, or may add. */
static const int16_t messages[32] = {
    ATT_SERVER_HELLO,
    ATT_ENCRYPTED_EXTENSIONS,
    ATT_CERTIFICATE,
    ATT_CERTIFICATE_VERIFY,
    ATT_FINISHED,
    ATT_CERTIFICATE_REQUEST,
    ATT_HELLO_RETRY,
    ATT_SERVER_KEY_EXCHANGE,
    ATT_SERVER_HELLO_DONE,
    ATT_TICKET,
    ATT_CCS,
    ATT_ALERT,
    ATT_FRAGMENT,
    ATT_DATA,
    ATT_KEY_UPDATE,
    ATT_END,
    ATT_CLIENT_HELLO,
    ATT_SECOND_HELLO,
    ATT_CLIENT_KEY_EXCHANGE,
    ATT_HELLO_REQUEST,
    ATT_CERTIFICATE_STATUS,
    ATT_END_OF_EARLY_DATA,
    ATT_FLUSH,
    99,
    ATT_FINISHED,
    ATT_CERTIFICATE,
    ATT_SERVER_HELLO,
    ATT_CLIENT_HELLO,
    ATT_CLIENT_HELLO,
    ATT_CERTIFICATE_VERIFY,
    ATT_CLIENT_KEY_EXCHANGE,
    ATT_SERVER_KEY_EXCHANGE,
};

/* Places that have names, by numbers from 0xf0 on. */
static int place_of(unsigned low, unsigned high)
{
    if (low >= 0xf0 && low <= 0xf0 + ATT_AT_END - ATT_AT_VERSION)
        return ATT_AT_VERSION + (int)low - 0xf0;
    if (low >= 0xe0 && low < 0xf0)
        return (int)low - 0xf0;
    return (int)(low | high << 8);
}

/* `bytes` of the edits are in the input. */
static size_t read_edits(struct input *in, struct att_edit *edits)
{
    size_t n = 0;
    while (in->len >= 5 && n < EDITS_MAX) {
        struct att_edit *e = &edits[n++];
        unsigned what = take_byte(in), kind = take_byte(in);
        *e = (struct att_edit){ .on = messages[what & 31] };
        e->op = (enum att_op)(kind % (ATT_HEAD + 1));
        e->when = (enum att_when)((what >> 5) % 3);
        unsigned low = take_byte(in), high = take_byte(in);
        e->cut = (int)take_byte(in);
        e->at = place_of(low, high);
        if (e->op >= ATT_BEFORE && e->op <= ATT_REPEAT)
            e->at = messages[low & 31];
        if (e->op == ATT_REPEAT)
            e->cut &= 63;
        if (e->op == ATT_CHUNKS || e->op == ATT_SPLIT)
            e->at = 1 + (int)(low | (high & 3) << 8);
        if (e->op == ATT_PAD)
            e->at &= 0x7fff;
        if (kind & 0x80) {
            size_t len = take_byte(in) & 127;
            e->len = len < in->len ? len : in->len;
            e->bytes = in->at;
            in->at += e->len;
            in->len -= e->len;
        }
    }
    return n;
}

static void read_script(struct input *in, struct att_script *s,
                        struct duel_options *o)
{
    static const uint16_t suites_13[] = { 0x1301, 0x1302, 0x1303, 0x1301 };
    static const uint16_t suites_ec[] = { 0xc02b, 0xc02c, 0xcca9, 0xc02b };
    static const uint16_t suites_rsa[] = { 0xc02f, 0xc030, 0xcca8, 0xc02f };
    static const uint16_t groups[] = { 29, 23, 24, 29 };
    static const enum att_key keys[] = { ATT_P256, ATT_P256, ATT_RSA,
                                         ATT_P384 };
    unsigned a = take_byte(in), b = take_byte(in), c = take_byte(in),
             d = take_byte(in), f = take_byte(in);
    enum att_key key = keys[a >> 1 & 3];
    s->version = a & 1 ? 0x0303 : 0x0304;
    s->suite = s->version == 0x0304 ? suites_13[a >> 3 & 3]
               : key == ATT_RSA     ? suites_rsa[a >> 3 & 3]
                                    : suites_ec[a >> 3 & 3];
    s->group = groups[a >> 5 & 3];
    s->asks = b & 1;
    s->presents = b & 2;
    s->no_ems = b & 4;
    s->ticket = b & 8;
    s->one = b & 16;
    s->cookie = b & 32;
    if (b & 64)
        s->alpn = o->alpn = "h2";
    if (s->version == 0x0304 && !s->is_client) {
        s->retry = s->group == 29 ? 0 : s->group;
        s->group = 29;
    } else if (s->version == 0x0304) {
        s->retry = b & 128;
    }
    s->share = (enum att_share)(c % (ATT_SHARE_NONE + 1));
    s->signature = (enum att_signature)((c >> 3) % (ATT_SIGN_BIT + 1));
    s->sentinel = c >> 6 == 3 ? 1 : 0;
    s->chunk = d & 1 ? d >> 1 : 0;
    s->scsv = f & 1;
    s->echoes = f & 2;
    if (s->is_client) {
        o->key = key;
        o->ask = !s->asks      ? COIL_TLS_ASK_NOT
                 : s->presents ? COIL_TLS_ASK_ALWAYS
                               : COIL_TLS_ASK;
    } else {
        s->key = key;
        o->presents = s->presents;
        s->presents = false;
    }
    o->any_certificate = f & 4;
}

static bool changes(const struct att_script *s, int on, enum att_op op)
{
    for (size_t i = 0; i < s->edits_n; i++)
        if ((on < 0 || s->edits[i].on == on) && s->edits[i].op == op)
            return true;
    return false;
}

/* A step that is added. */
static bool adds(const struct att_script *s, int what)
{
    for (size_t i = 0; i < s->edits_n; i++)
        if (s->edits[i].op >= ATT_BEFORE && s->edits[i].op <= ATT_REPEAT &&
            s->edits[i].at == what)
            return true;
    return false;
}

/* An extension of a hello that coil does not know, and so passes over. */
static bool puts_foreign_extension(const struct att_script *s)
{
    static const int known[] = { 0,  10, 11, 13, 16, 23, 35,    41,
                                 42, 43, 44, 45, 50, 51, 0xff01 };
    for (size_t i = 0; i < s->edits_n; i++) {
        const struct att_edit *e = &s->edits[i];
        bool is_known = e->op != ATT_EXT_PUT;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            is_known = is_known || e->at == known[k];
        if (!is_known)
            return true;
    }
    return false;
}

/* Where OpenSSL refuses what coil rightly takes. */
static bool is_excused(const struct att_script *s)
{
    /* It takes no alerts in some states, and 5 warnings at most. */
    if (adds(s, ATT_ALERT))
        return true;
    /* It minds the version in the head of a plain record. */
    if (changes(s, -1, ATT_FLIP))
        return true;
    return s->is_client && puts_foreign_extension(s);
}

/* Setups are kept: to make one takes longer than a handshake. */
static struct coili_tls_setup *setup_for(const struct duel_options *o,
                                         bool is_own)
{
    static struct coili_tls_setup *made[256];
    size_t at = (size_t)o->key | (size_t)o->ask << 2 |
                (size_t)(o->alpn != NULL) << 4 | (size_t)o->presents << 5 |
                (size_t)is_own << 6 | (size_t)o->any_certificate << 7;
    if (!made[at])
        made[at] = duel_setup(
            is_own ? coil_tls_own_engine() : coil_openssl_engine(), o);
    return made[at];
}

static void play_records(bool is_server, const struct input *in)
{
    struct duel_options o = { .is_server = is_server };
    for (int is_own = 0; is_own < 2; is_own++) {
        struct duel_result r = duel_feed(setup_for(&o, is_own), in->at,
                                         in->len);
        REQUIRE(!r.opened);
        REQUIRE(r.answered < COILI_TLS_OUT_BYTES_MAX);
    }
}

/* For a person: TLS_EDITS_SHOW=1. */
static void show(const struct att_script *s, const struct duel_result *own,
                 const struct duel_result *openssl)
{
    fprintf(stderr, "own: opened %d, %s;", own->opened,
            duel_outcome_text(own->outcome));
    fprintf(stderr, " OpenSSL: opened %d, %s\n", openssl->opened,
            duel_outcome_text(openssl->outcome));
    for (size_t i = 0; i < s->edits_n; i++)
        fprintf(stderr, "  on %#x op %d at %#x cut %d len %zu when %d\n",
                (unsigned)s->edits[i].on, (int)s->edits[i].op,
                (unsigned)s->edits[i].at, s->edits[i].cut, s->edits[i].len,
                (int)s->edits[i].when);
}

/* The rules that must hold; the words are those of the one that does not. */
static const char *judge(const struct att_script *s,
                         const struct duel_result *own,
                         const struct duel_result *openssl)
{
    if (own->opened && !openssl->opened && !is_excused(s))
        return "coil's engine opens what OpenSSL refuses";
    /* A step that is added may stand behind what the answer covers. */
    bool adds_none = !changes(s, -1, ATT_TWICE) && !changes(s, -1, ATT_AFTER) &&
                     !changes(s, -1, ATT_BEFORE) && !changes(s, -1, ATT_REPEAT);
    if (own->opened && adds_none && !own->seen.finished)
        return "the Finished of an open connection is wrong";
    if (s->edits_n == 0 && !s->echoes && own->opened != openssl->opened)
        return "without edits the two differ";
    return NULL;
}

/*
 * A byte of a random or a key may be changed to what it is, once in 256 times: so
 * a rule is broken only if it is broken three times in a row.
 */
static void play_script(bool is_server, struct input in)
{
    struct att_edit edits[EDITS_MAX];
    struct att_script s = { .is_client = is_server };
    struct duel_options o = { .is_server = is_server };
    const char *broken = NULL;
    if (in.len < HEAD_BYTES)
        return;
    read_script(&in, &s, &o);
    s.edits = edits;
    s.edits_n = read_edits(&in, edits);
    for (int i = 0; i < 3; i++) {
        struct duel_result own = duel_play(setup_for(&o, true), &s, NULL);
        struct duel_result openssl = duel_play(setup_for(&o, false), &s, NULL);
        if (getenv("TLS_EDITS_SHOW"))
            show(&s, &own, &openssl);
        broken = judge(&s, &own, &openssl);
        if (!broken)
            return;
    }
    fail(__LINE__, broken);
}

static int play(bool is_server, const uint8_t *data, size_t size)
{
    static struct coil_loop *loop;
    if (!loop)
        REQUIRE(coil_loop_new(&loop, NULL) == 0);
    struct input in = { data, size };
    if (size > 0 && data[0] == 0xff) {
        take_byte(&in);
        play_records(is_server, &in);
    } else {
        play_script(is_server, in);
    }
    return 0;
}

#endif
