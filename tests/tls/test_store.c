// SPDX-License-Identifier: MIT
// labels: core threads
/*
 * test_store.c: the trusted authorities, in a file that changes, and in memory.
 */
#include "pki.h"

#include "tls/store.h"
#include "tls/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char why[COILI_SENTENCE_BYTES];
static char path[] = "/tmp/coil-store-XXXXXX";
static struct pki_key key;
static struct pki_cert a, b;
static char text_a[4096], text_b[4096];

static struct pki_cert authority(const char *name)
{
    return pki_sign(
        &(struct pki_spec){ .subject = name, .key = &key, .bc = "ca" }, NULL);
}

static void build(void)
{
    key = pki_key_new(PKI_P256, 'K');
    a = authority("A");
    b = authority("B");
    *text_a = *text_b = '\0';
    pki_cert_pem(text_a, sizeof text_a, &a);
    pki_cert_pem(text_b, sizeof text_b, &b);
}

/* Replace the file, as an update does: by a rename. */
static void write_file(const char *text)
{
    char next[64];
    sprintf(next, "%s.next", path);
    FILE *file = fopen(next, "w");
    CHECK(file && fputs(text, file) >= 0);
    CHECK_INT(fclose(file), 0);
    CHECK_INT(rename(next, path), 0);
}

static void make_file(const char *text)
{
    strcpy(path, "/tmp/coil-store-XXXXXX");
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    close(fd);
    write_file(text);
}

static struct coili_store *open_file(void)
{
    struct coili_store *store;
    struct coili_store_source source = { .path = path };
    CHECK_INT(coili_store_open(&store, &source, why), 0);
    return store;
}

/* The subject of a certificate. */
static struct coili_der subject_of(const struct pki_cert *cert)
{
    struct coili_cert parsed;
    CHECK_STR(coili_cert_parse(&parsed, pki_view(cert)), NULL);
    return parsed.subject;
}

/* How many certificates with this subject are found; -errno. */
static int count(struct coili_store *store, const struct pki_cert *cert)
{
    struct coili_anchors anchors;
    struct coili_anchor anchor = { .memory = NULL };
    size_t cursor = 0;
    int n, found = 0, err = coili_anchors_open(&anchors, store, why);
    if (err < 0)
        return err;
    while ((n = coili_anchors_next(&anchors, subject_of(cert), &cursor,
                                   &anchor)) > 0) {
        CHECK(coili_der_equal(anchor.cert.subject, subject_of(cert)));
        found++;
    }
    coili_anchor_free(&anchor);
    coili_anchors_close(&anchors);
    return n < 0 ? n : found;
}

TEST(store_finds_certificates_by_their_subject)
{
    static char text[20000];
    build();
    sprintf(text, "# some\n%s\r\ntext\n%s%s", text_a, text_b, text_a);
    make_file(text);
    struct coili_store *store = open_file();
    CHECK_INT(coili_store_count(store), 3);
    CHECK_STR(coili_store_path(store), path);
    CHECK_INT(count(store, &a), 2);
    CHECK_INT(count(store, &b), 1);
    struct pki_cert other = authority("C");
    CHECK_INT(count(store, &other), 0);
    coili_store_close(store);
    unlink(path);

    struct coili_store_source memory = { .text = text, .len = strlen(text) };
    CHECK_INT(coili_store_open(&store, &memory, why), 0);
    CHECK(!coili_store_path(store));
    CHECK_INT(count(store, &a), 2);
    CHECK_INT(count(store, &b), 1);
    coili_store_close(store);
    coili_store_close(NULL);
}

TEST(store_is_read_again_when_its_file_changes)
{
    build();
    make_file(text_a);
    struct coili_store *store = open_file();
    CHECK_INT(count(store, &a), 1);
    write_file(text_b);
    CHECK_INT(count(store, &a), 0);
    CHECK_INT(count(store, &b), 1);

    /* In place, and of the same size: the time tells. */
    struct timespec times[2] = { { 0, UTIME_NOW }, { 1, 0 } };
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    CHECK(pwrite(fd, text_a, strlen(text_a), 0) == (ssize_t)strlen(text_a));
    CHECK_INT(ftruncate(fd, (off_t)strlen(text_a)), 0);
    CHECK_INT(futimens(fd, times), 0);
    close(fd);
    CHECK_INT(count(store, &a), 1);
    CHECK_INT(count(store, &b), 0);
    coili_store_close(store);
    unlink(path);
}

