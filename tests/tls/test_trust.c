// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_trust.c: which chains are believed, and what is said of the others.
 */
#include "policy.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tls/path.h"

static struct policy policy;

static int judge(struct coili_trust *trust, const struct policy *p,
                 struct coili_verdict *verdict)
{
    struct coili_chain chain = { p->chain, p->n };
    struct coili_question question = policy_question(p->row);
    return coili_trust_judge(trust, &chain, &question, verdict);
}

/* What a believed verdict must have, and one that is not. */
static void check_verdict(const struct policy *p, int err,
                          const struct coili_verdict *verdict)
{
    const struct policy_row *row = p->row;
    unsigned char hash[32];
    br_sha256_context c;
    test_note("%s: %d %s", row->name, verdict->fault, verdict->sentence);
    CHECK_INT(verdict->fault, row->fault);
    CHECK_INT(err, row->fault ? COIL_ECERT : 0);
    if (row->fault)
        CHECK(row->says && strstr(verdict->sentence, row->says));
    else
        CHECK_STR(verdict->sentence, "");
    CHECK(coili_der_equal(verdict->leaf, p->chain[0]));
    br_sha256_init(&c);
    br_sha256_update(&c, p->chain[0].at, p->chain[0].len);
    br_sha256_out(&c, hash);
    CHECK_MEM(verdict->leaf_sha256, hash, 32);
    if (err == 0) {
        CHECK(coili_der_is(verdict->key.point, p->key_l.point,
                           p->key_l.point_len));
        CHECK(verdict->key.point.at >= verdict->key_bytes &&
              verdict->key.point.at <
                  verdict->key_bytes + sizeof verdict->key_bytes);
    }
}

// Every case of the policy, with its verdict and its sentence.
TEST(trust_says_of_each_chain_what_the_policy_says)
{
    for (int i = 0; i < POLICY_ROWS; i++) {
        struct coili_verdict verdict;
        test_note("%s", policy_rows[i].name);
        policy_build(&policy, &policy_rows[i]);
        struct coili_trust *trust = policy_trust(&policy);
        int err = judge(trust, &policy, &verdict);
        check_verdict(&policy, err, &verdict);
        coili_trust_unref(trust);
    }
}

/* --- Chains that are made by hand -----------------------------------------*/

/* A trust object with these anchors. */
static struct coili_trust *trust_in(const struct pki_cert *const *anchors,
                                    size_t n)
{
    static char text[1 << 20];
    char why[COILI_SENTENCE_BYTES];
    struct coili_trust *trust;
    *text = '\0';
    for (size_t i = 0; i < n; i++)
        pki_cert_pem(text, sizeof text, anchors[i]);
    struct coili_trust_options options = { .ca = text, .ca_len = strlen(text) };
    CHECK_INT(coili_trust_new(&trust, &options, why), 0);
    return trust;
}

static int ask(struct coili_trust *trust, const struct coili_der *certs,
               size_t n, struct coili_verdict *verdict)
{
    struct coili_chain chain = { certs, n };
    struct coili_question question = { .host = "a.test", .now = PKI_NOW };
    return coili_trust_judge(trust, &chain, &question, verdict);
}

/* Root, intermediate and leaf with one RSA key: its signatures are quick. */
struct small {
    struct pki_key key;
    struct pki_cert root, authority, leaf;
};

static struct coili_trust *build_small(struct small *s)
{
    s->key = pki_key_new(PKI_RSA, 0);
    s->root = pki_sign(&(struct pki_spec){ .subject = "Root",
                                           .key = &s->key,
                                           .bc = "ca",
                                           .ku = "certsign",
                                           .signature = PKI_RSA_SHA256 },
                       NULL);
    s->authority = pki_sign(&(struct pki_spec){ .subject = "Authority",
                                                .key = &s->key,
                                                .bc = "ca",
                                                .nc = "+DNS:test",
                                                .ku = "certsign",
                                                .signature = PKI_RSA_SHA384 },
                            &s->root);
    s->leaf = pki_sign(&(struct pki_spec){ .subject = "leaf",
                                           .key = &s->key,
                                           .san = "DNS:a.test",
                                           .eku = "server",
                                           .ku = "sign",
                                           .signature = PKI_RSA_SHA512 },
                       &s->authority);
    const struct pki_cert *root = &s->root;
    return trust_in(&root, 1);
}

