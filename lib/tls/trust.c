// SPDX-License-Identifier: MIT
/*
 * trust.c: is this chain of certificates to be believed?
 *
 * The policy is here and in path.c, and nowhere else: what an engine's library
 * would accept by itself differs from one to the next (common names, partial
 * wildcards, expired roots, SHA-1). The order of the checks is that of what a
 * person wants to hear first: is it a certificate at all, is its kind known, is
 * it for this use, at this time, for this host; then whether anybody vouches
 * for it, which costs signatures; then pins.
 *
 * A verdict has the key of the leaf, because it is used after the judgement, by
 * other code. That must be the key which was judged.
 */
#include "trust.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "cert.h"
#include "complaint.h"
#include "name.h"
#include "path.h"
#include "store.h"
#include "tls/bear/verify.h"

struct coili_trust {
    atomic_size_t references;
    enum coili_trust_mode mode;
    struct coili_store *store; /* NULL but for COILI_TRUST_CHAIN */
    unsigned char id[COILI_SHA256_BYTES];
    size_t pins_n;
    unsigned char pins[][COILI_SHA256_BYTES];
};

/* 2024-01-01: no clock that is right says less. */
static const int64_t clock_min = 1704067200;

/* --- The object ----------------------------------------------------------*/

/* See coili_trust_id(): the hash of the hashes of its parts. */
static void compute_id(struct coili_trust *trust,
                       const struct coili_trust_options *options)
{
    unsigned char parts[1 + 1 + 2 * COILI_SHA256_BYTES];
    const char *path = trust->store ? coili_store_path(trust->store) : NULL;
    parts[0] = (unsigned char)trust->mode;
    parts[1] = path != NULL;
    if (path)
        coili_bear_sha256(parts + 2, path, strlen(path));
    else
        coili_bear_sha256(parts + 2, options->ca,
                          trust->store ? options->ca_len : 0);
    coili_bear_sha256(parts + 2 + COILI_SHA256_BYTES, trust->pins,
                      trust->pins_n * sizeof *trust->pins);
    coili_bear_sha256(trust->id, parts, sizeof parts);
}

int coili_trust_new(struct coili_trust **out,
                    const struct coili_trust_options *options, char *why)
{
    enum { PINS_MAX = 1000 };
    if (options->mode == COILI_TRUST_PIN_ONLY && options->pins_n == 0) {
        snprintf(why, COILI_SENTENCE_BYTES, "there is no pin to trust");
        return -EINVAL;
    }
    if (options->pins_n > PINS_MAX) {
        snprintf(why, COILI_SENTENCE_BYTES, "more than %d pins", PINS_MAX);
        return -EINVAL;
    }
    struct coili_trust *trust = malloc(sizeof *trust +
                                       options->pins_n * sizeof *trust->pins);
    if (!trust) {
        snprintf(why, COILI_SENTENCE_BYTES, "%s", coil_strerror(-ENOMEM));
        return -ENOMEM;
    }
    atomic_init(&trust->references, 1);
    trust->mode = options->mode;
    trust->store = NULL;
    trust->pins_n = options->pins_n;
    if (trust->pins_n > 0)
        memcpy(trust->pins, options->pins, trust->pins_n * sizeof *trust->pins);

    if (trust->mode == COILI_TRUST_CHAIN) {
        struct coili_store_source source = {
            .path = options->ca_file,
            .text = options->ca_file ? NULL : options->ca,
            .len = options->ca_len,
        };
        int err = coili_store_open(&trust->store, &source, why);
        if (err < 0) {
            free(trust);
            return err;
        }
    }
    compute_id(trust, options);
    *out = trust;
    return 0;
}

struct coili_trust *coili_trust_ref(struct coili_trust *trust)
{
    atomic_fetch_add(&trust->references, 1);
    return trust;
}

void coili_trust_unref(struct coili_trust *trust)
{
    if (trust && atomic_fetch_sub(&trust->references, 1) == 1) {
        coili_store_close(trust->store);
        free(trust);
    }
}

void coili_trust_id(const struct coili_trust *trust,
                    unsigned char id[COILI_SHA256_BYTES])
{
    memcpy(id, trust->id, COILI_SHA256_BYTES);
}

/* --- The leaf ------------------------------------------------------------*/

