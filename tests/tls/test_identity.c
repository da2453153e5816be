// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_identity.c: chains and keys from PEM, and what is said of bad ones.
 */
#include "pki.h"

#include "tls/identity.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char why[COILI_SENTENCE_BYTES];

/* A chain of two, and the key of its leaf. */
struct files {
    struct pki_key key, other;
    struct pki_cert root, leaf;
    char certs[16384], key_text[4096], other_text[4096], both[20000];
};

static struct files f;

static void build(enum pki_kind kind)
{
    memset(&f, 0, sizeof f);
    f.key = pki_key_new(kind, 'L');
    f.other = pki_key_new(kind, 'O');
    f.root = pki_sign(
        &(struct pki_spec){ .subject = "Root", .key = &f.other, .bc = "ca" },
        NULL);
    f.leaf = pki_sign(&(struct pki_spec){ .subject = "leaf",
                                          .key = &f.key,
                                          .san = "DNS:a.test" },
                      &f.root);
    pki_cert_pem(f.certs, sizeof f.certs, &f.leaf);
    pki_cert_pem(f.certs, sizeof f.certs, &f.root);
    pki_key_pem(f.key_text, sizeof f.key_text, &f.key);
    pki_key_pem(f.other_text, sizeof f.other_text, &f.other);
    pki_cert_pem(f.both, sizeof f.both, &f.leaf);
    pki_cert_pem(f.both, sizeof f.both, &f.root);
    pki_key_pem(f.both, sizeof f.both, &f.key);
}

static struct coili_pem_source in_memory(const char *text)
{
    return (struct coili_pem_source){ .text = text, .len = strlen(text) };
}

static int load(struct coili_identity **identity, const char *certs,
                const char *key)
{
    struct coili_pem_source a = in_memory(certs);
    struct coili_pem_source b = in_memory(key ? key : "");
    return coili_identity_new(identity, &a, key ? &b : NULL, why);
}

/* It must be refused with this sentence. */
static void refused(const char *certs, const char *key, const char *sentence)
{
    struct coili_identity *identity = NULL;
    CHECK_INT(load(&identity, certs, key), -EINVAL);
    CHECK_STR(why, sentence);
    CHECK(!identity);
}

TEST(identity_is_a_chain_and_the_key_of_its_leaf)
{
    static const enum pki_kind kinds[] = { PKI_P256, PKI_P384, PKI_P521 };
    static const enum coili_key_type types[] = { COILI_KEY_P256, COILI_KEY_P384,
                                                 COILI_KEY_P521 };
    for (int i = 0; i < 3; i++) {
        struct coili_identity *identity;
        build(kinds[i]);
        CHECK_INT(load(&identity, f.certs, f.key_text), 0);
        CHECK_INT(identity->chain.n, 2);
        CHECK(coili_der_equal(identity->chain.certs[0], pki_view(&f.leaf)));
        CHECK(coili_der_equal(identity->chain.certs[1], pki_view(&f.root)));
        CHECK(coili_der_equal(identity->leaf.der, identity->chain.certs[0]));
        CHECK_INT(identity->key.type, types[i]);
        CHECK(
            coili_der_is(identity->key.scalar, f.key.scalar, f.key.scalar_len));
        CHECK(coili_identity_ref(identity) == identity);
        coili_identity_unref(identity);
        coili_identity_unref(identity);
    }
    coili_identity_unref(NULL);
}

TEST(identity_may_stand_in_one_text_in_any_order)
{
    struct coili_identity *identity;
    struct coili_pem_source none = { .path = NULL };
    build(PKI_P256);
    CHECK_INT(load(&identity, f.both, NULL), 0);
    coili_identity_unref(identity);

    struct coili_pem_source both = in_memory(f.both);
    CHECK_INT(coili_identity_new(&identity, &both, &none, why), 0);
    coili_identity_unref(identity);
    CHECK_INT(coili_identity_new(&identity, &both, &both, why), 0);
    coili_identity_unref(identity);

    static char reversed[24000];
    sprintf(reversed, "%s%s", f.key_text, f.certs);
    CHECK_INT(load(&identity, reversed, NULL), 0);
    CHECK_INT(identity->chain.n, 2);
    coili_identity_unref(identity);
}