static struct small small;

TEST(trust_verifies_rsa_signatures_of_each_hash)
{
    struct coili_verdict verdict;
    struct coili_trust *trust = build_small(&small);
    struct coili_der certs[] = { pki_view(&small.leaf),
                                 pki_view(&small.authority) };
    CHECK_INT(ask(trust, certs, 2, &verdict), 0);
    CHECK_INT(verdict.key.type, COILI_KEY_RSA);
    CHECK_INT(verdict.key.bits, 2048);
    CHECK(coili_der_equal(verdict.key.modulus, small.key.rsa.rsa.n));
    CHECK(coili_der_equal(verdict.key.exponent, small.key.rsa.rsa.e));
    CHECK_INT(verdict.not_after, PKI_NOW + 180 * PKI_DAY);
    coili_trust_unref(trust);
}

// Whatever is changed on the way, the chain is not believed any more.
TEST(trust_believes_no_chain_with_a_flipped_bit)
{
    struct coili_verdict verdict;
    struct coili_trust *trust = build_small(&small);
    test_timeout(120);
    for (int which = 0; which < 2; which++) {
        struct pki_cert *cert = which == 0 ? &small.leaf : &small.authority;
        struct coili_der certs[] = { pki_view(&small.leaf),
                                     pki_view(&small.authority) };
        size_t step = test_is_slow() ? 7 : 1;
        for (size_t bit = 0; bit < 8 * cert->len; bit += step) {
            test_note("certificate %d, bit %zu", which, bit);
            cert->der[bit / 8] ^= (unsigned char)(1 << bit % 8);
            CHECK_INT(ask(trust, certs, 2, &verdict), COIL_ECERT);
            CHECK(verdict.fault != COIL_CERT_OK && *verdict.sentence);
            cert->der[bit / 8] ^= (unsigned char)(1 << bit % 8);
        }
        CHECK_INT(ask(trust, certs, 2, &verdict), 0);
    }
    coili_trust_unref(trust);
}

// In memory of just that size, so that a sanitizer sees one byte too many.
TEST(trust_believes_no_chain_that_is_cut)
{
    struct coili_verdict verdict;
    struct coili_trust *trust = build_small(&small);
    for (int which = 0; which < 2; which++) {
        struct coili_der certs[] = { pki_view(&small.leaf),
                                     pki_view(&small.authority) };
        size_t whole = certs[which].len;
        for (size_t len = 0; len < whole; len++) {
            unsigned char *copy = malloc(len + !len);
            CHECK(copy);
            memcpy(copy, certs[which].at, len);
            struct coili_der cut[2] = { certs[0], certs[1] };
            cut[which] = (struct coili_der){ copy, len };
            CHECK_INT(ask(trust, cut, 2, &verdict), COIL_ECERT);
            CHECK_INT(verdict.fault, COIL_CERT_MALFORMED);
            free(copy);
        }
    }
    coili_trust_unref(trust);
}

// Bytes that stay DER are the ones that reach the code behind the parser.
TEST(trust_survives_random_changes)
{
    struct coili_trust *trust = build_small(&small);
    struct coili_verdict verdict;
    struct pki_cert changed;
    int n = test_seeds(4000);
    for (int i = 0; i < n; i++) {
        uint64_t x = test_seed(i) * 0x9e3779b97f4a7c15u + 1;
        changed = small.leaf;
        for (int k = 0; k < 1 + (int)(x % 4); k++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            size_t at = (x >> 8) % changed.len;
            unsigned char was = changed.der[at];
            changed.der[at] = (unsigned char)(x & 1 ? x >> 40 : was + 1u);
        }
        if (!memcmp(changed.der, small.leaf.der, changed.len))
            continue;
        struct coili_der certs[] = { pki_view(&changed),
                                     pki_view(&small.authority) };
        CHECK_INT(ask(trust, certs, 2, &verdict), COIL_ECERT);
    }
    coili_trust_unref(trust);
}

