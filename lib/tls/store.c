// SPDX-License-Identifier: MIT
/*
 * store.c: the trusted authorities.
 *
 * A system has some 150 of them in a file of 0.2 MB, and a handshake needs one.
 * Programs that decode the file for each connection spend more time there than
 * in the handshake. Here the file is read once, for an index of 16 bytes per
 * certificate: a hash of the subject, and where the block stands. A handshake
 * reads and decodes the blocks of one subject.
 *
 * The file may be replaced while the program runs. So each look opens it, and
 * compares device, inode, size and time of change with those of the index; if
 * they differ the index is made anew. The descriptor that was compared is the
 * one that blocks are read from. A file that has become unreadable is an error:
 * neither the old index nor another file serves instead.
 *
 * An index never changes, and is counted. Threads hold the lock to take one, or
 * to replace it. What is no regular file, such as a pipe, is kept in memory as
 * a text that the program gives.
 */
#include "store.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <coil/error.h>

#include "base/check.h"
#include "base/descriptor.h"
#include "file.h"
#include "pem.h"
#include "trust.h"

/* A block in the text: the lines between BEGIN and END. */
struct entry {
    uint64_t hash; /* of the subject */
    uint32_t at, len;
};

struct coili_index {
    atomic_size_t references;
    struct coili_stamp stamp;
    char *text; /* NULL: the file is read when it is needed */
    size_t n;
    struct entry entries[];
};

struct coili_store {
    pthread_mutex_t lock;
    struct coili_index *index; /* under the lock */
    bool is_systems;           /* passes over what it does not understand */
    char path[];               /* "": in memory */
};

const char *const coili_store_paths[COILI_STORE_PATHS] = {
    "/etc/ssl/certs/ca-certificates.crt", /* Debian, Alpine, Arch */
    "/etc/pki/tls/certs/ca-bundle.crt",   /* Fedora, RHEL */
    "/etc/ssl/cert.pem",                  /* OpenWrt, BSD */
};

/* --- The index -----------------------------------------------------------*/

/* FNV-1a. Whoever writes the file may make subjects collide: they gain nothing,
 * as the subjects themselves are compared in the end. */
static uint64_t hash_of(struct coili_der bytes)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes.len; i++)
        hash = (hash ^ bytes.at[i]) * 0x100000001b3u;
    return hash;
}