// The old certificates are not those that somebody has just removed.
TEST(store_that_has_become_unreadable_is_an_error)
{
    char sentence[128];
    build();
    make_file(text_a);
    struct coili_store *store = open_file();
    unlink(path);
    CHECK_INT(count(store, &a), -ENOENT);
    sprintf(sentence,
            "the file of trusted certificates %s cannot be read: No such file "
            "or directory",
            path);
    CHECK_STR(why, sentence);

    write_file("-----BEGIN CERTIFICATE-----\n");
    CHECK_INT(count(store, &a), -EINVAL);
    sprintf(sentence, "%s:1: BEGIN without END", path);
    CHECK_STR(why, sentence);
    write_file(text_a);
    CHECK_INT(count(store, &a), 1);
    coili_store_close(store);
    unlink(path);
}

// A look that has begun goes on with the file that it began with.
TEST(store_serves_a_look_that_began_before_the_change)
{
    struct coili_anchors anchors;
    struct coili_anchor anchor = { .memory = NULL };
    size_t cursor = 0;
    build();
    make_file(text_a);
    struct coili_store *store = open_file();
    CHECK_INT(coili_anchors_open(&anchors, store, why), 0);
    write_file(text_b);
    CHECK_INT(count(store, &b), 1);
    CHECK_INT(coili_anchors_next(&anchors, subject_of(&a), &cursor, &anchor),
              1);
    coili_anchor_free(&anchor);
    coili_anchors_close(&anchors);

    /* Cut in place behind the look's back: an error, and no SIGBUS. */
    CHECK_INT(coili_anchors_open(&anchors, store, why), 0);
    CHECK_INT(truncate(path, 100), 0);
    cursor = 0;
    CHECK_INT(coili_anchors_next(&anchors, subject_of(&b), &cursor, &anchor),
              -EIO);
    coili_anchor_free(&anchor);
    coili_anchors_close(&anchors);
    coili_store_close(store);
    unlink(path);
}

// curl#8476: BearSSL's reader does not see such an END.
TEST(store_reads_lines_of_each_kind)
{
    static char text[20000];
    char *to = text;
    build();
    text_a[strlen(text_a) - 1] = '\0';
    make_file(text_a);
    struct coili_store *store = open_file();
    CHECK_INT(count(store, &a), 1);
    coili_store_close(store);
    for (const char *from = text_b; *from; from++) {
        if (*from == '\n')
            *to++ = '\r';
        *to++ = *from;
    }
    write_file(text);
    store = open_file();
    CHECK_INT(count(store, &b), 1);
    coili_store_close(store);
    unlink(path);
}

static void refused(const char *text, const char *sentence)
{
    struct coili_store *store = NULL;
    struct coili_store_source source = { .text = text, .len = strlen(text) };
    CHECK_INT(coili_store_open(&store, &source, why), -EINVAL);
    CHECK_STR(why, sentence);
    CHECK(!store);
}

TEST(store_of_the_program_must_be_right)
{
    static char text[20000];
    build();
    refused("", "there is no certificate in CA certificates in memory");
    sprintf(text,
            "%s-----BEGIN CERTIFICATE-----\nTUlJ\n"
            "-----END CERTIFICATE-----\n",
            text_a);
    char sentence[128], *at = text;
    int lines = 1;
    for (; at < text + strlen(text_a); at++)
        lines += *at == '\n';
    sprintf(sentence, "CA certificates in memory:%d: not an X.509 certificate",
            lines);
    refused(text, sentence);
    refused("-----BEGIN TRUSTED CERTIFICATE-----\nTUlJ\n"
            "-----END TRUSTED CERTIFICATE-----\n",
            "CA certificates in memory:1: a TRUSTED CERTIFICATE of OpenSSL: "
            "convert it with `openssl x509`");
}

// Nobody can repair the system's file for the sake of one authority.
TEST(store_of_the_system_passes_over_what_it_cannot_read)
{
    static char text[20000];
    struct coili_store *store;
    struct coili_store_source source = { .path = NULL };
    build();
    sprintf(text,
            "-----BEGIN CERTIFICATE-----\nTUlJ\n"
            "-----END CERTIFICATE-----\n%s",
            text_a);
    make_file(text);
    setenv("SSL_CERT_FILE", path, 1);
    CHECK_INT(coili_store_open(&store, &source, why), 0);
    CHECK_STR(coili_store_path(store), path);
    CHECK_INT(coili_store_count(store), 1);
    CHECK_INT(count(store, &a), 1);
    coili_store_close(store);
    unlink(path);
}