/* --- Bounds ---------------------------------------------------------------*/

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

// Nine authorities that all have signed each other: factorially many paths.
TEST(trust_gives_up_among_authorities_of_one_name)
{
    static struct pki_key keys[10];
    static struct pki_cert certs[10], anchors[1];
    struct coili_der chain[10];
    struct coili_verdict verdict;
    for (int i = 0; i < 10; i++)
        keys[i] = pki_key_new(PKI_RSA, 0);
    for (int i = 1; i < 10; i++)
        certs[i] = pki_sign(&(struct pki_spec){ .subject = "Same",
                                                .issuer = "Same",
                                                .key = &keys[i],
                                                .bc = "ca",
                                                .from = -i * PKI_DAY,
                                                .signature = PKI_RSA_SHA256 },
                            NULL);
    certs[0] = pki_sign(&(struct pki_spec){ .subject = "leaf",
                                            .key = &keys[0],
                                            .san = "DNS:a.test",
                                            .signature = PKI_RSA_SHA256 },
                        &certs[1]);
    anchors[0] = pki_sign(&(struct pki_spec){ .subject = "Other",
                                              .key = &keys[0],
                                              .bc = "ca",
                                              .signature = PKI_RSA_SHA256 },
                          NULL);
    for (int i = 0; i < 10; i++)
        chain[i] = pki_view(&certs[i]);
    const struct pki_cert *anchor = anchors;
    struct coili_trust *trust = trust_in(&anchor, 1);
    double start = cpu_ms();
    CHECK_INT(ask(trust, chain, 10, &verdict), COIL_ECERT);
    if (!test_is_slow())
        CHECK(cpu_ms() - start < 50);
    CHECK_INT(verdict.fault, COIL_CERT_UNSUPPORTED);
    CHECK_STR(verdict.sentence,
              "there are too many ways to verify the certificate");
    coili_trust_unref(trust);
}

// Two hundred roots of one name in the store, none of which has signed.
TEST(trust_gives_up_among_anchors_of_one_name)
{
    static struct pki_cert roots[200], leaf;
    static const struct pki_cert *anchors[200];
    struct pki_key key = pki_key_new(PKI_RSA, 0);
    struct pki_key other = pki_key_new(PKI_P256, 'L');
    struct coili_verdict verdict;
    for (int i = 0; i < 200; i++) {
        roots[i] = pki_sign(&(struct pki_spec){ .subject = "Same",
                                                .key = &key,
                                                .bc = "ca",
                                                .no_ids = true,
                                                .from = -(i + 1) * PKI_DAY,
                                                .signature = PKI_RSA_SHA256 },
                            NULL);
        anchors[i] = &roots[i];
    }
    leaf = pki_sign(&(struct pki_spec){ .subject = "leaf",
                                        .issuer = "Same",
                                        .san = "DNS:a.test",
                                        .key = &other,
                                        .no_ids = true },
                    NULL);
    struct coili_trust *trust = trust_in(anchors, 200);
    struct coili_der chain = pki_view(&leaf);
    double start = cpu_ms();
    CHECK_INT(ask(trust, &chain, 1, &verdict), COIL_ECERT);
    if (!test_is_slow())
        CHECK(cpu_ms() - start < 50);
    CHECK_INT(verdict.fault, COIL_CERT_UNSUPPORTED);
    coili_trust_unref(trust);
}

