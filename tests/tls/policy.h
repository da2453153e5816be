// SPDX-License-Identifier: MIT
#ifndef POLICY_H
#define POLICY_H

/*
 * policy.h: chains, and what must be said of them.
 *
 * A row is a chain, a question, a store, and the verdict: a fault and a part of
 * its sentence. test_trust.c asks coili_trust_judge(); a test of an engine can
 * show the same chains in a handshake, as policy_key_pem() has the leaf's key.
 *
 * Certificates have letters:
 *
 *     R  root "Test Root"                     Q  root "Other Root"
 *     J  "Test Upper", signed by R            K  as I, signed by Q
 *     I  "Test Authority", signed by R,       E  as I, expired
 *        or by J if the row is deep           X  "Unrelated", signed by Q
 *     L  the leaf, signed by I                S  the leaf, signed by itself
 *
 * What a row sends and what its store has are words of these letters.
 */
#include "pki.h"

#include "tls/trust.h"

struct policy_row {
    const char *name;  /* number of the case, and what it is */
    const char *host;  /* NULL: a.test */
    const char *send;  /* NULL: "LI" */
    const char *store; /* NULL: "R" */

    /* The leaf. */
    const char *cn, *san; /* san NULL: DNS:a.test; "": none */
    const void *san_der;
    size_t san_len;
    const char *eku, *ku, *critical;
    int64_t from, to;
    enum pki_kind kind;
    enum pki_signature signature;
    bool unknown_critical;

    /* Others; NULL: as it should be. */
    const char *authority_bc, *authority_ku, *authority_eku, *authority_nc;
    const char *authority_critical, *upper_bc;
    const char *root_bc, *root_nc;
    int64_t root_to;
    enum pki_signature root_signature;
    bool deep, root_version_1, no_ids;

    /* The question. */
    bool is_client, tls13;
    int64_t clock; /* 0: PKI_NOW */

    /* What is changed in the bytes of the leaf that is sent. */
    enum {
        POLICY_AS_IT_IS,
        POLICY_FLIP_LAST,
        POLICY_CUT_LAST,
        POLICY_ADD_ZERO,
        POLICY_INDEFINITE
    } damage;

    /* Trust beside the store. */
    enum {
        POLICY_NO_PIN,
        POLICY_PIN_LEAF,
        POLICY_PIN_KEY,
        POLICY_PIN_OTHER
    } pin;
    enum coili_trust_mode mode;

    enum coil_cert_fault fault;
    const char *says; /* a part of the sentence */
};

static const char policy_nul_name[] = "\x30\x0e\x82\x0c"
                                      "a.test\0.evil";

