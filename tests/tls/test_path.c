// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_path.c: the search itself. What it decides stands in policy.h.
 */
#include "policy.h"

#include "tls/path.h"

#include <errno.h>

static struct policy p;
static struct coili_cert certs[COILI_CHAIN_MAX];
static char why[COILI_SENTENCE_BYTES];

/* Search a path in the chain and the store of `p`. */
static int find_built(struct coili_path *path,
                      struct coili_complaint *complaint)
{
    struct coili_store *store;
    struct coili_anchors anchors;
    for (size_t i = 0; i < p.n; i++)
        CHECK_STR(coili_cert_parse(&certs[i], p.chain[i]), NULL);
    struct coili_store_source source = { .text = p.ca, .len = strlen(p.ca) };
    CHECK_INT(coili_store_open(&store, &source, why), 0);
    CHECK_INT(coili_anchors_open(&anchors, store, why), 0);
    *complaint = (struct coili_complaint){ COIL_CERT_OK, "" };
    *path = (struct coili_path){ .certs = certs,
                                 .certs_n = p.n,
                                 .anchors = &anchors,
                                 .now = PKI_NOW,
                                 .purpose = COILI_PURPOSE_SERVER,
                                 .complaint = complaint };
    int err = coili_path_find(path);
    coili_anchors_close(&anchors);
    coili_store_close(store);
    return err;
}

/* The same for a row of policy.h. */
static int find(const struct policy_row *row, struct coili_path *path,
                struct coili_complaint *complaint)
{
    policy_build(&p, row);
    return find_built(path, complaint);
}

/* The path as letters of policy.h, the anchor last. */
static const char *letters(const struct coili_path *path)
{
    static const char all[] = "RQJIKEXLS";
    static char text[COILI_PATH_DEPTH + 2];
    size_t n = 0;
    for (size_t i = 0; i <= path->n; i++) {
        struct coili_der der = i < path->n ? path->links[i]->der
                                           : path->anchor.cert.der;
        for (const char *c = all; *c; c++)
            if (coili_der_equal(der, pki_view(policy_cert(&p, *c))))
                text[n++] = *c;
    }
    text[n] = '\0';
    return text;
}

TEST(path_is_the_leaf_its_issuers_and_an_anchor)
{
    static const struct {
        struct policy_row row;
        const char *path;
    } rows[] = {
        { { .name = "usual" }, "LIR" },
        { { .send = "LIR" }, "LIR" },
        { { .send = "LJI", .deep = true }, "LIJR" },
        { { .send = "LJXIR", .deep = true }, "LIJR" },
        { { .send = "LEI" }, "LIR" },
        { { .send = "LEIKX" }, "LIR" },
        { { .send = "LI", .store = "RI" }, "LI" },
        { { .send = "LKI" }, "LIR" },
        { { .send = "LIK", .store = "Q" }, "LKQ" },
        { { .send = "LIK", .store = "QR" }, "LIR" },
        { { .send = "LJI", .deep = true, .store = "J" }, "LIJ" },
        { { .send = "S", .store = "S" }, "SS" },
        { { .send = "LII" }, "LIR" },
        { { .send = "LLLI" }, "LIR" },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct coili_path path;
        struct coili_complaint complaint;
        int err = find(&rows[i].row, &path, &complaint);
        test_note("row %zu: %s", i, complaint.sentence);
        CHECK_INT(err, 0);
        CHECK_STR(letters(&path), rows[i].path);
        coili_path_fini(&path);
    }
}

// A session must not outlive the first certificate of its path that ends.
TEST(path_ends_with_its_first_certificate_that_ends)
{
    static const struct policy_row rows[] = {
        { .to = 5 * PKI_DAY },
        { .to = 500 * PKI_DAY },
        { .to = 500 * PKI_DAY, .root_to = 9 * PKI_DAY },
    };
    static const int days[] = { 5, 180, 9 };
    for (int i = 0; i < 3; i++) {
        struct coili_path path;
        struct coili_complaint complaint;
        CHECK_INT(find(&rows[i], &path, &complaint), 0);
        CHECK_INT(path.not_after, PKI_NOW + days[i] * PKI_DAY);
        coili_path_fini(&path);
    }
}

// A certificate of the same name with another key costs no signature, unless
// nothing else is left: key identifiers are hints.
TEST(path_tries_the_issuer_with_the_wanted_key_first)
{
    static struct pki_cert other;
    static const struct policy_row row = { .name = "usual" };
    struct coili_path path;
    struct coili_complaint complaint;
    policy_build(&p, &row);
    other = pki_sign(&(struct pki_spec){ .subject = "Test Authority",
                                         .key = &p.key_x,
                                         .bc = "ca" },
                     &p.r);
    p.chain[p.n++] = p.chain[1];
    p.chain[1] = pki_view(&other);
    CHECK_INT(find_built(&path, &complaint), 0);
    CHECK_STR(letters(&path), "LIR");
    CHECK_INT(path.signatures, COILI_PATH_SIGNATURES_MAX - 2);
    coili_path_fini(&path);

    p.n = 2;
    CHECK_INT(find_built(&path, &complaint), COIL_ECERT);
    CHECK_INT(complaint.fault, COIL_CERT_SIGNATURE);
    CHECK_INT(path.signatures, COILI_PATH_SIGNATURES_MAX - 1);
    coili_path_fini(&path);
}

// An authority that changes its key signs the new one with the old one, under
// the same name. RFC 5280: such a certificate does not count for the path
// length, and its names are not bound.
TEST(path_does_not_count_an_authoritys_change_of_its_key)
{
    static struct pki_cert next, leaf;
    static const struct policy_row row = { .authority_bc = "ca:0",
                                           .authority_nc = "+DNS:a.test" };
    struct coili_path path;
    struct coili_complaint complaint;
    for (int other_name = 0; other_name < 2; other_name++) {
        policy_build(&p, &row);
        next = pki_sign(&(struct pki_spec){ .subject = other_name
                                                           ? "Other"
                                                           : "Test Authority",
                                            .san = "DNS:c.test",
                                            .key = &p.key_x,
                                            .bc = "ca" },
                        &p.i);
        leaf = pki_sign(&(struct pki_spec){ .subject = "leaf",
                                            .san = "DNS:a.test",
                                            .key = &p.key_l },
                        &next);
        p.chain[0] = pki_view(&leaf);
        p.chain[2] = pki_view(&next);
        p.n = 3;
        CHECK_INT(find_built(&path, &complaint), other_name ? COIL_ECERT : 0);
        CHECK_INT(complaint.fault,
                  other_name ? COIL_CERT_CONSTRAINT : COIL_CERT_OK);
        coili_path_fini(&path);
    }
}