// The same with certificates that are no authorities: none costs a signature.
TEST(trust_gives_up_among_anchors_that_are_no_authorities)
{
    static struct pki_cert cert, leaf;
    static const struct pki_cert *anchors[COILI_PATH_STEPS_MAX + 1];
    struct pki_key key = pki_key_new(PKI_P256, 'L');
    struct coili_verdict verdict;
    cert = pki_sign(&(struct pki_spec){ .subject = "Same", .key = &key }, NULL);
    for (int i = 0; i <= COILI_PATH_STEPS_MAX; i++)
        anchors[i] = &cert;
    leaf = pki_sign(&(struct pki_spec){ .subject = "leaf",
                                        .issuer = "Same",
                                        .san = "DNS:a.test",
                                        .key = &key },
                    NULL);
    struct coili_trust *trust = trust_in(anchors, COILI_PATH_STEPS_MAX + 1);
    struct coili_der chain = pki_view(&leaf);
    CHECK_INT(ask(trust, &chain, 1, &verdict), COIL_ECERT);
    CHECK_INT(verdict.fault, COIL_CERT_UNSUPPORTED);
    coili_trust_unref(trust);
}

// Six of the peer's and an anchor; seven are too long a path.
TEST(trust_follows_a_path_of_six_certificates)
{
    static struct pki_key key;
    static struct pki_cert root, certs[8];
    struct coili_der chain[8];
    struct coili_verdict verdict;
    static const char *const names[] = { "leaf", "A", "B", "C", "D", "E", "F" };
    key = pki_key_new(PKI_RSA, 0);
    root = pki_sign(&(struct pki_spec){ .subject = "Root",
                                        .key = &key,
                                        .bc = "ca",
                                        .signature = PKI_RSA_SHA256 },
                    NULL);
    for (int depth = 6; depth <= 7; depth++) {
        for (int i = depth - 1; i >= 0; i--) {
            struct pki_spec spec = { .subject = names[i],
                                     .key = &key,
                                     .bc = i > 0 ? "ca" : NULL,
                                     .san = i > 0 ? NULL : "DNS:a.test",
                                     .signature = PKI_RSA_SHA256 };
            certs[i] = pki_sign(&spec, i == depth - 1 ? &root : &certs[i + 1]);
            chain[i] = pki_view(&certs[i]);
        }
        const struct pki_cert *anchor = &root;
        struct coili_trust *trust = trust_in(&anchor, 1);
        int err = ask(trust, chain, (size_t)depth, &verdict);
        test_note("%s", verdict.sentence);
        CHECK_INT(err, depth == 6 ? 0 : COIL_ECERT);
        if (err)
            CHECK_STR(verdict.sentence, "the path to a trusted authority has "
                                        "more than 6 certificates");
        coili_trust_unref(trust);
    }
}

// 60,000 bytes of names against 60,000 bytes of constraints.
TEST(trust_bounds_the_work_for_name_constraints)
{
    static char names[8000], constraints[8000];
    static struct pki_cert root, authority, leaf;
    struct pki_key key = pki_key_new(PKI_RSA, 0);
    struct coili_verdict verdict;
    strcpy(names, "DNS:a.test");
    strcpy(constraints, "+DNS:test");
    for (int i = 0; i < 700; i++) {
        sprintf(names + strlen(names), ",DNS:%d", i);
        sprintf(constraints + strlen(constraints), ",+DNS:%d", i);
    }
    root = pki_sign(&(struct pki_spec){ .subject = "Root",
                                        .key = &key,
                                        .bc = "ca",
                                        .signature = PKI_RSA_SHA256 },
                    NULL);
    authority = pki_sign(&(struct pki_spec){ .subject = "Authority",
                                             .key = &key,
                                             .bc = "ca",
                                             .nc = constraints,
                                             .signature = PKI_RSA_SHA256 },
                         &root);
    leaf = pki_sign(&(struct pki_spec){ .subject = "leaf",
                                        .key = &key,
                                        .san = names,
                                        .signature = PKI_RSA_SHA256 },
                    &authority);
    const struct pki_cert *anchor = &root;
    struct coili_trust *trust = trust_in(&anchor, 1);
    struct coili_der certs[] = { pki_view(&leaf), pki_view(&authority) };
    double start = cpu_ms();
    CHECK_INT(ask(trust, certs, 2, &verdict), COIL_ECERT);
    if (!test_is_slow())
        CHECK(cpu_ms() - start < 50);
    CHECK_STR(verdict.sentence,
              "there are too many ways to verify the certificate");
    coili_trust_unref(trust);
}