/* By hash, and those of one hash in the order of the file. */
static int compare_entries(const void *a, const void *b)
{
    const struct entry *x = (const struct entry *)a;
    const struct entry *y = (const struct entry *)b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void index_unref(struct coili_index *index)
{
    if (index && atomic_fetch_sub(&index->references, 1) == 1) {
        free(index->text);
        free(index);
    }
}

/* "ca.pem:12: not base64" */
static int complain(char *why, const char *name, unsigned line,
                    const char *fault)
{
    snprintf(why, COILI_SENTENCE_BYTES, "%s:%u: %s", name, line, fault);
    return -EINVAL;
}

static int complain_of_file(char *why, const char *path, int err)
{
    snprintf(why, COILI_SENTENCE_BYTES,
             "the file of trusted certificates %s cannot be read: %s", path,
             coil_strerror(err));
    return err;
}

/*
 * The entry for one block, decoded in `scratch`. Result: 1; 0: none is wanted;
 * -EINVAL: `pem` says why.
 */
static int read_entry(struct entry *entry, struct coili_pem *pem,
                      const char *text, const struct coili_pem_block *block,
                      unsigned char *scratch)
{
    struct coili_der der;
    struct coili_cert cert;
    if (block->label == COILI_PEM_TRUSTED) {
        pem->line = block->line;
        pem->fault = "a TRUSTED CERTIFICATE of OpenSSL: convert it with "
                     "`openssl x509`";
        return -EINVAL;
    }
    if (block->label != COILI_PEM_CERTIFICATE)
        return 0;
    int err = coili_pem_decode(pem, block, scratch, &der);
    if (err < 0)
        return err;
    if (coili_cert_parse(&cert, der)) {
        pem->line = block->line;
        pem->fault = "not an X.509 certificate";
        return -EINVAL;
    }
    *entry = (struct entry){
        .hash = hash_of(cert.subject),
        .at = (uint32_t)(block->at - text),
        .len = (uint32_t)block->len,
    };
    return 1;
}

/* How many blocks a text has at most: each has "-----BEGIN". */
static size_t count_blocks(const char *text, size_t len)
{
    static const char begin[] = "-----BEGIN ";
    size_t n = 0;
    const char *at = text, *end = text + len;
    while ((at = memmem(at, (size_t)(end - at), begin, sizeof begin - 1))) {
        at += sizeof begin - 1;
        n++;
    }
    return n;
}

/* Fill the index. `name` is the file's, for `why`. */
static int read_entries(struct coili_index *index, bool is_systems,
                        const char *text, size_t len, unsigned char *scratch,
                        const char *name, char *why)
{
    struct coili_pem pem = { .at = text, .end = text + len };
    struct coili_pem_block block;
    int n;
    while ((n = coili_pem_next(&pem, &block)) > 0) {
        struct coili_pem block_pem = pem;
        n = read_entry(&index->entries[index->n], &block_pem, text, &block,
                       scratch);
        if (n > 0)
            index->n++;
        else if (n < 0 && !is_systems)
            return complain(why, name, block_pem.line, block_pem.fault);
    }
    if (n < 0)
        return complain(why, name, pem.line, pem.fault);
    if (index->n == 0) {
        snprintf(why, COILI_SENTENCE_BYTES, "there is no certificate in %s",
                 name);
        return -EINVAL;
    }
    qsort(index->entries, index->n, sizeof *index->entries, compare_entries);
    return 0;
}

/* Takes `text`: it becomes the index's, or is freed. */
static int index_new(struct coili_index **out, bool is_systems, char *text,
                     size_t len, const struct coili_stamp *stamp,
                     const char *name, char *why)
{
    size_t blocks = count_blocks(text, len);
    struct coili_index *index = malloc(sizeof *index +
                                       blocks * sizeof *index->entries);
    unsigned char *scratch = malloc(len + 3);
    int err = -ENOMEM;
    if (index) {
        atomic_init(&index->references, 1);
        index->stamp = *stamp;
        index->text = text;
        index->n = 0;
    }
    if (index && scratch)
        err = read_entries(index, is_systems, text, len, scratch, name, why);
    else
        snprintf(why, COILI_SENTENCE_BYTES, "%s", coil_strerror(err));
    free(scratch);
    if (!index)
        free(text);
    if (index && (err < 0 || stamp->is_regular)) {
        free(index->text);
        index->text = NULL;
    }
    if (err < 0)
        free(index);
    else
        *out = index;
    return err;
}

/* The index of a file that is open. */
static int index_file(struct coili_index **out, const struct coili_store *store,
                      int fd, const struct coili_stamp *stamp, char *why)
{
    char *text;
    size_t len;
    int err = coili_file_read(fd, &text, &len);
    if (err < 0)
        return complain_of_file(why, store->path, err);
    return index_new(out, store->is_systems, text, len, stamp, store->path,
                     why);
}

/* --- The store -----------------------------------------------------------*/

/* The system's file: that of SSL_CERT_FILE, else the first that is there. */
static const char *system_path(void)
{
    const char *path = secure_getenv("SSL_CERT_FILE");
    if (path)
        return path;
    for (int i = 0; i < COILI_STORE_PATHS; i++)
        if (access(coili_store_paths[i], F_OK) == 0)
            return coili_store_paths[i];
    return coili_store_paths[0];
}

static int read_memory(struct coili_store *store,
                       const struct coili_store_source *source, char *why)
{
    static const struct coili_stamp stamp;
    char *text = malloc(source->len + 1);
    if (!text) {
        snprintf(why, COILI_SENTENCE_BYTES, "%s", coil_strerror(-ENOMEM));
        return -ENOMEM;
    }
    if (source->len > 0)
        memcpy(text, source->text, source->len);
    return index_new(&store->index, false, text, source->len, &stamp,
                     "CA certificates in memory", why);
}

int coili_store_open(struct coili_store **out,
                     const struct coili_store_source *source, char *why)
{
    bool is_systems = !source->path && !source->text;
    const char *path = is_systems ? system_path() : source->path;
    size_t path_len = path ? strlen(path) : 0;
    struct coili_store *store = malloc(sizeof *store + path_len + 1);
    if (!store) {
        snprintf(why, COILI_SENTENCE_BYTES, "%s", coil_strerror(-ENOMEM));
        return -ENOMEM;
    }
    store->index = NULL;
    store->is_systems = is_systems;
    memcpy(store->path, path ? path : "", path_len + 1);
    pthread_mutex_init(&store->lock, NULL);

    int err;
    if (path) {
        struct coili_anchors anchors;
        err = coili_anchors_open(&anchors, store, why);
        if (err == 0)
            coili_anchors_close(&anchors);
    } else if (source->len > COILI_FILE_BYTES_MAX) {
        err = -EFBIG;
        snprintf(why, COILI_SENTENCE_BYTES, "%s", coil_strerror(err));
    } else {
        err = read_memory(store, source, why);
    }
    if (err < 0) {
        coili_store_close(store);
        return err;
    }
    *out = store;
    return 0;
}

void coili_store_close(struct coili_store *store)
{
    if (!store)
        return;
    index_unref(store->index);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

const char *coili_store_path(const struct coili_store *store)
{
    return *store->path ? store->path : NULL;
}

size_t coili_store_count(struct coili_store *store)
{
    pthread_mutex_lock(&store->lock);
    size_t n = store->index->n;
    pthread_mutex_unlock(&store->lock);
    return n;
}

/* --- Looking -------------------------------------------------------------*/

/* The index for this content of the file, with a reference for the caller. */
static int take_index(struct coili_index **out, struct coili_store *store,
                      int fd, char *why)
{
    struct coili_stamp stamp;
    int err = coili_stamp_read(&stamp, fd);
    if (err < 0)
        return complain_of_file(why, store->path, err);
    pthread_mutex_lock(&store->lock);
    struct coili_index *index = store->index;
    bool is_other = !index || !coili_stamp_equal(&index->stamp, &stamp);
    if (is_other)
        err = index_file(&index, store, fd, &stamp, why);
    if (err == 0) {
        if (is_other) {
            index_unref(store->index);
            store->index = index;
        }
        atomic_fetch_add(&index->references, 1);
        *out = index;
    }
    pthread_mutex_unlock(&store->lock);
    return err;
}

/* The text in memory, if it is there: what is not a regular file stays. */
static struct coili_index *take_text(struct coili_store *store)
{
    pthread_mutex_lock(&store->lock);
    struct coili_index *index = store->index;
    if (index && index->text)
        atomic_fetch_add(&index->references, 1);
    else
        index = NULL;
    pthread_mutex_unlock(&store->lock);
    return index;
}

int coili_anchors_open(struct coili_anchors *anchors, struct coili_store *store,
                       char *why)
{
    anchors->fd = -1;
    anchors->index = take_text(store);
    if (anchors->index)
        return 0;
    int fd = coili_file_open(store->path);
    if (fd < 0)
        return complain_of_file(why, store->path, fd);
    int err = take_index(&anchors->index, store, fd, why);
    if (err < 0) {
        close(fd);
        return err;
    }
    anchors->fd = fd;
    return 0;
}

void coili_anchors_close(struct coili_anchors *anchors)
{
    if (anchors->fd >= 0)
        close(anchors->fd);
    index_unref(anchors->index);
}

/* The first entry of this hash: their number if there is none. */
static size_t find_hash(const struct coili_index *index, uint64_t hash)
{
    size_t low = 0, high = index->n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (index->entries[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The block of an entry, in `memory`, which has room for it. */
static int read_block(const struct coili_anchors *anchors,
                      const struct entry *entry, char *memory)
{
    if (anchors->index->text) {
        memcpy(memory, anchors->index->text + entry->at, entry->len);
        return 0;
    }
    for (size_t done = 0; done < entry->len;) {
        ssize_t n = pread(anchors->fd, memory + done, entry->len - done,
                          (off_t)(entry->at + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        done += (size_t)n;
    }
    return 0;
}

/*
 * Read and decode one entry. The decoded bytes are fewer than the text at every
 * moment, so they replace it where it stands. The text is not checked by the
 * stamp: it is that of a file which somebody changed in place a moment ago, if
 * it cannot be decoded now.
 */
static int load_anchor(const struct coili_anchors *anchors,
                       const struct entry *entry, struct coili_anchor *anchor)
{
    coili_anchor_free(anchor);
    char *memory = malloc(entry->len + 3);
    if (!memory)
        return -ENOMEM;
    anchor->memory = memory;
    int err = read_block(anchors, entry, memory);
    if (err < 0)
        return err;
    struct coili_pem pem = { .at = memory, .end = memory + entry->len };
    struct coili_pem_block block = { .at = memory, .len = entry->len };
    struct coili_der der;
    if (coili_pem_decode(&pem, &block, (unsigned char *)memory, &der) < 0 ||
        coili_cert_parse(&anchor->cert, der))
        return -EIO;
    return 0;
}

int coili_anchors_next(struct coili_anchors *anchors, struct coili_der subject,
                       size_t *cursor, struct coili_anchor *anchor)
{
    const struct coili_index *index = anchors->index;
    uint64_t hash = hash_of(subject);
    size_t first = find_hash(index, hash);
    for (size_t i = first + *cursor; i < index->n; i++) {
        if (index->entries[i].hash != hash)
            break;
        ++*cursor;
        int err = load_anchor(anchors, &index->entries[i], anchor);
        if (err < 0)
            return err;
        if (coili_der_equal(anchor->cert.subject, subject))
            return 1;
    }
    return 0;
}

void coili_anchor_free(struct coili_anchor *anchor)
{
    free(anchor->memory);
    anchor->memory = NULL;
}