static const struct policy_row policy_rows[] = {
    /* Names. */
    { .name = "1: SAN a.test" },
    { .name = "2: A.TEST. / a.test", .host = "A.TEST." },
    { .name = "3: SAN b.test",
      .san = "DNS:b.test",
      .fault = COIL_CERT_NAME,
      .says = "the certificate is for b.test, not a.test" },
    { .name = "4: x.a.test / *.a.test",
      .host = "x.a.test",
      .san = "DNS:*.a.test" },
    { .name = "5: a.test / *.a.test",
      .san = "DNS:*.a.test",
      .fault = COIL_CERT_NAME,
      .says = "the certificate is for *.a.test, not a.test" },
    { .name = "6: x.y.a.test / *.a.test",
      .host = "x.y.a.test",
      .san = "DNS:*.a.test",
      .fault = COIL_CERT_NAME,
      .says = "the certificate is for *.a.test, not x.y.a.test" },
    { .name = "7: a.com / *.com",
      .host = "a.com",
      .san = "DNS:*.com",
      .fault = COIL_CERT_NAME,
      .says = "the certificate is for *.com, not a.com" },
    { .name = "8: xa.a.test / x*.a.test",
      .host = "xa.a.test",
      .san = "DNS:x*.a.test",
      .fault = COIL_CERT_NAME,
      .says = "the certificate is for x*.a.test, not xa.a.test" },
    { .name = "9: CN a.test, no SAN",
      .cn = "a.test",
      .san = "",
      .fault = COIL_CERT_NAME,
      .says = "the certificate is for no host, not for a.test: it has no "
              "subject alternative names" },
    { .name = "10: CN a.test, SAN b.test",
      .cn = "a.test",
      .san = "DNS:b.test",
      .fault = COIL_CERT_NAME,
      .says = "the certificate is for b.test, not a.test" },
    { .name = "11: 127.0.0.1 / IP",
      .host = "127.0.0.1",
      .san = "IP:127.0.0.1" },
    { .name = "12: 127.0.0.1 / DNS",
      .host = "127.0.0.1",
      .san = "DNS:127.0.0.1",
      .fault = COIL_CERT_NAME,
      .says = "the certificate is for 127.0.0.1, not 127.0.0.1" },
    { .name = "13: ::1 / IP of 16 bytes", .host = "::1", .san = "IP:::1" },
    { .name = "14: ::ffff:1.2.3.4 / IP of 4 bytes",
      .host = "::ffff:1.2.3.4",
      .san = "IP:1.2.3.4",
      .fault = COIL_CERT_NAME,
      .says = "the certificate is for 1.2.3.4, not ::ffff:1.2.3.4" },
    { .name = "15: asked as U-label / xn--",
      .host = "b\xc3\xbc"
              "cher.test",
      .san = "DNS:xn--bcher-kva.test" },
    { .name = "16: SAN a.test NUL .evil",
      .san_der = policy_nul_name,
      .san_len = sizeof policy_nul_name - 1,
      .fault = COIL_CERT_MALFORMED,
      .says = "malformed: the subject alternative names" },
    { .name = "several names are listed",
      .san = "DNS:b.test,EMAIL:x@a.test,DNS:*.b.test,IP:192.0.2.1",
      .fault = COIL_CERT_NAME,
      .says = "the certificate is for b.test, *.b.test, 192.0.2.1, not "
              "a.test" },
    { .name = "an address is no name",
      .host = "192.0.2.1",
      .fault = COIL_CERT_NAME,
      .says = "the certificate is for a.test, not 192.0.2.1" },
    { .name = "no host name at all",
      .host = "",
      .fault = COIL_CERT_NAME,
      .says = "is neither a host name nor an IP address" },

    /* Times. */
    { .name = "17: the clock is before 2024",
      .clock = 86400 * 365,
      .fault = COIL_CERT_TIME,
      .says = "the clock says 1971-01-01, so no certificate can be verified" },
    { .name = "18: notAfter 1 s ago",
      .to = -1,
      .fault = COIL_CERT_TIME,
      .says = "the certificate expired on 2026-11-01" },
    { .name = "18: notAfter now", .to = PKI_DAY, .clock = PKI_NOW + PKI_DAY },
    { .name = "19: notBefore in 1 s",
      .from = 1,
      .fault = COIL_CERT_TIME,
      .says = "the certificate is not valid before 2026-11-01 12:00:01 UTC, "
              "and the clock says 2026-11-01 12:00:00" },
    { .name = "20: intermediate expired",
      .send = "LE",
      .fault = COIL_CERT_TIME,
      .says = "the certificate of the authority Test Authority expired on "
              "2026-10-31" },
    { .name = "21: the same, another path is good", .send = "LEI" },
    { .name = "22: root in the store expired",
      .root_to = -1,
      .fault = COIL_CERT_TIME,
      .says = "the certificate of the trusted authority Test Root expired on "
              "2026-11-01" },

    /* Paths. */
    { .name = "23: order swapped", .send = "LJI", .deep = true },
    { .name = "24: root appended", .send = "LIR" },
    { .name = "25: an unrelated one between", .send = "LXI" },
    { .name = "26: cross-signed, one issuer unknown", .send = "LKI" },
    { .name = "26: cross-signed, the other way", .send = "LIK", .store = "Q" },
    { .name = "27: intermediate missing",
      .send = "L",
      .fault = COIL_CERT_UNKNOWN,
      .says = "the peer does not send its intermediate certificate, or no "
              "trusted authority signed it (issuer Test Authority)" },
    { .name = "28: self-signed, not in the store",
      .send = "S",
      .fault = COIL_CERT_UNKNOWN,
      .says = "the certificate is self-signed, and not one of the trusted "
              "ones" },
    { .name = "29: self-signed, and the custom CA", .send = "S", .store = "S" },
    { .name = "unknown authority",
      .store = "Q",
      .fault = COIL_CERT_UNKNOWN,
      .says = "no trusted authority signed it (issuer Test Root)" },
    { .name = "unknown authority, whose root is sent",
      .send = "LIR",
      .store = "Q",
      .fault = COIL_CERT_UNKNOWN,
      .says = "no trusted authority signed it (issuer Test Root)" },
    { .name = "self-signed, and the store has another of that name",
      .send = "S",
      .store = "L",
      .fault = COIL_CERT_PURPOSE,
      .says = "the certificate of the trusted authority leaf is used as an "
              "authority's, and is none (basic constraints)" },
    { .name = "the intermediate is the anchor", .send = "L", .store = "I" },
    { .name = "root of version 1", .root_version_1 = true },
    { .name = "no key identifiers", .no_ids = true },
    { .name = "30: signature bit flipped",
      .damage = POLICY_FLIP_LAST,
      .fault = COIL_CERT_SIGNATURE,
      .says = "the certificate has a signature that the key of Test Authority "
              "did not make" },
    { .name = "31: truncated",
      .damage = POLICY_CUT_LAST,
      .fault = COIL_CERT_MALFORMED,
      .says = "the certificate is malformed: not DER" },
    { .name = "31: BER",
      .damage = POLICY_INDEFINITE,
      .fault = COIL_CERT_MALFORMED,
      .says = "the certificate is malformed: not DER" },
    { .name = "31: trailing",
      .damage = POLICY_ADD_ZERO,
      .fault = COIL_CERT_MALFORMED,
      .says = "the certificate is malformed: not DER" },
    { .name = "32: 11 certificates",
      .send = "LIXXXXXXXXX",
      .fault = COIL_CERT_UNSUPPORTED,
      .says = "the peer sent 11 certificates: at most 10 are supported" },

    /* Pins. */
    { .name = "33: pin is right, authority unknown",
      .store = "Q",
      .pin = POLICY_PIN_LEAF,
      .fault = COIL_CERT_UNKNOWN,
      .says = "no trusted authority signed it" },
    { .name = "33: the same, PIN_ONLY",
      .pin = POLICY_PIN_LEAF,
      .mode = COILI_TRUST_PIN_ONLY },
    { .name = "33: the same by the key",
      .host = "b.test",
      .pin = POLICY_PIN_KEY,
      .mode = COILI_TRUST_PIN_ONLY },
    { .name = "34: chain is good, pin is wrong",
      .pin = POLICY_PIN_OTHER,
      .fault = COIL_CERT_PIN,
      .says = "neither the certificate nor its key is one of the 1 that are "
              "pinned" },
    { .name = "34: PIN_ONLY, pin is wrong",
      .pin = POLICY_PIN_OTHER,
      .mode = COILI_TRUST_PIN_ONLY,
      .fault = COIL_CERT_PIN,
      .says = "pinned" },
    { .name = "chain and pin of the leaf", .pin = POLICY_PIN_LEAF },
    { .name = "chain and pin of the key", .pin = POLICY_PIN_KEY },
    { .name = "verify nothing",
      .host = "b.test",
      .send = "S",
      .to = -1,
      .mode = COILI_TRUST_NONE },
    { .name = "verify nothing, signed by PSS",
      .signature = PKI_PSS,
      .unknown_critical = true,
      .mode = COILI_TRUST_NONE },
    { .name = "verify nothing, signed by Ed25519",
      .signature = PKI_ED25519_SIGNATURE,
      .kind = PKI_P521,
      .tls13 = true,
      .mode = COILI_TRUST_NONE },
    { .name = "verify nothing, signed with SHA-1, a client's",
      .is_client = true,
      .signature = PKI_SHA1,
      .san = "",
      .mode = COILI_TRUST_NONE },
    { .name = "verify nothing, and no certificate in it",
      .damage = POLICY_CUT_LAST,
      .mode = COILI_TRUST_NONE,
      .fault = COIL_CERT_MALFORMED,
      .says = "malformed" },

    /* Purposes. */
    { .name = "35: critical EKU serverAuth",
      .eku = "server",
      .critical = "eku" },
    { .name = "36: EKU any", .eku = "any" },
    { .name = "36: EKU server and client", .eku = "server client" },
    { .name = "EKU email alone",
      .eku = "email",
      .fault = COIL_CERT_PURPOSE,
      .says = "the certificate is not for TLS servers (extended key usage)" },
    { .name = "authority's EKU email alone",
      .authority_eku = "email",
      .fault = COIL_CERT_PURPOSE,
      .says = "the certificate of the authority Test Authority is not for TLS "
              "servers (extended key usage)" },
    { .name = "37: no digitalSignature",
      .ku = "encipher",
      .fault = COIL_CERT_PURPOSE,
      .says = "the certificate is not for signatures (key usage)" },
    { .name = "37: digitalSignature", .ku = "sign" },
    { .name = "38: intermediate is no CA",
      .authority_bc = "no",
      .fault = COIL_CERT_PURPOSE,
      .says = "the certificate of the authority Test Authority is used as an "
              "authority's, and is none (basic constraints)" },
    { .name = "38: intermediate without basic constraints",
      .authority_bc = "",
      .fault = COIL_CERT_PURPOSE,
      .says = "is none (basic constraints)" },
    { .name = "38: root is no CA",
      .root_bc = "no",
      .fault = COIL_CERT_PURPOSE,
      .says = "the certificate of the trusted authority Test Root is used as "
              "an authority's, and is none (basic constraints)" },
    { .name = "39: intermediate lacks certSign",
      .authority_ku = "sign",
      .fault = COIL_CERT_PURPOSE,
      .says = "the certificate of the authority Test Authority may not sign "
              "certificates (key usage)" },
    { .name = "40: pathLen 0 broken",
      .send = "LIJ",
      .deep = true,
      .upper_bc = "ca:0",
      .fault = COIL_CERT_CONSTRAINT,
      .says = "the certificate of the authority Test Upper allows 0 "
              "intermediate certificates below it, and there are 1 (path "
              "length)" },
    { .name = "40: pathLen 1 kept",
      .send = "LIJ",
      .deep = true,
      .upper_bc = "ca:1",
      .authority_bc = "ca:0" },

    /* Name constraints. */
    { .name = "41: permitted b.test",
      .authority_nc = "+DNS:b.test",
      .fault = COIL_CERT_CONSTRAINT,
      .says = "the authority Test Authority may not sign for a.test (name "
              "constraints)" },
    { .name = "41: permitted b.test, by the root",
      .root_nc = "+DNS:b.test",
      .fault = COIL_CERT_CONSTRAINT,
      .says = "the authority Test Root may not sign for a.test (name "
              "constraints)" },
    { .name = "42: excluded .test",
      .authority_nc = "-DNS:.test",
      .fault = COIL_CERT_CONSTRAINT,
      .says = "may not sign for a.test" },
    { .name = "43: permitted x.a.test / *.a.test",
      .host = "x.a.test",
      .san = "DNS:*.a.test",
      .authority_nc = "+DNS:x.a.test",
      .fault = COIL_CERT_CONSTRAINT,
      .says = "may not sign for *.a.test" },
    { .name = "43: excluded x.a.test / *.a.test",
      .host = "y.a.test",
      .san = "DNS:*.a.test",
      .authority_nc = "-DNS:x.a.test",
      .fault = COIL_CERT_CONSTRAINT,
      .says = "may not sign for *.a.test" },
    { .name = "44: critical, constraint kept",
      .authority_nc = "+DNS:a.test,-DNS:b.a.test",
      .authority_critical = "nc" },
    { .name = "44: address within",
      .host = "10.1.2.3",
      .san = "IP:10.1.2.3",
      .authority_nc = "+IP:10.0.0.0/255.0.0.0",
      .authority_critical = "nc" },
    { .name = "address outside",
      .host = "11.1.2.3",
      .san = "IP:11.1.2.3",
      .authority_nc = "+IP:10.0.0.0/255.0.0.0",
      .fault = COIL_CERT_CONSTRAINT,
      .says = "may not sign for 11.1.2.3" },
    { .name = "constraint for subjects",
      .authority_nc = "+DIR:Test",
      .fault = COIL_CERT_UNSUPPORTED,
      .says = "the authority Test Authority has name constraints that are not "
              "supported" },
    { .name = "constraint for mail, and a mail address",
      .san = "DNS:a.test,EMAIL:x@b.test",
      .authority_nc = "+EMAIL:a.test",
      .fault = COIL_CERT_UNSUPPORTED,
      .says = "not supported" },
    { .name = "constraint for mail alone", .authority_nc = "+EMAIL:a.test" },

    /* Kinds. */
    { .name = "45: unknown critical extension",
      .unknown_critical = true,
      .fault = COIL_CERT_UNSUPPORTED,
      .says = "the certificate has a critical extension that is not known" },
    { .name = "46: SHA-1 leaf",
      .signature = PKI_SHA1,
      .fault = COIL_CERT_WEAK,
      .says = "the certificate is signed with SHA-1" },
    { .name = "46: SHA-1 root", .root_signature = PKI_SHA1 },
    { .name = "47: RSA-1024",
      .kind = PKI_RSA_1024,
      .fault = COIL_CERT_WEAK,
      .says = "the certificate has an RSA key of 1024 bits: 2048 are needed" },
    { .name = "47: RSA-6144",
      .kind = PKI_RSA_6144,
      .fault = COIL_CERT_UNSUPPORTED,
      .says = "the certificate has an RSA key of 6144 bits: at most 4096 are "
              "supported" },
    { .name = "48: Ed25519",
      .kind = PKI_ED25519,
      .fault = COIL_CERT_UNSUPPORTED,
      .says = "the certificate has a key that is not supported" },
    { .name = "48: signed by Ed25519",
      .signature = PKI_ED25519_SIGNATURE,
      .fault = COIL_CERT_UNSUPPORTED,
      .says = "the certificate is signed with Ed25519, which is not "
              "supported" },
    { .name = "48: PSS-signed",
      .signature = PKI_PSS,
      .fault = COIL_CERT_UNSUPPORTED,
      .says = "the certificate is signed with RSA-PSS, which is not "
              "supported" },
    { .name = "49: P-521 in 1.3",
      .kind = PKI_P521,
      .tls13 = true,
      .fault = COIL_CERT_UNSUPPORTED,
      .says = "the certificate has a P-521 key, which is not supported in TLS "
              "1.3" },
    { .name = "49: P-521 in 1.2", .kind = PKI_P521 },
    { .name = "49: P-384", .kind = PKI_P384, .tls13 = true },
    { .name = "signed with SHA-384", .signature = PKI_SHA384 },
    { .name = "signed with SHA-512", .signature = PKI_SHA512 },

    /* Clients. */
    { .name = "50: serverAuth only, a client's",
      .is_client = true,
      .eku = "server",
      .fault = COIL_CERT_PURPOSE,
      .says = "the certificate is not for TLS clients (extended key usage)" },
    { .name = "51: clientAuth only, a server's",
      .eku = "client",
      .fault = COIL_CERT_PURPOSE,
      .says = "the certificate is not for TLS servers (extended key usage)" },
    { .name = "51: clientAuth, a client's",
      .is_client = true,
      .eku = "client" },
    { .name = "a client needs no name",
      .is_client = true,
      .cn = "Alice",
      .san = "" },
};