TEST(trust_refuses_more_than_64_kb_of_certificates)
{
    static unsigned char bytes[COILI_CHAIN_BYTES_MAX + 1];
    struct coili_trust *trust = build_small(&small);
    struct coili_verdict verdict;
    struct coili_der certs[] = { pki_view(&small.leaf), { bytes, 0 } };
    certs[1].len = COILI_CHAIN_BYTES_MAX - certs[0].len + 1;
    CHECK_INT(ask(trust, certs, 2, &verdict), COIL_ECERT);
    CHECK_INT(verdict.fault, COIL_CERT_UNSUPPORTED);
    CHECK_STR(verdict.sentence,
              "the peer sent certificates of more than 65536 bytes");
    CHECK(coili_der_equal(verdict.leaf, certs[0]));
    coili_trust_unref(trust);
}

TEST(trust_of_no_certificate_is_a_fault)
{
    struct coili_trust *trust = build_small(&small);
    struct coili_verdict verdict;
    CHECK_INT(ask(trust, NULL, 0, &verdict), COIL_ECERT);
    CHECK_INT(verdict.fault, COIL_CERT_MALFORMED);
    CHECK_STR(verdict.sentence, "the peer sent no certificate");
    CHECK(!verdict.leaf.at);
    coili_trust_unref(trust);
}

/* --- The object -----------------------------------------------------------*/

// A server that is asked for without a name would be any server.
TEST(trust_of_a_server_needs_a_name)
{
    struct coili_trust *trust = build_small(&small);
    struct coili_verdict verdict;
    struct coili_der certs[] = { pki_view(&small.leaf),
                                 pki_view(&small.authority) };
    struct coili_chain chain = { certs, 2 };
    struct coili_question question = { .now = PKI_NOW };
    CHECK_INT(coili_trust_judge(trust, &chain, &question, &verdict),
              COIL_ECERT);
    CHECK_INT(verdict.fault, COIL_CERT_NAME);
    CHECK_STR(verdict.sentence,
              "there is no host name to verify the certificate for");
    coili_trust_unref(trust);
}

TEST(trust_in_pins_alone_needs_a_pin)
{
    struct coili_trust *trust = NULL;
    char why[COILI_SENTENCE_BYTES];
    struct coili_trust_options options = { .mode = COILI_TRUST_PIN_ONLY };
    CHECK_INT(coili_trust_new(&trust, &options, why), -EINVAL);
    CHECK_STR(why, "there is no pin to trust");
    CHECK(!trust);
}

static int one_judgement(void)
{
    struct coili_trust *trust;
    struct coili_verdict verdict;
    char why[COILI_SENTENCE_BYTES];
    struct coili_trust_options options = { .ca = policy.ca,
                                           .ca_len = strlen(policy.ca) };
    int err = coili_trust_new(&trust, &options, why);
    if (err < 0)
        return err;
    err = judge(trust, &policy, &verdict);
    CHECK(err == 0 || *verdict.sentence);
    coili_trust_unref(trust);
    return err;
}

TEST(trust_without_memory_says_so)
{
    policy_build(&policy, &policy_rows[0]);
    test_every_allocation(one_judgement);
}

TEST(trust_is_counted)
{
    struct coili_trust *trust = build_small(&small);
    CHECK(coili_trust_ref(trust) == trust);
    coili_trust_unref(trust);
    coili_trust_unref(trust);
    coili_trust_unref(NULL);
}

static void id_of(const struct coili_trust_options *options,
                  unsigned char id[COILI_SHA256_BYTES])
{
    struct coili_trust *trust;
    char why[COILI_SENTENCE_BYTES];
    CHECK_INT(coili_trust_new(&trust, options, why), 0);
    coili_trust_id(trust, id);
    coili_trust_unref(trust);
}