// A certificate text may also hold a key that belongs to something else.
TEST(identity_takes_the_key_of_the_text_for_keys)
{
    struct coili_identity *identity;
    build(PKI_P256);
    pki_key_pem(f.certs, sizeof f.certs, &f.other);
    CHECK_INT(load(&identity, f.certs, f.key_text), 0);
    coili_identity_unref(identity);
}

TEST(identity_that_does_not_fit_is_refused_with_its_line)
{
    build(PKI_P256);
    refused(f.certs, f.other_text,
            "memory:1: the private key is not the one of the "
            "first certificate in memory");
    refused(f.key_text, f.key_text, "there is no certificate in memory");
    refused(f.certs, f.certs, "there is no private key in memory");
    refused(f.certs, NULL, "there is no private key in memory");
    refused("", NULL, "there is no certificate in memory");

    static char text[24000];
    sprintf(text, "\n\n%s%s", f.key_text, f.key_text);
    refused(f.certs, text, "memory:8: a second private key");

    /* The point in the file is the other key's, the number is not. */
    struct pki_key mixed = f.key;
    memcpy(mixed.scalar, f.other.scalar, sizeof mixed.scalar);
    *text = '\0';
    pki_key_pem(text, sizeof text, &mixed);
    refused(f.certs, text,
            "memory:1: the private key is not the one of the "
            "first certificate in memory");
}

TEST(identity_names_the_line_of_a_fault)
{
    static char text[24000];
    build(PKI_P256);
    sprintf(text, "comment\n%s", f.certs);
    strstr(text, "MI")[0] = '!';
    refused(text, f.key_text, "memory:3: not base64");

    strcpy(text, f.certs);
    strstr(text, "-----END")[0] = 'x';
    refused(text, f.key_text, "memory:1: BEGIN without END");

    *text = '\0';
    pki_pem(text, sizeof text, "CERTIFICATE", (const unsigned char *)"\5\0", 2);
    refused(text, f.key_text, "memory:1: not an X.509 certificate");
    *text = '\0';
    pki_pem(text, sizeof text, "PRIVATE KEY", (const unsigned char *)"\5\0", 2);
    refused(f.certs, text, "memory:1: the private key is malformed");
    *text = '\0';
    for (int i = 0; i <= COILI_CHAIN_MAX; i++)
        pki_pem(text, sizeof text, "CERTIFICATE", f.leaf.der, f.leaf.len);
    CHECK_INT(load(&(struct coili_identity *){ NULL }, text, f.key_text),
              -EINVAL);
    CHECK(strstr(why, ": too many certificates"));
}

TEST(identity_from_files_names_the_file)
{
    struct coili_identity *identity;
    char path[] = "/tmp/coil-identity-XXXXXX", sentence[128];
    build(PKI_P256);
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    CHECK(write(fd, f.both, strlen(f.both)) == (ssize_t)strlen(f.both));
    struct coili_pem_source file = { .path = path };
    CHECK_INT(coili_identity_new(&identity, &file, NULL, why), 0);
    CHECK_INT(identity->chain.n, 2);
    coili_identity_unref(identity);

    CHECK(pwrite(fd, "!", 1, 40) == 1);
    CHECK_INT(coili_identity_new(&identity, &file, NULL, why), -EINVAL);
    sprintf(sentence, "%s:2: not base64", path);
    CHECK_STR(why, sentence);
    close(fd);
    unlink(path);
    CHECK_INT(coili_identity_new(&identity, &file, NULL, why), -ENOENT);
    sprintf(sentence, "%s cannot be read: No such file or directory", path);
    CHECK_STR(why, sentence);
    file.path = "/tmp";
    CHECK_INT(coili_identity_new(&identity, &file, NULL, why), -EISDIR);
    CHECK_STR(why, "/tmp cannot be read: Is a directory");
}

