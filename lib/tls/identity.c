// SPDX-License-Identifier: MIT
/*
 * identity.c: a certificate chain and the private key that suits its leaf.
 *
 * All blocks of one or two PEM texts are decoded into one piece of memory, which
 * the parts view. Texts and memory hold the private key: each is wiped before it
 * is freed.
 */
#include "identity.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <coil/error.h>

#include "file.h"
#include "pem.h"
#include "tls/bear/verify.h"

/* A text that was loaded, and its name in sentences. */
struct text {
    const char *at;
    size_t len;
    char *loaded; /* to be freed; NULL: the caller's memory */
    const char *name;
};

static int load(struct text *text, const struct coili_pem_source *source,
                char *why)
{
    *text = (struct text){ .at = source->text, .len = source->len };
    text->name = "memory";
    if (!source->path) {
        if (source->len <= COILI_FILE_BYTES_MAX)
            return 0;
        snprintf(why, COILI_SENTENCE_BYTES, "%s", coil_strerror(-EFBIG));
        return -EFBIG;
    }
    text->name = source->path;
    int err = coili_file_load(source->path, &text->loaded, &text->len);
    if (err < 0)
        snprintf(why, COILI_SENTENCE_BYTES, "%s cannot be read: %s",
                 source->path, coil_strerror(err));
    text->at = text->loaded;
    return err;
}

static void unload(struct text *text)
{
    if (!text->loaded)
        return;
    explicit_bzero(text->loaded, text->len);
    free(text->loaded);
}

static int refuse(char *why, const struct text *text, unsigned line,
                  const char *fault)
{
    snprintf(why, COILI_SENTENCE_BYTES, "%s:%u: %s", text->name, line, fault);
    return -EINVAL;
}

/* The memory that all wanted blocks of a text need, once decoded. */
static size_t bytes_needed(const struct text *text)
{
    struct coili_pem pem = { .at = text->at, .end = text->at + text->len };
    struct coili_pem_block block;
    size_t bytes = 0;
    while (text->len > 0 && coili_pem_next(&pem, &block) > 0)
        bytes += block.bytes;
    return bytes;
}

/* What is filled while the texts are read. */
struct loading {
    struct coili_identity *identity;
    size_t used;
    unsigned key_line; /* 0: no key so far */
    char *why;
};

static int add_cert(struct loading *l, const struct text *text,
                    const struct coili_pem_block *block, struct coili_der der)
{
    struct coili_identity *identity = l->identity;
    struct coili_cert cert;
    size_t n = identity->chain.n;
    if (n == COILI_CHAIN_MAX)
        return refuse(l->why, text, block->line, "too many certificates");
    if (coili_cert_parse(n == 0 ? &identity->leaf : &cert, der))
        return refuse(l->why, text, block->line, "not an X.509 certificate");
    identity->certs[n] = der;
    identity->chain.n++;
    return 0;
}

static int add_key(struct loading *l, const struct text *text,
                   const struct coili_pem_block *block, struct coili_der der)
{
    if (l->key_line > 0)
        return refuse(l->why, text, block->line, "a second private key");
    l->key_line = block->line;
    const char *fault = coili_private_key_parse(&l->identity->key, block->label,
                                                der);
    return fault ? refuse(l->why, text, block->line, fault) : 0;
}

/* One block, if it is one of those that are wanted of this text. */
static int add_block(struct loading *l, const struct text *text,
                     const struct coili_pem_block *block, struct coili_pem *pem,
                     bool wants_certs, bool wants_key)
{
    struct coili_identity *identity = l->identity;
    bool is_cert = block->label == COILI_PEM_CERTIFICATE;
    bool is_key = block->label == COILI_PEM_PKCS8 ||
                  block->label == COILI_PEM_PKCS1 ||
                  block->label == COILI_PEM_SEC1;
    struct coili_der der;
    if (block->label == COILI_PEM_ENCRYPTED && wants_key)
        return refuse(l->why, text, block->line,
                      "the private key is encrypted: decrypt it with `openssl "
                      "pkey`");
    if (!(is_cert && wants_certs) && !(is_key && wants_key))
        return 0;
    if (coili_pem_decode(pem, block, identity->memory + l->used, &der) < 0)
        return refuse(l->why, text, pem->line, pem->fault);
    l->used += der.len;
    return is_cert ? add_cert(l, text, block, der)
                   : add_key(l, text, block, der);
}

