// SPDX-License-Identifier: MIT
#ifndef COILI_STORE_H
#define COILI_STORE_H

/*
 * store.h: the trusted authorities, in a PEM file or a PEM text in memory.
 *
 *     struct coili_anchors anchors;
 *     int err = coili_anchors_open(&anchors, store, why);
 *     struct coili_anchor anchor = { .memory = NULL };
 *     size_t cursor = 0;
 *     while ((err = coili_anchors_next(&anchors, subject, &cursor, &anchor)) > 0)
 *         ...anchor.cert...
 *     coili_anchor_free(&anchor);
 *     coili_anchors_close(&anchors);
 */

#include <stddef.h>
#include <stdint.h>

#include "cert.h"

/* Where systems have their file, in the order in which they are looked for. */
#define COILI_STORE_PATHS 3
extern const char *const coili_store_paths[COILI_STORE_PATHS];

struct coili_store;

/* Where the anchors are: see coili_trust_options. All NULL: the system's. */
struct coili_store_source {
    const char *path;
    const void *text;
    size_t len;
};

/*
 * Open a store, and read it once. In a file or text that the program names, a
 * certificate that cannot be read is an error. In the system's it is passed
 * over, as long as there are others; but what is no PEM is an error.
 *
 * Result    0
 * Errors    -EINVAL: no PEM, or no certificate; -ENOMEM, or that of opening or
 *           reading the file; `why`, of COILI_SENTENCE_BYTES, has the sentence
 * Lifetime  copies the path or the text
 */
int coili_store_open(struct coili_store **out,
                     const struct coili_store_source *source, char *why);
void coili_store_close(struct coili_store *store);

/* The path of its file; NULL: it is in memory. */
const char *coili_store_path(const struct coili_store *store);

/* How many certificates there were when it was last read. */
size_t coili_store_count(struct coili_store *store);

/* A look at a store, as it is at this moment. */
struct coili_anchors {
    struct coili_index *index;
    int fd; /* -1: the text is in memory */
};

/*
 * Begin to look. If the file is another than the one that was read, which its
 * inode, size and time of change tell, it is read again. Any thread may do so.
 *
 * Result    0, or as coili_store_open(); `why` as there
 */
int coili_anchors_open(struct coili_anchors *anchors, struct coili_store *store,
                       char *why);
void coili_anchors_close(struct coili_anchors *anchors);

/* One certificate of the store, in memory of its own. */
struct coili_anchor {
    struct coili_cert cert;
    void *memory;
};

/*
 * Read the next certificate with this subject, in the order of the file.
 * `cursor` begins at 0. What `anchor` had before is freed.
 *
 * Result    1; 0: there is no other; -ENOMEM, or that of reading the file
 */
int coili_anchors_next(struct coili_anchors *anchors, struct coili_der subject,
                       size_t *cursor, struct coili_anchor *anchor);
void coili_anchor_free(struct coili_anchor *anchor);

#endif
