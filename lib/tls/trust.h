// SPDX-License-Identifier: MIT
#ifndef COILI_TRUST_H
#define COILI_TRUST_H

/*
 * trust.h: is this chain of certificates to be believed?
 *
 *     struct coili_trust *trust;
 *     char why[COILI_SENTENCE_BYTES];
 *     int err = coili_trust_new(&trust, &options, why);
 *
 *     struct coili_question question = {
 *         .role = COILI_PEER_IS_SERVER, .host = "a.test", .now = seconds,
 *     };
 *     struct coili_verdict verdict;
 *     err = coili_trust_judge(trust, &chain, &question, &verdict);
 *     if (err < 0)
 *         ...verdict.fault, verdict.sentence...
 *
 * Every engine asks here: none has a policy of its own. A trust object is
 * immutable but for its index of the CA file, which has a lock. So threads may
 * share one, and coili_trust_judge() may run in any thread. It allocates with
 * malloc, and blocks to read the CA file, but never for long.
 */

#include <coil/error.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "der.h"
#include "key.h"

/* Bounds of what a peer may send (tls: Certificate is at most 64 KB). */
#define COILI_CHAIN_MAX 10
#define COILI_CHAIN_BYTES_MAX 65536

/* The longest sentence, its NUL included; a longer one is cut. */
#define COILI_SENTENCE_BYTES 384

#define COILI_SHA256_BYTES 32

/* What trust is built on. */
enum coili_trust_mode {
    COILI_TRUST_CHAIN, /* a path to an anchor; also a pin, if there are any */
    COILI_TRUST_PIN_ONLY, /* a pin alone: no chain, no name, no time */
    COILI_TRUST_NONE      /* insecure: everything that parses is believed */
};

struct coili_trust_options {
    enum coili_trust_mode mode;

    /*
     * For COILI_TRUST_CHAIN, the anchors: a PEM file, or a PEM text in memory,
     * or, if both are NULL, the system's: the file that SSL_CERT_FILE names
     * (not in a set-user-ID program), else the first that exists of
     * coili_store_paths. A file is read again when it changes.
     */
    const char *ca_file;
    const void *ca;
    size_t ca_len;

    /*
     * SHA-256 of leaves (their whole DER) or of their SubjectPublicKeyInfo, 32
     * bytes each, one behind the other: one of either suffices.
     * COILI_TRUST_PIN_ONLY without any is -EINVAL.
     */
    const unsigned char *pins;
    size_t pins_n;
};

struct coili_trust;

/*
 * Make a trust object. The CA file is read now, so that a wrong path is an
 * error here; in the two modes without anchors none is read.
 *
 * Result    0
 * Errors    -EINVAL, -ENOMEM, or that of opening and reading the CA file; `why`,
 *           of COILI_SENTENCE_BYTES, has the sentence: "ca.pem:12: ..."
 * Lifetime  copies all; the new object has one reference
 */
int coili_trust_new(struct coili_trust **out,
                    const struct coili_trust_options *options, char *why);

/* Result    the object, which has one reference more */
struct coili_trust *coili_trust_ref(struct coili_trust *trust);

/* NULL does nothing. */
void coili_trust_unref(struct coili_trust *trust);

/* The certificates of a peer in the order in which it sent them, leaf first. */
struct coili_chain {
    const struct coili_der *certs; /* views */
    size_t n;
};

enum coili_peer_role { COILI_PEER_IS_SERVER, COILI_PEER_IS_CLIENT };

/* What is asked of the peer's chain. */
struct coili_question {
    enum coili_peer_role role; /* which extended key usage it must have */

    /*
     * The name or IP address that was dialled: "a.test", "192.0.2.1",
     * "2001:db8::1" (without brackets or zone). A final dot is ignored. A
     * server without one is refused (fault N). NULL: for clients, whose name
     * is the application's matter.
     */
    const char *host;

    int64_t now; /* seconds since 1970, by the wall clock */
    bool tls13;  /* the leaf's key must suit a signature scheme of TLS 1.3 */
};

/*
 * The answer. Its views go into the bytes of the chain that was judged, but for
 * the numbers of `key`, which are in `key_bytes`: so a verdict is not copied as
 * a struct, and the numbers outlive the chain. key.spki does not.
 */
struct coili_verdict {
    /*
     * COIL_CERT_OK: believed. Else the code of COIL_ECERT, and `sentence` says
     * it to a person, without an end stop: "the certificate expired on
     * 2026-11-01", "the certificate is for a.test, *.b.test, not c.test".
     * Names in it are printable ASCII, whatever the peer sent.
     */
    enum coil_cert_fault fault;
    char sentence[COILI_SENTENCE_BYTES];

    /*
     * The leaf, also after a fault, if there is a first certificate. The hash
     * is that of the whole DER.
     */
    struct coili_der leaf;
    unsigned char leaf_sha256[COILI_SHA256_BYTES];

    /*
     * For a believed leaf: the key that CertificateVerify or
     * ServerKeyExchange must be signed with, and until when the leaf and all
     * certificates of its path are valid (seconds since 1970; also a bound for
     * resumed sessions). The key's bytes are copied out of what verified the
     * signatures, in which coil's parser and BearSSL's agree; no other parser's
     * key may be used. type is COILI_KEY_OTHER only with COILI_TRUST_NONE and
     * COILI_TRUST_PIN_ONLY.
     */
    struct coili_public_key key;
    int64_t not_after;
    unsigned char key_bytes[600];
};

/*
 * Judge a chain. Signatures cost 0.1 to 2 ms each: at most 32 are checked.
 *
 * Result    0: believed
 * Errors    COIL_ECERT, verdict->fault says which; -ENOMEM; or that of reading
 *           the CA file again, after it has changed. verdict->sentence is set
 *           for each of them, and is "" after success
 * Lifetime  verdict views the bytes of the chain
 */
int coili_trust_judge(struct coili_trust *trust,
                      const struct coili_chain *chain,
                      const struct coili_question *question,
                      struct coili_verdict *verdict);

/*
 * What of a trust object decides who is believed, as 32 bytes: sessions of one
 * are not resumed under another (mode, pins, and where the anchors are from: the
 * path of the file, or the text in memory).
 */
void coili_trust_id(const struct coili_trust *trust,
                    unsigned char id[COILI_SHA256_BYTES]);

#endif