enum { POLICY_ROWS = sizeof policy_rows / sizeof *policy_rows };

/* A row, built. Certificates are made when they are asked for. */
struct policy {
    const struct policy_row *row;
    struct pki_key key_r, key_q, key_j, key_i, key_l, key_x;
    struct pki_cert r, q, j, i, k, e, x, l, s;
    struct coili_der chain[16];
    size_t n;
    char ca[65536];
};

static inline struct pki_spec policy_authority(const struct policy_row *row)
{
    return (struct pki_spec){
        .subject = "Test Authority",
        .bc = row->authority_bc ? *row->authority_bc ? row->authority_bc : NULL
                                : "ca",
        .ku = row->authority_ku ? row->authority_ku : "certsign",
        .eku = row->authority_eku,
        .nc = row->authority_nc,
        .critical = row->authority_critical,
        .no_ids = row->no_ids,
    };
}

static inline const struct pki_cert *policy_cert(const struct policy *p,
                                                 char letter)
{
    switch (letter) {
    case 'R':
        return &p->r;
    case 'Q':
        return &p->q;
    case 'J':
        return &p->j;
    case 'I':
        return &p->i;
    case 'K':
        return &p->k;
    case 'E':
        return &p->e;
    case 'X':
        return &p->x;
    case 'L':
        return &p->l;
    default:
        CHECK(letter == 'S');
        return &p->s;
    }
}

