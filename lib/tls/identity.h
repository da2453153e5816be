// SPDX-License-Identifier: MIT
#ifndef COILI_IDENTITY_H
#define COILI_IDENTITY_H

/*
 * identity.h: a certificate chain and the private key that suits its leaf, as a
 * server or a client shows them.
 *
 * Immutable once made, and counted: threads share one.
 */

#include <stddef.h>

#include "cert.h"
#include "key.h"
#include "trust.h"

/* A PEM text: in a file, or in memory if `path` is NULL. */
struct coili_pem_source {
    const char *path;
    const void *text; /* only if path is NULL; NULL too: there is none */
    size_t len;
};

/* The parts are views into memory of the identity. */
struct coili_identity {
    struct coili_chain chain;     /* leaf first, in the order of the text */
    struct coili_cert leaf;       /* parsed */
    struct coili_private_key key; /* suits the leaf */
    _Atomic(size_t) references;   /* private, as all that follows */
    struct coili_der certs[COILI_CHAIN_MAX];
    size_t bytes;
    unsigned char memory[];
};

/*
 * Load a chain and its key. `key` may be the same text as `certs`, or have
 * neither path nor text, which means the same: the key then stands in `certs`.
 * The first certificate is the leaf. Of more than COILI_CHAIN_MAX certificates,
 * no or two private keys, an encrypted one, and one that does not suit the
 * leaf, `why` says so, with file and line:
 *
 *     server.pem:31: the private key is encrypted: decrypt it with `openssl pkey`
 *     key.pem:1: the private key is not the one of the certificate in cert.pem
 *
 * A text in memory has the name "memory".
 *
 * Result    0
 * Errors    -EINVAL, -ENOMEM, or that of opening and reading a file; `why`, of
 *           COILI_SENTENCE_BYTES, has the sentence
 * Lifetime  copies all; the new object has one reference
 */
int coili_identity_new(struct coili_identity **out,
                       const struct coili_pem_source *certs,
                       const struct coili_pem_source *key, char *why);

/* Result    the identity, which has one reference more */
struct coili_identity *coili_identity_ref(struct coili_identity *identity);

/* The last one wipes the private key and frees. NULL does nothing. */
void coili_identity_unref(struct coili_identity *identity);

#endif