static int load_both(void)
{
    struct coili_identity *identity;
    int err = load(&identity, f.certs, f.key_text);
    if (err == 0)
        coili_identity_unref(identity);
    return err;
}

TEST(identity_without_memory_says_so)
{
    build(PKI_P256);
    test_every_allocation(load_both);
}

/* --- What openssl writes --------------------------------------------------*/

/* A certificate for the key that `make` writes, and that key, as `form` has
 * it. */
static void check_openssl(const char *make, const char *form,
                          enum coili_key_type type)
{
    static char text[32768], command[1024];
    struct coili_identity *identity;
    char dir[] = "/tmp/coil-openssl-XXXXXX";
    CHECK(mkdtemp(dir));
    snprintf(command, sizeof command,
             "cd %s && exec 2>&1 && %s >made.pem 2>log && openssl req -new "
             "-x509 -key made.pem -subj /CN=x -addext "
             "subjectAltName=DNS:a.test -out cert.pem && %s >>cert.pem && cat "
             "cert.pem; rm -r %s",
             dir, make, form, dir);
    pki_output(command, text, sizeof text);
    test_note("%s; %s: %s", make, form, text);
    CHECK_INT(load(&identity, text, NULL), 0);
    CHECK_INT(identity->key.type, type);
    coili_identity_unref(identity);
}

TEST(identity_reads_the_keys_that_openssl_writes)
{
    static const struct {
        const char *make, *form;
        enum coili_key_type type;
    } rows[] = {
        { "openssl genrsa 2048", "openssl rsa -in made.pem -traditional",
          COILI_KEY_RSA },
        { "openssl genrsa 2050", "openssl pkcs8 -topk8 -nocrypt -in made.pem",
          COILI_KEY_RSA },
        { "openssl genrsa 3072", "openssl pkey -in made.pem", COILI_KEY_RSA },
        { "openssl ecparam -genkey -name prime256v1", "cat made.pem",
          COILI_KEY_P256 },
        { "openssl ecparam -genkey -noout -name prime256v1",
          "openssl pkcs8 -topk8 -nocrypt -in made.pem", COILI_KEY_P256 },
        { "openssl ecparam -genkey -noout -name secp384r1",
          "openssl ec -in made.pem -no_public", COILI_KEY_P384 },
        { "openssl ecparam -genkey -noout -name secp521r1",
          "openssl ec -in made.pem", COILI_KEY_P521 },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_openssl(rows[i].make, rows[i].form, rows[i].type);
}

/* The key that a command writes, beside a certificate of another. */
static void refused_by_kind(const char *command, const char *sentence)
{
    static char text[16384];
    pki_output(command, text, sizeof text);
    test_note("%s: %s", command, text);
    refused(f.certs, text, sentence);
}

TEST(identity_refuses_keys_that_coil_cannot_use)
{
    build(PKI_P256);
    refused_by_kind("openssl genpkey -algorithm ed25519",
                    "memory:1: the private key is neither RSA "
                    "nor EC");
    refused_by_kind("openssl ecparam -genkey -noout -name secp256k1",
                    "memory:1: the curve of the EC key is not "
                    "P-256, P-384 or P-521");
    refused_by_kind("openssl genrsa 1024 2>/dev/null",
                    "memory:1: the RSA key is shorter than 2048 "
                    "bits");
    refused_by_kind("openssl ecparam -genkey -noout -name prime256v1 | openssl "
                    "ec -aes128 -passout pass:secret 2>/dev/null",
                    "memory:1: the private key is encrypted: "
                    "decrypt it with `openssl pkey`");
    refused_by_kind("openssl genpkey -algorithm ec -pkeyopt "
                    "ec_paramgen_curve:P-256 -aes128 -pass pass:secret",
                    "memory:1: the private key is encrypted: "
                    "decrypt it with `openssl pkey`");
    refused_by_kind("openssl genrsa 2048 2>/dev/null",
                    "memory:1: the private key is not the one "
                    "of the first certificate in memory");
}