static inline void policy_damage(struct pki_cert *leaf,
                                 const struct policy_row *row)
{
    switch (row->damage) {
    case POLICY_AS_IT_IS:
        break;
    case POLICY_FLIP_LAST:
        leaf->der[leaf->len - 1] ^= 1;
        break;
    case POLICY_CUT_LAST:
        leaf->len--;
        break;
    case POLICY_ADD_ZERO:
        leaf->der[leaf->len++] = 0;
        break;
    case POLICY_INDEFINITE: /* 30 82 xx xx to 30 80, and 00 00 behind */
        CHECK(leaf->der[1] == 0x82);
        leaf->der[1] = 0x80;
        memmove(leaf->der + 2, leaf->der + 4, leaf->len - 4);
        memset(leaf->der + leaf->len - 2, 0, 2);
        break;
    }
}

/* Build a row. A policy is large: make it static. */
static inline void policy_build(struct policy *p, const struct policy_row *row)
{
    memset(p, 0, sizeof *p);
    p->row = row;
    p->key_r = pki_key_new(PKI_P256, 'R');
    p->key_q = pki_key_new(PKI_P256, 'Q');
    p->key_j = pki_key_new(PKI_P256, 'J');
    p->key_i = pki_key_new(PKI_P256, 'I');
    p->key_x = pki_key_new(PKI_P256, 'X');
    p->key_l = pki_key_new(row->kind, 'L');
    p->r = pki_sign(
        &(struct pki_spec){ .subject = "Test Root",
                            .key = &p->key_r,
                            .bc = row->root_bc ? row->root_bc : "ca",
                            .nc = row->root_nc,
                            .ku = "certsign",
                            .from = -3650 * (int64_t)PKI_DAY,
                            .to = row->root_to,
                            .no_ids = row->no_ids,
                            .version_1 = row->root_version_1,
                            .signature = row->root_signature },
        NULL);
    p->q = pki_sign(&(struct pki_spec){ .subject = "Other Root",
                                        .key = &p->key_q,
                                        .bc = "ca" },
                    NULL);
    p->j = pki_sign(
        &(struct pki_spec){ .subject = "Test Upper",
                            .key = &p->key_j,
                            .no_ids = row->no_ids,
                            .bc = row->upper_bc ? row->upper_bc : "ca" },
        &p->r);
    struct pki_spec authority = policy_authority(row);
    authority.key = &p->key_i;
    p->i = pki_sign(&authority, row->deep ? &p->j : &p->r);
    p->k = pki_sign(&authority, &p->q);
    authority.to = -PKI_DAY;
    p->e = pki_sign(&authority, &p->r);
    p->x = pki_sign(&(struct pki_spec){ .subject = "Unrelated",
                                        .key = &p->key_x,
                                        .bc = "ca" },
                    &p->q);
    struct pki_spec leaf = {
        .subject = row->cn ? row->cn : "leaf",
        .key = &p->key_l,
        .san = row->san ? *row->san ? row->san : NULL : "DNS:a.test",
        .san_der = row->san_der,
        .san_len = row->san_len,
        .eku = row->eku,
        .ku = row->ku,
        .critical = row->critical,
        .from = row->from,
        .to = row->to,
        .signature = row->signature,
        .unknown_critical = row->unknown_critical,
        .no_ids = row->no_ids,
    };
    p->l = pki_sign(&leaf, &p->i);
    policy_damage(&p->l, row);
    if (row->kind <= PKI_P521)
        p->s = pki_sign(&leaf, NULL);

    for (const char *c = row->send ? row->send : "LI"; *c; c++)
        p->chain[p->n++] = pki_view(policy_cert(p, *c));
    for (const char *c = row->store ? row->store : "R"; *c; c++)
        pki_cert_pem(p->ca, sizeof p->ca, policy_cert(p, *c));
}