// The user has chosen this file; another may trust whom the user does not.
TEST(store_is_never_the_systems_when_ssl_cert_file_cannot_be_read)
{
    struct coili_store *store = NULL;
    struct coili_store_source source = { .path = NULL };
    setenv("SSL_CERT_FILE", "/nonexistent/ca.pem", 1);
    CHECK_INT(coili_store_open(&store, &source, why), -ENOENT);
    CHECK_STR(why, "the file of trusted certificates /nonexistent/ca.pem "
                   "cannot be read: No such file or directory");
    setenv("SSL_CERT_FILE", "", 1);
    CHECK_INT(coili_store_open(&store, &source, why), -ENOENT);
    CHECK(!store);
}

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

// Each certificate of it, and soon: a program waits for it at its first request.
TEST(store_of_the_system_is_read_in_two_milliseconds)
{
    struct coili_store_source source = { .path = NULL };
    double best = 1e9;
    size_t n = 0;
    unsetenv("SSL_CERT_FILE");
    if (access(coili_store_paths[0], R_OK) < 0)
        SKIP("no CA file of the system");
    for (int i = 0; i < 20; i++) {
        struct coili_store *store;
        double start = cpu_ms();
        CHECK_INT(coili_store_open(&store, &source, why), 0);
        double took = cpu_ms() - start;
        best = took < best ? took : best;
        n = coili_store_count(store);
        coili_store_close(store);
    }
    test_note("%zu certificates, %.2f ms", n, best);
    FILE *lines = popen("grep -c BEGIN /etc/ssl/certs/ca-certificates.crt",
                        "r");
    int expected = 0;
    CHECK(lines && fscanf(lines, "%d", &expected) == 1);
    pclose(lines);
    CHECK_INT(n, expected);
    if (!test_is_slow())
        CHECK(best < 2);
}

// A pipe can be read once: `--cacert <(command)`.
TEST(store_of_a_pipe_stays_in_memory)
{
    struct coili_store *store;
    int fds[2];
    char name[32];
    build();
    CHECK_INT(pipe2(fds, O_CLOEXEC), 0);
    CHECK(write(fds[1], text_a, strlen(text_a)) == (ssize_t)strlen(text_a));
    close(fds[1]);
    sprintf(name, "/dev/fd/%d", fds[0]);
    struct coili_store_source source = { .path = name };
    CHECK_INT(coili_store_open(&store, &source, why), 0);
    close(fds[0]);
    CHECK_INT(count(store, &a), 1);
    CHECK_INT(count(store, &a), 1);
    coili_store_close(store);
}

static int open_and_look(void)
{
    struct coili_store *store;
    struct coili_store_source source = { .path = path };
    int err = coili_store_open(&store, &source, why);
    if (err < 0)
        return err;
    err = count(store, &a);
    coili_store_close(store);
    return err < 0 ? err : 0;
}

TEST(store_without_memory_says_so)
{
    build();
    make_file(text_a);
    test_every_allocation(open_and_look);
    unlink(path);
}

static void *look_often(void *store)
{
    for (int i = 0; i < 300; i++) {
        struct coili_anchors anchors;
        struct coili_anchor anchor = { .memory = NULL };
        char own[COILI_SENTENCE_BYTES];
        size_t cursor = 0;
        CHECK_INT(coili_anchors_open(&anchors, store, own), 0);
        CHECK(coili_anchors_next(&anchors, subject_of(&a), &cursor, &anchor) >=
              0);
        coili_anchor_free(&anchor);
        coili_anchors_close(&anchors);
    }
    return NULL;
}

TEST(store_is_shared_by_threads_while_its_file_changes)
{
    pthread_t threads[3];
    build();
    make_file(text_a);
    struct coili_store *store = open_file();
    for (int i = 0; i < 3; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, look_often, store), 0);
    for (int i = 0; i < 100; i++)
        write_file(i % 2 ? text_a : text_b);
    for (int i = 0; i < 3; i++)
        CHECK_INT(pthread_join(threads[i], NULL), 0);
    coili_store_close(store);
    unlink(path);
}