/* Both peers sign the handshake with their key: there is no other use here. */
static int check_leaf(const struct coili_cert *leaf,
                      const struct coili_question *question,
                      struct coili_complaint *complaint)
{
    unsigned purpose = question->role == COILI_PEER_IS_SERVER
                           ? COILI_PURPOSE_SERVER
                           : COILI_PURPOSE_CLIENT;
    if (leaf->has_key_usage && !(leaf->key_usage & COILI_USAGE_SIGN))
        return coili_complain(complaint, COIL_CERT_PURPOSE,
                              "the certificate is not for signatures (key "
                              "usage)");
    if (question->tls13 && leaf->key.type == COILI_KEY_P521)
        return coili_complain(complaint, COIL_CERT_UNSUPPORTED,
                              "the certificate has a P-521 key, which is not "
                              "supported in TLS 1.3");
    return coili_cert_check(leaf, COILI_PART_LEAF, question->now, purpose,
                            complaint);
}

/* A text of the caller's, as far as it is printable ASCII. */
static const char *printable(const char *text, char *out, size_t size)
{
    size_t i = 0;
    for (; text[i] && i + 1 < size; i++)
        out[i] = text[i] > ' ' && text[i] < 0x7f ? text[i] : '?';
    out[i] = '\0';
    return out;
}

static int check_host(const struct coili_cert *leaf,
                      const struct coili_question *question,
                      struct coili_complaint *complaint)
{
    char names[200], asked[128];
    struct coili_host host;
    if (!question->host && question->role == COILI_PEER_IS_CLIENT)
        return 0;
    if (!question->host)
        return coili_complain(complaint, COIL_CERT_NAME,
                              "there is no host name to verify the "
                              "certificate for");
    printable(question->host, asked, sizeof asked);
    if (!coili_host_parse(&host, question->host))
        return coili_complain(complaint, COIL_CERT_NAME,
                              "%s is neither a host name nor an IP address",
                              asked);
    if (coili_cert_speaks_for(leaf, &host))
        return 0;
    if (!leaf->alt_names.at)
        return coili_complain(complaint, COIL_CERT_NAME,
                              "the certificate is for no host, not for %s: it "
                              "has no subject alternative names",
                              asked);
    coili_cert_names_text(leaf, names, sizeof names);
    return coili_complain(complaint, COIL_CERT_NAME,
                          "the certificate is for %s, not %s", names, asked);
}

/* --- The verdict ---------------------------------------------------------*/

static bool is_pinned(const struct coili_trust *trust,
                      const unsigned char hash[COILI_SHA256_BYTES])
{
    for (size_t i = 0; i < trust->pins_n; i++)
        if (memcmp(trust->pins[i], hash, COILI_SHA256_BYTES) == 0)
            return true;
    return false;
}

static int check_pins(const struct coili_trust *trust,
                      const struct coili_cert *leaf,
                      const struct coili_verdict *verdict,
                      struct coili_complaint *complaint)
{
    unsigned char hash[COILI_SHA256_BYTES];
    coili_bear_sha256(hash, leaf->key.spki.at, leaf->key.spki.len);
    if (is_pinned(trust, hash) || is_pinned(trust, verdict->leaf_sha256))
        return 0;
    return coili_complain(complaint, COIL_CERT_PIN,
                          "neither the certificate nor its key is one of the "
                          "%zu that are pinned",
                          trust->pins_n);
}

/* A view of the same bytes at `to`, behind those that stand there. */
static struct coili_der copy(struct coili_der view, unsigned char *to,
                             size_t *used)
{
    unsigned char *at = to + *used;
    if (view.len == 0)
        return (struct coili_der){ NULL, 0 };
    memcpy(at, view.at, view.len);
    *used += view.len;
    return (struct coili_der){ at, view.len };
}

/*
 * The key that was judged, with bytes of its own. BearSSL's reader must find
 * the same one: two readers that differ are an attack, or a fault of ours.
 */
static int give_key(const struct coili_cert *leaf,
                    struct coili_verdict *verdict,
                    struct coili_complaint *complaint)
{
    const struct coili_public_key *key = &leaf->key;
    size_t used = 0;
    if (key->type != COILI_KEY_OTHER &&
        (key->modulus.len + key->exponent.len + key->point.len >
             sizeof verdict->key_bytes ||
         !coili_bear_finds_key(leaf)))
        return coili_complain(complaint, COIL_CERT_MALFORMED,
                              "the certificate has a key that can be read in "
                              "two ways");
    verdict->key = *key;
    verdict->key.modulus = copy(key->modulus, verdict->key_bytes, &used);
    verdict->key.exponent = copy(key->exponent, verdict->key_bytes, &used);
    verdict->key.point = copy(key->point, verdict->key_bytes, &used);
    return 0;
}