/* The trust object of a row. */
static inline struct coili_trust *policy_trust(const struct policy *p)
{
    unsigned char pin[COILI_SHA256_BYTES];
    unsigned char buffer[PKI_BYTES];
    const struct policy_row *row = p->row;
    struct coili_trust *trust;
    char why[COILI_SENTENCE_BYTES];
    struct pki_out o = { buffer, sizeof buffer };
    br_sha256_context c;
    br_sha256_init(&c);
    if (row->pin == POLICY_PIN_LEAF)
        br_sha256_update(&c, p->chain[0].at, p->chain[0].len);
    if (row->pin == POLICY_PIN_KEY) {
        pki_spki(&o, &p->key_l);
        br_sha256_update(&c, buffer + o.at, sizeof buffer - o.at);
    }
    br_sha256_out(&c, pin);
    struct coili_trust_options options = {
        .mode = row->mode,
        .ca = p->ca,
        .ca_len = strlen(p->ca),
        .pins = pin,
        .pins_n = row->pin != POLICY_NO_PIN,
    };
    CHECK_INT(coili_trust_new(&trust, &options, why), 0);
    return trust;
}

static inline struct coili_question
policy_question(const struct policy_row *row)
{
    return (struct coili_question){
        .role = row->is_client ? COILI_PEER_IS_CLIENT : COILI_PEER_IS_SERVER,
        .host = row->is_client ? NULL
                : row->host    ? row->host
                               : "a.test",
        .now = row->clock ? row->clock : PKI_NOW,
        .tls13 = row->tls13,
    };
}

#endif