static int read_text(struct loading *l, const struct text *text,
                     bool wants_certs, bool wants_key)
{
    struct coili_pem pem = { .at = text->at, .end = text->at + text->len };
    struct coili_pem_block block;
    int n = 0;
    while (text->len > 0 && (n = coili_pem_next(&pem, &block)) > 0) {
        struct coili_pem block_pem = pem;
        int err = add_block(l, text, &block, &block_pem, wants_certs,
                            wants_key);
        if (err < 0)
            return err;
    }
    return n < 0 ? refuse(l->why, text, pem.line, pem.fault) : 0;
}

/* All that was read, together. `keys` is the text in which the key was looked
 * for. */
static int check(const struct loading *l, const struct text *certs,
                 const struct text *keys)
{
    const struct coili_identity *identity = l->identity;
    if (identity->chain.n == 0)
        snprintf(l->why, COILI_SENTENCE_BYTES, "there is no certificate in %s",
                 certs->name);
    else if (l->key_line == 0)
        snprintf(l->why, COILI_SENTENCE_BYTES, "there is no private key in %s",
                 keys->name);
    else if (identity->leaf.key.type == COILI_KEY_OTHER)
        snprintf(l->why, COILI_SENTENCE_BYTES,
                 "the key of the certificate in %s is neither RSA nor P-256, "
                 "P-384 or P-521",
                 certs->name);
    else if (!coili_bear_key_suits(&identity->key, &identity->leaf.key))
        snprintf(l->why, COILI_SENTENCE_BYTES,
                 "%s:%u: the private key is not the one of the first "
                 "certificate in %s",
                 keys->name, l->key_line, certs->name);
    else
        return 0;
    return -EINVAL;
}

/* `keys` is NULL: the key stands among the certificates. */
static int build(struct coili_identity **out, const struct text *certs,
                 const struct text *keys, char *why)
{
    size_t bytes = bytes_needed(certs) + (keys ? bytes_needed(keys) : 0);
    struct coili_identity *identity = malloc(sizeof *identity + bytes);
    if (!identity) {
        snprintf(why, COILI_SENTENCE_BYTES, "%s", coil_strerror(-ENOMEM));
        return -ENOMEM;
    }
    memset(identity, 0, sizeof *identity);
    atomic_init(&identity->references, 1);
    identity->chain.certs = identity->certs;
    identity->bytes = bytes;
    struct loading l = { .identity = identity, .why = why };
    int err = read_text(&l, certs, true, !keys);
    if (err == 0 && keys)
        err = read_text(&l, keys, false, true);
    if (err == 0)
        err = check(&l, certs, keys ? keys : certs);
    if (err < 0)
        coili_identity_unref(identity);
    else
        *out = identity;
    return err;
}

int coili_identity_new(struct coili_identity **out,
                       const struct coili_pem_source *certs,
                       const struct coili_pem_source *key, char *why)
{
    struct text cert_text, key_text = { .loaded = NULL };
    bool is_apart = key && (key->path || key->text);
    int err = load(&cert_text, certs, why);
    if (err == 0 && is_apart)
        err = load(&key_text, key, why);
    if (err == 0)
        err = build(out, &cert_text, is_apart ? &key_text : NULL, why);
    unload(&cert_text);
    unload(&key_text);
    return err;
}

struct coili_identity *coili_identity_ref(struct coili_identity *identity)
{
    atomic_fetch_add(&identity->references, 1);
    return identity;
}

void coili_identity_unref(struct coili_identity *identity)
{
    if (identity && atomic_fetch_sub(&identity->references, 1) == 1) {
        explicit_bzero(identity->memory, identity->bytes);
        free(identity);
    }
}