/* Counts and sizes, before anything is parsed. */
static int check_size(const struct coili_chain *chain,
                      struct coili_complaint *complaint)
{
    size_t bytes = 0;
    if (chain->n == 0)
        return coili_complain(complaint, COIL_CERT_MALFORMED,
                              "the peer sent no certificate");
    if (chain->n > COILI_CHAIN_MAX)
        return coili_complain(complaint, COIL_CERT_UNSUPPORTED,
                              "the peer sent %zu certificates: at most %d are "
                              "supported",
                              chain->n, COILI_CHAIN_MAX);
    for (size_t i = 0; i < chain->n; i++) {
        if (chain->certs[i].len > COILI_CHAIN_BYTES_MAX - bytes)
            return coili_complain(complaint, COIL_CERT_UNSUPPORTED,
                                  "the peer sent certificates of more than "
                                  "%d bytes",
                                  COILI_CHAIN_BYTES_MAX);
        bytes += chain->certs[i].len;
    }
    return 0;
}

static int parse(struct coili_cert *certs, const struct coili_chain *chain,
                 size_t n, struct coili_complaint *complaint)
{
    for (size_t i = 0; i < n; i++) {
        const char *fault = coili_cert_parse(&certs[i], chain->certs[i]);
        if (fault && i == 0)
            return coili_complain(complaint, COIL_CERT_MALFORMED,
                                  "the certificate is malformed: %s", fault);
        if (fault)
            return coili_complain(complaint, COIL_CERT_MALFORMED,
                                  "certificate %zu of %zu is malformed: %s",
                                  i + 1, n, fault);
    }
    return 0;
}

/* All of COILI_TRUST_CHAIN. `store_why` is set for errors of the store. */
static int judge_chain(struct coili_trust *trust,
                       const struct coili_cert *certs, size_t n,
                       const struct coili_question *question,
                       struct coili_verdict *verdict,
                       struct coili_complaint *complaint)
{
    char clock[COILI_DAY_BYTES];
    if (question->now < clock_min)
        return coili_complain(complaint, COIL_CERT_TIME,
                              "the clock says %s, so no certificate can be "
                              "verified",
                              coili_day_text(question->now, clock));
    int err = check_leaf(&certs[0], question, complaint);
    if (err == 0)
        err = check_host(&certs[0], question, complaint);
    if (err < 0)
        return err;

    struct coili_anchors anchors;
    struct coili_path path = {
        .certs = certs,
        .certs_n = n,
        .anchors = &anchors,
        .now = question->now,
        .purpose = question->role == COILI_PEER_IS_SERVER
                       ? COILI_PURPOSE_SERVER
                       : COILI_PURPOSE_CLIENT,
        .complaint = complaint,
    };
    err = coili_anchors_open(&anchors, trust->store, verdict->sentence);
    if (err < 0)
        return err;
    err = coili_path_find(&path);
    verdict->not_after = path.not_after;
    coili_path_fini(&path);
    coili_anchors_close(&anchors);
    return err;
}

/* By mode. `certs` has room for the whole chain. */
static int judge(struct coili_trust *trust, struct coili_cert *certs,
                 const struct coili_chain *chain,
                 const struct coili_question *question,
                 struct coili_verdict *verdict,
                 struct coili_complaint *complaint)
{
    bool is_chain = trust->mode == COILI_TRUST_CHAIN;
    int err = parse(certs, chain, is_chain ? chain->n : 1, complaint);
    if (err < 0)
        return err;
    verdict->not_after = certs[0].not_after;
    if (is_chain)
        err = judge_chain(trust, certs, chain->n, question, verdict, complaint);
    if (err == 0 && trust->mode != COILI_TRUST_NONE && trust->pins_n > 0)
        err = check_pins(trust, &certs[0], verdict, complaint);
    return err < 0 ? err : give_key(&certs[0], verdict, complaint);
}

int coili_trust_judge(struct coili_trust *trust,
                      const struct coili_chain *chain,
                      const struct coili_question *question,
                      struct coili_verdict *verdict)
{
    struct coili_complaint complaint = { COIL_CERT_OK, "" };
    memset(verdict, 0, sizeof *verdict);
    int err = check_size(chain, &complaint);
    if (chain->n > 0) {
        verdict->leaf = chain->certs[0];
        coili_bear_sha256(verdict->leaf_sha256, verdict->leaf.at,
                          verdict->leaf.len);
    }
    if (err == 0) {
        struct coili_cert *certs = malloc(chain->n * sizeof *certs);
        err = certs ? judge(trust, certs, chain, question, verdict, &complaint)
                    : -ENOMEM;
        free(certs);
    }
    if (err == COIL_ECERT) {
        verdict->fault = complaint.fault;
        memcpy(verdict->sentence, complaint.sentence, sizeof verdict->sentence);
    } else if (err < 0 && !*verdict->sentence) {
        snprintf(verdict->sentence, sizeof verdict->sentence, "%s",
                 coil_strerror(err));
    }
    return err;
}