// Sessions are shared by setups with the same id.
TEST(trust_has_an_id_of_all_that_it_believes)
{
    static const unsigned char pins[2 * COILI_SHA256_BYTES] = { 1 };
    static char two[65536];
    policy_build(&policy, &policy_rows[0]);
    strcpy(two, policy.ca);
    pki_cert_pem(two, sizeof two, &policy.q);
    struct coili_trust_options options[] = {
        { .ca = policy.ca, .ca_len = strlen(policy.ca) },
        { .ca = two, .ca_len = strlen(two) },
        { .ca = two, .ca_len = strlen(two), .pins = pins, .pins_n = 1 },
        { .ca = two, .ca_len = strlen(two), .pins = pins, .pins_n = 2 },
        { .mode = COILI_TRUST_PIN_ONLY, .pins = pins, .pins_n = 1 },
        { .mode = COILI_TRUST_NONE },
    };
    enum { N = sizeof options / sizeof *options };
    unsigned char ids[N][COILI_SHA256_BYTES], again[COILI_SHA256_BYTES];
    for (int i = 0; i < N; i++) {
        id_of(&options[i], ids[i]);
        id_of(&options[i], again);
        CHECK_MEM(again, ids[i], sizeof again);
        for (int k = 0; k < i; k++)
            CHECK(memcmp(ids[i], ids[k], sizeof again) != 0);
    }
}

// What a peer puts in its names does not reach a terminal.
TEST(trust_says_only_printable_characters)
{
    struct coili_verdict verdict;
    struct pki_key key = pki_key_new(PKI_P256, 'L');
    static struct pki_cert leaf;
    struct coili_trust *trust = build_small(&small);
    leaf = pki_sign(&(struct pki_spec){ .subject = "leaf",
                                        .issuer = "\033[2J\n\xff",
                                        .key = &key,
                                        .san = "DNS:a.test" },
                    NULL);
    struct coili_der certs[] = { pki_view(&leaf), pki_view(&small.authority) };
    CHECK_INT(ask(trust, certs, 2, &verdict), COIL_ECERT);
    CHECK_STR(verdict.sentence, "no trusted authority signed it (issuer ?[2J?"
                                "?)");
    coili_trust_unref(trust);
}

// What the tests' own writer makes, openssl believes too: it is no private
// dialect. The leaf, its intermediate, its root; also with the key of RSA.
TEST(trust_agrees_with_openssl_on_a_good_chain)
{
    static char text[65536], out[1024], command[1024];
    char path[] = "/tmp/coil-trust-XXXXXX";
    for (int rsa = 0; rsa < 2; rsa++) {
        struct coili_trust *trust = build_small(&small);
        policy_build(&policy, &policy_rows[0]);
        const struct pki_cert *certs[] = { rsa ? &small.root : &policy.r,
                                           rsa ? &small.authority : &policy.i,
                                           rsa ? &small.leaf : &policy.l };
        CHECK(mkdtemp(path));
        for (int i = 0; i < 3; i++) {
            char name[64];
            *text = '\0';
            pki_cert_pem(text, sizeof text, certs[i]);
            sprintf(name, "%s/%d.pem", path, i);
            FILE *file = fopen(name, "w");
            CHECK(file && fputs(text, file) >= 0);
            CHECK_INT(fclose(file), 0);
        }
        sprintf(command,
                "cd %s && openssl verify -x509_strict -attime %d -purpose "
                "sslserver -verify_hostname a.test -CAfile 0.pem -untrusted "
                "1.pem 2.pem; rm -r %s",
                path, PKI_NOW, path);
        pki_output(command, out, sizeof out);
        CHECK_STR(out, "2.pem: OK\n");
        strcpy(path, "/tmp/coil-trust-XXXXXX");
        coili_trust_unref(trust);
    }
}
