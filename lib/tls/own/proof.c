// SPDX-License-Identifier: MIT
/*
 * proof.c: certificates and what is signed with their keys: the peer's, which
 * are judged, and ours, which are shown. Both roles do the same here.
 */
#include "connection.h"

#include <errno.h>
#include <string.h>

#include <coil/entropy.h>

/* ---- The peer's ------------------------------------------------------- */

void coili_chain_judge(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    struct coili_chain chain = { k->certificates.certs, k->certificates.n };
    k->result = coili_tls_judge(&c->base, &chain, c->version == COILI_TLS13,
                                &k->verdict);
}

void coili_peer_signature_verify(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    k->result = coili_signature_verify(&k->signable, &k->verdict.key,
                                       k->signature.bytes.at,
                                       k->signature.bytes.len);
}

/* ---- Ours ------------------------------------------------------------- */

int coili_certificates_put(struct coili_connection *c, bool shows)
{
    static const struct coili_chain none = { NULL, 0 };
    const struct coili_chain *chain = shows ? &c->base.setup->identity->chain
                                            : &none;
    struct coili_writer w = { .at = NULL }; /* to count first */
    coili_tls_write_certificates(&w, c->version, chain->certs, chain->n);
    if (coili_message_begin(c, w.len, &w) < 0)
        return -ENOMEM;
    coili_tls_write_certificates(&w, c->version, chain->certs, chain->n);
    return coili_message_end(c, &w);
}

void coili_own_signature_make(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    k->own_signature_len = coili_signature_make(&k->own_signable,
                                                &c->base.setup->identity->key,
                                                k->salt, k->own_signature);
    explicit_bzero(k->salt, sizeof k->salt);
}

int coili_park_signature(struct coili_connection *c, coili_then_fn *then)
{
    int err = coil_entropy(c->shake->salt, sizeof c->shake->salt);
    return err < 0 ? err : coili_park(c, coili_own_signature_make, then);
}

int coili_signature_put(struct coili_connection *c)
{
    struct coili_shake *k = c->shake;
    struct coili_tls_signature signature = {
        k->own_scheme, { k->own_signature, k->own_signature_len }
    };
    struct coili_writer w;
    if (k->own_signature_len == 0)
        return coili_connection_fail(c, COILI_ALERT_INTERNAL_ERROR);
    if (coili_message_begin(
            c, COILI_TLS_MESSAGE_HEAD_BYTES + 4 + k->own_signature_len, &w) < 0)
        return -ENOMEM;
    coili_tls_write_certificate_verify(&w, &signature);
    return coili_message_end(c, &w);
}
